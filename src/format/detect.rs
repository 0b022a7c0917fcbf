//! Inference of input formats from content types, names and first bytes. Decides from text and bytes
//! that it is given; reads nothing itself.

use super::extension::NamedFormat;
#[cfg(test)]
use super::{ArrowForm, CsvOptions, OutputFormat, ParquetOptions};
use super::{Compression, Format};

/// An inferred input format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputFormat {
    /// Format to frame and decode the source by.
    pub format: Format,
    /// Delimiter of CSV fields; meaningless for other formats.
    pub delimiter: u8,
}

/// The hint of a content type or a name. `json` may be lines or one array.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FormatHint {
    Known(InputFormat),
    Json,
}

const NDJSON: InputFormat = InputFormat { format: Format::Ndjson, delimiter: b',' };
const JSON_ARRAY: InputFormat = InputFormat { format: Format::JsonArray, delimiter: b',' };
const CSV: InputFormat = InputFormat { format: Format::Csv, delimiter: b',' };
const TSV: InputFormat = InputFormat { format: Format::Csv, delimiter: b'\t' };

/// Infers the format of a stream: from its content type, else from the extension of its name (without
/// `.gz` or `.zst`), else from its first bytes after decompression. `None` only if the stream is empty
/// and neither content type nor name is known.
pub fn input_format(content_type: Option<&str>, name: Option<&str>, first: &[u8]) -> Option<InputFormat> {
    let hint = content_type.and_then(hint_of_content_type).or_else(|| name.and_then(hint_of_name));
    let by_bytes = || {
        let first = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first).trim_ascii_start();
        match first.first() {
            Some(b'{') => Some(NDJSON),
            Some(b'[') => Some(JSON_ARRAY),
            // Neither object nor array: a header. One with tabs and no comma is separated by tabs.
            Some(_) => {
                let header = first.split(|&b| b == b'\n').next().unwrap_or_default();
                Some(if header.contains(&b'\t') && !header.contains(&b',') { TSV } else { CSV })
            }
            None => None,
        }
    };
    match hint {
        Some(FormatHint::Known(format)) => Some(format),
        Some(FormatHint::Json) => Some(by_bytes().filter(|&found| found == JSON_ARRAY).unwrap_or(NDJSON)),
        None => by_bytes(),
    }
}

/// Recognises first bytes that are certainly no input, for a message that begins with the source's name. `None` for
/// everything else.
pub fn no_input(first: &[u8]) -> Option<&'static str> {
    let text = first.trim_ascii_start();
    let begins = |tag: &[u8]| text.len() >= tag.len() && text[..tag.len()].eq_ignore_ascii_case(tag);
    if first.starts_with(b"PAR1") {
        Some("is a Parquet file, a format that is written and not read")
    } else if Compression::detect(first) != Compression::None {
        Some("is compressed twice; decompress it once first")
    } else if begins(b"<!doctype html") || begins(b"<html") {
        Some("is a web page (HTML), not data")
    } else {
        None
    }
}

/// Infers output format and compression from a path, for tests; the command line resolves formats together with its
/// options. `None` if the extension is unknown, and for compressed Parquet and Arrow.
#[cfg(test)]
pub(crate) fn output_format_of_path(path: &std::path::Path) -> Option<(OutputFormat, Compression)> {
    let (named, compression) = NamedFormat::of_name(path.file_name()?.to_str()?);
    let format = match named? {
        NamedFormat::Parquet => OutputFormat::Parquet(ParquetOptions::default()),
        NamedFormat::Csv => OutputFormat::Csv(CsvOptions::default()),
        NamedFormat::Tsv => OutputFormat::Csv(CsvOptions { delimiter: b'\t', ..CsvOptions::default() }),
        NamedFormat::Ndjson => OutputFormat::Ndjson,
        NamedFormat::Json => OutputFormat::JsonArray,
        NamedFormat::Arrow => OutputFormat::Arrow(ArrowForm::File),
        NamedFormat::ArrowStream => OutputFormat::Arrow(ArrowForm::Stream),
    };
    match (format, compression) {
        (OutputFormat::Parquet(_) | OutputFormat::Arrow(_), Compression::Gzip | Compression::Zstd) => None,
        _ => Some((format, compression)),
    }
}

