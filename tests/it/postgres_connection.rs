//! Connections to PostgreSQL: the same settings lead `psql` and drawoff to the same session, or to the same error.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use drawoff::warehouse::postgres::{
    ConnectError, ConnectErrorKind, Connection, Environment, Settings, SettingsError, connect,
};
use tempfile::TempDir;

use crate::support::plans::{SeededRng, count, seed};
use crate::support::postgres::{PASSWORD, Pgbouncer, Postgres, installed};
use crate::support::relay::{Cut, CuttingRelay};
use crate::support::{Place, block_on, exit, skip, wait_for};

/// The variables of one attempt. `HOME` is a directory of the test.
pub type Variables = BTreeMap<String, String>;

/// Resolves as the process with these variables would.
pub fn resolve(url: &str, variables: &Variables) -> Result<Settings, SettingsError> {
    Settings::resolve(url, &Environment::new(|name| variables.get(name).cloned()))
}

/// Variables with an empty home directory.
pub fn home(dir: &TempDir) -> Variables {
    BTreeMap::from([("HOME".to_owned(), dir.path().display().to_string())])
}

/// Connects and returns the first column of the first row of a query.
pub fn ask(url: &str, variables: &Variables, sql: &str) -> Result<String, ConnectError> {
    let settings = resolve(url, variables).unwrap();
    block_on(async {
        let connection = connect(&settings).await?;
        Ok(first(&connection, sql).await)
    })
}

async fn first(connection: &Connection, sql: &str) -> String {
    let rows = connection.client().simple_query(sql).await.unwrap();
    let values = rows.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    values.unwrap()
}

/// Writes a file that no other user can read.
pub fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

/// Encodes all but letters and digits.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte.is_ascii_alphanumeric() {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02x}"),
        })
        .collect()
}

/// Draws of settings.
struct Draw(SeededRng);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        (self.0.fraction() * n as f64) as usize
    }

    fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// A query whose result shows every setting of a session.
const QUESTION: &str = "SELECT concat_ws(' ', current_user, current_database(), inet_server_port(), \
    current_setting('application_name'), current_setting('work_mem'))";

/// The kind of error that psql's words mean.
fn kind_of(words: &str) -> &'static str {
    let kinds = [
        ("Connection refused", "Refused"),
        ("No such file or directory", "Refused"),
        ("password authentication failed", "WrongPassword"),
        ("no password supplied", "NoPassword"),
        ("does not support SSL", "NoTls"),
        ("definition of service", "settings"),
        ("invalid port number", "settings"),
        ("could not match", "settings"),
        ("invalid sslmode", "settings"),
        ("could not translate host name", "UnknownHost"),
        ("pg_hba.conf", "NotAllowed"),
        ("role \"", "NotAllowed"),
        ("database \"", "UnknownDatabase"),
    ];
    // The last failure is the one that ended the search.
    let is_cause = |line: &&str| line.starts_with("psql: error") || line.starts_with("connection to server");
    let last = words.lines().rfind(is_cause).unwrap_or_default();
    kinds.iter().find(|(mark, _)| last.contains(mark)).unwrap_or_else(|| panic!("unknown words: {words}")).1
}

/// The psql of the installed server: Debian's `/usr/bin/psql` is a script that looks at clusters.
fn psql() -> PathBuf {
    installed().map_or("psql".into(), |bin| bin.join("psql"))
}

fn asked_by_psql(psql: &Path, url: &str, variables: &Variables) -> String {
    let mut command = Command::new(psql);
    command.args(["-XAtqw", "-c", QUESTION, "-d", url]).env_clear().envs(variables).env("LC_ALL", "C");
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let output = command.output().unwrap();
    match output.status.success() {
        true => String::from_utf8(output.stdout).unwrap().trim_end().replace(" psql ", " drawoff "),
        false => kind_of(&String::from_utf8_lossy(&output.stderr)).to_owned(),
    }
}

