//! The service's OpenAPI 3.1 description: schemas derived from the wire types, operations from one table. The tests
//! validate every response of the service against it. It describes the service and does not drive it: the routes are
//! in `routes::router`.

use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use super::paths::{FILES, HEALTH, METRICS, OPENAPI};
use super::schedule_bodies::{CreateSchedule, UpdateSchedule};
use super::schedules::Schedule;
use crate::api::routes as paths;
use crate::api::{
    Balance, BlockDescription, BulkStarted, CancelRun, CreateWorkflow, DownloadLink, JobStatus, LiveStatus,
    NewSigningSecret, RollSigningSecret, Run, RunCancelled, RunStarted, RunWorkflow, SearchDownload, SigningSecretInfo,
    UpdateWorkflow, Uploaded, ValidationError, Workflow,
};

/// Types that occur in responses only. The service writes all their fields, absent values as null, so all are required.
const RESPONSE_TYPES: [&str; 16] = [
    "Balance",
    "Schedule",
    "SearchDownload",
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

/// Text fields with a timestamp, which get `format: date-time`.
const TIMESTAMPS: [(&str, &[&str]); 3] = [
    ("Schedule", &["created_at", "updated_at", "next_run_at", "last_run_at"]),
    ("Workflow", &["created_at", "updated_at", "last_run_date"]),
    ("Run", &["created_at", "updated_at", "queued_at", "started_at", "completed_at"]),
];

/// One operation: a method of a path.
struct Operation {
    method: &'static str,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    /// Status, description and content of success.
    success: (u16, &'static str, Option<Value>),
    /// Statuses of its errors, besides those that every operation has.
    errors: &'static [u16],
    /// False for an operation that needs no key and has no rate limit.
    keyed: bool,
}

/// Builds the description as JSON.
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
            "description": "Workflows, their runs and results, compatible with the hosted Workflows API. \
                Fields without a value are null, never omitted.",
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
    /// Builds the operation object.
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
        // Result files are the only responses with ranges.
        if self.path == FILES {
            let mut part = responses["200"].clone();
            part["description"] = json!("The byte range that the Range header requests");
            responses.insert("206".to_owned(), part);
        }
        let common: &[u16] = if self.keyed { &[401, 408, 429, 500, 503] } else { &[408, 500, 503] };
        let mut errors: Vec<u16> = self.errors.iter().chain(common).copied().collect();
        errors.sort_unstable();
        for status in errors {
            let schema = if status == 422 { "ValidationErrors" } else { "Error" };
            let mut error =
                json!({ "description": error_description(status), "content": content_of(reference(schema)) });
            if status == 429 {
                error["headers"] = rate_headers(true);
            }
            responses.insert(status.to_string(), error);
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

fn error_description(status: u16) -> &'static str {
    match status {
        400 => "The request violates a rule of this operation",
        401 => "The API key is missing or invalid",
        403 => "The link has an invalid signature or has expired",
        404 => "The requested resource does not exist",
        408 => "The request timed out",
        409 => "The resource already exists",
        413 => "The request body is too large",
        416 => "The requested range is beyond the end of the file",
        422 => "The request is invalid",
        429 => "Too many requests",
        503 => "The service is busy or shutting down",
        _ => "Internal error of the service",
    }
}

/// Describes the headers of the rate limit, with `Retry-After` for a 429. A service without a limit omits them all.
fn rate_headers(with_retry_after: bool) -> Value {
    let header = |text: &str| json!({ "description": text, "schema": { "type": "integer", "minimum": 0 } });
    let mut headers = json!({
        "X-RateLimit-Limit": header("Requests per minute for this key"),
        "X-RateLimit-Remaining": header("Requests remaining in the current window"),
        "X-RateLimit-Reset": header("End of the current window, in seconds since 1970"),
    });
    if with_retry_after {
        headers["Retry-After"] = header("Seconds until the end of the current window");
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

/// Returns an example of a valid body, where the schema alone is not enough to write one.
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
            "workflow_description": "Companies with more than 50 employees",
            "workflow_definition": definition,
        })),
        "UpdateWorkflow" => Some(json!({ "workflow_name": "Larger companies", "workflow_definition": definition })),
        "CreateSchedule" => Some(json!({
            "workflow_id": "7c1e0a52-4b0d-4a6e-9d1f-20c4d2a9b611", "name": "Every morning",
            "cron_expression": "0 9 * * MON-FRI", "timezone": "Europe/Berlin",
        })),
        "RunWorkflow" => Some(json!({ "webhook_payload": [{ "company": "Kestrel Ltd", "employees": 240 }] })),
        _ => None,
    }
}

