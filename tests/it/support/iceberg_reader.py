"""Reads Iceberg tables by pyiceberg and DuckDB, and makes tables by pyiceberg, for tests. The catalog is c.db in the current
directory, its warehouse the directory wh.

read TABLE            prints the rows of each reader as one JSON object a line: {"reader": ..., "columns": ..., "rows": [...]}
state TABLE           prints what the table names: {"files": [...], "snapshots": n, "keys": [...], "properties": {...}}
make TABLE NAME       makes the table NAME of the function below
filter TABLE EXPR     prints the ids that a filter keeps, and the number of files that it reads
lock                  locks the catalog for writing until the input ends
"""

import datetime
import decimal
import json
import os
import sys
import warnings

warnings.filterwarnings("ignore")


def plain(value):
    """Returns a value as JSON has it: decimals with their digits, times in ISO 8601 with microseconds."""
    if isinstance(value, decimal.Decimal):
        return {"decimal": str(value)}
    if isinstance(value, bytes):
        return value.decode()
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


def catalog():
    from pyiceberg.catalog.sql import SqlCatalog

    return SqlCatalog("default", uri="sqlite:///c.db", warehouse="file://" + os.path.abspath("wh"))


def read(name):
    table = catalog().load_table(name)
    columns = [[field.name, str(field.field_type)] for field in table.schema().fields]
    yield "pyiceberg", columns, table.scan().to_arrow().to_pylist()
    import duckdb
    from duckdb_extensions import import_extension

    connection = duckdb.connect()
    # A query of two seconds shows it on standard output.
    connection.execute("SET enable_progress_bar = false")
    import_extension("avro", con=connection)
    import_extension("iceberg", con=connection)
    arrow = connection.execute(f"SELECT * FROM iceberg_scan('{table.metadata_location}')").to_arrow_table()
    yield "duckdb", [[field.name, str(field.type)] for field in arrow.schema], arrow.to_pylist()


def state(name):
    table = catalog().load_table(name)
    local = lambda url: os.path.relpath(url.removeprefix("file://"))
    files, keys = [], []
    entries = [log.metadata_file for log in table.metadata.metadata_log] + [table.metadata_location]
    for snapshot in table.snapshots():
        entries.append(snapshot.manifest_list)
        keys.append(snapshot.summary.additional_properties.get("drawoff.commit-key"))
        for manifest in snapshot.manifests(table.io):
            entries.append(manifest.manifest_path)
    for file in table.inspect.all_files().to_pylist():
        files.append(local(file["file_path"]))
    return {
        "files": sorted(set(files)),
        "metadata": sorted({local(entry) for entry in entries}),
        "snapshots": len(table.snapshots()),
        "keys": keys,
        "properties": {key: value for key, value in table.properties.items()},
        "rows": table.scan().count(),
        "total": table.current_snapshot().summary.additional_properties.get("total-records"),
    }


