//! Names of outputs that meet: locks of similar names, files that one output would take from another, results in a
//! directory that cannot be replaced, and what a killed command left of them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Done, Place, exit};

const TWO: &str = "{\"c\":\"a\",\"i\":0}\n{\"c\":\"b\",\"i\":1}\n";

#[test]
fn files_with_similar_names_are_appended_to_by_one_command() {
    let place = Place::new();
    place.write("in.ndjson", TWO);
    // Partial files and locks have a part of so long a name.
    let name = |last: char| format!("{}{last}.ndjson", "a".repeat(180));
    for rows in [2, 4] {
        place.run(&["convert", "in.ndjson", "-o", &name('x'), "-o", &name('y'), "--append"]).ok();
        assert_eq!(place.read_text(&name('x')).lines().count(), rows);
        assert_eq!(place.read_text(&name('y')).lines().count(), rows);
    }
    assert!(place.leftovers().iter().all(|name| !name.starts_with('.')), "{:?}", place.leftovers());
}

#[test]
fn no_output_takes_the_file_of_another() {
    let place = Place::new();
    place.write("in.ndjson", format!("{TWO}{{bad\n"));
    let skip = "--on-bad-record skip";
    place.run_line(&format!("convert in.ndjson -o dir/ --to csv {skip}")).code(exit::PARTIAL);
    let before = place.read("dir/part-00001.csv");
    let flags = [
        "-o dir/ --to csv --rejects dir/part-00001.csv",
        "-o dir/ --to csv -o dir/part-00001.csv --to ndjson",
        "-o dir/ --to csv -o dir/_manifest.json --to ndjson",
        "-o dir/ --to csv --partition-by c -o dir/c=a/part-00001.csv --to ndjson",
    ];
    fs::create_dir(place.path("dir/c=a")).unwrap();
    for flags in flags {
        let done = place.run_line(&format!("convert in.ndjson {flags} {skip} --with k=1"));
        done.code(exit::CANNOT_WRITE).says("two outputs have this name").hints("another name");
        assert_eq!(place.read("dir/part-00001.csv"), before, "{flags}");
        assert!(place.path("dir/_SUCCESS").exists(), "{flags}");
        assert!(fs::read_dir(place.path("dir/c=a")).unwrap().next().is_none(), "{flags}");
    }
    // Any other name in the directory is free.
    place
        .run_line(&format!("convert in.ndjson -o dir/ --to csv --rejects dir/rejects.ndjson {skip}"))
        .code(exit::PARTIAL);
    assert_eq!(place.read_text("dir/rejects.ndjson").lines().count(), 1);
    // An input is refused before the rows are known.
    place.write("sheet-2.csv", "a\n1\n");
    place.run_line("convert sheet-2.csv -o sheet.csv --excel").code(exit::USAGE).says("sheet-2.csv is an input");
    place.run_line("convert sheet-2.csv -o sheet.csv").ok();
}

#[test]
fn results_that_cannot_be_replaced_stay_as_they_are() {
    let place = Place::new();
    place.write("in.ndjson", TWO);
    let line = "convert in.ndjson -o dir/ --to csv --partition-by c";
    place.run_line(line).ok();
    let first = place.read("dir/c=a/part-00001.csv");
    fs::remove_file(place.path("dir/c=b/part-00001.csv")).unwrap();
    fs::create_dir(place.path("dir/c=b/part-00001.csv")).unwrap();
    // Before the input is read: its last record is bad.
    place.write("in.ndjson", format!("{TWO}{{bad\n"));
    place.run_line(line).code(exit::CANNOT_WRITE).says("dir/c=b/part-00001.csv: it is a directory");
    assert_eq!(place.read("dir/c=a/part-00001.csv"), first);
    assert!(place.path("dir/_SUCCESS").exists());
    assert!(!place.path("dir/.drawoff-journal.json").exists());
    // A name that only the rows tell, behind a file.
    place.write("in.ndjson", TWO.replace("\"b\"", "\"x\""));
    fs::remove_dir(place.path("dir/c=b/part-00001.csv")).unwrap();
    place.write("dir/c=x", "a file");
    place.run_line(line).code(exit::CANNOT_WRITE);
    assert_eq!(place.read("dir/c=a/part-00001.csv"), first);
    assert!(place.path("dir/_SUCCESS").exists());
}

