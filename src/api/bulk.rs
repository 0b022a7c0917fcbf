//! Wire types of Bulk Intelligence: a file and a struct in, a job that is a run out.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{DownloadLink, RunId, routes};

/// What the rows of a bulk job are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BulkKind {
    /// People, one per row.
    People,
    /// Companies, one per row.
    Company,
}

impl BulkKind {
    /// Path that starts a job.
    pub fn path(self) -> &'static str {
        match self {
            BulkKind::People => routes::BULK_PEOPLE,
            BulkKind::Company => routes::BULK_COMPANY,
        }
    }

    /// The last part of that path.
    pub fn as_str(self) -> &'static str {
        match self {
            BulkKind::People => "people",
            BulkKind::Company => "company",
        }
    }
}

/// Answer to the start of a bulk job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct BulkStarted {
    /// The job; the id of a run, too.
    pub task_id: RunId,
    /// `RUNNING`, in capitals here only.
    pub status: String,
    /// Rows of the file; left out where an idempotency key had started the job before.
    #[serde(default)]
    pub row_count: Option<u64>,
    /// What it will cost, in cents.
    #[serde(default)]
    pub estimated_cost_cents: Option<f64>,
    /// What it will cost, in credits.
    #[serde(default)]
    pub estimated_cost_credits: Option<f64>,
    /// True when the idempotency key had started this job before.
    #[serde(default)]
    pub already_started: Option<bool>,
}

/// Answer of `job-status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct JobStatus {
    /// State: running, completed, failed, cancelled, terminated, continued_as_new, timed_out; an open set.
    pub status: String,
    /// The job.
    pub id: RunId,
    /// The service's own name for this try at it; opaque.
    pub run_id: String,
    /// ISO 8601.
    pub start_time: String,
    /// ISO 8601; once completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close_time: Option<String>,
    /// The result itself; jobs over files have `results`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Links to the result files, one per block; once completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub results: Option<Vec<DownloadLink>>,
    /// What was charged, in credits; once completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge_amount: Option<f64>,
}
