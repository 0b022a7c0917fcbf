//! Encodes rows as `RowBinary`, and finds values that their columns cannot hold before they are sent. Pure.

use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, BooleanArray, Float64Array, Int64Array, StringViewArray};

use super::layout::{Layout, LayoutColumn, Mapping};
use super::types::ColumnType;
use super::value::{Reason, from_text, write_bytes, write_days, write_json, write_time};
use crate::column::json_text::{JsonValues, NullMembers};
use crate::column::number::{fits_double, write_float};
use crate::column::{Batch, Fixed, Type};
use crate::position::FieldPath;
use crate::warehouse::described::is_of_cells;
use crate::warehouse::json_text::plain_text;
use crate::warehouse::{LoadError, LoadRows, RowEncoder, UnfitRow};

/// The encoder of a load.
#[derive(Debug)]
pub(super) struct RowBinaryEncoder {
    pub(super) mapping: Mapping,
    /// The table in messages.
    pub(super) table: String,
}

impl RowBinaryEncoder {
    fn columns<'a>(&self, batch: &'a Batch) -> Result<(Layout, Vec<Column<'a>>), LoadError> {
        let layout = self.mapping.layout(&batch.schema);
        // Of columns that appear late: the others are checked before the first row.
        let layout = layout.map_err(|misfits| LoadError::Misfits { table: self.table.clone(), misfits })?;
        let columns = layout.columns.iter().map(|column| Column::new(column, batch)).collect();
        Ok((layout, columns))
    }
}

