//! The table of loads. A load has several rows there, of growing states; the greatest counts, so that a row may be
//! inserted twice. A key whose rows were replaced may be loaded again, as the next generation of the key.

use serde_json::{Value, json};

use super::http::{Failure, Row, Session};
use super::sql::{literal, quoted};
use super::table::Table;
use crate::warehouse::{CommitKey, LEDGER_TABLE, LedgerRow, LoadError, LoadState};

/// The state of a load in the ledger, ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// All rows are in a stage, and belong into the table.
    Loaded,
    /// They are in the table.
    Moved,
    /// A later load has replaced them.
    Replaced,
}

/// A load as the ledger has it, and as a claim and a complete stage have it in their comments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: CommitKey,
    pub(super) generation: u64,
    /// The complete stage, by its name.
    pub(super) stage: String,
    pub(super) table: String,
    pub(super) run_id: Option<String>,
    pub(super) block: Option<i64>,
    pub(super) source: String,
    pub(super) mode: String,
    pub(super) plan: String,
    pub(super) rows: u64,
    pub(super) rejected: u64,
    pub(super) digest: String,
    /// Columns with another name in the table, as a JSON object.
    pub(super) columns: String,
    pub(super) version: String,
}

impl Entry {
    /// Returns its form for comments.
    pub(super) fn comment(&self) -> Value {
        json!({
            "drawoff load": self.key.as_str(), "generation": self.generation, "stage": self.stage, "table": self.table,
            "run_id": self.run_id, "block": self.block, "source": self.source, "mode": self.mode, "plan": self.plan,
            "rows": self.rows, "rejected": self.rejected, "digest": self.digest, "columns": self.columns,
            "drawoff": self.version,
        })
    }

    /// Reads a comment; `None` if it is of something else.
    pub(super) fn of_comment(comment: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(comment).ok()?;
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        Some(Entry {
            key: CommitKey::parse(&text("drawoff load")?)?,
            generation: value["generation"].as_u64()?,
            stage: text("stage")?,
            table: text("table")?,
            run_id: text("run_id"),
            block: value["block"].as_i64(),
            source: text("source")?,
            mode: text("mode")?,
            plan: text("plan")?,
            rows: value["rows"].as_u64()?,
            rejected: value["rejected"].as_u64()?,
            digest: text("digest")?,
            columns: text("columns")?,
            version: text("drawoff")?,
        })
    }
}

/// The ledger of the tables of one database.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    database: String,
}

/// The latest generation of a key.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) state: State,
    pub(super) entry: Entry,
    /// Time at which the rows had moved.
    pub(super) loaded_at: String,
}

impl Known {
    pub(super) fn row(&self) -> LedgerRow {
        let entry = &self.entry;
        LedgerRow {
            key: entry.key.as_str().to_owned(),
            table: entry.table.clone(),
            run_id: entry.run_id.clone(),
            block: entry.block,
            source: entry.source.clone(),
            mode: entry.mode.clone(),
            plan: entry.plan.clone(),
            state: match self.state {
                State::Loaded => LoadState::Unfinished,
                State::Moved => LoadState::Loaded,
                State::Replaced => LoadState::Replaced,
            },
            set: None,
            progress: None,
            rows_there: None,
            rows: entry.rows,
            rejected: entry.rejected,
            digest: entry.digest.clone(),
            loaded_at: self.loaded_at.clone(),
            version: entry.version.clone(),
        }
    }
}

/// The columns of an entry in the order in which they are read, each the same in all rows of a load.
const COLUMNS: &str = "any(stage), any(table_name), any(run_id), any(block), any(source), any(mode), any(plan), any(rows), \
     any(rejected), any(digest), any(columns), any(drawoff), \
     formatDateTime(if(maxIf(at, state = 'moved') = toDateTime(0), max(at), minIf(at, state = 'moved')), \
     '%Y-%m-%dT%H:%i:%SZ', 'UTC')";

impl Ledger {
    pub(super) fn of_database(database: &str) -> Self {
        Ledger { database: database.to_owned() }
    }

    fn table(&self) -> String {
        format!("{}.{}", quoted(&self.database), quoted(LEDGER_TABLE))
    }

    pub(super) fn exists(&self, session: &Session) -> Result<bool, LoadError> {
        let count = session.number(&format!(
            "SELECT count() FROM system.tables WHERE database = {} AND name = {}",
            literal(&self.database),
            literal(LEDGER_TABLE)
        ))?;
        Ok(count > 0)
    }

    /// Makes the table if it is missing.
    pub(super) fn create(&self, session: &Session) -> Result<(), LoadError> {
        // Asked first, because the statement below needs the right to create tables even if there is one.
        if self.exists(session)? {
            return Ok(());
        }
        session.execute(&format!(
            "CREATE TABLE IF NOT EXISTS {} (commit_key String, generation UInt32, \
             state Enum8('loaded' = 1, 'moved' = 2, 'replaced' = 3), table_name String, run_id Nullable(String), \
             block Nullable(Int64), source String, mode String, plan String, rows UInt64, rejected UInt64, digest String, \
             columns String, stage String, drawoff String, at DateTime('UTC') DEFAULT now()) \
             ENGINE = MergeTree ORDER BY (commit_key, generation) \
             COMMENT 'Loads of drawoff. The greatest state of each key and generation counts.'",
            self.table()
        ))
    }

