//! Bulk jobs: the form that starts one, its state, and its limits.

use std::time::Duration;

use reqwest::Method;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{JsonResponse, Local};
use crate::service::{Clock, EnrichTable};

fn form(file: &str, config: Option<&Value>) -> Form {
    let form = Form::new().part("file", Part::text(file.to_owned()).file_name("people.csv"));
    match config {
        Some(config) => form.text("config", config.to_string()),
        None => form,
    }
}

async fn submit(local: &Local, path: &str, form: Form, key: Option<&str>) -> JsonResponse {
    let mut request = local.request(Method::POST, path).multipart(form);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    JsonResponse::read(request.send().await.unwrap()).await
}

const PEOPLE: &str = "/bulk-intelligence/people";
const FILE: &str = "name,company,note\nAda,Acme,x\nBo,Best,y\n";

#[tokio::test]
async fn a_job_is_a_run_that_enriches_a_file() {
    let tables = tempfile::tempdir().unwrap();
    let table = tables.path().join("facts.ndjson");
    std::fs::write(&table, "{\"name\":\"Ada\",\"email\":\"ada@acme.test\",\"years\":3}\n").unwrap();
    let local = Local::start_with(|config| {
        config.enrich = vec![EnrichTable { block: "lead_enrichment".to_owned(), path: table, key: "name".to_owned() }];
    })
    .await;
    let config = json!({
        "struct": { "email": "Work email", "years": { "description": "in the role", "type": "int" } },
        "columns": ["company", "name"], "result_formats": ["ndjson"], "tier": "low"
    });
    let started = submit(&local, PEOPLE, form(FILE, Some(&config)), None).await.ok();
    assert_eq!((&started["status"], &started["row_count"]), (&json!("RUNNING"), &json!(2)));
    assert_eq!((&started["estimated_cost_cents"], &started["estimated_cost_credits"]), (&json!(0.0), &Value::Null));
    assert_eq!(started["already_started"], Value::Null);
    let id = started["task_id"].as_str().unwrap();
    local.completed(id).await;
    assert_eq!(
        local.rows(id).await,
        [
            json!({ "company": "Acme", "name": "Ada", "email": "ada@acme.test", "years": 3 }),
            json!({ "company": "Best", "name": "Bo", "email": null, "years": null })
        ]
    );
    let status = local.get(&format!("/job-status/{id}")).await.ok();
    assert_eq!((&status["status"], &status["id"]), (&json!("completed"), &json!(id)));
    assert_eq!(status["results"].as_array().map(Vec::len), Some(2));
    assert!(local.fetch(&status["results"][1]).await.starts_with("company,name,email,years\n"));
    assert_ne!(status["close_time"], Value::Null);
    // The job is listed as a run; its workflow is not listed.
    assert_eq!(local.get("/workflows/runs").await.ok()[0]["job_id"], json!(id));
    assert_eq!(local.get("/workflows").await.ok(), json!([]));
}

#[tokio::test]
async fn active_and_failed_jobs_have_their_states() {
    let local = Local::start_with(|config| config.max_runs = 1).await;
    let permit = local.service.engine.hold().await;
    let config = json!({ "columns": ["nothing"] });
    let started = submit(&local, PEOPLE, form(FILE, Some(&config)), None).await.ok();
    let id = started["task_id"].as_str().unwrap();
    let status = local.get(&format!("/job-status/{id}")).await.ok();
    assert_eq!(status["status"], "running");
    assert_eq!(status.as_object().unwrap().keys().collect::<Vec<_>>(), ["status", "id", "run_id", "start_time"]);
    drop(permit);
    local.ended(id).await;
    let status = local.get(&format!("/job-status/{id}")).await.ok();
    assert_eq!((&status["status"], status.get("results")), (&json!("failed"), None));
    assert_eq!(local.get(&format!("/job-status/{}", Uuid::new_v4())).await.rejected(404), "Job not found");
    assert!(local.get("/job-status/x").await.rejected(422).contains("path.task_id"));
}

#[tokio::test]
async fn invalid_forms_are_rejected_and_leave_no_file() {
    let local = Local::start().await;
    let rejected = |path: &'static str, form: Form| async { submit(&local, path, form, None).await.rejected(422) };
    assert!(rejected(PEOPLE, form(FILE, None)).await.contains("body.config: Field required"));
    assert!(rejected(PEOPLE, Form::new().text("config", "{}")).await.contains("body.file: Field required"));
    let text = rejected("/bulk-intelligence/company", form(FILE, Some(&json!({ "colour": 1 })))).await;
    assert!(text.contains("body.config.colour: Extra inputs") && text.contains("body.config.struct"), "{text}");
    let text = rejected(PEOPLE, form(FILE, Some(&json!({ "tier": "huge" })))).await;
    assert!(text.contains("body.config.tier"), "{text}");
    let bad = Form::new().part("file", Part::text(FILE).file_name("a.csv")).text("config", "{");
    assert!(rejected(PEOPLE, bad).await.contains("Invalid JSON"));
    let path = "/bulk-intelligence/people?cost_units=pounds";
    assert!(rejected(path, form(FILE, Some(&json!({})))).await.contains("query.cost_units"));
    assert_eq!(std::fs::read_dir(local.data_dir().join("uploads")).unwrap().count(), 0);
    assert_eq!(local.get("/workflows/runs").await.ok(), json!([]));
}

#[tokio::test]
async fn a_key_starts_one_job_and_starts_per_minute_are_limited() {
    let clock = Clock::default();
    let local = Local::start_with(|config| {
        config.bulk_limit = 2;
        config.clock = clock.clone();
    })
    .await;
    let send = |key: Option<&'static str>| submit(&local, PEOPLE, form(FILE, Some(&json!({}))), key);
    let first = send(Some("k")).await.ok();
    let again = send(Some("k")).await.ok();
    assert_eq!((&again["task_id"], &again["already_started"]), (&first["task_id"], &json!(true)));
    assert_eq!((&again["row_count"], &again["estimated_cost_cents"]), (&Value::Null, &Value::Null));
    let text = send(None).await.rejected(429);
    assert!(text.contains("Rate limit exceeded"), "{text}");
    assert_eq!(send(Some("k")).await.ok()["task_id"], first["task_id"], "a repeated start is not limited");
    clock.advance(Duration::from_secs(61));
    assert_ne!(send(None).await.ok()["task_id"], first["task_id"]);
}
