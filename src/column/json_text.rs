//! JSON text of the values of typed columns, and the content of JSON strings. Used by the NDJSON and
//! CSV encoders, and by casts to text; parsing whole values is the work of [`crate::format::ndjson`].

use arrow_array::{
    Array, BooleanArray, Decimal128Array, Float64Array, Int64Array, ListArray, MapArray, StringViewArray, StructArray,
};

use memchr::memchr;

use super::number::write_float;
use super::{Field, Fixed, Type};

/// Writer of the values of one column as JSON text. Made once per batch, so that types are matched
/// and arrays downcast once and not per value.
///
/// Nulls are written `null`; null members of a struct follow [`NullMembers`], except those of
/// [`Type::Raw`], where null means an absent key and is left out. Text is escaped where RFC 8259
/// requires it and nowhere else; JSON and raw text is copied. NaN and infinities, which JSON lacks,
/// are written `null`.
pub struct JsonValues<'a>(Values<'a>);

/// Treatment of a struct's null members, whose keys may have been null or absent in the record. Keys
/// of maps are always written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NullMembers {
    /// Write them as `null`: every row has the same keys.
    Write,
    /// Leave them out: a row of few keys under many fields stays short.
    LeaveOut,
}

enum Values<'a> {
    /// Column of nulls alone.
    Null,
    Bool(&'a BooleanArray),
    Int(&'a Int64Array),
    Decimal(&'a Decimal128Array),
    Float(&'a Float64Array),
    Fixed(&'a dyn Array, Fixed),
    Text(&'a StringViewArray),
    /// JSON text, copied as it is.
    Json(&'a StringViewArray),
    Struct(&'a StructArray, Vec<Member<'a>>),
    List(&'a ListArray, Box<Values<'a>>),
    Map(&'a MapArray, &'a StringViewArray, Box<Values<'a>>),
}

struct Member<'a> {
    /// `"name":`, escaped.
    key: Vec<u8>,
    values: Values<'a>,
    /// Leave the member out where it is null.
    skip_null: bool,
}

impl<'a> JsonValues<'a> {
    /// Makes a writer for the values of `array`, which must be of the Arrow type of `ty`. Null members are written.
    ///
    /// # Panics
    ///
    /// If it is of another type.
    pub fn new(array: &'a dyn Array, ty: &Type) -> Self {
        JsonValues::try_new(array, ty, NullMembers::Write).expect("the array is of the Arrow type of its schema")
    }

    /// Makes a writer for the values of `array`; `None` if it is not of the Arrow type of `ty`.
    pub fn try_new(array: &'a dyn Array, ty: &Type, null_members: NullMembers) -> Option<Self> {
        Values::try_new(array, ty, null_members).map(JsonValues)
    }

    /// Appends the JSON text of the value in `row`.
    #[inline]
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        self.0.write(row, out);
    }

    /// Returns true if the value in `row` is null.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        self.0.is_null(row)
    }
}

/// Appends the JSON text of one value of `array`, which must be of the Arrow type of `ty`. For many values,
/// [`JsonValues`] is faster.
pub fn write_json_value(array: &dyn Array, row: usize, ty: &Type, out: &mut Vec<u8>) {
    JsonValues::new(array, ty).write(row, out);
}

impl<'a> Values<'a> {
    fn try_new(array: &'a dyn Array, ty: &Type, null_members: NullMembers) -> Option<Self> {
        let any = array.as_any();
        Some(match ty {
            Type::Null => Values::Null,
            Type::Bool => Values::Bool(any.downcast_ref()?),
            Type::Int { .. } => Values::Int(any.downcast_ref()?),
            Type::Decimal => Values::Decimal(any.downcast_ref()?),
            Type::Float => Values::Float(any.downcast_ref()?),
            Type::Fixed(fixed) => (*array.data_type() == fixed.to_arrow()).then_some(Values::Fixed(array, *fixed))?,
            Type::Number(_) => Values::try_new(array, &ty.resolved(), null_members)?,
            Type::Text => Values::Text(any.downcast_ref()?),
            Type::Json | Type::Raw | Type::Opaque(_) => Values::Json(any.downcast_ref()?),
            // A struct without fields is carried as JSON text.
            Type::Struct(fields) if fields.is_empty() => Values::Json(any.downcast_ref()?),
            Type::Struct(fields) => {
                let array: &StructArray = any.downcast_ref()?;
                let members = fields.iter().zip(array.columns());
                let members = members.map(|(field, column)| Member::try_new(field, column, null_members));
                Values::Struct(array, members.collect::<Option<_>>()?)
            }
            Type::List(item) => {
                let array: &ListArray = any.downcast_ref()?;
                Values::List(array, Box::new(Values::try_new(array.values(), item, null_members)?))
            }
            Type::Map(value) => {
                let array: &MapArray = any.downcast_ref()?;
                let values = Values::try_new(array.values(), value, null_members)?;
                Values::Map(array, array.keys().as_any().downcast_ref()?, Box::new(values))
            }
        })
    }

    #[inline]
    fn is_null(&self, row: usize) -> bool {
        match self {
            Values::Null => true,
            Values::Bool(array) => array.is_null(row),
            Values::Int(array) => array.is_null(row),
            Values::Decimal(array) => array.is_null(row),
            Values::Float(array) => array.is_null(row),
            Values::Fixed(array, _) => array.is_null(row),
            Values::Text(array) | Values::Json(array) => array.is_null(row),
            Values::Struct(array, _) => array.is_null(row),
            Values::List(array, _) => array.is_null(row),
            Values::Map(array, ..) => array.is_null(row),
        }
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            return out.extend_from_slice(b"null");
        }
        match self {
            Values::Null => {}
            Values::Bool(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
            Values::Int(array) => write_int(array.value(row), out),
            Values::Decimal(array) => write_int(array.value(row), out),
            // JSON has no NaN and no infinities.
            Values::Float(array) => match array.value(row) {
                value if value.is_finite() => write_float(value, out),
                _ => out.extend_from_slice(b"null"),
            },
            Values::Fixed(array, fixed) => fixed.write_json(fixed.value(*array, row), out),
            Values::Text(array) => write_json_string(array.value(row), out),
            Values::Json(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Values::Struct(_, members) => {
                // The separator before the next member: the brace before the first one.
                let mut open = b'{';
                for member in members {
                    if member.skip_null && member.values.is_null(row) {
                        continue;
                    }
                    out.push(open);
                    open = b',';
                    out.extend_from_slice(&member.key);
                    member.values.write(row, out);
                }
                out.extend_from_slice(if open == b'{' { b"{}" } else { b"}" });
            }
            Values::List(array, items) => {
                let offsets = array.value_offsets();
                out.push(b'[');
                for item in offsets[row]..offsets[row + 1] {
                    if item > offsets[row] {
                        out.push(b',');
                    }
                    items.write(item as usize, out);
                }
                out.push(b']');
            }
            Values::Map(array, keys, values) => {
                let offsets = array.value_offsets();
                out.push(b'{');
                for entry in offsets[row]..offsets[row + 1] {
                    if entry > offsets[row] {
                        out.push(b',');
                    }
                    write_json_string(keys.value(entry as usize), out);
                    out.push(b':');
                    values.write(entry as usize, out);
                }
                out.push(b'}');
            }
        }
    }
}

impl<'a> Member<'a> {
    fn try_new(field: &Field, column: &'a dyn Array, null_members: NullMembers) -> Option<Self> {
        let mut key = Vec::with_capacity(field.name.len() + 3);
        write_json_string(&field.name, &mut key);
        key.push(b':');
        let skip_null = field.ty == Type::Raw || null_members == NullMembers::LeaveOut;
        Some(Member { key, values: Values::try_new(column, &field.ty, null_members)?, skip_null })
    }
}

pub(crate) fn write_int(value: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The escape of each byte: 0 for none, `u` for `\u00XX`, else the letter after the backslash.
const ESCAPES: [u8; 256] = {
    let mut escapes = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        escapes[control] = b'u';
        control += 1;
    }
    escapes[0x08] = b'b';
    escapes[0x09] = b't';
    escapes[0x0a] = b'n';
    escapes[0x0c] = b'f';
    escapes[0x0d] = b'r';
    escapes[b'"' as usize] = b'"';
    escapes[b'\\' as usize] = b'\\';
    escapes
};

/// Appends `text` as a JSON string with its quotes.
pub fn write_json_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let bytes = text.as_bytes();
    // Most text needs no escapes. The fold has no branches, so that the compiler makes a few vector
    // instructions of it.
    let (parts, rest) = bytes.as_chunks::<16>();
    for part in parts {
        if part.iter().fold(false, |found, &b| found | (b < 0x20) | (b == b'"') | (b == b'\\')) {
            write_escaped(part, out);
        } else {
            out.extend_from_slice(part);
        }
    }
    write_escaped(rest, out);
    out.push(b'"');
}

fn write_escaped(bytes: &[u8], out: &mut Vec<u8>) {
    let mut copied = 0;
    for (i, &b) in bytes.iter().enumerate() {
        let escape = ESCAPES[b as usize];
        if escape == 0 {
            continue;
        }
        out.extend_from_slice(&bytes[copied..i]);
        copied = i + 1;
        if escape == b'u' {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', HEX[(b >> 4) as usize], HEX[(b & 15) as usize]]);
        } else {
            out.extend_from_slice(&[b'\\', escape]);
        }
    }
    out.extend_from_slice(&bytes[copied..]);
}

/// Appends the content of a valid JSON string, given without its quotes, with its escapes resolved. Half
/// a surrogate pair, which UTF-8 cannot hold, becomes U+FFFD.
pub fn unescape(mut text: &[u8], out: &mut Vec<u8>) {
    while let Some(i) = memchr(b'\\', text) {
        out.extend_from_slice(&text[..i]);
        // Missing bytes of invalid text are replaced, not an error: the text has passed the parser.
        let letter = text.get(i + 1).copied().unwrap_or(b'\\');
        text = text.get(i + 2..).unwrap_or_default();
        let plain = match letter {
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                // A high surrogate takes the escape of the low one after it.
                let mut unit = hex4(text);
                text = text.get(4..).unwrap_or_default();
                if (0xd800..0xdc00).contains(&unit)
                    && text.starts_with(b"\\u")
                    && let low @ 0xdc00..0xe000 = hex4(&text[2..])
                {
                    unit = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                    text = text.get(6..).unwrap_or_default();
                }
                let c = char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            other => other,
        };
        out.push(plain);
    }
    out.extend_from_slice(text);
}

fn hex4(text: &[u8]) -> u32 {
    text.iter().take(4).fold(0, |unit, &b| unit << 4 | char::from(b).to_digit(16).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::ArrayRef;
    use arrow_array::builder::{ListBuilder, MapBuilder, MapFieldNames, StringViewBuilder};
    use arrow_buffer::NullBuffer;
    use arrow_schema::DataType;
    use proptest::prelude::*;

    use super::*;

    fn written(array: &dyn Array, ty: &Type) -> Vec<String> {
        assert_eq!(array.data_type(), &ty.to_arrow());
        let text = |row| {
            let mut out = Vec::new();
            write_json_value(array, row, ty, &mut out);
            String::from_utf8(out).expect("utf-8")
        };
        (0..array.len()).map(text).collect()
    }

    #[test]
    fn scalars() {
        let int = Type::Int { fits_double: true };
        assert_eq!(written(&Int64Array::from(vec![Some(-7), None]), &int), ["-7", "null"]);
        assert_eq!(
            written(&BooleanArray::from(vec![Some(true), None, Some(false)]), &Type::Bool),
            ["true", "null", "false"]
        );
        let floats = Float64Array::from(vec![Some(1.0), Some(1e-5), Some(f64::INFINITY), None]);
        assert_eq!(written(&floats, &Type::Float), ["1.0", "1e-05", "null", "null"]);
        let decimals =
            Decimal128Array::from(vec![Some(10i128.pow(37)), None]).with_precision_and_scale(38, 0).expect("38 digits");
        assert_eq!(written(&decimals, &Type::Decimal), [format!("1{}", "0".repeat(37)), "null".into()]);
        let text = StringViewArray::from(vec![Some("[1, 2]"), None]);
        for ty in [Type::Json, Type::Raw, Type::Struct(Vec::new())] {
            assert_eq!(written(&text, &ty), ["[1, 2]", "null"]);
        }
        assert_eq!(written(&text, &Type::Text), ["\"[1, 2]\"", "null"]);
        assert_eq!(written(&StringViewArray::from(vec![None::<&str>]), &Type::Null), ["null"]);
    }

    #[test]
    fn nested_values() {
        let ty = Type::Struct(vec![Field::new("a\"b", Type::Text), Field::new("raw", Type::Raw)]);
        let DataType::Struct(fields) = ty.to_arrow() else { panic!("a struct") };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from(vec![Some("x"), None, None])),
            Arc::new(StringViewArray::from(vec![None, Some("null"), None])),
        ];
        let structs = StructArray::new(fields, columns, Some(NullBuffer::from(vec![true, true, false])));
        assert_eq!(written(&structs, &ty), [r#"{"a\"b":"x"}"#, r#"{"a\"b":null,"raw":null}"#, "null"]);

        let ty = Type::Struct(vec![Field::new("raw", Type::Raw)]);
        let DataType::Struct(fields) = ty.to_arrow() else { panic!("a struct") };
        let structs = StructArray::new(fields, vec![Arc::new(StringViewArray::from(vec![None::<&str>]))], None);
        assert_eq!(written(&structs, &ty), ["{}"]);

        let mut lists = ListBuilder::new(StringViewBuilder::new());
        lists.append_value([Some("a"), None]);
        lists.append_null();
        lists.append_value([None::<&str>; 0]);
        assert_eq!(written(&lists.finish(), &Type::List(Box::new(Type::Text))), [r#"["a",null]"#, "null", "[]"]);

        let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
        let mut maps = MapBuilder::new(Some(names), StringViewBuilder::new(), StringViewBuilder::new());
        maps.keys().append_value("k\n");
        maps.values().append_value("1");
        maps.keys().append_value("l");
        maps.values().append_null();
        maps.append(true).expect("as many keys as values");
        maps.append(false).expect("as many keys as values");
        let maps = maps.finish();
        let values = maps.value_offsets().to_vec();
        assert_eq!(values, [0, 2, 2]);
        assert_eq!(written(&maps, &Type::Map(Box::new(Type::Json))), [r#"{"k\n":1,"l":null}"#, "null"]);
    }

    proptest! {
        #[test]
        fn strings_are_those_of_serde_json(text in "[\\x00-\\x7fäß東\u{10ffff}]{0,40}") {
            let mut out = Vec::new();
            write_json_string(&text, &mut out);
            prop_assert_eq!(String::from_utf8(out).expect("utf-8"), serde_json::to_string(&text).expect("json"));
        }
    }
}
