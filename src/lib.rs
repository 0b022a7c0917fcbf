//! drawoff draws the results of hosted batch workflows off to where people need them.
//!
//! It starts a run through the Workflows API, watches it, and pipes the signed downloads of its
//! results through a parser into typed columns and out as Parquet, CSV or NDJSON. Nothing buffers
//! a whole file. The same library holds a local Workflows service that speaks the same API.
//!
//! # The way of the data
//!
//! ```text
//! signed URL ─► tokio: body ─► decompress ─► frame ─┐ morsels, in order, bounded by bytes
//! file, stdin ──────────────────────────────────────┘
//!    ─► N workers: parse ─► batch ─► steps ─► encode (a row group, or CSV/NDJSON bytes)
//!    ─► one writer per execution: finished pieces in order, rejects ─► sink
//! ```
//!
//! tokio carries sockets and timers only. Parsing, transforming, compressing and encoding run on
//! plain threads; a worker takes a morsel through everything while it is warm in cache. The order
//! of records is the order of the input at any number of workers.
//!
//! # The words
//!
//! | word | means here |
//! |---|---|
//! | chunk | bytes as they arrived, cut anywhere |
//! | morsel | one contiguous buffer of whole records (about 1 MiB); what a worker parses at a time |
//! | batch | typed columns made from one morsel; strings are views into the morsel |
//! | row group | Parquet's unit: many morsels, encoded by one worker, closed by bytes |
//! | record, field, path | one NDJSON line or CSV row; one value in it; where it sits (`contacts[0].email`) |
//! | workflow, block, edge, run, link | the API's words |
//! | plan, execution | what is to be done with which sources and outputs; the doing of it, once |
//! | reject | a record that could not be used, with its position and the reason |
//!
//! # The floors
//!
//! Imports go down only (a test reads the `use crate::` lines):
//!
//! 0. [`position`], [`text`], [`secret`], [`api`]: values.
//! 1. [`mod@column`], [`mod@format`]: pure work; no tokio, files, sockets or clock.
//! 2. [`net`], [`source`], [`transform`], [`sink`], [`pipe`]: ends and steps.
//! 3. [`pipeline`]: the plan, and its execution.
//! 4. [`client`], [`service`]: the two sides of the API; they meet only in [`api`].
//! 5. [`cli`]: the command line.
//!
//! # What is never true
//!
//! - No thread waits for memory that only itself could free: only readers wait for permits.
//! - No record is dropped without being counted, and no value is changed to fit a column.
//! - No file appears at its final name before it is whole.
//! - No start of a run is asked for before its idempotency key is on disk, unless state was declined.
//! - No key is sent to an origin other than the API's.

pub mod api;
pub mod cli;
pub mod client;
pub mod column;
pub mod format;
pub mod net;
pub mod pipe;
pub mod pipeline;
pub mod position;
pub mod secret;
#[cfg(feature = "serve")]
pub mod service;
pub mod sink;
pub mod source;
pub mod text;
pub mod transform;
