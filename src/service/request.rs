//! Extraction of keys, bodies, paths and parameters from a request, with the error response of each failure, and the
//! hand-over of a handler's work to a blocking thread. Validates no contents; `body` and `query` do.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::http::{HeaderMap, StatusCode, Uri};
use futures::StreamExt;

use super::api_error::ApiError;
use super::query::Query;
use crate::api::routes::API_KEY_HEADER;

/// Runs `work` on a blocking thread, to its end even if the caller is dropped. A panic is resumed in the caller.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(ApiError::Later(StatusCode::SERVICE_UNAVAILABLE, "the service is stopping".to_owned(), 1)),
        },
    }
}

/// Returns the API key that a request carries; empty if it has none.
pub(super) fn given_key(headers: &HeaderMap) -> &str {
    headers.get(API_KEY_HEADER).and_then(|value| value.to_str().ok()).unwrap_or("").trim()
}

/// Returns the bytes of a JSON body; 413 beyond the limit, 400 if the body cannot be read.
pub(super) fn body_bytes(body: Result<Bytes, BytesRejection>) -> Result<Bytes, ApiError> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            ApiError::too_large("the request body is larger than the limit of this service")
        }
        _ => ApiError::bad_request("cannot read the request body"),
    })
}

/// Returns the text of a path's only parameter; 404 if it is not UTF-8.
pub(super) fn path_text(path: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    path.map(|Path(text)| text).map_err(|_| not_found_path())
}

/// Returns the 404 of an unknown path; a path whose parameters are not UTF-8 is one too.
pub(super) fn not_found_path() -> ApiError {
    ApiError::not_found("Not Found")
}

/// Parses the query parameters of a request.
pub(super) fn query(uri: &Uri) -> Query {
    Query::parse(uri.query())
}

/// Reads the rest of a rejected body, up to 64 MiB and 5 s: a client that is still sending would see a closed
/// connection instead of the response.
pub(super) async fn drain(body: Body) {
    const MAX_BYTES: usize = 64 << 20;
    let read = async {
        let mut chunks = body.into_data_stream();
        let mut total = 0;
        while let Some(Ok(chunk)) = chunks.next().await {
            total += chunk.len();
            if total > MAX_BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(Duration::from_secs(5), read).await;
}
