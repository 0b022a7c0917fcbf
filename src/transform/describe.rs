//! Steps in words, for people who want to know what a plan does.

/// One step in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepText {
    /// Its word, as in a plan file.
    pub name: &'static str,
    /// What it is given, as it was written.
    pub text: String,
    /// How it runs.
    pub runs: StepMemory,
}

impl StepText {
    /// A step that streams.
    pub(super) fn new(name: &'static str, text: impl Into<String>) -> Self {
        StepText { name, text: text.into(), runs: StepMemory::Streams }
    }

    /// The same, running like this.
    pub(super) fn that(self, runs: StepMemory) -> Self {
        StepText { runs, ..self }
    }
}

/// What a step holds while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepMemory {
    /// Nothing: rows pass, on any worker.
    Streams,
    /// Nothing; rows pass one after the other.
    StreamsInOrder,
    /// Something of each row that it has seen, beyond its memory on disk.
    Remembers,
    /// All rows, in a temporary file, of which the query takes what it needs.
    Spills,
}

impl StepMemory {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            StepMemory::Streams => "streams",
            StepMemory::StreamsInOrder => "streams in order, and ends the reading",
            StepMemory::Remembers => {
                "in order; remembers 16 bytes for each row that it keeps, beyond its memory on disk"
            }
            StepMemory::Spills => {
                "over all rows, which go to a temporary file first; sorts and groups within the memory, and on disk"
            }
        }
    }
}
