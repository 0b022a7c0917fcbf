//! URLs of systems with tables: which outputs they are, and how they are shown.

use std::path::Path;

/// The schemes of systems with tables.
const SCHEMES: &[&str] = &["postgres", "postgresql", "sqlite", "clickhouse", "clickhouse+https", "duckdb", "delta"];

/// The start of the schemes of tables that are directories, which a scheme of a place follows.
const DELTA: &str = "delta+";

/// The start of the schemes of Iceberg catalogs, which that of the catalog follows.
const ICEBERG: &str = "iceberg+";

/// Parts of the names of parameters whose values are secret.
const SECRETS: &[&str] = &["pass", "token", "secret", "credential", "signature"];

/// Returns the URL of a system with tables; `None` for other outputs.
pub(super) fn table_url(path: &Path) -> Option<&str> {
    let text = path.to_str()?;
    let scheme = text.split_once(':')?.0;
    (SCHEMES.contains(&scheme) || [DELTA, ICEBERG].iter().any(|start| scheme.starts_with(start))).then_some(text)
}

/// Returns true for the URL of a system whose tables are data files.
pub(super) fn is_files_url(url: &str) -> bool {
    is_place_url(url) || url.starts_with(ICEBERG)
}

/// Returns true for the URL of a table of data files itself, which has no password.
pub(super) fn is_place_url(url: &str) -> bool {
    url.split_once(':').is_some_and(|(scheme, _)| scheme == "delta" || scheme.starts_with(DELTA))
}

/// Returns a URL without its password, for messages. It may be malformed: a password in which `/`, `?` or `@` is not
/// encoded is left out too, and with it perhaps more.
pub(super) fn redacted(url: &str) -> String {
    // A path, or a bucket and a key, in which `@` and `?` are characters as others. Behind a scheme that is not one of
    // Delta's there may be any URL.
    if is_place_url(url) {
        let (scheme, rest) = url.split_once(':').unwrap_or_default();
        let inner = if ["delta", "delta+file"].contains(&scheme) { rest } else { &url[DELTA.len()..] };
        return format!("{}{}", &url[..url.len() - inner.len()], without_secrets(inner));
    }
    // Its options are not read, and may be anything.
    if url.starts_with("sqlite:") {
        return url.split('?').next().unwrap_or_default().to_owned();
    }
    let (scheme, rest) = match url.split_once("//") {
        Some((scheme, rest)) if !scheme.contains('?') => (format!("{scheme}//"), rest),
        _ => (String::new(), url),
    };
    let (user, rest) = match rest.rsplit_once('@') {
        Some((before, rest)) if !scheme.is_empty() => (before.split([':', '/', '?', '@']).next(), rest),
        _ => (None, rest),
    };
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    // A name that is encoded may be any.
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        name.contains('%') || name == "sig" || SECRETS.iter().any(|word| name.contains(word))
    };
    // A value may be a URL with a password, such as a warehouse.
    let has_user = |pair: &str| pair.contains('@') || pair.to_ascii_lowercase().contains("%40");
    let is_kept =
        |pair: &&str| !pair.is_empty() && !is_secret(pair.split('=').next().unwrap_or_default()) && !has_user(pair);
    let kept = query.split('&').filter(is_kept);
    let kept = kept.collect::<Vec<_>>().join("&");
    let mark = if kept.is_empty() { "" } else { "?" };
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    format!("{scheme}{user}{before}{mark}{kept}")
}

/// Returns a place without its user and its query, if it is a URL; a directory as it is.
fn without_secrets(place: &str) -> String {
    let Some((scheme, rest)) = place.split_once("://").filter(|(scheme, _)| !scheme.is_empty()) else {
        return place.to_owned();
    };
    let authority = rest.split('/').next().unwrap_or_default();
    // `container@account` is the name of a container.
    let has_user = authority.contains(':') || authority.contains('@') && !scheme.starts_with("abfs");
    let rest = match rest.rsplit_once('@') {
        Some((_, rest)) if has_user => rest,
        _ => rest,
    };
    match rest.split_once('?') {
        Some((path, query)) if query.contains('=') => format!("{scheme}://{path}?[redacted]"),
        _ => format!("{scheme}://{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_not_shown() {
        assert_eq!(redacted("postgres://ada:marked-1@db:5432/crm"), "postgres://ada@db:5432/crm");
        assert_eq!(
            redacted("postgres://db/crm?user=a&password=marked-1&sslmode=disable"),
            "postgres://db/crm?user=a&sslmode=disable"
        );
        assert_eq!(redacted("postgres:?sslpassword=marked-1"), "postgres:");
        assert_eq!(redacted("postgres://a:p@ss@db/crm"), "postgres://a@db/crm");
        assert_eq!(redacted("sqlite:people.db"), "sqlite:people.db");
        for url in ["delta:a@b?x", "delta+abfss://files@account.dfs.core.windows.net/a@b", "delta+file:///a@b"] {
            assert_eq!(redacted(url), url);
        }
        assert_eq!(redacted("sqlite:a@b.db"), "sqlite:a@b.db");
        assert_eq!(redacted("postgres://db/crm?service=x"), "postgres://db/crm?service=x");
        // Characters that should be encoded in a password, and names of parameters that need not be.
        for url in [
            "postgres://ada:marked-1?x@db/crm",
            "postgres://ada:marked-1/x@db/crm",
            "postgres://ada:x@marked-1@db/crm",
            "postgres://ada:x?y@marked-1/z@db/crm?sslmode=disable",
            "postgres://:marked-1@db/crm",
            "postgres://db/crm?pass%77ord=marked-1",
            "postgres:?PASSWORD=marked-1",
            "delta+https://c/t?sig=marked-1",
            "delta+https://u:marked-1@c/t",
            "delta:s3://KEY:marked-1@b/t",
            "delta:https://u:marked-1@c/t?sig=marked-1",
            "delta+file:s3://KEY:marked-1@b/t",
            "delta+s3://b/t?X-Amz-Signature=marked-1",
            "iceberg+https://u:marked-1@c/x",
            "iceberg+https://c/x?token=marked-1",
            "iceberg+sqlite:c.db?warehouse=s3://k:marked-1@b/w",
            "iceberg+sqlite:c.db?warehouse=s3://k:marked-1%40b/w",
        ] {
            assert!(!redacted(url).contains("marked"), "{url}: {}", redacted(url));
        }
        assert!(table_url(Path::new("postgres:")).is_some() && table_url(Path::new("people.db")).is_none());
    }
}
