//! `with`: adds a column computed by an expression, or replaces the column of that name.

use std::fmt;
use std::sync::Arc;

use crate::column::{Batch, Schema, TypeMerge};
use crate::transform::binding::Binding;
use crate::transform::derived_column::{DerivedColumn, ValuesSeen};
use crate::transform::describe::{StepMemory, StepText};
use crate::transform::error::Error;
use crate::transform::expr::{self, Operand, parse_assignments, type_of};
use crate::transform::kind::{Properties, RunningStep, StepKind, WrittenStep};
use crate::transform::needed::Needed;
use crate::transform::options::StepOptions;
use crate::transform::row_tracker::RowTracker;

/// Parameters of `with`: the name of the column and its expression.
#[derive(Clone)]
pub struct With {
    name: Arc<str>,
    value: Operand,
    /// Text as written, for messages; several steps may share one text.
    text: Arc<str>,
    /// State of one execution, both of its passes.
    seen: ValuesSeen,
}

/// The parameters alone.
impl fmt::Debug for With {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let With { name, value, text, seen: _ } = self;
        f.debug_struct("With").field("name", name).field("value", value).field("text", text).finish()
    }
}

impl With {
    /// Parses `name = expression`, several separated by commas.
    pub fn parse(text: &str) -> Result<Vec<Self>, expr::Error> {
        let with = parse_assignments(text)?.into_iter();
        let step = |with: expr::Assignment| With {
            name: with.name.into(),
            value: with.value,
            text: text.into(),
            seen: ValuesSeen::default(),
        };
        Ok(with.map(step).collect())
    }
}

impl WrittenStep for With {
    const WORD: &'static str = "with";

    fn parse(text: &str, _: u64) -> Result<Vec<Self>, expr::Error> {
        With::parse(text)
    }
}

impl StepKind for With {
    type Running = Running;

    fn describe(&self) -> StepText {
        StepText::new(Self::WORD, &*self.text).with_memory(StepMemory::of_expression(self.value.reads_row_number()))
    }

    fn properties(&self) -> Properties {
        let needs_order = self.value.reads_row_number();
        Properties { needs_record_spans: true, needs_order, ..Properties::default() }
    }

    fn begin(&mut self) {
        self.seen = ValuesSeen::default();
    }

    fn bind(&mut self, columns: &mut Binding) -> Result<(), expr::Error> {
        let With { name, value, text, .. } = self;
        columns.resolve_each(text, |each| value.paths_mut(each))?;
        columns.check_tests(text, |each| value.tests(each))?;
        if columns.type_merge() == TypeMerge::Json {
            expr::check_operand(value, columns.schema()).map_err(|error| error.in_text(text))?;
        }
        columns.set_type(name, type_of(value, columns.schema(), columns.type_merge()));
        Ok(())
    }

    fn add_needed(&self, needed: &mut Needed) {
        if let Needed::Only(only) = needed {
            only.remove(&*self.name);
        }
        self.value.paths(&mut |path| needed.add([&*path.column]));
    }

    fn add_looked_at(&self, looked_at: &mut Needed) {
        self.value.paths(&mut |path| looked_at.add([&*path.column]));
    }

    fn start(&self, options: &StepOptions) -> Running {
        let label = format!("{} {}", Self::WORD, self.text);
        let seen = self.seen.clone();
        let (name, value) = (self.name.clone(), self.value.clone());
        Running(DerivedColumn::new(name, value, &self.text, label, seen, options.type_merge))
    }
}

/// A running computation of one column.
#[derive(Debug)]
pub(crate) struct Running(DerivedColumn);

impl RunningStep for Running {
    fn output_schema(&self, schema: Schema, options: &StepOptions) -> Result<Schema, Error> {
        Ok(self.0.output_schema(schema, options))
    }

    fn apply(&mut self, batch: Batch, rows: &mut RowTracker<'_>, options: &StepOptions) -> Result<Batch, Error> {
        self.0.apply(batch, rows, options)
    }

    fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
        self.0.take_mismatches()
    }
}
