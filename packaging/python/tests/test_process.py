"""The command as a process: where it is, how it ends, and what kills it."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any, Dict, List

import pytest
from conftest import ROOT, TESTDATA, is_running, wait_until

import drawoff
from drawoff import _binary, _errors

COMPANIES = TESTDATA / "companies.ndjson"


def command(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def python(script: str, **options: Any) -> "subprocess.Popen[str]":
    source = str(Path(drawoff.__file__).parent.parent)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        **options,
    )


# Finding it.


def test_a_missing_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DRAWOFF_BINARY", str(tmp_path / "nothing"))
    with pytest.raises(drawoff.BinaryError, match="cannot execute .*nothing") as caught:
        drawoff.convert(COMPANIES)
    assert "DRAWOFF_BINARY" in str(caught.value)
    monkeypatch.delenv("DRAWOFF_BINARY")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(_binary, "_candidates", lambda: iter(()))
    with pytest.raises(drawoff.BinaryError, match="cannot find the drawoff command") as caught:
        drawoff.convert(COMPANIES)
    assert "install the wheel" in (caught.value.hint or "")


def test_the_command_on_path_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = drawoff.find_binary()
    os.symlink(real, tmp_path / "drawoff")
    monkeypatch.delenv("DRAWOFF_BINARY", raising=False)
    monkeypatch.setattr(_binary, "_candidates", lambda: iter(()))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert drawoff.find_binary() == str(tmp_path / "drawoff")


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("echo drawoff 0.0.9", "is drawoff 0.0.9, and this package needs"),
        ("echo something else 3.1", "is not drawoff"),
        ("echo 'version GLIBC_2.99 not found' >&2; exit 1", "GLIBC_2.99"),
    ],
)
def test_an_old_or_wrong_command_is_refused(
    script: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DRAWOFF_BINARY", str(command(tmp_path / "drawoff", script)))
    with pytest.raises(drawoff.BinaryError, match=message) as caught:
        drawoff.convert(COMPANIES)
    assert caught.value.hint


def test_a_command_of_another_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "drawoff"
    path.write_bytes(b"\xcf\xfa\xed\xfe" + bytes(100))
    path.chmod(0o755)
    monkeypatch.setenv("DRAWOFF_BINARY", str(path))
    with pytest.raises(drawoff.BinaryError, match="cannot start") as caught:
        drawoff.convert(COMPANIES)
    assert "built for this system" in (caught.value.hint or "")


# Its errors.


def test_every_exit_code_has_its_exception() -> None:
    page = (ROOT / "docs/exit-codes.md").read_text()
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", page, re.MULTILINE)
    assert len(rows) == 28
    for number, name, meaning, _ in rows:
        code = int(number)
        if code in (0, 3):
            assert code not in _errors.BY_EXIT_CODE
            continue
        cls = _errors.BY_EXIT_CODE[code]
        assert getattr(drawoff, cls.__name__) is cls
        if code != 130:
            assert cls.__name__ == "".join(word.capitalize() for word in name.split()) + "Error"
            # The page speaks of the command, the class of the call.
            said = (cls.__doc__ or "").strip().rstrip(".").lower()
            for ours, theirs in (
                ("an option", "the command line"),
                ("the deadline", "--deadline"),
                ("the same call", "the same command"),
            ):
                said = said.replace(ours, theirs)
            assert said == meaning.lower(), cls
    assert {int(row[0]) for row in rows if row[3] == "helps"} == _errors._TRANSIENT


def test_the_error_has_text_hint_code_and_notes(drawoff_service: drawoff.Service) -> None:
    with pytest.raises(drawoff.NotFoundError) as caught:
        drawoff.pull("0000dead")
    error = caught.value
    assert (error.message, error.exit_code) == ("there is no run `0000dead`", 12)
    assert error.hint == "list runs with `drawoff runs ls`"
    assert str(error) == f"{error.message}\nhint: {error.hint}"
    assert error.command[:2] == ("drawoff", "pull") and not error.retry_helps
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.exit_code, copy.command) == (type(error), str(error), 12, error.command)


def test_errors_are_those_of_python_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="cannot read"):
        drawoff.convert(tmp_path / "nothing.ndjson")
    with pytest.raises(ValueError, match="column `nope`"):
        drawoff.convert(COMPANIES, where="nope = 1")
    monkeypatch.setenv("SIXTYFOUR_API_KEY", "")
    with pytest.raises(drawoff.NoKeyError) as caught:
        drawoff.pull("last", endpoint="http://127.0.0.1:9")
    assert "SIXTYFOUR_API_KEY" in (caught.value.hint or "")


def test_a_service_that_is_away_is_unreachable() -> None:
    import socket

    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ConnectionError) as caught:
            drawoff.runs(endpoint=endpoint, api_key="any")
    assert isinstance(caught.value, drawoff.UnreachableError) and caught.value.retry_helps


def test_a_full_disk_is_an_error() -> None:
    with pytest.raises(drawoff.DiskFullError) as caught:
        drawoff.convert(COMPANIES, output="/dev/full", to="csv")
    assert caught.value.exit_code == 31


def test_a_full_temporary_directory_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = """
        import resource, drawoff
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
        try:
            drawoff.convert(PATH, whole=True)
        except drawoff.Error as error:
            print(type(error).__name__, error.hint)
    """
    path = tmp_path / "rows.ndjson"
    path.write_text("".join(f'{{"number": {number * 7919 % 100003}}}\n' for number in range(100_000)))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("TMPDIR", str(scratch))
    out, err = python(script.replace("PATH", repr(str(path)))).communicate(timeout=60)
    assert "DiskFullError" in out or "CannotWriteError" in out, (out, err)
    assert list(scratch.iterdir()) == []


def test_the_key_is_on_no_command_line(drawoff_service: drawoff.Service) -> None:
    with pytest.raises(drawoff.Error) as caught:
        drawoff.pull("0000dead", api_key="marked-secret")
    assert "marked-secret" not in " ".join(caught.value.command) + str(caught.value)


def test_a_crash_keeps_its_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = 'case "$1" in --version) echo drawoff 9.0.0;; *) echo thread panicked >&2; exit 101;; esac'
    monkeypatch.setenv("DRAWOFF_BINARY", str(command(tmp_path / "drawoff", script)))
    with pytest.raises(drawoff.Error, match="thread panicked") as caught:
        drawoff.convert(COMPANIES)
    assert caught.value.exit_code == 101


# Its end.


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_command_is_an_error_and_not_the_end(number: int) -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb") as source, os.fdopen(write, "wb", buffering=0) as feed:
        feed.write(b'{"a": 1}\n' * 10)
        reader = drawoff.convert(source, schema_from="sample")
        assert next(reader).num_rows == 10
        os.kill(reader._process.pid, number)
        with pytest.raises(drawoff.Error) as caught:
            next(reader)
    if number == signal.SIGKILL:
        assert isinstance(caught.value, drawoff.KilledError) and caught.value.exit_code == -9
        assert "SIGKILL" in str(caught.value)
    else:
        assert isinstance(caught.value, drawoff.StoppedError) and caught.value.retry_helps


WAITING = """
    import os, sys, drawoff
    read, write = os.pipe()
    os.write(write, b'{{"a": 1}}\\n' * 10)
    {call}
