//! What is kept between commands, so that a run starts once and a download that was cut goes on.
//!
//! The state directory holds two kinds of small files, each beside the lock that keeps two processes off it:
//!
//! - `starts/MEANING.json`: the last start of one meaning (workflow, input, overrides): its idempotency key, written
//!   before the request, and the run that it became, written after the answer.
//! - `runs/RUN.json`: the ledger of one run: links seen, outputs begun and finished, how far a download came.
//!
//! A file is replaced whole (a new one is written, synced and renamed), so that at any moment one of the two states
//! can be read. No file holds a key or the query of a signed link.

mod directory;
mod document;
mod error;
mod ledger;
mod lock;
mod stamp;
mod start;

pub use directory::StateDir;
pub use error::StateError;
pub use ledger::{
    CompletedOutput, FileProgress, FilePulled, Ledger, OpenLedger, OutputRecord, RejectsRecord, SeenLink,
};
pub use stamp::age_of;
pub use start::{OpenStart, RecordedStart, StartIdentity};

#[cfg(test)]
mod tests;
