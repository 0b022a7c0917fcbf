//! Statements over HTTP: one request each, repeated where that is safe, ended by a cancel; and the server's errors.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::runtime::{Handle, Runtime};

use super::settings::Settings;
use crate::net::{CertificateHint, bad_certificate};
use crate::sink::UploadControl;
use crate::warehouse::LoadError;

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Interval of the probes that notice a server that has gone.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Waits before a statement is sent again. By eye: a server restarts within these 13 s, and an error is not long in coming.
const WAITS: [Duration; 4] =
    [Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(4), Duration::from_secs(8)];

/// Most bytes of a response that are kept.
const MAX_RESPONSE_BYTES: usize = 256 << 20;

/// Codes of the server.
pub(super) mod code {
    pub(in super::super) const NO_SUCH_COLUMN: u32 = 16;
    pub(in super::super) const TABLE_ALREADY_EXISTS: u32 = 57;
    pub(in super::super) const UNKNOWN_TABLE: u32 = 60;
    pub(in super::super) const UNKNOWN_DATABASE: u32 = 81;
    pub(in super::super) const UNKNOWN_SETTING: u32 = 115;
    pub(in super::super) const INCOMPATIBLE_COLUMNS: u32 = 122;
}

/// The failure of one statement.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// No response: the statement may have been executed, or not.
    NoResponse { cause: String, hint: Option<String> },
    /// The connection was refused, or its certificate: the statement was not sent.
    NotConnected { cause: String, hint: Option<String>, is_transient: bool },
    /// The server refused it.
    Refused { code: u32, text: String },
    /// The execution was cancelled.
    Cancelled,
}

impl Failure {
    pub(super) fn code(&self) -> Option<u32> {
        match self {
            Failure::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Returns true if the same statement may succeed later.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Failure::NoResponse { .. } => true,
            Failure::NotConnected { is_transient, .. } => *is_transient,
            // A proxy without its server; too many queries, parts, or bytes of memory; time limits; a read-only or
            // shutting-down server.
            Failure::Refused { code, .. } => {
                matches!(
                    code,
                    0 | 159 | 160 | 202 | 209 | 210 | 236 | 241 | 242 | 243 | 252 | 319 | 394 | 425 | 473 | 745
                )
            }
            Failure::Cancelled => false,
        }
    }
}

