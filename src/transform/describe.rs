//! Descriptions of steps for `explain`: their name, their text, and the memory that they need.

/// Description of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepText {
    /// Name of the step, as in a steps file.
    pub name: &'static str,
    /// Text of the step, as written.
    pub text: String,
    /// State that the step keeps, and whether it needs rows in order.
    pub memory: StepMemory,
}

impl StepText {
    /// Describes a step that streams.
    pub(super) fn new(name: &'static str, text: impl Into<String>) -> Self {
        StepText { name, text: text.into(), memory: StepMemory::Streams }
    }

    /// Replaces the memory class.
    pub(super) fn with_memory(self, memory: StepMemory) -> Self {
        StepText { memory, ..self }
    }
}

/// Memory class of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepMemory {
    /// Keeps no state; runs on any worker.
    Streams,
    /// Keeps no rows, but needs them in order, and ends at the limit.
    StreamsInOrder,
    /// Keeps no rows, but needs all of them in order.
    CountsInOrder,
    /// Keeps a key of each distinct row and spills keys to disk beyond its memory.
    Remembers,
    /// Writes all rows to a temporary file, from which the query reads the columns that it needs.
    Spills,
}

impl StepMemory {
    /// Returns the class of a step that computes an expression.
    pub(super) fn of_expression(reads_row_number: bool) -> Self {
        if reads_row_number { StepMemory::CountsInOrder } else { StepMemory::Streams }
    }

    /// Returns the text that `explain` prints.
    pub fn as_str(self) -> &'static str {
        match self {
            StepMemory::Streams => "streams",
            StepMemory::StreamsInOrder => "streams in order and stops reading at the limit",
            StepMemory::CountsInOrder => "streams in order, to count the records",
            StepMemory::Remembers => {
                "in order; keeps a 16-byte key for each row that passes, and spills keys to disk beyond its memory"
            }
            StepMemory::Spills => {
                "over all rows, which are written to a temporary file first; sorts and groups in memory and spills to disk"
            }
        }
    }
}
