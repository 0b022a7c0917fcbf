//! Objects in stores such as S3: uploaded in parts while they are written, visible when the upload is completed. An
//! upload holds at most four parts in memory. Errors are shown without the queries of URLs, which may be signed.

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

/// Size of a part in bytes. Stores accept 10,000 parts, so an object may have 80 GB. All parts but the last have this
/// size, as some stores require.
const PART_BYTES: usize = 8 << 20;

/// Parts that are uploaded at a time. Chosen by eye: two of them hide the time in which the next is written.
const MAX_PARTS_IN_FLIGHT: usize = 3;

/// Timeout for aborting an upload.
const ABORT_TIMEOUT: Duration = Duration::from_secs(10);

/// The location of an object, and the credentials to write it.
#[derive(Clone, PartialEq, Eq)]
pub struct ObjectLocation {
    /// URL of the object: `s3://bucket/key`, `gs://…`, `az://…`.
    pub url: String,
    /// Credentials and endpoints, by the lower-case names of the environment variables, such as `aws_access_key_id`.
    pub options: Vec<(String, String)>,
    /// True if an existing object must not be replaced.
    pub no_clobber: bool,
}

impl fmt::Debug for ObjectLocation {
    /// Omits the options, which hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ObjectLocation").field("url", &self.url).field("no_clobber", &self.no_clobber).finish()
    }
}

impl ObjectLocation {
    /// Checks that an upload can be started, by starting one and aborting it. Blocks; must not be called on a thread
    /// of an async runtime.
    pub fn check(&self) -> io::Result<()> {
        let upload = ObjectUpload::begin(self)?;
        let aborted = upload.runtime.block_on(async {
            let mut aborted = upload.store.put_multipart(&upload.path).await?;
            aborted.abort().await
        });
        aborted.map_err(store_error)
    }

    /// Returns the client of the store, and the path within it. Opens no connection.
    fn store(&self) -> io::Result<(Arc<dyn ObjectStore>, Path)> {
        let url = Url::parse(&self.url).map_err(|error| invalid(&error.to_string()))?;
        let (scheme, path) = ObjectStoreScheme::parse(&url).map_err(|error| store_error(error.into()))?;
        let path = Path::parse(path).map_err(|error| store_error(error.into()))?;
        // The library's `parse_url_opts` builds the same stores, but not with an HTTP client of our choice.
        macro_rules! build {
            ($builder:ty) => {{
                let mut builder = <$builder>::new().with_url(url.as_str()).with_http_connector(Connector);
                for (name, value) in &self.options {
                    // Skip options of other stores: all are read from one environment.
                    if let Ok(name) = name.to_ascii_lowercase().parse() {
                        builder = builder.with_config(name, value);
                    }
                }
                Arc::new(builder.build().map_err(store_error)?)
            }};
        }
        let store: Arc<dyn ObjectStore> = match scheme {
            ObjectStoreScheme::AmazonS3 => build!(AmazonS3Builder),
            ObjectStoreScheme::GoogleCloudStorage => build!(GoogleCloudStorageBuilder),
            ObjectStoreScheme::MicrosoftAzure => build!(MicrosoftAzureBuilder),
            _ => return Err(invalid("unsupported object store: expected a URL of S3, Google Cloud Storage or Azure")),
        };
        Ok((store, path))
    }
}

/// The HTTP client of a store: the library's own, with the same CA certificates as all other clients.
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

/// An upload in progress. Aborted when dropped without [`Target::commit`], so that no object appears.
pub struct ObjectUpload {
    store: Arc<dyn ObjectStore>,
    path: Path,
    no_clobber: bool,
    /// Written bytes that do not fill a part yet, fewer than [`PART_BYTES`] between calls.
    buffer: Vec<u8>,
    /// The multipart upload, started with the first full part. A smaller object is put in one request.
    multipart: Option<UploadParts>,
    /// A runtime of its own, because the writer thread is not an async one.
    runtime: Arc<Runtime>,
}

