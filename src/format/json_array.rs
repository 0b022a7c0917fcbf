//! Rewrites one JSON array of objects into lines, between decompression and framing.
//!
//! The brackets become spaces and the commas between elements line feeds, so that framing and
//! parsing are those of NDJSON and every byte keeps its offset. The line feeds of the source become
//! carriage returns, by which its lines can still be counted, and its carriage returns spaces. Only
//! the shape of the array is checked here; elements are passed on to the parser otherwise unchanged,
//! valid or not.

use std::io::{self, Read};

use memchr::memchr2;

/// An error in the shape of a JSON array, with its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} (byte {byte_offset}): {kind}")]
pub struct JsonArrayError {
    /// Offset in the decompressed source, from 0.
    pub byte_offset: u64,
    /// Line of the source, from 1.
    pub line: u64,
    /// Kind of the error.
    pub kind: JsonArrayErrorKind,
}

/// The kind of an error in the shape of an array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonArrayErrorKind {
    /// Other text comes before the array, or the stream is empty.
    #[error("expected `[` at the start of the JSON array")]
    NoStart,
    /// A comma without an element before or after it.
    #[error("expected an element of the JSON array")]
    EmptyElement,
    /// The stream ends inside the array.
    #[error("the JSON array is not closed")]
    NoEnd,
    /// Other text follows the array.
    #[error("unexpected text after the JSON array")]
    TextAfterEnd,
}

const VERTICAL_TAB: u8 = 0x0b;

/// The state of the scanner between two bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the opening bracket.
    Before,
    /// After the opening bracket: an element or `]` follows.
    First,
    /// After a comma: an element must follow.
    Next,
    /// Inside an element, outside strings.
    Element,
    /// Inside a string.
    String,
    /// Inside a string, after a backslash.
    Escape,
    /// After the closing bracket.
    After,
}

/// A reader of lines over a reader of one JSON array.
///
/// An error of shape is returned as [`io::ErrorKind::InvalidData`] around a [`JsonArrayError`], after all
/// bytes before it have been read. An empty array reads as white space only.
pub struct JsonArrayLines<R> {
    inner: R,
    state: State,
    /// Open brackets inside the current element.
    depth: u64,
    /// Bytes rewritten so far.
    byte_offset: u64,
    /// Line breaks of the source so far.
    lines: u64,
    /// The error that every further read returns.
    failed: Option<JsonArrayError>,
}

impl<R: Read> JsonArrayLines<R> {
    /// Makes a reader of the array that `inner` holds. A byte order mark before it is passed on.
    pub fn new(inner: R) -> Self {
        JsonArrayLines { inner, state: State::Before, depth: 0, byte_offset: 0, lines: 0, failed: None }
    }

    /// Rewrites `bytes` in place; on an error, only those before the offset that it returns.
    fn rewrite(&mut self, bytes: &mut [u8]) -> Result<(), (usize, JsonArrayErrorKind)> {
        use JsonArrayErrorKind::*;
        let mut i = 0;
        while i < bytes.len() {
            let byte = &mut bytes[i];
            match self.state {
                State::String => {
                    let end = memchr2(b'"', b'\\', &bytes[i..]).map_or(bytes.len(), |n| i + n);
                    self.line_breaks_in_string(&mut bytes[i..end]);
                    i = end;
                    match bytes.get(i) {
                        None => return Ok(()),
                        Some(b'"') => self.state = State::Element,
                        Some(_) => self.state = State::Escape,
                    }
                }
                State::Escape => {
                    self.line_breaks_in_string(&mut bytes[i..=i]);
                    self.state = State::String;
                }
                State::Element => match *byte {
                    b'"' => self.state = State::String,
                    // Brackets are counted without their kind: a mismatch is an error of the element, found by the parser.
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' if self.depth > 0 => self.depth -= 1,
                    b']' => {
                        *byte = b' ';
                        self.state = State::After;
                    }
                    b',' if self.depth == 0 => {
                        *byte = b'\n';
                        self.state = State::Next;
                    }
                    b'\n' | b'\r' => self.line_break(byte),
                    _ => {}
                },
                State::First | State::Next => match *byte {
                    b' ' | b'\t' => {}
                    b'\n' | b'\r' => self.line_break(byte),
                    b']' if self.state == State::First => {
                        *byte = b' ';
                        self.state = State::After;
                    }
                    b',' | b']' => return Err((i, EmptyElement)),
                    _ => {
                        // The same byte again, as the first of its element.
                        self.state = State::Element;
                        continue;
                    }
                },
                State::Before => match *byte {
                    b' ' | b'\t' => {}
                    b'\n' | b'\r' => self.line_break(byte),
                    b'[' => {
                        *byte = b' ';
                        self.state = State::First;
                    }
                    // The byte order mark, at its own offsets only.
                    b if b"\xef\xbb\xbf".get((self.byte_offset + i as u64) as usize) == Some(&b) => {}
                    _ => return Err((i, NoStart)),
                },
                State::After => match *byte {
                    b' ' | b'\t' => {}
                    b'\n' | b'\r' => self.line_break(byte),
                    _ => return Err((i, TextAfterEnd)),
                },
            }
            i += 1;
        }
        Ok(())
    }

    /// Rewrites a line break between tokens, where all white space is equivalent.
    fn line_break(&mut self, byte: &mut u8) {
        self.lines += u64::from(*byte == b'\n');
        *byte = if *byte == b'\n' { b'\r' } else { b' ' };
    }

