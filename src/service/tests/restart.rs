//! State after a graceful stop and after a crash.

use chrono::Utc;
use serde_json::{Value, json};
use uuid::Uuid;

use super::Local;
use crate::api::{RunId, RunStatus, WorkflowId};
use crate::service::blocks::RowType;
use crate::service::rows::{BlockRow, BlockStatus, FileRow, ResultFormat, RunRow};
use crate::service::store::Store;

/// Returns a run with one completed block, whose file has `content`, and one running block.
pub(super) fn run_with_file(id: &str, status: RunStatus, content: &[u8]) -> RunRow {
    let now = Utc::now();
    let block = |number: i64, status: BlockStatus| BlockRow {
        block_id: Uuid::new_v4().to_string(),
        block_name: "webhook".to_owned(),
        sequence_number: number,
        previous_block_ids: Vec::new(),
        rows: RowType::Lead,
        status,
        started_at: Some(now),
        completed_at: None,
        updated_at: now,
        processed: 2,
        total: Some(2),
        row_count: 2,
        fraction: 0.0,
        note: None,
        error_message: None,
        files: Vec::new(),
        results: None,
    };
    let mut first = block(1, BlockStatus::Completed);
    first.files.push(FileRow {
        format: ResultFormat::Csv,
        filename: "block_1_webhook.csv".to_owned().try_into().unwrap(),
        size_bytes: content.len() as u64,
        rows: 2,
        created_at: now,
        etag: "\"tag-1\"".to_owned(),
    });
    RunRow {
        id: RunId(id.to_owned()),
        workflow_id: WorkflowId("w".to_owned()),
        workflow_name: "W".to_owned(),
        status,
        status_reason: None,
        error_message: None,
        queued_at: now,
        updated_at: now,
        started_at: Some(now),
        completed_at: None,
        formats: vec![ResultFormat::Csv],
        is_single: false,
        blocks: vec![first, block(2, BlockStatus::Running)],
    }
}

/// Writes a run, its file and a partial file into a data directory that no service has open.
pub(super) fn plant(data: &std::path::Path, run: &RunRow, content: &[u8]) {
    let dir = data.join("runs").join(&run.id.0);
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("block_1_webhook.csv"), content).unwrap();
    std::fs::write(dir.join("block_2_webhook.csv.partial"), "half").unwrap();
    Store::open(data, Utc::now()).unwrap().start_run(run, None, None).unwrap();
}

#[tokio::test]
async fn runs_interrupted_by_a_crash_have_failed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let id = Uuid::new_v4().to_string();
    plant(&data, &run_with_file(&id, RunStatus::Running, b"a\n1\n2\n"), b"a\n1\n2\n");
    let orphan = data.join("runs").join(Uuid::new_v4().to_string());
    std::fs::create_dir_all(&orphan).unwrap();
    let not_ours = data.join("runs").join("notes");
    std::fs::create_dir_all(&not_ours).unwrap();
    std::fs::create_dir_all(data.join("uploads")).unwrap();
    let half_upload = data.join("uploads").join(".partial-x1");
    std::fs::write(&half_upload, "a,b").unwrap();

    let local = Local::start_in(dir, |_| {}).await;
    let status = local.status(&id).await;
    assert_eq!(status["overall_status"], "failed");
    assert_eq!(status["blocks"][0]["status"], "completed");
    assert_eq!(status["blocks"][1]["status"], "failed");
    assert_eq!(status["blocks"][1]["error_message"], "the service stopped before the run ended");
    let runs = local.get("/workflows/runs").await.ok();
    assert_eq!(runs[0]["status_reason"], "interrupted");
    assert_ne!(runs[0]["error_message"], Value::Null);
    // The completed block keeps its file; the partial file is removed.
    let links = local.links(&id, "csv").await;
    assert_eq!(links.len(), 1);
    assert_eq!(local.fetch(&links[0]).await, "a\n1\n2\n");
    assert!(!data.join("runs").join(&id).join("block_2_webhook.csv.partial").exists());
    assert!(!orphan.exists() && !half_upload.exists() && not_ours.exists());
}

