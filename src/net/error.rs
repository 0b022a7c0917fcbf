//! The error of `net`: kind, request, status, attempts and elapsed time of a request that failed for good.
//!
//! Exit codes, hints and retries are decided from these facts, never from the text. URLs are kept without their query,
//! and the URLs inside errors of the client library are dropped.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::tls::bad_certificate;
use crate::secret::SecretUrl;
use crate::text::human_duration;

/// The class of a failure, by who must act: the user, the server, or a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// No API key is set; nothing was sent.
    NoKey,
    /// Status 401: the key is missing, wrong or revoked.
    KeyRefused,
    /// Status 403: the key lacks the permission, or a signed link has expired.
    Forbidden,
    /// Status 404 or 410: the resource does not exist, or no longer.
    NotFound,
    /// Any other 4xx status: the request itself is at fault.
    Refused,
    /// Status 429, also after the waits of the retry budget.
    RateLimited,
    /// No connection, or none that lasted until the response was complete.
    Unreachable,
    /// The server's TLS certificate was rejected; the source is a [`BadCertificate`](super::BadCertificate).
    BadCertificate,
    /// Status 5xx, also after retries.
    ServerFault,
    /// An invalid response: not the expected JSON, too large, or a redirect that must not be followed.
    BadResponse,
    /// The file behind a link was replaced after its first bytes were read.
    Changed,
    /// The content encoding of a body is truncated, corrupt, or expands beyond the limit.
    Damaged,
    /// A body ended early and could not be resumed.
    CutShort,
    /// The download was cancelled by its owner.
    Stopped,
}

/// Query parameters of API calls that never hold a secret, and may be shown.
const PUBLIC_PARAMETERS: [&str; 6] = ["status", "workflow_id", "limit", "format", "result_formats", "save_json"];

/// A request that failed, after all its attempts. Cheap to clone: several downloads may wait for one request.
#[derive(Clone)]
pub struct Error(Box<Facts>);

#[derive(Clone)]
struct Facts {
    kind: Kind,
    method: &'static str,
    url: String,
    status: Option<u16>,
    tries: u32,
    elapsed: Duration,
    text: String,
    /// The response is an error of the API itself, in one of its documented shapes.
    from_api: bool,
    /// An attempt of the call may have been processed.
    maybe_processed: bool,
    /// Host of a link that rejected a request (401) from which the key was withheld, because the host is not trusted.
    keyless_host: Option<String>,
    /// The link that was rejected is the only one of its file.
    only_link: bool,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Creates an error of `kind` for `method url`, with one attempt. The URL is kept without its query.
    pub fn new(kind: Kind, method: &'static str, url: &str) -> Self {
        Error(Box::new(Facts {
            kind,
            method,
            url: SecretUrl::new(url).to_string(),
            status: None,
            tries: 1,
            elapsed: Duration::ZERO,
            text: String::new(),
            from_api: false,
            maybe_processed: false,
            keyless_host: None,
            only_link: false,
            source: None,
        }))
    }

