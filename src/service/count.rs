//! Row counter of uploads, fed with the bytes while they are written to disk. It recognizes only what separates rows:
//! whether a row can be parsed is found out by the run that reads it.

use super::stored_names::Extension;

/// Resumable row counter of one file, a state machine over its bytes.
pub(super) struct RowCounter {
    format: RowFormat,
    /// Complete rows so far; for CSV including the header.
    rows: u64,
    /// True if the current row has a byte that is not white space.
    in_row: bool,
    /// True inside a quoted CSV field or a JSON string.
    quoted: bool,
    /// True after a backslash in a JSON string, or after a quote that may have closed a CSV field.
    escaped: bool,
    /// True at the start of a CSV field.
    is_field_start: bool,
    /// Open brackets and braces; 1 directly inside of the array.
    depth: u32,
}

/// Separation of rows in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RowFormat {
    /// A header, then one row per line break outside of quotes.
    Csv,
    /// One row per line that is not blank.
    Lines,
    /// One row per item of a single JSON array.
    Array,
    /// One row per value of JSON that follow one another.
    Values,
    /// JSON whose first character is still to come: `[` begins an array, anything else means values.
    Json,
}

impl RowCounter {
    /// Returns a counter for a file with this extension.
    pub(super) fn new(extension: Extension) -> Self {
        let format = match extension {
            Extension::Csv => RowFormat::Csv,
            Extension::Json => RowFormat::Json,
            Extension::Jsonl | Extension::Ndjson => RowFormat::Lines,
        };
        RowCounter { format, rows: 0, in_row: false, quoted: false, escaped: false, is_field_start: true, depth: 0 }
    }

    /// Consumes the next bytes of the file, in chunks of any size.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match self.format {
                RowFormat::Csv => self.csv(byte),
                RowFormat::Lines => self.line(byte),
                RowFormat::Array => self.array(byte),
                RowFormat::Values => self.value(byte),
                // The file may begin with a byte order mark, whose bytes are not ASCII.
                RowFormat::Json if byte.is_ascii_whitespace() || !byte.is_ascii() => {}
                RowFormat::Json => {
                    self.format = if byte == b'[' { RowFormat::Array } else { RowFormat::Values };
                    if byte == b'[' { self.depth = 1 } else { self.value(byte) }
                }
            }
        }
    }

    /// Returns the number of rows so far, including a last one without line break and excluding a CSV header.
    pub(super) fn rows(&self) -> u64 {
        let rows = self.rows + u64::from(self.in_row);
        if self.format == RowFormat::Csv { rows.saturating_sub(1) } else { rows }
    }

    fn csv(&mut self, byte: u8) {
        let is_at_start = std::mem::replace(&mut self.is_field_start, false);
        match byte {
            // A quote opens a field at its start only; an escaped one (`""`) closes and opens it again.
            b'"' if self.quoted => (self.quoted, self.escaped) = (false, true),
            b'"' if is_at_start || self.escaped => (self.quoted, self.escaped, self.in_row) = (true, false, true),
            b'\n' | b'\r' if !self.quoted => {
                self.rows += u64::from(self.in_row);
                (self.in_row, self.is_field_start, self.escaped) = (false, true, false);
            }
            b',' if !self.quoted => (self.in_row, self.is_field_start, self.escaped) = (true, true, false),
            _ => (self.in_row, self.escaped) = (true, false),
        }
    }

    /// Returns true for a byte inside a JSON string, which only its end and its escapes matter of.
    fn is_in_string(&mut self, byte: u8) -> bool {
        let is_inside = self.quoted;
        if is_inside {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.quoted = false,
                _ => {}
            }
        }
        is_inside
    }

    fn value(&mut self, byte: u8) {
        if self.is_in_string(byte) {
            return;
        }
        match byte {
            b'"' => self.quoted = true,
            b'[' | b'{' => self.depth += 1,
            b']' | b'}' => {
                self.depth = self.depth.saturating_sub(1);
                self.rows += u64::from(self.depth == 0);
            }
            _ => {}
        }
        // A value that does not end is one too.
        self.in_row = self.depth > 0;
    }

    fn line(&mut self, byte: u8) {
        if byte == b'\n' {
            self.rows += u64::from(self.in_row);
            self.in_row = false;
        } else if !byte.is_ascii_whitespace() {
            self.in_row = true;
        }
    }

    fn array(&mut self, byte: u8) {
        if self.is_in_string(byte) {
            return;
        }
        match byte {
            b'"' => self.quoted = true,
            // Brackets in strings never get here, so the depth is exact for valid JSON.
            b'[' | b'{' => self.depth += 1,
            b']' | b'}' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    self.rows += u64::from(self.in_row);
                    self.in_row = false;
                }
                return;
            }
            b',' if self.depth == 1 => {
                self.rows += u64::from(self.in_row);
                self.in_row = false;
                return;
            }
            _ => {}
        }
        self.in_row |= self.depth > 0 && !byte.is_ascii_whitespace();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_however_the_bytes_are_cut() {
        for (extension, text, rows) in [
            ("csv", "a,b\n1,2\n3,4\n", 2),
            ("csv", "a,b\r\n1,\"x\n\"\"y\"\r\n\r\n3,4", 2),
            ("csv", "a,b", 0),
            ("csv", "", 0),
            ("ndjson", "{}\n\n{\"a\":1}\r\n{}", 3),
            ("jsonl", " \n", 0),
            ("json", "\u{feff} [ {\"a\": \"},]\\\"\"}, {\"b\": [1, {}]} , {} ]\n", 3),
            ("json", "[]", 0),
            ("json", "[1]", 1),
            ("json", "{\"a\":1}\n{\"a\":2}\n", 2),
            ("json", "{\n \"a\": [\n1,\n{}],\n \"b\": \"}\\\"{\"\n}{\"a\":1}", 2),
            ("csv", "a\n5\" pipe\n6\" pipe\nx\n", 3),
            ("csv", "a,b\n\"x\ny\",5\"\n\"\"\"\n\",2\n", 2),
        ] {
            for size in [1, 3, 1000] {
                let mut counter = RowCounter::new(Extension::parse(extension).unwrap());
                text.as_bytes().chunks(size).for_each(|bytes| counter.feed(bytes));
                assert_eq!(counter.rows(), rows, "{extension} {text:?} by {size}");
            }
        }
    }
}
