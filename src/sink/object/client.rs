//! The HTTP client under a store. The library above signs requests and retries them; this one decides when a request has
//! failed. A slow request is none: it fails only if its bytes stop moving, so that nothing is sent twice for being slow.
//! After a failure fewer parts are sent at a time. It also remembers what the library's errors do not tell: the store's
//! clock, the code and the message of each refusal, and whether a request may have been carried out without a response.

use std::collections::VecDeque;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use http_body::Body as _;
use object_store::client::{
    ClientConfigKey, HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse,
    HttpResponseBody, HttpService,
};
use object_store::{ClientOptions, HeaderValue};
use reqwest::header::{AUTHORIZATION, DATE, IF_NONE_MATCH, LOCATION};
use reqwest::{Method, StatusCode};
use tokio::sync::{Semaphore, SemaphorePermit};
use url::Url;

use super::refusal::Refusal;
use crate::net::request_log::RequestLog;
use crate::net::{bad_certificate, http1_client_builder};
use crate::text::parse_duration;

/// Parts that are sent at a time. Chosen by eye: two of them hide the time in which the next is written.
pub(super) const MAX_PARTS_IN_FLIGHT: usize = 3;

/// Smallest request body that counts as a part, for [`MAX_PARTS_IN_FLIGHT`].
const PART_FROM: usize = 1 << 20;

/// Bytes of a body that are handed to the connection at a time, which is the grain of the progress.
const PIECE_BYTES: usize = 16 << 10;

/// Longest body of a refusal that is read.
const MAX_REFUSAL_BYTES: usize = 64 << 10;

/// Refusals that are remembered: more than requests are in flight at a time.
const REMEMBERED_REFUSALS: usize = 16;

/// Timeouts of requests. None of them bounds the whole time of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Longest time in which not a byte of a body moves. The system buffers up to some MB and takes more when a third of
    /// them is gone, which on a line of 16 KB/s takes a minute and a half.
    pub(super) stall: Duration,
    /// Longest time between the last byte of a request and the response, without the time of [`Limits::slowest_rate`].
    pub(super) response: Duration,
    /// The same for a POST: a store may put together the parts of a large object before it responds.
    pub(super) post_response: Duration,
    /// Rate in bytes per second at which bytes that the system has buffered must at least leave it.
    pub(super) slowest_rate: u64,
    /// Most bytes that the system buffers for a connection; Linux's default maximum.
    pub(super) system_buffer: u64,
    /// Interval between two looks at the progress.
    pub(super) interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            stall: Duration::from_secs(120),
            response: Duration::from_secs(60),
            post_response: Duration::from_secs(300),
            slowest_rate: 16 << 10,
            system_buffer: 4 << 20,
            interval: Duration::from_secs(1),
        }
    }
}

/// Observations of the client of one store, shared with its users.
#[derive(Debug)]
pub(super) struct Traffic {
    limits: Limits,
    lanes: Lanes,
    /// Refusals by their numbers, the oldest first.
    refusals: Mutex<VecDeque<(u64, Refusal)>>,
    n_refusals: AtomicU64,
    /// Requests that failed in a way that leaves open whether the store carried them out.
    n_unclear: AtomicU64,
    /// The store's clock in its latest response.
    date: Mutex<Option<SystemTime>>,
    /// True if the completion of an upload must not replace an object.
    create_only: AtomicBool,
    /// True if requests to the store are signed, which tells them from those for credentials.
    signs: AtomicBool,
}

impl Traffic {
    pub(super) fn new(limits: Limits, create_only: bool) -> Self {
        Traffic {
            limits,
            lanes: Lanes { permits: Semaphore::new(MAX_PARTS_IN_FLIGHT), open: Mutex::new(MAX_PARTS_IN_FLIGHT) },
            refusals: Mutex::default(),
            n_refusals: AtomicU64::new(0),
            n_unclear: AtomicU64::new(0),
            date: Mutex::default(),
            create_only: AtomicBool::new(create_only),
            signs: AtomicBool::new(true),
        }
    }

    /// Declares that requests to the store are not signed, as for a public bucket.
    pub(super) fn set_unsigned(&self) {
        self.signs.store(false, Ordering::Relaxed);
    }

