//! Workers and commits that are killed at named places, or that sleep while others finish: the same commands end the work, the
//! target has the rows of one machine, once, and another commit changes nothing.

use std::io::BufReader;
use std::process::Child;

use serde_json::{Value, json};

use crate::scale::{Desk, alike, files, payloads, rows_of_directory};
use crate::support::delta::DeltaTable;
use crate::support::postgres::Postgres;
use crate::support::{Done, Place, plans, read_until};

/// The places at which a command is killed: of workers, then of the commit.
const PLACES: [&str; 5] = ["part", "before-receipt", "after-receipt", "before-commit", "after-commit"];

/// A target of the commit.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// A directory with files that the commit writes.
    Directory,
    /// A directory with the files of the workers.
    Copies,
    Postgres,
    Delta,
}

const TARGETS: [Target; 4] = [Target::Directory, Target::Copies, Target::Postgres, Target::Delta];

/// Plans, if all are executed: each place, one command or two at once, each target.
const PLANS: u32 = (PLACES.len() * 2 * TARGETS.len()) as u32;

/// A target in a place of its own.
struct Sink<'a> {
    target: Target,
    postgres: Option<(&'a Postgres, String)>,
}

impl Sink<'_> {
    /// Opens a target; `None` if this machine has no server for it.
    fn open(target: Target) -> Option<Sink<'static>> {
        let postgres = match target {
            Target::Postgres => {
                let server = Postgres::shared()?;
                Some((server, server.database()))
            }
            _ => None,
        };
        Some(Sink { target, postgres })
    }

    /// The flags of the commit.
    fn flags(&self, name: &str) -> Vec<String> {
        let url = match (self.target, &self.postgres) {
            (Target::Postgres, Some((server, database))) => {
                return vec!["-o".into(), server.url(database), "--into".into(), name.into()];
            }
            (Target::Delta, _) => format!("delta:{name}"),
            _ => format!("{name}/"),
        };
        vec!["-o".into(), url]
    }

    /// The rows, by their numbers.
    fn rows(&self, place: &Place, name: &str) -> Vec<Value> {
        let mut found = match (self.target, &self.postgres) {
            (Target::Postgres, Some((server, database))) => {
                let rows = server.rows(database, &format!("SELECT row_to_json(t) FROM {name} t"));
                rows.iter().map(|row| serde_json::from_str(row).unwrap()).collect()
            }
            (Target::Delta, _) => DeltaTable::of(place, name).local_rows(place, name),
            _ => rows_of_directory(place, name),
        };
        found.sort_by_key(|row: &Value| row["n"].as_i64());
        found
    }

    /// All that a commit may change: files, or rows of the ledger.
    fn state(&self, place: &Place, name: &str) -> String {
        match (self.target, &self.postgres) {
            (Target::Postgres, Some((server, database))) => {
                server.psql(database, "SELECT count(*), min(loaded_at), max(loaded_at) FROM _drawoff_loads")
            }
            _ => format!("{:?}", files(&place.path(name))),
        }
    }
}

/// Starts so many of one command, each of which stops itself at a place of the work.
fn stopped(place: &Place, args: &[&str], at: &str, commands: usize) -> Vec<Child> {
    let start = |_| {
        let mut command = place.command(args);
        command.env("DRAWOFF_TEST_STOP_AT", at).spawn().unwrap()
    };
    let mut children: Vec<Child> = (0..commands).map(start).collect();
    for child in &mut children {
        // Standard error stays open: the command may print more.
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let seen = read_until(&mut stderr, &format!("stopped at {at}"));
        assert!(!seen.contains("error:"), "{seen}");
        child.stderr = Some(stderr.into_inner());
    }
    children
}

/// Runs so many of one command at once, and expects that all succeed.
fn all_succeed(place: &Place, args: &[&str], commands: usize) {
    let children: Vec<Child> = (0..commands).map(|_| place.command(args).spawn().unwrap()).collect();
    for child in children {
        Done::of_child(args.join(" "), child).ok();
    }
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn signal(child: &Child, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_child(child), signal).unwrap();
}