/// A server and a user, for the statements of one load. Its methods block and must not be called on a thread of an async
/// runtime.
pub(super) struct Session {
    client: Client,
    pub(super) settings: Settings,
    cancel: UploadControl,
    /// The table in messages.
    table: String,
    /// True after the first response: a server that is not there from the beginning is not waited for.
    has_responded: AtomicBool,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Session {
    /// Makes a client. Nothing is sent. `table` is the name for messages.
    pub(super) fn new(settings: &Settings, table: String, cancel: &UploadControl) -> Result<Self, LoadError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|cause| LoadError::Bug(format!("cannot start a runtime: {cause}")))?;
        // No redirects: the password is for this server alone. HTTP/1.1, as the server speaks it.
        let client = crate::net::http1_client_builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(KEEP_ALIVE)
            .build()
            .map_err(|cause| LoadError::Bug(format!("cannot make an HTTP client: {cause}")))?;
        Ok(Session {
            client,
            settings: settings.clone(),
            cancel: cancel.clone(),
            table,
            has_responded: AtomicBool::new(false),
            runtime: Some(runtime),
        })
    }

    pub(super) fn handle(&self) -> &Handle {
        self.runtime.as_ref().expect("it is taken only by drop").handle()
    }

    /// Returns the name of the table for messages.
    pub(super) fn table(&self) -> &str {
        &self.table
    }

    /// Lets later statements go on after a cancel.
    pub(super) fn ignore_cancel(&mut self) {
        self.cancel = UploadControl::default();
    }

    /// Returns the sender of one request, for a task of its own.
    pub(super) fn sender(&self) -> Sender {
        Sender { client: self.client.clone(), settings: self.settings.clone() }
    }

    /// Waits for `work` until a cancel.
    pub(super) fn wait<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        self.handle().block_on(async {
            tokio::select! {
                biased;
                done = work => Ok(done),
                () = self.cancel.cancelled() => Err(Failure::Cancelled),
            }
        })
    }

    /// Sends a statement once.
    pub(super) fn once(&self, sql: &str) -> Result<Bytes, Failure> {
        let sender = self.sender();
        let response = self.wait(sender.statement(sql))?;
        if matches!(response, Ok(_) | Err(Failure::Refused { .. })) {
            self.has_responded.store(true, Ordering::Relaxed);
        }
        response
    }

    /// Sends a statement that may be executed twice, and again if there is no response.
    pub(super) fn repeated(&self, sql: &str) -> Result<Bytes, Failure> {
        let mut waits = WAITS.iter();
        loop {
            match self.once(sql) {
                Err(failure) if failure.is_transient() && self.has_responded.load(Ordering::Relaxed) => {
                    match waits.next() {
                        Some(wait) => self.pause(*wait)?,
                        None => return Err(failure),
                    }
                }
                done => return done,
            }
        }
    }

    pub(super) fn pause(&self, time: Duration) -> Result<(), Failure> {
        // Within the runtime: timers are made in one.
        self.wait(async move { tokio::time::sleep(time).await })
    }

    /// Executes a statement that may be executed twice.
    pub(super) fn execute(&self, sql: &str) -> Result<(), LoadError> {
        self.repeated(sql).map(drop).map_err(|failure| self.error(failure))
    }

    /// Executes a query and returns its rows.
    pub(super) fn rows(&self, sql: &str) -> Result<Vec<Row>, LoadError> {
        self.try_rows(sql).map_err(|failure| self.error(failure))
    }

    pub(super) fn try_rows(&self, sql: &str) -> Result<Vec<Row>, Failure> {
        let body = self.repeated(&format!("{sql} FORMAT JSONCompactEachRow"))?;
        let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let rows = lines.map(|line| match serde_json::from_slice(line) {
            Ok(Value::Array(values)) => Ok(Row(values)),
            _ => Err(Failure::Refused { code: 0, text: "the response is not one of ClickHouse".into() }),
        });
        rows.collect()
    }

    /// Executes a query for one number.
    pub(super) fn number(&self, sql: &str) -> Result<u64, LoadError> {
        let rows = self.rows(sql)?;
        let number = rows.first().and_then(|row| row.number(0));
        number.ok_or_else(|| LoadError::Bug("a query for a number had no result".into()))
    }

    /// Makes the error of a failure.
    pub(super) fn error(&self, failure: Failure) -> LoadError {
        let is_transient = failure.is_transient();
        let target = self.settings.host();
        match failure {
            Failure::Cancelled => LoadError::Cancelled,
            Failure::NotConnected { cause, hint, is_transient } => {
                LoadError::Connect { target, cause, hint, is_transient }
            }
            Failure::NoResponse { cause, hint } => {
                let hint =
                    hint.or_else(|| Some("run the same command again: it loads what is not there yet".to_owned()));
                LoadError::Refused { table: self.table.clone(), cause, hint, is_transient }
            }
            Failure::Refused { code, text } => match code {
                // Unknown user, wrong password, no password.
                192..=194 | 516 => {
                    let hint = "set user and password: CLICKHOUSE_USER and CLICKHOUSE_PASSWORD, or the URL".to_owned();
                    LoadError::Connect { target, cause: text, hint: Some(hint), is_transient: false }
                }
                _ => {
                    let hint = match code {
                        code::UNKNOWN_DATABASE => Some("create the database first: CREATE DATABASE".to_owned()),
                        497 => Some(
                            "grant the user CREATE TABLE, DROP TABLE, ALTER, INSERT and SELECT on the database, and SELECT \
                             on system.tables, system.columns and system.parts"
                                .to_owned(),
                        ),
                        // By its profile the user may not write, or not set what a load needs.
                        164 => Some(
                            "load as a user who may write: in the profile of this one, `readonly` is not 0".to_owned(),
                        ),
                        243 => Some("free space on the server, and run the same command again".to_owned()),
                        _ => None,
                    };
                    LoadError::Refused { table: self.table.clone(), cause: text, hint, is_transient }
                }
            },
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // A plain drop would wait for a name lookup that hangs.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// One row of a result.
pub(super) struct Row(Vec<Value>);

impl Row {
    /// Returns a text, or the digits of a number; empty for null.
    pub(super) fn text(&self, index: usize) -> String {
        match self.0.get(index) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            _ => String::new(),
        }
    }

    /// Returns a text; `None` for null.
    pub(super) fn optional(&self, index: usize) -> Option<String> {
        self.0.get(index).filter(|value| !value.is_null()).map(|_| self.text(index))
    }

    /// Returns the texts of a list.
    pub(super) fn texts(&self, index: usize) -> Vec<String> {
        let list = self.0.get(index).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(|value| value.as_str().map(str::to_owned)).collect()
    }

    /// Returns a number, which some servers quote.
    pub(super) fn number(&self, index: usize) -> Option<u64> {
        self.text(index).parse().ok()
    }
}

/// Sends requests of one user to one server.
#[derive(Clone)]
pub(super) struct Sender {
    client: Client,
    settings: Settings,
}

impl Sender {
    /// Sends a statement.
    pub(super) async fn statement(&self, sql: &str) -> Result<Bytes, Failure> {
        self.send(&[("wait_end_of_query", "1")], Bytes::copy_from_slice(sql.as_bytes()).into(), None).await
    }

    /// Sends an INSERT with its rows, in pieces.
    pub(super) async fn insert(&self, sql: &str, query_id: &str, pieces: Vec<Bytes>) -> Result<Bytes, Failure> {
        let len = pieces.iter().map(Bytes::len).sum();
        let body = reqwest::Body::wrap_stream(futures::stream::iter(pieces.into_iter().map(Ok::<_, std::io::Error>)));
        self.send(&[("query", sql), ("query_id", query_id), ("wait_end_of_query", "1")], body, Some(len)).await
    }

    async fn send(&self, query: &[(&str, &str)], body: reqwest::Body, len: Option<usize>) -> Result<Bytes, Failure> {
        let mut request = self.client.post(self.settings.server.clone()).query(query).body(body);
        request = request.header("X-ClickHouse-User", &self.settings.user);
        if let Some(password) = &self.settings.password {
            let mut value = reqwest::header::HeaderValue::from_bytes(password.as_bytes()).map_err(|_| {
                let cause = "the password has a control character".to_owned();
                Failure::NotConnected { cause, hint: None, is_transient: false }
            })?;
            value.set_sensitive(true);
            request = request.header("X-ClickHouse-Key", value);
        }
        if let Some(len) = len {
            request = request.header(reqwest::header::CONTENT_LENGTH, len);
        }
        let mut response = request.send().await.map_err(|error| unsent(&error))?;
        let status = response.status();
        let header = response.headers().get("x-clickhouse-exception-code");
        let code = header.and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| no_response(&error))? {
            if body.len() + chunk.len() > MAX_RESPONSE_BYTES {
                return Err(Failure::Refused { code: 0, text: "the response is too long".into() });
            }
            body.extend_from_slice(&chunk);
        }
        match refusal(status, code, &body) {
            Some(failure) => Err(failure),
            None => Ok(body.into()),
        }
    }
}

