//! The recipes of `examples/schedulers` for cron and systemd against the local service, and docs/schedulers.md, which has all
//! recipes. Those for Airflow, Dagster, Prefect, dlt and dbt are run by `.ci/full`: tests/schedulers.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::support::{Done, Place, Service, exit, root, skip, testdata, tool};

/// Names and texts of the recipes.
fn recipes() -> Vec<(String, String)> {
    let entries = std::fs::read_dir(root().join("examples/schedulers")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    paths.iter().map(|path| (name(path), std::fs::read_to_string(path).unwrap())).collect()
}

fn recipe(name: &str) -> String {
    recipes().into_iter().find(|(found, _)| found == name).unwrap().1
}

#[test]
fn the_page_has_every_recipe_as_it_is() {
    let page = std::fs::read_to_string(root().join("docs/schedulers.md")).unwrap();
    for (name, text) in recipes() {
        assert!(page.contains(&format!("\n{text}```\n")), "docs/schedulers.md has not what is in {name}");
        assert!(page.contains(&format!("(../examples/schedulers/{name})")), "docs/schedulers.md has no link to {name}");
    }
}

#[test]
fn recipes_in_python_are_python() {
    let Some(python) = tool("DRAWOFF_TEST_PYTHON") else { return };
    let (place, mut parsed) = (Place::new(), 0);
    for (name, text) in recipes().into_iter().filter(|(name, _)| name.ends_with(".py")) {
        place.write(&name, text);
        let mut command = place.program(&python);
        command.args(["-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())", &name]);
        Done::of(command).ok();
        parsed += 1;
    }
    assert_eq!(parsed, 4);
}

/// A directory in place of `/srv/companies`, and a service to which commands in it go.
struct Desk {
    place: Place,
    service: Service,
}

impl Desk {
    fn new() -> Self {
        let place = Place::new();
        let service =
            Service::start(&place, "data", &["--admin", "--workflow", "testdata/workflows/qualify-companies.json"]);
        let place = place.env("SIXTYFOUR_API_ENDPOINT", &service.url);
        place.write("companies.csv", std::fs::read(testdata("companies.csv")).unwrap());
        // That of cron, and the credential of systemd.
        for name in ["sixtyfour.key", "sixtyfour"] {
            let key = place.write(name, "key\n");
            std::fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        }
        Desk { place, service }
    }

    fn sh(&self, line: &str) -> Done {
        let here = self.place.path("");
        let here = here.to_str().unwrap().trim_end_matches('/');
        let line = line.replace("/srv/companies", here).replace("/etc/companies", here);
        let mut command = self.place.program("sh");
        command.args(["-c", &line]).env("CREDENTIALS_DIRECTORY", here);
        Done::of(command)
    }

    fn fault(&self, fault: &str) {
        assert_eq!(self.service.call("DELETE", "/admin/faults", None).0, 200);
        assert_eq!(self.service.call("POST", "/admin/faults", Some(json!(fault))).0, 200);
    }

    fn starts(&self) -> usize {
        let (_, requests) = self.service.call("GET", "/admin/requests?path=/workflows/run&method=POST", None);
        requests.as_array().unwrap().len()
    }

    fn requests(&self) -> usize {
        self.service.call("GET", "/admin/requests", None).1.as_array().unwrap().len()
    }

    /// The only result file, without its path.
    fn result(&self) -> (PathBuf, Value) {
        let is_result = |name: &String| name.starts_with("result") && name.ends_with(".json");
        let names: Vec<String> = self.place.leftovers().into_iter().filter(is_result).collect();
        assert_eq!(names.len(), 1, "{names:?}");
        (self.place.path(&names[0]), serde_json::from_slice(&self.place.read(&names[0])).unwrap())
    }
}

/// Asks for the links of the results five times, and fails.
const TRANSIENT: &str = "503,on=links,times=5";
const PERMANENT: &str = "fail-block=filter,text=out of luck";

/// The command of the line as cron hands it to the shell.
fn cron_command() -> String {
    let text = recipe("companies.cron");
    let line = text.lines().find(|line| line.starts_with("*/15 ")).unwrap();
    // Five fields of time, and the user.
    let command = line.splitn(7, ' ').nth(6).unwrap();
    assert!(!command.replace("\\%", "").contains('%'), "cron ends a command at a % without a backslash");
    command.replace("\\%", "%")
}

#[test]
fn the_line_of_cron_tries_again_only_what_may_help() {
    let desk = Desk::new();
    if desk.place.program("flock").arg("--version").output().is_err() {
        return skip("flock is not installed");
    }
    let command = cron_command();
    desk.fault(TRANSIENT);
    desk.sh(&command).code(exit::UNREACHABLE);
    desk.sh(&command).ok();
    let (path, result) = desk.result();
    assert_eq!((&result["rows_written"], &result["retry"]), (&json!(1302), &json!("needless")));
    assert_eq!(desk.starts(), 1);
    assert!(desk.place.path("qualified.parquet").exists());
    // The run of the day is done: nothing is asked for.
    let requests = desk.requests();
    desk.sh(&command).code(1).quiet();
    // As after a kill, which leaves no result: the run is known, the output complete.
    std::fs::remove_file(&path).unwrap();
    assert_eq!(desk.requests(), requests);
    desk.sh(&command).ok();
    assert_eq!(desk.starts(), 1);

    // Another day, as far as the service and the ledger know.
    let command = command.replace("\"companies $(date", "\"other $(date");
    std::fs::remove_file(&path).unwrap();
    desk.fault(PERMANENT);
    desk.sh(&command).code(exit::RUN_FAILED).says("out of luck");
    let requests = desk.requests();
    desk.sh(&command).code(1).quiet();
    assert_eq!((desk.requests(), desk.starts()), (requests, 2));
}

/// The value of a line of a unit.
fn unit_value(text: &str, key: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("no {key}")).to_owned()
}

