//! Directories, patterns, codecs and layouts of sources.

use std::io::{Read as _, Write as _};

use async_compression::futures::bufread::{BrotliEncoder, BzEncoder, XzEncoder};
use futures::AsyncReadExt as _;
use serde_json::{Value, json};

use crate::support::s3::{Act, FakeS3};
use crate::support::{Place, exit};

const ROWS: &str = "{\"id\":1,\"country\":\"NO\"}\n{\"id\":2,\"country\":null}\n{\"id\":3,\"country\":\"a/b=c %\"}\n\
{\"id\":4,\"country\":\"\"}\n{\"id\":5,\"country\":\"NO\"}\n{\"id\":6,\"country\":\"__HIVE_DEFAULT_PARTITION__\"}\n";

fn by_id(records: &[Value]) -> Vec<Value> {
    let mut sorted = records.to_vec();
    sorted.sort_by_key(|record| record["id"].as_i64());
    sorted
}

fn records(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn partitioned_outputs_are_read_back() {
    let place = Place::new();
    place.write("in.ndjson", ROWS);
    for format in ["ndjson", "csv", "parquet", "json", "arrow", "tsv"] {
        let dir = format!("out-{format}");
        place.run_line(&format!("convert in.ndjson -o {dir}/ --to {format} --partition-by country")).ok();
        for name in [dir.clone(), format!("{dir}/"), format!("{dir}/*"), format!("{dir}/**/*.{format}")] {
            let done = place.run(&["convert", &name, "-o", "-"]).ok();
            assert_eq!(by_id(&done.records()), records(ROWS), "{name}");
            assert!(done.text().starts_with("{\"id\":"), "the column is the last one: {}", done.text());
            let of = if name.contains('*') { format!("the pattern {name}") } else { format!("{dir}/") };
            done.says(&format!("read 5 files of {of}, with the column `country` of its directories"));
        }
        // Steps see the column like any other, in every kind of output.
        let query = ["convert", &dir, "-o", "-", "--where", "country = 'NO'", "--select", "country,id"];
        assert_eq!(place.run(&query).ok().text(), "{\"country\":\"NO\",\"id\":1}\n{\"country\":\"NO\",\"id\":5}\n");
        let query = ["convert", &dir, "-o", "-", "--where", "country is null"];
        assert_eq!(place.run(&query).ok().records(), [json!({"id": 2, "country": null})]);
        place.run_line(&format!("convert {dir} -o again-{format}.parquet")).ok();
        let again = place.run_line(&format!("convert again-{format}.parquet -o -")).ok();
        assert_eq!(by_id(&again.records()), records(ROWS));
        let sql = "SELECT country, count(*) AS n FROM results GROUP BY country ORDER BY country NULLS FIRST LIMIT 2";
        let counted = place.run(&["convert", &dir, "-o", "-", "--sql", sql]).ok();
        assert_eq!(counted.records(), [json!({"country": null, "n": 1}), json!({"country": "", "n": 1})]);
        let cells = place.run(&["convert", &dir, "-o", "-", "--to", "csv"]).ok();
        assert!(cells.text().starts_with("id,country\n") && cells.text().contains("\n3,a/b=c %\n"), "{}", cells.text());
        let schema = place.run_line(&format!("schema {dir}")).ok();
        assert!(schema.text().contains("country  text"), "{}", schema.text());
        let explained = place.run_line(&format!("explain {dir} --drop id")).ok();
        assert!(explained.text().contains("country  text"), "{}", explained.text());
    }
}

#[test]
fn columns_of_directories_follow_a_schema_file() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("d/n=12")).unwrap();
    place.write("d/n=12/a.ndjson", "{\"id\":1}\n");
    place.write(
        "schema.json",
        "{\"drawoff_schema\":1,\"fields\":[{\"name\":\"id\",\"type\":\"int\"},{\"name\":\"n\",\"type\":\"int\"}]}",
    );
    let done = place.run_line("convert d -o - --schema schema.json").ok();
    assert_eq!(done.text(), "{\"id\":1,\"n\":12}\n");
    place.run_line("convert d -o x.parquet --schema schema.json --schema-policy freeze").ok();
    assert_eq!(place.run_line("convert x.parquet -o -").ok().text(), "{\"id\":1,\"n\":12}\n");
    std::fs::rename(place.path("d/n=12"), place.path("d/n=x")).unwrap();
    let done = place.run_line("convert d -o y.parquet --schema schema.json").code(exit::USAGE);
    done.says("the value of `n` in the names of its directories is not of the type int of the schema");
    place.write("other.json", "{\"drawoff_schema\":1,\"fields\":[{\"name\":\"id\",\"type\":\"int\"}]}");
    let done = place.run_line("convert d -o y.parquet --schema other.json --schema-policy freeze").code(exit::USAGE);
    done.says("the schema has no column `n`").hints("add `n` to the schema file");
    place.write("d/n=x/a.ndjson", "{\"id\":1,\"n\":null}\n{\"n\":3}\n");
    let done = place.run_line("convert d -o -").code(exit::USAGE);
    done.says("a.ndjson: the column `n` is in its records and in the names of its directories");
    assert_eq!(place.run_line("convert d/n=x/a.ndjson -o - --limit 1").ok().text(), "{\"id\":1,\"n\":null}\n");
    assert!(!place.path("y.parquet").exists());
}

