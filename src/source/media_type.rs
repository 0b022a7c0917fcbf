//! Formats as media types name them.

use crate::format::Format;

/// The format that a media type tells. `application/json` tells none: lines of JSON are often sent as it.
pub fn format_of_media_type(media_type: &str) -> Option<Format> {
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
