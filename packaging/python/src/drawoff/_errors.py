"""Exceptions: one class per exit code of the command, with the text and the hint that it printed."""

from __future__ import annotations

import signal
from typing import Any, Dict, Optional, Sequence, Tuple, Type

# Exit codes after which the same command can succeed later without a change: see docs/exit-codes.md.
_TRANSIENT = frozenset({14, 15, 16, 23, 33, 35, 36, 130})


class Error(Exception):
    """A failure of drawoff; `except drawoff.Error` catches all of them.

    Attributes:
        message: The text of the error, without the hint.
        hint: Advice on what to do, or None.
        exit_code: Exit code of the command, negative if a signal killed it; None if it never started.
        command: Arguments of the command, or an empty tuple if there was none.
        notes: Lines that the command printed before the error, such as those on the run that it started.
    """

    exit_code: Optional[int] = None

    def __init__(
        self,
        message: str,
        *,
        hint: Optional[str] = None,
        exit_code: Optional[int] = None,
        command: Sequence[str] = (),
        notes: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.command: Tuple[str, ...] = tuple(command)
        self.notes: Tuple[str, ...] = tuple(notes)
        if exit_code is not None:
            self.exit_code = exit_code

    @property
    def retry_helps(self) -> bool:
        """True if the same call can succeed later without a change."""
        return self.exit_code in _TRANSIENT

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"

    def __reduce__(self) -> Tuple[Any, ...]:
        state = {"hint": self.hint, "exit_code": self.exit_code, "command": self.command, "notes": self.notes}
        return _rebuild, (type(self), self.message, state)


def _rebuild(cls: Type[Error], message: str, state: Dict[str, Any]) -> Error:
    return cls(message, **state)


class BinaryError(Error):
    """The command `drawoff` was not found, cannot be started, or is too old for this package."""


class KilledError(Error):
    """A signal killed the command before it could end; `exit_code` is the negative number of the signal."""


class BugError(Error):
    """A bug in drawoff."""

    exit_code = 1


class UsageError(Error, ValueError):
    """An option, a setting or a definition is not valid."""

    exit_code = 2


class BadDataError(Error):
    """A record or a file's contents cannot be used."""

    exit_code = 4


class MismatchError(Error):
    """The row count differs from the API's row_count."""

    exit_code = 5


class SchemaChangedError(Error):
    """A column appeared or changed where the output could not follow."""

    exit_code = 6


class NoKeyError(Error):
    """No API key is set."""

    exit_code = 10


class KeyRefusedError(Error):
    """The API refused the key."""

    exit_code = 11


class NotFoundError(Error, LookupError):
    """There is no such workflow, run, block or result."""

    exit_code = 12


class RefusedError(Error):
    """The API, or the server of a URL, refused the request."""

    exit_code = 13


class UnreachableError(Error, ConnectionError):
    """The API cannot be reached, or keeps failing."""

    exit_code = 14


class DownloadBrokenError(Error):
    """A download broke and could not be resumed."""

    exit_code = 15


class FileChangedError(Error):
    """A file changed while it was downloaded."""

    exit_code = 16


class DamagedError(Error):
    """The compression of a file is truncated or damaged."""

    exit_code = 17


class LastLineCutError(Error):
    """The last line of a download is truncated."""

    exit_code = 18


class RunFailedError(Error):
    """The run failed."""

    exit_code = 20


class RunCancelledError(Error):
    """The run was cancelled."""

    exit_code = 21


class RunTimedOutError(Error):
    """The service stopped the run for taking too long."""

    exit_code = 22


class DeadlinePassedError(Error, TimeoutError):
    """The run was still active when the deadline passed."""

    exit_code = 23


class CannotWriteError(Error, OSError):
    """An output cannot be written."""

    exit_code = 30


class DiskFullError(Error, OSError):
    """The disk or the quota is full."""

    exit_code = 31


class CannotReadError(Error, OSError):
    """An input cannot be read."""

    exit_code = 32


class BusyError(Error):
    """The run is locked by another drawoff process."""

    exit_code = 33


class LoadRefusedError(Error):
    """A table cannot take the rows; none of them were kept."""

    exit_code = 34


class TargetUnreachableError(Error, ConnectionError):
    """The system of a table cannot be reached, or was lost; retry later."""

    exit_code = 35


class LoadUnknownError(Error):
    """It is unknown whether a load was committed; the same call finds out."""

    exit_code = 36


class StoppedError(Error):
    """The command was interrupted by a signal that did not come from Python's Ctrl-C."""

    exit_code = 130


class PartialWarning(UserWarning):
    """Exit code 3: done, but some records were rejected, or some runs left out.

    A warning and not an exception, because all other rows are there and the call asked for that (`on_bad_record="skip"`,
    `on_failed_run="skip"`). `warnings.simplefilter("error", drawoff.PartialWarning)` makes an exception of it.
    """


BY_EXIT_CODE: Dict[int, Type[Error]] = {cls.exit_code: cls for cls in Error.__subclasses__() if cls.exit_code is not None}


def split_messages(lines: Sequence[str]) -> Tuple[Tuple[str, ...], Optional[str], Optional[str]]:
    """Splits what a command printed to standard error into notes, the error and its hint; the latter may be None."""
    start = next((n for n in reversed(range(len(lines))) if lines[n].startswith("error: ")), None)
    if start is None:
        return tuple(lines), None, None
    text = list(lines[start:])
    text[0] = text[0][len("error: ") :]
    at = next((n for n, line in enumerate(text) if line.startswith("hint: ")), len(text))
    hint = "\n".join(text[at:])[len("hint: ") :].strip() or None
    return tuple(lines[:start]), "\n".join(text[:at]).strip(), hint


def from_exit(code: int, command: Sequence[str], lines: Sequence[str]) -> Error:
    """Returns the exception for a command that ended with `code` after it printed `lines` to standard error."""
    notes, message, hint = split_messages(lines)
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        message = message or f"drawoff was killed by {name}; the rows that it returned are not all rows"
        return KilledError(message, hint=hint, exit_code=code, command=command, notes=notes)
    cls = BY_EXIT_CODE.get(code, Error)
    if message is None:
        # A panic, or a binary that is none of ours: its last words are all that is known.
        message, notes = "\n".join(lines[-5:]) or f"drawoff ended with the exit code {code}", ()
    return cls(message, hint=hint, exit_code=code, command=command, notes=notes)
