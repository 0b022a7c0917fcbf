//! The contract of the Workflows API: status codes, response bodies and result files. The service under test is a local
//! `drawoff serve`, or the one at `DRAWOFF_TEST_CONTRACT_URL` with the key in `DRAWOFF_TEST_CONTRACT_KEY`. The tests
//! create workflows of free blocks and delete them.
//!
//! For details that the public documentation leaves open, [`Api::our_reading`] requires our interpretation of the local
//! service and only prints the differences of another one.

use std::time::{Duration, Instant};

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::support::{MARKED_KEY, Place, Service, block_on};

/// Time limit of a run.
const PATIENCE: Duration = Duration::from_secs(600);

struct Api {
    base: String,
    key: String,
    client: reqwest::Client,
    pace: Duration,
    /// The local service and its directory; `None` for another service.
    local: Option<(Service, Place)>,
}

struct Answer {
    status: u16,
    body: Value,
    headers: reqwest::header::HeaderMap,
}

impl Answer {
    #[track_caller]
    fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// Checks for an error of this status and its body: a text, or for 422 a list of positions.
    #[track_caller]
    fn refused(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        let detail = self.body["detail"].clone();
        if status == 422 {
            for entry in detail.as_array().expect("422 has a list of places") {
                assert!(entry["loc"].as_array().is_some_and(|loc| !loc.is_empty()), "{entry}");
                assert!(entry["msg"].is_string() && entry["type"].is_string(), "{entry}");
            }
        } else {
            assert!(detail.is_string(), "{detail}");
        }
        detail
    }
}

