//! Outgoing webhooks: one request per event, signed once the user has made a secret, tried again when it is not taken.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::clock::Clock;
use super::config::Config;
use super::rows::{FileRow, ResultFormat, RunRow};
use super::sign::Signer;
use super::store::{self, Store};
use crate::api::{JobEvent, RunId, RunStatus, WebhookEvent};
use crate::net::client_builder;

/// Attempts to deliver one event. Our reading: of the waits 1, 2, 4, 8, 16 s that are told, the last would come before
/// a sixth attempt.
const ATTEMPTS: u32 = 5;

/// The wait after the first attempt; each is twice the one before.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// An answer may take so long, unless a block says otherwise.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// Address of the rows of an `outgoing_webhook` block.
#[derive(Clone, Debug)]
pub(super) struct WebhookTarget {
    /// The address.
    pub url: String,
    /// An attempt may take so long.
    pub timeout: Duration,
}

/// One event on its way.
struct Event {
    /// The same in every attempt: receivers tell repetitions by it.
    pub id: String,
    /// Such as `outgoing_webhook.completed`.
    pub kind: String,
    /// JSON. Its bytes are signed, so they are made once.
    pub body: Vec<u8>,
}

/// Delivers events. Cheap to clone.
#[derive(Clone)]
pub(super) struct Deliverer {
    http: reqwest::Client,
    store: Arc<Store>,
    clock: Clock,
    signer: Arc<Signer>,
    link_life: TimeDelta,
    origin: Arc<OnceLock<String>>,
}

/// Why an event was not delivered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undelivered {
    /// Nobody took it.
    #[error("not delivered to {host} in {tries} attempts: {last}")]
    Refused {
        /// Host and port; the rest of an address may be a secret.
        host: String,
        tries: u32,
        /// What the last attempt came to.
        last: String,
    },
    /// Somebody stopped it.
    #[error("stopped before it was delivered")]
    Stopped,
    #[error("the signing secret cannot be read")]
    Store(#[from] store::Error),
}

impl Deliverer {
    /// A deliverer with the secrets of `store`.
    pub(super) fn new(config: &Config, store: Arc<Store>) -> Self {
        // Another address than the one that was given is not followed to: it was not agreed to.
        let http = client_builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        let http = http.build().expect("nothing outside the process is read to build this client");
        let signer = Arc::new(Signer::new(store.secret()));
        let link_life = TimeDelta::from_std(config.link_life).unwrap_or(TimeDelta::MAX);
        Deliverer { http, store, clock: config.clock.clone(), signer, link_life, origin: Arc::default() }
    }

    /// Says what links in events begin with, once it is known.
    pub(super) fn set_origin(&self, origin: String) {
        let _ = self.origin.set(origin);
    }

    /// Sends the rows of a run's `outgoing_webhook` block: themselves where they are few, else a link to them. Answers
    /// what people should know of it.
    pub(super) async fn send_rows(
        &self,
        run: &RunRow,
        results: Option<Vec<Map<String, Value>>>,
        row_count: u64,
        files: &[FileRow],
        target: &WebhookTarget,
        stopped: impl Fn() -> bool,
    ) -> Result<String, Undelivered> {
        // The format that keeps types, where the run has it.
        let file = files.iter().find(|file| file.format == ResultFormat::Ndjson).or(files.first());
        let link = file.filter(|_| results.is_none()).map(|file| self.link(&run.id, &file.filename));
        let id = Uuid::new_v4().to_string();
        let kind = "outgoing_webhook.completed";
        let body = WebhookEvent {
            event_id: id.clone(),
            event_type: kind.to_owned(),
            run_id: run.id.clone(),
            workflow_id: run.workflow_id.clone(),
            results,
            row_count,
            results_download_url: link,
        };
        let body = serde_json::to_vec(&body).expect("wire types have string keys and no failing parts");
        let event = Event { id, kind: kind.to_owned(), body };
        let tries = self.deliver(&target.url, target.timeout, &event, stopped).await?;
        let host = host_of(&target.url);
        Ok(match tries {
            1 => format!("delivered to {host}"),
            tries => format!("delivered to {host} in attempt {tries} of {ATTEMPTS}"),
        })
    }

