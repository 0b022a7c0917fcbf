//! Old runs go, if they are told to: first what speaks of them, then their files.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;

use super::clock::Clock;
use super::directories::Directories;
use super::store::{self, Store};

/// Which runs stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retain {
    /// Those that ended no longer ago.
    For(Duration),
    /// So many, the newest.
    Last(usize),
}

/// Removes what is not retained.
#[derive(Clone)]
pub(super) struct Retention {
    pub retain: Option<Retain>,
    pub store: Arc<Store>,
    pub folders: Directories,
    pub clock: Clock,
}

impl Retention {
    /// Removes what is not retained by now; the number of runs. Runs that have not ended always stay. A file that is
    /// being downloaded is downloaded to its end.
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
            // What cannot be removed now is removed at the next start, because nothing speaks of it.
            let _ = std::fs::remove_dir_all(self.folders.run(run));
        }
        Ok(old.len())
    }
}
