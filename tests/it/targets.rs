//! The names of outputs: files, links, descriptors, devices, pipes, sockets and mount points; the attributes of files that
//! are replaced; and several commands that write one file or one directory at once.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::{BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::Value;

use crate::support::{Done, Place, exit, interrupt, read_until, wait_for};

/// Rounds of commands at once. Without the locks, one is mostly enough to lose rows.
const ROUNDS: usize = 3;

/// Ten records whose key `from` has this value.
fn ten(from: usize) -> String {
    (0..10).map(|i| format!("{{\"from\":{from},\"i\":{i}}}\n")).collect()
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs `line` in bash, with drawoff in the path.
fn bash(place: &Place, line: &str) -> Done {
    let mut command = place.program("bash");
    command.args(["-c", line]);
    Done::of(command)
}

/// Starts commands together and waits for all of them.
fn at_once(place: &Place, lines: &[String]) {
    let spawn = |line: &String| place.command(&line.split_whitespace().collect::<Vec<_>>()).spawn().unwrap();
    let children: Vec<Child> = lines.iter().map(spawn).collect();
    for (child, line) in children.into_iter().zip(lines) {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn hidden(place: &Place) -> Vec<String> {
    place.leftovers().into_iter().filter(|name| name.starts_with('.')).collect()
}

#[test]
fn rows_appended_at_once_are_all_there() {
    for (format, header) in [("ndjson", 0), ("csv", 1)] {
        for round in 0..ROUNDS {
            let place = Place::new();
            (0..6).for_each(|from| drop(place.write(&format!("in{from}.ndjson"), ten(from))));
            if round == 0 {
                // The file is there, or the first of them creates it.
                place.write("all.ndjson", "{\"from\":9,\"i\":0}\n");
            }
            let lines = (0..6).map(|from| format!("convert in{from}.ndjson -o all.{format} --append"));
            at_once(&place, &lines.collect::<Vec<_>>());
            let text = place.read_text(&format!("all.{format}"));
            let before = if round == 0 && format == "ndjson" { 1 } else { 0 };
            assert_eq!(text.lines().count(), 60 + header + before, "{format}: {text}");
            for from in 0..6 {
                let start = if format == "csv" { format!("{from},") } else { format!("{{\"from\":{from},") };
                assert_eq!(text.lines().filter(|line| line.starts_with(&start)).count(), 10, "{text}");
            }
            assert_eq!(hidden(&place), [""; 0]);
        }
    }
}

#[test]
fn commands_that_append_to_the_same_two_files_end() {
    let place = Place::new();
    place.write("in.ndjson", ten(0));
    let line = |i: usize| match i % 2 {
        0 => "convert in.ndjson -o a.ndjson -o b.ndjson --append".to_owned(),
        _ => "convert in.ndjson -o b.ndjson -o a.ndjson --append".to_owned(),
    };
    for _ in 0..ROUNDS {
        at_once(&place, &(0..6).map(line).collect::<Vec<_>>());
    }
    assert_eq!(place.read_text("a.ndjson").lines().count(), 60 * ROUNDS);
    assert_eq!(place.read_text("b.ndjson").lines().count(), 60 * ROUNDS);
}

/// Takes the lock of an output as another command would.
fn lock(place: &Place, name: &str) -> File {
    let file = File::create(place.path(name)).unwrap();
    file.lock().unwrap();
    file
}

/// Starts a command that has to wait for a lock, and returns it when it says so.
fn waiting(place: &Place, line: &str) -> Child {
    let mut child = place.command(&line.split_whitespace().collect::<Vec<_>>()).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    read_until(&mut stderr, "waiting for another drawoff command");
    child.stderr = Some(stderr.into_inner());
    child
}

fn ended(child: Child) -> (i32, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_wait_for_another_command_is_said_and_can_be_interrupted() {
    let place = Place::new();
    place.write("in.ndjson", ten(0));
    for (line, name) in [
        ("convert in.ndjson -o out.ndjson --append", ".out.ndjson.drawoff-lock"),
        ("convert in.ndjson -o beside.csv -o out.csv --append", ".out.csv.drawoff-lock"),
        ("convert in.ndjson -o dir/ -o beside.csv", "dir/.drawoff-lock"),
    ] {
        fs::create_dir_all(place.path("dir")).unwrap();
        let held = lock(&place, name);
        let child = waiting(&place, line);
        interrupt(&child);
        assert_eq!(ended(child).0, exit::INTERRUPTED);
        fs::remove_file(place.path(name)).unwrap();
        drop(held);
        assert_eq!(place.leftovers(), ["dir", "in.ndjson"], "no output, no partial file");
        assert_eq!(fs::read_dir(place.path("dir")).unwrap().count(), 0);

        // The file of the lock stays when its owner was killed.
        let held = lock(&place, name);
        let child = waiting(&place, line);
        drop(held);
        let (code, stderr) = ended(child);
        assert_eq!(code, exit::SUCCESS, "{stderr}");
        assert!(!place.path(name).exists());
        for name in ["out.ndjson", "out.csv", "beside.csv"] {
            let _ = fs::remove_file(place.path(name));
        }
    }
    assert!(place.path("dir/_SUCCESS").exists());
}

#[test]
fn what_another_program_writes_meanwhile_is_not_replaced() {
    let place = Place::new();
    place.write("out.ndjson", "{\"a\":0}\n");
    let mut child =
        place.command(&["convert", "-", "-o", "out.ndjson", "--append"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // More than the sample, so that rows are written before the end of the input.
    let rows = "{\"a\":1}\n".repeat(16 << 10);
    let feeder = thread::spawn(move || {
        (0..64).for_each(|_| stdin.write_all(rows.as_bytes()).unwrap());
        stdin
    });
    wait_for("rows in the partial file", || {
        let partial = place.leftovers().into_iter().find(|name| name.ends_with(".partial"))?;
        (fs::metadata(place.path(&partial)).ok()?.len() > 1 << 16).then_some(())
    });
    File::options().append(true).open(place.path("out.ndjson")).unwrap().write_all(b"{\"a\":2}\n").unwrap();
    drop(feeder.join().unwrap());
    let (code, stderr) = ended(child);
    assert_eq!(code, exit::CANNOT_WRITE, "{stderr}");
    assert!(stderr.contains("another program changed the file") && stderr.contains("hint: "), "{stderr}");
    assert_eq!(place.read_text("out.ndjson"), "{\"a\":0}\n{\"a\":2}\n");
    assert_eq!(place.leftovers(), ["out.ndjson"]);
}

#[test]
fn rows_go_into_a_descriptor_where_it_stands() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":1}\n");
    symlink("/dev/stdout", place.path("link.ndjson")).unwrap();
    for (line, text) in [
        ("echo keep > f; drawoff convert in.ndjson -o /dev/stdout --to ndjson >> f", "keep\n{\"a\":1}\n"),
        ("echo keep > f; drawoff convert in.ndjson -o link.ndjson >> f", "keep\n{\"a\":1}\n"),
        ("(echo header; drawoff convert in.ndjson -o /dev/fd/1 --to csv; echo footer) > f", "header\na\n1\nfooter\n"),
        (
            "(echo header >&5; drawoff convert in.ndjson -o /dev/fd/5 --to csv; echo footer >&5) 5> f",
            "header\na\n1\nfooter\n",
        ),
        ("drawoff convert in.ndjson -o /proc/self/fd/6 --to csv --no-clobber 6> f", "a\n1\n"),
        ("drawoff convert in.ndjson -q -o /dev/stderr --to csv 2> f", "a\n1\n"),
        ("drawoff convert in.ndjson -o /dev/stdout --to csv --append > f", "a\n1\n"),
        ("drawoff convert in.ndjson -o /dev/stdout --to csv --excel | tr -d '\\r\\357\\273\\277' > f", "a\n1\n"),
    ] {
        let done = bash(&place, line);
        // Containers may forbid it for all but standard output and error.
        if done.stderr.contains("does not allow to share this descriptor") {
            skip_quietly("the system does not allow to share descriptors");
            continue;
        }
        done.ok().quiet();
        assert_eq!(place.read_text("f"), text, "{line}");
        fs::remove_file(place.path("f")).unwrap();
    }
    assert!(fs::symlink_metadata(place.path("link.ndjson")).unwrap().is_symlink());
    let line = "drawoff convert in.ndjson -o >(cat > f) --to csv && while ! [ -s f ]; do sleep 0.01; done; cat f";
    assert_eq!(bash(&place, line).ok().text(), "a\n1\n");
    fs::remove_file(place.path("f")).unwrap();

    let closed = bash(&place, "drawoff convert in.ndjson -o /dev/fd/7 --to csv");
    closed.code(exit::CANNOT_WRITE).says("bad file descriptor").hints("3> FILE");
    // The process has files of its own under such numbers.
    for number in 3..10 {
        bash(&place, &format!("drawoff convert in.ndjson -o /dev/fd/{number} --to csv {number}>&-"))
            .code(exit::CANNOT_WRITE)
            .says("bad file descriptor");
    }
    bash(&place, "drawoff convert in.ndjson -o /dev/fd/7 --to csv 7< in.ndjson")
        .code(exit::CANNOT_WRITE)
        .says("not open for writing");
    assert_eq!(place.leftovers(), ["in.ndjson", "link.ndjson"]);
}

#[test]
fn no_file_gets_what_is_meant_for_closed_streams() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":1}\n{broken\n");
    bash(&place, "drawoff convert in.ndjson -o out.csv --on-bad-record skip <&- >&- 2>&-").code(exit::PARTIAL);
    assert_eq!(place.read_text("out.csv"), "a\n1\n");
    assert_eq!(place.read_text("out.rejects.ndjson").lines().count(), 1);
}

#[test]
fn a_stream_is_never_its_own_input() {
    let place = Place::new();
    place.write("in.ndjson", ten(0));
    for line in [
        "drawoff convert in.ndjson -o - >> in.ndjson",
        "drawoff convert - -o - < in.ndjson >> in.ndjson",
        "drawoff convert in.ndjson -o /dev/stdout --to ndjson >> in.ndjson",
        "drawoff convert in.ndjson -o /dev/fd/3 --to ndjson 3>> in.ndjson",
    ] {
        bash(&place, line).code(exit::USAGE).says("is an input and cannot be an output");
        assert_eq!(place.read_text("in.ndjson"), ten(0), "{line}");
    }
    fs::hard_link(place.path("in.ndjson"), place.path("other.ndjson")).unwrap();
    place.run_line("convert in.ndjson -o other.ndjson").code(exit::USAGE).says("is an input");
    place.run_line("convert in.ndjson -o out.csv -o - --rejects /dev/stdout").code(exit::USAGE).says("it is an output");
    bash(&place, "drawoff convert in.ndjson -o - --rejects /dev/stderr > f 2>&1").code(exit::USAGE);
    assert!(place.read_text("f").contains("it is an output"), "both would write into one file");
    // The shell has put both into one pipe, or one terminal.
    bash(&place, "drawoff convert in.ndjson -o - --rejects /dev/stderr 2>&1 | cat; exit ${PIPESTATUS[0]}").ok();
}

#[test]
fn rejects_go_into_pipes_and_devices_directly() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":1}\n{broken\n");
    rustix::fs::mkfifoat(rustix::fs::CWD, place.path("pipe"), rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    let skip_bad = "drawoff convert in.ndjson -o out.csv --on-bad-record skip --rejects";
    bash(&place, &format!("cat pipe > got & {skip_bad} pipe; code=$?; wait; exit $code")).code(exit::PARTIAL);
    assert_eq!(place.read_text("got").lines().count(), 1);
    assert!(fs::metadata(place.path("pipe")).unwrap().file_type().is_fifo());
    let line = format!("{skip_bad} >(cat > sub); code=$?; while ! [ -s sub ]; do sleep 0.01; done; exit $code");
    bash(&place, &line).code(exit::PARTIAL);
    assert_eq!(place.read_text("sub").lines().count(), 1);
    let done = bash(&place, &format!("{skip_bad} /dev/stdout | cat; exit ${{PIPESTATUS[0]}}")).code(exit::PARTIAL);
    assert!(done.text().starts_with("{\"source\""));
    // Not opened at all without rejects: the pipe has no reader.
    place.write("good.ndjson", ten(0));
    place.run_line("convert good.ndjson -o out.csv --on-bad-record skip --rejects pipe").ok();

    let made = Command::new("mknod").arg(place.path("nul")).args(["c", "1", "3"]).output();
    if !made.is_ok_and(|made| made.status.success()) {
        return skip_quietly("no device can be made here");
    }
    place.run_line("convert in.ndjson -o out.csv --on-bad-record skip --rejects nul").code(exit::PARTIAL);
    place.run_line("convert good.ndjson -o out.csv --on-bad-record skip --rejects nul").ok();
    place.run_line("convert good.ndjson -o nul --to csv").ok();
    assert!(fs::metadata(place.path("nul")).unwrap().file_type().is_char_device());
}

/// Prints that a part of a test needs rights that it does not have.
#[expect(clippy::print_stderr, reason = "a skipped check must be seen")]
fn skip_quietly(why: &str) {
    eprintln!("skipped: {why}");
}

#[test]
fn rows_go_into_a_socket() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":1}\n");
    let listener = UnixListener::bind(place.path("socket")).unwrap();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
        text
    });
    place.run_line("convert in.ndjson -o socket --to ndjson").ok();
    assert_eq!(reader.join().unwrap(), "{\"a\":1}\n");
    assert!(fs::metadata(place.path("socket")).unwrap().file_type().is_socket());
}

