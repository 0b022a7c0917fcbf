//! A store with the runtime of its requests. Makes the library's calls blocking, and ends each of them when the execution
//! is cancelled.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt as _};
use tokio::runtime::{Handle, Runtime};

use super::client::Traffic;
use super::error::{CallError, Operation, StoreKind};
use crate::sink::uploads::UploadControl;

/// Time that a commit has to end after a cancel: its outcome is better known than not.
const COMMIT_GRACE: Duration = Duration::from_millis(1500);

/// Time for asking about the outcome of a commit after a cancel.
const LAST_QUESTION: Duration = Duration::from_secs(1);

/// Time for asking about the outcome of a commit without a cancel. The store may be away.
const QUESTION: Duration = Duration::from_secs(30);

/// Difference in seconds that dates of one store may have: they have no fractions.
const DATE_GRAIN: Duration = Duration::from_secs(2);

/// Difference that this machine's clock may have to the store's: beyond it stores refuse signed requests.
const CLOCK_DIFFERENCE: Duration = Duration::from_secs(15 * 60);

/// A store that takes objects whole and in parts.
pub(super) trait Store: ObjectStore + MultipartStore {}

impl<T: ObjectStore + MultipartStore> Store for T {}

/// An open store. Its methods block and must not be called on a thread of an async runtime.
pub(super) struct Session {
    pub(super) store: Arc<dyn Store>,
    pub(super) kind: StoreKind,
    pub(super) traffic: Arc<Traffic>,
    pub(super) uploads: UploadControl,
    /// A runtime of its own, because the writer thread is not an async one. `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("kind", &self.kind).finish_non_exhaustive()
    }
}

/// An object that an upload should have made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    pub(super) bytes: u64,
    /// Parts of its upload; `None` if it was put at once.
    pub(super) parts: Option<usize>,
    /// The time at which the upload began.
    pub(super) since: Instant,
}

/// The state of an object that an upload should have made, as the store reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The object is there.
    Written,
    /// There is none, or one that was there before or has another size.
    NotWritten,
    /// The store did not say.
    Unknown,
}

impl Session {
    pub(super) fn new(
        store: Arc<dyn Store>,
        kind: StoreKind,
        traffic: Arc<Traffic>,
        uploads: UploadControl,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        Ok(Session { store, kind, traffic, uploads, runtime: Some(runtime) })
    }

    pub(super) fn handle(&self) -> &Handle {
        self.runtime.as_ref().expect("it is taken only by drop").handle()
    }

    /// Waits for `work`, until a cancel.
    pub(super) fn call<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, CallError> {
        self.call_until(operation, work, self.uploads.cancelled())
    }

    /// Waits for a request that does no harm if it is sent twice, but that the library does not send again after a broken
    /// connection.
    pub(super) fn call_twice<T, F: Future<Output = object_store::Result<T>>>(
        &self,
        operation: Operation,
        work: impl Fn() -> F,
    ) -> Result<T, CallError> {
        match self.call(operation, work()) {
            Err(error) if error.is_transport() => self.call(operation, work()),
            done => done,
        }
    }

    /// Waits for `work`, which makes an object visible, until some time after a cancel.
    pub(super) fn commit<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, CallError> {
        self.call_until(operation, work, async {
            self.uploads.cancelled().await;
            tokio::time::sleep(COMMIT_GRACE).await;
        })
    }

    /// Waits for `work`, at most for `time` and also after a cancel.
    pub(super) fn call_within<T>(
        &self,
        operation: Operation,
        time: Duration,
        work: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, CallError> {
        self.call_until(operation, work, async { tokio::time::sleep(time).await })
    }

    fn call_until<T>(
        &self,
        operation: Operation,
        work: impl Future<Output = object_store::Result<T>>,
        end: impl Future<Output = ()>,
    ) -> Result<T, CallError> {
        let done = self.handle().block_on(async {
            tokio::select! {
                biased;
                done = work => Some(done),
                () = end => None,
            }
        });
        match done {
            Some(done) => done.map_err(|error| self.error(operation, &error)),
            None => Err(CallError::cancelled()),
        }
    }

    /// Reads an error of the library.
    pub(super) fn error(&self, operation: Operation, error: &object_store::Error) -> CallError {
        CallError::new(self.kind, operation, &self.traffic, error)
    }

    /// Returns what the store says about an object; `None` if it does not exist.
    pub(super) fn find(&self, path: &Path) -> Result<Option<ObjectMeta>, CallError> {
        found(self.call(Operation::Find, self.store.head(path)))
    }

    /// Asks the store whether an upload made its object, after the response to its commit was lost.
    pub(super) fn outcome(&self, path: &Path, expected: Expected) -> Outcome {
        let time = if self.uploads.is_cancelled() { LAST_QUESTION } else { QUESTION };
        match found(self.call_within(Operation::Find, time, self.store.head(path))) {
            Ok(Some(found)) if self.is_expected(&found, expected) => Outcome::Written,
            Ok(_) => Outcome::NotWritten,
            Err(_) => Outcome::Unknown,
        }
    }

    /// Returns true if an object is the one that an upload should have made: by its size, its date by the store's own
    /// clock, and the number of parts, if its entity tag ends with one as S3's do.
    fn is_expected(&self, found: &ObjectMeta, expected: Expected) -> bool {
        let (now, tolerance) = match self.traffic.date() {
            Some(date) => (date, DATE_GRAIN),
            None => (SystemTime::now(), CLOCK_DIFFERENCE),
        };
        // S3 dates an object of several parts by the begin of its upload.
        let earliest = now.checked_sub(expected.since.elapsed() + tolerance).unwrap_or(SystemTime::UNIX_EPOCH);
        let parts = found.e_tag.as_deref().and_then(|tag| tag.trim_matches('"').rsplit_once('-')?.1.parse().ok());
        found.size == expected.bytes
            && SystemTime::from(found.last_modified) >= earliest
            && parts.is_none_or(|parts: usize| expected.parts.is_none_or(|expected| expected == parts))
    }
}

fn found(found: Result<ObjectMeta, CallError>) -> Result<Option<ObjectMeta>, CallError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.is_not_found => Ok(None),
        Err(error) => Err(error),
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A plain drop would wait for a name lookup that hangs.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
