//! The checks of outputs and rejects files before a run is started or a byte is read: whether every one of them can be
//! written, and whether none of them replaces an input or another output. They leave nothing behind.

use std::io;
use std::path::{Path, PathBuf};

use super::args::PipelineArgs;
use super::error::{Error, Failure};
use super::place_names::check_file;
use crate::format::{NamedFormat, SourceCodec};
use crate::pipeline::{
    Directory, OnBadRecord, Output, Target, check_results_replaceable, is_rejects_file, is_result, may_continue_in,
};
use crate::sink::{TargetKind, check_can_create_file};

/// Path of standard output as a name of an output.
const STDOUT_PATH: &str = "/dev/stdout";

/// Path of standard input as a name of an input.
const STDIN_PATH: &str = "/dev/stdin";

/// Checks all outputs and the rejects file. `inputs` are the files that are read; `-` is standard input.
pub(super) fn check(args: &PipelineArgs, outputs: &[Output], inputs: &[&Path]) -> Result<(), Failure> {
    outputs.iter().try_for_each(|output| check_writable(output, inputs))?;
    check_rejects(args, outputs, inputs)
}

/// Checks outputs and rejects file as [`check`] does, but for those in stores, which were asked before the inputs were
/// known.
pub(super) fn check_inputs(args: &PipelineArgs, outputs: &[Output], inputs: &[&Path]) -> Result<(), Failure> {
    let local = outputs.iter().filter(|output| local_path(&output.target).is_some());
    local.into_iter().try_for_each(|output| check_writable(output, inputs))?;
    check_rejects(args, outputs, inputs)
}

/// Fails if an output cannot be written: if its directory does not exist or is not writable, if its file cannot be
/// replaced, if a directory has its name, if `--no-clobber` refuses an existing file, or if it is one of `inputs`.
fn check_writable(output: &Output, inputs: &[&Path]) -> Result<(), Failure> {
    let (path, no_clobber) = match &output.target {
        // Stores are asked by `super::store_checks`.
        Target::Channel(_)
        | Target::Object(_)
        | Target::Table(_)
        | Target::Directory(Directory { store: Some(_), .. }) => return Ok(()),
        Target::Stdout => return check_not_fed(Path::new(STDOUT_PATH), inputs),
        Target::File { path, no_clobber, .. } => (path, *no_clobber),
        Target::Directory(directory) => return check_directory(directory, inputs),
    };
    TargetKind::check_writable(path, no_clobber).map_err(|cause| Error::Write { path: path.clone(), cause })?;
    if let Some(input) = inputs.iter().find(|input| is_input(path, input)) {
        return Err(Error::Usage(format!("{} is an input and cannot be an output", input.display())).into());
    }
    if output.is_sheets()
        && let Some(input) = inputs.iter().find(|input| may_continue_in(path, input))
    {
        let (input, shown) = (input.display(), path.display());
        let error = Error::Usage(format!("{input} is an input, and {shown} may continue in a file of that name"));
        return Err(Failure::new(error, "give the output another name or directory"));
    }
    check_not_fed(path, inputs)
}

/// Fails if `output` is one of the files that are read.
pub(super) fn require_not_input(output: &Path, inputs: &[PathBuf]) -> Result<(), Failure> {
    match inputs.iter().find(|input| is_input(output, input)) {
        Some(input) => Err(Error::Usage(format!("{} is an input and cannot be an output", input.display())).into()),
        None => Ok(()),
    }
}

/// Returns true if `output` is the file `input`, by any name. Standard input is no name that an output could have.
fn is_input(output: &Path, input: &Path) -> bool {
    input != Path::new("-") && TargetKind::is_same(input, output)
}

/// Fails if rows that are written to a stream go into a file that is read: the input would never end.
fn check_not_fed(output: &Path, inputs: &[&Path]) -> Result<(), Failure> {
    let path = |input: &Path| if input == Path::new("-") { Path::new(STDIN_PATH).to_owned() } else { input.to_owned() };
    match inputs.iter().find(|input| TargetKind::feeds_itself(output, &path(input))) {
        None => Ok(()),
        Some(input) => {
            let input =
                if *input == Path::new("-") { "standard input".to_owned() } else { input.display().to_string() };
            let error =
                Error::Usage(format!("{input} is an input and cannot be an output: the output goes into its file"));
            Err(Failure::new(error, "write to another file"))
        }
    }
}

