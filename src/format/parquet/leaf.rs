//! Encodes one leaf column of one row group: values and levels in, compressed pages out.
//!
//! A trial decides about the dictionary of a chunk: the first values go into one, then the codec
//! itself measures the same values without it, and the smaller form is used for the rest. So the choice
//! is right for text that compresses well, for numbers that do not, and for outputs without compression.

use std::fmt;
use std::sync::Arc;

use arrow_array::ArrayRef;
use arrow_array::cast::AsArray;
use arrow_array::types::{
    Date32Type, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType,
};
use arrow_schema::{DataType, TimeUnit};
use parquet::basic::{Encoding, Type};
use parquet::column::page::{CompressedPage, Page, PageWriter};
use parquet::file::statistics::{Statistics, ValueStatistics};
use parquet::file::writer::{SerializedPageWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;

use super::Error;
use super::codec::{Content, PageCodec};
use super::levels::{Definition, Entries, Live};
use super::numbers::Numbers;
use super::rle;
use super::values::{DictionaryShape, Kind, Text, Texts};
use crate::column::Schema;

/// Bytes of values at which a page is closed, at the end of a batch. By eye: larger pages make no smaller
/// files with zstd's window at the low levels, and take memory per column.
const PAGE_BYTES: usize = 1 << 20;

/// Entries at which a page is closed, which bounds its levels and indices.
const PAGE_ENTRIES: usize = 1 << 18;

/// Bytes beyond which a dictionary is closed, and the rest of the chunk written plain.
pub(super) const DICTIONARY_BYTES: usize = 1 << 20;

/// Values after which the trial is decided. Fewer say little about how many distinct ones will follow.
const TRIAL_VALUES: usize = 8192;

/// Values that are enough to extrapolate if a part has no more.
const FEW_TRIAL_VALUES: usize = 1024;

/// Bytes of distinct values after which the trial is decided, however few they are.
const TRIAL_BYTES: usize = 256 << 10;

/// Bytes of plain values that are compressed to measure their ratio.
const SAMPLE_BYTES: usize = 64 << 10;

/// Bytes of a plain page from which the kind of its text is determined.
const KIND_SAMPLE_BYTES: usize = 128 << 10;

/// Bytes that a dictionary costs however small it is: its page header and its entry in the footer.
const DICTIONARY_OVERHEAD: f64 = 48.0;

/// Expected rows of a row group, by which the final size of a dictionary is estimated. By eye: row groups of
/// wide rows have about so many.
pub(super) const GUESSED_ROWS: usize = 131_072;

/// Expected batches of a row group, for the same estimate where rows are narrow and a batch has many of them.
/// Measured: a group of 32 MiB takes 120 to 180 MiB of text, and a batch is made of one.
pub(super) const GUESSED_BATCHES: usize = 120;

/// Bytes reserved before the values of a plain page for its levels, so that the two need not be copied together.
/// Outside of lists, levels are one run or a few as a rule.
const HEADROOM: usize = 64;

/// The most headroom that is reserved after levels did not fit: in lists they take some bits per entry.
const MAX_HEADROOM: usize = 64 << 10;

/// Dispatches on the variant of [`Values`]: one expression for booleans, one for all columns.
macro_rules! each_kind {
    ($values:expr, $bits:ident => $of_bits:expr, $column:ident => $of_column:expr) => {
        match $values {
            Values::Bool($bits) => $of_bits,
            Values::Int($column) => $of_column,
            Values::Day($column) => $of_column,
            Values::Float($column) => $of_column,
            Values::Decimal($column) => $of_column,
            Values::Text($column) => $of_column,
        }
    };
}

/// The codec and buffers that the leaves of one encoder share. Passed from encoder to encoder, so that
/// neither the codec's context nor memory is allocated anew for each.
#[derive(Debug)]
pub struct EncoderScratch {
    pub(super) codec: PageCodec,
    pub(super) page: Vec<u8>,
    levels: Vec<u8>,
    /// Rows that the encoder has taken, the current batch included.
    pub(super) rows: usize,
    /// Expected rows of its row group.
    pub(super) expected_rows: usize,
    /// Page buffers that are not in use.
    spare: Vec<Vec<u8>>,
    /// Hints of the leaves of the last schema, in their order; `None` before the first part.
    pub(super) hints: Option<(Arc<Schema>, Vec<ColumnHint>)>,
}

/// Observations on the last part of a leaf, as hints for the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ColumnHint {
    /// Final shape of its dictionary.
    dictionary: DictionaryShape,
    /// Headroom that the levels of its plain pages needed.
    headroom: usize,
    /// Kind of its plain text; `None` before the first large page.
    text: Option<Content>,
}

