//! Splitting a morsel into records and their fields.

use std::borrow::Cow;

use crate::column::Morsel;
use crate::format::simd::{either_mask, halve_quotes};

/// Bytes that are searched at once.
const BLOCK: usize = 64;

/// Where a field's value stands in its morsel, quotes around it left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len_and_flags: u32,
}

const QUOTED: u32 = 1 << 31;
const ESCAPED: u32 = 1 << 30;

impl Span {
    /// Morsels have a gibibyte at most, so that a length leaves two bits for the flags.
    #[inline(always)]
    fn new(start: usize, end: usize, flags: u32) -> Self {
        Span { start: start as u32, len_and_flags: (end - start) as u32 | flags }
    }

    /// Offset of the first byte of the value.
    #[inline(always)]
    pub fn start(self) -> usize {
        self.start as usize
    }

    /// Length of the value in the morsel.
    #[inline(always)]
    pub fn len(self) -> usize {
        (self.len_and_flags & !(QUOTED | ESCAPED)) as usize
    }

    /// True if there are no bytes: null, unless quoted.
    #[inline(always)]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// True for null, the empty field.
    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.len_and_flags == 0
    }

    /// True if quotes stand around it.
    #[inline(always)]
    pub fn is_quoted(self) -> bool {
        self.len_and_flags & QUOTED != 0
    }

    /// True if quotes in it are doubled.
    #[inline(always)]
    pub fn has_doubled_quotes(self) -> bool {
        self.len_and_flags & ESCAPED != 0
    }

    /// The value as it stands in the morsel: quotes in it are doubled still.
    #[inline(always)]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start()..self.start() + self.len()]
    }

    /// The value with its doubled quotes made single.
    pub fn value(self, bytes: &[u8]) -> Cow<'_, [u8]> {
        let value = self.of(bytes);
        if !self.has_doubled_quotes() {
            return Cow::Borrowed(value);
        }
        let mut single = Vec::with_capacity(value.len());
        halve_quotes(value, &mut single);
        Cow::Owned(single)
    }

    /// The whole field with its quotes.
    pub fn verbatim(self, bytes: &[u8]) -> &[u8] {
        let around = usize::from(self.is_quoted());
        &bytes[self.start() - around..self.start() + self.len() + around]
    }
}

/// One record of a morsel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordBounds {
    /// Offset of its first byte.
    pub start: usize,
    /// Offset behind its last byte, the line end left out.
    pub end: usize,
    /// Offset in the morsel where it stops being CSV, and why. Its fields then mean nothing.
    pub malformed: Option<(usize, &'static str)>,
}

impl RecordBounds {
    /// True for an empty line. It has one field, null.
    pub fn is_blank(&self) -> bool {
        self.start == self.end
    }
}

/// Goes through the records of a morsel. Records end where [`crate::format::frame`] says; a CR
/// before the line feed, or at the end of the source, belongs to the line end.
pub struct Splitter<'a> {
    /// Records and padding.
    bytes: &'a [u8],
    /// End of the records.
    len: usize,
    delimiter: u8,
    /// Start of the next field.
    at: usize,
    /// Offset of the block that `marks` is of.
    block: usize,
    /// Delimiters and line feeds in that block, from `at` on.
    marks: u64,
    /// Offset of the block that `quotes` is of: the last in which one was looked for.
    quotes_block: usize,
    /// All quotes in that block.
    quotes: u64,
}

impl<'a> Splitter<'a> {
    /// At the first record of `morsel`. `delimiter` is an ASCII byte other than NUL, quote, CR
    /// and LF.
    pub fn new(morsel: &'a Morsel, delimiter: u8) -> Self {
        let mut splitter = Splitter {
            bytes: &morsel.bytes,
            len: morsel.len,
            delimiter,
            at: 0,
            block: 0,
            marks: 0,
            quotes_block: usize::MAX,
            quotes: 0,
        };
        splitter.marks = splitter.marks_of(0);
        splitter
    }

    /// Offset of the next record.
    pub fn offset(&self) -> usize {
        self.at
    }

