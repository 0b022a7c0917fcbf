//! README.md and the pages of `docs/`: their commands parse, those on the test data succeed, links lead to existing
//! files, and the tables of exit codes, environment variables and settings match the binary.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use drawoff::cli::settings::TABLE;

use crate::support::{Done, Place, root, skip};

/// README.md and CONTRIBUTING.md first, then the pages of docs/ by name: path from the root, and text.
fn pages() -> Vec<(PathBuf, String)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(root().join("docs"))
        .unwrap()
        .map(|entry| Path::new("docs").join(entry.unwrap().file_name()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect();
    paths.sort();
    paths.insert(0, "README.md".into());
    paths.insert(1, "CONTRIBUTING.md".into());
    paths.into_iter().map(|path| (path.clone(), std::fs::read_to_string(root().join(path)).unwrap())).collect()
}

fn page(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The commands of README.md, in order.
pub fn command_lines() -> Vec<String> {
    commands_of(&page("README.md"))
}

/// The lines of the shell examples, in order; a line that ends in a backslash is joined to the next.
fn commands_of(text: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inside = false;
    let mut joined = String::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("```") {
            inside = line == "```sh";
            continue;
        }
        if !inside || line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        match line.strip_suffix('\\') {
            Some(part) => joined.push_str(&format!("{} ", part.trim_end())),
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
fn the_readme_leads_with_its_two_commands() {
    let lines = command_lines();
    assert!(lines[0].starts_with("cargo run -- run "), "{}", lines[0]);
    assert_eq!(lines[1], "cargo test");
    // `.ci/run` ends with exactly that.
    let ci = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    assert_eq!(ci.lines().last(), Some("step cargo test"));
}

#[test]
fn every_documented_command_parses() {
    let place = Place::new();
    let (mut seen, mut wrong) = (0, Vec::new());
    for (path, text) in pages() {
        for line in commands_of(&text) {
            for call in calls(&line) {
                // Help stands last: an argument that is not known is an error before it.
                let mut command = place.program("sh");
                command.arg("-c").arg(format!("{call} --help"));
                let done = Done::of(command);
                if done.code != 0 {
                    wrong.push(format!("{}: {line}\n  {}", path.display(), done.stderr));
                }
                seen += 1;
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen > 100, "only {seen} commands are found");
}

/// True if a line of a page runs without the hosted service, an id, or a server that goes on. A line that writes a file
/// for the next one counts too.
fn runs_here(line: &str) -> bool {
    let written = (line.starts_with("echo ") || line.starts_with("printf ")) && line.contains(" > ");
    let local =
        ["convert ", "schema ", "explain ", "head ", "stats ", "--local"].iter().any(|word| line.contains(word));
    let elsewhere = line.contains("://") || line.contains(" serve ") || line.contains('$');
    written || local && line.contains("testdata/") && !elsewhere
}

#[test]
fn documented_commands_on_the_test_data_succeed() {
    let has_jq = Place::new().program("jq").arg("--version").output().is_ok_and(|output| output.status.success());
    let (mut ran, mut wrong) = (0, Vec::new());
    for (path, text) in pages() {
        // A page's commands in its order, in one directory: a file that one writes may be the input of the next.
        let place = Place::new();
        for line in commands_of(&text).into_iter().filter(|line| runs_here(line)) {
            if line.contains("jq") && !has_jq {
                skip("jq is not installed");
                continue;
            }
            let mut command = place.program("bash");
            command.arg("-o").arg("pipefail").arg("-c").arg(line.replace("cargo run -- ", "drawoff "));
            let done = Done::of(command);
            if done.code != 0 {
                wrong.push(format!("{}: {line}\n  exit {}: {}", path.display(), done.code, done.stderr));
            }
            ran += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(ran >= 30, "only {ran} commands are run");
}

/// The targets of a page's links to files, without their anchors.
fn linked_files(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let images = text.split("src=\"").skip(1).filter_map(|rest| rest.split('"').next());
    let files = targets.chain(images).filter(|target| !target.contains("://") && !target.starts_with('#'));
    files.filter_map(|target| target.split('#').next()).collect()
}

#[test]
fn links_lead_to_existing_files_and_every_page_is_linked() {
    let mut linked = BTreeSet::new();
    for (path, text) in pages() {
        for target in linked_files(&text) {
            let file = root().join(&path).parent().unwrap().join(target);
            assert!(file.exists(), "{} links to {target}, which does not exist", path.display());
            linked.insert(file.canonicalize().unwrap());
        }
    }
    for (path, _) in pages().into_iter().skip(1) {
        let file = root().join(&path).canonicalize().unwrap();
        assert!(linked.contains(&file), "no page links to {}", path.display());
    }
}

#[test]
fn the_readme_is_short() {
    let text = page("README.md");
    let lines = text.lines().count();
    assert!(lines <= 130, "README.md has {lines} lines; details belong to docs/");
}

/// The tools of README.md's table, as the record calls them.
const TOOLS: [(&str, &str); 7] = [
    ("**drawoff**", "drawoff"),
    ("DuckDB, all types given", "DuckDB, told all types"),
    ("DuckDB, default", "DuckDB"),
    ("DuckDB, types from a full scan", "DuckDB, full scan"),
    ("ClickHouse, two types given", "ClickHouse (chdb)"),
    ("pyarrow, two types given", "pyarrow"),
    ("polars, two types given", "polars"),
];

/// Every tool of the record is in the table of README.md, with the medians and peaks of the record that it names.
#[test]
fn the_comparison_with_other_tools_matches_its_record() {
    let readme = page("README.md");
    let name = linked_files(&readme).into_iter().find(|file| file.starts_with("benches/record/")).expect("a record");
    let record: serde_json::Value = serde_json::from_str(&page(name)).unwrap();
    let results = record["tasks"]["a"]["results"].as_array().unwrap();
    assert_eq!(results.len(), TOOLS.len());
    let seconds = |result: &serde_json::Value, of: &str| {
        let mut runs: Vec<f64> = result[of].as_array().unwrap().iter().map(|run| run.as_f64().unwrap()).collect();
        runs.sort_by(f64::total_cmp);
        format!("{:.2} s", runs[runs.len() / 2])
    };
    for (row, tool) in TOOLS {
        let line = readme.lines().find(|line| line.starts_with(&format!("| {row} |"))).expect(row).replace("**", "");
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let result = results.iter().find(|result| result["tool"] == tool).expect(tool);
        assert_eq!(cells[2..4], [seconds(result, "wall_s"), seconds(result, "cpu_s")], "{row}");
        let peak = result["peak_bytes"].as_array().unwrap().iter().map(|bytes| bytes.as_u64().unwrap()).max();
        assert_eq!(cells[4].replace(',', ""), format!("{:.0} MiB", peak.unwrap() as f64 / f64::from(1 << 20)), "{row}");
        assert_eq!(cells[5].starts_with("right"), result["check"] == "right", "{row}");
    }
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
    let table = exit_codes(&page("docs/exit-codes.md"));
    let help = Place::new().run(&["--help"]).ok();
    let listed = help.text().split_once("Exit codes").expect("exit codes in the help").1;
    assert_eq!(table, exit_codes(listed));
    assert_eq!(table.len(), 29);
}

#[test]
fn environment_names_are_those_of_the_binary() {
    // The page has the names of ours that the sources have, and no others.
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
    let names = |text: &str| -> BTreeSet<String> {
        let word = |c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
        let ours = |name: &&str| name.starts_with("DRAWOFF_") || name.starts_with("SIXTYFOUR_");
        let names =
            text.split(word).filter(ours).filter(|name| !name.ends_with('_') && !name.starts_with("DRAWOFF_TEST"));
        names.map(str::to_owned).collect()
    };
    assert_eq!(names(&page("docs/settings.md")), names(&sources));
}

/// The rows of the page of settings are those of the table that flags, help and the configuration file go by.
#[test]
fn the_settings_page_matches_the_settings_table() {
    let page = page("docs/settings.md");
    let (_, reference) = page.split_once("\n|---|---|---|---|---|\n").expect("a table of five columns");
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.replace('`', "").trim().to_owned()).collect()
    };
    let written: Vec<Vec<String>> =
        reference.lines().take_while(|line| line.starts_with('|')).map(cells).map(|row| row[..4].to_vec()).collect();
    let table = TABLE.iter().map(|row| {
        let names = row.names();
        // A flag that help does not show is not on the page.
        let flag = names.flag.filter(|flag| flag.heading.is_some()).map(|flag| flag.flag);
        vec![
            names.environment.unwrap_or_default().to_owned(),
            if names.in_file { names.name } else { "" }.to_owned(),
            flag.unwrap_or_default().to_owned(),
            row.default_text().replace('`', ""),
        ]
    });
    assert_eq!(written, table.collect::<Vec<_>>());
}

/// The site lists what docs/README.md lists, so that a page that is missing there is an error here.
#[test]
fn every_page_is_in_the_table_of_contents_of_the_site() {
    let Ok(done) = Place::new().program("python3").arg(root().join("packaging/site/build")).arg("--summary").output()
    else {
        return skip("python3 is not installed");
    };
    let contents = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let pages = pages().into_iter().map(|(path, _)| path).filter(|path| path.starts_with("docs"));
    let pages: Vec<String> = pages.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert!(pages.len() > 25);
    for page in &pages {
        assert_eq!(contents.matches(&format!("]({page})")).count(), 1, "{page} in\n{contents}");
    }
    assert_eq!(contents.matches("](").count(), pages.len());
}
