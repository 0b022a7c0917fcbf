//! The commands and flags of drawoff with their help texts, as clap parses them.
//!
//! Values are checked for form only. What they mean is resolved in `settings`, `outputs` and the commands.

use std::ffi::OsString;
use std::net::IpAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args as ClapArgs, Parser, Subcommand};
use clap_complete::Shell;

use super::choices::{
    ApiFormat, ColorChoice, ExplainFormat, FromFormat, ListFormat, OnFailed, ReportFormat, SchemaFormat, SchemaFromArg,
    SchemaPolicyArg,
};
use super::dialect::{DialectArgs, InputArgs};
use super::exit;
use super::load_args::LoadArgs;
use super::look::{HEAD_EXAMPLES, HeadArgs, STATS_EXAMPLES, StatsArgs};
use super::period::Period;
use super::run_selection::{PULL_EXAMPLES, RunSelectionArgs};
use super::scale_args::{COMMIT_EXAMPLES, CommitArgs, PLAN_EXAMPLES, PlanArgs, WORK_EXAMPLES, WorkArgs};
use super::serve_flags::{EngineFlags, HostedFlags, LimitFlags, LogFormat, SeedFlags};
use super::settings::{SettingArgs, TABLE};
use super::sinks::{OutputArgs, SinkArgs};
use super::steps::StepArgs;
use super::values::{
    Enrich, parse_duration, parse_enrich, parse_host_name, parse_on_bad_record, parse_origin, parse_positive_size,
};
use crate::pipeline::OnBadRecord;

/// Stream the results of hosted batch workflows into Parquet, CSV, NDJSON, Arrow and object stores
///
/// drawoff starts a run through the Workflows API, watches it, and converts its results while they download. No stage
/// holds a whole file in memory. With `run --local` the service runs inside the process and needs no account.
#[derive(Debug, Parser)]
#[command(name = "drawoff", version, after_long_help = long_help(), subcommand_required = true)]
pub(super) struct Args {
    /// Flags that every command accepts.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// The subcommand to carry out.
    #[command(subcommand)]
    pub command: TopCommand,
}

fn long_help() -> String {
    let mut text = String::from("Environment:\n");
    // The environment section is derived from the table of settings, with help texts in lower case as in a list.
    for names in TABLE.iter().map(|row| row.names()) {
        let Some(variable) = names.environment else { continue };
        let (first, rest) = names.help.split_at(1);
        text.push_str(&format!("  {variable:<24} {}{rest}\n", first.to_ascii_lowercase()));
    }
    format!(
        "{text}\n{}\nExamples:\n  drawoff run workflow.json --local --input companies.csv -o results.parquet\n  drawoff pull 5f0c2d1e-… -o people.csv\n  drawoff convert big.ndjson.gz -o big.parquet",
        exit::table()
    )
}

/// Flags that every command accepts.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct GlobalArgs {
    /// Flags of the settings that concern every command.
    #[command(flatten)]
    pub settings: SettingArgs<true>,
    /// Color help and errors (auto obeys NO_COLOR, CLICOLOR and CLICOLOR_FORCE)
    #[arg(
        long,
        global = true,
        value_enum,
        default_value = "auto",
        value_name = "WHEN",
        overrides_with = "color",
        help_heading = "Everywhere"
    )]
    pub color: ColorChoice,
    /// Print errors only: no progress, notes or report
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    pub quiet: bool,
    /// Print a line for each request and each wait, without secrets
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    pub verbose: bool,
    /// Append these lines to a file instead. For `serve`, which prints a line for each request it gets: human (the default),
    /// json or off
    #[arg(long, global = true, value_name = "FILE", help_heading = "Everywhere")]
    pub log: Option<OsString>,
}

