//! Tips for mistakes on the command line: the next command, in place of suggestions by spelling alone. A flag that costs
//! money or means another thing is never suggested for a word that is not a misspelling of it.

use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::shell::shell_quoted;
use crate::text::nearest;

/// The text for a command line without words.
pub(super) const START: &str = "\
drawoff brings the results of workflow runs into files and tables.

  drawoff init demo                      write a workflow and a sample input, to begin with
  drawoff head FILE                      look at the first rows of a file, URL, pipe or run
  drawoff convert FILE -o FILE.parquet   convert files, without an account
  drawoff run WORKFLOW -o FILE           start a run, watch it, and write its results
  drawoff doctor                         check key, network and disk

All commands: `drawoff --help`. Flags and examples of one: `drawoff COMMAND -h`.
";

/// Flags that are suggested only for a misspelling of themselves: they cost money, or do what is not easily undone.
const NOT_SUGGESTED: [&str; 9] = [
    "--new-run",
    "--retry-failed",
    "--again",
    "--explode",
    "--cancel-on-interrupt",
    "--insecure-http",
    "--no-state",
    "--rows-per-run",
    "--bytes-per-run",
];

/// Flags of other tools: the flag, the commands to which the tip applies (none for all), and the tip.
const OTHER_FLAGS: &[(&[&str], &[&str], &str)] = &[
    (&["--dry-run", "--plan-only"], &["convert"], "`--preview` shows what would come out and writes nothing"),
    (&["--dry-run"], &["pull", "sync"], "`drawoff runs links RUN` lists the files, and `drawoff head RUN` shows rows"),
    (&["--exclude", "--except", "--omit", "--ignore"], &[], "leave columns out with `--drop COLS`"),
    (&["--columns", "--cols", "--include", "--project"], &[], "choose columns with `--select COLS`"),
    (&["--filter", "--condition"], &[], "keep rows with `--where EXPR`"),
    (
        &["--format", "--output-format", "--out-format", "--type"],
        &["convert", "sync", "bulk"],
        "the format of an output is `--to FORMAT`, that of an input `--from FORMAT`",
    ),
    (
        &["--format", "--output-format", "--json", "--csv"],
        &["head", "stats", "runs", "workflows"],
        "`-o ndjson` is for programs",
    ),
    (
        &["--key", "--token", "--api-key"],
        &[],
        "set SIXTYFOUR_API_KEY, or use `--api-key-file FILE`: a flag could be read by other users",
    ),
    (&["--out", "--output-file", "--dest", "--destination", "--to-file", "--outfile"], &[], "the output is `-o OUT`"),
    (
        &["--sep", "--separator", "--delim", "--fs"],
        &[],
        "the delimiter of CSV inputs is `--in-delimiter`, that of outputs `--delimiter`",
    ),
    (&["--force", "--overwrite", "--yes"], &[], "files are replaced unless `--no-clobber` is given"),
    (&["--sort", "--order-by", "--sort-by"], &[], "sort with `--sql \"SELECT * FROM results ORDER BY ...\"`"),
    (&["--lines", "--count", "--num"], &["head"], "the number of rows is `-n N`"),
    (&["-c", "--bytes"], &["head"], "`-n N` counts rows; rows are never cut by bytes"),
    (&["-f"], &["head", "stats", "schema", "explain"], "the format of the inputs is `--from FORMAT`"),
    (&["--query"], &[], "query the rows with `--sql QUERY`"),
    (
        &["--head", "--top", "--first", "--max-rows"],
        &["convert", "run", "pull"],
        "keep the first rows with `--limit N`",
    ),
    (&["--resume", "--continue"], &[], "the same command resumes by itself"),
];

