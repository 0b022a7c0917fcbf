//! The errors of an execution, typed so that callers decide by kind and never by text. No message names a command-line
//! flag: the command line adds flags in its hints, and the local service shows the same messages to users without
//! flags.

use std::path::PathBuf;

use crate::format::csv::CsvProperty;
use crate::format::detect::Foreign;
use crate::format::encoding::NotInEncoding;
use crate::format::{Reject, arrow_ipc, parquet};
use crate::position::{FieldPath, Position};
use crate::source::BoxedError;
use crate::text::error_chain;
use crate::transform::{self, RESULTS, SqlError, expr};
use crate::warehouse::LoadError;

/// The reason for which an execution ended without its outputs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The plan is invalid for its sources, steps or outputs; nothing was written.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// An expression of a step does not fit the columns; nothing was written.
    #[error(transparent)]
    Expression(#[from] expr::Error),
    /// A source could not be opened or read. A download's own error is inside `cause`.
    #[error("cannot read {name}")]
    Read {
        /// The name of the source.
        name: String,
        /// The error of the file, the stream or the download.
        #[source]
        cause: std::io::Error,
    },
    /// The contents of a source are of no format that is read.
    #[error("cannot read {name}: it is {}", found.what)]
    Foreign {
        /// The name of the source.
        name: String,
        /// The kind of contents.
        found: Foreign,
    },
    /// The header of a CSV source cannot be used. Without it there are no columns, whatever the policy for bad records.
    #[error("{position}: {reject}")]
    BadHeader {
        /// The position of the header.
        position: Position,
        /// The reason.
        reject: Reject,
        /// An imperative that makes a header of it.
        hint: &'static str,
        /// True if it has more columns than the limit.
        is_too_wide: bool,
    },
    /// The bytes of a source are not text in its encoding.
    #[error("cannot decode {name}")]
    Encoding {
        /// The name of the source.
        name: String,
        /// The encoding and the place.
        #[source]
        cause: NotInEncoding,
    },
    /// The compressed stream of a source is truncated or damaged, or expands beyond the limit.
    #[error("cannot decompress {name}")]
    Damaged {
        /// The name of the source.
        name: String,
        /// The decompressor's own error.
        #[source]
        cause: std::io::Error,
    },
    /// A download ended, and neither a length nor an end marker proves that it is complete.
    #[error("{name} may be truncated: the response has neither a length nor an end marker")]
    OpenEnd {
        /// The name of the source.
        name: String,
    },
    /// The last line of a download has no line end and cannot be decoded: the file is truncated.
    #[error("{position}: the last line is truncated: {reject}")]
    LastLine {
        /// The position of the line.
        position: Position,
        /// The reason of the decoder.
        reject: Reject,
    },
    /// A record was rejected under [`OnBadRecord::Fail`](super::OnBadRecord::Fail).
    #[error("{position}: {reject}")]
    BadRecord {
        /// The position of the record.
        position: Position,
        /// The field and the reason for the rejection.
        reject: Reject,
    },
    /// More records were rejected than the plan allows; this was the first beyond the limit.
    #[error("{position}: {reject} (more than {limit} rejected records)")]
    TooManyBadRecords {
        /// The position of the record.
        position: Position,
        /// The field and the reason for the rejection.
        reject: Reject,
        /// The plan's limit, in records.
        limit: u64,
    },
    /// A column appeared or widened, and an output or a policy forbids it.
    #[error("{position}: {change}")]
    Schema {
        /// The first record that shows the change.
        position: Position,
        /// The change, and the reason for which the schema cannot follow it.
        change: SchemaChange,
    },
    /// The query is invalid for the columns, whatever the rows.
    #[error("cannot run the query: {0}")]
    Query(String),
    /// The query failed at a value, such as a division by zero.
    #[error("cannot run the query: {message}")]
    QueryValue {
        /// Message, without values of the data.
        message: String,
        /// Imperative that helps against this kind of failure.
        hint: Option<&'static str>,
    },
    /// The query needs more memory than its limit.
    #[error("cannot run the query: {0}")]
    QueryMemory(String),
    /// A table of the query cannot be read.
    #[error("cannot read the table `{name}`: {cause}")]
    Table {
        /// The table's name in the query.
        name: String,
        /// The error of its file, as text.
        cause: String,
    },
    /// A step failed on rows.
    #[error(transparent)]
    Step(transform::Error),
    /// The values of the partition columns do not make usable directory names.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// The output's format cannot hold the rows.
    #[error("{0}")]
    Unencodable(String),
    /// An output could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The final path of the output, or the name of a stream.
        path: PathBuf,
        /// The error of the file, the pipe or the store.
        #[source]
        cause: std::io::Error,
    },
    /// A load into a table failed; its rows were rolled back.
    #[error(transparent)]
    Load(LoadError),
    /// The rows of a source are not as many as the API's `row_count`.
    #[error("{name}: {found} rows were read, but the API's `row_count` is {expected}")]
    RowCount {
        /// The name of the source.
        name: String,
        /// Rows that were read.
        found: u64,
        /// Rows that the API announced.
        expected: u64,
    },
    /// The owner cancelled the execution, for example on an interrupt.
    #[error("cancelled before the end")]
    Cancelled,
    /// A bug in drawoff, such as a thread that panicked.
    #[error("internal error: {0}")]
    Bug(String),
}

