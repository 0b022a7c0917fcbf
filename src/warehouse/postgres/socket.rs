//! The byte stream below a connection: TCP or a Unix socket, with its options.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A connected stream of bytes.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A stream of either kind. One virtual call per read of many kilobytes costs nothing that a bench could see.
pub(super) type Socket = Box<dyn Stream>;

/// An address that needs no further look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// Detection of peers that have vanished without closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeepAlive {
    /// Silence before the first probe.
    pub(super) idle: Duration,
    /// Time between probes.
    pub(super) interval: Duration,
    /// Lost probes after which the connection is broken.
    pub(super) count: u32,
}

/// Options of TCP connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TcpOptions {
    /// `None` sends no probes.
    pub(super) keepalive: Option<KeepAlive>,
    /// Time after which bytes that are not acknowledged break the connection; `None` leaves it to the system.
    pub(super) user_timeout: Option<Duration>,
}

/// Connects to `address`.
pub(super) async fn open(address: &Address, options: &TcpOptions) -> std::io::Result<Socket> {
    match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let socket = socket2::SockRef::from(&stream);
            if let Some(keepalive) = options.keepalive {
                let params = socket2::TcpKeepalive::new().with_time(keepalive.idle).with_interval(keepalive.interval);
                #[cfg(unix)]
                let params = params.with_retries(keepalive.count);
                socket.set_tcp_keepalive(&params)?;
            }
            #[cfg(target_os = "linux")]
            if let Some(timeout) = options.user_timeout {
                socket.set_tcp_user_timeout(Some(timeout))?;
            }
            Ok(Box::new(stream))
        }
        #[cfg(unix)]
        Address::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
        #[cfg(not(unix))]
        Address::Unix(_) => Err(std::io::ErrorKind::Unsupported.into()),
    }
}

/// Asks the server for TLS; returns true if it agrees. The socket is then ready for the handshake, else for the plain
/// protocol.
pub(super) async fn request_tls(socket: &mut Socket) -> std::io::Result<bool> {
    /// SSLRequest: its length, and the code 80877103 in place of a protocol version.
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    socket.write_all(&SSL_REQUEST).await?;
    socket.flush().await?;
    // Exactly one byte: what comes after it in plain text must not count as encrypted.
    match socket.read_u8().await? {
        b'S' => Ok(true),
        b'N' => Ok(false),
        _ => Err(std::io::Error::other("the server's response is not one of PostgreSQL")),
    }
}
