//! HTML in the making.

use std::fmt::{Display, Write};

/// A piece of HTML. Markup comes from this program's own text only; all else is escaped.
#[derive(Debug, Default)]
pub struct Html(String);

impl Html {
    /// Adds markup.
    pub fn tag(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Adds text, which may stand between tags or inside a quoted attribute.
    pub fn text(&mut self, text: impl Display) -> &mut Self {
        // Writing to it cannot fail.
        let _ = write!(Escaped(&mut self.0), "{text}");
        self
    }

    /// Adds a piece that was made before.
    pub fn html(&mut self, piece: Html) -> &mut Self {
        self.0.push_str(&piece.0);
        self
    }

    /// The text of it all.
    pub fn into_text(self) -> String {
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
                // Would turn the direction of what follows, or be nothing at all.
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
