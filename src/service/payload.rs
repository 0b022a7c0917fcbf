//! Rows in a JSON body, read as a stream: each row is checked and written to a file as it is found, so that memory is
//! bounded by one row, whatever the size of the body. Values keep their text, and so their digits.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use super::raw;
use crate::format::ndjson::JsonText;

/// Bytes that are read at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// Rows of a request in a temporary file of the data directory, one line of JSON each. Dropping it removes the file.
pub(super) struct Payload {
    file: NamedTempFile,
    pub rows: u64,
    /// False for one object instead of a list, which messages name differently.
    is_list: bool,
    /// Name of the rows in messages.
    origin: &'static str,
}

/// Bounds of what is held in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct PayloadLimits {
    /// Bytes of one row.
    pub row_bytes: usize,
    /// Bytes of any other value.
    pub value_bytes: usize,
}

/// An error of a body or of its rows.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The text is not valid, or not what is expected; the message is for the client.
    #[error("{0}")]
    Invalid(String),
    /// A part that is held in memory is larger than its limit.
    #[error("{0}")]
    TooLarge(String),
    /// The body cannot be read, because the client has stopped sending it.
    #[error("cannot read the request body")]
    Truncated,
    /// The temporary file cannot be written or read.
    #[error("cannot store the input rows of the run")]
    Io(#[from] io::Error),
}

impl Error {
    /// Adds the name of the text to an error of its syntax. An error of one of the rows, which are called `rows`, has a
    /// name already.
    pub(super) fn within(self, text: &str, rows: &str) -> Self {
        match self {
            Error::Invalid(why) if !why.starts_with(rows) => Error::Invalid(format!("{text} is not valid JSON: {why}")),
            error => error,
        }
    }
}

impl Payload {
    /// Reads the rows in `text`: a list of objects, or one object for one row.
    pub(super) fn of_text(
        text: &str,
        origin: &'static str,
        directory: &Path,
        limits: PayloadLimits,
    ) -> Result<Payload, Error> {
        let mut scanner = Scanner::new(text.as_bytes(), limits);
        let named = |error: Error| error.within(origin, origin);
        let payload = match scanner.peek().map_err(named)? {
            Some(b'[' | b'{') => scanner.rows(origin, directory).map_err(named)?,
            _ => return Err(Error::Invalid(format!("{origin} must be a list of objects or one object"))),
        };
        scanner.end().map_err(named)?;
        Ok(payload)
    }

    /// Fails unless every row has all `columns`.
    pub(super) fn require(&self, columns: &[String]) -> Result<(), Error> {
        if columns.is_empty() {
            return Ok(());
        }
        let mut lines = BufReader::with_capacity(CHUNK_BYTES, File::open(self.file.path())?);
        let mut line = String::new();
        for i in 0..self.rows {
            line.clear();
            lines.read_line(&mut line)?;
            let members = raw::members(&line).unwrap_or_default();
            if let Some(column) = columns.iter().find(|column| !members.iter().any(|(name, _)| name == *column)) {
                let row = row_name(self.origin, self.is_list, i);
                return Err(Error::Invalid(format!("{row} lacks the required column '{column}'")));
            }
        }
        Ok(())
    }

    /// Moves the rows to the file `path`, which is on the same file system.
    pub(super) fn persist(self, path: &Path) -> io::Result<u64> {
        self.file.persist(path).map_err(|error| error.error)?;
        Ok(self.rows)
    }
}

/// Returns the name of a row in messages, as a JSON path.
fn row_name(origin: &str, is_list: bool, index: u64) -> String {
    if is_list { format!("{origin}[{index}]") } else { origin.to_owned() }
}

/// Reader of JSON text that hands out one value at a time. It finds where values end; whether they are valid is checked
/// on each of them.
pub(super) struct Scanner<R> {
    from: R,
    limits: PayloadLimits,
    chunk: Vec<u8>,
    /// Position in `chunk` of the next byte.
    next: usize,
    /// Bytes before `chunk`.
    before: u64,
}

impl<R: Read> Scanner<R> {
    pub(super) fn new(from: R, limits: PayloadLimits) -> Self {
        Scanner { from, limits, chunk: Vec::new(), next: 0, before: 0 }
    }

    /// Returns the rest of the current chunk, which is empty at the end only.
    fn buffered(&mut self) -> Result<&[u8], Error> {
        if self.next == self.chunk.len() {
            self.before += self.chunk.len() as u64;
            self.next = 0;
            self.chunk.resize(CHUNK_BYTES, 0);
            let n = loop {
                match self.from.read(&mut self.chunk) {
                    Ok(n) => break n,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => return Err(Error::Truncated),
                }
            };
            self.chunk.truncate(n);
        }
        Ok(&self.chunk[self.next..])
    }

    /// Returns the next byte that is not white space, without consuming it; `None` at the end.
    pub(super) fn peek(&mut self) -> Result<Option<u8>, Error> {
        loop {
            let rest = self.buffered()?;
            if rest.is_empty() {
                return Ok(None);
            }
            match rest.iter().position(|byte| !is_space(*byte)) {
                Some(at) => {
                    self.next += at;
                    return Ok(Some(self.chunk[self.next]));
                }
                None => self.next = self.chunk.len(),
            }
        }
    }

