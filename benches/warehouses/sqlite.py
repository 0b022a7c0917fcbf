#!/usr/bin/env python3
"""Times loads of one NDJSON file into a new table of an SQLite file, by drawoff and by others, in turns.

    sqlite.py --drawoff target/release/drawoff [--rows 200000] [--shape wide] [--runs 3] [--only NAME,...]

Needs the `sqlite3` command and the packages of requirements.txt. Each tool gets the NDJSON file, except `sqlite3 .import`,
which has no JSON and gets the same rows as CSV: it makes every value text and parses nothing. The line in brackets is a
floor rather than a tool: `INSERT ... SELECT` of the loaded table within SQLite, into a table of the same types. Prints one
line for each tool: the median and all times, the ratio to drawoff's median, the median of the CPU time, the peak memory,
and whether the table has every row.
"""
import argparse
import os
import pathlib
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent

PYTHON = {
    "executemany": """
import json, sqlite3, sys
path, file = sys.argv[1:]
kinds = {bool: "INTEGER", int: "INTEGER", float: "REAL"}
columns = {}
for line in open(path):
    for key, value in json.loads(line).items():
        kind = kinds.get(type(value), "TEXT") if value is not None else None
        known = columns.get(key)
        if known != kind and kind is not None:
            columns[key] = "REAL" if {known, kind} == {"INTEGER", "REAL"} else kind if known is None else "TEXT"
def rows():
    for line in open(path):
        row = json.loads(line)
        yield [json.dumps(value, ensure_ascii=False) if isinstance(value := row.get(key), (dict, list)) else value for key in columns]
with sqlite3.connect(file) as connection:
    connection.execute("CREATE TABLE t (" + ", ".join(f'"{k}" {t or "TEXT"}' for k, t in columns.items()) + ")")
    connection.executemany("INSERT INTO t VALUES (" + ",".join("?" * len(columns)) + ")", rows())
""",
    "duckdb": """
import sys, duckdb, importlib.util, pathlib
path, file = sys.argv[1:]
connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
found = importlib.util.find_spec("duckdb_extension_sqlite_scanner")
extension = next(pathlib.Path(found.submodule_search_locations[0]).rglob("*.duckdb_extension"))
connection.execute(f"LOAD '{extension}'")
connection.execute(f"ATTACH '{file}' AS lite (TYPE sqlite)")
read = f"FROM read_json('{path}', format='newline_delimited')"
# It has no form for structs and lists in SQLite.
columns = [f'"{name}"' if not any(word in kind for word in ("STRUCT", "[]", "MAP")) else f'to_json("{name}")::VARCHAR AS "{name}"'
           for name, kind, *_ in connection.execute("DESCRIBE SELECT * " + read).fetchall()]
connection.execute(f"CREATE TABLE lite.t AS SELECT {', '.join(columns)} {read}")
""",
}


def timed(command):
    """Wall time, CPU time and peak memory of a process and its children."""
    before = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(error.decode(errors="replace")[-2000:])
    return time.monotonic() - before, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drawoff", required=True)
    parser.add_argument("--other", help="another build of drawoff, for comparison")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--shape", default="wide", choices=["wide", "narrow"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bench-sqlite"))
    try:
        measure(arguments, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def measure(arguments, directory):
    source, rows_csv = directory / "rows.ndjson", directory / "rows.csv"
    generate = [sys.executable, HERE.parent / "peers" / "generate.py", "--rows", str(arguments.rows), "--shape", arguments.shape]
    subprocess.run([*generate, "--out", source], check=True)
    subprocess.run([*generate, "--format", "csv", "--out", rows_csv], check=True)

    def drawoff(binary):
        return lambda file: timed([binary, "convert", str(source), "-q", "-o", f"sqlite:{file}", "--into", "t"])

    def python(name):
        return lambda file: timed([sys.executable, "-c", PYTHON[name], str(source), str(file)])

    loaded = directory / "loaded.db"
    drawoff(arguments.drawoff)(loaded)
    with sqlite3.connect(loaded) as connection:
        ddl = connection.execute("SELECT sql FROM sqlite_master WHERE name = 't'").fetchone()[0]

    tools = {
        "drawoff": drawoff(arguments.drawoff),
        "[INSERT SELECT in SQLite]": lambda file: timed(
            ["sqlite3", str(file), f"ATTACH '{loaded}' AS l; BEGIN; {ddl}; INSERT INTO main.t SELECT * FROM l.t; COMMIT"]),
        "sqlite3 .import of CSV": lambda file: timed(["sqlite3", str(file), ".mode csv", f".import {rows_csv} t"]),
        "python executemany": python("executemany"),
        "duckdb": python("duckdb"),
    }
    if arguments.other:
        tools["other drawoff"] = drawoff(arguments.other)
    only = [name for name in arguments.only.split(",") if name]
    tools = {name: run for name, run in tools.items() if not only or any(word in name for word in only)}
    times, cpu, peaks, rows = {name: [] for name in tools}, {name: [] for name in tools}, {name: 0 for name in tools}, {}
    for turn in range(arguments.runs):
        for name, run in tools.items():
            file = directory / "new.db"
            os.sync()
            try:
                seconds, used, peak = run(file)
            except Exception as error:
                rows[name] = "failed: " + " ".join(str(error).split())[-200:]
                continue
            times[name].append(seconds)
            cpu[name].append(used)
            peaks[name] = max(peaks[name], peak)
            with sqlite3.connect(file) as connection:
                found = connection.execute("SELECT count(*) FROM t").fetchone()[0]
            rows[name] = "all rows" if found == arguments.rows else f"{found} rows"
            for left in directory.glob("new.db*"):
                left.unlink()
    base = statistics.median(times["drawoff"]) if times.get("drawoff") else None
    print(f"{arguments.rows} {arguments.shape} rows, {source.stat().st_size / 1e6:.0f} MB of NDJSON, SQLite {sqlite3.sqlite_version}")
    for name, taken in times.items():
        if not taken:
            print(f"{name:28} {rows.get(name, '')}")
            continue
        median = statistics.median(taken)
        ratio = f"{median / base:5.2f} x" if base else ""
        shown = " ".join(f"{seconds:.2f}" for seconds in taken)
        used = statistics.median(cpu[name])
        print(f"{name:28} {median:7.2f} s  {ratio}  cpu {used:6.2f} s  {peaks[name] / (1 << 20):6.0f} MiB  {rows[name]}  ({shown})")


if __name__ == "__main__":
    main()
