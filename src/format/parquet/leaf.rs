//! One leaf column of one row group: values and levels in, compressed pages out.
//!
//! Whether a chunk gets a dictionary is found out by trying: the first values go into one, then
//! the codec itself tells what the same values would take without it, and the smaller way is
//! taken for the rest. So the choice is right for text that compresses well, for numbers that do
//! not, and for outputs without compression.

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

/// A page is closed once its values take this much, at the end of a batch. By eye: larger pages
/// make no smaller files with zstd's window at the low levels, and take memory per column.
const PAGE_BYTES: usize = 1 << 20;

/// A page is closed once it has this many entries: what bounds its levels and indices.
const PAGE_ENTRIES: usize = 1 << 18;

/// A dictionary that grows beyond this is closed, and the rest of the chunk written plain.
pub(super) const DICTIONARY_BYTES: usize = 1 << 20;

/// Values after which the choice is made. Fewer say little about how many more there will be.
const TRIAL_VALUES: usize = 8192;

/// Values that are enough for the choice where a part has no more.
const FEW_TRIAL_VALUES: usize = 1024;

/// Bytes of different values after which the choice is made, however many they are.
const TRIAL_BYTES: usize = 256 << 10;

/// Plain bytes that are compressed to learn how well that goes.
const SAMPLE_BYTES: usize = 64 << 10;

/// Bytes of a plain page that tell what kind of text it is.
const KIND_SAMPLE_BYTES: usize = 128 << 10;

/// What a dictionary costs however small it is: its page's header and its entry in the footer.
const DICTIONARY_OVERHEAD: f64 = 48.0;

/// Rows of a row group, for the guess how full a dictionary would become. By eye: what row groups of
/// wide rows have.
pub(super) const GUESSED_ROWS: usize = 131_072;

/// Batches of a row group, for the same guess where rows are narrow and a batch has many of them.
/// Measured: a group of 32 MiB takes 120 to 180 MiB of text, and a batch is made of one.
pub(super) const GUESSED_BATCHES: usize = 120;

/// Room before the values of a plain page, where its levels are put if they fit: for what is in no list they are a run or
/// a few as a rule.
const HEADROOM: usize = 64;

/// The most of it where levels did not fit, in a list, which has some bits for each of its entries.
const MAX_HEADROOM: usize = 64 << 10;

/// Calls the same method of whatever column there is.
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

/// What the leaves of one encoder share while they encode; goes from encoder to encoder, so that
/// neither the codec's context nor memory is had anew for each.
#[derive(Debug)]
pub struct EncoderScratch {
    pub(super) codec: PageCodec,
    pub(super) page: Vec<u8>,
    levels: Vec<u8>,
    /// Rows that the encoder has taken, the batch at work included.
    pub(super) rows: usize,
    /// Rows that its row group is expected to have.
    pub(super) expected_rows: usize,
    /// Buffers of pages that are not in use.
    spare: Vec<Vec<u8>>,
    /// What was learnt of the leaves of the schema that was at work last, in their order.
    pub(super) hints: Option<(Arc<Schema>, Vec<ColumnHint>)>,
}

/// What the last rows of a leaf say about the next.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ColumnHint {
    /// What its dictionary became.
    dictionary: DictionaryShape,
    /// Room that the levels of its plain pages took.
    headroom: usize,
    /// The kind of its plain text; unknown before the first large page.
    text: Option<Content>,
}

impl EncoderScratch {
    pub(super) fn new(codec: PageCodec) -> Self {
        let (page, levels, spare) = (Vec::new(), Vec::new(), Vec::new());
        EncoderScratch { codec, page, levels, rows: 0, expected_rows: GUESSED_ROWS, spare, hints: None }
    }

    /// What was learnt of the leaves of `schema`, if it was the last one.
    pub(super) fn habits_of(&self, schema: &Schema) -> &[ColumnHint] {
        match &self.hints {
            Some((of, hints)) if **of == *schema => hints,
            _ => &[],
        }
    }
}

/// The chunk of one leaf column, in the making.
#[derive(Debug)]
pub(super) struct LeafEncoder {
    descriptor: ColumnDescPtr,
    repetition: Levels,
    definition: Levels,
    values: Values,
    pages: Pages,
    hint: ColumnHint,
}

/// What one worker made of its rows of a chunk. [`super::chunk::join`] makes the chunk of one or
/// more of these.
#[derive(Debug)]
pub(super) struct ChunkPart {
    pub(super) descriptor: ColumnDescPtr,
    pub(super) pages: Pages,
    /// The dictionary of the index pages, and the bounds of all values.
    pub(super) values: Values,
}

/// The values since the last page, by kind.
#[derive(Debug)]
pub(super) enum Values {
    Bool(Bits),
    Int(Column<Numbers<i64>>),
    Day(Column<Numbers<i32>>),
    Float(Column<Numbers<f64>>),
    Decimal(Column<Numbers<i128>>),
    Text(Column<Texts>),
}

