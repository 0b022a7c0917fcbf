//! Wire types of workflows, runs, uploads and results, and the text of an error response in any of its shapes.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use super::lenient::{decisive_number, lenient, lenient_list, read};

/// Id of a run. On the wire it is `job_id` in starts, lists and cancels, `run_id` elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct RunId(pub String);

/// Id of a workflow: a UUID in practice, opaque to a client. Empty where a response lacks it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct WorkflowId(pub String);

/// Handle of an uploaded file, which a source block takes as `resource_handle_id`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct HandleId(pub String);

macro_rules! display_as_inner {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    )*};
}
display_as_inner!(RunId, WorkflowId, HandleId);

/// A workflow; `workflow_definition` is null in lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Workflow {
    /// Id of the workflow.
    pub id: WorkflowId,
    /// UUID of the owner; null if unknown.
    #[serde(default, deserialize_with = "lenient")]
    pub user_uuid: Option<String>,
    /// Id of the organisation; null if unknown.
    #[serde(default, deserialize_with = "lenient")]
    pub org_id: Option<String>,
    /// Name for display; not unique.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "serve", schema(required))]
    pub name: String,
    /// Description of its purpose.
    #[serde(default, deserialize_with = "lenient")]
    pub description: Option<String>,
    /// State of the definition; an open set, with `ready`, `draft` and `active` among it.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "serve", schema(required))]
    pub status: String,
    /// Step of the vendor's builder, such as `completed`.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "serve", schema(required))]
    pub step: String,
    /// Time of creation, ISO 8601.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "serve", schema(required))]
    pub created_at: String,
    /// Time of the last update, ISO 8601.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "serve", schema(required))]
    pub updated_at: String,
    /// Time of the last start of a run, ISO 8601; null if there was none.
    #[serde(default, deserialize_with = "lenient")]
    pub last_run_date: Option<String>,
    /// Graph of the workflow; null in lists.
    #[serde(default)]
    pub workflow_definition: Option<Graph>,
}

/// A workflow's blocks and the edges between them: a directed graph without cycles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Graph {
    /// Blocks in any order; execution follows the edges.
    pub blocks: Vec<Block>,
    /// Edges from each block to the blocks that read its rows.
    pub edges: Vec<Edge>,
}

/// Response of `GET /check-balance`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Balance {
    /// Credits of the account.
    pub credits: f64,
}

/// Response of `GET /search/download`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct SearchDownload {
    /// Signed link to the file.
    pub url: String,
    /// Bucket of the file.
    pub bucket: String,
    /// Path of the file in its bucket.
    pub path: String,
}

/// One step of a workflow. `block_name` selects the operation; `block_type` is only a category.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Block {
    /// Number of the block for display; the vendor's examples start at 1.
    pub sequence_number: i64,
    /// Category in the vendor's terms; any text is accepted.
    pub block_type: String,
    /// Operation of the block: `read_csv`, `filter`, ...
    pub block_name: String,
    /// Id of the block. The server replaces ids that are not UUIDs, and the edges with them.
    #[serde(default)]
    pub block_id: Option<String>,
    /// Settings of the block, by the schema of its operation.
    #[cfg_attr(feature = "serve", schema(value_type = Object))]
    pub specs: Map<String, Value>,
}

/// One edge of the graph, along which all rows of a block flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Edge {
    /// Id of the block that writes the rows.
    pub from_block_id: String,
    /// Id of the block that reads the rows.
    pub to_block_id: String,
    /// Reserved by the vendor; stored and echoed, without meaning.
    #[serde(default)]
    pub condition: Option<String>,
}

/// Body of `create_workflow`; also the shape of a definition file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct CreateWorkflow {
    /// Id chosen by the client; an existing one is rejected with 409. Generated by the server if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<WorkflowId>,
    /// Name for display; not unique.
    pub workflow_name: String,
    /// Description of its purpose; may be empty.
    pub workflow_description: String,
    /// Graph of the workflow.
    pub workflow_definition: Graph,
}

/// Body of `update_workflow`; absent fields keep their values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct UpdateWorkflow {
    /// New name; absent keeps the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_name: Option<String>,
    /// New description; absent keeps the current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_description: Option<String>,
    /// New graph, which replaces the whole current one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_definition: Option<Graph>,
}

