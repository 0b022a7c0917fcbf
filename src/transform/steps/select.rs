//! `select`: projects rows to columns, and to values inside columns, in the given order.

use std::sync::Arc;

use crate::column::{Batch, Field, Schema};
use crate::transform::binding::Binding;
use crate::transform::describe::StepText;
use crate::transform::error::Error;
use crate::transform::expr::{self, Path, SelectedPath, as_read_at, column_at, parse_selection, type_at};
use crate::transform::kind::{ArgumentForm, Properties, RunningStep, StepKind, WrittenStep};
use crate::transform::needed::Needed;
use crate::transform::options::StepOptions;
use crate::transform::row_tracker::RowTracker;

/// Parameters of `select`: the output columns, in order.
#[derive(Clone, Debug)]
pub struct Select {
    selected: Vec<Selected>,
    /// Number of selected columns before those that are not selected by name, `*`; `None` if these are left out.
    rest_at: Option<usize>,
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
        Select { selected: selected.collect(), rest_at: None, text: "columns".into() }
    }

    /// Parses column names, paths to values inside columns, and `*` for all other columns.
    pub fn parse(text: &str) -> Result<Self, expr::Error> {
        let (mut selected, mut rest_at) = (Vec::new(), None);
        for column in parse_selection(text)? {
            match column {
                SelectedPath::Path(path) => selected.push(Selected { name: path.to_string().into(), path }),
                SelectedPath::Rest => rest_at = Some(selected.len()),
            }
        }
        Ok(Select { selected, rest_at, text: text.into() })
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
        let opens_paths = self.selected.iter().any(|selected| !selected.path.segments.is_empty());
        Properties { opens_paths, ..Properties::default() }
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
        columns.update_schema(|schema| *schema = output_schema(schema, &self.columns(schema)));
        // Columns that no record had so far are among the others.
        if self.rest_at.is_none() {
            columns.mark_complete();
        }
        Ok(())
    }

    fn add_needed(&self, needed: &mut Needed) {
        *needed = match self.rest_at {
            Some(_) => Needed::All,
            None => Needed::Only(self.selected.iter().map(|s| s.path.column.to_string()).collect()),
        };
    }

    fn add_looked_at(&self, looked_at: &mut Needed) {
        let later = |selected: &&Selected| looked_at.contains(&selected.name);
        let columns = self.selected.iter().filter(later).map(|selected| selected.path.column.to_string());
        let others = |name: &&String| self.selected.iter().all(|selected| *selected.name != ***name);
        *looked_at = match (&*looked_at, self.rest_at) {
            (Needed::All, Some(_)) => Needed::All,
            (Needed::Only(names), Some(_)) => {
                Needed::Only(columns.chain(names.iter().filter(others).cloned()).collect())
            }
            (_, None) => Needed::Only(columns.collect()),
        };
    }

    fn start(&self, _: &StepOptions) -> Running {
        Running(self.clone())
    }
}

impl Select {
    /// Returns the selected columns of rows with the columns of `schema`.
    fn columns(&self, schema: &Schema) -> Vec<Selected> {
        let mut columns = self.selected.clone();
        if let Some(at) = self.rest_at {
            let names = schema.fields.iter().map(|field| &field.name);
            let rest = names.filter(|name| self.selected.iter().all(|selected| selected.name != **name));
            let rest = rest.map(|name| Selected { path: Path::column(name.clone()), name: name.clone() });
            columns.splice(at..at, rest.collect::<Vec<_>>());
        }
        columns
    }
}

/// A running selection of output columns.
#[derive(Debug)]
pub(crate) struct Running(Select);

impl RunningStep for Running {
    fn output_schema(&self, schema: Schema, _: &StepOptions) -> Result<Schema, Error> {
        Ok(output_schema(&schema, &self.0.columns(&schema)))
    }

    fn apply(&mut self, batch: Batch, _: &mut RowTracker<'_>, _: &StepOptions) -> Result<Batch, Error> {
        let selected = self.0.columns(&batch.schema);
        let mut columns = Vec::with_capacity(selected.len());
        let mut fields = Vec::with_capacity(selected.len());
        let mut as_read = Vec::with_capacity(selected.len());
        for Selected { path, name } in &selected {
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