#[test]
fn rejects_are_checked_before_the_work() {
    let place = Place::new();
    place.write("in.ndjson", ten(0));
    let line = "convert in.ndjson -o out.csv --on-bad-record skip --rejects";
    place.run_line(&format!("{line} no/r.ndjson")).code(exit::CANNOT_WRITE).says("no such directory").hints("create");
    fs::create_dir(place.path("dir")).unwrap();
    place.run_line(&format!("{line} dir")).code(exit::USAGE).says("it is a directory");
    assert_eq!(place.leftovers(), ["dir", "in.ndjson"]);
}

#[test]
fn a_link_to_a_missing_file_creates_that_file() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":1}\n");
    fs::create_dir(place.path("sub")).unwrap();
    for (name, more) in [("out.csv", ""), ("more.csv", "--append"), ("new.csv", "--no-clobber")] {
        symlink(format!("sub/{name}"), place.path(name)).unwrap();
        place.run_line(&format!("convert in.ndjson -o {name} {more}")).ok();
        assert!(fs::symlink_metadata(place.path(name)).unwrap().is_symlink());
        assert_eq!(place.read_text(&format!("sub/{name}")), "a\n1\n");
    }
    symlink("no/out.csv", place.path("lost.csv")).unwrap();
    place
        .run_line("convert in.ndjson -o lost.csv")
        .code(exit::CANNOT_WRITE)
        .says("no such directory")
        .hints("no first");
    symlink("circle.csv", place.path("circle.csv")).unwrap();
    place.run_line("convert in.ndjson -o circle.csv").code(exit::CANNOT_WRITE).says("symbolic links");
    assert_eq!(fs::read_dir(place.path("sub")).unwrap().count(), 3);
}

