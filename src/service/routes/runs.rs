//! Endpoints of runs: start, list, live status and cancel. A start validates, records the run and submits it; the
//! engine executes it.

use std::cell::Cell;
use std::io::Read;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::{Extension, Json};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::bodies;
use super::workflows::{is_uuid, malformed_id, unknown_workflow};
use crate::api::routes::{API_KEY_HEADER, IDEMPOTENCY_KEY_HEADER};
use crate::api::{LiveStatus, Run, RunCancelled, RunId, RunStarted, RunStatus, ValidationError, WorkflowId};
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::blocks::{self, Input, InputRequest};
use crate::service::body;
use crate::service::engine::{self, Job, Stop};
use crate::service::faults::{Kind as FaultKind, RequestFaults, Rule as FaultRule};
use crate::service::graph::{self, CheckedGraph};
use crate::service::journal::RunOfRequest;
use crate::service::location::Location;
use crate::service::payload::{Payload, PayloadLimits};
use crate::service::request::{blocking, body_bytes, drain, path_text, query};
use crate::service::rows::{ResultFormat, RunRow};
use crate::service::store::{RunFilter, StartOutcome, StartedBefore};

/// Wait that a refusal names while too many runs are queued. By eye: a place is free once any run has begun.
const QUEUE_WAIT_SECONDS: u64 = 5;

pub(super) async fn start(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
    faults: Option<Extension<RequestFaults>>,
    body: Body,
) -> Result<(Extension<RunOfRequest>, Json<RunStarted>), ApiError> {
    let request = match StartOptions::read(&uri, &headers, faults) {
        Ok(request) => request,
        Err(error) => {
            drain(body).await;
            return Err(error);
        }
    };
    let stall = app.config.upload_stall;
    let shared = Arc::clone(&app);
    let started = bodies::received(body, stall, &app.payload_permits, move |body| start_run(&shared, request, body));
    let started = started.await?;
    Ok((Extension(RunOfRequest(started.job_id.0.clone())), Json(started)))
}

/// A request that starts a run, without its body.
struct StartOptions {
    workflow_id: WorkflowId,
    formats: Vec<ResultFormat>,
    /// Digest of the idempotency key.
    key: Option<String>,
    faults: Vec<FaultRule>,
}

impl StartOptions {
    fn read(uri: &Uri, headers: &HeaderMap, faults: Option<Extension<RequestFaults>>) -> Result<Self, ApiError> {
        let query = query(uri);
        let workflow_id = WorkflowId(query.required("workflow_id")?.to_owned());
        let mut formats = vec![ResultFormat::Csv];
        for word in query.all("result_formats") {
            // Our reading: the format is a plain string in the API's schema, so an unknown one is a 400, not a 422.
            let format = ResultFormat::parse(word).ok_or_else(|| {
                ApiError::bad_request(format!("unknown result format '{word}': the formats are csv, json and ndjson"))
            })?;
            if !formats.contains(&format) {
                formats.push(format);
            }
        }
        if query.flag("save_json")? && !formats.contains(&ResultFormat::Json) {
            formats.push(ResultFormat::Json);
        }
        let key = idempotency_key(headers, &workflow_id.0);
        let faults = faults.map(|Extension(RequestFaults(rules))| rules).unwrap_or_default();
        Ok(StartOptions { workflow_id, formats, key, faults })
    }
}

fn start_run(app: &App, request: StartOptions, body: impl Read) -> Result<RunStarted, ApiError> {
    let StartOptions { workflow_id, formats, key, faults } = request;
    let limits = payload_limits(app);
    let body = body::run(body, &app.directories.tmp(), limits)?;
    // A start during a reset waits for its end, before it looks up anything.
    let _no_reset = app.resetting.blocking_read();
    let now = app.config.clock.now();
    // Our reading: a known idempotency key returns its run, even if the rest of the request differs.
    if let Some(key) = &key
        && let Some(before) = app.store.started_before(key, now)?
    {
        return Ok(started(Launched::before(before)));
    }
    let workflow = app.store.workflow(&workflow_id)?.ok_or_else(unknown_workflow)?;
    let checked = overridden_graph(workflow.workflow_definition.unwrap_or_default(), body.specs_override)?;
    for rule in &faults {
        if let FaultKind::FailBlock { block: Some(named), .. } = &rule.kind
            && !checked.graph.blocks.iter().any(|block| blocks::is_named(block, named))
        {
            return Err(ApiError::bad_request(format!("x-drawoff-fault: the workflow has no block `{named}`")));
        }
    }
    let launch =
        Launch { workflow_id, workflow_name: workflow.name, formats, checked, notify: None, faults, is_single: false };
    let launched =
        launch.submit(app, key.as_deref(), |id, checked| input(app, id, checked, body.webhook_payload, limits))?;
    Ok(started(launched))
}