    /// Announces the end of a bulk job to where its settings say, if they do. Our reading: nothing is said of one that
    /// was cancelled, and an announcement that nobody takes changes nothing; one that is on its way when the service
    /// stops is lost.
    pub(super) async fn announce(&self, run: &RunRow) {
        let (store, id) = (Arc::clone(&self.store), run.id.clone());
        let url = tokio::task::spawn_blocking(move || store.notify(&id)).await;
        let Ok(Ok(Some(url))) = url else { return };
        let kind = "bulk_intelligence";
        let (status, result, error) = match run.status {
            RunStatus::Completed => ("completed", Some(self.announced(run)), None),
            RunStatus::Failed | RunStatus::TimedOut => {
                let why = run.error_message.clone().unwrap_or_else(|| run.status.as_str().to_owned());
                ("failed", None, Some(why))
            }
            _ => return,
        };
        let body =
            JobEvent { task_id: run.id.clone(), status: status.to_owned(), task_type: kind.to_owned(), result, error };
        let body = serde_json::to_vec(&body).expect("wire types have string keys and no failing parts");
        let event = Event { id: Uuid::new_v4().to_string(), kind: kind.to_owned(), body };
        let _ = self.deliver(&url, TIMEOUT, &event, || false).await;
    }

    /// What an announcement tells of a job that completed: its final files.
    fn announced(&self, run: &RunRow) -> Value {
        let last = run.blocks.last();
        let files = last.into_iter().flat_map(|block| &block.files).map(|file| {
            let link = self.link(&run.id, &file.filename);
            json!({ "filename": file.filename, "row_count": file.rows, "download_url": link })
        });
        json!({ "row_count": last.map_or(0, |block| block.row_count), "results": files.collect::<Vec<_>>() })
    }

    fn link(&self, run: &RunId, filename: &str) -> String {
        let expires = (self.clock.now() + self.link_life).timestamp();
        format!("{}{}", self.origin.get().map_or("", String::as_str), self.signer.link(run, filename, expires))
    }

    /// Delivers `event`, trying again for a while unless `stopped`. Answers the number of attempts.
    async fn deliver(
        &self,
        url: &str,
        timeout: Duration,
        event: &Event,
        stopped: impl Fn() -> bool,
    ) -> Result<u32, Undelivered> {
        let body = bytes::Bytes::from(event.body.clone());
        let mut wait = FIRST_WAIT;
        let mut last = String::new();
        for attempt in 1..=ATTEMPTS {
            if stopped() {
                return Err(Undelivered::Stopped);
            }
            let mut request = self
                .http
                .post(url)
                .timeout(timeout)
                .header("content-type", "application/json")
                .header("user-agent", concat!("drawoff/", env!("CARGO_PKG_VERSION")))
                .header("sixtyfour-event-id", &event.id)
                .header("sixtyfour-event-type", &event.kind)
                .header("sixtyfour-delivery-attempt", attempt.to_string());
            let now = self.clock.now();
            // Anew for each attempt: receivers refuse an old time.
            if let Some(secrets) = self.store.signing_secrets()? {
                request = request.header("sixtyfour-signature", secrets.sign(now, &body));
            }
            match request.body(body.clone()).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(attempt),
                Ok(answer) => last = format!("it answers {}", answer.status().as_u16()),
                Err(error) if error.is_timeout() => last = format!("no answer within {} s", timeout.as_secs_f64()),
                Err(error) if error.is_connect() => last = "no connection".to_owned(),
                Err(_) => last = "the connection broke".to_owned(),
            }
            if attempt < ATTEMPTS {
                self.clock.sleep(wait, &stopped).await;
                wait *= 2;
            }
        }
        Err(Undelivered::Refused { host: host_of(url), tries: ATTEMPTS, last })
    }
}

/// Host and port of an address: its path and query may hold a secret.
pub(super) fn host_of(url: &str) -> String {
    let url = url::Url::parse(url).ok();
    let host = url.as_ref().and_then(|url| Some((url.host_str()?, url.port())));
    match host {
        Some((host, Some(port))) => format!("{host}:{port}"),
        Some((host, None)) => host.to_owned(),
        None => "the address".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_without_what_may_be_secret() {
        assert_eq!(host_of("https://u:p@hooks.test:8443/a/secret?k=v"), "hooks.test:8443");
        assert_eq!(host_of("https://hooks.test/a"), "hooks.test");
    }
}
