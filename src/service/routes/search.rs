//! Deep searches: a search is a run of a workflow with a `search` block alone, over the same provider. Searches by filters
//! need an index that is the vendor's, and are not offered.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::{Extension, Json};
use serde_json::{Value, json};
use uuid::Uuid;

use super::outputs::handle_of;
use super::runs::{Launch, find, key_digest};
use crate::api::routes::START_DEEP_SEARCH;
use crate::api::{Block, DeepSearchStarted, DeepSearchStatus, Graph, RunStatus, WorkflowId};
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::blocks::Input;
use crate::service::clock::timestamp;
use crate::service::journal::RunOfRequest;
use crate::service::location::Location;
use crate::service::request::{blocking, body_bytes, path_text};
use crate::service::rows::{ResultFormat, RunRow};
use crate::service::{body, graph};

/// The block that searches.
const SEARCH: &str = "search";

/// Rows of a search that does not say how many.
const DEFAULT_RESULTS: u64 = 1000;

/// Members of a body that leave out entities of the vendor's index.
const EXCLUSIONS: [&str; 3] = ["exclude_public_ids", "exclude_entity_ids", "exclude_list_ids"];

pub(super) async fn start(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(Extension<RunOfRequest>, Json<DeepSearchStarted>), ApiError> {
    let body = body_bytes(body)?;
    let started = blocking(move || {
        let (block, search_id) = read(&body::json(&body)?)?;
        let definition = graph::with_ids(Graph { blocks: vec![block], edges: Vec::new() });
        let checked = graph::check(definition, &Location::root("body")).map_err(ApiError::Invalid)?;
        // The id of the client makes retries safe, as an idempotency key does.
        let key = search_id.map(|id| key_digest(&headers, START_DEEP_SEARCH, id.as_bytes()));
        let _no_reset = app.resetting.blocking_read();
        let launch = Launch {
            workflow_id: WorkflowId(Uuid::new_v4().to_string()),
            workflow_name: "Deep Search".to_owned(),
            formats: vec![ResultFormat::Csv],
            checked,
            notify: None,
            faults: Vec::new(),
            is_single: false,
        };
        launch.submit(&app, key.as_deref(), |_, _| Ok(Input::Nothing))
    });
    let started = started.await?;
    let run = RunOfRequest(started.run_id.0.clone());
    let message = if started.already_started { "Search started before" } else { "Search started successfully" };
    let status = status_word(&started.status).to_owned();
    Ok((Extension(run), Json(DeepSearchStarted { task_id: started.run_id, status, message: message.to_owned() })))
}

/// Reads the body of a start: the block that searches, and the client's id of the search.
fn read(body: &Value) -> Result<(Block, Option<String>), ApiError> {
    let location = Location::root("body");
    let mut check = body::Check::default();
    let Some(object) = check.object(body, &location) else { return Err(check.into_error()) };
    let query = check.text(object, "query", &location);
    let search_id = check.optional_text(object, "search_id", &location).filter(|id| !id.is_empty());
    let rows = match check.optional_text(object, "mode", &location).as_deref() {
        None | Some("people") => "LEAD",
        Some("company") => "COMPANY",
        Some(_) => {
            check.refuse(location.key("mode").invalid("enum", "Input should be 'people' or 'company'"));
            ""
        }
    };
    let max_results = match object.get("max_results") {
        None | Some(Value::Null) => json!(DEFAULT_RESULTS),
        Some(value) if value.as_u64().is_some() => value.clone(),
        Some(_) => {
            let text = "Input should be a whole number that is not negative";
            check.refuse(location.key("max_results").invalid("int_type", text));
            Value::Null
        }
    };
    let output_mode = check.optional_text(object, "output_mode", &location);
    if output_mode.as_deref().is_some_and(|mode| !["csv", "query_only"].contains(&mode)) {
        check.refuse(location.key("output_mode").invalid("enum", "Input should be 'csv' or 'query_only'"));
    }
    check.ended()?;
    if output_mode.as_deref() == Some("query_only") {
        return Err(ApiError::not_offered("queries are not parsed here; `output_mode` can only be `csv`"));
    }
    let excludes = |name: &&&str| object.get(**name).and_then(Value::as_array).is_some_and(|list| !list.is_empty());
    if let Some(name) = EXCLUSIONS.iter().find(excludes) {
        let text = format!("`{name}` is not offered: the entities of the hosted service are not known here");
        return Err(ApiError::not_offered(text));
    }
    let specs = json!({ "query": query, "dataframe_type": rows, "max_results": max_results });
    let block = Block {
        sequence_number: 1,
        block_type: "io".to_owned(),
        block_name: SEARCH.to_owned(),
        block_id: None,
        specs: specs.as_object().cloned().unwrap_or_default(),
    };
    Ok((block, search_id))
}

pub(super) async fn status(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<DeepSearchStatus>, ApiError> {
    let id = path_text(path)?;
    blocking(move || {
        let run = find(&app, &id).ok().filter(is_search);
        let run = run.ok_or_else(|| ApiError::not_found("Search not found"))?;
        let [block] = &run.blocks[..] else { return Err(ApiError::not_found("Search not found")) };
        let is_completed = run.status == RunStatus::Completed;
        let handle = match is_completed {
            true => Some(handle_of(&app, &run, block, ResultFormat::Csv)?.0),
            false => None,
        };
        let error = match run.status {
            RunStatus::Queued | RunStatus::Running | RunStatus::Completed => None,
            _ => run.error_message.clone().or_else(|| Some(format!("the search was {}", run.status.as_str()))),
        };
        let progress_message = block.note.clone().or_else(|| {
            (run.status == RunStatus::Running || is_completed).then(|| format!("{} rows", block.processed))
        });
        Ok(Json(DeepSearchStatus {
            status: status_word(&run.status).to_owned(),
            start_time: timestamp(run.started_at.unwrap_or(run.queued_at)),
            current_phase: None,
            progress_message,
            close_time: run.completed_at.map(timestamp),
            resource_handle_id: handle,
            total_results: is_completed.then_some(block.row_count),
            exported_count: is_completed.then_some(block.row_count),
            error,
            search_id: None,
            iterations: Vec::new(),
            task_id: run.id,
        }))
    })
    .await
}

/// Returns true for a run that a search may be, however it was started: the `search` block alone.
fn is_search(run: &RunRow) -> bool {
    matches!(&run.blocks[..], [block] if block.block_name == SEARCH)
}

/// Returns the state in the words of searches. Our reading: there are four, and clients poll on at any other word.
fn status_word(status: &RunStatus) -> &str {
    match status {
        RunStatus::Queued => "queued",
        RunStatus::Running => "running",
        RunStatus::Completed => "completed",
        _ => "failed",
    }
}
