//! Requests to the API: one base address, one key, one policy.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::multipart::Form;
use reqwest::{Client, RequestBuilder, Response, redirect};
use tokio::time::timeout;
use url::{Host, Url};

use super::error::innermost;
use super::retry::{self, Again, Budget, Policy, Trouble};
use super::{Error, Kind};
use crate::api;
use crate::secret::{ApiKey, SecretUrl};

/// Told before each wait: why, and how long.
pub type OnWait = Arc<dyn Fn(&Error, Duration) + Send + Sync>;

/// Redirects followed at most.
const MAX_REDIRECTS: usize = 10;

/// Answers to an upload may take so many idle timeouts: the server reads the file before it answers.
const UPLOAD_ANSWER_PATIENCE: u32 = 10;

/// Requests under one base address with one key.
///
/// The key is attached to requests of the base address's own origin only, and those follow redirects only within
/// that origin. Cheap to clone.
#[derive(Clone)]
pub struct Http(Arc<Inner>);

struct Inner {
    base: Url,
    key: Option<ApiKey>,
    policy: Policy,
    on_wait: Option<OnWait>,
    /// The API has answered to the point once: what fails from here on is a fault that may pass.
    answered: AtomicBool,
    /// Clients by what they may do: see [`Http::client`]. Made when first used: each loads the trusted certificates.
    clients: [OnceLock<Client>; 4],
}

/// Whether a request that may have been acted on is sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Twice has the effect of once.
    Safe,
    /// Only while the server has not seen it, or has refused it for now (429).
    IfUnseen,
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
pub struct Call<'a> {
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
    pub budget: Budget,
    /// Whether it is safe to repeat.
    pub repeat: Repeat,
}

impl<'a> Call<'a> {
    /// A question.
    pub fn get(path: impl Into<String>) -> Self {
        Call {
            method: "GET",
            path: path.into(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Body::Empty,
            budget: Budget::ASK,
            repeat: Repeat::Safe,
        }
    }

    /// A change.
    pub fn post(path: impl Into<String>, body: Body<'a>, repeat: Repeat) -> Self {
        Call { method: "POST", body, repeat, ..Call::get(path) }
    }

    /// With a query parameter.
    pub fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// With a budget other than [`Budget::ASK`].
    pub fn budget(mut self, budget: Budget) -> Self {
        self.budget = budget;
        self
    }
}

/// A good answer.
#[derive(Debug)]
pub struct Answer {
    /// 2xx.
    pub status: u16,
    /// Whole.
    pub body: Vec<u8>,
}

impl Http {
    /// Requests under `base`. Nothing is sent yet.
    pub fn new(base: Url, key: Option<ApiKey>, policy: Policy, on_wait: Option<OnWait>) -> Self {
        let key = key.filter(|key| !key.is_empty());
        Http(Arc::new(Inner {
            base,
            key,
            policy,
            on_wait,
            answered: AtomicBool::new(false),
            clients: Default::default(),
        }))
    }

