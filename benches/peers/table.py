#!/usr/bin/env python3
"""Measures drawoff beside its peers, keeps the result as data, and prints it as a table.

    table.py --drawoff PATH [--drawoff-before PATH] [--tasks a,d,h] [--rows 1000000] [--runs 5] [--quick]
    table.py --show benches/record/2026-11-23-1a2b3c4.json
    table.py --update-docs docs/performance.md [--record FILE]

The tools of a task take turns, run by run, each turn in another order, so that what else the machine
does hits all of them; before each run all that is to be written to disks is written. For each run: wall
time, user and system time and the peak resident set of the tool's own process, bytes of output. Each
tool's first output is compared with the input. The record is benches/record/DATE-COMMIT.json, unless
--record names another file, and tasks are added to one that is there; a ratio is a peer's median wall
time through drawoff's. With --drawoff-before a second build takes its turn as well: what a change is
worth shows on a busy machine, too. Peers must be installed beside the Python that runs this; run.sh does
that. Linux only.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import random
import subprocess
import sys
import tempfile
import threading
import time
import zlib

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RECORDS = ROOT / "benches" / "record"
MIB = 1 << 20
# A child's peak starts from the memory of the process that it was forked from. With `vfork` that would
# be the highest ever of this one; with `fork` it is the present, which is kept small: what takes memory
# here is done in other processes. The record says how much is left (`least_peak_bytes`).
subprocess._USE_VFORK = False

BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
TIMEOUT_S = 900

DRAWOFF, DRAWOFF_BEFORE = "drawoff", "drawoff, before"
DUCKDB, DUCKDB_TOLD, DUCKDB_FULL = "DuckDB", "DuckDB, told all types", "DuckDB, full scan"
POLARS, CLICKHOUSE, PYARROW = "polars", "ClickHouse (chdb)", "pyarrow"
FLOOR_GZIP = "gzip -dc"


def peer(name, job, *options):
    return {"python": [name, job, *options]}


def convert(*args):
    return {"drawoff": list(args)}


PARQUET_PEERS = {
    DUCKDB: ("duckdb",), DUCKDB_TOLD: ("duckdb", "types=told"), DUCKDB_FULL: ("duckdb", "types=full"),
    POLARS: ("polars", "types=told"), CLICKHOUSE: ("clickhouse", "types=told"), PYARROW: ("pyarrow", "types=told"),
}


def parquet_peers(job, leave_out=(), more=()):
    """`more`: options of all; the narrow shape has no types to be told."""
    return {name: peer(call[0], job, *call[1:], *more) for name, call in PARQUET_PEERS.items() if name not in leave_out}


def narrow_peers():
    plain = {DUCKDB: "duckdb", POLARS: "polars", CLICKHOUSE: "clickhouse", PYARROW: "pyarrow"}
    return {name: peer(call, "ndjson-parquet") for name, call in plain.items()}


def text_peers(job):
    plain = {DUCKDB: ("duckdb",), DUCKDB_TOLD: ("duckdb", "types=told"), POLARS: ("polars", "types=told"),
             CLICKHOUSE: ("clickhouse", "types=told")}
    return {name: peer(call[0], job, *call[1:]) for name, call in plain.items()}


FILTER = ["-o", "-", "--to", "ndjson", "--where", "score > 0.8",
          "--select", "company_name,domain,employee_count,score"]

# title, input, how the output is checked, its name's end, drawoff's arguments, the peers, and the bars:
# least ratio to one tool, or to the fastest (None), and the most memory in MiB.
TASKS = {
    "a": dict(title="NDJSON to Parquet, zstd", input="wide.ndjson", kind="ndjson-parquet", suffix="parquet",
              drawoff=convert(), peers=parquet_peers("ndjson-parquet"),
              bars=[(DUCKDB_TOLD, 2.2), (DUCKDB_FULL, 4.0)], peak=256, size_of=DUCKDB_TOLD),
    "a-snappy": dict(title="NDJSON to Parquet, snappy", input="wide.ndjson", kind="ndjson-parquet", suffix="parquet",
                     drawoff=convert("--codec", "snappy"),
                     peers=parquet_peers("ndjson-parquet", [DUCKDB_FULL], ["codec=snappy"]),
                     bars=[(None, 2.2)], peak=256),
    "b": dict(title="NDJSON to CSV, nested as text", input="wide.ndjson", kind="ndjson-csv", suffix="csv",
              drawoff=convert(), peers=text_peers("ndjson-csv"), bars=[(None, 3.0)], peak=96),
    "c": dict(title="CSV to Parquet, zstd", input="wide.csv", kind="csv-parquet", suffix="parquet",
              drawoff=convert(), peers=parquet_peers("csv-parquet"), bars=[(None, 1.7)], peak=256),
    "d": dict(title="filter and 4 columns, NDJSON to NDJSON on a pipe", input="wide.ndjson", kind="filter",
              suffix="ndjson", drawoff={"drawoff": FILTER}, peers=text_peers("filter"), to_pipe=True,
              bars=[(None, 1.7)], peak=64),
    "e": dict(title="narrow NDJSON to Parquet, zstd", input="narrow.ndjson", kind="ndjson-parquet", suffix="parquet",
              drawoff=convert(), peers=narrow_peers(), bars=[(None, 2.0)], peak=256),
    "f": dict(title="gzip NDJSON to Parquet, zstd", input="wide.ndjson.gz", kind="ndjson-parquet", suffix="parquet",
              drawoff=convert(),
              peers={**parquet_peers("ndjson-parquet", [PYARROW, DUCKDB_FULL]),
                     FLOOR_GZIP: {"command": ["gzip", "-dc", "{in}"], "floor": True}},
              bars=[(None, 1.8), (FLOOR_GZIP, 1.0)], peak=256),
    "g": dict(title="NDJSON from a pipe to Parquet, zstd", input="wide.ndjson", kind="ndjson-parquet",
              suffix="parquet", drawoff=convert("--from", "ndjson"),
              peers=parquet_peers("ndjson-parquet", [DUCKDB_FULL]), from_pipe=True, bars=[(None, 2.2)], peak=256),
    "h": dict(title="start: one row of NDJSON to Parquet", input="one.ndjson", kind="ndjson-parquet",
              suffix="parquet", drawoff=convert(), peers=narrow_peers(), bars=[], wall=0.015, peak=24),
}
# Measured of drawoff alone.
ALONE = {
    "first-row": "first row of a slow pipe",
    "peak": "peak memory at one and ten times the rows",
}
FIRST_ROW_BAR_S = 0.050


# ---- measuring ----------------------------------------------------------------------------------

def run(command, stdin=None, output=None, to_pipe=False, from_pipe=None):
    """Runs a command to its end. `from_pipe`: a file that `cat` feeds it; `to_pipe`: what it writes
    goes through a pipe to `cat`, as in a shell. Only the command's own time and memory count."""
    start = time.perf_counter()
    feeder = drain = None
    with tempfile.TemporaryFile() as errors:
        if from_pipe:
            feeder = subprocess.Popen(["cat", from_pipe], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        sink = open(output, "wb") if output else subprocess.DEVNULL
        child = subprocess.Popen(command, stdin=feeder.stdout if feeder else (stdin or subprocess.DEVNULL),
                                 stdout=subprocess.PIPE if to_pipe else sink, stderr=errors)
        if feeder:
            feeder.stdout.close()
        if to_pipe:
            drain = subprocess.Popen(["cat"], stdin=child.stdout, stdout=sink)
            child.stdout.close()
        timer = threading.Timer(TIMEOUT_S, child.kill)
        timer.start()
        _, status, usage = os.wait4(child.pid, 0)
        timer.cancel()
        child.returncode = os.waitstatus_to_exitcode(status)
        for other in (feeder, drain):
            if other:
                other.wait()
        wall = time.perf_counter() - start
        if output:
            sink.close()
        errors.seek(0)
        text = errors.read().decode(errors="replace").strip()
    return {"wall_s": wall, "cpu_s": usage.ru_utime + usage.ru_stime, "peak_bytes": usage.ru_maxrss * 1024,
            "exit": child.returncode, "error": text.splitlines()[-1][:300] if child.returncode and text else None}


class Bench:
    def __init__(self, args, work):
        # What inputs depend on is in the name of their folder, so that kept ones are the right ones.
        generator = zlib.crc32(pathlib.Path(args.generator).read_bytes())
        self.args, self.work = args, work
        self.data = pathlib.Path(args.data or work) / f"rows-{args.rows}-seed-{args.seed}-{generator:08x}"
        self.data.mkdir(parents=True, exist_ok=True)

    def rows(self, name):
        return {"one.ndjson": 1, "narrow.ndjson": self.args.rows * 10}.get(name, self.args.rows)

    def input(self, name):
        """The path of an input, which is made if it is not there."""
        path = self.data / name
        if path.exists():
            return path
        say(f"making {path}")
        partial = path.with_name(path.name + ".partial")
        if name == "one.ndjson":
            with open(self.input("wide.ndjson"), "rb") as lines:
                partial.write_bytes(lines.readline())
        elif name.endswith(".gz"):
            with open(partial, "wb") as packed:
                subprocess.run(["gzip", "-6", "-c", self.input(name.removesuffix(".gz"))], stdout=packed, check=True)
        else:
            shape, form = name.split(".")
            subprocess.run([sys.executable, self.args.generator, "--rows", str(self.rows(name)), "--seed",
                            str(self.args.seed), "--shape", shape, "--format", form, "--out", partial], check=True)
        partial.rename(path)
        return path

    def command(self, call, task, source, target):
        piped_in, piped_out = task.get("from_pipe"), task.get("to_pipe")
        if "drawoff" in call:
            out = [] if piped_out else ["-o", str(target)]
            binary = call.get("binary", self.args.drawoff)
            return [binary, "convert", "-" if piped_in else str(source), *out, *call["drawoff"], "--quiet"]
        if "command" in call:
            return [word.replace("{in}", str(source)) for word in call["command"]]
        name, job, *options = call["python"]
        return [sys.executable, str(HERE / "tools.py"), name, job, "/dev/stdin" if piped_in else str(source),
                "/dev/stdout" if piped_out else str(target), *options]

    def task(self, name):
        task = TASKS[name]
        source = self.input(task["input"])
        # Into the page cache, and not through this process.
        subprocess.run(["cat", source], stdout=subprocess.DEVNULL, check=True)
        target = self.work / f"out.{task['suffix']}"
        tools = {DRAWOFF: task["drawoff"], **task["peers"]}
        if self.args.drawoff_before:
            tools[DRAWOFF_BEFORE] = {**task["drawoff"], "binary": self.args.drawoff_before}
        runs = {tool: [] for tool in tools}
        results = {tool: {"task": name, "tool": tool, "floor": bool(call.get("floor"))} for tool, call in tools.items()}
        for turn in range(self.args.runs):
            # Another order in each turn, the same in each execution: who comes after whom is worth some percent.
            for tool in random.Random(turn).sample(list(tools), len(tools)):
                call = tools[tool]
                if runs[tool] and runs[tool][-1]["exit"] != 0:
                    continue
                target.unlink(missing_ok=True)
                # What one tool left to be written is not to be the next one's burden.
                os.sync()
                floor = call.get("floor")
                got = run(self.command(call, task, source, target), to_pipe=task.get("to_pipe", False),
                          output=target if task.get("to_pipe") else None,
                          from_pipe=source if task.get("from_pipe") else None)
                runs[tool].append(got)
                say(f"  {name} {turn + 1}/{self.args.runs} {tool:<24} {got['wall_s']:8.3f} s "
                    f"{got['cpu_s']:8.3f} s CPU {got['peak_bytes'] / MIB:8.1f} MiB {got['error'] or ''}")
                if turn == 0 and got["exit"] == 0 and not floor:
                    results[tool]["out_bytes"] = target.stat().st_size
                    results[tool]["check"] = self.check(task, target)
                    say(f"      {results[tool]['check']}")
        for tool, result in results.items():
            result.update({key: [run[key] for run in runs[tool]] for key in ("wall_s", "cpu_s", "peak_bytes")})
            result["error"] = runs[tool][-1]["error"] or (runs[tool][-1]["exit"] or None)
        target.unlink(missing_ok=True)
        return {"in_bytes": source.stat().st_size, "rows": self.rows(task["input"]), "results": list(results.values())}

    def check(self, task, target):
        # A process of its own: what it takes must not be this process's memory, which children start with.
        source = self.data / task["input"]
        done = subprocess.run([sys.executable, HERE / "check.py", task["kind"], source, target, "--rows",
                               str(self.rows(task["input"]))], capture_output=True, text=True)
        return done.stdout.strip() or f"the check failed: {done.stderr.strip().splitlines()[-1:]}"

    def first_row(self):
        """Feeds records at 2 000 a second, and takes the time from the start of the process, whose first
        record waits for it, to the first byte that comes out."""
        results = []
        with open(self.input("wide.ndjson"), "rb") as lines:
            records = [line for line, _ in zip(lines, range(2000))]
        for form in ("ndjson", "csv"):
            delays = []
            for _ in range(self.args.runs):
                start = time.perf_counter()
                child = subprocess.Popen([self.args.drawoff, "convert", "-", "-o", "-", "--from", "ndjson", "--to", form,
                                          "--quiet"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
                stop = threading.Event()

                def feed(pipe=child.stdin, start=start, stop=stop):
                    try:
                        for index, record in enumerate(records):
                            if stop.wait(max(0, start + index / 2000 - time.perf_counter())):
                                break
                            os.write(pipe.fileno(), record)
                        pipe.close()
                    except BrokenPipeError:
                        pass

                feeder = threading.Thread(target=feed)
                feeder.start()
                first = os.read(child.stdout.fileno(), 1)
                delays.append(time.perf_counter() - start if first else None)
                stop.set()
                threading.Thread(target=child.stdout.read, daemon=True).start()
                feeder.join()
                child.wait()
            say(f"  first row, {form}: {[round(d, 4) if d else d for d in delays]}")
            results.append({"task": "first-row", "tool": DRAWOFF, "to": form, "delay_s": delays})
        return {"results": results}

    def peak(self):
        """Peaks over the wide file and over ten times it, as one sequence of records.

        A peak depends on how the workers happen to meet, so both have had as many rows to reach theirs: ten runs over
        the file, of which the largest counts, and one over ten times it.
        """
        source = str(self.input("wide.ndjson"))
        results = []
        for label, args, to_file in [("NDJSON to Parquet, zstd", [], True), ("NDJSON to CSV", ["--to", "csv"], False),
                                     ("filter and 4 columns", FILTER[2:], False)]:
            target = self.work / "out.parquet"
            peaks = []
            for times, runs in ((1, 10), (10, 1)):
                of_runs = []
                for _ in range(runs):
                    out = str(target) if to_file else "-"
                    got = run([self.args.drawoff, "convert", *[source] * times, "-o", out, *args, "--quiet"])
                    of_runs.append(got["peak_bytes"] if got["exit"] == 0 else None)
                    target.unlink(missing_ok=True)
                    say(f"  peak, {label}, {times} x: {got['peak_bytes'] / MIB:.1f} MiB {got['error'] or ''}")
                peaks.append(None if None in of_runs else max(of_runs))
            results.append({"task": "peak", "tool": DRAWOFF, "conversion": label, "peak_bytes": peaks})
        return {"results": results}


# ---- the record ---------------------------------------------------------------------------------

def text_of(command, fallback="unknown"):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return fallback


def machine():
    cpu = platform.processor() or platform.machine()
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.split(":", 1)[1].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "memory_bytes": memory, "kernel": platform.release(),
            "arch": platform.machine(), "load_at_start": os.getloadavg()[0],
            "least_peak_bytes": run(["true"])["peak_bytes"]}


def versions(drawoff):
    from importlib.metadata import PackageNotFoundError, version
    found = {"drawoff": text_of([drawoff, "--version"]), "python": platform.python_version()}
    for package in ("duckdb", "polars", "chdb", "pyarrow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def tasks_before(path, record):
    """The tasks of the record that stands at `path`, to which those of this run are added or which they replace. A
    note in it goes with them."""
    before = json.loads(path.read_text())
    for key in ("commit", "modified", "rows", "runs", "seed", "generator", "versions"):
        if before.get(key) != record[key]:
            sys.exit(f"error: {path} has another {key} ({before.get(key)}, not {record[key]}); name another file with "
                     "--record")
    if "note" in before:
        record["note"] = before["note"]
    return before["tasks"]


def newest_record():
    """The newest record of all tasks beside other tools; where none has all, the newest of those with the most."""
    records = {path: json.loads(path.read_text()) for path in RECORDS.glob("*.json")}
    if not records:
        sys.exit(f"error: there is no record in {RECORDS}")
    return max(records, key=lambda path: (len(TASKS.keys() & records[path]["tasks"].keys()), records[path]["time"]))


# ---- the table ----------------------------------------------------------------------------------

def median(result, key):
    if not result.get(key) or result.get("error"):
        return None
    values = sorted(result[key])
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2


def ratios(task_name, part):
    """The bars of a task: what is asked, what was measured, whether it is met."""
    task, results = TASKS[task_name], {result["tool"]: result for result in part["results"]}
    ours = median(results[DRAWOFF], "wall_s")
    if ours is None:
        return [("drawoff", f"failed: {results[DRAWOFF]['error']}", False)]
    walls = {tool: median(result, "wall_s") for tool, result in results.items() if tool != DRAWOFF}
    rivals = [tool for tool, wall in walls.items()
              if wall is not None and tool != DRAWOFF_BEFORE and not results[tool].get("floor")]
    rows = []
    for name, least in task["bars"]:
        name_of = name or (min(rivals, key=walls.get) if rivals else None)
        if walls.get(name_of) is None:
            rows.append((f"≥ {least:g} × {name or 'the fastest'}", "not measured", None))
            continue
        ratio = walls[name_of] / ours
        rows.append((f"≥ {least:g} × {name or 'the fastest, ' + name_of}", f"{ratio:.2f}", ratio >= least))
    if "wall" in task:
        rows.append((f"≤ {task['wall'] * 1000:g} ms", f"{ours * 1000:.1f} ms", ours <= task["wall"]))
    peak = max(results[DRAWOFF]["peak_bytes"]) / MIB
    rows.append((f"peak ≤ {task['peak']} MiB", f"{peak:.1f} MiB", peak <= task["peak"]))
    other = results.get(task.get("size_of"), {}).get("out_bytes")
    if other:
        size = results[DRAWOFF]["out_bytes"] / other
        rows.append((f"size ≤ 1.05 × {task['size_of']}", f"{size:.3f}", size <= 1.05))
    rows.append(("values right", results[DRAWOFF]["check"], results[DRAWOFF]["check"] == "right"))
    return rows


def verdict(met):
    return {True: "yes", False: "**no**", None: "–"}[met]


def markdown(record):
    at, where = record["time"][:10], record["machine"]
    peers = ", ".join(f"{name} {version}" for name, version in record["versions"].items() if name != "drawoff" and version)
    lines = [f"Measured on {at} at commit `{record['commit']}`{' with changes' if record['modified'] else ''}: "
             f"{where['cpu']}, {where['cores']} cores, Linux {where['kernel']}; {record['rows']:,} wide records, seed "
             f"{record['seed']}, medians of {record['runs']}; {peers}.", "",
             "| task | bar | measured | met |", "|---|---|---:|---|"]
    tasks = record["tasks"]
    for name, part in tasks.items():
        if name in TASKS:
            for index, (bar, found, met) in enumerate(ratios(name, part)):
                title = f"{name}. {TASKS[name]['title']}" if index == 0 else ""
                lines.append(f"| {title} | {bar} | {found} | {verdict(met)} |")
        elif name == "first-row":
            for result in part["results"]:
                delays = result["delay_s"]
                slowest = None if None in delays else max(delays)
                found = "nothing came" if slowest is None else f"{slowest * 1000:.1f} ms"
                met = slowest is not None and slowest <= FIRST_ROW_BAR_S
                lines.append(f"| {ALONE[name]}, {result['to'].upper()} | ≤ 50 ms | {found} | {verdict(met)} |")
        elif name == "peak":
            for result in part["results"]:
                small, large = result["peak_bytes"]
                if not small or not large:
                    lines.append(f"| {ALONE[name]}, {result['conversion']} | ≤ 1.10 × | failed | {verdict(False)} |")
                    continue
                found = f"{small / MIB:.0f} and {large / MIB:.0f} MiB, {large / small:.2f} ×"
                lines.append(f"| {ALONE[name]}, {result['conversion']} | ≤ 1.10 × | {found} | {verdict(large <= small * 1.1)} |")
    for name, part in tasks.items():
        if name not in TASKS:
            continue
        ours = next(median(result, "wall_s") for result in part["results"] if result["tool"] == DRAWOFF)
        lines += ["", f"**{name}. {TASKS[name]['title']}**, {part['in_bytes'] / 1e6:,.1f} MB in", "",
                  "| tool | wall s | MB/s | user + sys s | peak MiB | out MB | drawoff's ratio | output |",
                  "|---|---:|---:|---:|---:|---:|---:|---|"]
        order = sorted(part["results"], key=lambda result: median(result, "wall_s") or float("inf"))
        for result in order:
            wall = median(result, "wall_s")
            if wall is None:
                why = str(result["error"]).replace("|", "/")[:120]
                lines.append(f"| {result['tool']} | | | | | | | failed: {why} |")
                continue
            ratio = f"{wall / ours:.2f}" if ours and result["tool"] != DRAWOFF else ""
            out = f"{result['out_bytes'] / 1e6:,.1f}" if "out_bytes" in result else ""
            digits = 4 if wall < 0.1 else 2
            lines.append(f"| {result['tool']} | {wall:.{digits}f} | {part['in_bytes'] / 1e6 / wall:,.0f} | "
                         f"{median(result, 'cpu_s'):.{digits}f} | {max(result['peak_bytes']) / MIB:,.0f} | {out} | {ratio} | "
                         f"{result.get('check', '')} |")
    return "\n".join(lines)


def update_docs(docs, record):
    text = docs.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"error: {docs} must have {BEGIN} and {END} once each")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    docs.write_text(f"{before}{BEGIN}\n{markdown(record)}\n{END}{after}")


def say(line):
    print(line, file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--drawoff", help="the binary; a release build")
    parser.add_argument("--drawoff-before", metavar="DRAWOFF", help="another build of it, in turns with the first")
    parser.add_argument("--tasks", default=",".join([*TASKS, *ALONE]), help="of %(default)s")
    parser.add_argument("--rows", type=int, default=1_000_000, help="wide records; ten times as many narrow ones")
    parser.add_argument("--runs", type=int, default=5, help="of each tool and task; the median counts")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="100 000 rows, one run, nothing recorded")
    parser.add_argument("--generator", default=HERE / "generate.py", help="another generator with the same options")
    parser.add_argument("--data", help="folder where inputs are kept, for the next time")
    parser.add_argument("--work", help="folder for outputs; a temporary one by default")
    parser.add_argument("--record", type=pathlib.Path, help="where the record is written or read")
    parser.add_argument("--show", type=pathlib.Path, metavar="RECORD", help="only print a record as a table")
    parser.add_argument("--update-docs", type=pathlib.Path, metavar="PAGE",
                        help="only put the table of the newest record with all tasks (or of --record) into a page")
    args = parser.parse_args()
    if args.show:
        return print(markdown(json.loads(args.show.read_text())))
    if args.update_docs:
        record = args.record or newest_record()
        return update_docs(args.update_docs, json.loads(record.read_text()))
    if not args.drawoff:
        parser.error("--drawoff is needed")
    args.drawoff = os.path.abspath(args.drawoff)
    args.drawoff_before = args.drawoff_before and os.path.abspath(args.drawoff_before)
    if args.quick:
        args.rows, args.runs = min(args.rows, 100_000), 1
    chosen = args.tasks.split(",")
    for name in chosen:
        if name not in TASKS and name not in ALONE:
            parser.error(f"there is no task {name}")
    now = datetime.datetime.now(datetime.timezone.utc)
    record = {
        "time": now.isoformat(timespec="seconds"),
        "commit": text_of(["git", "rev-parse", "--short=10", "HEAD"]),
        "modified": bool(text_of(["git", "status", "--porcelain", "--untracked-files=no"], "")),
        "machine": machine(),
        "versions": versions(args.drawoff),
        "rows": args.rows, "runs": args.runs, "seed": args.seed,
        "generator": pathlib.Path(args.generator).name,
        "tasks": {},
    }
    path = args.record or (None if args.quick else RECORDS / f"{now:%Y-%m-%d}-{record['commit']}.json")
    if path and path.exists():
        record["tasks"] = tasks_before(path, record)
    with tempfile.TemporaryDirectory(dir=args.work, prefix="drawoff-bench-") as work:
        bench = Bench(args, pathlib.Path(work))
        for name in chosen:
            say(f"{name}. {TASKS[name]['title'] if name in TASKS else ALONE[name]}")
            alone = {"first-row": bench.first_row, "peak": bench.peak}
            record["tasks"][name] = alone[name]() if name in ALONE else bench.task(name)
            if path:
                # After each task: what was measured stays, whatever happens to the next.
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    if path:
        say(f"recorded in {path}")
    print(markdown(record))


if __name__ == "__main__":
    main()
