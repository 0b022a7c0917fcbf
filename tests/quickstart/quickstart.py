"""The Workflows API from Python: upload a file, run a workflow on it, wait, list the links, download.

    SIXTYFOUR_API_ENDPOINT   base URL, such as https://api.sixtyfour.ai
    SIXTYFOUR_API_KEY        API key
    WORKFLOW_ID              a workflow that starts with read_csv
    INPUT                    the file to upload
    OUTPUT                   where the final block's rows go, as NDJSON
    POLL_SECONDS             between two looks at the run (5)

Needs requests. Ends with 0 when the run completed and its rows are there.
"""

import os
import sys
import time

import requests

BASE = os.environ["SIXTYFOUR_API_ENDPOINT"].rstrip("/")
TERMINAL = {"completed", "failed", "cancelled", "timeout"}


def main():
    api = requests.Session()
    api.headers["x-api-key"] = os.environ["SIXTYFOUR_API_KEY"]

    with open(os.environ["INPUT"], "rb") as file:
        answer = api.post(f"{BASE}/storage/csv/upload", files={"file": (os.path.basename(file.name), file)})
    answer.raise_for_status()
    handle_id = answer.json()["handle_id"]
    print(f"uploaded: {handle_id}")

    answer = api.post(
        f"{BASE}/workflows/run",
        params={"workflow_id": os.environ["WORKFLOW_ID"], "result_formats": ["ndjson"]},
        headers={"Idempotency-Key": f"quickstart-{handle_id}"},
        json={"specs_override": {"resource_handle_id": handle_id}},
    )
    answer.raise_for_status()
    run_id = answer.json()["job_id"]
    print(f"started: {run_id}")

    while True:
        answer = api.get(f"{BASE}/workflows/runs/{run_id}/live_status")
        answer.raise_for_status()
        live = answer.json()
        status = live["overall_status"].lower()
        print(f"status: {status} {live['overall_progress_percentage']}%")
        if status in TERMINAL:
            break
        time.sleep(float(os.environ.get("POLL_SECONDS", "5")))
    if status != "completed":
        for block in live["blocks"]:
            if block.get("error_message"):
                print(f"{block['block_name']}: {block['error_message']}", file=sys.stderr)
        return 1

    answer = api.get(f"{BASE}/workflows/runs/{run_id}/results/download-links", params={"format": "ndjson"})
    answer.raise_for_status()
    links = answer.json()
    for link in links:
        print(f"link: block {link['block_number']} {link['filename']} {link['row_count']} rows")

    # One link per block; the highest number is the final one. The session sends the key along.
    final = max(links, key=lambda link: link["block_number"])
    rows = 0
    with api.get(final["download_url"], stream=True) as body, open(os.environ["OUTPUT"], "wb") as out:
        body.raise_for_status()
        for chunk in body.iter_content(chunk_size=1 << 16):
            out.write(chunk)
            rows += chunk.count(b"\n")
    print(f"rows: {rows}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
