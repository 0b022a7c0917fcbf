//! First rows of an input or a result, as a table with the kinds of the values.

use super::pieces;
use crate::service::page::html::Html;
use crate::service::preview::Preview;

/// Rows to show: those that were read, or the reason for their absence.
pub(in crate::service::page) enum Shown {
    /// First rows, and the number of all if it is known.
    Rows { preview: Preview, total: Option<u64> },
    /// Nothing to show: a text for people.
    Nothing(String),
}

/// Renders the page of the rows alone. The pages of runs take its element `rows`.
pub(in crate::service::page) fn rows(title: &str, shown: &Shown) -> Html {
    let mut table = Html::default();
    table.tag("<div id=\"rows\">");
    match shown {
        Shown::Nothing(text) => {
            table.tag("<p class=\"soft\">").text(text).tag("</p>");
        }
        Shown::Rows { preview, total } => {
            let n = preview.rows.len() as u64;
            table.tag("<p class=\"soft\">");
            match total {
                Some(total) if *total != n => {
                    table.tag("The first ").text(n).tag(" of ").text(pieces::rows(*total)).tag(".")
                }
                Some(_) => table.text(pieces::rows(n)).tag(n_end(n)),
                None => table.tag("The first rows, ").text(n).tag(" at most."),
            };
            if preview.columns_left_out > 0 {
                table.tag(" Columns left out: ").text(preview.columns_left_out).tag(".");
            }
            table.tag("</p>");
            if n > 0 {
                table_of(&mut table, title, preview);
            }
        }
    }
    table.tag("</div>");
    message_with(title, table)
}

fn n_end(n: u64) -> &'static str {
    if n == 0 { "." } else { ", all of them." }
}

fn table_of(body: &mut Html, title: &str, preview: &Preview) {
    body.tag("<div class=\"scroll\" role=\"group\" tabindex=\"0\" aria-label=\"")
        .text(title)
        .tag("\"><table class=\"data\">");
    body.tag("<thead><tr><th scope=\"col\" class=\"n\"><span class=\"unseen\">Row</span></th>");
    for column in &preview.columns {
        body.tag("<th scope=\"col\">")
            .text(&column.name)
            .tag("<br><span class=\"kind\">")
            .text(column.kind)
            .tag("</span></th>");
    }
    body.tag("</tr></thead><tbody>");
    for (i, row) in preview.rows.iter().enumerate() {
        body.tag("<tr><td class=\"n soft\">").text(i + 1).tag("</td>");
        for cell in row {
            match cell {
                None => body.tag("<td></td>"),
                Some(cell) if cell.kind == "null" => body.tag("<td class=\"soft\">null</td>"),
                Some(cell) if cell.kind == "integer" || cell.kind == "number" => {
                    body.tag("<td class=\"n\">").text(&cell.text).tag("</td>")
                }
                Some(cell) => body.tag("<td>").text(&cell.text).tag("</td>"),
            };
        }
        body.tag("</tr>");
    }
    body.tag("</tbody></table></div>");
}

fn message_with(title: &str, table: Html) -> Html {
    let mut body = Html::default();
    body.tag("<h1>").text(title).tag("</h1>").html(table);
    super::document::still(title, body)
}
