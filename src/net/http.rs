//! Requests to the API: one base address, one key, one policy.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use reqwest::multipart::Form;
use reqwest::{Client, ClientBuilder, Response, redirect};
use tokio::time::timeout;
use url::Url;

use super::error::innermost;
use super::limiter::{Limiter, REQUESTS_PER_MINUTE};
use super::response::{header, json_problem, named_wait, refusal};
use super::retry::{Repeatability, RetryAdvice, RetryBudget, RetryPolicy, TransportFailure};
use super::tls::{bad_certificate, client_builder, http1_client_builder};
use super::trust::{TrustedHost, is_downgrade, is_loopback};
use super::{Error, Kind};
use crate::api;
use crate::secret::{ApiKey, SecretUrl};

/// Told before each wait: why, and how long.
pub type OnWait = Arc<dyn Fn(&Error, Duration) + Send + Sync>;

/// Redirects followed at most.
const MAX_REDIRECTS: usize = 10;

/// Answers to an upload may take so many idle timeouts: the server reads the file before it answers.
const UPLOAD_ANSWER_PATIENCE: u32 = 10;

/// How long a connection of the API may be silent before it is asked whether it still stands: a pool would hand out a
/// dead one again and again.
const ALIVE_EVERY: Duration = Duration::from_secs(20);

/// Requests under one base address with one key.
///
/// The key is attached to requests of the base address's own origin and of hosts that are trusted besides. Calls follow
/// redirects only within their origin. Cheap to clone.
#[derive(Clone)]
pub struct Http(Arc<Inner>);

struct Inner {
    options: HttpOptions,
    /// The API has answered to the point once: what fails from here on is a fault that may pass.
    answered: AtomicBool,
    /// A server's answer came once, over a connection whose certificate was accepted: another certificate may pass.
    verified: AtomicBool,
    /// Clients by what they may do: see [`Http::client`]. Made when first used.
    clients: [OnceLock<Client>; 4],
}

/// What an [`Http`] is made of.
pub struct HttpOptions {
    /// The base address.
    pub base: Url,
    /// The key, if there is one.
    pub key: Option<ApiKey>,
    /// Delays and limits.
    pub policy: RetryPolicy,
    /// Told before waits.
    pub on_wait: Option<OnWait>,
    /// Counts the requests of each key, also those of others that share it.
    pub limiter: Limiter,
    /// Hosts that may have the key beside the base address's origin.
    pub trusted: Vec<TrustedHost>,
}

impl HttpOptions {
    /// Defaults for `base`.
    pub fn new(base: Url, key: Option<ApiKey>) -> Self {
        HttpOptions {
            base,
            key,
            policy: RetryPolicy::default(),
            on_wait: None,
            limiter: Limiter::default(),
            trusted: Vec::new(),
        }
    }
}

/// What a client is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ClientPurpose {
    /// Calls of the API.
    Calls,
    /// Files behind links.
    Files,
}

/// The body of a request.
pub enum Body<'a> {
    /// None.
    Empty,
    /// JSON text.
    Json(Vec<u8>),
    /// A form that is made anew for every try. `sent` counts its bytes on their way, `total` is where it ends: a
    /// form that stands still for the idle timeout is given up.
    Form {
        /// Makes the form.
        make: &'a (dyn Fn() -> io::Result<Form> + Send + Sync),
        /// Counts from 0 in every try.
        sent: &'a AtomicU64,
        /// Bytes in all.
        total: u64,
    },
}

/// One request to the API.
pub struct ApiRequest<'a> {
    /// `GET` or `POST`.
    pub method: &'static str,
    /// Path under the base address, percent-encoded.
    pub path: String,
    /// Query parameters.
    pub query: Vec<(&'static str, String)>,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Body<'a>,
    /// What may be spent.
    pub budget: RetryBudget,
    /// Whether it is safe to repeat.
    pub repeat: Repeatability,
}

