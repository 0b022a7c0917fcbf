//! One pass of a plan from its sources to its outputs, without a query. If an output cannot follow a late change of the
//! schema and the sources can be read twice, the pass is repeated once, with the schema inferred from all records.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::Sizes;
use super::error::{Error, PlanError, SchemaChange};
use super::input::{
    Item, SourceDigests, SourceReader, can_be_reread, forget_streams, keep_streams, reopen, set_columns_read,
    source_columns, take_sample_on_thread,
};
use super::limit::{LimitFinder, cut_at_limit, schema_within_limit};
use super::output::{OrderCounts, OutputWriter, WriterOptions};
use super::plan::{ExecutionPlan, Output, SchemaFrom, SchemaPolicy, Target};
use super::prepared::{ExecutionState, Prepared};
use super::progress::{CANCEL_POLL, Control};
use super::rejects::RejectsFile;
use super::report::Report;
use super::schema::{full_schema, schema_of_sample};
use super::threads::with_workers;
use super::writer::Writer;
use crate::column::TypeMerge;
use crate::format::RowForm;
use crate::format::frame::BufferPool;
use crate::sink::TargetKind;
use crate::source::Source;
use crate::warehouse::LoadError;

/// Runs one pass from the sources to the outputs, and repeats it once if a late schema change requires that.
pub(super) fn pass(mut plan: ExecutionPlan, control: &Control) -> Result<Report, Error> {
    let started = Instant::now();
    let mut sources = std::mem::take(&mut plan.sources);
    let rereadable = can_be_reread(&sources);
    let mut full = plan.schema.from == SchemaFrom::Full;
    if full && !rereadable {
        return Err(PlanError::NotRereadable.into());
    }
    let is_live = plan.outputs.iter().any(|output| output.is_live(plan.whole_streams));
    // A live output has shown rows, and under other policies no late change is followed.
    let is_kept = !rereadable
        && !is_live
        && plan.schema.policy == SchemaPolicy::Evolve
        && keep_streams(&mut sources, plan.limits.spill_dir.as_deref());
    let mut lost = 0;
    loop {
        let reread = rereadable || is_kept;
        let once = if reread { sources.iter().map(reopen).collect() } else { std::mem::take(&mut sources) };
        match attempt(&plan, once, ReadMode { rereadable, is_kept, full }, control) {
            Ok(mut report) => {
                if lost > 0 {
                    report.notes.push(format!(
                        "began again {} because the system of a table was lost, locked or busy, or the table had changed for \
                         these rows",
                        times(lost)
                    ));
                }
                return Ok(Report { elapsed: started.elapsed(), ..report });
            }
            // Nothing of the load is in the table, and it knows whether an earlier one was committed after all.
            Err(AttemptEnd::Error(Error::Load(error)))
                if error.is_transient() && rereadable && !is_live && lost < MAX_LOAD_RETRIES =>
            {
                wait_before_retry(lost, control)?;
                lost += 1;
                control.reset();
            }
            // The second attempt infers from all records, so that it meets no late change.
            Err(AttemptEnd::StartOver(_)) if !full => {
                full = true;
                control.reset();
            }
            Err(AttemptEnd::Error(error) | AttemptEnd::StartOver(error)) => return Err(error),
        }
    }
}

/// The most times that a pass begins again because the system of a table was lost.
const MAX_LOAD_RETRIES: u32 = 4;

/// Waits 1, 2, 4 and 8 seconds before the retries of a load.
fn wait_before_retry(retry: u32, control: &Control) -> Result<(), Error> {
    let end = Instant::now() + Duration::from_secs(1 << retry);
    while Instant::now() < end {
        if control.is_cancelled() {
            return Err(Error::Cancelled);
        }
        std::thread::sleep(CANCEL_POLL);
    }
    Ok(())
}

fn times(n: u32) -> String {
    if n == 1 { "once".to_owned() } else { format!("{n} times") }
}

/// The way in which the sources of one attempt are read.
#[derive(Clone, Copy)]
struct ReadMode {
    /// True if all sources are files, which can be read twice.
    rereadable: bool,
    /// True if they are read for the first time, or again, from what is kept of streams: only after a late change is it worth
    /// a second reading.
    is_kept: bool,
    /// True if all records are read before, to infer the schema.
    full: bool,
}

/// The error that ended an attempt.
enum AttemptEnd {
    Error(Error),
    /// An error that a schema inferred from all records avoids.
    StartOver(Error),
}

impl From<Error> for AttemptEnd {
    fn from(error: Error) -> Self {
        AttemptEnd::Error(error)
    }
}

