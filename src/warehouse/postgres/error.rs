//! Errors of connections: the server, the kind of failure, the cause in words, and what helps.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use tokio_postgres::error::SqlState;

use super::server::{Host, Server};
use super::settings::Settings;
use super::tls::SslMode;
use crate::net::{BadCertificate, CertificateHint, bad_certificate};

/// The kind of a failure to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// Nothing listens at the address.
    Refused,
    /// The host name has no address.
    UnknownHost,
    /// The network does not lead there.
    Unreachable,
    /// No response in time.
    TimedOut,
    /// The server closed the connection, or does not speak the protocol.
    Broken,
    /// The server does not offer TLS, and the mode demands it.
    NoTls,
    /// The server's certificate does not prove what the mode demands.
    Certificate,
    /// TLS failed for another reason.
    Tls,
    /// A certificate or key file cannot be used.
    File,
    /// The server asks for a password, and none is set.
    NoPassword,
    /// The server refused the password.
    WrongPassword,
    /// The server does not let this user in from here.
    NotAllowed,
    /// There is no such database.
    UnknownDatabase,
    /// All connections of the server are taken.
    TooManyConnections,
    /// The server starts up, shuts down or recovers.
    NotReady,
    /// The server is not of the kind that `target_session_attrs` demands.
    WrongRole,
    /// Another error that the server reports.
    Server,
}

impl ConnectErrorKind {
    /// Returns true if the same settings may succeed later.
    pub fn is_transient(self) -> bool {
        use ConnectErrorKind as K;
        matches!(
            self,
            K::Refused | K::Unreachable | K::TimedOut | K::Broken | K::TooManyConnections | K::NotReady | K::WrongRole
        )
    }

    /// Returns true if libpq would go on to the next host. A server that answers with an error ends the search.
    pub(super) fn leads_on(self) -> bool {
        use ConnectErrorKind as K;
        matches!(
            self,
            K::Refused | K::UnknownHost | K::Unreachable | K::TimedOut | K::Broken | K::NotReady | K::WrongRole
        )
    }
}

/// A failure with one server.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    pub(super) server: String,
    pub(super) kind: ConnectErrorKind,
    pub(super) cause: String,
    pub(super) hint: Option<String>,
}

/// A failure to connect to any of the servers. No text contains a secret.
#[derive(Clone, Debug)]
pub struct ConnectError {
    /// In the order of the attempts, at least one.
    failures: Vec<Failure>,
}

impl ConnectError {
    pub(super) fn new(failures: Vec<Failure>) -> Self {
        debug_assert!(!failures.is_empty());
        ConnectError { failures }
    }

    fn last(&self) -> &Failure {
        self.failures.last().expect("a list of hosts is not empty")
    }

    /// Returns the kind of the last failure: of several servers, only those were passed over that cannot be reached.
    pub fn kind(&self) -> ConnectErrorKind {
        self.last().kind
    }

    /// Returns the servers that were tried: `db:5432`.
    pub fn server(&self) -> String {
        self.failures.iter().map(|failure| failure.server.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// Returns the cause, with the server in front if several were tried.
    pub fn cause(&self) -> String {
        match self.failures.as_slice() {
            [one] => one.cause.clone(),
            several => {
                let causes = several.iter().map(|failure| format!("{}: {}", failure.server, failure.cause));
                causes.collect::<Vec<_>>().join("; ")
            }
        }
    }

    /// Returns what helps, as an imperative; `None` if there is nothing.
    pub fn hint(&self) -> Option<&str> {
        self.last().hint.as_deref()
    }

    /// Returns true if the same settings may succeed later, with any of the servers.
    pub fn is_transient(&self) -> bool {
        self.failures.iter().any(|failure| failure.kind.is_transient()) && self.kind().leads_on()
            || self.kind().is_transient()
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot connect to {}: {}", self.server(), self.cause())
    }
}

impl StdError for ConnectError {}

/// Describes the failures of one server.
pub(super) struct Describe<'a> {
    pub(super) settings: &'a Settings,
    pub(super) server: &'a Server,
    pub(super) mode: SslMode,
}

impl Describe<'_> {
    pub(super) fn failure(&self, kind: ConnectErrorKind, cause: impl Into<String>, hint: Option<&str>) -> Failure {
        Failure { server: self.server.to_string(), kind, cause: cause.into(), hint: hint.map(str::to_owned) }
    }

