//! The outcome of writing a file or an object that must not exist.

use std::io;

/// The outcome of writing something that must not exist.
#[derive(Debug)]
pub enum PutNew {
    /// It is there with these contents.
    Written,
    /// There is one of this name, which an earlier attempt of the same request may have written.
    Exists,
    /// The response was lost, or the store could not decide: it may be there now, or appear later.
    Unclear(io::Error),
}
