"""Property test of conversions: random records go through the binary, and what readers of other
makers find in the outputs must be what the rules of the data say.

    python check_roundtrip.py DRAWOFF [CASES] [SEED]

Every case has a seed of its own, which is printed when it fails; `CASES` = 1 with that seed repeats
it, and `DRAWOFF_TEST_KEEP` names a directory for a copy of its files. The rules are written out here a second time, in the most obvious way: what type a column gets,
and what a value looks like in it.
"""

import csv
import decimal
import json
import math
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

# Types, narrowest first: None, "bool", ("int", fits a double), "decimal", "float", "text", "json",
# ("list", T), ("struct", {key: T}), ("map", T).
MAX_STRUCT_FIELDS = 256
MAX_LEAVES = 4096
EXACT = 1 << 53


class Number(str):
    """A number's token, digit for digit."""


def loads(text):
    return json.loads(text, parse_int=Number, parse_float=Number)


# The rules -------------------------------------------------------------------------------------


def type_of(value, mixing="json"):
    if value is None:
        return None
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, Number):
        return type_of_number(value)
    if isinstance(value, str):
        return "text"
    if isinstance(value, list):
        item = None
        for v in value:
            item = join(item, type_of(v))
        return ("list", item)
    return struct({k: type_of(v) for k, v in value.items()})


def type_of_number(token):
    if token == "-0" or any(c in token for c in ".eE"):
        return "float" if math.isfinite(float(token)) else "json"
    value = int(token)
    if -(1 << 63) <= value < 1 << 63:
        return ("int", int(float(value)) == value)
    return "decimal" if len(token.lstrip("-")) <= 38 else "json"


def struct(fields):
    if len(fields) <= MAX_STRUCT_FIELDS:
        return ("struct", fields)
    value = None
    for t in fields.values():
        value = join(value, t)
    return map_of(value)


def map_of(value):
    return ("map", by_name(value))


def by_name(t):
    """The type with the fields of its structs in the order of their names, as everywhere inside a map: where the values of
    several keys have one type, there is no order of appearance."""
    if not isinstance(t, tuple) or t[0] == "int":
        return t
    if t[0] == "struct":
        return ("struct", {k: by_name(t[1][k]) for k in sorted(t[1])})
    return (t[0], by_name(t[1]))


def n_leaves(t):
    """Leaves of the type, as drawoff counts them against its limit."""
    if not isinstance(t, tuple) or t[0] == "int" or t == ("struct", {}):
        return 1
    if t[0] == "struct":
        return sum(map(n_leaves, t[1].values()))
    return n_leaves(t[1]) + (t[0] == "map")


def join(a, b, mixing="json"):
    if a is None:
        return b
    # Equal structs may differ in the order of their fields; that of the first stays.
    if b is None or a == b:
        return a
    kind = lambda t: t[0] if isinstance(t, tuple) else t
    ka, kb = kind(a), kind(b)
    if ka == kb == "int":
        return ("int", a[1] and b[1])
    if {ka, kb} <= {"int", "decimal"}:
        return "decimal"
    if {ka, kb} == {"int", "float"} and (a if ka == "int" else b)[1]:
        return "float"
    if ka == kb == "list":
        return ("list", join(a[1], b[1]))
    if ka == kb == "map":
        return map_of(join(a[1], b[1]))
    if ka == kb == "struct":
        fields = dict(a[1])
        for k, t in b[1].items():
            fields[k] = join(fields.get(k), t)
        return struct(fields)
    if {ka, kb} == {"struct", "map"}:
        value, fields = (a[1], b[1]) if ka == "map" else (b[1], a[1])
        for t in fields.values():
            value = join(value, t)
        return map_of(value)
    return mixing


def is_text(t):
    return pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_string_view(t)


