//! The table of all routes, and the middleware around them: host name, API key, timeout, concurrency limit, metrics, compression, faults
//! on purpose, and a 500 for a panic. The handlers are in the files beside it.

use std::any::Any;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::TryStreamExt;
use serde_json::json;
use tower_http::catch_panic::CatchPanicLayer;

use super::compress::compressed;
use super::host::{check_host, permit_origins};
use super::key::{is_accepted, limit_rate, require_key, require_key_or_token, unauthorized};
use super::{
    account, actions, admin, bulk, files, hosted, intelligence, interactive, links, runs, schedules, search, uploads,
    webhooks, workflows,
};
use crate::api::routes as paths;
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::journal::Recording;
use crate::service::paths::{FILES, HEALTH, METRICS, OPENAPI};
use crate::service::request::{drain, given_key};
use crate::service::{blocks, faults, openapi, page};

/// Builds the router of all paths.
pub(in crate::service) fn router(app: Arc<App>) -> Router {
    let secret = get(webhooks::show).post(webhooks::create).delete(webhooks::delete);
    let json_routes = Router::new()
        .route(paths::LIST_WORKFLOWS, get(workflows::list))
        .route(paths::CREATE_WORKFLOW, post(workflows::create))
        .route(paths::UPDATE_WORKFLOW, post(workflows::update))
        .route(paths::DELETE_WORKFLOW, post(workflows::delete))
        .route(paths::GET_WORKFLOW, get(workflows::one))
        .route(paths::LIST_BLOCKS, get(list_blocks))
        .route(paths::LIST_RUNS, get(runs::list))
        .route(paths::LIVE_STATUS, get(runs::live_status))
        .route(paths::CANCEL_RUN, post(runs::cancel))
        .route(paths::DOWNLOAD_LINKS, get(links::list))
        .route(paths::JOB_STATUS, get(bulk::status))
        .route(paths::SEARCH_DOWNLOAD, get(files::upload_link))
        .route(paths::CHECK_BALANCE, get(account::balance))
        .route(paths::SCHEDULES, get(schedules::list).post(schedules::create))
        .route(paths::SCHEDULE, get(schedules::one).patch(schedules::update).delete(schedules::delete))
        .route(paths::START_DEEP_SEARCH, post(search::start))
        .route(paths::DEEP_SEARCH_STATUS, get(search::status))
        .route(paths::SEARCH_STATUS, get(search::status))
        .route(paths::START_INTERACTIVE, post(interactive::start))
        .route(paths::ADD_BLOCK, post(interactive::add_block))
        .route(paths::FINISH_INTERACTIVE, post(interactive::finish))
        .route(paths::INTERACTIVE_STATE, get(interactive::state))
        .route(paths::INTERACTIVE_OUTPUT, get(interactive::output))
        .route(paths::SAVE_INTERACTIVE, post(interactive::save))
        .route(paths::PEOPLE_INTELLIGENCE_ASYNC, post(intelligence::start_people))
        .route(paths::ENRICH_LEAD_ASYNC, post(intelligence::start_people))
        .route(paths::COMPANY_INTELLIGENCE_ASYNC, post(intelligence::start_company))
        .route(paths::ENRICH_COMPANY_ASYNC, post(intelligence::start_company))
        .route(paths::SIGNING_SECRET, secret)
        .route(paths::ROLL_SIGNING_SECRET, post(webhooks::roll))
        .layer(DefaultBodyLimit::max(app.config.max_body_bytes))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), limit_time));
    // Uploads and payloads have their own limits on bytes and on stalls, and may take as long as they make progress.
    let form_routes = Router::new()
        .route(paths::RUN_WORKFLOW, post(runs::start))
        .route(paths::UPLOAD_FILE, post(uploads::upload))
        .route(paths::BULK_PEOPLE, post(bulk::people))
        .route(paths::BULK_COMPANY, post(bulk::company))
        .layer(DefaultBodyLimit::disable());
    // These wait for the end of a run.
    let waiting_routes = Router::new()
        .route(paths::PEOPLE_INTELLIGENCE, post(intelligence::people))
        .route(paths::ENRICH_LEAD, post(intelligence::people))
        .route(paths::COMPANY_INTELLIGENCE, post(intelligence::company))
        .route(paths::ENRICH_COMPANY, post(intelligence::company))
        .layer(DefaultBodyLimit::max(app.config.max_body_bytes));
    let keyed = json_routes
        .merge(form_routes)
        .merge(waiting_routes)
        .route_layer(middleware::from_fn_with_state(Arc::clone(&app), limit_rate))
        // Our reading: a 401 takes precedence over every other error of a request.
        .route_layer(middleware::from_fn_with_state(Arc::clone(&app), require_key));
    // The signature of the link is the authorization; an API key in the request is ignored.
    let files = Router::new().route(FILES, get(files::download).head(files::reject_head));
    // All of this is the hosted service's if it stands behind.
    let api = if app.hosted.is_none() { keyed.merge(files) } else { Router::new() };
    let metrics = Router::new().route(METRICS, get(metrics));
    // A service that other machines can reach has a key, and its metrics tell what it is used for.
    let metrics = match app.config.api_key {
        None => metrics,
        Some(_) => metrics.route_layer(middleware::from_fn_with_state(Arc::clone(&app), require_key_or_token)),
    };
    let open = Router::new().route(HEALTH, get(healthz)).merge(metrics).route(OPENAPI, get(openapi_description));
    let open = api.merge(open).route_layer(middleware::from_fn_with_state(Arc::clone(&app), count_bytes_sent));
    // The login reads a body before any key is checked.
    let pages = page::router(&app).layer(middleware::from_fn_with_state(Arc::clone(&app), limit_time));
    let mut all = open.merge(pages);
    all = all.merge(admin::observe(&app));
    if app.hosted.is_none() {
        all = all.merge(actions::router(&app));
    }
    if app.config.admin {
        all = all.merge(admin::control(&app));
    }
    let all = if app.hosted.is_none() { all.fallback(not_found) } else { all.fallback(hosted::answer) };
    let mut all = all.method_not_allowed_fallback(method_not_allowed);
    // Inside the fault layer, because faults break the description on purpose.
    #[cfg(test)]
    {
        all = all.layer(middleware::from_fn(crate::service::tests::conform::check));
    }
    // Inside the fault layer, because faults break what is sent.
    all = compressed(all);
    all = all.layer(middleware::from_fn_with_state(Arc::clone(&app), faults::inject_faults));
    // The last layer is the outermost: rejected and panicked requests are counted too.
    let all = all
        .layer(CatchPanicLayer::custom(panic_response))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), limit_concurrency));
    let all = all.layer(middleware::from_fn_with_state(Arc::clone(&app), check_host));
    // Around all refusals, so that a permitted page can read them, and before any key is asked for.
    permit_origins(all, &app.config.allow_origins)
        .layer(middleware::from_fn_with_state(Arc::clone(&app), record_requests))
        .with_state(app)
}

