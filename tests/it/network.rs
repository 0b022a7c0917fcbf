//! Downloads over a network that fails: damaged, truncated and replaced files, hosts that may receive the API key, and
//! secrets in messages and logs.

use std::path::Path;

use serde_json::json;

use crate::support::api::{RUN_ID, WORKFLOW_ID};
use crate::support::http::{Answer, FailingDownload, Loopback, Request};
use crate::support::{Done, MARKED_KEY, Place, Service, exit};

const MARK: &str = "marked-signature";

/// Starts an API with one completed run and one result file. `file` responds to its download, which leads to `base`, or
/// to the same server by default.
fn run_with(
    base: Option<String>,
    row_count: u64,
    file: impl Fn(&Request) -> Answer + Send + Sync + 'static,
) -> Loopback {
    Loopback::start(move |request| {
        let here = || format!("http://{}", request.headers.get("host").map_or("", String::as_str));
        let run = format!("/workflows/runs/{RUN_ID}");
        match request.path.as_str() {
            path if path == format!("{run}/live_status") => Answer::json(&json!({
                "run_id": RUN_ID, "workflow_id": WORKFLOW_ID, "overall_status": "completed", "last_updated": "t",
            })),
            path if path == format!("{run}/results/download-links") => Answer::json(&json!([{
                "filename": "rows.ndjson", "storage_bucket": "b", "row_count": row_count, "block_number": 2,
                "download_url": format!("{}/files/rows?sig={MARK}", base.clone().unwrap_or_else(here)),
            }])),
            "/files/rows" => file(request),
            _ => Answer::error(404, "Not found"),
        }
    })
}

fn pull(server: &Loopback, more: &[&str]) -> (Place, Done) {
    let place = Place::with_service(&server.url);
    let done = place.run(&[&["pull", RUN_ID, "-o", "out.ndjson"], more].concat());
    (place, done)
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    std::io::Write::write_all(&mut encoder, text).unwrap();
    encoder.finish().unwrap()
}

const ROWS: &[u8] = b"{\"a\":1}\n{\"a\":2}\n";

#[test]
fn incomplete_files_are_detected() {
    let bytes = |bytes: Vec<u8>| move |_: &Request| Answer::bytes("application/x-ndjson", bytes.clone());
    let short = gzip(ROWS)[..gzip(ROWS).len() - 3].to_vec();
    let mut corrupt = gzip(ROWS);
    let check_sum = corrupt.len() - 6;
    corrupt[check_sum] ^= 1;
    let cases = [
        (short, exit::DAMAGED, "the gzip stream is truncated"),
        (corrupt, exit::DAMAGED, "corrupt"),
        ([gzip(ROWS), b"more".to_vec()].concat(), exit::DAMAGED, "after the end of the gzip stream"),
        (ROWS[..ROWS.len() - 3].to_vec(), exit::LAST_LINE_CUT, "the last line is truncated"),
        (ROWS[..8].to_vec(), exit::MISMATCH, "row_count"),
    ];
    for (file, code, words) in cases {
        let server = run_with(None, 2, bytes(file.clone()));
        // `--on-bad-record skip` does not accept incomplete files.
        for more in [&[][..], &["--on-bad-record", "skip"]] {
            let (place, done) = pull(&server, more);
            done.code(code).says(words);
            assert!(place.leftovers().is_empty(), "{words}: {:?}", place.leftovers());
        }
        if code != exit::MISMATCH {
            let place = Place::new();
            place.run_line(&format!("convert {}/files/rows -o out.ndjson", server.url)).code(code).says(words);
        }
    }
}

#[test]
fn a_last_line_without_line_feed_is_kept() {
    let server = run_with(None, 2, |_| Answer::bytes("application/x-ndjson", &ROWS[..ROWS.len() - 1]));
    let (place, done) = pull(&server, &[]);
    done.ok();
    assert_eq!(place.read("out.ndjson"), ROWS);
}