def carries(t, arrow):
    """True if a column of type `t` stands as it should in the file."""
    if t in (None, "text", "json") or t == ("struct", {}):
        return is_text(arrow)
    if t == "bool":
        return pa.types.is_boolean(arrow)
    if t == "decimal":
        return pa.types.is_decimal128(arrow) and (arrow.precision, arrow.scale) == (38, 0)
    if t == "float":
        return pa.types.is_float64(arrow)
    if t[0] == "int":
        return pa.types.is_int64(arrow)
    if t[0] == "list":
        return pa.types.is_list(arrow) and carries(t[1], arrow.value_type)
    if t[0] == "map":
        return pa.types.is_map(arrow) and is_text(arrow.key_type) and carries(t[1], arrow.item_type)
    return (
        pa.types.is_struct(arrow)
        and [arrow.field(i).name for i in range(arrow.num_fields)] == list(t[1])
        and all(carries(field, arrow.field(i).type) for i, field in enumerate(t[1].values()))
    )


def same_json(a, b):
    """The same value; null members count as absent, numbers by what they are."""
    if isinstance(a, Number) and isinstance(b, Number):
        if type_of_number(a) == "json" or type_of_number(b) == "json":
            return a == b
        exact = lambda n: float(n) if any(c in n for c in ".eE") else int(n)
        return exact(a) == exact(b)
    if isinstance(a, dict) and isinstance(b, dict):
        return all(same_json(a.get(k), b.get(k)) for k in {**a, **b})
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same_json, a, b))
    return type(a) is type(b) and a == b


def same(value, t, found):
    """True if `found`, which a reader gave, is `value` in a column of type `t`."""
    if value is None:
        return found is None
    if t == "text":
        return type(found) is str and found == value
    if t == "json" or t == ("struct", {}):
        return type(found) is str and same_json(value, loads(found))
    if t == "bool":
        return found is value
    if t == "decimal":
        return isinstance(found, decimal.Decimal) and found == int(value)
    if t == "float":
        sign = math.copysign(1, found) if type(found) is float else 0
        return sign == math.copysign(1, float(value)) and found == float(value)
    if t[0] == "int":
        return type(found) is int and found == int(value)
    if t[0] == "list":
        return isinstance(found, list) and len(found) == len(value) and all(same(v, t[1], f) for v, f in zip(value, found))
    if t[0] == "map":
        found = dict(found)
        return all(same(value.get(k), t[1], found.get(k)) for k in {**value, **found})
    return isinstance(found, dict) and list(found) == list(t[1]) and all(same(value.get(k), f, found[k]) for k, f in t[1].items())


# Random records --------------------------------------------------------------------------------

TEXTS = ["", " ", "a", "Åsa & 東京", "\u0000\u0001\u001f", "\U0001f389🏳️\u200d🌈", 'say "hi"', "a\\b", "a,b;c\t", "line\nbreak\r\n", "null", "true", "12", "007", "[1]", "{}", "\u2028\ufeff", "x" * 13, "y" * 300, "'", "é" * 12]  # fmt: skip
NUMBERS = ["0", "-0", "1", "-1", "7", "123456789", "9007199254740992", "9007199254740993", "-9007199254740993", "9223372036854775807", "-9223372036854775808", "9223372036854775808", "18446744073709551616", "-99999999999999999999999999999999999999", "99999999999999999999999999999999999999", "100000000000000000000000000000000000000", "0.1", "-0.0", "1.0", "2.50", "0.1000000000000000055511151231257827", "3.141592653589793238462643", "1e5", "1E-7", "-1.5e+300", "5e-324", "4.9e-325", "1.7976931348623157e308", "1e400", "123456789012345678901234567890.125"]  # fmt: skip
KEYS = ["a", "b", "c", "hq", "list", "k k", "k.l", "東", 'q"q', "back\\slash", "x\ny"]


