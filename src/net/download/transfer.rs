//! The task's half of a download: receives the bytes of one file, over as many connections and links as necessary.
//!
//! It requests, verifies that each response belongs to the same file ([`super::identity`] explains the rules), and
//! sends the bodies to the reader through the window. It decodes nothing and drops no byte: that is the reader's work.

mod segments;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use reqwest::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, IF_RANGE,
    RANGE, TRANSFER_ENCODING,
};
use reqwest::{Response, Version};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::timeout;

use super::connections::{Connections, Division, Pace, Waits};
use super::identity::{ContentRange, FileIdentity, IdentityMatch};
use super::message::{BodyMessage, BodyStart, DownloadHead, DownloadRequest};
use super::stall::StallDetector;
use super::window::WindowShare;
use crate::format::SourceCodec;
use crate::net::clients::ClientPurpose;
use crate::net::error::innermost;
use crate::net::http::{FileResponse, Http};
use crate::net::response::{content_encoding, header, refusal, requested_delay};
use crate::net::retry::{Repeatability, RetryAdvice, RetryBudget};
use crate::net::spans::{self, Span, SpanValue};
use crate::net::{Error, FreshLink, Kind, Link};
use crate::text::error_chain;

/// Bytes beyond the last progress that restore the whole retry budget, with its time. Fewer restore only the number of
/// attempts: a server that cuts every connection after a few bytes is read to the end, as long as it brings this much
/// within the time.
const PROGRESS_BYTES: u64 = 64 << 10;

/// Connections that are opened at once after breaks which brought new bytes, but no [`PROGRESS_BYTES`]; later ones wait, or a
/// server that cuts after each byte would be asked without a pause.
const EAGER_TRIES: u32 = 32;

/// Fresh links that are requested without progress between them.
const MAX_FRESH_LINKS: u32 = 5;

/// Bytes of a refusal's body that are read for its message.
const REFUSAL_BYTES: usize = 4096;

/// The retry budget used since the last progress.
struct SinceProgress {
    /// Connections that failed or broke.
    tries: u32,
    /// Those of them after the last new byte. The backoff grows with them.
    fruitless: u32,
    /// Value of [`Transfer::furthest`] after the last of them.
    reached: u64,
    /// Links that were replaced after a refusal.
    fresh_links: u32,
    /// Instant of the last progress.
    since: Instant,
    /// Value of [`Transfer::furthest`] at that instant.
    furthest: u64,
}

impl SinceProgress {
    fn new(since: Instant, furthest: u64) -> Self {
        SinceProgress { tries: 0, fruitless: 0, reached: furthest, fresh_links: 0, since, furthest }
    }
}

/// The state of one download over all its connections.
pub(super) struct Transfer {
    http: Http,
    link: Link,
    fresh: Option<Arc<dyn FreshLink>>,
    budget: RetryBudget,
    share: WindowShare,
    messages: mpsc::Sender<BodyMessage>,
    /// Identity by the first response; `None` before it.
    file: Option<FileIdentity>,
    /// Bytes of the file sent to the reader, repeated ones not counted: the first byte to request next. Stays 0 for
    /// encoded bodies, where only the reader knows the offset in the file.
    position: u64,
    /// Offset at which this transfer ends, if it is one range of a divided download.
    segment_end: Option<u64>,
    /// True if the first response offered ranges.
    offers_ranges: bool,
    /// Number of connections over which the file may come.
    connections: Connections,
    /// Times that the rest of the file was divided.
    divisions: u32,
    /// Time that this and the transfers of its segments waited.
    waits: Waits,
    /// Of a segment: set when the server asked for fewer requests.
    was_refused: Option<Arc<AtomicBool>>,
    /// True once a byte was sent to the reader: every later response must be of the same file.
    any_sent: bool,
    /// False after a 206 that could not be used: from then on whole files are requested.
    use_ranges: bool,
    /// The furthest offset that any body reached, in its own bytes, encoded or not. Growth is progress.
    furthest: u64,
    /// Offset at which a body without framing ended, if none reached further. A second one that ends there confirms it
    /// as the end of the file.
    unframed_end: Option<u64>,
    /// Offset at which the last such body ended before `furthest`.
    early_unframed_end: Option<u64>,
    since_progress: SinceProgress,
    /// The reader's request for the whole file once more, because the encoding of the body that it got was damaged on the
    /// way. Closed when the reader is dropped; `None` once it was received.
    again: Option<oneshot::Receiver<()>>,
    /// Connections after the first that went on with the file.
    resumes: u64,
    /// The error that the reader got.
    failure: Option<String>,
}

