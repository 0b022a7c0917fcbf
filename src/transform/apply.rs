//! Steps applied to batches.

use std::sync::Arc;

use super::distinct::SpillBudget;
use super::error::Error;
use super::options::StepOptions;
use super::record_spans::RecordSpans;
use super::row_tracker::RowTracker;
use super::step::{Running, Step};
use super::step_counts::StepCounts;
use crate::column::{Batch, Schema};

/// What the steps made of a batch.
#[derive(Debug)]
pub struct Applied {
    /// The rows that stay.
    pub batch: Batch,
    /// For each of them its place among the rows as decoded, where that is asked for.
    pub origins: Option<Vec<u32>>,
    /// The limit is reached: nothing after so many of the rows as decoded was looked at.
    pub taken: Option<usize>,
    /// What became of the others.
    pub tally: StepCounts,
}

/// The steps of one worker, or of the writer where they need to see every row in order.
#[derive(Debug)]
pub struct Steps {
    steps: Vec<Running>,
    options: StepOptions,
    /// Expressions and casts whose value was null because it could not be made, and in how many rows.
    nulled: Vec<(Arc<str>, u64)>,
}

impl Steps {
    /// Makes `steps` ready. Those that remember rows share the room.
    pub fn new(steps: &[Step], options: StepOptions) -> Self {
        let sharing = steps.iter().filter(|step| step.properties().remembers).count();
        let room = SpillBudget { max_bytes: options.room.max_bytes / sharing.max(1), ..options.room.clone() };
        let own = StepOptions { room, ..options.clone() };
        Steps { steps: steps.iter().map(|step| step.start(&own)).collect(), options, nulled: Vec::new() }
    }

    /// Splits a plan's steps: those that look at one row at a time and may run on any worker, and
    /// from the first that must see every row in order, the rest.
    pub fn split(steps: &[Step]) -> (&[Step], &[Step]) {
        let at = steps.iter().position(|step| step.properties().needs_order).unwrap_or(steps.len());
        steps.split_at(at)
    }

    /// Applies all steps. `origins` are those of the batch's rows, asked for where rows are counted to a
    /// limit or traced back to their records, which stand in `places`; `tally` is of the steps before.
    pub fn apply(
        &mut self,
        mut batch: Batch,
        origins: Option<Vec<u32>>,
        tally: StepCounts,
        places: Option<&RecordSpans>,
    ) -> Result<Applied, Error> {
        let on_bad_cast = self.options.on_bad_cast;
        let mut rows = RowTracker { origins, tally, taken: None, places, nulled: &mut self.nulled, on_bad_cast };
        for step in &mut self.steps {
            batch = step.apply(batch, &mut rows, &self.options)?;
        }
        let RowTracker { origins, mut tally, taken, .. } = rows;
        if let Some(taken) = taken {
            tally.end_after(taken);
        }
        Ok(Applied { batch, origins, taken, tally })
    }

    /// Comparisons that met values of a kind that they do not compare, as they are written, with the
    /// number of such rows since the last call.
    pub fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
        self.steps.iter_mut().flat_map(Running::take_mismatches).collect()
    }

    /// Expressions and casts whose value was null because it could not be made, with the number of such
    /// rows since the last call.
    pub fn take_nulled(&mut self) -> Vec<(Arc<str>, u64)> {
        std::mem::take(&mut self.nulled)
    }

    /// The columns that come out of the steps for these columns going in.
    pub fn output_schema(&self, schema: &Schema) -> Result<Schema, Error> {
        self.steps.iter().try_fold(schema.clone(), |schema, step| step.output_schema(schema, &self.options))
    }
}
