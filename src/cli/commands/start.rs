//! Exactly-once start of a run: the same command means the same start, even if its response was lost.
//!
//! A start is identified by a digest of what was specified: endpoint, definition or workflow id, input and payload. Under
//! the lock of that identity, in this order: the record of an earlier start decides (`earlier_start`), the workflow is
//! found or created (`resolve`), the input is uploaded, the idempotency key is saved, and the start is requested. A
//! record is dropped only when the API itself refused the start and no attempt can have been accepted.

use serde_json::Value;

use super::earlier_start::{
    Doubt, EarlierStart, StartName, adopt_earlier_form, earlier_start, require_no_run, runs_since,
};
use super::input::Input;
use super::ledger_session::endpoint_of;
use super::resolve::StartWork;
use crate::api::{BulkKind, HandleId, RunId, WorkflowId};
use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::client::{
    self, Client, IdempotencyKey, OpenStart, RecordedStart, ResultFormat, RunStart, StartIdentity, StartOptions,
    StartSubject, StateDir, StateError,
};
use crate::net::Kind;
use crate::text::{error_chain, escape_for_terminal, human_duration};

/// The hint after a start whose outcome is unknown.
const UNKNOWN_HINT: &str =
    "it is unknown whether the run started; repeat the same command: it finds out and does not start the run twice";

/// The same without a state directory.
const UNKNOWN_WITHOUT_STATE_HINT: &str =
    "it is unknown whether the run started: list runs with `drawoff runs ls`; the same command starts another";

/// A run that this command started or attached to.
pub(crate) struct StartedRun {
    /// Id of the run.
    pub run: RunId,
    /// Idempotency key that started it; `None` if it is unknown.
    pub key: Option<IdempotencyKey>,
    /// Id of its workflow.
    pub workflow: WorkflowId,
    /// True if an earlier command started it.
    pub attached: bool,
}

/// The request of a start.
pub(super) struct StartRequest<'a> {
    /// Workflow to run.
    pub work: StartWork<'a>,
    /// Its id, if the caller has just made or found it.
    pub workflow: Option<&'a WorkflowId>,
    /// Input file.
    pub input: Option<&'a Input>,
    /// Rows in the request, or the configuration of a bulk job.
    pub payload: Option<&'a Value>,
    /// Kind of bulk job, whose file is part of the start request; `None` for a run of a workflow.
    pub bulk: Option<BulkKind>,
    /// True to start another run even if one with the same identity is active.
    pub new_run: bool,
    /// Name of the start.
    pub name: StartName<'a>,
}

