//! The table of loads: made if it is missing, claimed by a load under its key, and listed.
//!
//! A key is claimed by inserting its row. A second load that claims the same key waits for the first to end its
//! transaction, and then sees the row, or inserts its own if the first was rolled back.

use tokio_postgres::SimpleQueryRow;

use super::session::Session;
use super::sql::{literal, quoted};
use crate::warehouse::{CommitKey, LEDGER_TABLE, LedgerRow, LoadError, LoadIdentity};

/// The ledger of the tables of one schema.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    schema: String,
}

/// The outcome of a claim.
#[expect(clippy::large_enum_variant, reason = "there is one for each load")]
pub(super) enum Claim {
    /// The key belongs to this transaction.
    Claimed,
    /// As before; an earlier load of the key, with this many rows, was struck from the ledger.
    Reclaimed(u64),
    /// An earlier load has the key.
    Loaded(LedgerRow),
}

/// The facts that are entered with a claim.
pub(super) struct Entry<'a> {
    pub(super) key: &'a CommitKey,
    pub(super) table: &'a str,
    pub(super) mode: &'a str,
    pub(super) identity: &'a LoadIdentity,
}

/// The columns of a load in queries, of which `{state}` stands for the state.
const COLUMNS: &str = "commit_key, table_name, run_id, block, source, mode, rows, rejected, digest, drawoff, {state}, \
     to_char(loaded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), plan";

/// The index of `state` among these.
const STATE: usize = 10;

/// The index of the column behind these in queries that ask whether the load is the last of its table.
const IS_LAST: usize = 13;

impl Ledger {
    pub(super) fn of_schema(schema: &str) -> Self {
        Ledger { schema: schema.to_owned() }
    }

