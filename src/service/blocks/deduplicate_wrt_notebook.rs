//! `deduplicate_wrt_notebook`: drops the rows whose key is in a notebook. It reads the notebook and never changes it.

use std::io;

use chrono::{DateTime, Utc};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::block::{Block, BlockContext, BlockPlan, Rewrite};
use super::definition::{BlockType, BlockUnderCheck, Problems, Specs};
use super::failure::Failure;
use super::lines::{LINE_BATCH, Lines, Row, RowReader, RowWriter, each_line};
use super::spec_types::{Columns, NEW_NOTEBOOK};
use crate::service::notebooks::NotebookRow;
use crate::service::store::{self, Store};
use crate::transform::{Cell, Distinct, KeyWriter, SpillBudget};

pub(super) const fn block() -> BlockType {
    BlockType::new::<DeduplicateWrtNotebookSpecs>("deduplicate_wrt_notebook")
}

#[derive(Deserialize, ToSchema)]
struct DeduplicateWrtNotebookSpecs {
    /// Id of the notebook, as in append_to_notebook.
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
        context.require(&self.columns)?;
        let notebook = context.notebook_lines();
        let anti_join = AntiJoin { notebook, columns: self.columns.clone() };
        Ok(BlockPlan::rewrite(anti_join).with_columns(context.columns.iter().cloned()))
    }
}

/// Rewrite that keeps the rows whose key is not in the notebook.
struct AntiJoin {
    /// Rows of the notebook; `None` if it does not exist.
    notebook: Option<Lines>,
    /// Key columns; the whole row when empty.
    columns: Vec<String>,
}

impl Rewrite for AntiJoin {
    fn rewrite(
        self: Box<Self>,
        input: RowReader<'_>,
        _: &[String],
        spill_budget: SpillBudget,
        output: &mut RowWriter<'_>,
    ) -> Result<Option<String>, Failure> {
        let AntiJoin { notebook, columns } = *self;
        let mut known = Distinct::new(spill_budget);
        let mut writer = KeyWriter::default();
        let mut key_of = |line: &str| -> io::Result<_> {
            let mut row = Row::parse(line)?;
            if columns.is_empty() {
                // Sorted by name: the order of the columns does not distinguish rows.
                row.0.sort_by(|(a, _), (b, _)| a.cmp(b));
                row.0.iter().for_each(|(name, json)| writer.member(name, &Cell::from_json(json)));
            } else {
                columns.iter().for_each(|column| writer.value(&Cell::from_json(row.get(column))));
            }
            Ok(writer.finish())
        };
        // In batches: `Distinct` sorts the keys of a batch and searches its spilled runs in one sweep.
        let mut keys = Vec::with_capacity(LINE_BATCH);
        if let Some(notebook) = &notebook {
            each_line(&notebook.path, notebook.bytes, input.control, |line| {
                keys.push(key_of(line)?);
                if keys.len() == LINE_BATCH {
                    known.insert(&keys)?;
                    keys.clear();
                }
                Ok(())
            })?;
            known.insert(&keys)?;
            keys.clear();
        }
        // Lines whose keys are in `keys`, in the same order.
        let mut pending: Vec<String> = Vec::with_capacity(LINE_BATCH);
        let mut n_dropped = 0u64;
        let mut write_unknown =
            |keys: &mut Vec<_>, pending: &mut Vec<String>, output: &mut RowWriter<'_>| -> Result<(), Failure> {
                for (line, is_known) in pending.iter().zip(known.contains(keys)?) {
                    if is_known {
                        n_dropped += 1;
                    } else {
                        output.line(line)?;
                    }
                }
                keys.clear();
                pending.clear();
                Ok(())
            };
        input.each(|line| {
            keys.push(key_of(line)?);
            pending.push(line.to_owned());
            if keys.len() == LINE_BATCH { write_unknown(&mut keys, &mut pending, output) } else { Ok(()) }
        })?;
        write_unknown(&mut keys, &mut pending, output)?;
        Ok(match notebook {
            Some(_) => Some(format!("{n_dropped} rows that the notebook already contains were dropped")),
            None => Some("the notebook does not exist yet: all rows were kept".to_owned()),
        })
    }
}