/// Fails if files cannot be written into a directory, if it cannot be created, or if an input is one of its results.
fn check_directory(directory: &Directory, inputs: &[&Path]) -> Result<(), Failure> {
    let path = &directory.path;
    if let Some(input) = inputs.iter().find(|input| is_result(path, input)) {
        let error = Error::Usage(format!(
            "{} is an input and a result in {}: its rows would be there twice",
            input.display(),
            path.display()
        ));
        return Err(Failure::new(error, "write to another directory"));
    }
    let fail = |cause: io::Error| Failure::from(Error::Write { path: path.clone(), cause });
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => {
            Err(fail(io::Error::new(io::ErrorKind::NotADirectory, "it is a file, not a directory")))
        }
        // Other files may be in the directory; its manifest marks the results of drawoff.
        Ok(_) if directory.no_clobber && path.join("_manifest.json").exists() => {
            Err(fail(io::Error::new(io::ErrorKind::AlreadyExists, "the directory contains results")))
        }
        Ok(_) => {
            check_can_create_file(path).map_err(fail)?;
            check_results_replaceable(directory).map_err(fail)
        }
        // The directory is created later, so its parent must be writable.
        Err(_) => {
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            check_can_create_file(parent).map_err(fail)
        }
    }
}

/// Returns true if both outputs are the same file, directory, object or stream, by any name.
pub(super) fn is_same_target(a: &Target, b: &Target) -> bool {
    match (a, b) {
        (Target::Object(a), Target::Object(b)) => a.url == b.url,
        (Target::Table(a), Target::Table(b)) => a == b,
        (Target::Directory(Directory { store: Some(a), .. }), Target::Directory(Directory { store: Some(b), .. })) => {
            a.url.trim_end_matches('/') == b.url.trim_end_matches('/')
        }
        _ => match (local_path(a), local_path(b)) {
            (Some(a), Some(b)) => TargetKind::is_same(a, b),
            _ => false,
        },
    }
}

/// Returns true if both outputs are tables of one file that takes one load at a time.
pub(super) fn share_a_file(a: &Target, b: &Target) -> bool {
    let file = |target: &Target| match target {
        Target::Table(table) => table.warehouse.file(),
        _ => None,
    };
    matches!((file(a), file(b)), (Some(a), Some(b)) if TargetKind::is_same(&a, &b))
}

/// Returns the name of a target on this machine; `None` for other targets.
fn local_path(target: &Target) -> Option<&Path> {
    match target {
        Target::Stdout => Some(Path::new(STDOUT_PATH)),
        Target::File { path, .. } | Target::Directory(Directory { path, store: None, .. }) => Some(path),
        Target::Directory(_) | Target::Object(_) | Target::Channel(_) | Target::Table(_) => None,
    }
}

/// Fails if the result file is an output or the rejects file. An input is none, as the file does not exist at this time.
fn check_result_file(args: &PipelineArgs, outputs: &[Output], rejects: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = &args.result_file else { return Ok(()) };
    let others = outputs.iter().filter_map(|output| local_path(&output.target)).chain(rejects);
    match others.into_iter().find(|other| TargetKind::is_same(path, other)) {
        Some(_) => {
            let error = Error::Usage(format!("{} is an output and cannot be the result file, too", path.display()));
            Err(Failure::new(error, "give `--result` a file of its own"))
        }
        None => Ok(()),
    }
}

/// Fails if the rejects file or the result file cannot be written.
fn check_rejects(args: &PipelineArgs, outputs: &[Output], inputs: &[&Path]) -> Result<(), Failure> {
    let rejects = rejects(args, outputs, inputs)?;
    check_result_file(args, outputs, rejects.as_deref())?;
    match rejects {
        // It may never be needed.
        Some(path) => TargetKind::check_writable(&path, false).map_err(|cause| Error::Write { path, cause }.into()),
        None => Ok(()),
    }
}

