//! What each command does.

pub mod config;
pub mod convert;
mod input;
pub mod pull;
mod results;
pub mod run;
pub mod runs;
pub mod schema;
pub mod serve;
pub mod upload;
pub mod workflows;
