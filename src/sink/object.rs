//! An object in a store such as S3: uploaded in parts while it is made, there when the upload is completed.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::client::{HttpClient, HttpConnector, ReqwestConnector};
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{Certificate, ClientOptions, ObjectStoreScheme};
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use url::Url;

use super::target::Target;
use crate::net::{bad_certificate, replaced_certificates};

/// Bytes of a part. Stores take 10,000 of them, so that an object may have 80 GB; all but the last are of one size,
/// which some insist on.
const PART_BYTES: usize = 8 << 20;

/// Parts on their way at a time. By eye: two hide the time that the third takes to be made.
const MAX_PARTS_UNDERWAY: usize = 3;

/// How long the end of a broken upload may take.
const ABORT_PATIENCE: Duration = Duration::from_secs(10);

/// Where an object is to be: its URL, and what it takes to write there.
#[derive(Clone, PartialEq, Eq)]
pub struct ObjectLocation {
    /// `s3://bucket/key`, `gs://…`, `az://…`.
    pub url: String,
    /// Credentials and addresses, by the lower-case names of the environment's variables: `aws_access_key_id`.
    pub options: Vec<(String, String)>,
    /// Refuse if an object is there.
    pub no_clobber: bool,
}

impl fmt::Debug for ObjectLocation {
    /// Without the options, which hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectLocation").field("url", &self.url).field("no_clobber", &self.no_clobber).finish()
    }
}

impl ObjectLocation {
    /// Fails now if no upload could be begun there later: begins one and takes it back. Blocks; not to be called on a
    /// thread of an async runtime.
    pub fn check(&self) -> io::Result<()> {
        let upload = ObjectUpload::begin(self)?;
        let begun = upload.runtime.block_on(async {
            let mut begun = upload.store.put_multipart(&upload.path).await?;
            begun.abort().await
        });
        begun.map_err(said)
    }

    fn store(&self) -> io::Result<(Arc<dyn ObjectStore>, Path)> {
        let url = Url::parse(&self.url).map_err(|error| invalid(&error.to_string()))?;
        let (scheme, path) = ObjectStoreScheme::parse(&url).map_err(|error| said(error.into()))?;
        let path = Path::parse(path).map_err(|error| said(error.into()))?;
        // The library's own `parse_url_opts` builds the same stores, but leaves no choice of the HTTP client.
        macro_rules! build {
            ($builder:ty) => {{
                let mut builder = <$builder>::new().with_url(url.as_str()).with_http_connector(Connector);
                for (name, value) in &self.options {
                    // The environment has names that concern another store.
                    if let Ok(name) = name.to_ascii_lowercase().parse() {
                        builder = builder.with_config(name, value);
                    }
                }
                Arc::new(builder.build().map_err(said)?)
            }};
        }
        let store: Arc<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::AmazonS3 => build!(AmazonS3Builder),
            ObjectStoreScheme::GoogleCloudStorage => build!(GoogleCloudStorageBuilder),
            ObjectStoreScheme::MicrosoftAzure => build!(MicrosoftAzureBuilder),
            _ => return Err(invalid("the URL is of no store that drawoff knows")),
        };
        Ok((store, path))
    }
}

/// Makes the HTTP client of a store: the library's own, with the CA certificates of the other clients.
#[derive(Debug)]
struct Connector;

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let Some(certificates) = replaced_certificates() else {
            return ReqwestConnector::default().connect(options);
        };
        let mut options = options.clone().with_no_system_certificates(true);
        for certificate in certificates {
            options = options.with_root_certificate(Certificate::from_der(certificate)?);
        }
        ReqwestConnector::default().connect(&options)
    }
}

/// An upload. Dropped without [`ObjectUpload::commit`], it is aborted and leaves nothing in the store.
pub struct ObjectUpload {
    store: Arc<dyn ObjectStore>,
    path: Path,
    no_clobber: bool,
    /// What was written and makes no part yet.
    rest: Vec<u8>,
    /// Begun with the first full part; an object that is smaller is put at once.
    parts: Option<UploadParts>,
    /// Of its own: the thread that writes is not an async one.
    runtime: Arc<Runtime>,
}

struct UploadParts {
    upload: Box<dyn MultipartUpload>,
    underway: JoinSet<object_store::Result<()>>,
}

impl fmt::Debug for ObjectUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectUpload").field("path", &self.path).finish_non_exhaustive()
    }
}

