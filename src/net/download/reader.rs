//! The reader thread's half of a download: a task's pieces become the bytes of one file in order.
//!
//! It starts the task, decodes bodies that are encoded on the way, skips what it has handed on where the server sends
//! the file from its start again (after comparing a digest of it), and tells a whole file from a broken one. It opens
//! no connection.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::AbortHandle;

use super::message::{BodyMessage, BodyStart, DownloadHead, DownloadRequest};
use super::prefix::Prefix;
use super::transfer::Transfer;
use super::window::{Window, WindowSlot};
use crate::format::Compression;
use crate::format::compress::decompressing;
use crate::net::http::Http;
use crate::net::{Error, Kind};
use crate::source::{ByteSource, Expansion};

/// Pieces between socket and reader; the window in bytes is what binds, save for dribbling servers.
const WINDOW_PIECES: usize = 1024;

/// The window of a download that is alone.
const LONE_WINDOW_BYTES: usize = 4 << 20;

/// The downloads of one command, which share one window. They are read in the order in which they were started.
#[derive(Clone, Debug)]
pub struct Downloads(Window);

impl Downloads {
    /// At most `jobs` unfinished at a time, with `window_bytes` between their sockets and the reader in all; a few
    /// hundred KiB per job is the least.
    pub fn new(jobs: usize, window_bytes: usize) -> Self {
        Downloads(Window::new(jobs, window_bytes))
    }

    /// Starts a download, whose transfer begins when fewer than so many that were started before it are unfinished.
    /// Needs a tokio runtime.
    pub fn start(&self, http: &Http, open: DownloadRequest) -> Download {
        let place = self.0.enter();
        let url = open.link.url.to_string();
        let (sender, pieces) = mpsc::channel(WINDOW_PIECES);
        let (opened, head) = oneshot::channel();
        let transfer = Transfer::new(http, open, self.0.share(), sender);
        let (window, index) = (self.0.clone(), place.index);
        let task = tokio::spawn(async move {
            window.wait_for_slot(index).await;
            transfer.run(opened).await;
        });
        Download {
            head: HeadState::Awaited(head),
            pieces: Arc::new(Mutex::new(MessageReceiver {
                receiver: pieces,
                current: Bytes::new(),
                permit: None,
                next: None,
                ended: None,
            })),
            decoder: None,
            handed_on: Prefix::new(),
            again: None,
            state: State::Open,
            url,
            task: task.abort_handle(),
            _place: place,
        }
    }
}

/// A download that was started: bytes in order for the reader thread. Dropping it ends the transfer.
pub struct Download {
    head: HeadState,
    /// Shared with the decoder; one thread uses both.
    pieces: Arc<Mutex<MessageReceiver>>,
    /// For a body that is encoded on the way.
    decoder: Option<Box<dyn Read + Send>>,
    handed_on: Prefix,
    /// While a body is at bytes that were handed on already: those of them that it has brought.
    again: Option<Prefix>,
    state: State,
    /// Redacted.
    url: String,
    task: AbortHandle,
    _place: WindowSlot,
}

enum HeadState {
    Awaited(oneshot::Receiver<Result<DownloadHead, Error>>),
    Known(DownloadHead),
    Failed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Ended,
    Failed,
}

/// The reader's end of the window.
struct MessageReceiver {
    receiver: mpsc::Receiver<BodyMessage>,
    current: Bytes,
    /// Room in the window that `current` takes.
    permit: Option<OwnedSemaphorePermit>,
    /// A body that begins where the last read ended.
    next: Option<BodyStart>,
    /// The end came, and whether it is proven.
    ended: Option<bool>,
}

/// The error with which reading one body ends when another begins.
#[derive(Debug, thiserror::Error)]
#[error("another body begins")]
struct BodyReplaced;

/// Reads one body after the other, with [`AnotherBody`] between them.
impl Read for MessageReceiver {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            self.permit = None;
            if self.ended.is_some() {
                return Ok(0);
            }
            match self.receiver.blocking_recv() {
                Some(BodyMessage::Chunk(chunk, permit)) => (self.current, self.permit) = (chunk, Some(permit)),
                Some(BodyMessage::Body(body)) => {
                    self.next = Some(body);
                    return Err(io::Error::other(BodyReplaced));
                }
                Some(BodyMessage::End { proven }) => self.ended = Some(proven),
                Some(BodyMessage::Failed(error)) => return Err(io::Error::other(error)),
                None => return Err(io::Error::other(Error::new(Kind::Stopped, "GET", ""))),
            }
        }
        let n = buf.len().min(self.current.len());
        self.current.copy_to_slice(&mut buf[..n]);
        Ok(n)
    }
}

/// The same, for the decoder.
struct SharedMessages(Arc<Mutex<MessageReceiver>>);