    /// Returns the number of requests so far of which it is not known whether the store carried them out.
    pub(super) fn n_unclear(&self) -> u64 {
        self.n_unclear.load(Ordering::Relaxed)
    }

    /// Returns the store's clock in its latest response; `None` if no response had a date.
    pub(super) fn date(&self) -> Option<SystemTime> {
        *self.date.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Completes uploads without a condition from now on, for a store that has no such condition.
    pub(super) fn drop_condition(&self) {
        self.create_only.store(false, Ordering::Relaxed);
    }

    /// Returns the refusal that the text of a library's error refers to by [`mark`].
    pub(super) fn refusal_in(&self, text: &str) -> Option<Refusal> {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.iter().find(|(number, _)| text.contains(&mark(*number))).map(|(_, refusal)| refusal.clone())
    }

    /// Remembers a refusal. Returns the text that stands for it in place of its body.
    fn remember(&self, refusal: Refusal) -> String {
        let number = self.n_refusals.fetch_add(1, Ordering::Relaxed);
        let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.push_back((number, refusal));
        if refusals.len() > REMEMBERED_REFUSALS {
            refusals.pop_front();
        }
        mark(number)
    }
}

/// The body that replaces the one of refusal `number`: the library's errors have no fields for it, only their text.
fn mark(number: u64) -> String {
    format!("[refusal {number}]")
}

/// Permits for sending parts: fewer after a failure, and one more after each success.
#[derive(Debug)]
struct Lanes {
    permits: Semaphore,
    /// Permits that exist, from 1 to [`MAX_PARTS_IN_FLIGHT`].
    open: Mutex<usize>,
}

impl Lanes {
    async fn enter(&self) -> Option<SemaphorePermit<'_>> {
        // Fails only if the semaphore is closed, which never happens.
        self.permits.acquire().await.ok()
    }

    fn narrow(&self, permit: SemaphorePermit<'_>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if *open > 1 {
            *open -= 1;
            permit.forget();
        }
    }

    fn widen(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if *open < MAX_PARTS_IN_FLIGHT {
            *open += 1;
            self.permits.add_permits(1);
        }
    }
}

/// Makes the clients of one store.
#[derive(Debug)]
pub(super) struct Connector(pub(super) Arc<Traffic>);

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let fail = |error: reqwest::Error| object_store::Error::Generic { store: "HTTP", source: Box::new(error) };
        let value = |key| options.get_config_value(&key);
        let connect_timeout = value(ClientConfigKey::ConnectTimeout).and_then(|text| parse_duration(&text).ok());
        // HTTP/1.1: the parts of one HTTP/2 connection would share its flow control, and fail together.
        let mut builder = http1_client_builder()
            .user_agent(concat!("drawoff/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(connect_timeout.unwrap_or(Duration::from_secs(5)))
            .https_only(value(ClientConfigKey::AllowHttp).is_none_or(|allowed| allowed != "true"));
        if let Some(proxy) = value(ClientConfigKey::ProxyUrl) {
            let excluded = value(ClientConfigKey::ProxyExcludes);
            let excluded = excluded.and_then(|hosts| reqwest::NoProxy::from_string(&hosts));
            builder = builder.proxy(reqwest::Proxy::all(proxy).map_err(fail)?.no_proxy(excluded));
        }
        let client = builder.build().map_err(fail)?;
        Ok(HttpClient::new(WatchedClient { client, traffic: self.0.clone() }))
    }
}

/// A client that watches the progress of its requests.
struct WatchedClient {
    client: reqwest::Client,
    traffic: Arc<Traffic>,
}

impl fmt::Debug for WatchedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchedClient").finish_non_exhaustive()
    }
}

// The trait's method as the attribute `async_trait` of the library makes it.
impl HttpService for WatchedClient {
    fn call<'a, 'b>(
        &'a self,
        request: HttpRequest,
    ) -> Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(self.send(request))
    }
}

