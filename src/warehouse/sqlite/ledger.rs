//! The table of loads: made with the first load, in its transaction. A file has one transaction that writes at a time, so
//! that a key that is not there when the transaction begins belongs to it.

use rusqlite::{Row, params};

use super::catalog::Table;
use super::database::Database;
use super::sql::quoted;
use crate::warehouse::claims::{
    self, CHUNK_STATE, EarlierRows, INCOMPLETE_STATE, LedgerChunk, LedgerDetails, earlier_progress, rows_that_give_way,
};
use crate::warehouse::earlier::{Replaceable, earlier_load};
use crate::warehouse::{LEDGER_TABLE, LedgerRow, LoadClaim, LoadError, LoadMode, LoadProgress, LoadState};

/// The facts of a load.
pub(super) struct Entry<'a> {
    /// The rows of the ledger.
    pub(super) claims: &'a [LoadClaim],
    pub(super) table: &'a Table,
    pub(super) mode: &'a str,
    /// Digest of the steps.
    pub(super) plan: &'a str,
    pub(super) rows: u64,
    pub(super) rejected: u64,
    pub(super) digest: &'a str,
    /// Time at which the load began, in the ledger's form.
    pub(super) started_at: &'a str,
    /// The columns that the load has made for JSON text.
    pub(super) mixed: &'a [String],
    /// For a load in chunks: this chunk, the progress with it, its rows, and if it is the last.
    pub(super) chunk: Option<(LedgerChunk, LoadProgress, u64, bool)>,
}

/// The columns of a load `l`.
const COLUMNS: &str = "commit_key, table_name, run_id, block, source, mode, plan, CASE WHEN state IN ('loaded', 'incomplete') AND NOT EXISTS \
     (SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = l.table_name COLLATE NOCASE) THEN 'dropped' \
     ELSE state END, rows, rejected, digest, loaded_at, drawoff";

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

/// Returns the columns of a load with its details, of which a ledger of before they were has none.
fn columns(db: &Database) -> Result<String, LoadError> {
    let details = if has_details(db)? { "details" } else { "NULL" };
    Ok(format!("{COLUMNS}, {details}"))
}

fn has_details(db: &Database) -> Result<bool, LoadError> {
    let sql = "SELECT 1 FROM pragma_table_info(?, 'main') WHERE name = 'details'";
    Ok(!db.rows(sql, [LEDGER_TABLE], |_| Ok(()))?.is_empty())
}

/// Enters a load, in place of earlier ones with its keys.
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
            details TEXT,
            started_at TEXT NOT NULL,
            loaded_at TEXT,
            drawoff TEXT NOT NULL
        )"
    ))?;
    let mut has_details = has_details(db)?;
    let (state, progress) = match &entry.chunk {
        Some((.., progress, _, false)) => (INCOMPLETE_STATE, Some(*progress)),
        Some((.., progress, _, true)) => ("loaded", Some(*progress)),
        None => ("loaded", None),
    };
    // Only further chunks ask for them.
    let mixed = if state == INCOMPLETE_STATE { entry.mixed.to_vec() } else { Vec::new() };
    for LoadClaim { key, member, set } in entry.claims {
        // The latest load has the highest row number, also after an earlier one of its key.
        db.changed(&format!("DELETE FROM main.{ledger} WHERE commit_key = ?"), [key.as_str()])?;
        db.changed(
            &format!(
                "INSERT INTO main.{ledger} (rowid, commit_key, table_name, run_id, block, source, mode, plan, state, \
                 rows, rejected, digest, columns, started_at, loaded_at, drawoff) VALUES \
                 ((SELECT coalesce(max(rowid), 0) + 1 FROM main.{ledger}), ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '{{}}', ?, \
                 {NOW}, ?)"
            ),
            params![
                key.as_str(),
                entry.table.name,
                member.run_id,
                member.block,
                member.source,
                entry.mode,
                entry.plan,
                state,
                entry.rows as i64,
                entry.rejected as i64,
                entry.digest,
                entry.started_at,
                env!("CARGO_PKG_VERSION"),
            ],
        )?;
        if let Some(details) = (LedgerDetails { set: set.clone(), progress, chunk: None, mixed: mixed.clone() }).text()
        {
            if !has_details {
                db.execute(&format!("ALTER TABLE main.{ledger} ADD COLUMN details TEXT"))?;
                has_details = true;
            }
            let sql = format!("UPDATE main.{ledger} SET details = ? WHERE commit_key = ?");
            db.changed(&sql, [details.as_str(), key.as_str()])?;
        }
    }
    match &entry.chunk {
        Some((chunk, _, rows, _)) => enter_chunk(db, entry, chunk, *rows),
        None => Ok(()),
    }
}

