//! Input files of `run`, `bulk` and `upload` on their way to the API: opened once, digested, and uploaded with
//! progress.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::api::{BulkKind, HandleId};
use crate::cli::choices::FromFormat;
use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::client::{self, Client, IdempotencyKey, RunStart, Upload};
use crate::sink::temporary_file;
use crate::text::human_bytes;

/// An input file, or the contents of a pipe in a temporary file.
pub(super) struct Input {
    upload: Arc<Upload>,
    path: PathBuf,
    /// Temporary file of a pipe or a part, removed when the input is dropped.
    _temporary: Option<NamedTempFile>,
    /// True if its progress is shown.
    is_shown: bool,
}

impl Input {
    /// Opens `path`; `-` is standard input. `from` is the format; `None` goes by the extension of a file, and by the
    /// first byte of a pipe. A pipe is copied to a temporary file first, because an upload needs its length.
    pub(super) async fn open(context: &Context, path: &Path, from: Option<FromFormat>) -> Result<Self, Failure> {
        let is_stdin = path == Path::new("-");
        let is_pipe = || std::fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir());
        // A plain file is uploaded from its place.
        if !is_stdin && !is_pipe() {
            let upload = match from {
                None => Upload::open(path)?,
                // The API detects the format by the extension, so `--from` replaces it in the uploaded name.
                Some(from) => {
                    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                    Upload::open_as(path, format!("{stem}.{}", extension(from)))?
                }
            };
            return Ok(Input { upload: Arc::new(upload), path: path.to_owned(), _temporary: None, is_shown: true });
        }
        context.screen.progress("reading the input", None, "");
        let named = (!is_stdin).then(|| path.to_owned());
        // On a blocking thread: a pipe may pause for any time, and Ctrl-C must still work.
        let copied = tokio::task::spawn_blocking(move || match named {
            None => copy_pipe(&mut io::stdin().lock(), Path::new("standard input")),
            Some(path) => {
                let mut pipe = File::open(&path).map_err(|cause| Error::Read { path: path.clone(), cause })?;
                copy_pipe(&mut pipe, &path)
            }
        });
        let copied =
            context.unless_interrupted(async { copied.await.map_err(|error| Error::Bug(error.to_string()))? }).await;
        context.screen.clear();
        let (file, first_byte) = copied?;
        let from = from.unwrap_or(format_of_first_byte(first_byte));
        let upload = Upload::open_as(file.path(), format!("input.{}", extension(from)))?;
        Ok(Input { upload: Arc::new(upload), path: file.path().to_owned(), _temporary: Some(file), is_shown: true })
    }

    /// Makes an input of a temporary file that is complete, to be uploaded as `name`. Its way is not shown.
    pub(super) fn temporary(file: NamedTempFile, name: String) -> Result<Self, Failure> {
        let upload = Upload::open_as(file.path(), name)?;
        let path = file.path().to_owned();
        Ok(Input { upload: Arc::new(upload), path, _temporary: Some(file), is_shown: false })
    }

    /// Returns the digest of the contents to upload, and the extension that names their format. Reads the whole file.
    pub(super) async fn digest(&self, context: &Context) -> Result<(String, String), Failure> {
        if self.is_shown {
            context.screen.progress("reading the input", None, "");
        }
        let upload = Arc::clone(&self.upload);
        let digest = tokio::task::spawn_blocking(move || upload.digest());
        let read = |cause| Error::Read { path: self.path.clone(), cause };
        let digest = context
            .unless_interrupted(async {
                Ok(digest.await.map_err(|error| Error::Bug(error.to_string()))?.map_err(read)?)
            })
            .await;
        if self.is_shown {
            context.screen.clear();
        }
        digest
    }

    /// Uploads the input with progress and returns its handle.
    pub(super) async fn upload(&self, context: &Context, client: &Client) -> Result<HandleId, Failure> {
        let uploading = client.upload(&self.upload);
        Ok(self.with_progress(context, uploading).await?.handle_id)
    }

    /// Starts a bulk job, whose request carries the input, with progress.
    pub(super) async fn start_bulk(
        &self,
        context: &Context,
        client: &Client,
        kind: BulkKind,
        config: &str,
        key: &IdempotencyKey,
    ) -> Result<RunStart, Failure> {
        self.with_progress(context, client.start_bulk(kind, &self.upload, config, key)).await
    }

    /// Waits for `sending` and shows the bytes sent so far.
    async fn with_progress<T>(
        &self,
        context: &Context,
        sending: impl Future<Output = Result<T, client::Error>>,
    ) -> Result<T, Failure> {
        if !self.is_shown {
            return context.unless_interrupted(async { Ok(sending.await?) }).await;
        }
        let (sent, total) = (self.upload.sent(), self.upload.size_bytes());
        // `sending` and the redraws share one task: an upload that ends drops the timer.
        let mut draw = tokio::time::interval(Duration::from_millis(200));
        tokio::pin!(sending);
        let done = context
            .unless_interrupted(async {
                loop {
                    tokio::select! {
                        done = &mut sending => return Ok(done?),
                        _ = draw.tick() => {
                            let now = sent.load(Ordering::Relaxed);
                            let fraction = (total > 0).then(|| now as f64 / total as f64);
                            let detail = format!("{} of {}", human_bytes(now), human_bytes(total));
                            context.screen.progress("uploading", fraction, &detail);
                        }
                    }
                }
            })
            .await;
        context.screen.clear();
        done
    }
}

/// Copies a pipe to a temporary file. Also returns its first byte that is neither white space nor part of a byte order
/// mark, which distinguishes JSON from CSV.
fn copy_pipe(pipe: &mut dyn Read, name: &Path) -> Result<(NamedTempFile, Option<u8>), Failure> {
    let read = |cause| Error::Read { path: name.to_owned(), cause };
    let write = |cause| Error::Write { path: std::env::temp_dir(), cause };
    let mut file = temporary_file("drawoff-input").map_err(write)?;
    let mut buffer = vec![0; 256 << 10];
    let mut first_byte = None;
    loop {
        let n = match pipe.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(read(cause).into()),
        };
        let bytes = &buffer[..n];
        if first_byte.is_none() {
            let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            first_byte = text.iter().copied().find(|byte| !byte.is_ascii_whitespace());
        }
        file.write_all(bytes).map_err(write)?;
    }
    file.flush().map_err(write)?;
    Ok((file, first_byte))
}

/// Infers the format from the first byte: an object is NDJSON, an array is JSON, and anything else is CSV.
fn format_of_first_byte(first_byte: Option<u8>) -> FromFormat {
    match first_byte {
        Some(b'{') => FromFormat::Ndjson,
        Some(b'[') => FromFormat::Json,
        _ => FromFormat::Csv,
    }
}

fn extension(format: FromFormat) -> &'static str {
    match format {
        FromFormat::Ndjson => "ndjson",
        FromFormat::Csv => "csv",
        // The API accepts no TSV; `Upload` refuses it with a hint.
        FromFormat::Tsv => "tsv",
        FromFormat::Json => "json",
    }
}
