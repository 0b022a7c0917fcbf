//! Which result files of a run are wanted, and how they are read.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{Client, Error};
use crate::api::{DownloadLink, RunId};
use crate::format::Format;
use crate::net::{self, Download, FreshLink, Open};
use crate::secret::SecretUrl;

/// How often a link that the API lists without its URL is asked for again.
const UNSIGNED_TRIES: u32 = 4;

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
}

impl Client {
    /// Links to the wanted results in the first of `formats` that the run has. Links that come without their URL are
    /// asked for again a few times.
    pub async fn result_links(&self, run: &RunId, formats: &[ResultFormat], wanted: Wanted) -> Result<Results, Error> {
        for &format in formats {
            for tries in 1.. {
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
                    return Ok(Results { format, links, messages });
                };
                if tries >= UNSIGNED_TRIES {
                    let (filename, message) = (unsigned.filename.clone(), unsigned.message.clone());
                    return Err(Error::NoLink { filename, message });
                }
                tokio::time::sleep(self.unsigned_wait(tries)).await;
            }
        }
        let formats = formats.iter().map(|f| f.as_str()).collect::<Vec<_>>().join(" or ");
        Err(Error::NoResults { run: run.clone(), formats })
    }

    fn unsigned_wait(&self, tries: u32) -> Duration {
        self.http().policy().first_delay.saturating_mul(1 << tries)
    }

    /// Opens the file behind a link; when the link expires, a fresh one to the same file takes its place.
    pub async fn download(&self, run: &RunId, format: ResultFormat, link: &DownloadLink) -> Result<Download, Error> {
        let fresh = LinkSource {
            client: self.clone(),
            run: run.clone(),
            format,
            filename: link.filename.clone(),
            block: link.block_number,
        };
        let url = match &link.download_url {
            Some(url) => SecretUrl::new(url.clone()),
            None => fresh.fresh().await?,
        };
        let open = Open { fresh: Some(Arc::new(fresh)), ..Open::link(url) };
        Ok(Download::open(self.http(), open).await?)
    }
}

/// Fresh links to one result file of one run.
pub struct LinkSource {
    client: Client,
    run: RunId,
    format: ResultFormat,
    filename: String,
    block: Option<i64>,
}

impl FreshLink for LinkSource {
    fn fresh(&self) -> BoxFuture<'_, Result<SecretUrl, net::Error>> {
        Box::pin(async move {
            let gone = |text: &str| net::Error::new(net::Kind::NotFound, "GET", "").with_text(text);
            let links = match self.client.links(&self.run, self.format).await {
                Ok(links) => links,
                Err(Error::Net(error)) => return Err(error),
                Err(error) => return Err(gone("no fresh link").with_source(error)),
            };
            let same = links.into_iter().find(|l| l.filename == self.filename && l.block_number == self.block);
            let url = same.ok_or_else(|| gone("the run no longer lists this file"))?.download_url;
            url.map(SecretUrl::new).ok_or_else(|| gone("the API gives no fresh link to this file"))
        })
    }
}