/// A response with its body still to be read.
struct OpenBody {
    body: BodyStart,
    response: Response,
    /// Offset at which the body ends, by its `Content-Length` or `Content-Range`; `None` if unknown.
    end: Option<u64>,
    /// True if the protocol marks the end of the body, so that the end of the connection is not taken for it.
    framed: bool,
}

enum Connected {
    Body(Box<OpenBody>),
    /// The position is the end of the file: there are no more bytes.
    AtEnd,
}

/// One failed attempt to open a body, with the advice on the next.
struct ConnectFailure {
    error: Error,
    advice: RetryAdvice,
    named_delay: Option<Duration>,
}

impl ConnectFailure {
    fn never(error: Error) -> Self {
        ConnectFailure { error, advice: RetryAdvice::Never, named_delay: None }
    }
}

/// The outcome of reading one body.
enum BodyEnd {
    Whole {
        proven: bool,
    },
    Broken(Error),
    /// The rest of the file is to be divided.
    Divided(Division),
}

/// The reader was dropped: the task ends without a message.
struct ReaderGone;

impl Transfer {
    pub(super) fn new(
        http: &Http,
        request: DownloadRequest,
        (share, connections): (WindowShare, Connections),
        messages: mpsc::Sender<BodyMessage>,
        again: oneshot::Receiver<()>,
    ) -> Self {
        let now = http.policy().clock.now();
        Transfer {
            http: http.clone(),
            link: request.link,
            fresh: request.fresh,
            budget: request.budget,
            share,
            messages,
            file: None,
            position: 0,
            segment_end: None,
            offers_ranges: false,
            connections,
            divisions: 0,
            waits: Waits::default(),
            was_refused: None,
            any_sent: false,
            use_ranges: true,
            furthest: 0,
            unframed_end: None,
            early_unframed_end: None,
            since_progress: SinceProgress::new(now, 0),
            again: Some(again),
            resumes: 0,
            failure: None,
        }
    }

    /// Runs the download to its end. The first response or its error goes to `opened`, all else to the reader.
    pub(super) async fn run(mut self, opened: oneshot::Sender<Result<DownloadHead, Error>>) {
        let start = SystemTime::now();
        self.download(opened).await;
        if spans::is_observed() {
            spans::record(Span {
                name: "download".to_owned(),
                start,
                end: SystemTime::now(),
                attributes: vec![
                    ("url.full", SpanValue::Text(self.link.url.to_string())),
                    ("http.response.body.size", SpanValue::Number(self.furthest)),
                    ("drawoff.resumes", SpanValue::Number(self.resumes)),
                ],
                error: self.failure.take(),
            });
        }
    }

    async fn download(&mut self, opened: oneshot::Sender<Result<DownloadHead, Error>>) {
        // The time in the queue, before the slot became active, does not count.
        self.since_progress = SinceProgress::new(self.now(), 0);
        let first = match self.connect(None).await {
            Ok(Connected::Body(open_body)) => open_body,
            Ok(Connected::AtEnd) => {
                let _ = opened.send(Err(self.fail(Kind::BadResponse).with_text("416 without a requested range")));
                return;
            }
            Err(error) => {
                self.failure = Some(error_chain(&error));
                let _ = opened.send(Err(error));
                return;
            }
        };
        let content_type = header(first.response.headers(), CONTENT_TYPE)
            .map(|t| t.split(';').next().unwrap_or_default().trim().to_lowercase());
        if opened.send(Ok(DownloadHead { content_type, size_bytes: first.body.total })).is_err() {
            return;
        }
        // An error means that the reader was dropped, and needs no message.
        let _ = self.send_until_whole(*first).await;
    }