#[test]
fn files_of_a_directory_are_read_in_order_with_their_own_places() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("d/e")).unwrap();
    for (i, name) in ["a.ndjson", "a10.jsonl", "a9.json", "e/x.ndjson", "z.ndjson"].into_iter().enumerate() {
        place.write(&format!("d/{name}"), format!("{{\"id\":{i}}}\n"));
    }
    place.write("d/.hidden.ndjson", "broken\n");
    place.write("d/_SUCCESS", "");
    place.write("d/_tmp.ndjson", "broken\n");
    let all = "{\"id\":0}\n{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n{\"id\":4}\n";
    let done = place.run_line("convert d -o -").ok();
    assert_eq!(done.text(), all);
    done.says("read 5 files of d/; skipped 2 names that begin with `.` or `_`");
    place.write("list", "d\n");
    assert_eq!(place.run_line("convert @list -o -").ok().text(), all);
    assert_eq!(
        place.run(&["convert", "d/a*", "-o", "-"]).ok().text(),
        all.split_inclusive('\n').take(3).collect::<String>()
    );
    place.write("d/e/x.ndjson", "{\"id\":3}\nbroken\n");
    place.run_line("convert d -o out.csv").code(exit::BAD_DATA).says("d/e/x.ndjson line 2 (byte 9)");
    // A name with the characters of a pattern is that file.
    place.write("a[1].ndjson", "{\"id\":7}\n");
    assert_eq!(place.run_line("convert a[1].ndjson -o -").ok().text(), "{\"id\":7}\n");
    place.write("d/z.csv", "id\n1\n");
    let done = place
        .run_line("convert d -o -")
        .code(exit::USAGE)
        .says("has files of different formats, such as d/a.ndjson and d/z.csv");
    done.hints("'d/*.ndjson'");
    place
        .run(&["convert", "d/*.parquet", "-o", "-"])
        .code(exit::USAGE)
        .says("the pattern d/*.parquet has no files to read");
    std::fs::create_dir(place.path("empty")).unwrap();
    place.run_line("convert empty -o -").code(exit::USAGE).says("empty has no files to read");
    // An output in the directory is no source of its own, unless it was there before.
    place.run(&["convert", "d/a*", "-o", "d/b.ndjson"]).ok();
    place.run(&["convert", "d/*.ndjson", "-o", "d/b.ndjson"]).code(exit::USAGE).says("is an input");
}

fn packed(extension: &str, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let cursor = || futures::io::Cursor::new(text.to_vec());
    let level = flate2::Compression::fast();
    match extension {
        "bz2" => drop(futures::executor::block_on(BzEncoder::new(cursor()).read_to_end(&mut out)).unwrap()),
        "xz" => drop(futures::executor::block_on(XzEncoder::new(cursor()).read_to_end(&mut out)).unwrap()),
        "br" => drop(futures::executor::block_on(BrotliEncoder::new(cursor()).read_to_end(&mut out)).unwrap()),
        "zz" => drop(flate2::read::ZlibEncoder::new(text, level).read_to_end(&mut out).unwrap()),
        "deflate" => drop(flate2::read::DeflateEncoder::new(text, level).read_to_end(&mut out).unwrap()),
        _ => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(&mut out);
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap();
        }
    }
    out
}

