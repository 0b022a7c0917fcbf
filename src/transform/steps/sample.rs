//! `sample`: keeps about a part of the rows, chosen by where their records stand in the source.

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

/// The part, and the choice of rows.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// From 0 to 1.
    pub rate: f64,
    /// Another one chooses other rows.
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
        Properties { keeps_records: true, needs_places: true, ..Properties::default() }
    }

    fn bind(&mut self, _: &mut Binding) -> Result<(), expr::Error> {
        Ok(())
    }

    fn add_needed(&self, _: &mut Needed) {}

    fn start(&self, _: &StepOptions) -> Sampler {
        Sampler::new(self.rate, self.seed)
    }
}

/// Chooses rows by where their records start, the same ones however the source is cut.
#[derive(Clone, Copy, Debug)]
pub struct Sampler {
    /// A row whose hash is below stays.
    below: u128,
    seed: u64,
}

impl Sampler {
    /// Keeps about `rate` of the rows.
    fn new(rate: f64, seed: u64) -> Self {
        // Of a rate in 0..=1 the product is exact enough: 53 bits of 64.
        Sampler { below: (rate * (u64::MAX as f64 + 1.0)) as u128, seed }
    }

    /// Whether row `nth` of those that a record has become stays.
    fn keeps(&self, places: &RecordSpans, row: u32, nth: u64) -> bool {
        let byte = places.morsel.byte_offset + u64::from(places.spans[row as usize].start);
        let source = places.morsel.source_index as u64;
        let hash = [source, byte, nth].iter().fold(mix(self.seed), |hash, part| mix(hash ^ part));
        u128::from(hash) < self.below
    }
}

impl RunningStep for Sampler {
    fn output_schema(&self, schema: Schema, _: &StepOptions) -> Result<Schema, Error> {
        Ok(schema)
    }

    fn apply(&mut self, batch: Batch, rows: &mut RowTracker<'_>, _: &StepOptions) -> Result<Batch, Error> {
        let origins = rows.origins.as_ref().expect("places are asked for where rows are sampled");
        let places = rows.places.expect("as above");
        let mut last = (u32::MAX, 0);
        let keep = origins.iter().map(|&row| {
            last = if last.0 == row { (row, last.1 + 1) } else { (row, 0) };
            Some(self.keeps(places, row, last.1))
        });
        let keep: BooleanArray = keep.collect();
        rows.keep(batch, &keep)
    }
}

/// The step of SplitMix64, whose every bit depends on every bit.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
