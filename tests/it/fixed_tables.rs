//! Loads into existing tables mean one thing, however the input is divided: under policies by which the columns stay as they are,
//! and for columns with a default.

use rusqlite::Connection;
use serde_json::Value;

use crate::support::postgres::Postgres;
use crate::support::{Done, Place, exit};

/// Sizes of morsels: fewer than a record, some records, and all; the default.
const MORSELS: [Option<&str>; 5] = [Some("64"), Some("300"), Some("2000"), Some("100000"), None];

/// Columns that both systems take.
const COLUMNS: &str = "id int, pad text, q int, v varchar(3)";

/// The system of a table.
enum System {
    Postgres(&'static Postgres, String),
    Sqlite,
}

impl System {
    /// SQLite, and PostgreSQL if it is installed.
    fn all() -> Vec<System> {
        let postgres = Postgres::shared().map(|server| System::Postgres(server, server.database()));
        postgres.into_iter().chain([System::Sqlite]).collect()
    }

    fn url(&self) -> String {
        match self {
            System::Postgres(server, db) => server.url(db),
            System::Sqlite => "sqlite:t.db".to_owned(),
        }
    }

    /// Makes the table `t`, and no other.
    fn make(&self, place: &Place, columns: &str) {
        match self {
            System::Postgres(server, db) => {
                server.psql(db, &format!("DROP TABLE IF EXISTS t, _drawoff_loads; CREATE TABLE t ({columns})"));
            }
            System::Sqlite => {
                let path = place.path("t.db");
                let _ = std::fs::remove_file(&path);
                Connection::open(&path).unwrap().execute_batch(&format!("CREATE TABLE t ({columns})")).unwrap();
            }
        }
    }

    /// Returns the text of one column of a query, with commas between rows.
    fn ask(&self, place: &Place, query: &str) -> String {
        match self {
            System::Postgres(server, db) => server.psql(db, query).replace('\n', ","),
            System::Sqlite => {
                let db = Connection::open(place.path("t.db")).unwrap();
                let mut statement = db.prepare(query).unwrap();
                let rows = statement.query_map([], |row| row.get::<_, Option<String>>(0)).unwrap();
                rows.map(|row| row.unwrap().unwrap_or_default()).collect::<Vec<_>>().join(",")
            }
        }
    }

