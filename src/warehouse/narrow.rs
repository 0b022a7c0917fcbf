//! Brings values to the narrower type of a column of a table, each judged by itself. Pure.
//!
//! A batch has one type for all values of a column, which is as wide as the widest of them, inside objects and lists too.
//! The others still fit the table, so that types are compared value by value, and member by member.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::builder::Decimal128Builder;
use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int64Array, ListArray, MapArray, StringViewArray, StructArray,
    UInt32Array, new_null_array,
};
use arrow_schema::DataType;
use arrow_select::concat::concat;
use arrow_select::take::take;

use super::cells::{Cell, Cells};
use crate::column::{Field, Fixed, MAX_PRECISION, Morsel, Schema, Type, TypeMerge, Unit, cast_array};
use crate::format::decode::Outcome;
use crate::format::ndjson::{self, DecodeOptions, UnknownKey, ValueTypes};

/// The greatest integer up to which a double holds each one.
const EXACT_IN_DOUBLE: u64 = 1 << 53;

/// Values in a type that is narrower than the one they came in.
pub(super) struct Narrowed {
    /// The values; those of rows that do not fit are any.
    pub(super) array: ArrayRef,
    /// Rows whose values do not fit, ascending.
    pub(super) unfit: Vec<u32>,
}

/// Returns true if every value of `found` is one of `ty`, whose carrier it widens to.
pub(super) fn holds(ty: &Type, found: &Type, type_merge: TypeMerge) -> bool {
    if ty.join(found, TypeMerge::Json).is_like(ty) {
        // The integers are exact in doubles, or the types are the same.
        return true;
    }
    // The digits of a cell of CSV are its text.
    type_merge == TypeMerge::Text && *ty == Type::Text && matches!(found, Type::Int { .. } | Type::Decimal)
        || is_time_of_other_unit(ty, found)
}

/// Returns true if values of `found` are values of `ty`, except that some numbers, and some values of several types, may not
/// fit: each is judged by itself then, as `2.0` is an integer.
pub(super) fn may_hold(ty: &Type, found: &Type, type_merge: TypeMerge) -> bool {
    let inner = |ty: &Type, found: &Type| may_hold(ty, found, TypeMerge::Json);
    holds(ty, found, type_merge)
        || match (ty, found) {
            (Type::Struct(wanted), Type::Struct(found)) => found.iter().all(|field| {
                let known = wanted.iter().find(|known| known.name == field.name);
                known.map_or(field.ty == Type::Null, |known| inner(&known.ty, &field.ty))
            }),
            (Type::Map(value), Type::Struct(fields)) => fields.iter().all(|field| inner(value, &field.ty)),
            (Type::List(ty), Type::List(found)) | (Type::Map(ty), Type::Map(found)) => inner(ty, found),
            // Values of several types, of which some may be of this one.
            (_, Type::Json) => true,
            _ if type_merge == TypeMerge::Text && is_cell(ty) && is_cell(found) => true,
            _ => is_number(ty) && is_number(found),
        }
}

/// Returns true for types that the cells of a column of CSV have when nothing is declared, and that a cell may become by
/// itself.
pub(super) fn is_cell(ty: &Type) -> bool {
    is_number(ty) || matches!(ty, Type::Bool | Type::Text | Type::Number(_))
}

