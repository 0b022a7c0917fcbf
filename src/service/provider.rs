//! Client of the user's HTTP endpoint that replaces the provider of an enrichment block.
//!
//! A request is `{"block": ..., "specs": {...}, "rows": [{...}, ...]}`. The response is `{"rows": [...]}`, or the list
//! alone, with one entry for each row: an object with the fields that the endpoint knows, or null. Failed requests are
//! retried by the policy of the API client. Batching, and the merge of entries into rows, are the caller's.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use serde_json::{Map, Value, json};
use url::Url;

use crate::net::{
    Repeatability, RetryAdvice, RetryBudget, RetryPolicy, TransportFailure, client_builder, is_loopback, retry_after,
};

/// Rows of one request. By eye: a request is small, and one that fails leaves few rows unenriched.
pub(super) const BATCH_ROWS: usize = 100;

/// Concurrent requests for one block. By eye.
pub(super) const MAX_CONCURRENT_REQUESTS: usize = 4;

/// Attempts for one batch, including the first, and the time within which they begin. The run waits for them.
const BUDGET: RetryBudget = RetryBudget { tries: 5, time: Duration::from_secs(120) };

/// Time limit of one attempt, from connecting to the last byte of the response.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Size limit of a response, which is held in memory.
const MAX_RESPONSE_BYTES: usize = 32 << 20;

/// HTTP endpoint with its client, shared by all runs.
pub(super) struct Provider {
    url: Url,
    client: reqwest::Client,
    policy: RetryPolicy,
}

impl Provider {
    /// Creates the client of the endpoint at `url`. Sends nothing.
    pub(super) fn new(url: Url) -> Result<Self, reqwest::Error> {
        let policy = RetryPolicy {
            first_delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(5),
            rate_limit_delay: Duration::from_secs(2),
            retry_after_cap: Duration::from_secs(30),
            ..RetryPolicy::default()
        };
        let client = client_builder()
            // The body is personal data: it goes to the configured address and to no other.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(policy.connect_timeout)
            .timeout(TIMEOUT)
            .build()?;
        Ok(Provider { url, client, policy })
    }

    /// Sends `rows`, each the text of a JSON object, and returns one entry for each; without rows, the rows that the
    /// endpoint returns. An error is the cause of the last failed attempt.
    pub(super) async fn request(
        &self,
        block: &str,
        specs: &Map<String, Value>,
        rows: &[String],
    ) -> Result<ProviderRows, String> {
        // The texts of the rows are spliced in unparsed, so that numbers keep their digits.
        let head = json!({ "block": block, "specs": specs }).to_string();
        let body = format!("{},\"rows\":[{}]}}", &head[..head.len() - 1], rows.join(","));
        let entries = self.post(body).await?;
        if !rows.is_empty() && entries.len() != rows.len() {
            return Err(format!("the endpoint returned {} rows for {} rows sent", entries.len(), rows.len()));
        }
        Ok(entries)
    }

    /// Posts `body` until an attempt succeeds, fails for good, or exhausts [`BUDGET`].
    async fn post(&self, body: String) -> Result<ProviderRows, String> {
        let started = std::time::Instant::now();
        let mut tries = 0;
        loop {
            tries += 1;
            // `Safe`: a lookup may be repeated even if the first request was executed.
            let (advice, retry_after, cause) = match self.try_once(body.clone()).await {
                Ok(entries) => return Ok(entries),
                Err(Failed::Status(status, retry_after)) => {
                    let cause = format!("the endpoint responded with status {status}");
                    (Repeatability::Safe.after_status(status), retry_after, cause)
                }
                Err(Failed::Transport(error)) => {
                    let cause = match error.is_timeout() {
                        true => "the endpoint did not respond in time",
                        false => "the connection to the endpoint failed",
                    };
                    (Repeatability::Safe.after_transport_failure(TransportFailure::of(&error)), None, cause.to_owned())
                }
                Err(Failed::Body(cause)) => (RetryAdvice::Never, None, cause),
            };
            let delay = self.policy.delay(advice, tries, retry_after);
            if advice == RetryAdvice::Never || tries >= BUDGET.tries || started.elapsed() + delay >= BUDGET.time {
                return Err(cause);
            }
            tokio::time::sleep(delay).await;
        }
    }

    async fn try_once(&self, body: String) -> Result<ProviderRows, Failed> {
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json").body(body);
        let mut response = request.send().await.map_err(Failed::Transport)?;
        let status = response.status();
        if !status.is_success() {
            let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let wait = header.and_then(|value| retry_after(value, std::time::SystemTime::now()));
            return Err(Failed::Status(status.as_u16(), wait));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(Failed::Transport)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_RESPONSE_BYTES {
                return Err(Failed::Body(format!("the endpoint's response exceeds {MAX_RESPONSE_BYTES} bytes")));
            }
        }
        parse_entries(&bytes).map_err(Failed::Body)
    }
}

/// Entries of a response, in the order of the rows that were sent; `None` for null.
type ProviderRows = Vec<Option<Map<String, Value>>>;

/// Failure of one attempt.
enum Failed {
    /// A status other than 2xx, with the wait that the response specifies.
    Status(u16, Option<Duration>),
    /// No complete response: the connection failed or the time limit was exceeded.
    Transport(reqwest::Error),
    /// A complete response with an invalid body; the text is the cause. Never retried.
    Body(String),
}

fn parse_entries(bytes: &[u8]) -> Result<ProviderRows, String> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| format!("the endpoint's response is not valid JSON: {error}"))?;
    let rows = match value {
        Value::Array(rows) => rows,
        Value::Object(mut members) => match members.remove("rows") {
            Some(Value::Array(rows)) => rows,
            _ => return Err("the endpoint's response has no list `rows`".to_owned()),
        },
        _ => return Err("the endpoint's response is neither an object nor a list".to_owned()),
    };
    rows.into_iter()
        .enumerate()
        .map(|(i, row)| match row {
            Value::Null => Ok(None),
            Value::Object(members) => Ok(Some(members)),
            _ => Err(format!("`rows[{i}]` of the endpoint's response is neither an object nor null")),
        })
        .collect()
}

/// Returns true if rows may be sent to `url`: over an encrypted connection, or to this machine.
pub(super) fn is_allowed(url: &Url) -> bool {
    url.scheme() == "https" || url.scheme() == "http" && is_loopback(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_objects_or_null() {
        let one = json!({ "a": 1 }).as_object().cloned();
        assert_eq!(parse_entries(br#"{"rows":[{"a":1},null]}"#).unwrap(), [one.clone(), None]);
        assert_eq!(parse_entries(br#"[{"a":1}]"#).unwrap(), [one]);
        for (body, expected) in [
            ("x", "is not valid JSON: expected value"),
            ("3", "is neither an object nor a list"),
            ("{}", "has no list `rows`"),
            ("{\"rows\":3}", "has no list `rows`"),
            ("[null,3]", "`rows[1]` of the endpoint's response is neither an object nor null"),
        ] {
            let cause = parse_entries(body.as_bytes()).unwrap_err();
            assert!(cause.contains(expected), "{body}: {cause}");
        }
    }

    #[test]
    fn rows_are_sent_encrypted_or_to_this_machine() {
        let allowed = |url: &str| is_allowed(&url.parse().unwrap());
        assert!(allowed("https://example.test/x") && allowed("http://127.0.0.1:9/x") && allowed("http://localhost/x"));
        assert!(!allowed("http://example.test/x") && !allowed("ftp://localhost/x"));
    }
}
