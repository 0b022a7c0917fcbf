//! Loads of staged files over the interfaces of the warehouses: looks for the key, executes the statements, and asks again
//! where an answer was lost.
//!
//! Snowflake records a load in the transaction of its rows. The others have no such transaction: the table of loads first
//! gets a [`Claim`] with the names of the files, then the table gets the rows, by what the service repeats without effect (the
//! id of a job, the names of files), and then the claim is marked as loaded. A command that finds a claim finishes that load,
//! with its files, and begins none of its own.
//!
//! Its owner takes a claim back when the service has refused the copy. It must not while another command copies the same files:
//! the owner's next command would begin anew, and the rows be there twice. So a command that finds a claim marks it as taken up
//! first, which the owner's statement then misses.

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::bigquery::Job;
use super::http::{CallError, Http, without_values};
use super::ledger::{
    Claim, CopyEntry, LOADED, LOADING, MISCOUNTED, TAKEN_UP, count_loads, create_ledger, delete_loads, drop_claim,
    end_claim, merge_claim, merge_entry, select_load, take_up_claim,
};
use super::names::CloudTable;
use super::rows::{LOOK_FIRST, Rows, StatementError, failed_guard, is_conflict, is_denied, uuid_of};
use super::script::{
    CopyLoad, LOADED_ALREADY, add_columns, copy_script, create_tables, databricks_copies, job_uris, select_columns,
};
use super::settings::CloudSettings;
use super::stage::StagedFiles;
use super::system::CloudSystem;
use super::{bigquery, databricks, snowflake};
use crate::warehouse::{LedgerRow, LoadError, LoadState, Widening};

/// Times that a statement of the table of loads is sent which another load's was in the way of.
const MAX_CONFLICTS: u32 = 6;

/// Half of the time before the first repetition of such a statement; it doubles with each.
const CONFLICT_WAIT: Duration = Duration::from_millis(200);

/// The help where a statement was refused behind others of the load.
const THE_REST: &str = "change the table so that it takes these rows, and run the same command again: it copies the rest; or \
     delete the rows that are there, and load all of them under another key";

/// The outcome of a load of staged files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloudOutcome {
    /// The rows are in the table.
    Loaded,
    /// An earlier load has the same key.
    Already(Box<LedgerRow>),
}

/// A load that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundLoad {
    /// The load, whose rows are in the table.
    pub row: LedgerRow,
    /// True if it was finished just now: an earlier command had staged its files, and not recorded it.
    pub finished_now: bool,
}

/// A row of the table of loads.
struct Recorded {
    row: LedgerRow,
    state: String,
    /// The beginning of the load; `None` where rows and record are one transaction.
    claim: Option<Claim>,
}

/// A warehouse, with a table for messages. Its methods are safe to drop: what was sent goes on in the warehouse, and the same
/// load by a later command finds it.
pub struct CloudClient {
    http: Http,
    table: CloudTable,
    /// Tells the requests of this client from those of others: letters, digits and hyphens.
    attempt: String,
    /// Number of statements so far. Each has an id of its own, which all sendings of it share: the services answer an id that
    /// they know with what they answered then.
    statements: AtomicU64,
}

impl CloudClient {
    /// Makes a client. Nothing is sent.
    pub fn new(settings: &CloudSettings, table: &CloudTable) -> Result<Self, LoadError> {
        let name = format!("{} of {}", table.shown(), settings.name());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let random = std::hash::RandomState::new().build_hasher().finish();
        let attempt = uuid_of(&[&std::process::id().to_string(), &now.as_nanos().to_string(), &random.to_string()]);
        Ok(CloudClient {
            http: Http::new(settings, name)?,
            table: table.clone(),
            attempt,
            statements: AtomicU64::new(0),
        })
    }

    /// Returns the name of the table, without secrets.
    pub fn name(&self) -> &str {
        self.http.table()
    }

    /// Returns the load with this key, whose rows are in the table; `None` if there is none, or no table of loads. A load that
    /// an earlier command has begun is finished.
    pub async fn find_load(&self, key: &str) -> Result<Option<FoundLoad>, LoadError> {
        let location = self.location().await.map_err(|error| self.error(error, false))?;
        match self.find(&location, key).await? {
            None => Ok(None),
            Some(recorded) => self.finished(&location, recorded).await.map(Some),
        }
    }

