//! Uploads: one file part of a multipart form, streamed to disk.

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

/// Extensions that are taken, in lower case.
const EXTENSIONS: [&str; 4] = ["csv", "json", "jsonl", "ndjson"];

/// Chunks between the socket and the disk: enough that neither waits for the other's every step.
/// A chunk is what one read of the socket gave, at most some 100 KiB.
const CHUNKS_IN_FLIGHT: usize = 8;

/// Bytes of a refused upload that are read on, so that the client has sent all and sees the answer.
const MAX_DRAINED_BYTES: u64 = 64 << 20;

/// A piece of a file on its way to the disk.
enum UploadChunk {
    Data(Bytes),
    /// The file is whole. Without this it is thrown away.
    End,
}

pub(super) async fn upload(
    State(app): State<Arc<App>>,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Json<Uploaded>, ApiError> {
    let Form { file, .. } = read_form(&app, form, None).await?;
    blocking(move || Ok(Json(Uploaded { handle_id: file.keep(&app)? }))).await
}

/// What a form has brought.
pub(super) struct Form {
    pub file: Received,
    /// The text part that was asked for, if it came.
    pub text: Option<String>,
}

/// Reads a form with one file part called `file`, which is streamed to disk, and perhaps a text part: its name, and
/// how many bytes it may have. A text part may come as a file, too.
pub(super) async fn read_form(
    app: &App,
    form: Result<Multipart, MultipartRejection>,
    text_part: Option<(&str, usize)>,
) -> Result<Form, ApiError> {
    let place = Location::root("body").key("file");
    let Ok(mut form) = form else { return Err(ApiError::Invalid(vec![place.missing()])) };
    let stall = app.config.upload_stall;
    let mut received: Option<Received> = None;
    let mut text: Option<String> = None;
    let mut file_parts = 0;
    let mut refused: Option<ApiError> = None;
    while let Some(mut field) = in_time(stall, form.next_field()).await? {
        if let Some((name, max_bytes)) = text_part.filter(|(name, _)| field.name() == Some(name)) {
            match read_text(&mut field, stall, name, max_bytes).await? {
                Ok(read) => text = Some(read),
                Err(fault) => refused = refused.or(Some(fault)),
            }
        } else {
            let is_file = field.file_name().is_some();
            file_parts += usize::from(is_file);
            // Our reading: the part is called `file`; parts that are not files are not looked at.
            if is_file && file_parts == 1 && field.name() == Some("file") && refused.is_none() {
                match receive(app, &mut field).await {
                    Ok(file) => received = Some(file),
                    Err(Ended::Refused(fault)) => refused = Some(fault),
                    Err(Ended::Broken(fault)) => return Err(fault),
                }
            }
        }
        // The answer waits until the form is read, unless that has no end.
        let mut drained = 0;
        while let Some(chunk) = in_time(stall, field.chunk()).await? {
            drained += chunk.len() as u64;
            if drained > MAX_DRAINED_BYTES {
                return Err(
                    refused.unwrap_or_else(|| ApiError::too_large("the form is larger than this service accepts"))
                );
            }
        }
    }
    if let Some(fault) = refused {
        return Err(fault);
    }
    if file_parts > 1 {
        return Err(ApiError::Invalid(vec![place.invalid("too_many", "the form must have exactly one file part")]));
    }
    let Some(file) = received else { return Err(ApiError::Invalid(vec![place.missing()])) };
    Ok(Form { file, text })
}

/// The text of a part, or why it is refused.
async fn read_text(
    field: &mut Field<'_>,
    stall: Duration,
    name: &str,
    max_bytes: usize,
) -> Result<Result<String, ApiError>, ApiError> {
    let refuse = |kind: &str, text: String| {
        Ok(Err(ApiError::Invalid(vec![Location::root("body").key(name).invalid(kind, text)])))
    };
    let mut bytes = Vec::new();
    while let Some(chunk) = in_time(stall, field.chunk()).await? {
        if bytes.len() + chunk.len() > max_bytes {
            return refuse("string_too_long", format!("{name} is longer than {max_bytes} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Ok(text)),
        Err(_) => refuse("string_unicode", format!("{name} is not UTF-8")),
    }
}

/// The next piece of a form, unless the client sends nothing for too long.
async fn in_time<T>(
    stall: Duration,
    next: impl Future<Output = Result<Option<T>, MultipartError>>,
) -> Result<Option<T>, ApiError> {
    match tokio::time::timeout(stall, next).await {
        Ok(next) => next.map_err(malformed),
        Err(_) => Err(stalled()),
    }
}

fn stalled() -> ApiError {
    ApiError::Text(StatusCode::REQUEST_TIMEOUT, "the form stopped coming".to_owned())
}

/// A file that is whole on disk under a temporary name.
pub(super) struct Received {
    file: tempfile::NamedTempFile,
    row: UploadRow,
    pub rows: u64,
}

enum Ended {
    /// The request is wrong; the rest of it may be read.
    Refused(ApiError),
    /// The request cannot be read on.
    Broken(ApiError),
}

impl Received {
    /// Gives the file its name, then records it: a handle that exists has a whole file.
    pub(super) fn keep(self, app: &App) -> Result<HandleId, ApiError> {
        let handle_id = HandleId(Uuid::new_v4().to_string());
        let path = app.folders.upload(&handle_id, &self.row);
        self.file.persist(path).map_err(|error| ApiError::from(error.error))?;
        // The name must be on disk before the row that speaks of it.
        std::fs::File::open(app.folders.uploads())?.sync_all()?;
        app.store.add_upload(&handle_id, &self.row)?;
        Ok(handle_id)
    }
}

/// Streams one part to disk.
async fn receive(app: &App, field: &mut Field<'_>) -> Result<Received, Ended> {
    let filename = field.file_name().unwrap_or_default().to_owned();
    let extension = filename.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    // Our reading: the extension decides the format, and another one is 400.
    if !EXTENSIONS.contains(&extension.as_str()) {
        let text = format!("unsupported file type: the name must end in .{}", EXTENSIONS.join(", ."));
        return Err(Ended::Refused(ApiError::bad_request(text)));
    }
    let (pieces, incoming) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let folders = app.folders.clone();
    let counter = RowCounter::new(&extension);
    let writer = tokio::task::spawn_blocking(move || write(&folders, incoming, counter));
    let mut size_bytes = 0;
    let mut failed = None;
    loop {
        let piece = match in_time(app.config.upload_stall, field.chunk()).await {
            Ok(Some(chunk)) => {
                size_bytes += chunk.len() as u64;
                if size_bytes > app.config.max_upload_bytes {
                    let limit = app.config.max_upload_bytes;
                    let text = format!("the file is larger than the limit of {limit} bytes of this service");
                    failed = Some(Ended::Refused(ApiError::too_large(text)));
                    break;
                }
                UploadChunk::Data(chunk)
            }
            Ok(None) => UploadChunk::End,
            Err(fault) => {
                failed = Some(Ended::Broken(fault));
                break;
            }
        };
        let end = matches!(piece, UploadChunk::End);
        // The writer hangs up only when it failed; it says why below.
        if pieces.send(piece).await.is_err() || end {
            break;
        }
    }
    drop(pieces);
    let written = writer.await.map_err(|error| Ended::Refused(ApiError::internal(&error)))?;
    match (failed, written) {
        (Some(failed), _) => Err(failed),
        (None, Ok(Some((_, rows)))) if rows > app.config.max_upload_rows => {
            let limit = app.config.max_upload_rows;
            let text = format!("the file has {rows} rows, more than the limit of {limit} of this service");
            let place = Location::root("body").key("file");
            Err(Ended::Refused(ApiError::Invalid(vec![place.invalid("too_many_rows", text)])))
        }
        (None, Ok(Some((file, rows)))) => {
            let created_at = app.config.clock.now();
            Ok(Received { file, row: UploadRow { filename, extension, size_bytes, created_at }, rows })
        }
        (None, Ok(None)) => Err(Ended::Refused(ApiError::bad_request("the upload ended early"))),
        (None, Err(error)) => Err(Ended::Refused(error.into())),
    }
}

/// Writes pieces to a temporary file and counts its rows; `None` if they ended before the file did.
fn write(
    folders: &Directories,
    mut pieces: mpsc::Receiver<UploadChunk>,
    mut counter: RowCounter,
) -> std::io::Result<Option<(tempfile::NamedTempFile, u64)>> {
    let mut file = tempfile::Builder::new().prefix(PARTIAL_PREFIX).tempfile_in(folders.uploads())?;
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
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
        ApiError::Text(status, format!("the form cannot be read: {}", error.body_text()))
    } else {
        ApiError::internal(&error)
    }
}
