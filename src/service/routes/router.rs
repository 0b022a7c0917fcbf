//! The table of all paths, and the layers around them: time, number, counters, panics.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::TryStreamExt;
use serde_json::json;
use tower_http::catch_panic::CatchPanicLayer;

use super::key::require_key;
use super::{admin, bulk, files, links, runs, uploads, webhooks, workflows};
use crate::api::routes as paths;
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::paths::{FILES, HEALTH, METRICS, OPENAPI};
use crate::service::request::drain;
use crate::service::{blocks, faults, openapi, page};

/// All paths.
pub(in crate::service) fn router(app: Arc<App>) -> Router {
    let secret = get(webhooks::show).post(webhooks::create).delete(webhooks::delete);
    let quick = Router::new()
        .route(paths::LIST_WORKFLOWS, get(workflows::list))
        .route(paths::CREATE_WORKFLOW, post(workflows::create))
        .route(paths::UPDATE_WORKFLOW, post(workflows::update))
        .route(paths::DELETE_WORKFLOW, post(workflows::delete))
        .route(paths::GET_WORKFLOW, get(workflows::one))
        .route(paths::LIST_BLOCKS, get(list_blocks))
        .route(paths::RUN_WORKFLOW, post(runs::start))
        .route(paths::LIST_RUNS, get(runs::list))
        .route(paths::LIVE_STATUS, get(runs::live_status))
        .route(paths::CANCEL_RUN, post(runs::cancel))
        .route(paths::DOWNLOAD_LINKS, get(links::list))
        .route(paths::JOB_STATUS, get(bulk::status))
        .route(paths::SIGNING_SECRET, secret)
        .route(paths::ROLL_SIGNING_SECRET, post(webhooks::roll))
        .layer(DefaultBodyLimit::max(app.config.max_body_bytes))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), in_time));
    // These have limits of their own on bytes and on silence.
    let forms = Router::new()
        .route(paths::UPLOAD_FILE, post(uploads::upload))
        .route(paths::BULK_PEOPLE, post(bulk::people))
        .route(paths::BULK_COMPANY, post(bulk::company))
        .layer(DefaultBodyLimit::disable());
    let keyed = quick
        .merge(forms)
        // Our reading: 401 comes before anything else that could be wrong with a request.
        .route_layer(middleware::from_fn_with_state(Arc::clone(&app), require_key));
    let open = Router::new()
        .route(HEALTH, get(healthz))
        .route(METRICS, get(metrics))
        .route(OPENAPI, get(description))
        // The link is the permission; a key that comes along is not looked at.
        .route(FILES, get(files::download).head(files::refuse_head))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&app), count_bytes));
    let mut all = keyed.merge(open).merge(page::router(&app));
    if app.config.admin {
        all = all.merge(admin::router(&app));
    }
    let mut all = all.fallback(not_found).method_not_allowed_fallback(method_not_allowed);
    #[cfg(test)]
    {
        all = all.layer(middleware::from_fn(crate::service::tests::conform::check));
    }
    if !app.faults.is_none() {
        all = all.layer(middleware::from_fn_with_state(Arc::clone(&app), faults::spoil));
    }
    all.layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), in_number))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), count))
        .with_state(app)
}

/// Breaks off what takes too long. Work that has begun on a thread of its own goes on to its end.
async fn in_time(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(app.config.request_time, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::Text(StatusCode::REQUEST_TIMEOUT, "the request took too long".to_owned()).into_response(),
    }
}

/// Lets only so many requests in at once.
async fn in_number(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match app.requests.try_acquire() {
        Ok(_permit) => next.run(request).await,
        Err(_) => {
            drain(request.into_body()).await;
            let text = "too many requests are under way; try again later".to_owned();
            ([(header::RETRY_AFTER, "1")], ApiError::Text(StatusCode::SERVICE_UNAVAILABLE, text)).into_response()
        }
    }
}

/// Counts every answer.
async fn count(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let begun = Instant::now();
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let response = next.run(request).await;
    let route = route.as_deref().unwrap_or("other");
    app.engine.tally().answered(route, method.as_str(), response.status().as_u16(), begun.elapsed());
    response
}

/// Counts the bytes of files as they go out.
async fn count_bytes(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_file = request.extensions().get::<MatchedPath>().is_some_and(|path| path.as_str() == FILES);
    let response = next.run(request).await;
    if !is_file || !response.status().is_success() {
        return response;
    }
    let tally = Arc::clone(app.engine.tally());
    // The length is in a header already, so that a body of unknown length stays one of known length.
    response.map(|body| Body::from_stream(body.into_data_stream().inspect_ok(move |chunk| tally.served(chunk.len()))))
}

async fn list_blocks() -> Response {
    Json(blocks::descriptions()).into_response()
}

async fn healthz() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let (queued, running) = app.engine.under_way();
    let text = app.engine.tally().text(&[("queued", queued), ("running", running)]);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn description() -> Response {
    Json(openapi::document()).into_response()
}

async fn not_found() -> ApiError {
    ApiError::not_found("Not Found")
}

async fn method_not_allowed() -> ApiError {
    ApiError::Text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed".to_owned())
}

fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::Text(StatusCode::INTERNAL_SERVER_ERROR, "internal error".to_owned()).into_response()
}
