//! Counts of rows that steps left out, added, or could not use.

use std::borrow::Cow;

use crate::position::FieldPath;

/// What became of the rows of a batch that are not as they were decoded.
#[derive(Debug, Default)]
pub struct StepCounts {
    /// Rows that a step left out.
    pub filtered: u64,
    /// Rows that a step made besides the first of a record.
    pub added: u64,
    /// Rows that a step could not use.
    pub bad: Vec<FailedRow>,
    /// Where they came from, if rows are counted to a limit: of what comes after it nothing counts.
    places: Option<(Vec<u32>, Vec<u32>)>,
}

/// A row that a step could not use.
#[derive(Clone, Debug)]
pub struct FailedRow {
    /// Its place among the rows as decoded.
    pub row: u32,
    /// The column.
    pub path: FieldPath,
    /// Why.
    pub reason: Cow<'static, str>,
}

impl StepCounts {
    /// Of nothing yet. With a limit, [`StepCounts::end_after`] can be asked.
    pub fn new(has_limit: bool) -> Self {
        StepCounts { places: has_limit.then(Default::default), ..StepCounts::default() }
    }

    pub(super) fn drop_rows(&mut self, rows: u64, origins: impl Iterator<Item = u32>) {
        self.filtered += rows;
        if let Some((dropped, _)) = &mut self.places {
            dropped.extend(origins);
        }
    }

    pub(super) fn add_rows(&mut self, rows: u64, origins: impl Iterator<Item = u32>) {
        self.added += rows;
        if let Some((_, added)) = &mut self.places {
            added.extend(origins);
        }
    }

    /// Forgets what became of the rows after the first `good` as decoded: they were not wanted any more.
    pub fn end_after(&mut self, good: usize) {
        let before = |row: &u32| (*row as usize) < good;
        if let Some((dropped, added)) = &self.places {
            self.filtered = dropped.iter().filter(|row| before(row)).count() as u64;
            self.added = added.iter().filter(|row| before(row)).count() as u64;
        }
        self.bad.retain(|bad| before(&bad.row));
    }
}
