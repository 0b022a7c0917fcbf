//! Patterns of text: `like`, `ilike` and regular expressions.

use memchr::memmem::Finder;
use regex::Regex;

/// What a text must look like.
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
    /// `like`, or with `any_case` `ilike`: `%` stands for any characters, `_` for one, and a
    /// backslash takes the next character literally. An error says why the pattern is refused.
    pub fn like(pattern: &str, any_case: bool) -> Result<Self, String> {
        let mut regex = String::from(if any_case { "(?is)^" } else { "(?s)^" });
        // Literal text between the `%`, if there is nothing else.
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

    /// A regular expression that must be found in the text.
    pub fn regex(pattern: &str) -> Result<Self, String> {
        Regex::new(pattern).map(|regex| Pattern(Kind::Regex(regex))).map_err(|error| {
            let text = error.to_string();
            // The library draws the place over several lines; the reason stands on the last.
            let reason = text.lines().last().unwrap_or_default();
            reason.strip_prefix("error: ").unwrap_or(reason).to_owned()
        })
    }

    /// Whether `text` looks so.
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

    /// By trying every way to cut the text, which is how the words define it.
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
        fn like_is_what_it_says(pattern in r"([%_ab.\né]|\\[%_a\\]){0,6}", text in r"[ab%_.\\\né]{0,8}") {
            let twin = like(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>());
            prop_assert_eq!(Pattern::like(&pattern, false).unwrap().matches(&text), twin);
        }
    }

    #[test]
    fn patterns() {
        let ilike = |pattern, text| Pattern::like(pattern, true).unwrap().matches(text);
        assert!(ilike("%MÜLLER%", "Herr Müller & Co") && !ilike("müller", "Herr Müller"));
        assert!(Pattern::like("a\\", false).is_err());
        assert!(Pattern::regex("^a.c$").unwrap().matches("abc"));
        assert!(Pattern::regex("(a").unwrap_err().contains("unclosed group"));
    }
}
