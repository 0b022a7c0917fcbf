"""`scan`: results and files as a LazyFrame of polars."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any, Callable, Dict, Iterator, List, Mapping, Optional, Sequence, TypeVar, Union

from . import _options as options_of
from ._api import convert, pull, runs
from ._errors import BadDataError, Error, NotFoundError, UsageError
from ._options import ConnectionOptions, ConvertOptions, Path, PullOptions
from ._predicate import kinds_of, translate
from ._process import Scratch, output_of
from ._reader import frame_of, schema_of

if TYPE_CHECKING:
    import polars
    from typing_extensions import Unpack

# Flags that `drawoff schema` has, too.
_SCHEMA_OPTIONS = frozenset(
    {
        "from_",
        "in_encoding",
        "in_delimiter",
        "in_quote",
        "in_skip_lines",
        "in_header",
        "in_null",
        "in_decimal",
        "in_thousands",
        "endpoint",
        "api_key",
        "api_key_file",
        "api_key_command",
        "state_dir",
        "config",
        "send_key_to",
        "insecure_http",
        "log",
        "verbose",
        "env",
    }
)
# The oldest that is tested.
_OLDEST_POLARS = (1, 36)
_Types = TypeVar("_Types")
# Of one step; what is longer is left to polars.
_MOST_BYTES = 100_000
_RUN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class ScanOptions(PullOptions, ConvertOptions, total=False):
    """Options of `drawoff.scan`: those of `pull` for runs, those of `convert` for files."""


def scan(
    source: Union[Path, Sequence[Path]],
    *,
    whole: bool = False,
    **options: Unpack[ScanOptions],
) -> "polars.LazyFrame":
    """Returns the results of a run, or the rows of files or URLs, as a `polars.LazyFrame`.

    Nothing but the columns and types is read before `collect`; each `collect` reads the source again. drawoff reads only
    the columns that the query needs, stops at its limit, and filters by the parts of its conditions that mean the same
    in both languages; polars filters by the rest.

    Args:
        source: Id of a run, `"last"`, or files, patterns and URLs as for `convert`. A name that is both is a file.
        whole: Take all rows into a temporary file now. Types that widen late in a result are then right, and `collect`
            sends no request.
        **options: Those of `pull` or `convert`, without `output`. Steps come before those of the query.

    Raises:
        drawoff.Error: The columns cannot be read. `collect` raises it, too, or with some engines of polars a
            `polars.exceptions.ComputeError` with the same text.
    """
    register_io_source = _register_io_source()
    names = [os.fspath(source)] if isinstance(source, (str, os.PathLike)) else [os.fspath(name) for name in source]
    is_run = len(names) == 1 and _is_run(names[0])
    options_of.check(options, options_of.known(PullOptions if is_run else ConvertOptions), "scan")
    if is_run:
        names = [_whole_id(names[0], options)]
    if whole:
        plan = _Plan.of_copy(names, is_run, dict(options))
    else:
        plan = _Plan(names, is_run, dict(options))
    frame: "polars.LazyFrame" = register_io_source(plan.frames, schema=plan.schema)
    return frame


def _register_io_source() -> Any:
    """The function of polars that makes a LazyFrame of a source."""
    hint = "pip install 'polars>=1.36'"
    try:
        import polars
    except ImportError:
        raise Error("cannot scan: polars is not installed", hint=hint) from None
    numbers = re.match(r"(\d+)\.(\d+)", polars.__version__)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < _OLDEST_POLARS:
        raise Error(f"cannot scan: polars {polars.__version__} is too old", hint=hint)
    from polars.io.plugins import register_io_source

    return register_io_source


class _Plan:
    """A source with its options, its columns, and the schema file that holds their types."""

    def __init__(self, names: List[str], is_run: bool, options: Dict[str, Any]) -> None:
        self._names = names
        self._is_run = is_run
        self._options = options
        self._directory: Any = None
        # `drawoff schema` knows the final results alone, and no arguments of other commands.
        can_describe = not any(options.get(name) for name in ("schema", "block", "format", "run_column", "args"))
        described = self._described_or_not() if can_describe else None
        if described is not None and _is_inferred(described):
            # Without it a filtered scan would infer other types: those of the rows that are left.
            self._directory = Scratch()
            path = os.path.join(self._directory.name, "schema.json")
            with open(path, "w", encoding="utf-8") as file:
                json.dump(described, file)
            self._options = {"schema": path, **options}
        self._is_held = described is not None or "schema" in options
        self.schema: Dict[str, Any] = self._for_types(self._types)
        fields = [] if described is None or options_of.steps_of(options) else described["fields"]
        plain_text = {field["name"]: field["type"] == "text" for field in fields}
        can_compare = self._is_held and "sql" not in options and "steps" not in options and not options.get("args")
        self._kinds = kinds_of(self.schema, plain_text) if can_compare else {}

    @classmethod
    def of_copy(cls, names: List[str], is_run: bool, options: Dict[str, Any]) -> "_Plan":
        """Writes the rows to a temporary file and returns the plan of that file, which lives as long."""
        directory = Scratch()
        path = os.path.join(directory.name, "rows.parquet")
        if is_run:
            pull(names[0], output=path, **options)
        else:
            convert(names, output=path, **options)
        plan = cls([path], False, {"env": options["env"]} if "env" in options else {})
        plan._directory = directory
        return plan

    def _described_or_not(self) -> Optional[Dict[str, Any]]:
        try:
            return self._for_types(self._described)
        except BadDataError:
            # Such as a column without a counterpart, which a step drops.
            if options_of.steps_of(self._options):
                return None
            raise

    def _for_types(self, read: Callable[[Dict[str, Any]], _Types]) -> _Types:
        """Calls `read` with the options. NaN and infinities in the first rows do not matter for types."""
        try:
            return read(self._options)
        except BadDataError as error:
            if "in_null" in self._options or "--in-null NaN" not in (error.hint or ""):
                raise
            return read({**self._options, "in_null": ["NaN", "inf", "-inf"]})

    def _types(self, options: Dict[str, Any]) -> Dict[str, Any]:
        # Types that no file holds are those of the first records, so that these must be read.
        steps = ["--limit=0"] if self._is_held and "sql" not in options else []
        with self._open(steps, options) as reader:
            return schema_of(reader)

    def _described(self, options: Dict[str, Any]) -> Dict[str, Any]:
        """The columns and types of the source, as a schema file."""
        chosen = {name: value for name, value in options.items() if name in _SCHEMA_OPTIONS}
        names = [f"./{name}" if name.startswith("-") else name for name in self._names]
        arguments = ["schema", *names, "--format=json", "--color=never", *options_of.to_arguments(chosen)]
        found: Dict[str, Any] = json.loads(output_of(arguments, env=options_of.environment(self._options)))
        return found

    def _open(self, steps: Sequence[str], options: Mapping[str, Any]) -> Any:
        options = dict(options)
        options["args"] = [*(options.get("args") or ()), *steps]
        if self._is_run:
            return pull(self._names[0], **options)
        # The schema file holds the types, so no second reading is needed to infer them.
        if "schema" in options:
            options.setdefault("schema_from", "auto")
        return convert(self._names, **options)

    def frames(
        self,
        with_columns: Optional[List[str]],
        predicate: Optional["polars.Expr"],
        n_rows: Optional[int],
        batch_size: Optional[int],
    ) -> Iterator["polars.DataFrame"]:
        """Yields the rows for polars: at most `n_rows`, of these the ones that `predicate` keeps, in these columns."""
        steps: List[str] = []
        # Arguments are not understood here, and may be steps that nothing can follow.
        takes_steps = "sql" not in self._options and not self._options.get("args")
        # Other first records may have other types.
        takes_limit = takes_steps and self._is_held
        if takes_steps:
            if n_rows is not None and takes_limit:
                steps.append(f"--limit={n_rows}")
            where = None if predicate is None else translate(predicate, self._kinds)
            if where is not None and _is_argument(where):
                steps.append(f"--where={where}")
            if with_columns is not None:
                needed = list(
                    dict.fromkeys([*with_columns, *(predicate.meta.root_names() if predicate is not None else [])])
                )
                # A row has at least one column.
                columns = ",".join(options_of.quote(name) for name in needed or list(self.schema)[:1])
                if _is_argument(columns):
                    steps.append(f"--select={columns}")
        left = n_rows
        with self._open(steps, self._options) as reader:
            for batch in reader:
                frame = frame_of(batch)
                if left is not None:
                    frame, left = frame.head(left), left - frame.height
                frame = self._with_types(frame)
                if predicate is not None:
                    frame = frame.filter(predicate)
                if with_columns is not None:
                    frame = frame.select(with_columns)
                yield frame
                if left is not None and left <= 0 and not takes_limit:
                    # Otherwise drawoff ends at the limit, and its exit code is awaited.
                    return

    def _with_types(self, frame: "polars.DataFrame") -> "polars.DataFrame":
        wrong = {name: self.schema.get(name) for name, dtype in frame.schema.items() if dtype != self.schema.get(name)}
        if not wrong:
            return frame
        name, dtype = next(iter(wrong.items()))
        raise Error(
            f"column `{name}` is {frame.schema[name]} and was {dtype} when it was scanned",
            hint="scan again: the source has changed; or use `whole=True`",
        )


def _is_argument(text: str) -> bool:
    """True if the system takes this text as an argument: without NUL, and not longer than 128 KiB with the flag."""
    return "\0" not in text and len(text.encode()) <= _MOST_BYTES


def _is_run(name: str) -> bool:
    if os.path.exists(name):
        return False
    return name == "last" or _RUN.fullmatch(name) is not None or re.fullmatch(r"[0-9a-f]{4,}[0-9a-f-]*", name) is not None


def _whole_id(name: str, options: Mapping[str, Any]) -> str:
    """The id of a run that may be given by its beginning: all scans of a LazyFrame read the same run."""
    if _RUN.fullmatch(name):
        return name
    connection = {key: value for key, value in options.items() if key in ConnectionOptions.__annotations__}
    ids: List[str] = [
        run["job_id"] for run in runs(workflow=options.get("workflow"), status=options.get("status"), **connection)
    ]
    found = ids[:1] if name == "last" else [run for run in ids if run.startswith(name.lower())]
    if not found:
        raise NotFoundError(f"there is no run `{name}`", hint="list runs with `drawoff runs ls`, or `drawoff.runs()`")
    if len(found) > 1:
        raise UsageError(f"several runs begin with `{name}`: {', '.join(found[:5])}", hint="use more of the id")
    return found[0]


def _is_inferred(described: Mapping[str, Any]) -> bool:
    """True if the types come from records; those of Parquet and Arrow are in the files, and no record set them."""
    return any("set_by" in field or field.get("from") != "full" for field in described["fields"])
