//! Values of a leaf column: how one looks on a plain page, in a dictionary, and in statistics.

use std::hash::{BuildHasher, Hasher};

use arrow_buffer::Buffer;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parquet::file::statistics::{Statistics, ValueStatistics};

use super::codec::Content;
use crate::column::views::MAX_INLINE_BYTES;

/// What a dictionary became, for the next one of the same column.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DictionaryShape {
    /// Its entries.
    pub(super) entries: usize,
    /// Of numbers: the slots by which they were found, 0 where they were hashed.
    pub(super) slots: usize,
    /// And what they were multiplied by for their slot.
    pub(super) scale: f64,
}

/// The values of one column chunk that a dictionary could hold.
pub(super) trait Kind: Default {
    /// A value in a batch.
    type Value<'a>: Copy;

    /// What their plain pages hold.
    const CONTENT: Content;

    /// Ready for a dictionary like one before.
    fn with_shape(shape: DictionaryShape) -> Self;

    /// What the dictionary became.
    fn shape(&self) -> DictionaryShape;

    /// Appends the value as it stands on a plain page.
    fn plain(value: Self::Value<'_>, page: &mut Vec<u8>);

    /// Widens the bounds.
    fn see(&mut self, value: Self::Value<'_>);

    /// Appends values as they stand on a plain page, and widens the bounds by them.
    #[inline]
    fn plain_all<'a>(&mut self, values: impl Iterator<Item = Self::Value<'a>>, page: &mut Vec<u8>) {
        for value in values {
            self.see(value);
            Self::plain(value, page);
        }
    }

    /// The value's place in the dictionary, new or old; a new one widens the bounds.
    fn intern(&mut self, value: Self::Value<'_>) -> u32;

    /// Entries of the dictionary, and their bytes: plain, one after the other.
    fn dictionary(&self) -> (usize, &[u8]);

    /// The plain bytes of one entry.
    fn entry(&self, index: u32) -> &[u8];

    /// The bounds, for the footer.
    fn statistics(&self, nulls: u64) -> Statistics;

    /// Widens the bounds by those of `other`. With `entries`, takes its dictionary up as well, and
    /// returns the place of each of its entries.
    fn absorb(&mut self, other: &Self, entries: bool) -> Vec<u32>;

    /// Gives the memory back that only looking values up needs. [`Kind::absorb`] has it anew, [`Kind::intern`] must not
    /// be called any more.
    fn forget_search(&mut self);

    /// Gives the memory of the dictionary back; the bounds stay.
    fn forget_dictionary(&mut self);

    /// Bytes of memory held.
    fn memory_size(&self) -> usize;
}

/// A string of a batch: its view, and the buffers that views point into.
#[derive(Clone, Copy)]
pub(super) struct Text<'a> {
    pub(super) view: u128,
    pub(super) buffers: &'a [Buffer],
}

impl<'a> Text<'a> {
    #[inline]
    fn len(self) -> usize {
        self.view as u32 as usize
    }

    /// The buffer of a string too long for its view, and where in it the string begins.
    #[inline]
    fn place(self) -> (&'a [u8], usize) {
        let (buffer, offset) = ((self.view >> 64) as u32, (self.view >> 96) as u32);
        (&self.buffers[buffer as usize], offset as usize)
    }

    /// The bytes of a string too long for its view.
    #[inline]
    fn long(self) -> &'a [u8] {
        let (buffer, offset) = self.place();
        &buffer[offset..][..self.len()]
    }

    /// Calls `f` with the bytes, wherever they are.
    #[inline]
    fn with_bytes<R>(self, f: impl FnOnce(&[u8]) -> R) -> R {
        if self.len() > MAX_INLINE_BYTES { f(self.long()) } else { f(&self.view.to_le_bytes()[4..][..self.len()]) }
    }

    /// Order of bytes.
    fn is_below(self, other: Text<'_>) -> bool {
        self.with_bytes(|mine| other.with_bytes(|other| mine < other))
    }

    /// The first four bytes in the order of strings, zeros after the end. They stand in the view itself.
    #[inline]
    fn head(self) -> u32 {
        ((self.view >> 32) as u32).swap_bytes()
    }

    /// The first sixteen bytes in the order of strings, zeros after the end.
    #[inline]
    fn prefix(self) -> u128 {
        if self.len() <= MAX_INLINE_BYTES {
            return (self.view >> 32).swap_bytes();
        }
        let long = self.long();
        let head = long.first_chunk().copied().unwrap_or_else(|| {
            let mut head = [0; 16];
            head[..long.len()].copy_from_slice(long);
            head
        });
        u128::from_be_bytes(head)
    }
}

