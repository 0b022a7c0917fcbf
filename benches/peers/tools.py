#!/usr/bin/env python3
"""What each peer does for a task, one process per call, so that starting it is part of its time.

    tools.py PEER JOB IN OUT [codec=zstd] [types=sample|told|full]

JOB is `ndjson-parquet`, `ndjson-csv`, `csv-parquet` or `filter`. `types=told` gives a peer what a
sample from the start of the data gets wrong: all types to DuckDB, those of the two columns that
change to the others. `types=full` lets it read everything for the types first. IN may be
/dev/stdin, and OUT /dev/stdout. A call is written the way that is fastest for its peer and still
does what the task says.
"""
import sys

LATE = {"growth": "float", "parent": "text"}
NESTED = ("hq", "emails", "contacts", "sources")
CHOSEN = ("company_name", "domain", "employee_count", "score")
DUCKDB_TYPES = """{company_name: 'VARCHAR', website: 'VARCHAR', domain: 'VARCHAR', industry: 'VARCHAR',
    employee_count: 'BIGINT', revenue_usd: 'DOUBLE', is_public: 'BOOLEAN', founded_year: 'BIGINT',
    hq: 'STRUCT(city VARCHAR, country VARCHAR, lat DOUBLE, lon DOUBLE)', emails: 'VARCHAR[]',
    contacts: 'STRUCT("name" VARCHAR, title VARCHAR, email VARCHAR, confidence DOUBLE)[]', phone: 'VARCHAR',
    growth: 'DOUBLE', parent: 'VARCHAR', notes: 'VARCHAR', sources: 'VARCHAR[]', score: 'DOUBLE',
    enriched_at: 'TIMESTAMP'}"""
THREADS = 2


def duckdb(job, source, target, codec, types):
    import duckdb
    connection = duckdb.connect()
    connection.execute(f"SET threads={THREADS}")
    if job == "csv-parquet":
        extra = {"sample": "", "told": ", types={growth: 'DOUBLE', parent: 'VARCHAR'}", "full": ", sample_size=-1"}[types]
        rows = f"read_csv('{source}'{extra})"
    else:
        extra = {"sample": "", "told": f", format='newline_delimited', columns={DUCKDB_TYPES}",
                 "full": ", sample_size=-1"}[types]
        rows = f"read_json('{source}'{extra})"
    select, form = f"FROM {rows}", f"FORMAT parquet, COMPRESSION {codec}"
    if job == "ndjson-csv":
        form = "FORMAT csv, HEADER"
    elif job == "filter":
        select, form = f"SELECT {', '.join(CHOSEN)} FROM {rows} WHERE score > 0.8", "FORMAT json"
    connection.execute(f"COPY ({select}) TO '{target}' ({form})")


def polars(job, source, target, codec, types):
    import polars as pl
    source = sys.stdin.buffer if source == "/dev/stdin" else source
    target = sys.stdout.buffer if target == "/dev/stdout" else target
    names = {"float": pl.Float64, "text": pl.String}
    told = {column: names[kind] for column, kind in LATE.items()} if types == "told" else {}
    length = None if types == "full" else 100
    if job == "csv-parquet":
        frame = pl.scan_csv(source, infer_schema_length=length, schema_overrides=told or None)
        return frame.sink_parquet(target, compression=codec, engine="streaming")
    if job == "ndjson-csv":
        told.update({column: pl.String for column in NESTED})
    frame = pl.scan_ndjson(source, infer_schema_length=length, schema_overrides=told or None)
    if job == "ndjson-csv":
        return frame.sink_csv(target, engine="streaming")
    if job == "filter":
        return frame.filter(pl.col("score") > 0.8).select(*CHOSEN).sink_ndjson(target, engine="streaming")
    return frame.sink_parquet(target, compression=codec, engine="streaming")


def clickhouse(job, source, target, codec, types):
    import chdb
    # `-` is a stream to ClickHouse; /dev/stdin would be a file that is opened again after its types are found.
    source = "-" if source == "/dev/stdin" else source
    read, write, chosen = {
        "ndjson-parquet": ("JSONEachRow", "Parquet", "*"),
        "ndjson-csv": ("JSONEachRow", "CSVWithNames", "*"),
        "csv-parquet": ("CSVWithNames", "Parquet", "*"),
        "filter": ("JSONEachRow", "JSONEachRow", ", ".join(CHOSEN)),
    }[job]
    settings = [f"max_threads={THREADS}", "engine_file_truncate_on_insert=1"]
    if types == "told":
        settings.append("schema_inference_hints='growth Nullable(Float64), parent Nullable(String)'")
    if write == "Parquet":
        settings.append(f"output_format_parquet_compression_method='{codec}'")
    where = "WHERE score > 0.8" if job == "filter" else ""
    chdb.query(f"INSERT INTO FUNCTION file('{target}', {write}) SELECT {chosen} FROM file('{source}', {read}) {where} "
               f"SETTINGS {', '.join(settings)}")


def pyarrow(job, source, target, codec, types):
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.json
    import pyarrow.parquet
    pa.set_cpu_count(THREADS)
    names = {"float": pa.float64(), "text": pa.string()}
    told = {column: names[kind] for column, kind in LATE.items()} if types == "told" else {}
    source = pa.PythonFile(sys.stdin.buffer, mode="r") if source == "/dev/stdin" else source
    if job == "csv-parquet":
        reader = pa.csv.open_csv(source, parse_options=pa.csv.ParseOptions(newlines_in_values=True),
                                 convert_options=pa.csv.ConvertOptions(column_types=told))
    elif job == "ndjson-parquet":
        schema = pa.schema(list(told.items())) if told else None
        reader = pa.json.open_json(source, parse_options=pa.json.ParseOptions(explicit_schema=schema))
    else:
        sys.exit(f"pyarrow has no {job}")
    with pa.parquet.ParquetWriter(target, reader.schema, compression=codec) as writer:
        for batch in reader:
            writer.write_batch(batch)


def main():
    peer, job, source, target = sys.argv[1:5]
    options = {"codec": "zstd", "types": "sample"}
    options.update(arg.split("=", 1) for arg in sys.argv[5:])
    globals()[peer](job, source, target, **options)


if __name__ == "__main__":
    main()