fn asked_by_us(url: &str, variables: &Variables) -> String {
    let settings = match resolve(url, variables) {
        Ok(settings) => settings,
        Err(error) => {
            assert!(!format!("{error} {error:?}").contains(PASSWORD), "{error}");
            return "settings".to_owned();
        }
    };
    let shown = format!("{settings:?} {} {:?}", settings.target(), settings.notes());
    assert!(!shown.contains(PASSWORD) && !shown.contains("pw-wrong"), "{shown}");
    block_on(async {
        match connect(&settings).await {
            Ok(connection) => first(&connection, QUESTION).await,
            Err(error) => {
                let shown = format!("{error} {error:?} {:?}", error.hint());
                assert!(!shown.contains(PASSWORD) && !shown.contains("pw-wrong"), "{shown}");
                format!("{:?}", error.kind())
            }
        }
    })
}

/// Draws the sources of every setting and compares the sessions.
fn compare_with_psql(server: &Postgres, n_draws: u32) {
    let (db1, db2) = (server.database(), server.database());
    let socket_dir = server.socket_dir.display().to_string();
    let (port, closed) = (server.port.to_string(), "1".to_owned());
    let (both, three) = (format!("{closed},{port}"), format!("{closed},,{port}"));
    let choices: [(&str, &str, Vec<&str>); 8] = [
        (
            "host",
            "PGHOST",
            vec!["127.0.0.1", "localhost", &socket_dir, "127.0.0.1,127.0.0.1", "", "127.0.0.1,,localhost"],
        ),
        ("port", "PGPORT", vec![&port, &port, &port, &port, &closed, &both, &three, "", "70000"]),
        ("user", "PGUSER", vec!["postgres", "reader", "locked", "locked", "clear", "nosuch", ""]),
        ("dbname", "PGDATABASE", vec![&db1, &db2, "postgres", "nosuch", ""]),
        ("password", "PGPASSWORD", vec![PASSWORD, PASSWORD, "pw-wrong"]),
        ("application_name", "PGAPPNAME", vec!["a1", "a2", ""]),
        ("options", "PGOPTIONS", vec!["-c work_mem=1MB", "-c work_mem=2MB"]),
        ("sslmode", "PGSSLMODE", vec!["disable", "allow", "prefer", "require", "wrong"]),
    ];
    let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
    let psql = psql();
    for n in 0..n_draws {
        let mut draw = Draw(SeededRng::new(seed() * 10_000 + u64::from(n)));
        let dir = TempDir::new().unwrap();
        let mut variables = home(&dir);
        let (mut in_url, mut service) = (Vec::new(), String::from("# a comment\n[other]\nport=1\n[crm]\n"));
        for (name, variable, values) in &choices {
            // Few settings are wrong, so that most draws reach a server.
            let pick = |draw: &mut Draw| match draw.one_in(4) {
                true => draw.one(values),
                false => values[0],
            };
            if *name == "sslmode" && !draw.one_in(4) {
                in_url.push(((*name), "prefer".to_owned()));
                continue;
            }
            if draw.one_in(2) {
                in_url.push((*name, pick(&mut draw).to_owned()));
            }
            if draw.one_in(2) {
                service.push_str(&format!("{name}={}\n", pick(&mut draw)));
            }
            if !draw.one_in(3) && *name != "password" {
                let value = pick(&mut draw);
                // psql refuses an empty mode; here it is no mode.
                variables.insert((*variable).to_owned(), value.to_owned());
            }
        }
        if draw.one_in(3) {
            variables.insert("PGPASSWORD".to_owned(), draw.one(&[PASSWORD, "pw-wrong"]).to_owned());
        }
        let escaped = PASSWORD.replace('\\', "\\\\").replace(':', "\\:");
        let lines = [
            format!("*:*:*:*:{escaped}\n"),
            format!("127.0.0.1:{port}:*:locked:{escaped}\nlocalhost:*:*:*:pw-wrong\n"),
            format!("{}:*:*:*:{escaped}\n", socket_dir.replace(':', "\\:")),
            format!("*:1:*:*:pw-wrong\n*:*:{db2}:*:{escaped}\n"),
        ];
        let file = dir.path().join(if draw.one_in(3) { "elsewhere" } else { ".pgpass" });
        write_private(&file, &lines[draw.below(lines.len())]);
        if draw.one_in(5) {
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        }
        if file.ends_with("elsewhere") {
            variables.insert("PGPASSFILE".to_owned(), file.display().to_string());
        }
        let service_file = dir.path().join(draw.one(&[".pg_service.conf", "services", "system/pg_service.conf"]));
        std::fs::create_dir(dir.path().join("system")).unwrap();
        std::fs::write(&service_file, &service).unwrap();
        if service_file.ends_with("services") {
            variables.insert("PGSERVICEFILE".to_owned(), service_file.display().to_string());
        }
        variables.insert("PGSYSCONFDIR".to_owned(), dir.path().join("system").display().to_string());
        match draw.below(6) {
            0 => in_url.push(("service", "crm".to_owned())),
            1 => drop(variables.insert("PGSERVICE".to_owned(), "crm".to_owned())),
            2 if draw.one_in(3) => in_url.push(("service", "nosuch".to_owned())),
            _ => {}
        }
        let url = url_of(&mut draw, &in_url);
        let (expected, found) = (asked_by_psql(&psql, &url, &variables), asked_by_us(&url, &variables));
        assert_eq!(found, expected, "draw {n}: {url}\n{variables:#?}\n{service}");
        let outcome = if expected.contains(' ') { "a session" } else { &expected };
        *outcomes.entry(outcome.to_owned()).or_default() += 1;
    }
    // The draws are worth something only if they end in different ways.
    let sessions = outcomes.get("a session").copied().unwrap_or_default();
    assert!(sessions * 4 > n_draws && outcomes.len() >= 5, "{outcomes:?}");
}

