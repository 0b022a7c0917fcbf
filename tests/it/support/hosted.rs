//! A hosted API of workflows and runs for tests: with idempotency keys and client-made ids, as the contract describes it,
//! and with the ways in which real servers and the gateways before them depart from it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::api::Script;
use super::http::{Answer, Loopback, Request};
use super::plans::SeededRng;
use super::{Place, wait_for};

/// A response in place of the API's, after the request took effect or before.
#[derive(Clone)]
pub struct Instead {
    /// Part of the request's path.
    pub path: &'static str,
    /// The API processes the request first.
    pub processed: bool,
    pub answer: Answer,
    /// Responses left.
    pub times: usize,
}

/// The state of the API.
#[derive(Default)]
pub struct Store {
    /// Workflows by id, as the API stores them.
    pub workflows: HashMap<String, Value>,
    /// Idempotency key and workflow of each run; its id is `run-N`.
    pub runs: Vec<(String, String)>,
    pub instead: Vec<Instead>,
    /// State of all runs.
    pub status: &'static str,
    /// The API fills a default into the specs of every block.
    pub fills_defaults: bool,
    /// Runs that `live_status` does not find, though they are listed.
    pub hides_runs: bool,
    /// Runs that are not listed either.
    pub forgets_runs: bool,
    /// Idempotency keys have no effect.
    pub ignores_keys: bool,
    /// Seconds by which the clock of the API is ahead of this machine's.
    pub ahead: i64,
    /// Times are written without an offset.
    pub naive_times: bool,
    /// The response to a start has only the id of the run.
    pub bare_starts: bool,
    /// Ids of workflows are the server's own, whatever the client chose.
    pub replaces_ids: bool,
    /// Defaults appear in the graphs that are read, not in the response to a creation.
    pub defaults_when_read: bool,
    /// Ids that are taken, though no workflow is found by them.
    pub taken_ids: Vec<String>,
    /// Runs of another workflow that began after all others.
    pub other_runs: usize,
    /// Most runs of a list, whatever the request says.
    pub page_size: Option<usize>,
    /// API key of the only organisation that has workflows and runs; all of them if empty.
    pub owner: &'static str,
    /// Draws faults in place of a third of all responses.
    pub faults: Option<SeededRng>,
    /// Requests so far.
    pub requests: usize,
    /// The request, by its number, that is not answered until [`Hosted::release`], and whether it is processed first.
    pub stop_at: Option<(usize, bool)>,
}

/// A hosted API with idempotency keys and client-made ids, as the contract describes it.
#[derive(Clone)]
pub struct Hosted {
    pub server: Arc<Loopback>,
    pub store: Arc<Mutex<Store>>,
    /// Set when the request of [`Store::stop_at`] arrives, and when it may be answered.
    pub stopped: Arc<AtomicBool>,
    pub released: Arc<AtomicBool>,
}

impl Hosted {
    pub fn start() -> Self {
        let store = Arc::new(Mutex::new(Store { status: "completed", ..Store::default() }));
        let (stopped, released) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (inner, reached, released_inner) = (store.clone(), stopped.clone(), released.clone());
        let server = Loopback::start(move |request: &Request| {
            let mut store = inner.lock().unwrap();
            store.requests += 1;
            if let Some((_, processed)) = store.stop_at.filter(|(n, _)| *n == store.requests) {
                if processed {
                    store.answer(request);
                }
                drop(store);
                reached.store(true, Ordering::Release);
                wait_for("the release", || released_inner.load(Ordering::Acquire).then_some(()));
                return lost();
            }
            let instead = store.instead.iter_mut().find(|i| i.times > 0 && request.path.ends_with(i.path));
            let instead = instead.map(|instead| {
                instead.times -= 1;
                instead.clone()
            });
            let instead = instead.or_else(|| store.random_fault());
            let answer = match instead {
                Some(Instead { processed: false, answer, .. }) => answer,
                Some(Instead { processed: true, answer, .. }) => {
                    store.answer(request);
                    answer
                }
                None => store.answer(request),
            };
            answer.header("date", &store.time().format("%a, %d %b %Y %H:%M:%S GMT").to_string())
        });
        Hosted { server: Arc::new(server), store, stopped, released }
    }

    pub fn place(&self) -> Place {
        Place::with_service(&self.server.url)
    }

    pub fn set(&self, change: impl FnOnce(&mut Store)) {
        change(&mut self.store.lock().unwrap());
    }

