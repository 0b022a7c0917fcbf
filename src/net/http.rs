//! The HTTP client of the API and of result files: one base URL, one key, one retry policy.
//!
//! API calls are retried here, by the table in [`super::retry`]; a file is requested once per call of
//! [`Http::get_file`], and [`super::download`] decides on retries. The key is attached here and nowhere else.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE};
use reqwest::multipart::Form;
use reqwest::{RequestBuilder, Response};
use tokio::time::timeout;
use url::Url;

use super::body::{BodyError, ResponseBody};
use super::clients::{ClientPurpose, Clients, MAX_REDIRECTS};
use super::error::{innermost, without_public_query};
use super::limiter::Limiter;
use super::recoveries::Recoveries;
use super::request_log::{RequestLog, log_wait};
use super::response::{content_encoding, header, json_error_text, refusal, requested_delay, seconds_ahead, undecoded};
use super::retry::{FOREIGN_REFUSAL_TRIES, Repeatability, RetryAdvice, RetryBudget, RetryPolicy, TransportFailure};
use super::tls::bad_certificate;
use super::trust::{TrustedHost, is_downgrade};
use super::{Error, Kind};
use crate::api;
use crate::secret::{ApiKey, SecretUrl};

/// Callback before each wait: the error that caused it, and the delay.
pub type OnWait = Arc<dyn Fn(&Error, Duration) + Send + Sync>;

/// Idle timeouts that may pass between the last byte of an upload and the response: the server reads the whole file
/// before it responds. 10 times 30 s by default.
const UPLOAD_RESPONSE_TIMEOUTS: u32 = 10;

/// Longest JSON body that is sent in one piece, within one idle timeout: 256 KiB in 30 s, which every line manages. A
/// longer one may take as long as its bytes move.
const SMALL_JSON_BYTES: usize = 256 << 10;

/// Bytes of a longer body that are handed to the connection at a time.
const BODY_PIECE_BYTES: usize = 16 << 10;

/// UTF-8's byte order mark, which some servers put before JSON.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A client for one base URL and one key. Cheap to clone.
///
/// The key is attached to requests to the origin of the base URL and to the trusted hosts. API calls follow redirects
/// only within their origin; files follow them anywhere, with the key only where it may go.
#[derive(Clone)]
pub struct Http(Arc<Inner>);

struct Inner {
    options: HttpOptions,
    /// Set once the API has returned a conclusive response: the base URL is right, and later failures may be transient.
    responded: AtomicBool,
    /// Set once a response arrived over a connection with an accepted certificate: a rejected one may then be
    /// transient.
    verified: AtomicBool,
    /// Seconds by which the server's clock is ahead of this machine's, by its last response; 0 until one names its time.
    seconds_ahead: AtomicI64,
    clients: Clients,
}

/// Configuration of an [`Http`].
pub struct HttpOptions {
    /// Base URL of the API; paths of calls are appended to it.
    pub base: Url,
    /// The API key. `None` or an empty key makes every API call fail with [`Kind::NoKey`].
    pub key: Option<ApiKey>,
    /// Delays, timeouts and size limits.
    pub policy: RetryPolicy,
    /// Called before each wait, if set.
    pub on_wait: Option<OnWait>,
    /// The rate limiter, shared by all clients of the process that use the same keys.
    pub limiter: Limiter,
    /// Further hosts that may receive the key. Default: none.
    pub trusted: Vec<TrustedHost>,
    /// Counters of retries and resumes, shared by all clients of a command.
    pub recoveries: Recoveries,
}

impl HttpOptions {
    /// Returns options for `base` with the default policy, a new limiter, and no trusted hosts.
    pub fn new(base: Url, key: Option<ApiKey>) -> Self {
        HttpOptions {
            base,
            key,
            policy: RetryPolicy::default(),
            on_wait: None,
            limiter: Limiter::default(),
            trusted: Vec::new(),
            recoveries: Recoveries::default(),
        }
    }
}

/// A failed attempt of a call.
struct Failed {
    error: Error,
    /// Advice on another attempt.
    advice: RetryAdvice,
    /// Delay that the server named.
    named_delay: Option<Duration>,
    /// The server may have processed the request all the same.
    maybe_processed: bool,
}

