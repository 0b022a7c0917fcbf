//! The reader's half of a download: turns the messages of the transfer task into the bytes of one file, in order.
//!
//! It starts the task, decodes bodies that are encoded on the way, drops bytes that it has delivered before when a body
//! starts over (after comparing their digest), and checks the length at the end. It opens no connection.

use std::fmt;
use std::io::{self, Read};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Buf, Bytes};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::task::AbortHandle;

use super::connections::Connections;
use super::message::{BodyMessage, BodyStart, DownloadHead, DownloadRequest};
use super::prefix::Prefix;
use super::transfer::Transfer;
use super::window::{Window, WindowSlot};
use crate::format::SourceCodec;
use crate::format::codec::decompressing;
use crate::net::http::Http;
use crate::net::{Error, Kind};
use crate::source::{ByteSource, Expansion, TooMuchExpansion};

/// Messages between the task and the reader. The window in bytes is the tighter bound, except for servers that send a
/// few bytes at a time.
const MAX_QUEUED_MESSAGES: usize = 1024;

/// Window of a single download, [`Download::open`].
const SINGLE_WINDOW_BYTES: usize = 4 << 20;

/// The downloads of one command, which share one window. They must be read in the order in which they are started.
#[derive(Clone, Debug)]
pub struct Downloads {
    window: Window,
    connections: Connections,
    max_expansion: u64,
}

impl Downloads {
    /// Creates a group of at most `jobs` active downloads, each over one connection, which buffer at most `window_bytes` in
    /// all, but no less than 256 KiB for each of the `jobs`.
    pub fn new(jobs: usize, window_bytes: usize) -> Self {
        Downloads::over(Connections::Count(1), jobs, window_bytes)
    }

    /// Creates a group as [`Downloads::new`] does, whose file that is being read may be downloaded over several
    /// connections, as many as the window has place for.
    pub fn over(connections: Connections, jobs: usize, window_bytes: usize) -> Self {
        let connections = connections.within(window_bytes);
        let window = Window::new(jobs, connections.segments(), window_bytes);
        Downloads { window, connections, max_expansion: Expansion::MAX_RATIO }
    }

    /// Sets the ratio of decoded to received bytes beyond which an encoded body is refused; see [`Expansion::new`].
    pub fn with_max_expansion(self, max_expansion: u64) -> Self {
        Downloads { max_expansion, ..self }
    }

    /// Starts a download. Its transfer begins when fewer than `jobs` of the downloads before it are unfinished. Needs a
    /// tokio runtime.
    pub fn start(&self, http: &Http, request: DownloadRequest) -> Download {
        let slot = self.window.next_slot();
        let url = request.link.url.to_string();
        let (sender, messages) = mpsc::channel(MAX_QUEUED_MESSAGES);
        let (opened, head) = oneshot::channel();
        let (again, asked_again) = oneshot::channel();
        let transfer =
            Transfer::new(http, request, (self.window.share(slot.index), self.connections), sender, asked_again);
        let (window, index) = (self.window.clone(), slot.index);
        // The task starts now but connects only when its slot is active, so starting many downloads is cheap.
        let task = tokio::spawn(async move {
            window.wait_for_slot(index).await;
            transfer.run(opened).await;
        });
        Download {
            head: HeadState::Awaited(head),
            messages: Arc::new(Mutex::new(MessageReceiver {
                receiver: messages,
                current: Bytes::new(),
                permit: None,
                next_body: None,
                end_proven: None,
            })),
            decoder: None,
            max_expansion: self.max_expansion,
            delivered: Prefix::new(),
            repeated: None,
            again: Some(again),
            state: State::Open,
            url,
            task: task.abort_handle(),
            _slot: slot,
        }
    }
}

