//! `plan`, `work` and `commit`: work that several machines share has the rows of one machine, once, and says what is left.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::{Done, MARKED_KEY, Place, Service, exit, rows};

/// A service with runs whose results differ in columns and types, and a place whose commands go there.
pub struct Desk {
    pub service: Service,
    pub place: Place,
    pub runs: Vec<String>,
    _service_place: Place,
}

/// Result rows of three runs. The same column is of several types, without a value, absent, or an object with other members.
pub fn payloads() -> Vec<Value> {
    vec![
        json!([
            {"n": 1, "a": 1, "none": null, "mix": 12, "l": [], "o": {"x": 1}, "f": 1.5},
            {"n": 2, "a": 1_152_921_504_606_846_977_u64, "none": null, "mix": 13, "l": [], "o": null, "f": 2},
        ]),
        json!([
            {"n": 3, "a": 2.5, "none": 7, "mix": "12", "l": [1, 2], "o": {"x": null, "y": "z"}, "f": 3, "late": [{"q": 1}]},
        ]),
        json!([
            {"n": 4, "a": 3, "none": null, "mix": true, "l": null, "o": {"x": 2.5}, "f": "t"},
            {"n": 5, "mix": 1.5, "o": {}},
        ]),
    ]
}

/// Result rows of three runs with the same columns and types.
pub fn alike() -> Vec<Value> {
    let name = |n: i64| ["Ada", "Bo"][n as usize % 2];
    let row = |n: i64| json!({"n": n, "name": name(n), "o": {"x": n as f64 + 0.5}});
    (0..3).map(|run| json!([row(2 * run), row(2 * run + 1)])).collect()
}

impl Desk {
    /// Starts runs with these result rows, and waits for their ends.
    pub fn start(flags: &[&str], payloads: &[Value]) -> Self {
        Desk::with_formats(flags, payloads, "&result_formats=ndjson")
    }

    pub fn with_formats(flags: &[&str], payloads: &[Value], formats: &str) -> Self {
        let service_place = Place::new();
        let service = Service::start(&service_place, "data", &[&["--rate-limit", "0"], flags].concat());
        let place = Place::with_service(&service.url);
        let workflow = service.chain(&[("webhook", json!({}))]);
        let start = |rows: &Value| {
            let path = format!("/workflows/run?workflow_id={workflow}{formats}");
            let (status, started) = service.call("POST", &path, Some(json!({"webhook_payload": rows})));
            assert_eq!(status, 200, "{started}");
            started["job_id"].as_str().unwrap().to_owned()
        };
        let runs: Vec<String> = payloads.iter().map(start).collect();
        for run in &runs {
            place.run(&["runs", "watch", run]).ok();
        }
        Desk { service, place, runs, _service_place: service_place }
    }

    /// Runs drawoff with the words of `command`, then the ids of all runs, then `more`.
    pub fn of_runs(&self, command: &[&str], more: &[&str]) -> Done {
        let runs: Vec<&str> = self.runs.iter().map(String::as_str).collect();
        self.place.run(&[command, &runs, more].concat())
    }

    pub fn run(&self, line: &str) -> Done {
        self.place.run_line(line)
    }

    /// The items of a plan, as `plan status` lists them.
    pub fn items(&self, plan: &str) -> Vec<Value> {
        self.run(&format!("plan status {plan} -o ndjson")).ok().records()
    }
}

/// Names of all files below a directory, relative to it.
pub fn files(directory: &Path) -> BTreeSet<String> {
    fn add(root: &Path, directory: &Path, found: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => add(root, &path, found),
                false => drop(found.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned())),
            }
        }
    }
    let mut found = BTreeSet::new();
    add(directory, directory, &mut found);
    found
}

/// Rows of the Parquet files of a directory, in the order of their names.
pub fn rows_of_directory(place: &Place, directory: &str) -> Vec<Value> {
    let names = files(&place.path(directory));
    let parquet = names.iter().filter(|name| name.ends_with(".parquet"));
    parquet.flat_map(|name| rows::parquet(place.read(&format!("{directory}/{name}")))).collect()
}

