//! Tests of the whole service over HTTP within this process, a file per theme. They drive it only through its API, its
//! configuration and its data directory.

mod archives;
mod blocks;
mod bulk;
pub(super) mod conform;
mod connections;
mod deliver;
mod errors;
mod faults;
mod files;
mod hosts;
mod intelligence;
mod limits;
mod page;
mod restart;
mod retention;
mod runs;
mod schedules;
mod tables;
mod typed_fields;
mod uploads;
mod workflows;

use std::time::Duration;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use super::server::Error;
use super::{Config, Service, store};

/// A service with its own data directory, and a client that sends a key.
struct Local {
    service: Service,
    client: reqwest::Client,
    dir: tempfile::TempDir,
}

/// A response: its status and its JSON body, null if empty.
#[derive(Debug)]
struct JsonResponse {
    status: StatusCode,
    body: Value,
}

impl JsonResponse {
    async fn read(response: Response) -> Self {
        let status = response.status();
        let text = response.text().await.unwrap();
        let body = if text.is_empty() { Value::Null } else { serde_json::from_str(&text).expect("responses are JSON") };
        JsonResponse { status, body }
    }

    /// Asserts a 200 and returns the body.
    #[track_caller]
    fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }

    /// Asserts an error with this status and returns its message.
    #[track_caller]
    fn rejected(self, status: u16) -> String {
        assert_eq!(self.status, status, "{}", self.body);
        crate::api::error_text(&self.body.to_string())
    }
}

impl Local {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), change).await
    }

    async fn start_in(dir: tempfile::TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(dir.path().join("data"));
        // Most tests send more requests than the limit allows; it has its own tests.
        config.rate_limit = 0;
        change(&mut config);
        // Work that a stopped service has given up may hold the directory for a moment.
        let mut tries = 0;
        let service = loop {
            match Service::start(config.clone()).await {
                Err(Error::Store(store::Error::InUse { .. })) if tries < 500 => tries += 1,
                started => break started.unwrap(),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        // Responses are compared as they were sent.
        let client = reqwest::Client::builder().no_gzip().no_zstd().no_brotli().no_deflate().build().unwrap();
        Local { service, client, dir }
    }

    /// Stops the service gracefully and returns its directory.
    async fn stop(self) -> tempfile::TempDir {
        self.service.stop().await;
        self.dir
    }

    fn data_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.service.base_url())).header("x-api-key", "k-test")
    }

    async fn get(&self, path: &str) -> JsonResponse {
        JsonResponse::read(self.request(Method::GET, path).send().await.unwrap()).await
    }

    async fn post(&self, path: &str, body: Value) -> JsonResponse {
        let request = self.request(Method::POST, path);
        let request = if body.is_null() { request } else { request.json(&body) };
        JsonResponse::read(request.send().await.unwrap()).await
    }

    async fn upload(&self, name: &str, content: &str) -> String {
        let part = reqwest::multipart::Part::text(content.to_owned()).file_name(name.to_owned());
        let form = reqwest::multipart::Form::new().part("file", part);
        let response = self.request(Method::POST, "/storage/csv/upload").multipart(form).send().await.unwrap();
        JsonResponse::read(response).await.ok()["handle_id"].as_str().unwrap().to_owned()
    }

    /// Creates a workflow whose blocks, each with name and specs, form a chain, and returns its id.
    async fn chain(&self, blocks: &[(&str, Value)]) -> String {
        let workflow = self.post("/workflows/create_workflow", create(blocks)).await.ok();
        workflow["id"].as_str().unwrap().to_owned()
    }

    /// Starts a run and returns its id; `query` is appended to the query parameters.
    async fn run(&self, workflow: &str, query: &str, body: Value) -> String {
        let started = self.post(&format!("/workflows/run?workflow_id={workflow}{query}"), body).await.ok();
        assert_eq!(started["status"], "queued");
        assert_eq!(started["already_started"], Value::Null);
        started["job_id"].as_str().unwrap().to_owned()
    }

    async fn status(&self, run: &str) -> Value {
        self.get(&format!("/workflows/runs/{run}/live_status")).await.ok()
    }

    /// Waits for the end of a run and returns its last `live_status`.
    async fn ended(&self, run: &str) -> Value {
        for _ in 0..3000 {
            let status = self.status(run).await;
            let word = status["overall_status"].as_str().unwrap();
            if crate::api::RunStatus::parse(word).is_terminal() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("run {run} does not end");
    }

    /// Waits for the end of a run and asserts that it completed.
    async fn completed(&self, run: &str) -> Value {
        let status = self.ended(run).await;
        assert_eq!(status["overall_status"], "completed", "{status:#}");
        status
    }

    async fn links(&self, run: &str, format: &str) -> Vec<Value> {
        let path = format!("/workflows/runs/{run}/results/download-links?format={format}");
        self.get(&path).await.ok().as_array().unwrap().clone()
    }

    /// Downloads the file of a link, without the key.
    async fn fetch(&self, link: &Value) -> String {
        let response = self.client.get(link["download_url"].as_str().unwrap()).send().await.unwrap();
        assert_eq!(response.status(), 200);
        response.text().await.unwrap()
    }

    /// Downloads and parses the rows of the last block's NDJSON file.
    async fn rows(&self, run: &str) -> Vec<Value> {
        let links = self.links(run, "ndjson").await;
        let text = self.fetch(links.last().expect("a run has results")).await;
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Builds the body of `create_workflow` for a chain of blocks.
fn create(blocks: &[(&str, Value)]) -> Value {
    let ids: Vec<String> = (1..=blocks.len()).map(|n| format!("b{n}")).collect();
    json!({
        "workflow_name": "A chain",
        "workflow_description": "For a test",
        "workflow_definition": {
            "blocks": blocks.iter().zip(&ids).enumerate().map(|(i, ((name, specs), id))| json!({
                "sequence_number": i + 1,
                "block_type": "any",
                "block_name": name,
                "block_id": id,
                "specs": specs,
            })).collect::<Vec<_>>(),
            "edges": ids.windows(2).map(|pair| json!({
                "from_block_id": pair[0], "to_block_id": pair[1],
            })).collect::<Vec<_>>(),
        }
    })
}
