//! The state directory, kept between commands so that a run starts only once and finished outputs are not written
//! again.
//!
//! It has four kinds of small JSON files, each with a lock file beside it against a second process:
//!
//! - `starts/NAME-DIGEST.json`: the last start with one identity (endpoint, workflow, input, payload). Its idempotency
//!   key is on disk before the request, the id of the run after the response.
//! - `workflows/NAME-DIGEST.json`: the workflow that was created from one definition. Its id is on disk before the
//!   request.
//! - `parts/NAME-DIGEST.json`: the parts that one input is cut into: the name of their starts, and those started again.
//! - `runs/RUN-DIGEST.json`: the ledger of one run: links, outputs begun and completed, progress of the downloads.
//!
//! Beside them `requests/` has the instants of the last requests of each key ([`crate::net::Limiter`]).
//!
//! A file is replaced atomically (written under another name, synced, renamed), so that a crash leaves the old or the
//! new one. No file holds an API key or the query of a signed link.

mod directory;
mod document;
mod error;
mod ledger;
mod lock;
mod parts;
mod prune;
mod stamp;
mod start;
mod workflow;

pub use directory::StateDir;
pub use error::StateError;
pub use ledger::{
    CompletedOutput, FileProgress, FilePulled, Ledger, OpenLedger, OutputRecord, RejectsRecord, SeenLink,
};
pub use parts::{OpenParts, PartsIdentity, RecordedParts};
pub use prune::Pruned;
pub use stamp::age_at;
pub use start::{EarlierFormStart, OpenStart, RecordedStart, StartIdentity, StartSubject};
pub use workflow::{OpenWorkflow, RecordedWorkflow};

#[cfg(test)]
mod tests;