#[test]
fn shared_work_has_the_rows_columns_and_types_of_one_machine() {
    let desk = Desk::start(&[], &payloads());
    for (i, steps) in [
        &[][..],
        &["--where", "late is null or n > 0", "--with", "z = mix", "--run-column", "run"],
        &["--select", "n,o,`late`", "--rename", "n=id"],
        &["--with", "d = n + 1", "--drop", "l,late", "--cast", "n:float"],
        &["--with", "day = '2026-11-0' || cast(n as string)", "--cast", "day:date,n:decimal(12,2)"],
        &["--explode", "l", "--json", "o"],
    ]
    .into_iter()
    .enumerate()
    {
        // Columns alone, which a commit into Parquet reads, and text besides, which one into text reads.
        let outputs = |name: &str| [format!("{name}.parquet"), format!("{name}.csv"), format!("{name}.ndjson")];
        let one = outputs(&format!("one{i}"));
        let one_flags: Vec<&str> = one.iter().flat_map(|out| ["-o", out]).collect();
        desk.of_runs(&["pull"], &[&one_flags, steps].concat()).ok();
        let alone = rows::parquet(desk.place.read(&one[0]));
        for (kind, n_outputs) in [("columns", 1), ("text", 3)] {
            let plan = format!("{kind}{i}");
            desk.of_runs(&["plan"], &[&["-o", &plan], steps].concat()).ok().quiet();
            // Each worker sees some of the items.
            desk.run(&format!("work {plan} --shard 1/2")).ok();
            desk.run(&format!("work {plan} --shard 0/2")).ok().says("2 items done");
            let shared = outputs(&plan);
            desk.run(&format!("commit {plan} -o {}", shared[..n_outputs].join(" -o "))).ok();
            let bytes = desk.place.read(&shared[0]);
            let schema = rows::parquet_schema(bytes.clone());
            assert_eq!(schema, rows::parquet_schema(desk.place.read(&one[0])), "{kind} {steps:?}");
            rows::assert_same(&rows::parquet(bytes), &alone);
            for (shared, alone) in shared.iter().zip(&one).take(n_outputs).skip(1) {
                assert_eq!(desk.place.read_text(shared), desk.place.read_text(alone), "{steps:?}");
            }
        }
    }
}

