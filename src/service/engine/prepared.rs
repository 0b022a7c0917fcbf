//! One block of a run as one plan of the pipeline: builds the plan from the block, its input and the run's formats,
//! executes it, and describes the files that it wrote. It records nothing in the store.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use uuid::Uuid;

use super::pass::Pass;
use crate::column::{Field, Schema, Type};
use crate::format::{Compression, CsvBooleans, CsvOptions, Format, OutputFormat};
use crate::pipeline::{self, Control, ExecutionPlan, Limits, Output, SchemaFrom, SchemaSource, Target};
use crate::service::blocks::{BlockContext, BlockPlan, Delivery, Failure, Input};
use crate::service::clock::Clock;
use crate::service::count::RowCounter;
use crate::service::enrichment_sources::EnrichmentSources;
use crate::service::graph::CheckedGraph;
use crate::service::notebooks::NotebookRow;
use crate::service::payload::{self, PayloadLimits, Scanner};
use crate::service::private_files;
use crate::service::rows::{FileRow, ResultFormat};
use crate::service::stored_names::{Extension, ResultFile};
use crate::source::Source;
use crate::text::error_chain;
use crate::transform::{OnBadCast, SpillBudget};

/// Maximum number of rows that a result link carries inline. Our reading: neither the bound nor the typing is public.
const INLINE_ROWS: u64 = 20;

/// Maximum size of a file whose rows are carried inline, in bytes: the store keeps them.
const INLINE_BYTES: u64 = 64 << 10;

/// Message of a run or block that ended by a panic.
pub(super) const INTERNAL_ERROR: &str =
    "internal error: this is a bug in drawoff; please report it with the workflow and this message";

/// Rows of a finished block as input of the blocks after it: NDJSON, which keeps types.
pub(super) struct BlockRows {
    /// NDJSON file in the directory of the run.
    pub path: PathBuf,
    /// Name of the file in messages.
    pub name: String,
    /// Number of rows in the file.
    pub rows: u64,
    /// Names of the columns, in order.
    columns: Vec<String>,
}

/// Block that is ready to execute.
pub(super) struct Prepared {
    /// Pass that writes the input of `plan`; `None` if the plan reads the block's input itself.
    pass: Option<Pass>,
    /// Input of JSON values that are not one per line; `None` for every other input.
    values: Option<JsonValues>,
    /// Columns of the rows to read, for the case that there are none.
    without_rows: Schema,
    /// True if there are no rows to read, as far as is known before `pass`.
    is_without_rows: bool,
    /// File for the rows of `pass` or `values`, or for the empty input of a source. Removed after the plan; most blocks
    /// have none.
    scratch: PathBuf,
    plan: ExecutionPlan,
    /// Every file that the plan writes.
    files: Vec<(ResultFormat, PathBuf)>,
    /// Formats that the run offers, a subset of those in `files`.
    formats: Vec<ResultFormat>,
    feed_name: String,
    /// Names of declared columns, which the blocks after this one may use even if no row has them.
    declared: Vec<String>,
    /// Remark about the result for the status of the block.
    pub note: Option<String>,
    /// Number of input rows; `None` for an upload, whose rows are not counted in advance.
    pub total_rows: Option<u64>,
    /// Size of the input in bytes; 0 if unknown.
    pub total_bytes: u64,
}

/// Result of a completed block.
pub(super) struct BlockOutcome {
    /// Result files in the formats of the run.
    pub files: Vec<FileRow>,
    /// The rows themselves, if there are at most [`INLINE_ROWS`] of at most [`INLINE_BYTES`].
    pub results: Option<Vec<Map<String, Value>>>,
    /// Number of rows read.
    pub rows_in: u64,
    /// Remark about the result for the status of the block.
    pub note: Option<String>,
    /// Input of the blocks after this one.
    pub feed: BlockRows,
}

