//! The URLs of catalogs: `iceberg+https://HOST/PATH?warehouse=NAME` and `iceberg+sqlite:FILE?warehouse=URL&catalog=NAME`,
//! with the environment of the former.

use std::path::PathBuf;

/// A URL that is none of a catalog. Its text is the reason alone: the URL may have a secret in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct LocationError {
    reason: String,
}

/// A catalog, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub(super) kind: CatalogKind,
    /// The URL as it was typed, for messages.
    shown: String,
}

/// The kind of a catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CatalogKind {
    /// A catalog over HTTP.
    Rest(RestSettings),
    /// A catalog in an SQLite file.
    Sqlite(SqliteSettings),
}

/// The settings of a catalog over HTTP.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct RestSettings {
    /// The URL, without a slash at its end, a query or a user.
    pub(super) url: String,
    /// The warehouse that the catalog is asked for.
    pub(super) warehouse: Option<String>,
    pub(super) token: Option<String>,
    /// Client id and secret with a colon between, for a token of its own.
    pub(super) credential: Option<String>,
    /// The URL that hands out tokens; `None` for that of the catalog.
    pub(super) token_url: Option<String>,
    pub(super) scope: String,
}

impl std::fmt::Debug for RestSettings {
    /// Omits the secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestSettings").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The settings of a catalog in SQLite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SqliteSettings {
    pub(super) file: PathBuf,
    /// The URL below which new tables are made.
    pub(super) warehouse: Option<String>,
    /// The name of the catalog in the file; `None` for the only one.
    pub(super) catalog: Option<String>,
}

/// The scope that other clients ask for.
const SCOPE: &str = "catalog";

impl Location {
    /// Reads a URL, and with `environment` the settings that have secrets. Uses no network.
    pub fn parse(url: &str, environment: impl Fn(&str) -> Option<String>) -> Result<Self, LocationError> {
        let fail = |reason: &str| Err(LocationError { reason: reason.to_owned() });
        let (before, query) = url.split_once('?').unwrap_or((url, ""));
        let mut parameters = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(value) = decoded(value) else { return fail(&format!("the value of `{name}` is not UTF-8")) };
            parameters.push((name, value));
        }
        let known: &[&str] =
            if before.starts_with("iceberg+sqlite:") { &["warehouse", "catalog"] } else { &["warehouse"] };
        if let Some((name, _)) = parameters.iter().find(|(name, _)| !known.contains(name)) {
            return fail(&format!("`{name}` is none of its parameters ({})", known.join(", ")));
        }
        let parameter = |name: &str| {
            let found = parameters.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
        };
        if parameter("warehouse").is_some_and(|warehouse| has_credentials(&warehouse)) {
            return fail(
                "its warehouse has credentials, which are not read from there; set them in the environment, as in \
                 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            );
        }
        let kind = if let Some(rest) = before.strip_prefix("iceberg+sqlite:") {
            let file = rest.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(rest);
            if file.is_empty() || file.starts_with("//") {
                return fail("it names no file, as in iceberg+sqlite:catalog.db");
            }
            let warehouse = match parameter("warehouse") {
                Some(warehouse) => match absolute(&warehouse) {
                    Ok(warehouse) => Some(warehouse),
                    Err(error) => return fail(&error.to_string()),
                },
                None => None,
            };
            CatalogKind::Sqlite(SqliteSettings { file: file.into(), warehouse, catalog: parameter("catalog") })
        } else if let Some(rest) = before.strip_prefix("iceberg+").filter(|rest| is_http(rest)) {
            let host = rest.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap_or_default());
            if host.is_none_or(str::is_empty) {
                return fail("it names no host");
            }
            if host.is_some_and(|host| host.contains('@')) {
                return fail("a catalog takes no user in its URL: set ICEBERG_TOKEN or ICEBERG_CREDENTIAL");
            }
            // A file that a shell has read may have left a line break at its end.
            let set =
                |name: &str| environment(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
            for name in ["ICEBERG_TOKEN", "ICEBERG_CREDENTIAL"] {
                if set(name).is_some_and(|value| value.contains(char::is_control)) {
                    return fail(&format!("{name} has a line break or another control character in it"));
                }
            }
            CatalogKind::Rest(RestSettings {
                url: rest.trim_end_matches('/').to_owned(),
                warehouse: parameter("warehouse"),
                token: set("ICEBERG_TOKEN"),
                credential: set("ICEBERG_CREDENTIAL"),
                token_url: set("ICEBERG_OAUTH2_SERVER_URI"),
                scope: set("ICEBERG_SCOPE").unwrap_or_else(|| SCOPE.to_owned()),
            })
        } else {
            return fail("it begins with none of iceberg+https:, iceberg+http:, iceberg+sqlite:");
        };
        Ok(Location { kind, shown: url.to_owned() })
    }

    /// Returns the name for messages, without secrets.
    pub(super) fn name(&self) -> String {
        self.shown.split('?').next().unwrap_or_default().to_owned()
    }

