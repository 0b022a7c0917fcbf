//! The clock of all waits between attempts, passed in so that tests do not have to wait.
//!
//! Timeouts on sockets do not use it: they run on tokio's own timer.

use std::time::{Duration, Instant};

/// A source of time and of delays.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The monotonic clock of the system, and tokio's timer.
    #[default]
    System,
    /// A clock that only tests advance.
    #[cfg(test)]
    #[expect(private_interfaces, reason = "tests are inside the crate")]
    Manual(manual::Manual),
}

impl Clock {
    /// Returns the current instant of this clock.
    pub fn now(&self) -> Instant {
        match self {
            Clock::System => Instant::now(),
            #[cfg(test)]
            Clock::Manual(manual) => manual.now(),
        }
    }

    /// Waits for `time`. Needs a tokio runtime. Cancel safe: dropping the future has no effect.
    pub async fn sleep(&self, time: Duration) {
        match self {
            Clock::System => tokio::time::sleep(time).await,
            #[cfg(test)]
            Clock::Manual(manual) => manual.sleep(time).await,
        }
    }
}

#[cfg(test)]
pub(crate) mod manual {
    use std::sync::Arc;

    use tokio::sync::watch;

    use super::*;

    /// A clock whose time changes by [`Manual::advance`], or also by every sleep if it advances automatically.
    #[derive(Clone, Debug)]
    pub(crate) struct Manual {
        start: Instant,
        passed: Arc<watch::Sender<Duration>>,
        auto_advancing: bool,
    }

    impl Manual {
        /// Creates a clock that only [`Manual::advance`] moves.
        pub(crate) fn paused() -> Self {
            Manual {
                start: Instant::now(),
                passed: Arc::new(watch::Sender::new(Duration::ZERO)),
                auto_advancing: false,
            }
        }

        /// Creates a clock on which every sleep returns at once, after its time was added.
        pub(crate) fn auto_advancing() -> Self {
            Manual { auto_advancing: true, ..Manual::paused() }
        }

        pub(crate) fn now(&self) -> Instant {
            self.start + self.passed()
        }

        /// Returns the time that passed since the clock was created.
        pub(crate) fn passed(&self) -> Duration {
            *self.passed.borrow()
        }

        pub(crate) fn advance(&self, time: Duration) {
            self.passed.send_modify(|passed| *passed += time);
        }

        pub(crate) async fn sleep(&self, time: Duration) {
            let end = self.passed() + time;
            if self.auto_advancing {
                self.passed.send_modify(|passed| *passed = end.max(*passed));
                // Lets other tasks run, as a real sleep would.
                tokio::task::yield_now().await;
            } else {
                let mut passed = self.passed.subscribe();
                passed.wait_for(|passed| *passed >= end).await.expect("the sender is in self");
            }
        }
    }
}
