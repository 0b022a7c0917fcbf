//! Views of the page: functions from rows of the store to HTML. They read no store, and every text from outside goes
//! through [`super::html::Html::text`].

mod commands;
mod document;
mod overview;
mod pieces;
mod rows;
mod run;
mod workflow;

pub(super) use commands::Commands;
pub(super) use document::{LoginRefusal, PageContext, gone_run, gone_workflow, login, message};
pub(super) use overview::{Listing, Page, overview};
pub(super) use rows::{Shown, rows};
pub(super) use run::{RunView, run};
pub(super) use workflow::{SourceInput, WorkflowView, workflow};
