//! Delta tables that others have made or changed: values, maps, forms of text and rows that are gone.

use serde_json::{Value, json};

use crate::support::delta::{DeltaTable, Readers};
use crate::support::{Done, Morsels as _, Place, exit};

fn load(place: &Place, source: &str, table: &str, more: &[&str]) -> Done {
    let url = format!("delta:{table}");
    let args = ["convert", source, "-o", &url];
    place.run(&args.iter().chain(more).copied().collect::<Vec<_>>())
}

/// A number is judged by itself, in the first records as behind them: `2.0` is the integer 2, and `2.5` is a bad record.
#[test]
fn a_number_is_judged_by_itself_wherever_it_stands() {
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":1,\"n\":1,\"f\":0.5}\n");
    load(&place, "a.ndjson", "t", &[]).ok();
    // Beyond the records that are looked at first.
    let ints =
        "{\"id\":2,\"n\":7,\"f\":1,\"filler\":\"a text that makes the records long enough for a few of them\"}\n";
    let many = 70_000;
    for (name, text, rows) in [
        ("first", "{\"id\":2,\"n\":2.0,\"f\":3}\n{\"id\":3,\"n\":2.5,\"f\":9007199254740993}\n".to_owned(), 1),
        ("late", format!("{}{{\"id\":3,\"n\":2.0}}\n{{\"id\":4,\"n\":2.5}}\n", ints.repeat(many)), many + 1),
    ] {
        place.write("in.ndjson", &text);
        let done = load(&place, "in.ndjson", "t", &["--load-key", name]).code(exit::BAD_DATA);
        // Of two columns the one that is first by its name is named.
        done.says(if name == "first" { "field `f`: the table has double" } else { "field `n`: the table has long" });
        let skipped = load(&place, "in.ndjson", "t", &["--load-key", name, "--on-bad-record", "skip"]);
        skipped.code(exit::PARTIAL).says("1 rejected");
        let found = DeltaTable::of(&place, "t").local_rows(&place, "t");
        let twos = found.iter().filter(|row| row["n"] == 2).count();
        assert_eq!((found.len(), twos), (1 + rows, 1), "{name}");
        load(&place, "a.ndjson", "t", &["--load", "replace"]).ok();
    }
    // Text is none of its numbers.
    place.write("text.ndjson", "{\"id\":2,\"n\":\"2\"}\n");
    load(&place, "text.ndjson", "t", &[]).code(exit::LOAD_REFUSED).says("column `n` has text, and the table has long");
}

/// Text beside numbers is a bad record, in the first records as behind them.
#[test]
fn text_beside_numbers_is_judged_by_itself() {
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":1,\"n\":1}\n");
    let good = "{\"id\":2,\"n\":5}\n".repeat(200);
    let bad = "{\"id\":3,\"n\":\"x\"}\n";
    for (name, text) in [("first", format!("{bad}{good}")), ("late", format!("{good}{bad}"))] {
        place.write("in.ndjson", &text);
        for morsel in ["64", "1000", "1000000"] {
            let table = format!("{name}-{morsel}");
            load(&place, "a.ndjson", &table, &[]).ok();
            let url = format!("delta:{table}");
            let args = ["convert", "in.ndjson", "-o", &url, "--on-bad-record", "skip"];
            let mut command = place.command(&args);
            command.env("DRAWOFF_MORSEL_SIZE", morsel);
            Done::of(command).code(exit::PARTIAL).says("1 rejected");
            assert_eq!(DeltaTable::of(&place, &table).local_rows(&place, &table).len(), 201, "{table}");
        }
    }
}

