//! What was typed. clap is used here only.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Parser, Subcommand};
use clap_complete::Shell;

use super::choices::{
    ApiFormat, ColorChoice, ExplainFormat, FromFormat, ListFormat, ReportFormat, SchemaFormat, SchemaFromArg,
    SchemaPolicyArg,
};
use super::dialect::DialectArgs;
use super::exit;
use super::serve_flags::EngineFlags;
use super::settings::{SettingArgs, TABLE};
use super::sinks::{OutputArgs, SinkArgs};
use super::steps::StepArgs;
use super::values::{Enrich, parse_duration, parse_enrich, parse_on_bad_record, parse_size};
use crate::pipeline::OnBadRecord;
use crate::text::escape_for_terminal;

/// Draws the results of hosted batch workflows off to Parquet, CSV or NDJSON.
///
/// It starts a run through the Workflows API, watches it, and streams its results into a file or a pipe. Nothing
/// holds a whole file in memory. With `--local` the service is in the process and no account is needed.
#[derive(Debug, Parser)]
#[command(name = "drawoff", version, after_long_help = long_help(), subcommand_required = true, arg_required_else_help = true)]
pub struct Args {
    /// Flags of all commands.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// The command.
    #[command(subcommand)]
    pub command: TopCommand,
}

/// Reads the arguments. clap's errors quote what was typed, so they are made of words that move no cursor.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Args, clap::Error> {
    let words: Vec<OsString> = words.into_iter().collect();
    Args::try_parse_from(&words).map_err(|error| {
        let escaped = words.iter().map(|word| escape_for_terminal(&word.to_string_lossy()));
        match Args::try_parse_from(escaped) {
            Err(error) => error,
            // It was a character itself that was refused.
            Ok(_) => {
                let text = error.to_string();
                let lines: Vec<String> = text.trim_start_matches("error: ").lines().map(escape_for_terminal).collect();
                clap::Error::raw(error.kind(), lines.join("\n") + "\n")
            }
        }
    })
}

fn long_help() -> String {
    let mut text = String::from("Environment:\n");
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

/// Flags of all commands.
#[derive(Clone, Debug, ClapArgs)]
pub struct GlobalArgs {
    /// Those of settings.
    #[command(flatten)]
    pub settings: SettingArgs<true>,
    /// Colors of help and errors (auto obeys NO_COLOR, CLICOLOR and CLICOLOR_FORCE)
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
    /// No progress, notes or report; errors only
    #[arg(short, long, global = true, help_heading = "Everywhere")]
    pub quiet: bool,
}

/// All commands.
#[derive(Debug, Subcommand)]
pub enum TopCommand {
    /// Those that settings concern.
    #[command(flatten)]
    WithSettings(Command),
    /// Print a shell's completion script
    #[command(
        after_help = "Examples:\n  source <(drawoff completions bash)\n  drawoff completions zsh > \"${fpath[1]}/_drawoff\"\n  drawoff completions fish | source\n  drawoff completions powershell >> $PROFILE"
    )]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page, or write those of all commands into a directory
    #[command(
        after_help = "Examples:\n  drawoff man | man -l -\n  drawoff man --dir man/man1 && man -M man drawoff-run"
    )]
    Man {
        /// Directory to write drawoff.1, drawoff-run.1 and the others into; made if it does not exist
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
}