impl EncoderScratch {
    pub(super) fn new(codec: PageCodec) -> Self {
        let (page, levels, spare) = (Vec::new(), Vec::new(), Vec::new());
        EncoderScratch { codec, page, levels, rows: 0, expected_rows: GUESSED_ROWS, spare, hints: None }
    }

    /// Returns the hints of the leaves of `schema`; none if it was not the last one.
    pub(super) fn hints_of(&self, schema: &Schema) -> &[ColumnHint] {
        match &self.hints {
            Some((of, hints)) if **of == *schema => hints,
            _ => &[],
        }
    }
}

/// Encoder of a part of one column chunk.
#[derive(Debug)]
pub(super) struct LeafEncoder {
    descriptor: ColumnDescPtr,
    repetition: Levels,
    definition: Levels,
    values: Values,
    pages: Pages,
    hint: ColumnHint,
}

/// One worker's part of a column chunk. [`super::chunk::join`] makes the chunk of one or more of these.
#[derive(Debug)]
pub(super) struct ChunkPart {
    pub(super) descriptor: ColumnDescPtr,
    pub(super) pages: Pages,
    /// Dictionary of the index pages, and bounds of all values.
    pub(super) values: Values,
}

/// The values since the last page, by type.
#[derive(Debug)]
pub(super) enum Values {
    Bool(Bits),
    Int(Column<Numbers<i64>>),
    Day(Column<Numbers<i32>>),
    Float(Column<Numbers<f64>>),
    Decimal(Column<Numbers<i128>>),
    Text(Column<Texts>),
}

/// Returns the values of an array of 64-bit integers or timestamps.
fn long_values(array: &ArrayRef) -> &[i64] {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => array.as_primitive::<TimestampMillisecondType>().values(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => array.as_primitive::<TimestampMicrosecondType>().values(),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => array.as_primitive::<TimestampNanosecondType>().values(),
        _ => array.as_primitive::<Int64Type>().values(),
    }
}

impl LeafEncoder {
    /// Makes an encoder of the leaf. `plain` skips the trial of a dictionary.
    pub(super) fn new(descriptor: ColumnDescPtr, plain: bool, hint: ColumnHint) -> Self {
        let capacity = ColumnCapacity {
            dictionary: if plain { DictionaryShape::default() } else { hint.dictionary },
            headroom: hint.headroom.max(HEADROOM),
        };
        let values = match descriptor.physical_type() {
            Type::BOOLEAN => Values::Bool(Bits::default()),
            Type::INT64 => Values::Int(Column::new(plain, capacity)),
            Type::INT32 => Values::Day(Column::new(plain, capacity)),
            Type::DOUBLE => Values::Float(Column::new(plain, capacity)),
            Type::FIXED_LEN_BYTE_ARRAY => Values::Decimal(Column::new(plain, capacity)),
            _ => Values::Text(Column::new(plain, capacity)),
        };
        LeafEncoder {
            repetition: Levels::new(descriptor.max_rep_level()),
            definition: Levels::new(descriptor.max_def_level()),
            descriptor,
            values,
            pages: Pages::default(),
            hint,
        }
    }