def make(name, kind):
    import pyarrow as pa
    from pyiceberg.partitioning import PartitionField, PartitionSpec
    from pyiceberg.schema import Schema
    from pyiceberg.transforms import BucketTransform, IdentityTransform
    from pyiceberg.types import (
        BinaryType,
        DecimalType,
        DoubleType,
        FloatType,
        IntegerType,
        ListType,
        LongType,
        MapType,
        NestedField,
        StringType,
        StructType,
        TimestamptzType,
    )

    lake = catalog()
    lake.create_namespace_if_not_exists(name.split(".")[0])
    fields = [
        NestedField(1, "id", LongType(), required=kind == "required"),
        NestedField(2, "name", StringType(), doc="kept"),
        NestedField(3, "i", IntegerType()),
        NestedField(4, "f", FloatType()),
        NestedField(5, "price", DecimalType(10, 2)),
        NestedField(6, "at", TimestamptzType()),
        NestedField(7, "country", StringType()),
        NestedField(8, "l", ListType(9, StructType(NestedField(10, "x", IntegerType())), element_required=False)),
        NestedField(11, "raw", BinaryType()),
    ]
    if kind == "maps":
        fields = [fields[0], NestedField(2, "m", MapType(3, StringType(), 4, LongType(), value_required=False))]
    if kind == "doubles":
        fields = [fields[0], NestedField(2, "d", DoubleType()), NestedField(3, "c", StringType())]
    schema = Schema(*fields)
    spec = PartitionSpec()
    if kind == "divided":
        spec = PartitionSpec(PartitionField(7, 1000, IdentityTransform(), "where"))
    elif kind == "bucket":
        spec = PartitionSpec(PartitionField(1, 1000, BucketTransform(4), "id_bucket"))
    elif kind == "doubles":
        spec = PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "d"))
    properties = {}
    if kind == "v1":
        properties = {"format-version": "1"}
    elif kind == "gzip":
        properties = {"write.metadata.compression-codec": "gzip"}
    table = lake.create_table(name, schema=schema, partition_spec=spec, properties=properties)
    if kind in ("empty", "v1", "bucket", "gzip", "doubles"):
        return
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    if kind == "maps":
        table.append(pa.Table.from_pylist([{"id": 1, "m": {"k": 1}}], schema=schema_to_pyarrow(table.schema())))
        return
    at = datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc)
    rows = [
        {"id": 1, "name": "a", "i": 7, "f": 0.5, "price": decimal.Decimal("1.50"), "at": at, "country": "NO", "l": [{"x": 1}], "raw": b"x"},
        {"id": 2, "name": None, "i": None, "f": None, "price": None, "at": None, "country": None, "l": None, "raw": None},
    ]
    arrow = schema_to_pyarrow(table.schema())
    table.append(pa.Table.from_pylist(rows, schema=arrow))
    if kind == "deletes":
        table.delete("id = 2")


def main():
    command, *args = sys.argv[1:]
    if command == "read":
        for reader, columns, rows in read(args[0]):
            print(json.dumps({"reader": reader, "columns": columns, "rows": plain(rows)}))
    elif command == "state":
        print(json.dumps(state(args[0])))
    elif command == "make":
        make(*args)
    elif command == "expire":
        # As an engine does that keeps the last snapshot only.
        table = catalog().load_table(args[0])
        current = table.current_snapshot().snapshot_id
        table.maintenance.expire_snapshots().by_ids([s.snapshot_id for s in table.snapshots() if s.snapshot_id != current]).commit()
    elif command == "forget":
        # Removes the properties of loads.
        table = catalog().load_table(args[0])
        with table.transaction() as transaction:
            transaction.remove_properties(*[key for key in table.properties if key.startswith("drawoff.load.")])
    elif command == "append":
        import pyarrow as pa

        table = catalog().load_table(args[0])
        table.append(pa.table({"id": pa.array([int(args[1])], pa.int64()), "country": ["DK"]}))
    elif command == "unmake":
        # Leaves the table as a creation leaves it that ends before its row is written.
        import sqlite3

        namespace, name = args[0].split(".")
        with sqlite3.connect("c.db") as connection:
            connection.execute(
                "INSERT INTO drawoff_unfinished SELECT metadata_location FROM iceberg_tables WHERE table_namespace = ? AND table_name = ?",
                (namespace, name),
            )
            connection.execute("DELETE FROM iceberg_tables WHERE table_namespace = ? AND table_name = ?", (namespace, name))
    elif command == "other":
        import sqlite3

        with sqlite3.connect(args[0]) as connection:
            connection.execute("CREATE TABLE mine (a)")
    elif command == "rename":
        catalog().rename_table(args[0], args[1])
    elif command == "empty":
        catalog().load_table(args[0]).delete()
    elif command == "filter":
        table = catalog().load_table(args[0])
        scan = table.scan(row_filter=args[1])
        ids = sorted(row["id"] for row in scan.to_arrow().to_pylist())
        print(json.dumps({"ids": ids, "files": len(list(scan.plan_files()))}))
    elif command == "lock":
        import sqlite3

        connection = sqlite3.connect("c.db", isolation_level=None)
        connection.execute("BEGIN IMMEDIATE")
        print("locked", flush=True)
        sys.stdin.read()
        connection.execute("ROLLBACK")
    else:
        raise SystemExit(f"no command {command}")


main()
