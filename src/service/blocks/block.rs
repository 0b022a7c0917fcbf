//! Interface between blocks and the engine: a block with parsed specs, the context in which it is planned, and its plan
//! for one run. The engine executes the plan; a block only describes it.

use std::fmt::Debug;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use tokio::runtime::Handle;

use super::failure::Failure;
use super::input::{Input, InputError, InputRequest};
use super::lines::{Lines, RowReader, RowWriter};
use super::row_type::RowType;
use crate::column::Schema;
use crate::service::enrichment_sources::EnrichmentSources;
use crate::service::notebooks::NotebookRow;
use crate::service::store::{self, Store};
use crate::service::webhook::WebhookTarget;
use crate::transform::{SpillBudget, Step};

/// Block of a workflow, its specs parsed.
pub(in crate::service) trait Block: Debug + Send + Sync {
    /// Returns the row type that a source declares; `None` if it declares none, and for every other block.
    fn declared_row_type(&self) -> Option<RowType> {
        None
    }

    /// Returns true for the source that reads the payload of the request.
    fn takes_payload(&self) -> bool {
        false
    }

    /// Resolves the input of a source for the run that is about to start. Fails for blocks that are no source.
    fn input(&self, request: &InputRequest<'_>) -> Result<Input, InputError> {
        Err(InputError::Refused(format!("a workflow cannot start with {}", request.block_name)))
    }

    /// Finds or creates the notebook that the block reads or appends to; `None` if the block uses no notebook or the
    /// notebook does not exist.
    fn notebook(&self, _store: &Store, _now: DateTime<Utc>) -> Result<Option<NotebookRow>, store::Error> {
        Ok(None)
    }

    /// Plans the work on the rows. Fails if the input lacks a column without which the result would be wrong.
    fn plan(&self, context: &BlockContext<'_>) -> Result<BlockPlan, Failure>;

    /// Returns when the block has an effect outside of its run, after which the run must not be restarted.
    fn traces(&self) -> Traces {
        Traces::None
    }
}

/// Moment from which a block has effects outside of its run, so that a restart would repeat them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum Traces {
    /// No effects outside of the run.
    None,
    /// From its start, as with rows that are sent to an address.
    OnceBegun,
    /// From its completion, as with rows that are appended in the transaction that completes it.
    OnceCompleted,
}

/// Surroundings of a block while it is planned for one run.
pub(in crate::service) struct BlockContext<'a> {
    pub sources: &'a EnrichmentSources,
    /// Directory of all notebooks.
    pub notebooks: &'a Path,
    /// The notebook that [`Block::notebook`] returned.
    pub notebook: Option<NotebookRow>,
    pub runtime: Handle,
    /// Names of the input's columns, in order.
    pub columns: &'a [String],
    /// True if the input has no rows; `columns` is then empty as well.
    pub is_empty: bool,
}

impl BlockContext<'_> {
    /// Returns true if the input has rows but not this column. An input without rows lacks nothing.
    pub(super) fn lacks(&self, column: &str) -> bool {
        !self.is_empty && !self.columns.iter().any(|c| c == column)
    }

    /// Fails the block if the input lacks one of `columns`: the result would be wrong, not empty.
    pub(super) fn require<'c>(&self, columns: impl IntoIterator<Item = &'c String>) -> Result<(), Failure> {
        match columns.into_iter().find(|column| self.lacks(column)) {
            Some(column) => Err(Failure::Failed(format!("column '{column}' is not in the input"))),
            None => Ok(()),
        }
    }

    /// Returns the committed rows of the notebook: bytes beyond its recorded size belong to an append that did not
    /// complete. `None` without a notebook.
    pub(super) fn notebook_lines(&self) -> Option<Lines> {
        let row = self.notebook.as_ref()?;
        Some(Lines { path: row.path(self.notebooks), bytes: row.size_bytes })
    }
}

/// Work of a block in one run: `rewrite`, then `steps`, then `delivery`.
#[derive(Default)]
pub(in crate::service) struct BlockPlan {
    /// Pass over the rows before the pipeline; `None` if the steps alone do the work.
    pub rewrite: Option<Box<dyn Rewrite>>,
    /// Names of the columns that `rewrite` writes; they remain if it writes no rows. `None` if they are not known.
    pub columns: Option<Vec<String>>,
    /// Pipeline steps in order of execution; empty if the rows pass unchanged.
    pub steps: Vec<Step>,
    /// Remark about the result, shown as the block's `current_step`.
    pub note: Option<String>,
    /// File with the rows of a source, if they are neither in the request nor in an upload.
    pub table: Option<PathBuf>,
    /// Declared types of the input's columns.
    pub declared: Option<Schema>,
    /// Destination of the finished rows besides the next blocks.
    pub delivery: Delivery,
}

/// Destination of the rows of a finished block, besides the blocks after it.
#[derive(Default)]
pub(in crate::service) enum Delivery {
    /// No destination but the next blocks.
    #[default]
    None,
    /// An event with the rows to the user's address.
    Webhook(WebhookTarget),
    /// The end of the block's notebook.
    Notebook,
}

/// Pass over the rows of a block, one at a time, that writes other rows. Memory is bounded for inputs of any size:
/// state beyond the spill budget is written to disk.
pub(in crate::service) trait Rewrite: Send {
    /// Reads all of `input`, whose rows have `columns`, and writes the new rows to `output`. Blocks the thread. Returns
    /// a remark about the result, or `None`.
    fn rewrite(
        self: Box<Self>,
        input: RowReader<'_>,
        columns: &[String],
        spill_budget: SpillBudget,
        output: &mut RowWriter<'_>,
    ) -> Result<Option<String>, Failure>;
}

impl BlockPlan {
    /// Returns a plan that consists of pipeline steps.
    pub(super) fn steps(steps: Vec<Step>) -> Self {
        BlockPlan { steps, ..BlockPlan::default() }
    }

    /// Returns a plan that consists of one pass over the rows.
    pub(super) fn rewrite(rewrite: impl Rewrite + 'static) -> Self {
        BlockPlan { rewrite: Some(Box::new(rewrite)), ..BlockPlan::default() }
    }

    /// Sets the names of the columns that the pass writes.
    pub(super) fn with_columns(self, columns: impl IntoIterator<Item = String>) -> Self {
        BlockPlan { columns: Some(columns.into_iter().collect()), ..self }
    }

    /// Returns a plan that passes the rows unchanged, with a remark.
    pub(super) fn note(note: impl Into<String>) -> Self {
        BlockPlan { note: Some(note.into()), ..BlockPlan::default() }
    }
}
