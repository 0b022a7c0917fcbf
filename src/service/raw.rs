//! Splitting of JSON text into members and items without parsing the values, so that a number keeps all of its digits.
//! It expects text that a JSON parser has accepted already; other text yields `None`.

use serde::de::IgnoredAny;

/// Splits an object into its members: each key, unescaped, with the text of its value. Duplicate keys are all returned.
/// `None` if `text` is not an object.
pub(super) fn members(text: &str) -> Option<Vec<(String, &str)>> {
    let mut rest = text.trim_ascii_start().strip_prefix('{')?.trim_ascii_start();
    let mut members = Vec::new();
    if rest.starts_with('}') {
        return Some(members);
    }
    loop {
        // The stream deserializer stops after the key and reports its length, escapes included.
        let mut keys = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        let key = keys.next()?.ok()?;
        rest = rest[keys.byte_offset()..].trim_ascii_start().strip_prefix(':')?.trim_ascii_start();
        let end = value_end(rest)?;
        members.push((key, &rest[..end]));
        rest = rest[end..].trim_ascii_start();
        match rest.as_bytes().first()? {
            b',' => rest = rest[1..].trim_ascii_start(),
            b'}' => return Some(members),
            _ => return None,
        }
    }
}

/// Splits an array into the texts of its items; `None` if `text` is not an array.
pub(super) fn items(text: &str) -> Option<Vec<&str>> {
    let mut rest = text.trim_ascii_start().strip_prefix('[')?.trim_ascii_start();
    let mut items = Vec::new();
    if rest.starts_with(']') {
        return Some(items);
    }
    loop {
        let end = value_end(rest)?;
        items.push(&rest[..end]);
        rest = rest[end..].trim_ascii_start();
        match rest.as_bytes().first()? {
            b',' => rest = rest[1..].trim_ascii_start(),
            b']' => return Some(items),
            _ => return None,
        }
    }
}

/// Returns the length of the JSON value at the start of `text`.
fn value_end(text: &str) -> Option<usize> {
    // `IgnoredAny` skips a value without building it, whatever its depth or number of digits.
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    Some(values.byte_offset())
}

/// Returns the value without white space between its tokens, hence on one line. Strings keep theirs: a line break
/// inside a valid JSON string is escaped.
pub(super) fn on_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut in_string = false;
    let mut escaped = false;
    for c in text.chars() {
        if in_string {
            line.push(c);
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_string = false,
                _ => {}
            }
        } else if !c.is_ascii_whitespace() {
            in_string = c == '"';
            line.push(c);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_text() {
        let text = " { \"a\\u0062\" : 12345678901234567890123.10 , \"c\":[1, {\"d\":\"},\"}] ,\"e\":null} ";
        assert_eq!(
            members(text).unwrap(),
            [
                ("ab".to_owned(), "12345678901234567890123.10"),
                ("c".to_owned(), "[1, {\"d\":\"},\"}]"),
                ("e".to_owned(), "null")
            ]
        );
        assert_eq!(items("[ 1e2,\"],\" , [ ] ]").unwrap(), ["1e2", "\"],\"", "[ ]"]);
        assert_eq!(items(" [ ] ").unwrap(), Vec::<&str>::new());
        assert_eq!(members("{ }").unwrap(), []);
        assert!(members("[1]").is_none());
        assert!(items("[1").is_none());
    }

    #[test]
    fn line_breaks_go_only_between_tokens() {
        assert_eq!(
            on_one_line("{\n \"a b\" : \"x \\\" \\\\\" ,\r\n\t\"c\": [1, 2] }"),
            r#"{"a b":"x \" \\","c":[1,2]}"#
        );
    }
}