/// Starts a run of a workflow without a request, as a schedule does: the source block has what its specs name. The caller
/// holds [`App::resetting`].
pub(super) fn start_scheduled(app: &App, workflow_id: &WorkflowId) -> Result<RunId, ApiError> {
    let workflow = app.store.workflow(workflow_id)?.ok_or_else(unknown_workflow)?;
    let checked = overridden_graph(workflow.workflow_definition.unwrap_or_default(), None)?;
    let launch = Launch {
        workflow_id: workflow_id.clone(),
        workflow_name: workflow.name,
        formats: vec![ResultFormat::Csv],
        checked,
        notify: None,
        faults: Vec::new(),
        is_single: false,
    };
    let limits = payload_limits(app);
    Ok(launch.submit(app, None, |id, checked| input(app, id, checked, None, limits))?.run_id)
}

/// Returns the bounds of what a request to start a run holds in memory.
pub(super) fn payload_limits(app: &App) -> PayloadLimits {
    PayloadLimits { row_bytes: app.config.limits.max_record_bytes, value_bytes: app.config.max_body_bytes }
}

/// A run to be started.
pub(super) struct Launch {
    pub workflow_id: WorkflowId,
    pub workflow_name: String,
    pub formats: Vec<ResultFormat>,
    pub checked: CheckedGraph,
    /// URL to notify of the end of the run; `None` sends no notification.
    pub notify: Option<String>,
    /// Faults for this run alone.
    pub faults: Vec<FaultRule>,
    /// True for a request about one person or company.
    pub is_single: bool,
}

/// A started run.
pub(super) struct Launched {
    pub run_id: RunId,
    pub workflow_id: WorkflowId,
    pub status: RunStatus,
    /// True if an earlier request with the same idempotency key started it.
    pub already_started: bool,
}

impl Launched {
    /// Returns a run that an earlier request with the same key has started.
    pub(super) fn before(before: StartedBefore) -> Self {
        let StartedBefore { run_id, workflow_id, status } = before;
        Launched { run_id, workflow_id, status, already_started: true }
    }
}

impl Launch {
    /// Records the run and submits it to the engine, once per `key`. The caller holds [`App::resetting`]. `input` prepares the input of the source block
    /// under the run's id. 429 if too many runs are queued.
    pub(super) fn submit(
        self,
        app: &App,
        key: Option<&str>,
        input: impl FnOnce(&RunId, &CheckedGraph) -> Result<Input, ApiError>,
    ) -> Result<Launched, ApiError> {
        if !app.engine.has_capacity() {
            let text = "too many runs are queued; try again later".to_owned();
            return Err(ApiError::Later(StatusCode::TOO_MANY_REQUESTS, text, QUEUE_WAIT_SECONDS));
        }
        let now = app.config.clock.now();
        let id = engine::new_run_id();
        let input = input(&id, &self.checked)?;
        let row = RunRow {
            blocks: engine::new_blocks(&self.checked, now),
            id,
            workflow_id: self.workflow_id,
            workflow_name: self.workflow_name,
            status: RunStatus::Queued,
            status_reason: None,
            error_message: None,
            queued_at: now,
            updated_at: now,
            started_at: None,
            completed_at: None,
            formats: self.formats,
            is_single: self.is_single,
        };
        if let Some(url) = &self.notify {
            app.store.set_notify(&row.id, url)?;
        }
        // The run is durable with its input before it is submitted, so that a crash in between loses nothing.
        let job = Job::to_row(&self.checked, &input);
        match app.store.start_run(&row, Some(&job), key) {
            Ok(StartOutcome::New) => {
                app.faults.set_for_run(&row.id, self.faults);
                let (run_id, workflow_id, status) = (row.id.clone(), row.workflow_id.clone(), row.status.clone());
                app.engine.submit(Job { row, checked: self.checked, input });
                Ok(Launched { run_id, workflow_id, status, already_started: false })
            }
            other => {
                // The payload was written for a run that does not exist now.
                let _ = std::fs::remove_dir_all(app.directories.run(&row.id));
                match other? {
                    StartOutcome::Before(before) => Ok(Launched::before(before)),
                    StartOutcome::New => unreachable!("matched above"),
                }
            }
        }
    }
}

