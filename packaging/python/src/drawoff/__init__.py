"""drawoff in Python: results of hosted batch workflows, and files, as Arrow streams.

    import drawoff

    table = drawoff.pull("last").read_all()                      # pyarrow.Table
    frame = drawoff.convert("people.ndjson").to_polars()         # polars.DataFrame
    drawoff.run("Qualify companies", input="companies.csv", output="results.parquet")
    big = drawoff.scan("last").filter(polars.col("employee_count") >= 1000).collect()

Every call starts the command `drawoff` and reads its Arrow stream while it runs, in bounded memory. The options are the
flags of the command.
"""

from ._api import convert, pull, run, runs, schema
from ._binary import find_binary
from ._errors import (
    BadDataError,
    BinaryError,
    BugError,
    BusyError,
    CannotReadError,
    CannotWriteError,
    DamagedError,
    DeadlinePassedError,
    DiskFullError,
    DownloadBrokenError,
    Error,
    FileChangedError,
    KeyRefusedError,
    KilledError,
    LastLineCutError,
    LoadRefusedError,
    LoadUnknownError,
    MismatchError,
    NoKeyError,
    NotFoundError,
    PartialWarning,
    RefusedError,
    RunCancelledError,
    RunFailedError,
    RunTimedOutError,
    SchemaChangedError,
    StoppedError,
    TargetUnreachableError,
    UnreachableError,
    UsageError,
)
from ._options import ConvertOptions, PullOptions, RunOptions, ServeOptions, quote
from ._progress import Progress
from ._reader import Reader
from ._report import Report
from ._scan import ScanOptions, scan
from ._service import Service, serve

__all__ = [
    "BadDataError",
    "BinaryError",
    "BugError",
    "BusyError",
    "CannotReadError",
    "CannotWriteError",
    "ConvertOptions",
    "DamagedError",
    "DeadlinePassedError",
    "DiskFullError",
    "DownloadBrokenError",
    "Error",
    "FileChangedError",
    "KeyRefusedError",
    "KilledError",
    "LastLineCutError",
    "LoadRefusedError",
    "LoadUnknownError",
    "MismatchError",
    "NoKeyError",
    "NotFoundError",
    "PartialWarning",
    "Progress",
    "PullOptions",
    "Reader",
    "RefusedError",
    "Report",
    "RunCancelledError",
    "RunFailedError",
    "RunOptions",
    "RunTimedOutError",
    "ScanOptions",
    "SchemaChangedError",
    "ServeOptions",
    "Service",
    "StoppedError",
    "TargetUnreachableError",
    "UnreachableError",
    "UsageError",
    "convert",
    "find_binary",
    "pull",
    "quote",
    "run",
    "runs",
    "scan",
    "schema",
    "serve",
]
