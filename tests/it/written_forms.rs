//! Dates and numbers as people write them, the origin of rows, the rest of the columns, spreadsheets, and outputs without
//! rows.

use std::ffi::OsString;

use arrow_schema::{DataType, TimeUnit};

use crate::support::rows;
use crate::support::{Done, Place, exit, plans, root, tool};

#[test]
fn dates_are_those_of_python() {
    let Some(python) = tool("DRAWOFF_TEST_PYTHON") else { return };
    let place = Place::new();
    let mut command = place.program(python);
    command.arg(root().join("tests/readers/check_dates.py")).arg(env!("CARGO_BIN_EXE_drawoff"));
    command.args([plans::count(400).to_string(), plans::seed().to_string()]);
    let done = Done::of(command).ok();
    assert!(done.text().contains("texts refused"), "{}", done.text());
}

#[test]
fn casts_with_a_format_give_typed_columns() {
    let place = Place::new();
    place.write("in.csv", "d,t,p\n31/01/2024,1.2.24 13:05,\"1.234,50\"\n01/02/2023,29.2.24 00:00,-7\n");
    let casts =
        ["--cast", "d:date('%d/%m/%Y')", "--cast", "t:timestamp('%d.%m.%y %H:%M', local, ms),p:number(',', '.')"];
    for output in ["out.parquet", "out.ndjson", "out.csv"] {
        place.run(&[&["convert", "in.csv", "-o", output], &casts[..]].concat()).ok();
    }
    let text = "{\"d\":\"2024-01-31\",\"t\":\"2024-02-01T13:05:00\",\"p\":1234.50}\n\
                {\"d\":\"2023-02-01\",\"t\":\"2024-02-29T00:00:00\",\"p\":-7}\n";
    assert_eq!(place.read_text("out.ndjson"), text);
    assert_eq!(
        place.read_text("out.csv"),
        "d,t,p\n2024-01-31,2024-02-01T13:05:00,1234.50\n2023-02-01,2024-02-29T00:00:00,-7\n"
    );
    let types: Vec<DataType> = rows::parquet_schema(place.read("out.parquet")).into_iter().map(|(_, ty)| ty).collect();
    assert_eq!(types, [DataType::Date32, DataType::Timestamp(TimeUnit::Millisecond, None), DataType::Float64]);
}

/// A column of `number()` has the type that a column of such JSON numbers has, also if they come late.
#[test]
fn numbers_are_as_exact_as_those_of_json() {
    for morsel_size in ["10", "1048576"] {
        let place = Place::new().morsels(morsel_size);
        let few = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];
        for last in ["10", "0.5", "1e2", "9007199254740993", "12345678901234567890", "-0", "0.1234567890123456789"] {
            let numbers = || few.iter().copied().chain([last]);
            let json: String = numbers().map(|number| format!("{{\"n\":{number}}}\n")).collect();
            let text: String =
                numbers().map(|number| format!("{{\"n\":\"{}\"}}\n", number.replace('.', ","))).collect();
            place.write("json.ndjson", json);
            place.write("text.ndjson", text);
            let file = |input: &str, output: &str, flags: &[&str]| {
                place.run(&[&["convert", input, "-o", output], flags].concat()).ok();
                rows::parquet(place.read(output))
            };
            let expected = file("json.ndjson", "json.parquet", &[]);
            let cast = file("text.ndjson", "cast.parquet", &["--cast", "n:number(',', '.')"]);
            assert_eq!(cast, expected, "{last}");
            let with = file("text.ndjson", "with.parquet", &["--with", "n = number(n, ',')"]);
            assert_eq!(with, expected, "{last}");
        }
    }
}

#[test]
fn the_error_of_a_failed_cast_names_the_function_once() {
    let place = Place::new();
    place.write("in.csv", "d,p,w\n31/01/2024,\"1.234,50\",soon\n");
    let error = |cast: &str| place.run(&["convert", "in.csv", "-o", "-", "--cast", cast]).code(exit::BAD_DATA).stderr;
    assert!(error("d:date").contains("specify its format, as in `date(x, '%d/%m/%Y')`"));
    assert!(error("d:timestamp").contains("specify its format, as in `timestamp(x, '%d/%m/%Y %H:%M')`"));
    for cast in ["p:int", "p:float", "p:decimal(9,2)", "p:number"] {
        assert!(error(cast).contains("as in `number(x, ',', '.')`"), "{cast}");
    }
    // What was followed is not proposed again, nor what cannot help.
    for cast in ["d:date('%m/%d/%Y')", "d:timestamp('%d.%m.%Y')", "p:number('.', ',')", "w:date", "w:float", "w:number"]
    {
        let error = error(cast);
        assert!(!error.contains("as in"), "{cast}: {error}");
    }
    let error =
        |flag: &str, text: &str| place.run(&["convert", "in.csv", "-o", "-", flag, text]).code(exit::USAGE).stderr;
    assert!(error("--cast", "d:date('%d/%m')").contains("does not determine a date"));
    assert!(error("--cast", "d:date('%Q')").contains("%Y year"));
    assert!(error("--with", "x = number(p, ',', ',')").contains("must differ"));
    assert!(error("--with", "x = date(d, \"%d/%m/%Y\")").contains("put text in single quotes"));
}

