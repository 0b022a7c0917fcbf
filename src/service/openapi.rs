//! The service's OpenAPI description: schemas from the wire types themselves, operations from one table. The tests
//! hold every answer that the service gives against it.

use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::paths::{FILES, HEALTH, METRICS, OPENAPI};
use crate::api::routes as paths;
use crate::api::{
    BlockDescription, BulkStarted, CancelRun, CreateWorkflow, DownloadLink, JobStatus, LiveStatus, NewSigningSecret,
    RollSigningSecret, Run, RunCancelled, RunStarted, RunWorkflow, SigningSecretInfo, UpdateWorkflow, Uploaded,
    ValidationError, Workflow,
};

/// Types of answers only: every field is there, null where there is nothing.
const WHOLE: [&str; 13] = [
    "Workflow",
    "Run",
    "RunStarted",
    "RunCancelled",
    "LiveStatus",
    "BlockLiveStatus",
    "BlockMetrics",
    "DownloadLink",
    "BlockDescription",
    "Uploaded",
    "BulkStarted",
    "SigningSecretInfo",
    "NewSigningSecret",
];

/// Fields that are moments.
const MOMENTS: [(&str, &[&str]); 2] = [
    ("Workflow", &["created_at", "updated_at", "last_run_date"]),
    ("Run", &["created_at", "updated_at", "queued_at", "started_at", "completed_at"]),
];

/// One operation.
struct Operation {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    /// Status and description of success, and its content.
    success: (u16, &'static str, Option<Value>),
    /// Statuses of its own refusals.
    refusals: &'static [u16],
    /// False for what needs no key, and has no rate limit.
    keyed: bool,
}

/// The description, as JSON.
pub fn document() -> Value {
    let mut paths = Map::new();
    for operation in operations() {
        let item = paths.entry(operation.path).or_insert_with(|| json!({}));
        item[operation.method] = operation.describe();
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "drawoff: the local Workflows service",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Workflows, their runs and results, as the hosted Workflows API has them. \
                Fields that have no value are null, never left out.",
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": { "key": { "type": "apiKey", "in": "header", "name": paths::API_KEY_HEADER } },
        },
    })
}

impl Operation {
    fn describe(&self) -> Value {
        let (status, text, content) = &self.success;
        let mut responses = Map::new();
        let mut success = json!({ "description": text });
        if let Some(content) = content {
            success["content"] = content.clone();
        }
        if self.keyed {
            success["headers"] = rate_headers(false);
        }
        responses.insert(status.to_string(), success);
        if self.path == FILES {
            let mut part = responses["200"].clone();
            part["description"] = json!("The bytes that the Range header asks for");
            responses.insert("206".to_owned(), part);
        }
        let always: &[u16] = if self.keyed { &[401, 408, 429, 500, 503] } else { &[408, 500, 503] };
        let mut refusals: Vec<u16> = self.refusals.iter().chain(always).copied().collect();
        refusals.sort_unstable();
        for status in refusals {
            let schema = if status == 422 { "ValidationErrors" } else { "Refusal" };
            let mut refusal = json!({ "description": meaning(status), "content": content_of(reference(schema)) });
            if status == 429 {
                refusal["headers"] = rate_headers(true);
            }
            responses.insert(status.to_string(), refusal);
        }
        let mut operation = json!({
            "operationId": self.id,
            "summary": self.summary,
            "parameters": self.parameters,
            "responses": responses,
            "security": if self.keyed { json!([{ "key": [] }]) } else { json!([]) },
        });
        if let Some(body) = &self.body {
            operation["requestBody"] = body.clone();
        }
        operation
    }
}

fn meaning(status: u16) -> &'static str {
    match status {
        400 => "A rule of this operation is not met",
        401 => "The key is missing or wrong",
        403 => "The link's signature is not valid, or it has expired",
        404 => "There is no such thing",
        408 => "The request took too long",
        409 => "It exists already",
        413 => "The body is too large",
        416 => "The file has no such bytes",
        422 => "The request does not validate",
        429 => "Too many requests",
        503 => "The service is busy or about to stop",
        _ => "The service failed",
    }
}

