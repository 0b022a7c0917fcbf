//! One load: a transaction with the row of the ledger, the rows, and the changes of the table.
//!
//! ```text
//! BEGIN; claim the key ─► COPY into the table ────────────────────────────► ledger; COMMIT
//!                     └─► COPY into stages ─► ALTER TABLE; INSERT … SELECT ─┘
//! ```
//!
//! Rows go straight into the table where it is new or takes them as they are. They go into a temporary table, a stage,
//! from the first row on that needs a change of the table: the change locks readers out, so it comes last. Rows whose
//! columns have other types than those of a stage begin the next one. A key that is known at the end is claimed there.

mod complete;
mod copying;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_postgres::CopyInSink;

use super::copy::{CopyEncoder, RespelledColumns};
use super::layout::{Layout, LoadColumn, MAX_NAME_BYTES, Mapping, column_name};
use super::ledger::{Claim, Completion, Entry, Ledger};
use super::new_table::Growth;
use super::session::Session;
use super::settings::Settings;
use super::stage::Stage;
use super::table::Table;
use super::types::{ColumnType, Wire};
use crate::column::{Schema, TypeMerge};
use crate::sink::UploadControl;
use crate::warehouse::claims::{EarlierRows, LedgerChunk};
use crate::warehouse::defaults::{DefaultUse, FirstColumns};
use crate::warehouse::earlier::Replaceable;
use crate::warehouse::names::renamed_columns;
use crate::warehouse::{
    Begun, CommitKey, Committed, LedgerRow, LoadClaim, LoadEnd, LoadError, LoadMode, LoadProgress, LoadRequest,
    LoadRows, LoadSummary, Misfit, RowEncoder, TableLoad, TableTarget, Widening,
};

/// The column of a stage that numbers its rows, for a merge.
const ROW_NUMBER: &str = "_drawoff_n";

/// Interval at which a thread looks for a cancel.
const CANCEL_POLL: Duration = Duration::from_millis(20);

/// A load in an open transaction.
pub(super) struct PostgresLoad {
    settings: Settings,
    session: Session,
    target: TableTarget,
    ledger: Ledger,
    table: Table,
    /// The table as it is recorded: `schema.name`.
    recorded: String,
    /// The table in SQL.
    sql_name: String,
    encoder: Arc<CopyEncoder>,
    type_merge: TypeMerge,
    /// True if the load may begin again with the types of all records.
    may_start_over: bool,
    /// New columns of which rows were sent as doubles, and those of which rows were sent as JSON.
    sent_doubles: BTreeSet<Arc<str>>,
    sent_json: BTreeSet<Arc<str>>,
    growth: Growth,
    /// The columns of the table that this load made, with their types; `None` for a table that was there.
    made: Option<Vec<(Arc<str>, String)>>,
    is_created: bool,
    /// The key, if it is claimed.
    key: Option<CommitKey>,
    /// The earlier loads of the key whose rows give way.
    replaced: Vec<EarlierRows>,
    /// The chunks of the load that the table has.
    progress: LoadProgress,
    /// True if the table was there and gets the column for the commit key.
    adds_load_column: bool,
    /// True if rows of the load went straight into the table.
    has_straight_rows: bool,
    /// True if the server decides row by row what may be written, and so takes no COPY.
    has_row_policies: bool,
    /// The columns of the table with a default that the first columns lack. Once a row has a value in one, rows without have
    /// null.
    defaults: DefaultUse,
    open: Option<OpenCopy>,
    stages: Vec<Stage>,
    last_layout: Option<(Arc<Schema>, Layout)>,
    rows_sent: u64,
    rows_counted: u64,
    bytes: u64,
    notes: Vec<String>,
    /// Set by `finish`: an earlier load that had the key.
    already: Option<LedgerRow>,
}

