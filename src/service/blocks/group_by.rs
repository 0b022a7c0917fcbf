//! `group_by`: writes one row for each combination of values in the key columns, with aggregates over its rows. The
//! groups themselves, and their spilling to disk, are `transform::Groups`.

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

// Our reading: the key columns are in `columns` (a single one may be a string there, or in `column`), and the
// aggregates in `aggregations`: as a list, or as an object that maps columns to one or several functions.
#[derive(Deserialize, ToSchema)]
struct GroupBySpecs {
    /// Key columns: rows with the same values in these become one row.
    columns: Option<Columns>,
    /// A single key column, in place of `columns`.
    column: Option<String>,
    /// Aggregates over each group; the number of rows when absent. A list of {column, function, name}, or an object
    /// that maps columns to one or several functions. No two columns of the result may have the same name.
    aggregations: Option<Aggregations>,
}

#[derive(Deserialize, ToSchema)]
#[serde(untagged)]
enum Aggregations {
    List(Vec<Aggregation>),
    ByColumn(FunctionsByColumn),
}

/// Functions to apply to each column, in document order.
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
    /// The column to aggregate; optional only for a count.
    column: Option<String>,
    function: Function,
    /// The name of the resulting column; `COLUMN_FUNCTION` when absent.
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
    /// Another name for `mean`.
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
        // Either `columns` with at least one name, or `column`; and every aggregate but a count names its column.
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
        let spec = |column: Option<String>, function: Function, name: Option<String>| {
            let function = Aggregate::from(function);
            let word = function.word();
            let default = column.as_ref().map_or_else(|| word.to_owned(), |column| format!("{column}_{word}"));
            AggregateSpec { name: name.unwrap_or(default), function, column }
        };
        let aggregates: Vec<AggregateSpec> = match self.aggregations {
            None => vec![spec(None, Function::Count, None)],
            Some(Aggregations::List(list)) => list.into_iter().map(|a| spec(a.column, a.function, a.name)).collect(),
            Some(Aggregations::ByColumn(by_column)) => {
                let mut aggregates = Vec::new();
                for (column, functions) in by_column.0.0 {
                    let functions = match functions {
                        Functions::One(function) => vec![function],
                        Functions::Many(functions) => functions,
                    };
                    aggregates.extend(functions.into_iter().map(|function| spec(Some(column.clone()), function, None)));
                }
                aggregates
            }
        };
        // The rows of the result are JSON objects, in which the second of two equal names would replace the first.
        let mut names = HashSet::new();
        let all = columns.iter().chain(aggregates.iter().map(|aggregate| &aggregate.name));
        if let Some(duplicate) = all.into_iter().find(|name| !names.insert(name.as_str())) {
            let text = format!("would produce the duplicate column '{duplicate}'");
            return problems.refuse_all(&["aggregations".into()], "value_error", &text);
        }
        Some(Box::new(GroupBy { columns, aggregates }))
    }
}

#[derive(Clone, Debug)]
struct GroupBy {
    /// Key columns.
    columns: Vec<String>,
    aggregates: Vec<AggregateSpec>,
}

/// One aggregate over each group.
#[derive(Clone, Debug)]
struct AggregateSpec {
    /// Name of the resulting column.
    name: String,
    function: Aggregate,
    /// Column to aggregate; `None` only for a count.
    column: Option<String>,
}

impl Block for GroupBy {
    fn plan(&self, context: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        context.require(&self.columns)?;
        context.require(self.aggregates.iter().filter_map(|aggregate| aggregate.column.as_ref()))?;
        let columns = self.columns.iter().chain(self.aggregates.iter().map(|aggregate| &aggregate.name)).cloned();
        Ok(BlockPlan::rewrite(self.clone()).with_columns(columns))
    }
}

impl Rewrite for GroupBy {
    fn rewrite(
        self: Box<Self>,
        input: RowReader<'_>,
        _: &[String],
        spill_budget: SpillBudget,
        output: &mut RowWriter<'_>,
    ) -> Result<Option<String>, Failure> {
        let GroupBy { columns, aggregates } = &*self;
        let mut groups = Groups::new(aggregates.iter().map(|aggregate| aggregate.function).collect(), spill_budget);
        input.each(|line| {
            let row = Row::parse(line)?;
            let keys: Vec<&str> = columns.iter().map(|column| row.get(column)).collect();
            let value = |column: &Option<String>| column.as_ref().map_or("null", |column| row.get(column));
            let values: Vec<&str> = aggregates.iter().map(|aggregate| value(&aggregate.column)).collect();
            Ok(groups.add(&keys, &values)?)
        })?;
        let names: Vec<&str> =
            columns.iter().chain(aggregates.iter().map(|aggregate| &aggregate.name)).map(String::as_str).collect();
        groups.finish(|texts| {
            let members = names.iter().zip(&texts).map(|(name, json)| (*name, json.as_str()));
            output.row(members).map_err(Failure::from)
        })?;
        let needs_numbers = aggregates.iter().any(|a| matches!(a.function, Aggregate::Sum | Aggregate::Mean));
        Ok(needs_numbers.then(|| "sums and means ignore values that are not numbers".to_owned()))
    }
}
