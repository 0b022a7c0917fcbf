"""Options are the flags of the commands, all of them, and nothing else."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, Set

import numpy
import pytest

from conftest import ROOT

import drawoff
from drawoff import _options

# What the calls have arguments of their own for, or set themselves.
OWN = {"--help", "--output", "--report", "--color", "--quiet", "--whole", "--print-sql"}
RUN_OWN = {"--input", "--payload", "--dry-run"}
SERVE_OWN = {
    "--port",
    "--host",
    "--api-key",
    "--allow-host",
    "--print-openapi",
    "--export",
    "--import",
    "--overwrite",
    "--endpoint",
    "--api-key-file",
    "--api-key-command",
    "--state-dir",
    "--config",
    "--send-key-to",
    "--insecure-http",
}


def flags(command: str) -> Set[str]:
    text = subprocess.run([drawoff.find_binary(), command, "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"^ +(?:-\w, )?(--[a-z0-9-]+)(?:\[?[ =]<?|$)", text, re.MULTILINE))


@pytest.mark.parametrize(
    ("command", "options", "own"),
    [
        ("pull", drawoff.PullOptions, OWN),
        ("run", drawoff.RunOptions, OWN | RUN_OWN),
        ("convert", drawoff.ConvertOptions, OWN | {"--preview"}),
        ("serve", drawoff.ServeOptions, OWN | SERVE_OWN),
    ],
)
def test_options_are_the_flags_of_the_command(command: str, options: Any, own: Set[str]) -> None:
    named = {_options.flag(name) for name in options.__annotations__ if name not in ("env", "args", "api_key")}
    assert named == flags(command) - own


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({"limit": 5, "where": "a > 1"}, ["--limit=5", "--where=a > 1"]),
        ({"select": ["a", "b.c"]}, ["--select=a,b.c"]),
        ({"rename": {"a": "b", "c": "d"}}, ["--rename=a=b,c=d"]),
        ({"cast": {"a": "int"}, "with_": {"x": "1", "y": "2"}}, ["--cast=a:int", "--with=x=1", "--with=y=2"]),
        ({"where": ["a", "b"]}, ["--where=a", "--where=b"]),
        ({"flatten": True, "explode": None, "crlf": False}, ["--flatten"]),
        ({"flatten": "_"}, ["--flatten=_"]),
        ({"from_": "csv", "schema": Path("-s.json")}, ["--from=csv", "--schema=-s.json"]),
        ({"workflow": ["a.json", Path("b.json")]}, ["--workflow=a.json", "--workflow=b.json"]),
        ({"limit": numpy.int64(3), "sample": numpy.float64(0.5)}, ["--limit=3", "--sample=0.5"]),
        ({"rename": {"a=b": "x", '"c d"': "y"}}, ['--rename="a=b"=x,"c d"=y']),
        ({"cast": {"a:b": "int"}}, ['--cast="a:b":int']),
        ({"args": ["--new-flag", "x"], "limit": 1}, ["--limit=1", "--new-flag", "x"]),
    ],
)
def test_how_options_are_written(options: Any, arguments: Any) -> None:
    assert _options.to_arguments(options) == arguments


def test_unknown_options_are_refused_with_the_nearest_one() -> None:
    with pytest.raises(TypeError, match=r"convert\(\) has no option `wher`; did you mean `where`"):
        drawoff.convert("x", wher="a")  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="did you mean `with_`"):
        drawoff.convert("x", **{"with": "a=1"})  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"`args=\[…\]`"):
        drawoff.pull("x", zzz=1)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="expected text, a number or a path, found dict"):
        drawoff.convert("x", where={"a": {}})  # type: ignore[call-overload]


def test_an_unknown_flag_in_args_is_an_error_of_the_command() -> None:
    with pytest.raises(drawoff.UsageError, match="--no-such-flag"):
        drawoff.convert("x", args=["--no-such-flag"])


def test_arguments_that_nothing_can_take_are_named(tmp_path: Path) -> None:
    with pytest.raises(drawoff.UsageError, match="NUL character"):
        drawoff.convert("a\0b")
    with pytest.raises(drawoff.UsageError, match="too long for the system"):
        drawoff.convert("x", where="n=1 or " * 30_000 + "n=2")
    with pytest.raises(ValueError, match="convert\\(\\) needs a source"):
        drawoff.convert([])
    with pytest.raises(ValueError, match="`limit` must be 1 or more"):
        drawoff.runs(limit=0)
    definition = ROOT / "testdata/workflows/webhook-leads.json"
    with pytest.raises(drawoff.UsageError, match=r"payload\[1\]\['score'\] is NaN"):
        drawoff.run(definition, payload=[{"score": 1.0}, {"score": float("nan")}], local=True)
    with pytest.raises(drawoff.UsageError, match=r"payload\['score'\] is NaN"):
        drawoff.run(definition, payload={"score": numpy.float64("inf")}, local=True)
