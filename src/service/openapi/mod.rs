//! The service's OpenAPI 3.1 description: schemas derived from the wire types, operations from one table. The tests
//! validate every response of the service against it. It describes the service and does not drive it: the routes are
//! in `routes::router`.

mod operations;

use serde_json::{Map, Value, json};
use utoipa::ToSchema;

use self::operations::{operations, reference};
use super::bulk;
use super::schedule_bodies::{CreateSchedule, UpdateSchedule};
use super::schedules::Schedule;
use crate::api::routes as paths;
use crate::api::{
    AddBlock, Balance, BlockAdded, BlockDescription, BlockOutput, BulkKind, BulkStarted, CancelRun, CreateWorkflow,
    DeepSearchStarted, DeepSearchStatus, DownloadLink, Intelligence, InteractiveFinished, InteractiveStarted,
    JobStarted, JobStatus, LiveStatus, NewSigningSecret, RollSigningSecret, Run, RunCancelled, RunStarted, RunWorkflow,
    SaveInteractive, SearchDownload, SigningSecretInfo, StartDeepSearch, StartInteractive, UpdateWorkflow, Uploaded,
    ValidationError, Workflow,
};

/// Types that occur in responses only. The service writes all their fields, absent values as null, so all are required.
const RESPONSE_TYPES: [&str; 23] = [
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
    "JobStarted",
    "DeepSearchStarted",
    "DeepSearchStatus",
    "InteractiveStarted",
    "InteractiveFinished",
    "BlockAdded",
    "BlockOutput",
];

/// Text fields with a timestamp, which get `format: date-time`.
const TIMESTAMPS: [(&str, &[&str]); 3] = [
    ("Schedule", &["created_at", "updated_at", "next_run_at", "last_run_at"]),
    ("Workflow", &["created_at", "updated_at", "last_run_date"]),
    ("Run", &["created_at", "updated_at", "queued_at", "started_at", "completed_at"]),
];

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
    add::<Intelligence>(&mut schemas);
    add::<JobStarted>(&mut schemas);
    add::<StartDeepSearch>(&mut schemas);
    add::<DeepSearchStarted>(&mut schemas);
    add::<DeepSearchStatus>(&mut schemas);
    add::<StartInteractive>(&mut schemas);
    add::<InteractiveStarted>(&mut schemas);
    add::<AddBlock>(&mut schemas);
    add::<BlockAdded>(&mut schemas);
    add::<InteractiveFinished>(&mut schemas);
    add::<BlockOutput>(&mut schemas);
    add::<SaveInteractive>(&mut schemas);
    for kind in [BulkKind::People, BulkKind::Company] {
        let (name, schema) = single_request(kind);
        schemas.insert(name.to_owned(), schema);
    }
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
    constrain(&mut schemas, "RunWorkflow", "webhook_payload", "anyOf", rows.clone());
    constrain(&mut schemas, "StartInteractive", "webhook_payload", "anyOf", rows);
    constrain(&mut schemas, "StartDeepSearch", "mode", "enum", json!(["people", "company", null]));
    constrain(&mut schemas, "StartDeepSearch", "output_mode", "enum", json!(["csv", null]));
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

/// Returns the name and the schema of the body of a request about one person or company, which are the settings of a bulk job
/// with the row itself.
fn single_request(kind: BulkKind) -> (&'static str, Value) {
    let (name, row, text) = match kind {
        BulkKind::People => ("PeopleIntelligence", "lead_info", "What is known of the person, by column"),
        BulkKind::Company => ("CompanyIntelligence", "target_company", "What is known of the company, by column"),
    };
    let described = json!({
        "type": "object",
        "properties": { "description": { "type": "string" }, "type": { "type": "string" } },
    });
    let fields = json!({ "anyOf": [{ "type": "string" }, described] });
    let is_company = kind == BulkKind::Company;
    let mut properties = json!({
        "struct": {
            "type": if is_company { json!("object") } else { json!(["object", "null"]) },
            "additionalProperties": fields,
            "description": "Fields to find: for each a description, or an object with description and type",
        },
        "research_plan": { "type": ["string", "null"], "description": "Plan of the research, for an endpoint" },
        "tier": { "enum": bulk::tiers(kind), "description": "Tier of the research, for an endpoint" },
        "field_confidence": { "type": ["boolean", "null"], "description": "Whether each field has a confidence" },
        "webhook_url": {
            "type": ["string", "null"], "format": "uri",
            "description": "URL that gets the result of a job that is not waited for",
        },
    });
    properties[row] = json!({ "type": "object", "description": text });
    let mut required = vec![row];
    if is_company {
        required.push("struct");
        properties["find_people"] =
            json!({ "type": ["boolean", "null"], "description": "Whether people are found too" });
    }
    (name, json!({ "type": "object", "required": required, "properties": properties }))
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
    use super::operations::example;
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
