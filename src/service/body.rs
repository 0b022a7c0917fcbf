//! Parsing and validation of JSON bodies. Checked by hand instead of by derive, so that a 422 names the location of
//! every problem, not only of the first. Checks shapes and types; `graph` checks that a definition can run.

use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use super::api_error::ApiError;
use super::location::Location;
use super::payload::{self, Payload, PayloadLimits, Scanner};
use super::stored_names::is_workflow_id;
use crate::api::{Block, CreateWorkflow, Edge, Graph, UpdateWorkflow, ValidationError, WorkflowId};
use crate::format::ndjson::JsonText;

/// Path segments below `/workflows/` of the API itself, which therefore cannot be ids.
const RESERVED_IDS: [&str; 8] =
    ["blocks", "cancel", "create_workflow", "delete_workflow", "interactive", "run", "runs", "update_workflow"];

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
#[derive(Default)]
pub(super) struct RunBody {
    /// Members to replace in the source block's specs.
    pub specs_override: Option<Map<String, Value>>,
    /// Rows of the payload.
    pub webhook_payload: Option<Payload>,
}

/// Name of the payload in a body and in messages.
const PAYLOAD: &str = "webhook_payload";

/// Reads the body of `run`, which may be empty, as a stream. The rows of the payload go to a temporary file in
/// `directory`. Of duplicate keys the last value counts.
pub(super) fn run(from: impl Read, directory: &Path, limits: PayloadLimits) -> Result<RunBody, ApiError> {
    let mut check = Check::default();
    let read = read_run(Scanner::new(from, limits), directory, &mut check);
    let body = read.map_err(|error| error.within("the body", PAYLOAD))?;
    if check.errors.is_empty() { Ok(body) } else { Err(check.into_error()) }
}

fn read_run(mut scanner: Scanner<impl Read>, directory: &Path, check: &mut Check) -> Result<RunBody, payload::Error> {
    let mut body = RunBody::default();
    let location = Location::root("body");
    match scanner.peek()? {
        None => return Ok(body),
        Some(b'{') => scanner.expect(b'{')?,
        Some(_) => {
            let value = value_of(&scanner.value("the body")?);
            scanner.end()?;
            if !value.is_null() {
                check.object(&value, &location);
            }
            return Ok(body);
        }
    }
    let mut more = scanner.peek()? != Some(b'}');
    if !more {
        scanner.expect(b'}')?;
    }
    while more {
        let Value::String(key) = value_of(&scanner.value("a key")?) else {
            return Err(payload::Error::Invalid("expected a key in quotes".to_owned()));
        };
        scanner.expect(b':')?;
        let location = location.key(&key);
        let is_rows = matches!(scanner.peek()?, Some(b'[' | b'{'));
        match key.as_str() {
            PAYLOAD if is_rows => body.webhook_payload = Some(scanner.rows(PAYLOAD, directory)?),
            PAYLOAD => {
                body.webhook_payload = None;
                if !value_of(&scanner.value(PAYLOAD)?).is_null() {
                    let text = "webhook_payload must be a list of objects or one object";
                    check.errors.push(location.invalid("list_type", text));
                }
            }
            "specs_override" => {
                let value = value_of(&scanner.value("specs_override")?);
                body.specs_override = if value.is_null() { None } else { check.object(&value, &location).cloned() };
            }
            _ => {
                scanner.value("a member of the body")?;
            }
        }
        more = scanner.more(b'}')?;
    }
    scanner.end()?;
    Ok(body)
}

/// Parses text that is known to be valid.
fn value_of(json: &JsonText) -> Value {
    serde_json::from_str(json.as_str()).unwrap_or(Value::Null)
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
pub(super) struct Check {
    errors: Vec<ValidationError>,
}

impl Check {
    pub(super) fn into_error(self) -> ApiError {
        ApiError::Invalid(self.errors)
    }

    /// Adds an entry.
    pub(super) fn refuse(&mut self, error: ValidationError) {
        self.errors.push(error);
    }

    /// Fails if there is an entry.
    pub(super) fn ended(self) -> Result<(), ApiError> {
        if self.errors.is_empty() { Ok(()) } else { Err(self.into_error()) }
    }

    pub(super) fn object<'a>(&mut self, value: &'a Value, location: &Location) -> Option<&'a Map<String, Value>> {
        if value.as_object().is_none() {
            self.errors.push(location.invalid("dict_type", "Input should be an object"));
        }
        value.as_object()
    }

    pub(super) fn text(&mut self, object: &Map<String, Value>, key: &str, location: &Location) -> Option<String> {
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

    pub(super) fn optional_text(
        &mut self,
        object: &Map<String, Value>,
        key: &str,
        location: &Location,
    ) -> Option<String> {
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
    fn a_payload_is_read_apart_from_the_rest() {
        let directory = tempfile::tempdir().unwrap();
        let limits = PayloadLimits { row_bytes: 100, value_bytes: 60 };
        let run = |text: &str| run(text.as_bytes(), directory.path(), limits);
        let rows = |text: &str| {
            let path = directory.path().join("rows");
            run(text).unwrap().webhook_payload.unwrap().persist(&path).unwrap();
            std::fs::read_to_string(&path).unwrap()
        };
        let text = r#"{"webhook_payload": [{"n": 12345678901234567890123}], "specs_override": null, "x": [1]}"#;
        assert_eq!(rows(text), "{\"n\":12345678901234567890123}\n");
        let twice = r#"{"webhook_payload": [{}, {}], "specs_override": {"a": 1}, "webhook_payload": {"b": 2}}"#;
        assert_eq!(rows(twice), "{\"b\":2}\n");
        assert_eq!(run(twice).unwrap().specs_override.unwrap()["a"], 1);
        for empty in ["", " ", "null", "{}", " { } ", r#"{"webhook_payload": null}"#] {
            let body = run(empty).unwrap();
            assert!(body.webhook_payload.is_none() && body.specs_override.is_none(), "{empty}");
        }
        for (text, expected) in [
            ("{", "the body is not valid JSON: expected a value, found the end at byte 1"),
            ("{\"a\":1}x", "the body is not valid JSON: expected the end, found `x` at byte 7"),
            ("{1:2}", "the body is not valid JSON: expected a key in quotes"),
            ("{\"a\"}", "the body is not valid JSON: expected `:`, found `}` at byte 4"),
            ("{\"webhook_payload\":[{},1]}", "webhook_payload[1] is not an object"),
            ("nul", "the body is not valid JSON: the body is not valid JSON (it begins at byte 0)"),
        ] {
            match run(text) {
                Err(ApiError::Text(status, found)) => assert_eq!((status.as_u16(), found.as_str()), (400, expected)),
                _ => panic!("{text}"),
            }
        }
        let long = format!("{{\"specs_override\":\"{}\"}}", "x".repeat(60));
        assert!(matches!(run(&long), Err(ApiError::Text(status, _)) if status == 413));
        let locations = |text: &str| locations(run(text).map(|_| ()).unwrap_err());
        assert_eq!(locations("[]"), ["body"]);
        assert_eq!(
            locations(r#"{"webhook_payload": 3, "specs_override": []}"#),
            ["body.webhook_payload", "body.specs_override"]
        );
    }
}
