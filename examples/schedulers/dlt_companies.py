"""dlt: the results of every completed run of a workflow that the destination does not have yet, each once."""

import dlt
from dlt.pipeline.helpers import retry_load
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_exponential

import drawoff


@dlt.resource(name="companies", write_disposition="append")
def companies(workflow: str = "Qualify companies", api_key: str = dlt.secrets.value):
    # Kept in the destination, too, and written together with the rows: a load that fails forgets its runs.
    loaded = dlt.current.resource_state().setdefault("runs", [])
    for run in reversed(drawoff.runs(workflow=workflow, status="completed", api_key=api_key)):
        if run["job_id"] not in loaded:
            # A column that comes late is in the first batch, too.
            yield from drawoff.pull(run["job_id"], run_column="run_id", whole=True, api_key=api_key)
            loaded.append(run["job_id"])


def retry_helps(error: BaseException) -> bool:
    """Returns false after a failure for which the same call does not help."""
    cause = error
    while cause is not None:
        if isinstance(cause, drawoff.Error):
            return cause.retry_helps
        cause = cause.__cause__ or cause.__context__
    return retry_load(("load",))(error)


def main() -> None:
    pipeline = dlt.pipeline("companies", destination="duckdb", dataset_name="crm")
    tries = Retrying(
        retry=retry_if_exception(retry_helps), stop=stop_after_attempt(6), wait=wait_exponential(60), reraise=True
    )
    print(tries(lambda: pipeline.run(companies())))


if __name__ == "__main__":
    main()
