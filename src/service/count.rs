//! The number of rows of an upload, counted while its bytes pass on their way to the disk. Nothing is parsed beyond
//! what tells rows apart: whether each can be read is found out by the run.

/// Counts the rows of one file.
pub(super) struct RowCounter {
    format: Counted,
    rows: u64,
    /// Something that is not white space has been seen of the row at hand.
    begun: bool,
    quoted: bool,
    escaped: bool,
    /// Open brackets of the array's text.
    depth: u32,
}

/// How rows are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counted {
    /// A header, then one row per line that is not in quotes.
    Csv,
    /// One row per line that is not empty.
    Lines,
    /// The items of one array, or, where the first sign is no bracket, objects one after the other.
    Array,
    /// Told by its first sign.
    Json,
}

impl RowCounter {
    /// A counter for a file with this extension, in lower case.
    pub(super) fn new(extension: &str) -> Self {
        let format = match extension {
            "csv" => Counted::Csv,
            "json" => Counted::Json,
            _ => Counted::Lines,
        };
        RowCounter { format, rows: 0, begun: false, quoted: false, escaped: false, depth: 0 }
    }

    /// Takes the next bytes, cut anywhere.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match self.format {
                Counted::Csv => self.csv(byte),
                Counted::Lines => self.line(byte),
                Counted::Array => self.array(byte),
                // A mark of the byte order may come first.
                Counted::Json if byte.is_ascii_whitespace() || !byte.is_ascii() => {}
                Counted::Json => {
                    self.format = if byte == b'[' { Counted::Array } else { Counted::Lines };
                    self.depth = u32::from(byte == b'[');
                    self.begun = byte != b'[';
                }
            }
        }
    }

    /// Rows up to here, with one that has no line break at its end.
    pub(super) fn rows(&self) -> u64 {
        let rows = self.rows + u64::from(self.begun);
        if self.format == Counted::Csv { rows.saturating_sub(1) } else { rows }
    }

    fn csv(&mut self, byte: u8) {
        match byte {
            // Two in a row end and begin again: the same.
            b'"' => {
                self.quoted = !self.quoted;
                self.begun = true;
            }
            b'\n' | b'\r' if !self.quoted => {
                self.rows += u64::from(self.begun);
                self.begun = false;
            }
            _ => self.begun = true,
        }
    }

    fn line(&mut self, byte: u8) {
        if byte == b'\n' {
            self.rows += u64::from(self.begun);
            self.begun = false;
        } else if !byte.is_ascii_whitespace() {
            self.begun = true;
        }
    }

    fn array(&mut self, byte: u8) {
        if self.quoted {
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.quoted = false,
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => self.quoted = true,
            b'[' | b'{' => self.depth += 1,
            b']' | b'}' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    self.rows += u64::from(self.begun);
                    self.begun = false;
                }
                return;
            }
            b',' if self.depth == 1 => {
                self.rows += u64::from(self.begun);
                self.begun = false;
                return;
            }
            _ => {}
        }
        self.begun |= self.depth > 0 && !byte.is_ascii_whitespace();
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
        ] {
            for size in [1, 3, 1000] {
                let mut counter = RowCounter::new(extension);
                text.as_bytes().chunks(size).for_each(|bytes| counter.feed(bytes));
                assert_eq!(counter.rows(), rows, "{extension} {text:?} by {size}");
            }
        }
    }
}
