//! A step means one thing: it sees values as their source has them, whatever an output makes of them and wherever in the
//! input a surprise comes. `pipeline/oracle_tests.rs` draws such cases; these are the ones that people met.

use serde_json::{Value, json};

use crate::support::{Morsels as _, Place, rows};

/// Objects that gain a key late; the first and the last are the same.
const OBJECTS: &str = concat!(
    "{\"o\":{\"a\":1}}\n{\"o\":{\"a\":5}}\n{\"o\":{\"a\":6}}\n{\"o\":{\"a\":7}}\n",
    "{\"o\":{\"a\":8}}\n{\"o\":{\"a\":9}}\n{\"o\":{\"a\":2,\"b\":3}}\n{\"o\":{\"a\":1}}\n",
);

/// Converts `input`, whose contents are `text`, with `steps` into every format, in small parts and as a whole.
fn every_output(input: &str, text: &str, steps: &[&str]) -> Vec<(String, Vec<Value>)> {
    let mut read = Vec::new();
    for morsel_bytes in ["10", "1048576"] {
        let place = Place::new().morsels(morsel_bytes);
        place.write(input, text);
        for output in ["out.ndjson", "out.csv", "out.parquet"] {
            place.run(&[&["convert", input, "-o", output], steps].concat()).ok();
            let bytes = place.read(output);
            let found = match output {
                "out.ndjson" => rows::ndjson(&bytes),
                "out.csv" => rows::csv_objects(&bytes),
                _ => rows::parquet(bytes),
            };
            read.push((format!("{output}, morsels of {morsel_bytes}"), found));
        }
    }
    read
}

#[test]
fn duplicates_are_found_after_objects_gained_a_key() {
    for columns in ["o", "*"] {
        for (output, found) in every_output("in.ndjson", OBJECTS, &["--dedupe", columns]) {
            assert_eq!(found.len(), 7, "{columns}: {output}");
        }
    }
}

#[test]
fn an_object_has_the_keys_of_its_record() {
    let steps = ["--with", "n = length(o), j = json_text(o), s = cast(o as string), t = o || ''", "--drop", "o"];
    for (output, found) in every_output("in.ndjson", OBJECTS, &steps) {
        let expected = |n: u64, text: &str| json!({"n": n, "j": text, "s": text, "t": text});
        let text = |row: &Value| match row["n"].is_string() {
            true => {
                json!({"n": row["n"].as_str().unwrap().parse::<u64>().unwrap(), "j": row["j"], "s": row["s"], "t": row["t"]})
            }
            false => row.clone(),
        };
        assert_eq!(text(&found[0]), expected(1, "{\"a\":1}"), "{output}");
        assert_eq!(text(&found[6]), expected(2, "{\"a\":2,\"b\":3}"), "{output}");
        assert_eq!(text(&found[7]), expected(1, "{\"a\":1}"), "{output}");
    }
}

#[test]
fn a_cell_of_csv_is_what_stands_in_it() {
    for (text, steps, expected) in [
        ("a\n1\n1.5\n", ["--where", "a = '1'"], 1),
        ("a\n1\n1.5\n", ["--where", "length(a) = 3"], 1),
        ("a\nTrue\nfalse\n", ["--where", "a like 'T%'"], 1),
        ("a\nTrue\nfalse\n", ["--where", "a = true"], 1),
        ("a,b\n1,x\n1.0,y\n1.5,z\n", ["--dedupe", "a"], 3),
        ("a,b\nTrue,x\ntrue,y\n", ["--dedupe", "a"], 2),
    ] {
        for (output, found) in every_output("in.csv", text, &steps) {
            assert_eq!(found.len(), expected, "{text:?} {steps:?}: {output}");
        }
    }
}

