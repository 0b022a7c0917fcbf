//! `--copy-into`: files in a store that a warehouse copies into a table, by statements that are printed or sent. The services
//! are stand-ins; the statements are read by a parser of each dialect, and those of Snowflake executed in an emulator.

use std::io::BufReader;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::support::api::{RUN_ID, Script};
use crate::support::cloud::{FIRST_TOKEN, FakeCloud, Fault, SECOND_TOKEN};
use crate::support::http::{Answer, Loopback, Request};
use crate::support::s3::{Act, FakeS3};
use crate::support::{Done, MARKED_KEY, Place, exit, plans, read_until, root, tool};

/// Rows of the scripted run.
const ROWS: u64 = 2;

/// A store, the API with one run, and a place that knows both.
pub(crate) struct Setting {
    pub(crate) store: FakeS3,
    _api: Loopback,
    pub(crate) place: Place,
}

impl Setting {
    fn new() -> Self {
        Setting::with(Script::default())
    }

    fn with(script: Script) -> Self {
        let (store, api) = (FakeS3::start(|_| Act::Do), script.start());
        // The interface of Google's store is near enough to that of S3.
        let google = format!(
            r#"{{"gcs_base_url":"{}","disable_oauth":true,"client_email":"","private_key":"","private_key_id":""}}"#,
            store.url()
        );
        let place = store.place().env("SIXTYFOUR_API_ENDPOINT", &api.url).env("SIXTYFOUR_API_KEY", MARKED_KEY);
        let place = place.env("GOOGLE_SERVICE_ACCOUNT_KEY", &google).env("GOOGLE_SKIP_SIGNATURE", "true");
        Setting { store, _api: api, place }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.place = self.place.env(name, value);
        self
    }

    pub(crate) fn pull(&self, output: &str, url: &str, more: &[&str]) -> Done {
        let args = ["pull", RUN_ID, "-o", output, "--copy-into", url, "--into", "companies"];
        let done = self.place.run(&args.iter().chain(more).copied().collect::<Vec<_>>());
        assert!(!done.stderr.contains("marked-token"), "a token is shown: {}", done.stderr);
        done
    }
}

const SNOWFLAKE: &str = "snowflake://ada@acme/crm/loads?warehouse=w&stage=@CRM.LOADS.FILES/stage";

fn snowflake_url(fake: &FakeCloud) -> String {
    format!("{SNOWFLAKE}&endpoint={}/", fake.url())
}

fn bigquery_url(fake: &FakeCloud) -> String {
    format!("bigquery://my-project/crm?endpoint={}/", fake.url())
}

fn databricks_url(fake: &FakeCloud) -> String {
    format!("databricks://dbc/main/crm?warehouse=w1&endpoint={}/", fake.url())
}

/// A service by its name, with the output and URL of a load into it.
pub(crate) fn service(
    name: &str,
    rows: u64,
    fault: impl Fn(usize, &Request) -> Option<Fault> + Send + Sync + 'static,
) -> (FakeCloud, &'static str, String) {
    match name {
        "snowflake" => {
            let fake = FakeCloud::snowflake(rows, fault);
            let url = snowflake_url(&fake);
            (fake, "s3://b/stage/", url)
        }
        "bigquery" => {
            let fake = FakeCloud::bigquery(rows, fault);
            let url = bigquery_url(&fake);
            (fake, "gs://b/stage/", url)
        }
        _ => {
            let fake = FakeCloud::databricks(rows, fault);
            let url = databricks_url(&fake);
            (fake, "s3://b/stage/", url)
        }
    }
}

pub(crate) const SERVICES: [&str; 3] = ["snowflake", "bigquery", "databricks"];

/// The variables of all tokens.
const TOKENS: [&str; 3] = ["SNOWFLAKE_TOKEN", "GOOGLE_OAUTH_ACCESS_TOKEN", "DATABRICKS_TOKEN"];

pub(crate) fn with_tokens() -> Setting {
    TOKENS.iter().fold(Setting::new(), |setting, name| setting.env(name, FIRST_TOKEN))
}

