//! A step means one thing: it sees values as their source has them, whatever an output makes of them and wherever in the
//! input a surprise comes. `pipeline/oracle_tests.rs` draws such cases; these are the ones that people met.

use serde_json::{Value, json};

use crate::support::{Place, rows};

/// Objects that gain a key late; the first and the last are the same.
const OBJECTS: &str = concat!(
    "{\"o\":{\"a\":1}}\n{\"o\":{\"a\":5}}\n{\"o\":{\"a\":6}}\n{\"o\":{\"a\":7}}\n",
    "{\"o\":{\"a\":8}}\n{\"o\":{\"a\":9}}\n{\"o\":{\"a\":2,\"b\":3}}\n{\"o\":{\"a\":1}}\n",
);

/// Converts `input`, whose contents are `text`, with `steps` into every format, in small parts and as a whole.
fn every_output(input: &str, text: &str, steps: &[&str]) -> Vec<(String, Vec<Value>)> {
    let mut read = Vec::new();
    for morsel_bytes in ["10", "1048576"] {
        let place = Place::new().env("DRAWOFF_MORSEL_SIZE", morsel_bytes);
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
            let place = Place::new().env("DRAWOFF_MORSEL_SIZE", morsel_bytes);
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
    let place = Place::new().env("DRAWOFF_MORSEL_SIZE", "4");
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