/// Describes a form with one file, and with the settings of a bulk job if `with_config`.
fn form(with_config: bool) -> Option<Value> {
    let mut properties = json!({
        "file": {
            "type": "string",
            "contentMediaType": "application/octet-stream",
            "description": "The file to upload; its name must end in .csv, .json, .jsonl or .ndjson",
        }
    });
    let mut required = vec!["file"];
    if with_config {
        properties["config"] = json!({ "type": "string", "maxLength": super::bulk::MAX_CONFIG_CHARS,
            "description": "Settings of the job, as JSON text" });
        required.push("config");
    }
    let schema = json!({ "type": "object", "properties": properties, "required": required });
    Some(json!({ "required": true, "content": { "multipart/form-data": { "schema": schema } } }))
}

fn parameter(location: &str, name: &str, required: bool, schema: Value, text: &str) -> Value {
    json!({ "name": name, "in": location, "required": required, "schema": schema, "description": text })
}

fn text() -> Value {
    json!({ "type": "string" })
}

/// Schema of a parameter in the path, which cannot be empty.
fn segment() -> Value {
    json!({ "type": "string", "minLength": 1 })
}

fn id_in_path(name: &str) -> Vec<Value> {
    vec![parameter("path", name, true, segment(), "Id of the resource, a UUID")]
}

fn workflow_in_query() -> Value {
    parameter("query", "workflow_id", true, text(), "Id of the workflow")
}

fn idempotency_key() -> Value {
    parameter(
        "header",
        "Idempotency-Key",
        false,
        text(),
        "Key that makes repeated starts return the same run, for a day",
    )
}

