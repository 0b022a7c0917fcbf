"""One process of the command: its output as bytes, its messages, and its end."""

from __future__ import annotations

import collections
import copy
import errno
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
import weakref
from typing import IO, Any, Callable, Deque, Dict, List, Optional, Sequence, TypeVar, Union

from . import _report
from ._binary import find_binary
from ._errors import BinaryError, Error, PartialWarning, UsageError, from_exit, split_messages
from ._report import Report

# The command ends by itself once its reader is gone; this is the time that it has for that before it is told to end.
_NATURAL_END = 1.0
# It ends within 5 s after the first signal (src/cli/interrupt.rs); after this time it is killed.
_END_DEADLINE = 7.0
# Messages that are kept for an exception. A command that prints more keeps its last ones, with the error.
_KEPT_LINES = 500
# The end marker of an Arrow stream: a continuation and a length of zero.
_END_OF_STREAM = b"\xff\xff\xff\xff\x00\x00\x00\x00"
# The command writes row groups of about this size; a larger pipe saves switches between the two processes.
_PIPE_BYTES = 1 << 20

_Read = TypeVar("_Read")

_alive: "weakref.WeakSet[Process]" = weakref.WeakSet()


class _Messages:
    """Standard error of a process, read by a thread of its own so that a full pipe never stops the command."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.lines: Deque[str] = collections.deque(maxlen=_KEPT_LINES)
        self.reports: List[Dict[str, Any]] = []
        self.fresh: Deque[str] = collections.deque(maxlen=_KEPT_LINES)
        # Holds neither the process nor the reader: these must be collectable while the thread waits.
        self._thread = threading.Thread(target=self._read, name="drawoff-messages", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self._stream:
            for raw in self._stream:
                line = raw.decode("utf-8", "replace").rstrip("\r\n")
                found = _report.parse(line)
                if found is not None:
                    self.reports.append(found)
                elif line:
                    self.lines.append(line)
                    self.fresh.append(line)

    def finish(self) -> None:
        # A grandchild, such as a key command that goes on, may hold the pipe open for ever.
        self._thread.join(timeout=2.0)


class Scratch:
    """A temporary directory. It is removed when this object is closed or collected, and at the exit of the interpreter.

    A forked process has a copy of this object, and does not remove the directory of its parent.
    """

    def __init__(self) -> None:
        self.name = tempfile.mkdtemp(prefix="drawoff-")
        self._finalizer = weakref.finalize(self, _remove, self.name, os.getpid())

    def close(self) -> None:
        """Removes the directory. May be called again."""
        self._finalizer()

    def __enter__(self) -> str:
        return self.name

    def __exit__(self, *_: Any) -> None:
        self.close()


def _remove(path: str, owner: int) -> None:
    if os.getpid() == owner:
        shutil.rmtree(path, ignore_errors=True)


class Process:
    """A running command. It ends when this object is closed or collected, and at the exit of the interpreter.

    It runs in a session of its own: Ctrl-C in the terminal reaches Python alone, which tells the command once, so that
    it can end in order. A second signal would cut that short.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        env: Optional[Dict[str, str]] = None,
        stdin: Union[None, int, IO[bytes]] = subprocess.DEVNULL,
        stdout: int = subprocess.PIPE,
        report: Optional[Report] = None,
    ) -> None:
        # The report of an earlier command, of whose output this one reads a copy.
        self._report = report
        self.command = ("drawoff", *arguments)
        for argument in arguments:
            if "\0" in argument:
                raise UsageError(f"an argument has a NUL character: {argument[:80]!r}", command=self.command)
        binary = find_binary()
        more: Dict[str, Any] = {"pipesize": _PIPE_BYTES} if sys.version_info >= (3, 10) and sys.platform == "linux" else {}
        self._owner = os.getpid()
        try:
            self._popen = subprocess.Popen(
                [binary, *arguments],
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=env,
                start_new_session=True,
                **more,
            )
        except (OSError, ValueError) as cause:
            if isinstance(cause, OSError) and cause.errno == errno.E2BIG:
                longest = max(arguments, key=len)
                message = f"the arguments are too long for the system, such as {longest[:40]!r}…"
                hint = "put long steps into a file, with `steps`, and names of files into a list, with `@FILE`"
                raise UsageError(message, hint=hint, command=self.command) from cause
            raise BinaryError(f"cannot start {binary}: {cause}", command=self.command) from cause
        assert self._popen.stderr is not None
        self.messages = _Messages(self._popen.stderr)
        #: The exception that the command ended with.
        self.failure: Optional[BaseException] = None
        #: True once the command has ended well.
        self.over = False
        #: What is closed after the end of the command, such as temporary files that it reads.
        self.keep: List[Any] = []
        self._finalizer = weakref.finalize(self, _end, self._popen, self._owner, self.keep)
        _alive.add(self)

    @property
    def pid(self) -> int:
        """Id of the process."""
        return self._popen.pid

    @property
    def stdout_fd(self) -> int:
        """Descriptor of the read end of its standard output."""
        self._check_owner()
        stdout = self._popen.stdout
        if stdout is None or stdout.closed:
            raise ValueError("the reader is closed")
        return stdout.fileno()

    def _check_owner(self) -> None:
        if os.getpid() != self._owner:
            raise Error("a reader of drawoff cannot be used in a forked process", hint="make the call in that process")

    def finish(self) -> Report:
        """Waits for the end of the command and returns its report. Raises the exception of its exit code.

        May be called again; it then returns or raises the same.
        """
        self._check_owner()
        if self.failure is not None:
            raise self.failure
        try:
            code = _await_end(self._popen)
        except BaseException as cause:
            self.interrupt_by(cause)
            raise
        self.messages.finish()
        lines = list(self.messages.lines)
        if code not in (0, 3):
            self.failure = from_exit(code, self.command, lines)
            self.close()
            raise self.failure
        notes, message, _ = split_messages(lines)
        report = Report(self.messages.reports, notes if message is None else lines, code)
        if not self.over:
            self.over = True
            self.close()
            if code == 3:
                rejected = sum(item.get("rows_rejected") or 0 for item in report.all)
                text = f"{rejected} records were rejected" if rejected else "some runs were left out"
                # The caller's line is not known here: the end may be seen by any thread, in any library.
                warnings.warn(PartialWarning(message or text), stacklevel=2)
        return self._report or report

    def interrupt(self) -> None:
        """Ends the command as Ctrl-C would, and waits for that."""
        if os.getpid() == self._owner and self._popen.poll() is None:
            _signal(self._popen, signal.SIGINT)
        self.close()

    def interrupt_by(self, cause: BaseException) -> None:
        """Ends the command for an exception, such as that of Ctrl-C, which gets its last words as a note."""
        self.interrupt()
        self.messages.finish()
        note = "\n".join(list(self.messages.lines)[-5:])
        # Each caller that the exception passes may end the command.
        is_new = note not in getattr(cause, "__notes__", ())
        if note and is_new and isinstance(cause, KeyboardInterrupt) and hasattr(cause, "add_note"):
            cause.add_note(note)

    def close(self) -> None:
        """Ends the command, if it still runs, and waits for that. May be called again."""
        self._finalizer()
        _alive.discard(self)


