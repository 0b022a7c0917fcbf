//! The paths of the page: who is let in, what each shows, and the headers of every page.

use std::net::IpAddr;
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
use crate::service::request::blocking;
use crate::service::rows::RunRow;
use crate::service::store::RunFilter;

/// The name of the cookie that says that the key was given.
const COOKIE: &str = "drawoff_page";

/// More than any key needs.
const MAX_LOGIN_BYTES: usize = 16 << 10;

/// Runs that the overview shows. By eye.
const SHOWN_RUNS: usize = 50;

/// All paths of the page.
pub(in crate::service) fn router(app: &Arc<App>) -> Router<Arc<App>> {
    Router::new()
        .route("/", get(overview))
        .route("/ui/runs/{run_id}", get(run))
        .route("/ui/runs/{run_id}/files/{filename}", get(file))
        .route("/ui/workflows/{workflow_id}", get(workflow))
        .route_layer(middleware::from_fn_with_state(Arc::clone(app), admit))
        .route("/ui/login", post(login).layer(DefaultBodyLimit::max(MAX_LOGIN_BYTES)))
}

/// Admits a request to the page: where the service has a key, one that carries it; else one that comes by an address of this
/// machine. A name could be anybody's: a web page elsewhere may have its own name lead here.
async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    match &app.config.api_key {
        Some(key) => {
            let token = app.signer.page_token(key.reveal());
            let given = cookies(headers).find_map(|(name, value)| (name == COOKIE).then_some(value)).unwrap_or("");
            if !app.signer.same(given, &token) {
                return page(StatusCode::UNAUTHORIZED, views::login(false));
            }
        }
        None => {
            let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("");
            if !is_address(host) {
                let text = "This page is shown at the address of this machine only, such as http://127.0.0.1, \
                            unless the service was started with a key.";
                return page(StatusCode::FORBIDDEN, views::message("Not by this name", text));
            }
        }
    }
    next.run(request).await
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|text| text.split(';')).filter_map(|cookie| cookie.trim().split_once('='))
}

/// True for `127.0.0.1:8064`, `[::1]:8064`, `localhost`.
fn is_address(host: &str) -> bool {
    let Ok(authority) = host.parse::<axum::http::uri::Authority>() else { return false };
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

async fn login(State(app): State<Arc<App>>, body: Result<Bytes, BytesRejection>) -> Response {
    let Some(key) = &app.config.api_key else { return Redirect::to("/").into_response() };
    let slow_enough = app.login_limit.take("").is_none_or(|standing| standing.allowed);
    let body = body.unwrap_or_default();
    let given = url::form_urlencoded::parse(&body).find(|(name, _)| name == "key").map(|(_, value)| value);
    if !slow_enough || !app.signer.same(given.unwrap_or_default().trim(), key.reveal()) {
        return page(StatusCode::UNAUTHORIZED, views::login(true));
    }
    let cookie = format!("{COOKIE}={}; HttpOnly; SameSite=Strict; Path=/", app.signer.page_token(key.reveal()));
    ([(header::SET_COOKIE, cookie)], Redirect::to("/")).into_response()
}

async fn overview(State(app): State<Arc<App>>) -> Response {
    let made = blocking(move || {
        let workflows = app.store.workflows()?;
        let runs = runs(&app, None)?;
        Ok(views::overview(&workflows, &runs, app.config.clock.now()))
    });
    answer(made.await)
}

async fn workflow(State(app): State<Arc<App>>, path: Result<Path<String>, PathRejection>) -> Response {
    let Ok(Path(id)) = path else { return missing() };
    let made = blocking(move || {
        let id = WorkflowId(id);
        let workflow = app.store.workflow(&id)?.ok_or_else(|| ApiError::not_found("There is no such workflow."))?;
        let runs = runs(&app, Some(id))?;
        Ok(views::workflow(&workflow, &runs, app.config.clock.now()))
    });
    answer(made.await)
}

async fn run(State(app): State<Arc<App>>, path: Result<Path<String>, PathRejection>) -> Response {
    let Ok(Path(id)) = path else { return missing() };
    let made = blocking(move || {
        let run = find(&app, RunId(id))?;
        Ok(views::run(&run, app.config.clock.now()))
    });
    answer(made.await)
}

/// A link on the page to a result file does not get old: it leads to one that was just signed.
async fn file(State(app): State<Arc<App>>, path: Result<Path<(String, String)>, PathRejection>) -> Response {
    let Ok(Path((id, filename))) = path else { return missing() };
    let link = blocking(move || {
        let run = find(&app, RunId(id))?;
        let offered = run.blocks.iter().flat_map(|block| &block.files).any(|file| file.filename == filename);
        if !offered {
            return Err(ApiError::not_found("There is no such file."));
        }
        let life = TimeDelta::from_std(app.config.link_life).unwrap_or(TimeDelta::MAX);
        Ok(app.signer.link(&run.id, &filename, (app.config.clock.now() + life).timestamp()))
    });
    match link.await {
        Ok(link) => Redirect::to(&link).into_response(),
        Err(fault) => answer(Err(fault)),
    }
}

/// The newest runs as they are now.
fn runs(app: &App, workflow_id: Option<WorkflowId>) -> Result<Vec<RunRow>, ApiError> {
    let filter = RunFilter { workflow_id, limit: SHOWN_RUNS, ..RunFilter::default() };
    let now = app.config.clock.now();
    let runs = app.store.runs(&filter)?.into_iter();
    Ok(runs.map(|run| app.engine.active(&run.id).map_or(run, |active| active.snapshot(now))).collect())
}

fn find(app: &App, id: RunId) -> Result<RunRow, ApiError> {
    if let Some(active) = app.engine.active(&id) {
        return Ok(active.snapshot(app.config.clock.now()));
    }
    app.store.run(&id)?.ok_or_else(|| ApiError::not_found("There is no such run."))
}

fn missing() -> Response {
    page(StatusCode::NOT_FOUND, views::message("Not found", "There is no such page."))
}

fn answer(made: Result<Html, ApiError>) -> Response {
    match made {
        Ok(html) => page(StatusCode::OK, html),
        Err(ApiError::Text(status, text)) => page(status, views::message("Not shown", &text)),
        Err(ApiError::Invalid(_)) => missing(),
    }
}

fn page(status: StatusCode, html: Html) -> Response {
    let mut response = (status, Body::from(html.into_text())).into_response();
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_addresses() {
        for host in ["127.0.0.1", "127.0.0.1:80", "[::1]:8064", "LOCALHOST:1"] {
            assert!(is_address(host), "{host}");
        }
        for host in ["", "rebound.test:8064", "localhost.evil.test", "127.0.0.1.nip.test", "a b"] {
            assert!(!is_address(host), "{host}");
        }
    }
}
