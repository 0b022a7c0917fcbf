//! An HTTP endpoint of the user's that stands in for the provider of an enrichment block.
//!
//! It is sent rows in batches, some at once: `{"block": ..., "specs": {...}, "rows": [{...}, ...]}`, and answers
//! `{"rows": [...]}` (or the list alone) with one entry for each row: an object with the fields that it knows, or null.
//! What fails is asked again as the client asks the API; rows for which nothing comes in the end pass as they are.

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use serde_json::{Map, Value, json};
use url::Url;

use crate::net::{
    Repeatability, RetryAdvice, RetryBudget, RetryPolicy, TransportFailure, client_builder, is_loopback, retry_after,
};

/// Rows of one request. By eye: a request is small, and one that fails leaves few rows without.
pub(super) const BATCH_ROWS: usize = 100;

/// Requests under way for one block.
pub(super) const AT_ONCE: usize = 4;

/// Tries of one batch, the first included, and the time in which they begin. The run waits for them.
const BUDGET: RetryBudget = RetryBudget { tries: 5, time: Duration::from_secs(120) };

/// A request that takes longer is given up, and may be tried again.
const TIMEOUT: Duration = Duration::from_secs(60);

/// An answer for a batch is not longer.
const MAX_ANSWER_BYTES: usize = 32 << 20;

/// One endpoint.
pub(super) struct Provider {
    url: Url,
    client: reqwest::Client,
    policy: RetryPolicy,
}

impl Provider {
    /// An endpoint at `url`.
    pub(super) fn new(url: Url) -> Result<Self, reqwest::Error> {
        let policy = RetryPolicy {
            first_delay: Duration::from_millis(200),
            max_delay: Duration::from_secs(5),
            rate_limit_delay: Duration::from_secs(2),
            retry_after_cap: Duration::from_secs(30),
            ..RetryPolicy::default()
        };
        let client = client_builder()
            // A body of personal data goes where the user said, and nowhere else.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(policy.connect_timeout)
            .timeout(TIMEOUT)
            .build()?;
        Ok(Provider { url, client, policy })
    }

    /// Asks for `rows`, each the text of a JSON object; one answer for each. `Err` says for people why there is none.
    pub(super) async fn ask(
        &self,
        block: &str,
        specs: &Map<String, Value>,
        rows: &[String],
    ) -> Result<Vec<Option<Map<String, Value>>>, String> {
        // The rows as they are: numbers keep their digits.
        let head = json!({ "block": block, "specs": specs }).to_string();
        let body = format!("{},\"rows\":[{}]}}", &head[..head.len() - 1], rows.join(","));
        let answers = self.post(body).await?;
        if !rows.is_empty() && answers.len() != rows.len() {
            return Err(format!("{} rows were sent, and {} came back", rows.len(), answers.len()));
        }
        Ok(answers)
    }

    async fn post(&self, body: String) -> Result<Vec<Option<Map<String, Value>>>, String> {
        let started = std::time::Instant::now();
        let mut tries = 0;
        loop {
            tries += 1;
            let (again, named, why) = match self.try_once(body.clone()).await {
                Ok(Ok(answers)) => return Ok(answers),
                Ok(Err((status, named))) => {
                    (Repeatability::Safe.after_status(status), named, format!("it answers {status}"))
                }
                Err(Failed::NoAnswer(error)) => {
                    let why = if error.is_timeout() { "it does not answer in time" } else { "it cannot be reached" };
                    (Repeatability::Safe.after_transport_failure(TransportFailure::of(&error)), None, why.to_owned())
                }
                Err(Failed::BadAnswer(why)) => (RetryAdvice::Never, None, why),
            };
            let delay = self.policy.delay(again, tries, named);
            if again == RetryAdvice::Never || tries >= BUDGET.tries || started.elapsed() + delay >= BUDGET.time {
                return Err(why);
            }
            tokio::time::sleep(delay).await;
        }
    }

    async fn try_once(&self, body: String) -> Result<Result<ProviderRows, Refused>, Failed> {
        let request = self.client.post(self.url.clone()).header(CONTENT_TYPE, "application/json").body(body);
        let mut response = request.send().await.map_err(Failed::NoAnswer)?;
        let status = response.status();
        if !status.is_success() {
            let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
            let named = header.and_then(|value| retry_after(value, std::time::SystemTime::now()));
            return Ok(Err((status.as_u16(), named)));
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(Failed::NoAnswer)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ANSWER_BYTES {
                return Err(Failed::BadAnswer(format!("its answer is longer than {MAX_ANSWER_BYTES} bytes")));
            }
        }
        answers(&bytes).map(Ok).map_err(Failed::BadAnswer)
    }
}

type ProviderRows = Vec<Option<Map<String, Value>>>;

/// A status that is no success, and the wait that came with it.
type Refused = (u16, Option<Duration>);

enum Failed {
    NoAnswer(reqwest::Error),
    BadAnswer(String),
}

fn answers(bytes: &[u8]) -> Result<ProviderRows, String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|error| format!("its answer is no JSON: {error}"))?;
    let rows = match value {
        Value::Array(rows) => rows,
        Value::Object(mut members) => match members.remove("rows") {
            Some(Value::Array(rows)) => rows,
            _ => return Err("its answer has no list `rows`".to_owned()),
        },
        _ => return Err("its answer is neither an object nor a list".to_owned()),
    };
    rows.into_iter()
        .map(|row| match row {
            Value::Null => Ok(None),
            Value::Object(members) => Ok(Some(members)),
            _ => Err("an entry of `rows` is neither an object nor null".to_owned()),
        })
        .collect()
}

/// True for addresses that rows may be sent to: encrypted, or on this machine.
pub(super) fn may_be_sent_to(url: &Url) -> bool {
    url.scheme() == "https" || url.scheme() == "http" && is_loopback(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_objects_or_null() {
        let one = json!({ "a": 1 }).as_object().cloned();
        assert_eq!(answers(br#"{"rows":[{"a":1},null]}"#).unwrap(), [one.clone(), None]);
        assert_eq!(answers(br#"[{"a":1}]"#).unwrap(), [one]);
        for bad in ["x", "3", "{}", "{\"rows\":3}", "[3]"] {
            assert!(answers(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn rows_stay_on_this_machine_or_go_encrypted() {
        let may = |url: &str| may_be_sent_to(&url.parse().unwrap());
        assert!(may("https://example.test/x") && may("http://127.0.0.1:9/x") && may("http://localhost/x"));
        assert!(!may("http://example.test/x") && !may("ftp://localhost/x"));
    }
}
