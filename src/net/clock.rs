//! The time that waits between tries go by. It is passed in, so that tests need not wait.

use std::time::{Duration, Instant};

/// Tells the time, and waits.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's.
    #[default]
    System,
    /// One that stands still until a test moves it.
    #[cfg(test)]
    #[expect(private_interfaces, reason = "tests are inside the crate")]
    Manual(manual::Manual),
}

impl Clock {
    /// The time.
    pub fn now(&self) -> Instant {
        match self {
            Clock::System => Instant::now(),
            #[cfg(test)]
            Clock::Manual(manual) => manual.now(),
        }
    }

    /// Waits for `time`. Needs a tokio runtime. Dropping it loses nothing.
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

    /// Time from a watch: it moves when told, and by itself to where a sleeper wants it if it is a `jumping` one.
    #[derive(Clone, Debug)]
    pub(crate) struct Manual {
        start: Instant,
        passed: Arc<watch::Sender<Duration>>,
        jumping: bool,
    }

    impl Manual {
        /// One that moves by [`Manual::advance`] only.
        pub(crate) fn standing() -> Self {
            Manual { start: Instant::now(), passed: Arc::new(watch::Sender::new(Duration::ZERO)), jumping: false }
        }

        /// One on which every sleep is over at once, and its time has passed.
        pub(crate) fn jumping() -> Self {
            Manual { jumping: true, ..Manual::standing() }
        }

        pub(crate) fn now(&self) -> Instant {
            self.start + self.passed()
        }

        /// The time that has passed on it.
        pub(crate) fn passed(&self) -> Duration {
            *self.passed.borrow()
        }

        pub(crate) fn advance(&self, time: Duration) {
            self.passed.send_modify(|passed| *passed += time);
        }

        pub(crate) async fn sleep(&self, time: Duration) {
            let end = self.passed() + time;
            if self.jumping {
                self.passed.send_modify(|passed| *passed = end.max(*passed));
                // Others get their turn, as in a real sleep.
                tokio::task::yield_now().await;
            } else {
                let mut passed = self.passed.subscribe();
                passed.wait_for(|passed| *passed >= end).await.expect("the sender is in self");
            }
        }
    }
}
