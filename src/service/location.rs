//! The places of a request that the entries of a 422 response point to. Knows no request and no response: what reads
//! bodies, queries and graphs collects entries, and `answer` turns them into a response.

use serde_json::Value;

use crate::api::ValidationError;

/// The path to a value of a request: `["body", "workflow_definition", "blocks", 0]`.
#[derive(Clone, Debug, Default)]
pub(super) struct Location(Vec<Value>);

impl Location {
    /// The location called `root`: `body`, `query` or `path`.
    pub(super) fn root(root: &str) -> Self {
        Location(vec![root.into()])
    }

    /// The member `name` of this location.
    pub(super) fn key(&self, name: &str) -> Self {
        let mut parts = self.0.clone();
        parts.push(name.into());
        Location(parts)
    }

    /// The element `index` of this location.
    pub(super) fn item(&self, index: usize) -> Self {
        let mut parts = self.0.clone();
        parts.push(index.into());
        Location(parts)
    }

    /// The value that `path` leads to from this location.
    pub(super) fn below(&self, path: &[Value]) -> Self {
        Location([&self.0[..], path].concat())
    }

    /// An entry of a 422 answer about this location.
    pub(super) fn invalid(&self, kind: &str, text: impl Into<String>) -> ValidationError {
        ValidationError { loc: self.0.clone(), msg: text.into(), kind: kind.to_owned(), input: None, ctx: None }
    }

    /// The entry for a value that must be there and is not.
    pub(super) fn missing(&self) -> ValidationError {
        self.invalid("missing", "Field required")
    }
}
