//! `explode`: turns each list element of a column into a row of its own, with the other values repeated.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, UInt32Array, new_null_array};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer};
use arrow_schema::DataType;
use arrow_select::take::take;

use crate::column::views::{MAX_INLINE_BYTES, Views, make_view};
use crate::column::{AsRead, Batch, Schema, Type, TypeMerge};
use crate::format::json_path;
use crate::transform::binding::Binding;
use crate::transform::describe::StepText;
use crate::transform::error::Error;
use crate::transform::expr::{self, Hint, Path, parse_names, type_at};
use crate::transform::kind::{Properties, RunningStep, StepKind, WrittenStep};
use crate::transform::needed::Needed;
use crate::transform::options::StepOptions;
use crate::transform::row_tracker::RowTracker;

/// Parameters of `explode`: the column of lists.
#[derive(Clone, Debug)]
pub struct Explode {
    column: Path,
    /// Text as written, for messages; several steps may share one text.
    text: Arc<str>,
}

impl Explode {
    /// Parses column names into one step per column, run in order.
    pub fn parse(text: &str) -> Result<Vec<Self>, expr::Error> {
        Ok(parse_names(text)?.into_iter().map(|column| Explode { column, text: text.into() }).collect())
    }
}

impl WrittenStep for Explode {
    const WORD: &'static str = "explode";

    fn parse(text: &str, _: u64) -> Result<Vec<Self>, expr::Error> {
        Explode::parse(text)
    }
}

impl StepKind for Explode {
    type Running = Running;

    fn describe(&self) -> StepText {
        StepText::new(Self::WORD, &*self.text)
    }

    fn properties(&self) -> Properties {
        Properties { opens_lists: true, ..Properties::default() }
    }

    fn bind(&mut self, columns: &mut Binding) -> Result<(), expr::Error> {
        let Explode { column: path, text } = self;
        columns.resolve_whole(path, text, "explode")?;
        let fail = |found: &str| {
            Err(expr::Error::new(text, path.at, format!("cannot explode `{path}`: expected lists, found {found}")))
        };
        match (type_at(columns.schema(), path), columns.type_merge()) {
            (Type::List(_) | Type::Json | Type::Raw, _) | (Type::Null, TypeMerge::Json) => {}
            (Type::Null | Type::Text, TypeMerge::Text) => {
                let hint = Hint::from("if they are JSON, parse them first with ").step("cast", format!("{path}:json"));
                return fail("CSV cells").map_err(|error| error.with_hint(hint));
            }
            (other, _) => return fail(expr::describe_type(&other)),
        }
        columns.update_schema(|schema| *schema = output_schema(schema, &path.column));
        Ok(())
    }

    fn add_needed(&self, needed: &mut Needed) {
        needed.add([&*self.column.column]);
    }

    fn start(&self, _: &StepOptions) -> Running {
        Running(self.column.column.clone())
    }
}

/// A running explosion of the named column.
#[derive(Debug)]
pub(crate) struct Running(Arc<str>);

impl RunningStep for Running {
    fn output_schema(&self, schema: Schema, _: &StepOptions) -> Result<Schema, Error> {
        Ok(output_schema(&schema, &self.0))
    }

    fn apply(&mut self, batch: Batch, rows: &mut RowTracker<'_>, _: &StepOptions) -> Result<Batch, Error> {
        let (exploded, parents) = explode(batch, &self.0)?;
        rows.explode(&parents);
        Ok(exploded)
    }
}

/// Infers the columns after [`explode`].
fn output_schema(schema: &Schema, column: &str) -> Schema {
    let mut schema = schema.clone();
    if let Some(index) = schema.position(column)
        && let Type::List(item) = &schema.fields[index].ty
    {
        schema.fields[index].ty = (**item).clone();
    }
    schema
}

