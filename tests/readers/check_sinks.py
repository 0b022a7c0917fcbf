"""Runs drawoff's outputs over generated records and compares what other readers find there with the records themselves.

    python check_sinks.py DRAWOFF FOLDER

Prints the number of comparisons; ends with 1 and the first difference otherwise.
"""

import csv
import hashlib
import io
import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from urllib.parse import unquote

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

drawoff, folder = sys.argv[1], Path(sys.argv[2])
random.seed(6)
compared = 0

NULL = "__HIVE_DEFAULT_PARTITION__"
COUNTRIES = ["NO", "SE", None, "", "Åland/x y", "a=b", "100%", "..", NULL, "null", 'q"uo,te', "日本"]
TEXTS = ["", "plain", "one, two", 'say "hi"', "two\nlines", "é", "=1+1", "x" * 40, None]


def record(i):
    return {
        "id": i,
        "country": random.choice(COUNTRIES),
        "n": random.choice([0, 1, 12, -3, None]),
        "f": random.choice([0.5, -1.25, 1e300, None]),
        "t": random.choice(TEXTS),
        "o": random.choice([None, {"city": random.choice(["Oslo", None]), "l": [1, 2][: random.randint(0, 2)]}]),
    }


records = [record(i) for i in range(3000)]
lines = [json.dumps(r, ensure_ascii=False) for r in records]
source = folder / "in.ndjson"
source.write_text("".join(line + "\n" for line in lines), encoding="utf-8")


def run(*args, code=0, stdin=None):
    done = subprocess.run([drawoff, *map(str, args)], cwd=folder, capture_output=True, input=stdin, timeout=60)
    if done.returncode != code:
        sys.exit(f"{args}: exit code {done.returncode}\n{done.stderr.decode()}")
    return done


def same(what, found, expected):
    global compared
    compared += 1
    if found != expected:
        at = next((i for i, (a, b) in enumerate(zip(found, expected)) if a != b), min(len(found), len(expected)))
        sys.exit(f"{what}: differs at {at} of {len(found)} and {len(expected)}\n{found[at:at + 1]}\n{expected[at:at + 1]}")


def of_csv(text, **dialect):
    """Records as drawoff writes them; quotes tell the empty text from null, which the csv module does not."""
    return list(csv.reader(io.StringIO(text, newline=""), **dialect))


def cell(value):
    match value:
        case None:
            return ""
        case dict():
            return json.dumps(value, ensure_ascii=False)
        case float():
            return json.dumps(value)
        case _:
            return str(value)


def rows_of_csv(rows, names):
    return [[cell(r[name]) for name in names] for r in rows]


NAMES = list(records[0])

# Arrow: a stream through a pipe, and a file.
piped = run("convert", source, "-o", "-", "--to", "arrow-stream").stdout
same("stream", pa.ipc.open_stream(io.BytesIO(piped)).read_all().to_pylist(), records)
run("convert", source, "-o", "out.arrow")
same("file", pa.ipc.open_file(folder / "out.arrow").read_all().to_pylist(), records)
run("convert", source, "-o", "out.arrows", "--where", "n > 100")
same("no rows", pa.ipc.open_stream(folder / "out.arrows").read_all().column_names, NAMES)

# A tee: every output has every record, and is what it would be alone.
tee = run(*"convert in.ndjson -o t.parquet -o - --to csv -o t.ndjson -o t.arrow -o t.json -o t.tsv".split())
same("tee, Parquet", pq.read_table(folder / "t.parquet").to_pylist(), records)
same("tee, NDJSON", (folder / "t.ndjson").read_text(encoding="utf-8").splitlines(), lines)
same("tee, Arrow", pa.ipc.open_file(folder / "t.arrow").read_all().to_pylist(), records)
same("tee, JSON", json.loads((folder / "t.json").read_text(encoding="utf-8")), records)
found = of_csv(tee.stdout.decode())
same("tee, header", found[0], NAMES)
numbers = [[row[i] for i in (0, 1, 2, 4)] for row in found[1:]]
same("tee, CSV", numbers, [[cell(r[name]) for name in ("id", "country", "n", "t")] for r in records])
same("tee, doubles", [float(row[3]) if row[3] else None for row in found[1:]], [r["f"] for r in records])
same("tee, nested", [json.loads(row[5]) if row[5] else None for row in found[1:]], [r["o"] for r in records])
same("tee, TSV", of_csv((folder / "t.tsv").read_text(), delimiter="\t"), found)
run(*"convert in.ndjson -o t2.csv -o t2.ndjson".split())
run(*"convert in.ndjson -o alone.csv".split())
same("text alone", (folder / "t2.csv").read_text(), (folder / "alone.csv").read_text())

