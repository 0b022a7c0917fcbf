//! Wire types around outgoing webhooks.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{RunId, WorkflowId};

/// What is known of an organisation's signing secret. Its text is never told again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct SigningSecretInfo {
    /// True if deliveries are signed.
    pub has_secret: bool,
    /// The secret's first characters, to tell it from others.
    #[serde(default)]
    pub secret_prefix: Option<String>,
    /// ISO 8601.
    #[serde(default)]
    pub created_at: Option<String>,
    /// Until when the secret before this one signs too; ISO 8601.
    #[serde(default)]
    pub previous_expires_at: Option<String>,
}

/// A new signing secret: the only answer that tells its text.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct NewSigningSecret {
    /// `sk_whsec_` and 64 hexadecimal digits; all of it is the key.
    pub secret: String,
    /// ISO 8601.
    pub created_at: String,
    /// Until when the secret before this one signs too; ISO 8601.
    #[serde(default)]
    pub previous_expires_at: Option<String>,
}

impl std::fmt::Debug for NewSigningSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewSigningSecret").field("created_at", &self.created_at).finish_non_exhaustive()
    }
}

/// Body of the rotation of a signing secret.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "serve", derive(utoipa::ToSchema))]
pub struct RollSigningSecret {
    /// Hours for which the old secret signs too: 0 to 72, 24 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "serve", schema(minimum = 0, maximum = 72))]
    pub expire_overlap_hours: Option<i64>,
}

/// What the `outgoing_webhook` block sends, once per run.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct WebhookEvent {
    /// The event; the same in every attempt to deliver it.
    pub event_id: String,
    /// `outgoing_webhook.completed`.
    pub event_type: String,
    /// The run.
    pub run_id: RunId,
    /// Its workflow.
    pub workflow_id: WorkflowId,
    /// The rows, if they are few.
    pub results: Option<Vec<Map<String, Value>>>,
    /// Number of rows.
    pub row_count: u64,
    /// A signed link to the rows where they are too many to stand here.
    pub results_download_url: Option<String>,
}

/// What the end of a bulk job with a `webhook_url` sends.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct JobEvent {
    /// The job.
    pub task_id: RunId,
    /// `completed` or `failed`.
    pub status: String,
    /// What kind of job it is.
    pub task_type: String,
    /// What it came to, where it completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
