//! The clients of the HTTP library: one for each purpose and each use of a proxy, created on first use. Each purpose decides
//! protocol, redirects and the pool of connections.

use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Client, ClientBuilder, redirect};
use url::Url;

use super::Error;
use super::tls::{client_builder, http1_client_builder};
use super::trust::is_loopback;

/// Redirects followed per request; one more is an error.
pub(super) const MAX_REDIRECTS: usize = 10;

/// Interval of HTTP/2 keep-alive pings on idle API connections. Without them the pool would hand out a dead connection
/// again and again.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);

/// Time for which a connection of a divided download waits for its next range.
const SEGMENT_IDLE_TIME: Duration = Duration::from_secs(5);

/// The purpose of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientPurpose {
    /// API calls: HTTP/2, pooled connections, redirects within one origin.
    Calls,
    /// Files behind links: HTTP/1.1, one connection per request, redirects followed by [`super::Http::get_file`].
    Files,
    /// Ranges of a file that is downloaded over several connections: as files, but a connection carries one range after the
    /// other.
    Segments,
}

impl ClientPurpose {
    const ALL: usize = 3;

    fn builder(self) -> ClientBuilder {
        match self {
            ClientPurpose::Calls => for_calls(client_builder()),
            ClientPurpose::Files => for_files(http1_client_builder()).pool_max_idle_per_host(0),
            ClientPurpose::Segments => for_files(http1_client_builder()).pool_idle_timeout(SEGMENT_IDLE_TIME),
        }
    }
}

/// The clients of one [`super::Http`].
#[derive(Default)]
pub(super) struct Clients([[OnceLock<Client>; 2]; ClientPurpose::ALL]);

impl Clients {
    /// Returns the client for `url`. Loopback addresses never go through a proxy.
    pub(super) fn get(&self, url: &Url, purpose: ClientPurpose, connect_timeout: Duration) -> Result<&Client, Error> {
        let loopback = is_loopback(url);
        let slot = &self.0[purpose as usize][usize::from(loopback)];
        if let Some(client) = slot.get() {
            return Ok(client);
        }
        let builder = purpose
            .builder()
            .user_agent(concat!("drawoff/", env!("CARGO_PKG_VERSION")))
            .referer(false)
            // Retries are decided by the table in `retry`, not by the client library.
            .retry(reqwest::retry::never())
            .connect_timeout(connect_timeout);
        let builder = if loopback { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|error| {
            Error::from_reqwest(error, "GET", url.as_str()).with_text("cannot create an HTTP client")
        })?;
        // If another thread was faster, its client is used and this one dropped.
        Ok(slot.get_or_init(|| client))
    }
}

/// Configures a client for API calls. They carry the key, so redirects are followed within their origin only. Responses may
/// be compressed; their limit counts decoded bytes.
fn for_calls(builder: ClientBuilder) -> ClientBuilder {
    let policy = redirect::Policy::custom(move |attempt| {
        // A redirect to another origin is not followed but returned: the caller makes it an error that names the target.
        let Some(from) = attempt.previous().last() else { return attempt.stop() };
        let elsewhere = from.origin() != attempt.url().origin();
        if attempt.previous().len() > MAX_REDIRECTS {
            attempt.error("too many redirects")
        } else if elsewhere {
            attempt.stop()
        } else {
            attempt.follow()
        }
    });
    builder
        .redirect(policy)
        .default_headers(HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("gzip, zstd, br"))]))
        // See [`super::body`].
        .no_gzip()
        .zstd(true)
        .brotli(true)
        .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .http2_keep_alive_timeout(KEEP_ALIVE_INTERVAL / 2)
        .http2_keep_alive_while_idle(true)
}

/// Configures a client for files. Each request has a connection of its own, or one whose last response was read to its end,
/// so that the attempt after a stall does not reuse the stalled one, as HTTP/2 would. Redirects are followed by
/// [`super::Http::get_file`]. Nothing is decoded here: offsets, lengths and the end of a file count in the bytes that were
/// sent.
fn for_files(builder: ClientBuilder) -> ClientBuilder {
    builder.redirect(redirect::Policy::none()).no_gzip().no_zstd().no_brotli().no_deflate()
}