# Where a limit and steps are in between, too.
run(*"convert in.ndjson -o l.parquet -o l.csv -o l.arrow --where".split(), "n = 12", "--limit", 7, "--select", "id,t")
expected = [{"id": r["id"], "t": r["t"]} for r in records if r["n"] == 12][:7]
same("limit, Parquet", pq.read_table(folder / "l.parquet").to_pylist(), expected)
same("limit, Arrow", pa.ipc.open_file(folder / "l.arrow").read_all().to_pylist(), expected)
same("limit, CSV", of_csv((folder / "l.csv").read_text())[1:], rows_of_csv(expected, ["id", "t"]))


def manifest_of(path):
    """The manifest, after comparing it with what stands there."""
    manifest = json.loads((path / "_manifest.json").read_text())
    there = {p.relative_to(path).as_posix() for p in path.rglob("*") if p.is_file()}
    same(f"{path}: files", sorted(there - {"_manifest.json", "_SUCCESS"}), [f["path"] for f in manifest["files"]])
    assert "_SUCCESS" in there
    for file in manifest["files"]:
        contents = (path / file["path"]).read_bytes()
        same(file["path"], [len(contents), hashlib.sha256(contents).hexdigest()], [file["bytes"], file["sha256"]])
    same(f"{path}: sums", [manifest["rows"], manifest["bytes"]],
         [sum(f["rows"] for f in manifest["files"]), sum(f["bytes"] for f in manifest["files"])])
    return manifest


def read(path):
    """Rows of one file."""
    match path.name.split(".", 1)[1]:
        case "parquet":
            return pq.ParquetFile(path).read().to_pylist()
        case "arrow":
            return pa.ipc.open_file(path).read_all().to_pylist()
        case "ndjson":
            return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        case "json":
            return json.loads(path.read_text(encoding="utf-8"))
        case "csv":
            header, *rows = of_csv(path.read_text(encoding="utf-8"))
            return [dict(zip(header, row)) for row in rows]


def value_of(text):
    # NULL escaped is the text itself.
    return None if text == NULL else unquote(text)


# Divided by columns: every row in the folder of its own values, in order, without these columns.
by_values = defaultdict(list)
for r in records:
    rest = {k: v for k, v in r.items() if k not in ("country", "n")}
    by_values[(r["country"], None if r["n"] is None else str(r["n"]))].append(rest)
for to in ["parquet", "ndjson", "csv", "arrow", "json"]:
    out = folder / f"by-{to}"
    # Memory so small that files are written to many times.
    args = [*f"convert in.ndjson -o {out.name}/ --partition-by country,n --max-memory 1MiB --to".split(), to]
    run(*args)
    manifest = manifest_of(out)
    found = defaultdict(list)
    for file in manifest["files"]:
        (first, country), (second, n) = [part.split("=", 1) for part in file["path"].split("/")[:2]]
        same("names", [first, second], ["country", "n"])
        rows = read(out / file["path"])
        same("rows of a file", len(rows), file["rows"])
        found[(value_of(country), value_of(n))].extend(rows)
    if to == "csv":
        plain = {key: rows_of_csv(rows, list(rows[0])) for key, rows in by_values.items()}
        same("by, csv", sorted(map(repr, found)), sorted(map(repr, plain)))
        for key, rows in plain.items():
            ids = [[row[0], row[2]] for row in rows]
            same("by, csv rows", [[r["id"], r["t"]] for r in found[key]], ids)
    else:
        same(f"by, {to}", dict(found), dict(by_values))
    # The same again replaces, and doubles nothing.
    run(*args)
    same("again", manifest_of(out), manifest)

# As datasets.
table = ds.dataset(folder / "by-parquet", format="parquet", partitioning=ds.partitioning(
    pa.schema([("country", pa.string()), ("n", pa.int64())]), flavor="hive")).to_table()
key = lambda r: r["id"]  # noqa: E731
tabled = sorted(table.to_pylist(), key=key)
# pyarrow has one word for null, and takes an empty value for it.
same("pyarrow", [(r["id"], r["n"], r["t"], r["o"]) for r in tabled], [(r["id"], r["n"], r["t"], r["o"]) for r in records])
places = [i for i, r in enumerate(records) if r["country"] not in ("", NULL)]
same("pyarrow's countries", [tabled[i]["country"] for i in places], [records[i]["country"] for i in places])
query = f"""select id, n, t from read_parquet('{folder}/by-parquet/**/*.parquet', hive_partitioning = true,
    hive_types = {{'country': varchar, 'n': bigint}}) order by id"""