/// Surroundings of a block in its run.
pub(super) struct BlockSurroundings<'a> {
    pub sources: &'a EnrichmentSources,
    /// Directory of the run.
    pub directory: &'a Path,
    /// Directory of all notebooks.
    pub notebooks: &'a Path,
    /// Notebook that the block reads or appends to.
    pub notebook: Option<NotebookRow>,
    pub formats: &'a [ResultFormat],
    pub spill_budget: SpillBudget,
    pub runtime: tokio::runtime::Handle,
}

/// Builds the plan of the block at `index` and returns it with the destination of its rows. `feeds` holds the rows of
/// the blocks that have finished, by index. Fails if the block does not accept its input.
pub(super) fn prepare(
    checked: &CheckedGraph,
    index: usize,
    input: &Input,
    feeds: &[Option<BlockRows>],
    surroundings: BlockSurroundings<'_>,
) -> Result<(Prepared, Delivery), Failure> {
    let block = &checked.graph.blocks[index];
    let BlockSurroundings { sources, directory, notebooks, notebook, formats, spill_budget, runtime } = surroundings;
    let parents: Vec<&BlockRows> = checked.parents[index].iter().filter_map(|&parent| feeds[parent].as_ref()).collect();
    let total_rows = match input {
        Input::Payload { rows, .. } if parents.is_empty() => Some(*rows),
        Input::Upload { .. } | Input::Nothing if parents.is_empty() => None,
        _ => Some(parents.iter().map(|feed| feed.rows).sum()),
    };
    let total_bytes = match input {
        Input::Payload { path, .. } | Input::Upload { path, .. } if parents.is_empty() => size(path),
        _ => parents.iter().map(|feed| size(&feed.path)).sum(),
    };
    // The union of the parents' columns, in order of first appearance.
    let mut columns: Vec<String> = Vec::new();
    for column in parents.iter().flat_map(|feed| &feed.columns) {
        if !columns.contains(column) {
            columns.push(column.clone());
        }
    }
    // An input without rows has no columns either, so no column counts as missing.
    let is_empty = total_rows == Some(0);
    let context = BlockContext { sources, notebooks, notebook, runtime, columns: &columns, is_empty };
    let BlockPlan { rewrite, columns: written, steps, note, table, declared, delivery } =
        checked.blocks[index].plan(&context)?;
    // Unique within the run, because sequence numbers are.
    let stem = format!("block_{}_{}", block.sequence_number, block.block_name);
    private_files::create_directory(directory)
        .map_err(|error| Failure::Failed(format!("cannot create the directory for results: {error}")))?;
    let scratch = directory.join(format!("{stem}.rows"));
    let failed = |error: io::Error| Failure::Failed(format!("cannot read the input: {error}"));
    // What the plan reads: of rows that are none, only the names of columns are left, which no file has.
    let read = if rewrite.is_some() { written.unwrap_or_default() } else { columns.clone() };
    let without_rows = merged(read, declared.as_ref());
    let pass = rewrite.map(|rewrite| Pass {
        rewrite,
        feeds: parents.iter().map(|feed| feed.path.clone()).collect(),
        columns,
        out: scratch.clone(),
        spill_budget,
    });
    // The plan reads, in order of preference: the rows of the pass, a table of the source, the run's input, the
    // parents.
    let mut values = None;
    let sources = match (&pass, table) {
        (Some(pass), _) => vec![file_source(&pass.out, &format!("{stem} rows"), Format::Ndjson)],
        (None, Some(path)) => {
            // The user's own file, outside of the data directory.
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
            vec![typed_source(&path, &name, &extension).map_err(failed)?]
        }
        (None, None) if parents.is_empty() => match json_values(input).map_err(failed)? {
            Some((path, name)) => {
                values = Some(JsonValues { path, name: name.clone(), out: scratch.clone() });
                vec![file_source(&scratch, &name, Format::Ndjson)]
            }
            None => vec![source(input, &scratch).map_err(failed)?],
        },
        _ => parents.iter().map(|feed| file_source(&feed.path, &feed.name, Format::Ndjson)).collect(),
    };
    // CSV is always written, as the API promises; NDJSON too, because the blocks after this one read it.
    let mut files = vec![ResultFormat::Csv, ResultFormat::Ndjson];
    files.extend(formats.contains(&ResultFormat::Json).then_some(ResultFormat::Json));
    let files: Vec<(ResultFormat, PathBuf)> =
        files.into_iter().map(|format| (format, directory.join(format!("{stem}.{}", format.as_str())))).collect();
    let outputs = files.iter().map(|(format, path)| output(*format, path)).collect();
    let declared_names: Vec<String> =
        declared.iter().flat_map(|schema| &schema.fields).map(|field| field.name.to_string()).collect();
    let plan = ExecutionPlan {
        sources,
        steps,
        tables: Vec::new(),
        on_bad_cast: OnBadCast::Reject,
        outputs,
        // The header of a CSV result must name every column, and the type of a CSV column is known
        // only at its end: infer the schema from the whole input.
        schema: SchemaSource { declared, from: SchemaFrom::Full, ..SchemaSource::default() },
        // Our reading: a row that cannot be parsed fails the block. A row that is lost silently is worse.
        on_bad_record: pipeline::OnBadRecord::Fail,
        whole_streams: false,
        rejects: None,
        lossy_utf8: false,
        sort_hint: [].into(),
        metadata: Vec::new(),
        limits: Limits::default(),
    };
    let is_without_rows = is_empty && pass.is_none() && !parents.is_empty();
    let prepared = Prepared {
        pass,
        values,
        without_rows,
        is_without_rows,
        scratch,
        plan,
        files,
        formats: formats.to_vec(),
        feed_name: format!("{stem}.ndjson"),
        declared: declared_names,
        note,
        total_rows,
        total_bytes,
    };
    Ok((prepared, delivery))
}

