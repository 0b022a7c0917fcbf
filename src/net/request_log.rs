//! Lines of the log about requests, waits and their reasons, for the logger of the process: a command has one for
//! `-v` and `--log`. A line has `key=value` pairs and no secrets: URLs without queries and credentials, no headers, no bodies.

use std::time::{Duration, Instant, SystemTime};

use super::Error;
use super::spans::{self, Span, SpanValue};
use crate::secret::SecretUrl;
use crate::text::error_chain;

/// The target of all lines. Lines of dependencies have others, and may have secrets in them.
pub(crate) const TARGET: &str = "drawoff";

/// One request that is being sent.
pub(crate) struct RequestLog {
    start: Instant,
    began: SystemTime,
    method: String,
    url: SecretUrl,
    /// Further pairs.
    more: Vec<(&'static str, String)>,
}

impl RequestLog {
    /// Begins the line of a request.
    pub(crate) fn begin(method: &str, url: &str) -> Self {
        // Without a logger and an observer the texts are not made.
        let is_on = log::log_enabled!(target: TARGET, log::Level::Info) || spans::is_observed();
        let text = |text: &str| if is_on { text.to_owned() } else { String::new() };
        RequestLog {
            start: Instant::now(),
            began: SystemTime::now(),
            method: text(method),
            url: SecretUrl::new(text(url)),
            more: Vec::new(),
        }
    }

    /// Adds a pair, such as the number of the attempt.
    pub(crate) fn with(mut self, key: &'static str, value: impl std::fmt::Display) -> Self {
        if !self.method.is_empty() {
            self.more.push((key, value.to_string()));
        }
        self
    }

    /// Writes the line of a response: its status, and the length of its body if that is known.
    pub(crate) fn answered(self, status: u16, bytes: Option<u64>) {
        let text = bytes.map(|bytes| format!(" bytes={bytes}")).unwrap_or_default();
        self.write(&format!("status={status}{text}"), Some(status), bytes, None);
    }

    /// Writes the line of a request without a usable response.
    pub(crate) fn failed(self, status: Option<u16>, error: &dyn std::error::Error) {
        let text = status.map(|status| format!("status={status} ")).unwrap_or_default();
        let error = error_chain(error);
        self.write(&format!("{text}error={error:?}"), status, None, Some(error));
    }

    fn write(self, outcome: &str, status: Option<u16>, bytes: Option<u64>, error: Option<String>) {
        let RequestLog { start, began, method, url, more } = self;
        if spans::is_observed() {
            let number = |name, number: Option<u64>| number.map(|number| (name, SpanValue::Number(number)));
            let texts = [("http.request.method", method.clone()), ("url.full", url.to_string())];
            let numbers =
                [number("http.response.status_code", status.map(u64::from)), number("http.response.body.size", bytes)];
            let texts = texts.into_iter().chain(more.iter().map(|(key, value)| (attribute(key), value.clone())));
            let attributes = texts.map(|(name, text)| (name, SpanValue::Text(text)));
            // A status of an error is one of the span, too.
            let error = error.or_else(|| status.filter(|status| *status >= 400).map(|status| status.to_string()));
            spans::record(Span {
                name: method.clone(),
                start: began,
                end: SystemTime::now(),
                attributes: attributes.chain(numbers.into_iter().flatten()).collect(),
                error,
            });
        }
        let ms = start.elapsed().as_millis();
        let more: String = more.iter().map(|(key, value)| format!(" {key}={value}")).collect();
        log::info!(target: TARGET, "event=request method={method} url={url} {outcome} ms={ms}{more}");
    }
}

/// Returns the name that OpenTelemetry has for a pair, or one of our own.
fn attribute(key: &'static str) -> &'static str {
    match key {
        "attempt" => "drawoff.attempt",
        "range" => "drawoff.range",
        "sent" => "drawoff.sent_bytes",
        other => other,
    }
}

/// Writes the line of a wait before another attempt.
pub(super) fn log_wait(error: &Error, delay: Duration) {
    log_wait_for(&error_chain(error), delay);
}

/// Writes the line of a wait for a reason in words.
pub(crate) fn log_wait_for(reason: &str, delay: Duration) {
    log::info!(target: TARGET, "event=wait ms={} reason={reason:?}", delay.as_millis());
}
