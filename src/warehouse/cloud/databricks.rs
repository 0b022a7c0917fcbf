//! The SQL Statement Execution API of Databricks. It has no ids of ours: every statement of a load may be executed twice.
//! An error after a response was lost, or after a statement was accepted, does not tell whether it was executed.

use reqwest::Method;
use serde_json::{Value, json};

use super::http::{Http, message};
use super::rows::{Rows, StatementError};

/// Executes a statement and returns its rows.
pub(super) async fn execute(http: &Http, statement: &str) -> Result<Rows, StatementError> {
    send(http, statement, false).await.map(|(rows, _)| rows)
}

/// Executes a statement that puts rows into a table, and returns its result; the second value is true if an earlier sending of
/// it may have been executed too.
pub(super) async fn execute_copy(http: &Http, statement: &str) -> Result<(Rows, bool), StatementError> {
    send(http, statement, true).await
}

/// Returns true if a COPY that ended with this error has put no row into the table. Other errors may come behind its commit.
pub(super) fn has_done_nothing(code: &str, text: &str) -> bool {
    let unclear = [
        "UNKNOWN",
        "INTERNAL_ERROR",
        "TEMPORARILY_UNAVAILABLE",
        "WORKSPACE_TEMPORARILY_UNAVAILABLE",
        "SERVICE_UNDER_MAINTENANCE",
        "IO_ERROR",
        "DEADLINE_EXCEEDED",
        "ABORTED",
        "CANCELLED",
        "CANCELED",
        "CLOSED",
    ];
    !unclear.contains(&code) && !text.contains("POST_COMMIT_HOOK")
}

async fn send(http: &Http, statement: &str, puts_rows: bool) -> Result<(Rows, bool), StatementError> {
    let Some(warehouse) = http.settings.parameters.get("warehouse") else {
        let text = "no SQL warehouse is set: add `?warehouse=ID` to the URL, or set DATABRICKS_WAREHOUSE_ID".to_owned();
        return Err(StatementError::Refused { code: String::new(), text });
    };
    let [catalog, schema] = &http.settings.outer[..] else {
        return Err(StatementError::Refused { code: String::new(), text: "no schema is set".to_owned() });
    };
    let body = json!({
        "statement": statement,
        "warehouse_id": warehouse,
        "catalog": catalog,
        "schema": schema,
        "wait_timeout": "30s",
        "on_wait_timeout": "CONTINUE",
        "format": "JSON_ARRAY",
        "disposition": "INLINE",
    });
    let path = |_| "api/2.0/sql/statements/".to_owned();
    let mut answer = http.call(Method::POST, &path, Some(&body)).await?;
    let is_repeated = answer.is_repeated;
    let perhaps = |error: StatementError, perhaps: bool| match puts_rows && perhaps {
        true => error.perhaps_executed(),
        false => error,
    };
    let mut polls = 0;
    loop {
        if !answer.status.is_success() {
            let code = answer.body.get("error_code").and_then(Value::as_str).unwrap_or_default().to_owned();
            let text = message(&answer.body);
            let text = text.unwrap_or_else(|| format!("the service responds with status {}", answer.status));
            return Err(perhaps(StatementError::Refused { code, text }, is_repeated || polls > 0));
        }
        let status = answer.body.get("status").cloned().unwrap_or_default();
        match status.get("state").and_then(Value::as_str).unwrap_or_default() {
            "SUCCEEDED" => return Ok((Rows::of_lists(answer.body.pointer("/result/data_array")), is_repeated)),
            "PENDING" | "RUNNING" => {}
            // It has succeeded, and its result is gone. A COPY is sent again, and says what it finds.
            "CLOSED" if !puts_rows => {
                return Err(StatementError::Call(super::http::CallError::Lost(
                    "the result of the statement is no longer there".to_owned(),
                )));
            }
            state => {
                let error = status.get("error").cloned().unwrap_or_default();
                let code = error.get("error_code").and_then(Value::as_str);
                let code = code.filter(|_| state == "FAILED").unwrap_or(state).to_owned();
                let text = message(&error).unwrap_or_else(|| format!("the statement has ended as {state}"));
                let error = match text.contains("TABLE_OR_VIEW_NOT_FOUND") {
                    true => StatementError::NoObject(text),
                    false => StatementError::Refused { code, text },
                };
                return Err(perhaps(error, is_repeated));
            }
        }
        let id = answer.body.get("statement_id").and_then(Value::as_str).unwrap_or_default().to_owned();
        if id.is_empty() || id.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
            return Err(StatementError::Call(super::http::CallError::Lost(
                "the response has no statement id".to_owned(),
            )));
        }
        http.pause(&mut polls).await;
        let asked = http.call(Method::GET, &|_| format!("api/2.0/sql/statements/{id}"), None).await;
        answer = asked.map_err(|error| perhaps(error.into(), true))?;
    }
}
