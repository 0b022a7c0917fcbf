//! Steps in words, for people who want to know what a plan does.

use super::step::Step;

/// One step in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepText {
    /// Its name, as of its flag.
    pub name: &'static str,
    /// What it is given, as it was written.
    pub text: String,
    /// How it runs.
    pub runs: Runs,
}

/// What a step holds while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runs {
    /// Nothing: rows pass, on any worker.
    Streams,
    /// Nothing; rows pass one after the other.
    StreamsInOrder,
    /// Something of each row that it has seen, beyond its memory on disk.
    Remembers,
    /// All rows, in a temporary file, of which the query takes what it needs.
    Spills,
}

impl Runs {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Runs::Streams => "streams",
            Runs::StreamsInOrder => "streams in order, and ends the reading",
            Runs::Remembers => "in order; remembers 16 bytes for each row that it keeps, beyond its memory on disk",
            Runs::Spills => {
                "over all rows, which go to a temporary file first; sorts and groups within the memory, and on disk"
            }
        }
    }
}

impl Step {
    /// In words.
    pub fn describe(&self) -> StepText {
        let text = |name, text: String| StepText { name, text, runs: Runs::Streams };
        match self {
            Step::Filter(conditions) => text("filter", format!("{} conditions", conditions.len())),
            Step::RemoveColumns(names) => text("remove_columns", names.join(",")),
            Step::Deduplicate(names) => StepText { runs: Runs::Remembers, ..text("dedupe", names.join(",")) },
            Step::Dedupe(_, written) => StepText { runs: Runs::Remembers, ..text("dedupe", written.to_string()) },
            Step::Lookup(lookup) => text("lookup", lookup.fields.join(",")),
            Step::Where(expr) => text("where", expr.text.to_string()),
            Step::Select(_, written) => text("select", written.to_string()),
            Step::Drop(_, written) => text("drop", written.to_string()),
            Step::Rename(_, written) => text("rename", written.to_string()),
            Step::With { text: written, .. } => text("with", written.to_string()),
            Step::Cast(_, written) => text("cast", written.to_string()),
            Step::JsonText(_, written) => text("json", written.to_string()),
            Step::Flatten { separator } => text("flatten", separator.to_string()),
            Step::Explode(_, written) => text("explode", written.to_string()),
            Step::Sample { rate, seed } => text("sample", format!("{rate}, seed {seed}")),
            // Which of the two ways is told by the columns.
            Step::Sql(query) => StepText { runs: Runs::Spills, ..text("sql", query.text().to_string()) },
            Step::Limit(rows) => StepText { runs: Runs::StreamsInOrder, ..text("limit", rows.to_string()) },
        }
    }
}
