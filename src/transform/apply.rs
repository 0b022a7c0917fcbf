//! Steps applied to batches.

use std::cell::RefCell;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, StringViewArray};
use arrow_buffer::BooleanBufferBuilder;

use super::cell::{Cell, cell_of};
use super::columns::{rename, rename_schema, select, select_schema};
use super::distinct::{Distinct, Room};
use super::error::Error;
use super::expr::{Bad, Computed, Function, How, Maker, Operand, Predicate, type_of};
use super::key::KeyWriter;
use super::nested::{explode, explode_schema, flatten, flatten_schema};
use super::places::{Places, Sampler};
use super::sql::{ByRows, Query, SqlError};
use super::step::{Condition, Logic, Lookup, OnBadCast, Rename, Selected, Step, Test};
use super::tally::{BadRow, Tally};
use crate::column::{Batch, Field, Mixing, Schema, Type};
use crate::format::json_text::write_json_value;
use crate::format::number::fits_double;
use crate::position::FieldPath;

/// What the steps made of a batch.
#[derive(Debug)]
pub struct Applied {
    /// The rows that stay.
    pub batch: Batch,
    /// For each of them its place among the rows as decoded, where that is asked for.
    pub origins: Option<Vec<u32>>,
    /// The limit is reached: nothing after so many of the rows as decoded was looked at.
    pub taken: Option<usize>,
    /// What became of the others.
    pub tally: Tally,
}

/// What steps have to know of the execution.
#[derive(Clone, Debug)]
pub struct StepOptions {
    /// What the steps that remember rows have, all together.
    pub room: Room,
    /// Whether values come from cells of CSV.
    pub mixing: Mixing,
    /// Columns that are made have types; else they are JSON text, as all columns of text outputs.
    pub typed: bool,
    /// The output cannot take columns later.
    pub columns_fixed: bool,
    /// What a value does that cannot be made.
    pub on_bad_cast: OnBadCast,
}

impl Default for StepOptions {
    fn default() -> Self {
        StepOptions {
            room: Room::default(),
            mixing: Mixing::Json,
            typed: false,
            columns_fixed: false,
            on_bad_cast: OnBadCast::Reject,
        }
    }
}

/// The steps of one worker, or of the writer where they need to see every row in order.
#[derive(Debug)]
pub struct Steps {
    steps: Vec<State>,
    options: StepOptions,
    /// Expressions and casts whose value was null because it could not be made, and in how many rows.
    nulled: Vec<(Arc<str>, u64)>,
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
    Where(Box<Predicate>, Arc<str>),
    Select(Vec<Selected>),
    Rename(Vec<Rename>),
    /// So many rows are still to come.
    Limit(u64),
    Make(Box<Make>),
    Flatten(Arc<str>),
    Explode(Arc<str>),
    Sample(Sampler),
    Sql(Box<Sql>),
}

/// A query over single rows.
#[derive(Debug)]
struct Sql {
    query: Arc<Query>,
    /// For the columns of the batch before, which are those of the next as a rule.
    ready: RefCell<Option<Arc<ByRows>>>,
}

impl Sql {
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

/// A column that is made or changed.
#[derive(Debug)]
struct Make {
    name: Arc<str>,
    operand: Operand,
    maker: Maker,
    /// Without a column of that name there is nothing to do.
    changes: bool,
    /// An integer beyond what every double holds was among the values.
    wide: bool,
    /// How it is called in notes.
    label: Arc<str>,
}

impl Make {
    fn state(name: Arc<str>, operand: Operand, text: &str, label: String, mixing: Mixing, changes: bool) -> State {
        let maker = Maker::new(&operand, text, mixing, changes);
        State::Make(Box::new(Make { name, operand, maker, changes, wide: false, label: label.into() }))
    }

    /// The type of the column over columns of `schema`; `None` if there will be none.
    fn ty(&self, schema: &Schema, options: &StepOptions) -> Option<Type> {
        if self.changes && schema.position(&self.name).is_none() {
            return None;
        }
        let ty = type_of(&self.operand, schema, options.mixing);
        Some(match (ty, &self.operand) {
            // Values of a column are as they are.
            (ty, Operand::Column(_)) if options.typed => ty,
            _ if !options.typed => Type::Raw,
            (Type::Int { fits_double }, _) => Type::Int { fits_double: fits_double && !self.wide },
            (ty, _) => ty,
        })
    }

