//! Writes the rows of a load as data files of its table: Parquet parts as those of a directory, under the names of one
//! attempt. They get their final names before the commit, where no reader knows them, and the commit of the table names
//! them. Files that the table did not take are removed.

use std::path::Path;
use std::sync::Arc;

use super::directory::PartitionedWriter;
use super::file::FinishedFile;
use super::partition::partition_values;
use super::rows::PartitionRows;
use super::table::SourcesEnd;
use super::writer::WriterOptions;
use crate::column::{Field, Schema};
use crate::format::parquet::EncodedRowGroup;
use crate::pipeline::error::Error;
use crate::sink::{Sink, Staging, sync_all};
use crate::warehouse::{
    Committed, DataFile, FileLayout, FilesAttempt, FilesLoad, LedgerRow, LoadEnd, LoadError, RowEncoder, TableTarget,
    UnfitRow,
};

/// A load that is being written as data files.
pub(super) struct FilesWriter {
    state: State,
    /// Name of the table for messages.
    table: String,
    rows: u64,
}

enum State {
    Loading(Box<Loading>),
    /// The table has the rows; those that come are counted and discarded.
    Loaded(Box<LedgerRow>),
}

struct Loading {
    load: Box<dyn FilesLoad>,
    parts: PartitionedWriter,
    partition_by: Arc<[Arc<str>]>,
}

/// The check of rows that the table has already.
#[derive(Debug)]
struct Unchecked;

impl RowEncoder for Unchecked {
    fn unfit(&self, _: &crate::column::Batch) -> Vec<UnfitRow> {
        Vec::new()
    }

    /// Whatever the rows have, nothing is changed.
    fn has_fixed_columns(&self) -> bool {
        true
    }
}

impl FilesWriter {
    /// Begins to write the files of `load`. They buffer at most `max_buffered_bytes`.
    pub(super) fn begin(
        load: Box<dyn FilesLoad>,
        target: &TableTarget,
        options: WriterOptions,
        max_buffered_bytes: usize,
    ) -> Result<Self, Error> {
        let FilesAttempt { place, id, prefix, partition_by, .. } = load.files().clone();
        let layout = FileLayout { partition_by: partition_by.clone(), ..target.files.clone().unwrap_or_default() };
        let mut parts = PartitionedWriter::of_table(&place, (&prefix, &id), layout, options, max_buffered_bytes)?;
        if load.keeps_partition_columns() {
            parts.keep_partition_columns();
        }
        let loading = Box::new(Loading { load, parts, partition_by });
        Ok(FilesWriter { state: State::Loading(loading), table: target.name(), rows: 0 })
    }

    /// Returns the writer of rows that the table has already.
    pub(super) fn loaded(row: LedgerRow, target: &TableTarget) -> Self {
        FilesWriter { state: State::Loaded(Box::new(row)), table: target.name(), rows: 0 }
    }

    /// Returns the check of rows, for workers.
    pub(super) fn row_check(&self) -> Arc<dyn RowEncoder> {
        match &self.state {
            State::Loading(loading) => loading.load.files().row_check.clone(),
            State::Loaded(_) => Arc::new(Unchecked),
        }
    }

    /// Returns the columns by whose values rows are divided.
    pub(super) fn partition_by(&self) -> Arc<[Arc<str>]> {
        match &self.state {
            State::Loading(loading) => loading.partition_by.clone(),
            State::Loaded(_) => Arc::default(),
        }
    }

    /// Returns true if the files contain these columns.
    pub(super) fn keeps_partition_columns(&self) -> bool {
        match &self.state {
            State::Loading(loading) => loading.load.keeps_partition_columns(),
            State::Loaded(_) => false,
        }
    }

    /// Checks columns against the table before the first row. Returns sentences for the report.
    pub(super) fn check(&mut self, columns: &Schema) -> Result<Vec<String>, Error> {
        match &mut self.state {
            State::Loading(loading) => Ok(loading.load.check(columns)?),
            State::Loaded(_) => Ok(Vec::new()),
        }
    }

    /// Returns the rows appended so far, those included that the table had.
    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Returns the bytes written so far.
    pub(super) fn bytes(&self) -> u64 {
        match &self.state {
            State::Loading(loading) => loading.parts.bytes(),
            State::Loaded(_) => 0,
        }
    }

    /// Appends rows of one partition.
    pub(super) fn append_rows(&mut self, rows: PartitionRows) -> Result<(), Error> {
        self.rows += rows.batch.rows as u64;
        match &mut self.state {
            State::Loading(loading) => loading.parts.append_rows(rows),
            State::Loaded(_) => Ok(()),
        }
    }

    /// Appends an encoded row group.
    pub(super) fn append_row_group(&mut self, group: EncodedRowGroup) -> Result<(), Error> {
        self.rows += group.rows() as u64;
        match &mut self.state {
            State::Loading(loading) => loading.parts.append_row_group(group),
            State::Loaded(_) => Ok(()),
        }
    }

    /// Writes the ends of all files with the final columns.
    pub(super) fn finish(self, columns: &Schema, end: &SourcesEnd) -> Result<FinishedFiles, Error> {
        let FilesWriter { state, table, rows } = self;
        let end = LoadEnd { rows, rejected: end.rejected, digests: end.digests.clone(), chunk: None };
        let state = match state {
            State::Loaded(row) => FinishedState::Loaded(row),
            State::Loading(loading) => {
                let Loading { mut load, parts, partition_by } = *loading;
                let columns = load.file_columns(columns)?;
                parts.set_field_ids(load.field_ids());
                let (staging, mut files) = parts.finish(&columns)?.into_staged()?;
                // Such a file is begun for columns without rows.
                files.retain(|(_, file)| file.rows > 0);
                let facts = files.iter().filter_map(|(_, file)| file.facts.as_ref());
                if let Some(column) = facts.filter_map(|facts| other_type(&facts.columns, &columns)).next() {
                    let cause = format!(
                        "the values of column `{column}` fit the column of the table one by one and not together, such as objects with hundreds of different members"
                    );
                    return Err(LoadError::Refused { table, cause, hint: None, is_transient: false }.into());
                }
                FinishedState::Staged(Box::new(Staged { load, staging, files, partition_by, columns, end }))
            }
        };
        Ok(FinishedFiles { state, table, rows })
    }
}

