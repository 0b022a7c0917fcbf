//! Frames a stream of bytes into morsels of whole records.
//!
//! The reader thread owns a [`Framer`]: it reads into [`Framer::space`], reports the number of bytes
//! to [`Framer::filled`], and takes finished morsels from [`Framer::pop`]. The bytes are not copied;
//! only the partial record at the end of a morsel is moved to the next buffer.
//!
//! Record ends depend on the bytes alone, never on the chunks in which they arrived or on the size of
//! morsels. Framing knows nothing of fields beyond what it takes to find the end of a record:
//!
//! - lines end at line feeds;
//! - CSV records end at line feeds outside quotes. A quote opens only as the first byte of a
//!   field, `""` inside quotes is a quote, and any other quote is literal. A bare carriage return
//!   ends nothing. A dialect may have another quote, or none; then they end as lines do.
//!
//! A record longer than the limit is skipped in bounded memory and returned as [`Framed::Oversized`],
//! in order, so that it costs one reject. It ends where it would end without a limit: line feeds inside
//! its quotes do not end it, so that no line of a long cell becomes a record.
//!
//! An unclosed quote must not make one record of the rest of the source. A quote counts as unclosed
//! if it is open where the source ends, or where its record exceeds the limit and the lines after it
//! look like records: most of them have as many fields as the first record, and more than one
//! (`Framer::are_records`). Otherwise the field itself is taken to be long. The record of an unclosed
//! quote ends with the line on which the quote was opened, and the bytes after it are scanned afresh.
//! It is the last of its morsel, so that [`super::csv::split`] finds the quote unclosed too. The price:
//! a quote that is open at the limit of a source with one column, and is never closed, takes the rest of
//! the source into its reject.
//!
//! # Finding record ends by block
//!
//! The simple algorithm for CSV is a state machine over bytes: inside or outside quotes, a quote
//! changes the state if it is the first of a field or closes one, and a line feed outside ends a
//! record. `Framer::find_end` departs from it once: it steps from quote to quote with `memchr`, and
//! searches the bytes between two quotes for the line feeds alone. That is fast for text with few
//! quotes, and remains the general case. As long as no record can exceed the limit, only the last end
//! matters, and `Framer::find_last_by_blocks` goes first. It decides 64 bytes at a time, however many
//! quotes are among them:
//!
//! - *Masks.* Comparisons yield a bit per byte for the quotes, and one for the separators, which are
//!   delimiters and line feeds.
//! - *Parity instead of states.* If each quote either opens a field, closes one, or is half of a pair,
//!   then a byte is inside quotes exactly if the number of quotes up to it is odd. A pair inside a field
//!   closes and opens again, which for separators makes no difference: none is between the two quotes.
//!   `odd_before` computes the parities of all 64 prefixes at once. It is the carry-less product of
//!   the mask with 64 ones (prefix XOR), which processors with PCLMULQDQ have as an instruction; six
//!   shifts and XORs give the same on every processor without detection, and take few of the cycles of
//!   a block. The parity carried from the block before inverts the result.
//! - *Proof of the premise.* A quote that turns the parity to inside must be the first byte of a field,
//!   or the second of a pair, that is, follow a separator or another quote. If one does not, it is a
//!   literal quote, as in `5" pipe`, and parity is wrong from there on. One AND over the masks checks all
//!   quotes of a block; at the first block that fails, the general loop takes over from its start.
//!   A quote that turns the parity to outside needs no check: it closes, or is the first of a pair.
//! - *Ends.* Line feeds outside quotes are record ends; the highest such bit of the last block with one
//!   is the end of the last whole record.
//!
//! The state between blocks is three bits: inside quotes or not, whether the last byte was a quote that
//! turned the parity to outside, and whether it was a separator, after which a field begins. The first
//! two are kept between calls as `QuoteState`, the third is taken from the byte before. The block loop
//! scans whole blocks only and the general loop the rest, so that every division of the input into
//! chunks gives the same records. No byte beyond `to` is read.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arrow_buffer::Buffer;
use memchr::{memchr, memchr_iter, memrchr};

use crate::column::Morsel;
use crate::format::simd::either_mask;

/// The rule by which records end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One record per line.
    Lines,
    /// RFC 4180, quoted line breaks included.
    Csv {
        /// Separator of fields; an ASCII byte other than quote, CR and LF.
        delimiter: u8,
        /// The quote, an ASCII byte; `None` without quotes.
        quote: Option<u8>,
    },
    /// One element of a JSON array per line, as rewritten by [`super::json_array::JsonArrayLines`]: carriage
    /// returns are the line breaks of the source.
    Elements,
}

