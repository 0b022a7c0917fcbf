//! The endpoints: one file per family. A handler reads the request, then does its work on a
//! thread that may block, which goes on to its end even if the client goes away.

mod admin;
mod bulk;
mod files;
mod links;
mod runs;
mod uploads;
mod webhooks;
mod workflows;

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, MatchedPath, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use tokio::sync::Semaphore;
use tower_http::catch_panic::CatchPanicLayer;

use super::answer::Fault;
use super::catalogue;
use super::config::Config;
use super::engine::{Engine, Folders};
use super::faults::{self, Faults};
use super::openapi;
use super::page;
use super::rate::RateLimit;
use super::sign::Signer;
use super::store::Store;
use crate::api::routes as paths;

/// Path of the files that signed links point to. Not part of the vendor's API: a client takes the
/// whole link as it is.
pub(super) const FILES: &str = "/storage/files/{run_id}/{filename}";

/// Path that says that the service answers.
pub(super) const HEALTH: &str = "/healthz";

/// Path of the counters.
pub(super) const METRICS: &str = "/metrics";

/// Path of the description of this API.
pub(super) const OPENAPI: &str = "/openapi.json";

/// What all of them begin with.
pub(super) const FILES_PREFIX: &str = "/storage/files/";

/// What handlers share.
pub(super) struct App {
    pub config: Config,
    pub store: Arc<Store>,
    pub engine: Arc<Engine>,
    pub folders: Folders,
    pub signer: Signer,
    /// What goes wrong on purpose.
    pub faults: Arc<Faults>,
    /// Where the service listens.
    pub address: SocketAddr,
    /// Of all requests with a key.
    pub rate_limit: RateLimit,
    /// Of starts of bulk jobs.
    pub bulk_limit: RateLimit,
    /// Of keys given to the page, right or wrong, by anybody.
    pub login_limit: RateLimit,
    /// One permit per request that may be under way.
    pub places: Semaphore,
}

/// All paths.
pub(super) fn router(app: Arc<App>) -> Router {
    let secret = get(webhooks::show).post(webhooks::create).delete(webhooks::delete);
    let quick = Router::new()
        .route(paths::LIST_WORKFLOWS, get(workflows::list))
        .route(paths::CREATE_WORKFLOW, post(workflows::create))
        .route(paths::UPDATE_WORKFLOW, post(workflows::update))
        .route(paths::DELETE_WORKFLOW, post(workflows::delete))
        .route(paths::GET_WORKFLOW, get(workflows::one))
        .route(paths::LIST_BLOCKS, get(blocks))
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
        all = all.layer(middleware::from_fn(super::tests::conform::check));
    }
    if !app.faults.is_none() {
        all = all.layer(middleware::from_fn_with_state(Arc::clone(&app), faults::spoil));
    }
    all.layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), in_number))
        .layer(middleware::from_fn_with_state(Arc::clone(&app), count))
        .with_state(app)
}

/// The key that a request carries; empty if none.
fn given_key(headers: &HeaderMap) -> &str {
    headers.get(paths::API_KEY_HEADER).and_then(|value| value.to_str().ok()).unwrap_or("").trim()
}

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
        return Fault::Text(StatusCode::UNAUTHORIZED, text.to_owned()).into_response();
    }
    let standing = app.rate_limit.take(given);
    let mut response = match &standing {
        Some(standing) if !standing.allowed => {
            drain(request.into_body()).await;
            Fault::Text(StatusCode::TOO_MANY_REQUESTS, "Rate limit exceeded".to_owned()).into_response()
        }
        _ => next.run(request).await,
    };
    if let Some(standing) = standing {
        standing.tell(response.headers_mut());
    }
    response
}

/// Breaks off what takes too long. Work that has begun on a thread of its own goes on to its end.
async fn in_time(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match tokio::time::timeout(app.config.request_time, next.run(request)).await {
        Ok(response) => response,
        Err(_) => Fault::Text(StatusCode::REQUEST_TIMEOUT, "the request took too long".to_owned()).into_response(),
    }
}

/// Lets only so many requests in at once.
async fn in_number(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    match app.places.try_acquire() {
        Ok(_permit) => next.run(request).await,
        Err(_) => {
            drain(request.into_body()).await;
            let text = "too many requests are under way; try again later".to_owned();
            ([(header::RETRY_AFTER, "1")], Fault::Text(StatusCode::SERVICE_UNAVAILABLE, text)).into_response()
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

/// Reads what is left of a refused body, within bounds: a client that is still sending would see
/// a closed connection before it sees the answer.
pub(super) async fn drain(body: Body) {
    const MAX_BYTES: usize = 64 << 20;
    let read = async {
        let mut chunks = body.into_data_stream();
        let mut total = 0;
        while let Some(Ok(chunk)) = chunks.next().await {
            total += chunk.len();
            if total > MAX_BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(5), read).await;
}

async fn blocks() -> Response {
    Json(catalogue::descriptions()).into_response()
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

async fn not_found() -> Fault {
    Fault::not_found("Not Found")
}

async fn method_not_allowed() -> Fault {
    Fault::Text(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed".to_owned())
}

fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    Fault::Text(StatusCode::INTERNAL_SERVER_ERROR, "internal error".to_owned()).into_response()
}

/// Does `work` on a thread that may block. A panic goes on in the caller.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(Fault::Text(StatusCode::SERVICE_UNAVAILABLE, "the service is stopping".to_owned())),
        },
    }
}

/// The bytes of a JSON body.
fn body_bytes(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Fault> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Fault::too_large("the body is larger than this service accepts"),
        _ => Fault::bad_request("the body could not be read"),
    })
}

/// The text of a path's one parameter.
fn path_text(path: Result<Path<String>, PathRejection>) -> Result<String, Fault> {
    path.map(|Path(text)| text).map_err(|_| not_found_path())
}

/// A path whose parameters are not UTF-8 names nothing.
fn not_found_path() -> Fault {
    Fault::not_found("Not Found")
}

/// The parameters of a request.
fn query(uri: &Uri) -> super::query::Query {
    super::query::Query::parse(uri.query())
}