/// Body of `run`; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct RunWorkflow {
    /// Members that replace those of the source block's specs for this run only; a shallow merge (our reading).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "serve", schema(value_type = Option<Object>))]
    pub specs_override: Option<Map<String, Value>>,
    /// Rows for a `webhook` source: an array of objects, or one object for one row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_payload: Option<Value>,
}

/// Response of `run`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct RunStarted {
    /// State of the run, usually `queued`.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "serve", schema(required))]
    pub status: String,
    /// Id of the workflow.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "serve", schema(required))]
    pub workflow_id: WorkflowId,
    /// Id of the run.
    pub job_id: RunId,
    /// Not documented by the vendor; kept as it is.
    #[serde(default, deserialize_with = "lenient")]
    pub cache_config: Option<Value>,
    /// True if an earlier request with the same idempotency key started this run; null otherwise.
    #[serde(default, deserialize_with = "lenient")]
    pub already_started: Option<bool>,
}

/// State of a run, parsed from any case and any of the API's spellings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunStatus {
    /// Accepted and waiting to execute.
    Queued,
    /// Executing at least one block.
    Running,
    /// Terminal: all blocks completed and the results are complete.
    Completed,
    /// Terminal: a block failed; its `error_message` has the cause.
    Failed,
    /// Terminal: cancelled by a request. Spelled `cancelled` in states, `canceled` in the response to a cancel.
    Cancelled,
    /// Terminal: stopped by a time limit of the service.
    TimedOut,
    /// An unknown word, treated as not terminal.
    Other(String),
}

impl RunStatus {
    /// Parses any spelling that the API uses; an unknown word becomes [`RunStatus::Other`].
    pub fn parse(text: &str) -> Self {
        match text.to_ascii_lowercase().as_str() {
            "queued" => RunStatus::Queued,
            "running" => RunStatus::Running,
            "completed" => RunStatus::Completed,
            "failed" => RunStatus::Failed,
            "cancelled" | "canceled" => RunStatus::Cancelled,
            "timeout" | "timed_out" => RunStatus::TimedOut,
            _ => RunStatus::Other(text.to_owned()),
        }
    }

    /// Returns the word used in lists and in `live_status`.
    pub fn as_str(&self) -> &str {
        match self {
            RunStatus::Queued => "queued",
            RunStatus::Running => "running",
            RunStatus::Completed => "completed",
            RunStatus::Failed => "failed",
            RunStatus::Cancelled => "cancelled",
            RunStatus::TimedOut => "timeout",
            RunStatus::Other(text) => text,
        }
    }

    /// Returns true for the four states at which polling stops.
    pub fn is_terminal(&self) -> bool {
        matches!(self, RunStatus::Completed | RunStatus::Failed | RunStatus::Cancelled | RunStatus::TimedOut)
    }
}

/// A run as an entry of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Run {
    /// Id of the run.
    pub job_id: RunId,
    /// Id of its workflow.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "serve", schema(required))]
    pub workflow_id: WorkflowId,
    /// Name of the workflow at the start of the run.
    #[serde(default = "untitled", deserialize_with = "name_or_untitled")]
    pub workflow_name: String,
    /// State: queued, running, completed, failed, cancelled, timeout; an open set.
    pub status: String,
    /// Current step of the vendor's execution; null if unknown.
    #[serde(default, deserialize_with = "lenient")]
    pub step: Option<String>,
    /// Id of the user that started the run; null if unknown.
    #[serde(default, deserialize_with = "lenient")]
    pub user_id: Option<String>,
    /// Time of creation, ISO 8601.
    #[serde(default, deserialize_with = "lenient")]
    pub created_at: Option<String>,
    /// Time of the last change, ISO 8601.
    #[serde(default, deserialize_with = "lenient")]
    pub updated_at: Option<String>,
    /// Time of queueing, ISO 8601; lists are ordered by it, newest first.
    #[serde(default, deserialize_with = "lenient")]
    pub queued_at: Option<String>,
    /// Time when execution started, ISO 8601; null while queued.
    #[serde(default, deserialize_with = "lenient")]
    pub started_at: Option<String>,
    /// Time when the run ended, ISO 8601; null while active.
    #[serde(default, deserialize_with = "lenient")]
    pub completed_at: Option<String>,
    /// Time from start to end of execution; null while active.
    #[serde(default, deserialize_with = "lenient")]
    pub duration_ms: Option<i64>,
    /// Reason of the state, as one word.
    #[serde(default, deserialize_with = "lenient")]
    pub status_reason: Option<String>,
    /// Error of a failed run, for people.
    #[serde(default, deserialize_with = "lenient")]
    pub error_message: Option<String>,
    /// Counts in a form that the API does not specify.
    #[serde(default, deserialize_with = "lenient")]
    pub metrics: Option<Value>,
    /// Blocks of the run; usually null in lists.
    #[serde(default, deserialize_with = "lenient")]
    pub blocks: Option<Value>,
    /// Number of blocks in the run's graph.
    #[serde(default, deserialize_with = "lenient")]
    pub blocks_count: i64,
}

