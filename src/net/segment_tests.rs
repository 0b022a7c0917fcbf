//! Downloads over several connections, against a server that does or does not keep its promises.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::scripted::{Reply, Scripted, Seen, all_bytes};
use super::*;
use crate::secret::SecretUrl;

/// 300,000 bytes in which no two offsets look alike.
fn file() -> Vec<u8> {
    (0u32..75_000).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect()
}

/// The offsets of the range that a request is for, the end excluded.
fn range(seen: &Seen) -> Option<(usize, usize)> {
    let (from, last) = seen.header("range")?.strip_prefix("bytes=")?.split_once('-')?;
    let end = last.parse::<usize>().map_or(file().len(), |last| last + 1);
    Some((from.parse().ok()?, end))
}

/// The response of a store that offers ranges.
fn stored(seen: &Seen) -> Reply {
    let file = file();
    let reply = match range(seen) {
        Some((from, end)) => Reply::new(206, &file[from..end])
            .header("Content-Range", format!("bytes {from}-{}/{}", end - 1, file.len())),
        None => Reply::new(200, file),
    };
    reply.header("ETag", "\"v1\"").header("Accept-Ranges", "bytes")
}

/// Downloads the file over four connections.
async fn read_divided(server: &Scripted) -> Result<Vec<u8>, Error> {
    let policy = RetryPolicy { min_segment_bytes: 10_000, ..RetryPolicy::fast() };
    // Another origin than that of the files, which so count towards no limit.
    let options = HttpOptions::new("http://127.0.0.1:9".parse().unwrap(), None);
    let http = Http::new(HttpOptions { policy, ..options });
    let link = SecretUrl::new(format!("{}/file?sig=marked-sig", server.base));
    let downloads = Downloads::over(Connections::Count(4), 1, 16 << 20);
    let mut download = downloads.start(&http, DownloadRequest::link(link));
    download.opened().await?;
    all_bytes(download).await
}

/// The ranges that were requested, without the first request, which is for the whole file.
fn ranges(server: &Scripted) -> Vec<(usize, usize)> {
    server.seen()[1..].iter().map(|seen| range(seen).expect("a range")).collect()
}

#[tokio::test]
async fn a_file_comes_over_several_connections() {
    let server = Scripted::by(|_, seen| stored(seen)).await;
    assert!(read_divided(&server).await.unwrap() == file());
    let mut ranges = ranges(&server);
    ranges.sort_unstable();
    // Each byte behind the first is requested once.
    assert!(ranges.len() >= 8, "{ranges:?}");
    assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0), "{ranges:?}");
    assert_eq!(ranges.last().unwrap().1, file().len());
    let tagged = |seen: &Seen| seen.header("if-range") == Some("\"v1\"");
    assert!(server.seen()[1..].iter().all(tagged));
}

#[tokio::test]
async fn a_segment_continues_at_its_byte() {
    let broken = AtomicUsize::new(0);
    let server = Scripted::by(move |_, seen| match range(seen) {
        Some((from, end)) if end - from > 8000 && from > 100_000 && broken.fetch_add(1, Ordering::SeqCst) < 3 => {
            stored(seen).cut_at(5000)
        }
        _ => stored(seen),
    })
    .await;
    assert!(read_divided(&server).await.unwrap() == file());
    let ranges = ranges(&server);
    let continued = |(from, end): &(usize, usize)| ranges.contains(&(from + 5000, *end));
    assert_eq!(ranges.iter().filter(|range| continued(range)).count(), 3, "{ranges:?}");
}

#[tokio::test]
async fn a_server_that_ignores_a_range_is_asked_over_one_connection() {
    // The first ranges are honoured, later ones are not.
    for honoured in [0, 3] {
        let count = AtomicUsize::new(0);
        let server = Scripted::by(move |_, seen| match range(seen) {
            Some(_) if count.fetch_add(1, Ordering::SeqCst) >= honoured => {
                Reply::new(200, file()).header("ETag", "\"v1\"").header("Accept-Ranges", "bytes")
            }
            _ => stored(seen),
        })
        .await;
        assert!(read_divided(&server).await.unwrap() == file(), "{honoured}");
    }
    // A response longer than the range, and one of another offset.
    for wrong in [0, 1] {
        let count = AtomicUsize::new(0);
        let server = Scripted::by(move |_, seen| match range(seen) {
            Some((from, end)) if count.fetch_add(1, Ordering::SeqCst) == 2 => {
                let (from, end) = if wrong == 0 { (from, (end + 1).min(file().len())) } else { (from - 1, end) };
                let content = format!("bytes {from}-{}/{}", end - 1, file().len());
                Reply::new(206, &file()[from..end]).header("Content-Range", content).header("ETag", "\"v1\"")
            }
            _ => stored(seen),
        })
        .await;
        assert!(read_divided(&server).await.unwrap() == file(), "{wrong}");
    }
}

#[tokio::test]
async fn a_file_that_changes_between_its_segments_is_an_error() {
    let server = Scripted::by(|_, seen| match range(seen) {
        Some((from, _)) if from > 150_000 => stored(seen).without_header("ETag").header("ETag", "\"v2\""),
        _ => stored(seen),
    })
    .await;
    assert_eq!(read_divided(&server).await.unwrap_err().kind(), Kind::Changed);
}

#[tokio::test]
async fn only_a_file_with_a_tag_and_ranges_is_divided() {
    for (name, value) in [("ETag", "W/\"v1\""), ("ETag", ""), ("Accept-Ranges", "none")] {
        let server = Scripted::by(move |_, seen| {
            let reply = stored(seen).without_header(name);
            if value.is_empty() { reply } else { reply.header(name, value) }
        })
        .await;
        assert!(read_divided(&server).await.unwrap() == file());
        assert_eq!(server.seen().len(), 1, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_server_that_refuses_requests_gets_fewer() {
    let count = AtomicUsize::new(0);
    let server = Scripted::by(move |_, seen| match range(seen) {
        Some(_) if count.fetch_add(1, Ordering::SeqCst) % 5 == 1 => Reply::new(503, "slow down"),
        _ => stored(seen),
    })
    .await;
    assert!(read_divided(&server).await.unwrap() == file());
}
