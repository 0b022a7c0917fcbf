//! `sql`: replaces the rows by the result of a query, as the last step. A query that processes one row at a time runs
//! as a step, if all columns are known from the start; for other queries see [`Query::execute`].

use std::cell::RefCell;
use std::sync::Arc;

use crate::column::{Batch, Schema};
use crate::transform::binding::Binding;
use crate::transform::describe::{StepMemory, StepText};
use crate::transform::error::Error;
use crate::transform::expr;
use crate::transform::kind::{Properties, RunningStep, StepKind, WrittenStep};
use crate::transform::needed::Needed;
use crate::transform::options::StepOptions;
use crate::transform::row_tracker::RowTracker;
use crate::transform::sql::{ByRows, Query, SqlError};

impl WrittenStep for Arc<Query> {
    const WORD: &'static str = "sql";

    fn parse(text: &str, _: u64) -> Result<Vec<Self>, expr::Error> {
        Query::parse(text).map(|query| vec![Arc::new(query)])
    }
}

impl StepKind for Arc<Query> {
    type Running = Running;

    fn describe(&self) -> StepText {
        // The memory class of most queries; `explain`, which knows the columns, corrects it for those that stream.
        StepText::new(Self::WORD, &**self.text()).with_memory(StepMemory::Spills)
    }

    fn properties(&self) -> Properties {
        Properties::default()
    }

    /// Does nothing: the planner checks the query against the columns.
    fn bind(&mut self, _: &mut Binding) -> Result<(), expr::Error> {
        Ok(())
    }

    fn add_needed(&self, needed: &mut Needed) {
        *needed = Needed::All;
    }

    fn add_looked_at(&self, looked_at: &mut Needed) {
        // The query takes typed values, and later steps see those that it returns.
        *looked_at = Needed::Only(Default::default());
    }

    fn start(&self, _: &StepOptions) -> Running {
        Running { query: self.clone(), compiled: RefCell::default() }
    }
}

/// A running query that processes one row at a time.
#[derive(Debug)]
pub(crate) struct Running {
    query: Arc<Query>,
    /// Query compiled for the columns of the previous batch, which the next batch usually shares.
    compiled: RefCell<Option<Arc<ByRows>>>,
}

impl Running {
    fn compiled_for(&self, columns: &Schema) -> Result<Arc<ByRows>, SqlError> {
        let mut compiled = self.compiled.borrow_mut();
        if let Some(compiled) = compiled.as_ref().filter(|compiled| compiled.input() == columns) {
            return Ok(compiled.clone());
        }
        // Planned anew when the columns change, because types are part of the plan.
        let made = self.query.by_rows(columns)?.ok_or_else(|| SqlError {
            message: "the query needs all rows and cannot run batch by batch".to_owned(),
            exhausted: false,
            hint: None,
        })?;
        Ok(compiled.insert(Arc::new(made)).clone())
    }
}

impl RunningStep for Running {
    fn output_schema(&self, schema: Schema, _: &StepOptions) -> Result<Schema, Error> {
        Ok((**self.compiled_for(&schema)?.output()).clone())
    }

    fn apply(&mut self, batch: Batch, rows: &mut RowTracker<'_>, _: &StepOptions) -> Result<Batch, Error> {
        let (result, kept) = self.compiled_for(&batch.schema)?.apply(&batch)?;
        if let Some(kept) = kept {
            rows.note_kept(batch.rows, &kept);
        }
        Ok(result)
    }
}
