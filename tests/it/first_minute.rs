//! The first minute of a new user: no arguments, common mistakes, `init` and `doctor`. Each mistake is answered with the next
//! command.

use serde_json::{Value, json};

use crate::support::http::{Answer, Loopback};
use crate::support::{MARKED_KEY, Place, Service, exit};

#[test]
fn without_arguments_the_next_commands_are_named() {
    let done = Place::new().run::<&str>(&[]).code(exit::USAGE).quiet();
    for command in ["drawoff init", "drawoff head", "drawoff convert", "drawoff run", "drawoff doctor", "--help"] {
        assert!(done.stderr.contains(command), "{command}: {}", done.stderr);
    }
    assert!(done.stderr.lines().count() < 15, "{}", done.stderr);
}

/// The mistakes of the first minute, each with its exit code and the last line of what is printed: the command line that was
/// meant. Each of these is given then, and works.
#[test]
fn the_most_common_mistakes_are_answered_with_a_command_that_works() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let place = Place::with_service(&service.url);
    place.run_line("init").ok();
    place.run_line("run workflow.json --input companies.csv -o run.ndjson").ok();
    let run = place.run_line("runs ls -o ndjson").ok().records()[0]["job_id"].as_str().unwrap().to_owned();
    place.write("people.ndjson", "{\"name\":\"Ada\",\"score\":1}\n");
    place.write("broken.ndjson", "{\"name\":\"Ada\",\"score\":1}\nbroken\n");
    let (pull, status) = (format!("pull {run} -o results.parquet"), format!("runs status {run}"));
    let (download, of_status) = (format!("download {run}"), format!("status {run}"));
    let mistakes: &[(&str, i32, &str, i32)] = &[
        // A file in the place of a command, and commands of other tools.
        ("people.ndjson", exit::USAGE, "head people.ndjson", exit::SUCCESS),
        ("ls", exit::USAGE, "runs ls", exit::SUCCESS),
        (&of_status, exit::USAGE, &status, exit::SUCCESS),
        ("login", exit::USAGE, "doctor", exit::SUCCESS),
        (&download, exit::USAGE, &pull, exit::SUCCESS),
        ("version", exit::USAGE, "--version", exit::SUCCESS),
        ("cat people.ndjson", exit::USAGE, "head people.ndjson", exit::SUCCESS),
        // A misspelled command, flag or file.
        ("convret people.ndjson -o out.csv", exit::USAGE, "convert people.ndjson -o out.csv", exit::SUCCESS),
        ("head people.ndjson --selct name", exit::USAGE, "head people.ndjson --select name", exit::SUCCESS),
        ("convert poeple.ndjson -o out.csv", exit::CANNOT_READ, "convert people.ndjson -o out.csv", exit::SUCCESS),
        // Nothing to work on.
        ("convert", exit::USAGE, "convert -h", exit::SUCCESS),
        ("pull", exit::USAGE, "runs ls", exit::SUCCESS),
        ("run", exit::USAGE, "init demo", exit::SUCCESS),
        // No output, one without its flag, or in a format that is not written.
        ("convert people.ndjson", exit::USAGE, "convert people.ndjson -o new.parquet", exit::SUCCESS),
        ("convert people.ndjson out.csv", exit::USAGE, "convert people.ndjson -o out.csv", exit::SUCCESS),
        ("convert people.ndjson -o out.xlsx", exit::USAGE, "convert people.ndjson -o out.csv", exit::SUCCESS),
        // Flags of other tools.
        (
            "convert people.ndjson -o out.csv --format csv",
            exit::USAGE,
            "convert people.ndjson -o out.csv --to csv",
            exit::SUCCESS,
        ),
        (
            "convert people.ndjson -o out.csv --exclude=name",
            exit::USAGE,
            "convert people.ndjson -o out.csv --drop=name",
            exit::SUCCESS,
        ),
        ("head people.ndjson --columns name", exit::USAGE, "head people.ndjson --select name", exit::SUCCESS),
        (
            "convert people.ndjson -o out.csv --dry-run",
            exit::USAGE,
            "convert people.ndjson -o out.csv --preview",
            exit::SUCCESS,
        ),
        ("head -5 people.ndjson", exit::USAGE, "head -n 5 people.ndjson", exit::SUCCESS),
        // A broken record.
        (
            "convert broken.ndjson -o out.csv",
            exit::BAD_DATA,
            "convert broken.ndjson -o out.csv --on-bad-record skip",
            exit::PARTIAL,
        ),
    ];
    for (line, code, meant, code_then) in mistakes {
        // The name that is suggested is one that is free.
        let meant = meant.replace("new.parquet", "results.parquet");
        for output in ["results.parquet", "out.csv"] {
            let _ = std::fs::remove_file(place.path(output));
        }
        let done = place.run_line(line).code(*code);
        assert_eq!(done.stderr.lines().last().unwrap(), format!("try: drawoff {meant}"), "{line}:\n{}", done.stderr);
        place.run_line(&meant).code(*code_then);
        for costly in ["--new-run", "--explode"] {
            assert!(!done.stderr.contains(costly), "{line}: {costly} is suggested\n{}", done.stderr);
        }
    }
    // What is there is not written over by a suggestion.
    place.write("results.parquet", "mine");
    let done = place.run_line("convert people.ndjson").code(exit::USAGE);
    assert!(!done.stderr.contains("try: "), "{}", done.stderr);
    let without_key = Place::new();
    let done = without_key.run_line("runs ls").code(exit::NO_KEY);
    assert_eq!(done.stderr.lines().last(), Some("try: drawoff doctor"));
}

