//! The command line that was probably meant, after a mistake: printed last, on a line of its own, to be copied. It is one that
//! parses, and that costs nothing more than what was typed.

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::error::{Correction, Failure};
use super::exit::Exit;
use super::help::try_parse;
use super::mistakes::{is_costly, is_source};
use super::shell::joined;
use crate::text::nearest;

/// Flags of other tools with a counterpart that takes the same value: the flags, the commands (none for all), the counterpart.
const FLAGS: &[(&[&str], &[&str], &str)] = &[
    (&["--dry-run", "--plan-only"], &["convert"], "--preview"),
    (&["--exclude", "--except", "--omit", "--ignore"], &[], "--drop"),
    (&["--columns", "--cols", "--include", "--project"], &[], "--select"),
    (&["--filter", "--condition"], &[], "--where"),
    (&["--format", "--output-format", "--out-format"], &["convert"], "--to"),
    (&["--format", "--output-format"], &["head", "stats", "runs", "workflows"], "-o"),
    (&["--out", "--output-file", "--dest", "--destination", "--to-file", "--outfile"], &["convert", "pull"], "-o"),
    (&["--lines", "--count", "--num"], &["head"], "-n"),
    (&["--head", "--top", "--first", "--max-rows"], &["convert", "pull"], "--limit"),
    (&["-f"], &["head", "stats", "schema", "explain"], "--from"),
    (&["--query"], &["convert", "pull"], "--sql"),
];

/// Commands of other tools: the words, and what stands in their place. `-o FILE` follows where an output is needed.
const COMMANDS: &[(&[&str], &[&str])] = &[
    (&["ls", "list"], &["runs", "ls"]),
    (&["status"], &["runs", "status"]),
    (&["watch"], &["runs", "watch"]),
    (&["links"], &["runs", "links"]),
    (&["download", "get", "fetch", "results", "export"], &["pull"]),
    (&["login", "auth", "configure", "key", "health", "check", "test", "diagnose", "ping"], &["doctor"]),
    (&["view", "show", "cat", "preview", "peek", "less"], &["head"]),
    (&["describe", "summary", "summarize", "profile", "count"], &["stats"]),
    (&["info", "inspect", "columns"], &["schema"]),
    (&["to", "transform", "cp"], &["convert"]),
    (&["new", "create", "quickstart", "example"], &["init"]),
    (&["version"], &["--version"]),
];

/// Commands without what they work on, and the command that helps to find it.
const INCOMPLETE: &[(&str, &[&str])] = &[
    ("run", &["init", "demo"]),
    ("pull", &["runs", "ls"]),
    ("sync", &["workflows", "ls"]),
    ("convert", &["convert", "-h"]),
    ("head", &["head", "-h"]),
    ("stats", &["stats", "-h"]),
    ("schema", &["schema", "-h"]),
];

/// A name for an output; what has it is never written over by a suggestion.
const OUTPUT: &str = "results.parquet";

/// Returns the command line in place of `words`, which clap refused.
pub(super) fn after_usage_error(words: &[String], error: &clap::Error) -> Option<String> {
    let texts = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => vec![text.as_str()],
        Some(ContextValue::Strings(texts)) => texts.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    };
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
        _ => None,
    };
    let command = command_of(words);
    let corrected = match error.kind() {
        ErrorKind::UnknownArgument => {
            let typed = text(ContextKind::InvalidArg)?;
            let name = typed.split('=').next().unwrap_or(typed);
            let is_rows = name.len() > 1 && name[1..].bytes().all(|byte| byte.is_ascii_digit());
            if command == "head" && is_rows {
                let rows = |word: &String| match word == name {
                    true => vec!["-n".to_owned(), name[1..].to_owned()],
                    false => vec![word.clone()],
                };
                return checked(words.iter().flat_map(rows).collect());
            }
            let applies = |commands: &[&str]| commands.is_empty() || commands.contains(&command);
            let other = FLAGS.iter().find(|(flags, commands, _)| flags.contains(&name) && applies(commands));
            let spelled = || text(ContextKind::SuggestedArg).filter(|flag| !is_costly(flag));
            let flag = other.map(|(.., flag)| *flag).or_else(spelled)?;
            let flag = flag.split(' ').next().unwrap_or(flag);
            let replaced = |word: &String| match word.strip_prefix(name) {
                Some("") => vec![flag.to_owned()],
                // Short flags take no `=`.
                Some(value) if value.starts_with('=') && !flag.starts_with("--") => {
                    vec![flag.to_owned(), value[1..].to_owned()]
                }
                Some(value) if value.starts_with('=') => vec![format!("{flag}{value}")],
                _ => vec![word.clone()],
            };
            words.iter().flat_map(replaced).collect()
        }
        ErrorKind::InvalidSubcommand => {
            let typed = text(ContextKind::InvalidSubcommand)?;
            let at = words.iter().position(|word| word == typed)?;
            let instead: Vec<&str> =
                match COMMANDS.iter().find(|(others, _)| command == typed && others.contains(&typed)) {
                    Some((_, instead)) => instead.to_vec(),
                    None if command == typed && is_source(typed) && words.len() == at + 1 => vec!["head", typed],
                    None => vec![nearest(typed, texts(ContextKind::SuggestedSubcommand))?],
                };
            let (before, after) = (&words[..at], &words[at + 1..]);
            let instead: Vec<String> = instead.into_iter().map(str::to_owned).collect();
            let mut corrected = [before, &instead, after].concat();
            if corrected.iter().any(|word| word == "pull") && !has_output(&corrected) {
                corrected.extend(output()?);
            }
            corrected
        }
        ErrorKind::MissingRequiredArgument => {
            let (_, instead) = INCOMPLETE.iter().find(|(incomplete, _)| *incomplete == command)?;
            let instead = instead.iter().map(|word| (*word).to_owned());
            words.iter().take(1).cloned().chain(instead).collect()
        }
        _ => return None,
    };
    checked(corrected)
}

