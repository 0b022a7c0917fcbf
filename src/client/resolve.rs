//! What a person means by WORKFLOW.

use std::path::Path;

use super::{Client, Definition, Error, same_graph};
use crate::api::{Graph, UpdateWorkflow, Workflow, WorkflowId};
use crate::net::Kind;

/// Workflows of one name that are compared with a definition file before a new one is made.
const MAX_COMPARED: usize = 20;

/// A workflow that was found, or made from a definition file.
#[derive(Clone, Debug, PartialEq)]
pub struct ResolvedWorkflow {
    /// Its id.
    pub id: WorkflowId,
    /// Its name.
    pub name: String,
    /// Its graph.
    pub graph: Graph,
    /// What was done to have it: `found`, `created`, `updated`.
    pub how: &'static str,
}

impl Client {
    /// The workflow meant by `text`: a definition file if a file of that name holds one, else an id, else an exact
    /// name. A definition becomes a workflow: the one with its id, or one of its name with the same graph, or a new
    /// one. Several workflows of the name are an error that lists them.
    pub async fn resolve_workflow(&self, text: &str) -> Result<ResolvedWorkflow, Error> {
        let path = Path::new(text);
        let means_file = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("json"));
        if means_file || path.is_file() {
            match Definition::read(path) {
                Ok(definition) => return self.workflow_of(definition).await,
                // A file that happens to be named like a workflow.
                Err(Error::Definition { .. }) if !means_file => {}
                Err(error) => return Err(error),
            }
        }
        self.find_workflow(text).await
    }

    /// The workflow with this id or exact name.
    pub async fn find_workflow(&self, text: &str) -> Result<ResolvedWorkflow, Error> {
        let all = self.workflows().await?;
        let named: Vec<&Workflow> = all.iter().filter(|w| w.name == text).collect();
        let id = match (all.iter().find(|w| w.id.0 == text), named.as_slice()) {
            (Some(workflow), _) => workflow.id.clone(),
            (None, [workflow]) => workflow.id.clone(),
            // The list may leave out what can still be read.
            (None, []) => WorkflowId(text.to_owned()),
            (None, several) => {
                let ids = several.iter().map(|w| w.id.clone()).collect();
                return Err(Error::AmbiguousName { name: text.to_owned(), ids });
            }
        };
        match self.existing(&id).await? {
            Some(workflow) => Ok(resolved(workflow, "found")),
            None => Err(Error::UnknownWorkflow(text.to_owned())),
        }
    }

    async fn workflow_of(&self, Definition(definition): Definition) -> Result<ResolvedWorkflow, Error> {
        let wanted = &definition.workflow_definition;
        let same = |w: &Workflow| w.workflow_definition.as_ref().is_some_and(|graph| same_graph(graph, wanted));
        if let Some(id) = &definition.id {
            return match self.existing(id).await? {
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
        let all = self.workflows().await?;
        for namesake in all.iter().filter(|w| w.name == definition.workflow_name).take(MAX_COMPARED) {
            if let Some(workflow) = self.existing(&namesake.id).await?.filter(same) {
                return Ok(resolved(workflow, "found"));
            }
        }
        Ok(resolved(self.create_workflow(&definition).await?, "created"))
    }

    /// A workflow with its graph, or `None` if there is none: an id that is not well formed has none either.
    async fn existing(&self, id: &WorkflowId) -> Result<Option<Workflow>, Error> {
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
