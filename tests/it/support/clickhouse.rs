//! A shim of ClickHouse's HTTP interface over its engine (`clickhouse_shim.py`), from `DRAWOFF_TEST_CHDB_PYTHON`. It arranges
//! faults at chosen statements; see the script.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{root, tool, wait_for};

/// The password of a shim that asks for one. It must never appear in output.
pub const PASSWORD: &str = "pw-marked-ch/7";

/// A running shim with the database `crm`, ended on drop.
pub struct ClickHouseShim {
    pub port: u16,
    child: Child,
    _data: TempDir,
}

impl ClickHouseShim {
    /// Starts a shim; `None` if there is no engine, which is then said.
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// Starts a shim that asks for a password, unless it is empty.
    pub fn start_with(password: &str) -> Option<Self> {
        let python = tool("DRAWOFF_TEST_CHDB_PYTHON")?;
        let data = TempDir::new().unwrap();
        let mut child = Command::new(python)
            .arg(root().join("tests/it/support/clickhouse_shim.py"))
            .arg(data.path().join("data"))
            .arg(password)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().parse().expect("the shim prints its port");
        let shim = ClickHouseShim { port, child, _data: data };
        if password.is_empty() {
            shim.ask("CREATE DATABASE crm");
        }
        Some(shim)
    }

    /// The URL of its database.
    pub fn url(&self) -> String {
        format!("clickhouse://127.0.0.1:{}/crm", self.port)
    }

    fn request(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: shim\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// Executes a statement and returns its result as TabSeparated.
    pub fn ask(&self, sql: &str) -> String {
        let (status, body) = self.request("POST", "/", sql);
        assert_eq!(status, 200, "{sql}: {body}");
        body
    }

    /// The rows of a query, as objects.
    pub fn rows(&self, sql: &str) -> Vec<Value> {
        let body = self.ask(&format!("{sql} FORMAT JSONEachRow"));
        body.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Arranges a fault at the statement number `skip` that matches.
    pub fn fault(&self, matches: &str, skip: usize, act: &str) {
        self.request("POST", "/fault", &json!({"match": matches, "skip": skip, "act": act}).to_string());
    }

    /// Waits until a statement is held.
    pub fn wait_until_held(&self) {
        wait_for("a statement to be held", || (self.request("GET", "/held", "").1 != "0").then_some(()));
    }

    /// Lets held statements go on.
    pub fn release(&self) {
        self.request("POST", "/release", "");
        wait_for("held statements to go on", || (self.request("GET", "/held", "").1 == "0").then_some(()));
    }

    /// All statements so far.
    pub fn log(&self) -> Vec<String> {
        self.request("GET", "/log", "").1.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Names of tables that loads have left.
    pub fn leftovers(&self) -> String {
        self.ask(
            "SELECT name FROM system.tables WHERE database = 'crm' AND position(name, '__drawoff_') > 0 ORDER BY name",
        )
    }
}

impl Drop for ClickHouseShim {
    fn drop(&mut self) {
        // Its standard input ends, and with it the shim.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}
