//! Iterates over the members of objects and the elements of lists in valid JSON, for inference and for the enforced
//! schema, which read records without making columns of them. Also the key and number rules that decoding shares.

use super::scan::{Cursor, Scan, Str};
use crate::column::{Field, Type};

/// Calls `entry` for each key of the object at the cursor, with the offset of the key and the cursor at
/// its value.
pub(super) fn entries<'a>(
    cursor: &mut Cursor<'a>,
    mut entry: impl FnMut(&mut Cursor<'a>, &[u8], usize) -> Scan<()>,
) -> Scan<()> {
    cursor.pos += 1;
    if cursor.skip_blank() == b'}' {
        cursor.pos += 1;
        return Ok(());
    }
    loop {
        cursor.skip_blank();
        let at = cursor.pos;
        let s = cursor.string()?;
        cursor.expect(b':', "expected `:` after a key")?;
        let mut owned = Vec::new();
        let key = key_text(&*cursor, s, &mut owned);
        entry(cursor, key, at)?;
        let byte = cursor.skip_blank();
        cursor.pos += 1;
        if byte == b'}' {
            return Ok(());
        }
    }
}

/// Calls `item` for each element of the list at the cursor, with its index.
pub(super) fn elements<'a>(
    cursor: &mut Cursor<'a>,
    mut item: impl FnMut(&mut Cursor<'a>, usize) -> Scan<()>,
) -> Scan<()> {
    cursor.pos += 1;
    if cursor.skip_blank() == b']' {
        cursor.pos += 1;
        return Ok(());
    }
    let mut index = 0;
    loop {
        item(cursor, index)?;
        index += 1;
        let byte = cursor.skip_blank();
        cursor.pos += 1;
        if byte == b']' {
            return Ok(());
        }
    }
}

/// Returns the index of `key` in `fields`, searched from `next` on and then from the start: records that
/// lack some keys still have the others in order.
pub(super) fn place_of(key: &[u8], fields: &[Field], next: usize) -> Option<usize> {
    let next = next.min(fields.len());
    let named = |field: &Field| field.name.as_bytes() == key;
    fields[next..].iter().position(named).map(|i| next + i).or_else(|| fields[..next].iter().position(named))
}

/// Returns a key's text: the morsel's own bytes, or `owned` if it has escapes.
pub(super) fn key_text<'a>(cursor: &Cursor<'a>, s: Str, owned: &'a mut Vec<u8>) -> &'a [u8] {
    if s.escaped {
        cursor.unescape(s, owned);
        owned
    } else {
        &cursor.bytes()[s.start..s.end]
    }
}

/// Infers the type of one value from its text. For an object or list, which reaches a scalar column by mistake, the type
/// is that of an empty one.
pub(super) fn scalar_type(text: &[u8]) -> Type {
    match text[0] {
        b'n' => Type::Null,
        b't' | b'f' => Type::Bool,
        b'"' => Type::Text,
        b'{' => Type::Struct(Vec::new()),
        b'[' => Type::List(Box::new(Type::Null)),
        _ => number_type(std::str::from_utf8(text).expect("numbers are ASCII")),
    }
}

/// Infers the type of a number in JSON's grammar from its text: JSON text for one that no type of numbers holds.
pub fn number_type(text: &str) -> Type {
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

/// Returns true if the nearest double is the integer itself.
#[inline]
pub(super) fn fits_in_double(i: i64) -> bool {
    i.unsigned_abs() <= 1 << 53 || (i as f64) as i128 == i128::from(i)
}
