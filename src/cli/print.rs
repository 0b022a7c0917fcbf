//! The only module that writes to standard output and standard error: data to the former, notes, progress and errors to
//! the latter. Text from outside is escaped before a terminal sees it.

use std::io::{self, IsTerminal, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};

use crate::secret::without_passwords;
use crate::text::escape_for_terminal;

/// Interval between two progress lines where standard error is no terminal.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Time that a phase must last before its first progress line there.
const PLAIN_PATIENCE: Duration = Duration::from_secs(2);

/// Standard error for people: notes, and one line of progress, which is redrawn on a terminal and repeated at intervals
/// elsewhere.
pub(super) struct Screen {
    quiet: bool,
    terminal: bool,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    bar: Option<ProgressBar>,
    phase: String,
    /// Time of the next progress line; used where standard error is no terminal.
    due: Option<Instant>,
}

impl Screen {
    /// Creates the screen. `quiet` suppresses notes and progress.
    pub(super) fn new(quiet: bool) -> Self {
        // A dumb terminal gets plain lines like a pipe.
        Screen { quiet, terminal: io::stderr().is_terminal() && !is_dumb(), progress: Mutex::default() }
    }

    /// Returns true if notes and progress are suppressed.
    #[cfg(feature = "serve")]
    pub(super) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Shows the progress of `phase`, with the `fraction` done from 0 to 1 if that is known. The texts are escaped
    /// here.
    pub(super) fn progress(&self, phase: &str, fraction: Option<f64>, detail: &str) {
        if self.quiet {
            return;
        }
        let mut progress = self.progress.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let percent = fraction.map(|f| format!("{:.0} %  ", (f * 100.0).clamp(0.0, 100.0))).unwrap_or_default();
        let text = escape_for_terminal(&without_passwords(&format!("{phase}  {percent}{detail}")));
        if self.terminal {
            let bar = progress.bar.get_or_insert_with(new_bar);
            match fraction {
                Some(fraction) => bar.set_position((fraction.clamp(0.0, 1.0) * 1000.0) as u64),
                None => bar.set_position(0),
            }
            bar.set_message(text);
            return;
        }
        // Without a terminal a line appears only for phases that last, and then at intervals.
        let now = Instant::now();
        if progress.phase != phase {
            progress.phase = phase.to_owned();
            progress.due = Some(now + PLAIN_PATIENCE);
        }
        if progress.due.is_some_and(|due| now >= due) {
            progress.due = Some(now + PLAIN_INTERVAL);
            write_stderr(text.trim_end());
        }
    }

    /// Removes the progress line.
    pub(super) fn clear(&self) {
        let mut progress = self.progress.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(bar) = progress.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Prints a note on a line of its own, unless quiet. The text is escaped here.
    pub(super) fn note(&self, text: &str) {
        if !self.quiet {
            self.always(text);
        }
    }

    /// Prints a line even if quiet. The text is escaped here.
    pub(super) fn always(&self, text: &str) {
        let text = &escape_for_terminal(&without_passwords(text));
        let progress = self.progress.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match &progress.bar {
            // The bar is removed for the moment, so that the line does not overwrite it.
            Some(bar) => bar.suspend(|| write_stderr(text)),
            None => write_stderr(text),
        }
    }
}

/// Columns at the end of the line that the progress line leaves free for the `^C` that a terminal echoes. Without them
/// the echo would wrap to the next line, and the progress line could not be removed.
const SPARE_COLUMNS: u16 = 4;

/// The terminal behind standard error, narrowed by [`SPARE_COLUMNS`].
#[derive(Debug)]
struct Narrowed;

impl TermLike for Narrowed {
    fn width(&self) -> u16 {
        let size = rustix::termios::tcgetwinsize(io::stderr());
        let columns = size.map(|size| size.ws_col).ok().filter(|columns| *columns > 0).unwrap_or(80);
        columns.saturating_sub(SPARE_COLUMNS).max(1)
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        move_cursor(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        move_cursor(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        move_cursor(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        move_cursor(n, 'D')
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        writeln!(io::stderr(), "{text}")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        write!(io::stderr(), "{text}")
    }

    fn clear_line(&self) -> io::Result<()> {
        write!(io::stderr(), "\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn move_cursor(n: usize, direction: char) -> io::Result<()> {
    if n > 0 { write!(io::stderr(), "\x1b[{n}{direction}") } else { Ok(()) }
}

fn new_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("{spinner} {wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    let target = ProgressDrawTarget::term_like_with_hz(Box::new(Narrowed), 20);
    // The length is 1000, so that positions are per mille.
    let bar = ProgressBar::with_draw_target(Some(1000), target).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(120));
    bar
}

/// Writes a line to standard error. An error is ignored, because no stream is left to report it on.
pub(super) fn write_stderr(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes data to standard output, without escaping, and flushes it. A closed pipe is an error of kind `BrokenPipe`.
pub(super) fn write_stdout(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

/// Writes text to standard output; on a terminal that it does not fit, through the pager that `PAGER` names, or `less`. An
/// empty `PAGER`, and `cat`, mean none.
pub(super) fn write_paged(text: &str) -> io::Result<()> {
    let pager = std::env::var("PAGER").unwrap_or_else(|_| "less".to_owned());
    let rows = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_row));
    let fits = rows == 0 || text.lines().count() < rows;
    if !stdout_is_terminal() || is_dumb() || fits || matches!(pager.trim(), "" | "cat") {
        return write_stdout(text);
    }
    let mut command = std::process::Command::new("sh");
    command.arg("-c").arg(&pager).stdin(std::process::Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        // Ends by itself if the text fits after all, and leaves it on the screen.
        command.env("LESS", "FRX");
    }
    let Ok(mut child) = command.spawn() else { return write_stdout(text) };
    if let Some(mut stdin) = child.stdin.take() {
        // Closed early: the reader has seen enough.
        let _ = stdin.write_all(text.as_bytes());
    }
    match child.wait()?.code() {
        // Not found, by the shell's own code.
        Some(127) => write_stdout(text),
        _ => Ok(()),
    }
}

/// Returns true if the terminal cannot move its cursor.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Returns true if standard output is a terminal.
pub(super) fn stdout_is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Returns the width of the terminal behind standard output in columns; `None` if there is none.
pub(super) fn terminal_width() -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    (size.ws_col > 0).then_some(size.ws_col)
}
