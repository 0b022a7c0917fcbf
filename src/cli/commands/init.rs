//! `init`: writes a workflow definition and a sample of its input, to begin with. Never changes a file that is there.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::cli::context::Context;
use crate::cli::error::{Error, Failure};
use crate::cli::exit::Exit;
use crate::cli::shell::shell_quoted;

/// The files and their contents.
const FILES: [(&str, &str); 2] =
    [("workflow.json", include_str!("begin/workflow.json")), ("companies.csv", include_str!("begin/companies.csv"))];

/// Creates `directory` if it does not exist, and the files in it. Fails before it writes if one of them is there.
pub(crate) fn init(context: &Context, directory: &Path) -> Result<Exit, Failure> {
    // Of a name such as `-x` the commands below would make a flag.
    let directory = &match directory.to_string_lossy().starts_with('-') {
        true => Path::new(".").join(directory),
        false => directory.to_owned(),
    };
    let paths: Vec<PathBuf> = FILES.iter().map(|(name, _)| directory.join(name)).collect();
    if let Some(there) = paths.iter().find(|path| fs::symlink_metadata(path).is_ok()) {
        return Err(exists(there.clone()));
    }
    fs::create_dir_all(directory).map_err(|cause| match cause.kind() {
        io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => exists(directory.clone()),
        _ => Error::Write { path: directory.clone(), cause }.into(),
    })?;
    for (path, (_, contents)) in paths.iter().zip(FILES) {
        // Another command may have created the file meanwhile.
        let written = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(path)
            .and_then(|mut file| file.write_all(contents.as_bytes()));
        written.map_err(|cause| match cause.kind() {
            io::ErrorKind::AlreadyExists => exists(path.clone()),
            _ => Error::Write { path: path.clone(), cause }.into(),
        })?;
    }
    let written: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    context.screen.note(&format!("wrote {}", written.join(" and ")));
    let typed: Vec<String> = paths.iter().map(|path| shell_quoted(&path.to_string_lossy())).collect();
    let (workflow, input) = (&typed[0], &typed[1]);
    context.screen.note(&format!("look at the input:   drawoff head {input}"));
    context.screen.note(&format!("run it here:         drawoff run {workflow} --local --input {input} -o results.csv"));
    context.screen.note(&format!("run it as hosted:    drawoff run {workflow} --input {input} -o results.csv"));
    context.screen.note("check key and URL:   drawoff doctor");
    Ok(Exit::Success)
}

fn exists(path: PathBuf) -> Failure {
    let cause = io::Error::new(io::ErrorKind::AlreadyExists, "it exists, and is not changed");
    Failure::new(Error::Write { path, cause }, "choose another directory: `drawoff init DIR`")
}