/// Starts the run of `request`, or attaches to the run that an earlier command started with the same identity. Without
/// `state` every call starts a run.
pub(super) async fn start(
    context: &Context,
    client: &Client,
    state: Option<&StateDir>,
    request: &StartRequest<'_>,
    formats: &[ResultFormat],
) -> Result<StartedRun, Failure> {
    let name = escape_for_terminal(request.work.name());
    let is_named = request.name.text().is_some();
    let input = request.input;
    // The file of a bulk job is part of the start request and is not uploaded before it.
    let to_upload = input.filter(|_| request.bulk.is_none());
    let options = |start: &RecordedStart| StartOptions {
        input: start.input.clone(),
        payload: request.payload.cloned(),
        formats: formats.to_vec(),
        key: start.key.clone(),
    };
    let Some(state) = state else {
        let workflow = request.workflow_id(context, client, None).await?;
        let handle = upload(context, client, to_upload, request.name).await?;
        let key = IdempotencyKey::fresh(&workflow.0);
        let options = StartOptions { input: handle, payload: request.payload.cloned(), formats: formats.to_vec(), key };
        context.set_resume_hint(UNKNOWN_WITHOUT_STATE_HINT.to_owned());
        let started = request.send(context, client, &workflow, input, &options).await;
        let started = started.map_err(|failure| match is_outcome_unknown(&failure) {
            true => failure.with_hint(UNKNOWN_WITHOUT_STATE_HINT),
            false => failure,
        })?;
        request.note(context, &format!("run {} of {name} started", started.run));
        return Ok(StartedRun { run: started.run, key: Some(options.key), workflow, attached: false });
    };
    let identity = request.identity(context, client, input).await?;
    // Holds the lock of this identity, so that two equal commands at once do not both start a run.
    let mut slot = state.start(&identity).map_err(|error| match error {
        StateError::Busy { .. } => {
            Failure::new(error, "retry when that process has started the run: this command then attaches to it")
        }
        error => error.into(),
    })?;
    // An earlier start without a response, which is requested again under its own key.
    let mut repeated = None;
    if let Some(earlier) = request.recorded(context, client, state, &mut slot, &identity).await? {
        match context.unless_interrupted(earlier_start(context, client, state, &earlier, request.name)).await? {
            EarlierStart::Over => {}
            EarlierStart::Run(run, why) => {
                let another = if is_named { "" } else { "; `--new-run` starts another" };
                request.note(context, &format!("already started as {run}, {why}{another}"));
                return Ok(StartedRun { run, key: Some(earlier.key), workflow: earlier.workflow, attached: true });
            }
            // The API may have started the run or not: the same key makes it decide.
            EarlierStart::Unknown => {
                let ago = human_duration(earlier.age());
                context
                    .screen
                    .note(&format!("a start of {name} {ago} ago got no response; requesting it again under its key"));
                repeated = Some(earlier);
            }
        }
    }
    let is_repeated = repeated.is_some();
    let mut start = match repeated {
        // Also with its own workflow: a key belongs to one.
        Some(earlier) => earlier,
        None => {
            let workflow = request.workflow_id(context, client, Some(state)).await?;
            let handle = upload(context, client, to_upload, request.name).await?;
            RecordedStart::new(&identity, &workflow, handle, client.http().key_fingerprint())
        }
    };
    // On disk before the request: a process that is killed from here on leaves the key for the next command.
    slot.save(&start)?;
    let workflow = start.workflow.clone();
    context.set_resume_hint(UNKNOWN_HINT.to_owned());
    let mut started = request.send(context, client, &workflow, input, &options(&start)).await;
    if is_repeated && start.input.is_some() && started.as_ref().is_err_and(is_refused_by_api) {
        // The handle of the earlier upload may have expired. A fresh upload is safe, because the key is the same.
        start.input = upload(context, client, to_upload, request.name).await?;
        slot.save(&start)?;
        started = request.send(context, client, &workflow, input, &options(&start)).await;
    }
    let started = match started {
        Ok(started) => started,
        Err(failure) => {
            let after = after_failure(context, client, state, &mut slot, &start, is_repeated, request.name, failure);
            return Err(after.await);
        }
    };
    let run = started.run;
    // A fresh key cannot have started a run before, whatever the response says.
    let attached = (is_repeated || is_named) && started.already_started;
    // Saved before the run is printed: a reader of that line may kill this process and repeat the command.
    start.run = Some(run.clone());
    if let Err(error) = slot.save(&start) {
        let error = error_chain(&error);
        context.screen.always(&format!("{error}; the run continues"));
    }
    match attached {
        true if is_named => request.note(context, &format!("already started as {run}")),
        true => request.note(context, &format!("already started as {run}; `--new-run` starts another")),
        false => request.note(context, &format!("run {run} of {name} started")),
    }
    if (is_repeated || started.maybe_repeated) && !started.already_started {
        note_possible_duplicates(context, client, state, &start, &run).await?;
    }
    Ok(StartedRun { run, key: Some(start.key), workflow, attached })
}

/// Notes other runs of the workflow since the first request of a start, if the API did not recognize its repetition: an
/// API that ignores idempotency keys has started it twice.
async fn note_possible_duplicates(
    context: &Context,
    client: &Client,
    state: &StateDir,
    start: &RecordedStart,
    run: &RunId,
) -> Result<(), Failure> {
    // Only a note: an error of the list must not end a command whose run has started.
    let since = context.unless_interrupted(async { Ok(runs_since(client, state, start).await.unwrap_or_default()) });
    let since = since.await?;
    let others: Vec<String> = since.iter().filter(|other| *other != run).map(RunId::to_string).collect();
    if !others.is_empty() {
        let others = escape_for_terminal(&others.join(", "));
        context.screen.always(&format!(
            "the API did not recognize the repeated start; these runs of the same workflow began since the first request and may be its duplicates: {others}"
        ));
    }
    Ok(())
}

