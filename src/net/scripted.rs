//! A loopback HTTP server for tests with scripted responses: one per connection, which it then closes.
//! It can announce a false length and cut a body; [`super::faults`] has the server that draws its faults from a seed.

use std::io::Read as _;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Download, Error};

/// One scripted response.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// Value of `Content-Length`, true or not; `None` omits the header.
    announced: Option<usize>,
}

impl Reply {
    /// Creates a response with a body and its true length.
    pub(crate) fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Reply { status, headers: Vec::new(), announced: Some(body.len()), body }
    }

    /// Adds a response header.
    pub(crate) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Omits a response header.
    pub(crate) fn without_header(mut self, name: &str) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self
    }

    /// Closes the connection after `bytes` bytes of the body, and keeps the announced length.
    pub(crate) fn cut_at(mut self, bytes: usize) -> Self {
        self.body.truncate(bytes);
        self
    }

    /// Omits `Content-Length`, so that only the end of the connection ends the body.
    pub(crate) fn unannounced(mut self) -> Self {
        self.announced = None;
        self
    }
}

/// A request as the server received it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// Method, path and query, without the HTTP version.
    pub line: String,
    /// Headers in order, their names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, as long as `Content-Length` says.
    pub body: Vec<u8>,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// A running server; its responses are a function of the request and its number.
pub(crate) struct Scripted {
    /// Base URL, `http://127.0.0.1:PORT`.
    pub base: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Scripted {
    /// Starts a server that answers request `i` with reply `i`, and all later requests with the last reply.
    pub(crate) async fn replies(replies: Vec<Reply>) -> Self {
        Scripted::by(move |i, _| replies[i.min(replies.len() - 1)].clone()).await
    }

    /// Starts a server that calls `answer` with the number of each request (from 0) and the request.
    pub(crate) async fn by(answer: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("loopback can be bound");
        let base = format!("http://{}", listener.local_addr().expect("it is bound"));
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let answer = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (log, answer) = (Arc::clone(&log), Arc::clone(&answer));
                tokio::spawn(async move {
                    let Some(request) = read_request(&mut stream).await else { return };
                    let reply = {
                        let mut log = log.lock().expect("no test panics while it holds it");
                        log.push(request.clone());
                        answer(log.len() - 1, &request)
                    };
                    let mut head = format!("HTTP/1.1 {} Scripted\r\nConnection: close\r\n", reply.status);
                    for (name, value) in &reply.headers {
                        head.push_str(&format!("{name}: {value}\r\n"));
                    }
                    if let Some(length) = reply.announced {
                        head.push_str(&format!("Content-Length: {length}\r\n"));
                    }
                    head.push_str("\r\n");
                    let _ = stream.write_all(head.as_bytes()).await;
                    let _ = stream.write_all(&reply.body).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Scripted { base, seen }
    }

    /// Returns the requests received so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no test panics while it holds it").clone()
    }
}

/// Reads a download to its end.
pub(crate) async fn all_bytes(mut download: Download) -> Result<Vec<u8>, Error> {
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        match download.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(error.downcast::<Error>().expect("a download's errors are of its type")),
        }
    });
    read.await.expect("it does not panic")
}

pub(crate) async fn read_request(stream: &mut tokio::net::TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(n, _)| n == "content-length").and_then(|(_, v)| v.parse().ok()).unwrap_or(0);
    let mut body = bytes.split_off(end + 4);
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Seen { line, headers, body })
}