impl Prepared {
    /// Returns the number of input rows, which it counts for an upload. 0 for a source without input.
    pub(super) fn count_rows(&self, input: &Input) -> io::Result<u64> {
        if let Some(rows) = self.total_rows {
            return Ok(rows);
        }
        let Input::Upload { file, path, .. } = input else { return Ok(0) };
        let mut counter = RowCounter::new(file.extension());
        let mut reader = BufReader::with_capacity(64 << 10, private_files::open(path)?);
        loop {
            let chunk = reader.fill_buf()?;
            if chunk.is_empty() {
                return Ok(counter.rows());
            }
            counter.feed(chunk);
            let n = chunk.len();
            reader.consume(n);
        }
    }

    /// Executes the pass and the plan. Blocks the thread; a panic in either becomes a failure of the block.
    pub(super) fn execute(self, control: &Control, limits: &Limits, clock: &Clock) -> Result<BlockOutcome, Failure> {
        let scratch = self.scratch.clone();
        let outcome = self.execute_all(control, limits, clock);
        // Most blocks have no such file, and one that cannot be removed only takes up space.
        let _ = std::fs::remove_file(scratch);
        outcome
    }

    fn execute_all(mut self, control: &Control, limits: &Limits, clock: &Clock) -> Result<BlockOutcome, Failure> {
        self.plan.limits = limits.clone();
        // Unwind safety: a panic consumes the plan, and the files that it names are overwritten or never offered.
        let bug = || Failure::Failed(INTERNAL_ERROR.to_owned());
        let mut counted = control.clone();
        let pass_outcome = match self.pass.take() {
            Some(pass) => {
                // The pass counts the rows; the plan that reads its output must not count them again.
                counted = control.without_counters();
                Some(catch_unwind(AssertUnwindSafe(|| pass.run(control))).map_err(|_| bug())??)
            }
            None => None,
        };
        if let Some(values) = self.values.take() {
            values.write(control, limits)?;
        }
        let is_without_rows = self.is_without_rows || pass_outcome.is_some() && size(&self.scratch) == 0;
        if is_without_rows && !self.without_rows.fields.is_empty() {
            self.plan.schema.declared = Some(self.without_rows.clone());
        }
        // The pipeline gives a file that replaces another the mode of that one, before it has contents.
        for (_, path) in &self.files {
            private_files::create(path)?;
        }
        let executed = catch_unwind(AssertUnwindSafe(|| pipeline::execute(self.plan, &counted)));
        if !matches!(executed, Ok(Ok(_))) {
            // What is left is empty, or belongs to a block that has failed.
            self.files.iter().for_each(|(_, path)| drop(std::fs::remove_file(path)));
        }
        let report = match executed {
            Ok(Ok(report)) => report,
            Ok(Err(pipeline::Error::Cancelled)) => return Err(Failure::Cancelled),
            Ok(Err(error)) => return Err(Failure::Failed(error_chain(&error))),
            Err(_) => return Err(bug()),
        };
        let unreadable = |error: io::Error| Failure::Failed(format!("cannot read back a result file: {error}"));
        // NDJSON is written even if the run does not offer it; only offered formats become result files.
        let mut files = Vec::new();
        for (format, path) in &self.files {
            if self.formats.contains(format) {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                files.push(FileRow {
                    format: *format,
                    filename: ResultFile::try_from(name).expect("a sequence number and the name of a block"),
                    size_bytes: path.metadata().map_err(unreadable)?.len(),
                    rows: report.rows_written,
                    created_at: clock.now(),
                    etag: format!("\"{}\"", Uuid::new_v4().simple()),
                });
            }
        }
        let feed_path = self.files.iter().find(|(format, _)| *format == ResultFormat::Ndjson);
        let path = feed_path.map(|(_, path)| path.clone()).unwrap_or_default();
        let results = inline_rows(&path, report.rows_written).map_err(unreadable)?;
        let mut columns: Vec<String> = report.schema.fields.iter().map(|field| field.name.to_string()).collect();
        columns.extend(self.declared);
        let feed = BlockRows { path, name: self.feed_name, rows: report.rows_written, columns };
        let (rows_in, pass_note) = match pass_outcome {
            Some(pass_outcome) => (pass_outcome.rows_in, pass_outcome.note),
            None => (report.rows_in, None),
        };
        Ok(BlockOutcome { files, results, rows_in, note: pass_note.or(self.note), feed })
    }
}

