//! The traits that a step implements. Each file of [`super::steps`] implements them, and only the table in `step.rs`
//! connects it with plans. A step knows neither the steps around it nor the command line, and touches no files except
//! its own spill files.

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
    /// State that applies the step to batches. Each worker has its own.
    type Running: RunningStep;

    /// Describes the step for `explain`.
    fn describe(&self) -> StepText;

    /// Returns the properties that the planner decides by.
    fn properties(&self) -> Properties;

    /// Forgets what an earlier execution found out about the values.
    fn begin(&mut self) {}

    /// Checks the step against the columns before it, resolves its paths, and updates `columns` to those after it.
    fn bind(&mut self, columns: &mut Binding) -> Result<(), expr::Error>;

    /// Converts the columns needed after the step into those needed before it.
    fn add_needed(&self, needed: &mut Needed);

    /// Converts the columns whose values later steps look at into those that they and this step look at: whose values
    /// decide what a step does, instead of passing through it. By default the step looks at none and renames none.
    fn add_looked_at(&self, _looked_at: &mut Needed) {}

    /// Adds the columns whose values the step replaces under their names. Default none.
    fn add_written(&self, _written: &mut Needed) {}

    /// Starts the step. The spill budget of `options` is for this step alone.
    fn start(&self, options: &StepOptions) -> Self::Running;
}

/// A step with a text form: written as a flag or in a steps file.
pub(super) trait WrittenStep: StepKind {
    /// Name of the step, such as `select`.
    const WORD: &'static str;

    /// Form of its argument. Default `Text`.
    const FORM: ArgumentForm = ArgumentForm::Text;

    /// Parses `text` into one or more steps; each item of a list may be a step of its own. `seed` seeds random choices.
    fn parse(text: &str, seed: u64) -> Result<Vec<Self>, expr::Error>;
}

/// State of a step while it is applied to batches.
pub(super) trait RunningStep: Debug {
    /// Infers the output columns for input columns of `schema`.
    fn output_schema(&self, schema: Schema, options: &StepOptions) -> Result<Schema, Error>;

    /// Applies the step to the rows of `batch`, and records in `rows` which were dropped, added or rejected.
    fn apply(&mut self, batch: Batch, rows: &mut RowTracker<'_>, options: &StepOptions) -> Result<Batch, Error>;

    /// Returns the comparisons that met values of incomparable types, as written, with the number of such rows since
    /// the last call. Default none.
    fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
        Vec::new()
    }
}

/// Properties of a step, besides its columns, that the planner decides by. All false by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Drops rows but changes none, so that source records can be copied to the output.
    pub keeps_records: bool,
    /// Needs every row in order, so it runs on the writer.
    pub needs_order: bool,
    /// Is stateful, and has a share of the spill budget.
    pub remembers: bool,
    /// Needs the source record of each row: to reject it, or to choose rows by their position.
    pub needs_record_spans: bool,
    /// Needs objects as structs, not as JSON text.
    pub opens_objects: bool,
    /// Turns one row into several, one per list element.
    pub opens_lists: bool,
    /// Takes values out of columns that it does not test.
    pub opens_paths: bool,
    /// Stops reading the input once enough rows have passed.
    pub has_limit: bool,
    /// Produces columns of raw JSON text, which typed outputs do not accept.
    pub makes_raw_columns: bool,
}

/// Form of the argument of a step, as text or as a value of a steps file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgumentForm {
    /// A string, parsed by the step.
    Text,
    /// A string of names separated by commas, or a list of names.
    Names,
    /// An optional string, with its default.
    TextOr(&'static str),
    /// A non-negative integer of up to 64 bits.
    Count,
    /// A number from 0 to 1.
    Part,
}

impl ArgumentForm {
    /// Converts `value`, from a JSON or TOML document, into the text of the step. The error names the expected form,
    /// such as `a string`.
    pub fn text_of(self, value: &Value) -> Result<String, &'static str> {
        match (self, value) {
            (ArgumentForm::Text | ArgumentForm::Names | ArgumentForm::TextOr(_), Value::String(text)) => {
                Ok(text.clone())
            }
            (ArgumentForm::Names, Value::Array(items)) => {
                let names: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
                names.map(|names| names.join(",")).ok_or("a string or a list of strings")
            }
            // `flatten = true` in a steps file is the flag without a value.
            (ArgumentForm::TextOr(usual), Value::Bool(true)) => Ok(usual.to_owned()),
            (ArgumentForm::Text | ArgumentForm::Names | ArgumentForm::TextOr(_), _) => Err("a string"),
            (ArgumentForm::Count, value) => {
                value.as_u64().map(|count| count.to_string()).ok_or("a non-negative integer")
            }
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
            (ArgumentForm::Text, json!(["a", "b"]), Err("a string")),
            (ArgumentForm::Names, json!(["a", "b.c"]), Ok("a,b.c")),
            (ArgumentForm::Names, json!(["a", 1]), Err("a string or a list of strings")),
            (ArgumentForm::Names, json!(1), Err("a string")),
            (ArgumentForm::TextOr("."), json!(true), Ok(".")),
            (ArgumentForm::TextOr("."), json!(false), Err("a string")),
            (ArgumentForm::TextOr("."), json!("_"), Ok("_")),
            (ArgumentForm::Count, json!(3), Ok("3")),
            (ArgumentForm::Count, json!(-1), Err("a non-negative integer")),
            (ArgumentForm::Count, json!(1.5), Err("a non-negative integer")),
            (ArgumentForm::Part, json!(0.25), Ok("0.25")),
            (ArgumentForm::Part, json!(1), Ok("1")),
            (ArgumentForm::Part, json!(1.5), Err("a number from 0 to 1")),
        ] {
            assert_eq!(form.text_of(&value), expected.map(str::to_owned), "{form:?} {value}");
        }
    }
}
