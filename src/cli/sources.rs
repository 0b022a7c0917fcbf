//! What SRC means: a file, standard input, or a URL.

use std::io;
use std::path::{Path, PathBuf};

use super::choices::FromFormat;
use super::context::Context;
use super::error::{Error, Failure};
use crate::client::Client;
use crate::net::{DownloadRequest, Downloads, Stopper};
use crate::secret::SecretUrl;
use crate::source::{ByteSource, FileSource, Source};

/// The sources of a command, opened as far as that finds mistakes early.
#[derive(Default)]
pub struct Sources {
    /// For the plan.
    pub sources: Vec<Source>,
    /// Bytes of all of them, if each tells.
    pub total_bytes: Option<u64>,
    /// Ends for the downloads among them.
    pub stoppers: Vec<Stopper>,
    /// Files among them: no output may stand there.
    pub files: Vec<PathBuf>,
}

/// Opens what `names` mean. `from` is the format of them all.
pub async fn open(context: &Context, names: &[String], from: Option<FromFormat>) -> Result<Sources, Failure> {
    let mut opened = Sources { total_bytes: Some(0), ..Sources::default() };
    if names.iter().filter(|name| *name == "-").count() > 1 {
        return Err(Error::Usage("standard input can be read once only".into()).into());
    }
    let mut network = None;
    for name in names {
        let (mut source, size) = if name == "-" {
            (Source::stdin(), None)
        } else if is_url(name) {
            let (client, downloads) = network.get_or_insert_with(|| (url_client(context), context.downloads()));
            // Those that must wait for others are opened when it is their turn.
            let at_once = opened.stoppers.len() < context.settings.jobs.value;
            let (source, stopper, size) = open_url(context, client, downloads, name, at_once).await?;
            opened.stoppers.push(stopper);
            (source, size)
        } else if is_other_url(name) {
            return Err(Error::Usage(format!("{}: only http and https URLs can be read", SecretUrl::new(name))).into());
        } else {
            let path = Path::new(name);
            opened.files.push(path.into());
            let size = checked_size(path).map_err(|cause| Error::Read { path: path.into(), cause })?;
            (Source::file(path), size)
        };
        if let Some(from) = from {
            source.format = Some(from.into());
            source.delimiter = (from == FromFormat::Tsv).then_some(b'\t');
        }
        opened.total_bytes = opened.total_bytes.zip(size).map(|(total, size)| total + size);
        opened.sources.push(source);
    }
    Ok(opened)
}

/// The size of a plain file, opened once to see that it can be. A pipe with a name is left alone: its writer would
/// notice a reader that comes and goes.
fn checked_size(path: &Path) -> io::Result<Option<u64>> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_file() || metadata.is_dir() { Ok(FileSource::open(path)?.size_bytes()) } else { Ok(None) }
}

fn is_url(name: &str) -> bool {
    let scheme = name.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("http" | "https"))
}

/// A URL of another kind, unless a file stands under this very name.
fn is_other_url(name: &str) -> bool {
    let scheme = name.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|s| s.starts_with(|c: char| c.is_ascii_alphabetic()) && s.chars().all(is_scheme_char))
        && !Path::new(name).exists()
}

fn is_scheme_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')
}

/// For URLs: without a key they are still URLs, and a key file that cannot be read is no concern of theirs.
fn url_client(context: &Context) -> Client {
    let key = context.settings.load_key().unwrap_or_default();
    context.client_at(context.settings.endpoint.value.clone(), key)
}

/// A URL that the user gave. It has no successor when it expires, and gets the key only where that may go.
async fn open_url(
    context: &Context,
    client: &Client,
    downloads: &Downloads,
    url: &str,
    at_once: bool,
) -> Result<(Source, Stopper, Option<u64>), Failure> {
    let link = SecretUrl::new(url);
    let name = link.to_string().trim_end_matches("?[redacted]").to_owned();
    let mut download = downloads.start(client.http(), DownloadRequest::link(link));
    if at_once {
        context
            .unless_interrupted(async {
                let opened = download.opened().await;
                opened.map_err(|cause| Error::Download { name: name.clone(), cause }.into())
            })
            .await?;
    }
    let (stopper, size) = (download.stopper(), download.size_bytes());
    Ok((Source::stream(name, Box::new(download)), stopper, size))
}
