//! Statistics of columns in one pass and in bounded memory: counts, bounds, means, distinct values and quantiles.
//!
//! Every result is a function of the values and their order alone: it is the same for every size of the batches and every
//! number of threads. Small columns are counted exactly. Beyond a bound on memory, distinct values are estimated by a
//! [`Distinct`] sketch and quantiles by a [`Quantiles`] sketch, and the summary says so.

mod accumulate;
mod distinct;
mod quantiles;
mod summary;

pub use accumulate::{ColumnStatistics, Statistics, StatisticsOptions, Widened};
pub use distinct::Distinct;
pub use quantiles::Quantiles;
pub use summary::{ColumnSummary, Histogram, LengthSummary, QUANTILES, Range, ValueKind};