#[test]
fn a_run_is_copied_once() {
    for name in SERVICES {
        let setting = with_tokens();
        let (fake, output, url) = service(name, ROWS, |_, _| None);
        setting.pull(output, &url, &[]).ok().says("loaded 2 rows into");
        assert_eq!((fake.loads(), fake.files().len()), (1, 1), "{name}: {:?}", fake.executed());
        let staged: Vec<String> = setting.store.keys().into_iter().filter(|key| key.ends_with(".parquet")).collect();
        assert!(staged.len() == 1 && staged[0].starts_with("stage/drawoff_"), "{staged:?}");
        assert!(fake.files()[0].ends_with(staged[0].trim_start_matches("stage/")), "{:?}", fake.files());
        let asked = setting.store.asked().len();
        setting.pull(output, &url, &[]).ok().says("loaded on 2026-11-30").says("nothing was changed");
        assert_eq!((fake.loads(), fake.files().len()), (1, 1));
        // Nothing is staged a second time; that the store can be written is asked first.
        let puts = setting.store.asked()[asked..].iter().filter(|asked| asked.what == "put").count();
        assert_eq!(puts, 0, "{name}");
        // Another text is another load.
        setting.pull(output, &url, &["--load-key", "again"]).ok().says("loaded 2 rows");
        assert_eq!((fake.loads(), fake.files().len()), (2, 2));
    }
}

/// Each request of a load fails once, in every way: what is executed is executed once.
#[test]
fn every_request_may_fail_once() {
    for name in SERVICES {
        let setting = with_tokens();
        let (fake, output, url) = service(name, ROWS, |_, _| None);
        setting.pull(output, &url, &[]).ok();
        let n = fake.asked().len();
        assert!(n > 3, "{name}: {n} requests");
        for fault in [Fault::Status(429), Fault::Status(503), Fault::Lost] {
            // All requests fail the first time that they are sent: the even ones.
            let (fake, output, url) = service(name, ROWS, move |number, _| (number % 2 == 0).then_some(fault));
            with_tokens().pull(output, &url, &[]).ok().says("loaded 2 rows");
            assert_eq!((fake.loads(), fake.files().len()), (1, 1), "{name} {fault:?}: {:?}", fake.executed());
        }
    }
}

#[test]
fn an_expired_token_is_replaced_where_its_source_has_another() {
    for name in SERVICES {
        let (fake, output, url) = service(name, ROWS, |_, _| None);
        let setting = Setting::new();
        setting.place.write("token", format!("{FIRST_TOKEN}\n"));
        let command = format!("cat {}", setting.place.path("token").display());
        let setting = setting.env("DRAWOFF_TOKEN_COMMAND", &command);
        setting.pull(output, &url, &[]).ok().says("loaded 2 rows");
        fake.expire_token();
        setting
            .pull(output, &url, &["--load-key", "x"])
            .code(exit::LOAD_REFUSED)
            .says("token was refused")
            .hints("TOKEN");
        setting.place.write("token", SECOND_TOKEN);
        setting.pull(output, &url, &["--load-key", "x"]).ok().says("loaded 2 rows");
        assert_eq!(fake.loads(), 2);
        // A token of the environment has no other.
        let setting = with_tokens();
        setting.pull(output, &url, &["--load-key", "y"]).code(exit::LOAD_REFUSED).hints("to a new token");
        let none = Setting::new();
        none.pull(output, &url, &[]).code(exit::LOAD_REFUSED).says("no token is set").hints("DRAWOFF_TOKEN_COMMAND");
        assert_eq!(none.store.keys().len(), 0, "before anything is staged");
    }
}

/// A token that expires in the middle is made anew: the command prints another one each time.
#[test]
fn a_token_that_expires_in_the_middle_of_a_load_is_made_anew() {
    for name in SERVICES {
        let setting = Setting::new();
        let count = setting.place.path("count");
        let script =
            format!("if [ -e {0} ]; then echo {SECOND_TOKEN}; else : > {0}; echo {FIRST_TOKEN}; fi", count.display());
        let setting = setting.env("DRAWOFF_TOKEN_COMMAND", &script);
        let (fake, output, url) = service(name, ROWS, |_, _| None);
        fake.expire_token();
        setting.pull(output, &url, &[]).ok().says("loaded 2 rows");
        assert_eq!((fake.loads(), fake.files().len()), (1, 1));
    }
}

