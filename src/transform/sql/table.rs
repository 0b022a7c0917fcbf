//! Parquet files as tables of a query. Partitions read disjoint row groups of one open file in parallel, a batch of
//! rows at a time, so memory is bounded whatever the size of the file.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use bytes::Bytes;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, ReplaceChildrenOptions};
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use parquet::file::reader::{ChunkReader, Length};

use super::columns::{arrow_schema, stored_schema, to_table};
use crate::column::Schema;
use crate::format::parquet::{InputError, input_metadata};

/// An open Parquet file, which may already be unlinked.
#[derive(Clone)]
pub struct TableFile {
    file: SharedFile,
    metadata: ArrowReaderMetadata,
    /// Schema that the query sees.
    schema: SchemaRef,
}

impl fmt::Debug for TableFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TableFile").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl TableFile {
    /// Opens a file that drawoff wrote with these columns.
    pub fn ours(file: File, columns: &Schema) -> Result<Self, ParquetError> {
        let file = SharedFile::new(file)?;
        let stored = Arc::new(stored_schema(columns));
        let metadata = ArrowReaderMetadata::load(&file, ArrowReaderOptions::new().with_schema(stored))?;
        Ok(TableFile { file, metadata, schema: Arc::new(arrow_schema(columns)) })
    }

    /// Opens a Parquet file from any writer.
    pub fn foreign(file: File) -> Result<Self, InputError> {
        let file = SharedFile::new(file)?;
        let metadata = input_metadata(&file, &|_| true)?;
        let schema = metadata.schema().clone();
        Ok(TableFile { file, metadata, schema })
    }

    /// Returns the number of rows.
    pub fn rows(&self) -> u64 {
        self.metadata.metadata().file_metadata().num_rows().max(0) as u64
    }

    /// Returns the approximate bytes of its columns in memory.
    pub(super) fn bytes(&self) -> u64 {
        self.metadata.metadata().row_groups().iter().map(|group| group.total_byte_size().max(0) as u64).sum()
    }

    /// Reads partition `part` of `parts`, every `parts`-th row group, and passes batches of at most `batch_rows` rows
    /// to `visit` until it returns false. `columns` are indices in the schema; `None` is all.
    fn read(
        &self,
        (part, parts): (usize, usize),
        batch_rows: usize,
        columns: Option<&[usize]>,
        mut visit: impl FnMut(RecordBatch) -> bool,
    ) -> Result<()> {
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), self.metadata.clone());
        // Interleaved row groups balance partitions whose groups differ in size.
        let groups = (0..builder.metadata().num_row_groups()).skip(part).step_by(parts).collect();
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let columns = columns.unwrap_or(&all);
        let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
        // The reader returns columns in the order of the file, so they are put into the order of `columns` below.
        let mut sorted = columns.to_vec();
        sorted.sort_unstable();
        let schema = Arc::new(self.schema.project(columns)?);
        let reader = builder.with_row_groups(groups).with_projection(mask).with_batch_size(batch_rows).build();
        for batch in reader.map_err(|error| DataFusionError::External(error.into()))? {
            let batch = batch?;
            let place = |column: &usize| sorted.binary_search(column).expect("`sorted` has the same indices");
            let arrays: Vec<_> = columns.iter().map(|column| batch.column(place(column)).clone()).collect();
            if !visit(to_table(&arrays, batch.num_rows(), &schema)?) {
                break;
            }
        }
        Ok(())
    }
}

impl TableProvider for TableFile {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn scan<'a, 's, 'p, 'f, 'o>(
        &'a self,
        state: &'s dyn Session,
        projection: Option<&'p Vec<usize>>,
        _filters: &'f [Expr],
        _limit: Option<usize>,
    ) -> Pin<Box<dyn Future<Output = Result<Arc<dyn ExecutionPlan>>> + Send + 'o>>
    where
        'a: 'o,
        's: 'o,
        'p: 'o,
        'f: 'o,
        Self: 'o,
    {
        // More partitions than row groups would read nothing.
        let parts = state.config().target_partitions().clamp(1, self.metadata.metadata().num_row_groups().max(1));
        let scan = Scan::new(self.clone(), projection.cloned(), parts);
        Box::pin(async move { Ok(Arc::new(scan?) as Arc<dyn ExecutionPlan>) })
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(self.statistics_of(&self.schema))
    }
}

impl TableFile {
    fn statistics_of(&self, schema: &arrow_schema::Schema) -> Statistics {
        let part = (schema.fields().len() as f64 / self.schema.fields().len().max(1) as f64).min(1.0);
        Statistics {
            num_rows: Precision::Exact(self.rows() as usize),
            total_byte_size: Precision::Inexact((self.bytes() as f64 * part) as usize),
            column_statistics: Statistics::unknown_column(schema),
        }
    }
}

/// Scan of some columns of a file, in partitions that are read in parallel.
#[derive(Debug)]
struct Scan {
    table: TableFile,
    columns: Option<Vec<usize>>,
    parts: usize,
    properties: Arc<PlanProperties>,
}

impl Scan {
    fn new(table: TableFile, columns: Option<Vec<usize>>, parts: usize) -> Result<Self> {
        let schema = match &columns {
            Some(columns) => Arc::new(table.schema.project(columns)?),
            None => table.schema.clone(),
        };
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(parts),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Ok(Scan { table, columns, parts, properties: Arc::new(properties) })
    }
}

impl DisplayAs for Scan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scan: parts={}", self.parts)
    }
}

impl ExecutionPlan for Scan {
    fn name(&self) -> &str {
        "Scan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, part: usize, task: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let mut stream = RecordBatchReceiverStreamBuilder::new(self.schema(), 2);
        let (sender, table, columns, parts) = (stream.tx(), self.table.clone(), self.columns.clone(), self.parts);
        let batch_rows = task.session_config().batch_size();
        // Parquet decoding blocks, so it runs on a blocking thread, two batches ahead of the query.
        stream.spawn_blocking(move || {
            table.read((part, parts), batch_rows, columns.as_deref(), |batch| sender.blocking_send(Ok(batch)).is_ok())
        });
        Ok(stream.build())
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(Arc::new(self.table.statistics_of(&self.schema())))
    }
}

/// A file shared by several readers, each with its own offset.
#[derive(Clone)]
struct SharedFile {
    file: Arc<File>,
    len: u64,
}

impl SharedFile {
    fn new(file: File) -> Result<Self, ParquetError> {
        let len = file.metadata()?.len();
        Ok(SharedFile { file: Arc::new(file), len })
    }
}

impl Length for SharedFile {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for SharedFile {
    type T = io::BufReader<OffsetReader>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(io::BufReader::new(OffsetReader { file: self.file.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// Reader of a shared file from an offset on.
struct OffsetReader {
    file: Arc<File>,
    at: u64,
}

impl Read for OffsetReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(buf, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}
