//! A file behind a link as a stream of bytes that either is whole or fails.
//!
//! A task on the runtime reads the body and hands chunks through a window bounded in bytes; the reader thread pulls
//! them. When the connection breaks, the task continues at the exact byte with `Range` and `If-Range` and checks that
//! the file is still the same. Only an explicit mark ends the stream: a task that dies is an error.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use futures_util::future::BoxFuture;
use reqwest::Response;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, IF_RANGE,
    LAST_MODIFIED, RANGE,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::error::innermost;
use super::http::{Http, named_wait, refusal};
use super::retry::{self, Again, Budget, Trouble};
use super::{Error, Kind};
use crate::secret::SecretUrl;
use crate::source::ByteSource;

/// Bytes between socket and reader. By eye: several reads of a socket, and small beside the engine's budget.
const WINDOW_BYTES: usize = 2 << 20;

/// Chunks between socket and reader; the window in bytes is what binds, save for dribbling servers.
const WINDOW_CHUNKS: usize = 1024;

/// Progress that refills the budget of tries.
const PROGRESS_BYTES: u64 = 64 << 10;

/// Links asked for without progress between them.
const MAX_FRESH_LINKS: u32 = 5;

/// Where a new link to the same file comes from when the old one has expired.
pub trait FreshLink: Send + Sync {
    /// A link to the same file.
    fn fresh(&self) -> BoxFuture<'_, Result<SecretUrl, Error>>;
}

/// What is to be downloaded.
pub struct Open {
    /// The first link.
    pub link: SecretUrl,
    /// Where further ones come from. Without it an expired link is final.
    pub fresh: Option<Arc<dyn FreshLink>>,
    /// What may be spent between two steps of progress; the first answer has [`Budget::ASK`].
    pub budget: Budget,
}

impl Open {
    /// One link without a successor.
    pub fn link(link: SecretUrl) -> Self {
        Open { link, fresh: None, budget: Budget::DOWNLOAD }
    }
}

/// A download that has begun: bytes in order for the reader thread. Dropping it ends the transfer.
pub struct Download {
    chunks: mpsc::Receiver<Piece>,
    current: Bytes,
    /// Room in the window that `current` takes.
    permit: Option<OwnedSemaphorePermit>,
    state: State,
    size_bytes: Option<u64>,
    content_type: Option<String>,
    url: String,
    task: AbortHandle,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Ended,
    Failed,
}

enum Piece {
    Chunk(Bytes, OwnedSemaphorePermit),
    End,
    Failed(Error),
}

/// Ends a download from another thread; its reader then gets an error.
#[derive(Clone, Debug)]
pub struct Stopper(AbortHandle);

impl Stopper {
    /// Ends it.
    pub fn stop(&self) {
        self.0.abort();
    }
}

impl Download {
    /// Connects and reads the first answer, so that size and type are known and a bad link fails here.
    pub async fn open(http: &Http, open: Open) -> Result<Download, Error> {
        let mut transfer = Transfer {
            http: http.clone(),
            link: open.link,
            fresh: open.fresh,
            budget: open.budget,
            file: None,
            position: 0,
            spent: Spent::new(0),
        };
        let (first, response) = match transfer.connect(None).await? {
            Connected::Body(first, response) => (first, response),
            Connected::AtEnd => return Err(transfer.fail(Kind::BadAnswer).with_text("no range was asked for")),
        };
        let content_type = header(response.headers(), CONTENT_TYPE)
            .map(|t| t.split(';').next().unwrap_or_default().trim().to_lowercase());
        let size_bytes = transfer.file.as_ref().and_then(|file| file.total);
        let url = transfer.link.reveal().to_owned();
        let (sender, chunks) = mpsc::channel(WINDOW_CHUNKS);
        let task = tokio::spawn(transfer.run(first, response, sender)).abort_handle();
        Ok(Download {
            chunks,
            current: Bytes::new(),
            permit: None,
            state: State::Open,
            size_bytes,
            content_type,
            url,
            task,
        })
    }

    /// The media type of the answer in lower case, without parameters.
    pub fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// A handle that ends it.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.task.clone())
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("size_bytes", &self.size_bytes).finish_non_exhaustive()
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Read for Download {
    /// Blocks until bytes are there: for a plain thread, never for one of tokio's.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        while self.current.is_empty() {
            self.permit = None;
            let stopped = || Error::new(Kind::Stopped, "GET", &self.url);
            match self.state {
                State::Open => {}
                State::Ended => return Ok(0),
                State::Failed => return Err(io::Error::other(stopped())),
            }
            match self.chunks.blocking_recv() {
                Some(Piece::Chunk(chunk, permit)) => (self.current, self.permit) = (chunk, Some(permit)),
                Some(Piece::End) => self.state = State::Ended,
                Some(Piece::Failed(error)) => {
                    self.state = State::Failed;
                    return Err(io::Error::other(error));
                }
                None => {
                    let error = stopped();
                    self.state = State::Failed;
                    return Err(io::Error::other(error));
                }
            }
        }
        let n = buf.len().min(self.current.len());
        self.current.copy_to_slice(&mut buf[..n]);
        Ok(n)
    }
}

