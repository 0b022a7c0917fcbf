"""Checks the table of docs/parquet.md: Parquet files of the binary, as readers of other makers see them.

    python check_parquet_readers.py DRAWOFF PARQUET.md [--require READER,...]

Writes records with every type, reads the files with each reader that this Python has, and compares with what
`json.loads` finds in the same records. A cell of the table that says `yes` is a value for value match; any other cell
has the number of a note, and must be no match, so that a reader that has learned something is noticed.
"""

import argparse
import datetime
import decimal
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile

import pyarrow as pa

# Columns in the order of the table: name in the table, column, values of the records. A value that is left out is no
# member of its record. Text of timestamps is cast by the command.
ABSENT = object()
COLUMNS = [
    ("booleans", "a_bool", [True, False, None]),
    ("integers of 64 bits", "an_int", [-(2**63), 2**63 - 1, 0, None]),
    ("longer integers", "a_long", [10**37, -(10**37), 2**64, None]),
    ("numbers", "a_float", [0.1, -0.0, 1.7976931348623157e308, 5e-324, None]),
    ("text", "a_text", ["", "naïve ✓ 𝄞", "line\nbreak, \"quote\"", "x" * 70000, None]),
    ("text with U+0000", "a_nul", ["a\0b", "\0", None]),
    ("values of several types", "mixed", [1, "1", True, {"a": [1]}, [None], None]),
    ("only nulls", "nothing", [None]),
    ("`date`", "a_date", ["2024-02-29", "0001-01-01", "9999-12-31", None]),
    ("`decimal(38,12)`", "a_decimal", ["12345678901234567890123456.123456789012", "-0.000000000001", None]),
    ("`timestamp`", "an_instant", ["2024-01-31T12:00:00.123456Z", "1969-12-31T23:59:59.999999Z", None]),
    ("`timestamp(ms)`", "in_millis", ["2024-01-31T12:00:00.123Z", None]),
    ("`timestamp(ns)`", "in_nanos", ["2024-01-31T12:00:00.123456789Z", None]),
    ("`timestamp(local)`", "is_local", ["2024-01-31T12:00:00.123456", None]),
    ("objects", "an_object", [{"a": 1, "b": {"c": "x"}}, {"a": None, "b": {"c": "y"}}, {"b": None}, None]),
    ("objects without members", "empty", [{}, None]),
    ("lists", "a_list", [["a", None, "b"], [], [""], None]),
    ("lists of objects", "objects", [[{"a": 1}, None, {"a": 2}], [], None]),
    ("lists of lists", "lists", [[[1, None], [], None, [2]], [], None]),
    ("maps", "a_map", [{f"k{i:03}": i for i in range(300)}, {"k000": None}, {"": 1}, None]),
    ("maps of lists of objects", "a_deep_map", [{f"k{i:03}": [{"a": str(i)}] for i in range(300)}, {"k000": []}, None]),
]
# Of a file of their own, whose first row groups are written before the last record is read.
ROWS = 30000
LATE = [
    ("a column that appears late", "late", [ABSENT] * ROWS + [{"a": [1]}]),
    ("a type that widens late", "wider", [7] * ROWS + [0.5]),
    ("an integer type that widens late", "digits", [7] * ROWS + [2**70]),
]
CASTS = {
    "a_date": "date",
    "a_decimal": "decimal(38,12)",
    "an_instant": "timestamp",
    "in_millis": "timestamp(ms)",
    "in_nanos": "timestamp(ns)",
    "is_local": "timestamp(us,local)",
}
CODECS = ["zstd", "snappy", "lz4", "none"]


def records(columns):
    rows = []
    for i in range(max(len(values) for _, _, values in columns)):
        row = {name: values[i] for _, name, values in columns if i < len(values)}
        rows.append({name: value for name, value in row.items() if value is not ABSENT})
    return rows


# What the records say -----------------------------------------------------------------------------


def nanoseconds(text):
    date, _, time = text.removesuffix("Z").partition("T")
    seconds, _, fraction = time.partition(".")
    moment = datetime.datetime.fromisoformat(f"{date}T{seconds}+00:00")
    return int(moment.timestamp()) * 10**9 + int(fraction.ljust(9, "0") or 0)


def expected(name, value, kind=None):
    """The canonical form of a JSON value: floats and integers apart, members that are null left out."""
    if value is None or value is ABSENT:
        return None
    if name in ("an_instant", "in_millis", "in_nanos", "is_local"):
        return ("time", name != "is_local", nanoseconds(value))
    if name == "a_date":
        return ("date", value)
    if name == "a_decimal":
        return ("decimal", decimal.Decimal(value))
    if name in ("a_long", "digits"):
        return ("decimal", decimal.Decimal(value))
    if name == "mixed":
        return ("json", json.dumps(value, sort_keys=True))
    if name == "empty":
        return ("json", "{}")
    if name in ("a_float", "wider"):
        return ("float", float(value), math.copysign(1, value))
    return plain(value)


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [plain(v) for v in value]
    return value


