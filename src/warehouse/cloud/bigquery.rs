//! BigQuery's REST interface: queries, and load jobs whose ids are made from the commit key and the claim of the load. The
//! service refuses a second job of an id, so that repeated and racing commands load the rows once.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::http::{Answer, CallError, Http, message};
use super::names::CloudTable;
use super::rows::{LOOK_FIRST, Rows, StatementError, uuid_of};

/// Load jobs of one claim at most that have failed and are followed by another.
const MAX_JOBS: usize = 100;

/// Jobs of one command at most that fail for a reason of the service itself.
const MAX_OWN_JOBS: usize = 5;

/// The reasons of a job that failed, and may not fail again.
const PASSING: [&str; 6] = [
    "backendError",
    "internalError",
    "jobBackendError",
    "jobInternalError",
    "rateLimitExceeded",
    "jobRateLimitExceeded",
];

/// The label by which a command knows its own jobs.
const ATTEMPT: &str = "drawoff_attempt";

/// A load job: the same for every command that finishes this load.
pub(super) struct Job<'a> {
    pub(super) location: &'a str,
    pub(super) table: &'a CloudTable,
    /// The commit key.
    pub(super) key: &'a str,
    /// The attempt of the claim.
    pub(super) claimed_by: &'a str,
    pub(super) uris: &'a [String],
    pub(super) adds_columns: bool,
}

/// Returns the path below the project.
fn path(http: &Http, rest: &str) -> String {
    format!("bigquery/v2/projects/{}/{rest}", http.settings.host)
}

fn refused(Answer { status, body, .. }: &Answer) -> StatementError {
    let text = message(body).unwrap_or_else(|| format!("the service responds with status {status}"));
    match *status == StatusCode::NOT_FOUND {
        true => StatementError::NoObject(text),
        false => StatementError::Refused { code: status.as_u16().to_string(), text },
    }
}

/// Returns the location of the dataset of `table`, which requests for its jobs name.
pub(super) async fn location(http: &Http, table: &CloudTable) -> Result<String, StatementError> {
    let [project, dataset, _] = table.parts() else { return Ok(String::new()) };
    let path = format!("bigquery/v2/projects/{project}/datasets/{dataset}");
    let answer = http.call(Method::GET, &|_| path.clone(), None).await?;
    match answer.status.is_success() {
        true => Ok(answer.body.get("location").and_then(Value::as_str).unwrap_or("US").to_owned()),
        false => Err(refused(&answer)),
    }
}

/// Executes one query and returns its rows.
pub(super) async fn query(http: &Http, location: &str, statement: &str, name: &str) -> Result<Rows, StatementError> {
    let body = json!({
        "query": statement,
        "useLegacySql": false,
        "location": location,
        "timeoutMs": 30_000,
        "requestId": uuid_of(&[name, statement]),
    });
    let queries = path(http, "queries");
    let mut answer = http.call(Method::POST, &|_| queries.clone(), Some(&body)).await?;
    let mut polls = 0;
    loop {
        if !answer.status.is_success() {
            return Err(refused(&answer));
        }
        if answer.body.get("jobComplete") != Some(&Value::Bool(false)) {
            return Ok(rows_of(&answer.body));
        }
        let id = answer.body.pointer("/jobReference/jobId").and_then(Value::as_str).unwrap_or_default().to_owned();
        http.pause(&mut polls).await;
        let path = path(http, &format!("queries/{id}?location={location}&timeoutMs=30000"));
        answer = http.call(Method::GET, &|_| path.clone(), None).await?;
    }
}

fn rows_of(body: &Value) -> Rows {
    let rows = body.get("rows").and_then(Value::as_array).into_iter().flatten();
    let cells = |row: &Value| {
        let cells = row.get("f").and_then(Value::as_array).into_iter().flatten();
        Value::Array(cells.map(|cell| cell.get("v").cloned().unwrap_or_default()).collect())
    };
    Rows::of_lists(Some(&Value::Array(rows.map(cells).collect())))
}

/// Returns the time at which a table was made.
pub(super) async fn table_made_at(http: &Http, table: &CloudTable) -> Result<u64, StatementError> {
    let [project, dataset, name] = table.parts() else {
        return Err(StatementError::Refused { code: String::new(), text: "the table has no dataset".to_owned() });
    };
    let path = format!("bigquery/v2/projects/{project}/datasets/{dataset}/tables/{name}");
    let found = http.call(Method::GET, &|_| path.clone(), None).await?;
    match found.status.is_success() {
        true => Ok(number(&found.body, "/creationTime").unwrap_or_default()),
        false => Err(refused(&found)),
    }
}

