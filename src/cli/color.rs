//! When text for people has colours, and which.
//!
//! `--color` decides first, then `NO_COLOR`, `CLICOLOR_FORCE` and `CLICOLOR`, then whether the stream is a terminal that
//! knows colours. The same holds for clap's help and errors. Colours never carry meaning alone.

use std::ffi::OsString;
use std::io;

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless NO_COLOR or CLICOLOR=0 is set; elsewhere only if CLICOLOR_FORCE is
    #[default]
    Auto,
    /// In files and pipes too
    Always,
    /// Never
    Never,
}

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// Puts the `--color` among `args` in force for the whole process. To be called before clap reads the arguments, whose
/// own errors and help have colours as well.
pub fn init(args: impl IntoIterator<Item = OsString>) {
    let choice = match from_args(args) {
        ColorChoice::Auto => anstream::ColorChoice::Auto,
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}

/// The last `--color WHEN` or `--color=WHEN`. A value that is none of ours is clap's to refuse.
fn from_args(args: impl IntoIterator<Item = OsString>) -> ColorChoice {
    let mut choice = ColorChoice::default();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        let value = match arg.to_str() {
            Some("--") => break,
            Some("--color") => args.next(),
            Some(arg) => arg.strip_prefix("--color=").map(OsString::from),
            None => None,
        };
        if let Some(said) = value.as_deref().and_then(|value| value.to_str()) {
            choice = ColorChoice::from_str(said, false).unwrap_or(choice);
        }
    }
    choice
}

/// A line of an error for standard error: its label coloured if standard error has colours.
pub fn error_line(line: &str) -> String {
    let styled = |label: &str, style: Style, rest: &str| format!("{style}{label}{style:#}{rest}");
    let label = |label: &'static str| line.strip_prefix(label).map(|rest| (label, rest));
    match (label("error:").or(label("internal error")), label("hint:")) {
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
    fn the_last_choice_before_the_end_of_flags_counts() {
        let choice = |line: &str| from_args(line.split(' ').map(OsString::from));
        assert_eq!(choice("drawoff runs ls"), ColorChoice::Auto);
        assert_eq!(choice("drawoff runs ls --color=always"), ColorChoice::Always);
        assert_eq!(choice("drawoff --color never runs ls"), ColorChoice::Never);
        assert_eq!(choice("drawoff --color never runs ls --color always"), ColorChoice::Always);
        assert_eq!(choice("drawoff convert -- --color=always"), ColorChoice::Auto);
        assert_eq!(choice("drawoff --color=sometimes runs ls"), ColorChoice::Auto);
    }
}