/// Returns the command line in place of `words`, which failed.
pub(super) fn after_failure(words: &[String], failure: &Failure) -> Option<String> {
    let command = command_of(words);
    let add = |more: &[&str]| words.iter().cloned().chain(more.iter().map(|word| (*word).to_owned())).collect();
    let corrected = match failure.correction() {
        _ if failure.exit() == Exit::NoKey => vec![words.first()?.clone(), "doctor".to_owned()],
        Some(Correction::SkipBadRecords) => {
            let is_free = ["convert", "head", "stats", "pull"].contains(&command);
            let is_set = words.iter().any(|word| word.starts_with("--on-bad-record"));
            if !is_free || is_set {
                return None;
            }
            add(&["--on-bad-record", "skip"])
        }
        Some(Correction::Output) => {
            if !["convert", "pull"].contains(&command) {
                return None;
            }
            words.iter().cloned().chain(output()?).collect()
        }
        Some(Correction::IsOutput(word)) => {
            let at = words.iter().rposition(|typed| typed == word)?;
            [&words[..at], &["-o".to_owned()], &words[at..]].concat()
        }
        Some(Correction::Replace { typed, with }) => {
            let replaced = |word: &String| if word == typed { with.clone() } else { word.clone() };
            words.iter().map(replaced).collect()
        }
        None => return None,
    };
    checked(corrected)
}

/// Returns the command of a command line, which may be misspelled.
fn command_of(words: &[String]) -> &str {
    words.iter().skip(1).find(|word| !word.starts_with('-')).map_or("", String::as_str)
}

fn has_output(words: &[String]) -> bool {
    words.iter().any(|word| word.starts_with("-o") || word.starts_with("--output"))
}

/// Returns the words for an output; `None` if there is a file with that name.
fn output() -> Option<[String; 2]> {
    let exists = std::path::Path::new(OUTPUT).exists();
    (!exists).then(|| ["-o".to_owned(), OUTPUT.to_owned()])
}

/// Formats a command line that parses. URLs may hold secrets, and are not repeated.
fn checked(words: Vec<String>) -> Option<String> {
    if words.iter().any(|word| word.contains("://")) {
        return None;
    }
    let is_help = |error: &clap::Error| matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if try_parse(&words).is_err_and(|error| !is_help(&error)) {
        return None;
    }
    let program = std::iter::once("drawoff".to_owned());
    Some(joined(program.chain(words.into_iter().skip(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn corrected(line: &str) -> Option<String> {
        let words: Vec<String> = std::iter::once("drawoff").chain(line.split_whitespace()).map(str::to_owned).collect();
        after_usage_error(&words, &try_parse(&words).expect_err("a mistake"))
    }

    #[test]
    fn the_command_line_that_was_meant() {
        let cases = [
            ("head a.csv --columns x", "drawoff head a.csv --select x"),
            ("head a.csv --columns=x", "drawoff head a.csv --select=x"),
            ("head -5 a.csv", "drawoff head -n 5 a.csv"),
            ("head a.csv --lines=5", "drawoff head a.csv -n 5"),
            ("convret a.csv -o b.csv", "drawoff convert a.csv -o b.csv"),
            ("runs lss", "drawoff runs ls"),
            ("download 5f0c -o a.csv", "drawoff pull 5f0c -o a.csv"),
            ("a.csv", "drawoff head a.csv"),
            ("version", "drawoff --version"),
            ("pull", "drawoff runs ls"),
        ];
        for (typed, meant) in cases {
            assert_eq!(corrected(typed).as_deref(), Some(meant), "{typed}");
        }
    }

    #[test]
    fn costly_flags_and_urls_are_not_in_it_and_it_parses() {
        let cases = [
            "run w.json --new-rum -o a.csv",
            "head https://u:p@host.test/a --columns x",
            "head a.csv --columns",
            "x y z",
        ];
        for typed in cases {
            assert_eq!(corrected(typed), None, "{typed}");
        }
        for (flags, commands, flag) in FLAGS {
            for command in *commands {
                let value = match *flag {
                    "--preview" => "",
                    "--to" | "--from" => "csv",
                    "-o" => "ndjson",
                    _ => "1",
                };
                let what = if ["runs", "workflows"].contains(command) { "ls" } else { "a.csv" };
                let output = if ["pull", "sync"].contains(command) && *flag != "-o" { "-o b.csv" } else { "" };
                let line = format!("{command} {what} {output} {} {value}", flags[0]);
                assert!(corrected(&line).is_some_and(|meant| meant.contains(flag)), "{line}");
            }
        }
    }
}
