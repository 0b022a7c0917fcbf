//! `deduplicate_wrt_notebook`: leaves out the rows that a notebook has.

use std::io;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan, Rewrite};
use super::definition::{BlockType, BlockUnderCheck, Problems, Specs};
use super::failure::Failure;
use super::lines::{Lines, Row, RowReader, RowWriter, STRIDE, each_line};
use super::spec_types::{Columns, NEW_NOTEBOOK};
use crate::service::notebooks::NotebookRow;
use crate::service::store::{self, Store};
use crate::transform::{Cell, Distinct, KeyWriter, SpillBudget};

pub(super) const fn block() -> BlockType {
    BlockType::new::<DeduplicateWrtNotebookSpecs>("deduplicate_wrt_notebook")
}

#[derive(Deserialize, ToSchema)]
struct DeduplicateWrtNotebookSpecs {
    /// Id of the notebook, as append_to_notebook has it.
    #[schema(min_length = 1)]
    notebook_id: String,
    /// The key by which rows are compared; the whole row when absent or empty.
    columns: Option<Columns>,
}

impl Specs for DeduplicateWrtNotebookSpecs {
    fn refine(schema: &mut Value) {
        schema["properties"]["notebook_id"]["not"] = json!({ "const": NEW_NOTEBOOK });
    }

    fn into_block(self, _: BlockUnderCheck<'_>, _: &mut Problems<'_>) -> Option<Box<dyn Block>> {
        let columns = Columns::names(self.columns);
        Some(Box::new(DeduplicateWrtNotebook { notebook: self.notebook_id, columns }))
    }
}

#[derive(Debug)]
struct DeduplicateWrtNotebook {
    notebook: String,
    /// The key by which rows are compared; the whole row when empty.
    columns: Vec<String>,
}

impl Block for DeduplicateWrtNotebook {
    fn notebook(&self, store: &Store, _: DateTime<Utc>) -> Result<Option<NotebookRow>, store::Error> {
        store.notebook(&self.notebook)
    }

    fn plan(&self, context: &BlockContext<'_>) -> Result<BlockPlan, Failure> {
        context.need(&self.columns)?;
        let known = context.notebook_lines();
        Ok(BlockPlan::rewrite(NotIn { known, columns: self.columns.clone() }))
    }
}

/// The pass that leaves rows out.
struct NotIn {
    /// The rows of the notebook; `None` if it does not exist.
    known: Option<Lines>,
    columns: Vec<String>,
}

impl Rewrite for NotIn {
    fn rewrite(
        self: Box<Self>,
        input: RowReader<'_>,
        _: &[String],
        room: SpillBudget,
        output: &mut RowWriter<'_>,
    ) -> Result<Option<String>, Failure> {
        let NotIn { known: notebook, columns } = *self;
        let mut known = Distinct::new(room);
        let mut writer = KeyWriter::default();
        let mut key_of = |line: &str| -> io::Result<_> {
            let mut row = Row::read(line)?;
            if columns.is_empty() {
                row.0.sort_by(|(a, _), (b, _)| a.cmp(b));
                row.0.iter().for_each(|(name, json)| writer.member(name, &Cell::from_json(json)));
            } else {
                columns.iter().for_each(|column| writer.value(&Cell::from_json(row.get(column))));
            }
            Ok(writer.finish())
        };
        let mut keys = Vec::with_capacity(STRIDE);
        if let Some(notebook) = &notebook {
            each_line(&notebook.path, notebook.bytes, input.control, |line| {
                keys.push(key_of(line)?);
                if keys.len() == STRIDE {
                    known.insert(&keys)?;
                    keys.clear();
                }
                Ok(())
            })?;
            known.insert(&keys)?;
            keys.clear();
        }
        let mut held: Vec<String> = Vec::with_capacity(STRIDE);
        let mut left_out = 0u64;
        let mut look_up =
            |keys: &mut Vec<_>, held: &mut Vec<String>, output: &mut RowWriter<'_>| -> Result<(), Failure> {
                for (line, is_known) in held.iter().zip(known.contains(keys)?) {
                    if is_known {
                        left_out += 1;
                    } else {
                        output.line(line)?;
                    }
                }
                keys.clear();
                held.clear();
                Ok(())
            };
        input.each(|line| {
            keys.push(key_of(line)?);
            held.push(line.to_owned());
            if keys.len() == STRIDE { look_up(&mut keys, &mut held, output) } else { Ok(()) }
        })?;
        look_up(&mut keys, &mut held, output)?;
        Ok(match notebook {
            Some(_) => Some(format!("{left_out} rows are in the notebook already and were left out")),
            None => Some("the notebook does not exist yet: all rows pass".to_owned()),
        })
    }
}
