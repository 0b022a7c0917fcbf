//! Sources that may be the id of a run, for the commands that look at rows and write none.

use std::path::PathBuf;

use super::context::Context;
use super::dialect::InputDialect;
use super::error::Failure;
use super::sources::{self, Sources};
use crate::api::{DownloadLink, RunId};
use crate::client::{self, BlockSelection, ResultFormat, RunFilter, result_source};
use crate::column::Schema;

/// Opens `names`, or the results of the run that the only one of them names, with the types that its workflow declares. With
/// `enough` rows of a run, only its first files.
pub(super) async fn open_sources_or_run(
    context: &Context,
    names: &[PathBuf],
    dialect: &InputDialect,
    enough: Option<u64>,
) -> Result<(Sources, Option<Schema>), Failure> {
    let run = match run_of(names) {
        Some(RunName::Id(run)) => Some(run),
        Some(RunName::Last) => Some(newest_run(context).await?),
        None => None,
    };
    match run {
        Some(run) => {
            let (opened, declared) = open_run(context, &run, enough).await?;
            Ok((opened, Some(declared)))
        }
        None => Ok((sources::open(context, names, dialect).await?, None)),
    }
}

/// A run as it was typed.
enum RunName {
    Id(RunId),
    /// The newest run.
    Last,
}

/// Finds the newest run of the account.
async fn newest_run(context: &Context) -> Result<RunId, Failure> {
    let client = context.client()?;
    let filter = RunFilter { limit: Some(1), ..RunFilter::default() };
    let newest = context.unless_interrupted(async { Ok(client.runs(&filter).await?) }).await?.into_iter().next();
    newest.map(|run| run.job_id).ok_or_else(|| {
        let error = client::Error::NoSuchRun("there is no run".to_owned());
        Failure::new(error, "list runs with `drawoff runs ls`")
    })
}

/// Returns the run that the only source names: by its id, or by the word for the newest; `None` if a file has that name.
fn run_of(sources: &[PathBuf]) -> Option<RunName> {
    let [only] = sources else { return None };
    let text = only.to_str()?;
    if text == "last" && !only.exists() {
        return Some(RunName::Last);
    }
    let is_digit = |(i, byte): (usize, u8)| match i {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    let is_id = text.len() == 36 && text.bytes().enumerate().all(is_digit);
    (is_id && !only.exists()).then(|| RunName::Id(RunId(text.to_owned())))
}

/// Begins the downloads of the results of a run, and returns them with the types that its workflow declares.
///
/// With `enough` rows, only the first files that have them.
async fn open_run(context: &Context, run: &RunId, enough: Option<u64>) -> Result<(Sources, Schema), Failure> {
    let client = context.client()?;
    let requests = async {
        let status = client.live_status(run).await?;
        client.require_completed(&status).await?;
        let formats = [ResultFormat::Ndjson, ResultFormat::Csv];
        let mut results = client.result_links(run, &formats, BlockSelection::Final).await?;
        if let Some(enough) = enough {
            // A file of unknown length may have too few.
            let upto = |rows: &mut u64, link: &DownloadLink| {
                let before = *rows;
                *rows += link.row_count.unwrap_or(0);
                (before < enough).then_some(())
            };
            let n_files = results.links.iter().scan(0, upto).count();
            results.links.truncate(n_files.max(1));
        }
        Ok((client.declared_types_of(&status.workflow_id).await, results))
    };
    let (declared, results) = context.unless_interrupted(requests).await?;
    let opens = client.download_requests(run, &results);
    let downloads = context.downloads();
    let mut opened = Sources::default();
    for (link, open) in results.links.iter().zip(opens) {
        let download = downloads.start(client.http(), open);
        opened.stoppers.push(download.stopper());
        opened.sources.push(result_source(link, results.format, download));
    }
    Ok((opened, declared))
}
