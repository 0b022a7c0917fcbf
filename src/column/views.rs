//! String views: 16 bytes that hold a short string, or point to a longer one in a shared buffer.
//!
//! The layout is Arrow's: length in the low 32 bits, then either up to 12 bytes of text (unused
//! bytes zero), or 4 bytes of prefix, the buffer's index and the offset in it.
//!
//! One of the few files with `unsafe`: Arrow's checked constructor would validate the UTF-8 of
//! every view again, and the decoders have checked the whole morsel at once.
//!
//! Debug builds, and so all tests, use the checked constructor all the same: a view that it refuses
//! is a bug in this module or in a decoder.

#![allow(unsafe_code, reason = "skips Arrow's second UTF-8 check; see the SAFETY comments")]

use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, StringViewArray};
use arrow_buffer::{Buffer, NullBuffer, ScalarBuffer};

/// Length of the longest string that a view holds itself, in bytes.
pub(crate) const MAX_INLINE_BYTES: usize = 12;

/// Makes the view of `text`, which is at `offset` of buffer `buffer_index`.
#[inline]
pub(crate) fn make_view(text: &[u8], buffer_index: u32, offset: usize) -> u128 {
    let len = text.len();
    debug_assert!(u32::try_from(offset + len).is_ok(), "morsels are smaller than 2 GiB");
    if len <= MAX_INLINE_BYTES {
        let mut bytes = [0u8; 16];
        bytes[..4].copy_from_slice(&(len as u32).to_le_bytes());
        bytes[4..4 + len].copy_from_slice(text);
        u128::from_le_bytes(bytes)
    } else {
        let prefix = u32::from_le_bytes([text[0], text[1], text[2], text[3]]);
        (len as u128) | (u128::from(prefix) << 32) | (u128::from(buffer_index) << 64) | ((offset as u128) << 96)
    }
}

/// As [`make_view`], for the `len` bytes from `start` on of `buffer`, which has index `buffer_index`. The buffer must go on
/// for sixteen bytes from `start`, of any content: one load of fixed width replaces a copy of `len` bytes, and a mask
/// clears the rest.
///
/// # Panics
///
/// If fewer than sixteen bytes follow `start`.
#[inline(always)]
pub(crate) fn make_view_of_padded(buffer: &[u8], start: usize, len: usize, buffer_index: u32) -> u128 {
    let mut head = [0; 16];
    head.copy_from_slice(&buffer[start..start + 16]);
    let head = u128::from_le_bytes(head);
    if len <= MAX_INLINE_BYTES {
        let inlined = head & ((1 << (8 * len)) - 1);
        inlined << 32 | len as u128
    } else {
        let prefix = head as u32;
        u128::from(start as u32) << 96 | u128::from(buffer_index) << 64 | u128::from(prefix) << 32 | len as u128
    }
}

/// Returns the buffer index and the span of a view's text; `None` if the view holds its text itself. The inverse of
/// [`make_view`].
#[inline]
pub(crate) fn span_of_view(view: u128) -> Option<(u32, Range<usize>)> {
    let (len, offset) = (view as u32 as usize, (view >> 96) as usize);
    (len > MAX_INLINE_BYTES).then(|| ((view >> 64) as u32, offset..offset + len))
}

/// Views of strings that are all valid UTF-8 in the buffers that [`Views::finish`] gets.
///
/// The decoders keep the invariant: they push views of text between two ASCII bytes of a record that
/// passed the UTF-8 check, or of text assembled from such parts and encoded characters.
#[derive(Debug, Default)]
pub(crate) struct Views(Vec<u128>);

impl Views {
    /// Makes an empty list with capacity for `capacity` views.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        Views(Vec::with_capacity(capacity))
    }

    /// Reserves capacity for `times` as many views as there are; `times` is at least 1.
    pub(crate) fn reserve(&mut self, times: f64) {
        self.0.reserve((self.0.len() as f64 * (times - 1.0)) as usize);
    }

    /// Appends a view; see [`make_view`]. The text must be valid UTF-8.
    #[inline]
    pub(crate) fn push(&mut self, view: u128) {
        self.0.push(view);
    }

    /// Returns the number of views.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the views from `first` on.
    pub(crate) fn from(&self, first: usize) -> &[u128] {
        &self.0[first..]
    }

    /// Keeps the first `len` views.
    pub(crate) fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// Returns the array of these views into `buffers`.
    ///
    /// # Panics
    ///
    /// If a buffer has 4 GiB or more; in debug builds also if a view is out of bounds or not UTF-8.
    pub(crate) fn finish(self, buffers: impl Into<Arc<[Buffer]>>, nulls: Option<NullBuffer>) -> ArrayRef {
        let buffers: Arc<[Buffer]> = buffers.into();
        // Offsets are 32 bits wide: in a larger buffer `make_view` would have truncated them.
        assert!(buffers.iter().all(|b| u32::try_from(b.len()).is_ok()), "buffers of views are below 4 GiB");
        let views = ScalarBuffer::from(self.0);
        if cfg!(debug_assertions) {
            // Checks in every test what release builds assume.
            let checked = StringViewArray::try_new(views, buffers, nulls);
            return Arc::new(checked.expect("views are in bounds and valid UTF-8"));
        }
        // SAFETY: every view was made by `make_view` or `make_view_of_padded`, so inline bytes are zero-padded
        // and prefixes agree; its offset and length were taken from the buffer of that index, which only
        // grows; and the text is valid UTF-8 by the invariant of `Views`.
        Arc::new(unsafe { StringViewArray::new_unchecked(views, buffers, nulls) })
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::cast::AsArray;

    use super::*;

    #[test]
    fn views_of_every_length_are_those_of_arrow() {
        let text: String = ('a'..='z').chain(['é', '東', '\u{1f389}']).cycle().take(60).collect();
        let spans: Vec<(usize, usize)> = text
            .char_indices()
            .flat_map(|(start, _)| text[start..].char_indices().map(move |(len, _)| (start, start + len)))
            .collect();
        let mut views = Views::default();
        for &(start, end) in &spans {
            let view = make_view(&text.as_bytes()[start..end], 1, start);
            assert_eq!(view, arrow_array::builder::make_view(&text.as_bytes()[start..end], 1, start as u32));
            let padded = [text.as_bytes(), b"sixteen more of them"].concat();
            assert_eq!(view, make_view_of_padded(&padded, start, end - start, 1));
            views.push(view);
        }
        let buffers: Arc<[Buffer]> = Arc::new([Buffer::from(b"another"), Buffer::from(text.as_bytes())]);
        let array = views.finish(buffers, None);
        for (value, (start, end)) in array.as_string_view().iter().zip(spans) {
            assert_eq!(value, Some(&text[start..end]));
        }
    }

    #[test]
    #[should_panic(expected = "views are in bounds and valid UTF-8")]
    fn invalid_utf_8_is_caught_in_debug_builds() {
        let mut views = Views::default();
        views.push(make_view(b"\xff\xff", 0, 0));
        let none: Arc<[Buffer]> = Arc::new([]);
        views.finish(none, None);
    }
}