same("DuckDB", duckdb.sql(query).fetchall(), [(r["id"], r["n"], r["t"]) for r in records])

# Files of so many rows or bytes: together the records in order, and none larger.
for to, exact in [("csv", True), ("ndjson", True), ("json", True), ("arrow", True), ("parquet", False)]:
    out = folder / f"rows-{to}"
    run("convert", "in.ndjson", "-o", f"{out.name}/", "--to", to, "--max-file-rows", 700)
    manifest = manifest_of(out)
    sizes = [file["rows"] for file in manifest["files"]]
    assert all(0 < size <= 700 for size in sizes), sizes
    if exact:
        same(f"rows, {to}", sizes, [700, 700, 700, 700, 200])
    else:
        assert all(size > 700 * 3 // 4 for size in sizes[:-1]), sizes
    rows = [row for file in manifest["files"] for row in read(out / file["path"])]
    same(f"rows in order, {to}", [int(row["id"]) for row in rows], list(range(3000)))
    out = folder / f"bytes-{to}"
    run("convert", "in.ndjson", "-o", f"{out.name}/", "--to", to, "--max-file-bytes", "32K")
    manifest = manifest_of(out)
    if to not in ("parquet", "arrow"):
        assert all(file["bytes"] <= 32 << 10 for file in manifest["files"]), manifest
    assert len(manifest["files"]) > 1, to
    rows = [row for file in manifest["files"] for row in read(out / file["path"])]
    same(f"bytes in order, {to}", [int(row["id"]) for row in rows], list(range(3000)))

# A column that comes late, and a type that widens late, are in every file; and fewer files leave none of the many. The
# first records are more than the sample for the schema, and a pipe is read once.
wide = [{"id": i, "n": i % 3, "v": i, "o": {"a": 1}, "pad": "x" * 200} for i in range(24_000)]
wide += [{"id": 24_000, "n": 1, "v": 0.5, "o": {"a": None, "b": "new"}, "pad": None, "late": [1]}]
late = "".join(json.dumps(r) + "\n" for r in wide).encode()
assert len(late) > 5 << 20
names = ["id", "n", "v", "o", "pad", "late"]
expected = [{name: r.get(name) for name in names} | {"o": {"a": r["o"]["a"], "b": r["o"].get("b")}} for r in wide]
for to in ["csv", "parquet"]:
    out = folder / f"late-{to}"
    args = ["convert", "-", "-o", f"{out.name}/", "--to", to, "--max-file-rows", 6000]
    run(*args, stdin=late)
    manifest = manifest_of(out)
    rows = [row for file in manifest["files"] for row in read(out / file["path"])]
    for file in manifest["files"]:
        same("late columns", list(read(out / file["path"])[0]), names)
    same("late ids", [int(row["id"]) for row in rows], [r["id"] for r in wide])
    if to == "parquet":
        same("late rows", rows, expected)
    (out / f"other-00001.{to}").write_text("a file of somebody else's\n")
    run(*args[:-1], 50_000, stdin=late)
    left = sorted(p.name for p in out.iterdir())
    same("fewer", left, ["_SUCCESS", "_manifest.json", f"other-00001.{to}", f"part-00001.{to}"])
out = folder / "late-by"
run("convert", "-", "-o", "late-by/", "--partition-by", "n", "--max-file-rows", 5000, stdin=late)
found = defaultdict(list)
for file in manifest_of(out)["files"]:
    assert file["rows"] <= 5000, file
    found[int(file["path"].split("/")[0].removeprefix("n="))].extend(read(out / file["path"]))
for n in range(3):
    rest = [{k: v for k, v in r.items() if k != "n"} for r in expected if r["n"] == n]
    same("late, divided", found[n], rest)

# Adding to files.
for to in ["csv", "ndjson"]:
    out = folder / f"more.{to}"
    run("convert", source, "-o", out, "--append", "--limit", 10)
    first = out.read_text(encoding="utf-8")
    run("convert", source, "-o", out, "--append", "--limit", 10)
    rows = read(out)
    same(f"append, {to}", [int(row["id"]) for row in rows], [*range(10), *range(10)])
    assert out.read_text(encoding="utf-8").startswith(first)

print(f"{compared} comparisons")
