//! The table of steps: dispatches the calls of plans, workers, flags and steps files to the file of each step. A new
//! step is a file in [`super::steps`] and a line here.

use std::sync::Arc;

use serde_json::Value;

use super::binding::Binding;
use super::describe::StepText;
use super::error::Error;
use super::expr;
use super::kind::{ArgumentForm, Properties, RunningStep, StepKind, WrittenStep};
use super::needed::Needed;
use super::options::StepOptions;
use super::row_tracker::RowTracker;
use super::sql::Query;
use super::steps::cast::Cast;
use super::steps::check_rows::CheckRows;
use super::steps::deduplicate::Deduplicate;
use super::steps::explode::Explode;
use super::steps::filter::Filter;
use super::steps::flatten::Flatten;
use super::steps::json_text::JsonText;
use super::steps::limit::Limit;
use super::steps::lookup::Lookup;
use super::steps::remove_columns::RemoveColumns;
use super::steps::rename::Rename;
use super::steps::sample::Sample;
use super::steps::select::Select;
use super::steps::with::With;
use crate::column::{Batch, Schema};

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident($parameters:ty) $($written:ident)?;)*) => {
        /// One step of a plan. Steps keep the order of rows and count every row that they drop.
        #[derive(Clone, Debug)]
        pub enum Step {
            $($(#[$doc])* $name($parameters),)*
        }

        $(impl From<$parameters> for Step {
            fn from(step: $parameters) -> Self {
                Step::$name(step)
            }
        })*

        impl Step {
            /// Describes the step for `explain`.
            pub fn describe(&self) -> StepText {
                match self { $(Step::$name(step) => step.describe(),)* }
            }

            /// Returns the properties that the planner decides by.
            pub fn properties(&self) -> Properties {
                match self { $(Step::$name(step) => step.properties(),)* }
            }

            /// Forgets what an earlier execution of a plan with this step found out about the values. Called once per
            /// execution, which may pass over its sources twice.
            pub fn begin(&mut self) {
                match self { $(Step::$name(step) => step.begin(),)* }
            }

            /// Dispatches to [`StepKind::bind`].
            pub(super) fn bind(&mut self, columns: &mut Binding) -> Result<(), expr::Error> {
                match self { $(Step::$name(step) => step.bind(columns),)* }
            }

            /// Dispatches to [`StepKind::add_needed`].
            pub(super) fn add_needed(&self, needed: &mut Needed) {
                match self { $(Step::$name(step) => step.add_needed(needed),)* }
            }

            /// Dispatches to [`StepKind::add_looked_at`].
            pub(super) fn add_looked_at(&self, looked_at: &mut Needed) {
                match self { $(Step::$name(step) => step.add_looked_at(looked_at),)* }
            }

            /// Dispatches to [`StepKind::add_written`].
            pub(super) fn add_written(&self, written: &mut Needed) {
                match self { $(Step::$name(step) => step.add_written(written),)* }
            }

            /// Dispatches to [`StepKind::start`].
            pub(super) fn start(&self, options: &StepOptions) -> Running {
                match self { $(Step::$name(step) => Running::$name(Box::new(step.start(options))),)* }
            }
        }

        /// A running step. Dispatched once per batch.
        #[derive(Debug)]
        pub(super) enum Running {
            $($name(Box<<$parameters as StepKind>::Running>),)*
        }

        impl Running {
            /// Dispatches to [`RunningStep::output_schema`].
            pub(super) fn output_schema(&self, schema: Schema, options: &StepOptions) -> Result<Schema, Error> {
                match self { $(Running::$name(step) => step.output_schema(schema, options),)* }
            }

            /// Dispatches to [`RunningStep::apply`].
            pub(super) fn apply(
                &mut self,
                batch: Batch,
                rows: &mut RowTracker<'_>,
                options: &StepOptions,
            ) -> Result<Batch, Error> {
                match self { $(Running::$name(step) => step.apply(batch, rows, options),)* }
            }

            /// Dispatches to [`RunningStep::take_mismatches`].
            pub(super) fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
                match self { $(Running::$name(step) => step.take_mismatches(),)* }
            }
        }

        /// Steps with a text form.
        static GRAMMARS: &[Grammar] = &[$($($written::<$parameters>(),)?)*];
    };
}

