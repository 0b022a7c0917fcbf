//! The URLs of Delta tables: `delta:DIR`, `delta+file:DIR`, and `delta+` before the URL of a directory in a store.

use std::path::PathBuf;

use crate::sink::ObjectLocation;
use crate::warehouse::FilesPlace;

/// A URL that is none of a Delta table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` is not the URL of a Delta table: {reason}")]
pub struct LocationError {
    url: String,
    reason: &'static str,
}

/// The schemes of stores behind `delta+`.
const STORES: &[&str] = &["s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl"];

/// Returns the place that a URL names. `options` are those of stores. Uses no network.
pub fn place_of(url: &str, options: impl FnOnce() -> Vec<(String, String)>) -> Result<FilesPlace, LocationError> {
    let fail = |reason| Err(LocationError { url: url.to_owned(), reason });
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
    }
}
