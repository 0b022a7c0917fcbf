//! Quotes, marks of numbers, decimals and the notes on columns that few cells made text.

use crate::support::{Place, exit};

const PRICES: &str = "id;price;note\n1;1.234,50;'a;b'\n2;-7,25;x\n3;10;'it''s'\n";

#[test]
fn another_quote_and_a_decimal_comma_are_read() {
    let flags = "--in-delimiter ; --in-quote ' --in-decimal , --in-thousands .";
    for size in ["10", "1MiB"] {
        let place = Place::new().morsels(size);
        place.write("in.csv", PRICES);
        let rows = "{\"id\":1,\"price\":1234.50,\"note\":\"a;b\"}\n{\"id\":2,\"price\":-7.25,\"note\":\"x\"}\n\
                    {\"id\":3,\"price\":10,\"note\":\"it's\"}\n";
        assert_eq!(place.run_line(&format!("convert in.csv -o - {flags}")).ok().text(), rows);
        // CSV alone copies the cells, and steps see the numbers all the same.
        let done = place.run_line(&format!("convert in.csv -o - --to csv {flags}")).ok();
        assert_eq!(done.text(), "id,price,note\n1,\"1.234,50\",a;b\n2,\"-7,25\",x\n3,10,it's\n");
        for (output, expected) in [("csv", "1,\"1.234,50\"\n"), ("ndjson", "{\"id\":1,\"price\":1234.50}\n")] {
            let line = format!("convert in.csv -o - --to {output} {flags}");
            let mut args: Vec<&str> = line.split(' ').collect();
            args.extend(["--where", "price > 1000 and price < 1235", "--select", "id,price"]);
            let done = place.run(&args).ok();
            assert!(done.text().ends_with(expected), "{}", done.text());
        }
        // With a typed output beside it, CSV has the numbers.
        let done = place.run_line(&format!("convert in.csv -o - --to csv -o x.parquet {flags}")).ok();
        assert_eq!(done.text(), "id,price,note\n1,1234.50,a;b\n2,-7.25,x\n3,10,it's\n");
        let sql = "select sum(price) s, max(price) m from results";
        let mut args: Vec<&str> = "convert in.csv -o -".split(' ').chain(flags.split(' ')).collect();
        args.extend(["--sql", sql]);
        assert_eq!(place.run(&args).ok().text(), "{\"s\":1237.25,\"m\":1234.5}\n");
    }
    let place = Place::new();
    place.write("in.csv", PRICES);
    let schema = place.run_line(&format!("schema in.csv {flags}")).ok();
    assert!(schema.text().contains("float"), "{}", schema.text());
    assert!(place.run_line(&format!("explain in.csv {flags}")).ok().text().contains("\nprice   float"));
}

#[test]
fn a_text_column_keeps_the_cells_and_steps_see_the_numbers() {
    let place = Place::new();
    place.write("in.csv", "a;b\n1,5;x\nv2,5;y\n3,25;z\n");
    place.write("one.csv", "a;b\n1,5;x\n");
    let flags = ["--in-decimal", ","];
    let run = |input: &str, more: &[&str]| {
        place.run(&[&["convert", input, "-o", "-"], &flags[..], more].concat()).ok().text().to_owned()
    };
    assert_eq!(run("in.csv", &["--select", "a"]), "{\"a\":\"1,5\"}\n{\"a\":\"v2,5\"}\n{\"a\":\"3,25\"}\n");
    for input in ["in.csv", "one.csv"] {
        let done = run(input, &["--to", "csv", "--where", "b = 'x' and a = 1.5"]);
        assert_eq!(done, "a,b\n\"1,5\",x\n", "{input}");
    }
    // A point is no decimal mark here, and such a number is never taken for another one.
    place.write("points.csv", "a\n\"1,5\"\n1.234\n");
    assert_eq!(run("points.csv", &[]), "{\"a\":\"1,5\"}\n{\"a\":\"1.234\"}\n");
}

#[test]
fn without_quotes_every_line_is_a_record() {
    for size in ["3", "1MiB"] {
        let place = Place::new().morsels(size);
        place.write("in.csv", "a,b\n\"x,1\n5\",\"\"\n\"\",\"y\n");
        let done = place.run_line("convert in.csv -o - --in-quote none").ok();
        let rows = "{\"a\":\"\\\"x\",\"b\":\"1\"}\n{\"a\":\"5\\\"\",\"b\":\"\\\"\\\"\"}\n{\"a\":\"\\\"\\\"\",\"b\":\"\\\"y\"}\n";
        assert_eq!(done.text(), rows, "{size}");
    }
}