#[test]
fn rows_know_their_record_and_source() {
    let place = Place::new();
    let record = |i: usize| if i % 7 == 3 { "{broken\n".to_owned() } else { format!("{{\"i\":{i},\"l\":[1,2]}}\n") };
    place.write("a.ndjson", (1..=40).map(record).collect::<String>());
    place.write("b.ndjson", (41..=90).map(record).collect::<String>());
    let expected: Vec<(u64, &str)> =
        (1..=90u64).filter(|i| i % 7 != 3).map(|i| (i, if i <= 40 { "a.ndjson" } else { "b.ndjson" })).collect();
    for (morsel_size, workers) in [("16", "1"), ("16", "7"), ("200", "2"), ("1048576", "4")] {
        let place = place_of(&place, morsel_size);
        for output in ["out.ndjson", "out.parquet"] {
            let read = |flags: &[&str]| {
                let fixed =
                    ["convert", "a.ndjson", "b.ndjson", "-o", output, "--on-bad-record", "skip", "--workers", workers];
                place.run(&[&fixed, flags].concat()).code(exit::PARTIAL);
                let content = place.read(output);
                let rows = if output.ends_with("parquet") { rows::parquet(content) } else { rows::ndjson(&content) };
                let row = |row: &serde_json::Map<String, serde_json::Value>| {
                    assert_eq!(row["i"], row["n"], "{flags:?}");
                    (row["n"].as_u64().unwrap(), row["s"].as_str().unwrap().to_owned())
                };
                rows.iter().map(|value| row(value.as_object().unwrap())).collect::<Vec<_>>()
            };
            let own = |of: &[(u64, &str)]| of.iter().map(|(n, source)| (*n, (*source).to_owned())).collect::<Vec<_>>();
            let with = ["--with", "n = row_number(), s = source()"];
            assert_eq!(read(&with), own(&expected));
            assert_eq!(read(&[&with[..], &["--limit", "50"]].concat()), own(&expected[..50]));
            let later: Vec<_> = expected.iter().copied().filter(|(n, _)| n % 2 == 0).collect();
            assert_eq!(read(&[&["--where", "i % 2 = 0"], &with[..]].concat()), own(&later));
            assert_eq!(read(&[&with[..], &["--where", "row_number() % 2 = 0"]].concat()), own(&later));
            let twice: Vec<_> = expected.iter().flat_map(|row| [*row, *row]).collect();
            assert_eq!(read(&[&["--explode", "l"], &with[..]].concat()), own(&twice));
        }
    }
}

/// Returns a place with the same files and another size of morsels.
fn place_of(place: &Place, morsel_size: &str) -> Place {
    let other = Place::new().morsels(morsel_size);
    for name in ["a.ndjson", "b.ndjson"] {
        other.write(name, place.read(name));
    }
    other
}

#[test]
fn a_star_selects_all_other_columns() {
    let place = Place::new().morsels("16");
    place.write(
        "in.ndjson",
        "{\"a\":1,\"b\":{\"c\":2}}\n{\"a\":2}\n{\"a\":3}\n{\"a\":4}\n{\"a\":5}\n{\"late\":6,\"a\":7}\n",
    );
    let select = |columns: &str| place.run(&["convert", "in.ndjson", "-o", "-", "--select", columns]);
    let first_and_last = |columns: &str| {
        let done = select(columns).ok();
        let lines: Vec<&str> = done.text().lines().collect();
        (lines[0].to_owned(), lines[5].to_owned())
    };
    assert_eq!(first_and_last("b.c,*"), ("{\"b.c\":2,\"a\":1,\"b\":{\"c\":2}}".into(), "{\"a\":7,\"late\":6}".into()));
    assert_eq!(first_and_last("*,a"), ("{\"b\":{\"c\":2},\"a\":1}".into(), "{\"late\":6,\"a\":7}".into()));
    assert_eq!(first_and_last("*").1, "{\"a\":7,\"late\":6}");
    select("*,a,*").code(exit::USAGE).says("`*` is specified twice");
    place.run(&["convert", "in.ndjson", "-o", "out.parquet", "--select", "late,*"]).ok();
    let last = rows::parquet(place.read("out.parquet")).pop().unwrap();
    assert_eq!((&last["late"], &last["a"]), (&6.into(), &7.into()));
}

