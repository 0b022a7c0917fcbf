//! CSV inputs in other dialects than RFC 4180 with commas.

use crate::support::{Done, Place, exit, plans, root, rows, tool};

#[test]
fn a_specified_delimiter_splits_csv_inputs() {
    let place = Place::new();
    place.write("in.csv", "a;b\n1;2,5\n\"x;y\";3\n");
    place.write("tabs.csv", "a\tb\n1;2,5\t7\n");
    let rows = "{\"a\":\"1\",\"b\":\"2,5\"}\n{\"a\":\"x;y\",\"b\":\"3\"}\n";
    assert_eq!(place.run_line("convert in.csv -o - --in-delimiter ;").ok().text(), rows);
    let done = place.run_with_stdin(&["convert", "-", "-o", "-", "--in-delimiter", ";"], b"a;b\n1;2,5\n\"x;y\";3\n");
    assert_eq!(done.ok().text(), rows);
    for tab in ["\\t", "\t", "tab"] {
        let done = place.run(&["convert", "tabs.csv", "-o", "-", "--in-delimiter", tab]).ok();
        assert_eq!(done.text(), "{\"a\":\"1;2,5\",\"b\":7}\n");
    }
    // The flag precedes `--from tsv` and the name.
    place.write("commas.tsv", "a,b\n1,2\n");
    for from in ["", " --from tsv", " --from csv"] {
        let done = place.run_line(&format!("convert commas.tsv -o - --in-delimiter ,{from}")).ok();
        assert_eq!(done.text(), "{\"a\":1,\"b\":2}\n");
    }
    let done = place.run_line("schema in.csv --in-delimiter ;").ok();
    assert_eq!(done.text().lines().count(), 3, "{}", done.text());
    let done = place.run_line("explain in.csv --in-delimiter ; --select b").ok();
    assert!(done.text().contains("\nb       text"), "{}", done.text());
    // An empty input has no header to split.
    place.write("empty", "");
    assert_eq!(place.run_line("convert empty in.csv -o - --in-delimiter ;").ok().text(), rows);
}

#[test]
fn a_delimiter_of_inputs_that_cannot_apply_is_refused() {
    let place = Place::new();
    place.write("in.csv", "a;b\n1;2\n");
    place.write("in.ndjson", "{\"a\":1}\n");
    place.write("in.json", "[{\"a\":1}]\n");
    for wrong in ["", ";;", "\"", "é"] {
        place.run(&["convert", "in.csv", "-o", "-", "--in-delimiter", wrong]).code(exit::USAGE).says("--in-delimiter");
    }
    for command in
        ["convert in.ndjson -o -", "schema in.json", "explain in.ndjson", "convert in.csv in.ndjson -o x.csv"]
    {
        let done = place.run_line(&format!("{command} --in-delimiter ;")).code(exit::USAGE);
        done.says("is not CSV, so a delimiter cannot apply to it").hints("leave `--in-delimiter` out");
    }
    for from in ["ndjson", "json"] {
        let done = place.run_line(&format!("convert in.csv -o - --in-delimiter ; --from {from}")).code(exit::USAGE);
        done.says("`--in-delimiter` applies only to CSV inputs");
    }
    assert_eq!(place.leftovers(), ["in.csv", "in.json", "in.ndjson"]);
}

/// Standard output and the report of a conversion to NDJSON.
fn converted(place: &Place, more: &str, input: &str) -> (String, String) {
    place.write("in.csv", input);
    let done = place.run_line(&format!("convert in.csv -o - {more}")).ok();
    let args: Vec<&str> = "convert - -o -".split(' ').chain(more.split_whitespace()).collect();
    let piped = place.run_with_stdin(&args, input.as_bytes()).ok();
    assert_eq!(piped.text(), done.text());
    (done.text().to_owned(), done.stderr)
}