/// Converts a started run to the response of its start.
pub(super) fn started(launched: Launched) -> RunStarted {
    RunStarted {
        status: launched.status.as_str().to_owned(),
        workflow_id: launched.workflow_id,
        job_id: launched.run_id,
        cache_config: None,
        already_started: launched.already_started.then_some(true),
    }
}

/// Returns the digest under which the store keeps a request's idempotency key; `None` without one. Our reading: a key
/// is scoped to the API key and the workflow. The digest allows keys of any length and keeps API keys out of the
/// database.
pub(super) fn idempotency_key(headers: &HeaderMap, scope: &str) -> Option<String> {
    let key = headers.get(IDEMPOTENCY_KEY_HEADER).filter(|key| !key.is_empty())?;
    Some(key_digest(headers, scope, key.as_bytes()))
}

/// Returns the digest of a key of a client's that makes a start safe to retry.
pub(super) fn key_digest(headers: &HeaderMap, scope: &str, key: &[u8]) -> String {
    let api_key = headers.get(API_KEY_HEADER).map_or(&b""[..], |value| value.as_bytes());
    let mut digest = Sha256::new();
    // Length prefixes keep different triples from being concatenated to the same bytes.
    for part in [api_key, scope.as_bytes(), key] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    crate::text::hex(&digest.finalize())
}

/// Applies the request's `specs_override` to the source block of a workflow's graph and checks the result.
fn overridden_graph(
    mut graph: crate::api::Graph,
    specs_override: Option<Map<String, Value>>,
) -> Result<CheckedGraph, ApiError> {
    let override_location = Location::root("body").key("specs_override");
    let is_overridden = specs_override.is_some();
    if let Some(specs) = specs_override {
        let targets: Vec<&str> = graph.edges.iter().map(|edge| edge.to_block_id.as_str()).collect();
        let source =
            graph.blocks.iter().position(|block| !block.block_id.as_deref().is_some_and(|id| targets.contains(&id)));
        if let Some(source) = source {
            // Our reading: a shallow merge; a given key replaces the whole value.
            graph.blocks[source].specs.extend(specs);
        }
    }
    if is_overridden {
        // The graph was valid when it was stored, so a problem is blamed on the override.
        return graph::check(graph, &override_location).map_err(ApiError::Invalid);
    }
    let outdated = |mut error: ValidationError| {
        error.msg.push_str(" (the stored definition does not meet the current rules; update the workflow)");
        error
    };
    graph::check(graph, &Location::root("query").key("workflow_id"))
        .map_err(|errors| ApiError::Invalid(errors.into_iter().map(outdated).collect()))
}

/// Prepares the input of the source block; 400 if the request does not provide the input that the block needs.
pub(super) fn input(
    app: &App,
    run: &RunId,
    checked: &CheckedGraph,
    payload: Option<Payload>,
    limits: PayloadLimits,
) -> Result<Input, ApiError> {
    let source = checked.source();
    let block_name = &checked.graph.blocks[source].block_name;
    let block = &checked.blocks[source];
    if payload.is_some() && !block.takes_payload() {
        return Err(ApiError::bad_request(format!(
            "webhook_payload is for workflows that start with a webhook block; this one starts with {block_name}"
        )));
    }
    let payload = Cell::new(payload);
    let request = InputRequest { store: &app.store, directories: &app.directories, run, block_name, payload, limits };
    Ok(block.input(&request)?)
}

