//! In place of queries, in a build without them.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::BooleanArray;

use super::expr;
use crate::column::{Batch, Schema};

/// The table that is what comes out of the steps before.
pub const RESULTS: &str = "results";

/// There are none.
#[derive(Clone, Debug)]
pub enum Query {}

/// Why a query cannot be done.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    /// What is wrong, in words.
    pub message: String,
    /// It had not enough memory.
    pub exhausted: bool,
}

impl Query {
    /// Refuses.
    pub fn parse(text: &str) -> Result<Query, expr::Error> {
        Err(expr::Error::new(text, 0, "this build of drawoff has no SQL"))
    }

    /// What was written.
    pub fn text(&self) -> &Arc<str> {
        match *self {}
    }

    /// The names of the tables that it reads.
    pub fn tables(&self) -> &[String] {
        match *self {}
    }

    /// The query as steps can take it.
    pub fn by_rows(&self, _: &Schema) -> Result<Option<ByRows>, SqlError> {
        match *self {}
    }

    /// The columns of its answer.
    pub fn columns(&self, _: &Schema, _: &[(String, TableFile)]) -> Result<Schema, SqlError> {
        match *self {}
    }

    /// Puts the query to tables.
    pub fn over(&self, _: Vec<(String, TableFile)>, _: &QueryResources) -> Result<QueryRows, SqlError> {
        match *self {}
    }
}

/// There are none.
#[derive(Clone, Debug)]
pub enum ByRows {}

impl ByRows {
    /// The columns that it was made for.
    pub fn input(&self) -> &Schema {
        match *self {}
    }

    /// The columns of its answer.
    pub fn output(&self) -> &Arc<Schema> {
        match *self {}
    }

    /// How many rows of the answer are wanted.
    pub fn limit(&self) -> Option<u64> {
        match *self {}
    }

    /// The answer for the rows of a batch.
    pub fn apply(&self, _: &Batch) -> Result<(Batch, Option<BooleanArray>), SqlError> {
        match *self {}
    }
}

/// A Parquet file, of which none is read.
#[derive(Clone, Debug)]
pub enum TableFile {}

impl TableFile {
    /// Refuses.
    pub fn ours(_: File, _: &Schema) -> Result<Self, parquet::errors::ParquetError> {
        Err(parquet::errors::ParquetError::General("this build of drawoff has no SQL".into()))
    }

    /// Refuses.
    pub fn foreign(file: File) -> Result<Self, parquet::errors::ParquetError> {
        TableFile::ours(file, &Schema::default())
    }

    /// Its rows.
    pub fn rows(&self) -> u64 {
        match *self {}
    }
}

/// What a query may use.
#[derive(Clone, Debug)]
pub struct QueryResources {
    /// Bytes that sorts, groups and joins hold, all together.
    pub max_bytes: usize,
    /// Where sorts and groups go beyond that.
    pub folder: Option<PathBuf>,
    /// Threads.
    pub workers: usize,
}

/// There is none.
#[derive(Debug)]
pub enum QueryRows {}

impl QueryRows {
    /// Its columns.
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
