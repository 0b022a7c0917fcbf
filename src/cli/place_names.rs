//! Names of places as they are typed, of sources, outputs and rejects: those that are refused because they hold a secret or
//! are no place, and their form for messages, without secrets.

use std::path::Path;

use super::error::{Error, Failure};
use super::table_url::{redacted, table_url};
use crate::secret::SecretUrl;

/// The schemes of stores.
const STORES: &[&str] = &["s3", "s3a", "gs", "az", "adl", "azure", "abfs", "abfss"];

/// Returns a place for messages: a URL without its secrets, any other name as it is.
pub(super) fn shown(name: &str) -> String {
    match store_of(name) {
        Some((start, rest)) => {
            let bucket = rest.split('/').next().unwrap_or_default();
            match has_credentials(start, bucket).then(|| rest.rsplit_once('@')) {
                None => match signed_key(rest) {
                    Some(key) => format!("{start}{key}?[redacted]"),
                    None => name.to_owned(),
                },
                Some(Some((_, place))) => format!("{start}{place}"),
                Some(None) => format!("{start}[redacted]"),
            }
        }
        None if table_url(Path::new(name)).is_some() => redacted(name),
        None if scheme_of(name).is_some() => SecretUrl::new(name).to_string(),
        None => name.to_owned(),
    }
}

/// Fails for the URL of a store that has credentials, which stores do not read: every list of processes shows it. Also for a
/// URL whose slashes are missing, which would be the name of a file. `name` is that of a source or an output.
pub(super) fn check_place(name: &Path) -> Result<(), Failure> {
    let Some(text) = name.to_str() else { return Ok(()) };
    if let Some((start, rest)) = store_of(text) {
        if has_credentials(start, rest.split('/').next().unwrap_or_default()) || signed_key(rest).is_some() {
            let error = Error::Usage(format!("the URL {} has credentials, which are not read from there", shown(text)));
            let hint = "set them in the environment, as in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY: others can see a \
                        command line";
            return Err(Failure::new(error, hint));
        }
        return Ok(());
    }
    let is_web_or_store = |scheme: &str| STORES.contains(&scheme) || matches!(scheme, "http" | "https" | "ftp");
    if let Some((scheme, rest)) = text.split_once(':')
        && is_web_or_store(&scheme.to_ascii_lowercase())
        && !rest.starts_with("//")
        && !name.exists()
    {
        let error =
            Error::Usage(format!("a name that begins with `{scheme}:` is no URL without two slashes behind it"));
        return Err(Failure::new(
            error,
            format!("write {scheme}://HOST/PATH, or ./{scheme}: before the name of a file"),
        ));
    }
    Ok(())
}

/// Fails for an output that is a URL of which drawoff writes none. `name` is no table and no object.
pub(super) fn check_file(name: &Path) -> Result<(), Failure> {
    check_place(name)?;
    let Some(text) = name.to_str().filter(|text| scheme_of(text).is_some() && !name.exists()) else { return Ok(()) };
    let error = Error::Usage(format!("cannot write to {}: it is no URL that can be written", shown(text)));
    Err(Failure::new(
        error,
        "write to a file, a directory, s3://, gs:// or az://, or to the URL of a system with tables",
    ))
}

/// Takes the URL of a directory or an object in a store apart: all up to the bucket, and the rest.
fn store_of(name: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = name.split_once("://")?;
    let store = scheme.strip_prefix("delta+").unwrap_or(scheme);
    STORES.contains(&store).then(|| (&name[..name.len() - rest.len()], rest))
}

/// Returns true if the bucket of a URL has a user or a password before it. `container@account` is the name of a container.
fn has_credentials(start: &str, bucket: &str) -> bool {
    bucket.contains(':') || bucket.contains('@') && !start.contains("abfs")
}

/// Returns the bucket and the key before a signature, which a store does not read from the URL; `None` for a key without one.
/// Any other `?` is a character of the key.
fn signed_key(rest: &str) -> Option<&str> {
    let (key, query) = rest.split_once('?')?;
    let is_signature = |pair: &str| {
        let name = pair.split('=').next().unwrap_or_default().to_ascii_lowercase();
        pair.contains('=') && (name == "sig" || name.contains("signature") || name.contains("security-token"))
    };
    query.split('&').any(is_signature).then_some(key)
}

/// Returns the scheme of a URL; `None` for other names.
fn scheme_of(name: &str) -> Option<&str> {
    let scheme = name.split_once("://")?.0;
    let is_scheme_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    (scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(is_scheme_char)).then_some(scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        for (typed, expected) in [
            ("s3://KEY:marked-1@bucket/x.csv", "s3://bucket/x.csv"),
            ("s3://KEY:mar/ked-1@bucket/x.csv", "s3://bucket/x.csv"),
            ("s3://marked-1@bucket/x", "s3://bucket/x"),
            ("s3://KEY:marked-1/x", "s3://[redacted]"),
            ("az://files/x.csv?sv=2024&sig=marked-1", "az://files/x.csv?[redacted]"),
            ("s3://bucket/x?X-Amz-Signature=marked-1", "s3://bucket/x?[redacted]"),
            ("sqlite:x.db?key=marked-1", "sqlite:x.db"),
            ("delta+s3://KEY:marked-1@bucket/t", "delta+s3://bucket/t"),
            ("abfss://files:marked-1@a.dfs.core.windows.net/x", "abfss://a.dfs.core.windows.net/x"),
            ("https://u:marked-1@h/x?sig=marked-1", "https://h/x?[redacted]"),
            ("S3://KEY:marked-1@bucket/x", "s3://bucket/x"),
            ("mysql://u:marked-1@h/db", "mysql://h/db"),
            ("https://u:marked-1@ho[st/x", "[a malformed URL]"),
            ("postgres://u:marked-1@h/db", "postgres://u@h/db"),
        ] {
            assert_eq!(shown(typed), expected);
        }
        for name in [
            "a.csv",
            "s3://bucket/a:b@c?d#e",
            "abfss://files@account.dfs.core.windows.net/a@b",
            "delta+abfss://files@account.dfs.core.windows.net/a",
            "a:b://c",
            "10:30.csv",
        ] {
            assert_eq!(shown(name), name);
            assert!(check_place(Path::new(name)).is_ok(), "{name}");
        }
    }

    #[test]
    fn urls_that_are_no_place_are_refused_by_name() {
        for typed in [
            "az://b/x?sig=marked-1",
            "s3://KEY:marked-1@b/x",
            "https:/u:marked-1@h/x",
            "s3:KEY:marked-1@b/x",
            "HTTPS:u:marked-1@h",
        ] {
            let lines = check_place(Path::new(typed)).unwrap_err().lines().join("\n");
            assert!(!lines.contains("marked-1"), "{lines}");
        }
        for typed in ["https://u:marked-1@h/x.csv", "mysql://u:marked-1@h/db", "S3://a:marked-1@b/x.csv"] {
            let lines = check_file(Path::new(typed)).unwrap_err().lines().join("\n");
            assert!(lines.contains("cannot write to") && !lines.contains("marked-1"), "{lines}");
        }
        assert!(check_file(Path::new("10:30/a.csv")).is_ok());
    }
}
