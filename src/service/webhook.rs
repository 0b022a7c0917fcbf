//! Outgoing webhooks: one request per event, signed if the user has created a secret, retried until the receiver
//! accepts it or the attempts are exhausted. Nothing is queued on disk: an event that is being delivered when the
//! service stops is lost.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use chrono::TimeDelta;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::clock::Clock;
use super::config::Config;
use super::directories::Directories;
use super::rows::{FileRow, ResultFormat, RunRow};
use super::sign::Signer;
use super::single;
use super::store::{self, Store};
use crate::api::{JobEvent, RunId, RunStatus, WebhookEvent};
use crate::net::client_builder;

/// Attempts to deliver one event. Our reading: of the documented waits 1, 2, 4, 8, 16 s, the last would precede a sixth
/// attempt.
const ATTEMPTS: u32 = 5;

/// Wait after the first attempt; each further wait is twice as long.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Time limit of one attempt, unless the block specifies another.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

/// Receiver of the rows of an `outgoing_webhook` block.
#[derive(Clone, Debug)]
pub(super) struct WebhookTarget {
    /// Address to post the event to.
    pub url: String,
    /// Time limit of one attempt.
    pub timeout: Duration,
}

/// Event that is being delivered.
struct Event {
    /// Id of the event, the same in every attempt, by which receivers recognize repetitions.
    pub id: String,
    /// Type of the event, such as `outgoing_webhook.completed`.
    pub kind: String,
    /// JSON body. Serialized once, because its bytes are signed.
    pub body: Vec<u8>,
}

/// Sender of events. Cheap to clone.
#[derive(Clone)]
pub(super) struct Deliverer {
    http: reqwest::Client,
    store: Arc<Store>,
    directories: Directories,
    clock: Clock,
    signer: Arc<Signer>,
    link_life: TimeDelta,
    /// Base URL of links in events; set when the service has bound its address.
    origin: Arc<OnceLock<String>>,
}

/// Reason why an event was not delivered.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undelivered {
    /// The receiver accepted the event in no attempt.
    #[error("cannot deliver to {host}: {tries} attempts failed, the last one because {last}")]
    Refused {
        /// Host and port; the rest of the address may contain a secret.
        host: String,
        tries: u32,
        /// Cause of the last failure, a clause such as `the receiver responded with status 503`.
        last: String,
    },
    /// The run was stopped before an attempt succeeded.
    #[error("stopped before the event was delivered")]
    Stopped,
    #[error("cannot read the signing secret")]
    Store(#[from] store::Error),
}

impl Deliverer {
    /// Creates a deliverer that signs with the secrets of `store`, and reads results in `directories`.
    pub(super) fn new(config: &Config, store: Arc<Store>, directories: Directories) -> Self {
        // Redirects are not followed: rows go only to the address that the user specified.
        let http = client_builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
        let http = http.build().expect("nothing outside the process is read to build this client");
        let signer = Arc::new(Signer::new(store.secret()));
        let link_life = TimeDelta::from_std(config.link_life).unwrap_or(TimeDelta::MAX);
        Deliverer { http, store, directories, clock: config.clock.clone(), signer, link_life, origin: Arc::default() }
    }

    /// Sets the base URL of links in events. Later calls have no effect.
    pub(super) fn set_origin(&self, origin: String) {
        let _ = self.origin.set(origin);
    }

