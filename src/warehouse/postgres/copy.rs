//! Encodes rows in the binary form of COPY, and finds values that their columns cannot hold before they are sent. Pure.

use std::borrow::Cow;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::{Array, BooleanArray, Float64Array, Int64Array, StringViewArray};
use memchr::memchr;

use super::layout::{Cast, Layout, LayoutColumn, Mapping};
use super::numeric;
use super::types::Wire;
use crate::column::json_text::{JsonValues, NullMembers, write_json_string};
use crate::column::number::{fits_double, write_float};
use crate::column::{Batch, Fixed, Type, Unit};
use crate::position::FieldPath;
use crate::transform::expr::{parse_days, parse_micros};
use crate::warehouse::json_text::plain_text;
use crate::warehouse::uuid::uuid;
use crate::warehouse::{LoadError, LoadRows, NulPolicy, RowEncoder, UnfitRow};

/// The bytes before the first row of a COPY: the signature, no flags, no extension.
pub(super) const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The bytes after the last row.
pub(super) const TRAILER: &[u8] = &[0xff, 0xff];

/// The length that marks a null.
const NULL: [u8; 4] = (-1i32).to_be_bytes();

/// Days and microseconds from 1970 to 2000, from which the server counts.
const DAYS_TO_2000: i64 = 10_957;
const MICROS_TO_2000: i64 = DAYS_TO_2000 * 86_400_000_000;

/// The years that the server holds, as days and microseconds from 2000: 4713 BC to 5874897 and to 294276.
const DATES: std::ops::RangeInclusive<i64> = -2_451_545..=2_145_031_948;
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -211_813_488_000_000_000..=9_223_371_331_199_999_999;

/// The longest value that the server takes, in bytes.
const MAX_VALUE_BYTES: usize = (1 << 30) - 1;

/// The encoder of a load.
#[derive(Debug)]
pub(super) struct CopyEncoder {
    pub(super) mapping: Mapping,
    /// The table in messages.
    pub(super) table: String,
}

impl CopyEncoder {
    /// Returns the layout of `batch` and its columns. `is_checked` is true if rows with values that their columns cannot hold
    /// are no longer among its rows.
    fn columns<'a>(&self, batch: &'a Batch, is_checked: bool) -> Result<(Layout, Vec<Column<'a>>), LoadError> {
        let layout = self.mapping.layout(&batch.schema);
        // Of columns that appear late: the others are checked before the first row.
        let layout = layout.map_err(|misfits| LoadError::Misfits { table: self.table.clone(), misfits })?;
        let columns =
            layout.columns.iter().map(|column| Column::new(column, batch, &self.mapping, is_checked)).collect();
        Ok((layout, columns))
    }
}

