//! Files, named pipes and devices as sources.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::byte_source::ByteSource;
use crate::pipe;

/// A source that reads a file from start to end, or a pipe or device with a path.
pub struct FileSource {
    file: File,
    size_bytes: Option<u64>,
}

impl FileSource {
    /// Opens `path`. A directory is an error here, because its first read would fail with a less specific text.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a directory"));
        }
        // Has no effect on regular files.
        pipe::enlarge(&file, pipe::READ_BUFFER_BYTES);
        // The length of a pipe or a device is 0, and means nothing.
        let size_bytes = metadata.is_file().then_some(metadata.len());
        Ok(FileSource { file, size_bytes })
    }
}

impl Read for FileSource {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read(buf)
    }
}

impl ByteSource for FileSource {
    fn would_wait(&mut self) -> bool {
        // Reads of regular files never wait, so only pipes and devices are polled.
        self.size_bytes.is_none() && pipe::would_wait(&self.file)
    }

    fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }
}
