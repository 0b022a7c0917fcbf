//! Links to the result files of a run: the first ones, and fresh ones when they expire. All downloads of a run share
//! one list, so that one API call serves every download that waits for a fresh link.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::Mutex;

use super::{BlockSelection, Client, Error, ResultFormat, Results, select_links};
use crate::api::{DownloadLink, RunId};
use crate::net::{self, DownloadRequest, FreshLink, Kind, Link, is_downgrade};
use crate::secret::SecretUrl;

/// Requests of a list in which a file has no download URL, the first included.
const UNSIGNED_TRIES: u32 = 4;

/// The links of one run in one format, requested again when they expire.
struct Links {
    client: Client,
    run: RunId,
    format: ResultFormat,
    latest: Mutex<FetchedLinks>,
    /// Number of finished requests. A caller reads it before it waits for `latest`, and so knows whether a request
    /// finished meanwhile.
    finished_requests: AtomicU64,
}

/// The outcome of the last request.
struct FetchedLinks {
    /// Number of the request; the links that a download starts with are edition 1.
    edition: u64,
    asked: Instant,
    links: Result<Vec<DownloadLink>, net::Error>,
}

/// The link of one file of the list, found again by name, block and bucket.
struct FileLink {
    links: Arc<Links>,
    filename: String,
    block: Option<i64>,
    bucket: String,
    size_bytes: Option<u64>,
    row_count: Option<u64>,
    created_at: Option<String>,
    /// Files of this name, block and bucket in the list that the download began with, this one included.
    namesakes: usize,
    /// Those of them that are equal in all else, too.
    twins: usize,
}

impl Client {
    /// Returns links to the selected results in the first of `formats` that the run has, without the rows that the API adds
    /// to links of small files. A list with a link without URL is requested up to 4 times.
    ///
    /// # Errors
    ///
    /// [`Error::NoResults`] if the run has none of the formats, [`Error::NoSuchBlock`], or [`Error::NoLink`].
    pub async fn result_links(
        &self,
        run: &RunId,
        formats: &[ResultFormat],
        wanted: BlockSelection,
    ) -> Result<Results, Error> {
        for &format in formats {
            for tries in 1.. {
                // Before the request: links live from some instant after it.
                let asked = self.http().policy().clock.now();
                let links = self.links_without_rows(run, format).await?;
                // An empty list means that the run does not have this format: try the next.
                if links.is_empty() {
                    break;
                }
                let message_of =
                    |l: &DownloadLink| Some((l.filename.clone(), l.message.clone().filter(|m| !m.is_empty())?));
                let concerns = |l: &&DownloadLink| match wanted {
                    BlockSelection::Block(block) => l.block_number == Some(block),
                    BlockSelection::Final | BlockSelection::All => true,
                };
                let messages = links.iter().filter(concerns).filter_map(message_of).collect();
                // Selected before the URLs are checked: a missing URL of another block is no error.
                let listed = links.clone();
                let links = select_links(links, wanted, run)?;
                let Some(unsigned) = links.iter().find(|link| link.download_url.is_none()) else {
                    links.iter().try_for_each(|link| self.require_no_downgrade(link))?;
                    return Ok(Results { format, links, listed, messages, asked });
                };
                if !self.await_signing(tries).await {
                    let (filename, message) = (unsigned.filename.clone(), unsigned.message.clone());
                    return Err(Error::NoLink { filename, message });
                }
            }
        }
        let formats = formats.iter().map(|f| f.as_str()).collect::<Vec<_>>().join(" or ");
        Err(Error::NoResults { run: run.clone(), formats })
    }

    /// Returns the links of [`Client::links`] without their inline rows. The lists of hundreds of runs are in memory at a
    /// time, and the files have the rows.
    async fn links_without_rows(&self, run: &RunId, format: ResultFormat) -> Result<Vec<DownloadLink>, Error> {
        let mut links = self.links(run, format).await?;
        links.iter_mut().for_each(|link| link.results = None);
        Ok(links)
    }

    /// Waits before a list is requested again in which a URL is missing; returns false without waiting after the last
    /// of the `tries`. Such a list is a valid response, so the retry table does not apply.
    async fn await_signing(&self, tries: u32) -> bool {
        let policy = self.http().policy();
        if tries < UNSIGNED_TRIES {
            policy.clock.sleep(policy.first_delay.saturating_mul(1 << tries)).await;
        }
        tries < UNSIGNED_TRIES
    }

