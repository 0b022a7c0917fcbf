#!/usr/bin/env bash
# Instructions per byte of input: steady from run to run where time is not, so that two commits can
# be compared on a busy machine.
#
#   benches/instructions.sh [--drawoff PATH] [--rows N] [NAME...]
#
# Counts with valgrind's callgrind, or with `perf stat -e instructions:u` where valgrind is not
# installed. The two differ: valgrind shows the program a processor without AVX-512. What a start
# takes (a conversion of one row) is counted first and left out of the rest. One worker, so that
# threads that wait for each other do not show. Without --drawoff the release build is made.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
drawoff=
rows=20000
names=()
while (($#)); do
    case $1 in
        --drawoff) drawoff=$(realpath "$2"); shift 2 ;;
        --rows) rows=$2; shift 2 ;;
        -h|--help) sed -n '2,10s/^# \{0,1\}//p' "$0"; exit ;;
        -*) echo "error: unknown option $1" >&2; exit 2 ;;
        *) names+=("$1"); shift ;;
    esac
done

if [[ -z $drawoff ]]; then
    (cd "$here/.." && cargo build --release --quiet)
    drawoff="${CARGO_TARGET_DIR:-$here/../target}/release/drawoff"
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
generate() { python3 "$here/peers/generate.py" --seed 1 "$@"; }
generate --rows "$rows" --out "$work/wide.ndjson"
generate --rows "$rows" --format csv --out "$work/wide.csv"
generate --rows "$((rows * 8))" --shape narrow --out "$work/narrow.ndjson"
head -n 1 "$work/wide.ndjson" > "$work/one.ndjson"
echo 'workers = 1' > "$work/config.toml"
export DRAWOFF_CONFIG="$work/config.toml"

if command -v valgrind > /dev/null; then
    counter=callgrind
    count() {
        valgrind --tool=callgrind --callgrind-out-file=/dev/null "$@" 2> "$work/counted" > /dev/null ||
            { cat "$work/counted" >&2; return 1; }
        sed -n 's/^==[0-9]*== Collected : \([0-9]*\).*/\1/p' "$work/counted"
    }
elif command -v perf > /dev/null; then
    counter=perf
    count() {
        perf stat -x, -e instructions:u -o "$work/counted" -- "$@" > /dev/null || return 1
        sed -n 's/^\([0-9]*\),.*instructions.*/\1/p' "$work/counted"
    }
else
    echo "error: neither valgrind nor perf is installed" >&2
    exit 1
fi

wanted() {
    ((${#names[@]} == 0)) && return
    local name
    for name in "${names[@]}"; do [[ $1 == *"$name"* ]] && return; done
    return 1
}

# NAME INPUT ARGUMENTS...: one conversion.
measure() {
    local name=$1 input=$2 bytes instructions
    wanted "$name" || return 0
    shift 2
    bytes=$(stat -c %s "$work/$input")
    if ! instructions=$(count "$drawoff" convert "$work/$input" --quiet "$@"); then
        printf '%-28s failed\n' "$name"
        failed=1
        return 0
    fi
    awk -v name="$name" -v n="$instructions" -v start="$start" -v bytes="$bytes" 'BEGIN {
        printf "%-28s %14d %12d %10.2f\n", name, n - start, bytes, (n - start) / bytes
    }'
}

failed=0
start=$(count "$drawoff" convert "$work/one.ndjson" --quiet -o "$work/one.parquet")
printf '%-28s %14s %12s %10s\n' "$counter" instructions bytes per_byte
printf '%-28s %14d\n' "start, left out below" "$start"
measure ndjson-parquet-zstd wide.ndjson -o "$work/out.parquet"
measure ndjson-parquet-snappy wide.ndjson -o "$work/out.parquet" --codec snappy
measure ndjson-parquet-none wide.ndjson -o "$work/out.parquet" --codec none
measure ndjson-csv wide.ndjson -o "$work/out.csv"
measure ndjson-ndjson wide.ndjson -o "$work/out.ndjson"
measure ndjson-filter-select wide.ndjson -o - --to ndjson --where 'score > 0.8' \
    --select company_name,domain,employee_count,score
measure csv-parquet-zstd wide.csv -o "$work/out.parquet"
measure narrow-parquet-zstd narrow.ndjson -o "$work/out.parquet"
exit "$failed"
