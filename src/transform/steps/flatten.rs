//! `flatten`: turns the fields of objects, at every depth, into columns named by their path.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_select::nullif::nullif;

use crate::column::{Batch, Field, Schema, Type};
use crate::transform::binding::Binding;
use crate::transform::describe::StepText;
use crate::transform::error::Error;
use crate::transform::expr::{self, Hint, Path, PathSegment, Quotes, as_read_at};
use crate::transform::kind::{ArgumentForm, Properties, RunningStep, StepKind, WrittenStep};
use crate::transform::needed::Needed;
use crate::transform::options::StepOptions;
use crate::transform::row_tracker::RowTracker;

/// Parameters of `flatten`: the separator between the parts of a name.
#[derive(Clone, Debug)]
pub struct Flatten {
    separator: Arc<str>,
}

impl Flatten {
    /// Joins the parts of names by `separator`.
    pub fn by(separator: &str) -> Self {
        Flatten { separator: separator.into() }
    }
}

impl WrittenStep for Flatten {
    const WORD: &'static str = "flatten";
    const FORM: ArgumentForm = ArgumentForm::TextOr(".");

    fn parse(text: &str, _: u64) -> Result<Vec<Self>, expr::Error> {
        Ok(vec![Flatten::by(text)])
    }
}

impl StepKind for Flatten {
    type Running = Running;

    fn describe(&self) -> StepText {
        StepText::new(Self::WORD, &*self.separator)
    }

    fn properties(&self) -> Properties {
        Properties { opens_objects: true, ..Properties::default() }
    }

    fn bind(&mut self, columns: &mut Binding) -> Result<(), expr::Error> {
        let separator = &self.separator;
        let flat = output_schema(columns.schema(), separator, true).map_err(|error| {
            let hint = Hint::from("specify another separator, such as ").step(Self::WORD, "_");
            let hint = hint.words(", or rename one of them first");
            let text = format!("{} {separator}", Self::WORD);
            expr::Error::new(&text, Self::WORD.len() + 1, error.to_string()).with_hint(hint)
        })?;
        columns.update_schema(|schema| *schema = flat);
        columns.mark_derived();
        Ok(())
    }

    fn add_needed(&self, needed: &mut Needed) {
        if let Needed::Only(only) = needed {
            // `hq.city` can be a column of that name or a field of `hq`, so both are needed.
            let parents: Vec<String> = only.iter().flat_map(|name| prefixes(name, &self.separator)).collect();
            only.extend(parents);
        }
    }

    fn add_looked_at(&self, looked_at: &mut Needed) {
        self.add_needed(looked_at);
    }

    fn start(&self, _: &StepOptions) -> Running {
        Running(self.separator.clone())
    }
}

/// Yields the parts of `name` before each separator; with an empty separator, before each character.
fn prefixes<'a>(name: &'a str, separator: &'a str) -> impl Iterator<Item = String> + 'a {
    let split_points = if separator.is_empty() {
        name.char_indices().map(|(at, _)| at).filter(|at| *at > 0).collect::<Vec<_>>()
    } else {
        name.match_indices(separator).map(|(at, _)| at).collect()
    };
    split_points.into_iter().map(|at| name[..at].to_owned())
}

/// A running `flatten`, with its separator.
#[derive(Debug)]
pub(crate) struct Running(Arc<str>);

impl RunningStep for Running {
    fn output_schema(&self, schema: Schema, options: &StepOptions) -> Result<Schema, Error> {
        output_schema(&schema, &self.0, options.columns_fixed)
    }

    fn apply(&mut self, batch: Batch, _: &mut RowTracker<'_>, options: &StepOptions) -> Result<Batch, Error> {
        flatten(batch, &self.0, options.columns_fixed)
    }
}

/// Infers the flattened columns: `hq` of `city` and `geo` of `lat` becomes `hq.city` and `hq.geo.lat`. An object
/// without known keys becomes no column, and neither does, unless `with_empty`, a column that has had no value yet: it
/// may turn out to be an object. Fails if two columns would have the same name.
fn output_schema(schema: &Schema, separator: &str, with_empty: bool) -> Result<Schema, Error> {
    let flat = flat_fields(schema, separator, with_empty)?;
    Ok(Schema::new(flat.into_iter().filter(|flat| flat.stays).map(|flat| flat.field).collect()))
}

/// A leaf of the schema: a value that is not an object.
struct Flat {
    field: Field,
    /// Keys of the path from the column to the leaf.
    keys: Vec<Arc<str>>,
    /// True if it becomes a column.
    stays: bool,
}

