//! Values of flags that are one word of a few.

use clap::ValueEnum;

/// Formats of the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FromFormat {
    /// One JSON object per line
    #[value(alias = "jsonl")]
    Ndjson,
    /// Comma-separated values with a header
    Csv,
    /// Tab-separated values with a header
    Tsv,
    /// One JSON array of objects
    Json,
}

/// Formats of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ToFormat {
    /// Parquet
    Parquet,
    /// Comma-separated values
    Csv,
    /// Tab-separated values
    Tsv,
    /// One JSON object per line
    #[value(alias = "jsonl")]
    Ndjson,
    /// One JSON array of objects
    Json,
    /// Arrow IPC file
    #[value(alias = "feather")]
    Arrow,
    /// Arrow IPC stream
    #[value(alias = "arrows")]
    ArrowStream,
}

/// Formats in which the API keeps results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ApiFormat {
    /// Types kept
    Ndjson,
    /// Always there; nested values are text
    Csv,
    /// One array
    Json,
}

/// The records that are read to find columns and types.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaFromArg {
    /// The first records, or everything where only that is right
    Auto,
    /// The first records
    Sample,
    /// Everything, in a pass of its own; inputs must be files
    Full,
}

/// The policy for a late change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaPolicyArg {
    /// The column widens
    Evolve,
    /// The record is rejected
    Freeze,
    /// The command fails
    Fail,
}

/// The form of the report at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For people
    Text,
    /// One JSON object
    Json,
}

/// The form of lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// Columns for people, in a pipe too
    Table,
    /// One JSON object per line
    Ndjson,
    /// One JSON document
    Json,
}

/// The form of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExplainFormat {
    /// For people
    Table,
    /// One JSON object
    Json,
}

/// The form of a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaFormat {
    /// For people: each field, its type, and where that came from
    Table,
    /// A schema file, which `--schema` reads
    Json,
    /// The Arrow schema that readers of the Parquet file see, as JSON
    Arrow,
    /// The Parquet message type as it would be written
    Parquet,
}

/// Colours of text for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR or CLICOLOR=0 is set; elsewhere only if CLICOLOR_FORCE is
    #[default]
    Auto,
    /// In files and pipes too
    Always,
    /// Never
    Never,
}