#[test]
fn every_codec_is_read_from_files_and_pipes() {
    let place = Place::new();
    let text: String = (0..2000).map(|i| format!("{i},name {i}\n")).collect();
    let csv = format!("id,name\n{text}");
    place.write("in.csv", &csv);
    let expected = place.run_line("convert in.csv -o -").ok().text().to_owned();
    for extension in ["bz2", "xz", "br", "lz4", "zz", "deflate"] {
        let name = format!("in.csv.{extension}");
        let bytes = packed(extension, csv.as_bytes());
        place.write(&name, &bytes);
        assert_eq!(place.run_line(&format!("convert {name} -o -")).ok().text(), expected, "{name}");
        let has_magic = !["br", "deflate"].contains(&extension);
        if has_magic {
            assert_eq!(place.run_with_stdin(&["convert", "-", "-o", "-"], &bytes).ok().text(), expected, "{name}");
            // Several members one behind another.
            let both = [packed(extension, b"id,name\n"), packed(extension, text.as_bytes())].concat();
            place.write("members", both);
            assert_eq!(place.run_line("convert members -o -").ok().text(), expected, "{name}");
        }
        place.write(&name, &bytes[..bytes.len() - 3]);
        let done = place.run_line(&format!("convert {name} -o out.parquet")).code(exit::DAMAGED);
        done.says(&format!("stream is truncated: it ends at byte {}", bytes.len() - 3));
        assert!(!place.path("out.parquet").exists());
    }
    let bomb = packed("bz2", &vec![b'\n'; 300 << 20]);
    place.write("bomb.csv.bz2", bomb);
    place.run_line("convert bomb.csv.bz2 -o out.csv").code(exit::BAD_DATA).says("times their size");
    let done = place.run_line("convert in.csv -o out.csv.bz2").code(exit::USAGE);
    done.says("out.csv.bz2: .bz2 is read, but not written").hints(".gz or .zst");
}

#[test]
fn json_over_several_lines_or_without_line_ends_is_read() {
    let place = Place::new();
    let expected = "{\"id\":\"CVE-1\",\"s\":{\"t\":[1,2]}}\n{\"id\":\"CVE {2}\",\"s\":null}\n";
    let (one, two) = ("{\"id\": \"CVE-1\", \"s\": {\"t\": [1, 2]}}", "{\"id\": \"CVE {2}\", \"s\": null}");
    let pretty = |text: &str| serde_json::to_string_pretty(&serde_json::from_str::<Value>(text).unwrap()).unwrap();
    let cases = [
        format!("{one}{two}"),
        format!("{one} {two}\n"),
        format!("{}\n{}\n", pretty(one), pretty(two)),
        format!("{}{}", pretty(one), two),
        format!("\u{feff}{}\r\n\r\n{}", pretty(one).replace('\n', "\r\n"), pretty(two)),
        format!("[\n{},\n{}\n]\n", pretty(one), pretty(two)),
    ];
    for (i, text) in cases.iter().enumerate() {
        for name in ["in.ndjson", "in.json", "in"] {
            place.write(name, text);
            assert_eq!(place.run_line(&format!("convert {name} -o -")).ok().text(), expected, "{i}: {name}");
            place.run_line(&format!("convert {name} -o x.parquet")).ok();
            assert_eq!(place.run_line("convert x.parquet -o -").ok().text(), expected, "{i}: {name}");
            let dropped = place.run(&["convert", name, "-o", "-", "--drop", "id", "--limit", "1"]).ok();
            assert_eq!(dropped.records(), [json!({"s": {"t": [1, 2]}})], "{i}: {name}");
            assert!(!dropped.text().contains('\r'), "{i}: {name}");
        }
        let piped = place.run_with_stdin(&["convert", "-", "-o", "-"], text.as_bytes());
        assert_eq!(piped.ok().text(), expected, "{i}");
        let from_json = place.run_with_stdin(&["convert", "-", "-o", "-", "--from", "json"], text.as_bytes());
        assert_eq!(from_json.ok().text(), expected, "{i}");
    }
    // Cells have the values without blanks, whatever the layout of a record and of others beside it.
    for text in [
        "{\n\"o\": {\"k\": [1, 2]}}",
        "{\n\"o\": {\"k\": [\n1,\n2]}}",
        "{\"o\": {\"k\": [1, 2]}}{\"o\": {}}",
        "[\n{\"o\": {\"k\": [1, 2]}}\n]",
    ] {
        place.write("cells.json", text);
        let done = place.run_line("convert cells.json -o - --to csv").ok();
        let cells = done.text();
        assert!(cells.starts_with("o\n\"{\"\"k\"\":[1,2]}\"\n"), "{text:?}: {cells}");
    }
    // One document.
    place.write("one.json", pretty(one));
    assert_eq!(place.run_line("convert one.json -o -").ok().text(), expected.split_inclusive('\n').next().unwrap());
    // Where the format is specified, it is one record on each line.
    let done = place.run_line("convert one.json -o - --from ndjson").code(exit::BAD_DATA);
    done.says("one.json line 1 (byte 0)");
}

