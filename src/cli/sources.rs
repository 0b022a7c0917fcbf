//! Opening of the sources of `convert`, `schema` and `explain`: files, standard input and http(s) URLs. They are opened
//! only as far as that finds mistakes before an output is touched; records are read by the engine.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::context::{Context, require_valid_proxy};
use super::dialect::InputDialect;
use super::error::{Error, Failure};
use crate::client::{Client, digest_of};
use crate::net::{DownloadRequest, Downloads, Stopper};
use crate::secret::SecretUrl;
use crate::source::{ByteSource, FileSource, Source};

/// The opened sources of a command.
#[derive(Default)]
pub(super) struct Sources {
    /// Sources for the engine, in the order typed.
    pub sources: Vec<Source>,
    /// Size of all sources together; `None` if the size of one is unknown.
    pub total_bytes: Option<u64>,
    /// Handles that stop the downloads among the sources.
    pub stoppers: Vec<Stopper>,
    /// Paths of the files among the sources, which no output may replace.
    pub files: Vec<PathBuf>,
    /// Digests of the names of all sources, by which results of other sources are told apart.
    pub identities: Vec<String>,
}

/// Longest list of sources that is read: a million names. A larger file is more likely one of records.
const MAX_LIST_BYTES: u64 = 64 << 20;

/// Replaces each `@FILE` by the sources that the file lists, one on each line; blank lines and lines that start with `#`
/// are skipped. A list keeps signed URLs out of the command line, which other users can read, and has no limit of the
/// shell. A file whose own name starts with `@` is specified as `./@FILE`.
fn listed(names: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut all = Vec::new();
    for name in names {
        let Some(list) = name.to_str().and_then(|name| name.strip_prefix('@')) else {
            all.push(name.clone());
            continue;
        };
        let read = |cause| Error::Read { path: list.into(), cause };
        let mut text = String::new();
        let bytes = File::open(list).map_err(read)?.take(MAX_LIST_BYTES + 1).read_to_string(&mut text).map_err(read)?;
        if bytes as u64 > MAX_LIST_BYTES {
            let error = Error::Usage(format!("{list} is too long for a list of sources"));
            return Err(Failure::new(error, format!("to read its records, leave the @ out: `{list}`")));
        }
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let before = all.len();
        for line in lines {
            if line == "-" || line.starts_with('@') {
                let what = if line == "-" { "standard input" } else { "another list" };
                return Err(Error::Usage(format!("the list {list} names {what}; list files and URLs only")).into());
            }
            all.push(PathBuf::from(line));
        }
        if all.len() == before {
            return Err(Error::Usage(format!("the list {list} names no source")).into());
        }
    }
    Ok(all)
}

/// Opens the sources called `names`. `dialect` is that of all of them; the engine detects what it does not specify. Fails if a file cannot be read, if a download is refused, or if standard input is named twice.
pub(super) async fn open(context: &Context, names: &[PathBuf], dialect: &InputDialect) -> Result<Sources, Failure> {
    let names = &listed(names)?;
    let mut opened = Sources { total_bytes: Some(0), ..Sources::default() };
    if names.iter().filter(|name| *name == Path::new("-")).count() > 1 {
        return Err(Error::Usage("standard input can be read only once".into()).into());
    }
    // Created at the first URL, so that commands on files load no key.
    let mut network = None;
    for name in names {
        // Only files may have names that are not UTF-8.
        let text = name.to_str();
        let (mut source, size) = if text == Some("-") {
            (Source::stdin(), None)
        } else if let Some(url) = text.filter(|text| is_url(text)) {
            let (client, downloads) = network.get_or_insert_with(|| (url_client(context), context.downloads()));
            // Only `jobs` downloads run at once. The others connect when their turn comes, which keeps their links
            // fresh.
            let opens_now = opened.stoppers.len() < context.settings.jobs.value;
            let (source, stopper, size) = open_url(context, client, downloads, url, opens_now).await?;
            opened.stoppers.push(stopper);
            (source, size)
        } else if let Some(url) = text.filter(|text| is_other_url(text)) {
            return Err(Error::Usage(format!("{}: only http and https URLs can be read", SecretUrl::new(url))).into());
        } else {
            opened.files.push(name.clone());
            let size = checked_size(name).map_err(|cause| Error::Read { path: name.clone(), cause })?;
            (Source::file(name), size)
        };
        opened.identities.push(identity(name, &source));
        dialect.specify(&mut source);
        // One unknown size makes the total unknown; the progress then shows no fraction.
        opened.total_bytes = opened.total_bytes.zip(size).map(|(total, size)| total + size);
        opened.sources.push(source);
    }
    Ok(opened)
}

/// Returns the size of a plain file, after opening it to check that it can be read. A named pipe is not opened and has
/// no size: its writer would notice a reader that closes it again.
fn checked_size(path: &Path) -> io::Result<Option<u64>> {
    let metadata = std::fs::metadata(path)?;
    if metadata.is_file() || metadata.is_dir() { Ok(FileSource::open(path)?.size_bytes()) } else { Ok(None) }
}

/// Returns a digest of the name of a source: the path of a file without links, or the URL without its query.
fn identity(name: &Path, source: &Source) -> String {
    let real = std::fs::canonicalize(name).ok().filter(|path| path.is_file());
    let text = match &real {
        Some(path) => path.to_string_lossy(),
        None => (&*source.name).into(),
    };
    digest_of(&[&text])[..32].to_owned()
}

fn is_url(name: &str) -> bool {
    let scheme = name.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    matches!(scheme.as_deref(), Some("http" | "https"))
}

/// Returns true for a URL of another scheme than http and https, unless a file has this very name.
fn is_other_url(name: &str) -> bool {
    let scheme = name.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|s| s.starts_with(|c: char| c.is_ascii_alphabetic()) && s.chars().all(is_scheme_char))
        && !Path::new(name).exists()
}

fn is_scheme_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.')
}

/// Returns the client for URLs. They need no key, so a key that cannot be loaded, or that would be sent unencrypted, is
/// not an error here: it is not sent.
fn url_client(context: &Context) -> Client {
    let key = context.settings.load_key().unwrap_or_default().filter(|_| !context.sends_key_unencrypted());
    context.client_at(context.settings.endpoint.value.clone(), key)
}

/// Opens a URL that the user typed. It cannot be renewed when it expires, and it is sent the key only if its host may
/// have the key. `opens_now` waits for the response, so that a refusal is an error before anything is written.
async fn open_url(
    context: &Context,
    client: &Client,
    downloads: &Downloads,
    url: &str,
    opens_now: bool,
) -> Result<(Source, Stopper, Option<u64>), Failure> {
    if let Ok(url) = url::Url::parse(url) {
        require_valid_proxy(&url)?;
    }
    let link = SecretUrl::new(url);
    let name = link.to_string().trim_end_matches("?[redacted]").to_owned();
    let mut download = downloads.start(client.http(), DownloadRequest::link(link));
    if opens_now {
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
