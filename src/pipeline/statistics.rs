//! Statistics over the rows of a plan: reads them as batches, in order, and adds each to every column. Writes no output.

use std::sync::{Arc, Mutex, PoisonError};

use super::error::Error;
use super::execute::execute;
use super::input::{can_be_reread, reopen};
use super::plan::{ExecutionPlan, SchemaFrom};
use super::progress::Control;
use super::read::TypedReader;
use super::report::Report;
use super::tables::Scratch;
use crate::column::statistics::{ColumnSummary, Statistics, StatisticsOptions, Widened};
use crate::column::{Batch, Field, Schema, Type};
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
        match read(once, None, options, control)? {
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
    let file = Source { keeps_not_finite: true, ..Source::file(scratch.path(ROWS)) };
    let rows = ExecutionPlan { limits, ..ExecutionPlan::reading(vec![file]) };
    let collected = read(rows, Some(&report.schema), options, &control.without_counters())?;
    let Some(CollectedStatistics { columns, rows, .. }) = collected else {
        return Err(Error::Bug("a column of a temporary file widened".into()));
    };
    Ok(CollectedStatistics { columns, rows, report })
}

/// Returns the columns of the file with the types that they had before it, in which JSON, objects without members and columns
/// of nulls are text.
fn types_before(of_file: &Schema, before: &Schema) -> Schema {
    Schema::new(fields_before(&of_file.fields, &before.fields))
}

fn fields_before(of_file: &[Field], before: &[Field]) -> Vec<Field> {
    let typed = |field: &Field| match before.iter().find(|other| other.name == field.name) {
        Some(before) => Field { ty: type_before(&field.ty, &before.ty.resolved()), ..field.clone() },
        None => field.clone(),
    };
    of_file.iter().map(typed).collect()
}

fn type_before(of_file: &Type, before: &Type) -> Type {
    match (of_file, before) {
        (of_file, before) if of_file.is_text_like() && before.is_text_like() => before.clone(),
        (Type::Struct(of_file), Type::Struct(before)) => Type::Struct(fields_before(of_file, before)),
        (Type::List(of_file), Type::List(before)) => Type::List(Box::new(type_before(of_file, before))),
        (Type::Map(of_file), Type::Map(before)) => Type::Map(Box::new(type_before(of_file, before))),
        (of_file, _) => of_file.clone(),
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

/// Reads all rows; `None` if a column got a wider type. `before` has the types of the columns before they were written to a
/// temporary file.
fn read(
    plan: ExecutionPlan,
    before: Option<&Schema>,
    options: StatisticsOptions,
    control: &Control,
) -> Result<Option<CollectedStatistics>, Error> {
    let threads = plan.limits.worker_count();
    let mut reader = TypedReader::begin(plan, control)?;
    let mut statistics = Statistics::new(options);
    let typed = |schema: &Arc<Schema>| match before {
        Some(before) => Arc::new(types_before(schema, before)),
        None => schema.clone(),
    };
    // The statistics look at the columns again if the schema is another allocation.
    let mut last: Option<(Arc<Schema>, Arc<Schema>)> = None;
    while let Some(mut batch) = reader.next_batch() {
        let of_batch = match last.take() {
            Some((of_file, of_batch)) if Arc::ptr_eq(&of_file, &batch.schema) => of_batch,
            _ => typed(&batch.schema),
        };
        last = Some((std::mem::replace(&mut batch.schema, of_batch.clone()), of_batch));
        if add(&mut statistics, &batch, threads).is_err() {
            // Ends the execution as a closed pipe does; the counts start again.
            return reader.finish().map(|_| None);
        }
    }
    let report = reader.finish()?;
    // Without rows the columns are known from the execution alone.
    statistics
        .set_columns(&before.map_or_else(|| report.schema.clone(), |before| types_before(&report.schema, before)));
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
