//! Parsing and validation of JSON bodies. Checked by hand instead of by derive, so that a 422 names the location of
//! every problem, not only of the first. Checks shapes and types; `graph` checks that a definition can run.

use serde_json::{Map, Value};

use super::api_error::ApiError;
use super::location::Location;
use super::raw;
use super::stored_names::is_workflow_id;
use crate::api::{Block, CreateWorkflow, Edge, Graph, UpdateWorkflow, ValidationError, WorkflowId};

/// Path segments below `/workflows/` of the API itself, which therefore cannot be ids.
const RESERVED_IDS: [&str; 7] =
    ["blocks", "cancel", "create_workflow", "delete_workflow", "run", "runs", "update_workflow"];

/// Parses a body; an empty one is `null`. Malformed JSON is a 400.
pub(super) fn json(bytes: &[u8]) -> Result<Value, ApiError> {
    if bytes.trim_ascii().is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(bytes).map_err(|error| ApiError::bad_request(format!("the body is not valid JSON: {error}")))
}

/// Reads the body of `create_workflow`.
pub(super) fn create(body: &Value) -> Result<CreateWorkflow, ApiError> {
    let mut check = Check::default();
    let location = Location::root("body");
    let Some(object) = check.object(body, &location) else { return Err(check.into_error()) };
    // Every member is read before the first error is returned, so that the response lists all of them.
    let id = check.optional_text(object, "id", &location);
    if let Some(id) = &id {
        check.id(id, &location.key("id"));
    }
    let name = check.text(object, "workflow_name", &location);
    let description = check.text(object, "workflow_description", &location);
    let graph = match object.get("workflow_definition") {
        None => {
            check.errors.push(location.key("workflow_definition").missing());
            None
        }
        Some(value) => check.graph(value, &location.key("workflow_definition")),
    };
    match (name, description, graph) {
        (Some(workflow_name), Some(workflow_description), Some(workflow_definition)) if check.errors.is_empty() => {
            Ok(CreateWorkflow { id: id.map(WorkflowId), workflow_name, workflow_description, workflow_definition })
        }
        _ => Err(check.into_error()),
    }
}

/// Reads the body of `update_workflow`, which may be empty, and checks the workflow's `id` from the query.
pub(super) fn update(body: &Value, id: &str) -> Result<UpdateWorkflow, ApiError> {
    let mut check = Check::default();
    check.id(id, &Location::root("query").key("workflow_id"));
    let location = Location::root("body");
    let empty = Value::Object(Map::new());
    let body = if body.is_null() { &empty } else { body };
    let Some(object) = check.object(body, &location) else { return Err(check.into_error()) };
    let update = UpdateWorkflow {
        workflow_name: check.optional_text(object, "workflow_name", &location),
        workflow_description: check.optional_text(object, "workflow_description", &location),
        workflow_definition: match object.get("workflow_definition") {
            None | Some(Value::Null) => None,
            Some(value) => check.graph(value, &location.key("workflow_definition")),
        },
    };
    if check.errors.is_empty() { Ok(update) } else { Err(check.into_error()) }
}

/// The body of `run`; an empty one has neither member.
#[derive(Debug, Default, PartialEq)]
pub(super) struct RunBody {
    /// Members to replace in the source block's specs.
    pub specs_override: Option<Map<String, Value>>,
    /// JSON text of the payload, byte for byte as it was sent.
    pub webhook_payload: Option<String>,
}

/// Reads the body of `run`, which may be empty. The payload stays text, so that its numbers keep their digits.
pub(super) fn run(bytes: &[u8]) -> Result<RunBody, ApiError> {
    let body = json(bytes)?;
    if body.is_null() {
        return Ok(RunBody::default());
    }
    let mut check = Check::default();
    let location = Location::root("body");
    let Some(object) = check.object(&body, &location) else { return Err(check.into_error()) };
    let specs_override = match object.get("specs_override") {
        None | Some(Value::Null) => None,
        Some(value) => check.object(value, &location.key("specs_override")).cloned(),
    };
    let webhook_payload = match object.get("webhook_payload") {
        None | Some(Value::Null) => None,
        Some(Value::Array(_) | Value::Object(_)) => {
            // The parser has accepted these bytes, so they are UTF-8 and well-formed.
            let text = std::str::from_utf8(bytes).ok();
            let member = text.and_then(raw::members).and_then(|members| {
                // Of duplicate keys the last value is kept, as the parser does.
                members.into_iter().rev().find(|(key, _)| key == "webhook_payload")
            });
            member.map(|(_, text)| text.to_owned())
        }
        Some(_) => {
            let text = "webhook_payload must be a list of objects or one object";
            check.errors.push(location.key("webhook_payload").invalid("list_type", text));
            None
        }
    };
    if check.errors.is_empty() { Ok(RunBody { specs_override, webhook_payload }) } else { Err(check.into_error()) }
}

