//! The trait of all targets. A new kind of target is a file that implements it, and a variant of [`super::Sink`].

use std::fs::File;
use std::io::{self, Write};

/// A function that opens the written bytes for reading.
pub type Reread = Box<dyn FnOnce() -> io::Result<File> + Send>;

/// A destination of encoded bytes. The defaults are those of a stream, which only takes bytes.
pub trait Target: Write {
    /// Returns true if written bytes can be read and replaced before the output becomes visible.
    fn can_go_back(&self) -> bool {
        false
    }

    /// Returns the number of bytes that were there before, when appending; else 0.
    fn bytes_before(&self) -> u64 {
        0
    }

    /// Opens the written bytes for reading; `None` if the target cannot be read.
    fn reread(&self) -> io::Result<Option<File>> {
        Ok(None)
    }

    /// Returns a function that opens the written bytes for reading later, after the target was moved elsewhere; `None`
    /// if the target cannot be read.
    fn rereader(&self) -> io::Result<Option<Reread>> {
        Ok(None)
    }

    /// Closes the handle of a file that the next write opens again.
    fn park(&mut self) {}

    /// Makes the written bytes durable before they become visible.
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Makes the output visible under its final name.
    fn commit(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}
