//! The errors of commands as people read them: the chain of causes on one line, a hint with what helps, and an exit
//! code.
//!
//! The layers below describe an error in their own terms. The flags and commands that help against it are named here.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::exit::Exit;
use super::flag_text::{flag_of_csv, in_flags};
use super::mistakes::near_file;
use super::settings::{self, API_KEY_VARIABLE};
use super::shell::shell_quoted;
use crate::client::{self, RunEnd, StateError};
use crate::format::parquet::InputError;
use crate::net::{self, Kind};
use crate::pipeline::{self, ColumnPurpose, DirectoryConflict, FixedSchema, PlanError, SchemaChange, SharedName};
use crate::secret::without_passwords;
use crate::sink::{ChangedMeanwhile, StoreError, StoreProblem, TargetKind, TemporaryFile};
use crate::source::{TooMuchExpansion, is_pattern};
use crate::text::{error_chain, escape_for_terminal};
use crate::transform::{ForeignError, Unwritable, expr};
use crate::warehouse::LoadError;

/// The name of standard output in errors, as the engine writes it, too.
pub(super) const STDOUT: &str = "standard output";

/// The error of a command.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Error {
    /// Arguments, or combinations of them, that are not valid.
    #[error("{0}")]
    Usage(String),
    /// An invalid setting, or one whose file cannot be read.
    #[error(transparent)]
    Settings(#[from] settings::Error),
    /// An error of the API's client.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// A download that could not be opened.
    #[error("cannot download {name}")]
    Download {
        /// Name of the file, or URL without its query.
        name: String,
        /// Error of the request.
        #[source]
        cause: net::Error,
    },
    /// A flag whose value is an expression that cannot be parsed.
    #[error("{flag}: {cause}")]
    Expression {
        /// Name of the flag, with its dashes.
        flag: &'static str,
        /// Error with its position. Not a `source`, because the text is printed with a marker below it.
        cause: expr::Error,
    },
    /// An error of the state directory or of a ledger.
    #[error(transparent)]
    State(#[from] StateError),
    /// An earlier start without a response, of which it is unknown whether it began a run.
    #[error("a start of workflow {workflow} {ago} ago got no response, and {doubt}")]
    UnknownFate {
        /// Name of the workflow.
        workflow: String,
        /// Age of the start, for people.
        ago: String,
        /// The reason, such as the runs that it may have become.
        doubt: String,
    },
    /// An error of the engine.
    #[error(transparent)]
    Pipeline(#[from] pipeline::Error),
    /// An output that cannot be written.
    #[error("cannot write {path}")]
    Write {
        /// Path of the output, or [`STDOUT`].
        path: PathBuf,
        /// Error of the system or of the store.
        #[source]
        cause: io::Error,
    },
    /// An input that cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// Path of the input.
        path: PathBuf,
        /// Error of the system.
        #[source]
        cause: io::Error,
    },
    /// A JSON argument or file that cannot be parsed.
    #[error("{what} is not valid JSON ({})", json_place(cause))]
    Json {
        /// File, or flag, that contains it.
        what: String,
        /// Position of the error. Not a `source`, because its text is the parser's and may quote values.
        cause: serde_json::Error,
    },
    /// A local service that cannot be started.
    #[cfg(feature = "serve")]
    #[error("cannot start the local service")]
    Service(#[source] crate::service::Error),
    /// An export or import of the local service's state. Its message is complete by itself.
    #[cfg(feature = "serve")]
    #[error(transparent)]
    Moved(crate::service::ArchiveError),
    /// Ctrl-C, SIGTERM or SIGHUP.
    #[error("interrupted")]
    Interrupted,
    /// A bug in drawoff, or a system that refuses threads or signals.
    #[error("internal error: {0}")]
    Bug(String),
    /// Runs of parts of an input failed, and so nothing was written.
    #[error("{text}")]
    Parts {
        /// Parts and consequence.
        text: String,
        /// Exit code of the first failed run.
        exit: Exit,
    },
}

fn json_place(cause: &serde_json::Error) -> String {
    if cause.is_eof() {
        "unexpected end".to_owned()
    } else {
        format!("line {}, column {}", cause.line(), cause.column())
    }
}

/// An error with its hint. Boxed, because most functions of commands return it, and seldom.
#[derive(Debug)]
pub(super) struct Failure(Box<FailureParts>);

#[derive(Debug)]
struct FailureParts {
    error: Error,
    hint: Option<String>,
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let hint = hint(&error);
        Failure(Box::new(FailureParts { error, hint }))
    }
}

impl Failure {
    /// Creates a failure with a hint of its own instead of the one that the error implies.
    pub(super) fn new(error: impl Into<Error>, hint: impl Into<String>) -> Self {
        Failure(Box::new(FailureParts { error: error.into(), hint: Some(hint.into()) }))
    }

    /// Returns the error without its hint.
    pub(super) fn error(&self) -> &Error {
        &self.0.error
    }

    /// Returns the error and its causes on one line, as it is printed behind `error: `.
    pub(super) fn message(&self) -> String {
        without_passwords(&error_chain(&self.0.error)).into_owned()
    }

    /// Returns the hint; `None` if nothing helps.
    pub(super) fn hint(&self) -> Option<Cow<'_, str>> {
        self.0.hint.as_deref().map(without_passwords)
    }

    /// Adds `hint`, unless there is one.
    pub(super) fn or_hint(mut self, hint: impl FnOnce() -> Option<String>) -> Self {
        self.0.hint = self.0.hint.or_else(hint);
        self
    }

    /// Replaces the hint with `hint`.
    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Returns the exit code of the error.
    pub(super) fn exit(&self) -> Exit {
        exit_of(&self.0.error)
    }

    /// Returns true if the reader of a pipe closed it, which is a quiet success.
    pub(super) fn is_closed_pipe(&self) -> bool {
        match &self.0.error {
            Error::Write { cause, .. } | Error::Pipeline(pipeline::Error::Write { cause, .. }) => {
                cause.kind() == io::ErrorKind::BrokenPipe
            }
            _ => false,
        }
    }

    /// Formats the lines for standard error: the error with its causes, the marked expression if it is about one, and
    /// the hint. Text from outside is escaped.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("error: {}", escape_for_terminal(&self.message()))];
        if let Error::Expression { cause, .. } | Error::Pipeline(pipeline::Error::Expression(cause)) = &self.0.error {
            // The marker is placed by the escaped text before it, which may be longer than the text itself.
            let before = cause.text.get(..cause.at).unwrap_or(&cause.text);
            lines.push(format!("  {}", escape_for_terminal(&cause.text)));
            lines.push(format!("  {}^", " ".repeat(escape_for_terminal(before).chars().count())));
        }
        if let Some(hint) = self.hint() {
            lines.push(format!("hint: {}", escape_for_terminal(&hint)));
        }
        lines
    }
}

