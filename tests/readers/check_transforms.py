"""Steps against an obvious twin in Python: rows as dictionaries, one function per step.

    python check_transforms.py DRAWOFF FOLDER

For every pair of formats that the rows can go through, at sizes of morsels at which every record may be
alone, and with 1, 2 and 7 workers. Prints the number of comparisons; ends with 1 and the first difference
otherwise.
"""

import csv
import datetime
import io
import itertools
import json
import math
import os
import random
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq

drawoff, folder = sys.argv[1], Path(sys.argv[2])
random.seed(906)

TEXTS = ["", "a", "Oslo", "O'Neil \"x\"", "é, ß", "50%", "tab\there", "\\", "日本", "true", "12", " pad "]
PRICES = ["12.50", "7", "-0.05", "1e2", "99999.99", "100000", "0.001", "x", "", " 3.1 ", "1.50e1"]
TIMES = [
    "2024-01-31T12:00:00Z", "2024-01-31 12:00:00.25+02:00", "1969-12-31T23:59:59.999", "2024-02-29",
    "2024-02-30", "soon", "2024-06-01T00:30-0130", "2024-01-31T12:00:00.1234567Z",
]
BIGS = [2**63 - 1, -(2**63), 2**63 - 2, 2**53 + 1, 0, 1, -1, 10]


def record(i):
    r = {"id": i}
    if random.random() < 0.9:
        r["n"] = random.choice([None, 0, 1, 2, -7, 12, 3])
    if random.random() < 0.9:
        r["f"] = random.choice([None, 0.5, -1.25, 3.0, 1e20, 2.675])
    if random.random() < 0.9:
        r["t"] = random.choice([None, *TEXTS])
    r["price"] = random.choice([None, *PRICES])
    r["at"] = random.choice([None, *TIMES])
    r["big"] = random.choice(BIGS)
    if random.random() < 0.8:
        r["tags"] = random.choice([None, [], ["a"], ["x", "é\"", None, "z"], ["1", "2"]])
    if random.random() < 0.8:
        hq = {"city": random.choice(TEXTS), "geo": random.choice([None, {"lat": 59.5, "lon": -1.0}, {}])}
        if i > 500:
            hq["zip"] = str(i)
        r["hq"] = random.choice([None, hq, hq])
    if random.random() < 0.7:
        r["items"] = [{"sku": random.choice(TEXTS), "n": k} for k in range(random.randint(0, 3))]
    if i > 600:
        r["late"] = i
    return r


records = [record(i) for i in range(700)]
lines = [json.dumps(r, ensure_ascii=random.random() < 0.5) for r in records]
# A blank line here and there, and other line ends, so that places are not all alike.
pieces = [line + random.choice(["\n", "\n", "\r\n", "\n\n"]) for line in lines]
(folder / "in.ndjson").write_bytes("".join(pieces).encode())
ends = list(itertools.accumulate(len(p.encode()) for p in pieces))
starts = [0, *ends[:-1]]
line_numbers = [1, *(1 + n for n in itertools.accumulate(p.count("\n") for p in pieces))][:-1]

COLUMNS = ["id", "n", "f", "t", "price", "at", "big", "tags"]


def cell(v):
    if v is None:
        return ""
    return json.dumps(v, ensure_ascii=False) if isinstance(v, list) else repr(v) if isinstance(v, float) else str(v)


csv_rows, csv_starts = [], []
with (folder / "in.csv").open("w", encoding="utf-8", newline="") as out:
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    at = len(",".join(COLUMNS)) + 1
    for r in records:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerow([cell(r.get(c)) for c in COLUMNS])
        csv_starts.append(at)
        at += len(buffer.getvalue().encode())
        out.write(buffer.getvalue())
        # An empty field is null; a list is its text.
        row = {c: (json.dumps(r[c], ensure_ascii=False) if c == "tags" else r[c]) for c in COLUMNS if r.get(c) not in (None, "")}
        csv_rows.append(row)


class Bad(Exception):
    """The value cannot be made."""