/// Responds with 408 after [`crate::service::Config::request_time`]. Work on a blocking thread still runs to its end.
async fn limit_time(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(app.config.request_time, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::Text(StatusCode::REQUEST_TIMEOUT, "the request timed out".to_owned()).into_response(),
    }
}

/// Responds with 503 while all permits of [`App::request_permits`] are taken. A permit is held until the head of the
/// response, not until the end of its body.
async fn limit_concurrency(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match app.request_permits.try_acquire() {
        Ok(_permit) => next.run(request).await,
        Err(_) => {
            drain(request.into_body()).await;
            let text = "too many concurrent requests; try again later".to_owned();
            ApiError::Later(StatusCode::SERVICE_UNAVAILABLE, text, 1).into_response()
        }
    }
}

/// Records every response in the journal and in the metrics, there under `other` if no route matched.
async fn record_requests(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let (recording, request) = Recording::begin(request, app.config.clock.now());
    let response = next.run(request).await;
    let route = route.as_deref().unwrap_or("other");
    let elapsed = recording.elapsed();
    app.engine.metrics().record_response(route, method.as_str(), response.status().as_u16(), elapsed);
    app.journal.add(recording.end(&response));
    response
}

/// Records the bytes of result files as they are sent, before compression.
async fn count_bytes_sent(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let is_file = request.extensions().get::<MatchedPath>().is_some_and(|path| path.as_str() == FILES);
    let response = next.run(request).await;
    if !is_file || !response.status().is_success() {
        return response;
    }
    let metrics = Arc::clone(app.engine.metrics());
    // The stream has no known length, but the content-length header is already set.
    let count = move |chunk: &Bytes| metrics.record_bytes_sent(chunk.len());
    response.map(|body| Body::from_stream(body.into_data_stream().inspect_ok(count)))
}

async fn list_blocks() -> Response {
    Json(blocks::descriptions()).into_response()
}

async fn healthz() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let (queued, running) = app.engine.run_counts();
    // The version is that of the text format, which Prometheus requires.
    let text = app.engine.metrics().text(&[("queued", queued), ("running", running)]);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

async fn openapi_description() -> Response {
    Json(openapi::document()).into_response()
}

/// Responds with 501 on a path of the hosted service that this one does not offer, so that the base address is not blamed.
async fn not_found(State(app): State<Arc<App>>, request: Request) -> Response {
    if page::is_page(request.uri().path()) {
        return page::not_found();
    }
    let Some(text) = account::not_offered(request.uri().path()) else {
        return ApiError::not_found("Not Found").into_response();
    };
    // Such a path is one of the API, with its key and its limit.
    if !is_accepted(&app, given_key(request.headers())) {
        return unauthorized(request).await;
    }
    let rate = app.rate_limit.take(given_key(request.headers()));
    drain(request.into_body()).await;
    let mut response = match &rate {
        Some(rate) if !rate.allowed => {
            ApiError::Text(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded".to_owned()).into_response()
        }
        _ => ApiError::not_offered(text).into_response(),
    };
    if let Some(rate) = rate {
        rate.write_headers(response.headers_mut());
    }
    response
}

async fn method_not_allowed() -> ApiError {
    ApiError::Text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed".to_owned())
}

fn panic_response(_: Box<dyn Any + Send + 'static>) -> Response {
    ApiError::Text(StatusCode::INTERNAL_SERVER_ERROR, "internal error".to_owned()).into_response()
}
