//! A look at rows before anything is written: `head`, `stats`, and `convert --preview`.

use std::fmt::Write as _;
use std::sync::Arc;

use arrow_array::types::Float64Type;
use arrow_array::{ArrayRef, Float64Array, ListArray, RecordBatch};
use arrow_ipc::writer::StreamWriter;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use crate::support::http::{Answer, Loopback};
use crate::support::{Done, Morsels as _, Place, Service, exit, rows};

const PEOPLE: &str = r#"{"name":"Ada","born":1815,"score":0.5,"hq":{"city":"London"},"tags":["a","b"]}
{"name":"Alan\nT","born":1912,"score":1.25,"hq":null,"tags":[]}
{"name":"null","born":null,"score":-3,"hq":{"city":"東京"},"note":"<b>"}
"#;

fn place() -> Place {
    let place = Place::new();
    place.write("people.ndjson", PEOPLE);
    place
}

fn lines(text: &str) -> Vec<Vec<&str>> {
    text.lines().map(|line| line.split_whitespace().collect()).collect()
}

#[test]
fn head_is_a_table_with_types_that_fits() {
    let place = place();
    let done = place.run_line("head people.ndjson").ok().says("3 rows in all");
    let table = lines(done.text());
    assert_eq!(table[0], ["name", "born", "score", "hq", "tags", "note"]);
    assert_eq!(table[1], ["text", "int", "float", "struct", "list<text>", "text"]);
    assert_eq!(table[3], ["Ada", "1815", "0.5", "{\"city\":\"London\"}", "[\"a\",\"b\"]", "null"]);
    assert_eq!(table[4][0], "Alan\\nT");
    assert_eq!((table[5][0], table[5][1]), ("\"null\"", "null"), "a text and no value differ");
    let done =
        place.run_line("head people.ndjson --width 40 -n 2").ok().says("the first 2 rows; the rest was not read");
    let text = done.text();
    assert!(text.lines().all(|line| line.chars().count() <= 40) && text.contains('…'), "{text}");
    place.run_line("head people.ndjson --width 24").ok().says("do not fit: ");
    place.run_line("head people.ndjson --width 5").code(exit::USAGE);
}

#[test]
fn head_has_steps_formats_and_the_types_of_what_it_shows() {
    let place = place();
    let done = place.run_line("head people.ndjson --select born,name -n 1 -o csv").ok();
    assert_eq!(done.text(), "born,name\n1815,Ada\n");
    let done = place.run_line("head people.ndjson --select born -n 2 -o ndjson").ok();
    assert_eq!(done.records(), [json!({"born": 1815}), json!({"born": 1912})]);
    let done = place.run(&["head", "people.ndjson", "--where", "born > 1900", "-o", "json"]).ok();
    assert_eq!(serde_json::from_str::<Value>(done.text()).unwrap().as_array().unwrap().len(), 1);
    let done = place.run(&["head", "people.ndjson", "--sql", "select count(*) as n from results"]).ok();
    assert_eq!(lines(done.text())[3], ["3"]);
    // Records behind the rows decide on no type.
    place.write("late.ndjson", "{\"a\":1}\n{\"a\":2}\n{\"a\":\"x\",\"b\":1}\n");
    assert_eq!(lines(place.run_line("head late.ndjson -n 2").ok().text())[1], ["int"]);
    assert_eq!(lines(place.run_line("head late.ndjson").ok().text())[1], ["json", "int"]);
    place.write("semi.csv", "a;b\n1,5;x\n");
    let done = place.run_line("head semi.csv --in-delimiter ; --in-decimal ,").ok();
    assert_eq!(lines(done.text())[1..], [vec!["float", "text"], vec!["─────", "────"], vec!["1.5", "x"]]);
    place.run_line("head semi.csv").ok().says("the delimiter is `;`");
    place.write("empty.ndjson", "");
    place.run_line("head empty.ndjson").ok().says("no rows");
    place.write("bad.ndjson", "{\"a\":1}\nbroken\n{\"a\":2}\n");
    place.run_line("head bad.ndjson").code(exit::BAD_DATA).says("line 2");
    place.run_line("head bad.ndjson --on-bad-record skip").code(exit::PARTIAL).says("1 of 3 records left out as bad");
    place.run_line("head bad.ndjson -n 1").ok();
}

