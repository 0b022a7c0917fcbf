//! `group_by`: one row for each combination of values in some columns, with figures over its rows.

use std::collections::{BTreeMap, HashSet};

use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::block::{Block, BlockContext, BlockPlan, Rewrite};
use super::definition::{BlockType, BlockUnderCheck, Problems, Specs};
use super::failure::Failure;
use super::lines::{Row, RowReader, RowWriter};
use super::spec_types::{Columns, Members};
use crate::transform::{Aggregate, Groups, SpillBudget};

pub(super) const fn block() -> BlockType {
    BlockType::new::<GroupBySpecs>("group_by")
}

// Our reading: the columns stand in `columns` (one alone may stand there, or in `column`, as text), and the figures in
// `aggregations`: as a list, or as an object of columns with a function or several.
#[derive(Deserialize, ToSchema)]
struct GroupBySpecs {
    /// Rows with the same values in these become one.
    columns: Option<Columns>,
    /// One column, in place of `columns`.
    column: Option<String>,
    /// Figures over each group; the number of rows when absent. A list of {column, function, name}, or an object of
    /// columns with one function or several. No two columns of the result may have the same name.
    aggregations: Option<Aggregations>,
}

#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum Aggregations {
    List(Vec<Aggregation>),
    ByColumn(FunctionsByColumn),
}

/// The figures over each column.
#[derive(Deserialize)]
#[serde(transparent)]
struct FunctionsByColumn(Members<Functions>);

impl PartialSchema for FunctionsByColumn {
    fn schema() -> RefOr<Schema> {
        BTreeMap::<String, Functions>::schema()
    }
}

impl ToSchema for FunctionsByColumn {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        BTreeMap::<String, Functions>::schemas(schemas);
    }
}

#[derive(Deserialize, ToSchema)]
struct Aggregation {
    /// The column that it is over; only a count needs none.
    column: Option<String>,
    function: Function,
    /// The column that it becomes; `COLUMN_FUNCTION` when absent.
    name: Option<String>,
}

#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum Functions {
    One(Function),
    Many(Vec<Function>),
}

#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Function {
    Count,
    Sum,
    Mean,
    /// The mean.
    Avg,
    Min,
    Max,
    First,
    Last,
    List,
}

impl From<Function> for Aggregate {
    fn from(function: Function) -> Aggregate {
        match function {
            Function::Count => Aggregate::Count,
            Function::Sum => Aggregate::Sum,
            Function::Mean | Function::Avg => Aggregate::Mean,
            Function::Min => Aggregate::Min,
            Function::Max => Aggregate::Max,
            Function::First => Aggregate::First,
            Function::Last => Aggregate::Last,
            Function::List => Aggregate::List,
        }
    }
}

impl Specs for GroupBySpecs {
    fn refine(schema: &mut Value) {
        let columns = json!({ "oneOf": [{ "type": "string" }, { "type": "array", "minItems": 1 }] });
        schema["anyOf"] = json!([
            { "properties": { "columns": columns }, "required": ["columns"] },
            { "properties": { "columns": { "type": "null" }, "column": { "type": "string" } }, "required": ["column"] },
        ]);
        let is_count = json!({ "properties": { "function": { "const": "count" } }, "required": ["function"] });
        let named = json!({ "properties": { "column": { "type": "string" } }, "required": ["column"] });
        schema["properties"]["aggregations"]["oneOf"][0]["oneOf"][0]["items"]["anyOf"] = json!([named, is_count]);
    }

    fn into_block(self, _: BlockUnderCheck<'_>, problems: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        let columns = match self.columns {
            Some(columns) => Columns::names(Some(columns)),
            None => self.column.into_iter().collect(),
        };
        let figure = |column: Option<String>, function: Function, name: Option<String>| {
            let figure = Aggregate::from(function);
            let word = figure.word();
            let default = column.as_ref().map_or_else(|| word.to_owned(), |column| format!("{column}_{word}"));
            AggregateSpec { name: name.unwrap_or(default), figure, column }
        };
        let figures: Vec<AggregateSpec> = match self.aggregations {
            None => vec![figure(None, Function::Count, None)],
            Some(Aggregations::List(list)) => list.into_iter().map(|a| figure(a.column, a.function, a.name)).collect(),
            Some(Aggregations::ByColumn(by_column)) => {
                let mut figures = Vec::new();
                for (column, functions) in by_column.0.0 {
                    let functions = match functions {
                        Functions::One(function) => vec![function],
                        Functions::Many(functions) => functions,
                    };
                    figures.extend(functions.into_iter().map(|function| figure(Some(column.clone()), function, None)));
                }
                figures
            }
        };
        let mut names = HashSet::new();
        let all = columns.iter().chain(figures.iter().map(|figure| &figure.name));
        if let Some(twice) = all.into_iter().find(|name| !names.insert(name.as_str())) {
            let text = format!("would give two columns the name '{twice}'");
            return problems.refuse_all(&["aggregations".into()], "value_error", &text);
        }
        Some(Box::new(GroupBy { columns, figures }))
    }
}

#[derive(Clone, Debug)]
struct GroupBy {
    /// Rows that have the same values in these are one group.
    columns: Vec<String>,
    figures: Vec<AggregateSpec>,
}

/// One figure over each group.
#[derive(Clone, Debug)]
struct AggregateSpec {
    /// The column that it becomes.
    name: String,
    figure: Aggregate,
    /// The column that it is over; a count needs none.
    column: Option<String>,
}

impl Block for GroupBy {
    fn plan(&self, context: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        context.need(&self.columns)?;
        context.need(self.figures.iter().filter_map(|figure| figure.column.as_ref()))?;
        Ok(BlockPlan::rewrite(self.clone()))
    }
}

impl Rewrite for GroupBy {
    fn rewrite(
        self: Box<Self>,
        input: RowReader<'_>,
        _: &[String],
        room: SpillBudget,
        output: &mut RowWriter<'_>,
    ) -> Result<Option<String>, Failure> {
        let GroupBy { columns, figures } = &*self;
        let mut groups = Groups::new(figures.iter().map(|figure| figure.figure).collect(), room);
        input.each(|line| {
            let row = Row::read(line)?;
            let keys: Vec<&str> = columns.iter().map(|column| row.get(column)).collect();
            let value = |column: &Option<String>| column.as_ref().map_or("null", |column| row.get(column));
            let values: Vec<&str> = figures.iter().map(|figure| value(&figure.column)).collect();
            Ok(groups.add(&keys, &values)?)
        })?;
        let names: Vec<&str> =
            columns.iter().map(String::as_str).chain(figures.iter().map(|figure| figure.name.as_str())).collect();
        groups.finish(|texts| {
            let members = names.iter().zip(&texts).map(|(name, json)| (*name, json.as_str()));
            output.row(members).map_err(Failure::from)
        })?;
        let not_numbers = figures.iter().any(|f| matches!(f.figure, Aggregate::Sum | Aggregate::Mean));
        Ok(not_numbers.then(|| "sums and means are over values that are numbers; others are left out".to_owned()))
    }
}
