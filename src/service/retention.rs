//! Deletion of old runs, as configured: first their rows in the store, then their files, so that a crash in between
//! leaves only files that the next start removes. Runs that have not ended are never deleted.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use super::clock::Clock;
use super::directories::Directories;
use super::store::{self, Store};

/// The ended runs to retain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retain {
    /// Runs that ended within this time.
    For(Duration),
    /// The newest runs, this many.
    Last(usize),
}

/// The retention policy, with the store and the files that it deletes from.
#[derive(Clone)]
pub(super) struct Retention {
    pub retain: Option<Retain>,
    pub store: Arc<Store>,
    pub directories: Directories,
    pub clock: Clock,
}

impl Retention {
    /// Deletes the ended runs that are no longer retained and returns their number. An active download of a deleted
    /// file still completes, because its file is open. Blocks.
    pub(super) fn sweep(&self) -> Result<usize, store::Error> {
        let old = match self.retain {
            None => return Ok(0),
            Some(Retain::Last(n)) => self.store.runs_beyond(n)?,
            Some(Retain::For(time)) => {
                let time = TimeDelta::from_std(time).unwrap_or(TimeDelta::MAX);
                match self.clock.now().checked_sub_signed(time) {
                    Some(since) => self.store.runs_ended_before(since)?,
                    None => return Ok(0),
                }
            }
        };
        if old.is_empty() {
            return Ok(0);
        }
        self.store.remove_runs(&old)?;
        for (_, run) in &old {
            // A failure is not an error: the next start removes directories that no row names.
            let _ = std::fs::remove_dir_all(self.directories.run(run));
        }
        Ok(old.len())
    }
}