/// The commands that settings concern.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start a workflow run, watch it, and write its results
    #[command(after_help = RUN_EXAMPLES)]
    Run(Box<RunArgs>),
    /// Write the results of a run that exists, waiting for its end if it still goes on
    #[command(after_help = PULL_EXAMPLES)]
    Pull(Box<PullArgs>),
    /// Find out about each row of a file, in one job without a workflow
    #[command(
        subcommand,
        after_help = "Examples:\n  drawoff bulk people people.csv --fields fields.json -o people.parquet\n  drawoff bulk company companies.csv --fields fields.json -o -"
    )]
    Bulk(BulkCommand),
    /// Convert files, standard input or URLs; needs no API
    #[command(after_help = CONVERT_EXAMPLES)]
    Convert(Box<ConvertArgs>),
    /// Print the columns and types that a file would get
    #[command(
        after_help = "Examples:\n  drawoff schema companies.ndjson\n  drawoff schema january.csv february.csv.gz --format json > people.schema.json\n  drawoff schema march.csv --schema people.schema.json\n  cat part.ndjson | drawoff schema - --format parquet"
    )]
    Schema(SchemaArgs),
    /// Print what steps do, how they run, and the columns that come out, from a sample only
    #[command(
        after_help = "Examples:\n  drawoff explain people.ndjson --where \"score > 0.8\" --with \"domain = split_part(email, '@', 2)\" --select name,domain\n  drawoff explain people.ndjson --steps steps.toml -o json"
    )]
    Explain(ExplainArgs),
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
    /// Run the local Workflows service
    #[command(
        after_help = "Examples:\n  drawoff serve --port 8064 --data ./service\n  drawoff serve --enrich company_enrichment=reference.csv:domain\n  drawoff serve --fault 429,times=3 --fault cut=50%,times=2\n  SIXTYFOUR_API_KEY=any drawoff --endpoint http://127.0.0.1:8064 workflows ls"
    )]
    Serve(Box<ServeArgs>),
    /// Show the settings in force
    #[command(subcommand, after_help = "Examples:\n  drawoff config show\n  drawoff config path")]
    Config(ConfigCommand),
}

const RUN_EXAMPLES: &str = "\
WORKFLOW is a definition file, an id, or an exact name.

Examples:
  drawoff run workflow.json --local --input companies.csv -o results.parquet
  drawoff run \"Qualify companies\" --input companies.csv -o results.csv.gz
  cat rows.ndjson | drawoff run workflow.json --input - -o - | jq .name
  drawoff run 7c1e0a52-… --payload '[{\"company\": \"Acme\"}]' -o results.ndjson
  drawoff run workflow.json --input companies.csv --all-blocks -o results/";

const PULL_EXAMPLES: &str = "\
Examples:
  drawoff pull 5f0c2d1e-… -o people.parquet
  drawoff pull 5f0c2d1e-… -o - --to csv | head
  drawoff pull 5f0c2d1e-… --block 2 -o filtered.csv";

const CONVERT_EXAMPLES: &str = "\
Formats are told by --from and --to, else by content type, name and first bytes. gzip and zstd are
recognised in the input by their first bytes, and written for names that end in .gz or .zst.

Examples:
  drawoff convert people.ndjson -o people.parquet
  drawoff convert january.csv february.csv.gz -o both.parquet --codec zstd:3
  curl -s https://files.example.com/a.ndjson | drawoff convert - -o - --to csv | head
  drawoff convert https://files.example.com/a.ndjson.zst -o a.parquet --on-bad-record skip
  drawoff convert people.ndjson -o all.parquet -o - --to csv | head
  drawoff convert people.ndjson -o people/ --partition-by country --max-file-rows 1000000
  drawoff convert people.ndjson -o s3://bucket/people.parquet
  drawoff convert people.ndjson -o - --where \"score > 0.8 and hq.country in ('NO', 'SE')\" --select name,score --limit 10

  drawoff convert people.ndjson -o people.csv --with \"domain = lower(split_part(email, '@', 2))\" --cast founded:date --flatten

Steps run in the order given. EXPR knows = != < <= > >=, and, or, not, is null, in (...), between, like, ilike,
~ (a regular expression), + - * / // %, ||, case, if, cast, coalesce, lower, substr and other functions, parentheses,
numbers, 'text', true, false, null, and columns: name, hq.city, emails[0], \"any name\"; docs/expressions.md has all.
Comparing with null is neither true nor false, as in SQL; only rows of which --where is true stay.";

