//! `remove_columns`, or `drop`: drops columns and keeps the others in their order.

use std::sync::Arc;

use crate::column::{Batch, Schema};
use crate::transform::binding::Binding;
use crate::transform::describe::StepText;
use crate::transform::error::Error;
use crate::transform::expr::{self, Path, parse_names};
use crate::transform::kind::{ArgumentForm, Properties, RunningStep, StepKind, WrittenStep};
use crate::transform::needed::Needed;
use crate::transform::options::StepOptions;
use crate::transform::row_tracker::RowTracker;

/// Parameters of `remove_columns`: the columns to drop.
#[derive(Clone, Debug)]
pub struct RemoveColumns {
    columns: Vec<Path>,
    /// Text as written, for messages. `None` if the columns were given by name: then a missing one is no error, because
    /// it may appear in later records.
    text: Option<Arc<str>>,
}

impl RemoveColumns {
    /// Drops the columns `names`, as far as they exist.
    pub fn by_names(names: impl IntoIterator<Item = String>) -> Self {
        RemoveColumns { columns: names.into_iter().map(Path::column).collect(), text: None }
    }

    /// Returns the columns whose whole names these are, rather than paths into others.
    pub(in crate::transform) fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter(|path| path.segments.is_empty()).map(|path| &*path.column)
    }

    /// Parses column names, separated by commas.
    pub fn parse(text: &str) -> Result<Self, expr::Error> {
        Ok(RemoveColumns { columns: parse_names(text)?, text: Some(text.into()) })
    }
}

impl WrittenStep for RemoveColumns {
    const WORD: &'static str = "drop";
    const FORM: ArgumentForm = ArgumentForm::Names;

    fn parse(text: &str, _: u64) -> Result<Vec<Self>, expr::Error> {
        RemoveColumns::parse(text).map(|step| vec![step])
    }
}

impl StepKind for RemoveColumns {
    type Running = Running;

    fn describe(&self) -> StepText {
        match &self.text {
            Some(text) => StepText::new(Self::WORD, &**text),
            None => {
                let names: Vec<&str> = self.columns.iter().map(|path| &*path.column).collect();
                StepText::new("remove_columns", names.join(","))
            }
        }
    }

    fn properties(&self) -> Properties {
        Properties::default()
    }

    fn bind(&mut self, columns: &mut Binding) -> Result<(), expr::Error> {
        if let Some(text) = &self.text {
            self.columns.iter_mut().try_for_each(|path| columns.resolve_whole(path, text, "drop"))?;
            columns.mark_removed(self.columns.iter().map(|path| path.column.clone()));
        }
        columns
            .update_schema(|schema| schema.fields.retain(|field| !self.columns.iter().any(|p| p.column == field.name)));
        Ok(())
    }

    fn add_needed(&self, _: &mut Needed) {}

    fn start(&self, _: &StepOptions) -> Running {
        Running(self.columns.iter().map(|path| path.column.clone()).collect())
    }
}

/// A running removal of the named columns.
#[derive(Debug)]
pub(crate) struct Running(Vec<Arc<str>>);

impl RunningStep for Running {
    fn output_schema(&self, mut schema: Schema, _: &StepOptions) -> Result<Schema, Error> {
        schema.fields.retain(|field| !self.0.contains(&field.name));
        Ok(schema)
    }

    fn apply(&mut self, batch: Batch, _: &mut RowTracker<'_>, _: &StepOptions) -> Result<Batch, Error> {
        Ok(batch.without_columns(&self.0))
    }
}
