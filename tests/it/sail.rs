//! Tables of data files, read by Sail: the protocol and the SQL of Spark, without a virtual machine of Java.

use serde_json::{Value, json};

use crate::support::{Done, Place, root, tool};

/// Two loads, of which the second adds a column: what Sail reads is what the records had.
fn check(format: &str, output: &[&str], directory: &str) {
    // Only `.ci/full` has it.
    if std::env::var_os("DRAWOFF_TEST_READERS_PYTHON").is_none() {
        return;
    }
    let Some(python) = tool("DRAWOFF_TEST_READERS_PYTHON") else { return };
    let place = Place::new();
    let first = r#"{"id":1,"name":"Bø \"q\"\n","score":1.5,"tags":["a",null],"hq":{"lat":1.25,"zip":null},"ok":true,"big":123456789012345678901234567890,"n":null,"mixed":"a","country":"NO","at":"2024-01-02T03:04:05Z"}
{"id":2,"name":null,"score":2,"tags":[],"hq":null,"ok":false,"big":1,"n":null,"late":7,"mixed":{"k":[1]},"country":null,"at":null}
"#;
    place.write("a.ndjson", first);
    place.write("b.ndjson", "{\"id\":3,\"name\":\"c\",\"extra\":{\"x\":1},\"country\":\"ø /=%\"}\n");
    let load = |source: &str, more: &[&str]| place.run(&[&["convert", source], output, more].concat()).ok();
    load("a.ndjson", &["--cast", "at:timestamp", "--partition-by", "country"]);
    load("b.ndjson", &[]);
    let mut command = place.program(&python);
    command.arg(root().join("tests/it/support/sail_reader.py")).args([format, directory]);
    command.env("PYTHONWARNINGS", "ignore");
    let found = Done::of(command).ok().records();
    let all_null = |row: Value| -> Value {
        let mut whole = json!({"name": null, "score": null, "tags": null, "hq": null, "ok": null, "big": null, "n": null,
            "mixed": null, "country": null, "at": null, "late": null, "extra": null});
        whole.as_object_mut().unwrap().extend(row.as_object().unwrap().clone());
        whole
    };
    let expected = [
        all_null(
            json!({"id": 1, "name": "Bø \"q\"\n", "score": 1.5, "tags": ["a", null], "hq": {"lat": 1.25, "zip": null},
            "ok": true, "big": "123456789012345678901234567890", "mixed": "\"a\"", "country": "NO",
            "at": "2024-01-02T03:04:05+00:00"}),
        ),
        all_null(
            json!({"id": 2, "score": 2.0, "tags": [], "ok": false, "big": "1", "late": 7, "mixed": "{\"k\":[1]}"}),
        ),
        all_null(json!({"id": 3, "name": "c", "extra": {"x": 1}, "country": "ø /=%"})),
    ];
    assert_eq!(found, expected);
}

#[cfg(feature = "delta")]
#[test]
fn sail_reads_a_delta_table() {
    check("delta", &["-o", "delta:t"], "t");
}

#[cfg(feature = "iceberg")]
#[test]
fn sail_reads_an_iceberg_table() {
    check("iceberg", &["-o", "iceberg+sqlite:c.db?warehouse=wh", "--into", "crm.t"], "wh/crm/t");
}
