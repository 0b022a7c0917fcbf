//! Rejected records with their positions and reasons: as a list between threads, and as a file.

mod file;
mod list;

pub(super) use file::RejectsFile;
pub use file::is_rejects_file;
pub(super) use list::RejectList;
