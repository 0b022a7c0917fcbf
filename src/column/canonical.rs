//! The canonical form of JSON text in columns of mixed values.
//!
//! A column whose values fit no common type holds JSON text. Some of its values may have been typed before the column
//! became mixed, and a typed value has forgotten digits beyond its own, which of its members were null, and the order of
//! its keys. So that the text of a value does not depend on where the surprise came, all of them have one form: no white
//! space, members in the order of their keys and without nulls, a fraction as the nearest double, escapes only where JSON
//! requires them.

use std::collections::HashSet;
use std::fmt;

use serde::Deserializer;
use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::json_text::write_json_string;
use super::number::write_float;

/// Doubles below it, and from its negative on, are integers of 64 bits if they are whole: their column may have been one of
/// integers.
const INT_END: f64 = 9_223_372_036_854_775_808.0;

/// Appends the canonical form of `text`, which must be valid JSON. Text nested deeper than 127 levels is copied.
pub fn write_canonical(text: &str, out: &mut Vec<u8>) {
    match text.as_bytes().first() {
        Some(b'{' | b'[') => match serde_json::from_str(text) {
            Ok(value) => write_value(&value, out),
            Err(_) => out.extend_from_slice(text.as_bytes()),
        },
        Some(b'"') if text.contains('\\') => match serde_json::from_str::<String>(text) {
            Ok(string) => write_json_string(&string, out),
            Err(_) => out.extend_from_slice(text.as_bytes()),
        },
        Some(b'-' | b'0'..=b'9') => write_number(text, out),
        _ => out.extend_from_slice(text.as_bytes()),
    }
}

/// Counts the members of `text`, valid JSON, that are not in its canonical form because the same key follows in their
/// object.
pub fn count_duplicate_keys(text: &str) -> u64 {
    struct Duplicates;
    impl<'de> Visitor<'de> for Duplicates {
        type Value = u64;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("any value")
        }

        fn visit_unit<E>(self) -> Result<u64, E> {
            Ok(0)
        }

        fn visit_bool<E>(self, _: bool) -> Result<u64, E> {
            Ok(0)
        }

        fn visit_i64<E>(self, _: i64) -> Result<u64, E> {
            Ok(0)
        }

        fn visit_u64<E>(self, _: u64) -> Result<u64, E> {
            Ok(0)
        }

        fn visit_f64<E>(self, _: f64) -> Result<u64, E> {
            Ok(0)
        }

        fn visit_str<E>(self, _: &str) -> Result<u64, E> {
            Ok(0)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<u64, A::Error> {
            let mut count = 0;
            while let Some(inner) = items.next_element_seed(Count)? {
                count += inner;
            }
            Ok(count)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<u64, A::Error> {
            let (mut count, mut keys) = (0, HashSet::new());
            while let Some(key) = members.next_key::<String>()? {
                count += u64::from(!keys.insert(key)) + members.next_value_seed(Count)?;
            }
            Ok(count)
        }
    }
    struct Count;
    impl<'de> DeserializeSeed<'de> for Count {
        type Value = u64;

        fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<u64, D::Error> {
            value.deserialize_any(Duplicates)
        }
    }
    if !text.starts_with(['{', '[']) {
        return 0;
    }
    Count.deserialize(&mut serde_json::Deserializer::from_str(text)).unwrap_or(0)
}

/// Returns true if `text`, valid JSON, surely has its canonical form: the common case, without a second look.
pub fn is_canonical(text: &[u8]) -> bool {
    match text.first() {
        Some(b'"') => memchr::memchr(b'\\', text).is_none(),
        Some(b'-' | b'0'..=b'9') => text[1..].iter().all(u8::is_ascii_digit) && text != b"-0",
        Some(b'{' | b'[') => text.len() == 2,
        _ => true,
    }
}

fn write_value(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(b) => out.extend_from_slice(if *b { b"true" } else { b"false" }),
        Value::Number(number) => write_number(number.as_str(), out),
        Value::String(string) => write_json_string(string, out),
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_value(item, out);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().filter(|(_, value)| !value.is_null()).collect();
            members.sort_unstable_by_key(|(key, _)| *key);
            out.push(b'{');
            for (i, (key, value)) in members.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_json_string(key, out);
                out.push(b':');
                write_value(value, out);
            }
            out.push(b'}');
        }
    }
}

/// Integers keep their digits, as their columns do; other numbers are doubles, unless none holds them. `-0` is one of these.
fn write_number(text: &str, out: &mut Vec<u8>) {
    let is_integer = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') && text != "-0";
    match text.parse::<f64>() {
        Ok(value) if !is_integer && value.is_finite() => {
            let is_int = value.fract() == 0.0 && (-INT_END..INT_END).contains(&value);
            match is_int && !(value == 0.0 && value.is_sign_negative()) {
                // In a column of doubles an integer is no longer told from a double.
                true => out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes()),
                false => write_float(value, out),
            }
        }
        // Beyond the doubles only the exponent has several spellings.
        _ => out.extend(text.bytes().filter(|byte| *byte != b'+').map(|byte| byte.to_ascii_lowercase())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(text: &str) -> String {
        let mut out = Vec::new();
        write_canonical(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn duplicate_keys_are_counted_at_every_depth() {
        for (text, expected) in [
            ("1.50", 0),
            ("\"{\"", 0),
            ("{\"a\":1,\"b\":1.5,\"c\":null}", 0),
            ("{\"a\":1,\"a\":2,\"a\":3}", 2),
            ("[{\"a\":[{\"b\":true,\"b\":1e400}]},{\"a\":1,\"\\u0061\":1}]", 2),
        ] {
            assert_eq!(count_duplicate_keys(text), expected, "{text}");
        }
    }

    #[test]
    fn one_value_has_one_text() {
        for (text, expected) in [
            ("1.0", "1"),
            ("1e2", "100"),
            ("0.10", "0.1"),
            ("0.10000000000000001", "0.1"),
            ("-0", "-0.0"),
            ("-0.0", "-0.0"),
            ("9007199254740992.0", "9007199254740992"),
            // Beyond 2^53, too, a column of integers that became doubles keeps its digits.
            ("4611686018427387904", "4611686018427387904"),
            ("4.611686018427388e18", "4611686018427387904"),
            ("-1e18", "-1000000000000000000"),
            ("9223372036854775808.0", "9.223372036854776e+18"),
            ("-9223372036854775808.0", "-9223372036854775808"),
            ("1e19", "1e+19"),
            ("1e400", "1e400"),
            ("[1E+400]", "[1e400]"),
            ("123456789012345678901234567890", "123456789012345678901234567890"),
            ("\"a\"", "\"a\""),
            ("\"\\u00e9\\/\\n\"", "\"é/\\n\""),
            ("{ \"b\" : null, \"a\": [ 1.50, null ], \"A\": {} }", "{\"A\":{},\"a\":[1.5,null]}"),
            ("{\"a\":1,\"a\":2}", "{\"a\":2}"),
            ("null", "null"),
            ("true", "true"),
        ] {
            assert_eq!(canonical(text), expected);
            assert_eq!(canonical(expected), expected);
            assert!(!is_canonical(text.as_bytes()) || text == expected, "{text}");
        }
    }
}
