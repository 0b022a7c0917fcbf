//! A directory in a store: the objects whose names start with the same path.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _, PutMode, PutOptions, PutPayload};

use super::error::{Operation, StoreKind};
use super::location::exact_path;
use super::read::{ObjectReader, StoredObject};
use super::session::Session;
use super::upload::ObjectUpload;
use crate::sink::object_location::ObjectLocation;
use crate::sink::put_new::PutNew;
use crate::sink::store_error::StoreProblem;
use crate::sink::target::Target as _;

/// A directory in a store. Its methods block and must not be called on a thread of an async runtime.
#[derive(Debug)]
pub struct ObjectPrefix {
    session: Arc<Session>,
    /// URL of the directory, without a slash at its end.
    url: String,
    prefix: Path,
    no_clobber: bool,
    /// Set when a cancel ended a write, so that some files may be there without the others.
    is_incomplete: AtomicBool,
}

impl ObjectPrefix {
    /// Opens the directory at a URL, which may be that of a whole bucket. Sends no request.
    pub fn open(location: &ObjectLocation) -> io::Result<Self> {
        let url = location.url.strip_suffix('/').unwrap_or(&location.url).to_owned();
        let (session, prefix) = ObjectLocation { url: url.clone(), ..location.clone() }.open()?;
        let (session, no_clobber) = (Arc::new(session), location.no_clobber);
        Ok(ObjectPrefix { session, url, prefix, no_clobber, is_incomplete: AtomicBool::new(false) })
    }

    /// Returns the path of the object `name` in the directory, without escaping it.
    fn object_path(&self, name: &str) -> io::Result<Path> {
        match self.prefix.as_ref() {
            "" => exact_path(name),
            prefix => exact_path(&format!("{prefix}/{name}")),
        }
    }

    /// Uploads a local file. The object appears when it is complete, and replaces an existing one unless that is
    /// forbidden.
    pub fn upload(&self, file: &std::path::Path, name: &str) -> io::Result<()> {
        let path = self.object_path(name)?;
        let url = format!("{}/{name}", self.url);
        let mut upload = ObjectUpload::new(self.session.clone(), path, url, self.no_clobber);
        let written = io::copy(&mut io::BufReader::with_capacity(1 << 20, std::fs::File::open(file)?), &mut upload);
        self.note_if_cancelled(written.and_then(|_| Box::new(upload).commit()))
    }

    /// Adds to the leftovers, once, that a cancelled write may have left files of an incomplete output.
    fn note_if_cancelled<T>(&self, written: io::Result<T>) -> io::Result<T> {
        let uploads = &self.session.uploads;
        if written.is_err() && uploads.is_cancelled() && !self.is_incomplete.swap(true, Ordering::Relaxed) {
            uploads.add_leftover(format!(
                "{}/ may hold files of an incomplete output; the next command for it removes them",
                self.url
            ));
        }
        written
    }

    /// Writes a small object in one request, and replaces an existing one.
    pub fn put(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        let (path, payload) = (self.object_path(name)?, PutPayload::from(contents.to_vec()));
        let put = self.session.call(Operation::Put, self.session.store.put(&path, payload));
        self.note_if_cancelled(put.map(drop).map_err(io::Error::from))
    }

    /// Writes a small object that must not exist. Safe to call again with the same contents after
    /// [`PutNew::Unclear`]: what an earlier call has written makes it [`PutNew::Exists`].
    pub fn put_new(&self, name: &str, contents: &[u8]) -> io::Result<PutNew> {
        let path = self.object_path(name)?;
        let payload = PutPayload::from(contents.to_vec());
        let options = PutOptions::from(PutMode::Create);
        match self.session.commit(Operation::Put, self.session.store.put_opts(&path, payload, options)) {
            Ok(_) => Ok(PutNew::Written),
            Err(error) if error.problem() == Some(&StoreProblem::Exists) => Ok(PutNew::Exists),
            // S3 says so while another request writes the object.
            Err(error) if error.refusal.as_ref().is_some_and(|refusal| matches!(refusal.status, 409 | 412)) => {
                Ok(PutNew::Unclear(error.into()))
            }
            Err(error) if error.is_conclusive() || error.is_not_implemented || error.is_not_found => Err(error.into()),
            Err(error) => Ok(PutNew::Unclear(error.into())),
        }
    }

