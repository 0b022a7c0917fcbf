//! `--dry-run` of `run` and `bulk`: says which runs would be started, and starts none.

use serde_json::Value;

use super::earlier_start::StartName;
use super::input::Input;
use super::ledger_session::{self, StateNeed};
use super::parts::{Cutting, PartsRequest};
use super::resolve::{self, StartWork};
use super::run::{require_fitting_input, require_fitting_steps};
use super::start::StartRequest;
use crate::cli::args::{PartArgs, RunArgs};
use crate::cli::context::Context;
use crate::cli::error::Failure;
use crate::cli::exit::Exit;
use crate::cli::table;
use crate::client::{Client, StateDir, WorkflowArgument, declared_types};
use crate::pipeline::Part;
use crate::text::{counted, escape_for_terminal, human_bytes};

/// Prints the parts and which of them have a run, and starts none. An input that is not cut is one part.
pub(super) async fn of_parts(
    context: &Context,
    client: &Client,
    state: Option<&StateDir>,
    request: &PartsRequest<'_>,
    mut cutting: Cutting,
    first: Option<(Part, Input)>,
) -> Result<Exit, Failure> {
    let found = match (state, &first) {
        (Some(state), Some((_, part))) if !is_cut(request) => {
            run_of_input(context, client, state, request, part).await?
        }
        _ => None,
    };
    let mut next = first;
    let (mut rows, mut parts, mut started, mut recorded) = (0, 0, 0, None);
    while let Some((part, input)) = next {
        parts += 1;
        rows += part.rows;
        let mut line = format!(
            "part {parts}: rows {} to {}, {}, {}",
            part.first_row + u64::from(part.rows > 0),
            part.first_row + part.rows,
            counted(part.rows, "row"),
            human_bytes(part.bytes)
        );
        if let Some(state) = state {
            let work = request.start_request(&input, StartName::Work).identity(context, client, Some(&input)).await?;
            if parts == 1 && !request.new_run {
                recorded = state.peek_parts(&request.identity_of(&work))?;
            }
            if let Some(recorded) = &recorded {
                let identity = work.once(&recorded.start_name(parts));
                let start = state.peek_start(&identity)?;
                let is_same = start.as_ref().is_none_or(|start| start.has_same_work(&identity));
                if let Some(run) = start.and_then(|start| start.run) {
                    (started, rows) = (started + 1, rows - part.rows);
                    let how = if is_same { "started before as" } else { "with other records than those of" };
                    line.push_str(&format!(", {how} run {run}"));
                }
            }
        }
        write_line(&line)?;
        next = cutting.next(context).await?;
    }
    let name = escape_for_terminal(request.work.name());
    let earlier = match started {
        0 => String::new(),
        _ => format!("; {started} of {} were started before", counted(parts, "part")),
    };
    if let Some(found) = found {
        let rows = counted(rows, "row");
        write_line(&format!("no run of {name} would be started for {rows}: {}", escape_for_terminal(&found)))?;
        return Ok(Exit::Success);
    }
    let new = counted(parts - started, "run");
    write_line(&format!("{new} of {name} would be started for {}{earlier}", counted(rows, "row")))?;
    Ok(Exit::Success)
}

/// Returns true if the runs are those of parts; otherwise there is one, whose input is the file itself.
fn is_cut(request: &PartsRequest<'_>) -> bool {
    PartArgs { dry_run: false, ..request.args.clone() }.applies_to(request.inputs)
}

/// Says why no run would be started for an input that is not cut, as a clause. `part` has its rows.
async fn run_of_input(
    context: &Context,
    client: &Client,
    state: &StateDir,
    request: &PartsRequest<'_>,
    part: &Input,
) -> Result<Option<String>, Failure> {
    let opened;
    let input = match request.inputs.first().filter(|path| path.is_file()) {
        Some(path) => {
            opened = Input::open(context, path, request.from).await?;
            &opened
        }
        // Of a pipe there is nothing else any more.
        None => part,
    };
    let name = request.once.map_or(StartName::Work, StartName::Once);
    let start = StartRequest { new_run: request.new_run, ..request.start_request(input, name) };
    start.found(context, client, state).await
}

/// Says what would be started without an input file, after the checks of a start.
pub(super) async fn without_input(context: &Context, args: &RunArgs, payload: Option<&Value>) -> Result<Exit, Failure> {
    let found_workflow;
    let argument = WorkflowArgument::read(&args.workflow)?;
    let work = match &argument {
        WorkflowArgument::Definition(definition) => StartWork::Definition(definition),
        WorkflowArgument::Named(text) => {
            found_workflow = resolve::find(context, &context.client()?, text).await?;
            StartWork::Workflow(&found_workflow)
        }
    };
    require_fitting_input(work.name(), work.graph(), false, payload.is_some())?;
    require_fitting_steps(&args.plan.steps.steps()?, &declared_types(work.graph()))?;
    let found = match args.local {
        true => None,
        false => {
            let state = ledger_session::state_dir(context, args.results.no_state, StateNeed::Required)?;
            let name = args.once.as_deref().map_or(StartName::Work, StartName::Once);
            let start =
                StartRequest { work, workflow: None, input: None, payload, bulk: None, new_run: args.new_run, name };
            match state {
                Some(state) => start.found(context, &context.client()?, &state).await?,
                None => None,
            }
        }
    };
    let rows = match payload {
        Some(Value::Array(rows)) => format!(" for {} of the payload", counted(rows.len() as u64, "row")),
        Some(_) => " for 1 row of the payload".to_owned(),
        None => String::new(),
    };
    let name = escape_for_terminal(work.name());
    write_line(&match found {
        Some(found) => format!("no run of {name} would be started{rows}: {}", escape_for_terminal(&found)),
        None => format!("1 run of {name} would be started{rows}"),
    })?;
    Ok(Exit::Success)
}

fn write_line(line: &str) -> Result<(), Failure> {
    table::write_data(&format!("{line}\n"))
}