#[tokio::test]
async fn all_state_persists_over_a_restart() {
    let local = Local::start().await;
    let workflow = local.chain(&[("webhook", json!({}))]).await;
    let handle = local.upload("a.csv", "a\n1\n").await;
    let run = local.run(&workflow, "&result_formats=ndjson", json!({ "webhook_payload": [{ "a": 1 }] })).await;
    let status = local.completed(&run).await;
    let old_link = local.links(&run, "ndjson").await.remove(0);
    let dir = local.stop().await;

    let local = Local::start_in(dir, |_| {}).await;
    local.get(&format!("/workflows/{workflow}")).await.ok();
    assert_eq!(local.status(&run).await, status);
    assert_eq!(local.rows(&run).await, [json!({ "a": 1 })]);
    // The data directory keeps its secret, so a link stays valid with the new port.
    let path = old_link["download_url"].as_str().unwrap().splitn(4, '/').last().unwrap();
    let url = format!("{}/{path}", local.service.base_url());
    assert_eq!(local.client.get(url).send().await.unwrap().status(), 200);
    let csv = local.chain(&[("read_csv", json!({ "resource_handle_id": handle }))]).await;
    let run = local.run(&csv, "", Value::Null).await;
    local.completed(&run).await;
}

#[tokio::test]
async fn queued_runs_start_after_a_restart() {
    let local = Local::start_with(|config| config.max_runs = 1).await;
    let payload = local.chain(&[("webhook", json!({})), ("deduplicate", json!({}))]).await;
    let handle = local.upload("a.csv", "a\n1\n2\n").await;
    let upload = local.chain(&[("read_csv", json!({}))]).await;
    let permit = local.service.engine.hold().await;
    let formats = "&result_formats=ndjson";
    let rows = json!([{ "a": 1 }, { "a": 1 }, { "a": 2 }]);
    let first = local.run(&payload, formats, json!({ "webhook_payload": rows })).await;
    let with_upload = json!({ "specs_override": { "resource_handle_id": handle } });
    let second = local.run(&upload, formats, with_upload).await;
    let cancelled = local.run(&payload, "", json!({ "webhook_payload": [] })).await;
    let cancelled_late = local.run(&payload, "", json!({ "webhook_payload": [] })).await;
    local.post(&format!("/workflows/cancel?job_id={cancelled}"), Value::Null).await.ok();
    local.service.engine.cancel_all();
    // A run that is left to the next start can still be cancelled.
    local.post(&format!("/workflows/cancel?job_id={cancelled_late}"), Value::Null).await.ok();
    // A stopping service starts no queued run, even if a permit is free.
    drop(permit);
    assert_eq!(local.status(&first).await["overall_status"], "queued");
    // A queued run keeps the definition that it was started with.
    local.post(&format!("/workflows/delete_workflow?workflow_id={payload}"), Value::Null).await.ok();

    let local = Local::start_in(local.stop().await, |config| config.max_runs = 1).await;
    local.completed(&first).await;
    local.completed(&second).await;
    assert_eq!(local.rows(&first).await, [json!({ "a": 1 }), json!({ "a": 2 })]);
    assert_eq!(local.rows(&second).await.len(), 2);
    let runs = local.get("/workflows/runs").await.ok();
    for (run, id) in runs.as_array().unwrap().iter().zip([&cancelled_late, &cancelled]) {
        assert_eq!((&run["job_id"], &run["status"]), (&json!(id), &json!("cancelled")));
        assert_eq!(run["status_reason"], "cancelled_by_request");
    }
    assert_eq!(runs.as_array().unwrap().len(), 4, "no run was started twice");

    // A further restart finds no queued run.
    let ended = local.status(&first).await["completed_at"].clone();
    let local = Local::start_in(local.stop().await, |_| {}).await;
    assert_eq!(local.status(&first).await["completed_at"], ended);
}
