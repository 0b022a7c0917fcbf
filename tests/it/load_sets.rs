//! Loads of several runs: each is known in the table by the key of its run, alone or with others.

use std::sync::Arc;
use std::thread;

use arrow_array::{ArrayRef, Int64Array};
use drawoff::column::{Batch, Field, Schema, Type, TypeMerge};
use drawoff::warehouse::postgres::{self, Environment, Postgres as PostgresSystem};
use drawoff::warehouse::sqlite::{Location, Sqlite};
use drawoff::warehouse::{
    Begun, Committed, LedgerRow, LoadEnd, LoadError, LoadIdentity, LoadMember, LoadMode, LoadRequest, LoadState,
    NulPolicy, TableTarget, Warehouse, Widening,
};

use crate::support::Place;
use crate::support::postgres::Postgres;

/// The outcome of a load that did not fail.
#[derive(Debug)]
enum Outcome {
    Loaded(u64),
    Already(Box<LedgerRow>),
}

impl Outcome {
    fn rows_loaded(&self) -> u64 {
        match self {
            Outcome::Loaded(rows) => *rows,
            Outcome::Already(row) => panic!("was loaded already: {row:?}"),
        }
    }

    fn already(self) -> LedgerRow {
        match self {
            Outcome::Already(row) => *row,
            Outcome::Loaded(rows) => panic!("loaded {rows} rows"),
        }
    }
}

/// A load as it is asked for.
#[derive(Clone)]
struct Ask {
    warehouse: Arc<dyn Warehouse>,
    mode: LoadMode,
    load_column: bool,
    again: bool,
}

impl Ask {
    fn target(&self, runs: &[&str]) -> TableTarget {
        let member = |run: &&str| LoadMember {
            origin: format!("run {run} block 2"),
            run_id: Some((*run).to_owned()),
            block: Some(2),
            source: format!("run {run} block 2 (final)"),
        };
        let mut identity = LoadIdentity { plan: "[1]".into(), ..LoadIdentity::default() };
        identity.set_members(runs.iter().map(member).collect());
        TableTarget {
            warehouse: self.warehouse.clone(),
            table: "people".into(),
            mode: self.mode.clone(),
            load_column: self.load_column.then(|| "load_key".into()),
            again: self.again,
            files: None,
            commit_every: None,
            nul: NulPolicy::Reject,
            identity,
        }
    }

    /// Loads one row with each of `ids`, as the rows of `runs`.
    fn load(&self, runs: &[&str], ids: &[i64]) -> Result<Outcome, LoadError> {
        let target = self.target(runs);
        let cancel = drawoff::sink::UploadControl::default();
        let request = LoadRequest {
            target: &target,
            widening: Widening::Evolve,
            type_merge: TypeMerge::Json,
            may_start_over: false,
            cancel,
        };
        let mut load = match self.warehouse.begin(request)? {
            Begun::Load(load) => load,
            Begun::Loaded(row) => return Ok(Outcome::Already(Box::new(row))),
            Begun::Files(_) => unreachable!("these systems take rows"),
        };
        let ty = Type::Int { fits_double: true };
        let schema = Arc::new(Schema::new(vec![Field::new("id", ty)]));
        load.check(&schema, &schema)?;
        let rows = ids.len() as u64;
        let column: ArrayRef = Arc::new(Int64Array::from(ids.to_vec()));
        let batch = Batch::new(schema.clone(), vec![column], ids.len());
        load.append(rows, load.encoder().encode(&batch, Vec::new())?, &schema)?;
        load.finish(&schema, &LoadEnd { rows, rejected: 0, digests: Some(vec!["ab".repeat(32)]), chunk: None })?;
        Ok(match load.commit()? {
            Committed::Loaded(summary) => Outcome::Loaded(summary.rows),
            Committed::Already(row) => Outcome::Already(Box::new(row)),
        })
    }

    fn listed(&self) -> Vec<LedgerRow> {
        self.warehouse.loads(Some("people"), &drawoff::sink::UploadControl::default()).unwrap()
    }

    fn with(&self, change: impl FnOnce(&mut Ask)) -> Ask {
        let mut other = self.clone();
        change(&mut other);
        other
    }
}

