//! `drawoff convert`: every pair of formats, compression, inferred types, standard input and output, named pipes and
//! URLs.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::sync::mpsc;

use serde_json::{Value, json};

use crate::support::http::{Answer, Loopback};
use crate::support::rows;
use crate::support::{PATIENCE, Place, exit, testdata};

fn ndjson_bytes() -> Vec<u8> {
    std::fs::read(testdata("companies.ndjson")).unwrap()
}

fn csv_bytes() -> Vec<u8> {
    std::fs::read(testdata("companies.csv")).unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut out).unwrap();
    out
}

/// `bytes` in three members or frames, cut inside records.
fn in_three(bytes: &[u8], compress: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let (a, b) = (bytes.len() / 3, bytes.len() / 3 * 2 + 7);
    [compress(&bytes[..a]), compress(&bytes[a..b]), compress(&bytes[b..])].concat()
}

fn zst(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// Reads an output back by its name.
fn read_back(place: &Place, name: &str) -> Vec<Value> {
    let bytes = place.read(name);
    match name {
        _ if name.ends_with(".parquet") => rows::parquet(bytes),
        _ if name.ends_with(".csv.gz") => rows::csv_objects(&gunzip(&bytes)),
        _ if name.ends_with(".csv.zst") => rows::csv_objects(&zstd::decode_all(&*bytes).unwrap()),
        _ if name.ends_with(".ndjson.gz") => rows::ndjson(&gunzip(&bytes)),
        _ if name.ends_with(".ndjson.zst") => rows::ndjson(&zstd::decode_all(&*bytes).unwrap()),
        _ if name.ends_with(".csv") => rows::csv_objects(&bytes),
        _ => rows::ndjson(&bytes),
    }
}

#[test]
fn every_input_into_every_output() {
    let place = Place::new();
    let sources = [
        ("in.ndjson", ndjson_bytes(), rows::ndjson(&ndjson_bytes())),
        ("in.csv", csv_bytes(), rows::csv_objects(&csv_bytes())),
    ];
    for (input, bytes, expected) in &sources {
        place.write(input, bytes);
        for extension in ["parquet", "csv", "ndjson", "csv.gz", "csv.zst", "ndjson.gz", "ndjson.zst"] {
            let output = format!("out.{extension}");
            place.run(&["convert", input, "-o", &output]).ok().quiet().says("written");
            rows::assert_same(&read_back(&place, &output), expected);
        }
    }
}

#[test]
fn compression_is_detected_by_the_first_bytes() {
    let place = Place::new();
    for (plain, expected) in
        [(ndjson_bytes(), rows::ndjson(&ndjson_bytes())), (csv_bytes(), rows::csv_objects(&csv_bytes()))]
    {
        let format = if plain[0] == b'{' { "ndjson" } else { "csv" };
        let packed = [gzip(&plain), in_three(&plain, gzip), zst(&plain), in_three(&plain, zst)];
        for (i, bytes) in packed.iter().enumerate() {
            // One name tells of the compression, the other lies about it.
            for name in [format!("in{i}.{format}.{}", if i < 2 { "gz" } else { "zst" }), format!("plain{i}.{format}")] {
                place.write(&name, bytes);
                place.run(&["convert", &name, "-o", "out.parquet"]).ok();
                rows::assert_same(&read_back(&place, "out.parquet"), &expected);
            }
        }
    }
}

#[test]
fn truncated_compressed_files_are_damaged() {
    let place = Place::new();
    for (name, packed) in [("in.ndjson.gz", gzip(&ndjson_bytes())), ("in.ndjson.zst", zst(&ndjson_bytes()))] {
        place.write(name, &packed[..packed.len() / 2]);
        let done = place.run(&["convert", name, "-o", "out.parquet"]).says(name);
        done.code(exit::DAMAGED);
        assert!(!place.path("out.parquet").exists());
    }
}

#[test]
fn types_of_csv_columns_are_inferred() {
    let place = Place::new();
    place.run_line("convert testdata/companies.csv -o out.parquet").ok();
    let schema = rows::parquet_schema(place.read("out.parquet"));
    let kind = |name: &str| schema.iter().find(|(n, _)| n == name).unwrap().1.to_string();
    // A double would bend these.
    assert_eq!(kind("record_id"), "Int64");
    assert_eq!(kind("employee_count"), "Int64");
    assert_eq!(kind("founded_year"), "Int64");
    assert_eq!(kind("revenue_usd"), "Float64");
    // Leading zeros, a plus sign, and notes of which some spell numbers.
    for name in ["registration_no", "phone", "notes", "country"] {
        assert!(kind(name).starts_with("Utf8"), "{name}: {}", kind(name));
    }
}

#[test]
fn types_of_ndjson_columns_are_inferred() {
    let place = Place::new();
    place.write(
        "in.ndjson",
        concat!(
            r#"{"small":1,"float":1,"big":9007199254740993,"huge":18446744073709551616,"mixed":1,"nothing":null,"deep":{"a":{"b":[1]}},"list":[null,{"x":1}],"flag":true}"#,
            "\n",
            r#"{"small":-2,"float":2.5,"big":1,"huge":1,"mixed":"one","nothing":null,"deep":{"a":{"b":[]}},"list":[],"flag":null,"late":"é\u00e9\ud83c\udf89"}"#,
            "\n",
        ),
    );
    place.run_line("convert in.ndjson -o out.parquet").ok();
    let schema = rows::parquet_schema(place.read("out.parquet"));
    let names: Vec<&str> = schema.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["small", "float", "big", "huge", "mixed", "nothing", "deep", "list", "flag", "late"]);
    let kinds: Vec<String> = schema.iter().map(|(_, kind)| kind.to_string()).collect();
    assert_eq!(kinds[..4], ["Int64", "Float64", "Int64", "Decimal128(38, 0)"]);
    assert_eq!(
        rows::parquet(place.read("out.parquet")),
        [
            json!({"small": 1, "float": 1.0, "big": 9007199254740993i64, "huge": "18446744073709551616", "mixed": "1", "nothing": null, "deep": {"a": {"b": [1]}}, "list": [null, {"x": 1}], "flag": true, "late": null}),
            json!({"small": -2, "float": 2.5, "big": 1, "huge": "1", "mixed": "\"one\"", "nothing": null, "deep": {"a": {"b": []}}, "list": [], "flag": null, "late": "éé🎉"}),
        ]
    );
}

