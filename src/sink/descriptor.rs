//! Open descriptors of this process that have names, such as `/dev/stdout`: which names these are, and a second handle
//! of the open file behind one.
//!
//! On Linux such a name opened as a path is another open file, with a position of its own: rows would overwrite what the
//! shell and other programs wrote before. A duplicate shares position and flags with all of them.

use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Symbolic links that are followed before a name is given up, as the system does.
const MAX_LINKS: usize = 40;

/// Returns the number of the descriptor that `path` names, directly or through symbolic links; `None` for other paths.
pub(super) fn number_of(path: &Path) -> Option<i32> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        if let Some(number) = number_in(&path) {
            return Some(number);
        }
        // A link of `/proc` to an open file is never followed here: its directory was recognized above.
        let link = fs::read_link(&path).ok()?;
        path = super::partial::directory_of(&path).join(link);
    }
    None
}

/// Returns the number of the descriptor that `path` names directly.
fn number_in(path: &Path) -> Option<i32> {
    let parts: Vec<&str> = path
        .components()
        .map(|component| match component {
            Component::RootDir => Some("/"),
            Component::Normal(name) => name.to_str(),
            _ => None,
        })
        .collect::<Option<_>>()
        .unwrap_or_default();
    match parts[..] {
        ["/", "dev", "stdin"] => return Some(0),
        ["/", "dev", "stdout"] => return Some(1),
        ["/", "dev", "stderr"] => return Some(2),
        _ => {}
    }
    let name = path.file_name()?.to_str()?;
    let number: i32 = name.bytes().all(|byte| byte.is_ascii_digit()).then(|| name.parse().ok())??;
    // By their names also where /proc is not mounted.
    if matches!(parts[..], ["/", "dev", "fd", _] | ["/", "proc", "self" | "thread-self", "fd", _]) {
        return Some(number);
    }
    is_own_directory(&fs::canonicalize(super::partial::directory_of(path)).ok()?).then_some(number)
}

/// Returns true for the directory of this process's descriptors: `/proc/PID/fd`, or that of one of its threads.
fn is_own_directory(directory: &Path) -> bool {
    // Not by the process's number, which is another one in a /proc of other processes' numbers.
    let own = fs::canonicalize("/proc/self");
    let Some(rest) = own.ok().and_then(|own| directory.strip_prefix(own).ok()) else {
        return directory == Path::new("/dev/fd");
    };
    let parts: Vec<_> = rest.iter().collect();
    parts == ["fd"] || parts.len() == 3 && parts[0] == "task" && parts[2] == "fd"
}

/// Returns a path at which the system shows the file behind a descriptor.
pub(super) fn path_of(number: i32) -> PathBuf {
    format!("/dev/fd/{number}").into()
}

/// Fails if the descriptor was not open when the process started, or is not open for writing.
fn check_writable(number: i32) -> io::Result<()> {
    let flags = match number {
        0 => rustix::fs::fcntl_getfl(io::stdin()),
        1 => rustix::fs::fcntl_getfl(io::stdout()),
        2 => rustix::fs::fcntl_getfl(io::stderr()),
        _ => return check_inherited(number),
    };
    if is_open_for_writing(flags?) { Ok(()) } else { Err(not_writable()) }
}

/// Returns a handle that shares position and flags with the descriptor. Checks it first.
pub(super) fn duplicate(number: i32) -> io::Result<File> {
    check_writable(number)?;
    let duplicate = match number {
        0 => rustix::io::dup(io::stdin())?,
        1 => rustix::io::dup(io::stdout())?,
        2 => rustix::io::dup(io::stderr())?,
        _ => return duplicate_inherited(number),
    };
    Ok(duplicate.into())
}

fn not_writable() -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, "the descriptor is not open for writing")
}

fn not_open() -> io::Error {
    io::Error::from_raw_os_error(Errno::BADF.raw_os_error())
}

fn is_open_for_writing(flags: OFlags) -> bool {
    [OFlags::WRONLY, OFlags::RDWR].contains(&(flags & OFlags::RWMODE))
}

/// Checks a descriptor by the list that Linux keeps of it. Files that drawoff itself has opened are all closed on exec;
/// those of its parent, which survived that, are not.
#[cfg(target_os = "linux")]
fn check_inherited(number: i32) -> io::Result<()> {
    if is_open_for_writing(flags_of(number)?) { Ok(()) } else { Err(not_writable()) }
}

