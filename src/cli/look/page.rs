//! Statistics as one page for a browser: no scripts, no requests, light and dark. Everything from outside is escaped.

use std::fmt::Write as _;

use super::statistics::{distinct_text, length_text, mean_text, nulls_text, short};
use crate::column::statistics::{ColumnSummary, Histogram, ValueKind};
use crate::text::{counted, human_count};

/// Columns of statistics that are shown. Thousands would make a page that no browser shows.
const MAX_CARDS: usize = 500;

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1c2430;--dim:#5b6675;--line:#d9dee5;--page:#f7f8fa;--card:#fff;--bar:#3b76c4;--null:#c9ced6}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--dim:#9aa5b4;--line:#313a46;--page:#14181e;--card:#1c222a;--bar:#6fa3e6;--null:#454f5c}}
*{box-sizing:border-box}body{margin:0;padding:2rem 1rem 4rem;background:var(--page);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:72rem;margin:auto}h1{font-size:1.4rem;margin:0 0 .2rem;overflow-wrap:anywhere}p{color:var(--dim);margin:.2rem 0 1.4rem}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(20rem,1fr));gap:1rem}
section{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:1rem;min-width:0}
h2{font-size:1rem;margin:0;overflow-wrap:anywhere}h2 span{font-weight:400;color:var(--dim);font-size:.85rem;margin-left:.5rem}
dl{display:grid;grid-template-columns:auto 1fr;gap:.1rem .8rem;margin:.7rem 0 0;font-size:.88rem}dt{color:var(--dim)}
dd{margin:0;text-align:right;font-variant-numeric:tabular-nums;overflow-wrap:anywhere}
.fill{height:6px;border-radius:3px;background:var(--null);margin:.6rem 0 0;overflow:hidden}.fill i{display:block;height:100%;background:var(--bar)}
figure{margin:.8rem 0 0}svg{display:block;width:100%;height:72px}rect{fill:var(--bar)}
figcaption{display:flex;justify-content:space-between;gap:1rem;color:var(--dim);font-size:.78rem;font-variant-numeric:tabular-nums}
";

/// Returns the page for `columns` of `rows` rows from the sources `name`.
pub(in crate::cli) fn statistics_page(name: &str, columns: &[ColumnSummary], rows: u64) -> String {
    let title = escape(name);
    let counts = format!("{}, {}", counted(rows, "row"), counted(columns.len() as u64, "column"));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\n\
         <meta http-equiv=\"content-security-policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n<p>{counts}; {}</p>\n<div class=\"cards\">\n",
        escape(&accuracy(columns)),
    );
    columns.iter().take(MAX_CARDS).for_each(|column| card(column, &mut page));
    page.push_str("</div>\n");
    if columns.len() > MAX_CARDS {
        let rest = columns.len() - MAX_CARDS;
        let _ =
            writeln!(page, "<p>{} more are not shown; choose them with --select</p>", counted(rest as u64, "column"));
    }
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

/// Says which of the numbers are estimates.
pub(in crate::cli) fn accuracy(columns: &[ColumnSummary]) -> String {
    let distinct = columns.iter().any(|column| !column.distinct_is_exact);
    let ranges = columns.iter().filter_map(|column| column.range.as_ref().map(|range| range.rank_error));
    let lengths = columns.iter().filter_map(|column| column.lengths.as_ref().map(|lengths| lengths.rank_error));
    let rank = ranges.chain(lengths).fold(0.0, f64::max);
    let mut parts = Vec::new();
    if distinct {
        parts.push("~ marks an estimate of distinct values, within 2 % in 98 of 100 cases".to_owned());
    }
    if rank > 0.0 {
        // "At most" is rounded up.
        let percent = (rank * 1e4).ceil() / 100.0;
        parts.push(format!("quantiles are values at most {percent:.2} % of the rows away from the exact ones"));
    }
    if parts.is_empty() { "all numbers are exact".to_owned() } else { parts.join("; ") }
}