/// Returns the table of all operations.
fn operations() -> Vec<Operation> {
    let get = |path, id, summary, errors, content| Operation {
        method: "get",
        path,
        id,
        summary,
        parameters: Vec::new(),
        body: None,
        success: (200, "Success", content),
        errors,
        keyed: true,
    };
    let post =
        |path, id, summary, errors, content| Operation { method: "post", ..get(path, id, summary, errors, content) };
    let optional = |name: &str, schema: Value, text: &str| parameter("query", name, false, schema, text);
    let bulk = |path, id, summary| Operation {
        parameters: vec![
            optional("cost_units", json!({ "type": "string", "enum": ["cents", "credits"] }), "Unit of the costs"),
            idempotency_key(),
        ],
        body: form(true),
        ..post(path, id, summary, &[400, 413, 422], one("BulkStarted"))
    };
    vec![
        get(paths::LIST_WORKFLOWS, "list_workflows", "List workflows, without definitions", &[], many("Workflow")),
        Operation {
            body: body("CreateWorkflow", true),
            ..post(
                paths::CREATE_WORKFLOW,
                "create_workflow",
                "Create a workflow",
                &[400, 409, 413, 422],
                one("Workflow"),
            )
        },
        Operation {
            parameters: vec![workflow_in_query()],
            body: body("UpdateWorkflow", false),
            ..post(
                paths::UPDATE_WORKFLOW,
                "update_workflow",
                "Update or create a workflow",
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
        get(paths::LIST_BLOCKS, "list_blocks", "List the block types", &[], many("BlockDescription")),
        Operation {
            parameters: id_in_path("workflow_id"),
            ..get(
                paths::GET_WORKFLOW,
                "get_workflow",
                "Get a workflow with its definition",
                &[404, 422],
                one("Workflow"),
            )
        },
        Operation {
            parameters: vec![
                workflow_in_query(),
                optional("save_json", json!({ "type": "boolean", "default": false }), "Also write results as JSON"),
                optional(
                    "result_formats",
                    json!({ "type": ["array", "null"], "items": text() }),
                    "Result formats besides CSV: csv, json, ndjson",
                ),
                idempotency_key(),
            ],
            body: body("RunWorkflow", false),
            ..post(paths::RUN_WORKFLOW, "run_workflow", "Start a run", &[400, 404, 413, 422], one("RunStarted"))
        },
        Operation {
            parameters: vec![
                optional(
                    "status",
                    json!({ "type": ["string", "null"] }),
                    "Filter by state; `active` is queued and running",
                ),
                optional("workflow_id", json!({ "type": ["string", "null"] }), "Filter by workflow"),
                optional(
                    "limit",
                    json!({ "type": "integer", "minimum": 1, "maximum": 500, "default": 100 }),
                    "Maximum number of runs",
                ),
            ],
            ..get(paths::LIST_RUNS, "list_runs", "List runs, newest first", &[404, 422], many("Run"))
        },
        Operation {
            parameters: id_in_path("run_id"),
            ..get(
                paths::LIVE_STATUS,
                "live_status",
                "Get the state and progress of a run",
                &[404, 422],
                one("LiveStatus"),
            )
        },
        Operation {
            parameters: vec![optional(
                "job_id",
                json!({ "type": ["string", "null"] }),
                "Id of the run; overrides the body",
            )],
            body: body("CancelRun", false),
            ..post(paths::CANCEL_RUN, "cancel_run", "Cancel a run", &[400, 404, 413, 422], one("RunCancelled"))
        },
        Operation {
            parameters: {
                let mut parameters = id_in_path("run_id");
                let format = json!({ "type": "string", "default": "csv" });
                parameters.push(optional("format", format, "Format of the files: csv, json or ndjson; others are 400"));
                parameters
            },
            ..get(
                paths::DOWNLOAD_LINKS,
                "download_links",
                "List signed links to a run's result files, one per block",
                &[400, 404, 422],
                many("DownloadLink"),
            )
        },
        Operation {
            body: form(false),
            ..post(paths::UPLOAD_FILE, "upload_file", "Upload an input file", &[400, 413, 422], one("Uploaded"))
        },
        bulk(paths::BULK_PEOPLE, "bulk_people", "Enrich every person of a file in one bulk job"),
        bulk(paths::BULK_COMPANY, "bulk_company", "Enrich every company of a file in one bulk job"),
        Operation {
            parameters: id_in_path("task_id"),
            ..get(paths::JOB_STATUS, "job_status", "Get the state of a bulk job", &[404, 422], one("JobStatus"))
        },
        get(paths::CHECK_BALANCE, "check_balance", "Get the balance, which never changes here", &[], one("Balance")),
        Operation {
            parameters: vec![parameter("query", "resource_handle_id", true, text(), "Handle of an upload")],
            ..get(
                paths::SEARCH_DOWNLOAD,
                "search_download",
                "Get a signed link to an uploaded file",
                &[404, 422],
                one("SearchDownload"),
            )
        },
        get(paths::SCHEDULES, "list_schedules", "List schedules, oldest first", &[], many("Schedule")),
        Operation {
            body: body("CreateSchedule", true),
            ..post(
                paths::SCHEDULES,
                "create_schedule",
                "Create a schedule, which starts runs by the service's clock",
                &[400, 404, 413, 422],
                one("Schedule"),
            )
        },
        Operation {
            parameters: id_in_path("schedule_id"),
            ..get(paths::SCHEDULE, "get_schedule", "Get a schedule", &[404, 422], one("Schedule"))
        },
        Operation {
            method: "patch",
            parameters: id_in_path("schedule_id"),
            body: body("UpdateSchedule", true),
            ..get(paths::SCHEDULE, "update_schedule", "Change a schedule", &[400, 404, 413, 422], one("Schedule"))
        },
        Operation {
            method: "delete",
            parameters: id_in_path("schedule_id"),
            ..get(
                paths::SCHEDULE,
                "delete_schedule",
                "Delete a schedule; its runs are kept",
                &[404, 422],
                one("Schedule"),
            )
        },
        get(
            paths::SIGNING_SECRET,
            "signing_secret",
            "Get information about the signing secret of webhooks",
            &[],
            one("SigningSecretInfo"),
        ),
        Operation {
            success: (201, "The secret, returned only once", one("NewSigningSecret")),
            ..post(paths::SIGNING_SECRET, "create_signing_secret", "Create the signing secret", &[409], None)
        },
        Operation {
            method: "delete",
            success: (204, "Deliveries are no longer signed", None),
            ..get(paths::SIGNING_SECRET, "delete_signing_secret", "Delete the signing secret", &[404], None)
        },
        Operation {
            body: body("RollSigningSecret", false),
            ..post(
                paths::ROLL_SIGNING_SECRET,
                "roll_signing_secret",
                "Replace the signing secret; both secrets sign for the overlap",
                &[400, 404, 413, 422],
                one("NewSigningSecret"),
            )
        },
        Operation {
            parameters: vec![
                parameter("path", "run_id", true, segment(), "Id of the run"),
                parameter("path", "filename", true, segment(), "Name of the result file"),
                parameter("query", "expires", false, text(), "Expiry of the link, in seconds since 1970"),
                parameter("query", "sig", false, text(), "Signature of the link, in hex"),
            ],
            keyed: false,
            ..get(
                FILES,
                "download_file",
                "Download a result file by its signed link",
                &[403, 404, 416],
                Some(json!({ "text/csv": {}, "application/x-ndjson": {}, "application/json": {} })),
            )
        },
        Operation { keyed: false, ..get(HEALTH, "health", "Check the health of the service", &[], one("Health")) },
        Operation {
            keyed: false,
            ..get(
                METRICS,
                "metrics",
                "Get metrics for Prometheus; needs the key, also as a bearer token, of a service that has one",
                &[401],
                Some(json!({ "text/plain": { "schema": { "type": "string" } } })),
            )
        },
        Operation {
            keyed: false,
            ..get(
                OPENAPI,
                "openapi",
                "Get this OpenAPI description",
                &[],
                Some(content_of(json!({ "type": "object" }))),
            )
        },
    ]
}

/// Builds the schemas of all types, with the constraints that Rust's types do not express.
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
    add::<Balance>(&mut schemas);
    add::<SearchDownload>(&mut schemas);
    add::<Schedule>(&mut schemas);
    add::<CreateSchedule>(&mut schemas);
    add::<UpdateSchedule>(&mut schemas);
    add::<ValidationError>(&mut schemas);
    for name in RESPONSE_TYPES {
        let fields: Vec<Value> =
            schemas[name]["properties"].as_object().into_iter().flatten().map(|(field, _)| json!(field)).collect();
        schemas[name]["required"] = Value::Array(fields);
    }
    for (name, fields) in TIMESTAMPS {
        for field in fields {
            schemas[name]["properties"][*field]["format"] = json!("date-time");
        }
    }
    // The constraints below are true of every response, but the fields are plain numbers, texts or JSON values in Rust.
    let constrain = |schemas: &mut Map<String, Value>, name: &str, field: &str, key: &str, value: Value| {
        schemas[name]["properties"][field][key] = value;
    };
    let part = json!({ "anyOf": [{ "type": "string" }, { "type": "integer" }] });
    constrain(&mut schemas, "ValidationError", "loc", "items", part);
    let rows = json!([{ "type": "array", "items": { "type": "object" } }, { "type": "object" }, { "type": "null" }]);
    constrain(&mut schemas, "RunWorkflow", "webhook_payload", "anyOf", rows);
    constrain(&mut schemas, "BlockDescription", "specs_schema", "type", json!("object"));
    let states = json!(["pending", "running", "completed", "failed"]);
    constrain(&mut schemas, "BlockLiveStatus", "status", "enum", states);
    for name in ["BlockLiveStatus.progress_percentage", "LiveStatus.overall_progress_percentage"] {
        let (schema, field) = name.split_once('.').unwrap_or_default();
        constrain(&mut schemas, schema, field, "minimum", json!(0));
        constrain(&mut schemas, schema, field, "maximum", json!(100));
    }
    constrain(&mut schemas, "RunCancelled", "status", "const", json!("canceled"));
    let error = json!({
        "type": "object", "required": ["detail"],
        "properties": { "detail": { "type": "string", "minLength": 1 } },
    });
    schemas.insert("Error".to_owned(), error);
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

/// Adds the schemas of `T` and of all types in it.
fn add<T: ToSchema>(schemas: &mut Map<String, Value>) {
    let mut found = Vec::new();
    // `schemas` lists the types that `T` refers to, without `T` itself.
    T::schemas(&mut found);
    found.push((T::name().into_owned(), T::schema()));
    for (name, schema) in found {
        let schema = serde_json::to_value(schema).expect("a schema serializes to JSON");
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
    fn response_schemas_require_every_field() {
        let document = document();
        let run = &document["components"]["schemas"]["Run"];
        assert_eq!(run["required"].as_array().map(Vec::len), Some(17));
        assert_eq!(run["properties"]["duration_ms"]["type"], json!(["integer", "null"]));
        assert_eq!(run["properties"]["queued_at"]["format"], "date-time");
    }
}
