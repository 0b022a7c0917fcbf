//! The rows that the store keeps of runs and uploads, and their conversion to the wire types of the API. Changes of a
//! running run are the engine's; this module knows neither the database nor requests.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::blocks::RowType;
use super::clock::timestamp;
use super::stored_names::{self, Extension, ResultFile, UploadFile};
use crate::api::{BlockLiveStatus, BlockMetrics, Graph, LiveStatus, Run, RunId, RunStatus, Workflow, WorkflowId};

/// The row of a run: everything that the API returns about it, also after a restart.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct RunRow {
    #[serde(deserialize_with = "stored_names::run_id")]
    pub id: RunId,
    pub workflow_id: WorkflowId,
    /// The workflow's name when the run started.
    pub workflow_name: String,
    #[serde(serialize_with = "status_word", deserialize_with = "status_of_word")]
    pub status: RunStatus,
    /// Reason of the final state: `block_failed`, `interrupted`, `cancelled_by_request`, `service_stopped`, ...
    pub status_reason: Option<String>,
    pub error_message: Option<String>,
    pub queued_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub started_at: Option<DateTime<Utc>>,
    pub completed_at: Option<DateTime<Utc>>,
    /// Formats of the result files, CSV among them.
    pub formats: Vec<ResultFormat>,
    /// Blocks in the order of their sequence numbers.
    pub blocks: Vec<BlockRow>,
    /// True for a request about one person or company, whose job has a result and no files.
    #[serde(default)]
    pub is_single: bool,
}

/// The graph and input of a run, from which a later service can begin it if it has not ended, and a user can start another
/// one with the same input. Kept as long as the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct JobRow {
    /// Graph of the run, with the source's specs already overridden.
    pub graph: Graph,
    pub input: InputRow,
}

/// The input of the source block of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum InputRow {
    /// Rows that the start request or a notebook provided, as a file in the run's directory.
    Payload { name: String, rows: u64 },
    /// An upload: its file in the directory of uploads, and the name that the client gave it.
    Upload { file: UploadFile, name: String },
    /// No input; the block makes its rows itself, as `search` does.
    Nothing,
}

/// The state of one block of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct BlockRow {
    pub block_id: String,
    pub block_name: String,
    pub sequence_number: i64,
    pub previous_block_ids: Vec<String>,
    pub rows: RowType,
    pub status: BlockStatus,
    pub started_at: Option<DateTime<Utc>>,
    pub completed_at: Option<DateTime<Utc>>,
    pub updated_at: DateTime<Utc>,
    /// Rows read so far.
    pub processed: u64,
    /// Rows to read; `None` while unknown.
    pub total: Option<u64>,
    /// Rows written.
    pub row_count: u64,
    /// Progress from 0 to 1 while the block runs.
    pub fraction: f64,
    /// Note on the result for people, such as that no lookup was possible.
    pub note: Option<String>,
    pub error_message: Option<String>,
    /// Finished files, one per format of the run.
    pub files: Vec<FileRow>,
    /// The rows themselves if they are few.
    pub results: Option<Vec<Map<String, Value>>>,
}

/// One complete result file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FileRow {
    pub format: ResultFormat,
    pub filename: ResultFile,
    pub size_bytes: u64,
    pub rows: u64,
    pub created_at: DateTime<Utc>,
    /// Strong entity tag, generated when the file was finished; a file is never written again.
    pub etag: String,
}

/// The row of an uploaded file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct UploadRow {
    /// Name that the client gave it; used in messages only, never as a path.
    pub filename: String,
    /// Extension of that name, which decides the format.
    pub extension: Extension,
    pub size_bytes: u64,
    pub created_at: DateTime<Utc>,
}

/// A format of result files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ResultFormat {
    Csv,
    Ndjson,
    Json,
}

/// The state of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum BlockStatus {
    Pending,
    Running,
    Completed,
    Failed,
}

impl ResultFormat {
    /// Parses the name of a format, in any case; `None` if it is unknown.
    pub(super) fn parse(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "csv" => Some(ResultFormat::Csv),
            "ndjson" => Some(ResultFormat::Ndjson),
            "json" => Some(ResultFormat::Json),
            _ => None,
        }
    }

    /// Returns the name of the format, which is also the extension of its files.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            ResultFormat::Csv => "csv",
            ResultFormat::Ndjson => "ndjson",
            ResultFormat::Json => "json",
        }
    }

    /// Returns the media type. Our reading: the customary ones.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            ResultFormat::Csv => "text/csv",
            ResultFormat::Ndjson => "application/x-ndjson",
            ResultFormat::Json => "application/json",
        }
    }
}