    /// Sends the file to the reader, and its end or error. An encoded body may turn out damaged only in the reader, which
    /// then asks for the whole file again, once.
    async fn send_until_whole(&mut self, first: OpenBody) -> Result<(), ReaderGone> {
        let encoded = first.body.encoding != SourceCodec::None;
        let mut open_body = first;
        loop {
            match self.send_file(open_body).await? {
                Ok(proven) => self.send(BodyMessage::End { proven }).await?,
                Err(error) => return self.send_failure(error).await,
            }
            let Some(again) = self.again.take().filter(|_| encoded) else { return Ok(()) };
            if again.await.is_err() {
                return Ok(());
            }
            let damaged = self.fail(Kind::Damaged).with_text("the encoding of the body was damaged on the way");
            match self.connect(Some(damaged)).await {
                Ok(Connected::Body(next)) => {
                    self.http.recoveries().add_resume();
                    self.resumes += 1;
                    open_body = *next;
                }
                Ok(Connected::AtEnd) => {
                    let error = self.fail(Kind::BadResponse).with_text("416 without a requested range");
                    return self.send(BodyMessage::Failed(error)).await;
                }
                Err(error) => return self.send_failure(error).await,
            }
        }
    }

    async fn send_failure(&mut self, error: Error) -> Result<(), ReaderGone> {
        self.failure = Some(error_chain(&error));
        self.send(BodyMessage::Failed(error)).await
    }

    /// Sends the whole file to the reader, over as many connections as necessary. Returns true if its end is proven.
    async fn send_file(&mut self, mut open_body: OpenBody) -> Result<Result<bool, Error>, ReaderGone> {
        loop {
            self.send(BodyMessage::Body(open_body.body)).await?;
            let mut end = self.send_body(&mut open_body).await?;
            // Closes this connection before the next is opened.
            drop(open_body);
            if let BodyEnd::Divided(division) = end {
                end = self.send_segments(division).await?;
            }
            let broken = match end {
                BodyEnd::Whole { proven } => return Ok(Ok(proven)),
                BodyEnd::Broken(broken) => broken,
                BodyEnd::Divided(_) => self.fail(Kind::CutShort),
            };
            self.note_progress();
            match self.connect(Some(broken)).await {
                Ok(Connected::Body(next)) => {
                    self.http.recoveries().add_resume();
                    self.resumes += 1;
                    open_body = *next;
                }
                Ok(Connected::AtEnd) => return Ok(Ok(true)),
                Err(error) => return Ok(Err(error)),
            }
        }
    }

    /// Restores the retry budget after progress. Repeated bytes are none, so a server that always breaks at the same byte is
    /// given up.
    fn note_progress(&mut self) {
        if self.furthest - self.since_progress.furthest >= PROGRESS_BYTES {
            self.since_progress = SinceProgress::new(self.now(), self.furthest);
        }
    }