    /// Enters a state of a load.
    pub(super) fn enter(&self, session: &Session, entry: &Entry, state: State) -> Result<(), LoadError> {
        let state = match state {
            State::Loaded => "loaded",
            State::Moved => "moved",
            State::Replaced => "replaced",
        };
        // A NULL in the expression is one of the column: `input_format_null_as_default` does not matter to these types.
        session.execute(&format!(
            "INSERT INTO {} (commit_key, generation, state, table_name, run_id, block, source, mode, plan, rows, rejected, \
             digest, columns, stage, drawoff) SETTINGS async_insert = 0, insert_deduplicate = 0 \
             VALUES ({}, {}, '{state}', {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {})",
            self.table(),
            literal(entry.key.as_str()),
            entry.generation,
            literal(&entry.table),
            entry.run_id.as_deref().map_or("NULL".to_owned(), literal),
            entry.block.map_or("NULL".to_owned(), |block| block.to_string()),
            literal(&entry.source),
            literal(&entry.mode),
            literal(&entry.plan),
            entry.rows,
            entry.rejected,
            literal(&entry.digest),
            literal(&entry.columns),
            literal(&entry.stage),
            literal(&entry.version),
        ))
    }

    /// Returns the latest generation of a key.
    pub(super) fn latest(&self, session: &Session, key: &CommitKey) -> Result<Option<Known>, LoadError> {
        let condition = format!("commit_key = {}", literal(key.as_str()));
        let known = self.select(session, &condition, "ORDER BY generation DESC LIMIT 1")?;
        Ok(known.into_iter().next())
    }

    /// Returns a generation of a key.
    pub(super) fn find(&self, session: &Session, key: &CommitKey, generation: u64) -> Result<Option<Known>, LoadError> {
        let condition = format!("commit_key = {} AND generation = {generation}", literal(key.as_str()));
        Ok(self.select(session, &condition, "")?.into_iter().next())
    }

    /// Returns the loads of a table that stand there, or all of the ledger.
    pub(super) fn list(&self, session: &Session, table: Option<&str>) -> Result<Vec<Known>, LoadError> {
        let condition = table.map_or("1".to_owned(), |table| format!("table_name = {}", literal(table)));
        self.select(session, &condition, "ORDER BY max(at) DESC, commit_key")
    }

    fn select(&self, session: &Session, condition: &str, order: &str) -> Result<Vec<Known>, LoadError> {
        let rows = session.try_rows(&format!(
            "SELECT commit_key, generation, toString(max(state)), {COLUMNS} FROM {} WHERE {condition} \
             GROUP BY commit_key, generation {order}",
            self.table()
        ));
        let rows = rows.map_err(|failure: Failure| session.error(failure))?;
        rows.iter()
            .map(read)
            .collect::<Option<_>>()
            .ok_or_else(|| LoadError::Bug("the ledger has a row of no load".into()))
    }

    /// Returns the ledgers of the databases that the user sees.
    pub(super) fn all(session: &Session) -> Result<Vec<Ledger>, LoadError> {
        let rows = session.rows(&format!(
            "SELECT database FROM system.tables WHERE name = {} ORDER BY database",
            literal(LEDGER_TABLE)
        ))?;
        Ok(rows.iter().map(|row| Ledger::of_database(&row.text(0))).collect())
    }
}

fn read(row: &Row) -> Option<Known> {
    let state = match row.text(2).as_str() {
        "loaded" => State::Loaded,
        "moved" => State::Moved,
        "replaced" => State::Replaced,
        _ => return None,
    };
    let entry = Entry {
        key: CommitKey::parse(&row.text(0))?,
        generation: row.number(1)?,
        stage: row.text(3),
        table: row.text(4),
        run_id: row.optional(5),
        block: row.optional(6).and_then(|block| block.parse().ok()),
        source: row.text(7),
        mode: row.text(8),
        plan: row.text(9),
        rows: row.number(10)?,
        rejected: row.number(11)?,
        digest: row.text(12),
        columns: row.text(13),
        version: row.text(14),
    };
    Some(Known { state, entry, loaded_at: row.text(15) })
}

/// Returns the entry in the comment of a table; `None` if there is no such table.
pub(super) fn entry_of(session: &Session, table: &Table, name: &str) -> Result<Option<Entry>, LoadError> {
    let rows = session.rows(&format!(
        "SELECT comment FROM system.tables WHERE database = {} AND name = {}",
        literal(&table.database),
        literal(name)
    ))?;
    Ok(rows.first().and_then(|row| Entry::of_comment(&row.text(0))))
}
