//! The client's side of the Workflows API: typed calls, the meaning of WORKFLOW, the watch over a run, the choice of
//! result files.

mod calls;
mod definition;
mod error;
mod idempotency;
mod resolve;
mod results;
mod upload;
mod watch;

pub use calls::{Client, RunFilter, StartOptions};
pub use definition::{Definition, SourceKind, declared_types, same_graph, source_block};
pub use error::{Error, RunEnd};
pub use idempotency::IdempotencyKey;
pub use resolve::Resolved;
pub use results::{LinkSource, ResultFormat, Results, Wanted, choose};
pub use upload::{UPLOAD_EXTENSIONS, Upload};
pub use watch::{Pace, WatchOptions};

#[cfg(test)]
mod tests;
