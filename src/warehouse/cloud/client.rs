//! Loads of staged files over the interfaces of the warehouses: looks for the key, executes the statements, and asks again
//! where an answer was lost.

use std::time::{SystemTime, UNIX_EPOCH};

use super::http::{CallError, Http};
use super::names::CloudTable;
use super::rows::{Rows, StatementError, failed_guard, without_values};
use super::script::{
    CopyLoad, CopyScript, LOADED_ALREADY, copy_script, create_tables, job_uris, merge_entry, select_load,
};
use super::settings::CloudSettings;
use super::system::CloudSystem;
use super::{bigquery, databricks, snowflake};
use crate::warehouse::{LedgerRow, LoadError, LoadState, Widening};

/// The outcome of a load of staged files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloudOutcome {
    /// The rows are in the table.
    Loaded {
        /// True if an earlier attempt had put them there without recording it.
        was_there: bool,
    },
    /// An earlier load has the same key.
    Already(Box<LedgerRow>),
}

/// The end of the statements of a load.
enum Done {
    Loaded { was_there: bool },
    Already,
}

/// A warehouse, with a table for messages. Its methods are safe to drop: what was sent goes on in the warehouse, and the same
/// load by a later command finds it.
pub struct CloudClient {
    http: Http,
    table: CloudTable,
    /// Tells the requests of this client from those of others.
    attempt: String,
}

impl CloudClient {
    /// Makes a client. Nothing is sent.
    pub fn new(settings: &CloudSettings, table: &CloudTable) -> Result<Self, LoadError> {
        let name = format!("{} of {}", table.shown(), settings.name());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let attempt = format!("{} {}", std::process::id(), now.as_nanos());
        Ok(CloudClient { http: Http::new(settings, name)?, table: table.clone(), attempt })
    }

    /// Returns the name of the table, without secrets.
    pub fn name(&self) -> &str {
        self.http.table()
    }

    /// Returns the load with this key; `None` if there is none, or no table of loads.
    pub async fn find_load(&self, key: &str) -> Result<Option<LedgerRow>, LoadError> {
        let location = self.location().await.map_err(|error| self.error(error, false))?;
        self.find(&location, key).await
    }

    async fn find(&self, location: &str, key: &str) -> Result<Option<LedgerRow>, LoadError> {
        match self.query(location, &select_load(&self.table, key)).await {
            Ok(rows) => Ok(rows.0.into_iter().next().map(ledger_row)),
            Err(StatementError::NoObject(_)) => Ok(None),
            Err(error) => Err(self.error(error, false)),
        }
    }

    /// Puts the rows of staged files into the table, once.
    pub async fn load(&self, load: &CopyLoad<'_>) -> Result<CloudOutcome, LoadError> {
        let location = self.location().await.map_err(|error| self.error(error, false))?;
        let key = &*load.entry.key;
        let done = match self.table.system() {
            CloudSystem::Snowflake => self.snowflake(&copy_script(load)?).await,
            CloudSystem::BigQuery => self.bigquery(&location, load).await,
            CloudSystem::Databricks => self.databricks(load, &copy_script(load)?).await,
            CloudSystem::Redshift => Err(LoadError::Unsupported {
                table: self.name().to_owned(),
                what: "the statements of Redshift are printed only".to_owned(),
                hint: None,
            }),
        };
        match done {
            Ok(Done::Loaded { was_there }) => Ok(CloudOutcome::Loaded { was_there }),
            Ok(Done::Already) => match self.find(&location, key).await? {
                Some(row) => Ok(CloudOutcome::Already(Box::new(row))),
                None => Err(self.http.transient("another load of the same rows has ended meanwhile".to_owned())),
            },
            // What is in the table of loads tells how a load ended whose answer was lost.
            Err(LoadError::Unknown { table, cause }) => match self.find(&location, key).await {
                Ok(Some(_)) => Ok(CloudOutcome::Loaded { was_there: false }),
                _ => Err(LoadError::Unknown { table, cause }),
            },
            Err(error) => Err(error),
        }
    }

    async fn snowflake(&self, script: &CopyScript) -> Result<Done, LoadError> {
        for statement in &script.before {
            let executed = snowflake::execute(&self.http, std::slice::from_ref(statement), &self.attempt).await;
            executed.map_err(|error| self.error(error, false))?;
        }
        match snowflake::execute(&self.http, &script.load, &self.attempt).await {
            Ok(_) => Ok(Done::Loaded { was_there: false }),
            Err(StatementError::Refused { text, .. }) if failed_guard(&text) == Some(LOADED_ALREADY) => {
                Ok(Done::Already)
            }
            Err(error) => Err(self.error(error, true)),
        }
    }

    async fn bigquery(&self, location: &str, load: &CopyLoad<'_>) -> Result<Done, LoadError> {
        // Files are loaded by a job, which adds columns, too.
        for statement in create_tables(load) {
            self.query(location, &statement).await.map_err(|error| self.error(error, false))?;
        }
        let (key, uris) = (&*load.entry.key, job_uris(load));
        let adds_columns = load.widening == Widening::Evolve;
        let loaded = bigquery::load(&self.http, location, &self.table, key, &uris, adds_columns).await;
        let (rows, was_there) = loaded.map_err(|error| self.error(error, true))?;
        self.check_rows(load, rows)?;
        self.query(location, &merge_entry(load)).await.map_err(|error| self.error(error, true))?;
        Ok(Done::Loaded { was_there })
    }

    async fn databricks(&self, load: &CopyLoad<'_>, script: &CopyScript) -> Result<Done, LoadError> {
        let mut was_there = false;
        for statement in &script.before {
            databricks::execute(&self.http, statement).await.map_err(|error| self.error(error, false))?;
        }
        for statement in &script.load {
            let result = databricks::execute(&self.http, statement).await.map_err(|error| self.error(error, true))?;
            // None of an earlier attempt at this load, whose files have the same names. Checked before it is recorded.
            let rows = result.number(0).unwrap_or_default();
            if statement.starts_with("COPY INTO") {
                was_there = rows == 0 && load.entry.rows > 0;
                if !was_there {
                    self.check_rows(load, rows)?;
                }
            }
        }
        Ok(Done::Loaded { was_there })
    }

    fn check_rows(&self, load: &CopyLoad<'_>, found: u64) -> Result<(), LoadError> {
        match found == load.entry.rows {
            true => Ok(()),
            false => Err(LoadError::Refused {
                table: self.name().to_owned(),
                cause: format!("{} rows were sent, and the table got {found} of them", load.entry.rows),
                hint: Some("delete them, and load again: this system cannot roll a load back".to_owned()),
                is_transient: false,
            }),
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
            CloudSystem::BigQuery => bigquery::query(&self.http, location, statement, &self.attempt).await,
            CloudSystem::Databricks => databricks::execute(&self.http, statement).await,
            _ => snowflake::execute(&self.http, &[statement.to_owned()], &self.attempt).await,
        }
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

/// Reads a row of the table of loads.
fn ledger_row(row: Vec<Option<String>>) -> LedgerRow {
    let mut values = row.into_iter();
    let mut next = || values.next().flatten();
    let mut text = || next().unwrap_or_default();
    let (key, table) = (text(), text());
    let run_id = Some(text()).filter(|text| !text.is_empty());
    let block = text().parse().ok();
    let (source, mode, plan) = (text(), text(), text());
    let (rows, rejected) = (text().parse().unwrap_or_default(), text().parse().unwrap_or_default());
    let (loaded_at, version) = (text(), text());
    LedgerRow {
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
    }
}
