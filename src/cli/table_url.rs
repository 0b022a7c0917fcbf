//! URLs of systems with tables: which outputs they are, and how they are shown.

use std::path::Path;

/// The schemes of systems with tables.
const SCHEMES: &[&str] = &["postgres", "postgresql", "sqlite", "clickhouse", "clickhouse+https", "duckdb", "delta"];

/// The start of the schemes of tables that are directories, which a scheme of a place follows.
const DELTA: &str = "delta+";

/// The start of the schemes of Iceberg catalogs, which that of the catalog follows.
const ICEBERG: &str = "iceberg+";

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
    // A path, or a bucket and a key, in which `@` and `?` are characters as others.
    if is_place_url(url) {
        return url.to_owned();
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
    let is_secret = |name: &str| name.contains('%') || name.to_ascii_lowercase().contains("pass");
    let kept =
        query.split('&').filter(|pair| !pair.is_empty() && !is_secret(pair.split('=').next().unwrap_or_default()));
    let kept = kept.collect::<Vec<_>>().join("&");
    let mark = if kept.is_empty() { "" } else { "?" };
    let user = user.map(|user| format!("{user}@")).unwrap_or_default();
    format!("{scheme}{user}{before}{mark}{kept}")
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
        for url in ["delta:a@b?x", "delta+abfss://files@account.dfs.core.windows.net/a@b"] {
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
        ] {
            assert!(!redacted(url).contains("marked"), "{url}: {}", redacted(url));
        }
        assert!(table_url(Path::new("postgres:")).is_some() && table_url(Path::new("people.db")).is_none());
    }
}