#[test]
fn several_sources_are_one_sequence() {
    let place = Place::new();
    place.write("a.ndjson", "{\"n\":1}\n{\"n\":2}");
    place.write("b.json", "[{\"n\":3,\"s\":\"x\"}]");
    place.write("c.ndjson.gz", gzip(b"{\"n\":4}\n"));
    place.run_line("convert a.ndjson b.json c.ndjson.gz -o out.ndjson").ok();
    let numbers: Vec<Value> = read_back(&place, "out.ndjson").iter().map(|row| row["n"].clone()).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
    place.write("d.csv", "n\n5\n");
    place.run_line("convert a.ndjson d.csv -o both.ndjson").code(exit::USAGE).says("d.csv").says("CSV");
    assert!(!place.path("both.ndjson").exists());
}

#[test]
fn from_overrides_the_extension() {
    let place = Place::new();
    place.write("in.ndjson", "a,b\n1,x\n");
    place.run_line("convert in.ndjson --from csv -o - --to ndjson").ok();
    place.write("in.txt", "{\"a\":1}\n");
    let done = place.run_line("convert in.txt -o - --to csv").ok();
    assert_eq!(done.text(), "a\n1\n", "with no name to go by, the first bytes tell");
}

#[test]
fn standard_input_to_standard_output() {
    let place = Place::new();
    let done = place.run_with_stdin(&["convert", "-", "-o", "-", "--to", "csv"], &ndjson_bytes()).ok();
    rows::assert_same(&rows::csv_objects(&done.stdout), &rows::ndjson(&ndjson_bytes()));
    let done = place.run_with_stdin(&["convert", "-", "-o", "-", "--to", "parquet"], &gzip(&csv_bytes())).ok();
    rows::assert_same(&rows::parquet(done.stdout), &rows::csv_objects(&csv_bytes()));
}