fn untitled() -> String {
    "Untitled Workflow".to_owned()
}

fn name_or_untitled<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(read(from)?.unwrap_or_else(untitled))
}

/// State and progress of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct LiveStatus {
    /// Id of the run.
    pub run_id: RunId,
    /// Id of its workflow.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "serve", schema(required))]
    pub workflow_id: WorkflowId,
    /// State: queued, running, completed, failed, cancelled, timeout; an open set.
    pub overall_status: String,
    /// Name of the running block; null if none is running.
    #[serde(default, deserialize_with = "lenient")]
    pub current_block: Option<String>,
    /// Sequence number of the running block; null if none is running.
    #[serde(default, deserialize_with = "lenient")]
    pub current_block_sequence: Option<i64>,
    /// Number of blocks in the run's graph.
    #[serde(default, deserialize_with = "lenient")]
    pub total_blocks: i64,
    /// Number of completed blocks.
    #[serde(default, deserialize_with = "lenient")]
    pub completed_blocks: i64,
    /// Time when execution started, ISO 8601; null while queued.
    #[serde(default, deserialize_with = "lenient")]
    pub started_at: Option<String>,
    /// Time when the run ended, ISO 8601; null while active.
    #[serde(default, deserialize_with = "lenient")]
    pub completed_at: Option<String>,
    /// Time of the last change, ISO 8601.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "serve", schema(required))]
    pub last_updated: String,
    /// State of each block.
    #[serde(default, deserialize_with = "lenient_list")]
    pub blocks: Vec<BlockLiveStatus>,
    /// Progress from 0 to 100; 100 only at completion.
    #[serde(default, deserialize_with = "lenient")]
    pub overall_progress_percentage: f64,
    /// Name of the block that prevents a full estimate.
    #[serde(default, deserialize_with = "lenient")]
    pub estimation_blocked_by: Option<String>,
}

/// State and progress of one block of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct BlockLiveStatus {
    /// Id of the block.
    #[serde(default, deserialize_with = "lenient")]
    pub block_id: Option<String>,
    /// Operation of the block: `read_csv`, `filter`, ...
    pub block_name: String,
    /// Number of the block in the workflow's definition.
    pub sequence_number: i64,
    /// Ids of the blocks whose rows it reads.
    #[serde(default, deserialize_with = "lenient")]
    pub previous_block_ids: Option<Vec<String>>,
    /// State: `pending`, `running`, `completed` or `failed`.
    pub status: String,
    /// Time when the block started, ISO 8601; null while pending.
    #[serde(default, deserialize_with = "lenient")]
    pub started_at: Option<String>,
    /// Time when the block ended, ISO 8601; null before.
    #[serde(default, deserialize_with = "lenient")]
    pub completed_at: Option<String>,
    /// Progress from 0 to 100; 100 only at completion.
    #[serde(default, deserialize_with = "lenient")]
    pub progress_percentage: f64,
    /// Progress or note on the result, for people.
    #[serde(default, deserialize_with = "lenient")]
    pub current_step: Option<String>,
    /// Rows read so far.
    #[serde(default, deserialize_with = "lenient")]
    pub processed_count: i64,
    /// Rows to read; 0 while unknown.
    #[serde(default, deserialize_with = "lenient")]
    pub total_count: i64,
    /// Estimate of the rows to read while `total_count` is unknown.
    #[serde(default, deserialize_with = "lenient")]
    pub estimated_total_count: Option<i64>,
    /// Time of the last change, ISO 8601.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "serve", schema(required))]
    pub last_updated: String,
    /// Error of a failed block, for people.
    #[serde(default, deserialize_with = "lenient")]
    pub error_message: Option<String>,
    /// Row counts and row type of the block.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "serve", schema(required))]
    pub metrics: BlockMetrics,
}

