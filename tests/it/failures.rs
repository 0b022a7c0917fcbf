//! Errors that users meet: each has an exit code, a message and, if something can be done, a hint. A failed command
//! creates no output and leaves an existing one unchanged.

use std::io::BufReader;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::Stdio;

use crate::support::api::{RUN_ID, Script};
use crate::support::{Done, Place, Service, exit, interrupt, read_until, rows};

const RUN_LEADS: [&str; 6] =
    ["run", "testdata/workflows/webhook-leads.json", "--payload", "@testdata/leads.json", "-o", "out.ndjson"];

fn run_scripted(script: Script, more: &[&str]) -> (Place, Done) {
    let server = script.start();
    let place = Place::with_service(&server.url);
    let done = place.run(&[&RUN_LEADS[..], more].concat());
    (place, done)
}

#[test]
fn a_missing_key_is_reported() {
    let place = Place::new();
    let done = place.run(&RUN_LEADS).code(exit::NO_KEY).quiet();
    // The hint offers a key and the local service.
    done.says("SIXTYFOUR_API_KEY").hints("--local");
    assert!(place.leftovers().is_empty());
}

#[test]
fn a_refused_key_is_reported() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &["--api-key", "another"]);
    let place = Place::with_service(&service.url);
    place.run(&RUN_LEADS).code(exit::KEY_REFUSED).says("Invalid API key").hints("SIXTYFOUR_API_KEY");
    place.run_line("workflows ls").code(exit::KEY_REFUSED).says("Invalid API key").hints("SIXTYFOUR_API_KEY");
}

#[test]
fn unknown_workflows_and_runs_are_not_found() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let place = Place::with_service(&service.url);
    for workflow in ["No such name", "3f0c1c5b-88e0-4c3c-a6c9-0c9d7f2f5e77"] {
        let args = ["run", workflow, "--payload", "[]", "-o", "out.ndjson"];
        place.run(&args).code(exit::NOT_FOUND).says(workflow).hints("drawoff workflows ls");
        place.run(&["workflows", "get", workflow]).code(exit::NOT_FOUND).hints("drawoff workflows ls");
    }
    place.run_line(&format!("pull {RUN_ID} -o out.ndjson")).code(exit::NOT_FOUND).says(RUN_ID);
    place.run_line("run missing.json --payload [] -o out.ndjson").code(exit::CANNOT_READ).says("missing.json");
}

#[test]
fn unusable_inputs_are_refused() {
    let place = Place::new();
    place.write("list.json", "[]");
    place.write("a.csv", "a\n1\n");
    let cases = [
        ("run list.json --local -o o.ndjson", "found an array"),
        ("run testdata/workflows/webhook-leads.json --local --payload nope -o o.ndjson", "--payload is not valid JSON"),
        ("convert ftp://files.test/a.csv -o o.ndjson", "only http and https"),
        ("convert - -o o.ndjson --schema-from full", "save the source to a file first"),
        ("pull r1 --all-blocks -o a.csv", "a.csv is a file"),
    ];
    for (line, words) in cases {
        place.run_line(line).code(exit::USAGE).says(words);
    }
    place.write(
        "weebhook.json",
        r#"{"edges":[],"blocks":[
        {"sequence_number":1,"block_type":"io","block_name":"weebhook","specs":{}}]}"#,
    );
    place.run_line("run weebhook.json --local --payload {} -o o.ndjson").code(exit::REFUSED).hints("webhook, read_csv");
    let args = ["run", "testdata/workflows/webhook-leads.json", "--local", "--payload", "@-", "-o", "o.ndjson"];
    place.run_with_stdin(&args, &std::fs::read("testdata/leads.json").unwrap()).ok();
}

#[test]
fn a_failed_run_reports_the_error_of_its_block() {
    let place = Place::new();
    let line = "run testdata/workflows/broken-column.json --local --input testdata/companies.csv -o out.parquet";
    place.run_line(line).code(exit::RUN_FAILED).quiet().says("filter").says("head_count");
    assert!(place.leftovers().is_empty());

    let script = Script { status: "failed", error_message: Some("the moon is in the way"), ..Script::default() };
    let (place, done) = run_scripted(script, &[]);
    done.code(exit::RUN_FAILED).says("the moon is in the way").says("filter");
    assert!(!place.path("out.ndjson").exists());
}

