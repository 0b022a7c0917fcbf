//! Opening of the sources of `convert`, `schema` and `explain`: files, directories, patterns, archives, standard input, URLs. They are opened
//! only as far as that finds mistakes before an output is touched; records are read by the engine.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::context::{Context, require_valid_proxy};
use super::dialect::InputDialect;
use super::error::{Error, Failure};
use super::outputs::object_url;
use super::place_names::{check_place, shown};
use super::shell::shell_quoted;
use super::stored_sources;
use super::table_url::table_url;
use crate::client::{Client, digest_of};
use crate::net::{DownloadRequest, Downloads, Stopper};
use crate::secret::SecretUrl;
use crate::source::{
    ArchiveError, ArchiveListing, ByteSource, DirectoryColumns, FileSource, ListedFile, Listing, ListingError, Source,
    is_pattern,
};
use crate::text::counted;

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
    /// Sentences for the report on directories and patterns.
    pub notes: Vec<String>,
    /// Digests of the names of all sources, by which results of other sources are told apart. A directory or a pattern is
    /// one.
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
        check_place(name)?;
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
        } else if let Some(url) = object_url(name).filter(|_| !name.exists()) {
            let stored = stored_sources::open(context, url).await?;
            opened.notes.extend(stored.note);
            opened.identities.push(digest_of(&[url])[..32].to_owned());
            for (mut source, size) in stored.sources {
                dialect.specify(&mut source);
                opened.add(source, Some(size));
            }
            continue;
        } else if let Some(url) = text.filter(|text| is_other_url(text) || is_table(name)) {
            return Err(Error::Usage(format!(
                "{}: only http and https URLs and those of S3, Google Cloud Storage and Azure can be read",
                shown(url)
            ))
            .into());
        } else {
            if let Some(archive) = ArchiveListing::of_path(name).map_err(archive_failure)? {
                opened.notes.push(archive_note(name, &archive));
                opened.identities.push(path_identity(name));
                opened.add_archive(archive, &DirectoryColumns::default(), dialect);
                continue;
            }
            if let Some(listing) = listing(name)? {
                opened.add_listing(name, listing, dialect)?;
                continue;
            }
            opened.files.push(name.clone());
            let size = checked_size(name).map_err(|cause| Error::Read { path: name.clone(), cause })?;
            (Source::file(name), size)
        };
        opened.identities.push(identity(name, &source));
        dialect.specify(&mut source);
        opened.add(source, size);
    }
    Ok(opened)
}

impl Sources {
    /// Adds a source of `size` bytes.
    fn add(&mut self, source: Source, size: Option<u64>) {
        // One unknown size makes the total unknown; the progress then shows no fraction.
        self.total_bytes = self.total_bytes.zip(size).map(|(total, size)| total + size);
        self.sources.push(source);
    }

    /// Adds the members of an archive in directories that have `columns`.
    fn add_archive(&mut self, archive: ArchiveListing, columns: &DirectoryColumns, dialect: &InputDialect) {
        for (member, own) in archive.members {
            self.files.push(member.archive().to_owned());
            let size = member.size_bytes();
            let mut source = Source::member(member);
            source.columns = columns.iter().chain(own.iter()).cloned().collect();
            dialect.specify(&mut source);
            self.add(source, Some(size));
        }
    }

    /// Adds the files of a directory or a pattern, and a note on them.
    fn add_listing(&mut self, name: &Path, listing: Listing, dialect: &InputDialect) -> Result<(), Failure> {
        self.notes.push(listing_note(name, &listing));
        self.identities.push(path_identity(name));
        for ListedFile { path, columns } in listing.files {
            if let Some(archive) = ArchiveListing::of_path(&path).map_err(archive_failure)? {
                self.add_archive(archive, &columns, dialect);
                continue;
            }
            let size = checked_size(&path).map_err(|cause| Error::Read { path: path.clone(), cause })?;
            let mut source = Source::file(&path);
            source.columns = columns;
            dialect.specify(&mut source);
            self.add(source, size);
            self.files.push(path);
        }
        Ok(())
    }
}

