//! Colours of help and errors, chosen for the whole process before clap parses the arguments.
//!
//! `--color` decides first, then `NO_COLOR`, `CLICOLOR_FORCE` and `CLICOLOR`, then whether the stream is a terminal
//! with colours. clap's help and errors obey the same choice. A colour never carries meaning alone.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;

use anstyle::{AnsiColor, Style};
use clap::{ArgAction, CommandFactory, ValueEnum as _};

use super::args::Args;
use super::choices::ColorChoice;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// Applies the `--color` among `args` to the whole process. Must be called before clap parses the arguments, because
/// its errors and help are coloured as well.
pub(super) fn init(args: impl IntoIterator<Item = OsString>) {
    let choice = match from_args(args) {
        ColorChoice::Auto => anstream::ColorChoice::Auto,
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}

/// Returns true if standard output gets colours.
pub(super) fn of_stdout() -> bool {
    anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
}

/// Returns a text of clap for standard error, with colours if it gets them.
pub(super) fn styled_for_stderr(text: &clap::builder::StyledStr) -> String {
    match anstream::AutoStream::choice(&io::stderr()) {
        anstream::ColorChoice::Never => text.to_string(),
        _ => text.ansi().to_string(),
    }
}

/// Returns the line of the command that was probably meant.
pub(super) fn corrected_line(command: &str) -> String {
    error_line(&format!("try: {command}"))
}

/// Returns the last `--color WHEN` or `--color=WHEN` that is not the value of another flag. An unknown value is
/// skipped: clap refuses it later.
fn from_args(args: impl IntoIterator<Item = OsString>) -> ColorChoice {
    // clap is not asked to parse: its errors on other arguments must be coloured by this choice already.
    let flags = value_flags(&Args::command());
    let mut choice = ColorChoice::default();
    let mut args = args.into_iter().peekable();
    while let Some(arg) = args.next() {
        let value = match arg.to_str() {
            Some("--") => break,
            Some("--color") => args.next(),
            Some(arg) => match takes(&flags, arg) {
                Some(takes) => {
                    let is_value =
                        |next: &OsString| takes == FlagValues::Anything || !next.as_encoded_bytes().starts_with(b"-");
                    args.next_if(is_value);
                    None
                }
                None => arg.strip_prefix("--color=").map(OsString::from),
            },
            None => None,
        };
        if let Some(when) = value.as_deref().and_then(|value| value.to_str()) {
            choice = ColorChoice::from_str(when, false).unwrap_or(choice);
        }
    }
    choice
}

/// The words that a flag accepts as its value when the value is not joined by `=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FlagValues {
    /// Words that do not begin with a dash.
    Word,
    /// Any word, with a dash as well.
    Anything,
}

/// Collects the flags of `command` and its subcommands whose value is the next word.
fn value_flags(command: &clap::Command) -> HashMap<String, FlagValues> {
    let mut flags = HashMap::new();
    for arg in command.get_arguments() {
        let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
        if arg.is_positional() || !takes_value || arg.is_require_equals_set() {
            continue;
        }
        let takes = if arg.is_allow_hyphen_values_set() { FlagValues::Anything } else { FlagValues::Word };
        let long = arg.get_long().map(|long| format!("--{long}"));
        for flag in long.into_iter().chain(arg.get_short().map(|short| format!("-{short}"))) {
            flags.insert(flag, takes);
        }
    }
    // Commands may have different flags of one name: the one that accepts more words counts.
    for (flag, takes) in command.get_subcommands().flat_map(value_flags) {
        let known = flags.entry(flag).or_insert(takes);
        if takes == FlagValues::Anything {
            *known = takes;
        }
    }
    flags
}

/// Returns the kind of word that `arg` takes as its value; `None` if it takes none or has it joined.
fn takes(flags: &HashMap<String, FlagValues>, arg: &str) -> Option<FlagValues> {
    if arg.starts_with("--") {
        return flags.get(arg).copied();
    }
    // Combined short flags: the first one with a value takes the rest of the word, or the next word if nothing is left.
    let shorts = arg.strip_prefix('-')?;
    let (i, found) =
        shorts.char_indices().find_map(|(i, c)| Some((i + c.len_utf8(), *flags.get(&format!("-{c}"))?)))?;
    (i == shorts.len()).then_some(found)
}

/// Colours the label of an error line, if standard error has colours.
pub(super) fn error_line(line: &str) -> String {
    let styled = |label: &str, style: Style, rest: &str| format!("{style}{label}{style:#}{rest}");
    let label = |label: &'static str| line.strip_prefix(label).map(|rest| (label, rest));
    match (label("error:").or(label("internal error")), label("hint:").or(label("try:"))) {
        _ if anstream::AutoStream::choice(&io::stderr()) == anstream::ColorChoice::Never => line.to_owned(),
        (Some((label, rest)), _) => styled(label, ERROR, rest),
        (_, Some((label, rest))) => styled(label, HINT, rest),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_color_flag_before_the_double_dash_counts() {
        let choice = |line: &str| from_args(line.split(' ').map(OsString::from));
        assert_eq!(choice("drawoff runs ls"), ColorChoice::Auto);
        assert_eq!(choice("drawoff runs ls --color=always"), ColorChoice::Always);
        assert_eq!(choice("drawoff --color never runs ls"), ColorChoice::Never);
        assert_eq!(choice("drawoff --color never runs ls --color always"), ColorChoice::Always);
        assert_eq!(choice("drawoff convert -- --color=always"), ColorChoice::Auto);
        assert_eq!(choice("drawoff --color=sometimes runs ls"), ColorChoice::Auto);
    }

    #[test]
    fn values_of_other_flags_are_not_color_flags() {
        let choice = |line: &str| from_args(line.split(' ').map(OsString::from));
        assert_eq!(choice("drawoff convert a --where --color=always -o b"), ColorChoice::Auto);
        assert_eq!(choice("drawoff convert a --null --color=always --color=never"), ColorChoice::Never);
        assert_eq!(choice("drawoff convert a --where=x --color=always"), ColorChoice::Always);
        // These take no word that looks like a flag, or none at all.
        assert_eq!(choice("drawoff convert a -o --color=always"), ColorChoice::Always);
        assert_eq!(choice("drawoff convert a -qo x --color=always"), ColorChoice::Always);
        assert_eq!(choice("drawoff convert a --flatten --color=always"), ColorChoice::Always);
    }
}
