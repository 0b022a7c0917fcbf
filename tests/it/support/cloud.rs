//! Stand-ins for the interfaces of Snowflake, BigQuery and Databricks, after their public descriptions: as much as a load
//! needs, with ids of requests and jobs, and failures on demand. They execute no SQL: a load is one row of their ledger.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use super::http::{Answer, Loopback, Request};

/// The failure of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The status, at once; nothing is executed.
    Status(u16),
    /// It is executed, and the response is cut.
    Lost,
    /// It is executed, and the ledger is emptied behind it, as by another command or by hand.
    Forgotten,
    /// Another command takes up the claims that are there, and the request is refused.
    TakenUp,
    /// It is executed, and the statement is said to have ended in this state.
    Ends(&'static str),
    /// Nothing is executed, and the statement is said to have failed with this code and message.
    Fails(&'static str, &'static str),
    /// The claims become those of another version, and the request is refused.
    OtherVersion,
}

/// The token that is valid now.
pub const FIRST_TOKEN: &str = "marked-token-1";
/// The token that is valid after [`FakeCloud::expire_token`].
pub const SECOND_TOKEN: &str = "marked-token-2";

/// A row of the table of loads.
#[derive(Clone, Debug)]
struct Entry {
    rows: String,
    state: String,
    claim: Option<String>,
}

#[derive(Default)]
struct State {
    /// Commit keys with their loads.
    ledger: BTreeMap<String, Entry>,
    /// Statements that were executed, in order.
    executed: Vec<String>,
    /// Responses by the id of the request, of the job, or of the statement.
    responses: HashMap<String, Value>,
    /// Files that were copied.
    files: Vec<String>,
    /// Rows that the service counts.
    rows: u64,
    /// Times that rows were put into the table.
    copies: usize,
    /// Number of the statements before the table was dropped.
    dropped_at: usize,
    /// Columns of a table that was there before.
    columns: Vec<String>,
    token: String,
    requests: usize,
}

/// A service on loopback.
pub struct FakeCloud {
    server: Loopback,
    state: Arc<Mutex<State>>,
}

