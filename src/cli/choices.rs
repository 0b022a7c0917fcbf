//! Flag values that are one word of a fixed list, with the help of each word.

use clap::ValueEnum;

/// Formats that inputs can have (`--from`).
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

/// Formats that outputs can have (`--to`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ToFormat {
    /// Apache Parquet file, compressed inside
    Parquet,
    /// Comma-separated values with a header
    Csv,
    /// Tab-separated values with a header
    Tsv,
    /// One JSON object per line
    #[value(alias = "jsonl")]
    Ndjson,
    /// One JSON array of objects
    Json,
    /// Arrow IPC file (Feather)
    #[value(alias = "feather")]
    Arrow,
    /// Arrow IPC stream, for pipes
    #[value(alias = "arrows")]
    ArrowStream,
}

/// Formats in which the API stores results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ApiFormat {
    /// One JSON object per line; types are kept
    Ndjson,
    /// Every run has it; nested values are text
    Csv,
    /// One JSON array of objects
    Json,
}

/// The policy for runs that did not complete, among several whose results are written together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum OnFailed {
    /// Write nothing, and name them
    Fail,
    /// Write the others, and end with exit code 3
    Skip,
}

/// The records that columns and types are inferred from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaFromArg {
    /// The first records, or all of them where only that is correct
    Auto,
    /// The first records only
    Sample,
    /// All records, in a pass of their own; inputs must be files
    Full,
}

/// The policy for a change of the schema after the first record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SchemaPolicyArg {
    /// Widen the column, or add it
    Evolve,
    /// Reject the record that changes it
    Freeze,
    /// Stop the command with an error
    Fail,
}

/// The format of the final report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ReportFormat {
    /// Lines of text for people
    Text,
    /// One JSON object
    Json,
}

/// The format of lists and items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ListFormat {
    /// Aligned columns for people, in a pipe too
    Table,
    /// One JSON object per line
    Ndjson,
    /// One JSON document
    Json,
}

/// The format of `explain`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ExplainFormat {
    /// Tables of steps and columns for people
    Table,
    /// One JSON object
    Json,
}

/// The format of `schema`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum SchemaFormat {
    /// For people: every field with its type and the origin of the type
    Table,
    /// A schema file, which `--schema` reads
    Json,
    /// The Arrow schema that readers of the Parquet file see, as JSON
    Arrow,
    /// The Parquet message type as it would be written
    Parquet,
    /// The statement that creates a table in PostgreSQL as a load would
    #[value(name = "ddl:postgres")]
    DdlPostgres,
    /// The statement that creates a table in ClickHouse as a load would
    #[value(name = "ddl:clickhouse")]
    DdlClickhouse,
    /// The statement that creates a table in SQLite as a load would
    #[value(name = "ddl:sqlite")]
    DdlSqlite,
    /// The statement that creates a table in DuckDB as its reader of Parquet would
    #[value(name = "ddl:duckdb")]
    DdlDuckdb,
    /// The statement of Spark that creates a Delta table as a load would
    #[value(name = "ddl:delta")]
    DdlDelta,
    /// The statement that creates a table in Snowflake, to copy Parquet files of the same rows into
    #[value(name = "ddl:snowflake")]
    DdlSnowflake,
    /// The same for BigQuery
    #[value(name = "ddl:bigquery")]
    DdlBigquery,
    /// The same for Databricks
    #[value(name = "ddl:databricks")]
    DdlDatabricks,
    /// The same for Redshift
    #[value(name = "ddl:redshift")]
    DdlRedshift,
    /// The table as a source of dbt, YAML, with types of standard SQL
    #[value(name = "dbt-source")]
    DbtSource,
    /// The same with the types of PostgreSQL
    #[value(name = "dbt-source:postgres")]
    DbtSourcePostgres,
    /// The same with the types of ClickHouse
    #[value(name = "dbt-source:clickhouse")]
    DbtSourceClickhouse,
    /// The same with the types of SQLite
    #[value(name = "dbt-source:sqlite")]
    DbtSourceSqlite,
    /// The same with the types of DuckDB
    #[value(name = "dbt-source:duckdb")]
    DbtSourceDuckdb,
    /// The same with the types of Delta tables in Spark
    #[value(name = "dbt-source:delta")]
    DbtSourceDelta,
    /// The same with the types of Snowflake
    #[value(name = "dbt-source:snowflake")]
    DbtSourceSnowflake,
    /// The same with the types of BigQuery
    #[value(name = "dbt-source:bigquery")]
    DbtSourceBigquery,
    /// The same with the types of Databricks
    #[value(name = "dbt-source:databricks")]
    DbtSourceDatabricks,
    /// The same with the types of Redshift
    #[value(name = "dbt-source:redshift")]
    DbtSourceRedshift,
    /// The statement of Spark that creates an Iceberg table as a load would
    #[value(name = "ddl:iceberg")]
    DdlIceberg,
}

/// The use of colours in help and errors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum ColorChoice {
    /// On a terminal unless NO_COLOR or CLICOLOR=0 is set, elsewhere only if CLICOLOR_FORCE is
    #[default]
    Auto,
    /// On terminals, in files and in pipes
    Always,
    /// On no stream at all
    Never,
}

impl SchemaFormat {
    /// Returns the system of the statement that creates a table; `None` for other formats.
    pub(super) fn ddl_system(self) -> Option<&'static str> {
        match self {
            SchemaFormat::DdlPostgres => Some("postgres"),
            SchemaFormat::DdlClickhouse => Some("clickhouse"),
            SchemaFormat::DdlSqlite => Some("sqlite"),
            SchemaFormat::DdlDuckdb => Some("duckdb"),
            SchemaFormat::DdlDelta => Some("delta"),
            SchemaFormat::DdlIceberg => Some("iceberg"),
            SchemaFormat::DdlSnowflake => Some("snowflake"),
            SchemaFormat::DdlBigquery => Some("bigquery"),
            SchemaFormat::DdlDatabricks => Some("databricks"),
            SchemaFormat::DdlRedshift => Some("redshift"),
            _ => None,
        }
    }

    /// Returns the system whose types a source of dbt has; `None` for standard SQL, and for other formats.
    pub(super) fn dbt_system(self) -> Option<&'static str> {
        match self {
            SchemaFormat::DbtSourcePostgres => Some("postgres"),
            SchemaFormat::DbtSourceClickhouse => Some("clickhouse"),
            SchemaFormat::DbtSourceSqlite => Some("sqlite"),
            SchemaFormat::DbtSourceDuckdb => Some("duckdb"),
            SchemaFormat::DbtSourceDelta => Some("delta"),
            SchemaFormat::DbtSourceSnowflake => Some("snowflake"),
            SchemaFormat::DbtSourceBigquery => Some("bigquery"),
            SchemaFormat::DbtSourceDatabricks => Some("databricks"),
            SchemaFormat::DbtSourceRedshift => Some("redshift"),
            _ => None,
        }
    }
}
