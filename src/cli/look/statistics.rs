//! Statistics of columns as a table for people and as JSON.

use serde_json::{Map, Value, json};

use super::grid::{Cell, Grid, GridColumn, quoted};
use crate::column::statistics::{ColumnSummary, Distinct, QUANTILES, Range, ValueKind};
use crate::text::human_count;

/// Quantiles of the table, by their positions in [`QUANTILES`], with their headings.
const SHOWN_QUANTILES: [(usize, &str); 3] = [(2, "P25"), (3, "MEDIAN"), (4, "P75")];

/// Formats the columns as rows of a table. `values` adds the examples.
pub(in crate::cli) fn statistics_grid(columns: &[ColumnSummary], values: bool) -> Grid {
    let mut heads = vec![("COLUMN", false), ("TYPE", false), ("NULLS", true), ("DISTINCT", true), ("MIN", true)];
    heads.extend(SHOWN_QUANTILES.map(|(_, name)| (name, true)));
    heads.extend([("MAX", true), ("MEAN", true), ("LENGTH", true)]);
    if values {
        heads.push(("EXAMPLES", false));
    }
    let columns_of = |(name, right): (&str, bool)| GridColumn { name: name.to_owned(), ty: String::new(), right };
    let rows = columns.iter().map(|column| {
        let mut row = vec![
            column.path.clone(),
            column.ty.outline(),
            nulls_text(column),
            distinct_text(column).unwrap_or_default(),
            bound(column, |range| &range.min, |bounds| &bounds.0),
        ];
        row.extend(SHOWN_QUANTILES.map(|(i, _)| match &column.range {
            Some(range) => range.quantiles.get(i).map(|text| short(text, range.kind)).unwrap_or_default(),
            None => String::new(),
        }));
        row.push(bound(column, |range| &range.max, |bounds| &bounds.1));
        row.push(mean_text(column));
        row.push(length_text(column));
        if values {
            row.push(column.examples.iter().map(|example| listed(example)).collect::<Vec<_>>().join(", "));
        }
        let shown = |text: String| Cell::Formatted(if text.is_empty() { "-".to_owned() } else { text });
        row.into_iter().map(shown).collect()
    });
    Grid { columns: heads.into_iter().map(columns_of).collect(), rows: rows.collect() }
}

/// Formats the rows without a value, with their part of all.
pub(super) fn nulls_text(column: &ColumnSummary) -> String {
    match (column.nulls, column.rows()) {
        (0, _) => "0".to_owned(),
        (nulls, rows) => format!("{} ({:.1} %)", human_count(nulls), nulls as f64 / rows as f64 * 100.0),
    }
}

/// Formats the distinct values; an estimate is marked.
pub(super) fn distinct_text(column: &ColumnSummary) -> Option<String> {
    let sign = if column.distinct_is_exact { "" } else { "~" };
    column.distinct.map(|distinct| format!("{sign}{}", human_count(distinct)))
}

/// Formats the mean, or the part of booleans that are true.
pub(super) fn mean_text(column: &ColumnSummary) -> String {
    match (&column.range, column.trues) {
        (Some(range), _) => short(&range.mean, range.kind),
        (None, Some(trues)) if column.values > 0 => {
            format!("{:.1} % true", trues as f64 / column.values as f64 * 100.0)
        }
        _ => String::new(),
    }
}

/// Formats the least and the greatest length.
pub(super) fn length_text(column: &ColumnSummary) -> String {
    match &column.lengths {
        Some(lengths) if lengths.min == lengths.max => lengths.max.to_string(),
        Some(lengths) => format!("{}..{}", lengths.min, lengths.max),
        None => String::new(),
    }
}

fn bound(
    column: &ColumnSummary,
    of_range: impl Fn(&Range) -> &String,
    of_text: impl Fn(&(String, String)) -> &String,
) -> String {
    match (&column.range, &column.text_bounds) {
        (Some(range), _) => short(of_range(range), range.kind),
        (None, Some(bounds)) => unmistakable(of_text(bounds)),
        _ => String::new(),
    }
}

/// Returns a text value, in quotes if it could be taken for no value or its blanks could not be seen.
fn unmistakable(text: &str) -> String {
    match text.is_empty() || text == "-" || text.trim() != text || text.starts_with('"') {
        true => quoted(text),
        false => text.to_owned(),
    }
}

/// Returns a value as an item of a list.
fn listed(text: &str) -> String {
    match text.contains(", ") && !text.starts_with(['[', '{']) {
        true => quoted(text),
        false => unmistakable(text),
    }
}

/// Numbers that are shown without an exponent. Beyond them, the zeros would hide the digits, or be invented ones.
const PLAIN: std::ops::Range<f64> = 1e-5..1e15;