/// All subcommands of drawoff.
#[derive(Debug, Subcommand)]
pub(super) enum TopCommand {
    /// Commands that resolve settings first.
    #[command(flatten)]
    WithSettings(Command),
    /// Print a shell's completion script
    #[command(
        after_help = "Examples:\n  source <(drawoff completions bash)\n  drawoff completions zsh > \"${fpath[1]}/_drawoff\"\n  drawoff completions fish | source\n  drawoff completions powershell >> $PROFILE"
    )]
    Completions {
        /// Shell to print the script for
        shell: Shell,
    },
    /// Print the manual page, or write the pages of all commands into a directory
    #[command(
        after_help = "Examples:\n  drawoff man | man -l -\n  drawoff man --dir man/man1 && man -M man drawoff-run"
    )]
    Man {
        /// Directory for drawoff.1, drawoff-run.1 and the other pages; created if it does not exist
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// Commands that resolve settings first.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Start a workflow run, watch it, and write its results
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// Write the results of existing runs, after waiting for the end of those that are still active
    #[command(after_help = PULL_EXAMPLES)]
    Pull(Box<PullArgs>),
    /// Write every completed run of a workflow that the target does not have yet
    #[command(after_help = SYNC_EXAMPLES)]
    Sync(Box<SyncArgs>),
    /// Write the result files of runs as work items, which several machines share, and list which are done
    #[command(after_help = PLAN_EXAMPLES)]
    Plan(Box<PlanArgs>),
    /// Do work items of a plan: download, apply its steps, write parts and receipts into it
    #[command(after_help = WORK_EXAMPLES)]
    Work(WorkArgs),
    /// Put the rows of all items of a plan into a target, once
    #[command(after_help = COMMIT_EXAMPLES)]
    Commit(Box<CommitArgs>),
    /// Enrich every row of a file in one bulk job, without a workflow
    #[command(
        subcommand,
        after_help = "Examples:\n  drawoff bulk people people.csv --fields fields.json -o people.parquet\n  drawoff bulk company companies.csv --fields fields.json -o -"
    )]
    Bulk(BulkCommand),
    /// Convert files, standard input or URLs, without the API
    #[command(after_help = CONVERT_EXAMPLES)]
    Convert(Box<ConvertArgs>),
    /// Show the first rows of files, standard input, URLs or a run, and read no further
    #[command(after_help = HEAD_EXAMPLES)]
    Head(Box<HeadArgs>),
    /// Print statistics of every column: nulls, distinct values, bounds, mean, quantiles, lengths
    #[command(after_help = STATS_EXAMPLES)]
    Stats(Box<StatsArgs>),
    /// Infer and print the columns and types of files, standard input or URLs
    #[command(
        after_help = "Examples:\n  drawoff schema companies.ndjson\n  drawoff schema january.csv february.csv.gz --format json > people.schema.json\n  drawoff schema march.csv --schema people.schema.json\n  cat part.ndjson | drawoff schema - --format parquet\n  drawoff schema companies.ndjson --format dbt-source:postgres --into crm.companies > sources.yml"
    )]
    Schema(Box<SchemaArgs>),
    /// Print the steps, how each one runs, and the resulting columns, inferred from a sample
    #[command(
        after_help = "Examples:\n  drawoff explain people.ndjson --where \"score > 0.8\" --with \"domain = split_part(email, '@', 2)\" --select name,domain\n  drawoff explain people.ndjson --steps steps.toml -o json"
    )]
    Explain(Box<ExplainArgs>),
    /// Upload an input file and print its handle
    #[command(
        after_help = "Examples:\n  drawoff upload companies.csv\n  gunzip -c people.ndjson.gz | drawoff upload - --from ndjson"
    )]
    Upload(UploadArgs),
    /// List, read and change workflows
    #[command(subcommand, after_help = "Examples:\n  drawoff workflows ls\n  drawoff workflows create workflow.json")]
    Workflows(WorkflowsCommand),
    /// List, watch and cancel runs
    #[command(subcommand, after_help = "Examples:\n  drawoff runs ls --status active\n  drawoff runs watch 5f0c2d1e-…")]
    Runs(RunsCommand),
    /// List the loads of a system with tables
    #[command(
        subcommand,
        after_help = "Examples:\n  drawoff loads ls postgres://loader@db/crm\n  drawoff loads ls postgres: --into leads.enriched -o ndjson\n  drawoff loads gc delta:tables/people"
    )]
    Loads(LoadsCommand),
    /// Run the local Workflows service
    #[command(
        after_help = "Examples:\n  drawoff serve --port 8064 --data ./service\n  drawoff serve --enrich company_enrichment=reference.csv:domain\n  drawoff serve --fault 429,times=3 --fault cut=50%,times=2\n  drawoff serve --port 0 --workflow workflow.json -- pytest\n  SIXTYFOUR_API_KEY=any drawoff --endpoint http://127.0.0.1:8064 workflows ls"
    )]
    Serve(Box<ServeArgs>),
    /// Write a workflow definition and a sample input, to begin with
    #[command(
        after_help = "Examples:\n  drawoff init\n  drawoff init demo && drawoff run demo/workflow.json --local --input demo/companies.csv -o -"
    )]
    Init {
        /// Directory for the files, created if it does not exist; files that are there are never changed
        #[arg(default_value = ".", value_name = "DIR")]
        directory: PathBuf,
    },
    /// Check key, endpoint, certificates, clock, directories, disk and pipes, and say what to do
    #[command(
        after_help = "Examples:\n  drawoff doctor\n  drawoff doctor -o ndjson | jq 'select(.state == \"wrong\")'"
    )]
    Doctor(ListArgs),
    /// Show the resolved settings
    #[command(subcommand, after_help = "Examples:\n  drawoff config show\n  drawoff config path")]
    Config(ConfigCommand),
}

