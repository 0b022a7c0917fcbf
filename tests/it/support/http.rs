//! A small HTTP server whose responses the test supplies, broken ones included. One request per connection.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request as the server read it.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// Path without the query.
    pub path: String,
    pub query: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

/// A response, and where its body is cut.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Bytes of `body` sent before the connection is closed; all of them if `None`.
    pub cut_at: Option<usize>,
}

impl Answer {
    pub fn bytes(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Answer { status: 200, headers, body: body.into(), cut_at: None }
    }

    pub fn json(value: &serde_json::Value) -> Self {
        Answer::bytes("application/json", value.to_string())
    }

    pub fn error(status: u16, detail: &str) -> Self {
        Answer { status, ..Answer::json(&serde_json::json!({ "detail": detail })) }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// Tries of a download that brings nothing, as docs/resume.md has them.
const DOWNLOAD_TRIES: usize = 8;

/// Responses to a download, none of which completes it. Only the first and the last try are cut: the waits after cuts grow
/// to 30 s, so the tries between them are refused with `Retry-After: 0`, which keeps each wait below 0.5 s.
#[derive(Debug, Default)]
pub struct FailingDownload(AtomicUsize);

impl FailingDownload {
    /// The response to the next try, where `cut` is the one that is cut. After the last try the next download begins.
    pub fn answer(&self, cut: Answer) -> Answer {
        let last = DOWNLOAD_TRIES - 1;
        match self.0.fetch_add(1, Ordering::Relaxed) % DOWNLOAD_TRIES {
            tries if tries == 0 || tries == last => cut,
            _ => Answer::error(503, "slow down").header("retry-after", "0"),
        }
    }
}

/// A server on a free port of loopback, stopped on drop.
pub struct Loopback {
    pub url: String,
    asked: Arc<Mutex<Vec<Request>>>,
    stopped: Arc<AtomicBool>,
}

impl Loopback {
    /// Starts a server that responds to every request with the result of `answer`.
    pub fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let answer = Arc::new(answer);
        let (log, stop) = (asked.clone(), stopped.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let (answer, log) = (answer.clone(), log.clone());
                // Clients may close the connection early.
                thread::spawn(move || drop(serve(stream, &*answer, &log)));
            }
        });
        Loopback { url, asked, stopped }
    }

    /// Returns the requests so far, in order of arrival.
    pub fn asked(&self) -> Vec<Request> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        // Wakes the listener so that it sees the flag.
        let _ = TcpStream::connect(self.url.trim_start_matches("http://"));
    }
}

fn serve(stream: TcpStream, answer: &dyn Fn(&Request) -> Answer, log: &Mutex<Vec<Request>>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(()) };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: HashMap::new(),
        body: Vec::new(),
    };
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        request.headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let mut stream = stream;
    if request.headers.get("expect").is_some_and(|value| value.eq_ignore_ascii_case("100-continue")) {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    read_body(&mut reader, &mut request)?;
    log.lock().unwrap().push(request.clone());

    let answer = answer(&request);
    let mut head = format!("HTTP/1.1 {} Status\r\nconnection: close\r\n", answer.status);
    head.push_str(&format!("content-length: {}\r\n", answer.body.len()));
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(&answer.body[..answer.cut_at.unwrap_or(answer.body.len())])?;
    stream.flush()
}

fn read_body(reader: &mut impl BufRead, request: &mut Request) -> std::io::Result<()> {
    if request.headers.get("transfer-encoding").is_some_and(|value| value.contains("chunked")) {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
            let start = request.body.len();
            request.body.resize(start + size, 0);
            reader.read_exact(&mut request.body[start..])?;
            reader.read_line(&mut line)?;
            if size == 0 {
                return Ok(());
            }
        }
    }
    let size: usize = request.headers.get("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    request.body.resize(size, 0);
    reader.read_exact(&mut request.body)
}
