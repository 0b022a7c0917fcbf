//! Lookup in JSON text: finds a member of an object or an element of a list by skipping the values
//! before it, without parsing them.
//!
//! The text must be valid JSON, as text that has passed the parser is. On other text the result is
//! unspecified, but nothing panics and every range is in bounds.

use std::ops::Range;

use memchr::memchr2;

use super::json_text::unescape;

/// Returns the range of the value of `key` in the object `json`; of the last one, for a duplicate key.
/// `None` if the key is absent or `json` is not an object.
pub fn member(json: &[u8], key: &str) -> Option<Range<usize>> {
    let mut at = open(json, b'{')?;
    let mut found = None;
    let mut scratch = Vec::new();
    while byte_at(json, at) == b'"' {
        let end = string_end(json, at);
        let name = json.get(at + 1..end - 1)?;
        let same = if name.contains(&b'\\') {
            scratch.clear();
            unescape(name, &mut scratch);
            scratch == key.as_bytes()
        } else {
            name == key.as_bytes()
        };
        // Skips the colon.
        let start = blank_end(json, blank_end(json, end) + 1);
        let end = value_end(json, start);
        if same {
            found = Some(start..end);
        }
        at = blank_end(json, blank_end(json, end) + 1);
    }
    found
}

/// Returns the range of element `index`, from 0, of the list `json`. `None` if there are fewer elements or `json` is not
/// a list.
pub fn element(json: &[u8], index: usize) -> Option<Range<usize>> {
    let mut at = open(json, b'[')?;
    for nth in 0.. {
        if matches!(byte_at(json, at), b']' | 0) {
            return None;
        }
        let end = value_end(json, at);
        if nth == index {
            return Some(at..end);
        }
        at = blank_end(json, blank_end(json, end) + 1);
    }
    None
}

/// Iterates over the ranges of the elements of the list `json`; empty if it is not a list.
pub fn elements(json: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut at = open(json, b'[');
    std::iter::from_fn(move || {
        let start = at.filter(|&at| !matches!(byte_at(json, at), b']' | 0))?;
        let end = value_end(json, start);
        at = Some(blank_end(json, blank_end(json, end) + 1));
        Some(start..end)
    })
}

/// Counts the elements of a list or the keys of an object; 0 for other values.
pub fn count(json: &[u8]) -> usize {
    let Some(mut at) = open(json, b'{') else { return elements(json).count() };
    let mut keys = 0;
    while byte_at(json, at) == b'"' {
        keys += 1;
        let start = blank_end(json, blank_end(json, string_end(json, at)) + 1);
        at = blank_end(json, blank_end(json, value_end(json, start)) + 1);
    }
    keys
}

/// Returns the byte at `at`, 0 after the end.
fn byte_at(json: &[u8], at: usize) -> u8 {
    json.get(at).copied().unwrap_or(0)
}

fn blank_end(json: &[u8], mut at: usize) -> usize {
    while matches!(byte_at(json, at), b' ' | b'\t' | b'\n' | b'\r') {
        at += 1;
    }
    at
}

/// Returns the offset of the first byte inside a container that begins with `bracket`; `None` for other values.
fn open(json: &[u8], bracket: u8) -> Option<usize> {
    let at = blank_end(json, 0);
    (byte_at(json, at) == bracket).then(|| blank_end(json, at + 1))
}

/// Returns the offset after the closing quote of the string at `at`.
fn string_end(json: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(i) = json.get(at..).and_then(|rest| memchr2(b'"', b'\\', rest)) {
        at += i;
        if json[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    json.len()
}

/// Returns the offset after the value at `at`.
fn value_end(json: &[u8], at: usize) -> usize {
    match byte_at(json, at) {
        b'"' => string_end(json, at),
        // Only brackets are counted, and strings skipped, in which brackets mean nothing. Valid text needs no check that
        // they match in kind.
        b'{' | b'[' => {
            let mut depth = 0usize;
            let mut at = at;
            while at < json.len() {
                match json[at] {
                    b'"' => {
                        at = string_end(json, at);
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => {
                        depth -= 1;
                        if depth == 0 {
                            return at + 1;
                        }
                    }
                    _ => {}
                }
                at += 1;
            }
            json.len()
        }
        _ => {
            let rest = json.get(at..).unwrap_or_default();
            let ends = |b: &u8| matches!(b, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            at + rest.iter().position(ends).unwrap_or(rest.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::column::testing::any_value;

    #[test]
    fn members_and_elements_are_found() {
        let json = br#" { "a" : [ 1 , {"b":"]}\"" } , "x" ] , "\u0062" : -1.5e3,"a\"":null , "b": true } "#;
        let text = |range: Option<Range<usize>>| range.map(|r| std::str::from_utf8(&json[r]).unwrap());
        assert_eq!(text(member(json, "b")), Some("true"), "the last wins");
        assert_eq!(text(member(json, "a\"")), Some("null"));
        assert_eq!(text(member(json, "c")), None);
        let list = member(json, "a").unwrap();
        let item = |i| element(&json[list.clone()], i).map(|r| std::str::from_utf8(&json[list.clone()][r]).unwrap());
        assert_eq!([item(0), item(1), item(2), item(3)], [Some("1"), Some(r#"{"b":"]}\"" }"#), Some("\"x\""), None]);
        assert_eq!((member(b"[1]", "a"), element(b"{}", 0), element(b"[ ]", 0)), (None, None, None));
    }

    proptest! {
        #[test]
        fn lookups_agree_with_serde_json(value in any_value(), pretty in any::<bool>(), key in "[abc]", index in 0usize..4) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) }.unwrap();
            let parsed = |range: Range<usize>| serde_json::from_str::<Value>(&text[range]).unwrap();
            prop_assert_eq!(member(text.as_bytes(), &key).map(parsed), value.get(&key).cloned());
            prop_assert_eq!(element(text.as_bytes(), index).map(parsed), value.get(index).cloned());
        }

        #[test]
        fn invalid_text_does_not_panic(text in "[{}\\[\\],:\"\\\\a ]{0,20}", key in "[a]", index in 0usize..3) {
            let _ = (member(text.as_bytes(), &key), element(text.as_bytes(), index));
        }
    }
}