#[test]
fn a_replaced_file_keeps_its_attributes() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":1}\n");
    for mode in [0o600, 0o640, 0o666, 0o444] {
        for more in ["", " --append"] {
            let path = place.write("out.ndjson", "{\"a\":0}\n");
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let has_attribute =
                rustix::fs::setxattr(&path, "user.origin", b"here", rustix::fs::XattrFlags::empty()).is_ok();
            if is_root() {
                std::os::unix::fs::chown(&path, Some(65534), Some(65533)).unwrap();
            }
            place.run_line(&format!("convert in.ndjson -o out.ndjson{more}")).ok();
            assert_eq!(place.read_text("out.ndjson").lines().count(), if more.is_empty() { 1 } else { 2 });
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!(metadata.mode() & 0o7777, mode, "{mode:o}");
            if is_root() {
                assert_eq!((metadata.uid(), metadata.gid()), (65534, 65533));
            }
            if has_attribute {
                let mut value = [0; 16];
                let len = rustix::fs::getxattr(&path, "user.origin", &mut value[..]).unwrap();
                assert_eq!(&value[..len], b"here");
            }
            fs::remove_file(&path).unwrap();
        }
    }
    place.run_line("convert in.ndjson -o dir/ --to csv").ok();
    let files = ["dir/part-00001.csv", "dir/_manifest.json"].map(|name| place.path(name));
    files.iter().for_each(|path| fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap());
    place.run_line("convert in.ndjson -o dir/ --to csv --where a>1").ok();
    assert_eq!(place.read_text("dir/part-00001.csv"), "a\n");
    files.iter().for_each(|path| assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, 0o600));
    fs::remove_dir_all(place.path("dir")).unwrap();
    // The partial file of personal data is as private as the file that it replaces.
    let path = place.write("out.ndjson", "{\"a\":0}\n");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let mut child = place.command(&["convert", "-", "-o", "out.ndjson"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let feeder = thread::spawn(move || {
        stdin.write_all("{\"a\":1}\n".repeat(1 << 20).as_bytes()).unwrap();
        stdin
    });
    let mode = wait_for("the partial file", || {
        let partial = place.leftovers().into_iter().find(|name| name.ends_with(".partial"))?;
        fs::metadata(place.path(&partial)).ok().map(|metadata| metadata.mode() & 0o777)
    });
    assert_eq!(mode, 0o600);
    drop(feeder.join().unwrap());
    assert_eq!(ended(child).0, exit::SUCCESS);
}

#[test]
fn other_names_of_a_replaced_file_are_reported() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":1}\n");
    place.write("out.ndjson", "old\n");
    fs::hard_link(place.path("out.ndjson"), place.path("other.ndjson")).unwrap();
    place.run_line("convert in.ndjson -o out.ndjson").ok().says("1 other name (hard links)");
    assert_eq!(place.read_text("other.ndjson"), "old\n");
    let done = place.run_line("convert in.ndjson -o out.ndjson").ok();
    assert!(!done.stderr.contains("hard links"));
}

