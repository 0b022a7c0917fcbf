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
            body[member] = json!(as_stored(value));
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
        let asked = http.call(Method::GET, &|_| format!("api/v2/statements/{handle}"), None).await;
        // It goes on, or has ended, whatever keeps us from asking.
        answer = asked.map_err(|error| StatementError::from(error).perhaps_executed())?;
        if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN) {
            return Err(refused(&answer).perhaps_executed());
        }
    }
    rows_of(&answer)
}

/// Returns the name of a warehouse or a role as the service compares it, with its case: in upper case unless it is quoted or has
/// other characters than names without quotes.
fn as_stored(name: &str) -> String {
    if let Some(quoted) = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        return quoted.replace("\"\"", "\"");
    }
    match name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '$')) {
        true => name.to_ascii_uppercase(),
        false => name.to_owned(),
    }
}

fn refused(Answer { status, body, .. }: &Answer) -> StatementError {
    let code = body.get("code").and_then(Value::as_str).unwrap_or_default().to_owned();
    let text = message(body).unwrap_or_else(|| format!("the service responds with status {status}"));
    match NO_OBJECT.contains(&&*code) {
        true => StatementError::NoObject(text),
        false => StatementError::Refused { code, text },
    }
}

fn rows_of(answer: &Answer) -> Result<Rows, StatementError> {
    match answer.status.is_success() {
        true => Ok(Rows::of_lists(answer.body.get("data"))),
        false => Err(refused(answer)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_case_in_which_the_service_has_them() {
        let names = ["compute_wh", "Load$1", "\"Small \"\"x\"\"\"", "with space"];
        assert_eq!(names.map(as_stored), ["COMPUTE_WH", "LOAD$1", "Small \"x\"", "with space"]);
    }
}
