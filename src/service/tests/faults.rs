//! Injected faults: each kind has the effect that its documentation promises.

use std::time::Duration;

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{JsonResponse, Local};
use crate::service::{Clock, Config, FaultRule};

fn with(faults: &[&str]) -> impl FnOnce(&mut Config) {
    let rules: Vec<FaultRule> = faults.iter().map(|text| text.parse().unwrap()).collect();
    move |config| config.faults.rules = rules
}

/// Starts a run of 200 rows and returns its id and the NDJSON without faults.
async fn run(local: &Local) -> (String, String) {
    let workflow = local.chain(&[("webhook", json!({}))]).await;
    let rows: Vec<Value> = (0..200).map(|i| json!({ "i": i, "name": format!("n{i}") })).collect();
    let text = rows.iter().map(|row| format!("{row}\n")).collect();
    let body = json!({ "webhook_payload": rows });
    (local.run(&workflow, "&result_formats=ndjson", body).await, text)
}

async fn link(local: &Local, run: &str) -> String {
    for _ in 0..1000 {
        let links = local.links(run, "ndjson").await;
        if let Some(link) = links.first() {
            return link["download_url"].as_str().unwrap().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("no link");
}

async fn get(local: &Local, link: &str, range: Option<&str>) -> Response {
    let mut request = local.client.get(link);
    if let Some(range) = range {
        request = request.header("range", range);
    }
    request.send().await.unwrap()
}

#[tokio::test]
async fn documented_faults_are_parsed() {
    let text = include_str!("../../../docs/faults.md");
    let mut kinds = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("drawoff serve ")) {
        for spec in line.split("--fault ").skip(1) {
            let spec = spec.split_whitespace().next().unwrap();
            let _: FaultRule = spec.parse().unwrap_or_else(|why| panic!("{spec}: {why}"));
            kinds.push(spec.split([',', '=']).next().unwrap().to_owned());
        }
    }
    let tables = text.split("```toml").skip(1).map(|rest| rest.split("```").next().unwrap());
    for table in tables {
        let scenario: crate::service::Scenario = table.parse().unwrap();
        assert_eq!((scenario.seed, scenario.rules.len()), (7, 4));
    }
    // Every kind in the table has an example.
    let table = text.split("## Kinds").nth(1).unwrap().split("## ").next().unwrap();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let cell = row.split('|').nth(1).unwrap();
        for word in cell.split('`').skip(1).step_by(2) {
            let kind = word.split('=').next().unwrap();
            assert!(kinds.iter().any(|k| k == kind) || kind.parse::<u16>().is_ok(), "{kind} has no example");
        }
    }
}