/// Executes `plan` with `sources`, once.
fn attempt(
    plan: &ExecutionPlan,
    mut sources: Vec<Source>,
    mode: ReadMode,
    control: &Control,
) -> Result<Report, AttemptEnd> {
    set_columns_read(&mut sources, &plan.steps);
    let n_sources = sources.len();
    let source_columns = source_columns(&sources);
    let reread = mode.rereadable || mode.is_kept && mode.full;
    let reread = reread.then(|| sources.iter().map(reopen).collect::<Vec<_>>());
    let kept = if mode.is_kept { sources.iter().map(reopen).collect() } else { Vec::new() };
    let is_live = plan.outputs.iter().any(|output| output.is_live(plan.whole_streams));
    // As many buffers as there are slots for groups of one morsel.
    let pool = BufferPool::new(plan.limits.morsel_bytes, plan.limits.worker_count() * 4);
    let mut reader = SourceReader::new(sources, &plan.limits, is_live, pool.clone(), control);
    let digests = SourceDigests::new(n_sources);
    if plan.outputs.iter().any(|output| matches!(output.target, Target::Table(_))) {
        let has_limit = plan.steps.iter().any(|step| step.properties().has_limit);
        reader = reader.digesting(digests.clone(), has_limit);
    }
    let (reader, mut sample) = take_sample_on_thread(reader, plan.limits.sample_bytes, is_live, control)?;
    // The formats are certain only after the sample: a source without a declared format is detected by its content.
    let type_merge = reader.type_merge();
    let order = Arc::new(OrderCounts::default());
    // Before a long inference: an output that cannot be opened is to fail at once.
    let is_kept = mode.is_kept && needs_kept_streams(plan, type_merge);
    if mode.is_kept && !is_kept {
        forget_streams(&kept);
    }
    // A live output has shown rows, which a repeated pass would show again.
    let may_start_over = (mode.rereadable || is_kept) && !is_live && plan.schema.policy == SchemaPolicy::Evolve;
    let mut outputs = open_outputs(plan, type_merge, &order, may_start_over && !mode.full, control)?;
    let is_one = n_sources == 1;
    let prepare = |sample: &[Item], outputs: &[OutputWriter]| {
        let tables = outputs.iter().map(OutputWriter::table_rows).collect();
        Prepared::new(plan, type_merge, sample, is_one, tables, source_columns.clone())
    };
    // Steps behind a row limit may not fit the values of records behind it, which they never see.
    let mut is_cut = false;
    let mut prepared = match prepare(&sample, &outputs) {
        Ok(prepared) => prepared,
        Err(error) => {
            is_cut = cut_at_limit(plan, type_merge, &mut sample, is_one, &source_columns);
            if !is_cut {
                return Err(error.into());
            }
            prepare(&sample, &outputs).map_err(|_| error)?
        }
    };
    // Where the sample is the whole input, a column that steps refer to and no record has is an error before any is
    // written; else the writer finds it at the end, before an output appears.
    let is_whole = n_sources == sample.iter().filter(|item| matches!(item, Item::SourceEnd(_))).count();
    if is_whole
        && !plan.schema.is_part
        && let Some(error) = prepared.unseen.error_in(&sample, &plan.limits, &plan.schema, type_merge)
    {
        return Err(error.into());
    }
    // No record behind a row limit decides on a column or a type. A name is no mistake if one of them has it.
    is_cut |= cut_at_limit(plan, type_merge, &mut sample, is_one, &source_columns);
    // A column that a step writes, and that only records behind the limit have, is one that no record has.
    if is_cut && let Ok(again) = prepare(&sample, &outputs) {
        prepared.rules.demands.written_late = again.rules.demands.written_late;
    }
    // JSON from CSV cannot turn a number that was written back into text, so all records are read first
    // where the sources can be read twice.
    let typed_text = prepared.rules.demands.types_fixed && type_merge == TypeMerge::Text;
    // The first of several Parquet or Arrow sources shows nothing of the columns of the others.
    let many_columnar = n_sources > 1 && sample.iter().any(|item| matches!(item, Item::Rows(..)));
    let auto = plan.schema.from == SchemaFrom::Auto;
    let full = mode.full || auto && (typed_text || many_columnar);
    let (sample_bytes, workers) = (plan.limits.sample_bytes, plan.limits.worker_count());
    let seen = match reread {
        // Of all records, if that was asked for; else of those that are needed.
        Some(_) if full && is_cut && auto => schema_of_sample(&prepared.rules, &sample, usize::MAX, workers),
        Some(reread) if full && prepared.has_limit && auto => {
            let finder = LimitFinder::new(plan, type_merge, &sample, n_sources == 1, &source_columns);
            schema_within_limit(&prepared, reread, &plan.limits, finder, control)?
        }
        Some(reread) if full => full_schema(&prepared.rules, reread, &plan.limits, control)?,
        _ => schema_of_sample(&prepared.rules, &sample, sample_bytes, workers),
    };
    let may_start_over = (mode.rereadable || is_kept) && !is_live && prepared.rules.policy == SchemaPolicy::Evolve;
    let shared = ExecutionState::new(prepared, seen)?;
    let rejects = plan.rejects.as_deref().map(RejectsFile::new);
    let notes = check_columns(&shared, &mut outputs)?;
    let mut writer = Writer::new(&shared, outputs, rejects, n_sources, digests, may_start_over && !full, control);
    writer.add_notes(notes);
    if is_cut {
        writer.require_limit();
    }
    let (totals, finished) =
        match with_workers(&shared, reader, sample, &pool, |group_results| writer.run(group_results))? {
            Err(error) if may_start_over && can_be_avoided(&error) && (mode.rereadable || can_be_reread(&kept)) => {
                return Err(AttemptEnd::StartOver(error));
            }
            result => result?,
        };
    Ok(Report {
        rows_in: totals.rows_in,
        rows_written: totals.rows_written,
        rows_there_before: totals.rows_there_before,
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
        input_schema: totals.input_schema,
        unseen_columns: totals.unseen_columns,
        files: finished.files,
        loads: finished.loads,
        rejects: finished.rejects,
        stopped_early: totals.stopped_early,
        reached_limit: totals.reached_limit,
        other_delimiter: totals.other_delimiter,
        text_columns: totals.text_columns,
        notes: totals.notes.into_iter().chain(order.note()).collect(),
    })
}