impl BlockStatus {
    fn as_str(self) -> &'static str {
        match self {
            BlockStatus::Pending => "pending",
            BlockStatus::Running => "running",
            BlockStatus::Completed => "completed",
            BlockStatus::Failed => "failed",
        }
    }
}

impl BlockRow {
    fn is_completed(&self) -> bool {
        self.status == BlockStatus::Completed
    }

    /// Marks the block as failed with a message.
    fn fail(&mut self, message: &str, now: DateTime<Utc>) {
        self.status = BlockStatus::Failed;
        self.error_message = Some(message.to_owned());
        self.completed_at = Some(now);
        self.updated_at = now;
    }

    /// Converts the block to its entry in the response of `live_status`.
    fn live(&self) -> BlockLiveStatus {
        let done = self.status == BlockStatus::Completed;
        let started = self.status != BlockStatus::Pending && self.processed > 0 || done;
        // The wire has signed counts.
        let count = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let total = self.total.map_or(0, count);
        // A note is more useful than a count of rows, which has fields of its own.
        let current_step = match (self.status, &self.note, self.total) {
            (_, Some(note), _) => Some(note.clone()),
            (BlockStatus::Running, None, Some(total)) => Some(format!("{} of {total} rows", self.processed)),
            (BlockStatus::Running, None, None) => Some(format!("{} rows", self.processed)),
            _ => None,
        };
        BlockLiveStatus {
            block_id: Some(self.block_id.clone()),
            block_name: self.block_name.clone(),
            sequence_number: self.sequence_number,
            previous_block_ids: Some(self.previous_block_ids.clone()),
            status: self.status.as_str().to_owned(),
            started_at: self.started_at.map(timestamp),
            completed_at: self.completed_at.map(timestamp),
            progress_percentage: if done { 100.0 } else { percentage(self.fraction) },
            current_step,
            processed_count: count(self.processed),
            total_count: total,
            estimated_total_count: None,
            last_updated: timestamp(self.updated_at),
            error_message: self.error_message.clone(),
            metrics: BlockMetrics {
                row_count: count(self.row_count),
                dataframe_type: self.rows.as_str().to_owned(),
                processed_count: started.then(|| count(self.processed)),
                total_count: started.then_some(total),
            },
        }
    }
}

impl RunRow {
    /// Converts the run to the response of `live_status`.
    pub(super) fn live(&self) -> LiveStatus {
        let running = self.blocks.iter().find(|block| block.status == BlockStatus::Running);
        let completed = self.blocks.iter().filter(|block| block.status == BlockStatus::Completed).count();
        // Our reading: the completed blocks plus the fraction of the running one; 100 only at completion.
        let overall = if self.status == RunStatus::Completed {
            100.0
        } else {
            let fraction = running.map_or(0.0, |block| block.fraction);
            percentage((completed as f64 + fraction) / self.blocks.len().max(1) as f64)
        };
        LiveStatus {
            run_id: self.id.clone(),
            workflow_id: self.workflow_id.clone(),
            overall_status: self.status.as_str().to_owned(),
            current_block: running.map(|block| block.block_name.clone()),
            current_block_sequence: running.map(|block| block.sequence_number),
            total_blocks: self.blocks.len() as i64,
            completed_blocks: completed as i64,
            started_at: self.started_at.map(timestamp),
            completed_at: self.completed_at.map(timestamp),
            last_updated: timestamp(self.updated_at),
            blocks: self.blocks.iter().map(BlockRow::live).collect(),
            overall_progress_percentage: overall,
            estimation_blocked_by: running.filter(|block| block.total.is_none()).map(|block| block.block_name.clone()),
        }
    }