/// Lowest and highest of the strings of one chunk, in the order of bytes.
///
/// Most strings are put aside by a comparison of their first bytes as a number: four of them, which stand in the view,
/// and where these do not tell, because URLs begin alike, sixteen.
#[derive(Debug)]
struct TextBounds {
    /// Strings whose first four bytes are above the first and below the second are neither.
    heads: [u32; 2],
    /// Each with its first sixteen bytes.
    ends: Option<[(u128, Vec<u8>); 2]>,
}

impl Default for TextBounds {
    fn default() -> Self {
        TextBounds { heads: [u32::MAX, 0], ends: None }
    }
}

impl TextBounds {
    #[inline]
    fn see(&mut self, value: Text<'_>) {
        let head = value.head();
        if !(self.heads[0] < head && head < self.heads[1]) {
            self.see_closely(value);
        }
    }

    #[inline]
    fn see_closely(&mut self, value: Text<'_>) {
        let prefix = value.prefix();
        let Some([min, max]) = &mut self.ends else {
            let bound = (prefix, value.with_bytes(<[u8]>::to_vec));
            self.set([bound.clone(), bound]);
            return;
        };
        let is_min = prefix <= min.0 && value.with_bytes(|v| v < &*min.1);
        let is_max = prefix >= max.0 && value.with_bytes(|v| v > &*max.1);
        if is_min || is_max {
            let bound = (prefix, value.with_bytes(<[u8]>::to_vec));
            let ends = if is_min { [bound, max.clone()] } else { [min.clone(), bound] };
            self.set(ends);
        }
    }

    fn absorb(&mut self, other: &TextBounds) {
        let Some([min, max]) = &other.ends else { return };
        let [mine_min, mine_max] = self.ends.take().unwrap_or_else(|| [min.clone(), max.clone()]);
        let lower = if min.1 < mine_min.1 { min.clone() } else { mine_min };
        let higher = if max.1 > mine_max.1 { max.clone() } else { mine_max };
        self.set([lower, higher]);
    }

    fn set(&mut self, ends: [(u128, Vec<u8>); 2]) {
        self.heads = [(ends[0].0 >> 96) as u32, (ends[1].0 >> 96) as u32];
        self.ends = Some(ends);
    }
}