    pub(super) fn unknown_host(&self, cause: &io::Error) -> Failure {
        let hint = "check the host name, in the URL or in PGHOST";
        self.failure(ConnectErrorKind::UnknownHost, format!("the host name is unknown ({cause})"), Some(hint))
    }

    pub(super) fn timed_out(&self) -> Failure {
        let seconds = self.settings.connect_timeout.unwrap_or_default().as_secs();
        let hint = "check host and port, and firewalls between; or wait longer with `connect_timeout=SECONDS` in the URL or \
                    PGCONNECT_TIMEOUT";
        self.failure(ConnectErrorKind::TimedOut, format!("no response within {seconds} s"), Some(hint))
    }

    /// The failure to open the socket.
    pub(super) fn unopened(&self, cause: &io::Error) -> Failure {
        use ConnectErrorKind as K;
        let is_socket = matches!(self.server.host, Host::Unix(_));
        match cause.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused if is_socket => {
                let hint = "start the server, or name its host: `postgres://HOST/DATABASE` or PGHOST (a directory with \
                            its socket counts)";
                self.failure(K::Refused, format!("no server listens on this socket ({cause})"), Some(hint))
            }
            io::ErrorKind::ConnectionRefused => {
                let hint =
                    "check that the server runs, and that host and port are right (the URL, or PGHOST and PGPORT)";
                self.failure(K::Refused, "the connection was refused", Some(hint))
            }
            io::ErrorKind::TimedOut => self.timed_out_by_system(cause),
            _ => self.failure(K::Unreachable, cause.to_string(), None),
        }
    }

    fn timed_out_by_system(&self, cause: &io::Error) -> Failure {
        self.failure(ConnectErrorKind::TimedOut, cause.to_string(), Some("check host and port, and firewalls between"))
    }

    pub(super) fn no_tls(&self) -> Failure {
        let hint = match self.settings.tls.mode {
            // TLS was not demanded.
            None => {
                "to send rows and password without encryption, set `sslmode=disable` in the URL or PGSSLMODE=disable; \
                 TLS needs `ssl = on` in the server's configuration, and its CA here as `sslrootcert=FILE`"
            }
            Some(_) => "switch TLS on in the server's configuration (`ssl = on`), or choose another `sslmode`",
        };
        let cause = format!("the server does not support TLS, which `sslmode={}` demands", self.mode.as_str());
        self.failure(ConnectErrorKind::NoTls, cause, Some(hint))
    }

    /// The failure to read the byte that accepts or declines TLS.
    pub(super) fn no_greeting(&self, cause: &io::Error) -> Failure {
        let cause = match cause.kind() {
            io::ErrorKind::UnexpectedEof => "the server closed the connection".to_owned(),
            _ => cause.to_string(),
        };
        self.failure(ConnectErrorKind::Broken, cause, Some("check that PostgreSQL listens on this port"))
    }

    /// The failure of the TLS handshake, the authentication or the startup of the session.
    pub(super) fn unstarted(&self, error: &tokio_postgres::Error) -> Failure {
        if let Some(problem) = bad_certificate(error) {
            return self.certificate(&problem);
        }
        if let Some(error) = error.as_db_error() {
            return self.refused_by_server(error.code(), error.message());
        }
        use ConnectErrorKind as K;
        if let Some(tls) = find::<rustls::Error>(error) {
            let cause = format!("the TLS handshake failed: {tls}");
            let hint = match tls {
                rustls::Error::AlertReceived(_) => {
                    Some("the server may demand a client certificate: set `sslcert=FILE` and `sslkey=FILE`")
                }
                _ => None,
            };
            return self.failure(K::Tls, cause, hint);
        }
        // The one error without a type. `None` is checked first, so that no other text is taken for it.
        let is_missing = error.source().is_some_and(|source| source.to_string() == "password missing");
        if self.server.password.is_none() && is_missing {
            let hint = "set PGPASSWORD, or add the line `HOST:PORT:DATABASE:USER:PASSWORD` to ~/.pgpass (mode 0600)";
            let cause = format!("the server asks for a password of user `{}`, and none is set", self.settings.user);
            return self.failure(K::NoPassword, cause, Some(hint));
        }
        match find::<io::Error>(error) {
            Some(cause) if error.is_closed() || cause.kind() == io::ErrorKind::UnexpectedEof => {
                self.failure(K::Broken, "the server closed the connection", None)
            }
            Some(cause) => self.failure(K::Broken, cause.to_string(), None),
            None if error.is_closed() => self.failure(K::Broken, "the server closed the connection", None),
            None => {
                let cause = error.source().map_or(String::new(), |source| format!(": {source}"));
                self.failure(K::Server, format!("{error}{cause}"), None)
            }
        }
    }

    fn certificate(&self, problem: &BadCertificate) -> Failure {
        let by_default = self.settings.tls.mode.is_none();
        let hint = match (&problem.remedy, &problem.text) {
            (CertificateHint::AddCa | CertificateHint::CorrectNames, _) => {
                "give the server's CA as `sslrootcert=FILE` in the URL or PGSSLROOTCERT; `sslmode=require` would encrypt \
                 without knowing to whom"
            }
            (CertificateHint::None, text) if text.contains("host name") => {
                "connect by a name that the certificate contains; `sslmode=verify-ca` with `sslrootcert=FILE` does not \
                 compare names"
            }
            (CertificateHint::None, _) => {
                "renew the server's certificate; `sslmode=require` without `sslrootcert=` would not look at it"
            }
        };
        let mode = if by_default { "verify-full, the default for other machines" } else { self.mode.as_str() };
        self.failure(ConnectErrorKind::Certificate, format!("{problem} (sslmode={mode})"), Some(hint))
    }

    fn refused_by_server(&self, code: &SqlState, message: &str) -> Failure {
        use ConnectErrorKind as K;
        let (kind, hint) = match code {
            code if *code == SqlState::INVALID_PASSWORD => {
                let hint = match &self.server.password_origin {
                    Some(origin) => format!("the password is the one from {origin}"),
                    None => "set PGPASSWORD, or add a line to ~/.pgpass".to_owned(),
                };
                (K::WrongPassword, Some(hint))
            }
            code if *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
                (K::NotAllowed, Some("check the user name, and the server's pg_hba.conf".to_owned()))
            }
            code if *code == SqlState::INVALID_CATALOG_NAME => {
                (K::UnknownDatabase, Some("check the database name, in the URL or in PGDATABASE".to_owned()))
            }
            code if *code == SqlState::TOO_MANY_CONNECTIONS => {
                (K::TooManyConnections, Some("try again later, or raise the server's max_connections".to_owned()))
            }
            code if *code == SqlState::CANNOT_CONNECT_NOW
                || *code == SqlState::ADMIN_SHUTDOWN
                || *code == SqlState::CRASH_SHUTDOWN =>
            {
                (K::NotReady, Some("try again later".to_owned()))
            }
            _ => (K::Server, None),
        };
        self.failure(kind, message, hint.as_deref())
    }
}

/// Finds an error of a type among the causes of `error`, also one that an I/O error wraps.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        next = wrapped.map(|wrapped| wrapped as &(dyn StdError + 'static)).or_else(|| error.source());
    }
    None
}
