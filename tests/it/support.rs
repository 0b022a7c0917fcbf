//! Runs the binary in a temporary directory, with an environment that inherits only `PATH`, and checks exit code and
//! output. The submodules are servers on loopback, slow readers of the output formats, and random plans.
//!
//! Environment variables of the tests:
//!
//! | variable | effect |
//! |---|---|
//! | `DRAWOFF_TEST_ALL=1` | executes all kills, fault plans, random records and soak runs; by default a fixed tenth of each ([`plans`]) |
//! | `DRAWOFF_TEST_SEED=N` | draws these plans from another seed than 64 |
//! | `DRAWOFF_TEST_PYTHON` | a Python with the packages of `tests/requirements.txt` |
//! | `DRAWOFF_TEST_MOTO_PYTHON` | a Python with the packages of `tests/requirements-objects.txt` |
//! | `DRAWOFF_TEST_CHDB_PYTHON` | a Python with the packages of `tests/requirements-clickhouse.txt` |
//! | `DRAWOFF_TEST_DELTA_PYTHON` | a Python with the packages of `tests/requirements-delta.txt` |
//! | `DRAWOFF_TEST_CLOUD_PYTHON` | a Python with the packages of `tests/requirements-cloud.txt` |
//! | `DRAWOFF_TEST_BIGQUERY_PYTHON` | a Python with the packages of `tests/requirements-bigquery.txt`; only `.ci/full` sets it |
//! | `DRAWOFF_TEST_READERS_PYTHON` | a Python with the packages of `tests/requirements-readers.txt`; only `.ci/full` sets it |
//! | `DRAWOFF_TEST_ICEBERG_PYTHON` | a Python with the packages of `tests/requirements-iceberg.txt`; only `.ci/full` sets it |
//! | `DRAWOFF_TEST_NODE`, `DRAWOFF_TEST_CHROMIUM` | paths of Node.js and of Chromium |
//! | `DRAWOFF_TEST_POSTGRES18` | the directory of the programs of PostgreSQL 18; other servers are found by themselves |
//! | `DRAWOFF_TEST_AZURITE` | the script of Azurite's blob service; only `.ci/full` sets it |
//! | `DRAWOFF_TEST_SOFFICE` | the path of LibreOffice's `soffice`; only `.ci/full` sets it |
//! | `DRAWOFF_TEST_CONTRACT_URL`, `DRAWOFF_TEST_CONTRACT_KEY` | the service that the contract test checks, by default the local one, and its API key |
//! | `CI=true` | a test that lacks its tool fails; by default it prints that it is skipped |
//!
//! `.ci/run` sets the paths of the tools.

pub mod api;
pub mod browser;
#[cfg(feature = "clickhouse")]
pub mod clickhouse;
#[cfg(feature = "object-store")]
pub mod cloud;
#[cfg(feature = "delta")]
pub mod delta;
pub mod hosted;
pub mod http;
#[cfg(feature = "iceberg")]
pub mod iceberg;
pub mod plans;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod relay;
pub mod rows;
pub mod s3;
pub mod tls;
pub mod values;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

/// Sets the sizes at which the input is divided.
pub trait Morsels {
    /// As [`Place::morsels`].
    fn morsels(&mut self, size: &str) -> &mut Self;
}

impl Morsels for Command {
    fn morsels(&mut self, size: &str) -> &mut Self {
        self.env("DRAWOFF_MORSEL_SIZE", size).env("DRAWOFF_SAMPLE_SIZE", four_times(size))
    }
}

/// Returns four times a size such as `1KiB`, at most the largest that the setting takes.
fn four_times(size: &str) -> String {
    let unit = size.trim_start_matches(|c: char| c.is_ascii_digit());
    let n: u64 = size[..size.len() - unit.len()].parse().unwrap();
    format!("{}{unit}", (4 * n).min(64 << 20))
}

/// Time limit of every wait for a state. Long enough for a loaded machine; reached only by a failing test.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// An API key that must never appear in output, logs or files.
pub const MARKED_KEY: &str = "sk-marked-5f0c77a1";

