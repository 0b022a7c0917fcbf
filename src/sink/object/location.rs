//! The location of an object: its URL taken apart, the store that it names, and the check that it can be written.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use object_store::RetryConfig;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::multipart::PartId;
use object_store::path::Path;

use super::client::{Connector, Limits, Traffic};
use super::error::{Operation, StoreKind, already_exists, innermost, invalid, store_error};
use super::session::{Session, Store};
use crate::sink::object_location::ObjectLocation;
use crate::sink::store_error::StoreProblem;

/// Time in which a failed request is sent again. The library signs it once, and S3 accepts a signature for 15 minutes.
pub(super) const RETRY_TIME: Duration = Duration::from_secs(180);

/// Requests that the check sends again: a wrong address is more likely than a store that is away for long.
const CHECK_RETRIES: usize = 3;

/// Time in which the store must respond to the check.
const CHECK_RESPONSE: Duration = Duration::from_secs(30);

/// Id of an upload that no store has given. See [`ObjectLocation::check`].
const NO_UPLOAD: &str = "drawoff-check";

/// Entity tag of its part: the MD5 of no bytes.
const NO_PART: &str = "d41d8cd98f00b204e9800998ecf8427e";

impl ObjectLocation {
    /// Checks that the object can be written: the store responds, the bucket exists, and the credentials may write.
    /// Changes nothing in the store. Blocks; must not be called on a thread of an async runtime.
    ///
    /// It completes an upload that does not exist: a store that would do that says that there is no such upload. To begin
    /// an upload and abort it would ask for a permission that the write does not need, and leave the upload there without
    /// it. To put something under a condition that never holds would replace the object in a store without conditions.
    pub fn check(&self) -> io::Result<()> {
        let limits = Limits { response: CHECK_RESPONSE, post_response: CHECK_RESPONSE, ..Limits::default() };
        let (session, path) = self.open_with(limits, CHECK_RETRIES)?;
        if path.is_root() {
            return Err(invalid("the URL has a bucket but no object name"));
        }
        if self.no_clobber {
            fail_if_exists(&session, &path, false)?;
        }
        let checked = match session.kind {
            // Azure keeps parts without an upload. A look at the object finds wrong credentials and containers.
            StoreKind::Azure => session.find(&path).map(drop),
            StoreKind::S3 | StoreKind::Google => {
                let (id, part) = (NO_UPLOAD.to_owned(), PartId { content_id: NO_PART.to_owned() });
                session.call(Operation::Put, session.store.complete_multipart(&path, &id, vec![part])).map(drop)
            }
        };
        let Err(error) = checked else { return Ok(()) };
        match (error.problem(), &error.refusal) {
            // A key that may write but not read.
            (Some(StoreProblem::Forbidden(_)), _) if session.kind == StoreKind::Azure => Ok(()),
            // Each store has its own word for an upload that does not exist, and some have no uploads or no word.
            (Some(StoreProblem::Other), Some(_)) => Ok(()),
            (_, Some(refusal)) if refusal.status == 500 => Ok(()),
            _ => Err(error.into()),
        }
    }

    /// Opens the store. Returns it with the path of the object. Opens no connection.
    pub(super) fn open(&self) -> io::Result<(Session, Path)> {
        self.open_with(Limits::default(), RetryConfig::default().max_retries)
    }

    fn open_with(&self, limits: Limits, max_retries: usize) -> io::Result<(Session, Path)> {
        let (kind, bucket, key) = take_apart(&self.url)?;
        let path = exact_path(key)?;
        let traffic = Arc::new(Traffic::new(limits, self.no_clobber && kind == StoreKind::S3));
        if self.options.iter().any(|(name, value)| name.ends_with("_skip_signature") && value == "true") {
            traffic.set_unsigned();
        }
        let retry = RetryConfig { max_retries, retry_timeout: RETRY_TIME, ..RetryConfig::default() };
        // The library's `parse_url_opts` builds the same stores, but not with an HTTP client of our choice.
        macro_rules! build {
            ($builder:ty) => {{
                let mut builder = <$builder>::new().with_url(bucket).with_retry(retry);
                for (name, value) in &self.options {
                    // Skip options of other stores: all are read from one environment.
                    if let Ok(name) = name.to_ascii_lowercase().parse() {
                        builder = builder.with_config(name, value);
                    }
                }
                builder.with_http_connector(Connector(traffic.clone()))
            }};
        }
        let store: object_store::Result<Arc<dyn Store>> = match kind {
            // One request per object that is removed: not every store has the one for many.
            StoreKind::S3 => {
                build!(AmazonS3Builder).with_disable_bulk_delete(true).build().map(|store| Arc::new(store) as _)
            }
            StoreKind::Google => build!(GoogleCloudStorageBuilder).build().map(|store| Arc::new(store) as _),
            StoreKind::Azure => build!(MicrosoftAzureBuilder).build().map(|store| Arc::new(store) as _),
        };
        let store = store.map_err(|error| {
            store_error(StoreProblem::Credentials, format!("cannot open the store: {}", innermost(&error)))
        })?;
        Ok((Session::new(store, kind, traffic, self.uploads.clone())?, path))
    }
}

