//! The way into the engine: one plan, carried out.

use super::error::Error;
use super::plan::ExecutionPlan;
use super::progress::Control;
use super::report::Report;
use super::{query, run};
#[cfg(doc)]
use crate::source::Source;
use crate::transform::Step;

/// Carries out `plan`. Blocks until the end; call it from a plain thread, not from a tokio worker.
///
/// On `Ok` every output stands whole at its final place and the report adds up; a count that
/// disagrees with [`Source::expected_rows`] is [`Error::RowCount`] and publishes nothing. On `Err`
/// no output file was changed or left behind (standard output may have had part of the records).
/// When the reader of standard output goes away, that is a quiet end: `Ok`, with
/// [`Report::stopped_early`].
///
/// A surprise that the outputs cannot take late (see [`Error::Schema`]) is not the end where
/// nothing was shown yet and the sources can be read twice: everything is then done anew, once,
/// after a pass over all records for their schema.
pub fn execute(plan: ExecutionPlan, control: &Control) -> Result<Report, Error> {
    match plan.steps.iter().any(|step| matches!(step, Step::Sql(_))) {
        true => query::execute(plan, control),
        false => run::pass(plan, control),
    }
}
