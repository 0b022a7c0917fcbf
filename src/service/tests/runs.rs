//! Runs: starts and their errors, idempotency, lists, cancels.

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{JsonResponse, Local, create};

fn csv_blocks() -> Vec<(&'static str, Value)> {
    vec![("read_csv", json!({})), ("deduplicate", json!({}))]
}

#[tokio::test]
async fn the_input_must_fit_the_source_block() {
    let local = Local::start().await;
    let csv = local.chain(&csv_blocks()).await;
    let path = format!("/workflows/run?workflow_id={csv}");
    let text = local.post(&path, json!({ "webhook_payload": [{ "a": 1 }] })).await.rejected(400);
    assert!(text.contains("this one starts with read_csv"), "{text}");
    assert!(local.post(&path, Value::Null).await.rejected(400).contains("resource_handle_id"));
    let unknown = json!({ "specs_override": { "resource_handle_id": "nope" } });
    assert!(local.post(&path, unknown).await.rejected(400).contains("no upload has the handle 'nope'"));
    let wrong = json!({ "specs_override": { "resource_handle_id": 5 } });
    assert!(local.post(&path, wrong).await.rejected(422).contains("block 1 (read_csv)"));

    let specs = json!({ "input_schema": { "email": "string", "age": { "type": "int", "required": false } } });
    let webhook = local.chain(&[("webhook", specs)]).await;
    let path = format!("/workflows/run?workflow_id={webhook}");
    assert!(local.post(&path, Value::Null).await.rejected(400).contains("webhook_payload"));
    let text = local.post(&path, json!({ "webhook_payload": [{ "email": "x" }, { "age": 3 }] })).await.rejected(400);
    assert_eq!(text, "webhook_payload[1] lacks the required column 'email'");
    assert!(local.post(&path, json!({ "webhook_payload": "x" })).await.rejected(422).contains("webhook_payload"));
    let text = local.post("/workflows/run", json!({})).await.rejected(422);
    assert!(text.contains("query.workflow_id"));
    let path = format!("/workflows/run?workflow_id={}", Uuid::new_v4());
    assert_eq!(local.post(&path, json!({})).await.rejected(404), "Workflow not found");
}

#[tokio::test]
async fn formats_and_flags_are_checked() {
    let local = Local::start().await;
    let workflow = local.chain(&[("webhook", json!({ "webhook_input": "[]" }))]).await;
    let path = |query: &str| format!("/workflows/run?workflow_id={workflow}&{query}");
    let text = local.post(&path("result_formats=csv&result_formats=xml"), Value::Null).await.rejected(400);
    assert!(text.contains("'xml'"));
    assert!(local.post(&path("save_json=perhaps"), Value::Null).await.rejected(422).contains("query.save_json"));
    local.post(&path("result_formats=csv&result_formats=ndjson&save_json=true"), Value::Null).await.ok();
}

#[tokio::test]
async fn an_idempotency_key_starts_one_run() {
    let local = Local::start_with(|config| config.max_runs = 1).await;
    let _permit = local.service.engine.hold().await;
    let workflow = local.chain(&[("webhook", json!({}))]).await;
    let start = |key: &str, workflow: &str, body: Value| {
        let request = local
            .request(Method::POST, &format!("/workflows/run?workflow_id={workflow}"))
            .header("idempotency-key", key)
            .json(&body);
        async { JsonResponse::read(request.send().await.unwrap()).await.ok() }
    };
    let first = start("k1", &workflow, json!({ "webhook_payload": [{ "a": 1 }] })).await;
    assert_eq!(first["already_started"], Value::Null);
    assert_eq!(first["cache_config"], Value::Null);
    let again = start("k1", &workflow, json!({ "webhook_payload": [{ "a": 2 }] })).await;
    assert_eq!(again["job_id"], first["job_id"]);
    assert_eq!(again["already_started"], true);
    let other = start("k2", &workflow, json!({ "webhook_payload": [] })).await;
    assert_ne!(other["job_id"], first["job_id"]);
    let second = local.chain(&[("webhook", json!({}))]).await;
    assert_ne!(start("k1", &second, json!({ "webhook_payload": [] })).await["job_id"], first["job_id"]);

    // Concurrent starts with one key start one run.
    let starts = (0..8).map(|_| start("k3", &workflow, json!({ "webhook_payload": [] })));
    let started = futures::future::join_all(starts).await;
    assert!(started.iter().all(|response| response["job_id"] == started[0]["job_id"]));
    assert_eq!(started.iter().filter(|response| response["already_started"].is_null()).count(), 1);
    assert_eq!(local.get("/workflows/runs").await.ok().as_array().map(Vec::len), Some(4));
}