    /// Returns a recorded load, finished where it was not.
    async fn finished(&self, location: &str, recorded: Recorded) -> Result<FoundLoad, LoadError> {
        let Recorded { row, state, claim } = recorded;
        match (&*state, claim) {
            (LOADED, _) => {
                if row.rows > 0 {
                    self.require_table(location).await?;
                }
                Ok(FoundLoad { row, finished_now: false })
            }
            (MISCOUNTED, _) => {
                Err(LoadError::RowCountKept { table: self.name().to_owned(), sent: row.rows, found: None })
            }
            (LOADING | TAKEN_UP, Some(claim)) => {
                if state == LOADING && !self.take_up(location, &row.key, &claim).await? {
                    return Ok(FoundLoad { row, finished_now: false });
                }
                self.copy(location, &entry_of(&row), &claim).await?;
                Ok(FoundLoad { row, finished_now: true })
            }
            _ => {
                let text =
                    format!("the record of this load in `_drawoff_loads` has the unknown state `{state}`, or claim");
                let hint = "another version of drawoff has begun the load: finish it by that one; or look whether its rows \
                            are in the table, and set its state to `loaded` if they are, or delete its record";
                Err(self.http.refused(text, Some(hint.to_owned())))
            }
        }
    }

    /// Takes up the claim of another command, so that it does not take it back. Returns false if the load was finished
    /// meanwhile.
    async fn take_up(&self, location: &str, key: &str, claim: &Claim) -> Result<bool, LoadError> {
        let taken = self.change(location, &take_up_claim(&self.table, key, claim)).await;
        taken.map_err(|error| self.error(error, false))?;
        match self.find(location, key).await? {
            Some(recorded) if recorded.state == LOADED => Ok(false),
            Some(recorded) if recorded.claim.as_ref() == Some(claim) && recorded.state == TAKEN_UP => Ok(true),
            _ => Err(self.http.transient("the command that had begun this load has taken it back".to_owned())),
        }
    }

    async fn find(&self, location: &str, key: &str) -> Result<Option<Recorded>, LoadError> {
        match self.query(location, &select_load(&self.table, key)).await {
            Ok(rows) => Ok(rows.0.into_iter().next().map(recorded)),
            Err(StatementError::NoObject(_)) => Ok(None),
            Err(error) => Err(self.error(error, false)),
        }
    }

    /// Puts the rows of staged files into the table, once.
    pub async fn load(&self, load: &CopyLoad<'_>) -> Result<CloudOutcome, LoadError> {
        let location = &*self.location().await.map_err(|error| self.error(error, false))?;
        let key = &*load.entry.key;
        match self.table.system() {
            _ if load.has_no_rows() => {
                self.change(location, &create_ledger(load.table)).await.map_err(|error| self.error(error, false))?;
                self.change(location, &merge_entry(load.table, load.entry))
                    .await
                    .map_err(|error| self.error(error, true))?;
                Ok(CloudOutcome::Loaded)
            }
            CloudSystem::Snowflake => match self.snowflake(load).await {
                // What is in the table of loads tells how a load ended whose answer was lost.
                Err(error @ LoadError::Unknown { .. }) => match self.find(location, key).await {
                    Ok(Some(_)) => Ok(CloudOutcome::Loaded),
                    _ => Err(error),
                },
                done => done,
            },
            CloudSystem::BigQuery | CloudSystem::Databricks => self.claimed(location, load).await,
            CloudSystem::Redshift => Err(LoadError::Unsupported {
                table: self.name().to_owned(),
                what: "the statements of Redshift are printed only".to_owned(),
                hint: None,
            }),
        }
    }

    async fn snowflake(&self, load: &CopyLoad<'_>) -> Result<CloudOutcome, LoadError> {
        let execute = async |statements: &[String]| snowflake::execute(&self.http, statements, &self.next_id()).await;
        // A user who may only insert has no right to these statements, and needs none where all is there.
        let ledger = execute(&[select_load(load.table, &load.entry.key)]).await;
        let mut before = Vec::new();
        match ledger {
            Ok(_) => {}
            Err(StatementError::NoObject(_)) => before.push(create_ledger(load.table)),
            Err(error) => return Err(self.error(error, false)),
        }
        let known = execute(&[select_columns(load.table)]).await.map_err(|error| self.error(error, false))?;
        let known: Vec<String> = known.0.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
        // COPY finds columns in any case.
        let is_known = |name: &str| known.iter().any(|known| known.to_uppercase() == name.to_uppercase());
        let missing: Vec<_> = load.columns.iter().filter(|column| !is_known(&column.name)).collect();
        if known.is_empty() {
            self.require_table("").await?;
            before.extend(create_tables(load).pop());
        } else if !missing.is_empty() && load.widening == Widening::Evolve {
            before.push(add_columns(load.table, missing));
        }
        for statement in before {
            execute(&[statement]).await.map_err(|error| self.error(error, false))?;
        }
        match execute(&copy_script(load)?.load).await {
            Ok(_) => Ok(CloudOutcome::Loaded),
            Err(StatementError::Refused { text, .. }) if failed_guard(&text) == Some(LOADED_ALREADY) => {
                match self.find("", &load.entry.key).await? {
                    Some(recorded) => Ok(CloudOutcome::Already(Box::new(recorded.row))),
                    None => Err(self.http.transient("another load of the same rows has ended meanwhile".to_owned())),
                }
            }
            Err(error) => Err(self.error(error, true)),
        }
    }

