//! The upload of one object: in one request if it is small, else in parts, of which at most four are in memory.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use object_store::multipart::PartId;
use object_store::path::Path;
use object_store::{MultipartId, PutMode, PutPayload};
use tokio::task::JoinSet;

use super::client::MAX_PARTS_IN_FLIGHT;
use super::error::{CallError, Operation, StoreKind, invalid, store_error};
use super::location::{RETRY_TIME, fail_if_exists};
use super::session::{Expected, Outcome, Session};
use crate::sink::forced_end::OpenUpload;
use crate::sink::object_location::ObjectLocation;
use crate::sink::store_error::StoreProblem;
use crate::sink::target::Target;

/// Size of a part in bytes. Stores accept 10,000 parts, so an object may have 80 GB. All parts but the last have this
/// size, as some stores require.
const PART_BYTES: usize = 8 << 20;

/// Tries of a part or of a small object, each with the library's own retries within [`RETRY_TIME`]. A try that took
/// longer than that before its connection broke had none.
const MAX_TRIES: usize = 3;

/// An upload in progress. Aborted when dropped without [`Target::commit`], so that no object appears; what cannot be
/// aborted is added to the leftovers of the location's [`crate::sink::UploadControl`].
pub struct ObjectUpload {
    session: Arc<Session>,
    path: Path,
    /// URL of the object, for messages.
    url: String,
    no_clobber: bool,
    /// Written bytes that do not fill a part yet, fewer than [`PART_BYTES`] between calls.
    buffer: Vec<u8>,
    /// The multipart upload, started with the first full part. A smaller object is put in one request.
    multipart: Option<UploadParts>,
}

/// A multipart upload, and its parts that are being sent.
struct UploadParts {
    id: MultipartId,
    since: Instant,
    bytes: u64,
    /// The parts in order, each `None` until it is sent.
    parts: Vec<Option<PartId>>,
    in_flight: JoinSet<object_store::Result<(usize, PartId)>>,
    /// True if its completion was sent, and the store did not say what became of it.
    is_unclear: bool,
    /// For the end of a process that cannot wait.
    _open: OpenUpload,
}

impl fmt::Debug for ObjectUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectUpload").field("path", &self.path).finish_non_exhaustive()
    }
}

impl ObjectUpload {
    /// Prepares an upload; fails at once if the object exists and must not be replaced. All methods block and must not
    /// be called on a thread of an async runtime.
    pub fn begin(location: &ObjectLocation) -> io::Result<Self> {
        let (session, path) = location.open()?;
        if path.is_root() {
            return Err(invalid("the URL has a bucket but no object name"));
        }
        if location.no_clobber {
            fail_if_exists(&session, &path, false)?;
        }
        Ok(ObjectUpload::new(Arc::new(session), path, location.url.clone(), location.no_clobber))
    }

    pub(super) fn new(session: Arc<Session>, path: Path, url: String, no_clobber: bool) -> Self {
        ObjectUpload { session, path, url, no_clobber, buffer: Vec::new(), multipart: None }
    }

    /// Starts sending the buffered bytes as a part, after waiting until fewer than [`MAX_PARTS_IN_FLIGHT`] are being
    /// sent.
    fn send_part(&mut self) -> io::Result<()> {
        // Wait first: the buffer is full, and another part in flight would exceed the bound on memory.
        self.wait_for_parts(MAX_PARTS_IN_FLIGHT - 1)?;
        let bytes = std::mem::take(&mut self.buffer);
        let multipart = match &mut self.multipart {
            Some(multipart) => multipart,
            none => {
                let since = Instant::now();
                let begin = || self.session.store.create_multipart(&self.path);
                let id = self.session.call_twice(Operation::Begin, begin)?;
                none.insert(UploadParts {
                    id,
                    since,
                    bytes: 0,
                    parts: Vec::new(),
                    in_flight: JoinSet::new(),
                    is_unclear: false,
                    _open: OpenUpload::record(&self.url),
                })
            }
        };
        let at = multipart.parts.len();
        multipart.parts.push(None);
        multipart.bytes += bytes.len() as u64;
        let part = put_part(self.session.clone(), self.path.clone(), multipart.id.clone(), at, bytes.into());
        multipart.in_flight.spawn_on(part, self.session.handle());
        Ok(())
    }

    /// Waits until at most `limit` parts are being sent.
    fn wait_for_parts(&mut self, limit: usize) -> io::Result<()> {
        let Some(multipart) = &mut self.multipart else { return Ok(()) };
        while multipart.in_flight.len() > limit {
            let in_flight = &mut multipart.in_flight;
            let sent = self.session.call(Operation::Part, async {
                let joined = in_flight.join_next().await.expect("there is one");
                joined.unwrap_or_else(|error| Err(object_store::Error::JoinError { source: error }))
            });
            let (at, part) = sent?;
            multipart.parts[at] = Some(part);
        }
        Ok(())
    }