/// A COPY that is under way.
struct OpenCopy {
    sink: Pin<Box<CopyInSink<Bytes>>>,
    layout: Layout,
    /// Index of the stage that takes the rows; `None` if they go into the table.
    stage: Option<usize>,
}

impl PostgresLoad {
    /// Connects and begins the transaction.
    pub(super) fn begin(settings: &Settings, request: &LoadRequest<'_>) -> Result<Begun, LoadError> {
        let target = request.target;
        let session = Session::open(settings, target.name(), &request.cancel)?;
        // Statements that a killed client left behind a pooler may have our names.
        session.execute("DEALLOCATE ALL")?;
        let table = Table::find(&session, &target.table)?;
        let ledger = Ledger::of_schema(&table.schema);
        let needs_details = !target.identity.members.is_empty() || target.commit_every.is_some();
        ledger.create(&session, needs_details)?;
        // The server's limits for idle sessions and long statements are not for a load that waits for its source.
        // Each statement is to see what other loads have committed, whatever the default of the user or the database is.
        session.execute(
            "BEGIN; SET LOCAL transaction_isolation = 'read committed'; SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL statement_timeout = 0; \
             SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO'; SET LOCAL synchronize_seqscans = off; \
             SET LOCAL standard_conforming_strings = on",
        )?;
        let recorded = table.recorded();
        let key = target.identity.key_before(&recorded);
        let (mut replaced, mut progress) = (Vec::new(), LoadProgress::default());
        // For another load of the key, or of the same new table.
        let wait = request.cancel.may_wait_for(session.table());
        // Loads that make the same table take turns, before they claim anything: the one that makes it marks the loads of an
        // earlier table of this name, and would wait for others that wait for it.
        let lock = CommitKey::of(&["table", &recorded]);
        let lock = i64::from_str_radix(&lock.as_str()[..15], 16).unwrap_or_default();
        let wait_for_makers = || session.rows(&format!("SELECT pg_advisory_xact_lock({lock})")).map(drop);
        if table.columns(&session)?.is_none() {
            wait_for_makers()?;
        }
        if let Some(key) = &key {
            match claim(&ledger, &session, target, &recorded, key, target.again)? {
                Claim::Claimed { earlier, progress: known } => (replaced, progress) = (earlier, known),
                Claim::Loaded(mut row) => {
                    drop(wait);
                    session.execute("ROLLBACK")?;
                    table.look_for_rows(&session, target.load_column.as_deref(), &mut row);
                    return Ok(Begun::Loaded(row));
                }
            }
        }
        // After the claim, which may have waited for a load that changed the table. One that was dropped meanwhile is made.
        let mut columns = table.columns(&session)?;
        if columns.is_none() {
            wait_for_makers()?;
            columns = table.columns(&session)?;
        }
        drop(wait);
        let load_column_name = target.load_column.as_ref().map(column_name);
        let load_column = load_column_name
            .as_ref()
            .map(|name| LoadColumn { name: name.clone(), key: key.as_ref().map(|key| key.as_str().into()) });
        let made = columns.is_none().then(Vec::new);
        let is_there = |name: &Arc<str>| columns.iter().flatten().any(|column| column.name == *name);
        let adds_load_column = made.is_none() && load_column_name.as_ref().is_some_and(|name| !is_there(name));
        let has_row_policies = made.is_none() && table.has_row_policies(&session)?;
        let merge_key = match &target.mode {
            LoadMode::Merge { key } => key.iter().map(column_name).collect(),
            _ => Vec::new(),
        };
        let mapping = Mapping {
            table: columns,
            widening: request.widening,
            key: merge_key,
            nul: target.nul,
            load_column,
            first: FirstColumns::default(),
        };
        Ok(Begun::Load(Box::new(PostgresLoad {
            settings: settings.clone(),
            session,
            target: target.clone(),
            ledger,
            recorded,
            sql_name: table.sql(),
            table,
            encoder: Arc::new(CopyEncoder { mapping, table: target.name(), respelled: RespelledColumns::default() }),
            type_merge: request.type_merge,
            may_start_over: request.may_start_over,
            sent_doubles: BTreeSet::new(),
            sent_json: BTreeSet::new(),
            growth: Growth::default(),
            made,
            is_created: false,
            key,
            replaced,
            progress,
            adds_load_column,
            has_straight_rows: false,
            has_row_policies,
            defaults: DefaultUse::default(),
            open: None,
            stages: Vec::new(),
            last_layout: None,
            rows_sent: 0,
            rows_counted: 0,
            bytes: 0,
            notes: Vec::new(),
            already: None,
        })))
    }

