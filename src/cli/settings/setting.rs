//! The value of a setting together with its origin, and the errors of settings, which name the origin.

use std::fmt;
use std::path::PathBuf;

/// The origin of a setting, in rising order of precedence.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The default of the table.
    Default,
    /// The configuration file of this path.
    File(PathBuf),
    /// The environment variable of this name.
    Environment(&'static str),
    /// The flag of this name, with its dashes.
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

/// A resolved value with its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting<T> {
    /// Value, parsed and checked.
    pub value: T,
    /// Source with the highest precedence that sets the value.
    pub origin: Origin,
}

impl<T> Setting<T> {
    /// Converts the value and keeps the origin.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Setting<U> {
        Setting { value: change(self.value), origin: self.origin }
    }
}

impl<T> Setting<Option<T>> {
    /// Returns the setting with its value; `None` if the value is `None`.
    pub fn present(self) -> Option<Setting<T>> {
        let origin = self.origin;
        self.value.map(|value| Setting { value, origin })
    }
}

/// An invalid setting. The messages show values of flags only: other values may be secrets.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration file cannot be read, although a flag or the environment names it.
    #[error("cannot read the configuration file {path}")]
    Unreadable {
        /// Path of the file.
        path: PathBuf,
        /// Error of the file system.
        #[source]
        cause: std::io::Error,
    },
    /// The configuration file is not valid TOML, or has an unknown name or a value of the wrong kind.
    #[error("the configuration file {path} is not valid: {text}")]
    Malformed {
        /// Path of the file.
        path: PathBuf,
        /// Explanation on one line.
        text: String,
    },
    /// A flag has an invalid value, which is shown, because it was typed.
    #[error("`{flag} {given}`: {text}")]
    FlagValue {
        /// Name of the flag, with its dashes.
        flag: &'static str,
        /// Value as typed.
        given: String,
        /// Explanation, a sentence about `it`.
        text: String,
    },
    /// The environment or the configuration file has an invalid value, which is not shown, because it may be a secret.
    #[error("{name} ({origin}): {text}")]
    Value {
        /// Name of the setting.
        name: &'static str,
        /// Origin of the value.
        origin: Origin,
        /// Explanation, a sentence about `it`.
        text: String,
    },
    /// The key file cannot be read.
    #[error("cannot read the API key file {path} ({origin})")]
    KeyFile {
        /// Path of the file.
        path: PathBuf,
        /// Origin of the path.
        origin: Origin,
        /// Error of the file system.
        #[source]
        cause: std::io::Error,
    },
    /// Other users can access the key file.
    #[error("the API key file {path} ({origin}) can be read by others: its mode is {mode:03o}")]
    KeyFileOpen {
        /// Path of the file.
        path: PathBuf,
        /// Origin of the path.
        origin: Origin,
        /// Permission bits of the file.
        mode: u32,
    },
    /// The key command printed no key. Neither the command nor its output is shown: both may contain secrets.
    #[error("the API key command ({origin}) {text}")]
    KeyCommand {
        /// Origin of the value.
        origin: Origin,
        /// Explanation that continues the sentence, such as `ended with exit status: 3`.
        text: String,
    },
}
