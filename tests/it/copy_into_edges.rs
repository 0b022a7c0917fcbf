//! `--copy-into` where a load has not ended plainly: errors behind a commit, tables that are gone, statements that were executed
//! in part, and messages with values.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::copy_into::{SERVICES, is_copy, service, with_tokens};
use crate::support::cloud::{FakeCloud, Fault};
use crate::support::{Done, exit};

/// The faults of the copies of one service, in order; none behind the last.
fn with_faults(name: &str, faults: &'static [Option<Fault>]) -> (FakeCloud, &'static str, String) {
    let next = Arc::new(AtomicUsize::new(0));
    service(name, 2, move |_, request| match is_copy(request) {
        true => faults.get(next.fetch_add(1, Ordering::SeqCst)).copied().flatten(),
        false => None,
    })
}

/// The second of two sendings has put the rows there, and neither says so: nothing is taken back.
#[test]
fn errors_that_may_come_behind_a_commit_keep_the_claim() {
    let setting = with_tokens();
    let (fake, output, url) =
        with_faults("databricks", &[Some(Fault::Fails("INTERNAL_ERROR", "lost")), Some(Fault::Ends("FAILED"))]);
    let first = setting.pull(output, &url, &[]);
    assert_ne!(first.code, exit::LOAD_REFUSED, "{}", first.stderr);
    assert_eq!((fake.entries(), fake.copies()), (1, 1), "{}", first.stderr);
    setting.pull(output, &url, &["--max-file-rows", "1"]).ok();
    assert_eq!((fake.loads(), fake.copies()), (1, 1));
}

/// Conflicts pass: the same files are copied again.
#[test]
fn a_copy_that_another_writer_was_in_the_way_of_is_sent_again() {
    let setting = with_tokens();
    const CONFLICT: Fault = Fault::Fails("BAD_REQUEST", "[DELTA_CONCURRENT_APPEND] a concurrent transaction");
    let (fake, output, url) = with_faults("databricks", &[Some(CONFLICT), Some(CONFLICT), Some(CONFLICT)]);
    setting.pull(output, &url, &[]).ok().says("loaded 2 rows");
    assert_eq!((fake.loads(), fake.copies()), (1, 1));
}

/// The record of a load is deleted only where its rows are not there: the hint asks to look first, and not where a right is
/// missing.
#[test]
fn hints_of_a_load_that_another_command_began_ask_to_look_first() {
    const OTHER: Fault = Fault::Fails("BAD_REQUEST", "PATH_NOT_FOUND");
    const DENIED: Fault = Fault::Fails("BAD_REQUEST", "[INSUFFICIENT_PERMISSIONS] no MODIFY");
    let setting = with_tokens();
    let (fake, output, url) = with_faults(
        "databricks",
        &[Some(Fault::TakenUp), Some(Fault::TakenUp), Some(DENIED), Some(DENIED), Some(OTHER), Some(OTHER)],
    );
    setting.pull(output, &url, &[]).code(exit::LOAD_REFUSED);
    let denied = setting.pull(output, &url, &[]).code(exit::LOAD_REFUSED).hints("give this user the right");
    assert!(!denied.stderr.contains("delete"), "{}", denied.stderr);
    setting.pull(output, &url, &[]).code(exit::LOAD_REFUSED).hints("look first whether").hints("to `loaded`");
    setting.pull(output, &url, &[]).ok();
    assert_eq!((fake.loads(), fake.copies()), (1, 1));
}

/// The message of a failure whose outcome is unknown has no values of rows, and no token.
#[test]
fn messages_have_no_values_and_no_token() {
    const TEXT: &str = "cannot cast 'ada@example.com' for marked-token-1";
    let setting = with_tokens();
    let (fake, output, url) = with_faults(
        "databricks",
        &[Some(Fault::Status(503)), Some(Fault::Fails("BAD_REQUEST", TEXT)), Some(Fault::Fails("BAD_REQUEST", TEXT))],
    );
    // That no token is shown is asserted for every command.
    let done = setting.pull(output, &url, &[]).says("cannot cast '…' for …");
    assert!(done.code != exit::SUCCESS && !done.stderr.contains("ada@"), "{}", done.stderr);
    assert_eq!(fake.entries(), 1);
}

