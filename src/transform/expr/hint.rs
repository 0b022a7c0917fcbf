//! Hints of expression errors. A hint may propose a step, which is a flag on the command line and a member of an object
//! in a steps file, so the step is stored apart from the words around it and rendered by the caller.

use std::fmt;

/// An imperative that fixes the error, with steps to be rendered by the caller.
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
    /// Appends a step: its name, and its text, which may be empty.
    pub fn step(mut self, word: &'static str, text: impl Into<String>) -> Self {
        self.parts.push(Part::Step { word, text: text.into() });
        self
    }

    /// Appends text that is shown as it is.
    pub fn words(mut self, words: impl Into<String>) -> Self {
        self.parts.push(Part::Words(words.into()));
        self
    }

    /// Renders the hint, with each step as `written` renders it, in backticks.
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
    /// Renders steps as `explain` does: `cast id:json`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_steps(|word, text| format!("{word} {text}").trim_end().to_owned()))
    }
}