    /// Records the load as begun, unless another command has, and finishes what is recorded then.
    async fn claimed(&self, location: &str, load: &CopyLoad<'_>) -> Result<CloudOutcome, LoadError> {
        self.require_table(location).await?;
        for statement in create_tables(load) {
            self.change(location, &statement).await.map_err(|error| self.error(error, false))?;
        }
        let claim = Claim {
            attempt: self.attempt.clone(),
            stage: load.stage.clone(),
            files: StagedFiles::of(load.files),
            adds_columns: load.widening == Widening::Evolve,
        };
        let claimed = self.change(location, &merge_claim(load.table, load.entry, &claim)).await;
        // Nothing is copied without a claim: whatever became of it, no row is in the table.
        claimed.map_err(|error| self.error(error, false))?;
        match self.find(location, &load.entry.key).await? {
            Some(recorded) if recorded.claim.as_ref() != Some(&claim) => {
                let found = self.finished(location, recorded).await?;
                Ok(CloudOutcome::Already(Box::new(found.row)))
            }
            Some(Recorded { row, .. }) => {
                self.copy(location, &entry_of(&row), &claim).await.map(|()| CloudOutcome::Loaded)
            }
            None => Err(self.http.transient("the record of this load was removed meanwhile".to_owned())),
        }
    }

    /// Copies the files of a claim, or finds that they are copied, and records that.
    async fn copy(&self, location: &str, entry: &CopyEntry, claim: &Claim) -> Result<(), LoadError> {
        let (key, rows, is_ours) = (&*entry.key, entry.rows, claim.attempt == self.attempt);
        let unknown = |cause: String| LoadError::Unknown { table: self.name().to_owned(), cause };
        let copied = match self.table.system() {
            CloudSystem::BigQuery => {
                let uris = job_uris(&claim.stage, &claim.files);
                let job = Job {
                    location,
                    table: &self.table,
                    key,
                    claimed_by: &claim.attempt,
                    uris: &uris,
                    adds_columns: claim.adds_columns,
                };
                bigquery::load(&self.http, &job, &self.attempt).await.map(|(rows, _)| rows)
            }
            _ => self.copy_files(claim, rows, is_ours).await,
        };
        let found = match copied {
            Ok(found) => found,
            Err(error) => return self.not_copied(location, key, claim, error).await,
        };
        let state = if found == rows { LOADED } else { MISCOUNTED };
        if let Err(error) = self.change(location, &end_claim(&self.table, entry, claim, state)).await {
            return Err(match self.error(error, true) {
                LoadError::Refused { cause, .. } | LoadError::Connect { cause, .. } => unknown(cause),
                error => error,
            });
        }
        // It changes nothing where another load has the key now.
        let recorded = self.find(location, key).await.map_err(|error| unknown(error.to_string()))?;
        match recorded {
            Some(recorded) if recorded.state == MISCOUNTED => {
                Err(LoadError::RowCountKept { table: self.name().to_owned(), sent: rows, found: Some(found) })
            }
            Some(recorded) if recorded.state == LOADED && recorded.claim.as_ref() == Some(claim) => Ok(()),
            _ => Err(unknown(
                "the rows are copied, and another load has the same key: see whether they are in the table twice"
                    .to_owned(),
            )),
        }
    }