/// A table that was dropped has none of the rows that are recorded, and a load does not make it anew without them.
#[test]
fn a_table_that_is_gone_is_an_error_until_its_loads_are_deleted() {
    for name in SERVICES {
        let setting = with_tokens();
        let (fake, output, url) = service(name, 2, |_, _| None);
        setting.pull(output, &url, &[]).ok();
        fake.drop_table();
        for more in [&[][..], &["--load-key", "other"]] {
            let done = setting.pull(output, &url, more).code(exit::LOAD_REFUSED).says("the table is gone");
            done.says("1 in number").hints("DELETE FROM").hints("table_name = ");
        }
        assert_eq!((fake.loads(), fake.copies()), (1, 1), "{name}");
        fake.forget_ledger();
        setting.pull(output, &url, &[]).ok().says("loaded 2 rows");
        assert_eq!((fake.loads(), fake.copies()), (1, 2), "{name}");
    }
}

/// Statements that were printed, and executed as far as the copy, are a load that the next command finishes.
#[test]
fn a_command_finishes_what_printed_statements_began() {
    let setting = with_tokens();
    let (fake, output, url) = service("databricks", 2, |_, _| None);
    let text = setting.pull(output, &url, &["--print-sql"]).ok().text().to_owned();
    let text = text.split_once('\n').filter(|(line, _)| line.starts_with("--")).map_or(&*text, |(_, text)| text);
    let statements: Vec<&str> = text.split(";\n").collect();
    let copy = statements.iter().position(|sql| sql.starts_with("COPY")).unwrap();
    for statement in &statements[..=copy] {
        fake.execute(statement);
    }
    assert_eq!((fake.entries(), fake.loads(), fake.copies()), (1, 0, 1), "{:?}", fake.executed());
    setting.pull(output, &url, &["--max-file-rows", "1"]).ok().says("nothing was changed");
    assert_eq!((fake.entries(), fake.loads(), fake.copies()), (1, 1, 1), "{:?}", fake.executed());
    // The rest changes nothing.
    fake.execute(statements[copy + 1]);
    assert_eq!((fake.entries(), fake.loads(), fake.copies()), (1, 1, 1));
}

/// The first thousand files are there, and the rest is refused: that is said, and the next command copies the rest.
#[test]
fn the_rest_of_many_files_is_copied_by_the_next_command() {
    const MISFIT: Fault = Fault::Fails("BAD_REQUEST", "[DELTA_FAILED_TO_MERGE_FIELDS] other type");
    let setting = with_tokens();
    let rows: String = (0..1001).map(|n| format!("{{\"id\":{n}}}\n")).collect();
    setting.place.write("a.ndjson", rows);
    let (fake, output, url) = with_faults("databricks", &[None, Some(MISFIT), Some(MISFIT)]);
    let load = || -> Done {
        let args = ["convert", "a.ndjson", "-o", output, "--copy-into", &url, "--into", "companies", "--load-key", "k"];
        setting.place.run(&[&args[..], &["--max-file-rows", "1"]].concat())
    };
    load().code(exit::LOAD_REFUSED).says("1 of 2 statements").hints("copies the rest");
    assert_eq!((fake.entries(), fake.files().len()), (1, 1000));
    // The stand-in counts two rows for each statement.
    load().code(exit::SUCCESS).says("nothing was changed");
    assert_eq!((fake.loads(), fake.files().len()), (1, 1001));
}

/// COPY finds the columns of Snowflake in any case: none is added that differs in case only.
#[test]
fn a_column_in_another_case_is_the_column() {
    let setting = with_tokens();
    let (fake, output, url) = service("snowflake", 2, |_, _| None);
    fake.make_table(&["id"]);
    setting.place.write("a.ndjson", "{\"id\":1,\"x\":1}\n{\"id\":2,\"x\":2}\n");
    let args = ["convert", "a.ndjson", "-o", output, "--copy-into", &url, "--into", "companies", "--load-key", "k"];
    setting.place.run(&args).ok();
    let added: Vec<String> = fake.executed().into_iter().filter(|sql| sql.starts_with("ALTER")).collect();
    assert!(added.len() == 1 && !added[0].contains("\"ID\""), "{added:?}");
    assert!(fake.executed().iter().any(|sql| sql.contains("UPPER('ID')")));
}
