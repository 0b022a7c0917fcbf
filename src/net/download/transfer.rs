//! The task on the runtime that brings a file's bytes, over as many connections and links as it takes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, IF_RANGE,
    RANGE, TRANSFER_ENCODING,
};
use reqwest::{Response, Version};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::timeout;

use super::identity::{ContentRange, FileIdentity, Same};
use super::message::{BodyMessage, BodyStart, DownloadHead, DownloadRequest};
use super::stall::StallDetector;
use super::window::WindowShare;
use crate::format::Compression;
use crate::net::error::innermost;
use crate::net::http::{FileResponse, Http};
use crate::net::response::{header, named_wait, refusal};
use crate::net::retry::{Repeatability, RetryAdvice, RetryBudget};
use crate::net::{Error, FreshLink, Kind, Link};

/// Progress that refills the budget of tries.
const PROGRESS_BYTES: u64 = 64 << 10;

/// Links asked for without progress between them.
const MAX_FRESH_LINKS: u32 = 5;

/// Of a refusal's body, so much is read for its words.
const REFUSAL_BYTES: usize = 4096;

/// What was spent since the last progress.
struct SinceProgress {
    tries: u32,
    fresh_links: u32,
    since: Instant,
    furthest: u64,
}

impl SinceProgress {
    fn new(since: Instant, furthest: u64) -> Self {
        SinceProgress { tries: 0, fresh_links: 0, since, furthest }
    }
}

/// One file on its way.
pub(super) struct Transfer {
    http: Http,
    link: Link,
    fresh: Option<Arc<dyn FreshLink>>,
    budget: RetryBudget,
    room: WindowShare,
    pieces: mpsc::Sender<BodyMessage>,
    /// `None` until the first answer.
    file: Option<FileIdentity>,
    /// Bytes of the file handed on, repeated ones not counted; the next byte to ask for. Stays 0 for bodies that are
    /// encoded on the way: of these the reader alone knows how far it is.
    position: u64,
    /// Something was handed on: what comes from now on must be the same file.
    begun: bool,
    /// The server's parts of files can be told to be of the same file.
    ranges: bool,
    /// The furthest that any body has come, in its own bytes: what counts as progress.
    furthest: u64,
    /// Where a body ended that did not say where its end would be, no other having come further. A second one that
    /// ends there confirms it.
    open_end: Option<u64>,
    /// Where the last such body ended before what came already.
    early_end: Option<u64>,
    spent: SinceProgress,
}

/// An answer whose body comes next.
struct OpenBody {
    body: BodyStart,
    response: Response,
    /// Where in the file this body ends, if it says so.
    end: Option<u64>,
    /// The end of the body shows, unlike the mere end of a connection.
    framed: bool,
}

enum Connected {
    Body(Box<OpenBody>),
    /// The position is the end.
    AtEnd,
}

/// Why one try to connect failed.
struct ConnectFailure {
    error: Error,
    again: RetryAdvice,
    named: Option<Duration>,
}

impl ConnectFailure {
    fn never(error: Error) -> Self {
        ConnectFailure { error, again: RetryAdvice::Never, named: None }
    }
}

/// How a body ended.
enum BodyEnd {
    Whole { proven: bool },
    Broken(Error),
}

/// Nobody reads any more.
struct ReaderGone;

impl Transfer {
    pub fn new(http: &Http, open: DownloadRequest, room: WindowShare, pieces: mpsc::Sender<BodyMessage>) -> Self {
        let now = http.policy().clock.now();
        Transfer {
            http: http.clone(),
            link: open.link,
            fresh: open.fresh,
            budget: open.budget,
            room,
            pieces,
            file: None,
            position: 0,
            begun: false,
            ranges: true,
            furthest: 0,
            open_end: None,
            early_end: None,
            spent: SinceProgress::new(now, 0),
        }
    }

