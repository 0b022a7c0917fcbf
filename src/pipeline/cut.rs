//! Cuts the records of sources into parts of whole records, in order: files that are inputs of one run each. Decodes no
//! value, and holds one morsel at a time.
//!
//! A part is NDJSON or CSV as in RFC 4180, in UTF-8. Records that are so already are copied byte for byte; elements of
//! JSON arrays and values over several lines become lines, and cells of another dialect are written anew. Parts of CSV
//! begin with the header of their source. Blank lines are not copied. The cut depends on the records alone, never on
//! how the bytes arrived, so that the same sources give the same parts again.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::Error;
use super::input::{CsvSource, Item, SourceInfo, SourceReader};
use super::plan::Limits;
use super::progress::Control;
use crate::column::Morsel;
use crate::format::csv::encode::write_text_cell;
use crate::format::csv::split::{Span, Splitter};
use crate::format::csv::{CsvDialect, CsvQuote, Header};
use crate::format::frame::{BufferPool, Oversized};
use crate::format::{Format, Reject, json_values};
use crate::position::{FieldPath, Position};
use crate::source::Source;

/// The bounds of one part. Without both, all records are one part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PartLimits {
    /// Records of a part, at most.
    pub rows: Option<u64>,
    /// Bytes of a part, at most; a part of one record may have more.
    pub bytes: Option<u64>,
}

/// The format of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartFormat {
    /// CSV as in RFC 4180, with a header.
    Csv,
    /// One JSON value on each line.
    Ndjson,
}

/// The facts about a part that was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Number of its first record among those of all parts, from 0.
    pub first_row: u64,
    /// Records in it.
    pub rows: u64,
    /// Bytes in it, with its header.
    pub bytes: u64,
    /// Its format.
    pub format: PartFormat,
}

/// Cuts the records of sources into parts.
pub struct Cutter {
    reader: SourceReader,
    limits: PartLimits,
    max_record_bytes: usize,
    pool: BufferPool,
    /// Records that were read and are in no part yet.
    waiting: Option<Waiting>,
    /// The next record.
    place: Place,
    /// A source without records whose header is known; for the only part, if none of the sources has records.
    empty: Option<Arc<SourceInfo>>,
    rows: u64,
    parts: u64,
}

/// The rest of a morsel of whole records.
struct Waiting {
    morsel: Morsel,
    info: Arc<SourceInfo>,
    /// Offset of the first record that is in no part.
    at: usize,
}

/// A position in a source.
#[derive(Default)]
struct Place {
    /// Index of the source; `None` before the first.
    source: Option<usize>,
    lines: u64,
    records: u64,
}

/// A part that is being written.
struct OpenPart<'a> {
    out: &'a mut dyn Write,
    part: Part,
    /// Header of all its records, and that as a line of RFC 4180; `None` for NDJSON.
    header: Option<(Header, Vec<u8>)>,
}

