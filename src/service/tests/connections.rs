//! Silent connections: they end by themselves, and never keep another client out.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::Local;

/// Connects and sends the start of a request.
async fn connect(local: &Local, sent: &str) -> TcpStream {
    let mut stream = TcpStream::connect(local.service.address()).await.unwrap();
    stream.write_all(sent.as_bytes()).await.unwrap();
    stream
}

/// Reads until the service closes the connection.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset ends the connection too.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

const REQUEST: &str = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n";

#[tokio::test]
async fn a_connection_without_a_request_is_closed() {
    let local = Local::start_with(|config| config.idle_time = Duration::from_secs(1)).await;
    let silent = ["", "GET /healthz HT", "GET /healthz HTTP/1.1\r\nhost: localhost\r\n"];
    // After a response the time for the next request begins.
    let all = silent.into_iter().chain([REQUEST]);
    let texts = futures::future::join_all(all.map(|sent| async { rest(&mut connect(&local, sent).await).await })).await;
    assert!(texts[..3].iter().all(|text| !text.contains("200 OK")), "{texts:?}");
    assert!(texts[3].starts_with("HTTP/1.1 200 OK"), "{texts:?}");
}

#[tokio::test]
async fn silent_connections_keep_nobody_out() {
    let local = Local::start_with(|config| config.max_connections = 4).await;
    let mut silent = Vec::new();
    for sent in ["", "GET /healthz HT", "", REQUEST] {
        silent.push(connect(&local, sent).await);
    }
    // The limit is reached, and the default of 30 s is far from over; each new connection displaces a silent one.
    for _ in 0..6 {
        let mut stream = connect(&local, REQUEST).await;
        let mut head = [0; 15];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 OK");
        silent.push(stream);
    }
    // Those that were silent for longest were the first to go.
    for stream in &mut silent[..4] {
        rest(stream).await;
    }
}

#[tokio::test]
async fn a_request_in_progress_is_not_displaced() {
    let local = Local::start_with(|config| {
        config.max_connections = 1;
        config.upload_stall = Duration::from_secs(2);
    })
    .await;
    let head = "POST /storage/csv/upload HTTP/1.1\r\nhost: localhost\r\nx-api-key: k\r\n\
                content-type: multipart/form-data; boundary=X\r\ncontent-length: 100\r\n\r\n--X\r\n";
    let mut upload = connect(&local, head).await;
    let mut second = connect(&local, REQUEST).await;
    // The second one waits for the end of the first, which is the limit on stalls.
    assert!(rest(&mut upload).await.starts_with("HTTP/1.1 408"));
    let mut status = [0; 15];
    second.read_exact(&mut status).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200 OK");
}

#[tokio::test]
async fn a_login_that_never_arrives_does_not_hold_its_request_for_ever() {
    let local = Local::start_with(|config| config.request_time = Duration::from_secs(1)).await;
    let head = "POST /ui/login HTTP/1.1\r\nhost: localhost\r\ncontent-length: 20\r\n\r\nk";
    assert!(rest(&mut connect(&local, head).await).await.starts_with("HTTP/1.1 408"));
}
