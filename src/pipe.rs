//! Pipe buffers and readiness, for standard input, standard output and named pipes alike. Reads and writes themselves
//! are in `source` and `sink`.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Buffer size of a pipe that is read from, in bytes. The default of Linux is 64 KiB, and the two ends wait for each
/// other each time it is full or empty. With 1 MiB half of the gain is lost again, because the data has left the CPU
/// caches when it is read; `docs/performance.md` has the figures.
pub(crate) const READ_BUFFER_BYTES: usize = 256 << 10;

/// Buffer size of a pipe that is written to, in bytes: the most that Linux grants without privileges
/// (`/proc/sys/fs/pipe-max-size`), and about the size of one write.
pub(crate) const WRITE_BUFFER_BYTES: usize = 1 << 20;

/// Enlarges the buffer of a pipe to `min_bytes` bytes, unless it is larger already. Does nothing for other files, on
/// systems other than Linux, and where the user's share of pipe memory is used up: the pipe is then only slower.
pub(crate) fn enlarge(fd: impl AsFd, min_bytes: usize) {
    #[cfg(target_os = "linux")]
    if rustix::pipe::fcntl_getpipe_size(&fd).is_ok_and(|bytes| bytes < min_bytes) {
        let _ = rustix::pipe::fcntl_setpipe_size(&fd, min_bytes);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (fd, min_bytes);
}

/// Returns true if a read would block: the pipe is empty and its other end is open.
pub(crate) fn would_wait(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    // A hang-up counts as ready: the read returns 0 at once. So does an error, which the read then reports.
    matches!(poll(&mut fds, Some(&now)), Ok(0))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write, pipe};

    use super::*;

    #[test]
    fn a_read_waits_for_bytes_or_for_the_end() {
        let (mut reader, mut writer) = pipe().unwrap();
        assert!(would_wait(&reader));
        writer.write_all(b"x").unwrap();
        assert!(!would_wait(&reader));
        reader.read_exact(&mut [0]).unwrap();
        assert!(would_wait(&reader));
        drop(writer);
        assert!(!would_wait(&reader));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pipe_only_grows_and_keeps_its_contents() {
        let size = |fd: &std::io::PipeReader| rustix::pipe::fcntl_getpipe_size(fd).unwrap();
        let (mut reader, mut writer) = pipe().unwrap();
        writer.write_all(b"before").unwrap();
        enlarge(&writer, READ_BUFFER_BYTES);
        // The system may not grant a user more.
        assert!(size(&reader) == READ_BUFFER_BYTES || size(&reader) <= 1 << 16);
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before");

        let (reader, _writer) = pipe().unwrap();
        if rustix::pipe::fcntl_setpipe_size(&reader, WRITE_BUFFER_BYTES).is_ok() {
            enlarge(&reader, READ_BUFFER_BYTES);
            assert_eq!(size(&reader), WRITE_BUFFER_BYTES);
        }
        enlarge(std::fs::File::open("Cargo.toml").unwrap(), WRITE_BUFFER_BYTES);
    }
}