/// Returns the download error inside the I/O error of a reader; `None` for other sources.
fn download_error(cause: &io::Error) -> Option<&net::Error> {
    cause.get_ref()?.downcast_ref::<net::Error>()
}

/// Returns the hint for a column of Parquet or Arrow with a type or values that drawoff has no counterpart of.
fn column_hint(cause: &io::Error) -> Option<String> {
    let cause = cause.get_ref()?;
    let (column, is_not_finite) = match (cause.downcast_ref::<ForeignError>(), cause.downcast_ref::<InputError>()) {
        (Some(ForeignError::Value { column, value }), _) => (&**column, *value == Unwritable::NotFinite),
        (Some(ForeignError::Type { column, .. }), _) => (&**column, false),
        // The path of a leaf, which begins with the column.
        (_, Some(InputError::Unsupported { column, .. } | InputError::Timestamps { column, .. })) => {
            (column.split('.').next().unwrap_or_default(), false)
        }
        _ => return None,
    };
    let is_plain = column.chars().all(|c| c.is_alphanumeric() || c == '_');
    let name = if is_plain { column.to_owned() } else { format!("\"{}\"", column.replace('"', "\"\"")) };
    let drop = format!("leave the column out with `--drop {}`", shell_quoted(&name));
    Some(match is_not_finite {
        true => format!("read such numbers as null with `--in-null NaN,inf,-inf`, or {drop}"),
        false => drop,
    })
}

fn is_disk_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn write_exit(cause: &io::Error) -> Exit {
    if is_disk_full(cause) { Exit::DiskFull } else { Exit::CannotWrite }
}

fn read_exit(cause: &io::Error) -> Exit {
    match cause.kind() {
        _ if let Some(error) = download_error(cause) => link_exit(error),
        // The contents are not the expected format at all: a web page, or a truncated archive.
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => Exit::BadData,
        _ => Exit::CannotRead,
    }
}

/// Returns the exit code for a link, before the first byte or after it.
fn link_exit(error: &net::Error) -> Exit {
    match error.kind() {
        Kind::NotFound => Exit::NotFound,
        // The request took too long, or came too early.
        Kind::Refused if matches!(error.status(), Some(408 | 425)) => Exit::DownloadBroken,
        // Another command gets other links, unless this one was typed.
        Kind::Refused if error.status() == Some(400) && !error.is_of_only_link() => Exit::DownloadBroken,
        Kind::Refused => Exit::Refused,
        Kind::KeyRefused if error.is_of_only_link() && error.keyless_host().is_none() => Exit::KeyRefused,
        Kind::KeyRefused | Kind::Forbidden if error.is_of_only_link() => Exit::Refused,
        kind => download_exit(kind),
    }
}

/// Returns the exit code for a download that had begun.
fn download_exit(kind: Kind) -> Exit {
    match kind {
        Kind::Changed => Exit::FileChanged,
        Kind::Damaged => Exit::Damaged,
        Kind::Stopped => Exit::Interrupted,
        _ => Exit::DownloadBroken,
    }
}

fn net_exit(kind: Kind) -> Exit {
    match kind {
        Kind::NoKey => Exit::NoKey,
        Kind::KeyRefused => Exit::KeyRefused,
        Kind::NotFound => Exit::NotFound,
        Kind::Forbidden | Kind::Refused => Exit::Refused,
        Kind::RateLimited | Kind::Unreachable | Kind::BadCertificate | Kind::ServerFault | Kind::BadResponse => {
            Exit::Unreachable
        }
        Kind::Changed | Kind::CutShort | Kind::Damaged | Kind::Stopped => download_exit(kind),
    }
}

