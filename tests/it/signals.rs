//! The first signal ends every blocked state within a few seconds, with the documented exit code and nothing partial.

use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::http::{Answer, Loopback};
use crate::support::{Place, exit, wait_for};

/// A command that blocks for ever, and what keeps it so.
struct Blocked {
    place: Place,
    child: Child,
    _server: Option<Loopback>,
}

type State = (&'static str, fn(Place) -> Blocked);

fn spawn(place: Place, args: &[&str]) -> Blocked {
    let child = place.command(args).stdin(Stdio::piped()).spawn().unwrap();
    Blocked { place, child, _server: None }
}

/// More rows than a pipe holds.
fn many_rows(place: &Place) {
    let rows: String = (0..200_000).map(|i| format!("{{\"i\":{i}}}\n")).collect();
    place.write("many.ndjson", rows);
}

/// An API that accepts requests and never answers.
fn silent() -> Loopback {
    Loopback::start(|_| {
        loop {
            std::thread::sleep(Duration::from_secs(3600));
            let _: Answer = Answer::error(500, "never");
        }
    })
}

const STATES: [State; 11] = [
    ("standard output is a full pipe", |place| {
        many_rows(&place);
        spawn(place, &["convert", "many.ndjson", "-o", "-"])
    }),
    ("so, beside a file", |place| {
        many_rows(&place);
        spawn(place, &["convert", "many.ndjson", "-o", "-", "-o", "out.parquet"])
    }),
    ("so, beside a directory", |place| {
        many_rows(&place);
        spawn(place, &["convert", "many.ndjson", "-o", "-", "-o", "out/"])
    }),
    ("the output is a FIFO without a reader", |place| {
        rustix::fs::mknodat(
            rustix::fs::CWD,
            place.path("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        spawn(place, &["convert", "testdata/companies.csv", "-o", "fifo", "--to", "ndjson"])
    }),
    ("the payload comes from a pipe that stays open", |place| {
        let place = place.env("SIXTYFOUR_API_KEY", "k").env("SIXTYFOUR_API_ENDPOINT", "http://127.0.0.1:9");
        spawn(place, &["run", "testdata/workflows/webhook-leads.json", "--payload", "@-", "-o", "out.ndjson"])
    }),
    ("the command that prints the key hangs", |place| {
        spawn(place, &["workflows", "ls", "--api-key-command", "sleep 100"])
    }),
    ("the key file is a FIFO without a writer", |place| {
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, place.path("key"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        spawn(place, &["workflows", "ls", "--api-key-file", "key"])
    }),
    ("standard input stays open", |place| spawn(place, &["convert", "-", "--from", "ndjson", "-o", "out.parquet"])),
    ("the API never answers", |place| {
        let server = silent();
        let place = place.env("SIXTYFOUR_API_KEY", "k").env("SIXTYFOUR_API_ENDPOINT", &server.url);
        let blocked = spawn(place, &["workflows", "ls"]);
        Blocked { _server: Some(server), ..blocked }
    }),
    ("the source never answers", |place| {
        let server = silent();
        let blocked = spawn(place, &["convert", &format!("{}/a.ndjson", server.url), "-o", "out.parquet"]);
        Blocked { _server: Some(server), ..blocked }
    }),
    ("the input of a run is a pipe that stays open", |place| {
        let place = place.env("SIXTYFOUR_API_KEY", "k").env("SIXTYFOUR_API_ENDPOINT", "http://127.0.0.1:9");
        spawn(place, &["run", "testdata/workflows/qualify-companies.json", "--input", "-", "-o", "out.ndjson"])
    }),
];

/// Waits until the process handles `signal`, and a moment more, so that it has come to its blocked state.
fn wait_until_it_listens(child: &mut Child, signal: Signal, what: &str) {
    let status = format!("/proc/{}/status", child.id());
    wait_for(what, || {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"))?;
        let mask = u64::from_str_radix(mask.trim(), 16).ok()?;
        (mask & (1 << (signal.as_raw() - 1)) != 0).then_some(())
    });
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(child.try_wait().unwrap(), None, "{what}: it should be blocked");
}

#[test]
fn the_first_signal_ends_every_blocked_state() {
    std::thread::scope(|scope| {
        let signals = [Signal::TERM, Signal::INT, Signal::HUP];
        for ((what, make), signal) in STATES.into_iter().flat_map(|state| signals.map(|signal| (state, signal))) {
            scope.spawn(move || {
                let mut blocked = make(Place::new());
                wait_until_it_listens(&mut blocked.child, signal, what);
                kill_process(Pid::from_child(&blocked.child), signal).unwrap();
                let status = wait_for(what, || blocked.child.try_wait().unwrap());
                assert_eq!(status.code(), Some(exit::INTERRUPTED), "{what}");
                let left = blocked.place.leftovers();
                let is_partial = |name: &String| name.contains("partial") || name.starts_with("out.");
                assert!(!left.iter().any(is_partial), "{what}: {left:?}");
                assert!(!blocked.place.path("out").exists(), "{what}: it created the directory");
            });
        }
    });
}
