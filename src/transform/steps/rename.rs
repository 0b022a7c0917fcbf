//! `rename`: renames columns. All columns keep their positions and values.

use std::borrow::Cow;
use std::sync::Arc;

use crate::column::{Batch, Field, Schema, Type};
use crate::transform::binding::Binding;
use crate::transform::describe::StepText;
use crate::transform::error::Error;
use crate::transform::expr::{self, Hint, Path, parse_renames};
use crate::transform::kind::{ArgumentForm, Properties, RunningStep, StepKind, WrittenStep};
use crate::transform::needed::Needed;
use crate::transform::options::StepOptions;
use crate::transform::row_tracker::RowTracker;

/// Parameters of `rename`: columns and their new names.
#[derive(Clone, Debug)]
pub struct Rename {
    new_names: Vec<NewName>,
    /// Text as written, for messages.
    text: Arc<str>,
}

#[derive(Clone, Debug)]
struct NewName {
    /// Column to rename, by its old name.
    from: Path,
    /// New name of the column.
    to: Arc<str>,
}

impl Rename {
    /// Parses `old=new`, several separated by commas.
    pub fn parse(text: &str) -> Result<Self, expr::Error> {
        let new_names = parse_renames(text)?.into_iter().map(|(from, to)| NewName { from, to: to.into() });
        Ok(Rename { new_names: new_names.collect(), text: text.into() })
    }
}

impl WrittenStep for Rename {
    const WORD: &'static str = "rename";
    const FORM: ArgumentForm = ArgumentForm::Names;

    fn parse(text: &str, _: u64) -> Result<Vec<Self>, expr::Error> {
        Rename::parse(text).map(|step| vec![step])
    }
}

impl StepKind for Rename {
    type Running = Running;

    fn describe(&self) -> StepText {
        StepText::new(Self::WORD, &*self.text)
    }

    fn properties(&self) -> Properties {
        Properties::default()
    }

    fn bind(&mut self, columns: &mut Binding) -> Result<(), expr::Error> {
        let Rename { new_names, text } = self;
        for i in 0..new_names.len() {
            columns.resolve_whole(&mut new_names[i].from, text, "rename")?;
            let (before, rest) = new_names.split_at(i);
            let this = &rest[0];
            if before.iter().any(|r| r.from.column == this.from.column) {
                let message = format!("`{}` is renamed twice", this.from.column);
                return Err(expr::Error::new(text, this.from.at, message));
            }
            // Checked here rather than on the schema, so that the error can point at the text.
            if let Some(first) = before.iter().find(|r| r.to == this.to) {
                let message =
                    format!("cannot rename both `{}` and `{}` to `{}`", first.from.column, this.from.column, this.to);
                return Err(expr::Error::new(text, this.from.at, message));
            }
            // A column that appears later takes part in the check for duplicate names.
            if columns.schema().position(&this.from.column).is_none() {
                columns.update_schema(|schema| schema.fields.push(Field::new(this.from.column.clone(), Type::Null)));
            }
        }
        let renamed = output_schema(columns.schema(), new_names);
        let renamed = renamed.map_err(|_| name_conflict(columns.schema(), new_names, text))?;
        columns.update_schema(|schema| *schema = renamed);
        columns.mark_removed(new_names.iter().map(|new| new.from.column.clone()));
        Ok(())
    }

    fn add_needed(&self, needed: &mut Needed) {
        if let Needed::Only(only) = needed {
            // Columns needed under their new names are needed before the step under the old ones.
            let renamed: Vec<_> = self.new_names.iter().filter(|new| only.remove(&*new.to)).collect();
            only.extend(renamed.iter().map(|new| new.from.column.to_string()));
        }
    }

    fn add_looked_at(&self, looked_at: &mut Needed) {
        self.add_needed(looked_at);
    }

    fn start(&self, _: &StepOptions) -> Running {
        Running(self.new_names.clone())
    }
}

/// Builds the error about the first rename to a name that another column has.
fn name_conflict(schema: &Schema, new_names: &[NewName], text: &str) -> expr::Error {
    let stays = |name: &str| schema.position(name).is_some() && !new_names.iter().any(|r| *r.from.column == *name);
    match new_names.iter().find(|r| stays(&r.to)) {
        Some(NewName { from, to }) => {
            let message = format!("cannot rename `{}` to `{to}`: a column of that name exists", from.column);
            expr::Error::new(text, from.at, message).with_hint(Hint::from("drop it first with ").step("drop", &**to))
        }
        None => expr::Error::new(text, 0, "duplicate column name"),
    }
}

/// A running rename, with its new names.
#[derive(Debug)]
pub(crate) struct Running(Vec<NewName>);

impl RunningStep for Running {
    fn output_schema(&self, schema: Schema, _: &StepOptions) -> Result<Schema, Error> {
        output_schema(&schema, &self.0)
    }

    fn apply(&mut self, batch: Batch, _: &mut RowTracker<'_>, _: &StepOptions) -> Result<Batch, Error> {
        let schema = Arc::new(output_schema(&batch.schema, &self.0)?);
        // The source records contain the old names, so they can be copied only if nothing was renamed.
        let records = batch.records.filter(|_| schema == batch.schema);
        Ok(Batch { schema, records, ..batch })
    }
}

/// Infers the columns under their new names. Fails if another column has such a name, which may appear in a later
/// batch.
fn output_schema(schema: &Schema, new_names: &[NewName]) -> Result<Schema, Error> {
    let renamed: Vec<Cow<'_, str>> = schema.fields.iter().map(|field| new_name(&field.name, new_names)).collect();
    for (i, name) in renamed.iter().enumerate() {
        if let Some(k) = renamed[..i].iter().position(|other| other == name) {
            let describe = |at: usize| match &renamed[at] {
                Cow::Borrowed(name) => format!("the column `{name}`"),
                Cow::Owned(name) => format!("`{}` renamed to `{name}`", schema.fields[at].name),
            };
            return Err(Error::SameName { first: describe(k), second: describe(i) });
        }
    }
    let fields = schema.fields.iter().zip(&renamed);
    Ok(Schema::new(fields.map(|(field, name)| Field::new(&**name, field.ty.clone())).collect()))
}

fn new_name<'a>(name: &'a str, new_names: &[NewName]) -> Cow<'a, str> {
    match new_names.iter().find(|new| *new.from.column == *name) {
        Some(new) => Cow::Owned(new.to.to_string()),
        None => Cow::Borrowed(name),
    }
}