#[test]
fn another_delimiter_is_taken_if_it_is_certain() {
    let place = Place::new();
    let rows = "{\"a\":1,\"b\":\"x,y\"}\n{\"a\":2,\"b\":\"z\"}\n";
    for (delimiter, name) in [(";", "`;`"), ("|", "`|`"), ("\t", "a tab")] {
        let input = format!("a{delimiter}b\n1{delimiter}x,y\n2{delimiter}z\n");
        let (text, report) = converted(&place, "", &input);
        assert_eq!(text, rows);
        let note = format!("in.csv: the delimiter is {name}, inferred from the header and the first records");
        assert!(report.contains(&note), "{report}");
        place.run_line("schema in.csv").ok().says(&note);
        place.run_line("explain in.csv").ok().says(&note);
        // The limit ends the command before the source ends.
        place.run_line("convert in.csv -o x.ndjson --limit 1").ok().says(&note);
        let (text, report) = converted(&place, "--in-delimiter ,", &input.replace("x,y", "xy"));
        assert!(text.starts_with("{\"a") && !text.contains("\"b\":"), "{text}");
        assert!(!report.contains("delimiter"), "{report}");
    }
}

#[test]
fn a_delimiter_in_doubt_is_named() {
    let place = Place::new();
    let (text, report) = converted(&place, "", "a;b\n1;2\n3\n");
    assert_eq!(text, "{\"a;b\":\"1;2\"}\n{\"a;b\":\"3\"}\n");
    assert!(report.contains("in.csv: read as one column, although its header contains `;`"), "{report}");
    assert!(report.contains("specify it with `--in-delimiter ';'`"), "{report}");
    for command in ["schema in.csv", "explain in.csv"] {
        place.run_line(command).ok().says("contains `;`").says("`--in-delimiter ';'`");
    }
    // An error says it too, because there is no report then.
    place.write("ragged.csv", "a;b\n1;2,5\n3\n");
    let done = place.run_line("convert ragged.csv -o -").code(exit::BAD_DATA);
    done.says("expected 1 field, found 2; the delimiter may be `;`, which the header contains");
    let done = place.run_line("convert in.csv -o - --in-delimiter ;").code(exit::BAD_DATA);
    done.says("expected 2 fields, found 1; the delimiter is `;`");
}

#[test]
fn csv_for_spreadsheets_is_read_again() {
    let place = Place::new();
    place.write("in.ndjson", "{\"n\":1,\"t\":\"a;b, c\",\"x\":1.5}\n{\"n\":2,\"t\":null,\"x\":2.5}\n");
    place.run_line("convert in.ndjson -o sheet.csv --excel --delimiter ;").ok();
    let back = place.run_line("convert sheet.csv -o -").ok();
    assert_eq!(back.text(), place.read_text("in.ndjson"));
    // As a table of a query, too.
    let sql = "select r.n, s.t from results r join s on r.n = s.n order by r.n";
    let done = place.run(&["convert", "in.ndjson", "-o", "-", "--table", "s=sheet.csv", "--sql", sql]).ok();
    assert_eq!(done.text(), "{\"n\":1,\"t\":\"a;b, c\"}\n{\"n\":2,\"t\":null}\n");
    done.says("sheet.csv: the delimiter is `;`");
}

#[test]
fn the_delimiter_does_not_depend_on_sizes_and_outputs() {
    let rows: String = (0..300).map(|i| format!("{i};\"x;{i}\n\";,\n")).collect();
    for (input, columns) in [
        (format!("a;b;c\n{rows}"), 3),
        // Behind the sample of 100 records, and within it.
        (format!("a;b;c\n{}", "1;2;3\n".repeat(100)), 3),
        (format!("a;b;c\n{}1\n", "1;2;3\n".repeat(50)), 1),
    ] {
        for morsel in ["10", "100", "64KiB"] {
            let place = Place::new().morsels(morsel);
            place.write("in.csv", &input);
            for output in ["x.csv", "x.ndjson", "x.parquet"] {
                place.run_line(&format!("convert in.csv -o {output}")).ok();
            }
            let header = place.read_text("x.csv").lines().next().unwrap().to_owned();
            assert_eq!(header.split(',').count(), columns, "{morsel}");
        }
    }
}

