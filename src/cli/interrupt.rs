//! Ctrl-C, SIGTERM and SIGHUP: once ends in order, twice ends at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::exit::Exit;

/// Tells when the user wants to stop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Starts listening, for the rest of the process. Needs a tokio runtime.
    pub fn listen() -> std::io::Result<Self> {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        // Who starts a command under `nohup` wants it to outlive the terminal.
        let mut hangup = if ignores_hangup() { None } else { Some(signal(SignalKind::hangup())?) };
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = async { hangup.as_mut().expect("asked only if there is one").recv().await }, if hangup.is_some() => {}
                }
                if sender.send_replace(true) {
                    std::process::exit(i32::from(Exit::Interrupted.code()));
                }
            }
        });
        Ok(Interrupt(receiver))
    }

    /// Returns when asked to stop, at once if that was before.
    pub async fn requested(&self) {
        let mut receiver = self.0.clone();
        // The sender lives as long as the process; were it gone, nobody could ask any more.
        if receiver.wait_for(|asked| *asked).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// True if this process was started with SIGHUP ignored, as far as the system tells.
fn ignores_hangup() -> bool {
    std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignored(&status, 1))
}

/// Whether `signal` is in the mask of ignored signals of a process's `status`.
fn ignored(status: &str, signal: u32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & (1 << (signal - 1)) != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_signal_is_seen() {
        assert!(ignored("Name:\tx\nSigIgn:\t0000000000001001\n", 1));
        assert!(!ignored("Name:\tx\nSigIgn:\t0000000000001000\n", 1));
        assert!(!ignored("", 1));
    }
}
