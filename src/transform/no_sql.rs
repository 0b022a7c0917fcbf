//! Stand-in for [`super::sql`] in builds without the feature `sql`: the same types, uninhabited, and errors that say
//! so.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};

use super::expr;
use super::foreign::{ForeignError, ForeignRules};
use crate::column::{Batch, Schema};

/// Name of the table that contains the rows after the steps before the query.
pub const RESULTS: &str = "results";

/// An SQL query, which this build cannot parse.
#[derive(Clone, Debug)]
pub enum Query {}

/// Error of a query.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    /// Message, as a lowercase fragment.
    pub message: String,
    /// True if the query ran out of its memory budget.
    pub exhausted: bool,
    /// Imperative that helps; there is none.
    pub hint: Option<&'static str>,
}

const NO_SQL: &str = "SQL is not supported by this build of drawoff: the feature `sql` is off";

const NO_ARROW: &str = "Parquet and Arrow inputs are not supported by this build of drawoff: the feature `sql` is off";

/// Returns an error that says that this build has no conversion of foreign columns.
pub fn arrow_to_schema(_: &arrow_schema::Schema, _: &ForeignRules) -> Result<Schema, ForeignError> {
    Err(ForeignError::Other(NO_ARROW.into()))
}

/// Returns an error that says that this build has no conversion of foreign columns.
pub fn arrow_to_batch(
    _: &RecordBatch,
    _: &arrow_schema::Schema,
    _: &Arc<Schema>,
    _: &ForeignRules,
) -> Result<Batch, ForeignError> {
    Err(ForeignError::Other(NO_ARROW.into()))
}

impl Query {
    /// Returns an error that says that this build has no SQL.
    pub fn parse(text: &str) -> Result<Query, expr::Error> {
        Err(expr::Error::new(text, 0, NO_SQL))
    }

    /// Returns the text of the query.
    pub fn text(&self) -> &Arc<str> {
        match *self {}
    }

    /// Returns the names of the tables that the query reads.
    pub fn tables(&self) -> &[String] {
        match *self {}
    }

    /// Compiles the query for batch-by-batch execution.
    pub fn by_rows(&self, _: &Schema) -> Result<Option<ByRows>, SqlError> {
        match *self {}
    }

    /// Returns the columns of the result.
    pub fn columns(&self, _: &Schema, _: &[(String, TableFile)]) -> Result<Schema, SqlError> {
        match *self {}
    }

    /// Executes the query over `tables`.
    pub fn execute(&self, _: Vec<(String, TableFile)>, _: &QueryResources) -> Result<QueryRows, SqlError> {
        match *self {}
    }
}

/// A query that runs batch by batch, which does not exist in this build.
#[derive(Clone, Debug)]
pub enum ByRows {}

impl ByRows {
    /// Returns the input columns that the query was compiled for.
    pub fn input(&self) -> &Schema {
        match *self {}
    }

    /// Returns the columns of the result.
    pub fn output(&self) -> &Arc<Schema> {
        match *self {}
    }

    /// Returns the row limit of the query; `None` if it has none.
    pub fn limit(&self) -> Option<u64> {
        match *self {}
    }

    /// Runs the query on the rows of a batch.
    pub fn apply(&self, _: &Batch) -> Result<(Batch, Option<BooleanArray>), SqlError> {
        match *self {}
    }
}

/// A Parquet file as a table of a query, which does not exist in this build.
#[derive(Clone, Debug)]
pub enum TableFile {}

impl TableFile {
    /// Returns an error that says that this build has no SQL.
    pub fn ours(_: File, _: &Schema) -> Result<Self, parquet::errors::ParquetError> {
        Err(parquet::errors::ParquetError::General(NO_SQL.into()))
    }

    /// Returns an error that says that this build has no SQL.
    pub fn foreign(file: File) -> Result<Self, parquet::errors::ParquetError> {
        TableFile::ours(file, &Schema::default())
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> u64 {
        match *self {}
    }
}

/// Resources of a query.
#[derive(Clone, Debug)]
pub struct QueryResources {
    /// Bytes in memory of all sorts, aggregations and joins together.
    pub max_bytes: usize,
    /// Spill directory of sorts and aggregations; `None` is the system's directory for temporary files.
    pub directory: Option<PathBuf>,
    /// Number of worker threads.
    pub workers: usize,
}

/// Rows of a query's result, which do not exist in this build.
#[derive(Debug)]
pub enum QueryRows {}

impl QueryRows {
    /// Returns the columns of the result.
    pub fn schema(&self) -> &Arc<Schema> {
        match *self {}
    }
}

impl Iterator for QueryRows {
    type Item = Result<Batch, SqlError>;

    fn next(&mut self) -> Option<Self::Item> {
        match *self {}
    }
}