/// The body of a request.
pub enum Body<'a> {
    /// No body.
    Empty,
    /// JSON text, sent as `application/json`. A long one may take as long as its bytes move.
    Json(Vec<u8>),
    /// A multipart form, built anew for each attempt. An attempt fails when `sent` does not change for the idle
    /// timeout.
    Form {
        /// Builds the form, with its file rewound to the start.
        make: &'a (dyn Fn() -> io::Result<Form> + Send + Sync),
        /// Bytes of the file read so far, reset to 0 for each attempt.
        sent: &'a AtomicU64,
        /// Value of `sent` at which the whole file has been read.
        total: u64,
    },
}

/// One request to the API.
pub struct ApiRequest<'a> {
    /// HTTP method, `GET` or `POST`.
    pub method: &'static str,
    /// Path below the base URL, percent-encoded.
    pub path: String,
    /// Query parameters, not yet encoded.
    pub query: Vec<(&'static str, String)>,
    /// Headers in addition to the key and the content type.
    pub headers: Vec<(&'static str, String)>,
    /// Body of the request.
    pub body: Body<'a>,
    /// Attempts and time for the call, retries included.
    pub budget: RetryBudget,
    /// Effect of sending the request twice, which decides its retries.
    pub repeat: Repeatability,
    /// True if a conflict (409) after an attempt that may have been processed means that the API is still processing it,
    /// as under an idempotency key: the call is then retried.
    pub waits_for_conflict: bool,
    /// Idle timeouts that a JSON request and the head of its response may take. Default: 1.
    pub response_timeouts: u32,
}

impl<'a> ApiRequest<'a> {
    /// Creates a `GET` request: safe to repeat, with the budget [`RetryBudget::ASK`].
    pub fn get(path: impl Into<String>) -> Self {
        ApiRequest {
            method: "GET",
            path: path.into(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::Empty,
            budget: RetryBudget::ASK,
            repeat: Repeatability::Safe,
            waits_for_conflict: false,
            response_timeouts: 1,
        }
    }

    /// Creates a `POST` request with the budget [`RetryBudget::ASK`].
    pub fn post(path: impl Into<String>, body: Body<'a>, repeat: Repeatability) -> Self {
        ApiRequest { method: "POST", body, repeat, ..ApiRequest::get(path) }
    }

    /// Appends a query parameter.
    pub fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Retries a conflict (409) that an earlier attempt of this call may have caused.
    pub fn waiting_for_conflict(mut self) -> Self {
        self.waits_for_conflict = true;
        self
    }

    /// Sets the number of idle timeouts that the response may take.
    pub fn response_timeouts(mut self, timeouts: u32) -> Self {
        self.response_timeouts = timeouts;
        self
    }

    /// Sets the budget, in place of [`RetryBudget::ASK`].
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.budget = budget;
        self
    }
}

/// A successful response.
#[derive(Debug)]
pub struct ApiResponse {
    /// Status, 200 to 299.
    pub status: u16,
    /// The complete body, decoded, at most [`RetryPolicy::max_response_bytes`] long.
    pub body: Vec<u8>,
    /// True if an earlier attempt of the same call may have been processed, too.
    pub maybe_repeated: bool,
}

impl Http {
    /// Creates a client. Opens no connection.
    pub fn new(mut options: HttpOptions) -> Self {
        // An empty key is a missing one, such as an unset variable expanded by a shell.
        options.key = options.key.filter(|key| !key.is_empty());
        Http(Arc::new(Inner {
            options,
            responded: AtomicBool::new(false),
            verified: AtomicBool::new(false),
            seconds_ahead: AtomicI64::new(0),
            clients: Clients::default(),
        }))
    }

    /// Returns the base URL of the API.
    pub fn base(&self) -> &Url {
        &self.0.options.base
    }

    /// Returns the delays, timeouts and limits.
    pub fn policy(&self) -> &RetryPolicy {
        &self.0.options.policy
    }

    /// Sends `call`, with retries, until a response is conclusive or the budget is spent.
    ///
    /// # Errors
    ///
    /// Returns the error of the last attempt, with the number of attempts and the time, or [`Kind::NoKey`] without
    /// sending.
    pub async fn send(&self, call: &ApiRequest<'_>) -> Result<ApiResponse, Error> {
        self.send_after(call, false).await
    }

    /// Sends `call` as [`Http::send`] does. `maybe_processed` is true if an earlier request of the same call may have
    /// been processed, which every error then says.
    async fn send_after(&self, call: &ApiRequest<'_>, mut maybe_processed: bool) -> Result<ApiResponse, Error> {
        let url = self.url(call)?;
        let Some(key) = &self.0.options.key else {
            return Err(Error::new(Kind::NoKey, call.method, url.as_str()).for_api_call(&url));
        };
        let clock = &self.policy().clock;
        let start = clock.now();
        let (mut tries, mut foreign_refusals) = (0, 0);
        loop {
            tries += 1;
            // Each attempt counts towards the rate limit, so each waits for it.
            self.acquire(key, call.method, &url).await;
            let line = RequestLog::begin(call.method, url.as_str()).with("attempt", tries);
            let failure = match self.send_once(call, &url, key).await {
                Ok((status, body)) => {
                    line.answered(status, Some(body.len() as u64));
                    self.0.responded.store(true, Ordering::Relaxed);
                    return Ok(ApiResponse { status, body, maybe_repeated: maybe_processed });
                }
                Err(failure) => failure,
            };
            let Failed { error, mut advice, named_delay, maybe_processed: attempt_processed } = failure;
            let error = error.for_api_call(&url);
            line.failed(error.status(), &error);
            // A refusal of the API is conclusive: the address is right, as it is under a limit. One of a gateway is not.
            if error.is_from_api() && advice != RetryAdvice::Soon || advice == RetryAdvice::Later {
                self.0.responded.store(true, Ordering::Relaxed);
            }
            let is_foreign_refusal = matches!(error.status(), Some(400..500)) && !error.is_from_api();
            if is_foreign_refusal && advice == RetryAdvice::Never && self.0.responded.load(Ordering::Relaxed) {
                foreign_refusals += 1;
                if foreign_refusals < FOREIGN_REFUSAL_TRIES {
                    advice = call.repeat.after_foreign_refusal(error.status().unwrap_or_default());
                }
            }
            if call.waits_for_conflict && maybe_processed && error.status() == Some(409) && error.is_from_api() {
                advice = RetryAdvice::Soon;
            }
            let delay = self.policy().delay(advice, tries, named_delay);
            // A 429 concerns all calls of the key, not only this one.
            if advice == RetryAdvice::Later {
                self.0.options.limiter.hold(key, clock, delay);
            }
            maybe_processed |= attempt_processed;
            if advice == RetryAdvice::Never || self.budget(call).is_spent(tries, clock.now() - start, delay) {
                return Err(error.after_unknown_outcome(maybe_processed).after(tries, clock.now() - start));
            }
            self.wait(&error, delay).await;
        }
    }

    /// Returns the current time by the API's clock: the time of its last response, as far as it named one, else by the
    /// clock of this machine.
    pub fn server_time(&self) -> SystemTime {
        let seconds = self.0.seconds_ahead.load(Ordering::Relaxed);
        let (now, difference) = (SystemTime::now(), Duration::from_secs(seconds.unsigned_abs()));
        let shifted = if seconds < 0 { now.checked_sub(difference) } else { now.checked_add(difference) };
        shifted.unwrap_or(now)
    }

    /// Returns a digest of the API key that tells keys apart and reveals none; `None` without a key.
    pub fn key_fingerprint(&self) -> Option<String> {
        self.0.options.key.as_ref().map(ApiKey::fingerprint)
    }

    /// Fails with [`Kind::NoKey`] if there is no API key, without sending anything.
    pub fn require_key(&self) -> Result<(), Error> {
        match &self.0.options.key {
            Some(_) => Ok(()),
            None => Err(Error::new(Kind::NoKey, "GET", self.base().as_str())),
        }
    }

    /// Waits until the rate limit of `key` allows one more request.
    async fn acquire(&self, key: &ApiKey, method: &'static str, url: &Url) {
        let report_wait = |delay| {
            if let Some(on_wait) = &self.0.options.on_wait {
                let text = format!(
                    "at most {} requests per minute are allowed for one key",
                    self.0.options.limiter.per_minute()
                );
                let error = Error::new(Kind::RateLimited, method, url.as_str()).for_api_call(url).with_text(text);
                on_wait(&error, delay);
            }
        };
        self.0.options.limiter.acquire(key, &self.policy().clock, report_wait).await;
    }

    /// Returns the budget of `call`, reduced to [`RetryBudget::ASK`] as long as the API has never responded: the
    /// address is then more likely wrong than temporarily down.
    fn budget(&self, call: &ApiRequest<'_>) -> RetryBudget {
        if self.0.responded.load(Ordering::Relaxed) {
            return call.budget;
        }
        RetryBudget {
            tries: call.budget.tries.min(RetryBudget::ASK.tries),
            time: call.budget.time.min(RetryBudget::ASK.time),
        }
    }

    /// Sends `call` as [`Http::send`] does, and parses the body as JSON. A body that cannot be parsed, such as the page of
    /// a proxy, is requested again up to [`FOREIGN_REFUSAL_TRIES`] times if that is safe.
    pub async fn json<T: serde::de::DeserializeOwned>(&self, call: &ApiRequest<'_>) -> Result<T, Error> {
        Ok(self.json_and_repetition(call).await?.0)
    }

    /// Sends `call` as [`Http::json`] does. Also returns true if an earlier attempt of the call may have been processed,
    /// too.
    pub async fn json_and_repetition<T: serde::de::DeserializeOwned>(
        &self,
        call: &ApiRequest<'_>,
    ) -> Result<(T, bool), Error> {
        let clock = &self.policy().clock;
        let start = clock.now();
        for tries in 1.. {
            let response = self.send_after(call, tries > 1).await?;
            let cause =
                match serde_json::from_slice(response.body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&response.body)) {
                    Ok(value) => return Ok((value, response.maybe_repeated)),
                    Err(cause) => cause,
                };
            let url = self.url(call)?;
            let error = Error::new(Kind::BadResponse, call.method, url.as_str())
                .for_api_call(&url)
                .with_status(response.status)
                .with_source(json_error_text(&cause))
                .after_unknown_outcome(true);
            if call.repeat != Repeatability::Safe || tries == FOREIGN_REFUSAL_TRIES {
                return Err(error.after(tries, clock.now() - start));
            }
            self.wait(&error, self.policy().delay(RetryAdvice::Soon, tries, None)).await;
        }
        unreachable!("the loop ends at its last attempt")
    }

    /// Waits before another attempt, after calling `on_wait`.
    pub(super) async fn wait(&self, error: &Error, delay: Duration) {
        if let Some(on_wait) = &self.0.options.on_wait {
            on_wait(error, delay);
        }
        log_wait(error, delay);
        self.recoveries().add_wait(delay);
        self.policy().clock.sleep(delay).await;
    }

    /// Returns the counters of retries and resumes.
    pub(super) fn recoveries(&self) -> &Recoveries {
        &self.0.options.recoveries
    }

    fn client(&self, url: &Url, purpose: ClientPurpose) -> Result<&reqwest::Client, Error> {
        self.0.clients.get(url, purpose, self.policy().connect_timeout)
    }

    /// Returns true if requests for `url` carry the key, and so count towards its rate limit.
    pub(super) fn sends_key_to(&self, url: &Url) -> bool {
        self.key_for(url).is_some()
    }

    /// Returns the key, if `url` is of the API's own origin or of a trusted host.
    fn key_for(&self, url: &Url) -> Option<&ApiKey> {
        let options = &self.0.options;
        // Origin means scheme, host and port: the same host over http does not get the key.
        let own = url.origin() == options.base.origin();
        options.key.as_ref().filter(|_| own || options.trusted.iter().any(|host| host.covers(url)))
    }

    /// Requests the file behind `link` once, and follows redirects. Each URL on the way receives the key only if it may
    /// have it; a redirect from https to http is an error. The error is returned with the point that the
    /// request reached.
    pub(super) async fn get_file(
        &self,
        link: &SecretUrl,
        headers: &HeaderMap,
        purpose: ClientPurpose,
    ) -> Result<FileResponse, (Error, TransportFailure)> {
        let fail = |url: &str, text: &str| {
            (Error::new(Kind::BadResponse, "GET", url).with_text(text), TransportFailure::Unsendable)
        };
        let fatal = |error: Error| (error, TransportFailure::Unsendable);
        // The errors below show only the redacted URL, of the link or of the redirect target.
        let mut url = Url::parse(link.reveal())
            .map_err(|cause| fatal(Error::new(Kind::BadResponse, "GET", link.reveal()).with_source(cause)))?;
        for _ in 0..=MAX_REDIRECTS {
            // Checked for each target: a redirect may lead to any scheme.
            if !matches!(url.scheme(), "http" | "https") {
                return Err(fail(url.as_str(), "the scheme of the link is neither http nor https"));
            }
            let key = self.key_for(&url);
            let mut request = self.client(&url, purpose).map_err(fatal)?.get(url.clone()).headers(headers.clone());
            // Requests without the key do not count towards its rate limit.
            if let Some(key) = key {
                self.acquire(key, "GET", &url).await;
                request = request.headers(key_header(key).map_err(fatal)?);
            }
            let mut line = RequestLog::begin("GET", url.as_str());
            if let Some(range) = header(headers, RANGE) {
                line = line.with("range", range);
            }
            let response = match timeout(self.policy().idle_timeout, request.send()).await {
                Ok(Ok(response)) => {
                    self.note_verified(&url);
                    line.answered(response.status().as_u16(), response.content_length());
                    response
                }
                Ok(Err(cause)) => {
                    let failure = self.transport_failure(&cause);
                    let error = Error::from_reqwest(cause, "GET", url.as_str());
                    line.failed(None, &error);
                    return Err((error, failure));
                }
                Err(_) => {
                    let error = timeout_error(self.policy().idle_timeout, "GET", &url);
                    line.failed(None, &error);
                    return Err((error, TransportFailure::Lost));
                }
            };
            // Redirects are followed by hand, because the client library would send the key along.
            let location = header(response.headers(), LOCATION);
            let (301..=303 | 307 | 308, Some(location)) = (response.status().as_u16(), location) else {
                let sent_key = key.cloned();
                return Ok(FileResponse {
                    response,
                    key_withheld: self.0.options.key.is_some() && key.is_none(),
                    sent_key,
                    url,
                });
            };
            let Ok(next) = url.join(&location) else {
                return Err(fail(url.as_str(), "the redirect target is not a valid URL"));
            };
            if is_downgrade(&url, &next) {
                return Err(fail(url.as_str(), "refused to follow a redirect from https to http"));
            }
            url = next;
        }
        Err(fail(link.reveal(), &format!("more than {MAX_REDIRECTS} redirects")))
    }

    fn note_verified(&self, url: &Url) {
        if url.scheme() == "https" {
            self.0.verified.store(true, Ordering::Relaxed);
        }
    }

    /// Classifies a request without a response. A rejected certificate is final, unless one was accepted before: it is
    /// then more likely that of a captive portal, or of one misconfigured server among many.
    fn transport_failure(&self, error: &reqwest::Error) -> TransportFailure {
        if !self.0.verified.load(Ordering::Relaxed) && bad_certificate(error).is_some() {
            return TransportFailure::Unsendable;
        }
        TransportFailure::of(error)
    }

    /// Holds back all requests under `key` for `time`, after a file's host responded with 429.
    pub(super) fn hold(&self, key: &ApiKey, time: Duration) {
        self.0.options.limiter.hold(key, &self.policy().clock, time);
    }

    fn url(&self, call: &ApiRequest<'_>) -> Result<Url, Error> {
        // Appended, not joined: a base URL may have a path of its own.
        let text = format!("{}{}", self.base().as_str().trim_end_matches('/'), call.path);
        let mut url =
            Url::parse(&text).map_err(|cause| Error::new(Kind::BadResponse, call.method, &text).with_source(cause))?;
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        Ok(url)
    }

    /// Sends `call` once. Returns status and body of a successful response.
    async fn send_once(&self, call: &ApiRequest<'_>, url: &Url, key: &ApiKey) -> Result<(u16, Vec<u8>), Failed> {
        let fatal =
            |error: Error| Failed { error, advice: RetryAdvice::Never, named_delay: None, maybe_processed: false };
        let method = reqwest::Method::from_bytes(call.method.as_bytes()).expect("methods are static words");
        let client = self.client(url, ClientPurpose::Calls).map_err(fatal)?;
        let mut request = client.request(method, url.clone()).headers(key_header(key).map_err(fatal)?);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        // The idle timeout covers the request and the head of the response; for a form it restarts with each byte sent.
        let mut waited = self.policy().idle_timeout;
        let sending = match &call.body {
            Body::Empty => timeout(self.policy().idle_timeout, request.send()).await.ok(),
            Body::Json(json) => {
                let request = request.header(CONTENT_TYPE, "application/json");
                if json.len() <= SMALL_JSON_BYTES {
                    waited *= call.response_timeouts;
                    timeout(waited, request.body(json.clone()).send()).await.ok()
                } else {
                    self.send_long_json(request, Bytes::copy_from_slice(json)).await
                }
            }
            Body::Form { make, sent, total } => {
                sent.store(0, Ordering::Relaxed);
                let form = make().map_err(|cause| {
                    fatal(
                        Error::new(Kind::Refused, call.method, url.as_str())
                            .with_text("cannot read the input")
                            .with_source(cause),
                    )
                })?;
                self.send_while_progressing(request.multipart(form).send(), sent, *total).await
            }
        };
        let lost = |error: Error, failure: TransportFailure| Failed {
            error,
            advice: call.repeat.after_transport_failure(failure),
            named_delay: None,
            maybe_processed: failure == TransportFailure::Lost,
        };
        let response = match sending {
            Some(Ok(response)) => {
                self.note_verified(url);
                response
            }
            Some(Err(error)) => {
                let failure = self.transport_failure(&error);
                return Err(lost(Error::from_reqwest(error, call.method, url.as_str()), failure));
            }
            None => return Err(lost(timeout_error(waited, call.method, url), TransportFailure::Lost)),
        };
        let status = response.status().as_u16();
        // The response of another URL says nothing of this one: a redirect may turn a POST into a GET.
        let is_redirected = response.url() != url;
        let named_delay = requested_delay(&response);
        if let Some(seconds) = seconds_ahead(&response) {
            self.0.seconds_ahead.store(seconds, Ordering::Relaxed);
        }
        // A redirect within the origin was followed by the client. One that is left leads elsewhere.
        let location = header(response.headers(), LOCATION).and_then(|location| response.url().join(&location).ok());
        let encoding = content_encoding(response.headers());
        // The response had begun, so the request was processed.
        let failed = |(error, failure)| Failed { maybe_processed: true, ..lost(error, failure) };
        let body = self.read_body(response, &encoding, call.method, url).await.map_err(failed)?;
        let undecoded = undecoded(&encoding, &body);
        let mut error = match (&undecoded, status) {
            (None, 200..300) => return Ok((status, body)),
            (Some(text), 200..300) => {
                let error =
                    Error::new(Kind::BadResponse, call.method, url.as_str()).with_status(status).with_text(text);
                return Err(failed((error, TransportFailure::Unsendable)));
            }
            (None, _) => refusal(status, &body, call.method, &without_public_query(url), Some(key)),
            (Some(text), _) => refusal(status, b"", call.method, &without_public_query(url), Some(key)).with_text(text),
        };
        if let (300..400, Some(location)) = (status, location) {
            let is_own = location.origin() == url.origin();
            let target = SecretUrl::new(location);
            error = error.with_text(match is_own {
                true => format!("cannot follow the redirect to {target}"),
                false => format!("refused to send the API key to the redirect target {target}"),
            });
        }
        // A 5xx says nothing of what happened behind it, nor does a timeout (408), nor the page of another server. 429
        // was not processed.
        let is_conclusive = error.is_from_api() && status != 408 && status < 500 && !is_redirected;
        let maybe_processed = status != 429 && !is_conclusive;
        Err(Failed { error, advice: call.repeat.after_status(status), named_delay, maybe_processed })
    }

    /// Sends a JSON body whose bytes are counted, as [`Http::send_while_progressing`] does. The library cannot send such a
    /// body twice, so redirects within the origin that keep it (307, 308) are followed here.
    async fn send_long_json(&self, request: RequestBuilder, json: Bytes) -> Option<reqwest::Result<Response>> {
        let (client, head) = request.header(CONTENT_LENGTH, json.len()).build_split();
        let head = match head {
            Ok(head) => head,
            Err(error) => return Some(Err(error)),
        };
        let mut target = head.url().clone();
        let mut redirects = 0;
        loop {
            let sent = Arc::new(AtomicU64::new(0));
            let mut request = head.try_clone().expect("a request without a body can be cloned");
            *request.url_mut() = target.clone();
            *request.body_mut() = Some(counted_body(json.clone(), Arc::clone(&sent)));
            let response = match self.send_while_progressing(client.execute(request), &sent, json.len() as u64).await {
                Some(Ok(response)) => response,
                other => return other,
            };
            let next = header(response.headers(), LOCATION).and_then(|location| response.url().join(&location).ok());
            match (response.status().as_u16(), next) {
                (307 | 308, Some(next)) if next.origin() == target.origin() && redirects < MAX_REDIRECTS => {
                    (target, redirects) = (next, redirects + 1);
                }
                _ => return Some(Ok(response)),
            }
        }
    }

    /// Awaits the response to a form while its bytes are being sent. Returns `None` if no byte was sent for one idle
    /// timeout, or if no response arrived for [`UPLOAD_RESPONSE_TIMEOUTS`] of them after the last byte.
    async fn send_while_progressing(
        &self,
        response: impl Future<Output = reqwest::Result<Response>>,
        sent: &AtomicU64,
        total: u64,
    ) -> Option<reqwest::Result<Response>> {
        tokio::pin!(response);
        let (mut seen, mut timeouts_left) = (0, UPLOAD_RESPONSE_TIMEOUTS);
        loop {
            if let Ok(response) = timeout(self.policy().idle_timeout, &mut response).await {
                return Some(response);
            }
            let now = sent.load(Ordering::Relaxed);
            // No byte was sent during one timeout. Before the end of the form this is a stall; after it the server may
            // still be reading the file.
            if now == seen {
                timeouts_left -= 1;
                if now < total || timeouts_left == 0 {
                    return None;
                }
            }
            seen = now;
        }
    }

    async fn read_body(
        &self,
        mut response: Response,
        encoding: &str,
        method: &'static str,
        url: &Url,
    ) -> Result<Vec<u8>, (Error, TransportFailure)> {
        let max_bytes = self.policy().max_response_bytes;
        let interrupted =
            || Error::new(Kind::Unreachable, method, url.as_str()).with_text("the response was interrupted");
        let refused = |error| match error {
            BodyError::TooLong => {
                let error = Error::new(Kind::BadResponse, method, url.as_str());
                let text = format!("the body is longer than {max_bytes} bytes");
                (error.with_text(text), TransportFailure::Unsendable)
            }
            BodyError::Damaged(cause) => (interrupted().with_source(cause), TransportFailure::Lost),
        };
        // Bounded chunk by chunk, whatever `Content-Length` says.
        let mut body = ResponseBody::new(encoding, max_bytes);
        loop {
            match timeout(self.policy().idle_timeout, response.chunk()).await {
                Ok(Ok(Some(chunk))) => body.push(&chunk).map_err(refused)?,
                Ok(Ok(None)) => return body.finish().map_err(refused),
                Ok(Err(error)) => return Err((interrupted().with_source(innermost(error)), TransportFailure::Lost)),
                Err(_) => return Err((timeout_error(self.policy().idle_timeout, method, url), TransportFailure::Lost)),
            }
        }
    }
}

