//! Execution of runs: each on a blocking thread, a bounded number at once, the others queued in
//! order of submission. The blocks of a run execute one after the other, each as one plan of the
//! pipeline. Every change of state is committed to the store before a response can show it.
//! Nothing here parses requests or specs.

mod active;
mod executor;
mod job;
mod pace;
mod pass;
mod prepared;
mod recovery;

pub(super) use active::Stop;
pub(super) use executor::Engine;
pub(super) use job::{Job, new_blocks, new_run_id};
pub(super) use recovery::{Recovered, recover};
