//! Carries out runs: each on a blocking thread, a bounded number at once, the others waiting in
//! the order in which they came. A run's blocks go one after the other, each as one plan of the
//! pipeline, and every change of state is in the store before anybody is told of it.

mod active;
mod executor;
mod job;
mod pass;
mod prepared;

pub(super) use active::Stop;
pub(super) use executor::Engine;
pub(super) use job::{Job, new_blocks, new_run_id};