const SYNC_EXAMPLES: &str = "\
Each run is one load, or one set of files in a directory. The target says which runs it has: the command may be killed,
run on another machine, or run twice at once.

Examples:
  drawoff sync \"Qualify companies\" -o postgres://loader@db/crm --into companies
  drawoff sync \"Qualify companies\" -o postgres: --into companies --load merge --key domain --every 5m
  drawoff sync 7c1e0a52-… -o results/ --since 7d";

const RUN_EXAMPLES: &str = "\
WORKFLOW is a definition file, an id, or an exact name.

Examples:
  drawoff run workflow.json --local --input companies.csv -o results.parquet
  drawoff run \"Qualify companies\" --input companies.csv -o results.csv.gz
  cat rows.ndjson | drawoff run workflow.json --input - -o - | jq .name
  drawoff run 7c1e0a52-… --payload '[{\"company\": \"Acme\"}]' -o results.ndjson
  drawoff run workflow.json --input companies.csv --all-blocks -o results/
  drawoff run \"Qualify companies\" --input companies.csv --rows-per-run 50000 -o companies.parquet";

const CONVERT_EXAMPLES: &str = "\
The format of an input is --from, else it is detected by content type, name and first bytes. The format of an
output is --to, else that of its name. gzip and zstd are detected in an input by their first bytes, and written
for names that end in .gz or .zst.

Examples:
  drawoff convert people.ndjson -o people.parquet
  drawoff convert january.csv february.csv.gz -o both.parquet --codec zstd:3
  curl -s https://files.example.com/a.ndjson | drawoff convert - -o - --to csv | head
  drawoff convert https://files.example.com/a.ndjson.zst -o a.parquet --on-bad-record skip
  drawoff convert people.ndjson -o all.parquet -o - --to csv | head
  drawoff convert people.ndjson -o people/ --partition-by country --max-file-rows 1000000
  drawoff convert people.ndjson -o s3://bucket/people.parquet
  drawoff convert people.ndjson -o people.csv --flatten --preview
  drawoff convert people.ndjson -o - --where \"score > 0.8 and hq.country in ('NO', 'SE')\" --select name,score --limit 10

  drawoff convert people.ndjson -o people.csv --with \"domain = lower(split_part(email, '@', 2))\" --cast founded:date --flatten

Steps run in the order given. EXPR supports = != < <= > >=, and, or, not, is null, in (...), between, like, ilike,
~ (a regular expression), + - * / // %, ||, case, if, cast, coalesce, lower, substr and other functions, parentheses,
numbers, 'text', true, false, null, and columns: name, hq.city, emails[0], \"any name\"; docs/expressions.md lists all.
A comparison with null is neither true nor false, as in SQL; --where keeps only the rows for which it is true.";

/// Flags of the commands that write records: outputs, steps, and policies for records and schema.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct PipelineArgs {
    /// Outputs in the order typed; each gets every record.
    #[command(flatten)]
    pub outputs: OutputArgs,
    /// Replacement of existing outputs, and division of directories.
    #[command(flatten)]
    pub sink: SinkArgs,
    /// Loads into tables.
    #[command(flatten)]
    pub load: LoadArgs,
    /// Dialect of CSV and TSV outputs.
    #[command(flatten)]
    pub dialect: DialectArgs,
    /// Steps between the inputs and the outputs.
    #[command(flatten)]
    pub steps: StepArgs,
    /// Policy for bad records: fail, skip (reject and continue), limit=N (fail after N rejects)
    #[arg(long, value_parser = parse_on_bad_record, default_value = "fail", value_name = "POLICY", help_heading = "Records")]
    pub on_bad_record: OnBadRecord,
    /// File for rejected records [default with skip or limit: OUT.rejects.ndjson]
    #[arg(long, value_name = "FILE", help_heading = "Records")]
    pub rejects: Option<PathBuf>,
    /// Replace invalid UTF-8 with U+FFFD and count it, instead of rejecting the record
    #[arg(long, help_heading = "Records")]
    pub lossy_utf8: bool,
    /// Schema file: its columns come first and its types are enforced; a value that does not fit makes a bad record
    #[arg(long, value_name = "FILE", help_heading = "Records")]
    pub schema: Option<PathBuf>,
    /// Add a last column that holds the keys without a column, as JSON text (CSV, Parquet and Arrow)
    #[arg(long, value_name = "NAME", help_heading = "Records")]
    pub extra_column: Option<String>,
    /// Records to infer columns and types from before the first one is written
    #[arg(long, value_enum, default_value = "auto", value_name = "SOURCE", help_heading = "Records")]
    pub schema_from: SchemaFromArg,
    /// Policy for a new column or a wider type after that
    #[arg(long, value_enum, default_value = "evolve", value_name = "POLICY", help_heading = "Records")]
    pub schema_policy: SchemaPolicyArg,
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

