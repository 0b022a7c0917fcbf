//! The embedded database: workflows, runs, uploads, notebooks, idempotency keys and signing secrets. Every change is
//! one transaction, durable before the call returns, and all calls block. Result files and uploaded files are not in
//! it: a row names a file that is already complete on disk.

mod damage;
mod database;
mod keys;
mod reset;
mod schedules;
mod seeds;
mod tables;
#[cfg(test)]
mod tests;

pub(super) use database::{RunFilter, StartOutcome, Store};
pub(super) use keys::StartedBefore;
pub(super) use reset::{Baseline, RemovedItems};
pub use tables::Error;
