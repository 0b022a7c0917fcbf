//! Paths of the page: admission, data of each view, and the security headers of every response. HTML is the job of
//! `views`.

use std::sync::Arc;

use axum::Router;
use axum::body::{self, Body, Bytes};
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::TimeDelta;
use sha2::{Digest, Sha256};

use super::assets::{SCRIPT, STYLE};
use super::html::Html;
use super::session::{cookie, has_session};
use super::views::{
    self, Commands, Listing, LoginRefusal, Page, PageContext, RunView, Shown, SourceInput, WorkflowView,
};
use crate::api::{Graph, RunId, RunStatus, WorkflowId};
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::blocks::Input;
use crate::service::in_force::InForce;
use crate::service::location::Location;
use crate::service::preview::Preview;
use crate::service::private_files;
use crate::service::request::{blocking, query};
use crate::service::rows::{BlockRow, BlockStatus, InputRow, JobRow, ResultFormat, RunRow};
use crate::service::store::RunFilter;
use crate::service::{graph, raw};
use crate::text::error_chain;

/// Size limit of the login form, more than any key needs.
const MAX_LOGIN_BYTES: usize = 16 << 10;

/// Maximum number of runs on one page. By eye.
const SHOWN_RUNS: usize = 50;

/// Most active runs on the start page. By eye: more cannot be looked through, and a search finds them.
const SHOWN_ACTIVE: usize = 200;

/// Largest input that is shown in a command line, in bytes. By eye.
const MAX_COMMAND_ROWS: u64 = 2 << 10;

/// Returns the routes of the page.
pub(in crate::service) fn router(app: &Arc<App>) -> Router<Arc<App>> {
    let of_items = Router::new()
        .route("/ui/runs/{run_id}", get(run))
        .route("/ui/runs/{run_id}/input", get(input_rows))
        .route("/ui/runs/{run_id}/blocks/{number}", get(block_rows))
        .route("/ui/runs/{run_id}/files/{filename}", get(file))
        .route("/ui/workflows/{workflow_id}", get(workflow));
    // A service before the hosted one has no items to show.
    let of_items = if app.hosted.is_none() { of_items } else { Router::new() };
    Router::new()
        .route("/", get(overview))
        .merge(of_items)
        .route_layer(middleware::from_fn(tagged))
        .route_layer(middleware::from_fn_with_state(Arc::clone(app), admit))
        .route("/ui/login", post(login).layer(DefaultBodyLimit::max(MAX_LOGIN_BYTES)))
}

/// Admits a request to the page. If the service has a key, the request needs its cookie; otherwise the check of the
/// host name, which every path has, is enough.
async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if has_session(&app, request.headers()) {
        next.run(request).await
    } else {
        page(StatusCode::UNAUTHORIZED, views::login(None))
    }
}

/// Adds an entity tag to a page, and responds with 304 to a script that has this page already.
async fn tagged(request: Request, next: Next) -> Response {
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let response = next.run(request).await;
    if response.status() != StatusCode::OK {
        return response;
    }
    let (mut head, body) = response.into_parts();
    let Ok(bytes) = body::to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    // Always parses: digits and quotes.
    let tag = format!("\"{}\"", crate::text::hex(&Sha256::digest(&bytes)[..16]));
    let Ok(tag) = HeaderValue::from_str(&tag) else { return (head, bytes).into_response() };
    let is_known = known.as_ref() == Some(&tag);
    head.headers.insert(header::ETAG, tag);
    if is_known {
        head.status = StatusCode::NOT_MODIFIED;
        return (head, ()).into_response();
    }
    (head, bytes).into_response()
}

/// Returns true for a path of the page, whose errors are for people.
pub(in crate::service) fn is_page(path: &str) -> bool {
    path == "/" || path.starts_with("/ui/")
}

/// Returns the page for a request that was refused before it reached a path.
pub(in crate::service) fn refused(status: StatusCode, text: &str) -> Response {
    page(status, views::message("Request refused", text))
}

/// Returns the page of an address that does not exist.
pub(in crate::service) fn not_found() -> Response {
    page(StatusCode::NOT_FOUND, views::message("No such page", "This service has no page at this address."))
}