/// Returns the refusal that a response means. One may come after a status of success, when the head was sent already.
fn refusal(status: StatusCode, code: Option<u32>, body: &[u8]) -> Option<Failure> {
    let text = String::from_utf8_lossy(body);
    let in_body = text.match_indices("Code: ").map(|(at, _)| at).find(|at| {
        let is_exception = text[*at..].contains("DB::Exception");
        // In a result of success only a line of its own is one: a value may have the same words, within quotes. An exception
        // may have them a second time, for the one that it was caused by.
        is_exception && (!status.is_success() || text[..*at].ends_with('\n') || *at == 0)
    });
    if status.is_success() && code.is_none() && in_body.is_none() {
        return None;
    }
    let Some(at) = in_body else {
        let first = text.lines().next().unwrap_or_default();
        let shown: String = first.chars().take(200).collect();
        let number = code.unwrap_or(if status.is_server_error() { 0 } else { u32::MAX });
        let text = match shown.is_empty() {
            true => format!("the server responds with status {status}"),
            false => format!("the server responds with status {status}: {shown}"),
        };
        return Some(Failure::Refused { code: number, text });
    };
    let message = &text[at..];
    let in_text = message["Code: ".len()..].split('.').next().and_then(|digits| digits.parse().ok());
    let code = code.or(in_text).unwrap_or(u32::MAX);
    Some(Failure::Refused { code, text: without_values(message, code) })
}

