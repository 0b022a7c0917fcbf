//! The recipes of docs/testing.md: YAML and Python are read by their parsers, and the commands in them are run as they stand,
//! except for port and directories. No container is started.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::support::{Done, Place, exit, interrupt, root, tool, wait_for};

/// The code blocks of this language in the section of recipes.
fn blocks(language: &str) -> Vec<String> {
    let text = std::fs::read_to_string(root().join("docs/testing.md")).unwrap();
    let section =
        text.split("\n## In CI and in containers\n").nth(1).expect("the section").split("\n## ").next().unwrap();
    let starts = format!("```{language}\n");
    let found: Vec<String> =
        section.split(&starts).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect();
    assert!(!found.is_empty());
    found
}

/// Runs a Python script with `input`; `None` without Python.
fn python(script: &str, input: &str) -> Option<String> {
    let python = tool("DRAWOFF_TEST_PYTHON")?;
    let place = Place::new();
    let mut command = place.program(python);
    let mut child = command
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Some(String::from_utf8(done.stdout).unwrap())
}

/// The parsed YAML of a recipe; `None` without Python.
fn yaml(index: usize) -> Option<Value> {
    // The key `on` is true in YAML 1.1, which the parser has.
    let script = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin), default=str))";
    python(script, &blocks("yaml")[index]).map(|json| serde_json::from_str(&json).unwrap())
}

fn words(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|word| word.as_str().expect("only text").to_owned()).collect()
}

/// A service that a recipe starts, on a free port.
struct Started {
    child: Child,
    url: String,
}

impl Started {
    fn start(place: &Place, words: &[String]) -> Self {
        let mut command = place.command(words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut url).unwrap();
        assert!(url.starts_with("http://127.0.0.1:"), "{url:?}");
        Started { child, url: url.trim().to_owned() }
    }

    fn stop(mut self) {
        interrupt(&self.child);
        assert_eq!(wait_for("the end", || self.child.try_wait().unwrap()).code(), Some(exit::SUCCESS));
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_job_of_github_actions_tests_a_pipeline() {
    let Some(job) = yaml(0) else { return };
    let steps = job["jobs"]["test"]["steps"].as_array().unwrap();
    assert!(steps.iter().all(|step| step["uses"].is_string() || step["run"].is_string()), "{job}");
    let install = steps[1]["run"].as_str().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(install.ends_with(&format!("/drawoff_{version}-1_amd64.deb")), "{install}");
    let place = Place::new();
    // As the runner calls it.
    let mut command = place.program("bash");
    command.args(["--noprofile", "--norc", "-eo", "pipefail", "-c", steps[2]["run"].as_str().unwrap()]);
    Done::of(command).ok();
    assert!(place.path("leads.parquet").exists());
}

#[test]
fn the_services_of_docker_compose_start_and_are_healthy() {
    let Some(compose) = yaml(1) else { return };
    let services = &compose["services"];
    let (service, pipeline) = (&services["workflows"], &services["pipeline"]);
    let mut place = Place::new();
    for (name, value) in service["environment"].as_object().unwrap() {
        place = place.env(name, value.as_str().unwrap());
    }
    let seeds = service["volumes"][0].as_str().unwrap().split(':').next().unwrap().trim_start_matches("./").to_owned();
    let replaced = |word: String| match word.as_str() {
        "8064" => "0".to_owned(),
        _ => word.replace("/seeds", &seeds).replace("/data/", ""),
    };
    let start: Vec<String> = words(&service["command"]).into_iter().map(replaced).collect();
    let started = Started::start(&place, &start);
    let port = started.url.rsplit(':').next().unwrap();
    let check = words(&service["healthcheck"]["test"]);
    assert_eq!(check[0], "CMD");
    let health = |port: &str| {
        let words: Vec<String> = check[1..].iter().map(|word| word.replace("8064", port)).collect();
        let mut command = place.program(&words[0]);
        Done::of({
            command.args(&words[1..]);
            command
        })
    };
    health(port).ok();
    // Reaches the service on this machine, and is no address of it by name, as that of another container is not.
    let by_name = started.url.replace("127.0.0.1", "0.0.0.0");
    let mut client = Place::new();
    for (name, value) in pipeline["environment"].as_object().unwrap() {
        client = client.env(name, &value.as_str().unwrap().replace("http://workflows:8064", &by_name));
    }
    let done = client.run(&words(&pipeline["command"])).ok();
    assert!(done.text().contains("Webhook leads"), "{}", done.text());
    assert_eq!(pipeline["depends_on"]["workflows"]["condition"], "service_healthy");
    let port = port.to_owned();
    started.stop();
    assert_ne!(health(&port).code, 0, "a service that is gone is not healthy");
}

#[test]
fn the_service_of_testcontainers_starts() {
    let [text] = &blocks("py")[..] else { panic!("one block of Python") };
    let compiled = "import sys; compile(sys.stdin.read(), 'docs/testing.md', 'exec')";
    if python(compiled, text).is_none() {
        return;
    }
    let quoted = |call: &str| -> Vec<String> {
        let rest = text.split(call).nth(1).unwrap().split(')').next().unwrap();
        rest.split('"').skip(1).step_by(2).map(str::to_owned).collect()
    };
    let [name, key] = &quoted("with_env(")[..] else { panic!("a variable") };
    let place = Place::new().env(name, key);
    let command = quoted("with_command(")[0].replace("8064", "0");
    let started = Started::start(&place, &command.split(' ').map(str::to_owned).collect::<Vec<_>>());
    // What the recipe waits for, with the port inside the container.
    let waits_for = &quoted("wait_for_logs(")[0];
    assert_eq!(waits_for.rsplit_once(':').unwrap().0, started.url.rsplit_once(':').unwrap().0);
    Place::new()
        .env("SIXTYFOUR_API_ENDPOINT", &started.url)
        .env("SIXTYFOUR_API_KEY", key)
        .run(&["workflows", "ls"])
        .ok();
    started.stop();
}