/// Exit codes, as docs/exit-codes.md names them.
#[cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "codes of loads"))]
pub mod exit {
    pub const SUCCESS: i32 = 0;
    pub const USAGE: i32 = 2;
    pub const PARTIAL: i32 = 3;
    pub const BAD_DATA: i32 = 4;
    pub const MISMATCH: i32 = 5;
    pub const SCHEMA_CHANGED: i32 = 6;
    pub const NO_KEY: i32 = 10;
    pub const KEY_REFUSED: i32 = 11;
    pub const NOT_FOUND: i32 = 12;
    pub const REFUSED: i32 = 13;
    pub const UNREACHABLE: i32 = 14;
    pub const DOWNLOAD_BROKEN: i32 = 15;
    pub const FILE_CHANGED: i32 = 16;
    pub const DAMAGED: i32 = 17;
    pub const LAST_LINE_CUT: i32 = 18;
    pub const RUN_FAILED: i32 = 20;
    pub const RUN_CANCELLED: i32 = 21;
    pub const RUN_TIMED_OUT: i32 = 22;
    pub const DEADLINE_PASSED: i32 = 23;
    pub const WORK_LEFT: i32 = 24;
    pub const CANNOT_WRITE: i32 = 30;
    pub const DISK_FULL: i32 = 31;
    pub const CANNOT_READ: i32 = 32;
    pub const BUSY: i32 = 33;
    pub const LOAD_REFUSED: i32 = 34;
    pub const TARGET_UNREACHABLE: i32 = 35;
    pub const INTERRUPTED: i32 = 130;
}

/// Root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Path of a file in `testdata/`.
pub fn testdata(name: &str) -> PathBuf {
    root().join("testdata").join(name)
}

/// Copies `testdata/` and its workflows to `to`, without the corpus of the fuzz targets.
fn copy_testdata(to: &Path) {
    for (from, to) in [(root().join("testdata"), to.to_owned()), (testdata("workflows"), to.join("workflows"))] {
        std::fs::create_dir(&to).unwrap();
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
            }
        }
    }
}

/// A temporary directory in which commands run. It contains a copy of `testdata/`, so that no command writes to the
/// repository, and the home, configuration, state, cache and temporary directories of the commands.
pub struct Place {
    dir: TempDir,
    env: Vec<(String, String)>,
}

impl Place {
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        for name in ["home", "config", "state", "cache", "tmp"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        copy_testdata(&dir.path().join("testdata"));
        Place { dir, env: Vec::new() }
    }