# What a reader has found, as Arrow ----------------------------------------------------------------


def found(name, array):
    """The canonical form of a column."""
    kind = array.type
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    if pa.types.is_timestamp(kind):
        unit = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[kind.unit]
        counts = array.cast(pa.int64()).to_pylist()
        return [None if c is None else ("time", kind.tz is not None, c * unit) for c in counts]
    if pa.types.is_date(kind):
        days = array.cast(pa.date32()).cast(pa.int32()).to_pylist()
        epoch = datetime.date(1970, 1, 1).toordinal()
        return [None if d is None else ("date", datetime.date.fromordinal(epoch + d).isoformat()) for d in days]
    if pa.types.is_decimal(kind):
        return [None if v is None else ("decimal", v) for v in array.to_pylist()]
    if pa.types.is_floating(kind):
        return [None if v is None else ("float", v, math.copysign(1, v)) for v in array.to_pylist()]
    if name in ("mixed", "empty"):
        texts = array.to_pylist()
        return [None if t is None else ("json", json.dumps(json.loads(t), sort_keys=True)) for t in texts]
    return [nested(v, kind) for v in array.to_pylist()]


def nested(value, kind):
    if value is None:
        return None
    if pa.types.is_map(kind):
        return {k: v for k, v in ((k, nested(v, kind.item_type)) for k, v in value)}
    if pa.types.is_struct(kind):
        members = {f.name: nested(value[f.name], f.type) for f in kind}
        return {k: v for k, v in members.items() if v is not None}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_list_view(kind):
        return [nested(v, kind.value_type) for v in value]
    return value