/// Loads the files into the table, and returns the rows that the job has written. A job of the load that has succeeded is found
/// instead of another; the second value is then true. One that has succeeded before the table was made is an error. `attempt`
/// tells this command from others.
pub(super) async fn load(http: &Http, job: &Job<'_>, attempt: &str) -> Result<(u64, bool), StatementError> {
    let &Job { location, table, key, claimed_by, uris, adds_columns } = job;
    let [project, dataset, name] = table.parts() else {
        return Err(StatementError::Refused { code: String::new(), text: "the table has no dataset".to_owned() });
    };
    let made_at = table_made_at(http, table).await?;
    let options = if adds_columns { json!(["ALLOW_FIELD_ADDITION"]) } else { json!([]) };
    let mut failed = 0;
    for nth in 1..=MAX_JOBS {
        let id = format!("drawoff_{key}_{claimed_by}_{nth}");
        let body = json!({
            "jobReference": { "projectId": http.settings.host, "jobId": id, "location": location },
            "configuration": { "labels": { ATTEMPT: attempt }, "load": {
                "destinationTable": { "projectId": project, "datasetId": dataset, "tableId": name },
                "sourceUris": uris,
                "sourceFormat": "PARQUET",
                "createDisposition": "CREATE_NEVER",
                "writeDisposition": "WRITE_APPEND",
                "schemaUpdateOptions": options,
                "decimalTargetTypes": ["NUMERIC", "BIGNUMERIC"],
                "parquetOptions": { "enableListInference": true, "mapTargetType": "ARRAY_OF_STRUCT" },
            } },
        });
        let jobs = path(http, "jobs");
        let mut answer = http.call(Method::POST, &|_| jobs.clone(), Some(&body)).await?;
        let is_known = answer.status == StatusCode::CONFLICT;
        let may_be_ours = !is_known || answer.is_repeated;
        let job_path = path(http, &format!("jobs/{id}?location={location}"));
        let ask = || async {
            let asked = http.call(Method::GET, &|_| job_path.clone(), None).await;
            asked.map_err(|error| StatementError::from(error).perhaps_executed())
        };
        if is_known {
            answer = ask().await?;
        } else if !answer.status.is_success() {
            let error = refused(&answer);
            return Err(if answer.is_repeated { error.perhaps_executed() } else { error });
        }
        let mut polls = 0;
        loop {
            if !answer.status.is_success() {
                return Err(refused(&answer).perhaps_executed());
            }
            if answer.body.pointer("/status/state").and_then(Value::as_str) == Some("DONE") {
                break;
            }
            http.pause(&mut polls).await;
            answer = ask().await?;
        }
        let label = answer.body.pointer(&format!("/configuration/labels/{ATTEMPT}")).and_then(Value::as_str);
        let is_ours = label.map_or(may_be_ours, |label| label == attempt);
        let error = answer.body.pointer("/status/errorResult").filter(|error| !error.is_null());
        let ended_at = number(&answer.body, "/statistics/endTime").unwrap_or(u64::MAX);
        match error {
            // Of an earlier command: the next id is free, or the next job.
            Some(_) if !is_ours => {}
            // Into a table of the same name that was there before, whose rows may have been put into this one.
            None if ended_at < made_at => {
                let text = "the rows of this load were put into the table before it was made anew, and nothing says whether \
                            it has them";
                return Err(StatementError::Kept { text: text.to_owned(), hint: LOOK_FIRST });
            }
            Some(error) => {
                let code = error.get("reason").and_then(Value::as_str).unwrap_or_default().to_owned();
                failed += 1;
                if PASSING.contains(&&*code) && failed < MAX_OWN_JOBS {
                    http.pause(&mut polls).await;
                    continue;
                }
                return Err(StatementError::Refused { code, text: message(error).unwrap_or_default() });
            }
            None => {
                let rows = number(&answer.body, "/statistics/load/outputRows");
                return rows
                    .map(|rows| (rows, !is_ours))
                    .ok_or_else(|| StatementError::Call(CallError::Lost("the job has no count of rows".to_owned())));
            }
        }
    }
    let text = format!("{MAX_JOBS} jobs of this load have failed");
    Err(StatementError::Refused { code: String::new(), text })
}

/// Returns a number, which the service writes as text.
fn number(body: &Value, pointer: &str) -> Option<u64> {
    match body.pointer(pointer)? {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    }
}
