"""Reads the main job's Parquet file with pyarrow and with DuckDB and compares it with what plain
Python makes of the input: rows and their order, column names and types, nested values, nulls.

    python check_main_job.py RESULTS.parquet COMPANIES.csv [FACTS.ndjson]

Without FACTS the enrichment's columns have to be there and null throughout. Prints the number of
rows; ends with 1 and the first differences otherwise. The steps are written out here on purpose,
in the most obvious way, and not read from the workflow's definition.
"""

import json
import sys

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

INTEGERS = {"record_id", "employee_count", "founded_year"}
FLOATS = {"revenue_usd"}
BOOLEANS = {"is_public"}
NESTED = {"hq", "offices", "contacts"}
ENRICHED = ["hiring_now", "tech_stack", "funding", "headcount_growth"]


def is_text(t):
    return pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_string_view(t)


def struct_of(**fields):
    def check(t):
        return (
            pa.types.is_struct(t)
            and {t.field(i).name for i in range(t.num_fields)} == set(fields)
            and all(ok(t.field(name).type) for name, ok in fields.items())
        )

    return check


def list_of(ok):
    return lambda t: (pa.types.is_list(t) or pa.types.is_large_list(t)) and ok(t.value_type)


TYPES = {
    "record_id": pa.types.is_int64,
    "domain": is_text,
    "company_name": is_text,
    "website": is_text,
    "country": is_text,
    "city": is_text,
    "industry": is_text,
    "employee_count": pa.types.is_int64,
    "revenue_usd": pa.types.is_float64,
    "founded_year": pa.types.is_int64,
    "is_public": pa.types.is_boolean,
    "hq": struct_of(city=is_text, country=is_text, lat=pa.types.is_float64, lon=pa.types.is_float64),
    "offices": list_of(is_text),
    "contacts": list_of(struct_of(name=is_text, title=is_text, email=is_text, verified=pa.types.is_boolean)),
    "registration_no": is_text,
    "phone": is_text,
    "notes": is_text,
    "hiring_now": pa.types.is_boolean,
    "tech_stack": list_of(is_text),
    "funding": struct_of(round=is_text, amount_usd=pa.types.is_int64, investors=list_of(is_text)),
    "headcount_growth": pa.types.is_float64,
}


def csv_records(text):
    """RFC 4180, with an empty cell as None and a quoted empty one as "": the csv module of Python
    does not tell them apart."""
    record, i = [], 0
    while i < len(text):
        if text[i] == '"':
            value, i = "", i + 1
            while True:
                end = text.index('"', i)
                value += text[i:end]
                i = end + 1
                if text[i : i + 1] != '"':
                    break
                value, i = value + '"', i + 1
        else:
            end = i
            while text[end] not in ",\n":
                end += 1
            value, i = text[i:end] or None, end
        record.append(value)
        if text[i] == "\n":
            yield record
            record = []
        elif text[i + 1] == "\n":
            raise SystemExit("an empty last cell is not foreseen here")
        i += 1


def typed(column, value):
    if value is None:
        return None
    if column in INTEGERS:
        return int(value)
    if column in FLOATS:
        return float(value)
    if column in BOOLEANS:
        return {"true": True, "false": False}[value]
    if column in NESTED:
        return json.loads(value)
    return value


def with_keys(value, keys):
    """A struct column has every key; one that the record lacks is null."""
    return None if value is None else {key: value.get(key) for key in keys}


def expected(companies, facts):
    with open(companies, encoding="utf-8", newline="") as file:
        records = csv_records(file.read())
        header = next(records)
        rows = [{c: typed(c, v) for c, v in zip(header, record, strict=True)} for record in records]
    known = {}
    if facts:
        with open(facts, encoding="utf-8") as file:
            known = {fact["domain"]: fact for fact in map(json.loads, file)}
    seen, out = set(), []
    for row in rows:
        if row["employee_count"] is None or row["employee_count"] <= 50 or not row["website"]:
            continue
        if row["domain"] in seen:
            continue
        seen.add(row["domain"])
        del row["crm_row_id"]
        row["hq"] = with_keys(row["hq"], ["city", "country", "lat", "lon"])
        if row["hq"] and row["hq"]["lat"] is not None:
            row["hq"]["lat"] = float(row["hq"]["lat"])
        if row["contacts"] is not None:
            row["contacts"] = [with_keys(c, ["name", "title", "email", "verified"]) for c in row["contacts"]]
        fact = known.get(row["domain"], {})
        row.update({name: fact.get(name) for name in ENRICHED})
        if row["headcount_growth"] is not None:
            row["headcount_growth"] = float(row["headcount_growth"])
        out.append(row)
    return out


