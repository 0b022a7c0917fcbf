//! Errors as a person reads them: the chain of causes on one line, a hint if there is something to do, an exit code.
//!
//! The floors below say what is wrong in their own terms; flags and commands that help are named here.

use std::error::Error as StdError;
use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::exit::Exit;
use super::flag_text::in_flags;
use super::settings::{self, API_KEY_VARIABLE};
use super::shell::shell_quoted;
use crate::client::{self, RunEnd, StateError};
use crate::net::{self, Kind};
use crate::pipeline::{self, ColumnPurpose, FixedSchema, PlanError, SchemaChange};
use crate::text::{error_chain, escape_for_terminal};
use crate::transform::expr;

/// Standard output's name in errors, the engine's too.
pub const STDOUT: &str = "standard output";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A setting.
    #[error(transparent)]
    Settings(#[from] settings::Error),
    /// The API's client.
    #[error(transparent)]
    Client(#[from] client::Error),
    /// A download that could not begin.
    #[error("cannot download {name}")]
    Download {
        /// The file.
        name: String,
        /// Why.
        #[source]
        cause: net::Error,
    },
    /// A flag whose value is in a language of its own.
    #[error("{flag}: {cause}")]
    Expression {
        /// The flag.
        flag: &'static str,
        /// What is wrong, and where. No source: the text is shown with its place.
        cause: expr::Error,
    },
    /// What is kept between commands.
    #[error(transparent)]
    State(#[from] StateError),
    /// Nobody knows whether an earlier start became a run.
    #[error("a start of workflow {workflow} {ago} ago was never answered, and runs have begun since: {runs}")]
    UnknownFate {
        /// The workflow's name.
        workflow: String,
        /// How long ago.
        ago: String,
        /// Runs that it may have become.
        runs: String,
    },
    /// The engine.
    #[error(transparent)]
    Pipeline(#[from] pipeline::Error),
    /// An output.
    #[error("cannot write {path}")]
    Write {
        /// The output.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// An input.
    #[error("cannot read {path}")]
    Read {
        /// The input.
        path: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// An input of the command that is not what it should be.
    #[error("{what} is not JSON ({})", json_place(cause))]
    Json {
        /// The input.
        what: String,
        /// Where it stops being JSON. No source: its words are a parser's.
        cause: serde_json::Error,
    },
    /// The local service.
    #[cfg(feature = "serve")]
    #[error("the local service cannot start")]
    Service(#[source] crate::service::Error),
    /// State of the local service that is moved. Says itself what it is about.
    #[cfg(feature = "serve")]
    #[error(transparent)]
    Moved(crate::service::MoveError),
    /// Ctrl-C, SIGTERM or SIGHUP.
    #[error("interrupted")]
    Interrupted,
    /// Our own fault.
    #[error("internal error: {0}")]
    Bug(String),
}

fn json_place(cause: &serde_json::Error) -> String {
    if cause.is_eof() {
        "it ends too early".to_owned()
    } else {
        format!("line {}, column {}", cause.line(), cause.column())
    }
}

/// An error with its hint. Boxed inside: every function of a command returns one, hardly ever.
#[derive(Debug)]
pub struct Failure(Box<FailureParts>);

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
    /// An error whose hint is not what the error alone suggests.
    pub fn new(error: impl Into<Error>, hint: impl Into<String>) -> Self {
        Failure(Box::new(FailureParts { error: error.into(), hint: Some(hint.into()) }))
    }

    /// The error.
    pub fn error(&self) -> &Error {
        &self.0.error
    }

    /// What can be done.
    #[cfg(test)]
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// With `hint`, unless the error has its own.
    pub fn or_hint(mut self, hint: impl FnOnce() -> Option<String>) -> Self {
        self.0.hint = self.0.hint.or_else(hint);
        self
    }

    /// With `hint` in place of its own.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// The exit code.
    pub fn exit(&self) -> Exit {
        exit_of(&self.0.error)
    }

    /// True if the reader of a pipe went away: nobody is left who wants to hear of it.
    pub fn is_closed_pipe(&self) -> bool {
        match &self.0.error {
            Error::Write { cause, .. } | Error::Pipeline(pipeline::Error::Write { cause, .. }) => {
                cause.kind() == io::ErrorKind::BrokenPipe
            }
            _ => false,
        }
    }

    /// The lines for standard error. Text from outside is escaped.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("error: {}", escape_for_terminal(&error_chain(&self.0.error)))];
        if let Error::Expression { cause, .. } | Error::Pipeline(pipeline::Error::Expression(cause)) = &self.0.error {
            let before = cause.text.get(..cause.at).unwrap_or(&cause.text);
            lines.push(format!("  {}", escape_for_terminal(&cause.text)));
            lines.push(format!("  {}^", " ".repeat(escape_for_terminal(before).chars().count())));
        }
        if let Some(hint) = &self.0.hint {
            lines.push(format!("hint: {}", escape_for_terminal(hint)));
        }
        lines
    }
}

/// The download's error inside a reader's error.
fn download_error(cause: &io::Error) -> Option<&net::Error> {
    cause.get_ref()?.downcast_ref::<net::Error>()
}

fn is_disk_full(cause: &io::Error) -> bool {
    matches!(cause.raw_os_error().map(Errno::from_raw_os_error), Some(Errno::NOSPC | Errno::DQUOT))
}

fn write_exit(cause: &io::Error) -> Exit {
    if is_disk_full(cause) { Exit::DiskFull } else { Exit::CannotWrite }
}

fn read_exit(cause: &io::Error) -> Exit {
    match cause.kind() {
        _ if let Some(error) = download_error(cause) => match error.kind() {
            Kind::NotFound => Exit::NotFound,
            kind => download_exit(kind),
        },
        // What is no input at all.
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => Exit::BadData,
        _ => Exit::CannotRead,
    }
}

/// Of a download that has begun.
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
        Kind::RateLimited | Kind::Unreachable | Kind::BadCertificate | Kind::ServerFault | Kind::BadAnswer => {
            Exit::Unreachable
        }
        Kind::Changed | Kind::CutShort | Kind::Damaged | Kind::Stopped => download_exit(kind),
    }
}

fn exit_of(error: &Error) -> Exit {
    match error {
        Error::Usage(_) | Error::Json { .. } | Error::Expression { .. } => Exit::Usage,
        Error::Settings(settings::Error::Unreadable { .. } | settings::Error::KeyFile { .. }) => Exit::CannotRead,
        Error::Settings(_) | Error::UnknownFate { .. } => Exit::Usage,
        Error::State(error) => match error {
            StateError::Unusable { cause, .. } => write_exit(cause),
            StateError::Busy { .. } => Exit::Busy,
            _ => Exit::CannotRead,
        },
        Error::Client(error) => match error {
            client::Error::Net(error) => net_exit(error.kind()),
            client::Error::Read { .. } => Exit::CannotRead,
            client::Error::Definition { .. } | client::Error::UploadKind { .. } => Exit::Usage,
            client::Error::AmbiguousName { .. } => Exit::Usage,
            client::Error::Ended { end, .. } => match end {
                RunEnd::Failed { .. } => Exit::RunFailed,
                RunEnd::Cancelled => Exit::RunCancelled,
                RunEnd::TimedOut => Exit::RunTimedOut,
            },
            client::Error::Deadline { .. } => Exit::DeadlinePassed,
            client::Error::UnknownWorkflow(_)
            | client::Error::NoResults { .. }
            | client::Error::NoSuchBlock { .. }
            | client::Error::NoLink { .. } => Exit::NotFound,
        },
        Error::Download { cause, .. } => match cause.kind() {
            Kind::NotFound => Exit::NotFound,
            Kind::Unreachable | Kind::BadCertificate => Exit::Unreachable,
            kind => download_exit(kind),
        },
        Error::Pipeline(error) => match error {
            pipeline::Error::Plan(_) | pipeline::Error::Expression(_) => Exit::Usage,
            pipeline::Error::Query(_) | pipeline::Error::QueryMemory(_) => Exit::Usage,
            pipeline::Error::Table { .. } => Exit::CannotRead,
            pipeline::Error::Read { cause, .. } => read_exit(cause),
            pipeline::Error::Damaged { .. } => Exit::Damaged,
            pipeline::Error::OpenEnd { .. } => Exit::DownloadBroken,
            pipeline::Error::LastLine { .. } => Exit::LastLineCut,
            pipeline::Error::BadRecord { .. } | pipeline::Error::TooManyBadRecords { .. } => Exit::BadData,
            pipeline::Error::Step(_)
            | pipeline::Error::QueryValue(_)
            | pipeline::Error::Partition(_)
            | pipeline::Error::Unencodable(_) => Exit::BadData,
            pipeline::Error::Schema { .. } => Exit::SchemaChanged,
            pipeline::Error::Write { cause, .. } => write_exit(cause),
            pipeline::Error::RowCount { .. } => Exit::Mismatch,
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
    }
}

#[cfg(feature = "serve")]
fn move_exit(error: &crate::service::MoveError) -> Exit {
    use crate::service::MoveError;
    match error {
        MoveError::Archive { cause, .. } | MoveError::Folder { cause, .. } => match cause.kind() {
            std::io::ErrorKind::NotFound => Exit::CannotRead,
            _ => write_exit(cause),
        },
        MoveError::NotOurs { .. } => Exit::BadData,
        _ => Exit::CannotWrite,
    }
}

#[cfg(feature = "serve")]
fn service_exit(error: &crate::service::Error) -> Exit {
    use crate::service::{EnrichError, Error};
    match error {
        Error::Folder { cause, .. } => write_exit(cause),
        Error::Store(_) => Exit::CannotWrite,
        Error::Enrich(EnrichError::Read { .. }) => Exit::CannotRead,
        Error::Enrich(
            EnrichError::NoSuchBlock { .. } | EnrichError::TwoTables { .. } | EnrichError::InTheClear { .. },
        ) => Exit::Usage,
        Error::Enrich(_) => Exit::BadData,
        _ => Exit::Usage,
    }
}

/// What can be done about `error`, as far as it alone tells.
fn hint(error: &Error) -> Option<String> {
    match error {
        Error::Client(client::Error::Net(error)) => net_hint(error),
        Error::Download { cause, .. } => download_hint(cause),
        Error::Pipeline(pipeline::Error::Read { cause, .. }) => download_error(cause).and_then(download_hint),
        Error::Pipeline(pipeline::Error::OpenEnd { name }) => {
            Some(format!("if you know that it is whole: `curl -s {name} | drawoff convert - -o OUT`"))
        }
        Error::Client(client::Error::UnknownWorkflow(_)) => Some("`drawoff workflows ls` lists them".to_owned()),
        Error::Client(client::Error::AmbiguousName { .. }) => Some("give one of the ids".to_owned()),
        Error::Client(client::Error::UploadKind { .. }) => {
            Some("`drawoff convert FILE -o input.ndjson` makes one".to_owned())
        }
        Error::Client(client::Error::Deadline { run, .. }) => Some(format!(
            "the run goes on: `drawoff runs watch {run}` waits for it, `drawoff pull {run} -o OUT` writes its results, `drawoff runs cancel {run}` ends it"
        )),
        Error::Client(client::Error::NoResults { run, .. }) => {
            Some(format!("`drawoff runs status {run}` shows the run; results as CSV are always there: `--format csv`"))
        }
        Error::Client(client::Error::Ended { run, end: RunEnd::Failed { .. } }) => {
            Some(format!("`drawoff runs status {run}` shows every block"))
        }
        Error::Expression { cause, .. } | Error::Pipeline(pipeline::Error::Expression(cause)) => {
            cause.hint.as_ref().map(in_flags)
        }
        Error::Settings(settings::Error::KeyFileOpen { path, .. }) => {
            Some(format!("`chmod 600 {}` keeps others out", shell_quoted(&path.to_string_lossy())))
        }
        Error::State(StateError::Newer { .. }) => {
            Some("use that version, or give another folder with `--state-dir`, or `--no-state`".to_owned())
        }
        Error::UnknownFate { .. } => Some(
            "`drawoff pull RUN -o OUT` writes the results of one of them; `--new-run` starts another run".to_owned(),
        ),
        Error::Pipeline(pipeline::Error::BadRecord { .. }) => {
            Some("`--on-bad-record skip` sets such records aside and goes on".to_owned())
        }
        Error::Pipeline(pipeline::Error::Query(_)) => Some(
            "`drawoff explain` with the same inputs shows their columns, whose names are written as they are"
                .to_owned(),
        ),
        Error::Pipeline(pipeline::Error::QueryMemory(_)) => {
            Some("give it more with `--max-memory`, or have it join and group less at once".to_owned())
        }
        Error::Pipeline(pipeline::Error::Schema { change, .. }) => schema_hint(change),
        Error::Pipeline(pipeline::Error::Plan(error)) => plan_hint(error),
        Error::Pipeline(pipeline::Error::Write { path, cause }) | Error::Write { path, cause } => {
            write_hint(path, cause)
        }
        #[cfg(feature = "serve")]
        Error::Service(crate::service::Error::Bind { .. }) => Some("`--port 0` picks a port that is free".to_owned()),
        Error::Pipeline(pipeline::Error::Bug(_)) | Error::Bug(_) => {
            Some("this is a fault of drawoff; what was asked for and this line make a good report".to_owned())
        }
        Error::Pipeline(error) => error.hint().map(str::to_owned),
        _ => None,
    }
}

/// The flag that helps against a change of the schema, as far as the change alone tells.
fn schema_hint(change: &SchemaChange) -> Option<String> {
    match change {
        SchemaChange::Value { why: FixedSchema::TooManyColumns, .. } => {
            Some("`--schema FILE` names the columns that are wanted; `--extra-column NAME` takes all others".to_owned())
        }
        change if !change.can_be_followed() => None,
        _ => Some("a Parquet file (`-o FILE.parquet`) can follow such a change; `--schema-from full` reads everything before it writes, from files".to_owned()),
    }
}

/// The flag that a plan was refused for, or that helps.
fn plan_hint(error: &PlanError) -> Option<String> {
    Some(match error {
        PlanError::NotRereadable => "leave `--schema-from full` out, or save the input to a file first".to_owned(),
        PlanError::TooManyColumns => {
            "`--schema FILE` names the columns that are wanted; `--extra-column NAME` takes all others".to_owned()
        }
        PlanError::ExtraColumnTaken(_) => "give another name with `--extra-column NAME`".to_owned(),
        PlanError::NoColumn { purpose: ColumnPurpose::PartitionBy, .. } => {
            "`--partition-by` takes names of columns as they are after all steps".to_owned()
        }
        PlanError::NoColumn { purpose: ColumnPurpose::SortHint, .. } => {
            "`--sort-hint` takes names of columns as they are after all steps".to_owned()
        }
        PlanError::HeaderDiffers { .. } => {
            "`--append` needs the same columns in the same order, and the same delimiter and line ends; give another file to keep both".to_owned()
        }
        PlanError::QueryNotLast => "let the query say what is to be done after `--sql`".to_owned(),
        PlanError::TwoQueries => "`--sql` can be given once".to_owned(),
        PlanError::QueryWithoutResults => {
            "name that table in the query: `SELECT … FROM results`; a query of other tables alone takes one of them as its input".to_owned()
        }
        PlanError::NoTable { name, .. } => {
            format!("`--table {}=FILE` makes one of a file", shell_quoted(name))
        }
        PlanError::TableTwice(_) => "give each `--table` a name of its own".to_owned(),
        _ => return None,
    })
}

/// The hint for a file that cannot be downloaded. A link elsewhere that wants the key does not get it unasked.
fn download_hint(error: &net::Error) -> Option<String> {
    if error.kind() == Kind::BadCertificate {
        return certificate_hint(error);
    }
    let host = error.keyless_host()?;
    Some(format!("{host} is not the API's own address and got no key; `--send-key-to {host}` sends it there"))
}

/// The hint on a certificate that was not accepted, which is among the causes of `error`; `None` where nothing on this
/// side helps.
fn certificate_hint(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    let remedy = loop {
        let error = next?;
        match error.downcast_ref::<net::BadCertificate>() {
            Some(problem) => break problem.remedy,
            None => next = error.source(),
        }
    };
    match remedy {
        net::CertificateHint::AddCa => Some("install the system's CA certificates (on Debian and Ubuntu: the package ca-certificates), or set SSL_CERT_FILE to a file of CA certificates with that of the server; it is used in place of the system's".to_owned()),
        net::CertificateHint::CorrectNames => Some("let it name CA certificates in PEM (on Debian and Ubuntu the package ca-certificates has /etc/ssl/certs/ca-certificates.crt), or unset it".to_owned()),
        net::CertificateHint::None => None,
    }
}

fn net_hint(error: &net::Error) -> Option<String> {
    match error.kind() {
        Kind::NoKey => Some(format!(
            "set {API_KEY_VARIABLE} or give `--api-key-file FILE`; or use `run --local`, which needs no key"
        )),
        Kind::KeyRefused => Some(format!(
            "check {API_KEY_VARIABLE} or the key file; `drawoff config show` says which is in force and for which address"
        )),
        Kind::RateLimited => Some("the limit counts all requests of one key; try again in a minute".to_owned()),
        Kind::BadCertificate => certificate_hint(error),
        Kind::Unreachable => {
            Some("check the network and the address; `drawoff config show` says which is in force".to_owned())
        }
        _ => None,
    }
}

fn write_hint(path: &Path, cause: &io::Error) -> Option<String> {
    if path == Path::new(STDOUT) {
        return None;
    }
    if let Some(problem) = cause.get_ref().filter(|cause| cause.is::<net::BadCertificate>()) {
        return certificate_hint(problem);
    }
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = folder.display();
    if is_disk_full(cause) {
        return Some(format!(
            "free some space where {folder} is, or write elsewhere with `-o`; no partial file remains"
        ));
    }
    match cause.kind() {
        io::ErrorKind::NotFound => Some(format!("the folder {folder} must exist")),
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some(format!("you may not write in {folder}; write elsewhere with `-o`"))
        }
        io::ErrorKind::AlreadyExists => Some("leave `--no-clobber` out to replace it".to_owned()),
        _ => None,
    }
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
    fn every_failure_has_its_code() {
        let position = Position { source: "a.ndjson".into(), byte: 4, line: 2, record: 1 };
        let reject = Reject { offset: 0, path: FieldPath::root(), reason: "not an object".into() };
        let ended = |end| Error::Client(client::Error::Ended { run: RunId("r".into()), end });
        let read = |cause| Error::Pipeline(pipeline::Error::Read { name: "a".into(), cause });
        let write = |cause| Error::Pipeline(pipeline::Error::Write { path: "/d/o".into(), cause });
        let net_error = |kind| net::Error::new(kind, "GET", "https://f.test/a?sig=marked-2");
        let download = |kind| io::Error::other(net_error(kind));
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
            (net(Kind::BadAnswer), Exit::Unreachable),
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
            (Error::Download { name: "a".into(), cause: net_error(Kind::Changed) }, Exit::FileChanged),
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
    fn messages_say_what_and_what_to_do() {
        let lines = |error: Error| Failure::from(error).lines();
        assert_eq!(
            lines(net(Kind::NoKey)),
            [
                "error: GET https://api.test/workflows?[redacted]: no API key is set",
                "hint: set SIXTYFOUR_API_KEY or give `--api-key-file FILE`; or use `run --local`, which needs no key",
            ]
        );
        assert_eq!(
            lines(Error::Write { path: "/data/out.parquet".into(), cause: os(Errno::ACCESS) }),
            [
                "error: cannot write /data/out.parquet: permission denied",
                "hint: you may not write in /data; write elsewhere with `-o`",
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
                "hint: `drawoff runs status r-1` shows every block",
            ]
        );
        assert_eq!(
            lines(client::Error::UnknownWorkflow("nope".into()).into()),
            ["error: there is no workflow `nope`", "hint: `drawoff workflows ls` lists them",]
        );
    }
}