    /// Sends one body to the reader.
    async fn send_body(&mut self, open_body: &mut OpenBody) -> Result<BodyEnd, ReaderGone> {
        let mut stall = StallDetector::new(self.http.policy());
        let mut pace = Pace::new(&self.waits);
        let encoded = open_body.body.encoding != SourceCodec::None;
        let mut at = open_body.body.from;
        loop {
            let started = Instant::now();
            let next = timeout(stall.patience(), open_body.response.chunk()).await;
            let waited = started.elapsed();
            self.waits.add_socket(waited);
            let (chunk, stalled) = match next {
                Ok(Ok(Some(chunk))) => {
                    let stalled = stall.is_stalled(waited, chunk.len() as u64);
                    (Some(chunk), stalled)
                }
                Ok(Ok(None)) => return Ok(self.body_ended(open_body, at)),
                Ok(Err(cause)) => {
                    // All announced bytes arrived: the connection broke only after the file.
                    if !encoded && self.end() == Some(at) {
                        return Ok(BodyEnd::Whole { proven: true });
                    }
                    let error =
                        self.fail(Kind::CutShort).with_text(self.progress_text(at)).with_source(innermost(cause));
                    return Ok(BodyEnd::Broken(error));
                }
                Err(_) => (None, stall.is_stalled(waited, 0)),
            };
            if let Some(chunk) = chunk {
                at += chunk.len() as u64;
                if open_body.end.is_some_and(|end| at > end) || !encoded && self.end().is_some_and(|end| at > end) {
                    let error = self.fail(Kind::BadResponse).with_text("the body is longer than announced");
                    // Final: a body that contradicts its own length has no position that could be resumed.
                    self.send(BodyMessage::Failed(error)).await?;
                    return Err(ReaderGone);
                }
                let bytes = chunk.len() as u64;
                // Count before waiting for the window: the bytes are certain to be delivered.
                self.any_sent = true;
                self.furthest = self.furthest.max(at);
                // `max`, because a body that starts over is behind the position at first.
                if !encoded {
                    self.position = self.position.max(at);
                }
                self.send_chunk(chunk).await?;
                pace.add(bytes, started.elapsed());
                if !encoded && let Some(division) = self.division(&pace) {
                    return Ok(BodyEnd::Divided(division));
                }
            }
            if stalled {
                let policy = self.http.policy();
                let rate = policy.min_bytes_per_second;
                let text = format!(
                    "{}; fewer than {} bytes in {} s",
                    self.progress_text(at),
                    (rate as f64 * policy.stall_time.as_secs_f64()).max(1.0),
                    policy.stall_time.as_secs_f64()
                );
                return Ok(BodyEnd::Broken(self.fail(Kind::CutShort).with_text(text)));
            }
        }
    }

    /// Classifies the end of a body at offset `at`: the end of the file, or a break.
    fn body_ended(&mut self, open_body: &OpenBody, at: u64) -> BodyEnd {
        let encoded = open_body.body.encoding != SourceCodec::None;
        if open_body.end.is_some_and(|end| at < end) || !encoded && self.end().is_some_and(|end| at < end) {
            return BodyEnd::Broken(self.fail(Kind::CutShort).with_text(self.progress_text(at)));
        }
        if open_body.framed || self.unframed_end == Some(at) {
            return BodyEnd::Whole { proven: open_body.framed };
        }
        // Only the connection ended, as it does when it breaks. The next request is for more bytes, or for the whole
        // file again, and confirms the end or passes it. An end before bytes that already arrived is no end of this
        // file.
        if at == self.furthest {
            self.unframed_end = Some(at);
        } else if self.early_unframed_end.replace(at) == Some(at) {
            // Twice at the same early offset: the file is shorter now. Once may be a break, which the next attempt
            // mends.
            let text = format!("{} bytes were received before, and it ends at byte {at} now", self.furthest);
            return BodyEnd::Broken(self.changed(&text));
        }
        BodyEnd::Broken(
            self.fail(Kind::CutShort).with_text("the end of the connection does not prove the end of the file"),
        )
    }

    /// Sends a chunk through the window, in slices of at most the size that always fits.
    async fn send_chunk(&mut self, mut chunk: Bytes) -> Result<(), ReaderGone> {
        while !chunk.is_empty() {
            let part = chunk.split_to(chunk.len().min(self.share.max_chunk_bytes()));
            let started = Instant::now();
            let permit: OwnedSemaphorePermit = self.share.acquire(part.len()).await;
            self.waits.add_window(started.elapsed());
            self.send(BodyMessage::Chunk(part, permit)).await?;
        }
        Ok(())
    }

    async fn send(&self, message: BodyMessage) -> Result<(), ReaderGone> {
        self.messages.send(message).await.map_err(|_| ReaderGone)
    }

