//! The header of a CSV source: takes the first record off the first morsel and makes its names
//! distinct. Values are not looked at here.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::decode::malformed;
use super::dialect::{CsvDialect, CsvQuote, HeaderRecord};
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
    /// The record of the names as in the source, without its line end; empty if the source has none.
    pub record: Vec<u8>,
    /// Notes on renamed columns, for the report.
    pub notes: Vec<String>,
    /// Line breaks of the source up to the first record after the header.
    pub lines: u64,
}

/// A header that cannot be used.
#[derive(Clone, Debug)]
pub struct BadHeader {
    /// The header as a rejected record.
    pub rejected: RejectedRecord,
    /// An imperative that makes a header of it.
    pub hint: &'static str,
    /// True if it has more columns than the limit.
    pub is_too_wide: bool,
}

/// Takes the header off the first morsel of a source whose first record is the header, and returns it with the rest of
/// the morsel; see [`HeaderSearch::take`].
pub fn take_header(morsel: &Morsel, delimiter: u8) -> Result<Option<(Header, Morsel)>, BadHeader> {
    HeaderSearch::new(delimiter, &CsvDialect::default()).take(morsel)
}

/// The search for the header of one source, morsel by morsel.
#[derive(Clone, Debug)]
pub struct HeaderSearch {
    delimiter: u8,
    quote: CsvQuote,
    max_columns: usize,
    header: HeaderRecord,
    /// Records before the header that were not seen yet.
    records_before: u64,
    /// Line breaks before the next morsel.
    lines: u64,
    /// Without a header, the blank lines before the first record and the offset of the first: rows of one column, if the
    /// record has one.
    blank: Option<(u64, Vec<u8>)>,
}

impl HeaderSearch {
    /// Makes a search at the first byte after the lines that `dialect` skips, whose delimiter is not regarded.
    pub fn new(delimiter: u8, dialect: &CsvDialect) -> Self {
        let (header, lines) = (dialect.header, dialect.skip_lines);
        let records_before = header.records_before();
        let quote = dialect.quote;
        HeaderSearch { delimiter, quote, max_columns: MAX_COLUMNS, header, records_before, lines, blank: None }
    }

    /// Sets the most columns of a header. Default: [`MAX_COLUMNS`].
    #[must_use]
    pub fn with_max_columns(self, max_columns: usize) -> Self {
        HeaderSearch { max_columns, ..self }
    }

    /// Returns true if records were dropped on the way to a header that was not found yet.
    pub fn has_dropped_records(&self) -> bool {
        self.records_before < self.header.records_before()
    }

    /// Takes the header off the next morsel of the source, and returns it with the rest of the morsel, which may be
    /// empty. Blank lines before it are skipped; `None` if the morsel ends before the header, and is to be dropped.
    /// Without a header the rest begins with the first record, or with blank lines, also those of morsels before, that are
    /// records of one column.
    ///
    /// A header that is malformed, not UTF-8 or too wide is an error: without names there are no columns.
    pub fn take(&mut self, morsel: &Morsel) -> Result<Option<(Header, Morsel)>, BadHeader> {
        let bytes = morsel.records();
        let lines_to = |end: usize| memchr::memchr_iter(b'\n', &bytes[..end]).count() as u64;
        let mut splitter = Splitter::new(morsel, self.delimiter).with_quote(self.quote);
        let mut fields = Vec::new();
        let is_absent = self.header == HeaderRecord::Absent;
        let record = loop {
            fields.clear();
            match splitter.next_record(&mut fields) {
                None => {
                    match &mut self.blank {
                        Some((_, lines)) => lines.extend_from_slice(bytes),
                        none if is_absent => *none = Some((morsel.byte_offset, bytes.to_vec())),
                        _ => {}
                    }
                    self.lines += lines_to(bytes.len());
                    return Ok(None);
                }
                Some(record) if record.is_blank() => {}
                Some(_) if self.records_before > 0 => self.records_before -= 1,
                Some(record) => break record,
            }
        };
        let bad = |reject, hint| {
            let line = self.lines + lines_to(record.start);
            let len = record.end - record.start;
            let rejected = RejectedRecord { reject, byte: record.start, len, line, record: 0, is_misfit: false };
            BadHeader { rejected, hint, is_too_wide: false }
        };
        // Without quotes, a byte that is not UTF-8.
        let quote = self.quote.byte().unwrap_or(u8::MAX);
        // The line ends of old Mac files; under RFC 4180 the whole file would be one header.
        if let Some(at) = bare_carriage_return(&bytes[record.start..record.end], quote) {
            let reason = "a bare carriage return (CR) does not end a line".into();
            let hint = "convert the line endings to LF, as with `tr '\\r' '\\n' < FILE > NEW`";
            return Err(bad(Reject { offset: at, path: FieldPath::root(), reason }, hint));
        }
        if let Some(reject) = malformed(&record) {
            let hint = match is_absent {
                true => {
                    "correct the first record, by which the columns are counted; a quote in a cell is doubled: `\"\"`"
                }
                false => "correct the header, which names the columns; a quote in a name is doubled: `\"\"`",
            };
            return Err(bad(reject, hint));
        }
        if fields.len() > self.max_columns {
            let what = if is_absent { "first record" } else { "header" };
            let reason =
                format!("the {what} has {} columns, more than the limit of {}", fields.len(), self.max_columns).into();
            let hint =
                "check that the first line has the names of the columns, and that the delimiter is the right one";
            let reject = Reject { offset: 0, path: FieldPath::root(), reason };
            return Err(BadHeader { is_too_wide: true, ..bad(reject, hint) });
        }
        let text = if is_absent { Vec::new() } else { bytes[record.start..record.end].to_vec() };
        let (names, notes, cut) = if is_absent {
            let names = (1..=fields.len()).map(|i| format!("column_{i}").into()).collect::<Vec<_>>();
            // A blank line is a record of one column, and none of several.
            (names, Vec::new(), if fields.len() == 1 { 0 } else { record.start })
        } else {
            if let Err(e) = std::str::from_utf8(&bytes[record.start..record.end]) {
                let reason = "the header is not valid UTF-8".into();
                let hint = "specify its encoding, or convert the file to UTF-8, as with `iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW`";
                return Err(bad(Reject { offset: e.valid_up_to(), path: FieldPath::root(), reason }, hint));
            }
            // The whole record is valid UTF-8, and so is each field, which ends at ASCII bytes.
            let names =
                fields.iter().map(|field| String::from_utf8_lossy(&field.value_in_quotes(bytes, quote)).into_owned());
            let (names, notes) = distinct(names.collect());
            (names, notes, splitter.offset())
        };
        let mut lines = self.lines + lines_to(cut);
        if let Some((byte_offset, mut blank)) = self.blank.take()
            && fields.len() == 1
        {
            lines -= memchr::memchr_iter(b'\n', &blank).count() as u64;
            blank.extend_from_slice(bytes);
            let rest = Morsel::from_vec(blank, byte_offset, morsel.source_index);
            return Ok(Some((Header { names: names.into(), record: text, notes, lines }, rest)));
        }
        let rest = Morsel {
            bytes: morsel.bytes.slice(cut),
            len: morsel.len - cut,
            byte_offset: morsel.byte_offset + cut as u64,
            source_index: morsel.source_index,
        };
        Ok(Some((Header { names: names.into(), record: text, notes, lines }, rest)))
    }
}