/// A multipart upload, and its parts that are being sent.
struct UploadParts {
    upload: Box<dyn MultipartUpload>,
    in_flight: JoinSet<object_store::Result<()>>,
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
        let (store, path) = location.store()?;
        if path.as_ref().is_empty() {
            return Err(invalid("the URL has a bucket but no object name"));
        }
        let runtime = Arc::new(runtime()?);
        let upload =
            ObjectUpload { store, path, no_clobber: location.no_clobber, buffer: Vec::new(), multipart: None, runtime };
        upload.fail_if_exists()?;
        Ok(upload)
    }

    /// Fails if the object exists and must not be replaced.
    fn fail_if_exists(&self) -> io::Result<()> {
        if !self.no_clobber {
            return Ok(());
        }
        match self.runtime.block_on(self.store.head(&self.path)) {
            Ok(_) => Err(already_exists()),
            Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(store_error(error)),
        }
    }

    /// Starts sending the buffered bytes as a part, after waiting until fewer than [`MAX_PARTS_IN_FLIGHT`] are being
    /// sent.
    fn send_part(&mut self) -> io::Result<()> {
        // Wait first: the buffer is full, and another part in flight would exceed the bound on memory.
        self.wait_for_parts(MAX_PARTS_IN_FLIGHT - 1)?;
        let bytes = std::mem::take(&mut self.buffer);
        if self.multipart.is_none() {
            let upload = self.runtime.block_on(self.store.put_multipart(&self.path)).map_err(store_error)?;
            self.multipart = Some(UploadParts { upload, in_flight: JoinSet::new() });
        }
        let Some(multipart) = &mut self.multipart else { unreachable!("it was made above") };
        let part = multipart.upload.put_part(PutPayload::from(bytes));
        multipart.in_flight.spawn_on(part, self.runtime.handle());
        Ok(())
    }

    /// Waits until at most `limit` parts are being sent.
    fn wait_for_parts(&mut self, limit: usize) -> io::Result<()> {
        let Some(multipart) = &mut self.multipart else { return Ok(()) };
        while multipart.in_flight.len() > limit {
            match self.runtime.block_on(multipart.in_flight.join_next()) {
                Some(Ok(sent)) => sent.map_err(store_error)?,
                Some(Err(error)) => return Err(io::Error::other(error)),
                None => break,
            }
        }
        Ok(())
    }
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

    /// Completes the upload, so that the object appears.
    ///
    /// If nothing may be replaced, a put is conditional in the store. A multipart upload is not: it checks just
    /// before its completion, and an object that appears after that check is replaced.
    fn commit(mut self: Box<Self>) -> io::Result<()> {
        self.sync()?;
        if self.multipart.is_some() {
            // As late as possible, because the completion itself is not conditional.
            self.fail_if_exists()?;
            let multipart = self.multipart.as_mut().expect("checked above");
            self.runtime.block_on(multipart.upload.complete()).map_err(store_error)?;
            self.multipart = None;
            return Ok(());
        }
        // Smaller than a part, also empty: one request, which the store can make conditional.
        let mode = if self.no_clobber { PutMode::Create } else { PutMode::Overwrite };
        let payload = PutPayload::from(std::mem::take(&mut self.buffer));
        match self.runtime.block_on(self.store.put_opts(&self.path, payload, mode.into())) {
            Ok(_) => Ok(()),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. })
                if self.no_clobber =>
            {
                Err(already_exists())
            }
            Err(error) => Err(store_error(error)),
        }
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
        let Some(mut multipart) = self.multipart.take() else { return };
        self.runtime.block_on(async {
            multipart.in_flight.shutdown().await;
            // If the abort fails, the bucket's lifecycle rule on incomplete uploads has to remove the parts.
            let _ = tokio::time::timeout(ABORT_TIMEOUT, multipart.upload.abort()).await;
        });
    }
}