#[test]
fn another_number_of_rows_is_an_error() {
    let setting = with_tokens();
    let (fake, output, url) = service("snowflake", ROWS + 1, |_, _| None);
    setting.pull(output, &url, &[]).code(exit::LOAD_REFUSED).says("another number of rows");
    assert_eq!(fake.entries(), 0);
    // The others have them, and cannot take them back: never recorded as loaded, however often it is tried.
    for name in ["bigquery", "databricks"] {
        let setting = with_tokens();
        let (fake, output, url) = service(name, ROWS + 1, |_, _| None);
        setting
            .pull(output, &url, &[])
            .code(exit::MISMATCH)
            .says("2 rows were sent")
            .says("it got 3")
            .hints("--load-key");
        setting.pull(output, &url, &[]).code(exit::MISMATCH).says("another number").hints("--load-key");
        assert_eq!((fake.loads(), fake.copies()), (0, 1), "{name}");
    }
}

/// A command may end at each of its requests, before or after it is carried out. The next one, which stages the rows under
/// other names, ends the load: the rows are in the table once.
#[test]
fn a_load_that_ends_at_any_request_is_finished_by_the_next() {
    for name in SERVICES {
        let (fake, output, url) = service(name, ROWS, |_, _| None);
        with_tokens().pull(output, &url, &[]).ok();
        let n = fake.asked().len();
        let ends = (0..n).flat_map(|at| [(at, false), (at, true)]);
        for (at, is_lost) in ends {
            let last = Arc::new(AtomicUsize::new(at));
            let end = last.clone();
            let (fake, output, url) = service(name, ROWS, move |number, _| match end.load(Ordering::SeqCst) {
                last if number < last => None,
                last if number == last && is_lost => Some(Fault::Lost),
                usize::MAX => None,
                _ => Some(Fault::Status(400)),
            });
            let setting = with_tokens();
            let first = setting.pull(output, &url, &[]);
            last.store(usize::MAX, Ordering::SeqCst);
            let other = format!("{output}elsewhere/");
            let second = setting.pull(&other, &url, &["--max-file-rows", "1"]);
            let about = format!("{name}, {at} {is_lost}: {}\n{}\n{:?}", first.stderr, second.stderr, fake.executed());
            assert_eq!((second.code, fake.loads(), fake.copies(), fake.entries()), (exit::SUCCESS, 1, 1, 1), "{about}");
            setting.pull(output, &url, &[]).ok().says("nothing was changed");
            assert_eq!(fake.copies(), 1, "{about}");
        }
    }
}

/// The rows and their record are deleted, to load them again.
#[test]
fn a_load_whose_record_was_deleted_is_a_new_one() {
    for name in SERVICES {
        let setting = with_tokens();
        let (fake, output, url) = service(name, ROWS, |_, _| None);
        setting.pull(output, &url, &[]).ok();
        fake.forget_ledger();
        setting.pull(output, &url, &[]).ok().says("loaded 2 rows");
        assert_eq!((fake.loads(), fake.copies()), (1, 2), "{name}");
    }
}

/// The record of a load that has begun goes while the rows are copied: they are recorded all the same.
#[test]
fn rows_are_recorded_whatever_became_of_their_claim() {
    for name in ["bigquery", "databricks"] {
        let setting = with_tokens();
        let (fake, output, url) = service(name, ROWS, |_, request| is_copy(request).then_some(Fault::Forgotten));
        setting.pull(output, &url, &[]).ok().says("loaded 2 rows");
        setting.pull(output, &url, &[]).ok().says("nothing was changed");
        assert_eq!((fake.loads(), fake.copies()), (1, 1), "{name}: {:?}", fake.executed());
    }
}

