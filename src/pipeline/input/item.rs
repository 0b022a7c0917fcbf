//! Pieces of input on their way from the reader to a worker, in order, and what is known of the source of each. No reading
//! happens here.

use std::sync::Arc;

use crate::column::{Batch, Field, Morsel, Schema, Type};
use crate::format::Format;
use crate::format::csv::{CsvDecoder, Header};
use crate::format::frame::{Framing, Oversized};

/// An open source, as all stages know it.
#[derive(Debug)]
pub struct SourceInfo {
    /// Its place in the plan.
    pub index: usize,
    /// Its name.
    pub name: Arc<str>,
    /// Its format.
    pub format: Format,
    /// The decoder of a CSV source, once its header is known.
    pub csv: Option<CsvSource>,
    /// Rows that the API said it has.
    pub expected_rows: Option<u64>,
    /// It came over a network, where a last line without end may be half of one.
    pub is_stream: bool,
}

impl SourceInfo {
    /// The byte that ends a line of the source in its morsels.
    pub fn line_break(&self) -> u8 {
        if self.format == Format::JsonArray { Framing::Elements.line_break() } else { b'\n' }
    }

    /// The columns that the header of a CSV source names, of no type yet; none for other sources.
    pub fn header_columns(&self) -> Schema {
        let names = self.csv.iter().flat_map(|csv| csv.header.names.iter());
        Schema::new(names.map(|name| Field::new(name.clone(), Type::Null)).collect())
    }
}

/// A CSV source after its header.
pub struct CsvSource {
    /// The names of the columns.
    pub header: Header,
    /// Decodes its morsels.
    pub decoder: CsvDecoder,
}

impl std::fmt::Debug for CsvSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CsvSource").field("header", &self.header).finish_non_exhaustive()
    }
}

/// One piece of input, in order.
#[derive(Debug)]
pub enum Item {
    /// Records.
    Morsel(Morsel, Arc<SourceInfo>),
    /// Rows that are decoded already.
    Rows(Batch, Arc<SourceInfo>),
    /// A record that was too long.
    Oversized(Oversized, Arc<SourceInfo>),
    /// A source has ended; so many whole rows were expected of it.
    SourceEnd(Arc<SourceInfo>),
}