/// Writes parameters as a URL, in one of the ways.
fn url_of(draw: &mut Draw, parameters: &[(&str, String)]) -> String {
    let mut rest: BTreeMap<&str, &str> = parameters.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut url = String::from(draw.one(&["postgres://", "postgresql://"]));
    if draw.one_in(2) {
        let (user, password) = (rest.remove("user"), rest.remove("password"));
        if let Some(user) = user.or(password.map(|_| "")) {
            url.push_str(&encode(user));
            url.push_str(&password.map(|password| format!(":{}", encode(password))).unwrap_or_default());
            url.push('@');
        }
    }
    if draw.one_in(2) {
        let (host, port) = (rest.remove("host").unwrap_or_default(), rest.get("port").copied());
        let hosts: Vec<&str> = host.split(',').collect();
        match port.map(|port| port.split(',').collect::<Vec<_>>()) {
            Some(ports) if ports.len() == hosts.len() => {
                rest.remove("port");
                let pairs = hosts.iter().zip(ports).map(|(host, port)| match port {
                    "" => encode(host),
                    port => format!("{}:{port}", encode(host)),
                });
                url.push_str(&pairs.collect::<Vec<_>>().join(","));
            }
            _ => url.push_str(&hosts.iter().map(|host| encode(host)).collect::<Vec<_>>().join(",")),
        }
    }
    if draw.one_in(2) {
        url.push('/');
        url.push_str(&encode(rest.remove("dbname").unwrap_or_default()));
    }
    let query: Vec<String> = rest.iter().map(|(name, value)| format!("{name}={}", encode(value))).collect();
    if !query.is_empty() {
        url.push('?');
        url.push_str(&query.join("&"));
    }
    url
}

#[test]
fn the_same_settings_as_psql() {
    let Some(server) = Postgres::shared() else { return };
    compare_with_psql(server, count(1000));
}

#[test]
fn the_same_settings_as_psql_of_version_18() {
    let Some(server) = Postgres::shared18() else { return };
    compare_with_psql(server, count(500));
}

