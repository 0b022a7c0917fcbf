//! Formatting of lists and items on standard output: as tables for people, as NDJSON or JSON for programs.

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::choices::ListFormat;
use super::error::{Error, Failure, STDOUT};
use super::look::Grid;
use super::print::{self, Screen};
use crate::text::{counted, escape_for_terminal, human_duration};

/// The widest first column that a terminal never breaks: an id has 36 characters.
const WHOLE_COLUMNS: usize = 40;

/// Writes `items` to standard output: as a table of the cells that `row` returns, as NDJSON, or as one JSON array. The
/// table is the same on a terminal and in a pipe, except for its width.
pub(super) fn write_list<T: Serialize>(
    format: ListFormat,
    items: &[T],
    headings: &[&str],
    row: impl Fn(&T) -> Vec<String>,
) -> Result<(), Failure> {
    let text = match format {
        ListFormat::Table => {
            let text = table(headings, items.iter().map(row));
            return print::write_paged(&text).map_err(|cause| Error::Write { path: STDOUT.into(), cause }.into());
        }
        ListFormat::Ndjson => items.iter().map(|item| json_line(item) + "\n").collect(),
        ListFormat::Json => pretty(&items) + "\n",
    };
    write_data(&text)
}

/// Writes one `item` to standard output: as lines of name and value from `rows`, or as JSON.
pub(super) fn write_item<T: Serialize>(format: ListFormat, item: &T, rows: Vec<(&str, String)>) -> Result<(), Failure> {
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

/// Formats a time of the API for people, relative to `now`: `12 s ago`, `3 d ago`. A time in the future, or in another form,
/// stays as it is.
pub(super) fn ago(time: &str, now: DateTime<Utc>) -> String {
    let Ok(then) = DateTime::parse_from_rfc3339(time) else { return time.to_owned() };
    let Ok(passed) = (now - then.to_utc()).to_std() else { return time.to_owned() };
    match passed.as_secs() {
        0..60 => format!("{} s ago", passed.as_secs()),
        60..172_800 => format!("{} ago", human_duration(passed)),
        seconds => format!("{} d ago", seconds / 86_400),
    }
}

/// Writes data to standard output, with errors that name it.
pub(super) fn write_data(text: &str) -> Result<(), Failure> {
    print::write_stdout(text).map_err(|cause| Error::Write { path: STDOUT.into(), cause }.into())
}

/// Writes a table that fits `width`, or else the terminal; in a pipe nothing is cut. Notes the columns that did not fit, and
/// how the user gets them, as an imperative.
pub(super) fn write_grid(screen: &Screen, grid: &Grid, width: Option<u16>, advice: &str) -> Result<(), Failure> {
    let of_terminal = || print::terminal_width().filter(|_| print::stdout_is_terminal());
    let drawn = grid.draw(width.or_else(of_terminal).map(usize::from));
    print::write_paged(&drawn.text).map_err(|cause| Error::Write { path: STDOUT.into(), cause })?;
    /// Names that are listed.
    const LISTED: usize = 8;
    if !drawn.hidden.is_empty() {
        let more = if drawn.hidden.len() > LISTED { ", …" } else { "" };
        let names: Vec<&str> = drawn.hidden.iter().take(LISTED).map(String::as_str).collect();
        screen.note(&format!(
            "{} of {} do not fit: {}{more}; {advice}",
            drawn.hidden.len(),
            counted(grid.columns.len() as u64, "column"),
            names.join(", ")
        ));
    }
    Ok(())
}

/// Formats `value` as JSON on one line, safe for terminals.
pub(super) fn json_line<T: Serialize>(value: &T) -> String {
    escape_json(&serde_json::to_string(value).expect("lists hold string keys and no failing parts"))
}

/// Formats `value` as indented JSON, safe for terminals.
pub(super) fn pretty<T: Serialize + ?Sized>(value: &T) -> String {
    escape_json(&serde_json::to_string_pretty(value).expect("lists hold string keys and no failing parts"))
}

/// Escapes the characters that a terminal must not receive as `\uXXXX`. JSON itself requires that of the C0 controls
/// only. The result is equal JSON, because such characters occur only in strings.
fn escape_json(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            ' '..='~' | '\n' => text.push(c),
            // UTF-16 units, because JSON writes characters beyond the basic plane as surrogate pairs.
            c if escape_for_terminal(c.encode_utf8(&mut [0; 4])).starts_with('\\') => {
                let mut units = [0; 2];
                c.encode_utf16(&mut units).iter().for_each(|unit| text.push_str(&format!("\\u{unit:04x}")));
            }
            c => text.push(c),
        }
    }
    text
}

/// Formats a table of cells, wrapped to the width of the terminal if standard output is one. The cells are escaped.
pub(super) fn table(headings: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    if let (true, Some(width)) = (print::stdout_is_terminal(), print::terminal_width()) {
        table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic).set_width(width);
    }
    table.set_header(headings);
    let mut widest = 0;
    for row in rows {
        widest = row.first().map_or(widest, |cell| cell.chars().count().max(widest));
        table.add_row(row.iter().map(|cell| escape_for_terminal(cell)));
    }
    // An id that is broken cannot be copied.
    if let (true, Some(first)) = (widest <= WHOLE_COLUMNS, table.column_mut(0)) {
        first.set_constraint(comfy_table::ColumnConstraint::ContentWidth);
    }
    // The library pads every line to the full width: trailing blanks would wrap and disturb copies.
    table.lines().map(|line| line.trim_end().trim_start_matches(' ').to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_relative_for_people() {
        let now = DateTime::parse_from_rfc3339("2026-11-30T12:00:00Z").unwrap().to_utc();
        let cases = [
            ("2026-11-30T11:59:48.5Z", "11 s ago"),
            ("2026-11-30T11:57:00Z", "3 min 0 s ago"),
            ("2026-11-30T09:56:00+00:00", "2 h 4 min ago"),
            ("2026-11-27T09:00:00Z", "3 d ago"),
            ("2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z"),
            ("yesterday", "yesterday"),
        ];
        for (time, expected) in cases {
            assert_eq!(ago(time, now), expected);
        }
    }

    #[test]
    fn escaped_json_is_equal_and_safe_for_terminals() {
        let value = serde_json::json!({"a": "\u{1b}\u{7f}\u{9b}31m\u{202e} Zürich \\ \" 東京 🦀", "b": [1]});
        for text in [json_line(&value), pretty(&value)] {
            assert!(text.lines().all(|line| escape_for_terminal(line) == line), "{text}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        }
    }
}