#[test]
fn other_mistakes_have_a_tip() {
    let place = Place::new();
    place.write("people.ndjson", "{\"name\":\"Ada\",\"score\":1}\n");
    place.write("semicolons.csv", "a;b\n1;2\n");
    place.write("workflow.json", "{}");
    let mistakes: &[(&str, i32, &str)] = &[
        ("workflow.json", exit::USAGE, "drawoff run workflow.json -o OUT"),
        ("tail people.ndjson", exit::USAGE, "| tail"),
        ("info people.ndjson", exit::USAGE, "drawoff schema SRC"),
        ("health", exit::USAGE, "drawoff doctor"),
        ("runs ls --token x", exit::USAGE, "SIXTYFOUR_API_KEY"),
        ("head people.ndjson -c 5", exit::USAGE, "`-n N` counts rows"),
        ("stats -f csv people.ndjson", exit::USAGE, "--from FORMAT"),
        ("head people.ndjson -n 1 --select nmae", exit::USAGE, "did you mean `name`?"),
        ("head semicolons.csv", exit::SUCCESS, "the delimiter is `;`"),
        ("run Absent --local -o out.csv", exit::CANNOT_READ, "drawoff init"),
        ("run w.json --new-rum", exit::USAGE, "'--new-run'"),
    ];
    for (line, code, tip) in mistakes {
        let done = place.run_line(line).code(*code);
        assert!(done.stderr.contains(tip), "{line}: {tip} is missing in\n{}", done.stderr);
        assert!(!done.stderr.lines().any(|line| line.starts_with("try: ") && line.contains("--new-run")));
    }
    place
        .env("SIXTYFOUR_API_KEY", "any")
        .run_line("--endpoint http://127.0.0.1:1 runs ls")
        .code(exit::UNREACHABLE)
        .hints("drawoff doctor");
}

#[test]
fn init_writes_what_runs_and_never_over_a_file() {
    let place = Place::new();
    let done = place.run_line("init demo").ok().quiet();
    let next = done.stderr.lines().find(|line| line.contains("--local")).unwrap();
    let command = next.split_once("drawoff ").unwrap().1;
    place.run_line(command).ok().says("4 rows in, 4 written");
    place.run_line("head demo/companies.csv").ok().says("8 rows in all");
    place.write("demo/companies.csv", "mine");
    std::fs::remove_file(place.path("demo/workflow.json")).unwrap();
    place.run_line("init demo").code(exit::CANNOT_WRITE).hints("drawoff init DIR").says("demo/companies.csv");
    assert_eq!(place.read_text("demo/companies.csv"), "mine");
    assert!(!place.path("demo/workflow.json").exists(), "all or nothing");
    // The definition is one that the service takes.
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let hosted = Place::with_service(&service.url);
    hosted.run_line("init").ok();
    hosted.run_line("run workflow.json --input companies.csv -o results.parquet").ok().says("4 written");
}