def keep_nulls_of_maps(value):
    """A map has its null values, an object has no members that are null: both are canonical without."""
    if isinstance(value, dict):
        return {k: keep_nulls_of_maps(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [keep_nulls_of_maps(v) for v in value]
    return value


# Readers: the path of a file to a table of Arrow ---------------------------------------------------


def read_pyarrow(path, columns, _):
    import pyarrow.parquet as pq

    return pq.read_table(path, columns=columns)


def read_duckdb(path, columns, _):
    import duckdb

    con = duckdb.connect()
    con.execute("SET TimeZone = 'UTC'")
    names = ", ".join(f'"{c}"' for c in columns)
    return con.sql(f"SELECT {names} FROM read_parquet('{path}')").to_arrow_table()


def read_polars(path, columns, _):
    import polars

    return polars.read_parquet(path, columns=columns, hive_partitioning=False).to_arrow()


spark = sail = None


def read_sail(path, columns, _):
    global spark, sail
    if spark is None:
        from pysail.spark import SparkConnectServer
        from pyspark.sql import SparkSession

        sail = SparkConnectServer(ip="127.0.0.1", port=0)
        sail.start(background=True)
        _, port = sail.listening_address
        spark = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").getOrCreate()
        spark.conf.set("spark.sql.session.timeZone", "UTC")
    return spark.read.parquet(str(path)).select(*columns).toArrow()


def read_clickhouse(path, columns, _):
    import chdb

    names = ", ".join(f"`{c}`" for c in columns)
    settings = "output_format_arrow_string_as_string = 1, session_timezone = 'UTC'"
    query = f"SELECT {names} FROM file('{path}', Parquet) SETTINGS {settings}"
    body = chdb.query(query, "Arrow").bytes()
    return pa.ipc.open_file(pa.BufferReader(body)).read_all()


def read_deltalake(path, columns, folder):
    import shutil

    from deltalake import DeltaTable, convert_to_deltalake

    shutil.copy(path, folder / "part.parquet")
    convert_to_deltalake(str(folder))
    return pa.table(DeltaTable(str(folder)).to_pyarrow_table(columns=columns))


def read_iceberg(path, columns, folder):
    from pyiceberg.catalog.sql import SqlCatalog
    import pyarrow.parquet as pq

    catalog = SqlCatalog("c", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/warehouse")
    catalog.create_namespace("n")
    schema = pq.read_schema(path)
    table = catalog.create_table("n.t", schema=pa.schema([schema.field(c) for c in columns]))
    table.add_files([f"file://{path}"])
    return table.scan().to_arrow()


READERS = {
    "pyarrow": ("pyarrow", read_pyarrow),
    "DuckDB": ("duckdb", read_duckdb),
    "polars": ("polars", read_polars),
    "Sail": ("pysail", read_sail),
    "ClickHouse": ("chdb", read_clickhouse),
    "deltalake": ("deltalake", read_deltalake),
    "pyiceberg": ("pyiceberg", read_iceberg),
}


# Readers that make a table of a file.
TABLES = ["deltalake", "pyiceberg"]


def available(reader):
    import importlib

    try:
        importlib.import_module(READERS[reader][0])
        return True
    except ImportError:
        return False


# The check ------------------------------------------------------------------------------------------


def convert(drawoff, source, path, *flags):
    command = [drawoff, "convert", str(source), "-o", str(path), *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: {done.returncode}\n{done.stderr}")
    return path


def compare(reader, path, column, rows, work):
    """Returns an empty text for a match, else what is different."""
    read = READERS[reader][1]
    with tempfile.TemporaryDirectory(dir=work) as folder:
        try:
            # One column at a time, in files of their own for tables: what one cannot read spoils no other.
            table = read(path, [column], pathlib.Path(folder))
            values = found(column, table.column(column))
        except Exception as error:  # noqa: BLE001
            return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    wanted = [keep_nulls_of_maps(expected(column, row.get(column, ABSENT))) for row in rows]
    values = [keep_nulls_of_maps(value) for value in values]
    if len(values) != len(wanted):
        return f"{len(values)} rows, not {len(wanted)}"
    for i, (a, b) in enumerate(zip(values, wanted)):
        if a != b:
            return f"row {i}: {str(a)[:80]} ({table.column(column).type}), not {str(b)[:80]}"
    return ""


def table_of(document):
    """The cells of the first table whose head begins with `values` and `pyarrow`, by row and reader."""
    cells, head = {}, None
    for line in pathlib.Path(document).read_text().splitlines():
        row = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if head is None:
            if line.startswith("| values | pyarrow"):
                head = row[1:]
        elif line.startswith("|") and not re.match(r"\|[-| ]+\|$", line):
            cells[row[0]] = dict(zip(head, row[1:]))
        elif not line.startswith("|"):
            break
    return cells


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("drawoff")
    arguments.add_argument("document")
    arguments.add_argument("--require", default="pyarrow")
    arguments.add_argument("--show", action="store_true")
    given = arguments.parse_args()
    readers = [reader for reader in READERS if available(reader)]
    missing = [reader for reader in given.require.split(",") if reader not in readers]
    if missing:
        sys.exit(f"not installed: {', '.join(missing)}")
    faults = []
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        sources = {}
        for name, columns in [("in", COLUMNS), ("late", LATE)]:
            rows = records(columns)
            path = work / f"{name}.ndjson"
            path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
            sources[name] = (path, rows)
        casts = ",".join(f"{column}:{kind}" for column, kind in CASTS.items())
        cells = table_of(given.document)
        checks = []
        # All columns in one file; and each in its own for tables, so that what a reader cannot take spoils no other.
        whole = convert(given.drawoff, sources["in"][0], work / "all_in.parquet", "--cast", casts)
        late = convert(given.drawoff, sources["late"][0], work / "all_late.parquet")
        for name, columns, whole in [("in", COLUMNS, whole), ("late", LATE, late)]:
            source, rows = sources[name]
            for label, column, _ in columns:
                cast = ["--cast", f"{column}:{CASTS[column]}"] if column in CASTS else []
                alone = convert(given.drawoff, source, work / f"{column}.parquet", *cast, "--select", column)
                checks.append((label, column, whole, alone, rows))
        source, rows = sources["in"]
        for codec in CODECS:
            path = convert(given.drawoff, source, work / f"{codec}.parquet", "--select", "a_text", "--codec", codec)
            checks.append((f"`--codec {codec}`", "a_text", path, path, rows))
        none = convert(given.drawoff, source, work / "none_at_all.parquet", "--select", "an_int", "--where", "an_int = 12345")
        checks.append(("no rows", "an_int", none, none, []))
        for label, column, whole, alone, wanted in checks:
            shown = []
            for reader in readers:
                path = alone if reader in TABLES else whole
                fault = compare(reader, path, column, wanted, work)
                shown.append(f"{reader}: {fault or 'yes'}")
                cell = cells.get(label, {}).get(reader)
                if cell is None or (cell == "yes") != (fault == ""):
                    faults.append(f"{label}, {reader}: the table says {cell!r}, and the reader finds: {fault or 'a match'}")
            if given.show:
                print(f"{label}\n    " + "\n    ".join(shown), flush=True)
        unknown = set(cells) - {check[0] for check in checks}
        if unknown:
            faults.append(f"rows of the table that nothing checks: {sorted(unknown)}")
    if faults:
        sys.exit("\n".join(faults))
    print(f"{len(checks)} rows of the table, read by {', '.join(readers)}")


main()
