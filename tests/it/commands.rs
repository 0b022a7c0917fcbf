//! Commands around a run: help, `workflows`, `runs`, `upload`, `schema`, `config show`, colors, completions and manual
//! pages.

use serde_json::Value;

use crate::support::api::Script;
use crate::support::{Done, MARKED_KEY, Place, Service, exit};

/// Every command, as it is typed.
const COMMANDS: [&str; 35] = [
    "run",
    "pull",
    "sync",
    "loads ls",
    "loads gc",
    "plan",
    "plan status",
    "work",
    "commit",
    "convert",
    "head",
    "stats",
    "init",
    "doctor",
    "schema",
    "bulk people",
    "bulk company",
    "upload",
    "workflows ls",
    "workflows get",
    "workflows create",
    "workflows update",
    "workflows delete",
    "workflows blocks",
    "runs ls",
    "runs status",
    "runs watch",
    "runs cancel",
    "runs links",
    "serve",
    "explain",
    "config show",
    "config path",
    "completions",
    "man",
];

#[test]
fn every_commands_help_has_an_example() {
    let place = Place::new();
    for command in COMMANDS {
        let done = place.run_line(&format!("{command} --help")).ok();
        let help = done.text();
        let (_, examples) = help.split_once("Example").unwrap_or_else(|| panic!("{command}: no example in\n{help}"));
        assert!(
            examples.contains(&format!("drawoff {command}")),
            "{command}: its example is of something else\n{help}"
        );
    }
}

#[test]
fn the_list_of_commands_is_complete() {
    let place = Place::new();
    for group in ["", "bulk", "workflows", "runs", "loads", "config"] {
        let done = place.run_line(&format!("{group} --help")).ok();
        // Those of drawoff itself are in groups.
        let (begin, end) = if group.is_empty() { ("Usage:", "Options:") } else { ("Commands:", "\n\n") };
        let commands = done.text().split_once(begin).expect("a list of commands").1.trim_start();
        for line in commands.split(end).next().unwrap().lines() {
            let Some(name) = line.strip_prefix("  ").and_then(|l| l.split_whitespace().next()) else { continue };
            let full = format!("{group} {name}").trim().to_owned();
            let known = COMMANDS.iter().any(|c| *c == full || c.starts_with(&format!("{full} ")));
            // A wrapped description is indented further than a name.
            assert!(known || name == "help" || line.starts_with("   "), "{full} is not tested for an example");
        }
    }
}

#[test]
fn version_is_that_of_the_package() {
    let done = Place::new().run_line("--version").ok();
    assert_eq!(done.text().trim(), format!("drawoff {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn workflows_are_created_listed_updated_and_deleted() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let place = Place::with_service(&service.url);
    assert!(place.run_line("workflows ls -o ndjson").ok().records().is_empty());

    place.run_line("workflows create testdata/workflows/webhook-leads.json").ok();
    let listed = place.run_line("workflows ls -o ndjson").ok().records();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["name"], "Webhook leads");
    let id = listed[0]["id"].as_str().unwrap().to_owned();

    // By id and by exact name it is the same one.
    let by_id: Value = serde_json::from_str(place.run(&["workflows", "get", &id]).ok().text()).unwrap();
    let by_name: Value = serde_json::from_str(place.run(&["workflows", "get", "Webhook leads"]).ok().text()).unwrap();
    assert_eq!(by_id, by_name);
    let definition: Value = serde_json::from_str(&place.read_text("testdata/workflows/webhook-leads.json")).unwrap();
    let sent = &definition["workflow_definition"]["blocks"][1];
    assert_eq!(by_id["workflow_definition"]["blocks"][1]["specs"], sent["specs"], "specs come back as they were");

    let mut changed = definition.clone();
    changed["workflow_name"] = "Renamed".into();
    place.write("changed.json", changed.to_string());
    place.run(&["workflows", "update", &id, "changed.json"]).ok();
    let listed = place.run_line("workflows ls -o ndjson").ok().records();
    assert_eq!((&listed[0]["name"], listed.len()), (&"Renamed".into(), 1));

    // A table is for people: names and ids are there, one line each.
    let table = place.run_line("workflows ls -o table").ok();
    assert!(table.text().contains("Renamed") && table.text().contains(&id), "{}", table.text());

    place.run(&["workflows", "delete", &id]).ok();
    assert!(place.run_line("workflows ls -o ndjson").ok().records().is_empty());
    place.run(&["workflows", "get", &id]).code(exit::NOT_FOUND).says(&id);
}

#[test]
fn workflows_blocks_lists_the_catalog() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let blocks = Place::with_service(&service.url).run_line("workflows blocks -o ndjson").ok().records();
    let names: Vec<&str> = blocks.iter().map(|block| block["block_name"].as_str().unwrap()).collect();
    for name in
        ["webhook", "read_csv", "filter", "deduplicate", "remove_columns", "company_enrichment", "lead_enrichment"]
    {
        assert!(names.contains(&name), "{name} is missing in {names:?}");
    }
    assert!(blocks.iter().all(|block| block["specs_schema"].is_object()));
}