/// The reason for which a plan is invalid.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The list of outputs is empty.
    #[error("no output is specified")]
    NoOutput,
    /// Several outputs go to standard output.
    #[error("only one output can go to standard output")]
    TwoStreams,
    /// Look-up steps with an output of typed columns.
    #[error("look-up steps need a text output, such as CSV or NDJSON")]
    LookupNeedsText,
    /// An extra column for unknown keys, with a JSON output, which writes every key.
    #[error("an extra column applies only to CSV, Parquet and Arrow outputs; a JSON output keeps every key")]
    ExtraColumnOfJson,
    /// The input has a column of the extra column's name.
    #[error("the extra column cannot be named `{0}`: the input has a column of that name")]
    ExtraColumnTaken(String),
    /// The schema is to be inferred from all records, and the sources can be read only once.
    #[error("cannot infer the schema from all records: only files can be read twice")]
    NotRereadable,
    /// More columns than [`Limits::max_columns`](super::Limits::max_columns).
    #[error("more than {0} columns: the keys of the records look like data")]
    TooManyColumns(usize),
    /// The records do not fit the enforced schema.
    #[error(transparent)]
    Contract(#[from] BrokenContract),
    /// The enforced schema has a decimal with a scale, and a source is JSON.
    #[error(
        "the schema has type {ty} for column `{path}`, which JSON records do not have; their numbers are float, or json with all digits"
    )]
    DecimalOfJson {
        /// The column.
        path: FieldPath,
        /// Its type.
        ty: String,
    },
    /// A partition column or a sort column does not exist.
    #[error("{purpose}: there is no column `{name}` ({})", known_names(known))]
    NoColumn {
        /// The option that names the column.
        purpose: ColumnPurpose,
        /// The name that matches no column.
        name: String,
        /// The columns after the steps.
        known: Vec<String>,
    },
    /// CSV and JSON sources in one execution: their types are inferred by different rules.
    #[error("{0}: cannot read CSV and JSON sources in one execution: their types are inferred by different rules")]
    MixedSources(String),
    /// Parquet or Arrow beside CSV or JSON in one execution.
    #[error(
        "{0}: cannot read Parquet or Arrow together with CSV or JSON in one execution: their types are given, and those of text are inferred"
    )]
    MixedColumnar(String),
    /// A Parquet or Arrow source with other columns than those known from the start.
    #[error("{name}: the column `{column}` has another type than in the columns known from the start")]
    UnlikeColumns {
        /// The name of the source.
        name: String,
        /// The column.
        column: String,
    },
    /// A column that both the records and the names of directories have.
    #[error("{name}: the column `{column}` is in its records and in the names of its directories")]
    ColumnOfDirectory {
        /// The name of the source.
        name: String,
        /// The column.
        column: String,
    },
    /// A value of a directory name that is not of the type of the explicit schema.
    #[error("{name}: the value of `{column}` in the names of its directories is not of the type {ty} of the schema")]
    TypeOfDirectory {
        /// The name of the source.
        name: String,
        /// The column.
        column: String,
        /// The type.
        ty: String,
    },
    /// A column of directory names that the explicit schema does not have, under a policy that allows no further ones.
    #[error("the schema has no column `{0}`, which the names of directories have")]
    DirectoryOutsideSchema(String),
    /// An encoding of text is specified for a Parquet or Arrow source.
    #[error("{0} is not text, so an encoding cannot apply to it")]
    NotText(String),
    /// A property of CSV is specified for a source of another format.
    #[error("{name} is not CSV, so {property} cannot apply to it")]
    NotCsv {
        /// The name of the source.
        name: String,
        /// The property.
        property: CsvProperty,
    },
    /// A CSV source that ends before the lines or records in front of its header do.
    #[error("{0} ends before its header: it has fewer lines or records than are to be skipped")]
    NoHeader(String),
    /// The header of a CSV source is longer than the record limit.
    #[error("{name}: the CSV header is longer than the maximum record size of {max_record_bytes} bytes")]
    HeaderTooLong {
        /// The name of the source.
        name: String,
        /// The limit, in bytes.
        max_record_bytes: usize,
    },
    /// Rows are to be appended to a CSV file with other columns.
    #[error("cannot append to {}: its header differs from the header of the new rows, {expected}", path.display())]
    HeaderDiffers {
        /// The file to append to.
        path: PathBuf,
        /// The header of the new rows, as CSV.
        expected: String,
    },
    /// Rows are to be appended to a CSV file that ends within quotes.
    #[error("cannot append to {}: the quote that line {line} opens is not closed", path.display())]
    OpenQuote {
        /// The file to append to.
        path: PathBuf,
        /// Line of the quote, from 1.
        line: u64,
    },
    /// Steps follow the query.
    #[error("the query must be the last step; move later steps into the query")]
    QueryNotLast,
    /// The steps contain several queries.
    #[error("only one query is allowed; nest the other as a subquery")]
    TwoQueries,
    /// The query does not read the input rows.
    #[error("the query does not read `{RESULTS}`, the table of the input rows")]
    QueryWithoutResults,
    /// The query reads an unknown table.
    #[error("there is no table `{name}` (the query can read {})", known_tables(known))]
    NoTable {
        /// The name in the query.
        name: String,
        /// The tables besides the results.
        known: Vec<String>,
    },
    /// Two tables have the same name.
    #[error("duplicate table `{0}`")]
    TableTwice(String),
}