/// Returns a schema of `columns`, whose types no value tells, with the types and further columns of `declared`.
fn merged(columns: Vec<String>, declared: Option<&Schema>) -> Schema {
    let mut fields: Vec<Field> = columns.iter().map(|name| Field::new(name.as_str(), Type::Text)).collect();
    for field in declared.into_iter().flat_map(|schema| &schema.fields) {
        match fields.iter_mut().find(|known| known.name == field.name) {
            Some(known) => *known = field.clone(),
            None => fields.push(field.clone()),
        }
    }
    Schema::new(fields)
}

/// A `.json` file of objects one after the other, on any number of lines each.
struct JsonValues {
    path: PathBuf,
    /// Name of the file in messages.
    name: String,
    /// NDJSON file to write.
    out: PathBuf,
}

impl JsonValues {
    /// Writes each object on a line of its own. Blocks the thread.
    fn write(&self, control: &Control, limits: &Limits) -> Result<(), Failure> {
        let mut file = private_files::open(&self.path)?;
        let mut mark = [0; 3];
        // A byte order mark is no part of the text.
        let n = file.read(&mut mark)?;
        let head: &[u8] = if mark == *b"\xEF\xBB\xBF" { &[] } else { &mark[..n] };
        let max_bytes = limits.max_record_bytes;
        let limits = PayloadLimits { row_bytes: max_bytes, value_bytes: max_bytes };
        let mut out = BufWriter::with_capacity(256 << 10, private_files::create(&self.out)?);
        let written = Scanner::new(head.chain(file), limits).objects(&self.name, |row| {
            out.write_all(row.as_bytes())?;
            out.write_all(b"\n")?;
            if control.is_cancelled() { Err(io::ErrorKind::Interrupted.into()) } else { Ok(()) }
        });
        match written {
            _ if control.is_cancelled() => Err(Failure::Cancelled),
            Err(payload::Error::Io(error)) => Err(error.into()),
            Err(error) => Err(Failure::Failed(error.to_string())),
            Ok(()) => Ok(out.flush()?),
        }
    }
}