fn checks(place: &Place, code: i32) -> Vec<Value> {
    checks_of(place, "doctor -o ndjson", code)
}

fn checks_of(place: &Place, line: &str, code: i32) -> Vec<Value> {
    place.run_line(line).code(code).records()
}

fn state<'a>(checks: &'a [Value], name: &str) -> &'a str {
    checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("no {name} in {checks:?}"))["state"]
        .as_str()
        .unwrap()
}

#[test]
fn doctor_says_what_is_wrong_and_what_to_do() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let place = Place::with_service(&service.url);
    let done = place.run_line("doctor").ok().says("nothing is wrong");
    assert!(done.text().contains("set by environment SIXTYFOUR_API_KEY"), "{}", done.text());
    let found = checks(&place, exit::SUCCESS);
    for name in ["configuration", "key", "endpoint", "clock", "state directory", "temporary files", "outputs", "pipes"]
    {
        assert!(["ok", "doubtful"].contains(&state(&found, name)), "{name}: {found:?}");
    }
    assert_eq!(state(&found, "certificates"), "skipped");

    // No key: the endpoint is reached all the same.
    let without = Place::new().env("SIXTYFOUR_API_ENDPOINT", &service.url);
    let found = checks(&without, exit::NO_KEY);
    assert_eq!((state(&found, "key"), state(&found, "endpoint")), ("wrong", "ok"));
    without.run_line("doctor").code(exit::NO_KEY).says("key: set SIXTYFOUR_API_KEY").says("something is wrong");

    let closed = Place::with_service("http://127.0.0.1:1");
    assert_eq!(state(&checks(&closed, exit::UNREACHABLE), "endpoint"), "wrong");

    let refusing = Loopback::start(|_| Answer::error(401, "unknown key"));
    let refused = Place::with_service(&refusing.url);
    assert_eq!(state(&checks(&refused, exit::KEY_REFUSED), "endpoint"), "wrong");
    let late = Loopback::start(|_| Answer::json(&json!([])).header("date", "Thu, 01 Jan 2026 00:00:00 GMT"));
    assert_eq!(state(&checks(&Place::with_service(&late.url), exit::SUCCESS), "clock"), "doubtful");

    place.write("file", "");
    let place = place.env("DRAWOFF_STATE_DIR", "file/state");
    let found = checks(&place, exit::CANNOT_WRITE);
    assert_eq!(state(&found, "state directory"), "wrong");
    assert!(found.iter().all(|check| !check.to_string().contains(MARKED_KEY)));
}

#[test]
fn a_dry_run_starts_nothing_and_says_what_it_would_start() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let place = Place::with_service(&service.url);
    place.run_line("init").ok();
    let done = place.run_line("run workflow.json --input companies.csv --dry-run").ok();
    assert!(done.text().contains("1 run of My first workflow would be started for 8 rows"), "{}", done.text());
    place.write("rows.json", "[{\"a\":1},{\"a\":2}]");
    // Rows that do not fit the first block are refused, as by the start.
    place.run_line("run workflow.json --payload @rows.json --dry-run").code(exit::USAGE).hints("use --input FILE");
    let webhook = place.read_text("workflow.json").replace("read_csv", "webhook").replace("My first workflow", "Rows");
    place.write("webhook.json", webhook);
    let done = place.run_line("run webhook.json --payload @rows.json --dry-run").ok();
    assert_eq!(done.text(), "1 run of Rows would be started for 2 rows of the payload\n");
    place.run_line("run Absent --payload @rows.json --dry-run").code(exit::NOT_FOUND).hints("drawoff workflows ls");
    // What the command would refuse is refused.
    place.run_line("run workflow.json --input companies.csv -o absent/x.csv --dry-run").code(exit::CANNOT_WRITE);
    assert!(place.run_line("runs ls -o ndjson").ok().records().is_empty(), "no run was started");
    assert!(place.run_line("workflows ls -o ndjson").ok().records().is_empty(), "no workflow was made");
}

