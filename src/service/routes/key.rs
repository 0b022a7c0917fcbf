//! The key that requests carry, and the rate limit that counts by it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::routes as paths;
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::request::{drain, given_key};

/// Lets a request through that carries the key, within the rate limit; 401 and 429 otherwise.
pub(super) async fn require_key(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let given = given_key(request.headers());
    let accepted = match &app.config.api_key {
        Some(key) => app.signer.same(given, key.reveal()),
        None => !given.is_empty(),
    };
    if !accepted {
        // The API has another text for bulk jobs.
        let is_bulk = [paths::BULK_PEOPLE, paths::BULK_COMPANY].contains(&request.uri().path());
        let text = if is_bulk { "Machine authentication required" } else { "Invalid API key" };
        drain(request.into_body()).await;
        return ApiError::Text(StatusCode::UNAUTHORIZED, text.to_owned()).into_response();
    }
    let standing = app.rate_limit.take(given);
    let mut response = match &standing {
        Some(standing) if !standing.allowed => {
            drain(request.into_body()).await;
            ApiError::Text(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded".to_owned()).into_response()
        }
        _ => next.run(request).await,
    };
    if let Some(standing) = standing {
        standing.tell(response.headers_mut());
    }
    response
}