/// Row counts and row type of a block.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct BlockMetrics {
    /// Number of rows written.
    #[serde(default, deserialize_with = "lenient")]
    pub row_count: i64,
    /// Type of the rows: `LEAD` or `COMPANY`.
    #[serde(default = "lead", deserialize_with = "type_or_lead")]
    pub dataframe_type: String,
    /// Number of rows read; null until the block has read any.
    #[serde(default, deserialize_with = "lenient")]
    pub processed_count: Option<i64>,
    /// Number of rows to read; null until the block has read any.
    #[serde(default, deserialize_with = "lenient")]
    pub total_count: Option<i64>,
}

fn lead() -> String {
    "LEAD".to_owned()
}

fn type_or_lead<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(read(from)?.unwrap_or_else(lead))
}

/// Body of `cancel`; the id may be a query parameter instead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct CancelRun {
    /// Id of the run to cancel.
    #[serde(default)]
    pub job_id: Option<RunId>,
}

/// Response of `cancel`, the only one that spells the state `canceled`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct RunCancelled {
    /// Id of the run.
    pub job_id: RunId,
    /// Always `canceled`, with one l.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "serve", schema(required))]
    pub status: String,
}

/// A link to one block's result file.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct DownloadLink {
    /// Name of the file; not safe to use as a path.
    pub filename: String,
    /// Storage bucket of the service that holds the file.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "serve", schema(required))]
    pub storage_bucket: String,
    /// Size in bytes before compression; null if unknown.
    #[serde(default, deserialize_with = "lenient")]
    pub file_size: Option<u64>,
    /// Rows in the file; null if unknown.
    #[serde(default, deserialize_with = "lenient")]
    pub row_count: Option<u64>,
    /// Number of the block that wrote the file; the highest is the final result of the run.
    #[serde(default, deserialize_with = "decisive_number")]
    pub block_number: Option<i64>,
    /// Time of creation, ISO 8601.
    #[serde(default, deserialize_with = "lenient")]
    pub created_at: Option<String>,
    /// Error or note on the result, for people.
    #[serde(default, deserialize_with = "lenient")]
    pub message: Option<String>,
    /// Media type, such as `text/csv`.
    #[serde(default, deserialize_with = "lenient")]
    pub content_type: Option<String>,
    /// Signed URL of the file, a secret; null if signing failed.
    #[serde(default, deserialize_with = "lenient")]
    pub download_url: Option<String>,
    /// Lifetime of the URL in seconds, from the time of the response.
    #[serde(default = "link_life_seconds", deserialize_with = "life_or_usual")]
    pub download_expires_in_seconds: u64,
    /// Rows of a small file, as a convenience; the file is authoritative.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "serve", schema(value_type = Option<Vec<Object>>))]
    pub results: Option<Vec<Map<String, Value>>>,
}

fn link_life_seconds() -> u64 {
    900
}

fn life_or_usual<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    Ok(read(from)?.unwrap_or_else(link_life_seconds))
}

impl fmt::Debug for DownloadLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL is a secret and the rows are personal data.
        f.debug_struct("DownloadLink")
            .field("filename", &self.filename)
            .field("row_count", &self.row_count)
            .field("block_number", &self.block_number)
            .finish_non_exhaustive()
    }
}

/// A block type that workflows can use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct BlockDescription {
    /// Name of the operation, the `block_name` of blocks.
    pub block_name: String,
    /// JSON Schema of the block's specs.
    pub specs_schema: Value,
}

/// Response of an upload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Uploaded {
    /// Handle of the file, to be used as `resource_handle_id` of a source block.
    pub handle_id: HandleId,
}

/// One entry of a 422 response.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct ValidationError {
    /// Path to the invalid value: names of members and indexes of elements.
    pub loc: Vec<Value>,
    /// Message for people.
    pub msg: String,
    /// Kind of the error, such as `missing` or `int_parsing`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The invalid value, if the server returns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// Parameters of the message, such as the limit that was exceeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "serve", schema(value_type = Option<Object>))]
    pub ctx: Option<Map<String, Value>>,
}

