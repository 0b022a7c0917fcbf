//! Connecting: hosts in order, addresses of a host in order, TLS as the mode demands, in libpq's way.

use std::net::SocketAddr;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::task::JoinHandle;
use tokio_postgres::config::{SslMode as Handshake, SslNegotiation};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{CancelToken, Client, NoTls, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{ConnectError, ConnectErrorKind, Describe, Failure};
use super::server::{Host, Server, SessionAttributes};
use super::settings::Settings;
use super::socket::{self, Address, Socket, TcpOptions};
use super::tls::SslMode;
use crate::net::random;

/// Time for a request to cancel. It is a courtesy: the connection is closed in any case.
const CANCEL_TIMEOUT: Duration = Duration::from_secs(5);

/// An open session.
pub struct Connection {
    client: Client,
    driver: JoinHandle<Result<(), tokio_postgres::Error>>,
    canceller: Canceller,
    server: String,
    version: String,
}

impl Connection {
    /// Returns the client, for queries and COPY.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the client, for transactions.
    pub fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Returns a handle that cancels the statement that runs.
    pub fn canceller(&self) -> Canceller {
        self.canceller.clone()
    }

    /// Returns the server, as errors name it: `db:5432`.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Returns the server's version as it says it, such as `15.18 (Debian 15.18-0+deb12u1)`.
    pub fn server_version(&self) -> &str {
        &self.version
    }

    /// Returns true if the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.canceller.tls.is_some()
    }

    /// Ends the session and waits until the socket is closed. An error that ended it earlier is returned.
    pub async fn close(self) -> Result<(), tokio_postgres::Error> {
        drop(self.client);
        match self.driver.await {
            Ok(ended) => ended,
            // The runtime is shutting down, which closes the socket too.
            Err(_) => Ok(()),
        }
    }

    /// Closes the socket at once; the server rolls an open transaction back.
    pub fn abort(self) {
        self.driver.abort();
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("server", &self.server).finish_non_exhaustive()
    }
}

/// Cancels the statement that a connection runs, over a connection of its own.
#[derive(Clone)]
pub struct Canceller {
    token: CancelToken,
    address: Address,
    tcp: TcpOptions,
    tls: Option<Tls>,
}

impl Canceller {
    /// Asks the server to cancel. The server does not confirm it: the statement ends with an error, or was faster. Gives up
    /// after 5 s.
    pub async fn cancel(&self) -> std::io::Result<()> {
        let ask = async {
            let mut socket = socket::open(&self.address, &self.tcp).await?;
            let sent = match &self.tls {
                Some(tls) => {
                    if !tls.is_direct && !socket::request_tls(&mut socket).await? {
                        return Err(std::io::Error::other("the server does not offer TLS for the cancellation"));
                    }
                    self.token.cancel_query_raw(socket, tls.connector()).await
                }
                None => self.token.cancel_query_raw(socket, NoTls).await,
            };
            sent.map_err(std::io::Error::other)
        };
        tokio::time::timeout(CANCEL_TIMEOUT, ask).await.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
    }
}

impl std::fmt::Debug for Canceller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Canceller").field("address", &self.address).finish_non_exhaustive()
    }
}

/// TLS of one server.
#[derive(Clone)]
struct Tls {
    make: MakeRustlsConnect,
    name: String,
    is_direct: bool,
}

impl Tls {
    /// `name` is what the certificate is compared with; of a host name that no certificate can have, the address is.
    fn new(config: ClientConfig, name: &str, address: &Address, is_direct: bool) -> Self {
        let name = match (ServerName::try_from(name), address) {
            (Err(_), Address::Tcp(address)) => address.ip().to_string(),
            _ => name.to_owned(),
        };
        Tls { make: MakeRustlsConnect::new(config), name, is_direct }
    }

    fn connector(&self) -> <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect {
        let Ok(connector) = MakeTlsConnect::<Socket>::make_tls_connect(&mut self.make.clone(), &self.name);
        connector
    }
}

/// Connects to the first server of the list that can be reached and has the role that the settings demand. A server that can be
/// reached and refuses ends the search, as in libpq. Must be called within a tokio runtime; the session is driven by a
/// task of it. May be dropped at any time, which closes what is open.
pub async fn connect(settings: &Settings) -> Result<Connection, ConnectError> {
    let mut servers: Vec<&Server> = settings.servers.iter().collect();
    if settings.shuffles {
        shuffle(&mut servers);
    }
    let mut failures = Vec::new();
    // `prefer-standby` asks all for a standby first, and takes any then.
    let rounds: &[SessionAttributes] = match settings.session {
        SessionAttributes::PreferStandby => &[SessionAttributes::Standby, SessionAttributes::Any],
        ref one => std::slice::from_ref(one),
    };
    for session in rounds {
        failures.clear();
        for server in &servers {
            match connect_server(settings, server, *session).await {
                Ok(connection) => return Ok(connection),
                Err(of_server) => failures.extend(of_server),
            }
            if failures.last().is_some_and(|failure| !failure.kind.leads_on()) {
                return Err(ConnectError::new(failures));
            }
        }
    }
    Err(ConnectError::new(failures))
}