impl<'a> ApiRequest<'a> {
    /// A question.
    pub fn get(path: impl Into<String>) -> Self {
        ApiRequest {
            method: "GET",
            path: path.into(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::Empty,
            budget: RetryBudget::ASK,
            repeat: Repeatability::Safe,
        }
    }

    /// A change.
    pub fn post(path: impl Into<String>, body: Body<'a>, repeat: Repeatability) -> Self {
        ApiRequest { method: "POST", body, repeat, ..ApiRequest::get(path) }
    }

    /// With a query parameter.
    pub fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// With a budget other than [`RetryBudget::ASK`].
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.budget = budget;
        self
    }
}

/// A good answer.
#[derive(Debug)]
pub struct ApiResponse {
    /// 2xx.
    pub status: u16,
    /// Whole.
    pub body: Vec<u8>,
}

impl Http {
    /// Requests as `options` say. Nothing is sent yet.
    pub fn new(mut options: HttpOptions) -> Self {
        options.key = options.key.filter(|key| !key.is_empty());
        Http(Arc::new(Inner {
            options,
            answered: AtomicBool::new(false),
            verified: AtomicBool::new(false),
            clients: Default::default(),
        }))
    }

    /// The base address.
    pub fn base(&self) -> &Url {
        &self.0.options.base
    }

    /// The policy.
    pub fn policy(&self) -> &RetryPolicy {
        &self.0.options.policy
    }