/// A cell of CSV is what its column makes of it: digits are text in a column of text, and a word is no number.
#[test]
fn cells_of_csv_are_judged_by_themselves() {
    let place = Place::new();
    place.write("a.ndjson", "{\"n\":1,\"s\":\"x\",\"f\":0.5,\"b\":true}\n");
    let plain = "5,5,1,true\n".repeat(200);
    let odd = "x,6,2,true\n7,7.50,0.25,False\n8,True,3,true\n9,9,y,true\n10,10,4,1\n";
    for (name, text) in [("first", format!("{odd}{plain}")), ("late", format!("{plain}{odd}"))] {
        place.write("in.csv", format!("n,s,f,b\n{text}"));
        for morsel in ["64", "1000", "1000000"] {
            let table = format!("csv-{name}-{morsel}");
            load(&place, "a.ndjson", &table, &[]).ok();
            let url = format!("delta:{table}");
            let args = ["convert", "in.csv", "-o", &url, "--on-bad-record", "skip"];
            let mut command = place.command(&args);
            command.env("DRAWOFF_MORSEL_SIZE", morsel);
            Done::of(command).code(exit::PARTIAL).says("3 rejected");
            let rows = DeltaTable::of(&place, &table).local_rows(&place, &table);
            let of = |n: i64| rows.iter().find(|row| row["n"] == n).map(|row| json!([row["s"], row["f"], row["b"]]));
            assert_eq!(of(7), Some(json!(["7.50", 0.25, false])), "{table}");
            assert_eq!(of(8), Some(json!(["True", 3.0, true])), "{table}");
            assert_eq!(of(5), Some(json!(["5", 1.0, true])), "{table}");
            assert_eq!((rows.len(), of(9), of(10)), (203, None, None), "{table}");
        }
    }
}

/// The same inside objects and lists, whatever comes beside it and however the records are cut.
#[test]
fn numbers_inside_objects_and_lists_are_judged_one_by_one() {
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":0,\"o\":{\"x\":1},\"l\":[1]}\n");
    let odd = [
        r#"{"id":2,"o":{"x":2.0},"l":[7]}"#,
        r#"{"id":3,"o":{"x":2.5},"l":[7]}"#,
        r#"{"id":4,"o":{"x":7},"l":[2.0,null]}"#,
        r#"{"id":5,"o":{"x":7},"l":[1,2.5]}"#,
        r#"{"id":6,"o":{"x":7},"l":[7]}"#,
    ]
    .join("\n");
    let ones = "{\"id\":1}\n".repeat(200);
    for (name, text) in [("first", format!("{odd}\n{ones}")), ("late", format!("{ones}{odd}\n{ones}"))] {
        place.write("in.ndjson", &text);
        for morsel in ["64", "200", "1000", "1000000"] {
            let table = format!("{name}-{morsel}");
            load(&place, "a.ndjson", &table, &[]).ok();
            let url = format!("delta:{table}");
            let mut command = place.command(&["convert", "in.ndjson", "-o", &url, "--on-bad-record", "skip"]);
            command.morsels(morsel);
            Done::of(command).code(exit::PARTIAL).says("2 rejected");
            let mut rows = DeltaTable::of(&place, &table).local_rows(&place, &table);
            rows.retain(|row| row["id"].as_i64() > Some(1));
            rows.sort_by_key(|row| row["id"].as_i64());
            let expected = [
                json!({"id": 2, "o": {"x": 2}, "l": [7]}),
                json!({"id": 4, "o": {"x": 7}, "l": [2, null]}),
                json!({"id": 6, "o": {"x": 7}, "l": [7]}),
            ];
            assert_eq!(rows, expected, "{table}");
        }
    }
}

/// Values of several kinds that meet in a column of decimals or times are bad records, as each of them alone is.
#[test]
fn mixed_values_in_columns_of_decimals_and_times_are_bad_records() {
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":1,\"d\":\"1.50\",\"day\":\"2026-01-02\",\"at\":\"2026-01-02T03:04:05Z\"}\n");
    let ones = "{\"id\":1}\n".repeat(200);
    for (column, values) in [("d", ["1", "\"x\""]), ("day", ["\"2026-01-02\"", "5"]), ("at", ["\"x\"", "5"])] {
        for morsel in ["64", "100"] {
            let table = format!("{column}-{morsel}");
            let casts = ["--cast", "d:decimal(10,2)", "--cast", "day:date", "--cast", "at:timestamp"];
            load(&place, "a.ndjson", &table, &casts).ok();
            let bad = values.map(|value| format!("{{\"{column}\":{value}}}\n")).concat();
            place.write("in.ndjson", format!("{ones}{bad}{ones}"));
            let url = format!("delta:{table}");
            let mut command = place.command(&["convert", "in.ndjson", "-o", &url, "--on-bad-record", "skip"]);
            command.morsels(morsel);
            Done::of(command).code(exit::PARTIAL).says("2 rejected").says("loaded 400 rows");
        }
    }
}