/// Enters the row of one chunk. The ledger has the column for details.
fn enter_chunk(db: &Database, entry: &Entry<'_>, chunk: &LedgerChunk, rows: u64) -> Result<(), LoadError> {
    let ledger = quoted(LEDGER_TABLE);
    let details = LedgerDetails { chunk: Some(chunk.clone()), ..LedgerDetails::default() }.text();
    // Before all others: the last row is that of the latest load.
    db.changed(
        &format!(
            "INSERT INTO main.{ledger} (rowid, commit_key, table_name, source, mode, plan, state, rows, rejected, digest, \
             columns, details, started_at, loaded_at, drawoff) VALUES \
             ((SELECT min(coalesce(min(rowid), 0), 0) - 1 FROM main.{ledger}), ?, ?, ?, ?, ?, ?, ?, NULL, '', '{{}}', ?, ?, \
             {NOW}, ?)"
        ),
        params![
            chunk.key().as_str(),
            entry.table.name,
            chunk.source(),
            entry.mode,
            entry.plan,
            CHUNK_STATE,
            rows as i64,
            details,
            entry.started_at,
            env!("CARGO_PKG_VERSION"),
        ],
    )?;
    Ok(())
}

/// Marks all loads of `table` as replaced.
pub(super) fn replace_all(db: &Database, table: &Table) -> Result<(), LoadError> {
    if exists(db)? {
        let sql = format!(
            "UPDATE main.{} SET state = 'replaced' WHERE table_name = ? COLLATE NOCASE AND state <> '{CHUNK_STATE}'",
            quoted(LEDGER_TABLE)
        );
        db.changed(&sql, [&table.name])?;
    }
    Ok(())
}

/// Returns the earlier load that makes one with these claims in `mode` unnecessary. A load whose rows were replaced, or whose
/// table is gone, does not; and a table is as after a replacement only if it was by the same runs, and nothing was loaded
/// since. Fails if the table has some of the claims.
pub(super) fn find(
    db: &Database,
    table: &Table,
    claims: &[LoadClaim],
    mode: &str,
    in_chunks: bool,
    replaceable: Replaceable,
) -> Result<Option<LedgerRow>, LoadError> {
    if table.columns.is_none() || !exists(db)? {
        return Ok(None);
    }
    let is_replacement = mode == LoadMode::Replace.as_str();
    let last = match is_replacement {
        true => list(db, Some(&table.name))?.into_iter().next(),
        false => None,
    };
    progress(db, table, claims, in_chunks, replaceable)?;
    let mut standing = Vec::new();
    for claim in claims {
        let row = of_key(db, claim)?.filter(LedgerRow::stands);
        standing.push(row.filter(|row| {
            let is_last = last.as_ref().is_some_and(|last| last.row_key() == row.row_key());
            !is_replacement || row.mode == mode && row.set == claim.set && is_last
        }));
    }
    match earlier_load(db.table(), claims, standing, replaceable) {
        Err(LoadError::PartlyLoaded { .. }) if is_replacement => Ok(None),
        found => found,
    }
}

/// Returns the chunks of these claims that the table has. Fails if the earlier load is not complete and this one cannot go on
/// with it.
pub(super) fn progress(
    db: &Database,
    table: &Table,
    claims: &[LoadClaim],
    in_chunks: bool,
    replaceable: Replaceable,
) -> Result<LoadProgress, LoadError> {
    if table.columns.is_none() || !exists(db)? {
        return Ok(LoadProgress::default());
    }
    let found = claims.iter().map(|claim| of_key(db, claim)).collect::<Result<Vec<_>, _>>()?;
    earlier_progress(db.table(), claims, &found, in_chunks, replaceable)
}