impl Read for SharedMessages {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(buf)
    }
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
    /// Starts one download that is alone, and waits for its first answer: a bad link fails here.
    pub async fn open(http: &Http, open: DownloadRequest) -> Result<Download, Error> {
        let mut download = Downloads::new(1, LONE_WINDOW_BYTES).start(http, open);
        download.opened().await?;
        Ok(download)
    }

    /// Waits for the first answer, so that size and type are known and a bad link fails here. Dropping it loses
    /// nothing.
    pub async fn opened(&mut self) -> Result<(), Error> {
        if let HeadState::Awaited(head) = &mut self.head {
            let head = head.await;
            self.set_head(head)?;
        }
        Ok(())
    }

    fn set_head(&mut self, head: Result<Result<DownloadHead, Error>, oneshot::error::RecvError>) -> Result<(), Error> {
        match head.unwrap_or_else(|_| Err(self.stopped())) {
            Ok(head) => {
                self.head = HeadState::Known(head);
                Ok(())
            }
            Err(error) => {
                self.head = HeadState::Failed;
                self.state = State::Failed;
                Err(error)
            }
        }
    }

    /// As [`Download::opened`], for a plain thread.
    fn await_head(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.head, HeadState::Failed) {
            HeadState::Awaited(head) => {
                let head = head.blocking_recv();
                self.set_head(head).map_err(io::Error::other)
            }
            other => {
                self.head = other;
                Ok(())
            }
        }
    }

    /// The media type of the first answer in lower case, without parameters, once that is there.
    pub fn content_type(&self) -> Option<&str> {
        match &self.head {
            HeadState::Known(head) => head.content_type.as_deref(),
            _ => None,
        }
    }

    /// A handle that ends it.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.task.clone())
    }

    fn stopped(&self) -> Error {
        Error::new(Kind::Stopped, "GET", &self.url)
    }

    fn fail(&self, kind: Kind, text: &str) -> io::Error {
        io::Error::other(Error::new(kind, "GET", &self.url).with_text(text))
    }

    /// What the bodies bring, decoded.
    fn fill(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.decoder {
            None => self.pieces.lock().unwrap_or_else(PoisonError::into_inner).read(buf),
            Some(decoder) => decoder.read(buf),
        }
    }

    /// A body begins, in the middle of the last one or at its start.
    fn begin(&mut self, body: BodyStart) -> io::Result<()> {
        self.decoder = match body.encoding {
            Compression::None => None,
            encoding => {
                let expansion = Expansion::new();
                let raw = expansion.counting(SharedMessages(Arc::clone(&self.pieces)));
                Some(Box::new(expansion.limiting(decompressing(encoding, raw))))
            }
        };
        let at = self.handed_on.len();
        if body.from == 0 {
            self.again = (at > 0).then(Prefix::new);
            if let (0, HeadState::Known(head)) = (at, &mut self.head) {
                head.size_bytes = body.total;
            }
        } else if body.from == at {
            self.again = None;
        } else {
            // The task counts what it hands on, so this is a fault of ours; better an error than a gap.
            return Err(self.fail(Kind::BadAnswer, "a part does not begin where the last one ended"));
        }
        Ok(())
    }

    /// `n` bytes came in `buf`, of which those are left out that were handed on already. Returns how many are new,
    /// at the start of `buf`.
    fn take_new(&mut self, buf: &mut [u8], n: usize) -> io::Result<usize> {
        let Some(again) = &mut self.again else {
            self.handed_on.extend(&buf[..n]);
            return Ok(n);
        };
        let known = usize::try_from(self.handed_on.len() - again.len()).map_or(n, |left| left.min(n));
        again.extend(&buf[..known]);
        if again.len() < self.handed_on.len() {
            return Ok(0);
        }
        if !again.agrees_with(&self.handed_on) {
            return Err(
                self.fail(Kind::Changed, "it came from its start again, and what was read of it is different now")
            );
        }
        self.again = None;
        buf.copy_within(known..n, 0);
        self.handed_on.extend(&buf[..n - known]);
        Ok(n - known)
    }

    /// The end came. It is where it should be?
    fn end(&self) -> io::Result<()> {
        let at = self.handed_on.len();
        let size = self.size_bytes();
        if self.again.is_some() || size.is_some_and(|size| at > size) {
            return Err(self.fail(Kind::Changed, "it came from its start again, and has another length now"));
        }
        match size {
            Some(size) if at < size => Err(self.fail(Kind::CutShort, &format!("{at} of {size} bytes came"))),
            _ => Ok(()),
        }
    }

    /// An error as it leaves: what is not of the network is of the decoder.
    fn named(&self, error: io::Error) -> io::Error {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(known) if known.kind() == Kind::Stopped => io::Error::other(self.stopped()),
            Some(_) => error,
            None => io::Error::other(Error::new(Kind::Damaged, "GET", &self.url).with_source(error)),
        }
    }

    fn read_on(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.await_head()?;
        loop {
            match self.fill(buf) {
                Ok(0) => {
                    self.end()?;
                    return Ok(0);
                }
                Ok(n) => match self.take_new(buf, n)? {
                    0 => {}
                    new => return Ok(new),
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let next = self.pieces.lock().unwrap_or_else(PoisonError::into_inner).next.take();
                    match next {
                        Some(body) => self.begin(body)?,
                        None => return Err(self.named(error)),
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("url", &self.url).finish_non_exhaustive()
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
        match self.state {
            _ if buf.is_empty() => return Ok(0),
            State::Open => {}
            State::Ended => return Ok(0),
            State::Failed => return Err(io::Error::other(self.stopped())),
        }
        let read = self.read_on(buf);
        match &read {
            Ok(0) => self.state = State::Ended,
            Ok(_) => {}
            Err(_) => {
                self.state = State::Failed;
                self.task.abort();
            }
        }
        read
    }
}

impl ByteSource for Download {
    fn would_wait(&mut self) -> bool {
        if self.state != State::Open {
            return false;
        }
        let pieces = self.pieces.lock().unwrap_or_else(PoisonError::into_inner);
        pieces.current.is_empty() && pieces.receiver.is_empty()
    }

    fn size_bytes(&self) -> Option<u64> {
        match &self.head {
            HeadState::Known(head) => head.size_bytes,
            _ => None,
        }
    }

    fn is_end_proven(&mut self) -> bool {
        // A decoder has seen its own end.
        self.decoder.is_some() || self.pieces.lock().unwrap_or_else(PoisonError::into_inner).ended == Some(true)
    }

    fn media_type(&mut self) -> io::Result<Option<String>> {
        self.await_head()?;
        Ok(self.content_type().map(str::to_owned))
    }
}
