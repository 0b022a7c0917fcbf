//! One pass of a plan from its sources to its outputs, without a query. Where the outputs cannot take a late change of the
//! schema and the sources can be read twice, the pass is done anew, once, with the schema of all records.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::Sizes;
use super::error::{Error, PlanError};
use super::input::{SourceReader, are_rereadable, read_again, sample_aside};
use super::output::{OrderCounts, OutputWriter, WriterOptions};
use super::plan::{ExecutionPlan, Output, SchemaFrom, SchemaPolicy};
use super::prepared::{ExecutionState, Prepared};
use super::progress::Control;
use super::rejects::RejectsFile;
use super::report::Report;
use super::schema::{SchemaRegistry, full_schema, schema_of_sample};
use super::sequencer::Sequencer;
use super::threads::with_workers;
use super::writer::Writer;
use crate::column::{Schema, TypeMerge};
use crate::format::frame::BufferPool;
use crate::source::Source;

/// One pass from the sources to the outputs.
pub(super) fn pass(mut plan: ExecutionPlan, control: &Control) -> Result<Report, Error> {
    let started = Instant::now();
    let mut sources = std::mem::take(&mut plan.sources);
    let rereadable = are_rereadable(&sources);
    let mut full = plan.schema.from == SchemaFrom::Full;
    if full && !rereadable {
        return Err(PlanError::NotRereadable.into());
    }
    loop {
        let once = if rereadable { sources.iter().map(read_again).collect() } else { std::mem::take(&mut sources) };
        match attempt(&plan, once, ReadMode { rereadable, full }, control) {
            Ok(report) => return Ok(Report { elapsed: started.elapsed(), ..report }),
            // After everything was read there is nothing left to be surprised by.
            Err(AttemptEnd::StartOver(_)) if !full => {
                full = true;
                control.reset();
            }
            Err(AttemptEnd::Error(error) | AttemptEnd::StartOver(error)) => return Err(error),
        }
    }
}

/// The way in which the sources of one attempt are read.
#[derive(Clone, Copy)]
struct ReadMode {
    /// They are files, and can be read twice.
    rereadable: bool,
    /// They are read once before, whole, for the schema.
    full: bool,
}

/// An attempt ended without a report.
enum AttemptEnd {
    Error(Error),
    /// With a schema of everything there would not have been this error.
    StartOver(Error),
}

impl From<Error> for AttemptEnd {
    fn from(error: Error) -> Self {
        AttemptEnd::Error(error)
    }
}

/// Carries out `plan` with `sources`, once.
fn attempt(
    plan: &ExecutionPlan,
    sources: Vec<Source>,
    reading: ReadMode,
    control: &Control,
) -> Result<Report, AttemptEnd> {
    let n_sources = sources.len();
    let again = reading.rereadable.then(|| sources.iter().map(read_again).collect::<Vec<_>>());
    let is_live = plan.outputs.iter().any(Output::is_live);
    let pool = BufferPool::new(plan.limits.morsel_bytes, plan.limits.worker_count() * 4);
    let reader = SourceReader::new(sources, &plan.limits, is_live, pool.clone(), control);
    let (reader, sample) = sample_aside(reader, plan.limits.sample_bytes, is_live, control)?;
    // Only now the formats are known for certain.
    let type_merge = reader.type_merge();
    let order = Arc::new(OrderCounts::default());
    let outputs = open_outputs(plan, type_merge, &order)?;
    let prepared = Prepared::new(plan, type_merge, &sample)?;
    // Text outputs with types (NDJSON of CSV) cannot take back a number that should have been text;
    // where the source can be read twice, it is.
    let typed_text = prepared.rules.demands.types_fixed && type_merge == TypeMerge::Text;
    let full = reading.full || plan.schema.from == SchemaFrom::Auto && typed_text;
    let may_start_over = reading.rereadable && !is_live && prepared.rules.policy == SchemaPolicy::Evolve;
    let seen = match again {
        Some(again) if full => full_schema(&prepared.rules, again, &plan.limits, control)?,
        _ => schema_of_sample(&prepared.rules, &sample, plan.limits.worker_count()),
    };
    let shared = share(prepared, seen)?;
    let rejects = plan.rejects.as_deref().map(RejectsFile::new);
    let writer = Writer::new(&shared, outputs, rejects, n_sources, may_start_over && !full, control);
    let (totals, finished) = match with_workers(&shared, reader, sample, &pool, |pieces| writer.run(pieces))? {
        Err(error @ Error::Schema { .. }) if may_start_over => return Err(AttemptEnd::StartOver(error)),
        result => result?,
    };
    Ok(Report {
        rows_in: totals.rows_in,
        rows_written: totals.rows_written,
        rows_filtered: totals.rows_filtered,
        rows_queried: None,
        rows_added: totals.rows_added,
        rows_rejected: totals.rows_rejected,
        bytes_in: control.bytes_read(),
        bytes_out: control.bytes_written(),
        duplicate_keys: totals.duplicate_keys,
        utf8_replaced: totals.utf8_replaced,
        cells_changed: totals.sheet.cells_changed(),
        elapsed: Duration::ZERO,
        schema: finished.columns,
        files: finished.files,
        rejects: finished.rejects,
        stopped_early: totals.stopped_early,
        reached_limit: totals.reached_limit,
        notes: totals.notes.into_iter().chain(order.note()).collect(),
    })
}

/// Opens all outputs of `plan` under their temporary names.
fn open_outputs(
    plan: &ExecutionPlan,
    type_merge: TypeMerge,
    order: &Arc<OrderCounts>,
) -> Result<Vec<OutputWriter>, Error> {
    let workers = plan.limits.worker_count();
    let sizes = Sizes::of(&plan.limits, workers);
    let metadata: Arc<[(String, String)]> = plan.metadata.clone().into();
    let open = |output: &Output| {
        let options = WriterOptions {
            metadata: metadata.clone(),
            sort_hint: plan.sort_hint.clone(),
            order: order.clone(),
            workers,
            ..WriterOptions::new(output.format, output.compression, type_merge, sizes.row_group_bytes)
        };
        OutputWriter::open(output, options, sizes.waiting_bytes)
    };
    plan.outputs.iter().map(open).collect()
}

/// Makes what all threads share, starting from the columns that were seen.
fn share(prepared: Prepared, seen: Schema) -> Result<ExecutionState, Error> {
    let schema = prepared.rules.initial_schema(seen)?;
    // A step that does not go with them says so itself.
    if let Ok(columns) = prepared.columns_after_steps(&schema) {
        prepared.outputs.check_divisions(&columns)?;
    }
    Ok(ExecutionState {
        prepared: Arc::new(prepared),
        registry: Arc::new(SchemaRegistry::new(schema)),
        sequencer: Arc::new(Sequencer::default()),
    })
}