/// Returns the name of a column that has another type in a file than in the table, whose readers would fail on it; `None` if
/// there is none.
fn other_type<'a>(file: &'a Schema, table: &Schema) -> Option<&'a str> {
    let differs = |field: &&Field| match table.position(&field.name).map(|i| &table.fields[i].ty) {
        Some(ty) => !(ty.is_like(&field.ty) || ty.is_text_like() && field.ty.is_text_like()),
        None => true,
    };
    file.fields.iter().find(differs).map(|field| &*field.name)
}

/// A load whose files are complete.
pub(super) struct FinishedFiles {
    state: FinishedState,
    table: String,
    rows: u64,
}

enum FinishedState {
    /// The files have temporary names.
    Staged(Box<Staged>),
    /// The files have their final names.
    Published(Box<Published>),
    /// The table has the rows.
    Loaded(Box<LedgerRow>),
    /// An error has ended it.
    Failed,
}

struct Staged {
    load: Box<dyn FilesLoad>,
    staging: Staging,
    files: Vec<(std::path::PathBuf, FinishedFile)>,
    partition_by: Arc<[Arc<str>]>,
    columns: Schema,
    end: LoadEnd,
}

struct Published {
    load: Box<dyn FilesLoad>,
    files: PublishedFiles,
    columns: Schema,
    end: LoadEnd,
}

/// Files under their final names. Dropped, they are removed, unless the table may name them.
struct PublishedFiles {
    staging: Option<Staging>,
    files: Vec<DataFile>,
}

impl PublishedFiles {
    /// Keeps the files.
    fn keep(mut self) {
        if let Some(staging) = self.staging.take() {
            staging.end();
        }
    }
}

impl Drop for PublishedFiles {
    fn drop(&mut self) {
        let Some(staging) = self.staging.take() else { return };
        for file in &self.files {
            // One that stays is an orphan, which no reader sees.
            let _ = staging.remove(Path::new(&file.name));
        }
    }
}

impl FinishedFiles {
    /// Returns the bytes of all files together.
    pub(super) fn bytes(&self) -> u64 {
        match &self.state {
            FinishedState::Staged(staged) => staged.files.iter().map(|(_, file)| file.bytes).sum(),
            FinishedState::Published(published) => published.files.files.iter().map(|file| file.bytes).sum(),
            FinishedState::Loaded(_) | FinishedState::Failed => 0,
        }
    }

    /// Makes the files durable under their final names, so that only the commit of the table is left.
    pub(super) fn sync(&mut self) -> Result<(), Error> {
        let FinishedState::Staged(_) = &self.state else { return Ok(()) };
        let FinishedState::Staged(staged) = std::mem::replace(&mut self.state, FinishedState::Failed) else {
            return Ok(());
        };
        let Staged { load, staging, mut files, partition_by, columns, end } = *staged;
        sync_all(&mut files, |(_, file)| file.sync())?;
        let table = Path::new(&self.table);
        let mut published = PublishedFiles { staging: Some(staging), files: Vec::new() };
        let mut directories = std::collections::BTreeSet::new();
        for (name, file) in files {
            let directory = name.parent().unwrap_or(Path::new("")).to_owned();
            let text = |path: &Path| path.to_str().map(str::to_owned);
            let (Some(text_name), Some(partition)) = (text(&name), text(&directory)) else {
                return Err(Error::Bug("the name of a data file is not UTF-8".into()));
            };
            let data_file = DataFile {
                name: text_name,
                rows: file.rows,
                bytes: file.bytes,
                partition: partition_values(&partition, partition_by.len())?,
                facts: file.facts.clone().unwrap_or_default(),
            };
            let Sink::Part(part) = file.into_sink() else { return Err(Error::Bug("a data file is no part".into())) };
            let Some(staging) = &published.staging else { return Err(Error::Bug("the files are kept".into())) };
            // Before it is there: an upload may have succeeded although it failed.
            published.files.push(data_file);
            staging.publish(part.path(), &name).map_err(|cause| Error::write(table, cause))?;
            directories.insert(directory);
        }
        if let Some(staging) = &published.staging {
            staging.sync_directories(directories.into_iter());
        }
        self.state = FinishedState::Published(Box::new(Published { load, files: published, columns, end }));
        Ok(())
    }

    /// Commits the load. Returns the rows that the table had before, too.
    pub(super) fn commit(mut self) -> Result<(Committed, u64), Error> {
        self.sync()?;
        match self.state {
            FinishedState::Loaded(row) => Ok((Committed::Already(*row), self.rows)),
            FinishedState::Staged(_) | FinishedState::Failed => {
                Err(Error::Bug("the files of a load have no final names".into()))
            }
            FinishedState::Published(published) => {
                let Published { load, files, columns, end } = *published;
                match load.commit(files.files.clone(), &columns, &end) {
                    Ok(committed @ Committed::Loaded(_)) => {
                        files.keep();
                        Ok((committed, 0))
                    }
                    Ok(committed @ Committed::Already(_)) => Ok((committed, self.rows)),
                    Err(error @ LoadError::Unknown { .. }) => {
                        files.keep();
                        Err(error.into())
                    }
                    Err(error) => Err(error.into()),
                }
            }
        }
    }
}
