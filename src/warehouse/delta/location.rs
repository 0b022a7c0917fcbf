//! The URLs of Delta tables: `delta:DIR`, `delta+file:DIR`, and `delta+` before the URL of a directory in a store.

use std::path::PathBuf;

use crate::sink::ObjectLocation;
use crate::warehouse::FilesPlace;

/// A URL that is none of a Delta table. Its text is the reason alone: the URL may have a secret in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct LocationError {
    reason: &'static str,
    /// True for the URL of a store behind `delta:`, which would be the name of a directory.
    pub is_store: bool,
}

/// The schemes of stores behind `delta+`.
const STORES: &[&str] = &["s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl"];

/// Returns the place that a URL names. `options` are those of stores. Uses no network.
pub fn place_of(url: &str, options: impl FnOnce() -> Vec<(String, String)>) -> Result<FilesPlace, LocationError> {
    let fail = |reason| Err(LocationError { reason, is_store: false });
    let Some((scheme, rest)) = url.split_once(':') else { return fail("it has no scheme") };
    if let Some(store) = scheme.strip_prefix("delta+").filter(|store| STORES.contains(store)) {
        let url = format!("{store}:{rest}");
        let url = url.trim_end_matches('/');
        if !rest.starts_with("//") || url.matches('/').count() < 3 {
            return fail("it has a bucket but no directory, as in delta+s3://bucket/tables/people");
        }
        let location = ObjectLocation::new(url, options(), false);
        return Ok(FilesPlace { path: PathBuf::from(url), store: Some(location) });
    }
    if !["delta", "delta+file"].contains(&scheme) {
        return fail("it begins with none of delta:, delta+file:, delta+s3:, delta+gs:, delta+az:");
    }
    // A directory may have a colon in its name, but two slashes behind it are those of a URL.
    if let Some((inner, _)) = rest.split_once("://")
        && !inner.is_empty()
        && inner.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
    {
        let is_store = STORES.contains(&inner.to_ascii_lowercase().as_str());
        return Err(LocationError { reason: "a URL follows its scheme, and no directory", is_store });
    }
    // As in `file:///path`; a relative path has no slashes before it.
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => return fail("a directory on another host cannot be written; delta:///path has three slashes"),
        None => rest,
    };
    let path: PathBuf = std::path::Path::new(path).components().collect();
    if !path.components().any(|part| matches!(part, std::path::Component::Normal(_))) {
        return fail("it names no directory of its own, as in delta:tables/people");
    }
    Ok(FilesPlace { path, store: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_directories() {
        let path = |url: &str| place_of(url, Vec::new).map(|place| (place.path, place.store.map(|store| store.url)));
        assert_eq!(path("delta:tables/people/").unwrap(), ("tables/people".into(), None));
        assert_eq!(path("delta:/srv/people").unwrap(), ("/srv/people".into(), None));
        assert_eq!(path("delta+file:///srv/people").unwrap(), ("/srv/people".into(), None));
        let store = "s3://bucket/tables/people";
        assert_eq!(path("delta+s3://bucket/tables/people/").unwrap(), (store.into(), Some(store.into())));
        assert!(path("delta+az://files/people").is_ok());
        for url in
            ["delta:", "delta:.", "delta:/", "delta://host/x", "delta+s3://bucket", "delta+ftp://a/b", "deltas:x"]
        {
            assert!(path(url).is_err(), "{url}");
        }
        // A URL is no name of a directory.
        for (url, is_store) in [
            ("delta:s3://bucket/t", true),
            ("delta:az://files/t", true),
            ("delta+file:gs://bucket/t", true),
            ("delta:s3://KEY:secret@bucket/t", true),
            ("delta:https://host/t", false),
            ("delta:file:///t", false),
        ] {
            let error = path(url).unwrap_err();
            assert_eq!(error.is_store, is_store, "{url}");
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        assert_eq!(path("delta:a:b/c").unwrap(), ("a:b/c".into(), None));
    }
}