#[test]
fn places_in_json_over_several_lines_are_those_of_the_source() {
    let place = Place::new();
    place.write("in.json", "{\n \"a\": 1\n}\n{\n \"a\": 2,,\n \"b\": 3\n}{\"a\":4}\n{\"a\":1\n{\"a\":5}\n");
    let done = place.run_line("convert in.json -o out.ndjson").code(exit::BAD_DATA);
    done.says("in.json line 4 (byte 12)");
    place.run_line("convert in.json -o out.ndjson --on-bad-record skip").code(exit::PARTIAL);
    assert_eq!(place.read_text("out.ndjson"), "{\"a\":1}\n{\"a\":4}\n{\"a\":5}\n");
    let rejects = records(&place.read_text("out.rejects.ndjson"));
    let places: Vec<_> =
        rejects.iter().map(|r| (r["line"].as_u64(), r["byte"].as_u64(), r["record"].as_u64())).collect();
    assert_eq!(places, [(Some(4), Some(12), Some(1)), (Some(8), Some(41), Some(3))], "{rejects:?}");
    // A record in the middle of ordinary lines is one broken line still.
    place.write("in.ndjson", "{\"a\":1}\n{\"a\":2}{\"a\":3}\n{\"a\":4}\n");
    place.run_line("convert in.ndjson -o out.ndjson --on-bad-record skip").code(exit::PARTIAL);
    assert_eq!(place.read_text("out.ndjson"), "{\"a\":1}\n{\"a\":4}\n");
    // Bounded: one value longer than the limit is skipped, and the others stay.
    let long = format!("{{\n\"a\":\"{}\"\n}}\n{{\n\"a\":1\n}}\n", "x".repeat(200_000));
    place.write("long.json", long);
    place
        .run_line("convert long.json -o out.ndjson --on-bad-record skip --max-record-bytes 100000")
        .code(exit::PARTIAL);
    assert_eq!(place.read_text("out.ndjson"), "{\"a\":1}\n");
}