#[test]
fn a_plan_has_neither_links_nor_keys_and_is_written_once() {
    let desk = Desk::start(&[], &payloads());
    desk.of_runs(&["plan"], &["-o", "plan"]).ok().says("3 items of 5 rows");
    let text = desk.place.read_text("plan/plan.ndjson");
    for secret in [MARKED_KEY, "http", "sig", "token", "expires"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let lines = rows::ndjson(text.as_bytes());
    assert_eq!(lines[0]["drawoff_plan"], 1);
    let runs: Vec<&str> = lines[1..].iter().map(|item| item["run_id"].as_str().unwrap()).collect();
    assert_eq!(runs, desk.runs);
    assert!(lines[1..].iter().all(|item| item["plan_digest"] == lines[0]["plan_digest"]));

    desk.of_runs(&["plan"], &["-o", "plan"]).ok().says("there before");
    desk.of_runs(&["plan"], &["-o", "plan", "--where", "n > 1"]).code(exit::USAGE).says("has another plan").hints("-o");
    assert_eq!(desk.place.read_text("plan/plan.ndjson"), text);
    desk.run("work plan").ok();
    for name in files(&desk.place.path("plan")).iter().filter(|name| name.ends_with(".json")) {
        let text = desk.place.read_text(&format!("plan/{name}"));
        assert!(!text.contains("http") && !text.contains(MARKED_KEY), "{name}: {text}");
    }
    // A changed plan is noticed.
    desk.place.write("plan/plan.ndjson", text.replace("\"row_count\":2", "\"row_count\":3"));
    desk.run("work plan").code(exit::BAD_DATA).says("digest differs");
    desk.run("work nowhere").code(exit::NOT_FOUND).says("nowhere has no plan");
    desk.run("plan status nowhere").code(exit::NOT_FOUND);
}

#[test]
fn steps_that_look_at_rows_of_other_items_are_refused() {
    let desk = Desk::start(&[], &payloads()[..1]);
    for (flags, words) in [
        (["--sql", "SELECT * FROM results"], "`sql` looks at the rows of all items"),
        (["--dedupe", "n"], "`dedupe` looks"),
        (["--limit", "2"], "`limit` looks"),
        (["--sample", "0.5"], "`sample` looks"),
        (["--with", "i = row_number()"], "`with` looks"),
        (["--flatten", "--lossy-utf8"], "`flatten` makes columns"),
        (["--on-bad-record", "limit=3"], "a limit of bad records"),
        (["--schema-policy", "freeze"], "without a schema"),
        (["--where", "mixx > 1"], "there is no column `mixx`"),
    ] {
        desk.of_runs(&["plan"], &[&["-o", "plan"], &flags[..]].concat()).code(exit::USAGE).says(words);
    }
    assert!(!desk.place.path("plan").exists());
    // Known only when all items are done.
    desk.of_runs(&["plan"], &["-o", "plan", "--where", "elsewhere is null"]).ok().says("no column `elsewhere`");
    desk.run("work plan").ok();
    desk.run("commit plan -o out.parquet")
        .code(exit::USAGE)
        .says("no record of any item has a value in a column `elsewhere`");
    assert!(!desk.place.path("out.parquet").exists());
}

/// A plan has one target, however it is typed, and none among its own files.
#[test]
fn a_plan_has_one_target_however_it_is_typed() {
    let desk = Desk::start(&[], &alike());
    for plan in ["p", "q"] {
        desk.of_runs(&["plan"], &["-o", plan]).ok();
        desk.place.run(&["work", plan]).ok();
    }
    desk.run("commit p -o p/parts/out/ --gc").code(exit::USAGE).says("is within the plan");
    desk.run("commit p -o p/plan.ndjson").code(exit::USAGE).says("is within the plan");
    desk.run("commit p -o sqlite:a.db --into one").ok();
    desk.run("commit p -o sqlite:./a.db --into one").ok().says("nothing was changed");
    desk.run("commit p -o sqlite:a.db --into two").code(exit::USAGE).says("was committed into sqlite:a.db");
    // A commit that was killed before its first row keeps its target.
    let target = format!(
        r#"{{"plan_digest":{},"target":"x.csv","identity":"/elsewhere/x.csv","began_at":"2026-11-30T00:00:00Z"}}"#,
        desk.place.read_text("q/plan.ndjson").lines().next().map_or(String::new(), digest_in)
    );
    desk.place.write("q/target.json", &target);
    desk.run("commit q -o y.csv").code(exit::USAGE).says("into x.csv has begun").says("target.json");
    assert!(!desk.place.path("y.csv").exists());
    std::fs::remove_file(desk.place.path("q/target.json")).unwrap();
    // A target that takes no row is none.
    desk.place.write("not-a-directory", "");
    assert_ne!(desk.run("commit q -o not-a-directory/y.csv").code, exit::SUCCESS);
    desk.run("commit q -o y.csv").ok();
    // Another plan in the place of one that was removed.
    std::fs::remove_file(desk.place.path("q/plan.ndjson")).unwrap();
    desk.of_runs(&["plan"], &["-o", "q", "--where", "n > 1"]).code(exit::USAGE).says("has another plan");
}

/// The digest of a plan in its first line, in quotes.
fn digest_in(line: &str) -> String {
    let settings: Value = serde_json::from_str(line).unwrap();
    settings["plan_digest"].to_string()
}

#[test]
fn a_commit_waits_for_all_items_and_happens_once() {
    let desk = Desk::start(&[], &payloads());
    desk.of_runs(&["plan"], &["-o", "plan"]).ok();
    desk.run("commit plan -o out/")
        .code(exit::WORK_LEFT)
        .says("3 of 3 items of plan are not done")
        .hints("drawoff work plan");
    desk.run("work plan --shard 0/3").ok();
    let states = |desk: &Desk| {
        let items = desk.items("plan").into_iter();
        items.map(|item| item["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(states(&desk), ["done", "open", "open"]);
    desk.run("commit plan -o out/").code(exit::WORK_LEFT);
    assert!(!desk.place.path("out").exists());
    let item = desk.items("plan")[1]["item"].as_str().unwrap().to_owned();
    desk.run(&format!("work plan --item {}", &item[..6])).ok().says("1 item done");
    desk.run("work plan --item zz").code(exit::NOT_FOUND).says("plan has no item zz");
    desk.run("work plan").ok().says("1 item done, 2 done before");
    desk.run("work plan").ok().says("0 items done, 3 done before");
    desk.run("commit plan -o out/").ok().says("5 rows in, 5 written");
    let before = files(&desk.place.path("out"));
    let again = desk.run("commit plan -o out").code(exit::USAGE).says("was committed into out/");
    assert!(again.stderr.contains("hint: "));
    desk.run("commit plan -o out/").ok().says("nothing was changed");
    assert_eq!(files(&desk.place.path("out")), before);
    desk.run("plan status plan")
        .ok()
        .says("3 of 3 items done, 0 open, 0 failed attempts; 5 of 5 rows; committed into out/");
    for (flags, words) in [
        ("-o -", "a stream may end in the middle"),
        ("-o out.csv --append", "`--append` cannot be used here"),
        ("", "no output is specified"),
        ("-o sqlite:x.db --into t --load-key k", "`--load-key` cannot be used here"),
    ] {
        desk.run(&format!("commit plan {flags}")).code(exit::USAGE).says(words);
    }
}

#[test]
fn files_that_were_changed_or_lost_are_not_committed() {
    let desk = Desk::start(&[], &payloads()[..1]);
    desk.of_runs(&["plan"], &["-o", "plan"]).ok();
    desk.run("work plan").ok();
    let names = files(&desk.place.path("plan"));
    let part = names.iter().find(|name| name.ends_with(".parquet")).unwrap();
    let bytes = desk.place.read(&format!("plan/{part}"));
    let mut damaged = bytes.clone();
    damaged[10] ^= 1;
    desk.place.write(&format!("plan/{part}"), damaged);
    desk.run("commit plan -o out.parquet").code(exit::BAD_DATA).says("other bytes than its receipt says");
    desk.place.write(&format!("plan/{part}"), &bytes[..bytes.len() - 1]);
    desk.run("commit plan -o out.parquet").code(exit::BAD_DATA).says("another size");
    std::fs::remove_file(desk.place.path(&format!("plan/{part}"))).unwrap();
    desk.run("commit plan -o out.parquet").code(exit::CANNOT_READ).says(part);
    assert!(!desk.place.path("out.parquet").exists() && !desk.place.path("plan/commit.json").exists());
    desk.place.write(&format!("plan/{part}"), bytes);
    desk.run("commit plan -o out.parquet").ok();
}

#[test]
fn an_item_that_fails_does_not_hold_up_the_others() {
    let rows = [json!([{"n": 1}]), json!([{"n": "x"}]), json!([{"n": 3}])];
    let desk = Desk::start(&[], &rows);
    let cast = ["-o", "plan", "--cast", "n:int"];
    desk.of_runs(&["plan"], &cast).ok();
    // Two workers fail at it, and say that a retry does not help.
    for n in 1..3 {
        let done = desk.run("work plan").code(exit::BAD_DATA).says("1 of 3 items not done");
        assert!(!done.stderr.contains('\u{1b}'));
        let items = desk.items("plan");
        assert_eq!([&items[0]["state"], &items[1]["state"], &items[2]["state"]], ["done", "failed", "done"]);
        assert_eq!(
            (&items[1]["failed_attempts"], &items[1]["error"]["exit_code"]),
            (&json!(n), &json!(exit::BAD_DATA))
        );
        assert_eq!(items[1]["error"]["retry"], "no");
    }
    desk.run("commit plan -o out.parquet").code(exit::WORK_LEFT).says("1 of 3 items");
    // With rejects, every item is done, and the commit says how many there are.
    desk.of_runs(&["plan"], &[&cast[2..], &["-o", "skips", "--on-bad-record", "skip"]].concat()).ok();
    desk.run("work skips").ok();
    desk.run("commit skips -o out.parquet").code(exit::PARTIAL).says("workers rejected 1 record");
    let done = desk.run("commit skips -o out.parquet").code(exit::PARTIAL);
    assert!(done.stderr.contains("nothing was changed"));
    let numbers: Vec<Value> =
        rows::parquet(desk.place.read("out.parquet")).into_iter().map(|row| row["n"].clone()).collect();
    assert_eq!(numbers, [1, 3]);
    let rejects: Vec<String> =
        files(&desk.place.path("skips")).into_iter().filter(|name| name.ends_with("rejects.ndjson")).collect();
    assert_eq!(rejects.len(), 1);
}

#[test]
fn a_failure_that_passes_is_tried_again_by_the_same_command() {
    let desk = Desk::start(&[], &payloads());
    desk.of_runs(&["plan"], &["-o", "plan"]).ok();
    // The service is gone: every item fails, and the code says that a retry helps.
    let nowhere = Place::with_service("http://127.0.0.1:9");
    let plan = desk.place.path("plan").display().to_string();
    nowhere.run(&["work", &plan]).code(exit::UNREACHABLE).says("3 of 3 items not done").hints("tries the others again");
    let items = desk.items("plan");
    assert!(items.iter().all(|item| item["error"]["retry"] == "helps" && item["failed_attempts"] == 1), "{items:?}");
    desk.run("work plan").ok().says("3 items done");
    assert!(desk.items("plan").iter().all(|item| item["state"] == "done" && item["error"].is_null()));
}

#[test]
fn garbage_is_what_no_chosen_receipt_names() {
    let desk = Desk::start(&[], &payloads());
    desk.of_runs(&["plan"], &["-o", "plan"]).ok();
    let mut first = desk.place.command(&["work", "plan", "--shard", "0/3"]);
    let mut first = first.env("DRAWOFF_TEST_STOP_AT", "before-receipt").spawn().unwrap();
    crate::support::read_until(&mut std::io::BufReader::new(first.stderr.take().unwrap()), "stopped at before-receipt");
    first.kill().unwrap();
    first.wait().unwrap();
    desk.run("work plan").ok().says("3 items done");
    let parts = |desk: &Desk| files(&desk.place.path("plan/parts"));
    assert_eq!(parts(&desk).len(), 8);
    desk.run("commit plan -o out.parquet").ok();
    assert_eq!(parts(&desk).len(), 8);
    desk.run("commit plan -o out.parquet --gc").ok().says("removed 2 files of attempts that do not count");
    assert_eq!(parts(&desk).len(), 6);
    desk.run("commit plan -o out.parquet --gc").ok().says("removed 0 files");
}

/// Results in CSV alone: cells get their types from all items, or the commit says that it cannot know them.
#[test]
fn cells_of_csv_come_out_as_on_one_machine_or_not_at_all() {
    let runs = |rows: &[Value]| Desk::with_formats(&[], rows, "");
    let desk = runs(&[json!([{"n": 1, "code": 12, "ok": true}]), json!([{"n": 2, "code": "A12", "ok": false}])]);
    desk.of_runs(&["plan"], &["-o", "plan"]).ok();
    desk.run("work plan").ok();
    desk.run("commit plan -o shared.parquet").ok();
    desk.of_runs(&["pull"], &["-o", "alone.parquet"]).ok();
    let [shared, alone] = ["shared", "alone"].map(|name| desk.place.read(&format!("{name}.parquet")));
    assert_eq!(rows::parquet_schema(shared.clone()), rows::parquet_schema(alone.clone()));
    assert_eq!(rows::parquet(shared), rows::parquet(alone));

    // Numbers that are text in another item keep their spelling.
    let desk = runs(&[json!([{"price": 1.5}, {"price": "10.50"}]), json!([{"price": "on request"}])]);
    desk.of_runs(&["plan"], &["-o", "plan"]).ok();
    desk.run("work plan").ok();
    desk.run("commit plan -o shared.csv -o shared.parquet").ok();
    desk.of_runs(&["pull"], &["-o", "alone.csv", "-o", "alone.parquet"]).ok();
    assert_eq!(desk.place.read_text("shared.csv"), desk.place.read_text("alone.csv"));
    let [shared, alone] = ["shared", "alone"].map(|name| rows::parquet(desk.place.read(&format!("{name}.parquet"))));
    assert_eq!(shared, alone);
    // Without the text of the rows it is gone.
    desk.of_runs(&["plan"], &["-o", "columns", "--columns-only"]).ok();
    desk.run("work columns").ok();
    assert!(files(&desk.place.path("columns/parts")).iter().all(|name| name.ends_with(".parquet")));
    desk.run("commit columns -o out.parquet").code(exit::USAGE).says("the column `price` has numbers in item");
    desk.place.write("text.json", r#"{"drawoff_schema":1,"fields":[{"name":"price","type":"text"}]}"#);
    desk.of_runs(&["plan"], &["-o", "typed", "--columns-only", "--schema", "text.json"]).ok();
    desk.run("work typed").ok();
    desk.run("commit typed -o out.parquet").ok();
    assert_eq!(rows::parquet(desk.place.read("out.parquet")), alone);
}

#[cfg(feature = "sqlite")]
#[test]
fn a_table_gets_the_rows_of_one_machine_and_a_second_commit_changes_nothing() {
    let desk = Desk::start(&[], &payloads());
    desk.of_runs(&["plan"], &["-o", "plan"]).ok();
    desk.run("work plan").ok();
    desk.run("commit plan -o sqlite:shared.db --into t").ok().says("loaded 5 rows into t");
    desk.of_runs(&["pull"], &["-o", "sqlite:alone.db", "--into", "t"]).ok();
    let dump = |file: &str| {
        let db = rusqlite::Connection::open(desk.place.path(file)).unwrap();
        let mut rows = db.prepare("SELECT * FROM t ORDER BY rowid").unwrap();
        let n = rows.column_count();
        let names: Vec<String> = rows.column_names().map(str::to_owned).collect();
        let read = rows
            .query_map([], |row| (0..n).map(|i| row.get(i)).collect::<rusqlite::Result<Vec<rusqlite::types::Value>>>());
        (names, read.unwrap().collect::<rusqlite::Result<Vec<_>>>().unwrap())
    };
    assert_eq!(dump("shared.db"), dump("alone.db"));
    desk.run("commit plan -o sqlite:shared.db --into t").ok().says("nothing was changed");
    // As a kill between the load and its record in the plan leaves it.
    std::fs::remove_file(desk.place.path("plan/commit.json")).unwrap();
    desk.run("commit plan -o sqlite:shared.db --into t").ok().says("nothing was changed");
    assert_eq!(dump("shared.db"), dump("alone.db"));
    assert!(desk.place.path("plan/commit.json").exists());
    let loads = desk.run("loads ls sqlite:shared.db -o ndjson").ok().records();
    assert_eq!((loads.len(), &loads[0]["rows"]), (1, &json!(5)));
}

/// Items without a row, and a plan of none but such, have their columns all the same.
#[test]
fn items_without_rows_are_done_and_committed() {
    let desk = Desk::start(&[], &payloads());
    for (condition, rows) in [("n > 3", 2), ("n > 9", 0)] {
        let (plan, out) = (format!("plan{rows}"), format!("out{rows}.parquet"));
        desk.of_runs(&["plan"], &["-o", &plan, "--where", condition]).ok();
        desk.run(&format!("work {plan}")).ok();
        desk.run(&format!("commit {plan} -o {out}")).ok();
        desk.of_runs(&["pull"], &["-o", &format!("one{rows}.parquet"), "--where", condition]).ok();
        let [shared, alone] = [out, format!("one{rows}.parquet")].map(|name| desk.place.read(&name));
        assert_eq!(rows::parquet(shared.clone()).len(), rows);
        assert_eq!(rows::parquet_schema(shared), rows::parquet_schema(alone));
    }
}

/// A column that steps make text stays text, though the cells of its CSV file look like numbers.
#[test]
fn texts_of_csv_that_steps_make_stay_texts() {
    let payloads = [json!([{"a": 1, "z": "1.0"}]), json!([{"a": 2, "z": "12"}])];
    let desk = Desk::with_formats(&[], &payloads, "&result_formats=csv");
    let flags = ["--format", "csv", "--cast", "z:text", "--with", "r='1.50'", "--with", "t='true'"];
    desk.of_runs(&["plan"], &[&flags[..], &["-o", "p"]].concat()).ok();
    desk.run("work p").ok();
    desk.run("commit p -o o.parquet").ok();
    desk.of_runs(&["pull"], &[&flags[..], &["-o", "alone.parquet"]].concat()).ok();
    let read = |name: &str| rows::parquet(desk.place.read(name));
    assert_eq!(read("o.parquet"), read("alone.parquet"));
    assert_eq!(read("o.parquet")[0]["z"], "1.0");
}

/// Parts of the same columns are not written anew: a directory gets their bytes, and its manifest lists them.
#[test]
fn parts_of_one_shape_become_the_files_of_a_directory() {
    let desk = Desk::start(&[], &alike());
    desk.of_runs(&["plan"], &["-o", "plan"]).ok();
    desk.run("work plan").ok();
    desk.run("commit plan -o out/").ok().says("3 files as the workers wrote them");
    let digests = |directory: &str| {
        let names = files(&desk.place.path(directory)).into_iter().filter(|name| name.ends_with(".parquet"));
        names.map(|name| desk.place.read(&format!("{directory}/{name}"))).collect::<BTreeSet<_>>()
    };
    assert_eq!(digests("out"), digests("plan/parts"));
    let manifest: Value = serde_json::from_slice(&desk.place.read("out/_manifest.json")).unwrap();
    assert_eq!((&manifest["rows"], manifest["files"].as_array().unwrap().len()), (&json!(6), 3));
    assert!(desk.place.path("out/_SUCCESS").exists());
    desk.of_runs(&["pull"], &["-o", "alone/"]).ok();
    assert_eq!(rows_of_directory(&desk.place, "out"), rows_of_directory(&desk.place, "alone"));
    // `pull` of the same runs replaces them, and the other way round.
    desk.of_runs(&["pull"], &["-o", "out/"]).ok().says("replaced 3 files of the same sources");
    let forget = || {
        for record in ["plan/commit.json", "plan/target.json"] {
            std::fs::remove_file(desk.place.path(record)).unwrap();
        }
    };
    forget();
    desk.run("commit plan -o out/").ok().says("replaced 1 file of the same sources");
    assert_eq!(rows_of_directory(&desk.place, "out").len(), 6);
    // What asks for other files writes them.
    for (flags, n) in [("--max-file-rows 4", 2), ("--codec snappy", 1), ("--partition-by name", 2)] {
        forget();
        let out = format!("other{n}{}", flags.len());
        desk.run(&format!("commit plan -o {out}/ {flags}")).ok();
        assert_eq!(
            files(&desk.place.path(&out)).iter().filter(|name| name.ends_with(".parquet")).count(),
            n,
            "{flags}"
        );
        assert_eq!(rows_of_directory(&desk.place, &out).len(), 6, "{flags}");
    }
    // One that is damaged is not published, nor are the others.
    let part = files(&desk.place.path("plan/parts")).into_iter().rfind(|name| name.ends_with(".parquet")).unwrap();
    let mut bytes = desk.place.read(&format!("plan/parts/{part}"));
    bytes[9] ^= 1;
    desk.place.write(&format!("plan/parts/{part}"), bytes);
    forget();
    desk.run("commit plan -o damaged/").code(exit::BAD_DATA).says("other bytes than its receipt says");
    assert!(!desk.place.path("damaged").exists());
}

/// The whole contract in a store: nothing of the plan is on a disk of the workers.
#[cfg(feature = "object-store")]
#[test]
fn a_plan_in_a_store_is_shared_by_workers_without_a_common_disk() {
    use crate::support::s3::{Act, FakeS3};

    let desk = Desk::start(&[], &payloads());
    let store = FakeS3::start(|_| Act::Do);
    let worker = || {
        let place = store.place();
        place.env("SIXTYFOUR_API_ENDPOINT", &desk.service.url).env("SIXTYFOUR_API_KEY", MARKED_KEY)
    };
    let runs: Vec<&str> = desk.runs.iter().map(String::as_str).collect();
    worker().run(&[&["plan"], &runs[..], &["-o", "s3://b/plans/nov/"]].concat()).ok().says("3 items of 5 rows");
    let (first, second) = (worker(), worker());
    first.run_line("work s3://b/plans/nov/ --shard 0/2").ok();
    second.run_line("commit s3://b/plans/nov/ -o s3://b/out/").code(exit::WORK_LEFT);
    second.run_line("work s3://b/plans/nov --shard 1/2").ok();
    assert!(first.leftovers().is_empty() && second.leftovers().is_empty());
    for place in [&first, &second] {
        let left = std::fs::read_dir(place.path("tmp")).unwrap().count();
        assert_eq!(left, 0);
    }
    let committer = worker();
    committer.run_line("commit s3://b/plans/nov/ -o s3://b/out/").ok().says("5 rows in, 5 written");
    committer.run_line("commit s3://b/plans/nov/ -o s3://b/out/ --gc").ok().says("nothing was changed");
    let keys = store.keys();
    let of = |prefix: &str| keys.iter().filter(|key| key.starts_with(prefix)).count();
    assert_eq!((of("plans/nov/parts/"), of("plans/nov/receipts/"), of("plans/nov/commit.json")), (6, 3, 1));
    let out = keys.iter().find(|key| key.starts_with("out/") && key.ends_with(".parquet")).unwrap();
    desk.of_runs(&["pull"], &["-o", "alone.parquet"]).ok();
    let alone = desk.place.read("alone.parquet");
    let shared = store.object(out).unwrap();
    assert_eq!(rows::parquet_schema(shared.clone()), rows::parquet_schema(alone.clone()));
    rows::assert_same(&rows::parquet(shared), &rows::parquet(alone));
}

/// Responses of the store that are lost: what they were about is written once.
#[cfg(feature = "object-store")]
#[test]
fn lost_responses_of_a_store_leave_one_plan_one_receipt_and_one_commit() {
    use crate::support::s3::{Act, FakeS3};

    let desk = Desk::start(&[], &payloads()[..1]);
    // The first write of each kind is carried out, and its response is lost.
    let store = FakeS3::start(|asked| match (asked.what, asked.nth) {
        ("put", 2 | 4 | 6) => Act::DoAndDrop,
        _ => Act::Do,
    });
    let place = store.place().env("SIXTYFOUR_API_ENDPOINT", &desk.service.url).env("SIXTYFOUR_API_KEY", MARKED_KEY);
    place.run(&["plan", &desk.runs[0], "-o", "s3://b/p/"]).ok();
    place.run_line("work s3://b/p/").ok();
    place.run_line("commit s3://b/p/ -o out.parquet").ok();
    place.run_line("commit s3://b/p/ -o out.parquet").ok().says("nothing was changed");
    assert_eq!(rows::parquet(place.read("out.parquet")).len(), 2);
    let keys = store.keys();
    assert_eq!(keys.iter().filter(|key| key.starts_with("p/receipts/")).count(), 1, "{keys:?}");
}