#[tokio::test]
async fn lists_filter_by_state_and_workflow() {
    let local = Local::start_with(|config| config.max_runs = 1).await;
    let permit = local.service.engine.hold().await;
    let a = local.chain(&[("webhook", json!({}))]).await;
    let b = local.chain(&[("webhook", json!({}))]).await;
    let mut ids = Vec::new();
    for workflow in [&a, &b, &a] {
        ids.push(local.run(workflow, "", json!({ "webhook_payload": [] })).await);
    }
    let list = |query: &str| {
        let path = format!("/workflows/runs{query}");
        let local = &local;
        async move {
            let runs = local.get(&path).await.ok();
            runs.as_array().unwrap().iter().map(|run| run["job_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        }
    };
    let newest_first: Vec<String> = ids.iter().rev().cloned().collect();
    assert_eq!(list("").await, newest_first);
    assert_eq!(list("?status=active").await, newest_first);
    assert_eq!(list("?status=queued&limit=1").await, newest_first[..1]);
    assert_eq!(list(&format!("?workflow_id={b}")).await, ids[1..2]);
    assert!(list("?status=completed").await.is_empty());
    assert!(list("?status=whatever").await.is_empty());
    let run = local.get("/workflows/runs?limit=1").await.ok()[0].clone();
    assert_eq!(run["workflow_name"], "A chain");
    assert_eq!(run["blocks_count"], 1);
    assert_eq!((&run["started_at"], &run["error_message"]), (&Value::Null, &Value::Null));

    let limit = local.get("/workflows/runs?limit=900").await;
    assert_eq!(limit.status, 422);
    assert_eq!(
        limit.body,
        json!({ "detail": [{
            "loc": ["query", "limit"], "msg": "Input should be less than or equal to 500",
            "type": "less_than_equal", "input": "900", "ctx": { "le": 500 }
        }] })
    );
    assert!(local.get("/workflows/runs?limit=0").await.rejected(422).contains("greater"));
    assert!(local.get("/workflows/runs?limit=x").await.rejected(422).contains("integer"));
    let path = format!("/workflows/runs?workflow_id={}", Uuid::new_v4());
    assert_eq!(local.get(&path).await.rejected(404), "Workflow not found");
    drop(permit);
}

#[tokio::test]
async fn a_waiting_run_is_cancelled_at_once() {
    let local = Local::start_with(|config| config.max_runs = 1).await;
    let permit = local.service.engine.hold().await;
    let workflow = local.chain(&[("webhook", json!({})), ("deduplicate", json!({}))]).await;
    let first = local.run(&workflow, "", json!({ "webhook_payload": [] })).await;
    let second = local.run(&workflow, "", json!({ "webhook_payload": [] })).await;
    let queued = local.status(&first).await;
    assert_eq!(queued["overall_status"], "queued");
    assert_eq!(queued["total_blocks"], 2);
    assert_eq!(queued["current_block"], Value::Null);
    assert_eq!(queued["blocks"][1]["previous_block_ids"], json!([queued["blocks"][0]["block_id"]]));
    assert_eq!(queued["blocks"][1]["metrics"]["processed_count"], Value::Null);

    let response = local.post("/workflows/cancel", json!({ "job_id": first })).await.ok();
    assert_eq!(response, json!({ "job_id": first, "status": "canceled" }));
    // The query overrides the body.
    let path = format!("/workflows/cancel?job_id={second}");
    assert_eq!(local.post(&path, json!({ "job_id": first })).await.ok()["job_id"], json!(second));
    for run in [&first, &second] {
        let status = local.status(run).await;
        assert_eq!(status["overall_status"], "cancelled");
        assert_eq!(status["blocks"][0]["status"], "pending");
    }
    assert_eq!(local.post(&path, Value::Null).await.ok()["status"], "canceled");
    assert_eq!(local.get("/workflows/runs?status=cancelled").await.ok().as_array().map(Vec::len), Some(2));
    assert!(local.post("/workflows/cancel", Value::Null).await.rejected(400).contains("job_id"));
    let unknown = json!({ "job_id": Uuid::new_v4().to_string() });
    assert_eq!(local.post("/workflows/cancel", unknown).await.rejected(404), "Run not found");
    drop(permit);
    assert_eq!(local.status(&first).await["overall_status"], "cancelled");
}

#[tokio::test]
async fn the_number_of_queued_runs_is_limited() {
    let local = Local::start_with(|config| {
        config.max_runs = 1;
        config.max_waiting_runs = 1;
    })
    .await;
    let _permit = local.service.engine.hold().await;
    let workflow = local.chain(&[("webhook", json!({}))]).await;
    for _ in 0..2 {
        local.run(&workflow, "", json!({ "webhook_payload": [] })).await;
    }
    let path = format!("/workflows/run?workflow_id={workflow}");
    let text = local.post(&path, json!({ "webhook_payload": [] })).await.rejected(429);
    assert!(text.contains("too many runs"));
}

#[tokio::test]
async fn unknown_and_malformed_run_ids_get_different_errors() {
    let local = Local::start().await;
    let path = format!("/workflows/runs/{}/live_status", Uuid::new_v4());
    assert_eq!(local.get(&path).await.rejected(404), "Run not found");
    assert!(local.get("/workflows/runs/run_1/live_status").await.rejected(422).contains("path.run_id"));
}

#[tokio::test]
async fn a_deleted_workflow_keeps_its_runs() {
    let local = Local::start_with(|config| config.max_runs = 1).await;
    let _permit = local.service.engine.hold().await;
    let made = local.post("/workflows/create_workflow", create(&[("webhook", json!({}))])).await.ok();
    let id = made["id"].as_str().unwrap();
    let run = local.run(id, "", json!({ "webhook_payload": [] })).await;
    assert_ne!(local.get(&format!("/workflows/{id}")).await.ok()["last_run_date"], Value::Null);
    local.post(&format!("/workflows/delete_workflow?workflow_id={id}"), Value::Null).await.ok();
    assert_eq!(local.status(&run).await["overall_status"], "queued");
}