/// Lowest and highest of the strings of one batch, which need not be copied as long as it is there: of times that ascend,
/// every one is the highest yet.
struct SeenTexts<'a> {
    /// Strings whose first four bytes are above the first and below the second are neither.
    heads: [u32; 2],
    /// With their first sixteen bytes.
    min: Option<(u128, Text<'a>)>,
    max: Option<(u128, Text<'a>)>,
}

impl<'a> SeenTexts<'a> {
    /// Of strings that matter only where they are outside of `bounds`.
    fn new(bounds: &TextBounds) -> Self {
        SeenTexts { heads: bounds.heads, min: None, max: None }
    }

    #[inline(always)]
    fn see(&mut self, value: Text<'a>) {
        let head = value.head();
        if self.heads[0] < head && head < self.heads[1] {
            return;
        }
        let prefix = value.prefix();
        if self.min.is_none_or(|(min, text)| prefix < min || prefix == min && value.is_below(text)) {
            self.min = Some((prefix, value));
            self.heads[0] = self.heads[0].min(head);
        }
        if self.max.is_none_or(|(max, text)| max < prefix || prefix == max && text.is_below(value)) {
            self.max = Some((prefix, value));
            self.heads[1] = self.heads[1].max(head);
        }
    }
}

/// Strings of one chunk.
#[derive(Debug, Default)]
pub(super) struct Texts {
    bounds: TextBounds,
    table: HashTable<u32>,
    hashing: RandomState,
    /// Views of the entries; those of long ones hold an offset into `bytes`.
    entries: Vec<u128>,
    /// Where each entry begins in `bytes`.
    starts: Vec<u32>,
    bytes: Vec<u8>,
}

/// Strings up to this are copied without a call. By eye: most values that are not prose.
const SHORT_BYTES: usize = 48;

/// Longer bounds are cut. The usual length of other writers.
const MAX_BOUND_BYTES: usize = 64;

impl Kind for Texts {
    type Value<'a> = Text<'a>;

    const CONTENT: Content = Content::Text;

    fn with_shape(shape: DictionaryShape) -> Self {
        let entries = shape.entries;
        Texts {
            bounds: TextBounds::default(),
            table: HashTable::with_capacity(entries),
            hashing: RandomState::default(),
            entries: Vec::with_capacity(entries),
            starts: Vec::with_capacity(entries),
            bytes: Vec::new(),
        }
    }

    fn shape(&self) -> DictionaryShape {
        DictionaryShape { entries: self.entries.len(), ..DictionaryShape::default() }
    }

    #[inline]
    fn plain(value: Text<'_>, page: &mut Vec<u8>) {
        if value.len() > MAX_INLINE_BYTES {
            let (buffer, offset) = value.place();
            page.extend_from_slice(&(value.len() as u32).to_le_bytes());
            match buffer[offset..].first_chunk::<SHORT_BYTES>() {
                // A copy of a fixed length, and what is too much of it taken back, is no call.
                Some(more) if value.len() <= SHORT_BYTES => {
                    let end = page.len() + value.len();
                    page.extend_from_slice(more);
                    page.truncate(end);
                }
                _ => page.extend_from_slice(value.long()),
            }
        } else {
            // The view of a short string is its plain form, with zeros after it.
            let end = page.len() + 4 + value.len();
            page.extend_from_slice(&value.view.to_le_bytes());
            page.truncate(end);
        }
    }

    #[inline]
    fn see(&mut self, value: Text<'_>) {
        self.bounds.see(value);
    }

    fn plain_all<'a>(&mut self, values: impl Iterator<Item = Text<'a>>, page: &mut Vec<u8>) {
        let mut seen = SeenTexts::new(&self.bounds);
        for value in values {
            seen.see(value);
            Texts::plain(value, page);
        }
        let SeenTexts { min, max, .. } = seen;
        min.into_iter().chain(max).for_each(|(_, bound)| self.bounds.see(bound));
    }

    #[inline]
    fn intern(&mut self, value: Text<'_>) -> u32 {
        let len = value.len();
        let hash = if len > MAX_INLINE_BYTES {
            hash_long(&self.hashing, value.long())
        } else {
            self.hashing.hash_one(value.view)
        };
        let found = self.table.find(hash, |&i| {
            let entry = self.entries[i as usize];
            if len > MAX_INLINE_BYTES {
                // Length and first four bytes before the rest.
                entry as u64 == value.view as u64 && self.bytes[(entry >> 64) as usize..][..len] == *value.long()
            } else {
                entry == value.view
            }
        });
        if let Some(&index) = found {
            return index;
        }
        let index = self.entries.len() as u32;
        self.starts.push(self.bytes.len() as u32);
        Texts::plain(value, &mut self.bytes);
        self.entries.push(match len {
            0..=MAX_INLINE_BYTES => value.view,
            _ => u128::from(value.view as u64) | ((self.bytes.len() - len) as u128) << 64,
        });
        self.table.insert_unique(hash, index, |&i| hash_of_entry(&self.hashing, self.entries[i as usize], &self.bytes));
        self.see(value);
        index
    }

    fn dictionary(&self) -> (usize, &[u8]) {
        (self.entries.len(), &self.bytes)
    }

    fn entry(&self, index: u32) -> &[u8] {
        let end = self.starts.get(index as usize + 1).map_or(self.bytes.len(), |&end| end as usize);
        &self.bytes[self.starts[index as usize] as usize..end]
    }

    fn statistics(&self, nulls: u64) -> Statistics {
        let Some([(_, min), (_, max)]) = &self.bounds.ends else {
            return Statistics::ByteArray(ValueStatistics::new(None, None, None, Some(nulls), false));
        };
        let (low, high) = (cut(min), raised(max));
        let exact = (low.len() == min.len(), high == *max);
        let bounds = ValueStatistics::new(Some(low.to_vec().into()), Some(high.into()), None, Some(nulls), false);
        Statistics::ByteArray(bounds.with_min_is_exact(exact.0).with_max_is_exact(exact.1))
    }

    fn absorb(&mut self, other: &Self, entries: bool) -> Vec<u32> {
        self.bounds.absorb(&other.bounds);
        if !entries {
            return Vec::new();
        }
        if self.table.is_empty() {
            let hash = |&i: &u32| hash_of_entry(&self.hashing, self.entries[i as usize], &self.bytes);
            for index in 0..self.entries.len() as u32 {
                self.table.insert_unique(hash(&index), index, hash);
            }
        }
        let buffers = [Buffer::from_slice_ref(&other.bytes)];
        let text = |entry: u128| match entry as u32 as usize {
            0..=MAX_INLINE_BYTES => Text { view: entry, buffers: &buffers },
            _ => Text { view: u128::from(entry as u64) | entry >> 64 << 96, buffers: &buffers },
        };
        other.entries.iter().map(|&entry| self.intern(text(entry))).collect()
    }

    fn forget_search(&mut self) {
        self.table = HashTable::new();
    }

    fn forget_dictionary(&mut self) {
        *self = Texts { bounds: std::mem::take(&mut self.bounds), ..Texts::default() };
    }

    fn memory_size(&self) -> usize {
        self.bytes.capacity() + self.entries.capacity() * 16 + self.starts.capacity() * 4 + self.table.capacity() * 5
    }
}

