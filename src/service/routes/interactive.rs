//! Interactive workflows: a session begins with a source, and blocks are added to any of its blocks, each of which runs as
//! soon as its parent has completed. A chain can be saved as a workflow.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::Uri;
use axum::{Extension, Json};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::outputs::{ended, handle_of};
use super::runs::{Launch, find, input, payload_limits};
use super::workflows::checked;
use crate::api::{
    AddBlock, Block, BlockAdded, BlockLiveStatus, BlockMetrics, BlockOutput, Edge, Graph, InteractiveFinished,
    InteractiveStarted, LiveStatus, RunId, RunStatus, Workflow, WorkflowId,
};
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::blocks::Input;
use crate::service::body::{self, Check};
use crate::service::clock::timestamp;
use crate::service::journal::RunOfRequest;
use crate::service::location::Location;
use crate::service::request::{blocking, body_bytes, path_text, query};
use crate::service::rows::{ResultFormat, RunRow};
use crate::service::sessions::{Session, SessionBlock};
use crate::service::{graph, raw};

/// Interval of the look at a block that has no run yet.
const TICK: Duration = Duration::from_millis(10);

/// Name of the workflow of each run in the lists.
const NAME: &str = "Interactive Workflow";

type PathText = Result<Path<String>, PathRejection>;
type BodyBytes = Result<Bytes, BytesRejection>;

pub(super) async fn start(
    State(app): State<Arc<App>>,
    body: BodyBytes,
) -> Result<(Extension<RunOfRequest>, Json<InteractiveStarted>), ApiError> {
    let bytes = body_bytes(body)?;
    let job_id = blocking(move || {
        let body = body::json(&bytes)?;
        let location = Location::root("body");
        let mut check = Check::default();
        let Some(object) = check.object(&body, &location) else { return Err(check.into_error()) };
        let name = check.text(object, "block_name", &location);
        let specs = object_of(&mut check, object, "specs", &location);
        let formats = formats(&mut check, object, &location);
        check.ended()?;
        let source = Block {
            sequence_number: 1,
            block_type: "io".to_owned(),
            block_name: name.unwrap_or_default(),
            block_id: Some(Uuid::new_v4().to_string()),
            specs,
        };
        let definition = Graph { blocks: vec![source.clone()], edges: Vec::new() };
        let checked = graph::check(definition, &location).map_err(ApiError::Invalid)?;
        let limits = payload_limits(&app);
        // As a text, so that numbers keep their digits.
        let text = std::str::from_utf8(&bytes).unwrap_or_default();
        let rows = raw::members(text).unwrap_or_default().into_iter().rev().find(|(key, _)| key == "webhook_payload");
        let payload = match rows {
            Some((_, rows)) => {
                let body = format!("{{\"webhook_payload\":{rows}}}");
                body::run(body.as_bytes(), &app.directories.tmp(), limits)?.webhook_payload
            }
            None => None,
        };
        let _no_reset = app.resetting.blocking_read();
        let launch = Launch {
            workflow_id: WorkflowId(Uuid::new_v4().to_string()),
            workflow_name: NAME.to_owned(),
            formats: formats.clone(),
            checked,
            notify: None,
            faults: Vec::new(),
            is_single: false,
        };
        let run = launch.submit(&app, None, |id, checked| input(&app, id, checked, payload, limits))?.run_id;
        let source = SessionBlock {
            id: source.block_id.unwrap_or_default(),
            name: source.block_name,
            specs: source.specs,
            parent: None,
            run: Some(run.clone()),
            error: None,
        };
        app.sessions.add(&run, source, formats);
        Ok(run)
    });
    let job_id = job_id.await?;
    // Our reading: a session runs until it is finished.
    let status = RunStatus::Running.as_str().to_owned();
    Ok((Extension(RunOfRequest(job_id.0.clone())), Json(InteractiveStarted { job_id, status })))
}

