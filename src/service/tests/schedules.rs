//! Schedules by the service's clock, the balance, links to uploads, and what is not offered.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{JsonResponse, Local};
use crate::service::Clock;

const SAMPLE: &str = r#"[{"n": 1}, {"n": 2}]"#;

impl Local {
    async fn send(&self, method: Method, path: &str, body: Value) -> JsonResponse {
        let request = self.request(method, path);
        let request = if body.is_null() { request } else { request.json(&body) };
        JsonResponse::read(request.send().await.unwrap()).await
    }

    /// Waits until `n` runs are listed.
    async fn runs(&self, n: usize) -> Vec<Value> {
        for _ in 0..3000 {
            let runs = self.get("/workflows/runs").await.ok();
            let runs = runs.as_array().unwrap();
            if runs.len() >= n {
                assert_eq!(runs.len(), n);
                return runs.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("there are no {n} runs");
    }
}

/// A service with a clock that stands still on a Monday, 10:00.
async fn start() -> (Local, Clock) {
    let clock = Clock::default();
    clock.set_speed(0.0);
    clock.set("2026-11-30T10:00:00Z".parse().unwrap());
    let shared = clock.clone();
    (Local::start_with(|config| config.clock = shared).await, clock)
}

#[tokio::test]
async fn a_schedule_starts_runs_by_the_clock() {
    let (local, clock) = start().await;
    let workflow = local.chain(&[("webhook", json!({ "webhook_input": SAMPLE }))]).await;
    let body = json!({
        "workflow_id": workflow, "name": "Every morning", "cron_expression": "0 9 * * *", "timezone": "Europe/Berlin",
    });
    let schedule = local.post("/schedules", body).await.ok();
    assert_eq!(schedule["next_run_at"], "2026-12-01T08:00:00.000Z");
    assert_eq!((&schedule["is_active"], &schedule["description"]), (&json!(true), &Value::Null));
    let path = format!("/schedules/{}", schedule["id"].as_str().unwrap());
    assert_eq!(local.get(&path).await.ok(), schedule);
    assert_eq!(local.get("/schedules").await.ok(), json!([schedule]));
    clock.advance(Duration::from_secs(22 * 3600));
    let runs = local.runs(1).await;
    let run = runs[0]["job_id"].as_str().unwrap();
    local.completed(run).await;
    assert_eq!(runs[0]["workflow_id"], workflow);
    // The run is recorded after its start.
    let mut now = local.get(&path).await.ok();
    while now["last_run_id"].is_null() {
        now = local.get(&path).await.ok();
    }
    assert_eq!((&now["last_run_id"], &now["last_error"]), (&json!(run), &Value::Null));
    assert_eq!(
        (&now["last_run_at"], &now["next_run_at"]),
        (&json!("2026-12-01T08:00:00.000Z"), &json!("2026-12-02T08:00:00.000Z"))
    );
    // Times that are passed over are not made up for.
    clock.advance(Duration::from_secs(100 * 86400));
    local.runs(2).await;
    // A schedule that is switched off, and one that is deleted, start nothing.
    for (description, found) in [(json!("early"), json!("early")), (Value::Null, Value::Null)] {
        let changed = local.send(Method::PATCH, &path, json!({ "description": description })).await.ok();
        assert_eq!(changed["description"], found);
    }
    let off = local.send(Method::PATCH, &path, json!({ "is_active": false, "name": "Never" })).await.ok();
    assert_eq!(
        (&off["next_run_at"], &off["name"], &off["timezone"]),
        (&Value::Null, &json!("Never"), &json!("Europe/Berlin"))
    );
    let other = json!({ "workflow_id": workflow, "name": "o", "cron_expression": "* * * * *" });
    let other = local.post("/schedules", other).await.ok();
    let removed =
        local.send(Method::DELETE, &format!("/schedules/{}", other["id"].as_str().unwrap()), Value::Null).await;
    assert_eq!(removed.ok()["id"], other["id"]);
    clock.advance(Duration::from_secs(86400));
    tokio::time::sleep(Duration::from_millis(300)).await;
    local.runs(2).await;
}

#[tokio::test]
async fn a_time_that_starts_no_run_is_noted() {
    let (local, clock) = start().await;
    let workflow = local.chain(&[("webhook", json!({}))]).await;
    let body = json!({ "workflow_id": workflow, "name": "n", "cron_expression": "*/5 * * * *" });
    let schedule = local.post("/schedules", body).await.ok();
    let path = format!("/schedules/{}", schedule["id"].as_str().unwrap());
    clock.advance(Duration::from_secs(300));
    for _ in 0..3000 {
        let now = local.get(&path).await.ok();
        if let Some(text) = now["last_error"].as_str() {
            assert!(text.contains("webhook"), "{text}");
            assert_eq!(now["next_run_at"], "2026-11-30T10:10:00.000Z");
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing is noted");
}

#[tokio::test]
async fn a_reset_removes_new_schedules() {
    let local = Local::start_with(|config| config.admin = true).await;
    let workflow = local.chain(&[("webhook", json!({}))]).await;
    local
        .post("/schedules", json!({ "workflow_id": workflow, "name": "n", "cron_expression": "0 0 1 1 *" }))
        .await
        .ok();
    local.post("/admin/reset", Value::Null).await.ok();
    assert_eq!(local.get("/schedules").await.ok(), json!([]));
}

#[tokio::test]
async fn invalid_schedules_are_refused() {
    let local = Local::start().await;
    let workflow = local.chain(&[("webhook", json!({}))]).await;
    let wrong = local
        .post("/schedules", json!({ "name": "", "cron_expression": "x", "timezone": "Mars", "is_active": 1 }))
        .await;
    assert_eq!(wrong.status, 422);
    let places: Vec<&Value> = wrong.body["detail"].as_array().unwrap().iter().map(|entry| &entry["loc"][1]).collect();
    assert_eq!(json!(places), json!(["workflow_id", "is_active", "name", "cron_expression", "timezone"]));
    let unknown = json!({ "workflow_id": "none", "name": "n", "cron_expression": "* * * * *" });
    assert_eq!(local.post("/schedules", unknown).await.rejected(404), "Workflow not found");
    assert_eq!(local.get("/schedules/7c1e0a52-4b0d-4a6e-9d1f-20c4d2a9b611").await.rejected(404), "Schedule not found");
    assert_eq!(local.get("/schedules/x").await.status, 422);
    let long = json!({ "workflow_id": workflow, "name": "n".repeat(121), "cron_expression": "* * * * *" });
    assert_eq!(local.post("/schedules", long).await.status, 422);
}

#[tokio::test]
async fn the_balance_and_links_to_uploads() {
    let local = Local::start().await;
    assert!(local.get("/check-balance").await.ok()["credits"].as_f64().unwrap() > 0.0);
    let text = "n\n1\n";
    let handle = local.upload("numbers.csv", text).await;
    let link = local.get(&format!("/search/download?resource_handle_id={handle}")).await.ok();
    assert_eq!((&link["bucket"], &link["path"]), (&json!("uploads"), &json!(format!("{handle}.csv"))));
    let response = local.client.get(link["url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/csv");
    assert_eq!(response.text().await.unwrap(), text);
    let part = local.client.get(link["url"].as_str().unwrap()).header("range", "bytes=2-2").send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.text().await.unwrap()), (206, "1".to_owned()));
    let unsigned = link["url"].as_str().unwrap().split('?').next().unwrap();
    assert_eq!(local.client.get(unsigned).send().await.unwrap().status(), 403);
    let unknown = "/search/download?resource_handle_id=7c1e0a52-4b0d-4a6e-9d1f-20c4d2a9b611";
    assert_eq!(local.get(unknown).await.rejected(404), "File not found");
    assert_eq!(local.get("/search/download").await.status, 422);
}

#[tokio::test]
async fn what_is_not_offered_is_named() {
    let local = Local::start().await;
    for (path, expected) in [
        ("/api/usage", "usage is not offered"),
        ("/workflows/interactive/x/undo", "this part of interactive workflows is not offered"),
        ("/search/query", "use /search/start-deep-search"),
        ("/people-intelligence/x", "use /people-intelligence or"),
        ("/company-intelligence/x", "use /company-intelligence or"),
        ("/schedules/active-counts", "list them with GET /schedules"),
    ] {
        assert!(local.get(path).await.rejected(501).contains(expected), "{path}");
    }
    assert!(local.post("/search/start-filter-search", json!({})).await.rejected(501).contains("searches by filters"));
    assert_eq!(local.get("/searches").await.rejected(404), "Not Found");
}

#[tokio::test]
async fn a_schedule_follows_a_clock_that_goes_back() {
    let (local, clock) = start().await;
    let workflow = local.chain(&[("webhook", json!({ "webhook_input": SAMPLE }))]).await;
    let body = json!({ "workflow_id": workflow, "name": "Hourly", "cron_expression": "0 * * * *" });
    let schedule = local.post("/schedules", body).await.ok();
    let path = format!("/schedules/{}", schedule["id"].as_str().unwrap());
    clock.set("2030-01-01T00:59:59Z".parse().unwrap());
    local.runs(1).await;
    clock.set("2026-06-01T08:59:58Z".parse().unwrap());
    for _ in 0..3000 {
        if local.get(&path).await.ok()["next_run_at"] == "2026-06-01T09:00:00.000Z" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(local.get(&path).await.ok()["next_run_at"], "2026-06-01T09:00:00.000Z");
    clock.advance(Duration::from_secs(2));
    local.runs(2).await;
}

/// The times that have passed since the start are no reason for a run after a reset.
#[tokio::test]
async fn a_reset_plans_schedules_anew() {
    let (local, clock) = start().await;
    clock.set("2020-01-20T10:00:00Z".parse().unwrap());
    let workflow = local.chain(&[("webhook", json!({ "webhook_input": SAMPLE }))]).await;
    let body = json!({ "workflow_id": workflow, "name": "Monthly", "cron_expression": "0 0 1 * *" });
    assert_eq!(local.post("/schedules", body).await.ok()["next_run_at"], "2020-02-01T00:00:00.000Z");
    let data = local.stop().await;
    let local = Local::start_in(data, |config| {
        config.clock = clock.clone();
        config.admin = true;
    })
    .await;
    clock.advance(Duration::from_secs(20 * 86_400));
    local.runs(1).await;
    // The clock is the system's from here on, and the time of the start is years behind it.
    local.post("/admin/reset", Value::Null).await.ok();
    let schedules = local.get("/schedules").await.ok();
    let next: chrono::DateTime<chrono::Utc> = schedules[0]["next_run_at"].as_str().unwrap().parse().unwrap();
    assert!(next > clock.now(), "{next}");
    assert_eq!(schedules[0]["last_run_at"], Value::Null);
    local.runs(0).await;
}
