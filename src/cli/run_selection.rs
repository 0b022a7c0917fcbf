//! The flags and words that select the runs of `pull`.

use clap::builder::NonEmptyStringValueParser;

use super::choices::OnFailed;
use super::period::Period;

/// The runs to write.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct RunSelectionArgs {
    /// Ids of runs, or unique beginnings of ids; `last` is the newest run, and `-` reads ids from standard input, one a line
    /// or as the NDJSON of `runs ls`. Several are written in this order, as one sequence of records
    #[arg(value_name = "RUN", required_unless_present = "workflow", value_parser = NonEmptyStringValueParser::new())]
    pub runs: Vec<String>,
    /// Write the runs of this workflow, given by id or exact name, in the order of their start; with `last` or the beginning
    /// of an id, look for it among them
    #[arg(long, value_name = "WORKFLOW", help_heading = "Selection of runs")]
    pub workflow: Option<String>,
    /// State of the runs that are selected [default: completed, and any for `last` or the beginning of an id]
    #[arg(long, value_name = "STATE", help_heading = "Selection of runs")]
    pub status: Option<String>,
    /// The time of the runs.
    #[command(flatten, next_help_heading = "Selection of runs")]
    pub period: Period,
    /// Policy if some of several runs failed, were cancelled or timed out
    #[arg(long, value_enum, default_value = "fail", value_name = "POLICY", help_heading = "Selection of runs")]
    pub on_failed_run: OnFailed,
}

impl RunSelectionArgs {
    /// Names of the flags that select runs, as clap's ids. They have no meaning for a command that names a run.
    pub(super) const IDS: [&str; 5] = ["workflow", "status", "since", "until", "on_failed_run"];

    /// Returns the first filter of the list that was given; `None` if there is none.
    pub(super) fn first_filter(&self) -> Option<&'static str> {
        let given = [
            (self.workflow.is_some(), "--workflow"),
            (self.status.is_some(), "--status"),
            (self.period.since.is_some(), "--since"),
            (self.period.until.is_some(), "--until"),
        ];
        given.into_iter().find(|(is_given, _)| *is_given).map(|(_, flag)| flag)
    }
}

pub(super) const PULL_EXAMPLES: &str = "\
Several runs are one output, which holds the results of all of them or is not written: steps see them as one sequence of
records, and types that differ are widened.

Examples:
  drawoff pull 5f0c2d1e-… -o people.parquet
  drawoff pull last --block 2 -o filtered.csv
  drawoff pull 5f0c 81d2 -o - --to csv | head
  drawoff pull --workflow \"Qualify companies\" --since 7d -o week.parquet --run-column run
  drawoff runs ls --since 1d -o ndjson | jq 'select(.step == null)' | drawoff pull - -o today.parquet";
