//! Wire types.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A run's id. The wire says `job_id` where it starts, lists and cancels, `run_id` elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct RunId(pub String);

/// A workflow's id: a UUID in practice, opaque to a client.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct WorkflowId(pub String);

/// What an upload returned; a source block takes it as `resource_handle_id`.
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

/// A workflow; `workflow_definition` only in answers about one workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Workflow {
    /// Its id.
    pub id: WorkflowId,
    /// Owner, if known.
    #[serde(default)]
    pub user_uuid: Option<String>,
    /// Organisation, if known.
    #[serde(default)]
    pub org_id: Option<String>,
    /// Name; not unique.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: Option<String>,
    /// An open set: `ready`, `draft`, `active` are seen.
    pub status: String,
    /// Step of the vendor's builder, such as `completed`.
    pub step: String,
    /// ISO 8601.
    pub created_at: String,
    /// ISO 8601.
    pub updated_at: String,
    /// ISO 8601.
    #[serde(default)]
    pub last_run_date: Option<String>,
    /// The graph, in answers about one workflow.
    #[serde(default)]
    pub workflow_definition: Option<Graph>,
}

/// A workflow's blocks and the edges between them: a directed graph without cycles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Graph {
    /// In any order: execution follows the edges.
    pub blocks: Vec<Block>,
    /// Which block feeds which.
    pub edges: Vec<Edge>,
}

/// One step of a workflow. `block_name` decides what it does; `block_type` is a category.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Block {
    /// Its number; examples start at 1.
    pub sequence_number: i64,
    /// A category in the vendor's words; any string.
    pub block_type: String,
    /// What the block does: `read_csv`, `filter`, ...
    pub block_name: String,
    /// Its id. The server replaces ids that are not UUIDs, and the edges with them.
    #[serde(default)]
    pub block_id: Option<String>,
    /// The block's own settings.
    #[cfg_attr(feature = "serve", schema(value_type = Object))]
    pub specs: Map<String, Value>,
}

/// One edge of the graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Edge {
    /// Block whose rows flow.
    pub from_block_id: String,
    /// Block that gets them.
    pub to_block_id: String,
    /// Reserved by the vendor; stored and echoed, without meaning.
    #[serde(default)]
    pub condition: Option<String>,
}

/// Body of `create_workflow`; also the shape of a definition file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct CreateWorkflow {
    /// An id made by the client; one that exists is refused with 409.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<WorkflowId>,
    /// Name.
    pub workflow_name: String,
    /// What it is for.
    pub workflow_description: String,
    /// The graph.
    pub workflow_definition: Graph,
}

/// Body of `update_workflow`; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct UpdateWorkflow {
    /// New name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_name: Option<String>,
    /// New description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_description: Option<String>,
    /// New graph, whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow_definition: Option<Graph>,
}

/// Body of `run`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct RunWorkflow {
    /// Laid over the source block's specs for this run only (one level deep; our reading).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "serve", schema(value_type = Option<Object>))]
    pub specs_override: Option<Map<String, Value>>,
    /// Rows for a `webhook` source: an array of objects, or one object for one row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook_payload: Option<Value>,
}

/// Answer of `run`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct RunStarted {
    /// `queued` as a rule.
    pub status: String,
    /// The workflow.
    pub workflow_id: WorkflowId,
    /// The run.
    pub job_id: RunId,
    /// Unused by the vendor's public material; echoed.
    #[serde(default)]
    pub cache_config: Option<Value>,
    /// True when the idempotency key had started this run before.
    #[serde(default)]
    pub already_started: Option<bool>,
}

/// The state of a run, read without regard to case or spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunStatus {
    /// Accepted, not yet going.
    Queued,
    /// Going.
    Running,
    /// Ended; results are whole.
    Completed,
    /// Ended; a block's `error_message` says why.
    Failed,
    /// Ended by a cancel. Spelled `cancelled` in states, `canceled` in the answer to a cancel.
    Cancelled,
    /// Ended by a limit of the service. Terminal.
    TimedOut,
    /// A word that is not known: not terminal.
    Other(String),
}

impl RunStatus {
    /// Reads any spelling that the API uses.
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

    /// The word of lists and live status.
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