/// What is written and how.
#[derive(Clone, Debug, ClapArgs)]
pub struct PipelineArgs {
    /// Where the records go.
    #[command(flatten)]
    pub outputs: OutputArgs,
    /// What stands there, and how a folder is divided.
    #[command(flatten)]
    pub sink: SinkArgs,
    /// How CSV is written.
    #[command(flatten)]
    pub dialect: DialectArgs,
    /// Steps between input and output.
    #[command(flatten)]
    pub steps: StepArgs,
    /// What a record that cannot be used does: fail, skip, limit=N
    #[arg(long, value_parser = parse_on_bad_record, default_value = "fail", value_name = "POLICY", help_heading = "Records")]
    pub on_bad_record: OnBadRecord,
    /// Where such records are set aside (with skip or limit: OUT.rejects.ndjson)
    #[arg(long, value_name = "FILE", help_heading = "Records")]
    pub rejects: Option<PathBuf>,
    /// Replace bytes that are not UTF-8 by U+FFFD and count them, instead of rejecting the record
    #[arg(long, help_heading = "Records")]
    pub lossy_utf8: bool,
    /// Schema file: its columns come first and its types hold; a value that does not fit is a bad record
    #[arg(long, value_name = "FILE", help_heading = "Records")]
    pub schema: Option<PathBuf>,
    /// One more column, the last, that takes the keys without a column as JSON text (CSV and Parquet)
    #[arg(long, value_name = "NAME", help_heading = "Records")]
    pub extra_column: Option<String>,
    /// What is read to find columns and types before the first record is written
    #[arg(long, value_enum, default_value = "auto", value_name = "SOURCE", help_heading = "Records")]
    pub schema_from: SchemaFromArg,
    /// What a new column or a wider type does later on
    #[arg(long, value_enum, default_value = "evolve", value_name = "POLICY", help_heading = "Records")]
    pub schema_policy: SchemaPolicyArg,
    /// Those of settings.
    #[command(flatten)]
    pub settings: SettingArgs<false>,
    /// How the report at the end is written to standard error
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT", help_heading = "Output")]
    pub report: ReportFormat,
}

/// Which results of a run.
#[derive(Clone, Debug, ClapArgs)]
pub struct ResultArgs {
    /// Results of this block instead of the final one
    #[arg(long, value_name = "NUMBER", conflicts_with = "all_blocks", help_heading = "Results")]
    pub block: Option<i64>,
    /// Results of every block, one file each in the folder OUT
    #[arg(long, help_heading = "Results")]
    pub all_blocks: bool,
    /// Give up waiting after this time, such as 30m; the run goes on
    #[arg(long, value_parser = parse_duration, value_name = "TIME", help_heading = "Results")]
    pub deadline: Option<Duration>,
    /// Cancel the run on Ctrl-C, which otherwise goes on without this command
    #[arg(long, help_heading = "Results")]
    pub cancel_on_interrupt: bool,
    /// Remember nothing, and look at nothing remembered: a start or a download that is broken off begins anew
    #[arg(long, help_heading = "Results")]
    pub no_state: bool,
}

/// `run`.
#[derive(Clone, Debug, ClapArgs)]
pub struct RunArgs {
    /// Definition file, id, or exact name
    pub workflow: String,
    /// Input file for a workflow that starts with `read_csv`, or `-` for standard input
    #[arg(long, value_name = "FILE", conflicts_with = "payload", help_heading = "Input")]
    pub input: Option<PathBuf>,
    /// Format of standard input: ndjson, csv, json (else told by its first bytes)
    #[arg(long, value_enum, value_name = "FORMAT", requires = "input", help_heading = "Input")]
    pub from: Option<FromFormat>,
    /// Rows for a workflow that starts with `webhook`: JSON, or @FILE (@- is standard input)
    #[arg(long, value_name = "JSON|@FILE", help_heading = "Input")]
    pub payload: Option<String>,
    /// Use a Workflows service inside this process, with a temporary store
    #[arg(long, help_heading = "Local service")]
    pub local: bool,
    /// Reference table, or endpoint (BLOCK=https://...), for an enrichment block of the local service
    #[arg(long, value_parser = parse_enrich, value_name = "BLOCK=FILE:KEY", requires = "local", help_heading = "Local service")]
    pub enrich: Vec<Enrich>,
    /// Start another run, even if one of the same workflow and input goes on
    #[arg(long, help_heading = "Input")]
    pub new_run: bool,
    /// Format of the results on their way from the API
    #[arg(long, value_enum, default_value = "ndjson", value_name = "FORMAT", help_heading = "Results")]
    pub format: ApiFormat,
    /// Which results.
    #[command(flatten)]
    pub results: ResultArgs,
    /// What is written.
    #[command(flatten)]
    pub plan: PipelineArgs,
}

