//! Endpoints of workflows: list, get, create, update and delete. Only definitions that can run are stored.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};
use uuid::Uuid;

use crate::api::{Graph, Workflow, WorkflowId};
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::clock::timestamp;
use crate::service::location::Location;
use crate::service::request::{blocking, body_bytes, path_text, query};
use crate::service::{body, graph};

pub(super) async fn list(State(app): State<Arc<App>>) -> Result<Json<Vec<Workflow>>, ApiError> {
    let mut workflows = blocking(move || Ok(app.store.workflows()?)).await?;
    // Lists have no definitions, as in the vendor's API.
    for workflow in &mut workflows {
        workflow.workflow_definition = None;
    }
    Ok(Json(workflows))
}

pub(super) async fn one(
    State(app): State<Arc<App>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Json<Workflow>, ApiError> {
    let id = path_text(path)?;
    blocking(move || {
        if let Some(workflow) = app.store.workflow(&WorkflowId(id.clone()))? {
            return Ok(Json(workflow));
        }
        // Our reading: the id is a UUID in the API's schema, so an unknown id that is not one is a 422.
        Err(if is_uuid(&id) { unknown_workflow() } else { malformed_id("workflow_id", &id) })
    })
    .await
}

pub(super) async fn create(
    State(app): State<Arc<App>>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Workflow>, ApiError> {
    let body = body_bytes(body)?;
    blocking(move || {
        let create = body::create(&body::json(&body)?)?;
        let definition = checked(create.workflow_definition)?;
        let id = create.id.unwrap_or_else(|| WorkflowId(Uuid::new_v4().to_string()));
        let now = timestamp(app.config.clock.now());
        app.store
            .change_workflow(&id, |before| {
                if before.is_some() {
                    let text = "a workflow with this id already exists".to_owned();
                    return Err(ApiError::Text(StatusCode::CONFLICT, text));
                }
                Ok(Workflow::ready(&id, create.workflow_name, create.workflow_description, definition, now))
            })
            .map(Json)
    })
    .await
}

pub(super) async fn update(
    State(app): State<Arc<App>>,
    uri: Uri,
    body: Result<Bytes, BytesRejection>,
) -> Result<Json<Workflow>, ApiError> {
    let id = query(&uri).required("workflow_id")?.to_owned();
    let body = body_bytes(body)?;
    blocking(move || {
        let update = body::update(&body::json(&body)?, &id)?;
        let definition = update.workflow_definition.map(checked).transpose()?;
        let id = WorkflowId(id);
        let now = timestamp(app.config.clock.now());
        app.store
            .change_workflow(&id, |before| {
                let Some(mut workflow) = before else {
                    // Our reading: an update that creates a workflow must contain a definition.
                    let location = Location::root("body").key("workflow_definition");
                    let definition = definition.ok_or_else(|| ApiError::Invalid(vec![location.missing()]))?;
                    let name = update.workflow_name.unwrap_or_else(|| "Untitled Workflow".to_owned());
                    let description = update.workflow_description.unwrap_or_default();
                    return Ok(Workflow::ready(&id, name, description, definition, now));
                };
                workflow.name = update.workflow_name.unwrap_or(workflow.name);
                workflow.description = update.workflow_description.or(workflow.description);
                workflow.workflow_definition = definition.or(workflow.workflow_definition);
                workflow.updated_at = now;
                Ok(workflow)
            })
            .map(Json)
    })
    .await
}

pub(super) async fn delete(State(app): State<Arc<App>>, uri: Uri) -> Result<Json<Workflow>, ApiError> {
    let id = WorkflowId(query(&uri).required("workflow_id")?.to_owned());
    let mut removed = blocking(move || app.store.remove_workflow(&id)?.ok_or_else(unknown_workflow)).await?;
    // The definition is in the responses of create, update and get only.
    removed.workflow_definition = None;
    Ok(Json(removed))
}

/// Returns the 404 of an unknown workflow.
pub(super) fn unknown_workflow() -> ApiError {
    ApiError::not_found("Workflow not found")
}

/// Returns true for an id of the form that the service generates.
pub(super) fn is_uuid(id: &str) -> bool {
    Uuid::parse_str(id).is_ok()
}

/// Returns the 422 of an id in the path that is not a UUID.
pub(super) fn malformed_id(name: &str, id: &str) -> ApiError {
    let mut error = Location::root("path").key(name).invalid("uuid_parsing", "Input should be a valid UUID");
    error.input = Some(id.into());
    ApiError::Invalid(vec![error])
}

/// Assigns ids to the blocks of a definition and checks that it can run.
pub(super) fn checked(definition: Graph) -> Result<Graph, ApiError> {
    let location = Location::root("body").key("workflow_definition");
    let checked = graph::check(graph::with_ids(definition), &location).map_err(ApiError::Invalid)?;
    Ok(checked.graph)
}
