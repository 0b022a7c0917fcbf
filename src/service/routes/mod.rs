//! The endpoints: one file per family. A handler reads the request, then does its work on a
//! thread that may block, which goes on to its end even if the client goes away.

mod admin;
mod files;
mod links;
mod runs;
mod uploads;
mod workflows;

use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::StreamExt;
use serde_json::json;
use tower_http::catch_panic::CatchPanicLayer;

use super::answer::Fault;
use super::catalogue;
use super::config::Config;
use super::engine::{Engine, Folders};
use super::faults::{self, Faults};
use super::sign::Signer;
use super::store::Store;
use crate::api::routes as paths;

/// Path of the files that signed links point to. Not part of the vendor's API: a client takes the
/// whole link as it is.
const FILES: &str = "/storage/files/{run_id}/{filename}";

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
}

/// All paths.
pub(super) fn router(app: Arc<App>) -> Router {
    let upload = post(uploads::upload).layer(DefaultBodyLimit::disable());
    let api = Router::new()
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
        .route(paths::UPLOAD_FILE, upload)
        .layer(DefaultBodyLimit::max(app.config.max_body_bytes))
        // Our reading: 401 comes before anything else that could be wrong with a request.
        .route_layer(middleware::from_fn_with_state(Arc::clone(&app), require_key));
    let open = Router::new()
        .route("/healthz", get(healthz))
        // The link is the permission; a key that comes along is not looked at.
        .route(FILES, get(files::download).head(files::refuse_head));
    let mut all = api.merge(open);
    if app.config.admin {
        all = all.merge(admin::router(&app));
    }
    let mut all = all.fallback(not_found).method_not_allowed_fallback(method_not_allowed);
    if !app.faults.is_none() {
        all = all.layer(middleware::from_fn_with_state(Arc::clone(&app), faults::spoil));
    }
    all.layer(CatchPanicLayer::custom(panicked)).with_state(app)
}

pub(super) async fn require_key(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(paths::API_KEY_HEADER).and_then(|value| value.to_str().ok()).unwrap_or("").trim();
    let accepted = match &app.config.api_key {
        Some(key) => app.signer.same(given, key.reveal()),
        None => !given.is_empty(),
    };
    if accepted {
        return next.run(request).await;
    }
    drain(request.into_body()).await;
    Fault::Text(StatusCode::UNAUTHORIZED, "Invalid API key".to_owned()).into_response()
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
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Fault> + Send + 'static) -> Result<T, Fault> {
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
