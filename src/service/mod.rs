//! The local Workflows service: the endpoints of [`crate::api`] over one data folder.
//!
//! ```text
//! routes ─► store (workflows, runs, uploads: one embedded database)
//!    │
//!    ├────► graph ─► blocks: their specs, read by the schemas that `GET /workflows/blocks` publishes
//!    │
//!    └────► engine: a run's blocks in the order of its edges, each block one plan ─► pipeline
//! ```
//!
//! The routes translate between the wire and the store; they touch no records. The store and the engine know
//! neither requests nor answers, and a block only plans. Result files are written whole by the pipeline and are offered
//! only once the store has recorded them, so whatever a link points to is complete.
//!
//! Where the vendor's public material is silent, the code says "Our reading" beside the choice.

mod api_error;
mod app;
mod archive;
mod blocks;
mod body;
mod bulk;
mod clock;
mod config;
mod count;
mod directories;
mod engine;
mod enrich;
mod enrichment_sources;
mod faults;
mod fields;
mod graph;
mod location;
mod metrics;
mod notebooks;
mod openapi;
mod page;
mod paths;
mod provider;
mod query;
mod range;
mod rate;
mod raw;
mod request;
mod retention;
mod routes;
mod rows;
mod server;
mod sign;
mod signing_secrets;
mod store;
#[cfg(test)]
mod tests;
mod webhook;

pub use archive::{ArchiveSummary, Error as MoveError, export, import};
pub use clock::Clock;
pub use config::{Config, EnrichEndpoint, EnrichTable};
pub use enrich::Error as EnrichError;
pub use faults::{
    Error as ScenarioError, Kind as FaultKind, Progress as FaultProgress, Rule as FaultRule, Scenario,
    Target as FaultTarget,
};
pub use openapi::document as openapi_document;
pub use retention::Retain;
pub use server::{Error, Service};
pub use store::Error as StoreError;
