//! Compression of responses to clients that ask for it: lists and whole result files, in gzip or zstd. Ranges are never
//! compressed, as their offsets count in the file itself.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, Response, header};
use axum::middleware::{self, Next};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate, SizeAbove};

/// Bytes of the smallest response that is compressed: a shorter one fits into one packet as it is.
const MIN_BYTES: u64 = 1024;

/// Compresses the responses of `routes` where the client accepts that.
///
/// The codec runs in the task of the request, so that its fastest level is used. Pages for browsers have secrets of the
/// session beside text from outside, and stay as they are: their compressed length would tell of the secrets.
pub(super) fn compressed<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    let kinds = DefaultPredicate::new().and(SizeAbove::new(MIN_BYTES)).and(NotForContentType::const_new("text/html"));
    let layer = CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(kinds);
    routes.layer(layer).layer(middleware::from_fn(keep_identity))
}

/// Keeps the rules of RFC 9110 on representations around the compression: a request for a range, or one that changes
/// something, has its response as it is; and the entity tag of a compressed response is weak, so that no client resumes it
/// with a range of the file (section 8.8.1).
async fn keep_identity(mut request: Request, next: Next) -> Response<axum::body::Body> {
    if request.method() != Method::GET || request.headers().contains_key(header::RANGE) {
        request.headers_mut().remove(header::ACCEPT_ENCODING);
    }
    let mut response = next.run(request).await;
    if response.headers().contains_key(header::CONTENT_ENCODING)
        && let Some(tag) = response.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok())
        && !tag.starts_with("W/")
        && let Ok(weak) = HeaderValue::from_str(&format!("W/{tag}"))
    {
        response.headers_mut().insert(header::ETAG, weak);
    }
    response
}