impl ByteSource for Download {
    fn would_wait(&mut self) -> bool {
        self.state == State::Open && self.current.is_empty() && self.chunks.is_empty()
    }

    fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }
}

/// What is known of the file from the first answer: a later answer must agree.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileFacts {
    /// Bytes in all.
    total: Option<u64>,
    etag: Option<String>,
    last_modified: Option<String>,
}

impl FileFacts {
    fn of(headers: &HeaderMap, total: Option<u64>) -> Self {
        FileFacts { total, etag: header(headers, ETAG), last_modified: header(headers, LAST_MODIFIED) }
    }

    /// The value of `If-Range`: a strong tag, or else the date.
    fn validator(&self) -> Option<&str> {
        self.etag.as_deref().filter(|tag| !tag.starts_with("W/")).or(self.last_modified.as_deref())
    }

    /// True if `other` is the same file as far as can be seen, and something can be seen: equal tags, or without
    /// tags equal dates, or with neither equal lengths (a file that is signed by its name has only these).
    fn same_file(&self, other: &FileFacts) -> bool {
        let lengths_differ = matches!((self.total, other.total), (Some(a), Some(b)) if a != b);
        if lengths_differ {
            return false;
        }
        if self.etag.is_some() || other.etag.is_some() {
            return self.etag == other.etag;
        }
        if self.last_modified.is_some() || other.last_modified.is_some() {
            return self.last_modified == other.last_modified;
        }
        self.total.is_some() && self.total == other.total
    }
}

/// What was spent since the last progress.
struct Spent {
    tries: u32,
    fresh_links: u32,
    since: Instant,
    position: u64,
}

impl Spent {
    fn new(position: u64) -> Self {
        Spent { tries: 0, fresh_links: 0, since: Instant::now(), position }
    }
}

struct Transfer {
    http: Http,
    link: SecretUrl,
    fresh: Option<Arc<dyn FreshLink>>,
    budget: Budget,
    /// `None` until the first answer.
    file: Option<FileFacts>,
    /// Bytes handed on; the next byte to ask for.
    position: u64,
    spent: Spent,
}

enum Connected {
    /// A body that begins at the position: bytes that were read already, and what follows them.
    Body(Bytes, Response),
    /// The position is the end.
    AtEnd,
}

/// Why one try to connect failed.
struct Failed {
    error: Error,
    again: Again,
    named: Option<Duration>,
    /// The link itself was refused: a fresh one may do.
    link_refused: bool,
}

impl Transfer {
    async fn run(mut self, first: Bytes, response: Response, sender: mpsc::Sender<Piece>) {
        let window = Arc::new(Semaphore::new(WINDOW_BYTES));
        let last = match self.pump(first, response, &sender, &window).await {
            Ok(()) => Piece::End,
            Err(Some(error)) => Piece::Failed(error),
            Err(None) => return,
        };
        // A reader that is gone needs no last word.
        let _ = sender.send(last).await;
    }

    /// Hands on everything, over as many connections as it takes. `Err(None)` when the reader is gone.
    async fn pump(
        &mut self,
        mut first: Bytes,
        mut response: Response,
        sender: &mpsc::Sender<Piece>,
        window: &Arc<Semaphore>,
    ) -> Result<(), Option<Error>> {
        loop {
            self.hand_on(first, sender, window).await?;
            let trouble = loop {
                let idle = self.http.policy().idle_timeout;
                match timeout(idle, response.chunk()).await {
                    Ok(Ok(Some(chunk))) => self.hand_on(chunk, sender, window).await?,
                    Ok(Ok(None)) if self.total().is_none_or(|total| total == self.position) => return Ok(()),
                    Ok(Ok(None)) => break self.fail(Kind::CutShort).with_text(self.missing()),
                    Ok(Err(cause)) => {
                        break self.fail(Kind::CutShort).with_text(self.missing()).with_source(innermost(cause));
                    }
                    Err(_) => {
                        let text = format!("{}; nothing came for {} s", self.missing(), idle.as_secs());
                        break self.fail(Kind::CutShort).with_text(text);
                    }
                }
            };
            if self.position - self.spent.position >= PROGRESS_BYTES {
                self.spent = Spent::new(self.position);
            }
            match self.connect(Some(trouble)).await.map_err(Some)? {
                Connected::Body(bytes, next) => (first, response) = (bytes, next),
                Connected::AtEnd => return Ok(()),
            }
        }
    }