    /// Returns one download request per file of `results`, in order. They share their requests for fresh links.
    pub fn download_requests(&self, run: &RunId, results: &Results) -> Vec<DownloadRequest> {
        // The list just received is edition 1, so that a download which needs a fresh link asks for a newer one.
        let links = Arc::new(Links {
            client: self.clone(),
            run: run.clone(),
            format: results.format,
            latest: Mutex::new(FetchedLinks { edition: 1, asked: results.asked, links: Ok(results.links.clone()) }),
            finished_requests: AtomicU64::new(0),
        });
        let open = |link: &DownloadLink| {
            let mut fresh = FileLink {
                links: Arc::clone(&links),
                filename: link.filename.clone(),
                block: link.block_number,
                bucket: link.storage_bucket.clone(),
                size_bytes: link.file_size,
                row_count: link.row_count,
                created_at: link.created_at.clone(),
                namesakes: 1,
                twins: 1,
            };
            let named: Vec<_> = results.listed.iter().filter(|listed| fresh.is_named(listed)).collect();
            let twins = named.iter().filter(|listed| fresh.is_equal(listed)).count();
            (fresh.namesakes, fresh.twins) = (named.len(), twins);
            let url = SecretUrl::new(link.download_url.clone().unwrap_or_default());
            let link = Link::expiring(url, 1, results.asked, life_of(link));
            DownloadRequest { link, fresh: Some(Arc::new(fresh)), ..DownloadRequest::link(SecretUrl::new("")) }
        };
        results.links.iter().map(open).collect()
    }

    /// Fails if the API is used over https and `link` is not https.
    fn require_no_downgrade(&self, link: &DownloadLink) -> Result<(), net::Error> {
        let url = link.download_url.as_deref().and_then(|url| url::Url::parse(url).ok());
        match url {
            Some(url) if is_downgrade(self.http().base(), &url) => {
                let text = "the API is used over https, but returned an unencrypted link";
                Err(net::Error::new(Kind::BadResponse, "GET", url.as_str()).with_text(text))
            }
            _ => Ok(()),
        }
    }
}

fn life_of(link: &DownloadLink) -> Duration {
    Duration::from_secs(link.download_expires_in_seconds)
}

impl Links {
    /// Returns the list, newer than edition `after`, with its edition and the instant of its request. Callers that
    /// wait for the same request share its outcome, also its failure.
    async fn newer_than(&self, after: u64) -> Result<(u64, Instant, Vec<DownloadLink>), net::Error> {
        let finished_requests = self.finished_requests.load(Ordering::Acquire);
        // Held during the request on purpose: the other callers wait for the lock, and then find the new list.
        let mut latest = self.latest.lock().await;
        let finished_meanwhile = self.finished_requests.load(Ordering::Acquire) > finished_requests;
        // A list serves every caller with an older edition. A failure serves only those who were waiting when it
        // happened; a later caller requests again.
        let usable = match &latest.links {
            Ok(_) => latest.edition > after,
            Err(_) => finished_meanwhile,
        };
        if !usable {
            let asked = self.client.http().policy().clock.now();
            let links = match self.client.links_without_rows(&self.run, self.format).await {
                Ok(links) => Ok(links),
                // Only errors of `net` can be cloned for all waiting downloads.
                Err(Error::Net(error)) => Err(error),
                Err(error) => Err(not_found("cannot get a fresh link").with_source(error)),
            };
            *latest = FetchedLinks { edition: latest.edition + 1, asked, links };
            self.finished_requests.fetch_add(1, Ordering::Release);
        }
        let links = latest.links.clone()?;
        Ok((latest.edition, latest.asked, links))
    }
}

fn not_found(text: &str) -> net::Error {
    net::Error::new(Kind::NotFound, "GET", "").with_text(text)
}

impl FreshLink for FileLink {
    fn fresh(&self, after: u64) -> BoxFuture<'_, Result<Link, net::Error>> {
        Box::pin(async move {
            let mut after = after;
            for tries in 1.. {
                let (edition, asked, links) = self.links.newer_than(after).await?;
                let link = self.find(links)?;
                self.links.client.require_no_downgrade(&link)?;
                let life = life_of(&link);
                if let Some(url) = link.download_url {
                    return Ok(Link::expiring(SecretUrl::new(url), edition, asked, life));
                }
                if !self.links.client.await_signing(tries).await {
                    let error = Error::NoLink { filename: link.filename, message: link.message };
                    return Err(not_found(&error.to_string()));
                }
                // The URL is missing from this edition: only a newer one can have it.
                after = edition;
            }
            unreachable!("the loop has no end but a return")
        })
    }
}

