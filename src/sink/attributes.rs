//! The attributes of a file that is replaced: mode, owner, group, access control list and other extended attributes.
//! The file that takes its place gets them before it has contents, so that these are never readable for more users than
//! the old ones were.

use std::fs::{File, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, fchown};
use std::path::Path;

#[cfg(target_os = "linux")]
use rustix::fs::{XattrFlags, fremovexattr, fsetxattr, getxattr, listxattr};
#[cfg(target_os = "linux")]
use rustix::io::Errno;

/// Mode of a new file until it has the attributes of the old one.
pub(super) const PRIVATE_MODE: u32 = 0o600;

/// The extended attribute of the access control list.
#[cfg(target_os = "linux")]
const ACL: &[u8] = b"system.posix_acl_access";

/// Extended attributes that describe the old contents, or give rights to a program.
#[cfg(target_os = "linux")]
const NOT_COPIED: [&[u8]; 3] = [b"security.capability", b"security.ima", b"security.evm"];

/// Bytes that the list of names and one value may have at most; Linux has no larger ones.
#[cfg(target_os = "linux")]
const MAX_XATTR_BYTES: usize = 64 << 10;

/// Gives `new`, which has no contents and [`PRIVATE_MODE`], the attributes of the file `old` at `path`, as far as the
/// system permits that. If the group or the access control list cannot be kept, the group gets no more rights than all
/// others have. Returns the mode for [`set_mode`]: until then the owner may read and write the file.
pub(super) fn take_over(path: &Path, old: &Metadata, new: &File) -> u32 {
    let keeps_group = take_owner(old, new);
    let keeps_acl = take_xattrs(path, new);
    let mut mode = old.mode() & 0o777;
    if !(keeps_group && keeps_acl) {
        mode &= 0o707 | (mode & 0o007) << 3;
    }
    set_mode(new, mode | PRIVATE_MODE);
    mode
}

/// Sets the mode, where the file system has modes.
pub(super) fn set_mode(file: &File, mode: u32) {
    let _ = file.set_permissions(Permissions::from_mode(mode));
}

/// Returns true if `new` has the group of `old` afterwards.
fn take_owner(old: &Metadata, new: &File) -> bool {
    let Ok(own) = new.metadata() else { return false };
    if own.uid() != old.uid() && fchown(new, Some(old.uid()), Some(old.gid())).is_ok() {
        return true;
    }
    // Only root gives files away; a user may set a group that they belong to.
    own.gid() == old.gid() || fchown(new, None, Some(old.gid())).is_ok()
}

/// Access control lists of other systems are not extended attributes, and are not copied.
#[cfg(not(target_os = "linux"))]
fn take_xattrs(_: &Path, _: &File) -> bool {
    true
}

/// Copies the extended attributes. Returns true if `new` has the same access control list as the file at `path`.
#[cfg(target_os = "linux")]
fn take_xattrs(path: &Path, new: &File) -> bool {
    let mut names = vec![0; MAX_XATTR_BYTES];
    let names = match listxattr(path, &mut names[..]) {
        Ok(len) => &names[..len],
        // A file system without any.
        Err(Errno::NOTSUP | Errno::NOSYS) => return true,
        Err(_) => return false,
    };
    let names: Vec<&[u8]> = names.split(|byte| *byte == 0).filter(|name| !name.is_empty()).collect();
    let mut value = vec![0; if names.is_empty() { 0 } else { MAX_XATTR_BYTES }];
    let mut keeps_acl = true;
    for name in names.iter().filter(|name| !NOT_COPIED.contains(name)) {
        let set = getxattr(path, *name, &mut value[..])
            .and_then(|len| fsetxattr(new, *name, &value[..len], XattrFlags::empty()));
        // The system keeps some for itself, such as those of other users' security modules.
        if set.is_err() && *name == ACL {
            keeps_acl = false;
        }
    }
    // The directory's default list, which the old file does not have.
    if !names.contains(&ACL) {
        keeps_acl = matches!(fremovexattr(new, ACL), Ok(()) | Err(Errno::NODATA | Errno::NOTSUP | Errno::NOSYS));
    }
    keeps_acl
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replaced(mode: u32, prepare: impl Fn(&File)) -> (Metadata, File, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("old");
        let old = File::create(&path).unwrap();
        old.set_permissions(Permissions::from_mode(mode)).unwrap();
        prepare(&old);
        let new = tempfile::tempfile_in(directory.path()).unwrap();
        let mode = take_over(&path, &old.metadata().unwrap(), &new);
        set_mode(&new, mode);
        (new.metadata().unwrap(), new, directory)
    }

    #[test]
    fn the_mode_is_kept_whatever_the_umask() {
        for mode in [0o600, 0o640, 0o664, 0o666, 0o400, 0o755] {
            assert_eq!(replaced(mode, |_| {}).0.mode() & 0o7777, mode, "{mode:o}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn extended_attributes_are_kept() {
        let (_, new, _directory) = replaced(0o600, |old| {
            // Some file systems have none.
            let _ = fsetxattr(old, "user.origin", b"here", XattrFlags::empty());
        });
        let mut value = [0; 16];
        match rustix::fs::fgetxattr(&new, "user.origin", &mut value[..]) {
            Ok(len) => assert_eq!(&value[..len], b"here"),
            Err(error) => assert!(matches!(error, Errno::NOTSUP | Errno::NODATA), "{error}"),
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn access_control_lists_are_kept_and_none_is_inherited() {
        // Version 2; owner rw-, user 12345 r--, group ---, mask r--, others ---: tag, permissions and id of each.
        let entry = |tag: u16, permissions: u16, id: u32| {
            [tag.to_le_bytes().as_slice(), &permissions.to_le_bytes(), &id.to_le_bytes()].concat()
        };
        let none = u32::MAX;
        let entries =
            [entry(1, 6, none), entry(2, 4, 12345), entry(4, 0, none), entry(16, 4, none), entry(32, 0, none)];
        let acl = [2u32.to_le_bytes().to_vec(), entries.concat()].concat();
        let has = |file: &File| {
            let mut value = [0; 128];
            rustix::fs::fgetxattr(file, ACL, &mut value[..]).map(|len| value[..len].to_vec())
        };
        let (metadata, new, directory) = replaced(0o640, |old| {
            let _ = fsetxattr(old, ACL, &acl, XattrFlags::empty());
        });
        let old = File::open(directory.path().join("old")).unwrap();
        // The file system may have no lists.
        if has(&old).is_err() {
            return;
        }
        assert_eq!(has(&new), has(&old));
        assert_eq!(metadata.mode() & 0o777, 0o640);

        let default = "system.posix_acl_default";
        rustix::fs::setxattr(directory.path(), default, &acl, XattrFlags::empty()).unwrap();
        let path = directory.path().join("plain");
        std::fs::write(&path, "").unwrap();
        let plain = File::open(&path).unwrap();
        fremovexattr(&plain, ACL).unwrap();
        let inheriting = tempfile::tempfile_in(directory.path()).unwrap();
        take_over(&path, &plain.metadata().unwrap(), &inheriting);
        assert!(has(&inheriting).is_err());
    }
}