    /// A place with `url` as API endpoint and [`MARKED_KEY`] as API key.
    pub fn with_service(url: &str) -> Self {
        Place::new().env("SIXTYFOUR_API_ENDPOINT", url).env("SIXTYFOUR_API_KEY", MARKED_KEY)
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Divides the input into morsels of this size, and ends the first records, which decide on columns and types, after four of
    /// them.
    pub fn morsels(self, size: &str) -> Self {
        self.env("DRAWOFF_MORSEL_SIZE", size).env("DRAWOFF_SAMPLE_SIZE", &four_times(size))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, contents).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|e| panic!("{name} cannot be read: {e}"))
    }

    pub fn read_text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    /// Names of all files that commands left in the directory, temporary and hidden ones included.
    pub fn leftovers(&self) -> Vec<String> {
        let ours = ["home", "config", "state", "cache", "tmp", "testdata"];
        let mut names: Vec<String> = std::fs::read_dir(self.dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| !ours.contains(&name.as_str()))
            .collect();
        names.sort();
        names
    }

    /// Prepares `program` to run in this directory with a clean environment.
    pub fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        let bin = Path::new(env!("CARGO_BIN_EXE_drawoff")).parent().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", format!("{}:{path}", bin.display()))
            .env("LANG", "C.UTF-8")
            .env("HOME", self.path("home"))
            .env("XDG_CONFIG_HOME", self.path("config"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("XDG_CACHE_HOME", self.path("cache"))
            .env("TMPDIR", self.path("tmp"))
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Prepares drawoff with `args`.
    pub fn command<S: AsRef<str>>(&self, args: &[S]) -> Command {
        let mut command = self.program(env!("CARGO_BIN_EXE_drawoff"));
        command.args(args.iter().map(AsRef::as_ref));
        command
    }

    /// Runs drawoff to its end.
    pub fn run<S: AsRef<str>>(&self, args: &[S]) -> Done {
        Done::of(self.command(args))
    }

    /// Starts so many of one command at once, and kills them after a while. Returns how many had not ended by then.
    #[cfg(any(feature = "sqlite", feature = "delta"))]
    pub fn kill_after(&self, args: &[&str], commands: usize, wait: Duration) -> u32 {
        let start = |_| {
            let mut command = self.command(args);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command.spawn().unwrap()
        };
        let mut children: Vec<Child> = (0..commands).map(start).collect();
        thread::sleep(wait);
        let kill = |child: &mut Child| {
            let is_active = child.try_wait().unwrap().is_none();
            let _ = child.kill();
            child.wait().unwrap();
            u32::from(is_active)
        };
        children.iter_mut().map(kill).sum()
    }

    /// Runs drawoff with the words of `line` as arguments.
    pub fn run_line(&self, line: &str) -> Done {
        self.run(&line.split_whitespace().collect::<Vec<_>>())
    }

    /// Runs drawoff with `input` on its standard input.
    pub fn run_with_stdin<S: AsRef<str>>(&self, args: &[S], input: &[u8]) -> Done {
        let mut command = self.command(args);
        let what = format!("{command:?}");
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // The command may end before it has read everything.
        let feeder = thread::spawn(move || drop(stdin.write_all(&input)));
        let done = Done::from_output(what, child.wait_with_output().unwrap());
        feeder.join().unwrap();
        done
    }
}

/// The exit code and the output of a command. The checks return `self`, so that they can be chained, and print both when
/// they fail.
pub struct Done {
    what: String,
    pub code: i32,
    pub stdout: Vec<u8>,
    pub stderr: String,
}

impl Done {
    pub fn of(mut command: Command) -> Self {
        let what = format!("{command:?}");
        let output = command.output().unwrap_or_else(|e| panic!("{what}: {e}"));
        Done::from_output(what, output)
    }

    /// Waits for a command that was started. `what` names it in a failure.
    pub fn of_child(what: String, child: Child) -> Self {
        Done::from_output(what, child.wait_with_output().unwrap())
    }

    fn from_output(what: String, output: std::process::Output) -> Self {
        use std::os::unix::process::ExitStatusExt as _;
        // As a shell reports it: 128 and the signal's number.
        let code = output.status.code().unwrap_or_else(|| 128 + output.status.signal().unwrap_or(0));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let done = Done { what, code, stdout: output.stdout, stderr };
        assert!(!done.stderr.contains("panicked at"), "the command panicked\n{}", done.all());
        for text in [&done.stderr, &*String::from_utf8_lossy(&done.stdout)] {
            assert!(!text.contains(MARKED_KEY), "the API key is in the output of {}", done.what);
        }
        done
    }

    fn all(&self) -> String {
        let stdout = String::from_utf8_lossy(&self.stdout);
        let shown: String = stdout.chars().take(4000).collect();
        format!("{}\nexit code {}\n-- stdout\n{shown}\n-- stderr\n{}", self.what, self.code, self.stderr)
    }

    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.all());
        self
    }

    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(exit::SUCCESS)
    }

    /// Checks that standard error contains `text`, ignoring case.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.stderr.to_lowercase().contains(&text.to_lowercase()),
            "standard error lacks {text:?}\n{}",
            self.all()
        );
        self
    }

    /// Checks that a line of standard error is a hint that contains `text`.
    #[track_caller]
    pub fn hints(self, text: &str) -> Self {
        let found = self.stderr.lines().any(|line| line.starts_with("hint: ") && line.contains(text));
        assert!(found, "no hint with {text:?}\n{}", self.all());
        self
    }

    /// Standard output as text.
    #[track_caller]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.stdout).unwrap_or_else(|_| panic!("standard output is not text\n{}", self.all()))
    }

    /// Standard output as NDJSON.
    #[track_caller]
    pub fn records(&self) -> Vec<serde_json::Value> {
        rows::ndjson(self.text().as_bytes())
    }

    /// Checks that standard error is empty.
    #[track_caller]
    pub fn silent(self) -> Self {
        assert!(self.stderr.is_empty(), "standard error should be empty\n{}", self.all());
        self
    }

    /// Checks that standard output is empty: it is for data only.
    #[track_caller]
    pub fn quiet(self) -> Self {
        assert!(self.stdout.is_empty(), "standard output should be empty\n{}", self.all());
        self
    }
}

/// A `drawoff serve` in a child process, killed on drop.
pub struct Service {
    child: Child,
    pub url: String,
    /// Lines of standard output and standard error after the address.
    lines: mpsc::Receiver<String>,
}

