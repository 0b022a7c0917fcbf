//! One block of a run as one plan of the pipeline.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use uuid::Uuid;

use super::pass::Pass;
use crate::format::{Compression, CsvBooleans, CsvOptions, Format, OutputFormat};
use crate::pipeline::{self, Control, ExecutionPlan, Limits, Output, SchemaFrom, SchemaSource, Target};
use crate::service::blocks::{BlockContext, BlockPlan, Delivery, Failure, Input};
use crate::service::clock::Clock;
use crate::service::enrichment_sources::EnrichmentSources;
use crate::service::graph::CheckedGraph;
use crate::service::notebooks::NotebookRow;
use crate::service::rows::{FileRow, ResultFormat};
use crate::source::Source;
use crate::text::error_chain;
use crate::transform::{OnBadCast, SpillBudget};

/// Rows that a link carries inline at most. Our reading: neither the bound nor the typing is public.
const INLINE_ROWS: u64 = 20;

/// Bytes of such rows at most: they are kept in the store.
const INLINE_BYTES: u64 = 64 << 10;

/// The rows of a finished block for the blocks after it: NDJSON, which keeps types.
pub(super) struct BlockRows {
    /// The file.
    pub path: PathBuf,
    /// Its name for messages.
    pub name: String,
    /// Rows in it.
    pub rows: u64,
    /// Names of its columns, in order.
    columns: Vec<String>,
}

/// A block that is ready to execute.
pub(super) struct Prepared {
    /// Comes before the plan, which reads what it makes.
    pass: Option<Pass>,
    /// A file of rows that is not needed after the plan, if it is there.
    scratch: PathBuf,
    plan: ExecutionPlan,
    files: Vec<(ResultFormat, PathBuf)>,
    formats: Vec<ResultFormat>,
    feed_name: String,
    declared: Vec<String>,
    /// A remark about its result for people.
    pub note: Option<String>,
    /// Rows that it will read, if known.
    pub total_rows: Option<u64>,
    /// Bytes that it will read.
    pub total_bytes: u64,
}

/// The outcome of a block.
pub(super) struct BlockOutcome {
    /// Its files in the formats of the run.
    pub files: Vec<FileRow>,
    /// Its rows, if they are few.
    pub results: Option<Vec<Map<String, Value>>>,
    /// Rows that it read.
    pub rows_in: u64,
    /// A remark about its result for people.
    pub note: Option<String>,
    /// For the blocks after it.
    pub feed: BlockRows,
}

/// The surroundings of a block in its run.
pub(super) struct BlockSurroundings<'a> {
    pub sources: &'a EnrichmentSources,
    /// Of the run.
    pub folder: &'a Path,
    /// Of notebooks.
    pub notebooks: &'a Path,
    /// The notebook that a block reads or appends to.
    pub notebook: Option<NotebookRow>,
    pub formats: &'a [ResultFormat],
    pub room: SpillBudget,
    pub runtime: tokio::runtime::Handle,
}

