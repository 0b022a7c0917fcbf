//! Steps such as `--where`, `--with` and `--explode`: results compared with Python, positions of errors, and `explain`.

use crate::support::rows;
use crate::support::{Done, Place, exit, root, tool};

#[test]
fn python_selects_the_same_rows_and_columns() {
    let Some(python) = tool("DRAWOFF_TEST_PYTHON") else { return };
    let place = Place::new();
    let mut command = place.program(python);
    command.arg(root().join("tests/readers/check_steps.py")).args([env!("CARGO_BIN_EXE_drawoff"), "."]);
    let done = Done::of(command).ok();
    assert_eq!(done.text().trim(), "80 comparisons");
}

#[test]
fn errors_point_at_their_position() {
    let place = Place::new();
    let convert = |flags: &[&str]| {
        let args = [&["convert", "testdata/companies.ndjson", "-o", "out.ndjson"], flags].concat();
        let done = place.run(&args);
        assert_eq!(done.code, exit::USAGE, "{}", done.stderr);
        assert!(place.leftovers().is_empty());
        done.stderr
    };
    assert_eq!(
        convert(&["--where", "city = 'Oslo' and emplyee_count > 5"]),
        "error: there is no column `emplyee_count`\n  city = 'Oslo' and emplyee_count > 5\n                    ^\n\
         hint: did you mean `employee_count`? A column that appears only in later records needs backticks: \
         `emplyee_count`\n"
    );
    assert!(convert(&["--where", "city ="]).contains("\n  city =\n        ^\n"));
    assert!(convert(&["--select", "city,city"]).contains("duplicate column `city`"));
    assert!(
        convert(&["--rename", "city=country"])
            .contains("cannot rename `city` to `country`: a column of that name exists")
    );
    assert!(convert(&["--limit", "few"]).contains("--limit"));
}

#[test]
fn a_limit_ends_an_endless_input() {
    let place = Place::new();
    let mut command = place.program("sh");
    // A source that never ends.
    command.arg("-c").arg("yes '{\"a\":1,\"b\":[2]}' | drawoff convert - -o - --select b --limit 3");
    let done = Done::of(command).ok();
    assert_eq!(done.text(), "{\"b\":[2]}\n".repeat(3));
    assert!(done.stderr.contains("stopped at the limit"), "{}", done.stderr);
}

#[test]
fn a_run_and_its_count_under_a_limit() {
    let place = Place::new();
    let run = "run testdata/workflows/qualify-companies.json --local --input testdata/companies.csv";
    let done = place.run_line(&format!("{run} -o out.ndjson --select company_name,employee_count --limit 5")).ok();
    assert!(done.stderr.contains("stopped at the limit"), "{}", done.stderr);
    let found = rows::ndjson(&place.read("out.ndjson"));
    assert_eq!(found.len(), 5);
    assert!(found.iter().all(|row| row.as_object().unwrap().len() <= 2 && row.get("company_name").is_some()));
    // Without a limit the count is compared, whatever is filtered.
    let done = place
        .run(&[&run.split(' ').collect::<Vec<_>>()[..], &["-o", "out.csv", "--where", "employee_count > 500"]].concat())
        .ok();
    assert!(done.stderr.contains("row_count") && !done.stderr.contains(" 0 filtered"), "{}", done.stderr);
}

#[test]
fn misspelled_columns_are_reported_before_a_run_starts() {
    let place = Place::new();
    let run = "run testdata/workflows/qualify-companies.json --local --input testdata/companies.csv -o out.ndjson";
    let with =
        |condition: &str| place.run(&[&run.split(' ').collect::<Vec<_>>()[..], &["--where", condition]].concat());
    let done = with("emplyee_count > 5");
    assert!(done.stderr.contains("no run was started") && !done.stderr.contains(" started\n"), "{}", done.stderr);
    assert!(done.stderr.contains("did you mean `employee_count`?"), "{}", done.stderr);
    assert_eq!(done.code, exit::USAGE, "{}", done.stderr);
    let done = with("employee_count > 'many'").code(exit::USAGE);
    assert!(done.stderr.contains("types that the workflow declares"), "{}", done.stderr);
    // What no block declares may come from the input.
    with("`crm_row_id` is null and employee_count > 5").ok();
    let done =
        with("crm_row_id <> 'x' and employee_count > 5").code(exit::USAGE).says("there is no column `crm_row_id`");
    assert!(!done.stderr.contains("types that the workflow declares"), "{}", done.stderr);
}

#[test]
fn python_transforms_the_same_rows() {
    let Some(python) = tool("DRAWOFF_TEST_PYTHON") else { return };
    let place = Place::new();
    let mut command = place.program(python);
    command.arg(root().join("tests/readers/check_transforms.py")).args([env!("CARGO_BIN_EXE_drawoff"), "."]);
    let done = Done::of(command).ok();
    let comparisons = done.text().trim().strip_suffix(" comparisons").map(str::parse::<u32>);
    assert!(matches!(comparisons, Some(Ok(300..))), "{}", done.text());
}

/// Text between backticks in the cells of a table's row.
fn example(line: &str) -> Option<(&str, &str)> {
    let (left, right) = line.strip_prefix("| `")?.strip_suffix("` |")?.split_once("` | `")?;
    Some((left, right))
}