#[test]
fn mixed_values_have_one_text_wherever_they_met() {
    let numbers = "{\"x\":1}\n{\"x\":1.5}\n{\"x\":0.10}\n{\"x\":2}\n{\"x\":3}\n{\"x\":4}\n{\"x\":5}\n{\"x\":\"s\"}\n";
    let objects =
        "{\"x\":{\"b\":null,\"a\":1}}\n{\"x\":{\"a\":2}}\n{\"x\":{\"a\":3}}\n{\"x\":{\"a\":4}}\n{\"x\":\"s\"}\n";
    for (text, expected) in [
        (numbers, &["1", "1.5", "0.1", "2", "3", "4", "5", "\"s\""][..]),
        (objects, &["{\"a\":1}", "{\"a\":2}", "{\"a\":3}", "{\"a\":4}", "\"s\""]),
    ] {
        for morsel_bytes in ["10", "60", "1048576"] {
            let place = Place::new().morsels(morsel_bytes);
            place.write("in.ndjson", text);
            place.run(&["convert", "in.ndjson", "-o", "out.parquet"]).ok();
            let found = rows::parquet(place.read("out.parquet"));
            let texts: Vec<&str> = found.iter().map(|row| row["x"].as_str().unwrap()).collect();
            assert_eq!(texts, expected, "morsels of {morsel_bytes}");
        }
    }
}

#[test]
fn text_beside_parquet_keeps_its_digits() {
    let place = Place::new();
    place.write("in.ndjson", "{\"x\":0.10,\"o\":{\"k\":1,\"m\":null}}\n{\"x\":1e2}\n");
    place.run(&["convert", "in.ndjson", "-o", "a.parquet", "-o", "a.csv"]).ok();
    assert_eq!(place.read_text("a.csv"), "x,o\n0.10,\"{\"\"k\"\":1,\"\"m\"\":null}\"\n1e2,\n");
    place.write("in.csv", "x,b\n1.0,True\n1e+20,false\n");
    place.run(&["convert", "in.csv", "-o", "b.parquet", "-o", "b.csv", "-o", "b.ndjson"]).ok();
    assert_eq!(place.read_text("b.csv"), "x,b\n1.0,True\n1e+20,false\n");
    assert_eq!(place.read_text("b.ndjson"), "{\"x\":1.0,\"b\":true}\n{\"x\":1e+20,\"b\":false}\n");
}

#[test]
fn a_late_type_in_csv_meets_a_selection_of_columns() {
    let place = Place::new().morsels("4");
    place.write("in.csv", "n,b\n1,x\n2,x\n3,x\n4,x\n5,x\n6,x\n7,x\n8,x\n9.5,x\n");
    place.run(&["convert", "in.csv", "-o", "out.parquet", "--select", "n"]).ok();
    let found = rows::parquet(place.read("out.parquet"));
    assert_eq!((found.len(), &found[8]["n"]), (9, &json!(9.5)));
}

#[test]
fn an_object_that_is_something_else_later_is_not_lost_between_two_steps() {
    let objects: String = (0..40).map(|i| format!("{{\"i\":{i},\"l\":{{\"x\":{i}}}}}\n")).collect();
    let text = format!("{objects}{{\"i\":40,\"l\":\"s\"}}\n");
    for (output, found) in every_output("in.ndjson", &text, &["--flatten", "--select", "i,`l`"]) {
        assert_eq!(found.len(), 41, "{output}");
        assert!(found.iter().all(|row| !row["l"].is_null()), "{output}: {found:?}");
    }
}

/// A computed column is no object where a part of the input has none.
#[test]
fn a_computed_object_may_be_absent_from_a_part_of_the_input() {
    let text =
        "{\"n\":1,\"o\":{\"k\":1}}\n{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n{\"n\":4}\n{\"n\":5,\"o\":{\"m\":2,\"k\":1}}\n";
    let steps = ["--with", "x = o", "--flatten", "--select", "n,`o`"];
    for (output, found) in every_output("in.ndjson", text, &steps) {
        assert_eq!(found.len(), 6, "{output}");
    }
}

