//! Whole commands against the built binary, a file per theme.

mod support;

mod commands;
mod convert;
mod failures;
mod floors;
mod main_job;
mod memory;
mod readme;
mod service;