#[tokio::test]
async fn errors_are_injected_as_often_as_specified() {
    let local =
        Local::start_with(with(&["429,retry-after=2s,times=2,on=status", "503,on=start", "unsigned", "408,on=upload"]))
            .await;
    let workflow = local.chain(&[("webhook", json!({}))]).await;
    let path = format!("/workflows/run?workflow_id={workflow}");
    let start = || local.post(&path, json!({ "webhook_payload": [{}] }));
    assert_eq!(start().await.rejected(503), "injected fault");
    let run = start().await.ok()["job_id"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        let path = format!("/workflows/runs/{run}/live_status");
        let rejected = local.request(Method::GET, &path).send().await.unwrap();
        assert_eq!(rejected.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(rejected.headers()["retry-after"], "2");
        assert_eq!(rejected.headers()["x-drawoff-fault"], "1");
    }
    local.completed(&run).await;
    assert_eq!(local.links(&run, "csv").await[0]["download_url"], Value::Null);
    assert!(local.links(&run, "csv").await[0]["download_url"].is_string());
    let part = reqwest::multipart::Part::text("a\n1\n").file_name("a.csv");
    let form = reqwest::multipart::Form::new().part("file", part);
    let response = local.request(Method::POST, "/storage/csv/upload").multipart(form).send().await.unwrap();
    assert_eq!(JsonResponse::read(response).await.rejected(408), "injected fault");
    local.upload("a.csv", "a\n1\n").await;
}

#[tokio::test]
async fn downloads_are_truncated_and_have_wrong_ranges() {
    let local =
        Local::start_with(with(&["cut=100", "wrong-range=7", "ignore-range,after=1", "new-etag,after=3"])).await;
    let (run, text) = run(&local).await;
    let link = link(&local, &run).await;
    let mut cut = get(&local, &link, None).await;
    assert_eq!(cut.headers()["content-length"], text.len().to_string());
    let mut got = Vec::new();
    let broken = loop {
        match cut.chunk().await {
            Ok(Some(chunk)) => got.extend_from_slice(&chunk),
            Ok(None) => break false,
            Err(_) => break true,
        }
    };
    assert!(broken);
    assert_eq!(got, &text.as_bytes()[..100]);
    let wrong = get(&local, &link, Some("bytes=100-")).await;
    assert_eq!(wrong.status(), StatusCode::PARTIAL_CONTENT);
    assert!(wrong.headers()["content-range"].to_str().unwrap().starts_with("bytes 93-"));
    let whole = get(&local, &link, Some("bytes=100-")).await;
    assert_eq!(whole.status(), StatusCode::OK);
    let tag = whole.headers()["etag"].clone();
    assert_eq!(whole.text().await.unwrap(), text);
    let other = get(&local, &link, Some("bytes=100-")).await;
    let new = other.headers()["etag"].clone();
    assert_ne!(new, tag);
    // A range with the old tag gets the whole file, one with the new tag gets the range.
    for (tag, status) in [(tag, 200), (new, 206)] {
        let request = local.client.get(&link).header("range", "bytes=100-").header("if-range", tag);
        assert_eq!(request.send().await.unwrap().status(), status);
    }
}

#[tokio::test]
async fn contents_of_downloads_are_corrupted() {
    use std::io::Read;

    let fetch = async |faults: &[&str]| {
        let local = Local::start_with(with(faults)).await;
        let (run, text) = run(&local).await;
        let link = link(&local, &run).await;
        let response = get(&local, &link, Some("bytes=5-")).await;
        assert_eq!(response.status(), StatusCode::OK, "it has no parts");
        let encoding = response.headers().get("content-encoding").map(|value| value.to_str().unwrap().to_owned());
        (text, encoding, response.bytes().await.unwrap())
    };
    let (text, encoding, bytes) = fetch(&["gzip,members=3"]).await;
    assert_eq!(encoding.as_deref(), Some("gzip"));
    let mut plain = String::new();
    flate2::read::MultiGzDecoder::new(&*bytes).read_to_string(&mut plain).unwrap();
    assert_eq!(plain, text);
    let (text, encoding, bytes) = fetch(&["zstd,members=2,truncated"]).await;
    assert_eq!(encoding.as_deref(), Some("zstd"));
    assert!(zstd::decode_all(&*bytes).is_err() && text.len() > 100);
    let (text, encoding, bytes) = fetch(&["duplicate-rows=100", "broken-lines=101"]).await;
    assert_eq!(encoding, None);
    let found = std::str::from_utf8(&bytes).unwrap();
    assert_eq!(found.lines().count(), text.lines().count() + 2);
    let broken = found.lines().filter(|line| serde_json::from_str::<Value>(line).is_err()).count();
    assert!(broken == 1 || broken == 2, "{broken}");
    let (text, _, bytes) = fetch(&["late-type,column=i,row=150"]).await;
    let late =
        std::str::from_utf8(&bytes).unwrap().lines().filter(|line| line.contains("not what came before")).count();
    assert_eq!(late, text.lines().count() - 149);
}

#[tokio::test]
async fn states_are_wrong_at_first_and_then_right() {
    let reported_states = async |fault: &str| {
        let local = Local::start_with(with(&[fault])).await;
        let (run, _) = run(&local).await;
        // A run with links has completed its only block.
        link(&local, &run).await;
        let mut states = Vec::new();
        for _ in 0..6 {
            let status = local.status(&run).await;
            let state = status["overall_status"].as_str().unwrap().to_owned();
            if state != "completed" {
                assert_eq!(status["completed_at"], Value::Null);
                assert!(status["overall_progress_percentage"].as_f64().unwrap() < 100.0);
            }
            states.push(state);
        }
        states.join(" ")
    };
    let assert_begins = |states: &str, begin: &str| {
        let rest = states.strip_prefix(begin).unwrap_or_else(|| panic!("{states}"));
        assert!(rest.split_whitespace().all(|state| ["running", "completed"].contains(&state)), "{states}");
    };
    assert_begins(&reported_states("flap").await, "running queued running queued");
    assert_begins(&reported_states("stick,times=2").await, "running running");
    assert_begins(&reported_states("jump").await, "queued queued queued");
    assert_begins(&reported_states("unknown-state=dreaming").await, "dreaming dreaming");
}

#[tokio::test]
async fn a_run_ends_as_timeout() {
    let local = Local::start_with(with(&["timeout,every=2"])).await;
    let workflow = local.chain(&[("webhook", json!({})), ("deduplicate", json!({}))]).await;
    let body = json!({ "webhook_payload": [{ "a": 1 }] });
    let run = local.run(&workflow, "", body.clone()).await;
    let status = local.ended(&run).await;
    assert_eq!(status["overall_status"], "timeout");
    assert_eq!(
        (status["completed_blocks"].clone(), status["blocks"][1]["status"].clone()),
        (json!(1), json!("failed"))
    );
    assert_eq!(local.links(&run, "csv").await.len(), 1);
    // Runs are counted together: the second one has no fault, and the third has it again.
    for expected in ["completed", "timeout"] {
        let run = local.run(&workflow, "", body.clone()).await;
        assert_eq!(local.ended(&run).await["overall_status"], expected);
    }
}

#[tokio::test]
async fn links_expire_early_and_the_clock_can_be_changed() {
    let clock = Clock::default();
    let shared = clock.clone();
    let local = Local::start_with(move |config| {
        with(&["expire=60s,status=401"])(config);
        config.clock = shared;
        config.admin = true;
    })
    .await;
    let (run, text) = run(&local).await;
    let link = link(&local, &run).await;
    assert_eq!(get(&local, &link, None).await.text().await.unwrap(), text);
    let moved = local.post("/admin/clock", json!({ "advance": "61s" })).await.ok();
    assert_eq!(moved["speed"], 1.0);
    assert_eq!(get(&local, &link, None).await.status(), 401);
    let fresh = self::link(&local, &run).await;
    assert_eq!(get(&local, &fresh, None).await.status(), 200);
    let set = json!({ "set": "2030-01-01T00:00:00Z", "speed": 0 });
    assert_eq!(local.post("/admin/clock", set).await.ok()["now"], "2030-01-01T00:00:00.000Z");
    assert_eq!(clock.now().to_rfc3339(), "2030-01-01T00:00:00+00:00");
    assert_eq!(get(&local, &fresh, None).await.status(), 401);
    for wrong in [json!({ "set": "soon" }), json!({ "speed": -1 }), json!({ "pause": true }), json!([])] {
        local.post("/admin/clock", wrong).await.rejected(400);
    }
    let without = local.client.get(format!("{}/admin/clock", local.service.base_url())).send().await.unwrap();
    assert_eq!(without.status(), 401);
    let plain = Local::start().await;
    plain.get("/admin/clock").await.rejected(404);
}