#[inline]
fn hash_long(hashing: &RandomState, text: &[u8]) -> u64 {
    let mut hasher = hashing.build_hasher();
    hasher.write(text);
    hasher.finish()
}

/// Of an entry, from its view and the bytes of all entries, as of a value.
fn hash_of_entry(hashing: &RandomState, entry: u128, bytes: &[u8]) -> u64 {
    let len = entry as u32 as usize;
    if len > MAX_INLINE_BYTES {
        hash_long(hashing, &bytes[(entry >> 64) as usize..][..len])
    } else {
        hashing.hash_one(entry)
    }
}

/// The text, cut between two characters if it is too long for a bound: no higher than it was.
fn cut(text: &[u8]) -> &[u8] {
    let mut end = text.len().min(MAX_BOUND_BYTES);
    while end < text.len() && text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &text[..end]
}

/// The text, or if that is too long for a bound a shorter one above it: cut, and its last
/// character that has a successor of the same width replaced by that.
fn raised(text: &[u8]) -> Vec<u8> {
    let short = cut(text);
    if short.len() == text.len() {
        return text.to_vec();
    }
    let Ok(short) = std::str::from_utf8(short) else { return text.to_vec() };
    let raise = |(at, c): (usize, char)| {
        let next = char::from_u32(c as u32 + 1).filter(|next| next.len_utf8() == c.len_utf8())?;
        Some(format!("{}{next}", &short[..at]).into_bytes())
    };
    // Without any such character the bound stays long.
    short.char_indices().rev().find_map(raise).unwrap_or_else(|| text.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_bounds_are_cut_between_characters_and_still_bound() {
        for text in ["a".repeat(100), "é".repeat(70), format!("a{}", "é".repeat(70)), "東".repeat(40)] {
            let (low, high) = (cut(text.as_bytes()), raised(text.as_bytes()));
            assert!(low.len() <= MAX_BOUND_BYTES && high.len() <= MAX_BOUND_BYTES);
            assert!(std::str::from_utf8(low).is_ok() && std::str::from_utf8(&high).is_ok());
            assert!(low <= text.as_bytes() && text.as_bytes() <= &*high);
        }
        assert_eq!(raised(b"short"), b"short");
        // Nothing of the same width is higher.
        let highest = "\u{10ffff}".repeat(20);
        assert_eq!(raised(highest.as_bytes()), highest.as_bytes());
    }

    #[test]
    fn a_dictionary_knows_its_strings_again() {
        let long = Buffer::from(b"the quick brown fox, the quick brown dog".to_vec());
        let buffers = [long];
        let text = |offset: usize, len: usize| Text {
            view: crate::column::views::make_view(&buffers[0][offset..offset + len], 0, offset),
            buffers: &buffers,
        };
        let mut texts = Texts::default();
        let values =
            [text(0, 19), text(21, 19), text(0, 3), text(21, 3), text(0, 0), text(0, 19), text(0, 16), text(21, 16)];
        let indices: Vec<u32> = values.iter().map(|&v| texts.intern(v)).collect();
        assert_eq!(indices, [0, 1, 2, 2, 3, 0, 4, 4]);
        assert_eq!(texts.entry(2), b"\x03\0\0\0the");
        let Statistics::ByteArray(bounds) = texts.statistics(7) else { panic!("strings") };
        assert_eq!(
            (bounds.min_bytes_opt().unwrap(), bounds.max_bytes_opt().unwrap()),
            (&b""[..], &b"the quick brown fox"[..])
        );
        assert_eq!(bounds.null_count_opt(), Some(7));
    }
}