/// Words that other tools have as commands, with the tip.
const OTHER_COMMANDS: &[(&[&str], &str)] = &[
    (&["ls", "list"], "`drawoff runs ls` lists runs, `drawoff workflows ls` workflows, `drawoff loads ls URL` loads"),
    (&["status", "watch", "cancel", "links"], "that is a command of `drawoff runs`, such as `drawoff runs status RUN`"),
    (&["download", "get", "fetch", "results", "export"], "write the results of a run with `drawoff pull RUN -o OUT`"),
    (&["start", "exec", "execute", "submit"], "start a run with `drawoff run WORKFLOW --input FILE -o OUT`"),
    (&["login", "auth", "configure", "key"], "set SIXTYFOUR_API_KEY; `drawoff doctor` checks it"),
    (&["health", "check", "test", "diagnose", "ping", "status-check"], "`drawoff doctor` checks key, network and disk"),
    (&["view", "show", "cat", "preview", "peek", "less"], "`drawoff head SRC` shows the first rows"),
    (&["tail"], "`drawoff convert SRC -o - --to ndjson | tail` shows the last rows"),
    (&["info", "inspect", "columns"], "`drawoff schema SRC` has columns and types, `drawoff stats SRC` statistics"),
    (&["version"], "`drawoff --version` prints the version"),
    (&["describe", "summary", "summarize", "profile", "count"], "`drawoff stats SRC` has statistics of every column"),
    (&["query", "sql", "select"], "query a file with `drawoff convert FILE -o - --sql \"SELECT ... FROM results\"`"),
    (&["import", "load", "copy", "insert"], "load a table with `drawoff convert FILE -o postgres://... --into TABLE`"),
    (&["to", "transform", "cp"], "`drawoff convert FILE -o OUT` converts"),
    (&["new", "create", "quickstart", "example"], "`drawoff init` writes a workflow and a sample input"),
    (&["server", "mock", "local"], "`drawoff serve` runs the local service"),
];

