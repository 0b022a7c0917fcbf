//! Workflows and uploads that a service is started with: workflows are replaced at every start by what the user's files
//! contain now, and uploads are found by their file names.

use super::database::Store;
use super::tables::{Error, WORKFLOWS, read_row, write_row};
use crate::api::{HandleId, Workflow};
use crate::service::stored_names::{is_generated_id, upload_from_name};

impl Store {
    /// Adds a workflow, or replaces the one with its id, which keeps its time of creation and of its last run.
    pub(in crate::service) fn put_workflow(&self, mut workflow: Workflow) -> Result<(), Error> {
        let write = self.database.begin_write()?;
        if let Some(before) = read_row::<Workflow>(&write, WORKFLOWS, &workflow.id.0)? {
            workflow.created_at = before.created_at;
            workflow.last_run_date = before.last_run_date;
        }
        write_row(&write, WORKFLOWS, &workflow.id.0, &workflow)?;
        Ok(write.commit()?)
    }

    /// Returns the handle of the upload that a service was started with and that has this file name; `None` if there is
    /// none, or if the name is a handle itself.
    pub(in crate::service) fn upload_by_name(&self, name: &str) -> Result<Option<HandleId>, Error> {
        if is_generated_id(name) {
            return Ok(None);
        }
        let handle = upload_from_name(name);
        Ok(self.upload(&handle)?.map(|_| handle))
    }
}
