//! `json`: converts the objects and lists of columns to JSON text. Other values are unchanged.

use std::sync::Arc;

use crate::column::{Batch, Schema, Type};
use crate::transform::binding::Binding;
use crate::transform::derived_column::{DerivedColumn, ValuesSeen};
use crate::transform::describe::StepText;
use crate::transform::error::Error;
use crate::transform::expr::{self, ComputedKind, Function, Operand, Path, parse_names, type_at};
use crate::transform::kind::{ArgumentForm, Properties, RunningStep, StepKind, WrittenStep};
use crate::transform::needed::Needed;
use crate::transform::options::StepOptions;
use crate::transform::row_tracker::RowTracker;

/// Parameters of `json`: the columns to convert.
#[derive(Clone, Debug)]
pub struct JsonText {
    columns: Vec<Path>,
    /// Text as written, for messages.
    text: Arc<str>,
}

impl JsonText {
    /// Parses column names, separated by commas.
    pub fn parse(text: &str) -> Result<Self, expr::Error> {
        Ok(JsonText { columns: parse_names(text)?, text: text.into() })
    }
}

impl WrittenStep for JsonText {
    const WORD: &'static str = "json";
    const FORM: ArgumentForm = ArgumentForm::Names;

    fn parse(text: &str, _: u64) -> Result<Vec<Self>, expr::Error> {
        JsonText::parse(text).map(|step| vec![step])
    }
}

impl StepKind for JsonText {
    type Running = Running;

    fn describe(&self) -> StepText {
        StepText::new(Self::WORD, &*self.text)
    }

    fn properties(&self) -> Properties {
        Properties::default()
    }

    fn bind(&mut self, columns: &mut Binding) -> Result<(), expr::Error> {
        for path in &mut self.columns {
            columns.resolve_whole(path, &self.text, "convert")?;
            if let Type::Struct(_) | Type::Map(_) | Type::List(_) = type_at(columns.schema(), path) {
                columns.set_type(&path.column, Type::Text);
            }
        }
        Ok(())
    }

    fn add_needed(&self, _: &mut Needed) {}

    fn add_looked_at(&self, looked_at: &mut Needed) {
        looked_at.add(self.columns.iter().map(|path| &*path.column));
    }

    fn add_written(&self, written: &mut Needed) {
        self.add_looked_at(written);
    }

    fn start(&self, options: &StepOptions) -> Running {
        let columns = self.columns.iter().map(|path| {
            let kind = ComputedKind::Call(Function::JsonText, vec![Operand::Column(path.clone())]);
            let label = format!("{} {}", Self::WORD, path.column);
            let seen = ValuesSeen::default();
            DerivedColumn::replacing(path.column.clone(), kind, &self.text, label, seen, options.type_merge)
        });
        Running(columns.collect())
    }
}

/// Running conversions, one computed column each.
#[derive(Debug)]
pub(crate) struct Running(Vec<DerivedColumn>);

impl RunningStep for Running {
    fn output_schema(&self, schema: Schema, options: &StepOptions) -> Result<Schema, Error> {
        Ok(self.0.iter().fold(schema, |schema, columns| columns.output_schema(schema, options)))
    }

    fn apply(&mut self, batch: Batch, rows: &mut RowTracker<'_>, options: &StepOptions) -> Result<Batch, Error> {
        self.0.iter_mut().try_fold(batch, |batch, columns| columns.apply(batch, rows, options))
    }

    fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
        self.0.iter_mut().flat_map(DerivedColumn::take_mismatches).collect()
    }
}
