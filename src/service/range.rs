//! Which bytes of a file a request asks for (RFC 9110, sections 13.1.5 and 14).

/// What to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RequestedRange {
    /// The whole file, 200.
    Whole,
    /// These bytes, 206: the first and the number of them, which is not 0.
    Part {
        /// Offset of the first byte.
        start: u64,
        /// Number of bytes.
        len: u64,
    },
    /// Nothing of the file is asked for, 416.
    Unsatisfiable,
}

/// Reads a `Range` header for a file of `size` bytes. What is not one well-formed range of bytes
/// (another unit, several ranges) is ignored, as the standard allows.
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
    // Digits that do not fit are beyond the end of any file.
    let number = |text: &str| text.parse::<u64>().unwrap_or(u64::MAX);
    let (start, end) = match (first.is_empty(), last.is_empty()) {
        (true, true) => return RequestedRange::Whole,
        (true, false) => (size.saturating_sub(number(last)), if number(last) == 0 { 0 } else { size }),
        (false, true) => (number(first), size),
        (false, false) if number(first) > number(last) => return RequestedRange::Whole,
        (false, false) => (number(first), number(last).saturating_add(1).min(size)),
    };
    if start >= end { RequestedRange::Unsatisfiable } else { RequestedRange::Part { start, len: end - start } }
}

/// True when `If-Range` lets the range count: it names the very file. A weak tag never does; a
/// date does only if it is exactly the file's.
pub(super) fn still_the_same(if_range: Option<&str>, etag: &str, last_modified: &str) -> bool {
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
    fn if_range_must_name_the_very_file() {
        let date = "Fri, 04 Sep 2026 09:00:07 GMT";
        assert!(still_the_same(None, "\"a\"", date));
        assert!(still_the_same(Some("\"a\""), "\"a\"", date));
        assert!(still_the_same(Some(date), "\"a\"", date));
        assert!(!still_the_same(Some("W/\"a\""), "\"a\"", date));
        assert!(!still_the_same(Some("\"b\""), "\"a\"", date));
    }
}
