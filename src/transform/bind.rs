//! Steps of a plan checked in their order against the columns that are known.

use super::binding::{Binding, KnownColumns};
use super::expr;
use super::step::Step;

/// Checks `steps` in their order and resolves their paths. Returns the names that no column has had
/// so far: they may come, and are null until then.
///
/// An error is of the text of one step: a column that is not there and looks like a slip for one
/// that is, a way into a column that has none, a comparison that no value can meet, two columns of
/// one name.
pub fn bind(steps: &mut [Step], known: KnownColumns) -> Result<Vec<String>, expr::Error> {
    let mut columns = Binding::new(known);
    steps.iter_mut().try_for_each(|step| step.bind(&mut columns))?;
    Ok(columns.into_unseen())
}