impl FakeCloud {
    /// Starts a service that answers as `respond` says, and fails as `fault` says of the number and the path of a request.
    fn start(
        rows: u64,
        fault: impl Fn(usize, &Request) -> Option<Fault> + Send + Sync + 'static,
        respond: impl Fn(&mut State, &Request) -> (u16, Value) + Send + Sync + 'static,
    ) -> Self {
        let state = Arc::new(Mutex::new(State { rows, token: FIRST_TOKEN.to_owned(), ..State::default() }));
        let shared = state.clone();
        let server = Loopback::start(move |request| {
            let mut state = shared.lock().unwrap();
            let number = state.requests;
            state.requests += 1;
            let authorized = request.headers.get("authorization").cloned().unwrap_or_default();
            if authorized != format!("Bearer {}", state.token) {
                return Answer { status: 401, ..Answer::json(&json!({ "message": "token expired" })) };
            }
            match fault(number, request) {
                Some(Fault::Status(status)) => Answer::error(status, "busy").header("retry-after", "0"),
                Some(fault @ (Fault::TakenUp | Fault::OtherVersion)) => {
                    for entry in state.ledger.values_mut() {
                        match fault {
                            Fault::TakenUp => entry.state = "taken up".to_owned(),
                            _ => entry.claim = Some(r#"{"form":9}"#.to_owned()),
                        }
                    }
                    Answer::error(400, "refused")
                }
                Some(Fault::Fails(code, message)) => {
                    let error = json!({ "error_code": code, "message": message });
                    Answer::json(&json!({ "statement_id": "s", "status": { "state": "FAILED", "error": error } }))
                }
                lost => {
                    let (status, mut body) = respond(&mut state, request);
                    if let Some(Fault::Ends(end)) = lost {
                        let error =
                            json!({ "error_code": "UNKNOWN", "message": "the commit succeeded but a hook failed" });
                        body = json!({ "statement_id": "s", "status": { "state": end, "error": error } });
                    }
                    if lost == Some(Fault::Forgotten) {
                        state.ledger.clear();
                    }
                    let cut_at = (lost == Some(Fault::Lost)).then_some(3);
                    Answer { status, cut_at, ..Answer::json(&body) }
                }
            }
        });
        FakeCloud { server, state }
    }

    /// Starts Snowflake's SQL API. The rows of every COPY are `rows`, in whatever files.
    pub fn snowflake(rows: u64, fault: impl Fn(usize, &Request) -> Option<Fault> + Send + Sync + 'static) -> Self {
        FakeCloud::start(rows, fault, snowflake)
    }

    /// Starts BigQuery's REST interface.
    pub fn bigquery(rows: u64, fault: impl Fn(usize, &Request) -> Option<Fault> + Send + Sync + 'static) -> Self {
        FakeCloud::start(rows, fault, bigquery)
    }

    /// Starts the SQL Statement Execution API of Databricks.
    pub fn databricks(rows: u64, fault: impl Fn(usize, &Request) -> Option<Fault> + Send + Sync + 'static) -> Self {
        FakeCloud::start(rows, fault, databricks)
    }

    pub fn url(&self) -> &str {
        &self.server.url
    }

    pub fn asked(&self) -> Vec<Request> {
        self.server.asked()
    }

    /// Returns the number of loads in the ledger that are recorded as loaded.
    pub fn loads(&self) -> usize {
        self.state.lock().unwrap().ledger.values().filter(|entry| entry.state == "loaded").count()
    }

    /// Returns the number of loads in the ledger, begun ones among them.
    pub fn entries(&self) -> usize {
        self.state.lock().unwrap().ledger.len()
    }

    /// Returns how often rows were put into the table.
    pub fn copies(&self) -> usize {
        self.state.lock().unwrap().copies
    }

    /// Returns the files that were copied, each as often as it was.
    pub fn files(&self) -> Vec<String> {
        self.state.lock().unwrap().files.clone()
    }

    /// Returns the statements that were executed.
    pub fn executed(&self) -> Vec<String> {
        self.state.lock().unwrap().executed.clone()
    }

    /// Drops the table.
    pub fn drop_table(&self) {
        let mut state = self.state.lock().unwrap();
        state.dropped_at = state.executed.len();
    }

    /// Makes a table with these columns.
    pub fn make_table(&self, columns: &[&str]) {
        self.state.lock().unwrap().columns = columns.iter().map(|name| (*name).to_owned()).collect();
    }

    /// Executes a statement by Databricks, as by another client.
    pub fn execute(&self, statement: &str) {
        databricks_statement(&mut self.state.lock().unwrap(), statement);
    }

    /// From now on only [`SECOND_TOKEN`] is valid.
    pub fn expire_token(&self) {
        self.state.lock().unwrap().token = SECOND_TOKEN.to_owned();
    }

    /// Forgets the ledger, as if its row had been deleted or was never written.
    pub fn forget_ledger(&self) {
        self.state.lock().unwrap().ledger.clear();
    }
}

/// The first text in quotes behind `word`.
fn quoted_after(text: &str, word: &str) -> String {
    let rest = text.split_once(word).unwrap_or_else(|| panic!("{word} is not in {text}")).1;
    rest.split('\'').nth(1).unwrap_or_default().to_owned()
}

/// The row of the ledger for a query, or none.
fn ledger_rows(state: &State, statement: &str) -> Vec<Value> {
    let key = quoted_after(statement, "commit_key = ");
    let row = |Entry { rows, state, claim }: &Entry| {
        let at = "2026-11-30T10:00:00Z";
        json!([key, "T", null, null, "run", "append", "plan", rows, "0", at, "0.1.0", state, claim])
    };
    state.ledger.get(&key).map(row).into_iter().collect()
}

impl State {
    /// The statement that has made the table, if it is there.
    fn creation(&self) -> Option<&String> {
        let of_table = |sql: &&String| sql.starts_with("CREATE TABLE") && !sql.contains("_drawoff_loads");
        self.executed[self.dropped_at..].iter().find(of_table)
    }