#[test]
fn errors_say_what_to_do() {
    let Some(server) = Postgres::shared() else { return };
    let dir = TempDir::new().unwrap();
    let variables = home(&dir);
    let port = server.port;
    let fails = |url: &str, kind: ConnectErrorKind, cause: &str, hint: &str, is_transient: bool| {
        let error = ask(url, &variables, "SELECT 1").unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        let server = error.server();
        assert_eq!(error.to_string(), format!("cannot connect to {server}: {}", error.cause()));
        assert!(error.to_string().contains(cause), "{error}");
        assert!(error.hint().unwrap_or_default().contains(hint), "{error}: {:?}", error.hint());
        assert_eq!(error.is_transient(), is_transient, "{error}");
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("pw-"), "{shown}");
    };
    use ConnectErrorKind as K;
    let at = |user: &str, rest: &str| format!("postgres://{user}@127.0.0.1:{port}/{rest}");
    fails(
        "postgres://a@127.0.0.1:1/x",
        K::Refused,
        "127.0.0.1:1: the connection was refused",
        "PGHOST and PGPORT",
        true,
    );
    fails("postgres://a@/x?host=/nonexistent", K::Refused, "/nonexistent/.s.PGSQL.5432: no server", "PGHOST", true);
    fails(
        "postgres://a@no-such.invalid/x",
        K::UnknownHost,
        "no-such.invalid:5432: the host name",
        "check the host",
        false,
    );
    fails(&at("locked", "postgres"), K::NoPassword, "password of user `locked`", "~/.pgpass", false);
    fails(&at("locked:pw-wrong", "postgres"), K::WrongPassword, "authentication failed", "the one from the URL", false);
    fails(&at("clear:pw-wrong", "postgres"), K::WrongPassword, "authentication failed", "the URL", false);
    fails(&at("nosuch", "postgres"), K::NotAllowed, "role \"nosuch\" does not exist", "pg_hba.conf", false);
    fails(&at("postgres", "nosuch"), K::UnknownDatabase, "database \"nosuch\" does not exist", "PGDATABASE", false);
    fails(&at("postgres", "postgres?sslmode=require"), K::NoTls, "`sslmode=require` demands", "ssl = on", false);
    fails(&at("tls_only", "postgres"), K::NotAllowed, "pg_hba.conf", "pg_hba.conf", false);
    fails(&at("postgres", "postgres?target_session_attrs=standby"), K::WrongRole, "not a standby", "all hosts", true);

    // The source of a wrong password is named.
    write_private(&dir.path().join(".pgpass"), "# mine\n127.0.0.1:*:*:locked:pw-wrong\n");
    fails(&at("locked", "postgres"), K::WrongPassword, "authentication failed", "line 2 of ", false);

    // A server that does not speak the protocol, and one that is silent.
    let http = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = http.local_addr().unwrap();
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for stream in http.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 64]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    fails(&format!("postgres://a@{address}/x"), K::Broken, "not one of PostgreSQL", "listens on this port", true);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("postgres://a@{}/x?connect_timeout=1", silent.local_addr().unwrap());
    fails(&url, K::TimedOut, "no response within 2 s", "connect_timeout=", true);

    // All hosts are named.
    let url = format!("postgres://a@127.0.0.1:1,no-such.invalid,127.0.0.1:{port}/nosuch");
    let error = ask(&url, &variables, "SELECT 1").unwrap_err();
    assert_eq!(error.server(), format!("127.0.0.1:1, no-such.invalid:5432, 127.0.0.1:{port}"));
}

#[test]
fn too_many_connections_are_named() {
    let Some(server) = installed() else {
        return skip("no PostgreSQL server is installed");
    };
    let server =
        Postgres::start(&server, None, "max_connections = 4\nsuperuser_reserved_connections = 2\nmax_wal_senders = 0");
    let dir = TempDir::new().unwrap();
    let settings = resolve(&server.url("postgres").replace("postgres@", "reader@"), &home(&dir)).unwrap();
    block_on(async {
        let mut open = Vec::new();
        let error = loop {
            match connect(&settings).await {
                Ok(connection) => open.push(connection),
                Err(error) => break error,
            }
            assert!(open.len() < 5);
        };
        assert_eq!(error.kind(), ConnectErrorKind::TooManyConnections, "{error}");
        assert!(error.is_transient());
    });
}

#[test]
fn several_hosts_are_tried_in_order() {
    let Some(server) = Postgres::shared() else { return };
    let (dir, port) = (TempDir::new().unwrap(), server.port);
    let variables = home(&dir);
    let ask = |hosts: &str, query: &str| {
        ask(&format!("postgres://postgres@{hosts}/postgres{query}"), &variables, "SELECT inet_server_port()")
    };
    assert_eq!(ask(&format!("127.0.0.1:1,no-such.invalid,127.0.0.1:{port}"), "").unwrap(), port.to_string());
    let found = ask(&format!("127.0.0.1:{port}"), "?target_session_attrs=prefer-standby");
    assert_eq!(found.unwrap(), port.to_string());
    for role in ["read-write", "primary", "any"] {
        assert_eq!(
            ask(&format!("127.0.0.1:{port}"), &format!("?target_session_attrs={role}")).unwrap(),
            port.to_string()
        );
    }
    // A session can be read-only without a standby.
    let read_only = "?options=-c%20default_transaction_read_only%3Don&target_session_attrs=";
    assert!(ask(&format!("127.0.0.1:{port}"), &format!("{read_only}read-write")).is_err());
    assert!(ask(&format!("127.0.0.1:{port}"), &format!("{read_only}read-only")).is_ok());
    // The order is drawn, and each host is asked.
    let both = format!("127.0.0.1:1,127.0.0.1:{port}");
    for _ in 0..8 {
        assert_eq!(ask(&both, "?load_balance_hosts=random").unwrap(), port.to_string());
    }
}

