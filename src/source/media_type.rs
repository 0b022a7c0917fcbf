//! Mapping of media types to formats.

use crate::format::Format;

/// Returns the format of a media type, in lower case and without parameters; `None` if it does not determine one. This
/// includes `application/json`, as which NDJSON is often sent.
pub fn format_of_media_type(media_type: &str) -> Option<Format> {
    // NDJSON has several names in use.
    match media_type {
        "text/csv" | "application/csv" => Some(Format::Csv),
        "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/x-jsonlines"
        | "application/jsonlines" => Some(Format::Ndjson),
        _ => None,
    }
}
