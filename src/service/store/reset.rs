//! Return to an earlier state: the rows that were stored when a service had started are kept, all later ones go. Files
//! are the caller's.

use std::collections::{HashMap, HashSet};

use redb::{ReadableDatabase, ReadableTable, TableDefinition};

use super::database::Store;
use super::tables::{
    Error, JOBS, KEYS, META, NOTEBOOKS, NOTIFY, RUN_ORDER, RUNS, SCHEDULES, SIGNING_SECRETS, UPLOADS, WORKFLOWS,
    read_row,
};
use crate::api::{HandleId, RunId};
use crate::service::notebooks::NotebookRow;
use crate::service::rows::UploadRow;

/// The rows that were stored at one moment.
pub(in crate::service) struct Baseline {
    /// Rows whose contents may change later: workflows, notebooks, schedules and the signing secrets.
    workflows: HashMap<String, Vec<u8>>,
    notebooks: HashMap<String, Vec<u8>>,
    schedules: HashMap<String, Vec<u8>>,
    signing_secrets: Option<Vec<u8>>,
    /// Names of rows that are only added or removed.
    uploads: HashSet<String>,
    keys: HashSet<String>,
    /// Ids of all runs, in any state.
    pub runs: HashSet<String>,
}

/// Items that a return to a baseline has removed, whose files are to be removed too.
#[derive(Default)]
pub(in crate::service) struct RemovedItems {
    /// Number of workflows.
    pub workflows: usize,
    pub runs: Vec<RunId>,
    pub uploads: Vec<(HandleId, UploadRow)>,
    pub notebooks: Vec<NotebookRow>,
}

impl Store {
    /// Records the rows that are stored now.
    pub(in crate::service) fn baseline(&self) -> Result<Baseline, Error> {
        let read = self.database.begin_read()?;
        let rows = |table: TableDefinition<&str, &[u8]>| -> Result<HashMap<String, Vec<u8>>, Error> {
            let table = read.open_table(table)?;
            let rows = table.iter()?;
            rows.map(|row| row.map(|(key, row)| (key.value().to_owned(), row.value().to_owned())).map_err(Error::from))
                .collect()
        };
        let names = |table: TableDefinition<&str, &[u8]>| -> Result<HashSet<String>, Error> {
            let table = read.open_table(table)?;
            let rows = table.iter()?;
            rows.map(|row| row.map(|(key, _)| key.value().to_owned()).map_err(Error::from)).collect()
        };
        let meta = read.open_table(META)?;
        Ok(Baseline {
            workflows: rows(WORKFLOWS)?,
            notebooks: rows(NOTEBOOKS)?,
            schedules: rows(SCHEDULES)?,
            signing_secrets: meta.get(SIGNING_SECRETS)?.map(|row| row.value().to_owned()),
            uploads: names(UPLOADS)?,
            keys: names(KEYS)?,
            runs: names(RUNS)?,
        })
    }

    /// Restores the rows of `baseline` in one transaction and removes all others. Runs of the baseline keep the state
    /// that they have now, and those that were deleted since stay deleted.
    pub(in crate::service) fn restore(&self, baseline: &Baseline) -> Result<RemovedItems, Error> {
        let mut removed = RemovedItems::default();
        let write = self.database.begin_write()?;
        {
            let names = |table: TableDefinition<&str, &[u8]>| -> Result<Vec<String>, Error> {
                let table = write.open_table(table)?;
                let rows = table.iter()?;
                rows.map(|row| row.map(|(key, _)| key.value().to_owned()).map_err(Error::from)).collect()
            };
            for id in names(RUNS)?.into_iter().filter(|id| !baseline.runs.contains(id)) {
                for table in [RUNS, JOBS, NOTIFY] {
                    write.open_table(table)?.remove(id.as_str())?;
                }
                removed.runs.push(RunId(id));
            }
            write.open_table(RUN_ORDER)?.retain(|_, id| baseline.runs.contains(id))?;
            for id in names(UPLOADS)?.into_iter().filter(|id| !baseline.uploads.contains(id)) {
                if let Some(row) = read_row(&write, UPLOADS, &id)? {
                    write.open_table(UPLOADS)?.remove(id.as_str())?;
                    removed.uploads.push((HandleId(id), row));
                }
            }
            for id in names(NOTEBOOKS)?.into_iter().filter(|id| !baseline.notebooks.contains_key(id)) {
                removed.notebooks.extend(read_row(&write, NOTEBOOKS, &id)?);
                write.open_table(NOTEBOOKS)?.remove(id.as_str())?;
            }
            for id in names(WORKFLOWS)?.into_iter().filter(|id| !baseline.workflows.contains_key(id)) {
                write.open_table(WORKFLOWS)?.remove(id.as_str())?;
                removed.workflows += 1;
            }
            write.open_table(SCHEDULES)?.retain(|id, _| baseline.schedules.contains_key(id))?;
            write.open_table(KEYS)?.retain(|key, _| baseline.keys.contains(key))?;
            let kept =
                [(WORKFLOWS, &baseline.workflows), (NOTEBOOKS, &baseline.notebooks), (SCHEDULES, &baseline.schedules)];
            for (table, rows) in kept {
                let mut table = write.open_table(table)?;
                for (key, row) in rows {
                    table.insert(key.as_str(), row.as_slice())?;
                }
            }
            let mut meta = write.open_table(META)?;
            match &baseline.signing_secrets {
                Some(secrets) => meta.insert(SIGNING_SECRETS, secrets.as_slice())?,
                None => meta.remove(SIGNING_SECRETS)?,
            };
        }
        write.commit()?;
        Ok(removed)
    }
}
