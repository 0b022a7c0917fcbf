//! The fate of an earlier start with the same identity, from its record, its run at the API, and the run's ledger.
//!
//! A second start may be paid for, so it needs proof that the first one is over: only the API's own words count, not the
//! page of a gateway, and "not found" is held against the list of runs.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use super::ledger_session::endpoint_of;
use super::resolve::StartWork;
use crate::api::{Graph, Run, RunId, RunStatus, WorkflowId};
use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::client::{
    self, Client, EarlierFormStart, OpenStart, RecordedStart, RunFilter, StartIdentity, StateDir, age_at,
};
use crate::net::Kind;
use crate::text::{escape_for_terminal, human_duration};

/// Lifetime of an idempotency key. Assumed: the API keeps keys for a day. Within it, a start without a response is
/// requested again under its key, and a run whose results were not written is attached to.
const START_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Time in which the API may still respond 404 for a run that was just started, or leave it out of its list.
const GRACE: Duration = Duration::from_secs(30);

/// Assumed difference between the clocks of this machine and of the API, at most.
const CLOCK_SKEW: Duration = Duration::from_secs(600);

/// Age after which a start that an earlier version recorded is not looked at any more: no run is active for so long.
const EARLIER_FORM_LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// Most runs that the API lists.
const MAX_LISTED: u32 = 500;

/// Smallest list that may lack older runs: the API lists 100 by default, and may ignore a higher limit.
const MIN_PAGE: usize = 100;

/// The state of an earlier start with the same identity.
pub(super) enum EarlierStart {
    /// Its run is over and delivered, or there is no run: start a new one.
    Over,
    /// Its run is active, or its results were not written: attach to it. The text is the reason, as a clause.
    Run(RunId, &'static str),
    /// There was no response: request it again under its key.
    Unknown,
}

/// The runs of one workflow, newest first.
struct ListedRuns {
    runs: Vec<Run>,
    /// Age of the oldest run on the API's page, if older ones may be missing.
    reach: Option<Duration>,
}

impl ListedRuns {
    /// Returns true if no run that is younger than `age` is missing.
    fn covers(&self, age: Duration) -> bool {
        self.reach.is_none_or(|reach| reach > age)
    }
}

/// The runs that a start without a response may have become.
struct Candidates {
    runs: Vec<RunId>,
    /// Further runs may be missing.
    is_cut: bool,
}

impl Candidates {
    /// Returns the reason for which one of them may be the run of the start, as a clause; `None` if none is.
    fn doubt(&self) -> Option<String> {
        match (self.runs.as_slice(), self.is_cut) {
            ([], false) => None,
            ([], true) => Some("more runs have begun since than the API lists".to_owned()),
            (runs, _) => {
                let runs: Vec<String> = runs.iter().map(RunId::to_string).collect();
                Some(format!("runs have begun since: {}", runs.join(", ")))
            }
        }
    }
}

/// The doubt about a refused start: it may have begun a run.
pub(super) enum Doubt {
    /// It is too young to be listed for certain, or the list cannot be read: a later repetition finds out.
    Temporary,
    /// Only the user can tell; with the hint for that.
    Permanent(String),
}

/// The name of a start, which identifies it besides its work.
#[derive(Clone, Copy, Debug)]
pub(super) enum StartName<'a> {
    /// Nothing: the last start of the same work is the same start until its results are written.
    Work,
    /// The name that the user gave it, under which there is only one run.
    Once(&'a str),
    /// A part of an input, by a name of which there is only one.
    Part {
        /// The name.
        name: &'a str,
        /// The user chose the name of which this one is made.
        is_once: bool,
    },
}

impl StartName<'_> {
    /// Returns the name; `None` for a start by its work.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            StartName::Work => None,
            StartName::Once(name) | StartName::Part { name, .. } => Some(name),
        }
    }

    fn is_named(&self) -> bool {
        self.text().is_some()
    }

    /// Returns how the user starts another run, as an imperative.
    pub(super) fn start_another(&self) -> &'static str {
        match self {
            StartName::Work => "start another run with `--new-run`",
            StartName::Once(_) => "choose another `--once` name to start another run",
            StartName::Part { is_once: false, .. } => "start all parts again with `--new-run`",
            StartName::Part { is_once: true, .. } => "choose another `--once` name to start all parts again",
        }
    }
}

/// Returns true if `start` was requested with another API key than that of `client`: it may be of another organisation,
/// for which this start does not exist.
fn is_of_another_key(client: &Client, start: &RecordedStart) -> bool {
    start.account.is_some() && start.account != client.http().key_fingerprint()
}

