//! Finds a quote that is still open at the end of a CSV file. Looks at quotes, delimiters and line ends alone.

use std::io::{self, BufRead, BufReader, Read};

/// Returns the line, from 1, of the quote that is open at the end of `source`; `None` if all are closed. Rows after an
/// open quote would be part of its field.
pub fn line_of_open_quote(source: impl Read, delimiter: u8) -> io::Result<Option<u64>> {
    let mut source = BufReader::with_capacity(1 << 16, source);
    let (mut line, mut open) = (1, None);
    // A field begins here, or a closing quote was read, after which a quote makes a pair.
    let (mut begins, mut closed_at) = (true, None);
    loop {
        let bytes = match source.fill_buf() {
            Ok([]) => return Ok(open),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for &byte in bytes {
            match (byte, open) {
                (b'"', Some(at)) => (open, closed_at) = (None, Some(at)),
                (b'"', None) if closed_at.is_some() => open = closed_at.take(),
                (b'"', None) if begins => open = Some(line),
                (_, Some(_)) => {}
                _ => closed_at = None,
            }
            begins = open.is_none() && (byte == delimiter || byte == b'\n');
            line += u64::from(byte == b'\n');
        }
        let len = bytes.len();
        source.consume(len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_quote_that_begins_a_field_opens_it() {
        let line = |text: &str| line_of_open_quote(text.as_bytes(), b';').unwrap();
        assert_eq!(line(""), None);
        assert_eq!(line("a;b\n1;\"x\ny\"\n5\" pipe;2\n"), None);
        assert_eq!(line("a\n\"say \"\"hi\"\"\""), None);
        assert_eq!(line("a;b\n1;\"unclosed\n"), Some(2));
        assert_eq!(line("a\n\"x\ny\";\"\"\"\n\n"), Some(3));
        assert_eq!(line("\"a\" \"b\n"), None);
        assert_eq!(line("\"\"\""), Some(1));
    }
}
