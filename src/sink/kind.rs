//! The kinds of local outputs, and the one place that says which kind a name is: outputs, rejects files, rows that are
//! appended and all checks before the start ask it.
//!
//! | kind | written | replaced |
//! |---|---|---|
//! | file, or a name without one | under a temporary name | by a rename, whole |
//! | descriptor, such as `/dev/stdout` | where it stands | never |
//! | device, named pipe, socket | directly | never, and never read |
//! | directory | file by file | its files are |

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};

use super::descriptor;
use super::partial::directory_of;

/// Symbolic links without a file at their end that are followed, as many as the system follows.
const MAX_LINKS: usize = 40;

/// The kind of a local output, as it is on the system at this moment.
#[derive(Debug)]
pub enum TargetKind {
    /// A regular file, or a name without one.
    File(FileTarget),
    /// An open descriptor of this process, by its number.
    Descriptor(i32),
    /// A device, a named pipe or a socket.
    Device,
    /// A directory.
    Directory,
}

/// The regular file that an output replaces or creates.
#[derive(Debug)]
pub struct FileTarget {
    /// The path of the file itself: symbolic links are resolved, also those to a file that does not exist yet.
    pub path: PathBuf,
    /// The file that is there; `None` if the output creates it.
    pub existing: Option<Metadata>,
}

impl TargetKind {
    /// Finds the kind of `path`. Opens nothing. Fails if the system does not tell, for example for a directory that may
    /// not be searched; a name in a directory that does not exist is a file, whose creation fails.
    pub fn of(path: &Path) -> io::Result<Self> {
        if let Some(number) = descriptor::number_of(path) {
            return Ok(TargetKind::Descriptor(number));
        }
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => Ok(TargetKind::Directory),
            Ok(metadata) if !metadata.is_file() => Ok(TargetKind::Device),
            Ok(metadata) => {
                let real = fs::canonicalize(path)?;
                // The name of another process's open file may lead to a file that replaced it, or to none.
                match fs::metadata(&real) {
                    Ok(found) if identity(&found) == identity(&metadata) => {
                        Ok(TargetKind::File(FileTarget { path: real, existing: Some(metadata) }))
                    }
                    _ => Err(io::Error::new(io::ErrorKind::NotFound, "the file was replaced or removed")),
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Ok(TargetKind::File(FileTarget { path: missing(path)?, existing: None }))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns true if the output at `path` is written where it stands, so that a reader may wait for each write.
    pub fn is_stream(path: &Path) -> bool {
        matches!(TargetKind::of(path), Ok(TargetKind::Descriptor(_) | TargetKind::Device))
    }

    /// Opens the stream at `path` for writing where it stands: a descriptor shares its position with other programs. Fails
    /// with [`io::ErrorKind::InvalidInput`] for other paths.
    pub fn open_stream(path: &Path) -> io::Result<File> {
        match TargetKind::of(path)? {
            TargetKind::Descriptor(number) => descriptor::duplicate(number),
            TargetKind::Device => File::options().write(true).open(path),
            TargetKind::File(_) | TargetKind::Directory => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Returns the file at `path` if there is a regular one; `None` for other outputs, which must not be read.
    pub fn existing_file(path: &Path) -> Option<PathBuf> {
        match TargetKind::of(path) {
            Ok(TargetKind::File(FileTarget { path, existing: Some(_) })) => Some(path),
            _ => None,
        }
    }

    /// Checks that an output can be written at `path`, as far as that can be known without writing it. With
    /// `no_clobber`, an existing file is an error. Leaves nothing behind.
    pub fn check_writable(path: &Path, no_clobber: bool) -> io::Result<()> {
        match TargetKind::of(path)? {
            TargetKind::File(file) => {
                if no_clobber && file.existing.is_some() {
                    return Err(io::Error::new(io::ErrorKind::AlreadyExists, "the file exists"));
                }
                file.check_replaceable()?;
                check_can_create_file(directory_of(&file.path))
            }
            // The descriptor itself stays open, so that no reader takes this for the end.
            TargetKind::Descriptor(number) => descriptor::duplicate(number).map(drop),
            // Not opened: a named pipe blocks until it has a reader, and its reader would take a close for the end.
            TargetKind::Device => {
                rustix::fs::accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).map_err(io::Error::from)
            }
            TargetKind::Directory => Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a directory")),
        }
    }

    /// Returns true if two outputs, or an output and an input, are the same: one descriptor, one pipe, or one file, by
    /// any of its names. Files that do not exist yet are compared by their paths, and so are devices. Two descriptors with
    /// one terminal or pipe behind them are not the same: the shell made them so.
    pub fn is_same(a: &Path, b: &Path) -> bool {
        let (Ok(kind_a), Ok(kind_b)) = (TargetKind::of(a), TargetKind::of(b)) else { return a == b };
        match (&kind_a, &kind_b) {
            (TargetKind::Descriptor(a), TargetKind::Descriptor(b)) => {
                let file = |number: i32| fs::metadata(descriptor::path_of(number)).ok().filter(Metadata::is_file);
                a == b || matches!((file(*a), file(*b)), (Some(a), Some(b)) if identity(&a) == identity(&b))
            }
            (TargetKind::Descriptor(number), _) => is_same_file(&descriptor::path_of(*number), b),
            (_, TargetKind::Descriptor(number)) => is_same_file(a, &descriptor::path_of(*number)),
            (TargetKind::File(file_a), TargetKind::File(file_b)) if file_a.path == file_b.path => true,
            _ => is_same_file(a, b) || fs::canonicalize(a).is_ok_and(|a| fs::canonicalize(b).is_ok_and(|b| a == b)),
        }
    }

    /// Returns true if the output at `output` is a descriptor with the file `input` behind it: what is written would be
    /// read again.
    pub fn feeds_itself(output: &Path, input: &Path) -> bool {
        let Ok(TargetKind::Descriptor(number)) = TargetKind::of(output) else { return false };
        let (Ok(output), Ok(input)) = (fs::metadata(descriptor::path_of(number)), fs::metadata(input)) else {
            return false;
        };
        output.is_file() && identity(&output) == identity(&input)
    }
}

impl FileTarget {
    /// Fails if the file that is there cannot be replaced by a rename, whatever its permissions.
    pub(super) fn check_replaceable(&self) -> io::Result<()> {
        let Some(existing) = &self.existing else { return Ok(()) };
        let directory = directory_of(&self.path);
        // A directory that cannot be looked at is reported when a file is created in it.
        let Ok(around) = fs::metadata(directory) else { return Ok(()) };
        if is_mount_point(&self.path, existing, &around) {
            return Err(io::Error::new(
                io::ErrorKind::ResourceBusy,
                "it is a mount point, and no file can take its place",
            ));
        }
        if let Some(why) = forbidden_by_attributes(&self.path, directory) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        if !may_rename_in_sticky(&self.path, existing, &around) {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "it belongs to another user, and only its owner may replace it in this directory (sticky)",
            ));
        }
        Ok(())
    }

    /// Returns a note on the other names of the file, which keep its old contents; `None` if it has none.
    pub(super) fn note_on_links(&self) -> Option<String> {
        let others = self.existing.as_ref()?.nlink().saturating_sub(1);
        (others > 0).then(|| {
            let (names, keep) = if others == 1 { ("name", "keeps") } else { ("names", "keep") };
            format!("the file had {others} other {names} (hard links), which {keep} the old contents")
        })
    }
}

/// Returns device and inode, which identify a file under all of its names.
pub(super) fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Returns true if both paths lead to one file, pipe or socket. Several programs share a device, which is never the same.
fn is_same_file(a: &Path, b: &Path) -> bool {
    let found = |path: &Path| fs::metadata(path).ok().filter(|metadata| !is_shared_device(metadata));
    matches!((found(a), found(b)), (Some(a), Some(b)) if identity(&a) == identity(&b))
}

/// Returns true for terminals, `/dev/null` and the like.
fn is_shared_device(metadata: &Metadata) -> bool {
    metadata.file_type().is_char_device() || metadata.file_type().is_block_device()
}

/// Resolves the path of a file that does not exist, through the links at its end: the file is created where the last of
/// them leads.
fn missing(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(link) = fs::read_link(&path) else {
            // The same directory has one name then, whatever links lead to it.
            let name =
                path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "has no file name"))?;
            return Ok(match fs::canonicalize(directory_of(&path)) {
                Ok(directory) => directory.join(name),
                Err(_) => path,
            });
        };
        path = directory_of(&path).join(link);
    }
    Err(rustix::io::Errno::LOOP.into())
}

