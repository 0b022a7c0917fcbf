//! The type of a row in the table of settings: names, parser, default and display of one setting. `resolve` reads the
//! rows with their types; flags, help and the configuration file use the untyped [`Row`].

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

/// The specification of one setting, a row of the table.
pub struct Spec<T: 'static> {
    /// Names in the sources, and the help text.
    pub names: Names,
    /// Parser of a value; it also determines the kind of value that the configuration file must have.
    pub parse: Parse<T>,
    /// Default, for the directories of the user.
    pub default: fn(&UserDirs) -> T,
    /// Display of a value; `None` if nothing is set.
    pub show: fn(&T) -> Option<String>,
}

/// The names of a setting in flags, environment and configuration file, and its help text.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Name in messages, in `config show`, and in the configuration file if that can have it.
    pub name: &'static str,
    /// Flag of the setting; `None` if it has none.
    pub flag: Option<Flag>,
    /// Name of the environment variable; `None` if there is none. An empty variable counts as not set.
    pub environment: Option<&'static str>,
    /// True if the configuration file can set it.
    pub in_file: bool,
    /// Help text, a noun phrase that begins with a capital.
    pub help: &'static str,
    /// Default in words, for one that depends on the user; `None` displays the default itself.
    pub default_words: Option<&'static str>,
}

/// The flag of a setting.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Name with its dashes, such as `--endpoint`.
    pub flag: &'static str,
    /// Placeholder of the value in help, such as `URL`.
    pub value: &'static str,
    /// Help text that is appended to that of the setting.
    pub help: &'static str,
    /// Commands that accept the flag.
    pub scope: Scope,
    /// Heading of its group in help; `None` hides the flag.
    pub heading: Option<&'static str>,
    /// Name of the setting whose flag conflicts with this one; `None` if there is none.
    pub excludes: Option<&'static str>,
}

/// The commands that accept a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All commands, before and after the subcommand.
    Everywhere,
    /// Commands that write records: `run`, `pull`, `bulk` and `convert`.
    Plan,
}

/// The parser of a setting's value.
#[derive(Clone, Copy)]
pub enum Parse<T> {
    /// Text, in every source.
    Text(fn(&str) -> Result<T, String>),
    /// A whole number; not a string in the configuration file.
    Number(fn(usize) -> Result<T, String>),
    /// A path; in the configuration file it is relative to the file's directory.
    Path(fn(PathBuf) -> T),
    /// A list: a repeated flag, an array in the configuration file.
    List(fn(&[&str]) -> Result<T, String>),
    /// On or off: a flag without a value, a boolean in the configuration file, `true`, `false`, 1 or 0 in the environment.
    Switch(fn(bool) -> T),
}

impl<T> Spec<T> {
    /// Parses `texts`; relative paths are joined to `directory`.
    pub fn read(&self, texts: &[OsString], directory: &Path) -> Result<T, String> {
        let text = |text: &OsStr| text.to_str().map(str::to_owned).ok_or_else(|| "it is not UTF-8".to_owned());
        let only = || texts.first().map(OsString::as_os_str).unwrap_or_default();
        match self.parse {
            Parse::Text(parse) => parse(&text(only())?),
            Parse::Number(check) => {
                check(text(only())?.trim().parse().map_err(|_| "it is not a whole number".to_owned())?)
            }
            Parse::Switch(switch) => match text(only())?.trim() {
                "true" | "1" => Ok(switch(true)),
                "false" | "0" => Ok(switch(false)),
                _ => Err("it is neither true nor false".to_owned()),
            },
            Parse::Path(path) => Ok(path(directory.join(only()))),
            Parse::List(parse) => {
                let texts = texts.iter().map(|one| text(one)).collect::<Result<Vec<_>, _>>()?;
                parse(&texts.iter().map(String::as_str).collect::<Vec<_>>())
            }
        }
    }
}

/// A row of the table, without the type of its value.
pub trait Row: Sync {
    /// Returns the names and the help text.
    fn names(&self) -> &Names;
    /// Returns the default as `config show` prints it; empty if there is none.
    fn default_text(&self) -> String;
    /// Returns the kind of value.
    fn form(&self) -> Form;
}

/// The kind of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A string, also in TOML.
    Text,
    /// A whole number, also in TOML.
    Number,
    /// A path, a string in TOML.
    Path,
    /// A list, an array of strings in TOML.
    List,
    /// On or off, a boolean in TOML.
    Switch,
}

impl<T: 'static> Row for Spec<T> {
    fn names(&self) -> &Names {
        &self.names
    }

    fn default_text(&self) -> String {
        let value = || (self.show)(&(self.default)(&UserDirs::default()));
        self.names.default_words.map(str::to_owned).or_else(value).unwrap_or_default()
    }

    fn form(&self) -> Form {
        match self.parse {
            Parse::Text(_) => Form::Text,
            Parse::Number(_) => Form::Number,
            Parse::Path(_) => Form::Path,
            Parse::List(_) => Form::List,
            Parse::Switch(_) => Form::Switch,
        }
    }
}

/// The directories of this system for a user's files.
#[derive(Clone, Debug, Default)]
pub struct UserDirs {
    /// Default configuration file; `None` without a home directory.
    pub config_file: Option<PathBuf>,
    /// Default state directory; `None` without a home directory.
    pub state_dir: Option<PathBuf>,
}

impl UserDirs {
    /// Returns the directories of the user who runs this process; both `None` if the system has no home directory.
    pub fn of_user() -> Self {
        let Ok(dirs) = etcetera::choose_base_strategy() else { return UserDirs::default() };
        let state = dirs.state_dir().unwrap_or_else(|| dirs.data_dir());
        UserDirs {
            config_file: Some(dirs.config_dir().join("drawoff/config.toml")),
            state_dir: Some(state.join("drawoff")),
        }
    }
}
