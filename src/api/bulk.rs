//! Wire types of Bulk Intelligence, which enriches every row of a file in one job. A job is a run, under another name
//! and with another status response.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::lenient::lenient;
use super::{DownloadLink, RunId, routes};

/// The kind of entity that each row of a bulk job describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkKind {
    /// One person per row.
    People,
    /// One company per row.
    Company,
}

impl BulkKind {
    /// Returns the path that starts a job of this kind.
    pub fn path(self) -> &'static str {
        match self {
            BulkKind::People => routes::BULK_PEOPLE,
            BulkKind::Company => routes::BULK_COMPANY,
        }
    }

    /// Returns the last segment of that path: `people` or `company`.
    pub fn as_str(self) -> &'static str {
        match self {
            BulkKind::People => "people",
            BulkKind::Company => "company",
        }
    }
}

/// Response to the start of a bulk job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct BulkStarted {
    /// Id of the job, which is also the id of its run.
    pub task_id: RunId,
    /// Always `RUNNING`, in upper case in this response only.
    #[serde(default, deserialize_with = "lenient")]
    #[cfg_attr(feature = "serve", schema(required))]
    pub status: String,
    /// Number of rows in the file; null for a repeated start with the same idempotency key.
    #[serde(default, deserialize_with = "lenient")]
    pub row_count: Option<u64>,
    /// Estimated cost in cents; null if `cost_units` is `credits`.
    #[serde(default, deserialize_with = "lenient")]
    pub estimated_cost_cents: Option<f64>,
    /// Estimated cost in credits; null unless `cost_units` is `credits`.
    #[serde(default, deserialize_with = "lenient")]
    pub estimated_cost_credits: Option<f64>,
    /// True if an earlier request with the same idempotency key started this job; null otherwise.
    #[serde(default, deserialize_with = "lenient")]
    pub already_started: Option<bool>,
}

/// Response of `job-status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct JobStatus {
    /// State: running, completed, failed, cancelled, terminated, continued_as_new, timed_out; an open set.
    pub status: String,
    /// Id of the job.
    pub id: RunId,
    /// Opaque id of the service for this execution of the job; not a run id of the Workflows API.
    pub run_id: String,
    /// Time of the start, ISO 8601.
    pub start_time: String,
    /// Time of completion, ISO 8601; absent before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_time: Option<String>,
    /// Result of a job without a file; jobs over files have `results` instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Links to the result files, one per block; absent before completion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<Vec<DownloadLink>>,
    /// Charged credits; absent before completion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge_amount: Option<f64>,
}