#[test]
fn a_cyclic_workflow_is_refused() {
    let place = Place::new();
    let line = "run testdata/workflows/broken-cycle.json --local --input testdata/companies.csv -o out.parquet";
    place.run_line(line).code(exit::REFUSED).says("cycle");
}

#[test]
fn cancelled_and_timed_out_runs_have_their_exit_codes() {
    for (status, code, word) in
        [("cancelled", exit::RUN_CANCELLED, "cancelled"), ("timeout", exit::RUN_TIMED_OUT, "timed out")]
    {
        let (place, done) = run_scripted(Script { status, ..Script::default() }, &[]);
        done.code(code).says(word).says(RUN_ID);
        assert!(!place.path("out.ndjson").exists());
    }
}

#[test]
fn a_passed_deadline_leaves_the_run_at_the_service() {
    let (_, done) = run_scripted(Script { status: "running", ..Script::default() }, &["--deadline", "1s"]);
    // The run continues at the service; the hint names the command that pulls it.
    done.code(exit::DEADLINE_PASSED).hints(RUN_ID);
}

#[test]
fn a_row_count_other_than_the_apis_fails() {
    let (place, done) = run_scripted(Script { row_count: 3, ..Script::default() }, &[]);
    done.code(exit::MISMATCH).says("row_count").says("3").says("2");
    assert!(!place.path("out.ndjson").exists());
}

#[test]
fn a_download_that_never_completes_fails() {
    let (place, done) = run_scripted(Script { cut_at: Some(20), ..Script::default() }, &[]);
    let done = done.code(exit::DOWNLOAD_BROKEN).hints(&format!("drawoff pull {RUN_ID}"));
    assert!(!done.stderr.contains("marked-signature"), "a signed URL is a secret: {}", done.stderr);
    assert!(!place.path("out.ndjson").exists());
}

#[test]
fn an_unreachable_api_is_reported() {
    // A port that was free a moment ago.
    let url = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    Place::with_service(&url).run_line("workflows ls").code(exit::UNREACHABLE).says(url.trim_start_matches("http://"));
}

#[test]
fn a_bad_ndjson_record_fails_or_is_rejected() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":1}\n{\"a\":2}\n{\"a\":secret-value}\n{\"a\":4}\n[5]\n");
    let done = place.run_line("convert in.ndjson -o out.parquet").code(exit::BAD_DATA).quiet();
    // The message has the position of the record, not its values.
    let done = done.says("in.ndjson line 3").hints("--on-bad-record skip");
    assert!(!done.stderr.contains("secret-value"), "values are not shown: {}", done.stderr);
    assert_eq!(place.leftovers(), ["in.ndjson"]);

    // With rejects, the neighbors are written, and the exit code is `partial`.
    let line = "convert in.ndjson -o out.ndjson --on-bad-record skip --rejects bad.ndjson";
    place.run_line(line).code(exit::PARTIAL).says("2 rejected");
    assert_eq!(rows::ndjson(&place.read("out.ndjson")), [1, 2, 4].map(|a| serde_json::json!({ "a": a })));
    let rejects = rows::ndjson(&place.read("bad.ndjson"));
    assert_eq!(rejects.len(), 2);
    assert_eq!(rejects[0]["line"], 3);

    place.run_line("convert in.ndjson -o two.ndjson --on-bad-record limit=2").code(exit::PARTIAL).says("2 rejected");
    place.run_line("convert in.ndjson -o one.ndjson --on-bad-record limit=1").code(exit::BAD_DATA).says("line 5");
    assert!(!place.path("one.ndjson").exists());
}

#[test]
fn a_ragged_csv_record_fails_or_is_rejected() {
    let place = Place::new();
    // The record before it contains a line break, so line and record numbers differ.
    place.write("in.csv", "a,b\n1,\"x\ny\"\n2\n3,z\n");
    place.run_line("convert in.csv -o out.parquet").code(exit::BAD_DATA).says("in.csv line 4");
    place.run_line("convert in.csv -o out.ndjson --on-bad-record skip").code(exit::PARTIAL).says("1 rejected");
    assert_eq!(rows::ndjson(&place.read("out.ndjson")).len(), 2);
}

