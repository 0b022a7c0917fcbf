//! Access to `drawoff serve`: its key, the names of its host, and the modes of its files.

use std::io::BufReader;

use reqwest::StatusCode;

use crate::support::{Place, Service, block_on, exit, interrupt, read_until, wait_for};

/// The status of `GET path` with a key and a host name; the own host if empty.
fn status(service: &Service, path: &str, key: &str, host: &str) -> StatusCode {
    block_on(async {
        let request = reqwest::Client::new().get(format!("{}{path}", service.url)).header("x-api-key", key);
        let request = if host.is_empty() { request } else { request.header("host", host) };
        request.send().await.unwrap().status()
    })
}

#[test]
fn the_key_comes_from_a_file_or_the_environment() {
    let accepted = |place: Place, flags: &[&str]| {
        place.write("key.txt", "from-file\n");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(place.path("key.txt"), private).unwrap();
        }
        let service = Service::start(&place, "data", flags);
        let keys = ["from-file", "from-environment", "from-flag", "of-the-client"];
        let accepted = keys.map(|key| status(&service, "/workflows", key, "") == StatusCode::OK);
        keys.into_iter().zip(accepted).filter_map(|(key, accepted)| accepted.then_some(key)).collect::<Vec<_>>()
    };
    let place = || {
        let place = Place::new().env("SIXTYFOUR_API_KEY", "of-the-client");
        place.env("DRAWOFF_SERVE_API_KEY", "from-environment")
    };
    assert_eq!(accepted(place(), &[]), ["from-environment"]);
    assert_eq!(accepted(place(), &["--api-key-file", "key.txt"]), ["from-file"]);
    assert_eq!(accepted(place(), &["--api-key-command", "cat key.txt"]), ["from-file"]);
    assert_eq!(accepted(place(), &["--api-key", "from-flag"]), ["from-flag"]);
    let open = Place::new().env("SIXTYFOUR_API_KEY", "of-the-client");
    assert_eq!(accepted(open, &[]).len(), 4, "the client's key has no effect on the service");
}

#[test]
fn a_service_that_was_to_have_a_key_does_not_start_without_it() {
    let place = Place::new();
    place.write("empty.txt", "\n");
    for (flags, expected) in [
        ("--api-key-file absent.txt", "cannot read the API key file absent.txt"),
        ("--api-key-command true", "printed nothing"),
        ("--api-key a --api-key-command true", "cannot be used with"),
    ] {
        place.run_line(&format!("serve --port 0 {flags}")).says(expected);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = |mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(place.path("empty.txt"), mode).unwrap();
        };
        mode(0o600);
        place.run_line("serve --port 0 --api-key-file empty.txt").says("it is empty");
        mode(0o644);
        place.run_line("serve --port 0 --api-key-file empty.txt").says("can be read by others");
    }
    let done = place.run_line("serve --port 0 --host 0.0.0.0").code(exit::USAGE);
    done.says("specify a key with `--api-key-file FILE` or DRAWOFF_SERVE_API_KEY");
}

#[test]
fn foreign_host_names_are_refused_unless_allowed() {
    let place = Place::new();
    let service = Service::start(&place, "data", &["--allow-host", "drawoff"]);
    for path in ["/workflows", "/healthz", "/metrics", "/openapi.json", "/", "/unknown"] {
        assert_eq!(status(&service, path, "k", "evil.test:8064"), StatusCode::FORBIDDEN, "{path}");
        assert_ne!(status(&service, path, "k", "Drawoff:8064"), StatusCode::FORBIDDEN, "{path}");
    }
    place.run_line("serve --allow-host a:80").code(exit::USAGE).says("a host name without a port");
    let keyed = Service::start(&place, "other", &["--api-key", "k"]);
    assert_eq!(status(&keyed, "/workflows", "k", "any.test"), StatusCode::OK);
}

#[cfg(unix)]
#[test]
fn the_data_directory_is_for_its_owner_whatever_it_was_before() {
    use std::os::unix::fs::PermissionsExt as _;

    fn open_to_others(path: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            if path.metadata().unwrap().permissions().mode() & 0o077 != 0 {
                found.push(path.clone());
            }
            if path.is_dir() {
                open_to_others(&path, found);
            }
        }
    }
    let place = Place::new();
    let data = place.path("data");
    std::fs::create_dir_all(data.join("uploads")).unwrap();
    std::fs::write(data.join("uploads/old"), "x").unwrap();
    for (path, mode) in [("", 0o755), ("uploads", 0o755), ("uploads/old", 0o644)] {
        std::fs::set_permissions(data.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut child = place.command(&["serve", "--port", "0", "--data", "data"]).spawn().unwrap();
    let said = read_until(&mut BufReader::new(child.stderr.take().unwrap()), "chmod 700");
    interrupt(&child);
    wait_for("the service to end", || child.try_wait().unwrap());
    assert!(said.contains("warning: other users of this machine can list the data directory"), "{said}");

    let service = Service::start(&place, "data", &[]);
    let client = Place::with_service(&service.url);
    client.run_line("run testdata/workflows/qualify-companies.json --input testdata/companies.csv -o out.ndjson").ok();
    let mut found = Vec::new();
    open_to_others(&data, &mut found);
    assert_eq!(found, Vec::<std::path::PathBuf>::new());
    assert_eq!(data.metadata().unwrap().permissions().mode() & 0o777, 0o755, "the directory itself is the user's");
    service.stop();
}
