//! The workflow of a start: found by its id or name, or made from a definition under the lock of its record, so that
//! commands at the same time create one workflow.

use std::time::{Duration, Instant};

use super::ledger_session::endpoint_of;
use crate::api::{Graph, WorkflowId};
use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::client::{self, Client, Definition, ResolvedWorkflow, SourceKind, StateDir, StateError, source_block};
use crate::net::Kind;
use crate::text::escape_for_terminal;

/// Source blocks that take no input from the caller.
pub(super) const SOURCES_WITHOUT_INPUT: [&str; 2] = ["read_notebook", "search"];

/// Interval between attempts at the lock of a definition's record, which another process holds for a few requests.
const LOCK_INTERVAL: Duration = Duration::from_millis(50);

/// Time after which such a wait is reported to the user.
const LOCK_NOTE_AFTER: Duration = Duration::from_secs(1);

/// The work of a start.
#[derive(Clone, Copy)]
pub(super) enum StartWork<'a> {
    /// A definition, from which a workflow is made if there is none.
    Definition(&'a Definition),
    /// A workflow that exists; for a bulk job, one that represents it.
    Workflow(&'a ResolvedWorkflow),
}

impl<'a> StartWork<'a> {
    /// Returns the name of the workflow.
    pub(super) fn name(self) -> &'a str {
        match self {
            StartWork::Definition(Definition(definition)) => &definition.workflow_name,
            StartWork::Workflow(workflow) => &workflow.name,
        }
    }

    /// Returns the graph of the workflow, as it was specified.
    pub(super) fn graph(self) -> &'a Graph {
        match self {
            StartWork::Definition(Definition(definition)) => &definition.workflow_definition,
            StartWork::Workflow(workflow) => &workflow.graph,
        }
    }

    /// Returns the id of the workflow, which is made from a definition now.
    pub(super) async fn id(
        self,
        context: &Context,
        client: &Client,
        state: Option<&StateDir>,
    ) -> Result<WorkflowId, Failure> {
        match self {
            StartWork::Definition(definition) => Ok(make(context, client, state, definition).await?.id),
            StartWork::Workflow(workflow) => Ok(workflow.id.clone()),
        }
    }
}

/// Finds the workflow with this id or exact name.
pub(super) async fn find(context: &Context, client: &Client, text: &str) -> Result<ResolvedWorkflow, Failure> {
    let workflow = context.unless_interrupted(async { Ok(client.find_workflow(text).await?) }).await;
    workflow.map_err(|failure| match failure.error() {
        Error::Client(client::Error::UnknownWorkflow(_)) => {
            failure.with_hint("list workflows with `drawoff workflows ls`, or specify a definition file")
        }
        _ => failure,
    })
}

/// Returns the workflow of a definition, created or updated if necessary, and reports which.
async fn make(
    context: &Context,
    client: &Client,
    state: Option<&StateDir>,
    definition: &Definition,
) -> Result<ResolvedWorkflow, Failure> {
    let Definition(wanted) = definition;
    let making = async {
        let record = match state {
            None => None,
            Some(state) => {
                let (start, mut noted) = (Instant::now(), false);
                let (endpoint, digest) = (endpoint_of(client), definition.digest());
                Some(loop {
                    match state.workflow(&endpoint, &wanted.workflow_name, &digest) {
                        Err(error @ StateError::Busy { .. }) => {
                            if !noted && start.elapsed() > LOCK_NOTE_AFTER {
                                context.screen.note(&format!("{error}; waiting for it"));
                                noted = true;
                            }
                            tokio::time::sleep(LOCK_INTERVAL).await;
                        }
                        opened => break opened?,
                    }
                })
            }
        };
        Ok(client.workflow_of(definition, record.as_ref()).await?)
    };
    let workflow = context.unless_interrupted(making).await.map_err(|failure| match failure.error() {
        Error::Client(client::Error::Net(error)) if error.kind() == Kind::Refused => {
            failure.or_hint(|| unknown_source_hint(definition))
        }
        _ => failure,
    })?;
    if workflow.how != "found" {
        let name = escape_for_terminal(&workflow.name);
        context.screen.note(&format!("workflow {} ({name}) {}", workflow.id, workflow.how));
    }
    Ok(workflow)
}

/// Returns the hint for a refused definition whose first block is unknown; `None` if it is known.
fn unknown_source_hint(Definition(definition): &Definition) -> Option<String> {
    match SourceKind::of(source_block(&definition.workflow_definition)?) {
        SourceKind::Other(name) if !SOURCES_WITHOUT_INPUT.contains(&name.as_str()) => Some(format!(
            "the workflow starts with `{name}`, which is not a known source block; use webhook, read_csv, {}",
            SOURCES_WITHOUT_INPUT.join(" or ")
        )),
        _ => None,
    }
}