pub(super) async fn list(State(app): State<Arc<App>>, uri: Uri) -> Result<Json<Vec<Run>>, ApiError> {
    let query = query(&uri);
    let limit = query.number("limit", 100, 1, 500)?;
    let statuses = match query.get("status") {
        None | Some("") => Vec::new(),
        Some(word) if word.eq_ignore_ascii_case("active") => vec![RunStatus::Queued, RunStatus::Running],
        // Our reading: any word is accepted, and an unknown state matches no run.
        Some(word) => vec![RunStatus::parse(word)],
    };
    let workflow_id = query.get("workflow_id").filter(|id| !id.is_empty()).map(|id| WorkflowId(id.to_owned()));
    let filter = RunFilter { statuses, workflow_id, limit: limit as usize, ..RunFilter::default() };
    let runs = blocking(move || {
        if let Some(id) = &filter.workflow_id
            && app.store.workflow(id)?.is_none()
        {
            return Err(unknown_workflow());
        }
        Ok(app.store.runs(&filter)?)
    });
    Ok(Json(runs.await?.iter().map(RunRow::listed).collect()))
}

pub(super) async fn live_status(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<LiveStatus>, ApiError> {
    let id = path_text(path)?;
    blocking(move || Ok(Json(find(&app, &id)?.live()))).await
}

pub(super) async fn cancel(
    State(app): State<Arc<App>>,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> Result<(Extension<RunOfRequest>, Json<RunCancelled>), ApiError> {
    let in_query = query(&uri).get("job_id").map(str::to_owned);
    let body = body_bytes(body)?;
    blocking(move || {
        let in_body = body::cancel(&body::json(&body)?)?;
        // Our reading: the query overrides the body, and neither is a 400.
        let id = in_query
            .or(in_body)
            .ok_or_else(|| ApiError::bad_request("job_id is required, as a query parameter or in the body"))?;
        let id = RunId(id);
        if let Some(active) = app.engine.active(&id) {
            app.engine.cancel(&active, Stop::Request);
        } else {
            let run = app.store.run(&id)?.ok_or_else(unknown_run)?;
            match run.status {
                // A queued run that is not active was left to the next start of the service.
                RunStatus::Queued if app.engine.is_stopping() => app.engine.cancel_shelved(run),
                // Our reading: to cancel a cancelled run is no error; to cancel one that ended otherwise is a 400.
                RunStatus::Cancelled => {}
                other => {
                    let text = format!("cannot cancel the run: it is already {}", other.as_str());
                    return Err(ApiError::bad_request(text));
                }
            }
        }
        // The vendor's API spells it with one l in this response only.
        Ok((Extension(RunOfRequest(id.0.clone())), Json(RunCancelled { job_id: id, status: "canceled".to_owned() })))
    })
    .await
}

/// Returns the current state of a run; 404 if it is unknown, 422 if the id is not a UUID either.
pub(super) fn find(app: &App, id: &str) -> Result<RunRow, ApiError> {
    let run_id = RunId(id.to_owned());
    if let Some(active) = app.engine.active(&run_id) {
        return Ok(active.snapshot(app.config.clock.now()));
    }
    match app.store.run(&run_id)? {
        Some(run) => Ok(run),
        None if is_uuid(id) => Err(unknown_run()),
        None => Err(malformed_id("run_id", id)),
    }
}

fn unknown_run() -> ApiError {
    ApiError::not_found("Run not found")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A definition that an earlier version stored and this one rejects.
    #[test]
    fn an_outdated_definition_is_not_blamed_on_the_override() {
        let graph = || {
            let block = json!({
                "block_id": "a", "block_name": "webhook", "block_type": "local", "sequence_number": 1,
                "specs": {"webhook_input": 1}
            });
            serde_json::from_value(json!({"blocks": [block], "edges": []})).unwrap()
        };
        let refused = |specs_override: Option<Value>| {
            let specs_override = specs_override.map(|specs| specs.as_object().unwrap().clone());
            match overridden_graph(graph(), specs_override) {
                Err(ApiError::Invalid(errors)) => errors.into_iter().next().unwrap(),
                _ => panic!("the specs are wrong"),
            }
        };
        let stored = refused(None);
        assert_eq!(stored.loc[..2], ["query", "workflow_id"]);
        assert!(stored.msg.ends_with("(the stored definition does not meet the current rules; update the workflow)"));
        assert_eq!(refused(Some(json!({}))).loc[..2], ["body", "specs_override"]);
    }
}
