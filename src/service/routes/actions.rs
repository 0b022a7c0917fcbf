//! Actions of the page: the handlers of the API under paths of their own, and those that the API has no endpoint for. They
//! take part neither in faults nor in limits nor in the journal: a look at a service must not change what its clients meet.
//!
//! The session of the page authorizes them, or a key. A browser sends them from the page alone: [`super::host`] refuses
//! those of every other origin, and the header that they need is one that no form can send.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::key::is_accepted;
use super::runs::{self, Launch, find};
use super::{uploads, workflows};
use crate::api::{RunId, RunStarted};
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::blocks::Input;
use crate::service::graph;
use crate::service::location::Location;
use crate::service::page;
use crate::service::private_files;
use crate::service::request::{blocking, drain, given_key, query};

/// Header that every action needs. Only scripts can send it, and those of another origin only with leave.
const PAGE_HEADER: &str = "x-drawoff-page";

/// Builds the router of the actions.
pub(super) fn router(app: &Arc<App>) -> Router<Arc<App>> {
    let small = Router::new()
        .route("/ui/actions/create_workflow", post(workflows::create))
        .route("/ui/actions/delete_workflow", post(workflows::delete))
        .route("/ui/actions/cancel", post(runs::cancel))
        .route("/ui/actions/again", post(again))
        .route("/ui/actions/delete_run", post(delete_run))
        .layer(DefaultBodyLimit::max(app.config.max_body_bytes));
    let large = Router::new()
        .route("/ui/actions/run", post(runs::start))
        .route("/ui/actions/upload", post(uploads::upload))
        .layer(DefaultBodyLimit::disable());
    small.merge(large).route_layer(middleware::from_fn_with_state(Arc::clone(app), admit))
}

/// Passes a request on that a script has sent with the session of the page, or a client with a key; responds with 403 or 401
/// otherwise. A service without a key needs the header alone.
async fn admit(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let refusal = if !headers.contains_key(PAGE_HEADER) {
        let text = format!("an action of the page needs the header {PAGE_HEADER}");
        ApiError::Text(StatusCode::FORBIDDEN, text)
    } else if !page::has_session(&app, headers) && !is_accepted(&app, given_key(headers)) {
        ApiError::Text(StatusCode::UNAUTHORIZED, "the session has ended: log in again".to_owned())
    } else {
        return next.run(request).await;
    };
    drain(request.into_body()).await;
    refusal.into_response()
}

/// Starts a run with the graph and the input of an earlier one.
async fn again(State(app): State<Arc<App>>, uri: Uri, _: Body) -> Result<Json<RunStarted>, ApiError> {
    let id = query(&uri).required("run_id")?.to_owned();
    blocking(move || {
        let _no_reset = app.resetting.blocking_read();
        let earlier = find(&app, &id)?;
        let job = app.store.job(&earlier.id)?.ok_or_else(|| {
            ApiError::bad_request("the input of this run is not stored: it is that of an archive or an earlier version")
        })?;
        let location = Location::root("query").key("run_id");
        let checked = graph::check(job.graph, &location).map_err(ApiError::Invalid)?;
        let input = Input::from_row(job.input, &app.directories, &earlier.id);
        let launch = Launch {
            workflow_id: earlier.workflow_id,
            workflow_name: earlier.workflow_name,
            formats: earlier.formats,
            checked,
            notify: None,
            faults: Vec::new(),
            is_single: false,
        };
        launch.submit(&app, None, |new, _| copied(&app, input, new)).map(|launched| Json(runs::started(launched)))
    })
    .await
}

/// Returns the input of an earlier run as that of a new one.
fn copied(app: &App, input: Input, new: &RunId) -> Result<Input, ApiError> {
    let gone = || ApiError::bad_request("the input of this run is gone: it was too large to keep, or was deleted");
    match input {
        Input::Payload { path: from, name, rows } => {
            private_files::check_regular(&from).map_err(|_| gone())?;
            let directory = app.directories.run(new);
            private_files::create_directory(&directory)?;
            let path = directory.join(from.file_name().unwrap_or_default());
            std::io::copy(&mut private_files::open(&from)?, &mut private_files::create(&path)?)?;
            Ok(Input::Payload { path, name, rows })
        }
        Input::Upload { path, file, name } => {
            private_files::check_regular(&path).map_err(|_| gone())?;
            Ok(Input::Upload { path, file, name })
        }
        Input::Nothing => Ok(Input::Nothing),
    }
}

/// Deletes an ended run with its files.
async fn delete_run(State(app): State<Arc<App>>, uri: Uri) -> Result<Json<Value>, ApiError> {
    let id = query(&uri).required("run_id")?.to_owned();
    blocking(move || {
        let run = find(&app, &id)?;
        if !run.status.is_terminal() {
            return Err(ApiError::bad_request("the run has not ended: cancel it first"));
        }
        app.store.remove_run(&run.id)?;
        // A failure is not an error: the next start removes directories that no row names.
        let _ = std::fs::remove_dir_all(app.directories.run(&run.id));
        Ok(Json(json!({ "job_id": run.id })))
    })
    .await
}