    /// Puts an object that is smaller than a part, also an empty one, in one request, which the store can make
    /// conditional.
    fn put_whole(&mut self) -> io::Result<()> {
        let bytes = Bytes::from(std::mem::take(&mut self.buffer));
        let session = self.session.clone();
        let expected = Expected { bytes: bytes.len() as u64, parts: None, since: Instant::now() };
        let mut creates = self.no_clobber;
        for tries in 1.. {
            let since = Instant::now();
            let unclear = session.traffic.n_unclear();
            let mode = if creates { PutMode::Create } else { PutMode::Overwrite };
            let payload = PutPayload::from(bytes.clone());
            let put = session.commit(Operation::Put, session.store.put_opts(&self.path, payload, mode.into()));
            let Err(error) = put else { return Ok(()) };
            if creates && error.is_not_implemented {
                // A store without conditions: the look is all that there is.
                fail_if_exists(&session, &self.path, true)?;
                creates = false;
                continue;
            }
            if is_final(&error, session.traffic.n_unclear() > unclear) {
                return Err(error.into());
            }
            match session.outcome(&self.path, expected) {
                Outcome::Written => return Ok(()),
                // The library repeats a conditional put only if it was not sent. Now it is known that it may be.
                Outcome::NotWritten
                    if tries < MAX_TRIES && error.is_transport() && (creates || since.elapsed() > RETRY_TIME) => {}
                Outcome::NotWritten => return Err(error.into()),
                Outcome::Unknown => {
                    self.add_unknown();
                    return Err(error.into());
                }
            }
        }
        unreachable!("the last try returns")
    }

    /// Completes the multipart upload. If the response is lost, or says that there is no such upload because the one to
    /// an earlier try was lost, the store is asked for the object.
    fn complete(&mut self) -> io::Result<()> {
        let session = self.session.clone();
        let Some(multipart) = &mut self.multipart else { return Ok(()) };
        let parts: Option<Vec<PartId>> = multipart.parts.iter().cloned().collect();
        let parts = parts.ok_or_else(|| io::Error::other("a part of the upload is missing"))?;
        let expected = Expected { bytes: multipart.bytes, parts: Some(parts.len()), since: multipart.since };
        // Only S3's completion has a condition that can be set here.
        let mut is_conditional = session.kind == StoreKind::S3;
        loop {
            if self.no_clobber {
                fail_if_exists(&session, &self.path, !is_conditional)?;
            }
            let unclear = session.traffic.n_unclear();
            let store = &session.store;
            let completed = store.complete_multipart(&self.path, &multipart.id, parts.clone());
            let Err(error) = session.commit(Operation::Complete, completed) else { break };
            if self.no_clobber && is_conditional && error.is_not_implemented {
                session.traffic.drop_condition();
                is_conditional = false;
                continue;
            }
            if is_final(&error, session.traffic.n_unclear() > unclear) {
                return Err(error.into());
            }
            match session.outcome(&self.path, expected) {
                Outcome::Written => break,
                Outcome::NotWritten => return Err(error.into()),
                Outcome::Unknown => {
                    multipart.is_unclear = true;
                    return Err(error.into());
                }
            }
        }
        // Nothing is left to abort.
        self.multipart = None;
        Ok(())
    }

    /// Adds to the leftovers that it is unknown whether the object was written.
    fn add_unknown(&self) {
        let sentence = format!("it is unknown whether {} was written: the store did not confirm it", self.url);
        self.session.uploads.add_leftover(sentence);
    }

    /// Aborts the multipart upload. Adds to the leftovers what remains in the store.
    fn abort(&self, mut multipart: UploadParts) {
        let (session, url) = (&self.session, &self.url);
        let is_unclear = multipart.is_unclear;
        let abort = async {
            multipart.in_flight.shutdown().await;
            match session.store.abort_multipart(&self.path, &multipart.id).await {
                // Safe to repeat, which the library does not know.
                Err(error) if session.error(Operation::Abort, &error).is_transport() => {
                    session.store.abort_multipart(&self.path, &multipart.id).await
                }
                done => done,
            }
        };
        match session.call_within(Operation::Abort, session.uploads.abort_time(), abort) {
            Ok(()) => {}
            // Completed, or removed by a rule of the bucket.
            Err(error) if error.is_not_found && is_unclear => self.add_unknown(),
            Err(error) if error.is_not_found => {}
            Err(error) => {
                let why = match error.problem() {
                    Some(StoreProblem::Cancelled) => "the store did not respond to its abort".to_owned(),
                    _ => error.to_string(),
                };
                let what = match is_unclear {
                    true => format!("it is unknown whether {url} was written or parts of its upload remain"),
                    false => format!("the parts of an incomplete upload of {url} remain"),
                };
                session.uploads.add_leftover(format!(
                    "{what} in the store ({why}); a lifecycle rule for incomplete uploads removes such parts"
                ));
            }
        }
    }
}

