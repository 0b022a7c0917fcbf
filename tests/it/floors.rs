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
        // Between backticks; a private room is no link.
        for name in rest.split('`').skip(1).step_by(2) {
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
            || path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with("tests"))
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

/// The texts between quotes in `code`, comments left out.
fn string_literals(code: &str) -> Vec<String> {
    let mut found = Vec::new();
    let chars: Vec<char> = code.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or(' ');
    let mut i = 0;
    while i < chars.len() {
        match at(i) {
            '/' if at(i + 1) == '/' => {
                while i < chars.len() && at(i) != '\n' {
                    i += 1;
                }
            }
            // A quote as a character; a lifetime has none behind it.
            '\'' if at(i + 1) == '\\' => {
                i += 2;
                while i < chars.len() && at(i + 1) != '\'' {
                    i += 1;
                }
                i += 2;
            }
            '\'' if at(i + 2) == '\'' => i += 3,
            'r' if at(i + 1) == '"' || at(i + 1) == '#' => {
                let hashes = chars[i + 1..].iter().take_while(|c| **c == '#').count();
                let start = i + 1 + hashes;
                i = start;
                if at(start) == '"' {
                    let ends = |i: usize| at(i) == '"' && (1..=hashes).all(|n| at(i + n) == '#');
                    i = (start + 1..chars.len()).find(|i| ends(*i)).unwrap_or(chars.len());
                    found.push(chars[start + 1..i].iter().collect());
                    i += 1 + hashes;
                }
            }
            '"' => {
                let start = i + 1;
                i = start;
                while i < chars.len() && at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                found.push(chars[start..i.min(chars.len())].iter().collect());
                i += 1;
            }
            _ => i += 1,
        }
    }
    found
}

fn names_a_flag(text: &str) -> bool {
    text.match_indices("--").any(|(i, _)| {
        let after_word = |c: char| c.is_alphanumeric() || "-_!".contains(c);
        text[i + 2..].starts_with(|c: char| c.is_ascii_lowercase()) && !text[..i].ends_with(after_word)
    })
}

/// The local service shows the engine's errors to people who typed no flag; `cli` adds the flag in its hints.
#[test]
fn flags_are_named_by_the_command_line_only() {
    let floors = floors();
    let mut naming: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (module, file, code) in code() {
        let test_only = ["net/faults.rs", "net/scripted.rs"];
        let name = file.to_str().unwrap().to_owned();
        if module == "cli" || !floors.contains_key(&module) || test_only.contains(&name.as_str()) {
            continue;
        }
        let texts: Vec<String> = string_literals(&code).into_iter().filter(|text| names_a_flag(text)).collect();
        if !texts.is_empty() {
            naming.insert(name, texts);
        }
    }
    assert!(
        naming.is_empty(),
        "say it in the floor's own terms, and let cli/error/hints.rs name the flag: {naming:#?}"
    );
}

#[test]
fn flags_are_found_in_every_literal() {
    let code = r##"f("a \"--one\""); g(r#"say "--two""#); h('"', '\'', b'\\'); // "--three"
        fn k<'a>(x: &'a str) { m(b"--four"); n("a -- b", "x--y", "-- sql", "<!--c-->") }"##;
    let found: Vec<String> = string_literals(code).into_iter().filter(|text| names_a_flag(text)).collect();
    assert_eq!(found, [r#"a \"--one\""#, r#"say "--two""#, "--four"]);
    let none: Vec<String> = string_literals("'a' + '\\u{1b}' \"x\"");
    assert_eq!(none, ["x"]);
}

/// A file's module: `["pipeline", "run"]` of `pipeline/run.rs`, `["pipeline"]` of `pipeline/mod.rs`.
type Module = Vec<String>;

/// Words and the marks that paths are made of: `use a::{b, c as d};` gives `use`, `a`, `::`, `{`, `b`, `,` and so on.
fn tokens(code: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let len = match first {
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            ':' if rest.starts_with("::") => 2,
            c => c.len_utf8(),
        };
        if !first.is_whitespace() {
            found.push(&rest[..len]);
        }
        rest = &rest[len..];
    }
    found
}

