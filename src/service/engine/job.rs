//! Run that is about to be submitted, and the initial state of its blocks.

use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::api::RunId;
use crate::service::blocks::Input;
use crate::service::graph::CheckedGraph;
use crate::service::rows::{BlockRow, BlockStatus, JobRow, RunRow};

/// Run that is about to be submitted to the engine.
pub(in crate::service) struct Job {
    /// State of the run as committed to the store.
    pub row: RunRow,
    /// Graph of the workflow, with the source's specs overridden for this run.
    pub checked: CheckedGraph,
    /// Input of the source block.
    pub input: Input,
}

impl Job {
    /// Returns the row that the store keeps with the run, from which a later service can start it.
    pub(in crate::service) fn to_row(checked: &CheckedGraph, input: &Input) -> JobRow {
        JobRow { graph: checked.graph.clone(), input: input.to_row() }
    }
}

/// Returns the initial state of a run's blocks, sorted by sequence number.
pub(in crate::service) fn new_blocks(checked: &CheckedGraph, now: DateTime<Utc>) -> Vec<BlockRow> {
    let id = |index: usize| checked.graph.blocks[index].block_id.clone().unwrap_or_default();
    by_number(checked)
        .into_iter()
        .map(|index| {
            let block = &checked.graph.blocks[index];
            BlockRow {
                block_id: id(index),
                block_name: block.block_name.clone(),
                sequence_number: block.sequence_number,
                previous_block_ids: checked.parents[index].iter().map(|&parent| id(parent)).collect(),
                rows: checked.row_types[index],
                status: BlockStatus::Pending,
                started_at: None,
                completed_at: None,
                updated_at: now,
                processed: 0,
                total: None,
                row_count: 0,
                fraction: 0.0,
                note: None,
                error_message: None,
                files: Vec::new(),
                results: None,
            }
        })
        .collect()
}

/// Returns a random id for a new run.
pub(in crate::service) fn new_run_id() -> RunId {
    RunId(Uuid::new_v4().to_string())
}

fn by_number(checked: &CheckedGraph) -> Vec<usize> {
    let mut indices: Vec<usize> = (0..checked.graph.blocks.len()).collect();
    indices.sort_by_key(|&index| checked.graph.blocks[index].sequence_number);
    indices
}

/// Returns the position in [`RunRow`]'s blocks, which are sorted by sequence number, of the block at `index` of the
/// graph.
pub(super) fn position_of(checked: &CheckedGraph, index: usize) -> usize {
    let number = checked.graph.blocks[index].sequence_number;
    checked.graph.blocks.iter().filter(|block| block.sequence_number < number).count()
}