impl Flat {
    /// Returns the path to the leaf in the columns before the step.
    fn path(&self) -> Path {
        let mut keys = self.keys.iter();
        let column = keys.next().cloned().unwrap_or_default();
        Path {
            segments: keys.map(|key| PathSegment::Key(key.clone())).collect(),
            // Literal: no dotted name is looked for.
            quotes: Quotes::Double,
            ..Path::column(column)
        }
    }
}

fn flat_fields(schema: &Schema, separator: &str, with_empty: bool) -> Result<Vec<Flat>, Error> {
    fn walk(fields: &[Field], name: &str, separator: &str, keys: &[Arc<str>], out: &mut Vec<Flat>) {
        for field in fields {
            let name =
                if keys.is_empty() { field.name.to_string() } else { format!("{name}{separator}{}", field.name) };
            let keys = [keys, std::slice::from_ref(&field.name)].concat();
            match &field.ty {
                Type::Struct(inner) => walk(inner, &name, separator, &keys, out),
                other => out.push(Flat { field: Field::new(name, other.clone()), keys, stays: true }),
            }
        }
    }
    let mut flat = Vec::new();
    walk(&schema.fields, "", separator, &[], &mut flat);
    let mut index_by_name: HashMap<Arc<str>, usize> = HashMap::new();
    for i in 0..flat.len() {
        if flat[i].field.ty == Type::Null && !with_empty {
            flat[i].stays = false;
            continue;
        }
        // Two leaves can have one name: `hq.city` as a column, and `city` inside `hq`.
        let Some(k) = index_by_name.insert(flat[i].field.name.clone(), i) else { continue };
        // Of two leaves with one name, a column that has had no value yields to the other.
        if flat[k].field.ty == Type::Null {
            flat[k].stays = false;
        } else if flat[i].field.ty == Type::Null {
            flat[i].stays = false;
            index_by_name.insert(flat[i].field.name.clone(), k);
        } else {
            let describe_column = |at: usize| match &flat[at].keys[..] {
                [name] => format!("the column `{name}`"),
                [parents @ .., key] => format!("`{key}` inside `{}`", parents.join(".")),
                [] => String::new(),
            };
            return Err(Error::SameName { first: describe_column(k), second: describe_column(i) });
        }
    }
    Ok(flat)
}

/// Returns the batch with the columns of [`output_schema`].
fn flatten(batch: Batch, separator: &str, with_empty: bool) -> Result<Batch, Error> {
    let flat = flat_fields(&batch.schema, separator, with_empty)?;
    // Nothing is nested: the batch and its source records stay as they are.
    if flat.iter().all(|flat| flat.stays && flat.keys.len() == 1) && flat.len() == batch.columns.len() {
        return Ok(batch);
    }
    let mut arrays = Vec::with_capacity(flat.len());
    for (column, field) in batch.columns.iter().zip(&batch.schema.fields) {
        flatten_column(column, &field.ty, &mut arrays)?;
    }
    let kept: Vec<(Flat, ArrayRef)> = flat.into_iter().zip(arrays).filter(|(flat, _)| flat.stays).collect();
    let as_read = match batch.as_read.is_empty() {
        true => Vec::new(),
        false => kept.iter().map(|(flat, _)| as_read_at(&batch, &flat.path())).collect::<Result<_, _>>()?,
    };
    let (fields, columns) = kept.into_iter().map(|(flat, array)| (flat.field, array)).unzip();
    let flattened = Batch::new(Arc::new(Schema::new(fields)), columns, batch.rows);
    Ok(Batch { as_read, ..flattened })
}

fn flatten_column(array: &ArrayRef, ty: &Type, out: &mut Vec<ArrayRef>) -> Result<(), Error> {
    match ty {
        Type::Struct(fields) if fields.is_empty() => {}
        Type::Struct(fields) => {
            let parent = array.as_struct();
            // Under a null object the child arrays may contain arbitrary values, which must become null.
            let null_parents = array.nulls().map(|nulls| BooleanArray::new(!nulls.inner(), None));
            for (field, column) in fields.iter().zip(parent.columns()) {
                let column = match &null_parents {
                    Some(null_parents) => nullif(column, null_parents)?,
                    None => column.clone(),
                };
                flatten_column(&column, &field.ty, out)?;
            }
        }
        _ => out.push(array.clone()),
    }
    Ok(())
}