#[test]
fn a_statement_is_cancelled() {
    for server in Postgres::versions() {
        let dir = TempDir::new().unwrap();
        let settings = resolve(&server.url("postgres"), &home(&dir)).unwrap();
        block_on(async {
            let connection = connect(&settings).await.unwrap();
            let (canceller, pid) = (connection.canceller(), first(&connection, "SELECT pg_backend_pid()").await);
            let sleep = connection.client().simple_query("SELECT pg_sleep(3600)");
            let cancel = async {
                let query = format!("SELECT 1 FROM pg_stat_activity WHERE pid = {pid} AND wait_event = 'PgSleep'");
                // Blocks this runtime for an instant; the query was sent when the other future was polled.
                wait_for("the statement to run", || (server.psql("postgres", &query) == "1").then_some(()));
                canceller.cancel().await.unwrap();
            };
            let (slept, ()) = tokio::join!(sleep, async {
                tokio::task::yield_now().await;
                cancel.await;
            });
            assert_eq!(slept.unwrap_err().code().unwrap().code(), "57014");
            connection.close().await.unwrap();
        });
    }
}

#[test]
fn a_transaction_of_an_aborted_connection_is_rolled_back() {
    let Some(server) = Postgres::shared() else { return };
    let database = server.database();
    server.psql(&database, "CREATE TABLE t (x int)");
    let dir = TempDir::new().unwrap();
    let settings = resolve(&server.url(&database), &home(&dir)).unwrap();
    block_on(async {
        let connection = connect(&settings).await.unwrap();
        connection.client().batch_execute("BEGIN; INSERT INTO t VALUES (1)").await.unwrap();
        connection.abort();
    });
    let open =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'drawoff' AND datname = current_database()";
    wait_for("the session to end", || (server.psql(&database, open) == "0").then_some(()));
    assert_eq!(server.psql(&database, "SELECT count(*) FROM t"), "0");
}

#[test]
fn transactions_work_through_pgbouncer() {
    let Some(server) = Postgres::shared() else { return };
    let Some(bouncer) = Pgbouncer::start(server) else { return };
    let database = server.database();
    let dir = TempDir::new().unwrap();
    let settings = resolve(&bouncer.url(&database), &home(&dir)).unwrap();
    block_on(async {
        let mut connection = connect(&settings).await.unwrap();
        let transaction = connection.client_mut().transaction().await.unwrap();
        transaction.batch_execute("CREATE TABLE t (x int)").await.unwrap();
        let sink = transaction.copy_in::<_, bytes::Bytes>("COPY t FROM STDIN").await.unwrap();
        futures::pin_mut!(sink);
        futures::SinkExt::send(&mut sink, bytes::Bytes::from_static(b"1\n2\n")).await.unwrap();
        assert_eq!(sink.finish().await.unwrap(), 2);
        transaction.commit().await.unwrap();
        connection.close().await.unwrap();
        let unknown = resolve(&bouncer.url("nosuch"), &home(&dir)).unwrap();
        let error = connect(&unknown).await.unwrap_err();
        assert!(error.to_string().contains("nosuch"), "{error}");
    });
    assert_eq!(server.psql(&database, "SELECT sum(x) FROM t"), "3");
}

