//! `--result FILE`: what a command did as one JSON object, after success, failure, interruption, and when there was nothing
//! to do; never a file that belongs to anything else.

use std::collections::BTreeSet;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Done, Place, Service, exit, interrupt, root, wait_for};

fn result(place: &Place) -> Value {
    let text = place.read("result.json");
    assert!(text.ends_with(b"\n") && text.iter().filter(|b| **b == b'\n').count() == 1);
    serde_json::from_slice(&text).unwrap()
}

/// The members in the table of the page.
fn documented() -> BTreeSet<String> {
    let page = std::fs::read_to_string(root().join("docs/result-file.md")).unwrap();
    let first_cells = page.lines().filter(|line| line.starts_with("| `")).map(|line| line.split('|').nth(1).unwrap());
    first_cells.flat_map(|cell| cell.split(',')).map(|name| name.trim().trim_matches('`').to_owned()).collect()
}

#[test]
fn a_success_lists_outputs_with_their_digests() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":1}\n{\"a\":2}\nx\n{\"a\":3}\n");
    let line = "convert in.ndjson -o out.csv -o out/ --to parquet --on-bad-record skip --result result.json";
    place.run_line(line).code(exit::PARTIAL);
    let found = result(&place);
    let members: BTreeSet<String> = found.as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, documented());
    let part = |name: &str| found[name].clone();
    assert_eq!([part("drawoff_result"), part("command"), part("error")], [json!(1), json!("convert"), Value::Null]);
    assert_eq!([part("exit_code"), part("exit"), part("retry")], [json!(3), json!("partial"), json!("needless")]);
    assert_eq!([part("rows_in"), part("rows_written"), part("rows_rejected")], [json!(4), json!(3), json!(1)]);
    assert_eq!(found["runs"], json!([]));
    let outputs = found["outputs"].as_array().unwrap();
    assert!(outputs.len() >= 2, "{found}");
    for output in outputs {
        let path = output["path"].as_str().unwrap();
        assert!(path.starts_with('/'), "{path}");
        let mut command = place.program("sha256sum");
        command.arg(path);
        let digest = Done::of(command).ok().text().to_owned();
        assert_eq!(digest.split(' ').next(), output["sha256"].as_str(), "{path}");
        assert_eq!(place.read(path).len() as u64, output["bytes"].as_u64().unwrap());
    }
}

#[test]
fn a_failure_says_what_was_printed() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":1}\n{\"a\":\n");
    let done = place.run_line("convert in.ndjson -o out.csv --result result.json").code(exit::BAD_DATA);
    let found = result(&place);
    assert_eq!((&found["exit_code"], &found["retry"]), (&json!(4), &json!("no")));
    let message = found["error"]["message"].as_str().unwrap();
    assert!(message.contains("line 2") && done.stderr.contains(message), "{message}");
    assert!(done.stderr.contains(found["error"]["hint"].as_str().unwrap()));
    assert_eq!((&found["outputs"], &found["reports"]), (&json!([]), &json!([])));
    // Before anything is read, too, and with the settings refused.
    place.run_line("convert none.ndjson -o out.csv --result result.json").code(exit::CANNOT_READ);
    assert_eq!(result(&place)["retry"], "after repair");
    place.run_line("convert in.ndjson -o out.csv --result result.json --where a=").code(exit::USAGE);
    assert_eq!(result(&place)["exit"], "usage");
}

#[test]
fn no_other_file_is_replaced() {
    let place = Place::new();
    place.write("in.csv", "a\n1\n");
    let refused = |line: &str, code| place.run_line(line).code(code);
    refused("convert in.csv -o out.csv --result in.csv", exit::USAGE).says("is an input");
    place.write("other.csv", "b\n");
    refused("convert in.csv -o out.csv --result other.csv", exit::USAGE).says("not the result of an earlier command");
    assert_eq!((place.read("in.csv"), place.read("other.csv")), (b"a\n1\n".to_vec(), b"b\n".to_vec()));
    refused("convert in.csv -o out.csv --result -", exit::USAGE).hints("/dev/stderr");
    // An earlier result as an input, by its name or in a list.
    place.run_line("convert in.csv -o y.csv --result r.json").ok();
    let earlier = place.read("r.json");
    place.write("list.txt", "in.csv\n");
    refused("convert r.json -o x.csv --result ./r.json", exit::USAGE).says("is an input");
    refused("convert @list.txt -o x.csv --result list.txt", exit::USAGE).says("is an input");
    assert_eq!((place.read("r.json"), place.path("x.csv").exists()), (earlier, false));
    // A log would be replaced by these.
    for line in ["-o run.log --to csv", "-o x.csv --rejects run.log", "-o x.csv --result ./run.log"] {
        refused(&format!("convert in.csv {line} --log run.log"), exit::USAGE)
            .says("run.log is an output and cannot be the log");
        let _ = std::fs::remove_file(place.path("run.log"));
    }
    refused("convert in.csv -o out.csv --result ./out.csv", exit::USAGE).says("is an output");
    refused("convert in.csv -o out.csv --result none/result.json", exit::CANNOT_WRITE);
    refused("convert in.csv -o out.csv --result .", exit::CANNOT_WRITE);
    refused("convert in.csv -o out.csv --on-bad-record skip --result out.rejects.ndjson", exit::USAGE)
        .says("is an output");
    refused("convert in.csv -o out.csv --log in.csv", exit::USAGE).says("not a log of earlier commands");
    assert_eq!(place.read("in.csv"), b"a\n1\n");
    // A link is followed, also one to a descriptor.
    std::os::unix::fs::symlink("/proc/self/fd/1", place.path("stdout")).unwrap();
    let done = place.run_line("convert in.csv -o out.csv --result stdout").ok();
    assert!(done.text().starts_with("{\"drawoff_result\":1,"), "{}", done.text());
    assert!(place.path("stdout").is_symlink());
    // A stream gets the line behind all else.
    let done = place.run_line("convert in.csv -o - --to csv --result /dev/stderr").ok();
    assert_eq!(done.text(), "a\n1\n");
    assert!(done.stderr.lines().last().unwrap().starts_with("{\"drawoff_result\":1,"), "{}", done.stderr);
}

