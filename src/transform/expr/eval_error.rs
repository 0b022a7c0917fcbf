//! The error of a value that cannot be computed.

use std::borrow::Cow;
use std::fmt;

/// Reason why a value cannot be computed. Never contains the value, which may be personal data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvalError(Cow<'static, str>);

impl From<&'static str> for EvalError {
    fn from(reason: &'static str) -> Self {
        EvalError(reason.into())
    }
}

impl From<String> for EvalError {
    fn from(reason: String) -> Self {
        EvalError(reason.into())
    }
}

impl EvalError {
    /// Returns the reason as a lowercase fragment.
    pub fn into_reason(self) -> Cow<'static, str> {
        self.0
    }
}

impl fmt::Display for EvalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
