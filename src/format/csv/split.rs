//! Splits a morsel into records and their fields, as spans of its bytes. Copies nothing and knows no
//! types; record ends are those of [`crate::format::frame`].
//!
//! # Fields by block
//!
//! The simple algorithm is the reference in the tests: a field that begins with a quote goes to the
//! first quote that no other follows, any other field to the next delimiter or line feed, byte by byte.
//! The splitter departs from it in two places.
//!
//! *Unquoted fields* end at the next bit of `marks`, a mask of the delimiters and line feeds of a block
//! of 64 bytes. It is computed once per block and consumed from the lowest bit up, so that a field costs a
//! count of trailing zeros, however long it is. Marks inside quoted fields are skipped: after the closing
//! quote, `seek` clears all bits before it.
//!
//! *Quoted fields* end at the last quote of the first run of an odd number of quotes: in a run of an even
//! number each has its partner, and of an odd one the last closes. JSON text in a cell is full of runs of
//! two, and each would be a step of its own. `behind_odd_runs` finds the odd ones among all runs of a block
//! by addition. Let a run of `n` ones start at bit `s`:
//!
//! ```text
//! ones                   0111 0110   runs at bits 1..=2 and 4..=6, bit 0 on the right
//! starts                 0001 0010   ones & !(ones << 1)
//! ones + even starts     1000 0110   the carry of a run from an even bit stops behind it, at bit s + n
//! & !ones                1000 0000   for s even; likewise 0000 1000 for s odd
//! ```
//!
//! `n` is odd exactly if `s` and `s + n` differ in parity, so of the bits behind runs with an even start the
//! odd ones are kept, and of the others the even ones. Here bit 7 remains, behind three quotes. A carry cannot
//! enter another run, for at least one zero bit is between them. The carry of a run up to bit 63 leaves the word:
//! such a run has no bit behind it, and its length decides with the first byte of the next block. If it is odd
//! and another quote follows, both are a pair, and the search goes on after that quote; if none follows, the
//! field ends at the last byte of the block. Bits before the start of the value are masked off first.
//!
//! No load is out of bounds: a block begins at the end of the records at most, and a morsel has a block of zero
//! padding after them, in which there are neither marks nor quotes.

use std::borrow::Cow;

use super::dialect::CsvQuote;
use crate::column::Morsel;
use crate::format::simd::{either_mask, halve_quotes};

/// Bytes that are searched at once, one bit of a mask each.
const BLOCK: usize = 64;

/// The span of a field's value in its morsel, without the quotes around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len_and_flags: u32,
}

impl Span {
    /// Flag: quotes are around the value.
    pub(super) const QUOTED: u32 = 1 << 31;

    /// Flag: quotes in the value are doubled.
    const ESCAPED: u32 = 1 << 30;

    /// The null, at no offset in particular.
    pub(super) const NULL: Span = Span { start: 0, len_and_flags: 0 };

    /// Makes a span. A record has at most a gibibyte, so that the length of a value leaves two bits for the flags.
    #[inline(always)]
    pub(super) fn new(start: usize, end: usize, flags: u32) -> Self {
        Span { start: start as u32, len_and_flags: (end - start) as u32 | flags }
    }

    /// Returns the offset of the first byte of the value.
    #[inline(always)]
    pub fn start(self) -> usize {
        self.start as usize
    }

    /// Returns the length of the value in the morsel, doubled quotes counted twice.
    #[inline(always)]
    pub fn len(self) -> usize {
        (self.len_and_flags & !(Span::QUOTED | Span::ESCAPED)) as usize
    }

    /// Returns true if the value has no bytes: null or, if quoted, the empty text.
    #[inline(always)]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Returns true for null, the empty field without quotes.
    #[inline(always)]
    pub fn is_null(self) -> bool {
        self.len_and_flags == 0
    }

    /// Returns true if the field is quoted.
    #[inline(always)]
    pub fn is_quoted(self) -> bool {
        self.len_and_flags & Span::QUOTED != 0
    }

    /// Returns true if the value contains quotes, which are doubled in the morsel.
    #[inline(always)]
    pub fn has_doubled_quotes(self) -> bool {
        self.len_and_flags & Span::ESCAPED != 0
    }

