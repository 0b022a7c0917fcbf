//! Outgoing webhooks: the events of a receiver, their signatures, and retries when the receiver fails.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::Sha256;

use super::{JsonResponse, Local};
use crate::service::Clock;
use crate::text::hex;

/// The headers and bodies of received events.
type Seen = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// A receiver of events on loopback; responds to the first ones with the given statuses, then with 200.
struct Receiver {
    url: String,
    seen: Seen,
    task: tokio::task::JoinHandle<()>,
}

impl Receiver {
    async fn start(statuses: &'static [u16]) -> Self {
        let seen = Seen::default();
        let take = move |State(seen): State<Seen>, headers: HeaderMap, body: Bytes| async move {
            let mut seen = seen.lock().unwrap();
            seen.push((headers, body));
            StatusCode::from_u16(statuses.get(seen.len() - 1).copied().unwrap_or(200)).unwrap()
        };
        let router = axum::Router::new().route("/hook", axum::routing::post(take)).with_state(Arc::clone(&seen));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook", listener.local_addr().unwrap());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Receiver { url, seen, task }
    }

    fn seen(&self) -> Vec<(HeaderMap, Bytes)> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until `count` events were received, and returns all.
    async fn wait(&self, count: usize) -> Vec<(HeaderMap, Bytes)> {
        for _ in 0..1000 {
            if self.seen().len() >= count {
                return self.seen();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("received {} events, expected {count}", self.seen().len());
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Verifies a signature as the API documents it for receivers: any of the signatures may match.
fn is_signed(headers: &HeaderMap, body: &[u8], secret: &str) -> bool {
    let header = headers["sixtyfour-signature"].to_str().unwrap();
    let time = header.split(',').next().unwrap().strip_prefix("t=").unwrap();
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    let expected = hex(&mac.chain_update(format!("{time}.")).chain_update(body).finalize().into_bytes());
    header.split(',').skip(1).any(|part| part.strip_prefix("v1=") == Some(expected.as_str()))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers[name].to_str().unwrap()
}

async fn run_to(local: &Local, url: &str, rows: Vec<Value>) -> String {
    let target = json!({ "url": url, "timeout_seconds": 5 });
    let workflow = local.chain(&[("webhook", json!({})), ("outgoing_webhook", target)]).await;
    local.run(&workflow, "&result_formats=ndjson", json!({ "webhook_payload": rows })).await
}

/// Advances the clock continuously, so that delays between attempts pass quickly, until the task is aborted.
fn fast_forward(clock: &Clock) -> tokio::task::JoinHandle<()> {
    let clock = clock.clone();
    tokio::spawn(async move {
        for _ in 0..3000 {
            clock.advance(Duration::from_millis(500));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
}

async fn make_secret(local: &Local) -> String {
    let response = local.post("/webhooks/signing-secret", Value::Null).await;
    assert_eq!(response.status, 201);
    response.body["secret"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_run_sends_one_event_signed_if_there_is_a_secret() {
    let local = Local::start().await;
    let receiver = Receiver::start(&[]).await;
    let first = run_to(&local, &receiver.url, vec![json!({ "n": 1 }), json!({ "n": 2 })]).await;
    let status = local.completed(&first).await;
    let host = receiver.url.strip_prefix("http://").unwrap().strip_suffix("/hook").unwrap();
    assert_eq!(status["blocks"][1]["current_step"], json!(format!("delivered to {host}")));
    let (headers, body) = receiver.seen().remove(0);
    assert!(!headers.contains_key("sixtyfour-signature"));
    assert_eq!(text(&headers, "sixtyfour-delivery-attempt"), "1");
    assert_eq!(text(&headers, "sixtyfour-event-type"), "outgoing_webhook.completed");
    let event: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(event["event_id"], json!(text(&headers, "sixtyfour-event-id")));
    assert_eq!((&event["run_id"], &event["row_count"]), (&json!(first), &json!(2)));
    assert_eq!((&event["results"], &event["results_download_url"]), (&json!([{ "n": 1 }, { "n": 2 }]), &Value::Null));

    let secret = make_secret(&local).await;
    let second = run_to(&local, &receiver.url, (0..100).map(|n| json!({ "n": n })).collect()).await;
    local.completed(&second).await;
    let (headers, body) = receiver.seen().remove(1);
    assert!(is_signed(&headers, &body, &secret));
    assert!(!is_signed(&headers, &body, "sk_whsec_other"));
    assert!(!is_signed(&headers, b"{}", &secret));
    // Too many rows for the event itself: it has a valid link instead.
    let event: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(event["results"], Value::Null);
    let link = json!({ "download_url": event["results_download_url"] });
    assert_eq!(local.fetch(&link).await.lines().count(), 100);
}

#[tokio::test]
async fn every_attempt_sends_the_same_event() {
    let clock = Clock::default();
    let local = Local::start_with(|config| config.clock = clock.clone()).await;
    let fast_forward = fast_forward(&clock);
    let receiver = Receiver::start(&[500, 429, 302]).await;
    let run = run_to(&local, &receiver.url, vec![json!({ "n": 1 })]).await;
    let status = local.completed(&run).await;
    assert!(status["blocks"][1]["current_step"].as_str().unwrap().ends_with("in attempt 4 of 5"), "{status:#}");
    let seen = receiver.seen();
    let attempts: Vec<&str> = seen.iter().map(|(headers, _)| text(headers, "sixtyfour-delivery-attempt")).collect();
    assert_eq!(attempts, ["1", "2", "3", "4"]);
    assert!(seen.iter().all(|(headers, body)| {
        text(headers, "sixtyfour-event-id") == text(&seen[0].0, "sixtyfour-event-id") && *body == seen[0].1
    }));
    fast_forward.abort();
}

#[tokio::test]
async fn a_delivery_that_is_never_accepted_fails_the_block() {
    let clock = Clock::default();
    let local = Local::start_with(|config| config.clock = clock.clone()).await;
    let fast_forward = fast_forward(&clock);
    let receiver = Receiver::start(&[503; 10]).await;
    let run = run_to(&local, &receiver.url, vec![json!({ "n": 1 })]).await;
    let status = local.ended(&run).await;
    assert_eq!(status["overall_status"], "failed");
    let message = status["blocks"][1]["error_message"].as_str().unwrap();
    assert!(
        message.contains("5 attempts failed, the last one because the receiver responded with status 503"),
        "{message}"
    );
    // The path of the URL may contain a secret.
    assert!(!message.contains("hook"), "{message}");
    assert_eq!(receiver.seen().len(), 5);
    fast_forward.abort();
}

#[tokio::test]
async fn a_run_between_delivery_attempts_can_be_cancelled() {
    let local = Local::start().await;
    let receiver = Receiver::start(&[500; 10]).await;
    let run = run_to(&local, &receiver.url, vec![json!({ "n": 1 })]).await;
    receiver.wait(1).await;
    local.post("/workflows/cancel", json!({ "job_id": run })).await.ok();
    assert_eq!(local.ended(&run).await["overall_status"], "cancelled");
}

#[tokio::test]
async fn a_secret_is_shown_once_and_overlaps_with_the_next() {
    let clock = Clock::default();
    let local = Local::start_with(|config| config.clock = clock.clone()).await;
    let path = "/webhooks/signing-secret";
    assert_eq!(local.get(path).await.ok()["has_secret"], false);
    assert!(local.post("/webhooks/signing-secret/roll", Value::Null).await.rejected(404).contains("No signing secret"));
    let old = make_secret(&local).await;
    assert!(old.starts_with("sk_whsec_") && old.len() == 9 + 64);
    assert!(local.post(path, Value::Null).await.rejected(409).contains("already exists"));
    let shown = local.get(path).await.ok();
    assert_eq!(shown["secret_prefix"], json!(old[..13]));
    assert!(!shown.to_string().contains(&old));
    for hours in [json!(73), json!(-1), json!("1"), json!(1.5)] {
        let body = json!({ "expire_overlap_hours": hours });
        assert!(local.post("/webhooks/signing-secret/roll", body).await.rejected(422).contains("expire_overlap_hours"));
    }
    let new = local.post("/webhooks/signing-secret/roll", json!({ "expire_overlap_hours": 1 })).await.ok();
    let new = new["secret"].as_str().unwrap().to_owned();
    let receiver = Receiver::start(&[]).await;
    let send = || async {
        let run = run_to(&local, &receiver.url, vec![json!({ "n": 1 })]).await;
        local.completed(&run).await;
        receiver.seen().pop().unwrap()
    };
    let (headers, body) = send().await;
    assert!(is_signed(&headers, &body, &new) && is_signed(&headers, &body, &old));
    clock.advance(Duration::from_secs(3601));
    let (headers, body) = send().await;
    assert!(is_signed(&headers, &body, &new) && !is_signed(&headers, &body, &old));
    let delete = || async { JsonResponse::read(local.request(Method::DELETE, path).send().await.unwrap()).await };
    assert_eq!(delete().await.status, 204);
    assert_eq!(delete().await.status, 404);
    assert!(!send().await.0.contains_key("sixtyfour-signature"));
}

#[tokio::test]
async fn the_end_of_a_bulk_job_sends_an_event() {
    let local = Local::start().await;
    let receiver = Receiver::start(&[]).await;
    for (columns, status) in [("name", "completed"), ("nothing", "failed")] {
        let config = json!({ "webhook_url": receiver.url, "columns": [columns] });
        let part = reqwest::multipart::Part::text("name\nAda\n").file_name("people.csv");
        let form = reqwest::multipart::Form::new().part("file", part).text("config", config.to_string());
        let request = local.request(Method::POST, "/bulk-intelligence/people").multipart(form);
        let id = JsonResponse::read(request.send().await.unwrap()).await.ok()["task_id"].clone();
        let count = if status == "completed" { 1 } else { 2 };
        let (_, body) = receiver.wait(count).await.pop().unwrap();
        let event: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((&event["task_id"], &event["status"]), (&id, &json!(status)));
        assert_eq!(event.get("result").is_some(), status == "completed");
        assert_eq!(event.get("error").is_some(), status == "failed");
    }
}

#[tokio::test]
async fn the_end_of_a_request_about_one_person_sends_its_result() {
    let local = Local::start().await;
    let receiver = Receiver::start(&[]).await;
    let body = json!({ "lead_info": { "name": "Ada" }, "struct": { "email": "x" }, "webhook_url": receiver.url });
    let task = local.post("/people-intelligence-async", body.clone()).await.ok()["task_id"].clone();
    let (headers, body_sent) = receiver.wait(1).await.pop().unwrap();
    assert_eq!(text(&headers, "sixtyfour-event-type"), "people_intelligence");
    let event: Value = serde_json::from_slice(&body_sent).unwrap();
    assert_eq!((&event["task_id"], &event["task_type"]), (&task, &json!("people_intelligence")));
    assert_eq!(event["result"]["structured_data"], json!({ "email": null }));
    // One that is waited for has its result already.
    local.post("/people-intelligence", body).await.ok();
    assert_eq!(receiver.seen().len(), 1);
}