    fn output_schema(&self, mut schema: Schema, options: &StepOptions) -> Schema {
        let Some(ty) = self.ty(&schema, options) else { return schema };
        match schema.position(&self.name) {
            Some(place) => schema.fields[place].ty = ty,
            None => schema.fields.push(Field::new(self.name.clone(), ty)),
        }
        schema
    }
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
    /// Makes `steps` ready. The deduplicate steps share the room.
    pub fn new(steps: &[Step], options: StepOptions) -> Self {
        let mixing = options.mixing;
        let remembers = |step: &&Step| matches!(step, Step::Deduplicate(_) | Step::Dedupe(..));
        let sharing = steps.iter().filter(remembers).count();
        let room = || Room { max_bytes: options.room.max_bytes / sharing.max(1), ..options.room.clone() };
        let deduplicate = |columns| State::Deduplicate { columns, seen: Box::new(Distinct::new(room())) };
        let mut states = Vec::new();
        for step in steps {
            states.push(match step {
                Step::Filter(conditions) => State::Filter(conditions.iter().map(prepare).collect()),
                Step::RemoveColumns(names) => State::RemoveColumns(names.clone()),
                Step::Deduplicate(columns) => deduplicate(columns.clone()),
                Step::Dedupe(paths, _) => deduplicate(paths.iter().map(|path| path.column.to_string()).collect()),
                Step::Lookup(lookup) => State::Lookup(lookup.clone()),
                Step::Where(expr) => State::Where(Box::new(Predicate::new(expr, mixing)), expr.text.clone()),
                Step::Select(selected, _) => State::Select(selected.clone()),
                Step::Drop(paths, _) => State::RemoveColumns(paths.iter().map(|p| p.column.to_string()).collect()),
                Step::Rename(renames, _) => State::Rename(renames.clone()),
                Step::Limit(rows) => State::Limit(*rows),
                Step::With { name, value, text, .. } => {
                    Make::state(name.clone(), value.clone(), text, format!("--with {text}"), mixing, false)
                }
                Step::Cast(casts, text) => {
                    for (path, ty) in casts {
                        let how = How::Cast(Operand::Column(path.clone()), *ty);
                        let operand = Operand::Computed(Box::new(Computed { how, span: 0..text.len() }));
                        let label = format!("--cast {}:{ty}", path.column);
                        states.push(Make::state(path.column.clone(), operand, text, label, mixing, true));
                    }
                    continue;
                }
                Step::JsonText(paths, text) => {
                    for path in paths {
                        let how = How::Call(Function::JsonText, vec![Operand::Column(path.clone())]);
                        let operand = Operand::Computed(Box::new(Computed { how, span: 0..text.len() }));
                        let label = format!("--json {}", path.column);
                        states.push(Make::state(path.column.clone(), operand, text, label, mixing, true));
                    }
                    continue;
                }
                Step::Flatten { separator } => State::Flatten(separator.clone()),
                Step::Explode(path, _) => State::Explode(path.column.clone()),
                Step::Sample { rate, seed } => State::Sample(Sampler::new(*rate, *seed)),
                Step::Sql(query) => State::Sql(Box::new(Sql { query: query.clone(), ready: RefCell::default() })),
            });
        }
        Steps { steps: states, options, nulled: Vec::new() }
    }

    /// Splits a plan's steps: those that look at one row at a time and may run on any worker, and
    /// from the first that must see every row in order, the rest.
    pub fn split(steps: &[Step]) -> (&[Step], &[Step]) {
        let at = steps
            .iter()
            .position(|s| matches!(s, Step::Deduplicate(_) | Step::Dedupe(..) | Step::Limit(_)))
            .unwrap_or(steps.len());
        steps.split_at(at)
    }