    /// Returns the value as in the morsel, with its quotes still doubled.
    #[inline(always)]
    pub fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start()..self.start() + self.len()]
    }

    /// Returns the value with its doubled quotes halved; a copy only if there are any.
    pub fn value(self, bytes: &[u8]) -> Cow<'_, [u8]> {
        let value = self.of(bytes);
        if !self.has_doubled_quotes() {
            return Cow::Borrowed(value);
        }
        let mut single = Vec::with_capacity(value.len());
        halve_quotes(value, &mut single);
        Cow::Owned(single)
    }

    /// As [`Span::value`], for fields in quotes of any kind.
    pub fn value_in_quotes(self, bytes: &[u8], quote: u8) -> Cow<'_, [u8]> {
        if quote == b'"' || !self.has_doubled_quotes() {
            return self.value(bytes);
        }
        let mut single = Vec::with_capacity(self.len());
        write_halved(self.of(bytes), quote, &mut single);
        Cow::Owned(single)
    }

    /// Returns the whole field as in the morsel, with the quotes around it.
    pub fn verbatim(self, bytes: &[u8]) -> &[u8] {
        let around = usize::from(self.is_quoted());
        &bytes[self.start() - around..self.start() + self.len() + around]
    }
}

/// Appends `text`, in which each quote is doubled, with single quotes. The simple algorithm: other quotes than `"` are rare.
pub(super) fn write_halved(text: &[u8], quote: u8, out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(i) = memchr::memchr(quote, rest) {
        out.extend_from_slice(&rest[..=i]);
        rest = rest.get(i + 2..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// The bounds of one record in its morsel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordBounds {
    /// Offset of the first byte.
    pub start: usize,
    /// Offset after the last byte, without the line end.
    pub end: usize,
    /// Offset in the morsel and reason of the first error; the fields are then meaningless. `None` for a
    /// well-formed record.
    pub malformed: Option<(usize, &'static str)>,
}

impl RecordBounds {
    /// Returns true for an empty line, which has one field, null.
    pub fn is_blank(&self) -> bool {
        self.start == self.end
    }
}

/// Iterator over the records of a morsel. A CR before the line feed, or at the end of the source, belongs
/// to the line end.
pub struct Splitter<'a> {
    /// Records and padding.
    bytes: &'a [u8],
    /// End of the records in `bytes`.
    len: usize,
    delimiter: u8,
    /// The quote; [`NO_QUOTE`], which no byte equals, without quotes.
    quote: u16,
    /// Offset of the next field.
    at: usize,
    /// Offset of the block of `marks`, a multiple of [`BLOCK`].
    block: usize,
    /// Delimiters and line feeds of that block, from `at` on.
    marks: u64,
    /// Offset of the block of `quotes`; `usize::MAX` before the first quoted field.
    quotes_block: usize,
    /// All quotes of that block. Kept apart from `marks`, as most records have no quotes.
    quotes: u64,
}

/// The value of [`Splitter::quote`] without quotes: wider than a byte, so that quotes cost no branch of their own.
const NO_QUOTE: u16 = u16::MAX;

impl<'a> Splitter<'a> {
    /// The reason of a malformed record whose last quote is open at the end of the morsel.
    pub const OPEN_QUOTE: &'static str = "the quote is not closed";

    /// Makes a splitter at the first record of `morsel`. `delimiter` is an ASCII byte other than NUL,
    /// quote, CR and LF: the padding consists of NUL.
    pub fn new(morsel: &'a Morsel, delimiter: u8) -> Self {
        let mut splitter = Splitter {
            bytes: &morsel.bytes,
            len: morsel.len,
            delimiter,
            quote: b'"'.into(),
            at: 0,
            block: 0,
            marks: 0,
            quotes_block: usize::MAX,
            quotes: 0,
        };
        splitter.marks = splitter.marks_of(0);
        splitter
    }

    /// Sets the quote of a splitter that has read no record. Default: `"`.
    #[must_use]
    pub fn with_quote(self, quote: CsvQuote) -> Self {
        Splitter { quote: quote.byte().map_or(NO_QUOTE, u16::from), ..self }
    }

    /// Returns the offset of the next record; the morsel's length or more at the end.
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
            // In bounds even after a delimiter at the very end: padding follows the records.
            if u16::from(self.bytes[field]) != self.quote {
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
                // Framing has made such a record the last one of its morsel.
                malformed = malformed.or(Some((field, Self::OPEN_QUOTE)));
                let line = &self.bytes[start..self.len];
                let line = line.strip_suffix(b"\n").unwrap_or(line);
                let end = start + line.strip_suffix(b"\r").unwrap_or(line).len();
                return Some(RecordBounds { start, end, malformed });
            };
            fields.push(Span::new(field + 1, close, Span::QUOTED | flags));
            self.seek(close + 1);
            let stop = self.next_mark();
            let goes_on = self.bytes[stop] == self.delimiter;
            let end = stop - usize::from(!goes_on && self.bytes[stop - 1] == b'\r');
            if end != close + 1 {
                malformed = malformed.or(Some((close + 1, "text after the closing quote")));
            }
            if !goes_on {
                return Some(RecordBounds { start, end, malformed });
            }
        }
    }

    /// Finds the quote that closes the field whose value starts at `from`: returns its offset, and [`Span::ESCAPED`] if quotes
    /// in the value are doubled. `None` if no quote closes it. See the head of the file.
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
            let escaped_until = |close: u32| if quotes & ((1 << close) - 1) != 0 { Span::ESCAPED } else { flags };
            let behind = behind_odd_runs(quotes);
            if behind != 0 {
                let close = behind.trailing_zeros() - 1;
                return Some((block + close as usize, escaped_until(close)));
            }
            at = block + BLOCK;
            if quotes.leading_ones() % 2 == 1 {
                // An odd run up to the end of the block: its last quote closes, or is half of a pair across the seam. The
                // index is in bounds because padding follows the records.
                if u16::from(self.bytes[at]) != self.quote {
                    return Some((at - 1, escaped_until(BLOCK as u32 - 1)));
                }
                at += 1;
            }
            flags = if quotes != 0 { Span::ESCAPED } else { flags };
        }
    }

    /// Sets `quotes` to those of the block at `block`, which is at most `len`.
    #[inline(always)]
    fn find_quotes(&mut self, block: usize) {
        if self.quotes_block != block {
            self.quotes_block = block;
            // Only called after a quote was read, so that there is one.
            let quote = self.quote as u8;
            self.quotes = either_mask(self.block_at(block), quote, quote);
        }
    }

    /// Returns the offset of the next delimiter or line feed, or the end of the records, and moves `at` behind it.
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

    /// Moves forward to `at` and drops the marks before it.
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

    /// Returns the bytes of the block at `block`, which is at most `len`, so that the padding fills it up.
    #[inline(always)]
    fn block_at(&self, block: usize) -> &'a [u8; BLOCK] {
        match self.bytes[block..].first_chunk() {
            Some(bytes) => bytes,
            None => unreachable!("a morsel has a block of padding"),
        }
    }
}