/// Selection of a run's results, and the wait for them.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct ResultArgs {
    /// Write the results of this block instead of the final one
    #[arg(long, value_name = "NUMBER", conflicts_with = "all_blocks", help_heading = "Results")]
    pub block: Option<i64>,
    /// Write the results of every block, one file each, into the directory OUT
    #[arg(long, help_heading = "Results")]
    pub all_blocks: bool,
    /// Add a column with the id of the run, before all steps; it replaces a column of that name
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), help_heading = "Results")]
    pub run_column: Option<String>,
    /// Stop waiting after this time, such as 30m; the run continues
    #[arg(long, value_parser = parse_duration, value_name = "TIME", help_heading = "Results")]
    pub deadline: Option<Duration>,
    /// Cancel the run on Ctrl-C; otherwise the run continues
    #[arg(long, help_heading = "Results")]
    pub cancel_on_interrupt: bool,
    /// Keep no ledger and use none: an interrupted start or download begins again
    #[arg(long, help_heading = "Results")]
    pub no_state: bool,
}

/// Arguments of commands that can start one run for each part of their input.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct PartArgs {
    /// Cut the input by records, and start a run for each N of them; the results are written in the order of the input
    #[arg(long, value_name = "N", help_heading = "Parts")]
    pub rows_per_run: Option<NonZeroU64>,
    /// Start a run for each part of the input of at most this size, such as 50MB, not compressed
    #[arg(long, value_name = "SIZE", value_parser = parse_positive_size, help_heading = "Parts")]
    pub bytes_per_run: Option<u64>,
    /// Runs that are active at a time
    #[arg(long, value_name = "N", default_value = "4", help_heading = "Parts")]
    pub runs_at_once: NonZeroUsize,
    /// Policy for parts whose runs fail
    #[arg(long, value_enum, value_name = "POLICY", default_value = "fail", help_heading = "Parts")]
    pub on_failed_part: OnFailed,
    /// Start the parts again whose runs failed under an earlier command, and go on with the others
    #[arg(long, conflicts_with_all = ["new_run", "no_state", "local"], help_heading = "Parts")]
    pub retry_failed: bool,
    /// Print the runs that would be started, with their rows, and start none
    #[arg(long, help_heading = "Parts")]
    pub dry_run: bool,
}

impl PartArgs {
    /// Returns true if `inputs` are to be cut, or are several, which make one input.
    pub(super) fn applies_to(&self, inputs: &[PathBuf]) -> bool {
        self.rows_per_run.is_some()
            || self.bytes_per_run.is_some()
            || self.retry_failed
            || self.dry_run
            || inputs.len() > 1
    }
}

/// Arguments of `drawoff run`.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct RunArgs {
    /// Definition file, id, or exact name
    pub workflow: String,
    /// Input file for a workflow that starts with `read_csv`, or `-` for standard input; several are one input
    #[arg(long, value_name = "FILE", conflicts_with = "payload", help_heading = "Input")]
    pub input: Vec<PathBuf>,
    /// Format of standard input: ndjson, csv, json [default: detected by its first bytes]
    #[arg(long, value_enum, value_name = "FORMAT", requires = "input", help_heading = "Input")]
    pub from: Option<FromFormat>,
    /// Rows for a workflow that starts with `webhook`: JSON, or @FILE (@- is standard input)
    #[arg(long, value_name = "JSON|@FILE", help_heading = "Input")]
    pub payload: Option<String>,
    /// One run for each part of the input.
    #[command(flatten)]
    pub parts: PartArgs,
    /// Use a Workflows service inside this process, with a temporary store
    #[arg(long, help_heading = "Local service")]
    pub local: bool,
    /// Reference table, or endpoint (BLOCK=https://...), for an enrichment block of the local service
    #[arg(long, value_parser = parse_enrich, value_name = "BLOCK=FILE:KEY", requires = "local", help_heading = "Local service")]
    pub enrich: Vec<Enrich>,
    /// Start another run, even if one of the same workflow and input is active
    #[arg(long, help_heading = "Input")]
    pub new_run: bool,
    /// Name this start: as long as the state directory exists, the same name is the same run
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), conflicts_with_all = ["new_run", "no_state", "local"], help_heading = "Input")]
    pub once: Option<String>,
    /// Format in which to download the results
    #[arg(long, value_enum, default_value = "ndjson", value_name = "FORMAT", help_heading = "Results")]
    pub format: ApiFormat,
    /// Selection of the run's results.
    #[command(flatten)]
    pub results: ResultArgs,
    /// Outputs, steps and policies.
    #[command(flatten)]
    pub plan: PipelineArgs,
}