    /// Sends `call` until it is answered for good. Needs a key.
    pub async fn send(&self, call: &ApiRequest<'_>) -> Result<ApiResponse, Error> {
        let url = self.url(call)?;
        let Some(key) = &self.0.options.key else {
            return Err(Error::new(Kind::NoKey, call.method, url.as_str()).of_call(&url));
        };
        let clock = &self.policy().clock;
        let start = clock.now();
        let mut tries = 0;
        loop {
            tries += 1;
            self.acquire(key, call.method, &url).await;
            let (error, again, named) = match self.try_once(call, &url, key).await {
                Ok(answer) => {
                    self.0.answered.store(true, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err((error, again, named)) => (error.of_call(&url), again, named),
            };
            if error.status().is_some() && again != RetryAdvice::Soon {
                self.0.answered.store(true, Ordering::Relaxed);
            }
            let delay = self.policy().delay(again, tries, named);
            if again == RetryAdvice::Later {
                self.0.options.limiter.hold(key, clock, delay);
            }
            if again == RetryAdvice::Never || self.budget(call).is_spent(tries, clock.now() - start, delay) {
                return Err(error.after(tries, clock.now() - start));
            }
            self.wait(&error, delay).await;
        }
    }

    /// Waits until the limit of `key` lets one more request through.
    async fn acquire(&self, key: &ApiKey, method: &'static str, url: &Url) {
        let tell = |delay| {
            if let Some(on_wait) = &self.0.options.on_wait {
                let text = format!("the limit is {REQUESTS_PER_MINUTE} a minute for one key");
                let error = Error::new(Kind::RateLimited, method, url.as_str()).of_call(url).with_text(text);
                on_wait(&error, delay);
            }
        };
        self.0.options.limiter.acquire(key, &self.policy().clock, tell).await;
    }

    /// What may be spent on `call`. An address that has never answered is more likely wrong than away for a while.
    fn budget(&self, call: &ApiRequest<'_>) -> RetryBudget {
        if self.0.answered.load(Ordering::Relaxed) {
            return call.budget;
        }
        RetryBudget {
            tries: call.budget.tries.min(RetryBudget::ASK.tries),
            time: call.budget.time.min(RetryBudget::ASK.time),
        }
    }

    /// As [`Http::send`], with the answer read as JSON.
    pub async fn json<T: serde::de::DeserializeOwned>(&self, call: &ApiRequest<'_>) -> Result<T, Error> {
        let answer = self.send(call).await?;
        serde_json::from_slice(&answer.body).map_err(|cause| {
            let error = match self.url(call) {
                Ok(url) => Error::new(Kind::BadAnswer, call.method, url.as_str()).of_call(&url),
                Err(error) => error,
            };
            error.with_status(answer.status).with_source(json_problem(&cause))
        })
    }

    /// Waits before another try, having said so.
    pub(super) async fn wait(&self, error: &Error, delay: Duration) {
        if let Some(on_wait) = &self.0.options.on_wait {
            on_wait(error, delay);
        }
        self.policy().clock.sleep(delay).await;
    }

    /// The key, if `url` may have it.
    fn key_for(&self, url: &Url) -> Option<&ApiKey> {
        let options = &self.0.options;
        let own = url.origin() == options.base.origin();
        options.key.as_ref().filter(|_| own || options.trusted.iter().any(|host| host.covers(url)))
    }

    /// Asks for the file behind `link`, through redirects. Each address on the way gets the key only if it may have it;
    /// none leads from https to http. The error says also how far the request came.
    pub(super) async fn file(
        &self,
        link: &SecretUrl,
        headers: &HeaderMap,
    ) -> Result<FileResponse, (Error, TransportFailure)> {
        let fail = |url: &str, text: &str| {
            (Error::new(Kind::BadAnswer, "GET", url).with_text(text), TransportFailure::Unsendable)
        };
        let fatal = |error: Error| (error, TransportFailure::Unsendable);
        let mut url = Url::parse(link.reveal())
            .map_err(|cause| fatal(Error::new(Kind::BadAnswer, "GET", link.reveal()).with_source(cause)))?;
        for _ in 0..=MAX_REDIRECTS {
            if !matches!(url.scheme(), "http" | "https") {
                return Err(fail(url.as_str(), "the link is neither http nor https"));
            }
            let key = self.key_for(&url);
            let mut request =
                self.client(&url, ClientPurpose::Files).map_err(fatal)?.get(url.clone()).headers(headers.clone());
            if let Some(key) = key {
                self.acquire(key, "GET", &url).await;
                request = request.headers(key_header(key).map_err(fatal)?);
            }
            let response = match timeout(self.policy().idle_timeout, request.send()).await {
                Ok(Ok(response)) => {
                    self.note_verified(&url);
                    response
                }
                Ok(Err(cause)) => {
                    let trouble = self.transport_failure(&cause);
                    return Err((Error::from_reqwest(cause, "GET", url.as_str()), trouble));
                }
                Err(_) => return Err((self.silence("GET", &url), TransportFailure::Lost)),
            };
            let location = header(response.headers(), LOCATION);
            let (301..=303 | 307 | 308, Some(location)) = (response.status().as_u16(), location) else {
                let sent_key = key.cloned();
                return Ok(FileResponse {
                    response,
                    keyless: self.0.options.key.is_some() && key.is_none(),
                    sent_key,
                    url,
                });
            };
            let Ok(next) = url.join(&location) else {
                return Err(fail(url.as_str(), "it redirects to what is no URL"));
            };
            if is_downgrade(&url, &next) {
                return Err(fail(url.as_str(), "it redirects from https to http"));
            }
            url = next;
        }
        Err(fail(link.reveal(), &format!("it redirects more than {MAX_REDIRECTS} times")))
    }

    fn note_verified(&self, url: &Url) {
        if url.scheme() == "https" {
            self.0.verified.store(true, Ordering::Relaxed);
        }
    }

    /// Classifies a request without a response. A certificate that was not accepted is final, unless one was accepted
    /// before: then it is more likely that of a captive portal, or of one server of many.
    fn transport_failure(&self, error: &reqwest::Error) -> TransportFailure {
        if !self.0.verified.load(Ordering::Relaxed) && bad_certificate(error).is_some() {
            return TransportFailure::Unsendable;
        }
        TransportFailure::of(error)
    }

    /// Notes that a file's answer was a refusal for now, for the others who go under the same key.
    pub(super) fn hold(&self, key: &ApiKey, time: Duration) {
        self.0.options.limiter.hold(key, &self.policy().clock, time);
    }

    fn url(&self, call: &ApiRequest<'_>) -> Result<Url, Error> {
        let text = format!("{}{}", self.base().as_str().trim_end_matches('/'), call.path);
        let mut url =
            Url::parse(&text).map_err(|cause| Error::new(Kind::BadAnswer, call.method, &text).with_source(cause))?;
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        Ok(url)
    }

    /// One try. The error says also whether another makes sense, and the wait that the server named.
    async fn try_once(
        &self,
        call: &ApiRequest<'_>,
        url: &Url,
        key: &ApiKey,
    ) -> Result<ApiResponse, (Error, RetryAdvice, Option<Duration>)> {
        let fatal = |error: Error| (error, RetryAdvice::Never, None);
        let method = reqwest::Method::from_bytes(call.method.as_bytes()).expect("methods are static words");
        let client = self.client(url, ClientPurpose::Calls).map_err(fatal)?;
        let mut request = client.request(method, url.clone()).headers(key_header(key).map_err(fatal)?);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let sending = match &call.body {
            Body::Empty => timeout(self.policy().idle_timeout, request.send()).await.ok(),
            Body::Json(json) => {
                let request = request.header(CONTENT_TYPE, "application/json").body(json.clone());
                timeout(self.policy().idle_timeout, request.send()).await.ok()
            }
            Body::Form { make, sent, total } => {
                sent.store(0, Ordering::Relaxed);
                let form = make().map_err(|cause| {
                    fatal(
                        Error::new(Kind::Refused, call.method, url.as_str())
                            .with_text("the input cannot be read")
                            .with_source(cause),
                    )
                })?;
                self.while_it_moves(request.multipart(form).send(), sent, *total).await
            }
        };
        let lost =
            |error: Error, trouble: TransportFailure| (error, call.repeat.after_transport_failure(trouble), None);
        let response = match sending {
            Some(Ok(response)) => {
                self.note_verified(url);
                response
            }
            Some(Err(error)) => {
                let trouble = self.transport_failure(&error);
                return Err(lost(Error::from_reqwest(error, call.method, url.as_str()), trouble));
            }
            None => return Err(lost(self.silence(call.method, url), TransportFailure::Lost)),
        };
        let status = response.status().as_u16();
        let named = named_wait(&response);
        let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok()).map(SecretUrl::new);
        let body = match self.read_answer(response, call.method, url).await {
            Ok(body) => body,
            Err((error, trouble)) => return Err(lost(error, trouble)),
        };
        if (200..300).contains(&status) {
            return Ok(ApiResponse { status, body });
        }
        let mut error = refusal(status, &body, call.method, url.as_str(), Some(key));
        if let (300..400, Some(location)) = (status, location) {
            error = error.with_text(format!("it redirects to {location}, where the key must not go"));
        }
        Err((error, call.repeat.after_status(status), named))
    }

    /// Awaits the answer to a form as long as its bytes move. `None` if they stand still.
    async fn while_it_moves(
        &self,
        answer: impl Future<Output = reqwest::Result<Response>>,
        sent: &AtomicU64,
        total: u64,
    ) -> Option<reqwest::Result<Response>> {
        tokio::pin!(answer);
        let (mut seen, mut patience) = (0, UPLOAD_ANSWER_PATIENCE);
        loop {
            if let Ok(answer) = timeout(self.policy().idle_timeout, &mut answer).await {
                return Some(answer);
            }
            let now = sent.load(Ordering::Relaxed);
            if now == seen {
                patience -= 1;
                if now < total || patience == 0 {
                    return None;
                }
            }
            seen = now;
        }
    }

    async fn read_answer(
        &self,
        mut response: Response,
        method: &'static str,
        url: &Url,
    ) -> Result<Vec<u8>, (Error, TransportFailure)> {
        let mut body = Vec::new();
        loop {
            match timeout(self.policy().idle_timeout, response.chunk()).await {
                Ok(Ok(Some(chunk))) if body.len() + chunk.len() > self.policy().max_answer_bytes => {
                    let error = Error::new(Kind::BadAnswer, method, url.as_str())
                        .with_text(format!("it is longer than {} bytes", self.policy().max_answer_bytes));
                    return Err((error, TransportFailure::Unsendable));
                }
                Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
                Ok(Ok(None)) => return Ok(body),
                Ok(Err(error)) => {
                    let mut made = Error::new(Kind::Unreachable, method, url.as_str());
                    made = made.with_text("the answer broke off").with_source(innermost(error));
                    return Err((made, TransportFailure::Lost));
                }
                Err(_) => return Err((self.silence(method, url), TransportFailure::Lost)),
            }
        }
    }

    fn silence(&self, method: &'static str, url: &Url) -> Error {
        Error::new(Kind::Unreachable, method, url.as_str())
            .with_text(format!("nothing came for {} s", self.policy().idle_timeout.as_secs()))
    }

    /// The client for `url`. Loopback addresses are never asked through a proxy.
    fn client(&self, url: &Url, purpose: ClientPurpose) -> Result<&Client, Error> {
        let loopback = is_loopback(url);
        let slot = &self.0.clients[usize::from(purpose == ClientPurpose::Files) + 2 * usize::from(loopback)];
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let builder = match purpose {
            ClientPurpose::Calls => for_calls(client_builder()),
            ClientPurpose::Files => for_files(http1_client_builder()),
        };
        let builder = builder
            .user_agent(concat!("drawoff/", env!("CARGO_PKG_VERSION")))
            .referer(false)
            // What is tried again is decided here, not below.
            .retry(reqwest::retry::never())
            .connect_timeout(self.policy().connect_timeout);
        let builder = if loopback { builder.no_proxy() } else { builder };
        let client = builder
            .build()
            .map_err(|error| Error::from_reqwest(error, "GET", url.as_str()).with_text("no client can be made"))?;
        Ok(slot.get_or_init(|| client))
    }
}

/// Calls carry the key, so redirects are followed within their origin only.
fn for_calls(builder: ClientBuilder) -> ClientBuilder {
    let policy = redirect::Policy::custom(move |attempt| {
        let Some(from) = attempt.previous().last() else { return attempt.stop() };
        let elsewhere = from.origin() != attempt.url().origin();
        if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("it redirects too often")
        } else if elsewhere {
            attempt.stop()
        } else {
            attempt.follow()
        }
    });
    builder
        .redirect(policy)
        .http2_keep_alive_interval(ALIVE_EVERY)
        .http2_keep_alive_timeout(ALIVE_EVERY / 2)
        .http2_keep_alive_while_idle(true)
}