impl Framing {
    /// Returns the rule of RFC 4180 for fields between which `delimiter` is.
    pub fn csv(delimiter: u8) -> Self {
        Framing::Csv { delimiter, quote: Some(b'"') }
    }

    /// Returns the quote; `None` without quotes.
    fn quote(self) -> Option<u8> {
        match self {
            Framing::Csv { quote, .. } => quote,
            Framing::Lines | Framing::Elements => None,
        }
    }

    /// Returns the byte that represents a line break of the source.
    pub fn line_break(self) -> u8 {
        match self {
            Framing::Lines | Framing::Csv { .. } => b'\n',
            Framing::Elements => b'\r',
        }
    }
}

/// An item that a [`Framer`] returns, in the order of the source.
#[derive(Clone, Debug)]
pub enum Framed {
    /// Whole records. Only the last record of a source may lack its line end.
    Morsel(Morsel),
    /// A record longer than the limit, whose bytes were dropped.
    Oversized(Oversized),
}

/// A record that exceeded the length limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Oversized {
    /// Offset of its first byte in the decompressed source.
    pub byte_offset: u64,
    /// Length in bytes, without the line feed.
    pub len: u64,
    /// Line breaks of the source in it, the one that ends it included.
    pub lines: u64,
}

/// A pool of morsel buffers: a fresh buffer of one mebibyte costs 256 page faults.
#[derive(Clone, Debug)]
pub struct BufferPool {
    buffers: Arc<Mutex<Vec<Vec<u8>>>>,
    morsel_bytes: usize,
    buffer_len: usize,
    max_buffers: usize,
}

impl BufferPool {
    /// Makes a pool for morsels of `morsel_bytes` that keeps at most `max_buffers`; buffers returned
    /// beyond that are freed.
    ///
    /// # Panics
    ///
    /// If `morsel_bytes` is zero or more than a gibibyte: offsets in a morsel are 32 bits wide.
    pub fn new(morsel_bytes: usize, max_buffers: usize) -> Self {
        assert!((1..=1 << 30).contains(&morsel_bytes), "morsels have 1 byte to 1 GiB");
        // Space beyond the morsel, so that the last read before it is full is not tiny.
        let buffer_len = morsel_bytes + morsel_bytes / 16 + 1 + Morsel::PADDING;
        BufferPool { buffers: Arc::default(), morsel_bytes, buffer_len, max_buffers }
    }

    /// Returns a morsel's buffer to the pool. Does nothing if views still share it, or if it has another
    /// size, as buffers of long records have.
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