/// Returns true if an error of a commit is its outcome; false if the store must be asked. `is_unclear` is true if an
/// earlier try of the same commit had no response: that the object exists, or the upload does not, is then perhaps the
/// success of that try.
fn is_final(error: &CallError, is_unclear: bool) -> bool {
    error.problem().is_none() || error.is_conclusive() && !is_unclear
}

/// Sends one part. Sends it again if its connection broke after the time in which the library would.
async fn put_part(
    session: Arc<Session>,
    path: Path,
    id: MultipartId,
    at: usize,
    bytes: Bytes,
) -> object_store::Result<(usize, PartId)> {
    for tries in 1.. {
        let since = Instant::now();
        match session.store.put_part(&path, &id, at, PutPayload::from(bytes.clone())).await {
            Ok(part) => return Ok((at, part)),
            Err(error) => {
                let is_late = since.elapsed() > RETRY_TIME && session.error(Operation::Part, &error).is_transport();
                if tries == MAX_TRIES || !is_late {
                    return Err(error);
                }
            }
        }
    }
    unreachable!("the last try returns")
}

impl Target for ObjectUpload {
    /// Sends the last part and waits for all parts. An object without a full part is sent by the commit.
    fn sync(&mut self) -> io::Result<()> {
        if self.multipart.is_some() {
            if !self.buffer.is_empty() {
                self.send_part()?;
            }
            self.wait_for_parts(0)?;
        }
        Ok(())
    }

    /// Makes the object appear. If nothing may be replaced, the request is conditional where the store has conditions;
    /// where it has none, the store is asked just before.
    fn commit(mut self: Box<Self>) -> io::Result<()> {
        self.sync()?;
        if self.session.uploads.is_cancelled() {
            return Err(store_error(StoreProblem::Cancelled, "cancelled".to_owned()));
        }
        if self.multipart.is_some() { self.complete() } else { self.put_whole() }
    }
}

impl Write for ObjectUpload {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.buffer.is_empty() {
            // Not a whole part: most objects are smaller than one.
            self.buffer.reserve(buf.len().min(PART_BYTES));
        }
        // Never more than one part, so that all parts but the last have the same size.
        let taken = buf.len().min(PART_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&buf[..taken]);
        if self.buffer.len() == PART_BYTES {
            self.send_part()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ObjectUpload {
    fn drop(&mut self) {
        if let Some(multipart) = self.multipart.take() {
            self.abort(multipart);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use object_store::ObjectStoreExt as _;

    use super::super::client::{Limits, Traffic};
    use super::super::session::Store;
    use super::*;
    use crate::sink::uploads::UploadControl;

    pub(in super::super) fn session(no_clobber: bool) -> Arc<Session> {
        let store: Arc<dyn Store> = Arc::new(object_store::memory::InMemory::new());
        let traffic = Arc::new(Traffic::new(Limits::default(), no_clobber));
        Arc::new(Session::new(store, StoreKind::S3, traffic, UploadControl::default()).unwrap())
    }

    fn in_memory(no_clobber: bool) -> (Arc<Session>, ObjectUpload) {
        let session = session(no_clobber);
        let upload = ObjectUpload::new(session.clone(), "a/b.parquet".into(), "s3://c/a/b.parquet".into(), no_clobber);
        (session, upload)
    }

    fn stored(session: &Session) -> Option<Vec<u8>> {
        session.handle().block_on(async {
            let got = session.store.get(&Path::from("a/b.parquet")).await.ok()?;
            Some(got.bytes().await.unwrap().to_vec())
        })
    }

    #[test]
    fn an_object_appears_at_its_commit() {
        for size in [0, 10, PART_BYTES, 2 * PART_BYTES + 7] {
            let (store, mut upload) = in_memory(false);
            let bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            upload.write_all(&bytes).unwrap();
            upload.sync().unwrap();
            assert_eq!(stored(&store), None);
            Box::new(upload).commit().unwrap();
            assert!(stored(&store).unwrap() == bytes, "{size} bytes");
            let (store, mut upload) = in_memory(false);
            upload.write_all(&bytes).unwrap();
            drop(upload);
            assert_eq!(stored(&store), None);
        }
    }

    #[test]
    fn nothing_is_replaced_where_that_is_forbidden() {
        for size in [10, PART_BYTES + 1] {
            let (session, mut upload) = in_memory(true);
            upload.write_all(&vec![1; size]).unwrap();
            let there = PutPayload::from_static(b"there");
            session.handle().block_on(session.store.put(&upload.path, there)).unwrap();
            assert_eq!(Box::new(upload).commit().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(stored(&session).unwrap(), b"there");
        }
    }

    #[test]
    fn nothing_is_written_after_a_cancel() {
        for size in [10, PART_BYTES + 1] {
            let (session, mut upload) = in_memory(false);
            upload.write_all(&vec![1; size]).unwrap();
            upload.sync().unwrap();
            session.uploads.cancel();
            Box::new(upload).commit().unwrap_err();
            assert_eq!(stored(&session), None);
            assert_eq!(session.uploads.leftovers(), [""; 0]);
        }
    }
}
