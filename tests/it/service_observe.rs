//! `drawoff serve` as it is watched and steered: no limits unless asked for, the log and the journal of requests, faults
//! that are set while it runs, and the reset.

use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{MARKED_KEY, Place, Service, block_on, exit, wait_for};

const ADMIN: [&str; 1] = ["--admin"];

fn rows(n: usize) -> Value {
    json!({ "webhook_payload": (0..n).map(|i| json!({ "n": i })).collect::<Vec<_>>() })
}

fn run_path(workflow: &str) -> String {
    format!("/workflows/run?workflow_id={workflow}&result_formats=ndjson")
}

fn start(service: &Service, workflow: &str, body: Value) -> String {
    let (status, started) = service.call("POST", &run_path(workflow), Some(body));
    assert_eq!(status, 200, "{started}");
    started["job_id"].as_str().unwrap().to_owned()
}

fn live(service: &Service, run: &str) -> Value {
    service.call("GET", &format!("/workflows/runs/{run}/live_status"), None).1
}

fn ended(service: &Service, run: &str) -> Value {
    wait_for("the run to end", || {
        Some(live(service, run))
            .filter(|live| live["overall_status"] != "queued" && live["overall_status"] != "running")
    })
}

fn upload(service: &Service, text: String) -> (u16, Value, Option<String>) {
    block_on(async {
        let part = reqwest::multipart::Part::text(text).file_name("a.csv");
        let form = reqwest::multipart::Form::new().part("file", part);
        let request = reqwest::Client::new().post(format!("{}/storage/csv/upload", service.url));
        let response = request.header("x-api-key", MARKED_KEY).multipart(form).send().await.unwrap();
        let wait = response.headers().get("retry-after").map(|wait| wait.to_str().unwrap().to_owned());
        (response.status().as_u16(), response.json().await.unwrap(), wait)
    })
}

/// Statuses of `n` requests over one connection, and the last `Retry-After`.
fn many(service: &Service, n: usize) -> (Vec<u16>, Option<String>) {
    block_on(async {
        let client = reqwest::Client::new();
        let (mut statuses, mut wait) = (Vec::new(), None);
        for _ in 0..n {
            let request = client.get(format!("{}/workflows", service.url)).header("x-api-key", MARKED_KEY);
            let response = request.send().await.unwrap();
            statuses.push(response.status().as_u16());
            wait = response.headers().get("retry-after").map(|wait| wait.to_str().unwrap().to_owned());
            response.bytes().await.unwrap();
        }
        (statuses, wait)
    })
}

#[test]
fn there_are_no_limits_unless_they_are_asked_for() {
    let place = Place::new();
    let large = || format!("n\n{}", "1\n".repeat(100_001));
    let service = Service::start(&place, "data", &[]);
    assert!(many(&service, 1100).0.iter().all(|status| *status == 200));
    assert_eq!(upload(&service, large()).0, 200);

    let hosted = Service::start(&place, "hosted", &["--like-hosted"]);
    hosted.says("limits: 500 requests per minute and key; 10 bulk jobs per minute and key");
    let (status, body, _) = upload(&hosted, large());
    assert_eq!(status, 422, "{body}");
    let (statuses, wait) = many(&hosted, 500);
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 1, "the upload was the first of 500");
    let wait: u64 = wait.expect("a refusal that passes names its wait").parse().unwrap();
    assert!((1..=60).contains(&wait));
    // Observation has no limit.
    assert_eq!(hosted.call("GET", "/admin/requests", None).0, 200);

    let one = Service::start(&place, "one", &["--like-hosted", "--rate-limit", "0", "--max-upload-rows", "0"]);
    assert_eq!(upload(&one, large()).0, 200);
    assert!(many(&one, 510).0.iter().all(|status| *status == 200));
}