/// Brings cells of CSV to the type of a column that [`is_cell`], each for what it is by itself.
pub(super) fn narrowed_cells(cells: &Cells<'_>, rows: usize, to: &Type) -> Narrowed {
    let valid = |row: usize| (!cells.is_null(row)).then_some(row);
    let cell = |row: usize| cells.get(valid(row)?).ok();
    let rows = 0..rows;
    let array: ArrayRef = match to {
        Type::Bool => Arc::new(
            rows.clone()
                .map(|row| match cell(row)? {
                    Cell::Bool(value) => Some(value),
                    _ => None,
                })
                .collect::<BooleanArray>(),
        ),
        Type::Int { .. } => Arc::new(rows.clone().map(|row| cell(row)?.whole()).collect::<Int64Array>()),
        Type::Float => {
            Arc::new(rows.clone().map(|row| cell(row)?.double(DOUBLE_DIGITS).ok()).collect::<Float64Array>())
        }
        Type::Decimal => {
            let mut builder = Decimal128Builder::with_capacity(rows.len()).with_data_type(Type::Decimal.to_arrow());
            let whole = |row: usize| match cell(row)? {
                Cell::Big(digits) => digits.parse().ok().filter(has_place),
                cell => cell.whole().map(i128::from),
            };
            rows.clone().for_each(|row| builder.append_option(whole(row)));
            Arc::new(builder.finish())
        }
        _ => {
            let texts = rows.clone().map(|row| cells.text(valid(row)?).ok());
            Arc::new(texts.collect::<StringViewArray>())
        }
    };
    let unfit = rows.filter(|&row| array.is_null(row) && !cells.is_null(row)).map(|row| row as u32).collect();
    Narrowed { array, unfit }
}

/// Digits that a number of CSV with a fraction may have in a column of doubles, unless it is what a double is written as.
const DOUBLE_DIGITS: usize = 17;

/// Returns true for integers that a decimal of the most digits holds.
fn has_place(value: &i128) -> bool {
    value.unsigned_abs() < 10u128.pow(MAX_PRECISION.into())
}

fn is_number(ty: &Type) -> bool {
    matches!(ty, Type::Int { .. } | Type::Decimal | Type::Float)
}

/// Returns true for timestamps in milliseconds where the table has microseconds.
fn is_time_of_other_unit(table: &Type, found: &Type) -> bool {
    match (table, found) {
        (
            Type::Fixed(Fixed::Timestamp { unit: Unit::Micros, local: a }),
            Type::Fixed(Fixed::Timestamp { unit: Unit::Millis, local: b }),
        ) => a == b,
        _ => false,
    }
}

/// Brings values to another type, which need not hold them all.
pub(super) fn narrowed(array: &ArrayRef, from: &Type, to: &Type, type_merge: TypeMerge) -> Result<Narrowed, String> {
    // A time of another unit is no cast of the lattice, and is below.
    if holds(to, from, type_merge)
        && let Ok(array) = cast_array(array, from, to)
    {
        return Ok(Narrowed { array, unfit: Vec::new() });
    }
    match (from, to) {
        (Type::Fixed(from), Type::Fixed(wanted)) if is_time_of_other_unit(to, &Type::Fixed(*from)) => {
            let values = (0..array.len()).map(|row| match array.is_null(row) {
                true => 0,
                false => from.value(array, row) * 1000,
            });
            Ok(Narrowed { array: wanted.array(values.collect(), array.nulls().cloned()), unfit: Vec::new() })
        }
        (Type::Json | Type::Opaque(_), _) => of_json(array, to),
        // Its values are carried as JSON text.
        (Type::Struct(fields), _) if fields.is_empty() => of_json(array, to),
        (Type::Int { .. }, _) if is_number(to) => {
            let ints = array.as_primitive::<Int64Type>();
            Ok(numbers(array, to, |row| Some(Number::Whole(ints.value(row).into()))))
        }
        (Type::Decimal, _) if is_number(to) => {
            let decimals = array.as_primitive::<Decimal128Type>();
            Ok(numbers(array, to, |row| Some(Number::Whole(decimals.value(row)))))
        }
        (Type::Float, _) if is_number(to) => {
            let floats = array.as_primitive::<Float64Type>();
            Ok(numbers(array, to, |row| Some(Number::Double(floats.value(row)))))
        }
        (Type::Struct(found), Type::Struct(wanted)) if !wanted.is_empty() => members(array, found, wanted),
        (Type::Struct(found), Type::Map(_)) => {
            let value = found.iter().fold(Type::Null, |ty, field| ty.join(&field.ty, TypeMerge::Json));
            let ty = Type::map(value);
            let map = cast_array(array, from, &ty).map_err(|error| error.to_string())?;
            narrowed(&map, &ty, to, TypeMerge::Json)
        }
        (Type::Map(found), Type::Struct(wanted)) if !wanted.is_empty() => entries_as_members(array, found, wanted),
        (Type::Map(found), Type::Map(wanted)) => {
            let map = array.as_map();
            let values = narrowed(map.values(), found, wanted, TypeMerge::Json)?;
            let unfit = rows_around(array, map.offsets(), &values.unfit);
            let array = map_like(map, values.array, to)?;
            Ok(Narrowed { array: Arc::new(array), unfit })
        }
        (Type::List(found), Type::List(wanted)) => {
            let list = array.as_list::<i32>();
            let items = narrowed(list.values(), found, wanted, TypeMerge::Json)?;
            let unfit = rows_around(array, list.offsets(), &items.unfit);
            let DataType::List(item) = to.to_arrow() else { return Err("a list is no list".to_owned()) };
            let array = ListArray::try_new(item, list.offsets().clone(), items.array, list.nulls().cloned());
            Ok(Narrowed { array: Arc::new(array.map_err(|error| error.to_string())?), unfit })
        }
        _ => Ok(without_values(array, to)),
    }
}

