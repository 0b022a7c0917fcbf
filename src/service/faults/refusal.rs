//! Responses that replace the real one: errors on purpose, in each of the shapes that clients of the API must read.

use std::time::Duration;

use axum::Json;
use axum::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::TimeDelta;
use serde_json::json;

use super::{ErrorShape, Kind, Refusal, Strike};
use crate::service::api_error::ApiError;
use crate::service::location::Location;

/// Returns the response that replaces the real one; `None` if the fault is of another kind, or the link that is
/// requested, if any, is young enough.
pub(super) fn refusal(strike: &Strike, age: Option<TimeDelta>) -> Option<Response> {
    match &strike.kind {
        Kind::Refusal(refusal) => Some(refusal.response()),
        Kind::Expire { life, status } => {
            let is_expired = age.is_some_and(|age| age >= TimeDelta::from_std(*life).unwrap_or(TimeDelta::MAX));
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::FORBIDDEN);
            is_expired.then(|| ApiError::Text(status, "this link has expired".to_owned()).into_response())
        }
        _ => None,
    }
}

impl Refusal {
    fn response(&self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let title = status.canonical_reason().unwrap_or("Error");
        let text = self.text.as_str();
        let mut response = match self.shape {
            ErrorShape::Detail if status == StatusCode::UNPROCESSABLE_ENTITY => {
                ApiError::Invalid(vec![Location::root("body").invalid("value_error", text)]).into_response()
            }
            ErrorShape::Detail => ApiError::Text(status, text.to_owned()).into_response(),
            ErrorShape::Legacy => (status, Json(json!({ "error": title, "message": text }))).into_response(),
            ErrorShape::Nested => {
                let code = title.to_ascii_lowercase().replace([' ', '-'], "_");
                (status, Json(json!({ "error": { "code": code, "message": text } }))).into_response()
            }
            ErrorShape::Html => {
                let text = text.replace('&', "&amp;").replace('<', "&lt;");
                let html =
                    format!("<html><head><title>{status}</title></head><body><h1>{status}</h1>{text}</body></html>\n");
                (status, [(CONTENT_TYPE, "text/html")], html).into_response()
            }
        };
        let mut insert = |header: HeaderName, time: Option<Duration>| {
            if let Some(time) = time {
                // Whole seconds, rounded up: 0 would mean no wait.
                response.headers_mut().insert(header, HeaderValue::from(time.as_secs_f64().ceil() as u64));
            }
        };
        insert(RETRY_AFTER, self.retry_after);
        insert(HeaderName::from_static("x-ratelimit-reset"), self.reset);
        response
    }
}
