//! Plans with a query: batch by batch where it looks at single rows and all columns can be known before, else over a
//! temporary file with all rows.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::run::{are_re_readable, pass, read_again};
use super::{Control, Error, Limits, Output, Plan, Report, SchemaFrom, Target};
use super::{compiled::workers_of, explain_steps};
use crate::column::{Batch, Schema};
use crate::format::{Compression, OutputFormat, ParquetCodec, ParquetOptions};
use crate::source::{BoxedError, Input, Source};
use crate::transform::{Answer, Limit, Query, RESULTS, Resources, SqlError, Step, TableFile};

/// How a Parquet file begins.
const PARQUET_MAGIC: &[u8; 4] = b"PAR1";

/// Carries out a plan that has a query among its steps.
pub(super) fn execute(mut plan: Plan, control: &Control) -> Result<Report, Error> {
    let query = take_query(&mut plan.steps)?;
    let started = Instant::now();
    if are_re_readable(&plan.sources) {
        let sources = plan.sources.iter().map(read_again).collect();
        let quiet = control.without_counters();
        let known = explain_steps(sources, plan.steps.clone(), Vec::new(), &plan.schema, &plan.limits, &quiet)?;
        // What the query wants and the sample does not have may come later.
        if let Ok(Some(by_rows)) = query.by_rows(&known.output) {
            plan.steps.push(Step::Sql(query));
            plan.steps.extend(by_rows.limit().map(Limit).map(Step::from));
            // What a type that widens late would mean for the rows before, nobody can tell.
            plan.schema.from = SchemaFrom::Full;
            return pass(plan, control);
        }
    }
    over_all_rows(plan, &query, control).map(|report| Report { elapsed: started.elapsed(), ..report })
}

/// Takes the query, which is the last step, off the steps.
pub(super) fn take_query(steps: &mut Vec<Step>) -> Result<Arc<Query>, Error> {
    let Some(Step::Sql(query)) = steps.pop() else {
        return Err(Error::Plan("--sql comes last; what is to be done after it can be said in the query".into()));
    };
    if steps.iter().any(|step| matches!(step, Step::Sql(_))) {
        return Err(Error::Plan("there can be one --sql; a query can be put inside another".into()));
    }
    Ok(query)
}

fn over_all_rows(mut plan: Plan, query: &Query, control: &Control) -> Result<Report, Error> {
    let scratch = Scratch::new(&plan.limits)?;
    let mut tables = open_tables(query, std::mem::take(&mut plan.tables), &scratch, &plan.limits, control)?;
    let is_read = query.tables().iter().any(|name| name == RESULTS);
    if !is_read {
        return Err(Error::Plan(format!("--sql: the query does not read `{RESULTS}`, the table of what comes in")));
    }
    let outputs = std::mem::take(&mut plan.outputs);
    let (limits, metadata, sort_hint) =
        (plan.limits.clone(), plan.metadata.clone(), std::mem::take(&mut plan.sort_hint));
    plan.outputs = vec![scratch.output(RESULTS)];
    let taken = pass(plan, control)?;
    tables.push((RESULTS.to_owned(), scratch.open(RESULTS, &taken.schema)?));
    // The open files are all that is needed.
    drop(scratch);

    let bytes = usize::try_from(limits.max_memory_bytes / 2).unwrap_or(usize::MAX);
    let folder = limits.spill_dir.clone();
    let answer = query.over(tables, &Resources { max_bytes: bytes, folder, workers: workers_of(&limits) })?;
    let rows = Box::new(Rows(answer));
    let source = Source::rows("the query", rows);
    let output = outputs.first().cloned().ok_or_else(|| Error::Plan("the plan has no output".into()))?;
    let limits = Limits { max_memory_bytes: limits.max_memory_bytes / 2, ..limits };
    // Bytes read are those of the sources; the rest of what is counted starts again with the answer.
    let quiet = control.without_counters();
    let given = pass(Plan { outputs, sort_hint, metadata, limits, ..Plan::new(source, output) }, &quiet)?;
    Ok(Report {
        rows_queried: Some(taken.rows_written),
        rows_written: given.rows_written,
        bytes_out: given.bytes_out,
        cells_changed: given.cells_changed,
        schema: given.schema,
        files: given.files,
        stopped_early: given.stopped_early,
        notes: taken.notes.into_iter().chain(given.notes).collect(),
        ..taken
    })
}

