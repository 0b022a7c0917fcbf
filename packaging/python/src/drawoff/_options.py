"""Options of the calls, which are the flags of the commands: `on_bad_record="skip"` is `--on-bad-record skip`."""

from __future__ import annotations

import difflib
import os
from typing import Any, Dict, FrozenSet, Iterable, List, Mapping, Sequence, Tuple, TypedDict, Union

Path = Union[str, "os.PathLike[str]"]
Columns = Union[str, Sequence[str]]
Pairs = Union[str, Mapping[str, str], Sequence[str]]


class ConnectionOptions(TypedDict, total=False):
    """The API and the settings; each call takes them."""

    #: Base URL of the API.
    endpoint: str
    #: API key. It goes to the command by the environment, never by the command line.
    api_key: str
    #: File that contains the API key, readable by its owner only.
    api_key_file: Path
    #: Shell command that prints the API key.
    api_key_command: str
    #: Directory of the ledgers of runs and downloads.
    state_dir: Path
    #: Configuration file.
    config: Path
    #: Further hosts that downloads may send the API key to.
    send_key_to: Columns
    #: Send the key also to an http:// endpoint that is not on this machine.
    insecure_http: bool
    #: Append a line for each request and each wait to this file, without secrets.
    log: Path
    #: Have these lines among the messages instead.
    verbose: bool
    #: Further variables of the command's environment.
    env: Mapping[str, str]
    #: Further arguments of the command, as they would be typed.
    args: Sequence[str]


class StepOptions(TypedDict, total=False):
    """Steps between the source and the rows. They run in the order in which they are given."""

    #: Keep the rows for which this is true: `"score > 0.8 and hq.country = 'NO'"`.
    where: Union[str, Sequence[str]]
    #: Add or replace columns: `{"domain": "lower(split_part(email, '@', 2))"}`; `--with` of the command.
    with_: Pairs
    #: Keep these columns, in this order.
    select: Columns
    #: Drop these columns.
    drop: Columns
    #: Rename columns: `{"old": "new"}`.
    rename: Pairs
    #: Cast columns: `{"founded": "date"}`.
    cast: Pairs
    #: Flatten objects into columns, named `hq.city`, or with this text between the parts.
    flatten: Union[bool, str]
    #: Make one row of each element of the lists in a column.
    explode: str
    #: Keep the first row of each distinct value of these columns.
    dedupe: Columns
    #: Write the objects and lists in these columns as JSON text.
    json: Columns
    #: Query the rows, which are the table `results`; must be the last step.
    sql: str
    #: Keep the first N rows and read no further.
    limit: int
    #: Keep about this fraction of the rows.
    sample: float
    #: Insert the steps of a TOML or JSON file.
    steps: Path
    #: Seed of `sample`.
    seed: int
    #: Values that a cast or an expression cannot compute: `"reject"` or `"null"`.
    on_bad_cast: str
    #: Further tables for `sql`: `{"name": "file.parquet"}`.
    table: Pairs


class RecordOptions(TypedDict, total=False):
    """Records, columns and limits."""

    #: Bad records: `"fail"`, `"skip"` or `"limit=N"`.
    on_bad_record: str
    #: File for rejected records.
    rejects: Path
    #: Replace invalid UTF-8 with U+FFFD and count it, instead of rejecting the record.
    lossy_utf8: bool
    #: Schema file whose types are enforced.
    schema: Path
    #: Column for the keys without a column, as JSON text.
    extra_column: str
    #: Records to infer columns and types from: `"auto"`, `"sample"` or `"full"`.
    schema_from: str
    #: Policy for a new column or a wider type after that: `"evolve"`, `"freeze"` or `"fail"`.
    schema_policy: str
    #: Reject records that are longer.
    max_record_bytes: Union[int, str]
    #: Refuse records with more columns.
    max_columns: int
    #: Largest ratio of decompressed to compressed bytes.
    max_expansion: int
    #: Memory for records in flight, such as `"256MiB"`.
    max_memory: Union[int, str]
    #: File for all that the command did, as one JSON object, also if it fails: see docs/result-file.md.
    result: Path
    #: Downloads at a time.
    jobs: int
    #: Reconnect a download that stays below this rate.
    min_speed: Union[int, str]


