//! The traits by which the engine knows a target with tables, and the plain data of one load.

use std::fmt::{self, Debug};
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::data_files::{FileLayout, FilesLoad, Orphans};
use super::error::LoadError;
use super::identity::LoadIdentity;
use super::ledger::{LedgerRow, LoadProgress};
use super::load_end::{Committed, LoadEnd};
use super::modes::{LoadMode, NulPolicy, Widening};
use super::row_encoder::{LoadRows, RowEncoder};
use crate::column::{Schema, TypeMerge};
use crate::sink::UploadControl;

/// A system with tables. Opened from a URL without any request; its methods block and must not be called on a thread of
/// an async runtime.
pub trait Warehouse: Send + Sync + Debug {
    /// Returns the name of the system and the database for messages, without secrets: `postgres://db/crm`.
    fn name(&self) -> String;

    /// Returns sentences for the user about its settings, such as one about a password that others can read.
    fn notes(&self) -> Vec<String> {
        Vec::new()
    }

    /// Returns the file that all its tables are in, and that takes one load at a time; `None` for a server.
    fn file(&self) -> Option<PathBuf> {
        None
    }

    /// Fails if the target cannot load with these options, without connecting.
    fn check_options(&self, target: &TableTarget) -> Result<(), LoadError>;

    /// Connects and begins a load, or returns the earlier load with the same key. Creates no table.
    fn begin(&self, request: LoadRequest<'_>) -> Result<Begun, LoadError>;

    /// Returns the loads that the ledger of `table` has, the latest first; all loads of the ledgers that can be found for
    /// `None`.
    fn loads(&self, table: Option<&str>, cancel: &UploadControl) -> Result<Vec<LedgerRow>, LoadError>;

    /// Returns the earlier load of the same rows into `target`; `None` if there is none, or if the key is not known before
    /// the rows are read.
    fn find_load(&self, target: &TableTarget, cancel: &UploadControl) -> Result<Option<LedgerRow>, LoadError>;

    /// Removes the files of `table`, which is `None` where the system is the table, that no state of it names and that are
    /// at least of this age, or lists them if `only_list`. Those of a load that is running on this machine are kept whatever
    /// their age.
    fn remove_orphans(
        &self,
        _table: Option<&str>,
        _age: Duration,
        _only_list: bool,
        _cancel: &UploadControl,
    ) -> Result<Orphans, LoadError> {
        Err(LoadError::Unsupported {
            table: self.name(),
            what: "its tables have no files that a load could leave".to_owned(),
            hint: None,
        })
    }

    /// Returns the statement that creates `table` with the columns that a load would create.
    fn ddl(&self, table: &str, columns: &Schema) -> Result<String, LoadError>;
}

/// A table as the target of an output.
#[derive(Clone)]
pub struct TableTarget {
    /// The system that has the table.
    pub warehouse: Arc<dyn Warehouse>,
    /// The table as it was typed: its name, or schema and name with a dot between. Empty where the system is the table.
    pub table: String,
    /// The effect on rows that are in the table.
    pub mode: LoadMode,
    /// A column that gets the commit key in each row; `None` for no columns besides those of the rows.
    pub load_column: Option<Arc<str>>,
    /// Replace the rows of an earlier load with the same key.
    pub again: bool,
    /// Rows after which a chunk of the load is committed; `None` for one transaction. The key must be known before the rows
    /// are read.
    pub commit_every: Option<NonZeroU64>,
    /// The files of a table of data files; `None` for the tables of all other systems.
    pub files: Option<FileLayout>,
    /// The policy for U+0000 in text that the target cannot store.
    pub nul: NulPolicy,
    /// Everything that makes the load the same load.
    pub identity: LoadIdentity,
}

impl TableTarget {
    /// Returns the name of target and table for messages, without secrets.
    pub fn name(&self) -> String {
        match self.table.is_empty() {
            true => self.warehouse.name(),
            false => format!("{} of {}", self.table, self.warehouse.name()),
        }
    }
}

/// Refusals that are the same in every system.
#[cfg(any(feature = "postgres", feature = "sqlite", feature = "clickhouse", feature = "delta", feature = "iceberg"))]
impl TableTarget {
    /// Returns the error of a load that its system cannot make with these options.
    pub(super) fn unsupported(&self, what: impl Into<String>, hint: &str) -> LoadError {
        LoadError::Unsupported { table: self.name(), what: what.into(), hint: Some(hint.to_owned()) }
    }