/// Reads the formats of the results. CSV and NDJSON are always written: a chain goes on from the latter, which has types.
fn formats(check: &mut Check, object: &Map<String, Value>, location: &Location) -> Vec<ResultFormat> {
    let mut formats = vec![ResultFormat::Csv, ResultFormat::Ndjson];
    let mut add = |format: ResultFormat| {
        if !formats.contains(&format) {
            formats.push(format);
        }
    };
    match object.get("save_json") {
        None | Some(Value::Null | Value::Bool(false)) => {}
        Some(Value::Bool(true)) => add(ResultFormat::Json),
        Some(_) => check.refuse(location.key("save_json").invalid("bool_type", "Input should be a valid boolean")),
    }
    let location = location.key("result_formats");
    match object.get("result_formats") {
        None | Some(Value::Null) => {}
        Some(Value::Array(words)) => {
            for word in words {
                match word.as_str().and_then(ResultFormat::parse) {
                    Some(format) => add(format),
                    None => check.refuse(location.invalid("enum", "the formats are csv, json and ndjson")),
                }
            }
        }
        Some(_) => check.refuse(location.invalid("list_type", "Input should be a list of strings")),
    }
    formats
}

fn object_of(check: &mut Check, object: &Map<String, Value>, key: &str, location: &Location) -> Map<String, Value> {
    match object.get(key) {
        None => {
            check.refuse(location.key(key).missing());
            Map::new()
        }
        Some(value) => check.object(value, &location.key(key)).cloned().unwrap_or_default(),
    }
}

pub(super) async fn add_block(
    State(app): State<Arc<App>>,
    path: PathText,
    body: BodyBytes,
) -> Result<Json<BlockAdded>, ApiError> {
    let (id, bytes) = (path_text(path)?, body_bytes(body)?);
    let body = body::json(&bytes)?;
    let location = Location::root("body");
    let mut check = Check::default();
    let Some(object) = check.object(&body, &location) else { return Err(check.into_error()) };
    let block_name = check.text(object, "block_name", &location).unwrap_or_default();
    let specs = object_of(&mut check, object, "specs", &location);
    let parent_block_id = check.text(object, "parent_block_id", &location).unwrap_or_default();
    check.ended()?;
    let request = AddBlock { block_name, specs, parent_block_id };
    // One change, so that a session is not finished between the check and the addition.
    let added = app.sessions.change(&id, |session| accept(session, request)).ok_or_else(unknown_session)?;
    let block_id = match added {
        Ok(id) => id,
        Err(error) => return Ok(Json(BlockAdded { accepted: false, block_id: None, error: Some(error) })),
    };
    tokio::spawn(run_block(app, id, block_id.clone()));
    Ok(Json(BlockAdded { accepted: true, block_id: Some(block_id), error: None }))
}

/// Adds a block to a session; the error is the reason why it cannot run.
fn accept(session: &mut Session, request: AddBlock) -> Result<String, String> {
    if session.is_finished {
        return Err("the session is finished".to_owned());
    }
    if session.block(&request.parent_block_id).is_none() {
        return Err(format!("the session has no block {:?}", request.parent_block_id));
    }
    let block = SessionBlock {
        id: Uuid::new_v4().to_string(),
        name: request.block_name,
        specs: request.specs,
        parent: Some(request.parent_block_id),
        run: None,
        error: None,
    };
    let parent = block.parent.as_deref().unwrap_or_default();
    let chain = session.chain(parent, std::slice::from_ref(&block));
    graph::check(chain, &Location::root("body")).map_err(|errors| {
        let texts: Vec<String> = errors.into_iter().map(|error| error.msg).collect();
        texts.join("; ")
    })?;
    let id = block.id.clone();
    session.blocks.push(block);
    Ok(id)
}

/// Starts the run of an added block once its parent has completed, or notes why it cannot start.
async fn run_block(app: Arc<App>, session: String, block: String) {
    let parent = loop {
        let Some(now) = app.sessions.get(&session) else { return };
        let parent = now.block(&block).and_then(|block| now.block(block.parent.as_deref()?)).cloned();
        match parent {
            Some(SessionBlock { run: Some(run), .. }) => break run,
            Some(SessionBlock { error: None, .. }) => tokio::time::sleep(TICK).await,
            _ => return fail(&app, &session, &block, "the block before it has not completed"),
        }
    };
    ended(&app, &parent).await;
    let shared = Arc::clone(&app);
    let (of, id) = (session.clone(), block.clone());
    let started = blocking(move || start_after(&shared, &of, &id, &parent)).await;
    if let Err(error) = started {
        fail(&app, &session, &block, &error.to_text());
    }
}

fn fail(app: &App, session: &str, id: &str, why: &str) {
    app.sessions.change(session, |session| {
        if let Some(block) = session.blocks.iter_mut().find(|block| block.id == id) {
            block.error = Some(why.to_owned());
        }
    });
}