    /// True for the four states that polling stops at.
    pub fn is_terminal(&self) -> bool {
        matches!(self, RunStatus::Completed | RunStatus::Failed | RunStatus::Cancelled | RunStatus::TimedOut)
    }
}

/// One run in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Run {
    /// The run.
    pub job_id: RunId,
    /// Its workflow.
    pub workflow_id: WorkflowId,
    /// The workflow's name.
    #[serde(default = "untitled")]
    pub workflow_name: String,
    /// State: queued, running, completed, failed, cancelled, timeout; an open set.
    pub status: String,
    /// Step, if told.
    #[serde(default)]
    pub step: Option<String>,
    /// Who started it.
    #[serde(default)]
    pub user_id: Option<String>,
    /// ISO 8601.
    #[serde(default)]
    pub created_at: Option<String>,
    /// ISO 8601.
    #[serde(default)]
    pub updated_at: Option<String>,
    /// ISO 8601; lists are ordered by it, newest first.
    #[serde(default)]
    pub queued_at: Option<String>,
    /// ISO 8601.
    #[serde(default)]
    pub started_at: Option<String>,
    /// ISO 8601.
    #[serde(default)]
    pub completed_at: Option<String>,
    /// From start to end.
    #[serde(default)]
    pub duration_ms: Option<i64>,
    /// Why it is in this state.
    #[serde(default)]
    pub status_reason: Option<String>,
    /// What went wrong.
    #[serde(default)]
    pub error_message: Option<String>,
    /// Free form.
    #[serde(default)]
    pub metrics: Option<Value>,
    /// Usually null in lists.
    #[serde(default)]
    pub blocks: Option<Value>,
    /// Number of blocks.
    #[serde(default)]
    pub blocks_count: i64,
}

fn untitled() -> String {
    "Untitled Workflow".to_owned()
}

/// How far a run is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct LiveStatus {
    /// The run.
    pub run_id: RunId,
    /// Its workflow.
    pub workflow_id: WorkflowId,
    /// State: queued, running, completed, failed, cancelled, timeout; an open set.
    pub overall_status: String,
    /// Name of the block that runs.
    #[serde(default)]
    pub current_block: Option<String>,
    /// Its number.
    #[serde(default)]
    pub current_block_sequence: Option<i64>,
    /// Number of blocks.
    #[serde(default)]
    pub total_blocks: i64,
    /// Number of blocks that ended well.
    #[serde(default)]
    pub completed_blocks: i64,
    /// ISO 8601.
    #[serde(default)]
    pub started_at: Option<String>,
    /// ISO 8601.
    #[serde(default)]
    pub completed_at: Option<String>,
    /// ISO 8601.
    pub last_updated: String,
    /// Each block.
    #[serde(default)]
    pub blocks: Vec<BlockLiveStatus>,
    /// 0 to 100; 100 only at completion.
    #[serde(default)]
    pub overall_progress_percentage: f64,
    /// Name of the block that prevents a full estimate.
    #[serde(default)]
    pub estimation_blocked_by: Option<String>,
}

/// How far a block is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct BlockLiveStatus {
    /// The block.
    #[serde(default)]
    pub block_id: Option<String>,
    /// Its name.
    pub block_name: String,
    /// Its number.
    pub sequence_number: i64,
    /// The blocks that feed it.
    #[serde(default)]
    pub previous_block_ids: Option<Vec<String>>,
    /// `pending`, `running`, `completed`, `failed`.
    pub status: String,
    /// ISO 8601.
    #[serde(default)]
    pub started_at: Option<String>,
    /// ISO 8601.
    #[serde(default)]
    pub completed_at: Option<String>,
    /// 0 to 100.
    #[serde(default)]
    pub progress_percentage: f64,
    /// For people.
    #[serde(default)]
    pub current_step: Option<String>,
    /// Rows read so far.
    #[serde(default)]
    pub processed_count: i64,
    /// Rows to read, 0 while unknown.
    #[serde(default)]
    pub total_count: i64,
    /// A guess while `total_count` is unknown.
    #[serde(default)]
    pub estimated_total_count: Option<i64>,
    /// ISO 8601.
    pub last_updated: String,
    /// What went wrong.
    #[serde(default)]
    pub error_message: Option<String>,
    /// Counts.
    pub metrics: BlockMetrics,
}

