#!/usr/bin/env python3
"""Times loads of one NDJSON file into a new table of PostgreSQL, by drawoff and by others, in turns.

    postgres.py --drawoff target/release/drawoff [--rows 200000] [--shape wide] [--runs 3] [--only NAME,...]

Needs an installed PostgreSQL server, which it starts on a free port with the settings of a small machine (fsync stays
on), and the packages of requirements.txt. Each tool gets the file and makes the table with the types that it finds.
DuckDB has no jsonb for nested values: it loads them as text, which is half the work for the server, and once more into a
table with drawoff's types; drawoff loads into a table with DuckDB's types as well. The two lines in brackets are floors rather than tools: `psql \\copy` of the rows as a ready CSV file, and the binary COPY
stream of the loaded table sent again from memory, into tables that exist. Prints one line for each tool: the median and
all times, the ratio to drawoff's median, the medians of the CPU time of client and server, which other work on the machine
changes little, the peak memory of the client, and whether the table has every row.
"""
import argparse
import os
import pathlib
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class Server:
    """A server in a directory of its own, as the user `postgres` if this is root."""

    def __init__(self, directory):
        found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))
        self.bin = found[-1] if found else pathlib.Path(shutil.which("postgres")).resolve().parent
        self.data, self.port = directory / "data", free_port()
        self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        if self.as_user:
            shutil.chown(directory, "postgres", "postgres")
        self.run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={directory} " \
            "-c shared_buffers=512MB -c max_wal_size=8GB -c checkpoint_timeout=30min"
        self.run("pg_ctl", "-D", self.data, "-o", options, "-l", directory / "log", "-w", "start")
        self.url = f"postgres://postgres@127.0.0.1:{self.port}/postgres"

    def run(self, program, *arguments):
        command = [*self.as_user, str(self.bin / program), *map(str, arguments)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    def psql(self, sql):
        done = subprocess.run(["psql", "-XAtq", "-d", self.url, "-c", sql], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def cpu(self):
        """CPU time of the server's processes that have ended: one for each connection."""
        pid = (self.data / "postmaster.pid").read_text().split()[0]
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")

    def stop(self):
        self.run("pg_ctl", "-D", self.data, "-m", "immediate", "stop")


def timed(command, **options):
    """Wall time, CPU time and peak memory of a process and its children."""
    before = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **options)
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(error.decode(errors="replace")[-2000:])
    return time.monotonic() - before, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


PYTHON = {
    "psycopg": """
import json, sys, psycopg
path, url, table = sys.argv[1:]
kinds = {bool: "boolean", int: "bigint", float: "double precision", str: "text"}
columns = {}
for line in open(path):
    for key, value in json.loads(line).items():
        kind = kinds.get(type(value), "jsonb") if value is not None else None
        known = columns.get(key)
        if known != kind and kind is not None:
            columns[key] = "double precision" if {known, kind} == {"bigint", "double precision"} else kind if known is None else "jsonb"
with psycopg.connect(url) as connection, connection.cursor() as cursor:
    cursor.execute(f"CREATE TABLE {table} (" + ", ".join(f'"{k}" {t or "text"}' for k, t in columns.items()) + ")")
    nested = {k for k, t in columns.items() if t == "jsonb"}
    with cursor.copy(f"COPY {table} FROM STDIN") as copy:
        for line in open(path):
            row = json.loads(line)
            copy.write_row([json.dumps(row[k]) if k in nested and row.get(k) is not None else row.get(k) for k in columns])
""",
    "dlt": """
import sys, dlt, json
path, url, table = sys.argv[1:]
def rows():
    block = []
    for line in open(path):
        block.append(json.loads(line))
        if len(block) == 5000:
            yield block
            block = []
    yield block
resource = dlt.resource(rows(), name=table, max_table_nesting=0)
pipeline = dlt.pipeline("bench_" + table, destination=dlt.destinations.postgres(credentials=url.replace("postgres@", "postgres:any@")), dataset_name="public", pipelines_dir=sys.argv[2][-4:])
pipeline.run(resource, write_disposition="append")
""",
    "duckdb": """
import sys, duckdb, importlib.util, pathlib
path, url, table, *same_types = sys.argv[1:]
connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
for name in ("postgres_scanner", "postgres"):
    found = importlib.util.find_spec("duckdb_extension_" + name)
    if found:
        file = next(pathlib.Path(found.submodule_search_locations[0]).rglob("*.duckdb_extension"))
        try:
            connection.execute(f"LOAD '{file}'")
            break
        except duckdb.Error as error:
            print(error, file=sys.stderr)
connection.execute(f"ATTACH '{url}' AS pg (TYPE postgres)")
read = f"FROM read_json('{path}', format='newline_delimited')"
# It has no form for structs and lists in PostgreSQL.
columns = [f'"{name}"' if not any(word in kind for word in ("STRUCT", "[]", "MAP")) else f'to_json("{name}")::VARCHAR AS "{name}"'
           for name, kind, *_ in connection.execute("DESCRIBE SELECT * " + read).fetchall()]
select = f"SELECT {', '.join(columns)} {read}"
connection.execute(f"INSERT INTO pg.public.{table} BY NAME {select}" if same_types else f"CREATE TABLE pg.public.{table} AS {select}")
""",
    "replay": """
import sys, psycopg
path, url, table = sys.argv[1:]
stream = open(path, "rb").read()
import time
begin = time.monotonic()
with psycopg.connect(url) as connection, connection.cursor() as cursor:
    with cursor.copy(f"COPY {table} FROM STDIN (FORMAT binary)") as copy:
        for at in range(0, len(stream), 1 << 20):
            copy.write(stream[at:at + (1 << 20)])
print(time.monotonic() - begin)
""",
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drawoff", required=True)
    parser.add_argument("--other", help="another build of drawoff, for comparison")
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--shape", default="wide", choices=["wide", "narrow"])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="bench-pg"))
    directory.chmod(0o755)
    server = None
    try:
        source = directory / "rows.ndjson"
        generate = [sys.executable, HERE.parent / "peers" / "generate.py"]
        subprocess.run([*generate, "--rows", str(arguments.rows), "--shape", arguments.shape, "--out", source], check=True)
        work = directory / "server"
        work.mkdir()
        server = Server(work)
        measure(arguments, server, source, directory)
    finally:
        if server:
            server.stop()
        shutil.rmtree(directory, ignore_errors=True)


def measure(arguments, server, source, directory):
    url = server.url

    def python(name):
        return lambda table: timed([sys.executable, "-c", PYTHON[name], str(source), url, table], cwd=directory)

    def drawoff(table, binary=arguments.drawoff):
        return timed([binary, "convert", str(source), "-q", "-o", url, "--into", table])

    def duckdb_same_types(table):
        server.psql(f"CREATE TABLE {table} (LIKE loaded)")
        return timed([sys.executable, "-c", PYTHON["duckdb"], str(source), url, table, "same_types"], cwd=directory)

    def drawoff_same_types(table):
        server.psql(f"CREATE TABLE {table} (LIKE loaded_as_text)")
        return drawoff(table)

    def sling(table):
        import sling_linux_amd64
        binary = pathlib.Path(sling_linux_amd64.__file__).parent / "bin" / "sling-linux-amd64"
        environment = {**os.environ, "PG": url + "?sslmode=disable", "SLING_DISABLE_TELEMETRY": "TRUE"}
        command = [str(binary), "run", "--src-stream", f"file://{source}", "--tgt-conn", "PG",
                   "--tgt-object", f"public.{table}", "--mode", "full-refresh", "--src-options", "{format: jsonlines, flatten: false}"]
        return timed(command, env=environment, cwd=directory)

    # The floors need the rows that drawoff loaded.
    drawoff("loaded")
    server.psql(f"COPY loaded TO '{directory}/server/rows.csv' (FORMAT csv)")
    server.psql(f"COPY loaded TO '{directory}/server/rows.bin' (FORMAT binary)")

    def copy_csv(table):
        server.psql(f"CREATE TABLE {table} (LIKE loaded)")
        return timed(["psql", "-XAtq", "-d", url, "-c", f"\\copy {table} FROM '{directory}/server/rows.csv' (FORMAT csv)"])

    def replay(table):
        server.psql(f"CREATE TABLE {table} (LIKE loaded)")
        command = [sys.executable, "-c", PYTHON["replay"], f"{directory}/server/rows.bin", url, table]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return float(done.stdout), 0, 0

    try:
        python("duckdb")("loaded_as_text")
    except RuntimeError as error:
        print(error, file=sys.stderr)

    tools = {
        "drawoff": drawoff,
        "drawoff, nested as text": drawoff_same_types,
        "[COPY stream from memory]": replay,
        "[psql \\copy of a CSV file]": copy_csv,
        "duckdb, nested as text": python("duckdb"),
        "duckdb, jsonb": duckdb_same_types,
        "psycopg, json.loads": python("psycopg"),
        "sling": sling,
        "dlt": python("dlt"),
    }
    if arguments.other:
        tools["other drawoff"] = lambda table: drawoff(table, arguments.other)
    only = [name for name in arguments.only.split(",") if name]
    tools = {name: run for name, run in tools.items() if not only or any(word in name for word in only)}
    times, cpu, peaks, rows = {name: [] for name in tools}, {name: [] for name in tools}, {name: 0 for name in tools}, {}
    for turn in range(arguments.runs):
        for number, (name, run) in enumerate(tools.items()):
            table = f"t{turn}_{number}"
            server.psql("CHECKPOINT")
            before = server.cpu()
            try:
                seconds, client, peak = run(table)
            except Exception as error:
                rows[name] = "failed: " + " ".join(str(error).split())[-200:]
                continue
            times[name].append(seconds)
            # The process of a connection ends a moment after its client.
            while server.psql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'") != "1":
                time.sleep(0.05)
            cpu[name].append((client, server.cpu() - before))
            peaks[name] = max(peaks[name], peak)
            found = server.psql(f"SELECT count(*) FROM {table}")
            rows[name] = "all rows" if found == str(arguments.rows) else f"{found} rows"
            server.psql(f"DROP TABLE {table} CASCADE")
    base = statistics.median(times["drawoff"]) if times.get("drawoff") else None
    size = source.stat().st_size
    print(f"{arguments.rows} {arguments.shape} rows, {size / 1e6:.0f} MB of NDJSON, PostgreSQL {server.psql('SHOW server_version')}")
    for name, taken in times.items():
        if not taken:
            print(f"{name:28} {rows.get(name, '')}")
            continue
        median = statistics.median(taken)
        ratio = f"{median / base:5.2f} x" if base else ""
        client, backend = (statistics.median(used) for used in zip(*cpu[name]))
        shown = " ".join(f"{seconds:.2f}" for seconds in taken)
        print(f"{name:28} {median:7.2f} s  {ratio}  cpu {client:5.2f} + {backend:5.2f} s  {peaks[name] / (1 << 20):6.0f} MiB  {rows[name]}  ({shown})")


if __name__ == "__main__":
    main()
