//! One block of a run as one plan of the pipeline.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use uuid::Uuid;

use crate::format::{Compression, CsvBooleans, CsvOptions, Format, OutputFormat};
use crate::pipeline::{self, Control, Limits, Output, Plan, SchemaChoice, SchemaFrom, Target};
use crate::service::answer::chain;
use crate::service::clock::Clock;
use crate::service::enrich::Tables;
use crate::service::graph::Checked;
use crate::service::rows::{FileRow, ResultFormat};
use crate::service::specs::{ReadCsvSpecs, Work};
use crate::source::Source;
use crate::transform::{Lookup, Selected, Step, expr};

/// Rows that a link carries inline at most. Our reading: neither the bound nor the typing is public.
const INLINE_ROWS: u64 = 20;

/// Bytes of such rows at most: they are kept in the store.
const INLINE_BYTES: u64 = 64 << 10;

/// What the source block of a run reads.
pub(in crate::service) enum Input {
    /// Rows of the request, one per line.
    Payload {
        /// Where they stand.
        path: PathBuf,
        /// Number of them.
        rows: u64,
    },
    /// An uploaded file.
    Upload {
        /// Where it stands.
        path: PathBuf,
        /// Name that the client gave it.
        name: String,
        /// Its extension, in lower case.
        extension: String,
    },
}

/// What a finished block hands to the blocks after it: NDJSON, which keeps types.
pub(super) struct Feed {
    /// The file.
    pub path: PathBuf,
    /// Its name for messages.
    pub name: String,
    /// Rows in it.
    pub rows: u64,
    /// Names of its columns.
    columns: HashSet<String>,
}

/// Why a block did not finish.
pub(super) enum Failure {
    /// Somebody asked it to stop.
    Cancelled,
    /// It failed; the text is for people.
    Failed(String),
}

/// A block that is ready to execute.
pub(super) struct Prepared {
    plan: Plan,
    files: Vec<(ResultFormat, PathBuf)>,
    formats: Vec<ResultFormat>,
    feed_name: String,
    declared: HashSet<String>,
    /// What people should know about its result.
    pub note: Option<String>,
    /// Rows that it will read, if known.
    pub total_rows: Option<u64>,
    /// Bytes that it will read.
    pub total_bytes: u64,
}

/// What a block has done.
pub(super) struct Done {
    /// Its files in the formats of the run.
    pub files: Vec<FileRow>,
    /// Its rows, if they are few.
    pub results: Option<Vec<Map<String, Value>>>,
    /// Rows that it read.
    pub rows_in: u64,
    /// For the blocks after it.
    pub feed: Feed,
}

/// Makes the plan of the block at `index`. `feeds` holds what the blocks before it left.
pub(super) fn prepare(
    checked: &Checked,
    index: usize,
    input: &Input,
    feeds: &[Option<Feed>],
    tables: &Tables,
    folder: &Path,
    formats: &[ResultFormat],
) -> Result<Prepared, Failure> {
    let block = &checked.graph.blocks[index];
    let work = &checked.work[index];
    let parents: Vec<&Feed> = checked.parents[index].iter().filter_map(|&parent| feeds[parent].as_ref()).collect();
    let sources = if parents.is_empty() {
        vec![source(input).map_err(|error| Failure::Failed(format!("the input cannot be read: {error}")))?]
    } else {
        parents.iter().map(|feed| file_source(&feed.path, &feed.name, Format::Ndjson)).collect()
    };
    let total_rows = match input {
        Input::Payload { rows, .. } if parents.is_empty() => Some(*rows),
        Input::Upload { .. } if parents.is_empty() => None,
        _ => Some(parents.iter().map(|feed| feed.rows).sum()),
    };
    let total_bytes = match input {
        Input::Payload { path, .. } | Input::Upload { path, .. } if parents.is_empty() => size(path),
        _ => parents.iter().map(|feed| size(&feed.path)).sum(),
    };
    // A table without rows has no columns either; nothing can be missing from it.
    let empty = total_rows == Some(0);
    let lacks = |column: &str| !empty && !parents.iter().any(|feed| feed.columns.contains(column));
    let (step, note) = step(work, tables, lacks)?;
    let stem = format!("block_{}_{}", block.sequence_number, block.block_name);
    std::fs::create_dir_all(folder).map_err(|error| Failure::Failed(format!("no folder for results: {error}")))?;
    // CSV always; NDJSON always too, because the blocks after this one read it.
    let mut files = vec![ResultFormat::Csv, ResultFormat::Ndjson];
    files.extend(formats.contains(&ResultFormat::Json).then_some(ResultFormat::Json));
    let files: Vec<(ResultFormat, PathBuf)> =
        files.into_iter().map(|format| (format, folder.join(format!("{stem}.{}", format.as_str())))).collect();
    let outputs = files.iter().map(|(format, path)| output(*format, path)).collect();
    let declared = match work {
        Work::ReadCsv(specs) => specs.declared.clone(),
        _ => None,
    };
    let declared_names =
        declared.iter().flat_map(|schema| &schema.fields).map(|field| field.name.to_string()).collect();
    let plan = Plan {
        sources,
        steps: step.into_iter().collect(),
        outputs,
        // The header of a CSV result must have every column, and whether a CSV input's column is a
        // number shows only at its end: the schema comes from everything.
        schema: SchemaChoice { declared, from: SchemaFrom::Full, ..SchemaChoice::default() },
        // Our reading: a row that cannot be read fails the block. A row lost in silence is worse.
        on_bad_record: pipeline::OnBadRecord::Fail,
        rejects: None,
        lossy_utf8: false,
        limits: Limits::default(),
    };
    Ok(Prepared {
        plan,
        files,
        formats: formats.to_vec(),
        feed_name: format!("{stem}.ndjson"),
        declared: declared_names,
        note,
        total_rows,
        total_bytes,
    })
}

