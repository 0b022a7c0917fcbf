//! `workflows`: lists, prints, creates, replaces and deletes workflows, and lists the blocks.

use crate::api::{CreateWorkflow, UpdateWorkflow, Workflow};
use crate::cli::args::WorkflowsCommand;
use crate::cli::choices::ListFormat;
use crate::cli::context::Context;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::table;
use crate::client::Definition;

/// Runs one of the subcommands against the API.
pub(crate) async fn dispatch(context: &Context, command: WorkflowsCommand) -> Result<Exit, Failure> {
    let client = context.client()?;
    match command {
        WorkflowsCommand::Ls(list) => {
            let workflows = client.workflows().await?;
            table::write_list(list.output, &workflows, &["ID", "NAME", "STATUS", "UPDATED", "LAST RUN"], |w| {
                let last_run = w.last_run_date.clone().unwrap_or_else(|| "-".into());
                vec![w.id.to_string(), w.name.clone(), w.status.clone(), w.updated_at.clone(), last_run]
            })?;
        }
        WorkflowsCommand::Get { workflow } => {
            let found = client.find_workflow(&workflow).await?;
            let whole = client.workflow(&found.id).await?;
            // In the form of a definition file, so that it can be edited and used with `update`.
            let definition = CreateWorkflow {
                id: Some(whole.id),
                workflow_name: whole.name,
                workflow_description: whole.description.unwrap_or_default(),
                workflow_definition: whole.workflow_definition.unwrap_or_default(),
            };
            table::write_data(&(table::pretty(&definition) + "\n"))?;
        }
        WorkflowsCommand::Create { file, list } => {
            let Definition(definition) = Definition::read(&file)?;
            write(list.output, &client.create_workflow(&definition).await?)?;
        }
        WorkflowsCommand::Update { workflow, file, list } => {
            let Definition(definition) = Definition::read(&file)?;
            // The API would create a workflow for an unknown id; a typo in an id must not.
            let found = client.find_workflow(&workflow).await?;
            let change = UpdateWorkflow {
                workflow_name: Some(definition.workflow_name),
                workflow_description: Some(definition.workflow_description),
                workflow_definition: Some(definition.workflow_definition),
            };
            write(list.output, &client.update_workflow(&found.id, &change).await?)?;
        }
        WorkflowsCommand::Delete { workflow, list } => {
            let found = client.find_workflow(&workflow).await?;
            write(list.output, &client.delete_workflow(&found.id).await?)?;
            context.screen.note("deleted");
        }
        WorkflowsCommand::Blocks(list) => {
            let blocks = client.blocks().await?;
            table::write_list(list.output, &blocks, &["BLOCK", "SPECS"], |block| {
                let specs = block.specs_schema.get("properties").and_then(|p| p.as_object());
                let names = specs.map(|specs| specs.keys().map(String::as_str).collect::<Vec<_>>().join(", "));
                vec![block.block_name.clone(), names.unwrap_or_default()]
            })?;
        }
    }
    Ok(Exit::Success)
}

fn write(format: ListFormat, workflow: &Workflow) -> Result<(), Failure> {
    let blocks = workflow.workflow_definition.as_ref().map(|graph| {
        let mut blocks: Vec<_> = graph.blocks.iter().collect();
        blocks.sort_by_key(|block| block.sequence_number);
        blocks.iter().map(|block| block.block_name.as_str()).collect::<Vec<_>>().join(", ")
    });
    let mut rows = vec![
        ("id", workflow.id.to_string()),
        ("name", workflow.name.clone()),
        ("description", workflow.description.clone().unwrap_or_default()),
        ("status", workflow.status.clone()),
        ("updated", workflow.updated_at.clone()),
    ];
    rows.extend(blocks.map(|blocks| ("blocks", blocks)));
    table::write_item(format, workflow, rows)
}
