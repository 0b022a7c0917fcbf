//! Items of input on their way from the reader to a worker, in order, and the facts about the source of each. No
//! reading happens here.

use std::sync::Arc;

use crate::column::{Batch, Field, Morsel, Schema, Type};
use crate::format::Format;
use crate::format::csv::{CsvDecoder, Header};
use crate::format::frame::{Framing, Oversized};
use crate::source::{DirectoryColumns, Source};
use crate::transform::BatchOrigin;

/// An open source, as all stages know it.
#[derive(Debug)]
pub(crate) struct SourceInfo {
    /// Index in the plan's list of sources.
    pub index: usize,
    /// Name in messages.
    pub name: Arc<str>,
    /// Declared or detected format of the records.
    pub format: Format,
    /// Header and decoder of a CSV source; `None` for other formats and before the header was read.
    pub csv: Option<CsvSource>,
    /// Columns that all of its records have, from the names of directories.
    pub columns: DirectoryColumns,
    /// The API's `row_count`; `None` if there is none to compare with.
    pub expected_rows: Option<u64>,
    /// True for a download or pipe, where a last line without a line end may be truncated.
    pub is_stream: bool,
    /// Id of the run whose result the source is; `None` for other sources.
    pub run: Option<Arc<str>>,
}

impl SourceInfo {
    /// Creates the facts about a source, of which the format is not known yet. That of rows that are columns already stays
    /// NDJSON: typed values merge like JSON values, not like CSV cells.
    pub(crate) fn of_source(index: usize, source: &Source, is_stream: bool) -> Self {
        SourceInfo {
            index,
            name: source.name.clone(),
            format: Format::Ndjson,
            csv: None,
            columns: source.columns.clone(),
            expected_rows: source.expected_rows,
            is_stream,
            run: source.run.clone(),
        }
    }

    /// Returns the origin of rows behind `records_before` records of all sources.
    pub(crate) fn batch_origin(&self, records_before: u64) -> BatchOrigin {
        BatchOrigin { source: self.name.clone(), run: self.run.clone(), records_before }
    }

    /// Returns the end of the first record of a morsel, its line end included.
    pub(crate) fn first_record_end(&self, morsel: &Morsel) -> usize {
        match &self.csv {
            Some(csv) => csv.decoder.first_record_end(morsel),
            None => memchr::memchr(b'\n', morsel.records()).map_or(morsel.len, |at| at + 1),
        }
    }

    /// Returns the byte that ends a line of the source in its morsels.
    pub(crate) fn line_break(&self) -> u8 {
        if self.format.is_rewritten() { Framing::Elements.line_break() } else { b'\n' }
    }

    /// Returns the notes on a CSV header, which begin with the name of the source.
    pub(crate) fn header_notes(&self) -> impl Iterator<Item = String> {
        self.csv.iter().flat_map(|csv| &csv.header.notes).map(|note| format!("{}: {note}", self.name))
    }

    /// Returns the columns of a CSV header, with type null; no columns for other sources.
    pub(crate) fn header_columns(&self) -> Schema {
        let names = self.csv.iter().flat_map(|csv| csv.header.names.iter());
        Schema::new(names.map(|name| Field::new(name.clone(), Type::Null)).collect())
    }
}

/// A CSV source after its header.
pub(crate) struct CsvSource {
    /// The column names, and notes about them.
    pub header: Header,
    /// Another delimiter than the comma that the header contains, which is one column; `None` if there is no doubt.
    pub other_delimiter: Option<u8>,
    /// The decoder for these columns.
    pub decoder: CsvDecoder,
}

impl std::fmt::Debug for CsvSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CsvSource").field("header", &self.header).finish_non_exhaustive()
    }
}

/// One item of input. Items are in the order of the sources and of their records.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// Whole records, not decoded yet.
    Morsel(Morsel, Arc<SourceInfo>),
    /// Rows that are columns already, from a query or from a Parquet or Arrow source.
    Rows(Batch, Arc<SourceInfo>),
    /// Position and size of a record beyond the size limit; its bytes were skipped.
    Oversized(Oversized, Arc<SourceInfo>),
    /// The regular end of a source.
    SourceEnd(Arc<SourceInfo>),
}