#[test]
fn empty_inputs() {
    let place = Place::new();
    place.write("nothing.ndjson", "");
    place.write("header.csv", "a,b\n");
    assert_eq!(place.run_line("convert nothing.ndjson -o - --to ndjson").ok().text(), "");
    assert_eq!(place.run_line("convert header.csv -o - --to csv").ok().text(), "a,b\n");
    place.run_line("convert header.csv -o out.parquet").ok();
    assert!(rows::parquet(place.read("out.parquet")).is_empty());
    place.run_line("convert nothing.ndjson -o none.parquet").ok();
    assert!(rows::parquet(place.read("none.parquet")).is_empty());
}

#[test]
fn a_closed_output_pipe_is_a_success() {
    let place = Place::new();
    // Far more than a pipe holds, so that the writer meets the closed end.
    let line = "{\"id\":123456,\"name\":\"somebody with a name of some length\"}\n";
    place.write("big.ndjson", line.repeat((16 << 20) / line.len()));
    for to in ["csv", "ndjson", "parquet"] {
        let mut child = place.command(&["convert", "big.ndjson", "-o", "-", "--to", to]).spawn().unwrap();
        let mut stdout = child.stdout.take().unwrap();
        stdout.read_exact(&mut [0; 4]).unwrap();
        drop(stdout);
        let output = child.wait_with_output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(exit::SUCCESS), "{to}: {stderr}");
        assert!(!stderr.contains("error"), "{to}: {stderr}");
    }
}

#[test]
fn rows_are_flushed_while_standard_input_pauses() {
    let place = Place::new();
    for to in ["ndjson", "csv"] {
        let args = ["convert", "-", "--from", "ndjson", "-o", "-", "--to", to];
        let mut child = place.command(&args).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdin.write_all(b"{\"n\":1}\n").unwrap();
        let (tell, first) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            let mut line = String::new();
            if to == "csv" {
                stdout.read_line(&mut line).unwrap();
            }
            stdout.read_line(&mut line).unwrap();
            tell.send(line).unwrap();
            let mut rest = String::new();
            stdout.read_to_string(&mut rest).unwrap();
            rest
        });
        // The input is still open here.
        let first = first.recv_timeout(PATIENCE).expect("the first row comes while the source pauses");
        assert!(first.contains('1'), "{first}");
        stdin.write_all(b"{\"n\":2}\n").unwrap();
        drop(stdin);
        assert!(reader.join().unwrap().contains('2'));
        assert_eq!(child.wait().unwrap().code(), Some(exit::SUCCESS));
    }
}

/// What `<(command)` of a shell gives is a pipe with a path.
#[test]
fn rows_are_flushed_while_a_named_pipe_pauses() {
    let place = Place::new();
    let mut mkfifo = place.program("mkfifo");
    assert!(mkfifo.arg("in.pipe").status().unwrap().success());
    let line = ["convert", "in.pipe", "--from", "ndjson", "-o", "-", "--to", "ndjson"];
    let mut child = place.command(&line).spawn().unwrap();
    let mut pipe = std::fs::File::options().write(true).open(place.path("in.pipe")).unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    for n in ["{\"n\":1}\n", "{\"n\":2}\n"] {
        pipe.write_all(n.as_bytes()).unwrap();
        // Waits for as long as it takes: the input has no end yet.
        let mut row = String::new();
        stdout.read_line(&mut row).unwrap();
        assert_eq!(row, n);
    }
    drop(pipe);
    assert_eq!(stdout.read_line(&mut String::new()).unwrap(), 0);
    assert_eq!(child.wait().unwrap().code(), Some(exit::SUCCESS));
}