    /// Brings the whole file, its head first.
    pub async fn run(mut self, opened: tokio::sync::oneshot::Sender<Result<DownloadHead, Error>>) {
        self.spent = SinceProgress::new(self.now(), 0);
        let first = match self.connect(None).await {
            Ok(Connected::Body(arrived)) => arrived,
            Ok(Connected::AtEnd) => {
                let _ = opened.send(Err(self.fail(Kind::BadAnswer).with_text("no range was asked for")));
                return;
            }
            Err(error) => {
                let _ = opened.send(Err(error));
                return;
            }
        };
        let content_type = header(first.response.headers(), CONTENT_TYPE)
            .map(|t| t.split(';').next().unwrap_or_default().trim().to_lowercase());
        if opened.send(Ok(DownloadHead { content_type, size_bytes: first.body.total })).is_err() {
            return;
        }
        let last = match self.pump(*first).await {
            Ok(Ok(proven)) => BodyMessage::End { proven },
            Ok(Err(error)) => BodyMessage::Failed(error),
            Err(ReaderGone) => return,
        };
        // A reader that is gone needs no last word.
        let _ = self.pieces.send(last).await;
    }

    /// Hands on everything, over as many connections as it takes. Returns whether the end is proven.
    async fn pump(&mut self, mut arrived: OpenBody) -> Result<Result<bool, Error>, ReaderGone> {
        loop {
            self.send(BodyMessage::Body(arrived.body)).await?;
            let trouble = match self.read(&mut arrived).await? {
                BodyEnd::Whole { proven } => return Ok(Ok(proven)),
                BodyEnd::Broken(trouble) => trouble,
            };
            // The connection is closed before another is made.
            drop(arrived);
            if self.furthest - self.spent.furthest >= PROGRESS_BYTES {
                self.spent = SinceProgress::new(self.now(), self.furthest);
            }
            match self.connect(Some(trouble)).await {
                Ok(Connected::Body(next)) => arrived = *next,
                Ok(Connected::AtEnd) => return Ok(Ok(true)),
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// Hands on one body.
    async fn read(&mut self, arrived: &mut OpenBody) -> Result<BodyEnd, ReaderGone> {
        let mut floor = StallDetector::new(self.http.policy());
        let encoded = arrived.body.encoding != Compression::None;
        let mut at = arrived.body.from;
        loop {
            let asked = Instant::now();
            let next = timeout(floor.patience(), arrived.response.chunk()).await;
            let waited = asked.elapsed();
            let (chunk, stalled) = match next {
                Ok(Ok(Some(chunk))) => {
                    let stalled = floor.is_stalled(waited, chunk.len() as u64);
                    (Some(chunk), stalled)
                }
                Ok(Ok(None)) => return Ok(self.body_ended(arrived, at)),
                Ok(Err(cause)) => {
                    // All that was announced is there: what broke came after it.
                    if !encoded && self.total() == Some(at) {
                        return Ok(BodyEnd::Whole { proven: true });
                    }
                    let error = self.fail(Kind::CutShort).with_text(self.missing(at)).with_source(innermost(cause));
                    return Ok(BodyEnd::Broken(error));
                }
                Err(_) => (None, floor.is_stalled(waited, 0)),
            };
            if let Some(chunk) = chunk {
                at += chunk.len() as u64;
                if arrived.end.is_some_and(|end| at > end) || !encoded && self.total().is_some_and(|total| at > total) {
                    let error = self.fail(Kind::BadAnswer).with_text("more bytes came than were announced");
                    self.send(BodyMessage::Failed(error)).await?;
                    return Err(ReaderGone);
                }
                self.begun = true;
                self.furthest = self.furthest.max(at);
                if !encoded {
                    self.position = self.position.max(at);
                }
                self.hand_on(chunk).await?;
            }
            if stalled {
                let policy = self.http.policy();
                let rate = policy.min_bytes_per_second;
                let text = format!(
                    "{}; fewer than {} bytes came in {} s",
                    self.missing(at),
                    (rate as f64 * policy.stall_time.as_secs_f64()).max(1.0),
                    policy.stall_time.as_secs_f64()
                );
                return Ok(BodyEnd::Broken(self.fail(Kind::CutShort).with_text(text)));
            }
        }
    }

    /// What the end of a body at `at` means.
    fn body_ended(&mut self, arrived: &OpenBody, at: u64) -> BodyEnd {
        let encoded = arrived.body.encoding != Compression::None;
        if arrived.end.is_some_and(|end| at < end) || !encoded && self.total().is_some_and(|total| at < total) {
            return BodyEnd::Broken(self.fail(Kind::CutShort).with_text(self.missing(at)));
        }
        if arrived.framed || self.open_end == Some(at) {
            return BodyEnd::Whole { proven: arrived.framed };
        }
        // The connection ended, and so does a cut one. What follows asks for more, or for the same again. An end before
        // what came already is none.
        if at == self.furthest {
            self.open_end = Some(at);
        } else if self.early_end.replace(at) == Some(at) {
            // It may still be one that is cut at the same place each time, and come whole with the next try.
            let text = format!("{} bytes came before, and it ends at byte {at} now", self.furthest);
            return BodyEnd::Broken(self.changed(&text));
        }
        BodyEnd::Broken(self.fail(Kind::CutShort).with_text("the answer did not say where it would end"))
    }

    async fn hand_on(&mut self, mut chunk: Bytes) -> Result<(), ReaderGone> {
        while !chunk.is_empty() {
            let part = chunk.split_to(chunk.len().min(self.room.largest()));
            let permit: OwnedSemaphorePermit = self.room.take(part.len()).await;
            self.send(BodyMessage::Chunk(part, permit)).await?;
        }
        Ok(())
    }

    async fn send(&self, piece: BodyMessage) -> Result<(), ReaderGone> {
        self.pieces.send(piece).await.map_err(|_| ReaderGone)
    }

    /// Opens a body, with waits and fresh links as far as the budget goes. `trouble` is what ended the last
    /// connection; it is what is reported if no try brings an answer.
    async fn connect(&mut self, trouble: Option<Error>) -> Result<Connected, Error> {
        // A connection that broke counts as a try, so that a server that always breaks is given up.
        self.spent.tries += u32::from(trouble.is_some());
        if let Some(trouble) = &trouble {
            // After the first break at once, after others that brought nothing not so soon.
            let delay = match self.spent.tries {
                ..=1 => Duration::ZERO,
                tries => self.http.policy().delay(RetryAdvice::Soon, tries - 1, None),
            };
            if self.is_spent(delay) {
                return Err(trouble.clone().after(self.spent.tries, self.elapsed()));
            }
            if !delay.is_zero() {
                self.http.wait(trouble, delay).await;
            }
        }
        loop {
            if self.link.is_stale(self.now()) {
                self.renew_stale_link().await?;
            }
            let failed = match self.connect_once().await {
                Ok(connected) => return Ok(connected),
                Err(failed) => failed,
            };
            self.spent.tries += 1;
            let error = failed.error.after(self.spent.tries, self.elapsed());
            if failed.again == RetryAdvice::FreshLink {
                self.replace_refused_link(error).await?;
                continue;
            }
            let delay = self.http.policy().delay(failed.again, self.spent.tries, failed.named);
            if failed.again == RetryAdvice::Never || self.is_spent(delay) {
                return Err(error);
            }
            self.http.wait(&error, delay).await;
        }
    }

    /// Until the first answer somebody may be waiting who mistyped an address; later on there is something to lose.
    fn is_spent(&self, delay: Duration) -> bool {
        let budget = if self.file.is_none() { RetryBudget::ASK } else { self.budget };
        budget.is_spent(self.spent.tries, self.elapsed(), delay)
    }

    /// Puts a fresh link in place of one that is about to expire.
    async fn renew_stale_link(&mut self) -> Result<(), Error> {
        let Some(fresh) = &self.fresh else { return Ok(()) };
        self.link = fresh.fresh(self.link.edition).await?;
        // One that is stale from the start is used all the same: there is no better.
        if self.link.is_stale(self.now()) {
            self.link.stale_from = None;
        }
        Ok(())
    }

    /// Puts a fresh link in place of one that was refused with `refused`.
    async fn replace_refused_link(&mut self, refused: Error) -> Result<(), Error> {
        let Some(fresh) = &self.fresh else { return Err(refused) };
        if self.spent.fresh_links >= MAX_FRESH_LINKS {
            let text = format!("{} fresh links were refused too; {}", self.spent.fresh_links, refused.text());
            return Err(refused.with_text(text.trim_end_matches("; ").to_owned()));
        }
        if self.spent.fresh_links > 0 {
            let delay = self.http.policy().delay(RetryAdvice::Soon, self.spent.fresh_links, None);
            self.http.wait(&refused, delay).await;
        }
        self.spent.fresh_links += 1;
        self.link = fresh.fresh(self.link.edition).await?;
        Ok(())
    }

    async fn connect_once(&mut self) -> Result<Connected, ConnectFailure> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let validator =
            self.file.as_ref().and_then(FileIdentity::validator).and_then(|v| HeaderValue::from_str(v).ok());
        let ranged = match validator {
            Some(validator) if self.position > 0 && self.ranges => {
                let range = HeaderValue::from_str(&format!("bytes={}-", self.position));
                headers.insert(RANGE, range.expect("digits are a header's value"));
                headers.insert(IF_RANGE, validator);
                true
            }
            _ => false,
        };
        let answer = match self.http.file(&self.link.url, &headers).await {
            Ok(answer) => answer,
            Err((error, trouble)) => {
                return Err(ConnectFailure {
                    error,
                    again: Repeatability::ByLink.after_transport_failure(trouble),
                    named: None,
                });
            }
        };
        match answer.response.status().as_u16() {
            200 => self.whole_file(answer.response).map(Connected::from),
            206 if ranged => self.rest_of_file(answer.response).map(Connected::from),
            416 if ranged => self.past_the_end(&answer.response),
            _ => Err(self.refused(answer).await),
        }
    }

    /// An answer of 200: the file from its start. The reader skips what it has handed on, and checks it.
    fn whole_file(&mut self, response: Response) -> Result<OpenBody, ConnectFailure> {
        let encoding = header(response.headers(), CONTENT_ENCODING).unwrap_or_default().to_ascii_lowercase();
        let encoding = match encoding.as_str() {
            "" | "identity" => Compression::None,
            "gzip" | "x-gzip" => Compression::Gzip,
            "zstd" => Compression::Zstd,
            other => {
                let text = format!("its encoding `{other}` was not asked for and is not known");
                return Err(ConnectFailure::never(self.fail(Kind::BadAnswer).with_text(text)));
            }
        };
        let end = header(response.headers(), CONTENT_LENGTH).and_then(|length| length.parse().ok());
        // Of an encoded body the length says nothing of the file, and changes with the encoder.
        let total = end.filter(|_| encoding == Compression::None);
        let facts = FileIdentity::of(response.headers(), total);
        match (&self.file, self.begun) {
            (Some(file), true) => {
                if let Same::No(why) = file.compare(&facts) {
                    return Err(ConnectFailure::never(self.changed(why)));
                }
            }
            // Nothing was handed on: whatever it is now is what it is.
            _ => self.file = Some(facts),
        }
        let framed = is_framed(&response, end);
        Ok(OpenBody { body: BodyStart { from: 0, encoding, total }, response, end, framed })
    }

    /// An answer of 206: it must begin at the position and belong to the same file.
    fn rest_of_file(&mut self, response: Response) -> Result<OpenBody, ConnectFailure> {
        let text = header(response.headers(), CONTENT_RANGE).unwrap_or_default();
        let Some(ContentRange { range: Some((first, last)), total }) = ContentRange::parse(&text) else {
            return Err(self.without_ranges("a part came without a range that can be read"));
        };
        if first != self.position {
            let text = format!("byte {} was asked for, a part from byte {first} came", self.position);
            return Err(self.without_ranges(&text));
        }
        if header(response.headers(), CONTENT_ENCODING).is_some_and(|e| !e.eq_ignore_ascii_case("identity")) {
            // Bytes of an encoded file have other places.
            return Err(self.without_ranges("a part came encoded"));
        }
        let facts = FileIdentity::of(response.headers(), total);
        match self.file.as_ref().map_or(Same::Unproven, |file| file.compare(&facts)) {
            Same::Yes => {}
            Same::No(why) => return Err(ConnectFailure::never(self.changed(why))),
            Same::Unproven => return Err(self.without_ranges("a part came that nothing says is of the same file")),
        }
        let end = Some(last + 1);
        Ok(OpenBody {
            body: BodyStart { from: self.position, encoding: Compression::None, total },
            response,
            end,
            framed: total == end || self.total() == end,
        })
    }

    /// From here on the whole file is asked for, and its start compared.
    fn without_ranges(&mut self, why: &str) -> ConnectFailure {
        self.ranges = false;
        ConnectFailure { error: self.fail(Kind::BadAnswer).with_text(why), again: RetryAdvice::Soon, named: None }
    }

    /// An answer of 416: the end, if the position is the length.
    fn past_the_end(&mut self, response: &Response) -> Result<Connected, ConnectFailure> {
        let total = header(response.headers(), CONTENT_RANGE).and_then(|text| ContentRange::parse(&text)?.total);
        let facts = FileIdentity::of(response.headers(), total);
        match (self.file.as_ref().map_or(Same::Unproven, |file| file.compare(&facts)), total) {
            (Same::No(why), _) => return Err(ConnectFailure::never(self.changed(why))),
            (Same::Unproven, None) => return Err(self.without_ranges("a refusal of a part says nothing of the file")),
            // Many servers leave the tag out of a 416, and some the length: then the file has the bytes that came, and
            // none behind them.
            _ => {}
        }
        if [total, self.total()].iter().flatten().all(|total| *total == self.position) {
            return Ok(Connected::AtEnd);
        }
        Err(ConnectFailure::never(self.changed("it is shorter now")))
    }

    async fn refused(&self, mut answer: FileResponse) -> ConnectFailure {
        let named = named_wait(&answer.response);
        let status = answer.response.status().as_u16();
        let mut body = Vec::new();
        while let Ok(Ok(Some(chunk))) = timeout(self.http.policy().idle_timeout, answer.response.chunk()).await {
            body.extend_from_slice(&chunk[..chunk.len().min(REFUSAL_BYTES - body.len())]);
            if body.len() == REFUSAL_BYTES {
                break;
            }
        }
        let mut error = refusal(status, &body, "GET", answer.url.as_str(), answer.sent_key.as_ref());
        if let (401, true, Some(host)) = (status, answer.keyless, answer.url.host_str()) {
            let port = answer.url.port().map(|port| format!(":{port}")).unwrap_or_default();
            error = error.without_key_for(&format!("{host}{port}"));
        }
        let again = Repeatability::ByLink.after_status(status);
        if let (RetryAdvice::Later, Some(key)) = (again, &answer.sent_key) {
            self.http.hold(key, self.http.policy().delay(again, 1, named));
        }
        ConnectFailure { error, again, named }
    }

    fn now(&self) -> Instant {
        self.http.policy().clock.now()
    }

    /// Since the last progress.
    fn elapsed(&self) -> Duration {
        self.now() - self.spent.since
    }

    fn total(&self) -> Option<u64> {
        self.file.as_ref().and_then(|file| file.total)
    }

    fn missing(&self, at: u64) -> String {
        match self.total() {
            Some(total) => format!("{at} of {total} bytes came"),
            None => format!("{at} bytes came and the end was not among them"),
        }
    }

    fn changed(&self, text: &str) -> Error {
        self.fail(Kind::Changed).with_text(text)
    }

    fn fail(&self, kind: Kind) -> Error {
        Error::new(kind, "GET", self.link.url.reveal())
    }
}

impl From<OpenBody> for Connected {
    fn from(arrived: OpenBody) -> Self {
        Connected::Body(Box::new(arrived))
    }
}

/// True if the end of the body is told from the end of the connection: by its length, by chunks, or by HTTP/2.
fn is_framed(response: &Response, length: Option<u64>) -> bool {
    let chunked = || {
        let codings = header(response.headers(), TRANSFER_ENCODING).unwrap_or_default().to_ascii_lowercase();
        codings.split(',').any(|coding| coding.trim() == "chunked")
    };
    length.is_some() || response.version() >= Version::HTTP_2 || chunked()
}