/// Extracts the message of an error response, from any of the API's shapes: `detail` as text or as a list, `error` with
/// `message`, `error` as an object. Falls back to the first 200 characters of the body, so an empty body gives an
/// empty text.
pub fn error_text(body: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(body) else {
        return body.trim().chars().take(200).collect();
    };
    if let Some(text) = value.get("detail").and_then(Value::as_str) {
        return text.to_owned();
    }
    if let Some(list) = value.get("detail").and_then(Value::as_array) {
        let entries = list.iter().map(|entry| {
            let location: Vec<String> = entry
                .get("loc")
                .and_then(Value::as_array)
                .map(|loc| {
                    loc.iter().map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned)).collect()
                })
                .unwrap_or_default();
            let text = entry.get("msg").and_then(Value::as_str).unwrap_or("not valid");
            if location.is_empty() { text.to_owned() } else { format!("{}: {text}", location.join(".")) }
        });
        return entries.collect::<Vec<_>>().join("; ");
    }
    match value.get("error") {
        Some(Value::String(title)) => match value.get("message").and_then(Value::as_str) {
            Some(message) => format!("{title}: {message}"),
            None => title.clone(),
        },
        Some(Value::Object(error)) => {
            error.get("message").and_then(Value::as_str).unwrap_or("unknown error").to_owned()
        }
        _ => body.trim().chars().take(200).collect(),
    }
}

/// Members of error bodies that the API does not write, but gateways and common frameworks do: RFC 9457 (`type`, `title`,
/// `status`), Fastify, Nest and Hapi (`statusCode`), Spring (`timestamp`, `path`).
const FOREIGN_MEMBERS: [&str; 8] =
    ["type", "title", "status", "statusCode", "status_code", "timestamp", "path", "instance"];

/// Returns true if `body` has one of the shapes of the API's errors: an object with `detail` (text or an array), or with
/// the texts `error` and `message`. A gateway's page and its JSON are none. An object under `error`, which other clients
/// read as well, is none either: the APIs of several clouds write it.
pub fn is_error_body(body: &[u8]) -> bool {
    let Ok(Value::Object(fields)) = serde_json::from_slice(body) else { return false };
    if FOREIGN_MEMBERS.iter().any(|name| fields.contains_key(*name)) {
        return false;
    }
    let is_text = |name| fields.get(name).is_some_and(Value::is_string);
    is_text("detail") || fields.get("detail").is_some_and(Value::is_array) || is_text("error") && is_text("message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_bodies_of_the_api_are_told_from_those_of_a_gateway() {
        for body in
            [r#"{"detail":"Invalid API key"}"#, r#"{"detail":[]}"#, r#"{"error":"Unauthorized","message":"no key"}"#]
        {
            assert!(is_error_body(body.as_bytes()), "{body}");
        }
        for body in [
            "",
            "<html>404</html>",
            "default backend - 404",
            r#"{"message":"no Route matched"}"#,
            "[]",
            "null",
            r#"{"statusCode":404,"error":"Not Found","message":"Cannot POST /workflows/run"}"#,
            r#"{"timestamp":"2026-11-02T08:00:00Z","path":"/x","error":"Not Found","message":""}"#,
            r#"{"type":"about:blank","title":"Not Found","status":404,"detail":"no route"}"#,
            r#"{"error":{"code":404,"message":"Requested entity was not found.","status":"NOT_FOUND"}}"#,
            r#"{"error":"Not Found","message":null}"#,
        ] {
            assert!(!is_error_body(body.as_bytes()), "{body}");
        }
    }

    #[test]
    fn messages_are_extracted_from_all_error_shapes() {
        assert_eq!(error_text(r#"{"detail":"Invalid API key"}"#), "Invalid API key");
        assert_eq!(
            error_text(r#"{"detail":[{"loc":["query","limit"],"msg":"too large","type":"x"}]}"#),
            "query.limit: too large"
        );
        assert_eq!(
            error_text(r#"{"error":"Too Many Requests","message":"slow down"}"#),
            "Too Many Requests: slow down"
        );
        assert_eq!(error_text(r#"{"error":{"code":1,"message":"slow down"}}"#), "slow down");
        assert_eq!(error_text("<html>bad gateway"), "<html>bad gateway");
        assert_eq!(error_text(""), "");
    }

    #[test]
    fn states_are_parsed_from_every_spelling() {
        assert_eq!(RunStatus::parse("RUNNING"), RunStatus::Running);
        assert_eq!(RunStatus::parse("canceled"), RunStatus::Cancelled);
        assert!(RunStatus::parse("timeout").is_terminal());
        assert!(!RunStatus::parse("paused").is_terminal());
    }
}