/// Something mounted on a file, unmounted on drop.
struct Mounted(std::path::PathBuf);

impl Mounted {
    /// Mounts `from` on `on`; `None` without the permission to mount.
    fn bind(from: &Path, on: &Path) -> Option<Self> {
        let mounted = Command::new("mount").arg("--bind").args([from, on]).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Mounted(on.to_owned()));
        }
        skip_quietly("nothing can be mounted here");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_file_that_cannot_be_replaced_is_refused_before_the_work() {
    let place = Place::new();
    place.write("in.ndjson", ten(0));
    let (from, on) = (place.write("from.csv", "old\n"), place.write("on.csv", ""));
    let Some(_mounted) = Mounted::bind(&from, &on) else { return };
    for line in [
        "convert in.ndjson -o beside.csv -o on.csv",
        "convert in.ndjson -o beside.csv -o on.csv --append",
        "convert in.ndjson -o beside.csv --on-bad-record skip --rejects on.csv",
        // Not even a run is started.
        "run testdata/workflows/qualify-companies.json --local --input testdata/companies.csv -o beside.csv -o on.csv",
    ] {
        place.run_line(line).code(exit::CANNOT_WRITE).says("on.csv: it is a mount point").hints("-o - > FILE");
        assert_eq!(place.leftovers(), ["from.csv", "in.ndjson", "on.csv"], "{line}");
        assert_eq!(place.read_text("on.csv"), "old\n");
    }
    bash(&place, "drawoff convert in.ndjson -o - --to csv > on.csv").ok();
    assert_eq!(place.read_text("from.csv").lines().count(), 11, "as the hint says");
}

