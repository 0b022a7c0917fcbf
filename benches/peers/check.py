#!/usr/bin/env python3
"""Compares an output with its input: the number of rows, and the values of a sample of them.

    check.py KIND IN OUT [--rows N]

KIND is the task: `ndjson-parquet`, `ndjson-csv`, `csv-parquet` or `filter`. Prints `right`, or what
is wrong in one line: rows that are missing, or the columns whose values differ. An absent key and
null are the same, numbers are compared by value, and a time stamp may have become one. Outputs of
filters are compared row by row.
"""
import argparse
import csv
import datetime
import gzip
import json
import random

CHOSEN = ("company_name", "domain", "employee_count", "score")
SAMPLE = 1000
csv.field_size_limit(1 << 24)


def lines_of(path):
    return gzip.open(path, "rb") if path.endswith(".gz") else open(path, "rb")


def plain(value):
    """A value that a reader gave, as JSON would have it; what is null inside is left out."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, (list, tuple)):
        return [plain(inner) for inner in value]
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, datetime.datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03}Z"
    return value


def same(expected, found, as_text):
    """`as_text`: what was found is a cell of CSV, or came out of one."""
    if expected is None or found is None:
        # Without quotes to tell them apart, empty text and null are the same cell.
        return expected is found or (as_text and (expected or "") == (found or ""))
    if as_text and isinstance(found, str):
        if isinstance(expected, str):
            return expected == found
        try:
            return plain(expected) == plain(json.loads(found))
        except ValueError:
            return False
    # 1 and True are equal in Python, and not here.
    return isinstance(expected, bool) == isinstance(found, bool) and plain(expected) == plain(found)


def compare(expected, found, as_text=False):
    """Columns whose values differ."""
    return [key for key in expected.keys() | found.keys() if not same(expected.get(key), found.get(key), as_text)]


def cells(row):
    """A row of CSV as values: empty is null."""
    return {key: None if value == "" else value for key, value in row.items()}


def parquet_rows(path, wanted):
    """The rows of these numbers, and how many there are in all."""
    import pyarrow
    import pyarrow.parquet
    found, start = {}, 0
    with pyarrow.parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(8192):
            inside = [index for index in wanted if start <= index < start + batch.num_rows]
            if inside:
                rows = batch.take(pyarrow.array([index - start for index in inside])).to_pylist()
                found.update(zip(inside, rows))
            start += batch.num_rows
    return found, start


def sampled(rows, wanted=None):
    """The same of an iterator; all rows if none are named."""
    wanted, found, count = None if wanted is None else set(wanted), {}, 0
    for row in rows:
        if wanted is None or count in wanted:
            found[count] = row
        count += 1
    return found, count


def wrong(kind, source, output, n_rows):
    wanted = sorted(random.Random(1).sample(range(n_rows), min(SAMPLE, n_rows)))
    if kind == "filter":
        with lines_of(source) as lines, open(output, "rb") as found_lines:
            records = map(json.loads, lines)
            expected = ({key: r.get(key) for key in CHOSEN} for r in records if r["score"] > 0.8)
            expected, n_expected = sampled(expected)
            found, n_found = sampled(map(json.loads, found_lines))
            n_rows = n_expected
    else:
        with (open(source, newline="", encoding="utf-8") if kind == "csv-parquet" else lines_of(source)) as lines:
            rows = map(cells, csv.DictReader(lines)) if kind == "csv-parquet" else lines
            expected, n_expected = sampled(rows, wanted)
        if n_expected != n_rows:
            return f"the input has {n_expected} rows, not {n_rows}"
        if kind != "csv-parquet":
            expected = {index: json.loads(line) for index, line in expected.items()}
        if kind == "ndjson-csv":
            with open(output, newline="", encoding="utf-8") as lines:
                found, n_found = sampled(map(cells, csv.DictReader(lines)), wanted)
        else:
            found, n_found = parquet_rows(output, wanted)
    if n_found != n_rows:
        return f"{n_found} rows instead of {n_rows}"
    differing = set()
    for index, record in expected.items():
        if kind == "csv-parquet":
            # A cell says what it is as text does; numbers and truth values are compared with their text.
            found[index] = {key: plain(value) for key, value in found[index].items()}
            differing.update(key for key in record if not same_cell(record[key], found[index].get(key)))
        else:
            differing.update(compare(record, found[index], as_text=kind == "ndjson-csv"))
    return f"values differ in {', '.join(sorted(differing))}" if differing else None


def same_cell(cell, found):
    if cell is None or found is None:
        return cell is None and found in (None, "")
    if isinstance(found, bool):
        return cell == ("true" if found else "false")
    if isinstance(found, (int, float)):
        return float(cell) == found
    return cell == found if isinstance(found, str) else json.loads(cell) == found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["ndjson-parquet", "ndjson-csv", "csv-parquet", "filter"])
    parser.add_argument("source")
    parser.add_argument("output")
    parser.add_argument("--rows", type=int, required=True, help="records in the input")
    args = parser.parse_args()
    try:
        print(wrong(args.kind, args.source, args.output, args.rows) or "right")
    except Exception as error:
        print(f"cannot be read: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")


if __name__ == "__main__":
    main()