#[test]
fn marks_that_cannot_apply_are_refused() {
    let place = Place::new();
    place.write("in.csv", "a\n1\n");
    place.write("in.ndjson", "{\"a\":1}\n");
    for (flags, words) in [
        ("--in-quote ''", "--in-quote"),
        ("--in-quote ab", "--in-quote"),
        ("--in-quote x", "--in-quote"),
        ("--in-decimal ;", "must be `,` or `.`"),
        ("--in-thousands 0", "no letter, digit or sign"),
        ("--in-thousands -", "--in-thousands"),
        ("--in-decimal , --in-thousands ,", "are the same"),
        ("--in-thousands .", "the decimal mark and the mark of thousands"),
        ("--in-quote ; --in-delimiter ;", "the quote and the delimiter of CSV inputs are the same"),
        ("--in-quote ,", "the quote and the delimiter of CSV inputs are the same"),
    ] {
        place.run_line(&format!("convert in.csv -o - {flags}")).code(exit::USAGE).says(words);
    }
    for (flag, what) in
        [("--in-quote '", "a quote"), ("--in-decimal ,", "a decimal mark"), ("--in-thousands '", "a mark of thousands")]
    {
        let done = place.run_line(&format!("convert in.ndjson -o - {flag}")).code(exit::USAGE);
        done.says(&format!("in.ndjson is not CSV, so {what} cannot apply to it"));
    }
}

/// A quote that no later one closes takes the next line along. Neither line is lost: both are in the reject.
#[test]
fn the_line_after_an_open_quote_is_kept_with_it() {
    let place = Place::new();
    place.write("in.csv", "id,title\n1,\"unclosed\n2,say \"hi\" there\n3,ok\n");
    let args = ["convert", "in.csv", "-o", "-", "--to", "ndjson", "--on-bad-record", "skip", "--rejects", "r.ndjson"];
    let done = place.run(&args).code(exit::PARTIAL);
    assert_eq!(done.text(), "{\"id\":3,\"title\":\"ok\"}\n");
    let reject: serde_json::Value = serde_json::from_str(&place.read_text("r.ndjson")).expect("one reject");
    assert_eq!(reject["raw"], "1,\"unclosed\n2,say \"hi\" there");
    assert_eq!((&reject["line"], &reject["byte"]), (&2.into(), &9.into()));
}

#[test]
fn a_table_of_several_files_is_refused_with_what_makes_it_one() {
    let place = Place::new();
    place.write("in.csv", "id\n1\n2\n");
    std::fs::create_dir(place.path("parts")).unwrap();
    place.write("parts/1.csv", "id,v\n1,a\n");
    place.write("parts/2.csv", "id,v\n2,b\n");
    let sql = "select r.id, t.v from results r join t on r.id = t.id order by r.id";
    for (table, what) in [("parts", "is a directory"), ("parts/*.csv", "no such file or directory")] {
        let query =
            |table: &str| place.run(&["convert", "in.csv", "-o", "-", "--table", &format!("t={table}"), "--sql", sql]);
        let merge =
            format!("drawoff convert {} -o table.parquet", if table == "parts" { table } else { "'parts/*.csv'" });
        query(table).code(32).says(what).says(&merge);
        place.run(&["convert", table, "-o", "table.parquet"]).ok();
        assert_eq!(query("table.parquet").ok().text(), "{\"id\":1,\"v\":\"a\"}\n{\"id\":2,\"v\":\"b\"}\n");
    }
}

