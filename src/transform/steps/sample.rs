//! `sample`: keeps a random fraction of the rows. The choice hashes the seed and the position of a row's record in its
//! source, so it does not depend on threads, batches or the steps before.

use arrow_array::BooleanArray;

use crate::column::{Batch, Schema};
use crate::transform::binding::Binding;
use crate::transform::describe::StepText;
use crate::transform::error::Error;
use crate::transform::expr;
use crate::transform::kind::{ArgumentForm, Properties, RunningStep, StepKind, WrittenStep};
use crate::transform::needed::Needed;
use crate::transform::options::StepOptions;
use crate::transform::record_spans::RecordSpans;
use crate::transform::row_tracker::RowTracker;

/// Parameters of `sample`: the rate and the seed.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Fraction of the rows to keep, from 0 to 1.
    pub rate: f64,
    /// Seed of the choice; another seed chooses other rows.
    pub seed: u64,
}

impl WrittenStep for Sample {
    const WORD: &'static str = "sample";
    const FORM: ArgumentForm = ArgumentForm::Part;

    fn parse(text: &str, seed: u64) -> Result<Vec<Self>, expr::Error> {
        match text.trim().parse() {
            Ok(rate) if (0.0..=1.0).contains(&rate) => Ok(vec![Sample { rate, seed }]),
            _ => Err(expr::Error::new(text, 0, "expected a number from 0 to 1")),
        }
    }
}

impl StepKind for Sample {
    type Running = Sampler;

    fn describe(&self) -> StepText {
        StepText::new(Self::WORD, format!("{}, seed {}", self.rate, self.seed))
    }

    fn properties(&self) -> Properties {
        Properties { keeps_records: true, needs_record_spans: true, ..Properties::default() }
    }

    fn bind(&mut self, _: &mut Binding) -> Result<(), expr::Error> {
        Ok(())
    }

    fn add_needed(&self, _: &mut Needed) {}

    fn start(&self, _: &StepOptions) -> Sampler {
        Sampler::new(self.rate, self.seed)
    }
}

/// Chooses rows by the byte at which their records start, the same rows however the source is split.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sampler {
    /// A row is kept if its hash is below this value, which is up to 2^64.
    threshold: u128,
    seed: u64,
}

impl Sampler {
    /// Creates a sampler that keeps about `rate` of the rows.
    fn new(rate: f64, seed: u64) -> Self {
        // For a rate in 0..=1 the product has 53 significant bits of 64, which is exact enough.
        Sampler { threshold: (rate * (u64::MAX as f64 + 1.0)) as u128, seed }
    }

    /// Returns true if the row is kept; it is number `nth` of the rows that its record was exploded into.
    fn keeps(&self, record_spans: &RecordSpans, row: u32, nth: u64) -> bool {
        let byte = record_spans.morsel.byte_offset + u64::from(record_spans.spans[row as usize].start);
        let source = record_spans.morsel.source_index as u64;
        let hash = [source, byte, nth].iter().fold(mix(self.seed), |hash, part| mix(hash ^ part));
        u128::from(hash) < self.threshold
    }
}

impl RunningStep for Sampler {
    fn output_schema(&self, schema: Schema, _: &StepOptions) -> Result<Schema, Error> {
        Ok(schema)
    }

    fn apply(&mut self, batch: Batch, rows: &mut RowTracker<'_>, _: &StepOptions) -> Result<Batch, Error> {
        let origins = rows.origins.as_ref().expect("origins are traced for a plan with a sample");
        let record_spans = rows.record_spans.expect("as above");
        // The rows of one record are adjacent: count them, so that each is chosen by itself.
        let mut last = (u32::MAX, 0);
        let keep = origins.iter().map(|&row| {
            last = if last.0 == row { (row, last.1 + 1) } else { (row, 0) };
            Some(self.keeps(record_spans, row, last.1))
        });
        let keep: BooleanArray = keep.collect();
        rows.keep(batch, &keep)
    }
}

/// Mixes a value by one step of SplitMix64: every output bit depends on every input bit.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
