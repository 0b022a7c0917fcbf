use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::api::{DownloadLink, Graph, RunId};
use crate::net::scripted::{Reply, Scripted, Seen};
use crate::net::{Clock, Http, HttpOptions, Manual, RetryPolicy};
use crate::secret::ApiKey;

fn client(server: &Scripted) -> Client {
    let policy = RetryPolicy::default();
    let policy = RetryPolicy { first_delay: Duration::from_millis(1), max_delay: Duration::from_millis(2), ..policy };
    let options = HttpOptions::new(server.base.parse().unwrap(), Some(ApiKey::new("k")));
    Client::new(Http::new(HttpOptions { policy, ..options }))
}

fn graph() -> Value {
    json!({
        "blocks": [
            {"sequence_number": 1, "block_type": "io", "block_name": "read_csv", "block_id": "a", "specs": {}},
            {"sequence_number": 2, "block_type": "t", "block_name": "deduplicate", "block_id": "b", "specs": {}},
        ],
        "edges": [{"from_block_id": "a", "to_block_id": "b"}],
    })
}

/// The same graph as the server returns it: other ids, other order, explicit nulls.
fn graph_of_server() -> Value {
    json!({
        "edges": [{"from_block_id": "u1", "to_block_id": "u2", "condition": null}],
        "blocks": [
            {"sequence_number": 2, "block_type": "t", "block_name": "deduplicate", "block_id": "u2", "specs": {}},
            {"sequence_number": 1, "block_type": "io", "block_name": "read_csv", "block_id": "u1", "specs": {}},
        ],
    })
}

fn workflow(id: &str, name: &str, definition: Option<Value>) -> Value {
    json!({"id": id, "name": name, "status": "ready", "step": "completed", "created_at": "t", "updated_at": "t",
           "workflow_definition": definition})
}