/// Returns a body that counts in `sent` the bytes that the connection took.
fn counted_body(json: Bytes, sent: Arc<AtomicU64>) -> reqwest::Body {
    let pieces = (0..json.len()).step_by(BODY_PIECE_BYTES).map(move |at| {
        let piece = json.slice(at..json.len().min(at + BODY_PIECE_BYTES));
        sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        Ok::<_, io::Error>(piece)
    });
    reqwest::Body::wrap_stream(futures::stream::iter(pieces))
}

fn timeout_error(waited: Duration, method: &'static str, url: &Url) -> Error {
    Error::new(Kind::Unreachable, method, url.as_str())
        .with_text(format!("timed out: no data for {} s", waited.as_secs()))
}

/// The response to a request for a file, of any status that is not a redirect.
pub(super) struct FileResponse {
    /// The head, and the body that is still to be read.
    pub response: Response,
    /// True if there is a key and it was withheld from this address.
    pub key_withheld: bool,
    /// The key that was sent; `None` if there is none or it was withheld.
    pub sent_key: Option<ApiKey>,
    /// The URL after redirects, a secret.
    pub url: Url,
}

/// Returns the reason why `key` cannot be sent as a header; `None` if it can.
pub fn key_problem(key: &ApiKey) -> Option<&'static str> {
    match HeaderValue::from_str(key.reveal()) {
        Ok(_) => None,
        Err(_) if key.reveal().contains(['\r', '\n']) => Some("the API key contains a line break"),
        Err(_) => Some("the API key contains characters that are not allowed in an HTTP header"),
    }
}

fn key_header(key: &ApiKey) -> Result<HeaderMap, Error> {
    let mut value = HeaderValue::from_str(key.reveal()).map_err(|_| {
        // Without the cause, which would show the key.
        Error::new(Kind::KeyRefused, "GET", "")
            .with_text("the API key contains characters that are not allowed in an HTTP header")
    })?;
    value.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(api::routes::API_KEY_HEADER, value);
    Ok(headers)
}
