//! The table of steps: everything that plans, workers, flags and plan files ask of a step goes through it to the file of
//! the step. A new step is a file in [`super::steps`] and a line here.

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
        /// One step of a plan. Rows keep their order; every row that goes is counted.
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
            /// The step in words.
            pub fn describe(&self) -> StepText {
                match self { $(Step::$name(step) => step.describe(),)* }
            }

            /// Facts about it that a plan decides by.
            pub fn properties(&self) -> Properties {
                match self { $(Step::$name(step) => step.properties(),)* }
            }

            /// See [`StepKind::bind`].
            pub(super) fn bind(&mut self, columns: &mut Binding) -> Result<(), expr::Error> {
                match self { $(Step::$name(step) => step.bind(columns),)* }
            }

            /// See [`StepKind::add_needed`].
            pub(super) fn add_needed(&self, needed: &mut Needed) {
                match self { $(Step::$name(step) => step.add_needed(needed),)* }
            }

            /// See [`StepKind::start`].
            pub(super) fn start(&self, options: &StepOptions) -> Running {
                match self { $(Step::$name(step) => Running::$name(Box::new(step.start(options))),)* }
            }
        }

        /// One step at work. The kind is looked at once per batch.
        #[derive(Debug)]
        pub(super) enum Running {
            $($name(Box<<$parameters as StepKind>::Running>),)*
        }

        impl Running {
            /// See [`RunningStep::output_schema`].
            pub fn output_schema(&self, schema: Schema, options: &StepOptions) -> Result<Schema, Error> {
                match self { $(Running::$name(step) => step.output_schema(schema, options),)* }
            }

            /// See [`RunningStep::apply`].
            pub fn apply(
                &mut self,
                batch: Batch,
                rows: &mut RowTracker<'_>,
                options: &StepOptions,
            ) -> Result<Batch, Error> {
                match self { $(Running::$name(step) => step.apply(batch, rows, options),)* }
            }

            /// See [`RunningStep::take_mismatches`].
            pub fn take_mismatches(&mut self) -> Vec<(Arc<str>, u64)> {
                match self { $(Running::$name(step) => step.take_mismatches(),)* }
            }
        }

        /// The steps that people write.
        static GRAMMARS: &[Grammar] = &[$($($written::<$parameters>(),)?)*];
    };
}

steps! {
    /// Keeps the rows that meet a condition.
    Filter(Filter) written;
    /// Adds or replaces a column by the values of an expression.
    With(With) written;
    /// Keeps these columns and values inside columns, in this order.
    Select(Select) written;
    /// Leaves columns out.
    RemoveColumns(RemoveColumns) written;
    /// Gives columns new names.
    Rename(Rename) written;
    /// Brings columns to types.
    Cast(Cast) written;
    /// Makes columns of structs.
    Flatten(Flatten) written;
    /// Makes rows of the elements of lists.
    Explode(Explode) written;
    /// Keeps the first row of each distinct key.
    Deduplicate(Deduplicate) written;
    /// Makes JSON text of objects and lists.
    JsonText(JsonText) written;
    /// Keeps what a query makes of the rows.
    Sql(Arc<Query>) written;
    /// Keeps the first rows.
    Limit(Limit) written;
    /// Keeps about a part of the rows.
    Sample(Sample) written;
    /// Adds columns from a reference table.
    Lookup(Lookup);
}

/// The word of a step and how the rest of it is read.
#[derive(Debug)]
pub struct Grammar {
    /// As it stands in plan files.
    pub word: &'static str,
    /// The form of the text or value that is written with it.
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
    /// Parses the text of the step that `word` names, as it is written on the command line and in steps files: `where` with
    /// an expression, `select` with columns, `limit` with a number; [`Grammar::all`] lists the words. One text may make
    /// several steps. Columns are looked up when the plan is executed.
    ///
    /// # Errors
    ///
    /// [`ReadError::Unknown`] for another word, [`ReadError::Text`] with the place in `text` that cannot be parsed.
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
    /// All steps that people write, in the order of the help.
    pub fn all() -> &'static [Grammar] {
        GRAMMARS
    }

    /// The one whose word this is.
    pub fn of(word: &str) -> Option<&'static Grammar> {
        GRAMMARS.iter().find(|grammar| grammar.word == word)
    }

    /// The steps that `text` says; `seed` is of what is random.
    pub fn parse(&self, text: &str, seed: u64) -> Result<Vec<Step>, expr::Error> {
        (self.parse)(text, seed)
    }

    /// The steps that a value of a JSON or TOML document says.
    pub fn read(&self, value: &Value, seed: u64) -> Result<Vec<Step>, ReadError> {
        let text = self.form.text_of(value).map_err(|expected| ReadError::Form { word: self.word, expected })?;
        self.parse(&text, seed).map_err(|cause| ReadError::Text { word: self.word, cause })
    }
}

/// The reason why a value is no step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No step has this word.
    #[error("no step is called `{word}`; there are {}", words())]
    Unknown {
        /// The word that was given.
        word: String,
    },
    /// It is no such value.
    #[error("`{word}` is {expected}")]
    Form {
        /// The step's word.
        word: &'static str,
        /// Such as `a text`.
        expected: &'static str,
    },
    /// Its text says nothing.
    #[error("{word}: {cause}")]
    Text {
        /// The step's word.
        word: &'static str,
        /// The fault of its text, and the place.
        cause: expr::Error,
    },
}

/// The words of all steps, for messages.
fn words() -> String {
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
        assert!(Grammar::of("lookup").is_none(), "no one writes it");
        let unknown = Step::parse("lookup", "a").unwrap_err().to_string();
        assert!(unknown.starts_with("no step is called `lookup`; there are where, with, "), "{unknown}");
        let refused = Grammar::of("limit").unwrap().read(&json!("many"), 0).unwrap_err();
        assert_eq!(refused.to_string(), "`limit` is a whole number");
    }

    /// The vendor's blocks name columns that may come later; the command line's text is held against those that are known.
    #[test]
    fn the_two_grammars_of_a_step_make_the_same_step_and_differ_in_what_they_demand() {
        let names = || ["a".to_owned(), "aa".to_owned()];
        for (by_names, written) in [
            (Step::from(Deduplicate::by_names(names())), Step::from(Deduplicate::parse("a,aa").unwrap())),
            (RemoveColumns::by_names(names()).into(), RemoveColumns::parse("a,aa").unwrap().into()),
        ] {
            assert_eq!(by_names.properties(), written.properties());
            assert_eq!(by_names.describe().runs, written.describe().runs);
            let fields = ["a", "b"].map(|name| Field::new(name, Type::Text));
            let known = KnownColumns {
                schema: Schema::new(fields.into()),
                complete: true,
                type_merge: TypeMerge::Json,
                removed: Vec::new(),
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
