//! TCP relays between clients and a server on loopback: one counts the bytes that clients receive, one breaks connections
//! at a chosen point.

#![cfg_attr(not(feature = "postgres"), allow(dead_code, reason = "the tests of PostgreSQL cut connections"))]

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use super::wait_for;

/// A relay on a free port, stopped on drop.
pub struct Relay {
    pub url: String,
    received: Arc<AtomicU64>,
    /// Connections that may still deliver bytes.
    open: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
}

impl Relay {
    /// Starts a relay to the server at `url`.
    pub fn start(url: &str) -> Self {
        let server = url.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (received, open) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let stopped = Arc::new(AtomicBool::new(false));
        let (count, connections, stop) = (received.clone(), open.clone(), stopped.clone());
        thread::spawn(move || {
            for client in listener.incoming() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&server)) else { continue };
                let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { continue };
                thread::spawn(move || copy(from_client, to_server, None));
                let (count, connections) = (count.clone(), connections.clone());
                connections.fetch_add(1, Ordering::AcqRel);
                thread::spawn(move || {
                    copy(server, client, Some(&count));
                    connections.fetch_sub(1, Ordering::AcqRel);
                });
            }
        });
        Relay { url, received, open, stopped }
    }

    /// Bytes that clients have received since the last [`Relay::take_received`], heads and API calls included.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Acquire)
    }

    /// Returns the same count and resets it. Waits for all connections to end, so the clients must have ended.
    pub fn take_received(&self) -> u64 {
        wait_for("connections to end", || (self.open.load(Ordering::Acquire) == 0).then_some(()));
        self.received.swap(0, Ordering::AcqRel)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        // Wakes the listener so that it sees the flag.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

/// Copies until either side closes its connection, then closes the other.
fn copy(mut from: TcpStream, mut to: TcpStream, count: Option<&AtomicU64>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..n]).is_err() {
            break;
        }
        if let Some(count) = count {
            count.fetch_add(n as u64, Ordering::AcqRel);
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// The point at which a [`CuttingRelay`] breaks a connection.
#[derive(Clone, Copy, Debug)]
pub enum Cut {
    /// When the client has sent so many bytes; what is beyond them does not reach the server.
    Sent(u64),
    /// When the server has sent so many bytes; what is beyond them does not reach the client.
    Received(u64),
    /// When the client sends these bytes, which do not reach the server.
    Before(&'static [u8]),
    /// When the server responds to these bytes: they were carried out, and the response is lost.
    ResponseTo(&'static [u8]),
}

/// A relay on a free port, stopped on drop, that breaks the first connections and passes later ones on. It sees plain text
/// only.
pub struct CuttingRelay {
    pub port: u16,
    cuts: Arc<AtomicU64>,
    stopped: Arc<AtomicBool>,
}

impl CuttingRelay {
    /// Starts a relay to the server at 127.0.0.1 with this port, which breaks up to `n_cuts` connections.
    pub fn start(server_port: u16, cut: Cut, n_cuts: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (cuts, stopped) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (done, stop) = (cuts.clone(), stopped.clone());
        thread::spawn(move || {
            for client in listener.incoming() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(("127.0.0.1", server_port))) else {
                    continue;
                };
                let (Ok(from_client), Ok(to_server)) = (client.try_clone(), server.try_clone()) else { continue };
                let responds = Arc::new(AtomicBool::new(false));
                let mut up =
                    Breaker { cut, n_cuts, cuts: done.clone(), responds: responds.clone(), n: 0, tail: Vec::new() };
                let mut down = Breaker { cut, n_cuts, cuts: done.clone(), responds, n: 0, tail: Vec::new() };
                thread::spawn(move || copy_until(from_client, to_server, |bytes| up.sent(bytes)));
                thread::spawn(move || copy_until(server, client, |bytes| down.received(bytes)));
            }
        });
        CuttingRelay { port, cuts, stopped }
    }

    /// Connections that were broken so far.
    pub fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Acquire)
    }
}

impl Drop for CuttingRelay {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// Decides for one direction of a connection how many of the bytes that arrive go on before it breaks.
struct Breaker {
    cut: Cut,
    n_cuts: u64,
    cuts: Arc<AtomicU64>,
    /// The bytes of [`Cut::ResponseTo`] were passed on.
    responds: Arc<AtomicBool>,
    n: u64,
    /// The last bytes of what came before, which a mark may begin in.
    tail: Vec<u8>,
}

impl Breaker {
    /// Takes one of the cuts, if any is left.
    fn take(&self) -> bool {
        let n_cuts = self.n_cuts;
        let take = |n: u64| (n < n_cuts).then_some(n + 1);
        self.cuts.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).is_ok()
    }

    /// `Some(n)`: pass `n` of the bytes on, and break.
    fn beyond(&mut self, bytes: &[u8], limit: u64) -> Option<usize> {
        let rest = limit.saturating_sub(self.n);
        self.n += bytes.len() as u64;
        (bytes.len() as u64 > rest && self.take()).then_some(rest as usize)
    }

    fn finds(&mut self, bytes: &[u8], mark: &[u8]) -> bool {
        self.tail.extend_from_slice(bytes);
        let found = self.tail.windows(mark.len()).any(|window| window == mark);
        let keep = self.tail.len().saturating_sub(mark.len() - 1);
        self.tail.drain(..keep);
        found
    }

    fn sent(&mut self, bytes: &[u8]) -> Option<usize> {
        match self.cut {
            Cut::Sent(limit) => self.beyond(bytes, limit),
            Cut::Before(mark) => (self.finds(bytes, mark) && self.take()).then_some(0),
            Cut::ResponseTo(mark) => {
                if self.finds(bytes, mark) {
                    self.responds.store(true, Ordering::Release);
                }
                None
            }
            Cut::Received(_) => None,
        }
    }

    fn received(&mut self, bytes: &[u8]) -> Option<usize> {
        match self.cut {
            Cut::Received(limit) => self.beyond(bytes, limit),
            Cut::ResponseTo(_) => (self.responds.load(Ordering::Acquire) && self.take()).then_some(0),
            Cut::Sent(_) | Cut::Before(_) => None,
        }
    }
}

/// Copies as [`copy`] does, until `breaks` says how many of the last bytes still go on.
fn copy_until(mut from: TcpStream, mut to: TcpStream, mut breaks: impl FnMut(&[u8]) -> Option<usize>) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let cut = breaks(&buffer[..n]);
        if to.write_all(&buffer[..cut.unwrap_or(n)]).is_err() || cut.is_some() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