/// Headers that tell the rate limit. A service without one leaves them out.
fn rate_headers(refused: bool) -> Value {
    let header = |text: &str| json!({ "description": text, "schema": { "type": "integer", "minimum": 0 } });
    let mut headers = json!({
        "X-RateLimit-Limit": header("Requests a minute for this key"),
        "X-RateLimit-Remaining": header("What is left of them"),
        "X-RateLimit-Reset": header("When the minute ends, in seconds since 1970"),
    });
    if refused {
        headers["Retry-After"] = header("Seconds until then");
    }
    headers
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn content_of(schema: Value) -> Value {
    json!({ "application/json": { "schema": schema } })
}

fn one(name: &str) -> Option<Value> {
    Some(content_of(reference(name)))
}

fn many(name: &str) -> Option<Value> {
    Some(content_of(json!({ "type": "array", "items": reference(name) })))
}

fn body(name: &str, required: bool) -> Option<Value> {
    let mut content = content_of(reference(name));
    if let Some(example) = example(name) {
        content["application/json"]["example"] = example;
    }
    Some(json!({ "required": required, "content": content }))
}

/// A body that is accepted, where a schema alone leads nobody to one.
fn example(name: &str) -> Option<Value> {
    let filters = json!([{ "column": "employees", "operator": "greater", "value": 50 }]);
    let definition = json!({
        "blocks": [
            { "sequence_number": 1, "block_type": "io", "block_name": "webhook", "block_id": "in",
              "specs": { "input_schema": { "company": "string", "employees": "int" } } },
            { "sequence_number": 2, "block_type": "data", "block_name": "filter", "block_id": "large",
              "specs": { "filters": filters } },
        ],
        "edges": [{ "from_block_id": "in", "to_block_id": "large" }],
    });
    match name {
        "CreateWorkflow" => Some(json!({
            "workflow_name": "Large companies",
            "workflow_description": "Those with more than 50 people",
            "workflow_definition": definition,
        })),
        "UpdateWorkflow" => Some(json!({ "workflow_name": "Larger companies", "workflow_definition": definition })),
        "RunWorkflow" => Some(json!({ "webhook_payload": [{ "company": "Kestrel Ltd", "employees": 240 }] })),
        _ => None,
    }
}

fn form(config: bool) -> Option<Value> {
    let mut properties = json!({
        "file": {
            "type": "string",
            "contentMediaType": "application/octet-stream",
            "description": "The file; its name ends in .csv, .json, .jsonl or .ndjson",
        }
    });
    let mut required = vec!["file"];
    if config {
        properties["config"] = json!({ "type": "string", "maxLength": super::bulk::MAX_CONFIG_CHARS,
            "description": "JSON text of the settings" });
        required.push("config");
    }
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    Some(json!({ "required": true, "content": { "multipart/form-data": { "schema": schema } } }))
}

fn parameter(place: &str, name: &str, required: bool, schema: Value, text: &str) -> Value {
    json!({ "name": name, "in": place, "required": required, "schema": schema, "description": text })
}

fn text() -> Value {
    json!({ "type": "string" })
}

/// A text that stands in the path.
fn segment() -> Value {
    json!({ "type": "string", "minLength": 1 })
}

fn id_in_path(name: &str) -> Vec<Value> {
    vec![parameter("path", name, true, segment(), "Its id, a UUID")]
}

fn workflow_in_query() -> Value {
    parameter("query", "workflow_id", true, text(), "The workflow's id")
}

fn idempotency_key() -> Value {
    parameter("header", "Idempotency-Key", false, text(), "Starts once, however often it is sent, for a day")
}

fn operations() -> Vec<Operation> {
    let get = |path, id, summary, refusals, content| Operation {
        method: "get",
        path,
        id,
        summary,
        parameters: Vec::new(),
        body: None,
        success: (200, "As asked", content),
        refusals,
        keyed: true,
    };
    let post = |path, id, summary, refusals, content| Operation {
        method: "post",
        ..get(path, id, summary, refusals, content)
    };
    let optional = |name: &str, schema: Value, text: &str| parameter("query", name, false, schema, text);
    let bulk = |path, id, summary| Operation {
        parameters: vec![
            optional("cost_units", json!({ "type": "string", "enum": ["cents", "credits"] }), "What costs are told in"),
            idempotency_key(),
        ],
        body: form(true),
        ..post(path, id, summary, &[400, 413, 422], one("BulkStarted"))
    };
    vec![
        get(paths::LIST_WORKFLOWS, "list_workflows", "All workflows, without definitions", &[], many("Workflow")),
        Operation {
            body: body("CreateWorkflow", true),
            ..post(paths::CREATE_WORKFLOW, "create_workflow", "Make a workflow", &[400, 409, 413, 422], one("Workflow"))
        },
        Operation {
            parameters: vec![workflow_in_query()],
            body: body("UpdateWorkflow", false),
            ..post(
                paths::UPDATE_WORKFLOW,
                "update_workflow",
                "Change a workflow, or make it",
                &[400, 413, 422],
                one("Workflow"),
            )
        },
        Operation {
            parameters: vec![workflow_in_query()],
            ..post(
                paths::DELETE_WORKFLOW,
                "delete_workflow",
                "Delete a workflow; its runs are kept",
                &[404, 422],
                one("Workflow"),
            )
        },
        get(paths::LIST_BLOCKS, "list_blocks", "The catalogue of blocks", &[], many("BlockDescription")),
        Operation {
            parameters: id_in_path("workflow_id"),
            ..get(
                paths::GET_WORKFLOW,
                "get_workflow",
                "One workflow, with its definition",
                &[404, 422],
                one("Workflow"),
            )
        },
        Operation {
            parameters: vec![
                workflow_in_query(),
                optional("save_json", json!({ "type": "boolean", "default": false }), "Write results as JSON too"),
                optional(
                    "result_formats",
                    json!({ "type": ["array", "null"], "items": text() }),
                    "Formats besides CSV: csv, json, ndjson",
                ),
                idempotency_key(),
            ],
            body: body("RunWorkflow", false),
            ..post(paths::RUN_WORKFLOW, "run_workflow", "Start a run", &[400, 404, 413, 422], one("RunStarted"))
        },
        Operation {
            parameters: vec![
                optional("status", json!({ "type": ["string", "null"] }), "A state, or active for queued and running"),
                optional("workflow_id", json!({ "type": ["string", "null"] }), "Of this workflow only"),
                optional(
                    "limit",
                    json!({ "type": "integer", "minimum": 1, "maximum": 500, "default": 100 }),
                    "At most so many",
                ),
            ],
            ..get(paths::LIST_RUNS, "list_runs", "Runs, newest first", &[404, 422], many("Run"))
        },
        Operation {
            parameters: id_in_path("run_id"),
            ..get(paths::LIVE_STATUS, "live_status", "How far a run is", &[404, 422], one("LiveStatus"))
        },
        Operation {
            parameters: vec![optional("job_id", json!({ "type": ["string", "null"] }), "The run; wins over the body")],
            body: body("CancelRun", false),
            ..post(paths::CANCEL_RUN, "cancel_run", "Cancel a run", &[400, 404, 413, 422], one("RunCancelled"))
        },
        Operation {
            parameters: {
                let mut parameters = id_in_path("run_id");
                let format = json!({ "type": "string", "default": "csv" });
                parameters.push(optional("format", format, "csv, json or ndjson; another one is 400"));
                parameters
            },
            ..get(
                paths::DOWNLOAD_LINKS,
                "download_links",
                "Links to a run's result files, one per block",
                &[400, 404, 422],
                many("DownloadLink"),
            )
        },
        Operation {
            body: form(false),
            ..post(paths::UPLOAD_FILE, "upload_file", "Upload an input file", &[400, 413, 422], one("Uploaded"))
        },
        bulk(paths::BULK_PEOPLE, "bulk_people", "Find out about each person of a file"),
        bulk(paths::BULK_COMPANY, "bulk_company", "Find out about each company of a file"),
        Operation {
            parameters: id_in_path("task_id"),
            ..get(paths::JOB_STATUS, "job_status", "How far a bulk job is", &[404, 422], one("JobStatus"))
        },
        get(
            paths::SIGNING_SECRET,
            "signing_secret",
            "What is known of the secret that webhooks are signed with",
            &[],
            one("SigningSecretInfo"),
        ),
        Operation {
            success: (201, "The secret, told this once", one("NewSigningSecret")),
            ..post(paths::SIGNING_SECRET, "create_signing_secret", "Make that secret", &[409], None)
        },
        Operation {
            method: "delete",
            success: (204, "Deliveries are not signed any more", None),
            ..get(paths::SIGNING_SECRET, "delete_signing_secret", "Forget that secret", &[404], None)
        },
        Operation {
            body: body("RollSigningSecret", false),
            ..post(
                paths::ROLL_SIGNING_SECRET,
                "roll_signing_secret",
                "Put another secret in its place; both sign for a while",
                &[400, 404, 413, 422],
                one("NewSigningSecret"),
            )
        },
        Operation {
            parameters: vec![
                parameter("path", "run_id", true, segment(), "The run"),
                parameter("path", "filename", true, segment(), "The file"),
                parameter("query", "expires", false, text(), "When the link ends"),
                parameter("query", "sig", false, text(), "The link's signature"),
            ],
            keyed: false,
            ..get(
                FILES,
                "download_file",
                "A result file, by its signed link",
                &[403, 404, 416],
                Some(json!({ "text/csv": {}, "application/x-ndjson": {}, "application/json": {} })),
            )
        },
        Operation { keyed: false, ..get(HEALTH, "health", "Whether the service answers", &[], one("Health")) },
        Operation {
            keyed: false,
            ..get(
                METRICS,
                "metrics",
                "Counters for Prometheus",
                &[],
                Some(json!({ "text/plain": { "schema": { "type": "string" } } })),
            )
        },
        Operation {
            keyed: false,
            ..get(OPENAPI, "openapi", "This description", &[], Some(content_of(json!({ "type": "object" }))))
        },
    ]
}

/// The schemas of all types.
fn schemas() -> Value {
    let mut schemas = Map::new();
    add::<Workflow>(&mut schemas);
    add::<CreateWorkflow>(&mut schemas);
    add::<UpdateWorkflow>(&mut schemas);
    add::<RunWorkflow>(&mut schemas);
    add::<RunStarted>(&mut schemas);
    add::<Run>(&mut schemas);
    add::<LiveStatus>(&mut schemas);
    add::<CancelRun>(&mut schemas);
    add::<RunCancelled>(&mut schemas);
    add::<DownloadLink>(&mut schemas);
    add::<BlockDescription>(&mut schemas);
    add::<Uploaded>(&mut schemas);
    add::<BulkStarted>(&mut schemas);
    add::<JobStatus>(&mut schemas);
    add::<SigningSecretInfo>(&mut schemas);
    add::<NewSigningSecret>(&mut schemas);
    add::<RollSigningSecret>(&mut schemas);
    add::<ValidationError>(&mut schemas);
    for name in WHOLE {
        let fields: Vec<Value> =
            schemas[name]["properties"].as_object().into_iter().flatten().map(|(field, _)| json!(field)).collect();
        schemas[name]["required"] = Value::Array(fields);
    }
    for (name, fields) in MOMENTS {
        for field in fields {
            schemas[name]["properties"][*field]["format"] = json!("date-time");
        }
    }
    // What the type system of Rust leaves open.
    let properties = |schemas: &mut Map<String, Value>, name: &str, field: &str, key: &str, value: Value| {
        schemas[name]["properties"][field][key] = value;
    };
    let part = json!({ "anyOf": [{ "type": "string" }, { "type": "integer" }] });
    properties(&mut schemas, "ValidationError", "loc", "items", part);
    let rows = json!([{ "type": "array", "items": { "type": "object" } }, { "type": "object" }, { "type": "null" }]);
    properties(&mut schemas, "RunWorkflow", "webhook_payload", "anyOf", rows);
    properties(&mut schemas, "BlockDescription", "specs_schema", "type", json!("object"));
    let states = json!(["pending", "running", "completed", "failed"]);
    properties(&mut schemas, "BlockLiveStatus", "status", "enum", states);
    for name in ["BlockLiveStatus.progress_percentage", "LiveStatus.overall_progress_percentage"] {
        let (schema, field) = name.split_once('.').unwrap_or_default();
        properties(&mut schemas, schema, field, "minimum", json!(0));
        properties(&mut schemas, schema, field, "maximum", json!(100));
    }
    properties(&mut schemas, "RunCancelled", "status", "const", json!("canceled"));
    let refusal = json!({
        "type": "object", "required": ["detail"],
        "properties": { "detail": { "type": "string", "minLength": 1 } },
    });
    schemas.insert("Refusal".to_owned(), refusal);
    let errors = json!({ "type": "array", "minItems": 1, "items": reference("ValidationError") });
    schemas.insert(
        "ValidationErrors".to_owned(),
        json!({ "type": "object", "required": ["detail"], "properties": { "detail": errors } }),
    );
    schemas.insert(
        "Health".to_owned(),
        json!({ "type": "object", "required": ["status"], "properties": { "status": { "const": "ok" } } }),
    );
    Value::Object(schemas)
}

/// The schema of `T` and of all types in it.
fn add<T: ToSchema>(schemas: &mut Map<String, Value>) {
    let mut found = Vec::new();
    T::schemas(&mut found);
    found.push((T::name().into_owned(), T::schema()));
    for (name, schema) in found {
        let schema = serde_json::to_value(schema).expect("a schema is made of texts, numbers and lists of them");
        schemas.insert(name, schema);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::graph;
    use crate::service::location::Location;

    #[test]
    fn every_reference_leads_to_a_schema() {
        fn walk(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(members) => {
                    found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
                    members.values().for_each(|value| walk(value, found));
                }
                Value::Array(items) => items.iter().for_each(|value| walk(value, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = Vec::new();
        walk(&document, &mut found);
        assert!(found.len() > 50);
        for reference in found {
            assert!(document.pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
        }
    }

    #[test]
    fn examples_of_workflows_are_accepted() {
        for name in ["CreateWorkflow", "UpdateWorkflow"] {
            let definition = example(name).unwrap()["workflow_definition"].clone();
            let graph = graph::with_ids(serde_json::from_value(definition).unwrap());
            let checked = graph::check(graph, &Location::root("body"));
            assert!(checked.is_ok(), "{name}: {:?}", checked.err());
        }
    }

    #[test]
    fn answers_name_every_field() {
        let document = document();
        let run = &document["components"]["schemas"]["Run"];
        assert_eq!(run["required"].as_array().map(Vec::len), Some(17));
        assert_eq!(run["properties"]["duration_ms"]["type"], json!(["integer", "null"]));
        assert_eq!(run["properties"]["queued_at"]["format"], "date-time");
    }
}
