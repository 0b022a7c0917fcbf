//! The errors of an execution, typed so that callers decide by kind and never by text. No message names a
//! flag: the command line adds those in its hints, and the local service shows the same messages to people who typed none.

use std::path::PathBuf;

use crate::column::MAX_COLUMNS;
use crate::format::{Reject, arrow_ipc, parquet};
use crate::position::{FieldPath, Position};
use crate::source::BoxedError;
use crate::text::error_chain;
use crate::transform::{self, RESULTS, SqlError, expr};

/// An execution ended without its output.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The plan cannot be carried out; nothing was written.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A step does not go with the columns; nothing was written.
    #[error(transparent)]
    Expression(#[from] expr::Error),
    /// A source could not be opened or read. A download's own error is inside `cause`.
    #[error("cannot read {name}")]
    Read {
        /// The source.
        name: String,
        /// The cause.
        #[source]
        cause: std::io::Error,
    },
    /// The compression of a source is truncated, damaged, or grows beyond measure.
    #[error("{name} is not whole")]
    Damaged {
        /// The source.
        name: String,
        /// The decompressor's own error.
        #[source]
        cause: std::io::Error,
    },
    /// A download ended where nothing says that it should.
    #[error("{name} may be truncated: its server says neither how long it is nor where it ends")]
    OpenEnd {
        /// The source.
        name: String,
    },
    /// The last line of a download has no end and cannot be used: it is not the whole file.
    #[error("{position}: the last line is truncated: {reject}")]
    LastLine {
        /// The line.
        position: Position,
        /// The reason for which it cannot be used.
        reject: Reject,
    },
    /// A record could not be used and the plan says to fail.
    #[error("{position}: {reject}")]
    BadRecord {
        /// The record.
        position: Position,
        /// The reason for which it cannot be used.
        reject: Reject,
    },
    /// More records than the plan allows could not be used; this was the first beyond the limit.
    #[error("{position}: {reject} (more than {limit} such records)")]
    TooManyBadRecords {
        /// The record.
        position: Position,
        /// The reason for which it cannot be used.
        reject: Reject,
        /// The plan's limit.
        limit: u64,
    },
    /// A column appeared or widened where the output could not go back.
    #[error("{position}: {change}")]
    Schema {
        /// The first record that shows it.
        position: Position,
        /// The change, and why that is the end.
        change: SchemaChange,
    },
    /// The query cannot be carried out, whatever the rows.
    #[error("cannot run the query: {0}")]
    Query(String),
    /// The query met a value that it cannot use.
    #[error("cannot run the query: {0}")]
    QueryValue(String),
    /// The query needs more memory than it may have.
    #[error("cannot run the query: {0}")]
    QueryMemory(String),
    /// A table of the query cannot be read.
    #[error("cannot read the table `{name}`: {cause}")]
    Table {
        /// Its name.
        name: String,
        /// The cause.
        cause: String,
    },
    /// A step could not be applied to rows.
    #[error(transparent)]
    Step(transform::Error),
    /// The values of a column cannot divide the rows into directories.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// Rows that the output's format cannot hold.
    #[error("{0}")]
    Unencodable(String),
    /// An output could not be written.
    #[error("cannot write {path}")]
    Write {
        /// The output.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: std::io::Error,
    },
    /// Rows do not agree with what the API said.
    #[error("{name}: {found} rows arrived, but the API's row_count says {expected}")]
    RowCount {
        /// The source.
        name: String,
        /// Rows that arrived.
        found: u64,
        /// Rows that the API said.
        expected: u64,
    },
    /// Asked to stop.
    #[error("stopped before the end")]
    Cancelled,
    /// A bug in drawoff, such as a thread that panicked.
    #[error("internal error: {0}")]
    Bug(String),
}

/// A plan cannot be carried out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// There is no output.
    #[error("the plan has no output")]
    NoOutput,
    /// Several outputs go to standard output.
    #[error("only one output can go to standard output")]
    TwoStreams,
    /// Look-up steps with an output of typed columns.
    #[error("look-up steps need a text output")]
    LookupNeedsText,
    /// A column for all other keys, with an output that keeps every key where it is.
    #[error("an extra column is for CSV, Parquet and Arrow; JSON keeps every key where it is")]
    ExtraColumnOfJson,
    /// The input has a column of the extra column's name.
    #[error("the input has a column `{0}`; the extra column needs a name of its own")]
    ExtraColumnTaken(String),
    /// All records are to be read for the schema, and the sources can be read only once.
    #[error("reading everything for the schema needs files, which can be read twice")]
    NotRereadable,
    /// More columns than there may be.
    #[error("more than {MAX_COLUMNS} columns: the keys of the records look like data")]
    TooManyColumns,
    /// The records have no place in the enforced schema.
    #[error(transparent)]
    Contract(#[from] BrokenContract),
    /// An output is to be divided or said to be sorted by a column that there is not.
    #[error("{purpose}: there is no column `{name}` ({})", known_names(known))]
    NoColumn {
        /// The use that it was named for.
        purpose: ColumnPurpose,
        /// The name.
        name: String,
        /// The columns that there are.
        known: Vec<String>,
    },
    /// Sources of different rules for types.
    #[error("{0}: sources of CSV and of JSON have different rules for types and cannot be one sequence")]
    MixedSources(String),
    /// The header of a CSV source is longer than a record may be.
    #[error("{name}: the CSV header is longer than {max_record_bytes} bytes, the most that a record may have")]
    HeaderTooLong {
        /// The source.
        name: String,
        /// The limit.
        max_record_bytes: usize,
    },
    /// Rows are to be added to a CSV file with other columns.
    #[error("cannot add to {}: it begins with another header than the rows, which have {expected}", path.display())]
    HeaderDiffers {
        /// The file.
        path: PathBuf,
        /// The header of the rows to add.
        expected: String,
    },
    /// Steps follow the query.
    #[error("the query comes last; a step after it belongs inside the query")]
    QueryNotLast,
    /// There are several queries.
    #[error("there can be one query; a query can be put inside another")]
    TwoQueries,
    /// The query does not read the rows that come in.
    #[error("the query does not read `{RESULTS}`, the table of what comes in")]
    QueryWithoutResults,
    /// The query reads a table that there is not.
    #[error("there is no table `{name}` (the query can read {})", known_tables(known))]
    NoTable {
        /// Its name.
        name: String,
        /// The tables beside the results that there are.
        known: Vec<String>,
    },
    /// Two tables of one name.
    #[error("there are two tables `{0}`")]
    TableTwice(String),
}

