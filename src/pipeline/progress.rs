//! Live counters of an execution, which its owner polls, and the flag that cancels it. Prints nothing.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::sink::UploadControl;

/// The interval at which a waiting thread checks for a cancel.
pub(super) const CANCEL_POLL: Duration = Duration::from_millis(50);

/// Shared between an execution and its owner: counters to read, a flag to set.
#[derive(Clone, Debug, Default)]
pub struct Control {
    cancelled: Arc<AtomicBool>,
    counters: Arc<Counters>,
    /// The output that another command holds locked, and since when this one waits for it.
    lock_wait: Arc<Mutex<Option<(PathBuf, Instant)>>>,
    uploads: UploadControl,
}

#[derive(Debug, Default)]
struct Counters {
    bytes_read: AtomicU64,
    rows_read: AtomicU64,
    rows_written: AtomicU64,
    rows_rejected: AtomicU64,
    bytes_written: AtomicU64,
}

macro_rules! counter {
    ($($(#[$doc:meta])* $get:ident, $add:ident, $field:ident;)*) => {$(
        $(#[$doc])*
        pub fn $get(&self) -> u64 {
            self.counters.$field.load(Ordering::Relaxed)
        }

        pub(crate) fn $add(&self, n: u64) {
            self.counters.$field.fetch_add(n, Ordering::Relaxed);
        }
    )*};
}

impl Control {
    /// Creates the handle of one execution, with all counters at 0.
    pub fn new() -> Self {
        Control::default()
    }

    /// Cancels the execution. It ends with [`super::Error::Cancelled`], without output.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        // After the flag: an upload that fails because of it finds the execution cancelled.
        self.uploads.cancel();
    }

    /// Returns true after [`Control::cancel`].
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Returns the handle of the execution's uploads to stores, which are cancelled with it.
    pub fn uploads(&self) -> &UploadControl {
        &self.uploads
    }

    /// Returns a handle with the same cancel flag and separate counters, for a pass that must not count.
    pub(crate) fn without_counters(&self) -> Control {
        Control { counters: Arc::default(), ..self.clone() }
    }

    /// Returns the output that another command holds locked, if this execution waits for it now, and for how long it has.
    pub fn lock_wait(&self) -> Option<(PathBuf, Duration)> {
        let wait = self.lock_wait.lock().unwrap_or_else(PoisonError::into_inner);
        wait.as_ref().map(|(path, since)| (path.clone(), since.elapsed()))
    }

    /// Runs `work`, which may wait for locks of outputs. It calls its argument while it waits; a cancel ends the wait.
    pub(super) fn waiting_for_locks<T>(&self, work: impl FnOnce(crate::sink::OnWait<'_>) -> T) -> T {
        let set = |wait| *self.lock_wait.lock().unwrap_or_else(PoisonError::into_inner) = wait;
        let on_wait = |path: &Path| {
            if self.lock_wait().is_none_or(|(waited_for, _)| waited_for != path) {
                set(Some((path.to_owned(), Instant::now())));
            }
            if self.is_cancelled() { Err(io::Error::other("cancelled")) } else { Ok(()) }
        };
        let done = work(&on_wait);
        set(None);
        done
    }

    /// Sets all counters to 0, before the pass is repeated.
    pub(crate) fn reset(&self) {
        let c = &self.counters;
        for counter in [&c.bytes_read, &c.rows_read, &c.rows_written, &c.rows_rejected, &c.bytes_written] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    counter! {
        /// Returns the bytes read from the sources so far, before decompression.
        bytes_read, add_bytes_read, bytes_read;
        /// Returns the records that have reached the writer.
        rows_read, add_rows_read, rows_read;
        /// Returns the rows written to each output so far.
        rows_written, add_rows_written, rows_written;
        /// Returns the records rejected so far.
        rows_rejected, add_rows_rejected, rows_rejected;
        /// Returns the bytes written to all outputs so far.
        bytes_written, add_bytes_written, bytes_written;
    }
}
