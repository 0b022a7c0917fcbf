//! The commands: each takes its parsed arguments and the [`Context`](super::context::Context), calls the client and the
//! engine, and returns an exit code. Modules without a command of their own are shared by several.

pub mod bulk;
pub mod completions;
pub mod config;
pub mod convert;
pub mod explain;
mod input;
mod ledger_session;
pub mod pull;
mod results;
pub mod run;
pub mod runs;
pub mod schema;
pub mod serve;
mod start;
pub mod upload;
pub mod workflows;