/// `bulk`.
#[derive(Debug, Subcommand)]
pub enum BulkCommand {
    /// A file of people, one per row
    #[command(after_help = BULK_EXAMPLES)]
    People(Box<BulkArgs>),
    /// A file of companies, one per row
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

/// `bulk people` and `bulk company`.
#[derive(Clone, Debug, ClapArgs)]
pub struct BulkArgs {
    /// Input file (.csv, .json, .jsonl, .ndjson), or `-` for standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// JSON configuration of the job: `struct` (the fields to fill), `columns`, `tier` and others
    #[arg(long, value_name = "FILE", help_heading = "Input")]
    pub fields: Option<PathBuf>,
    /// Format of standard input: ndjson, csv, json (else told by its first bytes)
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Input")]
    pub from: Option<FromFormat>,
    /// Start another job, even if one over the same file with the same settings goes on
    #[arg(long, help_heading = "Input")]
    pub new_run: bool,
    /// Use a Workflows service inside this process, with a temporary store
    #[arg(long, help_heading = "Local service")]
    pub local: bool,
    /// Reference table for an enrichment block of the local service
    #[arg(long, value_parser = parse_enrich, value_name = "BLOCK=FILE:KEY", requires = "local", help_heading = "Local service")]
    pub enrich: Vec<Enrich>,
    /// Format of the results on their way from the API
    #[arg(long, value_enum, default_value = "ndjson", value_name = "FORMAT", help_heading = "Results")]
    pub format: ApiFormat,
    /// Which results.
    #[command(flatten)]
    pub results: ResultArgs,
    /// What is written.
    #[command(flatten)]
    pub plan: PipelineArgs,
}

/// `pull`.
#[derive(Clone, Debug, ClapArgs)]
pub struct PullArgs {
    /// The run's id
    pub run_id: String,
    /// Format of the results on their way from the API (else ndjson if the run has it, csv if not)
    #[arg(long, value_enum, value_name = "FORMAT", help_heading = "Results")]
    pub format: Option<ApiFormat>,
    /// Write everything anew, also what stands complete already
    #[arg(long, help_heading = "Results")]
    pub again: bool,
    /// Which results.
    #[command(flatten)]
    pub results: ResultArgs,
    /// What is written.
    #[command(flatten)]
    pub plan: PipelineArgs,
}

/// `convert`.
#[derive(Clone, Debug, ClapArgs)]
pub struct ConvertArgs {
    /// Files, URLs, or `-` for standard input; read in order as one sequence of records
    #[arg(required = true, value_name = "SRC")]
    pub sources: Vec<String>,
    /// Format of the input, whatever its name says
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub from: Option<FromFormat>,
    /// What is written.
    #[command(flatten)]
    pub plan: PipelineArgs,
}

/// `schema`.
#[derive(Clone, Debug, ClapArgs)]
pub struct SchemaArgs {
    /// Files, URLs, or `-` for standard input; read in order as one sequence of records
    #[arg(required = true, value_name = "SRC")]
    pub sources: Vec<String>,
    /// Format of the input, whatever its name says
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub from: Option<FromFormat>,
    /// How it is written
    #[arg(long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub format: SchemaFormat,
    /// What is read (auto: all of files, the start of anything else)
    #[arg(long, value_enum, default_value = "auto", value_name = "SOURCE")]
    pub schema_from: SchemaFromArg,
    /// Schema file whose types hold; records that do not fit are counted
    #[arg(long, value_name = "FILE")]
    pub schema: Option<PathBuf>,
    /// What becomes of columns that the schema file does not have
    #[arg(long, value_enum, default_value = "evolve", value_name = "POLICY")]
    pub schema_policy: SchemaPolicyArg,
    /// Definition file of a workflow whose `input_schema` and `return_fields` declare types
    #[arg(long, value_name = "FILE")]
    pub workflow: Option<PathBuf>,
}

/// `explain`.
#[derive(Clone, Debug, ClapArgs)]
pub struct ExplainArgs {
    /// Files, URLs, or `-` for standard input; of each only the first records are read
    #[arg(required = true, value_name = "SRC")]
    pub sources: Vec<String>,
    /// Format of the input, whatever its name says
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub from: Option<FromFormat>,
    /// How it is written
    #[arg(short = 'o', long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub format: ExplainFormat,
    /// Schema file whose types hold
    #[arg(long, value_name = "FILE")]
    pub schema: Option<PathBuf>,
    /// Definition file of a workflow whose `input_schema` and `return_fields` declare types
    #[arg(long, value_name = "FILE")]
    pub workflow: Option<PathBuf>,
    /// The steps.
    #[command(flatten)]
    pub steps: StepArgs,
}

/// `upload`.
#[derive(Clone, Debug, ClapArgs)]
pub struct UploadArgs {
    /// File to upload (.csv, .json, .jsonl, .ndjson), or `-` for standard input
    pub file: PathBuf,
    /// Format of standard input (else told by its first bytes)
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub from: Option<FromFormat>,
}

/// `-o` of lists.
#[derive(Clone, Copy, Debug, ClapArgs)]
pub struct ListArgs {
    /// How it is written
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub output: ListFormat,
}

/// `workflows`.
#[derive(Debug, Subcommand)]
pub enum WorkflowsCommand {
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
        /// Definition file
        file: PathBuf,
        /// How it is written
        #[command(flatten)]
        list: ListArgs,
    },
    /// Put a definition file in place of a workflow
    #[command(after_help = "Examples:\n  drawoff workflows update \"Qualify companies\" workflow.json")]
    Update {
        /// Id or exact name
        workflow: String,
        /// Definition file
        file: PathBuf,
        /// How it is written
        #[command(flatten)]
        list: ListArgs,
    },
    /// Delete a workflow; its runs are kept
    #[command(after_help = "Examples:\n  drawoff workflows delete 7c1e0a52-…")]
    Delete {
        /// Id or exact name
        workflow: String,
        /// How it is written
        #[command(flatten)]
        list: ListArgs,
    },
    /// List the blocks that workflows are made of
    #[command(
        after_help = "Examples:\n  drawoff workflows blocks\n  drawoff workflows blocks -o ndjson | jq .specs_schema"
    )]
    Blocks(ListArgs),
}

