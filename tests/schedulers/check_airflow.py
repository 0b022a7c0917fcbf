"""examples/schedulers/airflow_companies.py: runs of the DAG in process, with a transient and a permanent failure."""

import json
import os
import subprocess
import sys

from local_service import ROWS, check_output, service


def main() -> None:
    with service() as local:
        # Before Airflow is imported, which reads them.
        delay = ('timedelta(minutes=5), "retry_exponential_backoff": True', "timedelta(seconds=0)")
        recipe = local.recipe("airflow_companies.py", delay)
        os.environ |= {
            "AIRFLOW_HOME": str(local.directory / "airflow"),
            "AIRFLOW__CORE__DAGS_FOLDER": str(recipe.parent),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW_CONN_SIXTYFOUR": json.dumps({"conn_type": "generic", "password": "key"}),
        }
        subprocess.run([sys.executable, "-m", "airflow", "db", "migrate"], check=True, capture_output=True)
        from airflow.dag_processing.dagbag import DagBag
        from airflow.models import TaskInstance
        from airflow.utils.session import create_session
        from airflow.utils.state import DagRunState

        bag = DagBag(str(recipe))
        assert not bag.import_errors, bag.import_errors
        dag = bag.dags["companies"]

        def run(state: DagRunState) -> TaskInstance:
            done = dag.test()
            assert done.state == state, done
            with create_session() as session:
                return session.query(TaskInstance).filter_by(run_id=done.run_id).one()

        local.transient()
        task = run(DagRunState.SUCCESS)
        assert task.try_number == 2, task
        result = task.xcom_pull(task_ids="qualify")
        assert (result["rows_written"], result["rows_rejected"]) == (ROWS, 0), result
        check_output(result["outputs"][0])
        assert len(result["runs"]) == 1 and local.starts() == 1
        local.heal()

        # Another run of the DAG is another run of the workflow.
        assert run(DagRunState.SUCCESS).try_number == 1
        assert local.starts() == 2

        local.reset()
        local.permanent()
        assert run(DagRunState.FAILED).try_number == 1
        assert local.starts() == 1


if __name__ == "__main__":
    main()