    /// Returns true for S3 and stores that imitate it.
    pub fn is_s3(&self) -> bool {
        self.session.kind == StoreKind::S3
    }

    /// Lists the objects below `directory`, with name, size and time of the last change, in any order. With `after`, a
    /// name in this directory, only those of greater names. Names are relative to this directory.
    pub fn list(&self, directory: &str, after: Option<&str>) -> io::Result<Vec<(String, u64, SystemTime)>> {
        let below = if directory.is_empty() { self.prefix.clone() } else { self.object_path(directory)? };
        let below = (!below.is_root()).then_some(below);
        let after = after.map(|name| self.object_path(name)).transpose()?;
        let list = || async {
            let listed = match &after {
                Some(after) => self.session.store.list_with_offset(below.as_ref(), after),
                None => self.session.store.list(below.as_ref()),
            };
            listed.try_collect::<Vec<_>>().await
        };
        let listed = self.session.call_twice(Operation::List, list)?;
        let root = match self.prefix.as_ref() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let named = listed.into_iter().filter_map(|meta| {
            let name = meta.location.as_ref().strip_prefix(&root)?.to_owned();
            Some((name, meta.size, meta.last_modified.into()))
        });
        Ok(named.collect())
    }

    /// Returns a reader of an object, which asks for some MB at a time; `None` if it does not exist.
    pub fn reader(&self, name: &str) -> io::Result<Option<ObjectReader>> {
        let found = self.session.find(&self.object_path(name)?)?;
        Ok(found.map(|meta| StoredObject::of(&self.session, meta).reader()))
    }

    /// Reads a whole object; `None` if it does not exist.
    pub fn read_bytes(&self, name: &str) -> io::Result<Option<Bytes>> {
        let path = self.object_path(name)?;
        let get = || async { self.session.store.get(&path).await?.bytes().await };
        match self.session.call_twice(Operation::Read, get) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.is_not_found => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Reads the text of a small object; `None` if it does not exist.
    pub fn read(&self, name: &str) -> io::Result<Option<String>> {
        let path = self.object_path(name)?;
        // The bytes as they were written, whatever encoding a store says that they have: some hand on `aws-chunked`,
        // which was that of a request.
        let got = self.session.call(Operation::Read, async { self.session.store.get(&path).await?.bytes().await });
        match got {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.is_not_found => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns true if the object exists.
    pub fn exists(&self, name: &str) -> io::Result<bool> {
        Ok(self.session.find(&self.object_path(name)?)?.is_some())
    }

    /// Removes an object. Succeeds if it does not exist.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.object_path(name)?;
        match self.session.call_twice(Operation::Remove, || self.session.store.delete(&path)) {
            Err(error) if !error.is_not_found => self.note_if_cancelled(Err(error.into())),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::upload::tests::session;
    use super::*;

    #[test]
    fn a_directory_is_the_objects_below_a_name() {
        let session = session(false);
        let directory = |prefix: &str| ObjectPrefix {
            session: session.clone(),
            url: "s3://b".into(),
            prefix: Path::from(prefix),
            no_clobber: false,
            is_incomplete: AtomicBool::new(false),
        };
        let (inner, outer) = (directory("a/b"), directory(""));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "rows").unwrap();
        // Names are as they are: what Hive escapes is not escaped again.
        inner.upload(file.path(), "c=x%2Fy/part").unwrap();
        assert_eq!(outer.read("a/b/c=x%2Fy/part").unwrap().as_deref(), Some("rows"));
        inner.put("m", b"{}").unwrap();
        assert!(inner.exists("m").unwrap() && outer.exists("a/b/m").unwrap() && !outer.exists("m").unwrap());
        inner.remove("m").unwrap();
        inner.remove("m").unwrap();
        assert_eq!(inner.read("m").unwrap(), None);
    }

    #[test]
    fn the_prefix_is_what_was_typed() {
        let open = |url: &str| {
            let options = vec![("aws_region".to_owned(), "us-east-1".to_owned())];
            ObjectPrefix::open(&ObjectLocation::new(url, options, false)).map(|opened| opened.prefix.to_string())
        };
        assert_eq!(open("s3://b/a%2F#1?x/").unwrap(), "a%2F#1?x");
        assert_eq!(open("s3://b/").unwrap(), "");
        assert_eq!(open("s3://b/a//").unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