impl Service {
    /// Starts the service on a free port, with its state in `data` and the flags `more`.
    pub fn start(place: &Place, data: &str, more: &[&str]) -> Self {
        let mut args = vec!["serve", "--port", "0", "--data", data];
        args.extend(more);
        let mut child = place.command(&args).spawn().unwrap();
        // Both streams are read to their ends, because a full pipe would block the service.
        let (tell, lines) = mpsc::channel();
        pump(child.stdout.take().unwrap(), tell.clone());
        pump(child.stderr.take().unwrap(), tell);
        let mut seen = String::new();
        let deadline = Instant::now() + PATIENCE;
        let url = loop {
            let line = match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => line,
                Err(e) => {
                    let _ = child.kill();
                    panic!("the service prints no address ({e}):\n{seen}");
                }
            };
            seen.push_str(&line);
            seen.push('\n');
            if let Some(url) = base_url(&line) {
                break url;
            }
        };
        Service { child, url, lines }
    }

    /// Reads lines of standard output and standard error until one contains `text`, and returns it.
    #[track_caller]
    pub fn says(&self, text: &str) -> String {
        let mut seen = String::new();
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push_str(&format!("{line}\n")),
                Err(error) => panic!("the service never printed {text:?} ({error}):\n{seen}"),
            }
        }
    }

    /// Creates a workflow of a chain of blocks, by their names and specs, and returns its id.
    #[track_caller]
    pub fn chain(&self, blocks: &[(&str, serde_json::Value)]) -> String {
        let id = |i: usize| format!("b{i}");
        let all: Vec<serde_json::Value> = blocks
            .iter()
            .enumerate()
            .map(|(i, (name, specs))| {
                serde_json::json!({ "sequence_number": i + 1, "block_type": "x", "block_name": name, "block_id": id(i), "specs": specs })
            })
            .collect();
        let edges: Vec<serde_json::Value> = (1..blocks.len())
            .map(|i| serde_json::json!({ "from_block_id": id(i - 1), "to_block_id": id(i) }))
            .collect();
        let body = serde_json::json!({ "workflow_name": "W", "workflow_description": "",
            "workflow_definition": { "blocks": all, "edges": edges } });
        let (status, made) = self.call("POST", "/workflows/create_workflow", Some(body));
        assert_eq!(status, 200, "{made}");
        made["id"].as_str().unwrap().to_owned()
    }

    /// Sends one request with a key; status and JSON body, null if it is none.
    pub fn call(&self, method: &str, path: &str, body: Option<serde_json::Value>) -> (u16, serde_json::Value) {
        self.call_with(method, path, &[], body)
    }

    /// Sends one request with a key and further headers.
    pub fn call_with(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<serde_json::Value>,
    ) -> (u16, serde_json::Value) {
        block_on(async {
            let client = reqwest::Client::new();
            let request = client.request(method.parse().unwrap(), format!("{}{path}", self.url));
            let mut request = request.header("x-api-key", MARKED_KEY);
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            if let Some(body) = body {
                request = request.json(&body);
            }
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.json().await.unwrap_or(serde_json::Value::Null))
        })
    }

    /// Peak resident memory so far, in bytes; 0 on systems without `/proc`.
    pub fn peak_memory_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kib.unwrap_or(0) << 10
    }

    /// Sends SIGINT and leaves the last lines to be read.
    pub fn interrupt(&self) {
        interrupt(&self.child);
    }

    /// Sends SIGTERM and returns the exit code.
    pub fn terminate(mut self) -> i32 {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        wait_for("the service to end", || self.child.try_wait().unwrap()).code().unwrap_or(-1)
    }

    /// Sends SIGINT and returns the exit code.
    pub fn stop(mut self) -> i32 {
        interrupt(&self.child);
        wait_for("the service to end", || self.child.try_wait().unwrap()).code().unwrap_or(-1)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn base_url(line: &str) -> Option<String> {
    let start = line.find("http://127.0.0.1:").or_else(|| line.find("http://localhost:"))?;
    let rest = &line[start + "http://".len()..];
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == ':')).unwrap_or(rest.len());
    Some(format!("http://{}", rest[..end].trim_end_matches(['.', ':'])))
}

fn pump(stream: impl Read + Send + 'static, tell: mpsc::Sender<String>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            // The receiver is gone after a failed start.
            let _ = tell.send(line);
        }
    });
}

/// Reads lines of standard error until they contain `text`, for at most [`PATIENCE`], and returns them.
pub fn read_until(stderr: &mut BufReader<ChildStderr>, text: &str) -> String {
    let mut seen = String::new();
    let mut line = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    loop {
        if stderr.buffer().is_empty() {
            let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).unwrap();
            let ready = poll(&mut [PollFd::new(stderr.get_ref(), PollFlags::IN)], Some(&left)).unwrap();
            assert!(ready > 0, "waited too long for {text:?}:\n{seen}");
        }
        let n = stderr.read_until(b'\n', &mut line).unwrap();
        seen.push_str(&String::from_utf8_lossy(&line));
        line.clear();
        if seen.contains(text) {
            return seen;
        }
        assert!(n > 0, "the command ended and never printed {text:?}:\n{seen}");
    }
}

/// Sends SIGINT, as Ctrl-C does.
pub fn interrupt(child: &Child) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), rustix::process::Signal::INT).unwrap();
}

/// Polls `ask` every 5 ms until it returns a value, for at most [`PATIENCE`]. `what` names the state in the failure.
#[track_caller]
pub fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited too long for {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Returns the path in `variable`. If it is not set, prints that the test is skipped, or fails under `CI=true`.
pub fn tool(variable: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    skip(&format!("{variable} is not set (`.ci/run` sets it)"));
    None
}

/// Prints that a check is skipped; panics under `CI=true`, where every check must run.
#[expect(clippy::print_stderr, reason = "a skipped check must be seen")]
pub fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "a check is skipped under CI: {why}");
    eprintln!("skipped: {why}");
}

/// Runs `future` on a runtime of its own.
pub fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}
