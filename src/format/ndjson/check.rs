//! Checks the syntax of a rejected record once more, for itself: with the path to the error, and
//! independent of columns, so that position and message are the same whatever its values were for.

use super::scan::{Cursor, JsonError, PathSegment, Scan};

/// Checks the value at the cursor, blanks before it allowed, and moves behind it.
pub(super) fn check_value(cursor: &mut Cursor<'_>, depth: usize) -> Scan<()> {
    match cursor.skip_blank() {
        b'{' => check_object(cursor, depth),
        b'[' => check_list(cursor, depth),
        _ => cursor.skip_value(depth).map(drop),
    }
}

fn check_object(cursor: &mut Cursor<'_>, depth: usize) -> Scan<()> {
    cursor.open(depth)?;
    if cursor.skip_blank() == b'}' {
        cursor.pos += 1;
        return Ok(());
    }
    loop {
        if cursor.skip_blank() != b'"' {
            return Err(JsonError::syntax(cursor.pos, "expected a key in quotes"));
        }
        let key = cursor.string()?;
        cursor.expect(b':', "expected `:` after a key")?;
        check_value(cursor, depth + 1).map_err(|error| {
            let mut text = Vec::new();
            cursor.unescape(key, &mut text);
            error.within(PathSegment::Key(String::from_utf8_lossy(&text).into_owned()))
        })?;
        match cursor.skip_blank() {
            b',' => cursor.pos += 1,
            b'}' => {
                cursor.pos += 1;
                return Ok(());
            }
            _ => return Err(JsonError::syntax(cursor.pos, "expected `,` or `}`")),
        }
    }
}

fn check_list(cursor: &mut Cursor<'_>, depth: usize) -> Scan<()> {
    cursor.open(depth)?;
    if cursor.skip_blank() == b']' {
        cursor.pos += 1;
        return Ok(());
    }
    for index in 0.. {
        check_value(cursor, depth + 1).map_err(|error| error.within(PathSegment::Index(index)))?;
        match cursor.skip_blank() {
            b',' => cursor.pos += 1,
            b']' => {
                cursor.pos += 1;
                return Ok(());
            }
            _ => return Err(JsonError::syntax(cursor.pos, "expected `,` or `]`")),
        }
    }
    unreachable!("a list ends before its indices do")
}
