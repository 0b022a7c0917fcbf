//! Exit codes of errors.

use std::io;

use crate::cli::exit::Exit;
use crate::cli::settings::{self};
use crate::client::{self, RunEnd, StateError};
use crate::net::{self, Kind};
use crate::pipeline::{self};
use crate::scale::ScaleError;
use crate::warehouse::LoadError;

use super::command_error::Error;

/// Returns the download error inside the I/O error of a reader; `None` for other sources.
pub(super) fn download_error(cause: &io::Error) -> Option<&net::Error> {
    cause.get_ref()?.downcast_ref::<net::Error>()
}

pub(super) fn is_disk_full(cause: &io::Error) -> bool {
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

pub(super) fn exit_of(error: &Error) -> Exit {
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
        Error::Scale(error) => scale_exit(error),
        Error::Parts { exit, .. } => *exit,
    }
}

fn scale_exit(error: &ScaleError) -> Exit {
    match error {
        ScaleError::Open { .. } => Exit::WorkLeft,
        ScaleError::Counts { .. } => Exit::Mismatch,
        ScaleError::Unusable { .. } => Exit::BadData,
        ScaleError::Read { cause, .. } => read_exit(cause),
        ScaleError::Write { cause, .. } => write_exit(cause),
        ScaleError::NoPlan { .. } | ScaleError::NoItem { .. } => Exit::NotFound,
        _ => Exit::Usage,
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
