//! An input that is cut into parts, each the input of a run of its own: starts the runs, some at a time, waits for all of
//! them, and writes their results in the order of the input, as if they were those of one run.
//!
//! The starts are those of `start`, each under a name of its own, so that a command that was killed anywhere finds every
//! run that it began. Nothing is written before all runs are over: outputs get the results of all parts or none, or of
//! those parts that the user can do without.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashSet;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use futures::future::LocalBoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use serde_json::Value;

use super::earlier_start::StartName;
use super::input::Input;
use super::ledger_session::LedgerSession;
use super::resolve::StartWork;
use super::results::{PullOptions, worse};
use super::several_runs::{SeveralRuns, write_runs};
use super::start::{StartRequest, StartedRun, start};
use crate::api::{BulkKind, LiveStatus, RunId, RunStatus, WorkflowId};
use crate::cli::args::{PartArgs, PipelineArgs};
use crate::cli::choices::{FromFormat, OnFailed};
use crate::cli::context::Context;
use crate::cli::copy_into::copy_into;
use crate::cli::dialect::InputArgs;
use crate::cli::error::{Error, Failure};
use crate::cli::exit::Exit;
use crate::cli::{outputs, sources, table, tables};
use crate::client::{self, Client, OpenParts, PartsIdentity, StartIdentity, StateDir, StateError, WatchOptions};
use crate::format::FormatFamily;
use crate::pipeline::{self, Control, Cutter, Part, PartFormat};
use crate::sink::temporary_file;
use crate::source::Source;
use crate::text::{counted, error_chain, escape_for_terminal, human_bytes, human_count, human_duration};

/// The workflow and the inputs of the runs.
pub(super) struct PartsRequest<'a> {
    /// Workflow to run.
    pub work: StartWork<'a>,
    /// Names of the inputs, whose records are one sequence.
    pub inputs: &'a [PathBuf],
    /// Format of the inputs, if the user specified it.
    pub from: Option<FromFormat>,
    /// Configuration of a bulk job.
    pub payload: Option<&'a Value>,
    /// Kind of bulk job; `None` for runs of a workflow.
    pub bulk: Option<BulkKind>,
    /// True to start all parts again.
    pub new_run: bool,
    /// Name that the user gave to the parts.
    pub once: Option<&'a str>,
    /// Bounds of the parts, and what to do about failed ones.
    pub args: &'a PartArgs,
}

/// A part whose run was started.
struct PartRun {
    part: Part,
    run: RunId,
    /// Records that its run is done with, as far as is known.
    done_rows: u64,
    /// True if the run is one of an earlier command and has failed, also before its watch tells why.
    has_failed: bool,
    end: PartEnd,
}

enum PartEnd {
    Active,
    Completed,
    /// The error of the run.
    Failed(Failure),
}

/// The state of all parts while their runs are active.
struct Progress {
    runs: Vec<PartRun>,
    /// True after the last part was cut.
    is_all: bool,
    start: Instant,
}

/// The outcome of the start of the next part.
enum Next {
    /// Its run was started, or had been by an earlier command.
    Run(PartRun),
    /// There is no further part.
    End,
}

/// Fails if an output cannot have the results of several runs, which would else be known after all of them have ended.
pub(super) fn check_outputs(context: &Context, args: &PartArgs, plan: &PipelineArgs) -> Result<(), Failure> {
    if args.rows_per_run.is_none() && args.bytes_per_run.is_none() {
        return Ok(());
    }
    let mut outputs = outputs::outputs(plan, &context.settings, "part")?;
    if let Some(copy) = copy_into(plan, &outputs, false)? {
        copy.require_sets_of_runs()?;
    }
    tables::require_sets_of_runs(&mut outputs)
}