#[test]
fn files_of_other_users_in_sticky_directories_are_refused_before_the_work() {
    let place = Place::new();
    if !is_root() {
        return skip_quietly("only root can make files of other users");
    }
    place.write("in.ndjson", ten(0));
    fs::set_permissions(place.path("."), Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(place.path("shared")).unwrap();
    fs::set_permissions(place.path("shared"), Permissions::from_mode(0o1777)).unwrap();
    let path = place.write("shared/out.csv", "old\n");
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    let mut command = place.program("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", env!("CARGO_BIN_EXE_drawoff")]);
    command.args(["convert", "in.ndjson", "-o", "shared/new.csv", "-o", "shared/out.csv"]);
    let done = Done::of(command);
    // The binary is in a directory of the user who runs the tests.
    if done.code == 126 || done.code == 127 {
        return skip_quietly("other users cannot execute the binary");
    }
    done.code(exit::CANNOT_WRITE).says("shared/out.csv: it belongs to another user");
    assert_eq!(fs::read_dir(place.path("shared")).unwrap().count(), 1);
    std::os::unix::fs::chown(&path, Some(65534), None).unwrap();
    place.run_line("convert in.ndjson -o shared/out.csv").ok();
    assert_eq!(fs::metadata(&path).unwrap().uid(), 65534, "root may replace it, and keeps the owner");
    assert_eq!(fs::read_dir(place.path("shared")).unwrap().count(), 1, "nothing is left of the attempt");
}

