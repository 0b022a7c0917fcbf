//! The tables of a query: a Parquet file is read as it is, every other source is first converted to a temporary Parquet
//! file. The query itself runs in `query`.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::error::{Error, PlanError};
use super::plan::{ExecutionPlan, Limits, Output, Target};
use super::progress::Control;
use super::run::pass;
use crate::column::Schema;
use crate::format::{Compression, OutputFormat, ParquetCodec, ParquetOptions};
use crate::sink::TemporaryDirectory;
use crate::source::{Input, Source};
use crate::text::hex;
use crate::transform::{Query, RESULTS, Step, TableFile};
use crate::unwind::contained;

/// The first bytes of a Parquet file.
const PARQUET_MAGIC: &[u8; 4] = b"PAR1";

/// Removes the query, which must be the last step, from the steps and returns it.
pub(super) fn take_query(steps: &mut Vec<Step>) -> Result<Arc<Query>, Error> {
    let Some(Step::Sql(query)) = steps.pop() else {
        return Err(PlanError::QueryNotLast.into());
    };
    if steps.iter().any(|step| matches!(step, Step::Sql(_))) {
        return Err(PlanError::TwoQueries.into());
    }
    Ok(query)
}

/// Opens the tables that the query reads, besides the results, and adds the notes on their sources to `notes`. Fails for
/// an unknown or a duplicate name.
pub(super) fn open_tables(
    query: &Query,
    tables: Vec<(String, Source)>,
    scratch: &Scratch,
    limits: &Limits,
    control: &Control,
    notes: &mut Vec<String>,
) -> Result<Vec<(String, TableFile)>, Error> {
    for name in query.tables() {
        if name != RESULTS && !tables.iter().any(|(other, _)| other == name) {
            let known = tables.iter().map(|(name, _)| name.clone()).collect();
            return Err(PlanError::NoTable { name: name.clone(), known }.into());
        }
    }
    let mut open = Vec::new();
    for (name, source) in tables {
        if open.iter().any(|(other, _)| *other == name) {
            return Err(PlanError::TableTwice(name).into());
        }
        // A table that the query does not name is not read.
        if query.tables().contains(&name) {
            let table = open_table(&name, source, scratch, limits, control, notes)?;
            open.push((name, table));
        }
    }
    Ok(open)
}

fn open_table(
    name: &str,
    source: Source,
    scratch: &Scratch,
    limits: &Limits,
    control: &Control,
    notes: &mut Vec<String>,
) -> Result<TableFile, Error> {
    let table_error = |cause: String| Error::Table { name: name.to_owned(), cause };
    if let Input::File(path) = &source.input
        && is_parquet(path)
    {
        let file = File::open(path).map_err(|cause| table_error(cause.to_string()))?;
        // Damaged data is no bug: the reader panics at some of it.
        let table = contained(|| TableFile::foreign(file)).map_err(table_error)?;
        return table.map_err(|error| table_error(error.to_string()));
    }
    let plan = ExecutionPlan { limits: limits.clone(), ..ExecutionPlan::new(source, scratch.output(name)) };
    let report = pass(plan, &control.without_counters())?;
    notes.extend(report.notes);
    notes.extend(report.text_columns.iter().map(|column| format!("table `{name}`: {column}")));
    scratch.open(name, &report.schema)
}

fn is_parquet(path: &Path) -> bool {
    let mut magic = [0; PARQUET_MAGIC.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == *PARQUET_MAGIC
}

/// A temporary directory for tables, removed on drop.
pub(super) struct Scratch(TemporaryDirectory);

impl Scratch {
    /// Creates the directory below [`Limits::spill_dir`], or the system's temporary directory.
    pub(super) fn new(limits: &Limits) -> Result<Self, Error> {
        let parent = limits.spill_dir.clone().unwrap_or_else(std::env::temp_dir);
        let made = TemporaryDirectory::create(&parent);
        made.map(Scratch).map_err(|cause| Error::Write { path: parent, cause })
    }

    /// Returns the path of the directory.
    pub(super) fn directory(&self) -> &std::path::Path {
        self.0.path()
    }

    /// Returns an output for the rows of a table.
    pub(super) fn output(&self, name: &str) -> Output {
        Output {
            // Written once and read once: speed matters more than size.
            format: OutputFormat::Parquet(ParquetOptions { codec: ParquetCodec::Snappy }),
            compression: Compression::None,
            target: Target::File { path: self.path(name), no_clobber: false, append: false },
        }
    }

    /// Returns the path of a table's file.
    pub(super) fn path(&self, name: &str) -> std::path::PathBuf {
        // In hexadecimal, so that any table name is a valid file name and no two names collide.
        self.0.path().join(hex(name.as_bytes())).with_extension("parquet")
    }

    /// Opens a table whose rows were written to [`Scratch::output`], with these columns.
    pub(super) fn open(&self, name: &str, columns: &Schema) -> Result<TableFile, Error> {
        let path = self.path(name);
        let file = File::open(&path).map_err(|cause| Error::Read { name: path.display().to_string(), cause })?;
        TableFile::ours(file, columns)
            .map_err(|error| Error::Bug(format!("the rows of `{name}` cannot be read back: {error}")))
    }
}
