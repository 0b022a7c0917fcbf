"""examples/schedulers/dlt_companies.py: loads into DuckDB, with a transient and a permanent failure."""

import os
import sys

from local_service import ROOT, ROWS, load, service

WORKFLOW = "Qualify companies"


def main() -> None:
    sys.path.insert(0, str(ROOT / "packaging/python/src"))
    with service() as local:
        os.chdir(local.directory)
        os.environ |= {
            "DLT_DATA_DIR": str(local.directory / "dlt"),
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "SOURCES__DLT_COMPANIES__COMPANIES__API_KEY": "key",
            "DRAWOFF_BINARY": str(local.directory / "bin/drawoff"),
        }
        import duckdb

        import drawoff

        recipe = load(local.recipe("dlt_companies.py", ("wait_exponential(60)", "wait_exponential(0)")))

        def start() -> None:
            drawoff.run(WORKFLOW, input="companies.csv", output=os.devnull, to="ndjson", new_run=True, api_key="key")

        def loaded() -> list[tuple[str, int]]:
            with duckdb.connect("companies.duckdb", read_only=True) as connection:
                query = "SELECT run_id, count(*) FROM crm.companies GROUP BY run_id ORDER BY run_id"
                return connection.sql(query).fetchall()

        start()
        start()
        runs = sorted(run["job_id"] for run in drawoff.runs(api_key="key"))
        local.transient()
        recipe.main()
        assert loaded() == [(run, ROWS) for run in runs], loaded()
        local.heal()

        # Nothing is new; then one run is.
        recipe.main()
        assert loaded() == [(run, ROWS) for run in runs], loaded()
        start()
        recipe.main()
        assert [rows for _, rows in loaded()] == [ROWS] * 3, loaded()

        # A permanent failure: one try, and no row more.
        start()
        local.fault("403,on=links,times=always")
        before = local.requests("/workflows/runs")
        try:
            recipe.main()
        except Exception as error:
            assert "403" in str(error), error
        else:
            raise AssertionError("a refused request is no failure")
        assert local.requests("/workflows/runs") == before + 1
        assert len(loaded()) == 3


if __name__ == "__main__":
    main()
