"""Reads Delta tables by deltalake and DuckDB, and makes tables by deltalake, for tests.

read TABLE            prints the rows of each reader as one JSON object a line: {"reader": ..., "columns": ..., "rows": [...]}
make TABLE NAME       writes the table NAME of those in `make`
container URL         creates the container `bucket` in Azurite
"""

import datetime
import decimal
import json
import os
import sys


def plain(value):
    """Returns a value as JSON has it: decimals as numbers with their digits, times in ISO 8601 with microseconds."""
    if isinstance(value, decimal.Decimal):
        return {"decimal": str(value)}
    if isinstance(value, datetime.datetime):
        if value.tzinfo is not None:
            value = value.astimezone(datetime.timezone.utc)
            return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
        return value.isoformat(timespec="microseconds")
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, list) and value and all(isinstance(item, tuple) for item in value):
        return {key: plain(item) for key, item in value}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def options():
    if "AZURITE_BLOB_STORAGE_URL" in os.environ:
        return {"azure_storage_use_emulator": "true"}
    return {"AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"], "AWS_ALLOW_HTTP": "true"}


def container(url):
    import base64
    import hashlib
    import hmac
    import urllib.request

    # The account of every Azurite, which is public.
    account = "devstoreaccount1"
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    date = datetime.datetime.now(datetime.timezone.utc).strftime("%a, %d %b %Y %H:%M:%S GMT")
    headers = {"x-ms-date": date, "x-ms-version": "2021-08-06"}
    signed = "PUT" + "\n" * 12 + "".join(f"{name}:{value}\n" for name, value in headers.items())
    signed += f"/{account}/{account}/bucket\nrestype:container"
    digest = hmac.new(base64.b64decode(key), signed.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey {account}:{base64.b64encode(digest).decode()}"
    headers["Content-Length"] = "0"
    request = urllib.request.Request(f"{url}/{account}/bucket?restype=container", method="PUT", headers=headers)
    urllib.request.urlopen(request)


def read(table):
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaProtocolError

    found = DeltaTable(table, storage_options=options() if "://" in table else None)
    try:
        arrow = found.to_pyarrow_table()
    except DeltaProtocolError:
        # A feature that it does not read, such as deletion vectors.
        arrow = None
    if arrow is not None:
        yield "deltalake", [[field.name, str(field.type)] for field in arrow.schema], arrow.to_pylist()
    if "://" in table:
        return
    import duckdb
    from duckdb_extensions import import_extension

    connection = duckdb.connect()
    # A query of two seconds shows it on standard output.
    connection.execute("SET enable_progress_bar = false")
    # It would be shown on standard output.
    connection.execute("SET enable_progress_bar = false")
    import_extension("delta", con=connection)
    # Through Arrow, which needs no module for time zones.
    arrow = connection.execute(f"SELECT * FROM delta_scan('{os.path.abspath(table)}')").to_arrow_table()
    yield "duckdb", [[field.name, str(field.type)] for field in arrow.schema], arrow.to_pylist()


def make(table, name):
    import pyarrow as pa
    from deltalake import DeltaTable, write_deltalake

    utc = datetime.timezone.utc
    rows = pa.table(
        {
            "id": pa.array([1, 2], pa.int64()),
            "name": ["a", "b"],
            "score": pa.array([1.5, None], pa.float64()),
            "at": pa.array([datetime.datetime(2024, 1, 1, tzinfo=utc)] * 2, pa.timestamp("us", tz="UTC")),
            "price": pa.array([decimal.Decimal("1.50"), None], pa.decimal128(10, 2)),
            "country": ["NO", None],
        }
    )
    if name == "plain":
        write_deltalake(table, rows)
    elif name == "divided":
        write_deltalake(table, rows, partition_by=["country"])
    elif name == "checkpoint":
        # The first entries are in the checkpoint alone.
        for _ in range(3):
            write_deltalake(table, rows, partition_by=["country"], mode="append")
        DeltaTable(table).create_checkpoint()
        for version in range(2):
            os.remove(f"{table}/_delta_log/{version:020}.json")
        write_deltalake(table, rows, mode="append")
    elif name == "narrow":
        write_deltalake(table, pa.table({"id": pa.array([1], pa.int32()), "name": ["a"], "raw": [b"x"]}))
    elif name == "append-only":
        write_deltalake(table, rows, configuration={"delta.appendOnly": "true"})
    elif name == "constraint":
        write_deltalake(table, rows)
        DeltaTable(table).alter.add_constraint({"positive": "id > 0"})
    elif name == "vectors":
        write_deltalake(table, rows, configuration={"delta.enableDeletionVectors": "true"})
    elif name == "required":
        schema = pa.schema([pa.field("id", pa.int64(), nullable=False), pa.field("name", pa.string())])
        write_deltalake(table, pa.table({"id": [1], "name": ["a"]}, schema=schema))
    elif name == "maps":
        text_to_long = pa.map_(pa.string(), pa.int64())
        inner = pa.list_(pa.struct([pa.field("m", text_to_long)]))
        schema = pa.schema([pa.field("id", pa.int64()), pa.field("m", text_to_long), pa.field("l", inner)])
        write_deltalake(table, pa.table({"id": [1], "m": [[("k", 1)]], "l": [[{"m": [("k", 1)]}]]}, schema=schema))
    elif name == "emptied":
        DeltaTable(table).delete()
    elif name == "compact":
        DeltaTable(table).optimize.compact()
    elif name == "state":
        DeltaTable(table, storage_options=options() if "://" in table else None).create_checkpoint()
    else:
        raise SystemExit(f"no table {name}")


if sys.argv[1] == "read":
    for reader, columns, rows in read(sys.argv[2]):
        print(json.dumps({"reader": reader, "columns": columns, "rows": plain(rows)}))
elif sys.argv[1] == "container":
    container(sys.argv[2])
else:
    make(sys.argv[2], sys.argv[3])
sys.stdout.flush()
# Threads of the libraries may abort the process while Python takes itself down.
os._exit(0)