#[test]
fn a_result_that_cannot_be_written_leaves_the_outputs() {
    let place = Place::new();
    place.write("in.csv", "a\n1\n");
    let done = place.run_line("convert in.csv -o out.csv --result /dev/full").code(exit::DISK_FULL);
    let done =
        done.says("/dev/full").hints("only the result file is missing; give `--result` another file than /dev/full");
    assert!(!done.stderr.contains("-o"), "{}", done.stderr);
    assert_eq!(place.read("out.csv"), b"a\n1\n");
}

#[test]
fn runs_are_listed_and_so_is_what_was_complete() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let place = Place::with_service(&service.url);
    let source = json!({"sequence_number": 1, "block_type": "io", "block_name": "read_csv", "specs": {}});
    let graph = json!({"workflow_name": "Copy", "workflow_definition": {"blocks": [source], "edges": []}});
    place.write("copy.json", graph.to_string());
    place.write("in.csv", "a\n1\n2\n");
    place.run_line("run copy.json --input in.csv -o out.csv --result result.json").ok();
    let first = result(&place);
    let run = first["runs"][0].as_str().unwrap();
    assert_eq!((&first["rows_written"], first["runs"].as_array().unwrap().len()), (&json!(2), 1));
    place.run_line(&format!("pull {run} -o out.csv --result result.json")).ok();
    place.run_line(&format!("pull {run} -o out.csv --result result.json")).ok().says("already complete");
    let second = result(&place);
    assert_eq!((&second["runs"], &second["command"]), (&first["runs"], &json!("pull")));
    assert_eq!(second["outputs"], first["outputs"]);
    assert_eq!(second["reports"][0]["already_complete"], true);
    // A load that was made before: its rows are among the loads, and what it read is not known.
    let line = format!("pull {run} -o sqlite:t.db --into t --result result.json");
    place.run_line(&line).ok();
    assert_eq!((&result(&place)["rows_in"], &result(&place)["rows_written"]), (&json!(2), &json!(2)));
    place.run_line(&line).ok();
    let third = result(&place);
    assert_eq!((&third["rows_in"], &third["rows_written"]), (&Value::Null, &Value::Null));
    assert_eq!((&third["loads"][0]["outcome"], &third["loads"][0]["rows"]), (&json!("already loaded"), &json!(2)));
    place.run_line("pull 00000000-0000-4000-8000-000000000000 -o x.csv --result result.json").code(exit::NOT_FOUND);
    assert_eq!(result(&place)["exit"], "not found");
}

#[test]
fn an_interrupted_command_has_a_result_and_a_killed_one_none() {
    for is_killed in [false, true] {
        let place = Place::new();
        let mut command =
            place.command(&["convert", "-", "--from", "ndjson", "-o", "out.csv", "--result", "result.json"]);
        place.write("result.json", "{\"drawoff_result\":1,\"exit\":\"success\"}\n");
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        wait_for("the old result to go", || (!place.path("result.json").exists()).then_some(()));
        if is_killed {
            child.kill().unwrap();
            child.wait().unwrap();
            assert!(!place.path("result.json").exists());
            continue;
        }
        interrupt(&child);
        Done::of_child("convert".into(), child).code(exit::INTERRUPTED);
        let found = result(&place);
        assert_eq!((&found["exit_code"], &found["retry"]), (&json!(130), &json!("helps")));
        assert!(found["error"]["message"].as_str().unwrap().contains("interrupted"));
    }
}
