//! Flags of `serve` about its engine: how much at once, what is kept, what goes wrong.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args as ClapArgs;

use super::values::{parse_duration, parse_size};

/// The flags.
#[derive(Clone, Debug, ClapArgs)]
pub struct EngineFlags {
    /// Runs that execute at once; the others wait. Memory and threads are shared out among them
    #[arg(long, default_value = "2", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64), help_heading = "Runs")]
    pub max_runs: u16,
    /// Memory for the rows under way, all runs together [default: DRAWOFF_MAX_MEMORY, or 256MiB]
    #[arg(long, value_parser = parse_size, value_name = "SIZE", help_heading = "Runs")]
    pub max_memory: Option<u64>,
    /// Memory of the blocks that remember rows (deduplicate, group_by), all runs together; the rest goes to disk [default: an eighth of --max-memory]
    #[arg(long, value_parser = parse_size, value_name = "SIZE", help_heading = "Runs")]
    pub step_memory: Option<u64>,
    /// How long runs under way may go on when the service is asked to stop; what is left of them, and runs that wait, begin
    /// at the next start with the same --data
    #[arg(long, value_parser = parse_duration, default_value = "5s", value_name = "TIME", help_heading = "Runs")]
    pub stop_grace: Duration,
    /// Keep runs that have ended for so long (7d), or so many of them (100); all without this
    #[arg(long, value_name = "TIME|COUNT", help_heading = "State")]
    pub retain: Option<String>,
    /// Write the state of --data (workflows, runs with their results, uploads, notebooks) to a tar, and end
    #[arg(long, value_name = "FILE", requires = "data", conflicts_with = "import", help_heading = "State")]
    pub export: Option<PathBuf>,
    /// Bring the state of a tar into --data, and end; what is there already stays
    #[arg(long, value_name = "FILE", requires = "data", help_heading = "State")]
    pub import: Option<PathBuf>,
    /// Do something wrong on purpose: `429,times=3`, `cut=64KiB`, `latency=200ms,on=status`. docs/faults.md lists all
    #[arg(long, value_name = "KIND[=VALUE][,KEY=VALUE]...", help_heading = "Faults")]
    pub fault: Vec<String>,
    /// Do wrong what this file of TOML says, as docs/faults.md has it
    #[arg(long, value_name = "FILE", help_heading = "Faults")]
    pub scenario: Option<PathBuf>,
    /// What the chance of faults goes by [default: that of the scenario, or 0]
    #[arg(long, value_name = "N", help_heading = "Faults")]
    pub fault_seed: Option<u64>,
    /// Offer /admin/clock, where the service's time can be set, moved and sped up, and /admin/faults, which counts them
    #[arg(long, help_heading = "Faults")]
    pub admin: bool,
}
