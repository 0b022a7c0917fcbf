"""Writes CSV in random dialects with Python's csv module, has drawoff read it, and compares the cells with those of the
csv module, and numbers with those of DuckDB. Arguments: the program, the number of cases, the seed."""

import csv
import io
import json
import random
import subprocess
import sys

import duckdb

program, cases, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
draw = random.Random(seed)

# Encodings by their names in Python and in drawoff, `None` for those that need no flag, with texts that they have.
ENCODINGS = {
    "utf-8": (None, ["東", "ö", "a,b", '"q"', "\n"]),
    "utf-16": (None, ["東", "\U0001f600", "a;b", '"']),
    "latin-1": ("latin1", ["é", "a;b", 'x"y', "l\nm"]),
    "cp1250": ("windows-1250", ["ł", "ź,", '"']),
    "shift_jis": ("shift_jis", ["東", "京;", "表"]),
}


def convert(*flags, stdin=None):
    done = subprocess.run([program, "convert", *flags, "-q"], input=stdin, capture_output=True)
    assert done.returncode == 0, (flags, done.stderr.decode())
    return done.stdout.decode()


for _ in range(cases):
    encoding = draw.choice(list(ENCODINGS))
    name, texts = ENCODINGS[encoding]
    rows = [[draw.choice([*texts, "NA", "x"]) for _ in range(3)] for _ in range(draw.randint(1, 30))]
    delimiter, quote = draw.choice(";,\t|"), draw.choice("\"'~")
    text, line_end = io.StringIO(), draw.choice(["\n", "\r\n"])
    csv.writer(text, delimiter=delimiter, quotechar=quote, lineterminator=line_end).writerows(rows)
    flags = ["--in-quote", quote, "--in-delimiter", delimiter, "--in-skip-lines", "2", "--in-header", "no", "--in-null", "NA"]
    flags += ["--in-encoding", name] if name else []
    source = ("A title\n\n" + text.getvalue()).encode(encoding)
    found = convert("-", "-o", "-", "--from", "csv", "--to", "ndjson", *flags, stdin=source)
    found = [[json.loads(line)[f"column_{i}"] for i in (1, 2, 3)] for line in found.splitlines()]
    wanted = csv.reader(io.StringIO(text.getvalue(), newline=""), delimiter=delimiter, quotechar=quote)
    wanted = [[None if cell == "NA" else cell for cell in row] for row in wanted]
    assert found == wanted, (encoding, delimiter, found, wanted)

cells = ["10.50", "9.99", "7", "1e3", "0.00001", "-100.00", "NA", ""]
with open("numbers.csv", "w") as file:
    file.writelines(f"{line},{draw.choice(cells)}\n" for line in range(500))
convert("numbers.csv", "-o", "numbers.parquet", "--in-null", "NA", "--in-header", "no")
query = "select {0}, {1}, typeof({1}) from {2} order by 1"
found = duckdb.sql(query.format("column_1", "column_2", "'numbers.parquet'")).fetchall()
read = "read_csv('numbers.csv', header=false, nullstr=['', 'NA'], columns={'n': 'BIGINT', 'x': 'DOUBLE'})"
assert found == duckdb.sql(query.format("n", "x", read)).fetchall()

numbers = [draw.randint(-(10**9), 10**9) / 100 for _ in range(500)]
with open("commas.csv", "w") as file:
    file.write("x\n")
    for number in numbers:
        spelled = f"{number:,.2f}" if draw.random() < 0.5 else f"{number:.2f}"
        file.write(spelled.translate({ord(","): ".", ord("."): ","}) + "\n")
convert("commas.csv", "-o", "commas.parquet", "--in-delimiter", ";", "--in-decimal", ",", "--in-thousands", ".")
assert duckdb.sql("select x from 'commas.parquet'").fetchall() == [(number,) for number in numbers]
convert("commas.csv", "-o", "copied.csv", "--in-delimiter", ";", "--delimiter", ";", "--in-decimal", ",")
assert open("copied.csv").read() == open("commas.csv").read()

long = [f"{draw.randint(10**15, 10**18)}.{draw.randint(0, 9999):04}" for _ in range(100)]
with open("long.csv", "w") as file:
    file.write("x\n" + "".join(number + "\n" for number in long))
convert("long.csv", "-o", "long.parquet")
found = duckdb.sql("select x, typeof(x) from 'long.parquet'").fetchall()
assert [str(number) for number, _ in found] == long and found[0][1].startswith("DECIMAL("), found[0]
print(f"{cases} cases from seed {seed}")