/// A service with workflows w1 `One`, w2 and w3 `Twice`.
async fn workflows() -> Scripted {
    Scripted::by(|_, seen: &Seen| {
        let ok = |value: Value| Reply::new(200, value.to_string());
        let all = || ["w1", "w2", "w3"].map(|id| workflow(id, if id == "w1" { "One" } else { "Twice" }, None));
        match seen.line.as_str() {
            "GET /workflows" => ok(json!(all())),
            "GET /workflows/w1" => ok(workflow("w1", "One", Some(graph_of_server()))),
            "GET /workflows/w2" => ok(workflow("w2", "Twice", Some(json!({"blocks": [], "edges": []})))),
            "GET /workflows/w3" => ok(workflow("w3", "Twice", Some(graph_of_server()))),
            "GET /workflows/bad%20id" => Reply::new(422, r#"{"detail":[]}"#),
            "POST /workflows/create_workflow" => {
                let body: Value = serde_json::from_slice(&seen.body).unwrap();
                let name = body["workflow_name"].as_str().unwrap();
                ok(workflow("new", name, Some(body["workflow_definition"].clone())))
            }
            "POST /workflows/update_workflow?workflow_id=w1" => ok(workflow("w1", "One", Some(graph()))),
            _ => Reply::new(404, r#"{"detail":"Workflow not found"}"#),
        }
    })
    .await
}

fn definition_file(value: &Value) -> tempfile::NamedTempFile {
    let file = tempfile::Builder::new().prefix("definition-").suffix(".json").tempfile().unwrap();
    std::fs::write(file.path(), value.to_string()).unwrap();
    file
}

#[tokio::test]
async fn a_workflow_is_found_by_id_or_by_a_name_that_only_one_has() {
    let server = workflows().await;
    let client = client(&server);
    assert_eq!(client.resolve_workflow("w2").await.unwrap().id.0, "w2");
    let by_name = client.resolve_workflow("One").await.unwrap();
    assert_eq!((by_name.id.0.as_str(), by_name.how, by_name.graph.blocks.len()), ("w1", "found", 2));
    match client.resolve_workflow("Twice").await.unwrap_err() {
        Error::AmbiguousName { ids, .. } => assert_eq!(ids.len(), 2),
        other => panic!("{other}"),
    }
    assert!(matches!(client.resolve_workflow("one").await.unwrap_err(), Error::UnknownWorkflow(_)));
    assert!(matches!(client.resolve_workflow("bad id").await.unwrap_err(), Error::UnknownWorkflow(_)));
}

#[tokio::test]
async fn a_definition_file_becomes_a_workflow_once() {
    let server = workflows().await;
    let client = client(&server);
    let resolve = async |value: Value| {
        let file = definition_file(&value);
        client.resolve_workflow(file.path().to_str().unwrap()).await
    };
    let named = |name: &str| json!({"workflow_name": name, "workflow_definition": graph()});
    // Of the two workflows of that name, the one with the same graph.
    let same = resolve(named("Twice")).await.unwrap();
    assert_eq!((same.id.0.as_str(), same.how), ("w3", "found"));
    let new = resolve(named("Other")).await.unwrap();
    assert_eq!((new.id.0.as_str(), new.how), ("new", "created"));
    // A bare graph is named after the file.
    let bare = resolve(graph()).await.unwrap();
    assert!(bare.name.starts_with("definition-") && bare.how == "created");
    // With an id: created, reused, or changed.
    let with_id = |id: &str, graph: Value| json!({"id": id, "workflow_name": "One", "workflow_definition": graph});
    assert_eq!(resolve(with_id("w9", graph())).await.unwrap().how, "created");
    assert_eq!(resolve(with_id("w1", graph())).await.unwrap().how, "found");
    assert_eq!(resolve(with_id("w1", json!({"blocks": [], "edges": []}))).await.unwrap().how, "updated");
    assert!(matches!(resolve(json!({"name": "x"})).await.unwrap_err(), Error::Definition { .. }));
    assert!(matches!(client.resolve_workflow("no/such.json").await.unwrap_err(), Error::Read { .. }));
}

#[test]
fn graphs_are_compared_without_ids_and_order() {
    let parse = |value: Value| serde_json::from_value::<Graph>(value).unwrap();
    assert!(same_graph(&parse(graph()), &parse(graph_of_server())));
    let mut other = graph();
    other["blocks"][1]["specs"] = json!({"columns": ["a"]});
    assert!(!same_graph(&parse(other), &parse(graph())));
    let mut turned = graph();
    turned["edges"][0] = json!({"from_block_id": "b", "to_block_id": "a"});
    assert!(!same_graph(&parse(turned), &parse(graph())));
    assert_eq!(source_block(&parse(graph_of_server())).unwrap().block_name, "read_csv");
}

fn live(status: &str, blocks: Value) -> Reply {
    let body = json!({"run_id": "r1", "workflow_id": "w1", "overall_status": status, "last_updated": "t",
                      "blocks": blocks});
    Reply::new(200, body.to_string())
}

fn quick(grace: Duration, deadline: Option<Duration>) -> WatchOptions {
    let pace = PollPace { first: Duration::from_millis(1), longest: Duration::from_millis(2) };
    WatchOptions { pace, grace, deadline }
}

#[tokio::test]
async fn only_a_run_that_was_just_started_may_be_unknown() {
    let server = Scripted::replies(vec![Reply::new(404, "{}")]).await;
    let client = client(&server);
    let options = WatchOptions { pace: PollPace::LOOPBACK, ..WatchOptions::of(&client) };
    let error = client.watch(&RunId("r1".into()), &options, |_| ()).await.unwrap_err();
    assert!(error.to_string().ends_with("/workflows/runs/r1/live_status: not found (status 404): {}"), "{error}");
    assert_eq!(server.seen().len(), 1);
    assert!(!WatchOptions::of_new_run(&client).grace.is_zero());
}

#[tokio::test]
async fn a_watch_continues_to_a_terminal_state() {
    let server = Scripted::replies(vec![
        Reply::new(404, "{}"),
        live("queued", json!([])),
        live("PAUSED", json!([])),
        live("Running", json!([])),
        live("timeout", json!([])),
    ])
    .await;
    let mut seen = Vec::new();
    let options = quick(Duration::from_secs(60), None);
    let client = client(&server);
    let run = RunId("r1".into());
    let end = client.watch(&run, &options, |s| seen.push(s.overall_status.clone())).await.unwrap();
    assert_eq!(seen, ["queued", "PAUSED", "Running", "timeout"]);
    let error = client.require_completed(&end).await.unwrap_err();
    assert_eq!(error.to_string(), "run r1 timed out and was stopped by the service");
}

#[tokio::test]
async fn a_run_that_stays_unknown_is_not_found() {
    let server = Scripted::replies(vec![Reply::new(404, "{}")]).await;
    let run = RunId("r1".into());
    let error = client(&server).watch(&run, &quick(Duration::ZERO, None), |_| ()).await.unwrap_err();
    assert!(matches!(error, Error::Net(error) if error.kind() == crate::net::Kind::NotFound));
}

#[tokio::test]
async fn a_new_run_is_polled_through_its_grace_at_growing_intervals() {
    let server = Scripted::replies(vec![Reply::new(404, "{}")]).await;
    let manual = Manual::auto_advancing();
    let policy = RetryPolicy { jitter: || 0.0, clock: Clock::Manual(manual.clone()), ..RetryPolicy::default() };
    let options = HttpOptions::new(server.base.parse().unwrap(), Some(ApiKey::new("k")));
    let client = Client::new(Http::new(HttpOptions { policy, ..options }));
    let options = WatchOptions { pace: PollPace::HOSTED, ..WatchOptions::of_new_run(&client) };
    let error = client.watch(&RunId("r1".into()), &options, |_| ()).await.unwrap_err();
    assert!(matches!(error, Error::Net(error) if error.kind() == crate::net::Kind::NotFound));
    // Polled after 0, 2, 5, 9.5, 16.25, 26.25 and 36.25 s, the last of them beyond the 30 s of grace.
    assert_eq!((server.seen().len(), manual.passed().as_millis()), (7, 36_250));
}

#[tokio::test]
async fn the_deadline_error_has_the_last_state() {
    let server = Scripted::replies(vec![live("paused", json!([]))]).await;
    let run = RunId("r1".into());
    let options = quick(Duration::ZERO, Some(Duration::from_millis(20)));
    let error = client(&server).watch(&run, &options, |_| ()).await.unwrap_err();
    assert!(matches!(error, Error::Deadline { status, .. } if status == "paused"));
}

#[tokio::test]
async fn one_odd_response_does_not_end_a_watch() {
    let running = || live("running", json!([]));
    let refusal = |status: u16| Reply::new(status, r#"{"detail":"no"}"#);
    let run = RunId("r1".into());
    let odd = [refusal(401), refusal(404), Reply::new(403, "<html>"), refusal(422)];
    let replies: Vec<Reply> =
        odd.into_iter().flat_map(|odd| [running(), odd]).chain([live("completed", json!([]))]).collect();
    let server = Scripted::replies(replies).await;
    let end = client(&server).watch(&run, &quick(Duration::ZERO, None), |_| ()).await.unwrap();
    assert_eq!(end.overall_status, "completed");
    // A run that was never seen, and refusals that last.
    let server = Scripted::replies(vec![refusal(401)]).await;
    client(&server).watch(&run, &quick(Duration::ZERO, None), |_| ()).await.unwrap_err();
    assert_eq!(server.seen().len(), 1);
    let server = Scripted::replies(vec![running(), refusal(401)]).await;
    let error = client(&server).watch(&run, &quick(Duration::ZERO, None), |_| ()).await.unwrap_err();
    assert!(error.to_string().contains("the API key was rejected"), "{error}");
}

#[tokio::test]
async fn a_failed_run_has_its_block_and_message() {
    let block = |n: i64, status: &str, message: Option<&str>| {
        json!({"block_name": format!("b{n}"), "sequence_number": n, "status": status, "last_updated": "t",
               "error_message": message, "metrics": {}})
    };
    let blocks = json!([block(2, "failed", Some("no column x")), block(1, "completed", None)]);
    let server = Scripted::replies(vec![live("failed", blocks)]).await;
    let run = RunId("r1".into());
    let client_one = client(&server);
    let end = client_one.live_status(&run).await.unwrap();
    let error = client_one.require_completed(&end).await.unwrap_err();
    assert_eq!(error.to_string(), "run r1 failed in block 2 (b2): no column x");
    // Without a message of a block, that of the run is taken from the list of runs.
    let runs = json!([{"job_id": "r1", "workflow_id": "w1", "status": "failed", "error_message": "out of credits"}]);
    let server = Scripted::replies(vec![live("failed", json!([])), Reply::new(200, runs.to_string())]).await;
    let client = client(&server);
    let end = client.live_status(&run).await.unwrap();
    let error = client.require_completed(&end).await.unwrap_err();
    assert_eq!(error.to_string(), "run r1 failed: out of credits");
}

#[tokio::test]
async fn a_start_is_retried_under_one_key() {
    let started = json!({"status": "queued", "workflow_id": "w1", "job_id": "r1"}).to_string();
    let server = Scripted::replies(vec![Reply::new(503, ""), Reply::new(200, "").cut_at(0), Reply::new(200, started)]);
    let server = server.await;
    let key = IdempotencyKey::fresh("w1");
    assert_ne!(key, IdempotencyKey::fresh("w1"));
    let options = StartOptions {
        input: Some(crate::api::HandleId("h1".into())),
        payload: None,
        formats: vec![ResultFormat::Ndjson],
        key: key.clone(),
    };
    // The empty response of the second attempt is invalid, and the call is repeated.
    let client = client(&server);
    let id = crate::api::WorkflowId("w1".into());
    assert_eq!(client.start(&id, &options).await.unwrap().run.0, "r1");
    let seen = server.seen();
    assert!(seen.iter().all(|s| s.header("idempotency-key") == Some(key.as_str())));
    assert_eq!(seen[0].line, "POST /workflows/run?workflow_id=w1&result_formats=ndjson");
    assert_eq!(seen[0].body, br#"{"specs_override":{"resource_handle_id":"h1"}}"#);
}

#[tokio::test]
async fn a_refusal_is_certain_only_if_the_api_itself_refused_the_only_attempt() {
    let refusal = |status| Reply::new(status, r#"{"detail":"no"}"#);
    let page = |status| Reply::new(status, "<html>no</html>");
    let id = crate::api::WorkflowId("w1".into());
    let options = StartOptions { input: None, payload: None, formats: vec![], key: IdempotencyKey::fresh("w1") };
    for (replies, certain) in [
        (vec![refusal(422)], true),
        (vec![refusal(429).header("retry-after", "0"), refusal(402)], true),
        (vec![refusal(409)], false),
        (vec![page(404)], false),
        // What the first attempt did is unknown.
        (vec![refusal(503), refusal(404)], false),
        (vec![Reply::new(200, "").cut_at(0), refusal(404)], false),
        (vec![page(200), refusal(404)], false),
    ] {
        let server = Scripted::replies(replies.clone()).await;
        match client(&server).start(&id, &options).await.unwrap_err() {
            Error::Net(error) => assert_eq!(error.is_certain_refusal(), certain, "{error}"),
            other => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn the_page_of_a_gateway_is_not_taken_for_a_verdict_of_the_api() {
    // Once the API has responded, a foreign 404 and a page in place of JSON are asked again.
    let lists = || Reply::new(200, "[]");
    let replies = vec![lists(), Reply::new(404, "default backend - 404"), Reply::new(200, "<html>"), lists()];
    let server = Scripted::replies(replies).await;
    let client_one = client(&server);
    assert!(client_one.workflows().await.unwrap().is_empty());
    assert!(client_one.workflows().await.unwrap().is_empty());
    // A byte order mark before JSON is no page.
    let server = Scripted::replies(vec![Reply::new(200, "\u{feff}[]"), Reply::new(404, "")]).await;
    assert!(client(&server).workflows().await.unwrap().is_empty());
    // At an address that never was the API, it is reported at once.
    let server = Scripted::replies(vec![Reply::new(404, "default backend - 404")]).await;
    assert!(client(&server).workflows().await.unwrap_err().to_string().contains("not found"));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn an_upload_streams_the_file_and_is_retried_whole() {
    let server = Scripted::replies(vec![Reply::new(500, ""), Reply::new(200, r#"{"handle_id":"h7"}"#)]).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("companies.csv");
    let rows = "name,city\n".to_owned() + &"Müller,Zürich\n".repeat(60_000);
    std::fs::write(&path, &rows).unwrap();
    let upload = Upload::open(&path).unwrap();
    assert_eq!(client(&server).upload(&upload).await.unwrap().handle_id.0, "h7");
    for seen in server.seen() {
        let body = String::from_utf8(seen.body).unwrap();
        assert!(body.contains(&rows) && body.contains(r#"name="file"; filename="companies.csv""#));
    }
    let other = directory.path().join("companies.xlsx");
    std::fs::write(&other, "x").unwrap();
    assert!(matches!(Upload::open(&other).unwrap_err(), Error::UploadKind { .. }));
    assert!(matches!(Upload::open(directory.path()).unwrap_err(), Error::Read { .. }));
}

fn link(name: &str, block: Option<i64>, url: Option<&str>) -> Value {
    json!({"filename": name, "storage_bucket": "b", "row_count": 1, "block_number": block, "download_url": url,
           "message": "signing failed"})
}

#[test]
fn the_final_block_is_the_highest_number() {
    let links: Vec<DownloadLink> = [(2, "two"), (10, "ten"), (1, "one")]
        .map(|(n, name)| serde_json::from_value(link(name, Some(n), None)).unwrap())
        .into();
    let run = RunId("r1".into());
    let names = |wanted| {
        select_links(links.clone(), wanted, &run).map(|links| links.into_iter().map(|l| l.filename).collect::<Vec<_>>())
    };
    assert_eq!(names(BlockSelection::Final).unwrap(), ["ten"]);
    assert_eq!(names(BlockSelection::Block(1)).unwrap(), ["one"]);
    assert_eq!(names(BlockSelection::All).unwrap(), ["one", "two", "ten"]);
    assert_eq!(
        names(BlockSelection::Block(7)).unwrap_err().to_string(),
        "run r1 has no result of block 7; it has 1, 2, 10"
    );
}

#[tokio::test]
async fn links_without_url_are_requested_again_and_then_named() {
    let list = |url: Option<&str>| Reply::new(200, json!([link("a.ndjson", Some(1), url)]).to_string());
    let run = RunId("r1".into());
    let formats = [ResultFormat::Ndjson, ResultFormat::Csv];
    let server = Scripted::replies(vec![list(None), list(Some("http://x.test/a"))]).await;
    let results = client(&server).result_links(&run, &formats, BlockSelection::Final).await.unwrap();
    assert_eq!((results.format, results.links.len()), (ResultFormat::Ndjson, 1));
    assert_eq!(results.messages, [("a.ndjson".to_owned(), "signing failed".to_owned())]);
    // With one block selected, messages about other files are left out.
    let two =
        json!([link("a.ndjson", Some(1), Some("http://x.test/a")), link("b.ndjson", Some(2), Some("http://x.test/b"))]);
    let server = Scripted::replies(vec![Reply::new(200, two.to_string())]).await;
    let results = client(&server).result_links(&run, &formats, BlockSelection::Block(2)).await.unwrap();
    assert_eq!(results.messages, [("b.ndjson".to_owned(), "signing failed".to_owned())]);
    let server = Scripted::replies(vec![list(None)]).await;
    let error = client(&server).result_links(&run, &formats, BlockSelection::Final).await.unwrap_err();
    assert_eq!(error.to_string(), "the API returned no download URL for a.ndjson: signing failed");
    // The list of a format that the run does not have is empty; the next format is requested.
    let server = Scripted::replies(vec![Reply::new(200, "[]"), list(Some("http://x.test/a"))]).await;
    let results = client(&server).result_links(&run, &formats, BlockSelection::Final).await.unwrap();
    assert_eq!(results.format, ResultFormat::Csv);
    let server = Scripted::replies(vec![Reply::new(200, "[]")]).await;
    let error = client(&server).result_links(&run, &formats, BlockSelection::Final).await.unwrap_err();
    assert_eq!(error.to_string(), "run r1 has no results in the format ndjson or csv");
}