    /// Adds the entries, with their values in `array`.
    pub(super) fn write(
        &mut self,
        array: &ArrayRef,
        entries: &Entries,
        scratch: &mut EncoderScratch,
    ) -> Result<(), Error> {
        self.pages.entries += entries.len as u64;
        if self.repetition.width > 0 {
            self.repetition.push_each(&entries.repetition);
        }
        match &entries.definition {
            Definition::Same(level) => self.definition.push_same(*level, entries.len),
            Definition::Each(levels) => self.definition.push_each(levels),
        }
        let n_values = match &entries.live {
            Live::Range(range) => range.len(),
            Live::Some(values) => values.len(),
        };
        // Entries without a value count as nulls in the statistics, empty lists included, as with other writers.
        self.pages.nulls += (entries.len - n_values) as u64;
        match &mut self.values {
            Values::Bool(bits) => bits.append(array, &entries.live),
            Values::Int(column) => {
                let values = long_values(array);
                column.append(&entries.live, |i| values[i], scratch)?;
            }
            Values::Day(column) => {
                let values = array.as_primitive::<Date32Type>().values();
                column.append(&entries.live, |i| values[i], scratch)?;
            }
            Values::Float(column) => {
                let values = array.as_primitive::<Float64Type>().values();
                column.append(&entries.live, |i| values[i], scratch)?;
            }
            Values::Decimal(column) => {
                let values = array.as_primitive::<Decimal128Type>().values();
                column.append(&entries.live, |i| values[i], scratch)?;
            }
            Values::Text(column) => {
                let strings = array.as_string_view();
                let (views, buffers) = (strings.views(), strings.data_buffers());
                column.append(&entries.live, |i| Text { view: views[i], buffers }, scratch)?;
            }
        }
        // Pages are closed between batches only, so that a page never ends inside a row.
        let full = each_kind!(&self.values, _bits => false, column => column.is_full());
        if full || self.values.page_bytes() >= PAGE_BYTES || self.definition.len >= PAGE_ENTRIES {
            self.close_page(scratch)?;
        }
        Ok(())
    }

    /// Adds `rows` nulls of the whole column: the entries end at its outermost level.
    pub(super) fn write_nulls(&mut self, mut rows: usize, scratch: &mut EncoderScratch) -> Result<(), Error> {
        while rows > 0 {
            let entries = rows.min(PAGE_ENTRIES);
            rows -= entries;
            self.pages.entries += entries as u64;
            self.pages.nulls += entries as u64;
            if self.repetition.width > 0 {
                self.repetition.push_each(&vec![0; entries]);
            }
            self.definition.push_same(0, entries);
            if self.definition.len >= PAGE_ENTRIES {
                self.close_page(scratch)?;
            }
        }
        Ok(())
    }

    /// Makes it the encoder of another leaf with the same carrier and levels.
    pub(super) fn moved_to(self, descriptor: ColumnDescPtr) -> Self {
        LeafEncoder { descriptor, ..self }
    }

    /// Returns the memory held, in bytes.
    pub(super) fn memory_size(&self) -> usize {
        self.pages.bytes + self.values.memory_size() + self.repetition.each.capacity() + self.definition.each.capacity()
    }

    /// Finishes the part; returns it, and the hints for the next.
    pub(super) fn finish(mut self, scratch: &mut EncoderScratch) -> Result<(ChunkPart, ColumnHint), Error> {
        // A chunk has at least one page, if only of nulls; a part without rows is never written.
        if self.definition.len > 0 {
            self.close_page(scratch)?;
        }
        (self.hint.dictionary, self.hint.headroom) =
            each_kind!(&self.values, _bits => Default::default(), column => (column.kind.shape(), column.headroom));
        self.values.release(&mut scratch.spare);
        Ok((ChunkPart { descriptor: self.descriptor, pages: self.pages, values: self.values }, self.hint))
    }

    fn close_page(&mut self, scratch: &mut EncoderScratch) -> Result<(), Error> {
        self.values.end_trial(scratch)?;
        let entries = self.definition.len;
        let EncoderScratch { codec, page: joined, levels, .. } = scratch;
        levels.clear();
        self.repetition.drain_into(levels);
        self.definition.drain_into(levels);
        // Index pages stay unpacked until the parts of the chunk are joined and the width is known.
        if let Some(indices) = self.values.take_indices() {
            self.pages.bytes += levels.len() + indices.len() * 4;
            self.pages.list.push(PagePart::Indices { entries, levels: levels.as_slice().into(), indices });
        } else {
            let mut content = self.values.content();
            let body = self.values.plain_page(levels, joined);
            if content == Content::Text {
                if self.hint.text.is_none() && body.len() >= KIND_SAMPLE_BYTES {
                    self.hint.text = Some(codec.kind_of_text(&body[..KIND_SAMPLE_BYTES])?);
                }
                content = self.hint.text.unwrap_or(content);
            }
            self.pages.push_plain(entries, body, content, codec, &self.descriptor)?;
        }
        self.values.clear_page();
        Ok(())
    }
}

