//! `filter`: keeps the rows that meet conditions.

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
    /// Conditions, joined left to right.
    filters: Vec<Condition>,
}

#[derive(Deserialize, ToSchema)]
struct Condition {
    column: String,
    operator: Operator,
    /// Not used by is_empty and is_not_empty; a list for in and not_in; a regular expression for matches, without
    /// look-around and references back.
    #[serde(default, deserialize_with = "given")]
    #[schema(required = false, value_type = Value)]
    value: Option<Value>,
    /// Joins it to the conditions before it; `and` when absent.
    logic: Option<Word>,
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
enum Word {
    And,
    Or,
}

/// A value that is null is given, one that is absent is not.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Specs for FilterSpecs {
    fn refine(schema: &mut Value) {
        let needs = |operators: &[&str], value: Value| {
            json!({
                "if": { "properties": { "operator": { "enum": operators } }, "required": ["operator"] },
                "then": { "properties": { "value": value }, "required": ["value"] },
            })
        };
        let single = json!({ "type": ["string", "number", "boolean", "null"] });
        // Our reading: a value alone is a list of one.
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
        let n = self.filters.len();
        for (i, condition) in self.filters.into_iter().enumerate() {
            match condition.read() {
                Ok(condition) => conditions.push(condition),
                Err(why) => problems.refuse(&["filters".into(), i.into(), "value".into()], "value_error", &why),
            }
        }
        let mut needs: Vec<String> = Vec::new();
        for condition in &conditions {
            if !needs.contains(&condition.column) {
                needs.push(condition.column.clone());
            }
        }
        (conditions.len() == n).then(|| Box::new(Filter { conditions, needs }) as Box<dyn Block>)
    }
}

impl Condition {
    /// `Err` says what is wrong with the pattern.
    fn read(self) -> Result<transform::Condition, String> {
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
                    // The library draws the pattern over several lines; the last one says why.
                    let text = error.to_string();
                    let why = text.lines().last().unwrap_or("not valid").trim_start_matches("error: ");
                    format!("is not a regular expression: {why}")
                })?;
                Test::Matches(regex)
            }
        };
        // Our reading: conditions are joined left to right, by `and` where nothing is said.
        let logic = match self.logic {
            None | Some(Word::And) => Logic::And,
            Some(Word::Or) => Logic::Or,
        };
        Ok(transform::Condition { column: self.column, test, logic })
    }
}

#[derive(Debug)]
struct Filter {
    conditions: Vec<transform::Condition>,
    /// Columns of the conditions.
    needs: Vec<String>,
}

impl Block for Filter {
    fn plan(&self, context: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        context.need(&self.needs)?;
        Ok(BlockPlan::steps(vec![transform::Filter::Conditions(self.conditions.clone()).into()]))
    }
}
