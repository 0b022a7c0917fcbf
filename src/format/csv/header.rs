//! The header of a CSV source: takes the first record off the first morsel and makes its names
//! distinct. Values are not looked at here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::decode::malformed;
use super::split::Splitter;
use crate::column::{MAX_COLUMNS, Morsel};
use crate::format::Reject;
use crate::format::decode::RejectedRecord;
use crate::position::FieldPath;

/// The column names of a CSV source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Column names, distinct and none of them empty.
    pub names: Arc<[Arc<str>]>,
    /// Notes on renamed columns, for the report.
    pub notes: Vec<String>,
    /// Line breaks up to the first record after the header.
    pub lines: u64,
}

/// A header that cannot be used.
#[derive(Clone, Debug)]
pub struct BadHeader {
    /// The header as a rejected record.
    pub rejected: RejectedRecord,
    /// An imperative that makes a header of it.
    pub hint: &'static str,
}

/// Takes the header off the first morsel of a source, and returns it with the rest of the morsel, which
/// may be empty. Blank lines before it are skipped; `None` if the morsel has nothing else.
///
/// A header that is malformed, not UTF-8 or too wide is an error: without names there are no columns.
pub fn take_header(morsel: &Morsel, delimiter: u8) -> Result<Option<(Header, Morsel)>, BadHeader> {
    let mut splitter = Splitter::new(morsel, delimiter);
    let mut fields = Vec::new();
    let record = loop {
        fields.clear();
        match splitter.next_record(&mut fields) {
            None => return Ok(None),
            Some(record) if record.is_blank() => {}
            Some(record) => break record,
        }
    };
    let bytes = morsel.records();
    let bad = |reject, hint| {
        let line = memchr::memchr_iter(b'\n', &bytes[..record.start]).count() as u64;
        let len = record.end - record.start;
        BadHeader { rejected: RejectedRecord { reject, byte: record.start, len, line, record: 0 }, hint }
    };
    // The line ends of old Mac files; under RFC 4180 the whole file would be one header.
    if let Some(at) = bare_carriage_return(&bytes[record.start..record.end]) {
        let reason = "a bare carriage return (CR) does not end a line".into();
        let hint = "convert the line endings to LF, as with `tr '\\r' '\\n' < FILE > NEW`";
        return Err(bad(Reject { offset: at, path: FieldPath::root(), reason }, hint));
    }
    if let Some(reject) = malformed(&record) {
        return Err(bad(reject, "correct the header, which names the columns; a quote in a name is doubled: `\"\"`"));
    }
    if fields.len() > MAX_COLUMNS {
        let reason = format!("the header has {} columns, more than the limit of {MAX_COLUMNS}", fields.len()).into();
        let hint = "check that the first line has the names of the columns, and that the delimiter is the right one";
        return Err(bad(Reject { offset: 0, path: FieldPath::root(), reason }, hint));
    }
    if let Err(e) = std::str::from_utf8(&bytes[record.start..record.end]) {
        let reason = "the header is not valid UTF-8".into();
        let hint = "convert the file to UTF-8, as with `iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW`";
        return Err(bad(Reject { offset: e.valid_up_to(), path: FieldPath::root(), reason }, hint));
    }
    // The whole record is valid UTF-8, and so is each field, which ends at ASCII bytes.
    let names = fields.iter().map(|field| String::from_utf8_lossy(&field.value(bytes)).into_owned());
    let (names, notes) = distinct(names.collect());
    let cut = splitter.offset();
    let lines = memchr::memchr_iter(b'\n', &bytes[..cut]).count() as u64;
    let rest = Morsel {
        bytes: morsel.bytes.slice(cut),
        len: morsel.len - cut,
        byte_offset: morsel.byte_offset + cut as u64,
        source_index: morsel.source_index,
    };
    Ok(Some((Header { names: names.into(), notes, lines }, rest)))
}

/// Returns the offset of the first carriage return outside quotes that no line feed follows.
fn bare_carriage_return(header: &[u8]) -> Option<usize> {
    let mut inside = false;
    memchr::memchr2_iter(b'\r', b'"', header).find(|&at| {
        // A pair of quotes closes and opens again.
        inside ^= header[at] == b'"';
        !inside && header[at] == b'\r' && header.get(at + 1).is_some_and(|&next| next != b'\n')
    })
}

