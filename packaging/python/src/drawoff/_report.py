"""The report that a command prints at its end."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence


class Report(Mapping[str, Any]):
    """Counts of a call, as `--report json` prints them: `report["rows_written"]`, or `report.rows_written`.

    Records in = written + filtered + rejected. A call that wrote several outputs for several blocks has one report for
    each of them in `all`; the report itself is then the first.
    """

    def __init__(self, objects: Sequence[Dict[str, Any]], notes: Sequence[str] = (), exit_code: int = 0) -> None:
        self._objects = [dict(item) for item in objects] or [{}]
        self._values = self._objects[0]
        #: Lines that the command printed for people, such as the id of the run that it started.
        self.messages: List[str] = list(notes)
        #: 0, or 3 if some records were rejected or some runs left out.
        self.exit_code = exit_code

    @property
    def all(self) -> List[Dict[str, Any]]:
        """One object for each group of outputs."""
        return self._objects

    @property
    def partial(self) -> bool:
        """True if some records were rejected, or some runs left out."""
        return self.exit_code == 3

    @property
    def already_complete(self) -> bool:
        """True if the output was complete before, so that nothing was written."""
        return bool(self._values.get("already_complete"))

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(f"the report has no `{name}`; it has {', '.join(self._values)}") from None

    def __repr__(self) -> str:
        counts = ("rows_in", "rows_written", "rows_filtered", "rows_rejected")
        inner = ", ".join(f"{name}={self._values[name]}" for name in counts if name in self._values)
        return f"Report(output={self._values.get('output')!r}, {inner})"


def parse(line: str) -> Optional[Dict[str, Any]]:
    """Returns the report in a line of standard error, or None if it is another line."""
    if not line.startswith("{"):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) and ("rows_written" in found or "already_complete" in found) else None
