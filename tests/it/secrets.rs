//! Secrets: API keys from every source, signed URLs and passwords carry a mark, which must not appear in output, logs,
//! state or any other file.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::support::api::{RUN_ID, Script};
use crate::support::http::{Answer, Loopback, Request};
use crate::support::{Done, Place, exit};

/// Part of every secret of these tests, and of nothing else.
const MARK: &str = "marked-";

/// Collects names and contents of all files below `folder`, except those that the tests planted.
fn everything_below(folder: &Path, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = entry.path();
        let name = path.display().to_string();
        if entry.file_type().unwrap().is_dir() {
            everything_below(&path, found);
        } else if !entry.file_type().unwrap().is_symlink() && !name.ends_with(".planted") {
            found.push((name, std::fs::read(path).unwrap()));
        }
    }
}

#[track_caller]
fn nothing_is_seen(place: &Place, done: &Done) {
    let mut all = Vec::new();
    everything_below(&place.path("."), &mut all);
    all.push(("standard output".into(), done.stdout.clone()));
    all.push(("standard error".into(), done.stderr.clone().into_bytes()));
    for (name, bytes) in all {
        let text = String::from_utf8_lossy(&bytes);
        assert!(!name.contains(MARK) && !text.contains(MARK), "a secret is in {name}:\n{text}");
    }
}

/// Starts a scripted service with a secret in every link. `how` selects the failure.
fn service(how: &'static str) -> Loopback {
    let script = Script { cut_at: (how == "cut").then_some(20), ..Script::default() };
    Loopback::start(move |request: &Request| {
        let signed = request.path.ends_with("download-links") || request.path.starts_with("/files/");
        match how {
            "unreachable" if request.path == "/workflows/run" => Answer { cut_at: Some(0), ..Answer::error(500, "") },
            "refused" if !signed => Answer::error(401, "Invalid API key"),
            "expired" if request.path.starts_with("/files/") => Answer::error(403, "Request has expired"),
            "redirect" if request.path.starts_with("/files/") => {
                let to = format!("http://127.0.0.1:9/elsewhere?sig={MARK}redirect");
                Answer { headers: vec![("location".into(), to)], ..Answer::error(302, "") }
            }
            "bad link" if signed => Answer::json(&json!([{
                "filename": "a.ndjson", "storage_bucket": "b", "row_count": 1, "block_number": 2,
                "download_url": format!("not a url?sig={MARK}malformed"),
            }])),
            "user in link" if request.path.ends_with("download-links") => Answer::json(&json!([{
                "filename": "a.ndjson", "storage_bucket": "b", "row_count": 2, "block_number": 2,
                "download_url": format!("http://user:{MARK}password@127.0.0.1:9/a?sig={MARK}query#{MARK}fragment"),
            }])),
            _ => script.answer(request),
        }
    })
}

/// Makes a place whose API key comes from `source`, and returns it with the flags for that.
fn place(source: &str, url: &str) -> (Place, Vec<String>) {
    // Logs of all libraries at their highest level.
    let place = Place::new().env("SIXTYFOUR_API_ENDPOINT", url).env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
    match source {
        "environment" => (place.env("SIXTYFOUR_API_KEY", &format!("{MARK}env")), Vec::new()),
        "file" => {
            let path = place.write("key.planted", format!("{MARK}file\n"));
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
            (place, vec!["--api-key-file".into(), "key.planted".into()])
        }
        "command" => (place, vec!["--api-key-command".into(), format!("echo {MARK}command; echo {MARK}second")]),
        _ => {
            let config = format!("api_key_command = 'echo {MARK}config'\n");
            let path = place.write("config.planted", config);
            let path = path.display().to_string();
            (place.env("DRAWOFF_CONFIG", &path), Vec::new())
        }
    }
}

