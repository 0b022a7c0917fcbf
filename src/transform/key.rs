//! Keys of rows for deduplication and grouping: a digest of the values in some columns.
//!
//! Equal values have equal keys: numbers by value (`1` and `1.0`), objects in any order of their keys, null and absent
//! alike. Text never equals a number.

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::cell::Cell;
use super::expr::write_canonical_number;

/// The first 128 bits of SHA-256 over a row's values. Among 2^32 rows two collide with a probability of 2^-64, and a
/// collision cannot be constructed. Exact for every practical purpose, at 16 bytes a row.
pub type Key = u128;

/// Computes keys, with a buffer that is reused.
#[derive(Debug, Default)]
pub struct KeyWriter(Vec<u8>);

impl KeyWriter {
    /// Adds the value of a key column. Null is a value.
    pub fn value(&mut self, cell: &Cell<'_>) {
        let kind = match cell {
            Cell::Null => 0u8,
            Cell::Bool(_) => 1,
            Cell::Number(_) => 2,
            Cell::Text(_) => 3,
            Cell::Nested(_) => 4,
        };
        // Tag, then length, then bytes: no two sequences of values have the same encoding.
        self.0.push(kind);
        let start = self.0.len();
        self.0.extend_from_slice(&[0; 8]);
        match cell {
            Cell::Number(text) => write_number(text, &mut self.0),
            Cell::Nested(text) => write_nested(text, &mut self.0),
            other => self.0.extend_from_slice(other.text().as_bytes()),
        }
        let len = (self.0.len() - start - 8) as u64;
        self.0[start..start + 8].copy_from_slice(&len.to_le_bytes());
    }

    /// Adds a value of a whole row, with the name of its column. Null is skipped, so it equals an absent key.
    pub fn member(&mut self, name: &str, cell: &Cell<'_>) {
        if !matches!(cell, Cell::Null) {
            self.0.extend_from_slice(&(name.len() as u64).to_le_bytes());
            self.0.extend_from_slice(name.as_bytes());
            self.value(cell);
        }
    }

    /// Returns the key of the values that were added, and clears the buffer for the next key.
    pub fn finish(&mut self) -> Key {
        let digest = Sha256::digest(&self.0);
        self.0.clear();
        Key::from_le_bytes(digest[..16].try_into().expect("a digest has 32 bytes"))
    }
}

/// Writes a number in canonical form, so that `1`, `1.0` and `1e0` have the same bytes.
fn write_number(text: &str, out: &mut Vec<u8>) {
    if !write_canonical_number(text.as_bytes(), out) {
        out.extend_from_slice(text.as_bytes());
    }
}

fn write_nested(text: &str, out: &mut Vec<u8>) {
    match serde_json::from_str(text) {
        Ok(value) => write_value(&value, out),
        // Nested deeper than serde_json allows, but not deeper than the parser of records: compared by its text.
        Err(_) => out.extend_from_slice(text.as_bytes()),
    }
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    let text = |mark: u8, text: &str, out: &mut Vec<u8>| {
        out.push(mark);
        out.extend_from_slice(&(text.len() as u64).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    };
    match value {
        Value::Null => out.push(b'n'),
        Value::Bool(b) => out.push(if *b { b't' } else { b'f' }),
        Value::Number(number) => {
            out.push(b'0');
            write_number(&number.to_string(), out);
            out.push(b';');
        }
        Value::String(string) => text(b'"', string, out),
        Value::Array(items) => {
            out.push(b'[');
            items.iter().for_each(|item| write_value(item, out));
            out.push(b']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            // Objects are equal in any order of their keys.
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push(b'{');
            for (name, value) in members {
                text(b':', name, out);
                write_value(value, out);
            }
            out.push(b'}');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(values: &[&str]) -> Key {
        let mut writer = KeyWriter::default();
        values.iter().for_each(|json| writer.value(&Cell::from_json(json)));
        writer.finish()
    }

    #[test]
    fn the_same_values_have_the_same_key() {
        for (a, b) in [
            ("1", "1.0"),
            ("100", "1e2"),
            ("-0.50", "-5e-1"),
            ("0", "-0.0"),
            ("[1, 2]", "[1.0,2]"),
            (r#"{"a":1,"b":[null]}"#, r#"{ "b": [ null ], "a": 1 }"#),
            (r#""A""#, r#""\u0041""#),
        ] {
            assert_eq!(key(&[a]), key(&[b]), "{a} and {b}");
        }
    }

    #[test]
    fn different_values_have_different_keys() {
        let all = [
            "1",
            "10",
            "-1",
            "0.1",
            "\"1\"",
            "\"\"",
            "null",
            "true",
            "\"true\"",
            "[]",
            "{}",
            "[[]]",
            "[1,2]",
            "[2,1]",
            "12345678901234567890123",
            "12345678901234567890124",
            r#"{"a":1}"#,
            r#"{"b":1}"#,
            r#"{"a":"1"}"#,
        ];
        for (i, a) in all.iter().enumerate() {
            for b in &all[..i] {
                assert_ne!(key(&[a]), key(&[b]), "{a} and {b}");
            }
        }
        assert_ne!(key(&["\"a\"", "\"b\""]), key(&["\"ab\"", "\"\""]));
        let mut row = KeyWriter::default();
        row.member("a", &Cell::Text("x".into()));
        row.member("b", &Cell::Null);
        let without = row.finish();
        row.member("a", &Cell::Text("x".into()));
        assert_eq!(row.finish(), without);
    }
}