/// Completes an error of clap with the next command, and removes suggestions that mislead. `words` is the command line.
pub(super) fn with_tips(words: &[String], mut error: clap::Error) -> clap::Error {
    let text = |error: &clap::Error, kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let command = words.iter().skip(1).find(|word| !word.starts_with('-')).map_or("", String::as_str);
    let tip = match error.kind() {
        ErrorKind::UnknownArgument => {
            let typed = text(&error, ContextKind::InvalidArg).unwrap_or_default();
            let typed = typed.split('=').next().unwrap_or_default();
            if let Some(suggested) = text(&error, ContextKind::SuggestedArg)
                && is_costly(&suggested)
                && nearest(typed, [suggested.as_str()]).is_none()
            {
                error.remove(ContextKind::SuggestedArg);
                error.remove(ContextKind::Usage);
            }
            // "To pass it as a value" is not what was meant.
            error.remove(ContextKind::Suggested);
            flag_tip(command, typed)
        }
        ErrorKind::InvalidSubcommand => {
            let typed = text(&error, ContextKind::InvalidSubcommand).unwrap_or_default();
            command_tip(command, &typed)
        }
        ErrorKind::MissingRequiredArgument => missing_tip(command),
        _ => None,
    };
    if let Some(tip) = tip {
        error.remove(ContextKind::SuggestedArg);
        error.remove(ContextKind::SuggestedSubcommand);
        if error.kind() == ErrorKind::UnknownArgument {
            // It names the flag that was suggested.
            error.remove(ContextKind::Usage);
        }
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    error
}

/// Returns true for a flag that costs money, or does what is not easily undone.
pub(super) fn is_costly(flag: &str) -> bool {
    NOT_SUGGESTED.contains(&flag.split([' ', '=']).next().unwrap_or(flag))
}

/// Returns true for a word that names a file, a URL, or standard input.
pub(super) fn is_source(word: &str) -> bool {
    word.contains("://") || word == "-" || Path::new(word).exists() || Path::new(word).extension().is_some()
}

fn flag_tip(command: &str, typed: &str) -> Option<String> {
    // As of `head` and `tail` in a shell.
    if command == "head"
        && let Some(rows) =
            typed.strip_prefix('-').filter(|rows| !rows.is_empty() && rows.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return Some(format!("the number of rows is `-n {rows}`"));
    }
    let applies = |commands: &[&str]| commands.is_empty() || commands.contains(&command);
    let found = OTHER_FLAGS.iter().find(|(flags, commands, _)| flags.contains(&typed) && applies(commands));
    found.map(|(.., tip)| (*tip).to_owned())
}

/// Returns the tip for a word that is no command: a file, or a command of another tool.
fn command_tip(command: &str, typed: &str) -> Option<String> {
    // A word below another command, such as `runs list-all`, is misspelled only.
    if command != typed {
        return None;
    }
    if is_source(typed) {
        let file = shell_quoted(typed);
        let definition =
            if typed.ends_with(".json") { format!("run it with `drawoff run {file} -o OUT`, ") } else { String::new() };
        return Some(format!(
            "{definition}look at it with `drawoff head {file}`, or convert it with `drawoff convert {file} -o OUT`"
        ));
    }
    let found = OTHER_COMMANDS.iter().find(|(words, _)| words.contains(&typed));
    found.map(|(_, tip)| (*tip).to_owned())
}

/// Returns the tip for a command without what it works on.
fn missing_tip(command: &str) -> Option<String> {
    let tip = match command {
        "run" => {
            "name a definition file or a workflow, which `drawoff workflows ls` lists; `drawoff init` writes one to begin with"
        }
        "pull" => "name a run, which `drawoff runs ls` lists: `drawoff pull RUN -o OUT`",
        "sync" => "name a workflow, which `drawoff workflows ls` lists: `drawoff sync WORKFLOW -o OUT`",
        "convert" => "name a file, a URL, or `-` for standard input: `drawoff convert people.ndjson -o people.parquet`",
        "head" | "stats" | "schema" | "explain" => {
            "name a file, a URL, a run, or `-` for standard input: `drawoff head people.ndjson`"
        }
        "upload" => "name a file: `drawoff upload companies.csv`",
        _ => return None,
    };
    Some(tip.to_owned())
}

/// Returns the file of the directory whose name is nearest to that of `path`, as it would be typed.
pub(super) fn nearest_file(path: &Path) -> Option<String> {
    /// Names that are compared; a directory may have millions.
    const COMPARED: usize = 10_000;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let entries = std::fs::read_dir(directory.unwrap_or(Path::new("."))).ok()?;
    let names = entries.take(COMPARED).filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let names: Vec<String> = names.collect();
    let near = nearest(path.file_name()?.to_str()?, names.iter().map(String::as_str))?;
    Some(path.with_file_name(near).to_string_lossy().into_owned())
}

/// Returns the hint for a file that does not exist: the name in its directory that is nearest to it.
pub(super) fn near_file(path: &Path) -> Option<String> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let typed = path.file_name()?.to_str()?;
    if !directory.is_dir() {
        return Some(format!("there is no directory {}", directory.display()));
    }
    let is_id = (4..=36).contains(&typed.len()) && typed.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let Some(near) = nearest_file(path) else {
        return is_id.then(|| {
            "of a run, specify the whole id: `drawoff runs ls` lists them, and `drawoff head RUN` shows rows".to_owned()
        });
    };
    Some(format!("did you mean {}?", shell_quoted(&near)))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::args::Args;

    #[test]
    fn tips_name_commands_and_flags_that_exist() {
        let args = Args::command();
        let commands: Vec<&str> = args.get_subcommands().map(clap::Command::get_name).collect();
        for (words, tip) in OTHER_COMMANDS {
            assert!(words.iter().all(|word| !commands.contains(word)), "{words:?} has a command");
            for named in tip.split("`drawoff ").skip(1).filter_map(|rest| rest.split([' ', '`']).next()) {
                assert!(commands.contains(&named) || named == "--version", "{named}");
            }
        }
        let mut flags: Vec<String> = Vec::new();
        for command in args.get_subcommands().chain([&args]) {
            flags.extend(command.get_arguments().filter_map(|arg| arg.get_long()).map(|long| format!("--{long}")));
        }
        for (_, of, tip) in OTHER_FLAGS {
            assert!(of.iter().all(|command| commands.contains(command)), "{of:?}");
            for named in tip.split("`--").skip(1).filter_map(|rest| rest.split([' ', '`']).next()) {
                assert!(flags.contains(&format!("--{named}")), "--{named}");
            }
        }
        assert!(NOT_SUGGESTED.iter().all(|flag| flags.iter().any(|known| known == flag)));
    }
}
