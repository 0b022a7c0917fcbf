//! Lines of the log about requests, waits and their reasons, for the logger of the process: a command has one for
//! `-v` and `--log`. A line has `key=value` pairs and no secrets: URLs without queries and credentials, no headers, no bodies.

use std::time::{Duration, Instant};

use super::Error;
use crate::secret::SecretUrl;
use crate::text::error_chain;

/// The target of all lines. Lines of dependencies have others, and may have secrets in them.
pub(crate) const TARGET: &str = "drawoff";

/// One request that is being sent.
pub(crate) struct RequestLog {
    start: Instant,
    method: String,
    url: SecretUrl,
    /// Further pairs, each with a blank before it.
    more: String,
}

impl RequestLog {
    /// Begins the line of a request.
    pub(crate) fn begin(method: &str, url: &str) -> Self {
        // Without a logger the texts are not made.
        let is_on = log::log_enabled!(target: TARGET, log::Level::Info);
        let text = |text: &str| if is_on { text.to_owned() } else { String::new() };
        RequestLog { start: Instant::now(), method: text(method), url: SecretUrl::new(text(url)), more: String::new() }
    }

    /// Adds a pair, such as the number of the attempt.
    pub(crate) fn with(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        if !self.method.is_empty() {
            self.more.push_str(&format!(" {key}={value}"));
        }
        self
    }

    /// Writes the line of a response: its status, and the length of its body if that is known.
    pub(crate) fn answered(self, status: u16, bytes: Option<u64>) {
        let bytes = bytes.map(|bytes| format!(" bytes={bytes}")).unwrap_or_default();
        self.write(&format!("status={status}{bytes}"));
    }

    /// Writes the line of a request without a usable response.
    pub(crate) fn failed(self, status: Option<u16>, error: &dyn std::error::Error) {
        let status = status.map(|status| format!("status={status} ")).unwrap_or_default();
        self.write(&format!("{status}error={:?}", error_chain(error)));
    }

    fn write(self, outcome: &str) {
        let RequestLog { start, method, url, more } = self;
        let ms = start.elapsed().as_millis();
        log::info!(target: TARGET, "event=request method={method} url={url} {outcome} ms={ms}{more}");
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
