//! Background syncs of a file while it is being written.

use std::fs::File;
use std::io;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

/// Bytes written between two syncs. Chosen by eye: rare enough to cost nothing, frequent enough that little is left for
/// the sync at the end.
const SYNC_INTERVAL_BYTES: u64 = 32 << 20;

/// A thread that syncs a file every 32 MiB, so that the sync at its end has little left to do: for 800 MB that sync
/// alone took a fifth of a conversion's time.
///
/// The system reports a failed write to only one sync, which may be one of these. So [`Flusher::finish`] must succeed
/// before the file counts as durable.
#[derive(Debug, Default)]
pub(super) struct Flusher {
    /// Bytes written since the last request to sync.
    unsynced_bytes: u64,
    /// The thread and its requests; started with the first of them.
    thread: Option<(SyncSender<()>, JoinHandle<io::Result<()>>)>,
}

impl Flusher {
    /// Records that `bytes` bytes were written to `file`, the same file at each call, and requests a sync if it is due.
    /// Never blocks.
    pub(super) fn note_written(&mut self, bytes: u64, file: &File) {
        self.unsynced_bytes += bytes;
        if self.unsynced_bytes < SYNC_INTERVAL_BYTES {
            return;
        }
        self.unsynced_bytes = 0;
        if self.thread.is_none() {
            self.thread = start(file).ok();
        }
        let Some((sender, _)) = &self.thread else { return };
        match sender.try_send(()) {
            // Full: a request is queued already, and its sync covers these bytes too.
            Ok(()) | Err(TrySendError::Full(())) => {}
            // Disconnected: a sync failed. `finish` returns its error.
            Err(TrySendError::Disconnected(())) => {}
        }
    }

    /// Waits for the syncs that were requested, and returns the error of the first that failed.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let Some((sender, thread)) = self.thread.take() else { return Ok(()) };
        drop(sender);
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that syncs the file panicked")))
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        // The file was abandoned, so the outcome does not matter.
        let _ = self.finish();
    }
}

/// Starts the thread. If that fails, the file is synced only at its end, as small ones are.
fn start(file: &File) -> io::Result<(SyncSender<()>, JoinHandle<io::Result<()>>)> {
    let file = file.try_clone()?;
    // One request may be queued while a sync runs; a second would have nothing left to sync.
    let (sender, receiver) = sync_channel(1);
    let sync_each = move || receiver.iter().try_for_each(|()| file.sync_data());
    let thread = thread::Builder::new().name("flush".into()).spawn(sync_each)?;
    Ok((sender, thread))
}
