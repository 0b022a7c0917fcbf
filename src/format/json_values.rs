//! JSON values one behind another that are not one on each line: pretty-printed ones, and concatenated ones without line
//! ends. Tells them from NDJSON by the first bytes, finds their ends, and rewrites whole values into lines.
//!
//! A value ends after the bracket that closes it. Broken input must not make one value of the rest, so two things that no
//! valid JSON has end a value early: a brace that opens where neither a bracket, a comma nor a colon is before it begins
//! the next value, and a line break inside a string closes the string. Text between values is a value of its own, up to
//! the end of its line.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{ArrayRef, StringViewArray};
use arrow_buffer::Buffer;
use memchr::memchr3;

use super::utf8::Repaired;
use crate::column::{Batch, Morsel, RecordSpan, Type};

/// Bytes of a source after which its layout is decided.
pub const MAX_HEAD_BYTES: usize = 64 << 10;

/// The arrangement of the records of a JSON source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonLayout {
    /// One record on each line; also whatever is not certainly another layout.
    Lines,
    /// Values over several lines, or several on one.
    Values,
    /// An array over several lines.
    Array,
}

/// The effect of one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Between values or inside one.
    Goes,
    /// A value ends after the byte.
    EndsAfter,
    /// A value ends before the byte, which is not consumed.
    EndsBefore,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before a value.
    #[default]
    Between,
    /// In brackets, outside strings.
    Inside,
    /// In a string in brackets.
    String,
    /// In a string, after a backslash.
    Escape,
    /// In text that is no object and no array.
    Other,
}

/// The state between two bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ValueScanner {
    state: State,
    /// Open brackets.
    depth: u64,
    /// The last byte in brackets and outside strings that is not white space; a quote for a string.
    last: u8,
}

impl ValueScanner {
    fn step(&mut self, byte: u8) -> Step {
        match self.state {
            State::Between => match byte {
                b' ' | b'\t' | b'\n' | b'\r' => {}
                b'{' | b'[' => *self = ValueScanner { state: State::Inside, depth: 1, last: byte },
                _ => self.state = State::Other,
            },
            State::Other => match byte {
                b'\n' => return self.ended(Step::EndsAfter),
                b'{' => return self.ended(Step::EndsBefore),
                _ => {}
            },
            State::String => match byte {
                b'"' => self.state = State::Inside,
                b'\\' => self.state = State::Escape,
                b'\n' => self.state = State::Inside,
                _ => {}
            },
            State::Escape => self.state = if byte == b'\n' { State::Inside } else { State::String },
            State::Inside => match byte {
                b' ' | b'\t' | b'\n' | b'\r' => return Step::Goes,
                b'{' if !matches!(self.last, b'[' | b',' | b':') => return self.ended(Step::EndsBefore),
                b'{' | b'[' => {
                    self.depth += 1;
                    self.last = byte;
                }
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return self.ended(Step::EndsAfter);
                    }
                    self.last = byte;
                }
                b'"' => {
                    self.state = State::String;
                    self.last = byte;
                }
                _ => self.last = byte,
            },
        }
        Step::Goes
    }

    fn ended(&mut self, step: Step) -> Step {
        *self = ValueScanner::default();
        step
    }

    /// Returns the offset after the next value that ends in `bytes[from..to]`; `None` if none does. The state is that of
    /// the returned offset, or of `to`.
    pub(super) fn next_end(&mut self, bytes: &[u8], mut from: usize, to: usize) -> Option<usize> {
        while from < to {
            if self.state == State::String {
                match memchr3(b'"', b'\\', b'\n', &bytes[from..to]) {
                    Some(i) => from += i,
                    None => return None,
                }
            }
            match self.step(bytes[from]) {
                Step::Goes => from += 1,
                Step::EndsAfter => return Some(from + 1),
                Step::EndsBefore => return Some(from),
            }
        }
        None
    }
}

