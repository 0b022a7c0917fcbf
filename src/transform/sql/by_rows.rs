//! Queries that look at one row at a time: projections and filters, batch by batch.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions};
use arrow_schema::SchemaRef;
use arrow_select::filter::{filter_record_batch, prep_null_mask_filter};
use datafusion::common::DFSchema;
use datafusion::datasource::empty::EmptyTable;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::{Expr, FetchType, LogicalPlan, SkipType};
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};

use super::columns::{arrow_schema, schema_of, to_batch, to_table};
use super::context::{RESULTS, context, register};
use super::error::SqlError;
use super::query::Query;
use crate::column::{Batch, Schema};

/// A query over rows with certain columns, made ready.
#[derive(Clone, Debug)]
pub struct ByRows {
    input: Arc<Schema>,
    table: SchemaRef,
    operations: Vec<Operation>,
    output: Arc<Schema>,
    limit: Option<u64>,
}

#[derive(Clone, Debug)]
enum Operation {
    /// These columns of the table.
    Pick(Vec<usize>),
    Filter(Arc<dyn PhysicalExpr>),
    Project(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
}

impl Query {
    /// The query as steps can take it, if it looks at one row of the results at a time; they have these `columns`. An
    /// error says what about the query does not go with them.
    pub fn by_rows(&self, columns: &Schema) -> Result<Option<ByRows>, SqlError> {
        if *self.tables() != [RESULTS] {
            return Ok(None);
        }
        ByRows::new(self, columns)
    }
}

impl ByRows {
    fn new(query: &Query, columns: &Schema) -> Result<Option<Self>, SqlError> {
        let table = Arc::new(arrow_schema(columns));
        let context = context(1);
        register(&context, RESULTS, Arc::new(EmptyTable::new(table.clone())))?;
        let plan = query.plan(&context)?;
        let output = schema_of(plan.schema().as_arrow(), &query.names(&plan))?;
        let state = context.state();
        let optimized = state.optimize(&plan)?;
        let mut found = Found { props: state.execution_props(), operations: Vec::new(), limit: None };
        if found.collect(&optimized, true).is_none() {
            return Ok(None);
        }
        let Found { operations, limit, .. } = found;
        Ok(Some(ByRows { input: Arc::new(columns.clone()), table, operations, output: Arc::new(output), limit }))
    }

    /// The columns that it was made for.
    pub fn input(&self) -> &Schema {
        &self.input
    }

    /// The columns of its answer.
    pub fn output(&self) -> &Arc<Schema> {
        &self.output
    }

    /// How many rows of the answer are wanted, if not all.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// The answer for the rows of `batch`, which has the columns that this was made for, whatever the limit. And which of
    /// the rows are in it, if not all are.
    pub fn apply(&self, batch: &Batch) -> Result<(Batch, Option<BooleanArray>), SqlError> {
        let mut rows = to_table(&batch.columns, batch.rows, &self.table).map_err(|e| SqlError::new(e.to_string()))?;
        let mut kept: Option<BooleanArray> = None;
        for operation in &self.operations {
            rows = match operation {
                Operation::Pick(places) => rows.project(places).map_err(|e| SqlError::new(e.to_string()))?,
                Operation::Filter(predicate) => {
                    let mask = predicate.evaluate(&rows)?.into_array(rows.num_rows())?;
                    // What is neither true nor false does not pass.
                    let mask = match mask.as_boolean() {
                        mask if mask.null_count() > 0 => prep_null_mask_filter(mask),
                        mask => mask.clone(),
                    };
                    let left = filter_record_batch(&rows, &mask).map_err(|e| SqlError::new(e.to_string()))?;
                    kept = Some(kept.map_or(mask.clone(), |before| and_among_kept(&before, &mask)));
                    left
                }
                Operation::Project(values, schema) => {
                    let n = rows.num_rows();
                    let columns = values.iter().map(|value| value.evaluate(&rows)?.into_array(n));
                    let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
                    // As they came out; what is said of fields inside may differ from what was planned.
                    let typed = schema.fields().iter().zip(&columns).map(|(field, column)| {
                        arrow_schema::Field::new(field.name(), column.data_type().clone(), true)
                    });
                    let schema = Arc::new(arrow_schema::Schema::new(typed.collect::<Vec<_>>()));
                    let options = RecordBatchOptions::new().with_row_count(Some(n));
                    RecordBatch::try_new_with_options(schema, columns, &options)
                        .map_err(|e| SqlError::new(e.to_string()))?
                }
            };
        }
        Ok((to_batch(&rows, &self.output)?, kept))
    }
}

/// What a plan does to single rows.
struct Found<'a> {
    props: &'a ExecutionProps,
    operations: Vec<Operation>,
    limit: Option<u64>,
}

impl Found<'_> {
    /// Takes up the operations of `plan`, from the table up; `None` if there is another than those of single rows. What
    /// comes out of them is `counted` if a limit is one of the answer.
    fn collect(&mut self, plan: &LogicalPlan, counted: bool) -> Option<()> {
        match plan {
            LogicalPlan::TableScan(scan) if scan.filters.is_empty() => {
                self.operations.extend(scan.projection.clone().map(Operation::Pick));
            }
            LogicalPlan::SubqueryAlias(alias) => self.collect(&alias.input, counted)?,
            LogicalPlan::Limit(limit) if counted => {
                let (SkipType::Literal(0), FetchType::Literal(fetch)) =
                    (limit.get_skip_type().ok()?, limit.get_fetch_type().ok()?)
                else {
                    return None;
                };
                let rows = fetch.map(|rows| rows as u64);
                self.limit = self.limit.into_iter().chain(rows).min();
                self.collect(&limit.input, counted)?;
            }
            LogicalPlan::Filter(filter) => {
                self.collect(&filter.input, false)?;
                let predicate = self.ready(&filter.predicate, filter.input.schema())?;
                self.operations.push(Operation::Filter(predicate));
            }
            LogicalPlan::Projection(projection) => {
                self.collect(&projection.input, counted)?;
                let values = projection.expr.iter().map(|expr| self.ready(expr, projection.input.schema()));
                let values = values.collect::<Option<_>>()?;
                self.operations.push(Operation::Project(values, projection.schema.inner().clone()));
            }
            _ => return None,
        }
        Some(())
    }

    fn ready(&self, expr: &Expr, schema: &DFSchema) -> Option<Arc<dyn PhysicalExpr>> {
        create_physical_expr(expr, schema, self.props, &PhysicalPlanningContext::default()).ok()
    }
}

/// `before`, in which of the rows that it keeps only those of `among` are left.
fn and_among_kept(before: &BooleanArray, among: &BooleanArray) -> BooleanArray {
    let mut among = among.values().iter();
    before.values().iter().map(|kept| Some(kept && among.next().unwrap_or(false))).collect()
}
