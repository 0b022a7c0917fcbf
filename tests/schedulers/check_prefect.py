"""examples/schedulers/prefect_companies.py: the flow in process, with a transient and a permanent failure."""

import os

from local_service import ROWS, check_output, load, service


def main() -> None:
    with service() as local:
        # Before Prefect is imported, which reads them.
        os.environ["PREFECT_HOME"] = str(local.directory / "prefect")
        os.environ["DO_NOT_TRACK"] = "1"
        os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] = "false"
        from prefect.artifacts import Artifact
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.sorting import TaskRunSort
        from prefect.blocks.system import Secret
        from prefect.states import State
        from prefect.testing.utilities import prefect_test_harness

        recipe = load(local.recipe("prefect_companies.py", ("exponential_backoff(60)", "1")))
        with prefect_test_harness(server_startup_timeout=300):
            Secret(value="key").save("sixtyfour-api-key")

            local.transient()
            result = recipe.companies()
            assert (result["rows_written"], result["rows_rejected"]) == (ROWS, 0), result
            check_output(result["outputs"][0])
            assert len(result["runs"]) == 1 and local.starts() == 1
            artifact = Artifact.get("companies")
            assert result["runs"][0] in artifact.description and result["outputs"][0]["sha256"] in artifact.data
            local.heal()

            # Another flow run is another run of the workflow.
            recipe.companies()
            assert local.starts() == 2

            local.reset()
            local.permanent()
            state: State = recipe.companies(return_state=True)
            assert state.is_failed() and "out of luck" in str(state.message), state
            assert local.starts() == 1

            with get_client(sync_client=True) as client:
                tries = [run.run_count for run in client.read_task_runs(sort=TaskRunSort.EXPECTED_START_TIME_ASC)]
            assert tries == [2, 1, 1], tries


if __name__ == "__main__":
    main()