impl OpenPart<'_> {
    /// Writes a record and its line end, after the header if it is the first. Returns false without writing it if it
    /// belongs to the next part.
    fn push(&mut self, record: &[u8], limits: PartLimits) -> Result<bool, Error> {
        let Part { rows, bytes, .. } = self.part;
        let is_full = limits.rows.is_some_and(|limit| rows >= limit)
            || rows > 0 && limits.bytes.is_some_and(|limit| bytes + record.len() as u64 + 1 > limit);
        if is_full {
            return Ok(false);
        }
        if rows == 0 {
            self.write_header()?;
        }
        self.write(record)?;
        self.write(b"\n")?;
        self.part.rows += 1;
        Ok(true)
    }

    fn write_header(&mut self) -> Result<(), Error> {
        let header = self.header.as_mut().map(|(_, text)| std::mem::take(text));
        header.map_or(Ok(()), |text| self.write(&text))
    }

    /// Makes the records of a source the next ones. Returns false if they belong to the next part.
    fn continue_with(&mut self, info: &SourceInfo) -> bool {
        let Some(csv) = &info.csv else { return true };
        match &self.header {
            Some((header, _)) if header.names == csv.header.names => true,
            Some(_) if self.part.rows > 0 => false,
            _ => {
                self.part.format = PartFormat::Csv;
                self.header = Some((csv.header.clone(), header_line(csv)));
                true
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.part.bytes += bytes.len() as u64;
        self.out.write_all(bytes).map_err(|cause| Error::Write { path: PathBuf::from("a temporary file"), cause })
    }
}

impl Cutter {
    /// Creates a cutter of `sources`, which are opened one after the other.
    pub fn new(sources: Vec<Source>, part_limits: PartLimits, limits: &Limits, control: &Control) -> Self {
        let pool = BufferPool::new(limits.morsel_bytes, 1);
        Cutter {
            // A part is complete as soon as its records are there, also if the source pauses behind them.
            reader: SourceReader::new(sources, limits, true, pool.clone(), control),
            limits: part_limits,
            max_record_bytes: limits.max_record_bytes,
            pool,
            waiting: None,
            place: Place::default(),
            empty: None,
            rows: 0,
            parts: 0,
        }
    }

    /// Writes the next part to `out`; `None` after the last. Sources without records give one part without records.
    /// Blocks while it reads. After an error, the cutter must not be used again.
    ///
    /// # Errors
    ///
    /// Those of reading the sources; [`Error::BadRecord`] for a record that is too long or has a quote that is not
    /// closed, because it is unknown where it ends; [`Error::Unencodable`] for Parquet and Arrow; [`Error::Write`].
    pub fn next(&mut self, out: &mut dyn Write) -> Result<Option<Part>, Error> {
        let part = Part { first_row: self.rows, rows: 0, bytes: 0, format: PartFormat::Ndjson };
        let mut open = OpenPart { out, part, header: None };
        loop {
            if self.limits.rows.is_some_and(|rows| open.part.rows >= rows) {
                break;
            }
            let Some(mut waiting) = self.next_records()? else { break };
            let is_cut = self.take(&mut waiting, &mut open)?;
            if waiting.at < waiting.morsel.len {
                self.waiting = Some(waiting);
            } else {
                self.pool.recycle(waiting.morsel.bytes);
            }
            if is_cut {
                break;
            }
        }
        if open.part.rows == 0 {
            // Sources without any record are one input all the same.
            if self.parts > 0 {
                return Ok(None);
            }
            if let Some(info) = self.empty.take() {
                open.continue_with(&info);
                open.write_header()?;
            }
        }
        self.parts += 1;
        self.rows += open.part.rows;
        Ok(Some(open.part))
    }

    /// Returns the next records; `None` at the end of the last source.
    fn next_records(&mut self) -> Result<Option<Waiting>, Error> {
        if let Some(waiting) = self.waiting.take() {
            return Ok(Some(waiting));
        }
        loop {
            match self.reader.next()? {
                None => return Ok(None),
                Some(Item::Morsel(morsel, info)) => {
                    let (morsel, info) = match info.format {
                        // Lines of their own, with carriage returns inside.
                        Format::JsonValues => (json_values::as_lines(&morsel).morsel, info),
                        _ => (morsel, info),
                    };
                    self.enter(&info);
                    return Ok(Some(Waiting { morsel, info, at: 0 }));
                }
                Some(Item::Oversized(oversized, info)) => {
                    self.enter(&info);
                    return Err(self.too_long(&oversized, &info));
                }
                Some(Item::Rows(_, info)) => {
                    return Err(Error::Unencodable(format!(
                        "{}: Parquet and Arrow cannot be cut into inputs of runs",
                        info.name
                    )));
                }
                Some(Item::SourceEnd(info)) => {
                    if self.rows == 0 && info.csv.is_some() {
                        self.empty.get_or_insert(info);
                    }
                }
            }
        }
    }

    /// Begins to count lines and records anew if the records of another source follow.
    fn enter(&mut self, info: &SourceInfo) {
        if self.place.source != Some(info.index) {
            let lines = info.csv.as_ref().map_or(0, |csv| csv.header.lines);
            self.place = Place { source: Some(info.index), lines, records: 0 };
        }
    }

    fn too_long(&self, oversized: &Oversized, info: &SourceInfo) -> Error {
        self.bad_record(info, oversized.byte_offset, Reject::too_long(oversized.len, self.max_record_bytes))
    }

    fn bad_record(&self, info: &SourceInfo, byte: u64, reject: Reject) -> Error {
        let position =
            Position { source: info.name.clone(), byte, line: self.place.lines + 1, record: self.place.records };
        Error::BadRecord { position, reject }
    }

    /// Moves records from `waiting` to `open` until there is none, or the part is complete, which is returned.
    fn take(&mut self, waiting: &mut Waiting, open: &mut OpenPart<'_>) -> Result<bool, Error> {
        let info = Arc::clone(&waiting.info);
        if !open.continue_with(&info) {
            return Ok(true);
        }
        match &info.csv {
            Some(csv) => {
                let (delimiter, quote) = (csv.decoder.delimiter(), csv.decoder.quote());
                self.take_csv(waiting, open, delimiter, quote)
            }
            None => self.take_lines(waiting, open),
        }
    }

    fn take_lines(&mut self, waiting: &mut Waiting, open: &mut OpenPart<'_>) -> Result<bool, Error> {
        let is_rewritten = waiting.info.format.is_rewritten();
        let line_break = waiting.info.line_break();
        let records = waiting.morsel.records();
        let mut compact = Vec::new();
        while waiting.at < records.len() {
            let rest = &records[waiting.at..];
            let end = memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
            let line = &rest[..end];
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            if !text.trim_ascii().is_empty() {
                let text = if is_rewritten {
                    compact.clear();
                    json_values::compact(text, &mut compact);
                    &compact
                } else {
                    text
                };
                if !open.push(text, self.limits)? {
                    return Ok(true);
                }
                self.place.records += 1;
            }
            self.place.lines += memchr::memchr_iter(line_break, line).count() as u64;
            waiting.at += end;
        }
        Ok(false)
    }

    fn take_csv(
        &mut self,
        waiting: &mut Waiting,
        open: &mut OpenPart<'_>,
        delimiter: u8,
        quote: CsvQuote,
    ) -> Result<bool, Error> {
        let columns = waiting.info.csv.as_ref().map_or(0, |csv| csv.header.names.len());
        let is_verbatim = is_rfc_4180(delimiter, quote);
        let rest = waiting.morsel.rest(waiting.at);
        let bytes = rest.records();
        let mut splitter = Splitter::new(&rest, delimiter).with_quote(quote);
        let (mut fields, mut cells) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Some(record) = splitter.next_record(&mut fields) {
            // A blank line is a record of one column, and none of several.
            if !(record.is_blank() && columns > 1) {
                if let Some((offset, Splitter::OPEN_QUOTE)) = record.malformed {
                    let (offset, reason) = (offset - record.start, Splitter::OPEN_QUOTE.into());
                    let byte = rest.byte_offset + record.start as u64;
                    let reject = Reject { offset, path: FieldPath::root(), reason };
                    return Err(self.bad_record(&waiting.info, byte, reject));
                }
                cells.clear();
                let text = if is_verbatim {
                    &bytes[record.start..record.end]
                } else {
                    write_cells(bytes, &fields, quote, &mut cells);
                    &cells
                };
                if !open.push(text, self.limits)? {
                    waiting.at += at;
                    return Ok(true);
                }
                self.place.records += 1;
            }
            let end = splitter.offset().min(bytes.len());
            self.place.lines += memchr::memchr_iter(b'\n', &bytes[at..end]).count() as u64;
            at = end;
            fields.clear();
        }
        waiting.at = waiting.morsel.len;
        Ok(false)
    }
}

/// Returns the header of a source as a line of RFC 4180: its own text if it is that.
fn header_line(csv: &CsvSource) -> Vec<u8> {
    let mut line = Vec::new();
    if is_rfc_4180(csv.decoder.delimiter(), csv.decoder.quote()) && !csv.header.record.is_empty() {
        line.extend_from_slice(&csv.header.record);
    } else {
        for (i, name) in csv.header.names.iter().enumerate() {
            if i > 0 {
                line.push(b',');
            }
            write_text_cell(name.as_bytes(), false, &mut line);
        }
    }
    line.push(b'\n');
    line
}

fn is_rfc_4180(delimiter: u8, quote: CsvQuote) -> bool {
    delimiter == b',' && quote == CsvDialect::default().quote
}

/// Appends the cells of a record of another dialect as a record of RFC 4180.
fn write_cells(bytes: &[u8], fields: &[Span], quote: CsvQuote, out: &mut Vec<u8>) {
    for (i, field) in fields.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        // Without quotes no field is quoted.
        let value = field.value_in_quotes(bytes, quote.byte().unwrap_or(b'"'));
        write_text_cell(&value, field.is_quoted(), out);
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    const LIMITS: [PartLimits; 5] = [
        PartLimits { rows: None, bytes: None },
        PartLimits { rows: Some(1), bytes: None },
        PartLimits { rows: Some(3), bytes: None },
        PartLimits { rows: None, bytes: Some(40) },
        PartLimits { rows: Some(2), bytes: Some(60) },
    ];

    /// Cuts `sources`, each a name and its bytes, in morsels of `morsel_bytes`.
    fn cut(sources: &[(&str, &str)], limits: PartLimits, morsel_bytes: usize) -> Result<Vec<(Part, String)>, Error> {
        let open = |(name, text): &(&str, &str)| Source::reader(*name, io::Cursor::new(text.as_bytes().to_vec()));
        let plan_limits = Limits { morsel_bytes, max_record_bytes: 1000, ..Limits::default() };
        let mut cutter = Cutter::new(sources.iter().map(open).collect(), limits, &plan_limits, &Control::new());
        let mut parts = Vec::new();
        loop {
            let mut text = Vec::new();
            let Some(part) = cutter.next(&mut text)? else { return Ok(parts) };
            assert_eq!(part.bytes, text.len() as u64);
            parts.push((part, String::from_utf8(text).unwrap()));
        }
    }

    /// Checks that every cut gives `header` and `records`, in order and within the limits.
    #[track_caller]
    fn check(sources: &[(&str, &str)], header: &str, records: &[&str]) {
        for limits in LIMITS {
            for morsel_bytes in [1, 10, 64, 1 << 20] {
                let parts = cut(sources, limits, morsel_bytes).unwrap();
                let mut all = String::new();
                let mut rows = 0;
                for (part, text) in &parts {
                    all.push_str(text.strip_prefix(header).unwrap());
                    assert_eq!(part.first_row, rows);
                    rows += part.rows;
                    assert!(limits.rows.is_none_or(|limit| part.rows <= limit));
                    assert!(limits.bytes.is_none_or(|limit| part.bytes <= limit || part.rows == 1), "{text}");
                }
                assert_eq!(all, records.iter().map(|record| format!("{record}\n")).collect::<String>());
                assert_eq!(rows, records.len() as u64);
                let expected_parts = match limits {
                    PartLimits { rows: None, bytes: None } => 1,
                    PartLimits { rows: Some(rows), bytes: None } => records.len().div_ceil(rows as usize),
                    _ => parts.len(),
                };
                assert_eq!(parts.len(), expected_parts);
            }
        }
    }

    #[test]
    fn records_are_copied_byte_for_byte() {
        let csv = "id,\"a \"\"b\"\"\",a,a\r\n1,\"x\ny\",,\"\"\r\n\r\n02, z ,\"q\"\"\",1.50\n3,,,\n4,5\" pipe,é,x";
        let records = ["1,\"x\ny\",,\"\"", "02, z ,\"q\"\"\",1.50", "3,,,", "4,5\" pipe,é,x"];
        check(&[("in.csv", csv)], "id,\"a \"\"b\"\"\",a,a\n", &records);
        let ndjson = "{\"a\": 1.50, \"a\":2}\n\n {\"b\":\"\\u00e9\"}\r\n{broken\n[1]\n{\"c\":3}";
        let records = ["{\"a\": 1.50, \"a\":2}", " {\"b\":\"\\u00e9\"}\r", "{broken", "[1]", "{\"c\":3}"];
        check(&[("in.ndjson", ndjson)], "", &records);
    }

    #[test]
    fn json_of_several_lines_becomes_lines() {
        let array = "[\n  {\"a\": 1,\n \"b\": \"x y\"},\n\n {\"a\": [1,\n2]}\n]";
        check(&[("in.json", array)], "", &[r#"{"a":1,"b":"x y"}"#, r#"{"a":[1,2]}"#]);
        let values = "{\n \"a\": 1\n}\n{\n \"a\": \"\\n x\"\n}\n{}";
        check(&[("in.json", values)], "", &[r#"{"a":1}"#, r#"{"a":"\n x"}"#, "{}"]);
    }

    #[test]
    fn cells_of_other_dialects_are_written_as_rfc_4180() {
        let tsv = "id\tna,me\n1\t\"x\ty\"\n2\t5,0\n3\t\"\"\n4\t\n";
        check(&[("in.tsv", tsv)], "id,\"na,me\"\n", &["1,\"x\ty\"", "2,\"5,0\"", "3,\"\"", "4,"]);
        check(&[("in.csv", "a;b;c\n1,5;x;y\n2;\"z\";w\n")], "a,b,c\n", &["\"1,5\",x,y", "2,\"z\",w"]);
    }

    #[test]
    fn several_sources_are_one_sequence() {
        check(
            &[("a.csv", "x,y\n1,2\n"), ("b.csv", "x,y\r\n3,4\r\n5,6"), ("c.csv", "x,y\n")],
            "x,y\n",
            &["1,2", "3,4", "5,6"],
        );
        check(
            &[("a.ndjson", "{\"a\":1}"), ("b.ndjson", ""), ("c.json", "[{\"b\":2}]")],
            "",
            &["{\"a\":1}", "{\"b\":2}"],
        );
        // Records under another header begin a part.
        let parts = cut(&[("a.csv", "x,y\n1,2\n"), ("b.csv", "y,x\n3,4\n")], LIMITS[0], 64).unwrap();
        assert_eq!(parts.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), ["x,y\n1,2\n", "y,x\n3,4\n"]);
        // A source without records leaves no header behind.
        check(&[("a.csv", "x,z\n\n"), ("b.csv", "x,y\n3,4\n")], "x,y\n", &["3,4"]);
    }

    #[test]
    fn an_input_without_records_is_one_part() {
        for (sources, expected) in
            [(&[("a.csv", "x,y\n")][..], "x,y\n"), (&[("a.ndjson", "")], ""), (&[("a.csv", "")], "")]
        {
            let parts = cut(sources, LIMITS[2], 64).unwrap();
            assert_eq!(
                parts.iter().map(|(part, text)| (part.rows, text.as_str())).collect::<Vec<_>>(),
                [(0, expected)]
            );
        }
    }

    #[test]
    fn records_without_a_certain_end_are_errors_with_their_place() {
        let error = |name, text: &str| cut(&[(name, text)], LIMITS[1], 64).unwrap_err().to_string();
        let open = error("in.csv", "a,b\n1,2\n3,\"x\n4,5\n");
        assert!(open.starts_with("in.csv line 3 (byte 8)") && open.contains("the quote is not closed"), "{open}");
        let long = error("in.ndjson", &format!("{{}}\n\"{}\"\n", "x".repeat(2000)));
        assert!(long.starts_with("in.ndjson line 2 (byte 3)") && long.contains("maximum record size"), "{long}");
    }
}
