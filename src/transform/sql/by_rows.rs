//! Queries that process one row at a time: compiles DataFusion's projections and filters to run batch by batch on the
//! workers. Queries with any other operator are left to `whole.rs`.

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

/// A query compiled for fixed input columns.
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
    /// Projects to the table columns of these indices.
    Pick(Vec<usize>),
    Filter(Arc<dyn PhysicalExpr>),
    Project(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
}

impl Query {
    /// Compiles the query for batches with these `columns`. Returns `None` if it does not process one row of the
    /// results at a time. Fails if the query does not fit the columns.
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
        // Optimized first: folding and pushdown reduce many queries to row-wise operators.
        let optimized = state.optimize(&plan)?;
        let mut found = RowOperations { props: state.execution_props(), operations: Vec::new(), limit: None };
        if found.collect(&optimized, true).is_none() {
            return Ok(None);
        }
        let RowOperations { operations, limit, .. } = found;
        Ok(Some(ByRows { input: Arc::new(columns.clone()), table, operations, output: Arc::new(output), limit }))
    }

    /// Returns the input columns that the query was compiled for.
    pub fn input(&self) -> &Schema {
        &self.input
    }

    /// Returns the columns of the result.
    pub fn output(&self) -> &Arc<Schema> {
        &self.output
    }

    /// Returns the row limit of the query; `None` if it has none.
    pub fn limit(&self) -> Option<u64> {
        self.limit
    }

    /// Runs the query on `batch`, whose columns must be [`ByRows::input`]; ignores the limit. Also returns the mask of
    /// the rows that passed; `None` if the query has no filter.
    pub fn apply(&self, batch: &Batch) -> Result<(Batch, Option<BooleanArray>), SqlError> {
        let mut rows = to_table(&batch.columns, batch.rows, &self.table).map_err(|e| SqlError::new(e.to_string()))?;
        let mut kept: Option<BooleanArray> = None;
        for operation in &self.operations {
            rows = match operation {
                Operation::Pick(places) => rows.project(places).map_err(|e| SqlError::new(e.to_string()))?,
                Operation::Filter(predicate) => {
                    let mask = predicate.evaluate(&rows)?.into_array(rows.num_rows())?;
                    // SQL: a row whose predicate is null does not pass.
                    let mask = match mask.as_boolean() {
                        mask if mask.null_count() > 0 => prep_null_mask_filter(mask),
                        mask => mask.clone(),
                    };
                    let filtered = filter_record_batch(&rows, &mask).map_err(|e| SqlError::new(e.to_string()))?;
                    kept = Some(kept.map_or(mask.clone(), |before| and_among_kept(&before, &mask)));
                    filtered
                }
                Operation::Project(values, schema) => {
                    let n = rows.num_rows();
                    let columns = values.iter().map(|value| value.evaluate(&rows)?.into_array(n));
                    let columns = columns.collect::<Result<Vec<ArrayRef>, _>>()?;
                    // Types as evaluated: the metadata of nested fields may differ from the planned schema.
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

/// Row-wise operations collected from a logical plan.
struct RowOperations<'a> {
    props: &'a ExecutionProps,
    operations: Vec<Operation>,
    limit: Option<u64>,
}

impl RowOperations<'_> {
    /// Collects the operations of `plan`, from the table up. Returns `None` if one of them is not row-wise. With
    /// `limits_result`, a limit here is a limit of the result; below a filter it is not.
    fn collect(&mut self, plan: &LogicalPlan, limits_result: bool) -> Option<()> {
        match plan {
            // Filters inside the scan would be lost: this table does not evaluate them.
            LogicalPlan::TableScan(scan) if scan.filters.is_empty() => {
                self.operations.extend(scan.projection.clone().map(Operation::Pick));
            }
            LogicalPlan::SubqueryAlias(alias) => self.collect(&alias.input, limits_result)?,
            LogicalPlan::Limit(limit) if limits_result => {
                // An OFFSET counts rows across batches, which a row-wise operation cannot.
                let (SkipType::Literal(0), FetchType::Literal(fetch)) =
                    (limit.get_skip_type().ok()?, limit.get_fetch_type().ok()?)
                else {
                    return None;
                };
                let rows = fetch.map(|rows| rows as u64);
                // Of nested limits the smallest holds.
                self.limit = self.limit.into_iter().chain(rows).min();
                self.collect(&limit.input, limits_result)?;
            }
            // A limit below a filter limits the input of the filter, not the result.
            LogicalPlan::Filter(filter) => {
                self.collect(&filter.input, false)?;
                let predicate = self.physical_expr(&filter.predicate, filter.input.schema())?;
                self.operations.push(Operation::Filter(predicate));
            }
            LogicalPlan::Projection(projection) => {
                self.collect(&projection.input, limits_result)?;
                let values = projection.expr.iter().map(|expr| self.physical_expr(expr, projection.input.schema()));
                let values = values.collect::<Option<_>>()?;
                self.operations.push(Operation::Project(values, projection.schema.inner().clone()));
            }
            _ => return None,
        }
        Some(())
    }

    fn physical_expr(&self, expr: &Expr, schema: &DFSchema) -> Option<Arc<dyn PhysicalExpr>> {
        create_physical_expr(expr, schema, self.props, &PhysicalPlanningContext::default()).ok()
    }
}

/// Combines two masks: `among` has one bit for each row that `before` keeps.
fn and_among_kept(before: &BooleanArray, among: &BooleanArray) -> BooleanArray {
    let mut among = among.values().iter();
    before.values().iter().map(|kept| Some(kept && among.next().unwrap_or(false))).collect()
}
