//! The table of loads: made if it is missing, claimed by a load under its key, and listed.
//!
//! A key is claimed by inserting its row. A second load that claims the same key waits for the first to end its
//! transaction, and then sees the row, or inserts its own if the first was rolled back.

use std::collections::BTreeSet;

use tokio_postgres::SimpleQueryRow;

use super::session::Session;
use super::sql::{literal, quoted};
use crate::warehouse::claims::{
    CHUNK_STATE, EarlierRows, INCOMPLETE_STATE, LedgerChunk, LedgerDetails, earlier_progress, is_begun_again,
    rows_that_give_way,
};
use crate::warehouse::earlier::{Replaceable, earlier_load};
use crate::warehouse::{LEDGER_TABLE, LedgerRow, LoadClaim, LoadError, LoadMode, LoadProgress, LoadState};

/// The ledger of the tables of one schema.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    schema: String,
}

/// The outcome of a claim.
#[expect(clippy::large_enum_variant, reason = "there is one for each load")]
pub(super) enum Claim {
    /// All keys belong to this transaction. Earlier loads of them, which had these rows, were struck from the ledger; or
    /// these chunks of the load are in the table.
    Claimed { earlier: Vec<EarlierRows>, progress: LoadProgress },
    /// An earlier load has the keys.
    Loaded(LedgerRow),
}

/// The facts that are entered with a claim.
pub(super) struct Entry<'a> {
    /// The rows of the ledger, ascending by key.
    pub(super) claims: &'a [LoadClaim],
    pub(super) table: &'a str,
    pub(super) mode: &'a str,
    /// Digest of the steps.
    pub(super) plan: &'a str,
    /// The way in which the rows of earlier loads are told from others.
    pub(super) replaceable: Replaceable,
    /// True for a load in chunks.
    pub(super) in_chunks: bool,
}

/// The facts that complete a load, or a chunk of it.
pub(super) struct Completion<'a> {
    pub(super) claims: &'a [LoadClaim],
    /// Rows of the load in the table.
    pub(super) rows: u64,
    pub(super) rejected: u64,
    pub(super) digest: &'a str,
    /// Renamed columns as a JSON object.
    pub(super) columns: &'a str,
    /// For a load in chunks: its progress with this chunk, which is of this many rows, and if it is the last.
    pub(super) chunk: Option<(LedgerChunk, LoadProgress, u64, bool)>,
}

/// The columns of a load `l` in queries, of which `{state}` stands for the state. A ledger without the column `details` has
/// none of them.
const COLUMNS: &str = "commit_key, table_name, run_id, block, source, mode, rows, rejected, digest, drawoff, {state}, \
     to_char(loaded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"'), plan, to_jsonb(l) ->> 'details'";

/// The index of `state` among these.
const STATE: usize = 10;