    /// Converts the run to an entry of a list.
    pub(super) fn listed(&self) -> Run {
        let duration = self.started_at.zip(self.completed_at).map(|(start, end)| (end - start).num_milliseconds());
        // The result of a run is that of its last block, once all are complete.
        let last = self.blocks.last().filter(|_| self.status == RunStatus::Completed);
        Run {
            job_id: self.id.clone(),
            workflow_id: self.workflow_id.clone(),
            workflow_name: self.workflow_name.clone(),
            status: self.status.as_str().to_owned(),
            step: None,
            user_id: None,
            created_at: Some(timestamp(self.queued_at)),
            updated_at: Some(timestamp(self.updated_at)),
            queued_at: Some(timestamp(self.queued_at)),
            started_at: self.started_at.map(timestamp),
            completed_at: self.completed_at.map(timestamp),
            duration_ms: duration,
            status_reason: self.status_reason.clone(),
            error_message: self.error_message.clone(),
            metrics: last.map(|block| json!({ "row_count": block.row_count })),
            blocks: None,
            blocks_count: self.blocks.len() as i64,
        }
    }

    /// Resets the run to `queued`, with no results, for a start from the beginning.
    pub(super) fn rewind(&mut self, now: DateTime<Utc>) {
        for block in &mut self.blocks {
            // Written out in full, so that a new field must be decided on here.
            *block = BlockRow {
                block_id: std::mem::take(&mut block.block_id),
                block_name: std::mem::take(&mut block.block_name),
                sequence_number: block.sequence_number,
                previous_block_ids: std::mem::take(&mut block.previous_block_ids),
                rows: block.rows,
                status: BlockStatus::Pending,
                started_at: None,
                completed_at: None,
                updated_at: now,
                processed: 0,
                total: None,
                row_count: 0,
                fraction: 0.0,
                note: None,
                error_message: None,
                files: Vec::new(),
                results: None,
            };
        }
        self.status = RunStatus::Queued;
        self.started_at = None;
        self.updated_at = now;
    }

    /// Ends the run in the final state `status`. A block that was running fails with the message `why`. If the run has
    /// failed outside of any block, the first block that could have begun has the message: that is where clients look.
    pub(super) fn end(&mut self, status: RunStatus, reason: Option<&str>, why: &str, now: DateTime<Utc>) {
        for block in self.blocks.iter_mut().filter(|block| block.status == BlockStatus::Running) {
            block.fail(why, now);
        }
        let has_failed = matches!(status, RunStatus::Failed | RunStatus::TimedOut);
        if has_failed && !self.blocks.iter().any(|block| block.error_message.is_some()) {
            let completed: HashSet<String> =
                self.blocks.iter().filter(|b| b.is_completed()).map(|b| b.block_id.clone()).collect();
            let could_begin = |block: &BlockRow| {
                !block.is_completed() && block.previous_block_ids.iter().all(|id| completed.contains(id))
            };
            match self.blocks.iter().position(could_begin) {
                Some(next) => self.blocks[next].fail(why, now),
                // All blocks have completed, and their results stay.
                None => {
                    if let Some(last) = self.blocks.last_mut() {
                        last.error_message = Some(why.to_owned());
                    }
                }
            }
        }
        self.status = status;
        self.status_reason = reason.map(str::to_owned);
        self.completed_at = Some(now);
        self.updated_at = now;
    }
}

impl Workflow {
    /// Returns a new workflow with a definition that was checked.
    pub(super) fn ready(id: &WorkflowId, name: String, description: String, definition: Graph, now: String) -> Self {
        Workflow {
            id: id.clone(),
            // A local service has neither users nor organisations.
            user_uuid: None,
            org_id: None,
            name,
            description: Some(description),
            // The vendor's builder has further states; a definition that was checked is ready.
            status: "ready".to_owned(),
            step: "completed".to_owned(),
            created_at: now.clone(),
            updated_at: now,
            last_run_date: None,
            workflow_definition: Some(definition),
        }
    }
}

/// Converts a fraction to a percentage with one decimal, at most 99.9: 100 is reserved for completion.
fn percentage(fraction: f64) -> f64 {
    ((fraction * 1000.0).round() / 10.0).clamp(0.0, 99.9)
}

fn status_word<S: Serializer>(status: &RunStatus, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(status.as_str())
}

fn status_of_word<'de, D: Deserializer<'de>>(deserializer: D) -> Result<RunStatus, D::Error> {
    String::deserialize(deserializer).map(|word| RunStatus::parse(&word))
}
