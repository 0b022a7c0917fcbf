//! Tracks the rows of one batch through the steps: the decoded row that each stems from, and counts of the rows that
//! were dropped, added or rejected. Steps change row counts only through this module, so that the report adds up.

use std::sync::Arc;

use arrow_array::BooleanArray;
use arrow_buffer::BooleanBufferBuilder;

use super::batch_origin::BatchOrigin;
use super::error::Error;
use super::expr::{EvalError, RowContext};
use super::options::OnBadCast;
use super::record_spans::RecordSpans;
use super::step_counts::{FailedRow, StepCounts};
use crate::column::Batch;
use crate::position::FieldPath;

/// Origins and counts of the rows of one batch.
pub(super) struct RowTracker<'a> {
    /// Index of each row among the decoded rows; `None` if origins are not traced.
    pub origins: Option<Vec<u32>>,
    /// Counts of the steps so far.
    pub counts: StepCounts,
    /// Number of decoded rows that were evaluated before a limit was reached; `None` while no limit is reached.
    pub rows_until_limit: Option<usize>,
    /// Origin of the decoded rows.
    pub origin: &'a BatchOrigin,
    /// Source records of the decoded rows; `None` if no step needs them.
    pub record_spans: Option<&'a RecordSpans>,
    /// Labels of expressions and casts that produced null for a value they could not compute, with the number of rows.
    pub nulled: &'a mut Vec<(Arc<str>, u64)>,
    pub on_bad_cast: OnBadCast,
    /// True if no later step looks at values as they were read, so that a filter need not filter them too.
    pub is_last_look: bool,
}