/// The step of a block, if it has one, and what people should know about its result.
fn step(work: &Work, tables: &Tables, lacks: impl Fn(&str) -> bool) -> Result<(Option<Step>, Option<String>), Failure> {
    match work {
        Work::ReadCsv(ReadCsvSpecs { columns: Some(columns), .. }) => Ok((Some(select(columns)), None)),
        Work::Webhook(_) | Work::ReadCsv(_) | Work::OutgoingWebhook(_) => Ok((None, None)),
        Work::Deliver => Ok((None, Some("nothing was delivered: the local service passes rows through".to_owned()))),
        Work::Change { step, needs } => match needs.iter().find(|column| lacks(column)) {
            Some(column) => Err(Failure::Failed(format!("column '{column}' is not in the input"))),
            None => Ok((Some(step.clone()), None)),
        },
        Work::Enrich { block, fields } => {
            let Some(table) = tables.get(block) else {
                let hint = format!("no reference table for {block} (serve --enrich {block}=FILE:KEY)");
                return Ok(match fields {
                    Some(fields) => {
                        let lookup = Lookup { fields: fields.clone(), key: String::new(), table: None };
                        (Some(Step::Lookup(lookup)), Some(format!("{hint}: its return_fields are null")))
                    }
                    None => (None, Some(format!("{hint}: rows pass through as they are"))),
                });
            };
            let note = lacks(&table.key)
                .then(|| format!("column '{}' is not in the input: nothing could be looked up", table.key));
            Ok((Some(Step::Lookup(table.lookup(fields.as_deref()))), note))
        }
    }
}

/// The step that keeps `columns`. One that is not in the input fails the block.
fn select(columns: &[String]) -> Step {
    let selected =
        columns.iter().map(|name| Selected { path: expr::Path::column(name.as_str()), name: name.as_str().into() });
    Step::Select(selected.collect(), "columns".into())
}

impl Prepared {
    /// Executes the plan. Blocks.
    pub(super) fn execute(mut self, control: &Control, limits: &Limits, clock: &Clock) -> Result<Done, Failure> {
        self.plan.limits = limits.clone();
        // The plan is gone after a panic, and the files it names are made anew or not offered.
        let executed = catch_unwind(AssertUnwindSafe(|| pipeline::execute(self.plan, control)));
        let report = match executed {
            Ok(Ok(report)) => report,
            Ok(Err(pipeline::Error::Cancelled)) => return Err(Failure::Cancelled),
            Ok(Err(error)) => return Err(Failure::Failed(chain(&error))),
            Err(_) => return Err(Failure::Failed("internal error: the block stopped by a bug of ours".to_owned())),
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
        let mut columns = self.declared;
        columns.extend(report.schema.fields.iter().map(|field| field.name.to_string()));
        let feed = Feed { path, name: self.feed_name, rows: report.rows_written, columns };
        Ok(Done { files, results, rows_in: report.rows_in, feed })
    }
}

fn output(format: ResultFormat, path: &Path) -> Output {
    let format = match format {
        // The vendor's own CSV spells booleans as Python does.
        ResultFormat::Csv => OutputFormat::Csv(CsvOptions { booleans: CsvBooleans::Python, ..CsvOptions::default() }),
        ResultFormat::Ndjson => OutputFormat::Ndjson,
        ResultFormat::Json => OutputFormat::JsonArray,
    };
    let target = Target::File { path: path.to_owned(), no_clobber: false };
    Output { format, compression: Compression::None, target }
}

fn source(input: &Input) -> io::Result<Source> {
    match input {
        Input::Payload { path, .. } => Ok(file_source(path, "webhook_payload", Format::Ndjson)),
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
