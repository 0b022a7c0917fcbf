//! Inputs on their way to the API.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::api::{BulkKind, BulkStarted, HandleId};
use crate::cli::choices::FromFormat;
use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::client::{self, Client, IdempotencyKey, Upload};
use crate::text::human_bytes;

/// An input file, or a pipe spooled to a temporary one.
pub struct Input {
    upload: Arc<Upload>,
    path: PathBuf,
    /// Dropped, and so removed, after the upload.
    _spool: Option<NamedTempFile>,
}

impl Input {
    /// Opens `path`; `-` is standard input. The format of a pipe is `from` or told by its first bytes.
    pub async fn open(context: &Context, path: &Path, from: Option<FromFormat>) -> Result<Self, Failure> {
        let is_stdin = path == Path::new("-");
        let is_pipe = || std::fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir());
        if !is_stdin && !is_pipe() {
            let upload = match from {
                None => Upload::open(path)?,
                // The API goes by the extension, so a told format becomes one.
                Some(from) => {
                    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
                    Upload::open_as(path, format!("{stem}.{}", extension(from)))?
                }
            };
            return Ok(Input { upload: Arc::new(upload), path: path.to_owned(), _spool: None });
        }
        context.screen.progress("reading the input", None, "");
        let named = (!is_stdin).then(|| path.to_owned());
        let spooled = tokio::task::spawn_blocking(move || match named {
            None => spool(&mut io::stdin().lock(), Path::new("standard input")),
            Some(path) => {
                let mut pipe = File::open(&path).map_err(|cause| Error::Read { path: path.clone(), cause })?;
                spool(&mut pipe, &path)
            }
        });
        let spooled =
            context.unless_interrupted(async { spooled.await.map_err(|error| Error::Bug(error.to_string()))? }).await;
        context.screen.clear();
        let (spool, first) = spooled?;
        let from = from.unwrap_or(told_by_first_byte(first));
        let upload = Upload::open_as(spool.path(), format!("input.{}", extension(from)))?;
        Ok(Input { upload: Arc::new(upload), path: spool.path().to_owned(), _spool: Some(spool) })
    }

    /// The digest of what would be uploaded, and the extension that tells its format.
    pub async fn digest(&self, context: &Context) -> Result<(String, String), Failure> {
        context.screen.progress("reading the input", None, "");
        let upload = Arc::clone(&self.upload);
        let digest = tokio::task::spawn_blocking(move || upload.digest());
        let read = |cause| Error::Read { path: self.path.clone(), cause };
        let digest = context
            .unless_interrupted(async {
                Ok(digest.await.map_err(|error| Error::Bug(error.to_string()))?.map_err(read)?)
            })
            .await;
        context.screen.clear();
        digest
    }

    /// Uploads it, with progress.
    pub async fn upload(&self, context: &Context, client: &Client) -> Result<HandleId, Failure> {
        let uploading = client.upload(&self.upload);
        Ok(self.with_progress(context, uploading).await?.handle_id)
    }

    /// Starts a bulk job with it, with progress.
    pub async fn start_bulk(
        &self,
        context: &Context,
        client: &Client,
        kind: BulkKind,
        config: &str,
        key: &IdempotencyKey,
    ) -> Result<BulkStarted, Failure> {
        self.with_progress(context, client.start_bulk(kind, &self.upload, config, key)).await
    }

    /// Shows how far `sending` is.
    async fn with_progress<T>(
        &self,
        context: &Context,
        sending: impl Future<Output = Result<T, client::Error>>,
    ) -> Result<T, Failure> {
        let (sent, total) = (self.upload.sent(), self.upload.size_bytes());
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

/// A pipe in a temporary file, and its first byte that is no white space: an upload needs its length.
fn spool(pipe: &mut dyn Read, name: &Path) -> Result<(NamedTempFile, Option<u8>), Failure> {
    let read = |cause| Error::Read { path: name.to_owned(), cause };
    let write = |cause| Error::Write { path: std::env::temp_dir(), cause };
    let mut spool = tempfile::Builder::new().prefix("drawoff-input-").tempfile().map_err(write)?;
    let mut buffer = vec![0; 256 << 10];
    let mut first = None;
    loop {
        let n = match pipe.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(cause) => return Err(read(cause).into()),
        };
        let bytes = &buffer[..n];
        if first.is_none() {
            let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
            first = text.iter().copied().find(|byte| !byte.is_ascii_whitespace());
        }
        spool.write_all(bytes).map_err(write)?;
    }
    spool.flush().map_err(write)?;
    Ok((spool, first))
}

fn told_by_first_byte(first: Option<u8>) -> FromFormat {
    match first {
        Some(b'{') => FromFormat::Ndjson,
        Some(b'[') => FromFormat::Json,
        _ => FromFormat::Csv,
    }
}

fn extension(format: FromFormat) -> &'static str {
    match format {
        FromFormat::Ndjson => "ndjson",
        FromFormat::Csv => "csv",
        // The API takes none; the upload says so.
        FromFormat::Tsv => "tsv",
        FromFormat::Json => "json",
    }
}
