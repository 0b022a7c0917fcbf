//! Bulk Intelligence: a file and settings start a job, which is a run; its state in the words of jobs.

use std::sync::Arc;

use axum::Json;
use axum::extract::multipart::MultipartRejection;
use axum::extract::rejection::PathRejection;
use axum::extract::{Multipart, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use uuid::Uuid;

use super::links::{links, origin};
use super::runs::{Launch, Launched, find, idempotency_key};
use super::uploads::{Form, read_form};
use crate::api::{BulkKind, BulkStarted, HandleId, JobStatus, RunStatus, WorkflowId};
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::blocks::Input;
use crate::service::bulk::{MAX_CONFIG_CHARS, Settings};
use crate::service::clock::timestamp;
use crate::service::graph;
use crate::service::location::Location;
use crate::service::request::{blocking, given_key, path_text, query};
use crate::service::rows::ResultFormat;

pub(super) async fn people(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Json<BulkStarted>, ApiError> {
    start(app, BulkKind::People, &uri, &headers, form).await
}

pub(super) async fn company(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Json<BulkStarted>, ApiError> {
    start(app, BulkKind::Company, &uri, &headers, form).await
}

async fn start(
    app: Arc<App>,
    kind: BulkKind,
    uri: &Uri,
    headers: &HeaderMap,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Json<BulkStarted>, ApiError> {
    let place = Location::root("query").key("cost_units");
    let in_credits = match query(uri).get("cost_units") {
        None | Some("cents") => false,
        Some("credits") => true,
        Some(_) => return Err(ApiError::Invalid(vec![place.invalid("enum", "Input should be 'cents' or 'credits'")])),
    };
    let key = idempotency_key(headers, kind.path());
    let allowed = app.bulk_limit.take(given_key(headers)).is_none_or(|standing| standing.allowed);
    // The form is read in any case, so that the client has sent all and sees the answer.
    let form = read_form(&app, form, Some(("config", 4 * MAX_CONFIG_CHARS))).await;
    blocking(move || {
        // Our reading: a key that started a job is answered with it whatever else the request says.
        if let Some(key) = &key
            && let Some(before) = app.store.started_before(key, app.config.clock.now())?
        {
            return Ok(Json(started(Launched { row: before, before: true }, 0, in_credits)));
        }
        if !allowed {
            let text = "Rate limit exceeded: too many bulk jobs were started within a minute".to_owned();
            return Err(ApiError::Text(StatusCode::TOO_MANY_REQUESTS, text));
        }
        let Form { file, text } = form?;
        let config = Location::root("body").key("config");
        let text = text.ok_or_else(|| ApiError::Invalid(vec![config.missing()]))?;
        let settings = Settings::read(kind, &text)?;
        let rows = file.rows;
        let handle = file.keep(&app)?;
        let definition = graph::with_ids(settings.graph(kind, &handle.0));
        // What settings allow and specs do not would be named here, as what it is in the block.
        let checked = graph::check(definition, &config).map_err(ApiError::Invalid)?;
        let launch = Launch {
            // Our reading: the workflow of a job is its own, and not listed.
            workflow_id: WorkflowId(Uuid::new_v4().to_string()),
            workflow_name: format!("Bulk Intelligence: {}", kind.as_str()),
            formats: settings.formats,
            checked,
            notify: settings.webhook_url,
        };
        let launched = launch.submit(&app, key.as_deref(), |_, _| input(&app, &handle))?;
        Ok(Json(started(launched, rows, in_credits)))
    })
    .await
}

/// The upload that was just kept.
fn input(app: &App, handle: &HandleId) -> Result<Input, ApiError> {
    let upload = app.store.upload(handle)?.ok_or_else(|| ApiError::bad_request("the file is gone already"))?;
    let path = app.folders.upload(handle, &upload);
    Ok(Input::Upload { path, name: upload.filename, extension: upload.extension })
}

/// Our reading: what a job costs here is nothing, told in the unit that was asked for.
fn started(launched: Launched, rows: u64, in_credits: bool) -> BulkStarted {
    let counted = !launched.before;
    BulkStarted {
        task_id: launched.row.id,
        // In capitals here, in small letters everywhere else.
        status: "RUNNING".to_owned(),
        row_count: counted.then_some(rows),
        estimated_cost_cents: (counted && !in_credits).then_some(0.0),
        estimated_cost_credits: (counted && in_credits).then_some(0.0),
        already_started: launched.before.then_some(true),
    }
}

pub(super) async fn status(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Json<JobStatus>, ApiError> {
    let id = path_text(path)?;
    let origin = origin(&app, &headers);
    blocking(move || {
        // Our reading: a job is a run, so any run may be asked for as a job.
        let run = find(&app, &id).map_err(|fault| match fault {
            ApiError::Text(status, _) if status == StatusCode::NOT_FOUND => ApiError::not_found("Job not found"),
            ApiError::Invalid(mut errors) => {
                errors.iter_mut().for_each(|error| error.loc = vec!["path".into(), "task_id".into()]);
                ApiError::Invalid(errors)
            }
            fault => fault,
        })?;
        let done = run.status == RunStatus::Completed;
        let mut status = JobStatus {
            // A job has no state before it runs, and another word for its end by time.
            status: match &run.status {
                RunStatus::Queued => "running",
                RunStatus::TimedOut => "timed_out",
                status => status.as_str(),
            }
            .to_owned(),
            id: run.id.clone(),
            run_id: format!("local-{}", run.id),
            start_time: timestamp(run.started_at.unwrap_or(run.queued_at)),
            close_time: None,
            result: None,
            results: None,
            charge_amount: None,
        };
        if done {
            status.close_time = run.completed_at.map(timestamp);
            status.charge_amount = Some(0.0);
            // Our reading: the links are those of the CSV, which every run has.
            status.results = Some(links(&app, run, ResultFormat::Csv, &origin));
        }
        Ok(Json(status))
    })
    .await
}
