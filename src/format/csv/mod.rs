//! CSV as in RFC 4180: records to columns, and columns to records.
//!
//! Reading: [`split`] finds the fields of a morsel's records, `infer` what types their values
//! have, and [`decode`] makes arrays of them. Writing: [`encode`] makes records of batches, and
//! [`pad`] gives records that are written already the columns that came later.
//!
//! Null is the empty field, and the empty text is `""`. Both directions keep that.

pub mod decode;
pub mod encode;
mod header;
mod infer;
mod options;
pub mod pad;
pub mod split;

pub use decode::CsvDecoder;
pub use encode::{CsvEncoder, MAX_SHEET_CELL, MAX_SHEET_ROWS, SheetCounts};
pub use header::{Header, take_header};
pub use options::{CsvBooleans, CsvOptions, NullText};
