//! The number of connections of one download: the setting, and the decisions that follow from the measured rates. Pure; the
//! times are passed in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::net::retry::MIN_SEGMENT_BYTES;

/// Most connections that are tried without being asked for. Object stores give 85 to 90 MB/s per connection, and more than
/// eight bring more than drawoff takes.
const MOST_UNASKED: usize = 8;

/// Largest range of one request; more makes no download faster.
const MAX_SEGMENT_BYTES: usize = 4 << 20;

/// Segments for each connection: one that is being received, and one that waits for its turn.
pub(super) const SEGMENTS_PER_CONNECTION: usize = 2;

/// Time that one range may take over its connection.
const SEGMENT_TIME: Duration = Duration::from_millis(500);

/// Time over which a rate is measured.
const PERIOD: Duration = Duration::from_millis(400);

/// Least rate at which a download is divided without being asked for, in bytes per second. What is slower is limited by the
/// line more often than by the connection, and its first rows would come later.
const LEAST_RATE: f64 = (1 << 20) as f64;

/// Time that the rest of a file has to take, for a division without a number that the user has set.
const LEAST_TIME_LEFT: Duration = Duration::from_secs(2);

/// Gain in rate that a doubling has to bring.
const LEAST_GAIN: f64 = 1.25;

/// Over how many connections one file is downloaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connections {
    /// As many as bring more, by measuring. One for the API's own origin, whose rate limit counts requests.
    #[default]
    Auto,
    /// This many, at least 1.
    Count(usize),
}

impl Connections {
    /// Most connections that may be asked for.
    pub const MOST: usize = 64;

    /// Returns the largest number of connections.
    pub(super) fn most(self) -> usize {
        match self {
            Connections::Auto => MOST_UNASKED,
            Connections::Count(count) => count.max(1),
        }
    }

    /// Returns the largest number of segments that are being received or wait for their turn; 0 for one connection.
    pub(super) fn segments(self) -> usize {
        match self.most() {
            1 => 0,
            most => SEGMENTS_PER_CONNECTION * most,
        }
    }

    /// Returns the number that a window of so many bytes has place for: it holds two of the smallest ranges for each.
    pub(super) fn within(self, window_bytes: usize) -> Connections {
        let most = (window_bytes / (SEGMENTS_PER_CONNECTION * MIN_SEGMENT_BYTES)).max(1);
        match self {
            Connections::Auto if most >= MOST_UNASKED => Connections::Auto,
            other => Connections::Count(other.most().min(most)),
        }
    }

    /// Returns how the rest of a file is divided, `left` bytes that come over one connection as `pace` says; `None` if one
    /// connection is enough so far. `counts_requests` tells whether the server counts requests towards a limit; it is called last. `sizes` are
    /// those of the smallest segment and of the window.
    pub(super) fn division(
        self,
        left: u64,
        pace: &Pace,
        counts_requests: impl FnOnce() -> bool,
        sizes: (usize, usize),
    ) -> Option<Division> {
        let (most, (smallest, window)) = (self.most(), sizes);
        let largest = (window / (SEGMENTS_PER_CONNECTION * most)).min(MAX_SEGMENT_BYTES).max(smallest);
        match self {
            Connections::Count(count) => {
                let is_worth_it = count > 1 && left >= 2 * smallest as u64;
                // A few for each connection, so that all of them end at about the same time.
                let segment_bytes = (left / (4 * count as u64)).clamp(smallest as u64, largest as u64);
                is_worth_it.then(|| Division { segment_bytes, climb: Climb::fixed(count) })
            }
            Connections::Auto => {
                let rate = pace.rate_of_network().filter(|rate| *rate >= LEAST_RATE)?;
                let segment = (rate * SEGMENT_TIME.as_secs_f64()) as usize;
                let is_worth_it = left as f64 / rate >= LEAST_TIME_LEFT.as_secs_f64() && !counts_requests();
                is_worth_it.then(|| Division {
                    segment_bytes: segment.clamp(smallest, largest) as u64,
                    climb: Climb::from(rate, most),
                })
            }
        }
    }
}

/// The division of the rest of a file.
#[derive(Debug)]
pub(super) struct Division {
    pub(super) segment_bytes: u64,
    pub(super) climb: Climb,
}

/// Time that the connections of one download waited, in microseconds: for their sockets, and for place in the window, which
/// the reader makes.
#[derive(Clone, Debug, Default)]
pub(super) struct Waits(Arc<[AtomicU64; 2]>);

impl Waits {
    pub(super) fn add_socket(&self, time: Duration) {
        self.0[0].fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    pub(super) fn add_window(&self, time: Duration) {
        self.0[1].fetch_add(time.as_micros() as u64, Ordering::Relaxed);
    }

    fn now(&self) -> [u64; 2] {
        [&self.0[0], &self.0[1]].map(|wait| wait.load(Ordering::Relaxed))
    }
}

/// The rate of a download over a period.
#[derive(Debug)]
pub(super) struct Pace {
    waits: Waits,
    before: [u64; 2],
    bytes: u64,
    time: Duration,
}

impl Pace {
    pub(super) fn new(waits: &Waits) -> Self {
        Pace { before: waits.now(), waits: waits.clone(), bytes: 0, time: Duration::ZERO }
    }

    /// Adds bytes that came in `time`.
    pub(super) fn add(&mut self, bytes: u64, time: Duration) {
        self.bytes += bytes;
        self.time += time;
    }