/// `runs`.
#[derive(Debug, Subcommand)]
pub enum RunsCommand {
    /// List runs, newest first
    #[command(
        visible_alias = "list",
        after_help = "Examples:\n  drawoff runs ls --status active\n  drawoff runs ls --workflow \"Qualify companies\" --limit 5"
    )]
    Ls {
        /// Only runs in this state: running, completed, cancelled, active, …
        #[arg(long, value_name = "STATE")]
        status: Option<String>,
        /// Only runs of this workflow, by id or exact name
        #[arg(long, value_name = "WORKFLOW")]
        workflow: Option<String>,
        /// At most so many
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500))]
        limit: Option<u32>,
        /// List what this machine remembers of runs and their outputs, without asking the API
        #[arg(long, conflicts_with_all = ["status", "workflow"])]
        local_state: bool,
        /// How it is written
        #[command(flatten)]
        list: ListArgs,
    },
    /// Show how far a run is
    #[command(after_help = "Examples:\n  drawoff runs status 5f0c2d1e-…")]
    Status {
        /// The run's id
        run_id: String,
        /// How it is written
        #[command(flatten)]
        list: ListArgs,
    },
    /// Wait until a run has ended
    #[command(after_help = "Examples:\n  drawoff runs watch 5f0c2d1e-… --deadline 2h")]
    Watch {
        /// The run's id
        run_id: String,
        /// Give up waiting after this time, such as 30m; the run goes on
        #[arg(long, value_parser = parse_duration, value_name = "TIME")]
        deadline: Option<Duration>,
    },
    /// Cancel a run
    #[command(after_help = "Examples:\n  drawoff runs cancel 5f0c2d1e-…")]
    Cancel {
        /// The run's id
        run_id: String,
    },
    /// List a run's result files
    #[command(
        after_help = "Examples:\n  drawoff runs links 5f0c2d1e-…\n  drawoff runs links 5f0c2d1e-… --show-urls -o ndjson | jq -r .download_url"
    )]
    Links {
        /// The run's id
        run_id: String,
        /// Format of the files
        #[arg(long, value_enum, default_value = "csv", value_name = "FORMAT")]
        format: ApiFormat,
        /// Show the signed URLs: whoever has one can read the file
        #[arg(long)]
        show_urls: bool,
        /// How it is written
        #[command(flatten)]
        list: ListArgs,
    },
}

