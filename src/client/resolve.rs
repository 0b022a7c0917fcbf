//! Resolution of the WORKFLOW argument: a definition file, an id, or a name. Creates or updates the workflow of a
//! definition file; never deletes one.

use std::path::Path;

use super::{Client, Definition, Error, same_graph};
use crate::api::{Graph, UpdateWorkflow, Workflow, WorkflowId};
use crate::net::Kind;

/// Workflows with the name of a definition that are compared with it before a new one is created; each costs a call.
const MAX_COMPARED: usize = 20;

/// A workflow that was found, or created or updated from a definition file.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedWorkflow {
    /// Id of the workflow.
    pub id: WorkflowId,
    /// Name of the workflow.
    pub name: String,
    /// Graph of the workflow; empty if the API returned none.
    pub graph: Graph,
    /// The action taken: `found`, `created` or `updated`.
    pub how: &'static str,
}

impl Client {
    /// Resolves `text`: as a definition file if a file of that name holds one, else as an id, else as an exact name.
    /// For a definition the workflow with its id is used and updated if it differs; without an id one with its name
    /// and the same graph, else a new one.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownWorkflow`], [`Error::AmbiguousName`] if several workflows have the name, or the error of the
    /// file.
    pub async fn resolve_workflow(&self, text: &str) -> Result<ResolvedWorkflow, Error> {
        let path = Path::new(text);
        // A name that ends in .json is meant as a file, even if there is none: the error then names the file.
        let means_file = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
        if means_file || path.is_file() {
            match Definition::read(path) {
                Ok(definition) => return self.workflow_from_definition(definition).await,
                // A file that happens to have the name of a workflow.
                Err(Error::Definition { .. }) if !means_file => {}
                Err(error) => return Err(error),
            }
        }
        self.find_workflow(text).await
    }

    /// Finds the workflow with this id or exact name; the id takes precedence.
    pub async fn find_workflow(&self, text: &str) -> Result<ResolvedWorkflow, Error> {
        let all = self.workflows().await?;
        let named: Vec<&Workflow> = all.iter().filter(|w| w.name == text).collect();
        let id = match (all.iter().find(|w| w.id.0 == text), named.as_slice()) {
            (Some(workflow), _) => workflow.id.clone(),
            (None, [workflow]) => workflow.id.clone(),
            // The list may omit a workflow that can still be read by its id.
            (None, []) => WorkflowId(text.to_owned()),
            (None, several) => {
                let ids = several.iter().map(|w| w.id.clone()).collect();
                return Err(Error::AmbiguousName { name: text.to_owned(), ids });
            }
        };
        match self.find_by_id(&id).await? {
            Some(workflow) => Ok(resolved(workflow, "found")),
            None => Err(Error::UnknownWorkflow(text.to_owned())),
        }
    }

    async fn workflow_from_definition(&self, Definition(definition): Definition) -> Result<ResolvedWorkflow, Error> {
        let wanted = &definition.workflow_definition;
        let same = |w: &Workflow| w.workflow_definition.as_ref().is_some_and(|graph| same_graph(graph, wanted));
        // With an id the definition is authoritative: an existing workflow is made equal to it.
        if let Some(id) = &definition.id {
            return match self.find_by_id(id).await? {
                None => Ok(resolved(self.create_workflow(&definition).await?, "created")),
                Some(workflow) if same(&workflow) && workflow.name == definition.workflow_name => {
                    Ok(resolved(workflow, "found"))
                }
                Some(_) => {
                    let change = UpdateWorkflow {
                        workflow_name: Some(definition.workflow_name.clone()),
                        workflow_description: Some(definition.workflow_description.clone()),
                        workflow_definition: Some(wanted.clone()),
                    };
                    Ok(resolved(self.update_workflow(id, &change).await?, "updated"))
                }
            };
        }
        // Without an id an equal workflow of the same name is reused, or else each command would create another. The
        // list has no graphs, so each candidate costs a call.
        let all = self.workflows().await?;
        for namesake in all.iter().filter(|w| w.name == definition.workflow_name).take(MAX_COMPARED) {
            if let Some(workflow) = self.find_by_id(&namesake.id).await?.filter(same) {
                return Ok(resolved(workflow, "found"));
            }
        }
        Ok(resolved(self.create_workflow(&definition).await?, "created"))
    }

    /// Returns the workflow with this id and its graph; `None` if there is none, or if the API rejects the id as
    /// malformed (422).
    async fn find_by_id(&self, id: &WorkflowId) -> Result<Option<Workflow>, Error> {
        match self.workflow(id).await {
            Ok(workflow) => Ok(Some(workflow)),
            Err(Error::Net(error)) if error.kind() == Kind::NotFound || error.status() == Some(422) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn resolved(workflow: Workflow, how: &'static str) -> ResolvedWorkflow {
    ResolvedWorkflow {
        id: workflow.id,
        name: workflow.name,
        graph: workflow.workflow_definition.unwrap_or_default(),
        how,
    }
}
