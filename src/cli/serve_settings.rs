//! Flags of `serve` from the environment and from the table `serve` of the configuration file: each becomes a flag that
//! was not typed. So all sources have one parser, and one set of rules on what excludes what.
//!
//! `--max-runs` is `MAX_RUNS` after the common prefix in the environment, and `max_runs` in the file.

use std::ffi::OsString;
use std::path::Path;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, CommandFactory, Parser as _};
use serde_json::Value;

use super::args::Args;
use super::error::{Error, Failure};
use super::settings::ServeTable;

/// Name of the command.
const COMMAND: &str = "serve";

/// Start of the names in the environment.
const PREFIX: &str = "DRAWOFF_SERVE_";

/// Flags that do something else than serve, or that would put a key in the wrong place.
const EXCLUDED: [&str; 4] = ["print-openapi", "export", "help", "api-key"];

/// Flags of every command that `serve` has a meaning of its own for.
const GLOBAL: [&str; 3] = ["api-key-file", "api-key-command", "log"];

/// Flag that was not typed.
struct Found {
    /// Words for the command line, each `--flag=value` or `--flag`.
    words: Vec<OsString>,
    /// Environment variable, or file and member.
    origin: String,
}

/// Parses `words` again, with the flags that the environment and the file add; `None` if they add none.
pub(super) fn completed(
    words: &[OsString],
    env: &dyn Fn(&str) -> Option<String>,
    file: ServeTable,
) -> Result<Option<Args>, Failure> {
    let found = found(words, env, file)?;
    if found.is_empty() {
        return Ok(None);
    }
    for one in &found {
        // Each alone first, so that an error has an origin.
        if let Err(error) = Args::try_parse_from(with(words, &one.words))
            && matches!(error.kind(), ErrorKind::InvalidValue | ErrorKind::ValueValidation | ErrorKind::InvalidUtf8)
        {
            return Err(Error::Usage(format!("{}: {}", one.origin, first_line(&error))).into());
        }
    }
    let added: Vec<OsString> = found.iter().flat_map(|one| one.words.clone()).collect();
    match Args::try_parse_from(with(words, &added)) {
        Ok(args) => Ok(Some(args)),
        Err(error) => {
            let origins: Vec<&str> = found.iter().map(|one| one.origin.as_str()).collect();
            Err(Error::Usage(format!("{} (with {})", first_line(&error), origins.join(", "))).into())
        }
    }
}

/// Returns the names of variables that look like flags of `serve` and are none. They have no effect.
pub(super) fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut command = Args::command();
    command.build();
    let serve = command.find_subcommand(COMMAND).expect("serve is a command");
    let known: Vec<String> = serve
        .get_arguments()
        .filter_map(|arg| arg.get_long().filter(|long| !EXCLUDED.contains(long) || *long == "api-key"))
        .filter(|long| {
            GLOBAL.contains(long)
                || serve.get_arguments().any(|arg| arg.get_long() == Some(*long) && !arg.is_global_set())
        })
        .map(|long| variable_of(&long.replace('-', "_")))
        .collect();
    let mut unknown: Vec<String> = names.filter(|name| name.starts_with(PREFIX) && !known.contains(name)).collect();
    unknown.sort();
    unknown
}

/// Returns the name in the environment of a flag with this name in the file.
fn variable_of(name: &str) -> String {
    format!("{PREFIX}{}", name.to_ascii_uppercase())
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

/// Returns `words` with the added ones before the command that `serve` runs, if there is one.
fn with(words: &[OsString], added: &[OsString]) -> Vec<OsString> {
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    [&words[..end], added, &words[end..]].concat()
}

fn found(words: &[OsString], env: &dyn Fn(&str) -> Option<String>, file: ServeTable) -> Result<Vec<Found>, Failure> {
    let mut command = Args::command();
    command.build();
    let matches = command.clone().try_get_matches_from(words).ok();
    let typed = matches.as_ref().and_then(|matches| matches.subcommand_matches(COMMAND));
    let serve = command.find_subcommand(COMMAND).expect("serve is a command");
    let path_value = ValueParser::path_buf().type_id();
    let ServeTable { path, flags: mut members } = file;
    let directory = path.parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for arg in serve.get_arguments() {
        let Some(long) = arg.get_long().filter(|long| !EXCLUDED.contains(long)) else { continue };
        if arg.is_global_set() && !GLOBAL.contains(&long) {
            continue;
        }
        let name = long.replace('-', "_");
        let member = members.remove(&name);
        let is_typed = typed.is_some_and(|typed| {
            let is_known = typed.ids().any(|id| id == arg.get_id());
            is_known && typed.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine)
        });
        if is_typed {
            continue;
        }
        let variable = variable_of(&name);
        let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
        let (texts, origin) = if let Some(text) = env(&variable).filter(|text| !text.trim().is_empty()) {
            // A list has a line for each value.
            let is_list = matches!(arg.get_action(), ArgAction::Append);
            let texts: Vec<String> = if is_list { text.lines().map(str::to_owned).collect() } else { vec![text] };
            (texts, format!("environment {variable}"))
        } else if let Some(member) = member {
            let origin = format!("{}: `{COMMAND}.{name}`", path.display());
            let texts = texts_of(member).ok_or_else(|| {
                Error::Usage(format!("{origin}: it must be a string, a number, true, false, or a list of strings"))
            })?;
            let is_path = arg.get_value_parser().type_id() == path_value;
            // Paths in the file are relative to its directory.
            let texts = texts
                .into_iter()
                .map(|text| if is_path { directory.join(&text).to_string_lossy().into_owned() } else { text });
            (texts.collect(), origin)
        } else {
            continue;
        };
        let words = if is_switch {
            match texts.first().map(|text| text.trim().to_ascii_lowercase()).as_deref() {
                Some("true" | "1") => vec![OsString::from(format!("--{long}"))],
                Some("false" | "0") => Vec::new(),
                _ => return Err(Error::Usage(format!("{origin}: it must be true or false")).into()),
            }
        } else {
            texts.iter().filter(|text| !text.is_empty()).map(|text| format!("--{long}={text}").into()).collect()
        };
        if !words.is_empty() {
            found.push(Found { words, origin });
        }
    }
    match members.keys().next() {
        // A typo must be noticed.
        Some(name) => Err(Error::Usage(format!("{}: unknown field `{COMMAND}.{name}`", path.display())).into()),
        None => Ok(found),
    }
}

