//! Maps: objects whose keys are data. Of a duplicate key, the last value is kept.

use std::collections::HashMap;
use std::hash::BuildHasher;

use super::{Decoder, MORSEL};
use crate::column::build::Builder;
use crate::column::views::{Views, span_of_view};
use crate::format::ndjson::scan::{JsonError, PathSegment, Scan};

/// The most keys of a map that are compared with each other; more are compared by hash. By eye.
const MAX_PAIRWISE_KEYS: usize = 16;

impl Decoder<'_> {
    /// Parses the entries of a map. They keep their order; of a duplicate key, the last value is kept.
    pub(super) fn map(&mut self, keys: &mut Views, values: &mut Builder, depth: usize) -> Scan<()> {
        if self.distinct_maps {
            return self.distinct_entries(keys, values, depth);
        }
        let (start, first) = (self.cursor.pos, keys.len());
        self.entries(keys, values, depth)?;
        if self.has_duplicates(keys, first) {
            self.cursor.pos = start;
            keys.truncate(first);
            values.truncate(first);
            return self.distinct_entries(keys, values, depth);
        }
        Ok(())
    }

    fn entries(&mut self, keys: &mut Views, values: &mut Builder, depth: usize) -> Scan<()> {
        self.cursor.open(depth)?;
        if self.cursor.skip_blank() == b'}' {
            self.cursor.pos += 1;
            return Ok(());
        }
        loop {
            if self.cursor.skip_blank() != b'"' {
                return Err(JsonError::syntax(self.cursor.pos, "expected a key in quotes"));
            }
            let s = self.cursor.string()?;
            self.cursor.expect(b':', "expected `:` after a key")?;
            keys.push(self.view(s));
            if let Err(error) = self.value(values, depth + 1) {
                let key = String::from_utf8_lossy(&self.cursor.bytes()[s.start..s.end]).into_owned();
                return Err(error.within(PathSegment::Key(key)));
            }
            match self.cursor.skip_blank() {
                b',' => self.cursor.pos += 1,
                b'}' => {
                    self.cursor.pos += 1;
                    return Ok(());
                }
                _ => return Err(JsonError::syntax(self.cursor.pos, "expected `,` or `}`")),
            }
        }
    }

    /// Returns true if two keys from `first` on are equal.
    fn has_duplicates(&mut self, keys: &Views, first: usize) -> bool {
        let views = keys.from(first);
        if views.len() <= MAX_PAIRWISE_KEYS {
            return views.iter().enumerate().any(|(i, &a)| views[..i].iter().any(|&b| self.is_same_text(a, b)));
        }
        let mut hashes = std::mem::take(&mut self.key_hashes);
        hashes.clear();
        hashes.extend(views.iter().map(|&view| match self.long_text(view) {
            Some(text) => self.hasher.hash_one(text),
            None => self.hasher.hash_one(view),
        }));
        hashes.sort_unstable();
        // A collision costs time alone: `distinct_entries` compares the keys themselves.
        let found = hashes.array_windows().any(|[a, b]| a == b);
        self.key_hashes = hashes;
        found
    }

    #[inline]
    fn is_same_text(&self, a: u128, b: u128) -> bool {
        // Length and first bytes differ nearly always.
        a as u64 == b as u64 && (a == b || self.long_text(a).is_some_and(|text| Some(text) == self.long_text(b)))
    }

    /// Returns the text of a view that [`Decoder::view`] made; `None` if the view holds the text itself.
    fn long_text(&self, view: u128) -> Option<&[u8]> {
        let (buffer, range) = span_of_view(view)?;
        Some(&if buffer == MORSEL { self.cursor.bytes() } else { &self.unescaped }[range])
    }

    /// Parses the map at the cursor so that each key keeps its first place and gets its last value, as the fields of other
    /// objects do. Slower than [`Decoder::entries`]: each value is scanned before it is parsed.
    #[cold]
    fn distinct_entries(&mut self, keys: &mut Views, values: &mut Builder, depth: usize) -> Scan<()> {
        let mut last_values: Vec<(u128, usize)> = Vec::new();
        let mut index_by_key: HashMap<(u128, Vec<u8>), usize> = HashMap::new();
        let mut n_entries = 0;
        self.cursor.open(depth)?;
        while self.cursor.skip_blank() == b'"' {
            let s = self.cursor.string()?;
            let view = self.view(s);
            self.cursor.expect(b':', "expected `:` after a key")?;
            self.cursor.skip_blank();
            let value = self.cursor.pos;
            self.cursor.skip_value(depth + 1)?;
            let key = self.long_text(view).map_or((view, Vec::new()), |text| (0, text.to_vec()));
            let index = *index_by_key.entry(key).or_insert(last_values.len());
            match last_values.get_mut(index) {
                Some(last) => last.1 = value,
                None => last_values.push((view, value)),
            }
            n_entries += 1;
            if self.cursor.skip_blank() == b',' {
                self.cursor.pos += 1;
            }
        }
        // The closing brace; the first parse has checked the syntax.
        let end = self.cursor.pos + 1;
        let dropped = (n_entries - last_values.len()) as u64;
        // The first parse has counted the duplicates in nested objects.
        let counted = self.duplicate_keys;
        let outer = std::mem::replace(&mut self.distinct_maps, true);
        let parsed = last_values.into_iter().try_for_each(|(view, value)| {
            keys.push(view);
            self.cursor.pos = value;
            self.value(values, depth + 1)
        });
        self.distinct_maps = outer;
        self.duplicate_keys = counted + dropped;
        self.cursor.pos = end;
        parsed
    }
}
