//! Quoting of words for a shell's command line, for the commands that hints print.

use std::fmt::Write as _;

use crate::text::escape_for_terminal;

/// Joins `words` into one command line, each quoted where a shell needs it.
pub(super) fn joined(words: impl IntoIterator<Item = String>) -> String {
    words.into_iter().map(|word| shell_quoted(&word)).collect::<Vec<_>>().join(" ")
}

/// Quotes `word` as one word of a shell's command line. Characters that must not reach a terminal are escaped in
/// `$'…'`, which bash, zsh, ksh and BusyBox's ash read and a plain POSIX `sh` may not.
pub(super) fn shell_quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    if escape_for_terminal(word) != word {
        let mut quoted = String::from("$'");
        for c in word.chars() {
            match c {
                '\'' | '\\' => quoted.extend(['\\', c]),
                // As UTF-8 bytes: `\u` would depend on the shell's locale.
                c if escape_for_terminal(c.encode_utf8(&mut [0; 4])).starts_with("\\u") => {
                    for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                        let _ = write!(quoted, "\\x{byte:02x}");
                    }
                }
                c => quoted.push(c),
            }
        }
        return quoted + "'";
    }
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bash_reads_quoted_words_back() {
        for word in ["", "a b", "it's", "$HOME `x` \\ \"", "Zürich", "tab\there", "red \u{1b}[31m's \\ \u{202e}"] {
            let quoted = shell_quoted(word);
            assert_eq!(escape_for_terminal(&quoted), quoted);
            let Ok(echoed) = std::process::Command::new("bash").arg("-c").arg(format!("printf %s {quoted}")).output()
            else {
                return;
            };
            assert_eq!(String::from_utf8_lossy(&echoed.stdout), word, "{quoted}");
        }
    }
}
