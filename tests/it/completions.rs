//! Completions in real shells: names of workflows and ids of runs, from the state directory and from the API.

use serde_json::json;

use crate::support::http::{Answer, Loopback};
use crate::support::{Done, MARKED_KEY, PATIENCE, Place, Service, skip};

/// Types a line with tabulators into a shell on a terminal of its own, and waits for what the shell makes of it. Arguments: the
/// text to wait for, the line, the commands before it, and the shell with its flags.
const TYPIST: &str = r#"
import os, pty, select, sys, time
expected, typed, setup, *shell = sys.argv[1:]
pid, terminal = pty.fork()
if pid == 0:
    os.environ.update(TERM="xterm", COLUMNS="500", LINES="50")
    os.execvp(shell[0], shell)
seen = ""
def wait(text, begin):
    global seen
    end = time.monotonic() + float(os.environ["PATIENCE"])
    while text not in seen[begin:]:
        if time.monotonic() > end or not select.select([terminal], [], [], 1)[0] and os.waitpid(pid, os.WNOHANG)[0]:
            sys.exit("no %r in %r" % (text, seen))
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 65536).decode(errors="replace")
# The mark is made by the shell: the echo of the command does not have it.
os.write(terminal, (setup + "; echo RE''ADY\n").encode())
wait("READY", 0)
begin = len(seen)
os.write(terminal, typed.encode())
wait(expected, begin)
os.write(terminal, b"\x03\x04")
os.close(terminal)
print(seen[begin:])
"#;

fn types(place: &Place, expected: &str, typed: &str, setup: &str, shell: &[&str]) -> Done {
    let mut typist = place.program("python3");
    typist.args(["-c", TYPIST, expected, typed, setup]).args(shell);
    typist.env("PATIENCE", PATIENCE.as_secs().to_string()).env("SHELL", shell[0]);
    Done::of(typist)
}

fn has(program: &str) -> bool {
    Place::new().program(program).arg("--version").output().is_ok()
}

/// Starts a service with one run, and returns its id. The state directory of the place has the ledger of the run.
fn one_run(service_place: &Place) -> (Service, Place, String) {
    let service = Service::start(service_place, "data", &[]);
    let place = Place::with_service(&service.url);
    place.run_line("init").ok();
    place.run_line("run workflow.json --input companies.csv -o results.ndjson").ok();
    let id = place.run_line("runs ls -o ndjson").ok().records()[0]["job_id"].as_str().unwrap().to_owned();
    (service, place, id)
}

#[test]
fn real_shells_complete_runs_and_workflows() {
    let service_place = Place::new();
    let (_service, place, id) = one_run(&service_place);
    if !has("python3") {
        return skip("python3 is not installed");
    }
    let (start, rest) = id.split_at(8);
    let shells: [(&str, &[&str], &str); 3] = [
        ("bash", &["bash", "--norc", "--noprofile", "-i"], "source <(drawoff completions bash)"),
        ("zsh", &["zsh", "-f", "-i"], "autoload -U compinit; compinit -u -D; source <(drawoff completions zsh)"),
        ("fish", &["fish", "--no-config", "-i"], "drawoff completions fish | source"),
    ];
    for (name, shell, setup) in shells {
        if !has(name) {
            skip(&format!("{name} is not installed"));
            continue;
        }
        types(&place, rest, &format!("drawoff pull {start}\t"), setup, shell).ok();
        types(&place, rest, &format!("drawoff -q head {start}\t"), setup, shell).ok();
        types(&place, "first\\ workflow", "drawoff sync My\t", setup, shell).ok();
        // Files beside them, and all else as before.
        types(&place, "workflow.json", "drawoff run work\t", setup, shell).ok();
        types(&place, "--on-bad-record", "drawoff convert --on-bad-r\t", setup, shell).ok();
        types(&place, "cancel", "drawoff runs can\t", setup, shell).ok();
    }
}

