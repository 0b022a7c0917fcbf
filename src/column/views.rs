//! String views: 16 bytes that are a short string, or point to a longer one in a shared buffer.
//!
//! The layout is Arrow's: length in the low 32 bits, then either up to 12 bytes of text (unused
//! bytes zero), or 4 bytes of prefix, the buffer's index and the offset in it.
//!
//! One of the few files with `unsafe`: Arrow's checked constructor would validate the UTF-8 of
//! every view again, and the decoders have checked the whole morsel at once.
//!
//! Debug builds, and so all tests, go through the checked constructor all the same: it is the twin of
//! the unchecked one, and what it refuses is a fault here.

#![allow(unsafe_code, reason = "skips Arrow's second UTF-8 check; see the SAFETY comments")]

use std::sync::Arc;

use arrow_array::{ArrayRef, StringViewArray};
use arrow_buffer::{Buffer, NullBuffer, ScalarBuffer};

/// Strings longer than this do not fit into the view.
pub const MAX_INLINE_BYTES: usize = 12;

/// The view of `text`, which stands at `offset` of buffer `buffer_index`.
#[inline]
pub fn make_view(text: &[u8], buffer_index: u32, offset: usize) -> u128 {
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

/// As [`make_view`], of the `len` bytes from `start` on of the buffer with this index. Sixteen bytes must be there from
/// `start` on, whatever they are: one load takes them all.
#[inline(always)]
pub fn make_view_of_padded(buffer: &[u8], start: usize, len: usize, buffer_index: u32) -> u128 {
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

/// Views whose every string is known to be valid UTF-8 in the buffers they are finished with.
///
/// The invariant is kept by the decoders: they push views of text that lies between two ASCII
/// bytes of a record that passed the UTF-8 check, or of text that was put together from such
/// pieces and encoded characters.
#[derive(Debug, Default)]
pub struct Views(Vec<u128>);

impl Views {
    /// With room for `capacity` of them.
    pub fn with_capacity(capacity: usize) -> Self {
        Views(Vec::with_capacity(capacity))
    }

    /// Makes room for `times` as many views as there are. At least 1.
    pub fn reserve(&mut self, times: f64) {
        self.0.reserve((self.0.len() as f64 * (times - 1.0)) as usize);
    }

    /// Appends a view; see [`make_view`]. The text must be valid UTF-8.
    #[inline]
    pub fn push(&mut self, view: u128) {
        self.0.push(view);
    }

    /// Forgets all but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
    }

    /// The array of these views into `buffers`.
    pub fn finish(self, buffers: impl Into<Arc<[Buffer]>>, nulls: Option<NullBuffer>) -> ArrayRef {
        let buffers: Arc<[Buffer]> = buffers.into();
        // Offsets are 32 bits wide; a buffer beyond that would have been cut short in a view.
        assert!(buffers.iter().all(|b| u32::try_from(b.len()).is_ok()), "buffers of views are below 4 GiB");
        let views = ScalarBuffer::from(self.0);
        if cfg!(debug_assertions) {
            // What release builds take on trust is checked here, and by every test.
            let checked = StringViewArray::try_new(views, buffers, nulls);
            return Arc::new(checked.expect("views are in bounds and valid UTF-8"));
        }
        // SAFETY: every view was made by `make_view` or its twin, so inline bytes are zero-padded and prefixes
        // agree; its offset and length were taken from the buffer of that index, which only grows;
        // and the text is valid UTF-8 by the invariant of `Views`.
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
        let places: Vec<(usize, usize)> = text
            .char_indices()
            .flat_map(|(start, _)| text[start..].char_indices().map(move |(len, _)| (start, start + len)))
            .collect();
        let mut views = Views::default();
        for &(start, end) in &places {
            let view = make_view(&text.as_bytes()[start..end], 1, start);
            assert_eq!(view, arrow_array::builder::make_view(&text.as_bytes()[start..end], 1, start as u32));
            let padded = [text.as_bytes(), b"sixteen more of them"].concat();
            assert_eq!(view, make_view_of_padded(&padded, start, end - start, 1));
            views.push(view);
        }
        let buffers: Arc<[Buffer]> = Arc::new([Buffer::from(b"another"), Buffer::from(text.as_bytes())]);
        let array = views.finish(buffers, None);
        for (value, (start, end)) in array.as_string_view().iter().zip(places) {
            assert_eq!(value, Some(&text[start..end]));
        }
    }

    #[test]
    #[should_panic(expected = "views are in bounds and valid UTF-8")]
    fn what_is_not_utf_8_is_caught_in_debug_builds() {
        let mut views = Views::default();
        views.push(make_view(b"\xff\xff", 0, 0));
        let none: Arc<[Buffer]> = Arc::new([]);
        views.finish(none, None);
    }
}