#[test]
fn a_file_that_changes_during_its_download_fails() {
    let count = std::sync::atomic::AtomicUsize::new(0);
    let server = run_with(None, 2, move |_| {
        let first = count.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0;
        let tag = if first { "\"v1\"" } else { "\"v2\"" };
        let mut answer = Answer::bytes("application/x-ndjson", ROWS);
        answer.headers.push(("etag".to_owned(), tag.to_owned()));
        answer.cut_at = first.then_some(5);
        answer
    });
    let (_, done) = pull(&server, &[]);
    done.code(exit::FILE_CHANGED).says("changed during the download");
}

#[test]
fn the_key_goes_to_another_host_only_with_send_key_to() {
    let store = Loopback::start(|request| match request.headers.get("x-api-key").map(String::as_str) {
        Some(MARKED_KEY) => Answer::bytes("application/x-ndjson", ROWS),
        _ => Answer::error(401, "who are you?"),
    });
    let host = store.url.trim_start_matches("http://").to_owned();
    let server = run_with(Some(store.url.clone()), 2, |_| Answer::error(404, "not here"));
    let (_, done) = pull(&server, &[]);
    done.code(exit::DOWNLOAD_BROKEN).says("who are you?").hints(&format!("--send-key-to {host}"));
    assert!(store.asked().iter().all(|request| !request.headers.contains_key("x-api-key")));
    let (place, done) = pull(&server, &["--send-key-to", &host]);
    done.ok();
    assert_eq!(place.read("out.ndjson"), ROWS);
    pull(&server, &["--send-key-to", "https://files.test/a"]).1.code(exit::USAGE).says("HOST:PORT");
}

/// A URL that is refused is refused again, unless it was too slow or too early.
#[test]
fn a_retry_of_a_url_helps_only_where_the_response_may_change() {
    for (status, code, word) in [
        (400, exit::REFUSED, "no"),
        (401, exit::KEY_REFUSED, "after repair"),
        (403, exit::REFUSED, "no"),
        (404, exit::NOT_FOUND, "no"),
        (405, exit::REFUSED, "no"),
        (406, exit::REFUSED, "no"),
        (410, exit::NOT_FOUND, "no"),
        (414, exit::REFUSED, "no"),
        (422, exit::REFUSED, "no"),
        (451, exit::REFUSED, "no"),
    ] {
        let server = Loopback::start(move |request| match request.path.as_str() {
            "/first.ndjson" => Answer::bytes("application/x-ndjson", ROWS),
            _ => Answer::error(status, "not so"),
        });
        let place = Place::new();
        let url = format!("{}/a.ndjson", server.url);
        let args = ["convert", &url, "-o", "out.csv", "--result", "result.json"];
        place.run(&args).code(code).says(&format!("status {status}"));
        let result: serde_json::Value = serde_json::from_str(&place.read_text("result.json")).unwrap();
        assert_eq!(result["retry"], word, "{status}");
        // Of a later source, which is opened when its turn comes.
        let first = format!("{}/first.ndjson", server.url);
        let done = place.run(&["convert", &first, &url, "-o", "out.csv", "--jobs", "1"]);
        done.code(code).says(&format!("status {status}"));
    }
    let place = Place::new();
    place.run(&["convert", "https://ho[st/a.csv", "-o", "out.csv"]).code(exit::USAGE).says("no valid URL");
}

/// Finds the files below `folder` that contain `text`.
fn files_with(folder: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_symlink() {
            continue;
        }
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if std::fs::read(&path).unwrap().windows(text.len()).any(|window| window == text.as_bytes()) {
            found.push(path.display().to_string());
        }
    }
    found
}

