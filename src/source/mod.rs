//! The sources of bytes: a file, standard input, or a stream that was opened elsewhere, such as a download.
//!
//! The first part of the data's path. A source yields bytes in order and knows nothing of their contents; decompression
//! and framing follow it.

mod archive;
mod byte_source;
mod expansion;
mod file;
mod input;
mod kept_stream;
mod listing;
mod media_type;
mod stdin;

pub use archive::{ArchiveError, ArchiveListing, ArchiveMember};
pub use byte_source::ByteSource;
pub use expansion::{Expansion, TooMuchExpansion};
pub use file::FileSource;
pub use input::{BoxedError, ColumnsRead, Input, RowSource, Source};
pub use kept_stream::{KeptBytes, KeptStream};
pub use listing::{DirectoryColumns, ListedFile, Listing, ListingError, NamePattern, is_pattern, listed_names};
pub use media_type::format_of_media_type;
pub use stdin::StdinSource;
