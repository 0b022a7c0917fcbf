use std::error::Error as _;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::BoxFuture;

use super::scripted::{Reply, Scripted, Seen, all_bytes};
use super::*;
use crate::secret::{ApiKey, SecretUrl};

const KEY: &str = "marked-key-1f9";

fn http(base: &str) -> Http {
    http_with(base, KEY, RetryPolicy::fast())
}

fn http_with(base: &str, key: &str, policy: RetryPolicy) -> Http {
    let options = HttpOptions::new(base.parse().unwrap(), Some(ApiKey::new(key)));
    Http::new(HttpOptions { policy, ..options })
}

/// 300 000 bytes in which no two offsets look alike.
fn file() -> Vec<u8> {
    (0u32..75_000).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// The first byte of the range that a request asks for.
fn from(seen: &Seen) -> usize {
    seen.header("range").map_or(0, |r| r.trim_start_matches("bytes=").trim_end_matches('-').parse().unwrap())
}

fn part(seen: &Seen, tag: &str) -> Reply {
    let (file, start) = (file(), from(seen));
    let range = format!("bytes {start}-{}/{}", file.len() - 1, file.len());
    match seen.header("range") {
        Some(_) => Reply::new(206, &file[start..]).header("Content-Range", range),
        None => Reply::new(200, file),
    }
    .header("ETag", tag)
}

async fn read_all(http: &Http, open: DownloadRequest) -> Result<Vec<u8>, Error> {
    let download = Download::open(http, open).await?;
    all_bytes(download).await
}

async fn read_link(server: &Scripted) -> Result<Vec<u8>, Error> {
    let link = SecretUrl::new(format!("{}/file?sig=marked-sig", server.base));
    read_all(&http(&server.base), DownloadRequest::link(link)).await
}

fn assert_redacted(error: &Error) {
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!("{cause} {cause:?}"));
        source = cause.source();
    }
    assert!(!text.contains("marked-"), "a secret is in: {text}");
}