/// Files: redirects are followed by hand. One connection per try, so that the next one after a stall is another:
/// requests of HTTP/2 would share the one that stalls.
fn for_files(builder: ClientBuilder) -> ClientBuilder {
    builder.redirect(redirect::Policy::none()).pool_max_idle_per_host(0)
}

/// A file's answer.
pub(super) struct FileResponse {
    /// Its head, and the body to read.
    pub response: Response,
    /// There is a key, and this address did not get it.
    pub keyless: bool,
    /// The key that it got.
    pub sent_key: Option<ApiKey>,
    /// Where it came from, after redirects; a secret.
    pub url: Url,
}

/// Why `key` cannot be sent, if it cannot.
pub fn key_problem(key: &ApiKey) -> Option<&'static str> {
    match HeaderValue::from_str(key.reveal()) {
        Ok(_) => None,
        Err(_) if key.reveal().contains(['\r', '\n']) => Some("the key holds a line break"),
        Err(_) => Some("the key holds characters that no header may have"),
    }
}

fn key_header(key: &ApiKey) -> Result<HeaderMap, Error> {
    let mut value = HeaderValue::from_str(key.reveal()).map_err(|_| {
        // The cause would show the text.
        Error::new(Kind::KeyRefused, "GET", "").with_text("the key holds characters that no header may have")
    })?;
    value.set_sensitive(true);
    let mut headers = HeaderMap::new();
    headers.insert(api::routes::API_KEY_HEADER, value);
    Ok(headers)
}
