//! Requests on their way to a handler: bodies, paths and parameters with the refusals that they may end in, and the
//! thread that may block, on which a handler does its work.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::extract::rejection::{BytesRejection, PathRejection};
use axum::http::{HeaderMap, StatusCode, Uri};
use futures::StreamExt;

use super::api_error::ApiError;
use super::query::Query;
use crate::api::routes::API_KEY_HEADER;

/// Does `work` on a thread that may block. A panic goes on in the caller.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => Err(ApiError::Text(StatusCode::SERVICE_UNAVAILABLE, "the service is stopping".to_owned())),
        },
    }
}

/// The key that a request carries; empty if none.
pub(super) fn given_key(headers: &HeaderMap) -> &str {
    headers.get(API_KEY_HEADER).and_then(|value| value.to_str().ok()).unwrap_or("").trim()
}

/// The bytes of a JSON body.
pub(super) fn body_bytes(body: Result<Bytes, BytesRejection>) -> Result<Bytes, ApiError> {
    body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => ApiError::too_large("the body is larger than this service accepts"),
        _ => ApiError::bad_request("the body could not be read"),
    })
}

/// The text of a path's one parameter.
pub(super) fn path_text(path: Result<Path<String>, PathRejection>) -> Result<String, ApiError> {
    path.map(|Path(text)| text).map_err(|_| not_found_path())
}

/// A path whose parameters are not UTF-8 names nothing.
pub(super) fn not_found_path() -> ApiError {
    ApiError::not_found("Not Found")
}

/// The parameters of a request.
pub(super) fn query(uri: &Uri) -> Query {
    Query::parse(uri.query())
}

/// Reads what is left of a refused body, within bounds: a client that is still sending would see
/// a closed connection before it sees the answer.
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
