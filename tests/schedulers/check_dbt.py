"""`drawoff schema --format dbt-source`: dbt finds the table, its columns, types and descriptions, and builds a model on them."""

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import duckdb
from dbt.cli.main import dbtRunner
from local_service import ROOT, run

# The last two take no name with other characters than letters.
SYSTEMS = [":postgres", ":clickhouse", ":sqlite", ":duckdb", ":snowflake", ":databricks", ":redshift", "", ":delta", ":bigquery"]
# Names and descriptions that YAML or Jinja would take for something else.
HOSTILE = ["no", "1", "a: b", "it's \"quoted\"", "{{ x }}", "{% raw %}", "{# c #}", "back\\slash", " # blank ", "{{{", "é\u2028\t"]


def dbt(project: Path, *arguments: str) -> Any:
    done = dbtRunner().invoke([*arguments, "--project-dir", str(project), "--profiles-dir", str(project), "--quiet"])
    assert done.success, (arguments, done.exception, done.result)
    return done.result


def blocks(language: str) -> list[str]:
    page = (ROOT / "docs/schedulers.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def project(directory: Path, database: Path) -> Path:
    (directory / "models").mkdir(parents=True)
    (directory / "dbt_project.yml").write_text("name: companies\nprofile: companies\n")
    target = {"type": "duckdb", "path": str(database), "schema": "marts"}
    profiles = {"companies": {"target": "dev", "outputs": {"dev": target}}, "config": {"send_anonymous_usage_stats": False}}
    (directory / "profiles.yml").write_text(json.dumps(profiles))
    return directory


def sources(result: Any) -> Any:
    (source,) = result.sources.values()
    return source


def main(drawoff: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        companies = ROOT / "testdata/companies.ndjson"

        # The table, and the model of the page on it.
        database = directory / "companies.duckdb"
        run(drawoff, "convert", companies, "-o", directory / "companies.parquet")
        created = run(drawoff, "schema", companies, "--format", "ddl:duckdb", "--into", "crm.companies")
        with duckdb.connect(str(database)) as connection:
            connection.execute("CREATE SCHEMA crm")
            connection.execute(created)
            connection.execute(f"INSERT INTO crm.companies BY NAME FROM '{directory / 'companies.parquet'}'")
            types = {row[0]: row[1] for row in connection.execute("DESCRIBE crm.companies").fetchall()}
        made = project(directory / "build", database)
        text = run(drawoff, "schema", companies, "--format", "dbt-source:duckdb", "--into", "crm.companies")
        (made / "models/companies.yml").write_text(text)
        (model,) = [block for block in blocks("sql") if "source(" in block]
        (made / "models/companies_by_country.sql").write_text(model)
        source = sources(dbt(made, "parse"))
        assert (source.source_name, source.name, source.schema) == ("crm", "companies", "crm")
        with duckdb.connect() as connection:
            # As DuckDB spells the types.
            named = {
                column.name: connection.execute(f"SELECT typeof(NULL::{column.data_type})").fetchone()[0]
                for column in source.columns.values()
            }
        assert named == types, (named, types)
        dbt(made, "build")
        with duckdb.connect(str(database)) as connection:
            (rows,) = connection.execute("SELECT count(*) FROM marts.companies_by_country").fetchone()
            assert rows > 1

        # Every system; names and descriptions that mean something elsewhere are text.
        record = {name: number for number, name in enumerate(HOSTILE)}
        (directory / "hostile.ndjson").write_text(json.dumps(record) + "\n")
        fields = [{"name": name, "type": "int", "description": f"{name} of {name}"} for name in HOSTILE]
        schema = {"drawoff_schema": 1, "description": "{{ all }}: 'of' \"it\"", "fields": fields}
        (directory / "schema.json").write_text(json.dumps(schema))
        for number, system in enumerate(SYSTEMS):
            made = project(directory / f"parse{number}", database)
            if system in (":delta", ":bigquery"):
                text = run(drawoff, "schema", companies, "--format", f"dbt-source{system}", "--into", "crm.companies")
                (made / "models/companies.yml").write_text(text)
                assert [column.name for column in sources(dbt(made, "parse")).columns.values()] == list(types)
                continue
            table = "hostile" if system == ":sqlite" else "crm.hostile"
            arguments = ["--schema", directory / "schema.json", "--format", f"dbt-source{system}", "--into", table]
            text = run(drawoff, "schema", directory / "hostile.ndjson", *arguments)
            (made / "models/hostile.yml").write_text(text)
            source = sources(dbt(made, "parse"))
            assert source.description == schema["description"], source.description
            columns = list(source.columns.values())
            assert [column.name.lower() for column in columns] == HOSTILE, columns
            assert [column.description for column in columns] == [field["description"] for field in fields], columns
            assert all(column.quote for column in columns if not re.fullmatch("[a-zA-Z]+", column.name)), columns
            assert all(column.data_type for column in columns)

        # Without a schema the table is in that of the target.
        made = project(directory / "target", database)
        (made / "models/results.yml").write_text(run(drawoff, "schema", companies, "--format", "dbt-source"))
        source = sources(dbt(made, "parse"))
        assert (source.source_name, source.name, source.schema) == ("drawoff", "results", "marts")


if __name__ == "__main__":
    main(sys.argv[1])
