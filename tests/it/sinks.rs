//! Outputs: directories, partitions, Arrow, several outputs at once, `--append`, object stores, `--excel` and full
//! disks.

use std::io::Write;
use std::process::{Command, Stdio};

use parquet::file::reader::{FileReader, SerializedFileReader};

use serde_json::{Value, json};

use crate::support::{Done, Place, exit, root, rows, tool};

#[test]
fn python_reads_every_row_of_every_target() {
    let Some(python) = tool("DRAWOFF_TEST_PYTHON") else { return };
    // Small enough that every file is made of many pieces.
    let place = Place::new().morsels("8KiB");
    let mut command = place.program(python);
    command.arg(root().join("tests/readers/check_sinks.py")).args([env!("CARGO_BIN_EXE_drawoff"), "."]);
    assert!(Done::of(command).ok().text().ends_with(" comparisons\n"));
}

#[test]
fn objects_are_stored_whole_or_not_at_all() {
    // A Python that has moto and boto3; `.ci/run` makes one.
    let Some(python) = tool("DRAWOFF_TEST_MOTO_PYTHON") else { return };
    let place = Place::new();
    let mut command = place.program(python);
    command.arg(root().join("tests/readers/check_objects.py")).args([env!("CARGO_BIN_EXE_drawoff"), "."]);
    assert!(Done::of(command).ok().text().ends_with(" comparisons\n"));
}

/// Generates so many rows.
fn many(rows: usize) -> String {
    (0..rows).map(|i| format!("{{\"id\":{i},\"text\":\"row number {i} of many\"}}\n")).collect()
}

#[test]
fn a_closed_pipe_does_not_stop_other_outputs() {
    let place = Place::new();
    place.write("in.ndjson", many(60_000));
    let bin = env!("CARGO_BIN_EXE_drawoff");
    for (more, lines) in [("--to csv", "id,text\n"), ("--to ndjson", "{\"id\":0,\"text\":\"row number 0 of many\"}\n")]
    {
        let line = format!(
            "{bin} convert in.ndjson -o all.parquet -o - {more} -o all.csv | head -n 1; exit ${{PIPESTATUS[0]}}"
        );
        let mut command = place.program("bash");
        command.args(["-c", &line]);
        let done = Done::of(command).ok().says("closed by its reader before the end");
        assert_eq!(done.text(), lines);
        assert_eq!(rows::parquet(place.read("all.parquet")).len(), 60_000);
        assert_eq!(place.read_text("all.csv").lines().count(), 60_001);
    }
    // As the only output, a closed pipe is a success, also of an Arrow stream.
    let mut command = place.program("bash");
    command.args([
        "-c",
        &format!("{bin} convert in.ndjson -o - --to arrow-stream | head -c 10 | wc -c; exit ${{PIPESTATUS[0]}}"),
    ]);
    assert_eq!(Done::of(command).ok().text().trim(), "10");
}

