//! Checks records against the enforced schema, without making columns of them. Assumes valid JSON; the
//! syntax is the work of [`super::check`].

use super::scan::{Cursor, JsonError, JsonErrorKind, PathSegment, Scan, kind_of};
use super::walk::{elements, entries, place_of, scalar_type};
use crate::column::{Field, Type};
use crate::format::decode::EnforcedColumns;

/// Checks the record at the cursor, an object of valid JSON, and moves behind it. The error is its first
/// value or key that does not fit `enforced`.
pub(super) fn check_enforced(cursor: &mut Cursor<'_>, enforced: &EnforcedColumns<'_>) -> Scan<()> {
    object(cursor, enforced.fields, enforced.open)
}

fn object(cursor: &mut Cursor<'_>, fields: &[Field], open: bool) -> Scan<()> {
    let mut next = 0;
    entries(cursor, |cursor, key, at| match place_of(key, fields, next) {
        Some(index) => {
            next = index + 1;
            value(cursor, &fields[index].ty, open)
                .map_err(|error| error.within(PathSegment::Key(fields[index].name.to_string())))
        }
        None if open => cursor.skip_value(0).map(drop),
        None => {
            let key = String::from_utf8_lossy(key).into_owned();
            Err(Box::new(JsonError { at, kind: JsonErrorKind::UnknownKey(key), path: Vec::new() }))
        }
    })
}

fn value(cursor: &mut Cursor<'_>, ty: &Type, open: bool) -> Scan<()> {
    let first = cursor.skip_blank();
    // Null fits every type, and every value fits JSON text.
    match (first, ty) {
        (b'n', _) | (_, Type::Json | Type::Raw) => cursor.skip_value(0).map(drop),
        (_, Type::Null) if open => cursor.skip_value(0).map(drop),
        (b'{', Type::Struct(fields)) => object(cursor, fields, open),
        (b'{', Type::Map(item)) => entries(cursor, |cursor, key, _| {
            let within =
                |error: Box<JsonError>| error.within(PathSegment::Key(String::from_utf8_lossy(key).into_owned()));
            value(cursor, item, open).map_err(within)
        }),
        (b'[', Type::List(item)) => elements(cursor, |cursor, index| {
            value(cursor, item, open).map_err(|error| error.within(PathSegment::Index(index)))
        }),
        (b'{' | b'[', _) => Err(misfit(cursor.pos, ty, kind_of(first))),
        _ => {
            let start = cursor.pos;
            let (_, end) = cursor.skip_value(0)?;
            // The messages say why a number does not fit, where its kind alone would not explain it.
            let seen = scalar_type(&cursor.bytes()[start..end]);
            if EnforcedColumns::scalar_fits(ty, &seen) {
                return Ok(());
            }
            Err(misfit(
                start,
                ty,
                match seen {
                    Type::Float => "a number with a fraction or exponent",
                    Type::Int { .. } if *ty == Type::Float => "an integer that no double holds",
                    Type::Decimal => "an integer beyond 64 bits",
                    Type::Json => "a number beyond the range of every numeric type",
                    _ => kind_of(first),
                },
            ))
        }
    }
}

#[cold]
fn misfit(at: usize, ty: &Type, found: &'static str) -> Box<JsonError> {
    let expected = format!("{} by the schema file", ty.outline());
    Box::new(JsonError { at, kind: JsonErrorKind::Misfit { expected, found }, path: Vec::new() })
}