impl WatchedClient {
    /// Sends one request, after waiting for a lane if it is a part.
    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let traffic = &*self.traffic;
        let lane = if request.body().content_length() >= PART_FROM { traffic.lanes.enter().await } else { None };
        let provider = credential_provider(&request, traffic.signs.load(Ordering::Relaxed));
        let mut outcome = self.exchange(request, provider.as_deref()).await;
        if let Some(host) = provider {
            outcome = outcome.map_err(|source| HttpError::new(source.kind(), NoCredentials { host, source }));
        }
        let unclear = outcome.as_ref().map_or(true, |response| response.status().is_server_error());
        if unclear {
            traffic.n_unclear.fetch_add(1, Ordering::Relaxed);
        }
        match (lane, &outcome) {
            (Some(lane), Err(_)) => traffic.lanes.narrow(lane),
            // 5xx, 429 and 408: the store, too, asks for less.
            (Some(lane), Ok(response)) if unclear || matches!(response.status().as_u16(), 408 | 429) => {
                traffic.lanes.narrow(lane);
            }
            (Some(_), Ok(response)) if response.status().is_success() => traffic.lanes.widen(),
            _ => {}
        }
        outcome
    }

    /// Sends one request. `provider` is its host if it asks for credentials.
    async fn exchange(&self, request: HttpRequest, provider: Option<&str>) -> Result<HttpResponse, HttpError> {
        let traffic = &*self.traffic;
        let limits = traffic.limits;
        let (parts, body) = request.into_parts();
        let url: Url = parts.uri.to_string().parse().map_err(|error| HttpError::new(HttpErrorKind::Unknown, error))?;
        let total = body.content_length() as u64;
        let sent = Arc::new(AtomicU64::new(0));
        let completes = parts.method == Method::POST && url.query_pairs().any(|(name, _)| name == "uploadId");
        let response_time = if parts.method == Method::POST { limits.post_response } else { limits.response };
        let mut request = reqwest::Request::new(parts.method.clone(), url);
        *request.headers_mut() = parts.headers;
        *request.body_mut() = Some(watched_body(body, &sent));
        let is_conditional = request.headers().contains_key(IF_NONE_MATCH);
        let adds_condition = completes && !is_conditional && traffic.create_only.load(Ordering::Relaxed);
        if adds_condition {
            // Not signed, which S3 accepts: the library itself completes a conditional copy so.
            request.headers_mut().insert(IF_NONE_MATCH, HeaderValue::from_static("*"));
        }
        let line = RequestLog::begin(parts.method.as_str(), request.url().as_str()).with("sent", total);
        let mut progress = Progress::new(limits, total, response_time, Instant::now());
        let mut send = pin!(self.client.execute(request));
        let response = loop {
            tokio::select! {
                biased;
                response = &mut send => break match response {
                    Ok(response) => {
                        line.answered(response.status().as_u16(), response.content_length());
                        response
                    }
                    Err(error) => {
                        let error = transport_error(error);
                        line.failed(None, &error);
                        return Err(error);
                    }
                },
                () = tokio::time::sleep(limits.interval) => {
                    if let Some(stalled) = progress.stalled(sent.load(Ordering::Relaxed), Instant::now()) {
                        let error = HttpError::new(HttpErrorKind::Timeout, stalled);
                        line.failed(None, &error);
                        return Err(error);
                    }
                }
            }
        };
        let mut status = response.status();
        let version = response.version();
        let headers = response.headers().clone();
        if let Some(date) = headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok()) {
            *traffic.date.lock().unwrap_or_else(PoisonError::into_inner) = Some(date);
        }
        let is_refused = !status.is_success() && status != StatusCode::NOT_MODIFIED;
        let most = if is_refused { MAX_REFUSAL_BYTES } else { usize::MAX };
        let mut body = read_body(response, limits.stall, most).await?;
        // A completion may begin its response before it is done, and then say in the body that it failed.
        let failed_late = completes && !is_refused && body.windows(7).any(|tag| tag == b"<Error>");
        if is_refused || failed_late {
            let mut refusal = Refusal::read(status.as_u16(), &headers, &body);
            refusal.provider = provider.map(str::to_owned);
            if failed_late {
                refusal.status = status_of_late_failure(&refusal.code);
            }
            // A client that was too slow, by S3's word a bad request: sent again like any other timeout.
            if refusal.code == "RequestTimeout" {
                refusal.status = 408;
            }
            status = StatusCode::from_u16(refusal.status).unwrap_or(status);
            // The library would retry the first, which is final: the store has no such header or method. It would leave
            // out the second's text, which names the region.
            let is_final =
                status == StatusCode::NOT_IMPLEMENTED || status.is_redirection() && !headers.contains_key(LOCATION);
            if is_final {
                return Err(HttpError::new(HttpErrorKind::Unknown, refusal));
            }
            body = traffic.remember(refusal).into();
        }
        let mut response = HttpResponse::new(HttpResponseBody::from(body));
        *response.status_mut() = status;
        *response.version_mut() = version;
        *response.headers_mut() = headers;
        Ok(response)
    }
}