impl StartRequest<'_> {
    /// Prints a note on the start of a run, unless it is one of many, which their command tells of.
    fn note(&self, context: &Context, text: &str) {
        if !matches!(self.name, StartName::Part { .. }) {
            context.screen.note(text);
        }
    }

    async fn workflow_id(
        &self,
        context: &Context,
        client: &Client,
        state: Option<&StateDir>,
    ) -> Result<WorkflowId, Failure> {
        match self.workflow {
            Some(workflow) => Ok(workflow.clone()),
            None => self.work.id(context, client, state).await,
        }
    }

    /// Returns the identity of the start. Reads the whole input for its digest.
    pub(super) async fn identity(
        &self,
        context: &Context,
        client: &Client,
        input: Option<&Input>,
    ) -> Result<StartIdentity, Failure> {
        let input = match input {
            Some(input) => Some(input.digest(context).await?),
            None => None,
        };
        let input = input.as_ref().map(|(digest, extension)| (digest.as_str(), extension.as_str()));
        let payload = self.payload.map(Value::to_string);
        let (name, definition);
        let subject = match self.work {
            StartWork::Definition(work) => {
                (name, definition) = (self.work.name(), work.digest());
                StartSubject::Definition { name, digest: &definition }
            }
            StartWork::Workflow(workflow) => StartSubject::Workflow { name: &workflow.name, id: &workflow.id },
        };
        let identity = StartIdentity::new(&endpoint_of(client), subject, input, payload.as_deref());
        Ok(match self.name.text() {
            Some(name) => identity.once(name),
            None => identity,
        })
    }

    /// Returns the record of an earlier start that counts; `None` if there is none, or if another run is wanted: its
    /// record is then overwritten, so that its run is not attached to any more.
    async fn recorded(
        &self,
        context: &Context,
        client: &Client,
        state: &StateDir,
        slot: &mut OpenStart,
        identity: &StartIdentity,
    ) -> Result<Option<RecordedStart>, Failure> {
        if self.new_run {
            return Ok(None);
        }
        let recorded = slot.previous().map_err(|error| {
            let another = self.name.start_another();
            Failure::new(
                error,
                format!("it may belong to an active run: list runs with `drawoff runs ls`, or {another}"),
            )
        })?;
        match recorded {
            Some(recorded) => {
                self.require_same_work(&recorded, identity)?;
                Ok(Some(recorded))
            }
            None if self.name.text().is_none() => {
                let adopted = adopt_earlier_form(client, state, slot, identity, self.work);
                context.unless_interrupted(adopted).await
            }
            None => Ok(None),
        }
    }

    /// Says why [`start`] would start no further run, as a clause; `None` if it would start one. Starts and records nothing.
    pub(super) async fn found(
        &self,
        context: &Context,
        client: &Client,
        state: &StateDir,
    ) -> Result<Option<String>, Failure> {
        if self.new_run {
            return Ok(None);
        }
        let identity = self.identity(context, client, self.input).await?;
        let Some(recorded) = state.peek_start(&identity)? else { return Ok(None) };
        self.require_same_work(&recorded, &identity)?;
        let earlier = earlier_start(context, client, state, &recorded, self.name);
        Ok(match context.unless_interrupted(earlier).await? {
            EarlierStart::Over => None,
            EarlierStart::Run(run, why) => Some(format!("already started as {run}, {why}")),
            EarlierStart::Unknown => {
                let ago = human_duration(recorded.age());
                Some(format!("a start {ago} ago got no response, and would be requested again under its key"))
            }
        })
    }

    /// Fails if `recorded`, a start of the same name, is one of other work.
    fn require_same_work(&self, recorded: &RecordedStart, identity: &StartIdentity) -> Result<(), Failure> {
        let Some(name) = self.name.text().filter(|_| !recorded.has_same_work(identity)) else { return Ok(()) };
        let run = recorded.run.as_ref().map(|run| format!(" (run {run})")).unwrap_or_default();
        let ago = human_duration(recorded.age());
        let workflow = &recorded.workflow_name;
        let (text, hint) = match self.name {
            StartName::Part { .. } => (
                format!("the input has changed: {ago} ago this part of it had other records{run}"),
                self.name.start_another(),
            ),
            _ => (
                format!(
                    "`--once {name}` was used {ago} ago to start {workflow}{run} with another workflow, input or payload"
                ),
                "choose another name for this start",
            ),
        };
        Err(Failure::new(Error::Usage(escape_for_terminal(&text)), hint))
    }

    async fn send(
        &self,
        context: &Context,
        client: &Client,
        workflow: &WorkflowId,
        input: Option<&Input>,
        options: &StartOptions,
    ) -> Result<RunStart, Failure> {
        match (self.bulk, input) {
            // The configuration is JSON text in a form field, beside the file.
            (Some(kind), Some(input)) => {
                let config = options.payload.as_ref().map_or_else(|| "{}".to_owned(), Value::to_string);
                input.start_bulk(context, client, kind, &config, &options.key).await
            }
            _ => context.unless_interrupted(async { Ok(client.start(workflow, options).await?) }).await,
        }
    }
}