/// Returns the server's message in one line, without its stack and version, and without values of rows: results are personal
/// data.
fn without_values(message: &str, code: u32) -> String {
    let message = message.split(" (version ").next().unwrap_or(message).trim();
    let name = message.rsplit_once('(').map(|(_, name)| name.trim_end_matches(')')).filter(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_' || byte.is_ascii_digit())
    });
    // Errors of parsing, of conversion and of constraints quote values.
    let quotes_values =
        matches!(code, 6 | 26 | 27 | 33 | 38 | 41 | 53 | 69 | 70 | 72 | 117 | 131 | 153 | 321 | 349 | 407 | 469 | 691);
    if quotes_values && let Some(name) = name {
        return format!("error {code} of the server, {name}");
    }
    let text = message.split_once("DB::Exception: ").map_or(message, |(_, text)| text);
    let line = text.lines().next().unwrap_or_default().trim();
    let shown: String = line.chars().take(500).collect();
    format!("{} (error {code})", shown.trim_end_matches(['.', ' ']))
}

/// The failure of a request that got no head of a response.
fn unsent(error: &reqwest::Error) -> Failure {
    if let Some(problem) = bad_certificate(error) {
        let hint = match problem.remedy {
            CertificateHint::AddCa => Some("add the server's CA to the trusted ones: SSL_CERT_FILE=FILE".to_owned()),
            CertificateHint::CorrectNames => Some("correct SSL_CERT_FILE or SSL_CERT_DIR".to_owned()),
            CertificateHint::None => None,
        };
        return Failure::NotConnected { cause: problem.to_string(), hint, is_transient: false };
    }
    if error.is_connect() {
        let cause = causes(error);
        let hint = "check host and port: this is the HTTP interface, 8123, or 8443 for clickhouse+https".to_owned();
        return Failure::NotConnected { cause, hint: Some(hint), is_transient: true };
    }
    no_response(error)
}

fn no_response(error: &reqwest::Error) -> Failure {
    Failure::NoResponse { cause: causes(error), hint: None }
}

/// Returns the causes of an error without its own text, which has the statement in the URL.
fn causes(error: &reqwest::Error) -> String {
    std::error::Error::source(error).map_or("the connection was lost".to_owned(), crate::text::error_chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: Option<u32>, body: &str) -> Option<(u32, String)> {
        match refusal(StatusCode::from_u16(status).unwrap(), code, body.as_bytes()) {
            Some(Failure::Refused { code, text }) => Some((code, text)),
            Some(_) => unreachable!("a response is no loss of one"),
            None => None,
        }
    }

    #[test]
    fn errors_are_found_in_any_response() {
        let exists = "Code: 57. DB::Exception: Table crm.t already exists. (TABLE_ALREADY_EXISTS) (version 26.9.2.1)\n";
        let expected = Some((57, "Table crm.t already exists. (TABLE_ALREADY_EXISTS) (error 57)".to_owned()));
        assert_eq!(refused(500, Some(57), exists), expected);
        assert_eq!(refused(500, None, exists), expected);
        assert_eq!(refused(200, None, &format!("[1]\n{exists}")), expected, "after the head");
        assert_eq!(refused(200, None, "[\"Code: 57. DB::Exception: x\"]\n"), None, "a value");
        let caused = "[\"Code: 1. DB::Exception\"]\nCode: 279. DB::Exception: All tries failed: Code: 210. DB::Exception: refused";
        assert_eq!(refused(200, None, caused).map(|(code, _)| code), Some(279), "with its cause");
        assert_eq!(refused(200, None, ""), None);
        assert_eq!(refused(502, None, "<html>").map(|(code, _)| code), Some(0), "a proxy, for a while");
        assert_eq!(refused(404, None, "").map(|(code, _)| code), Some(u32::MAX));
    }

    #[test]
    fn errors_show_no_values() {
        let body =
            "Code: 6. DB::Exception: Cannot parse string 'ada@example.com' as Int64: at row 3. (CANNOT_PARSE_TEXT)";
        let (code, text) = refused(400, None, body).unwrap();
        assert_eq!((code, text.as_str()), (6, "error 6 of the server, CANNOT_PARSE_TEXT"));
    }
}