    /// Appends the fields of the next record to `fields`. `None` at the end of the morsel.
    #[inline]
    pub fn next_record(&mut self, fields: &mut Vec<Span>) -> Option<RecordBounds> {
        let start = self.at;
        if start >= self.len {
            return None;
        }
        let mut malformed = None;
        loop {
            let field = self.at;
            // Behind the records stands padding, so that this byte is there.
            if self.bytes[field] != b'"' {
                let stop = self.next_mark();
                if self.bytes[stop] == self.delimiter {
                    fields.push(Span::new(field, stop, 0));
                    continue;
                }
                let end = stop - usize::from(stop > field && self.bytes[stop - 1] == b'\r');
                fields.push(Span::new(field, end, 0));
                return Some(RecordBounds { start, end, malformed });
            }
            let Some((close, flags)) = self.closing_quote(field + 1) else {
                self.at = self.len;
                malformed = malformed.or(Some((field, "the quote is not closed")));
                let line = &self.bytes[start..self.len];
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                let end = start + line.strip_suffix(b"\r").unwrap_or(line).len();
                return Some(RecordBounds { start, end, malformed });
            };
            fields.push(Span::new(field + 1, close, QUOTED | flags));
            self.seek(close + 1);
            let stop = self.next_mark();
            let goes_on = self.bytes[stop] == self.delimiter;
            let end = stop - usize::from(!goes_on && self.bytes[stop - 1] == b'\r');
            if end != close + 1 {
                malformed = malformed.or(Some((close + 1, "text stands behind the closing quote")));
            }
            if !goes_on {
                return Some(RecordBounds { start, end, malformed });
            }
        }
    }

    /// The quote that closes the field whose value starts at `from`, and whether quotes in the
    /// value are doubled.
    ///
    /// It is the last quote of the first run of an odd number: in every other run each has its twin. JSON as text is
    /// full of such runs, so all of a block are judged at once.
    #[inline]
    fn closing_quote(&mut self, from: usize) -> Option<(usize, u32)> {
        let mut flags = 0;
        let mut at = from;
        loop {
            let block = at - at % BLOCK;
            if block >= self.len {
                return None;
            }
            self.find_quotes(block);
            let quotes = self.quotes & (u64::MAX << (at - block));
            let escaped_until = |close: u32| if quotes & ((1 << close) - 1) != 0 { ESCAPED } else { flags };
            let behind = behind_odd_runs(quotes);
            if behind != 0 {
                let close = behind.trailing_zeros() - 1;
                return Some((block + close as usize, escaped_until(close)));
            }
            at = block + BLOCK;
            if quotes.leading_ones() % 2 == 1 {
                // The run goes up to the end of the block; behind the records stands padding.
                if self.bytes[at] != b'"' {
                    return Some((at - 1, escaped_until(BLOCK as u32 - 1)));
                }
                at += 1;
            }
            flags = if quotes != 0 { ESCAPED } else { flags };
        }
    }

    /// Makes `quotes` those of the block at `block`, which is at most `len`.
    #[inline(always)]
    fn find_quotes(&mut self, block: usize) {
        if self.quotes_block != block {
            self.quotes_block = block;
            self.quotes = either_mask(self.block_at(block), b'"', b'"');
        }
    }

    /// The next delimiter or line feed, or the end of the records; `at` is then behind it.
    #[inline(always)]
    fn next_mark(&mut self) -> usize {
        while self.marks == 0 {
            self.block += BLOCK;
            if self.block >= self.len {
                self.at = self.len;
                return self.len;
            }
            self.marks = self.marks_of(self.block);
        }
        let mark = self.block + self.marks.trailing_zeros() as usize;
        self.marks &= self.marks - 1;
        self.at = mark + 1;
        mark
    }

    /// Goes on at `at`, which is ahead.
    #[inline]
    fn seek(&mut self, at: usize) {
        self.at = at;
        if at - self.block >= BLOCK {
            self.block = at - at % BLOCK;
            self.marks = self.marks_of(self.block);
        }
        self.marks &= u64::MAX << (at - self.block);
    }

    #[inline(always)]
    fn marks_of(&self, block: usize) -> u64 {
        either_mask(self.block_at(block), self.delimiter, b'\n')
    }

    /// The bytes of a block that begins at `len` at most, so that there is padding to fill it.
    #[inline(always)]
    fn block_at(&self, block: usize) -> &'a [u8; BLOCK] {
        match self.bytes[block..].first_chunk() {
            Some(bytes) => bytes,
            None => unreachable!("a morsel has a block of padding"),
        }
    }
}