/// Returns the path and the name of an upload that is a `.json` file of objects one after the other.
fn json_values(input: &Input) -> io::Result<Option<(PathBuf, String)>> {
    match input {
        Input::Upload { file, path, name } if file.extension() == Extension::Json => {
            private_files::check_regular(path)?;
            Ok(begins_with_object(path)?.then(|| (path.clone(), name.clone())))
        }
        _ => Ok(None),
    }
}

fn output(format: ResultFormat, path: &Path) -> Output {
    let format = match format {
        // The vendor's own CSV spells booleans as Python does.
        ResultFormat::Csv => OutputFormat::Csv(CsvOptions { booleans: CsvBooleans::Python, ..CsvOptions::default() }),
        ResultFormat::Ndjson => OutputFormat::Ndjson,
        ResultFormat::Json => OutputFormat::JsonArray,
    };
    let target = Target::File { path: path.to_owned(), no_clobber: false, append: false };
    Output { format, compression: Compression::None, target }
}

/// Returns the pipeline's source for a run's input. Without an input, an empty file is created at `scratch`.
fn source(input: &Input, scratch: &Path) -> io::Result<Source> {
    match input {
        Input::Nothing => {
            private_files::create(scratch)?;
            Ok(file_source(scratch, "search", Format::Ndjson))
        }
        Input::Payload { path, name, .. } => {
            private_files::check_regular(path)?;
            Ok(file_source(path, name, Format::Ndjson))
        }
        Input::Upload { file, path, name } => {
            private_files::check_regular(path)?;
            typed_source(path, name, file.extension().as_str())
        }
    }
}

/// Returns the source for a file whose format follows from its extension, in lower case; NDJSON for an unknown one.
fn typed_source(path: &Path, name: &str, extension: &str) -> io::Result<Source> {
    let format = match extension {
        "csv" => Format::Csv,
        "json" if !begins_with_object(path)? => Format::JsonArray,
        _ => Format::Ndjson,
    };
    Ok(file_source(path, name, format))
}

fn file_source(path: &Path, name: &str, format: Format) -> Source {
    let mut source = Source::file(path);
    // Messages use the name that the user knows, not a path inside the data directory.
    source.name = name.into();
    source.format = Some(format);
    // The service reads RFC 4180, as the API does.
    source.csv.delimiter = (format == Format::Csv).then_some(b',');
    source
}

/// Returns true for a `.json` file that contains objects one after the other instead of an array.
fn begins_with_object(path: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    // The bound is far more white space than any writer puts before the first value.
    File::open(path)?.take(64 << 10).read_to_end(&mut head)?;
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&head);
    Ok(text.trim_ascii_start().first() == Some(&b'{'))
}

fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// Returns the rows of a finished NDJSON file; `None` if they exceed [`INLINE_ROWS`] or [`INLINE_BYTES`].
fn inline_rows(path: &Path, rows: u64) -> io::Result<Option<Vec<Map<String, Value>>>> {
    if rows > INLINE_ROWS || path.metadata()?.len() > INLINE_BYTES {
        return Ok(None);
    }
    let mut found = Vec::new();
    for line in BufReader::new(File::open(path)?).lines() {
        let line = line?;
        if !line.is_empty() {
            found.push(serde_json::from_str(&line)?);
        }
    }
    Ok(Some(found))
}
