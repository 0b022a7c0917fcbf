//! The flags of `serve` for its engine: runs and memory, state, and injected faults.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;

use super::values::{parse_duration, parse_size};

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
    #[arg(long, value_name = "FILE", requires = "data", conflicts_with = "import", help_heading = "State")]
    pub export: Option<PathBuf>,
    /// Import the state of a tar archive into --data and exit; existing items are kept
    #[arg(long, value_name = "FILE", requires = "data", help_heading = "State")]
    pub import: Option<PathBuf>,
    /// Inject a fault: `429,times=3`, `cut=64KiB`, `latency=200ms,on=status`. docs/faults.md lists all
    #[arg(long, value_name = "KIND[=VALUE][,KEY=VALUE]...", help_heading = "Faults")]
    pub fault: Vec<String>,
    /// Inject the faults of a TOML file, as described in docs/faults.md
    #[arg(long, value_name = "FILE", help_heading = "Faults")]
    pub scenario: Option<PathBuf>,
    /// Seed of the random faults [default: that of the scenario, or 0]
    #[arg(long, value_name = "N", help_heading = "Faults")]
    pub fault_seed: Option<u64>,
    /// Serve /admin/clock, which sets, moves and speeds up the service's time, and /admin/faults, which counts injected
    /// faults
    #[arg(long, help_heading = "Faults")]
    pub admin: bool,
}