def _signal(popen: "subprocess.Popen[bytes]", number: int) -> None:
    try:
        popen.send_signal(number)
    except ProcessLookupError:
        pass


def _await_end(popen: "subprocess.Popen[bytes]") -> int:
    """Waits for the end of a command, and is interrupted by Ctrl-C.

    `Popen.wait` is not where a library such as polars has a handler of its own for the signal, with SA_RESTART: the system
    then restarts the wait for a process, but neither a poll nor a sleep.
    """
    if popen.poll() is None and hasattr(os, "pidfd_open"):
        try:
            descriptor = os.pidfd_open(popen.pid)
        except OSError:
            # An old kernel, or another thread has seen the end.
            pass
        else:
            try:
                _await_readable(descriptor)
            finally:
                os.close(descriptor)
    while True:
        try:
            return popen.wait(timeout=60)
        except subprocess.TimeoutExpired:
            continue


def _await_readable(descriptor: int) -> None:
    """Waits until a descriptor can be read or is at its end. Is interrupted by Ctrl-C: see `_await_end`."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll()


def _wait(popen: "subprocess.Popen[bytes]", seconds: float) -> bool:
    try:
        popen.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _end(popen: "subprocess.Popen[bytes]", owner: int, keep: List[Any]) -> None:
    if os.getpid() != owner:
        return
    if popen.stdout is not None:
        popen.stdout.close()
    if popen.stdout is None or not _wait(popen, _NATURAL_END):
        if popen.poll() is None:
            _signal(popen, signal.SIGTERM)
            if not _wait(popen, _END_DEADLINE):
                popen.kill()
                popen.wait()
    for item in keep:
        item.close()


def _after_fork() -> None:
    # The copy of the pipe's read end would keep the command alive after its reader in the parent is gone.
    for process in list(_alive):
        stdout = process._popen.stdout
        if stdout is not None and not stdout.closed:
            stdout.close()
    _alive.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Body:
    """Standard output of a process as a readable object. Its end is reported only after the command ended well.

    The last bytes of an Arrow stream say that it is complete, so they are handed on after the exit code is known. A
    reader of Arrow therefore sees either all rows or the exception.
    """

    def __init__(self, process: Process) -> None:
        self.process = process
        # A byte that was read to see whether more follows.
        self._held = b""
        self._tail = b""
        self.bytes_read = 0
        self.closed = False

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        """Returns exactly `size` bytes, or fewer at the end of the stream."""
        if size is None or size < 0:
            parts: List[bytes] = []
            while True:
                part = self.read(_PIPE_BYTES)
                if not part:
                    return b"".join(parts)
                parts.append(part)
        buffer = bytearray(size)
        count = self.readinto(buffer)
        return bytes(memoryview(buffer)[:count])

    def readinto(self, target: Any) -> int:
        """Fills `target`, except at the end of the stream; returns the number of bytes."""
        view = memoryview(target).cast("B")
        if not view.nbytes:
            return 0
        try:
            return self._fill(view)
        except KeyboardInterrupt as cause:
            self.process.interrupt_by(cause)
            raise

    def _fill(self, view: memoryview) -> int:
        done = len(self._held)
        view[:done] = self._held
        self._held = b""
        while done < view.nbytes:
            count = self._some(view[done:])
            if not count:
                break
            done += count
        self._tail = (self._tail + bytes(view[max(done - 8, 0) : done]))[-8:]
        if done < view.nbytes:
            self.process.finish()
        elif self._tail == _END_OF_STREAM:
            one = bytearray(1)
            if self._some(memoryview(one)):
                self._held = bytes(one)
            else:
                self.process.finish()
        self.bytes_read += done
        return done

    def _some(self, view: memoryview) -> int:
        if self.process.over or self.process.failure is not None:
            self.process.finish()
            return 0
        descriptor = self.process.stdout_fd
        _await_readable(descriptor)
        return os.readv(descriptor, [view])

    def close(self) -> None:
        """Ends the command."""
        self.closed = True
        self.process.close()


class Handle:
    """The body as a library written in another language holds it.

    The collector of Python does not see that reference. The exception of a failure refers to the body by its traceback, so
    that a handle which kept the body then would keep both for ever, with their temporary files.
    """

    def __init__(self, body: Body) -> None:
        self._body: Optional[Body] = body
        self._failure: Optional[BaseException] = None

    @property
    def closed(self) -> bool:
        return self._body is None or self._body.closed

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False

    def read(self, size: int = -1) -> bytes:
        """As `Body.read`."""
        return self._open(lambda body: body.read(size))

    def readinto(self, target: Any) -> int:
        """As `Body.readinto`."""
        return self._open(lambda body: body.readinto(target))

    def _open(self, read: Callable[[Body], _Read]) -> _Read:
        body = self._body
        if body is None:
            raise copy.copy(self._failure) if self._failure is not None else ValueError("the reader is closed")
        try:
            return read(body)
        except BaseException:
            if body.process.failure is not None:
                self._body, self._failure = None, copy.copy(body.process.failure)
            raise

    def close(self) -> None:
        """Ends the command."""
        if self._body is not None:
            self._body.close()


def run_to_end(
    arguments: Sequence[str],
    *,
    env: Optional[Dict[str, str]] = None,
    stdin: Union[None, int, IO[bytes]] = subprocess.DEVNULL,
    on_message: Optional[Callable[[str], None]] = None,
) -> Report:
    """Runs a command that writes files and returns its report."""
    process = Process(arguments, env=env, stdin=stdin, stdout=subprocess.DEVNULL)
    try:
        if on_message is not None:
            while process._popen.poll() is None:
                while process.messages.fresh:
                    on_message(process.messages.fresh.popleft())
                time.sleep(0.05)
        return process.finish()
    except BaseException as cause:
        if process.failure is not cause:
            process.interrupt_by(cause)
        raise


def output_of(
    arguments: Sequence[str],
    *,
    env: Optional[Dict[str, str]] = None,
    stdin: Union[None, int, IO[bytes]] = subprocess.DEVNULL,
) -> bytes:
    """Runs a command and returns its whole standard output."""
    process = Process(arguments, env=env, stdin=stdin)
    try:
        return Body(process).read()
    except BaseException:
        process.interrupt()
        raise