/// Returns the flags of a descriptor that was open when the process started.
#[cfg(target_os = "linux")]
fn flags_of(number: i32) -> io::Result<OFlags> {
    let info = match fs::read_to_string(format!("/proc/self/fdinfo/{number}")) {
        Ok(info) => info,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(not_open()),
        Err(error) => return Err(error),
    };
    let flags = info.lines().find_map(|line| u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok());
    let flags = OFlags::from_bits_retain(flags.ok_or_else(not_open)?);
    if flags.contains(OFlags::CLOEXEC) { Err(not_open()) } else { Ok(flags) }
}

/// On the BSDs, such a name opened as a path is a duplicate.
#[cfg(not(target_os = "linux"))]
fn check_inherited(number: i32) -> io::Result<()> {
    duplicate_inherited(number).map(drop)
}

#[cfg(target_os = "linux")]
fn duplicate_inherited(number: i32) -> io::Result<File> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    // The call for descriptors of other processes also takes those of this one. Unlike `dup`, it needs no proof that the
    // descriptor stays open, because it looks the number up itself.
    let shared =
        pidfd_open(getpid(), PidfdFlags::empty()).and_then(|own| pidfd_getfd(own, number, PidfdGetfdFlags::empty()));
    if let Ok(shared) = shared {
        return Ok(shared.into());
    }
    // Old kernels and some containers forbid the call. A pipe, a terminal and a file that is only appended to have no
    // position that would have to be shared: opened by their path they are the same.
    let path = path_of(number);
    let appends = flags_of(number)?.contains(OFlags::APPEND);
    if appends || fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
        return File::options().append(appends).write(true).open(path);
    }
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "the system does not allow to share this descriptor; write to standard output, or open it for appending",
    ))
}

#[cfg(not(target_os = "linux"))]
fn duplicate_inherited(number: i32) -> io::Result<File> {
    File::options().write(true).open(path_of(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_descriptors_are_recognized() {
        for (path, number) in [
            ("/dev/stdout", 1),
            ("/dev//./stderr", 2),
            ("/dev/fd/63", 63),
            ("/proc/self/fd/7", 7),
            ("/proc/thread-self/fd/7", 7),
            #[cfg(target_os = "linux")]
            (&*format!("/proc/{}/fd/8", std::process::id()), 8),
        ] {
            assert_eq!(number_of(Path::new(path)), Some(number), "{path}");
        }
        for path in ["/dev/null", "/dev/fd", "/dev/fd/x", "/dev/fd/-1", "/dev/fd/+1", "1", "a/fd/1", "", "/"] {
            assert_eq!(number_of(Path::new(path)), None, "{path}");
        }
    }

    #[test]
    fn links_to_descriptors_are_followed() {
        let directory = tempfile::tempdir().unwrap();
        let link = |name: &str, to: &str| {
            std::os::unix::fs::symlink(to, directory.path().join(name)).unwrap();
            directory.path().join(name)
        };
        let out = link("out.ndjson", "/dev/stdout");
        assert_eq!(number_of(&out), Some(1));
        assert_eq!(number_of(&link("again", "out.ndjson")), Some(1));
        assert_eq!(number_of(&link("folder", "/dev/fd").join("5")), Some(5));
        assert_eq!(number_of(&link("circle", "circle")), None);
        assert_eq!(number_of(&link("dangling", "nowhere")), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn own_files_and_closed_descriptors_are_not_outputs() {
        use std::os::fd::AsRawFd as _;

        let own = tempfile::tempfile().unwrap();
        assert_eq!(duplicate(own.as_raw_fd()).unwrap_err().raw_os_error(), Some(Errno::BADF.raw_os_error()));
        assert_eq!(check_writable(1 << 20).unwrap_err().raw_os_error(), Some(Errno::BADF.raw_os_error()));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_duplicate_shares_the_position() {
        use std::io::{Read as _, Seek as _, Write as _};
        use std::os::fd::AsRawFd as _;

        let mut file = tempfile::tempfile().unwrap();
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).unwrap();
        file.write_all(b"before ").unwrap();
        match duplicate(file.as_raw_fd()) {
            Ok(mut duplicate) => duplicate.write_all(b"rows ").unwrap(),
            // A container may forbid it; then nothing is written.
            Err(error) => return assert_eq!(error.kind(), io::ErrorKind::Unsupported),
        }
        file.write_all(b"behind").unwrap();
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "before rows behind");
    }
}
