//! `check`: rejects the rows that an output cannot hold, such as numbers beyond a column of its table. It has no text form:
//! the engine adds it behind all other steps.

use std::fmt::Debug;
use std::sync::Arc;

use crate::column::{Batch, Schema};
use crate::transform::binding::Binding;
use crate::transform::describe::StepText;
use crate::transform::error::Error;
use crate::transform::expr;
use crate::transform::kind::{Properties, RunningStep, StepKind};
use crate::transform::needed::Needed;
use crate::transform::options::StepOptions;
use crate::transform::row_tracker::RowTracker;
use crate::transform::step_counts::FailedRow;

/// The check of an output. Pure.
pub trait RowCheck: Debug + Send + Sync {
    /// Returns the rows of `batch` that the output cannot hold, ascending, each once. [`FailedRow::row`] is the index in
    /// the batch.
    fn bad_rows(&self, batch: &Batch) -> Vec<FailedRow>;
}

/// Parameters of the step: the check.
#[derive(Clone, Debug)]
pub struct CheckRows(pub Arc<dyn RowCheck>);

impl StepKind for CheckRows {
    type Running = Running;

    fn describe(&self) -> StepText {
        StepText::new("check", "rows that the output cannot hold")
    }

    fn properties(&self) -> Properties {
        Properties { needs_record_spans: true, ..Properties::default() }
    }

    fn bind(&mut self, _: &mut Binding) -> Result<(), expr::Error> {
        Ok(())
    }

    fn add_needed(&self, _: &mut Needed) {}

    fn start(&self, _: &StepOptions) -> Running {
        Running(self.0.clone())
    }
}

/// The running check, which has no state.
#[derive(Debug)]
pub(crate) struct Running(Arc<dyn RowCheck>);

impl RunningStep for Running {
    fn output_schema(&self, schema: Schema, _: &StepOptions) -> Result<Schema, Error> {
        Ok(schema)
    }

    fn apply(&mut self, batch: Batch, rows: &mut RowTracker<'_>, _: &StepOptions) -> Result<Batch, Error> {
        let bad = self.0.bad_rows(&batch);
        match bad.is_empty() {
            true => Ok(batch),
            false => rows.reject(batch, bad),
        }
    }
}
