//! Downloads of result files by signed links: streamed from disk, whole or one byte range. The signature of the link
//! is the only authorization.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path as FilePath;
use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use chrono::{DateTime, TimeDelta, Utc};
use futures::stream;

use super::links::origin;
use crate::api::{HandleId, RunId, SearchDownload};
use crate::service::api_error::ApiError;
use crate::service::app::App;
use crate::service::private_files;
use crate::service::query::Query;
use crate::service::range::{self, RequestedRange};
use crate::service::request::{blocking, not_found_path, query};
use crate::service::rows::{ResultFormat, UploadRow};
use crate::service::sign::Refusal;
use crate::service::stored_names::{Extension, UploadFile};

/// Name of the bucket of uploads, which exists in responses only.
const UPLOADS_BUCKET: &str = "uploads";

/// Bytes per read from disk, which bounds the memory of a download. By eye: large enough that system calls are rare.
const CHUNK_BYTES: u64 = 256 << 10;

pub(super) async fn download(
    State(app): State<Arc<App>>,
    path: Result<Path<(String, String)>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Ok(Path((run, filename))) = path else { return Err(not_found_path()) };
    check_link(&app, &format!("/storage/files/{run}/{filename}"), &query(&uri))?;
    blocking(move || {
        let not_found = || ApiError::not_found("File not found");
        let run = RunId(run);
        let row = match app.engine.active(&run) {
            Some(active) => Some(active.snapshot(app.config.clock.now())),
            None => app.store.run(&run)?,
        };
        if row.is_none()
            && let Some(upload) = app.store.upload(&HandleId(run.0.clone()))?
        {
            return respond_with_upload(&app, &run.0, &filename, &upload, &headers);
        }
        // Only recorded files are served, so a name in the link cannot lead outside the run's directory.
        let blocks = row.ok_or_else(not_found)?.blocks;
        let row = blocks.into_iter().flat_map(|block| block.files).find(|file| file.filename.as_str() == filename);
        let row = row.ok_or_else(not_found)?;
        let directory = app.directories.run(&run);
        private_files::check_directory(&directory)?;
        let file = ServedFile {
            size_bytes: row.size_bytes,
            etag: row.etag,
            created_at: row.created_at,
            content_type: row.format.content_type(),
            filename: row.filename.as_str().to_owned(),
        };
        respond(&directory.join(&file.filename), &file, &headers)
    })
    .await
}

