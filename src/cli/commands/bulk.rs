//! `bulk`: starts a bulk job over a file with the configuration of `--fields`. The job is a run, so its results are
//! written by the code of `run`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::Value;

use super::earlier_start::StartName;
use super::input::Input;
use super::ledger_session::{self, StateNeed};
use super::parts::{PartsRequest, check_outputs, run_parts};
use super::resolve::StartWork;
use super::results::PullOptions;
use super::run::{self, pull_started_run};
use super::start::{StartRequest, start};
use crate::api::{BulkKind, WorkflowId};
use crate::cli::args::{BulkArgs, BulkCommand};
use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::cli::exit::Exit;
use crate::client::{Client, ResolvedWorkflow, ResultFormat, StateDir, bulk_config, bulk_graph, declared_types};
use crate::column::Schema;

/// Starts a bulk job over a file, or attaches to the one that an earlier command started, and writes its results.
pub(crate) async fn bulk(context: &Context, command: BulkCommand) -> Result<Exit, Failure> {
    let (kind, mut args) = match command {
        BulkCommand::People(args) => (BulkKind::People, *args),
        BulkCommand::Company(args) => (BulkKind::Company, *args),
    };
    args.plan.steps.add_run_column(args.results.run_column.as_deref());
    let formats = [ResultFormat::from(args.format)];
    let config = match (args.fields.as_deref(), kind) {
        (Some(path), _) => read_config(path)?,
        // The API requires `struct` for companies only.
        (None, BulkKind::People) => Value::Object(serde_json::Map::new()),
        (None, BulkKind::Company) => {
            let error = Error::Usage("`bulk company` requires the fields to fill".into());
            return Err(Failure::new(
                error,
                "specify them with `--fields FILE`, a JSON file such as {\"struct\": {\"employees\": \"Number of employees\"}}",
            ));
        }
    };
    let job = BulkJob { kind, args: &args, config: bulk_config(&config, &formats) };
    // The job has no workflow. A graph with the declared fields takes its place for types and identity.
    let graph = bulk_graph(&config);
    let declared = declared_types(&graph);
    let pull = job.pull(&formats, &declared);
    if !args.parts.dry_run || pull.can_be_checked() {
        let files: Vec<&Path> = args.files.iter().map(PathBuf::as_path).collect();
        check_outputs(context, &args.parts, &args.plan)?;
        pull.check(context, &files).await?;
    }
    if let Some(outputs) = args.plan.outputs.names() {
        context.set_restart(&outputs);
    }
    let workflow = ResolvedWorkflow {
        // The path of the endpoint, which no workflow id begins with.
        id: WorkflowId(kind.path().to_owned()),
        name: format!("Bulk Intelligence: {}", kind.as_str()),
        graph,
        how: "found",
    };
    // The local service ends with the command, so its runs have no ledger.
    if args.local {
        return run::on_local_service(context, &args.enrich, async |client: &Client| {
            job.carry_out(context, client, None, &workflow, &pull).await
        })
        .await;
    }
    let client = context.client()?;
    let state = ledger_session::state_dir(context, args.results.no_state, StateNeed::Required)?;
    job.carry_out(context, &client, state.as_ref(), &workflow, &pull).await
}

/// A bulk job as requested on the command line.
struct BulkJob<'a> {
    kind: BulkKind,
    args: &'a BulkArgs,
    config: Value,
}

impl BulkJob<'_> {
    fn pull<'b>(&'b self, formats: &'b [ResultFormat], declared: &'b Schema) -> PullOptions<'b> {
        PullOptions {
            results: &self.args.results,
            plan: &self.args.plan,
            formats,
            declared: Some(declared),
            start: Instant::now(),
            of_new_run: true,
            again: false,
        }
    }

    async fn carry_out(
        &self,
        context: &Context,
        client: &Client,
        state: Option<&StateDir>,
        workflow: &ResolvedWorkflow,
        pull: &PullOptions<'_>,
    ) -> Result<Exit, Failure> {
        let BulkArgs { files, from, parts, new_run, once, .. } = self.args;
        let (work, new_run, once) = (StartWork::Workflow(workflow), *new_run, once.as_deref());
        run::require_fitting_steps(&self.args.plan.steps.steps()?, &declared_types(&workflow.graph))?;
        let (payload, bulk) = (Some(&self.config), Some(self.kind));
        if parts.applies_to(files) {
            let request = PartsRequest { work, inputs: files, from: *from, payload, bulk, new_run, once, args: parts };
            return run_parts(context, client, state, &request, pull).await;
        }
        let input = Input::open(context, &files[0], *from).await?;
        let name = once.map_or(StartName::Work, StartName::Once);
        let request = StartRequest { work, workflow: None, input: Some(&input), payload, bulk, new_run, name };
        let started = start(context, client, state, &request, pull.formats).await?;
        pull_started_run(context, client, state, &started, &workflow.name, self.args.local, pull).await
    }
}

fn read_config(path: &Path) -> Result<Value, Failure> {
    let text = std::fs::read_to_string(path).map_err(|cause| Error::Read { path: path.to_owned(), cause })?;
    serde_json::from_str(&text).map_err(|cause| {
        let error = Error::Json { what: path.display().to_string(), cause };
        Failure::new(
            error,
            "write the configuration of a bulk job as JSON, such as {\"struct\": {\"email\": \"Work email\"}}",
        )
    })
}