class Generator:
    """Columns have a favourite kind each, so that they do get a type, and now and then a surprise."""

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.surprise = self.r.choice([0, 0.002, 0.05])
        self.kinds = {}

    def kind(self, path, depth):
        kinds = ["bool", "int", "int", "big", "float", "number", "text", "text", "null"]
        if depth < 4:
            kinds += ["struct", "list", "open", "any"]
        if path not in self.kinds:
            self.kinds[path] = self.r.choice(kinds)
        return self.r.choice(kinds) if self.r.random() < self.surprise else self.kinds[path]

    def value(self, path=(), depth=0):
        """JSON text of a value."""
        r = self.r
        if r.random() < 0.15:
            return "null"
        kind = self.kind(path, depth)
        if kind == "any":
            kind = r.choice(["bool", "int", "float", "text", "struct", "list"])
        if kind == "null":
            return "null"
        if kind == "bool":
            return r.choice(["true", "false"])
        if kind == "int":
            return str(r.randint(-1000, 1000))
        if kind == "big":
            return str(r.randint(-(10 ** r.randint(1, 37)), 10 ** r.randint(1, 37)))
        if kind == "float":
            return r.choice([repr(r.uniform(-1e6, 1e6)), f"{r.uniform(-10, 10):.{r.randint(1, 25)}f}", repr(r.gauss(0, 1) * 10.0 ** r.randint(-300, 300)), str(r.randint(-5, 5))])  # fmt: skip
        if kind == "number":
            return r.choice(NUMBERS)
        if kind == "text":
            return self.string(r.choice(TEXTS) + r.choice(["", "", str(r.random())]))
        if kind == "list":
            items = [self.value(path + ("[]",), depth + 1) for _ in range(r.choice([0, 1, 1, 2, 5]))]
            return "[" + self.blank() + ("," + self.blank()).join(items) + "]"
        if kind == "open":
            keys = [f"id-{r.randint(0, 1000)}" for _ in range(r.choice([0, 1, 3, 40]))]
            return self.object({k: self.value(path + ("*",), depth + 1) for k in keys})
        keys = r.sample(KEYS[: r.choice([2, 4, len(KEYS)])], r.choice([0, 1, 2, 2]))
        return self.object({k: self.value(path + (k,), depth + 1) for k in keys})

    def blank(self):
        return self.r.choice(["", "", "", " ", "\t"])

    def string(self, text):
        return json.dumps(text, ensure_ascii=self.r.random() < 0.3)

    def object(self, members):
        members = [self.string(k) + self.blank() + ":" + self.blank() + v + self.blank() for k, v in members.items()]
        return "{" + self.blank() + ",".join(members) + "}"

    def record(self, i, rows):
        """A record as its keys with the text of their values."""
        # A column that comes late, and one that only some have.
        keys = KEYS[:5] + (KEYS[5:8] if i > rows * 0.7 else []) + (KEYS[8:] if self.r.random() < 0.01 else [])
        record = {"id": str(i)}
        for key in keys:
            if self.r.random() < 0.8:
                record[key] = self.value((key,), 0)
        if self.r.random() < 0.1:
            record = dict(self.r.sample(list(record.items()), len(record)))
        return record


# The binary ------------------------------------------------------------------------------------