/// Reads the path, or the tree of paths in braces, that begins at `at`; each path with the name it has afterwards.
/// Returns where it ends.
fn read_tree(tokens: &[&str], mut at: usize, before: &[String], out: &mut Vec<(Vec<String>, String)>) -> usize {
    let mut path = before.to_vec();
    loop {
        match tokens.get(at) {
            Some(&"{") => {
                at += 1;
                while at < tokens.len() && tokens[at] != "}" {
                    at = if tokens[at] == "," { at + 1 } else { read_tree(tokens, at, &path, out) };
                }
                return at + 1;
            }
            Some(&"*") => {
                out.push((path, "*".to_owned()));
                return at + 1;
            }
            Some(word) if word.starts_with(|c: char| c.is_alphabetic() || c == '_') => path.push((*word).to_owned()),
            // `Vec::<u8>`, and what else is no path of modules.
            _ => break,
        }
        at += 1;
        match tokens.get(at) {
            Some(&"::") => at += 1,
            Some(&"as") => {
                out.push((path, (*tokens.get(at + 1).unwrap_or(&"_")).to_owned()));
                return at + 2;
            }
            _ => break,
        }
    }
    // `a::{self}` is `a`.
    if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
        path.pop();
    }
    if let Some(name) = path.last().cloned() {
        out.push((path, name));
    }
    at.max(1)
}

/// The files of the crate, and how names lead from one to another.
struct Files {
    code: BTreeMap<Module, String>,
    /// Names that a module has of others: `(module, name)` to the path of the thing.
    re_exports: BTreeMap<(Module, String), Module>,
}

impl Files {
    fn new(files: impl IntoIterator<Item = (Module, String)>) -> Self {
        let code: BTreeMap<Module, String> = files.into_iter().collect();
        let mut files = Files { code, re_exports: BTreeMap::new() };
        for (module, code) in &files.code {
            for (path, name, public) in files.uses(module, code) {
                if public {
                    files.re_exports.insert((module.clone(), name), path);
                }
            }
        }
        files
    }

    /// The `use` statements of a file whose paths lead into this crate, from the crate's root: path, name, and whether
    /// others have the name of this file.
    fn uses(&self, module: &Module, code: &str) -> Vec<(Module, String, bool)> {
        let tokens = tokens(code);
        let mut found = Vec::new();
        for at in (0..tokens.len()).filter(|&at| tokens[at] == "use") {
            let public = at > 0 && (tokens[at - 1] == "pub" || tokens[at - 1] == ")");
            let mut paths = Vec::new();
            read_tree(&tokens, at + 1, &[], &mut paths);
            for (path, name) in paths {
                if let Some(path) = self.path_in_crate(module, &path) {
                    found.push((path, name, public));
                }
            }
        }
        found
    }

