//! Error answers, always `{"detail": ...}`: a text, or for 422 a list of places.

use std::error::Error as StdError;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::store;
use crate::api::ValidationError;

/// Why a request is not answered as asked.
#[derive(Debug)]
pub(super) enum Fault {
    /// A status with one text.
    Text(StatusCode, String),
    /// 422: what was given does not validate.
    Invalid(Vec<ValidationError>),
}

impl Fault {
    /// 400: a rule of the route itself.
    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Fault::Text(StatusCode::BAD_REQUEST, text.into())
    }

    /// 404.
    pub(super) fn not_found(text: impl Into<String>) -> Self {
        Fault::Text(StatusCode::NOT_FOUND, text.into())
    }

    /// 413.
    pub(super) fn too_large(text: impl Into<String>) -> Self {
        Fault::Text(StatusCode::PAYLOAD_TOO_LARGE, text.into())
    }

    /// 500, from the service's own trouble.
    pub(super) fn internal(error: &(dyn StdError + 'static)) -> Self {
        Fault::Text(StatusCode::INTERNAL_SERVER_ERROR, chain(error))
    }
}

impl From<store::Error> for Fault {
    fn from(error: store::Error) -> Self {
        Fault::internal(&error)
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Fault::internal(&error)
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        match self {
            Fault::Text(status, text) => (status, Json(json!({ "detail": text }))).into_response(),
            Fault::Invalid(errors) => {
                (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "detail": errors }))).into_response()
            }
        }
    }
}

/// The texts of an error and of its causes, outermost first, joined with `: `.
pub(super) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Where in a request a value stands: `["body", "workflow_definition", "blocks", 0]`.
#[derive(Clone, Debug, Default)]
pub(super) struct Place(Vec<Value>);

impl Place {
    /// The place called `root`: `body`, `query` or `path`.
    pub(super) fn root(root: &str) -> Self {
        Place(vec![root.into()])
    }

    /// The member `name` of this place.
    pub(super) fn key(&self, name: &str) -> Self {
        let mut parts = self.0.clone();
        parts.push(name.into());
        Place(parts)
    }

    /// The element `index` of this place.
    pub(super) fn item(&self, index: usize) -> Self {
        let mut parts = self.0.clone();
        parts.push(index.into());
        Place(parts)
    }

    /// An entry of a 422 answer about this place.
    pub(super) fn invalid(&self, kind: &str, text: impl Into<String>) -> ValidationError {
        ValidationError { loc: self.0.clone(), msg: text.into(), kind: kind.to_owned(), input: None, ctx: None }
    }

    /// The entry for a value that must be there and is not.
    pub(super) fn missing(&self) -> ValidationError {
        self.invalid("missing", "Field required")
    }
}