fn texts_of(value: Value) -> Option<Vec<String>> {
    let text = |value: Value| match value {
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    };
    match value {
        Value::Array(values) => values.into_iter().map(text).collect(),
        value => text(value).map(|text| vec![text]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Command, ServeArgs, TopCommand};

    fn parsed(line: &str, env: &[(&str, &str)], file: &str) -> Result<Option<ServeArgs>, String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        let env = |name: &str| {
            let name = name.strip_prefix(PREFIX)?;
            env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned())
        };
        let members = toml::from_str(file).unwrap();
        let args = completed(&words, &env, ServeTable { path: "/etc/x/config.toml".into(), flags: members });
        let args = args.map_err(|failure| failure.error().to_string())?;
        Ok(args.map(|args| match args.command {
            TopCommand::WithSettings(Command::Serve(args)) => *args,
            _ => unreachable!("the command is serve"),
        }))
    }

    #[test]
    fn flags_beat_environment_beats_file() {
        let file =
            "port = 1\nmax_runs = 3\nadmin = true\nfault = ['503', '429,times=3']\ndata = 'd'\nstop_grace = '9s'";
        let env = [("PORT", "2"), ("MAX_RUNS", "4"), ("ADMIN", "false")];
        let args = parsed("drawoff serve --port 5 -- pytest --port 7", &env, file).unwrap().unwrap();
        assert_eq!((args.port, args.engine.max_runs, args.engine.admin), (5, 4, false));
        assert_eq!(args.engine.fault, ["503", "429,times=3"]);
        assert_eq!(args.data.unwrap(), Path::new("/etc/x/d"));
        assert_eq!(args.command, ["pytest", "--port", "7"]);
        assert_eq!(parsed("drawoff serve", &env, "").unwrap().unwrap().port, 2);
        assert!(parsed("drawoff serve", &[], "").unwrap().is_none());
        let lines = [("UPLOAD", "a.csv\nb.csv")];
        assert_eq!(parsed("drawoff serve", &lines, "").unwrap().unwrap().seeds.upload.len(), 2);
    }

    #[test]
    fn every_flag_of_the_command_but_a_few_can_be_set() {
        let mut command = Args::command();
        command.build();
        let serve = command.find_subcommand(COMMAND).unwrap();
        let longs = serve.get_arguments().filter(|arg| !arg.is_global_set()).filter_map(|arg| arg.get_long());
        for long in longs.filter(|long| !EXCLUDED.contains(long)) {
            let file = format!("{} = {{}}", long.replace('-', "_"));
            let error = parsed("drawoff serve", &[], &file).unwrap_err();
            assert!(error.contains("it must be a string, a number"), "{long}: {error}");
        }
    }

    #[test]
    fn variables_that_are_no_flag_are_found() {
        let unknown = |names: &[&str]| unknown_variables(names.iter().map(|name| (*name).to_owned()));
        let known = ["PORT", "MAX_RUNS", "API_KEY", "API_KEY_FILE", "LOG", "ADMIN", "FAULT"];
        let known: Vec<String> = known.iter().map(|name| format!("{PREFIX}{name}")).collect();
        assert!(unknown(&known.iter().map(String::as_str).collect::<Vec<_>>()).is_empty());
        assert!(unknown(&["DRAWOFF_MAX_MEMORY", "PATH", PREFIX.trim_end_matches('_')]).is_empty());
        let wrong = ["PROT", "EXPORT", "QUIET", "port"].map(|name| format!("{PREFIX}{name}"));
        assert_eq!(unknown(&wrong.each_ref().map(String::as_str)).len(), wrong.len());
    }

    #[test]
    fn errors_name_the_origin() {
        for (env, file, expected) in [
            (Some(("PORT", "x")), "", "PORT: invalid value 'x'"),
            (Some(("ADMIN", "perhaps")), "", "ADMIN: it must be true or false"),
            (None, "max_runs = 99", "/etc/x/config.toml: `serve.max_runs`: invalid value '99'"),
            (None, "export = 'a'", "unknown field `serve.export`"),
            (None, "portt = 1", "unknown field `serve.portt`"),
            (None, "api_key = 'k'", "unknown field `serve.api_key`"),
        ] {
            let env: Vec<(&str, &str)> = env.into_iter().collect();
            let error = parsed("drawoff serve", &env, file).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }
}
