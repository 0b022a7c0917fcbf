//! The plan of an execution: sources, steps, outputs, policies and limits, as plain data. The caller builds it once;
//! the engine validates it before it writes a byte, and never changes it while threads run.

use std::path::PathBuf;
use std::sync::Arc;

use super::channel::BatchSender;
use crate::column::{MAX_COLUMNS, Schema};
use crate::format::parquet::SortKey;
use crate::format::{Compression, LateColumns, OutputFormat};
use crate::sink::{ObjectLocation, TargetKind, UploadControl};
use crate::source::{Expansion, Source};
use crate::transform::{OnBadCast, SpillBudget, Step};
use crate::warehouse::{TableTarget, Widening};

/// One pass from sources through steps to outputs.
pub struct ExecutionPlan {
    /// The sources, read in order as one sequence of records.
    pub sources: Vec<Source>,
    /// The steps, applied to every batch in order.
    pub steps: Vec<Step>,
    /// Tables of a query among the steps, by their names.
    pub tables: Vec<(String, Source)>,
    /// The policy for a value that a cast or an expression of the steps cannot compute.
    pub on_bad_cast: OnBadCast,
    /// The outputs, at least one; each gets every record (a tee).
    pub outputs: Vec<Output>,
    /// The origin of column names and types.
    pub schema: SchemaSource,
    /// The policy for a bad record.
    pub on_bad_record: OnBadRecord,
    /// Streams, such as standard output, get their bytes only when all rows are right and counted. They are kept in a
    /// temporary file until then.
    pub whole_streams: bool,
    /// The file for rejected records, as NDJSON. `None` with `Skip` only counts them.
    pub rejects: Option<PathBuf>,
    /// Bytes of records that are not UTF-8 become U+FFFD and are counted, instead of rejecting the
    /// record. The header of a CSV source must be UTF-8 nevertheless.
    pub lossy_utf8: bool,
    /// The order that is claimed for the rows. Parquet row groups that are in this order are marked as sorted.
    pub sort_hint: Arc<[SortKey]>,
    /// Key and value pairs for the metadata of Parquet and Arrow outputs, such as the run's id.
    pub metadata: Vec<(String, String)>,
    /// Bounds on memory, records and threads.
    pub limits: Limits,
}

/// One output: a format on a target.
#[derive(Clone, Debug)]
pub struct Output {
    /// Format of the records.
    pub format: OutputFormat,
    /// Compression of the text formats; Parquet has its own inside.
    pub compression: Compression,
    /// File, directory, object or stream that the records go to.
    pub target: Target,
}

/// The target of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file that appears whole, by rename; an existing file is replaced unless `no_clobber`. A path of another
    /// [kind](TargetKind), such as a device or `/dev/stdout`, is written where it stands.
    File {
        /// The final path.
        path: PathBuf,
        /// Fail if the file exists.
        no_clobber: bool,
        /// Append to an existing file: NDJSON, or CSV with the same header. All new rows appear or none.
        append: bool,
    },
    /// A directory of files that appear together.
    Directory(Directory),
    /// One object in a store.
    Object(ObjectLocation),
    /// Standard output, written while records arrive.
    Stdout,
    /// A reader in this process, with the format Arrow; [`read_batches`](super::read_batches) and
    /// [`TypedReader`](super::TypedReader) create both ends.
    Channel(BatchSender),
    /// A table, with the format [`OutputFormat::Table`]. The rows appear in it all at once, with their row in its ledger.
    Table(TableTarget),
}

/// A directory of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// The directory, created if it is missing; its parent must exist. In a store, its URL.
    pub path: PathBuf,
    /// The store of the directory, whose objects are those below the URL's path. `None` for the file system.
    pub store: Option<ObjectLocation>,
    /// The prefix of its file names. The files of an execution replace all earlier files of the same set.
    pub set: String,
    /// Digests of the names of the sources, for a set that several conversions share: only earlier files of the same
    /// sources are replaced, and those of others are kept. Empty for a set of its own.
    pub sources: Arc<[String]>,
    /// Fail if the directory holds results.
    pub no_clobber: bool,
    /// Maximum rows per file; `None` for no maximum.
    pub max_file_rows: Option<u64>,
    /// Maximum bytes per file, as written; `None` for no maximum. A longer row gets a file of its own. The footer of a
    /// Parquet file is not counted.
    pub max_file_bytes: Option<u64>,
    /// Columns whose values choose the directory of a row, with the names of Hive: `country=NO/city=Oslo`. The files do
    /// not contain these columns. Empty for no partitioning.
    pub partition_by: Arc<[Arc<str>]>,
    /// Leave columns and members of objects out that are null, or empty lists, in all rows: what copies the files would make
    /// text of them. Default false.
    pub leaves_out_empty: bool,
}

