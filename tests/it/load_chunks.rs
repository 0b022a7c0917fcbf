//! Loads in chunks: each chunk is in the table once, and a load that ended early goes on behind them.

use std::io::Write as _;
use std::process::{Child, ChildStdin, Stdio};

use serde_json::json;

use crate::support::postgres::Postgres;
use crate::support::relay::{Cut, CuttingRelay};
use crate::support::{Done, Morsels as _, Place, exit, wait_for};

/// A system with a database of its own, and the table `t` in it.
struct Target<'a> {
    url: String,
    /// Reads one value.
    ask: Box<dyn Fn(&str) -> String + 'a>,
}

impl Target<'_> {
    fn ids(&self) -> String {
        (self.ask)(
            "SELECT coalesce(count(*), 0) || ' ' || coalesce(count(DISTINCT id), 0) || ' ' || coalesce(sum(id), 0) FROM t",
        )
    }

    fn rows(&self) -> usize {
        (self.ask)("SELECT count(*) FROM t").parse().unwrap()
    }

    fn chunks(&self) -> String {
        (self.ask)("SELECT count(*) || ' ' || coalesce(sum(rows), 0) FROM _drawoff_loads WHERE state = 'chunk'")
    }
}

/// Calls `check` with each system that has transactions.
fn with_targets(check: impl Fn(&Place, &Target<'_>)) {
    for server in Postgres::versions() {
        let db = server.database();
        // Before the first chunk there is no table.
        let ask = |sql: &str| server.try_psql(&db, sql).unwrap_or_else(|_| "0".to_owned());
        check(&Place::new(), &Target { url: server.url(&db), ask: Box::new(ask) });
    }
    let place = Place::new();
    let path = place.path("people.db");
    let ask = |sql: &str| {
        let db = rusqlite::Connection::open(&path).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(60)).unwrap();
        let value = db.query_row(sql, [], |row| row.get::<_, rusqlite::types::Value>(0));
        match value {
            Ok(rusqlite::types::Value::Integer(n)) => n.to_string(),
            Ok(rusqlite::types::Value::Text(text)) => text,
            Ok(other) => format!("{other:?}"),
            Err(_) => "0".to_owned(),
        }
    };
    let url = format!("sqlite:{}", path.display());
    check(&place, &Target { url, ask: Box::new(ask) });
}

/// Ten records of which steps and rejects make other numbers of rows: record 10n+3 is bad, 10n+5 is filtered, 10n+7 becomes
/// three rows, and 10n+9 is a double.
fn records(from: usize, to: usize) -> String {
    (from..to)
        .map(|n| match n % 10 {
            3 => "{broken\n".to_owned(),
            5 => format!("{}\n", json!({"id": n, "part": ["x"], "kept": false})),
            7 => format!("{}\n", json!({"id": n, "part": ["a", "b", "c"], "kept": true})),
            9 => format!("{}\n", json!({"id": n - 1, "part": ["x"], "kept": true})),
            _ => format!("{}\n", json!({"id": n, "part": ["x"], "kept": true, "late": (n >= 420).then_some(n)})),
        })
        .collect()
}

const STEPS: [&str; 7] = ["--where", "kept", "--dedupe", "id", "--explode", "part", "--on-bad-record"];

fn args<'a>(source: &'a str, url: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["convert", source, "-o", url, "--into", "t", "--load-key", "k"];
    args.extend(STEPS);
    args.push("skip");
    args.extend(more);
    args
}

/// Starts a load from a pipe, and sends it `text`. The pipe stays open.
fn start(place: &Place, url: &str, text: &str, more: &[&str]) -> (Child, ChildStdin) {
    let mut command = place.command(&args("-", url, more));
    command.morsels("300");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    (child, stdin)
}

/// Rows of `records(0, 1000)` under the steps: per ten records, 0 1 2 4 6 7a 7b 7c 8.
const ALL: &str = "900 700 449700";

