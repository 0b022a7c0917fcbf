"""Shared by the tests of the Python package. They need the command in `DRAWOFF_BINARY`, or on `PATH`."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List

import pytest

import drawoff

ROOT = Path(__file__).resolve().parents[3]
TESTDATA = ROOT / "testdata"

try:
    # The package is installed: pytest has found its plugin already.
    import importlib.metadata

    importlib.metadata.distribution("drawoff")
except importlib.metadata.PackageNotFoundError:
    pytest_plugins = ["drawoff.pytest_plugin"]


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the state, the configuration or the key of the person who runs it."""
    for name in list(os.environ):
        if name.startswith("SIXTYFOUR_"):
            monkeypatch.delenv(name)
    config = tmp_path / "config.toml"
    config.write_text("")
    monkeypatch.setenv("DRAWOFF_CONFIG", str(config))
    monkeypatch.setenv("DRAWOFF_STATE_DIR", str(tmp_path / "state"))


@pytest.fixture
def run_id(drawoff_service: drawoff.Service) -> str:
    """Id of a completed run of 1,302 rows."""
    drawoff.run(
        TESTDATA / "workflows/qualify-companies.json",
        input=TESTDATA / "companies.csv",
        output=os.devnull,
        to="ndjson",
    )
    found: str = drawoff.runs()[0]["job_id"]
    return found


@pytest.fixture
def ndjson(tmp_path: Path) -> Callable[[List[Dict[str, Any]]], Path]:
    """Writes records to a file."""

    def write(records: List[Dict[str, Any]]) -> Path:
        path = tmp_path / "records.ndjson"
        path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        return path

    return write


def is_running(pid: int) -> bool:
    """True if there is a process of that id that is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool]) -> None:
    """Waits for a condition; fails after a minute."""
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit, "the condition did not become true within a minute"
        time.sleep(0.01)


@pytest.fixture
def endless() -> Iterator[Any]:
    """A source without end: the read end of a pipe that another process fills."""
    import subprocess

    source = subprocess.Popen(["yes", '{"number": 1, "text": "some text of a record"}'], stdout=subprocess.PIPE)
    yield source.stdout
    source.kill()
    source.wait()
    assert source.stdout is not None
    source.stdout.close()
