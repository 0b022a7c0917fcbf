//! Requests about one person or company: a run with one row through the same enrichment block, and the same provider, as
//! those of workflows. One form waits for its end, the other returns the job.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::{Extension, Json};
use uuid::Uuid;

use super::outputs::ended;
use super::runs::{Launch, find, input, payload_limits};
use crate::api::{BulkKind, Intelligence, JobStarted, RunId, RunStatus, WorkflowId};
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::bulk::Settings;
use crate::service::journal::RunOfRequest;
use crate::service::location::Location;
use crate::service::request::{blocking, body_bytes};
use crate::service::rows::ResultFormat;
use crate::service::single::result;
use crate::service::{body, graph, raw};

type SingleBody = Result<Bytes, BytesRejection>;
type SingleResponse = Result<(Extension<RunOfRequest>, Json<Intelligence>), ApiError>;
type StartResponse = Result<(Extension<RunOfRequest>, Json<JobStarted>), ApiError>;

pub(super) async fn people(state: State<Arc<App>>, body: SingleBody) -> SingleResponse {
    respond(state, BulkKind::People, body).await
}

pub(super) async fn company(state: State<Arc<App>>, body: SingleBody) -> SingleResponse {
    respond(state, BulkKind::Company, body).await
}

pub(super) async fn start_people(state: State<Arc<App>>, body: SingleBody) -> StartResponse {
    start(state, BulkKind::People, body).await
}

pub(super) async fn start_company(state: State<Arc<App>>, body: SingleBody) -> StartResponse {
    start(state, BulkKind::Company, body).await
}

async fn respond(State(app): State<Arc<App>>, kind: BulkKind, body: SingleBody) -> SingleResponse {
    let body = body_bytes(body)?;
    let shared = Arc::clone(&app);
    let run = blocking(move || launch(&shared, kind, &body, false)).await?;
    ended(&app, &run).await;
    let id = run.clone();
    let response = blocking(move || {
        let row = find(&app, &id.0)?;
        let text = match row.status {
            RunStatus::Completed => return Ok(result(&app.store, &app.directories, &row)?),
            RunStatus::Queued | RunStatus::Running => {
                let text = "the service is stopping".to_owned();
                return Err(ApiError::Later(StatusCode::SERVICE_UNAVAILABLE, text, 1));
            }
            _ => row.error_message.unwrap_or_else(|| format!("the job was {}", row.status.as_str())),
        };
        Err(ApiError::Text(StatusCode::INTERNAL_SERVER_ERROR, text))
    });
    Ok((Extension(RunOfRequest(run.0)), Json(response.await?)))
}

async fn start(State(app): State<Arc<App>>, kind: BulkKind, body: SingleBody) -> StartResponse {
    let body = body_bytes(body)?;
    let task_id = blocking(move || launch(&app, kind, &body, true)).await?;
    let run = RunOfRequest(task_id.0.clone());
    // Our reading: upper case, as in the response to the start of a bulk job.
    Ok((Extension(run), Json(JobStarted { task_id, status: "RUNNING".to_owned() })))
}

/// Starts the run of a request; `notifies` if its end is to be sent to the `webhook_url`.
fn launch(app: &App, kind: BulkKind, bytes: &[u8], notifies: bool) -> Result<RunId, ApiError> {
    let body = body::json(bytes)?;
    let location = Location::root("body");
    let mut check = body::Check::default();
    let Some(object) = check.object(&body, &location) else { return Err(check.into_error()) };
    let name = match kind {
        BulkKind::People => "lead_info",
        BulkKind::Company => "target_company",
    };
    match object.get(name) {
        None => check.refuse(location.key(name).missing()),
        Some(value) => drop(check.object(value, &location.key(name))),
    }
    check.ended()?;
    // What is asked for is the same as in a bulk job; other members are ignored here.
    let settings = Settings::of_single(kind, object)?;
    let definition = graph::with_ids(settings.graph_of_payload(kind));
    let checked = graph::check(definition, &location).map_err(ApiError::Invalid)?;
    // The text of the row, so that its numbers keep their digits.
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let members = raw::members(text).unwrap_or_default();
    let row = members.iter().rev().find(|(key, _)| key == name).map_or("{}", |(_, value)| *value);
    let limits = payload_limits(app);
    let rows = format!("{{\"webhook_payload\":[{row}]}}");
    let payload = body::run(rows.as_bytes(), &app.directories.tmp(), limits)?.webhook_payload;
    // A start during a reset waits for its end, before it stores anything.
    let _no_reset = app.resetting.blocking_read();
    let launch = Launch {
        workflow_id: WorkflowId(Uuid::new_v4().to_string()),
        workflow_name: format!("{} Intelligence", if kind == BulkKind::People { "People" } else { "Company" }),
        formats: vec![ResultFormat::Csv, ResultFormat::Ndjson],
        checked,
        notify: settings.webhook_url.filter(|_| notifies),
        faults: Vec::new(),
        is_single: true,
    };
    Ok(launch.submit(app, None, |id, checked| input(app, id, checked, payload, limits))?.run_id)
}