#[test]
fn tables_have_the_dialect_of_the_command_or_of_the_configuration_file() {
    let place = Place::new();
    place.write("in.ndjson", "{\"id\":1}\n{\"id\":2}\n");
    place.write("in.csv", "id;v\n1;3,5\n");
    place.write("t.csv", "id;price\n1;1.234,50\n2;0,5\n");
    place.write("t.ndjson", "{\"id\":1,\"price\":2}\n");
    place.write("config.toml", "in_delimiter = ';'\nin_decimal = ','\nin_thousands = '.'\nin_null = ['-']\n");
    let sql = "select sum(t.price) s from results r join t on r.id = t.id";
    let run = |args: &[&str]| place.run(&[args, &["-o", "-", "--sql", sql][..]].concat());
    let config = ["--config", "config.toml"];
    let done = run(&["convert", "in.ndjson", "--table", "t=t.csv", config[0], config[1]]).ok();
    assert_eq!(done.text(), "{\"s\":1235.0}\n");
    let flags = ["--in-delimiter", ";", "--in-decimal", ",", "--in-thousands", "."];
    let done = run(&[&["convert", "in.csv", "--table", "t=t.csv"], &flags[..]].concat()).ok();
    assert_eq!(done.text(), "{\"s\":1234.5}\n");
    // A table of another format has no dialect.
    let done = run(&[&["convert", "in.csv", "--table", "t=t.ndjson"], &flags[..]].concat()).ok();
    assert_eq!(done.text(), "{\"s\":2}\n");
    place.write("words.csv", "id;price\n1;2\n2;-\n3;4\n");
    let words = "select max(t.price) s from results r join t on r.id = t.id";
    let args = ["convert", "in.ndjson", "-o", "-", "--table", "t=words.csv", "--sql", words];
    let done = place.run(&args).ok();
    done.says("table `t`: column `price` is text because of 1 of its 3 cells, one at words.csv line 3 (byte ");
    // `schema` and `explain` say the same of what they read.
    for args in [["schema", "words.csv"], ["explain", "words.csv"]] {
        let done = place.run(&args).ok();
        done.says("column `price` is text because of 1 of its 3 cells, one at words.csv line 3 (byte ")
            .says("--in-null");
    }
    let done = place.run(&[&args[..], &config].concat()).ok();
    assert!(done.text() == "{\"s\":2}\n" && !done.stderr.contains("is text"), "{}", done.stderr);
    // A flag precedes the file, and what the file says is no error for other formats.
    place.run(&["convert", "in.ndjson", "-o", "-", config[0], config[1]]).ok();
    let done = place.run(&["convert", "in.csv", "-o", "-", config[0], config[1], "--in-decimal", "."]).ok();
    assert_eq!(done.text(), "{\"id\":1,\"v\":\"3,5\"}\n");
    place.write("config.toml", "in_quote = 'none'\nin_decimal = 'x'\n");
    let done = place.run(&["convert", "in.csv", "-o", "-", config[0], config[1]]).code(exit::USAGE);
    done.says("in_decimal").says("must be `,` or `.`");
}

#[test]
fn numbers_beyond_doubles_are_decimals() {
    let input = "p,q\n10.50,1\n12345678901234567.25,20000000000000000000\n,3\n0.1,-4\n";
    let rows = "{\"p\":10.50,\"q\":1}\n{\"p\":12345678901234567.25,\"q\":20000000000000000000}\n\
                {\"p\":null,\"q\":3}\n{\"p\":0.1,\"q\":-4}\n";
    for size in ["5", "1MiB"] {
        let place = Place::new().morsels(size);
        place.write("in.csv", input);
        assert_eq!(place.run_line("convert in.csv -o - --schema-from full").ok().text(), rows);
        assert_eq!(place.run_line("convert in.csv -o - --to csv").ok().text(), input);
        place.run_line("convert in.csv -o x.parquet").ok();
        let back = place.run_line("convert x.parquet -o -").ok();
        assert_eq!(
            back.text(),
            "{\"p\":10.50,\"q\":1}\n{\"p\":12345678901234567.25,\"q\":20000000000000000000}\n\
             {\"p\":null,\"q\":3}\n{\"p\":0.10,\"q\":-4}\n"
        );
        let done = place.run(&["convert", "in.csv", "-o", "-", "--sql", "select sum(p) s from results"]).ok();
        assert_eq!(done.text(), "{\"s\":12345678901234577.85}\n");
        // Expressions that pass such a number on keep it, beside integers too.
        place.write("pass.csv", "v,u\n1234567890123456.78,1\n-2,3\n,4\n");
        for (with, expected) in [
            ("coalesce(v, u)", ["1234567890123456.78", "-2.00", "4.00"]),
            ("coalesce(v, 0)", ["1234567890123456.78", "-2.00", "0.00"]),
            ("if(u = 1, v, u)", ["1234567890123456.78", "3.00", "4.00"]),
            ("nullif(v, -2)", ["1234567890123456.78", "null", "null"]),
            ("case when u > 1 then v else -1 end", ["-1.00", "-2.00", "null"]),
        ] {
            place.run(&["convert", "pass.csv", "-o", "pass.parquet", "--with", &format!("w = {with}")]).ok();
            let done = place.run(&["convert", "pass.parquet", "-o", "-", "--select", "w"]).ok();
            let lines = expected.map(|value| format!("{{\"w\":{value}}}\n")).concat();
            assert_eq!(done.text(), lines, "{with}");
        }
        // A computed column of doubles, which an integer beyond them makes text, has one form of numbers.
        place.write("wide.csv", format!("n\n0.5\n2\n{}9007199254740991\n2\n0.10\n", "4\n".repeat(20)));
        place.run(&["convert", "wide.csv", "-o", "wide.parquet", "--with", "n = n * 3"]).ok();
        let done = place.run(&["convert", "wide.parquet", "-o", "-", "--to", "csv"]).ok();
        assert_eq!(
            done.text(),
            format!("n\n1.5\n6.0\n{}27021597764222973\n6.0\n0.30000000000000004\n", "12.0\n".repeat(20))
        );
        // Integers before the first fraction, and a wider decimal late.
        let late: String = (0..2000).map(|i| format!("{i}\n")).collect();
        place.write("late.csv", format!("n\n{late}12345678901234567.5\n{late}1.125\n"));
        place.run_line("convert late.csv -o late.parquet").ok();
        let shown = place.run_line("schema late.csv").ok();
        assert!(shown.text().contains("decimal(20,3)"), "{}", shown.text());
        let done = place.run(&["convert", "late.parquet", "-o", "-", "--where", "n > 2000 or n = 1.125"]).ok();
        assert_eq!(done.text(), "{\"n\":12345678901234567.500}\n{\"n\":1.125}\n");
    }
    let place = Place::new();
    place.write("in.csv", input);
    let schema = place.run_line("schema in.csv --format json").ok().text().to_owned();
    place.write("schema.json", &schema);
    place.run_line("convert in.csv -o y.parquet --schema schema.json").ok();
}

