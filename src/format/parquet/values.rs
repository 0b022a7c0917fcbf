//! Values of a leaf column: their form in plain pages, dictionaries and statistics. The trait [`Kind`],
//! and strings; [`super::numbers`] has the numbers.

use std::hash::{BuildHasher, Hasher};

use arrow_buffer::Buffer;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parquet::file::statistics::{Statistics, ValueStatistics};

use super::codec::Content;
use crate::column::views::MAX_INLINE_BYTES;

/// The final size of a dictionary, as a hint for the next one of the same column.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DictionaryShape {
    /// Number of entries.
    pub(super) entries: usize,
    /// Length of the slot array of numbers; 0 if they were hashed.
    pub(super) slots: usize,
    /// Factor from a number to its slot.
    pub(super) scale: f64,
}

/// The values of one column chunk that a dictionary could hold.
pub(super) trait Kind: Default {
    /// A value as batches hold it.
    type Value<'a>: Copy;

    /// Content of plain pages, for the codec.
    const CONTENT: Content;

    /// Makes an empty chunk with capacity for a dictionary of this shape.
    fn with_shape(shape: DictionaryShape) -> Self;

    /// Returns the shape of the dictionary so far.
    fn shape(&self) -> DictionaryShape;

    /// Appends the plain encoding of the value.
    fn plain(value: Self::Value<'_>, page: &mut Vec<u8>);

    /// Widens the bounds to include the value.
    fn widen_bounds(&mut self, value: Self::Value<'_>);

    /// Appends the plain encoding of values, and widens the bounds to include them.
    #[inline]
    fn plain_all<'a>(&mut self, values: impl Iterator<Item = Self::Value<'a>>, page: &mut Vec<u8>) {
        for value in values {
            self.widen_bounds(value);
            Self::plain(value, page);
        }
    }

    /// Returns the value's index in the dictionary, where it is inserted if it is new. A new one widens the bounds.
    fn intern(&mut self, value: Self::Value<'_>) -> u32;

    /// Returns the number of entries of the dictionary, and their plain encoding.
    fn dictionary(&self) -> (usize, &[u8]);

    /// Returns the plain encoding of one entry.
    fn entry(&self, index: u32) -> &[u8];

    /// Returns the bounds and the null count for the footer.
    fn statistics(&self, nulls: u64) -> Statistics;

    /// Widens the bounds by those of `other`. With `entries`, also merges its dictionary, and returns the
    /// new index of each of its entries.
    fn absorb(&mut self, other: &Self, entries: bool) -> Vec<u32>;

    /// Frees the memory that only lookups need. [`Kind::absorb`] rebuilds it; [`Kind::intern`] must not be called any
    /// more.
    fn drop_lookup(&mut self);

    /// Frees the memory of the dictionary and keeps the bounds.
    fn drop_dictionary(&mut self);

    /// Returns the memory held, in bytes.
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

    /// Returns the buffer of a string too long for its view, and the string's offset in it.
    #[inline]
    fn location(self) -> (&'a [u8], usize) {
        let (buffer, offset) = ((self.view >> 64) as u32, (self.view >> 96) as u32);
        (&self.buffers[buffer as usize], offset as usize)
    }

    /// Returns the bytes of a string too long for its view.
    #[inline]
    fn long(self) -> &'a [u8] {
        let (buffer, offset) = self.location();
        &buffer[offset..][..self.len()]
    }

    /// Calls `f` with the bytes, from the view or the buffer.
    #[inline]
    fn with_bytes<R>(self, f: impl FnOnce(&[u8]) -> R) -> R {
        if self.len() > MAX_INLINE_BYTES { f(self.long()) } else { f(&self.view.to_le_bytes()[4..][..self.len()]) }
    }

    /// Compares by bytes.
    fn is_below(self, other: Text<'_>) -> bool {
        self.with_bytes(|mine| other.with_bytes(|other| mine < other))
    }

    /// Returns the first four bytes as a number in the order of strings, padded with zeros. They are in the view itself.
    #[inline]
    fn head(self) -> u32 {
        ((self.view >> 32) as u32).swap_bytes()
    }

    /// Returns the first sixteen bytes as a number in the order of strings, padded with zeros.
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

/// Minimum and maximum of the strings of one chunk, in the order of bytes.
///
/// Most strings are excluded by comparing their first bytes as a number: four of them, which are in the view, and if
/// these do not decide, because URLs begin alike, sixteen.
#[derive(Debug)]
struct TextBounds {
    /// First four bytes of minimum and maximum. A string whose own are strictly between is neither.
    heads: [u32; 2],
    /// Minimum and maximum, each with its first sixteen bytes; `None` before the first string.
    ends: Option<[(u128, Vec<u8>); 2]>,
}

impl Default for TextBounds {
    fn default() -> Self {
        TextBounds { heads: [u32::MAX, 0], ends: None }
    }
}

impl TextBounds {
    #[inline]
    fn widen_bounds(&mut self, value: Text<'_>) {
        let head = value.head();
        if !(self.heads[0] < head && head < self.heads[1]) {
            self.widen_closely(value);
        }
    }

    #[inline]
    fn widen_closely(&mut self, value: Text<'_>) {
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

/// Minimum and maximum of the strings of one batch, borrowed from it: of ascending timestamps every one is a new maximum,
/// which would be copied each time.
struct BatchBounds<'a> {
    /// As in [`TextBounds`], whose bounds they start with.
    heads: [u32; 2],
    /// Minimum with its first sixteen bytes; `None` while all strings are inside the chunk's bounds.
    min: Option<(u128, Text<'a>)>,
    max: Option<(u128, Text<'a>)>,
}

impl<'a> BatchBounds<'a> {
    /// Starts with the bounds of the chunk: only strings outside of them matter.
    fn new(bounds: &TextBounds) -> Self {
        BatchBounds { heads: bounds.heads, min: None, max: None }
    }

    #[inline(always)]
    fn widen_bounds(&mut self, value: Text<'a>) {
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

/// The strings of one chunk: bounds and dictionary.
#[derive(Debug, Default)]
pub(super) struct Texts {
    bounds: TextBounds,
    table: HashTable<u32>,
    hashing: RandomState,
    /// Views of the entries; those of long ones have an offset into `bytes` in their upper half.
    entries: Vec<u128>,
    /// Offset of each entry in `bytes`.
    starts: Vec<u32>,
    /// Plain encoding of all entries.
    bytes: Vec<u8>,
}

/// Length up to which strings are copied by a copy of fixed size. By eye: most values that are not prose.
const SHORT_BYTES: usize = 48;

/// Length to which bounds are truncated, the usual one of other writers.
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
            let (buffer, offset) = value.location();
            page.extend_from_slice(&(value.len() as u32).to_le_bytes());
            match buffer[offset..].first_chunk::<SHORT_BYTES>() {
                // A copy of fixed length is no call; the excess is truncated.
                Some(more) if value.len() <= SHORT_BYTES => {
                    let end = page.len() + value.len();
                    page.extend_from_slice(more);
                    page.truncate(end);
                }
                _ => page.extend_from_slice(value.long()),
            }
        } else {
            // The view of a short string is its plain encoding, padded with zeros: length, then bytes.
            let end = page.len() + 4 + value.len();
            page.extend_from_slice(&value.view.to_le_bytes());
            page.truncate(end);
        }
    }

    #[inline]
    fn widen_bounds(&mut self, value: Text<'_>) {
        self.bounds.widen_bounds(value);
    }

    fn plain_all<'a>(&mut self, values: impl Iterator<Item = Text<'a>>, page: &mut Vec<u8>) {
        let mut batch = BatchBounds::new(&self.bounds);
        for value in values {
            batch.widen_bounds(value);
            Texts::plain(value, page);
        }
        let BatchBounds { min, max, .. } = batch;
        min.into_iter().chain(max).for_each(|(_, bound)| self.bounds.widen_bounds(bound));
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
                // Length and first four bytes, which the lower half of both views holds, before the rest.
                entry as u64 == value.view as u64 && self.bytes[(entry >> 64) as usize..][..len] == *value.long()
            } else {
                entry == value.view
            }
        });
        if let Some(&index) = found {
            return index;
        }
        // A new entry. 32-bit offsets are enough: a dictionary is closed soon after `DICTIONARY_BYTES`.
        let index = self.entries.len() as u32;
        self.starts.push(self.bytes.len() as u32);
        Texts::plain(value, &mut self.bytes);
        self.entries.push(match len {
            0..=MAX_INLINE_BYTES => value.view,
            _ => u128::from(value.view as u64) | ((self.bytes.len() - len) as u128) << 64,
        });
        self.table.insert_unique(hash, index, |&i| hash_of_entry(&self.hashing, self.entries[i as usize], &self.bytes));
        self.widen_bounds(value);
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
        // Rebuilds the table that `drop_lookup` freed.
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

    fn drop_lookup(&mut self) {
        self.table = HashTable::new();
    }

    fn drop_dictionary(&mut self) {
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

/// Hashes an entry, given its view and the bytes of all entries, as `intern` hashes a value.
fn hash_of_entry(hashing: &RandomState, entry: u128, bytes: &[u8]) -> u64 {
    let len = entry as u32 as usize;
    if len > MAX_INLINE_BYTES {
        hash_long(hashing, &bytes[(entry >> 64) as usize..][..len])
    } else {
        hashing.hash_one(entry)
    }
}

/// Truncates a lower bound that is too long, between two characters. The result is not above `text`.
fn cut(text: &[u8]) -> &[u8] {
    let mut end = text.len().min(MAX_BOUND_BYTES);
    while end < text.len() && text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &text[..end]
}

/// Truncates an upper bound that is too long, and replaces its last character that has a successor of
/// the same width by that, so that the result is above `text`.
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
    // Without any such character the bound stays as it is.
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
        // No character of that width has a successor.
        let highest = "\u{10ffff}".repeat(20);
        assert_eq!(raised(highest.as_bytes()), highest.as_bytes());
    }

    #[test]
    fn equal_strings_share_a_dictionary_entry() {
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
