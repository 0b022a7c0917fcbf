//! Statistics over the rows of a plan: reads them as batches, in order, and adds each to every column. Writes no output.

use std::sync::{Mutex, PoisonError};

use super::error::Error;
use super::execute::execute;
use super::input::{can_be_reread, reopen};
use super::plan::{ExecutionPlan, SchemaFrom};
use super::progress::Control;
use super::read::TypedReader;
use super::report::Report;
use super::tables::Scratch;
use crate::column::statistics::{ColumnSummary, Statistics, StatisticsOptions, Widened};
use crate::column::{Batch, Schema};
use crate::source::Source;

/// Cells that are added by one thread: with fewer, its start would cost more. By eye.
const MIN_CELLS_PER_THREAD: usize = 1 << 14;

/// The name of the temporary table of all rows.
const ROWS: &str = "rows";

/// The statistics of an execution.
#[derive(Debug)]
pub struct CollectedStatistics {
    /// Every column after the steps, and every member of its objects, in order.
    pub columns: Vec<ColumnSummary>,
    /// Rows after the steps.
    pub rows: u64,
    /// Counts and notes of the execution.
    pub report: Report,
}

/// Reads all rows of `plan`, whose outputs are replaced, and returns statistics of their columns. The result is the same at
/// every number of workers and every size of the morsels.
///
/// Files are read once; a second time, with the types of all records, if a column gets a wider type late. Sources that
/// cannot be read twice are written to a temporary file first, which has all rows in the final types.
///
/// # Errors
///
/// Those of [`execute`](super::execute()).
pub fn collect_statistics(
    mut plan: ExecutionPlan,
    options: StatisticsOptions,
    control: &Control,
) -> Result<CollectedStatistics, Error> {
    if !can_be_reread(&plan.sources) {
        return of_stream(plan, options, control);
    }
    let sources = std::mem::take(&mut plan.sources);
    loop {
        let from = plan.schema.from;
        let once = again(&plan, sources.iter().map(reopen).collect());
        match read(once, options, control)? {
            Some(collected) => return Ok(collected),
            None if from == SchemaFrom::Full => {
                return Err(Error::Bug("a column widened although all records were read before".into()));
            }
            None => {
                plan.schema.from = SchemaFrom::Full;
                control.reset();
            }
        }
    }
}

/// Writes the rows to a temporary file, and reads that.
fn of_stream(
    mut plan: ExecutionPlan,
    options: StatisticsOptions,
    control: &Control,
) -> Result<CollectedStatistics, Error> {
    let scratch = Scratch::new(&plan.limits)?;
    plan.outputs = vec![scratch.output(ROWS)];
    let limits = plan.limits.clone();
    let report = execute(plan, control)?;
    if report.schema.fields.is_empty() {
        return Ok(CollectedStatistics { columns: Vec::new(), rows: report.rows_written, report });
    }
    let file = Source::file(scratch.path(ROWS));
    let rows = ExecutionPlan { limits, ..ExecutionPlan::reading(vec![file]) };
    let collected = read(rows, options, &control.without_counters())?;
    let Some(CollectedStatistics { mut columns, rows, .. }) = collected else {
        return Err(Error::Bug("a column of a temporary file widened".into()));
    };
    name_types(&mut columns, &report.schema);
    Ok(CollectedStatistics { columns, rows, report })
}

/// Gives the columns the types that they had before the file, in which JSON and columns of nulls are text.
fn name_types(columns: &mut [ColumnSummary], schema: &Schema) {
    for field in &schema.fields {
        if let Some(column) = columns.iter_mut().find(|column| column.path == *field.name)
            && column.ty.is_text_like()
            && field.ty.is_text_like()
        {
            column.ty = field.ty.clone();
        }
    }
}

/// Returns a plan for another pass over the same rows.
fn again(plan: &ExecutionPlan, sources: Vec<Source>) -> ExecutionPlan {
    ExecutionPlan {
        sources,
        steps: plan.steps.clone(),
        tables: plan.tables.iter().map(|(name, table)| (name.clone(), reopen(table))).collect(),
        on_bad_cast: plan.on_bad_cast,
        outputs: Vec::new(),
        schema: plan.schema.clone(),
        on_bad_record: plan.on_bad_record,
        whole_streams: false,
        rejects: plan.rejects.clone(),
        lossy_utf8: plan.lossy_utf8,
        sort_hint: plan.sort_hint.clone(),
        metadata: Vec::new(),
        limits: plan.limits.clone(),
    }
}

/// Reads all rows; `None` if a column got a wider type.
fn read(
    plan: ExecutionPlan,
    options: StatisticsOptions,
    control: &Control,
) -> Result<Option<CollectedStatistics>, Error> {
    let threads = plan.limits.worker_count();
    let mut reader = TypedReader::begin(plan, control)?;
    let mut statistics = Statistics::new(options);
    while let Some(batch) = reader.next_batch() {
        if add(&mut statistics, &batch, threads).is_err() {
            // Ends the execution as a closed pipe does; the counts start again.
            return reader.finish().map(|_| None);
        }
    }
    let report = reader.finish()?;
    // Without rows the columns are known from the execution alone.
    statistics.set_columns(&report.schema);
    let rows = statistics.rows();
    Ok(Some(CollectedStatistics { columns: statistics.finish(), rows, report }))
}

/// Adds the rows of a batch, by at most `threads` threads.
fn add(statistics: &mut Statistics, batch: &Batch, threads: usize) -> Result<(), Widened> {
    let columns = statistics.begin(batch)?;
    let threads = threads.min(batch.rows * columns.len() / MIN_CELLS_PER_THREAD).max(1);
    if threads == 1 {
        columns.for_each(|column| column.add(batch));
        return Ok(());
    }
    // Each column is added by one thread, in the order of its rows.
    let queue = Mutex::new(columns);
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(column) = next() {
                    column.add(batch);
                }
            });
        }
    });
    Ok(())
}