/// Returns true if a late change may lose the text of values that were written, so that streams are kept to be read again: of
/// cells of CSV that were numbers, and of numbers of a table. All other changes are followed without that.
fn needs_kept_streams(plan: &ExecutionPlan, type_merge: TypeMerge) -> bool {
    let is_text_alone = plan.outputs.iter().all(|output| output.format.properties().rows == RowForm::Cells);
    let any_table = plan.outputs.iter().any(|output| matches!(output.target, Target::Table(_)));
    any_table || type_merge == TypeMerge::Text && !is_text_alone
}

/// Returns true for an error that a schema inferred from all records may avoid.
fn can_be_avoided(error: &Error) -> bool {
    match error {
        Error::Schema { change, .. } => !matches!(change, SchemaChange::Misfit(_)),
        Error::Load(LoadError::SpellingLost { .. }) => true,
        _ => false,
    }
}

/// Checks the columns that are known so far against the tables among the outputs. Returns sentences for the report.
fn check_columns(shared: &ExecutionState, outputs: &mut [OutputWriter]) -> Result<Vec<String>, Error> {
    // Steps that fail on these columns report a better error when they are applied.
    let Ok(columns) = shared.prepared.columns_after_steps(&shared.registry.current()) else { return Ok(Vec::new()) };
    let notes = outputs.iter_mut().map(|output| output.check_columns(&columns)).collect::<Result<Vec<_>, _>>()?;
    Ok(notes.into_iter().flatten().collect())
}

/// Opens all outputs of `plan` under temporary names. Files that rows are appended to are locked in the order of their
/// paths: two commands that each held what the other waits for would wait for ever.
fn open_outputs(
    plan: &ExecutionPlan,
    type_merge: TypeMerge,
    order: &Arc<OrderCounts>,
    may_start_over: bool,
    control: &Control,
) -> Result<Vec<OutputWriter>, Error> {
    let workers = plan.limits.worker_count();
    let sizes = Sizes::of(&plan.limits, workers);
    let metadata: Arc<[(String, String)]> = plan.metadata.clone().into();
    let open = |output: &Output| {
        let options = WriterOptions {
            footer_bytes: sizes.footer_bytes,
            spill_dir: plan.limits.spill_dir.clone(),
            metadata: metadata.clone(),
            sort_hint: plan.sort_hint.clone(),
            order: order.clone(),
            workers,
            whole_streams: plan.whole_streams,
            may_start_over,
            ..WriterOptions::new(output.format, output.compression, type_merge, sizes.row_group_bytes)
        };
        control.waiting_for_locks(|on_wait| {
            let widening = plan.schema.policy.widening();
            OutputWriter::open(output, options, sizes.buffered_bytes, on_wait, widening, control.uploads())
        })
    };
    let lock_path = |output: &Output| match &output.target {
        Target::File { path, append: true, .. } => match TargetKind::of(path) {
            Ok(TargetKind::File(file)) => Some(file.path),
            _ => None,
        },
        _ => None,
    };
    let mut outputs: Vec<(usize, &Output)> = plan.outputs.iter().enumerate().collect();
    outputs.sort_by_key(|(_, output)| lock_path(output));
    let opened = outputs.into_iter().map(|(i, output)| Ok((i, open(output)?)));
    let mut opened = opened.collect::<Result<Vec<_>, Error>>().map_err(|error| match control.is_cancelled() {
        true => Error::Cancelled,
        false => error,
    })?;
    opened.sort_by_key(|(i, _)| *i);
    Ok(opened.into_iter().map(|(_, output)| output).collect())
}
