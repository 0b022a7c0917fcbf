#!/usr/bin/env bash
# The speed table: drawoff beside DuckDB, polars, ClickHouse (chdb) and pyarrow, in one run.
#
#   benches/peers/run.sh                      everything: about two hours, 15 GB of disk
#   benches/peers/run.sh --quick              a tenth of the rows, once; nothing is recorded
#   benches/peers/run.sh --tasks a,d --runs 5 --data /var/tmp/drawoff-data
#
# Installs the peers, pinned, into a virtual environment of its own, builds the release binary
# (unless --drawoff names one), and hands all options to table.py; see its --help.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
cache="${XDG_CACHE_HOME:-$HOME/.cache}/drawoff"

venv="$cache/peers-$(sha256sum "$here/requirements.txt" | cut -c1-12)"
if ! "$venv/bin/python" -c 'import chdb, duckdb, polars, pyarrow' 2> /dev/null; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
fi

built=()
if [[ " $* " != *" --drawoff "* && " $* " != *" --drawoff="* && " $* " != *" --show"* && " $* " != *" --update-docs"* ]]; then
    (cd "$root" && cargo build --locked --release)
    built=(--drawoff "${CARGO_TARGET_DIR:-$root/target}/release/drawoff")
fi
exec "$venv/bin/python" "$here/table.py" "${built[@]}" "$@"
