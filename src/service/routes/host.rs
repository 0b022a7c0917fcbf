//! Middleware of every path that refuses requests for host names which are not allowed, and those of foreign web pages; and
//! the permission (CORS) for the pages that may use the API.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower_http::cors::{AllowHeaders, AllowOrigin, AllowPrivateNetwork, Any, CorsLayer};

use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::hosts::Refusal;
use crate::service::page;
use crate::service::request::drain;

/// Time for which a browser may remember the permission of an origin. By eye: shorter than a service is restarted with
/// another configuration.
const PREFLIGHT_LIFE: Duration = Duration::from_secs(60);

/// Passes a request for an allowed host on; responds with 403 otherwise, or with 400 if it has no valid host.
pub(super) async fn check_host(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let for_people = page::is_page(request.uri().path());
    let (method, headers) = (request.method(), request.headers());
    let checked = app.hosts.check(request.version(), request.uri(), headers);
    let Err(refusal) = checked.and_then(|()| app.hosts.check_change(method, headers, for_people)) else {
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
        Refusal::Change(origin) => {
            let origin = origin.map_or_else(|| "another origin".to_owned(), |origin| format!("{origin:?}"));
            let text = format!(
                "web pages of {origin} cannot change anything here: start the service with that origin as an allowed one, \
                 or use a client outside of a browser"
            );
            (StatusCode::FORBIDDEN, text)
        }
    };
    drain(request.into_body()).await;
    if for_people { page::refused(status, &text) } else { ApiError::Text(status, text).into_response() }
}

/// Permits web pages of `origins` to send requests and to read the responses. Without any, no response has a header of
/// CORS. The permission excludes cookies, so that these pages need a key as every client does.
pub(super) fn permit_origins(router: Router<Arc<App>>, origins: &[String]) -> Router<Arc<App>> {
    if origins.is_empty() {
        return router;
    }
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(Any)
        .allow_private_network(AllowPrivateNetwork::yes())
        .max_age(PREFLIGHT_LIFE);
    router.layer(cors)
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
