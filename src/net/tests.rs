use std::error::Error as _;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::future::BoxFuture;

use super::scripted::{Reply, Scripted, Seen};
use super::*;
use crate::secret::{ApiKey, SecretUrl};

const KEY: &str = "marked-key-1f9";

fn http(base: &str) -> Http {
    Http::new(base.parse().unwrap(), Some(ApiKey::new(KEY)), Policy::fast(), None)
}

/// 300 000 bytes in which no two places look alike.
fn file() -> Vec<u8> {
    (0u32..75_000).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// The range that a request asks for.
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

async fn read_all(http: &Http, open: Open) -> Result<Vec<u8>, Error> {
    let mut download = Download::open(http, open).await?;
    tokio::task::spawn_blocking(move || {
        let mut bytes = Vec::new();
        match download.read_to_end(&mut bytes) {
            Ok(_) => Ok(bytes),
            Err(error) => Err(error.downcast::<Error>().expect("a download's errors are of its type")),
        }
    })
    .await
    .unwrap()
}

async fn read_link(server: &Scripted) -> Result<Vec<u8>, Error> {
    let link = SecretUrl::new(format!("{}/file?sig=marked-sig", server.base));
    read_all(&http(&server.base), Open::link(link)).await
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
async fn an_address_that_never_answered_is_given_up_sooner() {
    let tries = async |replies| {
        let server = Scripted::replies(replies).await;
        let http = http(&server.base);
        let call = |path: &'static str| Call::get(path).query("limit", "2").budget(Budget::POLL);
        let _ = http.send(&call("/first")).await;
        let error = http.send(&call("/second")).await.unwrap_err();
        // The query of a call is no secret.
        assert!(error.request().1.ends_with("/second?limit=2"), "{error}");
        error.tries()
    };
    assert_eq!(tries(vec![Reply::new(502, "")]).await, Budget::ASK.tries);
    assert_eq!(tries(vec![Reply::new(404, ""), Reply::new(502, "")]).await, Budget::POLL.tries);
}

#[tokio::test]
async fn a_passing_fault_is_asked_again_and_a_refusal_is_not() {
    let server = Scripted::replies(vec![
        Reply::new(503, "busy"),
        Reply::new(429, "").header("Retry-After", "0"),
        Reply::new(429, ""),
        Reply::new(200, "[]"),
    ])
    .await;
    let answer = http(&server.base).send(&Call::get("/workflows")).await.unwrap();
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
        let error = http(&server.base).send(&Call::get("/x").query("q", "marked-query")).await.unwrap_err();
        assert_eq!((error.kind(), error.status(), error.tries()), (kind, Some(status), 1));
        assert_eq!(error.text(), "so it is");
        assert_redacted(&error);
    }
}

#[tokio::test]
async fn the_budget_ends() {
    let server = Scripted::replies(vec![Reply::new(500, "no")]).await;
    let error = http(&server.base).send(&Call::get("/x")).await.unwrap_err();
    assert_eq!((error.kind(), error.tries(), server.seen().len()), (Kind::ServerFault, 5, 5));
    let error = http("http://127.0.0.1:1").send(&Call::get("/x")).await.unwrap_err();
    assert_eq!((error.kind(), error.tries()), (Kind::Unreachable, 5));
}

#[tokio::test]
async fn what_must_not_happen_twice_is_sent_again_only_when_unseen() {
    let post = || Call::post("/create", Body::Json(b"{}".to_vec()), Repeat::IfUnseen);
    let server = Scripted::replies(vec![Reply::new(503, "")]).await;
    assert_eq!(http(&server.base).send(&post()).await.unwrap_err().tries(), 1);
    let server = Scripted::replies(vec![Reply::new(200, "{}").cut_at(0)]).await;
    assert_eq!(http(&server.base).send(&post()).await.unwrap_err().tries(), 1);
    let server = Scripted::replies(vec![Reply::new(429, ""), Reply::new(200, "{}")]).await;
    assert_eq!(http(&server.base).send(&post()).await.unwrap().status, 200);
}

#[tokio::test]
async fn no_key_is_known_before_anything_is_sent() {
    let server = Scripted::replies(vec![Reply::new(200, "")]).await;
    let http = Http::new(server.base.parse().unwrap(), Some(ApiKey::new("  ")), Policy::fast(), None);
    assert_eq!(http.send(&Call::get("/x")).await.unwrap_err().kind(), Kind::NoKey);
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn the_key_stays_with_its_origin() {
    let other = Scripted::replies(vec![Reply::new(200, "elsewhere")]).await;
    let to = format!("{}/stolen?x=marked-x", other.base);
    let server = Scripted::replies(vec![Reply::new(302, "").header("Location", to)]).await;
    let http = http(&server.base);
    let error = http.send(&Call::get("/x")).await.unwrap_err();
    assert_eq!(error.kind(), Kind::BadAnswer);
    assert_redacted(&error);
    assert!(other.seen().is_empty());
    // A link elsewhere is read without the key, one on the API's origin with it.
    let elsewhere = SecretUrl::new(format!("{}/file", other.base));
    assert_eq!(read_all(&http, Open::link(elsewhere)).await.unwrap(), b"elsewhere");
    assert_eq!(other.seen()[0].header("x-api-key"), None);
    let server = Scripted::replies(vec![Reply::new(200, "here")]).await;
    read_link(&server).await.unwrap();
    assert_eq!(server.seen()[0].header("x-api-key"), Some(KEY));
}

#[tokio::test]
async fn pages_for_browsers_are_not_quoted() {
    let text = async |body: &str| {
        let server = Scripted::replies(vec![Reply::new(404, body)]).await;
        http(&server.base).send(&Call::get("/x")).await.unwrap_err().text().to_owned()
    };
    assert_eq!(text("<!DOCTYPE html>\n<h1>Not here</h1>").await, "");
    let xml = "<?xml version='1.0'?>\n<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>";
    assert_eq!(text(xml).await, "AccessDenied Request has expired");
    assert_eq!(text("two\n  lines").await, "two lines");
}

#[tokio::test]
async fn a_long_answer_is_refused() {
    let server = Scripted::replies(vec![Reply::new(200, vec![b' '; 2000])]).await;
    let policy = Policy { max_answer_bytes: 1000, ..Policy::fast() };
    let http = Http::new(server.base.parse().unwrap(), Some(ApiKey::new(KEY)), policy, None);
    assert_eq!(http.send(&Call::get("/x")).await.unwrap_err().kind(), Kind::BadAnswer);
}

#[tokio::test]
async fn a_cut_body_continues_at_the_exact_byte() {
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
async fn a_server_that_always_cuts_is_given_up() {
    let server = Scripted::by(|_, seen| part(seen, "\"v1\"").cut_at(10)).await;
    let error = read_link(&server).await.unwrap_err();
    assert_eq!(error.kind(), Kind::CutShort);
    assert_eq!(server.seen().len(), Budget::DOWNLOAD.tries as usize);
    assert_redacted(&error);
}

#[tokio::test]
async fn a_short_body_is_never_a_clean_end() {
    // The server hangs up early and then answers every range with nothing left.
    let server = Scripted::by(|_, seen| match from(seen) {
        0 => Reply::new(200, file()).cut_at(100),
        _ => Reply::new(416, "").header("Content-Range", "bytes */100"),
    })
    .await;
    assert_eq!(read_link(&server).await.unwrap_err().kind(), Kind::Changed);
}

#[tokio::test]
async fn the_exact_end_may_be_answered_with_416() {
    let server = Scripted::by(|_, seen| match from(seen) {
        0 => Reply::new(200, file()).unannounced().header("Transfer-Encoding", "chunked").cut_at(0),
        _ => Reply::new(416, ""),
    })
    .await;
    // A chunked body without its last chunk has no end; nothing came, so nothing but the start can be asked for.
    let error = read_link(&server).await.unwrap_err();
    assert_eq!(error.kind(), Kind::CutShort);
}

#[tokio::test]
async fn another_file_is_noticed() {
    // By its tag, in a part and in a whole answer.
    let changed = |i: usize, seen: &Seen| if i == 0 { part(seen, "\"v1\"").cut_at(999) } else { part(seen, "\"v2\"") };
    assert_eq!(read_link(&Scripted::by(changed).await).await.unwrap_err().kind(), Kind::Changed);
    let whole = |i: usize, _: &Seen| match i {
        0 => Reply::new(200, file()).header("ETag", "\"v1\"").cut_at(999),
        _ => Reply::new(200, file()).header("ETag", "\"v2\""),
    };
    assert_eq!(read_link(&Scripted::by(whole).await).await.unwrap_err().kind(), Kind::Changed);
    // Without any tag a whole answer cannot be trusted to be the same.
    let silent =
        |i: usize, _: &Seen| if i == 0 { Reply::new(200, file()).cut_at(999) } else { Reply::new(200, file()) };
    assert_eq!(read_link(&Scripted::by(silent).await).await.unwrap_err().kind(), Kind::Changed);
    // By its length.
    let longer = |i: usize, _: &Seen| match i {
        0 => Reply::new(200, file()).cut_at(999),
        _ => Reply::new(206, &file()[999..]).header("Content-Range", "bytes 999-400000/400001"),
    };
    assert_eq!(read_link(&Scripted::by(longer).await).await.unwrap_err().kind(), Kind::Changed);
    // Another part than the one asked for.
    let shifted = |i: usize, _: &Seen| match i {
        0 => Reply::new(200, file()).header("ETag", "\"v1\"").cut_at(999),
        _ => {
            Reply::new(206, &file()[998..]).header("ETag", "\"v1\"").header("Content-Range", "bytes 998-299999/300000")
        }
    };
    assert_eq!(read_link(&Scripted::by(shifted).await).await.unwrap_err().kind(), Kind::BadAnswer);
}

#[tokio::test]
async fn a_server_without_ranges_is_skipped_through() {
    let server = Scripted::by(|i, _| {
        let reply = Reply::new(200, file()).header("ETag", "\"v1\"");
        if i == 0 { reply.cut_at(123_457) } else { reply }
    })
    .await;
    assert!(read_link(&server).await.unwrap() == file());
}

struct Links {
    base: String,
    asked: AtomicU32,
}

impl FreshLink for Links {
    fn fresh(&self) -> BoxFuture<'_, Result<SecretUrl, Error>> {
        let n = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        Box::pin(async move { Ok(SecretUrl::new(format!("{}/file?sig=marked-{n}", self.base))) })
    }
}

#[tokio::test]
async fn an_expired_link_is_replaced_and_the_stream_goes_on() {
    let server = Scripted::by(|i, seen| match i {
        0 => part(seen, "\"v1\"").cut_at(100_000),
        1 => Reply::new(403, "expired"),
        _ => part(seen, "\"v1\""),
    })
    .await;
    let links = Arc::new(Links { base: server.base.clone(), asked: AtomicU32::new(0) });
    let link = SecretUrl::new(format!("{}/file?sig=marked-0", server.base));
    let open = Open { fresh: Some(links.clone()), ..Open::link(link) };
    assert!(read_all(&http(&server.base), open).await.unwrap() == file());
    assert_eq!(links.asked.load(Ordering::SeqCst), 1);
    assert_eq!(server.seen()[2].line, "GET /file?sig=marked-1");

    // A link that is always refused ends, and one without a source ends at once.
    let server = Scripted::replies(vec![Reply::new(403, "expired")]).await;
    let links = Arc::new(Links { base: server.base.clone(), asked: AtomicU32::new(0) });
    let link = SecretUrl::new(format!("{}/file?sig=marked-0", server.base));
    let open = Open { fresh: Some(links.clone()), ..Open::link(link) };
    let error = read_all(&http(&server.base), open).await.unwrap_err();
    assert_eq!((error.kind(), links.asked.load(Ordering::SeqCst)), (Kind::Forbidden, 5));
    assert_redacted(&error);
    assert_eq!(read_link(&server).await.unwrap_err().kind(), Kind::Forbidden);
}

#[tokio::test]
async fn a_stopped_download_is_an_error() {
    let server = Scripted::replies(vec![Reply::new(200, file())]).await;
    let link = SecretUrl::new(format!("{}/file", server.base));
    // The one thread of the runtime is here, so the task has not run when it is stopped.
    let mut download = Download::open(&http(&server.base), Open::link(link)).await.unwrap();
    download.stopper().stop();
    let error = tokio::task::spawn_blocking(move || download.read_to_end(&mut Vec::new()).unwrap_err()).await.unwrap();
    assert_eq!(error.downcast::<Error>().unwrap().kind(), Kind::Stopped);
}
