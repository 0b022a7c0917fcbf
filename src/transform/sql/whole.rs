//! Queries over all rows: executed by DataFusion on a runtime and threads of their own, with a memory pool and a spill
//! directory. Results stream back over a bounded channel.

use std::path::PathBuf;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use futures::StreamExt;

use super::columns::{schema_of, to_batch};
use super::context::{config, register, with_exact_numbers};
use super::error::SqlError;
use super::query::Query;
use super::table::TableFile;
use crate::column::{Batch, Schema};

/// Resources of a query.
#[derive(Clone, Debug)]
pub struct QueryResources {
    /// Bytes in memory of all sorts, aggregations and joins together.
    pub max_bytes: usize,
    /// Spill directory of sorts and aggregations; `None` is the system's directory for temporary files.
    pub directory: Option<PathBuf>,
    /// Number of worker threads.
    pub workers: usize,
}

/// Result of a query as a stream of batches.
#[derive(Debug)]
pub struct QueryRows {
    schema: Arc<Schema>,
    /// Batches; `None` marks the end. A channel that closes without it means that the query thread panicked.
    batches: Receiver<Result<Option<Batch>, SqlError>>,
    /// True once the empty first batch, which carries the columns of a result without rows, was returned.
    schema_sent: bool,
}

impl Query {
    /// Executes the query over `tables`, given with their names. Blocks until the query is planned, then runs it on a
    /// thread of its own. Panics if called from an asynchronous task.
    pub fn execute(&self, tables: Vec<(String, TableFile)>, resources: &QueryResources) -> Result<QueryRows, SqlError> {
        let largest = tables.iter().map(|(_, table)| table.bytes()).max().unwrap_or(0);
        let other_bytes: u64 = tables.iter().map(|(_, table)| table.bytes()).sum::<u64>() - largest;
        let row_bytes = tables.iter().map(|(_, table)| table.bytes() / table.rows().max(1)).max().unwrap_or(0);
        let runtime = runtime_env(resources)?;
        let context = |partitions| {
            with_exact_numbers(SessionContext::new_with_config_rt(
                with_batches(config(partitions), row_bytes, resources),
                Arc::clone(&runtime),
            ))
        };
        // One partition for queries that keep the order of rows, several for those that reorder them anyway.
        let (in_order, in_parts) = (context(1), context(resources.workers));
        for (name, table) in tables {
            register(&in_order, &name, Arc::new(table.clone()))?;
            register(&in_parts, &name, Arc::new(table))?;
        }
        let plan = self.plan(&in_order)?;
        let keeps_order = !reorders_rows(&plan)?;
        let (context, plan) = match keeps_order {
            true => (in_order, plan),
            false => (in_parts.clone(), self.plan(&in_parts)?),
        };
        let schema = Arc::new(schema_of(plan.schema().as_arrow(), &self.names(&plan))?);
        // A hash join keeps one side in memory and cannot spill, so it is used only if all tables but the largest
        // surely fit. A self join has one table only, so the number of joins is compared with the number of tables.
        let joins = count_joins(&plan)?;
        let small = other_bytes <= resources.max_bytes as u64 / 4 && joins < self.tables().len().max(1);
        let context = with_hash_joins(context, small);

        let (sender, batches) = bounded(2);
        let (columns, workers) = (schema.clone(), resources.workers);
        let work = move || {
            let outcome = execute_plan(&context, plan, keeps_order, workers, &columns, &sender);
            // Fails if the receiver was dropped, which cancels the query.
            let _ = sender.send(outcome.map(|()| None));
        };
        let thread = std::thread::Builder::new().name("query".into()).spawn(work);
        thread.map_err(|cause| SqlError::new(format!("cannot start a thread: {cause}")))?;
        Ok(QueryRows { schema, batches, schema_sent: false })
    }
}

impl QueryRows {
    /// Returns the columns of the result.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }
}

impl Iterator for QueryRows {
    type Item = Result<Batch, SqlError>;