/// Starts the runs of all parts, or goes on with those of an earlier command, and writes their results.
pub(super) async fn run_parts(
    context: &Context,
    client: &Client,
    state: Option<&StateDir>,
    request: &PartsRequest<'_>,
    pull: &PullOptions<'_>,
) -> Result<Exit, Failure> {
    if pull.results.all_blocks {
        return Err(Failure::new(
            Error::Usage("`--all-blocks` writes a file for each block of one run, and parts are several".to_owned()),
            "choose a block of every run with `--block N`",
        ));
    }
    let mut cutting = Cutting::open(context, request).await?;
    let first = cutting.next(context).await?;
    let open = OpenParts::unstored(request.work.name());
    if request.args.dry_run {
        return dry_run(context, client, state, request, cutting, first).await;
    }
    let open = match (state, &first) {
        (Some(state), Some((_, input))) => {
            let identity = request.start_request(input, StartName::Work).identity(context, client, Some(input)).await?;
            let identity = request.identity_of(&identity);
            state.parts(&identity, request.new_run).map_err(|error| match error {
                StateError::Busy { .. } => Failure::new(error, "wait for that process, which starts the same parts"),
                error => error.into(),
            })?
        }
        _ => open,
    };
    if open.is_continued {
        let ago = human_duration(open.parts.age());
        let name = StartName::Part { name: "", is_once: request.once.is_some() };
        let another = name.start_another();
        context.screen.note(&format!("going on with the parts that were begun {ago} ago; {another}"));
    }
    context.set_resume_hint(match state {
        Some(_) if request.new_run => {
            "the runs that were started go on; the same command without `--new-run` goes on with them and starts none twice"
                .into()
        }
        Some(_) => "the runs that were started go on; the same command goes on with them and starts none twice".into(),
        None => "the runs that were started go on, and the same command starts all of them again".into(),
    });
    let starter = Starter {
        context,
        client,
        state,
        request,
        pull,
        parts: RefCell::new(open),
        requested: Cell::new(None),
        workflow: OnceCell::new(),
    };
    let runs = starter.run_all(cutting, first).await?;
    let failed: Vec<(usize, &PartRun)> =
        runs.iter().enumerate().filter(|(_, run)| matches!(run.end, PartEnd::Failed(_))).collect();
    let completed: Vec<RunId> =
        runs.iter().filter(|run| matches!(run.end, PartEnd::Completed)).map(|run| run.run.clone()).collect();
    let (rows, parts) = (runs.iter().map(|run| run.part.rows).sum::<u64>(), runs.len() as u64);
    if !failed.is_empty() {
        let all_failed = completed.is_empty();
        starter.tell_failed(&failed, parts);
        if all_failed || request.args.on_failed_part == OnFailed::Fail {
            return Err(starter.failure_of_parts(&failed, completed.len() as u64));
        }
    }
    let name = escape_for_terminal(request.work.name());
    context.screen.note(&format!(
        "{} of {name} completed, {} in; writing their results in the order of the input",
        counted(completed.len() as u64, "run"),
        counted(rows, "row")
    ));
    let exit = write_runs(context, client, &starter.written(&completed), state).await?;
    if !failed.is_empty() {
        let missing = failed.iter().map(|(_, run)| run.part.rows).sum::<u64>();
        let retry = starter.retry().map_or_else(String::new, |retry| format!("; to start these parts again, {retry}"));
        context.screen.always(&format!(
            "the output lacks the results of {} of {parts} parts, {} of {} rows in{retry}",
            failed.len(),
            human_count(missing),
            human_count(rows)
        ));
        return Ok(worse(exit, Exit::Partial));
    }
    let mut open = starter.parts.into_inner();
    open.parts.deliver();
    if let Err(error) = open.save() {
        // The results are written; at worst the same command writes them again.
        context.screen.note(&error_chain(&error));
    }
    Ok(exit)
}

impl PartsRequest<'_> {
    fn start_request<'a>(&'a self, input: &'a Input, name: StartName<'a>) -> StartRequest<'a> {
        StartRequest { input: Some(input), ..self.work_of(name) }
    }

    /// Returns the request of a start without its input.
    fn work_of<'a>(&'a self, name: StartName<'a>) -> StartRequest<'a> {
        StartRequest {
            work: self.work,
            workflow: None,
            input: None,
            payload: self.payload,
            bulk: self.bulk,
            new_run: false,
            name,
        }
    }

    fn identity_of(&self, first: &StartIdentity) -> PartsIdentity {
        PartsIdentity::new(first, self.args.rows_per_run.map(Into::into), self.args.bytes_per_run, self.once)
    }
}