/// The URL of a store without `delta+` is refused by name: it would be that of a directory.
#[test]
fn urls_behind_delta_are_no_directories() {
    let place = Place::new();
    place.write("in.ndjson", "{\"id\":1}\n");
    for (url, hint) in [
        ("delta:s3://b/t", "delta+s3://b/t"),
        ("delta:az://files/t", "delta+az://files/t"),
        ("delta:s3://KEY:marked-1@b/t", "delta+s3://b/t"),
    ] {
        let done = place.run(&["convert", "in.ndjson", "-o", url]).code(exit::USAGE);
        let done = done.says("is not the URL of a Delta table").hints(hint);
        assert!(!done.stderr.contains("marked-1"), "{}", done.stderr);
    }
    place.run_line("convert in.ndjson -o delta:file:///t").code(exit::USAGE).says("a URL follows its scheme");
    let names: Vec<_> = std::fs::read_dir(place.path(".")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains(':')), "{names:?}");
}

/// Members of an object that are null are in the map of the table, and absent ones are not.
#[test]
fn a_map_of_the_table_keeps_members_that_are_null() {
    let Some(readers) = Readers::find() else { return };
    let place = Place::new();
    readers.make(&place, "maps", "maps");
    let row = r#"{"id":2,"m":{"a":null,"b":2},"l":[{"m":{"x":null}}]}"#;
    let late = "{\"id\":3,\"m\":null}\n".repeat(300_000);
    place.write("in.ndjson", format!("{row}\n"));
    place.write("late.ndjson", format!("{late}{}\n", row.replace(":2,\"m\"", ":4,\"m\"")));
    load(&place, "in.ndjson", "maps", &[]).ok();
    load(&place, "late.ndjson", "maps", &[]).ok();
    let rows = readers.rows(&place, "maps");
    let expected = (json!([["a", null], ["b", 2]]), json!([{"m": [["x", null]]}]));
    for id in [2, 4] {
        let row = rows.iter().find(|row| row["id"] == id).unwrap();
        assert_eq!((pairs(&row["m"]), json!([{"m": pairs(&row["l"][0]["m"])}])), expected, "row {id}");
    }
    // A number inside is judged by itself in the first records, too.
    place.write("two.ndjson", "{\"id\":6,\"m\":{\"a\":2.0}}\n");
    load(&place, "two.ndjson", "maps", &[]).ok();
    let rows = readers.rows(&place, "maps");
    assert_eq!(pairs(&rows.iter().find(|row| row["id"] == 6).unwrap()["m"]), json!([["a", 2]]));
    // A value that the map cannot hold is said by its name.
    place.write("text.ndjson", "{\"id\":5,\"m\":{\"a\":\"x\"}}\n");
    load(&place, "text.ndjson", "maps", &[]).code(exit::LOAD_REFUSED).says("column `m` has text in `m.*`");
}

/// The entries of a map as pairs, whether a reader shows it as pairs or as an object.
fn pairs(map: &Value) -> Value {
    match map {
        Value::Object(members) => members.iter().map(|(key, value)| json!([key, value])).collect(),
        other => other.clone(),
    }
}