class OutputOptions(TypedDict, total=False):
    """Outputs; they need `output`."""

    #: Format of the output, such as `"parquet"`; the default is that of its name.
    to: str
    no_clobber: bool
    append: bool
    max_file_rows: int
    max_file_bytes: Union[int, str]
    partition_by: Columns
    sort_hint: Columns
    codec: str
    delimiter: str
    null: str
    crlf: bool
    bom: bool
    excel: Union[bool, str]
    #: Table to load into, with a URL such as `postgres://…` as output.
    into: str
    #: Warehouse that copies the Parquet files of `output` into the table, such as `"snowflake://…"`.
    copy_into: str
    load: str
    key: Columns
    load_column: str
    load_key: str
    commit_every: int
    nul: str


class ResultOptions(TypedDict, total=False):
    """Results of runs."""

    #: Format in which to download the results: `"ndjson"`, `"csv"` or `"json"`.
    format: str
    #: Results of this block instead of the final one.
    block: int
    #: One file per block in the directory `output`.
    all_blocks: bool
    #: Column with the id of the run.
    run_column: str
    #: Stop waiting after this time, such as `"30m"`.
    deadline: str
    #: Cancel the run on Ctrl-C, and when a reader is closed before its end while the run is active.
    cancel_on_interrupt: bool
    #: Keep no ledger and use none.
    no_state: bool


class AgainOption(TypedDict, total=False):
    """Outputs that are there already."""

    #: Write everything again, also outputs that are complete, or replace the rows of an earlier load.
    again: bool


class PullOptions(ConnectionOptions, StepOptions, RecordOptions, OutputOptions, ResultOptions, AgainOption, total=False):
    """Options of `drawoff.pull`."""

    #: Runs of this workflow, by id or exact name.
    workflow: str
    status: str
    since: str
    until: str
    #: `"skip"` leaves out those of several runs that did not complete.
    on_failed_run: str


class RunOptions(ConnectionOptions, StepOptions, RecordOptions, OutputOptions, ResultOptions, total=False):
    """Options of `drawoff.run`."""

    #: Format of an input that has no name: `"ndjson"`, `"csv"` or `"json"`; `--from` of the command.
    from_: str
    #: Start another run, even if one of the same workflow and input is active.
    new_run: bool
    #: Name of this start: the same name is the same run.
    once: str
    rows_per_run: int
    bytes_per_run: Union[int, str]
    runs_at_once: int
    on_failed_part: str
    retry_failed: bool
    #: Run on a service inside the process of the command, without an account.
    local: bool
    #: Reference tables of `local`: `{"company_enrichment": "facts.ndjson:domain"}`.
    enrich: Pairs


class ConvertOptions(ConnectionOptions, StepOptions, RecordOptions, OutputOptions, AgainOption, total=False):
    """Options of `drawoff.convert`."""

    #: Format of the sources; `--from` of the command.
    from_: str
    in_encoding: str
    in_delimiter: str
    in_quote: str
    in_skip_lines: int
    in_header: Union[int, str]
    in_null: Columns
    in_decimal: str
    in_thousands: str


class ServeOptions(TypedDict, total=False):
    """Options of `drawoff.serve`."""

    data: Path
    enrich: Pairs
    #: Definition files of workflows that are there from the start.
    workflow: Union[Path, Sequence[Path]]
    #: Files that are uploads from the start.
    upload: Union[Path, Sequence[Path]]
    #: Tar archive for the state when the service stops.
    export_on_exit: Path
    #: Hand requests on to the hosted service at this URL.
    proxy: str
    #: Directory that keeps each request with its response.
    record: Path
    #: Directory of `record` that answers requests instead.
    replay: Path
    #: Origins whose web pages may use the API.
    allow_origin: Union[str, Sequence[str]]
    #: Limit clients as the hosted service does; `rate_limit` and the others then have its values.
    like_hosted: bool
    #: Stop when Python ends, also if it is killed.
    exit_with_parent: bool
    link_life: str
    rate_limit: int
    bulk_limit: int
    max_upload: Union[int, str]
    max_upload_rows: int
    max_runs: int
    max_memory: Union[int, str]
    step_memory: Union[int, str]
    stop_grace: str
    retain: Union[int, str]
    fault: Columns
    scenario: Path
    fault_seed: int
    admin: bool
    log: Path
    verbose: bool
    env: Mapping[str, str]
    args: Sequence[str]