/// The option of a plan that names a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnPurpose {
    /// The values of the column choose the directory of a row.
    PartitionBy,
    /// The rows are claimed to be sorted by the column.
    SortHint,
}

impl std::fmt::Display for ColumnPurpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ColumnPurpose::PartitionBy => "cannot partition the output",
            ColumnPurpose::SortHint => "cannot apply the sort hint",
        })
    }
}

fn known_names(known: &[String]) -> String {
    if known.is_empty() { "the rows have no columns".to_owned() } else { format!("known: {}", known.join(", ")) }
}

fn known_tables(known: &[String]) -> String {
    let others = known.iter().map(|name| format!(", `{name}`"));
    std::iter::once(format!("`{RESULTS}`")).chain(others).collect()
}

/// A change of the schema that ends an execution.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaChange {
    /// A value or a key that does not fit the columns.
    #[error("{what}; {why}")]
    Value {
        /// The change, by the decoder: ``column `zip`: expected int, found text``.
        what: String,
        /// The reason for which the columns cannot widen.
        why: FixedSchema,
    },
    /// Columns that different threads widened independently and whose join is not allowed.
    #[error("cannot merge the columns of the records read so far: {0}")]
    Apart(FixedSchema),
    /// The records do not fit the enforced schema.
    #[error(transparent)]
    Contract(#[from] BrokenContract),
    /// The columns after the steps differ from those that an output was started with.
    #[error("the columns after the steps changed; {}", FixedSchema::Output)]
    StepColumns,
    /// A column that a step flattened from objects, where later records have other values.
    #[error("column `{0}` was flattened from objects, but later records have other values there")]
    ColumnGone(String),
    /// A record that does not fit a table, under [`SchemaPolicy::Fail`](super::SchemaPolicy::Fail).
    #[error("{0}; the record does not fit the table, and the schema policy is `fail`")]
    Misfit(Reject),
    /// A derived column whose type changed after rows were written, other than by widening.
    #[error("the type of column `{0}` changed after rows were written")]
    TypeChanged(String),
}

impl SchemaChange {
    /// True if an output that can be rewritten, or a schema inferred from all records, would allow the change.
    pub fn can_be_followed(&self) -> bool {
        let never = |why: &FixedSchema| {
            matches!(why, FixedSchema::Contract(_) | FixedSchema::TooManyColumns(_) | FixedSchema::Frozen)
        };
        match self {
            SchemaChange::Value { why, .. } => !never(why),
            SchemaChange::Contract(_) => false,
            _ => true,
        }
    }

    /// True if CSV cells that were written as values would have to become text again.
    pub fn loses_spelling(&self) -> bool {
        let (SchemaChange::Value { why, .. } | SchemaChange::Apart(why)) = self else { return false };
        matches!(why, FixedSchema::SpellingLost | FixedSchema::NarrowerType)
    }
}

/// The reason for which a schema cannot follow a change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FixedSchema {
    /// The change breaks the enforced schema.
    #[error(transparent)]
    Contract(BrokenContract),
    /// The plan's policy is [`SchemaPolicy::Fail`](super::SchemaPolicy::Fail).
    #[error("the schema changed, and the schema policy is `fail`")]
    Policy,
    /// The plan's policy is [`SchemaPolicy::Freeze`](super::SchemaPolicy::Freeze), and the rows are those of a Parquet or
    /// Arrow source, which are not rejected one by one.
    #[error("the schema policy is `freeze`, and rows of Parquet and Arrow are not rejected one by one")]
    Frozen,
    /// The change exceeds [`Limits::max_columns`](super::Limits::max_columns).
    #[error("more than {0} columns")]
    TooManyColumns(usize),
    /// An output's columns are fixed by its first rows, which cannot be rewritten.
    #[error("the output cannot be rewritten with changed columns")]
    Output,
    /// Values of a text output are typed, and some are written already.
    #[error("earlier values of this column were written with a narrower type")]
    NarrowerType,
    /// A CSV column would become text, and the original text of its earlier cells is unknown.
    #[error("the original text of the cells written before is no longer known")]
    SpellingLost,
}

