//! The fate of an earlier start with the same identity, from its record, its run at the API, and the run's ledger.
//!
//! A second start may be paid for, so it needs proof that the first one is over: only the API's own words count, not the
//! page of a gateway, and "not found" is held against the list of runs.

use std::time::Duration;

use super::ledger_session::endpoint_of;
use super::resolve::StartWork;
use crate::api::{Graph, Run, RunId, RunStatus, WorkflowId};
use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::client::{
    self, Client, EarlierFormStart, OpenStart, RecordedStart, RunFilter, StartIdentity, StateDir, age_of,
};
use crate::net::Kind;
use crate::text::human_duration;

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
    /// Older runs may be missing.
    is_cut: bool,
}

/// Finds out the state of `earlier`. A start that the user named is never over: its run is attached to.
pub(super) async fn earlier_start(
    context: &Context,
    client: &Client,
    state: &StateDir,
    earlier: &RecordedStart,
    is_named: bool,
) -> Result<EarlierStart, Failure> {
    let Some(run) = &earlier.run else {
        return match earlier.age() < START_LIFE {
            true => Ok(EarlierStart::Unknown),
            false => expired_start(client, earlier).await,
        };
    };
    let status = match client.live_status(run).await {
        Ok(status) => RunStatus::parse(&status.overall_status),
        Err(client::Error::Net(error)) if error.kind() == Kind::NotFound && error.is_from_api() => {
            let listed = runs_of(client, &earlier.workflow).await?;
            match listed.runs.iter().find(|listed| listed.job_id == *run) {
                Some(listed) => RunStatus::parse(&listed.status),
                None if earlier.age() < GRACE => return Ok(EarlierStart::Run(run.clone(), "a moment ago")),
                // Nothing proves that it is over.
                None if listed.is_cut || is_named => {
                    return Err(client::Error::Net(error).into());
                }
                None => {
                    let ago = human_duration(earlier.age());
                    context.screen.note(&format!(
                        "the API knows no run {run}, which the same command started {ago} ago; starting another"
                    ));
                    return Ok(EarlierStart::Over);
                }
            }
        }
        Err(error) => {
            let failure = Failure::from(error);
            let another = if is_named { "" } else { ", or start another run with `--new-run`" };
            return Err(failure.or_hint(|| {
                Some(format!(
                    "the same command started run {run}, and it is unknown whether that is over; repeat the command later{another}"
                ))
            }));
        }
    };
    if is_named {
        return Ok(EarlierStart::Run(run.clone(), "under this `--once` name"));
    }
    if !status.is_terminal() {
        return Ok(EarlierStart::Run(run.clone(), "which is active"));
    }
    // A ledger that cannot be read is no proof of delivery, so it counts as undelivered.
    let ledger = state.peek(&endpoint_of(client), run).ok().flatten();
    let delivered = ledger.is_some_and(|ledger| ledger.delivered_at.is_some());
    let undelivered = status == RunStatus::Completed && !delivered && earlier.age() < START_LIFE;
    Ok(if undelivered {
        EarlierStart::Run(run.clone(), "whose results were not written yet")
    } else {
        EarlierStart::Over
    })
}

/// Decides on a start without a response whose key the API may have forgotten: if no run of the workflow has begun
/// since, it started none. Otherwise fails with the candidates, because a second start could be paid for twice.
async fn expired_start(client: &Client, earlier: &RecordedStart) -> Result<EarlierStart, Failure> {
    let candidates = runs_since(client, earlier).await?;
    if candidates.is_empty() {
        return Ok(EarlierStart::Over);
    }
    Err(unknown_fate(earlier, &candidates))
}

/// Decides whether a start has certainly begun no run, after the API refused to repeat it: an earlier attempt of it may
/// have been accepted. True if it is old enough to be listed, and no run of the workflow has begun since.
pub(super) async fn has_begun_no_run(client: &Client, start: &RecordedStart) -> bool {
    start.age() >= GRACE && runs_since(client, start).await.is_ok_and(|runs| runs.is_empty())
}

/// Returns the runs of the workflow that have begun since `start` was requested, or may have.
pub(super) async fn runs_since(client: &Client, start: &RecordedStart) -> Result<Vec<RunId>, Failure> {
    let listed = runs_of(client, &start.workflow).await?;
    let since = start.age().saturating_add(CLOCK_SKEW);
    // A run without a usable time is a candidate: the doubt is resolved by the user.
    let began_since = |run: &&Run| {
        let stamp = run.queued_at.as_deref().or(run.created_at.as_deref());
        stamp.and_then(age_of).is_none_or(|age| age <= since)
    };
    Ok(listed.runs.iter().filter(began_since).map(|run| run.job_id.clone()).collect())
}

/// Returns the error for a start that may have become one of `runs`.
fn unknown_fate(start: &RecordedStart, runs: &[RunId]) -> Failure {
    let runs: Vec<String> = runs.iter().map(RunId::to_string).collect();
    let error = Error::UnknownFate {
        workflow: start.workflow_name.clone(),
        ago: human_duration(start.age()),
        runs: runs.join(", "),
    };
    error.into()
}

/// Lists the newest runs of a workflow. All runs are listed if the API knows no such workflow: it may have been deleted,
/// which keeps its runs. A bulk job has no workflow id to filter by; its recorded one is the path of its endpoint.
async fn runs_of(client: &Client, workflow: &WorkflowId) -> Result<ListedRuns, Failure> {
    let filter = |workflow| RunFilter { workflow, limit: Some(MAX_LISTED), ..RunFilter::default() };
    let of_workflow = Some(workflow.clone()).filter(|id| !id.0.starts_with('/'));
    let runs = match client.runs(&filter(of_workflow)).await {
        Err(client::Error::Net(error)) if error.kind() == Kind::NotFound && error.is_from_api() => {
            let all = client.runs(&filter(None)).await?;
            all.into_iter().filter(|run| run.workflow_id == *workflow).collect()
        }
        runs => runs?,
    };
    Ok(ListedRuns { is_cut: runs.len() >= MAX_LISTED as usize, runs })
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
    for found in state.earlier_form_starts()? {
        if found.start.age() < EARLIER_FORM_LIFE && is_same(client, identity, work, &found).await? {
            let start = found.start.clone().adopted(identity);
            slot.save(&start)?;
            found.remove()?;
            return Ok(Some(start));
        }
    }
    Ok(None)
}

/// Returns true if `found` is a start of `work`. Its digest covers the graph as the API returned it, which is that of
/// the definition unless the API rewrote it.
async fn is_same(
    client: &Client,
    identity: &StartIdentity,
    work: StartWork<'_>,
    EarlierFormStart { start, .. }: &EarlierFormStart,
) -> Result<bool, Failure> {
    let has = |graph: &Graph| identity.earlier_form_digest(&start.workflow, graph) == start.identity;
    match work {
        StartWork::Workflow(workflow) => Ok(workflow.id == start.workflow && has(&workflow.graph)),
        StartWork::Definition(definition) if definition.0.workflow_name != start.workflow_name => Ok(false),
        StartWork::Definition(definition) if has(&definition.0.workflow_definition) => Ok(true),
        StartWork::Definition(_) => {
            let workflow = client.find_by_id(&start.workflow).await?;
            Ok(workflow.and_then(|workflow| workflow.workflow_definition).is_some_and(|graph| has(&graph)))
        }
    }
}