#[test]
fn a_relay_loses_the_response_to_a_commit() {
    let Some(server) = Postgres::shared() else { return };
    let database = server.database();
    server.psql(&database, "CREATE TABLE t (x int)");
    let dir = TempDir::new().unwrap();
    for (cut, rows) in [(Cut::ResponseTo(b"COMMIT"), "1"), (Cut::Before(b"COMMIT"), "1"), (Cut::Sent(150), "1")] {
        let relay = CuttingRelay::start(server.port, cut, 1);
        let url = format!("postgres://postgres@127.0.0.1:{}/{database}", relay.port);
        let settings = resolve(&url, &home(&dir)).unwrap();
        block_on(async {
            let connection = connect(&settings).await.unwrap();
            let statement =
                "BEGIN; INSERT INTO t SELECT 1 WHERE repeat('x', 100) <> '                             '; COMMIT";
            assert!(connection.client().batch_execute(statement).await.is_err(), "{cut:?}");
            assert_eq!(relay.cuts(), 1);
            // The next connection is whole.
            let connection = connect(&settings).await.unwrap();
            assert_eq!(first(&connection, "SELECT count(*) FROM t").await, rows, "{cut:?}");
        });
    }
    let relay = CuttingRelay::start(server.port, Cut::Received(100), 1);
    let url = format!("postgres://postgres@127.0.0.1:{}/{database}", relay.port);
    let error = ask(&url, &home(&dir), "SELECT 1").unwrap_err();
    assert_eq!((error.kind(), error.is_transient()), (ConnectErrorKind::Broken, true), "{error}");
    assert_eq!(ask(&url, &home(&dir), "SELECT 7").unwrap(), "7");
}

#[test]
fn commands_connect_as_psql_and_never_show_a_password() {
    let Some(server) = Postgres::shared() else { return };
    let database = server.database();
    server.psql(&database, "GRANT ALL ON SCHEMA public TO PUBLIC");
    let port = server.port;
    let load = ["convert", "testdata/company_facts.ndjson", "--into", "facts", "-o"];
    let run = |place: &Place, url: &str| {
        let done = place.run(&[&load[..], &[url]].concat());
        let shown = format!("{} {}", String::from_utf8_lossy(&done.stdout), done.stderr);
        assert!(!shown.contains("pw-") && !shown.contains(&encode(PASSWORD)[..9]), "{url}: {shown}");
        done
    };
    let at = |user: &str, rest: &str| format!("postgres://{user}@127.0.0.1:{port}/{rest}");

    // The password from the URL, with a note; from the file, and from a service, without one.
    let place = Place::new();
    let done = run(&place, &at(&format!("locked:{}", encode(PASSWORD)), &database)).ok();
    done.says("the URL contains a password");
    let rows = server.psql(&database, "SELECT count(*) FROM facts");
    assert_ne!(rows, "0");
    let line = PASSWORD.replace('\\', "\\\\").replace(':', "\\:");
    write_private(&place.path("home/.pgpass"), &format!("*:{port}:*:locked:{line}\n"));
    let service = format!("[crm]\nhost=127.0.0.1\nport={port}\nuser=locked\ndbname={database}\n");
    place.write("home/.pg_service.conf", service);
    // The same target by another way: its load is known.
    let done = run(&place.env("PGSERVICE", "crm"), "postgres:").ok();
    assert!(!done.stderr.contains("contains a password"), "{}", done.stderr);
    assert_eq!(server.psql(&database, "SELECT count(*) FROM facts"), rows);

    let place = Place::new();
    let fails = |url: &str, code: i32, what: &str| drop(run(&place, url).code(code).says(what));
    fails(
        "postgres://locked:pw-x@127.0.0.1:1/x",
        exit::TARGET_UNREACHABLE,
        "cannot connect to 127.0.0.1:1: the connection",
    );
    fails("postgres:?host=/nonexistent&password=pw-x", exit::TARGET_UNREACHABLE, "no server listens on this socket");
    fails("postgres://locked:pw-x?y@h/x?port=0", exit::USAGE, "invalid connection parameter `port` (from the URL)");
    fails("postgres://locked:pw-x/y@h/x", exit::USAGE, "invalid connection parameter `port`");
    fails("postgres://h/x?pass%77ord=pw-x&z=1", exit::USAGE, "`z` is not a connection parameter");
    let done = run(&place, &at("locked:pw-x", &database));
    done.says("password authentication failed").hints("from the URL");
    let done = run(&place, &at("locked", &database));
    done.says("asks for a password of user `locked`").hints(".pgpass");
    assert!(!place.leftovers().iter().any(|name| name.contains("pw-")));
}