/// Finds out the state of `earlier`. A start that the user named is never over: its run is attached to.
pub(super) async fn earlier_start(
    context: &Context,
    client: &Client,
    state: &StateDir,
    earlier: &RecordedStart,
    name: StartName<'_>,
) -> Result<EarlierStart, Failure> {
    let Some(run) = &earlier.run else {
        return match earlier.age() < START_LIFE && !is_of_another_key(client, earlier) {
            true => Ok(EarlierStart::Unknown),
            false => doubtful_start(client, state, earlier, name).await,
        };
    };
    // A ledger that cannot be read is no proof of delivery, so it counts as undelivered.
    let ledger = state.peek(&endpoint_of(client), run).ok().flatten();
    let is_delivered = ledger.is_some_and(|ledger| ledger.delivered_at.is_some());
    if is_delivered && !name.is_named() {
        return Ok(EarlierStart::Over);
    }
    let ago = human_duration(earlier.age());
    let another = name.start_another();
    let status = match client.live_status(run).await {
        Ok(status) => RunStatus::parse(&status.overall_status),
        Err(client::Error::Net(error)) if error.kind() == Kind::NotFound && error.is_from_api() => {
            let listed = runs_of(client, &earlier.workflow).await?;
            let unproven = |hint: String| Err(Failure::new(client::Error::Net(error.clone()), hint));
            match listed.runs.iter().find(|listed| listed.job_id == *run) {
                Some(listed) => RunStatus::parse(&listed.status),
                None if is_of_another_key(client, earlier) => {
                    return unproven(format!(
                        "the same command started run {run} {ago} ago with another API key; use that key, or {another}"
                    ));
                }
                None if earlier.age() < GRACE => return Ok(EarlierStart::Run(run.clone(), "a moment ago")),
                None if name.is_named() => {
                    return unproven(format!("the run of this name is gone; {another}"));
                }
                None if !listed.covers(earlier.age().saturating_add(CLOCK_SKEW)) => {
                    return unproven(format!(
                        "the same command started run {run} {ago} ago, and the API lists too few runs to tell whether it is gone; repeat the command later, or {another}"
                    ));
                }
                None => {
                    context.screen.note(&format!(
                        "the API knows no run {run}, which the same command started {ago} ago; starting another"
                    ));
                    return Ok(EarlierStart::Over);
                }
            }
        }
        Err(error) => {
            let failure = Failure::from(error);
            return Err(failure.or_hint(|| {
                Some(format!(
                    "the same command started run {run}, and it is unknown whether that is over; repeat the command later, or {another}"
                ))
            }));
        }
    };
    if name.is_named() {
        let why = if let StartName::Part { .. } = name { "by this command before" } else { "under this `--once` name" };
        return Ok(EarlierStart::Run(run.clone(), why));
    }
    if !status.is_terminal() {
        return Ok(EarlierStart::Run(run.clone(), "which is active"));
    }
    Ok(if status == RunStatus::Completed && earlier.age() < START_LIFE {
        EarlierStart::Run(run.clone(), "whose results were not written yet")
    } else {
        EarlierStart::Over
    })
}

/// Decides on a start without a response whose key the API may have forgotten, or that was requested with another API
/// key: if no run of the workflow has begun since, it started none. Otherwise fails with the candidates, because a second
/// start could be paid for twice.
async fn doubtful_start(
    client: &Client,
    state: &StateDir,
    earlier: &RecordedStart,
    name: StartName<'_>,
) -> Result<EarlierStart, Failure> {
    let candidates = candidates(client, state, earlier).await?;
    let another = name.start_another();
    let fail = |doubt: String, hint: String| {
        let error = Error::UnknownFate {
            workflow: earlier.workflow_name.clone(),
            ago: human_duration(earlier.age()),
            doubt: escape_for_terminal(&doubt),
        };
        Err(Failure::new(error, hint))
    };
    match candidates.doubt() {
        Some(doubt) => {
            fail(doubt, format!("write the results of one of them with `drawoff pull RUN -o OUT`, or {another}"))
        }
        // The keys may be of one organisation, which then recognizes the idempotency key. Another one knows no such
        // workflow.
        None if earlier.age() < START_LIFE => Ok(EarlierStart::Unknown),
        None if is_of_another_key(client, earlier) => {
            fail("it was requested with another API key".to_owned(), format!("use that key, or {another}"))
        }
        None => Ok(EarlierStart::Over),
    }
}

/// Decides whether a start that the API refuses to repeat has certainly begun no run: an earlier attempt of it may have
/// been accepted. `Ok` if it is old enough to be listed, and no run of the workflow has begun since.
pub(super) async fn require_no_run(
    client: &Client,
    state: &StateDir,
    start: &RecordedStart,
    name: StartName<'_>,
) -> Result<(), Doubt> {
    let another = name.start_another();
    if is_of_another_key(client, start) {
        let hint = format!("the start was requested before with another API key; use that key, or {another}");
        return Err(Doubt::Permanent(hint));
    }
    if start.age() < GRACE {
        return Err(Doubt::Temporary);
    }
    match candidates(client, state, start).await.map(|candidates| candidates.doubt()) {
        Ok(None) => Ok(()),
        Ok(Some(doubt)) => Err(Doubt::Permanent(format!(
            "the start was requested before, and {}; write the results of its run with `drawoff pull RUN -o OUT`, or {another}",
            escape_for_terminal(&doubt)
        ))),
        Err(_) => Err(Doubt::Temporary),
    }
}