/// Starts the run of a block over the output of its parent's run. Blocks.
fn start_after(app: &Arc<App>, session_id: &str, block_id: &str, parent: &RunId) -> Result<(), ApiError> {
    let Some(session) = app.sessions.get(session_id) else { return Ok(()) };
    let Some(block) = session.block(block_id) else { return Ok(()) };
    let run = find(app, &parent.0)?;
    let (RunStatus::Completed, Some(output)) = (&run.status, run.blocks.last()) else {
        return Err(ApiError::bad_request("the block before it has not completed"));
    };
    // NDJSON has types, but without rows it has no columns.
    let format = if output.row_count == 0 { ResultFormat::Csv } else { ResultFormat::Ndjson };
    let handle = handle_of(app, &run, output, format)?;
    let source = json!({ "resource_handle_id": handle, "dataframe_type": output.rows.as_str() });
    let new_block = |sequence_number, name: &str, id: String, specs: Map<String, Value>| Block {
        sequence_number,
        block_type: "local".to_owned(),
        block_name: name.to_owned(),
        block_id: Some(id),
        specs,
    };
    let source_id = Uuid::new_v4().to_string();
    let definition = Graph {
        blocks: vec![
            new_block(1, "read_csv", source_id.clone(), source.as_object().cloned().unwrap_or_default()),
            new_block(2, &block.name, block.id.clone(), block.specs.clone()),
        ],
        edges: vec![Edge { from_block_id: source_id, to_block_id: block.id.clone(), condition: None }],
    };
    let checked = graph::check(definition, &Location::root("body")).map_err(ApiError::Invalid)?;
    let _no_reset = app.resetting.blocking_read();
    let upload = app.store.upload(&handle)?.ok_or_else(|| ApiError::not_found("File not found"))?;
    let launch = Launch {
        workflow_id: run.workflow_id.clone(),
        workflow_name: NAME.to_owned(),
        formats: session.formats.clone(),
        checked,
        notify: None,
        faults: Vec::new(),
        is_single: false,
    };
    let started = launch.submit(app, None, |_, _| Ok(Input::upload(&app.directories, &handle, upload)?))?;
    app.sessions.change(session_id, |session| {
        if let Some(block) = session.blocks.iter_mut().find(|block| block.id == block_id) {
            block.run = Some(started.run_id);
        }
    });
    Ok(())
}

pub(super) async fn state(State(app): State<Arc<App>>, path: PathText) -> Result<Json<LiveStatus>, ApiError> {
    let id = path_text(path)?;
    blocking(move || {
        let session = app.sessions.get(&id).ok_or_else(unknown_session)?;
        Ok(Json(live(&app, &id, &session)?))
    })
    .await
}

/// Returns the state of a session in the form of a run's. Our reading: it runs until it is finished, or its source fails.
fn live(app: &App, id: &str, session: &Session) -> Result<LiveStatus, ApiError> {
    let source = find(app, id)?;
    let mut blocks = Vec::with_capacity(session.blocks.len());
    for (at, block) in session.blocks.iter().enumerate() {
        let run = block.run.as_ref().map(|run| find(app, &run.0)).transpose()?;
        let entry = run.and_then(|run| run.live().blocks.pop());
        let entry = entry.unwrap_or_else(|| pending(block, &source));
        blocks.push(BlockLiveStatus {
            block_id: Some(block.id.clone()),
            sequence_number: at as i64 + 1,
            previous_block_ids: Some(block.parent.iter().cloned().collect()),
            ..entry
        });
    }
    let count = |status: &str| blocks.iter().filter(|block| block.status == status).count();
    let (completed, failed) = (count("completed"), count("failed"));
    let has_failed = matches!(source.status, RunStatus::Failed | RunStatus::Cancelled | RunStatus::TimedOut);
    let is_over = session.is_finished && completed + failed == blocks.len();
    let overall_status = match () {
        () if has_failed => source.status.as_str(),
        () if is_over && failed > 0 => RunStatus::Failed.as_str(),
        () if is_over => RunStatus::Completed.as_str(),
        () => RunStatus::Running.as_str(),
    };
    let running = blocks.iter().find(|block| block.status == "running");
    let last = blocks.iter().map(|block| block.last_updated.clone()).max();
    let share = 100.0 * completed as f64 / blocks.len().max(1) as f64;
    Ok(LiveStatus {
        run_id: RunId(id.to_owned()),
        workflow_id: source.workflow_id.clone(),
        overall_status: overall_status.to_owned(),
        current_block: running.map(|block| block.block_name.clone()),
        current_block_sequence: running.map(|block| block.sequence_number),
        total_blocks: blocks.len() as i64,
        completed_blocks: completed as i64,
        started_at: source.started_at.map(timestamp),
        completed_at: is_over.then(|| last.clone()).flatten(),
        last_updated: last.unwrap_or_else(|| timestamp(source.updated_at)),
        blocks,
        overall_progress_percentage: if is_over { 100.0 } else { share.min(99.9) },
        estimation_blocked_by: None,
    })
}