/// Takes the steps that are the same in every system with transactions. `ids` reads the ids of the table.
fn check(ask: &Ask, ids: &dyn Fn() -> String) {
    assert_eq!(ask.load(&["r1", "r2"], &[1, 2]).unwrap().rows_loaded(), 2);
    assert_eq!(ask.load(&["r2", "r1", "r2"], &[2, 1]).unwrap().already().rows, 2);
    let alone = ask.load(&["r2"], &[2]).unwrap().already();
    assert_eq!((alone.run_id.as_deref(), alone.rows), (Some("r2"), 2));
    assert_eq!(alone.set.map(|set| set.members), Some(2));
    match ask.load(&["r3", "r1"], &[3, 1]) {
        // The rows of `r1` cannot be replaced without those of `r2`.
        Err(LoadError::PartlyLoaded { loaded, missing, may_replace, .. }) => {
            assert_eq!((loaded, missing, may_replace), (vec!["r1".to_owned()], vec!["r3".to_owned()], false));
        }
        other => panic!("{other:?}"),
    }
    let find = |runs: &[&str]| {
        let target = ask.target(runs);
        ask.warehouse.find_load(&target, &drawoff::sink::UploadControl::default())
    };
    assert!(matches!(find(&["r3", "r1"]), Err(LoadError::PartlyLoaded { .. })));
    assert!(find(&["r3", "r4"]).unwrap().is_none() && find(&["r1", "r2"]).unwrap().is_some());
    assert_eq!(ask.load(&["r3"], &[3]).unwrap().rows_loaded(), 1);
    match ask.load(&["r3", "r4"], &[3, 4]) {
        Err(LoadError::PartlyLoaded { may_replace, .. }) => assert!(may_replace),
        other => panic!("{other:?}"),
    }
    let without = ask.with(|ask| ask.load_column = false);
    match without.load(&["r3", "r4"], &[3, 4]) {
        Err(LoadError::PartlyLoaded { may_replace, .. }) => assert!(!may_replace, "its rows have no key to tell"),
        other => panic!("{other:?}"),
    }
    // Each is loaded, by two loads.
    assert_eq!(ask.load(&["r1", "r2", "r3"], &[1, 2, 3]).unwrap().already().rows, 3);
    assert_eq!(ids(), "1,2,3");
    let listed = ask.listed();
    let runs: Vec<_> = listed.iter().map(|row| row.run_id.clone().unwrap_or_default()).collect();
    assert_eq!(runs[0], "r3");
    assert_eq!(runs.len(), 3);
    assert!(listed.iter().all(LedgerRow::stands));

    // Rows of a set are told from others, not from each other.
    let again = ask.with(|ask| ask.again = true);
    assert!(matches!(again.load(&["r1"], &[10]), Err(LoadError::Unsupported { .. })));
    assert_eq!(again.load(&["r1", "r2", "r3"], &[11, 12, 13]).unwrap().rows_loaded(), 3);
    assert_eq!(ids(), "11,12,13");
    assert!(ask.listed().iter().all(|row| row.set.as_ref().is_some_and(|set| set.members == 3)));

    // A replacement stands only for the same runs.
    let replace = ask.with(|ask| ask.mode = LoadMode::Replace);
    assert_eq!(replace.load(&["r1", "r2"], &[1, 2]).unwrap().rows_loaded(), 2);
    assert_eq!(replace.load(&["r1", "r2"], &[1, 2]).unwrap().already().rows, 2);
    assert_eq!(replace.load(&["r1"], &[1]).unwrap().rows_loaded(), 1);
    assert_eq!(replace.load(&["r1", "r2"], &[1, 2]).unwrap().rows_loaded(), 2);
    assert_eq!(ids(), "1,2");
    let stands = |run: &str| {
        let listed = ask.listed();
        let row = listed.iter().find(|row| row.run_id.as_deref() == Some(run)).unwrap();
        row.state
    };
    assert_eq!((stands("r1"), stands("r3")), (LoadState::Loaded, LoadState::Replaced));
}