impl ObjectUpload {
    /// Begins an upload. Blocks, as its other methods; not to be called on a thread of an async runtime.
    pub fn begin(place: &ObjectLocation) -> io::Result<Self> {
        let (store, path) = place.store()?;
        if path.as_ref().is_empty() {
            return Err(invalid("the URL names no object: it ends with the bucket"));
        }
        let runtime = Arc::new(runtime()?);
        let upload = ObjectUpload { store, path, no_clobber: place.no_clobber, rest: Vec::new(), parts: None, runtime };
        upload.refuse_if_there()?;
        Ok(upload)
    }

    fn refuse_if_there(&self) -> io::Result<()> {
        if !self.no_clobber {
            return Ok(());
        }
        match self.runtime.block_on(self.store.head(&self.path)) {
            Ok(_) => Err(exists()),
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(said(error)),
        }
    }

    fn send_part(&mut self) -> io::Result<()> {
        self.wait_for_parts(MAX_PARTS_UNDERWAY - 1)?;
        let bytes = std::mem::take(&mut self.rest);
        if self.parts.is_none() {
            let upload = self.runtime.block_on(self.store.put_multipart(&self.path)).map_err(said)?;
            self.parts = Some(UploadParts { upload, underway: JoinSet::new() });
        }
        let Some(parts) = &mut self.parts else { unreachable!("it was made above") };
        let part = parts.upload.put_part(PutPayload::from(bytes));
        parts.underway.spawn_on(part, self.runtime.handle());
        Ok(())
    }

    /// Waits until no more than `most` parts are on their way.
    fn wait_for_parts(&mut self, most: usize) -> io::Result<()> {
        let Some(parts) = &mut self.parts else { return Ok(()) };
        while parts.underway.len() > most {
            match self.runtime.block_on(parts.underway.join_next()) {
                Some(Ok(sent)) => sent.map_err(said)?,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => break,
            }
        }
        Ok(())
    }
}

impl Target for ObjectUpload {
    /// Sends the last part and waits until the store has all of them.
    fn sync(&mut self) -> io::Result<()> {
        if self.parts.is_some() {
            if !self.rest.is_empty() {
                self.send_part()?;
            }
            self.wait_for_parts(0)?;
        }
        Ok(())
    }

    /// Makes the object appear.
    ///
    /// Where nothing may be replaced, a store refuses by itself what is put at once; whether something appeared during
    /// a long upload is asked just before its end.
    fn commit(mut self: Box<Self>) -> io::Result<()> {
        self.sync()?;
        if self.parts.is_some() {
            self.refuse_if_there()?;
            let parts = self.parts.as_mut().expect("it is there");
            self.runtime.block_on(parts.upload.complete()).map_err(said)?;
            self.parts = None;
            return Ok(());
        }
        let mode = if self.no_clobber { PutMode::Create } else { PutMode::Overwrite };
        let payload = PutPayload::from(std::mem::take(&mut self.rest));
        match self.runtime.block_on(self.store.put_opts(&self.path, payload, mode.into())) {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })
                if self.no_clobber =>
            {
                Err(exists())
            }
            Err(error) => Err(said(error)),
        }
    }
}

impl Write for ObjectUpload {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            self.rest.reserve(buf.len().min(PART_BYTES));
        }
        let taken = buf.len().min(PART_BYTES - self.rest.len());
        self.rest.extend_from_slice(&buf[..taken]);
        if self.rest.len() == PART_BYTES {
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
        let Some(mut parts) = self.parts.take() else { return };
        self.runtime.block_on(async {
            parts.underway.shutdown().await;
            // What cannot be taken back now is for the bucket's rules on broken uploads.
            let _ = tokio::time::timeout(ABORT_PATIENCE, parts.upload.abort()).await;
        });
    }
}

/// A folder of objects: those of a store whose names begin with the same path.
pub struct ObjectPrefix {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    no_clobber: bool,
    runtime: Arc<Runtime>,
}

