//! Detection of a damaged database when it is opened: one message that names the file and the first problem, whatever
//! the library below says, which panics on some damage.

use std::path::Path;

use redb::{Database, ReadableDatabase, ReadableTable};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::tables::{Error, JOBS, KEYS, META, NOTEBOOKS, SCHEDULES, SIGNING_SECRETS, UPLOADS, WORKFLOWS};
use crate::api::Workflow;
use crate::service::notebooks::NotebookRow;
use crate::service::rows::{JobRow, UploadRow};
use crate::service::schedules::Schedule;
use crate::service::signing_secrets::SigningSecrets;
use crate::text::error_chain;
use crate::unwind;

/// Runs `work` on the database at `path` and names the damage that it meets. Other errors, such as a full disk, pass.
pub(super) fn named<T>(path: &Path, work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    let damaged = |reason: String| Error::Damaged { path: path.to_owned(), reason };
    // After a panic nothing of the database is used again.
    match unwind::contained(work) {
        Ok(Err(Error::Row(cause))) => Err(damaged(format!("a row cannot be decoded: {cause}"))),
        Ok(Err(Error::Database(cause))) if is_damage(&cause) => Err(damaged(error_chain(&*cause))),
        Ok(outcome) => outcome,
        Err(_) => Err(damaged("its structure is not valid".to_owned())),
    }
}

fn is_damage(error: &redb::Error) -> bool {
    match error {
        redb::Error::Io(cause) => {
            matches!(cause.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
        }
        redb::Error::Corrupted(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableIsMultimap(_)
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::UpgradeRequired(_)
        | redb::Error::RepairAborted => true,
        _ => false,
    }
}

/// Decodes every row once, but not those of runs: [`super::Store::unended`] reads them all.
pub(super) fn check_rows(database: &Database) -> Result<(), Error> {
    fn decode<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Result<(), Error> {
        serde_json::from_slice::<T>(bytes)?;
        Ok(())
    }
    let read = database.begin_read()?;
    for (table, decode) in [
        (WORKFLOWS, decode::<Workflow> as fn(&[u8]) -> Result<(), Error>),
        (UPLOADS, decode::<UploadRow>),
        (NOTEBOOKS, decode::<NotebookRow>),
        (JOBS, decode::<JobRow>),
        (SCHEDULES, decode::<Schedule>),
        (KEYS, decode::<IgnoredAny>),
    ] {
        for row in read.open_table(table)?.iter()? {
            decode(row?.1.value())?;
        }
    }
    if let Some(secrets) = read.open_table(META)?.get(SIGNING_SECRETS)? {
        decode::<SigningSecrets>(secrets.value())?;
    }
    Ok(())
}