    async fn hand_on(
        &mut self,
        mut chunk: Bytes,
        sender: &mpsc::Sender<Piece>,
        window: &Arc<Semaphore>,
    ) -> Result<(), Option<Error>> {
        if self.total().is_some_and(|total| self.position + chunk.len() as u64 > total) {
            return Err(Some(self.fail(Kind::BadAnswer).with_text("more bytes came than were announced")));
        }
        while !chunk.is_empty() {
            let part = chunk.split_to(chunk.len().min(WINDOW_BYTES));
            let room = part.len() as u32;
            let Ok(permit) = Arc::clone(window).acquire_many_owned(room).await else { return Err(None) };
            self.position += u64::from(room);
            if sender.send(Piece::Chunk(part, permit)).await.is_err() {
                return Err(None);
            }
        }
        Ok(())
    }

    /// Opens a body at the position, with waits and fresh links as far as the budget goes. `trouble` is what ended
    /// the last connection; it is what is reported if no try brings an answer.
    async fn connect(&mut self, mut trouble: Option<Error>) -> Result<Connected, Error> {
        // A connection that broke counts as a try, so that a server that always breaks is given up.
        self.spent.tries += u32::from(trouble.is_some());
        loop {
            if let Some(trouble) = trouble.take_if(|_| self.is_spent()) {
                return Err(trouble.after(self.spent.tries, self.spent.since.elapsed()));
            }
            let failed = match self.connect_once().await {
                Ok(connected) => return Ok(connected),
                Err(failed) => failed,
            };
            self.spent.tries += 1;
            let error = failed.error.after(self.spent.tries, self.spent.since.elapsed());
            if failed.link_refused {
                self.renew_link(error).await?;
                continue;
            }
            if failed.again == Again::Never || self.is_spent() {
                return Err(error);
            }
            let policy = self.http.policy();
            let delay = policy.delay(failed.again, self.spent.tries, failed.named, retry::chance());
            self.http.wait(&error, delay).await;
        }
    }

    /// Until the first answer somebody may be waiting who mistyped an address; later on there is something to lose.
    fn is_spent(&self) -> bool {
        let budget = if self.file.is_none() { Budget::ASK } else { self.budget };
        self.spent.tries >= budget.tries || self.spent.since.elapsed() >= budget.time
    }

    /// Puts a fresh link in place of one that was refused with `refused`.
    async fn renew_link(&mut self, refused: Error) -> Result<(), Error> {
        let Some(fresh) = &self.fresh else { return Err(refused) };
        if self.spent.fresh_links >= MAX_FRESH_LINKS {
            let text = format!("{} fresh links were refused too; {}", self.spent.fresh_links, refused.text());
            return Err(refused.with_text(text));
        }
        self.spent.fresh_links += 1;
        self.link = fresh.fresh().await?;
        Ok(())
    }

    async fn connect_once(&mut self) -> Result<Connected, Failed> {
        let fatal = |error| Failed { error, again: Again::Never, named: None, link_refused: false };
        let mut request = self.http.file_request(&self.link).map_err(fatal)?.header(ACCEPT_ENCODING, "identity");
        if self.position > 0 {
            request = request.header(RANGE, format!("bytes={}-", self.position));
            if let Some(validator) = self.file.as_ref().and_then(FileFacts::validator) {
                request = request.header(IF_RANGE, validator);
            }
        }
        let soon = |error| Failed { error, again: Again::Soon, named: None, link_refused: false };
        let idle = self.http.policy().idle_timeout;
        let response = match timeout(idle, request.send()).await {
            Ok(Ok(response)) => response,
            Ok(Err(cause)) => {
                let again = Trouble::of(&cause).again();
                let error = Error::from_reqwest(cause, "GET", self.link.reveal());
                return Err(Failed { error, again, named: None, link_refused: false });
            }
            Err(_) => {
                let text = format!("nothing came for {} s", idle.as_secs());
                return Err(soon(self.fail(Kind::Unreachable).with_text(text)));
            }
        };
        match response.status().as_u16() {
            200 => self.whole_file(response).await,
            206 if self.position > 0 => self.rest_of_file(response).map_err(fatal),
            416 if self.position > 0 => self.past_the_end(&response).map_err(fatal),
            status => Err(self.refused(response, status).await),
        }
    }