/// Returns the path of the rejects file: that of `--rejects`, else one beside the first file or directory among
/// `outputs` if bad records are rejected; `None` if there is none. Fails if the path is an input or an output, or if
/// the file beside the output exists and is not a rejects file: drawoff must not replace a user's file unasked.
pub(super) fn rejects(args: &PipelineArgs, outputs: &[Output], inputs: &[&Path]) -> Result<Option<PathBuf>, Failure> {
    let beside = |output: &Output| match &output.target {
        // Beside a device such as /dev/null there is no directory for files.
        Target::File { path, .. } if TargetKind::is_stream(path) => None,
        Target::File { path, .. } => Some(rejects_beside(path)),
        Target::Directory(Directory { path, store: None, .. }) => Some(rejects_beside(path)),
        Target::Stdout | Target::Channel(_) | Target::Object(_) | Target::Directory(_) | Target::Table(_) => None,
    };
    let beside = match args.on_bad_record {
        OnBadRecord::Fail => None,
        _ => outputs.iter().find_map(beside),
    };
    let Some(path) = args.rejects.clone().or(beside) else { return Ok(None) };
    if args.rejects.is_some() {
        check_file(&path)?;
    }
    let refuse = |why: &str, hint: &str| {
        let error = Error::Usage(format!("cannot write rejects to {}: {why}", path.display()));
        Err(Failure::new(error, hint))
    };
    const OTHER_FILE: &str = "specify another file with `--rejects`";
    if inputs.iter().any(|input| is_input(&path, input)) {
        return refuse("it is an input", OTHER_FILE);
    }
    let is_output =
        |output: &Output| local_path(&output.target).is_some_and(|output| TargetKind::is_same(output, &path));
    if outputs.iter().any(is_output) {
        return refuse("it is an output", OTHER_FILE);
    }
    // A device or a pipe is written to, not replaced.
    let is_there = match TargetKind::of(&path) {
        Ok(TargetKind::File(file)) => file.existing.is_some(),
        Ok(TargetKind::Directory) => return refuse("it is a directory", OTHER_FILE),
        _ => false,
    };
    // An explicit `--rejects` may replace any file, the default path only a rejects file.
    let may_be_replaced = !args.sink.no_clobber && (args.rejects.is_some() || is_rejects_file(&path));
    if is_there && !may_be_replaced {
        return refuse("the file exists", "move it away, or specify another file with `--rejects`");
    }
    Ok(Some(path))
}