#[test]
fn runs_are_listed_shown_watched_and_linked() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let place = Place::with_service(&service.url);
    let run = "run testdata/workflows/webhook-leads.json --payload @testdata/leads.json -o out.ndjson";
    place.run_line(run).ok();

    let runs = place.run_line("runs ls -o ndjson").ok().records();
    assert_eq!((runs.len(), runs[0]["status"].as_str()), (1, Some("completed")));
    let id = runs[0]["job_id"].as_str().unwrap().to_owned();

    let table = place.run(&["runs", "status", &id]).ok();
    assert!(table.text().contains("completed") && table.text().contains("filter"), "{}", table.text());
    // A run that has ended is watched for no time.
    place.run(&["runs", "watch", &id]).ok();

    let links = place.run(&["runs", "links", &id, "-o", "ndjson"]).ok().records();
    assert_eq!(links.len(), 2, "one per block");
    assert_eq!(links[1]["row_count"], 3);

    place.run(&["pull", &id, "-o", "again.ndjson"]).ok().quiet();
    assert_eq!(place.read("again.ndjson"), place.read("out.ndjson"));
    // A cancellation does not change a run that has ended.
    place.run(&["runs", "cancel", &id]).code(exit::REFUSED).says("already completed");
    let runs = place.run_line("runs ls -o ndjson").ok().records();
    assert_eq!(runs[0]["status"], "completed");
}

#[test]
fn runs_cancel_cancels_a_run() {
    let server = Script { status: "running", ..Script::default() }.start();
    let place = Place::with_service(&server.url);
    let done = place.run(&["runs", "cancel", crate::support::api::RUN_ID]).ok();
    let said = format!("{}{}", done.text(), done.stderr);
    assert!(said.contains("cancel"), "{said}");
    assert!(server.asked().iter().any(|request| request.path == "/workflows/cancel"));
}

#[test]
fn an_upload_prints_its_handle() {
    let service_place = Place::new();
    let service = Service::start(&service_place, "data", &[]);
    let place = Place::with_service(&service.url);
    let done = place.run_line("upload testdata/companies.csv").ok();
    let handle = done.text().trim();
    assert!(!handle.is_empty() && !handle.contains(char::is_whitespace), "one word, for a script: {handle:?}");
    place.run_line("upload README.md").code(exit::CANNOT_READ).says("README.md");
}

#[test]
fn schema_prints_columns_and_types() {
    let place = Place::new();
    let done = place.run_line("schema testdata/companies.ndjson").ok();
    for part in ["record_id", "contacts", "struct", "list<", "revenue_usd"] {
        assert!(done.text().contains(part), "{part} is missing in\n{}", done.text());
    }
}

#[test]
fn config_show_prints_values_and_origins() {
    let place = Place::new();
    place.run_line("config show").ok();

    let place = Place::new().env("SIXTYFOUR_API_KEY", MARKED_KEY).env("SIXTYFOUR_API_ENDPOINT", "http://127.0.0.1:9");
    // That the key itself is nowhere is checked for every command.
    let done = place.run_line("config show").ok();
    let shown = done.text();
    assert!(shown.contains("http://127.0.0.1:9"), "{shown}");
    assert!(shown.contains("SIXTYFOUR_API_KEY") && shown.contains("SIXTYFOUR_API_ENDPOINT"), "where from: {shown}");
}