/// Rows that the service refuses are not in the table, and the next command begins anew, with files of its own.
#[test]
fn a_load_that_is_refused_leaves_no_record() {
    for name in ["bigquery", "databricks"] {
        let setting = with_tokens();
        let refuses = Arc::new(AtomicUsize::new(1));
        let on = refuses.clone();
        let (fake, output, url) = service(name, ROWS, move |_, request| {
            (is_copy(request) && on.load(Ordering::SeqCst) > 0).then_some(Fault::Status(400))
        });
        setting.pull(output, &url, &[]).code(exit::LOAD_REFUSED);
        assert_eq!(fake.entries(), 0, "{name}");
        refuses.store(0, Ordering::SeqCst);
        setting.pull(output, &url, &["--max-file-rows", "1"]).ok().says("loaded 2 rows");
        assert_eq!((fake.loads(), fake.copies(), fake.files().len()), (1, 1, 2), "{name}");
    }
}

/// A command whose copy is refused does not take its claim back while another copies the same files: its next one would begin
/// anew.
#[test]
fn a_claim_that_another_command_has_taken_up_stays() {
    for name in ["bigquery", "databricks"] {
        let setting = with_tokens();
        let refuses = Arc::new(AtomicUsize::new(1));
        let on = refuses.clone();
        let (fake, output, url) = service(name, ROWS, move |_, request| {
            (is_copy(request) && on.load(Ordering::SeqCst) > 0).then_some(Fault::TakenUp)
        });
        setting.pull(output, &url, &[]).code(exit::LOAD_REFUSED);
        assert_eq!((fake.entries(), fake.copies()), (1, 0), "{name}");
        refuses.store(0, Ordering::SeqCst);
        // Another division of the rows into files: those of the claim are copied.
        setting.pull(output, &url, &["--max-file-rows", "1"]).ok();
        assert_eq!((fake.loads(), fake.copies(), fake.files().len()), (1, 1, 1), "{name}");
    }
}

/// The service may fail a statement after its commit, or have forgotten its result: the same COPY then finds nothing to do.
#[test]
fn a_copy_that_failed_behind_its_commit_is_a_load() {
    for end in ["FAILED", "CANCELED", "CLOSED"] {
        let setting = with_tokens();
        let first = Arc::new(AtomicUsize::new(1));
        let (fake, output, url) = service("databricks", ROWS, move |_, request| {
            (is_copy(request) && first.swap(0, Ordering::SeqCst) > 0).then_some(Fault::Ends(end))
        });
        setting.pull(output, &url, &[]).ok().says("loaded 2 rows");
        setting.pull(output, &url, &[]).ok().says("nothing was changed");
        assert_eq!((fake.loads(), fake.copies()), (1, 1), "{end}: {:?}", fake.executed());
    }
}

/// A record that cannot be read is no load.
#[test]
fn a_record_of_another_version_is_an_error() {
    for name in ["bigquery", "databricks"] {
        let setting = with_tokens();
        let (fake, output, url) = service(name, ROWS, |_, request| is_copy(request).then_some(Fault::OtherVersion));
        setting.pull(output, &url, &[]).code(exit::LOAD_REFUSED);
        let done = setting.pull(output, &url, &[]).code(exit::LOAD_REFUSED);
        done.says("unknown state `loading`").says("another version");
        assert_eq!((fake.loads(), fake.copies()), (0, 0), "{name}");
    }
}

pub(crate) fn is_copy(request: &Request) -> bool {
    request.path.ends_with("/jobs") || String::from_utf8_lossy(&request.body).contains("COPY INTO")
}