fn exit_of(error: &Error) -> Exit {
    match error {
        Error::Usage(_) | Error::Json { .. } | Error::Expression { .. } => Exit::Usage,
        Error::Settings(settings::Error::Unreadable { .. } | settings::Error::KeyFile { .. }) => Exit::CannotRead,
        // An unknown fate is resolved by another command line: `pull` or `--new-run`.
        Error::Settings(_) | Error::UnknownFate { .. } => Exit::Usage,
        Error::State(error) | Error::Client(client::Error::State(error)) => match error {
            StateError::Unusable { cause, .. } => write_exit(cause),
            StateError::Busy { .. } => Exit::Busy,
            _ => Exit::CannotRead,
        },
        // A request of the API and a download have the same kinds of errors, but different exit codes.
        Error::Client(error) => match error {
            client::Error::Net(error) => net_exit(error.kind()),
            client::Error::State(_) => unreachable!("matched above"),
            client::Error::Read { .. } => Exit::CannotRead,
            client::Error::Definition { .. } | client::Error::UploadKind { .. } => Exit::Usage,
            client::Error::AmbiguousName { .. } => Exit::Usage,
            client::Error::Ended { end, .. } => run_exit(end),
            client::Error::SeveralEnded { ended, .. } => {
                ended.first().map_or(Exit::RunFailed, |(_, end)| run_exit(end))
            }
            client::Error::Deadline { .. } => Exit::DeadlinePassed,
            client::Error::UnknownWorkflow(_)
            | client::Error::NoSuchRun(_)
            | client::Error::NoResults { .. }
            | client::Error::NoSuchBlock { .. }
            | client::Error::NoLink { .. } => Exit::NotFound,
        },
        // Nothing was downloaded yet, so an unreachable host is not a broken download.
        Error::Download { cause, .. } => match cause.kind() {
            Kind::Unreachable | Kind::BadCertificate => Exit::Unreachable,
            _ => link_exit(cause),
        },
        Error::Pipeline(error) => match error {
            pipeline::Error::Plan(_) | pipeline::Error::Expression(_) => Exit::Usage,
            pipeline::Error::Query(_) | pipeline::Error::QueryMemory(_) => Exit::Usage,
            // A table of `--table` is an input.
            pipeline::Error::Table { .. } => Exit::CannotRead,
            pipeline::Error::Read { cause, .. } => read_exit(cause),
            pipeline::Error::Damaged { .. } => Exit::Damaged,
            pipeline::Error::OpenEnd { .. } => Exit::DownloadBroken,
            pipeline::Error::LastLine { .. } => Exit::LastLineCut,
            pipeline::Error::BadRecord { .. } | pipeline::Error::TooManyBadRecords { .. } => Exit::BadData,
            pipeline::Error::Foreign { .. } | pipeline::Error::BadHeader { .. } | pipeline::Error::Encoding { .. } => {
                Exit::BadData
            }
            pipeline::Error::Step(_)
            | pipeline::Error::QueryValue { .. }
            | pipeline::Error::Partition(_)
            | pipeline::Error::Unencodable(_) => Exit::BadData,
            pipeline::Error::Schema { .. } => Exit::SchemaChanged,
            pipeline::Error::Write { cause, .. } => write_exit(cause),
            pipeline::Error::RowCount { .. } => Exit::Mismatch,
            pipeline::Error::Load(error) => load_exit(error),
            pipeline::Error::Cancelled => Exit::Interrupted,
            pipeline::Error::Bug(_) => Exit::Bug,
        },
        Error::Write { cause, .. } => write_exit(cause),
        Error::Read { cause, .. } => read_exit(cause),
        #[cfg(feature = "serve")]
        Error::Service(error) => service_exit(error),
        #[cfg(feature = "serve")]
        Error::Moved(error) => move_exit(error),
        Error::Interrupted => Exit::Interrupted,
        Error::Bug(_) => Exit::Bug,
        Error::Parts { exit, .. } => *exit,
    }
}

fn run_exit(end: &RunEnd) -> Exit {
    match end {
        RunEnd::Failed { .. } => Exit::RunFailed,
        RunEnd::Cancelled => Exit::RunCancelled,
        RunEnd::TimedOut => Exit::RunTimedOut,
    }
}

fn load_exit(error: &LoadError) -> Exit {
    match error {
        error if error.is_transient() => Exit::TargetUnreachable,
        LoadError::Write { cause, .. } => write_exit(cause),
        LoadError::RowCount { .. } | LoadError::RowCountKept { .. } => Exit::Mismatch,
        LoadError::Unknown { .. } => Exit::LoadUnknown,
        LoadError::Unsupported { .. } => Exit::Usage,
        LoadError::Cancelled => Exit::Interrupted,
        LoadError::Bug(_) => Exit::Bug,
        _ => Exit::LoadRefused,
    }
}