    /// A path that a file names, from the crate's root; `None` if it leads out of the crate.
    fn path_in_crate(&self, module: &Module, path: &[String]) -> Option<Module> {
        let mut base = module.clone();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => base.clear(),
            "self" | "super" => {}
            child => {
                base.push(child.to_owned());
                return self.code.contains_key(&base).then(|| [module, path].concat());
            }
        }
        while let Some(word) = rest.first() {
            match word.as_str() {
                "crate" | "self" => {}
                "super" => {
                    base.pop();
                }
                _ => break,
            }
            rest = &rest[1..];
        }
        Some([&base, rest].concat())
    }

    /// The module whose file has the thing at `path`.
    fn owner(&self, path: &[String]) -> Module {
        let mut module = Module::new();
        for (i, name) in path.iter().enumerate() {
            let inner = [&module[..], std::slice::from_ref(name)].concat();
            if self.code.contains_key(&inner) {
                module = inner;
                continue;
            }
            return match self.re_exports.get(&(module.clone(), name.clone())) {
                Some(target) => self.owner(&[target, &path[i + 1..]].concat()),
                None => module,
            };
        }
        module
    }

    /// The files of the same room that a file imports from. Handing on a name is no import.
    fn imports(&self, module: &Module) -> BTreeSet<Module> {
        let code = &self.code[module];
        let tokens = tokens(code);
        let mut paths: Vec<Module> = Vec::new();
        let mut modules: BTreeMap<String, Module> = BTreeMap::new();
        for (path, name, public) in self.uses(module, code) {
            let owner = self.owner(&path);
            match owner == path {
                // A module's name alone: what is taken of it stands below.
                true if !public => drop(modules.insert(name, path)),
                _ if !public => paths.push(path),
                _ => {}
            }
        }
        for at in 0..tokens.len() {
            let starts = at == 0 || !["::", "use", "mod", "as"].contains(&tokens[at - 1]);
            if !starts || tokens.get(at + 1) != Some(&"::") {
                continue;
            }
            let mut found = Vec::new();
            read_tree(&tokens, at, &[], &mut found);
            for (path, _) in found {
                match modules.get(&path[0]) {
                    Some(target) => paths.push([target, &path[1..]].concat()),
                    None => paths.extend(self.path_in_crate(module, &path)),
                }
            }
        }
        let room = module.first();
        let owners = paths.iter().map(|path| self.owner(path));
        owners.filter(|owner| owner != module && owner.first() == room && !owner.is_empty()).collect()
    }

    /// Sets of files each of which leads to all others of its set.
    fn circles(&self) -> Vec<Vec<String>> {
        let edges: BTreeMap<&Module, BTreeSet<Module>> =
            self.code.keys().map(|module| (module, self.imports(module))).collect();
        let reached = |from: &Module| {
            let mut seen: BTreeSet<&Module> = BTreeSet::new();
            let mut open: Vec<&Module> = edges[from].iter().collect();
            while let Some(module) = open.pop() {
                if seen.insert(module) {
                    open.extend(edges.get(module).into_iter().flatten());
                }
            }
            seen
        };
        let reached: BTreeMap<&Module, BTreeSet<&Module>> = self.code.keys().map(|m| (m, reached(m))).collect();
        let mut circles = BTreeSet::new();
        for (module, others) in &reached {
            if others.contains(module) {
                let circle: Vec<String> =
                    others.iter().filter(|other| reached[**other].contains(module)).map(|m| m.join("/")).collect();
                circles.insert(circle);
            }
        }
        circles.into_iter().collect()
    }
}

/// The files of `pipeline`, from the bottom, by the list in its head: each line names files, after their folder if they
/// are in one.
fn layers() -> Vec<Module> {
    let text = std::fs::read_to_string(root().join("src/pipeline/mod.rs")).unwrap();
    let list = text.split("//! ```text\n").nth(2).and_then(|rest| rest.split("//! ```\n").next());
    let lines = list.expect("the list of layers is not found").lines();
    let mut found = Vec::new();
    for line in lines.map(|line| line.trim_start_matches("//!").trim()) {
        let (folder, files) = match line.split_once("/ ") {
            Some((folder, files)) => (Some(folder.to_owned()), files),
            None => (None, line),
        };
        for file in files.split(' ') {
            let parts = ["pipeline".to_owned()].into_iter().chain(folder.clone()).chain([file.to_owned()]);
            found.push(parts.collect());
        }
    }
    found
}