/// Returns true if the load in chunks with these claims is not complete, and takes the place of an earlier one.
pub(super) fn is_begun_again(db: &Database, table: &Table, claims: &[LoadClaim]) -> Result<bool, LoadError> {
    if table.columns.is_none() || !exists(db)? {
        return Ok(false);
    }
    let found = claims.iter().map(|claim| of_key(db, claim)).collect::<Result<Vec<_>, _>>()?;
    Ok(claims::is_begun_again(&found))
}

/// Returns the columns that chunks of these claims have made for JSON text.
pub(super) fn mixed_columns(db: &Database, claims: &[LoadClaim]) -> Result<Vec<String>, LoadError> {
    let Some(claim) = claims.first().filter(|_| exists(db).is_ok_and(|exists| exists)) else { return Ok(Vec::new()) };
    if !has_details(db)? {
        return Ok(Vec::new());
    }
    let sql = format!("SELECT coalesce(details, '') FROM main.{} WHERE commit_key = ?", quoted(LEDGER_TABLE));
    let details = db.rows(&sql, [claim.key.as_str()], |row| row.get::<_, String>(0))?.pop().unwrap_or_default();
    Ok(LedgerDetails::read(&details).mixed)
}

/// Strikes the rows of the chunks of earlier loads with these keys.
pub(super) fn strike_chunks<'a>(db: &Database, mut keys: impl Iterator<Item = &'a str>) -> Result<(), LoadError> {
    if !exists(db)? || !has_details(db)? {
        return Ok(());
    }
    let ledger = quoted(LEDGER_TABLE);
    let sql =
        format!("DELETE FROM main.{ledger} WHERE state = '{CHUNK_STATE}' AND json_extract(details, '$.chunk.of') = ?");
    keys.try_for_each(|key| db.changed(&sql, [key]).map(drop))
}

/// Returns the row of the ledger with the key of `claim`.
fn of_key(db: &Database, claim: &LoadClaim) -> Result<Option<LedgerRow>, LoadError> {
    let sql = format!("SELECT {} FROM main.{} AS l WHERE commit_key = ?", columns(db)?, quoted(LEDGER_TABLE));
    Ok(db.rows(&sql, [claim.key.as_str()], read)?.pop())
}

/// Returns the earlier loads of these claims that have rows in the table. Fails if one of them has rows of other runs, and
/// rows are to be told apart.
pub(super) fn earlier_rows(
    db: &Database,
    claims: &[LoadClaim],
    replaceable: Replaceable,
) -> Result<Vec<EarlierRows>, LoadError> {
    if !exists(db)? {
        return Ok(Vec::new());
    }
    let mut given = Vec::new();
    for claim in claims {
        given.extend(of_key(db, claim)?.filter(LedgerRow::has_rows));
    }
    rows_that_give_way(db.table(), &given, replaceable == Replaceable::ByKey)
}

/// Returns all loads, or those of one table, the latest first.
pub(super) fn list(db: &Database, table: Option<&str>) -> Result<Vec<LedgerRow>, LoadError> {
    if !exists(db)? {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT {} FROM main.{} AS l WHERE state <> '{CHUNK_STATE}' AND (?1 IS NULL OR table_name = ?1 COLLATE NOCASE) \
         ORDER BY rowid DESC",
        columns(db)?,
        quoted(LEDGER_TABLE)
    );
    db.rows(&sql, [table], read)
}

fn read(row: &Row<'_>) -> rusqlite::Result<LedgerRow> {
    let count = |index: usize| row.get::<_, Option<i64>>(index).map(|count| count.unwrap_or(0).max(0) as u64);
    let text = |index: usize| row.get::<_, Option<String>>(index).map(Option::unwrap_or_default);
    let details = LedgerDetails::read(&text(13)?);
    Ok(LedgerRow {
        key: text(0)?,
        table: text(1)?,
        run_id: row.get(2)?,
        block: row.get(3)?,
        source: text(4)?,
        mode: text(5)?,
        plan: text(6)?,
        state: match text(7)?.as_str() {
            "loaded" => LoadState::Loaded,
            "dropped" => LoadState::Dropped,
            INCOMPLETE_STATE => LoadState::Incomplete,
            _ => LoadState::Replaced,
        },
        set: details.set,
        progress: details.progress,
        rows_there: None,
        rows: count(8)?,
        rejected: count(9)?,
        digest: text(10)?,
        loaded_at: text(11)?,
        version: text(12)?,
    })
}