#[test]
fn the_key_is_sent_and_never_shown() {
    let server = Script::default().start();
    let place = Place::with_service(&server.url);
    let run = "run testdata/workflows/webhook-leads.json --payload @testdata/leads.json -o out.ndjson";
    place.run_line(run).ok();
    let asked = server.asked();
    assert!(asked.iter().all(|r| r.headers.get("x-api-key").map(String::as_str) == Some(MARKED_KEY)), "{asked:?}");
    // A start that is repeated must not start twice.
    let start = asked.iter().find(|request| request.path == "/workflows/run").unwrap();
    assert!(start.headers.contains_key("idempotency-key"));
    assert!(start.query.contains("result_formats=ndjson"), "{}", start.query);
    // Nothing that the command keeps for later holds the key either.
    for file in files_below(&place.path("state")) {
        let text = std::fs::read(&file).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains(MARKED_KEY), "{}", file.display());
    }
}

fn files_below(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn color_follows_the_flag_the_environment_and_the_terminal() {
    let escape = '\u{1b}';
    let failing = "runs watch --deadline soon x";
    let missing = "convert nothing.ndjson -o out.csv";
    let coloured = |place: &Place, flags: &str| {
        // An error of our own, one of the parser's, and help, which goes to standard output.
        let own = place.run_line(&format!("{missing} {flags}")).code(exit::CANNOT_READ).stderr.contains(escape);
        let parsers = place.run_line(&format!("{failing} {flags}")).code(exit::USAGE).stderr.contains(escape);
        let help = place.run_line(&format!("convert --help {flags}")).ok().text().contains(escape);
        assert!(own == parsers && own == help, "{flags}: {own} {parsers} {help}");
        own
    };
    let place = Place::new();
    assert!(!coloured(&place, ""), "not in a pipe");
    assert!(coloured(&place, "--color always"));
    let forced = Place::new().env("CLICOLOR_FORCE", "1");
    assert!(coloured(&forced, ""));
    assert!(!coloured(&forced, "--color=never"));
    let refused = Place::new().env("CLICOLOR_FORCE", "1").env("NO_COLOR", "1");
    assert!(!coloured(&refused, ""));
    assert!(coloured(&refused, "--color always"), "a flag wins");

    let done = place.run_line(&format!("{missing} --color always")).code(exit::CANNOT_READ);
    assert!(done.stderr.starts_with("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m "), "{:?}", done.stderr);
    place.run_line("runs ls --color sometimes").code(exit::USAGE).says("auto, always, never");
}

#[test]
fn completions_complete_commands_and_flags() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = place.run_line(&format!("completions {shell}")).ok();
        assert!(script.text().contains("drawoff") && script.text().contains("on-bad-record"), "{shell}");
    }
    let complete = |words: &str| {
        let mut command = place.program("bash");
        command.arg("-c").arg(format!(
            "source <(drawoff completions bash); COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 )); \
             _drawoff drawoff \"${{COMP_WORDS[COMP_CWORD]}}\" x; echo \"${{COMPREPLY[*]}}\""
        ));
        Done::of(command).ok().text().trim().to_owned()
    };
    assert_eq!(complete("drawoff con"), "convert config");
    assert_eq!(complete("drawoff runs can"), "cancel");
    assert_eq!(complete("drawoff convert --on-bad-r"), "--on-bad-record");
}

#[test]
fn a_manual_page_for_every_command() {
    let place = Place::new();
    // Neither asks the settings, which may be broken.
    let broken = Place::new().env("DRAWOFF_CONFIG", "/nonexistent/config.toml");
    assert!(broken.run_line("man").ok().text().contains(".TH drawoff 1"));
    broken.run_line("completions bash").ok();

    place.run_line("man --dir pages/man1").ok();
    for command in COMMANDS {
        let page = place.read_text(&format!("pages/man1/drawoff-{}.1", command.replace(' ', "-")));
        assert!(page.contains(".SH NAME") && page.contains("Examples:"), "{command}: {page}");
    }
    assert!(place.read_text("pages/man1/drawoff.1").contains("SIXTYFOUR_API_KEY"));
    place.write("file", "");
    place.run_line("man --dir file").code(exit::CANNOT_WRITE).says("file");
}