#[test]
fn each_request_is_a_line_on_standard_error() {
    let place = Place::new();
    let service = Service::start(&place, "data", &["--fault", "503,on=start"]);
    service.says("faults: 503,on=start");
    let workflow = service.chain(&[("webhook", json!({}))]);
    assert_eq!(service.call("POST", &run_path(&workflow), Some(rows(1))).0, 503);
    let line = service.says("/workflows/run?");
    assert!(line.contains(" POST ") && line.contains(" 503 ") && line.ends_with(" fault=503,on=start"), "{line}");
    let run = start(&service, &workflow, rows(1));
    let line = service.says("/workflows/run?");
    assert!(line.contains(" 200 ") && line.ends_with(&format!(" run={run}")), "{line}");
    // Neither the key nor the signature of a link is logged, and nothing moves the cursor of a terminal.
    ended(&service, &run);
    let (_, links) = service.call("GET", &format!("/workflows/runs/{run}/results/download-links"), None);
    block_on(async { reqwest::get(links[0]["download_url"].as_str().unwrap()).await.unwrap() });
    let line = service.says("/storage/files/");
    assert!(line.contains("sig=REDACTED") && !line.contains(MARKED_KEY), "{line}");

    let json = Service::start(&place, "json", &["--log", "json"]);
    json.call("GET", "/workflows/%1b%E2%80%AE?a=%1b", None);
    let line = json.says("/workflows/");
    let record: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&record["method"], &record["status"]), (&json!("GET"), &json!(422)));
    assert!(record["at"].is_string() && record["duration_ms"].is_u64() && record.get("body").is_none(), "{line}");
    assert!(line.is_ascii());
}

