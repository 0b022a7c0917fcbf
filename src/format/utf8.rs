//! Repair of morsels that are not valid UTF-8: invalid bytes are replaced by U+FFFD, and positions are
//! mapped back, so that messages still name bytes of the source.

use crate::column::Morsel;

/// A morsel in which U+FFFD replaces invalid UTF-8. Its offsets differ from those of the original.
#[derive(Clone, Debug)]
pub struct Repaired {
    /// The repaired text. Its `byte_offset` is that of the original.
    pub morsel: Morsel,
    /// Number of replacements.
    pub replaced: u64,
    /// Offset after each replacement, here and in the original; both ascend.
    offsets: Vec<(usize, usize)>,
    /// The change that was made before this one; `None` for a change of the original.
    before: Option<Box<Repaired>>,
}

/// Replaces each maximal prefix of an incomplete character, and every other invalid byte, by U+FFFD,
/// as [`String::from_utf8_lossy`] does. `None` if the morsel is valid UTF-8.
pub fn repair(morsel: &Morsel) -> Option<Repaired> {
    let bytes = morsel.records();
    if simdutf8::basic::from_utf8(bytes).is_ok() {
        return None;
    }
    let mut text = Vec::with_capacity(bytes.len() + bytes.len() / 8 + Morsel::PADDING);
    let mut offsets = Vec::new();
    let mut original = 0;
    for chunk in bytes.utf8_chunks() {
        text.extend_from_slice(chunk.valid().as_bytes());
        original += chunk.valid().len();
        if !chunk.invalid().is_empty() {
            text.extend_from_slice("\u{fffd}".as_bytes());
            original += chunk.invalid().len();
            offsets.push((text.len(), original));
        }
    }
    let morsel = Morsel::from_vec(text, morsel.byte_offset, morsel.source_index);
    Some(Repaired { morsel, replaced: offsets.len() as u64, offsets, before: None })
}

impl Repaired {
    /// Makes a morsel that was changed without replacements: `offsets` are those after each change, here and in the
    /// original, and ascend.
    pub fn with_offsets(morsel: Morsel, offsets: Vec<(usize, usize)>) -> Self {
        Repaired { morsel, replaced: 0, offsets, before: None }
    }

    /// Returns this change of a morsel that `before` made of the original.
    #[must_use]
    pub fn after(self, before: Repaired) -> Self {
        Repaired { before: Some(Box::new(before)), ..self }
    }

    /// Maps the offset `at` of the repaired text to the offset in the original.
    pub fn original(&self, at: usize) -> usize {
        // Between two replacements both texts run in parallel.
        let at = match self.offsets.partition_point(|(here, _)| *here <= at).checked_sub(1) {
            Some(i) => self.offsets[i].1 + (at - self.offsets[i].0),
            None => at,
        };
        self.before.as_ref().map_or(at, |before| before.original(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_invalid_utf_8_is_replaced() {
        assert!(repair(&Morsel::from_vec("grün\n".into(), 7, 1)).is_none());
        let bytes = b"a\xffb\n\xe2\x82\n\xf0\x9f\x98x\xc3\xa9\n".to_vec();
        let repaired = repair(&Morsel::from_vec(bytes.clone(), 7, 1)).unwrap();
        assert_eq!(repaired.morsel.records(), String::from_utf8_lossy(&bytes).as_bytes());
        assert_eq!((repaired.replaced, repaired.morsel.byte_offset, repaired.morsel.source_index), (3, 7, 1));
        // The start of every line is mapped to the start of that line.
        let starts =
            |bytes: &[u8]| [0].into_iter().chain(memchr::memchr_iter(b'\n', bytes).map(|i| i + 1)).collect::<Vec<_>>();
        let mapped: Vec<usize> = starts(repaired.morsel.records()).into_iter().map(|i| repaired.original(i)).collect();
        assert_eq!(mapped, starts(&bytes));
    }
}
