//! The facts of a load as a table of files keeps them: JSON in its log or its properties, beside the commit key.

use serde::{Deserialize, Serialize};

use super::{LedgerRow, LoadClaim, LoadEnd, LoadSet, LoadState, TableTarget};

/// The facts of a load that lists show; those that an older version did not write are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct LoadFacts {
    /// The id of the run; none for files, pipes and several runs together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) run: Option<String>,
    /// The block of the run whose results were loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) block: Option<i64>,
    /// The source as it was typed, without secrets.
    pub(super) source: String,
    /// The mode by its name on the command line.
    pub(super) mode: String,
    /// The digest of the steps.
    pub(super) plan: String,
    pub(super) rows: u64,
    pub(super) rejected: u64,
    /// The digest of the bytes that were read.
    pub(super) digest: String,
    /// The runs that were loaded together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) set: Option<LoadSet>,
    /// The version of drawoff.
    pub(super) writer: String,
}

impl LoadFacts {
    /// Returns the facts of a load that has ended, without those of a single claim.
    pub(super) fn new(target: &TableTarget, end: &LoadEnd) -> Self {
        LoadFacts {
            mode: target.mode.as_str().to_owned(),
            plan: target.identity.plan_digest(),
            rows: end.rows,
            rejected: end.rejected,
            digest: end.digest(),
            writer: env!("CARGO_PKG_VERSION").to_owned(),
            ..LoadFacts::default()
        }
    }

    /// Returns the facts with those of one claim of the load.
    pub(super) fn of(&self, claim: &LoadClaim) -> Self {
        LoadFacts {
            run: claim.member.run_id.clone(),
            block: claim.member.block,
            source: claim.member.source.clone(),
            set: claim.set.clone(),
            ..self.clone()
        }
    }

    /// Returns the row of lists for the load behind `key`; `at` is in milliseconds since 1970.
    pub(super) fn row(&self, key: &str, at: Option<i64>, state: LoadState) -> LedgerRow {
        let time = at.and_then(chrono::DateTime::from_timestamp_millis);
        LedgerRow {
            key: key.to_owned(),
            table: String::new(),
            run_id: self.run.clone(),
            block: self.block,
            source: self.source.clone(),
            mode: self.mode.clone(),
            plan: self.plan.clone(),
            state,
            set: self.set.clone(),
            progress: None,
            rows_there: None,
            rows: self.rows,
            rejected: self.rejected,
            digest: self.digest.clone(),
            loaded_at: time.map(|time| time.format("%Y-%m-%d %H:%M:%S%.3f").to_string()).unwrap_or_default(),
            version: self.writer.clone(),
        }
    }
}
