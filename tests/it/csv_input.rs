//! CSV inputs in other dialects than RFC 4180 with commas.

use crate::support::{Place, exit};

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