/// No value of `array` is one of `to`.
fn without_values(array: &dyn Array, to: &Type) -> Narrowed {
    let array_of_nulls = new_null_array(&to.to_arrow(), array.len());
    let unfit = unfit_rows(array, &array_of_nulls);
    Narrowed { array: array_of_nulls, unfit }
}

fn unfit_rows(before: &dyn Array, after: &dyn Array) -> Vec<u32> {
    (0..before.len()).filter(|&row| after.is_null(row) && !before.is_null(row)).map(|row| row as u32).collect()
}

/// Returns the rows of lists or maps that have one of the items `unfit`.
fn rows_around(array: &dyn Array, offsets: &[i32], unfit: &[u32]) -> Vec<u32> {
    let has_unfit = |row: &usize| {
        let (start, end) = (offsets[*row] as u32, offsets[*row + 1] as u32);
        let first = unfit.partition_point(|&item| item < start);
        unfit.get(first).is_some_and(|&item| item < end)
    };
    (0..array.len()).filter(|&row| array.is_valid(row)).filter(has_unfit).map(|row| row as u32).collect()
}

fn map_like(map: &MapArray, values: ArrayRef, ty: &Type) -> Result<MapArray, String> {
    let DataType::Map(entries, _) = ty.to_arrow() else { return Err("a map is no map".to_owned()) };
    let DataType::Struct(fields) = entries.data_type() else { return Err("entries are no objects".to_owned()) };
    let rows = StructArray::try_new(fields.clone(), vec![map.keys().clone(), values], None);
    let rows = rows.map_err(|error| error.to_string())?;
    MapArray::try_new(entries, map.offsets().clone(), rows, map.nulls().cloned(), false)
        .map_err(|error| error.to_string())
}

/// Brings the members of objects to the types of those of `wanted`, which has no place for others.
fn members(array: &ArrayRef, found: &[Field], wanted: &[Field]) -> Result<Narrowed, String> {
    let source = array.as_struct();
    let mut misfits = Misfits::of(array);
    let mut columns = Vec::with_capacity(wanted.len());
    for field in wanted {
        columns.push(match found.iter().position(|found| found.name == field.name) {
            Some(i) => {
                let narrowed = narrowed(source.column(i), &found[i].ty, &field.ty, TypeMerge::Json)?;
                narrowed.unfit.into_iter().for_each(|row| misfits.add(row as usize));
                narrowed.array
            }
            None => new_null_array(&field.ty.to_arrow(), array.len()),
        });
    }
    for (field, column) in found.iter().zip(source.columns()) {
        if wanted.iter().all(|wanted| wanted.name != field.name) {
            (0..array.len()).filter(|&row| column.is_valid(row)).for_each(|row| misfits.add(row));
        }
    }
    misfits.with_objects(columns, wanted)
}

