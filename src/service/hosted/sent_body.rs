//! Body of a request, in the form by which a recording has it and a replay finds it again: JSON as it is, everything else as
//! its length and a digest. Bodies of any size pass through; the first bytes alone are held.

use memchr::memmem;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::pair::RecordedBody;
use super::redact;

/// Bytes of a JSON body that are recorded; a larger one is known by its digest.
const MAX_JSON_BYTES: usize = 1 << 20;

/// A body, filled in while it is read.
pub(in crate::service) struct SentBody {
    head: Vec<u8>,
    total: u64,
    is_json: bool,
    /// Text between the parts of a form, which clients choose anew for every request; empty for other bodies.
    boundary: Vec<u8>,
    digest: Sha256,
    /// End of what was read, which may be the begin of a boundary.
    rest: Vec<u8>,
}

impl SentBody {
    /// Begins a body with the value of its header `Content-Type`; empty if it has none.
    pub(in crate::service) fn new(content_type: &str) -> Self {
        let boundary = content_type.split(';').skip(1).find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"').as_bytes().to_vec())
        });
        SentBody {
            head: Vec::new(),
            total: 0,
            is_json: is_json(&media_type(content_type)),
            boundary: boundary.unwrap_or_default(),
            digest: Sha256::new(),
            rest: Vec::new(),
        }
    }

    /// Adds the next bytes.
    pub(in crate::service) fn add(&mut self, chunk: &[u8]) {
        self.total += chunk.len() as u64;
        if self.is_json {
            let room = MAX_JSON_BYTES.saturating_sub(self.head.len());
            self.head.extend_from_slice(&chunk[..chunk.len().min(room)]);
        }
        if self.boundary.is_empty() {
            self.digest.update(chunk);
            return;
        }
        self.rest.extend_from_slice(chunk);
        let mut start = 0;
        for at in memmem::find_iter(&self.rest, &self.boundary) {
            self.digest.update(&self.rest[start..at]);
            start = at + self.boundary.len();
        }
        let end = self.rest.len().saturating_sub(self.boundary.len() - 1).max(start);
        self.digest.update(&self.rest[start..end]);
        self.rest.drain(..end);
    }

    /// Returns the form of a recording, for a request for `path` with this key.
    pub(in crate::service) fn recorded(&self, key: &str, path: &str) -> RecordedBody {
        if self.total == 0 {
            return RecordedBody::None;
        }
        if self.is_json
            && self.total == self.head.len() as u64
            && let Ok(mut value) = serde_json::from_slice::<Value>(&self.head)
        {
            redact::json(&mut value, key, path);
            return RecordedBody::Json(value);
        }
        let digest = self.digest.clone().chain_update(&self.rest).finalize();
        RecordedBody::Digest { bytes: self.total, sha256: crate::text::hex(&digest) }
    }
}

/// Returns the media type of a header `Content-Type`, without parameters and in lower case.
pub(in crate::service) fn media_type(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

/// Returns true for the media types of JSON.
pub(in crate::service) fn is_json(media_type: &str) -> bool {
    media_type == "application/json" || media_type.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(content_type: &str, chunks: &[&str]) -> RecordedBody {
        let mut body = SentBody::new(content_type);
        chunks.iter().for_each(|chunk| body.add(chunk.as_bytes()));
        body.recorded("", "/x")
    }

    #[test]
    fn forms_are_the_same_whatever_their_boundary() {
        let form = |boundary: &str, rows: &str, size: usize| {
            let text = format!("--{boundary}\r\nname=file\r\n\r\n{rows}\r\n--{boundary}--\r\n");
            let chunks: Vec<&str> = text.as_bytes().chunks(size).map(|c| std::str::from_utf8(c).unwrap()).collect();
            recorded(&format!("multipart/form-data; boundary={boundary}"), &chunks)
        };
        let first = form("abcabd-1", "a,b", 1000);
        assert!(matches!(first, RecordedBody::Digest { bytes: 44, .. }), "{first:?}");
        for size in [1, 2, 3, 7, 8, 9, 1000] {
            assert_eq!(form("abcabd-1", "a,b", size), first);
            assert_eq!(form("xyzxyz-2", "a,b", size), first);
            assert_ne!(form("abcabd-1", "a,c", size), first);
        }
    }

    #[test]
    fn json_is_kept_up_to_a_size() {
        assert_eq!(recorded("application/json", &[]), RecordedBody::None);
        let value = RecordedBody::Json(serde_json::json!({ "a": 1 }));
        for media_type in ["application/json; charset=utf-8", "application/problem+json"] {
            assert_eq!(recorded(media_type, &["{\"a\"", ": 1}"]), value);
        }
        let large = |c: &str| recorded("application/json", &[&format!("\"{}\"", c.repeat(MAX_JSON_BYTES))]);
        assert_eq!(large("a"), large("a"));
        assert_ne!(large("a"), large("b"));
        for other in [recorded("text/plain", &["{\"a\": 1}"]), recorded("application/json", &["{"]), large("a")] {
            assert!(matches!(other, RecordedBody::Digest { .. }), "{other:?}");
        }
    }
}
