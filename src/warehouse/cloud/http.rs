//! Requests to the interface of a warehouse: repeated while it is away or busy, with a new token where the last one was
//! refused. Every request here may be sent twice.

use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

use super::settings::CloudSettings;
use super::system::CloudSystem;
use super::token::{NoToken, Tokens};
use crate::net::request_log::{RequestLog, log_wait_for};
use crate::net::{bad_certificate, http1_client_builder, retry_after};
use crate::text::error_chain;
use crate::warehouse::LoadError;

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time in which a response must come. Statements that take longer are asked for again.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(120);

/// Waits before a request is sent again. By eye: over half a minute, in which a service restarts or its limit is reset.
const WAITS: [Duration; 6] = [
    Duration::from_millis(250),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
];

/// The longest wait that a server may ask for.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Waits between questions whether a statement has ended; the last one is repeated.
const POLLS: [Duration; 5] = [
    Duration::from_millis(200),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// Most bytes of a response.
const MAX_RESPONSE_BYTES: usize = 64 << 20;

/// Fewest bytes of a token that is looked for in responses: shorter ones are words of theirs.
const MIN_HIDDEN: usize = 8;

/// The address of a warehouse and its tokens.
pub(super) struct Http {
    client: Client,
    pub(super) settings: CloudSettings,
    tokens: Tokens,
    /// The table in messages.
    table: String,
}

/// A response that is no failure of the service itself: a status below 500, and the JSON of its body.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    /// True if an earlier sending of the same request may have been executed: its response was lost.
    pub(super) is_repeated: bool,
}

/// The failure of a request.
pub(super) enum CallError {
    /// No response after all tries, or one of a failing service: what was sent may have been executed.
    Lost(String),
    /// Certain failures: nothing was executed.
    Load(LoadError),
}

impl Http {
    pub(super) fn new(settings: &CloudSettings, table: String) -> Result<Self, LoadError> {
        // No redirects: a token is for this server alone.
        let client = http1_client_builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(RESPONSE_TIMEOUT)
            .build()
            .map_err(|cause| LoadError::Bug(format!("cannot make an HTTP client: {cause}")))?;
        Ok(Http { client, settings: settings.clone(), tokens: Tokens::new(settings), table })
    }

    /// Returns the name of the table for messages.
    pub(super) fn table(&self) -> &str {
        &self.table
    }

    /// Sends a request. `path` returns the path and query of a try, which are counted from 0.
    pub(super) async fn call(
        &self,
        method: Method,
        path: &(dyn Fn(usize) -> String + Sync),
        body: Option<&Value>,
    ) -> Result<Answer, CallError> {
        let mut waits = WAITS.iter();
        let mut was_renewed = false;
        let mut tries = 0;
        let mut is_repeated = false;
        // Of a statement that was cancelled, not of a busy service.
        let is_final = |status: u16| status == 408 && self.settings.system() == CloudSystem::Snowflake;
        loop {
            let (cause, wanted) = match self.once(method.clone(), &path(tries), body).await {
                Ok((answer, _)) if answer.status == StatusCode::UNAUTHORIZED => {
                    // Tokens expire in the middle of a load.
                    if !was_renewed && self.tokens.renew() {
                        was_renewed = true;
                        tries += 1;
                        continue;
                    }
                    let cause = format!("the token was refused{}", said(&answer.body));
                    return Err(match is_repeated {
                        true => CallError::Lost(cause),
                        false => CallError::Load(self.no_token(NoToken { cause, hint: self.tokens.hint() })),
                    });
                }
                Ok((answer, wanted)) => match answer.status.as_u16() {
                    status if is_final(status) => return Ok(Answer { is_repeated, ..answer }),
                    status @ (408 | 429 | 500..) => {
                        is_repeated |= status != 429;
                        (format!("the service responds with status {}{}", answer.status, said(&answer.body)), wanted)
                    }
                    403 if is_rate_limit(&answer.body) => {
                        (format!("the service limits the rate{}", said(&answer.body)), wanted)
                    }
                    _ => return Ok(Answer { is_repeated, ..answer }),
                },
                Err(CallError::Lost(cause)) => {
                    is_repeated = true;
                    (cause, None)
                }
                Err(CallError::Load(error)) if is_repeated => return Err(CallError::Lost(error.to_string())),
                Err(error) => return Err(error),
            };
            let Some(wait) = waits.next() else { return Err(CallError::Lost(cause)) };
            let wait = wanted.unwrap_or_default().min(MAX_WAIT).max(*wait);
            log_wait_for(&cause, wait);
            tokio::time::sleep(wait).await;
            tries += 1;
        }
    }

