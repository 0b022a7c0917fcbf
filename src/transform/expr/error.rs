//! Errors of texts that are no expressions, or that do not go with the columns.

use super::hint::Hint;

/// Why a text is no expression, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The text.
    pub text: String,
    /// Byte in it where it goes wrong; its length for the end.
    pub at: usize,
    /// What is wrong, in words.
    pub message: String,
    /// What can be done, if that is clear.
    pub hint: Option<Hint>,
}

impl Error {
    /// An error at byte `at` of `text`.
    pub fn new(text: &str, at: usize, message: impl Into<String>) -> Self {
        Error { text: text.to_owned(), at, message: message.into(), hint: None }
    }

    /// With what can be done about it.
    pub fn with_hint(mut self, hint: impl Into<Hint>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