#[test]
fn a_log_that_is_not_read_never_stops_the_service() {
    let place = Place::new();
    let mut command = place.command(&["serve", "--port", "0", "--data", "data"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut url = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut url).unwrap();
    // Some 100 bytes for each request: more than what a pipe and the queue of the log hold.
    block_on(async {
        let client = reqwest::Client::new();
        for _ in 0..6000 {
            let request = client.get(format!("{}/workflows", url.trim())).header("x-api-key", MARKED_KEY);
            assert_eq!(request.send().await.unwrap().status(), 200);
        }
    });
    crate::support::interrupt(&child);
    let status = wait_for("the service to end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(exit::SUCCESS));
}

#[test]
fn requests_can_be_asserted_on() {
    let place = Place::new();
    let service = Service::start(&place, "data", &ADMIN);
    let workflow = service.chain(&[("webhook", json!({}))]);
    let key = [("idempotency-key", "one"), ("user-agent", "test/1")];
    let (_, first) = service.call_with("POST", &run_path(&workflow), &key, Some(rows(2)));
    let run = first["job_id"].as_str().unwrap();
    ended(&service, run);
    let requests = |query: &str| {
        let (status, found) = service.call("GET", &format!("/admin/requests{query}"), None);
        assert_eq!(status, 200, "{found}");
        found.as_array().unwrap().clone()
    };
    let starts = requests("?path=/workflows/run&method=post");
    assert_eq!(starts.len(), 1);
    assert_eq!(starts[0]["status"], 200);
    assert_eq!(starts[0]["run_id"], run);
    assert_eq!(starts[0]["idempotency_key"], "one");
    assert_eq!(starts[0]["user_agent"], "test/1");
    let sent: Value = serde_json::from_str(starts[0]["body"].as_str().unwrap()).unwrap();
    assert_eq!(sent, rows(2));
    assert_eq!(starts[0]["body_bytes"], rows(2).to_string().len());
    let polls = requests(&format!("?run_id={run}&path=/workflows/runs/*"));
    assert!(!polls.is_empty() && polls.iter().all(|request| request["method"] == "GET"));
    assert!(requests("?status=404").is_empty());
    service.call("GET", "/workflows-typo", None);
    let wrong = requests("?status=404");
    assert_eq!(wrong[0]["path"], "/workflows-typo");
    let last = wrong[0]["number"].as_u64().unwrap();
    assert!(requests(&format!("?after={last}")).is_empty(), "observation is not recorded");
    // A long body is cut, and the rest is counted.
    service.call("POST", &run_path(&workflow), Some(rows(5000)));
    let long = requests("?path=/workflows/run").pop().unwrap();
    assert_eq!(long["body"].as_str().unwrap().len(), 2048);
    assert_eq!(long["body_bytes"], rows(5000).to_string().len());
    assert_eq!(service.call("DELETE", "/admin/requests", None).0, 200);
    assert!(requests("").is_empty());
    // A reader that asks for what came after the last number it knows misses nothing.
    let last = long["number"].as_u64().unwrap();
    service.call("GET", "/workflows", None);
    let new = requests(&format!("?after={last}"));
    assert_eq!(new.len(), 1);
    assert!(new[0]["number"].as_u64().unwrap() > last);

    let plain = Service::start(&place, "plain", &[]);
    assert_eq!(plain.call("GET", "/admin/requests", None).0, 200);
    assert_eq!(plain.call("DELETE", "/admin/requests", None).0, 405);
    let without_key = block_on(async { reqwest::get(format!("{}/admin/requests", plain.url)).await.unwrap() });
    assert_eq!(without_key.status(), 401);
}

#[test]
fn faults_are_set_and_removed_while_it_runs() {
    let place = Place::new();
    let service = Service::start(&place, "data", &["--admin", "--fault", "500,on=links,times=always"]);
    let workflow = service.chain(&[("webhook", json!({}))]);
    let fault = json!({ "kind": "402", "on": "start", "times": 1 });
    let (status, faults) = service.call("POST", "/admin/faults", Some(fault));
    assert_eq!(status, 200, "{faults}");
    assert_eq!(faults[1]["fault"], "402,on=start,times=1");
    let (status, body) = service.call("POST", &run_path(&workflow), Some(rows(1)));
    assert_eq!((status, body), (402, json!({ "detail": "injected fault" })));
    let run = start(&service, &workflow, rows(1));
    ended(&service, &run);
    let links = format!("/workflows/runs/{run}/results/download-links");
    assert_eq!(service.call("GET", &links, None).0, 500);
    let (_, faults) = service.call("GET", "/admin/faults", None);
    assert_eq!((&faults[0]["struck"], &faults[1]["struck"]), (&json!(1), &json!(1)));
    // One of them, by its id; then all.
    assert_eq!(service.call("DELETE", "/admin/faults?id=99", None).0, 404);
    let (_, left) = service.call("DELETE", &format!("/admin/faults?id={}", faults[0]["id"]), None);
    assert_eq!(left.as_array().unwrap().len(), 1);
    assert_eq!(service.call("GET", &links, None).0, 200);
    for never in
        [json!({ "kind": "402", "times": 0 }), json!("cut=150%"), json!({ "kind": "fail-block", "value": "x" })]
    {
        assert_eq!(service.call("POST", "/admin/faults", Some(never)).0, 400);
    }
    // What a list of faults contains can be sent back.
    let again = left.as_array().unwrap().clone();
    let (_, twice) = service.call("POST", "/admin/faults", Some(json!(again)));
    assert_eq!((twice.as_array().unwrap().len(), &twice[1]["fault"]), (2, &left[0]["fault"]));
    service.call("DELETE", &format!("/admin/faults?id={}", twice[1]["id"]), None);
    let two = json!([{ "kind": 409, "shape": "legacy", "text": "exists" }, "404,on=status"]);
    assert_eq!(service.call("POST", "/admin/faults", Some(two)).1.as_array().unwrap().len(), 3);
    let (status, body) = service.call("GET", "/workflows", None);
    assert_eq!((status, body), (409, json!({ "error": "Conflict", "message": "exists" })));
    assert_eq!(service.call("DELETE", "/admin/faults", None).1, json!([]));
    assert_eq!(service.call("GET", "/workflows", None).0, 200);
    for wrong in [json!({ "kind": "418" }), json!({}), json!(3), json!([{ "kind": "402" }, { "kind": "x" }])] {
        assert_eq!(service.call("POST", "/admin/faults", Some(wrong)).0, 400);
    }
    assert_eq!(service.call("GET", "/admin/faults", None).1, json!([]), "an invalid list adds nothing");

    let plain = Service::start(&place, "plain", &[]);
    for (method, path) in
        [("POST", "/admin/faults"), ("GET", "/admin/faults"), ("POST", "/admin/reset"), ("POST", "/admin/clock")]
    {
        assert_eq!(plain.call(method, path, None).0, 404, "{method} {path}");
    }
    let header = [("x-drawoff-fault", "503")];
    assert_eq!(plain.call_with("GET", "/workflows", &header, None).0, 200, "without administration it has no effect");
}

#[test]
fn one_request_can_ask_for_faults() {
    let place = Place::new();
    let service = Service::start(&place, "data", &ADMIN);
    let with = |method: &str, path: &str, fault: &str, body: Option<Value>| {
        service.call_with(method, path, &[("x-drawoff-fault", fault)], body)
    };
    for (fault, status, body) in [
        ("401", 401, json!({ "detail": "injected fault" })),
        ("402,text=no credits", 402, json!({ "detail": "no credits" })),
        ("403,shape=legacy,text=locked", 403, json!({ "error": "Forbidden", "message": "locked" })),
        ("404,shape=nested", 404, json!({ "error": { "code": "not_found", "message": "injected fault" } })),
        ("409", 409, json!({ "detail": "injected fault" })),
        ("422", 422, json!({ "detail": [{ "loc": ["body"], "msg": "injected fault", "type": "value_error" }] })),
        ("502,shape=html", 502, Value::Null),
    ] {
        let (found, text) = with("GET", "/workflows", fault, None);
        assert_eq!(found, status, "{fault}");
        if fault.starts_with("422") {
            assert_eq!(text["detail"][0]["loc"], body["detail"][0]["loc"]);
        } else {
            assert_eq!(text, body, "{fault}");
        }
    }
    assert_eq!(service.call("GET", "/workflows", None).0, 200, "the next request has none");
    // A fault that can have no effect is not passed over in silence.
    for fault in ["unsigned", "fail-block", "teapot", "wrong-range", "503,times=2", "503,after=1", "cut=150%"] {
        let (status, body) = with("GET", "/workflows", fault, None);
        assert_eq!(status, 400, "{body}");
        assert!(body["detail"].as_str().unwrap().starts_with("x-drawoff-fault: "), "{body}");
    }
    // The end of the run that the request starts, and its speed.
    let workflow =
        service.chain(&[("webhook", json!({})), ("deduplicate", json!({})), ("filter", json!({ "filters": [] }))]);
    for block in ["group_by", "4"] {
        let (status, body) = with("POST", &run_path(&workflow), &format!("fail-block={block}"), Some(rows(3)));
        assert_eq!(status, 400);
        assert_eq!(body["detail"], format!("x-drawoff-fault: the workflow has no block `{block}`"));
    }
    let (status, started) = with("POST", &run_path(&workflow), "fail-block=deduplicate,text=no luck", Some(rows(3)));
    assert_eq!(status, 200, "{started}");
    let failed = ended(&service, started["job_id"].as_str().unwrap());
    assert_eq!((&failed["overall_status"], &failed["completed_blocks"]), (&json!("failed"), &json!(1)));
    assert_eq!(failed["blocks"][1]["error_message"], "no luck");
    assert_eq!(failed["blocks"][2]["status"], "pending");
    let (_, runs) = service.call("GET", "/workflows/runs", None);
    assert_eq!(
        (&runs[0]["status_reason"], &runs[0]["error_message"]),
        (&json!("block_failed"), &json!("deduplicate: no luck"))
    );
    let run = start(&service, &workflow, rows(3));
    assert_eq!(ended(&service, &run)["overall_status"], "completed");
    // JSON is cut also for a client that accepts compression.
    let cut = block_on(async {
        let request = reqwest::Client::builder().build().unwrap().get(format!("{}/workflows/blocks", service.url));
        let request = request.header("x-api-key", MARKED_KEY).header("x-drawoff-fault", "cut=50%");
        request.send().await.unwrap().bytes().await
    });
    assert!(cut.is_err());
}

#[test]
fn a_slow_run_shows_real_progress_and_can_be_cancelled() {
    let place = Place::new();
    let service = Service::start(&place, "data", &ADMIN);
    let workflow = service.chain(&[("webhook", json!({})), ("deduplicate", json!({}))]);
    let slow = json!({ "kind": "rows-per-second", "value": 100 });
    assert_eq!(service.call("POST", "/admin/faults", Some(slow)).0, 200);
    let run = start(&service, &workflow, rows(100_000));
    let seen = wait_for("progress", || {
        let live = live(&service, &run);
        live["blocks"][0]["processed_count"].as_u64().filter(|n| *n > 0).map(|_| live)
    });
    assert_eq!(seen["overall_status"], "running");
    assert_eq!(seen["blocks"][0]["total_count"], 100_000);
    assert!(seen["overall_progress_percentage"].as_f64().unwrap() < 50.0);
    // The clock of the service is what counts: a thousand seconds pass at once.
    assert_eq!(service.call("POST", "/admin/clock", Some(json!({ "advance": "1000s" }))).0, 200);
    wait_for("the second block", || Some(()).filter(|()| live(&service, &run)["completed_blocks"] == 1));
    service.call("POST", &format!("/workflows/cancel?job_id={run}"), None);
    assert_eq!(ended(&service, &run)["overall_status"], "cancelled");
}

#[test]
fn a_reset_returns_to_the_state_after_the_start() {
    let place = Place::new();
    let seeds = ["--workflow", "testdata/workflows/webhook-leads.json", "--upload", "testdata/companies.csv"];
    // Items of an earlier service stay, too.
    let earlier = Service::start(&place, "data", &[]);
    let old_workflow = earlier.chain(&[("webhook", json!({}))]);
    let old_run = start(&earlier, &old_workflow, rows(1));
    ended(&earlier, &old_run);
    earlier.stop();
    let service = Service::start(&place, "data", &[&seeds[..], &["--admin", "--fault", "500,on=links"]].concat());
    let state = || {
        let list = |path: &str| service.call("GET", path, None).1;
        (list("/workflows"), list("/workflows/runs"), list("/admin/faults"))
    };
    let before = state();
    let files = |kind: &str| std::fs::read_dir(place.path("data").join(kind)).unwrap().count();
    let files_before = (files("runs"), files("uploads"), files("notebooks"));
    let workflow = service.chain(&[("webhook", json!({})), ("append_to_notebook", json!({ "notebook_id": "all" }))]);
    let key = [("idempotency-key", "k")];
    let (_, first) = service.call_with("POST", &run_path(&workflow), &key, Some(rows(3)));
    ended(&service, first["job_id"].as_str().unwrap());
    service.call("POST", &format!("/workflows/delete_workflow?workflow_id={old_workflow}"), None);
    upload(&service, "n\n1\n".to_owned());
    service.call("POST", "/admin/clock", Some(json!({ "advance": "100d" })));
    service.call("POST", "/admin/faults", Some(json!({ "kind": "rows-per-second", "value": 1 })));
    service.call("POST", "/webhooks/signing-secret", None);
    let slow = start(&service, &workflow, rows(500));
    let (status, removed) = service.call("POST", "/admin/reset", None);
    assert_eq!((status, removed), (200, json!({ "workflows": 1, "runs": 2, "uploads": 1, "notebooks": 1 })));
    assert_eq!(service.call("GET", "/admin/requests", None).1, json!([]));
    let after = state();
    assert_eq!(after, before);
    assert_eq!((files("runs"), files("uploads"), files("notebooks")), files_before);
    assert_eq!(service.call("GET", &format!("/workflows/runs/{slow}/live_status"), None).0, 404);
    assert_eq!(service.call("GET", "/admin/clock", None).1["speed"], 1.0);
    let now = service.call("GET", "/admin/clock", None).1["now"].as_str().unwrap().to_owned();
    assert!(
        now < before.0[0]["created_at"].as_str().unwrap().replace("202", "203"),
        "the clock is the system's: {now}"
    );
    // The seeds work, and the same key starts another run.
    let id = before.0.as_array().unwrap().iter().find(|w| w["name"] == "Webhook leads").unwrap()["id"].clone();
    let lead = json!({ "full_name": "A", "email": "a@b.test", "score": 50, "tags": ["x"] });
    let body = json!({ "webhook_payload": lead });
    let (_, again) = service.call_with("POST", &run_path(id.as_str().unwrap()), &key, Some(body));
    assert_eq!(again["already_started"], Value::Null, "{again}");
    assert_eq!(ended(&service, again["job_id"].as_str().unwrap())["overall_status"], "completed");
    assert_eq!(service.call("POST", "/admin/reset", None).1["runs"], 1);
    // What was stored before the start is there after a restart.
    service.stop();
    let service = Service::start(&place, "data", &[]);
    assert_eq!(ended(&service, &old_run)["overall_status"], "completed");
}

/// A run of an earlier service is part of the state after the start: it goes on.
#[test]
fn a_reset_leaves_earlier_runs_to_go_on() {
    let place = Place::new();
    let slow = ["--fault", "rows-per-second=1", "--stop-grace", "0s"];
    let earlier = Service::start(&place, "data", &slow);
    let workflow = earlier.chain(&[("webhook", json!({}))]);
    let run = start(&earlier, &workflow, rows(100));
    earlier.stop();
    let service = Service::start(&place, "data", &[&slow[..], &["--admin"]].concat());
    let own = start(&service, &workflow, rows(100));
    let (_, recorded) = service.call("GET", "/admin/requests", None);
    assert_eq!(service.call("POST", "/admin/reset", None).1["runs"], 1);
    let status = |run: &str| service.call("GET", &format!("/workflows/runs/{run}/live_status"), None);
    assert_eq!(status(&own).0, 404);
    assert!(["queued", "running"].contains(&status(&run).1["overall_status"].as_str().unwrap()));
    let last = recorded.as_array().unwrap().last().unwrap()["number"].as_u64().unwrap();
    let (_, after) = service.call("GET", &format!("/admin/requests?after={last}"), None);
    assert_eq!(after.as_array().unwrap().len(), 2, "numbers go on: {after}");
    service.call("POST", "/admin/clock", Some(json!({ "speed": 1000 })));
    assert_eq!(ended(&service, &run)["overall_status"], "completed");
}

#[test]
fn the_page_shows_what_is_in_force() {
    let place = Place::new();
    let service = Service::start(&place, "data", &["--admin", "--like-hosted", "--fault", "cut=50%,times=2"]);
    let page = || block_on(async { reqwest::get(&service.url).await.unwrap().text().await.unwrap() });
    let text = page();
    assert!(
        text.contains("500 requests per minute and key") && text.contains("<code>cut=50%,times=2</code>"),
        "{text}"
    );
    assert!(text.contains("that of the system"));
    service.call("POST", "/admin/clock", Some(json!({ "set": "2030-01-01T00:00:00Z", "speed": 0 })));
    service.call("DELETE", "/admin/faults", None);
    let text = page();
    assert!(text.contains("2030-01-01T00:00:00.000Z, stopped") && !text.contains("cut=50%"), "{text}");
}

#[test]
fn errors_on_demand_have_their_exit_codes() {
    let place = Place::new();
    let service = Service::start(&place, "data", &ADMIN);
    let client = Place::with_service(&service.url);
    for (fault, code) in [
        (json!({ "kind": "401" }), exit::KEY_REFUSED),
        (json!({ "kind": "402", "shape": "legacy", "text": "no credits" }), exit::REFUSED),
        (json!({ "kind": "403", "shape": "nested", "text": "no credits" }), exit::REFUSED),
    ] {
        service.call("POST", "/admin/faults", Some(fault.clone()));
        let done = client.run_line("workflows ls").code(code);
        if fault["text"].is_string() {
            done.says("no credits");
        }
        service.call("DELETE", "/admin/faults", None);
    }
}
