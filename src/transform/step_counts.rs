//! Counts of the rows that steps filtered, added or rejected.

use std::borrow::Cow;

use crate::position::FieldPath;

/// Counts of the rows of a batch that the steps filtered, added or rejected.
#[derive(Debug, Default)]
pub struct StepCounts {
    /// Rows that a step filtered.
    pub filtered: u64,
    /// Rows that a step added, besides the first of each record.
    pub added: u64,
    /// Rows that a step rejected.
    pub failed: Vec<FailedRow>,
    /// Origins of the filtered and of the added rows. Kept only under a limit, because rows behind it must not count.
    origins: Option<(Vec<u32>, Vec<u32>)>,
}

/// A row that a step rejected.
#[derive(Clone, Debug)]
pub struct FailedRow {
    /// Index among the decoded rows.
    pub row: u32,
    /// Path of the column that could not be computed; the root for a condition.
    pub path: FieldPath,
    /// Reason, without the value.
    pub reason: Cow<'static, str>,
    /// True if an output cannot hold the row, and no step failed.
    pub is_misfit: bool,
}

impl StepCounts {
    /// Creates zero counts. With `has_limit` they keep origins, which [`StepCounts::end_after`] needs.
    pub fn new(has_limit: bool) -> Self {
        StepCounts { origins: has_limit.then(Default::default), ..StepCounts::default() }
    }

    pub(super) fn drop_rows(&mut self, rows: u64, origins: impl Iterator<Item = u32>) {
        self.filtered += rows;
        if let Some((dropped, _)) = &mut self.origins {
            dropped.extend(origins);
        }
    }

    pub(super) fn add_rows(&mut self, rows: u64, origins: impl Iterator<Item = u32>) {
        self.added += rows;
        if let Some((_, added)) = &mut self.origins {
            added.extend(origins);
        }
    }

    /// Discards the counts of decoded rows behind the first `good`, which a limit made unnecessary.
    pub fn end_after(&mut self, good: usize) {
        let before = |row: &u32| (*row as usize) < good;
        if let Some((dropped, added)) = &self.origins {
            self.filtered = dropped.iter().filter(|row| before(row)).count() as u64;
            self.added = added.iter().filter(|row| before(row)).count() as u64;
        }
        self.failed.retain(|failed| before(&failed.row));
    }
}