    pub fn responds(&self, path: &'static str, processed: bool, times: usize, answer: Answer) {
        self.set(|store| store.instead = vec![Instead { path, processed, answer, times }]);
    }

    pub fn runs(&self) -> usize {
        self.store.lock().unwrap().runs.len()
    }

    pub fn workflows(&self) -> usize {
        self.store.lock().unwrap().workflows.len()
    }
}

impl Store {
    fn answer(&mut self, request: &Request) -> Answer {
        if !self.owner.is_empty() && request.headers["x-api-key"] != self.owner {
            return self.answer_to_stranger(request);
        }
        let path = request.path.as_str();
        let body = || serde_json::from_slice::<Value>(&request.body).unwrap_or_default();
        match (request.method.as_str(), path) {
            ("GET", "/workflows") => Answer::json(&self.workflows.values().cloned().collect()),
            ("POST", "/workflows/create_workflow") => self.create(&body()),
            ("POST", "/workflows/update_workflow") => {
                let id = request.query.strip_prefix("workflow_id=").unwrap();
                self.workflows.remove(id);
                let Value::Object(mut fields) = body() else { unreachable!("an update is an object") };
                fields.insert("id".into(), id.into());
                self.create(&Value::Object(fields))
            }
            ("POST", "/workflows/run") => self.run(request),
            ("POST", "/storage/csv/upload") => Answer::json(&json!({ "handle_id": format!("h{}", self.requests) })),
            ("GET", "/workflows/runs") => self.list(request),
            ("GET", _) if path.ends_with("/live_status") => {
                let run = path.split('/').nth(3).unwrap();
                let known = (0..self.runs.len()).any(|i| format!("run-{i}") == run);
                if !known || self.hides_runs || self.forgets_runs {
                    return Answer::error(404, "Run not found");
                }
                Answer::json(&json!({
                    "run_id": run, "workflow_id": "w", "overall_status": self.status, "last_updated": "2026-11-02T08:00:00Z",
                }))
            }
            ("GET", _) if path.starts_with("/workflows/") && path.matches('/').count() == 2 => {
                match self.workflows.get(path.rsplit('/').next().unwrap()) {
                    Some(workflow) if self.defaults_when_read => Answer::json(&with_defaults(workflow)),
                    Some(workflow) => Answer::json(workflow),
                    None => Answer::error(404, "Workflow not found"),
                }
            }
            // Links and files are those of the script.
            _ => {
                let scripted = super::api::RUN_ID;
                let path = match path.split('/').nth(3) {
                    Some(run) if run.starts_with("run-") => path.replace(run, scripted),
                    _ => path.to_owned(),
                };
                Script::default().answer(&Request { path, ..request.clone() })
            }
        }
    }

    /// A failure on the way, before or after the API processes the request. None of them is a word of the API that denies
    /// what it did.
    fn random_fault(&mut self) -> Option<Instead> {
        let random = self.faults.as_mut()?;
        if random.fraction() > 0.35 {
            return None;
        }
        let processed = random.fraction() < 0.5;
        let json = |status, body: Value| Answer { status, ..Answer::json(&body) };
        let now = |answer: Answer| answer.header("retry-after", "0");
        // A limit refuses before it processes.
        let (processed, answer) = match (random.fraction() * 14.0) as u32 {
            0 => (processed, page(404)),
            1 => (processed, page(401)),
            2 => (processed, page(403)),
            3 => (processed, page(502)),
            4 => (processed, page(200)),
            5 => (processed, Answer { status: 400, ..Answer::bytes("text/plain", "") }),
            6 => (processed, json(404, json!({"message": "no Route matched"}))),
            7 => (processed, json(404, json!({"statusCode": 404, "error": "Not Found", "message": "x"}))),
            8 => (processed, json(422, json!({"type": "about:blank", "title": "x", "detail": "x"}))),
            9 => (processed, Answer::error(500, "x")),
            10 => (processed, Answer::error(408, "x")),
            11 => (false, Answer::error(429, "slow down")),
            12 => (false, page(429)),
            _ => (processed, lost()),
        };
        Some(Instead { path: "", processed, answer: now(answer), times: 1 })
    }

    /// Another organisation has none of the workflows and runs.
    fn answer_to_stranger(&self, request: &Request) -> Answer {
        match request.path.as_str() {
            "/workflows" => Answer::json(&json!([])),
            "/workflows/runs" if request.query.contains("workflow_id") => Answer::error(404, "Workflow not found"),
            "/workflows/runs" => Answer::json(&json!([])),
            _ => Answer::error(404, "Not found"),
        }
    }