    async fn once(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(Answer, Option<Duration>), CallError> {
        let token = self.tokens.get(&self.client).await.map_err(|error| CallError::Load(self.no_token(error)))?;
        let url = format!("{}{path}", self.settings.endpoint);
        let log = RequestLog::begin(method.as_str(), &url);
        let mut request = self.client.request(method, url).bearer_auth(&token).header("accept", "application/json");
        if self.tokens.are_signed() {
            request = request.header("x-snowflake-authorization-token-type", "KEYPAIR_JWT");
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                let error = error.without_url();
                log.failed(None, &error);
                return Err(self.unsent(&error));
            }
        };
        let status = response.status();
        log.answered(status.as_u16(), response.content_length());
        let after = response.headers().get(reqwest::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let wanted = after.and_then(|text| retry_after(text, std::time::SystemTime::now()));
        let mut bytes = Vec::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if bytes.len() + chunk.len() <= MAX_RESPONSE_BYTES => bytes.extend_from_slice(&chunk),
                Ok(Some(_)) => return Err(CallError::Load(self.refused("the response is too long".to_owned(), None))),
                Ok(None) => break,
                Err(error) => return Err(CallError::Lost(causes(&error))),
            }
        }
        let is_empty = bytes.is_empty();
        match serde_json::from_slice(&without_token(bytes, &token)) {
            Ok(body) => Ok((Answer { status, body, is_repeated: false }, wanted)),
            Err(_) if !status.is_success() || is_empty => {
                Ok((Answer { status, body: Value::Null, is_repeated: false }, wanted))
            }
            // Cut, or of something between.
            Err(_) => Err(CallError::Lost("the response is no JSON".to_owned())),
        }
    }

    /// Waits between two questions whether a statement has ended; `polls` counts them.
    pub(super) async fn pause(&self, polls: &mut usize) {
        tokio::time::sleep(POLLS[(*polls).min(POLLS.len() - 1)]).await;
        *polls += 1;
    }

    fn no_token(&self, NoToken { cause, hint }: NoToken) -> LoadError {
        LoadError::Connect { target: self.settings.name(), cause, hint: Some(hint), is_transient: false }
    }

    /// Makes the error of a statement that was refused.
    pub(super) fn refused(&self, cause: String, hint: Option<String>) -> LoadError {
        LoadError::Refused { table: self.table.clone(), cause, hint, is_transient: false }
    }

    pub(super) fn transient(&self, cause: String) -> LoadError {
        let hint = Some("run the same command again: it loads the rows only if they are not there".to_owned());
        LoadError::Refused { table: self.table.clone(), cause, hint, is_transient: true }
    }

    fn unsent(&self, error: &reqwest::Error) -> CallError {
        if let Some(problem) = bad_certificate(error) {
            let hint = Some("correct SSL_CERT_FILE or SSL_CERT_DIR, or the name of the host".to_owned());
            let (target, cause) = (self.settings.name(), problem.to_string());
            return CallError::Load(LoadError::Connect { target, cause, hint, is_transient: false });
        }
        CallError::Lost(causes(error))
    }
}

/// Returns true for the errors by which BigQuery limits rates, with status 403.
fn is_rate_limit(body: &Value) -> bool {
    let reason = body.pointer("/error/errors/0/reason").and_then(Value::as_str);
    matches!(reason, Some("rateLimitExceeded" | "jobRateLimitExceeded" | "userRateLimitExceeded" | "jobBackendError"))
}

/// Returns the message of an error in a response, behind a colon, cut to a readable length.
fn said(body: &Value) -> String {
    message(body).map(|text| format!(": {}", without_values(&text))).unwrap_or_default()
}

/// Returns the message of an error in a response of any of the systems.
pub(super) fn message(body: &Value) -> Option<String> {
    let text = body.get("message").or_else(|| body.pointer("/error/message")).and_then(Value::as_str)?;
    let line = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    Some(line.chars().take(500).collect())
}

/// Returns an error's text without what is in quotes: values of rows are personal data.
pub(super) fn without_values(text: &str) -> String {
    let within = |text: &str, quote: char, hidden: &str| -> String {
        let parts = text.split(quote).enumerate();
        parts.map(|(i, part)| if i % 2 == 0 { part } else { hidden }).collect()
    };
    within(&within(text, '\'', "'…'"), '"', "\"…\"")
}

/// Returns a response without the token of its request, which some services repeat in errors.
fn without_token(bytes: Vec<u8>, token: &str) -> Vec<u8> {
    match std::str::from_utf8(&bytes) {
        Ok(text) if token.len() >= MIN_HIDDEN && text.contains(token) => text.replace(token, "…").into_bytes(),
        _ => bytes,
    }
}

/// Returns the causes of an error without its own text, which has the URL.
fn causes(error: &reqwest::Error) -> String {
    std::error::Error::source(error).map_or("the connection was lost".to_owned(), error_chain)
}
