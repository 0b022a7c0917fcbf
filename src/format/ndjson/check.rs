//! Checks the syntax of a rejected record once more, for itself: with the path to the error, and
//! independent of columns, so that position and message are the same whatever its values were for.
//! The same check makes a [`JsonText`] of a value that did not come out of the parser.

use super::scan::{Cursor, JsonError, PathSegment, Scan};
use crate::column::Morsel;

/// Text of one JSON value on one line, as strict as the values of records and nested no deeper, so that it may be copied
/// into a record. Checked whenever one is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonText(String);

impl JsonText {
    /// Checks `text`; `None` unless it is the text of exactly one value.
    pub fn new(text: String) -> Option<Self> {
        let mut padded = Vec::with_capacity(text.len() + Morsel::PADDING);
        padded.extend_from_slice(text.as_bytes());
        padded.resize(text.len() + Morsel::PADDING, 0);
        let mut cursor = Cursor::over(&padded);
        // The record around the value is the first level.
        check_value(&mut cursor, 1).ok()?;
        cursor.skip_blank();
        cursor.at_end().then_some(JsonText(text))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_one_strict_value_on_one_line() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        let valid = [
            "0",
            "-0",
            "1.50",
            "1e5",
            "\"\"",
            "\"\\u00e9\"",
            "null",
            "true",
            " [1, {\"a\" : 2}] ",
            "{}",
            "\"\\ud83d\\ude00\"",
            &nested(126),
        ];
        for text in valid {
            assert_eq!(JsonText::new(text.to_owned()).as_ref().map(JsonText::as_str), Some(text));
            let record = format!("{{\"a\":{text}}}");
            assert!(serde_json::from_str::<serde_json::Value>(&record).is_ok(), "{text}");
        }
        // One level more than serde_json takes.
        assert!(JsonText::new(nested(127)).is_some());
        for text in [
            "",
            " ",
            "007",
            "-007",
            "00",
            "+1",
            ".5",
            "1.",
            "1e",
            "-",
            "0x10",
            "NaN",
            "Infinity",
            "1 2",
            "1,2",
            "[1",
            "[1,]",
            "{\"a\"}",
            "nul",
            "nulll",
            "'a'",
            "\"a",
            "\"\\x\"",
            "\"\\ud800\"",
            "\"a\nb\"",
            "[1,\n2]",
            "1\n",
            "1\0",
            "\0",
            "}",
            &nested(128),
        ] {
            assert_eq!(JsonText::new(text.to_owned()), None, "{text:?}");
        }
    }
}
