//! The local Workflows service: serves the endpoints of [`crate::api`] over HTTP from one data directory.
//!
//! ```text
//! routes ─► store (workflows, runs, uploads: one embedded database)
//!    │
//!    ├────► graph ─► blocks: their specs, validated by the schemas that `GET /workflows/blocks` publishes
//!    │
//!    └────► engine: executes a run's blocks in topological order, each block as one plan ─► pipeline
//! ```
//!
//! The routes translate between the wire and the store and never touch records. The store and the engine know
//! neither requests nor responses, and a block only plans its work. The pipeline writes result files whole, and a link
//! is offered only after the store has recorded the file, so every link points to a complete file.
//!
//! The comment "Our reading" marks each choice on which the vendor's public material is silent.

mod api_error;
mod app;
mod archive;
mod blocks;
mod body;
mod bulk;
mod clock;
mod command_line;
mod config;
mod connections;
mod contract;
mod count;
mod cron;
mod directories;
mod engine;
mod enrich;
mod enrichment_sources;
mod faults;
mod fields;
mod graph;
mod hosted;
mod hosts;
mod in_force;
mod journal;
mod location;
mod metrics;
mod notebooks;
mod openapi;
mod page;
mod paths;
mod payload;
mod preview;
mod private_files;
mod provider;
mod query;
mod range;
mod rate;
mod raw;
mod request;
mod retention;
mod routes;
mod rows;
mod schedule_bodies;
mod schedules;
mod seeds;
mod server;
mod sessions;
mod sign;
mod signing_secrets;
mod single;
mod store;
mod stored_names;
#[cfg(test)]
mod tests;
mod webhook;

pub use archive::{ArchiveSummary, Error as ArchiveError, check_replaceable, export, import};
pub use clock::Clock;
pub use command_line::{ClientAct, CommandLine, CommandRequest, RunInput};
pub use config::{Config, EnrichEndpoint, EnrichTable};
pub use enrich::Error as EnrichError;
pub use faults::{
    Error as ScenarioError, ErrorShape as FaultErrorShape, Kind as FaultKind, Progress as FaultProgress,
    Refusal as FaultRefusal, Rule as FaultRule, Scenario, Target as FaultTarget,
};
pub use hosted::Backend;
pub use journal::{OnRequest, RequestRecord};
pub use openapi::document as openapi_document;
pub use retention::Retain;
pub use seeds::{Error as SeedError, Seeded};
pub use server::{Error, Service};
pub use store::Error as StoreError;