    /// Returns the error of a table that exists and cannot take the rows.
    #[cfg(any(feature = "delta", feature = "iceberg"))]
    pub(super) fn refused(&self, cause: impl Into<String>, hint: &str) -> LoadError {
        LoadError::Refused { table: self.name(), cause: cause.into(), hint: Some(hint.to_owned()), is_transient: false }
    }

    /// Returns the error of a table whose name is none; `examples` are names.
    #[cfg(any(feature = "postgres", feature = "sqlite", feature = "clickhouse"))]
    pub(super) fn no_name(&self, examples: &str) -> LoadError {
        self.unsupported(format!("`{}` is not the name of a table", self.table), &format!("name it as {examples}"))
    }

    /// Fails for the table of loads.
    #[cfg(any(feature = "postgres", feature = "sqlite", feature = "clickhouse"))]
    pub(super) fn refuse_ledger(&self, name: &str) -> Result<(), LoadError> {
        match name.eq_ignore_ascii_case(super::ledger::LEDGER_TABLE) {
            true => Err(self.unsupported("this table records the loads", "load into a table of another name")),
            false => Ok(()),
        }
    }

    /// Fails if rows of an earlier load are to be replaced that cannot be told from others.
    #[cfg(any(feature = "postgres", feature = "sqlite"))]
    pub(super) fn require_rows_with_keys(&self) -> Result<(), LoadError> {
        match self.again && self.mode == LoadMode::Append && self.load_column.is_none() {
            true => Err(self.unsupported(
                "the rows of an earlier load cannot be told from others, so they cannot be replaced",
                "keep the key of each load in a column from the first load on, or merge by a key",
            )),
            false => Ok(()),
        }
    }
}

impl fmt::Debug for TableTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableTarget").field("name", &self.name()).field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl PartialEq for TableTarget {
    fn eq(&self, other: &Self) -> bool {
        self.warehouse.name() == other.warehouse.name() && self.table == other.table
    }
}

impl Eq for TableTarget {}

/// The beginning of a load.
pub struct LoadRequest<'a> {
    /// The table and all options.
    pub target: &'a TableTarget,
    /// The policy for columns and types that the table does not have.
    pub widening: Widening,
    /// The merge of unlike scalars in a column, by the kind of the sources.
    pub type_merge: TypeMerge,
    /// True if the load may fail with [`LoadError::SpellingLost`] and is then begun again with the types of all records.
    pub may_start_over: bool,
    /// Cancels every call that waits for the target.
    pub cancel: UploadControl,
}

/// A load, or the load that makes it unnecessary.
#[expect(clippy::large_enum_variant, reason = "there is one for each load")]
pub enum Begun {
    /// The load may go on.
    Load(Box<dyn TableLoad>),
    /// The load may go on, and its rows are data files.
    Files(Box<dyn FilesLoad>),
    /// The table has the rows already.
    Loaded(LedgerRow),
}

/// One load, or one chunk of a load in chunks, owned by the writer. Dropped before the commit, it leaves no rows in the table.
pub trait TableLoad: Send {
    /// Returns the chunks of the load that the table has already. Rows of these records must not be appended.
    fn progress(&self) -> LoadProgress {
        LoadProgress::default()
    }

    /// Returns the encoder of its rows, for workers.
    fn encoder(&self) -> Arc<dyn RowEncoder>;

    /// Checks the columns that are known against the table before the first row. `first` are those that were known before
    /// the first row of the whole load, which differ for a later chunk. Fails with all columns that do not fit. Returns
    /// sentences for the report.
    fn check(&mut self, columns: &Schema, first: &Schema) -> Result<Vec<String>, LoadError>;

    /// Appends rows with these columns, as the encoder made them. Rows come in order; their columns may be fewer, more
    /// or of narrower types than those of earlier rows. Returns the buffer of the bytes, if it is free again.
    fn append(&mut self, rows: u64, encoded: LoadRows, columns: &Arc<Schema>) -> Result<Option<Vec<u8>>, LoadError>;

    /// Returns the bytes sent so far.
    fn bytes(&self) -> u64;

    /// Puts the rows into the table, widens it to the final `columns`, and compares the counts. Others see nothing of it
    /// before the commit.
    fn finish(&mut self, columns: &Schema, end: &LoadEnd) -> Result<(), LoadError>;

    /// Makes the rows visible, together with their row in the ledger.
    fn commit(self: Box<Self>) -> Result<Committed, LoadError>;
}
