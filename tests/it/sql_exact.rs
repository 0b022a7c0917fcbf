//! `--sql` computes exactly or fails: integers and decimals do not wrap around, infinities and dates outside the calendar do
//! not change with the output, and rows whose order a query does not change keep it.

use crate::support::{Done, Place, exit};

const MAX: &str = "{\"a\":9223372036854775807}\n";

fn query(input: &str, sql: &str) -> Done {
    Place::new().run_with_stdin(&["convert", "-", "-o", "-", "--sql", sql], input.as_bytes())
}

/// Each query fails with exit code 4, says `expected`, and shows no value of the data.
#[track_caller]
fn fails(input: &str, sql: &str, expected: &str) {
    let done = query(input, sql);
    assert_eq!(done.code, exit::BAD_DATA, "{sql}: {}", done.stderr);
    assert_eq!(done.text(), "", "{sql}");
    assert!(done.stderr.contains(expected), "{sql}: {}", done.stderr);
    assert!(!done.stderr.contains("99999999") && !done.stderr.contains("92233720"), "{sql}: {}", done.stderr);
}

#[track_caller]
fn gives(input: &str, sql: &str, expected: &str) {
    assert_eq!(query(input, sql).ok().text(), expected, "{sql}");
}

#[test]
fn integers_do_not_wrap_around() {
    for sum in ["a+1", "a*2", "-2-a", "a+a", "2*a"] {
        fails(MAX, &format!("select {sum} as x from results"), "exceeds the range of Int64");
        fails(
            MAX,
            &format!("select x from (select {sum} as x from results) where x > 0"),
            "exceeds the range of Int64",
        );
        fails(MAX, &format!("select max({sum}) as x from results group by a"), "exceeds the range of Int64");
    }
    let min = "{\"a\":-9223372036854775808}\n";
    fails(min, "select -a as x from results", "exceeds the range of Int64");
    fails(min, "select abs(a) as x from results", "overflow");
    fails(min, "select a-1 as x from results", "exceeds the range of Int64");
    gives(
        MAX,
        "select a-1 as x, 1+2*3 as y, -a as z from results",
        "{\"x\":9223372036854775806,\"y\":7,\"z\":-9223372036854775807}\n",
    );
    gives(MAX, "select a+cast(1 as decimal(38,0)) as x from results", "{\"x\":9223372036854775808}\n");
}

#[test]
fn sums_are_exact_or_fail() {
    let rows = |values: &[&str]| values.iter().map(|value| format!("{{\"k\":1,\"a\":{value}}}\n")).collect::<String>();
    let (max, nines) = ("9223372036854775807", "9".repeat(38));
    for sum in ["sum(a)", "sum(a) over ()", "sum(distinct a)"] {
        fails(&rows(&[max, "1"]), &format!("select {sum} as s from results"), "a sum exceeds the range of Int64");
        // Beyond the range on the way, and back: the order of rows does not matter.
        gives(
            &rows(&[max, "1", "-1"]),
            &format!("select {sum} as s from results limit 1"),
            &format!("{{\"s\":{max}}}\n"),
        );
    }
    fails(&rows(&[max, "1"]), "select k, sum(a) as s from results group by k", "a sum exceeds the range of Int64");
    let moving = "select sum(a) over (order by a rows between 1 preceding and current row) as s from results";
    gives(&rows(&["5", max, "-7"]), &format!("{moving} limit 2"), "{\"s\":-7}\n{\"s\":-2}\n");
    fails(&rows(&["5", max]), moving, "a sum exceeds the range of Int64");
    for sum in ["sum(a)", "sum(a) over ()"] {
        fails(
            &rows(&[&nines, &nines]),
            &format!("select {sum} as s from results"),
            "a sum exceeds the range of Decimal128(38, 0)",
        );
        gives(
            &rows(&[&nines, "1", "-1"]),
            &format!("select {sum} as s from results limit 1"),
            &format!("{{\"s\":{nines}}}\n"),
        );
    }
    gives(&rows(&["1.5", "2"]), "select sum(a) as s, avg(a) as m from results", "{\"s\":3.5,\"m\":1.75}\n");
    gives(&rows(&["null"]), "select sum(a) as s from results", "{\"s\":null}\n");
}

#[test]
fn values_that_outputs_hold_differently_are_errors() {
    let row = "{\"p\":\"x\",\"a\":1}\n";
    for (value, expected) in [
        ("a/0.0", "infinity or NaN"),
        ("make_array(a/0.0)", "infinity or NaN"),
        ("arrow_cast('NaN','Float32')", "infinity or NaN"),
        ("arrow_cast(2000000000,'Date32')", "outside the years 1 to 9999"),
        ("arrow_cast(9000000000000,'Timestamp(Second, None)')", "outside the years 1 to 9999"),
        ("make_date(-5,1,1)", "outside the years 1 to 9999"),
        ("arrow_cast(9223372036854775807,'Timestamp(Second, None)')", "overflow"),
    ] {
        let sql = format!("select p, {value} as x from results");
        fails(row, &sql, expected);
        for output in ["x.parquet", "x.csv", "x.arrow", "x/"] {
            let place = Place::new();
            place.write("in.ndjson", row);
            let mut line = vec!["convert", "in.ndjson", "-o", output, "--sql", &sql];
            if output.ends_with('/') {
                line.extend(["--partition-by", "p"]);
            }
            let done = place.run(&line);
            assert_eq!(done.code, exit::BAD_DATA, "{sql} to {output}: {}", done.stderr);
        }
    }
    gives(
        row,
        "select make_date(1,1,1) as x, make_date(9999,12,31) as y from results",
        "{\"x\":\"0001-01-01\",\"y\":\"9999-12-31\"}\n",
    );
}

#[test]
fn a_union_keeps_the_order_of_its_parts() {
    let n = 40_000;
    let input: String = (1..=n).map(|i| format!("{{\"id\":{i}}}\n")).collect();
    let done = query(&input, "select id from results union all select -id as id from results").ok();
    let expected: String = (1..=n).chain((1..=n).map(|i: i64| -i)).map(|i| format!("{{\"id\":{i}}}\n")).collect();
    assert!(done.text() == expected);
}
