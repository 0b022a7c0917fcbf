"""examples/schedulers/dagster_companies.py: materialized in process, with a transient and a permanent failure."""

import os
from pathlib import Path

import dagster as dg
from local_service import ROWS, check_output, load, service


def job_of_the_recipe() -> dg.JobDefinition:
    """Loads the recipe; also called by the processes of steps."""
    recipe = load(Path(os.environ["RECIPE"]))
    dg.Definitions.validate_loadable(recipe.defs)
    assert recipe.defs.resolve_schedule_def("companies_nightly").cron_schedule == "0 2 * * *"
    job = dg.define_asset_job("companies_job", [recipe.companies])
    return dg.Definitions.merge(recipe.defs, dg.Definitions(jobs=[job])).resolve_job_def("companies_job")


def main() -> None:
    with service() as local:
        os.environ["DAGSTER_HOME"] = str(local.directory / "dagster")
        os.mkdir(os.environ["DAGSTER_HOME"])
        os.environ["SIXTYFOUR_API_KEY"] = "key"
        os.environ["RECIPE"] = str(local.recipe("dagster_companies.py", ("delay=60", "delay=1")))
        job = job_of_the_recipe()
        instance = dg.DagsterInstance.get()

        def materialize() -> dg.ExecuteInProcessResult:
            return job.execute_in_process(instance=instance, raise_on_error=False)

        local.transient()
        done = materialize()
        assert done.success and done.retry_attempts_for_node("companies") == 1, done
        (event,) = done.asset_materializations_for_node("companies")
        values = {name: value.value for name, value in event.metadata.items()}
        assert (values["dagster/row_count"], values["rows_rejected"]) == (ROWS, 0), values
        assert event.tags["dagster/data_version"], event.tags
        check_output(
            {"path": values["dagster/uri"], "bytes": values["bytes"], "sha256": event.tags["dagster/data_version"]}
        )
        assert len(values["runs"]) == 1 and local.starts() == 1
        local.heal()

        # Another materialization is another run.
        assert materialize().success and local.starts() == 2

        local.reset()
        local.permanent()
        done = materialize()
        assert not done.success and done.retry_attempts_for_node("companies") == 0, done
        (failure,) = [event for event in done.all_events if event.is_step_failure]
        data = failure.step_failure_data.user_failure_data
        assert "out of luck" in data.description and data.metadata["exit_code"].value == 20, data
        assert local.starts() == 1
        # "Re-execute" attaches to the run that was started, and pays for nothing.
        parent = dg.ReexecutionOptions(parent_run_id=done.run_id)
        with dg.execute_job(dg.reconstructable(job_of_the_recipe), instance, reexecution_options=parent) as again:
            (failure,) = [event for event in again.all_events if event.is_step_failure]
            assert "out of luck" in failure.step_failure_data.user_failure_data.description, failure
        assert local.starts() == 1


if __name__ == "__main__":
    main()