    pub fn create(&mut self, body: &Value) -> Answer {
        let own = format!("w{}", self.workflows.len());
        let id = body["id"].as_str().filter(|_| !self.replaces_ids).map_or(own, str::to_owned);
        if self.workflows.contains_key(&id) || self.taken_ids.contains(&id) {
            return Answer::error(409, "Workflow already exists");
        }
        let mut graph = body["workflow_definition"].clone();
        if self.fills_defaults {
            fill_defaults(&mut graph);
        }
        let workflow = json!({
            "id": id, "name": body["workflow_name"], "status": "ready", "step": "completed",
            "created_at": "2026-11-02T08:00:00Z", "updated_at": "2026-11-02T08:00:00Z", "workflow_definition": graph,
        });
        self.workflows.insert(id, workflow.clone());
        Answer::json(&workflow)
    }

    fn run(&mut self, request: &Request) -> Answer {
        let key = request.headers["idempotency-key"].clone();
        let workflow = request.query.split('&').find_map(|q| q.strip_prefix("workflow_id=")).unwrap().to_owned();
        if !self.workflows.contains_key(&workflow) {
            return Answer::error(404, "Workflow not found");
        }
        let known = self.runs.iter().position(|(known, _)| *known == key && !self.ignores_keys);
        let n = known.unwrap_or_else(|| {
            self.runs.push((key, workflow.clone()));
            self.runs.len() - 1
        });
        if self.bare_starts {
            return Answer::json(&json!({ "job_id": format!("run-{n}") }));
        }
        let already = known.is_some().then_some(true);
        Answer::json(&json!({
            "status": "queued", "workflow_id": workflow, "job_id": format!("run-{n}"), "already_started": already,
        }))
    }

    fn list(&self, request: &Request) -> Answer {
        if self.forgets_runs {
            return Answer::json(&json!([]));
        }
        let wanted = request.query.split('&').find_map(|q| q.strip_prefix("workflow_id="));
        if let Some(unknown) = wanted.filter(|wanted| !self.workflows.contains_key(*wanted)) {
            // The contract allows both.
            return Answer::error(
                if unknown.ends_with(['0', '2', '4', '6', '8']) { 403 } else { 404 },
                "Workflow not found",
            );
        }
        let runs = self.runs.iter().enumerate().filter(|(_, (_, of))| wanted.is_none_or(|wanted| wanted == of));
        let runs = runs.map(|(n, (_, of))| {
            json!({"job_id": format!("run-{n}"), "workflow_id": of, "status": self.status, "queued_at": self.stamp()})
        });
        let other = json!({"job_id": "other", "workflow_id": "other", "status": "queued", "queued_at": self.stamp()});
        let others = std::iter::repeat_n(other, if wanted.is_none() { self.other_runs } else { 0 });
        Answer::json(&others.chain(runs).take(self.page_size.unwrap_or(500)).collect())
    }

    fn time(&self) -> chrono::DateTime<chrono::Utc> {
        chrono::Utc::now() + chrono::Duration::seconds(self.ahead)
    }

    fn stamp(&self) -> String {
        match self.naive_times {
            true => self.time().naive_utc().format("%Y-%m-%dT%H:%M:%S%.6f").to_string(),
            false => self.time().to_rfc3339(),
        }
    }
}

fn fill_defaults(graph: &mut Value) {
    for block in graph["blocks"].as_array_mut().unwrap() {
        block["specs"]["tier"] = "medium".into();
    }
}

fn with_defaults(workflow: &Value) -> Value {
    let mut workflow = workflow.clone();
    fill_defaults(&mut workflow["workflow_definition"]);
    workflow
}

pub fn now() -> String {
    chrono::Utc::now().to_rfc3339()
}

pub fn page(status: u16) -> Answer {
    Answer { status, ..Answer::bytes("text/html", "<html>no backend</html>") }
}

/// A response that is cut before its body.
pub fn lost() -> Answer {
    Answer { cut_at: Some(3), ..Answer::bytes("application/json", vec![b' '; 100]) }
}

/// Makes the only recorded start older than any grace period.
pub fn age_start(place: &Place) {
    let directory = place.path("state/drawoff/starts");
    let mut paths = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let path = paths.find(|path| path.extension().is_some_and(|e| e == "json")).unwrap();
    let mut record: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    record["content"]["asked_at"] = (chrono::Utc::now() - chrono::Duration::minutes(5)).to_rfc3339().into();
    std::fs::write(&path, record.to_string()).unwrap();
}