#[test]
fn a_load_that_was_killed_between_chunks_goes_on_at_the_record() {
    with_targets(|place, target| {
        place.write("all.ndjson", records(0, 1000));
        // Chunks of 50 rows end within 7a 7b 7c, and get the rest of these rows.
        for (sent, chunks, rows) in [(60, 1, 50), (300, 5, 250), (650, 11, 550)] {
            (target.ask)("DROP TABLE IF EXISTS t");
            (target.ask)("DROP TABLE IF EXISTS _drawoff_loads");
            let (mut child, stdin) = start(place, &target.url, &records(0, sent + 100), &["--commit-every", "50"]);
            // At least these: the last records that were sent may wait in a buffer.
            wait_for("the chunks", || {
                ((target.ask)("SELECT count(*) FROM t").parse().unwrap_or(0) >= rows).then_some(())
            });
            child.kill().unwrap();
            child.wait().unwrap();
            drop(stdin);
            let there = target.rows();
            assert!(there >= rows && there < 900, "{there}");
            let counted = target.chunks();
            let (n, sum) = counted.split_once(' ').unwrap();
            assert!(n.parse::<usize>().unwrap() >= chunks && sum == there.to_string(), "{counted}");

            let listed = place.run(&["loads", "ls", &target.url, "-o", "ndjson"]).ok().records();
            assert_eq!((listed.len(), &listed[0]["state"]), (1, &json!("incomplete")));
            assert_eq!(listed[0]["rows"], json!(there));
            // In one transaction, the rows that are there would be loaded again.
            place
                .run(&args("all.ndjson", &target.url, &[]))
                .code(exit::LOAD_REFUSED)
                .says("not complete")
                .hints("go on with it by the command that began it");
            let mut resume = place.command(&args("all.ndjson", &target.url, &["--commit-every", "70"]));
            resume.morsels("1000");
            let there = format!("went on behind {there} rows");
            Done::of(resume).code(exit::PARTIAL).says(&there).says("loaded 900 rows");
            assert_eq!(target.ids(), ALL);
            assert_eq!((target.ask)("SELECT count(*) FROM t WHERE late >= 420"), "348");
            let of_chunks = target.chunks();
            assert!(of_chunks.ends_with(" 900"), "{of_chunks}");
            place.run(&args("all.ndjson", &target.url, &["--commit-every", "9"])).says("nothing was changed");
            place.run(&args("all.ndjson", &target.url, &[])).says("nothing was changed");
            assert_eq!(target.ids(), ALL);
            let listed = place.run(&["loads", "ls", &target.url, "-o", "ndjson"]).ok().records();
            assert_eq!((listed.len(), &listed[0]["state"], &listed[0]["rows"]), (1, &json!("loaded"), &json!(900)));
        }
    });
}

#[test]
fn loads_in_chunks_at_once_have_each_row_once() {
    with_targets(|place, target| {
        place.write("all.ndjson", records(0, 1000));
        let command = |every: &str| {
            let mut command = place.command(&args("all.ndjson", &target.url, &["--commit-every", every]));
            command.morsels("1000");
            command.spawn().unwrap()
        };
        let started = ["50", "70", "400"].map(command);
        for child in started {
            Done::of_child("a load".into(), child).code(exit::PARTIAL);
        }
        assert_eq!(target.ids(), ALL);
        assert!(target.chunks().ends_with(" 900"));
    });
}