/// `serve`.
#[derive(Clone, Debug, ClapArgs)]
pub struct ServeArgs {
    /// Port on loopback; 0 picks a free one. The address is printed
    #[arg(long, default_value = "8064", value_name = "N")]
    pub port: u16,
    /// Folder of the store (else a temporary one that goes with the process)
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// The one key that is accepted (else any that is not empty). Other users of this machine can see it
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,
    /// What stands in for an enrichment block's provider: a reference table, or an endpoint that is sent the rows (BLOCK=https://...)
    #[arg(long, value_parser = parse_enrich, value_name = "BLOCK=FILE:KEY")]
    pub enrich: Vec<Enrich>,
    /// How long download links are valid
    #[arg(long, value_parser = parse_duration, default_value = "900s", value_name = "TIME")]
    pub link_life: Duration,
    /// About its engine.
    #[command(flatten)]
    pub engine: EngineFlags,
    /// Address to listen on; one that other machines can reach needs `--api-key`
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    pub host: IpAddr,
    /// Requests a minute and key, beyond which 429 is answered; 0 is no limit
    #[arg(long, default_value = "500", value_name = "N")]
    pub rate_limit: u32,
    /// Starts of bulk jobs a minute and key; 0 is no limit
    #[arg(long, default_value = "10", value_name = "N")]
    pub bulk_limit: u32,
    /// Largest file that can be uploaded; 0 is no limit
    #[arg(long, value_parser = parse_size, default_value = "100MB", value_name = "SIZE")]
    pub max_upload: u64,
    /// Most rows that an uploaded file can have; 0 is no limit
    #[arg(long, default_value = "100000", value_name = "N")]
    pub max_upload_rows: u64,
    /// Print the OpenAPI description of the service, and end
    #[arg(long)]
    pub print_openapi: bool,
}

/// `config`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print each setting, its value, and where it came from; the key is redacted
    #[command(after_help = "Examples:\n  drawoff config show\n  drawoff config show -o ndjson")]
    Show(ListArgs),
    /// Print where the configuration file is looked for
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
    fn combinations_that_make_no_sense_are_refused() {
        let parse = |line: &str| Args::try_parse_from(line.split(' '));
        assert!(parse("drawoff run w.json --input a.csv --payload {} -o o.csv").is_err());
        assert!(parse("drawoff run w.json --enrich a=b:c -o o.csv").is_err());
        assert!(parse("drawoff run w.json --local --enrich a=b:c -o o.csv").is_ok());
        assert!(parse("drawoff pull r --block 1 --all-blocks -o o.csv").is_err());
        assert!(parse("drawoff convert -o o.csv").is_err());
        assert!(parse("drawoff convert - -o - --to csv -q").is_ok());
        assert!(parse("drawoff runs ls --limit 501").is_err());
    }

    #[test]
    fn what_was_typed_moves_no_cursor_in_an_error() {
        let words = [
            vec!["\u{1b}[31mx"],
            vec!["convert", "--\u{1b}[31mx"],
            vec!["convert", "-", "--delimiter", "\u{1b}[31m\nhint: marked"],
            vec!["convert", "-", "--where"],
            vec!["runs", "ls", "--limit", "5\u{202e}"],
        ];
        for words in words {
            let typed = std::iter::once("drawoff").chain(words.iter().copied()).map(OsString::from);
            let text = parse(typed).unwrap_err().render().to_string();
            assert!(text.starts_with("error: "), "{text}");
            assert!(text.lines().all(|line| escape_for_terminal(line) == line), "{text:?}");
            assert!(!text.contains("\nhint: marked"), "{text:?}");
        }
        assert!(parse(["drawoff", "convert", "-", "-o", "x\u{1b}.csv"].map(OsString::from)).is_ok());
    }
}
