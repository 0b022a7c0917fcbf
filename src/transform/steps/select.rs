//! `select`: projects rows to columns, and to values inside columns, in the given order.

use std::sync::Arc;

use crate::column::{Batch, Field, Schema};
use crate::transform::binding::Binding;
use crate::transform::describe::StepText;
use crate::transform::error::Error;
use crate::transform::expr::{self, Path, as_read_at, column_at, parse_names, type_at};
use crate::transform::kind::{ArgumentForm, Properties, RunningStep, StepKind, WrittenStep};
use crate::transform::needed::Needed;
use crate::transform::options::StepOptions;
use crate::transform::row_tracker::RowTracker;

/// Parameters of `select`: the output columns.
#[derive(Clone, Debug)]
pub struct Select {
    selected: Vec<Selected>,
    /// Text as written, for messages.
    text: Arc<str>,
}

/// One output column of a selection.
#[derive(Clone, Debug)]
struct Selected {
    /// Column, or value inside one, that it contains.
    path: Path,
    /// Name of the output column.
    name: Arc<str>,
}

impl Select {
    /// Selects the columns `names`, which must exist.
    pub fn by_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let selected = names.into_iter().map(|name| Selected { path: Path::column(name), name: name.into() });
        Select { selected: selected.collect(), text: "columns".into() }
    }

    /// Parses column names, and paths to values inside columns.
    pub fn parse(text: &str) -> Result<Self, expr::Error> {
        let selected = parse_names(text)?.into_iter().map(|path| Selected { name: path.to_string().into(), path });
        Ok(Select { selected: selected.collect(), text: text.into() })
    }
}

impl WrittenStep for Select {
    const WORD: &'static str = "select";
    const FORM: ArgumentForm = ArgumentForm::Names;

    fn parse(text: &str, _: u64) -> Result<Vec<Self>, expr::Error> {
        Select::parse(text).map(|step| vec![step])
    }
}

impl StepKind for Select {
    type Running = Running;

    fn describe(&self) -> StepText {
        StepText::new(Self::WORD, &*self.text)
    }

    fn properties(&self) -> Properties {
        Properties::default()
    }

    fn bind(&mut self, columns: &mut Binding) -> Result<(), expr::Error> {
        for i in 0..self.selected.len() {
            let Selected { path, name } = &mut self.selected[i];
            columns.resolve(path, &self.text)?;
            *name = path.to_string().into();
            // Names are compared after binding: `hq.city` and `"hq.city"` can be the same column.
            let (before, rest) = self.selected.split_at(i);
            if let Some(first) = before.iter().find(|s| s.name == rest[0].name) {
                let (first, second) = (written(&first.path, &self.text), written(&rest[0].path, &self.text));
                let message = format!("duplicate column `{}`: selected as `{first}` and as `{second}`", rest[0].name);
                return Err(expr::Error::new(&self.text, rest[0].path.at, message));
            }
        }
        columns.update_schema(|schema| *schema = output_schema(schema, &self.selected));
        columns.mark_complete();
        Ok(())
    }

    fn add_needed(&self, needed: &mut Needed) {
        *needed = Needed::Only(self.selected.iter().map(|s| s.path.column.to_string()).collect());
    }

    fn add_looked_at(&self, looked_at: &mut Needed) {
        let later = |selected: &&Selected| looked_at.contains(&selected.name);
        let columns = self.selected.iter().filter(later).map(|selected| selected.path.column.to_string()).collect();
        *looked_at = Needed::Only(columns);
    }

    fn start(&self, _: &StepOptions) -> Running {
        Running(self.selected.clone())
    }
}

/// A running selection of output columns.
#[derive(Debug)]
pub(crate) struct Running(Vec<Selected>);

impl RunningStep for Running {
    fn output_schema(&self, schema: Schema, _: &StepOptions) -> Result<Schema, Error> {
        Ok(output_schema(&schema, &self.0))
    }

    fn apply(&mut self, batch: Batch, _: &mut RowTracker<'_>, _: &StepOptions) -> Result<Batch, Error> {
        let mut columns = Vec::with_capacity(self.0.len());
        let mut fields = Vec::with_capacity(self.0.len());
        let mut as_read = Vec::with_capacity(self.0.len());
        for Selected { path, name } in &self.0 {
            // A column that the batch lacks is null, so that every batch has all selected columns.
            let (column, ty) = column_at(&batch, path)?;
            columns.push(column);
            fields.push(Field::new(name.clone(), ty));
            as_read.push(as_read_at(&batch, path)?);
        }
        let selected = Batch::new(Arc::new(Schema::new(fields)), columns, batch.rows);
        Ok(if batch.as_read.is_empty() { selected } else { Batch { as_read, ..selected } })
    }
}

fn output_schema(schema: &Schema, selected: &[Selected]) -> Schema {
    Schema::new(selected.iter().map(|s| Field::new(s.name.clone(), type_at(schema, &s.path))).collect())
}

/// Returns the path as written in `text`, for messages about two spellings of one name.
fn written(path: &Path, text: &str) -> String {
    let rest = text.get(path.at..).unwrap_or_default();
    let mut quote = None;
    let end = rest.char_indices().find(|&(_, c)| match quote {
        Some(open) => {
            if c == open {
                quote = None;
            }
            false
        }
        None if c == '"' || c == '`' => {
            quote = Some(c);
            false
        }
        None => c == ',',
    });
    rest[..end.map_or(rest.len(), |(i, _)| i)].trim().to_owned()
}