/// A started download, read as a stream of bytes by a plain thread. Dropping it cancels the transfer.
pub struct Download {
    head: HeadState,
    /// Shared with the decoder; the lock is uncontended, since one thread uses both.
    messages: Arc<Mutex<MessageReceiver>>,
    /// Decoder of the current body; `None` if it is not encoded.
    decoder: Option<Box<dyn Read + Send>>,
    /// Of [`Downloads`].
    max_expansion: u64,
    /// The bytes that were returned to the caller.
    delivered: Prefix,
    /// The part of `delivered` that the current body has repeated; `None` once it has passed its end.
    repeated: Option<Prefix>,
    /// Requests the whole file once more, after an encoding that was damaged on the way; `None` once it was used.
    again: Option<oneshot::Sender<()>>,
    state: State,
    /// The URL without its query, for errors.
    url: String,
    task: AbortHandle,
    _slot: WindowSlot,
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

/// The receiving end of the task's messages, as a reader of raw bytes.
struct MessageReceiver {
    receiver: mpsc::Receiver<BodyMessage>,
    current: Bytes,
    /// Share of the window that `current` occupies.
    permit: Option<OwnedSemaphorePermit>,
    /// Start of the next body, set when a read fails with [`BodyReplaced`].
    next_body: Option<BodyStart>,
    /// Set at the end of the file: true if that end is proven.
    end_proven: Option<bool>,
}

/// The error that ends the reading of one body because another follows. It passes through the decoder, which otherwise
/// would take the two bodies for one.
#[derive(Debug, thiserror::Error)]
#[error("another body begins")]
struct BodyReplaced;

/// Reads one body after the other, with the error [`BodyReplaced`] between them.
impl Read for MessageReceiver {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            // Release the chunk's share before blocking: the task may need it for the next one.
            self.permit = None;
            if self.end_proven.is_some() {
                return Ok(0);
            }
            match self.receiver.blocking_recv() {
                Some(BodyMessage::Chunk(chunk, permit)) => (self.current, self.permit) = (chunk, Some(permit)),
                Some(BodyMessage::Body(body)) => {
                    self.next_body = Some(body);
                    return Err(io::Error::other(BodyReplaced));
                }
                Some(BodyMessage::End { proven }) => self.end_proven = Some(proven),
                Some(BodyMessage::Failed(error)) => return Err(io::Error::other(error)),
                // The task ended without a message: it was aborted. Never an end of the file.
                None => return Err(io::Error::other(Error::new(Kind::Stopped, "GET", ""))),
            }
        }
        let n = buf.len().min(self.current.len());
        self.current.copy_to_slice(&mut buf[..n]);
        Ok(n)
    }
}

/// The handle of a [`MessageReceiver`] that a decoder owns.
struct SharedMessages(Arc<Mutex<MessageReceiver>>);

impl Read for SharedMessages {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).read(buf)
    }
}

/// A handle that cancels a download from another thread.
#[derive(Clone, Debug)]
pub struct Stopper(AbortHandle);

impl Stopper {
    /// Cancels the download. A read that waits then, and every later one, fails with [`Kind::Stopped`].
    pub fn stop(&self) {
        self.0.abort();
    }
}

impl Download {
    /// Starts a single download and waits for its first response, so that a bad link fails here.
    pub async fn open(http: &Http, request: DownloadRequest) -> Result<Download, Error> {
        let mut download = Downloads::new(1, SINGLE_WINDOW_BYTES).start(http, request);
        download.opened().await?;
        Ok(download)
    }

    /// Waits for the first response: size and media type are then known, and a bad link fails here. Cancel safe.
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

    /// Blocks until the first response; as [`Download::opened`], for a plain thread.
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

    /// Returns the media type of the first response in lower case and without parameters; `None` before that response.
    pub fn content_type(&self) -> Option<&str> {
        match &self.head {
            HeadState::Known(head) => head.content_type.as_deref(),
            _ => None,
        }
    }

    /// Returns a handle that cancels the download.
    pub fn stopper(&self) -> Stopper {
        Stopper(self.task.clone())
    }

    fn stopped(&self) -> Error {
        Error::new(Kind::Stopped, "GET", &self.url)
    }

    fn fail(&self, kind: Kind, text: &str) -> io::Error {
        io::Error::other(Error::new(kind, "GET", &self.url).with_text(text))
    }

    /// The error of a file that was sent from its start again and is not the same. After a damaged encoding, the bytes that
    /// were read before the damage was noticed may be the wrong ones.
    fn differs(&self, how: &str) -> io::Error {
        match &self.again {
            Some(_) => self.fail(Kind::Changed, &format!("it was sent from the start again, and {how}")),
            None => {
                self.fail(Kind::Damaged, &format!("it was requested again after an error of its encoding, and {how}"))
            }
        }
    }

    /// Reads decoded bytes of the current body, repeated ones included.
    fn read_body(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.decoder {
            None => self.messages.lock().unwrap_or_else(PoisonError::into_inner).read(buf),
            Some(decoder) => decoder.read(buf),
        }
    }

    /// Prepares for a body that resumes where the last one ended, or starts the file over.
    fn begin_body(&mut self, body: BodyStart) -> io::Result<()> {
        // A new decoder for each body: encoded bodies always start over, and the old one stopped in the middle.
        self.decoder = match body.encoding {
            SourceCodec::None => None,
            encoding => {
                let expansion = Expansion::new(self.max_expansion);
                let raw = expansion.counting(SharedMessages(Arc::clone(&self.messages)));
                Some(Box::new(expansion.limiting(decompressing(encoding, raw))))
            }
        };
        let at = self.delivered.len();
        if body.from == 0 {
            // Starts over: compare what is repeated, if anything was delivered.
            self.repeated = (at > 0).then(Prefix::new);
            // Nothing was delivered yet, so this body's size replaces that of the first response.
            if let (0, HeadState::Known(head)) = (at, &mut self.head) {
                head.size_bytes = body.total;
            }
        } else if body.from == at {
            self.repeated = None;
        } else {
            // The task counts the bytes that it sends, so this is a bug of ours; an error is better than a gap.
            let text = format!("the body starts at byte {}, {at} bytes were read", body.from);
            return Err(self.fail(Kind::BadResponse, &text));
        }
        Ok(())
    }

