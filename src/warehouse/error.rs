//! The errors of loads, typed so that callers decide by kind. No message names a command-line flag.

use std::fmt;
use std::io;

use crate::text::counted;

/// The reason for which a load ended without its rows in the table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// The target cannot be reached, or refuses the connection.
    #[error("cannot connect to {target}: {cause}")]
    Connect {
        /// The target, without secrets.
        target: String,
        /// The reason.
        cause: String,
        /// An imperative that helps; `None` if there is none.
        hint: Option<String>,
        /// True if the same command may succeed later.
        is_transient: bool,
    },
    /// There is no such table, of which something was asked.
    #[error("cannot look at {table}: {cause}")]
    NoTable {
        /// The table, with its target.
        table: String,
        /// The reason.
        cause: String,
        /// An imperative that helps.
        hint: String,
    },
    /// The connection was lost, the target refused a statement, or the table is one that loads cannot write. Nothing of the
    /// load is in the table.
    #[error("cannot load into {table}: {cause}")]
    Refused {
        /// The table, with its target.
        table: String,
        /// The reason, as the target says it, without values of the data.
        cause: String,
        /// An imperative that helps; `None` if there is none.
        hint: Option<String>,
        /// True if the same command may succeed later.
        is_transient: bool,
    },
    /// A file of the target cannot be opened or written. Nothing of the load is in the table.
    #[error("cannot write {table}: {cause}")]
    Write {
        /// The table, with its target, or the target alone.
        table: String,
        /// The reason. Its kind tells a full disk from others.
        cause: io::Error,
        /// An imperative that helps; `None` if there is none.
        hint: Option<String>,
    },
    /// The table cannot take the columns; no row was written.
    #[error("cannot load into {table}: {}", listed(misfits))]
    Misfits {
        /// The table, with its target.
        table: String,
        /// All columns that do not fit.
        misfits: Vec<Misfit>,
    },
    /// The target does not have what was asked for; no row was written.
    #[error("cannot load into {table}: {what}")]
    Unsupported {
        /// The table, with its target.
        table: String,
        /// The feature that the target lacks.
        what: String,
        /// An imperative that helps; `None` if there is none.
        hint: Option<String>,
    },
    /// Some of the runs of a load are in the table already; no row was written.
    #[error("cannot load into {table}: it has {} of the {} runs already: {}", loaded.len(), loaded.len() + missing.len(), loaded.join(", "))]
    PartlyLoaded {
        /// The table, with its target.
        table: String,
        /// The runs that are loaded.
        loaded: Vec<String>,
        /// The runs that are not.
        missing: Vec<String>,
        /// True if a load of all of them may replace the rows that are there.
        may_replace: bool,
    },
    /// An earlier load of the same rows was made in chunks, and is not complete; no row was written.
    #[error("cannot load into {table}: an earlier load of {} is not complete: {rows} of its rows are in the table", runs.join(", "))]
    Incomplete {
        /// The table, with its target.
        table: String,
        /// The runs of the earlier load, or its sources.
        runs: Vec<String>,
        /// Its rows in the table.
        rows: u64,
        /// True if another load may replace them.
        may_replace: bool,
    },
    /// The records of the sources are not those behind which the load would go on; no row was written.
    #[error("cannot load into {table}: {} of this load are there, of the first {}, and {what}", counted(*rows, "row"), counted(*records, "record"))]
    OtherRecords {
        /// The table, with its target.
        table: String,
        /// Rows of the load that the table has.
        rows: u64,
        /// Records that they are of, from the first on.
        records: u64,
        /// The difference of the sources.
        what: String,
        /// True if a load of these records may replace the rows that are there.
        may_replace: bool,
        /// True if the rows that are there have replaced earlier ones.
        again: bool,
    },
    /// Rows of earlier chunks of the load are gone.
    #[error(
        "cannot go on loading into {table}: rows of this load that were committed are gone; another command has replaced them, or dropped the table"
    )]
    LostChunks {
        /// The table, with its target.
        table: String,
    },
    /// Numbers that were sent as doubles are to become JSON, and have lost digits that the records have. Not for users: the
    /// load begins again with the types of all records.
    #[error(
        "cannot keep the digits of the numbers in column `{column}` of {table}, which has values of other types, too"
    )]
    SpellingLost {
        /// The table, with its target.
        table: String,
        /// The column.
        column: String,
    },
    /// The target has another number of rows of this load than were sent to it. They were rolled back.
    #[error("{sent} rows were sent to {table}, and it has {found} of them; the load was rolled back")]
    RowCount {
        /// The table, with its target.
        table: String,
        /// Rows that were sent.
        sent: u64,
        /// Rows that the target counts.
        found: u64,
    },
    /// The target has another number of rows of this load than were sent to it, and cannot roll them back.
    #[error("{sent} rows were sent to {table}, and it got {}, which it keeps; they are not recorded as a load",
        found.map_or("another number".to_owned(), |found| found.to_string()))]
    RowCountKept {
        /// The table, with its target.
        table: String,
        /// Rows that were sent.
        sent: u64,
        /// Rows that the target says it has got; `None` if an earlier command was told.
        found: Option<u64>,
    },
    /// The response to the commit was lost, and the target cannot be asked whether the rows are there.
    #[error("the outcome of the load into {table} is unknown: {cause}")]
    Unknown {
        /// The table, with its target.
        table: String,
        /// The reason.
        cause: String,
    },
    /// The execution was cancelled.
    #[error("the load was cancelled")]
    Cancelled,
    /// An inconsistency that a user cannot cause.
    #[error("{0}")]
    Bug(String),
}

impl LoadError {
    /// Creates the error of a table, or of a place for one, that no load can write as it is.
    #[cfg(any(feature = "postgres", feature = "sqlite", feature = "clickhouse"))]
    pub(super) fn refused(table: &str, cause: impl Into<String>, hint: impl Into<String>) -> Self {
        let (table, cause, hint) = (table.to_owned(), cause.into(), Some(hint.into()));
        LoadError::Refused { table, cause, hint, is_transient: false }
    }

    /// Returns true if the same load may succeed later, without a change.
    pub fn is_transient(&self) -> bool {
        matches!(self, LoadError::Connect { is_transient: true, .. } | LoadError::Refused { is_transient: true, .. })
    }
}

/// A column that the table cannot take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Name of the column.
    pub column: String,
    /// The misfit: `has text, and the table has integer`.
    pub what: String,
}

impl Misfit {
    /// Returns the misfit of a column that first appears after rows were stored without it, which have got the value that
    /// the table gives to rows without the column, and not null.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "sqlite", feature = "clickhouse")),
        expect(dead_code, reason = "no target has columns with defaults")
    )]
    pub(crate) fn late(column: &str) -> Self {
        let what = "was first seen after rows were stored, which have got the default of the table; name it in an explicit \
             schema";
        Misfit { column: column.to_owned(), what: what.to_owned() }
    }
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "column `{}` {}", self.column, self.what)
    }
}

fn listed(misfits: &[Misfit]) -> String {
    misfits.iter().map(Misfit::to_string).collect::<Vec<_>>().join("; ")
}