fn card(column: &ColumnSummary, page: &mut String) {
    let filled = if column.rows() == 0 { 0.0 } else { column.values as f64 / column.rows() as f64 * 100.0 };
    let _ = write!(
        page,
        "<section>\n<h2>{}<span>{}</span></h2>\n<div class=\"fill\"><i style=\"width:{filled:.2}%\"></i></div>\n<dl>",
        escape(&column.path),
        escape(&column.ty.outline()),
    );
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = write!(page, "<dt>{name}</dt><dd>{}</dd>", escape(&value));
        }
    };
    fact("null or absent", nulls_text(column));
    fact("distinct", distinct_text(column).unwrap_or_default());
    if let Some(range) = &column.range {
        let quantile = |i: usize| range.quantiles.get(i).map(|text| short(text, range.kind)).unwrap_or_default();
        fact("least", short(&range.min, range.kind));
        fact("quarters", format!("{} · {} · {}", quantile(2), quantile(3), quantile(4)));
        fact("greatest", short(&range.max, range.kind));
    }
    if let Some((min, max)) = &column.text_bounds {
        fact("least", min.clone());
        fact("greatest", max.clone());
    }
    fact("mean", mean_text(column));
    if column.not_finite > 0 {
        fact("not finite", human_count(column.not_finite));
    }
    let of = if column.ty.is_text_like() { "characters" } else { "elements" };
    fact(of, length_text(column));
    if !column.examples.is_empty() {
        fact("such as", column.examples.join(", "));
    }
    page.push_str("</dl>\n");
    match (&column.range, &column.lengths, column.trues) {
        (Some(range), ..) => figure(&range.histogram, "", range.kind, page),
        (None, Some(lengths), _) => figure(&lengths.histogram, of, ValueKind::Number, page),
        (None, None, Some(trues)) => {
            let histogram = Histogram {
                bounds: ["false".into(), String::new(), "true".into()].into(),
                counts: [column.values - trues, trues].into(),
            };
            figure(&histogram, "", ValueKind::Number, page);
        }
        _ => {}
    }
    page.push_str("</section>\n");
}

/// Draws a histogram with the bounds of its range, and the count of each part as its title.
fn figure(histogram: &Histogram, unit: &str, kind: ValueKind, page: &mut String) {
    let most = histogram.counts.iter().copied().max().unwrap_or(0);
    let (Some(first), Some(last)) = (histogram.bounds.first(), histogram.bounds.last()) else { return };
    if most == 0 {
        return;
    }
    let n = histogram.counts.len();
    let _ = write!(page, "<figure><svg viewBox=\"0 0 {} 100\" preserveAspectRatio=\"none\" role=\"img\">", n * 10 - 1);
    for (i, count) in histogram.counts.iter().enumerate() {
        // The smallest count is still seen.
        let height = if *count == 0 { 0.0 } else { (*count as f64 / most as f64 * 100.0).max(1.5) };
        let bounds = [&histogram.bounds[i], &histogram.bounds[i + 1]].map(|text| escape(&short(text, kind)));
        let bounds = bounds.iter().filter(|text| !text.is_empty()).cloned().collect::<Vec<_>>().join(" – ");
        let _ = write!(
            page,
            "<rect x=\"{}\" y=\"{:.2}\" width=\"9\" height=\"{height:.2}\"><title>{bounds}: {}</title></rect>",
            i * 10,
            100.0 - height,
            human_count(*count),
        );
    }
    let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
    let _ = writeln!(
        page,
        "</svg><figcaption><span>{}</span><span>{}{unit}</span></figcaption></figure>",
        escape(&short(first, kind)),
        escape(&short(last, kind)),
    );
}

/// Escapes text for HTML, in elements and in attributes. Characters that would hide or turn the text are shown.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in crate::text::escape_for_terminal(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::column::Type;
    use crate::column::statistics::{QUANTILES, Range};

    #[test]
    fn a_stated_error_is_never_less_than_the_real_one() {
        for (rank, expected) in [(0.0001386, "0.02 %"), (0.000039, "0.01 %"), (0.0002, "0.02 %")] {
            let text = accuracy(&[column_with_rank_error(rank)]);
            assert!(text.contains(&format!("at most {expected} of the rows")), "{text}");
        }
    }

    fn column_with_rank_error(rank_error: f64) -> ColumnSummary {
        let range = Range {
            kind: ValueKind::Number,
            min: "0".into(),
            max: "1".into(),
            mean: "0.5".into(),
            quantiles: Vec::new(),
            rank_error,
            histogram: Histogram { bounds: Vec::new(), counts: Vec::new() },
        };
        ColumnSummary {
            path: "a".into(),
            ty: Type::Float,
            values: 2,
            nulls: 0,
            distinct: Some(2),
            distinct_is_exact: true,
            range: Some(range),
            lengths: None,
            trues: None,
            not_finite: 0,
            text_bounds: None,
            examples: Vec::new(),
        }
    }

    #[test]
    fn quarters_are_at_their_places_and_text_is_escaped() {
        assert_eq!(QUANTILES[2..5], [0.25, 0.5, 0.75]);
        assert_eq!(escape("<b title='x'>\"&\u{202e}"), "&lt;b title=&#39;x&#39;&gt;&quot;&amp;\\u{202e}");
    }
}
