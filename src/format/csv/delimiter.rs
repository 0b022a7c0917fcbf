//! Inference of the delimiter of a CSV source from its header and its first records, for sources where it is not
//! specified. Reads nothing itself: the caller adds bytes until they suffice.
//!
//! The comma is kept unless it does not split the header at all. Another delimiter replaces it only if that is certain:
//! it splits the header and all complete records of the sample, by RFC 4180, into the same number of fields. The sample
//! is a fixed part of the source, so that the result depends neither on chunks nor on the size of morsels.

use super::dialect::{CsvDialect, CsvQuote};
use super::split::{RecordBounds, Span, Splitter};
use crate::column::Morsel;

/// The delimiters that are considered besides the comma.
const OTHERS: [u8; 3] = [b';', b'\t', b'|'];

/// Bytes of the sample at most, and of the header: decompressed, with a byte order mark. By eye.
const SAMPLE_BYTES: usize = 256 << 10;

/// Records of the sample at most, without the header. Few, because a pipe with such a header waits for them.
const SAMPLE_RECORDS: usize = 100;

/// An inferred delimiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InferredDelimiter {
    /// The comma, without doubt: it splits the header, or no other delimiter does.
    Comma,
    /// This one instead of the comma, for certain.
    Other(u8),
    /// The comma is kept; the header is one column that contains this other delimiter.
    Doubtful(u8),
}

/// Infers the delimiter from the first bytes of a source, `ended` if they are all, by the header and the quote of `dialect`;
/// without a header, the first record is taken for it. `None` if more bytes are needed.
pub fn infer_delimiter(head: &[u8], ended: bool, dialect: &CsvDialect) -> Option<InferredDelimiter> {
    // Beyond the sample in any case.
    let before = usize::try_from(dialect.header.records_before()).unwrap_or(SAMPLE_BYTES);
    // Bytes beyond the sample are cut off: how many there are depends on the chunks.
    let is_all = ended && head.len() <= SAMPLE_BYTES;
    let is_enough = ended || head.len() >= SAMPLE_BYTES;
    let head = &head[..head.len().min(SAMPLE_BYTES)];
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let sample = Morsel::from_vec(text.to_vec(), 0, 0);
    let sample = Sample { morsel: &sample, quote: dialect.quote, before, is_all };
    let mut records = sample.records(b',');
    let header = match records.next() {
        Some(header) if header.is_complete || is_enough => header,
        // A header beyond the sample, or none, is read with commas.
        None if is_enough => return Some(InferredDelimiter::Comma),
        _ => return None,
    };
    // A header that commas split badly, such as `"a";"b,c"`, is not one of commas.
    if header.fields > 1 && !header.is_malformed {
        return Some(InferredDelimiter::Comma);
    }
    let mut candidates = OTHERS.iter().filter(|&&other| dialect.quote.byte() != Some(other)).filter_map(|&other| {
        let header = sample.records(other).next()?;
        (header.fields > 1 && !header.is_malformed).then_some(other)
    });
    let Some(first) = candidates.next() else { return Some(InferredDelimiter::Comma) };
    let doubtful = Some(InferredDelimiter::Doubtful(first));
    // Excel's line that names the delimiter is no header.
    if !header.is_complete || text[header.bounds.start..header.bounds.end].starts_with(b"sep=") {
        return doubtful;
    }
    let (mut certain, mut undecided) = (Vec::new(), false);
    for other in std::iter::once(first).chain(candidates) {
        match splits_all(sample, other, is_enough) {
            Some(true) => certain.push(other),
            Some(false) => {}
            None => undecided = true,
        }
    }
    match certain[..] {
        _ if undecided => None,
        [only] => Some(InferredDelimiter::Other(only)),
        _ => doubtful,
    }
}

