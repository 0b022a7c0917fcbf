//! The logger behind `-v` and `--log FILE`: a line for each request and each wait of this process, with its time. Lines of
//! dependencies are left out, because they may contain secrets.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;

use chrono::{SecondsFormat, Utc};
use log::{LevelFilter, Log, Metadata, Record};

use super::error::{Error, Failure};
use super::print::Screen;
use super::result_file::begins_with;
use crate::net::request_log::TARGET;
use crate::sink::TargetKind;
use crate::text::escape_for_terminal;

/// The beginning of every line.
const BEGINNING: &str = "time=";

/// Writes the lines to standard error, or appends them to a file.
enum Logger {
    Screen(Arc<Screen>),
    File(File),
}

/// Installs the logger that was asked for, if any. Fails if the file cannot be appended to.
pub(super) fn install(is_verbose: bool, file: Option<&Path>, screen: &Arc<Screen>) -> Result<(), Failure> {
    let logger = match file {
        Some(path) => {
            if !is_log(path).map_err(|cause| Error::Write { path: path.to_owned(), cause })? {
                let error = Error::Usage(format!("{} is not a log of earlier commands", path.display()));
                return Err(Failure::new(error, "give `--log` a file of its own"));
            }
            // Of the user alone: addresses are in it.
            let file = File::options().append(true).create(true).mode(0o600).open(path);
            Logger::File(file.map_err(|cause| Error::Write { path: path.to_owned(), cause })?)
        }
        None if is_verbose => Logger::Screen(Arc::clone(screen)),
        None => return Ok(()),
    };
    // Fails only if a logger is there, as in a test that calls this twice.
    if log::set_boxed_logger(Box::new(logger)).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    Ok(())
}

/// Returns true for an empty or missing file, a stream, and a file that begins as the lines do: none of anything else is added to.
fn is_log(path: &Path) -> io::Result<bool> {
    let Some(file) = TargetKind::existing_file(path) else { return Ok(true) };
    Ok(std::fs::metadata(&file)?.len() == 0 || begins_with(&file, BEGINNING)?)
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let time = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let line = format!("{BEGINNING}{time} {}", record.args());
        match self {
            Logger::Screen(screen) => screen.always(&line),
            // One write for each line, so that those of several processes do not mix. A full disk must not end the command.
            Logger::File(file) => {
                let _ = (&mut &*file).write_all((escape_for_terminal(&line) + "\n").as_bytes());
            }
        }
    }

    fn flush(&self) {}
}
