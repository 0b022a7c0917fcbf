"""What row groups say of their order is true, and is said where it is.

usage: check_sort_hint.py DRAWOFF FOLDER
"""

import functools
import json
import pathlib
import random
import subprocess
import sys

import pyarrow.parquet as pq

drawoff, folder = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
random.seed(7)


def compared(a, b, descending, nulls_first):
    """-1, 0 or 1 as `a` comes before `b`, with it, or after it."""
    if a is None or b is None:
        return 0 if a is b else (-1 if (a is None) == nulls_first else 1)
    if isinstance(a, str):
        a, b = a.encode(), b.encode()
    return (a > b) - (a < b) if not descending else (a < b) - (a > b)


def is_sorted(rows, keys):
    def order(a, b):
        return next((c for i, (_, down, first) in enumerate(keys) if (c := compared(a[i], b[i], down, first))), 0)
    return all(order(a, b) <= 0 for a, b in zip(rows, rows[1:])), functools.cmp_to_key(order)


files = 0


def check(name, records, hint, keys, flags=()):
    """Converts `records`, and returns of each row group whether it says that it is sorted; what it says is true."""
    global files
    source = folder / f"{name}.ndjson"
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    target = folder / (f"{name}/" if flags else f"{name}.parquet")
    out = f"{name}/" if flags else str(target)
    subprocess.run([drawoff, "convert", source, "-o", out, "--sort-hint", hint, *flags], check=True, cwd=folder,
                   capture_output=True)
    said = []
    for path in sorted(target.glob("*.parquet")) if flags else [target]:
        files += 1
        file = pq.ParquetFile(path)
        names = [file.schema.column(i).path for i in range(len(file.schema))]
        for i in range(file.num_row_groups):
            columns = file.read_row_group(i, columns=[key[0] for key in keys]).to_pydict()
            rows = list(zip(*(columns[key[0]] for key in keys)))
            claim = file.metadata.row_group(i).sorting_columns
            told = [(names[c.column_index], c.descending, c.nulls_first) for c in claim or ()]
            truly, _ = is_sorted(rows, keys)
            if told and (told != keys or not truly):
                sys.exit(f"{path}, row group {i}: it says {told}, which is not true")
            if truly and not told and len(rows) > 1 and name != "late":
                sys.exit(f"{path}, row group {i}: it is sorted and does not say so")
            said.append(bool(told))
    return said


def by(keys, records):
    _, key = is_sorted([], keys)
    return sorted(records, key=lambda record: key([record.get(name) for name, _, _ in keys]))


def some(n):
    words = ["", "a", "Z", "zz", "é", "\U0001f389", "東"]
    return [{"n": random.choice([None, random.randrange(-9, 9)]), "o": {"x": 1, "y": "z"}, "t": random.choice(words),
             "f": random.choice([None, random.random() - 0.5])} for _ in range(n)]


ascending, descending = [("n", False, False)], [("t", True, True), ("n", False, True)]
assert check("up", by(ascending, some(5000)), "n", ascending) == [True]
assert check("down", by(descending, some(5000)), "t:desc,n:asc:nulls-first", descending) == [True]
floats = [("f", True, False)]
assert check("floats", by(floats, some(5000)), "f:desc:nulls-last", floats) == [True]
assert check("not", some(5000), "n", ascending) == [False]
# The claim is of each row group alone: here one in the middle is not in order.
mixed = by(ascending, some(4000))
mixed[1500], mixed[1600] = mixed[1600] | {"n": 9}, mixed[1500] | {"n": -99}
assert check("parts", mixed, "n", ascending, ["--max-file-rows", "1000"]) == [True, False, True, True]
# A column whose type widens late has another order then.
late = [{"n": n} for n in range(60000)] + [{"n": "60000"}]
assert not any(check("late", late, "n", ascending))

print(f"{files} files")