    /// The base address.
    pub fn base(&self) -> &Url {
        &self.0.base
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// Sends `call` until it is answered for good. Needs a key.
    pub async fn send(&self, call: &Call<'_>) -> Result<Answer, Error> {
        let url = self.url(call)?;
        if self.0.key.is_none() {
            return Err(Error::new(Kind::NoKey, call.method, url.as_str()).of_call(&url));
        }
        let start = Instant::now();
        let mut tries = 0;
        loop {
            tries += 1;
            let (error, again, named) = match self.try_once(call, &url).await {
                Ok(answer) => {
                    self.0.answered.store(true, Ordering::Relaxed);
                    return Ok(answer);
                }
                Err((error, again, named)) => (error.of_call(&url), again, named),
            };
            if error.status().is_some() && again != Again::Soon {
                self.0.answered.store(true, Ordering::Relaxed);
            }
            let budget = self.budget(call);
            let spent = tries >= budget.tries || start.elapsed() >= budget.time;
            if again == Again::Never || spent {
                return Err(error.after(tries, start.elapsed()));
            }
            self.wait(&error, self.0.policy.delay(again, tries, named, retry::chance())).await;
        }
    }

    /// What may be spent on `call`. An address that has never answered is more likely wrong than away for a while.
    fn budget(&self, call: &Call<'_>) -> Budget {
        if self.0.answered.load(Ordering::Relaxed) {
            return call.budget;
        }
        Budget { tries: call.budget.tries.min(Budget::ASK.tries), time: call.budget.time.min(Budget::ASK.time) }
    }

    /// As [`Http::send`], with the answer read as JSON.
    pub async fn json<T: serde::de::DeserializeOwned>(&self, call: &Call<'_>) -> Result<T, Error> {
        let answer = self.send(call).await?;
        serde_json::from_slice(&answer.body).map_err(|cause| {
            let error = match self.url(call) {
                Ok(url) => Error::new(Kind::BadAnswer, call.method, url.as_str()).of_call(&url),
                Err(error) => error,
            };
            error.with_status(answer.status).with_source(cause)
        })
    }

    /// Waits before another try, having said so.
    pub(super) async fn wait(&self, error: &Error, delay: Duration) {
        if let Some(on_wait) = &self.0.on_wait {
            on_wait(error, delay);
        }
        tokio::time::sleep(delay).await;
    }

    /// A request for the file behind a link, with the key only if it is on the API's own origin.
    pub(super) fn file_request(&self, link: &SecretUrl) -> Result<RequestBuilder, Error> {
        let fail = |text: &str| Error::new(Kind::BadAnswer, "GET", link.reveal()).with_text(text);
        let url = Url::parse(link.reveal()).map_err(|cause| fail("").with_source(cause))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(fail("the link is neither http nor https"));
        }
        let key = self.0.key.as_ref().filter(|_| url.origin() == self.0.base.origin());
        let request = self.client(&url, key.is_some())?.get(url);
        Ok(match key {
            Some(key) => request.headers(key_header(key)?),
            None => request,
        })
    }