#[test]
fn the_pipeline_is_in_layers() {
    let files = crate_files();
    let layers = layers();
    let place = |module: &Module| layers.iter().position(|layer| layer == module);
    for module in files.code.keys().filter(|module| module[0] == "pipeline") {
        let is_folder = files.code.keys().any(|other| other.len() == module.len() + 1 && other.starts_with(module));
        let imports = files.imports(module);
        if is_folder {
            assert!(imports.is_empty(), "{}/mod.rs declares and hands on; it imports {imports:?}", module.join("/"));
            continue;
        }
        let own = place(module).unwrap_or_else(|| panic!("{} is not on the list of layers", module.join("/")));
        for import in imports {
            let below = place(&import).unwrap_or_else(|| panic!("{module:?} imports from {}", import.join("/")));
            assert!(below < own, "{} imports {}, which is above it", module.join("/"), import.join("/"));
        }
    }
    for layer in &layers {
        assert!(files.code.contains_key(layer), "there is no {}", layer.join("/"));
    }
}

/// A worker's piece can be made in another process: nothing of it names a path or a sink.
#[test]
fn workers_know_no_path_and_no_sink() {
    let files = crate_files();
    let layers = layers();
    let at = |name: &str| layers.iter().position(|layer| layer.last().is_some_and(|last| last == name)).unwrap();
    let workers_half = layers[at("buffers")..=at("row_groups")].iter().chain(&layers[at("message")..=at("worker")]);
    for module in workers_half {
        for word in ["Path", "sink", "std::fs", "std::io"] {
            let is_word = |code: &str| tokens(code).contains(&word) || word.contains("::") && code.contains(word);
            assert!(!is_word(&files.code[module]), "{} has {word}", module.join("/"));
        }
    }
}

/// The schema grows in the order of records, which only the writer knows.
#[test]
fn only_the_writer_publishes_the_schema() {
    for (module, code) in crate_files().code {
        let publishes = code.contains("registry.publish(");
        assert_eq!(publishes, module == ["pipeline", "writer"], "{}", module.join("/"));
    }
}

/// All files of the crate but those of tests.
fn crate_files() -> Files {
    let module_of = |file: PathBuf| {
        let path = file.with_extension("");
        let mut module: Module = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if module.last().is_some_and(|last| last == "mod") {
            module.pop();
        }
        module
    };
    Files::new(code().into_iter().map(|(_, file, code)| (module_of(file), code)))
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let files = crate_files();
    let n_edges: usize = files.code.keys().map(|module| files.imports(module).len()).sum();
    assert!(n_edges > 300, "the imports are not found: {n_edges}");
    let circles = files.circles();
    assert!(circles.is_empty(), "files import each other in a circle:\n{circles:#?}");
}

#[test]
fn circles_are_found_in_every_shape() {
    let circles = |files: &[(&str, &str)]| {
        let files =
            files.iter().map(|(module, code)| (module.split('/').map(str::to_owned).collect(), (*code).to_owned()));
        Files::new(files).circles()
    };
    let there = ("a/one", "use super::Two;");
    // Through a name that the room hands on, a path in an expression, a name for a module, and a tree.
    for back in [
        "use super::one::One;",
        "fn f() { super::one::g() }",
        "use super::one as x;\nfn f() { x::g() }",
        "use crate::a::{one::{g, h}};",
    ] {
        assert_eq!(circles(&[("a", "pub use two::Two;"), there, ("a/two", back)]), [["a/one", "a/two"]], "{back}");
    }
    // Handing on is no import, and what the room itself has is.
    assert!(circles(&[("a", "mod two;\npub use two::Two;"), there, ("a/two", "use super::Other;")]).is_empty());
    assert_eq!(circles(&[("a", "use two::Two;"), ("a/two", "use super::Other;")]), [["a", "a/two"]]);
}

#[test]
fn imports_are_found_in_every_shape() {
    let code = "use crate::column::Schema;\nuse crate::{api::{Run, routes}, text, net::http as n};\nfn f() { crate::sink::go() }";
    let found: Vec<_> = imports(code).into_iter().collect();
    assert_eq!(found, ["api", "column", "net", "sink", "text"]);
}
