//! Sources that may be the id of a run, for the commands that look at rows and write none.

use std::path::PathBuf;

use super::context::Context;
use super::dialect::InputDialect;
use super::error::Failure;
use super::sources::{self, Sources};
use crate::api::{DownloadLink, RunId};
use crate::client::{BlockSelection, ResultFormat, result_source};
use crate::column::Schema;

/// Opens `names`, or the results of the run that the only one of them names, with the types that its workflow declares. With
/// `enough` rows of a run, only its first files.
pub(super) async fn open_sources_or_run(
    context: &Context,
    names: &[PathBuf],
    dialect: &InputDialect,
    enough: Option<u64>,
) -> Result<(Sources, Option<Schema>), Failure> {
    match run_of(names) {
        Some(run) => {
            let (opened, declared) = open_run(context, &run, enough).await?;
            Ok((opened, Some(declared)))
        }
        None => Ok((sources::open(context, names, dialect).await?, None)),
    }
}

/// Returns the run whose id is the only source; `None` if a file has that name.
fn run_of(sources: &[PathBuf]) -> Option<RunId> {
    let [only] = sources else { return None };
    let text = only.to_str()?;
    let is_digit = |(i, byte): (usize, u8)| match i {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    let is_id = text.len() == 36 && text.bytes().enumerate().all(is_digit);
    (is_id && !only.exists()).then(|| RunId(text.to_owned()))
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