#[test]
fn standard_output_is_flushed_beside_a_file() {
    let place = Place::new();
    let mut command = place.command(&["convert", "-", "-o", "all.parquet", "-o", "-", "--to", "csv"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    stdin.write_all(b"{\"a\":1}\n").unwrap();
    // Waits for as long as it takes: the input has no end yet.
    let mut seen = [0; 4];
    std::io::Read::read_exact(&mut stdout, &mut seen).unwrap();
    assert_eq!(&seen, b"a\n1\n");
    stdin.write_all(b"{\"a\":2}\n").unwrap();
    drop(stdin);
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut stdout, &mut rest).unwrap();
    assert_eq!(rest, "2\n");
    assert!(child.wait().unwrap().success());
    assert_eq!(rows::parquet(place.read("all.parquet")).len(), 2);
}

#[test]
fn outputs_appear_together_or_not_at_all() {
    let place = Place::new();
    place.write("in.ndjson", many(100) + "{broken\n");
    place.run_line("convert in.ndjson -o a.parquet -o b.csv -o dir/ -o c.arrow").code(exit::BAD_DATA).says("line 101");
    assert_eq!(place.leftovers(), ["in.ndjson"]);
    place.run_line("convert in.ndjson -o a.csv -o a.csv").code(exit::USAGE).says("specified twice");
    place
        .run_line("convert in.ndjson -o a.csv --partition-by id")
        .code(exit::USAGE)
        .says("applies only to directories");
    place.write("good.ndjson", many(10));
    let done = place.run_line("convert good.ndjson -o dir/ --partition-by txet");
    done.code(exit::USAGE).says("no column `txet`").says("id, text");
    place.run_line("convert good.ndjson -o a.parquet --append").code(exit::USAGE).hints("directory");
    assert_eq!(place.leftovers(), ["good.ndjson", "in.ndjson"]);
}

#[test]
fn columns_that_widen_late_are_whole_in_every_folder() {
    let place = Place::new().morsels("4KiB");
    let late = |i: u64| match i {
        0..700 => json!({"id": i, "few": i % 3, "text": null, "number": i, "mixed": "a", "list": []}),
        _ => json!({"id": i, "few": i % 3, "text": "b", "number": 0.5, "mixed": {"k": i}, "list": [i]}),
    };
    let lines: String = (0..1000).map(|i| format!("{}\n", late(i))).collect();
    place.write("in.ndjson", lines);
    place.run_line("convert in.ndjson -o dir/ --partition-by few").ok().says("1 000 written");
    let mut found = 0;
    for few in 0..3 {
        for row in rows::parquet(place.read(&format!("dir/few={few}/part-00001.parquet"))) {
            let wanted = late(row["id"].as_u64().unwrap());
            assert_eq!(wanted["few"], json!(few));
            assert_eq!(row["text"], wanted["text"]);
            assert_eq!(row["number"].as_f64(), wanted["number"].as_f64());
            assert_eq!(serde_json::from_str::<Value>(row["mixed"].as_str().unwrap()).unwrap(), wanted["mixed"]);
            assert_eq!(row["list"], wanted["list"]);
            found += 1;
        }
    }
    assert_eq!(found, 1000);
}

#[test]
fn no_clobber_keeps_a_directory_of_results() {
    let place = Place::new();
    place.write("in.ndjson", many(10));
    place.run_line("convert in.ndjson -o dir/ --to csv").ok().says("1 file, listed in dir/_manifest.json");
    let before = place.read("dir/part-00001.csv");
    place
        .run_line("convert in.ndjson -o dir/ --to csv --limit 1 --no-clobber")
        .code(exit::CANNOT_WRITE)
        .says("contains results");
    assert_eq!(place.read("dir/part-00001.csv"), before);
    place.run_line("convert in.ndjson -o dir --to csv --limit 1").ok();
    assert_eq!(place.read_text("dir/part-00001.csv"), "id,text\n0,row number 0 of many\n");
}

#[test]
fn a_directory_is_repaired_after_a_kill() {
    let place = Place::new();
    place.write("in.ndjson", many(10));
    place.run_line("convert in.ndjson -o dir/ --to csv").ok();
    // The state after a kill between the first and the last rename.
    std::fs::remove_file(place.path("dir/_SUCCESS")).unwrap();
    place.write("dir/part-00009.csv", "id,text\n");
    place.write("dir/.drawoff-journal.json", r#"["part-00001.csv","part-00009.csv","../in.ndjson"]"#);
    place.run_line("convert in.ndjson -o dir/ --to csv").ok();
    let mut left: Vec<_> = std::fs::read_dir(place.path("dir"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["_SUCCESS", "_manifest.json", "part-00001.csv"]);
    assert!(place.path("in.ndjson").exists(), "a journal leads nowhere else");
}

#[test]
fn append_needs_the_same_header() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":1,\"b\":\"x\"}\n");
    place.write("out.csv", "a,b\r\n0,w");
    let done = place.run_line("convert in.ndjson -o out.csv --append");
    done.code(exit::USAGE).says("its header differs").hints("--append");
    place.run_line("convert in.ndjson -o out.csv --append --crlf").ok();
    assert_eq!(place.read_text("out.csv"), "a,b\r\n0,w\n1,x\r\n");
    place.write("other.csv", "a,c\n0,w\n");
    place.run_line("convert in.ndjson -o other.csv --append").code(exit::USAGE).says("its header differs");
    assert_eq!(place.read_text("other.csv"), "a,c\n0,w\n");
    place.write("open.csv", "a,b\n0,w\n1,\"unclosed\n");
    place.run_line("convert in.ndjson -o open.csv --append").code(exit::USAGE).says("line 3").hints("close the quote");
    assert_eq!(place.read_text("open.csv"), "a,b\n0,w\n1,\"unclosed\n");
    place.write("closed.csv", "a,b\n1,\"two\nlines\"");
    place.run_line("convert in.ndjson -o closed.csv --append").ok();
    assert_eq!(place.read_text("closed.csv"), "a,b\n1,\"two\nlines\"\n1,x\n");
    place.write("bad.ndjson", "{\"a\":1,\"b\":\"x\"}\n{broken\n");
    place.write("out.ndjson", "{\"z\":0}");
    place.run_line("convert bad.ndjson -o out.ndjson --append").code(exit::BAD_DATA).says("bad.ndjson line 2");
    assert_eq!(place.read_text("out.ndjson"), "{\"z\":0}");
    place.run_line("convert in.ndjson -o out.ndjson --append").ok();
    assert_eq!(place.read_text("out.ndjson"), "{\"z\":0}\n{\"a\":1,\"b\":\"x\"}\n");
    assert_eq!(place.leftovers().iter().filter(|name| name.starts_with('.')).count(), 0);
}

#[test]
fn excel_output_is_split_at_the_row_limit() {
    let place = Place::new();
    let rows = 1_048_575 + 3;
    place.write("in.ndjson", "{\"a\":1}\n".repeat(rows));
    place.run_line("convert in.ndjson -o out.csv --excel").ok().says("out-2.csv");
    let first = place.read_text("out.csv");
    assert_eq!(first.lines().count(), 1_048_576);
    assert_eq!(place.read_text("out-2.csv"), "\u{feff}a\r\n1\r\n1\r\n1\r\n");
    let done = place.run_line("convert in.ndjson -o new.csv -o new-2.csv --to csv --excel");
    done.code(exit::CANNOT_WRITE).says("new-2.csv: two outputs have this name");
    assert!(!place.path("new.csv").exists() && !place.path("new-2.csv").exists());
    place.write("few.ndjson", "{\"a\":1}\n");
    place.run_line("convert few.ndjson -o out.csv --excel").ok().says("out-2.csv is left from an earlier run");
    let done = place.run_line("convert in.ndjson -o - --to csv --excel").ok().says("a spreadsheet shows at most");
    assert_eq!(done.text().lines().count(), rows + 1);
}

#[test]
fn outputs_record_their_run_and_block() {
    let place = Place::new();
    let line =
        "run testdata/workflows/qualify-companies.json --local --input testdata/companies.csv -o out/ -o one.parquet";
    place.run_line(line).ok();
    let manifest: serde_json::Value = serde_json::from_slice(&place.read("out/_manifest.json")).unwrap();
    let file = manifest["files"][0]["path"].as_str().unwrap();
    let reader = SerializedFileReader::new(bytes::Bytes::from(place.read("one.parquet"))).unwrap();
    let said = reader.metadata().file_metadata().key_value_metadata().unwrap().clone();
    let said = |key: &str| said.iter().find(|pair| pair.key == key).and_then(|pair| pair.value.clone()).unwrap();
    assert_eq!(said("drawoff.version"), env!("CARGO_PKG_VERSION"));
    assert!(!said("drawoff.workflow").is_empty());
    // File names in a directory contain run and block, so results of the same block replace each other.
    let block: u32 = said("drawoff.block").parse().unwrap();
    assert_eq!(file, format!("{}-{block:02}-00001.parquet", said("drawoff.run")));
}

/// A file system of 512 KiB at `mnt`, unmounted on drop.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    /// Mounts it; `None` without the permission to mount.
    #[expect(clippy::print_stderr, reason = "who runs the test should know that it is skipped")]
    fn mount(place: &Place) -> Option<Self> {
        let path = place.path("mnt");
        std::fs::create_dir(&path).unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=512k", "tmpfs"]).arg(&path).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(SmallDisk(path));
        }
        eprintln!("skipped: no file system can be mounted here");
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_leaves_every_target_unchanged() {
    let place = Place::new();
    let Some(_disk) = SmallDisk::mount(&place) else { return };
    let mut state = 1u64;
    let noise: String = (0..60_000)
        .map(|i| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            format!("{{\"id\":{i},\"noise\":\"{state:016x}{:016x}\",\"few\":{}}}\n", !state, state >> 61)
        })
        .collect();
    place.write("in.ndjson", noise);
    place.write("mnt/out.csv", "id,noise,few\n");
    for out in [
        "mnt/out.csv",
        "mnt/out.parquet",
        "mnt/out.arrow",
        "mnt/dir/ --to csv",
        "mnt/dir/ --to parquet --partition-by few",
        "beside.csv -o mnt/out.ndjson",
        "mnt/out.csv --append",
    ] {
        place.run_line(&format!("convert in.ndjson -o {out}")).code(exit::DISK_FULL).says("cannot write mnt/");
        let left: Vec<_> =
            std::fs::read_dir(place.path("mnt")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["out.csv"], "{out}");
        assert_eq!(place.read_text("mnt/out.csv"), "id,noise,few\n");
        assert_eq!(place.leftovers(), ["in.ndjson", "mnt"], "{out}");
    }
}
