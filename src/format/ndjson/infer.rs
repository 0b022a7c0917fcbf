//! The types of a morsel's values, for a schema before the first batch and after a surprise.

use super::decode::{fits_in_double, key_text};
use super::scan::{Cursor, Scan};
use crate::column::{Field, MAX_COLUMNS, MAX_STRUCT_FIELDS, MAX_TYPE_DEPTH, Mixing, Morsel, Schema, Type};

/// What columns hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Typed values.
    Typed,
    /// The raw JSON text of each value; only the keys matter.
    Raw,
}

/// The schema that holds every good record of `morsel`, keys in order of first sight. Records that
/// are not good are passed over: decoding rejects them.
pub fn infer(morsel: &Morsel, keys: Keys, max_record_bytes: usize) -> Schema {
    let mut fields = Vec::new();
    let records = morsel.records();
    let all_valid = simdutf8::basic::from_utf8(records).is_ok();
    let mut start = 0;
    while start < morsel.len {
        let end = memchr::memchr(b'\n', &records[start..]).map_or(morsel.len, |i| start + i);
        let line = &records[start..end];
        if line.len() <= max_record_bytes && (all_valid || simdutf8::basic::from_utf8(line).is_ok()) {
            let mut cursor = Cursor::new(morsel);
            cursor.pos = start;
            // Checked first, observed second: half of a broken record must not leave a type.
            if cursor.skip_blank() == b'{' && cursor.skip_value(0).is_ok() {
                cursor.skip_blank();
                if cursor.pos >= end {
                    cursor.pos = start;
                    cursor.skip_blank();
                    observe_record(&mut cursor, &mut fields, keys).expect("the record was checked");
                }
            }
        }
        start = end + 1;
    }
    Schema::new(fields)
}

/// Joins the types of the record at the cursor into `fields`. Keys beyond one more than
/// [`MAX_COLUMNS`] are passed over: with so many the schema is refused.
fn observe_record(cursor: &mut Cursor<'_>, fields: &mut Vec<Field>, keys: Keys) -> Scan<()> {
    let new = if keys == Keys::Raw { Type::Raw } else { Type::Null };
    let mut beyond = Type::Null;
    observe_fields(cursor, fields, MAX_COLUMNS + 1, &new, &mut beyond, 1)
}

/// Joins the types of the object at the cursor into `fields`, which do not become more than
/// `max_fields`; what would be further fields joins `beyond`. New fields start as `new`.
fn observe_fields(
    cursor: &mut Cursor<'_>,
    fields: &mut Vec<Field>,
    max_fields: usize,
    new: &Type,
    beyond: &mut Type,
    depth: usize,
) -> Scan<()> {
    let mut next = 0;
    entries(cursor, |cursor, key| {
        let known = match fields.get(next) {
            Some(field) if field.name.as_bytes() == key => Some(next),
            _ => fields.iter().position(|f| f.name.as_bytes() == key),
        };
        let index = match known {
            Some(index) => index,
            None if fields.len() >= max_fields => return observe(cursor, beyond, depth),
            None => {
                let name = std::str::from_utf8(key).expect("the line is valid UTF-8");
                fields.push(Field::new(name, new.clone()));
                fields.len() - 1
            }
        };
        next = index + 1;
        observe(cursor, &mut fields[index].ty, depth)
    })
}

/// Calls `entry` for each key of the object at the cursor, the cursor at its value.
fn entries<'a>(cursor: &mut Cursor<'a>, mut entry: impl FnMut(&mut Cursor<'a>, &[u8]) -> Scan<()>) -> Scan<()> {
    cursor.pos += 1;
    if cursor.skip_blank() == b'}' {
        cursor.pos += 1;
        return Ok(());
    }
    loop {
        cursor.skip_blank();
        let s = cursor.string()?;
        cursor.expect(b':', "expected `:` after a key")?;
        let mut owned = Vec::new();
        let key = key_text(&*cursor, s, &mut owned);
        entry(cursor, key)?;
        let byte = cursor.skip_blank();
        cursor.pos += 1;
        if byte == b'}' {
            return Ok(());
        }
    }
}

/// Joins the type of the value at the cursor, `depth` levels below its record, into `ty`.
fn observe(cursor: &mut Cursor<'_>, ty: &mut Type, depth: usize) -> Scan<()> {
    let first = cursor.skip_blank();
    match (first, &mut *ty) {
        (_, Type::Raw | Type::Json) => {
            cursor.skip_value(0)?;
        }
        (b'{' | b'[', _) if depth > MAX_TYPE_DEPTH => {
            cursor.skip_value(0)?;
            *ty = Type::Json;
        }
        (b'{', Type::Struct(fields)) => {
            let mut beyond = Type::Null;
            observe_fields(cursor, fields, MAX_STRUCT_FIELDS + 1, &Type::Null, &mut beyond, depth + 1)?;
            if fields.len() > MAX_STRUCT_FIELDS {
                let value = fields.iter().fold(beyond, |t, f| t.join(&f.ty, Mixing::Json));
                *ty = Type::Map(Box::new(value));
            }
        }
        (b'{', Type::Map(value)) => entries(cursor, |cursor, _| observe(cursor, value, depth + 1))?,
        (b'{', Type::Null) => {
            *ty = Type::Struct(Vec::new());
            observe(cursor, ty, depth)?;
        }
        (b'[', Type::List(item)) => {
            cursor.pos += 1;
            if cursor.skip_blank() == b']' {
                cursor.pos += 1;
                return Ok(());
            }
            loop {
                observe(cursor, item, depth + 1)?;
                let byte = cursor.skip_blank();
                cursor.pos += 1;
                if byte == b']' {
                    break;
                }
            }
        }
        (b'[', Type::Null) => {
            *ty = Type::List(Box::new(Type::Null));
            observe(cursor, ty, depth)?;
        }
        _ => {
            let start = cursor.pos;
            let (_, end) = cursor.skip_value(0)?;
            let seen = scalar_type(&cursor.bytes()[start..end]);
            if *ty != seen {
                *ty = ty.join(&seen, Mixing::Json);
            }
        }
    }
    Ok(())
}

/// The type of one value by its text; containers that meet a scalar column come here too.
fn scalar_type(text: &[u8]) -> Type {
    match text[0] {
        b'n' => Type::Null,
        b't' | b'f' => Type::Bool,
        b'"' => Type::Text,
        b'{' => Type::Struct(Vec::new()),
        b'[' => Type::List(Box::new(Type::Null)),
        _ => {
            let text = std::str::from_utf8(text).expect("numbers are ASCII");
            if text == "-0" || text.bytes().any(|b| matches!(b, b'.' | b'e' | b'E')) {
                return match text.parse::<f64>() {
                    Ok(f) if f.is_finite() => Type::Float,
                    _ => Type::Json,
                };
            }
            match text.parse::<i64>() {
                Ok(i) => Type::Int { fits_double: fits_in_double(i) },
                Err(_) if text.trim_start_matches('-').len() <= 38 => Type::Decimal,
                Err(_) => Type::Json,
            }
        }
    }
}