/// Exchanges the key for the cookie. All attempts share one rate limit, so that keys cannot be guessed quickly; beyond
/// it even the right key is refused.
async fn login(State(app): State<Arc<App>>, body: Result<Bytes, BytesRejection>) -> Response {
    let Some(key) = &app.config.api_key else { return Redirect::to("/").into_response() };
    if let Some(rate) = app.login_limit.take("").filter(|rate| !rate.allowed) {
        let wait = rate.wait_seconds.max(1);
        let mut response = page(StatusCode::TOO_MANY_REQUESTS, views::login(Some(LoginRefusal::TooMany { wait })));
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait));
        return response;
    }
    let body = body.unwrap_or_default();
    let received = url::form_urlencoded::parse(&body).find(|(name, _)| name == "key").map(|(_, value)| value);
    if !app.signer.same(received.unwrap_or_default().trim(), key.reveal()) {
        return page(StatusCode::UNAUTHORIZED, views::login(Some(LoginRefusal::WrongKey)));
    }
    ([(header::SET_COOKIE, cookie(&app, key.reveal()))], Redirect::to("/")).into_response()
}

async fn overview(State(app): State<Arc<App>>, uri: Uri, headers: HeaderMap) -> Response {
    let rendered = blocking(move || {
        let query = query(&uri);
        let text = query.get("q").unwrap_or("").trim().to_owned();
        let state = query.get("state").unwrap_or("").to_owned();
        let active = vec![RunStatus::Queued, RunStatus::Running];
        let statuses = match state.as_str() {
            "" if text.is_empty() => {
                vec![RunStatus::Completed, RunStatus::Failed, RunStatus::Cancelled, RunStatus::TimedOut]
            }
            "" => Vec::new(),
            "active" => active.clone(),
            word => vec![RunStatus::parse(word)],
        };
        let found = RunFilter { statuses, text: text.clone(), ..RunFilter::default() };
        let commands = commands(&app, &headers);
        let listing = Listing {
            active: runs(&app, &RunFilter { statuses: active, limit: SHOWN_ACTIVE, ..RunFilter::default() })?,
            page: page_of_runs(&app, found, page_number(&uri))?,
            text,
            state,
            workflows: app.store.workflows()?,
            is_before_hosted: app.hosted.is_some(),
            facts: facts(&app, &commands),
        };
        Ok(views::overview(&listing, &commands, &context(&app)))
    });
    respond(rendered.await)
}

async fn workflow(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let Ok(Path(id)) = path else { return not_found() };
    let rendered = blocking(move || {
        let id = WorkflowId(id);
        let of_workflow = RunFilter { workflow_id: Some(id.clone()), ..RunFilter::default() };
        let Some(workflow) = app.store.workflow(&id)? else {
            let runs = app.store.runs(&RunFilter { limit: SHOWN_RUNS, ..of_workflow })?;
            return Ok((StatusCode::NOT_FOUND, views::gone_workflow(&id.0, runs.len())));
        };
        let input = workflow.workflow_definition.as_ref().map_or(SourceInput::Nothing, source_input);
        let view = WorkflowView { page: page_of_runs(&app, of_workflow, page_number(&uri))?, input, workflow };
        Ok((StatusCode::OK, views::workflow(&view, &commands(&app, &headers), &context(&app))))
    });
    with_status(rendered.await)
}

async fn run(State(app): State<Arc<App>>, path: Result<Path<String>, PathRejection>, headers: HeaderMap) -> Response {
    let Ok(Path(id)) = path else { return not_found() };
    let rendered = blocking(move || {
        let Some(run) = find_run(&app, &id)? else { return Ok((StatusCode::NOT_FOUND, views::gone_run(&id))) };
        let job = app.store.job(&run.id)?;
        let view = RunView {
            workflow_exists: app.store.workflow(&run.workflow_id)?.is_some(),
            input_rows: job.as_ref().and_then(|job| small_input(&app, &run, job)),
            job,
            run,
        };
        Ok((StatusCode::OK, views::run(&view, &commands(&app, &headers), &context(&app))))
    });
    with_status(rendered.await)
}