/// Sets the bit behind each run of an odd number of ones; a run up to the last bit has none behind it. See the head of the
/// file.
#[inline(always)]
fn behind_odd_runs(ones: u64) -> u64 {
    /// Bits 0, 2, 4 and so on.
    const EVEN_BITS: u64 = 0x5555_5555_5555_5555;
    let starts = ones & !(ones << 1);
    // Adding one at the start of a run carries to the bit behind it.
    let behind = |starts: u64| ones.wrapping_add(starts) & !ones;
    behind(starts & EVEN_BITS) & !EVEN_BITS | behind(starts & !EVEN_BITS) & EVEN_BITS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Fields as value and quotedness, or the offset at which the record is malformed.
    type Fields = Result<Vec<(Vec<u8>, bool)>, usize>;

    /// The simple algorithm, byte by byte.
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
        fn fields_agree_with_the_simple_algorithm(
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
    fn odd_runs_are_found_at_every_start_and_length() {
        assert_eq!(behind_odd_runs(0b0111_0110_0001_1101), 0b1000_0000_0010_0010);
        for start in 0..64 {
            for len in 1..=64 - start {
                let run = (u64::MAX >> (64 - len)) << start;
                let behind = if len % 2 == 1 && start + len < 64 { 1 << (start + len) } else { 0 };
                assert_eq!(behind_odd_runs(run), behind, "{start} {len}");
            }
        }
    }

    /// Includes the seam of two blocks: a pair across it, a closing quote before it, one behind it.
    #[test]
    fn quotes_at_every_offset_in_a_block() {
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
    fn awkward_records_at_every_offset_in_a_block() {
        let awkward = "\"\",\r\n\"a\"\"b\",\"\n\r\n\",x\"y\"\n\n\r\n,\n\"a\" ,\"b\"\nlast\r";
        for n in 0..130 {
            let bytes = ["x".repeat(n), awkward.into()].concat().into_bytes();
            for cut in n..=bytes.len() {
                assert_eq!(split(&bytes[..cut], b','), split_naively(&bytes[..cut], b','), "{n} {cut}");
            }
        }
    }
}
