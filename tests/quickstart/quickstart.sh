#!/usr/bin/env bash
# The Workflows API from a shell: upload a file, run a workflow on it, wait, list the links, download.
#
#   SIXTYFOUR_API_ENDPOINT   base URL, such as https://api.sixtyfour.ai
#   SIXTYFOUR_API_KEY        API key
#   WORKFLOW_ID              a workflow that starts with read_csv
#   INPUT                    the file to upload
#   OUTPUT                   where the final block's rows go, as NDJSON
#   POLL_SECONDS             between two looks at the run (5)
#
# Needs curl and jq. Ends with 0 when the run completed and its rows are there.
set -euo pipefail

base=${SIXTYFOUR_API_ENDPOINT%/}
key="x-api-key: $SIXTYFOUR_API_KEY"

handle_id=$(curl -fsS -H "$key" -F "file=@$INPUT" "$base/storage/csv/upload" | jq -er .handle_id)
echo "uploaded: $handle_id"

started=$(curl -fsS -X POST -H "$key" -H 'content-type: application/json' \
    -H "Idempotency-Key: quickstart-$handle_id" \
    -d "$(jq -nc --arg handle "$handle_id" '{specs_override: {resource_handle_id: $handle}}')" \
    "$base/workflows/run?workflow_id=$WORKFLOW_ID&result_formats=ndjson")
run_id=$(printf '%s' "$started" | jq -er .job_id)
echo "started: $run_id"

while :; do
    live=$(curl -fsS -H "$key" "$base/workflows/runs/$run_id/live_status")
    status=$(printf '%s' "$live" | jq -er '.overall_status | ascii_downcase')
    echo "status: $status $(printf '%s' "$live" | jq -r .overall_progress_percentage)%"
    case $status in
        completed) break ;;
        failed | cancelled | timeout)
            printf '%s' "$live" | jq -r '.blocks[] | select(.error_message) | "\(.block_name): \(.error_message)"' >&2
            exit 1
            ;;
    esac
    sleep "${POLL_SECONDS:-5}"
done

links=$(curl -fsS -H "$key" "$base/workflows/runs/$run_id/results/download-links?format=ndjson")
printf '%s' "$links" | jq -r '.[] | "link: block \(.block_number) \(.filename) \(.row_count) rows"'

# One link per block; the highest number is the final one. The key goes to the download too.
url=$(printf '%s' "$links" | jq -er 'max_by(.block_number) | .download_url')
curl -fsS --compressed -H "$key" -o "$OUTPUT" "$url"
echo "rows: $(wc -l <"$OUTPUT" | tr -d ' ')"
