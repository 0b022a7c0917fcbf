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
/// no output file was changed or left behind (standard output may have received some of the records).
/// If the reader of standard output closes it, that is a quiet success: `Ok`, with
/// [`Report::stopped_early`].
///
/// A late schema change that the outputs cannot follow (see [`Error::Schema`]) is no error where
/// no output is live and the sources can be read twice: the pass is then repeated once, after all
/// records were read to infer the schema.
pub fn execute(plan: ExecutionPlan, control: &Control) -> Result<Report, Error> {
    match plan.steps.iter().any(|step| matches!(step, Step::Sql(_))) {
        true => query::execute(plan, control),
        false => run::pass(plan, control),
    }
}
