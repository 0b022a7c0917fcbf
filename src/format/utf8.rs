//! Morsels with bytes that are no text, made text.

use crate::column::Morsel;

/// A morsel in which U+FFFD stands for what is not UTF-8. Its places differ from the original's.
#[derive(Clone, Debug)]
pub struct Repaired {
    /// The text, at the byte offset of the original.
    pub morsel: Morsel,
    /// How often U+FFFD was put in.
    pub replaced: u64,
    /// After each replacement: the place here, and in the original.
    places: Vec<(usize, usize)>,
}

/// `morsel` with each longest piece that could start a character, and every other byte that is no
/// part of one, replaced by U+FFFD; `None` if it is UTF-8 as it is.
pub fn repair(morsel: &Morsel) -> Option<Repaired> {
    let bytes = morsel.records();
    if simdutf8::basic::from_utf8(bytes).is_ok() {
        return None;
    }
    let mut text = Vec::with_capacity(bytes.len() + bytes.len() / 8 + Morsel::PADDING);
    let mut places = Vec::new();
    let mut original = 0;
    for chunk in bytes.utf8_chunks() {
        text.extend_from_slice(chunk.valid().as_bytes());
        original += chunk.valid().len();
        if !chunk.invalid().is_empty() {
            text.extend_from_slice("\u{fffd}".as_bytes());
            original += chunk.invalid().len();
            places.push((text.len(), original));
        }
    }
    let morsel = Morsel::from_vec(text, morsel.byte_offset, morsel.source_index);
    Some(Repaired { morsel, replaced: places.len() as u64, places })
}

impl Repaired {
    /// Where the byte `at` of the text stands in the original.
    pub fn original(&self, at: usize) -> usize {
        match self.places.partition_point(|(here, _)| *here <= at).checked_sub(1) {
            Some(i) => self.places[i].1 + (at - self.places[i].0),
            None => at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_no_text_is_replaced() {
        assert!(repair(&Morsel::from_vec("grün\n".into(), 7, 1)).is_none());
        let bytes = b"a\xffb\n\xe2\x82\n\xf0\x9f\x98x\xc3\xa9\n".to_vec();
        let repaired = repair(&Morsel::from_vec(bytes.clone(), 7, 1)).unwrap();
        assert_eq!(repaired.morsel.records(), String::from_utf8_lossy(&bytes).as_bytes());
        assert_eq!((repaired.replaced, repaired.morsel.byte_offset, repaired.morsel.source_index), (3, 7, 1));
        // Every line starts where it did.
        let starts =
            |bytes: &[u8]| [0].into_iter().chain(memchr::memchr_iter(b'\n', bytes).map(|i| i + 1)).collect::<Vec<_>>();
        let mapped: Vec<usize> = starts(repaired.morsel.records()).into_iter().map(|i| repaired.original(i)).collect();
        assert_eq!(mapped, starts(&bytes));
    }
}