/// The inputs while they are cut.
struct Cutting {
    cutter: Option<Cutter>,
    control: Control,
    /// Size of all inputs, before decompression; `None` if it is unknown.
    total_bytes: Option<u64>,
    /// Start of the names of parts, from that of the first input.
    stem: String,
    parts: u64,
}

impl Cutting {
    async fn open(context: &Context, request: &PartsRequest<'_>) -> Result<Self, Failure> {
        let dialect = InputArgs { from: request.from, ..InputArgs::default() }.resolve(&context.settings)?;
        let opened = sources::open(context, request.inputs, &dialect).await?;
        opened.notes.iter().for_each(|note| context.screen.note(&escape_for_terminal(note)));
        if let Some(source) = opened.sources.iter().find(|source| !source.columns.is_empty()) {
            let text =
                format!("{}: the columns in the names of its directories cannot be added to an input", source.name);
            return Err(Failure::new(
                Error::Usage(escape_for_terminal(&text)),
                "write them into the records first: `drawoff convert DIR -o - | drawoff run WORKFLOW --input -`",
            ));
        }
        let args = request.args;
        let limits = pipeline::PartLimits { rows: args.rows_per_run.map(Into::into), bytes: args.bytes_per_run };
        let control = Control::new();
        require_one_family(&opened.sources)?;
        let stem = request.inputs.first().filter(|name| *name != Path::new("-")).and_then(|name| name.file_stem());
        let stem = stem.map_or_else(|| "input".into(), |stem| stem.to_string_lossy().into_owned());
        let cutter = Cutter::new(opened.sources, limits, &context.settings.limits(), &control);
        Ok(Cutting { cutter: Some(cutter), control, total_bytes: opened.total_bytes, stem, parts: 0 })
    }

    /// Cuts the next part into a temporary file; `None` after the last.
    async fn next(&mut self, context: &Context) -> Result<Option<(Part, Input)>, Failure> {
        let mut cutter = self.cutter.take().ok_or_else(|| Error::Bug("parts were cut after the last".into()))?;
        // On a blocking thread: a pipe may pause for any time, and Ctrl-C must still work.
        let cut = tokio::task::spawn_blocking(move || {
            let write = |cause| Error::Write { path: std::env::temp_dir(), cause };
            let mut file = temporary_file("drawoff-part").map_err(write)?;
            let part = {
                let mut out = BufWriter::with_capacity(1 << 20, file.as_file_mut());
                let part = cutter.next(&mut out).map_err(|error| match error {
                    error @ pipeline::Error::Unencodable(_) => Failure::new(error, CONVERT_HINT),
                    // Such a record cannot be skipped, because it is unknown where it ends.
                    pipeline::Error::BadRecord { ref reject, .. } => {
                        let hint = match reject.is_too_long() {
                            true => "raise `--max-record-bytes SIZE`, or take the record out of the input",
                            false => "correct the input, and repeat the command",
                        };
                        Failure::new(error, hint)
                    }
                    error => error.into(),
                })?;
                out.flush().map_err(write)?;
                part
            };
            Ok::<_, Failure>((cutter, part.map(|part| (part, file))))
        });
        let cut = context
            .unless_interrupted(async { cut.await.map_err(|error| Error::Bug(error.to_string()))? })
            .await
            .inspect_err(|_| self.control.cancel())?;
        let (cutter, part) = cut;
        let Some((part, file)) = part else { return Ok(None) };
        self.cutter = Some(cutter);
        self.parts += 1;
        let extension = match part.format {
            PartFormat::Csv => "csv",
            PartFormat::Ndjson => "ndjson",
        };
        let input = Input::temporary(file, format!("{}-part-{}.{extension}", self.stem, self.parts))?;
        Ok(Some((part, input)))
    }
}

/// The hint for inputs that cannot be cut.
const CONVERT_HINT: &str = "write its records first: `drawoff convert FILE -o - | drawoff … --input -`";

