//! Compression of responses to clients that ask for it: lists and whole result files, in gzip or zstd. Ranges are never
//! compressed, as their offsets count in the file itself.

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, Response, header};
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
    accept_identity(request.headers_mut());
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

/// Removes what refuses a response as it is (`identity;q=0`, `*;q=0`), so that a client that accepts nothing else gets that.
/// The layer would send the whole response under the status 406, in place of its own, be it a success or an error.
fn accept_identity(headers: &mut HeaderMap) {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let parts: Vec<&str> = values.flat_map(|value| value.split(',')).collect();
    let kept: Vec<&str> = parts.iter().copied().filter(|part| !refuses_identity(part)).collect();
    if kept.len() < parts.len()
        && let Ok(value) = HeaderValue::from_str(&kept.join(","))
    {
        headers.insert(header::ACCEPT_ENCODING, value);
    }
}

fn refuses_identity(part: &str) -> bool {
    let Some((coding, weight)) = part.split_once(';') else { return false };
    let coding = coding.trim();
    let weight = weight.trim().get(2..).and_then(|digits| digits.parse::<f32>().ok());
    (coding == "*" || coding.eq_ignore_ascii_case("identity")) && weight == Some(0.0)
}
