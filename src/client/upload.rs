//! Upload of input files, streamed from disk in constant memory. The file is measured before, and must not become
//! shorter while it is sent.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures::stream;
use reqwest::multipart::{Form, Part};

use super::digest::digest_of_reader;
use super::{Client, Error};
use crate::api::{Uploaded, routes};
use crate::net::{ApiRequest, Body, Repeatability, RetryBudget};

/// File name extensions that the API accepts, in lower case.
pub const UPLOAD_EXTENSIONS: [&str; 4] = ["csv", "json", "jsonl", "ndjson"];

/// Bytes per read from disk. Two such reads keep a fast connection busy.
const READ_BYTES: usize = 256 << 10;

/// A file to upload, open and with its size measured.
#[derive(Debug)]
pub struct Upload {
    name: String,
    file: File,
    size_bytes: u64,
    sent: Arc<AtomicU64>,
}

impl Upload {
    /// Opens a file to be uploaded under its own name. Fails with [`Error::UploadKind`] if the API does not accept its
    /// extension.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Upload::open_as(path, name)
    }

    /// Opens a file to be uploaded as `name`, from whose extension the API infers the format.
    pub fn open_as(path: &Path, name: String) -> Result<Self, Error> {
        let fail = |cause| Error::Read { path: path.to_owned(), cause };
        let file = File::open(path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        if metadata.is_dir() {
            return Err(fail(io::Error::new(io::ErrorKind::IsADirectory, "is a directory")));
        }
        // The form announces its length, which a pipe does not have.
        if !metadata.is_file() {
            return Err(fail(io::Error::other("is not a regular file, so its size is unknown")));
        }
        let extension = Path::new(&name).extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        if !extension.is_some_and(|e| UPLOAD_EXTENSIONS.contains(&e.as_str())) {
            return Err(Error::UploadKind { name });
        }
        Ok(Upload { name, file, size_bytes: metadata.len(), sent: Arc::default() })
    }

    /// Returns the size of the file in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Returns the digest of the file in hexadecimal, and its extension in lower case. Reads the whole file.
    pub fn digest(&self) -> io::Result<(String, String)> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        let extension = Path::new(&self.name).extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        Ok((digest_of_reader(&mut file)?, extension.unwrap_or_default()))
    }

    /// Returns the counter of bytes read for sending. It restarts at 0 with each attempt.
    pub fn sent(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }

    /// Builds the multipart form, with the file from its start.
    pub(super) fn form(&self) -> io::Result<Form> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        let rest = UploadBody { file, remaining_bytes: self.size_bytes, sent: Arc::clone(&self.sent) };
        let body = reqwest::Body::wrap_stream(stream::try_unfold(rest, UploadBody::next));
        Ok(Form::new().part("file", Part::stream_with_length(body, self.size_bytes).file_name(self.name.clone())))
    }
}

/// The rest of a file that is being sent.
struct UploadBody {
    file: File,
    remaining_bytes: u64,
    sent: Arc<AtomicU64>,
}

impl UploadBody {
    /// Reads the next chunk on a blocking thread; `None` at the announced end. A file that became shorter is an error,
    /// because its length has been announced; bytes that were appended meanwhile are not sent.
    async fn next(mut self) -> io::Result<Option<(Bytes, UploadBody)>> {
        if self.remaining_bytes == 0 {
            return Ok(None);
        }
        // Disk reads block, and the runtime's threads serve all sockets.
        let task = tokio::task::spawn_blocking(move || {
            let mut buffer =
                BytesMut::zeroed(READ_BYTES.min(usize::try_from(self.remaining_bytes).unwrap_or(READ_BYTES)));
            let n = self.file.read(&mut buffer)?;
            if n == 0 {
                let text = "the file was truncated while it was being uploaded";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
            }
            buffer.truncate(n);
            self.remaining_bytes -= n as u64;
            self.sent.fetch_add(n as u64, Ordering::Relaxed);
            Ok(Some((buffer.freeze(), self)))
        });
        task.await.map_err(io::Error::other)?
    }
}

impl Client {
    /// Uploads a file and returns its handle. Safe to repeat: at worst an unused handle remains.
    pub async fn upload(&self, upload: &Upload) -> Result<Uploaded, Error> {
        let make = || upload.form();
        let body = Body::Form { make: &make, sent: &upload.sent, total: upload.size_bytes };
        let call = ApiRequest::post(routes::UPLOAD_FILE, body, Repeatability::Safe).budget(RetryBudget::UPLOAD);
        Ok(self.http().json(&call).await?)
    }
}
