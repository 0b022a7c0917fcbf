//! The arguments of `head` and `stats`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, ValueEnum};

use crate::cli::choices::ListFormat;
use crate::cli::dialect::InputArgs;
use crate::cli::steps::StepArgs;
use crate::cli::values::{parse_on_bad_record, parse_record_bytes};
use crate::column::MAX_COLUMN_LIMIT;
use crate::pipeline::OnBadRecord;

/// The end of the help of `head`.
pub(in crate::cli) const HEAD_EXAMPLES: &str = "\
Examples:
  drawoff head people.ndjson
  drawoff head https://files.example.com/big.csv.gz -n 5 --select name,email
  drawoff head 5f0c2d1e-… --where \"score > 0.8\"
  drawoff head people.parquet -n 100 -o ndjson | jq .name";

/// The end of the help of `stats`.
pub(in crate::cli) const STATS_EXAMPLES: &str = "\
Values of text are shown with --values only; numbers, dates and times always.
Distinct values of a column are counted up to 65,536 and then estimated, which
is marked; quantiles are exact up to 16,383 values.

Examples:
  drawoff stats people.ndjson
  drawoff stats orders.csv --in-delimiter ';' --where \"country = 'NO'\"
  drawoff stats 5f0c2d1e-… --html people.html
  drawoff stats 'part-*.parquet' -o ndjson | jq 'select(.nulls > 0)'";

/// Sources of a look, and how they are read.
#[derive(Clone, Debug, ClapArgs)]
pub(in crate::cli) struct LookArgs {
    /// Files, directories, quoted patterns such as 'part-*.csv', URLs, `-` for standard input, or @FILE with one of them on
    /// each line; read in order as one sequence of records. Or the id of a run, or `last`, for its results
    #[arg(required = true, value_name = "SRC")]
    pub sources: Vec<PathBuf>,
    /// Format and dialect of the inputs.
    #[command(flatten)]
    pub input: InputArgs,
    /// Steps before the look.
    #[command(flatten)]
    pub steps: StepArgs,
    /// Policy for bad records: fail, skip (leave out and count), limit=N (fail after N of them)
    #[arg(long, value_parser = parse_on_bad_record, default_value = "fail", value_name = "POLICY", help_heading = "Records")]
    pub on_bad_record: OnBadRecord,
    /// Replace invalid UTF-8 with U+FFFD and count it, instead of a bad record
    #[arg(long, help_heading = "Records")]
    pub lossy_utf8: bool,
    /// Refuse records with more columns; each costs memory on every thread [default: 4096]
    #[arg(long, value_name = "N", value_parser = max_columns, help_heading = "Records")]
    pub max_columns: Option<usize>,
    /// Refuse records that are longer, such as 64MiB; a record is held in memory whole [default: 16.0 MiB]
    #[arg(long, value_name = "SIZE", value_parser = parse_record_bytes, help_heading = "Records")]
    pub max_record_bytes: Option<u64>,
    /// Width of the table in columns [default: the terminal's; in a pipe nothing is cut]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(20..))]
    pub width: Option<u16>,
}

/// Formats of `head`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum HeadFormat {
    /// A table for people that fits the terminal
    Table,
    /// One JSON object per line
    #[value(alias = "jsonl")]
    Ndjson,
    /// Comma-separated values with a header
    Csv,
    /// One JSON array of objects
    Json,
}

/// Arguments of `drawoff head`.
#[derive(Clone, Debug, ClapArgs)]
pub(in crate::cli) struct HeadArgs {
    /// Sources, steps and policies.
    #[command(flatten)]
    pub look: LookArgs,
    /// Rows to show
    #[arg(short = 'n', long, value_name = "N", default_value = "20")]
    pub rows: u64,
    /// Format of the rows
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub output: HeadFormat,
}

/// Arguments of `drawoff stats`.
#[derive(Clone, Debug, ClapArgs)]
pub(in crate::cli) struct StatsArgs {
    /// Sources, steps and policies.
    #[command(flatten)]
    pub look: LookArgs,
    /// Show values of text, too: the least, the greatest and three examples. Results are often personal data
    #[arg(long)]
    pub values: bool,
    /// Write a page with histograms into this file instead: for a browser, in one file, without scripts
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    pub html: Option<PathBuf>,
    /// Format of the statistics: one line or object per column
    #[arg(short, long, value_enum, default_value = "table", value_name = "FORMAT")]
    pub output: ListFormat,
}

fn max_columns(text: &str) -> Result<usize, String> {
    let columns = text.parse().ok().filter(|columns| (1..=MAX_COLUMN_LIMIT).contains(columns));
    columns.ok_or_else(|| format!("it must be from 1 to {MAX_COLUMN_LIMIT}"))
}
