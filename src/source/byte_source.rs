//! The trait of sources that yield bytes.

use std::io;

/// A stream of bytes in order, pulled by the reader thread.
///
/// `read` blocks, and returns 0 at the end. An error that is not the system's (of a download) is wrapped in
/// [`io::Error::other`] with its type, so that the caller can downcast it.
pub trait ByteSource: io::Read + Send {
    /// Returns true if a read would block until more bytes arrive. The caller then flushes the rows that it has.
    /// Always false for regular files.
    fn would_wait(&mut self) -> bool {
        false
    }

    /// Returns the number of bytes that the source yields in all; `None` if unknown. Used for progress, and to divide
    /// the last of them among the workers.
    fn size_bytes(&self) -> Option<u64> {
        None
    }

    /// Returns false if the end that was read may be a broken connection: the caller then needs other evidence that
    /// nothing is missing.
    fn is_end_proven(&mut self) -> bool {
        true
    }

    /// Returns the media type of the bytes, in lower case and without parameters; `None` if there is none. May block
    /// until it is known.
    fn media_type(&mut self) -> io::Result<Option<String>> {
        Ok(None)
    }
}
