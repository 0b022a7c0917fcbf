//! The flags of outputs that are tables.

use std::num::NonZeroU64;

use clap::{Args, ValueEnum};

use super::error::{Error, Failure};
use crate::warehouse::LoadMode;

const HEADING: &str = "Tables";

/// Flags of outputs that are tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(super) struct LoadArgs {
    /// Table of `-o postgres://…` to load into, such as people or leads.people; it is created if it does not exist
    #[arg(long, value_name = "TABLE", help_heading = HEADING)]
    pub into: Option<String>,
    /// Rows that are in the table stay (append), are replaced all at once (replace), or give way by key (merge)
    #[arg(long, value_enum, default_value = "append", value_name = "MODE", help_heading = HEADING)]
    pub load: LoadModeArg,
    /// Columns of the key of `--load merge`; of several rows with one key, the last is kept
    #[arg(long, value_delimiter = ',', value_name = "COLS", help_heading = HEADING)]
    pub key: Vec<String>,
    /// Add a column with the commit key of the load to each row, by which one load can be replaced
    #[arg(long, value_name = "NAME", help_heading = HEADING)]
    pub load_column: Option<String>,
    /// Identify the rows by this text instead of the run, or of the bytes that are read: rows of one key are loaded once
    #[arg(long, value_name = "TEXT", help_heading = HEADING)]
    pub load_key: Option<String>,
    /// Commit after each N rows, for very large loads: a load that ends early goes on behind the rows that are there
    #[arg(long, value_name = "N", help_heading = HEADING)]
    pub commit_every: Option<NonZeroU64>,
    /// Text with U+0000, which PostgreSQL cannot store: reject the record, or replace the character with U+FFFD
    #[arg(long, value_enum, default_value = "reject", value_name = "POLICY", help_heading = HEADING)]
    pub nul: NulArg,
    /// Warehouse that copies the Parquet files of `-o s3://BUCKET/PREFIX/` into the table of --into, such as
    /// snowflake://USER@ACCOUNT/DATABASE/SCHEMA?stage=@STAGE, bigquery://PROJECT/DATASET or
    /// databricks://HOST/CATALOG/SCHEMA?warehouse=ID
    #[arg(long, value_name = "URL", help_heading = HEADING)]
    pub copy_into: Option<String>,
    /// Write the files, print the statements of --copy-into to standard output, and execute none
    #[arg(long, requires = "copy_into", help_heading = HEADING)]
    pub print_sql: bool,
}

/// Words of `--load`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LoadModeArg {
    #[default]
    Append,
    Replace,
    Merge,
}

/// Words of `--nul`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum NulArg {
    #[default]
    Reject,
    Replace,
}

impl LoadArgs {
    /// Returns the first given flag; `None` if there is none.
    pub(super) fn first_given(&self) -> Option<&'static str> {
        let given = [
            (self.into.is_some(), "--into"),
            (self.load != LoadModeArg::Append, "--load"),
            (!self.key.is_empty(), "--key"),
            (self.load_column.is_some(), "--load-column"),
            (self.load_key.is_some(), "--load-key"),
            (self.commit_every.is_some(), "--commit-every"),
            (self.nul != NulArg::Reject, "--nul"),
            (self.copy_into.is_some(), "--copy-into"),
        ];
        given.into_iter().find_map(|(given, flag)| given.then_some(flag))
    }

    /// Returns the first given flag that does not apply to files which a warehouse copies; `None` if there is none.
    #[cfg(feature = "object-store")]
    pub(super) fn first_not_copied(&self) -> Option<&'static str> {
        let others = LoadArgs { into: None, load_key: None, copy_into: None, ..self.clone() };
        others.first_given()
    }

    /// Returns the mode of the load. Fails for a merge without a key, and for a key without a merge.
    pub(super) fn mode(&self) -> Result<LoadMode, Failure> {
        let usage = |what: &str, hint: &str| Err(Failure::new(Error::Usage(what.to_owned()), hint));
        match (self.load, self.key.is_empty()) {
            (LoadModeArg::Append, true) => Ok(LoadMode::Append),
            (LoadModeArg::Replace, true) => Ok(LoadMode::Replace),
            (LoadModeArg::Merge, false) => {
                Ok(LoadMode::Merge { key: self.key.iter().map(|name| name.as_str().into()).collect() })
            }
            (LoadModeArg::Merge, true) => usage("`--load merge` requires a key", "name its columns: `--key domain`"),
            (_, false) => usage("`--key` applies only to `--load merge`", "add `--load merge`, or leave `--key` out"),
        }
    }
}
