//! The tables of the database, access to one row of them within a transaction, and the error of both.

use std::path::PathBuf;

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

pub(super) const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
pub(super) const WORKFLOWS: TableDefinition<&str, &[u8]> = TableDefinition::new("workflows");
pub(super) const RUNS: TableDefinition<&str, &[u8]> = TableDefinition::new("runs");
/// Run ids in the order in which they were queued.
pub(super) const RUN_ORDER: TableDefinition<u64, &str> = TableDefinition::new("run_order");
pub(super) const UPLOADS: TableDefinition<&str, &[u8]> = TableDefinition::new("uploads");
pub(super) const NOTEBOOKS: TableDefinition<&str, &[u8]> = TableDefinition::new("notebooks");
/// Schedules, by id.
pub(super) const SCHEDULES: TableDefinition<&str, &[u8]> = TableDefinition::new("schedules");
/// Graph and input of each run that has not ended, by run id.
pub(super) const JOBS: TableDefinition<&str, &[u8]> = TableDefinition::new("jobs");
/// Webhook URLs to notify of the end of a bulk job, by run id.
pub(super) const NOTIFY: TableDefinition<&str, &[u8]> = TableDefinition::new("notify");
/// Key in [`META`] of the secrets that outgoing webhooks are signed with.
pub(super) const SIGNING_SECRETS: &str = "signing_secrets";
/// Idempotency keys, by their digests.
pub(super) const KEYS: TableDefinition<&str, &[u8]> = TableDefinition::new("idempotency_keys");

/// An error of the service's database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another service has the data directory open.
    #[error("the data directory {} is locked by another service", directory.display())]
    InUse {
        /// Path of the data directory.
        directory: PathBuf,
    },
    /// The database in the data directory cannot be read: it is damaged, or no database of this version.
    #[error("the database {} is damaged: {reason}", path.display())]
    Damaged {
        /// Path of the database.
        path: PathBuf,
        /// The first problem that was found, as a fragment.
        reason: String,
    },
    /// The database failed, for example because the disk is full.
    #[error("cannot read or write the service's database")]
    Database(#[source] Box<redb::Error>),
    /// A row does not have the format of this version.
    #[error("cannot decode a row of the service's database")]
    Row(#[from] serde_json::Error),
}

/// Converts redb's errors, one type per operation, to [`Error::Database`].
macro_rules! from_database {
    ($($error:ty),*) => {$(
        impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Error::Database(Box::new(error.into()))
            }
        }
    )*};
}
from_database!(redb::TransactionError, redb::TableError, redb::StorageError, redb::CommitError);

pub(super) fn read_row<T: DeserializeOwned>(
    write: &WriteTransaction,
    table: TableDefinition<&str, &[u8]>,
    key: &str,
) -> Result<Option<T>, Error> {
    let table = write.open_table(table)?;
    let row = table.get(key)?;
    Ok(row.map(|row| serde_json::from_slice(row.value())).transpose()?)
}

pub(super) fn write_row<T: Serialize>(
    write: &WriteTransaction,
    table: TableDefinition<&str, &[u8]>,
    key: &str,
    row: &T,
) -> Result<(), Error> {
    write.open_table(table)?.insert(key, serde_json::to_vec(row)?.as_slice())?;
    Ok(())
}