    /// Adds the detail: the server's message, or our own. It must hold no secret.
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.0.text = text.into();
        self
    }

    /// Adds the status of the response.
    pub fn with_status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    /// Adds the cause, which becomes the source of the error.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// Adds the host that received the request without the key, because it is neither the API's own nor trusted.
    pub(super) fn with_withheld_key(mut self, host: &str) -> Self {
        self.0.keyless_host = Some(host.to_owned());
        self
    }

    /// Marks the link that was rejected as the only one of its file: no other can be requested.
    pub fn with_only_link(mut self) -> Self {
        self.0.only_link = true;
        self
    }

    /// Marks the response as an error of the API itself: its body has one of the documented shapes.
    pub(super) fn with_api_body(mut self, from_api: bool) -> Self {
        self.0.from_api = from_api;
        self
    }

    /// Records whether an attempt of the call may have been processed.
    pub(super) fn after_unknown_outcome(mut self, maybe_processed: bool) -> Self {
        self.0.maybe_processed = maybe_processed;
        self
    }

    /// Adds the number of attempts and the time until giving up.
    pub fn after(mut self, tries: u32, elapsed: Duration) -> Self {
        self.0.tries = tries;
        self.0.elapsed = elapsed;
        self
    }

    /// Shows the query of an API call, if every parameter of it is known to hold no secret. Never called for links:
    /// their query is a secret.
    pub(super) fn for_api_call(mut self, url: &Url) -> Self {
        if let Some(query) = url.query().filter(|_| has_public_query(url)) {
            self.0.url = format!("{}?{query}", SecretUrl::new(without_public_query(url)));
        }
        self
    }

    /// Converts an error of the client library. Only its innermost cause is kept, for the layers above repeat what this
    /// error says, and the library's URL is dropped, for it may be a signed link.
    pub(super) fn from_reqwest(error: reqwest::Error, method: &'static str, url: &str) -> Self {
        if let Some(problem) = bad_certificate(&error) {
            return Error::new(Kind::BadCertificate, method, url).with_source(problem);
        }
        // These concern the request or the response itself; all others are of the connection.
        let kind = if error.is_builder() || error.is_redirect() || error.is_decode() {
            Kind::BadResponse
        } else {
            Kind::Unreachable
        };
        Error::new(kind, method, url).with_source(innermost(error))
    }

    /// Returns the class of the failure.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Returns the status of the last response; `None` if there was none.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// Returns true if the response is an error of the API itself, and not the page of a gateway or proxy between.
    pub fn is_from_api(&self) -> bool {
        self.0.from_api
    }

    /// Returns true if an attempt of the call may have been processed: its response was lost, or came from a failing
    /// server or from another one than the API.
    pub fn may_be_processed(&self) -> bool {
        self.0.maybe_processed
    }

    /// Returns true if the call certainly had no effect: the API itself rejected it (a 4xx status with one of its
    /// documented error bodies), and no attempt may have been processed. Conflicts (409) and limits (408, 425,
    /// 429) are excluded: they say nothing of an earlier request with the same key.
    pub fn is_certain_refusal(&self) -> bool {
        let facts = &self.0;
        let refused = matches!(facts.status, Some(400..=499)) && !matches!(facts.status, Some(408 | 409 | 425 | 429));
        refused && facts.from_api && !facts.maybe_processed
    }

    /// Returns the host that rejected the request (401) because the key was withheld from it; `None` for all other
    /// errors.
    pub fn keyless_host(&self) -> Option<&str> {
        self.0.keyless_host.as_deref()
    }

    /// Returns true if the link that was rejected is the only one of its file, such as a URL that was typed.
    pub fn is_of_only_link(&self) -> bool {
        self.0.only_link
    }

    /// Returns the number of attempts, at least 1.
    pub fn tries(&self) -> u32 {
        self.0.tries
    }

    /// Returns the detail, without the kind and the request: the server's message, or our own; may be empty.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Returns the method and the redacted URL.
    pub fn request(&self) -> (&'static str, &str) {
        (self.0.method, &self.0.url)
    }
}

fn has_public_query(url: &Url) -> bool {
    let is_public = |(name, _): (Cow<'_, str>, _)| PUBLIC_PARAMETERS.contains(&name.as_ref());
    url.query_pairs().all(is_public)
}

/// Returns the URL of an API call without its query, if every parameter of it may be shown: a response that quotes one
/// of their values quotes no secret.
pub(super) fn without_public_query(url: &Url) -> String {
    let mut plain = url.clone();
    if has_public_query(url) {
        plain.set_query(None);
    }
    plain.to_string()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = &self.0;
        let what = match facts.kind {
            Kind::NoKey => "no API key is set",
            Kind::KeyRefused => "the API key was rejected",
            Kind::Forbidden => "access denied",
            Kind::NotFound => "not found",
            Kind::Refused => "the request was rejected",
            Kind::RateLimited => "rate limit exceeded",
            Kind::Unreachable => "no response",
            Kind::BadCertificate => "the TLS certificate was rejected",
            Kind::ServerFault => "server error",
            Kind::BadResponse => "invalid response",
            Kind::Changed => "the file changed during the download",
            Kind::Damaged => "the compressed body is corrupt",
            Kind::CutShort => "the download was interrupted",
            Kind::Stopped => "the download was cancelled",
        };
        // The source is not part of the text: the printer at the top joins the chain.
        write!(f, "{} {}: {what}", facts.method, facts.url)?;
        if let Some(status) = facts.status {
            write!(f, " (status {status})")?;
        }
        if facts.tries > 1 {
            write!(f, " after {} attempts in {}", facts.tries, human_duration(facts.elapsed))?;
        }
        if !facts.text.is_empty() {
            write!(f, ": {}", facts.text)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "net::Error({:?}, {self}", self.0.kind)?;
        if let Some(source) = &self.0.source {
            write!(f, ", {source}")?;
        }
        f.write_str(")")
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Returns the text of the innermost cause of a client library error, without its URL.
pub(super) fn innermost(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn StdError = &error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}
