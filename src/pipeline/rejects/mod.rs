//! Rejected records with their positions and reasons: as a list between threads, and as a file.

mod file;
mod list;

pub use file::{RejectsFile, is_rejects_file};
pub use list::RejectList;
