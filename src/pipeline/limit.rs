//! The record with which a row limit is reached, found before anything is written: the records behind it decide on no
//! column and no type of the outputs, wherever the morsels end. Applies the steps to the first records and keeps no row.

use std::sync::Arc;

use super::error::Error;
use super::input::{Item, SourceReader};
use super::message::{ItemResult, UnorderedRows};
use super::plan::{ExecutionPlan, Limits, OnBadRecord, Output, SchemaSource, Target};
use super::prepared::{ExecutionState, Prepared};
use super::progress::Control;
use super::schema::{full_schema, schema_of_sample};
use super::worker::Worker;
use crate::column::{Morsel, Schema, TypeMerge};
use crate::format::frame::BufferPool;
use crate::format::{Compression, CsvOptions, OutputFormat};
use crate::source::Source;
use crate::transform::{Step, Steps};

/// Finds the last record within the row limit of a plan.
pub(super) struct LimitFinder {
    worker: Worker,
    /// The ordered steps, among them the limit.
    steps: Steps,
    /// The columns so far.
    schema: Arc<Schema>,
    /// Records of the items so far.
    records: u64,
    /// True once it is certain that the limit is not found: an item has an error, which the execution reports.
    given_up: bool,
}

/// The end of a limit within an item.
pub(super) enum Cut {
    /// The records of the item within the limit.
    Records(Morsel),
    /// The item has the last row within the limit, and is not divided.
    Whole,
}

impl LimitFinder {
    /// Creates a finder for the limits of `plan`, whose sources begin with `sample`; `None` if no step limits the rows, or if
    /// the plan has an error.
    pub(super) fn new(
        plan: &ExecutionPlan,
        type_merge: TypeMerge,
        sample: &[Item],
        is_one_source: bool,
        source_columns: &[Arc<str>],
    ) -> Option<Self> {
        let last = plan.steps.iter().rposition(|step| step.properties().has_limit)?;
        LimitFinder::of_steps(plan, &plan.steps[..=last], type_merge, sample, is_one_source, source_columns)
    }

    /// Creates a finder for `steps`, the first of `plan`, the last of which is a limit.
    fn of_steps(
        plan: &ExecutionPlan,
        steps: &[Step],
        type_merge: TypeMerge,
        sample: &[Item],
        is_one_source: bool,
        source_columns: &[Arc<str>],
    ) -> Option<Self> {
        let mut steps = steps.to_vec();
        // What they find out about values is about rows behind the limit, too.
        steps.iter_mut().for_each(|step| step.begin());
        // Text, for which no value is typed. Steps mean the same for every output.
        let format = match type_merge {
            TypeMerge::Text => OutputFormat::Csv(CsvOptions::default()),
            TypeMerge::Json => OutputFormat::Ndjson,
        };
        let plan = ExecutionPlan {
            steps,
            on_bad_cast: plan.on_bad_cast,
            outputs: vec![Output { format, compression: Compression::None, target: Target::Stdout }],
            // NDJSON has no such column, and it decides on no row.
            schema: SchemaSource { extra_column: None, ..plan.schema.clone() },
            on_bad_record: OnBadRecord::Skip,
            // Columns may come late.
            whole_streams: true,
            lossy_utf8: plan.lossy_utf8,
            limits: plan.limits.clone(),
            ..ExecutionPlan::reading(Vec::new())
        };
        let columns = source_columns.to_vec();
        let mut prepared = Prepared::new(&plan, type_merge, sample, is_one_source, vec![None], columns).ok()?;
        prepared.rules.demands.record_spans = true;
        let seen = schema_of_sample(&prepared.rules, sample, plan.limits.sample_bytes, plan.limits.worker_count());
        let shared = ExecutionState::new(prepared, seen).ok()?;
        let steps = shared.prepared.writer_steps()?;
        let pool = BufferPool::new(plan.limits.morsel_bytes, 1);
        let schema = shared.registry.current();
        Some(LimitFinder { worker: Worker::new(&shared, &pool), steps, schema, records: 0, given_up: false })
    }

