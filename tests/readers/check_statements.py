"""Reads statements with the parser of a dialect, and checks that each is what it begins with.

    python check_statements.py DIALECT FILE...
"""

import logging
import pathlib
import sys

import sqlglot
from sqlglot import exp

KINDS = {
    "ALTER": exp.Alter,
    "BEGIN": exp.Transaction,
    "COMMIT": exp.Commit,
    "COPY": exp.Copy,
    "CREATE": exp.Create,
    "DROP": exp.Drop,
    "INSERT": exp.Insert,
    "LOAD": exp.LoadData,
    "LOCK": exp.Command,  # Read as a word and its text.
    "MERGE": exp.Merge,
    "SELECT": exp.Select,
    "SET": exp.Set,
}


def statements_of(text):
    """Statements of a file: without remarks, and those of a block of Snowflake each for itself."""
    lines = [line for line in text.split("\n") if not line.startswith("--")]
    if "EXECUTE IMMEDIATE $$" in lines:
        begin, end = lines.index("EXECUTE IMMEDIATE $$"), lines.index("$$;")
        assert lines[begin + 1] == "BEGIN" and lines[end - 5 : end] == ["EXCEPTION", "WHEN OTHER THEN", "ROLLBACK;", "RAISE;", "END;"]
        del lines[end - 5 : end + 1]
        del lines[begin : begin + 2]
    return [statement for statement in "\n".join(lines).split(";\n") if statement.strip()]


def main():
    dialect, *files = sys.argv[1:]
    # A statement that is not understood is a warning there, and another kind here.
    logging.disable(logging.WARNING)
    for file in files:
        statements = statements_of(pathlib.Path(file).read_text())
        for text in statements:
            parsed = sqlglot.parse_one(text, read=dialect)
            kind = KINDS[text.split(maxsplit=1)[0]]
            if type(parsed) is not kind:
                sys.exit(f"{file}: read as {type(parsed).__name__}: {text}")
            if isinstance(parsed, exp.Create):
                columns = parsed.this.expressions
                if not columns or any(column.kind is None for column in columns):
                    sys.exit(f"{file}: a column has no type: {text}")
        print(f"{file}: {len(statements)} statements of {dialect}")


main()