#[test]
fn head_stops_reading_when_it_has_its_rows() {
    let place = Place::new();
    let mut command = place.program("sh");
    command.arg("-c").arg("yes '{\"a\":1}' | drawoff head - -n 3");
    assert_eq!(lines(Done::of(command).ok().text()).len(), 6);
    // A source that is silent after its first records, and stays open: the types may even widen on the way.
    let mut command = place.program("bash");
    let script = "mkfifo pipe; exec 3<>pipe; printf '{\"a\":1}\\n' >&3; (sleep 0.3; printf '{\"a\":\"x\",\"b\":2}\\n' >&3) & drawoff head pipe -n 2";
    command.arg("-c").arg(script);
    let done = Done::of(command).ok();
    assert_eq!(
        lines(done.text())[1..],
        [vec!["json", "int"], vec!["────", "────"], vec!["1", "null"], vec!["\"x\"", "2"]]
    );
    // A download is cut off: the server could not send all of it in the time of the test.
    let row = "{\"name\":\"someone\",\"words\":\"some text so that the body is long\"}\n";
    let body = row.repeat(3_000_000);
    let server = Loopback::start(move |_| Answer::bytes("application/x-ndjson", body.clone()));
    let done = place.run_line(&format!("head {}/rows.ndjson -n 5 -v", server.url)).ok();
    assert_eq!(lines(done.text()).len(), 8);
    done.says("the rest was not read");
}

#[test]
fn a_run_is_a_source() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let place = Place::with_service(&service.url);
    let run = "run testdata/workflows/qualify-companies.json --input testdata/companies.csv -o all.ndjson";
    place.run_line(run).ok();
    let listed = place.run_line("runs ls -o ndjson").ok().records();
    let id = listed[0]["job_id"].as_str().unwrap();
    let all = rows::ndjson(&place.read("all.ndjson"));
    let first = place.run_line(&format!("head {id} -n 3 -o ndjson")).ok().records();
    assert_eq!(first, all[..3]);
    let stats = place.run_line(&format!("stats {id} -o ndjson")).ok().records();
    assert_eq!(stats[0]["rows"], json!(all.len()));
    service.stop();
}

/// Rows with what changes late: a wider type, a new column, a new member.
fn late_rows() -> String {
    let mut text = String::new();
    for i in 0..30_000 {
        let city = ["Oslo", "Bergen", "Tromsø"][i % 3];
        let late = if i > 20_000 { format!(",\"late\":{}", i % 7) } else { String::new() };
        let half = if i > 25_000 { "0.5" } else { "1" };
        let member = if i > 22_000 { ",\"zip\":\"x\"" } else { "" };
        let _ = writeln!(
            text,
            "{{\"id\":{i},\"n\":{half},\"hq\":{{\"city\":\"{city}\"{member}}},\"words\":\"{}\"{late}}}",
            "w".repeat(i % 90),
        );
    }
    text
}