/// Returns the state of a block that has no run: it waits for its parent, or could not start.
fn pending(block: &SessionBlock, source: &RunRow) -> BlockLiveStatus {
    BlockLiveStatus {
        block_id: None,
        block_name: block.name.clone(),
        sequence_number: 0,
        previous_block_ids: None,
        status: if block.error.is_some() { "failed" } else { "pending" }.to_owned(),
        started_at: None,
        completed_at: None,
        progress_percentage: 0.0,
        current_step: None,
        processed_count: 0,
        total_count: 0,
        estimated_total_count: None,
        last_updated: timestamp(source.updated_at),
        error_message: block.error.clone(),
        metrics: BlockMetrics {
            row_count: 0,
            dataframe_type: source.blocks.first().map_or("LEAD", |block| block.rows.as_str()).to_owned(),
            processed_count: None,
            total_count: None,
        },
    }
}

pub(super) async fn output(
    State(app): State<Arc<App>>,
    path: PathText,
    uri: Uri,
) -> Result<Json<BlockOutput>, ApiError> {
    let id = path_text(path)?;
    let block_id = query(&uri).required("block_id")?.to_owned();
    blocking(move || {
        let session = app.sessions.get(&id).ok_or_else(unknown_session)?;
        let block = session.block(&block_id).ok_or_else(unknown_block)?;
        let run = block.run.as_ref().map(|run| find(&app, &run.0)).transpose()?;
        let run = run.filter(|run| run.status == RunStatus::Completed);
        let Some((run, output)) = run.as_ref().and_then(|run| Some((run, run.blocks.last()?))) else {
            return Err(ApiError::bad_request("the block has not completed"));
        };
        let handle = handle_of(&app, run, output, ResultFormat::Ndjson)?;
        Ok(Json(BlockOutput { block_id, resource_handle_id: handle.0, row_count: output.row_count }))
    })
    .await
}

pub(super) async fn finish(State(app): State<Arc<App>>, path: PathText) -> Result<Json<InteractiveFinished>, ApiError> {
    let id = path_text(path)?;
    blocking(move || {
        let finished = app.sessions.change(&id, |session| {
            session.is_finished = true;
            session.clone()
        });
        let session = finished.ok_or_else(unknown_session)?;
        Ok(Json(InteractiveFinished { status: live(&app, &id, &session)?.overall_status }))
    })
    .await
}

pub(super) async fn save(
    State(app): State<Arc<App>>,
    path: PathText,
    body: BodyBytes,
) -> Result<Json<Workflow>, ApiError> {
    let (id, bytes) = (path_text(path)?, body_bytes(body)?);
    blocking(move || {
        let body = body::json(&bytes)?;
        let location = Location::root("body");
        let mut check = Check::default();
        let Some(object) = check.object(&body, &location) else { return Err(check.into_error()) };
        let block_id = check.text(object, "block_id", &location).unwrap_or_default();
        let name = check.text(object, "workflow_name", &location).unwrap_or_default();
        let description = check.optional_text(object, "workflow_description", &location).unwrap_or_default();
        check.ended()?;
        let session = app.sessions.get(&id).ok_or_else(unknown_session)?;
        session.block(&block_id).ok_or_else(unknown_block)?;
        let definition = checked(session.chain(&block_id, &[]))?;
        let workflow_id = WorkflowId(Uuid::new_v4().to_string());
        let now = timestamp(app.config.clock.now());
        let _no_reset = app.resetting.blocking_read();
        let workflow = Workflow::ready(&workflow_id, name, description, definition, now);
        app.store.put_workflow(workflow.clone())?;
        Ok(Json(workflow))
    })
    .await
}

fn unknown_session() -> ApiError {
    ApiError::not_found("Job not found")
}

fn unknown_block() -> ApiError {
    ApiError::not_found("Block not found")
}
