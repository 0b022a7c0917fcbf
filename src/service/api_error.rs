//! Error responses of the API, always `{"detail": ...}`: a text, or for 422 a list of entries with a location each.
//! Converts the errors of the store, of inputs and of I/O; writes no log.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::blocks::InputError;
use super::{payload, store};
use crate::api::ValidationError;
use crate::text::error_chain;

/// An error response: its status and its `detail`.
#[derive(Debug)]
pub(super) enum ApiError {
    /// A status with one text as `detail`.
    Text(StatusCode, String),
    /// 422: the entries of values that do not validate, at least one.
    Invalid(Vec<ValidationError>),
    /// A status with one text, of a refusal that passes by itself after this many seconds (`Retry-After`).
    Later(StatusCode, String, u64),
}

impl ApiError {
    /// Returns the message without the status.
    pub(super) fn to_text(&self) -> String {
        match self {
            ApiError::Text(_, text) | ApiError::Later(_, text, _) => text.clone(),
            ApiError::Invalid(errors) => errors.iter().map(|error| error.msg.as_str()).collect::<Vec<_>>().join("; "),
        }
    }

    /// Returns a 501 for a part of the API that this service does not offer.
    pub(super) fn not_offered(text: impl Into<String>) -> Self {
        ApiError::Text(StatusCode::NOT_IMPLEMENTED, text.into())
    }

    /// Returns a 400: a rule of the route is not met.
    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        ApiError::Text(StatusCode::BAD_REQUEST, text.into())
    }

    /// Returns a 404 for a path or an id that names nothing.
    pub(super) fn not_found(text: impl Into<String>) -> Self {
        ApiError::Text(StatusCode::NOT_FOUND, text.into())
    }

    /// Returns a 413 for a body or a file beyond its limit.
    pub(super) fn too_large(text: impl Into<String>) -> Self {
        ApiError::Text(StatusCode::PAYLOAD_TOO_LARGE, text.into())
    }

    /// Returns a 500 with the error's whole chain of causes: the service is local, so its user is its operator.
    pub(super) fn internal(error: &dyn std::error::Error) -> Self {
        ApiError::Text(StatusCode::INTERNAL_SERVER_ERROR, error_chain(error))
    }
}

impl From<store::Error> for ApiError {
    fn from(error: store::Error) -> Self {
        ApiError::internal(&error)
    }
}

impl From<InputError> for ApiError {
    fn from(error: InputError) -> Self {
        match error {
            InputError::Refused(text) => ApiError::bad_request(text),
            InputError::Payload(error) => error.into(),
            error => ApiError::internal(&error),
        }
    }
}

impl From<payload::Error> for ApiError {
    fn from(error: payload::Error) -> Self {
        match error {
            payload::Error::Invalid(text) => ApiError::bad_request(text),
            payload::Error::TooLarge(text) => ApiError::too_large(text),
            payload::Error::Truncated => ApiError::bad_request("cannot read the request body"),
            error @ payload::Error::Io(_) => ApiError::internal(&error),
        }
    }
}

impl From<std::io::Error> for ApiError {
    fn from(error: std::io::Error) -> Self {
        ApiError::internal(&error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            ApiError::Text(status, text) => (status, Json(json!({ "detail": text }))).into_response(),
            ApiError::Invalid(errors) => {
                (StatusCode::UNPROCESSABLE_ENTITY, Json(json!({ "detail": errors }))).into_response()
            }
            ApiError::Later(status, text, seconds) => {
                // 0 would mean no wait.
                let wait = [(header::RETRY_AFTER, seconds.max(1).to_string())];
                (status, wait, Json(json!({ "detail": text }))).into_response()
            }
        }
    }
}
