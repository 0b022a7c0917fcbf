//! Encodes rows as values that the writer binds, and finds values that their columns cannot hold. Pure.

use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Decimal128Type;
use arrow_array::{Array, BooleanArray, Decimal128Array, Float64Array, Int64Array, StringViewArray};

use super::kinds::{Kind, NO_NAN, Reason};
use super::layout::{LayoutColumn, Mapping, Place};
use super::values::{put_float, put_int, put_null, put_text, put_text_with};
use crate::column::json_text::{JsonValues, NullMembers};
use crate::column::{Batch, Fixed, Type};
use crate::position::FieldPath;
use crate::warehouse::described::is_of_cells;
use crate::warehouse::{LoadError, LoadRows, RowEncoder, UnfitRow};

/// The encoder of a load.
#[derive(Debug)]
pub(super) struct ValueEncoder {
    pub(super) mapping: Mapping,
    /// The table in messages.
    pub(super) table: String,
}

impl RowEncoder for ValueEncoder {
    fn unfit(&self, batch: &Batch) -> Vec<UnfitRow> {
        // Columns that do not fit at all are an error of the writer, which knows the table.
        let Ok(layout) = self.mapping.layout(&batch.schema) else { return Vec::new() };
        let mut unfit: Vec<UnfitRow> = Vec::new();
        // Required columns that the layout leaves out have only nulls.
        let names = self.mapping.names(&batch.schema).unwrap_or_default();
        for (index, (field, name)) in batch.schema.fields.iter().zip(names).enumerate() {
            if self.mapping.is_required(&name) && !layout.iter().any(|column| column.index == index) {
                unfit.extend((0..batch.rows).map(|row| required(row, &field.name)));
            }
        }
        let mut scratch = Vec::new();
        for column in &layout {
            let values = Column::new(column, batch, &self.mapping);
            if self.mapping.is_required(&column.name) {
                let nulls = (0..batch.rows).filter(|&row| values.is_null(row));
                unfit.extend(nulls.map(|row| required(row, &column.source)));
            }
            if values.always_fits(&column.ty.resolved()) {
                continue;
            }
            for row in (0..batch.rows).filter(|&row| !values.is_null(row)) {
                scratch.clear();
                if let Err(reason) = values.write_value(row, &mut scratch) {
                    let path = FieldPath::root().field(&column.source);
                    unfit.push(UnfitRow { row: row as u32, path, reason: reason.into_owned() });
                }
            }
        }
        unfit.sort_by_key(|unfit| unfit.row);
        unfit.dedup_by_key(|unfit| unfit.row);
        unfit
    }

    fn encode(&self, batch: &Batch, mut buffer: Vec<u8>) -> Result<LoadRows, LoadError> {
        let layout = self.mapping.layout(&batch.schema);
        // Of columns that appear late: the others are checked before the first row.
        let layout = layout.map_err(|misfits| LoadError::Misfits { table: self.table.clone(), misfits })?;
        let columns: Vec<Column<'_>> = layout.iter().map(|column| Column::new(column, batch, &self.mapping)).collect();
        for row in 0..batch.rows {
            for column in &columns {
                column.write(row, &mut buffer).map_err(|reason| LoadError::Bug(reason.into_owned()))?;
            }
        }
        Ok(LoadRows::Bytes(buffer))
    }
}

fn required(row: usize, column: &Arc<str>) -> UnfitRow {
    let path = FieldPath::root().field(column);
    UnfitRow { row: row as u32, path, reason: "it is null, and the column of the table takes no null".into() }
}