fn shuffle(servers: &mut [&Server]) {
    use std::hash::{BuildHasher as _, Hasher as _};
    // The keys of a hash map are the random numbers that std has.
    let mut state = std::hash::RandomState::new().build_hasher().finish();
    for at in (1..servers.len()).rev() {
        state = random::mixed(state);
        servers.swap(at, (state % (at as u64 + 1)) as usize);
    }
}

/// Tries all addresses of a server.
async fn connect_server(
    settings: &Settings,
    server: &Server,
    session: SessionAttributes,
) -> Result<Connection, Vec<Failure>> {
    let describe = Describe { settings, server, mode: settings.tls.mode_for(&server.host) };
    let limit = settings.connect_timeout;
    let addresses = within(limit, addresses(server)).await.ok_or_else(|| vec![describe.timed_out()])?;
    let addresses = addresses.map_err(|cause| vec![describe.unknown_host(&cause)])?;
    let mut failures: Vec<Failure> = Vec::new();
    for address in addresses {
        let attempt = Attempt { settings, server, describe: &describe, address, session };
        let outcome = within(limit, attempt.connect()).await.unwrap_or_else(|| Err(describe.timed_out()));
        match outcome {
            Ok(connection) => return Ok(connection),
            Err(failure) => {
                let ends = !failure.kind.leads_on();
                // `localhost` has two addresses, which fail alike.
                if !failures.iter().any(|earlier| earlier.cause == failure.cause) {
                    failures.push(failure);
                }
                if ends {
                    break;
                }
            }
        }
    }
    Err(failures)
}

async fn within<T>(limit: Option<Duration>, future: impl Future<Output = T>) -> Option<T> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, future).await.ok(),
        None => Some(future.await),
    }
}

/// Resolves the addresses of a server, at least one.
async fn addresses(server: &Server) -> std::io::Result<Vec<Address>> {
    match &server.host {
        Host::Unix(directory) => match directory.to_str().and_then(|name| name.strip_prefix('@')) {
            // An abstract socket of Linux, whose name begins with a zero byte.
            Some(name) => Ok(vec![Address::Unix(format!("\0{name}/.s.PGSQL.{}", server.port).into())]),
            None => Ok(vec![Address::Unix(directory.join(format!(".s.PGSQL.{}", server.port)))]),
        },
        Host::Tcp { address: Some(address), .. } => Ok(vec![Address::Tcp(SocketAddr::new(*address, server.port))]),
        Host::Tcp { name, .. } => {
            let found = tokio::net::lookup_host((name.as_str(), server.port)).await?;
            let found: Vec<Address> = found.map(Address::Tcp).collect();
            match found.is_empty() {
                true => Err(std::io::Error::other("it has no address")),
                false => Ok(found),
            }
        }
    }
}

/// The encryption of one attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encryption {
    No,
    /// If the server offers it.
    IfOffered,
    Yes,
}

/// The connection to one address.
struct Attempt<'a> {
    settings: &'a Settings,
    server: &'a Server,
    describe: &'a Describe<'a>,
    address: Address,
    session: SessionAttributes,
}