class Case:
    def __init__(self, drawoff, folder, seed):
        self.drawoff, self.folder, self.seed = drawoff, pathlib.Path(folder), seed
        self.r = random.Random(seed ^ 0x5EED)

    def convert(self, source, name, *more, workers=None, stdin=None, code=0):
        workers = workers or self.r.choice([1, 2, 7])
        command = [self.drawoff, "convert", source, "-o", name, "--workers", str(workers), *more]
        morsel = self.r.choice(["1B", "60B", "500B", "4KiB", "1MiB"])
        env = {**os.environ, "DRAWOFF_MORSEL_SIZE": morsel, "DRAWOFF_SAMPLE_SIZE": "64B"}
        done = subprocess.run(command, cwd=self.folder, env=env, stdin=stdin, capture_output=True, timeout=120)
        what = f"{' '.join(command)} (DRAWOFF_MORSEL_SIZE={morsel})"
        assert done.returncode == code, f"{what}: exit code {done.returncode}\n{done.stderr.decode()}"
        return self.folder / name if name != "-" else done.stdout

    def same_at_any_number_of_workers(self, source, name, *more):
        """Converts to text with 1, 2 and 7 workers, morsels of any size, and returns the one result."""
        results = [self.convert(source, f"{n}-{name}", *more, workers=n) for n in (1, 2, 7)]
        texts = [path.read_bytes() for path in results]
        assert all(t == texts[0] for t in texts), f"{name} differs by workers"
        return results[0]

    def check_parquet_at_any_number_of_workers(self, source, columns, rows):
        """As above. What became JSON text late has been spelled anew, so that the files are compared by
        what their values mean: each with the same expectation."""
        for n in (1, 2, 7):
            self.check_parquet(self.convert(source, f"{n}.parquet", workers=n), columns, rows)

    def check_parquet(self, path, columns, rows):
        """`columns` is the types by name, `rows` are dicts of values."""
        table = pq.read_table(path)
        assert table.column_names == list(columns), f"columns {table.column_names}, not {list(columns)}"
        for name, t in columns.items():
            arrow = table.schema.field(name).type
            assert carries(t, arrow), f"column {name!r}: {arrow} for {t}"
        found = table.to_pylist()
        # By position: DuckDB's names are blind to case.
        with duckdb.connect() as db:
            by_duckdb = db.execute("select * from read_parquet(?)", [str(path)]).fetchall()
        assert len(found) == len(by_duckdb) == len(rows), f"{len(found)} and {len(by_duckdb)} rows, not {len(rows)}"
        for i, (row, a, b) in enumerate(zip(rows, found, by_duckdb)):
            for j, (name, t) in enumerate(columns.items()):
                value = row.get(name)
                assert same(value, t, a[name]), f"row {i}, {name!r} ({t}): pyarrow has {a[name]!r} for {value!r}"
                assert same(value, t, b[j]), f"row {i}, {name!r} ({t}): DuckDB has {b[j]!r} for {value!r}"

    def ndjson(self):
        g = Generator(self.seed)
        n = g.r.choice([1, 7, 60, 300])
        records = [g.record(i, n) for i in range(n)]
        lines = [g.object(record) for record in records]
        end = g.r.choice(["\n", "\n", "\r\n", "\n\n"])
        text = "".join(g.blank() + line + g.blank() + end for line in lines)
        (self.folder / "in.ndjson").write_text(text if g.r.random() < 0.5 else text.rstrip(), newline="")
        rows = [loads(line) for line in lines]
        columns = {}
        most_leaves = 0
        for row in rows:
            for key, value in row.items():
                columns[key] = join(columns.get(key), type_of(value))
            most_leaves = max(most_leaves, sum(map(n_leaves, columns.values())))

        # Beyond the limit, columns become JSON text. The limit applies after every morsel, so the types depend on the size of
        # the morsels then: structs with many keys are counted as long as they have not become maps.
        if most_leaves <= MAX_LEAVES:
            self.check_parquet_at_any_number_of_workers("in.ndjson", columns, rows)

        path = self.same_at_any_number_of_workers("in.ndjson", "out.ndjson")
        assert path.read_bytes().decode() == "".join(f"{line}\n" for line in lines), "NDJSON is copied to the byte"

        path = self.same_at_any_number_of_workers("in.ndjson", "out.csv")
        with open(path, newline="") as file:
            # csv.reader drops nothing: a row of one empty cell is written as a blank line only where there is one column.
            header, *cells = list(csv.reader(file, strict=True))
        assert header == list(columns), f"header {header}, not {list(columns)}"
        for i, (record, row) in enumerate(zip(records, cells, strict=True)):
            expected = [cell(record[key]) if key in record else "" for key in columns]
            assert row == expected, f"row {i} of CSV: {row}, not {expected}"

    def csv(self):
        r = random.Random(self.seed + 1)
        names = ["id", "x", "y y", 'z"', "東\n"][: r.choice([1, 2, 5])]
        kinds = [r.choice(["int", "int", "long", "float", "number", "bool", "text", "null"]) for _ in names]
        surprise = r.choice([0, 0, 0.01, 0.3])
        n = r.choice([0, 1, 30, 400])
        rows = [[self.cell(r, r.choice(CELLS) if r.random() < surprise else kind) for kind in kinds] for _ in range(n)]
        end = r.choice(["\n", "\r\n"])
        text = ",".join(map(quoted, names)) + end + "".join(",".join(row) + end for row in rows)
        mark = r.choice(["", "\ufeff"])
        (self.folder / "in.csv").write_text(mark + text, newline="")
        values = [{name: unquoted(c) for name, c in zip(names, row)} for row in rows]
        columns = dict.fromkeys(names)
        for row in values:
            for name, value in row.items():
                columns[name] = join(columns[name], type_of_cell(value), "text")
        typed = [{name: typed_cell(value, columns[name]) for name, value in row.items()} for row in values]
        self.check_parquet_at_any_number_of_workers("in.csv", columns, typed)
        # Through text and back: the digits and the nulls are those of the input.
        self.same_at_any_number_of_workers("in.csv", "again.csv")
        path = self.convert("1-again.csv", "again.parquet")
        self.check_parquet(path, columns, typed)
        path = self.same_at_any_number_of_workers("in.csv", "out.ndjson")
        for value, line in zip(typed, path.read_bytes().decode().split("\n")[:-1], strict=True):
            row = loads(line)
            assert list(row) == names and all(same_json(number(v), row[k]) for k, v in value.items()), (value, line)

    def cell(self, r, kind):
        if kind == "null" or r.random() < 0.1:
            return ""
        if kind == "int":
            return str(r.randint(-1000, 1000))
        if kind == "long":
            return str(r.randint(-(10 ** r.randint(1, 40)), 10 ** r.randint(1, 40)))
        if kind == "float":
            return repr(r.choice([r.uniform(-100, 100), r.gauss(0, 1) * 10.0 ** r.randint(-300, 300), float(r.randint(-9, 9))]))
        if kind == "number":
            return r.choice(NUMBERS)
        if kind == "bool":
            return r.choice(["true", "false", "True", "False"])
        return quoted(r.choice(TEXTS), r)