/// Makes names distinct, and returns notes on those changed. Empty names become `column_N`, N from 1;
/// repeated ones get `_2`, `_3` and so on appended, the first that no other column has.
fn distinct(names: Vec<String>) -> (Vec<Arc<str>>, Vec<String>) {
    let given: HashSet<String> = names.iter().cloned().collect();
    let mut taken: HashSet<String> = HashSet::with_capacity(names.len());
    let mut notes = Vec::new();
    // The last number tried for each repeated name, so that many equal names take linear time.
    let mut counts: HashMap<String, u64> = HashMap::new();
    let mut out = Vec::with_capacity(names.len());
    for (i, name) in names.into_iter().enumerate() {
        // Names that occur later in the header are not free either: those columns keep them.
        let free = |name: &str| !taken.contains(name) && !given.contains(name);
        let new = if name.is_empty() {
            let plain = format!("column_{}", i + 1);
            if free(&plain) { plain } else { numbered(&plain, &mut counts, free) }
        } else if taken.contains(&name) {
            numbered(&name, &mut counts, free)
        } else {
            taken.insert(name.clone());
            out.push(name.into());
            continue;
        };
        notes.push(match name.as_str() {
            "" => format!("column {} has no name in the header; it is named `{new}`", i + 1),
            _ => format!("duplicate column `{name}` in the header; column {} is named `{new}`", i + 1),
        });
        taken.insert(new.clone());
        out.push(new.into());
    }
    (out, notes)
}

fn numbered(name: &str, counts: &mut HashMap<String, u64>, free: impl Fn(&str) -> bool) -> String {
    let n = counts.entry(name.to_owned()).or_insert(1);
    loop {
        // Names are never released, so that no smaller number becomes free again.
        *n += 1;
        let candidate = format!("{name}_{n}");
        if free(&candidate) {
            return candidate;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &[u8]) -> Result<Option<(Header, Morsel)>, RejectedRecord> {
        take_header(&Morsel::from_vec(text.to_vec(), 10, 3), b',').map_err(|bad| bad.rejected)
    }

    fn names(text: &str) -> Vec<String> {
        let (header, _) = header(text.as_bytes()).expect("valid").expect("there");
        header.names.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn the_rest_keeps_its_position() {
        let (header, rest) = header(b"\r\n\na,\"b\n\"\"c\"\"\"\r\n1,2\n").expect("valid").expect("there");
        assert_eq!(header.names.iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "b\n\"c\""]);
        assert_eq!((header.lines, header.notes.len()), (4, 0));
        assert_eq!((rest.records(), rest.byte_offset, rest.source_index), (&b"1,2\n"[..], 10 + 16, 3));
        assert!(rest.bytes.len() >= rest.len + Morsel::PADDING);
    }

    #[test]
    fn names_are_made_distinct() {
        assert_eq!(names("a,b,a,,a"), ["a", "b", "a_2", "column_4", "a_3"]);
        assert_eq!(names("a,a,a_2,,column_4"), ["a", "a_3", "a_2", "column_4_2", "column_4"]);
        let (header, rest) = header(b",x,x\n").expect("valid").expect("there");
        assert_eq!(
            header.notes,
            [
                "column 1 has no name in the header; it is named `column_1`",
                "duplicate column `x` in the header; column 3 is named `x_2`",
            ]
        );
        assert_eq!(rest.len, 0);
    }

    #[test]
    fn no_header_and_bad_headers() {
        assert_eq!(header(b"").expect("valid").map(|_| ()), None);
        assert_eq!(header(b"\n\r\n").expect("valid").map(|_| ()), None);
        let bad = header(b"\na,\"b\"c\n").expect_err("text behind a quote");
        assert_eq!((bad.byte, bad.len, bad.line, bad.reject.offset), (1, 6, 1, 5));
        assert_eq!(bad.reject.reason, "text after the closing quote");
        let bad = header(b"a,\xff\n").expect_err("not UTF-8");
        assert_eq!((bad.reject.offset, &*bad.reject.reason), (2, "the header is not valid UTF-8"));
        let bad = header(b"a,b\r1,2\r").expect_err("CR line ends");
        assert_eq!(bad.reject.offset, 3);
        assert_eq!(bad.reject.reason, "a bare carriage return (CR) does not end a line");
        let bad = header(b"\"a\",\"b\"\r\"1\",\"2\"\r").expect_err("CR line ends of quoted names");
        assert_eq!(bad.reject.offset, 7);
    }

    #[test]
    fn a_quoted_name_may_have_a_carriage_return() {
        assert_eq!(names("\"a\rb\",\"\"\"\r\",c\r\n1,2,3\r\n"), ["a\rb", "\"\r", "c"]);
    }
}