impl RowEncoder for RowBinaryEncoder {
    fn unfit(&self, batch: &Batch) -> Vec<UnfitRow> {
        // Columns that do not fit at all are an error of the writer, which knows the table.
        let Ok((layout, columns)) = self.columns(batch) else { return Vec::new() };
        let mut unfit: Vec<UnfitRow> = Vec::new();
        let mut scratch = Vec::new();
        // Required columns that the layout leaves out have only nulls.
        let without_values = batch.schema.fields.iter().zip(self.mapping.names(&batch.schema).unwrap_or_default());
        for (field, name) in without_values {
            if field.ty == Type::Null && self.mapping.is_required(&name) {
                unfit.extend((0..batch.rows).map(|row| required(row, &field.name)));
            }
        }
        for (column, values) in layout.columns.iter().zip(&columns) {
            if !values.ty.is_nullable() {
                unfit.extend(
                    (0..batch.rows).filter(|&row| values.is_null(row)).map(|row| required(row, &column.source)),
                );
            }
            if values.always_fits() {
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
        let (_, columns) = self.columns(batch)?;
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
    Bool(&'a BooleanArray),
    Int(&'a Int64Array),
    Float(&'a Float64Array),
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
    Fixed(&'a dyn Array, Fixed),
    /// Any type, by its JSON text.
    Other(JsonValues<'a>),
}

struct Column<'a> {
    values: Values<'a>,
    array: &'a dyn Array,
    /// True if no value is null.
    has_no_nulls: bool,
    ty: ColumnType,
}

impl<'a> Column<'a> {
    fn new(column: &LayoutColumn, batch: &'a Batch) -> Self {
        let (array, typed) = (&*batch.columns[column.index], &batch.schema.fields[column.index].ty);
        let is_text = matches!(column.ty.inner(), ColumnType::Text | ColumnType::FixedText(_));
        let is_exact = matches!(column.ty.inner(), ColumnType::Decimal { .. } | ColumnType::Int { .. });
        let (values, ty): (&'a dyn Array, &Type) = match batch.as_read(column.index) {
            // Nested values as their own text, with the keys and digits of the record.
            Some(as_read) if as_read.ty == Type::Raw && typed.is_nested() => (&*as_read.array, &Type::Json),
            // Numbers as they were read: whether 2 is 2.0 in a text must not depend on other records, and exact numbers have
            // room for more digits than a double.
            Some(as_read) if as_read.ty == Type::Raw && *typed == Type::Float && (is_text || is_exact) => {
                (&*as_read.array, &Type::Json)
            }
            Some(as_read) if as_read.ty == Type::Text && is_of_cells(typed) && is_text => {
                (&*as_read.array, &Type::Text)
            }
            _ => (array, typed),
        };
        let mixed = (*typed == Type::Json && column.is_json).then(|| array.as_string_view());
        let values = match ty {
            Type::Bool => Values::Bool(values.as_boolean()),
            Type::Int { .. } => Values::Int(values.as_primitive()),
            Type::Float => Values::Float(values.as_primitive()),
            // Of nulls alone.
            Type::Null => Values::Text(values.as_string_view()),
            Type::Text => Values::Text(values.as_string_view()),
            Type::Json | Type::Raw | Type::Opaque(_) => match mixed {
                Some(canonical) => Values::Mixed { as_read: values.as_string_view(), canonical },
                None => Values::Json(values.as_string_view()),
            },
            Type::Fixed(fixed) => Values::Fixed(values, *fixed),
            _ => Values::Other(
                JsonValues::try_new(values, ty, NullMembers::Write).expect("the array is of the type of its schema"),
            ),
        };
        Column { values, array, has_no_nulls: array.null_count() == 0, ty: column.ty.clone() }
    }

    #[inline]
    fn is_null(&self, row: usize) -> bool {
        !self.has_no_nulls && self.array.is_null(row)
    }

    /// Returns true if no value of the column can be refused.
    fn always_fits(&self) -> bool {
        match (&self.values, self.ty.inner()) {
            (Values::Mixed { .. }, ColumnType::Text) => true,
            // Not every string of JSON is Unicode.
            (Values::Json(_), ColumnType::Text) => false,
            (_, ColumnType::Text)
            | (Values::Bool(_), ColumnType::Bool)
            | (Values::Int(_), ColumnType::Int { bytes: 8.., signed: true })
            | (Values::Float(_), ColumnType::Float64) => true,
            (Values::Int(_), ColumnType::Decimal { precision, scale }) => *precision >= 19 + *scale,
            _ => false,
        }
    }

    /// Appends the value in `row`, or a null. Fails with a reason if the column cannot hold it.
    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        match (self.is_null(row), self.ty.is_nullable()) {
            (true, true) => {
                out.push(1);
                return Ok(());
            }
            (true, false) => return Err("a null was encoded for a column that takes none".into()),
            (false, true) => out.push(0),
            (false, false) => {}
        }
        self.write_value(row, out)
    }

    /// Appends a value that is not null, without the mark of that.
    #[inline]
    fn write_value(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        let ty = self.ty.inner();
        match (&self.values, ty) {
            (Values::Bool(values), ColumnType::Bool) => out.push(u8::from(values.value(row))),
            (Values::Int(values), ColumnType::Int { bytes: 8, signed: true }) => {
                out.extend_from_slice(&values.value(row).to_le_bytes());
            }
            (Values::Int(values), ColumnType::Float64) => {
                let value = values.value(row);
                if !fits_double(value) {
                    return Err("the number has more digits than the column holds".into());
                }
                out.extend_from_slice(&(value as f64).to_le_bytes());
            }
            (Values::Float(values), ColumnType::Float64) => out.extend_from_slice(&values.value(row).to_le_bytes()),
            (Values::Text(values), ColumnType::Text) => write_bytes(values.value(row).as_bytes(), out),
            (Values::Mixed { as_read, canonical }, _) => {
                let text = as_read.value(row);
                // Nested values are never taken apart, and keep their text at any place.
                let text = if text.starts_with(['{', '[']) { text } else { canonical.value(row) };
                write_bytes(text.as_bytes(), out);
            }
            (Values::Text(values), ty) => return from_text(values.value(row), ty, out),
            (Values::Json(values), ColumnType::Text | ColumnType::FixedText(_)) => {
                return from_text(&plain_text(values.value(row))?, ty, out);
            }
            (Values::Json(values), ty) => return write_json_text(values.value(row).as_bytes(), ty, out),
            (Values::Fixed(array, fixed @ Fixed::Date), ColumnType::Date | ColumnType::Date32) => {
                return write_days(i64::try_from(fixed.value(*array, row)).unwrap_or(i64::MAX), ty, out);
            }
            (
                Values::Fixed(array, fixed @ Fixed::Timestamp { unit, .. }),
                ColumnType::DateTime | ColumnType::DateTime64(_),
            ) => return write_time(fixed.value(*array, row), unit.per_second().into(), ty, out),
            (values, ty) => {
                let mut text = Vec::new();
                match values {
                    Values::Bool(values) => text.extend_from_slice(if values.value(row) { b"true" } else { b"false" }),
                    Values::Int(values) => {
                        text.extend_from_slice(itoa::Buffer::new().format(values.value(row)).as_bytes());
                    }
                    Values::Float(values) => write_float(values.value(row), &mut text),
                    Values::Fixed(array, fixed) => fixed.write(fixed.value(*array, row), &mut text),
                    Values::Other(values) => {
                        values.write(row, &mut text);
                        if !matches!(ty, ColumnType::Text | ColumnType::FixedText(_)) {
                            return write_json_text(&text, ty, out);
                        }
                    }
                    Values::Text(_) | Values::Json(_) | Values::Mixed { .. } => {}
                }
                let text = std::str::from_utf8(&text).map_err(|_| "the value is not valid Unicode")?;
                return from_text(text, ty, out);
            }
        }
        Ok(())
    }
}

fn write_json_text(text: &[u8], ty: &ColumnType, out: &mut Vec<u8>) -> Result<(), Reason> {
    let value = serde_json::from_slice(text).map_err(|_| "the value has a text that is not valid Unicode")?;
    write_json(&value, ty, out)
}

#[cfg(test)]
mod tests {
    use super::super::layout::TableColumn;
    use super::*;
    use crate::warehouse::Widening;
    use crate::warehouse::testing::assert_same_rows;

    #[test]
    fn nested_values_are_the_same_without_their_insides() {
        let column = |name: &str, sql: &str| TableColumn {
            name: name.into(),
            sql: sql.into(),
            ty: ColumnType::parse(sql),
            has_default: false,
            is_computed: false,
            is_in_key: false,
        };
        let tables = [
            None,
            Some(vec![column("o", "JSON"), column("l", "Array(Nullable(String))"), column("x", "FixedString(9)")]),
            Some(vec![column("o", "Map(String, Nullable(Float64))"), column("l", "Tuple(String, String)")]),
        ];
        for table in tables {
            let mapping = Mapping { table, widening: Widening::Evolve, load_column: None };
            assert_same_rows(&RowBinaryEncoder { mapping, table: "t".into() });
        }
    }
}