#[test]
fn lists_keep_ids_whole_and_times_short() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let place = Place::with_service(&service.url);
    place.run_line("init").ok();
    place.run_line("run workflow.json --input companies.csv -o results.parquet").ok();
    let id = place.run_line("runs ls -o ndjson").ok().records()[0]["job_id"].as_str().unwrap().to_owned();
    let done = place.run_line("runs ls").ok();
    assert!(done.text().contains(&id) && done.text().contains(" s ago"), "{}", done.text());
    // On a narrow terminal, too; and a pager is used there only, for what does not fit.
    let on_terminal = |term: &str, rows: u32| {
        let mut command = place.program("script");
        let line = format!("stty rows {rows} cols 60; drawoff runs ls");
        command.args(["-qec", &line, "/dev/null"]).env("TERM", term).env("PAGER", "sed s/^/paged:/");
        command
            .env("SHELL", "/bin/sh")
            .stdin(std::process::Stdio::null())
            .output()
            .ok()
            .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let Some(shown) = on_terminal("xterm", 40).filter(|shown| shown.contains("RUN")) else {
        return crate::support::skip("script(1) is not installed");
    };
    assert!(shown.contains(&id) && !shown.contains("paged:"), "{shown}");
    let shown = on_terminal("xterm", 2).unwrap();
    assert!(shown.contains("paged:RUN") && shown.contains(&id), "{shown}");
    assert!(!on_terminal("dumb", 2).unwrap().contains("paged:"));
    assert!(!place.run_line("runs ls").ok().text().contains("paged:"));
}

#[test]
fn a_dry_run_finds_what_was_started_before() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let place = Place::with_service(&service.url);
    place.run_line("init").ok();
    let line = "run workflow.json --input companies.csv --once first";
    place.run_line(&format!("{line} -o results.csv")).ok();
    let run = place.run_line("runs ls -o ndjson").ok().records()[0]["job_id"].as_str().unwrap().to_owned();
    let done = place.run_line(&format!("{line} --dry-run")).ok();
    let expected = format!("no run of My first workflow would be started for 8 rows: already started as {run}, ");
    assert!(done.text().lines().last().unwrap().starts_with(&expected), "{}", done.text());
    let done = place.run_line("run workflow.json --input companies.csv --once other --dry-run").ok();
    assert!(done.text().contains("1 run of My first workflow would be started"), "{}", done.text());
    place.write("other.csv", "company_name,domain\nA,a.example\n");
    let other = place.run_line("run workflow.json --input other.csv --once first --dry-run");
    other.code(exit::USAGE).hints("choose another name");
    // The same without a name: results that were written end it, and others do not.
    let line = "run workflow.json --input companies.csv";
    place.run_line(&format!("{line} -o results.csv")).ok();
    let done = place.run_line(&format!("{line} --dry-run")).ok();
    assert!(done.text().contains("1 run of My first workflow would be started"), "{}", done.text());
    // Rows in the request, too.
    let webhook = place.read_text("workflow.json").replace("read_csv", "webhook").replace("My first workflow", "Rows");
    place.write("webhook.json", webhook);
    place.write("rows.json", r#"[{"company_name": "Fjord Robotics", "domain": "fjord-robotics.example", "country": "NO", "employee_count": "120"}]"#);
    let line = "run webhook.json --payload @rows.json --once rows";
    place.run_line(&format!("{line} -o rows.ndjson")).ok();
    let done = place.run_line(&format!("{line} --dry-run")).ok();
    assert!(done.text().starts_with("no run of Rows would be started for 1 row of the payload: "), "{}", done.text());
    assert_eq!(place.run_line("runs ls -o ndjson").ok().records().len(), 3, "no dry run started one");
}