/// Finished pages of a part.
#[derive(Debug, Default)]
pub(super) struct Pages {
    pub(super) list: Vec<PagePart>,
    /// Memory that they take, in bytes.
    pub(super) bytes: usize,
    pub(super) entries: u64,
    pub(super) nulls: u64,
}

/// One data page of a part.
#[derive(Debug)]
pub(super) enum PagePart {
    /// Page of plain values, compressed and final.
    Ready(SerializedPage),
    /// Page of indices into the part's dictionary, which is not the chunk's yet.
    Indices {
        /// Number of entries, nulls included.
        entries: usize,
        /// Encoded levels.
        levels: Box<[u8]>,
        /// One index per value.
        indices: Vec<u32>,
    },
}

/// A page with its header.
#[derive(Debug)]
pub(super) struct SerializedPage {
    pub(super) bytes: Vec<u8>,
    /// Uncompressed size with the header, as the footer counts it.
    pub(super) uncompressed_bytes: usize,
}

impl SerializedPage {
    /// Serialises a page with its header. `uncompressed` is the length of its body before compression.
    pub(super) fn new(page: Page, uncompressed: usize) -> Result<Self, Error> {
        let mut out = TrackedWrite::new(Vec::with_capacity(page.buffer().len() + 64));
        let spec = SerializedPageWriter::new(&mut out).write_page(CompressedPage::new(page, uncompressed))?;
        Ok(SerializedPage { bytes: out.into_inner()?, uncompressed_bytes: spec.uncompressed_size })
    }

    /// Compresses and serialises a data page with this body.
    pub(super) fn data(
        entries: usize,
        body: &[u8],
        (encoding, content): (Encoding, Content),
        codec: &mut PageCodec,
        descriptor: &ColumnDescPtr,
    ) -> Result<Self, Error> {
        if i32::try_from(body.len()).is_err() {
            return Err(Error::PageSize { column: descriptor.path().string(), bytes: body.len() });
        }
        let page = Page::DataPage {
            buf: codec.compressed(body, content)?,
            num_values: entries as u32,
            encoding,
            def_level_encoding: Encoding::RLE,
            rep_level_encoding: Encoding::RLE,
            statistics: None,
        };
        SerializedPage::new(page, body.len())
    }
}

impl Pages {
    fn push_plain(
        &mut self,
        entries: usize,
        body: &[u8],
        content: Content,
        codec: &mut PageCodec,
        descriptor: &ColumnDescPtr,
    ) -> Result<(), Error> {
        let page = SerializedPage::data(entries, body, (Encoding::PLAIN, content), codec, descriptor)?;
        self.bytes += page.bytes.len();
        self.list.push(PagePart::Ready(page));
        Ok(())
    }
}

/// Levels of the entries since the last page.
#[derive(Debug)]
struct Levels {
    /// Bits per level; 0 for a leaf that has only one.
    width: u8,
    len: usize,
    /// The level of all entries, as long as `each` is empty.
    same: u8,
    /// One per entry, once levels differ; empty before.
    each: Vec<u8>,
}

impl Levels {
    fn new(max: i16) -> Self {
        Levels { width: rle::bit_width(max as u32), len: 0, same: 0, each: Vec::new() }
    }

    fn push_same(&mut self, level: u8, n: usize) {
        if self.len == 0 {
            self.same = level;
        } else if self.each.is_empty() && self.same != level && n > 0 {
            self.each.resize(self.len, self.same);
        }
        self.len += n;
        if !self.each.is_empty() {
            self.each.resize(self.len, level);
        }
    }

    fn push_each(&mut self, levels: &[u8]) {
        if self.each.is_empty() {
            self.each.resize(self.len, self.same);
        }
        self.each.extend_from_slice(levels);
        self.len += levels.len();
    }

    /// Appends the levels in the form of a data page, with their length before them, and clears them.
    fn drain_into(&mut self, out: &mut Vec<u8>) {
        if self.width > 0 {
            let start = out.len();
            out.extend_from_slice(&[0; 4]);
            if self.each.is_empty() {
                rle::encode_run(self.same.into(), self.len, self.width, out);
            } else {
                rle::encode(&self.each, self.width, out);
            }
            let length = (out.len() - start - 4) as u32;
            out[start..start + 4].copy_from_slice(&length.to_le_bytes());
        }
        self.len = 0;
        self.each.clear();
    }
}