impl RowEncoder for CopyEncoder {
    fn unfit(&self, batch: &Batch) -> Vec<UnfitRow> {
        // Columns that do not fit at all are an error of the writer, which knows the table.
        let Ok((layout, columns)) = self.columns(batch, false) else { return Vec::new() };
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
            if values.is_required {
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
        let (_, columns) = self.columns(batch, true)?;
        let load_key = self.mapping.load_column.as_ref().and_then(|column| column.key.as_deref());
        let fields = columns.len() + usize::from(load_key.is_some());
        let fields =
            i16::try_from(fields).map_err(|_| LoadError::Bug("more than 32,767 columns".into()))?.to_be_bytes();
        for row in 0..batch.rows {
            buffer.extend_from_slice(&fields);
            for column in &columns {
                column.write(row, &mut buffer).map_err(|reason| LoadError::Bug(reason.into_owned()))?;
            }
            if let Some(key) = load_key {
                buffer.extend_from_slice(&(key.len() as i32).to_be_bytes());
                buffer.extend_from_slice(key.as_bytes());
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
    /// JSON text of values of several types.
    Json(&'a StringViewArray),
    Date(&'a dyn Array),
    Timestamp(&'a dyn Array, Unit),
    /// Any type, by its JSON text.
    Other(JsonValues<'a>),
}

struct Column<'a> {
    values: Values<'a>,
    array: &'a dyn Array,
    wire: Wire,
    is_required: bool,
    /// The typed numbers, where `values` are their digits for `numeric`.
    floats: Option<&'a Float64Array>,
    /// True if the column of the table is an array.
    takes_lists: bool,
    nul: NulPolicy,
    /// True if text in it may hold what the column cannot: U+0000, an escape of it or of half a surrogate pair, or in JSON a
    /// number beyond `numeric`.
    is_suspicious: bool,
}

type Reason = Cow<'static, str>;

impl<'a> Column<'a> {
    fn new(column: &LayoutColumn, batch: &'a Batch, mapping: &Mapping, is_checked: bool) -> Self {
        let (array, typed) = (&*batch.columns[column.index], &batch.schema.fields[column.index].ty);
        let (values, ty): (&'a dyn Array, &Type) = match batch.as_read(column.index) {
            // Nested values as their own text, with the keys and digits of the record.
            Some(as_read) if as_read.ty == Type::Raw && typed.is_nested() => (&*as_read.array, &Type::Json),
            // Numbers with the digits of the record, where the column has room for them.
            Some(as_read) if as_read.ty == Type::Raw && keeps_digits(typed, column.wire, true) => {
                (&*as_read.array, &Type::Json)
            }
            Some(as_read) if as_read.ty == Type::Text && keeps_digits(typed, column.wire, false) => {
                (&*as_read.array, &Type::Text)
            }
            _ => (array, typed),
        };
        let has_digits = *typed == Type::Float && *ty != Type::Float && matches!(column.wire, Wire::Numeric(_));
        let floats = has_digits.then(|| array.as_primitive());
        // Of checked rows, only what is replaced is still there.
        let may_have_suspects = !is_checked || mapping.nul == NulPolicy::Replace;
        let suspects = may_have_suspects && is_suspicious(values, ty);
        let values = match ty {
            Type::Bool => Values::Bool(values.as_boolean()),
            Type::Int { .. } => Values::Int(values.as_primitive()),
            Type::Float => Values::Float(values.as_primitive()),
            Type::Text => Values::Text(values.as_string_view()),
            Type::Json | Type::Raw | Type::Opaque(_) => Values::Json(values.as_string_view()),
            Type::Fixed(Fixed::Date) => Values::Date(values),
            Type::Fixed(Fixed::Timestamp { unit, .. }) => Values::Timestamp(values, *unit),
            _ => Values::Other(
                JsonValues::try_new(values, ty, NullMembers::Write).expect("the array is of the type of its schema"),
            ),
        };
        let is_required = mapping.is_required(&column.name);
        let takes_lists = matches!(column.cast, Some(Cast::ToArray(_)));
        Column {
            values,
            array,
            wire: column.wire,
            is_required,
            floats,
            takes_lists,
            nul: mapping.nul,
            is_suspicious: suspects,
        }
    }

    fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row)
    }

    /// Returns true if no value of the column can be refused.
    fn always_fits(&self) -> bool {
        if self.takes_lists {
            return false;
        }
        match (&self.values, self.wire) {
            (Values::Bool(_), Wire::Bool | Wire::Text(None) | Wire::Json | Wire::Jsonb) => true,
            (Values::Int(_), Wire::Int8 | Wire::Numeric(None) | Wire::Text(None) | Wire::Json | Wire::Jsonb) => true,
            (Values::Float(_), Wire::Float8 | Wire::Text(None)) => true,
            (Values::Text(_), Wire::Text(None) | Wire::Json | Wire::Jsonb)
            | (Values::Json(_), Wire::Text(None) | Wire::Jsonb)
            | (Values::Other(_), Wire::Text(None) | Wire::Jsonb) => !self.is_suspicious,
            (Values::Json(_) | Values::Other(_), Wire::Json) => true,
            _ => false,
        }
    }

    /// Appends the length and the value in `row`. Fails with a reason if the column cannot hold it.
    #[inline]
    fn write(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        if self.is_null(row) {
            out.extend_from_slice(&NULL);
            return Ok(());
        }
        let start = out.len();
        out.extend_from_slice(&[0; 4]);
        self.write_value(row, out)?;
        let len = out.len() - start - 4;
        out[start..start + 4].copy_from_slice(&(len as i32).to_be_bytes());
        Ok(())
    }

    fn write_value(&self, row: usize, out: &mut Vec<u8>) -> Result<(), Reason> {
        match (&self.values, self.wire) {
            (Values::Bool(values), Wire::Bool) => out.push(u8::from(values.value(row))),
            (Values::Int(values), wire) => return self.write_int(values.value(row), wire, out),
            (Values::Float(values), wire) => return self.write_float(values.value(row), wire, out),
            (Values::Text(values), Wire::Text(limit)) => return self.write_text(values.value(row), limit, out),
            (Values::Text(values), Wire::Json | Wire::Jsonb) => {
                let mut json = Vec::new();
                write_json_string(values.value(row), &mut json);
                return self.write_json(json.into(), out);
            }
            (Values::Text(values), wire) => return self.write_from_text(values.value(row), row, wire, out),
            (Values::Json(values), Wire::Json | Wire::Jsonb) => {
                return self.write_json(values.value(row).as_bytes().into(), out);
            }
            (Values::Json(values), wire) => {
                let text = plain_text(values.value(row))?;
                return match wire {
                    Wire::Text(limit) => self.write_text(&text, limit, out),
                    wire => self.write_from_text(&text, row, wire, out),
                };
            }
            (Values::Date(array), Wire::Date) => {
                let days = i64::try_from(Fixed::Date.value(*array, row)).unwrap_or(i64::MAX);
                return write_date(days, out);
            }
            (Values::Timestamp(array, unit), Wire::Timestamp) => {
                let count = Fixed::Timestamp { unit: *unit, local: true }.value(*array, row);
                let micros = match unit {
                    Unit::Millis => count * 1000,
                    Unit::Micros => count,
                    Unit::Nanos if count % 1000 == 0 => count / 1000,
                    Unit::Nanos => return Err("the time is more precise than a microsecond".into()),
                };
                return write_timestamp(i64::try_from(micros).unwrap_or(i64::MAX), out);
            }
            (_, wire) => {
                let mut json = Vec::new();
                self.write_json_form(row, &mut json);
                return match wire {
                    Wire::Json | Wire::Jsonb => self.write_json(json.into(), out),
                    wire => {
                        let json = String::from_utf8(json).map_err(|_| "the value is not valid Unicode")?;
                        // Dates and times are strings of JSON without escapes.
                        let text = json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(&json);
                        match wire {
                            Wire::Text(limit) => self.write_text(text, limit, out),
                            wire => from_text(text, wire, out),
                        }
                    }
                };
            }
        }
        Ok(())
    }

    /// As [`from_text`]; a number in digits that are not those of JSON is the typed one.
    fn write_from_text(&self, text: &str, row: usize, wire: Wire, out: &mut Vec<u8>) -> Result<(), Reason> {
        match self.floats {
            Some(floats) if !numeric::is_number(text.as_bytes()) => self.write_float(floats.value(row), wire, out),
            _ => from_text(text, wire, out),
        }
    }

    fn write_json_form(&self, row: usize, out: &mut Vec<u8>) {
        match &self.values {
            Values::Other(values) => values.write(row, out),
            Values::Bool(values) => out.extend_from_slice(if values.value(row) { b"true" } else { b"false" }),
            Values::Date(array) => JsonValues::new(*array, &Type::Fixed(Fixed::Date)).write(row, out),
            Values::Timestamp(array, unit) => {
                let local = matches!(array.data_type(), arrow_schema::DataType::Timestamp(_, None));
                JsonValues::new(*array, &Type::Fixed(Fixed::Timestamp { unit: *unit, local })).write(row, out);
            }
            _ => {}
        }
    }

    #[inline]
    fn write_int(&self, value: i64, wire: Wire, out: &mut Vec<u8>) -> Result<(), Reason> {
        match wire {
            Wire::Int8 => out.extend_from_slice(&value.to_be_bytes()),
            Wire::Int4 => out.extend_from_slice(&i32::try_from(value).map_err(|_| OUT_OF_INTEGER)?.to_be_bytes()),
            Wire::Int2 => out.extend_from_slice(&i16::try_from(value).map_err(|_| OUT_OF_SMALLINT)?.to_be_bytes()),
            Wire::Float8 if fits_double(value) => out.extend_from_slice(&(value as f64).to_be_bytes()),
            Wire::Float4 if value.unsigned_abs() <= 1 << 24 => out.extend_from_slice(&(value as f32).to_be_bytes()),
            Wire::Float4 | Wire::Float8 => return Err("the number has more digits than the column holds".into()),
            wire => {
                let mut text = itoa::Buffer::new();
                let text = text.format(value);
                return match wire {
                    Wire::Json | Wire::Jsonb => self.write_json(text.as_bytes().into(), out),
                    Wire::Text(limit) => self.write_text(text, limit, out),
                    wire => from_text(text, wire, out),
                };
            }
        }
        Ok(())
    }

    #[inline]
    fn write_float(&self, value: f64, wire: Wire, out: &mut Vec<u8>) -> Result<(), Reason> {
        match wire {
            Wire::Float8 => out.extend_from_slice(&value.to_be_bytes()),
            // A number of four bytes that was widened, such as one of Parquet.
            Wire::Float4 if f64::from(value as f32) == value => out.extend_from_slice(&(value as f32).to_be_bytes()),
            Wire::Json | Wire::Jsonb if !value.is_finite() => return Err("JSON has no such number".into()),
            wire => {
                let mut text = Vec::new();
                write_float(value, &mut text);
                let text = std::str::from_utf8(&text).expect("numbers are ASCII");
                return match wire {
                    Wire::Json | Wire::Jsonb => self.write_json(text.as_bytes().into(), out),
                    Wire::Text(limit) => self.write_text(text, limit, out),
                    wire => from_text(text, wire, out),
                };
            }
        }
        Ok(())
    }

    fn write_text(&self, text: &str, limit: Option<u32>, out: &mut Vec<u8>) -> Result<(), Reason> {
        let text = match (self.is_suspicious && memchr(0, text.as_bytes()).is_some(), self.nul) {
            (false, _) => Cow::Borrowed(text),
            (true, NulPolicy::Replace) => Cow::Owned(text.replace('\0', "\u{fffd}")),
            (true, NulPolicy::Reject) => return Err("the text has U+0000, which PostgreSQL cannot store".into()),
        };
        if limit.is_some_and(|limit| text.len() > limit as usize && text.chars().count() > limit as usize) {
            return Err("the text is longer than the column".into());
        }
        if text.len() > MAX_VALUE_BYTES {
            return Err("the text is longer than PostgreSQL can store".into());
        }
        out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn write_json(&self, json: Cow<'_, [u8]>, out: &mut Vec<u8>) -> Result<(), Reason> {
        if self.wire == Wire::Json {
            out.extend_from_slice(&json);
            return Ok(());
        }
        let json = match self.is_suspicious.then(|| bad_escape(&json)).flatten() {
            None => json,
            Some(BadEscape::Nul) if self.nul == NulPolicy::Replace => without_nul(&json).into(),
            Some(BadEscape::Nul) => return Err("the text has U+0000, which PostgreSQL cannot store".into()),
            Some(BadEscape::Surrogate) => {
                return Err("the text has half of a surrogate pair, which jsonb cannot store".into());
            }
        };
        if json.len() >= MAX_VALUE_BYTES {
            return Err("the value is longer than PostgreSQL can store".into());
        }
        if self.takes_lists && json.first() != Some(&b'[') {
            return Err("the value is no list, and the column is an array".into());
        }
        if self.is_suspicious && numeric::is_beyond_jsonb(&json) {
            return Err("a number in it is out of range for jsonb".into());
        }
        // The version of the form.
        out.push(1);
        out.extend_from_slice(&json);
        Ok(())
    }
}

const OUT_OF_INTEGER: &str = "the number is beyond the column's type, integer";
const OUT_OF_SMALLINT: &str = "the number is beyond the column's type, smallint";

/// Returns true if numbers of `ty` go into a column of `wire` as they were read, and not as the typed column has them:
/// in a column of text `1.10` is not `1.1`, and `numeric` has room for more digits than a double.
fn keeps_digits(ty: &Type, wire: Wire, is_json: bool) -> bool {
    match wire {
        Wire::Text(_) => matches!(ty, Type::Float | Type::Int { .. } | Type::Decimal | Type::Bool),
        Wire::Numeric(_) => *ty == Type::Float,
        // The digits of a cell of CSV are not always a number of JSON.
        Wire::Json | Wire::Jsonb => is_json && *ty == Type::Float,
        _ => false,
    }
}

/// Returns true if text in the column may hold U+0000, or JSON text an escape or a number that `jsonb` refuses.
fn is_suspicious(array: &dyn Array, ty: &Type) -> bool {
    let any = |array: &StringViewArray, test: fn(&[u8]) -> bool| {
        (0..array.len()).any(|row| !array.is_null(row) && test(array.value(row).as_bytes()))
    };
    match ty {
        Type::Text => any(array.as_string_view(), |text| memchr(0, text).is_some()),
        Type::Json | Type::Raw | Type::Opaque(_) => any(array.as_string_view(), is_suspicious_json),
        Type::Struct(fields) if fields.is_empty() => any(array.as_string_view(), is_suspicious_json),
        Type::Struct(fields) => {
            // A key may have it, too.
            fields.iter().any(|field| memchr(0, field.name.as_bytes()).is_some())
                || fields
                    .iter()
                    .zip(array.as_struct().columns())
                    .any(|(field, column)| is_suspicious(column, &field.ty))
        }
        Type::List(item) => is_suspicious(array.as_list::<i32>().values(), item),
        Type::Map(value) => {
            let map = array.as_map();
            is_suspicious(map.keys(), &Type::Text) || is_suspicious(map.values(), value)
        }
        _ => false,
    }
}

/// Returns true if JSON text may hold an escape or a number that `jsonb` refuses.
fn is_suspicious_json(text: &[u8]) -> bool {
    memchr(b'\\', text).is_some() || numeric::may_be_beyond_jsonb(text)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BadEscape {
    Nul,
    Surrogate,
}

/// Returns the first escape of JSON text that `jsonb` refuses: of U+0000, or of half a surrogate pair.
fn bad_escape(json: &[u8]) -> Option<BadEscape> {
    let mut at = 0;
    while let Some(found) = memchr(b'\\', &json[at..]) {
        at += found;
        if json.get(at + 1) != Some(&b'u') {
            at += 2;
            continue;
        }
        match unit(json, at)? {
            0 => return Some(BadEscape::Nul),
            0xd800..=0xdbff => match unit(json, at + 6) {
                Some(0xdc00..=0xdfff) => at += 12,
                _ => return Some(BadEscape::Surrogate),
            },
            0xdc00..=0xdfff => return Some(BadEscape::Surrogate),
            _ => at += 6,
        }
        if at >= json.len() {
            break;
        }
    }
    None
}

/// Returns the value of the escape `\uXXXX` at a byte.
fn unit(json: &[u8], at: usize) -> Option<u32> {
    let escape = json.get(at..at + 6)?;
    let digits = escape.strip_prefix(b"\\u")?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Returns JSON text with U+FFFD for each escape of U+0000.
fn without_nul(json: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(json.len());
    let mut at = 0;
    while at < json.len() {
        match json[at] {
            b'\\' if unit(json, at) == Some(0) => {
                out.extend_from_slice("\u{fffd}".as_bytes());
                at += 6;
            }
            b'\\' => {
                out.extend_from_slice(&json[at..(at + 2).min(json.len())]);
                at += 2;
            }
            byte => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// Appends the value that `text` spells. Fails with a reason if it spells none that the column can hold.
fn from_text(text: &str, wire: Wire, out: &mut Vec<u8>) -> Result<(), Reason> {
    match wire {
        Wire::Bool => match text {
            "true" | "True" | "TRUE" => out.push(1),
            "false" | "False" | "FALSE" => out.push(0),
            _ => return Err("the value is not a boolean".into()),
        },
        Wire::Int2 => out.extend_from_slice(&i16::try_from(integer(text)?).map_err(|_| OUT_OF_SMALLINT)?.to_be_bytes()),
        Wire::Int4 => out.extend_from_slice(&i32::try_from(integer(text)?).map_err(|_| OUT_OF_INTEGER)?.to_be_bytes()),
        Wire::Int8 => out.extend_from_slice(&integer(text)?.to_be_bytes()),
        Wire::Float8 => out.extend_from_slice(&exact_double(text)?.to_be_bytes()),
        Wire::Float4 => {
            let value = exact_double(text)?;
            let narrow = value as f32;
            // The same number in the fewest digits: 0.1 stays 0.1.
            let same = !value.is_finite() || narrow.is_finite() && format!("{narrow:e}") == format!("{value:e}");
            if !same {
                return Err("the number has more digits than the column's type, real".into());
            }
            out.extend_from_slice(&narrow.to_be_bytes());
        }
        Wire::Numeric(limits) => numeric::write(text.as_bytes(), limits, out)?,
        Wire::Date => {
            return write_date(parse_days(text).ok_or("the text is not a date such as 2026-01-31")?.into(), out);
        }
        Wire::Timestamp => {
            let micros = parse_micros(text).ok_or("the text is not a time such as 2026-01-31T12:00:00Z")?;
            return write_timestamp(micros, out);
        }
        Wire::Uuid => out.extend_from_slice(&uuid(text).ok_or("the text is not a UUID")?),
        Wire::Text(_) | Wire::Json | Wire::Jsonb => return Err("text is not converted to text".into()),
    }
    Ok(())
}

fn integer(text: &str) -> Result<i64, Reason> {
    if let Ok(value) = text.parse::<i64>()
        && !text.starts_with('+')
    {
        return Ok(value);
    }
    // `2.0` is the integer 2.
    match double(text) {
        Ok(value) if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 => Ok(value as i64),
        Ok(value) if value.fract() == 0.0 => Err("the number is beyond the column's type, bigint".into()),
        Ok(_) => Err("the number is not an integer".into()),
        Err(_) => Err("the value is not an integer".into()),
    }
}

/// As [`double`]; an integer has to be exact, whether the values beside it are integers or not.
fn exact_double(text: &str) -> Result<f64, Reason> {
    let value = double(text)?;
    let is_integer = text.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit());
    if is_integer && !text.parse().is_ok_and(fits_double) {
        return Err("the number has more digits than the column holds".into());
    }
    Ok(value)
}

fn double(text: &str) -> Result<f64, Reason> {
    match text {
        "nan" => return Ok(f64::NAN),
        "inf" => return Ok(f64::INFINITY),
        "-inf" => return Ok(f64::NEG_INFINITY),
        _ => {}
    }
    let is_number = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E'));
    let value =
        text.parse::<f64>().ok().filter(|_| is_number && !text.starts_with('+')).ok_or("the value is not a number")?;
    let significant = text.split(['e', 'E']).next().unwrap_or_default().bytes().filter(u8::is_ascii_digit);
    // A number below the smallest double is not zero.
    let is_zero = value == 0.0 && significant.clone().any(|digit| digit != b'0');
    if !value.is_finite() || is_zero || significant.skip_while(|digit| *digit == b'0').count() > 17 {
        return Err("the number has more digits than the column holds".into());
    }
    Ok(value)
}

fn write_date(days: i64, out: &mut Vec<u8>) -> Result<(), Reason> {
    let days = days.saturating_sub(DAYS_TO_2000);
    let days = i32::try_from(days).ok().filter(|days| DATES.contains(&i64::from(*days)));
    out.extend_from_slice(&days.ok_or("the date is beyond the years that PostgreSQL holds")?.to_be_bytes());
    Ok(())
}

fn write_timestamp(micros: i64, out: &mut Vec<u8>) -> Result<(), Reason> {
    let micros = micros.checked_sub(MICROS_TO_2000).filter(|micros| TIMESTAMPS.contains(micros));
    out.extend_from_slice(&micros.ok_or("the time is beyond the years that PostgreSQL holds")?.to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::layout::TableColumn;
    use super::super::types::ColumnType;
    use super::*;
    use crate::warehouse::Widening;
    use crate::warehouse::testing::assert_same_rows;

    #[test]
    fn text_of_a_number_that_a_double_lacks_is_no_number() {
        assert_eq!(["0", "-0.00", "0e9", "5e-324"].map(|text| double(text).unwrap()), [0.0, -0.0, 0.0, 5e-324]);
        for text in ["1e-400", "-0.001e-400", "1e400", "0.12345678901234567891", "+1", "x"] {
            assert!(double(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nested_values_are_the_same_without_their_insides() {
        let column = |name: &str, ty, sql: &str| TableColumn {
            name: name.into(),
            ty,
            sql_type: sql.into(),
            base_type: sql.into(),
            cast_type: sql.into(),
            takes_no_null: name == "l",
            has_default: false,
            is_generated: false,
        };
        let tables = [
            None,
            Some(vec![
                column("o", ColumnType::Known(Wire::Json), "json"),
                column("l", ColumnType::Array, "text[]"),
                column("x", ColumnType::Known(Wire::Text(Some(9))), "varchar(9)"),
            ]),
            Some(vec![
                column("o", ColumnType::Other, "mood"),
                column("x", ColumnType::Known(Wire::Numeric(None)), "numeric"),
            ]),
        ];
        for table in tables {
            for nul in [NulPolicy::Reject, NulPolicy::Replace] {
                let widening = Widening::Evolve;
                let mapping = Mapping { table: table.clone(), widening, key: Vec::new(), nul, load_column: None };
                assert_same_rows(&CopyEncoder { mapping, table: "t".into() });
            }
        }
    }

    #[test]
    fn escapes_that_jsonb_refuses_are_found() {
        for (json, expected) in [
            (r#""a""#, None),
            (r#""\u0041""#, None),
            (r#""\u0000""#, Some(BadEscape::Nul)),
            (r#""\\u0000""#, None),
            (r#""\\\u0000""#, Some(BadEscape::Nul)),
            (r#""\ud83d\ude00""#, None),
            (r#""\ud83d""#, Some(BadEscape::Surrogate)),
            (r#""\ude00""#, Some(BadEscape::Surrogate)),
            (r#""\ud83d\u0041""#, Some(BadEscape::Surrogate)),
            (r#"{"a":"\n","b":"\\"}"#, None),
        ] {
            assert_eq!(bad_escape(json.as_bytes()), expected, "{json}");
        }
        assert_eq!(without_nul(br#""a\u0000\\u0000""#), "\"a\u{fffd}\\\\u0000\"".as_bytes());
    }

    #[test]
    fn text_becomes_a_value_or_a_reason() {
        let value = |text: &str, wire| {
            let mut out = Vec::new();
            from_text(text, wire, &mut out).map(|()| out).map_err(Cow::into_owned)
        };
        assert_eq!(value("12", Wire::Int4), Ok(12i32.to_be_bytes().to_vec()));
        assert_eq!(value("2.0", Wire::Int8), Ok(2i64.to_be_bytes().to_vec()));
        assert!(value("2.5", Wire::Int8).unwrap_err().contains("not an integer"));
        assert!(value("+5", Wire::Int8).is_err() && value("abc", Wire::Int8).is_err());
        assert!(value("3000000000", Wire::Int4).unwrap_err().contains("beyond"));
        assert_eq!(value("0.1", Wire::Float4), Ok(0.1f32.to_be_bytes().to_vec()));
        assert!(value("0.123456789", Wire::Float4).is_err());
        // As in a column of integers alone.
        for (text, fits) in [("9007199254740992", true), ("9007199254740993", false), ("-9007199254740993", false)] {
            assert_eq!(value(text, Wire::Float8).is_ok(), fits, "{text}");
        }
        assert_eq!(value("9007199254740993.5", Wire::Float8), Ok(9007199254740993.5f64.to_be_bytes().to_vec()));
        assert_eq!(value("2000-01-02", Wire::Date), Ok(1i32.to_be_bytes().to_vec()));
        assert_eq!(value("2000-01-01T00:00:01Z", Wire::Timestamp), Ok(1_000_000i64.to_be_bytes().to_vec()));
        assert!(value("31.01.2000", Wire::Date).is_err());
        let id = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        assert_eq!(value(id, Wire::Uuid), value(&id.replace('-', "").to_uppercase(), Wire::Uuid));
        assert!(value("a0eebc99", Wire::Uuid).is_err());
    }
}