/// Fails if the names of the sources tell that they cannot be read together, or not at all: the cut would find that out
/// after runs were started.
fn require_one_family(sources: &[Source]) -> Result<(), Failure> {
    let family = |source: &Source| match &source.format {
        // One that the user specified applies to all.
        Some(_) => None,
        None => FormatFamily::of_name(&source.name),
    };
    let mut first = None;
    for (source, family) in sources.iter().filter_map(|source| Some((source, family(source)?))) {
        let name = source.name.to_string();
        if matches!(family, FormatFamily::Parquet | FormatFamily::Arrow) && sources.len() > 1 {
            let text = format!("{name}: Parquet and Arrow cannot be cut into inputs of runs");
            return Err(Failure::new(pipeline::Error::Unencodable(text), CONVERT_HINT));
        }
        if *first.get_or_insert(family) != family {
            return Err(pipeline::Error::from(pipeline::PlanError::MixedSources(name)).into());
        }
    }
    Ok(())
}

/// Starts runs and waits for them.
struct Starter<'a> {
    context: &'a Context,
    client: &'a Client,
    state: Option<&'a StateDir>,
    request: &'a PartsRequest<'a>,
    pull: &'a PullOptions<'a>,
    parts: RefCell<OpenParts>,
    /// Number of the part whose start is being requested.
    requested: Cell<Option<u64>>,
    /// Id of the workflow that the first part was started of: one call for all parts.
    workflow: OnceCell<WorkflowId>,
}

