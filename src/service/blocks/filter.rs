//! `filter`: keeps the rows that meet conditions. The comparisons themselves are those of the pipeline's filter step.

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan};
use super::definition::{BlockType, BlockUnderCheck, Problems, Specs};
use super::failure::Failure;
use crate::transform::{self, Logic, Test};

pub(super) const fn block() -> BlockType {
    BlockType::new::<FilterSpecs>("filter")
}

#[derive(Deserialize, ToSchema)]
struct FilterSpecs {
    /// Conditions, combined from left to right; without conditions every row is kept.
    filters: Vec<Condition>,
}

#[derive(Deserialize, ToSchema)]
struct Condition {
    column: String,
    operator: Operator,
    /// Not used by is_empty and is_not_empty; a list for in and not_in; a regular expression for matches, without
    /// look-around and backreferences.
    #[serde(default, deserialize_with = "present")]
    #[schema(required = false, value_type = Value)]
    value: Option<Value>,
    /// Combines the condition with the ones before it; `and` when absent.
    logic: Option<LogicWord>,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Operator {
    Equals,
    NotEquals,
    Contains,
    NotContains,
    Greater,
    Less,
    In,
    NotIn,
    IsEmpty,
    IsNotEmpty,
    Matches,
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum LogicWord {
    And,
    Or,
}

/// Deserializes a null as `Some(Null)`, so that it differs from an absent key.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Specs for FilterSpecs {
    fn refine(schema: &mut Value) {
        // The allowed values depend on the operator. Operators that are not listed need no value.
        let needs = |operators: &[&str], value: Value| {
            json!({
                "if": { "properties": { "operator": { "enum": operators } }, "required": ["operator"] },
                "then": { "properties": { "value": value }, "required": ["value"] },
            })
        };
        let single = json!({ "type": ["string", "number", "boolean", "null"] });
        // Our reading: a single value is a list of one.
        let list = json!({ "type": ["array", "string", "number", "boolean", "null"] });
        schema["properties"]["filters"]["items"]["allOf"] = json!([
            needs(&["equals", "not_equals"], json!({})),
            needs(&["contains", "not_contains", "greater", "less"], single),
            needs(&["in", "not_in"], list),
            needs(&["matches"], json!({ "type": "string", "format": "rust-regex" })),
        ]);
    }

    fn into_block(self, _: BlockUnderCheck<'_>, problems: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        let mut conditions = Vec::with_capacity(self.filters.len());
        let n_filters = self.filters.len();
        for (i, condition) in self.filters.into_iter().enumerate() {
            match condition.parse() {
                Ok(condition) => conditions.push(condition),
                Err(cause) => problems.refuse(&["filters".into(), i.into(), "value".into()], "value_error", &cause),
            }
        }
        let mut required_columns: Vec<String> = Vec::new();
        for condition in &conditions {
            if !required_columns.contains(&condition.column) {
                required_columns.push(condition.column.clone());
            }
        }
        // All conditions are parsed before the block is refused, so that every problem is reported at once.
        (conditions.len() == n_filters).then(|| Box::new(Filter { conditions, required_columns }) as Box<dyn Block>)
    }
}

impl Condition {
    /// Converts the condition to one of the filter step. Fails if the pattern of `matches` is not a regular expression;
    /// the error continues a sentence that begins with the path of the value.
    fn parse(self) -> Result<transform::Condition, String> {
        let value = self.value.unwrap_or(Value::Null);
        let list = |value: Value| match value {
            Value::Array(values) => values,
            value => vec![value],
        };
        let test = match self.operator {
            Operator::Equals => Test::Equals(value),
            Operator::NotEquals => Test::NotEquals(value),
            Operator::Contains => Test::Contains(value),
            Operator::NotContains => Test::NotContains(value),
            Operator::Greater => Test::Greater(value),
            Operator::Less => Test::Less(value),
            Operator::In => Test::In(list(value)),
            Operator::NotIn => Test::NotIn(list(value)),
            Operator::IsEmpty => Test::IsEmpty,
            Operator::IsNotEmpty => Test::IsNotEmpty,
            Operator::Matches => {
                let regex = regex::Regex::new(value.as_str().unwrap_or_default()).map_err(|error| {
                    // `regex` prints the pattern over several lines and the cause on the last one.
                    let text = error.to_string();
                    let cause = text.lines().last().unwrap_or("invalid syntax").trim_start_matches("error: ");
                    format!("is not a valid regular expression: {cause}")
                })?;
                Test::Matches(regex)
            }
        };
        // Our reading: conditions are combined from left to right, by `and` unless specified.
        let logic = match self.logic {
            None | Some(LogicWord::And) => Logic::And,
            Some(LogicWord::Or) => Logic::Or,
        };
        Ok(transform::Condition { column: self.column, test, logic })
    }
}

#[derive(Debug)]
struct Filter {
    conditions: Vec<transform::Condition>,
    /// Columns that the conditions read, without duplicates.
    required_columns: Vec<String>,
}

impl Block for Filter {
    fn plan(&self, context: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        context.require(&self.required_columns)?;
        Ok(BlockPlan::steps(vec![transform::Filter::Conditions(self.conditions.clone()).into()]))
    }
}
