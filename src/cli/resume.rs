//! The `drawoff pull` command that resumes an interrupted one, for hints: built from the arguments that were typed, by
//! clap's own knowledge of both commands.

use std::ffi::OsString;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{ArgAction, CommandFactory};

use super::args::Args;
use super::run_selection::RunSelectionArgs;
use super::shell::joined;
use super::table_url::{redacted, table_url};
use crate::api::RunId;

/// Returns `drawoff pull RUN` with every typed flag that `pull` accepts as well: outputs, steps, settings. A key
/// command is left out, because it may contain secrets.
pub(super) fn pull_command(run: &RunId) -> String {
    pull_from(std::env::args_os().collect(), run)
}

/// Implements [`pull_command`] for the arguments `typed`, the program's name included.
fn pull_from(typed: Vec<OsString>, run: &RunId) -> String {
    let words = ["drawoff".to_owned(), "pull".to_owned(), run.to_string()];
    let mut placed: Vec<(usize, Vec<String>)> = Vec::new();
    let mut command = Args::command();
    // Copies global flags into every subcommand, so that `pull` lists them.
    command.build();
    // Arguments that do not parse leave the bare `drawoff pull RUN`.
    let matches = command.clone().try_get_matches_from(typed).ok();
    let given = matches.as_ref().and_then(|matches| matches.subcommand()).map(|(_, given)| given);
    let arguments = command.find_subcommand("pull").into_iter().flat_map(|pull| pull.get_arguments());
    for argument in arguments.filter(|argument| !argument.is_positional()) {
        let id = argument.get_id().as_str();
        // `try_contains_id` fails for arguments that the typed command does not have. Defaults are not repeated.
        let typed = |given: &&clap::ArgMatches| {
            given.try_contains_id(id).is_ok() && given.value_source(id) == Some(ValueSource::CommandLine)
        };
        let Some(given) = given.filter(typed) else { continue };
        let flag = match (argument.get_short(), argument.get_long()) {
            (Some(short), _) => format!("-{short}"),
            (None, Some(long)) => format!("--{long}"),
            (None, None) => continue,
        };
        // The run is named. `--again` is done by the interrupted command itself; a key command may contain secrets.
        if ["again", "api_key_command"].contains(&id) || RunSelectionArgs::IDS.contains(&id) {
            continue;
        }
        let mut indices = given.indices_of(id).into_iter().flatten();
        match argument.get_action() {
            ArgAction::Set | ArgAction::Append => {
                for (value, index) in given.get_raw(id).into_iter().flatten().zip(indices) {
                    // A password stays out of messages, and is to be found by the command in its usual places.
                    let value = match table_url(Path::new(value)) {
                        Some(url) if id == "output" => redacted(url),
                        _ => value.to_string_lossy().into_owned(),
                    };
                    let words = match argument.get_long() {
                        Some(long) if argument.is_require_equals_set() => vec![format!("--{long}={value}")],
                        // A value that begins with a dash would be parsed as a flag.
                        Some(long) if value.len() > 1 && value.starts_with('-') => vec![format!("--{long}={value}")],
                        _ => vec![flag.clone(), value],
                    };
                    placed.push((index, words));
                }
            }
            _ => placed.push((indices.next().unwrap_or_default(), vec![flag])),
        }
    }
    // In the order in which they were typed, because the order of steps has a meaning.
    placed.sort_by_key(|(index, _)| *index);
    joined(words.into_iter().chain(placed.into_iter().flat_map(|(_, words)| words)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_flags_that_pull_accepts_are_repeated() {
        let run = RunId("r-1".into());
        let pull = |typed: &[&str]| pull_from(typed.iter().map(OsString::from).collect(), &run);
        assert_eq!(
            pull(&[
                "drawoff",
                "--endpoint",
                "http://127.0.0.1:9",
                "run",
                "w.json",
                "--input",
                "in.csv",
                "--codec=zstd:3",
                "-o",
                "my results.parquet",
                "--new-run",
                "--api-key-command",
                "echo marked-1",
                "--block",
                "2",
                "-q",
                "--cancel-on-interrupt",
            ]),
            "drawoff pull r-1 --endpoint http://127.0.0.1:9 --codec zstd:3 -o 'my results.parquet' --block 2 -q \
             --cancel-on-interrupt"
        );
        assert_eq!(
            pull(&["drawoff", "pull", "r-1", "--again", "-o", "it's.csv"]),
            r"drawoff pull r-1 -o 'it'\''s.csv'"
        );
        let steps =
            ["drawoff", "run", "w", "--limit", "9", "--where", "-a > 1", "-o", "x", "--limit=3", "--where", "b"];
        assert_eq!(pull(&steps), "drawoff pull r-1 --limit 9 '--where=-a > 1' -o x --limit 3 --where b");
        assert_eq!(pull(&["drawoff", "sync", "w", "--since", "7d", "-o", "x/"]), "drawoff pull r-1 -o x/");
        assert_eq!(pull(&["drawoff", "pull", "last", "--workflow", "w", "-o", "x"]), "drawoff pull r-1 -o x");
        assert_eq!(pull(&["nonsense"]), "drawoff pull r-1");
    }
}