class Execution:
    """What the steps make of rows, and where the others went."""

    def __init__(self, rows, starts, null_policy=False):
        # Each with its number in the source and its number among those of one record.
        self.rows = [(i, dict(r)) for i, r in enumerate(rows)]
        self.source, self.starts, self.null_policy = rows, starts, null_policy
        self.read = len(rows)
        self.filtered = self.added = self.nulled = 0
        self.rejected = []

    def where(self, test):
        kept = []
        for i, r in self.rows:
            try:
                if test(r) is True:
                    kept.append((i, r))
                else:
                    self.filtered += 1
            except Bad:
                if self.null_policy:
                    self.nulled += 1
                    self.filtered += 1
                else:
                    self.rejected.append(i)
        self.rows = kept

    def make(self, name, value, only_there=False):
        kept = []
        for i, r in self.rows:
            if only_there and name not in r:
                kept.append((i, r))
                continue
            try:
                r[name] = value(r)
            except Bad:
                if not self.null_policy:
                    self.rejected.append(i)
                    continue
                self.nulled += 1
                r[name] = None
            kept.append((i, r))
        self.rows = kept

    def select(self, columns):
        self.rows = [(i, {name: get(r) for name, get in columns.items()}) for i, r in self.rows]

    def flatten(self, separator):
        def flat(prefix, value):
            if isinstance(value, dict):
                for k, v in value.items():
                    yield from flat(f"{prefix}{separator}{k}", v)
            else:
                yield prefix, value

        self.rows = [(i, {k: v for name, value in r.items() for k, v in flat(name, value)}) for i, r in self.rows]
        # A null where others have an object has no column of its own.
        named = {k for _, r in self.rows for k in r}
        gone = {k for k in named if any(other.startswith(k + separator) for other in named)}
        self.rows = [(i, {k: v for k, v in r.items() if k not in gone}) for i, r in self.rows]

    def limit(self, n):
        """What comes after the last row that is kept was never looked at."""
        end = self.rows[n - 1][0] + 1 if len(self.rows) >= n else len(self.source)
        self.rows = self.rows[:n]
        self.read = end
        self.filtered = end - len(self.rows)

    def explode(self, column):
        out = []
        for i, r in self.rows:
            values = r.get(column) or [None]
            self.added += len(values) - 1
            out += [(i, {**r, column: v}) for v in values]
        self.rows = out

    def dedupe(self, columns):
        def key(r):
            values = ((c, r.get(c)) for c in columns or sorted(r))
            # Null counts among named columns, and is as if it were not there in a whole row.
            return tuple((c, isinstance(v, bool), repr(v) if isinstance(v, list) else v) for c, v in values if columns or v is not None)

        seen, kept = set(), []
        for i, r in self.rows:
            if key(r) in seen:
                self.filtered += 1
            else:
                seen.add(key(r))
                kept.append((i, r))
        self.rows = kept

    def sample(self, rate, seed):
        def mix(v):
            v = (v + 0x9E3779B97F4A7C15) % 2**64
            v = ((v ^ (v >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
            v = ((v ^ (v >> 27)) * 0x94D049BB133111EB) % 2**64
            return v ^ (v >> 31)

        kept, last, nth = [], None, 0
        for i, r in self.rows:
            nth = nth + 1 if i == last else 0
            last = i
            h = mix(seed)
            for part in (0, self.starts[i], nth):
                h = mix(h ^ part)
            if h < int(rate * 2.0**64):
                kept.append((i, r))
            else:
                self.filtered += 1
        self.rows = kept


def number(v):
    if v is None or isinstance(v, (int, float)) and not isinstance(v, bool):
        return v
    raise Bad


def both(a, b, ask):
    return None if a is None or b is None else ask(a, b)


def reckon(a, b, how):
    """Whole numbers stay whole, and within 64 bits; doubles stay finite."""
    a, b = number(a), number(b)
    if a is None or b is None:
        return None
    try:
        v = how(a, b)
    except ZeroDivisionError:
        raise Bad from None
    if isinstance(v, int) and not -(2**63) <= v < 2**63 or isinstance(v, float) and not math.isfinite(v):
        raise Bad
    return v


NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")


def cast_int(v):
    if v is None or isinstance(v, int):
        return v
    if isinstance(v, str):
        if not NUMBER.fullmatch(v.strip()):
            raise Bad
        v = Decimal(v.strip())
    v = Decimal(repr(v)) if isinstance(v, float) else v
    if v != int(v) or not -(2**63) <= v < 2**63:
        raise Bad
    return int(v)


def cast_decimal(precision, scale):
    def cast(v):
        if v is None:
            return None
        if not NUMBER.fullmatch(str(v).strip()):
            raise Bad
        v = Decimal(str(v).strip())
        if v != v.quantize(Decimal(1).scaleb(-scale)) or abs(v) >= 10 ** (precision - scale):
            raise Bad
        return v.quantize(Decimal(1).scaleb(-scale))

    return cast


def cast_time(places, local_hours=0):
    def cast(v):
        if v is None:
            return None
        try:
            fraction = re.search(r"\.(\d+)", v)
            if fraction and len(fraction[1].rstrip("0")) > places:
                raise Bad
            t = datetime.datetime.fromisoformat(v)
        except ValueError:
            raise Bad from None
        if t.tzinfo is None:
            t = t.replace(tzinfo=datetime.timezone(datetime.timedelta(hours=local_hours)))
        return t.astimezone(datetime.timezone.utc)

    return cast


def cast_date(v):
    if v is None:
        return None
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", v):
        raise Bad
    try:
        return datetime.date.fromisoformat(v)
    except ValueError:
        raise Bad from None


def text_of(v):
    return v if isinstance(v, str) else "true" if v is True else "false" if v is False else repr(v)


def json_text(v):
    return json.dumps(v) if isinstance(v, (dict, list)) else v


# Name, whether CSV has the columns, flags, and the same in Python.
CASES = [
    ("sum", True, ["--with", "x = n + id * 2"], lambda e: e.make("x", lambda r: reckon(r.get("n"), r["id"] * 2, lambda a, b: a + b))),
    ("overflow", True, ["--with", "x = big + 1"], lambda e: e.make("x", lambda r: reckon(r["big"], 1, lambda a, b: a + b))),
    ("division", True, ["--with", "x = id / n, y = id // n, z = id % n"], lambda e: [
        e.make("x", lambda r: reckon(r["id"], r.get("n"), lambda a, b: a / b)),
        e.make("y", lambda r: reckon(r["id"], r.get("n"), lambda a, b: a // b)),
        e.make("z", lambda r: reckon(r["id"], r.get("n"), lambda a, b: a % b)),
    ]),
    ("doubles", True, ["--with", "x = round(f * 1.1, 2) - n"], lambda e: e.make("x", lambda r: both(
        r.get("f"), r.get("n"), lambda f, n: round(f * 1.1, 2) - n))),
    ("text", True, ["--with", "x = upper(trim(t)) || '-' || id", "--with", "y = substr(x, 2, 3), l = length(t)"], lambda e: [
        e.make("x", lambda r: None if r.get("t") is None else f"{r['t'].strip().upper()}-{r['id']}"),
        e.make("y", lambda r: None if r["x"] is None else r["x"][1:4]),
        e.make("l", lambda r: None if r.get("t") is None else len(r["t"])),
    ]),
    ("replace", True, ["--with", "t = replace(coalesce(t, 'none'), 'o', '0')"], lambda e: e.make("t", lambda r: (
        "none" if r.get("t") is None else r["t"]).replace("o", "0"))),
    ("case", True, ["--with", "x = case when n is null then 'none' when id / n > 50 then 'many' else 'few' end"],
     lambda e: e.make("x", lambda r: "none" if r.get("n") is None else "many" if reckon(r["id"], r["n"], lambda a, b: a / b) > 50 else "few")),
    ("guarded", True, ["--where", "n <> 0 and id / n > 50 or t like 'O%'"], lambda e: e.where(lambda r: bool(
        r.get("n") and r["id"] / r["n"] > 50) or (r.get("t") or "").startswith("O"))),
    ("unguarded", True, ["--where", "id / n > 50"], lambda e: e.where(lambda r: both(
        r["id"], r.get("n"), lambda a, b: reckon(a, b, lambda a, b: a / b) > 50))),
    ("cast int", True, ["--cast", "price:int"], lambda e: e.make("price", lambda r: cast_int(r["price"]), only_there=True)),
    ("cast decimal", True, ["--cast", "price:decimal(7,2)"], lambda e: e.make("price", lambda r: cast_decimal(7, 2)(r["price"]), only_there=True)),
    ("cast timestamp", True, ["--cast", "at:timestamp"], lambda e: e.make("at", lambda r: cast_time(6)(r["at"]), only_there=True)),
    ("cast timestamp of a zone", True, ["--cast", "at:timestamp(ms, '+02:00')"], lambda e: e.make("at", lambda r: cast_time(3, 2)(r["at"]), only_there=True)),
    ("cast date", True, ["--cast", "at:date"], lambda e: e.make("at", lambda r: cast_date(r["at"]), only_there=True)),
    ("cast string", True, ["--cast", "id:string,n:string"], lambda e: [
        e.make("id", lambda r: text_of(r["id"]), only_there=True),
        e.make("n", lambda r: None if r["n"] is None else text_of(r["n"]), only_there=True),
    ]),
    ("late", False, ["--with", "x = `late` + 1", "--where", "x > 650"], lambda e: [
        e.make("x", lambda r: reckon(r.get("late"), 1, lambda a, b: a + b)),
        e.where(lambda r: both(r["x"], 650, lambda a, b: a > b)),
    ]),
    ("nested", False, ["--with", "x = hq.city || coalesce(tags[1], '?'), k = length(items), lat = hq.geo.lat"], lambda e: [
        e.make("x", lambda r: None if not r.get("hq") else r["hq"]["city"] + ((r.get("tags") or [])[1:2] or ["?"])[0]),
        e.make("k", lambda r: None if r.get("items") is None else len(r["items"])),
        e.make("lat", lambda r: ((r.get("hq") or {}).get("geo") or {}).get("lat")),
    ]),
    ("flatten", False, ["--flatten"], lambda e: e.flatten(".")),
    ("flatten with a separator", False, ["--flatten=__", "--select", "id,hq__city,hq__zip,hq__geo__lat"], lambda e: [
        e.flatten("__"),
        e.select({name: (lambda r, name=name: r.get(name)) for name in ("id", "hq__city", "hq__zip", "hq__geo__lat")}),
    ]),
    ("explode", False, ["--explode", "tags"], lambda e: e.explode("tags")),
    ("explode and flatten", False, ["--explode", "items", "--flatten", "--with", "items.n = items.n + 1", "--where", "items.n >= 2"], lambda e: [
        e.explode("items"), e.flatten("."),
        e.make("items.n", lambda r: reckon(r.get("items.n"), 1, lambda a, b: a + b)),
        e.where(lambda r: both(r["items.n"], 2, lambda a, b: a >= b)),
    ]),
    ("explode and reject", False, ["--explode", "tags", "--cast", "tags:int"], lambda e: [
        e.explode("tags"), e.make("tags", lambda r: cast_int(r["tags"]), only_there=True)]),
    ("json", False, ["--json", "hq,tags,items"], lambda e: [
        e.make(c, lambda r, c=c: json_text(r[c]), only_there=True) for c in ("hq", "tags", "items")]),
    ("dedupe", True, ["--dedupe", "n,t", "--with", "x = id"], lambda e: [e.dedupe(["n", "t"]), e.make("x", lambda r: r["id"])]),
    ("dedupe of whole rows", False, ["--select", "n,tags", "--dedupe", "*", "--limit", "20"], lambda e: [
        e.select({"n": lambda r: r.get("n"), "tags": lambda r: r.get("tags")}), e.dedupe([]), e.limit(20)]),
    ("sample", True, ["--sample", "0.3", "--seed", "7"], lambda e: e.sample(0.3, 7)),
    ("sample of rows", False, ["--explode", "items", "--where", "id > 20", "--sample", "0.5"], lambda e: [
        e.explode("items"), e.where(lambda r: r["id"] > 20), e.sample(0.5, 0)]),
    ("select and cast", True, ["--select", "id,n,price", "--cast", "price:float", "--drop", "n", "--rename", "id=key"], lambda e: [
        e.select({"id": lambda r: r["id"], "n": lambda r: r.get("n"), "price": lambda r: r.get("price")}),
        e.make("price", lambda r: None if r["price"] is None else float(cast_float(r["price"])), only_there=True),
        e.select({"key": lambda r: r["id"], "price": lambda r: r["price"]}),
    ]),
]


def cast_float(v):
    if isinstance(v, str) and not NUMBER.fullmatch(v.strip()):
        raise Bad
    return float(v)


def plain(v):
    """Dates and decimals as text outputs write them; objects without the keys that are null."""
    if isinstance(v, datetime.datetime):
        v = v.astimezone(datetime.timezone.utc)
        text = v.strftime("%Y-%m-%dT%H:%M:%S")
        return text + (f".{v.microsecond:06}".rstrip("0") if v.microsecond else "") + "Z"
    if isinstance(v, datetime.date):
        return v.isoformat()
    if isinstance(v, Decimal):
        return float(v)
    if isinstance(v, dict):
        return {k: plain(x) for k, x in v.items() if x is not None}
    if isinstance(v, list):
        return [plain(x) for x in v]
    if isinstance(v, str) and v.startswith(("[", "{")):
        # Text outputs keep the blanks of the source in it.
        return ["JSON text", plain(json.loads(v))]
    return v


def ndjson_rows(path):
    return [plain(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def parquet_rows(path):
    return [plain(r) for r in pq.read_table(path).to_pylist()]


def csv_cells(path):
    with path.open(encoding="utf-8", newline="") as f:
        return [{k: v for k, v in r.items() if v != ""} for r in csv.DictReader(f)]


def as_cells(row):
    """A row as CSV has it: what reads as JSON or as a number is compared as that."""
    return {k: loose(text_of(v) if not isinstance(v, (dict, list)) else json.dumps(v)) for k, v in row.items() if v not in (None, "")}


def loose(text):
    try:
        v = json.loads(text)
    except ValueError:
        return text
    # What is nested is text in CSV, whether it was before or not.
    return plain(v[1] if isinstance(v, list) and v[:1] == ["JSON text"] else v)


def same(found, expected, what):
    global comparisons
    comparisons += 1
    if found == expected:
        return
    if isinstance(found, list):
        for i, (f, e) in enumerate(zip(found, expected)):
            if f != e:
                sys.exit(f"{what}: row {i}:\n  found    {f!r}\n  expected {e!r}")
        sys.exit(f"{what}: found {len(found)} rows, expected {len(expected)}")
    sys.exit(f"{what}: found {found!r}, expected {expected!r}")


comparisons = 0
sizes = itertools.cycle([("1", "1"), ("7", "300"), ("2", "4000"), ("7", "1"), ("1", "5000"), ("2", "700")])
policies = itertools.cycle(["reject", "null", "reject"])


def check(name, source, target, flags, twin):
    rows, begins = (csv_rows, csv_starts) if source == "in.csv" else (records, starts)
    (workers, morsel), policy = next(sizes), next(policies)
    execution = Execution(rows, begins, policy == "null")
    twin(execution)
    what = f"{name}, {source} to {target}, {workers} workers, {morsel} bytes, {policy}"
    rejects = folder / "rejects.ndjson"
    rejects.unlink(missing_ok=True)
    command = [
        drawoff, "convert", str(folder / source), "-o", str(folder / target), *flags, "--workers", workers, "--report", "json",
        "--on-bad-record", "skip", "--rejects", str(rejects), "--on-bad-cast", policy,
    ]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "DRAWOFF_MORSEL_SIZE": morsel, "DRAWOFF_SAMPLE_SIZE": "64B"})
    if done.returncode != (3 if execution.rejected else 0):
        sys.exit(f"{what}: {done.returncode}\n{done.stderr}")
    report = json.loads(done.stderr.splitlines()[-1])
    counts = {k: report[f"rows_{k}"] for k in ("in", "added", "written", "filtered", "rejected")}
    same(counts, {
        "in": execution.read, "added": execution.added, "written": len(execution.rows), "filtered": execution.filtered,
        "rejected": len(execution.rejected),
    }, f"{what}: counts")
    found = [json.loads(line) for line in rejects.read_text(encoding="utf-8").splitlines()] if rejects.exists() else []
    same([r["record"] for r in found], sorted(execution.rejected), f"{what}: rejects")
    for r in found:
        if source == "in.ndjson":
            i = r["record"]
            same((r["byte"], r["line"], r["raw"]), (starts[i], line_numbers[i], lines[i]), f"{what}: a reject's place")
        else:
            same(r["byte"], csv_starts[r["record"]], f"{what}: a reject's place")
    expected = [{k: v for k, v in plain(r).items() if v is not None} for _, r in execution.rows]
    out = folder / target
    if target.endswith(".ndjson"):
        same([{k: v for k, v in r.items() if v is not None} for r in ndjson_rows(out)], expected, what)
    elif target.endswith(".csv"):
        same([{k: loose(v) for k, v in r.items()} for r in csv_cells(out)], [as_cells(r) for r in expected], what)
    else:
        same(parquet_rows(out), expected, what)


for name, of_csv, flags, twin in CASES:
    for source in ["in.ndjson", "in.csv"] if of_csv else ["in.ndjson"]:
        for target in ["out.ndjson", "out.csv", "out.parquet"]:
            check(name, source, target, flags, twin)
print(f"{comparisons} comparisons")
