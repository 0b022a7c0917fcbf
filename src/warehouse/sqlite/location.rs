//! The file that a URL names: `sqlite:people.db`, `sqlite:///var/lib/people.db`.

use std::fmt;
use std::path::{Path, PathBuf};

/// The path of a database file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The path as it was typed.
    path: String,
}

/// A URL that names no database file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{url}` names no SQLite file: {cause}")]
pub struct LocationError {
    /// The URL.
    pub url: String,
    /// The reason.
    pub cause: &'static str,
}

impl Location {
    /// Parses `sqlite:` and a path, relative or absolute. An absolute one may be written as a URL, `sqlite:///…`.
    pub fn parse(url: &str) -> Result<Self, LocationError> {
        // Options may be secrets.
        let shown = || url.split(['?', '#']).next().unwrap_or_default().to_owned();
        let fail = |cause| Err(LocationError { url: shown(), cause });
        let Some(rest) = url.strip_prefix("sqlite:") else { return fail("it does not begin with `sqlite:`") };
        let path = match rest.strip_prefix("//") {
            Some(absolute) if absolute.starts_with('/') => absolute,
            Some(_) => {
                return fail("write a relative path as `sqlite:people.db`, and an absolute one with three slashes");
            }
            None => rest,
        };
        match path {
            "" => fail("the path is missing, as in `sqlite:people.db`"),
            ":memory:" => fail("a database in memory ends with the command"),
            path if path.contains(['?', '#']) => fail("options are not supported, and a path has neither `?` nor `#`"),
            path if path.contains('\0') => fail("a path has no U+0000"),
            path => Ok(Location { path: path.to_owned() }),
        }
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        Path::new(&self.path)
    }

    /// Returns the path in a form that SQLite takes for a path, and not for the URI or the special name that it spells.
    pub(super) fn plain(&self) -> PathBuf {
        Path::new(".").join(&self.path)
    }

    /// Returns the directory of the file.
    pub(super) fn directory(&self) -> &Path {
        self.path().parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sqlite:{}", self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_files() {
        let path = |url| Location::parse(url).map(|location| location.plain().display().to_string()).ok();
        assert_eq!(path("sqlite:people.db").as_deref(), Some("./people.db"));
        assert_eq!(path("sqlite:file:people.db").as_deref(), Some("./file:people.db"));
        assert_eq!(path("sqlite:///var/people.db").as_deref(), Some("/var/people.db"));
        assert_eq!(path("sqlite:/var/people.db").as_deref(), Some("/var/people.db"));
        for wrong in ["sqlite:", "sqlite::memory:", "sqlite://people.db", "sqlite:a.db?mode=ro", "people.db"] {
            assert_eq!(path(wrong), None, "{wrong}");
        }
    }
}
