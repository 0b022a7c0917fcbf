//! Client of the hosted service: hands requests on as they are, without retries, which are the client's.

use std::time::Duration;

use axum::http::HeaderMap;
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, HeaderName, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE, RETRY_AFTER, USER_AGENT,
};
use url::Url;

use crate::api::routes::IDEMPOTENCY_KEY_HEADER;
use crate::net::{client_builder, is_loopback};

/// Headers of a request that are handed on and recorded; the key is handed on only.
pub(in crate::service) const REQUEST_HEADERS: [HeaderName; 6] =
    [ACCEPT, CONTENT_TYPE, HeaderName::from_static(IDEMPOTENCY_KEY_HEADER), IF_RANGE, RANGE, USER_AGENT];

/// Headers of a response that are handed on and recorded.
pub(in crate::service) const RESPONSE_HEADERS: [HeaderName; 12] = [
    ACCEPT_RANGES,
    CONTENT_DISPOSITION,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    ETAG,
    LAST_MODIFIED,
    RETRY_AFTER,
    HeaderName::from_static("x-ratelimit-limit"),
    HeaderName::from_static("x-ratelimit-remaining"),
    HeaderName::from_static("x-ratelimit-reset"),
];

/// Time for a connection to the hosted service.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest silence of the hosted service within a response.
const READ_TIMEOUT: Duration = Duration::from_secs(300);

/// The hosted service.
pub(in crate::service) struct Upstream {
    url: Url,
    client: reqwest::Client,
}

impl Upstream {
    /// Creates the client. Sends nothing.
    pub(super) fn new(url: Url) -> Result<Self, reqwest::Error> {
        // The client's own choice of an encoding is not handed on, because what is compressed cannot be compared.
        let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        let client = client_builder()
            .default_headers(headers)
            // The key and the rows go to this address and to no other.
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(READ_TIMEOUT)
            .build()?;
        Ok(Upstream { url, client })
    }

    /// Returns a request for a path and query of the API.
    pub(in crate::service) fn request(
        &self,
        method: reqwest::Method,
        path: &str,
        query: &str,
    ) -> reqwest::RequestBuilder {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{path}", self.url.path().trim_end_matches('/')));
        url.set_query(Some(query).filter(|query| !query.is_empty()));
        self.client.request(method, url)
    }

    /// Returns the path and query by which this service hands a request on to `url`; `None` for an address that is not of
    /// the API.
    pub(in crate::service) fn path_of(&self, url: &Url) -> Option<String> {
        let path = url.path().strip_prefix(self.url.path().trim_end_matches('/'))?;
        if url.origin() != self.url.origin() || !path.starts_with('/') {
            return None;
        }
        Some(match url.query() {
            Some(query) => format!("{path}?{query}"),
            None => path.to_owned(),
        })
    }

    /// Returns a request for a signed link, and true if it is of the hosted service's own origin, which gets the key.
    pub(in crate::service) fn download(&self, link: Url) -> (reqwest::RequestBuilder, bool) {
        let is_own = link.origin() == self.url.origin();
        (self.client.get(link), is_own)
    }
}

/// Returns true for an address that rows may be fetched from: encrypted, or on this machine.
pub(in crate::service) fn is_allowed(url: &Url) -> bool {
    url.scheme() == "https" || url.scheme() == "http" && is_loopback(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_the_api_are_paths_of_this_service() {
        let upstream = Upstream::new("https://api.test/base/".parse().unwrap()).unwrap();
        let path = |url: &str| upstream.path_of(&url.parse().unwrap());
        assert_eq!(path("https://api.test/base/a?b=c#d").as_deref(), Some("/a?b=c"));
        for other in
            ["https://api.test/a", "https://api.test/based/a", "http://api.test/base/a", "https://b.test/base/a"]
        {
            assert_eq!(path(other), None, "{other}");
        }
    }
}