/// Returns the host of a request that asks for credentials, and not the store for an object: it is not signed, or goes to
/// a service of the machine itself. `signs` is true if requests to the store are signed.
fn credential_provider(request: &HttpRequest, signs: bool) -> Option<String> {
    let host = request.uri().host()?;
    let is_signed = request.headers().contains_key(AUTHORIZATION)
        || request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("sig=")));
    let is_of_machine = host.starts_with("169.254.") || host == "metadata.google.internal";
    (signs && !is_signed || is_of_machine).then(|| host.to_owned())
}

/// A failed request for credentials.
#[derive(Debug, thiserror::Error)]
#[error("cannot get credentials from {host}")]
pub(super) struct NoCredentials {
    pub(super) host: String,
    source: HttpError,
}

/// Returns the status that an error in the body of a successful response stands for.
fn status_of_late_failure(code: &str) -> u16 {
    match code {
        "InternalError" | "SlowDown" | "ServiceUnavailable" => 503,
        "PreconditionFailed" => 412,
        "ConditionalRequestConflict" => 409,
        "NoSuchUpload" | "NoSuchKey" | "NoSuchBucket" => 404,
        "AccessDenied" => 403,
        _ => 400,
    }
}

/// Reads a response up to `most` bytes. Fails if not a byte arrives for the time `stall`.
async fn read_body(mut response: reqwest::Response, stall: Duration, most: usize) -> Result<Vec<u8>, HttpError> {
    let mut body = Vec::new();
    while body.len() < most {
        match tokio::time::timeout(stall, response.chunk()).await {
            Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
            Ok(Ok(None)) => break,
            Ok(Err(error)) => return Err(transport_error(error)),
            Err(_) => return Err(HttpError::new(HttpErrorKind::Timeout, Stalled::Response(stall))),
        }
    }
    Ok(body)
}

/// Returns the body of a request that counts the bytes that the connection has taken in `sent`.
fn watched_body(mut body: HttpRequestBody, sent: &Arc<AtomicU64>) -> reqwest::Body {
    // Its length is in no header yet.
    if let Some(bytes) = body.as_bytes() {
        sent.store(bytes.len() as u64, Ordering::Relaxed);
        return bytes.clone().into();
    }
    let mut pieces = Vec::new();
    let mut context = Context::from_waker(Waker::noop());
    // Always ready: the body is in memory.
    while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut context) {
        let Ok(mut bytes) = frame.into_data() else { continue };
        while !bytes.is_empty() {
            pieces.push(bytes.split_to(PIECE_BYTES.min(bytes.len())));
        }
    }
    let sent = sent.clone();
    // The next piece is asked for when the connection has taken the one before.
    let pieces = pieces.into_iter().map(move |piece: Bytes| {
        sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        Ok::<_, std::convert::Infallible>(piece)
    });
    reqwest::Body::wrap_stream(futures::stream::iter(pieces))
}

/// Classifies an error without a response, as the library's own client does, but for two kinds: a rejected certificate
/// stays rejected, and after a broken connection the store may have carried out the request.
fn transport_error(error: reqwest::Error) -> HttpError {
    let kind = match () {
        () if error.is_builder() || bad_certificate(&error).is_some() => HttpErrorKind::Unknown,
        () if error.is_connect() => HttpErrorKind::Connect,
        () if error.is_timeout() => HttpErrorKind::Timeout,
        () => HttpErrorKind::Interrupted,
    };
    // The URL may be signed.
    HttpError::new(kind, error.without_url())
}

