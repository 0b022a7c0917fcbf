//! The command line from words to arguments: with the help that people read, errors that are safe for a terminal, and tips.

use std::ffi::OsString;

use super::args::Args;
use super::corrected::after_usage_error;
use super::help::try_parse;
use super::mistakes::with_tips;
use crate::text::escape_for_terminal;

/// A command line that was refused, or that asked for help.
#[derive(Debug)]
pub(super) struct Refused {
    pub error: clap::Error,
    /// The command line that was probably meant.
    pub corrected: Option<String>,
}

/// Parses the command line. clap's errors quote the arguments, so a failed parse is repeated with escaped ones: nothing
/// that was typed can move the terminal's cursor.
pub(super) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Args, Refused> {
    let words: Vec<OsString> = words.into_iter().collect();
    try_parse(&words).map_err(|error| {
        let escaped: Vec<String> = words.iter().map(|word| escape_for_terminal(&word.to_string_lossy())).collect();
        match try_parse(&escaped) {
            Err(error) => {
                // An escaped word is another one.
                let is_typed = escaped.iter().zip(&words).all(|(escaped, word)| word == escaped.as_str());
                let corrected = is_typed.then(|| after_usage_error(&escaped, &error)).flatten();
                Refused { error: with_tips(&escaped, error), corrected }
            }
            // The escaped arguments are valid, so a raw character was the cause: escape the message instead.
            Ok(_) => {
                let text = error.to_string();
                let lines: Vec<String> = text.trim_start_matches("error: ").lines().map(escape_for_terminal).collect();
                Refused { error: clap::Error::raw(error.kind(), lines.join("\n") + "\n"), corrected: None }
            }
        }
    })
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
            let text = parse(typed).unwrap_err().error.render().to_string();
            assert!(text.starts_with("error: "), "{text}");
            assert!(text.lines().all(|line| escape_for_terminal(line) == line), "{text:?}");
            assert!(!text.contains("\nhint: marked"), "{text:?}");
        }
        assert!(parse(["drawoff", "convert", "-", "-o", "x\u{1b}.csv"].map(OsString::from)).is_ok());
    }
}
