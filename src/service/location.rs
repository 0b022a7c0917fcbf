//! Paths into a request, which the entries of a 422 response carry as `loc`. The readers of bodies, queries and graphs
//! collect such entries, and `api_error` turns them into a response; this module knows neither requests nor responses.

use serde_json::Value;

use crate::api::ValidationError;

/// The path to a value of a request: `["body", "workflow_definition", "blocks", 0]`.
#[derive(Clone, Debug, Default)]
pub(super) struct Location(Vec<Value>);

impl Location {
    /// Returns the location of a whole part of the request: `body`, `query` or `path`.
    pub(super) fn root(root: &str) -> Self {
        Location(vec![root.into()])
    }

    /// Returns the location of the member `name` of this object.
    pub(super) fn key(&self, name: &str) -> Self {
        let mut parts = self.0.clone();
        parts.push(name.into());
        Location(parts)
    }

    /// Returns the location of the element `index`, from 0, of this array.
    pub(super) fn item(&self, index: usize) -> Self {
        let mut parts = self.0.clone();
        parts.push(index.into());
        Location(parts)
    }

    /// Returns the location that `path` leads to from here.
    pub(super) fn below(&self, path: &[Value]) -> Self {
        Location([&self.0[..], path].concat())
    }

    /// Returns a 422 entry for this location. `kind` is the `type` of the vendor's entries, such as `dict_type`.
    pub(super) fn invalid(&self, kind: &str, text: impl Into<String>) -> ValidationError {
        ValidationError { loc: self.0.clone(), msg: text.into(), kind: kind.to_owned(), input: None, ctx: None }
    }

    /// Returns the 422 entry for a required value that is absent.
    pub(super) fn missing(&self) -> ValidationError {
        self.invalid("missing", "Field required")
    }
}