#[test]
fn stats_are_the_same_for_every_source_and_every_number_of_workers() {
    let place = Place::new();
    let text = late_rows();
    place.write("rows.ndjson", &text);
    let expected = place.run_line("stats rows.ndjson -o ndjson").ok();
    let of = |name: &str| expected.records().into_iter().find(|column| column["column"] == name).unwrap();
    assert_eq!((&of("id")["distinct"], &of("id")["distinct_is_exact"]), (&json!(30_000), &json!(true)));
    assert_eq!((&of("id")["min"], &of("id")["max"], &of("id")["mean"]), (&json!(0), &json!(29_999), &json!(14_999.5)));
    let median = of("id")["quantiles"]["p50"].as_f64().unwrap();
    let error = of("id")["quantiles_rank_error"].as_f64().unwrap();
    assert!(error > 0.0 && error < 0.001 && (median / 30_000.0 - 0.5).abs() <= error + 1e-4, "{median} {error}");
    assert_eq!((&of("n")["type"], &of("n")["nulls"], &of("n")["min"]), (&json!("float"), &json!(0), &json!(0.5)));
    assert_eq!((&of("late")["nulls"], &of("late")["distinct"]), (&json!(20_001), &json!(7)));
    assert_eq!((&of("hq.zip")["nulls"], &of("hq.city")["distinct"]), (&json!(22_001), &json!(3)));
    assert_eq!(of("words")["length"]["max"], json!(89));
    assert!(of("words").get("min").is_none() && of("words").get("examples").is_none(), "no values unless asked");
    for (workers, morsel) in [(1, "1MiB"), (3, "10KiB"), (4, "100KiB")] {
        place.write("workers.toml", format!("workers = {workers}\n"));
        let mut command = place.command(&["stats", "rows.ndjson", "-o", "ndjson", "--config", "workers.toml"]);
        command.morsels(morsel);
        let found = Done::of(command).ok();
        assert_eq!(found.text(), expected.text(), "{workers} workers, {morsel}");
    }
    let piped = place.run_with_stdin(&["stats", "-", "-o", "ndjson"], text.as_bytes()).ok();
    assert_eq!(piped.text(), expected.text());
    for name in ["rows.parquet", "rows.arrow", "rows.arrows"] {
        place.run_line(&format!("convert rows.ndjson -o {name} --schema-from full")).ok();
        let found = place.run_line(&format!("stats {name} -o ndjson")).ok();
        assert_eq!(found.text(), expected.text(), "{name}");
    }
    let server = Loopback::start(move |_| Answer::bytes("application/x-ndjson", text.clone()));
    let found = place.run_line(&format!("stats {}/rows.ndjson -o ndjson", server.url)).ok();
    assert_eq!(found.text(), expected.text());
}

#[test]
fn stats_for_people_show_values_only_if_asked() {
    let place = place();
    let done = place.run_line("stats people.ndjson").ok().says("3 rows; all numbers are exact");
    let table = lines(done.text());
    let heads = ["COLUMN", "TYPE", "NULLS", "DISTINCT", "MIN", "P25", "MEDIAN", "P75", "MAX", "MEAN", "LENGTH"];
    assert_eq!(table[0], heads);
    assert_eq!(table[2], ["name", "text", "0", "3", "-", "-", "-", "-", "-", "-", "3..6"]);
    let born = ["born", "int", "1", "(33.3", "%)", "2", "1815", "1815", "1815", "1912", "1912", "1863.5", "-"];
    assert_eq!(table[3], born);
    assert!(!done.text().contains("Ada") && !done.text().contains("London"), "{}", done.text());
    let done = place.run_line("stats people.ndjson --values").ok();
    assert!(done.text().contains("Ada, Alan\\nT, null") && done.text().contains("London"), "{}", done.text());
    let done = place.run(&["stats", "people.ndjson", "--where", "born > 1900", "--select", "born", "-o", "json"]).ok();
    let found: Value = serde_json::from_str(done.text()).unwrap();
    assert_eq!((found.as_array().unwrap().len(), &found[0]["rows"]), (1, &json!(1)));
    let done = place.run(&["stats", "people.ndjson", "--where", "false"]).ok().says("0 rows");
    assert_eq!(lines(done.text())[2][0], "name");
}

