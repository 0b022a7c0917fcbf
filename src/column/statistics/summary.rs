//! The results of statistics: what is known of one column when all rows are read.

use super::quantiles::Quantiles;
use crate::column::{Fixed, Type};

/// The parts of the values at which quantiles are taken.
pub const QUANTILES: [f64; 7] = [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99];

/// The statistics of a column or of a member of its objects.
#[derive(Clone, Debug)]
pub struct ColumnSummary {
    /// The path, such as `hq.city`.
    pub path: String,
    /// The type of the values.
    pub ty: Type,
    /// Rows with a value.
    pub values: u64,
    /// Rows without one: null, absent, or within an object that is.
    pub nulls: u64,
    /// Distinct values, exact or estimated; `None` for objects with known keys, whose members are counted instead.
    pub distinct: Option<u64>,
    /// True if `distinct` is exact.
    pub distinct_is_exact: bool,
    /// Numbers, dates and times in their order; `None` for other types, and without values.
    pub range: Option<Range>,
    /// Characters of text, or elements of lists and maps; `None` for other types, and without values.
    pub lengths: Option<LengthSummary>,
    /// Rows that are true, of booleans.
    pub trues: Option<u64>,
    /// Values that are NaN or infinite, which are in no other number but `values` and `distinct`.
    pub not_finite: u64,
    /// The least and the greatest text, shortened; only if values are wanted.
    pub text_bounds: Option<(String, String)>,
    /// The first distinct values in the order of the rows, shortened; only if values are wanted.
    pub examples: Vec<String>,
}

/// The kind of ordered values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// Numbers of JSON.
    Number,
    /// Dates and times, which are written as text.
    Time,
}

/// Bounds, mean and quantiles of ordered values. Values are their text: digits are not lost.
#[derive(Clone, Debug)]
pub struct Range {
    /// Numbers or times.
    pub kind: ValueKind,
    /// The least value.
    pub min: String,
    /// The greatest value.
    pub max: String,
    /// The mean; a time for times.
    pub mean: String,
    /// The values at [`QUANTILES`].
    pub quantiles: Vec<String>,
    /// The most by which the rank of a quantile may be wrong, as a part of the values; 0 if they are exact.
    pub rank_error: f64,
    /// Counts of values in equal parts of the range.
    pub histogram: Histogram,
}

/// Bounds, mean and quantiles of lengths.
#[derive(Clone, Debug)]
pub struct LengthSummary {
    /// The least length.
    pub min: u64,
    /// The greatest length.
    pub max: u64,
    /// The mean length.
    pub mean: f64,
    /// The lengths at [`QUANTILES`].
    pub quantiles: Vec<u64>,
    /// The most by which the rank of a quantile may be wrong.
    pub rank_error: f64,
    /// Counts of values in equal parts of the lengths.
    pub histogram: Histogram,
}

/// Counts of values in equal parts of a range.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    /// The text of the bounds: one more than counts.
    pub bounds: Vec<String>,
    /// Values from each bound up to the next, the last bound included; close to them where quantiles are estimated.
    pub counts: Vec<u64>,
}

/// The most parts of a histogram.
const BINS: usize = 24;

impl Histogram {
    /// Counts the values of a sketch. `number` maps them to numbers, `text` writes a number as a value; `is_whole` if all
    /// are integers, so that a part is never narrower than one of them.
    pub(super) fn of<T: Copy + Ord>(
        sketch: &Quantiles<T>,
        (min, max): (f64, f64),
        is_whole: bool,
        number: impl Fn(T) -> f64,
        text: impl Fn(f64) -> String,
    ) -> Self {
        let span = max - min;
        if !span.is_finite() {
            return Histogram::default();
        }
        let bins = match is_whole {
            _ if span == 0.0 => 1,
            true => BINS.min((span + 1.0).min(BINS as f64) as usize),
            false => BINS,
        };
        // Whole numbers of a small range get a part each.
        let each = is_whole && span + 1.0 <= BINS as f64;
        let width = if each { 1.0 } else { span / bins as f64 };
        let mut counts = vec![0; bins];
        for (value, weight) in sketch.weighted() {
            let at = if width > 0.0 { ((number(value) - min) / width) as usize } else { 0 };
            counts[at.min(bins - 1)] += weight;
        }
        let bounds = (0..=bins).map(|i| if i == bins { text(max) } else { text(min + width * i as f64) }).collect();
        Histogram { bounds, counts }
    }
}

impl ColumnSummary {
    /// Returns the rows that were read.
    pub fn rows(&self) -> u64 {
        self.values + self.nulls
    }
}

/// Returns the kind of the ordered values of a type; `None` if it has none.
pub(super) fn value_kind(ty: &Type) -> Option<ValueKind> {
    match ty {
        Type::Int { .. } | Type::Decimal | Type::Float | Type::Fixed(Fixed::Decimal { .. }) => Some(ValueKind::Number),
        Type::Fixed(_) => Some(ValueKind::Time),
        _ => None,
    }
}
