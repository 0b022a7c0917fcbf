//! CSV as `docs/csv.md` documents it: every example on that page is run and must print the output that the page shows.

use crate::support::{Done, Place, exit, root};

struct Rule {
    title: String,
    input: String,
    command: String,
    output: String,
}

/// The examples of the page: three blocks each, in order.
fn rules() -> Vec<Rule> {
    let page = std::fs::read_to_string(root().join("docs/csv.md")).unwrap();
    let mut blocks: Vec<(String, String, String)> = Vec::new();
    let mut title = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if let Some(heading) = line.strip_prefix("## ") {
            title = heading.to_owned();
        }
        if let Some(kind) = line.strip_prefix("```") {
            let body: String =
                lines.by_ref().take_while(|line| *line != "```").map(|line| format!("{line}\n")).collect();
            blocks.push((title.clone(), kind.to_owned(), body));
        }
    }
    let rule = |blocks: &[(String, String, String)]| {
        let kinds: Vec<&str> = blocks.iter().map(|(_, kind, _)| &**kind).collect();
        assert_eq!(kinds, ["json", "sh", "text"], "{}", blocks[0].0);
        Rule {
            title: blocks[0].0.clone(),
            input: blocks[0].2.clone(),
            command: blocks[1].2.trim().to_owned(),
            output: blocks[2].2.replace('␍', "\r").replace('␣', "\u{feff}"),
        }
    };
    blocks.chunks(3).map(rule).collect()
}

#[test]
fn the_examples_of_the_csv_page_hold() {
    let rules = rules();
    assert!(rules.len() >= 12, "only {} rules were found", rules.len());
    for Rule { title, input, command, output } in rules {
        let place = Place::new();
        place.write("in.ndjson", input);
        let mut shell = place.program("sh");
        shell.args(["-c", &command]);
        let done = Done::of(shell).ok();
        assert_eq!(done.text(), output, "{title}: {command}");
    }
}

#[test]
fn a_spreadsheet_changes_no_value_silently() {
    let place = Place::new();
    place.write("in.ndjson", "{\"=x\":\"=1\",\"n\":1234567890123456}\n{\"=x\":\"a\",\"n\":-1}\n");
    place
        .run_line("convert in.ndjson -o out.csv --excel")
        .ok()
        .says("1 cell that began like a formula")
        .says("1 cell with more than 15 digits");
    assert_eq!(place.read_text("out.csv"), "\u{feff}'=x,n\r\n'=1,'1234567890123456\r\na,-1\r\n");
    let done = place.run_line("convert in.ndjson -o out.csv --excel --report json").ok();
    let report: serde_json::Value = serde_json::from_str(done.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(report["cells_changed"], 2);

    place.write("long.ndjson", format!("{{\"a\":1}}\n{{\"a\":2,\"text\":\"{}\"}}\n", "é".repeat(32_768)));
    place
        .run_line("convert long.ndjson -o out.csv --excel")
        .ok()
        .says("1 cell longer than 32767 characters")
        .says("`text` of row 2");
    place.write("fits.ndjson", format!("{{\"text\":\"{}\"}}\n", "é".repeat(32_767)));
    let done = place.run_line("convert fits.ndjson -o out.csv --excel").ok();
    assert!(!done.stderr.contains("32767"), "{}", done.stderr);
}

#[test]
fn a_late_column_keeps_the_dialect() {
    let place = Place::new().morsels("4KiB");
    let rows: String = (0..2000).map(|i| format!("{{\"a\":\"x{i}\",\"b\":null}}\n")).collect();
    // From a pipe, and behind the sample: the columns are not known before.
    let input = rows.repeat(150) + "{\"a\":null,\"late\":\"y;z\"}\n";
    assert!(input.len() > 5 << 20);
    let args = ["convert", "-", "-o", "out.csv", "--delimiter", ";", "--null", "-", "--crlf", "--bom"];
    place.run_with_stdin(&args, input.as_bytes()).ok();
    let text = place.read_text("out.csv");
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines[..2], ["\u{feff}a;b;late", "x0;-;-"]);
    assert_eq!(lines[lines.len() - 2..], ["-;-;\"y;z\"", ""]);
    assert_eq!(lines.len(), 150 * 2000 + 3);
}

#[test]
fn csv_flags_are_refused_for_other_formats() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":1}\n");
    place
        .run_line("convert in.ndjson -o out.parquet --crlf")
        .code(exit::USAGE)
        .says("`--crlf` applies only to CSV outputs");
    place.run_line("convert in.ndjson -o out.csv --delimiter ab").code(exit::USAGE).says("one ASCII character");
    let done = place.run(&["convert", "in.ndjson", "-o", "out.csv", "--null", "n,a"]);
    done.code(exit::USAGE).says("contains the delimiter");
    assert_eq!(place.leftovers(), ["in.ndjson"]);
}

#[test]
fn empty_lines_of_one_column_are_noted() {
    let place = Place::new();
    place.write("one.ndjson", "{\"a\":null}\n{\"a\":1}\n{\"a\":null}\n{\"a\":\"\"}\n");
    place.run_line("convert one.ndjson -o one.csv").ok().says("2 rows of CSV with one column are null");
    assert_eq!(place.read_text("one.csv"), "a\n\n1\n\n\"\"\n");
    for line in ["convert one.ndjson -o one.csv --null NULL", "convert two.ndjson -o two.csv"] {
        place.write("two.ndjson", "{\"a\":null,\"b\":null}\n");
        let done = place.run_line(line).ok();
        assert!(!done.stderr.contains("one column"), "{}", done.stderr);
    }
}