/// Writes a zip archive of `members`, names with their texts.
fn zip(place: &Place, name: &str, members: &[(&str, &str)], stored: bool) {
    let mut archive = std::fs::File::create(place.path(name)).unwrap();
    let (mut central, mut offset) = (Vec::new(), 0_u32);
    for (member, text) in members {
        let mut crc = flate2::Crc::new();
        crc.update(text.as_bytes());
        let mut packed = Vec::new();
        if stored {
            packed.extend_from_slice(text.as_bytes());
        } else {
            flate2::read::DeflateEncoder::new(text.as_bytes(), flate2::Compression::fast())
                .read_to_end(&mut packed)
                .unwrap();
        }
        let mut common = Vec::new();
        for n in [20_u16, 0, if stored { 0 } else { 8 }, 0, 0x21] {
            common.extend(n.to_le_bytes());
        }
        for n in [crc.sum(), packed.len() as u32, text.len() as u32] {
            common.extend(n.to_le_bytes());
        }
        common.extend((member.len() as u16).to_le_bytes());
        common.extend(0_u16.to_le_bytes());
        let local = [&b"PK\x03\x04"[..], &common, member.as_bytes(), &packed].concat();
        archive.write_all(&local).unwrap();
        let name = member.as_bytes();
        central.extend([&b"PK\x01\x02\x14\0"[..], &common, &[0; 10], &offset.to_le_bytes(), name].concat());
        offset += local.len() as u32;
    }
    let n = (members.len() as u16).to_le_bytes();
    let size = (central.len() as u32).to_le_bytes();
    let end = [&b"PK\x05\x06\0\0\0\0"[..], &n, &n, &size, &offset.to_le_bytes(), &[0; 2]].concat();
    archive.write_all(&[central, end].concat()).unwrap();
}

#[test]
fn members_of_zip_archives_are_sources() {
    let place = Place::new();
    for stored in [false, true] {
        zip(&place, "one.zip", &[("flights.csv", "id\n1\n2\n"), ("__MACOSX/._flights.csv", "x")], stored);
        let done = place.run_line("convert one.zip -o -").ok();
        assert_eq!(done.text(), "{\"id\":1}\n{\"id\":2}\n");
        done.says("read 1 file of one.zip; skipped 1 name");
    }
    let members = [("b/y.csv", "id\n3\n"), ("a=7/x.csv", "id\n1\n"), ("b/dir/", ""), ("b/z.csv", "id\n4\nx\n")];
    zip(&place, "many.zip", &members, false);
    let done = place.run_line("convert many.zip -o -").ok();
    assert_eq!(done.records()[0], json!({"id": "1", "a": "7"}));
    assert_eq!(done.records().len(), 4);
    assert_eq!(place.run_line("convert many.zip/b/y.csv -o -").ok().text(), "{\"id\":3}\n");
    assert_eq!(place.run(&["convert", "many.zip/b/*.csv", "-o", "-"]).ok().records().len(), 3);
    assert_eq!(place.run(&["convert", "many.zip/*/z.csv", "-o", "-"]).ok().records().len(), 2);
    let none = place.run(&["convert", "many.zip/*.csv", "-o", "-"]).code(exit::USAGE);
    none.says("many.zip has no member `*.csv`");
    // A directory that is named is no column, as on a disk.
    for named in ["many.zip/a=7/x.csv", "many.zip/a=7/*.csv"] {
        assert_eq!(place.run(&["convert", named, "-o", "-"]).ok().text(), "{\"id\":1}\n", "{named}");
    }
    assert_eq!(place.run(&["convert", "many.zip/a=*/x.csv", "-o", "-"]).ok().text(), "{\"id\":1,\"a\":\"7\"}\n");
    zip(&place, "odd.zip", &[("[x].csv", "id\n1\n"), ("x.csv", "id\n2\n")], false);
    assert_eq!(place.run(&["convert", "odd.zip/[x].csv", "-o", "-"]).ok().text(), "{\"id\":1}\n");
    zip(&place, "twins.zip", &[("x.csv", "id\n1\n"), ("y.csv", "id\n2\n"), ("x.csv", "id\n3\n")], false);
    for named in ["twins.zip", "twins.zip/x.csv"] {
        let done = place.run(&["convert", named, "-o", "-"]).code(exit::USAGE);
        done.says("twins.zip has two members with the same name").hints("extract the file first");
    }
    place.run_line("schema many.zip").ok();
    let done = place.run_line("convert many.zip/c.csv -o -").code(exit::USAGE);
    done.says("many.zip has no member `c.csv`; it has b/y.csv, a=7/x.csv, b/z.csv");
    zip(&place, "mixed.zip", &[("a.csv", "id\n1\n"), ("b.json", "[]")], false);
    let done = place.run_line("convert mixed.zip -o -").code(exit::USAGE).says("files of different formats");
    done.hints("'mixed.zip/**/*.csv'");
    assert_eq!(place.run(&["convert", "mixed.zip/**/*.csv", "-o", "-"]).ok().text(), "{\"id\":1}\n");
    std::fs::create_dir(place.path("d")).unwrap();
    std::fs::rename(place.path("one.zip"), place.path("d/one.zip")).unwrap();
    assert_eq!(place.run_line("convert d -o -").ok().text(), "{\"id\":1}\n{\"id\":2}\n");
    // A place in a member, and a damaged one.
    zip(&place, "bad.zip", &[("in.ndjson", "{\"a\":1}\nbroken\n")], false);
    place.run_line("convert bad.zip -o x.csv").code(exit::BAD_DATA).says("bad.zip/in.ndjson line 2 (byte 8)");
    zip(&place, "bad.zip", &[("in.ndjson", "{\"a\":1}\n")], true);
    let at = place.read("bad.zip").windows(3).position(|part| part == b"\"a\"").unwrap();
    let mut bytes = place.read("bad.zip");
    bytes[at + 1] = b'b';
    place.write("bad.zip", bytes);
    place.run_line("convert bad.zip -o x.csv").code(exit::BAD_DATA).says("differs from its size or its checksum");
    place.run_line("convert d/one.zip -o d/one.zip --to csv").code(exit::USAGE).says("is an input");
    assert!(!place.path("x.csv").exists());
}

