//! Middleware that checks the API key of a request and counts it against the key's rate limit. Routes without a key,
//! such as signed links, do not pass through it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::routes as paths;
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::request::{drain, given_key};

/// Passes a request with a valid key and within the rate limit on; responds with 401 or 429 otherwise.
pub(super) async fn require_key(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let given = given_key(request.headers());
    let accepted = match &app.config.api_key {
        Some(key) => app.signer.same(given, key.reveal()),
        None => !given.is_empty(),
    };
    if !accepted {
        // The vendor's API has another text for bulk jobs.
        let is_bulk = [paths::BULK_PEOPLE, paths::BULK_COMPANY].contains(&request.uri().path());
        let text = if is_bulk { "Machine authentication required" } else { "Invalid API key" };
        drain(request.into_body()).await;
        return ApiError::Text(StatusCode::UNAUTHORIZED, text.to_owned()).into_response();
    }
    let rate = app.rate_limit.take(given);
    let mut response = match &rate {
        Some(rate) if !rate.allowed => {
            drain(request.into_body()).await;
            ApiError::Text(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded".to_owned()).into_response()
        }
        _ => next.run(request).await,
    };
    if let Some(rate) = rate {
        rate.write_headers(response.headers_mut());
    }
    response
}
