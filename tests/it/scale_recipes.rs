//! The recipes of `examples/scale`: docs/scale.md has them as they are, their exit codes are those of docs/exit-codes.md, and
//! their commands do a plan on this machine. Slurm itself is for `.ci/full`: tests/scale.

use std::process::Command;

use serde_json::{Value, json};

use crate::scale::{Desk, rows_of_directory};
use crate::support::{Done, Place, exit, root, skip, tool};

const NAMES: [&str; 5] = ["Makefile", "kubernetes-job.yaml", "parallel.sh", "slurm.sh", "spark_work.py"];

fn recipe(name: &str) -> String {
    std::fs::read_to_string(root().join("examples/scale").join(name)).unwrap()
}

/// Exit codes by their word in the column `a retry`.
fn exit_codes(retry: &str) -> Vec<i64> {
    let page = std::fs::read_to_string(root().join("docs/exit-codes.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.ends_with(&format!("| {retry} |")));
    rows.filter_map(|line| line.split('|').nth(1)?.trim().parse().ok()).collect()
}

/// Runs of two rows each, with a plan of them.
fn desk(n: i64) -> Desk {
    let runs: Vec<Value> = (0..n).map(|i| json!([{"n": 2 * i}, {"n": 2 * i + 1}])).collect();
    let desk = Desk::start(&[], &runs);
    desk.of_runs(&["plan"], &["-o", "plan"]).ok();
    desk
}

fn numbers(place: &Place, directory: &str) -> Vec<i64> {
    rows_of_directory(place, directory).iter().map(|row| row["n"].as_i64().unwrap()).collect()
}

/// True if the program is there; otherwise it is said.
fn has(place: &Place, program: &str) -> bool {
    let found = place.program(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        skip(&format!("{program} is not installed"));
    }
    found
}

#[test]
fn the_page_has_every_recipe_as_it_is() {
    let page = std::fs::read_to_string(root().join("docs/scale.md")).unwrap();
    let mut found: Vec<String> = std::fs::read_dir(root().join("examples/scale"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    assert_eq!(found, NAMES);
    for name in NAMES {
        assert!(page.contains(&format!("\n{}```\n", recipe(name))), "docs/scale.md has not what is in {name}");
        assert!(page.contains(&format!("(../examples/scale/{name})")), "docs/scale.md has no link to {name}");
    }
}

#[test]
fn make_does_the_parts_and_then_the_commit() {
    let desk = desk(10);
    if !has(&desk.place, "make") {
        return;
    }
    desk.place.write("Makefile", recipe("Makefile"));
    let make = |flags: &[&str]| {
        let mut command = desk.place.program("make");
        command.args(["-j4", "PLAN=plan", "OUT=out/"]).args(flags);
        Done::of(command)
    };
    make(&[]).ok();
    assert_eq!(numbers(&desk.place, "out"), (0..20).collect::<Vec<_>>());
    make(&["SHARDS=3"]).ok().says("nothing was changed");
}

#[test]
fn parallel_does_the_parts_and_then_the_commit() {
    let desk = desk(10);
    if !has(&desk.place, "parallel") {
        return;
    }
    let script = desk.place.write("parallel.sh", recipe("parallel.sh"));
    let mut command = desk.place.program("sh");
    command.arg(script).args(["plan", "out/"]);
    Done::of(command).ok();
    assert_eq!(numbers(&desk.place, "out"), (0..20).collect::<Vec<_>>());
}

/// The script of an array, with the variables of Slurm and a `scontrol` that records its arguments.
#[test]
fn a_task_of_slurm_is_queued_again_if_a_retry_helps() {
    let desk = desk(5);
    let script = desk.place.write("slurm.sh", recipe("slurm.sh"));
    let scontrol = desk.place.write("home/scontrol", "#!/bin/sh\necho \"$@\" >> told\n");
    std::fs::set_permissions(&scontrol, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let task = |id: &str, restarts: &str, endpoint: &str| {
        let mut command: Command = desk.place.program("sh");
        let path = command.get_envs().find(|(name, _)| *name == "PATH").unwrap().1.unwrap().to_owned();
        command.arg(&script).env("PATH", format!("{}:{}", desk.place.path("home").display(), path.display()));
        command.env("PLAN", "plan").env("SLURM_ARRAY_TASK_ID", id).env("SLURM_ARRAY_TASK_COUNT", "2");
        command.env("SLURM_ARRAY_JOB_ID", "77").env("SLURM_RESTART_COUNT", restarts);
        command.env("SIXTYFOUR_API_ENDPOINT", endpoint);
        Done::of(command)
    };
    let told = || std::fs::read_to_string(desk.place.path("told")).unwrap_or_default();
    task("1", "0", "http://127.0.0.1:9").code(exit::UNREACHABLE);
    assert_eq!(told(), "requeue 77_1\n");
    task("1", "6", "http://127.0.0.1:9").code(exit::UNREACHABLE);
    assert_eq!(told(), "requeue 77_1\n", "not for ever");
    task("1", "1", &desk.service.url).ok().says("2 items done");
    task("0", "", &desk.service.url).ok().says("3 items done");
    desk.run("commit plan -o out/").ok();
    assert_eq!(numbers(&desk.place, "out"), (0..10).collect::<Vec<_>>());

    // The list of the script is that of the page.
    let line =
        recipe("slurm.sh").lines().find(|line| line.ends_with(')') && line.starts_with("14 | ")).unwrap().to_owned();
    let codes: Vec<i64> = line.trim_end_matches(')').split(" | ").map(|code| code.parse().unwrap()).collect();
    assert_eq!(codes, exit_codes("helps"));
}

/// The program of Spark, on Sail, which speaks the same protocol. Only `.ci/full` has it.
#[test]
fn the_program_of_spark_does_the_plan_on_sail() {
    let program = recipe("spark_work.py");
    let codes = program.split_once("TRANSIENT = (").unwrap().1.split_once(')').unwrap().0;
    let codes: Vec<i64> = codes.split(", ").map(|code| code.parse().unwrap()).collect();
    assert_eq!(codes, exit_codes("helps"));
    if std::env::var_os("DRAWOFF_TEST_READERS_PYTHON").is_none() {
        return;
    }
    let Some(python) = tool("DRAWOFF_TEST_READERS_PYTHON") else { return };
    let desk = desk(5);
    desk.place.write("spark_work.py", program);
    let start = |plan: &str, target: &str| {
        let mut command = desk.place.program(&python);
        command.arg(root().join("tests/it/support/sail_program.py")).args(["spark_work.py", plan, "-o", target]);
        command.env("PYTHONWARNINGS", "ignore");
        Done::of(command)
    };
    start("plan", "out/").ok();
    assert_eq!(numbers(&desk.place, "out"), (0..10).collect::<Vec<_>>());
    // Everything is done: it only commits, and that changes nothing.
    start("plan", "out/").ok().says("nothing was changed");
    desk.of_runs(&["plan"], &["-o", "bad", "--with", "m = cast('x' as int)"]).ok();
    start("bad", "bad.parquet").code(1).says("failed with exit code 4");
    assert!(!desk.place.path("bad.parquet").exists());
}

/// The Job, taken apart by a parser of YAML: its command is run once for each index, without a container.
#[test]
fn the_job_of_kubernetes_does_the_plan_and_fails_only_for_good_reasons() {
    let Some(python) = tool("DRAWOFF_TEST_PYTHON") else { return };
    let desk = desk(5);
    let file = desk.place.write("job.yaml", recipe("kubernetes-job.yaml"));
    let mut command = desk.place.program(&python);
    command.args(["-c", "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))"]).arg(file);
    let job: Value = serde_json::from_str(Done::of(command).ok().text()).unwrap();
    let (spec, pod) = (&job["spec"], &job["spec"]["template"]["spec"]);
    assert_eq!([&job["kind"], &spec["completionMode"], &pod["restartPolicy"]], ["Job", "Indexed", "Never"]);
    let rule = &spec["podFailurePolicy"]["rules"][0];
    assert_eq!((&rule["action"], &rule["onExitCodes"]["operator"]), (&json!("FailIndex"), &json!("In")));
    assert_eq!(rule["onExitCodes"]["containerName"], pod["containers"][0]["name"]);
    assert_eq!(rule["onExitCodes"]["values"], json!(exit_codes("no")));

    let container = &pod["containers"][0];
    let words: Vec<&str> = container["command"].as_array().unwrap().iter().map(|word| word.as_str().unwrap()).collect();
    assert_eq!(container["env"][0]["name"], "PLAN");
    let completions = spec["completions"].as_i64().unwrap();
    // Only the first of the shards have an item.
    for index in (0..completions).rev() {
        let mut command = desk.place.program(words[0]);
        command.args(&words[1..]).env("PLAN", "plan").env("JOB_COMPLETION_INDEX", index.to_string());
        Done::of(command).ok();
    }
    desk.run("commit plan -o out/").ok();
    assert_eq!(numbers(&desk.place, "out"), (0..10).collect::<Vec<_>>());
}
