//! `read_notebook`: a source that reads the rows of a notebook as of the request for the run.

use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan};
use super::definition::{BlockType, BlockUnderCheck, Problems, Specs};
use super::failure::Failure;
use super::input::{Input, InputError, InputRequest};
use super::row_type::RowType;
use super::spec_types::NEW_NOTEBOOK;

pub(super) const fn block() -> BlockType {
    BlockType::source::<ReadNotebookSpecs>("read_notebook")
}

#[derive(Deserialize, ToSchema)]
struct ReadNotebookSpecs {
    /// Id of the notebook, as in append_to_notebook.
    #[schema(min_length = 1)]
    notebook_id: String,
    /// The type of the rows; inferred from the blocks after it when absent.
    dataframe_type: Option<RowType>,
}

impl Specs for ReadNotebookSpecs {
    fn refine(schema: &mut Value) {
        schema["properties"]["notebook_id"]["not"] = json!({ "const": NEW_NOTEBOOK });
    }

    fn into_block(self, _: BlockUnderCheck<'_>, _: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        Some(Box::new(ReadNotebook { notebook: self.notebook_id, row_type: self.dataframe_type }))
    }
}

#[derive(Debug)]
struct ReadNotebook {
    /// Id of the notebook.
    notebook: String,
    row_type: Option<RowType>,
}

impl Block for ReadNotebook {
    fn declared_row_type(&self) -> Option<RowType> {
        self.row_type
    }

    fn input(&self, request: &InputRequest<'_>) -> Result<Input, InputError> {
        // Our reading: an unknown notebook is refused with 400, like an unknown upload handle.
        let row = request.store.notebook(&self.notebook)?;
        let row = row.ok_or_else(|| InputError::Refused(format!("no notebook has the id '{}'", self.notebook)))?;
        Ok(Input::copy_notebook(request, &row)?)
    }

    fn plan(&self, _: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        Ok(BlockPlan::default())
    }
}