#[test]
fn no_command_shows_a_secret() {
    let run = ["run", "testdata/workflows/webhook-leads.json", "--payload", "@testdata/leads.json", "-o", "out.ndjson"];
    let pull = ["pull", RUN_ID, "-o", "out.csv", "--report", "json"];
    let commands: [&[&str]; 8] = [
        &run,
        &pull,
        &["pull", RUN_ID, "--all-blocks", "-o", "all"],
        &["runs", "links", RUN_ID, "-o", "json"],
        &["runs", "ls", "--local-state", "-o", "json"],
        &["workflows", "ls"],
        &["config", "show"],
        &["upload", "testdata/leads.json"],
    ];
    let cases = [
        ("well", "environment"),
        ("well", "file"),
        ("well", "command"),
        ("well", "config"),
        ("cut", "environment"),
        ("expired", "command"),
        ("refused", "file"),
        ("redirect", "environment"),
        ("bad link", "environment"),
        ("user in link", "environment"),
    ];
    let commands = &commands;
    let run_case = |(how, source)| {
        let server = service(how);
        let (place, flags) = place(source, &server.url);
        for command in commands {
            let args: Vec<&str> = command.iter().copied().chain(flags.iter().map(String::as_str)).collect();
            nothing_is_seen(&place, &place.run(&args));
        }
        let keys = server.asked().into_iter().filter_map(|mut request| request.headers.remove("x-api-key"));
        keys.collect::<Vec<String>>()
    };
    // In parallel, because the cases wait between tries for most of their time.
    let sent: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = cases.into_iter().map(|case| scope.spawn(move || run_case(case))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    // The commands did have the keys.
    for key in ["env", "file", "command", "config"] {
        assert!(sent.contains(&format!("{MARK}{key}")), "the key from {key} was never sent");
    }
}

#[test]
fn urls_are_shown_without_their_query() {
    let server = service("cut");
    let (place, _) = place("environment", &server.url);
    let url = format!("{}/files/block_2_filter.ndjson?sig={MARK}url", server.url);
    for out in ["out.csv", "-"] {
        let done = place.run(&["convert", &url, "-o", out]);
        nothing_is_seen(&place, &done.code(exit::DOWNLOAD_BROKEN));
    }
    let missing = format!("{}/files/none?sig={MARK}url", server.url);
    nothing_is_seen(&place, &place.run(&["schema", &missing]).code(exit::NOT_FOUND).says("status 404"));
    let done = place.run(&["convert", &format!("ftp://u:{MARK}p@x/a?b={MARK}c"), "-o", "out.csv"]);
    nothing_is_seen(&place, &done.code(exit::USAGE).says("only http and https"));
}

#[test]
fn a_key_file_is_for_its_owner_only() {
    let server = Script::default().start();
    let place = Place::new().env("SIXTYFOUR_API_ENDPOINT", &server.url);
    let path = place.write("key.planted", format!("{MARK}file\n"));
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    for open in [0o644, 0o640, 0o604] {
        mode(open);
        let done = place.run(&["workflows", "ls", "--api-key-file", "key.planted"]);
        nothing_is_seen(&place, &done.code(exit::USAGE).says("can be read by others").hints("chmod 600 key.planted"));
    }
    assert!(server.asked().is_empty());
    let shown = place.run(&["config", "show", "--api-key-file", "key.planted"]).ok();
    assert!(shown.text().contains("refused"), "{}", shown.text());
    mode(0o400);
    place.run(&["workflows", "ls", "--api-key-file", "key.planted"]).ok();
    // The pipe of a process substitution is readable by its owner only.
    let mut command: Command = place.program("bash");
    command.arg("-c").arg(format!("drawoff workflows ls --api-key-file <(echo {MARK}pipe)"));
    Done::of(command).ok();
    let sent: Vec<_> = server.asked().iter().map(|request| request.headers["x-api-key"].clone()).collect();
    assert_eq!(sent, [format!("{MARK}file"), format!("{MARK}pipe")]);
}

#[test]
fn a_failing_key_command_is_reported_without_its_text() {
    let place = Place::new();
    for (command, words) in [
        (format!("echo {MARK}x; false"), "ended with exit status: 1"),
        (format!("true {MARK}x"), "printed nothing"),
        (format!("/no/such/{MARK}x 2>/dev/null"), "exit status: 127"),
    ] {
        let done = place.run(&["workflows", "ls", "--api-key-command", &command]).code(exit::USAGE).says(words);
        nothing_is_seen(&place, &done.says("--api-key-command"));
    }
}

/// Places are refused or named without the secrets of their URLs, whatever they are for.
#[test]
fn urls_of_places_are_shown_without_secrets() {
    let place = Place::new();
    place.write("in.ndjson", "{\"a\":1}\n");
    let places = ["s3", "gs", "az", "delta+s3", "S3", "ftp", "mysql", "postgres", "clickhouse", "HTTPS", "snowflake"];
    let urls = places.map(|scheme| format!("{scheme}://u:{MARK}p@127.0.0.1:9/x.ndjson")).into_iter();
    let odd = [
        "https:/u:MARKp@h/x.csv",
        "s3:u:MARKp@b/x.csv",
        "https://u:MARKp@h/x.csv?sig=MARKs",
        "sqlite:x.db?key=MARK",
        "az://b/x.csv?sv=1&sig=MARKs",
        "delta+https://c/t?sig=MARKs",
    ];
    for url in urls.chain(odd.map(|url| url.replace("MARK", MARK))) {
        let is_table = ["postgres", "clickhouse"].iter().any(|scheme| url.starts_with(scheme));
        let is_web = url.to_lowercase().starts_with("https://");
        let mut commands = vec![
            vec!["convert", "in.ndjson", "-o", "out.csv", "--rejects", &url, "--result", "result.json"],
            vec!["convert", "in.ndjson", "-o", "out.csv", "--schema", &url, "--log", "log.txt"],
            vec!["convert", "in.ndjson", "-o", "out.csv", "--steps", &url],
        ];
        // These connect, and are other tests' matter.
        if !is_table {
            commands.push(vec!["convert", "in.ndjson", "-o", &url, "--result", "result.json", "--log", "log.txt"]);
            commands.push(vec!["convert", "in.ndjson", "-o", &url, "--into", "t"]);
            commands.push(vec!["loads", "ls", "-o", &url]);
            commands.push(vec!["loads", "gc", "-o", &url]);
        }
        if !is_web {
            commands.push(vec!["convert", &url, "-o", "out.csv", "--result", "result.json", "--log", "log.txt", "-v"]);
            commands.push(vec!["schema", &url]);
            commands.push(vec!["upload", &url]);
        }
        for args in commands {
            // The name of a file, where no URL is expected, loses only its password.
            let is_typed_badly = !url.contains("://") || url.contains('?');
            if is_typed_badly && (args.contains(&"--schema") || args.contains(&"--steps") || args[0] == "upload") {
                continue;
            }
            // A file of this very name would be one.
            if url.starts_with("sqlite") && (args.contains(&"--rejects") || args[0] == "upload") {
                continue;
            }
            let done = place.run(&args);
            assert_ne!(done.code, 0, "{args:?}");
            nothing_is_seen(&place, &done);
        }
    }
}

/// File names from the API neither leave the output directory nor reach the terminal unescaped.
#[test]
fn file_names_from_the_api_are_sanitized() {
    let long = "x".repeat(300);
    let names = ["../../evil.csv", "/etc/evil.csv", "..", "", "CON", "con.csv", "a\u{1b}[31m\u{7}\n.csv", "nul", &long];
    let links: Vec<_> = names
        .iter()
        .map(|name| {
            json!({
                "filename": name, "storage_bucket": "b", "row_count": 2, "block_number": 2,
                "message": "red \u{1b}[31malert\u{7}", "download_url": "URL",
            })
        })
        .collect();
    let server = Loopback::start(move |request: &Request| {
        if !request.path.ends_with("download-links") {
            return Script::default().answer(request);
        }
        let url = format!("http://{}/files/block_2_filter.ndjson?sig=1", request.headers["host"]);
        Answer::json(
            &serde_json::Value::Array(links.clone())
                .to_string()
                .replace("\"URL\"", &json!(url).to_string())
                .parse()
                .unwrap(),
        )
    });
    let place = Place::with_service(&server.url);
    let done = place.run(&["pull", RUN_ID, "--all-blocks", "-o", "all", "--to", "csv"]).ok();
    assert!(!done.stderr.contains('\u{1b}') && !done.stderr.contains('\u{7}'), "{:?}", done.stderr);
    assert_eq!(place.leftovers(), ["all"]);
    let mut files: Vec<_> =
        std::fs::read_dir(place.path("all")).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    assert_eq!(files.len(), names.len(), "{files:?}");
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    assert!(
        files.iter().all(|name| name.starts_with("02-") && name.chars().all(plain) && name.len() < 100),
        "{files:?}"
    );
    for format in ["table", "ndjson", "json"] {
        for args in [&["runs", "links", RUN_ID, "-o", format][..], &["runs", "ls", "--local-state", "-o", format]] {
            let done = place.run(args).ok();
            assert!(!done.text().contains('\u{1b}') && !done.stderr.contains('\u{1b}'), "{:?}", done.text());
        }
    }
}

#[test]
fn the_key_is_not_sent_unencrypted_to_another_machine() {
    // 192.0.2.0/24 is reserved for documentation: nothing is there, and nothing is sent.
    let place = Place::with_service("http://192.0.2.1:1");
    for line in ["workflows ls", "runs ls", "upload testdata/companies.csv"] {
        place.run_line(line).code(exit::USAGE).says("unencrypted").hints("--insecure-http");
    }
    let place = place.env("DRAWOFF_INSECURE_HTTP", "yes");
    place.run_line("workflows ls").code(exit::USAGE).says("neither true nor false");
    // Loopback connections do not leave this machine.
    let api = crate::support::api::Script::default().start();
    Place::with_service(&api.url).run_line("workflows ls").ok();
    let shown = Place::new().run_line("--insecure-http config show -o json").ok();
    assert!(shown.text().contains("insecure_http"), "{}", shown.text());
}

#[test]
fn a_message_of_the_api_is_shown_with_its_words_and_shortened() {
    let server = Loopback::start(|request: &Request| match request.query.as_str() {
        "status=completed" => Answer::error(400, "unknown status completed; use completed, running"),
        _ => Answer::error(400, &"x".repeat(5000)),
    });
    let place = Place::with_service(&server.url);
    let done = place.run_line("runs ls --status completed").code(exit::REFUSED);
    let done = done.says("unknown status completed; use completed, running");
    assert!(!done.stderr.contains("redacted"), "{}", done.stderr);
    let done = place.run_line("runs ls").code(exit::REFUSED).says("xxx…");
    assert!(done.stderr.len() < 1000, "{}", done.stderr);
}
