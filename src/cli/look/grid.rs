//! A table for people that fits a width: long cells end in an ellipsis, and columns in the middle are left out where not
//! even narrow ones fit. Text is escaped for the terminal here.

use std::io;

use anstyle::{Effects, Style};
use unicode_width::UnicodeWidthChar;

use crate::text::escape_for_terminal;

/// Blanks between columns.
const GAP: usize = 2;

/// A column is not narrowed below this width, or its own if that is less.
const MIN_WIDTH: usize = 6;

/// A column of numbers is not narrowed below its own width, up to this one: a number that is cut is another number.
const MIN_NUMBER_WIDTH: usize = 24;

const DIM: Style = Style::new().effects(Effects::DIMMED);

/// The head of a column.
#[derive(Clone, Debug)]
pub(in crate::cli) struct GridColumn {
    pub name: String,
    /// Shown below the name; empty for none.
    pub ty: String,
    /// Numbers are aligned to the right.
    pub right: bool,
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Cell {
    /// No value, shown dimmed as `null`.
    Null,
    /// Text as it is, or JSON.
    Text(String),
    /// Text that is formatted already; no quotes are added.
    Formatted(String),
}

/// A table of cells.
#[derive(Clone, Debug, Default)]
pub(in crate::cli) struct Grid {
    pub columns: Vec<GridColumn>,
    /// Rows of one cell per column.
    pub rows: Vec<Vec<Cell>>,
}

/// A grid as text.
pub(in crate::cli) struct Drawn {
    pub text: String,
    /// Names of the columns that did not fit.
    pub hidden: Vec<String>,
}

impl Grid {
    /// Draws the table within `width` columns; with its own width for `None`.
    pub(in crate::cli) fn draw(&self, width: Option<usize>) -> Drawn {
        if self.columns.is_empty() {
            return Drawn { text: String::new(), hidden: Vec::new() };
        }
        let has_types = self.columns.iter().any(|column| !column.ty.is_empty());
        let heads: Vec<[String; 2]> = self.columns.iter().map(|c| [shown(&c.name), shown(&c.ty)]).collect();
        let cells: Vec<Vec<String>> = self.rows.iter().map(|row| row.iter().map(cell_text).collect()).collect();
        let natural: Vec<usize> = (0..self.columns.len())
            .map(|i| {
                let head = heads[i].iter().map(|text| text_width(text)).max().unwrap_or(0);
                cells.iter().map(|row| text_width(&row[i])).fold(head.max(1), usize::max)
            })
            .collect();
        let least: Vec<usize> = (0..self.columns.len())
            .map(|i| match self.columns[i].right {
                true => cells.iter().map(|row| text_width(&row[i])).fold(1, usize::max).min(MIN_NUMBER_WIDTH),
                false => 1,
            })
            .collect();
        let (kept, widths) = match width {
            Some(width) => fit(&natural, &least, width),
            None => ((0..natural.len()).map(Some).collect(), natural),
        };
        let colored = anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never;
        let mut text = String::new();
        let mut line = |cell: &dyn Fn(usize) -> (String, bool), ellipsis: &str| {
            let mut drawn = String::new();
            for (at, column) in kept.iter().enumerate() {
                let gap = if at > 0 { " ".repeat(GAP) } else { String::new() };
                let (cut, width, right, dim) = match column {
                    Some(i) => {
                        let (text, dim) = cell(*i);
                        (cut(&text, widths[*i]), widths[*i], self.columns[*i].right, dim)
                    }
                    None => (ellipsis.to_owned(), 1, false, false),
                };
                let blanks = " ".repeat(width.saturating_sub(text_width(&cut)));
                let cut = if dim && colored { format!("{DIM}{cut}{DIM:#}") } else { cut };
                drawn.push_str(&gap);
                drawn.push_str(&if right { format!("{blanks}{cut}") } else { format!("{cut}{blanks}") });
            }
            text.push_str(drawn.trim_end());
            text.push('\n');
        };
        line(&|i| (heads[i][0].clone(), false), "…");
        if has_types {
            line(&|i| (heads[i][1].clone(), true), "");
        }
        line(&|i| ("─".repeat(widths[i]), true), "");
        for (row, texts) in self.rows.iter().zip(&cells) {
            line(&|i| (texts[i].clone(), row[i] == Cell::Null), "…");
        }
        let shown: Vec<usize> = kept.into_iter().flatten().collect();
        let hidden = (0..self.columns.len()).filter(|i| !shown.contains(i)).map(|i| heads[i][0].clone()).collect();
        Drawn { text, hidden }
    }
}

/// Returns the columns that are shown, `None` in the place of those that are not, and the widths of all: those of their texts,
/// or less, but no less than `least` if that fits.
fn fit(natural: &[usize], least: &[usize], width: usize) -> (Vec<Option<usize>>, Vec<usize>) {
    let narrowest = |i: usize| natural[i].min(MIN_WIDTH.max(least[i]));
    let n = natural.len();
    let of_columns = |shown: usize| -> Vec<Option<usize>> {
        // The first and the last columns, as most tables have their keys first and what was added last.
        let (first, last) = (shown.div_ceil(2), shown / 2);
        let hidden = (shown < n).then_some(None);
        (0..first).map(Some).chain(hidden).chain((n - last..n).map(Some)).collect()
    };
    let room = |kept: &[Option<usize>]| {
        let others = kept.iter().filter(|column| column.is_none()).count();
        width.saturating_sub(GAP * kept.len().saturating_sub(1) + others)
    };
    let sum =
        |kept: &[Option<usize>], of: &dyn Fn(usize) -> usize| kept.iter().flatten().map(|i| of(*i)).sum::<usize>();
    let kept = (1..=n).rev().map(of_columns).find(|kept| sum(kept, &narrowest) <= room(kept));
    let kept = kept.unwrap_or_else(|| of_columns(n.min(1)));
    let free = room(&kept);
    // Not even one column fits as it should: it is cut.
    let is_cut = sum(&kept, &narrowest) > free;
    let narrowed = |i: usize, most: usize| match is_cut {
        true => natural[i].min(most),
        false => natural[i].min(most.max(least[i])),
    };
    // The widest that leaves room for all; what is left over goes to the first that are cut.
    let widest = kept.iter().flatten().map(|i| natural[*i]).max().unwrap_or(1);
    let most = (1..=widest).rev().find(|most| sum(&kept, &|i| narrowed(i, *most)) <= free).unwrap_or(1);
    let mut left = free.saturating_sub(sum(&kept, &|i| narrowed(i, most)));
    let mut widths = natural.to_vec();
    for i in kept.iter().copied().flatten() {
        widths[i] = narrowed(i, most);
        if natural[i] > widths[i] && left > 0 {
            widths[i] += 1;
            left -= 1;
        }
    }
    (kept, widths)
}

/// Returns the text of a cell. Text that could be taken for something else is in quotes.
fn cell_text(cell: &Cell) -> String {
    match cell {
        Cell::Null => "null".to_owned(),
        Cell::Text(text) if text.is_empty() || text == "null" || text.trim() != text || is_quoted(text) => quoted(text),
        Cell::Text(text) | Cell::Formatted(text) => shown(text),
    }
}

/// Returns true for a text that would be taken for another one in quotes. JSON texts within values are none.
fn is_quoted(text: &str) -> bool {
    text.len() > 1 && text.starts_with('"') && text.ends_with('"')
}

/// Returns `text` in quotes; those within it are escaped.
pub(in crate::cli) fn quoted(text: &str) -> String {
    format!("\"{}\"", shown(&text.replace('"', "\\\"")))
}

/// Escapes `text` for a terminal, line breaks in the short form.
fn shown(text: &str) -> String {
    if !text.contains(['\n', '\r', '\t']) {
        return escape_for_terminal(text);
    }
    escape_for_terminal(&text.replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t"))
}

/// Returns the columns that `text` takes on a terminal.
fn text_width(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// Cuts `text` to a width, with an ellipsis if it is longer.
fn cut(text: &str, width: usize) -> String {
    if text_width(text) <= width {
        return text.to_owned();
    }
    let mut used = 0;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used < width
    };
    let mut start: String = text.chars().take_while(fits).collect();
    // Neither within an escape nor within a joined picture.
    let is_part = |rest: &str| rest == "\\" || rest.starts_with("\\u") && !rest.contains('}');
    if let Some(escape) = start.rfind('\\').filter(|escape| is_part(&start[*escape..])) {
        start.truncate(escape);
    }
    let whole = start.trim_end_matches('\u{200d}').len();
    start.truncate(whole);
    format!("{start}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(names: &[&str], rows: &[&[&str]]) -> Grid {
        let column = |name: &&str| GridColumn { name: (*name).to_owned(), ty: "text".to_owned(), right: false };
        let row = |row: &&[&str]| row.iter().map(|text| Cell::Text((*text).to_owned())).collect();
        Grid { columns: names.iter().map(column).collect(), rows: rows.iter().map(row).collect() }
    }

    #[test]
    fn every_line_fits_and_cut_cells_say_so() {
        let text = "a long text that goes on and on, much further than a line";
        let table = grid(&["id", "words", "more"], &[&["1", text, text], &["東京東京東京", "x\ny", "\u{1b}[31m"]]);
        for width in 20..200 {
            let drawn = table.draw(Some(width));
            assert!(drawn.text.lines().all(|line| text_width(line) <= width), "{width}:\n{}", drawn.text);
            assert!(drawn.hidden.is_empty() || width < 24, "{width}: {:?}", drawn.hidden);
            assert_eq!(drawn.text.contains(text), width >= text.len() * 2 + 12 + 2 * GAP - 1, "{width}");
        }
        let own = table.draw(None).text;
        assert!(own.contains(text) && own.contains("x\\ny") && own.contains("\\u{1b}[31m"), "{own}");
    }

    #[test]
    fn columns_in_the_middle_are_left_out_and_named() {
        let names: Vec<String> = (0..30).map(|i| format!("column_{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let drawn = grid(&names, &[&names]).draw(Some(80));
        assert!(drawn.text.lines().all(|line| text_width(line) <= 80), "{}", drawn.text);
        assert!(
            drawn.text.contains("colum…") && drawn.text.lines().last().unwrap().contains("  …  "),
            "{}",
            drawn.text
        );
        assert_eq!(drawn.hidden.len() + drawn.text.lines().next().unwrap().split_whitespace().count() - 1, 30);
        assert_eq!(drawn.hidden.first().map(String::as_str), Some("column_5"));
    }

    #[test]
    fn numbers_are_left_out_and_not_cut() {
        let names: Vec<String> = (0..12).map(|i| format!("column_{i}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let numbers = ["90071992547409931"; 12];
        let mut grid = grid(&names, &[&numbers]);
        grid.columns.iter_mut().skip(1).for_each(|column| column.right = true);
        for width in [20, 24, 40, 60, 80, 100] {
            let drawn = grid.draw(Some(width));
            assert!(drawn.text.lines().all(|line| text_width(line) <= width), "{}", drawn.text);
            // The first column is text, and may be cut.
            let shown: Vec<&str> = drawn.text.lines().last().unwrap().split_whitespace().skip(1).collect();
            assert!(shown.iter().all(|cell| *cell == numbers[0] || *cell == "…"), "{width}: {}", drawn.text);
            assert_eq!(shown.contains(&numbers[0]), width >= 40, "{width}: {}", drawn.text);
        }
    }

    #[test]
    fn joined_pictures_stay_and_escapes_are_not_cut() {
        let family = "👨\u{200d}👩\u{200d}👧 family";
        assert_eq!(grid(&["a"], &[&[family]]).draw(None).text.lines().last().unwrap(), family);
        assert!(grid(&["a"], &[&["a\u{200d}b"]]).draw(None).text.contains("a\\u{200d}b"), "no picture");
        let escaped = "ab\u{1b}[31mcd";
        for width in 1..20 {
            for text in [family, escaped] {
                let drawn = cut(&shown(text), width);
                assert!(text_width(&drawn) <= width, "{drawn}");
                assert_eq!(drawn.contains("\\u"), drawn.contains('}'), "{drawn}");
                assert!(!drawn.ends_with("\u{200d}…"), "{drawn}");
            }
        }
    }

    #[test]
    fn nulls_and_texts_that_look_like_them_differ() {
        let columns = grid(&["a"], &[]).columns;
        let texts = ["null", "", "\"null\"", "\"", "say \"null\""];
        let rows = texts.iter().map(|text| vec![Cell::Text((*text).to_owned())]);
        let rows: Vec<_> = std::iter::once(vec![Cell::Null]).chain(rows).collect();
        let drawn = Grid { columns, rows }.draw(None).text;
        let lines: Vec<&str> = drawn.lines().skip(3).collect();
        assert_eq!(lines.len(), 6);
        assert!(lines[0].contains("null") && !lines[0].contains('"'));
        assert_eq!(lines[1..], ["\"null\"", "\"\"", "\"\\\"null\\\"\"", "\"", "say \"null\""]);
    }
}