    /// Takes a buffer of `buffer_len` bytes from the pool, or allocates one; its content is unspecified.
    fn take(&self) -> Vec<u8> {
        let recycled = self.lock().pop();
        recycled.unwrap_or_else(|| vec![0; self.buffer_len])
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        // A panic cannot leave the list of buffers inconsistent.
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The state of the CSV scanner after the bytes it has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum QuoteState {
    /// Outside quotes.
    Outside,
    /// Inside quotes.
    Inside,
    /// After a quote inside quotes, which closes them or is the first of a pair.
    QuoteSeen,
}

/// Framer of one source into morsels.
pub struct Framer {
    framing: Framing,
    max_record_bytes: usize,
    source_index: usize,
    pool: BufferPool,
    ready: VecDeque<Framed>,
    /// `buffer[start..filled]` has been read and not returned yet. It begins with a record, unless one
    /// is being skipped: then it is empty between calls. Space for the next read and padding follow.
    buffer: Vec<u8>,
    start: usize,
    filled: usize,
    /// End of the last whole record. `start <= records_end <= filled`.
    records_end: usize,
    /// Offset of `buffer[0]` in the source.
    byte_offset: u64,
    /// False until enough bytes were read to know whether there is a byte order mark.
    started: bool,
    /// State of the CSV scanner at the end of what it has seen of `buffer[..filled]`.
    quote_state: QuoteState,
    /// Offset of the last opening quote; meaningless in [`QuoteState::Outside`].
    open_quote: usize,
    /// The oversized record that is being skipped, counted so far.
    skipping: Option<Oversized>,
    /// The last byte of a record that is being skipped, which is before `buffer[0]` then; else a line feed.
    before: u8,
    /// Fields of the first CSV record that is not blank; zero before it was returned.
    first_fields: usize,
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Framer {
    /// Makes a framer at the start of a source. Morsels have about the size of the pool's; the last one
    /// and those before a pause are smaller, one with a longer record is larger.
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
            quote_state: QuoteState::Outside,
            open_quote: 0,
            skipping: None,
            before: b'\n',
            first_fields: 0,
        }
    }

    /// Sets the offset of the first byte in the source. Default: 0.
    #[must_use]
    pub fn at_byte(self, byte_offset: u64) -> Self {
        Framer { byte_offset, ..self }
    }

    /// Returns the space to read the next chunk into; never empty. Its content is unspecified.
    pub fn space(&mut self) -> &mut [u8] {
        let end = self.buffer.len() - Morsel::PADDING;
        &mut self.buffer[self.filled..end]
    }

    /// Accepts the first `n` bytes of [`Framer::space`] as read, and makes morsels that they complete
    /// available to [`Framer::pop`].
    ///
    /// # Panics
    ///
    /// If `n` is more than the space.
    pub fn filled(&mut self, n: usize) {
        let from = self.filled;
        self.filled += n;
        assert!(self.filled + Morsel::PADDING <= self.buffer.len(), "more bytes were read than there was space for");
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

    /// Returns the next finished item. To be called until `None` after each of the other calls.
    pub fn pop(&mut self) -> Option<Framed> {
        self.ready.pop_front()
    }

    /// Finishes a morsel of the whole records so far, because the source pauses.
    pub fn flush(&mut self) {
        self.cut();
        self.make_space();
    }

    /// Finishes the rest at the end of the source. A last record without a line end is a record too,
    /// also if a quote is open in it.
    pub fn finish(&mut self) {
        if !self.started {
            self.begin();
        }
        // Each unclosed quote ends with its line; the lines after it may open others.
        while self.skipping.is_none()
            && self.quote_state == QuoteState::Inside
            && let Some(end) = self.line_of_open_quote(self.filled)
        {
            self.end_unclosed(end);
            self.scan(end);
        }
        // The scan waits for one more byte where that decides whether a quote closes.
        if self.filled - self.records_end > self.max_record_bytes {
            self.start_skipping(self.filled);
        }
        if let Some(mut oversized) = self.skipping.take() {
            // A line feed in an unclosed quote is the last byte of the source.
            oversized.len -= u64::from(self.before == b'\n');
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
            self.byte_offset += BYTE_ORDER_MARK.len() as u64;
        }
        self.scan(0);
    }

    /// Finds the record ends in `buffer[from..filled]`, and skips records that are longer than the limit,
    /// after finishing the records before them.
    fn scan(&mut self, mut from: usize) {
        loop {
            if self.skipping.is_some() {
                match self.skip(from) {
                    Some(end) => from = end,
                    None => return,
                }
            }
            if self.filled - self.start <= self.max_record_bytes {
                // No record here can exceed the limit, so that only the last end matters.
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

    /// Finds record ends one by one until a record is too long; returns the offset after it from which to scan on, or
    /// `None` at the end of the buffer. Decides by the bytes up to the limit and the one after it, never by how many
    /// have been read, so that the result does not depend on chunks.
    fn scan_one_by_one(&mut self, mut from: usize) -> Option<usize> {
        loop {
            let limit = self.records_end + self.max_record_bytes + 1;
            if let Some(end) = self.find_end(from, limit.min(self.filled), RecordEnd::First) {
                self.records_end = end;
                from = end;
                continue;
            }
            // After a quote, one more byte decides whether it closes.
            if self.filled < limit || self.filled == limit && self.quote_state == QuoteState::QuoteSeen {
                return None;
            }
            let inside = match self.quote_state {
                QuoteState::Outside => false,
                QuoteState::Inside => true,
                QuoteState::QuoteSeen => self.framing.quote() == Some(self.buffer[limit]),
            };
            return Some(match self.line_of_open_quote(limit) {
                Some(end) if inside && self.are_records(end, limit) => self.end_unclosed(end),
                _ => self.start_skipping(limit),
            });
        }
    }

    /// Returns the end of the line of the open quote, if it is before `to`.
    fn line_of_open_quote(&self, to: usize) -> Option<usize> {
        memchr(b'\n', &self.buffer[self.open_quote..to]).map(|i| self.open_quote + i + 1)
    }

    /// Returns true if the lines in `buffer[from..to]` look like records, not like the text of one field: more than half
    /// of them have as many fields as the first record, which has several. Compares the first lines only. A first record
    /// that is this one proves nothing, and counts as like them.
    #[cold]
    fn are_records(&mut self, from: usize, to: usize) -> bool {
        let Framing::Csv { delimiter, quote: Some(quote) } = self.framing else { return false };
        self.cut_copy();
        let (mut lines, mut alike) = (0, 0);
        let mut rest = &self.buffer[from..to];
        while lines < MAX_COMPARED_LINES
            && let Some(end) = memchr(b'\n', rest)
        {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            if !line.trim_ascii().is_empty() {
                lines += 1;
                alike += usize::from(count_fields(line, delimiter, quote) == self.first_fields);
            }
        }
        match self.first_fields {
            0 => true,
            1 => false,
            _ => alike * 2 > lines,
        }
    }

    /// Ends the record at `end`, after the line of its open quote, as the last one of its morsel. Returns
    /// the offset from which to scan on.
    fn end_unclosed(&mut self, end: usize) -> usize {
        self.quote_state = QuoteState::Outside;
        self.records_end = end;
        self.cut_copy();
        end
    }

    /// Finishes the records before the one at `records_end`, which is too long, and drops the bytes of
    /// that one up to `seen`, which the scan has seen. Returns the offset from which to scan on.
    fn start_skipping(&mut self, seen: usize) -> usize {
        self.cut_copy();
        self.skipping = Some(Oversized { byte_offset: self.byte_offset + self.start as u64, len: 0, lines: 0 });
        self.count_skipped(self.start, seen);
        seen
    }

    /// Drops the bytes of the record that is being skipped up to its end in `buffer[from..filled]`.
    /// Returns that end, or `None` if it has not been read yet.
    fn skip(&mut self, from: usize) -> Option<usize> {
        let end = self.find_end(from, self.filled, RecordEnd::First);
        self.count_skipped(from, end.unwrap_or(self.filled));
        if end.is_some()
            && let Some(mut oversized) = self.skipping.take()
        {
            // Its line feed.
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
        if let Some(&last) = seen.last() {
            self.before = last;
        }
        self.start = to;
        self.records_end = to;
    }

    /// Returns the offset after the first or last line feed in `buffer[from..to]` that ends a record, and advances the
    /// quote state: to `to`, or to a first one found.
    fn find_end(&mut self, from: usize, to: usize, which: RecordEnd) -> Option<usize> {
        let Framing::Csv { delimiter, quote: Some(quote) } = self.framing else {
            return which.line_end(&self.buffer, from, to);
        };
        let (mut at, mut found) = match which {
            RecordEnd::Last => self.find_last_by_blocks(from, to, delimiter, quote),
            RecordEnd::First => (from, None),
        };
        let bytes = &self.buffer[..to];
        let before = self.before;
        let opens = |at: usize| {
            let before = if at == 0 { before } else { bytes[at - 1] };
            before == delimiter || before == b'\n'
        };
        // The next line feed, or `to`; searched for again only once it is passed.
        let mut line_feed = None;
        while at < to {
            match self.quote_state {
                QuoteState::Inside => match memchr(quote, &bytes[at..]) {
                    None => return found,
                    Some(i) => {
                        at += i + 1;
                        self.quote_state = QuoteState::QuoteSeen;
                    }
                },
                QuoteState::QuoteSeen if bytes[at] == quote => {
                    at += 1;
                    self.quote_state = QuoteState::Inside;
                }
                QuoteState::QuoteSeen => self.quote_state = QuoteState::Outside,
                QuoteState::Outside => {
                    // For the first end, quotes are searched for only up to the next line feed: a search
                    // beyond it, repeated for record after record, would take quadratic time.
                    let ahead = match which {
                        RecordEnd::Last => to,
                        RecordEnd::First => match line_feed {
                            Some(known) if known >= at => known,
                            _ => *line_feed.insert(find_near(b'\n', &bytes[at..]).map_or(to, |i| at + i)),
                        },
                    };
                    // The next quote that opens a field; others are literal.
                    let mut search = at;
                    let opening = loop {
                        match find_near(quote, &bytes[search..ahead]).map(|i| search + i) {
                            Some(literal) if !opens(literal) => search = literal + 1,
                            found => break found,
                        }
                    };
                    if let Some(opening) = opening {
                        self.quote_state = QuoteState::Inside;
                        self.open_quote = opening;
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

    /// Scans whole blocks of `buffer[from..to]`, as long as no quote in them is literal; see the head of the file.
    /// Returns the offset of the first byte that it has not scanned, and the offset after the last line feed before it
    /// that ends a record.
    fn find_last_by_blocks(&mut self, from: usize, to: usize, delimiter: u8, quote: u8) -> (usize, Option<usize>) {
        let mut at = from;
        let mut found = None;
        let mut inside = self.quote_state == QuoteState::Inside;
        let mut closed = self.quote_state == QuoteState::QuoteSeen;
        // A field begins at `at`; `buffer[0]` is the first byte of a record.
        let mut begins = at == 0 || [delimiter, b'\n'].contains(&self.buffer[at - 1]);
        while let Some(block) = self.buffer[..to].get(at..).and_then(<[u8]>::first_chunk::<BLOCK>) {
            let quotes = either_mask(block, quote, quote);
            let separators = either_mask(block, delimiter, b'\n');
            // Bytes inside quotes, an opening quote included and a closing one not.
            let inner = odd_before(quotes) ^ if inside { u64::MAX } else { 0 };
            let opening = quotes & inner;
            let beginning = separators << 1 | u64::from(begins);
            // An opening quote must begin a field or be the second of a pair.
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
        self.quote_state = match (inside, closed) {
            (true, _) => QuoteState::Inside,
            (false, true) => QuoteState::QuoteSeen,
            (false, false) => QuoteState::Outside,
        };
        (at, found)
    }

    /// Finishes a morsel of the whole records: in place if they fill at least a quarter of the buffer, else as a copy.
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

    /// Finishes a morsel of the whole records as a copy. They are few, or followed by bytes that are dropped.
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
        if self.first_fields == 0
            && let Framing::Csv { delimiter, quote: Some(quote) } = self.framing
        {
            self.first_fields = count_first_fields(&bytes[..len], delimiter, quote);
        }
        self.ready.push_back(Framed::Morsel(Morsel {
            bytes: Buffer::from_vec(bytes),
            len,
            byte_offset: self.byte_offset + self.start as u64,
            source_index: self.source_index,
        }));
    }

    /// Moves the rest to the front of the buffer, and doubles a buffer that one record fills. The growth is
    /// bounded: a record that exceeds the limit is skipped.
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

/// The most lines after an open quote that [`Framer::are_records`] compares.
const MAX_COMPARED_LINES: usize = 1000;

/// Counts the fields of the first record in `records` that is not blank; zero if all are.
#[cold]
fn count_first_fields(records: &[u8], delimiter: u8, quote: u8) -> usize {
    let start = records.iter().position(|b| !matches!(b, b'\r' | b'\n'));
    start.map_or(0, |start| count_fields(&records[start..], delimiter, quote))
}

/// Counts the fields of the record at the start of `bytes`, which ends at a line feed outside quotes or with `bytes`.
fn count_fields(bytes: &[u8], delimiter: u8, quote: u8) -> usize {
    let (mut fields, mut begins, mut inside) = (1, true, false);
    for &byte in bytes {
        match byte {
            // The second quote of a pair opens again what the first one closed.
            _ if byte == quote && inside => (inside, begins) = (false, true),
            _ if byte == quote && begins => inside = true,
            _ if inside => {}
            b'\n' => break,
            _ => {
                begins = byte == delimiter;
                fields += usize::from(begins);
            }
        }
    }
    fields
}

/// Bytes per block, one bit of a mask each.
const BLOCK: usize = 64;

/// Sets each bit that has an odd number of bits of `marks` at or below it: the prefix XOR, which is the carry-less product
/// of `marks` and 64 ones. Each step doubles the number of bits below that are folded in: 1, 2, 4 and so on up to 64.
#[inline(always)]
fn odd_before(marks: u64) -> u64 {
    [1, 2, 4, 8, 16, 32].iter().fold(marks, |odd, distance| odd ^ odd << distance)
}

/// As [`memchr`], for bytes that are often among the first [`NEAR`]: where every field is quoted, only a
/// delimiter is between two quotes, and a loop over four bytes is faster than the call.
#[inline(always)]
fn find_near(byte: u8, bytes: &[u8]) -> Option<usize> {
    let (near, far) = bytes.split_at(bytes.len().min(NEAR));
    near.iter().position(|&b| b == byte).or_else(|| memchr(byte, far).map(|i| near.len() + i))
}

/// Bytes that [`find_near`] compares without a call. By eye: `"`, a delimiter or CR and LF, `"`.
const NEAR: usize = 4;

/// The record end to search for.
#[derive(Clone, Copy)]
enum RecordEnd {
    First,
    Last,
}

impl RecordEnd {
    /// Returns the offset after that line feed in `bytes[from..to]`.
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