/// Subcommands of `drawoff bulk`.
#[derive(Debug, Subcommand)]
pub(super) enum BulkCommand {
    /// Enrich a file of people, one per row
    #[command(after_help = BULK_EXAMPLES)]
    People(Box<BulkArgs>),
    /// Enrich a file of companies, one per row
    #[command(after_help = BULK_EXAMPLES)]
    Company(Box<BulkArgs>),
}

const BULK_EXAMPLES: &str = "\
The file of `--fields` is the configuration of the job as JSON: `struct` (the fields to fill), `columns`, `tier`,
`research_plan`, `webhook_url` and others. `bulk company` requires it.

Examples:
  echo '{\"struct\": {\"employees\": {\"description\": \"Number of employees\", \"type\": \"int\"}}}' > fields.json
  drawoff bulk people people.csv --fields fields.json -o people.parquet
  drawoff bulk company companies.csv --fields fields.json -o companies.parquet
  drawoff bulk company companies.csv --fields fields.json --local --enrich company_enrichment=facts.csv:domain -o -";

/// Arguments of `bulk people` and `bulk company`.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct BulkArgs {
    /// Input file (.csv, .json, .jsonl, .ndjson), or `-` for standard input; several are one input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// One job for each part of the input.
    #[command(flatten)]
    pub parts: PartArgs,
    /// JSON configuration of the job: `struct` (the fields to fill), `columns`, `tier` and others
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub fields: Option<PathBuf>,
    /// Format of standard input: ndjson, csv, json [default: detected by its first bytes]
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Input")]
    pub from: Option<FromFormat>,
    /// Start another job, even if one over the same file with the same configuration is active
    #[arg(long, help_heading = "Input")]
    pub new_run: bool,
    /// Name this start: as long as the state directory exists, the same name is the same job
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), conflicts_with_all = ["new_run", "no_state", "local"], help_heading = "Input")]
    pub once: Option<String>,
    /// Use a Workflows service inside this process, with a temporary store
    #[arg(long, help_heading = "Local service")]
    pub local: bool,
    /// Reference table for an enrichment block of the local service
    #[arg(long, value_parser = parse_enrich, value_name = "BLOCK=FILE:KEY", requires = "local", help_heading = "Local service")]
    pub enrich: Vec<Enrich>,
    /// Format in which to download the results
    #[arg(long, value_enum, default_value = "ndjson", value_name = "FORMAT", help_heading = "Results")]
    pub format: ApiFormat,
    /// Selection of the run's results.
    #[command(flatten)]
    pub results: ResultArgs,
    /// Outputs, steps and policies.
    #[command(flatten)]
    pub plan: PipelineArgs,
}

/// Arguments of `drawoff pull`.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct PullArgs {
    /// The runs to write.
    #[command(flatten)]
    pub selection: RunSelectionArgs,
    /// Format in which to download the results [default: ndjson if the run has it, else csv]
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Results")]
    pub format: Option<ApiFormat>,
    /// Write everything again, also outputs that are already complete
    #[arg(long, help_heading = "Results")]
    pub again: bool,
    /// Selection of the run's results.
    #[command(flatten)]
    pub results: ResultArgs,
    /// Outputs, steps and policies.
    #[command(flatten)]
    pub plan: PipelineArgs,
}

/// Arguments of `drawoff sync`.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct SyncArgs {
    /// Id or exact name of the workflow
    pub workflow: String,
    /// The runs to write.
    #[command(flatten)]
    pub period: Period,
    /// Begin again after this time, such as 5m, until the command is stopped
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub every: Option<Duration>,
    /// Format in which to download the results [default: ndjson if the run has it, else csv]
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Results")]
    pub format: Option<ApiFormat>,
    /// Selection of the runs' results.
    #[command(flatten)]
    pub results: ResultArgs,
    /// Outputs, steps and policies.
    #[command(flatten)]
    pub plan: PipelineArgs,
}