/// Fails if the object exists and must not be replaced. A key that may not read cannot know; that is an error only if it
/// `must_know`, because the write itself has no condition.
pub(super) fn fail_if_exists(session: &Session, path: &Path, must_know: bool) -> io::Result<()> {
    match session.find(path) {
        Ok(Some(_)) => Err(already_exists()),
        Ok(None) => Ok(()),
        Err(error) if !must_know && matches!(error.problem(), Some(StoreProblem::Forbidden(_))) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Takes a URL apart: the kind of the store, the URL of the bucket, and the key. A key is no path of a URL: it may
/// contain `?` and `#`, and `%2F` is three characters of it.
fn take_apart(url: &str) -> io::Result<(StoreKind, &str, &str)> {
    let fail = || invalid("unsupported object store: expected a URL of S3, Google Cloud Storage or Azure");
    let (scheme, rest) = url.split_once("://").ok_or_else(fail)?;
    let kind = match scheme {
        "s3" | "s3a" => StoreKind::S3,
        "gs" => StoreKind::Google,
        "az" | "adl" | "azure" | "abfs" | "abfss" => StoreKind::Azure,
        _ => return Err(fail()),
    };
    let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
    if bucket.is_empty() || bucket.contains(|c: char| c.is_whitespace() || "?#%\\".contains(c)) {
        return Err(invalid("the URL names no bucket that a store could have"));
    }
    Ok((kind, &url[..scheme.len() + "://".len() + bucket.len()], key))
}

/// Returns the path that is exactly `key`. Fails for the keys that the library would change or cannot send.
pub(super) fn exact_path(key: &str) -> io::Result<Path> {
    match Path::parse(key) {
        Ok(path) if path.as_ref() == key => Ok(path),
        _ => Err(invalid(
            "the object name has an empty part, `.` or `..` between slashes, or a control character, which drawoff \
             cannot write as they are",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_was_typed() {
        for key in ["data#1.csv", "data?v=2.csv", "a%2Fb.csv", "a b/ü.csv", "a/%2E%2E/b", "100%", "a:b@c", "x\\y", ""]
        {
            let url = format!("s3://bucket/{key}");
            let (kind, bucket, found) = take_apart(&url).unwrap();
            assert_eq!((kind, bucket, found), (StoreKind::S3, "s3://bucket", key));
            assert_eq!(exact_path(found).unwrap().as_ref(), key);
        }
        assert_eq!(take_apart("gs://bucket").unwrap(), (StoreKind::Google, "gs://bucket", ""));
        let azure = "abfss://files@account.dfs.core.windows.net/a/b";
        assert_eq!(take_apart(azure).unwrap().1, "abfss://files@account.dfs.core.windows.net");
        for key in ["/a.csv", "a//b.csv", "a/", "../a.csv", "a/./b", "a\nb"] {
            assert_eq!(exact_path(key).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{key:?}");
        }
        for url in ["s3://b?x/y", "s3://b#x/y", "s3:///y", "s3://a%2fb/y", "ftp://b/y", "b/y"] {
            assert_eq!(take_apart(url).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{url}");
        }
    }

    #[test]
    fn options_are_not_shown() {
        let options = vec![("aws_secret_access_key".into(), "marked".into())];
        assert!(!format!("{:?}", ObjectLocation::new("s3://a/b", options, false)).contains("marked"));
    }
}
