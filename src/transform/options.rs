//! Execution settings that steps depend on.

use std::str::FromStr;

use super::distinct::SpillBudget;
use crate::column::TypeMerge;

/// Execution settings of steps, the same for all steps of a plan.
#[derive(Clone, Debug)]
pub struct StepOptions {
    /// Memory and spill directory of all stateful steps together.
    pub spill_budget: SpillBudget,
    /// `Text` if values are CSV cells. Default `Json`.
    pub type_merge: TypeMerge,
    /// True if computed columns are typed; otherwise they are JSON text, like all columns of text outputs.
    pub typed: bool,
    /// True if the output cannot add columns after its first batch.
    pub columns_fixed: bool,
    /// True if values must be kept as they were read beyond these steps, for those of another thread. Default false.
    pub keeps_as_read: bool,
    /// True if outputs of text are written from values as they were read. Default false.
    pub writes_as_read: bool,
    /// Policy for values that cannot be computed. Default `Reject`.
    pub on_bad_cast: OnBadCast,
}

impl Default for StepOptions {
    fn default() -> Self {
        StepOptions {
            spill_budget: SpillBudget::default(),
            type_merge: TypeMerge::Json,
            typed: false,
            columns_fixed: false,
            keeps_as_read: false,
            writes_as_read: false,
            on_bad_cast: OnBadCast::Reject,
        }
    }
}

/// Policy for values that a cast or an expression cannot compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBadCast {
    /// Reject the record, by the policy for bad records.
    #[default]
    Reject,
    /// Replace the value by null and count it.
    Null,
}

impl FromStr for OnBadCast {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "reject" => Ok(OnBadCast::Reject),
            "null" => Ok(OnBadCast::Null),
            _ => Err("expected `reject` or `null`".to_owned()),
        }
    }
}
