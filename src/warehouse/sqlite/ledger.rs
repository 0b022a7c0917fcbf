//! The table of loads: made with the first load, in its transaction. A file has one transaction that writes at a time, so
//! that a key that is not there when the transaction begins belongs to it.

use rusqlite::{Row, params};

use super::catalog::Table;
use super::database::Database;
use super::sql::quoted;
use crate::warehouse::{CommitKey, LEDGER_TABLE, LedgerRow, LoadError, LoadIdentity};

/// The facts of a load.
pub(super) struct Entry<'a> {
    pub(super) key: &'a CommitKey,
    pub(super) table: &'a Table,
    pub(super) mode: &'a str,
    pub(super) identity: &'a LoadIdentity,
    pub(super) rows: u64,
    pub(super) rejected: u64,
    pub(super) digest: &'a str,
    /// Time at which the load began, in the ledger's form.
    pub(super) started_at: &'a str,
}

/// The columns of a load. Rows of a table that was dropped are gone, as if they had been replaced.
const COLUMNS: &str = "commit_key, table_name, run_id, block, source, mode, plan, state = 'loaded' AND EXISTS (SELECT 1 \
     FROM main.sqlite_schema WHERE type = 'table' AND name = table_name COLLATE NOCASE), rows, rejected, digest, loaded_at, drawoff";

/// The time now, in SQL.
const NOW: &str = "strftime('%Y-%m-%dT%H:%M:%SZ', 'now')";

/// Returns true if the file has a ledger.
pub(super) fn exists(db: &Database) -> Result<bool, LoadError> {
    let found = db.rows(
        "SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = ? COLLATE NOCASE",
        [LEDGER_TABLE],
        |_| Ok(()),
    )?;
    Ok(!found.is_empty())
}

/// Returns the time now, in the ledger's form.
pub(super) fn now(db: &Database) -> Result<String, LoadError> {
    Ok(db.rows(&format!("SELECT {NOW}"), [], |row| row.get(0))?.pop().unwrap_or_default())
}

/// Enters a load, in place of an earlier one with its key.
pub(super) fn enter(db: &Database, entry: &Entry<'_>) -> Result<(), LoadError> {
    let ledger = quoted(LEDGER_TABLE);
    db.execute(&format!(
        "CREATE TABLE IF NOT EXISTS main.{ledger} (
            commit_key TEXT PRIMARY KEY,
            table_name TEXT NOT NULL,
            run_id TEXT,
            block INTEGER,
            source TEXT NOT NULL,
            mode TEXT NOT NULL,
            plan TEXT NOT NULL,
            state TEXT NOT NULL DEFAULT 'loaded',
            rows INTEGER,
            rejected INTEGER,
            digest TEXT,
            columns TEXT,
            started_at TEXT NOT NULL,
            loaded_at TEXT,
            drawoff TEXT NOT NULL
        )"
    ))?;
    let key = entry.key.as_str();
    // The latest load has the highest row number, also after an earlier one of its key.
    db.changed(&format!("DELETE FROM main.{ledger} WHERE commit_key = ?"), [key])?;
    let identity = entry.identity;
    db.changed(
        &format!(
            "INSERT INTO main.{ledger} (rowid, commit_key, table_name, run_id, block, source, mode, plan, rows, rejected, \
             digest, columns, started_at, loaded_at, drawoff) VALUES \
             ((SELECT coalesce(max(rowid), 0) + 1 FROM main.{ledger}), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '{{}}', ?, {NOW}, ?)"
        ),
        params![
            key,
            entry.table.name,
            identity.run_id,
            identity.block,
            identity.source,
            entry.mode,
            identity.plan_digest(),
            entry.rows as i64,
            entry.rejected as i64,
            entry.digest,
            entry.started_at,
            env!("CARGO_PKG_VERSION"),
        ],
    )?;
    Ok(())
}

/// Marks all loads of `table` as replaced.
pub(super) fn replace_all(db: &Database, table: &Table) -> Result<(), LoadError> {
    if exists(db)? {
        let sql =
            format!("UPDATE main.{} SET state = 'replaced' WHERE table_name = ? COLLATE NOCASE", quoted(LEDGER_TABLE));
        db.changed(&sql, [&table.name])?;
    }
    Ok(())
}

/// Returns the load with this key that makes one in `mode` unnecessary. A load whose rows were replaced, or whose table is
/// gone, does not; and a table is as after a replacement only if nothing was loaded since.
pub(super) fn find(db: &Database, table: &Table, key: &CommitKey, mode: &str) -> Result<Option<LedgerRow>, LoadError> {
    if table.columns.is_none() || !exists(db)? {
        return Ok(None);
    }
    let ledger = quoted(LEDGER_TABLE);
    let rows = db.rows(
        &format!(
            "SELECT {COLUMNS} FROM main.{ledger} AS l WHERE commit_key = ?1 AND state = 'loaded' \
             AND (?2 <> 'replace' OR l.mode = 'replace' AND NOT EXISTS (SELECT 1 FROM main.{ledger} AS other \
             WHERE other.table_name = l.table_name COLLATE NOCASE AND other.rowid > l.rowid))"
        ),
        [key.as_str(), mode],
        read,
    )?;
    Ok(rows.into_iter().next())
}

/// Returns true if an earlier load with this key has rows in the table.
pub(super) fn has_rows(db: &Database, key: &CommitKey) -> Result<bool, LoadError> {
    if !exists(db)? {
        return Ok(false);
    }
    let sql = format!("SELECT 1 FROM main.{} WHERE commit_key = ? AND state = 'loaded'", quoted(LEDGER_TABLE));
    Ok(!db.rows(&sql, [key.as_str()], |_| Ok(()))?.is_empty())
}

/// Returns all loads, or those of one table, the latest first.
pub(super) fn list(db: &Database, table: Option<&str>) -> Result<Vec<LedgerRow>, LoadError> {
    if !exists(db)? {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT {COLUMNS} FROM main.{} WHERE ?1 IS NULL OR table_name = ?1 COLLATE NOCASE ORDER BY rowid DESC",
        quoted(LEDGER_TABLE)
    );
    db.rows(&sql, [table], read)
}

fn read(row: &Row<'_>) -> rusqlite::Result<LedgerRow> {
    let count = |index: usize| row.get::<_, Option<i64>>(index).map(|count| count.unwrap_or(0).max(0) as u64);
    let text = |index: usize| row.get::<_, Option<String>>(index).map(Option::unwrap_or_default);
    Ok(LedgerRow {
        key: text(0)?,
        table: text(1)?,
        run_id: row.get(2)?,
        block: row.get(3)?,
        source: text(4)?,
        mode: text(5)?,
        plan: text(6)?,
        stands: row.get(7)?,
        rows: count(8)?,
        rejected: count(9)?,
        digest: text(10)?,
        loaded_at: text(11)?,
        version: text(12)?,
    })
}
