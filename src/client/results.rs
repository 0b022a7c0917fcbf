//! Which result files of a run are wanted, and how they are read.

use std::time::{Duration, Instant};

use super::links::UNSIGNED_TRIES;
use super::{Client, Error};
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
pub enum Wanted {
    /// The one with the highest number: the run's final result.
    Final,
    /// One block by its number.
    Block(i64),
    /// Every block, in order.
    All,
}

/// The links to what is wanted, in the order of their blocks. Links without a number stand in the order given.
pub fn choose(mut links: Vec<DownloadLink>, wanted: Wanted, run: &RunId) -> Result<Vec<DownloadLink>, Error> {
    // Stable, so that the last of several without a number is the last of the list.
    links.sort_by_key(|link| link.block_number);
    match wanted {
        Wanted::All => Ok(links),
        Wanted::Final => Ok(links.pop().into_iter().collect()),
        Wanted::Block(block) => {
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

impl Client {
    /// Links to the wanted results in the first of `formats` that the run has. Links that come without their URL are
    /// asked for again a few times.
    pub async fn result_links(&self, run: &RunId, formats: &[ResultFormat], wanted: Wanted) -> Result<Results, Error> {
        for &format in formats {
            for tries in 1.. {
                let asked = self.http().policy().clock.now();
                let links = self.links(run, format).await?;
                if links.is_empty() {
                    break;
                }
                let said = |l: &DownloadLink| Some((l.filename.clone(), l.message.clone().filter(|m| !m.is_empty())?));
                let concerns = |l: &&DownloadLink| match wanted {
                    Wanted::Block(block) => l.block_number == Some(block),
                    Wanted::Final | Wanted::All => true,
                };
                let messages = links.iter().filter(concerns).filter_map(said).collect();
                let links = choose(links, wanted, run)?;
                let Some(unsigned) = links.iter().find(|link| link.download_url.is_none()) else {
                    links.iter().try_for_each(|link| self.require_no_downgrade(link))?;
                    return Ok(Results { format, links, messages, asked });
                };
                if tries >= UNSIGNED_TRIES {
                    let (filename, message) = (unsigned.filename.clone(), unsigned.message.clone());
                    return Err(Error::NoLink { filename, message });
                }
                self.http().policy().clock.sleep(self.unsigned_wait(tries)).await;
            }
        }
        let formats = formats.iter().map(|f| f.as_str()).collect::<Vec<_>>().join(" or ");
        Err(Error::NoResults { run: run.clone(), formats })
    }

    pub(super) fn unsigned_wait(&self, tries: u32) -> Duration {
        self.http().policy().first_delay.saturating_mul(1 << tries)
    }
}