#[test]
fn json_beside_parquet_tells_absent_from_null_and_keeps_text() {
    let place = Place::new();
    place.write(
        "in.ndjson",
        "{\"o\":\"{\\\"big\\\": 1.2345678901234567890123, \\\"n\\\": null}\"}\n{\"a\":1,\"c\":null}\n",
    );
    for steps in [["--cast", "o:json"], ["--drop", "a"], ["--with", "n = 1"], ["--rename", "c=d"]] {
        let alone = place.run(&[&["convert", "in.ndjson", "-o", "-", "--to", "ndjson"], &steps[..]].concat()).ok();
        let outputs = ["convert", "in.ndjson", "-o", "a.parquet", "-o", "-", "--to", "ndjson"];
        let beside = place.run(&[&outputs, &steps[..]].concat()).ok();
        assert_eq!(beside.text(), alone.text(), "{steps:?}");
    }
}

#[test]
fn a_null_in_a_mixed_list_is_null() {
    for (output, found) in every_output("in.ndjson", "{\"o\":[10.5,null,\"x\"]}\n{\"o\":1}\n", &["--explode", "o"]) {
        let o = &found[1]["o"];
        assert!(o.is_null(), "{output}: {found:?}");
    }
}

/// The schema and the rows of each output, which must be the same for all sizes of morsels.
fn same_for_all_morsels(input: &str, text: &str, steps: &[&str], outputs: &[&str]) -> Vec<(String, Vec<Value>)> {
    let read = |morsel_bytes: &str| -> Vec<(String, Vec<Value>)> {
        let place = Place::new().morsels(morsel_bytes);
        place.write(input, text);
        let read = |output: &&str| {
            place.run(&[&["convert", input, "-o", output], steps].concat()).ok();
            let bytes = place.read(output);
            match output.rsplit_once('.').unwrap().1 {
                "parquet" | "arrow" => {
                    let schema = place.run(&["schema", output]).ok();
                    let rows = place.run(&["convert", output, "-o", "-", "--to", "ndjson"]).ok();
                    (String::from_utf8(schema.stdout).unwrap(), rows::ndjson(&rows.stdout))
                }
                // The order of keys counts, too.
                _ => (String::from_utf8(bytes).unwrap(), Vec::new()),
            }
        };
        outputs.iter().map(read).collect()
    };
    let whole = read("1048576");
    for morsel_bytes in ["10", "70"] {
        for ((output, found), expected) in outputs.iter().zip(read(morsel_bytes)).zip(&whole) {
            assert_eq!(found, *expected, "{output} of {input}, {steps:?}, morsels of {morsel_bytes}");
        }
    }
    whole
}

#[test]
fn records_behind_a_row_limit_decide_on_nothing() {
    let outputs = ["out.parquet", "out.arrow", "out.ndjson", "out.csv", "out.json"];
    let numbers: String = (1..=50).map(|n| format!("{n}\n")).collect();
    let whole = same_for_all_morsels("in.csv", &format!("a\n{numbers}x\n1.5\n"), &["--limit", "3"], &outputs);
    assert!(whole[0].0.contains("int"), "{}", whole[0].0);
    assert_eq!(whole[2].0, "{\"a\":1}\n{\"a\":2}\n{\"a\":3}\n");
    // A number of cells before the limit makes it a double, text behind it nothing.
    let csv = format!("a,b\n1,x\n2,y\n1.5,\"l\n1\"\n3,z\n{}", "x,1\n".repeat(30));
    let whole = same_for_all_morsels("in.csv", &csv, &["--where", "b <> 'x'", "--limit", "3"], &outputs);
    assert!(whole[0].0.contains("float") && whole[0].1.len() == 3, "{:?}", whole[0]);
    // The text is within the limit, and far behind the first morsel.
    let csv = format!("a,b\n{}x,1\n{}", "1,2\n".repeat(40), "y,z\n".repeat(30));
    let whole = same_for_all_morsels("in.csv", &csv, &["--limit", "41"], &outputs);
    assert_eq!(whole[0].1[40], json!({"a": "x", "b": 1}));
    // Keys behind the limit are no columns, and members no members.
    let records = format!(
        "{}{}",
        "{\"a\":{\"x\":1},\"l\":[1,2]}\n".repeat(9),
        "{\"a\":{\"y\":\"s\"},\"late\":1,\"l\":[\"s\"]}\n".repeat(9)
    );
    for steps in [&["--limit", "9"][..], &["--explode", "l", "--limit", "18"], &["--dedupe", "a", "--limit", "1"]] {
        let whole = same_for_all_morsels("in.ndjson", &records, steps, &outputs);
        assert!(!whole[0].0.contains("late") && whole[0].1[0].get("late").is_none(), "{steps:?}: {:?}", whole[0]);
    }
    // A name is no mistake if a record behind the limit has it.
    let place = Place::new();
    place.write("in.ndjson", &records);
    place.run(&["convert", "in.ndjson", "-o", "x.csv", "--limit", "9", "--select", "late"]).ok();
    assert_eq!(place.read_text("x.csv"), format!("late\n{}", "\n".repeat(9)));
}