/// Returns true if something is mounted on the file, as containers do with single files.
fn is_mount_point(path: &Path, existing: &Metadata, around: &Metadata) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{StatxAttributes, StatxFlags, statx};

        // Only this recognizes a file of the same file system.
        let asked = statx(CWD, path, AtFlags::empty(), StatxFlags::empty());
        if let Ok(asked) = asked.as_ref().map(|found| (found.stx_attributes_mask, found.stx_attributes))
            && asked.0.contains(StatxAttributes::MOUNT_ROOT)
        {
            return asked.1.contains(StatxAttributes::MOUNT_ROOT);
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = path;
    existing.dev() != around.dev()
}

/// Returns the reason for which an attribute of the file or of its directory forbids a rename, also to root.
fn forbidden_by_attributes(path: &Path, directory: &Path) -> Option<&'static str> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{StatxAttributes, StatxFlags, statx};

        let has = |path: &Path, attributes: StatxAttributes| {
            statx(CWD, path, AtFlags::empty(), StatxFlags::empty())
                .is_ok_and(|found| found.stx_attributes.intersects(attributes))
        };
        if has(path, StatxAttributes::IMMUTABLE | StatxAttributes::APPEND) {
            return Some("it is marked as immutable or append-only");
        }
        if has(directory, StatxAttributes::IMMUTABLE | StatxAttributes::APPEND) {
            return Some("its directory is marked as immutable or append-only");
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (path, directory);
    None
}