/// A table made from the printed statement takes mixed values as JSON text, in the first load and in later ones.
#[test]
fn a_table_of_the_printed_statement_takes_mixed_values() {
    let place = Place::new();
    let rows =
        "{\"id\":1,\"v\":\"a\",\"n\":null,\"o\":[{\"w\":1}]}\n{\"id\":2,\"v\":2,\"n\":null,\"o\":[{\"w\":\"x\"}]}\n";
    place.write("in.ndjson", rows);
    let done = place.run_line("schema in.ndjson --format ddl:delta --into t").ok();
    let text = done.text();
    let (_, forms) = text.split_once("'drawoff.forms' = '").expect(text);
    let forms = forms.split('\'').next().unwrap();
    assert_eq!(forms, "v=json,n=null,o;w=json");
    // As an engine makes it by the statement: a property of the table, and nothing at the fields.
    load(&place, "in.ndjson", "t", &[]).ok();
    let entry = place.path("t/_delta_log/00000000000000000000.json");
    let made: String = std::fs::read_to_string(&entry)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|action| action.get("protocol").is_some() || action.get("metaData").is_some())
        .map(|mut action| {
            if let Some(metadata) = action.get_mut("metaData") {
                let schema = metadata["schemaString"].as_str().unwrap();
                let plain = ["json", "null"].iter().fold(schema.to_owned(), |schema, form| {
                    schema.replace(&format!("{{\"drawoff.form\":\"{form}\"}}"), "{}")
                });
                assert!(!plain.contains("drawoff.form"), "{plain}");
                metadata["schemaString"] = plain.into();
                metadata["configuration"] = json!({"drawoff.forms": forms, "owner": "crm"});
            }
            format!("{action}\n")
        })
        .collect();
    std::fs::write(&entry, made).unwrap();
    load(&place, "in.ndjson", "t", &[]).ok().says("loaded 2 rows");
    // The first values of `n` decide what its text is, and the new metadata says it all.
    place.write("more.ndjson", "{\"id\":3,\"v\":\"b\",\"n\":\"plain\",\"o\":null}\n");
    load(&place, "more.ndjson", "t", &[]).ok();
    let rows = || {
        let mut rows = DeltaTable::of(&place, "t").local_rows(&place, "t");
        rows.sort_by_key(|row| row["id"].as_i64());
        rows
    };
    let values: Vec<Value> = rows().iter().map(|row| row["v"].clone()).collect();
    assert_eq!(values, [json!("\"a\""), json!("2"), json!("\"b\"")]);
    assert_eq!(rows()[2]["n"], json!("plain"));
    let log = std::fs::read_to_string(place.path("t/_delta_log/00000000000000000002.json")).unwrap();
    let metadata = log.lines().find(|line| line.contains("metaData")).expect("its metadata changed");
    assert!(metadata.contains("drawoff.form") && !metadata.contains("drawoff.forms"), "{metadata}");
    assert!(metadata.contains("\"owner\":\"crm\""), "{metadata}");
    place.write("last.ndjson", "{\"id\":4,\"n\":\"text\"}\n");
    load(&place, "last.ndjson", "t", &[]).ok();
    assert_eq!(rows()[3]["n"], json!("text"));
}

/// Rows that another engine has removed are said to be gone, and `--again` loads them.
#[test]
fn rows_that_another_engine_removed_are_loaded_again() {
    let Some(readers) = Readers::find() else { return };
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":1}\n{\"id\":2}\n");
    place.write("b.ndjson", "{\"id\":3}\n");
    load(&place, "a.ndjson", "t", &["--load-key", "a"]).ok();
    readers.make(&place, "t", "emptied");
    assert_eq!(readers.rows(&place, "t").len(), 0);
    let done = load(&place, "a.ndjson", "t", &["--load-key", "a"]).ok();
    done.says("loaded on 20").says("the table has none of these rows now").says("`--again`");
    // Beside another load, whose rows are there.
    load(&place, "b.ndjson", "t", &["--load-key", "b"]).ok();
    load(&place, "a.ndjson", "t", &["--load-key", "a"]).ok().says("the table has none of these rows now");
    let done = load(&place, "b.ndjson", "t", &["--load-key", "b"]).ok();
    assert!(done.says("nothing was changed").stderr.lines().all(|line| !line.contains("none of these rows")));
    load(&place, "a.ndjson", "t", &["--load-key", "a", "--again"]).ok().says("loaded 2 rows");
    assert_eq!(readers.rows(&place, "t").len(), 3);
    load(&place, "a.ndjson", "t", &["--load-key", "a", "--again"]).ok().says("replaced 1 file");
    assert_eq!(readers.rows(&place, "t").len(), 3);
}