    /// Applies the steps to the next item. Returns where the limit ends in it, if it does.
    pub(super) fn end_in(&mut self, item: &Item) -> Option<Cut> {
        if self.given_up {
            return None;
        }
        self.try_end_in(item).unwrap_or_else(|_| {
            self.given_up = true;
            None
        })
    }

    fn try_end_in(&mut self, item: &Item) -> Result<Option<Cut>, Error> {
        for result in self.worker.unordered_rows(item.clone(), &mut self.schema)? {
            let ItemResult::Rows(rows) = result else { continue };
            let UnorderedRows { applied, counts, spans, .. } = *rows;
            let origin = counts.source.batch_origin(self.records);
            self.records += counts.records;
            let applied = self.steps.apply(applied.batch, applied.origins, applied.counts, spans.as_ref(), &origin)?;
            let Some(taken) = applied.rows_until_limit else { continue };
            let Item::Morsel(morsel, _) = item else { return Ok(Some(Cut::Whole)) };
            let Some(spans) = spans else { return Ok(Some(Cut::Whole)) };
            // The rows may be of a later part of the morsel.
            let start = (spans.morsel.byte_offset - morsel.byte_offset) as usize;
            let end = taken.checked_sub(1).and_then(|last| spans.spans.get(last));
            let end = start + end.map_or(0, |span| (span.start + span.len) as usize);
            return Ok(Some(match line_end(morsel, end) {
                Some(end) => Cut::Records(morsel.first(end)),
                None => Cut::Whole,
            }));
        }
        Ok(None)
    }
}

/// Drops the records of `sample` behind the plan's row limit. Returns false if there is none, or if it is not reached.
pub(super) fn cut_at_limit(
    plan: &ExecutionPlan,
    type_merge: TypeMerge,
    sample: &mut Vec<Item>,
    is_one_source: bool,
    source_columns: &[Arc<str>],
) -> bool {
    let mut is_cut = false;
    // One after the other: a step between two limits may not fit the records behind the first.
    for (i, step) in plan.steps.iter().enumerate() {
        if !step.properties().has_limit {
            continue;
        }
        let steps = &plan.steps[..=i];
        let finder = LimitFinder::of_steps(plan, steps, type_merge, sample, is_one_source, source_columns);
        let Some(mut finder) = finder else { continue };
        let ends = sample.iter().enumerate().find_map(|(i, item)| Some((i, finder.end_in(item)?)));
        let Some((last, cut)) = ends else { continue };
        sample.truncate(last + 1);
        if let (Cut::Records(records), Some(Item::Morsel(morsel, _))) = (cut, sample.last_mut()) {
            *morsel = records;
        }
        is_cut = true;
    }
    is_cut
}

/// Infers the schema of the records of `sources` up to the row limit of a plan.
pub(super) fn schema_within_limit(
    prepared: &Prepared,
    sources: Vec<Source>,
    limits: &Limits,
    finder: Option<LimitFinder>,
    control: &Control,
) -> Result<Schema, Error> {
    let Some(mut finder) = finder else { return full_schema(&prepared.rules, sources, limits, control) };
    // These records are read again and must not count twice.
    let quiet = control.without_counters();
    let pool = BufferPool::new(limits.morsel_bytes, 2);
    let mut reader = SourceReader::new(sources, limits, false, pool, &quiet);
    let mut schema = Schema::default();
    while let Some(item) = reader.next()? {
        let end = finder.end_in(&item);
        let is_last = end.is_some();
        let item = match (end, item) {
            (Some(Cut::Records(records)), Item::Morsel(_, info)) => Item::Morsel(records, info),
            (_, item) => item,
        };
        schema = schema.join(&prepared.rules.columns_of_item(&item), prepared.rules.type_merge);
        if is_last {
            break;
        }
    }
    Ok(schema)
}

/// Returns the end of the line that a record ends at byte `end`; `None` if the line goes on.
fn line_end(morsel: &Morsel, end: usize) -> Option<usize> {
    match morsel.records().get(end..)? {
        [] => Some(end),
        [b'\n', ..] => Some(end + 1),
        [b'\r', b'\n', ..] => Some(end + 2),
        _ if end == 0 => Some(0),
        _ => None,
    }
}
