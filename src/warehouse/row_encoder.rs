//! The trait of the workers' half of a load: checks rows against the table, and encodes them.

use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;

use super::error::LoadError;
use crate::column::{Batch, Schema};
use crate::position::FieldPath;

/// The reason for which a column cannot hold a value, without the value.
pub(super) type Reason = Cow<'static, str>;

/// Checks and encodes rows in workers. Its methods are pure. Tables of data files check rows alone.
pub trait RowEncoder: Send + Sync + Debug {
    /// Returns the rows that the table cannot hold, ascending, each once.
    fn unfit(&self, batch: &Batch) -> Vec<UnfitRow>;

    /// Encodes the rows, which all fit. `buffer` is empty and may be used for the bytes. Not called for data files.
    fn encode(&self, _batch: &Batch, _buffer: Vec<u8>) -> Result<LoadRows, LoadError> {
        Err(LoadError::Bug("the rows of data files are encoded as Parquet".to_owned()))
    }

    /// Returns `columns` with the types that data files have for them. The load of the files agrees with it.
    fn file_columns(&self, columns: &Schema) -> Schema {
        columns.clone()
    }

    /// Returns true if the table exists and its columns stay as they are: a row with a value in any other does not fit, and every
    /// value is judged by itself.
    fn has_fixed_columns(&self) -> bool {
        false
    }

    /// Returns the reason for which no row that fits has a value in the column `name` of rows, where the columns stay as they
    /// are; `None` if rows can have one.
    fn refusal(&self, _name: &str) -> Option<Reason> {
        None
    }

    /// Returns the columns of the table that have objects with open-ended keys, or have such objects in them.
    fn columns_with_maps(&self) -> Schema {
        Schema::default()
    }

    /// Returns rows, which all fit, with the types of [`RowEncoder::file_columns`]. Called for data files alone.
    fn file_rows(&self, batch: &Batch) -> Result<Batch, LoadError> {
        Ok(batch.clone())
    }
}

/// A row that the table cannot hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfitRow {
    /// Index in the batch.
    pub row: u32,
    /// Path of the value.
    pub path: FieldPath,
    /// The reason, without the value.
    pub reason: String,
}

/// Encoded rows.
pub enum LoadRows {
    /// Bytes in the target's own form.
    Bytes(Vec<u8>),
    /// The same, of rows whose values decide on types that the columns of their batch leave open: the columns to append them
    /// with.
    Typed(Vec<u8>, Arc<Schema>),
    /// Columns, for targets that take values one by one.
    Columns(Batch),
}

impl LoadRows {
    /// Returns the bytes that it holds, approximately.
    pub fn memory_size(&self) -> usize {
        match self {
            LoadRows::Bytes(bytes) | LoadRows::Typed(bytes, _) => bytes.len(),
            LoadRows::Columns(batch) => batch.memory_size(),
        }
    }
}

/// The reason for a value in a column that the table does not have.
#[cfg(any(feature = "postgres", feature = "sqlite", feature = "clickhouse", feature = "delta", feature = "iceberg"))]
pub(super) const NO_COLUMN: &str = "the table has no such column";

/// Sorts by row, and keeps of each row the column that is first by its name: the order of the columns of a batch depends on the
/// records around the row.
#[cfg(any(feature = "postgres", feature = "sqlite", feature = "clickhouse", feature = "delta", feature = "iceberg"))]
pub(super) fn first_of_each_row(unfit: &mut Vec<UnfitRow>) {
    unfit.sort_by(|a, b| (a.row, a.path.as_str()).cmp(&(b.row, b.path.as_str())));
    unfit.dedup_by_key(|unfit| unfit.row);
}
