//! Hints of errors. They may propose a step, which is written in one way as a flag and in another in a plan file: so it
//! is kept apart from the words around it.

use std::fmt;

/// An imperative that helps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hint {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Words(String),
    Step { word: &'static str, text: String },
}

impl Hint {
    /// Adds a step: its word, and the text that goes with it, which may be empty.
    pub fn step(mut self, word: &'static str, text: impl Into<String>) -> Self {
        self.parts.push(Part::Step { word, text: text.into() });
        self
    }

    /// Adds words.
    pub fn words(mut self, words: impl Into<String>) -> Self {
        self.parts.push(Part::Words(words.into()));
        self
    }

    /// The whole text, with steps as `written` writes them, in backticks.
    pub fn with_steps(&self, written: impl Fn(&'static str, &str) -> String) -> String {
        let texts = self.parts.iter().map(|part| match part {
            Part::Words(words) => words.clone(),
            Part::Step { word, text } => format!("`{}`", written(word, text)),
        });
        texts.collect()
    }
}

impl From<String> for Hint {
    fn from(words: String) -> Self {
        Hint::default().words(words)
    }
}

impl From<&str> for Hint {
    fn from(words: &str) -> Self {
        Hint::default().words(words)
    }
}

impl fmt::Display for Hint {
    /// With steps as they are called in explanations: `cast id:json`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_steps(|word, text| format!("{word} {text}").trim_end().to_owned()))
    }
}
