//! The table of loads: its columns, and the statements that read and change it. Where rows and record are no transaction, a
//! load is recorded as begun before its rows ([`Claim`]), and as loaded after them.

use serde::{Deserialize, Serialize};

use super::names::CloudTable;
use super::stage::{Stage, StagedFiles};
use super::system::CloudSystem;
use crate::warehouse::LEDGER_TABLE;

/// The facts of a load that the table of loads gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CopyEntry {
    /// The commit key.
    pub key: String,
    /// The run; `None` for other sources.
    pub run_id: Option<String>,
    /// The number of the block; `None` for other sources, or for the last block.
    pub block: Option<i64>,
    /// Names of the sources.
    pub source: String,
    /// Digest of the steps.
    pub plan: String,
    /// Rows of all files.
    pub rows: u64,
    /// Records that were rejected.
    pub rejected: u64,
}

/// A load that has begun, as the table of loads has it where rows and record are no transaction: recorded before the rows,
/// so that whichever command comes next finishes this load, with these files, and begins no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Claim {
    /// Text of the command that has begun it, which no other has.
    pub(super) attempt: String,
    /// The location of the files.
    pub(super) stage: Stage,
    pub(super) files: StagedFiles,
    /// True if the table may get columns.
    pub(super) adds_columns: bool,
}

/// The state of a load in the table of loads.
pub(super) const LOADED: &str = "loaded";

/// The state of a [`Claim`].
pub(super) const LOADING: &str = "loading";

/// The state of a [`Claim`] that another command than its owner has taken up, and may be copying: its owner, whose copy has
/// failed, no longer takes it back.
pub(super) const TAKEN_UP: &str = "taken up";

/// The state of a load of which the table has got another number of rows.
pub(super) const MISCOUNTED: &str = "miscounted";

/// Returns the table of loads beside `table`.
pub(super) fn ledger_of(table: &CloudTable) -> CloudTable {
    // Quoted in lower case, as in every other system.
    table.beside(LEDGER_TABLE)
}

/// The columns of the table of loads, as a query for a load returns them.
pub(super) const LEDGER_COLUMNS: [&str; 13] = [
    "commit_key",
    "table_name",
    "run_id",
    "block",
    "source",
    "mode",
    "plan",
    "loaded_rows",
    "rejected",
    "loaded_at",
    "drawoff",
    "state",
    "claim",
];

/// Returns the query for the load with this key.
pub(super) fn select_load(table: &CloudTable, key: &str) -> String {
    let (system, ledger) = (table.system(), ledger_of(table).sql());
    let loaded = system.literal(LOADED);
    let columns = LEDGER_COLUMNS.map(|name| match name {
        "loaded_at" => match system {
            CloudSystem::BigQuery => "FORMAT_TIMESTAMP('%FT%TZ', loaded_at)".to_owned(),
            CloudSystem::Databricks => {
                "date_format(to_utc_timestamp(loaded_at, current_timezone()), \"yyyy-MM-dd'T'HH:mm:ss'Z'\")".to_owned()
            }
            CloudSystem::Snowflake | CloudSystem::Redshift => {
                "TO_CHAR(loaded_at, 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')".to_owned()
            }
        },
        name => name.to_owned(),
    });
    // Of two claims that were recorded at once, all commands take the first.
    format!(
        "SELECT {} FROM {ledger} WHERE commit_key = {} ORDER BY CASE WHEN state = {loaded} THEN 0 ELSE 1 END, claim",
        columns.join(", "),
        system.literal(key)
    )
}

/// Returns the query for the number of loads that have put rows into `table`.
pub(super) fn count_loads(table: &CloudTable) -> String {
    let of = of_table(table);
    format!("SELECT COUNT(*) FROM {of} AND loaded_rows > 0 AND state = {}", table.system().literal(LOADED))
}

/// Returns the statement that removes the records of all loads into `table`.
pub(super) fn delete_loads(table: &CloudTable) -> String {
    format!("DELETE FROM {}", of_table(table))
}

fn of_table(table: &CloudTable) -> String {
    format!("{} WHERE table_name = {}", ledger_of(table).sql(), table.system().literal(&table.shown()))
}

pub(super) fn create_ledger(table: &CloudTable) -> String {
    let (text, integer, time) = match table.system() {
        CloudSystem::Snowflake => ("VARCHAR", "NUMBER(38, 0)", "TIMESTAMP_NTZ"),
        CloudSystem::BigQuery => ("STRING", "INT64", "TIMESTAMP"),
        CloudSystem::Databricks => ("STRING", "BIGINT", "TIMESTAMP"),
        CloudSystem::Redshift => ("VARCHAR(4096)", "BIGINT", "TIMESTAMP"),
    };
    let columns = LEDGER_COLUMNS.map(|name| {
        let ty = match name {
            "block" | "loaded_rows" | "rejected" => integer,
            "loaded_at" => time,
            _ => text,
        };
        format!("    {name} {ty}")
    });
    format!("CREATE TABLE IF NOT EXISTS {} (\n{}\n)", ledger_of(table).sql(), columns.join(",\n"))
}

