//! Tables of data files: the rows of a load are Parquet files, which become part of the table when its own commit names
//! them, such as an entry of a Delta log. The engine writes the files and knows the table by [`FilesLoad`].
//!
//! ```text
//! Warehouse::begin ─► Begun::Files ─► FilesLoad: row_check, check, file_columns
//! engine: Parquet parts ─► final names in the table's place, which no reader knows
//!                      ─► FilesLoad::commit(files) ─► Committed::Loaded
//!                                                 └─► Committed::Already, or an error: the engine removes the files
//! ```
//!
//! The names of the files are those of one attempt alone, so that two commands with one commit key never write the same file.

use std::path::PathBuf;
use std::sync::Arc;

use super::error::LoadError;
use super::load_end::{Committed, LoadEnd};
use super::row_encoder::RowEncoder;
use crate::column::Schema;
use crate::format::parquet::{FieldIds, FileFacts};
use crate::sink::ObjectLocation;

/// The files of an output that is a table of data files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileLayout {
    /// Columns by whose values the rows of a new table are divided; empty for none. A table that exists has its own.
    pub partition_by: Arc<[Arc<str>]>,
    /// Maximum rows per file; `None` for no maximum.
    pub max_file_rows: Option<u64>,
    /// Maximum bytes per file, as written; `None` for no maximum.
    pub max_file_bytes: Option<u64>,
}

/// The place that the data files of a table are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesPlace {
    /// The directory; in a store, its URL without a slash at its end.
    pub path: PathBuf,
    /// The store of the directory; `None` for the file system.
    pub store: Option<ObjectLocation>,
}

impl FilesPlace {
    /// Opens the directory. Sends no request.
    #[cfg(any(feature = "delta", feature = "iceberg"))]
    pub(super) fn open(&self) -> std::io::Result<crate::sink::DirectoryStorage> {
        crate::sink::DirectoryStorage::open(&self.path, self.store.as_ref())
    }
}

/// A data file under its final name, complete and durable.
#[derive(Clone, Debug, PartialEq)]
pub struct DataFile {
    /// Path relative to the place, such as `country=NO/drawoff-….parquet`. Values in it are percent-encoded: the `%` are part
    /// of the name.
    pub name: String,
    /// Number of rows, at least 1.
    pub rows: u64,
    /// Size in bytes.
    pub bytes: u64,
    /// Text of the value of each partition column, in the order of [`FilesAttempt::partition_by`]; `None` for null.
    pub partition: Vec<Option<String>>,
    /// Nulls and bounds of the columns that the file contains.
    pub facts: FileFacts,
}

/// The files of one attempt at a load.
#[derive(Clone, Debug)]
pub struct FilesAttempt {
    /// The place of the files.
    pub place: FilesPlace,
    /// Id of the attempt: letters, digits and `-`. No other attempt has it.
    pub id: String,
    /// Prefix of the names of the files, without a slash, which ends with the id.
    pub prefix: String,
    /// Columns by whose values rows are divided into files, which contain them if [`FilesLoad::keeps_partition_columns`].
    pub partition_by: Arc<[Arc<str>]>,
    /// The check of rows, for workers, which also gives them the types of the table.
    pub row_check: Arc<dyn RowEncoder>,
}

/// One load into a table of data files, owned by the writer. Dropped before the commit, it leaves the table as it was.
pub trait FilesLoad: Send {
    /// Returns the files that this load writes, as far as they are known before the first row.
    fn files(&self) -> &FilesAttempt;

    /// Checks columns against the table before the first row. Fails with all columns that do not fit. Returns sentences
    /// for the report.
    fn check(&mut self, columns: &Schema) -> Result<Vec<String>, LoadError>;

    /// Returns the final columns of the files for the final `columns` of the rows, partition columns included: as they
    /// are, or of the types of the table. Called once, before the footers are written.
    fn file_columns(&mut self, columns: &Schema) -> Result<Schema, LoadError>;

    /// Returns true if the files contain the columns that divide the table, as formats want whose readers take values from
    /// the files first.
    fn keeps_partition_columns(&self) -> bool {
        false
    }

    /// Returns the ids that the files give to their fields; none for formats that know columns by name. Called once, after
    /// [`FilesLoad::file_columns`].
    fn field_ids(&self) -> FieldIds {
        FieldIds::default()
    }

    /// Makes `files` part of the table, together with the commit key. `columns` are those of
    /// [`FilesLoad::file_columns`]; `files` is empty without rows.
    ///
    /// Looks for the key once more. [`Committed::Already`] and any error but [`LoadError::Unknown`] promise that the table
    /// does not name the files, and never will; they are removed then.
    fn commit(self: Box<Self>, files: Vec<DataFile>, columns: &Schema, end: &LoadEnd) -> Result<Committed, LoadError>;
}

/// Returns the id of the attempt that wrote a data file, by its name; `None` for files of others.
#[cfg(any(feature = "delta", feature = "iceberg"))]
pub(super) fn attempt_of(name: &str) -> Option<&str> {
    let file = name.rsplit('/').next()?;
    let rest = file.strip_prefix("drawoff-")?.strip_suffix(".parquet")?;
    let parts: Vec<&str> = rest.split('-').collect();
    let is_hex = |text: &str, len: usize| text.len() == len && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_number = |text: &str| text.len() >= 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    match parts[..] {
        [attempt, number] if is_hex(attempt, 16) && is_number(number) => Some(attempt),
        [key, attempt, number] if is_hex(key, 8) && is_hex(attempt, 16) && is_number(number) => Some(attempt),
        _ => None,
    }
}

/// Removes the directories of a removed file that are empty.
#[cfg(any(feature = "delta", feature = "iceberg"))]
pub(super) fn remove_empty_directories(place: &FilesPlace, name: &str) {
    if place.store.is_some() {
        return;
    }
    let mut directory = std::path::Path::new(name).parent();
    while let Some(path) = directory.filter(|path| !path.as_os_str().is_empty()) {
        // Fails if it is not empty, as it should.
        if std::fs::remove_dir(place.path.join(path)).is_err() {
            break;
        }
        directory = path.parent();
    }
}

/// Files of a table that no state of it names, as [`super::Warehouse::remove_orphans`] found them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Orphans {
    /// Names of the files that were removed, or that would be: relative to the table.
    pub removed: Vec<String>,
    /// Bytes of these files.
    pub bytes: u64,
    /// Files that were kept because they are younger than the age, or those of a load that is running.
    pub kept: u64,
}
