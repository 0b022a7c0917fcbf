//! Digests of the bytes of sources, as they were sent, before decompression. With the way in which the bytes were read they
//! identify the rows of sources that have no name of their own, such as files and pipes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::warehouse::hexadecimal;

use crate::format::Format;
use crate::format::csv::{CsvDialect, HeaderRecord};
use crate::format::encoding::TextEncoding;
use crate::source::DirectoryColumns;

/// Bytes of a file that are read at a time.
const READ_BYTES: usize = 1 << 18;

/// The digests of the sources of an execution, by their index. Cheap to clone; all clones are one list.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceDigests(Arc<Mutex<Vec<Entry>>>);

/// One source.
#[derive(Clone, Debug, Default)]
struct Entry {
    digest: Option<String>,
    /// The form of [`reading`].
    reading: String,
}

impl SourceDigests {
    /// Creates a list for `n` sources.
    pub(crate) fn new(n: usize) -> Self {
        SourceDigests(Arc::new(Mutex::new(vec![Entry::default(); n])))
    }

    fn set(&self, index: usize, digest: String) {
        if let Some(entry) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index) {
            entry.digest = Some(digest);
        }
    }

    /// Enters the form of [`reading`] of a source.
    pub(super) fn set_reading(&self, index: usize, reading: String) {
        if let Some(entry) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get_mut(index) {
            entry.reading = reading;
        }
    }

    /// Digests the whole file of a source.
    pub(super) fn set_of_file(&self, index: usize, path: &Path) -> io::Result<()> {
        let mut file = File::open(path)?;
        let mut running = RunningDigest::default();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => running.update(&buffer[..n]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        running.end(self, index);
        Ok(())
    }

    /// Returns the digests of all sources, each with a space and the form of [`reading`] behind it if that is not empty;
    /// `None` if one was not read to its end.
    pub(crate) fn all(&self) -> Option<Vec<String>> {
        let entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let with_reading = |entry: &Entry| {
            let digest = entry.digest.as_deref()?;
            Some(if entry.reading.is_empty() { digest.to_owned() } else { format!("{digest} {}", entry.reading) })
        };
        entries.iter().map(with_reading).collect()
    }
}

/// The way in which the bytes of a source become records, as it was decided when it was opened.
pub(super) struct Reading<'a> {
    /// The source as it was specified.
    pub(super) csv: &'a CsvDialect,
    pub(super) columns: &'a DirectoryColumns,
    pub(super) encoding: Option<TextEncoding>,
    /// The format; `None` for Parquet and Arrow, whose bytes say it.
    pub(super) format: Option<Format>,
    /// The delimiter, for CSV.
    pub(super) delimiter: u8,
}

/// Returns everything besides its bytes that determines the rows of a source, as a JSON array: other rows of the same bytes
/// are not the same load. Empty for lines of JSON in UTF-8, and for Parquet and Arrow. Part of the keys of loads, so that its
/// form must stay.
pub(super) fn reading(of: &Reading<'_>) -> String {
    let CsvDialect { delimiter: _, quote, skip_lines, header, null_words, numbers } = of.csv;
    let mut parts = Vec::new();
    match of.format {
        None | Some(Format::Ndjson) => {}
        Some(Format::JsonArray) => parts.push(json!("json")),
        Some(Format::JsonValues) => parts.push(json!("values")),
        Some(Format::Csv) => {
            let header = match header {
                HeaderRecord::Absent => 0,
                HeaderRecord::Nth(nth) => nth.get(),
            };
            let words: Vec<&str> = null_words.iter().map(|word| &**word).collect();
            let marks = (char::from(numbers.decimal), numbers.thousands);
            let delimiter = char::from(of.delimiter);
            parts.push(json!(["csv", delimiter, quote.byte(), skip_lines, header, words, marks]));
        }
    }
    // The text is that of its `Debug`: the name of the encoding.
    parts.extend(of.encoding.filter(|encoding| !encoding.is_utf8()).map(|encoding| json!(format!("{encoding:?}"))));
    let columns: Vec<_> = of.columns.iter().map(|(name, value)| json!([**name, value.as_deref()])).collect();
    if !columns.is_empty() {
        parts.push(json!({"columns": columns}));
    }
    if parts.is_empty() { String::new() } else { Value::Array(parts).to_string() }
}

/// The digest of a source that is being read.
#[derive(Clone, Default)]
pub(super) struct RunningDigest(Sha256);

impl RunningDigest {
    /// Adds the next bytes.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Enters the digest of the source with this index, which is at its end.
    pub(super) fn end(&mut self, digests: &SourceDigests, index: usize) {
        let digest = std::mem::take(&mut self.0).finalize();
        digests.set(index, hexadecimal(&digest));
    }
}
