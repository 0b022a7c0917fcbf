//! The word of an unfinished command line that a shell wants to complete: whether it names a workflow or a run, by the
//! definition of the commands. Reads nothing.

use clap::{Arg, Command};

/// The values that a shell asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Workflows.
    Workflows,
    /// Runs.
    Runs,
}

/// A word that is typed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TypedWord {
    pub wanted: Wanted,
    /// True if a file may be named as well.
    pub or_file: bool,
    /// The beginning of the word, without quotes.
    pub start: String,
    /// Flags of every command with their values, such as `--endpoint`.
    pub globals: Vec<String>,
}

/// Returns the last of `words`, those behind the name of the program; `None` if it is no workflow and no run.
pub(super) fn typed_word(root: &Command, words: &[String]) -> Option<TypedWord> {
    let words = joined(words);
    let (last, before) = words.split_last()?;
    let mut command = root;
    let mut globals = Vec::new();
    let mut position = 0;
    let mut flags_end = false;
    // A flag whose value comes next.
    let mut open: Option<&Arg> = None;
    for word in before {
        if let Some(flag) = open.take() {
            if flag.is_global_set() {
                globals.push(word.clone());
            }
            continue;
        }
        if word == "--" && !flags_end {
            flags_end = true;
        } else if word.starts_with('-') && word != "-" && !flags_end {
            let flag = flag_of(command, word);
            let is_whole = word.contains('=') || (!word.starts_with("--") && word.len() > 2);
            open = flag.filter(|flag| flag.get_action().takes_values() && !is_whole);
            if flag.is_some_and(Arg::is_global_set) {
                globals.push(word.clone());
            }
        } else if let Some(sub) = command.find_subcommand(word).filter(|_| position == 0) {
            command = sub;
        } else {
            position += 1;
        }
    }
    let (arg, start) = match open {
        Some(flag) => (flag, last.as_str()),
        None if last.starts_with("--") && !flags_end => {
            let (name, value) = last.split_once('=')?;
            (flag_of(command, name)?, value)
        }
        None if last.starts_with('-') && !flags_end => return None,
        None => (positional(command, position)?, last.as_str()),
    };
    let wanted = match arg.get_value_names()?.first()?.as_str() {
        "WORKFLOW" => (Wanted::Workflows, arg.is_positional() && command.get_name() == "run"),
        "RUN" | "RUN_ID" => (Wanted::Runs, false),
        "SRC" if ["head", "stats", "schema"].contains(&command.get_name()) => (Wanted::Runs, true),
        _ => return None,
    };
    Some(TypedWord { wanted: wanted.0, or_file: wanted.1, start: unquoted(start), globals })
}

/// Returns the command of a command line with those above it, such as `runs ls`.
pub(super) fn command_path(root: &Command, words: &[String]) -> String {
    let (mut command, mut path) = (root, Vec::new());
    let mut is_value = false;
    for word in words {
        if std::mem::take(&mut is_value) {
            continue;
        }
        if word.starts_with('-') {
            let flag = flag_of(command, word).filter(|flag| flag.get_action().takes_values());
            is_value = flag.is_some() && !word.contains('=');
            continue;
        }
        let Some(sub) = command.find_subcommand(word) else { break };
        path.push(sub.get_name().to_owned());
        command = sub;
    }
    path.join(" ")
}

/// Joins what bash takes apart at `=`: `--workflow`, `=`, `x`.
fn joined(words: &[String]) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    let mut is_value = false;
    for word in words {
        match joined.last_mut() {
            Some(flag) if word == "=" && flag.starts_with("--") && !flag.contains('=') => {
                flag.push('=');
                is_value = true;
            }
            Some(flag) if is_value => {
                flag.push_str(word);
                is_value = false;
            }
            _ => joined.push(word.clone()),
        }
    }
    joined
}

fn flag_of<'a>(command: &'a Command, word: &str) -> Option<&'a Arg> {
    let mut args = command.get_arguments();
    match word.strip_prefix("--") {
        Some(long) => {
            let name = long.split('=').next();
            args.find(|arg| arg.get_long().is_some() && arg.get_long() == name)
        }
        None => {
            let short = word.chars().nth(1)?;
            args.find(|arg| arg.get_short() == Some(short))
        }
    }
}

/// Returns the argument at a position; the last one if it takes several values.
fn positional(command: &Command, position: usize) -> Option<&Arg> {
    let all: Vec<&Arg> = command.get_positionals().collect();
    let last = all.last().filter(|last| matches!(last.get_action(), clap::ArgAction::Append));
    all.get(position).or(last).copied()
}

/// Removes an open quote and backslashes before single characters, as shells do.
fn unquoted(word: &str) -> String {
    let mut text = String::with_capacity(word.len());
    let mut chars = word.trim_start_matches(['"', '\'']).chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.extend(chars.next()),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::help;

    fn typed(line: &str) -> Option<(Wanted, bool, String, Vec<String>)> {
        let mut root = help::command();
        root.build();
        let words: Vec<String> = line.split('|').map(str::to_owned).collect();
        typed_word(&root, &words).map(|word| (word.wanted, word.or_file, word.start, word.globals))
    }

    #[test]
    fn the_definition_of_the_commands_says_what_a_word_is() {
        use Wanted::{Runs, Workflows};
        let cases = [
            ("run|", Some((Workflows, true, ""))),
            ("run|Qua", Some((Workflows, true, "Qua"))),
            ("run|\"Qualify co", Some((Workflows, true, "Qualify co"))),
            ("run|Qualify\\ co", Some((Workflows, true, "Qualify co"))),
            ("sync|-o|x.csv|Q", Some((Workflows, false, "Q"))),
            ("pull|5f", Some((Runs, false, "5f"))),
            ("pull|5f0c|-o|x.csv|", Some((Runs, false, ""))),
            ("pull|--workflow|Q", Some((Workflows, false, "Q"))),
            ("pull|--workflow=Q", Some((Workflows, false, "Q"))),
            ("pull|--workflow|=|Q", Some((Workflows, false, "Q"))),
            ("pull|--workflow|=", Some((Workflows, false, ""))),
            ("runs|status|", Some((Runs, false, ""))),
            ("runs|ls|--workflow|", Some((Workflows, false, ""))),
            ("head|5", Some((Runs, true, "5"))),
            ("stats|-o|ndjson|5", Some((Runs, true, "5"))),
            ("pull|--|5", Some((Runs, false, "5"))),
            ("pull|-o|", None),
            ("pull|-", None),
            ("pull|--wo", None),
            ("convert|5", None),
            ("schema|x.csv|--workflow|", None),
            ("runs|", None),
            ("", None),
            ("nonsense|", None),
        ];
        for (line, expected) in cases {
            let found = typed(line).map(|(wanted, or_file, start, _)| (wanted, or_file, start));
            assert_eq!(found, expected.map(|(wanted, or_file, start)| (wanted, or_file, start.to_owned())), "{line}");
        }
        let path = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let mut root = help::command();
            root.build();
            command_path(&root, &words)
        };
        assert_eq!(path("--endpoint http://h.test -q runs list --limit 3"), "runs ls");
        assert_eq!(path("convert runs ls"), "convert");
        let globals = typed("--endpoint|http://127.0.0.1:1|pull|--quiet|").unwrap().3;
        assert_eq!(globals, ["--endpoint", "http://127.0.0.1:1", "--quiet"]);
    }
}