/// Shortens the digits of a number with a fraction to six.
pub(super) fn short(text: &str, kind: ValueKind) -> String {
    match text.parse::<f64>() {
        Ok(number) if kind == ValueKind::Number && text.contains('.') && number.is_finite() => {
            if number != 0.0 && !PLAIN.contains(&number.abs()) {
                let rounded = format!("{number:.5e}");
                let shortest = format!("{number:e}");
                if shortest.len() < rounded.len() {
                    return shortest;
                }
                let (digits, exponent) = rounded.split_once('e').unwrap_or((&rounded, "0"));
                return format!("{}e{exponent}", digits.trim_end_matches('0').trim_end_matches('.'));
            }
            let digits = if number == 0.0 { 1 } else { number.abs().log10().floor() as i32 + 1 };
            let decimals = usize::try_from((6 - digits).max(0)).unwrap_or(0);
            let rounded = format!("{number:.decimals$}");
            match rounded.contains('.') {
                true => rounded.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => rounded,
            }
        }
        _ => text.to_owned(),
    }
}

/// Formats one column as JSON. Numbers keep their digits.
pub(in crate::cli) fn json_of(column: &ColumnSummary, values: bool) -> Value {
    let mut members = Map::new();
    let mut add = |name: &str, value: Value| {
        members.insert(name.to_owned(), value);
    };
    add("column", json!(column.path));
    add("type", json!(column.ty.to_string()));
    add("rows", json!(column.rows()));
    add("nulls", json!(column.nulls));
    if let Some(distinct) = column.distinct {
        add("distinct", json!(distinct));
        add("distinct_is_exact", json!(column.distinct_is_exact));
        if !column.distinct_is_exact {
            add("distinct_standard_error", json!(Distinct::STANDARD_ERROR));
        }
    }
    if let Some(range) = &column.range {
        let value = |text: &String| value_of(text, range.kind);
        add("min", value(&range.min));
        add("max", value(&range.max));
        add("mean", value(&range.mean));
        add("quantiles", quantiles(range.quantiles.iter().map(value)));
        add("quantiles_rank_error", json!(range.rank_error));
    }
    if let Some(trues) = column.trues {
        add("true", json!(trues));
        add("false", json!(column.values - trues));
    }
    if column.not_finite > 0 {
        add("not_finite", json!(column.not_finite));
    }
    if let Some(lengths) = &column.lengths {
        add(
            "length",
            json!({
                "min": lengths.min,
                "max": lengths.max,
                "mean": lengths.mean,
                "quantiles": quantiles(lengths.quantiles.iter().map(|length| json!(length))),
                "quantiles_rank_error": lengths.rank_error,
            }),
        );
    }
    if let Some((min, max)) = &column.text_bounds {
        add("min", json!(min));
        add("max", json!(max));
    }
    if values {
        add("examples", json!(column.examples));
    }
    Value::Object(members)
}

/// Returns the quantiles by their names: `p25`.
fn quantiles(values: impl Iterator<Item = Value>) -> Value {
    let names = QUANTILES.iter().map(|part| format!("p{}", (part * 100.0).round() as u32));
    Value::Object(names.zip(values).collect())
}

fn value_of(text: &str, kind: ValueKind) -> Value {
    match kind {
        ValueKind::Number => serde_json::from_str(text).unwrap_or_else(|_| json!(text)),
        ValueKind::Time => json!(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_look_like_no_value_are_in_quotes() {
        let cases = [("a", "a"), ("", "\"\""), ("-", "\"-\""), (" a", "\" a\""), ("\"a\"", "\"\\\"a\\\"\"")];
        for (text, expected) in cases {
            assert_eq!((unmistakable(text), listed(text)), (expected.to_owned(), expected.to_owned()));
        }
        assert_eq!((&*listed("a, b"), &*listed("a,b"), &*listed("[1, 2]")), ("\"a, b\"", "a,b", "[1, 2]"));
    }

    #[test]
    fn numbers_are_shortened_for_people_only() {
        let cases = [
            ("2499.5", "2499.5"),
            ("0.3333333333333333", "0.333333"),
            ("1234567.891", "1234568"),
            ("-12.3456789", "-12.3457"),
            ("0.0000123456789", "0.0000123457"),
            ("0.00000123456789", "1.23457e-6"),
            ("1.5e-10", "1.5e-10"),
            ("-1.5e-10", "-1.5e-10"),
            ("5.0e-324", "5e-324"),
            ("1.5e300", "1.5e300"),
            ("1.7976931348623157e308", "1.79769e308"),
            ("12345678901234567.5", "1.23457e16"),
            ("999999999999999.5", "1000000000000000"),
            ("0.0", "0"),
            ("-0.0", "-0"),
            ("100", "100"),
            ("1e300", "1e300"),
        ];
        for (text, expected) in cases {
            assert_eq!(short(text, ValueKind::Number), expected, "{text}");
        }
        assert_eq!(short("2024-01-31T12:00:00.5Z", ValueKind::Time), "2024-01-31T12:00:00.5Z");
        assert_eq!(value_of("12345678901234567890.5", ValueKind::Number).to_string(), "12345678901234567890.5");
    }
}
