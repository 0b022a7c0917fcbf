//! A TCP relay between clients and a server on loopback, which counts the bytes that clients receive.

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