    /// An answer of 200: the file from its start.
    async fn whole_file(&mut self, mut response: Response) -> Result<Connected, Failed> {
        let fatal = |error| Failed { error, again: Again::Never, named: None, link_refused: false };
        let facts = FileFacts::of(response.headers(), response.content_length());
        let encoding = header(response.headers(), CONTENT_ENCODING).unwrap_or_default().to_ascii_lowercase();
        if !matches!(encoding.as_str(), "" | "identity" | "gzip" | "x-gzip" | "zstd") {
            let text = format!("its encoding `{encoding}` was not asked for and is not known");
            return Err(fatal(self.fail(Kind::BadAnswer).with_text(text)));
        }
        let Some(file) = &self.file else {
            self.file = Some(facts);
            return Ok(Connected::Body(Bytes::new(), response));
        };
        // Without a validator on either side equal lengths are no proof that the bytes before are the same.
        if self.position > 0 && (!file.same_file(&facts) || (facts.etag.is_none() && facts.last_modified.is_none())) {
            return Err(fatal(self.changed("the server sent the whole file again, and not surely the same")));
        }
        if self.position == 0 {
            self.file = Some(facts);
            return Ok(Connected::Body(Bytes::new(), response));
        }
        // The same file from its start: what was handed on is skipped.
        let mut skip = self.position;
        let idle = self.http.policy().idle_timeout;
        while skip > 0 {
            match timeout(idle, response.chunk()).await {
                Ok(Ok(Some(chunk))) if chunk.len() as u64 <= skip => skip -= chunk.len() as u64,
                Ok(Ok(Some(mut chunk))) => {
                    chunk.advance(skip as usize);
                    return Ok(Connected::Body(chunk, response));
                }
                _ => {
                    let error = self.fail(Kind::CutShort).with_text(self.missing());
                    return Err(Failed { error, again: Again::Soon, named: None, link_refused: false });
                }
            }
        }
        Ok(Connected::Body(Bytes::new(), response))
    }

    /// An answer of 206: it must begin at the position and belong to the same file.
    fn rest_of_file(&self, response: Response) -> Result<Connected, Error> {
        let text = header(response.headers(), CONTENT_RANGE).unwrap_or_default();
        let Some(range) = ContentRange::parse(&text) else {
            return Err(self.fail(Kind::BadAnswer).with_text("a part without a range that can be read"));
        };
        if range.start != Some(self.position) {
            let text = format!("byte {} was asked for, another part came", self.position);
            return Err(self.fail(Kind::BadAnswer).with_text(text));
        }
        let facts = FileFacts::of(response.headers(), range.total);
        match &self.file {
            Some(file) if file.same_file(&facts) => Ok(Connected::Body(Bytes::new(), response)),
            _ => Err(self.changed("its entity tag, date or length is another")),
        }
    }

    /// An answer of 416: the end, if the position is the length.
    fn past_the_end(&self, response: &Response) -> Result<Connected, Error> {
        let total = header(response.headers(), CONTENT_RANGE).and_then(|text| ContentRange::parse(&text)?.total);
        // The tag is checked where the answer carries one; many servers leave it out of a 416.
        let same = match (&self.file, header(response.headers(), ETAG)) {
            (Some(file), Some(tag)) => file.etag.as_ref() == Some(&tag),
            _ => true,
        };
        if same && total == Some(self.position) && self.total().is_none_or(|total| total == self.position) {
            Ok(Connected::AtEnd)
        } else {
            Err(self.changed("it is shorter now"))
        }
    }

    async fn refused(&self, mut response: Response, status: u16) -> Failed {
        let named = named_wait(&response);
        let mut body = Vec::new();
        while let Ok(Ok(Some(chunk))) = timeout(self.http.policy().idle_timeout, response.chunk()).await {
            body.extend_from_slice(&chunk[..chunk.len().min(4096 - body.len())]);
            if body.len() == 4096 {
                break;
            }
        }
        Failed {
            error: refusal(status, &body, "GET", self.link.reveal()),
            again: retry::after_status(status),
            named,
            link_refused: matches!(status, 400 | 401 | 403),
        }
    }

    fn total(&self) -> Option<u64> {
        self.file.as_ref().and_then(|file| file.total)
    }

    fn missing(&self) -> String {
        match self.total() {
            Some(total) => format!("{} of {total} bytes came", self.position),
            None => format!("{} bytes came and the end was not among them", self.position),
        }
    }

    fn changed(&self, text: &str) -> Error {
        self.fail(Kind::Changed).with_text(text)
    }

    fn fail(&self, kind: Kind) -> Error {
        Error::new(kind, "GET", self.link.reveal())
    }
}

/// `Content-Range: bytes START-END/TOTAL`, each of which may be unknown.
#[derive(Debug, PartialEq, Eq)]
struct ContentRange {
    start: Option<u64>,
    total: Option<u64>,
}

impl ContentRange {
    fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
        let total = if total == "*" { None } else { Some(total.trim().parse().ok()?) };
        let start = if range == "*" { None } else { Some(range.split_once('-')?.0.trim().parse().ok()?) };
        Some(ContentRange { start, total })
    }
}

fn header(headers: &HeaderMap, name: HeaderName) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.trim().to_owned())
}
