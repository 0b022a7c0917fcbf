//! The client's side of the Workflows API: typed calls, the meaning of WORKFLOW, the watch over a run, the choice of
//! result files, and what is kept between commands.

mod bulk;
mod calls;
mod definition;
mod digest;
mod error;
mod idempotency;
mod links;
mod pull;
mod remaining;
mod resolve;
mod results;
mod state;
mod upload;
mod watch;

pub use bulk::{bulk_config, bulk_graph};
pub use calls::{Client, RunFilter, StartOptions};
pub use definition::{Definition, SourceKind, declared_types, graph_digest, same_graph, source_block};
pub use digest::{digest_of, digest_of_file};
pub use error::{Error, RunEnd};
pub use idempotency::IdempotencyKey;
pub use pull::{PullOptions, result_source};
pub use remaining::RemainingEstimate;
pub use resolve::ResolvedWorkflow;
pub use results::{BlockSelection, ResultFormat, Results, choose};
pub use state::{
    CompletedOutput, FileProgress, FilePulled, Ledger, OpenLedger, OpenStart, OutputRecord, RecordedStart,
    RejectsRecord, SeenLink, StartIdentity, StateDir, StateError, age_of,
};
pub use upload::{UPLOAD_EXTENSIONS, Upload};
pub use watch::{PollPace, WatchOptions};

#[cfg(test)]
mod tests;