/// Returns the offset of the first carriage return outside quotes that no line feed follows.
fn bare_carriage_return(header: &[u8], quote: u8) -> Option<usize> {
    let mut inside = false;
    memchr::memchr2_iter(b'\r', quote, header).find(|&at| {
        // A pair of quotes closes and opens again.
        inside ^= header[at] == quote;
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
    fn the_header_may_be_a_later_record_or_absent() {
        let search = |header| HeaderSearch::new(b',', &CsvDialect { header, skip_lines: 2, ..CsvDialect::default() });
        let taken = |header, morsels: &[&str]| {
            let mut search = search(header);
            let found = morsels
                .iter()
                .find_map(|text| search.take(&Morsel::from_vec(text.as_bytes().to_vec(), 0, 0)).expect("valid"));
            let (header, rest) = found?;
            let names: Vec<String> = header.names.iter().map(|name| name.to_string()).collect();
            Some((names.join(","), header.lines, String::from_utf8(rest.records().to_vec()).unwrap()))
        };
        let found = |names: &str, lines, rest: &str| Some((names.to_owned(), lines, rest.to_owned()));
        let third = HeaderRecord::Nth(3.try_into().unwrap());
        let text = "x\n\n\"y\n\",1,2\r\n a,b\n1,2\n";
        assert_eq!(taken(third, &[text]), found(" a,b", 2 + 5, "1,2\n"));
        assert_eq!(taken(third, &["x\n\n", "\"y\n\",1,2\r\n", " a,b\n1,2\n"]), found(" a,b", 2 + 5, "1,2\n"));
        assert_eq!(taken(third, &["x\ny\n"]), None);
        let absent = HeaderRecord::Absent;
        assert_eq!(taken(absent, &["\n\n1,\n2,3\n"]), found("column_1,column_2", 2 + 2, "1,\n2,3\n"));
        assert_eq!(taken(absent, &["\nx\n"]), found("column_1", 2, "\nx\n"));
        // Wherever the morsels end: blank lines are rows of one column, and none of several.
        assert_eq!(taken(absent, &["\n", "\r\n\n", "\nx\ny\n"]), found("column_1", 2, "\n\r\n\n\nx\ny\n"));
        assert_eq!(taken(absent, &["\n", "\nx,y\n"]), found("column_1,column_2", 2 + 2, "x,y\n"));
        let bad = search(third).take(&Morsel::from_vec(b"1\n2\n\"a\"b\n".to_vec(), 0, 0)).expect_err("malformed");
        assert_eq!((bad.rejected.byte, bad.rejected.line), (4, 4));
    }

    #[test]
    fn a_quoted_name_may_have_a_carriage_return() {
        assert_eq!(names("\"a\rb\",\"\"\"\r\",c\r\n1,2,3\r\n"), ["a\rb", "\"\r", "c"]);
    }
}
