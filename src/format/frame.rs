//! Cutting a stream of bytes into morsels of whole records.
//!
//! The reader thread owns a [`Framer`]: it reads into [`Framer::space`], says how much came with
//! [`Framer::filled`], and takes what is ready with [`Framer::pop`]. The bytes are not copied on
//! the way; only the partial record at the end of a morsel is carried over into the next buffer.
//!
//! Where records end depends on the bytes alone, never on how they arrived or how large morsels
//! are. Framing knows nothing of fields beyond what it takes to find the end of a record:
//!
//! - lines end at line feeds;
//! - CSV records end at line feeds outside quotes. A quote opens only as the first byte of a
//!   field, `""` inside quotes is a quote, and any other quote is literal. A carriage return
//!   alone ends nothing.
//!
//! A record longer than the limit is skipped in bounded memory and handed over as
//! [`Framed::Oversized`], in order, so that it costs one reject. From where it passes the limit it
//! goes to the end of that line, whatever quotes follow.
//!
//! A quote that nothing closes must not make one record of the rest of the source. It counts as
//! never closed if it is open where its record passes the limit, or where the source ends; its
//! record then ends with the line on which it was opened, and what follows is read afresh. The
//! price: of a quoted field that really is longer than the limit, only the first line is known to
//! be no record. Such a record is the last of its morsel, so that who splits the morsel sees the
//! quote unclosed too.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_buffer::Buffer;
use memchr::{memchr, memchr_iter, memrchr};

use crate::column::Morsel;
use crate::format::simd::either_mask;

/// How records are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One record per line.
    Lines,
    /// RFC 4180, quoted line breaks included.
    Csv {
        /// Between fields; an ASCII byte other than quote, CR and LF.
        delimiter: u8,
    },
    /// One element of a JSON array per line, as [`super::json_array::JsonArrayLines`] gives them: a line
    /// of the source ends where there is a carriage return.
    Elements,
}

impl Framing {
    /// The byte that stands for each line break of the source.
    pub fn line_break(self) -> u8 {
        match self {
            Framing::Lines | Framing::Csv { .. } => b'\n',
            Framing::Elements => b'\r',
        }
    }
}

/// What a [`Framer`] hands over, in the order of the source.
#[derive(Clone, Debug)]
pub enum Framed {
    /// Whole records. Only the last record of a source may lack its line end.
    Morsel(Morsel),
    /// A record longer than the limit; its bytes are gone.
    Oversized(Oversized),
}

/// A record that was too long to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oversized {
    /// Offset of its first byte in the decompressed source.
    pub byte_offset: u64,
    /// Its length in bytes, without the line feed.
    pub len: u64,
    /// Line breaks of the source in it, its own end among them.
    pub lines: u64,
}

/// Buffers to use again: a fresh one of a mebibyte costs 256 page faults.
#[derive(Clone, Debug)]
pub struct BufferPool {
    buffers: Arc<Mutex<Vec<Vec<u8>>>>,
    morsel_bytes: usize,
    buffer_len: usize,
    max_buffers: usize,
}

impl BufferPool {
    /// A pool for morsels of `morsel_bytes` that keeps `max_buffers` at most; what comes back
    /// beyond that is freed.
    ///
    /// # Panics
    ///
    /// If `morsel_bytes` is zero or more than a gibibyte: offsets in a morsel are 32 bits wide.
    pub fn new(morsel_bytes: usize, max_buffers: usize) -> Self {
        assert!((1..=1 << 30).contains(&morsel_bytes), "morsels have 1 byte to 1 GiB");
        // Some room beyond the morsel, so that the last read before it is full is no tiny one.
        let buffer_len = morsel_bytes + morsel_bytes / 16 + 1 + Morsel::PADDING;
        BufferPool { buffers: Arc::default(), morsel_bytes, buffer_len, max_buffers }
    }

    /// Gives a morsel's buffer back. Nothing happens while somebody else still holds a view, or
    /// when the buffer has another size, as those of long records have.
    pub fn recycle(&self, bytes: Buffer) {
        if bytes.len() != self.buffer_len {
            return;
        }
        if let Ok(buffer) = bytes.into_vec::<u8>() {
            let mut buffers = self.lock();
            if buffers.len() < self.max_buffers {
                buffers.push(buffer);
            }
        }
    }