impl Output {
    /// Returns true for a table whose rows are committed in chunks.
    pub(super) fn is_in_chunks(&self) -> bool {
        matches!(&self.target, Target::Table(table) if table.commit_every.is_some())
    }

    /// Returns true for CSV for spreadsheets in a file: it continues in further files where a sheet is full.
    pub fn is_sheets(&self) -> bool {
        let is_excel = matches!(self.format, OutputFormat::Csv(options) if options.excel);
        match &self.target {
            Target::File { path, append: false, .. } => is_excel && !TargetKind::is_stream(path),
            _ => false,
        }
    }

    /// Returns true where a reader may wait for each write and sees it at once: standard output, a pipe, a device or a
    /// reader in this process. With `whole_streams` only the last is one.
    pub fn is_live(&self, whole_streams: bool) -> bool {
        match &self.target {
            Target::Channel(_) => true,
            Target::Stdout => !whole_streams,
            Target::File { path, .. } => !whole_streams && TargetKind::is_stream(path),
            Target::Directory(_) | Target::Object(_) | Target::Table(_) => false,
        }
    }

    /// Returns true if the first rows fix the columns. With `whole_streams` a stream can be rewritten until its commit.
    pub fn has_fixed_columns(&self, whole_streams: bool) -> bool {
        // An upload, a stream, and rows behind those of others cannot be rewritten.
        let cannot_rewrite = match &self.target {
            Target::Object(_) | Target::File { append: true, .. } => true,
            // Its batches carry their columns.
            Target::Channel(sender) if sender.is_typed() => return false,
            _ => self.is_live(whole_streams),
        };
        match self.format.properties().late_columns {
            LateColumns::Anytime => false,
            LateColumns::BeforeItAppears => cannot_rewrite,
            LateColumns::Never => true,
        }
    }
}

/// The origin of column names and types.
#[derive(Clone, Debug, Default)]
pub struct SchemaSource {
    /// Types declared by a workflow. They apply to the columns that occur, including those with
    /// only nulls; values that do not fit widen them under `policy`. `None` if nothing is declared.
    pub declared: Option<Schema>,
    /// The explicit schema: columns that always exist, with fixed types. A value that does not fit is
    /// a reject, or an error under [`SchemaPolicy::Fail`]. Other columns follow `policy`. The type null
    /// means not specified; under [`SchemaPolicy::Evolve`] it is inferred from the values.
    pub enforced: Option<Schema>,
    /// Name of an additional last column for CSV, Parquet and Arrow outputs. It holds the keys that have
    /// no column when the first record is written, as one JSON object per record; and where a Parquet
    /// output cannot be rewritten, also JSON values that do not fit their column. `None` for no such column.
    pub extra_column: Option<Arc<str>>,
    /// The records that all other columns and types are inferred from.
    pub from: SchemaFrom,
    /// The policy for a late change.
    pub policy: SchemaPolicy,
    /// Names of columns that are known to occur, in their order; their types follow the records. Those of typed outputs are then in
    /// this order, whichever record has them first. Empty if none is known.
    pub occurring: Arc<[Arc<str>]>,
    /// True if other executions read further records under the same steps, which were checked before: a column that no record
    /// of this one has is then no error, and the report names it.
    pub is_part: bool,
}

/// The records that column names and types are inferred from before the first one is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchemaFrom {
    /// The sample; or all records where a late change could not be followed and the sources can be read twice.
    #[default]
    Auto,
    /// The first [`Limits::sample_bytes`] of records.
    Sample,
    /// All records; the sources must be files.
    Full,
}

/// The policy for a new key or a wider type after rows were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchemaPolicy {
    /// The column widens; earlier rows are rewritten to it before the file appears.
    #[default]
    Evolve,
    /// The record is rejected.
    Freeze,
    /// The execution fails.
    Fail,
}

impl SchemaPolicy {
    /// Returns the policy for columns and types that a table does not have.
    pub(super) fn widening(self) -> Widening {
        match self {
            SchemaPolicy::Evolve => Widening::Evolve,
            SchemaPolicy::Freeze | SchemaPolicy::Fail => Widening::Fixed,
        }
    }
}

/// The policy for a bad record: one that cannot be decoded or does not fit the schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBadRecord {
    /// The execution fails with the position of the record; no output appears.
    #[default]
    Fail,
    /// The record is rejected and counted.
    Skip,
    /// As `Skip` up to this number of rejects; one more fails.
    Limit(u64),
}