/// Returns a signed link to an upload, with its bucket and path.
pub(super) async fn upload_link(
    State(app): State<Arc<App>>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<SearchDownload>, ApiError> {
    let handle = HandleId(query(&uri).required("resource_handle_id")?.to_owned());
    let origin = origin(&app, &headers);
    blocking(move || {
        let upload = app.store.upload(&handle)?.ok_or_else(|| ApiError::not_found("File not found"))?;
        let file = UploadFile::of(&handle, upload.extension).map_err(ApiError::not_found)?;
        let life = TimeDelta::from_std(app.config.link_life).unwrap_or(TimeDelta::MAX);
        let expires = (app.config.clock.now() + life).timestamp();
        let link = app.signer.link(&RunId(handle.0), file.as_str(), expires);
        let path = file.as_str().to_owned();
        Ok(Json(SearchDownload { url: format!("{origin}{link}"), bucket: UPLOADS_BUCKET.to_owned(), path }))
    })
    .await
}

fn respond_with_upload(
    app: &App,
    handle: &str,
    filename: &str,
    upload: &UploadRow,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let file = UploadFile::of(&HandleId(handle.to_owned()), upload.extension).ok();
    let file = file.filter(|file| file.as_str() == filename).ok_or_else(|| ApiError::not_found("File not found"))?;
    let served = ServedFile {
        size_bytes: upload.size_bytes,
        // An upload never changes under its handle, except that a start of the service may replace it.
        etag: format!("\"{}-{}\"", upload.created_at.timestamp_micros(), upload.size_bytes),
        created_at: upload.created_at,
        content_type: match upload.extension {
            Extension::Csv => ResultFormat::Csv.content_type(),
            Extension::Json => ResultFormat::Json.content_type(),
            _ => ResultFormat::Ndjson.content_type(),
        },
        filename: filename.to_owned(),
    };
    respond(&app.directories.upload(&file), &served, headers)
}

/// Facts of a file that is served.
struct ServedFile {
    size_bytes: u64,
    etag: String,
    created_at: DateTime<Utc>,
    content_type: &'static str,
    filename: String,
}

/// Checks the signature of a link to `path`, and that it has not expired; 403 otherwise.
pub(super) fn check_link(app: &App, path: &str, query: &Query) -> Result<(), ApiError> {
    let (expires, signature) = (query.get("expires").unwrap_or(""), query.get("sig").unwrap_or(""));
    app.signer.check(path, expires, signature, app.config.clock.now()).map_err(|refusal| {
        let text = match refusal {
            Refusal::Signature => "the link has an invalid signature",
            Refusal::Expired => "this link has expired",
        };
        ApiError::Text(StatusCode::FORBIDDEN, text.to_owned())
    })
}

/// Rejects `HEAD` with 403, as the storage services behind the vendor's links do: their links are signed for `GET`.
pub(super) async fn reject_head() -> ApiError {
    ApiError::Text(StatusCode::FORBIDDEN, "the link is signed for GET only".to_owned())
}

/// Builds the response for one file: 200, 206 or 416 by the range headers.
fn respond(path: &FilePath, row: &ServedFile, headers: &HeaderMap) -> Result<Response, ApiError> {
    let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let size = row.size_bytes;
    let last_modified = httpdate::fmt_http_date(within_http_dates(row.created_at).into());
    // Without a matching If-Range, the client has bytes of another version and needs the whole file.
    let range_header =
        header(header::RANGE).filter(|_| range::if_range_matches(header(header::IF_RANGE), &row.etag, &last_modified));
    let common = [
        (header::ACCEPT_RANGES, "bytes".to_owned()),
        (header::ETAG, row.etag.clone()),
        (header::LAST_MODIFIED, last_modified.clone()),
    ];
    let (status, start, len) = match range::requested_range(range_header, size) {
        RequestedRange::Whole => (StatusCode::OK, 0, size),
        RequestedRange::Part { start, len } => (StatusCode::PARTIAL_CONTENT, start, len),
        RequestedRange::Unsatisfiable => {
            let error = ApiError::Text(StatusCode::RANGE_NOT_SATISFIABLE, format!("the file has {size} bytes"));
            let content_range = [(header::CONTENT_RANGE, format!("bytes */{size}"))];
            return Ok((common, content_range, error).into_response());
        }
    };
    let mut file = private_files::open(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut response = (
        status,
        common,
        [
            (header::CONTENT_TYPE, row.content_type.to_owned()),
            (header::CONTENT_LENGTH, len.to_string()),
            (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", row.filename)),
        ],
        stream_of(file, len),
    )
        .into_response();
    if status == StatusCode::PARTIAL_CONTENT {
        let content_range = format!("bytes {start}-{}/{size}", start + len - 1);
        // Always parses: digits and ASCII punctuation are a valid header value.
        if let Ok(value) = content_range.parse() {
            response.headers_mut().insert(header::CONTENT_RANGE, value);
        }
    }
    Ok(response)
}

/// Returns the nearest time that an HTTP date can express: it has four digits for the year, and none before 1970.
fn within_http_dates(time: DateTime<Utc>) -> DateTime<Utc> {
    // The last second of the year 9999.
    const LAST: i64 = 253_402_300_799;
    DateTime::from_timestamp(time.timestamp().clamp(0, LAST), 0).unwrap_or(time)
}

/// Returns the next `len` bytes of a file as a body.
pub(super) fn stream_of(file: File, len: u64) -> Body {
    Body::from_stream(stream::try_unfold((file, len), next_chunk))
}

/// Reads the next chunk of a file with `remaining` bytes to send; `None` at the end.
async fn next_chunk((mut file, remaining): (File, u64)) -> std::io::Result<Option<(Bytes, (File, u64))>> {
    if remaining == 0 {
        return Ok(None);
    }
    let read = tokio::task::spawn_blocking(move || {
        let mut chunk = vec![0; remaining.min(CHUNK_BYTES) as usize];
        // A file shorter than recorded is an error, which closes the connection, so that the client detects truncation.
        file.read_exact(&mut chunk)?;
        Ok::<_, std::io::Error>((chunk, file))
    });
    let (chunk, file) = read.await.map_err(std::io::Error::other)??;
    let remaining = remaining - chunk.len() as u64;
    Ok(Some((chunk.into(), (file, remaining))))
}