/// A directory in a store: the objects whose names start with the same path.
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
    /// Opens the directory at a URL, which may be that of a whole bucket. Sends no request. Its methods block and must
    /// not be called on a thread of an async runtime.
    pub fn open(location: &ObjectLocation) -> io::Result<Self> {
        let (store, prefix) = location.store()?;
        Ok(ObjectPrefix { store, prefix, no_clobber: location.no_clobber, runtime: Arc::new(runtime()?) })
    }

    /// Returns the path of the object `name` in the directory, without escaping it.
    fn object_path(&self, name: &str) -> io::Result<Path> {
        let whole = if self.prefix.as_ref().is_empty() { name.to_owned() } else { format!("{}/{name}", self.prefix) };
        Path::parse(whole).map_err(|error| invalid(&error.to_string()))
    }

    /// Uploads a local file. The object appears when it is complete, and replaces an existing one unless that is
    /// forbidden.
    pub fn upload(&self, file: &std::path::Path, name: &str) -> io::Result<()> {
        let mut upload = ObjectUpload {
            store: self.store.clone(),
            path: self.object_path(name)?,
            no_clobber: self.no_clobber,
            buffer: Vec::new(),
            multipart: None,
            runtime: self.runtime.clone(),
        };
        io::copy(&mut io::BufReader::with_capacity(1 << 20, std::fs::File::open(file)?), &mut upload)?;
        Box::new(upload).commit()
    }

    /// Writes a small object in one request, and replaces an existing one.
    pub fn put(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        let (path, payload) = (self.object_path(name)?, PutPayload::from(contents.to_vec()));
        self.runtime.block_on(self.store.put(&path, payload)).map(drop).map_err(store_error)
    }

    /// Reads the text of a small object; `None` if it does not exist.
    pub fn read(&self, name: &str) -> io::Result<Option<String>> {
        let path = self.object_path(name)?;
        let got = self.runtime.block_on(async { self.store.get(&path).await?.bytes().await });
        match got {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(store_error(error)),
        }
    }

    /// Returns true if the object exists.
    pub fn exists(&self, name: &str) -> io::Result<bool> {
        match self.runtime.block_on(self.store.head(&self.object_path(name)?)) {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(store_error(error)),
        }
    }

    /// Removes an object. Succeeds if it does not exist.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match self.runtime.block_on(self.store.delete(&self.object_path(name)?)) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(store_error(error)),
        }
    }
}

fn runtime() -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why.to_owned())
}

fn already_exists() -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, "already exists")
}

/// Converts an error of the store, with its kind and its text, but without the queries of URLs: they may be signed.
fn store_error(error: object_store::Error) -> io::Error {
    // Kept as a type of its own, which the caller recognizes and explains.
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
    let mut buffer = text;
    while let Some(at) = buffer.find("://") {
        let end = buffer[at..]
            .find(|c: char| c.is_whitespace() || matches!(c, ')' | '"' | '\''))
            .map_or(buffer.len(), |n| at + n);
        let url = &buffer[..end];
        out.push_str(&url[..url.find('?').unwrap_or(end)]);
        buffer = &buffer[end..];
    }
    out + buffer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_memory(no_clobber: bool) -> (Arc<dyn ObjectStore>, ObjectUpload) {
        let store: Arc<dyn ObjectStore> = Arc::new(object_store::memory::InMemory::new());
        let runtime = Arc::new(runtime().unwrap());
        let path = Path::from("a/b.parquet");
        let upload =
            ObjectUpload { store: store.clone(), path, no_clobber, buffer: Vec::new(), multipart: None, runtime };
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
        let directory = |prefix: &str| ObjectPrefix {
            store: store.clone(),
            prefix: Path::from(prefix),
            no_clobber: false,
            runtime: runtime.clone(),
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
    fn signed_queries_are_not_shown() {
        assert_eq!(
            without_queries("for url (https://a.example/b?sig=secret) twice http://c/d?x"),
            "for url (https://a.example/b) twice http://c/d"
        );
        let location = ObjectLocation {
            url: "s3://a/b".into(),
            options: vec![("aws_secret_access_key".into(), "marked".into())],
            no_clobber: false,
        };
        assert!(!format!("{location:?}").contains("marked"));
    }
}
