"""The calls: `run`, `pull`, `convert`, `runs`, `schema`."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import subprocess
import tempfile
from typing import IO, TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, Optional, Sequence, Union, overload

from . import _options as options_of
from ._errors import BadDataError, DiskFullError, Error, UsageError
from ._options import ConnectionOptions, ConvertOptions, OutputOptions, Path, PullOptions, RunOptions
from ._process import Process, Scratch, output_of, run_to_end
from ._progress import Meter, ProgressOption, meter
from ._reader import Reader, arrow_library
from ._report import Report

if TYPE_CHECKING:
    import pyarrow
    from typing_extensions import Unpack

Source = Union[Path, bytes, IO[bytes], Sequence[Path]]
# None is the standard input of Python itself.
Stdin = Union[None, int, IO[bytes]]
Output = Union[Path, Sequence[Path]]

# Flags that say how outputs are written; rows for Python have a form of their own.
_ONLY_WITH_OUTPUT = frozenset(OutputOptions.__annotations__)


@overload
def pull(
    run: Union[None, str, Sequence[str]] = ...,
    *,
    output: Output,
    progress: ProgressOption = ...,
    **options: Unpack[PullOptions],
) -> Report: ...
@overload
def pull(
    run: Union[None, str, Sequence[str]] = ...,
    *,
    output: None = ...,
    whole: bool = ...,
    progress: ProgressOption = ...,
    **options: Unpack[PullOptions],
) -> Reader: ...
def pull(
    run: Union[None, str, Sequence[str]] = None,
    *,
    output: Optional[Output] = None,
    whole: bool = False,
    progress: ProgressOption = None,
    **options: Any,
) -> Union[Reader, Report]:
    """Returns the results of runs that exist, after waiting for the end of those that are still active.

    Args:
        run: Id of a run, the unique beginning of one, `"last"`, or several of these; None with `workflow`.
        output: File, directory/ or URL to write, or several of them; the call then returns the report. A list has the
            same rows in every output.
        whole: Take all rows into a temporary file before the first one is returned. Columns and types that come late
            are then part of every row, and nothing is returned of a result that fails in the middle.
        progress: True for a bar (tqdm if it is installed), or a callback that gets `drawoff.Progress`.
        **options: Flags of `drawoff pull`, such as `where`, `select`, `limit`, `block`, `workflow`: see
            `drawoff.PullOptions`. Steps run in the order in which they are given.

    Returns:
        A `Reader`, or with `output` a `Report`.

    Raises:
        drawoff.Error: The subclass of the exit code.
        TypeError: There is no such option.
    """
    runs = [] if run is None else [run] if isinstance(run, str) else list(run)
    options_of.check(options, options_of.known(PullOptions), "pull")
    return _call(["pull", *runs], output, whole, progress, options)


@overload
def run(
    workflow: Union[Path, Mapping[str, Any]],
    *,
    input: Any = ...,
    payload: Any = ...,
    output: Output,
    progress: ProgressOption = ...,
    **options: Unpack[RunOptions],
) -> Report: ...
@overload
def run(
    workflow: Union[Path, Mapping[str, Any]],
    *,
    input: Any = ...,
    payload: Any = ...,
    output: None = ...,
    whole: bool = ...,
    progress: ProgressOption = ...,
    **options: Unpack[RunOptions],
) -> Reader: ...
def run(
    workflow: Union[Path, Mapping[str, Any]],
    *,
    input: Any = None,
    payload: Any = None,
    output: Optional[Output] = None,
    whole: bool = False,
    progress: ProgressOption = None,
    **options: Any,
) -> Union[Reader, Report]:
    """Starts a run of a workflow, waits for its end, and returns its results.

    A run starts once: the same call after an interruption attaches to the run that it started. Ctrl-C ends the call and
    not the run, unless `cancel_on_interrupt=True`.

    Args:
        workflow: Definition file, id, exact name, or a definition as a dict.
        input: Input of a workflow that starts with `read_csv`: a file or several, bytes, a file object, or a table with
            the Arrow PyCapsule interface, such as a DataFrame of polars or pandas.
        payload: Rows of a workflow that starts with `webhook`: a dict, a list of dicts, or JSON text.
        output, whole, progress: As for `pull`.
        **options: Flags of `drawoff run`: see `drawoff.RunOptions`.

    Returns:
        A `Reader`, or with `output` a `Report`.
    """
    options_of.check(options, options_of.known(RunOptions), "run")
    with contextlib.ExitStack() as stack:
        arguments = ["run"]
        stdin: Stdin = subprocess.DEVNULL
        if isinstance(workflow, Mapping):
            arguments.append(stack.enter_context(_file_with(_json(workflow, "workflow").encode(), ".json")))
        else:
            arguments.append(os.fspath(workflow))
        if payload is not None:
            text = payload if isinstance(payload, str) else _json(payload, "payload")
            # By standard input: other users of the machine can read a command line.
            arguments.append("--payload=@-")
            stdin = stack.enter_context(_stdin_with(text.encode()))
        if input is not None:
            if payload is not None:
                raise TypeError("run() takes `input` or `payload`, not both")
            if hasattr(input, "__arrow_c_stream__"):
                input = stack.enter_context(_table_as_file(input))
            if isinstance(input, bytes) or hasattr(input, "read"):
                arguments.append("--input=-")
                stdin = stack.enter_context(_stdin_with(input))
            else:
                files = [input] if isinstance(input, (str, os.PathLike)) else list(input)
                arguments += [f"--input={os.fspath(file)}" for file in files]
                if "-" in files:
                    stdin = None
        made = _call(arguments, output, whole, progress, options, stdin=stdin)
        _keep(made, stack)
        return made


@overload
def convert(
    source: Source, *, output: Output, progress: ProgressOption = ..., **options: Unpack[ConvertOptions]
) -> Report: ...
@overload
def convert(
    source: Source,
    *,
    output: None = ...,
    whole: bool = ...,
    progress: ProgressOption = ...,
    **options: Unpack[ConvertOptions],
) -> Reader: ...
def convert(
    source: Source,
    *,
    output: Optional[Output] = None,
    whole: bool = False,
    progress: ProgressOption = None,
    **options: Any,
) -> Union[Reader, Report]:
    """Returns the rows of files, directories, patterns, URLs or bytes, without the API.

    Args:
        source: Path, quoted pattern or URL, a list of them, bytes, or a file object with a descriptor.
        output, whole, progress: As for `pull`.
        **options: Flags of `drawoff convert`: see `drawoff.ConvertOptions`.

    Local files are read twice, for their columns and then for their rows, so that types that widen late are right from
    the first row; `schema_from="sample"` reads them once, and then such a type is a `SchemaChangedError`.

    Returns:
        A `Reader`, or with `output` a `Report`.
    """
    options_of.check(options, options_of.known(ConvertOptions), "convert")
    with contextlib.ExitStack() as stack:
        stdin: Stdin = subprocess.DEVNULL
        if isinstance(source, bytes) or hasattr(source, "read"):
            stdin = stack.enter_context(_stdin_with(source))
            names = ["-"]
        elif isinstance(source, (str, os.PathLike)):
            names = [os.fspath(source)]
        else:
            names = [os.fspath(name) for name in source]
            if not names:
                raise ValueError("convert() needs a source, and the list is empty")
        if "-" in names and stdin == subprocess.DEVNULL:
            stdin = None
        if output is None and not whole and _can_be_read_twice(names, options):
            options = {"schema_from": "full", **options}
        made = _call(["convert", *_as_operands(names)], output, whole, progress, options, stdin=stdin)
        _keep(made, stack)
        return made


def runs(
    *,
    workflow: Optional[str] = None,
    status: Optional[str] = None,
    since: Optional[str] = None,
    until: Optional[str] = None,
    limit: Optional[int] = None,
    **options: Unpack[ConnectionOptions],
) -> List[Dict[str, Any]]:
    """Returns the runs of the account, the newest first; the id of one is `run["job_id"]`."""
    options_of.check(options, options_of.known(ConnectionOptions), "runs")
    if limit is not None and limit < 1:
        raise ValueError(f"`limit` must be 1 or more, not {limit}")
    chosen = {"workflow": workflow, "status": status, "since": since, "until": until, "limit": limit}
    arguments = ["runs", "ls", "--output=ndjson", "--color=never", *options_of.to_arguments({**chosen, **options})]
    text = output_of(arguments, env=options_of.environment(options))
    return [json.loads(line) for line in text.splitlines() if line.strip()]


def schema(source: Source, **options: Unpack[ConvertOptions]) -> "pyarrow.Schema":
    """Returns the columns and types of files, as `convert` would return them, after its steps."""
    # No limit: the types are those of the records that `convert` takes them from.
    with convert(source, **options) as reader:
        return reader.schema


def _call(
    command: List[str],
    output: Optional[Output],
    whole: bool,
    progress: ProgressOption,
    options: Mapping[str, Any],
    stdin: Stdin = subprocess.DEVNULL,
) -> Union[Reader, Report]:
    states = meter(progress)
    given = options_of.to_arguments(options)
    env = options_of.environment(options)
    common = ["--report=json", "--color=never"]
    if output is not None:
        outputs = [output] if isinstance(output, (str, os.PathLike)) else list(output)
        outputs = [os.fspath(item) for item in outputs]
        if "-" in outputs:
            raise TypeError('output="-" is standard output; leave `output` out to read the rows in Python')
        written = [f"--output={item}" for item in outputs]
        arguments = [*command, *written, *given, *common]
        if states is None:
            return run_to_end(arguments, env=env, stdin=stdin)
        try:
            report = run_to_end(arguments, env=env, stdin=stdin, on_message=states.message)
            states.count(report.get("rows_written") or 0, report.get("bytes_out") or 0, last=True)
            return report
        finally:
            states.finish()
    misplaced = [name for name in options if name in _ONLY_WITH_OUTPUT and options[name] not in (None, False)]
    if misplaced:
        raise TypeError(f"`{misplaced[0]}` needs `output`")
    arrow_library()
    if whole:
        return _whole([*command, *given, *common], env, stdin, states)
    process = Process([*command, "--output=-", "--to=arrow-stream", *given, *common], env=env, stdin=stdin)
    return Reader(process, states)


def _whole(arguments: List[str], env: Dict[str, str], stdin: Stdin, states: Optional[Meter]) -> Reader:
    # Parquet is the format whose types can still widen at the last row.
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(Scratch())
        path = os.path.join(directory, "rows.parquet")
        try:
            report = run_to_end(
                [*arguments, f"--output={path}", "--codec=lz4"],
                env=env,
                stdin=stdin,
                on_message=states.message if states else None,
            )
        except DiskFullError as error:
            error.hint = f"free space in {os.path.dirname(directory)}, or set TMPDIR to a directory with more"
            raise
        copy = ["convert", path, "--output=-", "--to=arrow-stream", "--report=json", "--color=never"]
        process = Process(copy, env=env, report=report)
        process.keep.append(stack.pop_all())
    return Reader(process, states)


def _keep(made: Union[Reader, Report], stack: contextlib.ExitStack) -> None:
    # The command may read what was made for it until its end: with `rows_per_run`, the input of later runs.
    if isinstance(made, Reader):
        made._process.keep.append(stack.pop_all())


def _as_operands(names: Sequence[str]) -> List[str]:
    # A name that begins with a dash is no flag. `-` is standard input.
    return [f"./{name}" if name.startswith("-") and name != "-" else name for name in names]


def _can_be_read_twice(names: Sequence[str], options: Mapping[str, Any]) -> bool:
    given = {str(argument).split("=")[0] for argument in options.get("args") or ()}
    if any(name in options or options_of.flag(name) in given for name in ("schema_from", "limit", "extra_column")):
        return False
    return all(name != "-" and not name.startswith("@") and "://" not in name and not _is_pipe(name) for name in names)


def _is_pipe(name: str) -> bool:
    return os.path.exists(name) and not os.path.isfile(name) and not os.path.isdir(name)


def _json(value: Any, name: str) -> str:
    """Returns a value of Python as JSON. Fails for NaN and infinities, which pandas has for what is missing."""
    try:
        return json.dumps(value, ensure_ascii=False, default=_plain, allow_nan=False)
    except ValueError:
        place = _place_of_nan(value, name)
        if place is None:
            raise
        raise UsageError(f"{place} is NaN or an infinity, which JSON has not", hint="use None for a missing value") from None


def _place_of_nan(value: Any, place: str) -> Optional[str]:
    if hasattr(value, "item") and not isinstance(value, (Mapping, list, tuple)):
        value = value.item()
    if isinstance(value, float):
        return None if math.isfinite(value) else place
    if isinstance(value, Mapping):
        items: Any = ((f"{place}[{key!r}]", item) for key, item in value.items())
    elif isinstance(value, (list, tuple)):
        items = ((f"{place}[{number}]", item) for number, item in enumerate(value))
    else:
        return None
    return next((found for name, item in items if (found := _place_of_nan(item, name)) is not None), None)


def _plain(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"cannot write {type(value).__name__} as JSON")


@contextlib.contextmanager
def _file_with(contents: bytes, suffix: str) -> Iterator[str]:
    with Scratch() as directory:
        path = os.path.join(directory, f"contents{suffix}")
        with open(path, "wb") as file:
            file.write(contents)
        yield path


@contextlib.contextmanager
def _stdin_with(source: Any) -> Iterator[IO[bytes]]:
    """A file for standard input: the object itself if it has a descriptor, else a temporary file with its contents."""
    if not isinstance(source, bytes):
        try:
            source.fileno()
        except (AttributeError, OSError, io.UnsupportedOperation):
            pass
        else:
            yield source
            return
    with tempfile.TemporaryFile(prefix="drawoff-") as file:
        if isinstance(source, bytes):
            file.write(source)
        else:
            while True:
                part = source.read(1 << 20)
                if not part:
                    break
                file.write(part.encode() if isinstance(part, str) else part)
        file.seek(0)
        yield file


@contextlib.contextmanager
def _table_as_file(table: Any) -> Iterator[str]:
    """Writes a table with the Arrow PyCapsule interface to a temporary NDJSON file, batch by batch."""
    try:
        import pyarrow
    except ImportError:
        raise Error("cannot send a table: pyarrow is not installed", hint="pip install pyarrow, or pass a file") from None
    with Scratch() as directory:
        arrow, lines = os.path.join(directory, "input.arrows"), os.path.join(directory, "input.ndjson")
        rows = pyarrow.RecordBatchReader.from_stream(table)
        with pyarrow.OSFile(arrow, "wb") as file, pyarrow.ipc.new_stream(file, rows.schema) as writer:
            for batch in rows:
                writer.write_batch(batch)
        try:
            run_to_end(["convert", arrow, f"--output={lines}", "--quiet", "--color=never"])
        except BadDataError as error:
            # The file is ours, and so is none of its flags.
            message = error.message.replace(f"cannot read {arrow}: ", "cannot send the table: ")
            hint = "drop or convert such columns first; NaN and infinities can be null, as by `fill_nan(None)` of polars"
            raise type(error)(message, hint=hint, exit_code=error.exit_code, command=error.command) from None
        os.unlink(arrow)
        yield lines
