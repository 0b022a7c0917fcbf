"""A local service for the checks of the recipes in examples/schedulers, and copies of the recipes for it."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ROWS = 1302


class LocalService:
    """`drawoff serve` for one check, a directory in place of `/srv/companies`, and an environment that leads to both."""

    def __init__(self, drawoff: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="drawoff-recipe-"))
        # `drawoff` is found on PATH, as in the recipes.
        (self.directory / "bin").mkdir()
        (self.directory / "bin/drawoff").symlink_to(Path(drawoff).resolve())
        os.environ["PATH"] = f"{self.directory / 'bin'}{os.pathsep}{os.environ['PATH']}"
        shutil.copy(ROOT / "testdata/companies.csv", self.directory)
        config = self.directory / "config.toml"
        config.write_text("")
        workflow = ROOT / "testdata/workflows/qualify-companies.json"
        command = [drawoff, "serve", "--port=0", "--admin", "--exit-with-parent", "--log=off", f"--workflow={workflow}"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.url = self.process.stdout.readline().strip()
        os.environ["SIXTYFOUR_API_ENDPOINT"] = self.url
        os.environ["DRAWOFF_CONFIG"] = str(config)
        os.environ["DRAWOFF_STATE_DIR"] = str(self.directory / "state")
        os.environ.pop("SIXTYFOUR_API_KEY", None)

    def __enter__(self) -> LocalService:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.directory)

    def call(self, path: str, method: str = "GET", body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}{path}", data, {"x-api-key": "key"}, method=method)
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    def fault(self, fault: str) -> None:
        self.call("/admin/faults", "POST", fault)

    def transient(self) -> None:
        """Makes the next command fail with 14, `unreachable`: it asks for the links of the results five times."""
        self.fault("503,on=links,times=5")

    def permanent(self) -> None:
        """Makes every run fail in a block, which is 20, `run failed`."""
        self.fault("fail-block=filter,text=out of luck")

    def heal(self) -> None:
        """Removes all faults."""
        self.call("/admin/faults", "DELETE")

    def reset(self) -> None:
        """Back to the state of the start: no faults, no runs, no requests."""
        self.call("/admin/reset", "POST")

    def requests(self, path: str, method: str = "GET") -> int:
        return len(self.call(f"/admin/requests?path={path}&method={method}"))

    def starts(self) -> int:
        """Number of requests that started a run."""
        return self.requests("/workflows/run", "POST")

    def recipe(self, name: str, *changes: tuple[str, str]) -> Path:
        """Copies a recipe, with the directory of the check in place of `/srv/companies` and `changes` in its text."""
        text = (ROOT / "examples/schedulers" / name).read_text().replace("/srv/companies", str(self.directory))
        for old, new in changes:
            assert old in text, f"{name} has no {old!r}"
            text = text.replace(old, new)
        copy = self.directory / "recipes" / name
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(text)
        return copy


def load(path: Path) -> ModuleType:
    """Imports a recipe."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def check_output(output: dict[str, Any]) -> None:
    """Checks that the description of an output in a result is that of the file."""
    content = Path(output["path"]).read_bytes()
    assert output["bytes"] == len(content), output
    assert output["sha256"] == hashlib.sha256(content).hexdigest(), output


def service() -> LocalService:
    """Starts the service of the command that is the first argument of the program."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} DRAWOFF")
    return LocalService(sys.argv[1])


def run(drawoff: str, *arguments: object) -> str:
    """Runs the command and returns what it printed."""
    return subprocess.run([drawoff, *map(str, arguments)], check=True, capture_output=True, text=True).stdout