/// Commands of `drawoff loads`.
#[derive(Debug, Subcommand)]
pub(super) enum LoadsCommand {
    /// List loads, newest first
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  drawoff loads ls postgres://loader@db/crm --into leads.enriched\n  drawoff loads ls -o postgres: -o ndjson"
    )]
    Ls {
        /// System with tables, such as postgres://loader@db/crm; `-o` takes it, too, as that of loads does
        target: Option<String>,
        /// Only the loads into this table
        #[arg(long, value_name = "TABLE")]
        into: Option<String>,
        /// Format of the output: table, ndjson or json [default: table]; or the system with tables
        #[arg(short, long, value_name = "FORMAT|URL")]
        output: Vec<String>,
    },
    /// Remove the files of a Delta or Iceberg table that no version of it names, such as those of a killed load
    #[command(
        after_help = "Examples:\n  drawoff loads gc delta:tables/people --dry-run\n  drawoff loads gc -o delta+s3://bucket/tables/people --older-than 2h"
    )]
    Gc {
        /// The table, such as delta:tables/people; `-o` takes it, too
        target: Option<String>,
        /// The table
        #[arg(short, long, value_name = "URL")]
        output: Option<String>,
        /// The table of a system with several, such as crm.companies of an Iceberg catalog
        #[arg(long, value_name = "TABLE")]
        into: Option<String>,
        /// Remove only files of at least this age: a load on another machine may still name younger ones
        #[arg(long, value_parser = parse_duration, default_value = "24h", value_name = "TIME")]
        older_than: std::time::Duration,
        /// List the files and remove none
        #[arg(long)]
        dry_run: bool,
    },
}

/// Arguments of `drawoff convert`.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct ConvertArgs {
    /// Files, directories, quoted patterns such as 'part-*.csv', URLs, `-` for standard input, or @FILE with one of them on
    /// each line; read in order as one sequence of records
    #[arg(required = true, value_name = "SRC")]
    pub sources: Vec<PathBuf>,
    /// Format and dialect of the inputs.
    #[command(flatten)]
    pub input: InputArgs,
    /// Replace the rows of an earlier load of the same bytes; needs `--load-column`, `--load merge` or `--load replace`
    #[arg(long, help_heading = "Tables")]
    pub again: bool,
    /// Show the first rows, columns and names that would come out, and write nothing
    #[arg(long, help_heading = "Output")]
    pub preview: bool,
    /// Outputs, steps and policies.
    #[command(flatten)]
    pub plan: PipelineArgs,
}

/// Arguments of `drawoff schema`.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct SchemaArgs {
    /// Files, directories, quoted patterns such as 'part-*.csv', URLs, `-` for standard input, or @FILE with one of them on
    /// each line; read in order as one sequence of records. Or the id of a run, or `last`, for its results
    #[arg(required = true, value_name = "SRC")]
    pub sources: Vec<PathBuf>,
    /// Format and dialect of the inputs.
    #[command(flatten)]
    pub input: InputArgs,
    /// Format of the printed schema
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub format: SchemaFormat,
    /// Name of the table for `--format ddl:SYSTEM` and `dbt-source` [default: results]
    #[arg(long, value_name = "TABLE")]
    pub into: Option<String>,
    /// Records to read (auto: all records of files, the first records of other sources)
    #[arg(long, value_enum, default_value = "auto", value_name = "SOURCE")]
    pub schema_from: SchemaFromArg,
    /// Schema file whose types are enforced; records that do not fit are counted
    #[arg(long, value_name = "FILE")]
    pub schema: Option<PathBuf>,
    /// Policy for columns that the schema file does not have
    #[arg(long, value_enum, default_value = "evolve", value_name = "POLICY")]
    pub schema_policy: SchemaPolicyArg,
    /// Definition file of a workflow whose `input_schema` and `return_fields` declare types
    #[arg(long, value_name = "FILE")]
    pub workflow: Option<PathBuf>,
}

/// Arguments of `drawoff explain`.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct ExplainArgs {
    /// Files, directories, quoted patterns such as 'part-*.csv', URLs, `-` for standard input, or @FILE with one of them on
    /// each line; of each only the first records are read
    #[arg(required = true, value_name = "SRC")]
    pub sources: Vec<PathBuf>,
    /// Format and dialect of the inputs.
    #[command(flatten)]
    pub input: InputArgs,
    /// Format of the printed plan
    #[arg(short = 'o', long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub format: ExplainFormat,
    /// Schema file whose types are enforced
    #[arg(long, value_name = "FILE")]
    pub schema: Option<PathBuf>,
    /// Definition file of a workflow whose `input_schema` and `return_fields` declare types
    #[arg(long, value_name = "FILE")]
    pub workflow: Option<PathBuf>,
    /// Steps to be explained.
    #[command(flatten)]
    pub steps: StepArgs,
}

/// Arguments of `drawoff upload`.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct UploadArgs {
    /// File to upload (.csv, .json, .jsonl, .ndjson), or `-` for standard input
    pub file: PathBuf,
    /// Format of standard input [default: detected by its first bytes]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub from: Option<FromFormat>,
}