/// The index of the column behind these in queries that ask whether the load is the last of its table.
const IS_LAST: usize = 14;

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

    fn has_details(&self, session: &Session) -> Result<bool, LoadError> {
        let rows = session.rows(&format!(
            "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass({}) AND attname = 'details' AND NOT attisdropped",
            literal(&self.table())
        ))?;
        Ok(!rows.is_empty())
    }

    /// Makes the table if it is missing, and gives it the column `details` if this load needs one. Must be called outside a
    /// transaction: two loads may make it at once.
    pub(super) fn create(&self, session: &Session, needs_details: bool) -> Result<(), LoadError> {
        // Asked first, because the statements below need rights even if they change nothing.
        if self.exists(session)? {
            if needs_details && !self.has_details(session)? {
                let alter = format!("ALTER TABLE {} ADD COLUMN IF NOT EXISTS details jsonb", self.table());
                return session.execute(&alter);
            }
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
                details jsonb,
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

    /// Claims the keys of a load for this transaction. With `again`, earlier loads of them give way, except one in chunks that
    /// has itself begun to replace another.
    pub(super) fn claim(&self, session: &Session, entry: &Entry<'_>, mut again: bool) -> Result<Claim, LoadError> {
        let (mut standing, mut taken, mut found) = (Vec::new(), Vec::new(), Vec::new());
        for claim in entry.claims {
            let row = self.insert_or_lock(session, entry, claim)?;
            standing.push(row.as_ref().filter(|row| stands(row, entry.mode, claim)).map(read));
            found.push(row.as_ref().map(read));
            taken.extend(row.map(|row| (claim, row)));
        }
        again &= !(entry.in_chunks && is_begun_again(&found));
        if again {
            standing.fill(None);
        }
        if !again {
            let progress = earlier_progress(session.table(), entry.claims, &found, entry.in_chunks, entry.replaceable)?;
            if progress.chunks > 0 {
                return Ok(Claim::Claimed { earlier: Vec::new(), progress });
            }
        }
        match earlier_load(session.table(), entry.claims, standing, entry.replaceable) {
            Ok(Some(row)) => return Ok(Claim::Loaded(row)),
            // The table is as after this replacement, or it is not.
            Err(LoadError::PartlyLoaded { .. }) if entry.mode == LoadMode::Replace.as_str() => {}
            other => drop(other?),
        }
        let given: Vec<LedgerRow> = taken.iter().map(|(_, row)| read(row)).filter(LedgerRow::has_rows).collect();
        let earlier = rows_that_give_way(session.table(), &given, entry.replaceable == Replaceable::ByKey)?;
        // Those of an earlier load, also of one whose table is gone.
        let chunked = found.iter().flatten().filter(|row| row.progress.is_some()).map(|row| row.row_key().to_owned());
        let own = entry.claims.first().filter(|_| entry.in_chunks).map(|claim| claim.row_key().to_owned());
        for key in chunked.chain(own).collect::<BTreeSet<String>>() {
            session.execute(&format!(
                "DELETE FROM {} AS l WHERE state = '{CHUNK_STATE}' AND to_jsonb(l) -> 'details' -> 'chunk' ->> 'of' = {}",
                self.table(),
                literal(&key),
            ))?;
        }
        for (claim, _) in &taken {
            let key = literal(claim.key.as_str());
            session.execute(&format!("DELETE FROM {} WHERE commit_key = {key}", self.table()))?;
            if !self.insert(session, entry, claim)? {
                return Err(LoadError::Bug("a commit key was claimed twice".into()));
            }
        }
        Ok(Claim::Claimed { earlier, progress: LoadProgress { again, ..LoadProgress::default() } })
    }

    /// Enters a claim. Returns the row of an earlier load instead, locked, if there is one.
    fn insert_or_lock(
        &self,
        session: &Session,
        entry: &Entry<'_>,
        claim: &LoadClaim,
    ) -> Result<Option<SimpleQueryRow>, LoadError> {
        loop {
            if self.insert(session, entry, claim)? {
                return Ok(None);
            }
            let rows = session.rows(&format!(
                "SELECT {}, {} FROM {} AS l WHERE commit_key = {} FOR UPDATE",
                self.columns(),
                self.is_last(),
                self.table(),
                literal(claim.key.as_str())
            ))?;
            // Without a row, the load was deleted between the two statements.
            if let Some(row) = rows.into_iter().next() {
                return Ok(Some(row));
            }
        }
    }

    fn insert(&self, session: &Session, entry: &Entry<'_>, claim: &LoadClaim) -> Result<bool, LoadError> {
        let Entry { table, mode, plan, .. } = entry;
        let LoadClaim { key, member, set } = claim;
        let details = LedgerDetails { set: set.clone(), ..LedgerDetails::default() }.text();
        let (name, value) = match &details {
            Some(text) => (", details", format!(", {}::jsonb", literal(text))),
            None => ("", String::new()),
        };
        let inserted = session.changed(&format!(
            "INSERT INTO {} (commit_key, table_name, run_id, block, source, mode, plan, drawoff{name}) \
             VALUES ({}, {}, {}, {}, {}, {}, {}, {}{value}) ON CONFLICT DO NOTHING",
            self.table(),
            literal(key.as_str()),
            literal(table),
            member.run_id.as_deref().map_or("NULL".to_owned(), literal),
            member.block.map_or("NULL".to_owned(), |block| block.to_string()),
            literal(&member.source),
            literal(mode),
            literal(plan),
            literal(env!("CARGO_PKG_VERSION")),
        ))?;
        Ok(inserted == 1)
    }

    /// Enters the counts of a claimed load.
    pub(super) fn complete(
        &self,
        session: &Session,
        entry: &Entry<'_>,
        completion: &Completion<'_>,
    ) -> Result<(), LoadError> {
        let Completion { claims, rows, rejected, digest, columns, chunk } = completion;
        let mut of_chunks = String::new();
        if let Some((chunk, progress, chunk_rows, is_last)) = chunk {
            let details = LedgerDetails { chunk: Some(chunk.clone()), ..LedgerDetails::default() };
            session.execute(&format!(
                "INSERT INTO {} (commit_key, table_name, source, mode, plan, state, rows, digest, columns, details, \
                 loaded_at, drawoff) VALUES ({}, {}, {}, {}, {}, '{CHUNK_STATE}', {chunk_rows}, '', '{{}}', {}::jsonb, \
                 clock_timestamp(), {})",
                self.table(),
                literal(chunk.key().as_str()),
                literal(entry.table),
                literal(&chunk.source()),
                literal(entry.mode),
                literal(entry.plan),
                literal(&details.text().unwrap_or_default()),
                literal(env!("CARGO_PKG_VERSION")),
            ))?;
            let set = claims.first().and_then(|claim| claim.set.clone());
            let details = LedgerDetails { set, progress: Some(*progress), ..LedgerDetails::default() };
            let state = if *is_last { "loaded" } else { INCOMPLETE_STATE };
            of_chunks =
                format!(", state = '{state}', details = {}::jsonb", literal(&details.text().unwrap_or_default()));
        }
        let updated = session.changed(&format!(
            "UPDATE {} SET rows = {rows}, rejected = {rejected}, digest = {}, columns = {}::jsonb, \
             loaded_at = clock_timestamp(){of_chunks} WHERE commit_key IN ({})",
            self.table(),
            literal(digest),
            literal(columns),
            keys(claims),
        ))?;
        match updated == claims.len() as u64 {
            true => Ok(()),
            false => Err(LoadError::Bug("the ledger has lost a row of this load".into())),
        }
    }

    /// Marks all other loads of `table` as replaced.
    pub(super) fn replace_others(&self, session: &Session, table: &str, claims: &[LoadClaim]) -> Result<(), LoadError> {
        session.execute(&format!(
            "UPDATE {} SET state = 'replaced' WHERE table_name = {} AND state <> '{CHUNK_STATE}' \
             AND commit_key NOT IN ({})",
            self.table(),
            literal(table),
            keys(claims),
        ))
    }

    /// Returns the earlier load that makes one with these claims unnecessary. Fails if it has some of them.
    pub(super) fn find(
        &self,
        session: &Session,
        claims: &[LoadClaim],
        mode: &str,
        in_chunks: bool,
        replaceable: Replaceable,
    ) -> Result<Option<LedgerRow>, LoadError> {
        let rows = session.rows(&format!(
            "SELECT {}, {} FROM {} AS l WHERE commit_key IN ({}) AND loaded_at IS NOT NULL",
            self.columns(),
            self.is_last(),
            self.table(),
            keys(claims)
        ))?;
        let of = |claim: &LoadClaim| rows.iter().find(|row| row.get(0) == Some(claim.key.as_str()));
        let found: Vec<Option<LedgerRow>> = claims.iter().map(|claim| of(claim).map(read)).collect();
        earlier_progress(session.table(), claims, &found, in_chunks, replaceable)?;
        let standing = claims.iter().map(|claim| of(claim).filter(|row| stands(row, mode, claim)).map(read));
        match earlier_load(session.table(), claims, standing.collect(), replaceable) {
            Err(LoadError::PartlyLoaded { .. }) if mode == LoadMode::Replace.as_str() => Ok(None),
            found => found,
        }
    }

    /// Returns the columns of a load. Rows of a table that was dropped are gone with it.
    fn columns(&self) -> String {
        let start = self.schema.chars().count() + 2;
        let schema = literal(&quoted(&self.schema));
        let table = format!("to_regclass({schema} || '.' || quote_ident(substr(table_name, {start})))");
        COLUMNS.replace("{state}", &format!("CASE WHEN {table} IS NULL THEN 'dropped' ELSE state END"))
    }

    /// Returns the condition that the load `l` is the last of its table, perhaps with others of one set.
    fn is_last(&self) -> String {
        let set = |row: &str| format!("to_jsonb({row}) -> 'details' -> 'set' ->> 'key'");
        format!(
            "NOT EXISTS (SELECT 1 FROM {} AS other WHERE other.table_name = l.table_name \
             AND other.commit_key <> l.commit_key AND other.loaded_at >= l.loaded_at \
             AND other.state <> '{CHUNK_STATE}' AND ({} = {}) IS NOT TRUE)",
            self.table(),
            set("other"),
            set("l"),
        )
    }

    /// Returns all loads, or those of one table, the latest first.
    pub(super) fn list(&self, session: &Session, table: Option<&str>) -> Result<Vec<LedgerRow>, LoadError> {
        let condition = table.map_or(String::new(), |table| format!(" AND table_name = {}", literal(table)));
        let rows = session.rows(&format!(
            "SELECT {} FROM {} AS l WHERE state <> '{CHUNK_STATE}'{condition} ORDER BY loaded_at DESC, commit_key",
            self.columns(),
            self.table()
        ))?;
        Ok(rows.iter().map(read).collect())
    }
}

fn keys(claims: &[LoadClaim]) -> String {
    claims.iter().map(|claim| literal(claim.key.as_str())).collect::<Vec<_>>().join(", ")
}

/// Returns true if a load of the ledger makes another one of its key in `mode` unnecessary. A load whose rows were replaced
/// or are gone does not; and a table is as after a replacement only if it was by the same runs, and nothing was loaded since.
fn stands(row: &SimpleQueryRow, mode: &str, claim: &LoadClaim) -> bool {
    let row_read = read(row);
    let is_alone = row_read.mode == "replace" && row_read.set == claim.set && row.get(IS_LAST) == Some("t");
    row_read.stands() && (mode != "replace" || is_alone)
}

fn read(row: &SimpleQueryRow) -> LedgerRow {
    let details = LedgerDetails::read(row.get(13).unwrap_or_default());
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
        state: match row.get(STATE) {
            Some("replaced") => LoadState::Replaced,
            Some("dropped") => LoadState::Dropped,
            Some(INCOMPLETE_STATE) => LoadState::Incomplete,
            _ => LoadState::Loaded,
        },
        set: details.set,
        progress: details.progress,
        rows_there: None,
        rows: count(6),
        rejected: count(7),
        digest: text(8),
        version: text(9),
        loaded_at: text(11),
    }
}
