//! Bulk Intelligence endpoints. A form with a file and settings starts a job, which is an ordinary run; its state is
//! returned in the vocabulary of jobs.

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
use crate::service::location::Location;
use crate::service::request::{blocking, given_key, path_text, query};
use crate::service::rows::ResultFormat;
use crate::service::{graph, single};

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
    let location = Location::root("query").key("cost_units");
    let in_credits = match query(uri).get("cost_units") {
        None | Some("cents") => false,
        Some("credits") => true,
        Some(_) => {
            return Err(ApiError::Invalid(vec![location.invalid("enum", "Input should be 'cents' or 'credits'")]));
        }
    };
    let key = idempotency_key(headers, kind.path());
    let exceeded = app.bulk_limit.take(given_key(headers)).filter(|rate| !rate.allowed);
    // The form is read in any case: a client that is still sending would not see the response.
    let form = read_form(&app, form, Some(("config", 4 * MAX_CONFIG_CHARS))).await;
    blocking(move || {
        // A start during a reset waits for its end, before it looks up or stores anything.
        let _no_reset = app.resetting.blocking_read();
        // Our reading: a known idempotency key returns its job, even if the rest of the request differs or is invalid.
        if let Some(key) = &key
            && let Some(before) = app.store.started_before(key, app.config.clock.now())?
        {
            return Ok(Json(started(Launched::before(before), 0, in_credits)));
        }
        if let Some(rate) = exceeded {
            let text = "Rate limit exceeded: too many bulk jobs were started within a minute".to_owned();
            return Err(ApiError::Later(StatusCode::TOO_MANY_REQUESTS, text, rate.wait_seconds.unsigned_abs()));
        }
        let Form { file, text } = form?;
        let config = Location::root("body").key("config");
        let text = text.ok_or_else(|| ApiError::Invalid(vec![config.missing()]))?;
        let settings = Settings::parse(kind, &text)?;
        let rows = file.rows;
        let handle = file.persist(&app)?;
        let definition = graph::with_ids(settings.graph(kind, &handle.0));
        // Settings that pass their own checks but not the schema of the block's specs are rejected here.
        let checked = graph::check(definition, &config).map_err(ApiError::Invalid)?;
        let launch = Launch {
            // Our reading: the workflow of a job is not stored, so it is not listed.
            workflow_id: WorkflowId(Uuid::new_v4().to_string()),
            workflow_name: format!("Bulk Intelligence: {}", kind.as_str()),
            formats: settings.formats,
            checked,
            notify: settings.webhook_url,
            faults: Vec::new(),
            is_single: false,
        };
        let launched = launch.submit(&app, key.as_deref(), |_, _| input(&app, &handle))?;
        Ok(Json(started(launched, rows, in_credits)))
    })
    .await
}

/// Returns the upload that was just stored as the input of the job.
fn input(app: &App, handle: &HandleId) -> Result<Input, ApiError> {
    let upload = app.store.upload(handle)?.ok_or_else(|| ApiError::bad_request("the uploaded file was deleted"))?;
    Ok(Input::upload(&app.directories, handle, upload)?)
}

/// Builds the response to a start. Our reading: a local job costs 0, in the requested unit, and a repeated start has
/// neither cost nor row count.
fn started(launched: Launched, rows: u64, in_credits: bool) -> BulkStarted {
    let is_new = !launched.already_started;
    BulkStarted {
        task_id: launched.run_id,
        // Upper case in this response only, as the vendor's API has it.
        status: "RUNNING".to_owned(),
        row_count: is_new.then_some(rows),
        estimated_cost_cents: (is_new && !in_credits).then_some(0.0),
        estimated_cost_credits: (is_new && in_credits).then_some(0.0),
        already_started: launched.already_started.then_some(true),
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
        // Our reading: a job is a run, so the id of any run is accepted.
        let run = find(&app, &id).map_err(|error| match error {
            ApiError::Text(status, _) if status == StatusCode::NOT_FOUND => ApiError::not_found("Job not found"),
            ApiError::Invalid(mut errors) => {
                errors.iter_mut().for_each(|error| error.loc = vec!["path".into(), "task_id".into()]);
                ApiError::Invalid(errors)
            }
            error => error,
        })?;
        let done = run.status == RunStatus::Completed;
        let mut status = JobStatus {
            // Jobs have no queued state and spell the timeout differently.
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
            if run.is_single {
                let result = serde_json::to_value(single::result(&app.store, &app.directories, &run)?);
                status.result = Some(result.map_err(|error| ApiError::internal(&error))?);
            } else {
                // Our reading: the links are those of the CSV files, which every run has.
                status.results = Some(links(&app, run, ResultFormat::Csv, &origin));
            }
        }
        Ok(Json(status))
    })
    .await
}
