//! `Range` and `If-Range` headers of file downloads (RFC 9110, sections 13.1.5 and 14). Resolves them to byte offsets;
//! reads no file and builds no response.

/// The part of a file that a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestedRange {
    /// The whole file, status 200.
    Whole,
    /// One range of at least one byte, status 206.
    Part {
        /// Offset of the first byte, from 0.
        start: u64,
        /// Number of bytes, at least 1.
        len: u64,
    },
    /// A range beyond the end of the file, status 416.
    Unsatisfiable,
}

/// Parses a `Range` header for a file of `size` bytes. Ignores a header that is not one well-formed range of bytes
/// (another unit, several ranges), as the standard allows, and returns [`RequestedRange::Whole`] for it.
pub(super) fn requested_range(range: Option<&str>, size: u64) -> RequestedRange {
    let Some((unit, spec)) = range.and_then(|text| text.split_once('=')) else { return RequestedRange::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") || spec.contains(',') {
        return RequestedRange::Whole;
    }
    let Some((first, last)) = spec.trim().split_once('-') else { return RequestedRange::Whole };
    let (first, last) = (first.trim(), last.trim());
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !digits(first) || !digits(last) {
        return RequestedRange::Whole;
    }
    // A number that overflows u64 is beyond the end of any file.
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    // A range without a first byte counts from the end: `-5` are the last five bytes.
    let (start, end) = match (first.is_empty(), last.is_empty()) {
        (true, true) => return RequestedRange::Whole,
        (true, false) => (size.saturating_sub(number(last)), if number(last) == 0 { 0 } else { size }),
        (false, true) => (number(first), size),
        (false, false) if number(first) > number(last) => return RequestedRange::Whole,
        (false, false) => (number(first), number(last).saturating_add(1).min(size)),
    };
    if start >= end { RequestedRange::Unsatisfiable } else { RequestedRange::Part { start, len: end - start } }
}

/// Returns true if `If-Range` is absent or names exactly this version of the file, so that the range applies. A weak
/// tag never matches; a date matches only if it is equal to the file's.
pub(super) fn if_range_matches(if_range: Option<&str>, etag: &str, last_modified: &str) -> bool {
    if_range.is_none_or(|text| text.trim() == etag || text.trim() == last_modified)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_ranges_are_read() {
        let part = |start, len| RequestedRange::Part { start, len };
        for (range, size, expected) in [
            ("bytes=0-9", 100, part(0, 10)),
            ("bytes=90-", 100, part(90, 10)),
            ("bytes=90-1000", 100, part(90, 10)),
            ("bytes=-10", 100, part(90, 10)),
            ("bytes=-1000", 100, part(0, 100)),
            ("Bytes = 5-5", 100, part(5, 1)),
            ("bytes=99999999999999999999-", 100, RequestedRange::Unsatisfiable),
            ("bytes=0-99999999999999999999", 100, part(0, 100)),
            ("bytes=100-", 100, RequestedRange::Unsatisfiable),
            ("bytes=-0", 100, RequestedRange::Unsatisfiable),
            ("bytes=0-", 0, RequestedRange::Unsatisfiable),
            ("bytes=-5", 0, RequestedRange::Unsatisfiable),
            ("bytes=9-5", 100, RequestedRange::Whole),
            ("bytes=-", 100, RequestedRange::Whole),
            ("bytes=a-b", 100, RequestedRange::Whole),
            ("bytes=+1-2", 100, RequestedRange::Whole),
            ("bytes=0-1,4-5", 100, RequestedRange::Whole),
            ("rows=0-1", 100, RequestedRange::Whole),
            ("0-1", 100, RequestedRange::Whole),
        ] {
            assert_eq!(requested_range(Some(range), size), expected, "{range} of {size}");
        }
        assert_eq!(requested_range(None, 100), RequestedRange::Whole);
    }

    #[test]
    fn if_range_must_name_the_exact_version() {
        let date = "Fri, 04 Sep 2026 09:00:07 GMT";
        assert!(if_range_matches(None, "\"a\"", date));
        assert!(if_range_matches(Some("\"a\""), "\"a\"", date));
        assert!(if_range_matches(Some(date), "\"a\"", date));
        assert!(!if_range_matches(Some("W/\"a\""), "\"a\"", date));
        assert!(!if_range_matches(Some("\"b\""), "\"a\"", date));
    }
}
