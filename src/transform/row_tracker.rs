//! The rows of one batch on their way through the steps: where each comes from, and what became of those that are gone.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray};
use arrow_buffer::BooleanBufferBuilder;

use super::error::Error;
use super::expr::EvalError;
use super::options::OnBadCast;
use super::record_spans::RecordSpans;
use super::step_counts::{FailedRow, StepCounts};
use crate::column::Batch;
use crate::position::FieldPath;

/// Traces the rows of one batch.
pub(super) struct RowTracker<'a> {
    /// For each row its place among the rows as decoded, where that is asked for.
    pub origins: Option<Vec<u32>>,
    pub tally: StepCounts,
    /// A limit is reached: nothing after so many of the rows as decoded was looked at.
    pub taken: Option<usize>,
    /// The records of the rows as decoded, in their source.
    pub places: Option<&'a RecordSpans>,
    /// Expressions and casts whose value was null because it could not be made, and in how many rows.
    pub nulled: &'a mut Vec<(Arc<str>, u64)>,
    pub on_bad_cast: OnBadCast,
}

impl RowTracker<'_> {
    /// Keeps those rows; the others were filtered.
    pub fn keep(&mut self, batch: Batch, keep: &BooleanArray) -> Result<Batch, Error> {
        self.note_kept(batch.rows, keep);
        keep_rows(batch, keep)
    }

    /// Of `rows` rows those are kept; the others were filtered.
    pub fn note_kept(&mut self, rows: usize, keep: &BooleanArray) {
        let dropped = (rows - keep.true_count()) as u64;
        if dropped > 0 {
            let gone = self.origins.iter().flatten().zip(keep.values()).filter(|(_, kept)| !kept);
            self.tally.drop_rows(dropped, gone.map(|(row, _)| *row));
        }
        self.retain_origins(keep);
    }

    fn retain_origins(&mut self, keep: &BooleanArray) {
        if let Some(origins) = &mut self.origins {
            let mut kept = keep.values().iter();
            origins.retain(|_| kept.next().unwrap_or(true));
        }
    }

    /// Takes the `bad` rows out: neither kept nor filtered. Also returns which rows stay.
    pub fn set_aside(
        &mut self,
        batch: Batch,
        bad: Vec<(u32, EvalError)>,
        path: &FieldPath,
    ) -> Result<(Batch, BooleanArray), Error> {
        let mut good = BooleanBufferBuilder::new(batch.rows);
        good.append_n(batch.rows, true);
        bad.iter().for_each(|(row, _)| good.set_bit(*row as usize, false));
        let good = BooleanArray::new(good.finish(), None);
        let origins = self.origins.as_ref().expect("rows that may be bad are traced");
        self.tally.bad.extend(bad.into_iter().map(|(row, reason)| FailedRow {
            row: origins[row as usize],
            path: path.clone(),
            reason: reason.into_reason(),
        }));
        self.retain_origins(&good);
        Ok((keep_rows(batch, &good)?, good))
    }

    /// Counts rows whose value was null because it could not be made.
    pub fn note_nulled(&mut self, label: &Arc<str>, rows: u64) {
        match self.nulled.iter_mut().find(|(known, _)| known == label) {
            Some((_, n)) => *n += rows,
            None => self.nulled.push((label.clone(), rows)),
        }
    }

    /// Every row has become one or more, each of which names the row that it was.
    pub fn explode(&mut self, parents: &[u32]) {
        let further = || parents.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[1]);
        let added = further().count() as u64;
        let origins = self.origins.take();
        let origin = |row: u32| origins.as_ref().map_or(row, |origins| origins[row as usize]);
        self.tally.add_rows(added, further().map(origin));
        if origins.is_some() {
            self.origins = Some(parents.iter().map(|&row| origin(row)).collect());
        }
    }

    /// Ends the reading after the first `n` rows: nothing after the record of the last of them is looked at.
    pub fn end_after(&mut self, n: usize) {
        let end = |last: usize| self.origins.as_ref().map_or(last, |origins| origins[last] as usize) + 1;
        let here = n.checked_sub(1).map_or(0, end);
        // A limit further on may be reached with what an earlier one let pass.
        self.taken = Some(self.taken.map_or(here, |taken| taken.min(here)));
    }

    /// Keeps the first rows; of the others, those of records that were looked at were filtered.
    pub fn first(&mut self, batch: Batch, n: usize) -> Batch {
        if n == batch.rows {
            return batch;
        }
        if let Some(origins) = &mut self.origins {
            let cut = origins.split_off(n);
            let of_taken: Vec<u32> =
                cut.into_iter().filter(|row| self.taken.is_some_and(|taken| (*row as usize) < taken)).collect();
            self.tally.drop_rows(of_taken.len() as u64, of_taken.into_iter());
        }
        first_rows(batch, n)
    }
}

fn keep_rows(batch: Batch, keep: &BooleanArray) -> Result<Batch, Error> {
    let rows = keep.true_count();
    if rows == batch.rows {
        return Ok(batch);
    }
    let filter = arrow_select::filter::FilterBuilder::new(keep).optimize().build();
    let columns = batch.columns.iter().map(|c| filter.filter(c)).collect::<Result<Vec<ArrayRef>, _>>()?;
    let records = batch.records.map(|(bytes, spans)| {
        let kept = spans.into_iter().zip(keep.values()).filter_map(|(span, kept)| kept.then_some(span)).collect();
        (bytes, kept)
    });
    Ok(Batch { schema: batch.schema, columns, rows, records })
}

fn first_rows(batch: Batch, rows: usize) -> Batch {
    let columns = batch.columns.iter().map(|column| column.slice(0, rows)).collect();
    let records = batch.records.map(|(bytes, mut spans)| {
        spans.truncate(rows);
        (bytes, spans)
    });
    Batch { schema: batch.schema, columns, rows, records }
}
