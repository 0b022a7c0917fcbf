//! Resolution of a URL and the environment into the settings of a connection, in libpq's order: the URL, the service
//! file, the environment, libpq's defaults.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::environment::Environment;
use super::parameters::{Origin, PARAMETERS, Support, Values};
use super::password_file;
use super::server::{Host, Server, SessionAttributes};
use super::service_file;
use super::socket::{KeepAlive, TcpOptions};
use super::tls::{SslMode, TlsSettings};
use super::uri;
use crate::secret::Password;

/// Directory of the server's socket where no host is given: the one of Linux distributions, and of a build from source
/// elsewhere.
const SOCKET_DIRECTORY: &str = if cfg!(target_os = "linux") { "/var/run/postgresql" } else { "/tmp" };

/// Port of servers where none is given.
const DEFAULT_PORT: u16 = 5432;

/// Time for one address to accept, where `connect_timeout` says nothing. libpq waits for as long as the system does.
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Probes of a silent connection where `keepalives_idle` and the others say nothing: a peer that has vanished is noticed
/// in two minutes, where the systems' defaults are two hours.
const DEFAULT_KEEPALIVE: KeepAlive =
    KeepAlive { idle: Duration::from_secs(60), interval: Duration::from_secs(15), count: 4 };

/// Settings that cannot be used. No text repeats a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// The URL is malformed.
    #[error("invalid connection URL: {0}")]
    Url(String),
    /// The service cannot be read.
    #[error("cannot use the connection service: {0}")]
    Service(String),
    /// A parameter has a value that is not valid, or not supported.
    #[error("invalid connection parameter `{name}` (from {origin}): {problem}")]
    Parameter {
        /// Name of the parameter, as in URLs.
        name: &'static str,
        /// Its source: the URL, the service file or an environment variable.
        origin: String,
        /// The reason.
        problem: String,
    },
    /// No user name is given, and the system's is unknown.
    #[error("cannot determine the user name: set PGUSER, or write it in the URL as `postgres://USER@HOST`")]
    NoUser,
}

/// The resolved settings of a connection. `Debug` prints no password.
#[derive(Clone, Debug)]
pub struct Settings {
    pub(super) servers: Vec<Server>,
    pub(super) user: String,
    pub(super) database: String,
    pub(super) options: Option<String>,
    pub(super) application_name: String,
    /// Time for one address; `None` waits for as long as the system does.
    pub(super) connect_timeout: Option<Duration>,
    pub(super) tcp: TcpOptions,
    pub(super) tls: TlsSettings,
    pub(super) channel_binding: tokio_postgres::config::ChannelBinding,
    pub(super) session: SessionAttributes,
    /// Try the servers in a random order.
    pub(super) shuffles: bool,
    notes: Vec<String>,
}

impl Settings {
    /// Resolves `url` (`postgres://…`, `postgresql://…`, or `postgres:` for the environment alone). Reads the service file and
    /// the password file; does not use the network.
    pub fn resolve(url: &str, environment: &Environment) -> Result<Settings, SettingsError> {
        let mut values = uri::parse(url).map_err(SettingsError::Url)?;
        service_file::add_service(&mut values, environment).map_err(SettingsError::Service)?;
        values.add_variables(|name| environment.get(name));
        Resolver { values, environment, notes: Vec::new() }.finish()
    }

    /// Returns true if `url` has the scheme of this target.
    pub fn is_url(url: &str) -> bool {
        uri::without_scheme(url).is_some()
    }

    /// Returns remarks for the user: a password in the URL, a password file that is ignored.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns servers and database as a URL without credentials and parameters. It is the same for all ways to write the
    /// same target.
    pub fn target(&self) -> String {
        let encode = |text: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(&byte);
            let encoded = text.bytes().map(|byte| match is_plain(byte) {
                true => char::from(byte).to_string(),
                false => format!("%{byte:02X}"),
            });
            encoded.collect::<String>()
        };
        let servers = self.servers.iter().map(|server| match &server.host {
            Host::Tcp { .. } => encode(&server.to_string().to_ascii_lowercase()),
            Host::Unix(directory) => format!("{}:{}", encode(&directory.display().to_string()), server.port),
        });
        format!("postgres://{}/{}", servers.collect::<Vec<_>>().join(","), encode(&self.database).replace(':', "%3A"))
    }

    /// Returns the name of the user that the session belongs to.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Returns the name of the database.
    pub fn database(&self) -> &str {
        &self.database
    }
}

