//! A connection with the runtime that drives it. Makes calls blocking, ends each of them when the execution is cancelled,
//! and reads the errors of the server.

use std::time::Duration;

use tokio::runtime::{Handle, Runtime};
use tokio_postgres::error::SqlState;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};

use super::connect::{Connection, connect};
use super::settings::Settings;
use crate::sink::UploadControl;
use crate::warehouse::LoadError;

/// Time for the request that cancels a statement.
const CANCEL_WAIT: Duration = Duration::from_secs(1);

/// An open connection. Its methods block and must not be called on a thread of an async runtime. Dropped within a
/// transaction, it closes the connection, and the server rolls back.
pub(super) struct Session {
    connection: Connection,
    cancel: UploadControl,
    /// The table in messages.
    table: String,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Session {
    /// Connects. `table` is the name for messages.
    pub(super) fn open(settings: &Settings, table: String, cancel: &UploadControl) -> Result<Self, LoadError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|cause| LoadError::Bug(format!("cannot start a runtime: {cause}")))?;
        let connected = unless_cancelled(runtime.handle(), cancel, connect(settings));
        let connection = match connected {
            Some(Ok(connection)) => connection,
            Some(Err(error)) => {
                runtime.shutdown_background();
                return Err(LoadError::Connect {
                    target: error.server(),
                    cause: error.cause(),
                    hint: error.hint().map(str::to_owned),
                    is_transient: error.is_transient(),
                });
            }
            None => {
                runtime.shutdown_background();
                return Err(LoadError::Cancelled);
            }
        };
        Ok(Session { connection, cancel: cancel.clone(), table, runtime: Some(runtime) })
    }

    pub(super) fn client(&self) -> &tokio_postgres::Client {
        self.connection.client()
    }

    pub(super) fn handle(&self) -> &Handle {
        self.runtime.as_ref().expect("it is taken only by drop").handle()
    }

    /// Returns the name of the table for messages.
    pub(super) fn table(&self) -> &str {
        &self.table
    }

    /// Returns the control that cancels its calls.
    pub(super) fn cancel(&self) -> &UploadControl {
        &self.cancel
    }

    /// Waits for `work` until a cancel, which also cancels the statement that runs.
    pub(super) fn call<T>(&self, work: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, LoadError> {
        match unless_cancelled(self.handle(), &self.cancel, work) {
            Some(done) => done.map_err(|error| self.error(&error)),
            None => {
                let canceller = self.connection.canceller();
                // A courtesy to the server, and no wait worth mentioning: the connection is closed in any case.
                let _ = self.handle().block_on(async { tokio::time::timeout(CANCEL_WAIT, canceller.cancel()).await });
                Err(LoadError::Cancelled)
            }
        }
    }

    /// Executes statements without results.
    pub(super) fn execute(&self, sql: &str) -> Result<(), LoadError> {
        self.call(self.client().batch_execute(sql))
    }

    /// Executes one statement and returns the number of rows that it changed.
    pub(super) fn changed(&self, sql: &str) -> Result<u64, LoadError> {
        let messages = self.call(self.client().simple_query(sql))?;
        let counts = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::CommandComplete(rows) => Some(*rows),
            _ => None,
        });
        Ok(counts.sum())
    }

    /// Executes one query and returns its rows, as text. Statements are not prepared: a pooler may change the connection
    /// between two transactions.
    pub(super) fn rows(&self, sql: &str) -> Result<Vec<SimpleQueryRow>, LoadError> {
        let messages = self.call(self.client().simple_query(sql))?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// Reads an error. The detail of the server is left out: it shows values of rows.
    pub(super) fn error(&self, error: &tokio_postgres::Error) -> LoadError {
        let table = self.table.clone();
        let Some(db) = error.as_db_error() else {
            let cause = crate::text::error_chain(error);
            // What never reached the server is no lost connection.
            if !error.is_closed()
                && std::error::Error::source(error).is_none_or(|source| !source.is::<std::io::Error>())
            {
                return LoadError::Bug(cause);
            }
            let hint = Some("nothing of this load is in the table; run the same command again".to_owned());
            return LoadError::Refused { table, cause, hint, is_transient: true };
        };
        let code = db.code();
        let mut cause = without_value(db.message(), code);
        if let Some(place) = db.where_().and_then(place_in_copy) {
            cause = format!("{cause} ({place})");
        }
        if let Some(constraint) = db.constraint() {
            cause = format!("{cause} [constraint {constraint}]");
        }
        LoadError::Refused { table, cause, hint: hint(code, db.hint()), is_transient: is_transient(code) }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A plain drop would wait for a name lookup that hangs.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits for `work`; `None` after a cancel.
fn unless_cancelled<T>(handle: &Handle, cancel: &UploadControl, work: impl Future<Output = T>) -> Option<T> {
    handle.block_on(async {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = cancel.cancelled() => None,
        }
    })
}

/// Returns the server's message without the value that it quotes: results are personal data.
fn without_value(message: &str, code: &SqlState) -> String {
    // Class 22 are errors of data.
    if let Some(rest) = message.strip_prefix("value \"").filter(|_| code.code().starts_with("22"))
        && let Some((_, rest)) = rest.rsplit_once("\" is out of range")
    {
        return format!("a value is out of range{rest}");
    }
    match message.find(": \"").filter(|_| code.code().starts_with("22")) {
        Some(at) => message[..at].to_owned(),
        None => message.to_owned(),
    }
}

/// Returns the place in a COPY from the context of an error, `COPY people, line 3, column age: "x"`, without the value.
fn place_in_copy(context: &str) -> Option<&str> {
    let place = context.strip_prefix("COPY ")?;
    let place = &place[place.find("line ")?..];
    Some(place.split(':').next().unwrap_or(place).trim_end())
}

fn is_transient(code: &SqlState) -> bool {
    let class = &code.code()[..2];
    // Lost connections, exhausted resources, serialization failures and deadlocks, shutdowns, locks.
    matches!(class, "08" | "40" | "53") || matches!(code.code(), "57P01" | "57P02" | "57P03" | "55P03" | "57014")
}

fn hint(code: &SqlState, server: Option<&str>) -> Option<String> {
    let hint = match *code {
        SqlState::INSUFFICIENT_PRIVILEGE => {
            "grant the user CREATE on the schema (for a new table and the table of loads), INSERT on the table, and \
             TEMPORARY on the database"
        }
        SqlState::READ_ONLY_SQL_TRANSACTION => "connect to the primary server: this one takes no writes",
        SqlState::INVALID_SCHEMA_NAME => "create the schema first: CREATE SCHEMA",
        SqlState::UNIQUE_VIOLATION => {
            "two rows would have the same key: merge the rows by the columns of this constraint"
        }
        SqlState::LOCK_NOT_AVAILABLE => {
            "another session has locked the table for longer than `lock_timeout` of the server, the database or the user \
             allows to wait; run the same command again when it has ended, or set `PGOPTIONS=-clock_timeout=0`"
        }
        SqlState::DISK_FULL => "free space on the server, and run the same command again",
        _ => return server.map(str::to_owned),
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_places_and_no_values() {
        let code = SqlState::INVALID_TEXT_REPRESENTATION;
        let message = "invalid input value for enum mood: \"ada@example.com\"";
        assert_eq!(without_value(message, &code), "invalid input value for enum mood");
        let code = SqlState::NUMERIC_VALUE_OUT_OF_RANGE;
        let message = "value \"99\" is out of range for type money";
        assert_eq!(without_value(message, &code), "a value is out of range for type money");
        assert_eq!(place_in_copy("COPY people, line 3, column age: \"x\""), Some("line 3, column age"));
        assert_eq!(place_in_copy("COPY people, line 3"), Some("line 3"));
        assert_eq!(place_in_copy("SQL statement \"x\""), None);
        assert!(is_transient(&SqlState::T_R_DEADLOCK_DETECTED) && !is_transient(&SqlState::UNDEFINED_TABLE));
    }
}