/// A place without a table is an error where loads are listed or cleaned up; what a first load left there is removed.
#[test]
fn loads_of_no_table_are_an_error() {
    let place = Place::new();
    place.run_line("loads ls delta:none").code(exit::LOAD_REFUSED).says("there is no Delta table").hints("_delta_log");
    place.run_line("loads gc delta:none").code(exit::LOAD_REFUSED).says("there is no Delta table");
    std::fs::create_dir(place.path("left")).unwrap();
    place.write("left/drawoff-0123456789abcdef-00001.parquet", "left by a load");
    place.run_line("loads gc delta:left --older-than 0s").ok().says("removed 1 file");
    place.run_line("loads gc delta:left --older-than 0s").code(exit::LOAD_REFUSED).says("there is no Delta table");
}

/// A value that no directory can have as its name ends the load before anything is in the table.
#[test]
fn a_partition_of_a_long_value_is_refused() {
    let place = Place::new();
    place.write("a.ndjson", format!("{{\"id\":1,\"p\":\"a\"}}\n{{\"id\":2,\"p\":\"{}\"}}\n", "ø".repeat(50)));
    let done = load(&place, "a.ndjson", "t", &["--partition-by", "p"]).code(exit::BAD_DATA);
    done.says("a directory name of 302 bytes; the maximum is 255").hints("divide the rows by another column");
    assert!(!place.path("t").exists());
}

/// Files of tables below a directory are not those of the directory, with a log there and without.
#[test]
fn what_a_killed_load_left_is_looked_for_in_one_table() {
    let place = Place::new();
    place.write("a.ndjson", "{\"id\":1,\"c\":\"x\"}\n{\"id\":2,\"c\":\"y\"}\n");
    load(&place, "a.ndjson", "lake/t", &[]).ok();
    load(&place, "a.ndjson", "lake/c=1", &["--partition-by", "c"]).ok();
    let read = || ["lake/t", "lake/c=1"].map(|table| DeltaTable::of(&place, table).local_rows(&place, table).len());
    place.run_line("loads gc delta:lake --older-than 0s").code(exit::LOAD_REFUSED);
    assert_eq!(read(), [2, 2]);
    load(&place, "a.ndjson", "lake", &["--load-key", "k"]).ok();
    let left = "lake/c=x/drawoff-0123456789abcdef-00001.parquet";
    for directory in ["lake/c=x", "lake/other"] {
        std::fs::create_dir_all(place.path(directory)).unwrap();
    }
    place.write(left, "of a load that was killed");
    place.write("lake/other/drawoff-0123456789abcdef-00001.parquet", "of nothing that is known");
    place.run_line("loads gc delta:lake --older-than 0s").ok().says("removed 1 file");
    assert!(!place.path(left).exists());
    assert_eq!(read(), [2, 2]);
}

/// Local times that divide a table are spelled as others read them, and booleans have bounds, without which filters of others
/// find nothing.
#[test]
fn partitions_and_bounds_are_what_readers_expect() {
    let place = Place::new();
    place
        .write("a.ndjson", "{\"id\":1,\"p\":\"2026-01-31T12:00:00.5\",\"o\":true}\n{\"id\":2,\"p\":null,\"o\":null}\n");
    let more = ["--partition-by", "p", "--cast", "p:timestamp(local)"];
    load(&place, "a.ndjson", "t", &more).ok();
    let log = std::fs::read_to_string(place.path("t/_delta_log/00000000000000000000.json")).unwrap();
    assert!(log.contains(r#""partitionValues":{"p":"2026-01-31 12:00:00.5"}"#), "{log}");
    assert!(log.contains(r#"\"minValues\":{\"id\":1,\"o\":true}"#), "{log}");
    let Some(readers) = Readers::find() else { return };
    let mut rows = readers.rows(&place, "t");
    rows.sort_by_key(|row| row["id"].as_i64());
    assert_eq!(rows.iter().map(|row| row["o"].clone()).collect::<Vec<_>>(), [json!(true), Value::Null]);
    assert!(rows[0]["p"].to_string().contains("2026-01-31"), "{rows:?}");
}