#[test]
fn results_have_the_id_of_their_run() {
    let place = Place::new();
    let run = "run testdata/workflows/qualify-companies.json --local --input testdata/companies.csv";
    let done =
        place.run_line(&format!("{run} -o out.ndjson --run-column the-run --select \"the-run\",* --limit 3")).ok();
    let found = rows::ndjson(&place.read("out.ndjson"));
    assert_eq!(found.len(), 3);
    for row in &found {
        let row = row.as_object().unwrap();
        let id = row["the-run"].as_str().unwrap();
        assert!(done.stderr.contains(&format!("run {id} of")), "{}", done.stderr);
        assert!(row.len() > 3);
    }
    // Other sources are of no run.
    place.write("in.csv", "a\n1\n");
    assert_eq!(place.run_line("convert in.csv -o - --with r=run()").ok().text(), "{\"a\":1,\"r\":null}\n");
}

#[test]
fn no_run_starts_for_steps_that_its_types_refuse() {
    let place = Place::new();
    let run = |flags: &[&str]| {
        let run = ["run", "testdata/workflows/qualify-companies.json", "--local", "--input", "testdata/companies.csv"];
        place.run(&[&run[..], &["-o", "out.ndjson"], flags].concat())
    };
    for (flags, what) in [
        (["--where", "employee_count > 'many'"], "cannot compare `employee_count`"),
        (["--select", "emplyee_count"], "there is no column `emplyee_count`"),
        (["--with", "x = employee_count || upper(is_public)"], "cannot apply `upper`"),
    ] {
        let done = run(&flags).code(exit::USAGE).says(what).says("no run was started");
        assert!(!done.stderr.contains("started\n") && !place.path("out.ndjson").exists(), "{}", done.stderr);
    }
    run(&["--where", "cast(employee_count as string) > 'many'"]).ok();
}

/// The columns are those that the workflow declares, of the header, or of the schema.
#[test]
fn outputs_without_rows_have_the_columns_that_are_known() {
    let place = Place::new();
    place.write("h.csv", "company_name,domain\n");
    for output in ["r.parquet", "r.arrow", "r.csv"] {
        place
            .run_line(&format!("run testdata/workflows/qualify-companies.json --local --input h.csv -o {output}"))
            .ok();
        let columns = place.run_line(&format!("schema {output}")).ok();
        for name in ["company_name", "employee_count", "tech_stack"] {
            assert!(columns.text().contains(name), "{output}: {}", columns.text());
        }
    }
    assert!(place.read_text("r.csv").starts_with("domain,company_name,"));
    place.write("none.ndjson", "");
    place.write(
        "schema.json",
        r#"{"drawoff_schema":1,"fields":[{"name":"id","type":"int"},{"name":"at","type":"text"}]}"#,
    );
    for (input, flags, columns) in [
        ("none.ndjson", "--schema schema.json", ["id", "at"]),
        ("h.csv", "", ["company_name", "domain"]),
        ("h.csv", "--select domain,*", ["domain", "company_name"]),
    ] {
        for output in ["e.parquet", "e.arrow", "e.csv"] {
            place.run_line(format!("convert {input} -o {output} {flags}").trim_end()).ok();
            let found = place.run_line(&format!("schema {output}")).ok();
            let at =
                columns.map(|name| found.text().find(name).unwrap_or_else(|| panic!("{output}: {}", found.text())));
            assert!(at[0] < at[1], "{output}: {}", found.text());
        }
    }
}

#[test]
fn names_that_databases_confuse_get_a_note() {
    let place = Place::new();
    let (record, late) =
        ("{\"Id\":1,\"HiringPaths\":null,\"hiringpaths\":[\"public\"]}\n", "{\"id\":3,\"hiringpaths\":[\"x\"]}\n");
    place.write("in.ndjson", [record, late].concat());
    let done = place.run_line("convert in.ndjson -o out.parquet").ok();
    done.says("columns `HiringPaths` and `hiringpaths`, `Id` and `id` differ only in upper and lower case");
    let names: Vec<String> = rows::parquet(place.read("out.parquet"))[0].as_object().unwrap().keys().cloned().collect();
    assert!(
        ["Id", "HiringPaths", "hiringpaths", "id"].iter().all(|name| names.iter().any(|own| own == name)),
        "{names:?}"
    );
    let done = place.run_line("convert in.ndjson -o out.ndjson").ok();
    assert!(!done.stderr.contains("differ only"), "{}", done.stderr);
    let record =
        r#"{"Full Name":"A. Person","Head count (2025)":12,"hq.city":"Oslo","a=b;c":1,"Ørsta":true,"":"no name"}"#;
    place.write("names.ndjson", record);
    let renames = r#""Full Name"=a,"Head count (2025)"=b,"hq.city"=c,"a=b;c"=d,Ørsta=e,""=f"#;
    let done = place.run(&["convert", "names.ndjson", "-o", "-", "--rename", renames]).ok();
    assert_eq!(done.text(), "{\"a\":\"A. Person\",\"b\":12,\"c\":\"Oslo\",\"d\":1,\"e\":true,\"f\":\"no name\"}\n");
    for wrong in ["Full Name=x", "a=b;c=x"] {
        place
            .run(&["convert", "names.ndjson", "-o", "-", "--rename", wrong])
            .code(exit::USAGE)
            .hints("in double quotes");
    }
}

