"""Prefect: qualify companies every night, in one run of the workflow that retries attach to."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.blocks.system import Secret
from prefect.runtime import flow_run
from prefect.tasks import exponential_backoff

DIRECTORY = Path("/srv/companies")


class PermanentError(Exception):
    """A failure after which the same command does not help."""


def retry_helps(task, task_run, state) -> bool:
    """Returns false after a permanent failure."""
    return not isinstance(state.result(raise_on_failure=False), PermanentError)


@task(retries=6, retry_delay_seconds=exponential_backoff(60), retry_condition_fn=retry_helps)
def drawoff(*arguments: str) -> dict:
    """Runs the command, logs its messages, and returns its result; raises an exception if it failed."""
    log = get_run_logger()
    with tempfile.TemporaryDirectory() as directory:
        result_file = Path(directory, "result.json")
        command = ["drawoff", *arguments, "--result", str(result_file)]
        environment = {**os.environ, "SIXTYFOUR_API_KEY": Secret.load("sixtyfour-api-key").get()}
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            try:
                for line in process.stderr:
                    log.info(line.rstrip())
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
    raise RuntimeError(message) if retry == "helps" else PermanentError(message)


@flow
def companies() -> dict:
    """Qualifies the companies of `companies.csv`."""
    result = drawoff(
        "run",
        "Qualify companies",
        *("--input", str(DIRECTORY / "companies.csv")),
        *("--once", f"companies {flow_run.id}"),
        *("-o", str(DIRECTORY / "qualified.parquet")),
    )
    create_table_artifact(
        key="companies",
        table=result["outputs"],
        description=f"{result['rows_written']} rows, {result['rows_rejected']} rejected, of {', '.join(result['runs'])}",
    )
    return {name: result[name] for name in ("runs", "rows_in", "rows_written", "rows_rejected", "outputs")}


if __name__ == "__main__":
    companies.serve(name="nightly", cron="0 2 * * *")