#[test]
fn names_need_not_be_utf8() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":1}\n{broken\n");
    let name = |bytes: &'static [u8]| OsStr::from_bytes(bytes);
    let input = place.path(".").join(name(b"caf\xe9.ndjson"));
    // Some file systems have no such names.
    if fs::rename(place.path("in.ndjson"), &input).is_err() {
        return skip_quietly("the file system has only names in UTF-8");
    }
    let mut command = place.command::<&str>(&["convert", "--on-bad-record", "skip", "-o"]);
    command.args([name(b"\xe9.csv"), name(b"caf\xe9.ndjson")]);
    Done::of(command).code(exit::PARTIAL);
    let read = |bytes| fs::read_to_string(place.path(".").join(name(bytes))).unwrap();
    assert_eq!(read(b"\xe9.csv"), "a\n1\n");
    assert!(read(b"\xe9.rejects.ndjson").starts_with("{\"source\":\"caf\u{fffd}.ndjson\""));
    for command in ["schema", "explain"] {
        let mut command = place.command(&[command]);
        command.arg(name(b"\xe9.csv"));
        Done::of(command).ok();
    }
    let mut command = place.command(&["convert", "-o", "dir/"]);
    command.arg(name(b"\xe9.csv"));
    Done::of(command).ok();
}

#[test]
fn a_limit_on_file_sizes_is_an_error() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":1}\n".repeat(100_000));
    place.write("out.ndjson", "old\n");
    let limited = |out: &str| bash(&place, &format!("ulimit -f 100; exec drawoff convert in.ndjson -o {out}"));
    for out in ["out.ndjson", "out.ndjson --append", "out.parquet -o out.csv", "dir/ --to csv"] {
        limited(out).code(exit::CANNOT_WRITE).says("file too large").hints("ulimit -f");
        assert_eq!(place.read_text("out.ndjson"), "old\n");
        assert_eq!(place.leftovers(), ["in.ndjson", "out.ndjson"], "{out}");
    }
    limited("dir/ --to csv --max-file-bytes 50KiB").ok();
}

