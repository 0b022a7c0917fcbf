//! Formats: frames bytes into records, decodes records into columns, and encodes columns as bytes. Pure computation.
//!
//! Each format has a file or a directory; `kinds.rs` has the enums by which plans name them, and `extension.rs` the table
//! of file extensions. Nothing here opens files or knows where bytes come from.

pub mod arrow_input;
pub mod arrow_ipc;
pub mod arrow_json;
pub mod cell_kinds;
pub mod compress;
pub mod csv;
pub mod decode;
pub mod detect;
pub mod encoding;
mod extension;
pub mod frame;
pub mod json_array;
pub mod json_path;
mod kinds;
pub mod ndjson;
pub mod parquet;
mod reject;
pub mod schema_file;
pub(crate) mod simd;
pub mod utf8;

pub use self::arrow_ipc::ArrowForm;
pub use self::compress::Compression;
pub use self::csv::{CsvBooleans, CsvOptions, NullText};
pub use self::extension::NamedFormat;
pub use self::kinds::{FileEnd, Format, FormatProperties, LateColumns, OutputFormat, RowForm};
pub use self::parquet::{ParquetCodec, ParquetOptions};
pub use self::reject::Reject;
pub use crate::column::{json_text, number};