impl fmt::Debug for ObjectPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectPrefix").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl ObjectPrefix {
    /// The folder at a URL, which may be that of a whole bucket. Asks the store for nothing. Its methods block; not to be
    /// called on a thread of an async runtime.
    pub fn open(place: &ObjectLocation) -> io::Result<Self> {
        let (store, prefix) = place.store()?;
        Ok(ObjectPrefix { store, prefix, no_clobber: place.no_clobber, runtime: Arc::new(runtime()?) })
    }

    /// The object called `name` below the folder, as it is written.
    fn at(&self, name: &str) -> io::Result<Path> {
        let whole = if self.prefix.as_ref().is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        Path::parse(whole).map_err(|error| invalid(&error.to_string()))
    }

    /// Uploads a file of the file system; the object appears whole, and replaces what is there unless that is forbidden.
    pub fn upload(&self, file: &std::path::Path, name: &str) -> io::Result<()> {
        let mut upload = ObjectUpload {
            store: self.store.clone(),
            path: self.at(name)?,
            no_clobber: self.no_clobber,
            rest: Vec::new(),
            parts: None,
            runtime: self.runtime.clone(),
        };
        io::copy(&mut io::BufReader::with_capacity(1 << 20, std::fs::File::open(file)?), &mut upload)?;
        Box::new(upload).commit()
    }

    /// Puts a small object, in place of what is there.
    pub fn put(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        let (path, payload) = (self.at(name)?, PutPayload::from(contents.to_vec()));
        self.runtime.block_on(self.store.put(&path, payload)).map(drop).map_err(said)
    }

    /// The text of a small object, if it is there.
    pub fn read(&self, name: &str) -> io::Result<Option<String>> {
        let path = self.at(name)?;
        let got = self.runtime.block_on(async { self.store.get(&path).await?.bytes().await });
        match got {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(said(error)),
        }
    }

    /// True if there is an object of that name.
    pub fn exists(&self, name: &str) -> io::Result<bool> {
        match self.runtime.block_on(self.store.head(&self.at(name)?)) {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(said(error)),
        }
    }

    /// Removes an object; one that is not there is no error.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match self.runtime.block_on(self.store.delete(&self.at(name)?)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(said(error)),
        }
    }
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why.to_owned())
}

fn exists() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "exists already")
}

/// An error of the store in words, with its kind. Queries of URLs are left out: they may be signed.
fn said(error: object_store::Error) -> io::Error {
    if let Some(problem) = bad_certificate(&error) {
        return io::Error::other(problem);
    }
    use object_store::Error as E;
    let kind = match &error {
        E::NotFound { .. } => io::ErrorKind::NotFound,
        E::AlreadyExists { .. } => io::ErrorKind::AlreadyExists,
        E::PermissionDenied { .. } | E::Unauthenticated { .. } => io::ErrorKind::PermissionDenied,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, without_queries(&error.to_string()))
}

fn without_queries(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let end = rest[at..]
            .find(|c: char| c.is_whitespace() || matches!(c, ')' | '"' | '\''))
            .map_or(rest.len(), |n| at + n);
        let url = &rest[..end];
        out.push_str(&url[..url.find('?').unwrap_or(end)]);
        rest = &rest[end..];
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_memory(no_clobber: bool) -> (Arc<dyn ObjectStore>, ObjectUpload) {
        let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let runtime = Arc::new(runtime().unwrap());
        let path = Path::from("a/b.parquet");
        let upload = ObjectUpload { store: store.clone(), path, no_clobber, rest: Vec::new(), parts: None, runtime };
        (store, upload)
    }

    fn stored(store: &Arc<dyn ObjectStore>) -> Option<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let got = store.get(&Path::from("a/b.parquet")).await.ok()?;
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
            let (store, mut upload) = in_memory(true);
            upload.write_all(&vec![1; size]).unwrap();
            let path = upload.path.clone();
            upload.runtime.block_on(store.put(&path, PutPayload::from_static(b"there"))).unwrap();
            assert_eq!(Box::new(upload).commit().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(stored(&store).unwrap(), b"there");
        }
    }

    #[test]
    fn a_folder_is_the_objects_below_a_name() {
        let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let runtime = Arc::new(runtime().unwrap());
        let folder = |prefix: &str| ObjectPrefix {
            store: store.clone(),
            prefix: Path::from(prefix),
            no_clobber: false,
            runtime: runtime.clone(),
        };
        let (inner, outer) = (folder("a/b"), folder(""));
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
    fn signed_queries_are_not_shown() {
        assert_eq!(
            without_queries("for url (https://a.example/b?sig=secret) twice http://c/d?x"),
            "for url (https://a.example/b) twice http://c/d"
        );
        let place = ObjectLocation {
            url: "s3://a/b".into(),
            options: vec![("aws_secret_access_key".into(), "marked".into())],
            no_clobber: false,
        };
        assert!(!format!("{place:?}").contains("marked"));
    }
}