/// The files that the manifest of `dir/` lists, after a check that these and the marks are all that is there.
fn listed(place: &Place) -> Vec<String> {
    let manifest: Value = serde_json::from_slice(&place.read("dir/_manifest.json")).unwrap();
    let mut files: Vec<String> = Vec::new();
    for file in manifest["files"].as_array().unwrap() {
        let path = file["path"].as_str().unwrap();
        assert_eq!(place.read(&format!("dir/{path}")).len() as u64, file["bytes"].as_u64().unwrap());
        files.push(path.to_owned());
    }
    let mut found = Vec::new();
    let mut directories = vec![place.path("dir")];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => directories.push(path),
                false => found.push(path.strip_prefix(place.path("dir")).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    found.sort();
    let mut wanted = files.clone();
    wanted.extend(["_SUCCESS".to_owned(), "_manifest.json".to_owned()]);
    wanted.sort();
    assert_eq!(found, wanted);
    files.sort();
    files
}

/// The values of `from` in all files of `dir/`, ten rows each.
fn sources_in(place: &Place) -> Vec<usize> {
    let mut found = Vec::new();
    for file in listed(place) {
        let text = place.read_text(&format!("dir/{file}"));
        let rows: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        found.extend(rows.chunks(10).map(|rows| rows[0]["from"].as_u64().unwrap() as usize));
    }
    found.sort_unstable();
    found
}

#[test]
fn commands_write_one_directory_one_after_another() {
    for partitions in ["", " --partition-by from"] {
        for _ in 0..ROUNDS {
            let place = Place::new();
            (0..4).for_each(|from| drop(place.write(&format!("in{from}.ndjson"), ten(from))));
            let line = |from| format!("convert in{from}.ndjson -o dir/ --to ndjson{partitions}");
            at_once(&place, &(0..4).map(line).collect::<Vec<_>>());
            let files = listed(&place);
            assert_eq!(files.len(), 4, "{files:?}");
            if partitions.is_empty() {
                assert_eq!(sources_in(&place), [0, 1, 2, 3]);
            }
        }
    }
}

#[test]
fn results_of_other_sources_stay_in_a_directory() {
    let place = Place::new();
    (0..4).for_each(|from| drop(place.write(&format!("in{from}.ndjson"), ten(from))));
    let convert = |inputs: &str| place.run_line(&format!("convert {inputs} -o dir/ --to ndjson"));
    convert("in0.ndjson").ok();
    convert("in1.ndjson").ok().says("1 file of other sources, which were kept");
    assert_eq!(listed(&place), ["part-00001.ndjson", "part-00002.ndjson"]);
    // The same source by another name, and with other steps.
    symlink("in0.ndjson", place.path("link.ndjson")).unwrap();
    convert("./link.ndjson --where i<10 --max-file-rows 5").ok().says("replaced 1 file of the same sources");
    assert_eq!(listed(&place), ["part-00001.ndjson", "part-00002.ndjson", "part-00003.ndjson"]);
    convert("in0.ndjson").ok().says("replaced 2 files");
    assert_eq!(sources_in(&place), [0, 1]);
    // More sources than before replace what they contain.
    convert("in0.ndjson in1.ndjson in2.ndjson").ok();
    assert_eq!(sources_in(&place), [0, 1, 2]);
    for inputs in ["in2.ndjson", "in2.ndjson in3.ndjson"] {
        let done = convert(inputs).code(exit::CANNOT_WRITE);
        done.says("together with results of others").hints("by one command");
        assert_eq!(sources_in(&place), [0, 1, 2]);
    }
    convert("in3.ndjson").ok();
    assert_eq!(sources_in(&place), [0, 1, 2, 3]);
    // A result is not added to the others once more.
    let done = place.run_line("convert dir/part-00001.ndjson -o dir/ --to ndjson").code(exit::USAGE);
    done.says("is an input and a result in dir").hints("another directory");
    place.run_line("convert dir/part-00001.ndjson dir/part-00002.ndjson -o dir2/").ok();
    // A file that is not drawoff's.
    place.write("dir/part-00003.ndjson", "precious");
    place.write("in4.ndjson", ten(4));
    convert("in4.ndjson").ok().says("that its manifest does not list");
    assert_eq!(place.read_text("dir/part-00003.ndjson"), "precious");
    fs::remove_file(place.path("dir/part-00003.ndjson")).unwrap();
    assert_eq!(sources_in(&place), [0, 1, 2, 3, 4]);
}

#[test]
fn results_that_appear_meanwhile_are_not_replaced() {
    let place = Place::new();
    place.write("in.ndjson", ten(0));
    place.run_line("convert in.ndjson -o dir/ --to ndjson").ok();
    let held = lock(&place, "dir/.drawoff-lock");
    let child = waiting(&place, "convert in.ndjson -o dir/ --to ndjson --limit 1");
    // What another command would do: another file of the set, and its journal while it does so.
    let digest = |text: &[u8]| {
        place.read_text("dir/_manifest.json").replacen(
            &serde_json::from_slice::<Value>(text).unwrap()["files"][0]["sha256"].as_str().unwrap()[..8],
            "00000000",
            1,
        )
    };
    let changed = digest(&place.read("dir/_manifest.json"));
    place.write("dir/_manifest.json", changed);
    drop(held);
    let (code, stderr) = ended(child);
    assert_eq!(code, exit::CANNOT_WRITE, "{stderr}");
    assert!(stderr.contains("meanwhile") && stderr.contains("hint: the same command"), "{stderr}");
    assert_eq!(sources_in(&place), [0]);
    place.run_line("convert in.ndjson -o dir/ --to ndjson --limit 1").ok();
    assert_eq!(place.read_text("dir/part-00001.ndjson").lines().count(), 1);
}

#[test]
fn a_journal_is_undone_only_when_its_writer_has_ended() {
    let place = Place::new();
    (0..2).for_each(|from| drop(place.write(&format!("in{from}.ndjson"), ten(from))));
    place.run_line("convert in0.ndjson -o dir/ --to ndjson").ok();
    // A writer in the midst of its work: its file is there, its manifest is not.
    let held = lock(&place, "dir/.drawoff-lock");
    place.write("dir/.drawoff-journal.json", r#"["part-00002.ndjson","part-00007.ndjson"]"#);
    place.write("dir/part-00007.ndjson", ten(7));
    let child = waiting(&place, "convert in1.ndjson -o dir/ --to ndjson");
    assert_eq!(place.read_text("dir/part-00007.ndjson"), ten(7));
    // It is killed.
    drop(held);
    let (code, stderr) = ended(child);
    assert_eq!(code, exit::SUCCESS, "{stderr}");
    assert_eq!(sources_in(&place), [0, 1]);

    // A file of another conversion that a killed writer has replaced is no result any more.
    place.write("dir/.drawoff-journal.json", r#"["part-00002.ndjson"]"#);
    place.write("dir/part-00002.ndjson", ten(8));
    place.run_line("convert in0.ndjson -o dir/ --to ndjson").ok().says("removed 1 file of an interrupted command");
    assert_eq!(sources_in(&place), [0]);
}

#[test]
fn a_manifest_leads_nowhere_else() {
    let place = Place::new();
    place.write("in.ndjson", ten(0));
    fs::create_dir(place.path("foreign")).unwrap();
    place.write("foreign/v3", "precious");
    fs::create_dir(place.path("dir")).unwrap();
    symlink("../foreign", place.path("dir/lnk")).unwrap();
    let entry = r#"{"path":"lnk/v3","rows":1,"bytes":8,"sha256":"","set":"part"}"#;
    place.write("dir/_manifest.json", format!(r#"{{"version":1,"writer":"","rows":1,"bytes":8,"files":[{entry}]}}"#));
    place.run_line("convert in.ndjson -o dir/ --to ndjson").code(exit::CANNOT_WRITE).says("behind a symbolic link");
    assert_eq!(place.read_text("foreign/v3"), "precious");
    // A manifest that is no file is not waited for.
    fs::remove_dir_all(place.path("dir")).unwrap();
    fs::create_dir(place.path("dir")).unwrap();
    rustix::fs::mkfifoat(rustix::fs::CWD, place.path("dir/_manifest.json"), rustix::fs::Mode::from_raw_mode(0o600))
        .unwrap();
    place.run_line("convert in.ndjson -o dir/ --to ndjson").code(exit::CANNOT_WRITE).says("not a regular file");
}

#[test]
fn a_pipe_gets_all_rows_or_none() {
    let place = Place::new();
    let good: String = (0..300_000).map(|i| format!("{{\"i\":{i}}}\n")).collect();
    place.write("good.ndjson", &good);
    place.write("bad.ndjson", format!("{good}{{\"i\":"));
    place.write("late.ndjson", format!("{good}{{\"i\":0.5,\"late\":\"x\"}}\n"));
    // Without the flag the rows before the error are gone.
    assert!(!place.run_line("convert bad.ndjson -o -").code(exit::BAD_DATA).stdout.is_empty());
    for out in ["-o - --to ndjson", "-o - --to csv", "-o /dev/stdout --to ndjson", "-o - --to ndjson -o file.parquet"] {
        place.run_line(&format!("convert bad.ndjson {out} --whole")).code(exit::BAD_DATA).quiet();
        assert!(!place.path("file.parquet").exists());
        let line = format!("convert late.ndjson {out} --whole");
        assert_eq!(place.run_line(&line).ok().text().lines().count(), 300_001 + usize::from(out.contains("csv")));
    }
    assert!(place.read("file.parquet").starts_with(b"PAR1"));
    // Late columns are in the header, as in a file.
    let done = place.run_line("convert late.ndjson -o - --to csv --whole").ok();
    assert!(done.text().starts_with("i,late\n0,\n"), "{}", &done.text()[..40]);
    // A row too few for the API is an error before anything is shown.
    let script = crate::support::api::Script { row_count: 3, ..Default::default() };
    let server = script.start();
    let api = Place::with_service(&server.url);
    let pull = format!("pull {} -o -", crate::support::api::RUN_ID);
    assert!(!api.run_line(&pull).code(exit::MISMATCH).stdout.is_empty());
    api.run_line(&format!("{pull} --whole")).code(exit::MISMATCH).quiet();
    // A reader that closes early is no error, and does not keep the file back.
    let done = bash(&place, "drawoff convert good.ndjson -o - --to ndjson -o all.parquet --whole | head -n 1").ok();
    assert_eq!(done.text(), "{\"i\":0}\n");
    assert!(place.read("all.parquet").starts_with(b"PAR1"));
    // Named pipes, too, and nothing is left in the directory for temporary files.
    bash(&place, "mkfifo p; cat p > got & drawoff convert bad.ndjson -o p --to ndjson --whole; wait; wc -c < got")
        .ok()
        .says("bad.ndjson");
    assert_eq!(place.read("got"), b"");
    assert!(fs::read_dir(place.path("tmp")).unwrap().next().is_none());
}

#[test]
fn files_are_not_scattered_over_the_current_directory() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":1}\n");
    fs::create_dir(place.path("sub")).unwrap();
    for out in [".", "./", "..", "./.."] {
        place.run_line(&format!("convert in.ndjson -o {out}")).code(exit::USAGE).says("scatter").hints("results/");
    }
    assert_eq!(place.leftovers(), ["in.ndjson", "sub"]);
    place.run_line("convert in.ndjson -o ./sub").ok();
    place.run(&["convert", "in.ndjson", "-o", &format!("{}/", place.path("sub").display())]).ok();
    assert!(place.path("sub/_SUCCESS").exists());
}
