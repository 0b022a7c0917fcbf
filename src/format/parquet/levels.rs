//! Computes definition and repetition levels, the nesting of a column laid out for each of its leaves.
//!
//! The simple algorithm is Dremel's: every leaf gets one entry per value, per null, and per empty list,
//! with the depth to which its path is defined and the depth at which it repeats, found by walking each
//! record from the root to each leaf. Here it is done per column of a batch, from the root down: each
//! level of nesting turns the entries of its parent into its own, once for all leaves below.

use std::ops::Range;
use std::rc::Rc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::NullBuffer;
use arrow_schema::DataType;

/// The definition levels of entries.
#[derive(Clone, Debug)]
pub(super) enum Definition {
    /// The same level for all entries.
    Same(u8),
    /// One level per entry.
    Each(Vec<u8>),
}

/// The values of an array that live entries refer to, in order.
#[derive(Clone, Debug)]
pub(super) enum Live {
    /// Consecutive values.
    Range(Range<usize>),
    /// The values at these indices, ascending.
    Some(Vec<u32>),
}

/// The entries at one level of nesting.
#[derive(Clone, Debug)]
pub(super) struct Entries {
    pub(super) len: usize,
    /// Repetition levels, one per entry; empty outside of lists and maps.
    pub(super) repetition: Rc<Vec<u8>>,
    pub(super) definition: Definition,
    /// Values of the live entries, which are those with definition level `depth`; the others ended at an outer level, as
    /// a null or an empty list.
    pub(super) live: Live,
    depth: u8,
    /// Number of lists and maps around these entries.
    repeats: u8,
}

impl Entries {
    /// Makes the entries of the rows of a batch, all of them live.
    pub(super) fn rows(rows: usize) -> Self {
        Entries {
            len: rows,
            repetition: Rc::default(),
            definition: Definition::Same(0),
            live: Live::Range(0..rows),
            depth: 0,
            repeats: 0,
        }
    }

    /// Calls `visit` for each entry, with its value if it is live, else with `None`.
    #[inline]
    fn each(&self, visit: impl FnMut(Option<usize>)) {
        match &self.live {
            Live::Range(range) => self.each_of(range.clone(), visit),
            Live::Some(values) => self.each_of(values.iter().map(|&v| v as usize), visit),
        }
    }

    #[inline]
    fn each_of(&self, mut values: impl Iterator<Item = usize>, mut visit: impl FnMut(Option<usize>)) {
        match &self.definition {
            Definition::Same(_) => values.for_each(|value| visit(Some(value))),
            Definition::Each(levels) => {
                levels.iter().for_each(|&level| visit(if level == self.depth { values.next() } else { None }));
            }
        }
    }

    /// Returns the entries one definition level deeper: live where the value is not null.
    fn defined(&self, nulls: Option<&NullBuffer>) -> Self {
        let depth = self.depth + 1;
        let next = |definition, live| Entries { definition, live, depth, repetition: self.repetition.clone(), ..*self };
        let Some(nulls) = nulls.filter(|n| n.null_count() > 0) else {
            let definition = match &self.definition {
                Definition::Same(_) => Definition::Same(depth),
                Definition::Each(levels) => {
                    Definition::Each(levels.iter().map(|&l| l + u8::from(l == self.depth)).collect())
                }
            };
            return next(definition, self.live.clone());
        };
        let mut values = Vec::new();
        if let (Definition::Same(_), Live::Range(range)) = (&self.definition, &self.live) {
            // The common case, a nullable column outside of lists, is done without a branch per value.
            let valid = nulls.inner().slice(range.start, range.len());
            let levels = valid.iter().map(|v| self.depth + u8::from(v)).collect();
            values.extend(valid.set_indices().map(|i| (range.start + i) as u32));
            return next(Definition::Each(levels), Live::Some(values));
        }
        // The general case: of the live entries, those with a value get the deeper level.
        let mut levels = match &self.definition {
            Definition::Same(depth) => vec![*depth; self.len],
            Definition::Each(levels) => levels.clone(),
        };
        let mut entry = 0;
        self.each(|value| {
            if let Some(value) = value.filter(|&v| nulls.is_valid(v)) {
                levels[entry] = depth;
                values.push(value as u32);
            }
            entry += 1;
        });
        next(Definition::Each(levels), Live::Some(values))
    }

    /// Returns the entries of the items of lists with these offsets.
    fn items(&self, offsets: &[i32]) -> Self {
        let (depth, repeats) = (self.depth + 1, self.repeats + 1);
        let mut repetition = Vec::with_capacity(self.len * 2);
        let mut levels = Vec::with_capacity(self.len * 2);
        let mut spans: Vec<Range<usize>> = Vec::new();
        let mut entry = 0;
        self.each(|value| {
            // An empty list, and an entry that ended at an outer level, keeps its one entry and its level.
            let first = self.repetition.get(entry).copied().unwrap_or(0);
            let ended = match &self.definition {
                Definition::Same(depth) => *depth,
                Definition::Each(levels) => levels[entry],
            };
            entry += 1;
            repetition.push(first);
            let span = value.map_or(0..0, |v| offsets[v] as usize..offsets[v + 1] as usize);
            if span.is_empty() {
                levels.push(ended);
                return;
            }
            levels.push(depth);
            // Most lists have few items, for which single pushes are faster than the calls of `resize`.
            for _ in 1..span.len() {
                repetition.push(repeats);
                levels.push(depth);
            }
            match spans.last_mut() {
                Some(last) if last.end == span.start => last.end = span.end,
                _ => spans.push(span),
            }
        });
        let live = match spans.len() {
            0 => Live::Range(0..0),
            1 => Live::Range(spans.remove(0)),
            _ => Live::Some(spans.into_iter().flatten().map(|v| v as u32).collect()),
        };
        Entries {
            len: levels.len(),
            repetition: Rc::new(repetition),
            definition: Definition::Each(levels),
            live,
            depth,
            repeats,
        }
    }
}

/// Calls `leaf` with every leaf array of `column`, in the order of the Parquet schema, and its entries.
/// `entries` are those of the column itself.
pub(super) fn leaves<E>(
    column: &ArrayRef,
    entries: &Entries,
    leaf: &mut impl FnMut(&ArrayRef, &Entries) -> Result<(), E>,
) -> Result<(), E> {
    let entries = entries.defined(column.nulls());
    match column.data_type() {
        DataType::Struct(_) => column.as_struct().columns().iter().try_for_each(|child| leaves(child, &entries, leaf)),
        DataType::List(_) => {
            let list = column.as_list::<i32>();
            leaves(list.values(), &entries.items(list.value_offsets()), leaf)
        }
        DataType::Map(..) => {
            let map = column.as_map();
            let entries = entries.items(map.value_offsets());
            // Keys are required, so that they have no definition level of their own.
            leaf(map.keys(), &entries)?;
            leaves(map.values(), &entries, leaf)
        }
        _ => leaf(column, &entries),
    }
}