impl Values {
    fn page_bytes(&self) -> usize {
        each_kind!(self, bits => bits.bytes.len(), column => column.plain.len().saturating_sub(column.headroom))
    }

    fn memory_size(&self) -> usize {
        each_kind!(self, bits => bits.bytes.capacity(), column => column.memory_size())
    }

    fn end_trial(&mut self, scratch: &mut EncoderScratch) -> Result<(), Error> {
        each_kind!(self, _bits => Ok(()), column => column.end_trial(scratch))
    }

    /// Returns true if a dictionary was tried on enough values and did not pay.
    pub(super) fn outgrown(&self) -> bool {
        each_kind!(self, _bits => false, column => column.outgrown)
    }

    /// Returns the content of plain pages, for the codec.
    pub(super) fn content(&self) -> Content {
        if matches!(self, Values::Text(_)) { Content::Text } else { Content::Numbers }
    }

    /// Returns the number of entries of the dictionary, and their plain encoding.
    pub(super) fn dictionary(&self) -> (usize, &[u8]) {
        each_kind!(self, _bits => (0, &[]), column => column.kind.dictionary())
    }

    /// Returns the plain encoding of one entry of the dictionary.
    pub(super) fn entry(&self, index: u32) -> &[u8] {
        each_kind!(self, _bits => &[], column => column.kind.entry(index))
    }

    pub(super) fn statistics(&self, nulls: u64) -> Statistics {
        each_kind!(self, bits => bits.statistics(nulls), column => column.kind.statistics(nulls))
    }

    /// Widens the bounds by those of `other`, which must be of the same type. With `entries`, also merges
    /// its dictionary, and returns the new index of each of its entries.
    pub(super) fn absorb(&mut self, other: &Values, entries: bool) -> Vec<u32> {
        match (self, other) {
            (Values::Bool(mine), Values::Bool(other)) => {
                mine.seen = [mine.seen[0] | other.seen[0], mine.seen[1] | other.seen[1]];
                Vec::new()
            }
            (Values::Int(mine), Values::Int(other)) => mine.kind.absorb(&other.kind, entries),
            (Values::Day(mine), Values::Day(other)) => mine.kind.absorb(&other.kind, entries),
            (Values::Float(mine), Values::Float(other)) => mine.kind.absorb(&other.kind, entries),
            (Values::Decimal(mine), Values::Decimal(other)) => mine.kind.absorb(&other.kind, entries),
            (Values::Text(mine), Values::Text(other)) => mine.kind.absorb(&other.kind, entries),
            _ => unreachable!("parts of one leaf have its type"),
        }
    }

    /// Takes the indices of the page; `None` if its values are plain.
    fn take_indices(&mut self) -> Option<Vec<u32>> {
        each_kind!(self, _bits => None, column => column.take_indices())
    }

    /// Returns the body of a plain page: `levels`, then the values. They are copied together in `joined` unless
    /// the levels fit into the headroom before the values.
    fn plain_page<'a>(&'a mut self, levels: &[u8], joined: &'a mut Vec<u8>) -> &'a [u8] {
        joined.clear();
        each_kind!(self,
            bits => {
                joined.extend_from_slice(levels);
                joined.extend_from_slice(&bits.bytes);
                joined
            },
            column => column.plain_page(levels, joined))
    }

    fn clear_page(&mut self) {
        each_kind!(self, bits => bits.clear_page(), column => column.clear_page());
    }

    /// Frees memory that only the encoder needs; page buffers go to `spare`.
    fn release(&mut self, spare: &mut Vec<Vec<u8>>) {
        each_kind!(self, bits => bits.bytes = Vec::new(), column => column.release(spare));
    }
}

/// The use of a dictionary for the values of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DictionaryMode {
    /// Values go into a dictionary until the trial is decided.
    Trying,
    Dictionary,
    Plain,
}

/// The initial capacities of a column.
#[derive(Clone, Copy)]
struct ColumnCapacity {
    /// Expected shape of its dictionary.
    dictionary: DictionaryShape,
    /// Bytes before the values of a plain page.
    headroom: usize,
}