/// Brings objects with open-ended keys to objects with the members `wanted`.
fn entries_as_members(array: &ArrayRef, found: &Type, wanted: &[Field]) -> Result<Narrowed, String> {
    let map = array.as_map();
    let keys = map.keys().as_string_view();
    let by_name: HashMap<&str, usize> = wanted.iter().enumerate().map(|(i, field)| (&*field.name, i)).collect();
    let mut misfits = Misfits::of(array);
    let mut places: Vec<Vec<Option<u32>>> = vec![vec![None; array.len()]; wanted.len()];
    for row in (0..array.len()).filter(|&row| array.is_valid(row)) {
        for entry in map.offsets()[row] as usize..map.offsets()[row + 1] as usize {
            match by_name.get(keys.value(entry)) {
                Some(&member) => places[member][row] = Some(entry as u32),
                None if map.values().is_valid(entry) => misfits.add(row),
                None => {}
            }
        }
    }
    let mut columns = Vec::with_capacity(wanted.len());
    for (field, places) in wanted.iter().zip(places) {
        let values = take(map.values(), &UInt32Array::from(places), None).map_err(|error| error.to_string())?;
        let narrowed = narrowed(&values, found, &field.ty, TypeMerge::Json)?;
        narrowed.unfit.into_iter().for_each(|row| misfits.add(row as usize));
        columns.push(narrowed.array);
    }
    misfits.with_objects(columns, wanted)
}

/// The rows of objects of which some member does not fit.
struct Misfits<'a> {
    array: &'a ArrayRef,
    is_unfit: Vec<bool>,
}

impl<'a> Misfits<'a> {
    fn of(array: &'a ArrayRef) -> Self {
        Misfits { array, is_unfit: vec![false; array.len()] }
    }

    /// Adds a row, unless it is null: what is below a null is no value.
    fn add(&mut self, row: usize) {
        self.is_unfit[row] |= self.array.is_valid(row);
    }

    fn with_objects(self, columns: Vec<ArrayRef>, fields: &[Field]) -> Result<Narrowed, String> {
        let arrow_fields = fields.iter().map(Field::to_arrow).collect();
        let objects = StructArray::try_new(arrow_fields, columns, self.array.logical_nulls());
        let unfit = (0u32..).zip(self.is_unfit).filter_map(|(row, is_unfit)| is_unfit.then_some(row)).collect();
        Ok(Narrowed { array: Arc::new(objects.map_err(|error| error.to_string())?), unfit })
    }
}

/// A number, as exact as it came.
#[derive(Clone, Copy)]
enum Number {
    Whole(i128),
    Double(f64),
}

impl Number {
    /// Reads JSON text; `None` if it is no number that some column of numbers can hold.
    fn parse(text: &str) -> Option<Self> {
        if !text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
            return None;
        }
        // Only a double distinguishes `-0` from 0.
        match text.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) || text == "-0" {
            true => text.parse().ok().filter(|value: &f64| value.is_finite()).map(Number::Double),
            false => text.parse().ok().map(Number::Whole),
        }
    }

    /// Returns it without a fraction; `None` if it has one.
    fn whole(self) -> Option<i128> {
        match self {
            Number::Whole(value) => Some(value),
            // 2^53 itself may stand for the number after it.
            Number::Double(value) => {
                (value.fract() == 0.0 && value.abs() < EXACT_IN_DOUBLE as f64).then_some(value as i128)
            }
        }
    }

    fn double(self) -> Option<f64> {
        match self {
            Number::Whole(value) => (value.unsigned_abs() <= EXACT_IN_DOUBLE.into()).then_some(value as f64),
            Number::Double(value) => Some(value),
        }
    }
}

/// Brings numbers to the type `to` of numbers. `number` is called for rows that are not null.
fn numbers(array: &dyn Array, to: &Type, number: impl Fn(usize) -> Option<Number>) -> Narrowed {
    let values = (0..array.len()).map(|row| array.is_valid(row).then(|| number(row)).flatten());
    let after: ArrayRef = match to {
        Type::Int { .. } => Arc::new(values.map(|value| i64::try_from(value?.whole()?).ok()).collect::<Int64Array>()),
        Type::Float => Arc::new(values.map(|value| value?.double()).collect::<Float64Array>()),
        _ => {
            let mut builder = Decimal128Builder::with_capacity(array.len()).with_data_type(Type::Decimal.to_arrow());
            values.for_each(|value| builder.append_option(value.and_then(Number::whole).filter(has_place)));
            Arc::new(builder.finish())
        }
    };
    let unfit = unfit_rows(array, &after);
    Narrowed { array: after, unfit }
}