/// Uploads an input, if there is one. An error that may be due to its size has the flag that helps as its hint.
async fn upload(
    context: &Context,
    client: &Client,
    input: Option<&Input>,
    name: StartName<'_>,
) -> Result<Option<HandleId>, Failure> {
    let Some(input) = input else { return Ok(None) };
    let uploaded = input.upload(context, client).await;
    uploaded.map(Some).map_err(|failure| {
        let hint = size_hint(&failure, name);
        failure.or_hint(|| hint)
    })
}

/// Returns the hint for a file that the API did not take, if that can be due to its size.
fn size_hint(failure: &Failure, name: StartName<'_>) -> Option<String> {
    let Error::Client(client::Error::Net(error)) = failure.error() else { return None };
    let if_too_large = match error.status() {
        Some(413) => "",
        // The limit of rows, or another fault of the file.
        Some(422) => "if it is too large, ",
        _ => return None,
    };
    Some(match name {
        StartName::Part { .. } => format!(
            "{if_too_large}choose smaller parts with `--rows-per-run N` or `--bytes-per-run SIZE`, which start all again"
        ),
        _ => format!(
            "{if_too_large}cut it into inputs of several runs with `--rows-per-run N` or `--bytes-per-run SIZE`"
        ),
    })
}

/// Returns true if the API itself refused the request. An earlier attempt may have been accepted all the same.
fn is_refused_by_api(failure: &Failure) -> bool {
    let Error::Client(client::Error::Net(error)) = failure.error() else { return false };
    error.is_from_api() && matches!(error.status(), Some(400 | 404 | 422))
}

/// Returns true if the request may have started a run, or may have failed to arrive.
fn is_outcome_unknown(failure: &Failure) -> bool {
    let Error::Client(client::Error::Net(error)) = failure.error() else { return false };
    matches!(error.kind(), Kind::Unreachable | Kind::ServerFault | Kind::BadResponse) || error.may_be_processed()
}

/// Forgets a start that has certainly begun no run: the API refused its only attempt, or refuses to repeat it and lists
/// no run since. Any other is kept, and the next command requests it again under its key.
#[expect(clippy::too_many_arguments, reason = "the facts of one start, which end here")]
async fn after_failure(
    context: &Context,
    client: &Client,
    state: &StateDir,
    slot: &mut OpenStart,
    start: &RecordedStart,
    is_repeated: bool,
    name: StartName<'_>,
    failure: Failure,
) -> Failure {
    let Error::Client(client::Error::Net(error)) = failure.error() else { return failure };
    let is_refused = is_refused_by_api(&failure);
    let is_over = if error.is_certain_refusal() && !is_repeated {
        Ok(())
    } else if is_refused {
        let no_run = async { Ok(require_no_run(client, state, start, name).await) };
        context.unless_interrupted(no_run).await.unwrap_or(Err(Doubt::Temporary))
    } else {
        Err(Doubt::Temporary)
    };
    match is_over {
        Ok(()) => {
            // An error is harmless: the next command requests the start under its key and is refused again.
            let _ = slot.forget();
            failure.or_hint(|| {
                is_repeated.then(|| "the earlier start began no run; repeat the command to start one".to_owned())
            })
        }
        Err(Doubt::Permanent(hint)) => failure.with_hint(hint),
        Err(Doubt::Temporary) if is_refused || is_outcome_unknown(&failure) => failure.with_hint(UNKNOWN_HINT),
        // A rejected key, a limit: what helps against that comes first.
        Err(Doubt::Temporary) => failure.or_hint(|| is_repeated.then(|| UNKNOWN_HINT.to_owned())),
    }
}
