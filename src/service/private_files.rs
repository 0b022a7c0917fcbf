//! Files of the data directory: readable by their owner only, because rows are personal data, and regular files only,
//! because a link in a data directory of another origin would lead out of it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// Opens a file of the data directory for reading. Fails for anything but a regular file: links are not followed.
pub(super) fn open(path: &Path) -> io::Result<File> {
    check_regular(path)?;
    let mut options = OpenOptions::new();
    options.read(true);
    // The check above gives the message; this holds even if the file is replaced in between.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, NO_FOLLOW);
    options.open(path)
}

/// Creates a file, or truncates it, with mode 0600. Fails if the path is a link.
pub(super) fn create(path: &Path) -> io::Result<File> {
    open_for_writing(path, true)
}

/// Opens a file for writing and keeps its contents; creates it with mode 0600 if absent. Fails if the path is a link.
pub(super) fn open_or_create(path: &Path) -> io::Result<File> {
    open_for_writing(path, false)
}

fn open_for_writing(path: &Path, truncate: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(truncate).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600).custom_flags(NO_FOLLOW);
    }
    options.open(path)
}

/// Creates the data directory with mode 0700, and its parents, if absent. It may be a link: the user chose it.
pub(super) fn create_root(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Creates a directory below the data directory with mode 0700, if absent. Fails if it exists as a link.
pub(super) fn create_directory(path: &Path) -> io::Result<()> {
    create_root(path)?;
    check_directory(path)
}

/// Fails unless the path is a regular file, and not a link to one.
pub(super) fn check_regular(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path)?.is_file() {
        true => Ok(()),
        false => Err(not_followed(path, "regular file")),
    }
}

/// Fails unless the path is a directory, and not a link to one.
pub(super) fn check_directory(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path)?.is_dir() {
        true => Ok(()),
        false => Err(not_followed(path, "directory")),
    }
}

fn not_followed(path: &Path, expected: &str) -> io::Error {
    let text = format!("{} is not a {expected}; the service follows no links in its data directory", path.display());
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// Takes access to a file from group and others, if they have any.
pub(super) fn restrict_file(path: &Path) -> io::Result<()> {
    restrict(path, 0o600)
}

/// Takes access to a directory from group and others. If they had any, which is so for one that another program or an
/// earlier version made, takes access to everything below it too.
pub(super) fn restrict_directory(path: &Path) -> io::Result<()> {
    if !is_open_to_others(path)? {
        return Ok(());
    }
    // First the directory, so that no other process opens a file below it meanwhile.
    restrict(path, 0o700)?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        // The type of the entry itself: a link is neither, and is not followed.
        let kind = entry.file_type()?;
        if kind.is_dir() {
            restrict_directory(&entry.path())?;
        } else if kind.is_file() {
            restrict_file(&entry.path())?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn restrict(path: &Path, mode: u32) -> io::Result<()> {
    match mode_for_others(path)? {
        0 => Ok(()),
        _ => fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)),
    }
}

/// Other systems have no such modes.
#[cfg(not(unix))]
fn restrict(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

/// Returns the permissions of group and others, 0 if they have none.
#[cfg(unix)]
fn mode_for_others(path: &Path) -> io::Result<u32> {
    use std::os::unix::fs::PermissionsExt as _;
    Ok(fs::metadata(path)?.permissions().mode() & 0o077)
}

/// Returns true if other users of the machine may list or change the directory.
pub(super) fn is_open_to_others(directory: &Path) -> io::Result<bool> {
    #[cfg(unix)]
    return Ok(mode_for_others(directory)? != 0);
    #[cfg(not(unix))]
    return fs::metadata(directory).map(|_| false);
}

/// Flag of `open` that refuses links.
#[cfg(unix)]
const NO_FOLLOW: i32 = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();

#[cfg(all(test, unix))]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (victim, link) = (directory.path().join("victim"), directory.path().join("link"));
        fs::write(&victim, "secret").unwrap();
        symlink(&victim, &link).unwrap();
        let error = open(&link).unwrap_err().to_string();
        assert!(error.contains("is not a regular file; the service follows no links"), "{error}");
        assert!(create(&link).is_err() && open_or_create(&link).is_err());
        assert_eq!(fs::read_to_string(&victim).unwrap(), "secret");
        assert!(open(directory.path()).is_err());
        let folder = directory.path().join("folder");
        symlink(directory.path(), &folder).unwrap();
        assert!(check_directory(&folder).is_err() && check_directory(directory.path()).is_ok());
        let mut text = String::new();
        open(&victim).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "secret");
    }

    #[test]
    fn files_are_for_their_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        create(&path).unwrap().write_all(b"abc").unwrap();
        assert_eq!(mode(&path), 0o600);
        open_or_create(&path).unwrap().write_all(b"x").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "xbc");
        let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let (inner, outside) = (directory.path().join("inner"), tempfile::NamedTempFile::new().unwrap());
        create_directory(&inner).unwrap();
        let deep = inner.join("deep");
        create(&deep).unwrap();
        symlink(outside.path(), inner.join("link")).unwrap();
        for (path, mode) in [(&*path, 0o644), (&deep, 0o664), (outside.path(), 0o644), (&inner, 0o755)] {
            open(path, mode);
        }
        open(directory.path(), 0o755);
        assert!(is_open_to_others(directory.path()).unwrap());
        restrict_directory(directory.path()).unwrap();
        assert!(!is_open_to_others(directory.path()).unwrap());
        let modes = [directory.path(), &path, &inner, &deep, outside.path()].map(mode);
        assert_eq!(modes, [0o700, 0o600, 0o700, 0o600, 0o644]);
    }
}