    /// Loads `source` into `t`.
    fn load(&self, place: &Place, source: &str, division: &Division, more: &[&str]) -> Done {
        let _ = std::fs::remove_file(place.path("rejects.ndjson"));
        let url = self.url();
        let args = ["convert", source, "-o", &url, "--into", "t", "--rejects", "rejects.ndjson"];
        let mut command = place.command(&[&args[..], &["--workers", division.workers], more].concat());
        if let Some(size) = division.morsel {
            command.env("DRAWOFF_MORSEL_SIZE", size);
        }
        if let Some(size) = division.sample {
            command.env("DRAWOFF_SAMPLE_SIZE", size);
        }
        Done::of(command)
    }
}

/// A way in which the input is divided.
#[derive(Debug)]
struct Division {
    morsel: Option<&'static str>,
    sample: Option<&'static str>,
    workers: &'static str,
}

/// Calls `check` with all divisions whose samples are these.
fn each_division(samples: &[Option<&'static str>], mut check: impl FnMut(&Division)) {
    for morsel in MORSELS {
        for &sample in samples {
            for workers in ["1", "2"] {
                check(&Division { morsel, sample, workers });
            }
        }
    }
}

/// Returns line, path, reason and offset of each reject.
fn rejects(place: &Place) -> Vec<String> {
    let rejects = std::fs::read_to_string(place.path("rejects.ndjson")).unwrap_or_default();
    let shown = |line: &str| {
        let reject: Value = serde_json::from_str(line).unwrap();
        format!("{} {} {} {}", reject["line"], reject["path"].as_str().unwrap(), reject["reason"], reject["offset"])
    };
    rejects.lines().map(shown).collect()
}

/// Records of about 15 KB. The table has neither `n` nor `zz`.
fn records() -> String {
    let record = |id: usize| match id {
        50 => r#"{"id":50,"q":"x","pad":"y"}"#.to_owned(),
        120 => r#"{"id":120,"pad":7,"n":null}"#.to_owned(),
        201 => r#"{"id":201,"n":5}"#.to_owned(),
        202 => r#"{"n":"late","id":"bad"}"#.to_owned(),
        203 => r#"{"id":"bad","v":"long text","q":1}"#.to_owned(),
        260 => r#"{"zz":{"a":[1]},"n":1,"id":260}"#.to_owned(),
        300 => r#"{"id":300,"q":3,"v":"abc"}"#.to_owned(),
        301 => "{\"id\":301,".to_owned(),
        _ => format!("{{\"id\":{id},\"pad\":\"{}\"}}", "z".repeat(20)),
    };
    (1..=400).map(|id| record(id) + "\n").collect()
}

#[test]
fn records_are_frozen_out_alike_wherever_morsels_and_sample_end() {
    let place = Place::new();
    place.write("in.ndjson", records());
    // The first record, too.
    place.write("first.ndjson", "{\"id\":0,\"n\":1}\n".to_owned() + &records());
    for system in System::all() {
        let (mut expected, mut first) = (None, None);
        each_division(&[None, Some("500")], |division| {
            system.make(&place, COLUMNS);
            let frozen = ["--schema-policy", "freeze", "--on-bad-record", "skip"];
            system.load(&place, "in.ndjson", division, &frozen).code(exit::PARTIAL);
            let rows = system.ask(&place, "SELECT id || ':' || coalesce(pad, '') || coalesce(q, 0) FROM t ORDER BY id");
            let found = (rejects(&place), rows);
            assert_eq!(expected.get_or_insert_with(|| found.clone()), &found, "{division:?}");
            system.make(&place, COLUMNS);
            system.load(&place, "first.ndjson", division, &frozen).code(exit::PARTIAL);
            let found = rejects(&place);
            assert_eq!(first.get_or_insert_with(|| found.clone()), &found, "{division:?}");
        });
        let (found, rows) = expected.unwrap();
        let places: Vec<String> = found.iter().map(|f| f.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect();
        let mut known = vec!["50 q", "201 n", "202 n", "203 id", "260 zz", "301 "];
        assert_eq!(places, known);
        assert!(found[1].contains("\"the table has no such column\" 10"), "{found:?}");
        assert_eq!(found[2].rsplit(' ').next(), Some("1"), "{found:?}");
        assert!(rows.contains("120:70,") && rows.contains("300:3,"), "{rows}");
        // The same records, a line further on, with the one before.
        known.insert(0, "1 n");
        let first = first.unwrap();
        assert_eq!(first[0].split(' ').nth(1), Some("n"));
        assert_eq!(first.len(), known.len());
        assert_eq!(first[2].replacen("202", "201", 1), found[1]);
    }
}

#[test]
fn the_first_record_that_does_not_fit_ends_a_load_that_is_to_fail() {
    let place = Place::new();
    place.write("in.ndjson", records());
    let unknown = records().replacen("{\"id\":50,\"q\":\"x\"", "{\"id\":50,\"q\":5", 1);
    place.write("unknown.ndjson", &unknown);
    place.write("broken.ndjson", unknown.replacen("{\"id\":7,", "{\"id\":7", 1));
    for system in System::all() {
        each_division(&[None, Some("500")], |division| {
            let fails = ["--schema-policy", "fail", "--on-bad-record", "skip"];
            for (source, line, field) in
                [("in.ndjson", 50, "q"), ("unknown.ndjson", 201, "n"), ("broken.ndjson", 201, "n")]
            {
                system.make(&place, COLUMNS);
                let done = system.load(&place, source, division, &fails).code(exit::SCHEMA_CHANGED);
                let place_of = format!("{source} line {line} ");
                assert!(done.stderr.contains(&place_of), "{division:?}: {}", done.stderr);
                let done = done.says(&format!("field `{field}`")).says("does not fit the table");
                done.hints("--schema-policy freeze");
                assert_eq!(system.ask(&place, "SELECT CAST(count(*) AS text) FROM t"), "0");
            }
            // A record that is none is no matter of the schema.
            system.make(&place, COLUMNS);
            let done = system.load(&place, "broken.ndjson", division, &["--schema-policy", "fail"]);
            let done = done.code(exit::BAD_DATA);
            assert!(done.stderr.contains("broken.ndjson line 7 "), "{division:?}: {}", done.stderr);
        });
    }
}

/// Behind steps, and in CSV, a row with a value in a column that the table lacks does not fit; an empty one does.
#[test]
fn columns_behind_steps_and_of_csv_are_judged_alike() {
    let place = Place::new();
    let row = |id: usize| match id {
        90 => "90,x,,\n".to_owned(),
        150 => "150,1,ab,new\n".to_owned(),
        _ => format!("{id},{},,\n", id % 7),
    };
    place.write("in.csv", "id,q,v,n\n".to_owned() + &(1..=300).map(row).collect::<String>());
    place.write("in.ndjson", records());
    for system in System::all() {
        let mut expected = None;
        each_division(&[None, Some("200")], |division| {
            let frozen = ["--schema-policy", "freeze", "--on-bad-record", "skip"];
            system.make(&place, COLUMNS);
            system.load(&place, "in.csv", division, &frozen).code(exit::PARTIAL);
            let csv = rejects(&place);
            assert_eq!(system.ask(&place, "SELECT CAST(count(*) AS text) FROM t"), "298", "{division:?}");
            system.make(&place, COLUMNS);
            let steps = ["--rename", "n=m", "--where", "id is null or id <> 201"];
            system.load(&place, "in.ndjson", division, &[&frozen[..], &steps].concat()).code(exit::PARTIAL);
            let found = (csv, rejects(&place));
            assert_eq!(expected.get_or_insert_with(|| found.clone()), &found, "{division:?}");
        });
        let (csv, steps) = expected.unwrap();
        let places = |found: &[String]| -> Vec<String> {
            found.iter().map(|f| f.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
        };
        // The header is the first line.
        assert_eq!(places(&csv), ["91 q", "151 n"], "{csv:?}");
        // The condition is false for texts.
        assert_eq!(places(&steps), ["50 q", "260 m", "301 "], "{steps:?}");
    }
}

/// Keys that are data do not exhaust the columns: their records do not fit.
#[test]
fn any_number_of_other_keys_is_frozen_out() {
    let place = Place::new();
    let records: String = (0..9000).map(|i| format!("{{\"id\":{i}}}\n{{\"id\":{i},\"k{i}\":1}}\n")).collect();
    place.write("in.ndjson", records);
    for system in System::all() {
        system.make(&place, COLUMNS);
        let division = Division { morsel: Some("4000"), sample: None, workers: "2" };
        let frozen = ["--schema-policy", "freeze", "--on-bad-record", "skip"];
        system.load(&place, "in.ndjson", &division, &frozen).code(exit::PARTIAL).says("9 000 rejected");
        assert_eq!(system.ask(&place, "SELECT CAST(count(*) AS text) FROM t"), "9000");
    }
}

/// The first records end at a byte of the input, and so decide alike on a default.
#[test]
fn the_first_records_decide_alike_on_defaults() {
    let Some(server) = Postgres::shared() else { return };
    let (place, system) = (Place::new(), System::Postgres(server, server.database()));
    let records = |at: usize, record: &str| -> String {
        let all = (0..400).map(|id| if id == at { record.to_owned() } else { format!("{{\"id\":{id}}}") });
        all.map(|record| record + "\n").collect()
    };
    // About 4,400 bytes, of which the sample has 2,000: the records to 180.
    let bad = r#"{"id":"x","q":3}"#;
    for (at, definition, record, code, rows) in [
        (5, "q int DEFAULT 7", bad, exit::PARTIAL, "0:399"),
        (150, "q int DEFAULT 7", bad, exit::PARTIAL, "0:399"),
        (200, "q int DEFAULT 7", bad, exit::PARTIAL, "7:399"),
        (390, "q int DEFAULT 7", bad, exit::PARTIAL, "7:399"),
        (150, "q int DEFAULT 7", r#"{"id":1,"q":3}"#, 0, "0:399,3:1"),
        (390, "q int DEFAULT 7", r#"{"id":1,"q":3}"#, 0, "0:399,3:1"),
        (150, "q int NOT NULL DEFAULT 7", r#"{"id":1,"q":3}"#, exit::PARTIAL, "3:1"),
        (390, "q int NOT NULL DEFAULT 7", r#"{"id":1,"q":3}"#, exit::LOAD_REFUSED, ""),
        (390, "q int NOT NULL DEFAULT 7", bad, exit::PARTIAL, "7:399"),
    ] {
        place.write("in.ndjson", records(at, record));
        each_division(&[Some("2000")], |division| {
            system.make(&place, &format!("id int, {definition}"));
            let done = system.load(&place, "in.ndjson", division, &["--on-bad-record", "skip"]).code(code);
            let counts = "SELECT coalesce(q, 0) || ':' || count(*) FROM t GROUP BY q ORDER BY coalesce(q, 0)";
            assert_eq!(system.ask(&place, counts), rows, "{at} {definition} {division:?}: {}", done.stderr);
        });
    }
}
