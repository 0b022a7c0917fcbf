"""Rows of a running command, as an Arrow stream."""

from __future__ import annotations

import select
import threading
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional

from ._errors import Error
from ._process import Body, Handle, Process
from ._progress import Meter
from ._report import Report

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow

_INSTALL = "install a reader of Arrow streams: `pip install pyarrow`, or the smaller `pip install nanoarrow`"


def arrow_library() -> str:
    """Returns the name of the library that reads the Arrow stream: pyarrow, else nanoarrow."""
    for name in ("pyarrow", "nanoarrow"):
        try:
            __import__(name)
        except ImportError:
            continue
        return name
    raise Error("cannot read an Arrow stream: neither pyarrow nor nanoarrow is installed", hint=_INSTALL)


class Reader:
    """Rows of a command, in batches, while it runs. Reads like a `pyarrow.RecordBatchReader`.

    Every library that takes Arrow data by the PyCapsule interface takes a reader: `pyarrow.table(reader)`,
    `polars.DataFrame(reader)`, `duckdb.sql("FROM reader")`, `pandas.DataFrame.from_arrow(reader)`. The rows can be
    taken once, and are never held as a whole by drawoff.

    The end of the rows is reported only when the command has ended well. Otherwise the read fails: with the exception
    of the exit code (see `drawoff.Error`) in Python and pyarrow, and with an exception of its own that has the same
    text in other libraries; `reader.error` is then ours.

    The command ends when the reader is closed or collected, and after the last row.
    """

    def __init__(self, process: Process, meter: Optional[Meter] = None) -> None:
        self._process = process
        self._meter = meter
        self._taken = False
        self._iterator: Optional[Iterator[Any]] = None
        # A cell of its own: the stream of another library counts in it, and must not hold the reader.
        self._counter = [0]
        self._lock = threading.Lock()
        # Held while the iterator is made, of which all threads have the same one.
        self._first = threading.Lock()
        self._body = Body(process)
        try:
            if meter is not None:
                self._wait(process, meter)
            library = arrow_library()
            self._stream: Any = _open_pyarrow(self._body) if library == "pyarrow" else _open_nanoarrow(self._body)
        except BaseException as cause:
            process.close()
            # Libraries wrap what is raised while they read.
            if process.failure is not None and cause is not process.failure:
                raise process.failure from None
            raise
        self._library = library

    @staticmethod
    def _wait(process: Process, meter: Meter) -> None:
        messages = process.messages
        while True:
            while messages.fresh:
                meter.message(messages.fresh.popleft())
            try:
                ready, _, _ = select.select([process.stdout_fd], [], [], 0.1)
            except KeyboardInterrupt as cause:
                process.interrupt_by(cause)
                raise
            if ready:
                return

    @property
    def schema(self) -> Any:
        """Columns and types: a `pyarrow.Schema`, or a `nanoarrow.Schema` if pyarrow is not installed."""
        return self._stream.schema

    @property
    def error(self) -> Optional[Error]:
        """The exception that the command ended with, or None."""
        failure = self._process.failure
        return failure if isinstance(failure, Error) else None

    @property
    def messages(self) -> List[str]:
        """Lines that the command has printed for people so far, such as the id of the run that it started."""
        return list(self._process.messages.lines)

    @property
    def report(self) -> Report:
        """Counts of the command. Raises `drawoff.Error` while rows are left to read."""
        if not self._process.over and self._process.failure is None:
            raise Error("the report is not there yet: the rows were not read to their end")
        return self._process.finish()

    def _take(self) -> Any:
        with self._lock:
            if self._body.closed:
                raise ValueError("the reader is closed")
            if self._taken:
                raise ValueError("the rows of this reader were already handed to another library; make the call again")
            self._taken = True
            return self._stream

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """Returns the stream as a PyCapsule; the rows go to the library that asks first."""
        stream = self._take()
        if self._library == "pyarrow":
            import pyarrow

            stream = pyarrow.RecordBatchReader.from_batches(stream.schema, self._batches(stream))
        if requested_schema is None:
            return stream.__arrow_c_stream__()
        return stream.__arrow_c_stream__(requested_schema)

    def __arrow_c_schema__(self) -> Any:
        """Returns the schema as a PyCapsule, without taking rows."""
        return self._stream.schema.__arrow_c_schema__()

    def _batches(self, stream: Any) -> Iterator[Any]:
        return _counted(stream, self._process, self._body, self._counter, self._meter)

    @property
    def rows_read(self) -> int:
        """Rows that were taken so far; 0 if nanoarrow hands them on."""
        return self._counter[0]

    def __iter__(self) -> Iterator[Any]:
        """Iterates over the batches: `pyarrow.RecordBatch`, or `nanoarrow.Array` if pyarrow is not installed."""
        with self._first:
            if not self._taken:
                stream = self._take()
                source = stream if self._library == "pyarrow" else stream.iter_chunks()
                self._iterator = _Shared(self._batches(source))
        if self._iterator is None:
            raise ValueError("the rows of this reader were already handed to another library; make the call again")
        return self._iterator

    def __next__(self) -> Any:
        return next(iter(self))

    def read_next_batch(self) -> Any:
        """Returns the next batch; raises `StopIteration` at the end."""
        return next(iter(self))

    def read_all(self) -> "pyarrow.Table":
        """Returns all rows as a `pyarrow.Table`."""
        import pyarrow

        return pyarrow.Table.from_batches(list(self), schema=self.schema)

    to_arrow = read_all

    def to_reader(self) -> "pyarrow.RecordBatchReader":
        """Returns the rows as a `pyarrow.RecordBatchReader`, for libraries that take nothing else."""
        import pyarrow

        return pyarrow.RecordBatchReader.from_batches(self.schema, iter(self))

    def to_pandas(self, **options: Any) -> "pandas.DataFrame":
        """Returns all rows as a `pandas.DataFrame`; the options are those of `pyarrow.Table.to_pandas`."""
        return self.read_all().to_pandas(**options)

    def to_polars(self) -> "polars.DataFrame":
        """Returns all rows as a `polars.DataFrame`."""
        import polars

        if self._library == "pyarrow":
            # polars takes the buffers as they are. Old versions of it panic at an error inside a stream.
            return frame_of(self.read_all())
        try:
            return polars.DataFrame(self)
        except BaseException as cause:
            if self.error is not None and cause is not self.error:
                raise self.error from cause
            raise

    def close(self) -> None:
        """Ends the command; rows that were not read are lost. May be called again."""
        self._body.close()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._body.closed else "failed" if self.error else "ended" if self._process.over else "open"
        return f"<drawoff.Reader {state}, {self.rows_read} rows read>"