#[test]
fn runs_that_are_loaded_together_are_each_known_to_postgres() {
    for server in Postgres::versions() {
        let db = server.database();
        let url = server.url(&db);
        let settings = postgres::Settings::resolve(&url, &Environment::new(|_| None)).unwrap();
        let warehouse: Arc<dyn Warehouse> = Arc::new(PostgresSystem::new(settings));
        let ask = Ask { warehouse, mode: LoadMode::Append, load_column: true, again: false };
        check(&ask, &|| server.psql(&db, "SELECT string_agg(id::text, ',' ORDER BY id) FROM people"));

        // Of loads at once that share runs, one has them and the others say so.
        server.psql(&db, "DROP TABLE people");
        assert!(ask.listed().iter().all(|row| row.state != LoadState::Loaded));
        // A table that is made anew has the rows of no earlier load of this name.
        assert_eq!(ask.load(&["r5"], &[5]).unwrap().rows_loaded(), 1);
        assert_eq!(ask.load(&["r1"], &[1]).unwrap().rows_loaded(), 1);
        server.psql(&db, "DROP TABLE people");
        let outcomes: Vec<_> = thread::scope(|scope| {
            let loads = [["r1", "r2"], ["r2", "r3"], ["r3", "r1"]].map(|runs| {
                let ask = &ask;
                scope.spawn(move || ask.load(&runs, &[1, 2]))
            });
            loads.map(|load| load.join().unwrap()).into_iter().collect()
        });
        let loaded = outcomes.iter().filter(|outcome| matches!(outcome, Ok(Outcome::Loaded(2)))).count();
        let partly = outcomes.iter().filter(|outcome| matches!(outcome, Err(LoadError::PartlyLoaded { .. }))).count();
        assert_eq!((loaded, partly), (1, 2), "{outcomes:?}");
        assert_eq!(server.psql(&db, "SELECT count(*) FROM people"), "2");

        // A ledger of before there were sets gets its column.
        server.psql(&db, "ALTER TABLE _drawoff_loads DROP COLUMN details");
        assert_eq!(ask.listed().len(), 4);
        assert_eq!(ask.load(&["r7"], &[7]).unwrap().rows_loaded(), 1);
        assert_eq!(ask.load(&["r8", "r9"], &[8, 9]).unwrap().rows_loaded(), 2);
        assert_eq!(ask.load(&["r8"], &[8]).unwrap().already().set.map(|set| set.members), Some(2));
    }
}

#[test]
fn runs_that_are_loaded_together_are_each_known_to_sqlite() {
    let place = Place::new();
    let path = place.path("people.db");
    let location = Location::parse(&format!("sqlite:{}", path.display())).unwrap();
    let ask =
        Ask { warehouse: Arc::new(Sqlite::new(location)), mode: LoadMode::Append, load_column: true, again: false };
    let open = || rusqlite::Connection::open(&path).unwrap();
    let text = |sql: &str| open().query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    check(&ask, &|| text("SELECT group_concat(id) FROM (SELECT id FROM people ORDER BY id)"));

    open().execute_batch("DROP TABLE people; ALTER TABLE _drawoff_loads DROP COLUMN details").unwrap();
    assert!(ask.listed().iter().all(|row| row.state != LoadState::Loaded));
    assert_eq!(ask.load(&["r8", "r9"], &[8, 9]).unwrap().rows_loaded(), 2);
    assert_eq!(ask.load(&["r8"], &[8]).unwrap().already().set.map(|set| set.members), Some(2));
    // Rows that were loaded without a column for the key are not replaced, and not doubled.
    let without = ask.with(|ask| ask.load_column = false);
    assert_eq!(without.load(&["r5"], &[5]).unwrap().rows_loaded(), 1);
    let again = ask.with(|ask| ask.again = true);
    assert!(matches!(again.load(&["r5"], &[5]), Err(LoadError::Unsupported { .. })));
    assert_eq!(text("SELECT group_concat(id) FROM (SELECT id FROM people ORDER BY id)"), "5,8,9");
}

#[test]
fn clickhouse_refuses_several_runs_in_one_load() {
    use drawoff::warehouse::clickhouse::{ClickHouse, Settings};
    let settings = Settings::resolve("clickhouse://127.0.0.1:1/db", |_| None).unwrap();
    let warehouse: Arc<dyn Warehouse> = Arc::new(ClickHouse::new(settings));
    let ask = Ask { warehouse: warehouse.clone(), mode: LoadMode::Append, load_column: false, again: false };
    assert!(matches!(ask.load(&["r1", "r2"], &[1, 2]), Err(LoadError::Unsupported { hint: Some(_), .. })));
    assert!(warehouse.check_options(&ask.target(&["r1"])).is_ok());
}
