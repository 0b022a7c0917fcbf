//! Text patterns: `like`, `ilike` and regular expressions. A `like` without `_` and with `%` only at its ends is a
//! plain string comparison or search; every other one becomes a regular expression.

use memchr::memmem::Finder;
use regex::Regex;

/// A compiled text pattern.
#[derive(Clone, Debug)]
pub struct Pattern(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Is(Box<str>),
    StartsWith(Box<str>),
    EndsWith(Box<str>),
    Contains(Box<Finder<'static>>),
    Regex(Regex),
}

impl Pattern {
    /// Compiles a `like` pattern, or with `any_case` an `ilike` pattern: `%` matches any characters, `_` one, and a
    /// backslash takes the next character literally. Fails on a trailing backslash and on patterns that are too large.
    pub fn like(pattern: &str, any_case: bool) -> Result<Self, String> {
        // `s` lets `.` match line breaks, which `%` and `_` do.
        let mut regex = String::from(if any_case { "(?is)^" } else { "(?s)^" });
        // Literal text between the `%`: with no `_`, few parts need no regular expression.
        let mut parts = vec![String::new()];
        let mut plain = !any_case;
        let mut chars = pattern.chars();
        while let Some(c) = chars.next() {
            let literal = match c {
                '%' => {
                    regex.push_str(".*");
                    parts.push(String::new());
                    continue;
                }
                '_' => {
                    regex.push('.');
                    plain = false;
                    continue;
                }
                '\\' => chars.next().ok_or("a pattern cannot end in a single backslash")?,
                c => c,
            };
            regex.push_str(&regex::escape(literal.encode_utf8(&mut [0; 4])));
            parts.last_mut().expect("there is always one").push(literal);
        }
        regex.push('$');
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Ok(Pattern(match *parts {
            [text] if plain => Kind::Is(text.into()),
            [text, ""] if plain => Kind::StartsWith(text.into()),
            ["", text] if plain => Kind::EndsWith(text.into()),
            ["", text, ""] if plain => Kind::Contains(Box::new(Finder::new(text).into_owned())),
            _ => Kind::Regex(Regex::new(&regex).map_err(|error| error.to_string())?),
        }))
    }

    /// Compiles a regular expression, which matches anywhere in the text.
    pub fn regex(pattern: &str) -> Result<Self, String> {
        Regex::new(pattern).map(|regex| Pattern(Kind::Regex(regex))).map_err(|error| {
            let text = error.to_string();
            // The error draws the pattern over several lines; the reason is on the last.
            let reason = text.lines().last().unwrap_or_default();
            reason.strip_prefix("error: ").unwrap_or(reason).to_owned()
        })
    }

    /// Returns true if `text` matches.
    #[inline]
    pub fn matches(&self, text: &str) -> bool {
        match &self.0 {
            Kind::Is(this) => text == &**this,
            Kind::StartsWith(start) => text.starts_with(&**start),
            Kind::EndsWith(end) => text.ends_with(&**end),
            Kind::Contains(finder) => finder.find(text.as_bytes()).is_some(),
            Kind::Regex(regex) => regex.is_match(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reference implementation: tries every split of the text.
    fn like(pattern: &[char], text: &[char]) -> bool {
        match pattern {
            [] => text.is_empty(),
            ['%', rest @ ..] => (0..=text.len()).any(|i| like(rest, &text[i..])),
            ['_', rest @ ..] => !text.is_empty() && like(rest, &text[1..]),
            ['\\', c, rest @ ..] | [c, rest @ ..] => text.first() == Some(c) && like(rest, &text[1..]),
        }
    }

    proptest! {
        #[test]
        fn like_matches_its_reference(pattern in r"([%_ab.\né]|\\[%_a\\]){0,6}", text in r"[ab%_.\\\né]{0,8}") {
            let reference = like(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>());
            prop_assert_eq!(Pattern::like(&pattern, false).unwrap().matches(&text), reference);
        }
    }

    #[test]
    fn patterns_are_compiled_or_rejected_with_a_reason() {
        let ilike = |pattern, text| Pattern::like(pattern, true).unwrap().matches(text);
        assert!(ilike("%MÜLLER%", "Herr Müller & Co") && !ilike("müller", "Herr Müller"));
        assert_eq!(Pattern::like("a\\", false).unwrap_err(), "a pattern cannot end in a single backslash");
        assert!(Pattern::regex("^a.c$").unwrap().matches("abc"));
        assert_eq!(Pattern::regex("(a").unwrap_err(), "unclosed group");
    }
}