/// The name of a workflow may come from another user: a tabulator executes nothing of it.
#[test]
fn bash_quotes_the_names_of_others() {
    let service_place = Place::new();
    let (_service, place, _) = one_run(&service_place);
    if !has("python3") || !has("bash") {
        return skip("python3 or bash is not installed");
    }
    let mut workflow: serde_json::Value = serde_json::from_slice(&place.read("workflow.json")).unwrap();
    workflow["workflow_name"] = json!("${X:=$(touch made)}`touch made`");
    place.write("hostile.json", workflow.to_string());
    place.run_line("workflows create hostile.json").ok();
    // What was known a moment ago is not asked for again.
    let _ = std::fs::remove_file(place.path("state/drawoff/completions.json"));
    let shell = ["bash", "--norc", "--noprofile", "-i"];
    let setup = "source <(drawoff completions bash)";
    types(&place, "touch\\ made", "drawoff sync \t\t", setup, &shell).ok();
    types(&place, "touch\\ made", "drawoff sync \\$\t", setup, &shell);
    assert!(!place.path("made").exists());
}

#[test]
fn values_come_from_the_state_directory_and_the_api() {
    let service_place = Place::new();
    let (service, place, id) = one_run(&service_place);
    let values = |place: &Place, words: &[&str]| {
        let words = [&["complete-values", "--"], words].concat();
        place.run(&words).ok().silent().text().to_owned()
    };
    assert_eq!(values(&place, &["pull", &id[..4]]), format!("values\n{id}\tcompleted, My first workflow\n"));
    let all = values(&place, &["head", ""]);
    assert_eq!(all, format!("values files\nlast\tthe newest run\n{id}\tcompleted, My first workflow\n"));
    assert_eq!(values(&place, &["run", "\"My f"]), "values files\nMy first workflow\tworkflow\n");
    assert_eq!(values(&place, &["pull", "-o", ""]), "", "no value of drawoff");
    // Without a key and without the service: what was pulled here is known.
    drop(service);
    let kept = place.env("SIXTYFOUR_API_KEY", "");
    assert_eq!(values(&kept, &["pull", &id[..4]]), format!("values\n{id}\tcompleted, My first workflow\n"));
    assert_eq!(values(&Place::new(), &["pull", ""]), "values\n");
    // Nothing is made by a tabulator.
    let fresh = Place::new();
    values(&fresh, &["pull", ""]);
    assert!(!fresh.path("state/drawoff").exists());
    let broken = Place::new().env("DRAWOFF_CONFIG", "/nonexistent/config.toml");
    assert_eq!(values(&broken, &["pull", ""]), "values\n");
}

#[test]
fn the_api_is_asked_once_in_a_minute_and_never_waited_for() {
    let run = "0b7cf3a4-1f7e-4c55-8a39-9e2d6f1c0a77";
    let listed = json!([{"job_id": run, "workflow_id": "w", "workflow_name": "A\u{1b}[31m", "status": "running"}]);
    let api = Loopback::start(move |_| Answer::json(&listed));
    let place = Place::with_service(&api.url);
    std::fs::create_dir_all(place.path("state/drawoff")).unwrap();
    let line = ["complete-values", "--", "--endpoint", &api.url, "pull", "0"];
    for _ in 0..3 {
        let done = place.run(&line).ok().silent();
        assert_eq!(done.text(), format!("values\n{run}\trunning, A\\u{{1b}}[31m\n"));
    }
    assert_eq!(api.asked().len(), 1);
    let cache = place.read_text("state/drawoff/completions.json");
    assert!(cache.contains(run) && !cache.contains(MARKED_KEY), "{cache}");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(place.path("state/drawoff/completions.json")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o077, 0);
    // Another account has other runs.
    let other = ["complete-values", "--", "pull", "0"];
    let place = place.env("SIXTYFOUR_API_KEY", "another");
    place.run(&other).ok().silent();
    assert_eq!(api.asked().len(), 2);
    // Errors, silence, and a command for the key, which could ask for something.
    for status in [401, 500] {
        let failing = Loopback::start(move |_| Answer::error(status, "no"));
        let place = Place::with_service(&failing.url);
        assert_eq!(place.run(&other).ok().silent().text(), "values\n");
    }
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::with_service(&format!("http://{}", silent.local_addr().unwrap()));
    assert_eq!(place.run(&other).ok().silent().text(), "values\n");
    let place = Place::new().env("SIXTYFOUR_API_ENDPOINT", &api.url);
    place.write("asks", "");
    place.run(&["complete-values", "--", "--api-key-command", "rm asks", "pull", ""]).ok().silent();
    assert!(place.path("asks").exists() && api.asked().len() == 2);
    place.run_line("complete-values").ok().silent();
}