/// Returns the hint for a load that failed.
fn load_hint(error: &LoadError) -> Option<String> {
    match error {
        LoadError::Write { hint: None, cause, .. } => store_hint(cause.get_ref()?.downcast_ref::<StoreError>()?),
        LoadError::Connect { hint, .. }
        | LoadError::Refused { hint, .. }
        | LoadError::Write { hint, .. }
        | LoadError::Unsupported { hint, .. } => hint.clone(),
        LoadError::NoTable { hint, .. } => Some(hint.clone()),
        LoadError::Misfits { .. } => Some(
            "change the columns with `--cast`, `--rename`, `--drop` or `--select`, or load into a new table".to_owned(),
        ),
        LoadError::Unknown { .. } => {
            Some("run the same command again: it loads the rows only if they are not there".to_owned())
        }
        LoadError::Incomplete { may_replace, .. } => {
            let go_on = "go on with it by the command that began it, with `--commit-every`";
            Some(if *may_replace { format!("{go_on}; or replace its rows with `--again`") } else { go_on.to_owned() })
        }
        LoadError::OtherRecords { may_replace, again, .. } => {
            let replace = match (may_replace, again) {
                (false, _) => "",
                (true, false) => "replace its rows with `--again`; ",
                // The same command goes on behind the rows that it has replaced.
                (true, true) => "replace its rows with `--again` without `--commit-every`; ",
            };
            Some(format!(
                "go on with the sources that the load began with, in their order; {replace}or load other rows under a key of \
                 their own"
            ))
        }
        LoadError::SpellingLost { .. } => None,
        LoadError::LostChunks { .. } => {
            Some("run the same command again if the rows are to be loaded: it begins with the first of them".to_owned())
        }
        LoadError::PartlyLoaded { missing, may_replace, .. } => {
            let others = format!("pull the others alone: {}", missing.join(" "));
            Some(match may_replace {
                true => format!("{others}; or replace the rows of the earlier loads with `--again`"),
                false => others,
            })
        }
        LoadError::RowCountKept { .. } => Some(
            "delete these rows from the table, and load them under a name of their own: `--load-key TEXT`".to_owned(),
        ),
        LoadError::RowCount { .. } => {
            Some("look for a trigger or a rule of the table that drops or adds rows".to_owned())
        }
        _ => None,
    }
}

#[cfg(feature = "serve")]
fn move_exit(error: &crate::service::ArchiveError) -> Exit {
    use crate::service::ArchiveError;
    match error {
        ArchiveError::Archive { cause, .. } | ArchiveError::DataDirectory { cause, .. } => match cause.kind() {
            std::io::ErrorKind::NotFound => Exit::CannotRead,
            _ => write_exit(cause),
        },
        ArchiveError::InvalidArchive { .. } => Exit::BadData,
        ArchiveError::NotAnExport { .. } => Exit::Usage,
        _ => Exit::CannotWrite,
    }
}

/// Returns the hint for a store of the local service that cannot be opened.
#[cfg(feature = "serve")]
fn service_store_hint(error: &crate::service::StoreError) -> Option<String> {
    match error {
        crate::service::StoreError::Damaged { path, .. } => {
            let (path, aside) = (path.display(), path.with_extension("redb.damaged"));
            let (path, aside) = (shell_quoted(&path.to_string()), shell_quoted(&aside.to_string_lossy()));
            Some(format!(
                "move it away with `mv {path} {aside}`: the service then starts without its workflows and runs, and removes \
                 their files; copy the directory first if you need those, or restore an export with `--import FILE`"
            ))
        }
        crate::service::StoreError::InUse { .. } => {
            Some("stop the other service, or choose another directory with `--data DIR`".to_owned())
        }
        _ => None,
    }
}

#[cfg(feature = "serve")]
fn service_exit(error: &crate::service::Error) -> Exit {
    use crate::service::{EnrichError, Error, SeedError, StoreError};
    match error {
        Error::DataDirectory { cause, .. } => write_exit(cause),
        Error::Store(StoreError::Damaged { .. }) => Exit::BadData,
        Error::Store(_) | Error::Seed(SeedError::Store(_)) => Exit::CannotWrite,
        Error::Seed(SeedError::Upload { .. }) => Exit::CannotRead,
        Error::Recorded { cause, .. } if cause.kind() == std::io::ErrorKind::Other => Exit::BadData,
        Error::Recorded { .. } => Exit::CannotRead,
        Error::Enrich(EnrichError::Read { .. }) => Exit::CannotRead,
        Error::Enrich(
            EnrichError::NoSuchBlock { .. } | EnrichError::TwoTables { .. } | EnrichError::InTheClear { .. },
        ) => Exit::Usage,
        Error::Enrich(_) => Exit::BadData,
        _ => Exit::Usage,
    }
}

