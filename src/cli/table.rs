//! Lists for people and for programs.

use serde::Serialize;

use super::choices::ListFormat;
use super::error::{Error, Failure, STDOUT};
use super::print;
use crate::text::escape_for_terminal;

/// Writes `items` to standard output: as a table of the cells that `row` makes, as NDJSON, or as one JSON array. The
/// table is the same on a terminal and in a pipe, save for its width.
pub fn write_list<T: Serialize>(
    format: ListFormat,
    items: &[T],
    headings: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> Result<(), Failure> {
    let text = match format {
        ListFormat::Table => table(headings, items.iter().map(row)),
        ListFormat::Ndjson => items.iter().map(|item| json_line(item) + "\n").collect(),
        ListFormat::Json => pretty(&items) + "\n",
    };
    write_data(&text)
}

/// Writes one `item`: as lines of name and value, or as JSON.
pub fn write_item<T: Serialize>(format: ListFormat, item: &T, rows: Vec<(&str, String)>) -> Result<(), Failure> {
    let text = match format {
        ListFormat::Table => {
            let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
            rows.iter().map(|(name, value)| format!("{name:width$}  {}\n", escape_for_terminal(value))).collect()
        }
        ListFormat::Ndjson => json_line(item) + "\n",
        ListFormat::Json => pretty(item) + "\n",
    };
    write_data(&text)
}

/// Data to standard output.
pub fn write_data(text: &str) -> Result<(), Failure> {
    print::write_stdout(text).map_err(|cause| Error::Write { path: STDOUT.into(), cause }.into())
}

/// One line of JSON.
pub fn json_line<T: Serialize>(value: &T) -> String {
    harmless(&serde_json::to_string(value).expect("lists hold string keys and no failing parts"))
}

/// JSON for people.
pub fn pretty<T: Serialize + ?Sized>(value: &T) -> String {
    harmless(&serde_json::to_string_pretty(value).expect("lists hold string keys and no failing parts"))
}

/// The same JSON, with what a terminal must not see spelled out: JSON itself demands it of some control characters
/// only. Such characters stand in strings and nowhere else.
fn harmless(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            ' '..='~' | '\n' => text.push(c),
            c if escape_for_terminal(c.encode_utf8(&mut [0; 4])).starts_with('\\') => {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
            }
            c => text.push(c),
        }
    }
    text
}

/// A table of cells for people, cut to the terminal's width if there is one.
pub fn table(headings: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    if let (true, Some(width)) = (print::stdout_is_terminal(), print::terminal_width()) {
        table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic).set_width(width);
    }
    table.set_header(headings);
    for row in rows {
        table.add_row(row.iter().map(|cell| escape_for_terminal(cell)));
    }
    // The library fills every line with blanks up to the width of its column.
    table.lines().map(|line| line.trim_end().trim_start_matches(' ').to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_moves_no_cursor_and_stays_the_same() {
        let value = serde_json::json!({"a": "\u{1b}\u{7f}\u{9b}31m\u{202e} Zürich \\ \" 東京 🦀", "b": [1]});
        for text in [json_line(&value), pretty(&value)] {
            assert!(text.lines().all(|line| escape_for_terminal(line) == line), "{text}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        }
    }
}
