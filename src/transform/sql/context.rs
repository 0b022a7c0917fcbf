//! DataFusion contexts, with the settings that every query has.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::prelude::{SessionConfig, SessionContext};

use super::checked::CheckedArithmetic;
use super::error::SqlError;
use super::sum::exact_sum;

/// The table that is what comes out of the steps before.
pub const RESULTS: &str = "results";

/// A context for a query; no names of it are folded to lower case, so that columns are called as they are.
pub(super) fn context(partitions: usize) -> SessionContext {
    with_exact_numbers(SessionContext::new_with_config(config(partitions)))
}

/// `context` with arithmetic and sums that fail where DataFusion's own wrap around.
pub(super) fn with_exact_numbers(context: SessionContext) -> SessionContext {
    context.register_udaf(exact_sum());
    context.add_analyzer_rule(Arc::new(CheckedArithmetic));
    context
}

pub(super) fn config(partitions: usize) -> SessionConfig {
    let mut config = SessionConfig::new().with_target_partitions(partitions).with_information_schema(false);
    let options = config.options_mut();
    options.sql_parser.enable_ident_normalization = false;
    // Rows that are only looked at one by one keep their order.
    options.optimizer.enable_round_robin_repartition = false;
    config
}

pub(super) fn register(context: &SessionContext, name: &str, table: Arc<dyn TableProvider>) -> Result<(), SqlError> {
    let name = datafusion::common::TableReference::bare(name);
    context.register_table(name, table).map(drop).map_err(SqlError::from)
}

/// Waits for what does not wait for anything itself. Not to be called from an asynchronous task.
pub(super) fn block_on<T>(future: impl Future<Output = T>) -> Result<T, SqlError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.map_err(|cause| SqlError::new(format!("no thread can be started: {cause}")))?;
    Ok(runtime.block_on(future))
}