/// Columns without values have no type that a later load could keep.
#[test]
fn columns_without_values_are_not_staged() {
    let body = concat!(
        r#"{"id":1,"employees":null,"labels":[],"hq":null,"o":{"x":null,"y":2}}"#,
        "\n",
        r#"{"id":2,"employees":null,"labels":[],"o":{"x":null}}"#,
        "\n"
    );
    let script = Script { body: body.as_bytes().to_vec(), ..Script::default() };
    let setting = Setting::with(script).env("DATABRICKS_TOKEN", FIRST_TOKEN);
    let (fake, output, url) = service("databricks", ROWS, |_, _| None);
    setting.pull(output, &url, &[]).ok().says("no row has a value in `employees`, `labels`, `hq`");
    let key = setting.store.keys().into_iter().find(|key| key.ends_with(".parquet")).unwrap();
    setting.place.write("staged.parquet", setting.store.object(&key).unwrap());
    let rows = setting.place.run(&["convert", "staged.parquet", "-o", "-"]).ok();
    assert_eq!(rows.text(), "{\"id\":1,\"o\":{\"y\":2}}\n{\"id\":2,\"o\":{\"y\":null}}\n");
    let created =
        fake.executed().into_iter().find(|sql| sql.contains("companies") && sql.starts_with("CREATE")).unwrap();
    assert!(created.contains("`id`") && !created.contains("employees") && !created.contains("`x`"), "{created}");
}

#[test]
fn a_run_without_rows_is_recorded() {
    for name in SERVICES {
        let script = Script { body: Vec::new(), row_count: 0, ..Script::default() };
        let setting = TOKENS.iter().fold(Setting::with(script), |setting, name| setting.env(name, FIRST_TOKEN));
        let (fake, output, url) = service(name, 0, |_, _| None);
        setting.pull(output, &url, &[]).ok().says("loaded 0 rows");
        setting.pull(output, &url, &[]).ok().says("nothing was changed");
        assert_eq!((fake.loads(), fake.copies()), (1, 0), "{name}: {:?}", fake.executed());
    }
}

/// Statements for other hands know nothing of earlier ones: under one name, files of two sources would both be copied.
#[test]
fn printed_statements_are_of_all_files_of_their_name() {
    let setting = Setting::new();
    setting.place.write("a.ndjson", "{\"id\":1}\n");
    setting.place.write("b.ndjson", "{\"id\":2}\n");
    for url in ["databricks://dbc/main/crm", "redshift://c/dev/crm"] {
        let key = url.split(':').next().unwrap();
        let print = |file: &str| {
            let args = ["convert", file, "-o", "s3://b/stage/", "--copy-into", url, "--into", "t", "--load-key", key];
            setting.place.run(&[&args[..], &["--print-sql"]].concat())
        };
        let first = print("a.ndjson").ok();
        assert_eq!(print("a.ndjson").ok().text(), first.text());
        print("b.ndjson").code(exit::USAGE).says("other files of this load").hints("--load-key");
    }
}

#[test]
fn combinations_that_cannot_be_are_refused_before_a_byte() {
    let setting = with_tokens();
    let usage = |output: &str, url: &str, more: &[&str], says: &str| {
        setting.pull(output, url, more).code(exit::USAGE).says(says);
    };
    usage("out.parquet", SNOWFLAKE, &[], "a directory in a store");
    usage("s3://b/out.parquet", SNOWFLAKE, &[], "a directory in a store");
    usage("s3://b/x/", SNOWFLAKE, &["--to", "csv"], "copies Parquet");
    usage("s3://b/x/", SNOWFLAKE, &["--partition-by", "email"], "cannot be combined");
    usage("s3://b/x/", SNOWFLAKE, &["--load", "replace"], "`--load` does not apply");
    usage("s3://b/x/", SNOWFLAKE, &["--load-column", "key"], "`--load-column` does not apply");
    usage("s3://b/x/", SNOWFLAKE, &["--again"], "`--again` does not apply");
    usage("s3://b/x/", "snowflake://acme/crm/loads", &[], "by a stage");
    usage("s3://b/x/", "bigquery://p/d", &[], "Google Cloud Storage");
    usage("s3://b/x/", "redshift://c/dev/crm", &[], "does not execute");
    usage("s3://b/x/", "mysql://h/d", &[], "begins with");
    setting.place.run(&["pull", RUN_ID, "-o", "s3://b/x/", "--print-sql"]).code(exit::USAGE).says("--copy-into");
    setting.place.run(&["pull", RUN_ID, "-o", "s3://b/x/", "--copy-into", SNOWFLAKE]).code(exit::USAGE).hints("--into");
    let convert = ["convert", "testdata/companies.ndjson", "-o", "s3://b/x/", "--copy-into", SNOWFLAKE, "--into", "t"];
    setting.place.run(&convert).code(exit::USAGE).hints("--load-key");
    assert_eq!(setting.store.keys().len(), 0);
}

