//! The entry point of the engine: executes one plan, with or without a query.

use super::error::Error;
use super::plan::ExecutionPlan;
use super::progress::Control;
use super::report::Report;
use super::{query, run};
#[cfg(doc)]
use crate::source::Source;
use crate::transform::Step;

/// Executes `plan`. Blocks until the end; call it from a plain thread, not from a tokio worker.
///
/// On `Ok` every output is complete under its final name and the report adds up; a count that
/// differs from [`Source::expected_rows`] is [`Error::RowCount`] and publishes nothing. On `Err`
/// no output file was changed or left behind (standard output may have received some of the records; what could not be
/// taken back from a store is in [`Control::uploads`]).
/// If the reader of standard output closes it, that is a quiet success: `Ok`, with
/// [`Report::stopped_early`].
///
/// A late schema change that the outputs cannot follow (see [`Error::Schema`]) is no error where
/// no output is live, the sources can be read twice and the policy is
/// [`SchemaPolicy::Evolve`](super::SchemaPolicy::Evolve): the pass is then repeated once, after all records were read to
/// infer the schema.
///
/// # Examples
///
/// ```
/// use drawoff::format::{Compression, OutputFormat, ParquetOptions};
/// use drawoff::pipeline::{Control, ExecutionPlan, Output, Target, execute};
/// use drawoff::source::Source;
/// use drawoff::transform::Step;
///
/// let directory = tempfile::tempdir()?;
/// let records = "id,city,score\n1,Oslo,0.9\n2,Bergen,0.2\n3,Bergen,0.7\n";
///
/// let target = Target::File { path: directory.path().join("top.parquet"), no_clobber: false, append: false };
/// let format = OutputFormat::Parquet(ParquetOptions::default());
/// let output = Output { format, compression: Compression::None, target };
/// let mut plan = ExecutionPlan::new(Source::reader("records.csv", records.as_bytes()), output);
/// plan.steps = Step::parse("where", "score > 0.5")?;
///
/// let report = execute(plan, &Control::new())?;
/// assert_eq!((report.rows_in, report.rows_written, report.rows_filtered), (3, 2, 1));
/// assert!(directory.path().join("top.parquet").is_file());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn execute(mut plan: ExecutionPlan, control: &Control) -> Result<Report, Error> {
    plan.set_uploads(control.uploads());
    plan.steps.iter_mut().for_each(Step::begin);
    match plan.steps.iter().any(|step| matches!(step, Step::Sql(_))) {
        true => query::execute(plan, control),
        false => run::pass(plan, control),
    }
}
