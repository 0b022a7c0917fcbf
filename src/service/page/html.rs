//! Builder of HTML that keeps markup and text apart by type, so that text from outside is always escaped.

use std::fmt::{Display, Write};

/// Fragment of HTML. Markup is `&'static str`, from this program's source; everything else is escaped.
#[derive(Debug, Default)]
pub(super) struct Html(String);

impl Html {
    /// Appends markup, which must be well-formed together with the neighbouring calls.
    pub(super) fn tag(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Appends escaped text, either between tags or inside a quoted attribute.
    pub(super) fn text(&mut self, text: impl Display) -> &mut Self {
        // Writing to a string cannot fail.
        let _ = write!(Escaped(&mut self.0), "{text}");
        self
    }

    /// Appends another fragment, which is escaped already.
    pub(super) fn html(&mut self, fragment: Html) -> &mut Self {
        self.0.push_str(&fragment.0);
        self
    }

    /// Returns the HTML as text.
    pub(super) fn into_text(self) -> String {
        self.0
    }
}

struct Escaped<'a>(&'a mut String);

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        for c in text.chars() {
            match c {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // Bidirectional controls would reorder the text after them; NUL is invalid in HTML.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\0' => self.0.push('\u{fffd}'),
                c => self.0.push(c),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tags_are_markup() {
        let mut html = Html::default();
        html.tag("<a href=\"").text("\"><script>'&").tag("\">").text(1.5).text("\u{202e}x").tag("</a>");
        assert_eq!(html.into_text(), "<a href=\"&quot;&gt;&lt;script&gt;&#39;&amp;\">1.5\u{fffd}x</a>");
    }
}
