//! The error of an object store, in a form that a command can explain: in every build, also in one without stores.

/// An error of an object store: one short sentence, without the store's XML and without the queries of URLs, which may
/// be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct StoreError {
    /// The kind of the error, which decides what helps.
    pub problem: StoreProblem,
    /// The sentence.
    pub text: String,
}

/// The remedy for a [`StoreError`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreProblem {
    /// The object exists and must not be replaced.
    Exists,
    /// The bucket or container does not exist.
    NoBucket,
    /// Credentials or region are missing, wrong or expired.
    Credentials,
    /// The credentials are valid, but lack a permission; by the store's name for it, where it has one.
    Forbidden(Option<&'static str>),
    /// The store does not respond, or does not go on.
    Unreachable,
    /// The execution was cancelled.
    Cancelled,
    /// Anything else that the store refused.
    Other,
}