/// The values of one column, downcast once.
enum Values<'a> {
    Null,
    Bool(&'a BooleanArray),
    Int(&'a Int64Array),
    Decimal(&'a Decimal128Array),
    Float(&'a Float64Array),
    Fixed(&'a dyn Array, Fixed),
    Text(&'a StringViewArray),
    /// JSON text.
    Json(&'a StringViewArray),
    /// JSON text for a column of several types that the load makes.
    Mixed {
        /// As the records have it.
        as_read: &'a StringViewArray,
        /// In the form that values have which were typed before the column became one of several types.
        canonical: &'a StringViewArray,
    },
    /// Nested values, by their JSON text.
    Nested(JsonValues<'a>),
}

struct Column<'a> {
    values: Values<'a>,
    array: &'a dyn Array,
    place: Place,
}

impl<'a> Column<'a> {
    fn new(column: &LayoutColumn, batch: &'a Batch, mapping: &Mapping) -> Self {
        let (array, typed) = (&*batch.columns[column.index], &batch.schema.fields[column.index].ty);
        let is_of = |kinds: &[Kind]| matches!(column.place, Place::Existing(kind) if kinds.contains(&kind));
        let (values, ty): (&'a dyn Array, &Type) = match batch.as_read(column.index) {
            // Nested values as their own text, with the keys and digits of the record.
            Some(as_read) if as_read.ty == Type::Raw && typed.is_nested() => (&*as_read.array, &Type::Json),
            // Numbers as they were read, where the column keeps that: whether 2 is 2.0 must not depend on other records.
            Some(as_read) if as_read.ty == Type::Raw && *typed == Type::Float && is_of(&[Kind::Text, Kind::Any]) => {
                (&*as_read.array, &Type::Json)
            }
            Some(as_read) if as_read.ty == Type::Text && is_of(&[Kind::Text]) && is_of_cells(typed) => {
                (&*as_read.array, &Type::Text)
            }
            _ => (array, typed),
        };
        let is_json = matches!(column.place, Place::New | Place::Existing(Kind::Mixed));
        let mixed = (*typed == Type::Json && is_json).then(|| array.as_string_view());
        // Numbers of CSV whose type is open are carried as the type that they would have now.
        let resolved = ty.resolved();
        let values = match &resolved {
            Type::Null => Values::Null,
            Type::Bool => Values::Bool(values.as_boolean()),
            Type::Int { .. } => Values::Int(values.as_primitive()),
            Type::Decimal => Values::Decimal(values.as_primitive::<Decimal128Type>()),
            Type::Float => Values::Float(values.as_primitive()),
            Type::Text => Values::Text(values.as_string_view()),
            Type::Json | Type::Raw | Type::Opaque(_) => match mixed {
                Some(canonical) => Values::Mixed { as_read: values.as_string_view(), canonical },
                None => Values::Json(values.as_string_view()),
            },
            Type::Fixed(fixed) => Values::Fixed(values, *fixed),
            Type::Number(_) => unreachable!("it is resolved"),
            Type::Struct(_) | Type::List(_) | Type::Map(_) => Values::Nested(
                JsonValues::try_new(values, &resolved, NullMembers::Write)
                    .expect("the array is of the type of its schema"),
            ),
        };
        let place = match column.place {
            Place::Existing(Kind::Integer { .. }) if !mapping.takes_fractions() => {
                Place::Existing(Kind::Integer { only: true })
            }
            place => place,
        };
        Column { values, array, place }
    }

    fn is_null(&self, row: usize) -> bool {
        matches!(self.values, Values::Null) || self.array.is_null(row)
    }

    /// Returns true if no value of the column can be refused.
    fn always_fits(&self, ty: &Type) -> bool {
        let has_nan = || match &self.values {
            Values::Float(values) => values.values().iter().any(|value| value.is_nan()),
            _ => false,
        };
        match self.place {
            Place::Existing(kind) => kind.fits_all(ty) && !has_nan(),
            Place::New => !has_nan(),
        }
    }

    /// Appends the value in `row`. Fails with a reason if the column cannot hold it.
    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        if self.is_null(row) {
            put_null(out);
            return Ok(());
        }
        self.write_value(row, out)
    }

    #[inline]
    fn write_value(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        let Place::Existing(kind) = self.place else { return self.write_new(row, out) };
        match &self.values {
            Values::Null => put_null(out),
            Values::Bool(values) => kind.put_bool(values.value(row), out),
            Values::Int(values) => return kind.put_int(values.value(row), out),
            Values::Decimal(values) => {
                return kind.put_decimal(itoa::Buffer::new().format(values.value(row)), out);
            }
            Values::Float(values) => return kind.put_float(values.value(row), out),
            Values::Fixed(array, fixed) => {
                let mut text = Vec::new();
                fixed.write(fixed.value(*array, row), &mut text);
                let text = std::str::from_utf8(&text).map_err(|_| "the value is not valid Unicode")?;
                return match fixed {
                    Fixed::Decimal { .. } => kind.put_decimal(text, out),
                    _ => kind.put_text(text, out),
                };
            }
            Values::Text(values) => return kind.put_text(values.value(row), out),
            Values::Mixed { .. } if kind == Kind::Mixed => return self.write_new(row, out),
            Values::Json(values) | Values::Mixed { as_read: values, .. } => {
                return kind.put_json(values.value(row), out);
            }
            Values::Nested(values) => put_text_with(out, |out| values.write(row, out)),
        }
        Ok(())
    }

    /// Appends the value for a column that the load makes.
    #[inline]
    fn write_new(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        match &self.values {
            Values::Null => put_null(out),
            Values::Bool(values) => put_int(values.value(row).into(), out),
            Values::Int(values) => put_int(values.value(row), out),
            Values::Decimal(values) => put_text(itoa::Buffer::new().format(values.value(row)).as_bytes(), out),
            Values::Float(values) => match values.value(row) {
                value if value.is_nan() => return Err(NO_NAN.into()),
                value => put_float(value, out),
            },
            Values::Fixed(array, fixed) => put_text_with(out, |out| fixed.write(fixed.value(*array, row), out)),
            Values::Text(values) | Values::Json(values) => put_text(values.value(row).as_bytes(), out),
            Values::Mixed { as_read, canonical } => {
                let text = as_read.value(row);
                let text = match text.starts_with(['{', '[']) {
                    // Nested values are never taken apart, and keep their text at any place.
                    true => text,
                    // A column of REAL has no zero with a sign.
                    false if canonical.value(row) == "-0.0" => "0",
                    false => canonical.value(row),
                };
                put_text(text.as_bytes(), out);
            }
            Values::Nested(values) => put_text_with(out, |out| values.write(row, out)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::warehouse::Widening;
    use crate::warehouse::testing::assert_same_rows;

    #[test]
    fn nested_values_are_the_same_without_their_insides() {
        let mapping = Mapping { table: None, widening: Widening::Evolve, key: Vec::new(), load_column: None };
        assert_same_rows(&ValueEncoder { mapping, table: "t".into() });
    }
}