#[tokio::test]
async fn an_address_that_never_responded_is_given_up_sooner() {
    let tries = async |replies| {
        let server = Scripted::replies(replies).await;
        let http = http(&server.base);
        let call = |path: &'static str| ApiRequest::get(path).query("limit", "2").budget(RetryBudget::POLL);
        let _ = http.send(&call("/first")).await;
        let error = http.send(&call("/second")).await.unwrap_err();
        // The query of an API call is no secret.
        assert!(error.request().1.ends_with("/second?limit=2"), "{error}");
        error.tries()
    };
    assert_eq!(tries(vec![Reply::new(502, "")]).await, RetryBudget::ASK.tries);
    // The page of another server is no sign of the API, its own refusal is.
    assert_eq!(tries(vec![Reply::new(404, ""), Reply::new(502, "")]).await, RetryBudget::ASK.tries);
    let refusal = Reply::new(404, r#"{"detail":"no"}"#);
    assert_eq!(tries(vec![refusal, Reply::new(502, "")]).await, RetryBudget::POLL.tries);
}

#[tokio::test]
async fn a_transient_failure_is_retried_and_a_refusal_is_not() {
    let server = Scripted::replies(vec![
        Reply::new(503, "busy"),
        Reply::new(429, "").header("Retry-After", "0"),
        Reply::new(429, ""),
        Reply::new(200, "[]"),
    ])
    .await;
    let answer = http(&server.base).send(&ApiRequest::get("/workflows")).await.unwrap();
    assert_eq!((answer.status, answer.body.as_slice()), (200, b"[]".as_slice()));
    let seen = server.seen();
    assert_eq!(seen.len(), 4);
    assert!(seen.iter().all(|s| s.header("x-api-key") == Some(KEY)));

    let cases = [
        (400, Kind::Refused),
        (401, Kind::KeyRefused),
        (402, Kind::Refused),
        (403, Kind::Forbidden),
        (404, Kind::NotFound),
        (409, Kind::Refused),
        (422, Kind::Refused),
        (501, Kind::ServerFault),
    ];
    for (status, kind) in cases {
        let server = Scripted::replies(vec![Reply::new(status, r#"{"detail":"so it is"}"#)]).await;
        let error = http(&server.base).send(&ApiRequest::get("/x").query("q", "marked-query")).await.unwrap_err();
        assert_eq!((error.kind(), error.status(), error.tries()), (kind, Some(status), 1));
        assert_eq!(error.text(), "so it is");
        assert_redacted(&error);
    }
}

#[tokio::test]
async fn retries_end_with_the_budget() {
    let server = Scripted::replies(vec![Reply::new(500, "no")]).await;
    let error = http(&server.base).send(&ApiRequest::get("/x")).await.unwrap_err();
    assert_eq!((error.kind(), error.tries(), server.seen().len()), (Kind::ServerFault, 5, 5));
    let error = http("http://127.0.0.1:1").send(&ApiRequest::get("/x")).await.unwrap_err();
    assert_eq!((error.kind(), error.tries()), (Kind::Unreachable, 5));
}

#[tokio::test]
async fn delays_grow_up_to_the_budget_and_named_delays_are_obeyed() {
    let waited = async |replies: Vec<Reply>, budget: RetryBudget| {
        let server = Scripted::replies(replies).await;
        let manual = Manual::auto_advancing();
        let policy = RetryPolicy { jitter: || 1.0, clock: Clock::Manual(manual.clone()), ..RetryPolicy::default() };
        let http = http_with(&server.base, KEY, policy);
        http.send(&ApiRequest::get("/first").budget(budget)).await.ok();
        (manual.passed().as_millis(), server.seen().len())
    };
    let budget = |tries, seconds| RetryBudget { tries, time: std::time::Duration::from_secs(seconds) };
    let bad = || Reply::new(503, "");
    let limited = |header, value: &str| Reply::new(429, "").header(header, value);
    assert_eq!(waited(vec![bad()], budget(5, 180)).await, (500 + 1000 + 2000 + 4000, 5));
    // A delay that would end after the budget's time is not waited for.
    assert_eq!(waited(vec![bad()], budget(5, 3)).await, (500 + 1000, 3));
    let good = || Reply::new(200, "");
    assert_eq!(waited(vec![limited("Retry-After", "7"), good()], RetryBudget::ASK).await, (7_500, 2));
    assert_eq!(waited(vec![limited("X-RateLimit-Reset", "9"), good()], RetryBudget::ASK).await, (9_500, 2));
    assert_eq!(waited(vec![Reply::new(429, ""), good()], RetryBudget::ASK).await, (66_000, 2));
    // Shortened to the cap, which exceeds the first budget but not the second.
    assert_eq!(waited(vec![limited("Retry-After", "4000"), good()], RetryBudget::ASK).await, (0, 1));
    assert_eq!(waited(vec![limited("Retry-After", "4000"), good()], RetryBudget::START).await, (300_500, 2));
    // Other statuses carry the reset of the rate limit too, where it means nothing.
    assert_eq!(waited(vec![bad().header("X-RateLimit-Reset", "50"), good()], RetryBudget::ASK).await, (500, 2));
}

#[tokio::test]
async fn a_long_body_may_take_as_long_as_its_bytes_move() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const BODY_BYTES: usize = 16 << 20;
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    // Takes three times the idle timeout for the whole body.
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let (mut buffer, mut read) = (vec![0; 64 << 10], Vec::new());
        while read.len() < BODY_BYTES {
            let n = stream.read(&mut buffer).await.unwrap();
            assert_ne!(n, 0, "the request was given up");
            read.extend_from_slice(&buffer[..n]);
            tokio::time::sleep(std::time::Duration::from_millis(12)).await;
        }
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n[]").await;
        let _ = stream.shutdown().await;
        read
    });
    let policy = RetryPolicy { idle_timeout: std::time::Duration::from_secs(1), ..RetryPolicy::fast() };
    let http = http_with(&base, KEY, policy);
    let body = vec![b'7'; BODY_BYTES];
    let answer = http.send(&ApiRequest::post("/run", Body::Json(body), Repeatability::IfUnseen)).await.unwrap();
    assert_eq!(answer.body, b"[]");
    let head = String::from_utf8(server.await.unwrap()).unwrap().to_ascii_lowercase();
    assert!(head.contains(&format!("content-length: {BODY_BYTES}")) && !head.contains("chunked"));
}

#[tokio::test]
async fn a_request_that_is_not_idempotent_is_retried_only_if_unprocessed() {
    let post = || ApiRequest::post("/create", Body::Json(b"{}".to_vec()), Repeatability::IfUnseen);
    let server = Scripted::replies(vec![Reply::new(503, "")]).await;
    assert_eq!(http(&server.base).send(&post()).await.unwrap_err().tries(), 1);
    let server = Scripted::replies(vec![Reply::new(200, "{}").cut_at(0)]).await;
    assert_eq!(http(&server.base).send(&post()).await.unwrap_err().tries(), 1);
    let server = Scripted::replies(vec![Reply::new(429, ""), Reply::new(200, "{}")]).await;
    assert_eq!(http(&server.base).send(&post()).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_missing_key_is_an_error_before_anything_is_sent() {
    let server = Scripted::replies(vec![Reply::new(200, "")]).await;
    let http = http_with(&server.base, "  ", RetryPolicy::fast());
    assert_eq!(http.send(&ApiRequest::get("/x")).await.unwrap_err().kind(), Kind::NoKey);
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn the_key_is_sent_only_to_its_origin() {
    let other = Scripted::replies(vec![Reply::new(200, "elsewhere")]).await;
    let to = format!("{}/stolen?x=marked-x", other.base);
    let server = Scripted::replies(vec![Reply::new(302, "").header("Location", to)]).await;
    let http = http(&server.base);
    let error = http.send(&ApiRequest::get("/x")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::BadResponse);
    assert_redacted(&error);
    assert!(other.seen().is_empty());
    // A link to another origin is read without the key, one on the API's origin with it.
    let elsewhere = SecretUrl::new(format!("{}/file", other.base));
    assert_eq!(read_all(&http, DownloadRequest::link(elsewhere)).await.unwrap(), b"elsewhere");
    assert_eq!(other.seen()[0].header("x-api-key"), None);
    let server = Scripted::replies(vec![Reply::new(200, "here")]).await;
    read_link(&server).await.unwrap();
    assert_eq!(server.seen()[0].header("x-api-key"), Some(KEY));
}

#[tokio::test]
async fn html_pages_are_not_quoted() {
    let text = async |body: &str| {
        let server = Scripted::replies(vec![Reply::new(404, body)]).await;
        http(&server.base).send(&ApiRequest::get("/x")).await.unwrap_err().text().to_owned()
    };
    assert_eq!(text("<!DOCTYPE html>\n<h1>Not here</h1>").await, "");
    let xml = "<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";
    assert_eq!(text(xml).await, "AccessDenied Request has expired");
    assert_eq!(text("two\n  lines").await, "two lines");
}

#[tokio::test]
async fn a_response_beyond_the_limit_is_an_error() {
    let server = Scripted::replies(vec![Reply::new(200, vec![b' '; 2000])]).await;
    let policy = RetryPolicy { max_response_bytes: 1000, ..RetryPolicy::fast() };
    let http = http_with(&server.base, KEY, policy);
    assert_eq!(http.send(&ApiRequest::get("/x")).await.unwrap_err().kind(), Kind::BadResponse);
}

/// Encodes `text` as a server would.
fn encoded_as(encoding: &str, text: &[u8]) -> Vec<u8> {
    use async_compression::futures::bufread;
    use futures::AsyncReadExt;
    let mut bytes = Vec::new();
    match encoding {
        "gzip" => {
            flate2::read::GzEncoder::new(text, flate2::Compression::fast()).read_to_end(&mut bytes).unwrap();
        }
        "zstd" => bytes = zstd::encode_all(text, 1).unwrap(),
        _ => {
            let mut encoder = bufread::BrotliEncoder::new(text);
            futures::executor::block_on(AsyncReadExt::read_to_end(&mut encoder, &mut bytes)).unwrap();
        }
    }
    bytes
}

#[tokio::test]
async fn responses_of_the_api_may_be_compressed() {
    let text = format!("{{\"items\":[{}0]}}", "0,".repeat(400));
    for encoding in ["gzip", "zstd", "br"] {
        let reply = |body: Vec<u8>| Reply::new(200, body).header("Content-Encoding", encoding);
        let whole = encoded_as(encoding, text.as_bytes());
        // The first response ends early, though framed as if it were whole.
        let server = Scripted::replies(vec![reply(whole[..whole.len() / 2].to_vec()), reply(whole)]).await;
        let body = http(&server.base).send(&ApiRequest::get("/x")).await.unwrap().body;
        assert!(body == text.as_bytes(), "{encoding}: {}", String::from_utf8_lossy(&body));
        let seen = server.seen();
        let accepted = seen[0].header("accept-encoding").unwrap();
        assert!(["gzip", "zstd", "br"].iter().all(|word| accepted.contains(word)), "{accepted}");
        assert_eq!(seen.len(), 2, "{encoding}");
        // Each codec may put several members, or frames, behind one another.
        if encoding != "br" {
            let (first, second) = text.as_bytes().split_at(300);
            let members =
                [encoded_as(encoding, first), encoded_as(encoding, b""), encoded_as(encoding, second)].concat();
            let server = Scripted::replies(vec![reply(members)]).await;
            let body = http(&server.base).send(&ApiRequest::get("/x")).await.unwrap().body;
            assert!(body == text.as_bytes(), "{encoding}: {} bytes", body.len());
        }
        // The limit is on what the bytes expand to.
        let bomb = encoded_as(encoding, &vec![b' '; 1 << 20]);
        assert!(bomb.len() < 50_000);
        let server = Scripted::replies(vec![reply(bomb)]).await;
        let policy = RetryPolicy { max_response_bytes: 50_000, ..RetryPolicy::fast() };
        let error = http_with(&server.base, KEY, policy).send(&ApiRequest::get("/x")).await.unwrap_err();
        assert_eq!((error.kind(), server.seen().len()), (Kind::BadResponse, 1), "{encoding}");
        // The text of a refusal, too.
        let refusal = encoded_as(encoding, b"{\"detail\":\"no such thing\"}");
        let server = Scripted::replies(vec![Reply::new(404, refusal).header("Content-Encoding", encoding)]).await;
        let error = http(&server.base).send(&ApiRequest::get("/x")).await.unwrap_err();
        assert_eq!(error.text(), "no such thing", "{encoding}");
    }
}

#[tokio::test]
async fn a_response_in_an_encoding_that_was_not_requested_is_named() {
    let twice = encoded_as("br", &encoded_as("gzip", b"[]"));
    for encoding in ["gzip, br", "compress"] {
        for (status, kind) in [(200, Kind::BadResponse), (404, Kind::NotFound)] {
            let reply = Reply::new(status, twice.clone()).header("Content-Encoding", encoding);
            let server = Scripted::replies(vec![reply]).await;
            let error = http(&server.base).send(&ApiRequest::get("/x")).await.unwrap_err();
            let text = format!("unsupported content encoding `{encoding}`, which was not requested");
            assert_eq!((error.kind(), error.text(), server.seen().len()), (kind, text.as_str(), 1));
        }
    }
    // A name that is no encoding, as of a set of characters, does no harm to plain text.
    let server = Scripted::replies(vec![Reply::new(200, "[]").header("Content-Encoding", "utf-8")]).await;
    assert_eq!(http(&server.base).send(&ApiRequest::get("/x")).await.unwrap().body, b"[]");
}

#[tokio::test]
async fn an_interrupted_body_resumes_at_the_exact_byte() {
    let server = Scripted::by(|i, seen| {
        let reply = part(seen, "\"v1\"");
        if i < 3 { reply.cut_at(70_001) } else { reply }
    })
    .await;
    assert!(read_link(&server).await.unwrap() == file());
    let seen = server.seen();
    assert_eq!(seen.iter().map(from).collect::<Vec<_>>(), [0, 70_001, 140_002, 210_003]);
    assert_eq!(seen[1].header("if-range"), Some("\"v1\""));
    assert_eq!(seen[0].header("accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn a_server_that_always_interrupts_is_given_up() {
    let server = Scripted::by(|i, seen| part(seen, "\"v1\"").cut_at(if i == 0 { 10 } else { 0 })).await;
    let error = read_link(&server).await.unwrap_err();
    assert_eq!(error.kind(), Kind::CutShort);
    assert_eq!(server.seen().len(), RetryBudget::DOWNLOAD.tries as usize);
    assert_redacted(&error);
    // Without ranges every connection starts over, and none comes further.
    let server = Scripted::by(|_, _| Reply::new(200, file()).header("ETag", "\"v1\"").cut_at(1000)).await;
    assert_eq!(read_link(&server).await.unwrap_err().kind(), Kind::CutShort);
    assert_eq!(server.seen().len(), RetryBudget::DOWNLOAD.tries as usize);
}

#[tokio::test]
async fn tiny_pieces_are_read_to_the_end() {
    let server = Scripted::by(|_, seen| part(seen, "\"v1\"").cut_at(3_000)).await;
    assert!(read_link(&server).await.unwrap() == file());
    assert_eq!(server.seen().len(), 100);
}

#[tokio::test]
async fn a_short_body_is_never_a_clean_end() {
    // The server hangs up early and then answers every range with nothing left.
    let server = Scripted::by(|_, seen| match from(seen) {
        0 => Reply::new(200, file()).header("ETag", "\"v1\"").cut_at(100),
        _ => Reply::new(416, "").header("Content-Range", "bytes */100"),
    })
    .await;
    assert_eq!(read_link(&server).await.unwrap_err().kind(), Kind::Changed);
}

#[tokio::test]
async fn a_chunked_body_without_its_last_chunk_is_interrupted() {
    let server = Scripted::by(|_, seen| match from(seen) {
        0 => Reply::new(200, file()).unannounced().header("Transfer-Encoding", "chunked").cut_at(0),
        _ => Reply::new(416, ""),
    })
    .await;
    // Nothing was received, so only the start can be requested again.
    let error = read_link(&server).await.unwrap_err();
    assert_eq!(error.kind(), Kind::CutShort);
}

#[tokio::test]
async fn a_416_is_the_end_only_of_the_file_that_was_read() {
    let read = async |past_the_end: Reply| {
        let server = Scripted::by(move |_, seen| match from(seen) {
            300_000 => past_the_end.clone(),
            _ => part(seen, "\"v1\"").unannounced(),
        })
        .await;
        (read_link(&server).await.map(|bytes| bytes == file()).map_err(|error| error.kind()), server.seen().len())
    };
    let refusal = || Reply::new(416, "");
    assert_eq!(read(refusal().header("Content-Range", "bytes */300000")).await, (Ok(true), 2));
    assert_eq!(read(refusal().header("ETag", "\"v1\"")).await, (Ok(true), 2));
    // Without size, tag or date: the file is read again and compared.
    assert_eq!(read(refusal()).await, (Ok(true), 3));
    assert_eq!(read(refusal().header("ETag", "\"v2\"")).await, (Err(Kind::Changed), 2));
    assert_eq!(read(refusal().header("Content-Range", "bytes */299999")).await, (Err(Kind::Changed), 2));
}

#[tokio::test]
async fn a_replaced_file_is_detected() {
    // By its tag, in a partial and in a whole response.
    let changed = |i: usize, seen: &Seen| if i == 0 { part(seen, "\"v1\"").cut_at(999) } else { part(seen, "\"v2\"") };
    assert_eq!(read_link(&Scripted::by(changed).await).await.unwrap_err().kind(), Kind::Changed);
    let whole = |i: usize, _: &Seen| match i {
        0 => Reply::new(200, file()).header("ETag", "\"v1\"").cut_at(999),
        _ => Reply::new(200, file()).header("ETag", "\"v2\""),
    };
    assert_eq!(read_link(&Scripted::by(whole).await).await.unwrap_err().kind(), Kind::Changed);
    // Without a tag, by a byte that was read before; a changed byte behind those cannot be detected.
    let silent = |changed: usize| {
        move |i: usize, _: &Seen| {
            let mut file = file();
            file[changed] ^= u8::from(i > 0);
            if i == 0 { Reply::new(200, file).cut_at(999) } else { Reply::new(200, file) }
        }
    };
    assert_eq!(read_link(&Scripted::by(silent(998)).await).await.unwrap_err().kind(), Kind::Changed);
    assert!(read_link(&Scripted::by(silent(999)).await).await.is_ok());
    // By its size.
    let longer = |i: usize, _: &Seen| match i {
        0 => Reply::new(200, file()).header("ETag", "\"v1\"").cut_at(999),
        _ => Reply::new(206, &file()[999..]).header("Content-Range", "bytes 999-400000/400001"),
    };
    assert_eq!(read_link(&Scripted::by(longer).await).await.unwrap_err().kind(), Kind::Changed);
    // By a range other than the requested one.
    let shifted = |i: usize, _: &Seen| match i {
        0 => Reply::new(200, file()).header("ETag", "\"v1\"").cut_at(999),
        _ => {
            Reply::new(206, &file()[998..]).header("ETag", "\"v1\"").header("Content-Range", "bytes 998-299999/300000")
        }
    };
    assert_eq!(read_link(&Scripted::by(shifted).await).await.unwrap_err().kind(), Kind::BadResponse);
}

#[tokio::test]
async fn repeated_bytes_of_a_server_without_ranges_are_dropped() {
    let server = Scripted::by(|i, _| {
        let reply = Reply::new(200, file()).header("ETag", "\"v1\"");
        if i == 0 { reply.cut_at(123_457) } else { reply }
    })
    .await;
    assert!(read_link(&server).await.unwrap() == file());
}

#[tokio::test]
async fn a_partial_response_that_proves_nothing_is_not_used() {
    // It starts at another byte, is encoded, or has no tag: the whole file is requested instead, and compared.
    for kind in 0..3 {
        let server = Scripted::by(move |i, seen| match (i, seen.header("range")) {
            (0, _) => part(seen, "\"v1\"").cut_at(999),
            (_, None) => part(seen, "\"v1\""),
            (_, Some(_)) => match kind {
                0 => Reply::new(206, &file()[998..])
                    .header("ETag", "\"v1\"")
                    .header("Content-Range", "bytes 998-299999/300000"),
                1 => part(seen, "\"v1\"").header("Content-Encoding", "gzip"),
                _ => Reply::new(206, &file()[999..]).header("Content-Range", "bytes 999-299999/300000"),
            },
        })
        .await;
        assert!(read_link(&server).await.unwrap() == file(), "{kind}");
        assert_eq!(server.seen().iter().map(|s| s.header("range").is_some()).collect::<Vec<_>>(), [false, true, false]);
    }
}

#[tokio::test]
async fn an_encoded_body_is_decoded_and_resumed_by_its_content() {
    let encoded = |level| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
        std::io::Write::write_all(&mut encoder, &file()).unwrap();
        encoder.finish().unwrap()
    };
    let server = Scripted::by(move |i, seen| {
        assert_eq!((seen.header("range"), seen.header("accept-encoding")), (None, Some("identity")));
        // Each response is encoded differently.
        let reply = Reply::new(200, encoded(if i % 2 == 0 { 1 } else { 9 })).header("Content-Encoding", "gzip");
        let reply = reply.header("ETag", "\"v1\"");
        if i < 3 { reply.cut_at(50_000 * (i + 1)) } else { reply }
    })
    .await;
    assert!(read_link(&server).await.unwrap() == file());
    assert_eq!(server.seen().len(), 4);
    let damaged = Scripted::by(move |_, _| {
        let mut bytes = encoded(6);
        bytes.truncate(bytes.len() - 4);
        Reply::new(200, bytes).header("Content-Encoding", "gzip")
    })
    .await;
    // Framed as if it were whole, by a proxy that lost its upstream: requested once more.
    assert_eq!(read_link(&damaged).await.unwrap_err().kind(), Kind::Damaged);
    assert_eq!(damaged.seen().len(), 2);
    let damaged_once = async |damage: fn(&mut Vec<u8>)| {
        let server = Scripted::by(move |i, _| {
            let mut bytes = encoded(6);
            if i == 0 {
                damage(&mut bytes);
            }
            Reply::new(200, bytes).header("Content-Encoding", "gzip").header("ETag", "\"v1\"")
        })
        .await;
        let read = read_link(&server).await;
        assert_eq!(server.seen().len(), 2);
        read
    };
    assert!(damaged_once(|bytes| bytes.truncate(bytes.len() / 2)).await.unwrap() == file());
    assert!(damaged_once(Vec::clear).await.unwrap() == file());
    // Wrong bytes had been read before the checksum at the end told so.
    let wrong = damaged_once(|bytes| {
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
    });
    assert_eq!(wrong.await.unwrap_err().kind(), Kind::Damaged);
    let unknown = Scripted::replies(vec![Reply::new(200, "x").header("Content-Encoding", "compress")]).await;
    assert_eq!(read_link(&unknown).await.unwrap_err().kind(), Kind::BadResponse);
    // Some stores hand back the framing of an upload as if it were an encoding of the object.
    for (encoding, level) in [("aws-chunked", 0), ("AWS-Chunked, gzip", 1), ("gzip,aws-chunked", 1)] {
        let bytes = if level == 0 { file() } else { encoded(level) };
        let server = Scripted::replies(vec![Reply::new(200, bytes).header("Content-Encoding", encoding)]).await;
        assert!(read_link(&server).await.unwrap() == file(), "{encoding}");
    }
}

#[tokio::test]
async fn the_end_of_an_unframed_body_is_verified() {
    let read = async |server: &Scripted| {
        let link = SecretUrl::new(format!("{}/file", server.base));
        let mut download = Download::open(&http(&server.base), DownloadRequest::link(link)).await.unwrap();
        let read = move || {
            let mut bytes = Vec::new();
            download.read_to_end(&mut bytes).unwrap();
            (bytes == file(), crate::source::ByteSource::is_end_proven(&mut download))
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    };
    // A broken connection looks like an end; the response to a range request tells them apart.
    let server = Scripted::by(|i, seen| match (i, from(seen)) {
        (0, _) => part(seen, "\"v1\"").unannounced().cut_at(1000),
        (_, 300_000) => Reply::new(416, "").header("Content-Range", "bytes */300000"),
        _ => part(seen, "\"v1\"").unannounced(),
    })
    .await;
    assert_eq!(read(&server).await, (true, true));
    // Without ranges the only evidence is that two bodies end at the same byte.
    let server = Scripted::by(|i, _| {
        let reply = Reply::new(200, file()).unannounced();
        if i == 0 { reply.cut_at(1000) } else { reply }
    })
    .await;
    assert_eq!(read(&server).await, (true, false));
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn redirects_drop_the_key_and_are_limited() {
    let store = Scripted::replies(vec![Reply::new(200, "rows")]).await;
    let to = format!("{}/real?sig=marked-other", store.base);
    let server = Scripted::replies(vec![Reply::new(307, "").header("Location", to)]).await;
    assert_eq!(read_link(&server).await.unwrap(), b"rows");
    assert_eq!(server.seen()[0].header("x-api-key"), Some(KEY));
    assert_eq!((store.seen()[0].header("x-api-key"), store.seen()[0].header("referer")), (None, None));
    let circle = Scripted::replies(vec![Reply::new(302, "").header("Location", "/again?x=marked-x")]).await;
    let error = read_link(&circle).await.unwrap_err();
    assert_eq!((error.kind(), error.text()), (Kind::BadResponse, "more than 10 redirects"));
    assert_eq!(circle.seen().len(), 11);
    assert_redacted(&error);
    let elsewhere = Scripted::replies(vec![Reply::new(302, "").header("Location", "ftp://f.test/marked-x")]).await;
    assert_eq!(read_link(&elsewhere).await.unwrap_err().text(), "the scheme of the link is neither http nor https");
}

#[tokio::test]
async fn a_trusted_host_gets_the_key_and_the_error_of_another_names_it() {
    let api = Scripted::replies(vec![Reply::new(404, "")]).await;
    let store = Scripted::by(|_, seen| match seen.header("x-api-key") {
        Some(KEY) => Reply::new(200, "rows"),
        _ => Reply::new(401, r#"{"detail":"who are you?"}"#),
    })
    .await;
    let link = || DownloadRequest::link(SecretUrl::new(format!("{}/file?sig=marked-1", store.base)));
    let host = store.base.trim_start_matches("http://").to_owned();
    let error = read_all(&http(&api.base), link()).await.unwrap_err();
    assert_eq!((error.status(), error.keyless_host()), (Some(401), Some(host.as_str())));
    let options = HttpOptions::new(api.base.parse().unwrap(), Some(ApiKey::new(KEY)));
    let trusting = Http::new(HttpOptions { trusted: vec![host.parse().unwrap()], ..options });
    assert_eq!(read_all(&trusting, link()).await.unwrap(), b"rows");
    assert_eq!(store.seen().len(), 2);
}

#[tokio::test]
async fn secrets_that_a_server_quotes_are_redacted() {
    let body = format!(r#"{{"detail":"key {KEY} may not read /file?sig=marked-sig"}}"#);
    let server = Scripted::replies(vec![Reply::new(422, body)]).await;
    let error = http(&server.base).send(&ApiRequest::get("/x").query("sig", "marked-sig")).await.unwrap_err();
    assert_eq!(error.text(), "key [redacted] may not read /file?[redacted]");
    let error = read_link(&server).await.unwrap_err();
    assert_redacted(&error);
    let text = r#"{"status":"queued","workflow_id":5,"job_id":"marked-value"}"#;
    let server = Scripted::replies(vec![Reply::new(200, text)]).await;
    let error = http(&server.base).json::<Vec<String>>(&ApiRequest::get("/x")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::BadResponse);
    assert_redacted(&error);
}

#[tokio::test]
async fn a_response_head_beyond_the_limit_is_an_error() {
    let mut reply = Reply::new(200, "{}");
    for i in 0..200 {
        reply = reply.header(&format!("X-Filler-{i}"), "x");
    }
    let server = Scripted::replies(vec![reply]).await;
    let call = ApiRequest::get("/x").budget(RetryBudget { tries: 1, time: std::time::Duration::from_secs(9) });
    let error = http(&server.base).send(&call).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unreachable);
    assert!(error.source().unwrap().to_string().contains("head is too large"), "{error:?}");
}

struct Links {
    base: String,
    asked: AtomicU32,
}

impl FreshLink for Links {
    fn fresh(&self, after: u64) -> BoxFuture<'_, Result<Link, Error>> {
        let n = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let url = SecretUrl::new(format!("{}/file?sig=marked-{n}", self.base));
        Box::pin(async move { Ok(Link { url, edition: after + 1, stale_from: None }) })
    }
}

#[tokio::test]
async fn a_link_that_is_about_to_expire_is_replaced_before_it_is_used() {
    let server = Scripted::by(|_, seen| part(seen, "\"v1\"")).await;
    let links = Arc::new(Links { base: server.base.clone(), asked: AtomicU32::new(0) });
    let url = SecretUrl::new(format!("{}/file?sig=marked-0", server.base));
    let link = Link { stale_from: Some(std::time::Instant::now()), ..Link::lasting(url) };
    let open = DownloadRequest { link, fresh: Some(links.clone()), ..DownloadRequest::link(SecretUrl::new("")) };
    assert!(read_all(&http(&server.base), open).await.unwrap() == file());
    assert_eq!(server.seen()[0].line, "GET /file?sig=marked-1");
    assert_eq!((server.seen().len(), links.asked.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test]
async fn at_most_so_many_files_are_active_and_they_are_read_in_order() {
    let server = Scripted::by(|_, seen| part(seen, "\"v1\"")).await;
    let http = http(&server.base);
    // The window holds less than three files, so that later ones wait for permits until they are read.
    let downloads = Downloads::new(3, 600 << 10);
    let started: Vec<Download> = (0..7)
        .map(|i| downloads.start(&http, DownloadRequest::link(SecretUrl::new(format!("{}/file{i}", server.base)))))
        .collect();
    let asked = || server.seen().iter().map(|s| s.line[9..].parse::<usize>().unwrap()).collect::<Vec<_>>();
    while asked().len() < 3 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let mut first_ones = asked();
    first_ones.sort_unstable();
    assert_eq!(first_ones, [0, 1, 2]);
    for (i, mut download) in started.into_iter().enumerate() {
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = Vec::new();
            download.read_to_end(&mut bytes).map(|_| bytes)
        });
        assert!(read.await.unwrap().unwrap() == file(), "{i}");
    }
    assert_eq!(server.seen().len(), 7);
}

#[tokio::test]
async fn an_expired_link_is_replaced_and_the_download_resumes() {
    let server = Scripted::by(|i, seen| match i {
        0 => part(seen, "\"v1\"").cut_at(100_000),
        1 => Reply::new(403, "expired"),
        _ => part(seen, "\"v1\""),
    })
    .await;
    let links = Arc::new(Links { base: server.base.clone(), asked: AtomicU32::new(0) });
    let link = SecretUrl::new(format!("{}/file?sig=marked-0", server.base));
    let open = DownloadRequest { fresh: Some(links.clone()), ..DownloadRequest::link(link) };
    assert!(read_all(&http(&server.base), open).await.unwrap() == file());
    assert_eq!(links.asked.load(Ordering::SeqCst), 1);
    assert_eq!(server.seen()[2].line, "GET /file?sig=marked-1");

    // Refused fresh links end after their limit; without a source of links the first refusal is final.
    let server = Scripted::replies(vec![Reply::new(403, "expired")]).await;
    let links = Arc::new(Links { base: server.base.clone(), asked: AtomicU32::new(0) });
    let link = SecretUrl::new(format!("{}/file?sig=marked-0", server.base));
    let open = DownloadRequest { fresh: Some(links.clone()), ..DownloadRequest::link(link) };
    let error = read_all(&http(&server.base), open).await.unwrap_err();
    assert_eq!((error.kind(), links.asked.load(Ordering::SeqCst)), (Kind::Forbidden, 5));
    assert_redacted(&error);
    assert_eq!(read_link(&server).await.unwrap_err().kind(), Kind::Forbidden);
}

#[tokio::test]
async fn a_cancelled_download_is_an_error() {
    let server = Scripted::replies(vec![Reply::new(200, file())]).await;
    let link = SecretUrl::new(format!("{}/file", server.base));
    // The runtime's only thread runs this test, so the task has not run when it is cancelled.
    let mut download = Download::open(&http(&server.base), DownloadRequest::link(link)).await.unwrap();
    download.stopper().stop();
    let error = tokio::task::spawn_blocking(move || download.read_to_end(&mut Vec::new()).unwrap_err()).await.unwrap();
    assert_eq!(error.downcast::<Error>().unwrap().kind(), Kind::Stopped);
}

#[tokio::test]
async fn a_long_body_follows_redirects_within_the_origin() {
    let body = vec![b' '; 300 << 10];
    let server = Scripted::by(|i, _| match i {
        0 => Reply::new(307, "").header("Location", "/v2/run"),
        1 => Reply::new(308, "").header("Location", "v3"),
        _ => Reply::new(200, "[]"),
    })
    .await;
    let post = || ApiRequest::post("/run", Body::Json(body.clone()), Repeatability::Safe);
    http(&server.base).send(&post()).await.unwrap();
    let seen = server.seen();
    assert!(seen.iter().all(|seen| seen.body == body && seen.header("x-api-key") == Some(KEY)));
    let lines: Vec<&str> = seen.iter().map(|seen| seen.line.as_str()).collect();
    assert_eq!(lines, ["POST /run", "POST /v2/run", "POST /v2/v3"]);
    let elsewhere = Scripted::replies(vec![Reply::new(200, "[]")]).await;
    let to = format!("{}/x?sig=marked-sig", elsewhere.base);
    let server = Scripted::replies(vec![Reply::new(307, "").header("Location", to)]).await;
    let error = http(&server.base).send(&post()).await.unwrap_err();
    assert!(error.text().starts_with("refused to send the API key to the redirect target http://"), "{error}");
    assert_redacted(&error);
    assert!(elsewhere.seen().is_empty());
    let circle = Scripted::replies(vec![Reply::new(307, "").header("Location", "/again")]).await;
    let error = http(&circle.base).send(&post()).await.unwrap_err();
    assert!(error.text().starts_with("cannot follow the redirect to http://"), "{error}");
    assert_eq!(circle.seen().len(), 11);
}