#[test]
fn a_late_column_fails_only_in_a_csv_stream() {
    let place = Place::new();
    let mut text = "{\"a\":1,\"filler\":\"some text so that the sample ends before the surprise\"}\n".repeat(200_000);
    text.push_str("{\"a\":2,\"late\":true}\n");
    place.write("in.ndjson", text);
    // The header of a CSV stream has been written already.
    let input = place.read("in.ndjson");
    let done = place.run_with_stdin(&["convert", "-", "-o", "-", "--to", "csv"], &input);
    done.code(exit::SCHEMA_CHANGED).says("late").hints("--schema-from full");
    let line = "convert in.ndjson -o out.csv --schema-policy fail --schema-from sample";
    place.run_line(line).code(exit::SCHEMA_CHANGED).says("late");
    assert!(!place.path("out.csv").exists());
    // Files are read twice for the schema, and Parquet outputs are widened.
    for line in ["convert in.ndjson -o out.csv --schema-from full", "convert in.ndjson -o out.parquet"] {
        place.run_line(line).ok();
    }
    assert!(place.read_text("out.csv").starts_with("a,filler,late\n"));
    let schema = rows::parquet_schema(place.read("out.parquet"));
    assert_eq!(schema.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "filler", "late"]);
}

#[test]
fn a_missing_input_is_reported() {
    let place = Place::new();
    place.run_line("convert missing.ndjson -o out.csv").code(exit::CANNOT_READ).says("missing.ndjson");
    let line = "run testdata/workflows/qualify-companies.json --local --input missing.csv -o out.parquet";
    place.run_line(line).code(exit::CANNOT_READ).says("missing.csv");
    assert!(place.leftovers().is_empty());
}

#[test]
fn an_unwritable_output_directory_is_reported() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":1}\n");
    place.write("file", "");
    for out in ["missing/out.csv", "file/out.csv"] {
        place.run(&["convert", "in.ndjson", "-o", out, "--to", "csv"]).code(exit::CANNOT_WRITE).says(out);
    }
    place.run(&["convert", "in.ndjson", "-o", "file/", "--to", "csv"]).code(exit::CANNOT_WRITE).says("is a file");
    // No run is started, and paid for, before its output can be created.
    let server = Script::default().start();
    let place = Place::with_service(&server.url);
    let args = [&RUN_LEADS[..5], &["missing/out.ndjson"]].concat();
    place.run(&args).code(exit::CANNOT_WRITE).says("missing/out.ndjson");
    assert!(server.asked().iter().all(|request| request.path != "/workflows/run"));
}

#[test]
fn a_full_disk_leaves_no_partial_file() {
    let place = Place::new();
    let line = "{\"id\":1,\"name\":\"somebody with a name of some length\"}\n";
    place.write("in.ndjson", line.repeat(100_000));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = place.command(&["convert", "in.ndjson", "-o", "-", "--to", "csv"]);
    command.stdout(full);
    Done::of(command).code(exit::DISK_FULL).says("cannot write standard output");

    let Some(disk) = SmallDisk::mount(&place) else { return };
    place.write("small/old.csv", "mine");
    for out in ["small/out.csv", "small/old.csv", "small/out.ndjson"] {
        place.run(&["convert", "in.ndjson", "-o", out]).code(exit::DISK_FULL).says(out);
    }
    let names: Vec<_> = std::fs::read_dir(place.path("small")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["old.csv"], "nothing half written stays");
    assert_eq!(place.read_text("small/old.csv"), "mine");
    drop(disk);
}

/// A file system of 1 MiB at `small`, unmounted on drop. Mounting needs root.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(place: &Place) -> Option<Self> {
        let path = place.path("small");
        std::fs::create_dir(&path).unwrap();
        let mut command = std::process::Command::new("mount");
        let mounted = command.args(["-t", "tmpfs", "-o", "size=1m", "drawoff-test"]).arg(&path).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(SmallDisk(path));
        }
        // The writes to /dev/full above have shown the exit code; a sandbox may forbid mounts even to root.
        #[expect(clippy::print_stderr, reason = "a skipped check must be seen")]
        {
            eprintln!("skipped: a small file system cannot be mounted here, so a full one is not tried");
        }
        None
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn ctrl_c_during_a_conversion_leaves_no_partial_file() {
    let place = Place::new();
    place.write("out.csv", "mine");
    for out in ["out.csv", "out.parquet"] {
        let mut command = place.command(&["convert", "-", "--from", "ndjson", "-o", out]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // More than the pipe holds: when this returns, the command is reading. The input stays open.
        stdin.write_all("{\"a\":\"some text of some length\"}\n".repeat(100_000).as_bytes()).unwrap();
        interrupt(&child);
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit::INTERRUPTED), "{stderr}");
        assert!(stderr.contains(out), "says which file was not written: {stderr}");
        drop(stdin);
    }
    assert_eq!(place.leftovers(), ["out.csv"]);
    assert_eq!(place.read_text("out.csv"), "mine");
}