/// Returns true if `delimiter` splits all records of the sample into as many fields as the header. `None` if more bytes are
/// needed.
fn splits_all(sample: Sample<'_>, delimiter: u8, is_enough: bool) -> Option<bool> {
    let mut records = sample.records(delimiter);
    let header = records.next()?;
    for _ in 0..SAMPLE_RECORDS {
        match records.next() {
            Some(record) if record.is_complete => {
                if record.is_malformed || record.fields != header.fields {
                    return Some(false);
                }
            }
            _ => return is_enough.then_some(true),
        }
    }
    Some(true)
}

/// Returns a delimiter in words for messages.
pub fn delimiter_name(delimiter: u8) -> String {
    match delimiter {
        b'\t' => "a tab".to_owned(),
        other => format!("`{}`", char::from(other)),
    }
}

/// Returns the first of the considered delimiters in the name of an only column; `None` if it contains none.
pub(super) fn delimiter_in(name: &str) -> Option<u8> {
    OTHERS.into_iter().find(|&other| name.as_bytes().contains(&other))
}

/// The first bytes of a source.
#[derive(Clone, Copy)]
struct Sample<'a> {
    morsel: &'a Morsel,
    quote: CsvQuote,
    /// Records before the header.
    before: usize,
    /// True if it is the whole source.
    is_all: bool,
}

impl<'a> Sample<'a> {
    /// Returns the header and the records after it.
    fn records(self, delimiter: u8) -> impl Iterator<Item = Record> + use<'a> {
        let splitter = Splitter::new(self.morsel, delimiter).with_quote(self.quote);
        Records { splitter, sample: self.morsel, is_all: self.is_all, fields: Vec::new() }.skip(self.before)
    }
}

/// Iterator over the records of the sample that are not blank.
struct Records<'a> {
    splitter: Splitter<'a>,
    sample: &'a Morsel,
    is_all: bool,
    fields: Vec<Span>,
}

struct Record {
    bounds: RecordBounds,
    fields: usize,
    is_malformed: bool,
    /// False for the last record of the sample without its line end, unless it is the last of the source, and for a
    /// record whose quote is open at the end.
    is_complete: bool,
}

