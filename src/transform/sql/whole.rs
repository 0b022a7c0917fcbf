//! Queries over all rows, by DataFusion's own engine on threads of its own.

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

/// What a query may use.
#[derive(Clone, Debug)]
pub struct QueryResources {
    /// Bytes that sorts, groups and joins hold, all together.
    pub max_bytes: usize,
    /// Where sorts and groups go beyond that; `None` is the system's folder for temporary files.
    pub folder: Option<PathBuf>,
    /// Threads.
    pub workers: usize,
}

/// The rows of an answer, as they come.
#[derive(Debug)]
pub struct QueryRows {
    schema: Arc<Schema>,
    /// `None` is the end: a thread that is merely gone has not come to it.
    batches: Receiver<Result<Option<Batch>, SqlError>>,
    /// The columns go ahead of the rows, for an answer that has none.
    begun: bool,
}

impl Query {
    /// Puts the query to tables, which have these names. Blocks until it is planned; not to be called from an asynchronous
    /// task.
    pub fn over(&self, tables: Vec<(String, TableFile)>, resources: &QueryResources) -> Result<QueryRows, SqlError> {
        let largest = tables.iter().map(|(_, table)| table.bytes()).max().unwrap_or(0);
        let beside: u64 = tables.iter().map(|(_, table)| table.bytes()).sum::<u64>() - largest;
        let row_bytes = tables.iter().map(|(_, table)| table.bytes() / table.rows().max(1)).max().unwrap_or(0);
        let runtime = runtime_env(resources)?;
        let context = |partitions| {
            with_exact_numbers(SessionContext::new_with_config_rt(
                with_batches(config(partitions), row_bytes, resources),
                Arc::clone(&runtime),
            ))
        };
        // All on one thread where rows keep the order that they came in.
        let (in_order, in_parts) = (context(1), context(resources.workers));
        for (name, table) in tables {
            register(&in_order, &name, Arc::new(table.clone()))?;
            register(&in_parts, &name, Arc::new(table))?;
        }
        let plan = self.plan(&in_order)?;
        let keeps_order = !regroups(&plan)?;
        let (context, plan) = match keeps_order {
            true => (in_order, plan),
            false => (in_parts.clone(), self.plan(&in_parts)?),
        };
        let schema = Arc::new(schema_of(plan.schema().as_arrow(), &self.names(&plan))?);
        // A hash join holds all of one side, without a way to disk: only of what surely fits. A table that is joined with
        // itself does not count as small.
        let joins = joins_of(&plan)?;
        let small = beside <= resources.max_bytes as u64 / 4 && joins < self.tables().len().max(1);
        let context = with_hash_joins(context, small);

        let (sender, batches) = bounded(2);
        let (columns, workers) = (schema.clone(), resources.workers);
        let work = move || {
            let outcome = carry_out(&context, plan, keeps_order, workers, &columns, &sender);
            // Nobody may be listening any more.
            let _ = sender.send(outcome.map(|()| None));
        };
        let thread = std::thread::Builder::new().name("query".into()).spawn(work);
        thread.map_err(|cause| SqlError::new(format!("no thread can be started: {cause}")))?;
        Ok(QueryRows { schema, batches, begun: false })
    }
}

impl QueryRows {
    /// Its columns.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }
}

impl Iterator for QueryRows {
    type Item = Result<Batch, SqlError>;

    /// A batch without rows first, which has the columns.
    fn next(&mut self) -> Option<Self::Item> {
        if !self.begun {
            self.begun = true;
            let columns = self.schema.fields.iter().map(|field| arrow_array::new_empty_array(&field.ty.to_arrow()));
            let columns = columns.collect();
            return Some(Ok(Batch { schema: self.schema.clone(), columns, rows: 0, records: None }));
        }
        let broken = || Err(SqlError::new("the query broke down, which is a fault of drawoff"));
        self.batches.recv().unwrap_or_else(|_| broken()).transpose()
    }
}

/// Pieces on disk that a sort merges at once; of more it makes larger ones first.
const MAX_MERGED: usize = 16;

fn runtime_env(resources: &QueryResources) -> Result<Arc<RuntimeEnv>, SqlError> {
    let mode = match &resources.folder {
        Some(folder) => DiskManagerMode::Directories(vec![folder.clone()]),
        None => DiskManagerMode::OsTmpDirectory,
    };
    // The disk is bounded by the disk.
    let disk = DiskManagerBuilder::default().with_mode(mode).with_max_temp_directory_size(u64::MAX);
    let disk = disk.with_max_spill_merge_fan_in(MAX_MERGED);
    let builder = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(FairSpillPool::new(resources.max_bytes)))
        .with_disk_manager_builder(disk);
    Ok(builder.build_arc()?)
}

/// Bytes of a batch at which a part of the memory is enough to merge many of them. By eye.
const BATCH_BYTES: u64 = 512 << 10;

/// With batches that are small beside the memory, whatever the width of the rows: a merge of what a sort has put on disk
/// holds one of each piece, and has no other way.
fn with_batches(config: SessionConfig, row_bytes: u64, resources: &QueryResources) -> SessionConfig {
    let bytes = BATCH_BYTES.min(resources.max_bytes as u64 / 128);
    let rows = usize::try_from(bytes / row_bytes.max(1)).unwrap_or(usize::MAX).clamp(64, 8192);
    let mut config = config.with_batch_size(rows);
    // What a sort keeps free for its merge.
    config.options_mut().execution.sort_spill_reservation_bytes = resources.max_bytes / 8 / resources.workers.max(1);
    config
}

/// The same with hash joins, or with joins of sorted rows.
fn with_hash_joins(context: SessionContext, wanted: bool) -> SessionContext {
    let state = context.state();
    let mut config = state.config().clone();
    config.options_mut().optimizer.prefer_hash_join = wanted;
    let builder = datafusion::execution::SessionStateBuilder::new_from_existing(state).with_config(config);
    SessionContext::new_with_state(builder.build())
}

/// True if the plan brings rows into another order anyway.
fn regroups(plan: &LogicalPlan) -> Result<bool, SqlError> {
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

fn joins_of(plan: &LogicalPlan) -> Result<usize, SqlError> {
    let mut joins = 0;
    plan.apply_with_subqueries(|node| {
        joins += usize::from(matches!(node, LogicalPlan::Join(_)));
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(joins)
}

fn carry_out(
    context: &SessionContext,
    plan: LogicalPlan,
    keeps_order: bool,
    workers: usize,
    schema: &Arc<Schema>,
    sender: &Sender<Result<Option<Batch>, SqlError>>,
) -> Result<(), SqlError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(workers).thread_name("query").build();
    let runtime = runtime.map_err(|cause| SqlError::new(format!("no thread can be started: {cause}")))?;
    let outcome = runtime.block_on(async {
        let frame = context.execute_logical_plan(plan).await?;
        // A union has its parts side by side; in order they are read one after the other.
        let streams = match keeps_order {
            true => frame.execute_stream_partitioned().await?,
            false => vec![frame.execute_stream().await?],
        };
        for mut stream in streams {
            while let Some(rows) = stream.next().await {
                let batch = to_batch(&rows?, schema)?;
                // No other task is on this thread, and the query's own go on meanwhile.
                if sender.send(Ok(Some(batch))).is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    });
    // What is still reading ends with its next batch.
    runtime.shutdown_background();
    outcome
}
