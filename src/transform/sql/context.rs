//! DataFusion session contexts with the settings that all queries share.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::checked::CheckedArithmetic;
use super::error::SqlError;
use super::sum::exact_sum;

/// Name of the table that contains the rows after the steps before the query.
pub const RESULTS: &str = "results";

/// Creates a session context. Identifiers are not folded to lower case, so that column names match as they are.
pub(super) fn context(partitions: usize) -> SessionContext {
    with_exact_numbers(SessionContext::new_with_config(config(partitions)))
}

/// Returns the context with arithmetic and sums that fail on overflow, where DataFusion's own wrap around.
pub(super) fn with_exact_numbers(context: SessionContext) -> SessionContext {
    context.register_udaf(exact_sum());
    context.add_analyzer_rule(Arc::new(CheckedArithmetic));
    context
}

pub(super) fn config(partitions: usize) -> SessionConfig {
    let mut config = SessionConfig::new().with_target_partitions(partitions).with_information_schema(false);
    let options = config.options_mut();
    options.sql_parser.enable_ident_normalization = false;
    // Without repartitioning, rows that are only filtered and projected keep their order.
    options.optimizer.enable_round_robin_repartition = false;
    config
}

pub(super) fn register(context: &SessionContext, name: &str, table: Arc<dyn TableProvider>) -> Result<(), SqlError> {
    let name = datafusion::common::TableReference::bare(name);
    context.register_table(name, table).map(drop).map_err(SqlError::from)
}

/// Runs a future to completion on this thread, without I/O or timers. Panics if called from an asynchronous task.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, SqlError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|cause| SqlError::new(format!("cannot start a runtime: {cause}")))?;
    Ok(runtime.block_on(future))
}
