//! A setting's value with where it came from, and the ways in which one can be wrong.

use std::fmt;
use std::path::PathBuf;

/// The origin of a setting, in rising order of precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// No place names one.
    Default,
    /// The configuration file.
    File(PathBuf),
    /// A name in the environment.
    Environment(&'static str),
    /// A flag.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Default => f.write_str("default"),
            Origin::File(path) => write!(f, "{}", path.display()),
            Origin::Environment(name) => write!(f, "environment {name}"),
            Origin::Flag(flag) => write!(f, "flag {flag}"),
        }
    }
}

/// A value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Its origin.
    pub origin: Origin,
}

impl<T> Setting<T> {
    /// The same origin with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Setting<U> {
        Setting { value: change(self.value), origin: self.origin }
    }
}

impl<T> Setting<Option<T>> {
    /// The setting, if there is a value.
    pub fn present(self) -> Option<Setting<T>> {
        let origin = self.origin;
        self.value.map(|value| Setting { value, origin })
    }
}

/// A setting that makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file was named and cannot be read.
    #[error("cannot read the configuration file {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        cause: std::io::Error,
    },
    /// The configuration file is not what it should be.
    #[error("the configuration file {path} is not valid: {text}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong, on one line.
        text: String,
    },
    /// The value of a flag, which is shown: it was typed.
    #[error("`{flag} {given}`: {text}")]
    FlagValue {
        /// The flag.
        flag: &'static str,
        /// What was typed.
        given: String,
        /// What is wrong.
        text: String,
    },
    /// A value of another place, which may hold secrets and is not shown.
    #[error("{name} ({origin}): {text}")]
    Value {
        /// The setting.
        name: &'static str,
        /// Where it came from.
        origin: Origin,
        /// What is wrong.
        text: String,
    },
    /// The key file cannot be read.
    #[error("cannot read the API key file {path} ({origin})")]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// Where its name came from.
        origin: Origin,
        /// The cause.
        #[source]
        cause: std::io::Error,
    },
    /// The key file is no secret.
    #[error("the API key file {path} ({origin}) can be read by others: its mode is {mode:03o}")]
    KeyFileOpen {
        /// The file.
        path: PathBuf,
        /// Where its name came from.
        origin: Origin,
        /// Its permission bits.
        mode: u32,
    },
    /// The key command gave no key. Neither it nor what it printed is shown: both may hold secrets.
    #[error("the API key command ({origin}) {text}")]
    KeyCommand {
        /// Where it came from.
        origin: Origin,
        /// What went wrong.
        text: String,
    },
}
