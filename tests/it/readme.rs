//! README.md tells the truth: its commands are understood, those on the test data are run, and its
//! exit codes are the ones of `--help`.

use std::collections::BTreeMap;

use crate::support::{Done, Place, root, skip};

fn text() -> String {
    std::fs::read_to_string(root().join("README.md")).unwrap()
}

/// The lines of the shell examples, in order; a line that ends in a backslash is joined to the next.
pub fn command_lines() -> Vec<String> {
    let mut lines = Vec::new();
    let mut inside = false;
    let mut joined = String::new();
    for line in text().lines() {
        if line.starts_with("```") {
            inside = line == "```sh";
            continue;
        }
        if !inside || line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match line.strip_suffix('\\') {
            Some(part) => joined.push_str(part.trim_end()),
            None => {
                joined.push_str(line);
                lines.push(std::mem::take(&mut joined));
            }
        }
    }
    lines
}

/// The calls of drawoff in a line: between pipes, after assignments, without comment and redirections.
fn calls(line: &str) -> Vec<String> {
    let line = line.split(" #").next().unwrap_or(line).replace("cargo run -- ", "drawoff ");
    let call = |part: &str| {
        let words: Vec<&str> = part.split_whitespace().skip_while(|word| word.contains('=')).collect();
        let end = words.iter().position(|word| word.starts_with(['>', '<', '&']) || word.starts_with("2>"));
        let words = &words[..end.unwrap_or(words.len())];
        (words.first() == Some(&"drawoff")).then(|| words.join(" "))
    };
    line.split(" | ").filter_map(call).collect()
}

#[test]
fn it_leads_with_the_two_commands() {
    let lines = command_lines();
    assert!(lines[0].starts_with("cargo run -- run "), "{}", lines[0]);
    assert_eq!(lines[1], "cargo test");
    // `.ci/run` ends with exactly that.
    let ci = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    assert_eq!(ci.lines().last(), Some("step cargo test"));
}

#[test]
fn every_command_is_understood() {
    let place = Place::new();
    let mut seen = 0;
    for line in command_lines() {
        for call in calls(&line) {
            // Help stands last: an argument that is not known is an error before it.
            let mut command = place.program("sh");
            command.arg("-c").arg(format!("{call} --help"));
            Done::of(command).ok();
            seen += 1;
        }
    }
    assert!(seen > 15, "only {seen} commands are found in README.md");
}

#[test]
fn commands_on_the_test_data_are_run() {
    let place = Place::new();
    let has_jq = Done::of({
        let mut command = place.program("sh");
        command.arg("-c").arg("command -v jq || true");
        command
    });
    let has_jq = !has_jq.stdout.is_empty();
    let mut ran = 0;
    for line in command_lines() {
        // A file that the next line takes is written; the rest needs the hosted service, an id, or a server that goes on.
        let is_written = line.starts_with("echo ") && line.contains(" > ");
        if !is_written && !line.contains("testdata/")
            || line.contains("://")
            || line.contains(" serve ")
            || line.contains('$')
        {
            continue;
        }
        let local = is_written || ["convert", "schema", "--local"].iter().any(|word| line.contains(word));
        if !local {
            continue;
        }
        if line.contains("jq") && !has_jq {
            skip("jq is not installed");
            continue;
        }
        let mut command = place.program("bash");
        command.arg("-o").arg("pipefail").arg("-c").arg(line.replace("cargo run -- ", "drawoff "));
        Done::of(command).ok();
        ran += 1;
    }
    assert!(ran >= 5, "only {ran} commands of README.md are run");
}

/// Code to name and meaning in lines such as `| 4 | bad data | a record ... |` or `  4  bad data  a record ...`.
fn exit_codes(text: &str) -> BTreeMap<u32, (String, String)> {
    let mut found = BTreeMap::new();
    for line in text.lines() {
        let line = line.replace('|', "  ");
        let mut parts = line.split("  ").map(str::trim).filter(|part| !part.is_empty());
        let Some(code) = parts.next().and_then(|part| part.parse().ok()) else { continue };
        let (Some(name), Some(meaning)) = (parts.next(), parts.next()) else { continue };
        found.insert(code, (name.to_owned(), meaning.to_owned()));
    }
    found
}

#[test]
fn exit_codes_are_those_of_the_binary() {
    let readme = text();
    let table = readme.split_once("## Exit codes").expect("a section on exit codes").1;
    let table = exit_codes(table.split("\n## ").next().unwrap());
    let help = Place::new().run(&["--help"]).ok();
    let listed = help.text().split_once("Exit codes").expect("exit codes in the help").1;
    assert_eq!(table, exit_codes(listed));
    assert_eq!(table.len(), 25);
}

#[test]
fn environment_names_are_those_of_the_binary() {
    // Every name of ours in the sources is told, and nothing is told that is not there.
    let mut sources = String::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                sources.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let names = |text: &str| -> std::collections::BTreeSet<String> {
        let word = |c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        let ours = |name: &&str| name.starts_with("DRAWOFF_") || name.starts_with("SIXTYFOUR_");
        let names =
            text.split(word).filter(ours).filter(|name| !name.ends_with('_') && !name.starts_with("DRAWOFF_TEST"));
        names.map(str::to_owned).collect()
    };
    assert_eq!(names(&text()), names(&sources));
}
