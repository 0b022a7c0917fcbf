//! Standard input as a source.

use std::io::{self, Read};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::ByteSource;

/// What a pipe on standard input is enlarged to, in bytes: the most that Linux gives without privileges
/// (`/proc/sys/fs/pipe-max-size`). With its 64 KiB the two ends wait for each other sixteen times as often.
#[cfg(target_os = "linux")]
const PIPE_BYTES: usize = 1 << 20;

/// Standard input, read without the standard library's buffer: the morsel is the buffer.
pub struct StdinSource {
    file: std::fs::File,
}

impl StdinSource {
    /// Takes standard input; one per process.
    pub fn open() -> io::Result<Self> {
        let fd = rustix::io::dup(std::io::stdin())?;
        #[cfg(target_os = "linux")]
        enlarge_pipe(&fd);
        Ok(StdinSource { file: fd.into() })
    }
}

/// Gives a pipe room for [`PIPE_BYTES`], unless it has more. What is no pipe stays as it is, and so does a pipe when the
/// user has used up what the system grants: it is only slower.
#[cfg(target_os = "linux")]
fn enlarge_pipe(fd: &rustix::fd::OwnedFd) {
    if rustix::pipe::fcntl_getpipe_size(fd).is_ok_and(|bytes| bytes < PIPE_BYTES) {
        let _ = rustix::pipe::fcntl_setpipe_size(fd, PIPE_BYTES);
    }
}

impl Read for StdinSource {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.file.read(buf)
    }
}

impl ByteSource for StdinSource {
    fn would_wait(&mut self) -> bool {
        let mut fds = [PollFd::new(&self.file, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut fds, Some(&now)), Ok(0))
    }
}