    /// Returns an empty batch with the columns first, then the rows.
    fn next(&mut self) -> Option<Self::Item> {
        if !self.schema_sent {
            self.schema_sent = true;
            let columns = self.schema.fields.iter().map(|field| arrow_array::new_empty_array(&field.ty.to_arrow()));
            let columns = columns.collect();
            return Some(Ok(Batch::new(self.schema.clone(), columns, 0)));
        }
        let panicked = || {
            Err(SqlError::new(
                "the query stopped unexpectedly; this is a bug in drawoff, please report it with the command and this message",
            ))
        };
        self.batches.recv().unwrap_or_else(|_| panicked()).transpose()
    }
}

/// Spill files that a sort merges at once; more are merged into larger ones first.
const MAX_MERGED: usize = 16;

fn runtime_env(resources: &QueryResources) -> Result<Arc<RuntimeEnv>, SqlError> {
    let mode = match &resources.directory {
        Some(directory) => DiskManagerMode::Directories(vec![directory.clone()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    // No limit on spilled bytes except the free space of the disk.
    let disk = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(u64::MAX);
    let disk = disk.with_max_spill_merge_fan_in(MAX_MERGED);
    let builder = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(resources.max_bytes)))
        .with_disk_manager_builder(disk);
    Ok(builder.build_arc()?)
}

/// Maximum bytes of a batch, so that a share of the memory suffices to merge many spill files. By eye.
const BATCH_BYTES: u64 = 512 << 10;

/// Sets a batch size that is small compared with the memory, for rows of any width: merging the spill files of a sort
/// keeps one batch of each in memory and cannot spill.
fn with_batches(config: SessionConfig, row_bytes: u64, resources: &QueryResources) -> SessionConfig {
    let bytes = BATCH_BYTES.min(resources.max_bytes as u64 / 128);
    let rows = usize::try_from(bytes / row_bytes.max(1)).unwrap_or(usize::MAX).clamp(64, 8192);
    let mut config = config.with_batch_size(rows);
    // Memory that a sort reserves for its merge.
    config.options_mut().execution.sort_spill_reservation_bytes = resources.max_bytes / 8 / resources.workers.max(1);
    config
}

/// Returns the context with hash joins, or with sort-merge joins.
fn with_hash_joins(context: SessionContext, wanted: bool) -> SessionContext {
    let state = context.state();
    let mut config = state.config().clone();
    config.options_mut().optimizer.prefer_hash_join = wanted;
    let builder = datafusion::execution::SessionStateBuilder::new_from_existing(state).with_config(config);
    SessionContext::new_with_state(builder.build())
}

/// Returns true if the plan reorders rows anyway, so that parallel partitions lose no order.
fn reorders_rows(plan: &LogicalPlan) -> Result<bool, SqlError> {
    let mut found = false;
    plan.apply_with_subqueries(|node| {
        found |= matches!(
            node,
            LogicalPlan::Aggregate(_)
                | LogicalPlan::Join(_)
                | LogicalPlan::Window(_)
                | LogicalPlan::Sort(_)
                | LogicalPlan::Distinct(_)
        );
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}

/// Counts the joins of the plan, subqueries included.
fn count_joins(plan: &LogicalPlan) -> Result<usize, SqlError> {
    let mut joins = 0;
    plan.apply_with_subqueries(|node| {
        joins += usize::from(matches!(node, LogicalPlan::Join(_)));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(joins)
}

/// Executes `plan` and sends the batches of its result. Ends without an error once the receiver is dropped.
fn execute_plan(
    context: &SessionContext,
    plan: LogicalPlan,
    keeps_order: bool,
    workers: usize,
    schema: &Arc<Schema>,
    sender: &Sender<Result<Option<Batch>, SqlError>>,
) -> Result<(), SqlError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).thread_name("query").build();
    let runtime = runtime.map_err(|cause| SqlError::new(format!("cannot start the threads of the query: {cause}")))?;
    let outcome = runtime.block_on(async {
        let frame = context.execute_logical_plan(plan).await?;
        // A union has one partition per part; to keep the order they are read one after the other.
        let streams = match keeps_order {
            true => frame.execute_stream_partitioned().await?,
            false => vec![frame.execute_stream().await?],
        };
        for mut stream in streams {
            while let Some(rows) = stream.next().await {
                let batch = to_batch(&rows?, schema)?;
                // Blocks this thread only, which runs nothing else; the worker threads continue.
                if sender.send(Ok(Some(batch))).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    });
    // Blocking readers that are still running end with their next batch, when their channel is closed.
    runtime.shutdown_background();
    outcome
}