#[test]
fn half_of_the_results_of_other_sources_never_pass_for_all() {
    let place = Place::new();
    place.write("in.ndjson", TWO);
    place.write("other.ndjson", TWO);
    let line = |name: &str| format!("convert {name}.ndjson -o dir/ --to csv --partition-by c");
    place.run_line(&line("in")).ok();
    // What a command leaves that is killed while it replaces them.
    place.write("dir/.drawoff-journal.json", r#"["c=a/part-00001.csv","c=b/part-00001.csv"]"#);
    place.write("dir/c=a/part-00001.csv", "i,late\n0,1\n");
    fs::remove_file(place.path("dir/_SUCCESS")).unwrap();
    let done = place.run_line(&line("other")).code(exit::CANNOT_WRITE);
    done.says("an interrupted command replaced only some").hints("run that command again");
    assert!(!place.path("dir/_SUCCESS").exists());
    place.run_line(&line("in")).ok();
    place.run_line(&line("other")).ok();
    for name in ["c=a/part-00001.csv", "c=b/part-00001.csv", "c=a/part-00002.csv", "c=b/part-00002.csv"] {
        assert_eq!(place.read_text(&format!("dir/{name}")).lines().count(), 2, "{name}");
    }
}

#[test]
fn rows_that_are_kept_back_are_in_the_directory_for_temporary_files() {
    let place = Place::new();
    place.write("in.ndjson", TWO);
    // Of a killed command: no process has so high a number.
    let left = "tmp/.drawoff-output.2000000000-abcdef.partial";
    place.write(left, TWO);
    place.run_line("convert in.ndjson -o - --whole").ok();
    assert!(!place.path(left).exists());
    let place = place.env("TMPDIR", "/nowhere");
    let done = place.run_line("convert in.ndjson -o - --whole").code(exit::CANNOT_WRITE);
    done.says("kept in /nowhere").hints("TMPDIR").quiet();
}

#[test]
fn temporary_directories_of_killed_commands_are_removed() {
    let place = Place::new();
    place.write("in.ndjson", TWO);
    let lines = [
        "convert in.ndjson -o sorted.csv --sql 'select * from results order by i'",
        "run testdata/workflows/qualify-companies.json --local --input testdata/companies.csv -o out.parquet",
    ];
    for line in lines {
        let args: Vec<String> = line.split('\'').enumerate().fold(Vec::new(), |mut args, (i, part)| {
            match i % 2 {
                0 => args.extend(part.split_whitespace().map(str::to_owned)),
                _ => args.push(part.to_owned()),
            }
            args
        });
        let (left, alive) = ("tmp/.parts.2000000000-abcdef.partial", "tmp/.parts.2000000000-locked.partial");
        for name in [left, alive] {
            fs::create_dir_all(place.path(&format!("{name}/files"))).unwrap();
            place.write(&format!("{name}/files/rows"), TWO);
            place.write(&format!("{name}/lock"), "");
        }
        let lock = fs::File::open(place.path(&format!("{alive}/lock"))).unwrap();
        lock.try_lock().unwrap();
        place.run(&args).ok();
        assert!(!place.path(left).exists(), "{line}");
        assert!(place.path(&format!("{alive}/files/rows")).exists(), "{line}");
        assert_eq!(fs::read_dir(place.path("tmp")).unwrap().count(), 1, "{line}");
    }
}

#[test]
fn a_pipe_that_may_not_be_written_is_refused_before_the_work() {
    let place = Place::new();
    // The last record is bad, which only the work would find.
    place.write("in.ndjson", format!("{TWO}{{bad\n"));
    rustix::fs::mkfifoat(rustix::fs::CWD, place.path("pipe"), rustix::fs::Mode::from_raw_mode(0o400)).unwrap();
    fs::create_dir(place.path("open")).unwrap();
    for (name, mode) in [(".", 0o755), ("open", 0o777)] {
        fs::set_permissions(place.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    // Root may write everywhere.
    let is_root = rustix::process::geteuid().is_root();
    for flags in ["-o pipe --to csv", "-o open/out.csv --on-bad-record skip --rejects pipe"] {
        let mut command = place.program(if is_root { "setpriv" } else { env!("CARGO_BIN_EXE_drawoff") });
        if is_root {
            command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups", env!("CARGO_BIN_EXE_drawoff")]);
        }
        command.args(["convert", "in.ndjson"]).args(flags.split(' '));
        let done = Done::of(command);
        // The binary is in a directory of the user who runs the tests.
        if is_root && [126, 127].contains(&done.code) {
            return;
        }
        done.code(exit::CANNOT_WRITE).says("cannot write pipe: permission denied");
        assert!(!place.path("open/out.csv").exists());
    }
}