/// A column that breaks the enforced schema as a whole: its objects have together more keys than a struct can hold, though
/// each record fits; or it is one of a Parquet or Arrow source and has another type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokenContract {
    /// The path of the top-level column.
    pub path: FieldPath,
    /// The type that the column would have with the values of the source; `None` if its objects have too many keys.
    pub other: Option<String>,
}

impl std::fmt::Display for BrokenContract {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = &self.path;
        match &self.other {
            Some(other) => write!(
                f,
                "the column `{path}` of a source would make the type {other}, not the one in the schema file; \
                 cast it, or change the schema file"
            ),
            None => write!(
                f,
                "the objects in `{path}` have more keys than a struct can hold; \
                 declare it as `map` or `json` in the schema file"
            ),
        }
    }
}

impl std::error::Error for BrokenContract {}

/// The reason for which the values of the partition columns cannot name directories.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// A value needs a directory name beyond the limit of file systems.
    #[error("a value of partition column `{column}` needs a directory name of {bytes} bytes; the maximum is {most}")]
    LongName {
        /// The partition column.
        column: String,
        /// Length of the name in bytes.
        bytes: usize,
        /// The limit of common file systems, in bytes.
        most: usize,
    },
    /// The partition columns have more distinct values than the limit, which this is.
    #[error("the partition columns would create more than {0} directories: their values look like data")]
    TooMany(usize),
}

impl Error {
    /// Returns a remedy that every caller can apply, in a sentence without a flag. `None` if there is no such remedy.
    /// An expression's own hint is part of its error.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Error::QueryValue { hint, .. } => *hint,
            Error::Foreign { found, .. } => Some(found.hint),
            Error::BadHeader { hint, .. } => Some(hint),
            Error::Damaged { .. } => {
                Some("check the file at its origin: it is truncated or damaged; none of its rows were kept")
            }
            Error::Partition(PartitionError::LongName { .. }) => {
                Some("divide the rows by another column, or by a short text made from this one; nothing was written")
            }
            _ => None,
        }
    }

    /// Wraps an I/O error of the output at `path`.
    pub(super) fn write(path: &std::path::Path, cause: std::io::Error) -> Error {
        Error::Write { path: path.to_owned(), cause }
    }

    /// Converts an error of a query's rows: the query was planned, and failed at a value or at its memory limit.
    pub(super) fn of_query_rows(error: BoxedError) -> Error {
        // Rows of files of drawoff's own have errors of the engine already.
        let error = match error.downcast::<Error>() {
            Ok(error) => return *error,
            Err(other) => other,
        };
        match error.downcast::<SqlError>() {
            Ok(error) if error.exhausted => Error::QueryMemory(error.message),
            Ok(error) => Error::QueryValue { message: error.message, hint: error.hint },
            Err(other) => Error::QueryValue { message: other.to_string(), hint: None },
        }
    }

    /// True if the reader of a pipe closed it.
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(self, Error::Write { cause, .. } if cause.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

impl From<LoadError> for Error {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Cancelled => Error::Cancelled,
            LoadError::Bug(what) => Error::Bug(what),
            other => Error::Load(other),
        }
    }
}

impl From<SqlError> for Error {
    fn from(error: SqlError) -> Self {
        match error.exhausted {
            true => Error::QueryMemory(error.message),
            false => Error::Query(error.message),
        }
    }
}

impl From<transform::Error> for Error {
    fn from(error: transform::Error) -> Self {
        match error {
            transform::Error::Sql(error) if error.exhausted => Error::QueryMemory(error.message),
            transform::Error::Sql(error) => Error::QueryValue { message: error.message, hint: error.hint },
            other => Error::Step(other),
        }
    }
}

/// An encoder that fails on rows of its own columns is a bug; rows without any column are not.
impl From<parquet::Error> for Error {
    fn from(error: parquet::Error) -> Self {
        match error {
            parquet::Error::NoColumns { .. } => Error::Unencodable(error.to_string()),
            other => Error::Bug(format!("cannot encode a row group: {}", error_chain(&other))),
        }
    }
}

impl From<arrow_ipc::Error> for Error {
    fn from(error: arrow_ipc::Error) -> Self {
        Error::Unencodable(error_chain(&error))
    }
}
