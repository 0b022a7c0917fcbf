//! Ctrl-C, SIGTERM and SIGHUP. The first signal asks the command to end in order; a second one ends the process at
//! once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::exit::Exit;

/// A flag that is set by the first signal. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Starts to listen for signals, for the rest of the process. Must be called in a tokio runtime.
    pub(super) fn listen() -> std::io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // Under `nohup` the command must outlive its terminal.
        let mut hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
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
                    std::process::exit(i32::from(Exit::Interrupted.code()));
                }
            }
        });
        Ok(Interrupt(receiver))
    }

    /// Waits for the first signal; returns at once if there was one.
    pub(super) async fn requested(&self) {
        let mut receiver = self.0.clone();
        // The sender lives as long as the process. Without it no signal could arrive, so the wait would never end.
        if receiver.wait_for(|is_set| *is_set).await.is_err() {
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