/// A request whose bytes do not move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Stalled {
    #[error("the store took no byte for {} s", .0.as_secs())]
    Request(Duration),
    #[error("the store did not respond for {} s", .0.as_secs())]
    Response(Duration),
}

/// Detects that the bytes of a request do not move.
#[derive(Debug)]
struct Progress {
    limits: Limits,
    total: u64,
    response_time: Duration,
    sent: u64,
    since: Instant,
}

impl Progress {
    fn new(limits: Limits, total: u64, response_time: Duration, now: Instant) -> Self {
        Progress { limits, total, response_time, sent: 0, since: now }
    }

    /// Returns the failure if `sent` bytes have been the same for too long.
    fn stalled(&mut self, sent: u64, now: Instant) -> Option<Stalled> {
        if sent != self.sent {
            (self.sent, self.since) = (sent, now);
            return None;
        }
        let time = now.saturating_duration_since(self.since);
        if sent < self.total {
            return (time >= self.limits.stall).then_some(Stalled::Request(time));
        }
        // The last bytes are with the system, and still on their way.
        let buffered = self.total.min(self.limits.system_buffer);
        let on_the_way = Duration::from_secs(buffered / self.limits.slowest_rate.max(1));
        (time >= self.response_time + on_the_way).then_some(Stalled::Response(time))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_fails_when_its_bytes_stop_and_not_before() {
        let limits = Limits::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        // 8 MiB at 16 KiB/s, in the pieces that a system with a buffer of 4 MB takes: half an hour.
        let total = 8 << 20;
        let mut progress = Progress::new(limits, total, limits.response, start);
        let mut now = 0;
        for sent in (0..=total).step_by(1 << 20) {
            assert_eq!(progress.stalled(sent, at(now)), None);
            now += 64;
            assert_eq!(progress.stalled(sent, at(now)), None);
        }
        // The buffer of the system is sent within 256 s, the response follows.
        now -= 64;
        assert_eq!(progress.stalled(total, at(now + 256 + 59)), None);
        let stalled = progress.stalled(total, at(now + 256 + 60)).unwrap();
        assert_eq!(stalled.to_string(), "the store did not respond for 316 s");
        let mut progress = Progress::new(limits, total, limits.response, start);
        assert_eq!(progress.stalled(1, at(0)), None);
        assert_eq!(progress.stalled(1, at(119)), None);
        assert_eq!(progress.stalled(1, at(120)), Some(Stalled::Request(Duration::from_secs(120))));
        // Without a body only the response is awaited.
        let mut progress = Progress::new(limits, 0, limits.response, start);
        assert_eq!(progress.stalled(0, at(59)), None);
        assert_eq!(progress.stalled(0, at(60)), Some(Stalled::Response(Duration::from_secs(60))));
    }

    #[test]
    fn failures_leave_one_lane_and_successes_open_all() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let lanes = Traffic::new(Limits::default(), false).lanes;
            for open in [2, 1, 1] {
                lanes.narrow(lanes.enter().await.unwrap());
                assert_eq!(lanes.permits.available_permits(), open);
            }
            for open in [2, 3, 3] {
                lanes.widen();
                assert_eq!(lanes.permits.available_permits(), open);
            }
        });
    }

    #[test]
    fn a_body_is_handed_over_in_pieces_and_counted() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let sent = Arc::new(AtomicU64::new(0));
        let payload = object_store::PutPayload::from(vec![7; 2 * PIECE_BYTES + 1]);
        let mut body = watched_body(payload.into(), &sent);
        let mut seen = Vec::new();
        runtime.block_on(async {
            while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                seen.push((frame.unwrap().into_data().unwrap().len(), sent.load(Ordering::Relaxed)));
            }
        });
        let piece = PIECE_BYTES as u64;
        assert_eq!(seen, [(PIECE_BYTES, piece), (PIECE_BYTES, 2 * piece), (1, 2 * piece + 1)]);
    }
}