/// Returns the hint that `error` implies by itself; `None` if nothing helps or only the command knows.
fn hint(error: &Error) -> Option<String> {
    match error {
        Error::Client(client::Error::Net(error)) => net_hint(error),
        Error::Download { cause, .. } => download_hint(cause),
        Error::Pipeline(pipeline::Error::Read { cause, .. })
            if cause.get_ref().is_some_and(|cause| cause.is::<TooMuchExpansion>()) =>
        {
            Some("raise the limit with `--max-expansion N`, or lift it with 0".to_owned())
        }
        Error::Read { cause, .. } | Error::Pipeline(pipeline::Error::Read { cause, .. })
            if let Some(error) = cause.get_ref().and_then(|cause| cause.downcast_ref::<StoreError>()) =>
        {
            match error.problem {
                StoreProblem::NoBucket => Some("correct the name of the bucket in the URL".to_owned()),
                _ => store_hint(error),
            }
        }
        Error::Read { path, cause } if cause.kind() == io::ErrorKind::NotFound => near_file(path),
        // The inputs of a command are listed before they are opened, so this is a table.
        Error::Pipeline(pipeline::Error::Read { name, cause })
            if cause.kind() == io::ErrorKind::IsADirectory
                || (cause.raw_os_error() == Some(Errno::NOENT.raw_os_error()) && is_pattern(name)) =>
        {
            let name = shell_quoted(name);
            Some(format!("a table is one file; make it with `drawoff convert {name} -o table.parquet`"))
        }
        Error::Pipeline(pipeline::Error::Read { cause, .. }) => {
            column_hint(cause).or_else(|| download_error(cause).and_then(download_hint))
        }
        Error::Pipeline(pipeline::Error::OpenEnd { name }) => {
            Some(format!("if you know that it is complete, use `curl -s {name} | drawoff convert - -o OUT`"))
        }
        Error::Client(client::Error::UnknownWorkflow(_)) => {
            Some("list workflows with `drawoff workflows ls`".to_owned())
        }
        Error::Client(client::Error::AmbiguousName { .. }) => Some("specify one of the ids".to_owned()),
        Error::Client(client::Error::UploadKind { .. }) => {
            Some("convert it with `drawoff convert FILE -o input.ndjson`".to_owned())
        }
        Error::Client(client::Error::Deadline { run, .. }) => Some(format!(
            "the run continues: wait for it with `drawoff runs watch {run}`, write its results with `drawoff pull {run} -o OUT`, or cancel it with `drawoff runs cancel {run}`"
        )),
        Error::Client(client::Error::NoResults { run, .. }) => Some(format!(
            "check the run with `drawoff runs status {run}`, or use `--format csv`: every run has its results as CSV"
        )),
        Error::Client(client::Error::Ended { run, end: RunEnd::Failed { .. } }) => {
            Some(format!("see every block with `drawoff runs status {run}`"))
        }
        Error::Expression { cause, .. } | Error::Pipeline(pipeline::Error::Expression(cause)) => {
            cause.hint.as_ref().map(in_flags)
        }
        Error::Settings(settings::Error::KeyFileOpen { path, .. }) => {
            Some(format!("restrict it to its owner with `chmod 600 {}`", shell_quoted(&path.to_string_lossy())))
        }
        Error::State(StateError::Newer { .. }) => {
            Some("use that version, another directory with `--state-dir`, or `--no-state`".to_owned())
        }
        Error::Pipeline(pipeline::Error::BadRecord { reject, .. }) if reject.is_too_long() => Some(
            "raise `--max-record-bytes SIZE`, or reject such records and continue with `--on-bad-record skip`"
                .to_owned(),
        ),
        Error::Pipeline(pipeline::Error::BadRecord { .. }) => {
            Some("reject such records and continue with `--on-bad-record skip`".to_owned())
        }
        Error::Pipeline(pipeline::Error::Query(_)) => Some(
            "list the columns with `drawoff explain` and the same inputs; the query must spell them exactly".to_owned(),
        ),
        Error::Pipeline(pipeline::Error::QueryMemory(_)) => {
            Some("raise `--max-memory`, or join and group fewer rows at once".to_owned())
        }
        Error::Pipeline(pipeline::Error::Schema { change, .. }) => schema_hint(change),
        Error::Pipeline(pipeline::Error::Load(error)) => load_hint(error),
        Error::Pipeline(pipeline::Error::Plan(error)) => plan_hint(error),
        Error::Pipeline(pipeline::Error::Write { path, cause }) | Error::Write { path, cause } => {
            write_hint(path, cause)
        }
        #[cfg(feature = "serve")]
        Error::Service(crate::service::Error::OpenToAll { .. } | crate::service::Error::EmptyKey) => Some(format!(
            "specify a key with `--api-key-file FILE` or {}; `--api-key KEY` shows it to other users of this machine",
            settings::SERVE_API_KEY_VARIABLE
        )),
        #[cfg(feature = "serve")]
        Error::Service(crate::service::Error::Store(error))
        | Error::Moved(crate::service::ArchiveError::Store(error)) => service_store_hint(error),
        #[cfg(feature = "serve")]
        Error::Moved(crate::service::ArchiveError::NotAnExport { .. }) => {
            Some("export to another file, or replace this one with `--overwrite`".to_owned())
        }
        #[cfg(feature = "serve")]
        Error::Service(crate::service::Error::Bind { .. }) => Some("choose a free port with `--port 0`".to_owned()),
        Error::Pipeline(pipeline::Error::Bug(_)) | Error::Bug(_) => {
            Some("this is a bug in drawoff; please report it with the command and this message".to_owned())
        }
        Error::Pipeline(pipeline::Error::BadHeader { is_too_wide: true, hint, .. }) => {
            Some(format!("{hint}; if it is, raise the limit with {RAISE_COLUMNS}"))
        }
        // The engine's own hints name no flags.
        Error::Pipeline(error) => error.hint().map(str::to_owned),
        _ => None,
    }
}

/// The setting that raises the limit of columns; `schema` and `explain` have no such flag.
pub(super) const RAISE_COLUMNS: &str = "`--max-columns N`, or with `max_columns` in the configuration file";

/// Returns the hint for records with too many columns.
fn columns_hint() -> String {
    format!(
        "specify the columns to keep with `--schema FILE`, and collect all others with `--extra-column NAME`; or raise the limit with {RAISE_COLUMNS}"
    )
}

