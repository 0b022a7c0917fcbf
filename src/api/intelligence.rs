//! Wire types of requests about one person or company, of deep searches, and of interactive workflows.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::RunId;

/// Response about one person or company.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct Intelligence {
    /// Text for people on how the data were found; empty without one.
    pub notes: String,
    /// Fields of the request's `struct` with what was found; null for a field without a value.
    #[cfg_attr(feature = "serve", schema(value_type = Object))]
    pub structured_data: Map<String, Value>,
    /// Deprecated by the vendor; always empty.
    #[cfg_attr(feature = "serve", schema(value_type = Vec<Object>))]
    pub findings: Vec<Value>,
    /// Sources by their URLs.
    #[cfg_attr(feature = "serve", schema(value_type = Object))]
    pub references: Map<String, Value>,
    /// Confidence in the data as a whole; null if it was not judged.
    pub confidence_score: Option<f64>,
    /// Confidence in each field, null for one that was not judged; only if the request asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "serve", schema(value_type = Option<Object>))]
    pub field_confidence: Option<Map<String, Value>>,
}

/// Response to the start of a job without a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct JobStarted {
    /// Id of the job, which is also the id of its run.
    pub task_id: RunId,
    /// Always `RUNNING`.
    pub status: String,
}

/// Body of `POST /search/start-deep-search`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct StartDeepSearch {
    /// Query in natural language.
    pub query: String,
    /// Kind of the rows: `people` (default) or `company`.
    pub mode: Option<String>,
    /// Greatest number of rows; 1000 when absent.
    pub max_results: Option<u64>,
    /// Key of the client that makes repeated starts return the same search.
    pub search_id: Option<String>,
    /// Kind of output: `csv` (default).
    pub output_mode: Option<String>,
}

/// Response to the start of a deep search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct DeepSearchStarted {
    /// Id of the search, which is also the id of its run.
    pub task_id: RunId,
    /// State, typically `queued`.
    pub status: String,
    /// Text for people.
    pub message: String,
}

/// State of a deep search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct DeepSearchStatus {
    /// Id of the search.
    pub task_id: RunId,
    /// State: queued, running, completed, failed.
    pub status: String,
    /// Time of the start, ISO 8601.
    pub start_time: String,
    /// Phase of the search; null if it has none.
    pub current_phase: Option<i64>,
    /// Progress as a text for people.
    pub progress_message: Option<String>,
    /// Time of the end; null before.
    pub close_time: Option<String>,
    /// Handle of the results, for `/search/download` and for a `read_csv` block; null before completion.
    pub resource_handle_id: Option<String>,
    /// Number of rows that were found; null before completion.
    pub total_results: Option<u64>,
    /// Number of rows in the file; null before completion.
    pub exported_count: Option<u64>,
    /// Reason of a failure; null without one.
    pub error: Option<String>,
    /// Id of the query, for another search; null if it has none.
    pub search_id: Option<String>,
    /// Steps of the search.
    #[cfg_attr(feature = "serve", schema(value_type = Vec<Object>))]
    pub iterations: Vec<Value>,
}

/// Body of `POST /workflows/interactive/start`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct StartInteractive {
    /// Name of the source block.
    pub block_name: String,
    /// Its specs.
    #[cfg_attr(feature = "serve", schema(value_type = Object))]
    pub specs: Map<String, Value>,
    /// Rows of a `webhook` block: a list of objects, or one object.
    pub webhook_payload: Option<Value>,
    /// Also write results as JSON.
    pub save_json: Option<bool>,
    /// Result formats besides CSV: csv, json, ndjson.
    pub result_formats: Option<Vec<String>>,
}

/// Response to the start of an interactive workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct InteractiveStarted {
    /// Id of the session, which is also the id of the run of its first block.
    pub job_id: RunId,
    /// State.
    pub status: String,
}

/// Body of `POST /workflows/interactive/{job_id}/add-block`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct AddBlock {
    /// Name of the block.
    pub block_name: String,
    /// Its specs.
    #[cfg_attr(feature = "serve", schema(value_type = Object))]
    pub specs: Map<String, Value>,
    /// Block whose rows it reads.
    pub parent_block_id: String,
}

/// Response to an added block.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct BlockAdded {
    /// False if the block cannot run.
    pub accepted: bool,
    /// Id of the block; null if it was not accepted.
    pub block_id: Option<String>,
    /// Reason why it was not accepted; null if it was.
    pub error: Option<String>,
}

/// Response to the end of an interactive workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct InteractiveFinished {
    /// State.
    pub status: String,
}

/// Output of a block of an interactive workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct BlockOutput {
    /// Id of the block.
    pub block_id: String,
    /// Handle of its rows, for `/search/download` and for a `read_csv` block.
    pub resource_handle_id: String,
    /// Number of its rows.
    pub row_count: u64,
}

/// Body of `POST /workflows/interactive/{job_id}/save`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct SaveInteractive {
    /// Last block of the chain that is saved.
    pub block_id: String,
    /// Name of the new workflow.
    pub workflow_name: String,
    /// Description of the new workflow; empty when absent.
    pub workflow_description: Option<String>,
}