/// The values of one type other than boolean.
pub(super) struct Column<K> {
    kind: K,
    mode: DictionaryMode,
    outgrown: bool,
    /// Dictionary indices of the values since the last page; empty in [`DictionaryMode::Plain`].
    indices: Vec<u32>,
    /// Plain values since the last page, after `headroom` bytes; empty before the first.
    plain: Vec<u8>,
    headroom: usize,
    /// Headroom that the last page with too little would have needed.
    needed_headroom: usize,
}

impl<K: Kind> Column<K> {
    fn new(plain: bool, capacity: ColumnCapacity) -> Self {
        Column {
            kind: K::with_shape(capacity.dictionary),
            mode: if plain { DictionaryMode::Plain } else { DictionaryMode::Trying },
            outgrown: plain,
            indices: Vec::new(),
            plain: Vec::new(),
            headroom: capacity.headroom,
            needed_headroom: 0,
        }
    }

    fn append<'a>(
        &mut self,
        live: &Live,
        value: impl Fn(usize) -> K::Value<'a>,
        scratch: &mut EncoderScratch,
    ) -> Result<(), Error> {
        if self.mode == DictionaryMode::Plain {
            self.need_plain(scratch);
        }
        match live {
            Live::Range(range) => self.append_all(range.clone().map(value)),
            Live::Some(indices) => self.append_all(indices.iter().map(|&i| value(i as usize))),
        }
        if self.mode == DictionaryMode::Trying {
            let bytes = self.kind.dictionary().1.len();
            if self.indices.len() >= TRIAL_VALUES || bytes >= TRIAL_BYTES {
                self.end_trial(scratch)?;
            }
        }
        Ok(())
    }

    /// Ensures that there is a buffer for plain values.
    fn need_plain(&mut self, scratch: &mut EncoderScratch) {
        if self.plain.is_empty() {
            self.plain = scratch.spare.pop().unwrap_or_default();
            self.plain.resize(self.headroom, 0);
        }
    }

    fn release(&mut self, spare: &mut Vec<Vec<u8>>) {
        self.kind.drop_lookup();
        let mut plain = std::mem::take(&mut self.plain);
        // A buffer that a long record has enlarged is not kept.
        if plain.capacity() > 0 && plain.capacity() <= 4 * PAGE_BYTES {
            plain.clear();
            spare.push(plain);
        }
    }

    fn append_all<'a>(&mut self, values: impl Iterator<Item = K::Value<'a>>) {
        if self.mode == DictionaryMode::Plain {
            self.kind.plain_all(values, &mut self.plain);
        } else {
            self.indices.reserve(values.size_hint().0);
            for value in values {
                let index = self.kind.intern(value);
                self.indices.push(index);
            }
        }
    }

    /// Ends the trial, unless it has ended: decides between dictionary and plain values by estimating the size
    /// of both for the whole chunk.
    fn end_trial(&mut self, scratch: &mut EncoderScratch) -> Result<(), Error> {
        if self.mode != DictionaryMode::Trying || self.indices.is_empty() {
            return Ok(());
        }
        // Measures the compression ratio of the values without a dictionary.
        let sample = &mut scratch.page;
        sample.clear();
        for &index in &self.indices {
            sample.extend_from_slice(self.kind.entry(index));
            if sample.len() >= SAMPLE_BYTES {
                break;
            }
        }
        let ratio = scratch.codec.compressed_size(sample, K::CONTENT)? as f64 / sample.len() as f64;

        // Totals of the trial; `indices` has all values since the first, as the trial ends before a page does.
        let values = self.indices.len() as f64;
        let (entries, bytes) = self.kind.dictionary();
        let entry_bytes = bytes.len() as f64 / entries as f64;
        let plain_bytes = self.indices.iter().map(|&i| self.kind.entry(i).len()).sum::<usize>() as f64;
        let whole = self.indices.len() >= FEW_TRIAL_VALUES || bytes.len() >= TRIAL_BYTES;
        let (expected_values, expected_entries) = if whole {
            // Estimates the number of distinct values, as if all were equally likely, from the share of values
            // that were still new in the last quarter.
            let (before, last) = self.indices.split_at(self.indices.len() * 3 / 4);
            let entries_before = before.iter().max().map_or(0, |&highest| highest as usize + 1);
            let fresh = (entries - entries_before) as f64 / last.len() as f64;
            let different = entries as f64 / (1.0 - fresh.min(0.999));
            let expected_values = values.max(values / scratch.rows as f64 * scratch.expected_rows as f64);
            (expected_values, different * (1.0 - (-expected_values / different).exp()))
        } else {
            (values, entries as f64)
        };
        let index_bytes = f64::from(index_width(expected_entries as usize)) / 8.0;
        let with = expected_entries * entry_bytes * ratio + expected_values * index_bytes + DICTIONARY_OVERHEAD;
        let without = plain_bytes / values * expected_values * ratio;
        // Few distinct values are faster to encode and to read as indices, whatever the sizes.
        if with < without || expected_entries * 16.0 < expected_values {
            self.mode = DictionaryMode::Dictionary;
        } else {
            self.mode = DictionaryMode::Plain;
            self.outgrown = whole;
            self.need_plain(scratch);
            for &index in &self.indices {
                self.plain.extend_from_slice(self.kind.entry(index));
            }
            self.indices = Vec::new();
            self.kind.drop_dictionary();
        }
        Ok(())
    }

    /// Returns true if the dictionary has reached its limit: the page must be closed, and the rest is plain.
    fn is_full(&self) -> bool {
        self.mode == DictionaryMode::Dictionary && self.kind.dictionary().1.len() > DICTIONARY_BYTES
    }

    fn take_indices(&mut self) -> Option<Vec<u32>> {
        (self.mode == DictionaryMode::Dictionary).then(|| std::mem::take(&mut self.indices))
    }

    fn plain_page<'a>(&'a mut self, levels: &[u8], joined: &'a mut Vec<u8>) -> &'a [u8] {
        // Reached before the first value of a trial too: a page of nulls alone is plain.
        debug_assert!(self.indices.is_empty());
        if self.plain.is_empty() {
            joined.extend_from_slice(levels);
            return joined;
        }
        if let Some(start) = self.headroom.checked_sub(levels.len()) {
            self.plain[start..self.headroom].copy_from_slice(levels);
            return &self.plain[start..];
        }
        self.needed_headroom = (levels.len() + levels.len() / 4).min(MAX_HEADROOM);
        joined.extend_from_slice(levels);
        joined.extend_from_slice(&self.plain[self.headroom..]);
        joined
    }

    fn clear_page(&mut self) {
        self.headroom = self.headroom.max(self.needed_headroom);
        if !self.plain.is_empty() {
            self.plain.clear();
            self.plain.resize(self.headroom, 0);
        }
        if self.is_full() {
            self.mode = DictionaryMode::Plain;
            self.outgrown = true;
        }
    }

    fn memory_size(&self) -> usize {
        self.plain.capacity() + self.indices.capacity() * 4 + self.kind.memory_size()
    }
}

