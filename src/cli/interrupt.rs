//! Ctrl-C, SIGTERM and SIGHUP. The first signal asks the command to end in order, which it must do within
//! [`END_DEADLINE`]; a second one ends the process at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::exit::Exit;
use crate::sink::remove_partial_files;

/// Time that a command has to end in order after the first signal: systemd, Kubernetes and `timeout -k` send SIGKILL
/// after 10 s or more, and then nothing is cleaned up. A write to a full pipe or a store that hangs can block for ever.
pub(super) const END_DEADLINE: Duration = Duration::from_secs(5);

/// A flag that is set by the first signal. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Interrupt {
    requested: watch::Receiver<bool>,
    /// True while the end has a bound of its own, such as the time that `serve` gives to active runs.
    has_own_deadline: Arc<AtomicBool>,
}

impl Interrupt {
    /// Starts to listen for signals, for the rest of the process. Must be called in a tokio runtime.
    pub(super) fn listen() -> std::io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // Under `nohup` the command must outlive its terminal.
        let mut hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
        // With a handler, a write beyond the limit on file sizes fails, and the partial file is removed; without one, the
        // signal ends the process. The handler stays when its stream is dropped.
        drop(signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()))?);
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = async { hangup.as_mut().expect("polled only if SIGHUP is listened to").recv().await }, if hangup.is_some() => {}
                }
                // Returns the previous value: true means that this is the second signal.
                if sender.send_replace(true) {
                    remove_partial_files();
                    std::process::exit(i32::from(Exit::Interrupted.code()));
                }
            }
        });
        Ok(Interrupt { requested: receiver, has_own_deadline: Arc::default() })
    }

    /// Waits for the first signal; returns at once if there was one.
    pub(super) async fn requested(&self) {
        let mut receiver = self.requested.clone();
        // The sender lives as long as the process. Without it no signal could arrive, so the wait would never end.
        if receiver.wait_for(|is_set| *is_set).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Declares that the end from here on has a bound of its own, so that [`Interrupt::overdue`] never returns.
    pub(super) fn set_own_deadline(&self) {
        self.has_own_deadline.store(true, Ordering::Relaxed);
    }

    /// Waits until the command should have ended: [`END_DEADLINE`] after the first signal.
    pub(super) async fn overdue(&self) {
        self.requested().await;
        tokio::time::sleep(END_DEADLINE).await;
        if self.has_own_deadline.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

/// Returns true if this process was started with SIGHUP ignored; false where /proc is missing.
fn ignores_hangup() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignored(&status, 1))
}

/// Returns true if `signal` is in the mask of ignored signals in a process's `status` file.
fn ignored(status: &str, signal: u32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_mask() {
        assert!(ignored("Name:\tx\nSigIgn:\t0000000000001001\n", 1));
        assert!(!ignored("Name:\tx\nSigIgn:\t0000000000001000\n", 1));
        assert!(!ignored("", 1));
    }
}