    /// Sends the rows of a run's `outgoing_webhook` block: inline if `results` has them, else as a link to their file.
    /// Returns a note on the delivery. `stopped` is polled before each attempt and during the waits.
    pub(super) async fn send_rows(
        &self,
        run: &RunRow,
        results: Option<Vec<Map<String, Value>>>,
        row_count: u64,
        files: &[FileRow],
        target: &WebhookTarget,
        stopped: impl Fn() -> bool,
    ) -> Result<String, Undelivered> {
        // NDJSON keeps types, so it is preferred if the run has it.
        let file = files.iter().find(|file| file.format == ResultFormat::Ndjson).or(files.first());
        let link = file.filter(|_| results.is_none()).map(|file| self.link(&run.id, file.filename.as_str()));
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

    /// Notifies the `webhook_url` of a bulk job, if it has one, of the job's end. Our reading: a cancelled job sends no
    /// event, and a failed delivery has no effect on the job.
    pub(super) async fn announce(&self, run: &RunRow) {
        // The store blocks on the disk, so it is read on a blocking thread.
        let (store, id) = (Arc::clone(&self.store), run.id.clone());
        let url = tokio::task::spawn_blocking(move || store.notify(&id)).await;
        let Ok(Ok(Some(url))) = url else { return };
        let kind = match run.is_single {
            false => "bulk_intelligence".to_owned(),
            // `people_intelligence`, as the path.
            true => run.workflow_name.to_ascii_lowercase().replace(' ', "_"),
        };
        let (status, result, error) = match run.status {
            RunStatus::Completed if run.is_single => ("completed", self.single_result(run).await, None),
            RunStatus::Completed => ("completed", Some(self.job_result(run)), None),
            RunStatus::Failed | RunStatus::TimedOut => {
                let cause = run.error_message.clone().unwrap_or_else(|| run.status.as_str().to_owned());
                ("failed", None, Some(cause))
            }
            _ => return,
        };
        let body =
            JobEvent { task_id: run.id.clone(), status: status.to_owned(), task_type: kind.clone(), result, error };
        let body = serde_json::to_vec(&body).expect("wire types have string keys and no failing parts");
        let event = Event { id: Uuid::new_v4().to_string(), kind, body };
        let _ = self.deliver(&url, TIMEOUT, &event, || false).await;
    }

    /// Returns the `result` of a completed job's event: links to the files of its last block.
    fn job_result(&self, run: &RunRow) -> Value {
        let last = run.blocks.last();
        let files = last.into_iter().flat_map(|block| &block.files).map(|file| {
            let link = self.link(&run.id, file.filename.as_str());
            json!({ "filename": file.filename, "row_count": file.rows, "download_url": link })
        });
        json!({ "row_count": last.map_or(0, |block| block.row_count), "results": files.collect::<Vec<_>>() })
    }

    /// Returns the `result` of a completed request about one person or company; `None` if its rows cannot be read.
    async fn single_result(&self, run: &RunRow) -> Option<Value> {
        let (store, directories, run) = (Arc::clone(&self.store), self.directories.clone(), run.clone());
        let read = tokio::task::spawn_blocking(move || single::result(&store, &directories, &run));
        serde_json::to_value(read.await.ok()?.ok()?).ok()
    }

    fn link(&self, run: &RunId, filename: &str) -> String {
        let expires = (self.clock.now() + self.link_life).timestamp();
        format!("{}{}", self.origin.get().map_or("", String::as_str), self.signer.link(run, filename, expires))
    }

    /// Posts `event` until the receiver responds with 2xx, [`ATTEMPTS`] are exhausted or `stopped` returns true.
    /// Returns the number of attempts.
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
            // The signature covers the time, which receivers check: sign each attempt anew.
            if let Some(secrets) = self.store.signing_secrets()? {
                request = request.header("sixtyfour-signature", secrets.sign(now, &body));
            }
            match request.body(body.clone()).send().await {
                Ok(response) if response.status().is_success() => return Ok(attempt),
                Ok(response) => {
                    last = format!("the receiver responded with status {}", response.status().as_u16());
                }
                Err(error) if error.is_timeout() => {
                    last = format!("the receiver did not respond within {} s", timeout.as_secs_f64());
                }
                Err(error) if error.is_connect() => last = "the connection was not established".to_owned(),
                Err(_) => last = "the connection was lost".to_owned(),
            }
            // The service's clock sleeps, so tests can advance it, and returns early once `stopped`.
            if attempt < ATTEMPTS {
                self.clock.sleep(wait, &stopped).await;
                wait *= 2;
            }
        }
        Err(Undelivered::Refused { host: host_of(url), tries: ATTEMPTS, last })
    }
}

/// Returns the host and port of an address for messages: its path and query may contain a secret.
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
    fn messages_name_only_the_host_and_port_of_an_address() {
        assert_eq!(host_of("https://u:p@hooks.test:8443/a/secret?k=v"), "hooks.test:8443");
        assert_eq!(host_of("https://hooks.test/a"), "hooks.test");
    }
}