impl Starter<'_> {
    /// Starts the run of each part, at most so many at a time, and waits for all of them. Returns the parts in order, each
    /// completed or failed. After a failure no further part is started, unless failed ones are to be skipped.
    async fn run_all(&self, cutting: Cutting, first: Option<(Part, Input)>) -> Result<Vec<PartRun>, Failure> {
        let args = self.request.args;
        let total_bytes = cutting.total_bytes;
        let control = cutting.control.clone();
        let progress = RefCell::new(Progress { runs: Vec::new(), is_all: false, start: Instant::now() });
        let mut idle = Some((cutting, first));
        let mut starting: Option<LocalBoxFuture<'_, Result<(Cutting, Next), Failure>>> = None;
        let mut watching = FuturesUnordered::new();
        let outcome = loop {
            // A part that failed under an earlier command, too, lets no further one start.
            let is_failed = |run: &PartRun| run.has_failed || matches!(run.end, PartEnd::Failed(_));
            let may_start = args.on_failed_part == OnFailed::Skip || !progress.borrow().runs.iter().any(is_failed);
            if starting.is_none() && may_start && watching.len() < args.runs_at_once.get() {
                let number = progress.borrow().runs.len() as u64 + 1;
                starting = idle.take().map(|(cutting, first)| self.start_next(cutting, first, number).boxed_local());
            }
            if starting.is_none() && watching.is_empty() {
                break Ok(());
            }
            let started = async {
                match starting.as_mut() {
                    Some(starting) => starting.await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                started = started => {
                    starting = None;
                    match started {
                        Ok((cutting, Next::Run(run))) => {
                            let number = progress.borrow().runs.len();
                            watching.push(self.watch(number, run.run.clone(), &progress, total_bytes, &control));
                            progress.borrow_mut().runs.push(run);
                            idle = Some((cutting, None));
                        }
                        Ok((_, Next::End)) => progress.borrow_mut().is_all = true,
                        Err(failure) => break Err(failure),
                    }
                }
                Some((number, ended)) = watching.next() => match ended {
                    Ok(end) => {
                        let mut progress = progress.borrow_mut();
                        let run = &mut progress.runs[number];
                        run.done_rows = run.part.rows;
                        run.end = end;
                    }
                    Err(failure) => break Err(failure),
                }
            }
            self.show(&progress.borrow(), total_bytes, &control);
        };
        drop((starting, watching));
        self.context.screen.clear();
        let progress = progress.into_inner();
        match outcome {
            Ok(()) => Ok(progress.runs),
            Err(failure) => Err(self.failure(failure, &progress).await),
        }
    }

    /// Adds what becomes of the active runs to the failure that ends this command, after cancelling them if it was
    /// interrupted and that is wanted.
    async fn failure(&self, failure: Failure, progress: &Progress) -> Failure {
        let active = progress.runs.iter().filter(|run| matches!(run.end, PartEnd::Active));
        let active: Vec<RunId> = active.map(|run| run.run.clone()).collect();
        if matches!(failure.error(), Error::Interrupted) && self.pull.results.cancel_on_interrupt {
            // Bounded by the time of all cancellations together.
            self.context.interrupt.set_own_deadline();
            let (cancelled, retry) = match active.is_empty() {
                true => ("no run was active".to_owned(), None),
                false => (self.written(&active).cancel_active(self.client, &HashSet::new()).await, self.retry()),
            };
            let retry = retry.map_or_else(String::new, |retry| format!("; to start their parts again, {retry}"));
            let requested = self.requested.get().map_or_else(String::new, |part| {
                format!("; the start of part {part} got no response, and its run, if there is one, was not cancelled")
            });
            return failure.with_hint(format!("{cancelled}{retry}{requested}"));
        }
        if let Error::Client(client::Error::Deadline { run, status, .. }) = failure.error() {
            // Of all runs, and not the rest of it that was left to this one.
            let waited = self.pull.results.deadline.unwrap_or_default();
            let error = client::Error::Deadline { run: run.clone(), status: status.clone(), waited };
            return Failure::new(error, self.context.resume_hint().unwrap_or_default());
        }
        let started = progress.runs.len() as u64;
        if started == 0 || matches!(failure.error(), Error::Interrupted) {
            return failure;
        }
        failure.or_hint(|| self.context.resume_hint())
    }

    /// Cuts the next part and starts its run.
    async fn start_next(
        &self,
        mut cutting: Cutting,
        first: Option<(Part, Input)>,
        number: u64,
    ) -> Result<(Cutting, Next), Failure> {
        let next = match first {
            Some(first) => Some(first),
            None => cutting.next(self.context).await?,
        };
        let Some((part, input)) = next else {
            self.end_at(number - 1).await?;
            return Ok((cutting, Next::End));
        };
        if let Some(total) = self.parts.borrow().parts.total.filter(|total| number > *total) {
            return Err(self.changed(&format!("it had only {}", counted(total, "part"))));
        }
        let mut started = self.start_part(number, &part, &input).await?;
        let args = self.request.args;
        let is_asked = started.attached && (args.retry_failed || args.on_failed_part == OnFailed::Fail);
        let mut has_failed = is_asked && self.has_failed(&started.run).await?;
        if has_failed && args.retry_failed {
            {
                let mut open = self.parts.borrow_mut();
                open.parts.start_again(number);
                // Before the start, whose name it determines.
                open.save()?;
            }
            started = self.start_part(number, &part, &input).await?;
            has_failed = false;
        }
        let how = if started.attached { "was started before as" } else { "started as" };
        self.context.screen.note(&format!("part {number} ({}) {how} run {}", counted(part.rows, "row"), started.run));
        Ok((cutting, Next::Run(PartRun { part, run: started.run, done_rows: 0, has_failed, end: PartEnd::Active })))
    }

    /// Records that part number `total` is the last one. Fails if an earlier command began more parts: the input is now
    /// shorter, and the results of their runs would be left out in silence.
    async fn end_at(&self, total: u64) -> Result<(), Failure> {
        let Some(state) = self.state else { return Ok(()) };
        let recorded = self.parts.borrow().parts.total;
        let name = self.parts.borrow().parts.start_name(total + 1);
        let name = StartName::Part { name: &name, is_once: self.request.once.is_some() };
        // A record of a start is found by its name alone.
        let next = StartRequest { input: None, ..self.request.work_of(name) };
        let next = next.identity(self.context, self.client, None).await?;
        if recorded.is_some_and(|recorded| recorded > total) || state.peek_start(&next)?.is_some() {
            return Err(self.changed(&format!("it had more than {}", counted(total, "part"))));
        }
        let mut open = self.parts.borrow_mut();
        if recorded.is_none() {
            open.parts.total = Some(total);
            open.save()?;
        }
        Ok(())
    }

    /// Returns the error of an input that has another number of parts than at an earlier command; `before` is a clause.
    fn changed(&self, before: &str) -> Failure {
        let ago = human_duration(self.parts.borrow().parts.age());
        let name = StartName::Part { name: "", is_once: self.request.once.is_some() };
        Failure::new(Error::Usage(format!("the input has changed: {ago} ago {before}")), name.start_another())
    }

    /// Returns how the user starts failed parts again, as an imperative; `None` if the command keeps no state.
    fn retry(&self) -> Option<&'static str> {
        self.state?;
        Some(match (self.request.args.retry_failed, self.request.new_run) {
            (true, _) => "repeat the same command",
            (false, true) => "use `--retry-failed` in place of `--new-run`",
            (false, false) => "add `--retry-failed` to the same command",
        })
    }

    /// Returns the failure of a command whose parts failed: that of the first, with what to do.
    fn failure_of_parts(&self, failed: &[(usize, &PartRun)], completed: u64) -> Failure {
        let (part, run) = failed[0];
        let PartEnd::Failed(failure) = &run.end else { unreachable!("only failed parts are passed") };
        let text = format!("part {} failed, and nothing was written", part + 1);
        let error = Error::Parts { text, exit: failure.exit() };
        let Some(retry) = self.retry() else {
            return Failure::new(
                error,
                "the same command starts all parts again; with `--on-failed-part skip` it writes the results of those that complete",
            );
        };
        let held = match completed {
            0 => String::new(),
            _ if self.request.new_run => {
                "; `--on-failed-part skip` in place of `--new-run` writes the results of the others".to_owned()
            }
            n => format!("; `--on-failed-part skip` writes the results of the {} without it", counted(n, "part")),
        };
        Failure::new(error, format!("{retry} to start it again and go on{held}"))
    }

    /// Returns the runs as they are written together.
    fn written<'r>(&'r self, runs: &'r [RunId]) -> SeveralRuns<'r> {
        let resume = match (self.state, self.request.new_run) {
            (None, _) => "`drawoff pull` with the ids of these runs",
            (_, true) => "the same command without `--new-run`",
            (_, false) => "the same command",
        };
        SeveralRuns { pull: self.pull, runs, on_failed: OnFailed::Fail, skip_flag: "--on-failed-part skip", resume }
    }

    async fn start_part(&self, number: u64, part: &Part, input: &Input) -> Result<StartedRun, Failure> {
        let name = self.parts.borrow().parts.start_name(number);
        let name = StartName::Part { name: &name, is_once: self.request.once.is_some() };
        let request = StartRequest { workflow: self.workflow.get(), ..self.request.start_request(input, name) };
        let resume = self.context.resume_hint();
        self.requested.set(Some(number));
        let started = start(self.context, self.client, self.state, &request, self.pull.formats).await;
        if !matches!(&started, Err(failure) if matches!(failure.error(), Error::Interrupted)) {
            self.requested.set(None);
        }
        if let Some(resume) = resume {
            self.context.set_resume_hint(resume);
        }
        let started = started.inspect_err(|failure| {
            if !matches!(failure.error(), Error::Interrupted) {
                let (from, to) = (part.first_row + 1, part.first_row + part.rows);
                self.context.screen.always(&format!("part {number} (rows {from} to {to}) was not started:"));
            }
        })?;
        self.workflow.get_or_init(|| started.workflow.clone());
        // The ledger tells whose run it is; a start in doubt looks for that.
        let opened = LedgerSession::open(self.context, self.state, self.client, &started.run, true);
        if let Ok(mut session) = opened {
            session.record(self.context, |open| {
                open.ledger.workflow = Some(started.workflow.clone());
                open.ledger.workflow_name = Some(self.request.work.name().to_owned());
                open.ledger.key = started.key.clone();
            });
        }
        Ok(started)
    }

    async fn has_failed(&self, run: &RunId) -> Result<bool, Failure> {
        let status = self.context.unless_interrupted(async { Ok(self.client.live_status(run).await?) }).await?;
        let status = RunStatus::parse(&status.overall_status);
        Ok(status.is_terminal() && status != RunStatus::Completed)
    }

    /// Waits for the end of a run; `Err` if its end is not known.
    async fn watch(
        &self,
        number: usize,
        run: RunId,
        progress: &RefCell<Progress>,
        total_bytes: Option<u64>,
        control: &Control,
    ) -> (usize, Result<PartEnd, Failure>) {
        let elapsed = progress.borrow().start.elapsed();
        let deadline = self.pull.results.deadline.map(|deadline| deadline.saturating_sub(elapsed));
        let options = WatchOptions { deadline, ..WatchOptions::of_new_run(self.client) };
        let on_status = |status: &LiveStatus| {
            {
                let mut progress = progress.borrow_mut();
                let run = &mut progress.runs[number];
                let fraction = (status.overall_progress_percentage / 100.0).clamp(0.0, 1.0);
                run.done_rows = (run.part.rows as f64 * fraction) as u64;
            }
            self.show(&progress.borrow(), total_bytes, control);
        };
        let watching = async {
            let status = self.client.watch(&run, &options, on_status).await?;
            Ok(match self.client.require_completed(&status).await {
                Ok(()) => PartEnd::Completed,
                Err(error) => PartEnd::Failed(error.into()),
            })
        };
        (number, self.context.unless_interrupted(watching).await)
    }

    /// Draws the progress of all parts.
    fn show(&self, progress: &Progress, total_bytes: Option<u64>, control: &Control) {
        let count = |is: fn(&PartEnd) -> bool| progress.runs.iter().filter(|run| is(&run.end)).count();
        let completed = count(|end| matches!(end, PartEnd::Completed));
        let active = count(|end| matches!(end, PartEnd::Active));
        let failed = count(|end| matches!(end, PartEnd::Failed(_)));
        let cut: u64 = progress.runs.iter().map(|run| run.part.rows).sum();
        let done: u64 = progress.runs.iter().map(|run| run.done_rows).sum();
        let of_cut = done as f64 / cut.max(1) as f64;
        let fraction = match (progress.is_all, total_bytes) {
            (true, _) => Some(of_cut),
            // The share of the input that was cut so far, of which a share is done.
            (false, Some(total)) if total > 0 => Some(of_cut * (control.bytes_read() as f64 / total as f64).min(1.0)),
            _ => None,
        };
        let elapsed = progress.start.elapsed().as_secs_f64().max(0.001);
        let of = if progress.is_all { format!(" of {}", progress.runs.len()) } else { String::new() };
        let mut detail = format!("{completed}{of} parts done, {active} active");
        if failed > 0 {
            detail.push_str(&format!(", {failed} failed"));
        }
        detail.push_str(&format!(
            "  {} rows  {} rows/s",
            human_count(done),
            human_count((done as f64 / elapsed) as u64)
        ));
        // The first seconds and the first percent predict nothing.
        if let Some(fraction) = fraction.filter(|fraction| elapsed > 3.0 && (0.01..1.0).contains(fraction)) {
            let left = Duration::from_secs_f64(elapsed * (1.0 - fraction) / fraction);
            detail.push_str(&format!("  about {} left", human_duration(left)));
        }
        self.context.screen.progress("running", fraction, &detail);
    }

    /// Tells of each failed part, with its rows and its run.
    fn tell_failed(&self, failed: &[(usize, &PartRun)], parts: u64) {
        /// Parts that are told of one by one.
        const LISTED: usize = 10;
        for (i, run) in failed.iter().take(LISTED) {
            let PartEnd::Failed(failure) = &run.end else { continue };
            let (from, to) = (run.part.first_row + 1, run.part.first_row + run.part.rows);
            let error = error_chain(failure.error());
            self.context.screen.always(&escape_for_terminal(&format!("part {} (rows {from} to {to}): {error}", i + 1)));
        }
        if failed.len() > LISTED {
            self.context.screen.always(&format!("{} of {parts} parts failed in all", failed.len()));
        }
    }
}

/// Prints the parts and which of them have a run, and starts none. An input that is not cut is one part.
async fn dry_run(
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
        let mut line = match part.rows {
            0 => format!("part {parts}: no rows"),
            rows => format!(
                "part {parts}: rows {} to {}, {}, {}",
                part.first_row + 1,
                part.first_row + rows,
                counted(rows, "row"),
                human_bytes(part.bytes)
            ),
        };
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

fn write_line(line: &str) -> Result<(), Failure> {
    table::write_data(&format!("{line}\n"))
}
