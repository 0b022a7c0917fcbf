//! Named places at which a test stops a command, to kill it or to continue it later: `DRAWOFF_TEST_STOP_AT=PLACE`. Without the
//! variable nothing happens.

use std::io::{self, Read};

use super::print;
use crate::source::ByteSource;

const VARIABLE: &str = "DRAWOFF_TEST_STOP_AT";

/// A place in the work on a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StopPlace {
    /// Some bytes of a result file were read, and its part is not whole.
    Part,
    /// The parts are whole, and there is no receipt.
    BeforeReceipt,
    /// The receipt is written.
    AfterReceipt,
    /// All receipts were checked, and the target has no row.
    BeforeCommit,
    /// The target has the rows, and the plan no record of it.
    AfterCommit,
}

impl StopPlace {
    fn word(self) -> &'static str {
        match self {
            StopPlace::Part => "part",
            StopPlace::BeforeReceipt => "before-receipt",
            StopPlace::AfterReceipt => "after-receipt",
            StopPlace::BeforeCommit => "before-commit",
            StopPlace::AfterCommit => "after-commit",
        }
    }

    fn is_asked_for(self) -> bool {
        std::env::var_os(VARIABLE).is_some_and(|place| place == self.word())
    }
}

/// Prints a line and stops the process by SIGSTOP, if the test asked for this place; SIGCONT continues it.
pub(super) fn stop_at(place: StopPlace) {
    if place.is_asked_for() {
        print::write_stderr(&format!("stopped at {}", place.word()));
        #[cfg(unix)]
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::STOP)
            .expect("a process may stop itself");
    }
}

/// Returns `source`, or, if the test asked for it, one that stops after its first bytes.
pub(super) fn stopping_in_part(source: Box<dyn ByteSource>) -> Box<dyn ByteSource> {
    match StopPlace::Part.is_asked_for() {
        true => Box::new(StoppingSource { source, has_read: false }),
        false => source,
    }
}

struct StoppingSource {
    source: Box<dyn ByteSource>,
    has_read: bool,
}

impl Read for StoppingSource {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read(out)?;
        if !std::mem::replace(&mut self.has_read, true) {
            stop_at(StopPlace::Part);
        }
        Ok(n)
    }
}

impl ByteSource for StoppingSource {
    fn would_wait(&mut self) -> bool {
        self.source.would_wait()
    }

    fn size_bytes(&self) -> Option<u64> {
        self.source.size_bytes()
    }

    fn is_end_proven(&mut self) -> bool {
        self.source.is_end_proven()
    }

    fn media_type(&mut self) -> io::Result<Option<String>> {
        self.source.media_type()
    }
}
