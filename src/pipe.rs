//! What is asked of pipes, whether they are standard input, standard output, or named by a path.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// Room of a pipe that is read from, in bytes. Linux gives 64 KiB, and the two ends wait for each other each time those are
/// full or empty. With a mebibyte half of what that gains is lost again: what is read has left the caches by then.
pub const ROOM_TO_READ: usize = 256 << 10;

/// Room of a pipe that is written to, in bytes: the most that Linux gives without privileges
/// (`/proc/sys/fs/pipe-max-size`). Pieces of output are about as large.
pub const ROOM_TO_WRITE: usize = 1 << 20;

/// Gives a pipe this much room in bytes, unless it has more. What is no pipe stays as it is, and so does a pipe when the
/// user has used up what the system grants: it is only slower.
pub fn enlarge(fd: impl AsFd, room: usize) {
    #[cfg(target_os = "linux")]
    if rustix::pipe::fcntl_getpipe_size(&fd).is_ok_and(|bytes| bytes < room) {
        let _ = rustix::pipe::fcntl_setpipe_size(&fd, room);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (fd, room);
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
        enlarge(&writer, ROOM_TO_READ);
        // The system may grant a user no more than what there is.
        assert!(size(&reader) == ROOM_TO_READ || size(&reader) <= 1 << 16);
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before");

        let (reader, _writer) = pipe().unwrap();
        if rustix::pipe::fcntl_setpipe_size(&reader, ROOM_TO_WRITE).is_ok() {
            enlarge(&reader, ROOM_TO_READ);
            assert_eq!(size(&reader), ROOM_TO_WRITE);
        }
        enlarge(std::fs::File::open("Cargo.toml").unwrap(), ROOM_TO_WRITE);
    }
}
