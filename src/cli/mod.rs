//! The command line: what was typed (`args`), what it means (`settings`), what is done (`commands`).
//!
//! Standard output is data only; everything else goes to standard error, through `print`. The engine and the client
//! know neither clap nor the environment nor the terminal.

pub mod args;
mod choices;
pub mod color;
mod commands;
mod context;
mod dialect;
mod dispatch;
mod engine;
mod error;
pub mod exit;
mod flag_text;
mod interrupt;
#[cfg(feature = "serve")]
mod local;
mod outputs;
mod print;
mod report;
mod resume;
mod serve_flags;
pub mod settings;
mod shell;
mod sinks;
mod sources;
mod steps;
mod steps_file;
mod table;
#[cfg(test)]
mod tests;
mod values;

pub use dispatch::{install_panic_hook, run};