steps! {
    /// Keeps the rows that satisfy a condition.
    Filter(Filter) written;
    /// Adds or replaces a column, computed by an expression.
    With(With) written;
    /// Keeps the given columns, and values inside columns, in the given order.
    Select(Select) written;
    /// Drops the given columns.
    RemoveColumns(RemoveColumns) written;
    /// Renames the given columns.
    Rename(Rename) written;
    /// Casts columns to types.
    Cast(Cast) written;
    /// Flattens objects into columns.
    Flatten(Flatten) written;
    /// Explodes lists into rows.
    Explode(Explode) written;
    /// Keeps the first row of each distinct key.
    Deduplicate(Deduplicate) written;
    /// Converts objects and lists to JSON text.
    JsonText(JsonText) written;
    /// Replaces the rows by the result of an SQL query.
    Sql(Arc<Query>) written;
    /// Keeps the first rows and stops reading.
    Limit(Limit) written;
    /// Keeps a random fraction of the rows.
    Sample(Sample) written;
    /// Adds columns from a reference table.
    Lookup(Lookup);
    /// Rejects rows that an output cannot hold.
    CheckRows(CheckRows);
}

/// Name and parser of a step with a text form.
#[derive(Debug)]
pub struct Grammar {
    /// Name of the step, as in steps files.
    pub word: &'static str,
    /// Form of its argument.
    pub form: ArgumentForm,
    parse: fn(&str, u64) -> Result<Vec<Step>, expr::Error>,
}

const fn written<S: WrittenStep>() -> Grammar
where
    Step: From<S>,
{
    Grammar {
        word: S::WORD,
        form: S::FORM,
        parse: |text, seed| Ok(S::parse(text, seed)?.into_iter().map(Step::from).collect()),
    }
}

impl Step {
    /// Parses the text of the step named `word`, in the syntax of the command line and of steps files: `where` with an
    /// expression, `select` with columns, `limit` with a number; [`Grammar::all`] lists the names. One text can yield
    /// several steps. Column names are checked when the plan is executed.
    ///
    /// # Errors
    ///
    /// [`ReadError::Unknown`] for another name, [`ReadError::Text`] with the byte of `text` that cannot be parsed.
    ///
    /// # Examples
    ///
    /// ```
    /// use drawoff::transform::Step;
    ///
    /// let mut steps = Step::parse("where", "hq.country = 'NO' and score > 0.8")?;
    /// steps.extend(Step::parse("with", "domain = lower(split_part(email, '@', 2))")?);
    /// steps.extend(Step::parse("select", "name, domain")?);
    /// assert_eq!(steps.len(), 3);
    ///
    /// let error = Step::parse("where", "score >").unwrap_err();
    /// assert!(error.to_string().starts_with("where: "));
    /// # Ok::<(), drawoff::transform::ReadError>(())
    /// ```
    pub fn parse(word: &str, text: &str) -> Result<Vec<Step>, ReadError> {
        let grammar = Grammar::of(word).ok_or_else(|| ReadError::Unknown { word: word.to_owned() })?;
        grammar.parse(text, 0).map_err(|cause| ReadError::Text { word: grammar.word, cause })
    }
}