    /// Drops those of the first `n` bytes of `buf` that were delivered before, and returns the number of new ones,
    /// moved to the start of `buf`. Fails if the repeated bytes differ from the delivered ones.
    fn skip_delivered(&mut self, buf: &mut [u8], n: usize) -> io::Result<usize> {
        let Some(repeated) = &mut self.repeated else {
            self.delivered.extend(&buf[..n]);
            return Ok(n);
        };
        // The buffer may hold the last repeated bytes and the first new ones.
        let known = usize::try_from(self.delivered.len() - repeated.len()).map_or(n, |left| left.min(n));
        repeated.extend(&buf[..known]);
        if repeated.len() < self.delivered.len() {
            return Ok(0);
        }
        // Nothing behind the repeated bytes is delivered before their digest has been compared.
        if !repeated.agrees_with(&self.delivered) {
            return Err(self.differs("its first bytes are different"));
        }
        self.repeated = None;
        buf.copy_within(known..n, 0);
        self.delivered.extend(&buf[..n - known]);
        Ok(n - known)
    }

    /// Checks the length at the end of the file.
    fn end(&self) -> io::Result<()> {
        let at = self.delivered.len();
        let size = self.size_bytes();
        if self.repeated.is_some() || size.is_some_and(|size| at > size) {
            return Err(self.differs("its size is different"));
        }
        match size {
            Some(size) if at < size => Err(self.fail(Kind::CutShort, &format!("received {at} of {size} bytes"))),
            _ => Ok(()),
        }
    }

    /// Completes an error for the caller: adds the URL to a cancellation; an error that is not of `net` is the
    /// decoder's.
    fn with_url(&self, error: io::Error) -> io::Error {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(known) if known.kind() == Kind::Stopped => io::Error::other(self.stopped()),
            Some(_) => error,
            None => io::Error::other(Error::new(Kind::Damaged, "GET", &self.url).with_source(error)),
        }
    }

    /// Returns true for an error of the decoder: a proxy that lost its upstream ends an encoded body as if it were whole.
    /// One that expands too much is no damage.
    fn is_damaged_encoding(&self, error: &io::Error) -> bool {
        let is = error.get_ref().is_some_and(|inner| inner.is::<Error>() || inner.is::<TooMuchExpansion>());
        self.decoder.is_some() && !is
    }

    /// Drops the rest of a damaged body and asks the task for the whole file again; the bytes that were delivered are then
    /// compared. Returns false if that was done before, or if the transfer failed meanwhile.
    fn request_again(&mut self) -> io::Result<bool> {
        let Some(again) = self.again.take() else { return Ok(false) };
        self.decoder = None;
        let messages = Arc::clone(&self.messages);
        let mut messages = messages.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dropped = vec![0; 64 << 10];
        loop {
            match messages.read(&mut dropped) {
                Ok(0) => break,
                Ok(_) => {}
                Err(_) => {
                    // The body broke off, too, and the task has already requested another.
                    let Some(body) = messages.next_body.take() else { return Ok(false) };
                    return self.begin_body(body).map(|()| true);
                }
            }
        }
        messages.end_proven = None;
        Ok(again.send(()).is_ok())
    }

    fn read_next(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.await_head()?;
        loop {
            match self.read_body(buf) {
                Ok(0) => {
                    self.end()?;
                    return Ok(0);
                }
                // A buffer of repeated bytes only is not an end: read on.
                Ok(n) => match self.skip_delivered(buf, n)? {
                    0 => {}
                    new => return Ok(new),
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    // An error that another body follows is not one: continue with that body.
                    let next_body = self.messages.lock().unwrap_or_else(PoisonError::into_inner).next_body.take();
                    match next_body {
                        Some(body) => self.begin_body(body)?,
                        None if self.is_damaged_encoding(&error) && self.request_again()? => {}
                        None => return Err(self.with_url(error)),
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
    /// Blocks until bytes arrive; must not be called on a thread of an async runtime. An error is final.
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self.state {
            _ if buf.is_empty() => return Ok(0),
            State::Open => {}
            State::Ended => return Ok(0),
            State::Failed => return Err(io::Error::other(self.stopped())),
        }
        let read = self.read_next(buf);
        match &read {
            Ok(0) => self.state = State::Ended,
            Ok(_) => {}
            Err(_) => {
                // No read may follow an error: it could return bytes behind a gap.
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
        let messages = self.messages.lock().unwrap_or_else(PoisonError::into_inner);
        messages.current.is_empty() && messages.receiver.is_empty()
    }

    fn size_bytes(&self) -> Option<u64> {
        match &self.head {
            HeadState::Known(head) => head.size_bytes,
            _ => None,
        }
    }

    fn is_end_proven(&mut self) -> bool {
        // A decoder reports its end only after the trailer of the encoding.
        self.decoder.is_some() || self.messages.lock().unwrap_or_else(PoisonError::into_inner).end_proven == Some(true)
    }

    fn media_type(&mut self) -> io::Result<Option<String>> {
        self.await_head()?;
        Ok(self.content_type().map(str::to_owned))
    }
}
