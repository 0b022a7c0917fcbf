"""Airflow: qualify companies every night, in one run of the workflow that retries attach to."""

import json
import logging
import os
import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path

import pendulum
from airflow.sdk import Connection, dag, task
from airflow.sdk.exceptions import AirflowFailException

DIRECTORY = Path("/srv/companies")

log = logging.getLogger(__name__)


def drawoff(*arguments: str, api_key: str) -> dict:
    """Runs the command, logs its messages, and returns its result; raises an exception if it failed."""
    with tempfile.TemporaryDirectory() as directory:
        result_file = Path(directory, "result.json")
        command = ["drawoff", *arguments, "--result", str(result_file)]
        environment = {**os.environ, "SIXTYFOUR_API_KEY": api_key}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            try:
                for line in process.stderr:
                    log.info("%s", line.rstrip())
                process.wait()
            finally:
                process.terminate()  # if the task is stopped; the run goes on, and a retry attaches to it
        result = json.loads(result_file.read_text()) if result_file.exists() else {}
    # Without a result the command was killed, or could not be parsed.
    retry = result.get("retry", "helps" if process.returncode < 0 else "no")
    if retry == "needless":
        return result
    error = result.get("error") or {"message": f"drawoff ended with {process.returncode}", "hint": None}
    message = "\n".join(filter(None, [error["message"], error["hint"]]))
    raise RuntimeError(message) if retry == "helps" else AirflowFailException(message)


@dag(
    schedule="0 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 6, "retry_delay": timedelta(minutes=5), "retry_exponential_backoff": True},
)
def companies():
    @task
    def qualify(run_id: str | None = None) -> dict:
        result = drawoff(
            "run",
            "Qualify companies",
            *("--input", str(DIRECTORY / "companies.csv")),
            *("--once", f"companies {run_id}"),
            *("-o", str(DIRECTORY / "qualified.parquet")),
            api_key=Connection.get("sixtyfour").password,
        )
        return {name: result[name] for name in ("runs", "rows_in", "rows_written", "rows_rejected", "outputs")}

    qualify()


companies()
