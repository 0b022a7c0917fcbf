//! Snowflake's SQL API, version 2. A request has an id of ours: sent again with it, the statement is not executed again.

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::http::{Answer, CallError, Http, message};
use super::rows::{Rows, StatementError, uuid_of};

/// Codes of an object that does not exist, or that the role may not see.
const NO_OBJECT: [&str; 2] = ["002003", "002043"];

/// Executes statements, several as one session. `name` and the text make the id of the request. Returns the rows of a single
/// one.
pub(super) async fn execute(http: &Http, statements: &[String], name: &str) -> Result<Rows, StatementError> {
    let text = statements.join(";\n");
    let parameter = |name: &str| http.settings.parameters.get(name);
    let [database, schema] = &http.settings.outer[..] else {
        return Err(StatementError::Refused { code: String::new(), text: "no schema is set".to_owned() });
    };
    let mut body = json!({
        "statement": text,
        "database": database,
        "schema": schema,
        // Results are read as text.
        "parameters": { "MULTI_STATEMENT_COUNT": statements.len().to_string(), "QUERY_TAG": "drawoff" },
    });
    for member in ["warehouse", "role"] {
        if let Some(value) = parameter(member) {
            body[member] = json!(value);
        }
    }
    let id = uuid_of(&[name, &text]);
    // Sent again, it is marked as a repetition: the service then looks for the first.
    let path = |tries: usize| match tries {
        0 => format!("api/v2/statements?requestId={id}&async=true"),
        _ => format!("api/v2/statements?requestId={id}&async=true&retry=true"),
    };
    let mut answer = http.call(Method::POST, &path, Some(&body)).await?;
    let mut polls = 0;
    while answer.status == StatusCode::ACCEPTED {
        let handle = answer.body.get("statementHandle").and_then(Value::as_str).unwrap_or_default().to_owned();
        if handle.is_empty() || handle.contains(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
            return Err(StatementError::Call(CallError::Lost("the response has no statement handle".to_owned())));
        }
        http.pause(&mut polls).await;
        answer = http.call(Method::GET, &|_| format!("api/v2/statements/{handle}"), None).await?;
    }
    rows_of(answer)
}

fn rows_of(Answer { status, body }: Answer) -> Result<Rows, StatementError> {
    if !status.is_success() {
        let code = body.get("code").and_then(Value::as_str).unwrap_or_default().to_owned();
        let text = message(&body).unwrap_or_else(|| format!("the service responds with status {status}"));
        return Err(match NO_OBJECT.contains(&&*code) {
            true => StatementError::NoObject(text),
            false => StatementError::Refused { code, text },
        });
    }
    Ok(Rows::of_lists(body.get("data")))
}