impl FileLink {
    /// Finds the file in a newer list, whose order may have changed. Fails if it is gone, has changed, or if several files
    /// could be the one: the bytes of another must not continue it.
    fn find(&self, links: Vec<DownloadLink>) -> Result<DownloadLink, net::Error> {
        let mut named: Vec<DownloadLink> = links.into_iter().filter(|link| self.is_named(link)).collect();
        let namesakes = named.len().max(self.namesakes);
        if namesakes > 1 {
            // What else the API says of them tells most namesakes apart. One that is alone now may be any of them.
            named.retain(|link| self.is_equal(link));
        }
        match (named.pop(), named.len()) {
            (Some(link), 0) if self.twins <= 1 => self.require_same(&link).map(|()| link),
            (None, _) => Err(not_found(&format!("{} is no longer among the run's files", self.filename))),
            (Some(_), _) => {
                let text = format!(
                    "the link of {} has expired, and the API lists {namesakes} files of that name; they cannot be told \
                     apart",
                    self.filename
                );
                Err(net::Error::new(Kind::BadResponse, "GET", "").with_text(text))
            }
        }
    }

    /// Returns true for a link with the name, block and bucket of the file.
    fn is_named(&self, link: &DownloadLink) -> bool {
        (&link.filename, link.block_number, &link.storage_bucket) == (&self.filename, self.block, &self.bucket)
    }

    /// Returns true if the API says the same of a link's file, as far as it says anything.
    fn is_equal(&self, link: &DownloadLink) -> bool {
        (link.file_size, link.row_count, &link.created_at) == (self.size_bytes, self.row_count, &self.created_at)
    }

    /// Fails if the API now reports another size or `row_count` for the file.
    fn require_same(&self, link: &DownloadLink) -> Result<(), net::Error> {
        let differ = |a: Option<u64>, b: Option<u64>| matches!((a, b), (Some(a), Some(b)) if a != b);
        let what = match () {
            () if differ(self.size_bytes, link.file_size) => "size",
            () if differ(self.row_count, link.row_count) => "row_count",
            () => return Ok(()),
        };
        let url = link.download_url.as_deref().unwrap_or_default();
        let text = format!("the API reports a different {what} for {} than before", self.filename);
        Err(net::Error::new(Kind::Changed, "GET", url).with_text(text))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::net::scripted::{Reply, Scripted};
    use crate::net::{Http, HttpOptions, RetryPolicy};
    use crate::secret::ApiKey;

    fn client(server: &Scripted) -> Client {
        let options = HttpOptions::new(server.base.parse().unwrap(), Some(ApiKey::new("k")));
        Client::new(Http::new(HttpOptions { policy: RetryPolicy::fast(), ..options }))
    }

    fn link(name: &str, url: Option<&str>, more: Value) -> Value {
        let mut link = json!({"filename": name, "storage_bucket": "b", "row_count": 3, "block_number": 1,
                              "download_url": url, "message": "signing failed", "file_size": 10});
        link.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        link
    }

    fn results(links: Value) -> Results {
        let links: Vec<DownloadLink> = serde_json::from_value(links).unwrap();
        Results {
            format: ResultFormat::Ndjson,
            listed: links.clone(),
            links,
            messages: Vec::new(),
            asked: Instant::now(),
        }
    }

    fn opens(client: &Client, names: &[&str]) -> Vec<DownloadRequest> {
        let links: Vec<Value> = names.iter().map(|name| link(name, Some("http://f.test/0"), json!({}))).collect();
        // Several downloads of one file are no namesakes.
        let mut results = results(json!(links));
        results.listed.sort_by(|a, b| a.filename.cmp(&b.filename));
        results.listed.dedup();
        client.download_requests(&RunId("r1".into()), &results)
    }

    #[tokio::test]
    async fn one_request_serves_all_downloads_that_wait_for_it() {
        let server = Scripted::by(|i, _| {
            let url = format!("http://f.test/{i}");
            Reply::new(200, json!([link("a", Some(&url), json!({})), link("b", Some(&url), json!({}))]).to_string())
        })
        .await;
        let client = client(&server);
        let names: Vec<&str> = ["a", "b"].repeat(10);
        let opens = opens(&client, &names);
        let waiting = opens.iter().map(|open| open.fresh.as_ref().unwrap().fresh(open.link.edition));
        let fresh = futures::future::join_all(waiting).await;
        assert!(fresh.iter().all(|link| link.as_ref().unwrap().edition == 2));
        assert_eq!(server.seen().len(), 1);
        // A download whose new link was refused as well needs a newer one.
        opens[0].fresh.as_ref().unwrap().fresh(2).await.unwrap();
        assert_eq!(server.seen().len(), 2);
        // A download that still has an older link gets the present one.
        assert_eq!(opens[3].fresh.as_ref().unwrap().fresh(2).await.unwrap().edition, 3);
        assert_eq!(server.seen().len(), 2);
    }

    #[tokio::test]
    async fn a_failure_is_shared_by_waiting_downloads_and_not_kept_for_later_ones() {
        let server = Scripted::replies(vec![Reply::new(404, ""), Reply::new(200, "[]")]).await;
        let client = client(&server);
        let opens = opens(&client, &["a", "b", "c"]);
        let waiting = opens.iter().map(|open| open.fresh.as_ref().unwrap().fresh(1));
        let fresh = futures::future::join_all(waiting).await;
        assert!(fresh.iter().all(|link| link.as_ref().unwrap_err().status() == Some(404)));
        assert_eq!(server.seen().len(), 1);
        let error = opens[0].fresh.as_ref().unwrap().fresh(1).await.unwrap_err();
        assert_eq!((error.kind(), error.text()), (Kind::NotFound, "a is no longer among the run's files"));
        assert_eq!(server.seen().len(), 2);
    }

    #[tokio::test]
    async fn a_file_with_another_size_or_row_count_has_changed() {
        for (more, what) in [(json!({"file_size": 11}), "size"), (json!({"row_count": 4}), "row_count")] {
            let list = json!([link("a", Some("http://f.test/1"), more)]);
            let server = Scripted::replies(vec![Reply::new(200, list.to_string())]).await;
            let open = opens(&client(&server), &["a"]).remove(0);
            let error = open.fresh.unwrap().fresh(1).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Changed);
            assert_eq!(error.text(), format!("the API reports a different {what} for a than before"));
        }
    }

