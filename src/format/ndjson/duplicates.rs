//! Counts duplicate keys in nested values that pass as their own text, so that the count does not depend on whether a
//! value is parsed into columns.
//!
//! The simple algorithm compares each key with those before it in its object. The departures: a key is compared only if a
//! bit of its hash is set already among 64, which nearly always tells that it is new; and objects of many keys are counted
//! once they end, by a set.

use std::collections::HashSet;

use super::scan::{Cursor, ObjectKeys, Str};

/// Keys of an object beyond which they are counted by a set. By eye: the bits of the hashes are all set then.
const MAX_COMPARED_KEYS: usize = 64;

/// The duplicate keys of all objects that were passed.
#[derive(Debug, Default)]
pub(super) struct DuplicateKeys {
    /// Duplicates in objects that have ended, and in those that are open.
    pub count: u64,
    /// Keys of the open objects, the innermost last.
    keys: Vec<Key>,
    open: Vec<OpenObject>,
    /// Text of keys with escapes, of the open objects.
    unescaped: Vec<u8>,
}

/// A key; equal keys have the same `head` and `len`.
#[derive(Clone, Copy, Debug)]
struct Key {
    /// The first eight bytes, filled up with zeros.
    head: u64,
    len: u32,
    /// Offset in the morsel, or in the unescaped text.
    start: u32,
    is_unescaped: bool,
}

#[derive(Debug)]
struct OpenObject {
    /// Index of its first key.
    first: usize,
    /// Length of the unescaped text before it.
    unescaped: usize,
    /// A bit for each key, by its hash.
    seen: u64,
    /// Duplicates among its first [`MAX_COMPARED_KEYS`] keys.
    count: u64,
}

impl DuplicateKeys {
    /// Forgets the objects that were left open by an error, and the duplicates that were counted in them.
    pub(super) fn reset(&mut self) {
        self.count = 0;
        self.keys.clear();
        self.open.clear();
        self.unescaped.clear();
    }

    fn text<'a>(&'a self, morsel: &'a [u8], key: Key) -> &'a [u8] {
        let text = if key.is_unescaped { &self.unescaped } else { morsel };
        &text[key.start as usize..][..key.len as usize]
    }

    #[cold]
    fn unescape(&mut self, cursor: &Cursor<'_>, key: Str) -> Key {
        let start = self.unescaped.len();
        cursor.unescape(key, &mut self.unescaped);
        let text = &self.unescaped[start..];
        let mut head = [0; 8];
        let prefix = text.len().min(8);
        head[..prefix].copy_from_slice(&text[..prefix]);
        Key { head: u64::from_le_bytes(head), len: text.len() as u32, start: start as u32, is_unescaped: true }
    }
}

impl ObjectKeys for DuplicateKeys {
    #[inline]
    fn open(&mut self) {
        let (first, unescaped) = (self.keys.len(), self.unescaped.len());
        self.open.push(OpenObject { first, unescaped, seen: 0, count: 0 });
    }

    #[inline]
    fn key(&mut self, cursor: &Cursor<'_>, key: Str) {
        let morsel = cursor.bytes();
        let key = match key.escaped {
            true => self.unescape(cursor, key),
            false => {
                let len = key.end - key.start;
                // In bounds at the end of the morsel too: the padding has 64 bytes.
                let head = u64::from_le_bytes(*morsel[key.start..].first_chunk().expect("the padding is longer"));
                let head = if len < 8 { head & ((1 << (8 * len)) - 1) } else { head };
                Key { head, len: len as u32, start: key.start as u32, is_unescaped: false }
            }
        };
        // The upper six bits of a product depend on all bytes.
        let hash = (key.head ^ u64::from(key.len)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
        let Some(open) = self.open.last_mut() else { return };
        let (first, bit) = (open.first, 1u64 << hash);
        let may_be_known = open.seen & bit != 0;
        open.seen |= bit;
        let known = &self.keys[first..];
        if may_be_known && known.len() < MAX_COMPARED_KEYS {
            let is_same = |other: &&Key| {
                other.head == key.head
                    && other.len == key.len
                    && (key.len <= 8 || self.text(morsel, **other) == self.text(morsel, key))
            };
            if known.iter().find(is_same).is_some() {
                self.count += 1;
                if let Some(open) = self.open.last_mut() {
                    open.count += 1;
                }
            }
        }
        self.keys.push(key);
    }

    #[inline]
    fn close(&mut self, cursor: &Cursor<'_>) {
        let Some(open) = self.open.pop() else { return };
        let keys = &self.keys[open.first..];
        if keys.len() > MAX_COMPARED_KEYS {
            let distinct: HashSet<&[u8]> = keys.iter().map(|key| self.text(cursor.bytes(), *key)).collect();
            self.count += (keys.len() - distinct.len()) as u64 - open.count;
        }
        self.keys.truncate(open.first);
        self.unescaped.truncate(open.unescaped);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Morsel;
    use crate::column::canonical::count_duplicate_keys;

    fn count(text: &str) -> u64 {
        let morsel = Morsel::from_vec(text.as_bytes().to_vec(), 0, 0);
        let mut keys = DuplicateKeys::default();
        let mut cursor = Cursor::new(&morsel);
        cursor.skip_nested(0, &mut keys).unwrap();
        assert!(keys.keys.is_empty() && keys.open.is_empty() && keys.unescaped.is_empty());
        keys.count
    }

    #[test]
    fn keys_are_compared_by_their_text() {
        for (text, expected) in [
            ("[]", 0),
            (r#"{"a":1,"b":{"a":1},"c":[{"a":1},{"a":1}]}"#, 0),
            (r#"{"a":1,"a":2,"a":3}"#, 2),
            (r#"{"":1,"":2}"#, 1),
            (r#"{"a\u0000":1,"a":2}"#, 0),
            (r#"{"\u0061":1,"a":2}"#, 1),
            (r#"{"a":2,"\u0061":1,"x":{"\u0061":1,"a":1}}"#, 2),
            (r#"{"abcdefgh":1,"abcdefgh":2,"abcdefghi":3}"#, 1),
            (r#"{"abcdefghij":1,"abcdefghik":2,"abcdefghij":{"abcdefghij":1}}"#, 1),
            (r#"[{"b":[{"b":1,"b":{"c":1,"c":2}}]},{"b":1}]"#, 2),
        ] {
            assert_eq!(count(text), expected, "{text}");
            assert_eq!(count_duplicate_keys(text), expected, "{text}");
        }
    }

    #[test]
    fn objects_of_many_keys_are_counted_by_a_set() {
        for (keys, repeated) in [(63, 1), (64, 1), (65, 1), (65, 64), (300, 300), (1000, 3)] {
            let key = |n: usize| format!(r#""key number {n}":{{"a":1,"a":2}}"#);
            let members: Vec<String> = (0..keys).chain(0..repeated).map(key).collect();
            let text = format!("{{{}}}", members.join(","));
            assert_eq!(count(&text), (keys + 2 * repeated) as u64, "{keys} {repeated}");
            assert_eq!(count(&text), count_duplicate_keys(&text));
        }
    }
}