def covers_the_hard_cases(rows, with_facts):
    """The data must hold what this check is for; otherwise it proves little."""
    def any_row(test):
        return any(test(row) for row in rows)

    cases = {
        "quotes and line breaks": any_row(lambda r: r["notes"] and "\n" in r["notes"] and '"' in r["notes"]),
        "a carriage return": any_row(lambda r: r["notes"] and "\r\n" in r["notes"]),
        "beyond the basic plane": any_row(lambda r: r["notes"] and any(ord(c) > 0xFFFF for c in r["notes"])),
        "the empty text": any_row(lambda r: r["notes"] == ""),
        "text that looks like null": any_row(lambda r: r["notes"] == "null"),
        "leading zeros": any_row(lambda r: r["registration_no"] and r["registration_no"].startswith("00")),
        "the country NA": any_row(lambda r: r["country"] == "NA"),
        "an empty list": any_row(lambda r: r["offices"] == []),
        "no list": any_row(lambda r: r["offices"] is None),
        "a null in a list": any_row(lambda r: r["contacts"] and None in r["contacts"]),
        "a null in an object": any_row(lambda r: r["hq"] and r["hq"]["city"] and r["hq"]["lat"] is None),
        "an empty object": any_row(lambda r: r["hq"] and r["hq"]["city"] is None),
        "integers beyond a double": any_row(lambda r: int(float(r["record_id"])) != r["record_id"]),
        "enrichment and its absence": not with_facts
        or (any_row(lambda r: r["funding"]) and any_row(lambda r: all(r[n] is None for n in ENRICHED))),
    }
    return [f"the input has no case of: {name}" for name, found in cases.items() if not found]


def differences(reader, found, wanted):
    out = []
    if len(found) != len(wanted):
        out.append(f"{reader}: {len(found)} rows, {len(wanted)} expected")
    for i, (f, w) in enumerate(zip(found, wanted)):
        for column in w:
            # repr tells 1 from 1.0 and True.
            if repr(f.get(column)) != repr(w[column]) and not same(f.get(column), w[column]):
                out.append(f"{reader}: row {i} ({w['domain']}), {column}: {f.get(column)!r}, expected {w[column]!r}")
    return out


def same(found, wanted):
    """Equal with equal kinds; key order of objects does not count."""
    if isinstance(wanted, dict):
        return (
            isinstance(found, dict)
            and found.keys() == wanted.keys()
            and all(same(found[key], wanted[key]) for key in wanted)
        )
    if isinstance(wanted, list):
        return isinstance(found, list) and len(found) == len(wanted) and all(map(same, found, wanted))
    return type(found) is type(wanted) and found == wanted


def main(results, companies, facts=None):
    wanted = expected(companies, facts)
    wrong = covers_the_hard_cases(wanted, facts is not None)

    table = pq.read_table(results)
    if table.column_names != list(wanted[0]):
        wrong.append(f"columns: {table.column_names}, expected {list(wanted[0])}")
    for field in table.schema:
        # With nothing but nulls below it, an object has no keys to be a struct of.
        unknown = field.name == "funding" and facts is None
        if not unknown and field.name in TYPES and not TYPES[field.name](field.type):
            wrong.append(f"column {field.name} has the type {field.type}")
    wrong += differences("pyarrow", table.to_pylist(), wanted)

    cursor = duckdb.connect().execute("select * from read_parquet(?)", [results])
    names = [column[0] for column in cursor.description]
    wrong += differences("duckdb", [dict(zip(names, row)) for row in cursor.fetchall()], wanted)

    for line in wrong[:20]:
        print(line)
    if wrong:
        return 1
    print(f"{len(wanted)} rows")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
