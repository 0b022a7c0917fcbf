//! The flags of settings: built from the table for clap, and read back as text. Values are parsed when the settings are
//! resolved, so that flags, environment and file share one parser.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;

use clap::builder::ValueParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use super::spec::{Form, Row, Scope};
use super::table::TABLE;

/// The values that were typed for the flags of settings, as text, by the names of the settings.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct TypedSettings(BTreeMap<&'static str, Vec<OsString>>);

impl TypedSettings {
    /// Returns the values of one setting; `None` if its flag was not given.
    pub fn get(&self, name: &str) -> Option<&[OsString]> {
        self.0.get(name).map(Vec::as_slice)
    }

    /// Adds the `others`, which replace values of the same settings.
    pub fn with(mut self, others: &TypedSettings) -> Self {
        self.0.extend(others.0.iter().map(|(name, texts)| (*name, texts.clone())));
        self
    }
}

/// Prints names only: a key command may contain secrets.
impl fmt::Debug for TypedSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// The clap arguments of settings: of every command (`EVERYWHERE`), or of the commands that write records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingArgs<const EVERYWHERE: bool>(pub TypedSettings);

impl<const EVERYWHERE: bool> SettingArgs<EVERYWHERE> {
    const SCOPE: Scope = if EVERYWHERE { Scope::Everywhere } else { Scope::Plan };

    fn rows() -> impl Iterator<Item = &'static dyn Row> {
        let here = |row: &&dyn Row| row.names().flag.is_some_and(|flag| flag.scope == Self::SCOPE);
        TABLE.iter().copied().filter(here)
    }
}

impl<const EVERYWHERE: bool> Args for SettingArgs<EVERYWHERE> {
    fn augment_args(command: Command) -> Command {
        Self::rows().fold(command, |command, row| {
            let names = row.names();
            let Some(flag) = names.flag else { return command };
            let default = match flag.scope {
                Scope::Plan => format!(" [default: {}]", row.default_text()),
                Scope::Everywhere => String::new(),
            };
            let (parser, action) = match row.form() {
                // This parser lets shells complete file names.
                Form::Path => (ValueParser::path_buf(), ArgAction::Set),
                Form::Text | Form::Number | Form::Switch => (ValueParser::string(), ArgAction::Set),
                Form::List => (ValueParser::string(), ArgAction::Append),
            };
            let arg = Arg::new(names.name)
                .long(flag.flag.trim_start_matches('-'))
                .value_name(flag.value)
                .help(format!("{}{}{default}", names.help, flag.help))
                .value_parser(parser)
                .action(action)
                .global(flag.scope == Scope::Everywhere)
                .hide(flag.heading.is_none())
                .help_heading(flag.heading);
            let arg = match row.form() {
                Form::Switch => arg.num_args(0).default_missing_value("true"),
                _ => arg,
            };
            command.arg(flag.excludes.into_iter().fold(arg, |arg, other| arg.conflicts_with(other)))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<const EVERYWHERE: bool> FromArgMatches for SettingArgs<EVERYWHERE> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let texts = |row: &dyn Row| {
            let name = row.names().name;
            // Only typed values: anything else would take precedence over environment and file.
            let typed = matches.value_source(name) == Some(ValueSource::CommandLine);
            typed.then(|| (name, matches.get_raw(name).into_iter().flatten().map(OsString::from).collect()))
        };
        Ok(SettingArgs(TypedSettings(Self::rows().filter_map(texts).collect())))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}