    fn mapping(&self) -> &Mapping {
        &self.encoder.mapping
    }

    fn claims(&self, key: &CommitKey) -> Vec<LoadClaim> {
        self.target.identity.claims(&self.recorded, key)
    }

    fn misfits(&self, misfits: Vec<Misfit>) -> LoadError {
        LoadError::Misfits { table: self.session.table().to_owned(), misfits }
    }

    fn layout(&mut self, columns: &Arc<Schema>) -> Result<Layout, LoadError> {
        if let Some((known, layout)) = &self.last_layout
            && (Arc::ptr_eq(known, columns) || known == columns)
        {
            return Ok(layout.clone());
        }
        let layout = self.mapping().layout_of_rows(columns).map_err(|misfits| self.misfits(misfits))?;
        self.growth.seen = self.growth.seen.join(columns, self.type_merge);
        self.last_layout = Some((columns.clone(), layout.clone()));
        Ok(layout)
    }

    /// Returns the names of columns that differ from those of the rows, as a JSON object, and adds notes on them.
    fn renamed(&mut self, columns: &Schema) -> String {
        let names = self.mapping().names(columns).unwrap_or_default();
        let pairs = columns.fields.iter().map(|field| &field.name).zip(names);
        let (renamed, notes) = renamed_columns(pairs, MAX_NAME_BYTES);
        self.notes.extend(notes);
        renamed
    }

    /// Asks over a new connection whether the load was committed. Waits for a transaction that is still ending.
    fn was_committed(&self, key: &CommitKey, cancel: &UploadControl) -> Result<bool, LoadError> {
        let session = Session::open(&self.settings, self.session.table().to_owned(), cancel)?;
        session.execute("BEGIN")?;
        let claim = claim(&self.ledger, &session, &self.target, &self.recorded, key, false)?;
        session.execute("ROLLBACK")?;
        match claim {
            Claim::Loaded(_) => Ok(true),
            Claim::Claimed { progress, .. } => Ok(progress.chunks > self.progress.chunks),
        }
    }
}

impl TableLoad for PostgresLoad {
    fn progress(&self) -> LoadProgress {
        self.progress
    }

    fn encoder(&self) -> Arc<dyn RowEncoder> {
        self.encoder.clone()
    }

    fn check(&mut self, columns: &Schema, first: &Schema) -> Result<Vec<String>, LoadError> {
        self.mapping().first.set(self.mapping().names(first).unwrap_or_default());
        // Rows of an earlier chunk have had values of all kinds, and were judged by them.
        let layout = match self.progress.chunks {
            0 => self.mapping().first_layout(columns),
            _ => self.mapping().layout(columns),
        };
        let mut misfits = self.mapping().missing(columns);
        // A key that the rows lack.
        if let LoadMode::Merge { .. } = &self.target.mode {
            let names = self.mapping().names(columns).unwrap_or_default();
            let lacking = self.mapping().key.iter().filter(|key| !names.contains(key));
            misfits.extend(lacking.map(|key| Misfit {
                column: key.to_string(),
                what: "is a column of the key, and the rows do not have it".into(),
            }));
        }
        if let Some(LoadColumn { name, .. }) = &self.mapping().load_column {
            let table = self.mapping().table.as_ref();
            let known = table.and_then(|table| table.iter().find(|column| column.name == *name));
            let what = match known {
                Some(column) if !matches!(column.ty, ColumnType::Known(Wire::Text(None))) => {
                    Some(format!("is to have commit keys, which are text, and the table has {}", column.sql_type))
                }
                None if self.adds_load_column && self.mapping().widening == Widening::Fixed => {
                    Some("is to have commit keys, and is not in the table".to_owned())
                }
                _ => None,
            };
            misfits.extend(what.map(|what| Misfit { column: name.to_string(), what }));
        }
        match layout {
            Ok(layout) if misfits.is_empty() => {
                self.create_table(&layout)?;
                Ok(Vec::new())
            }
            Ok(_) => Err(self.misfits(misfits)),
            Err(others) => {
                misfits.extend(others);
                Err(self.misfits(misfits))
            }
        }
    }

