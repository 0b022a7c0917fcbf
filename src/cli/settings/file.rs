//! The configuration file: reads TOML and checks names and kinds of values against the table of settings. The values
//! themselves are parsed later, by `resolve`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::setting::Error;
use super::spec::Form;
use super::table::TABLE;

/// The contents of a configuration file.
#[derive(Debug, Default)]
pub(super) struct ConfigFile {
    /// Path of the file; `None` if the system has no configuration directory.
    pub path: Option<PathBuf>,
    /// True if the file exists.
    pub found: bool,
    texts: BTreeMap<String, Vec<OsString>>,
    /// Members of the table `serve`, whose names are the flags of that command.
    pub serve: Map<String, Value>,
}

/// Name of the table with the flags of `serve`.
const SERVE: &str = "serve";

impl ConfigFile {
    /// Reads the file at `path`, which may be absent unless it is `required`. A name that the table does not have is an
    /// error, so that a typo is noticed.
    pub(super) fn read(path: Option<PathBuf>, required: bool) -> Result<Self, Error> {
        let Some(path) = path else { return Ok(ConfigFile::default()) };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound && !required => {
                return Ok(ConfigFile { path: Some(path), ..ConfigFile::default() });
            }
            Err(cause) => return Err(Error::Unreadable { path, cause }),
        };
        // Only the message: the full text quotes the line, which might contain a key.
        let parsed: Result<Map<String, Value>, String> =
            toml::from_str(&text).map_err(|error| error.message().lines().collect::<Vec<_>>().join(" "));
        let mut serve = Map::new();
        let texts = parsed.and_then(|mut members| {
            match members.remove(SERVE) {
                None => {}
                Some(Value::Object(flags)) => serve = flags,
                Some(_) => return Err(format!("`{SERVE}` must be a table")),
            }
            members
                .into_iter()
                .map(|(name, value)| {
                    let texts = texts_of(&name, value)?;
                    Ok((name, texts))
                })
                .collect()
        });
        match texts {
            Ok(texts) => Ok(ConfigFile { path: Some(path), found: true, texts, serve }),
            Err(text) => Err(Error::Malformed { path, text }),
        }
    }

    /// Returns the values of one setting as text; `None` if the file does not set it.
    pub(super) fn get(&self, name: &str) -> Option<&[OsString]> {
        self.texts.get(name).map(Vec::as_slice)
    }

    /// Returns the directory that relative paths in the file are relative to.
    pub(super) fn directory(&self) -> &Path {
        self.path.as_deref().and_then(Path::parent).unwrap_or(Path::new(""))
    }
}

/// Converts a member to text after checking its kind. The errors do not quote the value, which might be a key.
fn texts_of(name: &str, value: Value) -> Result<Vec<OsString>, String> {
    let known = || TABLE.iter().filter(|row| row.names().in_file);
    let Some(row) = known().find(|row| row.names().name == name) else {
        let names: Vec<String> = known().map(|row| format!("`{}`", row.names().name)).collect();
        return Err(format!("unknown field `{name}`, expected one of {}, `{SERVE}`", names.join(", ")));
    };
    match (row.form(), value) {
        (Form::Text | Form::Path, Value::String(text)) => Ok(vec![text.into()]),
        (Form::Number, Value::Number(number)) if number.is_u64() => Ok(vec![number.to_string().into()]),
        (Form::Switch, Value::Bool(on)) => Ok(vec![on.to_string().into()]),
        (Form::List, Value::Array(values)) => {
            let text = |value| match value {
                Value::String(text) => Ok(OsString::from(text)),
                _ => Err(format!("`{name}` must be an array of strings")),
            };
            values.into_iter().map(text).collect()
        }
        (Form::Text | Form::Path, _) => Err(format!("`{name}` must be a string")),
        (Form::Switch, _) => Err(format!("`{name}` must be true or false")),
        (Form::Number, _) => Err(format!("`{name}` must be a whole number")),
        (Form::List, _) => Err(format!("`{name}` must be an array of strings")),
    }
}
