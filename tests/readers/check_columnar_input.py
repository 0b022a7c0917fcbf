"""Writes the same rows by pyarrow as Parquet and Arrow, and by DuckDB as Parquet, and compares what drawoff reads."""

import datetime as dt
import decimal
import json
import subprocess
import sys

import duckdb
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

ROWS = 20000


def read(drawoff, name, *flags):
    done = subprocess.run([drawoff, "convert", name, "-o", "-", *flags], capture_output=True, text=True)
    assert done.returncode == 0, (name, done.stderr)
    return done.stdout


def main(drawoff):
    n = range(ROWS)
    start = dt.datetime(2000, 1, 1, 1, 2, 3, 456)
    table = pa.table({
        "i8": pa.array([i % 100 for i in n], pa.int8()),
        "u64": pa.array([2**64 - 1 - i for i in n], pa.uint64()),
        "dec": pa.array([decimal.Decimal(i) / 100 for i in n], pa.decimal128(12, 2)),
        "dict": pa.array(["ab"[i % 2] * 20 for i in n]).dictionary_encode(),
        "large": pa.array([None if i % 7 == 0 else str(i) for i in n], pa.large_string()),
        "date": pa.array([dt.date(2000, 1, 1) + dt.timedelta(i) for i in n]),
        "ts": pa.array([start + dt.timedelta(hours=i) for i in n], pa.timestamp("us")),
        "zoned": pa.array([start + dt.timedelta(hours=i) for i in n], pa.timestamp("us", "Europe/Oslo")),
        "time": pa.array([dt.time(1, 2, 3)] * ROWS, pa.time32("s")),
        "list": pa.array([["x", None] if i % 3 else None for i in n], pa.large_list(pa.string())),
        "st": pa.array([{"a": i, "b": {"c": str(i)}} for i in n]),
        "m": pa.array([[("k", i)] for i in n], pa.map_(pa.string(), pa.int64())),
    })
    pq.write_table(table, "p.parquet", row_group_size=7000)
    feather.write_feather(table, "lz4.feather", compression="lz4")
    feather.write_feather(table, "zstd.feather", compression="zstd", chunksize=15000)
    with pa.ipc.new_stream("p.arrows", table.schema) as stream:
        stream.write_table(table)
    first = read(drawoff, "p.parquet")
    for name in ["lz4.feather", "zstd.feather", "p.arrows"]:
        assert read(drawoff, name) == first, name
    lines = first.splitlines()
    assert len(lines) == ROWS
    for line, row in zip(lines, table.to_pylist()):
        found = json.loads(line, parse_float=decimal.Decimal)
        row["m"] = dict(row["m"])
        row["date"], row["time"] = str(row["date"]), "01:02:03"
        assert dt.datetime.fromisoformat(found.pop("ts")) == row.pop("ts")
        zoned = dt.datetime.fromisoformat(found.pop("zoned").replace("Z", "+00:00"))
        assert zoned == row.pop("zoned").astimezone(dt.timezone.utc)
        assert found == row, (found, row)
    subprocess.run([drawoff, "convert", "p.parquet", "-o", "back.parquet", "--quiet"], check=True)
    back = pq.read_table("back.parquet")
    for name in ["i8", "dec", "large", "date", "ts", "list", "st", "m"]:
        assert back[name].to_pylist() == table[name].to_pylist(), name
    duckdb.sql(
        f"copy (select range as id, 'x' || range as s, [range] as l, {{'a': range}} as o, "
        f"date '2020-01-01' + (range % 99)::int as d, (range / 4)::decimal(18, 3) as n from range({ROWS})) to 'd.parquet'"
    )
    found = [json.loads(line) for line in read(drawoff, "d.parquet").splitlines()]
    rows = duckdb.sql("select * replace (d::varchar as d, n::double as n) from 'd.parquet'")
    expected = [dict(zip(rows.columns, row)) for row in rows.fetchall()]
    assert found == expected
    print(f"{ROWS} rows of each")


main(sys.argv[1])
