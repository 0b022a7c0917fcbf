//! The trait of sources that are bytes.

use std::io;

/// Bytes in order, pulled by the reader thread.
///
/// `read` blocks, and returns 0 at the end. An error that is more than the system's own (a broken
/// download) travels inside [`io::Error::other`] with its type, so that the edge can name it.
pub trait ByteSource: io::Read + Send {
    /// True when a read would have to wait for more to arrive: what is parsed is then flushed.
    /// Regular files never wait.
    fn would_wait(&mut self) -> bool {
        false
    }

    /// Bytes that the source will yield in all, when known; for progress, and to share the last of them out.
    fn size_bytes(&self) -> Option<u64> {
        None
    }

    /// False if the end that was read is an end by its looks only: something else must show that nothing is missing.
    fn is_end_proven(&mut self) -> bool {
        true
    }

    /// The media type that came with the bytes, in lower case and without parameters. May block until it is known.
    fn media_type(&mut self) -> io::Result<Option<String>> {
        Ok(None)
    }
}
