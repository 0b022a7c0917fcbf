//! Starts and stops a service.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::app::App;
use super::config::Config;
use super::directories::Directories;
use super::engine::Engine;
use super::enrich;
use super::enrichment_sources::EnrichmentSources;
use super::faults::Faults;
use super::notebooks;
use super::rate::RateLimit;
use super::retention::Retention;
use super::routes;
use super::rows::{JobRow, RunRow};
use super::sign::Signer;
use super::store::{self, Store};
use crate::secret::ApiKey;

/// Keys that may be given to the page within a minute. By eye: a person mistypes less often.
const LOGINS_PER_MINUTE: u32 = 30;

/// Why a service did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Other machines could reach it, and any key would do.
    #[error("{bind} can be reached from other machines: name an API key that requests must carry")]
    OpenToAll {
        /// The address asked for.
        bind: SocketAddr,
    },
    /// The key asked for is empty, so that no request could carry it.
    #[error("the API key is empty")]
    EmptyKey,
    /// The address cannot be listened on.
    #[error("cannot listen on {bind}")]
    Bind {
        /// The address.
        bind: SocketAddr,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The data folder cannot be used.
    #[error("cannot use the data folder {}", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        cause: io::Error,
    },
    /// The store cannot be opened. Says so itself when another service has it.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A reference table cannot be loaded.
    #[error(transparent)]
    Enrich(#[from] enrich::Error),
}

/// A running service. Dropping it stops it without waiting; [`Service::stop`] waits.
pub struct Service {
    address: SocketAddr,
    pub(super) engine: Arc<Engine>,
    /// Dropped to end the server.
    running: Option<oneshot::Sender<()>>,
    server: JoinHandle<io::Result<()>>,
    sweeping: JoinHandle<()>,
    grace: Duration,
    run_grace: Duration,
}

impl Service {
    /// Opens the data folder, fails the runs that an earlier service left unfinished, begins those that it had not begun,
    /// loads the reference tables and begins to listen. Needs a tokio runtime with its I/O and time enabled,
    /// which must live as long as the service.
    pub async fn start(config: Config) -> Result<Service, Error> {
        let bind = config.bind;
        let key = config.api_key.as_ref();
        if key.is_some_and(ApiKey::is_empty) {
            return Err(Error::EmptyKey);
        }
        if key.is_none() && !bind.ip().is_loopback() {
            return Err(Error::OpenToAll { bind });
        }
        let Opened { config, store, folders, sources, waiting } = open(config).await?;
        let failed = |cause| Error::Bind { bind, cause };
        let listener = TcpListener::bind(bind).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (grace, run_grace) = (config.stop_grace, config.run_grace);
        let faults = Arc::new(Faults::new(config.faults.clone()));
        let (retain, clock) = (config.retain, config.clock.clone());
        let retention = Retention { retain, store: Arc::clone(&store), folders: folders.clone(), clock };
        let sweeping = tokio::spawn(sweep(retention.clone()));
        let engine = Arc::new(Engine::new(
            &config,
            Arc::clone(&store),
            folders.clone(),
            sources,
            Arc::clone(&faults),
            retention,
        ));
        engine.deliverer().set_origin(base_url(address));
        let resuming = Arc::clone(&engine);
        let resumed = tokio::task::spawn_blocking(move || {
            waiting.into_iter().try_for_each(|(row, job)| resuming.resume(row, job))
        });
        resumed.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        let app = App {
            signer: Signer::new(store.secret()),
            faults,
            address,
            rate_limit: RateLimit::new(config.rate_limit, config.clock.clone()),
            bulk_limit: RateLimit::new(config.bulk_limit, config.clock.clone()),
            login_limit: RateLimit::new(LOGINS_PER_MINUTE, config.clock.clone()),
            requests: Semaphore::new(config.max_requests.clamp(1, Semaphore::MAX_PERMITS)),
            engine: Arc::clone(&engine),
            store,
            folders,
            config,
        };
        let router = routes::router(Arc::new(app));
        let (running, ended) = oneshot::channel::<()>();
        // A poll's answer is one small packet, which must not wait for another.
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        let server = tokio::spawn(async move {
            let ended = async {
                let _ = ended.await;
            };
            axum::serve(listener, router).with_graceful_shutdown(ended).await
        });
        Ok(Service { address, engine, running: Some(running), server, sweeping, grace, run_grace })
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What clients put before the paths of the API, such as `http://127.0.0.1:8064`.
    pub fn base_url(&self) -> String {
        base_url(self.address)
    }

    /// Stops: takes no more connections, leaves runs that wait to the next start, gives those under way
    /// [`Config::run_grace`] to end, cancels the rest, and gives downloads that are under way [`Config::stop_grace`] to
    /// finish.
    pub async fn stop(mut self) {
        self.running = None;
        self.sweeping.abort();
        self.engine.stop(self.run_grace).await;
        if tokio::time::timeout(self.grace, &mut self.server).await.is_err() {
            self.server.abort();
            let _ = (&mut self.server).await;
        }
        // A request that came in before the end may have started one more.
        self.engine.stop(Duration::ZERO).await;
    }
}

fn base_url(mut address: SocketAddr) -> String {
    // Clients on this machine cannot connect to "all addresses".
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    format!("http://{address}")
}

impl Drop for Service {
    fn drop(&mut self) {
        self.sweeping.abort();
        self.engine.cancel_all();
    }
}

/// Between two looks for runs that are too old; the end of a run is another occasion.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// Removes old runs at the start and now and then, until it is aborted.
async fn sweep(retention: Retention) {
    while retention.retain.is_some() {
        let once = retention.clone();
        // What cannot be removed now goes another time.
        let _ = tokio::task::spawn_blocking(move || once.sweep()).await;
        tokio::time::sleep(SWEEP_INTERVAL).await;
    }
}

/// What is on disk.
struct Opened {
    config: Config,
    store: Arc<Store>,
    folders: Directories,
    sources: EnrichmentSources,
    /// Runs that an earlier service did not begin.
    waiting: Vec<(RunRow, JobRow)>,
}

/// Opens what is on disk, on a thread that may block.
async fn open(config: Config) -> Result<Opened, Error> {
    let opened = tokio::task::spawn_blocking(move || {
        let root = &config.data_dir;
        let failed = |cause| Error::Folder { folder: root.clone(), cause };
        let folders = Directories::make(root).map_err(failed)?;
        let store = Store::open(root, config.clock.now())?;
        let interrupted = store.fail_interrupted(config.clock.now())?;
        let is_run = |id: &_| store.run(id).map_or(true, |run| run.is_some());
        let is_upload = |handle: &_| store.upload(handle).map_or(true, |upload| upload.is_some());
        folders.clear_up(&interrupted, is_run, is_upload).map_err(failed)?;
        notebooks::clear_up(&folders.notebooks(), &store.notebooks()?).map_err(failed)?;
        let sources = enrich::load(&config, &folders.tmp())?;
        let waiting = store.waiting()?;
        Ok(Opened { config, store: Arc::new(store), folders, sources, waiting })
    });
    opened.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
