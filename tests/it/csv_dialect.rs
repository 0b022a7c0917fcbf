//! Quotes, marks of numbers, decimals and the notes on columns that few cells made text.

use crate::support::{Place, exit};

#[test]
fn numbers_beyond_doubles_are_decimals() {
    let input = "p,q\n10.50,1\n12345678901234567.25,20000000000000000000\n,3\n0.1,-4\n";
    let rows = "{\"p\":10.50,\"q\":1}\n{\"p\":12345678901234567.25,\"q\":20000000000000000000}\n\
                {\"p\":null,\"q\":3}\n{\"p\":0.1,\"q\":-4}\n";
    for size in ["5", "1MiB"] {
        let place = Place::new().env("DRAWOFF_MORSEL_SIZE", size);
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
