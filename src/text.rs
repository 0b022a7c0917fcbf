//! Text for people: escapes for a terminal, error chains, sizes, counts and durations, in both
//! directions where settings are typed. Nothing here prints.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

/// Escapes control characters and bidirectional overrides in `text`, so that text from outside
/// cannot move the cursor or disguise itself. Line breaks are escaped too. A joiner between two pictographs, as in the
/// picture of a family, stays.
pub(crate) fn escape_for_terminal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    let mut last = None;
    while let Some(c) = chars.next() {
        let joins =
            c == '\u{200d}' && last.is_some_and(is_pictograph) && chars.peek().copied().is_some_and(is_pictograph);
        last = Some(c);
        if joins {
            out.push(c);
            continue;
        }
        let hidden = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
        if hidden {
            let _ = write!(out, "{}", c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// Returns true for pictographs and the marks that may follow them.
fn is_pictograph(c: char) -> bool {
    matches!(c, '\u{2190}'..='\u{2bff}' | '\u{1f000}'..='\u{1faff}' | '\u{fe0f}')
}

/// Formats `bytes` in binary units with about three digits: `0 B`, `1.5 KiB`, `950 MiB`.
pub(crate) fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1023.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value >= 99.95 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// Formats `count` in groups of three digits: `1 234 567`.
pub(crate) fn human_count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

/// Formats `duration` in its two largest units: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 4 min`.
pub(crate) fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Joins an error and its causes: `cannot read a.csv: no such file or directory`. Leaves out a cause whose text ends
/// its parent's already, and the number of an operating system error.
pub(crate) fn error_chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = without_number(cause);
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        next = cause.source();
    }
    text
}

/// Formats `cause` without the ` (os error 2)` that the standard library appends, in lower case then.
fn without_number(cause: &dyn Error) -> String {
    let mut words = cause.to_string();
    if let Some(end) = words.find(" (os error ") {
        words.truncate(end);
        if let Some(first) = words.get_mut(..1) {
            first.make_ascii_lowercase();
        }
    }
    words
}

/// Formats a count with its noun: `1 row`, `1 234 rows`; for nouns whose plural takes an s.
pub(crate) fn counted(n: u64, noun: &str) -> String {
    format!("{} {noun}{}", human_count(n), plural(n))
}

/// Returns the plural ending for `n` things: empty for 1, else `s`.
pub(crate) fn plural(n: u64) -> &'static str {
    if n == 1 { "" } else { "s" }
}

/// Formats `bytes` in lower-case hexadecimal, two digits each.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// Finds the name that `typed` is probably a misspelling of: the one at the smallest edit distance,
/// regardless of case. `None` when all are too far away.
pub(crate) fn nearest<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower: Vec<char> = typed.chars().flat_map(char::to_lowercase).collect();
    // One edit in a short name, two in a long one; more would suggest unrelated names.
    let allowed = (lower.len() / 3).clamp(1, 2);
    names
        .into_iter()
        .map(|name| (edit_distance(&lower, &name.chars().flat_map(char::to_lowercase).collect::<Vec<_>>()), name))
        .filter(|(edits, name)| *edits <= allowed && *edits < name.chars().count())
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, name)| name)
}

/// Returns the Damerau-Levenshtein distance (optimal string alignment): letters inserted, deleted, changed or swapped
/// with their neighbour. Keeps the last three rows of the matrix, all that a swap can look back to.
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let changed = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = changed.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

/// Parses a size in bytes: `1048576`, `512K`, `256MiB`, `1.5G`. Units are binary, with or without `iB`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| "expected a size: a number and a unit, such as 256MiB".to_owned())?;
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        other => return Err(format!("unknown size unit `{other}`; use K, M, G or T")),
    };
    Ok((number * (1u64 << shift) as f64) as u64)
}

/// Parses a duration: `90`, `90s`, `1.5m`, `2h`, `1d`, `500ms`. Without a unit it is in seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 =
        number.parse().map_err(|_| "expected a duration: a number and a unit, such as 90s or 30m".to_owned())?;
    let unit = match unit.trim() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3600.0,
        "d" => 86_400.0,
        other => return Err(format!("unknown time unit `{other}`; use ms, s, m, h or d")),
    };
    Duration::try_from_secs_f64(number * unit).map_err(|_| "the duration is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_name_finds_the_nearest() {
        let names = ["company_name", "employee_count", "id", "hq", "score"];
        let near = |typed| nearest(typed, names);
        assert_eq!(near("emplyee_count"), Some("employee_count"));
        assert_eq!(near("Company_Name"), Some("company_name"));
        assert_eq!(near("socre"), Some("score"));
        assert_eq!(near("di"), Some("id"));
        assert_eq!(near("x"), None);
        assert_eq!(near("revenue"), None);
        assert_eq!(nearest("é", ["e"]), None, "one edit would replace the whole name");
    }

    #[test]
    fn sizes_counts_and_durations_are_formatted() {
        assert_eq!(human_bytes(0), "0 B");
        assert_eq!(human_bytes(1023), "1023 B");
        assert_eq!(human_bytes(1536), "1.5 KiB");
        assert_eq!(human_bytes(950 << 20), "950 MiB");
        assert_eq!(human_bytes(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(human_count(1234567), "1 234 567");
        assert_eq!(human_count(12), "12");
        assert_eq!(human_duration(Duration::from_millis(420)), "0.4 s");
        assert_eq!(human_duration(Duration::from_secs(185)), "3 min 5 s");
        assert_eq!([0, 1, 1234].map(|n| counted(n, "row")), ["0 rows", "1 row", "1 234 rows"]);
        assert_eq!(hex(&[0, 0x1f, 0xa0]), "001fa0");
    }

    #[test]
    fn causes_are_joined_once_and_without_numbers() {
        #[derive(Debug, thiserror::Error)]
        #[error("{text}")]
        struct Layer {
            text: &'static str,
            source: Option<Box<dyn Error + Send + Sync>>,
        }
        let system = std::io::Error::from_raw_os_error(2);
        let inner = Layer { text: "cannot read a", source: Some(system.into()) };
        let outer = Layer { text: "the job failed: cannot read a", source: Some(inner.into()) };
        assert_eq!(error_chain(&outer), "the job failed: cannot read a: no such file or directory");
    }

    #[test]
    fn control_characters_are_escaped_for_a_terminal() {
        assert_eq!(escape_for_terminal("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\u{a}");
        assert_eq!(escape_for_terminal("Zürich 東京"), "Zürich 東京");
    }

    #[test]
    fn sizes_and_durations_are_parsed() {
        assert_eq!(parse_size("1024"), Ok(1024));
        assert_eq!(parse_size("256MiB"), Ok(256 << 20));
        assert_eq!(parse_size("1.5 g"), Ok(3 << 29));
        for text in ["big", ""] {
            assert_eq!(parse_size(text), Err("expected a size: a number and a unit, such as 256MiB".into()));
        }
        assert_eq!(parse_size("1 furlong"), Err("unknown size unit `furlong`; use K, M, G or T".into()));
        assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("1.5m"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("soon"), Err("expected a duration: a number and a unit, such as 90s or 30m".into()));
        assert_eq!(parse_duration("1e"), Err("unknown time unit `e`; use ms, s, m, h or d".into()));
        assert_eq!(parse_duration("99999999999999999999d"), Err("the duration is too long".into()));
    }
}
