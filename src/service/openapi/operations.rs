//! Operations of the service: their table, and the description of one.

use serde_json::{Map, Value, json};

use crate::api::routes as paths;
use crate::service::bulk::MAX_CONFIG_CHARS;
use crate::service::paths::{FILES, HEALTH, METRICS, OPENAPI};

/// One operation: a method of a path.
pub(super) struct Operation {
    pub method: &'static str,
    pub path: &'static str,
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

impl Operation {
    /// Builds the operation object.
    pub(super) fn describe(&self) -> Value {
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
        501 => "This part of the hosted API is not offered",
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

pub(super) fn reference(name: &str) -> Value {
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
pub(super) fn example(name: &str) -> Option<Value> {
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
        "PeopleIntelligence" => Some(json!({
            "lead_info": { "name": "Ada Lovelace", "company": "Kestrel Ltd" },
            "struct": { "email": "Work email address", "age": { "description": "Age in years" } },
        })),
        "CompanyIntelligence" => Some(json!({
            "target_company": { "domain": "kestrel.example" }, "struct": { "employees": "Number of employees" },
        })),
        "StartDeepSearch" => Some(json!({ "query": "founders of climate start-ups", "max_results": 50 })),
        "StartInteractive" => Some(json!({
            "block_name": "webhook", "specs": {}, "webhook_payload": [{ "company": "Kestrel Ltd", "employees": 240 }],
        })),
        "AddBlock" => Some(json!({
            "block_name": "filter", "specs": { "filters": filters },
            "parent_block_id": "7c1e0a52-4b0d-4a6e-9d1f-20c4d2a9b611",
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
        properties["config"] = json!({ "type": "string", "maxLength": MAX_CONFIG_CHARS,
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
pub(super) fn operations() -> Vec<Operation> {
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
    let single = |path, id, summary, name: &str, response| Operation {
        body: body(name, true),
        ..post(path, id, summary, &[400, 413, 422], one(response))
    };
    let person = |path, id, summary, response| single(path, id, summary, "PeopleIntelligence", response);
    let company = |path, id, summary, response| single(path, id, summary, "CompanyIntelligence", response);
    let search_status = |path, id| Operation {
        parameters: id_in_path("task_id"),
        ..get(path, id, "Get the state of a deep search", &[404], one("DeepSearchStatus"))
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
        person(paths::PEOPLE_INTELLIGENCE, "people_intelligence", "Enrich one person", "Intelligence"),
        person(paths::ENRICH_LEAD, "enrich_lead", "Enrich one person; the former path", "Intelligence"),
        person(
            paths::PEOPLE_INTELLIGENCE_ASYNC,
            "start_people_intelligence",
            "Start a job that enriches one person",
            "JobStarted",
        ),
        person(
            paths::ENRICH_LEAD_ASYNC,
            "start_enrich_lead",
            "Start a job that enriches one person; the former path",
            "JobStarted",
        ),
        company(paths::COMPANY_INTELLIGENCE, "company_intelligence", "Enrich one company", "Intelligence"),
        company(paths::ENRICH_COMPANY, "enrich_company", "Enrich one company; the former path", "Intelligence"),
        company(
            paths::COMPANY_INTELLIGENCE_ASYNC,
            "start_company_intelligence",
            "Start a job that enriches one company",
            "JobStarted",
        ),
        company(
            paths::ENRICH_COMPANY_ASYNC,
            "start_enrich_company",
            "Start a job that enriches one company; the former path",
            "JobStarted",
        ),
        Operation {
            body: body("StartDeepSearch", true),
            ..post(
                paths::START_DEEP_SEARCH,
                "start_deep_search",
                "Start a search, whose rows are those of the provider",
                &[400, 413, 422, 501],
                one("DeepSearchStarted"),
            )
        },
        search_status(paths::DEEP_SEARCH_STATUS, "deep_search_status"),
        search_status(paths::SEARCH_STATUS, "search_status"),
        Operation {
            body: body("StartInteractive", true),
            ..post(
                paths::START_INTERACTIVE,
                "start_interactive",
                "Start a session of an interactive workflow with its source",
                &[400, 404, 413, 422],
                one("InteractiveStarted"),
            )
        },
        Operation {
            parameters: id_in_path("job_id"),
            body: body("AddBlock", true),
            ..post(
                paths::ADD_BLOCK,
                "add_block",
                "Add a block to a session; it runs once its parent has completed",
                &[400, 404, 413, 422],
                one("BlockAdded"),
            )
        },
        Operation {
            parameters: id_in_path("job_id"),
            ..post(
                paths::FINISH_INTERACTIVE,
                "finish_interactive",
                "End a session, which then takes no more blocks",
                &[404],
                one("InteractiveFinished"),
            )
        },
        Operation {
            parameters: id_in_path("job_id"),
            ..get(
                paths::INTERACTIVE_STATE,
                "interactive_state",
                "Get the state of a session",
                &[404],
                one("LiveStatus"),
            )
        },
        Operation {
            parameters: {
                let mut parameters = id_in_path("job_id");
                parameters.push(parameter("query", "block_id", true, text(), "Id of a completed block"));
                parameters
            },
            ..get(
                paths::INTERACTIVE_OUTPUT,
                "interactive_output",
                "Get the handle of a block's rows",
                &[400, 404, 422],
                one("BlockOutput"),
            )
        },
        Operation {
            parameters: id_in_path("job_id"),
            body: body("SaveInteractive", true),
            ..post(
                paths::SAVE_INTERACTIVE,
                "save_interactive",
                "Save the chain that ends in a block as a workflow",
                &[400, 404, 413, 422],
                one("Workflow"),
            )
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