# Flags that are repeated for each element of a list or mapping; those of other lists are joined by commas.
_REPEATED = frozenset({"where", "with_", "table", "enrich", "fault", "send_key_to", "workflow", "upload", "allow_origin"})
# What stands between key and value of a mapping; otherwise `=`.
_BETWEEN = {"cast": ":"}
# Flags whose value is optional and stands behind a `=`.
_ATTACHED = frozenset({"flatten", "excel"})
# Mappings whose keys are columns.
_OF_COLUMNS = frozenset({"rename", "cast", "with_"})
# Options that are no flags.
_OWN = frozenset({"env", "args", "api_key"})


def known(*kinds: Any) -> FrozenSet[str]:
    """Returns the names of the options of these types."""
    return frozenset(name for kind in kinds for name in kind.__annotations__)


def flag(name: str) -> str:
    """Returns the flag of an option: `from_` is `--from`."""
    return "--" + name.rstrip("_").replace("_", "-")


def check(options: Mapping[str, Any], allowed: Iterable[str], call: str) -> None:
    """Raises `TypeError` for options that the call does not have, with the nearest name that it has."""
    allowed = sorted(allowed)
    for name in options:
        if name not in allowed:
            near = difflib.get_close_matches(name, allowed, n=1) or [other for other in allowed if other == name + "_"]
            hint = f"; did you mean `{near[0]}`?" if near else "; pass other flags of the command with `args=[…]`"
            raise TypeError(f"{call}() has no option `{name}`{hint}")


def to_arguments(options: Mapping[str, Any]) -> List[str]:
    """Returns the command-line arguments for options, in their order. None and False mean that the flag is not given."""
    arguments: List[str] = []
    for name, value in options.items():
        if name in _OWN or value is None or value is False:
            continue
        if value is True:
            arguments.append(flag(name))
        elif name in _ATTACHED:
            arguments.append(f"{flag(name)}={value}")
        else:
            # A value that begins with a dash is no flag in this form.
            arguments += [f"{flag(name)}={text}" for text in _texts(name, value)]
    return arguments + [os.fspath(argument) for argument in options.get("args") or ()]


def _texts(name: str, value: Any) -> List[str]:
    if isinstance(value, Mapping):
        between = _BETWEEN.get(name, "=")
        parts = [f"{_key(name, key)}{between}{_text(item)}" for key, item in value.items()]
    elif isinstance(value, (list, tuple)):
        parts = [_text(item) for item in value]
    else:
        return [_text(value)]
    return parts if name in _REPEATED else [",".join(parts)]


def _key(name: str, key: Any) -> str:
    # A name of a column with such a symbol can only be in double quotes; a path such as `hq.city` is written as it is.
    text = str(key)
    is_column = name in _OF_COLUMNS and not text.startswith('"')
    return quote(text) if is_column and any(symbol in text for symbol in "=:,") else text


def _text(value: Any) -> str:
    # Numbers of numpy and of the scalars of other libraries.
    if not isinstance(value, (str, bytes)) and hasattr(value, "item") and hasattr(value, "dtype") and not getattr(value, "shape", ()):
        value = value.item()
    if isinstance(value, bytes) or not isinstance(value, (str, int, float, os.PathLike)):
        raise TypeError(f"expected text, a number or a path, found {type(value).__name__}")
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def environment(options: Mapping[str, Any]) -> Dict[str, str]:
    """Returns the environment of the command."""
    env = {**os.environ, **(options.get("env") or {})}
    if options.get("api_key") is not None:
        env["SIXTYFOUR_API_KEY"] = str(options["api_key"])
    return env


def quote(name: str) -> str:
    """Returns a column name as it is written in options: `quote("order id")` is `"order id"` in double quotes.

    Names of letters, digits and underscores need none. In `select`, `hq.city` is a field of the object `hq`, and
    `quote("hq.city")` is the column of that whole name.
    """
    return '"' + name.replace('"', '""') + '"'


def steps_of(options: Mapping[str, Any]) -> Tuple[str, ...]:
    """Returns the names of the options that are steps."""
    return tuple(name for name in options if name in StepOptions.__annotations__)