    /// Returns true if a token or a password would be sent unencrypted, beyond this machine.
    pub fn sends_secret_unencrypted(&self) -> bool {
        let CatalogKind::Rest(settings) = &self.kind else { return false };
        let is_open = |url: &str| {
            url.starts_with("http://") && !url::Url::parse(url).is_ok_and(|url| crate::net::is_loopback(&url))
        };
        let urls = [Some(settings.url.as_str()), settings.token_url.as_deref()];
        (settings.token.is_some() || settings.credential.is_some()) && urls.into_iter().flatten().any(is_open)
    }
}

fn is_http(url: &str) -> bool {
    url.starts_with("https://") || url.starts_with("http://")
}

/// Returns true if a URL of a directory has a user or a password in it.
fn has_credentials(place: &str) -> bool {
    let Some((scheme, rest)) = place.split_once("://") else { return false };
    let authority = rest.split('/').next().unwrap_or_default();
    // `container@account` is the name of a container. A password may have a `/` that is not encoded.
    let may_have_at = scheme.starts_with("abfs") || scheme.starts_with("wasb");
    authority.contains('@') && !may_have_at || authority.contains(':') && rest.contains('@')
}

/// Returns a URL of a directory that stays the same wherever it is read from.
fn absolute(warehouse: &str) -> std::io::Result<String> {
    let warehouse = warehouse.trim_end_matches('/');
    if warehouse.contains(':') {
        return Ok(warehouse.to_owned());
    }
    let path = std::path::absolute(warehouse)?;
    let path: PathBuf = path.components().filter(|part| *part != std::path::Component::CurDir).collect();
    Ok(format!("file://{}", path.display()))
}

/// Decodes `%xx`; `None` if the text is not UTF-8 then.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        rest = after;
        let digits = rest.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[2..];
            }
            None => bytes.push(first),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<CatalogKind, String> {
        Location::parse(url, |name| (name == "ICEBERG_TOKEN").then(|| "t".to_owned()))
            .map(|location| location.kind)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn urls_name_catalogs() {
        let Ok(CatalogKind::Sqlite(sqlite)) = parse("iceberg+sqlite:/srv/c.db?warehouse=s3://b/w%20x/&catalog=lake")
        else {
            panic!()
        };
        assert_eq!((sqlite.file, sqlite.catalog.as_deref()), ("/srv/c.db".into(), Some("lake")));
        assert_eq!(sqlite.warehouse.as_deref(), Some("s3://b/w x"));
        let Ok(CatalogKind::Sqlite(sqlite)) = parse("iceberg+sqlite:c.db?warehouse=w") else { panic!() };
        let warehouse = sqlite.warehouse.unwrap();
        assert!(warehouse.starts_with("file:///") && warehouse.ends_with("/w"), "{warehouse}");
        let Ok(CatalogKind::Rest(rest)) = parse("iceberg+https://h:1/ws/?warehouse=w") else { panic!() };
        assert_eq!((rest.url.as_str(), rest.warehouse.as_deref()), ("https://h:1/ws", Some("w")));
        assert!(!format!("{rest:?}").contains("\"t\""));
        for url in [
            "iceberg+sqlite:",
            "iceberg+sqlite://host/x",
            "iceberg+ftp://h",
            "iceberg+https://",
            "iceberg+https://u@h/x",
            "iceberg:x",
            "iceberg+https://h/x?token=1",
        ] {
            let error = parse(url);
            assert!(error.is_err(), "{url}: {error:?}");
        }
    }

    #[test]
    fn secrets_are_not_in_urls_and_have_no_line_breaks() {
        for place in
            ["s3://k:marked@b/w", "s3://k%3Amarked%40b/w", "s3://k@b/w", "s3://k:mar/ked@b", "abfss://c:marked@a/w"]
        {
            for url in
                [format!("iceberg+sqlite:c.db?warehouse={place}"), format!("iceberg+https://h?warehouse={place}")]
            {
                let error = parse(&url).unwrap_err();
                assert!(error.contains("has credentials") && !error.contains("marked"), "{url}: {error}");
            }
        }
        assert!(parse("iceberg+sqlite:c.db?warehouse=abfss://c@a.dfs.core.windows.net/w").is_ok());
        let token = |text: &str| {
            let location =
                Location::parse("iceberg+https://h", |name| (name == "ICEBERG_TOKEN").then(|| text.to_owned()));
            location.map(|location| match location.kind {
                CatalogKind::Rest(rest) => rest.token,
                CatalogKind::Sqlite(_) => None,
            })
        };
        assert_eq!(token("abc\n").unwrap().as_deref(), Some("abc"));
        let error = token("marked\nabc").unwrap_err().to_string();
        assert!(error.contains("ICEBERG_TOKEN has a line break") && !error.contains("marked"), "{error}");
    }

    #[test]
    fn secrets_go_unencrypted_to_this_machine_alone() {
        let open = |url: &str, has_token: bool| {
            let location = Location::parse(url, |_| has_token.then(|| "http://x".to_owned())).unwrap();
            location.sends_secret_unencrypted()
        };
        assert!(open("iceberg+http://catalog/x", true) && !open("iceberg+http://catalog/x", false));
        let local = |url: &str| {
            Location::parse(url, |name| (name == "ICEBERG_TOKEN").then(|| "t".into()))
                .unwrap()
                .sends_secret_unencrypted()
        };
        assert!(!local("iceberg+http://127.0.0.1:1/x") && !local("iceberg+https://catalog/x"));
    }
}