/// Returns one row per element of the lists in `column`, with the other values repeated, and the index of the row that
/// each stems from. A row with an empty or null list remains once, with null; a value that is not a list remains as it
/// is.
fn explode(mut batch: Batch, column: &str) -> Result<(Batch, Vec<u32>), Error> {
    let rows = batch.rows;
    let Some(index) = batch.schema.position(column) else { return Ok((batch, (0..rows as u32).collect())) };
    let Some((exploded, parents)) = elements(&batch.columns[index], &batch.schema.fields[index].ty)? else {
        return Ok((batch, (0..rows as u32).collect()));
    };
    // The same lists as they were read, so that there are as many elements.
    let as_read = match batch.as_read(index).map(|as_read| (elements(&as_read.array, &as_read.ty), &as_read.ty)) {
        Some((of_array, ty)) => of_array?.map(|(array, _)| AsRead { array, ty: ty.clone() }),
        None => None,
    };
    let schema = Arc::new(output_schema(&batch.schema, column));
    // The other columns repeat the row of their parent. The lists themselves would be repeated once per element.
    batch.columns[index] = new_null_array(&DataType::Boolean, rows);
    if let Some(lists) = batch.as_read.get_mut(index) {
        *lists = None;
    }
    let from = UInt32Array::from(parents.clone());
    let mut repeated = batch.map_columns(parents.len(), |column| take(column, &from, None))?;
    repeated.columns[index] = exploded;
    if let Some(elements) = repeated.as_read.get_mut(index) {
        *elements = as_read;
    }
    Ok((Batch { schema, ..repeated }, parents))
}

/// Returns the elements of the lists in `array`, of type `ty`, and the index of the row that each stems from; `None` if no
/// value can be a list.
fn elements(array: &ArrayRef, ty: &Type) -> Result<Option<(ArrayRef, Vec<u32>)>, Error> {
    let rows = array.len();
    let mut parents: Vec<u32> = Vec::with_capacity(rows);
    let exploded: ArrayRef = match ty {
        Type::List(_) => {
            let list = array.as_list::<i32>();
            let offsets = list.value_offsets();
            let mut items: Vec<Option<u32>> = Vec::with_capacity(rows);
            for row in 0..rows {
                let (start, end) = (offsets[row] as u32, offsets[row + 1] as u32);
                if list.is_null(row) || start == end {
                    parents.push(row as u32);
                    // A null index makes `take` produce null.
                    items.push(None);
                } else {
                    parents.extend(std::iter::repeat_n(row as u32, (end - start) as usize));
                    items.extend((start..end).map(Some));
                }
            }
            take(list.values(), &UInt32Array::from(items), None)?
        }
        Type::Json | Type::Raw => {
            let texts = array.as_string_view();
            let mut views = Views::default();
            let mut valid = BooleanBufferBuilder::new(rows);
            for row in 0..rows {
                let mut push = |found: Option<(&[u8], usize)>| {
                    parents.push(row as u32);
                    valid.append(found.is_some());
                    // An element's view points into the buffer of the list's text, so no bytes are copied. A text
                    // short enough to be inlined in its view has only short elements, which are inlined too.
                    views.push(found.map_or(0, |(text, start)| {
                        let view = texts.views()[row];
                        let in_buffer = view as u32 as usize > MAX_INLINE_BYTES;
                        let (buffer, offset) =
                            if in_buffer { ((view >> 64) as u32, (view >> 96) as usize) } else { (0, 0) };
                        make_view(text, buffer, offset + start)
                    }));
                };
                if texts.is_null(row) {
                    push(None);
                    continue;
                }
                let json = texts.value(row).as_bytes();
                if json.first() != Some(&b'[') {
                    push(Some((json, 0)));
                    continue;
                }
                let mut any = false;
                // `any` stays false for an empty list, which has no elements to push.
                for item in json_path::elements(json) {
                    any = true;
                    let text = &json[item.clone()];
                    // Raw columns alone tell a null from an absent value.
                    push((*ty == Type::Raw || text != b"null").then_some((text, item.start)));
                }
                if !any {
                    push(None);
                }
            }
            let nulls = NullBuffer::new(valid.finish());
            views.finish(texts.data_buffers(), (nulls.null_count() > 0).then_some(nulls))
        }
        _ => return Ok(None),
    };
    Ok(Some((exploded, parents)))
}
