//! Middleware that checks the API key of a request and counts it against the key's rate limit. Routes without a key,
//! such as signed links, do not pass through it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::api::routes as paths;
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::request::{drain, given_key};

/// Passes a request with a valid key on; responds with 401 otherwise.
pub(super) async fn require_key(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if is_accepted(&app, given_key(request.headers())) { next.run(request).await } else { unauthorized(request).await }
}

/// Passes a request with a valid key on, which may also be a bearer token, as monitoring systems send it.
pub(super) async fn require_key_or_token(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    if is_accepted(&app, given_key(headers)) || token.is_some_and(|token| is_accepted(&app, token.trim())) {
        next.run(request).await
    } else {
        unauthorized(request).await
    }
}

/// Returns true for the key of the service, or for any key if it has none of its own.
pub(super) fn is_accepted(app: &App, given: &str) -> bool {
    match &app.config.api_key {
        Some(key) => app.signer.same(given, key.reveal()),
        None => !given.is_empty(),
    }
}

/// Returns a 401 once the body of the request is read.
pub(super) async fn unauthorized(request: Request) -> Response {
    // The vendor's API has another text for bulk jobs.
    let is_bulk = [paths::BULK_PEOPLE, paths::BULK_COMPANY].contains(&request.uri().path());
    let text = if is_bulk { "Machine authentication required" } else { "Invalid API key" };
    drain(request.into_body()).await;
    ApiError::Text(StatusCode::UNAUTHORIZED, text.to_owned()).into_response()
}

/// Passes a request within the rate limit of its key on; responds with 429 otherwise.
pub(super) async fn limit_rate(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let rate = app.rate_limit.take(given_key(request.headers()));
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