    fn append(&mut self, rows: u64, encoded: LoadRows, columns: &Arc<Schema>) -> Result<Option<Vec<u8>>, LoadError> {
        let LoadRows::Bytes(bytes) = encoded else {
            return Err(LoadError::Bug("rows for COPY were not encoded as bytes".into()));
        };
        if columns.fields.is_empty() {
            return Err(LoadError::Unsupported {
                table: self.session.table().to_owned(),
                what: "the rows have no columns".into(),
                hint: None,
            });
        }
        let layout = self.layout(columns)?;
        let given = self.given_defaults(columns)?;
        if !given.is_empty() || self.open.as_ref().is_none_or(|open| open.layout != layout) {
            self.close_copy()?;
            self.unset_defaults(&given)?;
            self.check_spelling(&layout)?;
            let takes_straight_rows = self.takes_straight_rows();
            if let Some(made) = self.made.as_mut().filter(|_| self.is_created && takes_straight_rows) {
                let stages = &mut self.stages;
                self.growth.follow(&self.session, &self.sql_name, &self.encoder.mapping, self.bytes, made, stages)?;
            }
            self.open_copy(layout)?;
        }
        self.rows_sent += rows;
        self.send(bytes.into())?;
        Ok(None)
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }

    fn finish(&mut self, columns: &Schema, end: &LoadEnd) -> Result<(), LoadError> {
        self.close_copy()?;
        if self.rows_counted != end.rows {
            let table = self.session.table().to_owned();
            return Err(LoadError::RowCount { table, sent: end.rows, found: self.rows_counted });
        }
        let key = match self.key.clone() {
            Some(key) => key,
            None => {
                let key = self.target.identity.key_after(&self.recorded, end.digests.as_deref())?;
                // A table that this load has made has no rows of an earlier one.
                let is_new = self.made.is_some();
                let again = self.target.again || is_new;
                match claim(&self.ledger, &self.session, &self.target, &self.recorded, &key, again)? {
                    Claim::Claimed { earlier, .. } => self.replaced = if is_new { Vec::new() } else { earlier },
                    Claim::Loaded(row) => {
                        self.already = Some(row);
                        return Ok(());
                    }
                }
                self.key = Some(key.clone());
                key
            }
        };
        let layout = self.mapping().layout(columns).map_err(|misfits| self.misfits(misfits))?;
        self.check_spelling(&layout)?;
        self.note_respelled();
        let is_new = self.made.is_some();
        self.create_table(&layout)?;
        let types = self.widen(columns)?;
        self.reset_defaults()?;
        self.move_stages(&types, &key)?;
        if is_new {
            // Loads of an earlier table of this name went with it.
            self.ledger.replace_others(&self.session, &self.recorded, &self.claims(&key))?;
            self.notes.push(format!("created the table {}", self.recorded));
        }
        let renamed = self.renamed(columns);
        let (claims, plan) = (self.claims(&key), self.target.identity.plan_digest());
        let entry = Entry {
            claims: &claims,
            table: &self.recorded,
            mode: self.target.mode.as_str(),
            plan: &plan,
            replaceable: Replaceable::of(&self.target),
            in_chunks: end.chunk.is_some(),
        };
        let chunk = end.chunk.map(|chunk| {
            let after = self.progress.after(end.rows, &chunk);
            (LedgerChunk::between(&key, &self.progress, &after), after, end.rows, chunk.is_last)
        });
        let completion = Completion {
            claims: &claims,
            rows: self.progress.rows + end.rows,
            rejected: end.rejected,
            digest: &end.digest(),
            columns: &renamed,
            chunk,
        };
        self.ledger.complete(&self.session, &entry, &completion)
    }

