//! A store that speaks as much of S3 as uploads need, and misbehaves as its script says. One request per connection.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use percent_encoding::percent_decode_str;

use super::{Place, wait_for};

/// The reaction of the store to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Carries it out.
    Do,
    /// Refuses it with a status, a code and a message.
    Refuse(u16, &'static str, &'static str),
    /// Carries it out and closes the connection without a response.
    DoAndDrop,
    /// Carries it out although its condition does not hold, as a store that knows none.
    DoAnyway,
    /// Carries it out and does not respond until the store is stopped.
    DoAndHang,
    /// Carries it out and says that it failed.
    DoAndRefuse(u16, &'static str),
    /// Closes the connection when the request has arrived, without carrying it out.
    Drop,
    /// Carries it out, and takes so many bytes of its body a second.
    Slowly(usize),
    /// Does not respond until the store is stopped.
    Hang,
}

/// A request, without its body.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Its operation: `head`, `get`, `list`, `put`, `begin`, `part`, `complete`, `abort`, `delete` or `probe`, the
    /// completion of an upload that does not exist.
    pub what: &'static str,
    /// The key, decoded.
    pub key: String,
    /// Requests of this kind before it.
    pub nth: usize,
    /// Names in lower case.
    pub headers: BTreeMap<String, String>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    dates: BTreeMap<String, SystemTime>,
    parts_of: BTreeMap<String, usize>,
    /// Parts by their numbers, by upload id.
    uploads: BTreeMap<String, BTreeMap<usize, Vec<u8>>>,
    n_uploads: usize,
    asked: Vec<Asked>,
    /// A directory that gets a copy of each object before the response to its upload.
    mirror: Option<std::path::PathBuf>,
}

struct Shared {
    state: Mutex<State>,
    act: Box<dyn Fn(&Asked) -> Act + Send + Sync>,
    /// Headers of responses with an object.
    headers: Vec<(&'static str, &'static str)>,
    stopped: AtomicBool,
}

/// A store on a free port of loopback with the bucket `b`, stopped on drop.
pub struct FakeS3 {
    address: String,
    shared: Arc<Shared>,
}

impl FakeS3 {
    /// Starts a store that does with each request what `act` says.
    pub fn start(act: impl Fn(&Asked) -> Act + Send + Sync + 'static) -> Self {
        FakeS3::with_headers(&[], act)
    }

    /// Starts a store whose responses with an object have these headers.
    pub fn with_headers(
        headers: &[(&'static str, &'static str)],
        act: impl Fn(&Asked) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            act: Box::new(act),
            headers: headers.to_vec(),
            stopped: AtomicBool::new(false),
        });
        let of_server = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                if of_server.stopped.load(Ordering::Acquire) {
                    return;
                }
                let (Ok(stream), shared) = (stream, of_server.clone()) else { continue };
                // Clients may close the connection early.
                thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        FakeS3 { address, shared }
    }

    /// From now on, `directory` has a copy of each object when its upload ends.
    #[cfg(feature = "object-store")]
    pub fn mirror_to(&self, directory: std::path::PathBuf) {
        self.shared.state.lock().unwrap().mirror = Some(directory);
    }

    /// The address of the store.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A place whose commands use this store.
    pub fn place(&self) -> Place {
        Place::new()
            .env("AWS_ACCESS_KEY_ID", "AKMARKED")
            .env("AWS_SECRET_ACCESS_KEY", "secret-of-the-store")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL", &self.url())
    }

    pub fn object(&self, key: &str) -> Option<Vec<u8>> {
        self.shared.state.lock().unwrap().objects.get(key).cloned()
    }

    pub fn keys(&self) -> Vec<String> {
        self.shared.state.lock().unwrap().objects.keys().cloned().collect()
    }

    pub fn put(&self, key: &str, bytes: &[u8]) {
        let mut state = self.shared.state.lock().unwrap();
        state.objects.insert(key.to_owned(), bytes.to_vec());
        // Long before any upload of a test.
        state.dates.insert(key.to_owned(), SystemTime::now() - Duration::from_secs(3600));
    }

    /// Number of uploads that were begun, and neither completed nor aborted.
    pub fn open_uploads(&self) -> usize {
        self.shared.state.lock().unwrap().uploads.len()
    }

    /// The requests so far, in order of arrival.
    pub fn asked(&self) -> Vec<Asked> {
        self.shared.state.lock().unwrap().asked.clone()
    }

    /// Operations of the requests so far, in order of arrival.
    pub fn log(&self) -> Vec<&'static str> {
        self.asked().iter().map(|asked| asked.what).collect()
    }

    /// Waits for a request that does `what`.
    pub fn wait_for(&self, what: &'static str) {
        wait_for(what, || self.log().contains(&what).then_some(()));
    }
}

impl Drop for FakeS3 {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        // Wakes the listener so that it sees the flag.
        let _ = TcpStream::connect(&self.address);
    }
}

