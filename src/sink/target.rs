//! The one trait of targets: the ends that bytes are written to.
//!
//! A further target is a file that implements it, and a variant of [`super::Sink`].

use std::fs::File;
use std::io::{self, Write};

/// Opens what was written for reading, later.
pub type Reread = Box<dyn FnOnce() -> io::Result<File> + Send>;

/// An end that bytes are written to. The defaults are those of a target that only takes bytes.
pub trait Target: Write {
    /// True when what was written can be read again and changed before anybody sees it.
    fn can_go_back(&self) -> bool {
        false
    }

    /// Bytes that stand there from before.
    fn bytes_before(&self) -> u64 {
        0
    }

    /// A second handle for reading what was written; `None` if that is not possible.
    fn reread(&self) -> io::Result<Option<File>> {
        Ok(None)
    }

    /// A way to read later what was written, for one who has given the target away; `None` if that is not possible.
    fn rereader(&self) -> io::Result<Option<Reread>> {
        Ok(None)
    }

    /// Closes a file that can be opened again for the next write.
    fn park(&mut self) {}

    /// Makes the bytes durable before they appear.
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Makes what was written appear under its name.
    fn commit(self: Box<Self>) -> io::Result<()> {
        Ok(())
    }
}