#[test]
fn ctrl_c_during_a_run_prints_the_resume_command() {
    let server = Script { status: "running", ..Script::default() }.start();
    let place = Place::with_service(&server.url);
    let mut child = place.command(&RUN_LEADS).spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = read_until(&mut stderr, RUN_ID);
    interrupt(&child);
    std::io::Read::read_to_string(&mut stderr, &mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(exit::INTERRUPTED), "{said}");
    assert!(said.contains(&format!("drawoff pull {RUN_ID}")), "{said}");
    assert!(place.leftovers().is_empty());
}

#[test]
fn usage_errors_name_the_argument() {
    let place = Place::new();
    for (line, words) in [
        ("", "drawoff init demo"),
        ("nonsense", "'nonsense'"),
        ("convert", "<SRC>"),
        ("convert in.ndjson", "`-o FILE`"),
        ("convert in.ndjson -o out.xyz", "out.xyz"),
        ("convert in.ndjson --nonsense -o out.csv", "'--nonsense'"),
        ("run --local -o x.csv", "<WORKFLOW>"),
    ] {
        place.run_line(line).code(exit::USAGE).quiet().says(words);
    }
    // If the name has no known extension, the hint names the flag that specifies the format.
    place.run_line("convert testdata/companies.csv -o out.xyz").code(exit::USAGE).hints("--to");
}

#[test]
fn messages_are_escaped_for_the_terminal() {
    let script = Script { status: "failed", error_message: Some("red \u{1b}[31malert\u{7}"), ..Script::default() };
    let (_, done) = run_scripted(script, &[]);
    let done = done.code(exit::RUN_FAILED).says("alert");
    assert!(!done.stderr.contains('\u{1b}') && !done.stderr.contains('\u{7}'), "{:?}", done.stderr);
}

#[test]
fn contents_of_another_format_are_named_with_a_remedy() {
    let place = Place::new();
    let cases: [(&str, &[u8], &str, &str); 6] = [
        ("in.csv", b"PK\x03\x04\x14\0\0\0\x08\0in.csv", "it is a zip archive", "extract"),
        ("in.csv.gz", b"PK\x03\x04\x14\0\0\0\x08\0in.csv", "it is a zip archive", "extract"),
        ("in.csv", b"a\0,\0b\0\n\0", "it is text in UTF-16 without a byte order mark", "iconv"),
        ("in.csv", b"Ort,Stra\xdfe\nWien,1\n", "the header is not valid UTF-8", "iconv"),
        ("in.csv", b"a,b\r1,2\r", "a bare carriage return (CR)", "tr "),
        ("in.csv", b"a,\"b\"c\n1,2\n", "text after the closing quote", "correct the header"),
    ];
    for (name, bytes, says, hint) in cases {
        place.write(name, bytes);
        for policy in ["", " --on-bad-record skip"] {
            let done = place.run_line(&format!("convert {name} -o out.ndjson{policy}"));
            let done = done.code(exit::BAD_DATA).says(says).hints(hint);
            assert!(!done.stderr.contains("--on-bad-record"), "{}", done.stderr);
        }
    }
}

#[test]
fn a_malformed_proxy_is_an_error_and_not_ignored() {
    let place = Place::with_service("https://api.test").env("HTTPS_PROXY", "http://user:marked-secret@a b");
    let done = place.run_line("workflows ls").code(exit::USAGE).says("HTTPS_PROXY is not the URL of a proxy");
    assert!(!done.stderr.contains("marked-secret"), "{}", done.stderr);
    // Loopback addresses never go through a proxy.
    let api = Script::default().start();
    Place::with_service(&api.url).env("HTTP_PROXY", "http://a b").run_line("workflows ls").ok();
}

#[test]
fn help_that_cannot_be_written_is_no_success() {
    let place = Place::new();
    let mut shell = place.program("sh");
    shell.args(["-c", "drawoff --help > /dev/full"]);
    Done::of(shell).code(exit::DISK_FULL).says("standard output");
}