/// Brings values of several types, which are carried as JSON text, to a type.
fn of_json(array: &ArrayRef, to: &Type) -> Result<Narrowed, String> {
    // One level is decoded at a time, so that each value inside is judged as one by itself, too.
    let level = match to {
        Type::Int { .. } | Type::Decimal | Type::Float => {
            let texts = array.as_string_view();
            return Ok(numbers(array, to, |row| Number::parse(texts.value(row))));
        }
        // JSON has no spelling for them.
        Type::Fixed(_) | Type::Number(_) => return Ok(without_values(array, to)),
        Type::Map(_) => Type::map(Type::Json),
        Type::Struct(fields) if !fields.is_empty() => Type::map(Type::Json),
        Type::List(_) => Type::List(Box::new(Type::Json)),
        other => other.clone(),
    };
    let decoded = decoded(array, &level)?;
    if level == *to {
        return Ok(decoded);
    }
    let inner = narrowed(&decoded.array, &level, to, TypeMerge::Json)?;
    let mut unfit = [decoded.unfit, inner.unfit].concat();
    unfit.sort_unstable();
    unfit.dedup();
    Ok(Narrowed { array: inner.array, unfit })
}

/// Decodes JSON text as values of one type. The rows that do not fit are null.
fn decoded(array: &ArrayRef, to: &Type) -> Result<Narrowed, String> {
    let texts = array.as_string_view();
    let mut text = Vec::new();
    for value in texts {
        text.extend_from_slice(b"{\"v\":");
        text.extend_from_slice(value.unwrap_or("null").as_bytes());
        text.extend_from_slice(b"}\n");
    }
    let options = DecodeOptions {
        unknown_key: UnknownKey::SchemaMismatch,
        new_columns: ValueTypes::Typed,
        freeze: true,
        max_record_bytes: 1 << 30,
        max_cells: 1 << 20,
        record_spans: false,
        canonical_json: true,
    };
    let schema = Arc::new(Schema::new(vec![Field::new("v", to.clone())]));
    let morsel = Morsel::from_vec(text, 0, 0);
    let (mut consumed, mut first, mut arrays, mut unfit) = (0, 0u64, Vec::new(), Vec::new());
    while consumed < morsel.len {
        match ndjson::decode(&morsel.rest(consumed), &schema, &options) {
            Outcome::Decoded(decoded) if decoded.consumed > 0 => {
                consumed += decoded.consumed;
                unfit.extend(decoded.rejects.iter().map(|rejected| (first + rejected.record) as u32));
                first += decoded.records;
                let column = decoded.batch.columns.first().ok_or("no column was decoded")?;
                // The type may have narrowed flags alone.
                let found = &decoded.batch.schema.fields[0].ty;
                arrays.push(cast_array(column, found, to).map_err(|error| error.to_string())?);
            }
            Outcome::Decoded(_) => return Err("nothing was decoded".to_owned()),
            Outcome::SchemaMismatch(mismatch) => return Err(mismatch.what),
        }
    }
    let arrays: Vec<&dyn Array> = arrays.iter().map(|array| array.as_ref()).collect();
    let decoded = match arrays.is_empty() {
        true => new_null_array(&to.to_arrow(), 0),
        false => concat(&arrays).map_err(|error| error.to_string())?,
    };
    // The rows that fit, each in its place.
    let mut at = 0;
    let indices: UInt32Array = (0..array.len() as u32)
        .map(|row| {
            let fits = unfit.binary_search(&row).is_err();
            at += u32::from(fits);
            fits.then(|| at - 1)
        })
        .collect();
    let array = match decoded.is_empty() {
        true => new_null_array(&to.to_arrow(), array.len()),
        false => take(&decoded, &indices, None).map_err(|error| error.to_string())?,
    };
    Ok(Narrowed { array, unfit })
}