/// Returns the runs of the workflow that have begun since `start` was requested, or may have, and that no other command
/// on this machine started.
pub(super) async fn runs_since(
    client: &Client,
    state: &StateDir,
    start: &RecordedStart,
) -> Result<Vec<RunId>, Failure> {
    Ok(candidates(client, state, start).await?.runs)
}

async fn candidates(client: &Client, state: &StateDir, start: &RecordedStart) -> Result<Candidates, Failure> {
    let listed = runs_of(client, &start.workflow).await?;
    let since = start.age().saturating_add(CLOCK_SKEW);
    // A run without a usable time is a candidate: the doubt is resolved by the user.
    let began_since = |run: &&Run| age_of_run(client, run).is_none_or(|age| age <= since);
    let endpoint = endpoint_of(client);
    let is_of_another_start = |run: &RunId| {
        let key = state.peek(&endpoint, run).ok().flatten().and_then(|ledger| ledger.key);
        key.is_some_and(|key| key != start.key)
    };
    let runs = listed.runs.iter().filter(began_since).map(|run| run.job_id.clone());
    Ok(Candidates { runs: runs.filter(|run| !is_of_another_start(run)).collect(), is_cut: !listed.covers(since) })
}

/// Returns the age of a run: by the API's clock or by this machine's, whichever makes it younger. `None` if the API lists
/// no valid time.
fn age_of_run(client: &Client, run: &Run) -> Option<Duration> {
    let stamp = run.queued_at.as_deref().or(run.created_at.as_deref())?;
    Some(age_at(stamp, SystemTime::now())?.min(age_at(stamp, client.http().server_time())?))
}

/// Lists the newest runs of a workflow. All runs are listed if the API knows no such workflow (404), or none of this key
/// (403): it may have been deleted, which keeps its runs. A bulk job has no workflow id to filter by; its recorded one is the path of its endpoint.
async fn runs_of(client: &Client, workflow: &WorkflowId) -> Result<ListedRuns, Failure> {
    let filter = |workflow| RunFilter { workflow, limit: Some(MAX_LISTED), ..RunFilter::default() };
    let of_workflow = Some(workflow.clone()).filter(|id| !id.0.starts_with('/'));
    let (mut runs, is_of_all) = match client.runs(&filter(of_workflow)).await {
        Err(client::Error::Net(error))
            if matches!(error.kind(), Kind::NotFound | Kind::Forbidden) && error.is_from_api() =>
        {
            (client.runs(&filter(None)).await?, true)
        }
        runs => (runs?, false),
    };
    // Before the filter: the page is that of all workflows.
    let oldest = || runs.iter().filter_map(|run| age_of_run(client, run)).max().unwrap_or_default();
    let reach = (runs.len() >= MIN_PAGE).then(oldest);
    if is_of_all {
        runs.retain(|run| run.workflow_id == *workflow);
    }
    Ok(ListedRuns { runs, reach })
}

/// Finds a start with this identity that an earlier version of drawoff recorded under another digest, and stores it under
/// the present one.
pub(super) async fn adopt_earlier_form(
    client: &Client,
    state: &StateDir,
    slot: &OpenStart,
    identity: &StartIdentity,
    work: StartWork<'_>,
) -> Result<Option<RecordedStart>, Failure> {
    let mut graphs = HashMap::new();
    for found in state.earlier_form_starts()? {
        if found.start.age() < EARLIER_FORM_LIFE && is_same(client, identity, work, &found, &mut graphs).await? {
            let start = found.start.clone().adopted(identity);
            slot.save(&start)?;
            found.remove()?;
            return Ok(Some(start));
        }
    }
    Ok(None)
}

/// Returns true if `found` is a start of `work`. Its digest covers the graph as the API returned it, which is that of
/// the definition unless the API rewrote it. `graphs` keeps those that were requested.
async fn is_same(
    client: &Client,
    identity: &StartIdentity,
    work: StartWork<'_>,
    EarlierFormStart { start, .. }: &EarlierFormStart,
    graphs: &mut HashMap<WorkflowId, Option<Graph>>,
) -> Result<bool, Failure> {
    let has = |graph: &Graph| identity.earlier_form_digest(&start.workflow, graph) == start.identity;
    match work {
        StartWork::Workflow(workflow) => Ok(workflow.id == start.workflow && has(&workflow.graph)),
        StartWork::Definition(definition) if definition.0.workflow_name != start.workflow_name => Ok(false),
        StartWork::Definition(definition) if has(&definition.0.workflow_definition) => Ok(true),
        StartWork::Definition(_) => {
            if !graphs.contains_key(&start.workflow) {
                let workflow = match client.find_by_id(&start.workflow).await {
                    // Of another organisation, such as one with another key: its start cannot be continued with this one.
                    Err(client::Error::Net(error)) if error.kind() == Kind::Forbidden && error.is_from_api() => None,
                    found => found?,
                };
                graphs.insert(start.workflow.clone(), workflow.and_then(|workflow| workflow.workflow_definition));
            }
            Ok(graphs.get(&start.workflow).and_then(Option::as_ref).is_some_and(has))
        }
    }
}