/// A bit behind each run of ones that has an odd number of them. A run up to the last bit has none behind it.
#[inline(always)]
fn behind_odd_runs(ones: u64) -> u64 {
    /// The first, third, and so on.
    const EVEN_PLACES: u64 = 0x5555_5555_5555_5555;
    let starts = ones & !(ones << 1);
    // A one added to the start of a run is carried to the place behind it.
    let behind = |starts: u64| ones.wrapping_add(starts) & !ones;
    behind(starts & EVEN_PLACES) & !EVEN_PLACES | behind(starts & !EVEN_PLACES) & EVEN_PLACES
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The twin: byte by byte. Fields as value and quotedness, or where the record is malformed.
    type Fields = Result<Vec<(Vec<u8>, bool)>, usize>;

    fn split_naively(bytes: &[u8], delimiter: u8) -> Vec<(usize, usize, Fields)> {
        let mut records = Vec::new();
        let mut i = 0;
        while i < bytes.len() {
            let start = i;
            let mut fields = Vec::new();
            let mut malformed = None;
            let mut unclosed = false;
            let end = loop {
                let field = i;
                let quoted = bytes.get(i) == Some(&b'"');
                let mut value = Vec::new();
                if quoted {
                    i += 1;
                    loop {
                        match (bytes.get(i), bytes.get(i + 1)) {
                            (None, _) => {
                                malformed = malformed.or(Some(field));
                                unclosed = true;
                                break;
                            }
                            (Some(b'"'), Some(b'"')) => {
                                value.push(b'"');
                                i += 2;
                            }
                            (Some(b'"'), _) => {
                                i += 1;
                                break;
                            }
                            (Some(&b), _) => {
                                value.push(b);
                                i += 1;
                            }
                        }
                    }
                }
                let behind = i;
                while i < bytes.len() && bytes[i] != delimiter && bytes[i] != b'\n' {
                    i += 1;
                }
                let goes_on = i < bytes.len() && bytes[i] == delimiter;
                let mut end = i;
                if unclosed {
                    let line = &bytes[start..end];
                    let line = line.strip_suffix(b"\n").unwrap_or(line);
                    end = start + line.strip_suffix(b"\r").unwrap_or(line).len();
                } else if !goes_on && end > behind && bytes[end - 1] == b'\r' {
                    end -= 1;
                }
                if quoted && end > behind {
                    malformed = malformed.or(Some(behind));
                } else if !quoted {
                    value = bytes[behind..end].to_vec();
                }
                fields.push((value, quoted));
                i += 1;
                if !goes_on {
                    break end;
                }
            };
            records.push((start, end, malformed.map_or(Ok(fields), Err)));
        }
        records
    }

    fn split(bytes: &[u8], delimiter: u8) -> Vec<(usize, usize, Fields)> {
        let morsel = Morsel::from_vec(bytes.to_vec(), 0, 0);
        let mut splitter = Splitter::new(&morsel, delimiter);
        let mut records = Vec::new();
        let mut spans = Vec::new();
        while let Some(record) = splitter.next_record(&mut spans) {
            let fields = spans.drain(..).map(|span| (span.value(bytes).into_owned(), span.is_quoted()));
            let fields: Vec<_> = fields.collect();
            records.push((record.start, record.end, record.malformed.map_or(Ok(fields), |(at, _)| Err(at))));
        }
        records
    }

    proptest! {
        #[test]
        fn fields_are_those_of_the_twin(
            pieces in prop::collection::vec(prop_oneof![
                4 => Just("\""), 4 => Just(","), 3 => Just("\n"), 1 => Just("\r\n"), 1 => Just("\r"), 2 => Just("a"),
                2 => Just("\"b\""), 1 => Just("\"\"\"\""), 1 => Just("a long value that is longer than a block of sixty-four bytes is"),
            ], 0..80),
            delimiter in prop_oneof![Just(b','), Just(b'a')],
        ) {
            let bytes = pieces.concat().into_bytes();
            prop_assert_eq!(split(&bytes, delimiter), split_naively(&bytes, delimiter));
        }
    }

    #[test]
    fn runs_of_an_odd_number_are_told() {
        assert_eq!(behind_odd_runs(0b0111_0110_0001_1101), 0b1000_0000_0010_0010);
        for start in 0..64 {
            for len in 1..=64 - start {
                let run = (u64::MAX >> (64 - len)) << start;
                let behind = if len % 2 == 1 && start + len < 64 { 1 << (start + len) } else { 0 };
                assert_eq!(behind_odd_runs(run), behind, "{start} {len}");
            }
        }
    }

    /// Quotes at the seam of two blocks: a pair across it, one that closes before it, one behind.
    #[test]
    fn quotes_at_every_place_in_a_block() {
        for n in 0..140 {
            for quotes in 1..8 {
                let value = ["x".repeat(n), "\"\"".repeat(quotes), "y".into()].concat();
                let bytes = format!("\"{value}\",\"{}\"\n\"{value}", "\"\"".repeat(quotes)).into_bytes();
                for cut in [bytes.len(), bytes.len() - 1, n + quotes + 1, n + 2 * quotes + 1, n + 2 * quotes + 2] {
                    assert_eq!(split(&bytes[..cut], b','), split_naively(&bytes[..cut], b','), "{n} {quotes} {cut}");
                }
            }
        }
    }

    #[test]
    fn awkward_records_at_every_place_in_a_block() {
        let awkward = "\"\",\r\n\"a\"\"b\",\"\n\r\n\",x\"y\"\n\n\r\n,\n\"a\" ,\"b\"\nlast\r";
        for n in 0..130 {
            let bytes = ["x".repeat(n), awkward.into()].concat().into_bytes();
            for cut in n..=bytes.len() {
                assert_eq!(split(&bytes[..cut], b','), split_naively(&bytes[..cut], b','), "{n} {cut}");
            }
        }
    }
}
