//! Middleware of every path that refuses requests for host names which are not allowed, and those of foreign web pages.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::hosts::Refusal;
use crate::service::page;
use crate::service::request::drain;

/// Passes a request for an allowed host on; responds with 403 otherwise, or with 400 if it has no valid host.
pub(super) async fn check_host(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Err(refusal) = app.hosts.check(request.version(), request.uri(), request.headers()) else {
        return next.run(request).await;
    };
    let (status, text) = match refusal {
        Refusal::Malformed(cause) => (StatusCode::BAD_REQUEST, cause.to_owned()),
        Refusal::Host(name) => (StatusCode::FORBIDDEN, refused_host(&name, app.config.api_key.is_some())),
        Refusal::Origin(origin) => {
            let text =
                format!("requests of web pages from {origin:?} are not allowed; use a client outside of a browser");
            (StatusCode::FORBIDDEN, text)
        }
    };
    let for_people = page::is_page(request.uri().path());
    drain(request.into_body()).await;
    if for_people { page::refused(status, &text) } else { ApiError::Text(status, text).into_response() }
}

fn refused_host(name: &str, has_key: bool) -> String {
    let advice = "use an IP address such as 127.0.0.1, or start the service with this name as an allowed host";
    if has_key {
        format!("the host name {name:?} is not among the allowed ones: {advice}")
    } else {
        format!(
            "the host name {name:?} is not allowed: without an API key, only IP addresses, localhost and allowed hosts \
             are, because any web page could read this service under a name of its own; {advice}, or with an API key"
        )
    }
}