/// A number among keys that stand twice in objects of a mixed column is counted where one is dropped.
#[test]
fn duplicate_keys_of_mixed_columns_are_counted() {
    let place = Place::new();
    place.write("in.ndjson", "{\"x\":{\"a\":1,\"a\":2}}\n{\"x\":\"s\"}\n{\"x\":[{\"b\":1,\"b\":1,\"b\":3}]}\n");
    place.run_line("convert in.ndjson -o out.parquet").ok().says("3 duplicate keys");
}

/// A record of what spreadsheets change, and its cells as they are written.
const SHEET: (&str, [&str; 2]) = (
    "{\"zip\":\"01000\",\"code\":\"12E5\",\"size\":\"3-4\",\"part\":\"1/2\",\"gene\":\"MARCH1\",\"n\":1.5,\"t\":\"1.5\",\"d\":\"2024-01-31\"}\n",
    [
        "zip,code,size,part,gene,n,t,d\r\n'01000,'12E5,'3-4,'1/2,'MARCH1,1.5,1.5,2024-01-31\r\n",
        "zip;code;size;part;gene;n;t;d\r\n'01000;'12E5;'3-4;'1/2;'MARCH1;1,5;'1.5;2024-01-31\r\n",
    ],
);

#[test]
fn text_that_a_spreadsheet_converts_is_protected_and_counted() {
    let place = Place::new();
    place.write("in.ndjson", SHEET.0);
    for (flag, expected, changed) in [("--excel", SHEET.1[0], 5), ("--excel=semicolon", SHEET.1[1], 6)] {
        let done = place.run_line(&format!("convert in.ndjson -o out.csv {flag}")).ok();
        done.says(&format!("added an apostrophe to {changed} cells of text that a spreadsheet would convert"));
        assert_eq!(place.read_text("out.csv"), format!("\u{feff}{expected}"));
    }
    // Cells of CSV are numbers where they look like ones.
    place.write("in.csv", "zip,price\n01000,10.50\n2,\n");
    place.run_line("convert in.csv -o out.csv --excel=semicolon").ok();
    assert_eq!(place.read_text("out.csv"), "\u{feff}zip;price\r\n'01000;10,50\r\n2;\r\n");
    place.run_line("convert in.csv -o out.csv --excel=comma").ok();
    assert_eq!(place.read_text("out.csv"), "\u{feff}zip,price\r\n'01000,10.50\r\n2,\r\n");
}

/// LibreOffice, told to detect numbers and dates as spreadsheets do when they open a file, shows the cells as written.
/// `.ci/full` installs it and sets the variable.
#[test]
fn a_spreadsheet_shows_the_cells_as_they_were_written() {
    let Some(soffice) = std::env::var_os("DRAWOFF_TEST_SOFFICE").filter(|path| !path.is_empty()) else { return };
    let place = Place::new();
    place.write("in.ndjson", SHEET.0);
    let shown = |flag: &str, name: &str, delimiter: u8, language: &str| {
        place.run(&["convert", "in.ndjson", "-o", &format!("{name}.csv"), flag]).ok();
        let profile = format!("-env:UserInstallation=file://{}", place.path("profile").display());
        let filter = format!("--infilter=CSV:{delimiter},34,76,1,,{language},false,true");
        let mut command = place.program(&soffice);
        let output = "csv:Text - txt - csv (StarCalc):44,34,76,1,,1033,false,true";
        let arguments: [OsString; 8] =
            [&profile, "--headless", &filter, "--convert-to", output, "--outdir", "shown", &format!("{name}.csv")]
                .map(OsString::from);
        command.args(arguments);
        Done::of(command).ok();
        place.read_text(&format!("shown/{name}.csv")).trim_start_matches('\u{feff}').replace("\r\n", "\n")
    };
    assert_eq!(shown("--excel", "comma", b',', "1033"), SHEET.1[0].replace("\r\n", "\n"));
    // In a German locale `1,5` is a number, which is shown in English.
    let german = SHEET.1[1].replace("\r\n", "\n").replace("1,5", "1.5").replace(';', ",");
    assert_eq!(shown("--excel=semicolon", "semicolon", b';', "1031"), german);
    // Without the flag it changes them.
    let plain = shown("--crlf", "plain", b',', "1033");
    assert!(plain.contains("\n1000,"), "{plain}");
}