struct Resolver<'a> {
    values: Values,
    environment: &'a Environment,
    notes: Vec<String>,
}

impl Resolver<'_> {
    fn finish(mut self) -> Result<Settings, SettingsError> {
        self.refuse_unsupported()?;
        let user = match self.values.text("user") {
            Some(user) => user.to_owned(),
            None => self.environment.os_user().ok_or(SettingsError::NoUser)?.to_owned(),
        };
        let database = self.values.text("dbname").unwrap_or(&user).to_owned();
        let mut servers = self.servers()?;
        self.add_passwords(&mut servers, &user, &database);
        // An empty name is one, unlike an empty host.
        let given = |name| self.values.given(name);
        let application_name = given("application_name").or_else(|| given("fallback_application_name"));
        let application_name = application_name.unwrap_or("drawoff").to_owned();
        Ok(Settings {
            user,
            database,
            options: self.values.text("options").map(str::to_owned),
            application_name,
            connect_timeout: self.connect_timeout()?,
            tcp: self.tcp_options()?,
            tls: self.tls()?,
            channel_binding: self.channel_binding()?,
            session: self.session()?,
            shuffles: self.one_of("load_balance_hosts", &[("disable", false), ("random", true)])?.unwrap_or(false),
            servers,
            notes: self.notes,
        })
    }

    fn invalid(&self, name: &'static str, problem: impl Into<String>) -> SettingsError {
        let origin = self.values.get(name).map_or("the defaults".to_owned(), |(_, origin)| origin.to_string());
        SettingsError::Parameter { name, origin, problem: problem.into() }
    }

    fn refuse_unsupported(&self) -> Result<(), SettingsError> {
        for parameter in PARAMETERS {
            let Support::Only(values) = parameter.support else { continue };
            let Some(value) = self.values.text(parameter.name) else { continue };
            if !values.contains(&value) {
                let problem = match values {
                    [] => "it is not supported here; remove it".to_owned(),
                    values => format!("only {} is supported here", quoted(values, " or ")),
                };
                return Err(self.invalid(parameter.name, problem));
            }
        }
        Ok(())
    }

    /// Returns the meaning of a parameter that is one word of a list; `None` if it is not given.
    fn one_of<T: Copy>(&self, name: &'static str, words: &[(&str, T)]) -> Result<Option<T>, SettingsError> {
        let Some(value) = self.values.text(name) else { return Ok(None) };
        match words.iter().find(|(word, _)| *word == value) {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => {
                let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                Err(self.invalid(name, format!("expected {}", quoted(&words, " or "))))
            }
        }
    }

    /// Returns a parameter that is an integer; `None` if it is not given.
    fn integer(&self, name: &'static str) -> Result<Option<i32>, SettingsError> {
        let Some(value) = self.values.text(name) else { return Ok(None) };
        value.trim().parse().map(Some).map_err(|_| self.invalid(name, "expected an integer"))
    }

    /// Pairs the lists of hosts, addresses and ports.
    fn servers(&self) -> Result<Vec<Server>, SettingsError> {
        let list = |name| self.values.text(name).map(|text| text.split(',').collect::<Vec<_>>());
        let (hosts, addresses, ports) = (list("host"), list("hostaddr"), list("port").unwrap_or_default());
        let n_servers = addresses.as_ref().or(hosts.as_ref()).map_or(1, Vec::len);
        if let (Some(hosts), Some(addresses)) = (&hosts, &addresses)
            && hosts.len() != addresses.len()
        {
            let problem = format!("{} hosts, and {} addresses", hosts.len(), addresses.len());
            return Err(self.invalid("hostaddr", problem));
        }
        if ports.len() > 1 && ports.len() != n_servers {
            return Err(self.invalid("port", format!("{} ports for {n_servers} hosts", ports.len())));
        }
        let at = |list: &Option<Vec<&str>>, i: usize| {
            list.as_ref().and_then(|list| list.get(i)).map_or(String::new(), |text| (*text).to_owned())
        };
        let mut servers = Vec::with_capacity(n_servers);
        for i in 0..n_servers {
            let (name, address) = (at(&hosts, i), at(&addresses, i));
            let address = match address.is_empty() {
                true => None,
                false => {
                    let parsed = address.parse::<IpAddr>();
                    Some(parsed.map_err(|_| self.invalid("hostaddr", "expected a numeric address"))?)
                }
            };
            let host = match (name.is_empty(), address) {
                (true, None) => Host::Unix(SOCKET_DIRECTORY.into()),
                (true, Some(address)) => Host::Tcp { name: address.to_string(), address: Some(address) },
                (false, None) if name.starts_with(['/', '@']) => Host::Unix(name.into()),
                (false, address) => Host::Tcp { name, address },
            };
            let port = match ports.get(i).or_else(|| ports.first().filter(|_| ports.len() == 1)).map(|port| port.trim())
            {
                None | Some("") => DEFAULT_PORT,
                Some(port) => match port.parse::<u16>() {
                    Ok(port @ 1..) => port,
                    _ => return Err(self.invalid("port", "expected a number from 1 to 65535")),
                },
            };
            servers.push(Server { host, port, password: None, password_origin: None });
        }
        Ok(servers)
    }

    /// Sets the password of each server: the given one, else that of the password file.
    fn add_passwords(&mut self, servers: &mut [Server], user: &str, database: &str) {
        if let Some((password, origin)) = self.values.get("password") {
            for server in servers {
                server.password = Some(Password::new(password));
                server.password_origin = Some(origin.to_string());
            }
            if *origin == Origin::Url {
                self.notes.push(
                    "the URL contains a password, which other users of this machine can see in the list of processes; use \
                     PGPASSWORD or a password file"
                        .to_owned(),
                );
            }
            return;
        }
        let Some(path) = self.password_file() else { return };
        let text = match password_file::read(&path) {
            Ok(Some(text)) => text,
            Ok(None) => return,
            Err(note) => {
                self.notes.push(note);
                return;
            }
        };
        for server in servers {
            let host = match &server.host {
                // The name, not the address: as libpq does it.
                Host::Tcp { name, .. } => name.clone(),
                Host::Unix(directory) if directory == Path::new(SOCKET_DIRECTORY) => "localhost".to_owned(),
                Host::Unix(directory) => directory.display().to_string(),
            };
            if let Some(found) = password_file::find(&text, &host, server.port, database, user) {
                server.password = Some(found.password);
                server.password_origin = Some(format!("line {} of {}", found.line, path.display()));
            }
        }
    }

    fn password_file(&self) -> Option<PathBuf> {
        let given = self.values.text("passfile").map(PathBuf::from);
        given.or_else(|| Some(self.environment.home()?.join(".pgpass")))
    }

    fn connect_timeout(&self) -> Result<Option<Duration>, SettingsError> {
        Ok(match self.integer("connect_timeout")? {
            None => Some(DEFAULT_CONNECT_TIMEOUT),
            Some(..=0) => None,
            // libpq rounds one second up to two.
            Some(seconds) => Some(Duration::from_secs(u64::from(seconds.unsigned_abs().max(2)))),
        })
    }

    fn tcp_options(&self) -> Result<TcpOptions, SettingsError> {
        let positive =
            |value: Option<i32>| value.and_then(|value| u32::try_from(value).ok()).filter(|value| *value > 0);
        let seconds = |name| Ok(positive(self.integer(name)?).map(|value| Duration::from_secs(value.into())));
        let keepalive = KeepAlive {
            idle: seconds("keepalives_idle")?.unwrap_or(DEFAULT_KEEPALIVE.idle),
            interval: seconds("keepalives_interval")?.unwrap_or(DEFAULT_KEEPALIVE.interval),
            count: positive(self.integer("keepalives_count")?).unwrap_or(DEFAULT_KEEPALIVE.count),
        };
        let is_off = self.integer("keepalives")? == Some(0);
        let user_timeout = positive(self.integer("tcp_user_timeout")?).map(|ms| Duration::from_millis(ms.into()));
        Ok(TcpOptions { keepalive: (!is_off).then_some(keepalive), user_timeout })
    }

    fn tls(&self) -> Result<TlsSettings, SettingsError> {
        let home = self.environment.home().map(|home| home.join(".postgresql"));
        // A file in the home directory is used if it exists; one that is named must.
        let in_home = |name: &str| home.as_ref().map(|home| home.join(name)).filter(|file| file.exists());
        let file = |name: &'static str, default: &str| match self.values.text(name) {
            Some(path) => Some(PathBuf::from(path)),
            None => in_home(default),
        };
        let roots = self.values.text("sslrootcert");
        let system_roots = roots == Some("system");
        let modes = SslMode::ALL.map(|mode| (mode.as_str(), mode));
        let mode = self.one_of("sslmode", &modes)?.or(system_roots.then_some(SslMode::VerifyFull));
        let root_file = if system_roots { None } else { file("sslrootcert", "root.crt") };
        match mode {
            Some(weak) if system_roots && weak != SslMode::VerifyFull => {
                let problem = format!(
                    "`{}` with `sslrootcert=system` would trust every certificate of a public CA; use `verify-full`",
                    weak.as_str()
                );
                return Err(self.invalid("sslmode", problem));
            }
            Some(SslMode::VerifyCa) if root_file.is_none() => {
                return Err(self.invalid("sslmode", "`verify-ca` needs the server's CA; set `sslrootcert` to its file"));
            }
            _ => {}
        }
        let negotiates_directly =
            self.one_of("sslnegotiation", &[("postgres", false), ("direct", true)])?.unwrap_or(false);
        if negotiates_directly && matches!(mode, Some(SslMode::Disable | SslMode::Allow | SslMode::Prefer) | None) {
            return Err(self.invalid("sslnegotiation", "`direct` needs `sslmode=require` or stronger"));
        }
        let versions = [("TLSv1", false), ("TLSv1.1", false), ("TLSv1.2", false), ("TLSv1.3", true)];
        let sends_certificate = self.values.text("sslcertmode") != Some("disable");
        Ok(TlsSettings {
            mode,
            root_file,
            crl_file: file("sslcrl", "root.crl"),
            certificate: file("sslcert", "postgresql.crt").filter(|_| sends_certificate),
            key: self.values.text("sslkey").map(PathBuf::from).or_else(|| Some(home.as_ref()?.join("postgresql.key"))),
            tls13_only: self.one_of("ssl_min_protocol_version", &versions)?.unwrap_or(false),
            sends_name: self.one_of("sslsni", &[("0", false), ("1", true)])?.unwrap_or(true),
            negotiates_directly,
        })
    }

    fn channel_binding(&self) -> Result<tokio_postgres::config::ChannelBinding, SettingsError> {
        use tokio_postgres::config::ChannelBinding as C;
        let words = [("disable", C::Disable), ("prefer", C::Prefer), ("require", C::Require)];
        Ok(self.one_of("channel_binding", &words)?.unwrap_or(C::Prefer))
    }

    fn session(&self) -> Result<SessionAttributes, SettingsError> {
        use SessionAttributes as S;
        let words = [
            ("any", S::Any),
            ("read-write", S::ReadWrite),
            ("read-only", S::ReadOnly),
            ("primary", S::Primary),
            ("standby", S::Standby),
            ("prefer-standby", S::PreferStandby),
        ];
        Ok(self.one_of("target_session_attrs", &words)?.unwrap_or(S::Any))
    }
}

/// Formats words for an enumeration: `` `a`, `b` or `c` ``.
fn quoted(words: &[&str], last: &str) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((end, [])) => end.clone(),
        Some((end, others)) => format!("{}{last}{end}", others.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