#[test]
fn the_report_names_columns_that_few_cells_made_text() {
    for size in ["100", "1MiB"] {
        let place = Place::new().morsels(size);
        let rows: String = (0..1000)
            .map(|i| match i {
                400 => "secret,1,\"1.234,5\",x400,true\n".to_owned(),
                700 => format!("{i},007,2.5,x,true\n"),
                900 => format!("{i},1,2.5,x,maybe\n"),
                _ => format!("{i},1,2.5,x{i},false\n"),
            })
            .collect();
        place.write("in.csv", format!("word,code,price,name,flag\n{rows}"));
        let done = place.run_line("convert in.csv -o x.parquet").ok();
        let done = done
            .says("column `word` is text because of 1 of its 1 000 cells, one at in.csv line 402 (byte ")
            .says("list it with `--in-null`")
            .says("column `code` is text because of 1 of its 1 000 cells, one at in.csv line 702 (byte ")
            .says("column `price` is text because of 1 of its 1 000 cells, one at in.csv line 402 (byte ")
            .says("as with `--in-decimal ,` `--in-thousands '.'`")
            .says("column `flag` is text because of 1 of its 1 000 cells, one at in.csv line 902 (byte ");
        let report = &done.stderr;
        assert!(
            !report.contains("column `name`") && !report.contains("secret") && !report.contains("maybe"),
            "{report}"
        );
        // A query reads the same columns; where all is text, nothing was made text.
        let sql = "select count(*) n from results";
        place.run(&["convert", "in.csv", "-o", "-", "--sql", sql]).ok().says("column `word` is text");
        let done = place.run_line("convert in.csv -o x.csv").ok();
        assert!(!done.stderr.contains("is text because"), "{}", done.stderr);
        // The flag helps, and the note is gone.
        let done = place.run_line("convert in.csv -o y.parquet --in-null secret,007,maybe").ok();
        assert!(!done.stderr.contains("column `word`") && done.stderr.contains("column `price`"), "{}", done.stderr);
    }
}

#[test]
fn more_columns_than_the_limit_are_refused_with_what_helps() {
    let place = Place::new();
    let names: Vec<String> = (0..5000).map(|i| format!("c{i}")).collect();
    let values: Vec<String> = (0..5000).map(|i| i.to_string()).collect();
    place.write("wide.csv", format!("{}\n{}\n", names.join(","), values.join(",")));
    let record: Vec<String> = (0..5000).map(|i| format!("\"c{i}\":{i}")).collect();
    place.write("wide.ndjson", format!("{{{}}}\n", record.join(",")));
    let done = place.run_line("convert wide.csv -o x.parquet").code(exit::BAD_DATA);
    done.says("the header has 5000 columns, more than the limit of 4096").hints("`--max-columns N`");
    let done = place.run_line("convert wide.ndjson -o x.parquet").code(exit::USAGE);
    done.says("more than 4096 columns").hints("`--max-columns N`");
    for input in ["wide.csv", "wide.ndjson"] {
        place.run_line(&format!("convert {input} -o x.parquet --max-columns 5000")).ok();
        let done = place.run_line("convert x.parquet -o - --max-columns 5000 --select c4999").ok();
        assert_eq!(done.text(), "{\"c4999\":4999}\n");
    }
    place.write("config.toml", "max_columns = 2\n");
    place.write("three.csv", "a,b,c\n1,2,3\n");
    for command in ["convert three.csv -o -", "schema three.csv", "explain three.csv"] {
        let done = place.run_line(&format!("{command} --config config.toml")).code(exit::BAD_DATA);
        done.says("more than the limit of 2").hints("`max_columns` in the configuration file");
    }
    place.run_line("convert three.csv -o - --max-columns 0").code(exit::USAGE).says("it must be from 1 to 65536");
}
