//! The parser's place among the tokens of one text, and its errors there. `parse` and `parse_type` parse with it.

use super::error::Error;
use super::scan::{Spanned, Token, scan};

/// Hint for names that are not words.
pub(super) const QUOTE_NAMES: &str = "put a name with spaces or symbols in double quotes";

/// A parser of the tokens of one text.
pub(super) struct Parser<'a> {
    /// Text of the expression.
    pub(super) text: &'a str,
    pub(super) tokens: Vec<Spanned>,
    pub(super) next: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Result<Self, Error> {
        Ok(Parser { text, tokens: scan(text)?, next: 0 })
    }

    /// Creates a parser of a text of names, in which a symbol is part of a name without its quotes.
    pub(super) fn of_names(text: &'a str) -> Result<Self, Error> {
        Parser::new(text).map_err(|error| match error.hint {
            None => error.with_hint(QUOTE_NAMES),
            Some(_) => error,
        })
    }

    pub(super) fn peek(&self) -> &Spanned {
        &self.tokens[self.next]
    }

    pub(super) fn advance(&mut self) -> Spanned {
        let token = self.tokens[self.next].clone();
        // The last token is `End`, which is never passed.
        self.next = (self.next + 1).min(self.tokens.len() - 1);
        token
    }

    pub(super) fn accept(&mut self, token: &Token) -> bool {
        let found = self.peek().token == *token;
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(&self.peek().token, Token::Word(w) if w.eq_ignore_ascii_case(word))
    }

    pub(super) fn accept_word(&mut self, word: &str) -> bool {
        let found = self.is_word(word);
        if found {
            self.advance();
        }
        found
    }

    pub(super) fn error_here(&self, expected: &str) -> Error {
        let Spanned { token, span } = self.peek();
        let found = match token {
            Token::End => "end of input".to_owned(),
            _ => format!("`{}`", &self.text[span.clone()]),
        };
        Error::new(self.text, span.start, format!("{expected}, found {found}"))
    }

    pub(super) fn expect_end(&self, expected: &str) -> Result<(), Error> {
        if self.peek().token == Token::End { Ok(()) } else { Err(self.error_here(expected)) }
    }

    pub(super) fn expect(&mut self, token: &Token, expected: &str) -> Result<(), Error> {
        if self.accept(token) { Ok(()) } else { Err(self.error_here(expected)) }
    }
}

pub(super) fn single_quotes_hint(error: Error, found: &Token) -> Error {
    match found {
        Token::Quoted(text, _) | Token::Word(text) => {
            let hint = format!("put text in single quotes: '{}'", text.replace('\'', "''"));
            error.with_hint(hint)
        }
        _ => error,
    }
}
