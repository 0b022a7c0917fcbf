//! What each command does.

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