/// Reads the body of `cancel`, which may be empty: the run's id, if present.
pub(super) fn cancel(body: &Value) -> Result<Option<String>, ApiError> {
    if body.is_null() {
        return Ok(None);
    }
    let mut check = Check::default();
    let location = Location::root("body");
    let Some(object) = check.object(body, &location) else { return Err(check.into_error()) };
    let id = check.optional_text(object, "job_id", &location);
    if check.errors.is_empty() { Ok(id) } else { Err(check.into_error()) }
}

/// Reads the body of the rotation of a signing secret, which may be empty: the hours for which the replaced secret
/// keeps signing.
pub(super) fn roll(body: &Value) -> Result<i64, ApiError> {
    const DEFAULT_HOURS: i64 = 24;
    const MAX_HOURS: i64 = 72;
    if body.is_null() {
        return Ok(DEFAULT_HOURS);
    }
    let mut check = Check::default();
    let location = Location::root("body");
    let Some(object) = check.object(body, &location) else { return Err(check.into_error()) };
    let location = location.key("expire_overlap_hours");
    match object.get("expire_overlap_hours") {
        None | Some(Value::Null) => Ok(DEFAULT_HOURS),
        Some(value) => match value.as_i64() {
            Some(hours @ 0..=MAX_HOURS) => Ok(hours),
            Some(_) => {
                Err(ApiError::Invalid(vec![location.invalid("value_error", "Input should be between 0 and 72")]))
            }
            None => Err(ApiError::Invalid(vec![location.invalid("int_type", "Input should be a valid integer")])),
        },
    }
}

/// Collects the 422 entries of one request. Each method returns `None` after it has added an entry.
#[derive(Default)]
struct Check {
    errors: Vec<ValidationError>,
}

impl Check {
    fn into_error(self) -> ApiError {
        ApiError::Invalid(self.errors)
    }

