//! Archives of the state of a service: export without a service, import before its start, and what either moved.

use std::path::Path;

use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::cli::exit::Exit;
use crate::service::{self, ArchiveError, ArchiveSummary};
use crate::text::counted;

/// Exports the state in `data` to the archive `path`; `-` is standard output.
pub(super) async fn export(context: &Context, data: &Path, path: &Path, overwrite: bool) -> Result<Exit, Failure> {
    let path = if is_stdout(path) { Path::new("/dev/stdout") } else { path };
    check_replaceable(path, overwrite)?;
    let (data, path) = (data.to_owned(), path.to_owned());
    let summary = moved(move || service::export(&data, &path)).await?;
    moved_items("exported", &summary).iter().for_each(|line| context.screen.note(line));
    Ok(Exit::Success)
}

/// Returns true for the name of standard output.
pub(super) fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Fails if an export to `path` would replace another file than an export, unless `overwrite`.
pub(super) fn check_replaceable(path: &Path, overwrite: bool) -> Result<(), Failure> {
    match overwrite {
        true => Ok(()),
        false => Ok(service::check_replaceable(path).map_err(Error::Moved)?),
    }
}

/// Imports the archive `path` into `data`.
pub(super) async fn import(context: &Context, data: &Path, path: &Path) -> Result<(), Failure> {
    let (data, path) = (data.to_owned(), path.to_owned());
    let summary = moved(move || service::import(&data, &path)).await?;
    moved_items("imported", &summary).iter().for_each(|line| context.screen.note(line));
    Ok(())
}

async fn moved(
    work: impl FnOnce() -> Result<ArchiveSummary, ArchiveError> + Send + 'static,
) -> Result<ArchiveSummary, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(|_| Error::Bug("the thread that moves state panicked".into()))?.map_err(Error::Moved)?)
}

/// Returns the numbers of items that were moved, a line each on those that were and those that were not.
pub(super) fn moved_items(word: &str, summary: &ArchiveSummary) -> Vec<String> {
    let ArchiveSummary { workflows, runs, uploads, notebooks, already_present } = summary;
    let kinds = [(workflows, "workflow"), (runs, "run"), (uploads, "upload"), (notebooks, "notebook")];
    let parts = kinds.map(|(n, noun)| counted(*n as u64, noun)).join(", ");
    let mut lines = vec![format!("{word} {parts}")];
    if *already_present > 0 {
        lines.push(format!("{already_present} existed already and were kept"));
    }
    lines
}