    /// The number of loads in the ledger.
    fn count(&self) -> String {
        self.ledger.values().filter(|entry| entry.state == "loaded" && entry.rows != "0").count().to_string()
    }
}

/// The claim that a statement inserts.
fn claim_in(statement: &str) -> String {
    let text = &statement[statement.rfind("'{").unwrap() + 1..statement.rfind("}'").unwrap() + 1];
    text.replace("\\'", "'").replace("''", "'").replace("\\\\", "\\")
}

/// Executes a statement that changes the ledger.
fn record(state: &mut State, statement: &str) {
    if statement.contains("WHEN MATCHED AND") {
        let (key, to) = (quoted_after(statement, "SELECT "), quoted_after(statement, "SET state = "));
        let rows = statement.split_once("'append', '").unwrap().1.split(", ").nth(1).unwrap().to_owned();
        let claim = Some(claim_in(statement));
        let entry = state.ledger.entry(key).or_insert(Entry { rows, state: "loading".to_owned(), claim });
        if ["loading", "taken up"].contains(&&*entry.state) {
            entry.state = to;
        }
    } else if statement.starts_with("UPDATE") {
        let key = quoted_after(statement, "commit_key = ");
        if let Some(entry) = state.ledger.get_mut(&key).filter(|entry| entry.state == "loading") {
            entry.state = quoted_after(statement, "SET state = ");
        }
    } else if statement.starts_with("MERGE") {
        let key = quoted_after(statement, "SELECT ");
        let claim = statement.contains("'loading'").then(|| claim_in(statement));
        let of = if claim.is_some() { "loading" } else { "loaded" };
        let rows = statement.split_once("'append', '").unwrap().1.split(", ").nth(1).unwrap().to_owned();
        state.ledger.entry(key).or_insert(Entry { rows, state: of.to_owned(), claim });
    } else if statement.starts_with("DELETE") {
        let key = quoted_after(statement, "commit_key = ");
        let attempt = |entry: &Entry| {
            serde_json::from_str::<Value>(entry.claim.as_deref()?).ok()?["attempt"].as_str().map(str::to_owned)
        };
        let is_its_own = |entry: &Entry| attempt(entry).is_some_and(|attempt| statement.contains(&attempt));
        if state.ledger.get(&key).is_some_and(|entry| entry.state == "loading" && is_its_own(entry)) {
            state.ledger.remove(&key);
        }
    }
}

/// The names in `FILES = (…)`.
fn names_of(copy: &str) -> Vec<String> {
    let list = copy.split_once("FILES = (").unwrap_or_else(|| panic!("no files in {copy}")).1;
    list.split(')').next().unwrap().split('\'').skip(1).step_by(2).map(str::to_owned).collect()
}

fn snowflake(state: &mut State, request: &Request) -> (u16, Value) {
    if request.method == "GET" {
        let handle = request.path.rsplit('/').next().unwrap();
        return (200, state.responses[handle].clone());
    }
    let id = request.query.split('&').find_map(|pair| pair.strip_prefix("requestId=")).unwrap().to_owned();
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    // A repetition finds the first; without a first it is executed.
    if request.query.contains("retry=true")
        && let Some(known) = state.responses.get(&id)
    {
        return match known["code"] != "090001" {
            true => (422, known.clone()),
            false => (200, known.clone()),
        };
    }
    let text = body["statement"].as_str().unwrap().to_owned();
    let statements: Vec<&str> = text.split(";\n").collect();
    assert_eq!(body["parameters"]["MULTI_STATEMENT_COUNT"], statements.len().to_string());
    assert_eq!((&body["database"], &body["schema"]), (&json!("CRM"), &json!("LOADS")));
    let refused = |code: &str, message: String| json!({ "code": code, "message": message, "statementHandle": "h" });
    let answer = if text.starts_with("SELECT commit_key") {
        match state
            .executed
            .iter()
            .any(|sql| sql.contains("CREATE TABLE IF NOT EXISTS") && sql.contains("_drawoff_loads"))
        {
            true => json!({ "code": "090001", "data": ledger_rows(state, &text) }),
            false => refused("002003", "Object '_drawoff_loads' does not exist or not authorized.".to_owned()),
        }
    } else if text.starts_with("SELECT COLUMN_NAME") {
        let created = state.creation();
        let names = created.map(|sql| sql.lines().filter_map(|line| line.trim().strip_prefix('"')).collect::<Vec<_>>());
        let names = names.into_iter().flatten().filter_map(|line| line.split('"').next());
        let rows = names.chain(state.columns.iter().map(String::as_str)).map(|name| json!([name]));
        json!({ "code": "090001", "data": rows.collect::<Vec<_>>() })
    } else if text.starts_with("SELECT COUNT") {
        json!({ "code": "090001", "data": [[state.count()]] })
    } else if text.starts_with("MERGE") {
        record(state, &text);
        json!({ "code": "090001", "data": [["1"]] })
    } else if text.starts_with("BEGIN") {
        let key = quoted_after(&text, "SELECT ");
        if state.ledger.contains_key(&key) {
            refused("100038", "Numeric value 'drawoff: the rows are loaded already' is not recognized".to_owned())
        } else if !text.contains(&format!("= {} THEN", state.rows)) {
            let guard = statements.iter().rfind(|sql| sql.contains("another number")).unwrap();
            refused("100038", format!("Numeric value '{}' is not recognized", quoted_after(guard, "ELSE ")))
        } else {
            record(state, statements.iter().find(|sql| sql.starts_with("MERGE")).unwrap());
            let files: Vec<String> =
                statements.iter().filter(|sql| sql.starts_with("COPY")).flat_map(|sql| names_of(sql)).collect();
            state.files.extend(files);
            state.copies += 1;
            json!({ "code": "090001", "statementHandles": ["a", "b"] })
        }
    } else {
        json!({ "code": "090001", "data": [["done"]] })
    };
    state.executed.extend(statements.iter().map(|sql| (*sql).to_owned()));
    state.responses.insert(id.clone(), answer.clone());
    // Loads are asked for again, all else has ended.
    match (answer["code"] == "090001", text.starts_with("BEGIN")) {
        (true, true) => (202, json!({ "code": "333334", "statementHandle": id })),
        (true, false) => (200, answer),
        (false, _) => (422, answer),
    }
}

fn databricks(state: &mut State, request: &Request) -> (u16, Value) {
    if request.method == "GET" {
        let id = request.path.rsplit('/').next().unwrap();
        return (200, state.responses[id].clone());
    }
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((&body["warehouse_id"], &body["catalog"]), (&json!("w1"), &json!("main")));
    let text = body["statement"].as_str().unwrap().to_owned();
    let answer = databricks_statement(state, &text);
    let id = answer["statement_id"].clone();
    state.responses.insert(id.as_str().unwrap().to_owned(), answer.clone());
    match text.starts_with("COPY") {
        true => (200, json!({ "statement_id": id, "status": { "state": "PENDING" } })),
        false => (200, answer),
    }
}

fn databricks_statement(state: &mut State, text: &str) -> Value {
    let id = format!("s{}", state.executed.len());
    let missing = |what: &str| {
        json!({ "statement_id": id, "status": { "state": "FAILED", "error": {
            "error_code": "BAD_REQUEST", "message": format!("[TABLE_OR_VIEW_NOT_FOUND] {what} cannot be found") } } })
    };
    let succeeded = |rows: Vec<Value>| json!({ "statement_id": id, "status": { "state": "SUCCEEDED" }, "result": { "data_array": rows } });
    let answer = if text.starts_with("SELECT commit_key") {
        match state.executed.iter().any(|sql| sql.contains("CREATE TABLE IF NOT EXISTS")) {
            true => succeeded(ledger_rows(state, text)),
            false => missing("_drawoff_loads"),
        }
    } else if text.starts_with("DESCRIBE") && state.creation().is_none() {
        missing("companies")
    } else if text.starts_with("SELECT COUNT") {
        succeeded(vec![json!([state.count()])])
    } else if text.starts_with("COPY INTO") {
        let new: Vec<String> = names_of(text).into_iter().filter(|name| !state.files.contains(name)).collect();
        let rows = if new.is_empty() { 0 } else { state.rows };
        state.copies += usize::from(rows > 0);
        state.files.extend(new);
        succeeded(vec![json!([rows.to_string(), rows.to_string(), "0"])])
    } else {
        record(state, text);
        succeeded(Vec::new())
    };
    state.executed.push(text.to_owned());
    answer
}

fn bigquery(state: &mut State, request: &Request) -> (u16, Value) {
    let path = request.path.trim_start_matches("/bigquery/v2/projects/my-project/");
    let not_found = |what: &str| (404, json!({ "error": { "code": 404, "message": format!("Not found: {what}") } }));
    match (request.method.as_str(), path) {
        ("GET", "datasets/crm") => (200, json!({ "location": "EU" })),
        ("GET", "datasets/crm/tables/companies") if state.creation().is_none() => not_found(path),
        ("GET", "datasets/crm/tables/companies") => (200, json!({ "creationTime": "1000" })),
        ("POST", "queries") => {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            assert_eq!((&body["location"], &body["useLegacySql"]), (&json!("EU"), &json!(false)));
            let text = body["query"].as_str().unwrap().to_owned();
            let id = body["requestId"].as_str().unwrap().to_owned();
            if let Some(known) = state.responses.get(&id) {
                return (200, known.clone());
            }
            let mut rows = Vec::new();
            if text.starts_with("SELECT commit_key") {
                if !state.executed.iter().any(|sql| sql.contains("CREATE TABLE IF NOT EXISTS")) {
                    return not_found("Table my-project:crm._drawoff_loads");
                }
                let cells = |row: Value| {
                    let cells: Vec<Value> = row.as_array().unwrap().iter().map(|v| json!({ "v": v })).collect();
                    json!({ "f": cells })
                };
                rows = ledger_rows(state, &text).into_iter().map(cells).collect();
            } else if text.starts_with("SELECT COUNT") {
                rows = vec![json!({ "f": [{ "v": state.count() }] })];
            } else {
                record(state, &text);
            }
            state.executed.push(text);
            let answer = json!({ "jobComplete": true, "rows": rows });
            state.responses.insert(id, answer.clone());
            (200, answer)
        }
        ("POST", "jobs") => {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            let id = body["jobReference"]["jobId"].as_str().unwrap().to_owned();
            if state.responses.contains_key(&id) {
                return (409, json!({ "error": { "code": 409, "message": format!("Already Exists: Job {id}") } }));
            }
            let load = &body["configuration"]["load"];
            assert_eq!(
                (&load["writeDisposition"], &load["schemaUpdateOptions"]),
                (&json!("WRITE_APPEND"), &json!(["ALLOW_FIELD_ADDITION"]))
            );
            state
                .files
                .extend(load["sourceUris"].as_array().unwrap().iter().map(|uri| uri.as_str().unwrap().to_owned()));
            let done = json!({
                "configuration": { "labels": body["configuration"]["labels"] },
                "status": { "state": "DONE" },
                "statistics": { "endTime": "2000", "load": { "outputRows": state.rows.to_string() } },
            });
            state.responses.insert(id, done);
            state.copies += 1;
            (200, json!({ "status": { "state": "RUNNING" } }))
        }
        ("GET", path) => match state.responses.get(path.trim_start_matches("jobs/")) {
            Some(job) => (200, job.clone()),
            None => not_found(path),
        },
        _ => not_found(path),
    }
}
