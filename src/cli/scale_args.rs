//! The flags of the commands that share work among machines: `plan`, `work` and `commit`.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand};

use super::choices::{ApiFormat, ListFormat, ReportFormat, SchemaPolicyArg};
use super::dialect::DialectArgs;
use super::load_args::LoadArgs;
use super::run_selection::RunSelectionArgs;
use super::settings::SettingArgs;
use super::sinks::{OutputArgs, SinkArgs};
use super::steps::StepArgs;
use super::values::{parse_duration, parse_on_bad_record};
use crate::pipeline::OnBadRecord;

pub(super) const PLAN_EXAMPLES: &str = "\
PLAN is a directory that all machines see, or a prefix of a store: nfs/plans/nov, s3://bucket/plans/nov/. It gets no links
and no keys: each worker signs its own. Steps are typed here, so that all workers have the same.

Examples:
  drawoff plan --workflow \"Qualify companies\" --since 2026-11-01 -o s3://bucket/plans/nov/ --where \"score > 0.8\"
  drawoff runs ls --since 7d -o ndjson | drawoff plan - -o plans/week
  drawoff work s3://bucket/plans/nov/ --shard 0/32
  drawoff plan status s3://bucket/plans/nov/
  drawoff commit s3://bucket/plans/nov/ -o delta+s3://bucket/tables/companies";

pub(super) const WORK_EXAMPLES: &str = "\
Every worker takes items that have no receipt yet. One that is killed, or started twice, changes nothing: type it again.
Exit codes say if that helps: docs/exit-codes.md.

Examples:
  drawoff work plans/nov
  drawoff work s3://bucket/plans/nov/ --shard $SLURM_ARRAY_TASK_ID/32
  drawoff work plans/nov --item 3f2a94";

pub(super) const COMMIT_EXAMPLES: &str = "\
The rows are there once, in the order of the runs, or not at all. A second commit of a plan changes nothing.

Examples:
  drawoff commit plans/nov -o companies/
  drawoff commit plans/nov -o postgres://loader@db/crm --into companies
  drawoff commit s3://bucket/plans/nov/ -o delta+s3://bucket/tables/companies --gc";

/// Arguments of `drawoff plan`.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct PlanArgs {
    /// Commands on a plan that exists.
    #[command(subcommand)]
    pub command: Option<PlanCommand>,
    /// The runs whose results are work items.
    #[command(flatten)]
    pub selection: RunSelectionArgs,
    /// Directory or prefix of a store to write the plan into
    #[arg(short, long, value_name = "PLAN", required = true)]
    pub output: Option<PathBuf>,
    /// Format in which the results are downloaded [default: ndjson if all runs have it, else csv]
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Results")]
    pub format: Option<ApiFormat>,
    /// Take the results of this block instead of the final one
    #[arg(long, value_name = "NUMBER", help_heading = "Results")]
    pub block: Option<i64>,
    /// Add a column with the id of the run, before all steps; it replaces a column of that name
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), help_heading = "Results")]
    pub run_column: Option<String>,
    /// Stop waiting for active runs after this time, such as 30m; they continue
    #[arg(long, value_parser = parse_duration, value_name = "TIME", help_heading = "Results")]
    pub deadline: Option<Duration>,
    /// Steps of every worker; each looks at one row at a time.
    #[command(flatten)]
    pub steps: StepArgs,
    /// Policy for bad records: fail, or skip (reject and continue)
    #[arg(long, value_parser = parse_on_bad_record, default_value = "fail", value_name = "POLICY", help_heading = "Records")]
    pub on_bad_record: OnBadRecord,
    /// Keep the rows as columns only, which takes half of the storage: numbers and members of objects that a target takes as text
    /// are then spelled as those of their column
    #[arg(long, help_heading = "Records")]
    pub columns_only: bool,
    /// Replace invalid UTF-8 with U+FFFD and count it, instead of rejecting the record
    #[arg(long, help_heading = "Records")]
    pub lossy_utf8: bool,
    /// Schema file: its columns come first and its types are enforced; a value that does not fit makes a bad record
    #[arg(long, value_name = "FILE", help_heading = "Records")]
    pub schema: Option<PathBuf>,
    /// Policy for columns that the schema file does not have
    #[arg(long, value_enum, default_value = "evolve", value_name = "POLICY", help_heading = "Records")]
    pub schema_policy: SchemaPolicyArg,
    /// Flags of the settings that concern commands which write records.
    #[command(flatten)]
    pub settings: SettingArgs<false>,
}

