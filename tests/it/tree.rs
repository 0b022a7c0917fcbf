//! The files of the repository: commands and tests leave none behind. `.ci/run` also fails if the checkout changes.

use std::process::Command;

use crate::support::{root, skip};

/// Parts of the names of files that a command or a test tool leaves where it ran.
const LEAVINGS: [&str; 6] = ["_SUCCESS", "_manifest.json", "part-0", ".pending-snap", ".partial", ".rejects."];

#[test]
fn no_temporary_files_are_committed() {
    let output = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output();
    let Ok(output) = output else { return skip("git is not installed") };
    if !output.status.success() {
        // A copy of the sources without its history.
        return;
    }
    let names = String::from_utf8(output.stdout).unwrap();
    let files: Vec<&str> = names.split('\0').filter(|name| !name.is_empty()).collect();
    assert!(files.contains(&"Cargo.toml"), "{files:?}");
    let left: Vec<&&str> = files.iter().filter(|file| LEAVINGS.iter().any(|mark| file.contains(mark))).collect();
    assert!(left.is_empty(), "{left:?}");
}