#[test]
fn init_names_what_helps_where_it_cannot_write() {
    let place = Place::new();
    place.write("file", "");
    let done = place.run_line("init file").code(exit::CANNOT_WRITE).hints("drawoff init DIR");
    assert!(!done.stderr.contains("--no-clobber"), "{}", done.stderr);
    let done = place.run_line("init -- -x").ok();
    assert!(done.stderr.contains("drawoff head ./-x/companies.csv"), "{}", done.stderr);
}

#[test]
fn doctor_says_what_is_wrong_with_the_settings_too() {
    let place = Place::new();
    place.write("bad.toml", "endpoint = 5\n");
    for (flags, code) in [
        ("--config bad.toml", exit::USAGE),
        ("--config absent.toml", exit::CANNOT_READ),
        ("--endpoint ht!tp:/x", exit::USAGE),
    ] {
        let found = place.run_line(&format!("doctor -o ndjson {flags}")).code(code).records();
        assert_eq!((state(&found, "configuration"), state(&found, "key")), ("wrong", "skipped"), "{flags}");
        assert_eq!(found.len(), 10, "{flags}");
        assert!(found[0]["hint"].is_string(), "{flags}");
        place.run_line(&format!("doctor {flags}")).code(code).says("configuration: ").says("something is wrong");
    }
}

#[test]
fn doctor_goes_through_the_proxy_that_requests_go_through() {
    let proxy = Loopback::start(|_| Answer::error(502, "no"));
    let place = Place::new().env("HTTPS_PROXY", &proxy.url);
    let found = checks_of(&place, "doctor -o ndjson --endpoint https://api.invalid/", exit::NO_KEY);
    assert_eq!(state(&found, "endpoint"), "ok", "{found:?}");
    assert!(found[2]["found"].as_str().unwrap().starts_with("the proxy of HTTPS_PROXY can be reached"), "{found:?}");
    let place = Place::new().env("HTTPS_PROXY", "http://127.0.0.1:1").env("SIXTYFOUR_API_KEY", "any");
    let found = checks_of(&place, "doctor -o ndjson --endpoint https://api.invalid/", exit::UNREACHABLE);
    let hint = found[2]["hint"].as_str().unwrap();
    assert!(hint.contains("the proxy of HTTPS_PROXY") && !hint.contains("doctor"), "{hint}");
    let closed = Place::with_service("http://127.0.0.1:1");
    let found = checks(&closed, exit::UNREACHABLE);
    let hint = found[2]["hint"].as_str().unwrap();
    assert!(hint.contains("behind a proxy set HTTPS_PROXY") && !hint.contains("drawoff doctor"), "{hint}");
}

#[test]
fn a_dry_run_of_an_input_without_rows_has_a_part_without_rows() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let place = Place::with_service(&service.url);
    place.run_line("init").ok();
    place.write("empty.csv", "company_name,domain,country,employee_count\n");
    let done = place.run_line("run workflow.json --input empty.csv --dry-run").ok();
    assert_eq!(done.text().lines().next(), Some("part 1: no rows"), "{}", done.text());
}

#[test]
fn long_tables_and_help_go_through_the_pager() {
    let place = Place::new();
    place.write("people.ndjson", "{\"name\":\"Ada\"}\n".repeat(30));
    let on_terminal = |command: &str, rows: u32| {
        let mut program = place.program("script");
        let line = format!("stty rows {rows} cols 100; drawoff {command}");
        program.args(["-qec", &line, "/dev/null"]).env("TERM", "xterm").env("PAGER", "sed s/^/paged:/");
        program.env("SHELL", "/bin/sh").stdin(std::process::Stdio::null());
        program.output().ok().map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
    };
    if on_terminal("head people.ndjson", 50).is_none_or(|shown| !shown.contains("Ada")) {
        return crate::support::skip("script(1) is not installed");
    }
    for command in ["head people.ndjson -n 30", "head --help"] {
        assert!(on_terminal(command, 10).unwrap().contains("paged:"), "{command}");
        assert!(!on_terminal(command, 1000).unwrap().contains("paged:"), "{command}");
    }
    assert!(!on_terminal("head -h", 60).unwrap().contains("paged:"));
}