/// Returns false if the directory is sticky, as `/tmp` is, and neither it nor the file belongs to this user.
fn may_rename_in_sticky(path: &Path, existing: &Metadata, around: &Metadata) -> bool {
    const STICKY: u32 = 0o1000;
    let own = rustix::process::geteuid().as_raw();
    if around.mode() & STICKY == 0 || existing.uid() == own || around.uid() == own {
        return true;
    }
    // A capability may allow it all the same, but not for owners outside of this user namespace. Only the system knows
    // that, and it says so for the rename of a directory onto the file, which then fails in any case, for its type.
    let Ok(probe) = tempfile::Builder::new().prefix(".drawoff-").suffix(".partial").tempdir_in(directory_of(path))
    else {
        return false;
    };
    fs::rename(probe.path(), path).is_err_and(|error| error.kind() == io::ErrorKind::NotADirectory)
}

/// Fails if no file can be created in `directory`. Leaves nothing behind.
pub fn check_can_create_file(directory: &Path) -> io::Result<()> {
    // Permissions, quotas and read-only mounts are known only to the system, so a file is created and dropped. It is
    // unnamed, so a kill leaves nothing behind.
    tempfile::tempfile_in(directory).map(drop).map_err(|error| {
        // The library's error repeats the directory, which the message contains already.
        if error.kind() == io::ErrorKind::NotFound {
            return io::Error::new(io::ErrorKind::NotFound, "no such directory");
        }
        error.raw_os_error().map_or_else(|| io::Error::from(error.kind()), io::Error::from_raw_os_error)
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn file(path: &Path) -> FileTarget {
        match TargetKind::of(path).unwrap() {
            TargetKind::File(file) => file,
            other => panic!("{}: {other:?}", path.display()),
        }
    }

    #[test]
    fn every_name_has_one_kind() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| fs::canonicalize(directory.path()).unwrap().join(name);
        fs::write(at("there"), "x").unwrap();
        assert!(file(&at("there")).existing.is_some());
        assert!(file(&at("new")).existing.is_none());
        assert!(matches!(TargetKind::of(directory.path()), Ok(TargetKind::Directory)));
        assert!(matches!(TargetKind::of(Path::new("/dev/null")), Ok(TargetKind::Device)));
        assert!(matches!(TargetKind::of(Path::new("/dev/stdout")), Ok(TargetKind::Descriptor(1))));
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        assert!(matches!(TargetKind::of(&at("socket")), Ok(TargetKind::Device)));
        // A name behind a file, and one without an end.
        assert!(TargetKind::of(&at("there/x")).is_err());
        symlink("circle", at("circle")).unwrap();
        assert!(TargetKind::of(&at("circle")).is_err());
        assert_eq!(TargetKind::existing_file(&at("there")), Some(at("there")));
        assert_eq!(TargetKind::existing_file(Path::new("/dev/null")), None);
    }

    #[test]
    fn links_lead_to_files_that_exist_and_that_do_not() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| fs::canonicalize(directory.path()).unwrap().join(name);
        fs::create_dir(at("sub")).unwrap();
        fs::write(at("sub/there"), "x").unwrap();
        for (link, to) in [("a", "sub/there"), ("b", "sub/new"), ("sub/c", "d"), ("sub/d", "../new"), ("e", "no/new")] {
            symlink(to, at(link)).unwrap();
        }
        assert_eq!(file(&at("a")).path, at("sub/there"));
        assert_eq!(file(&at("b")).path, at("sub/new"));
        assert_eq!(file(&at("sub/c")).path, at("new"));
        assert_eq!(file(&at("e")).path, at("no/new"));
        assert!(TargetKind::is_same(&at("b"), &at("sub/../sub/new")));
        assert_eq!(TargetKind::check_writable(&at("e"), false).unwrap_err().kind(), io::ErrorKind::NotFound);
        TargetKind::check_writable(&at("b"), true).unwrap();
        assert_eq!(TargetKind::check_writable(&at("a"), true).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn one_file_is_the_same_under_all_of_its_names() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("a"), "x").unwrap();
        fs::hard_link(at("a"), at("b")).unwrap();
        symlink("a", at("c")).unwrap();
        assert!(TargetKind::is_same(&at("a"), &at("b")) && TargetKind::is_same(&at("b"), &at("c")));
        assert!(!TargetKind::is_same(&at("a"), &at("d")) && TargetKind::is_same(&at("d"), &at("d")));
        assert!(TargetKind::is_same(Path::new("/dev/stdout"), Path::new("/dev/fd/1")));
        assert!(TargetKind::is_same(Path::new("/dev/null"), Path::new("/dev/../dev/null")));
        assert!(!TargetKind::is_same(Path::new("/dev/null"), Path::new("/dev/zero")));
        assert!(file(&at("a")).note_on_links().unwrap().contains("1 other name"));
    }

    #[test]
    fn check_and_probe_leave_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        TargetKind::check_writable(&path, false).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        fs::write(&path, "x").unwrap();
        TargetKind::check_writable(&path, false).unwrap();
        let existing = fs::metadata(&path).unwrap();
        assert!(may_rename_in_sticky(&path, &existing, &fs::metadata(directory.path()).unwrap()));
        assert_eq!(fs::read(&path).unwrap(), b"x");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }
}
