"""Progress of a call, for callbacks, notebooks and terminals."""

from __future__ import annotations

import re
import sys
import time
from dataclasses import dataclass
from typing import Any, Callable, Optional, Union

# A progress line of the command where standard error is no terminal: phase, percentage, details.
_LINE = re.compile(r"(?P<phase>\S.*?) {2}(?:(?P<percent>\d+) % {2})?(?P<detail>\S.*)$")


@dataclass(frozen=True)
class Progress:
    """One state of a call.

    Attributes:
        phase: What the command does, such as `downloading`; `rows` while a reader takes rows; `note` for a message.
        fraction: Part that is done, from 0 to 1; None if that is not known.
        rows: Rows that the reader has taken so far; 0 for calls that write files.
        bytes: Bytes of them.
        seconds: Time since the call began.
        text: The line for people.
    """

    phase: str
    fraction: Optional[float]
    rows: int
    bytes: int
    seconds: float
    text: str


ProgressCallback = Callable[[Progress], None]
ProgressOption = Union[None, bool, ProgressCallback]


class Meter:
    """Turns what a call sees into states, at most ten a second, and hands them to the callback."""

    def __init__(self, callback: ProgressCallback) -> None:
        self._callback = callback
        self._start = time.monotonic()
        self._last = 0.0
        self._rows = 0
        self._bytes = 0

    def message(self, line: str) -> None:
        """Handles a line that the command printed."""
        found = _LINE.match(line)
        phase = found["phase"] if found else "note"
        fraction = float(found["percent"]) / 100 if found and found["percent"] else None
        self._send(phase, fraction, line)

    def count(self, rows: int, size: int, last: bool = False) -> None:
        """Handles rows and bytes that a reader has taken in all."""
        self._rows, self._bytes = rows, size
        now = time.monotonic()
        if last or now - self._last >= 0.1:
            self._last = now
            self._send("rows", None, f"{rows:,} rows  {size / (1 << 20):,.1f} MiB")

    def finish(self) -> None:
        """Ends a bar or a line."""
        if isinstance(self._callback, (_Bar, _Line)):
            self._callback.close()

    def _send(self, phase: str, fraction: Optional[float], text: str) -> None:
        self._callback(Progress(phase, fraction, self._rows, self._bytes, time.monotonic() - self._start, text))


class _Bar:
    """A bar of tqdm, which is a widget in a notebook and a line in a terminal."""

    def __init__(self) -> None:
        from tqdm.auto import tqdm

        self._bar: Any = tqdm(unit=" rows", desc="drawoff", leave=True)

    def __call__(self, state: Progress) -> None:
        if state.rows:
            self._bar.update(state.rows - self._bar.n)
        self._bar.set_postfix_str(state.text if state.phase != "rows" else f"{state.bytes / (1 << 20):,.1f} MiB")

    def close(self) -> None:
        self._bar.close()


class _Line:
    """One line on standard error, for systems without tqdm."""

    def __call__(self, state: Progress) -> None:
        if sys.stderr is not None:
            end = "" if sys.stderr.isatty() else "\n"
            start = "\r\x1b[2K" if sys.stderr.isatty() else ""
            print(f"{start}drawoff: {state.text}", end=end, file=sys.stderr, flush=True)

    def close(self) -> None:
        if sys.stderr is not None and sys.stderr.isatty():
            print(file=sys.stderr, flush=True)


def meter(progress: ProgressOption) -> Optional[Meter]:
    """Returns the meter for an option `progress`: None, True for a bar, or a callback."""
    if progress is None or progress is False:
        return None
    if progress is not True:
        return Meter(progress)
    try:
        return Meter(_Bar())
    except ImportError:
        return Meter(_Line())