    #[tokio::test]
    async fn a_file_is_never_continued_by_a_namesake() {
        let server = async |more: [Value; 2]| {
            let list: Vec<Value> =
                (0..).zip(more).map(|(i, m)| link("a", Some(&format!("http://f.test/{i}")), m)).collect();
            Scripted::replies(vec![Reply::new(200, json!(list).to_string())]).await
        };
        let fresh = async |more: [Value; 2]| {
            let open = opens(&client(&server(more).await), &["a"]).remove(0);
            open.fresh.unwrap().fresh(1).await.map(|link| link.url.reveal().to_owned())
        };
        let second = "http://f.test/1".to_owned();
        assert_eq!(fresh([json!({"storage_bucket": "c"}), json!({})]).await.unwrap(), second);
        assert_eq!(fresh([json!({"block_number": 2}), json!({})]).await.unwrap(), second);
        assert_eq!(fresh([json!({"file_size": 7}), json!({})]).await.unwrap(), second);
        assert_eq!(fresh([json!({"created_at": "2026-11-30T08:00:00Z"}), json!({})]).await.unwrap(), second);
        let error = fresh([json!({}), json!({})]).await.unwrap_err();
        assert!(error.text().contains("the API lists 2 files of that name"), "{error}");
        let error = fresh([json!({"file_size": 7}), json!({"file_size": 8})]).await.unwrap_err();
        assert_eq!(error.kind(), Kind::NotFound);
    }

    #[tokio::test]
    async fn a_namesake_that_is_left_alone_is_not_taken_for_the_other() {
        let dated = |url: &str, date: &str| link("a", Some(url), json!({ "created_at": date }));
        let fresh = async |before: [Value; 2], after: Value| {
            let server = Scripted::replies(vec![Reply::new(200, json!([after]).to_string())]).await;
            // The second one is selected, as the final result is.
            let mut results = results(json!(before));
            results.links.remove(0);
            let open = client(&server).download_requests(&RunId("r1".into()), &results).remove(0);
            open.fresh.unwrap().fresh(1).await.map(|link| link.url.reveal().to_owned())
        };
        let before = || [dated("http://f.test/0", "first"), dated("http://f.test/0", "second")];
        assert_eq!(fresh(before(), dated("http://f.test/2", "second")).await.unwrap(), "http://f.test/2");
        let error = fresh(before(), dated("http://f.test/1", "first")).await.unwrap_err();
        assert_eq!((error.kind(), error.text()), (Kind::NotFound, "a is no longer among the run's files"));
        let twins = [dated("http://f.test/0", "first"), dated("http://f.test/0", "first")];
        let error = fresh(twins, dated("http://f.test/1", "first")).await.unwrap_err();
        assert!(error.text().contains("the API lists 2 files of that name"), "{error}");
    }

    #[tokio::test]
    async fn a_link_without_url_is_requested_again_and_then_named() {
        let list = |url: Option<&str>| Reply::new(200, json!([link("a", url, json!({}))]).to_string());
        let server = Scripted::replies(vec![list(None), list(None), list(Some("http://f.test/1"))]).await;
        let open = opens(&client(&server), &["a"]).remove(0);
        assert_eq!(open.fresh.unwrap().fresh(1).await.unwrap().url.reveal(), "http://f.test/1");
        let server = Scripted::replies(vec![list(None)]).await;
        let open = opens(&client(&server), &["a"]).remove(0);
        let error = open.fresh.unwrap().fresh(1).await.unwrap_err();
        assert_eq!(error.text(), "the API returned no download URL for a: signing failed");
        assert_eq!(server.seen().len(), UNSIGNED_TRIES as usize);
    }
}
