//! Wire types of outgoing webhooks: the signing secret and the events that a receiver gets.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{RunId, WorkflowId};

/// Information about an organisation's signing secret, without its text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct SigningSecretInfo {
    /// True if deliveries are signed.
    pub has_secret: bool,
    /// First characters of the secret, to tell it from others.
    #[serde(default)]
    pub secret_prefix: Option<String>,
    /// Time of creation, ISO 8601.
    #[serde(default)]
    pub created_at: Option<String>,
    /// Time until which the previous secret signs too, ISO 8601; null without one.
    #[serde(default)]
    pub previous_expires_at: Option<String>,
}

/// A new signing secret; the only response that contains its text.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct NewSigningSecret {
    /// Text of the secret: `sk_whsec_` and 64 hexadecimal digits. The HMAC key is the whole text.
    pub secret: String,
    /// Time of creation, ISO 8601.
    pub created_at: String,
    /// Time until which the previous secret signs too, ISO 8601; null without one.
    #[serde(default)]
    pub previous_expires_at: Option<String>,
}

impl std::fmt::Debug for NewSigningSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The text of the secret must not reach logs.
        f.debug_struct("NewSigningSecret").field("created_at", &self.created_at).finish_non_exhaustive()
    }
}

/// Body of the rotation of a signing secret; may be empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct RollSigningSecret {
    /// Hours for which the previous secret signs too: 0 to 72, 24 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "serve", schema(minimum = 0, maximum = 72))]
    pub expire_overlap_hours: Option<i64>,
}

/// Event that the `outgoing_webhook` block sends, once per run.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct WebhookEvent {
    /// Id of the event, the same in every delivery attempt.
    pub event_id: String,
    /// Always `outgoing_webhook.completed`.
    pub event_type: String,
    /// Id of the run.
    pub run_id: RunId,
    /// Id of its workflow.
    pub workflow_id: WorkflowId,
    /// The rows themselves if they are few; otherwise null.
    pub results: Option<Vec<Map<String, Value>>>,
    /// Number of rows, also if `results` is null.
    pub row_count: u64,
    /// Signed link to the rows if they are too many for `results`; otherwise null.
    pub results_download_url: Option<String>,
}

/// Event at the end of a bulk job with a `webhook_url`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct JobEvent {
    /// Id of the job.
    pub task_id: RunId,
    /// Final state: `completed` or `failed`.
    pub status: String,
    /// Kind of the job, in the vendor's terms.
    pub task_type: String,
    /// Result of a completed job; absent for a failed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Error of a failed job, for people; absent for a completed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
