//! Resolution of the WORKFLOW argument: a definition file, an id, or a name. Creates or updates the workflow of a
//! definition file; never deletes one.

use super::idempotency::random_uuid;
use super::{Client, Definition, Error, OpenWorkflow, RecordedWorkflow, WorkflowArgument, graph_digest, same_graph};
use crate::api::{CreateWorkflow, Graph, UpdateWorkflow, Workflow, WorkflowId};
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
    /// Resolves `text`: as a definition file if a file of that name holds one, else as an id, else as an exact name. See
    /// [`Client::workflow_of`] and [`Client::find_workflow`].
    ///
    /// # Errors
    ///
    /// [`Error::UnknownWorkflow`], [`Error::AmbiguousName`] if several workflows have the name, or the error of the
    /// file.
    pub async fn resolve_workflow(&self, text: &str) -> Result<ResolvedWorkflow, Error> {
        match WorkflowArgument::read(text)? {
            WorkflowArgument::Definition(definition) => self.workflow_of(&definition, None).await,
            WorkflowArgument::Named(text) => self.find_workflow(&text).await,
        }
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

    /// Returns the workflow of a definition, created if there is none. Without an id in the definition that is the
    /// workflow of `record`, else one with the same name and graph, else a new one; with an id the workflow with this id,
    /// which is updated if it differs.
    ///
    /// A new workflow has an id that is chosen here and stored in `record` before the request, so that a creation without
    /// a response is not repeated under another id. The API may rewrite a graph that it stores: `record` keeps the digest
    /// of what it returned.
    pub async fn workflow_of(
        &self,
        definition: &Definition,
        record: Option<&OpenWorkflow>,
    ) -> Result<ResolvedWorkflow, Error> {
        let Definition(wanted) = definition;
        let previous = record.and_then(|record| record.previous.as_ref());
        let is_wanted = |workflow: &Workflow| {
            let Some(graph) = &workflow.workflow_definition else { return false };
            let is_recorded = || {
                previous.is_some_and(|previous| {
                    previous.id == workflow.id && previous.stored_graph.as_ref() == Some(&graph_digest(graph))
                })
            };
            workflow.name == wanted.workflow_name && (same_graph(graph, &wanted.workflow_definition) || is_recorded())
        };
        let outcome = match &wanted.id {
            // With an id the definition is authoritative: an existing workflow is made equal to it.
            Some(id) => match self.find_by_id(id).await? {
                Some(workflow) if is_wanted(&workflow) => (workflow, "found"),
                Some(_) => (self.update_to(id, wanted).await?, "updated"),
                None => match self.renamed_workflow(id, previous, is_wanted).await? {
                    Some(workflow) => (workflow, "found"),
                    None => match self.create_or_find(wanted, id).await? {
                        // Another process created it between the two calls.
                        (workflow, "found") if !is_wanted(&workflow) => (self.update_to(id, wanted).await?, "updated"),
                        outcome => outcome,
                    },
                },
            },
            None => match self.equal_workflow(wanted, previous, is_wanted).await? {
                Some(workflow) => (workflow, "found"),
                None => {
                    // A creation without a response is repeated under its id; any other is new.
                    let pending = previous.filter(|previous| previous.stored_graph.is_none());
                    let mut id = pending.map_or_else(|| WorkflowId(random_uuid()), |pending| pending.id.clone());
                    let save = |id: &WorkflowId| match record {
                        Some(record) => record.save(&RecordedWorkflow::new(id.clone(), None)),
                        None => Ok(()),
                    };
                    save(&id)?;
                    match self.create_or_find(wanted, &id).await {
                        // It exists and is not found: the workflow was deleted since, and the API keeps its id.
                        Err(Error::Net(conflict)) if pending.is_some() && conflict.status() == Some(409) => {
                            id = WorkflowId(random_uuid());
                            save(&id)?;
                            self.create_or_find(wanted, &id).await?
                        }
                        outcome => outcome?,
                    }
                }
            },
        };
        let (workflow, how) = outcome;
        let workflow = resolved(workflow, how);
        let Some(record) = record else { return Ok(workflow) };
        let stored = RecordedWorkflow::new(workflow.id.clone(), Some(graph_digest(&workflow.graph)));
        if previous.is_none_or(|previous| (&previous.id, &previous.stored_graph) != (&stored.id, &stored.stored_graph))
        {
            record.save(&stored)?;
        }
        // The response to a creation may repeat what was sent, while the stored graph is another one. An error is
        // harmless: the next command then compares with the response.
        if how != "found"
            && let Ok(Some(shown)) = self.find_by_id(&workflow.id).await
            && let Some(digest) = shown.workflow_definition.as_ref().map(graph_digest)
            && stored.stored_graph.as_ref() != Some(&digest)
        {
            record.save(&RecordedWorkflow::new(workflow.id.clone(), Some(digest)))?;
        }
        Ok(workflow)
    }

    /// Returns the workflow of an earlier creation, else one with the name and the graph of a definition without an id.
    async fn equal_workflow(
        &self,
        wanted: &CreateWorkflow,
        previous: Option<&RecordedWorkflow>,
        is_wanted: impl Fn(&Workflow) -> bool,
    ) -> Result<Option<Workflow>, Error> {
        if let Some(previous) = previous
            && let Some(workflow) = self.find_recorded(previous).await?
            // One that was created without a response is the wanted one, whatever graph the API made of it.
            && (previous.stored_graph.is_none() || is_wanted(&workflow))
        {
            return Ok(Some(workflow));
        }
        // The list has no graphs, so each candidate costs a call.
        let all = self.workflows().await?;
        for namesake in all.iter().filter(|w| w.name == wanted.workflow_name).take(MAX_COMPARED) {
            if let Some(workflow) = self.find_by_id(&namesake.id).await?.filter(&is_wanted) {
                return Ok(Some(workflow));
            }
        }
        Ok(None)
    }

    /// Returns the workflow that the API created under another id than `id`, which the definition names.
    async fn renamed_workflow(
        &self,
        id: &WorkflowId,
        previous: Option<&RecordedWorkflow>,
        is_wanted: impl Fn(&Workflow) -> bool,
    ) -> Result<Option<Workflow>, Error> {
        match previous.filter(|previous| previous.id != *id) {
            Some(previous) => Ok(self.find_recorded(previous).await?.filter(is_wanted)),
            None => Ok(None),
        }
    }

    /// Returns the workflow of an earlier creation. One that this key has no access to counts as none: it was created with
    /// the key of another organisation.
    async fn find_recorded(&self, previous: &RecordedWorkflow) -> Result<Option<Workflow>, Error> {
        match self.find_by_id(&previous.id).await {
            Err(Error::Net(error)) if error.kind() == Kind::Forbidden && error.is_from_api() => Ok(None),
            found => found,
        }
    }

    /// Creates `wanted` under `id`. If the API says that the id exists (409), an earlier attempt, or another process, has
    /// created it: returns that workflow.
    async fn create_or_find(
        &self,
        wanted: &CreateWorkflow,
        id: &WorkflowId,
    ) -> Result<(Workflow, &'static str), Error> {
        let created = self.create_workflow(&CreateWorkflow { id: Some(id.clone()), ..wanted.clone() }).await;
        match created {
            Ok(workflow) => Ok((workflow, "created")),
            Err(Error::Net(conflict)) if conflict.status() == Some(409) => match self.find_by_id(id).await? {
                // After several attempts the first one created it.
                Some(workflow) => Ok((workflow, if conflict.tries() > 1 { "created" } else { "found" })),
                None => Err(conflict.into()),
            },
            Err(error) => Err(error),
        }
    }

    async fn update_to(&self, id: &WorkflowId, wanted: &CreateWorkflow) -> Result<Workflow, Error> {
        let change = UpdateWorkflow {
            workflow_name: Some(wanted.workflow_name.clone()),
            workflow_description: Some(wanted.workflow_description.clone()),
            workflow_definition: Some(wanted.workflow_definition.clone()),
        };
        self.update_workflow(id, &change).await
    }

    /// Returns the workflow with this id and its graph; `None` if the API itself says that there is none, or rejects the
    /// id as malformed (422). The 404 of a gateway is an error.
    pub async fn find_by_id(&self, id: &WorkflowId) -> Result<Option<Workflow>, Error> {
        match self.workflow(id).await {
            Ok(workflow) => Ok(Some(workflow)),
            Err(Error::Net(error))
                if error.is_from_api() && (error.kind() == Kind::NotFound || error.status() == Some(422)) =>
            {
                Ok(None)
            }
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
