//! `sql`: what a query makes of the rows; the last step. One that looks at single rows runs as a step, which must then
//! know all columns from the start. For others see [`Query::over`].

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
        // The columns tell which of the two ways it is.
        StepText::new(Self::WORD, &**self.text()).that(StepMemory::Spills)
    }

    fn properties(&self) -> Properties {
        Properties::default()
    }

    /// The query is held against the columns by those who plan it.
    fn bind(&mut self, _: &mut Binding) -> Result<(), expr::Error> {
        Ok(())
    }

    fn add_needed(&self, needed: &mut Needed) {
        *needed = Needed::All;
    }

    fn start(&self, _: &StepOptions) -> Running {
        Running { query: self.clone(), ready: RefCell::default() }
    }
}

/// A query over single rows at work.
#[derive(Debug)]
pub struct Running {
    query: Arc<Query>,
    /// For the columns of the batch before, which are those of the next as a rule.
    ready: RefCell<Option<Arc<ByRows>>>,
}

impl Running {
    fn over(&self, columns: &Schema) -> Result<Arc<ByRows>, SqlError> {
        let mut ready = self.ready.borrow_mut();
        if let Some(ready) = ready.as_ref().filter(|ready| ready.input() == columns) {
            return Ok(ready.clone());
        }
        let made = self.query.by_rows(columns)?.ok_or_else(|| SqlError {
            message: "it needs all rows, and cannot be done batch by batch".to_owned(),
            exhausted: false,
        })?;
        Ok(ready.insert(Arc::new(made)).clone())
    }
}

impl RunningStep for Running {
    fn output_schema(&self, schema: Schema, _: &StepOptions) -> Result<Schema, Error> {
        Ok((**self.over(&schema)?.output()).clone())
    }

    fn apply(&mut self, batch: Batch, rows: &mut RowTracker<'_>, _: &StepOptions) -> Result<Batch, Error> {
        let (answer, kept) = self.over(&batch.schema)?.apply(&batch)?;
        if let Some(kept) = kept {
            rows.note_kept(batch.rows, &kept);
        }
        Ok(answer)
    }
}