impl Iterator for Records<'_> {
    type Item = Record;

    fn next(&mut self) -> Option<Record> {
        loop {
            self.fields.clear();
            let bounds = self.splitter.next_record(&mut self.fields)?;
            if bounds.is_blank() {
                continue;
            }
            let is_last = self.splitter.offset() >= self.sample.len;
            let is_open = bounds.malformed.is_some_and(|(_, reason)| reason == Splitter::OPEN_QUOTE);
            let has_line_end = !is_last || self.sample.records().ends_with(b"\n");
            return Some(Record {
                bounds,
                fields: self.fields.len(),
                is_malformed: bounds.malformed.is_some(),
                is_complete: !is_open && (has_line_end || self.is_all),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use InferredDelimiter::{Comma, Doubtful, Other};

    use super::*;
    use crate::format::csv::dialect::HeaderRecord;

    fn first(bytes: &[u8], ended: bool) -> Option<InferredDelimiter> {
        infer_delimiter(bytes, ended, &CsvDialect::default())
    }

    fn inferred(text: &str) -> InferredDelimiter {
        let whole = first(text.as_bytes(), true).expect("all bytes are there");
        // However the bytes arrive, the first result is the same.
        for chunk in [1, 3, 7, 64] {
            let ends = (0..text.len()).step_by(chunk).chain([text.len()]);
            let early = ends.filter_map(|end| first(&text.as_bytes()[..end], false)).next();
            assert!(early.is_none_or(|early| early == whole), "{text:?} by {chunk}: {early:?}");
        }
        whole
    }

    #[test]
    fn another_delimiter_is_certain_only_if_it_splits_every_record() {
        assert_eq!(inferred("a;b\n1;2\n"), Other(b';'));
        assert_eq!(inferred("\u{feff}a;b\r\n1,5;2,5\r\n\"x;\ny\";\r\n"), Other(b';'));
        assert_eq!(inferred("\n\na\tb\tc\n1\t2\t3"), Other(b'\t'));
        assert_eq!(inferred("a|b\n\n1|2\n"), Other(b'|'));
        // Without records the header decides.
        assert_eq!((inferred("a;b"), inferred("\"a\";\"b,c\"\n")), (Other(b';'), Other(b';')));
        assert_eq!(inferred("a;b\n1;2\n3;\"open\n4;5\n"), Other(b';'));

        assert_eq!(inferred("a;b\n1;2\n3\n"), Doubtful(b';'));
        assert_eq!(inferred("a;b\n1;2;3\n"), Doubtful(b';'));
        assert_eq!(inferred("a;b\n1;\"2\"x\n"), Doubtful(b';'));
        assert_eq!(inferred("a;b|c\n1;2|3\n"), Doubtful(b';'));
        assert_eq!(inferred("a;b|c\n1|2\n"), Other(b'|'));
        assert_eq!(inferred("sep=;\n1;2\n"), Doubtful(b';'));

        for commas in ["", "\n\n", "a", "a,b;c\n1,2\n", "a,b\tc", "\"a;b\"\n1;2\n", "a\n1;2\n", "\"a\"\n\"1;2\"\n"] {
            assert_eq!(inferred(commas), Comma, "{commas:?}");
        }
    }

    #[test]
    fn another_quote_is_regarded() {
        let with =
            |text: &str, quote| infer_delimiter(text.as_bytes(), true, &CsvDialect { quote, ..CsvDialect::default() });
        let quote = CsvQuote::Byte(b'\'');
        assert_eq!(with("'a,b';c\n'1;2';3\n", quote), Some(Other(b';')));
        assert_eq!(with("|a|;|b|\n|1|;|2|\n", CsvQuote::Byte(b'|')), Some(Other(b';')));
        assert_eq!(with("a;b\n\"1;2\n", CsvQuote::None), Some(Other(b';')));
        assert_eq!(with("a;b\n\"1;2\"\n", CsvQuote::None), Some(Other(b';')));
    }

    #[test]
    fn records_before_the_header_decide_nothing() {
        let third = CsvDialect { header: HeaderRecord::Nth(3.try_into().unwrap()), ..CsvDialect::default() };
        let inferred = |text: &str, ended| infer_delimiter(text.as_bytes(), ended, &third);
        assert_eq!(inferred("Report, 2024\n\n1;2;3\na;b\n1,5;2\n", true), Some(Other(b';')));
        assert_eq!(inferred("Report; 2024\n1;2\na,b\n", false), Some(Comma));
        assert_eq!((inferred("x\ny\n", false), inferred("x\ny\n", true)), (None, Some(Comma)));
    }

    #[test]
    fn the_sample_is_a_fixed_part_of_the_source() {
        let records = "1;2\n".repeat(SAMPLE_RECORDS);
        assert_eq!(inferred(&format!("a;b\n{records}no\n")), Other(b';'));
        assert_eq!(inferred(&format!("a;b\n{}no\n", &records[4..])), Doubtful(b';'));
        // A pipe waits for the sample, unless the header or a record decides.
        let needs_more = |text: &str| first(text.as_bytes(), false).is_none();
        assert!(needs_more("a;b\n1;2\n") && needs_more("a") && needs_more(""));
        assert!(!needs_more("a,b\n") && !needs_more("a\n") && !needs_more("a;b\n1\n"));
        // Long records: the one that the end of the sample cuts does not count.
        let long = format!("a;b\n{0};{0}\n{0};", "x".repeat(SAMPLE_BYTES / 3));
        for end in ["", "y\n", "y\nz\n"] {
            let text = format!("{long}{end}{}", "z".repeat(SAMPLE_BYTES));
            assert_eq!(first(text.as_bytes(), false), Some(Other(b';')));
            assert_eq!(first(&text.as_bytes()[..SAMPLE_BYTES], false), Some(Other(b';')));
            assert_eq!(first(text.as_bytes(), true), Some(Other(b';')));
        }
        let wide = "name;".repeat(SAMPLE_BYTES / 5 + 1);
        assert_eq!(first(wide.as_bytes(), false), Some(Doubtful(b';')));
    }
}