/// The use that a plan names a column for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColumnPurpose {
    /// Its values choose the directory of a row.
    PartitionBy,
    /// Rows are said to be sorted by it.
    SortHint,
}

impl std::fmt::Display for ColumnPurpose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ColumnPurpose::PartitionBy => "cannot divide the output",
            ColumnPurpose::SortHint => "cannot mark rows as sorted",
        })
    }
}

fn known_names(known: &[String]) -> String {
    if known.is_empty() { "there is none".to_owned() } else { known.join(", ") }
}

fn known_tables(known: &[String]) -> String {
    let others = known.iter().map(|name| format!(", `{name}`"));
    std::iter::once(format!("`{RESULTS}`")).chain(others).collect()
}

/// A change of the schema that ends an execution.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaChange {
    /// A value or a key that the columns have no place for.
    #[error("{what}; {why}")]
    Value {
        /// The change, by the decoder: ``column `zip`: expected int, found text``.
        what: String,
        /// The reason for which the columns cannot follow.
        why: FixedSchema,
    },
    /// Columns that threads saw apart and that do not go together.
    #[error("the columns of what was read so far do not go together; {0}")]
    Apart(FixedSchema),
    /// The records have no place in the enforced schema.
    #[error(transparent)]
    Contract(#[from] BrokenContract),
    /// Steps make other columns than those that an output has.
    #[error("the columns that the steps make changed; {}", FixedSchema::Output)]
    StepColumns,
    /// A column that a step made of objects came from other values after that.
    #[error("the column `{0}` was made of objects; now there are other values in their place")]
    ColumnGone(String),
    /// A column that a step made turned out to be of another type.
    #[error("the values of the column `{0}` turned out to be of another type")]
    TypeChanged(String),
}

impl SchemaChange {
    /// True if another output, or a schema of all records, could follow it.
    pub fn can_be_followed(&self) -> bool {
        let never = |why: &FixedSchema| matches!(why, FixedSchema::Contract(_) | FixedSchema::TooManyColumns);
        match self {
            SchemaChange::Value { why, .. } => !never(why),
            SchemaChange::Contract(_) => false,
            _ => true,
        }
    }
}

/// The reason for which a schema cannot follow a change.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FixedSchema {
    /// The enforced schema would not hold any more.
    #[error(transparent)]
    Contract(BrokenContract),
    /// The plan wants it so.
    #[error("the schema changed, and the schema policy is `fail`")]
    Policy,
    /// There would be too many columns.
    #[error("more than {MAX_COLUMNS} columns")]
    TooManyColumns,
    /// Rows are out already.
    #[error("the output cannot go back to change its columns")]
    Output,
    /// Values of a text output are typed, and some are out already.
    #[error("values of this column were written with a narrower type")]
    NarrowerType,
    /// A column of CSV would become text, and it is not known how its cells were written.
    #[error("the spelling of what was written before is not known any more")]
    SpellingLost,
}

/// Objects whose keys are more than the enforced schema's struct takes, though each record fits it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the objects in `{path}` have more keys than a struct takes; the schema file has to say `map` or `json`")]
pub struct BrokenContract {
    /// The column.
    pub path: FieldPath,
}

/// Values cannot divide rows into directories.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartitionError {
    /// A value makes a name that is too long.
    #[error("a value of column `{column}` makes a directory name of {bytes} bytes, and {most} is the most")]
    LongName {
        /// The column.
        column: String,
        /// Bytes of the name.
        bytes: usize,
        /// The most that common file systems take.
        most: usize,
    },
    /// There are too many values.
    #[error("the values of the columns to divide by make more than {0} directories; they look like data")]
    TooMany(usize),
}

impl Error {
    /// Something that helps and that every caller can do, in a sentence without a flag. An expression's own hint is with
    /// its error.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Error::QueryValue(_) => Some("TRY_CAST(a AS type) and NULLIF(a, 0) give null where a value cannot be used"),
            Error::Damaged { .. } => {
                Some("the file itself is damaged, or was truncated where it was made; nothing of it was kept")
            }
            _ => None,
        }
    }

    /// An error of an output, under its path.
    pub(super) fn write(path: &std::path::Path, cause: std::io::Error) -> Error {
        Error::Write { path: path.to_owned(), cause }
    }

    /// An error of a source of rows, which is a query that was planned and met a value that it cannot use.
    pub(super) fn of_query_rows(error: BoxedError) -> Error {
        match error.downcast::<SqlError>() {
            Ok(error) if error.exhausted => Error::QueryMemory(error.message),
            Ok(error) => Error::QueryValue(error.message),
            Err(other) => Error::QueryValue(other.to_string()),
        }
    }

    /// True if the reader of a pipe went away.
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(self, Error::Write { cause, .. } if cause.kind() == std::io::ErrorKind::BrokenPipe)
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
            transform::Error::Sql(error) => Error::QueryValue(error.message),
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
