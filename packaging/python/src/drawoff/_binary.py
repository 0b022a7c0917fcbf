"""Looks up the command `drawoff` and checks its version."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Iterator, Optional, Tuple

from ._errors import BinaryError

# The oldest command whose flags and report this package knows.
MINIMUM = (0, 1, 0)

_NAME = "drawoff" + (sysconfig.get_config_var("EXE") or "")


def _candidates() -> Iterator[Path]:
    # What pip recorded when it installed the wheel: right for every scheme, also --user, --target and --prefix.
    try:
        files = importlib.metadata.distribution("drawoff").files or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == _NAME and file.parent.name in ("bin", "Scripts"):
            yield Path(str(file.locate()))
    yield Path(sysconfig.get_path("scripts")) / _NAME
    # `pip install --target DIR` puts it into DIR/bin.
    yield Path(__file__).resolve().parent.parent / "bin" / _NAME


def find_binary() -> str:
    """Returns the path of the command that this package starts.

    The first of these that exists: `DRAWOFF_BINARY`, the command that was installed with this package, `drawoff` on
    `PATH`. Raises `BinaryError` if there is none, if it cannot be started, or if it is too old.
    """
    named = os.environ.get("DRAWOFF_BINARY")
    if named:
        found: Optional[str] = shutil.which(named) or named
        if not os.access(found or "", os.X_OK) or os.path.isdir(found or ""):
            raise BinaryError(f"cannot execute {named}", hint="DRAWOFF_BINARY must name the drawoff command")
    else:
        here = (str(path) for path in _candidates() if path.is_file() and os.access(path, os.X_OK))
        found = next(here, None) or shutil.which("drawoff")
    if not found:
        raise BinaryError(
            "cannot find the drawoff command",
            hint="install the wheel of this package for your platform, or set DRAWOFF_BINARY to the command",
        )
    found = os.path.abspath(found)
    stat = os.stat(found)
    _check(found, (stat.st_mtime_ns, stat.st_size, stat.st_ino))
    return found


@functools.lru_cache(maxsize=16)
def _check(path: str, _identity: Tuple[int, int, int]) -> None:
    try:
        done = subprocess.run(
            [path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=60
        )
    except (OSError, subprocess.TimeoutExpired) as cause:
        raise BinaryError(f"cannot start {path}: {cause}", hint=_platform_hint()) from cause
    found = re.match(r"drawoff (\d+)\.(\d+)\.(\d+)", done.stdout)
    if found is None:
        detail = (done.stderr or done.stdout).strip().splitlines()
        raise BinaryError(
            f"{path} is not drawoff, or cannot run here" + (f": {detail[0]}" if detail else ""), hint=_platform_hint()
        )
    version = tuple(int(part) for part in found.groups())
    if version < MINIMUM:
        raise BinaryError(
            f"{path} is drawoff {'.'.join(map(str, version))}, and this package needs {'.'.join(map(str, MINIMUM))} or later",
            hint="upgrade drawoff, or unset DRAWOFF_BINARY to use the command of the wheel",
        )


def _platform_hint() -> str:
    return (
        f"the command must be built for this system ({sys.platform}, {os.uname().machine})" if hasattr(os, "uname") else ""
    )
