//! The table of file extensions: infers format and compression from a name, for inputs and outputs,
//! and names output files. Looks at names only, never at content.

use super::compress::Compression;

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

const COMPRESSIONS: [(&str, Compression); 4] =
    [("gz", Compression::Gzip), ("gzip", Compression::Gzip), ("zst", Compression::Zstd), ("zstd", Compression::Zstd)];

impl NamedFormat {
    /// Looks up an extension without its dot, in upper or lower case; `None` if it is unknown.
    pub fn of_extension(extension: &str) -> Option<Self> {
        let found = FORMATS.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
        found.map(|(_, format)| *format)
    }

    /// Infers format and compression from a file name, a path, or a URL without its query.
    pub fn of_name(name: &str) -> (Option<Self>, Compression) {
        let (stem, compression) = split_compression(name);
        (extension(stem).and_then(Self::of_extension), compression)
    }

    /// Returns the extension for output files of this format, without the dot.
    pub fn extension(self) -> &'static str {
        FORMATS.iter().find(|(_, format)| *format == self).map_or("", |(extension, _)| extension)
    }
}

fn extension(name: &str) -> Option<&str> {
    name_parts(name).map(|(_, extension)| extension)
}

fn split_compression(name: &str) -> (&str, Compression) {
    let found = name_parts(name).and_then(|(stem, extension)| {
        let found = COMPRESSIONS.iter().find(|(known, _)| known.eq_ignore_ascii_case(extension));
        found.map(|(_, compression)| (stem, *compression))
    });
    found.unwrap_or((name, Compression::None))
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
            ("out/a.parquet", Some(NamedFormat::Parquet), Compression::None),
            ("a.b.TSV.gz", Some(NamedFormat::Tsv), Compression::Gzip),
            ("a.jsonl.zst", Some(NamedFormat::Ndjson), Compression::Zstd),
            ("a.pq", Some(NamedFormat::Parquet), Compression::None),
            ("dir/.csv", None, Compression::None),
            (".gz", None, Compression::None),
            ("dir.csv/a", None, Compression::None),
            ("csv", None, Compression::None),
            ("a.txt", None, Compression::None),
            ("a.gz", None, Compression::Gzip),
        ] {
            assert_eq!(NamedFormat::of_name(name), (format, compression), "{name}");
        }
        for (_, format) in FORMATS {
            assert_eq!(NamedFormat::of_extension(format.extension()), Some(format));
        }
    }
}