    /// Opens a body, with delays and fresh links within the budget. `broken` is the error that ended the last
    /// connection; it is returned if the budget is spent before another attempt.
    async fn connect(&mut self, broken: Option<Error>) -> Result<Connected, Error> {
        // A connection that broke counts as a try, so that a server that always breaks is given up.
        if broken.is_some() {
            self.count_failure();
        }
        if let Some(broken) = &broken {
            // Reconnect at once after the first break, and with backoff after breaks without progress.
            let delay = match self.since_progress.fruitless {
                ..=1 if self.since_progress.tries <= EAGER_TRIES => Duration::ZERO,
                fruitless => self.http.policy().delay(RetryAdvice::Soon, fruitless.max(2) - 1, None),
            };
            if self.is_spent(delay) {
                return Err(broken.clone().after(self.since_progress.tries, self.elapsed()));
            }
            if !delay.is_zero() {
                self.http.wait(broken, delay).await;
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
            self.count_failure();
            let error = failed.error.after(self.since_progress.tries, self.elapsed());
            // A refused link has a limit of its own, `MAX_FRESH_LINKS`, and needs no delay the first time.
            if failed.advice == RetryAdvice::FreshLink {
                self.replace_refused_link(error).await?;
                continue;
            }
            if let Some(was_refused) = self.was_refused.as_ref().filter(|_| error.status().is_some()) {
                was_refused.store(true, Ordering::Relaxed);
            }
            let delay = self.http.policy().delay(failed.advice, self.since_progress.fruitless, failed.named_delay);
            if failed.advice == RetryAdvice::Never || self.is_spent(delay) {
                return Err(error);
            }
            self.http.wait(&error, delay).await;
        }
    }

    /// Returns true if an attempt after `delay` would exceed the budget. Before the first response it is that of a
    /// read, for the URL may be mistyped; later the longer one of downloads, for there is progress to lose.
    fn is_spent(&self, delay: Duration) -> bool {
        let budget = if self.file.is_none() { RetryBudget::ASK } else { self.budget };
        budget.is_spent(self.since_progress.fruitless, self.elapsed(), delay)
    }

    /// Counts a connection that failed or broke. One that brought new bytes starts the count of fruitless ones anew.
    fn count_failure(&mut self) {
        let furthest = self.furthest;
        let progress = &mut self.since_progress;
        progress.tries += 1;
        progress.fruitless = if furthest > progress.reached { 1 } else { progress.fruitless + 1 };
        progress.reached = furthest;
    }

    /// Replaces a link that is about to expire.
    async fn renew_stale_link(&mut self) -> Result<(), Error> {
        let Some(fresh) = &self.fresh else { return Ok(()) };
        self.link = fresh.fresh(self.link.edition).await?;
        self.http.recoveries().add_fresh_link();
        // A fresh link that is stale already is used all the same: there is no better one.
        if self.link.is_stale(self.now()) {
            self.link.stale_from = None;
        }
        Ok(())
    }

    /// Replaces a link that the server refused with `refused`; returns that error if there is no fresh link to try.
    async fn replace_refused_link(&mut self, refused: Error) -> Result<(), Error> {
        let Some(fresh) = &self.fresh else { return Err(refused.with_only_link()) };
        if self.since_progress.fresh_links >= MAX_FRESH_LINKS {
            let text =
                format!("{} fresh links were rejected as well; {}", self.since_progress.fresh_links, refused.text());
            return Err(refused.with_text(text.trim_end_matches("; ").to_owned()));
        }
        if self.since_progress.fresh_links > 0 {
            let delay = self.http.policy().delay(RetryAdvice::Soon, self.since_progress.fresh_links, None);
            self.http.wait(&refused, delay).await;
        }
        self.since_progress.fresh_links += 1;
        self.link = fresh.fresh(self.link.edition).await?;
        self.http.recoveries().add_fresh_link();
        Ok(())
    }

    /// Sends one request for the file, or for the rest of it, and checks the response against the file's identity.
    async fn connect_once(&mut self) -> Result<Connected, ConnectFailure> {
        let mut headers = HeaderMap::new();
        // Offsets count in the file itself, so no content encoding is wanted; some servers apply one all the same.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let validator =
            self.file.as_ref().and_then(FileIdentity::validator).and_then(|v| HeaderValue::from_str(v).ok());
        // Without a validator a part could be of another version of the file: request the whole file and compare.
        let ranged = match validator {
            Some(validator) if self.use_ranges && (self.position > 0 || self.segment_end.is_some()) => {
                let last = self.segment_end.map(|end| (end - 1).to_string()).unwrap_or_default();
                let range = HeaderValue::from_str(&format!("bytes={}-{last}", self.position));
                headers.insert(RANGE, range.expect("digits are a header's value"));
                headers.insert(IF_RANGE, validator);
                true
            }
            _ => false,
        };
        // A segment is no use to the reader but from its first byte: the whole download goes on without segments then.
        if self.segment_end.is_some() && !ranged {
            return Err(ConnectFailure::never(self.fail(Kind::BadResponse).with_text("ranges cannot be used")));
        }
        let purpose = if self.segment_end.is_some() { ClientPurpose::Segments } else { ClientPurpose::Files };
        let received = match self.http.get_file(&self.link.url, &headers, purpose).await {
            Ok(received) => received,
            Err((error, failure)) => {
                return Err(ConnectFailure {
                    error,
                    advice: Repeatability::ByLink.after_transport_failure(failure),
                    named_delay: None,
                });
            }
        };
        match received.response.status().as_u16() {
            200 if self.segment_end.is_some() => {
                Err(ConnectFailure::never(self.fail(Kind::BadResponse).with_text("the range was not honoured")))
            }
            200 => self.accept_whole_file(received.response).map(Connected::from),
            206 if ranged => self.accept_range(received.response).map(Connected::from),
            416 if ranged => self.check_end_of_file(&received.response),
            _ => Err(self.read_refusal(received).await),
        }
    }

    /// Accepts a 200, the file from its start. The reader drops the bytes that it has delivered, after comparing them.
    fn accept_whole_file(&mut self, response: Response) -> Result<OpenBody, ConnectFailure> {
        let encoding = content_encoding(response.headers());
        let Some(encoding) = SourceCodec::of_content_encoding(&encoding) else {
            let text = format!("unsupported content encoding `{encoding}`, which was not requested");
            return Err(ConnectFailure::never(self.fail(Kind::BadResponse).with_text(text)));
        };
        let end = header(response.headers(), CONTENT_LENGTH).and_then(|length| length.parse().ok());
        // The length of an encoded body is not that of the file, and depends on the encoder.
        let total = end.filter(|_| encoding == SourceCodec::None);
        let identity = FileIdentity::from_headers(response.headers(), total);
        match (&self.file, self.any_sent) {
            (Some(file), true) => {
                if let IdentityMatch::Changed(why) = file.compare(&identity) {
                    return Err(ConnectFailure::never(self.changed(why)));
                }
            }
            // Nothing was sent to the reader yet, so the file may be any version.
            _ => self.file = Some(identity),
        }
        self.offers_ranges = header(response.headers(), ACCEPT_RANGES).is_some_and(|unit| unit.trim() == "bytes");
        let framed = is_framed(&response, end);
        Ok(OpenBody { body: BodyStart { from: 0, encoding, total }, response, end, framed })
    }

    /// Accepts a 206 if it starts at the position and is proven to be of the same file.
    fn accept_range(&mut self, response: Response) -> Result<OpenBody, ConnectFailure> {
        let text = header(response.headers(), CONTENT_RANGE).unwrap_or_default();
        let Some(ContentRange { range: Some((first, last)), total }) = ContentRange::parse(&text) else {
            return Err(self.without_ranges("the partial response has no valid Content-Range"));
        };
        if first != self.position {
            // The bytes belong to another offset: discard them and request the whole file.
            let text = format!("requested the range from byte {}, received it from byte {first}", self.position);
            return Err(self.without_ranges(&text));
        }
        if !content_encoding(response.headers()).is_empty() {
            // The range would be one of the encoded bytes.
            return Err(self.without_ranges("the partial response has a content encoding"));
        }
        let identity = FileIdentity::from_headers(response.headers(), total);
        match self.file.as_ref().map_or(IdentityMatch::Unproven, |file| file.compare(&identity)) {
            IdentityMatch::Same => {}
            IdentityMatch::Changed(why) => return Err(ConnectFailure::never(self.changed(why))),
            IdentityMatch::Unproven => {
                return Err(self.without_ranges("the partial response does not prove that the file is the same"));
            }
        }
        let end = Some(last + 1);
        if self.segment_end.is_some_and(|segment_end| last >= segment_end) {
            return Err(self.without_ranges("the partial response is longer than the range"));
        }
        Ok(OpenBody {
            body: BodyStart { from: self.position, encoding: SourceCodec::None, total },
            response,
            end,
            framed: total == end || self.end() == end,
        })
    }

    /// Disables range requests: from now on the whole file is requested, and its first bytes are compared.
    fn without_ranges(&mut self, why: &str) -> ConnectFailure {
        self.use_ranges = false;
        ConnectFailure {
            error: self.fail(Kind::BadResponse).with_text(why),
            advice: RetryAdvice::Soon,
            named_delay: None,
        }
    }

    /// Interprets a 416: the position is the end of the file, if nothing contradicts and something confirms it.
    fn check_end_of_file(&mut self, response: &Response) -> Result<Connected, ConnectFailure> {
        let total = header(response.headers(), CONTENT_RANGE).and_then(|text| ContentRange::parse(&text)?.total);
        let identity = FileIdentity::from_headers(response.headers(), total);
        match (self.file.as_ref().map_or(IdentityMatch::Unproven, |file| file.compare(&identity)), total) {
            (IdentityMatch::Changed(why), _) => return Err(ConnectFailure::never(self.changed(why))),
            (IdentityMatch::Unproven, None) => {
                return Err(self.without_ranges("the refusal of the range identifies no file"));
            }
            // Many servers omit the tag from a 416, and some the size. One of them is enough: the server has no byte
            // behind the position.
            _ => {}
        }
        if [total, self.total()].iter().flatten().all(|total| *total == self.position) {
            return Ok(Connected::AtEnd);
        }
        Err(ConnectFailure::never(self.changed("its size is different")))
    }

    /// Converts a response of any other status into an error, with up to [`REFUSAL_BYTES`] of its body as the message.
    async fn read_refusal(&self, mut received: FileResponse) -> ConnectFailure {
        let named_delay = requested_delay(&received.response);
        let status = received.response.status().as_u16();
        let mut body = Vec::new();
        // An error while reading the message is ignored: the status alone decides.
        while let Ok(Ok(Some(chunk))) = timeout(self.http.policy().idle_timeout, received.response.chunk()).await {
            body.extend_from_slice(&chunk[..chunk.len().min(REFUSAL_BYTES - body.len())]);
            if body.len() == REFUSAL_BYTES {
                break;
            }
        }
        let mut error = refusal(status, &body, "GET", received.url.as_str(), received.sent_key.as_ref());
        // The host is kept for the hint: the user may choose to trust it.
        if let (401, true, Some(host)) = (status, received.key_withheld, received.url.host_str()) {
            let port = received.url.port().map(|port| format!(":{port}")).unwrap_or_default();
            error = error.with_withheld_key(&format!("{host}{port}"));
        }
        let advice = Repeatability::ByLink.after_status(status);
        if let (RetryAdvice::Later, Some(key)) = (advice, &received.sent_key) {
            self.http.hold(key, self.http.policy().delay(advice, 1, named_delay));
        }
        ConnectFailure { error, advice, named_delay }
    }

    fn now(&self) -> Instant {
        self.http.policy().clock.now()
    }

    /// Returns the time since the last progress, or since the start.
    fn elapsed(&self) -> Duration {
        self.now() - self.since_progress.since
    }

    fn total(&self) -> Option<u64> {
        self.file.as_ref().and_then(|file| file.total)
    }

    /// Returns the offset at which the transfer ends: that of its segment, or of the file.
    fn end(&self) -> Option<u64> {
        self.segment_end.or(self.total())
    }

    fn progress_text(&self, at: u64) -> String {
        match self.total() {
            Some(total) => format!("received {at} of {total} bytes"),
            None => format!("received {at} bytes without reaching the end"),
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
    fn from(open_body: OpenBody) -> Self {
        Connected::Body(Box::new(open_body))
    }
}

/// Returns true if the protocol marks the end of the body apart from that of the connection: by `Content-Length`, by
/// chunks, or by HTTP/2.
fn is_framed(response: &Response, length: Option<u64>) -> bool {
    let chunked = || {
        let codings = header(response.headers(), TRANSFER_ENCODING).unwrap_or_default().to_ascii_lowercase();
        codings.split(',').any(|coding| coding.trim() == "chunked")
    };
    length.is_some() || response.version() >= Version::HTTP_2 || chunked()
}