fn serve(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else { return Ok(()) };
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let decoded = percent_decode_str(path.strip_prefix("/b/").unwrap_or_default());
    let mut key = decoded.decode_utf8().unwrap().into_owned();
    let value = |name: &str| {
        let found = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(found, _)| *found == name);
        found.map(|(_, value)| value.to_owned())
    };
    // The key of a list is its prefix.
    if query.contains("list-type=2") {
        key = value("prefix")
            .map(|prefix| percent_decode_str(&prefix).decode_utf8().unwrap().into_owned())
            .unwrap_or_default();
    }
    let upload = value("uploadId");
    let exists = upload.as_ref().is_some_and(|id| shared.state.lock().unwrap().uploads.contains_key(id));
    let what = match (method, &upload) {
        ("HEAD", _) => "head",
        ("GET", _) if query.contains("list-type=2") => "list",
        ("GET", _) => "get",
        ("POST", Some(id)) if id == "drawoff-check" => "probe",
        ("PUT", Some(_)) => "part",
        ("PUT", None) => "put",
        ("POST", Some(_)) => "complete",
        ("POST", None) => "begin",
        ("DELETE", Some(_)) => "abort",
        _ => "delete",
    };
    let length: usize = headers.get("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    let asked = {
        let mut state = shared.state.lock().unwrap();
        let nth = state.asked.iter().filter(|asked| asked.what == what).count();
        let asked = Asked { what, key: key.clone(), nth, headers };
        state.asked.push(asked.clone());
        asked
    };
    let act = (shared.act)(&asked);
    if act == Act::Hang {
        hang(shared);
        return Ok(());
    }
    let mut body = vec![0; length];
    match act {
        Act::Slowly(bytes_per_second) => {
            for piece in body.chunks_mut(4096) {
                reader.read_exact(piece)?;
                thread::sleep(Duration::from_secs_f64(piece.len() as f64 / bytes_per_second as f64));
            }
        }
        _ => reader.read_exact(&mut body)?,
    }
    if act == Act::Drop {
        return stream.shutdown(Shutdown::Both);
    }
    if let Act::Refuse(status, code, message) = act {
        return respond(&mut stream, what, status, &[], &error(code, message));
    }
    if !path.starts_with("/b") {
        return respond(&mut stream, what, 404, &[], &error("NoSuchBucket", "The specified bucket does not exist"));
    }
    let unconditional = (act == Act::DoAnyway).then(|| {
        let mut asked = asked.clone();
        asked.headers.remove("if-none-match");
        asked
    });
    let asked = unconditional.as_ref().unwrap_or(&asked);
    let (status, headers, body) = carry_out(shared, asked, upload.filter(|_| exists), value("partNumber"), body);
    mirror(&shared.state.lock().unwrap(), &asked.key);
    if act == Act::DoAndHang {
        hang(shared);
        return Ok(());
    }
    match act {
        Act::DoAndDrop => stream.shutdown(Shutdown::Both),
        Act::DoAndRefuse(status, code) => respond(&mut stream, what, status, &[], &error(code, "Try again")),
        _ => respond(&mut stream, what, status, &headers, &body),
    }
}

