//! Resuming a download: the identity of a file over several responses, and the proof that all of it arrived.
//!
//! This module compares; [`super::transfer`] sends the requests and [`super::reader`] drops repeated bytes. Together
//! they guarantee that the delivered bytes are one version of the file from its first to its last byte, or that the
//! download fails.
//!
//! # The simple algorithm
//!
//! When a connection breaks after byte `p`, send the request again with `Range: bytes=p-` and append the body of the
//! 206. This is right for a file that never changes on a server that is always right. The departures:
//!
//! 1. **The file may be replaced between two requests.** The request carries `If-Range` with a validator of the first
//!    response ([`FileIdentity::validator`]), so that the server sends the whole new file, as 200, instead of a part of
//!    it. `If-Range` needs a strong entity tag or a date (RFC 9110, 13.1.5); without one no range is requested at all.
//! 2. **Servers ignore `If-Range`.** So every later response is compared with the first ([`FileIdentity::compare`]): a
//!    different length, tag or date is final ([`IdentityMatch::Changed`]). A 206 must also match by tag or date. One
//!    that proves nothing ([`IdentityMatch::Unproven`]), starts at another byte, or is encoded is discarded, and from
//!    then on the whole file is requested.
//! 3. **Servers ignore `Range`,** or get no more range requests. The 200 starts at byte 0; the reader drops the first
//!    `p` bytes after comparing their digest with that of the delivered bytes ([`super::prefix`]). No byte of the new
//!    body is delivered before that comparison, so a changed prefix never reaches the output. A change behind byte `p`
//!    that keeps length, tag and date cannot be detected.
//! 4. **The body may be encoded on the way** (gzip, zstd), although `identity` is requested. An offset in the encoded
//!    bytes means nothing in the file, and another encoder produces other bytes. So no range is requested: the position
//!    of the transfer stays 0, and the reader applies departure 3 to the decoded bytes.
//!
//! # The end
//!
//! The end of a connection is no proof that the file is complete: a broken one looks the same. A body is proven whole
//! by
//!
//! - its framing: `Content-Length` reached, the last chunk of a chunked body, or the end of an HTTP/2 stream; or
//! - the known size of the file, even if the connection fails after the last byte; or
//! - a 416 to a request from byte `p`, if it says nothing against `p` as the size, and shows a size, a tag or a date
//!   that matches; or
//! - the end of its content encoding, which the decoder checks.
//!
//! A body of which only the connection ends is requested again from its end, or whole. If that one ends at the same
//! byte, the download succeeds with an end that is *not* proven, and the pipeline needs other evidence that nothing is
//! missing (`ByteSource::is_end_proven`). A body with fewer or more bytes than announced never counts as complete.

use reqwest::header::{ETAG, HeaderMap, LAST_MODIFIED};

use crate::net::response::header;

/// The identity of a file, from the headers of one response. `None` means that the response does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FileIdentity {
    /// Size in bytes; `None` for an encoded body, whose length is that of the encoded bytes.
    pub total: Option<u64>,
    pub etag: Option<String>,
    pub last_modified: Option<String>,
}

/// Outcome of comparing a later response with the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum IdentityMatch {
    /// The same file, by its tag or its date.
    Same,
    /// Another file; the text names the difference.
    Changed(&'static str),
    /// No contradiction and no proof: there is no tag or date in common.
    Unproven,
}

impl FileIdentity {
    pub(super) fn from_headers(headers: &HeaderMap, total: Option<u64>) -> Self {
        FileIdentity { total, etag: header(headers, ETAG), last_modified: header(headers, LAST_MODIFIED) }
    }

    /// Returns the value for `If-Range`: a strong entity tag, else the date; `None` if there is neither.
    pub(super) fn validator(&self) -> Option<&str> {
        self.etag.as_deref().filter(|tag| !tag.starts_with("W/")).or(self.last_modified.as_deref())
    }

    /// Compares with `other`, of a later response. The size alone refutes but never proves; of tag and date the tag
    /// decides.
    pub(super) fn compare(&self, other: &FileIdentity) -> IdentityMatch {
        if matches!((self.total, other.total), (Some(a), Some(b)) if a != b) {
            return IdentityMatch::Changed("its size is different");
        }
        // Weak comparison: servers and proxies add and drop the mark of a weak tag.
        let opaque = |tag: &'_ str| tag.trim_start_matches("W/").to_owned();
        match (&self.etag, &other.etag) {
            (Some(a), Some(b)) if opaque(a) == opaque(b) => return IdentityMatch::Same,
            (Some(_), Some(_)) => return IdentityMatch::Changed("its entity tag is different"),
            _ => {}
        }
        match (&self.last_modified, &other.last_modified) {
            (Some(a), Some(b)) if a == b => IdentityMatch::Same,
            (Some(_), Some(_)) => IdentityMatch::Changed("its Last-Modified date is different"),
            _ => IdentityMatch::Unproven,
        }
    }
}

/// A parsed `Content-Range: bytes FIRST-LAST/TOTAL`; `None` is `*`, unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    /// Offsets of the first and the last byte, both included.
    pub range: Option<(u64, u64)>,
    pub total: Option<u64>,
}

impl ContentRange {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (range, total) = text.trim().strip_prefix("bytes")?.trim().split_once('/')?;
        let number = |text: &str| text.trim().parse::<u64>().ok();
        let total = if total.trim() == "*" { None } else { Some(number(total)?) };
        let range = match range.trim() {
            "*" => None,
            range => {
                let (first, last) = range.split_once('-')?;
                Some((number(first)?, number(last)?))
            }
        };
        // A range behind the end, or one that ends before it starts, makes the header invalid (RFC 9110, 14.4).
        let valid = range.is_none_or(|(first, last)| first <= last && total.is_none_or(|total| last < total));
        valid.then_some(ContentRange { range, total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_parsed() {
        let parsed = |text| ContentRange::parse(text).map(|r| (r.range, r.total));
        assert_eq!(parsed("bytes 5-9/10"), Some((Some((5, 9)), Some(10))));
        assert_eq!(parsed(" bytes 5 - 9 / * "), Some((Some((5, 9)), None)));
        assert_eq!(parsed("bytes */10"), Some((None, Some(10))));
        for wrong in ["", "5-9/10", "bytes 9-5/10", "bytes 5-10/10", "bytes 5/10", "rows 5-9/10", "bytes -1-9/10"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn files_are_compared_by_tag_then_date() {
        let identity = |total, etag: &str, date: &str| FileIdentity {
            total,
            etag: Some(etag.to_owned()).filter(|t| !t.is_empty()),
            last_modified: Some(date.to_owned()).filter(|t| !t.is_empty()),
        };
        let first = identity(Some(9), "\"a\"", "Monday");
        assert_eq!(first.compare(&identity(Some(9), "W/\"a\"", "Tuesday")), IdentityMatch::Same);
        assert_eq!(first.compare(&identity(None, "", "Monday")), IdentityMatch::Same);
        assert_eq!(first.compare(&identity(Some(9), "", "")), IdentityMatch::Unproven);
        for other in
            [identity(Some(8), "\"a\"", ""), identity(Some(9), "\"b\"", "Monday"), identity(Some(9), "", "Tuesday")]
        {
            assert!(matches!(first.compare(&other), IdentityMatch::Changed(_)), "{other:?}");
        }
        assert_eq!(identity(None, "W/\"a\"", "").validator(), None);
        assert_eq!(identity(None, "W/\"a\"", "Monday").validator(), Some("Monday"));
    }
}
