//! The floors of `src/lib.rs`: imports go down only, and the two lowest floors are pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::support::root;

/// Module to floor, read from the list in the crate's documentation, so that the two cannot differ.
fn floors() -> BTreeMap<String, usize> {
    let text = std::fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let mut floors = BTreeMap::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("//! ")) {
        let Some((number, rest)) = line.split_once(". ") else { continue };
        let Ok(number) = number.parse::<usize>() else { continue };
        for name in rest.split("[`").skip(1).filter_map(|part| part.split_once('`')).map(|(name, _)| name) {
            floors.entry(name.trim_start_matches("mod@").to_owned()).or_insert(number);
        }
    }
    assert!(floors.len() > 10, "the list of floors in src/lib.rs is not found: {floors:?}");
    floors
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The code of each module, its tests and comments left out: `(module, file, code)`.
fn code() -> Vec<(String, PathBuf, String)> {
    let src = root().join("src");
    let mut found = Vec::new();
    for path in sources(&src) {
        let inside = path.strip_prefix(&src).unwrap().to_owned();
        let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
        let module = first.trim_end_matches(".rs").to_owned();
        if ["main", "lib"].contains(&module.as_str())
            || path.ends_with("tests.rs")
            || inside.components().any(|c| c.as_os_str() == "tests")
        {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        // Tests stand last in a file.
        let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        found.push((module, inside, lines.collect::<Vec<_>>().join("\n")));
    }
    found
}

/// Top-level modules that `code` names through `crate::`.
fn imports(code: &str) -> BTreeSet<String> {
    let word =
        |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        match rest.strip_prefix('{') {
            Some(group) => {
                // The first word of each entry at the outermost level of the group.
                let mut depth = 0;
                let mut entry_starts = true;
                for (i, c) in group.char_indices() {
                    match c {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => entry_starts = true,
                        c if entry_starts && c.is_alphabetic() => {
                            found.insert(word(&group[i..]));
                            entry_starts = false;
                        }
                        _ => {}
                    }
                }
            }
            None => {
                found.insert(word(rest));
            }
        }
    }
    found
}

#[test]
fn imports_go_down_only() {
    let floors = floors();
    let mut wrong = Vec::new();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, file, code) in code() {
        let floor = *floors.get(&module).unwrap_or_else(|| panic!("{module} has no floor in src/lib.rs"));
        for import in imports(&code) {
            // Names that are not modules come from macros and the crate root's own items.
            let Some(&below) = floors.get(&import) else { continue };
            if below > floor {
                wrong.push(format!("{}: floor {floor} imports {import} of floor {below}", file.display()));
            }
            if import != module {
                edges.entry(module.clone()).or_default().insert(import);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // The two sides of the API meet only in `api`.
    let meets = |a: &str, b: &str| edges.get(a).is_some_and(|imports| imports.contains(b));
    assert!(!meets("client", "service") && !meets("service", "client"));

    // Neighbours on a floor may import each other in one direction only.
    let mut rest = edges;
    while let Some(leaf) =
        rest.iter().find(|(_, to)| to.iter().all(|to| !rest.contains_key(to))).map(|(m, _)| m.clone())
    {
        rest.remove(&leaf);
    }
    assert!(rest.is_empty(), "these modules import each other in a circle: {rest:?}");
}

#[test]
fn pure_work_knows_no_files_sockets_or_clock() {
    let floors = floors();
    for (module, file, code) in code() {
        let mut forbidden: Vec<&str> = Vec::new();
        if floors[&module] == 1 {
            forbidden.extend(["tokio", "reqwest", "std::fs", "std::net", "Instant", "SystemTime", "std::thread"]);
        }
        // The engine knows neither the command line nor the environment.
        if floors[&module] <= 3 {
            forbidden.extend(["clap::", "env::var", "env::args"]);
        }
        // SSL_CERT_FILE and SSL_CERT_DIR are names that the TLS libraries read by themselves.
        if file == Path::new("net/tls.rs") {
            forbidden.retain(|word| *word != "env::var");
        }
        for word in forbidden {
            assert!(!code.contains(word), "{} (floor {}) has {word}", file.display(), floors[&module]);
        }
    }
}

/// A client that is built elsewhere loads the system's CA certificates, and fails where there are none.
#[test]
fn http_clients_are_built_in_one_place() {
    for (_, file, code) in code() {
        if file == Path::new("net/tls.rs") {
            continue;
        }
        for word in ["Client::builder", "ClientBuilder::new", "Client::new()", "reqwest::get"] {
            assert!(!code.contains(word), "{} has {word}; net::client_builder makes clients", file.display());
        }
    }
}

#[test]
fn imports_are_found_in_every_shape() {
    let code = "use crate::column::Schema;\nuse crate::{api::{Run, routes}, text, net::http as n};\nfn f() { crate::sink::go() }";
    let found: Vec<_> = imports(code).into_iter().collect();
    assert_eq!(found, ["api", "column", "net", "sink", "text"]);
}