/// Returns the bits of an index into so many entries. At least 1, which costs nothing as a run: some readers
/// reject a width of 0.
pub(super) fn index_width(entries: usize) -> u8 {
    rle::bit_width(entries.saturating_sub(1) as u32).max(1)
}

impl<K: Kind> fmt::Debug for Column<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Column").field("mode", &self.mode).field("plain", &self.plain.len()).finish_non_exhaustive()
    }
}

/// Booleans as bits, never with a dictionary.
#[derive(Debug, Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// Number of values since the last page.
    len: usize,
    /// True for false, and for true, once such a value was seen in the chunk.
    seen: [bool; 2],
}

impl Bits {
    fn append(&mut self, array: &ArrayRef, live: &Live) {
        let values = array.as_boolean().values();
        match live {
            Live::Range(range) => range.clone().for_each(|i| self.push(values.value(i))),
            Live::Some(indices) => indices.iter().for_each(|&i| self.push(values.value(i as usize))),
        }
    }

    fn push(&mut self, value: bool) {
        if self.len.is_multiple_of(8) {
            self.bytes.push(0);
        }
        let last = self.bytes.len() - 1;
        self.bytes[last] |= u8::from(value) << (self.len % 8);
        self.len += 1;
        self.seen[usize::from(value)] = true;
    }

    fn clear_page(&mut self) {
        self.bytes.clear();
        self.len = 0;
    }

    fn statistics(&self, nulls: u64) -> Statistics {
        let (min, max) = match self.seen {
            [false, false] => (None, None),
            [no, yes] => (Some(!no), Some(yes)),
        };
        Statistics::Boolean(ValueStatistics::new(min, max, None, Some(nulls), false))
    }
}