#[test]
fn columns_that_a_system_cannot_have_end_the_load_before_the_table() {
    let body = b"{\"First name\":\"a\",\"lists\":[[1]]}\n{\"First name\":\"b\"}\n".to_vec();
    let setting = Setting::with(Script { body, ..Script::default() }).env("GOOGLE_OAUTH_ACCESS_TOKEN", FIRST_TOKEN);
    let (fake, output, url) = service("bigquery", ROWS, |_, _| None);
    setting.pull(output, &url, &[]).code(exit::LOAD_REFUSED).says("`First name`").says("`lists`").hints("--rename");
    assert_eq!((fake.loads(), fake.files().len()), (0, 0));
}

/// The statements of a load into `system`, of a run with awkward names and nested values.
fn printed(system: &str) -> (Setting, String) {
    let names = if system == "bigquery" { ["order", "select"] } else { ["order", "First \"name\""] };
    let lines = [
        json!({names[0]: 1, names[1]: "a", "hq": {"end": 1}, "tags": ["x"], "score": 1.5, "group": true}),
        json!({names[0]: 2, names[1]: null, "mixed": 1}),
        json!({names[0]: 3, "mixed": "1"}),
    ];
    let body: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let setting = Setting::with(Script { body: body.into_bytes(), row_count: 3, ..Script::default() });
    let (output, url) = match system {
        "snowflake" => ("s3://b/stage/", SNOWFLAKE),
        "bigquery" => ("gs://b/stage/", "bigquery://my-project/crm"),
        "databricks" => ("s3://b/stage/", "databricks://dbc/main/crm"),
        _ => ("s3://b/stage/", "redshift://c/dev/crm"),
    };
    // Three files of a row each.
    let done = setting.pull(output, url, &["--print-sql", "--max-file-rows", "1"]).ok();
    let text = done.text().to_owned();
    (setting, text)
}

/// Without a token, and without a request: what is printed is for others to execute.
#[test]
fn printed_statements_are_read_by_a_parser_of_their_dialect() {
    let Some(python) = tool("DRAWOFF_TEST_CLOUD_PYTHON") else { return };
    for system in ["snowflake", "bigquery", "databricks", "redshift"] {
        let (setting, text) = printed(system);
        let place = &setting.place;
        place.write("load.sql", &text);
        let ddl = place.run(&["schema", RUN_ID, "--format", &format!("ddl:{system}"), "--into", "crm.companies"]).ok();
        place.write("ddl.sql", ddl.text());
        let mut command = place.program(&python);
        command.arg(root().join("tests/readers/check_statements.py")).args([system, "load.sql", "ddl.sql"]);
        Done::of(command).ok();
    }
}

/// Snowflake's statements do in an emulator what they are for: a second time they change nothing, and a table whose columns
/// do not keep the values gets no rows.
#[test]
fn statements_of_snowflake_are_executed_by_fakesnow() {
    let Some(python) = tool("DRAWOFF_TEST_CLOUD_PYTHON") else { return };
    let (setting, text) = printed("snowflake");
    let place = &setting.place;
    place.write("load.sql", &text);
    std::fs::create_dir(place.path("stage")).unwrap();
    for key in setting.store.keys().iter().filter(|key| key.ends_with(".parquet")) {
        place.write(key, setting.store.object(key).unwrap());
    }
    let mut command = place.program(&python);
    command.arg(root().join("tests/readers/check_fakesnow.py")).args(["load.sql", "stage"]);
    let done = Done::of(command).ok();
    assert!(done.text().contains("loaded once"), "{}", done.text());
}