    /// Returns the rate in bytes per second, once it has been measured for long enough, and if the network decided it: not
    /// the reader, for which the connections waited most of the time.
    fn rate_of_network(&self) -> Option<f64> {
        let [socket, window] = self.waits.now();
        let (socket, window) = (socket - self.before[0], window - self.before[1]);
        (self.time >= PERIOD && socket >= 3 * window).then(|| self.bytes as f64 / self.time.as_secs_f64())
    }

    fn is_measured(&self) -> bool {
        self.time >= PERIOD
    }
}

/// The search for the number of connections: it is doubled as long as that brings more.
#[derive(Debug)]
pub(super) struct Climb {
    connections: usize,
    most: usize,
    /// The rate with the number of before, in bytes per second; `None` once the number is settled.
    before: Option<f64>,
    /// Ranges that were completed in the present period.
    completed: usize,
}

impl Climb {
    fn fixed(connections: usize) -> Self {
        Climb { connections, most: connections, before: None, completed: 0 }
    }

    fn from(rate: f64, most: usize) -> Self {
        Climb { connections: 2, most, before: Some(rate), completed: 0 }
    }

    pub(super) fn connections(&self) -> usize {
        self.connections
    }

    /// Settles on half as many connections, because a server asked for fewer requests.
    pub(super) fn halve(&mut self) {
        self.connections = (self.connections / 2).max(1);
        self.before = None;
    }

    /// Adds a range that was completed at this pace. Returns true if a new period begins.
    pub(super) fn complete(&mut self, pace: &Pace) -> bool {
        self.completed += 1;
        // Two of each connection: the first may have begun with fewer of them.
        if !pace.is_measured() || self.completed < 2 * self.connections {
            return false;
        }
        self.completed = 0;
        if let (Some(before), Some(rate)) = (self.before, pace.rate_of_network()) {
            if rate < before * LEAST_GAIN {
                // The last doubling was one too many.
                self.connections = (self.connections / 2).max(2);
                self.before = None;
            } else if self.connections < self.most {
                self.connections = (2 * self.connections).min(self.most);
                self.before = Some(rate);
            } else {
                self.before = None;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const SIZES: (usize, usize) = (MIN_SEGMENT_BYTES, 64 << 20);

    /// A pace of `rate` MiB a second over a second, of which the sockets were waited for in part.
    fn pace(rate: u64, socket: f64) -> Pace {
        let waits = Waits::default();
        let mut pace = Pace::new(&waits);
        waits.add_socket(Duration::from_secs_f64(socket));
        waits.add_window(Duration::from_secs_f64(1.0 - socket));
        pace.add(rate * MIB, Duration::from_secs(1));
        pace
    }

    fn division(connections: Connections, left: u64, pace: &Pace) -> Option<(usize, u64)> {
        let division = connections.division(left * MIB, pace, || false, SIZES)?;
        Some((division.climb.connections(), division.segment_bytes / MIB))
    }

    #[test]
    fn a_download_that_waits_for_the_network_is_divided() {
        let auto = Connections::Auto;
        assert_eq!(division(auto, 1000, &pace(20, 0.9)), Some((2, 4)));
        assert_eq!(division(auto, 1000, &pace(3, 0.9)), Some((2, 1)));
        assert_eq!(division(auto, 1000, &pace(20, 0.5)), None, "the reader is the slower one");
        assert_eq!(division(auto, 30, &pace(20, 0.9)), None, "it is nearly there");
        assert_eq!(division(auto, 1000, &pace(0, 1.0)), None, "the line is slow");
        let short = Pace::new(&Waits::default());
        assert_eq!(division(auto, 1000, &short), None, "nothing was measured");
        assert!(auto.division(1000 * MIB, &pace(20, 0.9), || true, SIZES).is_none(), "requests are counted");
        assert_eq!(division(Connections::Count(1), 1000, &short), None);
        assert_eq!(division(Connections::Count(5), 1000, &short), Some((5, 4)));
        assert_eq!(division(Connections::Count(5), 0, &short), None);
    }

    #[test]
    fn a_small_window_has_place_for_few_connections() {
        assert_eq!(Connections::Auto.within(64 << 20), Connections::Auto);
        assert_eq!(Connections::Auto.within(4 << 20), Connections::Count(4));
        assert_eq!(Connections::Count(32).within(16 << 20), Connections::Count(16));
        assert_eq!(Connections::Count(3).within(0), Connections::Count(1));
    }

    #[test]
    fn connections_are_doubled_while_they_bring_more() {
        let mut climb = Climb::from(20.0 * MIB as f64, 8);
        let period = |climb: &mut Climb, rate| {
            while !climb.complete(&pace(rate, 0.9)) {}
            climb.connections()
        };
        assert_eq!(climb.connections(), 2);
        assert_eq!(period(&mut climb, 40), 4);
        assert_eq!(period(&mut climb, 80), 8);
        assert_eq!(period(&mut climb, 85), 4, "the last four brought nothing");
        assert_eq!(period(&mut climb, 200), 4, "it is settled");
        let mut climb = Climb::from(20.0 * MIB as f64, 8);
        assert_eq!(period(&mut climb, 40), 4);
        climb.halve();
        assert_eq!(period(&mut climb, 400), 2);
    }

    #[test]
    fn a_slow_reader_changes_nothing() {
        let mut climb = Climb::from(20.0 * MIB as f64, 8);
        for _ in 0..20 {
            climb.complete(&pace(20, 0.2));
        }
        assert_eq!(climb.connections(), 2);
    }
}