/// First rows of a block of a run.
async fn block_rows(State(app): State<Arc<App>>, path: Result<Path<(String, i64)>, PathRejection>) -> Response {
    let Ok(Path((id, number))) = path else { return not_found() };
    let rendered = blocking(move || {
        let Some(run) = find_run(&app, &id)? else { return Ok((StatusCode::NOT_FOUND, views::gone_run(&id))) };
        let Some(block) = run.blocks.iter().find(|block| block.sequence_number == number) else {
            let text = format!("The run {id} has no block {number}.");
            return Ok((StatusCode::NOT_FOUND, views::message("No such block", &text)));
        };
        let title = format!("Rows of block {number}, {}", block.block_name);
        Ok((StatusCode::OK, views::rows(&title, &rows_of(&app, &run, block))))
    });
    with_status(rendered.await)
}

/// First rows of the input of a run.
async fn input_rows(State(app): State<Arc<App>>, path: Result<Path<String>, PathRejection>) -> Response {
    let Ok(Path(id)) = path else { return not_found() };
    let rendered = blocking(move || {
        let Some(run) = find_run(&app, &id)? else { return Ok((StatusCode::NOT_FOUND, views::gone_run(&id))) };
        let shown = match app.store.job(&run.id)? {
            None => Shown::Nothing("The input is not stored with this run.".to_owned()),
            Some(job) => input_of(&app, &run, job),
        };
        Ok((StatusCode::OK, views::rows("Input rows", &shown)))
    });
    with_status(rendered.await)
}

/// Redirects to a newly signed link of a result file, so that the links on a page never expire.
async fn file(State(app): State<Arc<App>>, path: Result<Path<(String, String)>, PathRejection>) -> Response {
    let Ok(Path((id, filename))) = path else { return not_found() };
    let link = blocking(move || {
        let Some(run) = find_run(&app, &id)? else { return Ok(Err(views::gone_run(&id))) };
        // Other files in the directory of a run, such as its payload, are not offered.
        let offered = run.blocks.iter().flat_map(|block| &block.files).any(|file| file.filename.as_str() == filename);
        if !offered {
            let text = format!("The run {id} has no result file {filename}.");
            return Ok(Err(views::message("No such result file", &text)));
        }
        let life = TimeDelta::from_std(app.config.link_life).unwrap_or(TimeDelta::MAX);
        Ok(Ok(app.signer.link(&run.id, &filename, (app.config.clock.now() + life).timestamp())))
    });
    match link.await {
        Ok(Ok(link)) => Redirect::to(&link).into_response(),
        Ok(Err(html)) => page(StatusCode::NOT_FOUND, html),
        Err(error) => respond(Err(error)),
    }
}

/// Returns what every page shows.
fn context(app: &App) -> PageContext {
    PageContext { in_force: InForce::of(&app.config, &app.faults), now: app.config.clock.now() }
}

/// Returns the writer of command lines, for the address by which the browser reached the service.
fn commands(app: &App, headers: &HeaderMap) -> Commands {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.map_or_else(|| app.address.to_string(), str::to_owned);
    Commands {
        base_url: format!("http://{host}"),
        has_key: app.config.api_key.is_some(),
        client: app.config.command_line.clone(),
    }
}

fn facts(app: &App, commands: &Commands) -> Vec<(&'static str, String)> {
    let key = if commands.has_key { "one key is accepted" } else { "any key that is not empty" };
    let runs = format!("{} at a time", crate::text::counted(app.config.max_runs as u64, "run"));
    vec![
        ("Address", commands.base_url.clone()),
        ("Key", key.to_owned()),
        ("Data", app.config.data_dir.display().to_string()),
        ("Capacity", runs),
    ]
}

fn page_number(uri: &Uri) -> usize {
    query(uri).get("page").and_then(|number| number.parse().ok()).filter(|number| *number > 0).unwrap_or(1)
}

/// Returns one page of the runs that `filter` selects.
fn page_of_runs(app: &App, filter: RunFilter, number: usize) -> Result<Page, ApiError> {
    let skip = (number - 1).saturating_mul(SHOWN_RUNS);
    let mut runs = runs(app, &RunFilter { skip, limit: SHOWN_RUNS + 1, ..filter })?;
    let has_more = runs.len() > SHOWN_RUNS;
    runs.truncate(SHOWN_RUNS);
    Ok(Page { runs, number, has_more })
}

/// Returns the newest runs that `filter` selects, with their current progress.
fn runs(app: &App, filter: &RunFilter) -> Result<Vec<RunRow>, ApiError> {
    let now = app.config.clock.now();
    let runs = app.store.runs(filter)?.into_iter();
    Ok(runs.map(|run| app.engine.active(&run.id).map_or(run, |active| active.snapshot(now))).collect())
}