#[test]
fn the_examples_of_the_expressions_page_hold() {
    let doc = std::fs::read_to_string(root().join("docs/expressions.md")).unwrap();
    let record = doc.split_once("```json\n").unwrap().1.split_once("\n```").unwrap().0;
    let examples: Vec<(&str, &str)> = doc.lines().filter_map(example).collect();
    assert!(examples.len() > 50, "{}", examples.len());
    let place = Place::new();
    place.write("in.ndjson", format!("{record}\n"));
    let names: Vec<String> = (0..examples.len()).map(|i| format!("e{i}")).collect();
    let mut args: Vec<String> = ["convert", "in.ndjson", "-o", "-"].map(str::to_owned).to_vec();
    for (name, (expression, _)) in names.iter().zip(&examples) {
        args.extend(["--with".to_owned(), format!("{name} = {expression}")]);
    }
    args.extend(["--select".to_owned(), names.join(",")]);
    let done = place.run(&args).ok();
    let row: serde_json::Value = serde_json::from_str(done.text()).unwrap();
    for (name, (expression, value)) in names.iter().zip(&examples) {
        let expected: serde_json::Value = serde_json::from_str(value).unwrap_or_else(|e| panic!("{value}: {e}"));
        // By their digits, so that 12.50 is no 12.5.
        assert_eq!(row[name].to_string(), expected.to_string(), "{expression}");
    }
    // The steps file of the same page, on the same record.
    let plan = doc.split_once("```toml\n").unwrap().1.split_once("\n```").unwrap().0;
    place.write("steps.toml", plan);
    let done = place.run(&["convert", "in.ndjson", "-o", "-", "--steps", "steps.toml", "--seed", "1"]).ok();
    assert!(
        done.text().is_empty()
            || done.text() == "{\"name\":\"Fjord & Co\",\"domain\":\"fjord.example\",\"hq_city\":\"Bergen\"}\n"
    );
    let by_old_name = place.run(&["convert", "in.ndjson", "-o", "-", "--plan", "steps.toml", "--seed", "1"]).ok();
    assert_eq!(done.text(), by_old_name.text());
    let done = place.run(&["explain", "in.ndjson", "--steps", "steps.toml", "-o", "json"]).ok();
    let plan: serde_json::Value = serde_json::from_str(done.text()).unwrap();
    assert_eq!(plan["steps"].as_array().unwrap().len(), 7);
    assert_eq!(plan["output"][2], serde_json::json!({"name": "hq_city", "type": "text"}));
}

#[test]
fn explain_prints_steps_and_columns() {
    let place = Place::new();
    place.write("in.ndjson", "{\"n\":1,\"hq\":{\"city\":\"x\"},\"l\":[{\"a\":1.5}],\"d\":\"2024-01-31\"}\n");
    let flags = ["--explode", "l", "--flatten", "--cast", "d:date", "--with", "x = n / 2", "--limit", "3"];
    let done = place.run(&[&["explain", "in.ndjson"], &flags[..]].concat()).ok();
    for words in [
        "explode",
        "cast     d:date",
        "streams in order",
        "hq.city  text",
        "l.a      float",
        "d        date",
        "x        float",
    ] {
        assert!(done.text().contains(words), "{words}: {}", done.text());
    }
    let done = place.run(&["explain", "in.ndjson", "--with", "x = lower(n)"]);
    assert_eq!(done.code, exit::USAGE);
    assert!(done.stderr.contains("cannot apply `lower` to `n`: expected text, found numbers"), "{}", done.stderr);
    let done = place.run(&["explain", "in.ndjson", "--where", "hq.ctiy = 'x'"]);
    done.code(exit::USAGE).hints("did you mean `hq.city`?");
}

#[test]
fn a_failed_cast_names_its_record() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":\"1\"}\n\n{\"a\":\"x\"}\n{\"a\":\"3\"}\n");
    let done = place.run(&["convert", "in.ndjson", "-o", "out.csv", "--cast", "a:int"]);
    assert_eq!(done.code, exit::BAD_DATA, "{}", done.stderr);
    assert!(done.stderr.contains("in.ndjson line 3 (byte 11): field `a`: cannot cast text to int"), "{}", done.stderr);
    assert!(done.stderr.contains("--on-bad-record skip"), "{}", done.stderr);
    let done = place.run(&["convert", "in.ndjson", "-o", "out.csv", "--cast", "a:int", "--on-bad-cast", "null"]).ok();
    assert!(done.stderr.contains("`cast a:int` failed for 1 value, which was set to null"), "{}", done.stderr);
    assert_eq!(place.read("out.csv"), b"a\n1\n\n3\n");
}

#[test]
fn flatten_and_explode_errors_name_their_cause() {
    let place = Place::new();
    place.write("in.ndjson", "{\"hq\":{\"city\":1},\"hq.city\":2,\"t\":\"x\"}\n");
    place.write("in.csv", "tags\n\"[1,2]\"\n");
    let error = |args: &[&str]| {
        let args = [&["convert", args[0], "-o", "out.ndjson"], &args[1..]].concat();
        place.run(&args).code(exit::USAGE).stderr
    };
    let clash = error(&["in.ndjson", "--flatten"]);
    assert!(clash.contains("duplicate column name: `city` inside `hq` and the column `hq.city`"), "{clash}");
    assert!(error(&["in.ndjson", "--explode", "t"]).contains("cannot explode `t`: expected lists, found text"));
    assert!(error(&["in.csv", "--explode", "tags"]).contains("parse them first with `--cast tags:json`"));
    place.run(&["convert", "in.csv", "-o", "out.ndjson", "--cast", "tags:json", "--explode", "tags"]).ok();
    assert_eq!(place.read("out.ndjson"), b"{\"tags\":1}\n{\"tags\":2}\n");
}