/// Makes the plan of the block at `index`, and says where its rows are delivered. `feeds` holds what the blocks before it left.
pub(super) fn prepare(
    checked: &CheckedGraph,
    index: usize,
    input: &Input,
    feeds: &[Option<BlockRows>],
    surroundings: BlockSurroundings<'_>,
) -> Result<(Prepared, Delivery), Failure> {
    let block = &checked.graph.blocks[index];
    let BlockSurroundings { sources, folder, notebooks, notebook, formats, room, runtime } = surroundings;
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
    let mut columns: Vec<String> = Vec::new();
    for column in parents.iter().flat_map(|feed| &feed.columns) {
        if !columns.contains(column) {
            columns.push(column.clone());
        }
    }
    // A table without rows has no columns either; nothing can be missing from it.
    let is_empty = total_rows == Some(0);
    let context = BlockContext { sources, notebooks, notebook, runtime, columns: &columns, is_empty };
    let BlockPlan { rewrite, steps, note, table, declared, delivery } = checked.blocks[index].plan(&context)?;
    let stem = format!("block_{}_{}", block.sequence_number, block.block_name);
    std::fs::create_dir_all(folder).map_err(|error| Failure::Failed(format!("no folder for results: {error}")))?;
    let scratch = folder.join(format!("{stem}.rows"));
    let failed = |error: io::Error| Failure::Failed(format!("the input cannot be read: {error}"));
    let pass = rewrite.map(|rewrite| Pass {
        rewrite,
        feeds: parents.iter().map(|feed| feed.path.clone()).collect(),
        columns,
        out: scratch.clone(),
        room,
    });
    let sources = match (&pass, table) {
        (Some(pass), _) => vec![file_source(&pass.out, &format!("{stem} rows"), Format::Ndjson)],
        (None, Some(path)) => {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let extension = path.extension().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
            vec![source(&Input::Upload { path, name, extension }, &scratch).map_err(failed)?]
        }
        (None, None) if parents.is_empty() => vec![source(input, &scratch).map_err(failed)?],
        _ => parents.iter().map(|feed| file_source(&feed.path, &feed.name, Format::Ndjson)).collect(),
    };
    // CSV always; NDJSON always too, because the blocks after this one read it.
    let mut files = vec![ResultFormat::Csv, ResultFormat::Ndjson];
    files.extend(formats.contains(&ResultFormat::Json).then_some(ResultFormat::Json));
    let files: Vec<(ResultFormat, PathBuf)> =
        files.into_iter().map(|format| (format, folder.join(format!("{stem}.{}", format.as_str())))).collect();
    let outputs = files.iter().map(|(format, path)| output(*format, path)).collect();
    let declared_names: Vec<String> =
        declared.iter().flat_map(|schema| &schema.fields).map(|field| field.name.to_string()).collect();
    let plan = ExecutionPlan {
        sources,
        steps,
        tables: Vec::new(),
        on_bad_cast: OnBadCast::Reject,
        outputs,
        // The header of a CSV result must have every column, and whether a CSV input's column is a
        // number shows only at its end: the schema comes from everything.
        schema: SchemaSource { declared, from: SchemaFrom::Full, ..SchemaSource::default() },
        // Our reading: a row that cannot be read fails the block. A row lost in silence is worse.
        on_bad_record: pipeline::OnBadRecord::Fail,
        rejects: None,
        lossy_utf8: false,
        sort_hint: [].into(),
        metadata: Vec::new(),
        limits: Limits::default(),
    };
    let prepared = Prepared {
        pass,
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
    /// Executes the plan. Blocks.
    pub(super) fn execute(self, control: &Control, limits: &Limits, clock: &Clock) -> Result<BlockOutcome, Failure> {
        let scratch = self.scratch.clone();
        let done = self.execute_all(control, limits, clock);
        // Most blocks have none; one that stays is only in the way of space.
        let _ = std::fs::remove_file(scratch);
        done
    }

    fn execute_all(mut self, control: &Control, limits: &Limits, clock: &Clock) -> Result<BlockOutcome, Failure> {
        self.plan.limits = limits.clone();
        // The plan is gone after a panic, and the files it names are made anew or not offered.
        let bug = || Failure::Failed("internal error: the block stopped by a bug of ours".to_owned());
        let mut counted = control.clone();
        let rewritten = match self.pass.take() {
            Some(pass) => {
                // What it has read and made must not count twice.
                counted = control.without_counters();
                Some(catch_unwind(AssertUnwindSafe(|| pass.run(control))).map_err(|_| bug())??)
            }
            None => None,
        };
        let executed = catch_unwind(AssertUnwindSafe(|| pipeline::execute(self.plan, &counted)));
        let report = match executed {
            Ok(Ok(report)) => report,
            Ok(Err(pipeline::Error::Cancelled)) => return Err(Failure::Cancelled),
            Ok(Err(error)) => return Err(Failure::Failed(error_chain(&error))),
            Err(_) => return Err(bug()),
        };
        let unreadable = |error: io::Error| Failure::Failed(format!("a result cannot be read again: {error}"));
        let mut files = Vec::new();
        for (format, path) in &self.files {
            if self.formats.contains(format) {
                files.push(FileRow {
                    format: *format,
                    filename: path.file_name().unwrap_or_default().to_string_lossy().into_owned(),
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
        let (rows_in, noted) = match rewritten {
            Some(rewritten) => (rewritten.rows_in, rewritten.note),
            None => (report.rows_in, None),
        };
        Ok(BlockOutcome { files, results, rows_in, note: noted.or(self.note), feed })
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

fn source(input: &Input, scratch: &Path) -> io::Result<Source> {
    match input {
        Input::Nothing => {
            File::create(scratch)?;
            Ok(file_source(scratch, "search", Format::Ndjson))
        }
        Input::Payload { path, name, .. } => Ok(file_source(path, name, Format::Ndjson)),
        Input::Upload { path, name, extension } => {
            let format = match extension.as_str() {
                "csv" => Format::Csv,
                "json" if !begins_with_object(path)? => Format::JsonArray,
                _ => Format::Ndjson,
            };
            Ok(file_source(path, name, format))
        }
    }
}

fn file_source(path: &Path, name: &str, format: Format) -> Source {
    let mut source = Source::file(path);
    // Messages name what the user knows, not a path inside the service.
    source.name = name.into();
    source.format = Some(format);
    source
}

/// True for a `.json` file that holds objects one after the other instead of an array.
fn begins_with_object(path: &Path) -> io::Result<bool> {
    let mut head = Vec::new();
    // Far more white space than any writer puts before the first value.
    File::open(path)?.take(64 << 10).read_to_end(&mut head)?;
    let text = head.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&head);
    Ok(text.trim_ascii_start().first() == Some(&b'{'))
}

fn size(path: &Path) -> u64 {
    path.metadata().map_or(0, |metadata| metadata.len())
}

/// The rows of a finished NDJSON file, if they are few and small.
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
