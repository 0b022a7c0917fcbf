//! CSV as in RFC 4180: decodes records into columns, and encodes columns as records.
//!
//! Reading: `delimiter` infers the delimiter where none is specified, [`split`] finds the fields of a morsel's records, `infer` the types of their values, and
//! [`decode`] makes arrays of them. Writing: [`encode`] writes batches as records, and [`pad`]
//! rewrites records that are already in the file for columns that were added later; `sheet` knows what spreadsheets do to
//! cells.
//!
//! Null is the empty field, and the empty text is `""`. Both directions keep that.

mod cells;
pub mod decode;
mod delimiter;
mod dialect;
pub mod encode;
mod header;
mod infer;
mod open_quote;
mod options;
pub mod pad;
mod sheet;
pub mod split;

pub use decode::CsvDecoder;
pub use delimiter::{InferredDelimiter, delimiter_name, infer_delimiter};
pub use dialect::{CsvDialect, CsvProperty, CsvQuote, HeaderRecord};
pub use encode::CsvEncoder;
pub use header::{BadHeader, Header, HeaderSearch, take_header};
pub use open_quote::line_of_open_quote;
pub use options::{CsvBooleans, CsvOptions, NullText};
pub use sheet::{MAX_SHEET_CELL, MAX_SHEET_ROWS, SheetCounts};
