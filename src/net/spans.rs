//! Spans of requests and downloads: their beginnings, ends and figures, for a tracing system. Without an observer they cost
//! nothing. A span has no secrets: queries and credentials of URLs are redacted, and there are no headers and no bodies.

use std::sync::OnceLock;
use std::time::SystemTime;

/// Something that took time.
#[derive(Clone, Debug)]
pub struct Span {
    /// Name, such as `GET` or `download`.
    pub name: String,
    /// Time of the beginning.
    pub start: SystemTime,
    /// Time of the end.
    pub end: SystemTime,
    /// Attributes, by the names of OpenTelemetry where it has some.
    pub attributes: Vec<(&'static str, SpanValue)>,
    /// The error that it ended with; `None` if it succeeded.
    pub error: Option<String>,
}

/// The value of an attribute.
#[derive(Clone, Debug)]
pub enum SpanValue {
    /// Text.
    Text(String),
    /// A count.
    Number(u64),
}

/// The function that gets every span when it ends.
pub type OnSpan = Box<dyn Fn(Span) + Send + Sync>;

static OBSERVER: OnceLock<OnSpan> = OnceLock::new();

/// Sets the observer of all spans of the process. Returns false if there is one.
pub fn observe(on_span: OnSpan) -> bool {
    OBSERVER.set(on_span).is_ok()
}

/// Returns true if spans are observed.
pub(crate) fn is_observed() -> bool {
    OBSERVER.get().is_some()
}

/// Hands a span to the observer.
pub(crate) fn record(span: Span) {
    if let Some(on_span) = OBSERVER.get() {
        on_span(span);
    }
}
