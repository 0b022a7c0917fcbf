//! Where bytes come from: a file, standard input, or a stream that was opened elsewhere (a download). A source yields
//! bytes in order; decompression and framing come after it.

mod byte_source;
mod expansion;
mod file;
mod input;
mod media_type;
mod stdin;

pub use byte_source::ByteSource;
pub use expansion::Expansion;
pub use file::FileSource;
pub use input::{BoxedError, Input, RowSource, Source};
pub use media_type::format_of_media_type;
pub use stdin::StdinSource;
