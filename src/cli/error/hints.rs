//! Hints of errors: the flags and commands that help against them.

use std::error::Error as StdError;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::cli::flag_text::{flag_of_csv, in_flags};
use crate::cli::mistakes::{near_file, nearest_file};
use crate::cli::settings::{self, API_KEY_VARIABLE};
use crate::cli::shell::shell_quoted;
use crate::client::{self, RunEnd, StateError};
use crate::format::parquet::InputError;
use crate::net::{self, Kind};
use crate::pipeline::{self, ColumnPurpose, DirectoryConflict, FixedSchema, PlanError, SchemaChange, SharedName};
use crate::scale::ScaleError;
use crate::sink::{ChangedMeanwhile, StoreError, StoreProblem, TargetKind, TemporaryFile};
use crate::source::{TooMuchExpansion, is_pattern};
use crate::transform::{ForeignError, Unwritable};
use crate::warehouse::LoadError;

use super::command_error::{Error, STDOUT};
use super::correction::Correction;
use super::exits::{download_error, is_disk_full};

/// Returns the column of Parquet or Arrow with a type or values that drawoff has no counterpart of, quoted for a shell and an
/// expression, and true if the values are NaN or infinities.
pub(super) fn unusable_column(cause: &io::Error) -> Option<(String, bool)> {
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
    Some((shell_quoted(&name), is_not_finite))
}

/// Returns the hint for such a column.
fn column_hint(cause: &io::Error) -> Option<String> {
    let (column, is_not_finite) = unusable_column(cause)?;
    let drop = format!("leave the column out with `--drop {column}`");
    Some(match is_not_finite {
        true => format!("read such numbers as null with `--in-null NaN,inf,-inf`, or {drop}"),
        false => drop,
    })
}

/// Returns the hint for a plan that cannot be used.
fn scale_hint(error: &ScaleError) -> Option<String> {
    Some(match error {
        ScaleError::NoPlan { plan } => format!("write one with `drawoff plan RUN... -o {}`", shell_quoted(plan)),
        ScaleError::OtherPlan { .. } => {
            "a plan never changes: write this one into another place with `-o PLAN`".to_owned()
        }
        ScaleError::Unusable { .. } => "make a new plan in another place: `drawoff plan RUN... -o PLAN`".to_owned(),
        ScaleError::Counts { item, plan, .. } => format!(
            "remove the receipts of that item, {}/receipts/{item}/, and do it again with `drawoff work`",
            plan.trim_end_matches('/')
        ),
        ScaleError::Read { cause, .. } | ScaleError::Write { cause, .. } => {
            return store_hint(cause.get_ref()?.downcast_ref::<StoreError>()?);
        }
        _ => return None,
    })
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

/// Returns the change of the command line that `error` implies.
pub(super) fn correction(error: &Error) -> Option<Correction> {
    match error {
        Error::Pipeline(pipeline::Error::BadRecord { reject, .. }) if !reject.is_too_long() => {
            Some(Correction::SkipBadRecords)
        }
        Error::Read { path, cause } if cause.kind() == io::ErrorKind::NotFound => {
            Some(Correction::Replace { typed: path.to_str()?.to_owned(), with: nearest_file(path)? })
        }
        _ => None,
    }
}

/// Returns the hint that `error` implies by itself; `None` if nothing helps or only the command knows.
pub(super) fn hint(error: &Error) -> Option<String> {
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
        Error::Scale(error) => scale_hint(error),
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
pub(in crate::cli) const RAISE_COLUMNS: &str = "`--max-columns N`, or with `max_columns` in the configuration file";

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
    // Tables of rows that are read twice are kept there.
    let temporary = std::env::temp_dir();
    if path == temporary {
        return Some(format!("set TMPDIR to a directory that can be written, in place of {}", temporary.display()));
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