/// Decides the layout of a JSON source that begins with `head`; `is_all` is true if there is no more. `None` if more bytes
/// are needed, which is never so at [`MAX_HEAD_BYTES`], and not after the end of a line that holds a record. Depends on no
/// more than the bytes that it needs.
pub fn layout(head: &[u8], is_all: bool) -> Option<JsonLayout> {
    let ends_here = is_all;
    let is_all = is_all || head.len() >= MAX_HEAD_BYTES;
    if !is_all && b"\xef\xbb\xbf".starts_with(head) {
        return None;
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let start = text.iter().position(|b| !b.is_ascii_whitespace());
    let Some(first) = start.map(|start| &text[start..]) else { return is_all.then_some(JsonLayout::Lines) };
    let is_array = match first[0] {
        b'{' => false,
        b'[' => true,
        _ => return Some(JsonLayout::Lines),
    };
    let mut scanner = ValueScanner::default();
    // True once a line break was inside the value, and once something was behind that.
    let (mut is_broken, mut goes_on) = (false, false);
    let mut end = None;
    for (i, &byte) in first.iter().enumerate() {
        let in_string = matches!(scanner.state, State::String | State::Escape);
        // A string with a line break is broken, and so is the value before an impossible brace.
        if byte == b'\n' && in_string {
            return Some(JsonLayout::Lines);
        }
        goes_on |= is_broken && !byte.is_ascii_whitespace();
        is_broken |= byte == b'\n';
        match scanner.step(byte) {
            Step::Goes => {}
            Step::EndsBefore => return Some(JsonLayout::Lines),
            Step::EndsAfter => {
                end = Some(i + 1);
                break;
            }
        }
    }
    let whole = |layout| if is_broken && goes_on { layout } else { JsonLayout::Lines };
    let many_lines = if is_array { JsonLayout::Array } else { JsonLayout::Values };
    let Some(end) = end else {
        // A first line that is broken within a list, before a record, is no value that goes on there.
        let has_record = || first.split(|&byte| byte == b'\n').skip(1).any(is_record);
        return is_all.then(|| if ends_here && has_record() { JsonLayout::Lines } else { whole(many_lines) });
    };
    if is_broken {
        let is_valid = serde_json::from_slice::<serde::de::IgnoredAny>(&first[..end]).is_ok();
        return Some(if is_valid { many_lines } else { JsonLayout::Lines });
    }
    if is_array {
        return Some(JsonLayout::Lines);
    }
    is_concatenated(&first[end..], is_all)
}

/// Returns true if a line is an object by itself.
fn is_record(line: &[u8]) -> bool {
    line.trim_ascii_start().starts_with(b"{") && serde_json::from_slice::<serde::de::IgnoredAny>(line).is_ok()
}

/// Decides if more values follow one on a single line, `rest`. They do only if no line has ended before more text, so that a line with
/// two objects among others stays one broken record.
fn is_concatenated(rest: &[u8], is_all: bool) -> Option<JsonLayout> {
    let mut scanner = ValueScanner::default();
    let (mut values, mut line_ended) = (0, false);
    let mut at = 0;
    while at < rest.len() {
        let byte = rest[at];
        if scanner.state == State::Between && !byte.is_ascii_whitespace() && (line_ended || byte != b'{') {
            return Some(JsonLayout::Lines);
        }
        if byte == b'\n' {
            // Nothing else is on the line: that of an ordinary record.
            if values == 0 || scanner.state != State::Between {
                return Some(JsonLayout::Lines);
            }
            line_ended = true;
        }
        match scanner.step(byte) {
            Step::Goes => at += 1,
            Step::EndsBefore => return Some(JsonLayout::Lines),
            Step::EndsAfter => {
                values += 1;
                at += 1;
            }
        }
    }
    let found = if values > 0 || scanner.state == State::Inside { JsonLayout::Values } else { JsonLayout::Lines };
    is_all.then_some(found)
}

/// Rewrites a morsel of whole values into lines: a line feed follows each value, line feeds of the source become
/// carriage returns, by which its lines can still be counted, and its carriage returns spaces. Offsets map back.
pub fn as_lines(morsel: &Morsel) -> Repaired {
    let bytes = morsel.records();
    let mut text = Vec::with_capacity(bytes.len() + bytes.len() / 16 + Morsel::PADDING);
    let mut offsets = Vec::new();
    let mut scanner = ValueScanner::default();
    let mut at = 0;
    while let Some(end) = scanner.next_end(bytes, at, bytes.len()) {
        push_line(&bytes[at..end], &mut text);
        text.push(b'\n');
        offsets.push((text.len(), end));
        at = end;
    }
    push_line(&bytes[at..], &mut text);
    Repaired::with_offsets(Morsel::from_vec(text, morsel.byte_offset, morsel.source_index), offsets)
}

fn push_line(value: &[u8], text: &mut Vec<u8>) {
    text.extend(value.iter().map(|&byte| match byte {
        b'\n' => b'\r',
        b'\r' => b' ',
        other => other,
    }));
}

/// Appends valid JSON without the white space between its tokens.
pub fn compact(json: &[u8], out: &mut Vec<u8>) {
    let (mut in_string, mut escaped) = (false, false);
    for &byte in json {
        if !in_string && byte.is_ascii_whitespace() {
            continue;
        }
        out.push(byte);
        let is_quote = byte == b'"' && !escaped;
        escaped = in_string && byte == b'\\' && !escaped;
        in_string ^= is_quote;
    }
}

/// Makes the texts of rewritten records compact, which have carriage returns for the line breaks of their source: records
/// that are copied, and values that are kept as their own text.
pub fn compact_batch(batch: &mut Batch) {
    if let Some((bytes, spans)) = &mut batch.records {
        let mut text = Vec::with_capacity(bytes.len());
        for span in spans.iter_mut() {
            let start = text.len();
            compact(&bytes[span.start as usize..(span.start + span.len) as usize], &mut text);
            // Not longer than the morsel, whose offsets fit.
            *span = RecordSpan { start: start as u32, len: (text.len() - start) as u32 };
        }
        *bytes = Buffer::from_vec(text);
    }
    for (column, field) in batch.columns.iter_mut().zip(&batch.schema.fields) {
        if matches!(field.ty, Type::Raw | Type::Opaque(_)) {
            compact_column(column);
        }
    }
    for as_read in batch.as_read.iter_mut().flatten().filter(|as_read| as_read.ty == Type::Raw) {
        compact_column(&mut as_read.array);
    }
}

fn compact_column(column: &mut ArrayRef) {
    let texts = column.as_string_view();
    // Also without a carriage return: the text of a value must not depend on others of its batch.
    if texts.iter().flatten().all(|text| !text.starts_with(['{', '['])) {
        return;
    }
    let mut out = Vec::new();
    let compacted = texts.iter().map(|text| {
        text.map(|text| {
            out.clear();
            compact(text.as_bytes(), &mut out);
            String::from_utf8(out.clone()).expect("white space is ASCII")
        })
    });
    *column = Arc::new(compacted.collect::<StringViewArray>());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lines(text: &str) -> Vec<String> {
        let rewritten = as_lines(&Morsel::from_vec(text.as_bytes().to_vec(), 0, 0));
        let lines = String::from_utf8(rewritten.morsel.records().to_vec()).unwrap();
        lines.split('\n').map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
    }

    #[test]
    fn layouts_are_told_apart_by_any_first_bytes() {
        use JsonLayout::*;
        for (text, expected) in [
            ("{\"a\":1}\n{\"a\":2}\n", Lines),
            ("{\"a\":1}\r\n\r\n{\"a\":2}", Lines),
            ("{\"a\":1}", Lines),
            ("{}\n{\n\"a\":1}", Lines),
            ("", Lines),
            ("broken\n{\n\"a\":1\n}", Lines),
            // Pretty-printed, in several styles.
            ("{\n  \"a\": 1\n}\n{\n  \"a\": 2\n}\n", Values),
            ("\u{feff}\r\n{\r\n\t\"a\": [\r\n1]}", Values),
            ("{\"a\":1,\n \"b\":{}}", Values),
            ("{\"a\":\n1}", Values),
            ("{\n}", Values),
            ("[\n  {\"a\": 1}\n]", Array),
            ("[{\"a\": 1},\n{\"a\": 2}]", Array),
            ("[{\"a\": 1}]", Lines),
            ("[1,2]\n{\"a\":1}", Lines),
            // Concatenated.
            ("{\"a\":1}{\"a\":2}", Values),
            ("{\"a\":1} {\"a\":\"}{\"} {}\n", Values),
            // A broken record among others stays one.
            ("{\"a\":1}{\"a\":2}\n{\"a\":3}\n", Lines),
            ("{\"a\":1}, {\"a\":2}\n", Lines),
            ("{\"a\":1\n{\"a\":2}\n", Lines),
            ("{\"a\":\"x\n{\"a\":2}\n", Lines),
            ("{\"a\":\"x\n\", \"b\":2}\n", Lines),
            ("{\n{\"a\":1}\n", Lines),
            ("{\"a\":\n", Lines),
            ("{\n", Lines),
            ("{\"a\":1\n,,}", Lines),
            ("{\"a\":[\n{}", Lines),
            ("{\"a\":[\n{}\n]}", Values),
            // Cut inside the first value.
            ("{\n \"a\": [1,", Values),
        ] {
            assert_eq!(layout(text.as_bytes(), true), Some(expected), "{text:?}");
            for cut in 0..text.len() {
                let early = layout(&text.as_bytes()[..cut], false);
                assert!(early.is_none_or(|early| early == expected), "{text:?} cut at {cut}: {early:?}");
            }
        }
        assert_eq!(layout(b"{\"a\":1}\n", false), Some(Lines), "a record that has come is not held back");
        let long = format!("{{\n\"a\":\"{}\"", "x".repeat(MAX_HEAD_BYTES));
        assert_eq!(layout(long.as_bytes(), false), Some(Values));
        let long = format!("{{\"a\":\"{}\"", "x".repeat(MAX_HEAD_BYTES));
        assert_eq!(layout(long.as_bytes(), false), Some(Lines));
    }

    #[test]
    fn a_broken_value_costs_itself_only() {
        assert_eq!(lines("{\"a\": 1\n{\"a\": 2}"), ["{\"a\": 1", "{\"a\": 2}"]);
        assert_eq!(lines("{\"a\": \"x\n{\"a\": 2}\n"), ["{\"a\": \"x", "{\"a\": 2}"]);
        assert_eq!(lines("{\"a\": \"x\\\n{\"a\": 2}\n"), ["{\"a\": \"x\\", "{\"a\": 2}"]);
        assert_eq!(lines("{},{}\nnull\n}\n[1]{"), ["{}", ",", "{}", "null", "}", "[1]", "{"]);
    }

    #[test]
    fn compact_text_keeps_its_strings() {
        let mut out = Vec::new();
        compact(b"{ \"a b\" :\r[1 ,\t\"\\\" \\\\\" , true ] }", &mut out);
        assert_eq!(out, b"{\"a b\":[1,\"\\\" \\\\\",true]}");
    }

    #[test]
    fn offsets_and_lines_are_those_of_the_source() {
        let text = b"{\n\"a\":1}{}\r\n {\"b\":[\n]}x\n{}";
        let rewritten = as_lines(&Morsel::from_vec(text.to_vec(), 5, 0));
        let records = rewritten.morsel.records();
        assert_eq!(records, b"{\r\"a\":1}\n{}\n \r {\"b\":[\r]}\nx\r\n{}\n");
        for (here, byte) in records.iter().enumerate().filter(|(_, byte)| b"{}[]x\"ab1".contains(byte)) {
            assert_eq!(text[rewritten.original(here)], *byte);
        }
        let count = |bytes: &[u8], of: u8| memchr::memchr_iter(of, bytes).count();
        assert_eq!(count(records, b'\r'), count(text, b'\n'));
    }

    fn any_object() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![any::<i32>().prop_map(Value::from), "[\\[\\]{},:\"\\\\\n a]{0,8}".prop_map(Value::from)];
        let value = leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[{}\"\\\\a]{0,4}", inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        });
        prop::collection::vec(("[{}\"\\\\a]{0,4}", value), 0..4)
            .prop_map(|pairs| Value::Object(pairs.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn values_become_lines(
            values in prop::collection::vec((any_object(), any::<bool>(), "[ \r\n\t]{0,3}"), 1..6),
        ) {
            let mut text = String::new();
            for (value, pretty, space) in &values {
                text += &if *pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) }.unwrap();
                text += space;
            }
            let parsed: Vec<serde_json::Value> =
                lines(&text).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
            let values: Vec<serde_json::Value> = values.into_iter().map(|(value, ..)| value).collect();
            prop_assert_eq!(parsed, values);
        }
    }
}
