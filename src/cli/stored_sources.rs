//! Objects in stores as sources: one by its URL, those below a URL that ends with a slash, or those that match a pattern.

use std::io::{self, Read};
use std::path::PathBuf;

use super::context::Context;
use super::error::{Error, Failure};
use super::object_options::object_options;
use crate::sink::{ObjectLocation, ObjectReader, StoredObject};
use crate::source::{ByteSource, DirectoryColumns, ListingError, NamePattern, Source, is_pattern, listed_names};
use crate::text::counted;

/// The objects of one URL.
pub(super) struct StoredSources {
    /// Sources in order, with their sizes.
    pub sources: Vec<(Source, u64)>,
    /// The sentence for the report; `None` for a single object by its own URL.
    pub note: Option<String>,
}

/// Finds the objects that `url` stands for. Reads none of them.
pub(super) async fn open(context: &Context, url: &str) -> Result<StoredSources, Failure> {
    let location = ObjectLocation::new(url, object_options(std::env::vars_os()), false);
    let path = PathBuf::from(url);
    // On a blocking thread, which is left behind by an interruption: a store may hang.
    let found = tokio::task::spawn_blocking(move || find(&location));
    let found = async {
        let found = found.await.map_err(|error| Error::Bug(error.to_string()))?;
        found.map_err(|error| match error {
            FindError::Store(cause) => Failure::from(Error::Read { path, cause }),
            FindError::Missing => {
                let cause = io::Error::new(io::ErrorKind::NotFound, "there is no such object");
                let failure = Failure::from(Error::Read { path: path.clone(), cause });
                failure
                    .with_hint(format!("to read all objects below it, end the URL with a slash: {}/", path.display()))
            }
            FindError::Listing(error) => Failure::from(Error::Usage(error.to_string())),
        })
    };
    context.unless_interrupted(found).await
}

enum FindError {
    Store(io::Error),
    Missing,
    Listing(ListingError),
}

#[cfg_attr(not(feature = "object-store"), allow(unused_variables, unused_mut, reason = "this build finds no object"))]
fn find(location: &ObjectLocation) -> Result<StoredSources, FindError> {
    let url = &*location.url;
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    let base = format!("{scheme}://{bucket}/");
    let source = |object: StoredObject, columns: DirectoryColumns| {
        let size = object.size_bytes();
        let name = format!("{base}{}", object.key());
        let mut source = Source::stream(name, Box::new(ObjectBytes { reader: object.reader(), size }));
        source.columns = columns;
        (source, size)
    };
    let is_prefix = key.is_empty() || key.ends_with('/');
    if !is_prefix && let Some(object) = StoredObject::find(location).map_err(FindError::Store)? {
        return Ok(StoredSources { sources: vec![source(object, DirectoryColumns::default())], note: None });
    }
    let pattern =
        (!is_prefix && is_pattern(key)).then(|| NamePattern::new(key)).transpose().map_err(FindError::Listing)?;
    if !is_prefix && pattern.is_none() {
        return Err(FindError::Missing);
    }
    // The directories before the first part of a pattern.
    let prefix = match &pattern {
        Some(pattern) => pattern.fixed_prefix(),
        None => key,
    };
    let listed = ObjectLocation { url: format!("{base}{prefix}"), ..location.clone() };
    let objects = StoredObject::list(&listed).map_err(FindError::Store)?;
    let chosen = objects.into_iter().filter_map(|object| {
        let is_chosen = pattern.as_ref().is_none_or(|pattern| pattern.matches(object.key()));
        // Some tools make empty objects that stand for directories.
        let name =
            object.key().strip_prefix(prefix).filter(|name| !name.is_empty() && !name.ends_with('/'))?.to_owned();
        is_chosen.then_some((name, object))
    });
    let of = if pattern.is_some() { format!("the pattern {url}") } else { url.to_owned() };
    let (objects, skipped) = listed_names(&of, chosen, pattern.as_ref()).map_err(FindError::Listing)?;
    let skipped = match skipped {
        0 => String::new(),
        n => format!("; skipped {} that begin with `.` or `_`", counted(n, "name")),
    };
    let note = format!("read {} of {of}{skipped}", counted(objects.len() as u64, "object"));
    let sources = objects.into_iter().map(|(object, columns)| source(object, columns)).collect();
    Ok(StoredSources { sources, note: Some(note) })
}

/// The bytes of an object, of known size.
struct ObjectBytes {
    reader: ObjectReader,
    size: u64,
}

impl Read for ObjectBytes {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.reader.read(out)
    }
}

impl ByteSource for ObjectBytes {
    fn size_bytes(&self) -> Option<u64> {
        Some(self.size)
    }
}
