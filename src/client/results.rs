//! The result files of a run: their formats, and the selection among them. Values only: `links` requests them from the
//! API.

use std::time::Instant;

use super::Error;
use crate::api::{DownloadLink, RunId};
use crate::format::Format;

/// A format in which the API stores results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultFormat {
    /// CSV, always written; nested values are JSON text.
    Csv,
    /// NDJSON, with types; written if the start of the run requested it.
    Ndjson,
    /// One JSON array, with types; written if the start of the run requested it.
    Json,
}

impl ResultFormat {
    /// Returns the API's word for the format.
    pub fn as_str(self) -> &'static str {
        match self {
            ResultFormat::Csv => "csv",
            ResultFormat::Ndjson => "ndjson",
            ResultFormat::Json => "json",
        }
    }

    /// Returns the format that reads such a file.
    pub fn format(self) -> Format {
        match self {
            ResultFormat::Csv => Format::Csv,
            ResultFormat::Ndjson => Format::Ndjson,
            ResultFormat::Json => Format::JsonArray,
        }
    }
}

/// The blocks whose results are selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockSelection {
    /// The block with the highest number, which has the final result of the run.
    Final,
    /// One block by its number.
    Block(i64),
    /// Every block, in order.
    All,
}

/// Selects the links of the wanted blocks and sorts them by block number. Links without a number come first, in the
/// order given. Fails with [`Error::NoSuchBlock`] if a block was named that has no result.
pub fn select_links(
    mut links: Vec<DownloadLink>,
    wanted: BlockSelection,
    run: &RunId,
) -> Result<Vec<DownloadLink>, Error> {
    // Stable, so that the last of several without a number is the last of the list.
    links.sort_by_key(|link| link.block_number);
    match wanted {
        BlockSelection::All => Ok(links),
        BlockSelection::Final => Ok(links.pop().into_iter().collect()),
        BlockSelection::Block(block) => {
            // Collected before the selection, for the error.
            let present = links.iter().filter_map(|link| link.block_number).collect();
            links.retain(|link| link.block_number == Some(block));
            if links.is_empty() {
                return Err(Error::NoSuchBlock { run: run.clone(), block, present });
            }
            Ok(links)
        }
    }
}

/// The selected result files of a run.
#[derive(Clone, Debug)]
pub struct Results {
    /// Format of all the files.
    pub format: ResultFormat,
    /// Links to the files, by block number.
    pub links: Vec<DownloadLink>,
    /// All links of the list, also those that were not selected: a file may have namesakes among them.
    pub listed: Vec<DownloadLink>,
    /// Messages of the API about files, as pairs of file name and message. All blocks contribute to the final result,
    /// so messages about all files are kept; if one block is selected, only its own.
    pub messages: Vec<(String, String)>,
    /// Instant of the request for the links. Their lifetime is counted from here, which errs on the safe side.
    pub asked: Instant,
}