    /// Ends a copy that has failed: its owner takes the claim back if no row is in the table. Fails unless another command has
    /// finished the load.
    async fn not_copied(
        &self,
        location: &str,
        key: &str,
        claim: &Claim,
        error: StatementError,
    ) -> Result<(), LoadError> {
        let hint = match &error {
            StatementError::NoObject(_) | StatementError::Refused { .. } if claim.attempt == self.attempt => {
                // The next command begins anew. If this fails, it goes on with the same files, which is as good.
                let _ = self.change(location, &drop_claim(&self.table, key, claim)).await;
                return Err(self.error(error, true));
            }
            StatementError::Refused { text, .. } if is_conflict(text) => return Err(self.error(error, true)),
            StatementError::Refused { code, text } if is_denied(code, text) => {
                "another command has begun this load: give this user the right to read its files and to change the table, and \
                 run the same command again, which finishes it"
            }
            StatementError::NoObject(_) | StatementError::Refused { .. } => LOOK_FIRST,
            StatementError::Kept { .. } => return Err(self.error(error, true)),
            StatementError::Call(_) => {
                let recorded = self.find(location, key).await.ok().flatten();
                let is_done = |recorded: Recorded| recorded.state == LOADED && recorded.claim.as_ref() == Some(claim);
                return match recorded.is_some_and(is_done) {
                    true => Ok(()),
                    false => Err(self.error(error, true)),
                };
            }
        };
        Err(match self.error(error, true) {
            LoadError::Refused { table, cause, is_transient, .. } => {
                LoadError::Refused { table, cause, hint: Some(hint.to_owned()), is_transient }
            }
            error => error,
        })
    }

    /// Fails if the table is missing, and loads of it are recorded.
    async fn require_table(&self, location: &str) -> Result<(), LoadError> {
        if !self.is_missing(location).await? {
            return Ok(());
        }
        let loads = match self.query(location, &count_loads(&self.table)).await {
            Ok(rows) => rows.number(0).unwrap_or_default(),
            Err(StatementError::NoObject(_)) => 0,
            Err(error) => return Err(self.error(error, false)),
        };
        // Another command may have made it, and loaded rows into it, since.
        if loads == 0 || !self.is_missing(location).await? {
            return Ok(());
        }
        let text = format!("the table is gone, and `_drawoff_loads` has loads into it, {loads} in number");
        let hint = format!(
            "restore the table; or execute `{}`, and load the rows again by the same commands",
            delete_loads(&self.table)
        );
        Err(self.http.refused(text, Some(hint)))
    }

    async fn is_missing(&self, location: &str) -> Result<bool, LoadError> {
        let missing = match self.table.system() {
            CloudSystem::BigQuery => bigquery::table_made_at(&self.http, &self.table).await.map(|_| false),
            CloudSystem::Databricks => {
                self.query(location, &format!("DESCRIBE TABLE {}", self.table.sql())).await.map(|_| false)
            }
            _ => self.query(location, &select_columns(&self.table)).await.map(|rows| rows.0.is_empty()),
        };
        match missing {
            Err(StatementError::NoObject(_)) => Ok(true),
            // A user may have the right to load alone.
            Err(StatementError::Refused { .. }) => Ok(false),
            missing => missing.map_err(|error| self.error(error, false)),
        }
    }

    /// Copies the files of a claim by Databricks, and returns the rows of all of them. Their names are those of this claim
    /// alone: files that are skipped were copied for it.
    async fn copy_files(&self, claim: &Claim, rows: u64, is_ours: bool) -> Result<u64, StatementError> {
        let lost = |what: &str| StatementError::Call(CallError::Lost(what.to_owned()));
        let (mut sum, mut skipped) = (0, false);
        let statements = databricks_copies(&self.table, &claim.stage, &claim.files, claim.adds_columns);
        for (i, statement) in statements.iter().enumerate() {
            let copied = self.copy_settled(statement).await;
            // The files of the statements before are there.
            let (result, is_repeated) = copied.map_err(|error| match error {
                StatementError::Refused { text, .. } | StatementError::NoObject(text) if i > 0 => {
                    let (of, text) = (statements.len(), without_values(&text));
                    let text =
                        format!("the rows of {i} of {of} statements are in the table; the next was refused: {text}");
                    StatementError::Kept { text, hint: THE_REST }
                }
                error => error,
            })?;
            match result.number(0) {
                Some(0) if rows > 0 && is_ours && !is_repeated => {
                    return Err(lost("the service copied none of the files, which another command may be doing"));
                }
                Some(0) => skipped = true,
                Some(found) => sum += found,
                None => return Err(lost("the service has not said how many rows it copied")),
            }
        }
        // The rows of skipped files were counted when they were copied, if that command lived to see it.
        Ok(if skipped && sum <= rows { rows } else { sum })
    }