/// Counts of a block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct BlockMetrics {
    /// Rows that came out.
    #[serde(default)]
    pub row_count: i64,
    /// `LEAD` or `COMPANY`.
    #[serde(default = "lead")]
    pub dataframe_type: String,
    /// Rows read.
    #[serde(default)]
    pub processed_count: Option<i64>,
    /// Rows to read.
    #[serde(default)]
    pub total_count: Option<i64>,
}

fn lead() -> String {
    "LEAD".to_owned()
}

/// Body of `cancel`; the id may come as a query parameter instead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct CancelRun {
    /// The run.
    #[serde(default)]
    pub job_id: Option<RunId>,
}

/// Answer of `cancel`; the status is spelled `canceled` here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct RunCancelled {
    /// The run.
    pub job_id: RunId,
    /// `canceled`.
    pub status: String,
}

/// A link to one block's result file.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct DownloadLink {
    /// Name of the file; never a path to trust.
    pub filename: String,
    /// Where the service keeps it.
    pub storage_bucket: String,
    /// Bytes before compression, when known.
    #[serde(default)]
    pub file_size: Option<u64>,
    /// Rows in the file; `None` where a service leaves it out, which tells nothing.
    #[serde(default)]
    pub row_count: Option<u64>,
    /// Number of the block that wrote it; the highest is the run's final result.
    #[serde(default)]
    pub block_number: Option<i64>,
    /// ISO 8601.
    #[serde(default)]
    pub created_at: Option<String>,
    /// Error or status text.
    #[serde(default)]
    pub message: Option<String>,
    /// Such as `text/csv`.
    #[serde(default)]
    pub content_type: Option<String>,
    /// The signed URL, a secret; null when signing failed.
    #[serde(default)]
    pub download_url: Option<String>,
    /// How long the URL is valid, from the answer on.
    #[serde(default = "link_life_seconds")]
    pub download_expires_in_seconds: u64,
    /// The rows themselves when the file is small; the file is the truth.
    #[serde(default)]
    #[cfg_attr(feature = "serve", schema(value_type = Option<Vec<Object>>))]
    pub results: Option<Vec<Map<String, Value>>>,
}

fn link_life_seconds() -> u64 {
    900
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

/// One entry of the catalogue of blocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct BlockDescription {
    /// The block's name.
    pub block_name: String,
    /// JSON Schema of its specs.
    pub specs_schema: Value,
}

/// Answer of an upload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Uploaded {
    /// The handle; called `resource_handle_id` when it is used.
    pub handle_id: HandleId,
}

/// One entry of a 422 answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct ValidationError {
    /// Where: strings and integers.
    pub loc: Vec<Value>,
    /// What.
    pub msg: String,
    /// Kind.
    #[serde(rename = "type")]
    pub kind: String,
    /// What was given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// More, such as the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "serve", schema(value_type = Option<Object>))]
    pub ctx: Option<Map<String, Value>>,
}

/// The text for people in an error answer, from any of the shapes that are seen: `detail` as text
/// or as a list, `error` with `message`, `error` as an object; for anything else the first 200
/// characters of the body. Empty for an empty body.
pub fn error_text(body: &str) -> String {
    let Ok(value) = serde_json::from_str::<Value>(body) else {
        return body.trim().chars().take(200).collect();
    };
    if let Some(text) = value.get("detail").and_then(Value::as_str) {
        return text.to_owned();
    }
    if let Some(list) = value.get("detail").and_then(Value::as_array) {
        let entries = list.iter().map(|entry| {
            let place: Vec<String> = entry
                .get("loc")
                .and_then(Value::as_array)
                .map(|loc| {
                    loc.iter().map(|part| part.as_str().map_or_else(|| part.to_string(), str::to_owned)).collect()
                })
                .unwrap_or_default();
            let text = entry.get("msg").and_then(Value::as_str).unwrap_or("not valid");
            if place.is_empty() { text.to_owned() } else { format!("{}: {text}", place.join(".")) }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_error_shapes_are_read() {
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
    fn states_are_read_in_every_spelling() {
        assert_eq!(RunStatus::parse("RUNNING"), RunStatus::Running);
        assert_eq!(RunStatus::parse("canceled"), RunStatus::Cancelled);
        assert!(RunStatus::parse("timeout").is_terminal());
        assert!(!RunStatus::parse("paused").is_terminal());
    }
}
