"""examples/scale/slurm.sh: the array under a Slurm of this host alone, with a failure that passes and one that does not.

Usage: check_slurm.py DRAWOFF. Needs slurmctld, slurmd, and to be root. Ports are free ones on 127.0.0.1; no cgroup is used.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/schedulers"))

from local_service import LocalService, run, service  # noqa: E402

CONFIG = """\
ClusterName=check
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
SlurmUser=root
SlurmdUser=root
SlurmctldPort={controller}
SlurmdPort={node}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/slurmd.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0
NodeName={host} NodeAddr=127.0.0.1 CPUs=8 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES State=UP MaxTime=INFINITE
"""

# Runs of the plan, and tasks of the array that is made smaller here.
RUNS = 6
TASKS = 4


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


class Slurm:
    """A controller and a node, stopped at the end."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("state", "spool"):
            (directory / name).mkdir(parents=True)
        config = directory / "slurm.conf"
        host = socket.gethostname().split(".")[0]
        config.write_text(CONFIG.format(directory=directory, host=host, controller=free_port(), node=free_port()))
        os.environ["SLURM_CONF"] = str(config)
        self.daemons = [subprocess.Popen(["slurmctld", "-D", "-i"], stderr=subprocess.DEVNULL)]
        self.daemons.append(subprocess.Popen(["slurmd", "-D", "-N", host], stderr=subprocess.DEVNULL))

    def __enter__(self) -> Slurm:
        self.wait_for("a node", lambda: "idle" in self.ask("sinfo", "-h", "-o", "%t"))
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        for daemon in reversed(self.daemons):
            daemon.terminate()
            daemon.wait()
        if kind is not None:
            for log in sorted(self.directory.glob("*.log")):
                print(f"-- {log.name}", *log.read_text().splitlines()[-20:], sep="\n", file=sys.stderr)

    @staticmethod
    def ask(*words: str) -> str:
        return subprocess.run(words, capture_output=True, text=True).stdout.strip()

    @staticmethod
    def wait_for(what: str, is_there) -> None:
        deadline = time.monotonic() + 180
        while not is_there():
            assert time.monotonic() < deadline, f"waited too long for {what}"
            time.sleep(0.2)

    def array(self, script: Path, plan: str, directory: Path) -> tuple[str, dict[int, str]]:
        """Submits the array, waits for its end, and returns its id and the state of each task."""
        words = ["sbatch", "--parsable", f"--array=0-{TASKS - 1}", f"--export=ALL,PLAN={plan}", f"--chdir={directory}"]
        job = subprocess.run([*words, str(script)], check=True, capture_output=True, text=True).stdout.strip()
        states: dict[int, str] = {}

        def ended() -> bool:
            # Pending tasks are one line for all of them.
            jobs = self.ask("squeue", "-h", "-a", "-r", "-t", "all", "-j", job, "-o", "%K %T").splitlines()
            states.update((int(line.split()[0]), line.split()[1]) for line in jobs)
            return len(states) == TASKS and all(state in ("COMPLETED", "FAILED") for state in states.values())

        self.wait_for("the end of the array", ended)
        return job, states


def start_runs(local: LocalService, drawoff: str, n: int) -> list[str]:
    for _ in range(n):
        run(drawoff, "run", "Qualify companies", "--input", local.directory / "companies.csv", "--new-run", "-o", local.directory / "x.ndjson")
    listed = run(drawoff, "runs", "ls", "-o", "ndjson").splitlines()
    return [json.loads(line)["job_id"] for line in listed]


def main() -> None:
    with service() as local:
        os.environ["SIXTYFOUR_API_KEY"] = "key"
        drawoff, directory = sys.argv[1], local.directory
        runs = start_runs(local, drawoff, RUNS)
        plan = str(directory / "plan")
        run(drawoff, "plan", *runs, "-o", plan)
        script = directory / "slurm.sh"
        script.write_text((ROOT / "examples/scale/slurm.sh").read_text())
        with Slurm(directory / "slurm") as slurm:
            # Requests for links fail for a while: workers end with 14, and their tasks are queued again.
            local.fault("503,on=links,times=10")
            _, states = slurm.array(script, plan, directory)
            assert set(states.values()) == {"COMPLETED"}, states
            items = [json.loads(line) for line in run(drawoff, "plan", "status", plan, "-o", "ndjson").splitlines()]
            assert len(items) == RUNS and all(item["state"] == "done" for item in items), items
            assert sum(item["failed_attempts"] for item in items) > 0, "no worker has failed"
            run(drawoff, "commit", plan, "-o", f"{directory}/shared.ndjson")
            run(drawoff, "pull", *runs, "-o", directory / "alone.ndjson", "--no-state")
            shared, alone = ((directory / name).read_text() for name in ("shared.ndjson", "alone.ndjson"))
            assert shared == alone

            # A value that cannot be cast: no retry.
            bad = str(directory / "bad")
            run(drawoff, "plan", *runs[:1], "-o", bad, "--cast", "domain:int")
            _, states = slurm.array(script, bad, directory)
            assert [state for _, state in sorted(states.items())] == ["FAILED", *["COMPLETED"] * (TASKS - 1)], states
            failures = list(Path(bad, "failures").rglob("*.json"))
            assert len(failures) == 1, failures
    print("slurm: the array did its plan")


if __name__ == "__main__":
    main()