/// Returns a run with its current progress; `None` if there is none with this id.
fn find_run(app: &App, id: &str) -> Result<Option<RunRow>, ApiError> {
    let id = RunId(id.to_owned());
    match app.engine.active(&id) {
        Some(active) => Ok(Some(active.snapshot(app.config.clock.now()))),
        None => Ok(app.store.run(&id)?),
    }
}

/// Returns the kind of input that the source of a graph takes.
fn source_input(graph: &Graph) -> SourceInput {
    match graph::check(graph.clone(), &Location::root("workflow_definition")) {
        Ok(checked) if checked.blocks[checked.source()].takes_payload() => SourceInput::Rows,
        Ok(checked) if checked.graph.blocks[checked.source()].block_name == "read_csv" => SourceInput::File,
        _ => SourceInput::Nothing,
    }
}

/// Returns the first rows of a block's result.
fn rows_of(app: &App, run: &RunRow, block: &BlockRow) -> Shown {
    let total = Some(block.row_count);
    let file = |format: ResultFormat| block.files.iter().find(|file| file.format == format);
    if block.status != BlockStatus::Completed {
        return Shown::Nothing("The block has not completed, so it has no rows yet.".to_owned());
    }
    // Values of NDJSON and of inline rows have their types; those of CSV have to be inferred.
    if file(ResultFormat::Ndjson).is_none()
        && let Some(rows) = &block.results
    {
        return Shown::Rows { preview: Preview::of_rows(rows), total };
    }
    let Some(file) = file(ResultFormat::Ndjson).or_else(|| file(ResultFormat::Csv)) else {
        return Shown::Nothing("The block has no result file.".to_owned());
    };
    let directory = app.directories.run(&run.id);
    let path = directory.join(file.filename.as_str());
    let read = private_files::check_directory(&directory).map_err(|error| error_chain(&error)).and_then(|()| {
        if file.format == ResultFormat::Ndjson {
            private_files::open(&path).and_then(Preview::of_lines).map_err(|error| error_chain(&error))
        } else {
            Preview::of_file(&path, &app.directories.tmp()).map_err(|error| error_chain(&error))
        }
    });
    match read {
        Ok(preview) => Shown::Rows { preview, total },
        Err(cause) => Shown::Nothing(format!("The rows cannot be shown: {cause}")),
    }
}

/// Returns the first rows of a run's input.
fn input_of(app: &App, run: &RunRow, job: JobRow) -> Shown {
    let gone = || Shown::Nothing("The input is gone: it was too large to keep, or was deleted.".to_owned());
    match Input::from_row(job.input, &app.directories, &run.id) {
        Input::Nothing => Shown::Nothing("The first block makes the rows itself.".to_owned()),
        Input::Payload { path, rows, .. } => match private_files::open(&path).and_then(Preview::of_lines) {
            Ok(preview) => Shown::Rows { preview, total: Some(rows) },
            Err(_) => gone(),
        },
        Input::Upload { path, .. } if !path.exists() => gone(),
        Input::Upload { path, .. } => match Preview::of_file(&path, &app.directories.tmp()) {
            Ok(preview) => Shown::Rows { preview, total: None },
            Err(error) => Shown::Nothing(format!("The rows cannot be shown: {}", error_chain(&error))),
        },
    }
}

/// Returns the rows of a small payload as a JSON array; `None` for a larger one.
fn small_input(app: &App, run: &RunRow, job: &JobRow) -> Option<String> {
    let InputRow::Payload { .. } = &job.input else { return None };
    let Input::Payload { path, .. } = Input::from_row(job.input.clone(), &app.directories, &run.id) else {
        return None;
    };
    let size = path.metadata().ok()?.len();
    let mut text = String::new();
    let file = private_files::open(&path).ok().filter(|_| size <= MAX_COMMAND_ROWS)?;
    std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX_COMMAND_ROWS), &mut text).ok()?;
    let lines: Vec<String> = text.lines().map(raw::on_one_line).collect();
    Some(format!("[{}]", lines.join(",")))
}

fn respond(rendered: Result<Html, ApiError>) -> Response {
    with_status(rendered.map(|html| (StatusCode::OK, html)))
}

fn with_status(rendered: Result<(StatusCode, Html), ApiError>) -> Response {
    match rendered {
        Ok((status, html)) => page(status, html),
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
