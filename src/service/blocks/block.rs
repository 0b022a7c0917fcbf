//! A block whose specs were read, and its plan for the rows of one run.

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

/// A block of a workflow, its specs read.
pub(in crate::service) trait Block: Debug + Send + Sync {
    /// The rows that a source declares; `None` where it declares none, and of all other blocks.
    fn declared_rows(&self) -> Option<RowType> {
        None
    }

    /// True for the source that takes the rows of the request.
    fn takes_payload(&self) -> bool {
        false
    }

    /// Finds what a source reads in the run that is about to start.
    fn input(&self, request: &InputRequest<'_>) -> Result<Input, InputError> {
        Err(InputError::Refused(format!("a workflow cannot start with {}", request.block_name)))
    }

    /// Finds or makes the notebook that the block reads or appends to; `None` if it has none, or it is not there.
    fn notebook(&self, _store: &Store, _now: DateTime<Utc>) -> Result<Option<NotebookRow>, store::Error> {
        Ok(None)
    }

    /// Plans what to do with the rows, or says why they do not fit.
    fn plan(&self, context: &BlockContext<'_>) -> Result<BlockPlan, Failure>;

    /// Whether, and from when on, a run must not begin again because the block would do something twice.
    fn traces(&self) -> Traces {
        Traces::None
    }
}

/// When a block leaves traces outside of its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum Traces {
    /// Never.
    None,
    /// Once it has begun.
    OnceBegun,
    /// Once it has completed.
    OnceCompleted,
}

/// The surroundings of a block in one run.
pub(in crate::service) struct BlockContext<'a> {
    pub sources: &'a EnrichmentSources,
    /// Folder of all notebooks.
    pub notebooks: &'a Path,
    /// The notebook that [`Block::notebook`] found.
    pub notebook: Option<NotebookRow>,
    pub runtime: Handle,
    /// Names of the input's columns, in order.
    pub columns: &'a [String],
    /// True if the input has no rows, and so no columns either.
    pub is_empty: bool,
}

impl BlockContext<'_> {
    /// True if the input has rows, but not this column. From a table without rows nothing can be missing.
    pub(super) fn lacks(&self, column: &str) -> bool {
        !self.is_empty && !self.columns.iter().any(|c| c == column)
    }

    /// Fails the block if one of `columns` is not in the input: without it the result would be wrong, not empty.
    pub(super) fn need<'c>(&self, columns: impl IntoIterator<Item = &'c String>) -> Result<(), Failure> {
        match columns.into_iter().find(|column| self.lacks(column)) {
            Some(column) => Err(Failure::Failed(format!("column '{column}' is not in the input"))),
            None => Ok(()),
        }
    }

    /// The rows of the notebook, as many as count now.
    pub(super) fn notebook_lines(&self) -> Option<Lines> {
        let row = self.notebook.as_ref()?;
        Some(Lines { path: row.path(self.notebooks), bytes: row.size_bytes })
    }
}

/// The work of a block in one run.
#[derive(Default)]
pub(in crate::service) struct BlockPlan {
    /// A pass over the rows before the steps.
    pub rewrite: Option<Box<dyn Rewrite>>,
    /// Steps of the pipeline, one after the other.
    pub steps: Vec<Step>,
    /// A remark about the result for people.
    pub note: Option<String>,
    /// File of the rows of a source, if they are neither in the request nor uploaded.
    pub table: Option<PathBuf>,
    /// Declared types of the input's columns.
    pub declared: Option<Schema>,
    /// A destination of the finished rows besides the next blocks.
    pub delivery: Delivery,
}

/// A destination of the rows of a finished block besides the blocks after it.
#[derive(Default)]
pub(in crate::service) enum Delivery {
    /// Nowhere.
    #[default]
    None,
    /// To an address of the user's.
    Webhook(WebhookTarget),
    /// To the end of the block's notebook.
    Notebook,
}

/// A pass over the rows of a block, one at a time, that makes other rows. Memory is bounded whatever comes; what a pass
/// has to remember goes to disk beyond `room`.
pub(in crate::service) trait Rewrite: Send {
    /// Reads all of `input`, whose rows have `columns`, and writes the new rows. Blocks; returns a remark for people.
    fn rewrite(
        self: Box<Self>,
        input: RowReader<'_>,
        columns: &[String],
        room: SpillBudget,
        output: &mut RowWriter<'_>,
    ) -> Result<Option<String>, Failure>;
}

impl BlockPlan {
    /// A plan of steps alone.
    pub(super) fn steps(steps: Vec<Step>) -> Self {
        BlockPlan { steps, ..BlockPlan::default() }
    }

    /// A plan of one pass over the rows.
    pub(super) fn rewrite(rewrite: impl Rewrite + 'static) -> Self {
        BlockPlan { rewrite: Some(Box::new(rewrite)), ..BlockPlan::default() }
    }

    /// The plan of a block whose rows pass through as they are, with a remark.
    pub(super) fn note(note: impl Into<String>) -> Self {
        BlockPlan { note: Some(note.into()), ..BlockPlan::default() }
    }
}
