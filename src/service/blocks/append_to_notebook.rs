//! `append_to_notebook`: appends the rows to a notebook and passes them on. The engine appends them in the transaction
//! that records the completion of the block, so that a restart never appends rows twice.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan, Delivery, Traces};
use super::definition::{BlockType, BlockUnderCheck, Problems, Specs};
use super::failure::Failure;
use super::spec_types::{NEW_NOTEBOOK, non_empty};
use crate::service::notebooks::NotebookRow;
use crate::service::store::{self, Store};

pub(super) const fn block() -> BlockType {
    BlockType::new::<AppendToNotebookSpecs>("append_to_notebook")
}

#[derive(Deserialize, ToSchema)]
struct AppendToNotebookSpecs {
    /// Id of the notebook, which is created if it does not exist. Absent or __create_new__: each run creates one.
    notebook_id: Option<String>,
    /// Name of a notebook that is created.
    notebook_name: Option<String>,
}

impl Specs for AppendToNotebookSpecs {
    fn into_block(self, _: BlockUnderCheck<'_>, _: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        let notebook = non_empty(self.notebook_id).filter(|id| id != NEW_NOTEBOOK);
        Some(Box::new(AppendToNotebook { notebook, name: non_empty(self.notebook_name) }))
    }
}

#[derive(Debug)]
struct AppendToNotebook {
    /// Id of the notebook; `None` creates one in each run.
    notebook: Option<String>,
    /// Display name of a notebook that is created.
    name: Option<String>,
}

impl Block for AppendToNotebook {
    fn notebook(&self, store: &Store, now: DateTime<Utc>) -> Result<Option<NotebookRow>, store::Error> {
        let name = self.name.as_deref();
        Ok(Some(match &self.notebook {
            None => NotebookRow::new(None, name, now),
            // Our reading: an unknown id creates the notebook, so that definitions can choose their ids.
            Some(id) => store.notebook(id)?.unwrap_or_else(|| NotebookRow::new(Some(id), name, now)),
        }))
    }

    fn plan(&self, context: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        let note = context.notebook.as_ref().map(|row| format!("appends to the notebook {}", row.id));
        Ok(BlockPlan { note, delivery: Delivery::Notebook, ..BlockPlan::default() })
    }

    fn traces(&self) -> Traces {
        Traces::OnceCompleted
    }
}
