//! Journal of requests: the newest ones in memory, for tests that assert on them, and a call for each, for a log. It
//! records and never prints; the routes serve it below `/admin`.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, Uri, header};
use chrono::{DateTime, Utc};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use serde::Serialize;

use super::clock::timestamp;
use super::hosted::{redacted_path, redacted_query};
use super::paths::{FILES_PREFIX, HEALTH, METRICS};
use super::request::given_key;
use crate::api::routes::IDEMPOTENCY_KEY_HEADER;

/// Requests that the journal holds; the oldest are dropped. With [`MAX_BODY_BYTES`] a bound of some 5 MiB.
const MAX_REQUESTS: usize = 2000;

/// Bytes of a request's body that are recorded.
const MAX_BODY_BYTES: usize = 2 << 10;

/// Bytes of a recorded path, query or header.
const MAX_TEXT_BYTES: usize = 1 << 10;

/// One request with the head of its response.
#[derive(Clone, Debug, Serialize)]
pub struct RequestRecord {
    /// Number of the request since the start of the service, in the order of responses. Those that are not kept, such as
    /// those of the page, have numbers too.
    pub number: u64,
    /// Time of the request by the service's clock.
    #[serde(serialize_with = "as_timestamp")]
    pub at: DateTime<Utc>,
    /// Method, such as `POST`.
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Query without the signatures of links; empty if there is none.
    pub query: String,
    /// Status of the response.
    pub status: u16,
    /// Milliseconds until the head of the response.
    pub duration_ms: u64,
    /// Faults that were injected, as written; empty without any.
    pub faults: Vec<String>,
    /// Differences of the hosted service's response from the contract; empty without any, and without a proxy.
    pub differences: Vec<String>,
    /// Run that the request started, asked for or downloaded from; `None` for other requests.
    pub run_id: Option<String>,
    /// `Idempotency-Key`; `None` if the request had none.
    pub idempotency_key: Option<String>,
    /// `Content-Type`; `None` if the request had none.
    pub content_type: Option<String>,
    /// `Range`; `None` if the request had none.
    pub range: Option<String>,
    /// `User-Agent`; `None` if the request had none.
    pub user_agent: Option<String>,
    /// First 2 KiB of the body as text.
    pub body: String,
    /// Bytes of the body that were read until the head of the response.
    pub body_bytes: u64,
}

fn as_timestamp<S: serde::Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&timestamp(*time))
}

/// A function that is called with each request.
#[derive(Clone)]
pub struct OnRequest(Arc<dyn Fn(&RequestRecord) + Send + Sync>);

impl OnRequest {
    /// Wraps a function, which must not block.
    pub fn new(call: impl Fn(&RequestRecord) + Send + Sync + 'static) -> Self {
        OnRequest(Arc::new(call))
    }
}

impl fmt::Debug for OnRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnRequest")
    }
}

/// Run that a handler started or cancelled, as an extension of its response.
#[derive(Clone)]
pub(super) struct RunOfRequest(pub String);

/// Texts of the faults in a response, as an extension of it.
#[derive(Clone)]
pub(super) struct InjectedFaults(pub Vec<String>);

/// Differences of a response of the hosted service from the contract, as an extension of it.
#[derive(Clone)]
pub(super) struct DifferencesFromContract(pub Vec<String>);

/// The newest requests, shared by all handlers.
pub(super) struct Journal {
    on_request: Option<OnRequest>,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    newest: VecDeque<RequestRecord>,
    /// Number of the last request.
    last: u64,
}

/// A selection of recorded requests; each part that is `None` selects all.
#[derive(Default)]
pub(super) struct RequestFilter {
    pub method: Option<String>,
    /// Exact path, or the start of paths if it ends in `*`.
    pub path: Option<String>,
    pub status: Option<u16>,
    pub run_id: Option<String>,
    /// Number after which the selected requests come.
    pub after: Option<u64>,
}

impl RequestFilter {
    fn selects(&self, record: &RequestRecord) -> bool {
        let path = |path: &String| match path.strip_suffix('*') {
            Some(start) => record.path.starts_with(start),
            None => record.path == *path,
        };
        self.method.as_ref().is_none_or(|method| record.method.eq_ignore_ascii_case(method))
            && self.path.as_ref().is_none_or(path)
            && self.status.is_none_or(|status| record.status == status)
            && self.run_id.as_ref().is_none_or(|run| record.run_id.as_ref() == Some(run))
            && self.after.is_none_or(|after| record.number > after)
    }
}

impl Journal {
    pub(super) fn new(on_request: Option<OnRequest>) -> Self {
        Journal { on_request, entries: Mutex::default() }
    }

    /// Adds a request and passes it to the log. Requests that observe the service are logged but not kept: an
    /// assertion is on what the tested client sent.
    pub(super) fn add(&self, mut record: RequestRecord) {
        {
            let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.last += 1;
            record.number = entries.last;
            if !is_observation(&record.path) {
                if entries.newest.len() >= MAX_REQUESTS {
                    entries.newest.pop_front();
                }
                entries.newest.push_back(record.clone());
            }
        }
        if let Some(OnRequest(call)) = &self.on_request {
            call(&record);
        }
    }

    /// Returns the recorded requests that `filter` selects, oldest first.
    pub(super) fn requests(&self, filter: &RequestFilter) -> Vec<RequestRecord> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.newest.iter().filter(|record| filter.selects(record)).cloned().collect()
    }

    /// Forgets all requests. Numbers go on, so that a reader that asks for those after the last one it knows misses none.
    pub(super) fn clear(&self) {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).newest.clear();
    }
}

