//! The final names of the outputs of one execution. Some are known only at its end, such as those of further sheets and
//! those in a directory, so that no earlier check of the typed names finds that two of them are one.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::pipeline::error::Error;
use crate::sink::TargetKind;

/// The error of two outputs, or of an output and the rejects file, with one final name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two outputs have this name; nothing was written")]
pub struct SharedName;

/// Fails if one of the files would replace another when they are committed.
pub(crate) fn check_names(paths: impl Iterator<Item = PathBuf>) -> Result<(), Error> {
    let mut taken = HashSet::new();
    for path in paths {
        if !taken.insert(real(&path)) {
            return Err(Error::write(&path, std::io::Error::other(SharedName)));
        }
    }
    Ok(())
}

/// Returns the path of the file itself, which has one name whatever links lead to it.
fn real(path: &Path) -> PathBuf {
    match TargetKind::of(path) {
        Ok(TargetKind::File(file)) => file.path,
        _ => path.to_owned(),
    }
}

/// Returns the path of the numbered file: `people-2.csv.gz` for `people.csv.gz` and 2, the path itself for 1.
pub(super) fn numbered(path: &Path, number: u32) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    let (stem, extension) = around_number(path);
    path.with_file_name(OsStr::from_bytes(&[stem, format!("-{number}").as_bytes(), extension].concat()))
}

/// Returns the parts of a file name before and behind the number of its sheet.
fn around_number(path: &Path) -> (&[u8], &[u8]) {
    // Bytes, because the name need not be UTF-8. The leading dot of a hidden file begins no extension.
    let name = path.file_name().unwrap_or_default().as_bytes();
    let dot = name.iter().skip(1).position(|byte| *byte == b'.').map_or(name.len(), |at| at + 1);
    name.split_at(dot)
}

/// Returns true if the sheets of the output `path` may continue in the file `other`. Links to it are followed.
pub fn may_continue_in(path: &Path, other: &Path) -> bool {
    let parent = |path: &Path| path.parent().map(|parent| parent.to_owned()).unwrap_or_default();
    let real = |path: PathBuf| if path.as_os_str().is_empty() { PathBuf::from(".") } else { path }.canonicalize();
    let (Ok(directory), Ok(other)) = (real(parent(path)), other.canonicalize()) else { return false };
    let (stem, extension) = around_number(path);
    let name = other.file_name().unwrap_or_default().as_bytes();
    let number = name.strip_prefix(stem).and_then(|rest| rest.strip_prefix(b"-")?.strip_suffix(extension));
    other.parent() == Some(&directory) && number.is_some_and(|n| !n.is_empty() && n.iter().all(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sheets_are_numbered_before_their_extensions() {
        for (name, second) in [("d/a.csv.gz", "d/a-2.csv.gz"), ("a", "a-2"), (".a.csv", ".a-2.csv")] {
            assert_eq!(numbered(Path::new(name), 2), Path::new(second));
            assert_eq!(numbered(Path::new(name), 1), Path::new(name));
        }
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for name in ["a-2.csv.gz", "a-12.csv.gz", "a-2.csv", "a-x.csv.gz", "a-.csv.gz", "a.csv.gz", "b-2.csv.gz"] {
            std::fs::write(at(name), "").unwrap();
            assert_eq!(may_continue_in(&at("a.csv.gz"), &at(name)), ["a-2.csv.gz", "a-12.csv.gz"].contains(&name));
        }
        std::os::unix::fs::symlink("a-2.csv.gz", at("link")).unwrap();
        assert!(may_continue_in(&at("a.csv.gz"), &at("link")));
        let latin1 = |bytes| Path::new(OsStr::from_bytes(bytes));
        assert_eq!(numbered(latin1(b"\xe9t\xe9.csv"), 3), latin1(b"\xe9t\xe9-3.csv"));
    }
}