    /// Executes a COPY. One that was refused is sent once more before that counts: the service may fail a statement after its
    /// commit, and says of the second then that no file was left to copy. Conflicts with other writers pass.
    async fn copy_settled(&self, statement: &str) -> Result<(Rows, bool), StatementError> {
        let (mut conflicts, mut refused) = (0, 0);
        loop {
            match databricks::execute_copy(&self.http, statement).await {
                Err(StatementError::Refused { text, .. }) if is_conflict(&text) && conflicts < MAX_CONFLICTS => {
                    conflicts += 1;
                    tokio::time::sleep(CONFLICT_WAIT * 2_u32.pow(conflicts)).await;
                }
                Err(StatementError::Refused { .. }) if refused == 0 => refused += 1,
                Err(StatementError::Refused { code, text }) if !databricks::has_done_nothing(&code, &text) => {
                    return Err(StatementError::Refused { code, text }.perhaps_executed());
                }
                done => return done.map(|(rows, is_repeated)| (rows, is_repeated || conflicts + refused > 0)),
            }
        }
    }

    /// Executes a statement that changes the table of loads, again where another load's was in its way.
    async fn change(&self, location: &str, statement: &str) -> Result<Rows, StatementError> {
        let mut conflicts = 0;
        loop {
            match self.query(location, statement).await {
                Err(StatementError::Refused { text, .. }) if is_conflict(&text) && conflicts < MAX_CONFLICTS => {
                    conflicts += 1;
                    tokio::time::sleep(CONFLICT_WAIT * 2_u32.pow(conflicts)).await;
                }
                done => return done,
            }
        }
    }

    async fn location(&self) -> Result<String, StatementError> {
        match self.table.system() {
            CloudSystem::BigQuery => bigquery::location(&self.http, &self.table).await,
            _ => Ok(String::new()),
        }
    }

    async fn query(&self, location: &str, statement: &str) -> Result<Rows, StatementError> {
        match self.table.system() {
            CloudSystem::BigQuery => bigquery::query(&self.http, location, statement, &self.next_id()).await,
            CloudSystem::Databricks => databricks::execute(&self.http, statement).await,
            _ => snowflake::execute(&self.http, &[statement.to_owned()], &self.next_id()).await,
        }
    }

    /// Returns the text that the id of the next statement is made of.
    fn next_id(&self) -> String {
        format!("{} {}", self.attempt, self.statements.fetch_add(1, Ordering::Relaxed))
    }

    /// Makes the error of a statement; `puts_rows` for one that may have put rows into the table.
    fn error(&self, error: StatementError, puts_rows: bool) -> LoadError {
        match error {
            StatementError::Call(CallError::Load(error)) => error,
            StatementError::Call(CallError::Lost(cause)) if puts_rows => {
                LoadError::Unknown { table: self.name().to_owned(), cause }
            }
            StatementError::Call(CallError::Lost(cause)) => {
                LoadError::Connect { target: self.http.settings.name(), cause, hint: None, is_transient: true }
            }
            StatementError::NoObject(text) => {
                let hint = "create the database, schema or dataset first, or give the user a right to it".to_owned();
                self.http.refused(text, Some(hint))
            }
            StatementError::Kept { text, hint } => self.http.refused(text, Some(hint.to_owned())),
            StatementError::Refused { text, .. } if is_conflict(&text) => self.http.transient(without_values(&text)),
            StatementError::Refused { code, text } => {
                let text = match failed_guard(&text) {
                    Some(guard) => guard.to_owned(),
                    None if puts_rows => without_values(&text),
                    None => text,
                };
                let text = if code.is_empty() { text } else { format!("{text} ({code})") };
                self.http.refused(text, None)
            }
        }
    }
}

/// Returns the facts of a load as they are recorded.
fn entry_of(row: &LedgerRow) -> CopyEntry {
    CopyEntry {
        key: row.key.clone(),
        run_id: row.run_id.clone(),
        block: row.block,
        source: row.source.clone(),
        plan: row.plan.clone(),
        rows: row.rows,
        rejected: row.rejected,
    }
}

/// Reads a row of the table of loads.
fn recorded(row: Vec<Option<String>>) -> Recorded {
    let mut values = row.into_iter();
    let mut next = || values.next().flatten();
    let mut text = || next().unwrap_or_default();
    let (key, table) = (text(), text());
    let run_id = Some(text()).filter(|text| !text.is_empty());
    let block = text().parse().ok();
    let (source, mode, plan) = (text(), text(), text());
    let (rows, rejected) = (text().parse().unwrap_or_default(), text().parse().unwrap_or_default());
    let (loaded_at, version) = (text(), text());
    let (state, claim) = (text(), text());
    let row = LedgerRow {
        key,
        table,
        run_id,
        block,
        source,
        mode,
        plan,
        state: LoadState::Loaded,
        set: None,
        progress: None,
        rows_there: None,
        rows,
        rejected,
        digest: String::new(),
        loaded_at,
        version,
    };
    Recorded { row, state, claim: serde_json::from_str(&claim).ok() }
}