#[test]
fn after_every_kill_the_same_commands_leave_every_row_once() {
    let desks = [Desk::start(&[], &payloads()), Desk::start(&[], &alike())];
    for plan in 0..plans::count(PLANS) {
        // Neighbours differ in all three.
        let number = (plan * 7 + 3) % PLANS;
        let (at, rest) = (PLACES[(number % 5) as usize], number / 5);
        let (commands, target) = (1 + (rest % 2) as usize, TARGETS[(rest / 2) as usize]);
        let Some(sink) = Sink::open(target) else { continue };
        let desk = &desks[usize::from(matches!(target, Target::Copies))];
        let name = format!("t{plan}");
        let what = format!("plan {plan}: {at}, {commands} commands, {target:?}");
        desk.of_runs(&["plan"], &["-o", &format!("plan{plan}")]).ok();
        let work = ["work", &format!("plan{plan}"), "--shard", "0/1"];
        let flags = sink.flags(&name);
        let mut commit = vec!["commit", work[1]];
        commit.extend(flags.iter().map(String::as_str));

        let is_of_commit = at.ends_with("-commit");
        if is_of_commit {
            all_succeed(&desk.place, &work, commands);
        }
        let killed = if is_of_commit { &commit[..] } else { &work[..] };
        stopped(&desk.place, killed, at, commands).into_iter().for_each(kill);
        all_succeed(&desk.place, killed, commands);
        if !is_of_commit {
            all_succeed(&desk.place, &commit, commands);
        }

        let one = sink.flags(&format!("one{plan}"));
        let one: Vec<&str> = one.iter().map(String::as_str).collect();
        desk.of_runs(&["pull"], &one).ok();
        let expected = sink.rows(&desk.place, &format!("one{plan}"));
        assert!(expected.len() >= 5, "{what}");
        assert_eq!(sink.rows(&desk.place, &name), expected, "{what}");
        let before = sink.state(&desk.place, &name);
        desk.place.run(&commit).ok().says("nothing was changed");
        desk.place.run(&[&commit[..], &["--gc"]].concat()).ok();
        assert_eq!(sink.state(&desk.place, &name), before, "{what}");
        assert_eq!(sink.rows(&desk.place, &name), expected, "{what}");
    }
}

/// A worker that sleeps while another one does its item, and the plan is committed: awake again, it writes a part and a receipt
/// of a smaller name, and nothing changes.
#[test]
fn a_worker_that_wakes_after_the_commit_changes_nothing() {
    for (at, target) in [("part", Target::Directory), ("before-receipt", Target::Postgres), ("part", Target::Delta)] {
        let Some(sink) = Sink::open(target) else { continue };
        let desk = Desk::start(&[], &payloads());
        desk.of_runs(&["plan"], &["-o", "plan"]).ok();
        let item = desk.items("plan")[0]["item"].as_str().unwrap().to_owned();
        let zombie = stopped(&desk.place, &["work", "plan", "--item", &item], at, 1).remove(0);
        desk.run("work plan").ok().says("3 items done");
        let flags = sink.flags("t");
        let commit: Vec<&str> = ["commit", "plan"].into_iter().chain(flags.iter().map(String::as_str)).collect();
        desk.place.run(&commit).ok();
        let (rows, state) = (sink.rows(&desk.place, "t"), sink.state(&desk.place, "t"));
        assert_eq!(rows.len(), 5);
        signal(&zombie, rustix::process::Signal::CONT);
        Done::of_child("the zombie".into(), zombie).ok().says("1 item done");
        assert_eq!(desk.items("plan")[0]["receipts"], 2);
        desk.place.run(&commit).ok().says("nothing was changed");
        // A commit that could not record itself chooses the other receipt now, and its key is the same.
        std::fs::remove_file(desk.place.path("plan/commit.json")).unwrap();
        desk.place.run(&commit).ok();
        desk.place.run(&[&commit[..], &["--gc"]].concat()).ok().says("nothing was changed");
        assert_eq!(sink.rows(&desk.place, "t"), rows, "{target:?}");
        assert_eq!(sink.state(&desk.place, "t"), state, "{target:?}");
    }
}

/// A commit that sleeps while another one commits: awake again, it adds nothing.
#[test]
fn a_commit_that_wakes_after_another_one_changes_nothing() {
    for target in TARGETS {
        let Some(sink) = Sink::open(target) else { continue };
        let is_copied = matches!(target, Target::Copies);
        let desk = Desk::start(&[], &if is_copied { alike() } else { payloads() });
        desk.of_runs(&["plan"], &["-o", "plan"]).ok();
        desk.run("work plan").ok();
        let flags = sink.flags("t");
        let commit: Vec<&str> = ["commit", "plan"].into_iter().chain(flags.iter().map(String::as_str)).collect();
        let zombie = stopped(&desk.place, &commit, "before-commit", 1).remove(0);
        desk.place.run(&commit).ok();
        let (rows, state) = (sink.rows(&desk.place, "t"), sink.state(&desk.place, "t"));
        signal(&zombie, rustix::process::Signal::CONT);
        Done::of_child("the zombie".into(), zombie).ok();
        assert_eq!(sink.rows(&desk.place, "t"), rows, "{target:?}");
        assert_eq!(sink.state(&desk.place, "t"), state, "{target:?}");
        let record: Value = serde_json::from_slice(&desk.place.read("plan/commit.json")).unwrap();
        assert_eq!(record["rows"], json!(if is_copied { 6 } else { 5 }));
    }
}
