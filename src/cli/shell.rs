//! Words as a shell's command line has them.

use std::fmt::Write as _;

use crate::text::escape_for_terminal;

/// `words` as one command line.
pub fn joined(words: impl IntoIterator<Item = String>) -> String {
    words.into_iter().map(|word| shell_quoted(&word)).collect::<Vec<_>>().join(" ")
}

/// `word` as one word of a shell's command line. What a terminal must not see is spelled out in `$'…'`, which all but
/// the plainest shells read.
pub fn shell_quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    if escape_for_terminal(word) != word {
        let mut quoted = String::from("$'");
        for c in word.chars() {
            match c {
                '\'' | '\\' => quoted.extend(['\\', c]),
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
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_back_what_was_quoted() {
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
