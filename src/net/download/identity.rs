//! What answers tell of a file, and whether two of them can be of the same.

use reqwest::header::{ETAG, HeaderMap, LAST_MODIFIED};

use crate::net::response::header;

/// What is known of the file from the first answer: a later answer must agree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FileIdentity {
    /// Bytes in all; of an encoded body nothing is known.
    pub total: Option<u64>,
    pub etag: Option<String>,
    pub last_modified: Option<String>,
}

/// What a later answer's facts say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Same {
    /// By its tag or date it is the same file.
    Yes,
    /// It is another file.
    No(&'static str),
    /// Nothing that is there contradicts, and nothing proves.
    Unproven,
}

impl FileIdentity {
    pub fn of(headers: &HeaderMap, total: Option<u64>) -> Self {
        FileIdentity { total, etag: header(headers, ETAG), last_modified: header(headers, LAST_MODIFIED) }
    }

    /// The value of `If-Range`: a strong tag, or else the date.
    pub fn validator(&self) -> Option<&str> {
        self.etag.as_deref().filter(|tag| !tag.starts_with("W/")).or(self.last_modified.as_deref())
    }

    /// Whether `other` is of the same file.
    pub fn compare(&self, other: &FileIdentity) -> Same {
        if matches!((self.total, other.total), (Some(a), Some(b)) if a != b) {
            return Same::No("its length is another");
        }
        // Servers and proxies between add and drop the mark of a weak tag.
        let opaque = |tag: &'_ str| tag.trim_start_matches("W/").to_owned();
        match (&self.etag, &other.etag) {
            (Some(a), Some(b)) if opaque(a) == opaque(b) => return Same::Yes,
            (Some(_), Some(_)) => return Same::No("its entity tag is another"),
            _ => {}
        }
        match (&self.last_modified, &other.last_modified) {
            (Some(a), Some(b)) if a == b => Same::Yes,
            (Some(_), Some(_)) => Same::No("its date is another"),
            _ => Same::Unproven,
        }
    }
}

/// `Content-Range: bytes START-END/TOTAL`, each of which may be unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentRange {
    /// First byte and last byte.
    pub range: Option<(u64, u64)>,
    pub total: Option<u64>,
}

impl ContentRange {
    pub fn parse(text: &str) -> Option<Self> {
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
        let sound = range.is_none_or(|(first, last)| first <= last && total.is_none_or(|total| last < total));
        sound.then_some(ContentRange { range, total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        let parsed = |text| ContentRange::parse(text).map(|r| (r.range, r.total));
        assert_eq!(parsed("bytes 5-9/10"), Some((Some((5, 9)), Some(10))));
        assert_eq!(parsed(" bytes 5 - 9 / * "), Some((Some((5, 9)), None)));
        assert_eq!(parsed("bytes */10"), Some((None, Some(10))));
        for wrong in ["", "5-9/10", "bytes 9-5/10", "bytes 5-10/10", "bytes 5/10", "rows 5-9/10", "bytes -1-9/10"] {
            assert_eq!(parsed(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn files_are_told_apart() {
        let facts = |total, etag: &str, date: &str| FileIdentity {
            total,
            etag: Some(etag.to_owned()).filter(|t| !t.is_empty()),
            last_modified: Some(date.to_owned()).filter(|t| !t.is_empty()),
        };
        let first = facts(Some(9), "\"a\"", "Monday");
        assert_eq!(first.compare(&facts(Some(9), "W/\"a\"", "Tuesday")), Same::Yes);
        assert_eq!(first.compare(&facts(None, "", "Monday")), Same::Yes);
        assert_eq!(first.compare(&facts(Some(9), "", "")), Same::Unproven);
        for other in [facts(Some(8), "\"a\"", ""), facts(Some(9), "\"b\"", "Monday"), facts(Some(9), "", "Tuesday")] {
            assert!(matches!(first.compare(&other), Same::No(_)), "{other:?}");
        }
        assert_eq!(facts(None, "W/\"a\"", "").validator(), None);
        assert_eq!(facts(None, "W/\"a\"", "Monday").validator(), Some("Monday"));
    }
}