    /// A buffer of `buffer_len` bytes, contents unspecified.
    fn take(&self) -> Vec<u8> {
        let recycled = self.lock().pop();
        recycled.unwrap_or_else(|| vec![0; self.buffer_len])
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // A list of buffers is whole after any panic.
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where the scanner of CSV stands after the bytes it has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QuoteState {
    /// Not inside quotes.
    Outside,
    /// Inside quotes.
    Inside,
    /// After a quote inside quotes: the end of them, or half of `""`.
    QuoteSeen,
}

/// Cuts one source into morsels.
pub struct Framer {
    framing: Framing,
    max_record_bytes: usize,
    source_index: usize,
    pool: BufferPool,
    ready: VecDeque<Framed>,
    /// `buffer[start..filled]` has come and is not handed over. It begins with a record, unless
    /// one is being skipped: then it is empty between calls. Behind it are space and padding.
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    /// End of the last whole record. `start <= records_end <= filled`.
    records_end: usize,
    /// Offset of `buffer[0]` in the source.
    byte_offset: u64,
    /// False until the first bytes have shown whether there is a byte order mark.
    started: bool,
    /// State of the CSV scanner behind what it has seen of `buffer[..filled]`.
    quoting: QuoteState,
    /// The quote that was opened last, unless [`Quoting::Outside`].
    open_quote: usize,
    /// A record that is too long, so far.
    skipping: Option<Oversized>,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Framer {
    /// A framer at the start of a source. Morsels have about the size that `pool` is for; the
    /// last one and those before a pause are smaller, one with a longer record is larger.
    ///
    /// # Panics
    ///
    /// If `max_record_bytes` is zero or more than a gibibyte.
    pub fn new(framing: Framing, max_record_bytes: usize, source_index: usize, pool: BufferPool) -> Self {
        assert!((1..=1 << 30).contains(&max_record_bytes), "records have 1 byte to 1 GiB");
        let buffer = pool.take();
        Framer {
            framing,
            max_record_bytes,
            source_index,
            pool,
            ready: VecDeque::new(),
            buffer,
            start: 0,
            filled: 0,
            records_end: 0,
            byte_offset: 0,
            started: false,
            quoting: QuoteState::Outside,
            open_quote: 0,
            skipping: None,
        }
    }

    /// Where to read the next chunk into; never empty. What stands there is unspecified.
    pub fn space(&mut self) -> &mut [u8] {
        let end = self.buffer.len() - Morsel::PADDING;
        &mut self.buffer[self.filled..end]
    }

    /// Takes the first `n` bytes of [`Framer::space`] as come. What they complete is ready for
    /// [`Framer::pop`].
    ///
    /// # Panics
    ///
    /// If `n` is more than the space.
    pub fn filled(&mut self, n: usize) {
        let from = self.filled;
        self.filled += n;
        assert!(self.filled + Morsel::PADDING <= self.buffer.len(), "more came than there was space for");
        if self.started {
            self.scan(from);
        } else if self.filled >= BYTE_ORDER_MARK.len() || !BYTE_ORDER_MARK.starts_with(&self.buffer[..self.filled]) {
            self.begin();
        }
        if self.filled - self.start >= self.pool.morsel_bytes {
            self.cut();
        }
        self.make_space();
    }

    /// The next piece that is ready. To be called until `None` after each of the other calls.
    pub fn pop(&mut self) -> Option<Framed> {
        self.ready.pop_front()
    }

    /// Makes the whole records so far ready, because the source pauses.
    pub fn flush(&mut self) {
        self.cut();
        self.make_space();
    }

    /// Makes everything that is left ready: the source has ended. A last record without line
    /// end is one all the same, also when a quote is open in it.
    pub fn finish(&mut self) {
        if !self.started {
            self.begin();
        }
        while self.quoting == QuoteState::Inside
            && let Some(end) = self.line_of_open_quote(self.filled)
        {
            self.end_unclosed(end);
            self.scan(end);
        }
        // The scan waits for one more byte where that decides whether a quote closes.
        if self.filled - self.records_end > self.max_record_bytes {
            self.start_skipping(self.filled);
        }
        if let Some(oversized) = self.skipping.take() {
            self.ready.push_back(Framed::Oversized(oversized));
        }
        self.records_end = self.filled;
        self.flush();
    }

    /// Scans the first bytes, without the byte order mark.
    fn begin(&mut self) {
        self.started = true;
        if self.buffer[..self.filled].starts_with(BYTE_ORDER_MARK) {
            self.buffer.copy_within(BYTE_ORDER_MARK.len()..self.filled, 0);
            self.filled -= BYTE_ORDER_MARK.len();
            self.byte_offset = BYTE_ORDER_MARK.len() as u64;
        }
        self.scan(0);
    }

    /// Notes the ends of records in `buffer[from..filled]`, and takes out those that are longer
    /// than the limit, making ready what stands before them.
    fn scan(&mut self, mut from: usize) {
        loop {
            if self.skipping.is_some() {
                match self.skip(from) {
                    Some(end) => from = end,
                    None => return,
                }
            }
            if self.filled - self.start <= self.max_record_bytes {
                // No record here can be longer than the limit, so that only the last end counts.
                if let Some(end) = self.find_end(from, self.filled, RecordEnd::Last) {
                    self.records_end = end;
                }
                return;
            }
            match self.scan_one_by_one(from) {
                Some(end) => from = end,
                None => return,
            }
        }
    }

    /// Notes the ends of records until one is too long; returns where to go on behind it, or `None`
    /// if everything has been seen. Decides by the bytes up to the limit and one behind it, so that it does
    /// not matter how many have come.
    fn scan_one_by_one(&mut self, mut from: usize) -> Option<usize> {
        loop {
            let limit = self.records_end + self.max_record_bytes + 1;
            if let Some(end) = self.find_end(from, limit.min(self.filled), RecordEnd::First) {
                self.records_end = end;
                from = end;
                continue;
            }
            if self.filled < limit || self.filled == limit && self.quoting == QuoteState::QuoteSeen {
                return None;
            }
            let inside = match self.quoting {
                QuoteState::Outside => false,
                QuoteState::Inside => true,
                QuoteState::QuoteSeen => self.buffer[limit] == b'"',
            };
            return Some(match self.line_of_open_quote(limit) {
                Some(end) if inside => self.end_unclosed(end),
                _ => self.start_skipping(limit),
            });
        }
    }

    /// End of the line on which the open quote stands, if it is before `to`.
    fn line_of_open_quote(&self, to: usize) -> Option<usize> {
        memchr(b'\n', &self.buffer[self.open_quote..to]).map(|i| self.open_quote + i + 1)
    }

    /// Ends the record at `end`, behind the line on which its open quote stands, and makes ready what
    /// there is: it is the last of its morsel. Returns where to scan on.
    fn end_unclosed(&mut self, end: usize) -> usize {
        self.quoting = QuoteState::Outside;
        self.records_end = end;
        self.cut_copy();
        end
    }

    /// Makes ready what stands before the record at `records_end`, which is too long and was seen
    /// up to `seen`, and lets go of what has come of it. Returns where to scan on.
    fn start_skipping(&mut self, seen: usize) -> usize {
        self.cut_copy();
        self.quoting = QuoteState::Outside;
        self.skipping = Some(Oversized { byte_offset: self.byte_offset + self.start as u64, len: 0, lines: 0 });
        self.count_skipped(self.start, seen);
        seen
    }

    /// Lets go of the record that is being skipped, up to its end in `buffer[from..filled]`, which
    /// is returned.
    fn skip(&mut self, from: usize) -> Option<usize> {
        let end = memchr(b'\n', &self.buffer[from..self.filled]).map(|i| from + i + 1);
        self.count_skipped(from, end.unwrap_or(self.filled));
        if end.is_some()
            && let Some(mut oversized) = self.skipping.take()
        {
            oversized.len -= 1;
            self.ready.push_back(Framed::Oversized(oversized));
        }
        end
    }

    /// Counts `buffer[from..to]` as skipped.
    fn count_skipped(&mut self, from: usize, to: usize) {
        let seen = &self.buffer[from..to];
        if let Some(oversized) = &mut self.skipping {
            oversized.len += seen.len() as u64;
            oversized.lines += memchr_iter(self.framing.line_break(), seen).count() as u64;
        }
        self.start = to;
        self.records_end = to;
    }

    /// Offset behind the first or last line feed in `buffer[from..to]` that ends a record. Behind a
    /// first one, nothing has been scanned.
    fn find_end(&mut self, from: usize, to: usize, which: RecordEnd) -> Option<usize> {
        let delimiter = match self.framing {
            Framing::Lines | Framing::Elements => return which.line_end(&self.buffer, from, to),
            Framing::Csv { delimiter } => delimiter,
        };
        let (mut at, mut found) = match which {
            RecordEnd::Last => self.find_last_by_blocks(from, to, delimiter),
            RecordEnd::First => (from, None),
        };
        let bytes = &self.buffer[..to];
        // What stands before `buffer[0]` is the end of a record.
        let opens = |quote: usize| {
            let before = if quote == 0 { b'\n' } else { bytes[quote - 1] };
            before == delimiter || before == b'\n'
        };
        // The next line feed, or `to`: so long as it is ahead, it is not looked for again.
        let mut line_feed = None;
        // From quote to quote; what is between them is looked through for line feeds only.
        while at < to {
            match self.quoting {
                QuoteState::Inside => match memchr(b'"', &bytes[at..]) {
                    None => return found,
                    Some(i) => {
                        at += i + 1;
                        self.quoting = QuoteState::QuoteSeen;
                    }
                },
                QuoteState::QuoteSeen if bytes[at] == b'"' => {
                    at += 1;
                    self.quoting = QuoteState::Inside;
                }
                QuoteState::QuoteSeen => self.quoting = QuoteState::Outside,
                QuoteState::Outside => {
                    // Quotes behind the first end are of no interest, and looking for them all the
                    // same, record after record, would take quadratic time.
                    let ahead = match which {
                        RecordEnd::Last => to,
                        RecordEnd::First => match line_feed {
                            Some(known) if known >= at => known,
                            _ => *line_feed.insert(find_near(b'\n', &bytes[at..]).map_or(to, |i| at + i)),
                        },
                    };
                    let mut search = at;
                    let opening = loop {
                        match find_near(b'"', &bytes[search..ahead]).map(|i| search + i) {
                            Some(quote) if !opens(quote) => search = quote + 1,
                            found => break found,
                        }
                    };
                    if let Some(quote) = opening {
                        self.quoting = QuoteState::Inside;
                        self.open_quote = quote;
                    } else if matches!(which, RecordEnd::First) && ahead < to {
                        return Some(ahead + 1);
                    }
                    let stop = opening.unwrap_or(to);
                    if matches!(which, RecordEnd::Last)
                        && let Some(end) = which.line_end(bytes, at, stop)
                    {
                        found = Some(end);
                    }
                    at = stop + 1;
                }
            }
        }
        found
    }

    /// The first blocks of `buffer[from..to]`, as long as each quote in them opens a field, closes one, or is half of a
    /// pair: returns where it stopped, and the offset behind the last line feed that ends a record before there.
    ///
    /// Among such quotes, what is inside is what has an odd number of them before it: a pair closes and
    /// opens again. A quote that would open where no field begins is text, and for the caller.
    fn find_last_by_blocks(&mut self, from: usize, to: usize, delimiter: u8) -> (usize, Option<usize>) {
        let mut at = from;
        let mut found = None;
        let mut inside = self.quoting == QuoteState::Inside;
        let mut closed = self.quoting == QuoteState::QuoteSeen;
        // What stands before `buffer[0]` is the end of a record.
        let mut begins = at == 0 || [delimiter, b'\n'].contains(&self.buffer[at - 1]);
        while let Some(block) = self.buffer[..to].get(at..).and_then(<[u8]>::first_chunk::<BLOCK>) {
            let quotes = either_mask(block, b'"', b'"');
            let separators = either_mask(block, delimiter, b'\n');
            let inner = odd_before(quotes) ^ if inside { u64::MAX } else { 0 };
            let opening = quotes & inner;
            let beginning = separators << 1 | u64::from(begins);
            if opening & !(beginning | quotes << 1 | u64::from(closed)) != 0 {
                break;
            }
            let outer = separators & !inner;
            if outer != 0 {
                let ends = either_mask(block, b'\n', b'\n') & outer;
                if let Some(last) = ends.checked_ilog2() {
                    found = Some(at + last as usize + 1);
                }
            }
            if let Some(last) = (opening & beginning).checked_ilog2() {
                self.open_quote = at + last as usize;
            }
            inside = inner >> (BLOCK - 1) != 0;
            closed = !inside && quotes >> (BLOCK - 1) != 0;
            begins = separators >> (BLOCK - 1) != 0;
            at += BLOCK;
        }
        self.quoting = match (inside, closed) {
            (true, _) => QuoteState::Inside,
            (false, true) => QuoteState::QuoteSeen,
            (false, false) => QuoteState::Outside,
        };
        (at, found)
    }

    /// Makes the whole records ready, in the buffer that they stand in if they fill enough of it.
    fn cut(&mut self) {
        if self.start > 0 || self.records_end <= self.buffer.len() / 4 {
            return self.cut_copy();
        }
        let cut = self.records_end;
        let next = self.buffer_beginning_with(cut..self.filled);
        let mut bytes = std::mem::replace(&mut self.buffer, next);
        bytes[cut..cut + Morsel::PADDING].fill(0);
        self.push(bytes, cut);
        self.byte_offset += cut as u64;
        self.filled -= cut;
        self.open_quote = self.open_quote.saturating_sub(cut);
        self.records_end = 0;
    }

    /// Makes the whole records ready as a copy, because there are few: a pause, or a record that
    /// is too long, came soon after them.
    fn cut_copy(&mut self) {
        let records = &self.buffer[self.start..self.records_end];
        if records.is_empty() {
            return;
        }
        let mut bytes = Vec::with_capacity(records.len() + Morsel::PADDING);
        bytes.extend_from_slice(records);
        bytes.resize(records.len() + Morsel::PADDING, 0);
        self.push(bytes, self.records_end - self.start);
        self.start = self.records_end;
    }

    fn push(&mut self, bytes: Vec<u8>, len: usize) {
        self.ready.push_back(Framed::Morsel(Morsel {
            bytes: Buffer::from_vec(bytes),
            len,
            byte_offset: self.byte_offset + self.start as u64,
            source_index: self.source_index,
        }));
    }

    /// Moves what is left to the front, and doubles a buffer that is full of one record. That is
    /// bounded: a record that outgrows the limit is skipped.
    fn make_space(&mut self) {
        let rest = self.start..self.filled;
        let has_grown = self.buffer.len() > self.pool.buffer_len;
        if has_grown && rest.len() < self.pool.buffer_len / 2 {
            self.buffer = self.buffer_beginning_with(rest.clone());
        } else if self.start > 0 {
            self.buffer.copy_within(rest.clone(), 0);
        }
        self.byte_offset += self.start as u64;
        self.records_end -= self.start;
        self.open_quote = self.open_quote.saturating_sub(self.start);
        self.filled = rest.len();
        self.start = 0;
        if self.filled + Morsel::PADDING >= self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
    }

    fn buffer_beginning_with(&self, rest: Range<usize>) -> Vec<u8> {
        let mut next = self.pool.take();
        if rest.len() >= next.len() / 2 {
            next.resize(next.len() + rest.len(), 0);
        }
        next[..rest.len()].copy_from_slice(&self.buffer[rest]);
        next
    }
}

/// Bytes that are looked at at once.
const BLOCK: usize = 64;

/// The bits that have an odd number of bits of `marks` at or below them.
#[inline(always)]
fn odd_before(marks: u64) -> u64 {
    [1, 2, 4, 8, 16, 32].iter().fold(marks, |odd, distance| odd ^ odd << distance)
}

/// As [`memchr`], for bytes that are often among the first: where every field is quoted, there
/// is a delimiter between two quotes, and a call takes longer than a look.
#[inline(always)]
fn find_near(byte: u8, bytes: &[u8]) -> Option<usize> {
    let (near, far) = bytes.split_at(bytes.len().min(NEAR));
    near.iter().position(|&b| b == byte).or_else(|| memchr(byte, far).map(|i| near.len() + i))
}

/// By eye: `"`, a delimiter or CR and LF, `"`.
const NEAR: usize = 4;

/// Which end of a record is looked for.
#[derive(Clone, Copy)]
enum RecordEnd {
    First,
    Last,
}

impl RecordEnd {
    /// Offset behind that line feed in `bytes[from..to]`.
    fn line_end(self, bytes: &[u8], from: usize, to: usize) -> Option<usize> {
        let span = &bytes[from..to];
        let found = match self {
            _ if span.len() <= NEAR => match self {
                RecordEnd::First => span.iter().position(|&b| b == b'\n'),
                RecordEnd::Last => span.iter().rposition(|&b| b == b'\n'),
            },
            RecordEnd::First => memchr(b'\n', span),
            RecordEnd::Last => memrchr(b'\n', span),
        };
        found.map(|i| from + i + 1)
    }
}

#[cfg(test)]
mod tests;
