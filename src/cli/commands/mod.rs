//! The commands: each takes its parsed arguments and the [`Context`](super::context::Context), calls the client and the
//! engine, and returns an exit code. Modules without a command of their own are shared by several.

pub(super) mod bulk;
pub(super) mod commit;
mod commit_records;
pub(super) mod complete_values;
pub(super) mod completions;
pub(super) mod config;
pub(super) mod convert;
pub(super) mod doctor;
mod earlier_start;
pub(super) mod explain;
pub(super) mod head;
pub(super) mod init;
mod input;
mod ledger_session;
pub(super) mod loads;
mod output_identity;
mod parts;
pub(super) mod plan;
mod plan_settings;
mod preview;
pub(super) mod pull;
mod pulled_results;
mod resolve;
mod results;
pub(super) mod run;
mod run_list;
mod run_words;
pub(super) mod runs;
pub(super) mod schema;
pub(super) mod serve;
#[cfg(feature = "serve")]
mod serve_archives;
#[cfg(feature = "serve")]
mod serve_command;
#[cfg(feature = "serve")]
mod serve_input;
mod several_runs;
mod start;
pub(super) mod stats;
pub(super) mod sync;
pub(super) mod upload;
pub(super) mod work;
pub(super) mod workflows;