    fn url(&self, call: &Call<'_>) -> Result<Url, Error> {
        let text = format!("{}{}", self.0.base.as_str().trim_end_matches('/'), call.path);
        let mut url =
            Url::parse(&text).map_err(|cause| Error::new(Kind::BadAnswer, call.method, &text).with_source(cause))?;
        if !call.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&call.query);
        }
        Ok(url)
    }

    /// One try. The error says also whether another makes sense, and the wait that the server named.
    async fn try_once(&self, call: &Call<'_>, url: &Url) -> Result<Answer, (Error, Again, Option<Duration>)> {
        let fatal = |error: Error| (error, Again::Never, None);
        let method = reqwest::Method::from_bytes(call.method.as_bytes()).expect("methods are static words");
        let client = self.client(url, true).map_err(fatal)?;
        let mut request = client.request(method, url.clone());
        if let Some(key) = &self.0.key {
            request = request.headers(key_header(key).map_err(fatal)?);
        }
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let sending = match &call.body {
            Body::Empty => timeout(self.0.policy.idle_timeout, request.send()).await.ok(),
            Body::Json(json) => {
                let request = request.header(CONTENT_TYPE, "application/json").body(json.clone());
                timeout(self.0.policy.idle_timeout, request.send()).await.ok()
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
        let lost = |error: Error, trouble: Trouble| {
            let repeat = call.repeat == Repeat::Safe || trouble == Trouble::Unsent;
            (error, if repeat { trouble.again() } else { Again::Never }, None)
        };
        let response = match sending {
            Some(Ok(response)) => response,
            Some(Err(error)) => {
                let trouble = Trouble::of(&error);
                return Err(lost(Error::from_reqwest(error, call.method, url.as_str()), trouble));
            }
            None => return Err(lost(self.silence(call.method, url), Trouble::Lost)),
        };
        let status = response.status().as_u16();
        let named = named_wait(&response);
        let location = response.headers().get(LOCATION).and_then(|l| l.to_str().ok()).map(SecretUrl::new);
        let body = match self.read_answer(response, call.method, url).await {
            Ok(body) => body,
            Err((error, trouble)) => return Err(lost(error, trouble)),
        };
        if (200..300).contains(&status) {
            return Ok(Answer { status, body });
        }
        let again = match retry::after_status(status) {
            Again::Soon if call.repeat == Repeat::IfUnseen => Again::Never,
            again => again,
        };
        let mut error = refusal(status, &body, call.method, url.as_str());
        if let (300..400, Some(location)) = (status, location) {
            error = error.with_text(format!("it redirects to {location}, where the key must not go"));
        }
        Err((error, again, named))
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
            if let Ok(answer) = timeout(self.0.policy.idle_timeout, &mut answer).await {
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
    ) -> Result<Vec<u8>, (Error, Trouble)> {
        let mut body = Vec::new();
        loop {
            match timeout(self.0.policy.idle_timeout, response.chunk()).await {
                Ok(Ok(Some(chunk))) if body.len() + chunk.len() > self.0.policy.max_answer_bytes => {
                    let error = Error::new(Kind::BadAnswer, method, url.as_str())
                        .with_text(format!("it is longer than {} bytes", self.0.policy.max_answer_bytes));
                    return Err((error, Trouble::Unsendable));
                }
                Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
                Ok(Ok(None)) => return Ok(body),
                Ok(Err(error)) => {
                    let mut made = Error::new(Kind::Unreachable, method, url.as_str());
                    made = made.with_text("the answer broke off").with_source(innermost(error));
                    return Err((made, Trouble::Lost));
                }
                Err(_) => return Err((self.silence(method, url), Trouble::Lost)),
            }
        }
    }

    fn silence(&self, method: &'static str, url: &Url) -> Error {
        Error::new(Kind::Unreachable, method, url.as_str())
            .with_text(format!("nothing came for {} s", self.0.policy.idle_timeout.as_secs()))
    }

    /// The client for `url`. With the key it stays within the origin; without, it follows redirects anywhere but
    /// from https to http. Loopback addresses are never asked through a proxy.
    fn client(&self, url: &Url, with_key: bool) -> Result<&Client, Error> {
        let loopback = is_loopback(url);
        let slot = &self.0.clients[usize::from(with_key) + 2 * usize::from(loopback)];
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let policy = redirect::Policy::custom(move |attempt| {
            let Some(from) = attempt.previous().last() else { return attempt.stop() };
            let downgrade = from.scheme() == "https" && attempt.url().scheme() != "https";
            let elsewhere = from.origin() != attempt.url().origin();
            if attempt.previous().len() > MAX_REDIRECTS {
                attempt.error("too many redirects")
            } else if downgrade || (with_key && elsewhere) {
                attempt.stop()
            } else {
                attempt.follow()
            }
        });
        let mut builder = Client::builder()
            .user_agent(concat!("drawoff/", env!("CARGO_PKG_VERSION")))
            .redirect(policy)
            .referer(false)
            // What is tried again is decided here, not below.
            .retry(reqwest::retry::never())
            .connect_timeout(self.0.policy.connect_timeout);
        if loopback {
            builder = builder.no_proxy();
        }
        let client = builder
            .build()
            .map_err(|error| Error::from_reqwest(error, "GET", url.as_str()).with_text("no client can be made"))?;
        Ok(slot.get_or_init(|| client))
    }
}

/// The error for an answer that is not 2xx.
pub(super) fn refusal(status: u16, body: &[u8], method: &'static str, url: &str) -> Error {
    let kind = match status {
        401 => Kind::KeyRefused,
        403 => Kind::Forbidden,
        404 | 410 => Kind::NotFound,
        429 => Kind::RateLimited,
        400..500 => Kind::Refused,
        500..600 => Kind::ServerFault,
        _ => Kind::BadAnswer,
    };
    Error::new(kind, method, url).with_status(status).with_text(words_of(&String::from_utf8_lossy(body)))
}

/// What an error body says, on one line. Pages made for browsers say nothing that the status does not; of XML, which
/// object stores send, the text between the tags is kept.
fn words_of(body: &str) -> String {
    let body = body.trim_start();
    if !body.starts_with('<') {
        return one_line(&api::error_text(body));
    }
    if !body.starts_with("<?xml") {
        return String::new();
    }
    let mut words = String::new();
    for piece in body.split('<').skip(1) {
        words.push_str(piece.split_once('>').map_or("", |(_, text)| text));
        words.push(' ');
    }
    one_line(&words).chars().take(200).collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The wait that an answer names, if any.
pub(super) fn named_wait(response: &Response) -> Option<Duration> {
    retry::retry_after(response.headers().get(RETRY_AFTER)?.to_str().ok()?, SystemTime::now())
}

/// True for addresses of this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
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