impl OnBadRecord {
    /// Returns the number of rejects that ends the execution, so that no more of a morsel need be kept.
    pub(super) fn fatal_count(self) -> usize {
        match self {
            OnBadRecord::Fail => 1,
            OnBadRecord::Limit(limit) => usize::try_from(limit).map_or(usize::MAX, |limit| limit.saturating_add(1)),
            OnBadRecord::Skip => usize::MAX,
        }
    }
}

/// Sizes and counts that bound an execution.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes in flight, all stages together. Default 256 MiB.
    pub max_memory_bytes: u64,
    /// A longer record is a reject. From 1 byte to 1 GiB; another limit is an error, [`Error::Bug`](super::Error::Bug).
    /// Default 16 MiB.
    pub max_record_bytes: usize,
    /// Columns of a schema; more are an error, because the keys of the records then look like data. Default: [`MAX_COLUMNS`];
    /// at most [`MAX_COLUMN_LIMIT`](crate::column::MAX_COLUMN_LIMIT) takes effect.
    pub max_columns: usize,
    /// Ratio of decompressed to compressed bytes beyond which an input is refused, once it has decompressed to 256 MiB; 0 is
    /// no limit. Default 1000: results compress to a tenth, repetitive ones to a hundredth.
    pub max_expansion: u64,
    /// Bytes of one morsel, from 1 byte to 1 GiB; the execution panics on others. Default 1 MiB: below 256 KiB the cost of
    /// channels shows, above 2 MiB it falls out of the cache.
    pub morsel_bytes: usize,
    /// Encoded bytes of one Parquet row group, at most about an eighth of the memory. Default 32 MiB.
    pub row_group_bytes: usize,
    /// Bytes of the sample that the schema is inferred from before the first record is written.
    /// Default 4 MiB.
    pub sample_bytes: usize,
    /// Compute threads; 0, the default, is one per core. There is no upper bound: more than the system can start abort the
    /// process.
    pub workers: usize,
    /// Bytes that stateful steps keep in memory, all together; the rest spills to disk. `None` is an eighth
    /// of the memory.
    pub max_step_bytes: Option<usize>,
    /// Directory for their temporary files, which are unnamed; `None` is the system's.
    pub spill_dir: Option<PathBuf>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_memory_bytes: 256 << 20,
            max_record_bytes: 16 << 20,
            max_columns: MAX_COLUMNS,
            max_expansion: Expansion::MAX_RATIO,
            morsel_bytes: 1 << 20,
            row_group_bytes: 32 << 20,
            sample_bytes: 4 << 20,
            workers: 0,
            max_step_bytes: None,
            spill_dir: None,
        }
    }
}

impl Limits {
    /// Returns the number of compute threads: `workers`, or one per core.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(2, usize::from),
            n => n,
        }
    }

    /// Returns the bytes that all downloads together may buffer before the reader: a sixteenth of the memory.
    pub fn download_window_bytes(&self) -> usize {
        usize::try_from(self.max_memory_bytes / 16).unwrap_or(usize::MAX)
    }

    /// Returns the memory bound and the spill directory that all stateful steps share.
    pub fn spill_budget(&self) -> SpillBudget {
        let eighth = usize::try_from(self.max_memory_bytes / 8).unwrap_or(usize::MAX);
        SpillBudget { max_bytes: self.max_step_bytes.unwrap_or(eighth), directory: self.spill_dir.clone() }
    }
}

impl ExecutionPlan {
    /// Creates a plan from one source to one output, everything else at its default.
    pub fn new(source: Source, output: Output) -> Self {
        ExecutionPlan { outputs: vec![output], ..ExecutionPlan::reading(vec![source]) }
    }

    /// Creates a plan that reads these sources in order and has no outputs yet, everything else at its default.
    pub fn reading(sources: Vec<Source>) -> Self {
        ExecutionPlan {
            sources,
            steps: Vec::new(),
            tables: Vec::new(),
            on_bad_cast: OnBadCast::default(),
            outputs: Vec::new(),
            schema: SchemaSource::default(),
            on_bad_record: OnBadRecord::default(),
            whole_streams: false,
            rejects: None,
            lossy_utf8: false,
            sort_hint: Arc::default(),
            metadata: Vec::new(),
            limits: Limits::default(),
        }
    }

    /// Sets the handle by which the uploads to stores are cancelled.
    pub(super) fn set_uploads(&mut self, uploads: &UploadControl) {
        for output in &mut self.outputs {
            if let Target::Object(location) | Target::Directory(Directory { store: Some(location), .. }) =
                &mut output.target
            {
                location.uploads = uploads.clone();
            }
        }
    }
}
