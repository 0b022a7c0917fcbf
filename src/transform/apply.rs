//! Steps applied to batches.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, StringViewArray};
use arrow_buffer::BooleanBufferBuilder;

use super::cell::{Cell, cell_of};
use super::columns::{rename, rename_schema, select, select_schema};
use super::distinct::{Distinct, Room};
use super::expr::Predicate;
use super::key::KeyWriter;
use super::{Condition, Logic, Lookup, Rename, Selected, Step, Test};
use crate::column::{Batch, Field, Mixing, Schema, Type};
use crate::format::json_text::write_json_value;

/// Why a step could not be applied.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Arrow refused the rows.
    #[error("cannot keep the rows that passed a filter")]
    Arrow(#[from] arrow_schema::ArrowError),
    /// The keys of a deduplicate step cannot be remembered on disk.
    #[error("deduplicate: the temporary file for keys that memory does not hold cannot be used: {0}")]
    Spill(#[source] std::io::Error),
    /// Two columns would have one name.
    #[error("{first} and {second} would have the same name")]
    SameName {
        /// The one, in words.
        first: String,
        /// The other.
        second: String,
    },
}

/// What the steps made of a batch.
#[derive(Debug)]
pub struct Applied {
    /// The rows that stay.
    pub batch: Batch,
    /// For each of them its place among the rows as decoded, where there is a limit to be counted to.
    pub origins: Option<Vec<u32>>,
    /// The limit is reached: nothing after so many of the rows as decoded was looked at.
    pub taken: Option<usize>,
}

/// The steps of one worker, or of the writer where they need to see every row in order.
#[derive(Debug)]
pub struct Steps {
    steps: Vec<State>,
}

#[derive(Debug)]
enum State {
    Filter(Vec<Prepared>),
    RemoveColumns(Vec<String>),
    Deduplicate {
        columns: Vec<String>,
        seen: Box<Distinct>,
    },
    Lookup(Lookup),
    Where(Box<Predicate>),
    Select(Vec<Selected>),
    Rename(Vec<Rename>),
    /// So many rows are still to come.
    Limit(u64),
}

#[derive(Debug)]
struct Prepared {
    column: String,
    logic: Logic,
    test: PreparedTest,
}

/// A [`Test`] with its values made into cells once.
#[derive(Debug)]
enum PreparedTest {
    Equals(Cell<'static>, bool),
    Contains(Cell<'static>, bool),
    Greater(Cell<'static>),
    Less(Cell<'static>),
    In(Vec<Cell<'static>>, bool),
    IsEmpty(bool),
    Matches(regex::Regex),
}

impl Steps {
    /// Makes `steps` ready; the deduplicate steps share `room`, and `mixing` says whether values come
    /// from cells of CSV.
    pub fn new(steps: &[Step], room: &Room, mixing: Mixing) -> Self {
        let sharing = steps.iter().filter(|step| matches!(step, Step::Deduplicate(_))).count();
        let share = || Room { max_bytes: room.max_bytes / sharing.max(1), ..room.clone() };
        let steps = steps
            .iter()
            .map(|step| match step {
                Step::Filter(conditions) => State::Filter(conditions.iter().map(prepare).collect()),
                Step::RemoveColumns(names) => State::RemoveColumns(names.clone()),
                Step::Deduplicate(columns) => {
                    State::Deduplicate { columns: columns.clone(), seen: Box::new(Distinct::new(share())) }
                }
                Step::Lookup(lookup) => State::Lookup(lookup.clone()),
                Step::Where(expr) => State::Where(Box::new(Predicate::new(expr, mixing))),
                Step::Select(selected, _) => State::Select(selected.clone()),
                Step::Drop(paths, _) => State::RemoveColumns(paths.iter().map(|p| p.column.to_string()).collect()),
                Step::Rename(renames, _) => State::Rename(renames.clone()),
                Step::Limit(rows) => State::Limit(*rows),
            })
            .collect();
        Steps { steps }
    }

    /// Splits a plan's steps: those that look at one row at a time and may run on any worker, and
    /// from the first that must see every row in order, the rest.
    pub fn split(steps: &[Step]) -> (&[Step], &[Step]) {
        let at = steps.iter().position(|s| matches!(s, Step::Deduplicate(_) | Step::Limit(_))).unwrap_or(steps.len());
        steps.split_at(at)
    }

    /// Applies all steps. Rows that go are the difference in `rows`; `origins` are those of the
    /// batch, if it has been through other steps and rows are counted to a limit.
    pub fn apply(&mut self, mut batch: Batch, mut origins: Option<Vec<u32>>) -> Result<Applied, Error> {
        let mut taken = None;
        for step in &mut self.steps {
            let mut keep_where = |batch: Batch, keep: BooleanArray| {
                if let Some(origins) = &mut origins {
                    let mut kept = keep.values().iter();
                    origins.retain(|_| kept.next().unwrap_or(true));
                }
                keep_rows(batch, &keep)
            };
            batch = match step {
                State::Filter(conditions) => {
                    let keep = filter_mask(&batch, conditions);
                    keep_where(batch, keep)?
                }
                State::Where(predicate) => {
                    let keep = BooleanArray::new(predicate.rows(&batch)?, None);
                    keep_where(batch, keep)?
                }
                State::RemoveColumns(names) => remove_columns(batch, names),
                State::Deduplicate { columns, seen } => {
                    let keep = first_of_each(&batch, columns, seen).map_err(Error::Spill)?;
                    keep_where(batch, keep)?
                }
                State::Lookup(lookup) => look_up(batch, lookup),
                State::Select(selected) => select(batch, selected)?,
                State::Rename(renames) => rename(batch, renames)?,
                State::Limit(left) => {
                    let rows = usize::try_from(*left).unwrap_or(usize::MAX).min(batch.rows);
                    *left -= rows as u64;
                    if *left == 0 {
                        let last = rows.checked_sub(1);
                        let end = |last: usize| origins.as_ref().map_or(last, |origins| origins[last] as usize) + 1;
                        // A limit further on may be reached with what an earlier one let pass.
                        let here = last.map_or(0, end);
                        taken = Some(taken.map_or(here, |t: usize| t.min(here)));
                    }
                    first_rows(batch, rows, &mut origins)
                }
            };
        }
        Ok(Applied { batch, origins, taken })
    }

    /// Comparisons that met values of a kind that they do not compare, as they are written, with the
    /// number of such rows since the last call.
    pub fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
        let predicates = self.steps.iter_mut().filter_map(|step| match step {
            State::Where(predicate) => Some(predicate),
            _ => None,
        });
        predicates.flat_map(|predicate| predicate.take_mismatches()).collect()
    }

    /// The columns that come out of the steps for these columns going in.
    pub fn output_schema(&self, schema: &Schema) -> Result<Schema, Error> {
        let mut schema = schema.clone();
        for step in &self.steps {
            match step {
                State::Filter(_) | State::Deduplicate { .. } | State::Where(_) | State::Limit(_) => {}
                State::Select(selected) => schema = select_schema(&schema, selected),
                State::Rename(renames) => schema = rename_schema(&schema, renames)?,
                State::RemoveColumns(names) => schema.fields.retain(|f| !names.iter().any(|n| **n == *f.name)),
                State::Lookup(lookup) => {
                    for name in &lookup.fields {
                        let field = Field::new(name.as_str(), Type::Raw);
                        match schema.position(name) {
                            Some(i) => schema.fields[i] = field,
                            None => schema.fields.push(field),
                        }
                    }
                }
            }
        }
        Ok(schema)
    }
}

fn prepare(condition: &Condition) -> Prepared {
    let test = match &condition.test {
        Test::Equals(v) => PreparedTest::Equals(cell_of(v), true),
        Test::NotEquals(v) => PreparedTest::Equals(cell_of(v), false),
        Test::Contains(v) => PreparedTest::Contains(cell_of(v), true),
        Test::NotContains(v) => PreparedTest::Contains(cell_of(v), false),
        Test::Greater(v) => PreparedTest::Greater(cell_of(v)),
        Test::Less(v) => PreparedTest::Less(cell_of(v)),
        Test::In(list) => PreparedTest::In(list.iter().map(cell_of).collect(), true),
        Test::NotIn(list) => PreparedTest::In(list.iter().map(cell_of).collect(), false),
        Test::IsEmpty => PreparedTest::IsEmpty(true),
        Test::IsNotEmpty => PreparedTest::IsEmpty(false),
        Test::Matches(regex) => PreparedTest::Matches(regex.clone()),
    };
    Prepared { column: condition.column.clone(), logic: condition.logic, test }
}

impl PreparedTest {
    fn holds(&self, cell: &Cell<'_>) -> bool {
        match self {
            PreparedTest::Equals(value, wanted) => cell.equals(value) == *wanted,
            PreparedTest::Contains(value, wanted) => contains(cell, value) == *wanted,
            PreparedTest::Greater(value) => cell.compare(value) == Some(std::cmp::Ordering::Greater),
            PreparedTest::Less(value) => cell.compare(value) == Some(std::cmp::Ordering::Less),
            PreparedTest::In(values, wanted) => values.iter().any(|v| cell.equals(v)) == *wanted,
            PreparedTest::IsEmpty(wanted) => cell.is_empty() == *wanted,
            PreparedTest::Matches(regex) => !matches!(cell, Cell::Null) && regex.is_match(&cell.text()),
        }
    }
}

/// A list holds the value as an element; everything else holds its text.
fn contains(cell: &Cell<'_>, value: &Cell<'_>) -> bool {
    if let Cell::Nested(text) = cell
        && let Ok(serde_json::Value::Array(items)) = serde_json::from_str(text)
    {
        return items.iter().any(|item| cell_of(item).equals(value));
    }
    !matches!(cell, Cell::Null) && cell.text().contains(&*value.text())
}

fn filter_mask(batch: &Batch, conditions: &[Prepared]) -> BooleanArray {
    let columns: Vec<Option<usize>> = conditions.iter().map(|c| batch.schema.position(&c.column)).collect();
    let mut keep = BooleanBufferBuilder::new(batch.rows);
    for row in 0..batch.rows {
        let mut kept = true;
        for (i, (condition, column)) in conditions.iter().zip(&columns).enumerate() {
            let decided = i > 0
                && match condition.logic {
                    Logic::And => !kept,
                    Logic::Or => kept,
                };
            if decided {
                continue;
            }
            let cell = match column {
                Some(c) => Cell::at(&batch.columns[*c], &batch.schema.fields[*c].ty, row),
                None => Cell::Null,
            };
            kept = condition.test.holds(&cell);
        }
        keep.append(kept);
    }
    BooleanArray::new(keep.finish(), None)
}

fn keep_rows(batch: Batch, keep: &BooleanArray) -> Result<Batch, Error> {
    let rows = keep.true_count();
    if rows == batch.rows {
        return Ok(batch);
    }
    let filter = arrow_select::filter::FilterBuilder::new(keep).optimize().build();
    let columns = batch.columns.iter().map(|c| filter.filter(c)).collect::<Result<Vec<ArrayRef>, _>>()?;
    let records = batch.records.map(|(bytes, spans)| {
        let kept = spans.into_iter().zip(keep.values()).filter_map(|(span, kept)| kept.then_some(span)).collect();
        (bytes, kept)
    });
    Ok(Batch { schema: batch.schema, columns, rows, records })
}

fn first_rows(batch: Batch, rows: usize, origins: &mut Option<Vec<u32>>) -> Batch {
    if rows == batch.rows {
        return batch;
    }
    if let Some(origins) = origins {
        origins.truncate(rows);
    }
    let columns = batch.columns.iter().map(|column| column.slice(0, rows)).collect();
    let records = batch.records.map(|(bytes, mut spans)| {
        spans.truncate(rows);
        (bytes, spans)
    });
    Batch { schema: batch.schema, columns, rows, records }
}

fn remove_columns(batch: Batch, names: &[String]) -> Batch {
    let keep: Vec<usize> =
        (0..batch.columns.len()).filter(|&i| !names.iter().any(|n| **n == *batch.schema.fields[i].name)).collect();
    if keep.len() == batch.columns.len() {
        return batch;
    }
    let fields = keep.iter().map(|&i| batch.schema.fields[i].clone()).collect();
    let columns = keep.iter().map(|&i| batch.columns[i].clone()).collect();
    Batch { schema: Arc::new(Schema::new(fields)), columns, rows: batch.rows, records: None }
}

/// For each row whether its key over `columns`, or over all of them, is there for the first time.
fn first_of_each(batch: &Batch, columns: &[String], seen: &mut Distinct) -> std::io::Result<BooleanArray> {
    let indices: Vec<Option<usize>> = if columns.is_empty() {
        // By name, so that a row's key does not change when a late column moves the others.
        let mut all: Vec<usize> = (0..batch.columns.len()).collect();
        all.sort_by(|&a, &b| batch.schema.fields[a].name.cmp(&batch.schema.fields[b].name));
        all.into_iter().map(Some).collect()
    } else {
        columns.iter().map(|name| batch.schema.position(name)).collect()
    };
    let mut writer = KeyWriter::default();
    let mut key_of = |row: usize| {
        for index in &indices {
            let cell = |i: usize| Cell::at(&batch.columns[i], &batch.schema.fields[i].ty, row);
            match index {
                Some(i) if columns.is_empty() => writer.member(&batch.schema.fields[*i].name, &cell(*i)),
                // A column that only later rows have is null here.
                index => writer.value(&index.map_or(Cell::Null, cell)),
            }
        }
        writer.finish()
    };
    let keys: Vec<_> = (0..batch.rows).map(&mut key_of).collect();
    Ok(BooleanArray::from(seen.insert(&keys)?))
}

fn look_up(mut batch: Batch, lookup: &Lookup) -> Batch {
    let key_column = batch.schema.position(&lookup.key);
    let found: Vec<Option<&Vec<Option<String>>>> = (0..batch.rows)
        .map(|row| {
            let (table, column) = (lookup.table.as_ref()?, key_column?);
            let cell = Cell::at(&batch.columns[column], &batch.schema.fields[column].ty, row);
            if matches!(cell, Cell::Null) { None } else { table.get(&*cell.text()) }
        })
        .collect();
    for (i, name) in lookup.fields.iter().enumerate() {
        let mut schema = (*batch.schema).clone();
        let place = schema.position(name);
        // A row without a match keeps what it had, and says null where it had nothing.
        let values = found.iter().enumerate().map(|(row, entry)| match (entry, place) {
            (Some(entry), _) => entry[i].clone(),
            (None, Some(place)) => json_at(&batch, place, row),
            (None, None) => None,
        });
        let array: ArrayRef =
            Arc::new(StringViewArray::from_iter_values(values.map(|value| value.unwrap_or_else(|| "null".into()))));
        let field = Field::new(name.as_str(), Type::Raw);
        match place {
            Some(place) => {
                schema.fields[place] = field;
                batch.columns[place] = array;
            }
            None => {
                schema.fields.push(field);
                batch.columns.push(array);
            }
        }
        batch.schema = Arc::new(schema);
    }
    batch.records = None;
    batch
}

/// Reads a reference table's batch into look-up entries: the key's text, and the JSON text of each
/// of `fields`. Later rows do not replace earlier ones.
pub fn lookup_entries(batch: &Batch, key: &str, fields: &[String]) -> Vec<(String, Vec<Option<String>>)> {
    let Some(key) = batch.schema.position(key) else { return Vec::new() };
    let columns: Vec<Option<usize>> = fields.iter().map(|f| batch.schema.position(f)).collect();
    (0..batch.rows)
        .filter_map(|row| {
            let cell = Cell::at(&batch.columns[key], &batch.schema.fields[key].ty, row);
            if matches!(cell, Cell::Null) {
                return None;
            }
            let values = columns.iter().map(|c| c.and_then(|c| json_at(batch, c, row))).collect();
            Some((cell.text().into_owned(), values))
        })
        .collect()
}

fn json_at(batch: &Batch, column: usize, row: usize) -> Option<String> {
    let array = &batch.columns[column];
    if array.is_null(row) {
        return None;
    }
    if let Type::Raw = batch.schema.fields[column].ty {
        return Some(array.as_string_view().value(row).to_owned());
    }
    let mut out = Vec::new();
    write_json_value(array, row, &batch.schema.fields[column].ty, &mut out);
    Some(String::from_utf8(out).expect("JSON text is UTF-8"))
}