impl Grammar {
    /// Returns the grammars of all steps with a text form, in the order of the help.
    pub fn all() -> &'static [Grammar] {
        GRAMMARS
    }

    /// Returns the grammar of the step named `word`, if there is one.
    pub fn of(word: &str) -> Option<&'static Grammar> {
        GRAMMARS.iter().find(|grammar| grammar.word == word)
    }

    /// Parses `text` into steps; `seed` seeds random choices. An error refers to a byte of `text`.
    pub fn parse(&self, text: &str, seed: u64) -> Result<Vec<Step>, expr::Error> {
        (self.parse)(text, seed)
    }

    /// Parses a value of a JSON or TOML document into steps.
    pub fn read(&self, value: &Value, seed: u64) -> Result<Vec<Step>, ReadError> {
        // Values are converted to text first, so that flags and documents share one parser.
        let text = self.form.text_of(value).map_err(|expected| ReadError::Form { word: self.word, expected })?;
        self.parse(&text, seed).map_err(|cause| ReadError::Text { word: self.word, cause })
    }
}

/// Error of reading a step from a value of a document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No step has this name.
    #[error("there is no step `{word}`; the steps are {}", step_names())]
    Unknown {
        /// Name as given.
        word: String,
    },
    /// The value has another form than the argument of the step.
    #[error("`{word}` must be {expected}")]
    Form {
        /// Name of the step.
        word: &'static str,
        /// Expected form, such as `a string`.
        expected: &'static str,
    },
    /// The text of the step cannot be parsed.
    #[error("{word}: {cause}")]
    Text {
        /// Name of the step.
        word: &'static str,
        /// Error of the text, with the byte that it refers to.
        cause: expr::Error,
    },
}

/// Lists the names of all steps with a text form, for messages.
fn step_names() -> String {
    GRAMMARS.iter().map(|grammar| grammar.word).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::column::{Field, Type, TypeMerge};
    use crate::transform::{KnownColumns, bind};

    #[test]
    fn the_word_of_a_step_is_the_one_that_explains_it() {
        for (word, value) in [
            ("where", json!("a > 1")),
            ("with", json!("b = a")),
            ("select", json!(["a"])),
            ("drop", json!("a")),
            ("rename", json!("a=b")),
            ("cast", json!("a:int")),
            ("flatten", json!(true)),
            ("explode", json!("a")),
            ("dedupe", json!("*")),
            ("json", json!("a")),
            ("limit", json!(1)),
            ("sample", json!(0.5)),
        ] {
            let steps = Grammar::of(word).unwrap().read(&value, 7).unwrap();
            assert_eq!(steps.iter().map(|step| step.describe().name).collect::<Vec<_>>(), [word]);
        }
        assert!(Grammar::of("lookup").is_none(), "it has no text form");
        let unknown = Step::parse("lookup", "a").unwrap_err().to_string();
        assert!(unknown.starts_with("there is no step `lookup`; the steps are where, with, "), "{unknown}");
        let refused = Grammar::of("limit").unwrap().read(&json!("many"), 0).unwrap_err();
        assert_eq!(refused.to_string(), "`limit` must be a non-negative integer");
    }

    /// Columns named by the vendor's blocks may appear later; the command line's text is checked against known columns.
    #[test]
    fn the_two_grammars_of_a_step_make_the_same_step_and_differ_in_what_they_demand() {
        let names = || ["a".to_owned(), "aa".to_owned()];
        for (by_names, written) in [
            (Step::from(Deduplicate::by_names(names())), Step::from(Deduplicate::parse("a,aa").unwrap())),
            (RemoveColumns::by_names(names()).into(), RemoveColumns::parse("a,aa").unwrap().into()),
        ] {
            assert_eq!(by_names.properties(), written.properties());
            assert_eq!(by_names.describe().memory, written.describe().memory);
            let fields = ["a", "b"].map(|name| Field::new(name, Type::Text));
            let known = KnownColumns {
                schema: Schema::new(fields.into()),
                complete: true,
                type_merge: TypeMerge::Json,
                removed: Vec::new(),
                is_part: false,
            };
            let after = |step: &Step| {
                let mut columns = Binding::new(known.clone());
                step.clone().bind(&mut columns).map(|()| columns.schema().clone())
            };
            assert!(after(&by_names).is_ok() && after(&written).is_err());
            assert!(bind(&mut [written], known).unwrap_err().message.contains("no column `aa`"));
        }
    }
}