#[test]
fn urls_are_sources() {
    let server = Loopback::start(|request| match request.path.as_str() {
        "/companies.ndjson" => Answer::bytes("application/octet-stream", ndjson_bytes()),
        // Only the content type tells.
        "/download" => Answer::bytes("text/csv; charset=utf-8", csv_bytes()),
        "/packed" => Answer::bytes("application/x-ndjson", gzip(&ndjson_bytes())),
        _ => Answer::error(404, "no such file"),
    });
    let place = Place::new();
    let ndjson = rows::ndjson(&ndjson_bytes());
    place.run(&["convert", &format!("{}/companies.ndjson", server.url), "-o", "out.parquet"]).ok();
    rows::assert_same(&read_back(&place, "out.parquet"), &ndjson);
    place.run(&["convert", &format!("{}/download?token=marked", server.url), "-o", "out.csv"]).ok();
    rows::assert_same(&read_back(&place, "out.csv"), &rows::csv_objects(&csv_bytes()));
    place.run(&["convert", &format!("{}/packed", server.url), "-o", "out.ndjson"]).ok();
    rows::assert_same(&read_back(&place, "out.ndjson"), &ndjson);

    let done = place.run(&["convert", &format!("{}/none?token=marked", server.url), "-o", "no.csv"]);
    let done = done.code(exit::NOT_FOUND).says(&format!("{}/none", server.url)).says("status 404");
    assert!(!done.stderr.contains("marked"), "a URL is shown without its query: {}", done.stderr);
}

#[test]
fn the_api_key_is_sent_to_no_other_host() {
    let server = Loopback::start(|_| Answer::bytes("application/x-ndjson", "{\"a\":1}\n"));
    // The API is elsewhere, and a key is set.
    let place = Place::with_service("http://127.0.0.1:9");
    place.run(&["convert", &format!("{}/a.ndjson", server.url), "-o", "out.csv"]).ok();
    assert!(server.asked().iter().all(|request| !request.headers.contains_key("x-api-key")));
}

#[test]
fn no_clobber_keeps_an_existing_file() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":1}\n");
    place.write("out.csv", "mine");
    place.run_line("convert in.ndjson -o out.csv --no-clobber").code(exit::CANNOT_WRITE).says("out.csv");
    assert_eq!(place.read_text("out.csv"), "mine");
    place.run_line("convert in.ndjson -o out.csv").ok();
    assert_eq!(place.read_text("out.csv"), "a\n1\n");
}

#[test]
fn codecs_of_parquet() {
    let place = Place::new();
    let expected = rows::ndjson(&ndjson_bytes());
    for codec in ["zstd", "snappy", "lz4", "uncompressed"] {
        place.run(&["convert", "testdata/companies.ndjson", "-o", "out.parquet", "--codec", codec]).ok();
        rows::assert_same(&read_back(&place, "out.parquet"), &expected);
    }
}

#[test]
fn sources_come_from_a_list() {
    let place = Place::new();
    let server = Loopback::start(|_| Answer::bytes("application/x-ndjson", "{\"a\":3}\n"));
    place.write("1.ndjson", "{\"a\":1}\n");
    place.write("@2.ndjson", "{\"a\":2}\n");
    place.write("list.txt", format!("# January\n1.ndjson\n\n  ./@2.ndjson  \n{}/c.ndjson?sig=marked\n", server.url));
    let done = place.run_line("convert @list.txt 1.ndjson -o -").ok();
    assert_eq!(done.text(), "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n{\"a\":1}\n");
    assert!(!done.stderr.contains("marked"), "{}", done.stderr);
    place.run_line("schema @list.txt").ok();
    // An output must not replace a source of a list.
    place.run_line("convert @list.txt -o 1.ndjson").code(exit::USAGE).says("1.ndjson");
    for (list, says) in [("-\n", "standard input"), ("@list.txt\n", "another list"), ("\n# none\n", "names no source")]
    {
        place.write("bad.txt", list);
        place.run_line("convert @bad.txt -o -").code(exit::USAGE).says(says);
    }
    place.run_line("convert @missing.txt -o -").code(exit::CANNOT_READ).says("missing.txt");
}