/// Returns the values of a row of the table of loads, in the order of [`LEDGER_COLUMNS`].
pub(super) fn entry_values(table: &CloudTable, entry: &CopyEntry, state: &str, claim: Option<&str>) -> String {
    let system = table.system();
    let text = |text: &str| system.literal(text);
    let values = [
        text(&entry.key),
        text(&table.shown()),
        entry.run_id.as_deref().map_or("NULL".to_owned(), text),
        entry.block.map_or("NULL".to_owned(), |block| block.to_string()),
        text(&entry.source),
        text("append"),
        text(&entry.plan),
        entry.rows.to_string(),
        entry.rejected.to_string(),
        now(system).to_owned(),
        text(env!("CARGO_PKG_VERSION")),
        text(state),
        claim.map_or("NULL".to_owned(), text),
    ];
    values.join(", ")
}

fn now(system: CloudSystem) -> &'static str {
    match system {
        CloudSystem::Snowflake => "SYSDATE()",
        CloudSystem::BigQuery => "CURRENT_TIMESTAMP()",
        CloudSystem::Databricks => "current_timestamp()",
        CloudSystem::Redshift => "SYSDATE",
    }
}

/// Returns the statement that records the load unless its key is there.
pub(super) fn merge_entry(table: &CloudTable, entry: &CopyEntry) -> String {
    merge(table, entry, None)
}

/// Returns the statement that records that the load has begun, unless its key is there.
pub(super) fn merge_claim(table: &CloudTable, entry: &CopyEntry, claim: &Claim) -> String {
    merge(table, entry, Some(&claim_text(claim)))
}

/// Returns the statement that records how a load has ended that has begun by this claim, also where the claim was removed
/// meanwhile: the rows are there. The claim of another load stays.
pub(super) fn end_claim(table: &CloudTable, entry: &CopyEntry, claim: &Claim, state: &str) -> String {
    let (system, text) = (table.system(), claim_text(claim));
    format!(
        "MERGE INTO {} AS l USING (SELECT {} AS commit_key) AS s ON l.commit_key = s.commit_key\nWHEN MATCHED AND l.claim = {} \
         AND l.state IN ({}, {}) THEN UPDATE SET state = {}, loaded_at = {}\nWHEN NOT MATCHED THEN INSERT ({}) VALUES ({})",
        ledger_of(table).sql(),
        system.literal(&entry.key),
        system.literal(&text),
        system.literal(LOADING),
        system.literal(TAKEN_UP),
        system.literal(state),
        now(system),
        LEDGER_COLUMNS.join(", "),
        entry_values(table, entry, state, Some(&text))
    )
}

/// Returns the statement by which another command than its owner takes up a claim, before it copies anything.
pub(super) fn take_up_claim(table: &CloudTable, key: &str, claim: &Claim) -> String {
    let (system, ledger) = (table.system(), ledger_of(table).sql());
    format!("UPDATE {ledger} SET state = {} WHERE {}", system.literal(TAKEN_UP), of_claim(system, key, claim))
}

/// Returns the statement by which its owner takes a claim back, nothing of which is in the table. One that another command has
/// taken up stays.
pub(super) fn drop_claim(table: &CloudTable, key: &str, claim: &Claim) -> String {
    format!("DELETE FROM {} WHERE {}", ledger_of(table).sql(), of_claim(table.system(), key, claim))
}

/// Returns the table of loads with the condition for records of this key that are not of this claim, or have ended.
pub(super) fn other_records(table: &CloudTable, key: &str, claim: &Claim) -> String {
    let (system, ledger) = (table.system(), ledger_of(table).sql());
    let [key, claim, loading, taken] = [key, &claim_text(claim), LOADING, TAKEN_UP].map(|text| system.literal(text));
    format!(
        "{ledger} WHERE commit_key = {key} AND (state NOT IN ({loading}, {taken}) OR claim IS NULL OR claim != {claim})"
    )
}

fn of_claim(system: CloudSystem, key: &str, claim: &Claim) -> String {
    let [key, state, claim] = [key, LOADING, &claim_text(claim)].map(|text| system.literal(text));
    format!("commit_key = {key} AND state = {state} AND claim = {claim}")
}

fn claim_text(claim: &Claim) -> String {
    serde_json::to_string(claim).unwrap_or_default()
}

fn merge(table: &CloudTable, entry: &CopyEntry, claim: Option<&str>) -> String {
    let system = table.system();
    format!(
        "MERGE INTO {} AS l USING (SELECT {} AS commit_key) AS s ON l.commit_key = s.commit_key\nWHEN NOT MATCHED THEN INSERT \
         ({}) VALUES ({})",
        ledger_of(table).sql(),
        system.literal(&entry.key),
        LEDGER_COLUMNS.join(", "),
        entry_values(table, entry, if claim.is_some() { LOADING } else { LOADED }, claim)
    )
}