#[test]
fn the_page_has_no_scripts_and_escapes_everything() {
    let place = Place::new();
    let hostile = "<script>alert(1)</script>";
    let row = json!({hostile: "</style><img src=x onerror=alert(2)>", "n": 1, "when": "2024-01-31", "\u{202e}x": null});
    place.write("<i>.ndjson", format!("{row}\n").repeat(9));
    let done =
        place.run(&["stats", "<i>.ndjson", "--values", "--html", "page.html", "--cast", "when:date"]).ok().quiet();
    assert!(done.stderr.is_empty(), "{}", done.stderr);
    let page = place.read_text("page.html");
    assert!(page.starts_with("<!doctype html>") && page.contains("&lt;i&gt;.ndjson"), "{page}");
    for absent in ["<script", "<img", "<i>.", "\u{202e}", "http:", "https:"] {
        assert!(!page.contains(absent), "{absent} is in\n{page}");
    }
    assert_eq!(page.matches("<section>").count(), 4);
    assert!(page.contains("2024-01-31") && page.contains("prefers-color-scheme:dark") && page.contains("<svg"));
    place.run(&["stats", "<i>.ndjson", "--html", "<i>.ndjson"]).code(exit::USAGE).says("is an input");
    place.run_line("stats page.html --html nowhere/page.html").code(exit::CANNOT_WRITE);
}

#[test]
fn a_preview_writes_nothing() {
    let place = place();
    let before = std::fs::read_dir(place.path(".")).unwrap().count();
    let outputs = "-o new.csv -o parts/ --to parquet --partition-by name --flatten --preview";
    let done = place.run_line(&format!("convert people.ndjson {outputs}")).ok().says("nothing was written");
    assert_eq!(lines(done.text())[0], ["name", "born", "score", "hq.city", "tags", "note"]);
    let done = done.says("would write new.csv (csv)").says("would write parts/name=…/part-00001.parquet (parquet)");
    assert!(!done.stderr.contains("written, "), "{}", done.stderr);
    assert_eq!(std::fs::read_dir(place.path(".")).unwrap().count(), before);
    place.write("old.csv", "kept");
    place.run_line("convert people.ndjson -o old.csv --preview").ok().says("in place of the file that is there");
    assert_eq!(place.read_text("old.csv"), "kept");
    place.run_line("convert people.ndjson -o old.csv --no-clobber --preview").code(exit::CANNOT_WRITE);
    place.run_line("convert people.ndjson -o people.ndjson --preview").code(exit::USAGE).says("is an input");
    place.write("bad.ndjson", "{\"a\":1}\nbroken\n");
    place.run_line("convert bad.ndjson -o out.csv --on-bad-record skip --preview").code(exit::PARTIAL);
    assert!(!place.path("out.rejects.ndjson").exists() && !place.path("out.csv").exists());
    // The names are those that the command makes.
    place.run_line("convert people.ndjson -o parts/ --to parquet --partition-by born").ok();
    assert!(place.path("parts/born=1815/part-00001.parquet").is_file());
}

