//! Names in SQL, as far as systems agree on them: quoted, and read as they were typed.

/// Returns `name` as a quoted name of standard SQL.
#[cfg(any(feature = "postgres", feature = "sqlite"))]
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Returns the lines of the columns of a new table, from their quoted names and types.
pub(super) fn column_lines(columns: impl Iterator<Item = (String, String)>) -> String {
    let columns: Vec<(String, String)> = columns.collect();
    let width = columns.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let lines: Vec<String> = columns.iter().map(|(name, ty)| format!("    {name:<width$} {ty}")).collect();
    lines.join(",\n")
}

/// A part of a name of several parts with dots between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NamePart {
    /// The text without its quotes.
    pub(super) text: String,
    pub(super) is_quoted: bool,
}

/// Splits `text` at dots outside of quotes; each of `quotes` ends with itself and is doubled inside. `None` for text that is
/// no name: an empty part, a quote within a part or without an end, white space around a part, one of `refused` in it.
pub(super) fn name_parts(text: &str, quotes: &[char], refused: &[char]) -> Option<Vec<NamePart>> {
    let mut parts = Vec::new();
    let mut rest = text;
    loop {
        let (part, after) = match rest.chars().next()? {
            quote if quotes.contains(&quote) => {
                let mut text = String::new();
                let mut chars = rest.char_indices().skip(1).peekable();
                let end = loop {
                    match chars.next()? {
                        (_, c) if c == quote && chars.peek().is_some_and(|(_, next)| *next == quote) => {
                            chars.next();
                            text.push(quote);
                        }
                        (at, c) if c == quote => break at + 1,
                        (_, other) => text.push(other),
                    }
                };
                (NamePart { text, is_quoted: true }, &rest[end..])
            }
            _ => {
                let (text, after) = rest.split_at(rest.find('.').unwrap_or(rest.len()));
                if text.contains(quotes) || text.contains(refused) || text.trim() != text {
                    return None;
                }
                (NamePart { text: text.to_owned(), is_quoted: false }, after)
            }
        };
        if part.text.is_empty() {
            return None;
        }
        parts.push(part);
        match after.strip_prefix('.') {
            Some(more) => rest = more,
            None if after.is_empty() => return Some(parts),
            None => return None,
        }
    }
}