    fn table(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(LEDGER_TABLE))
    }

    /// Returns true if the table exists.
    pub(super) fn exists(&self, session: &Session) -> Result<bool, LoadError> {
        let rows = session.rows(&format!("SELECT to_regclass({}) IS NOT NULL", literal(&self.table())))?;
        Ok(rows.first().and_then(|row| row.get(0)) == Some("t"))
    }

    /// Makes the table if it is missing. Must be called outside a transaction: two loads may make it at once.
    pub(super) fn create(&self, session: &Session) -> Result<(), LoadError> {
        // Asked first, because the statement below needs the right to create tables even if there is one.
        if self.exists(session)? {
            return Ok(());
        }
        let created = session.execute(&format!(
            "CREATE TABLE IF NOT EXISTS {} (
                commit_key text PRIMARY KEY,
                table_name text NOT NULL,
                run_id text,
                block bigint,
                source text NOT NULL,
                mode text NOT NULL,
                plan text NOT NULL,
                state text NOT NULL DEFAULT 'loaded',
                rows bigint,
                rejected bigint,
                digest text,
                columns jsonb,
                started_at timestamptz NOT NULL DEFAULT now(),
                loaded_at timestamptz,
                drawoff text NOT NULL
            )",
            self.table()
        ));
        match created {
            // Made by another load between the two statements.
            Err(error) => {
                if self.exists(session)? {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            Ok(()) => Ok(()),
        }
    }

    /// Claims a key for this transaction. With `again`, an earlier load gives way.
    pub(super) fn claim(&self, session: &Session, entry: &Entry<'_>, again: bool) -> Result<Claim, LoadError> {
        if self.insert(session, entry)? {
            return Ok(Claim::Claimed);
        }
        let key = literal(entry.key.as_str());
        let rows = session.rows(&format!(
            "SELECT {}, {} FROM {} AS l WHERE commit_key = {key} FOR UPDATE",
            self.columns(),
            self.is_last(),
            self.table()
        ))?;
        // The load was deleted between the two statements.
        let Some(row) = rows.first() else { return self.claim(session, entry, again) };
        if !again && stands(row, entry.mode) {
            return Ok(Claim::Loaded(read(row)));
        }
        let is_replaced = row.get(STATE) == Some("replaced");
        session.execute(&format!("DELETE FROM {} WHERE commit_key = {key}", self.table()))?;
        match self.insert(session, entry)? {
            true => Ok(if is_replaced { Claim::Claimed } else { Claim::Reclaimed(read(row).rows) }),
            false => Err(LoadError::Bug("a commit key was claimed twice".into())),
        }
    }

    fn insert(&self, session: &Session, entry: &Entry<'_>) -> Result<bool, LoadError> {
        let Entry { key, table, mode, identity } = entry;
        let inserted = session.changed(&format!(
            "INSERT INTO {} (commit_key, table_name, run_id, block, source, mode, plan, drawoff) \
             VALUES ({}, {}, {}, {}, {}, {}, {}, {}) ON CONFLICT DO NOTHING",
            self.table(),
            literal(key.as_str()),
            literal(table),
            identity.run_id.as_deref().map_or("NULL".to_owned(), literal),
            identity.block.map_or("NULL".to_owned(), |block| block.to_string()),
            literal(&identity.source),
            literal(mode),
            literal(&identity.plan_digest()),
            literal(env!("CARGO_PKG_VERSION")),
        ))?;
        Ok(inserted == 1)
    }

    /// Enters the counts of a claimed load. `columns` are the renamed columns as a JSON object.
    pub(super) fn complete(
        &self,
        session: &Session,
        key: &CommitKey,
        rows: u64,
        rejected: u64,
        digest: &str,
        columns: &str,
    ) -> Result<(), LoadError> {
        let updated = session.changed(&format!(
            "UPDATE {} SET rows = {rows}, rejected = {rejected}, digest = {}, columns = {}::jsonb, \
             loaded_at = clock_timestamp() WHERE commit_key = {}",
            self.table(),
            literal(digest),
            literal(columns),
            literal(key.as_str()),
        ))?;
        match updated {
            1 => Ok(()),
            _ => Err(LoadError::Bug("the ledger has lost the row of this load".into())),
        }
    }

    /// Marks all other loads of `table` as replaced.
    pub(super) fn replace_others(&self, session: &Session, table: &str, key: &CommitKey) -> Result<(), LoadError> {
        session.execute(&format!(
            "UPDATE {} SET state = 'replaced' WHERE table_name = {} AND commit_key <> {}",
            self.table(),
            literal(table),
            literal(key.as_str()),
        ))
    }

    /// Returns the load with this key that makes one in `mode` unnecessary.
    pub(super) fn find(&self, session: &Session, key: &CommitKey, mode: &str) -> Result<Option<LedgerRow>, LoadError> {
        let rows = session.rows(&format!(
            "SELECT {}, {} FROM {} AS l WHERE commit_key = {} AND loaded_at IS NOT NULL",
            self.columns(),
            self.is_last(),
            self.table(),
            literal(key.as_str())
        ))?;
        Ok(rows.first().filter(|row| stands(row, mode)).map(read))
    }

    /// Returns the columns of a load. Rows of a table that was dropped are gone, as if they had been replaced.
    fn columns(&self) -> String {
        let start = self.schema.chars().count() + 2;
        let schema = literal(&quoted(&self.schema));
        let table = format!("to_regclass({schema} || '.' || quote_ident(substr(table_name, {start})))");
        COLUMNS.replace("{state}", &format!("CASE WHEN {table} IS NULL THEN 'replaced' ELSE state END"))
    }

    /// Returns the condition that the load `l` is the last of its table.
    fn is_last(&self) -> String {
        format!(
            "NOT EXISTS (SELECT 1 FROM {} AS other WHERE other.table_name = l.table_name \
             AND other.commit_key <> l.commit_key AND other.loaded_at >= l.loaded_at)",
            self.table()
        )
    }

    /// Returns all loads, or those of one table, the latest first.
    pub(super) fn list(&self, session: &Session, table: Option<&str>) -> Result<Vec<LedgerRow>, LoadError> {
        let condition = table.map_or(String::new(), |table| format!(" WHERE table_name = {}", literal(table)));
        let rows = session.rows(&format!(
            "SELECT {} FROM {}{condition} ORDER BY loaded_at DESC, commit_key",
            self.columns(),
            self.table()
        ))?;
        Ok(rows.iter().map(read).collect())
    }
}

/// Returns true if a load of the ledger makes another one of its key in `mode` unnecessary. A load whose rows were replaced
/// does not; and a table is as after a replacement only if nothing was loaded since.
fn stands(row: &SimpleQueryRow, mode: &str) -> bool {
    let is_loaded = row.get(STATE) != Some("replaced");
    let is_alone = row.get(5) == Some("replace") && row.get(IS_LAST) == Some("t");
    is_loaded && (mode != "replace" || is_alone)
}

fn read(row: &SimpleQueryRow) -> LedgerRow {
    let text = |index: usize| row.get(index).unwrap_or_default().to_owned();
    let count = |index: usize| row.get(index).and_then(|text| text.parse().ok()).unwrap_or(0);
    LedgerRow {
        key: text(0),
        table: text(1),
        run_id: row.get(2).map(str::to_owned),
        block: row.get(3).and_then(|text| text.parse().ok()),
        source: text(4),
        mode: text(5),
        plan: text(12),
        stands: row.get(STATE) != Some("replaced"),
        rows: count(6),
        rejected: count(7),
        digest: text(8),
        version: text(9),
        loaded_at: text(11),
    }
}
