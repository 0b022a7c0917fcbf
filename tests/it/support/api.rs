//! A scripted Workflows API with one workflow and one run, for states that the local service cannot be brought into.

use std::sync::Arc;

use serde_json::json;

use super::http::{Answer, FailingDownload, Loopback, Request};

/// A workflow, one run of it, and the state of that run.
#[derive(Clone)]
pub struct Script {
    /// Status of the run in every response.
    pub status: &'static str,
    /// Error message of the failed block.
    pub error_message: Option<&'static str>,
    /// Rows of the final block, as NDJSON.
    pub body: Vec<u8>,
    /// `row_count` of the link.
    pub row_count: u64,
    /// Bytes after which the download is cut; see [`FailingDownload`]. Ranges are not served. `None` serves all of it.
    pub cut_at: Option<usize>,
    /// Tries of the download, if it is cut.
    pub tries: Arc<FailingDownload>,
}

/// Id of the scripted workflow.
pub const WORKFLOW_ID: &str = "8d4a7c52-90a1-4d5e-9c07-6f0d2b1f3e10";
/// Id of its run.
pub const RUN_ID: &str = "0b7cf3a4-1f7e-4c55-8a39-9e2d6f1c0a77";

impl Default for Script {
    fn default() -> Self {
        let body = b"{\"email\":\"a@x.example\",\"score\":11}\n{\"email\":\"b@x.example\",\"score\":12}\n".to_vec();
        Script { status: "completed", error_message: None, body, row_count: 2, cut_at: None, tries: Arc::default() }
    }
}

impl Script {
    /// Starts a server with the responses of this script.
    pub fn start(self) -> Loopback {
        Loopback::start(move |request| self.answer(request))
    }

    /// The response to one request.
    pub fn answer(&self, request: &Request) -> Answer {
        const THEN: &str = "2026-11-02T08:00:00Z";
        let base = format!("http://{}", request.headers.get("host").map_or("", String::as_str));
        let definition: serde_json::Value =
            serde_json::from_slice(&std::fs::read(super::testdata("workflows/webhook-leads.json")).unwrap()).unwrap();
        let workflow = json!({
            "id": WORKFLOW_ID, "name": definition["workflow_name"], "status": "ready", "step": "completed",
            "created_at": THEN, "updated_at": THEN, "workflow_definition": definition["workflow_definition"],
        });
        let block = |number: i64, name: &str, message: Option<&str>| {
            json!({
                "block_name": name, "sequence_number": number, "last_updated": THEN,
                "status": if message.is_some() { "failed" } else { "completed" },
                "error_message": message, "metrics": { "row_count": self.row_count },
            })
        };
        let run = format!("/workflows/runs/{RUN_ID}");
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/workflows") => Answer::json(&json!([workflow])),
            ("POST", "/workflows/create_workflow") => Answer::json(&workflow),
            ("GET", path) if path == format!("/workflows/{WORKFLOW_ID}") => Answer::json(&workflow),
            ("POST", "/workflows/run") => {
                Answer::json(&json!({ "status": "queued", "workflow_id": WORKFLOW_ID, "job_id": RUN_ID }))
            }
            ("POST", "/workflows/cancel") => Answer::json(&json!({ "job_id": RUN_ID, "status": "canceled" })),
            ("GET", "/workflows/runs") => Answer::json(&json!([{
                "job_id": RUN_ID, "workflow_id": WORKFLOW_ID, "workflow_name": "Webhook leads",
                "status": self.status, "error_message": self.error_message, "queued_at": THEN, "blocks_count": 2,
            }])),
            ("GET", path) if path == format!("{run}/live_status") => Answer::json(&json!({
                "run_id": RUN_ID, "workflow_id": WORKFLOW_ID, "overall_status": self.status, "last_updated": THEN,
                "total_blocks": 2, "completed_blocks": 1, "overall_progress_percentage": 50.0,
                "blocks": [block(1, "webhook", None), block(2, "filter", self.error_message)],
            })),
            ("GET", path) if path == format!("{run}/results/download-links") => {
                let ndjson = request.query.contains("format=ndjson");
                let (extension, content_type) =
                    if ndjson { ("ndjson", "application/x-ndjson") } else { ("csv", "text/csv") };
                Answer::json(&json!([{
                    "filename": format!("block_2_filter.{extension}"), "storage_bucket": "workflow-results",
                    "row_count": self.row_count, "block_number": 2, "content_type": content_type,
                    "download_url": format!("{base}/files/block_2_filter.{extension}?sig=marked-signature"),
                    "download_expires_in_seconds": 900,
                }]))
            }
            ("GET", "/files/block_2_filter.ndjson") => {
                let whole = Answer::bytes("application/x-ndjson", self.body.clone());
                match self.cut_at {
                    Some(_) => self.tries.answer(Answer { cut_at: self.cut_at, ..whole }),
                    None => whole,
                }
            }
            ("GET", "/files/block_2_filter.csv") => {
                Answer::bytes("text/csv", "email,score\na@x.example,11\nb@x.example,12\n")
            }
            _ => Answer::error(404, "Not found"),
        }
    }
}
