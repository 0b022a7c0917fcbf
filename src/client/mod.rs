//! The client of the Workflows API: typed calls, resolution of workflows, watching of runs, selection of result files,
//! and the state that is kept between commands.
//!
//! Its results are values, download requests, and execution plans that the pipeline carries out. It writes only the
//! state directory; the texts for the user are `cli`'s.

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
pub use calls::{Client, RunFilter, RunStart, StartOptions};
pub use definition::{
    Definition, SourceKind, WorkflowArgument, declared_types, graph_digest, same_graph, source_block,
};
pub use digest::{digest_of, digest_of_file};
pub use error::{Error, RunEnd};
pub use idempotency::IdempotencyKey;
pub use pull::{PullOptions, result_source};
pub use remaining::RemainingEstimate;
pub use resolve::ResolvedWorkflow;
pub use results::{BlockSelection, ResultFormat, Results, select_links};
pub use state::{
    CompletedOutput, EarlierFormStart, FileProgress, FilePulled, Ledger, OpenLedger, OpenParts, OpenStart,
    OpenWorkflow, OutputRecord, PartsIdentity, Pruned, RecordedParts, RecordedStart, RecordedWorkflow, RejectsRecord,
    SeenLink, StartIdentity, StartSubject, StateDir, StateError, age_at,
};
pub use upload::{UPLOAD_EXTENSIONS, Upload};
pub use watch::{PollPace, WatchOptions};

#[cfg(test)]
mod tests;
