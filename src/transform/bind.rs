//! Binds the steps of a plan to the known columns, in order, before the first record is read.

use super::binding::{Binding, KnownColumns, UnknownColumn};
use super::expr;
use super::step::Step;

/// Binds `steps` in order: checks their text and resolves their paths. Returns the names of columns that are unknown so
/// far; they may appear in later records and are null until then.
///
/// An error refers to the text of one step: an unknown column whose name resembles a known one, a path into a column
/// without fields, a comparison that no value can satisfy, or duplicate column names.
pub fn bind(steps: &mut [Step], known: KnownColumns) -> Result<Vec<UnknownColumn>, expr::Error> {
    let mut columns = Binding::new(known);
    steps.iter_mut().try_for_each(|step| step.bind(&mut columns))?;
    Ok(columns.into_unseen())
}
