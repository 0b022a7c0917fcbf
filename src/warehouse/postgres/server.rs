//! One server of the list that settings name.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::secret::Password;

/// One server of the list, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Host {
    /// Host name or address, and the address to use in place of a look-up.
    Tcp { name: String, address: Option<IpAddr> },
    /// Directory of the socket.
    Unix(PathBuf),
}

impl Host {
    /// Returns true if no other machine can see the connection.
    pub(super) fn is_local(&self) -> bool {
        match self {
            Host::Unix(_) => true,
            Host::Tcp { address: Some(address), .. } => address.is_loopback(),
            Host::Tcp { name, address: None } => {
                name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }
}

/// A server of the list, with what is specific to it.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) host: Host,
    pub(super) port: u16,
    pub(super) password: Option<Password>,
    /// The source of the password, for errors.
    pub(super) password_origin: Option<String>,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Tcp { name, .. } if name.contains(':') => write!(f, "[{name}]:{}", self.port),
            Host::Tcp { name, .. } => write!(f, "{name}:{}", self.port),
            Host::Unix(directory) => write!(f, "{}/.s.PGSQL.{}", directory.display(), self.port),
        }
    }
}

/// The kind of server that a session needs, of several that are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SessionAttributes {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}