/// Infers the delimiter of CSV from a file name: a tab for `.tsv` and `.tab`, else a comma.
pub fn delimiter_of_name(name: &str) -> u8 {
    match hint_of_name(name) {
        Some(FormatHint::Known(found)) => found.delimiter,
        _ => b',',
    }
}

fn hint_of_content_type(content_type: &str) -> Option<FormatHint> {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Some(match essence.as_str() {
        "application/x-ndjson"
        | "application/ndjson"
        | "application/jsonl"
        | "application/x-jsonlines"
        | "application/jsonlines"
        | "application/json-lines" => FormatHint::Known(NDJSON),
        "text/csv" | "application/csv" => FormatHint::Known(CSV),
        "text/tab-separated-values" => FormatHint::Known(TSV),
        "application/json" | "text/json" => FormatHint::Json,
        _ => return None,
    })
}

fn hint_of_name(name: &str) -> Option<FormatHint> {
    // The name may be that of a URL, with its query.
    let name = name.split(['?', '#']).next().unwrap_or_default();
    match NamedFormat::of_name(name).0? {
        NamedFormat::Ndjson => Some(FormatHint::Known(NDJSON)),
        NamedFormat::Json => Some(FormatHint::Json),
        NamedFormat::Csv => Some(FormatHint::Known(CSV)),
        NamedFormat::Tsv => Some(FormatHint::Known(TSV)),
        // Output formats only.
        NamedFormat::Parquet | NamedFormat::Arrow | NamedFormat::ArrowStream => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_type_takes_precedence_over_a_name_and_a_name_over_bytes() {
        let found = |content_type, name, first: &str| input_format(content_type, name, first.as_bytes());
        assert_eq!(found(Some("text/csv; charset=utf-8"), Some("a.ndjson"), "{"), Some(CSV));
        assert_eq!(found(Some("application/octet-stream"), Some("dir.csv/a.NDJSON.gz"), "a,b"), Some(NDJSON));
        assert_eq!(found(None, Some("https://host/results/a.tsv.zst?sig=a.json"), "{"), Some(TSV));
        assert_eq!(found(None, Some("a.jsonl"), "["), Some(NDJSON));
        assert_eq!(found(None, Some("stdin"), "\u{feff} \n{"), Some(NDJSON));
        assert_eq!(found(None, None, "\n["), Some(JSON_ARRAY));
        assert_eq!(found(None, None, "name"), Some(CSV));
        assert_eq!(found(None, Some("dir.csv/file"), ""), None);
    }

    #[test]
    fn json_is_an_array_or_lines_by_its_first_byte() {
        for (content_type, name) in [(Some("application/json"), None), (None, Some("a.json"))] {
            assert_eq!(input_format(content_type, name, b" ["), Some(JSON_ARRAY));
            assert_eq!(input_format(content_type, name, b"{"), Some(NDJSON));
            assert_eq!(input_format(content_type, name, b"x"), Some(NDJSON));
            assert_eq!(input_format(content_type, name, b""), Some(NDJSON));
        }
    }

    #[test]
    fn output_format_and_compression_are_inferred_from_a_path() {
        let found = |path: &str| output_format_of_path(path.as_ref());
        let parquet = OutputFormat::Parquet(ParquetOptions::default());
        let csv = OutputFormat::Csv(CsvOptions::default());
        let tsv = OutputFormat::Csv(CsvOptions { delimiter: b'\t', ..CsvOptions::default() });
        assert_eq!(found("out/a.parquet"), Some((parquet, Compression::None)));
        assert_eq!(found("a.csv"), Some((csv, Compression::None)));
        assert_eq!(found("a.b.TSV.gz"), Some((tsv, Compression::Gzip)));
        assert_eq!(found("a.jsonl.zst"), Some((OutputFormat::Ndjson, Compression::Zstd)));
        assert_eq!(found("a.json"), Some((OutputFormat::JsonArray, Compression::None)));
        assert_eq!(found("a.parquet.gz"), None);
        assert_eq!(found("csv"), None);
        assert_eq!(found("a.txt"), None);
        assert_eq!(found("a.gz"), None);
    }
}