#[test]
fn objects_of_a_store_are_sources() {
    // The second request for each object fails once, and is sent again.
    let store = FakeS3::start(|asked| match (asked.what, asked.nth) {
        ("get", 1) => Act::Refuse(503, "SlowDown", "Try again"),
        ("get", 2) => Act::Drop,
        _ => Act::Do,
    });
    let place = store.place();
    // More than one range.
    let rows: String = (0..700_000).map(|i| format!("{{\"id\":{i},\"n\":1}}\n")).collect();
    assert!(rows.len() > 9 << 20);
    store.put("dir/part-2.ndjson", rows.as_bytes());
    store.put("dir/country=NO/part-1.ndjson", b"{\"id\":-1}\n");
    store.put("dir/_SUCCESS", b"");
    store.put("dir/", b"");
    store.put("other/in.csv", b"id\n1\nx,y\n");
    let done = place.run_line("convert s3://b/dir/part-2.ndjson -o one.ndjson").ok();
    assert!(done.stderr.contains("700 000 rows in"), "{}", done.stderr);
    assert_eq!(place.read_text("one.ndjson"), rows);
    let done = place.run_line("convert s3://b/dir/ -o - --limit 2").ok();
    assert_eq!(done.records(), [json!({"id": -1, "country": "NO"}), json!({"id": 0, "n": 1})]);
    done.says("read 2 objects of s3://b/dir/");
    let done = place.run(&["convert", "s3://b/dir/*/part-*.ndjson", "-o", "-"]).ok();
    assert_eq!(done.records(), [json!({"id": -1, "country": "NO"})]);
    place.run_line("schema s3://b/dir/ --schema-from sample").ok();
    let done = place.run_line("convert s3://b/other/in.csv -o out.parquet").code(exit::BAD_DATA);
    done.says("s3://b/other/in.csv line 3 (byte 5)");
    let done = place.run_line("convert s3://b/other -o out.parquet").code(exit::CANNOT_READ);
    done.says("there is no such object").hints("end the URL with a slash: s3://b/other/");
    place.run_line("convert s3://b/ -o out.parquet").code(exit::USAGE).says("files of different formats");
    place.run_line("convert s3://b/none/ -o out.parquet").code(exit::USAGE).says("s3://b/none/ has no files to read");
    assert!(!place.path("out.parquet").exists());
    let denied = FakeS3::start(|_| Act::Refuse(403, "AccessDenied", "Access Denied"));
    let done = denied.place().run_line("convert s3://b/x.csv -o out.csv").code(exit::CANNOT_READ);
    done.says("the store refused to look up the object");
    let done = denied.place().run_line("convert s3://b/x/ -o out.csv").code(exit::CANNOT_READ);
    done.says("the store refused to list the objects");
}
