//! The requests of one key over all processes of a user: their instants, in a file that they share.
//!
//! ```text
//! 64-bit little-endian milliseconds since 1970:   hold │ instant │ instant │ …   ascending, at most one per request of a period
//! ```
//!
//! A process locks the file, reserves the next free instant, writes it back and unlocks. So all processes wait in the order in
//! which they came, and each finds its instant free when it wakes. The reservations of a process that dies stay for one
//! period, unused.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::secret::ApiKey;

/// Length of the sliding window of the limit.
pub(super) const PERIOD: Duration = Duration::from_secs(60);

/// The files of all keys, in one directory.
#[derive(Clone, Debug)]
pub(super) struct SharedRequests {
    per_minute: usize,
    directory: PathBuf,
}

/// The content of a file, in milliseconds since 1970.
#[derive(Debug, Default, PartialEq, Eq)]
struct Instants {
    /// No request is sent before this instant.
    not_before: u64,
    /// Instants at which requests were or will be sent, ascending.
    reserved: Vec<u64>,
}

impl SharedRequests {
    pub(super) fn new(per_minute: usize, directory: &Path) -> Self {
        SharedRequests { per_minute, directory: directory.to_owned() }
    }

    /// Reserves the next free instant under `key`, and returns the time until then.
    pub(super) fn reserve(&self, key: &ApiKey) -> io::Result<Duration> {
        self.with(key, |instants, now| instants.reserve(now, self.per_minute))
    }

    /// Returns the time for which all requests under `key` are held back.
    pub(super) fn held(&self, key: &ApiKey) -> io::Result<Duration> {
        self.with(key, |instants, now| instants.not_before.saturating_sub(now))
    }

    /// Holds back all requests under `key` for `time`; of two holds the later end counts.
    pub(super) fn hold(&self, key: &ApiKey, time: Duration) -> io::Result<()> {
        self.with(key, |instants, now| {
            instants.not_before = instants.not_before.max(now + millis(time));
            0
        })?;
        Ok(())
    }

    /// Changes the instants of a key, and returns what `act` does, in milliseconds, as a time.
    fn with(&self, key: &ApiKey, act: impl FnOnce(&mut Instants, u64) -> u64) -> io::Result<Duration> {
        let mut file = self.open(key)?;
        // Waits for a few microseconds: no process sleeps while it has the lock, which ends with the file or the process.
        file.lock()?;
        let now = millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default());
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let mut instants = Instants::parse(&bytes, now);
        let outcome = act(&mut instants, now);
        file.rewind()?;
        let bytes = instants.bytes();
        file.write_all(&bytes)?;
        file.set_len(bytes.len() as u64)?;
        Ok(Duration::from_millis(outcome))
    }

    fn open(&self, key: &ApiKey) -> io::Result<File> {
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt as _;
            options.mode(0o600);
        }
        let path = self.directory.join(key.fingerprint());
        match options.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(&self.directory)?;
                options.open(&path)
            }
            other => other,
        }
    }
}