class _Shared:
    """An iterator that several threads may take from; each item goes to one of them."""

    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items
        self._lock = threading.Lock()

    def __iter__(self) -> "_Shared":
        return self

    def __next__(self) -> Any:
        with self._lock:
            return next(self._items)


def _counted(stream: Any, process: Process, body: Body, counter: List[int], meter: Optional[Meter]) -> Iterator[Any]:
    """Yields the batches of `stream`, and ends only if the command ended well. Holds no reader, so that one can be collected."""
    try:
        yield from _checked(stream, process, body, counter, meter)
    finally:
        if meter is not None:
            meter.finish()


def _checked(stream: Any, process: Process, body: Body, counter: List[int], meter: Optional[Meter]) -> Iterator[Any]:
    while True:
        try:
            batch = next(stream)
        except StopIteration:
            break
        except KeyboardInterrupt as cause:
            process.interrupt_by(cause)
            raise
        except Exception as cause:
            if process.failure is not None and cause is not process.failure:
                raise process.failure from None
            raise
        counter[0] += batch.num_rows if hasattr(batch, "num_rows") else len(batch)
        if meter is not None:
            meter.count(counter[0], body.bytes_read)
        yield batch
    # Rows behind the end marker do not exist; the exit code still counts.
    while body.read(1 << 16):
        pass
    process.finish()
    if meter is not None:
        meter.count(counter[0], body.bytes_read, last=True)


def frame_of(rows: Any) -> "polars.DataFrame":
    """Returns a table or a batch as a `polars.DataFrame`."""
    import polars

    if type(rows).__module__.startswith("pyarrow"):
        names = rows.schema.names
        if "" in names:
            # polars gives such a column a name, which another column may have.
            rows = rows.rename_columns([str(number) for number in range(len(names))])
        # Old versions of polars take no other object with the PyCapsule interface for a table.
        frame = polars.from_arrow(rows)
        assert isinstance(frame, polars.DataFrame)
        if "" in names:
            frame.columns = names
        return frame
    return polars.DataFrame(rows)


def schema_of(reader: Reader) -> Dict[str, "polars.DataType"]:
    """Returns the columns and types that `frame_of` makes of the rows of a reader, without taking rows."""
    import polars

    if reader._library == "pyarrow":
        return dict(frame_of(reader.schema.empty_table()).schema)
    return dict(polars.Schema(reader.schema))


def _open_pyarrow(body: Body) -> Any:
    import pyarrow

    return pyarrow.ipc.open_stream(pyarrow.PythonFile(Handle(body), mode="r"))


def _open_nanoarrow(body: Body) -> Any:
    import nanoarrow

    return nanoarrow.ArrayStream.from_readable(Handle(body))
