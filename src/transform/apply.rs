//! Applies the steps of a plan to decoded batches, on a worker or, for steps that need every row in order, on the
//! writer. Counts the rows that each step drops, adds or rejects; reads no source and writes no output.

use std::sync::Arc;

use super::batch_origin::BatchOrigin;
use super::distinct::SpillBudget;
use super::error::Error;
use super::needs::looks;
use super::options::StepOptions;
use super::record_spans::RecordSpans;
use super::row_tracker::RowTracker;
use super::step::{Running, Step};
use super::step_counts::StepCounts;
use crate::column::{Batch, Schema};

/// A batch after the steps, with the origins and the counts of its rows.
#[derive(Debug)]
pub struct Applied {
    /// The rows that passed all steps.
    pub batch: Batch,
    /// Index of each row among the decoded rows; `None` if origins are not traced.
    pub origins: Option<Vec<u32>>,
    /// Number of decoded rows that the steps evaluated before a limit was reached; `None` while no limit is reached.
    pub rows_until_limit: Option<usize>,
    /// Counts of the rows that were filtered, added or rejected.
    pub counts: StepCounts,
}

/// Running steps of one worker, or of the writer for those that need every row in order.
#[derive(Debug)]
pub struct Steps {
    steps: Vec<Running>,
    options: StepOptions,
    /// Index of the last step that looks at values as they were read; `None` if none does.
    last_look: Option<usize>,
    /// Labels of expressions and casts that produced null for a value they could not compute, with the number of rows.
    nulled: Vec<(Arc<str>, u64)>,
}

impl Steps {
    /// Starts `steps`. The stateful ones share the spill budget in equal parts.
    pub fn new(steps: &[Step], options: StepOptions) -> Self {
        // Each stateful step holds its own keys, so the sum stays within the budget.
        let sharing = steps.iter().filter(|step| step.properties().remembers).count();
        let spill_budget =
            SpillBudget { max_bytes: options.spill_budget.max_bytes / sharing.max(1), ..options.spill_budget.clone() };
        let own = StepOptions { spill_budget, ..options.clone() };
        let last_look = match options.keeps_as_read {
            true => None,
            false => steps.iter().rposition(looks),
        };
        Steps { steps: steps.iter().map(|step| step.start(&own)).collect(), options, last_look, nulled: Vec::new() }
    }

    /// Splits the steps of a plan into the row-wise prefix, which runs on any worker, and the rest, which starts at the
    /// first step that needs every row in order.
    pub fn split(steps: &[Step]) -> (&[Step], &[Step]) {
        // A row-wise step behind an ordered one must see its rows, so it stays with the rest.
        let at = steps.iter().position(|step| step.properties().needs_order).unwrap_or(steps.len());
        steps.split_at(at)
    }

    /// Applies all steps to `batch`.
    ///
    /// `origins` holds the index of each row among the decoded rows; it is required under a limit and where rows are
    /// traced back to their records in `record_spans`; all of these are from `origin`. `counts` carries the counts of the steps that ran before. Fails
    /// if two columns would have the same name, a spill file cannot be used, or a query fails.
    pub fn apply(
        &mut self,
        mut batch: Batch,
        origins: Option<Vec<u32>>,
        counts: StepCounts,
        record_spans: Option<&RecordSpans>,
        origin: &BatchOrigin,
    ) -> Result<Applied, Error> {
        let on_bad_cast = self.options.on_bad_cast;
        let mut rows = RowTracker {
            origins,
            counts,
            rows_until_limit: None,
            origin,
            record_spans,
            nulled: &mut self.nulled,
            on_bad_cast,
            is_last_look: false,
        };
        for (i, step) in self.steps.iter_mut().enumerate() {
            rows.is_last_look = self.last_look == Some(i);
            batch = step.apply(batch, &mut rows, &self.options)?;
            if rows.is_last_look {
                batch.as_read = Vec::new();
            }
        }
        let RowTracker { origins, mut counts, rows_until_limit, .. } = rows;
        // Steps before the limit have counted the whole batch, rows behind the limit included.
        if let Some(rows_until_limit) = rows_until_limit {
            counts.end_after(rows_until_limit);
        }
        Ok(Applied { batch, origins, rows_until_limit, counts })
    }

    /// Returns the comparisons that met values of incomparable types, as written, with the number of such rows since
    /// the last call.
    pub fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
        self.steps.iter_mut().flat_map(Running::take_mismatches).collect()
    }

    /// Returns the labels of expressions and casts that produced null for values they could not compute, with the
    /// number of such rows since the last call.
    pub fn take_nulled(&mut self) -> Vec<(Arc<str>, u64)> {
        std::mem::take(&mut self.nulled)
    }

    /// Infers the output columns of the steps for input columns of `schema`.
    pub fn output_schema(&self, schema: &Schema) -> Result<Schema, Error> {
        self.steps.iter().try_fold(schema.clone(), |schema, step| step.output_schema(schema, &self.options))
    }
}
