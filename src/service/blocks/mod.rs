//! Catalogue of the workflow blocks, one file per block: the specs as a struct, the row types that the block accepts
//! and produces, and its plan. The published JSON Schema is generated from the struct that the specs are deserialized
//! into, so the two cannot disagree.
//!
//! ```text
//! create_workflow: specs ─► JSON Schema (accept or refuse) ─► specs struct ─► Block
//! run: Block ─► BlockPlan: pipeline steps, and optionally a rewrite of the rows before them ─► engine
//! ```
//!
//! A block never executes its plan, writes no state and sends nothing: the engine does. To add a block, write its file
//! and list it in `table`.

mod append_to_notebook;
mod block;
mod company_to_leads;
mod deduplicate;
mod deduplicate_wrt_notebook;
mod definition;
mod endpoint;
mod enrichment;
mod failure;
mod filter;
mod group_by;
mod input;
mod leads_to_company;
mod lines;
mod outgoing_webhook;
mod read_csv;
mod read_notebook;
mod remove_columns;
mod row_type;
mod schema;
mod search;
mod send_slack_message;
mod spec_types;
mod table;
#[cfg(test)]
mod tests;
mod transform_data;
mod webhook;

pub(super) use block::{Block, BlockContext, BlockPlan, Delivery, Rewrite, Traces};
pub(super) use definition::{BlockType, ProviderKind};
pub(super) use failure::{Failure, row_io_failure};
pub(super) use input::{Input, InputError, InputRequest};
pub(super) use lines::{RowReader, RowWriter};
pub(super) use row_type::RowType;
pub(super) use table::{descriptions, find, is_named};
