//! The table of file extensions: infers format and compression from a name, for inputs and outputs,
//! and names output files. Looks at names only, never at content.

use super::compress::SourceCodec;

/// A format as named by a file extension. As an input, `json` may be lines or one array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamedFormat {
    /// Parquet. Inputs are recognized by their first bytes.
    Parquet,
    /// CSV separated by commas.
    Csv,
    /// CSV separated by tabs.
    Tsv,
    /// One JSON object per line.
    Ndjson,
    /// JSON of either form; outputs are one array of objects.
    Json,
    /// Arrow IPC file. Inputs are recognized by their first bytes.
    Arrow,
    /// Arrow IPC stream. Inputs are recognized by their first bytes.
    ArrowStream,
}

/// Formats that one execution reads together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatFamily {
    /// CSV with any delimiter.
    Csv,
    /// JSON in lines or in an array.
    Json,
    /// Parquet.
    Parquet,
    /// Arrow IPC, as a file or a stream.
    Arrow,
}

impl FormatFamily {
    /// Infers the formats from a file name or a path, with or without an extension of a compression. `None` if its
    /// extension is unknown.
    pub fn of_name(name: &str) -> Option<Self> {
        Some(match NamedFormat::of_name(name).0? {
            NamedFormat::Parquet => FormatFamily::Parquet,
            NamedFormat::Csv | NamedFormat::Tsv => FormatFamily::Csv,
            NamedFormat::Ndjson | NamedFormat::Json => FormatFamily::Json,
            NamedFormat::Arrow | NamedFormat::ArrowStream => FormatFamily::Arrow,
        })
    }
}

/// Extensions in lower case. The first one of a format names its output files.
const FORMATS: [(&str, NamedFormat); 13] = [
    ("parquet", NamedFormat::Parquet),
    ("pq", NamedFormat::Parquet),
    ("csv", NamedFormat::Csv),
    ("tsv", NamedFormat::Tsv),
    ("tab", NamedFormat::Tsv),
    ("ndjson", NamedFormat::Ndjson),
    ("jsonl", NamedFormat::Ndjson),
    ("jsonlines", NamedFormat::Ndjson),
    ("json", NamedFormat::Json),
    ("arrow", NamedFormat::Arrow),
    ("feather", NamedFormat::Arrow),
    ("ipc", NamedFormat::Arrow),
    ("arrows", NamedFormat::ArrowStream),
];

const CODECS: [(&str, SourceCodec); 13] = [
    ("gz", SourceCodec::Gzip),
    ("gzip", SourceCodec::Gzip),
    ("zst", SourceCodec::Zstd),
    ("zstd", SourceCodec::Zstd),
    ("bz2", SourceCodec::Bzip2),
    ("bzip2", SourceCodec::Bzip2),
    ("xz", SourceCodec::Xz),
    ("br", SourceCodec::Brotli),
    ("brotli", SourceCodec::Brotli),
    ("lz4", SourceCodec::Lz4),
    ("zz", SourceCodec::Zlib),
    ("zlib", SourceCodec::Zlib),
    // Of either form; the first bytes decide.
    ("deflate", SourceCodec::Zlib),
];

impl NamedFormat {
    /// Looks up an extension without its dot, in upper or lower case; `None` if it is unknown.
    pub fn of_extension(extension: &str) -> Option<Self> {
        let found = FORMATS.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
        found.map(|(_, format)| *format)
    }

    /// Infers format and codec from a file name, a path, or a URL without its query.
    pub fn of_name(name: &str) -> (Option<Self>, SourceCodec) {
        let (stem, codec) = split_codec(name);
        (extension(stem).and_then(Self::of_extension), codec)
    }

    /// Returns the extension for output files of this format, without the dot.
    pub fn extension(self) -> &'static str {
        FORMATS.iter().find(|(_, format)| *format == self).map_or("", |(extension, _)| extension)
    }
}

fn extension(name: &str) -> Option<&str> {
    name_parts(name).map(|(_, extension)| extension)
}

fn split_codec(name: &str) -> (&str, SourceCodec) {
    let found = name_parts(name).and_then(|(stem, extension)| {
        let found = CODECS.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
        found.map(|(_, codec)| (stem, *codec))
    });
    found.unwrap_or((name, SourceCodec::None))
}

/// Splits a name into stem and last extension; `None` if there is none, as in a name that begins with its only dot.
fn name_parts(name: &str) -> Option<(&str, &str)> {
    let (stem, extension) = name.rsplit_once('.')?;
    let is_file = !extension.contains(['/', '\\']) && !stem.is_empty() && !stem.ends_with(['/', '\\']);
    is_file.then_some((stem, extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_into_format_and_compression() {
        for (name, format, compression) in [
            ("out/a.parquet", Some(NamedFormat::Parquet), SourceCodec::None),
            ("a.b.TSV.gz", Some(NamedFormat::Tsv), SourceCodec::Gzip),
            ("a.jsonl.zst", Some(NamedFormat::Ndjson), SourceCodec::Zstd),
            ("a.pq", Some(NamedFormat::Parquet), SourceCodec::None),
            ("dir/.csv", None, SourceCodec::None),
            (".gz", None, SourceCodec::None),
            ("dir.csv/a", None, SourceCodec::None),
            ("csv", None, SourceCodec::None),
            ("a.txt", None, SourceCodec::None),
            ("a.gz", None, SourceCodec::Gzip),
            ("a.csv.BZ2", Some(NamedFormat::Csv), SourceCodec::Bzip2),
            ("a.json.br", Some(NamedFormat::Json), SourceCodec::Brotli),
        ] {
            assert_eq!(NamedFormat::of_name(name), (format, compression), "{name}");
        }
        for (_, format) in FORMATS {
            assert_eq!(NamedFormat::of_extension(format.extension()), Some(format));
        }
    }
}
