//! The plan of an execution: sources, steps and outputs, validated before any byte moves.

use std::path::PathBuf;
use std::sync::Arc;

use super::channel::BatchSender;
use crate::column::Schema;
use crate::format::parquet::SortKey;
use crate::format::{Compression, LateColumns, OutputFormat};
use crate::sink::ObjectLocation;
use crate::source::Source;
use crate::transform::{OnBadCast, SpillBudget, Step};

/// One pass from sources through steps to outputs.
pub struct ExecutionPlan {
    /// Read in order, as one sequence of records.
    pub sources: Vec<Source>,
    /// Applied to every batch in order.
    pub steps: Vec<Step>,
    /// Tables of a query among the steps, by their names.
    pub tables: Vec<(String, Source)>,
    /// The policy for a value that a cast or an expression of the steps cannot make.
    pub on_bad_cast: OnBadCast,
    /// Every output gets every record (a tee). At least one.
    pub outputs: Vec<Output>,
    /// The origin of column names and types.
    pub schema: SchemaSource,
    /// The policy for a record that cannot be used.
    pub on_bad_record: OnBadRecord,
    /// The file that keeps such records, as NDJSON. `None` with `Skip` only counts them.
    pub rejects: Option<PathBuf>,
    /// Bytes of records that are not UTF-8 become U+FFFD and are counted, instead of rejecting the
    /// record. The header of a CSV source must be UTF-8 nevertheless.
    pub lossy_utf8: bool,
    /// The order that is claimed for the rows. Row groups of Parquet say so where it is true.
    pub sort_hint: Arc<[SortKey]>,
    /// Key and value pairs for the metadata of Parquet and Arrow outputs, such as the run's id.
    pub metadata: Vec<(String, String)>,
    /// Sizes.
    pub limits: Limits,
}

/// One output: a format on a target.
#[derive(Clone, Debug)]
pub struct Output {
    /// Format of the records.
    pub format: OutputFormat,
    /// Compression of the text formats; Parquet has its own inside.
    pub compression: Compression,
    /// Its target.
    pub target: Target,
}

/// The target of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A file that appears whole, by rename; what stood there is replaced unless `no_clobber`.
    File {
        /// Final path.
        path: PathBuf,
        /// Refuse if a file stands there.
        no_clobber: bool,
        /// Add to what stands there: NDJSON, or CSV with the same header. That too appears whole or not at all.
        append: bool,
    },
    /// A folder of files that appear together.
    Directory(Directory),
    /// An object in a store.
    Object(ObjectLocation),
    /// Standard output, as it comes.
    Stdout,
    /// A reader in this process; [`read_batches`](super::read_batches) makes both ends. The format is Arrow.
    Channel(BatchSender),
}

/// A folder of files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    /// The folder. It is made if it is not there, in one that is. In a store, its URL.
    pub path: PathBuf,
    /// The store that it is in, if it is not of the file system: its objects are those whose names begin with the URL's path.
    pub store: Option<ObjectLocation>,
    /// The beginning of the names of its files. Files of one set replace all of that set from before.
    pub set: String,
    /// Refuse if results stand there.
    pub no_clobber: bool,
    /// The most rows of a file.
    pub max_file_rows: Option<u64>,
    /// The most bytes of a file, as written; a row that is longer stands alone. What is at the end of a Parquet file
    /// comes on top.
    pub max_file_bytes: Option<u64>,
    /// Columns whose values choose the folder of a row, as Hive names them: `country=NO/city=Oslo`. The files do not
    /// hold them.
    pub partition_by: Arc<[Arc<str>]>,
}

impl Output {
    /// True for CSV for spreadsheets in a file: it goes on in others where a sheet ends.
    pub fn is_sheets(&self) -> bool {
        let is_excel = matches!(self.format, OutputFormat::Csv(options) if options.excel);
        match &self.target {
            Target::File { path, append: false, .. } => {
                is_excel && std::fs::metadata(path).map_or(true, |metadata| metadata.is_file())
            }
            _ => false,
        }
    }

    /// True where bytes that are written are out at once, for a reader that may be waiting for them: standard output, a
    /// pipe or a device.
    pub fn is_live(&self) -> bool {
        match &self.target {
            Target::Stdout | Target::Channel(_) => true,
            Target::File { path, .. } => std::fs::metadata(path).is_ok_and(|m| !m.is_file() && !m.is_dir()),
            Target::Directory(_) | Target::Object(_) => false,
        }
    }

    /// True when the first rows fix the columns.
    pub fn has_fixed_columns(&self) -> bool {
        let cannot_go_back = match &self.target {
            Target::Object(_) | Target::File { append: true, .. } => true,
            _ => self.is_live(),
        };
        match self.format.properties().late_columns {
            LateColumns::Anytime => false,
            LateColumns::BeforeItAppears => cannot_go_back,
            LateColumns::Never => true,
        }
    }
}