    /// Consumes `byte`, after white space.
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), Error> {
        match self.peek()? {
            Some(found) if found == byte => {
                self.next += 1;
                Ok(())
            }
            _ => Err(self.unexpected(&format!("`{}`", char::from(byte)))),
        }
    }

    /// Consumes a comma, or `close`; returns true for the comma.
    pub(super) fn more(&mut self, close: u8) -> Result<bool, Error> {
        match self.peek()? {
            Some(b',') => {
                self.next += 1;
                Ok(true)
            }
            Some(found) if found == close => {
                self.next += 1;
                Ok(false)
            }
            _ => Err(self.unexpected(&format!("`,` or `{}`", char::from(close)))),
        }
    }

    /// Fails unless only white space is left.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        match self.peek()? {
            None => Ok(()),
            Some(_) => Err(self.unexpected("the end")),
        }
    }

    fn unexpected(&self, expected: &str) -> Error {
        let at = self.before + self.next as u64;
        let found = match self.chunk.get(self.next) {
            None => "the end".to_owned(),
            Some(byte) if byte.is_ascii_graphic() => format!("`{}`", char::from(*byte)),
            Some(byte) => format!("byte 0x{byte:02x}"),
        };
        Error::Invalid(format!("expected {expected}, found {found} at byte {at}"))
    }

    /// Reads the next value, a key included, as valid JSON on one line.
    pub(super) fn value(&mut self, what: &str) -> Result<JsonText, Error> {
        self.value_within(what, self.limits.value_bytes)
    }

    fn value_within(&mut self, what: &str, max_bytes: usize) -> Result<JsonText, Error> {
        let Some(first) = self.peek()? else { return Err(self.unexpected("a value")) };
        if matches!(first, b',' | b':' | b']' | b'}') {
            return Err(self.unexpected("a value"));
        }
        let at = self.before + self.next as u64;
        let mut text = Vec::new();
        let mut end = ValueEnd::new(first);
        loop {
            let rest = self.buffered()?;
            if rest.is_empty() {
                break;
            }
            let (n, is_end) = end.scan(rest);
            if text.len() + n > max_bytes {
                return Err(Error::TooLarge(format!(
                    "{what} is larger than this service's limit of {max_bytes} bytes"
                )));
            }
            text.extend_from_slice(&rest[..n]);
            self.next += n;
            if is_end {
                break;
            }
        }
        let invalid = || Error::Invalid(format!("{what} is not valid JSON (it begins at byte {at})"));
        let text = String::from_utf8(text).map_err(|_| invalid())?;
        // Before the white space goes: two tokens must not become one.
        serde_json::from_str::<serde::de::IgnoredAny>(&text).map_err(|_| invalid())?;
        let text = if text.bytes().any(is_space) { raw::on_one_line(&text) } else { text };
        JsonText::new(text).ok_or_else(invalid)
    }

    /// Calls `each` with each of the objects that follow one another to the end, on one line. `name` names the text.
    pub(super) fn objects(&mut self, name: &str, mut each: impl FnMut(&str) -> io::Result<()>) -> Result<(), Error> {
        let mut count = 0u64;
        while let Some(first) = self.peek()? {
            if first != b'{' {
                let Error::Invalid(why) = self.unexpected("an object") else { unreachable!("it is of this kind") };
                return Err(Error::Invalid(format!("{name}: {why}")));
            }
            count += 1;
            let row = self.value_within(&format!("{name}: object {count}"), self.limits.row_bytes)?;
            each(row.as_str())?;
        }
        Ok(())
    }

    /// Reads rows, a list of objects or one object, into a temporary file in `directory`. `origin` names them.
    pub(super) fn rows(&mut self, origin: &'static str, directory: &Path) -> Result<Payload, Error> {
        let is_list = self.peek()? == Some(b'[');
        // Created with mode 0600.
        let mut file = NamedTempFile::new_in(directory)?;
        let mut out = BufWriter::with_capacity(CHUNK_BYTES, file.as_file_mut());
        let mut rows = 0;
        let mut more = true;
        if is_list {
            self.expect(b'[')?;
            if self.peek()? == Some(b']') {
                self.expect(b']')?;
                more = false;
            }
        }
        while more {
            let name = row_name(origin, is_list, rows);
            let is_object = self.peek()? == Some(b'{');
            let row = self.value_within(&name, self.limits.row_bytes)?;
            if !is_object {
                return Err(Error::Invalid(format!("{name} is not an object")));
            }
            out.write_all(row.as_str().as_bytes())?;
            out.write_all(b"\n")?;
            rows += 1;
            more = is_list && self.more(b']')?;
        }
        out.flush()?;
        drop(out);
        Ok(Payload { file, rows, is_list, origin })
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Search for the end of one value over chunks of its text.
struct ValueEnd {
    /// Open brackets, or 0 for a value that is no list or object.
    depth: u64,
    kind: ValueKind,
    in_string: bool,
    escaped: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ValueKind {
    Nested,
    Text,
    /// A number or a word: it ends before the next punctuation or white space.
    Word,
}

impl ValueEnd {
    fn new(first: u8) -> Self {
        let kind = match first {
            b'{' | b'[' => ValueKind::Nested,
            b'"' => ValueKind::Text,
            _ => ValueKind::Word,
        };
        ValueEnd { depth: 0, kind, in_string: false, escaped: false }
    }

    /// Returns the number of bytes that belong to the value, and true if it ends there.
    fn scan(&mut self, bytes: &[u8]) -> (usize, bool) {
        for (i, &byte) in bytes.iter().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => {
                        self.in_string = false;
                        if self.kind == ValueKind::Text {
                            return (i + 1, true);
                        }
                    }
                    _ => {}
                }
                continue;
            }
            match (self.kind, byte) {
                (ValueKind::Word, b',' | b':' | b']' | b'}' | b'[' | b'{' | b'"') => return (i, true),
                (ValueKind::Word, byte) if is_space(byte) => return (i, true),
                (ValueKind::Word, _) => {}
                (_, b'"') => self.in_string = true,
                (_, b'{' | b'[') => self.depth += 1,
                (_, b'}' | b']') => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return (i + 1, true);
                    }
                }
                _ => {}
            }
        }
        (bytes.len(), false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: PayloadLimits = PayloadLimits { row_bytes: 100, value_bytes: 50 };

    /// Returns the lines of the rows, and the name of the first row without column `n`.
    fn rows(text: &str) -> Result<Vec<String>, String> {
        let directory = tempfile::tempdir().unwrap();
        let payload = Payload::of_text(text, "p", directory.path(), LIMITS).map_err(|error| error.to_string())?;
        payload.require(&["n".to_owned()]).map_err(|error| error.to_string())?;
        let path = directory.path().join("rows");
        let rows = payload.persist(&path).unwrap();
        let lines: Vec<String> = std::fs::read_to_string(&path).unwrap().lines().map(str::to_owned).collect();
        assert_eq!(lines.len() as u64, rows);
        Ok(lines)
    }

    #[test]
    fn payloads_become_lines() {
        assert_eq!(
            rows("[{\"n\": 1.10,\n \"s\": \"a b\"}, {\"n\": 2}]").unwrap(),
            ["{\"n\":1.10,\"s\":\"a b\"}", "{\"n\":2}"]
        );
        assert_eq!(rows(" {\"n\": 12345678901234567890123.10, \"t\": \"},\\\"]\"} ").unwrap().len(), 1);
        assert_eq!(rows(" [ ] ").unwrap(), Vec::<String>::new());
        for (text, expected) in [
            ("[{\"m\":1}]", "p[0] lacks the required column 'n'"),
            ("{\"m\":1}", "p lacks the required column 'n'"),
            ("[{\"n\":1}, 2]", "p[1] is not an object"),
            ("3", "p must be a list of objects or one object"),
            ("", "p must be a list of objects or one object"),
            ("[{\"n\":1}", "p is not valid JSON: expected `,` or `]`, found the end at byte 8"),
            ("[{\"n\":1},]", "p is not valid JSON: expected a value, found `]` at byte 9"),
            ("[{\"n\":1}]]", "p is not valid JSON: expected the end, found `]` at byte 9"),
            ("[{\"n\":007}]", "p[0] is not valid JSON (it begins at byte 1)"),
            ("[{\"n\":1 2}]", "p[0] is not valid JSON (it begins at byte 1)"),
            ("[{\"n\":\"\\ud800\"}]", "p[0] is not valid JSON (it begins at byte 1)"),
            ("[{\"n\":[}]}]", "p[0] is not valid JSON (it begins at byte 1)"),
        ] {
            assert_eq!(rows(text).unwrap_err(), expected, "{text}");
        }
        let long = format!("[{{\"n\":\"{}\"}}]", "x".repeat(200));
        assert_eq!(rows(&long).unwrap_err(), "p[0] is larger than this service's limit of 100 bytes");
    }

    /// A reader that returns a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(to.len());
            to[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    #[test]
    fn rows_are_found_however_the_bytes_are_cut() {
        let text = " [ {\"n\":\"a\\\"]}\", \"m\" : [1, {}]} ,{\"n\": -1.5e3 }\n,{} ] ";
        for size in [1, 2, 3, 7, 1000] {
            let directory = tempfile::tempdir().unwrap();
            let mut scanner = Scanner::new(Slow(text.as_bytes(), size), LIMITS);
            let payload = scanner.rows("p", directory.path()).unwrap();
            scanner.end().unwrap();
            let lines = std::fs::read_to_string(payload.file.path()).unwrap();
            assert_eq!(lines, "{\"n\":\"a\\\"]}\",\"m\":[1,{}]}\n{\"n\":-1.5e3}\n{}\n", "{size}");
        }
    }
}