    fn object<'a>(&mut self, value: &'a Value, location: &Location) -> Option<&'a Map<String, Value>> {
        if value.as_object().is_none() {
            self.errors.push(location.invalid("dict_type", "Input should be an object"));
        }
        value.as_object()
    }

    fn text(&mut self, object: &Map<String, Value>, key: &str, location: &Location) -> Option<String> {
        match object.get(key) {
            Some(Value::String(text)) => Some(text.clone()),
            None => {
                self.errors.push(location.key(key).missing());
                None
            }
            Some(_) => {
                self.errors.push(location.key(key).invalid("string_type", "Input should be a valid string"));
                None
            }
        }
    }

    fn optional_text(&mut self, object: &Map<String, Value>, key: &str, location: &Location) -> Option<String> {
        match object.get(key) {
            None | Some(Value::Null) => None,
            Some(_) => self.text(object, key, location),
        }
    }

    /// Checks an id chosen by the client.
    fn id(&mut self, id: &str, location: &Location) {
        if !is_workflow_id(id) {
            self.errors.push(location.invalid("value_error", "an id has 1 to 200 bytes and no control characters"));
        } else if RESERVED_IDS.contains(&id) {
            self.errors.push(location.invalid("value_error", format!("'{id}' is the name of a path, not an id")));
        }
    }

    /// Reads the blocks and edges of a definition; `graph::check` then checks what they mean.
    fn graph(&mut self, value: &Value, location: &Location) -> Option<Graph> {
        let object = self.object(value, location)?;
        let mut list = |key: &str| match object.get(key) {
            Some(Value::Array(items)) => Some(items),
            None => {
                self.errors.push(location.key(key).missing());
                None
            }
            Some(_) => {
                self.errors.push(location.key(key).invalid("list_type", "Input should be a valid list"));
                None
            }
        };
        let (blocks, edges) = (list("blocks"), list("edges"));
        let (blocks, edges) = (blocks?, edges?);
        // All blocks and edges are checked, even after an invalid one.
        let errors_before = self.errors.len();
        let location_of = |key: &str, i: usize| location.key(key).item(i);
        let blocks = blocks.iter().enumerate().map(|(i, block)| self.block(block, &location_of("blocks", i))).collect();
        let edges = edges.iter().enumerate().map(|(i, edge)| self.edge(edge, &location_of("edges", i))).collect();
        let (blocks, edges): (Vec<Option<Block>>, Vec<Option<Edge>>) = (blocks, edges);
        if self.errors.len() > errors_before {
            return None;
        }
        Some(Graph { blocks: blocks.into_iter().flatten().collect(), edges: edges.into_iter().flatten().collect() })
    }

    fn block(&mut self, value: &Value, location: &Location) -> Option<Block> {
        let object = self.object(value, location)?;
        let number = match object.get("sequence_number") {
            None => {
                self.errors.push(location.key("sequence_number").missing());
                None
            }
            Some(value) => {
                if value.as_i64().is_none() {
                    let text = "Input should be a valid integer";
                    self.errors.push(location.key("sequence_number").invalid("int_type", text));
                }
                value.as_i64()
            }
        };
        let block_type = self.text(object, "block_type", location);
        let block_name = self.text(object, "block_name", location);
        let block_id = self.optional_text(object, "block_id", location);
        let specs = match object.get("specs") {
            None => {
                self.errors.push(location.key("specs").missing());
                None
            }
            Some(value) => self.object(value, &location.key("specs")).cloned(),
        };
        Some(Block {
            sequence_number: number?,
            block_type: block_type?,
            block_name: block_name?,
            block_id,
            specs: specs?,
        })
    }

    fn edge(&mut self, value: &Value, location: &Location) -> Option<Edge> {
        let object = self.object(value, location)?;
        let from = self.text(object, "from_block_id", location);
        let to = self.text(object, "to_block_id", location);
        // Reserved by the vendor: stored and echoed, without meaning.
        let condition = self.optional_text(object, "condition", location);
        Some(Edge { from_block_id: from?, to_block_id: to?, condition })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn locations(error: ApiError) -> Vec<String> {
        let ApiError::Invalid(errors) = error else { panic!("not a 422: {error:?}") };
        let text = |part: &Value| part.as_str().map_or_else(|| part.to_string(), str::to_owned);
        errors.iter().map(|error| error.loc.iter().map(text).collect::<Vec<_>>().join(".")).collect()
    }

    #[test]
    fn every_problem_of_a_definition_has_its_location() {
        assert_eq!(
            locations(create(&json!({ "workflow_name": 1 })).unwrap_err()),
            ["body.workflow_name", "body.workflow_description", "body.workflow_definition"]
        );
        let body = json!({
            "workflow_name": "n", "workflow_description": "d",
            "workflow_definition": {
                "blocks": [{ "sequence_number": "1", "block_type": "x", "block_name": "filter" }],
                "edges": [{ "from_block_id": "a" }, 3]
            }
        });
        assert_eq!(
            locations(create(&body).unwrap_err()),
            [
                "body.workflow_definition.blocks.0.sequence_number",
                "body.workflow_definition.blocks.0.specs",
                "body.workflow_definition.edges.0.to_block_id",
                "body.workflow_definition.edges.1"
            ]
        );
        assert_eq!(locations(update(&json!({}), "runs").unwrap_err()), ["query.workflow_id"]);
        assert_eq!(update(&Value::Null, "w").unwrap(), UpdateWorkflow::default());
    }

    #[test]
    fn a_payload_keeps_its_digits() {
        let body = run(br#"{"webhook_payload": [{"n": 12345678901234567890123}], "specs_override": null}"#).unwrap();
        assert_eq!(body.webhook_payload.as_deref(), Some(r#"[{"n": 12345678901234567890123}]"#));
        assert_eq!(run(b" ").unwrap(), RunBody::default());
        assert!(matches!(run(b"{"), Err(ApiError::Text(status, _)) if status == 400));
        assert_eq!(locations(run(b"[]").unwrap_err()), ["body"]);
        assert_eq!(locations(run(br#"{"webhook_payload": 3}"#).unwrap_err()), ["body.webhook_payload"]);
    }
}