/// The origin of column names and types.
#[derive(Clone, Debug, Default)]
pub struct SchemaSource {
    /// Types declared by a workflow. They hold for the columns that occur, also where these have
    /// nothing but nulls; values that do not fit widen them under `policy`.
    pub declared: Option<Schema>,
    /// Columns that there are, with types that hold: a value that does not fit is a reject, or the
    /// end if `policy` is to fail. Other columns follow `policy`. A column of type null has no type
    /// yet; under [`SchemaPolicy::Evolve`] its values give it one.
    pub enforced: Option<Schema>,
    /// Name of one more column, the last, for CSV and Parquet outputs. It takes the keys that have
    /// no column by the time that the first record is written, as one JSON object per record; and
    /// where a Parquet output cannot go back, values of JSON that do not fit their column, too.
    pub extra_column: Option<Arc<str>>,
    /// The records that are read to find the rest.
    pub from: SchemaFrom,
    /// The policy for a late change.
    pub policy: SchemaPolicy,
}

/// The records that are read to find column names and types before the first one is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchemaFrom {
    /// The sample, or everything where only that is right and the source can be read twice.
    #[default]
    Auto,
    /// The first morsels.
    Sample,
    /// Everything; sources must be files.
    Full,
}

/// The policy for a new key or a wider type after rows were written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SchemaPolicy {
    /// The column widens; what was written is brought up to it before the file appears.
    #[default]
    Evolve,
    /// The record is rejected.
    Freeze,
    /// The execution fails.
    Fail,
}

/// The policy for a record that cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBadRecord {
    /// The execution fails, naming the place; nothing appears.
    #[default]
    Fail,
    /// It is set aside and counted.
    Skip,
    /// As `Skip`, up to so many; one more fails.
    Limit(u64),
}

impl OnBadRecord {
    /// The number of rejects that ends the execution, so that no more of a morsel need be kept.
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
    /// A longer record is a reject. Default 16 MiB.
    pub max_record_bytes: usize,
    /// Bytes of one morsel. Default 1 MiB: below 256 KiB hand-over shows, above 2 MiB it falls
    /// out of the cache.
    pub morsel_bytes: usize,
    /// Bytes of one Parquet row group, as encoded, at most about an eighth of the memory. Default
    /// 32 MiB.
    pub row_group_bytes: usize,
    /// Bytes that are read to find a schema before the first record is written, where not everything is.
    /// Default 4 MiB.
    pub sample_bytes: usize,
    /// Compute threads; 0 is one per core.
    pub workers: usize,
    /// Bytes that steps which remember rows keep in memory, all together; the rest goes to disk. `None` is an eighth
    /// of the memory.
    pub max_step_bytes: Option<usize>,
    /// Folder of their temporary files, which have no names there; `None` is the system's.
    pub spill_dir: Option<PathBuf>,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_memory_bytes: 256 << 20,
            max_record_bytes: 16 << 20,
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
    /// Compute threads: as many as were asked for, or one per core.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(2, usize::from),
            n => n,
        }
    }

    /// Bytes that downloads may hold between their sockets and the reader, all together: a sixteenth of the memory.
    pub fn download_window_bytes(&self) -> usize {
        usize::try_from(self.max_memory_bytes / 16).unwrap_or(usize::MAX)
    }

    /// The memory and the disk of all steps that remember rows, together.
    pub fn spill_budget(&self) -> SpillBudget {
        let eighth = usize::try_from(self.max_memory_bytes / 8).unwrap_or(usize::MAX);
        SpillBudget { max_bytes: self.max_step_bytes.unwrap_or(eighth), directory: self.spill_dir.clone() }
    }
}

impl ExecutionPlan {
    /// A plan from one source to one output, everything else at its default.
    pub fn new(source: Source, output: Output) -> Self {
        ExecutionPlan { outputs: vec![output], ..ExecutionPlan::reading(vec![source]) }
    }

    /// A plan that reads these sources in order and has no outputs yet, everything else at its default.
    pub fn reading(sources: Vec<Source>) -> Self {
        ExecutionPlan {
            sources,
            steps: Vec::new(),
            tables: Vec::new(),
            on_bad_cast: OnBadCast::default(),
            outputs: Vec::new(),
            schema: SchemaSource::default(),
            on_bad_record: OnBadRecord::default(),
            rejects: None,
            lossy_utf8: false,
            sort_hint: Arc::default(),
            metadata: Vec::new(),
            limits: Limits::default(),
        }
    }
}