    /// Applies all steps. `origins` are those of the batch's rows, asked for where rows are counted to a
    /// limit or traced back to their records, which stand in `places`; `tally` is of the steps before.
    pub fn apply(
        &mut self,
        mut batch: Batch,
        origins: Option<Vec<u32>>,
        tally: Tally,
        places: Option<&Places>,
    ) -> Result<Applied, Error> {
        let mut taken = None;
        let mut rows = Rows { origins, tally, nulled: &mut self.nulled, on_bad_cast: self.options.on_bad_cast };
        for step in &mut self.steps {
            batch = match step {
                State::Filter(conditions) => {
                    let keep = filter_mask(&batch, conditions);
                    rows.keep(batch, keep)?
                }
                State::Where(predicate, text) => {
                    let (yes, bad) = predicate.rows(&batch)?;
                    let yes = BooleanArray::new(yes, None);
                    match rows.on_bad_cast {
                        OnBadCast::Reject if !bad.is_empty() => {
                            // Neither kept nor left out.
                            let batch_rows = batch.rows;
                            let mut other = BooleanBufferBuilder::new(batch_rows);
                            other.append_n(batch_rows, true);
                            bad.iter().for_each(|(row, _)| other.set_bit(*row as usize, false));
                            let good = BooleanArray::new(other.finish(), None);
                            let yes = arrow_select::filter::filter(&yes, &good)?.as_boolean().clone();
                            let batch = rows.set_aside(batch, good, bad, &FieldPath::root())?;
                            rows.keep(batch, yes)?
                        }
                        _ => {
                            if !bad.is_empty() {
                                rows.note_nulled(&format!("--where {text}").into(), bad.len() as u64);
                            }
                            rows.keep(batch, yes)?
                        }
                    }
                }
                State::RemoveColumns(names) => remove_columns(batch, names),
                State::Deduplicate { columns, seen } => {
                    let keep = first_of_each(&batch, columns, seen).map_err(Error::Spill)?;
                    rows.keep(batch, keep)?
                }
                State::Lookup(lookup) => look_up(batch, lookup),
                State::Select(selected) => select(batch, selected)?,
                State::Rename(renames) => rename(batch, renames)?,
                State::Make(make) => rows.make(batch, make, &self.options)?,
                State::Flatten(separator) => flatten(batch, separator, self.options.columns_fixed)?,
                State::Explode(column) => {
                    let (exploded, parents) = explode(batch, column)?;
                    rows.explode(&parents);
                    exploded
                }
                State::Sample(sampler) => {
                    let origins = rows.origins.as_ref().expect("places are asked for where rows are sampled");
                    let places = places.expect("as above");
                    let mut last = (u32::MAX, 0);
                    let keep = origins.iter().map(|&row| {
                        last = if last.0 == row { (row, last.1 + 1) } else { (row, 0) };
                        Some(sampler.keeps(places, row, last.1))
                    });
                    let keep: BooleanArray = keep.collect();
                    rows.keep(batch, keep)?
                }
                State::Sql(sql) => {
                    let (answer, kept) = sql.over(&batch.schema)?.apply(&batch)?;
                    if let Some(kept) = kept {
                        rows.note_kept(batch.rows, &kept);
                    }
                    answer
                }
                State::Limit(left) => {
                    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(batch.rows);
                    *left -= n as u64;
                    if *left == 0 {
                        let last = n.checked_sub(1);
                        let end = |last: usize| rows.origins.as_ref().map_or(last, |o| o[last] as usize) + 1;
                        // A limit further on may be reached with what an earlier one let pass.
                        let here = last.map_or(0, end);
                        taken = Some(taken.map_or(here, |t: usize| t.min(here)));
                    }
                    rows.first(batch, n, taken)
                }
            };
        }
        let Rows { origins, mut tally, .. } = rows;
        if let Some(taken) = taken {
            tally.end_after(taken);
        }
        Ok(Applied { batch, origins, taken, tally })
    }

    /// Comparisons that met values of a kind that they do not compare, as they are written, with the
    /// number of such rows since the last call.
    pub fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
        let met = self.steps.iter_mut().map(|step| match step {
            State::Where(predicate, _) => predicate.take_mismatches(),
            State::Make(make) => make.maker.take_mismatches(),
            _ => Vec::new(),
        });
        met.flatten().collect()
    }

    /// Expressions and casts whose value was null because it could not be made, with the number of such
    /// rows since the last call.
    pub fn take_nulled(&mut self) -> Vec<(Arc<str>, u64)> {
        std::mem::take(&mut self.nulled)
    }

