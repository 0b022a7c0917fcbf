//! Bytes on their way to the disk while more are made.

use std::fs::File;
use std::io;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

/// So much is gathered before the disk is asked. By eye: rarely enough to cost nothing, often
/// enough that at the end little is left.
const STEP_BYTES: u64 = 32 << 20;

/// Syncs a file now and then on a thread of its own, so that the sync at its end finds little left: of
/// 800 MB, that one alone takes a fifth of a conversion's time.
///
/// The system tells a failure to write only once, and it may tell it here; so [`Flusher::finish`]
/// must be asked before the file counts as durable.
#[derive(Debug, Default)]
pub(super) struct Flusher {
    since: u64,
    thread: Option<(SyncSender<()>, JoinHandle<io::Result<()>>)>,
}

impl Flusher {
    /// Notes that `bytes` more were written to `file`, always the same one. Never waits.
    pub(super) fn wrote(&mut self, bytes: u64, file: &File) {
        self.since += bytes;
        if self.since < STEP_BYTES {
            return;
        }
        self.since = 0;
        if self.thread.is_none() {
            self.thread = start(file).ok();
        }
        let Some((sender, _)) = &self.thread else { return };
        match sender.try_send(()) {
            // One that is still at it will see these bytes too, or the next will.
            Ok(()) | Err(TrySendError::Full(())) => {}
            // It has failed; `finish` says so.
            Err(TrySendError::Disconnected(())) => {}
        }
    }

    /// Waits for what was begun, and returns its error.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let Some((sender, thread)) = self.thread.take() else { return Ok(()) };
        drop(sender);
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that syncs the file panicked")))
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        // A file that was given up: nobody asks how it went.
        let _ = self.finish();
    }
}

/// Without a thread the file is synced at its end, as small ones are.
fn start(file: &File) -> io::Result<(SyncSender<()>, JoinHandle<io::Result<()>>)> {
    let file = file.try_clone()?;
    let (sender, receiver) = sync_channel(1);
    let sync_each = move || receiver.iter().try_for_each(|()| file.sync_data());
    let thread = thread::Builder::new().name("flush".into()).spawn(sync_each)?;
    Ok((sender, thread))
}