/// The codes of docs/exit-codes.md, with their last column.
fn codes() -> Vec<(i32, String)> {
    let page = std::fs::read_to_string(root().join("docs/exit-codes.md")).unwrap();
    let row = |line: &str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        Some((cells.first()?.parse().ok()?, cells.get(3)?.to_string()))
    };
    page.lines().filter_map(row).collect()
}

#[test]
fn the_service_of_systemd_restarts_only_what_may_help() {
    let unit = recipe("companies.service");
    let prevented: BTreeSet<i32> =
        unit_value(&unit, "RestartPreventExitStatus").split(' ').map(|code| code.parse().unwrap()).collect();
    let codes = codes();
    assert_eq!(codes.len(), 29);
    let no_retry = codes.iter().filter(|(_, retry)| retry != "helps" && retry != "needless").map(|(code, _)| *code);
    // 126 and 127 are those of the shell.
    assert_eq!(prevented, no_retry.chain([126, 127]).collect());
    assert_eq!(unit_value(&unit, "SuccessExitStatus"), exit::PARTIAL.to_string());

    let desk = Desk::new();
    let start = unit_value(&unit, "ExecStart").replace("$$", "$").replace("%%", "%");
    let line = start.strip_prefix("/bin/sh -c '").and_then(|line| line.strip_suffix('\'')).unwrap();
    let line = format!("cd /srv/companies && {line}");
    desk.fault(TRANSIENT);
    desk.sh(&line).code(exit::UNREACHABLE);
    desk.sh(&line).ok();
    assert_eq!((&desk.result().1["rows_written"], desk.starts()), (&json!(1302), 1));
    desk.fault(PERMANENT);
    desk.sh(&line.replace("\"companies ", "\"other ")).code(exit::RUN_FAILED);
    assert_eq!(desk.result().1["retry"], "starts a new run");
}

#[test]
fn systemd_takes_the_units() {
    let place = Place::new();
    if place.program("systemd-analyze").arg("--version").output().is_err() {
        return skip("systemd-analyze is not installed");
    }
    let timer = recipe("companies.timer");
    place.write("companies.service", recipe("companies.service"));
    place.write("companies.timer", &timer);
    for arguments in
        [&["verify", "./companies.service", "./companies.timer"][..], &["calendar", &unit_value(&timer, "OnCalendar")]]
    {
        let mut command = place.program("systemd-analyze");
        command.args(arguments);
        let done = Done::of(command).ok();
        // Unknown keys and values are lines on standard error, and no failure.
        assert!(!done.stderr.contains("companies."), "{}", done.stderr);
    }
}

#[test]
fn a_source_of_dbt_has_columns_types_and_descriptions() {
    let place = Place::new();
    place.write("in.ndjson", "{\"id\":1,\"who\":{\"mail\":\"a\"},\"Size\":1.5}\n");
    let fields = json!([
        {"name": "id", "type": "int", "description": "number: of the record"},
        {"name": "who", "type": "struct", "fields": [{"name": "mail", "type": "text", "description": "inner"}]},
    ]);
    let schema = json!({"drawoff_schema": 1, "description": "one {{ row }}", "fields": fields});
    place.write("schema.json", schema.to_string());
    let done = place.run_line("schema in.ndjson --schema schema.json --format dbt-source --into raw.crm.people").ok();
    let expected = r#"version: 2

sources:
  - name: crm
    database: raw
    tables:
      - name: people
        description: "one {{ '{' }}{ row }}"
        columns:
          - name: id
            data_type: bigint
            description: "number: of the record"
          - name: who
            data_type: json
          - name: Size
            data_type: double precision
            quote: true
"#;
    assert_eq!(done.text(), expected);
    for (system, name, ty) in
        [("snowflake", "id", "NUMBER(38, 0)"), ("databricks", "id", "BIGINT"), ("bigquery", "id", "INT64")]
    {
        let done = place.run(&["schema", "in.ndjson", "--format", &format!("dbt-source:{system}")]).ok();
        assert!(done.text().contains("  - name: drawoff\n    schema: \"{{ target.schema }}\"\n"), "{}", done.text());
        assert!(done.text().contains(&format!("- name: {name}\n            data_type: {ty}\n")), "{}", done.text());
    }
    place
        .run_line("schema in.ndjson --format dbt-source --into a.b.c.d")
        .code(exit::USAGE)
        .says("not the name of a table");
}
