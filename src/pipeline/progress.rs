//! Counters of an execution that its owner reads while it goes on, and the flag that stops it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The interval at which a waiting thread looks whether it was told to stop.
pub(super) const CANCEL_POLL: Duration = Duration::from_millis(50);

/// Shared between an execution and its owner: counters to read, a flag to set.
#[derive(Clone, Debug, Default)]
pub struct Control {
    cancelled: Arc<AtomicBool>,
    counters: Arc<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    bytes_read: AtomicU64,
    rows_read: AtomicU64,
    rows_written: AtomicU64,
    rows_rejected: AtomicU64,
    bytes_written: AtomicU64,
}

macro_rules! counter {
    ($($(#[$doc:meta])* $get:ident, $add:ident, $field:ident;)*) => {$(
        $(#[$doc])*
        pub fn $get(&self) -> u64 {
            self.counters.$field.load(Ordering::Relaxed)
        }

        pub(crate) fn $add(&self, n: u64) {
            self.counters.$field.fetch_add(n, Ordering::Relaxed);
        }
    )*};
}

impl Control {
    /// A fresh one for one execution.
    pub fn new() -> Self {
        Control::default()
    }

    /// Asks the execution to stop. It ends with [`super::Error::Cancelled`], without output.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    /// True once asked to stop.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// The same flag with counters of its own, for a pass that must not count.
    pub(crate) fn without_counters(&self) -> Control {
        Control { cancelled: self.cancelled.clone(), counters: Arc::default() }
    }

    /// Everything is done anew: the counters start again.
    pub(crate) fn reset(&self) {
        let c = &self.counters;
        for counter in [&c.bytes_read, &c.rows_read, &c.rows_written, &c.rows_rejected, &c.bytes_written] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    counter! {
        /// Bytes taken from the sources, before decompression.
        bytes_read, add_bytes_read, bytes_read;
        /// Records that reached the writer, in order.
        rows_read, add_rows_read, rows_read;
        /// Records that went into the outputs.
        rows_written, add_rows_written, rows_written;
        /// Records set aside.
        rows_rejected, add_rows_rejected, rows_rejected;
        /// Bytes handed to the outputs.
        bytes_written, add_bytes_written, bytes_written;
    }
}