/// Commands on a plan that exists.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum PlanCommand {
    /// List the items of a plan: done, open, or with failed attempts
    #[command(
        after_help = "Examples:\n  drawoff plan status plans/nov\n  drawoff plan status plans/nov -o ndjson | jq -r 'select(.state != \"done\").item'"
    )]
    Status {
        /// Directory or prefix of a store with the plan
        plan: PathBuf,
        /// Format of the output
        #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
        output: ListFormat,
    },
}

/// Arguments of `drawoff work`.
#[derive(Clone, Debug, Args)]
pub(super) struct WorkArgs {
    /// Directory or prefix of a store with the plan
    pub plan: PathBuf,
    /// Take only part I of N of the items, from 0: 0/32 to 31/32
    #[arg(long, value_name = "I/N", value_parser = parse_shard)]
    pub shard: Option<Shard>,
    /// Take only this item, given by its id or a unique beginning of it
    #[arg(long, value_name = "ID", value_parser = NonEmptyStringValueParser::new(), conflicts_with = "shard")]
    pub item: Option<String>,
    /// Flags of the settings that concern commands which write records.
    #[command(flatten)]
    pub settings: SettingArgs<false>,
}

/// A part of the items of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shard {
    /// Number of the part, from 0.
    pub index: usize,
    /// Number of parts.
    pub of: usize,
}

impl Shard {
    /// Returns true if item number `nth` is in this part.
    pub(super) fn has(self, nth: usize) -> bool {
        nth % self.of == self.index
    }
}

/// Parses a part such as `0/32`.
fn parse_shard(text: &str) -> Result<Shard, String> {
    let numbers = text.split_once('/').and_then(|(index, of)| Some((index.parse().ok()?, of.parse().ok()?)));
    match numbers {
        Some((index, of)) if index < of => Ok(Shard { index, of }),
        Some((index, of)) if of > 0 && index == of => {
            Err(format!("parts count from 0: the last of {of} is {}/{of}", of - 1))
        }
        _ => Err("it must be the number of a part, from 0, and how many there are, such as 0/32".to_owned()),
    }
}

/// Arguments of `drawoff commit`.
#[derive(Clone, Debug, Args)]
pub(super) struct CommitArgs {
    /// Directory or prefix of a store with the plan
    pub plan: PathBuf,
    /// Targets in the order typed; each gets every row.
    #[command(flatten)]
    pub outputs: OutputArgs,
    /// Division of directories.
    #[command(flatten)]
    pub sink: SinkArgs,
    /// Loads into tables.
    #[command(flatten)]
    pub load: LoadArgs,
    /// Dialect of CSV and TSV outputs.
    #[command(flatten)]
    pub dialect: DialectArgs,
    /// Remove the files of killed, failed and second attempts from the plan after the commit
    #[arg(long)]
    pub gc: bool,
    /// Flags of the settings that concern commands which write records.
    #[command(flatten)]
    pub settings: SettingArgs<false>,
    /// Format of the final report on standard error
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT", help_heading = "Output")]
    pub report: ReportFormat,
    /// Write all that the command did into this file as one JSON object, also if it fails: docs/result-file.md
    #[arg(long = "result", value_name = "FILE", help_heading = "Output")]
    pub result_file: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_count_from_zero_and_have_every_item_once() {
        assert_eq!(parse_shard("0/32"), Ok(Shard { index: 0, of: 32 }));
        for (text, what) in
            [("32/32", "the last of 32 is 31/32"), ("33/32", "such as"), ("0/0", "such as"), ("1", "such as")]
        {
            assert!(parse_shard(text).unwrap_err().contains(what), "{text}");
        }
        for of in 1..5 {
            let mut items: Vec<usize> =
                (0..of).flat_map(|index| (0..11).filter(move |nth| Shard { index, of }.has(*nth))).collect();
            items.sort_unstable();
            assert_eq!(items, (0..11).collect::<Vec<_>>());
        }
    }
}
