//! Errors in the text of a step: syntax errors, unknown columns, and operands of the wrong type. Found before any
//! record is written.

use super::hint::Hint;

/// Error at a byte of the text of a step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// Text of the step, as written.
    pub text: String,
    /// Byte of `text` that the error refers to; its length for the end.
    pub at: usize,
    /// Message, as a lowercase fragment.
    pub message: String,
    /// Hint for a fix; `None` if there is no obvious one.
    pub hint: Option<Hint>,
}

impl Error {
    /// Creates an error at byte `at` of `text`, without a hint.
    pub fn new(text: &str, at: usize, message: impl Into<String>) -> Self {
        Error { text: text.to_owned(), at, message: message.into(), hint: None }
    }

    /// Adds a hint for a fix.
    pub fn with_hint(mut self, hint: impl Into<Hint>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
