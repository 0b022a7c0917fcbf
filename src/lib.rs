//! drawoff streams the results of hosted batch workflows to where people need them.
//!
//! It starts a run through the Workflows API, watches it, and pipes the signed downloads of its
//! results through a parser into typed columns and out as Parquet, CSV, NDJSON or Arrow. Nothing buffers
//! a whole file. The same library holds a local Workflows service that speaks the same API.
//!
//! # As a library
//!
//! The command line only parses flags and prints; all work is done by these:
//!
//! | to do | entry point |
//! |---|---|
//! | convert files or a reader | [`pipeline::execute`] |
//! | read records as Arrow batches | [`pipeline::read_batches`] |
//! | hand batches to polars, without a copy | `column::data_frame`, with the feature `polars` |
//! | start a run and pull its results | [`client::Client::start`], [`client::Client::pull`] |
//! | add steps | [`transform::Step::parse`] |
//! | infer or declare a schema | [`pipeline::describe_schema`], [`mod@format::schema_file`] |
//! | run the local service | [`service::Service::start`] |
//!
//! Each has an example, and `examples/pull_batches.rs` is a whole program.
//!
//! # The path of the data
//!
//! ```text
//! signed URL ─► tokio: body ─► decompress ─► frame ─┐ morsels, in order, bounded by bytes
//! file, stdin ──────────────────────────────────────┘
//!    ─► N workers: parse ─► batch ─► steps ─► encode (a row group, or CSV/NDJSON bytes)
//!    ─► one writer per execution: encoded parts in order, rejects ─► sink
//! ```
//!
//! tokio carries sockets and timers only. Parsing, transforming, compressing and encoding run on
//! plain threads; a worker takes a morsel through everything while it is warm in cache. The order
//! of records is the order of the input at any number of workers.
//!
//! # Terms
//!
//! | term | meaning here |
//! |---|---|
//! | chunk | bytes as they arrived, cut anywhere |
//! | morsel | one contiguous buffer of whole records (about 1 MiB); what a worker parses at a time |
//! | batch | typed columns decoded from one morsel; strings are views into the morsel |
//! | row group | Parquet's unit: encoded parts of many morsels, joined by the writer, closed by bytes |
//! | record, field, path | one NDJSON line or CSV row; one value in it; its path (`contacts[0].email`) |
//! | workflow, block, edge, run, link | the API's terms |
//! | work item, attempt, receipt | a result file that one of several machines processes; one try at it; the proof that it is done |
//! | plan, execution | sources, steps and outputs, resolved; one pass of the plan over its sources |
//! | enforced schema | column types that are given and never widen; a value that does not fit rejects its record |
//! | schema mismatch | a value or key that the inferred schema does not hold; the schema widens |
//! | reject | a record that cannot be used, with its position and the reason |
//!
//! # The floors
//!
//! Imports go down only (a test reads the `use crate::` lines):
//!
//! 0. [`position`], [`secret`], [`api`], `text`, `unwind`: values, and panics of decoders as errors.
//! 1. [`mod@column`], [`mod@format`]: pure computation; no tokio, files, sockets or clock.
//! 2. [`net`], [`source`], [`transform`], [`sink`], [`warehouse`], `pipe`: transport, inputs, steps, outputs.
//! 3. [`pipeline`]: the plan and its execution; [`scale`]: work that several machines share.
//! 4. [`client`], [`service`]: the two sides of the API; they meet only in [`api`].
//! 5. `cli`: the command line.
//!
//! # Invariants
//!
//! - No thread waits for memory that only it could free: only readers wait for permits.
//! - No record is dropped without being counted, and no value is changed to fit a column.
//! - No file appears at its final name before it is whole.
//! - No start of a run is requested before its idempotency key is on disk, unless the state directory is disabled.
//! - No key is sent to an origin other than the API's.
//! - No code is `unsafe` outside of `column::views`, `column::data_frame` and `format::simd`.

pub mod api;
// For the binary, and for the tests of its pages.
#[doc(hidden)]
pub mod cli;
pub mod client;
pub mod column;
pub mod format;
pub mod net;
mod pipe;
pub mod pipeline;
pub mod position;
pub mod scale;
pub mod secret;
#[cfg(feature = "serve")]
pub mod service;
pub mod sink;
pub mod source;
mod text;
pub mod transform;
mod unwind;
pub mod warehouse;
