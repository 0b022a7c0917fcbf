//! The help of the commands in the order in which people read it: what a command is for, how it is called, examples, and then
//! its flags. `-h` has the flags that most calls need and fits a screen; `--help` has all of them.

use std::ffi::OsString;

use clap::{Command, CommandFactory as _, FromArgMatches as _};

use super::args::Args;

/// The commands by what people do, for the help of drawoff itself.
const GROUPS: &[(&str, &[&str])] = &[
    ("Look at rows, and convert them", &["head", "stats", "schema", "explain", "convert"]),
    ("Run workflows, and get their results", &["run", "pull", "sync", "bulk", "runs", "workflows", "upload"]),
    ("Share large exports among machines, and look at loads", &["plan", "work", "commit", "loads"]),
    ("Set up, and test without an account", &["init", "serve", "doctor", "config", "completions", "man"]),
];

/// The flags that `-h` shows, by command. A command that is not listed has few flags, and shows all of its own.
const SHORT: &[(&str, &[&str])] = &[
    ("run", &["input", "payload", "output", "select", "dry-run", "local"]),
    ("pull", &["output", "where", "select", "since", "again"]),
    ("sync", &["output", "into", "every", "since"]),
    ("plan", &["output", "workflow", "since", "where", "select"]),
    ("work", &["shard", "item"]),
    ("commit", &["output", "into", "load", "gc"]),
    ("people", &["fields", "output", "dry-run", "local"]),
    ("company", &["fields", "output", "dry-run", "local"]),
    ("convert", &["output", "where", "with", "select", "flatten", "sql", "limit", "preview"]),
    ("head", &["rows", "output", "where", "select", "in-delimiter", "on-bad-record"]),
    ("stats", &["output", "html", "values", "where", "select", "in-delimiter"]),
    ("schema", &["format", "into", "from", "schema", "schema-from", "workflow", "in-delimiter"]),
    ("explain", &["format", "from", "where", "with", "select", "drop", "flatten", "steps"]),
    ("serve", &["port", "data", "workflow", "upload", "enrich", "fault"]),
];

/// Examples in `-h`; `--help` has all.
const SHORT_EXAMPLES: usize = 3;

/// Returns the commands as they are parsed.
pub(super) fn command() -> Command {
    let root = Args::command();
    let groups = groups(&root);
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}\nFlags of a command: drawoff COMMAND -h; all of them with examples: --help\n\nOptions:\n{{options}}{{after-help}}"
    );
    root.mut_args(|arg| arg.hide_short_help(true)).mut_subcommands(arranged).help_template(template)
}

/// Parses the command line with the help that people read.
pub(super) fn try_parse<W: Into<OsString> + Clone>(words: &[W]) -> Result<Args, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(words.iter().cloned())?;
    Args::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// Lists the commands under what people do with them.
fn groups(root: &Command) -> String {
    let mut text = String::new();
    for (heading, names) in GROUPS {
        text.push_str(&format!("{heading}:\n"));
        for name in *names {
            let about = root.find_subcommand(name).and_then(Command::get_about).map(ToString::to_string);
            text.push_str(&format!("  {name:<12} {}\n", about.unwrap_or_default()));
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text + "\n"
}

/// Puts the examples of a command before its flags, and hides what `-h` does not show.
fn arranged(command: Command) -> Command {
    let shown = SHORT.iter().find(|(name, _)| *name == command.get_name()).map(|(_, flags)| *flags);
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let has_more = shown.is_some();
    let command = match shown {
        Some(shown) => command.mut_args(|arg| {
            let is_shown = arg.is_positional() || arg.get_long().is_some_and(|long| shown.contains(&long));
            arg.hide_short_help(!is_shown)
        }),
        None => command,
    };
    // Long examples would push the flags off the screen.
    let more = if has_more { "\n\nAll flags and examples: --help" } else { "" };
    command
        .after_long_help(examples.clone())
        .after_help(format!("{}{more}", first_examples(&examples)))
        .mut_subcommands(arranged)
        .help_template("{about-with-newline}\n{usage-heading} {usage}{after-help}\n\n{all-args}")
}

/// Returns the first examples of a help text, without what stands before and behind them.
fn first_examples(text: &str) -> String {
    let Some((_, examples)) = text.split_once("Examples:\n") else { return text.to_owned() };
    let lines: Vec<&str> = examples.lines().filter(|line| line.starts_with("  ")).take(SHORT_EXAMPLES).collect();
    format!("Examples:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short_help(command: &mut Command) -> String {
        command.render_help().to_string()
    }

    fn walk(command: &Command, path: &str, check: &mut dyn FnMut(&str, &Command)) {
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let path = format!("{path} {}", sub.get_name());
            check(&path, sub);
            walk(sub, &path, check);
        }
    }

    #[test]
    fn every_command_is_in_one_group() {
        let root = Args::command();
        let listed: Vec<&str> = GROUPS.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        for sub in root.get_subcommands() {
            let times = listed.iter().filter(|name| **name == sub.get_name()).count();
            assert_eq!(times, 1, "{}", sub.get_name());
        }
        assert_eq!(root.get_subcommands().count(), listed.len());
    }

    #[test]
    fn short_help_fits_a_screen_and_long_help_has_examples_first() {
        let mut root = command();
        root.build();
        let own = short_help(&mut root.clone());
        assert!(own.lines().count() < 40, "{} lines\n{own}", own.lines().count());
        walk(&root, "drawoff", &mut |path, sub| {
            let mut sub = sub.clone().term_width(100);
            let short = short_help(&mut sub);
            assert!(short.lines().count() < 40, "{path}: {} lines\n{short}", short.lines().count());
            assert!(short.contains("Examples:\n"), "{path}\n{short}");
            let long = sub.render_long_help().to_string();
            let (examples, flags) = (long.find("Examples:\n"), long.rfind("Options:\n"));
            assert!(examples < flags || flags.is_none(), "{path}\n{long}");
        });
    }

    #[test]
    fn the_flags_of_short_help_exist() {
        let root = Args::command();
        let mut found = Vec::new();
        walk(&root, "", &mut |_, sub| {
            let Some((name, flags)) = SHORT.iter().find(|(name, _)| *name == sub.get_name()) else { return };
            for flag in *flags {
                assert!(sub.get_arguments().any(|arg| arg.get_long() == Some(flag)), "{name} has no --{flag}");
            }
            found.push(*name);
        });
        assert!(SHORT.iter().all(|(name, _)| found.contains(name)));
    }
}
