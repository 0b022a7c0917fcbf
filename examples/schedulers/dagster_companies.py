"""Dagster: qualified companies as an asset, from one run of the workflow that retries attach to."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import dagster as dg

DIRECTORY = Path("/srv/companies")


class Drawoff(dg.ConfigurableResource):
    """The command drawoff, with the key of the API."""

    api_key: str

    def run(self, context: dg.AssetExecutionContext, *arguments: str) -> dict:
        """Runs the command, logs its messages, and returns its result; raises an exception if it failed."""
        with tempfile.TemporaryDirectory() as directory:
            result_file = Path(directory, "result.json")
            command = ["drawoff", *arguments, "--result", str(result_file)]
            environment = {**os.environ, "SIXTYFOUR_API_KEY": self.api_key}
            with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
                try:
                    for line in process.stderr:
                        context.log.info(line.rstrip())
                    process.wait()
                finally:
                    process.terminate()  # if the step is stopped; the run goes on, and a retry attaches to it
            result = json.loads(result_file.read_text()) if result_file.exists() else {}
        # Without a result the command was killed, or could not be parsed.
        retry = result.get("retry", "helps" if process.returncode < 0 else "no")
        if retry == "needless":
            return result
        error = result.get("error") or {"message": f"drawoff ended with {process.returncode}", "hint": None}
        raise dg.Failure(
            description=error["message"],
            metadata={"hint": error["hint"] or "", "exit_code": process.returncode, "runs": result.get("runs", [])},
            allow_retries=retry == "helps",
        )


@dg.asset(retry_policy=dg.RetryPolicy(max_retries=6, delay=60, backoff=dg.Backoff.EXPONENTIAL))
def companies(context: dg.AssetExecutionContext, drawoff: Drawoff) -> dg.MaterializeResult:
    """Companies of `companies.csv` with the facts that the workflow found."""
    result = drawoff.run(
        context,
        "run",
        "Qualify companies",
        *("--input", str(DIRECTORY / "companies.csv")),
        # The same for retries of the step and for "re-execute".
        *("--once", f"companies {context.run.root_run_id or context.run_id}"),
        *("-o", str(DIRECTORY / "qualified.parquet")),
    )
    output = result["outputs"][0]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": result["rows_written"],
            "dagster/uri": output["path"],
            "rows_rejected": result["rows_rejected"],
            "bytes": output["bytes"],
            "runs": result["runs"],
        },
        data_version=dg.DataVersion(output["sha256"]),
    )


defs = dg.Definitions(
    assets=[companies],
    resources={"drawoff": Drawoff(api_key=dg.EnvVar("SIXTYFOUR_API_KEY"))},
    schedules=[dg.ScheduleDefinition(name="companies_nightly", target=[companies], cron_schedule="0 2 * * *")],
)
