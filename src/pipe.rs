//! What is asked of pipes, whether they are standard input, standard output, or named by a path.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// What a pipe is enlarged to, in bytes: the most that Linux gives without privileges (`/proc/sys/fs/pipe-max-size`).
/// With its 64 KiB the two ends wait for each other sixteen times as often.
#[cfg(target_os = "linux")]
const BYTES: usize = 1 << 20;

/// Gives a pipe room for a mebibyte, unless it has more. What is no pipe stays as it is, and so does a pipe when the user
/// has used up what the system grants: it is only slower.
pub fn enlarge(fd: impl AsFd) {
    #[cfg(target_os = "linux")]
    if rustix::pipe::fcntl_getpipe_size(&fd).is_ok_and(|bytes| bytes < BYTES) {
        let _ = rustix::pipe::fcntl_setpipe_size(&fd, BYTES);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = fd;
}

/// True when a read would have to wait for more to arrive.
pub fn would_wait(fd: impl AsFd) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    matches!(poll(&mut fds, Some(&now)), Ok(0))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write, pipe};

    use super::*;

    #[test]
    fn a_read_waits_until_something_came_or_the_other_end_has_gone() {
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
    fn a_pipe_only_grows_and_keeps_what_is_in_it() {
        let size = |fd: &std::io::PipeReader| rustix::pipe::fcntl_getpipe_size(fd).unwrap();
        let (mut reader, mut writer) = pipe().unwrap();
        writer.write_all(b"before").unwrap();
        enlarge(&writer);
        // The system may grant a user no more than what there is.
        assert!(size(&reader) == BYTES || size(&reader) <= 1 << 16);
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before");

        let (reader, _writer) = pipe().unwrap();
        if rustix::pipe::fcntl_setpipe_size(&reader, 2 * BYTES).is_ok() {
            enlarge(&reader);
            assert_eq!(size(&reader), 2 * BYTES);
        }
        enlarge(std::fs::File::open("Cargo.toml").unwrap());
    }
}
