//! The blocks of a workflow, one file each: its specs as a struct, from which the published JSON Schema is made and into
//! which the specs are read, the rows that it takes and gives, and its plan.
//!
//! ```text
//! create_workflow: specs ─► schema (accepts or refuses) ─► struct ─► Block
//! run: Block ─► BlockPlan: steps of the pipeline, or a pass over the rows before them ─► engine
//! ```
//!
//! A block never executes its plan, writes no state and sends nothing: the engine does. To add a block, write its file
//! and name it in `table`.

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
pub(super) use failure::{Failure, unusable};
pub(super) use input::{Input, InputError, InputRequest};
pub(super) use lines::{RowReader, RowWriter};
pub(super) use row_type::RowType;
pub(super) use table::{descriptions, find};