impl Api {
    fn open() -> Self {
        let client = reqwest::Client::new();
        match std::env::var("DRAWOFF_TEST_CONTRACT_URL") {
            Ok(url) if !url.is_empty() => {
                let key = std::env::var("DRAWOFF_TEST_CONTRACT_KEY").expect("DRAWOFF_TEST_CONTRACT_KEY holds the key");
                let base = url.trim_end_matches('/').to_owned();
                Api { base, key, client, pace: Duration::from_secs(3), local: None }
            }
            _ => {
                let place = Place::new();
                let service = Service::start(&place, "data", &["--api-key", MARKED_KEY, "--like-hosted"]);
                let base = service.url.clone();
                let local = Some((service, place));
                Api { base, key: MARKED_KEY.to_owned(), client, pace: Duration::from_millis(20), local }
            }
        }
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().unwrap();
        self.client.request(method, format!("{}{path}", self.base)).header("x-api-key", &self.key)
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.unwrap();
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let text = answer.text().await.unwrap();
        Answer { status, headers, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        let request = self.request("POST", path);
        self.send(if body.is_null() { request } else { request.json(&body) }).await
    }

    async fn upload(&self, name: &str, content: &str) -> Answer {
        let form = Form::new().part("file", Part::text(content.to_owned()).file_name(name.to_owned()));
        self.send(self.request("POST", "/storage/csv/upload").multipart(form)).await
    }

    /// Requires `holds` of the local service; of another one only prints the difference.
    #[track_caller]
    #[expect(clippy::print_stderr, reason = "a difference of the hosted service is news")]
    fn our_reading(&self, what: &str, holds: bool, found: &dyn std::fmt::Display) {
        if self.local.is_some() {
            assert!(holds, "{what}: {found}");
        } else if !holds {
            eprintln!("the service differs from our reading: {what}: {found}");
        }
    }

    async fn make(&self, definition: Value) -> String {
        let workflow = self.post("/workflows/create_workflow", body_of(definition)).await.ok();
        workflow["id"].as_str().unwrap().to_owned()
    }

    async fn delete(&self, id: &str) {
        let deleted = self.post(&format!("/workflows/delete_workflow?workflow_id={id}"), Value::Null).await.ok();
        assert_eq!(deleted["id"], id);
    }

    async fn start(&self, workflow: &str, query: &str, body: Value) -> String {
        let started = self.post(&format!("/workflows/run?workflow_id={workflow}{query}"), body).await.ok();
        assert_eq!(started["status"], "queued");
        assert_eq!(started["workflow_id"], workflow);
        assert!(started["already_started"].is_null(), "{started}");
        started["job_id"].as_str().unwrap().to_owned()
    }

    async fn live(&self, run: &str) -> Value {
        self.get(&format!("/workflows/runs/{run}/live_status")).await.ok()
    }

    async fn ended(&self, run: &str) -> Value {
        let begun = Instant::now();
        loop {
            let status = self.live(run).await;
            let word = status["overall_status"].as_str().unwrap().to_owned();
            if ["completed", "failed", "cancelled", "timeout"].contains(&word.as_str()) {
                return status;
            }
            assert!(["queued", "running"].contains(&word.as_str()), "{word} is no state");
            assert!(begun.elapsed() < PATIENCE, "run {run} does not end");
            tokio::time::sleep(self.pace).await;
        }
    }

    async fn links(&self, run: &str, format: &str) -> Vec<Value> {
        let path = format!("/workflows/runs/{run}/results/download-links?format={format}");
        let mut links = self.get(&path).await.ok().as_array().unwrap().clone();
        links.sort_by_key(|link| link["block_number"].as_i64());
        links
    }

    async fn fetch(&self, link: &Value) -> String {
        let url = link["download_url"].as_str().unwrap();
        let mut request = self.client.get(url);
        // The key goes to the API's own origin only.
        if url.starts_with(&self.base) {
            request = request.header("x-api-key", &self.key);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    }
}

/// Builds a workflow whose blocks form a chain.
fn chain(blocks: &[(&str, &str, Value)]) -> Value {
    let id = |n: usize| format!("block-{n}");
    let made = blocks.iter().enumerate().map(|(i, (category, name, specs))| {
        json!({
            "sequence_number": i + 1, "block_type": category, "block_name": name, "block_id": id(i), "specs": specs,
        })
    });
    let edges = (1..blocks.len()).map(|i| json!({ "from_block_id": id(i - 1), "to_block_id": id(i) }));
    json!({ "blocks": made.collect::<Vec<_>>(), "edges": edges.collect::<Vec<_>>() })
}

fn source() -> (&'static str, &'static str, Value) {
    ("io", "webhook", json!({ "input_schema": { "name": "string", "n": "int" }, "dataframe_type": "LEAD" }))
}

fn filter() -> (&'static str, &'static str, Value) {
    let filters = json!([{ "column": "n", "operator": "greater", "value": 1 }]);
    ("data", "filter", json!({ "filters": filters }))
}

fn body_of(definition: Value) -> Value {
    json!({
        "workflow_name": "drawoff contract suite",
        "workflow_description": "made by tests, deleted by them",
        "workflow_definition": definition,
    })
}

fn unknown_id() -> &'static str {
    "00000000-0000-4000-8000-000000000000"
}

#[track_caller]
fn has_fields(value: &Value, fields: &[&str]) {
    for field in fields {
        assert!(value.get(field).is_some(), "{field} is not in {value:#}");
    }
}

#[test]
fn a_key_is_required() {
    let api = Api::open();
    block_on(async {
        for (method, path) in [("GET", "/workflows"), ("GET", "/workflows/runs?limit=0"), ("POST", "/workflows/run")] {
            for key in [None, Some("wrong")] {
                let mut request = api.client.request(method.parse().unwrap(), format!("{}{path}", api.base));
                if let Some(key) = key {
                    request = request.header("x-api-key", key);
                }
                api.send(request).await.refused(401);
            }
        }
        let answer = api.get("/workflows").await;
        let limit = answer.headers.get("x-ratelimit-limit").and_then(|value| value.to_str().ok()?.parse().ok());
        api.our_reading("500 requests a minute, in the headers", limit == Some(500), &format!("{limit:?}"));
    });
}

#[test]
fn workflows_are_created_read_updated_and_deleted() {
    let api = Api::open();
    block_on(async {
        let made = api.post("/workflows/create_workflow", body_of(chain(&[source(), filter()]))).await.ok();
        has_fields(&made, &["id", "name", "status", "step", "created_at", "updated_at", "workflow_definition"]);
        assert_eq!(
            (&made["name"], &made["description"]),
            (&json!("drawoff contract suite"), &json!("made by tests, deleted by them"))
        );
        let id = made["id"].as_str().unwrap();
        let graph = &made["workflow_definition"];
        assert_eq!(graph["blocks"].as_array().map(Vec::len), Some(2));
        // Ids that are no UUIDs are replaced, in the edges too.
        let ids: Vec<&str> =
            graph["blocks"].as_array().unwrap().iter().map(|b| b["block_id"].as_str().unwrap()).collect();
        assert!(ids.iter().all(|id| id.len() == 36), "{ids:?}");
        assert!(ids.contains(&graph["edges"][0]["from_block_id"].as_str().unwrap()));
        let again = api.get(&format!("/workflows/{id}")).await.ok();
        assert_eq!(again["workflow_definition"], *graph);
        let list = api.get("/workflows").await.ok();
        let listed = list.as_array().unwrap().iter().find(|workflow| workflow["id"] == *id).expect("it is listed");
        assert!(listed["workflow_definition"].is_null());

        let mut same = body_of(chain(&[source()]));
        same["id"] = json!(id);
        api.post("/workflows/create_workflow", same).await.refused(409);
        let path = format!("/workflows/update_workflow?workflow_id={id}");
        let renamed = api.post(&path, json!({ "workflow_name": "drawoff contract suite 2" })).await.ok();
        assert_eq!(renamed["name"], "drawoff contract suite 2");
        assert_eq!(renamed["description"], made["description"]);
        let smaller = api.post(&path, json!({ "workflow_definition": chain(&[source()]) })).await.ok();
        assert_eq!(smaller["workflow_definition"]["blocks"].as_array().map(Vec::len), Some(1));
        api.delete(id).await;
        api.get(&format!("/workflows/{id}")).await.refused(404);
        api.post(&format!("/workflows/delete_workflow?workflow_id={id}"), Value::Null).await.refused(404);
        // What is not there is made by an update.
        let made = api.post(&path, body_of(chain(&[source()]))).await.ok();
        assert_eq!(made["id"], id);
        api.delete(id).await;
        api.post("/workflows/update_workflow", json!({})).await.refused(422);
        let text = api.get("/workflows/no-such-id").await;
        api.our_reading("an id that is no UUID is 422", text.status == 422, &text.status);
    });
}

#[test]
fn invalid_graphs_are_refused() {
    let api = Api::open();
    block_on(async {
        let good = chain(&[source(), filter()]);
        let change = |change: &dyn Fn(&mut Value)| {
            let mut graph = good.clone();
            change(&mut graph);
            body_of(graph)
        };
        let bad = [
            change(&|graph| *graph = json!({ "blocks": [], "edges": [] })),
            change(&|graph| graph["edges"][0]["to_block_id"] = json!("nowhere")),
            change(&|graph| {
                let back = json!({ "from_block_id": "block-1", "to_block_id": "block-0" });
                graph["edges"].as_array_mut().unwrap().push(back);
            }),
            change(&|graph| graph["blocks"][1]["block_name"] = json!("no_such_block")),
            change(&|graph| graph["blocks"][1]["specs"] = json!([])),
            json!({ "workflow_name": "n" }),
        ];
        for body in bad {
            api.post("/workflows/create_workflow", body).await.refused(422);
        }
        let request = api.request("POST", "/workflows/create_workflow").header("content-type", "application/json");
        let malformed = api.send(request.body("{")).await;
        api.our_reading("malformed JSON is 400", malformed.status == 400, &malformed.status);
    });
}

#[test]
fn a_run_from_its_start_to_its_files() {
    let api = Api::open();
    block_on(async {
        let workflow = api.make(chain(&[source(), filter()])).await;
        let rows = json!([{ "name": "a", "n": 1 }, { "name": "b, \"c\"", "n": 2, "more": { "x": [true] } }]);
        let body = json!({ "webhook_payload": rows });
        let query = "&result_formats=csv&result_formats=ndjson";
        let run = api.start(&workflow, query, body).await;
        let status = api.ended(&run).await;
        assert_eq!(status["overall_status"], "completed", "{status:#}");
        has_fields(
            &status,
            &[
                "run_id",
                "workflow_id",
                "total_blocks",
                "completed_blocks",
                "last_updated",
                "overall_progress_percentage",
            ],
        );
        assert_eq!((&status["run_id"], &status["workflow_id"]), (&json!(run), &json!(workflow)));
        assert_eq!(status["overall_progress_percentage"].as_f64(), Some(100.0));
        let blocks = status["blocks"].as_array().unwrap();
        assert_eq!(blocks.len(), 2);
        for block in blocks {
            has_fields(block, &["block_name", "sequence_number", "status", "last_updated", "metrics"]);
            assert_eq!(block["status"], "completed");
            assert_eq!(block["metrics"]["dataframe_type"], "LEAD");
        }
        let links = api.links(&run, "ndjson").await;
        let last = links.last().expect("the run has results");
        has_fields(last, &["filename", "storage_bucket", "download_url", "block_number"]);
        let text = api.fetch(last).await;
        let found: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(found, [json!({ "name": "b, \"c\"", "n": 2, "more": { "x": [true] } })]);
        let csv = api.fetch(api.links(&run, "csv").await.last().unwrap()).await;
        assert!(csv.trim_start_matches('\u{feff}').starts_with("name,n,more"), "{csv}");
        assert!(csv.contains("\"b, \"\"c\"\"\",2,"), "{csv}");
        let json_links = api.links(&run, "json").await;
        api.our_reading("a format that was not asked for is an empty list", json_links.is_empty(), &json_links.len());
        let unknown = api.get(&format!("/workflows/runs/{run}/results/download-links?format=xlsx")).await;
        api.our_reading("an unknown format is 400", unknown.status == 400, &unknown.status);

        let list = api.get(&format!("/workflows/runs?workflow_id={workflow}&limit=5")).await.ok();
        let listed = list.as_array().unwrap().iter().find(|listed| listed["job_id"] == run).expect("it is listed");
        has_fields(listed, &["workflow_id", "status"]);
        assert_eq!(listed["status"], "completed");
        let active = api.get(&format!("/workflows/runs?workflow_id={workflow}&status=active")).await.ok();
        assert_eq!(active, json!([]));
        let cancelled = api.post("/workflows/cancel", json!({ "job_id": run })).await;
        api.our_reading("to cancel what has completed is 400", cancelled.status == 400, &cancelled.status);
        api.delete(&workflow).await;
        assert_eq!(api.live(&run).await["overall_status"], "completed", "runs stay when their workflow goes");
    });
}

#[test]
fn an_idempotency_key_is_remembered() {
    let api = Api::open();
    block_on(async {
        let workflow = api.make(chain(&[source()])).await;
        let path = format!("/workflows/run?workflow_id={workflow}");
        let key = format!("drawoff-contract-{}", std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos());
        let start = || {
            let body = json!({ "webhook_payload": { "name": "one row", "n": 1 } });
            api.send(api.request("POST", &path).header("idempotency-key", &key).json(&body))
        };
        let first = start().await.ok();
        let again = start().await.ok();
        assert_eq!((&again["job_id"], &again["already_started"]), (&first["job_id"], &json!(true)));
        let status = api.ended(first["job_id"].as_str().unwrap()).await;
        assert_eq!(status["overall_status"], "completed");
        api.delete(&workflow).await;
    });
}

#[test]
fn invalid_starts_are_refused() {
    let api = Api::open();
    block_on(async {
        let workflow = api.make(chain(&[source()])).await;
        let path = format!("/workflows/run?workflow_id={workflow}");
        let reading = |what: &str, status: u16, found: u16| api.our_reading(what, found == status, &found);
        let lacking = api.post(&path, json!({ "webhook_payload": [{ "name": "no n" }] })).await;
        lacking.refused(400);
        let malformed = api.post(&path, json!({ "webhook_payload": [1] })).await;
        reading("a payload row that is no object is 400", 400, malformed.status);
        let none = api.post(&path, json!({})).await;
        reading("no payload and no sample is 400", 400, none.status);
        let formats = api.post(&format!("{path}&result_formats=xlsx"), json!({ "webhook_payload": [] })).await;
        reading("an unknown result format is 400", 400, formats.status);
        api.post("/workflows/run", json!({})).await.refused(422);
        let unknown = format!("/workflows/run?workflow_id={}", unknown_id());
        api.post(&unknown, json!({ "webhook_payload": [] })).await.refused(404);
        let empty = api.start(&workflow, "", json!({ "webhook_payload": [] })).await;
        assert_eq!(api.ended(&empty).await["overall_status"], "completed");
        api.delete(&workflow).await;
    });
}

#[test]
fn a_file_is_uploaded_and_read() {
    let api = Api::open();
    block_on(async {
        let workflow = api.make(chain(&[("io", "read_csv", json!({})), ("data", "deduplicate", json!({}))])).await;
        let uploaded = api.upload("people.csv", "name,n\na,1\na,1\n\"b\nc\",2\n").await.ok();
        let handle = uploaded["handle_id"].as_str().unwrap();
        let body = json!({ "specs_override": { "resource_handle_id": handle } });
        let run = api.start(&workflow, "&result_formats=ndjson", body).await;
        assert_eq!(api.ended(&run).await["overall_status"], "completed");
        let text = api.fetch(api.links(&run, "ndjson").await.last().unwrap()).await;
        assert_eq!(text.lines().count(), 2, "{text}");
        let path = format!("/workflows/run?workflow_id={workflow}");
        api.post(&path, json!({ "webhook_payload": [{ "name": "a" }] })).await.refused(400);
        let without = api.post(&path, json!({})).await;
        api.our_reading("read_csv without a handle is 400", without.status == 400, &without.status);
        let kind = api.upload("people.xlsx", "x").await;
        api.our_reading("another kind of file is 400", kind.status == 400, &kind.status);
        api.delete(&workflow).await;
    });
}

#[test]
fn lists_and_runs_that_are_not_there() {
    let api = Api::open();
    block_on(async {
        for query in ["limit=0", "limit=501", "limit=x"] {
            api.get(&format!("/workflows/runs?{query}")).await.refused(422);
        }
        api.get(&format!("/workflows/runs?workflow_id={}", unknown_id())).await.refused(404);
        api.get(&format!("/workflows/runs/{}/live_status", unknown_id())).await.refused(404);
        api.get(&format!("/workflows/runs/{}/results/download-links", unknown_id())).await.refused(404);
        api.get("/workflows/runs/no-uuid/live_status").await.refused(422);
        let neither = api.post("/workflows/cancel", json!({})).await;
        api.our_reading("a cancel of nothing is 400", neither.status == 400, &neither.status);
        api.post("/workflows/cancel", json!({ "job_id": unknown_id() })).await.refused(404);
        api.post(&format!("/workflows/cancel?job_id={}", unknown_id()), Value::Null).await.refused(404);
    });
}

#[test]
fn the_catalogue_has_a_schema_for_every_block() {
    let api = Api::open();
    block_on(async {
        let blocks = api.get("/workflows/blocks").await.ok();
        let blocks = blocks.as_array().unwrap();
        for name in ["webhook", "read_csv", "filter", "deduplicate", "remove_columns", "outgoing_webhook"] {
            let block = blocks.iter().find(|block| block["block_name"] == name);
            assert!(block.is_some_and(|block| block["specs_schema"].is_object()), "{name} is not in the catalogue");
        }
    });
}