impl RowTracker<'_> {
    /// Returns the origins of the rows for expressions.
    pub(super) fn context(&self) -> RowContext<'_> {
        RowContext {
            source: &self.origin.source,
            run: self.origin.run.as_deref(),
            records_before: self.origin.records_before,
            origins: self.origins.as_deref(),
            skipped: self.record_spans.map_or(&[], |spans| &spans.skipped),
        }
    }

    /// Filters `batch` by `keep` and counts the dropped rows.
    pub(super) fn keep(&mut self, batch: Batch, keep: &BooleanArray) -> Result<Batch, Error> {
        self.note_kept(batch.rows, keep);
        let as_read = if self.is_last_look { Vec::new() } else { batch.as_read };
        keep_rows(Batch { as_read, ..batch }, keep)
    }

    /// Counts the rows that `keep` drops from a batch of `rows` rows, for a step that filters the columns itself.
    pub(super) fn note_kept(&mut self, rows: usize, keep: &BooleanArray) {
        let dropped = (rows - keep.true_count()) as u64;
        if dropped > 0 {
            let dropped_rows = self.origins.iter().flatten().zip(keep.values()).filter(|(_, kept)| !kept);
            self.counts.drop_rows(dropped, dropped_rows.map(|(row, _)| *row));
        }
        self.retain_origins(keep);
    }

    fn retain_origins(&mut self, keep: &BooleanArray) {
        if let Some(origins) = &mut self.origins {
            let mut kept = keep.values().iter();
            origins.retain(|_| kept.next().unwrap_or(true));
        }
    }

    /// Removes the `bad` rows, which count as rejected and not as filtered. Also returns the mask of the rows that
    /// remain.
    pub(super) fn reject_rows(
        &mut self,
        batch: Batch,
        bad: Vec<(u32, EvalError)>,
        path: &FieldPath,
    ) -> Result<(Batch, BooleanArray), Error> {
        let failed = bad.into_iter().map(|(row, reason)| FailedRow {
            row,
            path: path.clone(),
            reason: reason.into_reason(),
            is_misfit: false,
        });
        let good = self.note_rejected(batch.rows, failed.collect());
        Ok((keep_rows(batch, &good)?, good))
    }

    /// Removes the `bad` rows of `batch`, each once, which count as rejected.
    pub(super) fn reject(&mut self, batch: Batch, bad: Vec<FailedRow>) -> Result<Batch, Error> {
        let good = self.note_rejected(batch.rows, bad);
        let as_read = if self.is_last_look { Vec::new() } else { batch.as_read };
        keep_rows(Batch { as_read, ..batch }, &good)
    }

    /// Counts the `bad` rows of a batch of `rows` rows as rejected, and returns the mask of the others.
    fn note_rejected(&mut self, rows: usize, bad: Vec<FailedRow>) -> BooleanArray {
        let mut good = BooleanBufferBuilder::new(rows);
        good.append_n(rows, true);
        bad.iter().for_each(|failed| good.set_bit(failed.row as usize, false));
        let good = BooleanArray::new(good.finish(), None);
        let origins = self.origins.as_ref().expect("origins are traced for steps that may reject rows");
        let traced = bad.into_iter().map(|failed| FailedRow { row: origins[failed.row as usize], ..failed });
        self.counts.failed.extend(traced);
        self.retain_origins(&good);
        good
    }

    /// Counts rows in which `label` produced null for a value that it could not compute.
    pub(super) fn note_nulled(&mut self, label: &Arc<str>, rows: u64) {
        match self.nulled.iter_mut().find(|(known, _)| known == label) {
            Some((_, n)) => *n += rows,
            None => self.nulled.push((label.clone(), rows)),
        }
    }

    /// Records that every row became one or more. `parents` holds, for each new row, the index of the row before.
    pub(super) fn explode(&mut self, parents: &[u32]) {
        // The first row of each parent replaces it; only further ones count as added.
        let further = || parents.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[1]);
        let added = further().count() as u64;
        let origins = self.origins.take();
        let origin = |row: u32| origins.as_ref().map_or(row, |origins| origins[row as usize]);
        self.counts.add_rows(added, further().map(origin));
        if origins.is_some() {
            self.origins = Some(parents.iter().map(|&row| origin(row)).collect());
        }
    }

    /// Stops reading after the first `n` rows: nothing behind the record of the last of them is evaluated.
    pub(super) fn end_after(&mut self, n: usize) {
        let end = |last: usize| self.origins.as_ref().map_or(last, |origins| origins[last] as usize) + 1;
        let here = n.checked_sub(1).map_or(0, end);
        // With two limits in a plan the tighter one counts.
        self.rows_until_limit = Some(self.rows_until_limit.map_or(here, |rows_until_limit| rows_until_limit.min(here)));
    }

    /// Keeps the first `n` rows. Of the others, those of records before the limit count as filtered; the rest count as
    /// unread.
    pub(super) fn first(&mut self, batch: Batch, n: usize) -> Batch {
        if n == batch.rows {
            return batch;
        }
        if let Some(origins) = &mut self.origins {
            let cut = origins.split_off(n);
            let before_limit: Vec<u32> = cut
                .into_iter()
                // Rows of a record behind the limit were never wanted, so they are not counted at all.
                .filter(|row| self.rows_until_limit.is_some_and(|rows_until_limit| (*row as usize) < rows_until_limit))
                .collect();
            self.counts.drop_rows(before_limit.len() as u64, before_limit.into_iter());
        }
        first_rows(batch, n)
    }
}

fn keep_rows(batch: Batch, keep: &BooleanArray) -> Result<Batch, Error> {
    let rows = keep.true_count();
    // Most batches pass a filter whole or in part; a whole one is not copied.
    if rows == batch.rows {
        return Ok(batch);
    }
    // The mask is analyzed once for all columns.
    let filter = arrow_select::filter::FilterBuilder::new(keep).optimize().build();
    let mut kept = batch.map_columns(rows, |column| filter.filter(column))?;
    kept.records = batch.records.map(|(bytes, spans)| {
        let kept = spans.into_iter().zip(keep.values()).filter_map(|(span, kept)| kept.then_some(span)).collect();
        (bytes, kept)
    });
    Ok(kept)
}

fn first_rows(batch: Batch, rows: usize) -> Batch {
    batch.slice(0, rows)
}
