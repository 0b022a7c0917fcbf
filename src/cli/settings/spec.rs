//! The shape of one setting: the places that can name a value, the reading of its text, its default, its showing.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;

/// One setting, a row of the table.
pub struct Spec<T: 'static> {
    /// Names and help.
    pub names: Names,
    /// The reading of a value; it also decides what a value in the configuration file must be.
    pub parse: Parse<T>,
    /// The value where no place names one.
    pub default: fn(&UserDirs) -> T,
    /// The text of a value for people; `None` if nothing is set.
    pub show: fn(&T) -> Option<String>,
}

/// The places that can name a setting's value, and help for people.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// Name in messages, in `config show`, and in the configuration file if that can have it.
    pub name: &'static str,
    /// The flag.
    pub flag: Option<Flag>,
    /// The name in the environment. An empty value counts as none.
    pub environment: Option<&'static str>,
    /// True if the configuration file can have it.
    pub in_file: bool,
    /// The value, described for the help texts.
    pub help: &'static str,
    /// The default in words, where it depends on the user.
    pub default_words: Option<&'static str>,
}

/// The flag of a setting.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// With its dashes.
    pub flag: &'static str,
    /// Name of the value in help.
    pub value: &'static str,
    /// More help, after that of the setting.
    pub help: &'static str,
    /// The commands that take it.
    pub scope: Scope,
    /// Its group in help; `None` hides it.
    pub heading: Option<&'static str>,
    /// The setting whose flag excludes it.
    pub excludes: Option<&'static str>,
}

/// The commands that take a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    Everywhere,
    /// Those that write records.
    Plan,
}

/// The reading of a setting's value.
#[derive(Clone, Copy)]
pub enum Parse<T> {
    /// Text, the same in all places.
    Text(fn(&str) -> Result<T, String>),
    /// A whole number, a number in the configuration file too.
    Number(fn(usize) -> Result<T, String>),
    /// A path; a relative one of the configuration file starts at the file's directory.
    Path(fn(PathBuf) -> T),
    /// Texts: a flag given several times, an array in the configuration file.
    List(fn(&[&str]) -> Result<T, String>),
}

impl<T> Spec<T> {
    /// The value that `texts` name; relative paths start at `directory`.
    pub fn read(&self, texts: &[OsString], directory: &Path) -> Result<T, String> {
        let text = |text: &OsStr| text.to_str().map(str::to_owned).ok_or_else(|| "it is not UTF-8".to_owned());
        let only = || texts.first().map(OsString::as_os_str).unwrap_or_default();
        match self.parse {
            Parse::Text(parse) => parse(&text(only())?),
            Parse::Number(check) => {
                check(text(only())?.trim().parse().map_err(|_| "it is not a whole number".to_owned())?)
            }
            Parse::Path(path) => Ok(path(directory.join(only()))),
            Parse::List(parse) => {
                let texts = texts.iter().map(|one| text(one)).collect::<Result<Vec<_>, _>>()?;
                parse(&texts.iter().map(String::as_str).collect::<Vec<_>>())
            }
        }
    }
}

/// A row of the table without the type of its value.
pub trait Row: Sync {
    /// Names and help.
    fn names(&self) -> &Names;
    /// The default as `config show` has it; empty if there is none.
    fn default_text(&self) -> String;
    /// The sort of value, without its type.
    fn form(&self) -> Form;
}

/// The sort of a setting's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Text.
    Text,
    /// A whole number.
    Number,
    /// A path.
    Path,
    /// Texts.
    List,
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
        }
    }
}

/// The places of this system where a user's files are kept.
#[derive(Clone, Debug, Default)]
pub struct UserDirs {
    /// The configuration file.
    pub config_file: Option<PathBuf>,
    /// The state directory.
    pub state_dir: Option<PathBuf>,
}

impl UserDirs {
    /// Those of the user who runs this process; empty if the system names no home.
    pub fn of_user() -> Self {
        let Ok(dirs) = etcetera::choose_base_strategy() else { return UserDirs::default() };
        let state = dirs.state_dir().unwrap_or_else(|| dirs.data_dir());
        UserDirs {
            config_file: Some(dirs.config_dir().join("drawoff/config.toml")),
            state_dir: Some(state.join("drawoff")),
        }
    }
}