    fn commit(self: Box<Self>) -> Result<Committed, LoadError> {
        if let Some(mut row) = self.already {
            self.session.execute("ROLLBACK")?;
            self.table.look_for_rows(&self.session, self.target.load_column.as_deref(), &mut row);
            return Ok(Committed::Already(row));
        }
        let key = self.key.clone().ok_or_else(|| LoadError::Bug("a load was committed before its end".into()))?;
        let committed = self.session.call(self.session.client().simple_query("COMMIT"));
        let summary = LoadSummary {
            table: self.session.table().to_owned(),
            key: key.clone(),
            rows: self.progress.rows + self.rows_counted,
            notes: self.notes.clone(),
        };
        match committed {
            Ok(_) => Ok(Committed::Loaded(summary)),
            // The server has refused the commit, such as for a deferred constraint: the rows are rolled back.
            Err(error @ LoadError::Refused { is_transient: false, .. }) => Err(error),
            // The response was lost, or not waited for: only the ledger knows.
            Err(error) => {
                let table = self.session.table().to_owned();
                match with_moment(self.session.cancel(), |control| self.was_committed(&key, control)) {
                    Ok(true) => Ok(Committed::Loaded(summary)),
                    Ok(false) => Err(error),
                    Err(cause) => Err(LoadError::Unknown { table, cause: cause.to_string() }),
                }
            }
        }
    }
}

/// Claims the rows of the ledger that a load with this key has.
fn claim(
    ledger: &Ledger,
    session: &Session,
    target: &TableTarget,
    recorded: &str,
    key: &CommitKey,
    again: bool,
) -> Result<Claim, LoadError> {
    let entry = Entry {
        claims: &target.identity.claims(recorded, key),
        table: recorded,
        mode: target.mode.as_str(),
        plan: &target.identity.plan_digest(),
        replaceable: Replaceable::of(target),
        in_chunks: target.commit_every.is_some(),
    };
    ledger.claim(session, &entry, again)
}

/// Time that is left for asking about a commit after a cancel.
const MOMENT: Duration = Duration::from_millis(1500);

/// Calls `work` with a control of its own, which is cancelled a moment after `cancel`: the outcome of a commit is still to be
/// known, but a server that does not respond must not hold up the end of the command.
fn with_moment<T>(cancel: &UploadControl, work: impl FnOnce(&UploadControl) -> T) -> T {
    let (own, is_done) = (UploadControl::default(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut cancelled_at = None;
            while !is_done.load(Ordering::Relaxed) && !own.is_cancelled() {
                if cancel.is_cancelled() && cancelled_at.get_or_insert_with(Instant::now).elapsed() >= MOMENT {
                    own.cancel();
                }
                thread::sleep(CANCEL_POLL);
            }
        });
        let done = work(&own);
        is_done.store(true, Ordering::Relaxed);
        done
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancel_leaves_a_moment_and_no_more() {
        let cancel = UploadControl::default();
        assert!(with_moment(&cancel, |own| !own.is_cancelled()));
        cancel.cancel();
        // Without an end this waits for ever.
        with_moment(&cancel, |own| {
            while !own.is_cancelled() {
                thread::sleep(CANCEL_POLL);
            }
        });
    }
}
