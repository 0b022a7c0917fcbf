//! Links to the result files of a run: the first ones, and fresh ones, which are asked for once for all downloads that
//! wait for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::sync::Mutex;

use super::{BlockSelection, Client, Error, ResultFormat, Results, choose};
use crate::api::{DownloadLink, RunId};
use crate::net::{self, DownloadRequest, FreshLink, Kind, Link, is_downgrade};
use crate::secret::SecretUrl;

/// How often a link that the API lists without its URL is asked for again.
const UNSIGNED_TRIES: u32 = 4;

/// The links of one run in one format, as they are from time to time.
struct Links {
    client: Client,
    run: RunId,
    format: ResultFormat,
    latest: Mutex<FetchedLinks>,
    /// Askings that have ended, to be looked at before waiting for `latest`.
    ended: AtomicU64,
}

/// What the last asking brought.
struct FetchedLinks {
    /// Counts askings; the links that a download began with are edition 1.
    edition: u64,
    asked: Instant,
    links: Result<Vec<DownloadLink>, net::Error>,
}

/// One file among them.
struct FileLink {
    links: Arc<Links>,
    filename: String,
    block: Option<i64>,
    size_bytes: Option<u64>,
    row_count: Option<u64>,
}

impl Client {
    /// Links to the wanted results in the first of `formats` that the run has. Links that come without their URL are
    /// asked for again a few times.
    pub async fn result_links(
        &self,
        run: &RunId,
        formats: &[ResultFormat],
        wanted: BlockSelection,
    ) -> Result<Results, Error> {
        for &format in formats {
            for tries in 1.. {
                let asked = self.http().policy().clock.now();
                let links = self.links(run, format).await?;
                if links.is_empty() {
                    break;
                }
                let said = |l: &DownloadLink| Some((l.filename.clone(), l.message.clone().filter(|m| !m.is_empty())?));
                let concerns = |l: &&DownloadLink| match wanted {
                    BlockSelection::Block(block) => l.block_number == Some(block),
                    BlockSelection::Final | BlockSelection::All => true,
                };
                let messages = links.iter().filter(concerns).filter_map(said).collect();
                let links = choose(links, wanted, run)?;
                let Some(unsigned) = links.iter().find(|link| link.download_url.is_none()) else {
                    links.iter().try_for_each(|link| self.require_no_downgrade(link))?;
                    return Ok(Results { format, links, messages, asked });
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

    /// Waits before links that came without their URL are asked for again; false at once if they were asked for
    /// `tries` times and that is enough. The answers are good ones, so this is no part of the policy of retries.
    async fn await_signing(&self, tries: u32) -> bool {
        let policy = self.http().policy();
        if tries < UNSIGNED_TRIES {
            policy.clock.sleep(policy.first_delay.saturating_mul(1 << tries)).await;
        }
        tries < UNSIGNED_TRIES
    }

    /// What is to be opened for each file of `results`, in order. All of them together ask for fresh links.
    pub fn opens(&self, run: &RunId, results: &Results) -> Vec<DownloadRequest> {
        let links = Arc::new(Links {
            client: self.clone(),
            run: run.clone(),
            format: results.format,
            latest: Mutex::new(FetchedLinks { edition: 1, asked: results.asked, links: Ok(results.links.clone()) }),
            ended: AtomicU64::new(0),
        });
        let open = |link: &DownloadLink| {
            let fresh = FileLink {
                links: Arc::clone(&links),
                filename: link.filename.clone(),
                block: link.block_number,
                size_bytes: link.file_size,
                row_count: link.row_count,
            };
            let url = SecretUrl::new(link.download_url.clone().unwrap_or_default());
            let link = Link::expiring(url, 1, results.asked, life_of(link));
            DownloadRequest { link, fresh: Some(Arc::new(fresh)), ..DownloadRequest::link(SecretUrl::new("")) }
        };
        results.links.iter().map(open).collect()
    }

    /// Fails if the API, asked over https, gives a link to be followed in the clear.
    fn require_no_downgrade(&self, link: &DownloadLink) -> Result<(), net::Error> {
        let url = link.download_url.as_deref().and_then(|url| url::Url::parse(url).ok());
        match url {
            Some(url) if is_downgrade(self.http().base(), &url) => {
                let text = "the API is asked over https and gives a link without it";
                Err(net::Error::new(Kind::BadAnswer, "GET", url.as_str()).with_text(text))
            }
            _ => Ok(()),
        }
    }
}

fn life_of(link: &DownloadLink) -> Duration {
    Duration::from_secs(link.download_expires_in_seconds)
}

impl Links {
    /// What the API lists, newer than the edition `after`. Many may wait here for one asking, and share what it
    /// brings, its failure too.
    async fn newer(&self, after: u64) -> Result<(u64, Instant, Vec<DownloadLink>), net::Error> {
        let ended = self.ended.load(Ordering::Acquire);
        // Held over the asking: that is what makes the others wait for it.
        let mut latest = self.latest.lock().await;
        let ended_meanwhile = self.ended.load(Ordering::Acquire) > ended;
        let usable = match &latest.links {
            Ok(_) => latest.edition > after,
            Err(_) => ended_meanwhile,
        };
        if !usable {
            let asked = self.client.http().policy().clock.now();
            let links = match self.client.links(&self.run, self.format).await {
                Ok(links) => Ok(links),
                Err(Error::Net(error)) => Err(error),
                Err(error) => Err(gone("no fresh link").with_source(error)),
            };
            *latest = FetchedLinks { edition: latest.edition + 1, asked, links };
            self.ended.fetch_add(1, Ordering::Release);
        }
        let links = latest.links.clone()?;
        Ok((latest.edition, latest.asked, links))
    }
}

fn gone(text: &str) -> net::Error {
    net::Error::new(Kind::NotFound, "GET", "").with_text(text)
}

impl FreshLink for FileLink {
    fn fresh(&self, after: u64) -> BoxFuture<'_, Result<Link, net::Error>> {
        Box::pin(async move {
            let mut after = after;
            for tries in 1.. {
                let (edition, asked, links) = self.links.newer(after).await?;
                let same = links.into_iter().find(|l| l.filename == self.filename && l.block_number == self.block);
                let link = same.ok_or_else(|| gone(&format!("the run no longer lists {}", self.filename)))?;
                self.require_same(&link)?;
                self.links.client.require_no_downgrade(&link)?;
                let life = life_of(&link);
                if let Some(url) = link.download_url {
                    return Ok(Link::expiring(SecretUrl::new(url), edition, asked, life));
                }
                if !self.links.client.await_signing(tries).await {
                    let error = Error::NoLink { filename: link.filename, message: link.message };
                    return Err(gone(&error.to_string()));
                }
                after = edition;
            }
            unreachable!("the loop has no end but a return")
        })
    }
}

impl FileLink {
    /// Fails if the API lists the file otherwise than before.
    fn require_same(&self, link: &DownloadLink) -> Result<(), net::Error> {
        let differ = |a: Option<u64>, b: Option<u64>| matches!((a, b), (Some(a), Some(b)) if a != b);
        let what = match () {
            () if differ(self.size_bytes, link.file_size) => "size",
            () if differ(self.row_count, link.row_count) => "row_count",
            () => return Ok(()),
        };
        let url = link.download_url.as_deref().unwrap_or_default();
        let text = format!("the API lists {} with another {what} now", self.filename);
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
        let links = serde_json::from_value(links).unwrap();
        Results { format: ResultFormat::Ndjson, links, messages: Vec::new(), asked: Instant::now() }
    }

    fn opens(client: &Client, names: &[&str]) -> Vec<DownloadRequest> {
        let links: Vec<Value> = names.iter().map(|name| link(name, Some("http://f.test/0"), json!({}))).collect();
        client.opens(&RunId("r1".into()), &results(json!(links)))
    }

    #[tokio::test]
    async fn one_asking_serves_all_who_wait_for_it() {
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
        // Who was refused with the new one too needs a newer one.
        opens[0].fresh.as_ref().unwrap().fresh(2).await.unwrap();
        assert_eq!(server.seen().len(), 2);
        // Who comes later with an old one gets what is there.
        assert_eq!(opens[3].fresh.as_ref().unwrap().fresh(2).await.unwrap().edition, 3);
        assert_eq!(server.seen().len(), 2);
    }

    #[tokio::test]
    async fn a_failure_is_shared_by_those_who_wait_and_asked_again_by_others() {
        let server = Scripted::replies(vec![Reply::new(404, ""), Reply::new(200, "[]")]).await;
        let client = client(&server);
        let opens = opens(&client, &["a", "b", "c"]);
        let waiting = opens.iter().map(|open| open.fresh.as_ref().unwrap().fresh(1));
        let fresh = futures::future::join_all(waiting).await;
        assert!(fresh.iter().all(|link| link.as_ref().unwrap_err().status() == Some(404)));
        assert_eq!(server.seen().len(), 1);
        let error = opens[0].fresh.as_ref().unwrap().fresh(1).await.unwrap_err();
        assert_eq!((error.kind(), error.text()), (Kind::NotFound, "the run no longer lists a"));
        assert_eq!(server.seen().len(), 2);
    }

    #[tokio::test]
    async fn a_file_that_is_listed_otherwise_has_changed() {
        for (more, what) in [(json!({"file_size": 11}), "size"), (json!({"row_count": 4}), "row_count")] {
            let list = json!([link("a", Some("http://f.test/1"), more)]);
            let server = Scripted::replies(vec![Reply::new(200, list.to_string())]).await;
            let open = opens(&client(&server), &["a"]).remove(0);
            let error = open.fresh.unwrap().fresh(1).await.unwrap_err();
            assert_eq!(error.kind(), Kind::Changed);
            assert_eq!(error.text(), format!("the API lists a with another {what} now"));
        }
    }

    #[tokio::test]
    async fn a_link_without_url_is_asked_for_again_and_then_named() {
        let list = |url: Option<&str>| Reply::new(200, json!([link("a", url, json!({}))]).to_string());
        let server = Scripted::replies(vec![list(None), list(None), list(Some("http://f.test/1"))]).await;
        let open = opens(&client(&server), &["a"]).remove(0);
        assert_eq!(open.fresh.unwrap().fresh(1).await.unwrap().url.reveal(), "http://f.test/1");
        let server = Scripted::replies(vec![list(None)]).await;
        let open = opens(&client(&server), &["a"]).remove(0);
        let error = open.fresh.unwrap().fresh(1).await.unwrap_err();
        assert_eq!(error.text(), "the API gives no link to a: signing failed");
        assert_eq!(server.seen().len(), UNSIGNED_TRIES as usize);
    }
}
