//! Objects in stores as inputs: found by URL or below a prefix, and read in ranges of bounded size. Each range is
//! requested under the condition that the object is still the one that was found.

use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{GetOptions, GetRange, ObjectMeta, ObjectStore as _};

use super::error::Operation;
use super::session::Session;
use crate::sink::object_location::ObjectLocation;

/// Bytes of a request. By eye: the time to the first byte of a store is small beside that of so many.
const RANGE_BYTES: u64 = 8 << 20;

/// An object that exists.
#[derive(Clone, Debug)]
pub struct StoredObject {
    session: Arc<Session>,
    path: Path,
    size_bytes: u64,
    /// Entity tag, if the store gives any.
    e_tag: Option<String>,
}

/// A reader of one object. Its reads block and must not be called on a thread of an async runtime.
#[derive(Debug)]
pub struct ObjectReader {
    object: StoredObject,
    at: u64,
    buffer: Bytes,
}

impl StoredObject {
    /// Finds the object at `location`; `None` if there is none. Blocks; must not be called on a thread of an async
    /// runtime.
    pub fn find(location: &ObjectLocation) -> io::Result<Option<Self>> {
        let (session, path) = location.open()?;
        let found = session.find(&path)?;
        Ok(found.map(|meta| StoredObject::of(&Arc::new(session), meta)))
    }

    /// Lists the objects below the prefix at `location`, whose URL ends with a slash, in any order. Blocks, like
    /// [`StoredObject::find`].
    pub fn list(location: &ObjectLocation) -> io::Result<Vec<Self>> {
        let url = location.url.trim_end_matches('/').to_owned();
        let (session, prefix) = ObjectLocation { url, ..location.clone() }.open()?;
        let prefix = (!prefix.is_root()).then_some(prefix);
        let listed = session.call(Operation::List, session.store.list(prefix.as_ref()).try_collect::<Vec<_>>())?;
        let session = Arc::new(session);
        Ok(listed.into_iter().map(|meta| StoredObject::of(&session, meta)).collect())
    }

    /// Makes the object of what the store says about it.
    pub(super) fn of(session: &Arc<Session>, meta: ObjectMeta) -> Self {
        StoredObject { session: session.clone(), path: meta.location, size_bytes: meta.size, e_tag: meta.e_tag }
    }

    /// Returns the key of the object in its bucket.
    pub fn key(&self) -> &str {
        self.path.as_ref()
    }

    /// Returns the size that the store says.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Returns a reader from the first byte on. Sends no request.
    pub fn reader(self) -> ObjectReader {
        ObjectReader { object: self, at: 0, buffer: Bytes::new() }
    }
}

impl ObjectReader {
    /// Reads the range from `at` on.
    fn fill(&mut self) -> io::Result<()> {
        let StoredObject { session, path, size_bytes, e_tag } = &self.object;
        let end = size_bytes.min(&(self.at + RANGE_BYTES)).to_owned();
        let options = GetOptions {
            range: Some(GetRange::Bounded(self.at..end)),
            if_match: e_tag.clone(),
            ..GetOptions::default()
        };
        let get = || async { session.store.get_opts(path, options.clone()).await?.bytes().await };
        let bytes = session.call_twice(Operation::Read, get)?;
        if bytes.len() as u64 != end - self.at {
            let text = format!("the store sent {} bytes of {}", bytes.len(), end - self.at);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        self.at = end;
        self.buffer = bytes;
        Ok(())
    }
}

impl Read for ObjectReader {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.buffer.is_empty() && self.at < self.object.size_bytes {
            self.fill()?;
        }
        let n = out.len().min(self.buffer.len());
        out[..n].copy_from_slice(&self.buffer.split_to(n));
        Ok(n)
    }
}
