//! Error answers, always `{"detail": ...}`: a text, or for 422 a list of places.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::blocks::InputError;
use super::store;
use crate::api::ValidationError;
use crate::text::error_chain;

/// Why a request is not answered as asked.
#[derive(Debug)]
pub(super) enum ApiError {
    /// A status with one text.
    Text(StatusCode, String),
    /// 422: what was given does not validate.
    Invalid(Vec<ValidationError>),
}

impl ApiError {
    /// 400: a rule of the route itself.
    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        ApiError::Text(StatusCode::BAD_REQUEST, text.into())
    }

    /// 404.
    pub(super) fn not_found(text: impl Into<String>) -> Self {
        ApiError::Text(StatusCode::NOT_FOUND, text.into())
    }

    /// 413.
    pub(super) fn too_large(text: impl Into<String>) -> Self {
        ApiError::Text(StatusCode::PAYLOAD_TOO_LARGE, text.into())
    }

    /// 500, from the service's own trouble.
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
            error => ApiError::internal(&error),
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
        }
    }
}
