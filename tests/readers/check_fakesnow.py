"""Executes the statements of a load in fakesnow, an emulator of Snowflake, through Snowflake's own connector.

    python check_fakesnow.py STATEMENTS STAGE

What the emulator lacks is put in its place here: RESULT_SCAN by the result itself, MERGE within a transaction by an INSERT
of the same meaning, and the precision of times.
"""

import pathlib
import re
import sys
import warnings

import fakesnow
import snowflake.connector

warnings.simplefilter("ignore")


class Session:
    def __init__(self):
        self.cursor = snowflake.connector.connect(database="CRM", schema="LOADS").cursor()
        self.last = ([], [])

    def run(self, text):
        text = text.replace("DATETIME_PRECISION", "9")
        if "TABLE(RESULT_SCAN(LAST_QUERY_ID()))" in text:
            text = text.replace("TABLE(RESULT_SCAN(LAST_QUERY_ID()))", self.as_query())
        merge = re.fullmatch(
            r"MERGE INTO (\S+) AS l USING \(SELECT ('\w+') AS commit_key\) AS s ON l.commit_key = s.commit_key\n"
            r"WHEN NOT MATCHED THEN INSERT (\(.*?\)) VALUES \((.*)\)",
            text,
            re.S,
        )
        if merge:
            table, key, columns, values = merge.groups()
            text = (
                f"INSERT INTO {table} {columns} SELECT {values} "
                f"WHERE NOT EXISTS (SELECT 1 FROM {table} WHERE commit_key = {key})"
            )
        rows = self.cursor.execute(text).fetchall()
        names = ["number of rows inserted"] if merge else [column[0] for column in self.cursor.description or []]
        self.last = (names, rows)
        return rows

    def as_query(self):
        names, rows = self.last
        number = lambda value: "NULL" if not isinstance(value, int) else str(value)
        cells = [", ".join(f'{number(value)} AS "{name}"' for name, value in zip(names, row)) for row in rows]
        return f"({' UNION ALL '.join(f'SELECT {row}' for row in cells)})"

    def load(self, statements):
        """Executes all; the error of one that failed, whose transaction is rolled back."""
        for text in statements:
            try:
                self.run(text)
            except Exception as error:  # noqa: BLE001
                try:
                    self.run("ROLLBACK")
                except Exception:  # noqa: BLE001
                    pass
                return str(error)
        return ""


def check(condition, *values):
    if not condition:
        sys.exit(f"{sys._getframe(1).f_lineno}: {values}")


def main():
    # A block of Snowflake's own, which the emulator lacks: its statements, each for itself.
    lines = pathlib.Path(sys.argv[1]).read_text().split("\n")
    begin, end = lines.index("EXECUTE IMMEDIATE $$"), lines.index("$$;")
    check(lines[begin + 1] == "BEGIN" and lines[end - 5 : end] == ["EXCEPTION", "WHEN OTHER THEN", "ROLLBACK;", "RAISE;", "END;"])
    lines[end - 5 : end + 1] = []
    lines[begin : begin + 2] = []
    statements = [text for text in "\n".join(lines).split(";\n") if text.strip()]
    stage = pathlib.Path(sys.argv[2]).resolve()
    table = '"CRM"."LOADS"."COMPANIES"'

    def session():
        new = Session()
        new.run(f"CREATE STAGE \"CRM\".\"LOADS\".FILES URL='file://{stage.parent}/'")
        return new

    with fakesnow.patch():
        new = session()
        error = new.load(statements)
        check(error == "", error)
        # Plain names need no quotes, and reserved words are names.
        rows = new.run(f'SELECT "ORDER", "First ""name""", hq:end::INT, tags[0]::VARCHAR, score, "GROUP", mixed FROM {table} ORDER BY 1')
        expected = [(1, "a", 1, "x", 1.5, True, None), (2, None, None, None, None, None, "1"), (3, None, None, None, None, None, '"1"')]
        check(rows == expected, rows)
        ledger = new.run('SELECT commit_key, table_name, loaded_rows, mode FROM "CRM"."LOADS"."_drawoff_loads"')
        check(len(ledger) == 1 and ledger[0][1:] == ("CRM.LOADS.COMPANIES", 3, "append"), ledger)
        # The same again: the guard ends the transaction.
        error = new.load(statements)
        check("drawoff: the rows are loaded already" in error, error)
        check(new.run(f"SELECT COUNT(*) FROM {table}") == [(3,)])
        # Another count.
        new.run('DELETE FROM "CRM"."LOADS"."_drawoff_loads"')
        error = new.load([text.replace('SUM("rows_loaded") = 3', 'SUM("rows_loaded") = 4') for text in statements])
        check("another number of rows" in error, error)
        check(new.run(f"SELECT COUNT(*) FROM {table}") == [(3,)])
        check(new.run('SELECT COUNT(*) FROM "CRM"."LOADS"."_drawoff_loads"') == [(0,)])
        # With the row of the ledger gone, the rows are loaded again.
        check(new.load(statements) == "")
        check(new.run(f"SELECT COUNT(*) FROM {table}") == [(6,)])

    # A table that has other columns, gets those that it lacks.
    with fakesnow.patch():
        new = session()
        new.run(f"CREATE TABLE {table} (id VARCHAR, score FLOAT)")
        check(new.load(statements) == "")
        check(new.run(f'SELECT COUNT(*), COUNT(id), SUM("ORDER") FROM {table}') == [(3, 0, 6)])

    # One that would round the numbers gets no rows.
    with fakesnow.patch():
        new = session()
        new.run(f"CREATE TABLE {table} (score NUMBER(38, 0), mixed VARCHAR)")
        error = new.load(statements)
        check("types that do not keep the values: SCORE NUMBER" in error, error)
        check(new.run(f"SELECT COUNT(*) FROM {table}") == [(0,)])
    print("loaded once, with guards that hold")


main()
