//! Paths of the page: admission, data of each view, and the security headers of every response. HTML is the job of
//! `views`.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::TimeDelta;
use sha2::{Digest, Sha256};

use super::assets::{SCRIPT, STYLE};
use super::html::Html;
use super::views;
use crate::api::{RunId, WorkflowId};
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::in_force::InForce;
use crate::service::request::blocking;
use crate::service::rows::RunRow;
use crate::service::store::RunFilter;

/// Name of the cookie that proves knowledge of the key. Its value is derived from the key, not the key itself.
const COOKIE: &str = "drawoff_page";

/// Size limit of the login form, more than any key needs.
const MAX_LOGIN_BYTES: usize = 16 << 10;

/// Maximum number of runs on one page. By eye.
const SHOWN_RUNS: usize = 50;

/// Returns the routes of the page.
pub(in crate::service) fn router(app: &Arc<App>) -> Router<Arc<App>> {
    Router::new()
        .route("/", get(overview))
        .route("/ui/runs/{run_id}", get(run))
        .route("/ui/runs/{run_id}/files/{filename}", get(file))
        .route("/ui/workflows/{workflow_id}", get(workflow))
        .route_layer(middleware::from_fn_with_state(Arc::clone(app), admit))
        .route("/ui/login", post(login).layer(DefaultBodyLimit::max(MAX_LOGIN_BYTES)))
}

/// Admits a request to the page. If the service has a key, the request needs its cookie; otherwise the check of the
/// host name, which every path has, is enough.
async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if let Some(key) = &app.config.api_key {
        let token = app.signer.page_token(key.reveal());
        let received =
            cookies(request.headers()).find_map(|(name, value)| (name == COOKIE).then_some(value)).unwrap_or("");
        if !app.signer.same(received, &token) {
            return page(StatusCode::UNAUTHORIZED, views::login(false));
        }
    }
    next.run(request).await
}

/// Returns true for a path of the page, whose errors are for people.
pub(in crate::service) fn is_page(path: &str) -> bool {
    path == "/" || path.starts_with("/ui/")
}

/// Returns the page for a request that was refused before it reached a path.
pub(in crate::service) fn refused(status: StatusCode, text: &str) -> Response {
    page(status, views::message("Request refused", text))
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|text| text.split(';')).filter_map(|cookie| cookie.trim().split_once('='))
}

/// Exchanges the key for the cookie. All attempts share one rate limit, so that keys cannot be guessed quickly; beyond
/// it even the right key is refused.
async fn login(State(app): State<Arc<App>>, body: Result<Bytes, BytesRejection>) -> Response {
    let Some(key) = &app.config.api_key else { return Redirect::to("/").into_response() };
    let within_limit = app.login_limit.take("").is_none_or(|standing| standing.allowed);
    let body = body.unwrap_or_default();
    let received = url::form_urlencoded::parse(&body).find(|(name, _)| name == "key").map(|(_, value)| value);
    if !within_limit || !app.signer.same(received.unwrap_or_default().trim(), key.reveal()) {
        return page(StatusCode::UNAUTHORIZED, views::login(true));
    }
    let cookie = format!("{COOKIE}={}; HttpOnly; SameSite=Strict; Path=/", app.signer.page_token(key.reveal()));
    ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()
}

async fn overview(State(app): State<Arc<App>>) -> Response {
    let rendered = blocking(move || {
        let workflows = app.store.workflows()?;
        let runs = runs(&app, None)?;
        Ok(views::overview(&workflows, &runs, &InForce::of(&app.config, &app.faults), app.config.clock.now()))
    });
    respond(rendered.await)
}

async fn workflow(State(app): State<Arc<App>>, path: Result<Path<String>, PathRejection>) -> Response {
    let Ok(Path(id)) = path else { return not_found() };
    let rendered = blocking(move || {
        let id = WorkflowId(id);
        let workflow = app.store.workflow(&id)?.ok_or_else(|| ApiError::not_found("No workflow has this id."))?;
        let runs = runs(&app, Some(id))?;
        Ok(views::workflow(&workflow, &runs, app.config.clock.now()))
    });
    respond(rendered.await)
}

async fn run(State(app): State<Arc<App>>, path: Result<Path<String>, PathRejection>) -> Response {
    let Ok(Path(id)) = path else { return not_found() };
    let rendered = blocking(move || {
        let run = find_run(&app, RunId(id))?;
        Ok(views::run(&run, app.config.clock.now()))
    });
    respond(rendered.await)
}

/// Redirects to a newly signed link of a result file, so that the links on a page never expire.
async fn file(State(app): State<Arc<App>>, path: Result<Path<(String, String)>, PathRejection>) -> Response {
    let Ok(Path((id, filename))) = path else { return not_found() };
    let link = blocking(move || {
        let run = find_run(&app, RunId(id))?;
        // Other files in the directory of a run, such as its payload, are not offered.
        let offered = run.blocks.iter().flat_map(|block| &block.files).any(|file| file.filename.as_str() == filename);
        if !offered {
            return Err(ApiError::not_found("The run has no result file of this name."));
        }
        let life = TimeDelta::from_std(app.config.link_life).unwrap_or(TimeDelta::MAX);
        Ok(app.signer.link(&run.id, &filename, (app.config.clock.now() + life).timestamp()))
    });
    match link.await {
        Ok(link) => Redirect::to(&link).into_response(),
        Err(error) => respond(Err(error)),
    }
}

/// Returns the newest runs, of one workflow or of all for `None`, with their current progress.
fn runs(app: &App, workflow_id: Option<WorkflowId>) -> Result<Vec<RunRow>, ApiError> {
    let filter = RunFilter { workflow_id, limit: SHOWN_RUNS, ..RunFilter::default() };
    let now = app.config.clock.now();
    let runs = app.store.runs(&filter)?.into_iter();
    Ok(runs.map(|run| app.engine.active(&run.id).map_or(run, |active| active.snapshot(now))).collect())
}

/// Returns a run with its current progress.
fn find_run(app: &App, id: RunId) -> Result<RunRow, ApiError> {
    if let Some(active) = app.engine.active(&id) {
        return Ok(active.snapshot(app.config.clock.now()));
    }
    app.store.run(&id)?.ok_or_else(|| ApiError::not_found("No run has this id."))
}

fn not_found() -> Response {
    page(StatusCode::NOT_FOUND, views::message("Not found", "No page has this address."))
}

fn respond(rendered: Result<Html, ApiError>) -> Response {
    match rendered {
        Ok(html) => page(StatusCode::OK, html),
        Err(ApiError::Text(status, text) | ApiError::Later(status, text, _)) => {
            page(status, views::message("Error", &text))
        }
        Err(ApiError::Invalid(_)) => not_found(),
    }
}

/// Returns a response with the headers of every page: no caching, no framing, and a policy that allows only the page's
/// own script and style.
fn page(status: StatusCode, html: Html) -> Response {
    let mut response = (status, Body::from(html.into_text())).into_response();
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Under a stricter policy, browsers send `Origin: null` with the login form, which the check of hosts refuses.
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let policy = format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; connect-src 'self'; img-src data:; \
         form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        BASE64.encode(Sha256::digest(SCRIPT)),
        BASE64.encode(Sha256::digest(STYLE)),
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
}
