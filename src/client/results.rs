//! The result files of a run: their formats, the choice among them, and the links that lead to them.
//!
//! Values only; `links` asks the API for them.

use std::time::Instant;

use super::Error;
use crate::api::{DownloadLink, RunId};
use crate::format::Format;

/// A format in which the API keeps results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultFormat {
    /// Always there; nested values are text.
    Csv,
    /// Types kept; there if the run was asked for it.
    Ndjson,
    /// One array; there if the run was asked for it.
    Json,
}

impl ResultFormat {
    /// The API's word.
    pub fn as_str(self) -> &'static str {
        match self {
            ResultFormat::Csv => "csv",
            ResultFormat::Ndjson => "ndjson",
            ResultFormat::Json => "json",
        }
    }

    /// The format of the file's bytes.
    pub fn format(self) -> Format {
        match self {
            ResultFormat::Csv => Format::Csv,
            ResultFormat::Ndjson => Format::Ndjson,
            ResultFormat::Json => Format::JsonArray,
        }
    }
}

/// Which blocks' results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BlockSelection {
    /// The one with the highest number: the run's final result.
    Final,
    /// One block by its number.
    Block(i64),
    /// Every block, in order.
    All,
}

/// The links to what is wanted, in the order of their blocks. Links without a number stand in the order given.
pub fn choose(mut links: Vec<DownloadLink>, wanted: BlockSelection, run: &RunId) -> Result<Vec<DownloadLink>, Error> {
    // Stable, so that the last of several without a number is the last of the list.
    links.sort_by_key(|link| link.block_number);
    match wanted {
        BlockSelection::All => Ok(links),
        BlockSelection::Final => Ok(links.pop().into_iter().collect()),
        BlockSelection::Block(block) => {
            let present = links.iter().filter_map(|link| link.block_number).collect();
            links.retain(|link| link.block_number == Some(block));
            if links.is_empty() {
                return Err(Error::NoSuchBlock { run: run.clone(), block, present });
            }
            Ok(links)
        }
    }
}

/// What a run has to give.
#[derive(Clone, Debug)]
pub struct Results {
    /// The format of the files.
    pub format: ResultFormat,
    /// Links to the wanted files, in the order of their blocks.
    pub links: Vec<DownloadLink>,
    /// What the API says about the run's files: the file's name and the message. Every block has its part in the final
    /// result, so there all are told; with one block wanted, only its own.
    pub messages: Vec<(String, String)>,
    /// When the links were asked for: their lives begin no later than that.
    pub asked: Instant,
}