    /// The columns that come out of the steps for these columns going in.
    pub fn output_schema(&self, schema: &Schema) -> Result<Schema, Error> {
        let mut schema = schema.clone();
        for step in &self.steps {
            match step {
                State::Filter(_)
                | State::Deduplicate { .. }
                | State::Where(..)
                | State::Limit(_)
                | State::Sample(_) => {}
                State::Select(selected) => schema = select_schema(&schema, selected),
                State::Sql(sql) => schema = (**sql.over(&schema)?.output()).clone(),
                State::Rename(renames) => schema = rename_schema(&schema, renames)?,
                State::RemoveColumns(names) => schema.fields.retain(|f| !names.iter().any(|n| **n == *f.name)),
                State::Make(make) => schema = make.output_schema(schema, &self.options),
                State::Flatten(separator) => {
                    schema = flatten_schema(&schema, separator, self.options.columns_fixed)?;
                }
                State::Explode(column) => schema = explode_schema(&schema, column),
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

/// The rows of one batch on their way through the steps.
struct Rows<'a> {
    origins: Option<Vec<u32>>,
    tally: Tally,
    nulled: &'a mut Vec<(Arc<str>, u64)>,
    on_bad_cast: OnBadCast,
}

impl Rows<'_> {
    /// Keeps those rows; the others were filtered.
    fn keep(&mut self, batch: Batch, keep: BooleanArray) -> Result<Batch, Error> {
        self.note_kept(batch.rows, &keep);
        keep_rows(batch, &keep)
    }

    /// Of `rows` rows those are kept; the others were filtered.
    fn note_kept(&mut self, rows: usize, keep: &BooleanArray) {
        let dropped = (rows - keep.true_count()) as u64;
        if dropped > 0 {
            let gone = self.origins.iter().flatten().zip(keep.values()).filter(|(_, kept)| !kept);
            self.tally.drop_rows(dropped, gone.map(|(row, _)| *row));
        }
        self.retain_origins(keep);
    }

    fn retain_origins(&mut self, keep: &BooleanArray) {
        if let Some(origins) = &mut self.origins {
            let mut kept = keep.values().iter();
            origins.retain(|_| kept.next().unwrap_or(true));
        }
    }

    /// Takes the `bad` rows out, which are all but the `good`.
    fn set_aside(
        &mut self,
        batch: Batch,
        good: BooleanArray,
        bad: Vec<(u32, Bad)>,
        path: &FieldPath,
    ) -> Result<Batch, Error> {
        let origins = self.origins.as_ref().expect("rows that may be bad are traced");
        self.tally.bad.extend(bad.into_iter().map(|(row, reason)| BadRow {
            row: origins[row as usize],
            path: path.clone(),
            reason: reason.into_reason(),
        }));
        self.retain_origins(&good);
        keep_rows(batch, &good)
    }

    fn note_nulled(&mut self, label: &Arc<str>, rows: u64) {
        match self.nulled.iter_mut().find(|(known, _)| known == label) {
            Some((_, n)) => *n += rows,
            None => self.nulled.push((label.clone(), rows)),
        }
    }

    fn make(&mut self, mut batch: Batch, make: &mut Make, options: &StepOptions) -> Result<Batch, Error> {
        let Some(ty) = make.ty(&batch.schema, options) else { return Ok(batch) };
        let (column, bad) = make.maker.column(&batch, &ty)?;
        if let (Type::Int { fits_double: true }, Operand::Computed(_)) = (&ty, &make.operand) {
            let values = column.as_primitive::<Int64Type>();
            make.wide |= values.iter().flatten().any(|v| !fits_double(v));
        }
        let schema = make.output_schema((*batch.schema).clone(), options);
        match batch.schema.position(&make.name) {
            Some(place) => batch.columns[place] = column,
            None => batch.columns.push(column),
        }
        batch.schema = Arc::new(schema);
        batch.records = None;
        if bad.is_empty() {
            return Ok(batch);
        }
        if self.on_bad_cast == OnBadCast::Null {
            self.note_nulled(&make.label, bad.len() as u64);
            return Ok(batch);
        }
        let mut good = BooleanBufferBuilder::new(batch.rows);
        good.append_n(batch.rows, true);
        bad.iter().for_each(|(row, _)| good.set_bit(*row as usize, false));
        let good = BooleanArray::new(good.finish(), None);
        self.set_aside(batch, good, bad, &FieldPath::root().field(&make.name))
    }

    /// Every row has become one or more.
    fn explode(&mut self, parents: &[u32]) {
        let further = || parents.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[1]);
        let added = further().count() as u64;
        let origins = self.origins.take();
        let origin = |row: u32| origins.as_ref().map_or(row, |origins| origins[row as usize]);
        self.tally.add_rows(added, further().map(origin));
        if origins.is_some() {
            self.origins = Some(parents.iter().map(|&row| origin(row)).collect());
        }
    }

    /// Keeps the first rows; of the others, those of records before `taken` were filtered.
    fn first(&mut self, batch: Batch, n: usize, taken: Option<usize>) -> Batch {
        if n == batch.rows {
            return batch;
        }
        if let Some(origins) = &mut self.origins {
            let cut = origins.split_off(n);
            let of_taken: Vec<u32> =
                cut.into_iter().filter(|row| taken.is_some_and(|taken| (*row as usize) < taken)).collect();
            self.tally.drop_rows(of_taken.len() as u64, of_taken.into_iter());
        }
        first_rows(batch, n)
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

fn first_rows(batch: Batch, rows: usize) -> Batch {
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