/// Copies an object into the directory of [`FakeS3::mirror_to`].
fn mirror(state: &State, key: &str) {
    if let (Some(directory), Some(bytes)) = (&state.mirror, state.objects.get(key)) {
        let path = directory.join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// Waits until the store is stopped.
fn hang(shared: &Shared) {
    while !shared.stopped.load(Ordering::Acquire) {
        thread::sleep(Duration::from_millis(10));
    }
}

type Response = (u16, Vec<(&'static str, String)>, Vec<u8>);

fn carry_out(shared: &Shared, asked: &Asked, upload: Option<String>, part: Option<String>, body: Vec<u8>) -> Response {
    let mut state = shared.state.lock().unwrap();
    let key = asked.key.clone();
    let no_upload = || (404, Vec::new(), error("NoSuchUpload", "The specified upload does not exist"));
    let refused = asked.headers.contains_key("if-none-match") && state.objects.contains_key(&key);
    if refused && matches!(asked.what, "put" | "complete") && (asked.what == "put" || upload.is_some()) {
        return (412, Vec::new(), error("PreconditionFailed", "At least one of the pre-conditions did not hold"));
    }
    match (asked.what, upload) {
        ("head" | "get", _) => match state.objects.get(&key) {
            Some(bytes) => {
                let parts = state.parts_of.get(&key).map_or_else(String::new, |parts| format!("-{parts}"));
                let mut headers = vec![
                    ("etag", format!("\"e{parts}\"")),
                    ("last-modified", httpdate::fmt_http_date(state.dates[&key])),
                ];
                headers.extend(shared.headers.iter().map(|(name, value)| (*name, (*value).to_owned())));
                let range = asked.headers.get("range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
                let bounds = range.and_then(|(from, to)| Some((from.parse().ok()?, to.parse::<usize>().ok()?)));
                match bounds {
                    Some((from, to)) => {
                        let to = to.min(bytes.len() - 1);
                        headers.push(("content-range", format!("bytes {from}-{to}/{}", bytes.len())));
                        (206, headers, bytes[from..=to].to_vec())
                    }
                    None => (200, headers, bytes.clone()),
                }
            }
            None => (404, Vec::new(), error("NoSuchKey", "The specified key does not exist")),
        },
        ("list", _) => {
            let found = state.objects.iter().filter(|(found, _)| found.starts_with(&key));
            let found = found.map(|(key, bytes)| {
                let size = bytes.len();
                format!("<Contents><Key>{key}</Key><Size>{size}</Size><LastModified>2026-01-02T03:04:05.000Z</LastModified><ETag>\"e\"</ETag></Contents>")
            });
            let xml = format!("<ListBucketResult>{}</ListBucketResult>", found.collect::<String>());
            (200, Vec::new(), xml.into_bytes())
        }
        ("put", _) => {
            state.objects.insert(key.clone(), body);
            state.dates.insert(key.clone(), SystemTime::now());
            state.parts_of.remove(&key);
            (200, vec![("etag", "\"e\"".to_owned())], Vec::new())
        }
        ("begin", _) => {
            let id = format!("u{}", state.n_uploads);
            state.n_uploads += 1;
            state.uploads.insert(id.clone(), BTreeMap::new());
            let xml =
                format!("<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>");
            (200, Vec::new(), xml.into_bytes())
        }
        ("part", Some(id)) => {
            let number = part.and_then(|part| part.parse().ok()).unwrap();
            state.uploads.get_mut(&id).unwrap().insert(number, body);
            (200, vec![("etag", format!("\"p{number}\""))], Vec::new())
        }
        ("complete", Some(id)) => {
            let parts = state.uploads.remove(&id).unwrap();
            state.parts_of.insert(key.clone(), parts.len());
            state.objects.insert(key.clone(), parts.into_values().flatten().collect());
            state.dates.insert(key, SystemTime::now());
            let xml = "<CompleteMultipartUploadResult><ETag>\"e\"</ETag></CompleteMultipartUploadResult>";
            (200, Vec::new(), xml.into())
        }
        ("abort", Some(id)) => {
            state.uploads.remove(&id);
            (204, Vec::new(), Vec::new())
        }
        ("delete", _) => {
            state.objects.remove(&key);
            (204, Vec::new(), Vec::new())
        }
        _ => no_upload(),
    }
}

fn error(code: &str, message: &str) -> Vec<u8> {
    let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>";
    format!("{head}\n<Error><Code>{code}</Code><Message>{message}</Message><HostId>raw</HostId></Error>").into_bytes()
}

fn respond(
    stream: &mut TcpStream,
    what: &str,
    status: u16,
    headers: &[(&str, String)],
    body: &[u8],
) -> std::io::Result<()> {
    let date = httpdate::fmt_http_date(SystemTime::now());
    let mut head = format!("HTTP/1.1 {status} Status\r\nconnection: close\r\ndate: {date}\r\n");
    if status != 204 {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    if what != "head" {
        stream.write_all(body)?;
    }
    stream.flush()
}

/// Moto's S3 in a process of Python, with the bucket `bucket`; killed on drop.
#[cfg(feature = "delta")]
pub struct Moto {
    process: std::process::Child,
    url: String,
}

#[cfg(feature = "delta")]
impl Moto {
    /// Starts the server by a Python that has the packages of `tests/requirements-objects.txt`.
    pub fn start(python: &std::path::Path) -> Self {
        let script = "import contextlib, sys, boto3\n\
            from moto.server import ThreadedMotoServer\n\
            server = ThreadedMotoServer(ip_address='127.0.0.1', port=0)\n\
            with contextlib.redirect_stdout(sys.stderr): server.start()\n\
            host, port = server.get_host_and_port()\n\
            url = f'http://{host}:{port}'\n\
            keys = dict(aws_access_key_id='AKMARKED', aws_secret_access_key='secret-of-the-store')\n\
            boto3.client('s3', endpoint_url=url, region_name='us-east-1', **keys).create_bucket(Bucket='bucket')\n\
            print(url, flush=True)\n\
            sys.stdin.read()\n";
        let mut command = std::process::Command::new(python);
        command.args(["-c", script]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        command.stderr(std::process::Stdio::null());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().to_owned();
        assert!(url.starts_with("http://"), "moto does not start: {url:?}");
        Moto { process, url }
    }

    /// A place whose commands use this server.
    pub fn place(&self) -> Place {
        Place::new()
            .env("AWS_ACCESS_KEY_ID", "AKMARKED")
            .env("AWS_SECRET_ACCESS_KEY", "secret-of-the-store")
            .env("AWS_REGION", "us-east-1")
            .env("AWS_ENDPOINT_URL", &self.url)
    }
}

#[cfg(feature = "delta")]
impl Drop for Moto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
