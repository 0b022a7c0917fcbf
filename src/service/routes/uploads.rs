//! Uploads of a multipart form with one file part, streamed to disk while rows are counted. A handle is returned only
//! after the file is complete and recorded; a rejected or truncated upload leaves no file.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::multipart::{Field, MultipartError, MultipartRejection};
use axum::extract::{Multipart, State};
use axum::http::StatusCode;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::api::{HandleId, Uploaded};
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::count::RowCounter;
use crate::service::directories::{Directories, PARTIAL_PREFIX};
use crate::service::location::Location;
use crate::service::request::blocking;
use crate::service::rows::UploadRow;
use crate::service::stored_names::{Extension, UploadFile};

/// Capacity of the channel between socket and disk, by eye: enough that neither waits for each step of the other.
/// A chunk is one read of the socket, at most some 100 KiB.
const CHUNKS_IN_FLIGHT: usize = 8;

/// Bytes to read of a rejected upload: a client that is still sending would not see the response.
const MAX_DRAINED_BYTES: u64 = 64 << 20;

/// A message from the socket's side to the writer of the file.
enum UploadChunk {
    Data(Bytes),
    /// The file is complete. A channel that closes without it discards the file.
    End,
}

pub(super) async fn upload(
    State(app): State<Arc<App>>,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Json<Uploaded>, ApiError> {
    let Form { file, .. } = read_form(&app, form, None).await?;
    blocking(move || {
        // An upload that ends during a reset belongs to the time after it.
        let _no_reset = app.resetting.blocking_read();
        Ok(Json(Uploaded { handle_id: file.persist(&app)? }))
    })
    .await
}

/// The parts of a form.
pub(super) struct Form {
    pub file: ReceivedFile,
    /// The requested text part; `None` if the form has none.
    pub text: Option<String>,
}

/// Reads a form with one file part called `file`, which is streamed to disk. `text_part` is the name and the largest
/// size in bytes of a text part to read, which may have a file name too. Dropping the future discards the file.
pub(super) async fn read_form(
    app: &App,
    form: Result<Multipart, MultipartRejection>,
    text_part: Option<(&str, usize)>,
) -> Result<Form, ApiError> {
    let location = Location::root("body").key("file");
    let Ok(mut form) = form else { return Err(ApiError::Invalid(vec![location.missing()])) };
    let stall = app.config.upload_stall;
    let mut received: Option<ReceivedFile> = None;
    let mut text: Option<String> = None;
    let mut file_parts = 0;
    let mut rejected: Option<ApiError> = None;
    while let Some(mut field) = before_stall(stall, form.next_field()).await? {
        // The parts may have any order, so an error is kept until all are read.
        if let Some((name, max_bytes)) = text_part.filter(|(name, _)| field.name() == Some(name)) {
            match read_text(&mut field, stall, name, max_bytes).await? {
                Ok(read) => text = Some(read),
                Err(error) => rejected = rejected.or(Some(error)),
            }
        } else {
            let is_file = field.file_name().is_some();
            file_parts += usize::from(is_file);
            // Our reading: the part is called `file`; other parts without a file name are ignored.
            if is_file && file_parts == 1 && field.name() == Some("file") && rejected.is_none() {
                match receive(app, &mut field).await {
                    Ok(file) => received = Some(file),
                    Err(PartFailure::Rejected(error)) => rejected = Some(error),
                    Err(PartFailure::FormBroken(error)) => return Err(error),
                }
            }
        }
        // The response waits until the form is read, within a bound.
        let mut drained = 0;
        while let Some(chunk) = before_stall(stall, field.chunk()).await? {
            drained += chunk.len() as u64;
            if drained > MAX_DRAINED_BYTES {
                let too_large = || ApiError::too_large("the form is larger than the limit of this service");
                return Err(rejected.unwrap_or_else(too_large));
            }
        }
    }
    if let Some(error) = rejected {
        return Err(error);
    }
    if file_parts > 1 {
        return Err(ApiError::Invalid(vec![location.invalid("too_many", "the form must have exactly one file part")]));
    }
    let Some(file) = received else { return Err(ApiError::Invalid(vec![location.missing()])) };
    Ok(Form { file, text })
}

/// Reads the text of a part. The outer error ends the request; the inner one rejects the part, and the rest of the form
/// can still be read.
async fn read_text(
    field: &mut Field<'_>,
    stall: Duration,
    name: &str,
    max_bytes: usize,
) -> Result<Result<String, ApiError>, ApiError> {
    let reject = |kind: &str, text: String| {
        Ok(Err(ApiError::Invalid(vec![Location::root("body").key(name).invalid(kind, text)])))
    };
    let mut bytes = Vec::new();
    while let Some(chunk) = before_stall(stall, field.chunk()).await? {
        if bytes.len() + chunk.len() > max_bytes {
            return reject("string_too_long", format!("{name} is longer than {max_bytes} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Ok(text)),
        Err(_) => reject("string_unicode", format!("{name} is not UTF-8")),
    }
}

/// Awaits the next field or chunk of a form; 408 if the client sends nothing for `stall`.
async fn before_stall<T>(
    stall: Duration,
    next: impl Future<Output = Result<Option<T>, MultipartError>>,
) -> Result<Option<T>, ApiError> {
    match tokio::time::timeout(stall, next).await {
        Ok(next) => next.map_err(malformed),
        Err(_) => Err(stalled()),
    }
}

fn stalled() -> ApiError {
    ApiError::Text(StatusCode::REQUEST_TIMEOUT, "the upload stalled".to_owned())
}

/// A file that is complete on disk under a temporary name; dropping it removes the file.
pub(super) struct ReceivedFile {
    file: tempfile::NamedTempFile,
    row: UploadRow,
    pub rows: u64,
}

/// The failure of a file part.
enum PartFailure {
    /// The part is rejected; the rest of the form can be read.
    Rejected(ApiError),
    /// The rest of the form cannot be read.
    FormBroken(ApiError),
}

impl ReceivedFile {
    /// Renames the file to its final name and then records it, so that every handle has a complete file. The caller
    /// holds [`App::resetting`]. Blocks.
    pub(super) fn persist(self, app: &App) -> Result<HandleId, ApiError> {
        let handle_id = HandleId(Uuid::new_v4().to_string());
        let name = UploadFile::of(&handle_id, self.row.extension).map_err(std::io::Error::other)?;
        self.file.persist(app.directories.upload(&name)).map_err(|error| ApiError::from(error.error))?;
        // The directory entry must be durable before the row that names the file.
        std::fs::File::open(app.directories.uploads())?.sync_all()?;
        app.store.add_upload(&handle_id, &self.row)?;
        Ok(handle_id)
    }
}

/// Streams one part to disk under a temporary name and counts its rows.
async fn receive(app: &App, field: &mut Field<'_>) -> Result<ReceivedFile, PartFailure> {
    let filename = field.file_name().unwrap_or_default().to_owned();
    let extension = filename.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    // Our reading: the extension decides the format, and an unknown one is a 400.
    let Some(extension) = Extension::parse(&extension) else {
        let text = format!(
            "unsupported file type: the name must end in .{}",
            Extension::ALL.map(Extension::as_str).join(", .")
        );
        return Err(PartFailure::Rejected(ApiError::bad_request(text)));
    };
    let (chunks, incoming) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let directories = app.directories.clone();
    let counter = RowCounter::new(extension);
    // The writer has its own thread: file writes block, and the socket must be read meanwhile.
    let writer = tokio::task::spawn_blocking(move || write(&directories, incoming, counter));
    let mut size_bytes = 0;
    let mut failed = None;
    loop {
        let message = match before_stall(app.config.upload_stall, field.chunk()).await {
            Ok(Some(chunk)) => {
                size_bytes += chunk.len() as u64;
                if size_bytes > app.config.max_upload_bytes {
                    let limit = app.config.max_upload_bytes;
                    let text = format!("the file is larger than this service's limit of {limit} bytes");
                    failed = Some(PartFailure::Rejected(ApiError::too_large(text)));
                    break;
                }
                UploadChunk::Data(chunk)
            }
            Ok(None) => UploadChunk::End,
            Err(error) => {
                failed = Some(PartFailure::FormBroken(error));
                break;
            }
        };
        let is_end = matches!(message, UploadChunk::End);
        // The writer closes the channel early only if it failed; its error is returned below.
        if chunks.send(message).await.is_err() || is_end {
            break;
        }
    }
    // The closed channel ends the writer, which discards the file unless it received `End`.
    drop(chunks);
    let written = writer.await.map_err(|error| PartFailure::Rejected(ApiError::internal(&error)))?;
    match (failed, written) {
        (Some(failed), _) => Err(failed),
        (None, Ok(Some((_, rows)))) if rows > app.config.max_upload_rows => {
            let limit = app.config.max_upload_rows;
            let text = format!("the file has {rows} rows, more than this service's limit of {limit}");
            let location = Location::root("body").key("file");
            Err(PartFailure::Rejected(ApiError::Invalid(vec![location.invalid("too_many_rows", text)])))
        }
        (None, Ok(Some((file, rows)))) => {
            let created_at = app.config.clock.now();
            Ok(ReceivedFile { file, row: UploadRow { filename, extension, size_bytes, created_at }, rows })
        }
        (None, Ok(None)) => Err(PartFailure::Rejected(ApiError::bad_request("the upload is truncated"))),
        (None, Err(error)) => Err(PartFailure::Rejected(error.into())),
    }
}

/// Writes chunks to a temporary file, counts its rows and syncs it; `None` if the channel closed before
/// [`UploadChunk::End`]. Blocks.
fn write(
    directories: &Directories,
    mut chunks: mpsc::Receiver<UploadChunk>,
    mut counter: RowCounter,
) -> std::io::Result<Option<(tempfile::NamedTempFile, u64)>> {
    let mut file = tempfile::Builder::new().prefix(PARTIAL_PREFIX).tempfile_in(directories.uploads())?;
    while let Some(message) = chunks.blocking_recv() {
        match message {
            UploadChunk::Data(bytes) => {
                counter.feed(&bytes);
                file.write_all(&bytes)?;
            }
            UploadChunk::End => {
                file.as_file().sync_all()?;
                return Ok(Some((file, counter.rows())));
            }
        }
    }
    Ok(None)
}

fn malformed(error: MultipartError) -> ApiError {
    let status = error.status();
    if status.is_client_error() {
        ApiError::Text(status, format!("cannot read the multipart form: {}", error.body_text()))
    } else {
        ApiError::internal(&error)
    }
}