/// Returns the failure for an archive, with a hint if something helps.
fn archive_failure(error: ArchiveError) -> Failure {
    let hint = match &error {
        ArchiveError::MixedFormats { archive, .. } => {
            let pattern = archive.join("**/*.csv");
            Some(format!(
                "choose members by their name or a pattern, such as {}",
                shell_quoted(&pattern.to_string_lossy())
            ))
        }
        ArchiveError::Unsupported { .. } | ArchiveError::DuplicateNames(_) => {
            Some("extract the file first, and read that".to_owned())
        }
        _ => None,
    };
    let failure = match error {
        ArchiveError::Read { path, cause } => Failure::from(Error::Read { path, cause }),
        other => Failure::from(Error::Usage(other.to_string())),
    };
    if let Some(hint) = hint { failure.with_hint(hint) } else { failure }
}

/// Returns the sentence on the members that were read for `name`.
fn archive_note(name: &Path, archive: &ArchiveListing) -> String {
    let read = counted(archive.members.len() as u64, "file");
    let skipped = match archive.skipped {
        0 => String::new(),
        n => format!("; skipped {} that begin with `.` or `_`", counted(n, "name")),
    };
    format!("read {read} of {}{skipped}", name.display())
}

/// Lists the files that `name` stands for if it is a directory or a pattern; `None` if it is a file. A file whose own
/// name has characters of a pattern is that file.
fn listing(name: &Path) -> Result<Option<Listing>, Failure> {
    let pattern = name.to_str().filter(|name| is_pattern(name));
    let listing = match pattern {
        _ if name.is_dir() => Listing::of_directory(name),
        Some(pattern) if std::fs::symlink_metadata(name).is_err() => Listing::of_pattern(pattern),
        _ => return Ok(None),
    };
    let listing = listing.map_err(|error| match error {
        ListingError::Read { path, cause } => Failure::from(Error::Read { path, cause }),
        error => {
            let hint = listing_hint(&error);
            let failure = Failure::from(Error::Usage(error.to_string()));
            if let Some(hint) = hint { failure.with_hint(hint) } else { failure }
        }
    });
    listing.map(Some)
}

/// Returns the hint for an error of a listing; `None` if nothing helps.
fn listing_hint(error: &ListingError) -> Option<String> {
    Some(match error {
        ListingError::MixedFormats { first, .. } => {
            let directory = Path::new(first).parent().unwrap_or(Path::new("")).join("*");
            let extension = Path::new(first).file_name().and_then(|name| name.to_str()?.split_once('.'));
            let pattern = format!("{}.{}", directory.display(), extension.map_or("csv", |(_, extension)| extension));
            format!("read those of one format by a pattern, such as {}", shell_quoted(&pattern))
        }
        ListingError::DeltaTable(_) => {
            "read the files of its current version, as DuckDB's `delta_scan` lists them".into()
        }
        ListingError::NotRegular(_) => "read the other files by a pattern, such as 'DIR/*.csv'".to_owned(),
        ListingError::Empty { skipped: 1.., .. } => "name the files themselves to read them".to_owned(),
        _ => return None,
    })
}

/// Returns the sentence on the files that were read for `name`.
fn listing_note(name: &Path, listing: &Listing) -> String {
    let name = name.display().to_string();
    let of = if is_pattern(&name) { format!("the pattern {name}") } else { format!("{}/", name.trim_end_matches('/')) };
    let columns: Vec<String> = listing.column_names().iter().map(|name| format!("`{name}`")).collect();
    let columns = match columns.len() {
        0 => String::new(),
        n => format!(
            ", with the {} {} of its directories",
            if n == 1 { "column" } else { "columns" },
            columns.join(", ")
        ),
    };
    let skipped = match listing.skipped {
        0 => String::new(),
        n => format!("; skipped {} that begin with `.` or `_`", counted(n, "name")),
    };
    format!("read {} of {of}{columns}{skipped}", counted(listing.files.len() as u64, "file"))
}

/// Returns a digest of the path of a directory, a pattern, an archive or a member of one.
fn path_identity(name: &Path) -> String {
    let real = std::fs::canonicalize(name).or_else(|_| std::path::absolute(name));
    let text = real.as_deref().unwrap_or(name).to_string_lossy();
    digest_of(&[&text])[..32].to_owned()
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

/// Returns true for the URL of a table, unless a file has this very name.
fn is_table(name: &Path) -> bool {
    table_url(name).is_some() && !name.exists()
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
    match url::Url::parse(url) {
        Ok(url) => require_valid_proxy(&url)?,
        Err(cause) => return Err(Error::Usage(format!("a source is no valid URL: {cause}")).into()),
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
