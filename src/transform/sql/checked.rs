//! Checked integer arithmetic of queries: `+`, `-`, `*` and negation fail on overflow, where DataFusion wraps around.
//!
//! DataFusion plans these operators as wrapping kernels and has no setting to change that. After type coercion, an
//! analyzer rule replaces them by functions that call Arrow's checked kernels, and keeps the names of the expressions.
//! Arrow already checks decimals and times, and `/` and `%`.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::compute::kernels::numeric::{add, mul, neg, sub};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_expr_common::datum::apply;

/// Operation that fails on overflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Negate,
}

impl Operation {
    const ALL: [Operation; 4] = [Operation::Add, Operation::Subtract, Operation::Multiply, Operation::Negate];

    /// Returns the checked operation of an operator that wraps; `None` for others.
    fn of(operator: Operator) -> Option<Self> {
        match operator {
            Operator::Plus => Some(Operation::Add),
            Operator::Minus => Some(Operation::Subtract),
            Operator::Multiply => Some(Operation::Multiply),
            _ => None,
        }
    }

    fn symbol(self) -> &'static str {
        match self {
            Operation::Add => "+",
            Operation::Subtract | Operation::Negate => "-",
            Operation::Multiply => "*",
        }
    }
}

/// An [`Operation`] as a scalar function of one integer, or of two of the same type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedFunction {
    operation: Operation,
    signature: Signature,
}

impl ScalarUDFImpl for CheckedFunction {
    fn name(&self) -> &str {
        self.operation.symbol()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        Ok(arguments[0].clone())
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let computed = match (self.operation, &arguments.args[..]) {
            (Operation::Add, [a, b]) => apply(a, b, add),
            (Operation::Subtract, [a, b]) => apply(a, b, sub),
            (Operation::Multiply, [a, b]) => apply(a, b, mul),
            (_, [a]) => negate(a),
            (operation, _) => Err(DataFusionError::Internal(format!("wrong number of arguments of {operation:?}"))),
        };
        computed.map_err(|error| match error.find_root() {
            // Arrow's message contains both operands, which are personal data.
            DataFusionError::ArrowError(..) => DataFusionError::Execution(format!(
                "arithmetic overflow: the result of `{}` exceeds the range of {}; cast an operand to DECIMAL(38,0) or DOUBLE",
                self.operation.symbol(),
                arguments.return_field.data_type()
            )),
            _ => error,
        })
    }
}

fn negate(value: &ColumnarValue) -> Result<ColumnarValue> {
    Ok(match value {
        ColumnarValue::Array(values) => ColumnarValue::Array(neg(values)?),
        ColumnarValue::Scalar(value) => {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&neg(&value.to_array()?)?, 0)?)
        }
    })
}

/// Functions of all operations, in the order of [`Operation::ALL`].
static FUNCTIONS: LazyLock<[Arc<ScalarUDF>; 4]> = LazyLock::new(|| {
    Operation::ALL.map(|operation| {
        let arguments = if operation == Operation::Negate { 1 } else { 2 };
        let signature = Signature::any(arguments, Volatility::Immutable);
        Arc::new(ScalarUDF::from(CheckedFunction { operation, signature }))
    })
});

fn call(operation: Operation, arguments: Vec<Expr>) -> Expr {
    FUNCTIONS[operation as usize].call(arguments)
}

/// Analyzer rule that checks integer arithmetic. Runs after type coercion, when both operands of an operator have the
/// same type.
#[derive(Debug)]
pub(super) struct CheckedArithmetic;

impl AnalyzerRule for CheckedArithmetic {
    fn name(&self) -> &str {
        "checked_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let rewritten = plan.transform_up_with_subqueries(|plan| {
            let mut columns = merge_schema(&plan.inputs());
            if let LogicalPlan::TableScan(scan) = &plan {
                let table = DFSchema::try_from_qualified_schema(scan.table_name.clone(), &scan.source.schema())?;
                columns.merge(&table);
            }
            // The columns of the result are named after the expressions as written, not after the functions.
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let checked = expr.transform_up(|expr| checked(expr, &columns))?;
                Ok(checked.update_data(|expr| name.restore(expr)))
            })?
            .map_data(LogicalPlan::recompute_schema)
        });
        Ok(rewritten?.data)
    }
}

/// Replaces a wrapping operator on integers by its checked function.
fn checked(expr: Expr, columns: &DFSchema) -> Result<Transformed<Expr>> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match Operation::of(op) {
            Some(operation) if is_integer(&left, columns)? && is_integer(&right, columns)? => {
                Ok(Transformed::yes(call(operation, vec![*left, *right])))
            }
            _ => Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right }))),
        },
        Expr::Negative(operand) if is_integer(&operand, columns)? => {
            Ok(Transformed::yes(call(Operation::Negate, vec![*operand])))
        }
        other => Ok(Transformed::no(other)),
    }
}

fn is_integer(expr: &Expr, columns: &DFSchema) -> Result<bool> {
    Ok(expr.get_type(columns)?.is_integer())
}
