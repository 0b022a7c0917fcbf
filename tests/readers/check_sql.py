"""Queries of drawoff beside those of DuckDB over the same rows: the answers are the same.

usage: check_sql.py DRAWOFF FOLDER

DuckDB reads what drawoff has written as Parquet without a query, so that both begin with the same types.
"""

import json
import pathlib
import subprocess
import sys

import duckdb

drawoff, folder = sys.argv[1], pathlib.Path(sys.argv[2]).resolve()
root = pathlib.Path(__file__).resolve().parents[2]
companies = root / "testdata" / "companies.ndjson"

# Rows that go by one by one, in their order: compared as they come.
BY_ROWS = [
    "SELECT * FROM results",
    "SELECT company_name, upper(country) AS c, employee_count * 2 AS double FROM results WHERE employee_count > 100",
    "SELECT record_id, revenue_usd / 1000 AS k FROM results WHERE revenue_usd IS NOT NULL AND country IN ('NO', 'SE')",
    "SELECT hq.city AS city, hq.lat + 1 AS north FROM results WHERE hq IS NOT NULL",
    "SELECT coalesce(website, domain) AS at FROM (SELECT * FROM results WHERE NOT is_public) AS r",
    "SELECT CASE WHEN employee_count > 1000 THEN 'large' WHEN employee_count IS NULL THEN 'unknown' ELSE 'small' END AS size"
    " FROM results",
    "SELECT company_name FROM results WHERE company_name LIKE '%Ltd%' LIMIT 7",
    "SELECT notes FROM results WHERE false",
]
# Compared in any order, if the query gives none.
WHOLE = [
    "SELECT count(*) AS n, count(employee_count) AS known, sum(employee_count) AS all_of_them FROM results",
    "SELECT country, count(*) AS n, max(employee_count) AS most, min(revenue_usd) AS least FROM results GROUP BY country",
    "SELECT country, avg(employee_count) AS mean FROM results GROUP BY country HAVING count(*) > 10",
    "SELECT DISTINCT industry, country FROM results",
    "SELECT record_id, country FROM results ORDER BY country NULLS LAST, record_id DESC",
    "SELECT record_id, row_number() OVER (PARTITION BY country ORDER BY record_id) AS place FROM results",
    "SELECT country FROM results WHERE employee_count > (SELECT avg(employee_count) FROM results)",
    "WITH big AS (SELECT * FROM results WHERE employee_count > 500) SELECT industry, count(*) AS n FROM big GROUP BY industry",
    "SELECT r.record_id, n.name FROM results r JOIN names n ON r.country = n.code",
    "SELECT r.record_id, n.name FROM results r LEFT JOIN names n ON r.country = n.code",
    "SELECT a.record_id, b.record_id AS other FROM results a JOIN results b ON a.country = b.country AND a.record_id < b.record_id",
    "SELECT country FROM results WHERE country NOT IN (SELECT code FROM names) OR country IS NULL",
    "SELECT country FROM results UNION ALL SELECT code FROM names",
    "SELECT record_id FROM results ORDER BY record_id LIMIT 5 OFFSET 3",
]

names = "code,name\nNO,Norway\nSE,Sweden\nUS,United States\n"
(folder / "names.csv").write_text(names)
records = [dict(zip(("code", "name"), line.split(","))) for line in names.splitlines()[1:]]
(folder / "names.ndjson").write_text("".join(json.dumps(record) + "\n" for record in records))


def run(*arguments, stdin=None):
    return subprocess.run([drawoff, *map(str, arguments)], stdin=stdin, check=True, capture_output=True, cwd=folder).stdout


run("convert", companies, "-o", "all.parquet")
run("convert", "names.csv", "-o", "names.parquet")
# Small pieces, so that a query by rows sees many batches.
ndjson = folder / "many.ndjson"
ndjson.write_bytes(companies.read_bytes())

peer = duckdb.connect()
peer.execute(f"CREATE VIEW results AS FROM '{folder / 'all.parquet'}'")
peer.execute(f"CREATE VIEW names AS FROM '{folder / 'names.parquet'}'")


def plain(value):
    """What NDJSON says of a value of DuckDB."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    # Sums of integers are decimals there.
    return int(value) if type(value).__name__ == "Decimal" else value


def expected(query):
    peer.execute(query)
    columns = [column[0] for column in peer.description]
    return [{name: plain(value) for name, value in zip(columns, row)} for row in peer.fetchall()]


def close(ours, theirs):
    """The same, with a mean in floating point that may be summed up in another order."""
    if isinstance(ours, float) and isinstance(theirs, (int, float)):
        return abs(ours - theirs) <= 1e-9 * max(abs(ours), abs(theirs))
    if isinstance(ours, dict):
        return isinstance(theirs, dict) and list(ours) == list(theirs) and all(map(close, ours.values(), theirs.values()))
    if isinstance(ours, list):
        return isinstance(theirs, list) and len(ours) == len(theirs) and all(map(close, ours, theirs))
    return ours == theirs and type(ours) is type(theirs)


compared = 0


def compare(query, ours, ordered):
    global compared
    ours, theirs = [json.loads(line) for line in ours.splitlines()], expected(query)
    if not ordered:
        def key(row):
            return json.dumps(row, default=str)
        ours, theirs = sorted(ours, key=key), sorted(theirs, key=key)
    if not close(ours, theirs):
        first = next((pair for pair in zip(ours, theirs) if not close(*pair)), (len(ours), len(theirs)))
        sys.exit(f"{query}\n  drawoff: {first[0]}\n  DuckDB:  {first[1]}")
    compared += 1


for query in BY_ROWS:
    compare(query, run("convert", ndjson, "-o", "-", "--sql", query), ordered=True)
    # From a pipe there are no two ways: all rows, and still in their order.
    with ndjson.open("rb") as pipe:
        compare(query, run("convert", "-", "-o", "-", "--sql", query, stdin=pipe), ordered=True)

for query in WHOLE:
    ordered = "ORDER BY" in query and "OVER" not in query
    table = ["names.csv", "names.ndjson", "names.parquet"][compared % 3]
    compare(query, run("convert", ndjson, "-o", "-", "--sql", query, "--table", f"names={table}"), ordered)

print(f"{compared} comparisons")