"""
READING = """
    from drawoff._process import Body
    reader = drawoff.convert(os.fdopen(read, "rb"), schema_from="sample")
    print(reader._process.pid, flush=True)
    next(reader)
    some = Body._some
    def told(self, view):
        print("reading", flush=True)
        return some(self, view)
    Body._some = told
    try:
        next(reader)
    except KeyboardInterrupt:
        print("interrupted", reader._process._popen.returncode, flush=True)
"""


def test_ctrl_c_ends_the_command_in_order() -> None:
    script = python(textwrap.dedent(WAITING).format(call=textwrap.dedent(READING)))
    assert script.stdout is not None
    pid = int(script.stdout.readline())
    assert script.stdout.readline() == "reading\n"
    script.send_signal(signal.SIGINT)
    out, err = script.communicate(timeout=60)
    # 130: the command ended by itself and was not killed.
    assert out == "interrupted 130\n", (out, err)
    assert not is_running(pid)


def test_ctrl_c_while_a_file_is_written(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = python(
        f"""
        import drawoff
        from drawoff._process import Process
        finish = Process.finish
        def told(self):
            print(self.pid, flush=True)
            return finish(self)
        Process.finish = told
        drawoff.convert({str(fifo)!r}, output={str(tmp_path / "out.parquet")!r})
        """
    )
    assert script.stdout is not None
    with fifo.open("wb") as feed:
        pid = int(script.stdout.readline())
        feed.write(b'{"a": 1}\n')
        feed.flush()
        script.send_signal(signal.SIGINT)
        _, err = script.communicate(timeout=60)
    assert "KeyboardInterrupt" in err
    assert not is_running(pid)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".out", "out"))] == []


@pytest.mark.parametrize(
    "call", ["convert(source, output=OUT)", "convert(source, whole=True)", "convert(source).read_all()"]
)
def test_ctrl_c_beside_polars(call: str, tmp_path: Path) -> None:
    # Its handler of the signal restarts the system's calls. The source is silent, and so no row ends the wait.
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    script = python(
        f"""
        import sys, polars, drawoff
        OUT = {str(tmp_path / "out.parquet")!r}
        source = open({str(fifo)!r}, "rb", buffering=0)
        started = drawoff._process._await_readable
        def told(descriptor):
            print("waiting", flush=True)
            return started(descriptor)
        drawoff._process._await_readable = told
        try:
            drawoff.{call}
        except KeyboardInterrupt as cause:
            print("interrupted", len(getattr(cause, "__notes__", [])), flush=True)
        """
    )
    assert script.stdout is not None
    with fifo.open("wb") as feed:
        feed.write(b'{"a": 1}\n')
        feed.flush()
        assert script.stdout.readline() == "waiting\n"
        script.send_signal(signal.SIGINT)
        out, err = script.communicate(timeout=60)
    assert out.splitlines()[-1].startswith("interrupted"), (out, err)
    assert sys.version_info < (3, 11) or out.splitlines()[-1] in ("interrupted 0", "interrupted 1")


def test_the_end_of_python_ends_the_command(tmp_path: Path) -> None:
    script = python(
        """
        import subprocess, drawoff
        source = subprocess.Popen(["yes", '{"a": 1}'], stdout=subprocess.PIPE)
        reader = drawoff.convert(source.stdout)
        print(reader._process.pid, flush=True)
        next(reader)
        source.kill()
        """
    )
    out, err = script.communicate(timeout=60)
    assert script.returncode == 0, err
    assert not is_running(int(out))


def test_a_killed_python_ends_a_streaming_command() -> None:
    script = python(textwrap.dedent(WAITING).format(call=textwrap.dedent(READING)))
    assert script.stdout is not None
    pid = int(script.stdout.readline())
    assert script.stdout.readline() == "reading\n"
    script.kill()
    script.communicate(timeout=60)
    wait_until(lambda: not is_running(pid))


def test_a_forked_process_neither_uses_nor_ends_a_reader() -> None:
    reader = drawoff.convert(COMPANIES)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            reader.read_all()
        except drawoff.Error as error:
            code = 0 if "forked" in str(error) else 2
        except BaseException:
            code = 3
        finally:
            try:
                reader.close()
                # A reader of its own works.
                assert drawoff.convert(COMPANIES).read_all().num_rows == 300
            except BaseException:
                code = 4
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert reader.read_all().num_rows == 300


def test_a_forked_process_does_not_keep_a_command_alive(endless: Any) -> None:
    reader = drawoff.convert(endless)
    next(reader)
    pid = reader._process.pid
    pipe = os.readlink(f"/proc/self/fd/{reader._process.stdout_fd}")
    release, hold = os.pipe()
    child = os.fork()
    if child == 0:
        # A copy of the read end would keep the command writing.
        open_here = [os.readlink(entry.path) for entry in os.scandir("/proc/self/fd") if os.path.islink(entry.path)]
        os.close(hold)
        os.read(release, 1)
        os._exit(1 if pipe in open_here else 0)
    reader.close()
    assert not is_running(pid)
    os.close(hold)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os.close(release)


def _count(run_id: str) -> int:
    return int(drawoff.pull(run_id).read_all().num_rows)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_a_pool_read_at_once(method: str, run_id: str) -> None:
    with concurrent.futures.ProcessPoolExecutor(4, mp_context=multiprocessing.get_context(method)) as pool:
        assert list(pool.map(_count, [run_id] * 8)) == [1302] * 8


def test_ten_readers_at_once(run_id: str) -> None:
    readers = [drawoff.pull(run_id) for _ in range(10)]
    counts: Dict[int, int] = {}

    def read(number: int) -> None:
        counts[number] = sum(batch.num_rows for batch in readers[number])

    threads = [threading.Thread(target=read, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == {number: 1302 for number in range(10)}


def zombies() -> List[str]:
    stats = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            stats.append(path.read_text())
        except OSError:
            continue
    return [stat for stat in stats if stat.rsplit(")", 1)[1].split()[:2] == ["Z", str(os.getpid())]]


def test_no_descriptor_and_no_process_is_left() -> None:
    def descriptors() -> int:
        return len(os.listdir("/proc/self/fd"))

    drawoff.convert(COMPANIES).read_all()
    before = descriptors()
    for _ in range(20):
        drawoff.convert(COMPANIES).read_all()
        drawoff.convert(COMPANIES).close()
        with pytest.raises(drawoff.CannotReadError):
            drawoff.convert("nothing.ndjson")
    # The thread that reads the messages of a closed reader ends a moment later.
    wait_until(lambda: descriptors() <= before)
    assert not zombies()


def test_many_messages_do_not_stop_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = "i=0; while [ $i -lt 20000 ]; do echo 'a line of a note that is quite long' >&2; i=$((i+1)); done"
    script = f'case "$1" in --version) echo drawoff 9.0.0;; *) {noise}; exec {drawoff.find_binary()} "$@";; esac'
    monkeypatch.setenv("DRAWOFF_BINARY", str(command(tmp_path / "drawoff", script)))
    reader = drawoff.convert(COMPANIES)
    assert reader.read_all().num_rows == 300
    assert len(reader.messages) <= 500
