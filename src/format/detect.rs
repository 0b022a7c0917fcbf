//! Inference of input formats from content types, names and first bytes. Decides from text and bytes
//! that it is given; reads nothing itself.

use super::extension::NamedFormat;
#[cfg(test)]
use super::{ArrowForm, Compression, CsvOptions, OutputFormat, ParquetOptions};
use super::{Format, SourceCodec};

/// An inferred input format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputFormat {
    /// Format to frame and decode the source by.
    pub format: Format,
    /// Delimiter of CSV fields; `None` if the name does not determine it, and for other formats.
    pub delimiter: Option<u8>,
}

/// The hint of a content type or a name. `json` may be lines or one array.
#[derive(Clone, Copy, PartialEq, Eq)]
enum FormatHint {
    Known(InputFormat),
    Json,
}

const NDJSON: InputFormat = InputFormat { format: Format::Ndjson, delimiter: None };
const JSON_ARRAY: InputFormat = InputFormat { format: Format::JsonArray, delimiter: None };
const CSV: InputFormat = InputFormat { format: Format::Csv, delimiter: None };
const TSV: InputFormat = InputFormat { format: Format::Csv, delimiter: Some(b'\t') };

/// Infers the format of a stream: from its content type, else from the extension of its name (without
/// that of a codec, such as `.gz`), else from its first bytes after decompression. `None` only if the stream is empty
/// and neither content type nor name is known.
pub fn input_format(content_type: Option<&str>, name: Option<&str>, first: &[u8]) -> Option<InputFormat> {
    let hint = content_type.and_then(hint_of_content_type).or_else(|| name.and_then(hint_of_name));
    let by_bytes = || {
        let first = first.strip_prefix(b"\xef\xbb\xbf").unwrap_or(first).trim_ascii_start();
        match first.first() {
            Some(b'{') => Some(NDJSON),
            Some(b'[') => Some(JSON_ARRAY),
            // Neither object nor array: a header.
            Some(_) => Some(CSV),
            None => None,
        }
    };
    match hint {
        Some(FormatHint::Known(format)) => Some(format),
        Some(FormatHint::Json) => Some(by_bytes().filter(|&found| found == JSON_ARRAY).unwrap_or(NDJSON)),
        None => by_bytes(),
    }
}

/// Contents that are no records of a format that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The kind of contents, with its article: `a zip archive`.
    pub what: &'static str,
    /// An imperative that makes records of them.
    pub hint: &'static str,
}

const EXTRACT: &str = "extract the file in it first, and read that";

/// A format whose rows are columns already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Columnar {
    /// A Parquet file, which is read from its end.
    Parquet,
    /// An Arrow IPC file or stream, which are read from their start.
    Arrow,
}

/// Parquet from a pipe, a response, or compressed as a whole.
pub const STREAMED_PARQUET: Foreign = Foreign {
    what: "Parquet, which is read from the index at its end and so only from a plain file",
    hint: "save it to a file first, and read that",
};

/// Recognizes Parquet and Arrow IPC by their first bytes. `None` for everything else.
pub fn columnar(first: &[u8]) -> Option<Columnar> {
    match first {
        // `PAR1` may also begin a header of CSV, which no control character follows.
        [b'P', b'A', b'R', b'1', next, ..] if *next < b'\t' || (*next > b'\r' && *next < b' ') => {
            Some(Columnar::Parquet)
        }
        b"PAR1" => Some(Columnar::Parquet),
        _ if first.starts_with(b"ARROW1\0\0") || first.starts_with(b"\xff\xff\xff\xff") => Some(Columnar::Arrow),
        _ => None,
    }
}

/// Contents by the bytes with which they begin. None of these is the beginning of a text.
const SIGNATURES: &[(&[u8], Foreign)] = &[
    (b"PK\x03\x04", Foreign { what: "a zip archive", hint: EXTRACT }),
    (b"PK\x05\x06", Foreign { what: "a zip archive without files", hint: EXTRACT }),
    (b"7z\xbc\xaf\x27\x1c", Foreign { what: "a 7z archive", hint: EXTRACT }),
    (b"Rar!\x1a\x07", Foreign { what: "a RAR archive", hint: EXTRACT }),
    (b"\x1f\x9d", Foreign { what: "compressed with compress", hint: "decompress it first, as with `gzip -dk FILE`" }),
    (b"LZIP\x01", Foreign { what: "compressed with lzip", hint: "decompress it first, as with `lzip -dk FILE`" }),
    (
        b"\x5d\0\0",
        Foreign { what: "compressed with LZMA alone", hint: "decompress it first, as with `xz -dk FILE.lzma`" },
    ),
    (
        b"\x02\x21\x4c\x18",
        Foreign { what: "a legacy frame of lz4", hint: "decompress it first, as with `lz4 -d FILE`" },
    ),
    (b"Obj\x01", Foreign { what: "an Avro file", hint: TO_NDJSON }),
    (b"SQLite format 3\0", Foreign { what: "an SQLite database", hint: TO_NDJSON }),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        Foreign { what: "an Office document, such as an old Excel workbook", hint: SAVE_AS_CSV },
    ),
];

const TO_NDJSON: &str = "export the rows as NDJSON or CSV with a tool that reads it, such as DuckDB";
const SAVE_AS_CSV: &str = "save the sheet as CSV in UTF-8, and read that";
const UTF_16: Foreign = Foreign {
    what: "text in UTF-16 without a byte order mark",
    hint: "specify its encoding, or convert it to UTF-8, as with `iconv -f UTF-16LE -t UTF-8 FILE > NEW`",
};