/// Returns the hint for a change of the schema that an output could not follow, as far as the change alone implies one.
fn schema_hint(change: &SchemaChange) -> Option<String> {
    match change {
        SchemaChange::Value { why: FixedSchema::TooManyColumns(_), .. } => {
            Some(columns_hint())
        }
        change if !change.can_be_followed() => None,
        _ => Some("write a Parquet file (`-o FILE.parquet`), which can follow such a change, or infer the schema from all records with `--schema-from full`, if the inputs are files".to_owned()),
    }
}

/// Returns the hint for a refused plan, which names the flag that caused it or helps.
fn plan_hint(error: &PlanError) -> Option<String> {
    Some(match error {
        PlanError::NotRereadable => "leave `--schema-from full` out, or save the input to a file first".to_owned(),
        PlanError::TooManyColumns(_) => columns_hint(),
        PlanError::ExtraColumnTaken(_) => "choose another name with `--extra-column NAME`".to_owned(),
        PlanError::NoColumn { purpose: ColumnPurpose::PartitionBy, .. } => {
            "specify columns with `--partition-by` as they are named after all steps".to_owned()
        }
        PlanError::NoColumn { purpose: ColumnPurpose::SortHint, .. } => {
            "specify columns with `--sort-hint` as they are named after all steps".to_owned()
        }
        PlanError::HeaderDiffers { .. } => {
            "`--append` requires the same columns in the same order, and the same delimiter and line ends; write another file to keep both".to_owned()
        }
        PlanError::NotCsv { property, .. } => {
            let flag = flag_of_csv(*property);
            format!("leave `{flag}` out; if the input is CSV, specify that with `--from csv`")
        }
        PlanError::ColumnOfDirectory { .. } => {
            "name the files themselves instead of their directory or a pattern: the names of directories are no columns then"
                .to_owned()
        }
        PlanError::TypeOfDirectory { column, .. } => format!("make `{column}` text in the schema file"),
        PlanError::DirectoryOutsideSchema(column) => {
            format!("add `{column}` to the schema file, as text, or leave `--schema-policy` out")
        }
        PlanError::OpenQuote { .. } => "close the quote in the file, or write another file".to_owned(),
        PlanError::QueryNotLast => "move the steps after `--sql` into the query".to_owned(),
        PlanError::TwoQueries => "specify `--sql` only once".to_owned(),
        PlanError::QueryWithoutResults => {
            "use that table in the query: `SELECT … FROM results`; to query other tables alone, specify one of them as the input".to_owned()
        }
        PlanError::NoTable { name, .. } => {
            format!("add it from a file with `--table {}=FILE`", shell_quoted(name))
        }
        PlanError::TableTwice(_) => "choose a different name for each `--table`".to_owned(),
        _ => return None,
    })
}

/// Returns the hint for a file that cannot be downloaded. A link to another host is never sent the key unless the user
/// trusts that host, so a refusal there may need `--send-key-to`.
fn download_hint(error: &net::Error) -> Option<String> {
    if error.kind() == Kind::BadCertificate {
        return certificate_hint(error);
    }
    let host = error.keyless_host()?;
    Some(format!("{host} is not the API's own host and was not sent the key; send it with `--send-key-to {host}`"))
}

/// Returns the hint for a certificate among the causes of `error` that was not accepted; `None` if no change on this
/// machine helps.
fn certificate_hint(error: &(dyn StdError + 'static)) -> Option<String> {
    // The problem is a typed cause somewhere in the chain, below the errors of the HTTP client.
    let mut next = Some(error);
    let remedy = loop {
        let error = next?;
        match error.downcast_ref::<net::BadCertificate>() {
            Some(problem) => break problem.remedy,
            None => next = error.source(),
        }
    };
    match remedy {
        net::CertificateHint::AddCa => Some("install the system's CA certificates (on Debian and Ubuntu: the package ca-certificates), or set SSL_CERT_FILE to a file of CA certificates that includes that of the server; it replaces the system's".to_owned()),
        net::CertificateHint::CorrectNames => Some("set it to CA certificates in PEM (on Debian and Ubuntu the package ca-certificates has /etc/ssl/certs/ca-certificates.crt), or unset it".to_owned()),
        net::CertificateHint::None => None,
    }
}

fn net_hint(error: &net::Error) -> Option<String> {
    match error.kind() {
        Kind::NoKey => Some(format!("set {API_KEY_VARIABLE} or use `--api-key-file FILE`; `run --local` needs no key")),
        Kind::KeyRefused => Some(format!(
            "check {API_KEY_VARIABLE} or the key file; see which one applies and for which URL with `drawoff config show`"
        )),
        Kind::RateLimited => Some("retry in a minute; the limit covers all requests of one key".to_owned()),
        Kind::BadCertificate => certificate_hint(error),
        Kind::Unreachable => Some(
            "check the network and the URL with `drawoff doctor`; `drawoff config show` says where it is set"
                .to_owned(),
        ),
        _ => None,
    }
}

fn write_hint(path: &Path, cause: &io::Error) -> Option<String> {
    if let Some(TemporaryFile { directory, .. }) = cause.get_ref().and_then(|cause| cause.downcast_ref()) {
        let do_first = if is_disk_full(cause) { "free space there" } else { "make that directory writable" };
        return Some(format!("{do_first}, or set TMPDIR to another directory than {}", directory.display()));
    }
    // No directory and no other target helps against a full or closed pipe.
    if path == Path::new(STDOUT) {
        return None;
    }
    if let Some(problem) = cause.get_ref().filter(|cause| cause.is::<net::BadCertificate>()) {
        return certificate_hint(problem);
    }
    if let Some(error) = cause.get_ref().and_then(|cause| cause.downcast_ref::<StoreError>()) {
        return store_hint(error);
    }
    if let Some(hint) = conflict_hint(cause) {
        return Some(hint.to_owned());
    }
    // The directory of the file itself, which may be behind a link.
    let file = match TargetKind::of(path) {
        Ok(TargetKind::File(file)) => file.path,
        _ => path.to_owned(),
    };
    let directory = match file.parent().filter(|p| !p.as_os_str().is_empty()) {
        // As typed, if it is the same one.
        Some(_) if std::fs::symlink_metadata(path).map_or(true, |found| !found.is_symlink()) => path.parent(),
        other => other,
    };
    // The error of an output of many files is about one of them.
    let directory = if path.is_dir() { Some(path) } else { directory };
    let directory = directory.filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).display();
    if is_disk_full(cause) {
        return Some(format!("free space in {directory}, or write elsewhere with `-o`; no partial file remains"));
    }
    match cause.kind() {
        io::ErrorKind::NotFound => Some(format!("create the directory {directory} first")),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some(format!("write elsewhere with `-o`, or change the permissions of {directory}"))
        }
        io::ErrorKind::AlreadyExists => Some("leave `--no-clobber` out to replace it".to_owned()),
        io::ErrorKind::ResourceBusy => {
            Some("mount its directory in place of the file, or write through the shell: `-o - > FILE`".to_owned())
        }
        io::ErrorKind::FileTooLarge => Some(format!(
            "raise the limit on file sizes (`ulimit -f`), or write smaller files with `-o DIR/ --max-file-bytes SIZE`; no partial file remains in {directory}"
        )),
        _ if cause.raw_os_error() == Some(Errno::BADF.raw_os_error()) => {
            Some("open the descriptor in the shell, as in `drawoff … -o /dev/fd/3 3> FILE`".to_owned())
        }
        _ => None,
    }
}