#[test]
fn loads_in_chunks_are_replaced_by_again() {
    with_targets(|place, target| {
        place.write("all.ndjson", records(0, 1000));
        let more = ["--load-column", "load_key", "--commit-every", "100"];
        let again = [&more[..], &["--again"]].concat();
        let (mut child, stdin) = start(place, &target.url, &records(0, 400), &more);
        wait_for("a chunk", || ((target.ask)("SELECT count(*) FROM t").parse().unwrap_or(0) >= 200).then_some(()));
        child.kill().unwrap();
        child.wait().unwrap();
        drop(stdin);
        // In one transaction it could replace them.
        let whole = ["--load-column", "load_key"];
        place.run(&args("all.ndjson", &target.url, &whole)).code(exit::LOAD_REFUSED).hints("--again");
        // Of a load that is not complete, and of one that is.
        for _ in 0..2 {
            place.run(&args("all.ndjson", &target.url, &again)).code(exit::PARTIAL).says("of the earlier load");
            assert_eq!(target.ids(), ALL);
            assert!(target.chunks().ends_with(" 900"));
        }
        // One that was killed goes on.
        let (mut child, stdin) = start(place, &target.url, &records(0, 400), &again);
        let has_begun = || (1..900).contains(&target.rows());
        wait_for("a chunk", || (has_begun() && target.rows() >= 200).then_some(()));
        child.kill().unwrap();
        child.wait().unwrap();
        drop(stdin);
        let there = target.rows();
        assert!((200..900).contains(&there), "{there}");
        let said = format!("went on behind {there} rows");
        place.write("other.ndjson", records(5, 1005));
        let other = place.run(&args("other.ndjson", &target.url, &again)).code(exit::LOAD_REFUSED);
        other.hints("`--again` without `--commit-every`");
        place.run(&args("all.ndjson", &target.url, &again)).code(exit::PARTIAL).says(&said);
        assert_eq!(target.ids(), ALL);
        assert!(target.chunks().ends_with(" 900"));
        // In one transaction.
        let whole = ["--load-column", "load_key", "--again"];
        place.run(&args("all.ndjson", &target.url, &whole)).code(exit::PARTIAL).says("of the earlier load");
        assert_eq!((target.ids(), target.chunks()), (ALL.to_owned(), "0 0".to_owned()));
        assert_eq!((target.ask)("SELECT count(DISTINCT load_key) FROM t"), "1");
    });
}

#[test]
fn a_merge_in_chunks_keeps_the_last_row_of_a_key() {
    with_targets(|place, target| {
        let text: String = (0..500).map(|n| format!("{}\n", json!({"id": n % 200, "n": n}))).collect();
        place.write("in.ndjson", text);
        let more = [
            "convert",
            "in.ndjson",
            "-o",
            &target.url,
            "--into",
            "t",
            "--load-key",
            "k",
            "--load",
            "merge",
            "--key",
            "id",
        ];
        let command = [&more[..], &["--commit-every", "60"]].concat();
        place.run(&command).ok();
        assert_eq!(target.ids(), "200 200 19900");
        assert_eq!((target.ask)("SELECT sum(n) FROM t"), (300..500).sum::<usize>().to_string());
        place.run(&command).ok().says("nothing was changed");
    });
}

/// A key names the rows, and other records in their place would take their number.
#[test]
fn a_load_of_other_records_does_not_go_on_behind_those_that_are_there() {
    with_targets(|place, target| {
        let text = |from: usize, to: usize| (from..to).map(|n| format!("{}\n", json!({"id": n}))).collect::<String>();
        let command = |source: &str| {
            let more = ["--into", "t", "--load-key", "k", "--commit-every", "100"];
            let sources: Vec<&str> = source.split(' ').collect();
            let mut command = place.command(&[&["convert"], &sources[..], &["-o", &target.url], &more[..]].concat());
            command.morsels("300");
            Done::of(command)
        };
        place.write("all.ndjson", text(0, 1000));
        place.write("half.ndjson", text(0, 450) + "{broken\n");
        place.write("other.ndjson", text(5000, 6000));
        place.write("short.ndjson", text(0, 300));
        place.write("a.ndjson", text(0, 500));
        place.write("b.ndjson", text(500, 1000));
        // The default policy stops at the bad record.
        command("half.ndjson").code(exit::BAD_DATA);
        assert_eq!(target.ids(), "400 400 79800");
        for other in ["other.ndjson", "b.ndjson a.ndjson"] {
            let said =
                "400 rows of this load are there, of the first 400 records, and the sources have another record 399";
            command(other).code(exit::LOAD_REFUSED).says(said).hints("in their order");
        }
        // The last record is the same, and one that makes no row is not.
        place.write("late.ndjson", text(0, 1000).replace("{\"id\":100}", "{\"id\":-100}"));
        let said =
            "400 rows of this load are there, of the first 400 records, and the sources have other records there";
        let done = command("late.ndjson").code(exit::LOAD_REFUSED).says(said).hints("in their order");
        assert!(!done.stderr.contains("--again"), "its rows cannot be told from others: {}", done.stderr);
        command("short.ndjson").code(exit::LOAD_REFUSED).says("the sources have only 300 records");
        assert_eq!(target.ids(), "400 400 79800");
        command("a.ndjson b.ndjson").ok().says("went on behind 400 rows in 4 chunks");
        assert_eq!(target.ids(), "1000 1000 499500");
    });
}

