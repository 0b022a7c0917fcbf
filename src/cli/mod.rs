//! The command line: arguments as typed (`args`), the settings that they resolve to (`settings`), and the commands
//! (`commands`), which build plans for the engine and calls for the client.
//!
//! Standard output carries data only; everything else goes to standard error, through `print`. clap, the environment
//! and the terminal are used in this layer only: the engine and the client know none of them.

mod args;
mod choices;
mod color;
mod commands;
mod context;
#[cfg_attr(not(feature = "object-store"), path = "no_copy_into.rs")]
mod copy_into;
mod corrected;
mod dialect;
mod dispatch;
mod engine;
mod error;
mod exit;
mod flag_text;
mod help;
mod interrupt;
mod load_args;
#[cfg(feature = "serve")]
mod local;
mod logger;
mod look;
mod mistakes;
mod object_options;
mod output_checks;
mod outputs;
#[cfg(feature = "serve")]
mod page_commands;
mod parse;
mod period;
mod place_names;
mod plan_place;
mod print;
mod report;
#[cfg(feature = "serve")]
mod request_log;
mod result_file;
mod resume;
mod run_selection;
mod run_source;
mod scale_args;
mod serve_flags;
mod serve_settings;
pub mod settings;
mod shell;
mod sinks;
mod sources;
mod steps;
mod steps_file;
mod store_checks;
mod stored_sources;
mod table;
mod table_url;
mod tables;
#[cfg_attr(not(feature = "opentelemetry"), path = "no_telemetry.rs")]
mod telemetry;
mod test_stop;
#[cfg(test)]
mod tests;
mod typed_words;
mod values;

pub use dispatch::main;