/// The format flag of commands that print lists and items.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub(super) struct ListArgs {
    /// Format of the output
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub output: ListFormat,
}

/// Subcommands of `drawoff workflows`.
#[derive(Debug, Subcommand)]
pub(super) enum WorkflowsCommand {
    /// List workflows
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  drawoff workflows ls\n  drawoff workflows ls -o ndjson | jq -r .id"
    )]
    Ls(ListArgs),
    /// Print a workflow as a definition file
    #[command(after_help = "Examples:\n  drawoff workflows get \"Qualify companies\" > workflow.json")]
    Get {
        /// Id or exact name
        workflow: String,
    },
    /// Create a workflow from a definition file
    #[command(after_help = "Examples:\n  drawoff workflows create workflow.json")]
    Create {
        /// Definition file, JSON: the body of `create_workflow` or a bare graph
        file: PathBuf,
        /// Format of the printed list.
        #[command(flatten)]
        list: ListArgs,
    },
    /// Replace a workflow with a definition file
    #[command(after_help = "Examples:\n  drawoff workflows update \"Qualify companies\" workflow.json")]
    Update {
        /// Id or exact name
        workflow: String,
        /// Definition file, JSON: the body of `create_workflow` or a bare graph
        file: PathBuf,
        /// Format of the printed list.
        #[command(flatten)]
        list: ListArgs,
    },
    /// Delete a workflow; its runs are kept
    #[command(after_help = "Examples:\n  drawoff workflows delete 7c1e0a52-…")]
    Delete {
        /// Id or exact name
        workflow: String,
        /// Format of the printed list.
        #[command(flatten)]
        list: ListArgs,
    },
    /// List the blocks that a workflow can contain
    #[command(
        after_help = "Examples:\n  drawoff workflows blocks\n  drawoff workflows blocks -o ndjson | jq .specs_schema"
    )]
    Blocks(ListArgs),
}

/// Subcommands of `drawoff runs`.
#[derive(Debug, Subcommand)]
pub(super) enum RunsCommand {
    /// List runs, newest first
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  drawoff runs ls --status active\n  drawoff runs ls --workflow \"Qualify companies\" --limit 5"
    )]
    Ls {
        /// List only runs with this status: running, completed, cancelled, active, …
        #[arg(long, value_name = "STATE")]
        status: Option<String>,
        /// List only runs of this workflow, by id or exact name
        #[arg(long, value_name = "WORKFLOW")]
        workflow: Option<String>,
        /// The time of the runs.
        #[command(flatten)]
        period: Period,
        /// Number of runs to list, at most
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: Option<u32>,
        /// List the ledgers of runs and outputs on this machine, without a request to the API
        #[arg(long, conflicts_with_all = ["status", "workflow"])]
        local_state: bool,
        /// Remove the ledgers whose outputs were all written long ago, and the starts of their runs; names of `--once` stay
        #[arg(long, requires = "local_state")]
        prune: bool,
        /// Remove only what was written at least this long ago
        #[arg(long, value_parser = parse_duration, default_value = "30d", value_name = "TIME", requires = "prune")]
        older_than: std::time::Duration,
        /// Count what would be removed, and remove nothing
        #[arg(long, requires = "prune")]
        dry_run: bool,
        /// Format of the printed list.
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show the status of a run and of its blocks
    #[command(after_help = "Examples:\n  drawoff runs status 5f0c2d1e-…")]
    Status {
        /// Id of the run
        run_id: String,
        /// Format of the printed list.
        #[command(flatten)]
        list: ListArgs,
    },
    /// Wait until a run has ended
    #[command(after_help = "Examples:\n  drawoff runs watch 5f0c2d1e-… --deadline 2h")]
    Watch {
        /// Id of the run
        run_id: String,
        /// Stop waiting after this time, such as 30m; the run continues
        #[arg(long, value_parser = parse_duration, value_name = "TIME")]
        deadline: Option<Duration>,
    },
    /// Cancel a run
    #[command(after_help = "Examples:\n  drawoff runs cancel 5f0c2d1e-…")]
    Cancel {
        /// Id of the run
        run_id: String,
    },
    /// List a run's result files
    #[command(
        after_help = "Examples:\n  drawoff runs links 5f0c2d1e-…\n  drawoff runs links 5f0c2d1e-… --show-urls -o ndjson | jq -r .download_url"
    )]
    Links {
        /// Id of the run
        run_id: String,
        /// Format of the result files
        #[arg(long, value_enum, default_value = "csv", value_name = "FORMAT")]
        format: ApiFormat,
        /// Show the signed URLs; a URL is enough to read its file
        #[arg(long)]
        show_urls: bool,
        /// Format of the printed list.
        #[command(flatten)]
        list: ListArgs,
    },
}