/// Returns the rejects file of an output: `people.rejects.ndjson` for `people.parquet` and `people.csv.gz`.
fn rejects_beside(path: &Path) -> PathBuf {
    let (_, codec) = NamedFormat::of_name(&path.file_name().unwrap_or_default().to_string_lossy());
    let stem = path.with_extension("");
    let stem = if codec == SourceCodec::None { stem } else { stem.with_extension("") };
    let mut name = stem.file_name().unwrap_or_default().to_os_string();
    name.push(".rejects.ndjson");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::super::outputs::outputs;
    use super::super::outputs::tests::{plan_args, settings};
    use super::*;

    #[test]
    fn rejects_are_written_beside_the_output() {
        let path = |flags: &str| {
            let args = plan_args(flags);
            rejects(&args, &outputs(&args, &settings(), "part").unwrap(), &[]).unwrap()
        };
        assert_eq!(path("-o d/people.parquet"), None);
        assert_eq!(path("-o d/people.parquet --on-bad-record skip"), Some("d/people.rejects.ndjson".into()));
        assert_eq!(path("-o d/a.csv.gz --on-bad-record limit=3"), Some("d/a.rejects.ndjson".into()));
        assert_eq!(path("-o - --on-bad-record skip"), None);
        assert_eq!(path("-o - --on-bad-record skip --rejects r.ndjson"), Some("r.ndjson".into()));
    }

    #[test]
    fn rejects_never_replace_other_files() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("in.csv"), "a\n1\n").unwrap();
        std::fs::write(at("people.rejects.ndjson"), "precious").unwrap();
        std::fs::write(at("old.rejects.ndjson"), r#"{"source":"x","byte":0,"line":1,"record":0,"path":""}"#).unwrap();
        let made = |flags: &str, inputs: &[&Path]| {
            let args = plan_args(&flags.replace("DIR", &folder.path().display().to_string()));
            rejects(&args, &outputs(&args, &settings(), "part").unwrap(), inputs)
        };
        let skip = "--on-bad-record skip";
        let refused = |flags: &str, inputs: &[&Path]| made(flags, inputs).unwrap_err().lines()[0].clone();
        let message = refused(&format!("-o DIR/people.csv {skip}"), &[]);
        assert!(message.ends_with("people.rejects.ndjson: the file exists"), "a file of the user's own: {message}");
        assert!(made(&format!("-o DIR/old.csv {skip}"), &[]).is_ok(), "rejects of an earlier time");
        let message = refused(&format!("-o DIR/old.csv {skip}"), &[&at("old.rejects.ndjson")]);
        assert!(message.ends_with("old.rejects.ndjson: it is an input"), "{message}");
        let message = refused(&format!("-o DIR/out.csv {skip} --rejects DIR/in.csv"), &[&at("in.csv")]);
        assert!(message.ends_with("in.csv: it is an input"), "{message}");
        let message = refused(&format!("-o DIR/out.csv {skip} --rejects DIR/out.csv"), &[]);
        assert!(message.ends_with("out.csv: it is an output"), "{message}");
        let message = refused(&format!("-o DIR/out.csv {skip} --no-clobber --rejects DIR/in.csv"), &[]);
        assert!(message.ends_with("in.csv: the file exists"), "{message}");
        let message = refused(&format!("-o - {skip} --no-clobber --rejects DIR/in.csv"), &[]);
        assert!(message.ends_with("in.csv: the file exists"), "{message}");
        assert!(made(&format!("-o - {skip} --no-clobber --rejects /dev/null"), &[]).is_ok());
        assert_eq!(made(&format!("-o /dev/null --to csv {skip}"), &[]).unwrap(), None, "no file beside a device");
    }

    #[test]
    fn outputs_that_cannot_be_written_are_refused_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.csv");
        let check = |path: &Path, more: &str, inputs: &[&Path]| {
            let args = plan_args(&format!("-o {} {more}", path.display()));
            super::check(&args, &outputs(&args, &settings(), "part").unwrap(), inputs)
        };
        check(&path, "", &[]).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        std::fs::write(&path, "a\n1\n").unwrap();
        check(&path, "", &[]).unwrap();
        assert!(check(&path, "--no-clobber", &[]).unwrap_err().lines()[1].contains("--no-clobber"));
        assert!(check(&path, "", &[&path]).unwrap_err().lines()[0].contains("is an input"));
        assert!(
            check(&folder.path().join("no/out.csv"), "", &[]).unwrap_err().lines()[1].contains("create the directory")
        );
        assert!(
            check(&folder.path().join("no/out.csv"), "", &[]).unwrap_err().lines()[0].ends_with(": no such directory")
        );
        check(folder.path(), "--to csv", &[]).unwrap();
        assert!(check(&path.join(""), "", &[]).unwrap_err().lines()[0].contains("is a file"));
    }

    #[test]
    fn a_target_is_recognized_under_every_name() {
        let made = |flags: &str| outputs(&plan_args(flags), &settings(), "part");
        for flags in [
            "-o - -o -",
            "-o - -o /dev/stdout --to csv",
            "-o /dev/fd/1 --to csv -o /dev/stdout --to csv",
            "-o a.csv -o ./a.csv",
            "-o /dev/null --to csv -o /dev/null --to csv",
            "-o s3://b/a.csv -o s3://b/a.csv",
        ] {
            assert!(made(flags).unwrap_err().lines()[0].contains("specified twice"), "{flags}");
        }
        made("-o a.csv -o b.csv -o - -o /dev/null --to csv").unwrap();
    }
}
