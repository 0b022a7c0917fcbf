//! Runs that an earlier service left without an end, whatever stopped it: those without an effect outside of them begin
//! again, the others have failed.

use chrono::{DateTime, Utc};

use super::job::position_of;
use crate::api::RunStatus;
use crate::service::blocks::Traces;
use crate::service::graph::{self, CheckedGraph};
use crate::service::location::Location;
use crate::service::rows::{BlockStatus, JobRow, RunRow};
use crate::service::store::{self, Store};

/// The runs that an earlier service left.
#[derive(Default)]
pub(in crate::service) struct Recovered {
    /// Runs to submit, in the order of their start.
    pub waiting: Vec<(RunRow, JobRow)>,
    /// Those among `waiting` that had begun: of their files only the input counts.
    pub rewound: Vec<RunRow>,
    /// Runs that have failed, with the completed blocks that they keep.
    pub failed: Vec<RunRow>,
}

/// Message of a run that cannot begin again, because nothing is known of its graph and input.
const INTERRUPTED: &str = "the service stopped before the run ended";

/// Message of a run that must not begin again.
const LEFT_TRACES: &str = "the service stopped before the run ended; it does not begin again, because it had sent rows to \
                           a webhook or appended them to a notebook, and would do so twice";

/// Decides on every run that has not ended, and records the decisions.
pub(in crate::service) fn recover(store: &Store, now: DateTime<Utc>) -> Result<Recovered, store::Error> {
    let mut recovered = Recovered::default();
    for (mut row, job) in store.unended()? {
        let message = match job {
            None => INTERRUPTED,
            Some(job) if row.status == RunStatus::Queued => {
                recovered.waiting.push((row, job));
                continue;
            }
            Some(job) => match graph::check(job.graph.clone(), &Location::root("workflow_definition")) {
                Ok(checked) if has_left_traces(&row, &checked) => LEFT_TRACES,
                // A definition that is no longer valid is reported when the run is submitted.
                Ok(_) | Err(_) => {
                    row.rewind(now);
                    store.put_run(&row)?;
                    recovered.rewound.push(row.clone());
                    recovered.waiting.push((row, job));
                    continue;
                }
            },
        };
        row.end(RunStatus::Failed, Some("interrupted"), message, now);
        row.error_message = Some(message.to_owned());
        store.put_run(&row)?;
        recovered.failed.push(row);
    }
    Ok(recovered)
}

/// Returns true if a restart of the run would repeat an effect outside of it: rows that were sent or appended.
pub(super) fn has_left_traces(row: &RunRow, checked: &CheckedGraph) -> bool {
    checked.order.iter().any(|&index| {
        let Some(block) = row.blocks.get(position_of(checked, index)) else { return true };
        match checked.blocks[index].traces() {
            Traces::None => false,
            Traces::OnceBegun => block.status != BlockStatus::Pending,
            Traces::OnceCompleted => block.status == BlockStatus::Completed,
        }
    })
}