/// Arguments of `drawoff serve`.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct ServeArgs {
    /// Port to listen on; 0 picks a free one. The address is printed
    #[arg(long, default_value = "8064", value_name = "N")]
    pub port: u16,
    /// Directory of the store [default: a temporary one, removed at the end]
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The only API key to accept [default: DRAWOFF_SERVE_API_KEY, or any that is not empty]. Other users of this machine
    /// can see it; with --api-key-file or --api-key-command they cannot
    #[arg(long, value_name = "KEY", conflicts_with_all = ["api_key_file", "api_key_command"])]
    pub api_key: Option<String>,
    /// Accept requests for this host name too; may be given several times. Without an API key, only IP addresses and
    /// localhost are accepted besides, because any web page could read the service under a name of its own
    #[arg(long, value_parser = parse_host_name, value_name = "NAME")]
    pub allow_host: Vec<String>,
    /// Let web pages of this origin, such as http://localhost:3000, use the API from a browser; may be given several times.
    /// Pages of other origins can neither read nor change anything
    #[arg(long, value_parser = parse_origin, value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,
    /// Provider of an enrichment block: a reference table, or an endpoint that receives the rows (BLOCK=https://...)
    #[arg(long, value_parser = parse_enrich, value_name = "BLOCK=FILE:KEY")]
    pub enrich: Vec<Enrich>,
    /// Lifetime of download links
    #[arg(long, value_parser = parse_duration, default_value = "900s", value_name = "TIME")]
    pub link_life: Duration,
    /// Flags of its engine, state and faults.
    #[command(flatten)]
    pub engine: EngineFlags,
    /// Address to listen on; an address that other machines can reach requires an API key
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    pub host: IpAddr,
    /// Limits on clients.
    #[command(flatten)]
    pub limits: LimitFlags,
    /// Workflows, uploads and archives that it starts with.
    #[command(flatten)]
    pub seeds: SeedFlags,
    /// The hosted service behind it.
    #[command(flatten)]
    pub hosted: HostedFlags,
    /// Format of the line for each request on standard error, of `--log`; `None` for human, and for off with `--quiet` or a
    /// command.
    #[arg(skip)]
    pub log: Option<LogFormat>,
    /// Stop when the process that started this one has ended
    #[arg(long)]
    pub exit_with_parent: bool,
    /// Print the OpenAPI description of the service and exit
    #[arg(long)]
    pub print_openapi: bool,
    /// Command to run once the service listens; the service stops with it and hands on its exit code. Its environment has
    /// SIXTYFOUR_API_ENDPOINT, SIXTYFOUR_API_KEY, and WORKFLOW_ID and RESOURCE_HANDLE_ID of the first --workflow and --upload
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// Subcommands of `drawoff config`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print every setting with its value and its origin; the key is redacted
    #[command(after_help = "Examples:\n  drawoff config show\n  drawoff config show -o ndjson")]
    Show(ListArgs),
    /// Print the path of the configuration file
    #[command(after_help = "Examples:\n  drawoff config path")]
    Path,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_commands_are_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_command_has_examples() {
        fn walk(command: &clap::Command) {
            for sub in command.get_subcommands().filter(|c| c.get_name() != "help") {
                let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Examples:\n  "), "{} has no examples", sub.get_name());
                walk(sub);
            }
        }
        walk(&Args::command());
    }

    #[test]
    fn flags_that_exclude_or_require_each_other_are_refused() {
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        let message = |line: &str| parse(line).unwrap_err().to_string();
        let both = message("drawoff run w.json --input a.csv --payload {} -o o.csv");
        assert!(both.contains("'--input <FILE>' cannot be used with '--payload <JSON|@FILE>'"), "{both}");
        let hosted = message("drawoff run w.json --enrich a=b:c -o o.csv");
        assert!(hosted.contains("required arguments were not provided:\n  --local"), "{hosted}");
        assert!(parse("drawoff run w.json --local --enrich a=b:c -o o.csv").is_ok());
        let blocks = message("drawoff pull r --block 1 --all-blocks -o o.csv");
        assert!(blocks.contains("'--block <NUMBER>' cannot be used with '--all-blocks'"), "{blocks}");
        let no_source = message("drawoff convert -o o.csv");
        assert!(no_source.contains("required arguments were not provided:\n  <SRC>..."), "{no_source}");
        assert!(parse("drawoff convert - -o - --to csv -q").is_ok());
        let limit = message("drawoff runs ls --limit 501");
        assert!(limit.contains("501 is not in 1..=500"), "{limit}");
    }
}