#[test]
fn no_failure_shows_a_secret() {
    let echo = |request: &Request| {
        let key = request.headers.get("x-api-key").cloned().unwrap_or_default();
        format!("{}?{} for {key} is not to be had", request.path, request.query)
    };
    let elsewhere = Loopback::start(move |request| Answer::error(403, &echo(request)));
    let to = format!("{}/files/rows?sig={MARK}", elsewhere.url);
    let redirect = move |status: u16| {
        let mut answer = Answer::error(status, "");
        answer.headers.push(("location".to_owned(), to.clone()));
        answer
    };
    let xml = format!("<?xml version='1.0'?><Error><Message>no {MARK} and no {MARKED_KEY}</Message></Error>");
    type File = Box<dyn Fn(&Request) -> Answer + Send + Sync>;
    let cut = |at| -> File {
        let tries = FailingDownload::default();
        Box::new(move |_| tries.answer(Answer { cut_at: Some(at), ..Answer::bytes("application/x-ndjson", ROWS) }))
    };
    let files: Vec<File> = vec![
        Box::new(move |request| Answer::error(400, &echo(request))),
        Box::new(move |request| Answer::error(401, &echo(request))),
        Box::new(move |_| Answer { status: 403, ..Answer::bytes("text/xml", xml.clone()) }),
        Box::new(move |request| Answer::error(404, &echo(request))),
        Box::new(move |request| Answer::error(500, &echo(request)).header("retry-after", "0")),
        cut(0),
        cut(9),
        Box::new(move |_| redirect(302)),
        Box::new(|_| Answer::bytes("text/html", format!("<html>{MARK}</html>"))),
        Box::new(|_| Answer::bytes("application/x-ndjson", "{\"a\":1}\nnonsense\n")),
        Box::new(|_| Answer::bytes("application/x-ndjson", ROWS)),
    ];
    let last = files.len() - 1;
    // In parallel, because the cases wait between tries for most of their time.
    std::thread::scope(|scope| {
        for (i, file) in files.into_iter().enumerate() {
            scope.spawn(move || {
                let server = run_with(None, 2, file);
                let place = Place::with_service(&server.url).env("RUST_LOG", "trace").env("RUST_BACKTRACE", "full");
                let url = format!("{}/files/rows?sig={MARK}", server.url);
                let lines = [
                    format!("pull {RUN_ID} -o out.ndjson --report json"),
                    format!("convert {url} -o out2.ndjson"),
                    format!("runs links {RUN_ID}"),
                ];
                for line in lines {
                    // `Done` checks every output for the key.
                    let done = place.run_line(&line);
                    for text in [&done.stderr, &*String::from_utf8_lossy(&done.stdout)] {
                        assert!(!text.contains(MARK), "case {i}, {line}: a signature is shown: {text}");
                    }
                }
                assert_eq!(place.path("out.ndjson").exists(), i == last, "case {i}");
                for secret in [MARK, MARKED_KEY] {
                    assert_eq!(files_with(&place.path("."), secret), Vec::<String>::new(), "case {i}");
                }
            });
        }
    });
    // Responses of the API that quote the request.
    for (status, code) in [
        (400, exit::REFUSED),
        (401, exit::KEY_REFUSED),
        (403, exit::REFUSED),
        (404, exit::NOT_FOUND),
        (409, exit::REFUSED),
        (422, exit::REFUSED),
        (501, exit::UNREACHABLE),
    ] {
        let server = Loopback::start(move |request| Answer::error(status, &echo(request)));
        let place = Place::with_service(&server.url).env("RUST_LOG", "trace");
        for line in ["workflows ls", "runs ls --status active", "pull some-run -o out.ndjson"] {
            place.run_line(line).code(code).says(&format!("status {status}")).says("is not to be had");
        }
    }
}

#[test]
fn the_report_says_what_was_survived() {
    let service_place = Place::new();
    let service =
        Service::start(&service_place, "data", &["--fault", "cut=50%,times=2", "--fault", "503,times=1,on=links"]);
    let place = Place::with_service(&service.url);
    let run =
        ["run", "testdata/workflows/qualify-companies.json", "--input", "testdata/companies.csv", "-o", "r.ndjson"];
    place.run(&run).ok().says("2 interruptions were resumed, 1 request was retried").says("the count agrees");
    let report = place.run(&[&run[..], &["--new-run", "--report", "json"]].concat()).ok();
    let json: serde_json::Value = serde_json::from_str(report.stderr.lines().last().unwrap()).unwrap();
    assert_eq!((&json["interruptions_resumed"], &json["requests_retried"]), (&2.into(), &1.into()), "{json}");
    // A quiet network is not mentioned.
    let done = Place::new().run_line("convert testdata/companies.csv -o a.ndjson").ok();
    assert!(!done.stderr.contains("resumed") && !done.stderr.contains("retried"), "{}", done.stderr);
}