/// The tables beside the results that the query reads.
pub(super) fn open_tables(
    query: &Query,
    tables: Vec<(String, Source)>,
    scratch: &Scratch,
    limits: &Limits,
    control: &Control,
) -> Result<Vec<(String, TableFile)>, Error> {
    for name in query.tables() {
        if name != RESULTS && !tables.iter().any(|(other, _)| other == name) {
            let known = tables.iter().map(|(name, _)| format!(", `{name}`")).collect::<String>();
            let what = format!("--sql: there is no table `{name}` (`{RESULTS}`{known}); --table {name}=FILE makes one");
            return Err(Error::Plan(what));
        }
    }
    let mut open = Vec::new();
    for (name, source) in tables {
        if open.iter().any(|(other, _)| *other == name) {
            return Err(Error::Plan(format!("--table: there are two tables `{name}`")));
        }
        // What nobody asks for is not read.
        if query.tables().contains(&name) {
            let table = open_table(&name, source, scratch, limits, control)?;
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
) -> Result<TableFile, Error> {
    let table_error = |cause: String| Error::Table { name: name.to_owned(), cause };
    if let Input::File(path) = &source.input
        && is_parquet(path)
    {
        let file = File::open(path).map_err(|cause| table_error(cause.to_string()))?;
        return TableFile::foreign(file).map_err(|error| table_error(error.to_string()));
    }
    let plan = Plan { limits: limits.clone(), ..Plan::new(source, scratch.output(name)) };
    let report = pass(plan, &control.without_counters())?;
    scratch.open(name, &report.schema)
}

fn is_parquet(path: &Path) -> bool {
    let mut magic = [0; PARQUET_MAGIC.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == *PARQUET_MAGIC
}

/// A folder for tables, gone with this.
pub(super) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub fn new(limits: &Limits) -> Result<Self, Error> {
        let mut named = tempfile::Builder::new();
        named.prefix("drawoff-");
        let made = match &limits.spill_dir {
            Some(folder) => named.tempdir_in(folder),
            None => named.tempdir(),
        };
        let folder = || limits.spill_dir.clone().unwrap_or_else(std::env::temp_dir);
        made.map(Scratch).map_err(|cause| Error::Write { path: folder(), cause })
    }

    fn output(&self, name: &str) -> Output {
        Output {
            // It is read once: what is quick to write and to read.
            format: OutputFormat::Parquet(ParquetOptions { codec: ParquetCodec::Snappy }),
            compression: Compression::None,
            target: Target::File { path: self.path(name), no_clobber: false, append: false },
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        // Whatever the name: no two files are one.
        let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
        self.0.path().join(hex).with_extension("parquet")
    }

    fn open(&self, name: &str, columns: &Schema) -> Result<TableFile, Error> {
        let path = self.path(name);
        let file = File::open(&path).map_err(|cause| Error::Read { name: path.display().to_string(), cause })?;
        TableFile::ours(file, columns)
            .map_err(|error| Error::Bug(format!("the rows of `{name}` cannot be read back: {error}")))
    }
}

/// An answer as a source.
struct Rows(Answer);

impl Iterator for Rows {
    type Item = Result<Batch, BoxedError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|batch| batch.map_err(BoxedError::from))
    }
}

/// The error of a source of rows, which is a query that was planned and met a value that it cannot use.
pub(super) fn error_of(error: BoxedError) -> Error {
    match error.downcast::<SqlError>() {
        Ok(error) if error.exhausted => Error::QueryMemory(error.message),
        other => Error::Step(format!("--sql: {}", other.map_or_else(|other| other.to_string(), |error| error.message))),
    }
}

impl From<SqlError> for Error {
    fn from(error: SqlError) -> Self {
        match error.exhausted {
            true => Error::QueryMemory(error.message),
            false => Error::Query(error.message),
        }
    }
}