/// In a table of SQLite, their column is of text, and `"12"` is not 12 in every chunk.
#[test]
fn values_of_several_types_are_json_in_every_chunk() {
    with_targets(|place, target| {
        let values = [json!(12), json!("12"), json!(true), json!("é\"\n"), json!({"a": "b"}), json!(1.5), json!(null)];
        let record = |n: usize| format!("{}\n", json!({"id": n, "v": values[n % values.len()]}));
        place.write("in.ndjson", (0..140).map(record).collect::<String>());
        let more = ["--into", "t", "--load-key", "k", "--commit-every"];
        let command = |every| [&["convert", "in.ndjson", "-o", &target.url], &more[..], &[every]].concat();
        place.run(&command("9")).ok().says("committed in 16 chunks");
        let text = |n: usize| (target.ask)(&format!("SELECT coalesce(CAST(v AS text), 'null') FROM t WHERE id = {n}"));
        for n in 0..140 {
            let value: serde_json::Value = serde_json::from_str(&text(n)).unwrap();
            assert_eq!(value, values[n % values.len()], "{n}");
        }
    });
}

/// A chunk whose commit has no answer is known by the ledger.
#[test]
fn a_lost_answer_to_the_commit_of_a_chunk_costs_no_row() {
    let Some(server) = Postgres::shared() else { return };
    let (place, db) = (Place::new(), server.database());
    place.write("all.ndjson", records(0, 1000));
    for (plan, cut) in
        [Cut::ResponseTo(b"COMMIT"), Cut::Before(b"COMMIT"), Cut::Before(b"UPDATE \"public\".\"_drawoff")]
            .into_iter()
            .enumerate()
    {
        server.psql(&db, "DROP TABLE IF EXISTS t, _drawoff_loads");
        let relay = CuttingRelay::start(server.port, cut, 3);
        let url = format!("postgres://postgres@127.0.0.1:{}/{db}", relay.port);
        let done = place.run(&args("all.ndjson", &url, &["--commit-every", "100"])).code(exit::PARTIAL);
        assert!(relay.cuts() >= 3, "plan {plan}: {} cuts", relay.cuts());
        drop(done);
        let counts = server.psql(&db, "SELECT count(*), count(DISTINCT id), sum(id) FROM t").replace('|', " ");
        assert_eq!(counts, ALL, "plan {plan}");
    }
}

#[test]
fn loads_that_cannot_be_made_in_chunks_are_refused() {
    let place = Place::new();
    place.write("in.ndjson", "{\"id\":1}\n");
    let run = |url: &str, more: &[&str]| {
        let args = ["convert", "in.ndjson", "-o", url, "--into", "t", "--commit-every", "10"];
        place.run(&[&args[..], more].concat())
    };
    let key = ["--load-key", "k"];
    run("sqlite:a.db", &[]).code(exit::USAGE).says("needs to know the load").hints("--load-key");
    run("sqlite:a.db", &[&key[..], &["--load", "replace"]].concat()).code(exit::USAGE).says("cannot replace");
    run("sqlite:a.db", &[&key[..], &["-o", "a.parquet"]].concat()).code(exit::USAGE).says("only output");
    run("sqlite:a.db", &[&key[..], &["--sql", "SELECT * FROM input"]].concat()).code(exit::USAGE).says("query");
    run("clickhouse://127.0.0.1:1/db", &key).code(exit::USAGE).says("no transaction");
    run("a.parquet", &[]).code(exit::USAGE);
    assert_eq!(place.leftovers(), ["in.ndjson"]);
}