/// Returns the hint for an output that another command or program changed.
fn conflict_hint(cause: &io::Error) -> Option<&'static str> {
    let cause = cause.get_ref()?;
    if cause.is::<ChangedMeanwhile>() {
        return Some("the same command adds its rows to the file as it is now");
    }
    if cause.is::<SharedName>() {
        return Some("give one of them another name or directory");
    }
    Some(match cause.downcast_ref::<DirectoryConflict>()? {
        DirectoryConflict::HalfReplaced => "run that command again first, or write to another directory",
        DirectoryConflict::SharedSources => {
            "write the results of all of these sources by one command, write to another directory, or remove this one first"
        }
        DirectoryConflict::WrittenMeanwhile => "the same command replaces them if it is run again",
    })
}

/// Returns the hint for an error of an object store.
fn store_hint(error: &StoreError) -> Option<String> {
    Some(match &error.problem {
        StoreProblem::Exists => "leave `--no-clobber` out to replace it".to_owned(),
        StoreProblem::NoBucket => "create the bucket first, or correct its name in `-o`".to_owned(),
        StoreProblem::Forbidden(Some(permission)) => {
            format!("allow {permission} for these credentials, or use others")
        }
        StoreProblem::Credentials | StoreProblem::Forbidden(None) => {
            "set credentials and address in the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, \
             AWS_ENDPOINT_URL; GOOGLE_SERVICE_ACCOUNT; AZURE_STORAGE_ACCOUNT_NAME, AZURE_STORAGE_ACCOUNT_KEY"
                .to_owned()
        }
        StoreProblem::Unreachable => {
            "check the network and the address of the store, such as AWS_ENDPOINT_URL and AWS_REGION".to_owned()
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::RunId;
    use crate::format::Reject;
    use crate::position::{FieldPath, Position};

    fn net(kind: Kind) -> Error {
        client::Error::Net(net::Error::new(kind, "GET", "https://api.test/workflows?sig=marked-1")).into()
    }

    fn os(errno: Errno) -> io::Error {
        io::Error::from_raw_os_error(errno.raw_os_error())
    }

    #[test]
    fn every_error_has_its_exit_code() {
        let position = Position { source: "a.ndjson".into(), byte: 4, line: 2, record: 1 };
        let reject = Reject { offset: 0, path: FieldPath::root(), reason: "not an object".into() };
        let ended = |end| Error::Client(client::Error::Ended { run: RunId("r".into()), end });
        let read = |cause| Error::Pipeline(pipeline::Error::Read { name: "a".into(), cause });
        let write = |cause| Error::Pipeline(pipeline::Error::Write { path: "/d/o".into(), cause });
        let net_error = |kind| net::Error::new(kind, "GET", "https://f.test/a?sig=marked-2");
        let download = |kind| io::Error::other(net_error(kind));
        let opened = |kind, status: Option<u16>, is_typed| {
            let cause = net_error(kind);
            let cause = match status {
                Some(status) => cause.with_status(status),
                None => cause,
            };
            let cause = if is_typed { cause.with_only_link() } else { cause };
            Error::Download { name: "a".into(), cause }
        };
        let cut = net_error(Kind::CutShort);
        let cases = [
            (Error::Usage("x".into()), Exit::Usage),
            (net(Kind::NoKey), Exit::NoKey),
            (net(Kind::KeyRefused), Exit::KeyRefused),
            (net(Kind::Forbidden), Exit::Refused),
            (net(Kind::NotFound), Exit::NotFound),
            (net(Kind::Refused), Exit::Refused),
            (net(Kind::RateLimited), Exit::Unreachable),
            (net(Kind::Unreachable), Exit::Unreachable),
            (net(Kind::ServerFault), Exit::Unreachable),
            (net(Kind::BadCertificate), Exit::Unreachable),
            (net(Kind::BadResponse), Exit::Unreachable),
            (client::Error::UnknownWorkflow("w".into()).into(), Exit::NotFound),
            (ended(RunEnd::Failed { block: None, message: None }), Exit::RunFailed),
            (ended(RunEnd::Cancelled), Exit::RunCancelled),
            (ended(RunEnd::TimedOut), Exit::RunTimedOut),
            (
                client::Error::Deadline {
                    run: RunId("r".into()),
                    status: "running".into(),
                    waited: Default::default(),
                }
                .into(),
                Exit::DeadlinePassed,
            ),
            (read(io::Error::other(cut)), Exit::DownloadBroken),
            (read(os(Errno::NOENT)), Exit::CannotRead),
            (read(io::Error::new(io::ErrorKind::InvalidData, "is a web page")), Exit::BadData),
            (read(download(Kind::Changed)), Exit::FileChanged),
            (read(download(Kind::Damaged)), Exit::Damaged),
            (read(download(Kind::NotFound)), Exit::NotFound),
            (read(download(Kind::Forbidden)), Exit::DownloadBroken),
            (opened(Kind::Changed, None, true), Exit::FileChanged),
            (opened(Kind::Refused, Some(400), true), Exit::Refused),
            (opened(Kind::Refused, Some(400), false), Exit::DownloadBroken),
            (opened(Kind::Refused, Some(451), false), Exit::Refused),
            (opened(Kind::Refused, Some(408), true), Exit::DownloadBroken),
            (opened(Kind::Refused, Some(425), true), Exit::DownloadBroken),
            (opened(Kind::RateLimited, Some(429), true), Exit::DownloadBroken),
            (opened(Kind::ServerFault, Some(503), true), Exit::DownloadBroken),
            (opened(Kind::Forbidden, Some(403), true), Exit::Refused),
            (opened(Kind::Forbidden, Some(403), false), Exit::DownloadBroken),
            (opened(Kind::KeyRefused, Some(401), true), Exit::KeyRefused),
            (read(download(Kind::Refused)), Exit::Refused),
            (pipeline::Error::Damaged { name: "a".into(), cause: io::Error::other("x") }.into(), Exit::Damaged),
            (
                pipeline::Error::LastLine { position: position.clone(), reject: reject.clone() }.into(),
                Exit::LastLineCut,
            ),
            (write(os(Errno::NOSPC)), Exit::DiskFull),
            (write(os(Errno::DQUOT)), Exit::DiskFull),
            (write(os(Errno::ACCESS)), Exit::CannotWrite),
            (pipeline::Error::BadRecord { position: position.clone(), reject }.into(), Exit::BadData),
            (pipeline::Error::Schema { position, change: SchemaChange::StepColumns }.into(), Exit::SchemaChanged),
            (pipeline::Error::RowCount { name: "a".into(), found: 1, expected: 2 }.into(), Exit::Mismatch),
            (pipeline::Error::Cancelled.into(), Exit::Interrupted),
            (Error::Interrupted, Exit::Interrupted),
            (pipeline::Error::Bug("x".into()).into(), Exit::Bug),
        ];
        for (error, exit) in cases {
            let failure = Failure::from(error);
            assert_eq!(failure.exit(), exit, "{failure:?}");
            assert!(!format!("{:?} {failure:?}", failure.lines()).contains("marked-"));
        }
    }

    #[test]
    fn messages_have_the_cause_and_a_hint() {
        let lines = |error: Error| Failure::from(error).lines();
        assert_eq!(
            lines(net(Kind::NoKey)),
            [
                "error: GET https://api.test/workflows?[redacted]: no API key is set",
                "hint: set SIXTYFOUR_API_KEY or use `--api-key-file FILE`; `run --local` needs no key",
            ]
        );
        assert_eq!(
            lines(Error::Write { path: "/data/out.parquet".into(), cause: os(Errno::ACCESS) }),
            [
                "error: cannot write /data/out.parquet: permission denied",
                "hint: write elsewhere with `-o`, or change the permissions of /data",
            ]
        );
        let end = RunEnd::Failed {
            block: Some(("filter".into(), 2)),
            message: Some("column 'employees' is not\u{1b}[31m in the input".into()),
        };
        assert_eq!(
            lines(client::Error::Ended { run: RunId("r-1".into()), end }.into()),
            [
                "error: run r-1 failed in block 2 (filter): column 'employees' is not\\u{1b}[31m in the input",
                "hint: see every block with `drawoff runs status r-1`",
            ]
        );
        assert_eq!(
            lines(client::Error::UnknownWorkflow("nope".into()).into()),
            ["error: there is no workflow `nope`", "hint: list workflows with `drawoff workflows ls`"]
        );
    }
}