/// The values of an array of 64-bit integers, whatever they count.
fn long_values(array: &ArrayRef) -> &[i64] {
    match array.data_type() {
        DataType::Timestamp(TimeUnit::Millisecond, _) => array.as_primitive::<TimestampMillisecondType>().values(),
        DataType::Timestamp(TimeUnit::Microsecond, _) => array.as_primitive::<TimestampMicrosecondType>().values(),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => array.as_primitive::<TimestampNanosecondType>().values(),
        _ => array.as_primitive::<Int64Type>().values(),
    }
}

impl LeafEncoder {
    /// `plain` is for a chunk that needs not try a dictionary.
    pub(super) fn new(descriptor: ColumnDescPtr, plain: bool, hint: ColumnHint) -> Self {
        let room = ColumnCapacity {
            dictionary: if plain { DictionaryShape::default() } else { hint.dictionary },
            headroom: hint.headroom.max(HEADROOM),
        };
        let values = match descriptor.physical_type() {
            Type::BOOLEAN => Values::Bool(Bits::default()),
            Type::INT64 => Values::Int(Column::new(plain, room)),
            Type::INT32 => Values::Day(Column::new(plain, room)),
            Type::DOUBLE => Values::Float(Column::new(plain, room)),
            Type::FIXED_LEN_BYTE_ARRAY => Values::Decimal(Column::new(plain, room)),
            _ => Values::Text(Column::new(plain, room)),
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

    /// Adds the values of `array` that `entries` names.
    pub(super) fn write(
        &mut self,
        array: &ArrayRef,
        entries: &Entries,
        shop: &mut EncoderScratch,
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
        self.pages.nulls += (entries.len - n_values) as u64;
        match &mut self.values {
            Values::Bool(bits) => bits.append(array, &entries.live),
            Values::Int(column) => {
                let values = long_values(array);
                column.append(&entries.live, |i| values[i], shop)?;
            }
            Values::Day(column) => {
                let values = array.as_primitive::<Date32Type>().values();
                column.append(&entries.live, |i| values[i], shop)?;
            }
            Values::Float(column) => {
                let values = array.as_primitive::<Float64Type>().values();
                column.append(&entries.live, |i| values[i], shop)?;
            }
            Values::Decimal(column) => {
                let values = array.as_primitive::<Decimal128Type>().values();
                column.append(&entries.live, |i| values[i], shop)?;
            }
            Values::Text(column) => {
                let strings = array.as_string_view();
                let (views, buffers) = (strings.views(), strings.data_buffers());
                column.append(&entries.live, |i| Text { view: views[i], buffers }, shop)?;
            }
        }
        let full = each_kind!(&self.values, _bits => false, column => column.is_full());
        if full || self.values.page_bytes() >= PAGE_BYTES || self.definition.len >= PAGE_ENTRIES {
            self.close_page(shop)?;
        }
        Ok(())
    }

    /// Bytes of memory held.
    pub(super) fn memory_size(&self) -> usize {
        self.pages.bytes + self.values.memory_size() + self.repetition.each.capacity() + self.definition.each.capacity()
    }

    /// Ends the part. Returns it, and what it says about the next.
    pub(super) fn finish(mut self, shop: &mut EncoderScratch) -> Result<(ChunkPart, ColumnHint), Error> {
        // A chunk has at least one page, be it of nulls; one without rows is never written.
        if self.definition.len > 0 {
            self.close_page(shop)?;
        }
        (self.hint.dictionary, self.hint.headroom) =
            each_kind!(&self.values, _bits => Default::default(), column => (column.kind.shape(), column.headroom));
        self.values.give_back(&mut shop.spare);
        Ok((ChunkPart { descriptor: self.descriptor, pages: self.pages, values: self.values }, self.hint))
    }

    fn close_page(&mut self, shop: &mut EncoderScratch) -> Result<(), Error> {
        self.values.settle(shop)?;
        let entries = self.definition.len;
        let EncoderScratch { codec, page: joined, levels, .. } = shop;
        levels.clear();
        self.repetition.drain_into(levels);
        self.definition.drain_into(levels);
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
    /// Bytes of memory that they take.
    pub(super) bytes: usize,
    pub(super) entries: u64,
    pub(super) nulls: u64,
}

/// One data page of a part.
#[derive(Debug)]
pub(super) enum PagePart {
    /// Plain values, ready for the file.
    Ready(SerializedPage),
    /// Indices into the part's dictionary, which is not the chunk's yet.
    Indices {
        /// Entries of the page.
        entries: usize,
        /// Its levels, encoded.
        levels: Box<[u8]>,
        /// One per value.
        indices: Vec<u32>,
    },
}

/// A page with its header.
#[derive(Debug)]
pub(super) struct SerializedPage {
    pub(super) bytes: Vec<u8>,
    /// Header included, as the footer counts.
    pub(super) uncompressed_bytes: usize,
}

impl SerializedPage {
    /// The page with its header; `uncompressed` bytes were its body.
    pub(super) fn new(page: Page, uncompressed: usize) -> Result<Self, Error> {
        let mut out = TrackedWrite::new(Vec::with_capacity(page.buffer().len() + 64));
        let spec = SerializedPageWriter::new(&mut out).write_page(CompressedPage::new(page, uncompressed))?;
        Ok(SerializedPage { bytes: out.into_inner()?, uncompressed_bytes: spec.uncompressed_size })
    }

    /// A data page of this body.
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
    /// Bits of one; 0 where there is nothing to say.
    width: u8,
    len: usize,
    /// All so far are this.
    same: u8,
    /// One per entry, once they differ; empty before.
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

    /// Appends them as a data page has them, after their length, and forgets them.
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

    fn settle(&mut self, shop: &mut EncoderScratch) -> Result<(), Error> {
        each_kind!(self, _bits => Ok(()), column => column.settle(shop))
    }

    /// A dictionary was tried on enough values, and was of no use.
    pub(super) fn outgrown(&self) -> bool {
        each_kind!(self, _bits => false, column => column.outgrown)
    }

    /// What pages of the plain values hold.
    pub(super) fn content(&self) -> Content {
        if matches!(self, Values::Text(_)) { Content::Text } else { Content::Numbers }
    }

    /// The dictionary: its entries, and their plain bytes.
    pub(super) fn dictionary(&self) -> (usize, &[u8]) {
        each_kind!(self, _bits => (0, &[]), column => column.kind.dictionary())
    }

    /// The plain bytes of one entry of the dictionary.
    pub(super) fn entry(&self, index: u32) -> &[u8] {
        each_kind!(self, _bits => &[], column => column.kind.entry(index))
    }

    pub(super) fn statistics(&self, nulls: u64) -> Statistics {
        each_kind!(self, bits => bits.statistics(nulls), column => column.kind.statistics(nulls))
    }

    /// Widens the bounds by those of `other`, which is of the same kind. With `entries`, takes its
    /// dictionary up as well, and returns the place of each of its entries.
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

    /// The indices of the page, if its values are in the dictionary.
    fn take_indices(&mut self) -> Option<Vec<u32>> {
        each_kind!(self, _bits => None, column => column.take_indices())
    }

    /// The body of a plain page: `levels`, then the values; put together in `joined` unless they
    /// stand together already.
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

    /// Gives memory back that only an encoder needs.
    fn give_back(&mut self, spare: &mut Vec<Vec<u8>>) {
        each_kind!(self, bits => bits.bytes = Vec::new(), column => column.give_back(spare));
    }
}

/// Whether the values of a chunk are put into a dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DictionaryMode {
    /// They are, for now.
    Trying,
    Dictionary,
    Plain,
}

/// What is had in advance for a column.
#[derive(Clone, Copy)]
struct ColumnCapacity {
    /// What its dictionary is expected to become.
    dictionary: DictionaryShape,
    /// Bytes before the values of a plain page.
    headroom: usize,
}

/// Values of one kind.
pub(super) struct Column<K> {
    kind: K,
    mode: DictionaryMode,
    outgrown: bool,
    /// Indices of the values since the last page, while there is a dictionary.
    indices: Vec<u32>,
    /// Plain values since the last page, after the headroom; empty before the first.
    plain: Vec<u8>,
    headroom: usize,
    /// What the last page would have needed for which it was too little.
    needed_headroom: usize,
}

impl<K: Kind> Column<K> {
    fn new(plain: bool, room: ColumnCapacity) -> Self {
        Column {
            kind: K::with_shape(room.dictionary),
            mode: if plain { DictionaryMode::Plain } else { DictionaryMode::Trying },
            outgrown: plain,
            indices: Vec::new(),
            plain: Vec::new(),
            headroom: room.headroom,
            needed_headroom: 0,
        }
    }

    fn append<'a>(
        &mut self,
        live: &Live,
        value: impl Fn(usize) -> K::Value<'a>,
        shop: &mut EncoderScratch,
    ) -> Result<(), Error> {
        if self.mode == DictionaryMode::Plain {
            self.need_plain(shop);
        }
        match live {
            Live::Range(range) => self.append_all(range.clone().map(value)),
            Live::Some(places) => self.append_all(places.iter().map(|&i| value(i as usize))),
        }
        if self.mode == DictionaryMode::Trying {
            let bytes = self.kind.dictionary().1.len();
            if self.indices.len() >= TRIAL_VALUES || bytes >= TRIAL_BYTES {
                self.settle(shop)?;
            }
        }
        Ok(())
    }

    /// Makes sure that there is a buffer for plain values.
    fn need_plain(&mut self, shop: &mut EncoderScratch) {
        if self.plain.is_empty() {
            self.plain = shop.spare.pop().unwrap_or_default();
            self.plain.resize(self.headroom, 0);
        }
    }

    fn give_back(&mut self, spare: &mut Vec<Vec<u8>>) {
        self.kind.forget_search();
        let mut plain = std::mem::take(&mut self.plain);
        // One that a long record has blown up is not kept.
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

    /// Ends the trial, if it is still on.
    fn settle(&mut self, shop: &mut EncoderScratch) -> Result<(), Error> {
        if self.mode != DictionaryMode::Trying || self.indices.is_empty() {
            return Ok(());
        }
        // What the codec makes of these values without a dictionary.
        let sample = &mut shop.page;
        sample.clear();
        for &index in &self.indices {
            sample.extend_from_slice(self.kind.entry(index));
            if sample.len() >= SAMPLE_BYTES {
                break;
            }
        }
        let ratio = shop.codec.compressed_size(sample, K::CONTENT)? as f64 / sample.len() as f64;

        // All since the first: the trial ends before a page does.
        let values = self.indices.len() as f64;
        let (entries, bytes) = self.kind.dictionary();
        let entry_bytes = bytes.len() as f64 / entries as f64;
        let plain_bytes = self.indices.iter().map(|&i| self.kind.entry(i).len()).sum::<usize>() as f64;
        let whole = self.indices.len() >= FEW_TRIAL_VALUES || bytes.len() >= TRIAL_BYTES;
        let (expected_values, expected_entries) = if whole {
            // How many different values there are follows from how often a value is still new, as
            // if all were equally likely: the entries that came with the last quarter of the values.
            let (before, last) = self.indices.split_at(self.indices.len() * 3 / 4);
            let entries_before = before.iter().max().map_or(0, |&highest| highest as usize + 1);
            let fresh = (entries - entries_before) as f64 / last.len() as f64;
            let different = entries as f64 / (1.0 - fresh.min(0.999));
            let expected_values = values.max(values / shop.rows as f64 * shop.expected_rows as f64);
            (expected_values, different * (1.0 - (-expected_values / different).exp()))
        } else {
            (values, entries as f64)
        };
        let index_bytes = f64::from(index_width(expected_entries as usize)) / 8.0;
        let with = expected_entries * entry_bytes * ratio + expected_values * index_bytes + DICTIONARY_OVERHEAD;
        let without = plain_bytes / values * expected_values * ratio;
        // Few different values are quick to encode and to read, whatever the codec makes of them.
        if with < without || expected_entries * 16.0 < expected_values {
            self.mode = DictionaryMode::Dictionary;
        } else {
            self.mode = DictionaryMode::Plain;
            self.outgrown = whole;
            self.need_plain(shop);
            for &index in &self.indices {
                self.plain.extend_from_slice(self.kind.entry(index));
            }
            self.indices = Vec::new();
            self.kind.forget_dictionary();
        }
        Ok(())
    }

    /// True when the dictionary takes no more values: the page must be closed first.
    fn is_full(&self) -> bool {
        self.mode == DictionaryMode::Dictionary && self.kind.dictionary().1.len() > DICTIONARY_BYTES
    }

    fn take_indices(&mut self) -> Option<Vec<u32>> {
        (self.mode == DictionaryMode::Dictionary).then(|| std::mem::take(&mut self.indices))
    }

    fn plain_page<'a>(&'a mut self, levels: &[u8], joined: &'a mut Vec<u8>) -> &'a [u8] {
        // Also before the first value of a trial: a page of nulls is as good plain.
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

/// Bits of an index into so many entries. One for a single entry: it costs nothing, and some
/// readers take no width of 0.
pub(super) fn index_width(entries: usize) -> u8 {
    rle::bit_width(entries.saturating_sub(1) as u32).max(1)
}

impl<K: Kind> fmt::Debug for Column<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Column").field("mode", &self.mode).field("plain", &self.plain.len()).finish_non_exhaustive()
    }
}

/// Booleans: bits, and never a dictionary.
#[derive(Debug, Default)]
pub(super) struct Bits {
    bytes: Vec<u8>,
    /// Since the last page.
    len: usize,
    /// Some value was false, some true.
    seen: [bool; 2],
}

impl Bits {
    fn append(&mut self, array: &ArrayRef, live: &Live) {
        let values = array.as_boolean().values();
        match live {
            Live::Range(range) => range.clone().for_each(|i| self.push(values.value(i))),
            Live::Some(places) => places.iter().for_each(|&i| self.push(values.value(i as usize))),
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
