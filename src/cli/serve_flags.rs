//! The flags of `serve` for its engine: runs and memory, limits, state, seeds, and injected faults.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};

use super::values::{parse_duration, parse_hosted, parse_size};

/// Flags of `serve` for runs, state and faults.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct EngineFlags {
    /// Runs that execute at once; further runs wait. They share memory and threads
    #[arg(long, default_value = "2", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "Runs")]
    pub max_runs: u16,
    /// Memory for records in flight, all runs together [default: DRAWOFF_MAX_MEMORY, or 256MiB]
    #[arg(long, value_parser = parse_size, value_name = "SIZE", help_heading = "Runs")]
    pub max_memory: Option<u64>,
    /// Memory of the blocks that keep rows (deduplicate, group_by), all runs together; they spill the rest to disk
    /// [default: an eighth of --max-memory]
    #[arg(long, value_parser = parse_size, value_name = "SIZE", help_heading = "Runs")]
    pub step_memory: Option<u64>,
    /// Time for active runs to end when the service is asked to stop; interrupted and waiting runs begin at the next
    /// start with the same --data
    #[arg(long, value_parser = parse_duration, default_value = "5s", value_name = "TIME", help_heading = "Runs")]
    pub stop_grace: Duration,
    /// Keep ended runs for this time (7d), or this many of them (100) [default: all]
    #[arg(long, value_name = "TIME|COUNT", help_heading = "State")]
    pub retain: Option<String>,
    /// Write the state in --data (workflows, runs with their results, uploads, notebooks) to a tar archive and exit
    #[arg(long, value_name = "FILE", requires = "data", conflicts_with_all = ["import", "export_on_exit"], help_heading = "State")]
    pub export: Option<PathBuf>,
    /// Let --export and --export-on-exit replace a file that is no export of a service
    #[arg(long, help_heading = "State")]
    pub overwrite: bool,
    /// Inject a fault: `429,times=3`, `cut=64KiB`, `latency=200ms,on=status`. docs/faults.md lists all
    #[arg(long, value_name = "KIND[=VALUE][,KEY=VALUE]...", help_heading = "Faults")]
    pub fault: Vec<String>,
    /// Inject the faults of a TOML file, as described in docs/faults.md
    #[arg(long, value_name = "FILE", help_heading = "Faults")]
    pub scenario: Option<PathBuf>,
    /// Seed of the random faults [default: that of the scenario, or 0]
    #[arg(long, value_name = "N", help_heading = "Faults")]
    pub fault_seed: Option<u64>,
    /// Serve /admin/faults, /admin/clock and /admin/reset, which change the service while it runs, and obey the header
    /// x-drawoff-fault
    #[arg(long, help_heading = "Faults")]
    pub admin: bool,
}

/// Limits of `serve` on clients; without any of these flags there are none.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct LimitFlags {
    /// Limit clients as the hosted service does: 500 requests and 10 bulk jobs per minute, uploads of 100MB and 100,000
    /// rows; the flags below override one each
    #[arg(long, help_heading = "Limits")]
    pub like_hosted: bool,
    /// Requests per minute and key, beyond which the response is 429; 0 is no limit [default: no limit]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub rate_limit: Option<u32>,
    /// Starts of bulk jobs per minute and key; 0 is no limit [default: no limit]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub bulk_limit: Option<u32>,
    /// Size limit of an uploaded file; 0 is no limit [default: no limit]
    #[arg(long, value_parser = parse_size, value_name = "SIZE", help_heading = "Limits")]
    pub max_upload: Option<u64>,
    /// Row limit of an uploaded file; 0 is no limit [default: no limit]
    #[arg(long, value_name = "N", help_heading = "Limits")]
    pub max_upload_rows: Option<u64>,
}

/// Contents of `serve` at its start and end.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct SeedFlags {
    /// Start with the workflow of a definition file; its id is that of the file, or follows from its name. May be given
    /// several times
    #[arg(long, value_name = "FILE", help_heading = "State")]
    pub workflow: Vec<PathBuf>,
    /// Start with a file as an upload; its handle follows from its name, and read_csv takes the name as well. May be given
    /// several times
    #[arg(long, value_name = "FILE", help_heading = "State")]
    pub upload: Vec<PathBuf>,
    /// Start with the state of a tar archive; items of --data with the same ids are kept
    #[arg(long, value_name = "FILE", help_heading = "State")]
    pub import: Option<PathBuf>,
    /// Write the state to a tar archive when the service stops
    #[arg(long, value_name = "FILE", help_heading = "State")]
    pub export_on_exit: Option<PathBuf>,
}

/// Flags of `serve` for a hosted service behind it.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct HostedFlags {
    /// Hand requests on to the hosted service at this address instead, and compare its responses with the contract. The key
    /// of each request goes there
    #[arg(long, value_parser = parse_hosted, value_name = "URL", conflicts_with_all = HOSTED_EXCLUDES, help_heading = "Hosted service")]
    pub proxy: Option<url::Url>,
    /// Keep each request and its response in this directory, without keys and signed links
    #[arg(long, value_name = "DIR", requires = "proxy", help_heading = "Hosted service")]
    pub record: Option<PathBuf>,
    /// Answer requests from a directory of --record instead
    #[arg(long, value_name = "DIR", conflicts_with = "proxy", conflicts_with_all = HOSTED_EXCLUDES, help_heading = "Hosted service")]
    pub replay: Option<PathBuf>,
}

/// Flags for what a service does not use that does not answer by itself.
const HOSTED_EXCLUDES: [&str; 7] = ["workflow", "upload", "import", "export", "export_on_exit", "enrich", "retain"];

/// Format of the log of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// Words for people.
    Human,
    /// One JSON object per line.
    Json,
    /// No log.
    Off,
}
