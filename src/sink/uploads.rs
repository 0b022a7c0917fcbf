//! The handle by which the owner of an execution ends its uploads to stores, and learns what they left there.

use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Time after a cancel in which uploads must be aborted, all together. An interrupted command ends within 5 s, and says
/// before that what remains.
const TIME_AFTER_CANCEL: Duration = Duration::from_millis(3500);

/// Least time for one abort after a cancel, if others have used up their common time.
const LEAST_ABORT_TIME: Duration = Duration::from_millis(200);

/// Time for an abort without a cancel, such as after a bad record.
const ABORT_TIME: Duration = Duration::from_secs(10);

/// Cancels the uploads of one execution, and lists what remains of them. Cheap to clone; all clones are one handle.
#[derive(Clone, Default)]
pub struct UploadControl(Arc<State>);

#[derive(Default)]
struct State {
    cancelled_at: OnceLock<Instant>,
    cancelled: Notify,
    leftovers: Mutex<Vec<String>>,
    /// The lock of a table that is waited for, and since when.
    wait: Mutex<Option<(String, Instant)>>,
}

/// A wait for the lock of a table, which ends when this is dropped.
#[must_use]
pub(crate) struct LockWait<'a>(&'a UploadControl);

impl Drop for LockWait<'_> {
    fn drop(&mut self) {
        *self.0.0.wait.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl fmt::Debug for UploadControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadControl").field("is_cancelled", &self.is_cancelled()).finish_non_exhaustive()
    }
}

impl UploadControl {
    /// Cancels all uploads, present and future. Every call of theirs that waits for a store fails at once; only a commit
    /// that was sent already has a moment to end.
    pub fn cancel(&self) {
        let _ = self.0.cancelled_at.set(Instant::now());
        self.0.cancelled.notify_waiters();
    }

    /// Returns true after [`UploadControl::cancel`].
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled_at.get().is_some()
    }

    /// Begins what may be a wait for the lock of `table`.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "sqlite")),
        expect(dead_code, reason = "this build has no locks")
    )]
    pub(crate) fn may_wait_for(&self, table: &str) -> LockWait<'_> {
        let wait = Some((table.to_owned(), Instant::now()));
        *self.0.wait.lock().unwrap_or_else(PoisonError::into_inner) = wait;
        LockWait(self)
    }

    /// Returns the table whose lock is waited for, and the time of the wait so far; `None` without a wait.
    pub fn lock_wait(&self) -> Option<(String, Duration)> {
        let wait = self.0.wait.lock().unwrap_or_else(PoisonError::into_inner);
        wait.as_ref().map(|(table, since)| (table.clone(), since.elapsed()))
    }

    /// Returns a sentence for each upload that could not be aborted, or whose outcome is unknown.
    pub fn leftovers(&self) -> Vec<String> {
        self.0.leftovers.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a cancel; returns at once after one.
    #[cfg_attr(
        not(any(feature = "object-store", feature = "postgres", feature = "clickhouse", feature = "iceberg", test)),
        expect(dead_code, reason = "this build has no uploads")
    )]
    pub(crate) async fn cancelled(&self) {
        let mut notified = pin!(self.0.cancelled.notified());
        // Registered before the flag is read, so that a cancel between the two is not missed.
        notified.as_mut().enable();
        if !self.is_cancelled() {
            notified.await;
        }
    }

    /// Returns the time that is left for aborting an upload.
    #[cfg_attr(all(not(feature = "object-store"), not(test)), expect(dead_code, reason = "this build has no uploads"))]
    pub(super) fn abort_time(&self) -> Duration {
        match self.0.cancelled_at.get() {
            Some(at) => TIME_AFTER_CANCEL.saturating_sub(at.elapsed()).max(LEAST_ABORT_TIME),
            None => ABORT_TIME,
        }
    }

    /// Adds a sentence about an upload that remains in its store.
    #[cfg_attr(not(feature = "object-store"), expect(dead_code, reason = "this build has no uploads"))]
    pub(super) fn add_leftover(&self, sentence: String) {
        self.0.leftovers.lock().unwrap_or_else(PoisonError::into_inner).push(sentence);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_is_seen_before_and_after_it() {
        let control = UploadControl::default();
        assert_eq!(control.abort_time(), ABORT_TIME);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let waiting = control.clone();
        runtime.block_on(async {
            let wait = tokio::spawn(async move { waiting.cancelled().await });
            tokio::task::yield_now().await;
            control.cancel();
            wait.await.unwrap();
            control.cancelled().await;
        });
        assert!(control.is_cancelled() && control.abort_time() <= TIME_AFTER_CANCEL);
    }
}
