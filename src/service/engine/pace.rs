//! Slow runs on purpose: a block whose rows are read at a limited rate, for tests of clients that watch progress.

use std::time::Duration;

use crate::pipeline::Control;
use crate::service::blocks::Failure;
use crate::service::clock::Clock;

/// Longest time until progress, a stop or a change of the clock is noticed.
const TICK: Duration = Duration::from_millis(20);

/// Counts `total` rows as read at `rate` rows per second of the service's clock, and returns when the last one is due.
/// The results of a block appear at its end in any case, so its work is done after that. Blocks the thread; a stop ends
/// it.
pub(super) fn wait_for_rows(
    total: u64,
    rate: f64,
    control: &Control,
    clock: &Clock,
    stopped: impl Fn() -> bool,
) -> Result<(), Failure> {
    let started = clock.now();
    let mut counted = 0;
    while counted < total {
        if stopped() {
            return Err(Failure::Cancelled);
        }
        let seconds = (clock.now() - started).as_seconds_f64();
        // A clock that was set back has passed no time.
        let due = ((seconds * rate).max(0.0) as u64).min(total).max(counted);
        control.add_rows_read(due - counted);
        counted = due;
        if counted < total {
            std::thread::sleep(TICK);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_counted_by_the_clock_of_the_service() {
        let clock = Clock::default();
        clock.set_speed(1e6);
        let control = Control::new();
        // Two weeks at the usual speed.
        wait_for_rows(1_209_600, 1.0, &control, &clock, || false).unwrap();
        assert_eq!(control.rows_read(), 1_209_600);
        clock.set_speed(0.0);
        let control = Control::new();
        let stopped = wait_for_rows(1, 1.0, &control, &clock, || true);
        assert!(matches!(stopped, Err(Failure::Cancelled)));
        wait_for_rows(0, 1.0, &control, &clock, || panic!("there is nothing to wait for")).unwrap();
    }
}
