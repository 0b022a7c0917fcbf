//! The contract of a step: each file of [`super::steps`] fulfils it, and the table in `step.rs` is all that connects it
//! with plans. A step knows neither the steps around it nor the command line, and touches no file but its own spill.

use std::fmt::Debug;
use std::sync::Arc;

use serde_json::Value;

use super::binding::Binding;
use super::describe::StepText;
use super::error::Error;
use super::expr;
use super::needed::Needed;
use super::options::StepOptions;
use super::row_tracker::RowTracker;
use crate::column::{Batch, Schema};

/// The parameters of a step.
pub(super) trait StepKind: Clone + Debug {
    /// Applies the step to batches. A worker keeps one.
    type Running: RunningStep;

    /// The step in words.
    fn describe(&self) -> StepText;

    /// Facts about it that a plan decides by.
    fn properties(&self) -> Properties;

    /// Checks the step against the columns before it, resolves its paths, and changes the columns into those after it.
    fn bind(&mut self, columns: &mut Binding) -> Result<(), expr::Error>;

    /// Changes the columns that are needed after the step into those that are needed before it.
    fn add_needed(&self, needed: &mut Needed);

    /// Makes the step ready. The room of `options` is this step's own.
    fn start(&self, options: &StepOptions) -> Self::Running;
}

/// A step that people write, by its word: as a flag, in a plan file, in a block of the service.
pub(super) trait WrittenStep: StepKind {
    /// The word by which people write it.
    const WORD: &'static str;

    /// The form of the text or value that is written with it.
    const FORM: ArgumentForm = ArgumentForm::Text;

    /// Reads `text`; the parts of a list may be steps of their own. `seed` is of what is random.
    fn parse(text: &str, seed: u64) -> Result<Vec<Self>, expr::Error>;
}

/// A step at work on batches.
pub(super) trait RunningStep: Debug {
    /// The columns that come out for these columns going in.
    fn output_schema(&self, schema: Schema, options: &StepOptions) -> Result<Schema, Error>;

    /// Applies the step to the rows of `batch`. What becomes of each goes to `rows`.
    fn apply(&mut self, batch: Batch, rows: &mut RowTracker<'_>, options: &StepOptions) -> Result<Batch, Error>;

    /// Comparisons that met values of a kind that they do not compare, as they are written, with the number of such rows
    /// since the last call.
    fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
        Vec::new()
    }
}

/// Facts about a step, besides its columns, that a plan decides by. All false by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Chooses among rows and leaves them as they are, so that their records may be copied.
    pub keeps_records: bool,
    /// Must see every row, in order.
    pub needs_order: bool,
    /// Remembers rows, and has a share of the room for that.
    pub remembers: bool,
    /// Rows must be traced back to their records: some may turn out bad, or are chosen by place.
    pub needs_places: bool,
    /// Needs objects as such, and not as JSON text.
    pub opens_objects: bool,
    /// Makes several rows of one, from lists.
    pub opens_lists: bool,
    /// Ends the reading once enough rows have passed.
    pub has_limit: bool,
    /// Makes columns of raw JSON text, which outputs with types do not take.
    pub makes_raw_columns: bool,
}

/// The form of the text or value that is written with the word of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentForm {
    /// A text.
    Text,
    /// A text, or the names in it as a list.
    Names,
    /// A text, or nothing, which is this text.
    TextOr(&'static str),
    /// A whole number, not negative.
    Count,
    /// A number from 0 to 1.
    Part,
}

impl ArgumentForm {
    /// The text that `value`, of a JSON or TOML document, stands for. An error says what is expected.
    pub fn text_of(self, value: &Value) -> Result<String, &'static str> {
        match (self, value) {
            (ArgumentForm::Text | ArgumentForm::Names | ArgumentForm::TextOr(_), Value::String(text)) => {
                Ok(text.clone())
            }
            (ArgumentForm::Names, Value::Array(items)) => {
                let names: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
                names.map(|names| names.join(",")).ok_or("a text or a list of texts")
            }
            (ArgumentForm::TextOr(usual), Value::Bool(true)) => Ok(usual.to_owned()),
            (ArgumentForm::Text | ArgumentForm::Names | ArgumentForm::TextOr(_), _) => Err("a text"),
            (ArgumentForm::Count, value) => value.as_u64().map(|count| count.to_string()).ok_or("a whole number"),
            (ArgumentForm::Part, value) => {
                let part = value.as_f64().filter(|part| (0.0..=1.0).contains(part));
                part.map(|part| part.to_string()).ok_or("a number from 0 to 1")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_of_documents_are_read_by_the_form_of_the_step() {
        for (form, value, expected) in [
            (ArgumentForm::Text, json!("a > 1"), Ok("a > 1")),
            (ArgumentForm::Text, json!(["a", "b"]), Err("a text")),
            (ArgumentForm::Names, json!(["a", "b.c"]), Ok("a,b.c")),
            (ArgumentForm::Names, json!(["a", 1]), Err("a text or a list of texts")),
            (ArgumentForm::Names, json!(1), Err("a text")),
            (ArgumentForm::TextOr("."), json!(true), Ok(".")),
            (ArgumentForm::TextOr("."), json!(false), Err("a text")),
            (ArgumentForm::TextOr("."), json!("_"), Ok("_")),
            (ArgumentForm::Count, json!(3), Ok("3")),
            (ArgumentForm::Count, json!(-1), Err("a whole number")),
            (ArgumentForm::Count, json!(1.5), Err("a whole number")),
            (ArgumentForm::Part, json!(0.25), Ok("0.25")),
            (ArgumentForm::Part, json!(1), Ok("1")),
            (ArgumentForm::Part, json!(1.5), Err("a number from 0 to 1")),
        ] {
            assert_eq!(form.text_of(&value), expected.map(str::to_owned), "{form:?} {value}");
        }
    }
}
