"""Runs drawoff's steps over generated records and compares with plain Python: json.loads, a predicate
in the same words, and the choice of columns; for every pair of formats that the rows can go through.

    python check_steps.py DRAWOFF FOLDER

Prints the number of comparisons; ends with 1 and the first difference otherwise.
"""

import csv
import json
import random
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq

drawoff, folder = sys.argv[1], Path(sys.argv[2])
random.seed(64)

TEXTS = ["", "a", "Oslo", "O'Neil \"x\"", "é, ß", "50%", "tab\there", "\\", "日本", "true", "12"]
NUMBERS = ["0", "1", "-7", "9007199254740993", "9007199254740992", "0.8", "0.80", "8e-1", "1e3", "123456.789", "-0.5"]


def record():
    r = {}
    for key in random.sample(["n", "t", "b", "o", "l", "pad", "x y"], random.randint(3, 7)):
        if key == "n":
            r[key] = Decimal(random.choice(NUMBERS)) if random.random() < 0.9 else None
        elif key in ("t", "x y"):
            r[key] = random.choice(TEXTS) if random.random() < 0.9 else None
        elif key == "b":
            r[key] = random.choice([True, False, None])
        elif key == "o":
            r[key] = {"city": random.choice(TEXTS), "k": random.randint(0, 5)} if random.random() < 0.8 else None
        elif key == "l":
            r[key] = [{"e": random.choice(TEXTS)} for _ in range(random.randint(0, 3))]
        else:
            r[key] = {"deep": [[], {}, [1, {"q": "]}\\\""}]], "n": None, "f": [True, False]}
    return r


class Numbers(json.JSONEncoder):
    """Decimals by their digits."""

    def encode(self, o):
        if isinstance(o, Decimal):
            return str(o)
        if isinstance(o, dict):
            return "{" + ",".join(f"{json.dumps(k)}:{self.encode(v)}" for k, v in o.items()) + "}"
        if isinstance(o, list):
            return "[" + ",".join(self.encode(v) for v in o) + "]"
        return json.dumps(o, ensure_ascii=random.random() < 0.5)


rows = [record() for _ in range(3000)]
text = "".join(Numbers().encode(r) + "\n" for r in rows)
(folder / "in.ndjson").write_text(text, encoding="utf-8")
rows = [json.loads(line, parse_float=Decimal, parse_int=Decimal) for line in text.splitlines()]


def at(r, *way):
    for step in way:
        if isinstance(step, int):
            r = r[step] if isinstance(r, list) and step < len(r) else None
        else:
            r = r.get(step) if isinstance(r, dict) else None
    return r


def both(a, b, ask):
    """Neither true nor false where one is null."""
    return None if a is None or b is None else ask(a, b)


def no(a):
    return None if a is None else not a


CASES = [
    ("n > 0.8", lambda r: both(at(r, "n"), Decimal("0.8"), lambda a, b: a > b)),
    ("n = 0.8", lambda r: both(at(r, "n"), Decimal("0.8"), lambda a, b: a == b)),
    ("n = 9007199254740993", lambda r: both(at(r, "n"), Decimal(9007199254740993), lambda a, b: a == b)),
    ("not n between -1 and 1000", lambda r: no(both(at(r, "n"), 0, lambda a, _: -1 <= a <= 1000))),
    ("t = 'O''Neil \"x\"' or b", lambda r: at(r, "t") == 'O\'Neil "x"' or at(r, "b")),
    ("t like '%o%' and not b", lambda r: at(r, "t") is not None and "o" in at(r, "t") and at(r, "b") is False),
    ("t ilike 'O%'", lambda r: at(r, "t") is not None and at(r, "t").lower().startswith("o")),
    ("t ~ '[0-9]'", lambda r: at(r, "t") is not None and any(c.isdigit() for c in at(r, "t"))),
    ("t in ('', 'Oslo', '日本')", lambda r: at(r, "t") in ("", "Oslo", "日本")),
    ("t not in ('a', 'Oslo')", lambda r: both(at(r, "t"), 0, lambda a, _: a not in ("a", "Oslo"))),
    ("t < 'a'", lambda r: both(at(r, "t"), "a", lambda a, b: a < b)),
    ('"x y" is null', lambda r: at(r, "x y") is None),
    ("o.city = 'Oslo' or o.k in (1, 2)", lambda r: at(r, "o", "city") == "Oslo" or at(r, "o", "k") in (1, 2)),
    ("l[0].e = l[1].e", lambda r: both(at(r, "l", 0, "e"), at(r, "l", 1, "e"), lambda a, b: a == b)),
    ("l[2] is not null", lambda r: at(r, "l", 2) is not None),
    ('t = "x y"', lambda r: both(at(r, "t"), at(r, "x y"), lambda a, b: a == b)),
]
COLUMNS = [("t", ("t",)), ("o.city", ("o", "city")), ("l[0].e", ("l", 0, "e")), ("n", ("n",))]


def convert(source, target, *flags):
    command = [drawoff, "convert", str(folder / source), "-o", str(folder / target), "--quiet", "--workers", "2", *flags]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command}: {done.returncode}\n{done.stderr}")
    return folder / target


def same(found, expected, what):
    global comparisons
    comparisons += 1
    if found == expected:
        return
    for i, (f, e) in enumerate(zip(found, expected)):
        if f != e:
            sys.exit(f"{what}: row {i}: found {f!r}, expected {e!r}")
    sys.exit(f"{what}: found {len(found)} rows, expected {len(expected)}")


comparisons = 0
select = ",".join(name for name, _ in COLUMNS)
for expression, predicate in CASES:
    kept = [r for r in rows if predicate(r) is True]
    where = ["--where", expression]

    out = convert("in.ndjson", "out.ndjson", *where).read_text(encoding="utf-8")
    same([json.loads(line, parse_float=Decimal, parse_int=Decimal) for line in out.splitlines()], kept, expression)

    chosen = [{name: v for name, way in COLUMNS if (v := at(r, *way)) is not None} for r in kept]
    out = convert("in.ndjson", "out.ndjson", *where, "--select", select).read_text(encoding="utf-8")
    found = [json.loads(line, parse_float=Decimal, parse_int=Decimal) for line in out.splitlines()]
    same([{k: v for k, v in r.items() if v is not None} for r in found], chosen, f"{expression}, selected")

    out = convert("in.ndjson", "out.csv", *where, "--select", select)
    with out.open(encoding="utf-8", newline="") as lines:
        found = list(csv.DictReader(lines))
    cells = [{name: r.get(name) for name, _ in COLUMNS} for r in chosen]
    for cell in cells:
        for name, v in cell.items():
            cell[name] = "" if v is None else v
    found = [{k: Decimal(v) if k == "n" and v else v for k, v in r.items()} for r in found]
    same(found, cells, f"{expression}, as CSV")

    table = pq.read_table(convert("in.ndjson", "out.parquet", *where, "--select", select)).to_pylist()
    doubles = [{name: float(v) if isinstance(v := r.get(name), Decimal) else v for name, _ in COLUMNS} for r in chosen]
    same([{k: float(v) if k == "n" and v is not None else v for k, v in r.items()} for r in table], doubles, f"{expression}, as Parquet")

    limited = convert("in.ndjson", "out.ndjson", *where, "--limit", "7").read_text(encoding="utf-8")
    same(len(limited.splitlines()), min(7, len(kept)), f"{expression}, limited")
print(f"{comparisons} comparisons")
