//! Settings of an execution that steps have to know.

use std::str::FromStr;

use super::distinct::SpillBudget;
use crate::column::TypeMerge;

/// Settings of the execution that steps go by.
#[derive(Clone, Debug)]
pub struct StepOptions {
    /// Memory and disk for all steps together that remember rows.
    pub room: SpillBudget,
    /// Whether values come from cells of CSV.
    pub type_merge: TypeMerge,
    /// Columns that are made have types; else they are JSON text, as all columns of text outputs.
    pub typed: bool,
    /// The output cannot take columns later.
    pub columns_fixed: bool,
    /// Policy for values that cannot be made.
    pub on_bad_cast: OnBadCast,
}

impl Default for StepOptions {
    fn default() -> Self {
        StepOptions {
            room: SpillBudget::default(),
            type_merge: TypeMerge::Json,
            typed: false,
            columns_fixed: false,
            on_bad_cast: OnBadCast::Reject,
        }
    }
}

/// Policy for values that a cast or an expression cannot make.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBadCast {
    /// Its record cannot be used.
    #[default]
    Reject,
    /// It is null, and counted.
    Null,
}

impl FromStr for OnBadCast {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "reject" => Ok(OnBadCast::Reject),
            "null" => Ok(OnBadCast::Null),
            _ => Err("it is `reject` or `null`".to_owned()),
        }
    }
}