/// A column that steps name in backticks, and that no record before the limit has, is the same column whatever is known of the
/// records behind.
#[test]
fn columns_in_backticks_do_not_depend_on_records_behind_a_limit() {
    let records = "{\"a\":1}\n".repeat(3) + &"{\"a\":2,\"late\":[5]}\n".repeat(9);
    let both = [("csv", "a,late\n1,\n1,\n"), ("ndjson", "{\"a\":1}\n{\"a\":1}\n")];
    for steps in [
        &["--cast", "`late`:text", "--limit", "2"][..],
        &["--limit", "2", "--cast", "`late`:text"],
        &["--limit", "2", "--json", "`late`"],
        &["--limit", "2", "--select", "a,`late`"],
    ] {
        for (to, expected) in both {
            for (sample, morsel) in [("1", "1"), ("20", "9"), ("40", "100000"), ("100000", "20"), ("100000", "100000")]
            {
                let place = Place::new().env("DRAWOFF_SAMPLE_SIZE", sample).env("DRAWOFF_MORSEL_SIZE", morsel);
                place.write("in.ndjson", &records);
                let done = place.run(&[&["convert", "in.ndjson", "-o", "-", "--to", to], steps].concat()).ok();
                assert_eq!(done.text(), expected, "{steps:?} to {to}, a sample of {sample} and morsels of {morsel}");
            }
        }
    }
}

/// Rows that are not copies of their records have the keys in the order in which the records first had them.
#[test]
fn the_order_of_keys_and_members_depends_on_no_morsel() {
    let keys = ["m", "b", "o", "a", "q"];
    let record = |i: usize| {
        let members = |n: usize| -> Vec<String> {
            (0..=n % 4).map(|j| format!("\"{}\":{}", keys[(n * 3 + j * (n % 2 + 1)) % 5], j)).collect()
        };
        let columns = (0..=i % 5).map(|j| {
            let key = keys[(i * 7 + j * (i % 3 + 1)) % 5];
            match key {
                "o" => format!("\"o\":{{{}}}", members(i).join(",")),
                key => format!("\"{key}\":{i}"),
            }
        });
        let mut seen = Vec::new();
        let columns: Vec<String> = columns
            .filter(|text| {
                !seen.contains(&text[..4].to_owned()) && {
                    seen.push(text[..4].to_owned());
                    true
                }
            })
            .collect();
        format!("{{{}}}\n", columns.join(","))
    };
    let records: String = (0..60).map(record).collect();
    for steps in
        [&["--drop", "`none`"][..], &["--drop", "q"], &["--json", "o"], &["--dedupe", "a"], &["--rename", "a=z"]]
    {
        same_for_all_morsels("in.ndjson", &records, steps, &["out.ndjson", "out.json", "out.csv", "out.parquet"]);
    }
    // Every file of a directory has the same columns, and its objects the same members in the same order.
    let schemas = |morsel_bytes: &str| {
        let place = Place::new().morsels(morsel_bytes);
        place.write("in.ndjson", &records);
        place.run(&["convert", "in.ndjson", "-o", "out/", "--to", "parquet", "--max-file-rows", "7"]).ok();
        let mut files: Vec<_> = std::fs::read_dir(place.path("out")).unwrap().map(|e| e.unwrap().path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "parquet"));
        assert!(files.len() >= 9, "{files:?}");
        let schema = |file: &std::path::PathBuf| place.run(&["schema", file.to_str().unwrap()]).ok().stdout;
        let mut schemas: Vec<_> = files.iter().map(schema).collect();
        schemas.dedup();
        assert_eq!(
            schemas.len(),
            1,
            "{morsel_bytes}: {:?}",
            schemas.iter().map(|s| String::from_utf8_lossy(s)).collect::<Vec<_>>()
        );
        let rows = place.run(&["convert", "out/*.parquet", "-o", "-", "--to", "ndjson"]).ok();
        (schemas.remove(0), rows::ndjson(&rows.stdout).len())
    };
    let whole = schemas("1048576");
    assert_eq!(whole.1, 60);
    for morsel_bytes in ["10", "300"] {
        assert_eq!(schemas(morsel_bytes), whole, "{morsel_bytes}");
    }
}

