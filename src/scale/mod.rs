//! Work that several machines share: the items of a plan, the receipts for those that are done, and the record of the commit,
//! in a directory or below a prefix of a store. Downloads nothing, processes no rows, and knows no target.
//!
//! ```text
//! plan.ndjson                          its settings, then one item a line; without links and secrets
//! parts/<item>/<attempt>/0001.parquet  rows of one attempt at an item, as columns
//! parts/<item>/<attempt>/0001.….zst    the same as text, in which every value is spelled as it was read
//! failures/<item>/<attempt>.json       why an attempt failed
//! receipts/<item>/<attempt>.json       written last, when the parts are whole
//! commit.json                          written when the target has the rows
//! ```
//!
//! # Once
//!
//! 1. A receipt implies whole parts: it is written after them.
//! 2. No two attempts share a name, so that none can overwrite the parts or the receipt of another.
//! 3. Only parts that a chosen receipt names are ever read; of several receipts of an item, the one with the smallest name.
//! 4. The commit is keyed by the digest of the plan, and a target refuses a second commit with the key.
//!
//! So any number of attempts, deaths and doubled workers give each record once. A death leaves parts without a receipt, which
//! [`PlanStore::orphans`] finds. The files that decide are written under the condition that they do not exist.

mod attempt;
mod error;
mod plan;
mod receipt;
mod store;
mod types;

pub use attempt::new_attempt;
pub use error::ScaleError;
pub use plan::{ItemSource, Plan, PlanSettings, PlannedStep, WorkItem};
pub use receipt::{CommitRecord, CommitTarget, FailedAttempt, Part, Receipt};
pub use store::{Created, PlanStore, Receipts};