impl Instants {
    /// Reads a file. Instants that are further away than reservations can be are of a clock that was set back since.
    fn parse(bytes: &[u8], now: u64) -> Self {
        let mut numbers = bytes.chunks_exact(8).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap_or_default()));
        let is_sound = |instant: &u64| *instant <= now + 24 * 3600 * 1000;
        let not_before = numbers.next().filter(is_sound).unwrap_or_default();
        let reserved: Vec<u64> = numbers.collect();
        match reserved.is_sorted() && reserved.iter().all(is_sound) {
            true => Instants { not_before, reserved },
            false => Instants { not_before, reserved: Vec::new() },
        }
    }

    fn bytes(&self) -> Vec<u8> {
        [self.not_before].iter().chain(&self.reserved).flat_map(|instant| instant.to_le_bytes()).collect()
    }

    /// Reserves the first instant from `now` on at which fewer than the limit were sent within the period before it, and
    /// which no later request has. Returns the time until then.
    fn reserve(&mut self, now: u64, per_minute: usize) -> u64 {
        let mut at = now.max(self.not_before).max(self.reserved.last().copied().unwrap_or_default());
        if let Some(oldest) = self.reserved.len().checked_sub(per_minute) {
            at = at.max(self.reserved[oldest] + millis(PERIOD));
        }
        // Only those within one period of a later request can delay it.
        let kept = self.reserved.len().saturating_sub(per_minute - 1);
        self.reserved.drain(..kept);
        self.reserved.push(at);
        at - now
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUESTS_PER_MINUTE: usize = 500;

    #[test]
    fn any_minute_has_at_most_so_many_requests() {
        let mut instants = Instants::default();
        let mut sent = Vec::new();
        for i in 0..2_000u64 {
            let now = i / 7 * 13;
            instants = Instants::parse(&instants.bytes(), now);
            sent.push(now + instants.reserve(now, REQUESTS_PER_MINUTE));
        }
        assert!(sent.windows(REQUESTS_PER_MINUTE + 1).all(|w| w[REQUESTS_PER_MINUTE] - w[0] >= millis(PERIOD)));
        assert!(sent.is_sorted() && sent[REQUESTS_PER_MINUTE - 1] < 1000, "a burst is not held up");
        assert!(sent[1999] < 4 * millis(PERIOD), "no longer than needed");
        assert!(instants.bytes().len() <= 8 * (REQUESTS_PER_MINUTE + 1));
    }

    #[test]
    fn a_hold_delays_all_requests() {
        let mut instants = Instants { not_before: 5_000, reserved: vec![1_000] };
        assert_eq!(
            (
                instants.reserve(2_000, REQUESTS_PER_MINUTE),
                instants.reserve(2_000, REQUESTS_PER_MINUTE),
                instants.reserve(6_000, REQUESTS_PER_MINUTE)
            ),
            (3_000, 3_000, 0)
        );
    }

    #[test]
    fn a_damaged_file_and_a_clock_that_was_set_back_count_for_nothing() {
        let day = 24 * 3600 * 1000;
        let later = Instants { not_before: 9 * day, reserved: vec![9 * day] };
        assert_eq!(Instants::parse(&later.bytes(), day), Instants::default());
        let unsorted = Instants { not_before: 0, reserved: vec![2, 1] };
        assert_eq!(Instants::parse(&unsorted.bytes(), day), Instants::default());
        assert_eq!(Instants::parse(b"12345", day), Instants::default());
    }

    #[test]
    fn processes_share_the_instants() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("rate");
        let key = ApiKey::new("one");
        // Each of them is what one process has.
        let processes: Vec<_> = (0..8)
            .map(|_| {
                let (shared, key) = (SharedRequests::new(REQUESTS_PER_MINUTE, &directory), key.clone());
                std::thread::spawn(move || (0..100).map(|_| shared.reserve(&key).unwrap()).collect::<Vec<_>>())
            })
            .collect();
        let waits: Vec<Duration> = processes.into_iter().flat_map(|process| process.join().unwrap()).collect();
        let at_once = waits.iter().filter(|wait| **wait < PERIOD / 2).count();
        assert_eq!(at_once, REQUESTS_PER_MINUTE);
        let shared = SharedRequests::new(REQUESTS_PER_MINUTE, &directory);
        assert_eq!(shared.reserve(&ApiKey::new("two")).unwrap(), Duration::ZERO);
        shared.hold(&ApiKey::new("two"), Duration::from_secs(9)).unwrap();
        let held = SharedRequests::new(REQUESTS_PER_MINUTE, &directory).held(&ApiKey::new("two")).unwrap();
        assert!(held > Duration::from_secs(8) && held <= Duration::from_secs(9), "{held:?}");
        assert!(shared.reserve(&ApiKey::new("two")).unwrap() > Duration::from_secs(8));
    }
}
