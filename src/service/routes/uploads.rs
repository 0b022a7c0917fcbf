//! Uploads: one file part of a multipart form, streamed to disk.

use std::io::Write;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::multipart::{Field, MultipartError, MultipartRejection};
use axum::extract::{Multipart, State};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{App, blocking};
use crate::api::{HandleId, Uploaded};
use crate::service::answer::{Fault, Place};
use crate::service::engine::{Folders, PARTIAL_PREFIX};
use crate::service::rows::UploadRow;

/// Extensions that are taken, in lower case.
const EXTENSIONS: [&str; 4] = ["csv", "json", "jsonl", "ndjson"];

/// Chunks between the socket and the disk: enough that neither waits for the other's every step.
/// A chunk is what one read of the socket gave, at most some 100 KiB.
const CHUNKS_IN_FLIGHT: usize = 8;

/// Bytes of a refused upload that are read on, so that the client has sent all and sees the answer.
const MAX_DRAINED_BYTES: u64 = 64 << 20;

/// A piece of a file on its way to the disk.
enum Piece {
    Data(Bytes),
    /// The file is whole. Without this it is thrown away.
    End,
}

pub(super) async fn upload(
    State(app): State<Arc<App>>,
    form: Result<Multipart, MultipartRejection>,
) -> Result<Json<Uploaded>, Fault> {
    let place = Place::root("body").key("file");
    let Ok(mut form) = form else { return Err(Fault::Invalid(vec![place.missing()])) };
    let mut received: Option<Received> = None;
    let mut file_parts = 0;
    let mut refused: Option<Fault> = None;
    while let Some(mut field) = form.next_field().await.map_err(malformed)? {
        let is_file = field.file_name().is_some();
        file_parts += usize::from(is_file);
        // Our reading: the part is called `file`; parts that are not files are not looked at.
        if is_file && file_parts == 1 && field.name() == Some("file") && refused.is_none() {
            match receive(&app, &mut field).await {
                Ok(file) => received = Some(file),
                Err(Ended::Refused(fault)) => refused = Some(fault),
                Err(Ended::Broken(fault)) => return Err(fault),
            }
        }
        // The answer waits until the form is read, unless that has no end.
        let mut drained = 0;
        while let Some(chunk) = field.chunk().await.map_err(malformed)? {
            drained += chunk.len() as u64;
            if drained > MAX_DRAINED_BYTES {
                return Err(refused.unwrap_or_else(|| Fault::too_large("the form is larger than this service accepts")));
            }
        }
    }
    if let Some(fault) = refused {
        return Err(fault);
    }
    if file_parts > 1 {
        return Err(Fault::Invalid(vec![place.invalid("too_many", "the form must have exactly one file part")]));
    }
    let Some(received) = received else { return Err(Fault::Invalid(vec![place.missing()])) };
    blocking(move || received.keep(&app).map(Json)).await
}

/// A file that is whole on disk under a temporary name.
struct Received {
    file: tempfile::NamedTempFile,
    row: UploadRow,
}

enum Ended {
    /// The request is wrong; the rest of it may be read.
    Refused(Fault),
    /// The request cannot be read on.
    Broken(Fault),
}

impl Received {
    /// Gives the file its name, then records it: a handle that exists has a whole file.
    fn keep(self, app: &App) -> Result<Uploaded, Fault> {
        let handle_id = HandleId(Uuid::new_v4().to_string());
        let path = app.folders.upload(&handle_id, &self.row);
        self.file.persist(path).map_err(|error| Fault::from(error.error))?;
        // The name must be on disk before the row that speaks of it.
        std::fs::File::open(app.folders.uploads())?.sync_all()?;
        app.store.add_upload(&handle_id, &self.row)?;
        Ok(Uploaded { handle_id })
    }
}

/// Streams one part to disk.
async fn receive(app: &App, field: &mut Field<'_>) -> Result<Received, Ended> {
    let filename = field.file_name().unwrap_or_default().to_owned();
    let extension = filename.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    // Our reading: the extension decides the format, and another one is 400.
    if !EXTENSIONS.contains(&extension.as_str()) {
        let text = format!("unsupported file type: the name must end in .{}", EXTENSIONS.join(", ."));
        return Err(Ended::Refused(Fault::bad_request(text)));
    }
    let (pieces, incoming) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let folders = app.folders.clone();
    let writer = tokio::task::spawn_blocking(move || write(&folders, incoming));
    let mut size_bytes = 0;
    let mut failed = None;
    loop {
        let piece = match field.chunk().await {
            Ok(Some(chunk)) => {
                size_bytes += chunk.len() as u64;
                if size_bytes > app.config.max_upload_bytes {
                    let limit = app.config.max_upload_bytes;
                    let text = format!("the file is larger than the limit of {limit} bytes");
                    failed = Some(Ended::Refused(Fault::too_large(text)));
                    break;
                }
                Piece::Data(chunk)
            }
            Ok(None) => Piece::End,
            Err(error) => {
                failed = Some(Ended::Broken(malformed(error)));
                break;
            }
        };
        let end = matches!(piece, Piece::End);
        // The writer hangs up only when it failed; it says why below.
        if pieces.send(piece).await.is_err() || end {
            break;
        }
    }
    drop(pieces);
    let written = writer.await.map_err(|error| Ended::Refused(Fault::internal(&error)))?;
    match (failed, written) {
        (Some(failed), _) => Err(failed),
        (None, Ok(Some(file))) => {
            let created_at = app.config.clock.now();
            Ok(Received { file, row: UploadRow { filename, extension, size_bytes, created_at } })
        }
        (None, Ok(None)) => Err(Ended::Refused(Fault::bad_request("the upload ended early"))),
        (None, Err(error)) => Err(Ended::Refused(error.into())),
    }
}

/// Writes pieces to a temporary file; `None` if they ended before the file did.
fn write(folders: &Folders, mut pieces: mpsc::Receiver<Piece>) -> std::io::Result<Option<tempfile::NamedTempFile>> {
    let mut file = tempfile::Builder::new().prefix(PARTIAL_PREFIX).tempfile_in(folders.uploads())?;
    while let Some(piece) = pieces.blocking_recv() {
        match piece {
            Piece::Data(bytes) => file.write_all(&bytes)?,
            Piece::End => {
                file.as_file().sync_all()?;
                return Ok(Some(file));
            }
        }
    }
    Ok(None)
}

fn malformed(error: MultipartError) -> Fault {
    let status = error.status();
    if status.is_client_error() {
        Fault::Text(status, format!("the form cannot be read: {}", error.body_text()))
    } else {
        Fault::internal(&error)
    }
}
