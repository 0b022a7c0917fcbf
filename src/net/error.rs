//! What went wrong on the network, as facts that decide things.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::tls::bad_certificate;
use crate::secret::SecretUrl;
use crate::text::human_duration;

/// Whose fault it is and what can be done: exit codes, hints and retries are decided from this, never from text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// There is no key to send; nothing was sent.
    NoKey,
    /// 401.
    KeyRefused,
    /// 403.
    Forbidden,
    /// 404 or 410.
    NotFound,
    /// Any other 4xx: the request is at fault.
    Refused,
    /// 429, also after waiting.
    RateLimited,
    /// No connection, or it broke before an answer came.
    Unreachable,
    /// The server's certificate was not accepted; the source is a [`BadCertificate`](super::BadCertificate).
    BadCertificate,
    /// 5xx, also after trying again.
    ServerFault,
    /// An answer that makes no sense: not the promised JSON, too large, a redirect elsewhere.
    BadAnswer,
    /// The file behind a link is not the one whose first bytes were read.
    Changed,
    /// A body whose compression on the way is cut short, damaged or larger than can be meant.
    Damaged,
    /// A body that ended before its end and could not be continued.
    CutShort,
    /// Stopped by its owner.
    Stopped,
}

/// Parameters of API calls that hold no secret.
const HARMLESS: [&str; 6] = ["status", "workflow_id", "limit", "format", "result_formats", "save_json"];

/// A request that failed, after all its tries. Cheap to clone, for all who waited for it.
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
    /// The host of a link elsewhere that asked for a key and was not given ours.
    keyless_host: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` on `method url`. The URL is kept without its query.
    pub fn new(kind: Kind, method: &'static str, url: &str) -> Self {
        Error(Box::new(Facts {
            kind,
            method,
            url: SecretUrl::new(url).to_string(),
            status: None,
            tries: 1,
            elapsed: Duration::ZERO,
            text: String::new(),
            keyless_host: None,
            source: None,
        }))
    }

    /// With words of its own, or the server's.
    pub fn with_text(mut self, text: impl Into<String>) -> Self {
        self.0.text = text.into();
        self
    }

    /// With the status of the answer.
    pub fn with_status(mut self, status: u16) -> Self {
        self.0.status = Some(status);
        self
    }

    /// With the cause below.
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(Arc::from(source.into()));
        self
    }

    /// With the host that was asked without the key, because it is not the API's own.
    pub(super) fn without_key_for(mut self, host: &str) -> Self {
        self.0.keyless_host = Some(host.to_owned());
        self
    }

    /// With what was spent until giving up.
    pub fn after(mut self, tries: u32, elapsed: Duration) -> Self {
        self.0.tries = tries;
        self.0.elapsed = elapsed;
        self
    }

    /// On a plain call of the API, whose query is shown if all of it is known to be harmless. Links never come here:
    /// their query is a secret.
    pub(super) fn of_call(mut self, url: &Url) -> Self {
        let harmless = |(name, _): (Cow<'_, str>, _)| HARMLESS.contains(&name.as_ref());
        if url.query().is_some() && url.query_pairs().all(harmless) {
            let query = url.query().unwrap_or_default();
            let mut plain = url.clone();
            plain.set_query(None);
            self.0.url = format!("{}?{query}", SecretUrl::new(plain));
        }
        self
    }

    /// From the client library, with the innermost of its causes: the layers above it say nothing that this error does
    /// not say. The library's own URL is dropped, for it may be a signed link.
    pub(super) fn from_reqwest(error: reqwest::Error, method: &'static str, url: &str) -> Self {
        if let Some(problem) = bad_certificate(&error) {
            return Error::new(Kind::BadCertificate, method, url).with_source(problem);
        }
        let kind = if error.is_builder() || error.is_redirect() || error.is_decode() {
            Kind::BadAnswer
        } else {
            Kind::Unreachable
        };
        Error::new(kind, method, url).with_source(innermost(error))
    }

    /// The kind.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The status of the last answer, if one came.
    pub fn status(&self) -> Option<u16> {
        self.0.status
    }

    /// The host that refused a request without a key, if ours was kept back because the host is not the API's own.
    pub fn keyless_host(&self) -> Option<&str> {
        self.0.keyless_host.as_deref()
    }

    /// How often it was tried.
    pub fn tries(&self) -> u32 {
        self.0.tries
    }

    /// The server's words, or ours.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// The method and the redacted URL.
    pub fn request(&self) -> (&'static str, &str) {
        (self.0.method, &self.0.url)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = &self.0;
        let what = match facts.kind {
            Kind::NoKey => "there is no API key to send",
            Kind::KeyRefused => "the key was refused",
            Kind::Forbidden => "access denied",
            Kind::NotFound => "not found",
            Kind::Refused => "refused",
            Kind::RateLimited => "too many requests",
            Kind::Unreachable => "no answer",
            Kind::BadCertificate => "no answer",
            Kind::ServerFault => "the server failed",
            Kind::BadAnswer => "an answer that makes no sense",
            Kind::Changed => "the file changed while it was read",
            Kind::Damaged => "the compression of the body is damaged",
            Kind::CutShort => "the download broke off",
            Kind::Stopped => "stopped",
        };
        write!(f, "{} {}: {what}", facts.method, facts.url)?;
        if let Some(status) = facts.status {
            write!(f, " (status {status})")?;
        }
        if facts.tries > 1 {
            write!(f, " after {} tries in {}", facts.tries, human_duration(facts.elapsed))?;
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

/// The text of the cause at the bottom of the client library's chain.
pub(super) fn innermost(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut cause: &dyn StdError = &error;
    while let Some(below) = cause.source() {
        cause = below;
    }
    cause.to_string()
}