    /// Rewrites raw line breaks inside a string. They are invalid, and must not split an element into two lines: a line
    /// feed becomes a carriage return, which still counts as a line, and a carriage return a vertical tab, which does
    /// not. Both are as invalid, so that the parser still rejects the element.
    fn line_breaks_in_string(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while let Some(i) = memchr2(b'\n', b'\r', &bytes[at..]) {
            at += i;
            self.lines += u64::from(bytes[at] == b'\n');
            bytes[at] = if bytes[at] == b'\n' { b'\r' } else { VERTICAL_TAB };
            at += 1;
        }
    }

    /// Makes an error at `ahead` bytes after those rewritten so far.
    fn error(&self, ahead: usize, kind: JsonArrayErrorKind) -> JsonArrayError {
        JsonArrayError { byte_offset: self.byte_offset + ahead as u64, line: self.lines + 1, kind }
    }

    fn end(&self) -> Result<(), JsonArrayError> {
        let kind = match self.state {
            State::After => return Ok(()),
            State::Before => JsonArrayErrorKind::NoStart,
            _ => JsonArrayErrorKind::NoEnd,
        };
        Err(self.error(0, kind))
    }
}

impl<R: Read> Read for JsonArrayLines<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.failed {
            return Err(io::Error::new(io::ErrorKind::InvalidData, error));
        }
        if out.is_empty() {
            return Ok(0);
        }
        let mut n = self.inner.read(out)?;
        let result = match n {
            0 => self.end(),
            _ => self.rewrite(&mut out[..n]).map_err(|(i, kind)| {
                n = i;
                self.error(i, kind)
            }),
        };
        self.byte_offset += n as u64;
        self.failed = result.err();
        match self.failed {
            Some(error) if n == 0 => Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            _ => Ok(n),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reader that returns its pieces one by one.
    struct Pieces<'a>(Vec<&'a [u8]>);

    impl Read for Pieces<'_> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            while self.0.first().is_some_and(|piece| piece.is_empty()) {
                self.0.remove(0);
            }
            let Some(piece) = self.0.first_mut() else { return Ok(0) };
            let n = piece.len().min(out.len());
            out[..n].copy_from_slice(&piece[..n]);
            *piece = &piece[n..];
            Ok(n)
        }
    }

    fn lines(pieces: Vec<&[u8]>) -> (Vec<u8>, Option<JsonArrayError>) {
        let mut out = Vec::new();
        let error = JsonArrayLines::new(Pieces(pieces)).read_to_end(&mut out).err();
        (out, error.map(|e| *e.get_ref().and_then(|e| e.downcast_ref()).expect("a JsonArrayError")))
    }

    #[test]
    fn elements_become_lines_at_the_same_offsets() {
        let text = b"\xef\xbb\xbf [ {\"a\":\r\n[1,2]},\n\n{\"b\": \"],[\\\"\\\\\"}\n ]\n";
        let want = b"\xef\xbb\xbf   {\"a\": \r[1,2]}\n\r\r{\"b\": \"],[\\\"\\\\\"}\r  \r".to_vec();
        for i in 0..=text.len() {
            assert_eq!(lines(vec![&text[..i], &text[i..]]), (want.clone(), None));
        }
    }

    #[test]
    fn errors_of_shape_come_after_the_valid_bytes_before_them() {
        use JsonArrayErrorKind::*;
        for (text, byte_offset, kind, before) in [
            ("", 0, NoStart, ""),
            ("  ", 2, NoStart, "  "),
            ("{}", 0, NoStart, ""),
            ("[{}", 3, NoEnd, " {}"),
            ("[{},", 4, NoEnd, " {}\n"),
            ("[\"]", 3, NoEnd, " \"]"),
            ("[,{}]", 1, EmptyElement, " "),
            ("[{},]", 4, EmptyElement, " {}\n"),
            ("[{},,{}]", 4, EmptyElement, " {}\n"),
            ("[] x", 3, TextAfterEnd, "   "),
            ("[{}]{}", 4, TextAfterEnd, " {} "),
            ("[{}][", 4, TextAfterEnd, " {} "),
        ] {
            for i in 0..=text.len() {
                let got = lines(vec![&text.as_bytes()[..i], &text.as_bytes()[i..]]);
                let want = (before.as_bytes().to_vec(), Some(JsonArrayError { byte_offset, line: 1, kind }));
                assert_eq!(got, want, "{text:?} split at {i}");
            }
        }
    }

    #[test]
    fn a_raw_line_break_in_a_string_stays_one_invalid_line() {
        assert_eq!(lines(vec![b"[{\"a\":\"\n{}\r\n\"}]"]).0, b" {\"a\":\"\r{}\x0b\r\"} ");
        let (_, error) = lines(vec![b"[\n\"\n\\", b"\n\"\r\n,\n,"]);
        assert_eq!(error.map(|e| (e.line, e.kind)), Some((6, JsonArrayErrorKind::EmptyElement)));
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i32>().prop_map(Value::from),
            "[\\[\\]{},\"\\\\\n a]{0,8}".prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec(("[\\[\\]{},\"\\\\a]{0,4}", inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_lines_are_the_elements(
            elements in prop::collection::vec(any_json(), 0..5),
            pretty in any::<bool>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let text = if pretty { serde_json::to_string_pretty(&elements) } else { serde_json::to_string(&elements) }
                .expect("json");
            let cut = cut.index(text.len() + 1);
            let (out, error) = lines(vec![&text.as_bytes()[..cut], &text.as_bytes()[cut..]]);
            prop_assert_eq!(error, None);
            prop_assert_eq!(out.len(), text.len());
            let parsed: Vec<serde_json::Value> = std::str::from_utf8(&out).expect("utf-8")
                .split('\n')
                .filter(|line| !line.trim().is_empty())
                .map(|line| serde_json::from_str(line).expect("an element"))
                .collect();
            prop_assert_eq!(parsed, elements);
        }
    }
}