impl Attempt<'_> {
    async fn connect(&self) -> Result<Connection, Failure> {
        let ways: &[Encryption] = match self.describe.mode {
            SslMode::Disable => &[Encryption::No],
            SslMode::Allow => &[Encryption::No, Encryption::Yes],
            SslMode::Prefer => &[Encryption::IfOffered, Encryption::No],
            SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Encryption::Yes],
        };
        let mut first = None;
        for way in ways {
            match self.connect_as(*way).await {
                Ok(connection) => return self.check_role(connection).await,
                Err((failure, another_way_helps)) => {
                    // The failure of the first way is the one to show; the second is an attempt to help.
                    let failure = first.get_or_insert(failure);
                    if !another_way_helps {
                        return Err(failure.clone());
                    }
                }
            }
        }
        Err(first.expect("there is at least one way"))
    }

    /// Connects in one way. The flag of a failure is true if the other way, with or without encryption, may succeed: the
    /// handshake failed, or the server admits no client in this way. A wrong password is none of these, and must not be sent
    /// again in the clear.
    async fn connect_as(&self, way: Encryption) -> Result<Connection, (Failure, bool)> {
        let settings = self.settings;
        let no = |failure| (failure, false);
        let opened = socket::open(&self.address, &settings.tcp).await;
        let mut socket = opened.map_err(|cause| no(self.describe.unopened(&cause)))?;
        let mut tls = None;
        if way != Encryption::No {
            let is_direct = settings.tls.negotiates_directly;
            let is_offered = is_direct
                || socket::request_tls(&mut socket).await.map_err(|cause| no(self.describe.no_greeting(&cause)))?;
            if is_offered {
                let config = settings.tls.client_config(self.describe.mode);
                let config = config.map_err(|cause| no(self.describe.failure(ConnectErrorKind::File, cause, None)))?;
                let Host::Tcp { name, .. } = &self.server.host else { unreachable!("a Unix socket has no TLS") };
                tls = Some(Tls::new(config, name, &self.address, is_direct));
            } else if way == Encryption::Yes {
                return Err(no(self.describe.no_tls()));
            }
        }
        let config = self.startup(tls.is_some());
        let started = match &tls {
            Some(tls) => config.connect_raw(socket, tls.connector()).await.map(|(client, connection)| {
                let version = connection.parameter("server_version").unwrap_or_default().to_owned();
                (client, tokio::spawn(connection), version)
            }),
            None => config.connect_raw(socket, NoTls).await.map(|(client, connection)| {
                let version = connection.parameter("server_version").unwrap_or_default().to_owned();
                (client, tokio::spawn(connection), version)
            }),
        };
        let (client, driver, version) = started.map_err(|error| {
            let failure = self.describe.unstarted(&error);
            let is_of_tls = matches!(failure.kind, ConnectErrorKind::Tls | ConnectErrorKind::Certificate);
            let lets_nobody_in = error.code() == Some(&SqlState::INVALID_AUTHORIZATION_SPECIFICATION);
            let is_closed_in_handshake = tls.is_some() && failure.kind == ConnectErrorKind::Broken;
            let another_way_helps = match way {
                Encryption::No => lets_nobody_in,
                Encryption::IfOffered => tls.is_some() && (is_of_tls || lets_nobody_in || is_closed_in_handshake),
                Encryption::Yes => false,
            };
            (failure, another_way_helps)
        })?;
        let canceller =
            Canceller { token: client.cancel_token(), address: self.address.clone(), tcp: settings.tcp, tls };
        Ok(Connection { client, driver, canceller, server: self.server.to_string(), version })
    }

    fn startup(&self, is_encrypted: bool) -> tokio_postgres::Config {
        let settings = self.settings;
        let mut config = tokio_postgres::Config::new();
        config.user(&settings.user).dbname(&settings.database).application_name(&settings.application_name);
        if let Some(options) = &settings.options {
            config.options(options);
        }
        if let Some(password) = &self.server.password {
            config.password(password.reveal());
        }
        // The request for TLS is made here, so that what comes next is the handshake.
        config.ssl_mode(if is_encrypted { Handshake::Require } else { Handshake::Disable });
        config.ssl_negotiation(SslNegotiation::Direct);
        config.channel_binding(settings.channel_binding);
        config
    }

    /// Closes the connection again if the server does not have the role that is demanded.
    async fn check_role(&self, connection: Connection) -> Result<Connection, Failure> {
        use SessionAttributes as S;
        if matches!(self.session, S::Any | S::PreferStandby) {
            return Ok(connection);
        }
        let query = "SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('transaction_read_only')";
        let rows = connection.client.simple_query(query).await;
        let rows = rows.map_err(|error| self.describe.unstarted(&error))?;
        let row = rows.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let is = |column, value| row.is_some_and(|row| row.get(column) == Some(value));
        let (is_standby, is_read_only) = (is(0, "t"), is(1, "on"));
        let (fits, problem) = match self.session {
            S::ReadWrite => (!is_read_only, "the session is read-only"),
            S::ReadOnly => (is_read_only, "the session is not read-only"),
            S::Primary => (!is_standby, "the server is a standby"),
            _ => (is_standby, "the server is not a standby"),
        };
        if fits {
            return Ok(connection);
        }
        let _ = connection.close().await;
        let hint = "list all hosts in the URL, or change `target_session_attrs`";
        Err(self.describe.failure(ConnectErrorKind::WrongRole, problem, Some(hint)))
    }
}