/// A stream cannot follow a change of its columns; what a step makes of a column that changes is none.
#[test]
fn a_stream_follows_changes_that_its_steps_hide() {
    // The first record alone, also if the pipe has more by then.
    let place = Place::new().env("DRAWOFF_MORSEL_SIZE", "10").env("DRAWOFF_SAMPLE_SIZE", "1");
    let write = |first: &str, second: &str, args: &[&str]| {
        let text = format!("{{\"a\":1{first}}}\n{{\"a\":2{second}}}\n");
        let done = place.run_with_stdin(&[&["convert", "-", "-o", "-", "--to"], args].concat(), text.as_bytes()).ok();
        if args[0] == "csv" {
            return rows::csv_objects(&done.stdout);
        }
        let name = if args[0] == "parquet" { "s.parquet" } else { "s.arrows" };
        place.write(name, &done.stdout);
        rows::ndjson(&place.run(&["convert", name, "-o", "-", "--to", "ndjson"]).ok().stdout)
    };
    for to in ["csv", "parquet", "arrow-stream"] {
        let pairs = [
            ("{\"y\":1}", "{\"x\":1}"),
            ("\"t\"", "{\"x\":1}"),
            ("null", "[1]"),
            ("{}", "{\"x\":1}"),
            ("[1]", "[\"s\"]"),
            ("[]", "{\"x\":[]}"),
            ("{\"x\":1}", "5"),
        ];
        for (first, second) in pairs {
            let found = write(&format!(",\"o\":{first}"), &format!(",\"o\":{second}"), &[to, "--json", "o"]);
            assert_eq!(found[1]["o"], json!(second), "{to}: {first}, {second}");
        }
        // The step names the column, so that a stream has it from the first row.
        assert_eq!(write("", ",\"o\":{\"x\":1}", &[to, "--json", "o"])[1]["o"], json!("{\"x\":1}"), "{to}");
        let cast = write("", ",\"o\":\"5\"", &[to, "--cast", "o:int"]);
        assert_eq!(cast[1]["o"].to_string().replace('"', ""), "5", "{to}");
        // What is left out may change.
        let dropped = write("", ",\"o\":{\"x\":1}", &[to, "--drop", "`o`"]);
        assert_eq!(dropped[1].as_object().unwrap().len(), 1, "{to}");
    }
    let refused = place.run_with_stdin(&["convert", "-", "-o", "-", "--to", "csv"], b"{\"a\":1}\n{\"a\":2,\"o\":1}\n");
    assert!(refused.code(6).stderr.contains("new key `o`"));
}

/// The column for keys without one does not make records behind the limit count.
#[test]
fn records_behind_a_limit_make_no_column_beside_an_extra_one() {
    let place = Place::new();
    place.write("l.ndjson", "{\"a\":1}\n{\"b\":2}\n");
    for morsel in ["4", "1000000"] {
        let args = ["convert", "l.ndjson", "-o", "-", "--to", "csv", "--limit", "1", "--extra-column", "rest"];
        let mut command = place.command(&args);
        command.morsels(morsel);
        assert_eq!(crate::support::Done::of(command).ok().text(), "a,rest\n1,\n", "{morsel}");
    }
}
