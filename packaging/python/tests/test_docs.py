"""The page on Python and the notebook: their code runs as it is written there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest
from conftest import ROOT, TESTDATA

import drawoff

PAGE = ROOT / "docs/python.md"
NOTEBOOK = Path(__file__).resolve().parent.parent / "notebook.ipynb"


def snippets(text: str) -> List[str]:
    return re.findall(r"^```py\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with the test data, as the pages see it."""
    desk = tmp_path / "desk"
    desk.mkdir()
    (desk / "testdata").symlink_to(TESTDATA)
    monkeypatch.chdir(desk)
    return desk


def test_the_page_runs_from_top_to_bottom(run_id: str, desk: Path) -> None:
    found = [snippet for snippet in snippets(PAGE.read_text()) if "def test_" not in snippet]
    assert len(found) >= 10
    space: Dict[str, Any] = {"__name__": "page"}
    for number, snippet in enumerate(found):
        try:
            exec(compile(snippet, f"{PAGE.name} snippet {number}", "exec"), space)
        except BaseException as cause:
            raise AssertionError(f"{PAGE} fails:\n{snippet}") from cause


def test_the_tests_of_the_page_pass(desk: Path) -> None:
    found = [snippet for snippet in snippets(PAGE.read_text()) if "def test_" in snippet]
    assert found
    plugins = [] if _is_installed() else ["-p", "drawoff.pytest_plugin"]
    source = str(Path(drawoff.__file__).parent.parent)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}
    for number, snippet in enumerate(found):
        path = desk / f"test_page_{number}.py"
        path.write_text(snippet)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugins, str(path)],
            capture_output=True,
            text=True,
            env=env,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "1 passed" in done.stdout


def test_the_readme_of_the_package_runs(run_id: str, desk: Path) -> None:
    (desk / "people.ndjson").write_text('{"score": 0.9}\n')
    (desk / "companies.csv").write_bytes((TESTDATA / "companies.csv").read_bytes())
    for snippet in snippets((NOTEBOOK.parent / "README.md").read_text()):
        exec(compile(snippet, "README.md", "exec"), {})
    assert (desk / "results.parquet").exists()


def test_every_exception_and_call_is_on_the_page() -> None:
    text = PAGE.read_text()
    missing = [
        name
        for name in drawoff.__all__
        if not name.endswith("Options") and not re.search(rf"`{name}[`(]", text) and f"drawoff.{name}" not in text
    ]
    assert not missing


def test_the_notebook_runs(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import nbclient
    import nbformat

    source = str(Path(drawoff.__file__).parent.parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([source, os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(desk / "jupyter"))
    monkeypatch.setenv("IPYTHONDIR", str(desk / "ipython"))
    book = nbformat.read(NOTEBOOK, as_version=4)
    assert all(not cell.get("outputs") for cell in book.cells), "the notebook is kept without outputs"
    nbclient.NotebookClient(book, timeout=120, resources={"metadata": {"path": str(desk)}}).execute()
    text = str([cell.get("outputs") for cell in book.cells])
    assert "there is no run `00000000`" in text
    assert "rows" in text
    assert (desk / "results.parquet").exists()


def _is_installed() -> bool:
    import importlib.metadata

    try:
        importlib.metadata.distribution("drawoff")
    except importlib.metadata.PackageNotFoundError:
        return False
    return True