/// Returns true for paths by which people and tests observe the service.
pub(super) fn is_observation(path: &str) -> bool {
    path == HEALTH || path == METRICS || path == "/" || path.starts_with("/ui/") || path.starts_with("/admin/")
}

/// Recording of one request until the head of its response.
pub(super) struct Recording {
    record: RequestRecord,
    started: std::time::Instant,
    body: Arc<Mutex<BodyHead>>,
}

/// First bytes of a body, filled in while the handler reads it.
#[derive(Default)]
struct BodyHead {
    head: Vec<u8>,
    bytes: u64,
}

impl Recording {
    /// Begins to record `request` and returns it with a body that is recorded as it is read.
    pub(super) fn begin(request: Request, at: DateTime<Utc>) -> (Self, Request) {
        let body = Arc::new(Mutex::new(BodyHead::default()));
        let headers = request.headers();
        let key = given_key(headers);
        let header = |name: HeaderName| text_of(headers, &name);
        let record = RequestRecord {
            number: 0,
            at,
            method: request.method().as_str().to_owned(),
            path: shortened(&redacted_path(request.uri().path(), key)),
            query: query_of(request.uri(), key),
            status: 0,
            duration_ms: 0,
            faults: Vec::new(),
            differences: Vec::new(),
            run_id: run_of_path(request.uri().path()),
            idempotency_key: header(HeaderName::from_static(IDEMPOTENCY_KEY_HEADER)),
            content_type: header(header::CONTENT_TYPE),
            range: header(header::RANGE),
            user_agent: header(header::USER_AGENT),
            body: String::new(),
            body_bytes: 0,
        };
        let recorded = Arc::clone(&body);
        // The login form contains the key.
        let is_secret = request.uri().path() == "/ui/login";
        let request = request.map(|body| if is_secret { body } else { Body::new(RecordedBody { body, recorded }) });
        (Recording { record, started: std::time::Instant::now(), body }, request)
    }

    /// Completes the record with a response.
    pub(super) fn end(self, response: &axum::response::Response) -> RequestRecord {
        let Recording { mut record, started, body } = self;
        record.duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        record.status = response.status().as_u16();
        if let Some(RunOfRequest(run)) = response.extensions().get() {
            record.run_id = Some(run.clone());
        }
        if let Some(InjectedFaults(faults)) = response.extensions().get() {
            record.faults.clone_from(faults);
        }
        if let Some(DifferencesFromContract(differences)) = response.extensions().get() {
            record.differences.clone_from(differences);
        }
        let body = body.lock().unwrap_or_else(PoisonError::into_inner);
        record.body = String::from_utf8_lossy(&body.head).into_owned();
        record.body_bytes = body.bytes;
        record
    }

    /// Returns the time since the start of the request.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

fn text_of(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    headers.get(name).map(|value| shortened(&String::from_utf8_lossy(value.as_bytes())))
}

/// Cuts a text to [`MAX_TEXT_BYTES`].
fn shortened(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if end == text.len() { text.to_owned() } else { format!("{}…", &text[..end]) }
}

/// Returns the query with the signature of a link, and the key should it be there, replaced: a reader of the log must not be
/// able to follow the link.
fn query_of(uri: &Uri, key: &str) -> String {
    shortened(&redacted_query(uri.query().unwrap_or(""), key))
}

/// Returns the run that a path names.
fn run_of_path(path: &str) -> Option<String> {
    let rest =
        ["/workflows/runs/", FILES_PREFIX, "/job-status/"].iter().find_map(|prefix| path.strip_prefix(prefix))?;
    let id = rest.split('/').next()?;
    uuid::Uuid::parse_str(id).is_ok().then(|| id.to_owned())
}

/// A body that is recorded as it is read.
struct RecordedBody {
    body: Body,
    recorded: Arc<Mutex<BodyHead>>,
}

impl HttpBody for RecordedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            let mut recorded = self.recorded.lock().unwrap_or_else(PoisonError::into_inner);
            let room = MAX_BODY_BYTES - recorded.head.len();
            recorded.head.extend_from_slice(&data[..data.len().min(room)]);
            recorded.bytes += data.len() as u64;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_not_recorded() {
        for name in ["sig", "%73ig"] {
            let uri = format!("/storage/files/x/y?expires=5&{name}=abc").parse().unwrap();
            assert_eq!(query_of(&uri, ""), "expires=5&sig=REDACTED");
        }
        assert_eq!(query_of(&"/workflows".parse().unwrap(), ""), "");
        let uri = "/workflows?apikey=short&x=a-long-real-key".parse().unwrap();
        assert_eq!(query_of(&uri, "a-long-real-key"), "apikey=REDACTED&x=REDACTED");
    }

    #[test]
    fn the_run_of_a_path_is_recorded() {
        let id = "0b5c6f2e-6f0c-4d7e-9a3b-5d1f0a7c9e21";
        for path in ["/workflows/runs/{}/live_status", "/storage/files/{}/block_1_x.csv", "/job-status/{}"] {
            assert_eq!(run_of_path(&path.replace("{}", id)).as_deref(), Some(id), "{path}");
        }
        assert_eq!(run_of_path("/workflows/runs"), None);
        assert_eq!(run_of_path("/workflows/runs/x/live_status"), None);
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        let text = "ä".repeat(MAX_TEXT_BYTES);
        let cut = shortened(&text);
        assert!(cut.ends_with('…') && cut.len() < MAX_TEXT_BYTES + 4);
        assert_eq!(shortened("short"), "short");
    }
}
