//! A file as a source.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::byte_source::ByteSource;
use crate::pipe;

/// A file read from its start to its end, or a pipe or device that has a path.
pub struct FileSource {
    file: File,
    size_bytes: Option<u64>,
}

impl FileSource {
    /// Opens `path`. A folder is refused here, with a better text than its first read would give.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "is a folder, not a file"));
        }
        pipe::enlarge(&file, pipe::ROOM_TO_READ);
        // Pipes and devices say 0.
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
        self.size_bytes.is_none() && pipe::would_wait(&self.file)
    }

    fn size_bytes(&self) -> Option<u64> {
        self.size_bytes
    }
}