#[test]
fn numbers_that_are_not_finite_are_shown_and_counted() {
    let place = Place::new();
    let doubles = Float64Array::from(vec![1.0, f64::NAN, f64::INFINITY, 3.0]);
    let items = vec![Some(vec![Some(f64::NEG_INFINITY)]), Some(vec![]), None, Some(vec![Some(1.0)])];
    let items = ListArray::from_iter_primitive::<Float64Type, _, _>(items);
    let batch = RecordBatch::try_from_iter([("a", Arc::new(doubles) as ArrayRef), ("l", Arc::new(items))]).unwrap();
    let file = |name: &str| std::fs::File::create(place.path(name)).unwrap();
    let mut writer = ArrowWriter::try_new(file("nan.parquet"), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let mut writer = StreamWriter::try_new(file("nan.arrows"), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let done = place.run_line("stats nan.parquet -o ndjson").ok();
    let column = &done.records()[0];
    assert_eq!((&column["not_finite"], &column["min"], &column["max"]), (&json!(2), &json!(1.0), &json!(3.0)));
    assert_eq!((&column["mean"], &column["rows"], &column["distinct"]), (&json!(2.0), &json!(4), &json!(4)));
    let mut command = place.program("sh");
    command.args(["-c", "cat nan.arrows | drawoff stats - -o ndjson"]);
    assert_eq!(Done::of(command).ok().text(), done.text(), "a pipe is the same");
    let table = place.run_line("head nan.parquet").ok();
    let cells = lines(table.text());
    assert_eq!((cells[4][0], cells[5][0]), ("NaN", "inf"), "{}", table.text());
    let examples = place.run_line("stats nan.parquet --values -o ndjson").ok().records()[0]["examples"].clone();
    assert_eq!(examples, json!(["1.0", "NaN", "inf"]));
    // An output does not have them.
    place.run_line("head nan.parquet -o csv").code(exit::BAD_DATA).hints("--in-null NaN,inf,-inf");
    place.run_line("convert nan.parquet -o nan.ndjson").code(exit::BAD_DATA);
}

#[test]
fn the_rows_of_a_query_end_where_the_look_ends() {
    let place = Place::new();
    let rows: String = (0..50_000).fold(String::new(), |text, i| text + &format!("{{\"id\":{i}}}\n"));
    place.write("rows.ndjson", &rows);
    for query in ["select id from results", "select id from results order by id desc", "select id from results limit 9"]
    {
        let first = if query.contains("desc") { [49_999, 49_998] } else { [0, 1] };
        let done = place.run(&["head", "rows.ndjson", "--sql", query, "-n", "2"]).ok().says("the first 2 rows");
        assert!(!done.stderr.contains("closed by its reader"), "{}", done.stderr);
        assert_eq!(lines(done.text())[3..], [vec![first[0].to_string()], vec![first[1].to_string()]]);
        let done = place.run(&["head", "rows.ndjson", "--sql", query, "-n", "2", "-o", "csv"]).ok();
        assert_eq!(done.text(), format!("id\n{}\n{}\n", first[0], first[1]));
    }
    let mut command = place.program("sh");
    command.args(["-c", "cat rows.ndjson | drawoff head - --sql 'select max(id) as m from results' -o ndjson"]);
    assert_eq!(Done::of(command).ok().text(), "{\"m\":49999}\n");
    let preview = ["convert", "rows.ndjson", "-o", "x.csv", "--sql", "select id from results", "--preview"];
    assert!(!place.run(&preview).ok().stderr.contains("closed by its reader"));
}

#[test]
fn a_pipe_has_the_types_and_examples_of_its_file() {
    let place = Place::new();
    let rows = r#"{"a.b":null,"s":{"x":null,"j":1,"e":{}},"l":[1,"a"],"n":[null],"e":{},"m":[{"j":1}],"t":["x"]}
{"a.b":null,"s":{"x":null,"j":"t","e":{}},"l":["b",2],"n":[],"e":{},"m":[{"j":"q"}],"t":["y"]}
"#;
    place.write("rows.ndjson", rows);
    let file = place.run_line("stats rows.ndjson --values -o ndjson").ok();
    let mut command = place.program("sh");
    command.args(["-c", "cat rows.ndjson | drawoff stats - --values -o ndjson"]);
    assert_eq!(Done::of(command).ok().text(), file.text());
    let types: Vec<String> = file.records().iter().map(|column| column["type"].as_str().unwrap().to_owned()).collect();
    assert!(types.iter().any(|ty| ty == "list<json>") && types.iter().any(|ty| ty == "null"), "{types:?}");
}

#[test]
fn a_look_names_its_own_flags() {
    let place = Place::new();
    let wide: String = (0..5000).map(|i| format!("\"c{i}\":1,")).collect();
    place.write("wide.ndjson", format!("{{{}}}\n", wide.trim_end_matches(',')));
    for line in ["head wide.ndjson", "stats wide.ndjson"] {
        let done = place.run_line(line);
        assert_ne!(done.code, 0);
        let done = done.hints("`--max-columns N`");
        assert!(!done.stderr.contains("--schema"), "{}", done.stderr);
        place.run_line(&format!("{line} --max-columns 6000")).ok();
    }
    place.run_line("head wide.ndjson --max-columns 0").code(exit::USAGE);
    place.write("people.ndjson", PEOPLE);
    let done = place.run_line("stats people.ndjson --width 40").ok().says("`--width N`");
    assert!(!done.stderr.contains("--select"), "{}", done.stderr);
    place.run_line("stats people.ndjson --html -").code(exit::USAGE).hints("--html stats.html");
    assert!(!place.path("-").exists());
    place.write("tiny.ndjson", "{\"f\":1.5e-10,\"g\":1.5e300}\n");
    let done = place.run_line("stats tiny.ndjson").ok();
    assert!(done.text().contains("1.5e-10") && done.text().contains("1.5e300"), "{}", done.text());
    place.write("large.ndjson", "{\"f\":1e308}\n{\"f\":1.5e308}\n{\"f\":1.7e308}\n");
    assert!(place.run_line("stats large.ndjson -o ndjson").ok().records()[0]["mean"].is_number());
}

#[test]
fn a_look_has_the_limits_that_its_hints_name() {
    let place = Place::new();
    place.write("long.ndjson", format!("{{\"a\":\"{}\"}}\n", "x".repeat(2000)));
    for command in ["head", "stats"] {
        let refused = place.run_line(&format!("{command} long.ndjson --max-record-bytes 1KiB")).code(exit::BAD_DATA);
        refused.hints("raise `--max-record-bytes SIZE`");
        place.run_line(&format!("{command} long.ndjson --max-record-bytes 4KiB")).ok();
        place.run_line(&format!("{command} long.ndjson --max-record-bytes 0")).code(exit::USAGE);
        let help = place.run_line(&format!("{command} --help")).ok();
        assert!(help.text().contains("--max-record-bytes <SIZE>"), "{}", help.text());
    }
}

#[test]
fn no_rows_are_no_types_and_no_empty_lines() {
    let place = place();
    place.write("a.csv", "a,b\n1,2\n");
    let done = place.run_line("head people.ndjson -n 0").ok().says("no row is shown; the rest was not read");
    assert_eq!(done.text(), "");
    let done = place.run_line("head a.csv -n 0").ok();
    assert_eq!(lines(done.text()), [["a", "b"], ["─", "─"]]);
    place.write("empty.ndjson", "");
    assert_eq!(place.run_line("head empty.ndjson").ok().says("no rows").text(), "");
}

#[test]
fn texts_and_no_value_differ_in_statistics() {
    let place = Place::new();
    place.write("s.ndjson", "{\"s\":\"\"}\n{\"s\":\"-\"}\n{\"s\":\"a, b\"}\n");
    let done = place.run_line("stats s.ndjson --values").ok();
    let row = done.text().lines().last().unwrap();
    let cells: Vec<&str> = row.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect();
    assert_eq!(cells[4], "\"\"", "{row}");
    assert_eq!(cells.last().unwrap(), &r#""", "-", "a, b""#, "{row}");
}

#[test]
fn the_newest_run_and_its_id_are_sources() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let place = Place::with_service(&service.url);
    place.run_line("head last").code(exit::NOT_FOUND).says("there is no run").hints("drawoff runs ls");
    place.run_line("init").ok();
    place.run_line("run workflow.json --input companies.csv -o results.ndjson").ok();
    let id = place.run_line("runs ls -o ndjson").ok().records()[0]["job_id"].as_str().unwrap().to_owned();
    for command in ["head -o ndjson", "stats -o ndjson", "schema"] {
        let of = |source: &str| place.run_line(&format!("{command} {source}")).ok().text().to_owned();
        assert_eq!(of("last"), of(&id), "{command}");
        assert!(!of("last").is_empty());
    }
    place.run_line(&format!("head {}", &id[..8])).code(exit::CANNOT_READ).hints("drawoff runs ls");
    // A file of that name comes first.
    place.write("last", "{\"a\":1}\n");
    assert_eq!(place.run_line("head last -o ndjson").ok().records(), [json!({"a": 1})]);
}

#[test]
fn a_look_names_the_place_that_it_cannot_write() {
    let place = place();
    place.run_line("stats people.ndjson --html /dev/full").code(exit::DISK_FULL).hints("`--html FILE`");
    let place = place.env("TMPDIR", "/nonexistent");
    let done = place.run_with_stdin(&["stats", "-"], PEOPLE.as_bytes()).code(exit::CANNOT_WRITE);
    done.hints("set TMPDIR to a directory that can be written");
}
