//! Input files on their way to the API, streamed from disk.

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

/// Extensions that the API accepts, in lower case.
pub const UPLOAD_EXTENSIONS: [&str; 4] = ["csv", "json", "jsonl", "ndjson"];

/// Bytes read from disk at a time: two reads keep a fast link busy.
const READ_BYTES: usize = 256 << 10;

/// One file to upload, opened and measured.
#[derive(Debug)]
pub struct Upload {
    name: String,
    file: File,
    size_bytes: u64,
    sent: Arc<AtomicU64>,
}

impl Upload {
    /// A file under its own name. A name that the API would refuse is refused here.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        Upload::open_as(path, name)
    }

    /// A file under another name, whose extension tells the API the format.
    pub fn open_as(path: &Path, name: String) -> Result<Self, Error> {
        let fail = |cause| Error::Read { path: path.to_owned(), cause };
        let file = File::open(path).map_err(fail)?;
        let metadata = file.metadata().map_err(fail)?;
        if metadata.is_dir() {
            return Err(fail(io::Error::new(io::ErrorKind::IsADirectory, "is a folder, not a file")));
        }
        if !metadata.is_file() {
            return Err(fail(io::Error::other("is not a plain file, so its length is not known")));
        }
        let extension = Path::new(&name).extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        if !extension.is_some_and(|e| UPLOAD_EXTENSIONS.contains(&e.as_str())) {
            return Err(Error::UploadKind { name });
        }
        Ok(Upload { name, file, size_bytes: metadata.len(), sent: Arc::default() })
    }

    /// Bytes in all.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The digest of the file in hexadecimal, and the extension that tells the API its format. Reads the whole file.
    pub fn digest(&self) -> io::Result<(String, String)> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        let extension = Path::new(&self.name).extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        Ok((digest_of_reader(&mut file)?, extension.unwrap_or_default()))
    }

    /// Counts the bytes on their way; starts anew if the upload is tried again.
    pub fn sent(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.sent)
    }

    pub(super) fn form(&self) -> io::Result<Form> {
        let mut file = self.file.try_clone()?;
        file.rewind()?;
        let reading = UploadBody { file, left: self.size_bytes, sent: Arc::clone(&self.sent) };
        let body = reqwest::Body::wrap_stream(stream::try_unfold(reading, UploadBody::next));
        Ok(Form::new().part("file", Part::stream_with_length(body, self.size_bytes).file_name(self.name.clone())))
    }
}

struct UploadBody {
    file: File,
    left: u64,
    sent: Arc<AtomicU64>,
}

impl UploadBody {
    /// The next piece. A file that is shorter than it was is an error: its length was announced.
    async fn next(mut self) -> io::Result<Option<(Bytes, UploadBody)>> {
        if self.left == 0 {
            return Ok(None);
        }
        let task = tokio::task::spawn_blocking(move || {
            let mut buffer = BytesMut::zeroed(READ_BYTES.min(usize::try_from(self.left).unwrap_or(READ_BYTES)));
            let n = self.file.read(&mut buffer)?;
            if n == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file became shorter while it was sent"));
            }
            buffer.truncate(n);
            self.left -= n as u64;
            self.sent.fetch_add(n as u64, Ordering::Relaxed);
            Ok(Some((buffer.freeze(), self)))
        });
        task.await.map_err(io::Error::other)?
    }
}

impl Client {
    /// Uploads a file and returns its handle. Repeating it leaves at worst a handle that nobody uses.
    pub async fn upload(&self, upload: &Upload) -> Result<Uploaded, Error> {
        let make = || upload.form();
        let body = Body::Form { make: &make, sent: &upload.sent, total: upload.size_bytes };
        let call = ApiRequest::post(routes::UPLOAD_FILE, body, Repeatability::Safe).budget(RetryBudget::UPLOAD);
        Ok(self.http().json(&call).await?)
    }
}
