//! Stands for `copy_into` in builds without object stores, where `--copy-into` is refused with the other flags of tables.

use super::args::PipelineArgs;
use super::context::Context;
use super::error::Failure;
use crate::pipeline::{Output, Report};
use crate::warehouse::{LedgerRow, LoadMember};

/// No copy can be made.
pub(super) enum CopyInto {}

/// Returns `None`.
pub(super) fn copy_into(_: &PipelineArgs, _: &[Output], _: bool) -> Result<Option<CopyInto>, Failure> {
    Ok(None)
}

impl CopyInto {
    pub(super) async fn check(&self, _: &Context) -> Result<(), Failure> {
        match *self {}
    }

    pub(super) fn require_sets_of_runs(&self) -> Result<(), Failure> {
        match *self {}
    }

    pub(super) fn of_runs(&self, _: &[LoadMember]) -> Result<CopyInto, Failure> {
        match *self {}
    }

    pub(super) fn of_sources(&self, _: &str) -> Result<CopyInto, Failure> {
        match *self {}
    }

    pub(super) fn set(&self) -> String {
        match *self {}
    }

    pub(super) async fn find(&self, _: &Context) -> Result<Option<(String, LedgerRow)>, Failure> {
        match *self {}
    }

    pub(super) async fn load(&self, _: &Context, _: &mut Report) -> Result<(), Failure> {
        match *self {}
    }
}