/// Several runs are one load under a text of their own alone, which is said before any of them is waited for.
#[test]
fn several_runs_need_a_text() {
    let setting = with_tokens();
    let (fake, output, url) = service("snowflake", ROWS, |_, _| None);
    let run = ["run", "Webhook leads", "--input", "testdata/companies.csv", "--rows-per-run", "2"];
    let more = ["-o", output, "--copy-into", &url, "--into", "companies"];
    let done = setting.place.run(&run.iter().chain(&more).copied().collect::<Vec<_>>());
    done.code(exit::USAGE).says("for each load").hints("--load-key");
    assert_eq!(fake.asked().len(), 0);
}

/// A key of RSA as PEM, and its public half.
fn rsa_key() -> (String, String) {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    (key.serialize_pem(), key.public_key_pem())
}

/// Runs the checker of signed tokens.
fn check_token(setting: &Setting, token: &str, public: &str, claims: &serde_json::Value) {
    let Some(python) = tool("DRAWOFF_TEST_CLOUD_PYTHON") else { return };
    setting.place.write("token", token);
    setting.place.write("public.pem", public);
    let mut command = setting.place.program(python);
    command.arg(root().join("tests/readers/check_token.py")).args(["token", "public.pem", &claims.to_string()]);
    Done::of(command).ok();
}

#[test]
fn snowflake_gets_a_token_that_the_users_key_signs() {
    let (private, public) = rsa_key();
    let setting = Setting::new();
    setting.place.write("key.p8", private);
    let path = setting.place.path("key.p8").display().to_string();
    let setting = setting.env("SNOWFLAKE_PRIVATE_KEY_PATH", &path);
    let server = Loopback::start(|_| Answer { status: 422, ..Answer::json(&json!({"code": "1", "message": "no"})) });
    setting.pull("s3://b/x/", &format!("{SNOWFLAKE}&endpoint={}/", server.url), &[]).code(exit::LOAD_REFUSED);
    let asked = &server.asked()[0];
    assert_eq!(asked.headers["x-snowflake-authorization-token-type"], "KEYPAIR_JWT");
    let token = asked.headers["authorization"].strip_prefix("Bearer ").unwrap();
    check_token(&setting, token, &public, &json!({"sub": "ACME.ADA", "iss": "ACME.ADA.SHA256:FINGERPRINT"}));
    // One with a password is refused with what to do.
    setting.place.write("key.p8", "-----BEGIN ENCRYPTED PRIVATE KEY-----\n");
    setting.pull("s3://b/x/", SNOWFLAKE, &[]).code(exit::LOAD_REFUSED).says("openssl pkcs8");
}

#[test]
fn bigquery_takes_a_token_for_one_that_the_service_account_signs() {
    let (private, public) = rsa_key();
    let tokens = Loopback::start(|_| Answer::json(&json!({"access_token": FIRST_TOKEN, "expires_in": 3600})));
    let setting = Setting::new();
    let account = json!({
        "type": "service_account", "client_email": "loader@p.example", "private_key": private,
        "token_uri": format!("{}/token", tokens.url),
    });
    setting.place.write("account.json", account.to_string());
    let path = setting.place.path("account.json").display().to_string();
    let setting = setting.env("GOOGLE_APPLICATION_CREDENTIALS", &path);
    let (fake, output, url) = service("bigquery", ROWS, |_, _| None);
    setting.pull(output, &url, &[]).ok().says("loaded 2 rows");
    assert_eq!(fake.loads(), 1);
    let body = String::from_utf8(tokens.asked()[0].body.clone()).unwrap();
    let token = body.split_once("&assertion=").unwrap().1.to_owned();
    let audience = format!("{}/token", tokens.url);
    check_token(&setting, &token, &public, &json!({"iss": "loader@p.example", "aud": audience}));
}