CELLS = ["int", "long", "float", "number", "bool", "text"]


def cell(text):
    """What JSON text becomes in a cell, as Python's csv module reads it."""
    value = loads(text)
    if value is None:
        return ""
    return value if isinstance(value, str) and not isinstance(value, Number) else text.strip()


def quoted(text, r=None):
    if text == "" or any(c in text for c in ',"\n\r') or r and r.random() < 0.2:
        return '"' + text.replace('"', '""') + '"'
    return text


def unquoted(text):
    """None for the empty cell, which a quoted empty one is not."""
    if text.startswith('"'):
        return text[1:-1].replace('""', '"')
    return text or None


def type_of_cell(text):
    if text is None:
        return None
    if text in ("true", "True", "false", "False"):
        return "bool"
    if re.fullmatch(r"0|-?[1-9][0-9]*", text) and len(text.lstrip("-")) <= 38:
        value = int(text)
        return ("int", abs(value) <= EXACT) if -(1 << 63) <= value < 1 << 63 else "decimal"
    try:
        if repr(float(text)) == text and math.isfinite(float(text)):
            return "float"
    except ValueError:
        pass
    return "text"


def typed_cell(text, t):
    if text is None or t == "text":
        return text
    return text.lower() == "true" if t == "bool" else Number(text)


def number(value):
    return value


def main():
    drawoff = os.path.abspath(sys.argv[1])
    cases = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    first = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    for seed in range(first, first + cases):
        with tempfile.TemporaryDirectory() as folder:
            case = Case(drawoff, folder, seed)
            for check in (case.ndjson, case.csv):
                try:
                    check()
                except Exception as error:
                    text = str(error)
                    print(f"seed {seed}, {check.__name__}: {type(error).__name__}: {text[:3000]}", file=sys.stderr)
                    keep = os.environ.get("DRAWOFF_TEST_KEEP")
                    if keep:
                        import shutil
                        shutil.copytree(folder, keep, dirs_exist_ok=True)
                    sys.exit(1)
    print(f"{cases} cases from seed {first}")


main()