/// Recognizes contents that are certainly not of a format that is read by their first bytes after decompression. `None`
/// for everything else.
pub fn foreign(first: &[u8]) -> Option<Foreign> {
    if let Some((_, found)) = SIGNATURES.iter().find(|(signature, _)| first.starts_with(signature)) {
        let is_sheet = first.windows(3).any(|part| part == b"xl/" || part == b"[Co");
        return Some(match *found {
            zip if zip.what == "a zip archive" && is_sheet => {
                Foreign { what: "an Office document, such as an Excel workbook", hint: SAVE_AS_CSV }
            }
            other => other,
        });
    }
    let text = first.trim_ascii_start();
    let begins = |tag: &[u8]| text.len() >= tag.len() && text[..tag.len()].eq_ignore_ascii_case(tag);
    // `ORC` may also begin a header of CSV, which no control character follows.
    let is_binary = |at: usize| first.get(at).is_some_and(|&b| b < b'\t' || (b > b'\r' && b < b' '));
    Some(match first {
        [b'O', b'R', b'C', ..] if is_binary(3) => Foreign { what: "an ORC file", hint: TO_NDJSON },
        // ASCII without a byte order mark: every second byte is NUL.
        [a, 0, b, 0, ..] | [0, a, 0, b, ..] if *a != 0 && *b != 0 => UTF_16,
        _ if first.get(257..262) == Some(b"ustar") => Foreign { what: "a tar archive", hint: EXTRACT },
        _ if SourceCodec::detect(first) != SourceCodec::None => {
            Foreign { what: "compressed twice", hint: "decompress it once first" }
        }
        _ if begins(b"%PDF-") => Foreign { what: "a PDF document", hint: "export the rows as CSV or NDJSON" },
        _ if begins(b"<!doctype html") || begins(b"<html") => Foreign {
            what: "a web page (HTML)",
            hint: "check the address in a browser: it may need a login, or be that of a page around the file",
        },
        _ if begins(b"<?xml") => Foreign { what: "an XML document", hint: "export the rows as CSV or NDJSON" },
        _ => return None,
    })
}

/// Infers output format and compression from a path, for tests; the command line resolves formats together with its
/// options. `None` if the extension is unknown, and for compressed Parquet and Arrow.
#[cfg(test)]
pub(crate) fn output_format_of_path(path: &std::path::Path) -> Option<(OutputFormat, Compression)> {
    let (named, codec) = NamedFormat::of_name(path.file_name()?.to_str()?);
    let compression = codec.as_output()?;
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

/// Infers the delimiter of CSV from a file name: a tab for `.tsv` and `.tab`, `None` for other names.
pub fn delimiter_of_name(name: &str) -> Option<u8> {
    match hint_of_name(name) {
        Some(FormatHint::Known(found)) => found.delimiter,
        _ => None,
    }
}

/// Returns true if the extension of a name determines an input format.
pub fn has_format(name: &str) -> bool {
    hint_of_name(name).is_some()
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
        // Read only if the first bytes agree.
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
    fn columnar_contents_are_told_from_text_by_their_first_bytes() {
        assert_eq!(columnar(b"PAR1\x15\x04"), Some(Columnar::Parquet));
        assert_eq!(columnar(b"PAR1"), Some(Columnar::Parquet));
        assert_eq!(columnar(b"ARROW1\0\0\xff\xff\xff\xff"), Some(Columnar::Arrow));
        assert_eq!(columnar(b"\xff\xff\xff\xff\x70\0\0\0"), Some(Columnar::Arrow));
        for text in ["PAR1,b\n1,2", "PAR1\n1", "ARROW1,b\n", "", "{"] {
            assert_eq!(columnar(text.as_bytes()), None, "{text:?}");
        }
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
    fn contents_of_other_formats_are_named() {
        let what = |first: &[u8]| foreign(first).map(|found| found.what);
        for (first, expected) in [
            (&b"PK\x03\x04\x14\0\0\0\x08\0flights.csv"[..], "a zip archive"),
            (b"PK\x03\x04\x14\0\x06\0[Content_Types].xml", "an Office document, such as an Excel workbook"),
            (b"BZh91AY&SY\x81", "compressed twice"),
            (b"\xfd7zXZ\0\0\x04", "compressed twice"),
            (b"\x1f\x9d\x90a", "compressed with compress"),
            (b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0\x30", "compressed with LZMA alone"),
            (b"\x02\x21\x4c\x18\x08\0\0\0\x70a,b\n1,2\n", "a legacy frame of lz4"),
            (b"7z\xbc\xaf\x27\x1c\0\x04", "a 7z archive"),
            (b"\x1f\x8b\x08\0", "compressed twice"),
            (b"{\0\"\0a\0", "text in UTF-16 without a byte order mark"),
            (b"\0a\0,\0b", "text in UTF-16 without a byte order mark"),
            (b"\n <!DOCTYPE html>", "a web page (HTML)"),
        ] {
            assert_eq!(what(first), Some(expected), "{first:?}");
        }
        let names = ["PAR1,b\n1,2", "PK,name\n", "BZh9,b", "ORC\n1", "Obj,a", "7z,a", "{\"a\":1}", "", "\u{feff}a,b"];
        for text in names {
            assert_eq!(what(text.as_bytes()), None, "{text:?}");
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
