//! `limit`: keeps the first rows and stops reading the input behind them.

use crate::column::{Batch, Schema};
use crate::transform::binding::Binding;
use crate::transform::describe::{StepMemory, StepText};
use crate::transform::error::Error;
use crate::transform::expr;
use crate::transform::kind::{ArgumentForm, Properties, RunningStep, StepKind, WrittenStep};
use crate::transform::needed::Needed;
use crate::transform::options::StepOptions;
use crate::transform::row_tracker::RowTracker;

/// Parameters of `limit`: the number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(pub u64);

impl WrittenStep for Limit {
    const WORD: &'static str = "limit";
    const FORM: ArgumentForm = ArgumentForm::Count;

    fn parse(text: &str, _: u64) -> Result<Vec<Self>, expr::Error> {
        let rows = text.trim().parse().map_err(|_| expr::Error::new(text, 0, "expected a non-negative integer"))?;
        Ok(vec![Limit(rows)])
    }
}

impl StepKind for Limit {
    type Running = Running;

    fn describe(&self) -> StepText {
        StepText::new(Self::WORD, self.0.to_string()).with_memory(StepMemory::StreamsInOrder)
    }

    fn properties(&self) -> Properties {
        Properties { keeps_records: true, needs_order: true, has_limit: true, ..Properties::default() }
    }

    fn bind(&mut self, _: &mut Binding) -> Result<(), expr::Error> {
        Ok(())
    }

    fn add_needed(&self, _: &mut Needed) {}

    fn start(&self, _: &StepOptions) -> Running {
        Running { remaining: self.0 }
    }
}

/// A running limit, with the rows that remain.
#[derive(Debug)]
pub(crate) struct Running {
    /// Rows that may still pass.
    remaining: u64,
}

impl RunningStep for Running {
    fn output_schema(&self, schema: Schema, _: &StepOptions) -> Result<Schema, Error> {
        Ok(schema)
    }

    fn apply(&mut self, batch: Batch, rows: &mut RowTracker<'_>, _: &StepOptions) -> Result<Batch, Error> {
        let n = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(batch.rows);
        self.remaining -= n as u64;
        if self.remaining == 0 {
            rows.end_after(n);
        }
        Ok(rows.first(batch, n))
    }
}
