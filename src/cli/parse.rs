//! The command line from words to arguments: with the help that people read, errors that are safe for a terminal, and tips.

use std::ffi::OsString;

use clap::FromArgMatches as _;

use super::args::Args;
use super::help;
use super::mistakes::with_tips;
use crate::text::escape_for_terminal;

/// Parses the command line. clap's errors quote the arguments, so a failed parse is repeated with escaped ones: nothing
/// that was typed can move the terminal's cursor.
pub(super) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Args, clap::Error> {
    let words: Vec<OsString> = words.into_iter().collect();
    try_parse(&words).map_err(|error| {
        let escaped: Vec<String> = words.iter().map(|word| escape_for_terminal(&word.to_string_lossy())).collect();
        match try_parse(&escaped) {
            Err(error) => with_tips(&escaped, error),
            // The escaped arguments are valid, so a raw character was the cause: escape the message instead.
            Ok(_) => {
                let text = error.to_string();
                let lines: Vec<String> = text.trim_start_matches("error: ").lines().map(escape_for_terminal).collect();
                clap::Error::raw(error.kind(), lines.join("\n") + "\n")
            }
        }
    })
}

/// Parses the command line with the help that people read.
fn try_parse<W: Into<OsString> + Clone>(words: &[W]) -> Result<Args, clap::Error> {
    let mut command = help::command();
    let matches = command.try_get_matches_from_mut(words.iter().cloned())?;
    Args::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typed_control_characters_are_escaped_in_errors() {
        let words = [
            vec!["\u{1b}[31mx"],
            vec!["convert", "--\u{1b}[31mx"],
            vec!["convert", "-", "--delimiter", "\u{1b}[31m\nhint: marked"],
            vec!["convert", "-", "--where"],
            vec!["runs", "ls", "--limit", "5\u{202e}"],
        ];
        for words in words {
            let typed = std::iter::once("drawoff").chain(words.iter().copied()).map(OsString::from);
            let text = parse(typed).unwrap_err().render().to_string();
            assert!(text.starts_with("error: "), "{text}");
            assert!(text.lines().all(|line| escape_for_terminal(line) == line), "{text:?}");
            assert!(!text.contains("\nhint: marked"), "{text:?}");
        }
        assert!(parse(["drawoff", "convert", "-", "-o", "x\u{1b}.csv"].map(OsString::from)).is_ok());
    }
}