/// The response to the load is lost each time, for half a minute: what the table of loads says counts.
#[test]
fn a_load_whose_response_never_comes_is_settled_by_the_table_of_loads() {
    if !plans::all() {
        return;
    }
    for name in ["snowflake", "databricks"] {
        let setting = with_tokens();
        let is_load = |request: &Request| {
            let body = String::from_utf8_lossy(&request.body);
            body.contains("BEGIN TRANSACTION") || body.contains("MERGE INTO")
        };
        let (fake, output, url) = service(name, ROWS, move |_, request| is_load(request).then_some(Fault::Lost));
        setting.pull(output, &url, &[]).ok().says("loaded 2 rows");
        assert_eq!((fake.loads(), fake.files().len()), (1, 1), "{name}: {:?}", fake.executed());
    }
}

/// An emulator of others takes the requests as the service would: a table is made, and a job loads the rows, once.
#[test]
fn bigquery_loads_in_an_emulator() {
    if std::env::var_os("DRAWOFF_TEST_BIGQUERY_PYTHON").is_none() {
        return;
    }
    let Some(python) = tool("DRAWOFF_TEST_BIGQUERY_PYTHON") else { return };
    let body =
        b"{\"domain\":\"a\",\"hq\":{\"city\":\"Oslo\"},\"tags\":[\"x\",\"y\"]}\n{\"domain\":\"b\",\"n\":1}\n".to_vec();
    let setting = Setting::with(Script { body, ..Script::default() }).env("GOOGLE_OAUTH_ACCESS_TOKEN", FIRST_TOKEN);
    let place = &setting.place;
    // It looks for its extension at home.
    let code = "import duckdb, duckdb_extension_spatial as e, os, pathlib, shutil\n\
                v = 'v' + duckdb.__version__\n\
                to = pathlib.Path.home() / '.duckdb/extensions' / v / 'linux_amd64'\n\
                to.mkdir(parents=True)\n\
                shutil.copy(pathlib.Path(e.__file__).parent / 'extensions' / v / 'spatial.duckdb_extension', to)";
    let mut copy = place.program(&python);
    copy.args(["-c", code]);
    Done::of(copy).ok();
    let mut start = place.program(python.parent().unwrap().join("bqemulator"));
    start.args(["start", "--rest-port", "0", "--grpc-port", "0", "--project", "my-project"]);
    let mut emulator = start.env("BQEMU_GCS_LOCAL_ROOT", place.path("gcs")).stdout(Stdio::null()).spawn().unwrap();
    let mut stderr = BufReader::new(emulator.stderr.take().unwrap());
    let log = read_until(&mut stderr, "Uvicorn running on");
    // Its log must not fill the pipe.
    std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
    let server = log.split("Uvicorn running on ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    let post = |path: &str, body: serde_json::Value| {
        let code = "import sys, urllib.request as r\n\
                    q = r.Request(sys.argv[1], sys.argv[2].encode(), {'content-type': 'application/json'})\n\
                    sys.stdout.write(r.urlopen(q).read().decode())";
        let mut command = place.program(&python);
        command.args(["-c", code, &format!("{server}/bigquery/v2/projects/my-project/{path}"), &body.to_string()]);
        let done = Done::of(command).ok();
        serde_json::from_str::<serde_json::Value>(done.text()).unwrap()
    };
    post("datasets", json!({"datasetReference": {"projectId": "my-project", "datasetId": "crm"}, "location": "EU"}));
    let url = format!("bigquery://my-project/crm?endpoint={server}/");
    // It reads a directory.
    setting.store.mirror_to(place.path("gcs/b"));
    setting.pull("gs://b/stage/", &url, &[]).ok().says("loaded 2 rows");
    setting.pull("gs://b/stage/", &url, &[]).ok().says("nothing was changed");
    let sql = "SELECT domain, hq.city, ARRAY_TO_STRING(tags, ','), n FROM crm.companies ORDER BY domain";
    let found = post("queries", json!({"query": sql, "useLegacySql": false}));
    emulator.kill().unwrap();
    emulator.wait().unwrap();
    let rows = json!([
        {"f": [{"v": "a"}, {"v": "Oslo"}, {"v": "x,y"}, {"v": null}]},
        {"f": [{"v": "b"}, {"v": null}, {"v": null}, {"v": "1"}]},
    ]);
    assert_eq!(found["rows"], rows, "{found}");
}
