//! A stream that gets its bytes only when all of them are right: they are kept in a temporary file until the commit.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;

use tempfile::NamedTempFile;

use super::stream::Stream;
use super::target::{Reread, Target};
use super::temporary::temporary_file;

/// Bytes that are copied to the stream at a time.
const COPY_BYTES: usize = 1 << 20;

/// Name that the collecting files have in place of that of an output.
const NAME: &str = "drawoff-output";

/// The error of a file in the directory for temporary files, which is not the output's own.
#[derive(Debug, thiserror::Error)]
#[error("its rows are kept in {} until all are right", directory.display())]
pub struct TemporaryFile {
    /// The directory for temporary files.
    pub directory: PathBuf,
    /// The error of the system.
    #[source]
    pub cause: io::Error,
}

fn temporary(cause: io::Error) -> io::Error {
    io::Error::new(cause.kind(), TemporaryFile { directory: std::env::temp_dir(), cause })
}

/// A stream, and the file in the directory for temporary files (`TMPDIR`) that collects its bytes. Dropped without a
/// commit, the stream gets nothing.
#[derive(Debug)]
pub struct WholeStream {
    collected: NamedTempFile,
    stream: Stream,
}

impl WholeStream {
    /// Collects the bytes for `stream`. Removes the files of killed processes, which hold all of their rows.
    pub fn new(stream: Stream) -> io::Result<Self> {
        let collected = temporary_file(NAME).map_err(temporary)?;
        Ok(WholeStream { collected, stream })
    }

    /// Creates an empty target for the same stream, to be written in place of this one.
    pub(super) fn replacement(&self) -> io::Result<Self> {
        WholeStream::new(self.stream.duplicate()?)
    }
}

impl Write for WholeStream {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.collected.as_file_mut().write(buf).map_err(temporary)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Target for WholeStream {
    fn can_go_back(&self) -> bool {
        true
    }

    fn reread(&self) -> io::Result<Option<File>> {
        self.collected.reopen().map(Some).map_err(temporary)
    }

    fn rereader(&self) -> io::Result<Option<Reread>> {
        let file = self.collected.reopen().map_err(temporary)?;
        Ok(Some(Box::new(move || Ok(file))))
    }

    /// Copies the bytes to the stream. After an error, or when its reader closes it, it may have got a part of them.
    fn commit(mut self: Box<Self>) -> io::Result<()> {
        let collected = self.collected.reopen().map_err(temporary)?;
        let mut reader = io::BufReader::with_capacity(COPY_BYTES, collected);
        io::copy(&mut reader, &mut self.stream).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_stream_gets_its_bytes_at_the_commit() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        File::create(&path).unwrap();
        let mut whole = WholeStream::new(Stream::open(&path).unwrap()).unwrap();
        whole.write_all(b"first").unwrap();
        let mut again = whole.replacement().unwrap();
        again.write_all(b"second").unwrap();
        let mut kept = String::new();
        again.reread().unwrap().unwrap().read_to_string(&mut kept).unwrap();
        assert_eq!((kept.as_str(), std::fs::read(&path).unwrap().len()), ("second", 0));
        drop(whole);
        assert_eq!(std::fs::read(&path).unwrap(), b"");
        Box::new(again).commit().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
    }
}