#[test]
fn tabs_from_a_pipe_need_no_name() {
    let place = Place::new();
    // The header arrives in parts.
    let mut child = place.command(&["convert", "-", "-o", "-"]).stdin(std::process::Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for part in ["a", "\tb", "\n1\t2\n"] {
        std::io::Write::write_all(&mut stdin, part.as_bytes()).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "{\"a\":1,\"b\":2}\n");
    // A bad record is one of TSV, not of one column.
    place
        .run_with_stdin(&["convert", "-", "-o", "-"], b"a\tb\n1\n")
        .code(exit::BAD_DATA)
        .says("the delimiter is a tab");
}

#[test]
fn words_for_null_are_null_and_leave_numbers_numbers() {
    let input = "n,x,t,b\n1,NA,NA,true\nNA,1.5,\"NA\",NA\n\\N,-999,NAN,false\n,2.5,na,\n";
    let rows = "{\"n\":1,\"x\":null,\"t\":null,\"b\":true}\n{\"n\":null,\"x\":1.5,\"t\":\"NA\",\"b\":null}\n\
                {\"n\":null,\"x\":null,\"t\":\"NAN\",\"b\":false}\n{\"n\":null,\"x\":2.5,\"t\":\"na\",\"b\":null}\n";
    let words = ["--in-null", "NA,\\N", "--in-null", "-999"];
    let with_words =
        |command: &[&str]| [command, &words[..]].concat().into_iter().map(String::from).collect::<Vec<_>>();
    let run = |place: &Place, command: &[&str]| {
        let args = with_words(command);
        place.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).ok()
    };
    for size in ["10", "1MiB"] {
        let place = Place::new().morsels(size);
        place.write("in.csv", input);
        assert_eq!(run(&place, &["convert", "in.csv", "-o", "-"]).text(), rows);
        // Null in every output; what is text stays apart from it.
        let done = run(&place, &["convert", "in.csv", "-o", "-", "--to", "csv"]);
        assert_eq!(done.text(), "n,x,t,b\n1,,,true\n,1.5,NA,\n,,NAN,false\n,2.5,na,\n");
        run(&place, &["convert", "in.csv", "-o", "x.parquet"]);
        let done =
            run(&place, &["convert", "in.csv", "-o", "-", "--where", "n is null and b is null", "--select", "t"]);
        assert_eq!(done.text(), "{\"t\":\"NA\"}\n{\"t\":\"na\"}\n");
    }
    let place = Place::new();
    place.write("in.csv", input);
    let schema = run(&place, &["schema", "in.csv", "--format", "json"]).text().to_owned();
    let fields: serde_json::Value = serde_json::from_str(&schema).unwrap();
    let types: Vec<&str> = (0..4).map(|i| fields["fields"][i]["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["int", "float", "text", "bool"]);
    place.write("schema.json", &schema);
    assert_eq!(run(&place, &["convert", "in.csv", "-o", "-", "--schema", "schema.json"]).text(), rows);
    assert!(run(&place, &["explain", "in.csv"]).text().contains("\nx       float"));
    // Without the flag the words are text.
    assert!(place.run_line("convert in.csv -o -").ok().text().contains("\"n\":\"NA\""));
}

/// A record of one word in a file of two columns has one field, null or not.
#[test]
fn a_word_for_null_does_not_make_a_record_blank() {
    let place = Place::new();
    place.write("two.csv", "a,b\nNA\nNA,1\n");
    let done = place.run_line("convert two.csv -o - --in-null NA").code(exit::BAD_DATA);
    done.says("two.csv line 2").says("expected 2 fields, found 1");
    place.write("one.csv", "a\nNA\n1\n");
    let done = place.run_line("convert one.csv -o - --in-null NA").ok();
    assert_eq!(done.text(), "{\"a\":null}\n{\"a\":1}\n");
}

#[test]
fn words_for_null_that_cannot_apply_are_refused() {
    let place = Place::new();
    place.write("in.csv", "a\n1\n");
    place.write("in.ndjson", "{\"a\":\"NA\"}\n");
    let done = place.run_line("convert in.ndjson -o - --in-null NA").code(exit::USAGE);
    done.says("in.ndjson is not CSV, so a word for null cannot apply to it").hints("leave `--in-null` out");
    let done = place.run_line("convert in.csv -o - --in-null NA --from json").code(exit::USAGE);
    done.says("`--in-null` applies only to CSV inputs");
    place.run_line("convert in.csv -o - --in-null NA,").code(exit::USAGE).says("must not be empty");
}

#[test]
fn lines_before_the_header_and_the_header_itself_can_be_named() {
    let place = Place::new();
    let input = "\u{feff}Report of \"May\nnot, parsed;\n\nDraft\na;b\n1;x\n2;\"y\nz\"\n3\n";
    place.write("in.csv", input);
    let rows = "{\"a\":1,\"b\":\"x\"}\n{\"a\":2,\"b\":\"y\\nz\"}\n";
    let bad = ["--on-bad-record", "skip", "--rejects", "r.ndjson"];
    for flags in [
        &["--in-skip-lines", "4", "--in-delimiter", ";"][..],
        &["--in-skip-lines", "3", "--in-header", "2", "--in-delimiter", ";"],
    ] {
        for size in ["10", "1MiB"] {
            let place = Place::new().morsels(size);
            place.write("in.csv", input);
            let done = place.run(&[&["convert", "in.csv", "-o", "-"], flags, &bad].concat()).code(exit::PARTIAL);
            assert_eq!(done.text(), rows, "{flags:?}");
            // The place of the bad record is the one in the file.
            let reject: serde_json::Value = serde_json::from_str(&place.read_text("r.ndjson")).unwrap();
            let at = input.find("3\n").unwrap();
            assert_eq!((reject["line"].as_u64(), reject["byte"].as_u64()), (Some(9), Some(at as u64)), "{reject}");
            assert_eq!((reject["record"].as_u64(), reject["raw"].as_str()), (Some(2), Some("3")));
        }
    }
    let done = place.run_line("convert in.csv -o x.csv --in-skip-lines 4 --in-delimiter ;").code(exit::BAD_DATA);
    done.says("in.csv line 9").says("expected 2 fields, found 1; the delimiter is `;`");
    place.write("good.csv", "Title, a\n\nx;y\na;b\n1;2\n");
    for command in ["schema good.csv", "explain good.csv", "convert good.csv -o -"] {
        let done = place.run_line(&format!("{command} --in-skip-lines 1 --in-header 2")).ok();
        done.says("the delimiter is `;`, inferred from the header and the first records");
    }
    // A header that cannot be used has its place, too.
    place.write("bad.csv", "t\n\nx\n\"a\"b,c\n");
    let done = place.run_line("convert bad.csv -o - --in-skip-lines 1 --in-header 2").code(exit::BAD_DATA);
    done.says("bad.csv line 4 (byte 5)").says("text after the closing quote");
    // A source that ends before its header has no rows and no columns.
    // A header that is not there must not make an empty output of records.
    for beyond in ["--in-skip-lines 9", "--in-header 9"] {
        let done = place.run_line(&format!("convert bad.csv -o - {beyond}"));
        done.code(exit::USAGE).says("bad.csv ends before its header");
        assert_eq!(place.run_with_stdin(&["convert", "-", "-o", "-", "--from", "csv"], b"").ok().text(), "");
    }
}

#[test]
fn csv_without_a_header_has_numbered_columns() {
    let place = Place::new();
    place.write("in.csv", "1;a\n2;b\n");
    let done = place.run_line("convert in.csv -o - --in-header no").ok();
    assert_eq!(done.text(), "{\"column_1\":1,\"column_2\":\"a\"}\n{\"column_1\":2,\"column_2\":\"b\"}\n");
    done.says("the delimiter is `;`, inferred from the first records");
    let done = place.run_with_stdin(&["convert", "-", "-o", "-", "--in-header", "no", "--to", "csv"], b"x\n\ny\n").ok();
    assert_eq!(done.text(), "column_1\nx\n\"\"\ny\n".replace("\"\"", ""));
    let done = place.run_line("schema in.csv --in-header no --format json").ok();
    assert!(done.text().contains("column_2"), "{}", done.text());
    for wrong in ["0", "yes", ""] {
        place.run(&["convert", "in.csv", "-o", "-", "--in-header", wrong]).code(exit::USAGE).says("--in-header");
    }
    place.write("in.ndjson", "{\"a\":1}\n");
    for (flag, what) in [("--in-header no", "a header of CSV"), ("--in-skip-lines 1", "a number of lines to skip")] {
        let done = place.run_line(&format!("convert in.ndjson -o - {flag}")).code(exit::USAGE);
        done.says(&format!("in.ndjson is not CSV, so {what} cannot apply to it"));
    }
}

fn utf_16(text: &str, of_unit: fn(u16) -> [u8; 2]) -> Vec<u8> {
    text.encode_utf16().flat_map(of_unit).collect()
}

#[test]
fn inputs_in_other_encodings_are_decoded() {
    let place = Place::new();
    let csv = "\u{feff}größe;name\n1,5;\"東\n;京\"\n";
    let rows = "{\"größe\":\"1,5\",\"name\":\"東\\n;京\"}\n";
    for of_unit in [u16::to_le_bytes, u16::to_be_bytes] {
        place.write("in.csv", utf_16(csv, of_unit));
        place.write("in.ndjson", utf_16(&format!("\u{feff}{rows}"), of_unit));
        place.write("in.json", utf_16(&format!("\u{feff}[{}]", rows.trim_end()), of_unit));
        for name in ["in.csv", "in.ndjson", "in.json"] {
            assert_eq!(place.run_line(&format!("convert {name} -o -")).ok().text(), rows, "{name}");
            // By its content alone.
            let done = place.run_with_stdin(&["convert", "-", "-o", "-"], &place.read(name)).ok();
            assert_eq!(done.text(), rows, "{name}");
        }
        place.run_line("schema in.csv").ok().says("the delimiter is `;`");
    }
    place.write("in.csv", utf_16(csv.trim_start_matches('\u{feff}'), u16::to_le_bytes));
    place.run_line("convert in.csv -o -").code(exit::BAD_DATA).says("text in UTF-16 without a byte order mark");
    assert_eq!(place.run_line("convert in.csv -o - --in-encoding utf-16le").ok().text(), rows);

    place.write("latin.csv", b"title\ngr\xf6\xdfe,\x80\n1,\xe9\n".as_slice());
    place.run_line("convert latin.csv -o - --in-skip-lines 1").code(exit::BAD_DATA).says("not valid UTF-8");
    let done = place.run_line("convert latin.csv -o - --in-skip-lines 1 --in-encoding latin1").ok();
    assert_eq!(done.text(), "{\"größe\":1,\"€\":\"é\"}\n");
    place.write("bad.csv", b"a,b\n1,\x93\x8c\n2,\xff\n".as_slice());
    let done = place.run_line("convert bad.csv -o x.csv --in-encoding shift_jis").code(exit::BAD_DATA);
    done.says("cannot decode bad.csv: not valid Shift_JIS at byte 11");
    assert!(!place.path("x.csv").exists());
    place.run_line("convert bad.csv -o - --in-encoding latin99").code(exit::USAGE).says("Encoding Standard");
}

/// Price lists, in which a cell has zeros at its end.
#[test]
fn numbers_with_zeros_at_the_end_are_numbers_of_typed_outputs() {
    let place = Place::new();
    let input = "item,price,code,long\na,10.50,007,1.5\nb,9.99,012,12345678901234567.25\nc,7,+47,2\nd,100.00,1,3\n";
    place.write("in.csv", input);
    // Outputs of text copy cells.
    assert_eq!(place.run_line("convert in.csv -o - --to csv").ok().text(), input);
    let ndjson = place.run_line("convert in.csv -o -").ok();
    assert!(ndjson.text().starts_with("{\"item\":\"a\",\"price\":10.50,\"code\":\"007\",\"long\":1.5}\n"));
    let schema = place.run_line("schema in.csv --format json").ok();
    let fields: serde_json::Value = serde_json::from_str(schema.text()).unwrap();
    let types: Vec<&str> = (0..4).map(|i| fields["fields"][i]["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["text", "float", "text", "decimal(19,2)"]);
    // As text `9.99` would be the maximum.
    let sql = "select max(price) m, sum(price) s, max(long) l from results";
    let done = place.run(&["convert", "in.csv", "-o", "-", "--sql", sql]).ok();
    assert_eq!(done.text(), "{\"m\":100.0,\"s\":127.49,\"l\":12345678901234567.25}\n");
    let done = place.run(&["convert", "in.csv", "-o", "-", "--where", "price >= 10.5", "--select", "item,code"]).ok();
    assert_eq!(done.text(), "{\"item\":\"a\",\"code\":\"007\"}\n{\"item\":\"d\",\"code\":\"1\"}\n");
}

/// A late cell that is no number must not leave respelled numbers behind in a column of text.
#[test]
fn a_column_of_prices_that_becomes_text_late_keeps_its_spelling_or_is_refused() {
    let place = Place::new().morsels("64");
    let prices = "10.50,1\n".repeat(400);
    place.write("in.csv", format!("price,n\n{prices}007,1\n"));
    let done = place.run_line("convert in.csv -o x.csv").ok();
    assert!(done.stderr.contains("401 written"), "{}", done.stderr);
    assert!(place.read_text("x.csv").ends_with("10.50,1\n007,1\n"));
    // A file is read again, and a pipe from what was kept of it.
    place.run_line("convert in.csv -o x.parquet").ok();
    place.run_with_stdin(&["convert", "-", "-o", "y.parquet"], place.read_text("in.csv").as_bytes()).ok();
    for file in ["x.parquet", "y.parquet"] {
        let prices: Vec<_> = rows::parquet(place.read(file)).into_iter().map(|row| row["price"].clone()).collect();
        assert_eq!(prices, [vec!["10.50"; 400], vec!["007"]].concat(), "{file}");
    }
    // Rows that were shown are not shown again.
    let args = ["convert", "-", "-o", "-", "--to", "parquet"];
    let piped = place.run_with_stdin(&args, place.read_text("in.csv").as_bytes());
    piped.code(exit::SCHEMA_CHANGED).says("field `price`: expected float, found text");
}

#[test]
fn other_readers_find_the_same_cells_in_every_dialect() {
    let Some(python) = tool("DRAWOFF_TEST_PYTHON") else { return };
    let place = Place::new();
    let mut command = place.program(python);
    command.arg(root().join("tests/readers/check_dialects.py")).arg(env!("CARGO_BIN_EXE_drawoff"));
    command.args([plans::count(200).to_string(), plans::seed().to_string()]);
    let done = Done::of(command).ok();
    assert!(done.text().contains("cases from seed"));
}

/// Cells that were shown as numbers cannot be shown as texts any more.
#[test]
fn late_text_in_a_pipe_of_csv_says_what_helps() {
    let place = Place::new().morsels("4");
    let csv = b"a\n1.5\n1.5\n1.5\n1.5\n1.5\n1.5\nx\n";
    let args = ["convert", "-", "-o", "-", "--to", "ndjson"];
    let done = place.run_with_stdin(&args, csv);
    assert_eq!(done.code, exit::SCHEMA_CHANGED, "{}", done.stderr);
    done.hints("--schema FILE");
    place.write("text.json", r#"{"drawoff_schema":1,"fields":[{"name":"a","type":"text"}]}"#);
    place.run_with_stdin(&[&args[..], &["--schema", "text.json"]].concat(), csv).ok();
}

/// A pipe of CSV gives the same file as the file does, whatever comes late, at every size; also compressed, and beside a file.
#[test]
fn a_pipe_of_csv_gives_what_a_file_gives() {
    let row = |i: usize| match i {
        120 => "x,1.50,True,1\n".to_owned(),
        170 => "3,y,\"true, too\",007\n".to_owned(),
        _ => format!("{i},1.{i}0,TRUE,{}\n", i % 3),
    };
    let csv = "a,b,c,d\n".to_owned() + &(0..200).map(row).collect::<String>();
    let zipped = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, csv.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    for size in ["8", "200", "100000"] {
        let place = Place::new().morsels(size);
        place.write("in.csv", &csv);
        place.write("first.csv", "a,b,c,d\n1,2,True,4\n");
        for name in ["ndjson", "json", "parquet"] {
            let file = format!("file.{name}");
            place.run(&["convert", "first.csv", "in.csv", "-o", &file]).ok();
            for (input, out) in [(csv.as_bytes(), format!("pipe.{name}")), (&zipped[..], format!("zip.{name}"))] {
                place.run_with_stdin(&["convert", "first.csv", "-", "-o", &out], input).ok().says("201 written");
                match name {
                    // Row groups may differ.
                    "parquet" => assert_eq!(rows::parquet(place.read(&out)), rows::parquet(place.read(&file)), "{out}"),
                    _ => assert_eq!(place.read_text(&out), place.read_text(&file), "{out}, morsels of {size}"),
                }
            }
        }
        let text = place.read_text("file.ndjson");
        assert!(text.contains(r#"{"a":"0","b":"1.00","c":"TRUE","d":"0"}"#), "{text}");
        assert_eq!(std::fs::read_dir(place.path("tmp")).unwrap().count(), 0, "nothing is left of what was kept");
    }
}
