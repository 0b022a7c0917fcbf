//! Start and stop of a service: opens the data directory, recovers the runs of an earlier service, binds the listener
//! and spawns the server and the retention sweep. Handles no request itself.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{RwLock, Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::app::App;
use super::archive::{self, ArchiveSummary, Error as ArchiveError};
use super::config::Config;
use super::connections::{self, ConnectionLimits};
use super::directories::Directories;
use super::engine::{Engine, Recovered, recover};
use super::enrich;
use super::enrichment_sources::EnrichmentSources;
use super::faults::Faults;
use super::hosted::Hosted;
use super::hosts::Hosts;
use super::in_force::InForce;
use super::journal::Journal;
use super::notebooks;
use super::private_files;
use super::rate::RateLimit;
use super::retention::Retention;
use super::routes;
use super::rows::{JobRow, RunRow};
use super::seeds::{self, Seeded};
use super::sessions::Sessions;
use super::sign::Signer;
use super::store::{self, Baseline, Store};
use crate::secret::ApiKey;

/// Login attempts at the page per minute. By eye: more than a person mistypes, too few to guess a key.
const LOGINS_PER_MINUTE: u32 = 30;

/// Payloads of many rows that are received at a time; further ones wait. Each holds a few chunks and one row.
const PAYLOADS_AT_ONCE: usize = 4;

/// An error of the start of a service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Other machines could reach the address, and any API key would be accepted.
    #[error("cannot listen on {bind} without an API key: other machines can reach this address; specify an API key")]
    OpenToAll {
        /// The configured address.
        bind: SocketAddr,
    },
    /// The configured API key is empty, so that no request could carry it.
    #[error("the API key is empty")]
    EmptyKey,
    /// The listener cannot be bound, for example because the port is in use.
    #[error("cannot listen on {bind}")]
    Bind {
        /// The configured address.
        bind: SocketAddr,
        /// The I/O error.
        #[source]
        cause: io::Error,
    },
    /// The data directory cannot be created, read or cleaned up.
    #[error("cannot use the data directory {}", directory.display())]
    DataDirectory {
        /// Path of the data directory.
        directory: PathBuf,
        /// The I/O error.
        #[source]
        cause: io::Error,
    },
    /// The store cannot be opened; locked while another service has it open.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The directory of recorded pairs cannot be read or created, or is not one.
    #[error("cannot use the recorded requests in {}", directory.display())]
    Recorded {
        /// Path of the directory.
        directory: PathBuf,
        /// The I/O error.
        #[source]
        cause: io::Error,
    },
    /// A reference table cannot be loaded.
    #[error(transparent)]
    Enrich(#[from] enrich::Error),
    /// A workflow or upload to start with cannot be added.
    #[error(transparent)]
    Seed(#[from] seeds::Error),
}

/// A running service. Dropping it stops it without waiting; [`Service::stop`] waits.
pub struct Service {
    address: SocketAddr,
    data_is_open_to_others: bool,
    seeded: Vec<Seeded>,
    in_force: InForce,
    app: Arc<App>,
    pub(super) engine: Arc<Engine>,
    /// Kept for an export after the stop.
    store: Arc<Store>,
    directories: Directories,
    /// Dropped to shut the server down; `None` after that.
    shutdown: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
    sweep_task: JoinHandle<()>,
    schedule_task: JoinHandle<()>,
    stop_grace: Duration,
    run_grace: Duration,
}

impl Service {
    /// Opens the data directory, submits the runs that an earlier service left without an end (those with an effect outside
    /// of them have failed), adds the workflows and uploads to start with, loads the reference tables and starts to listen. Needs a tokio runtime with I/O and time enabled, which must
    /// live as long as the service.
    ///
    /// # Examples
    ///
    /// ```
    /// use drawoff::client::Client;
    /// use drawoff::secret::ApiKey;
    /// use drawoff::service::{Config, Service};
    ///
    /// # #[tokio::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let data = tempfile::tempdir()?;
    /// // Port 0 of 127.0.0.1, unless `Config::bind` is set.
    /// let service = Service::start(Config::new(data.path())).await?;
    ///
    /// let client = Client::connect(service.base_url().parse()?, Some(ApiKey::new("any")));
    /// assert!(client.workflows().await?.is_empty());
    /// service.stop().await;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn start(config: Config) -> Result<Service, Error> {
        let bind = config.bind;
        let key = config.api_key.as_ref();
        if key.is_some_and(ApiKey::is_empty) {
            return Err(Error::EmptyKey);
        }
        if key.is_none() && !bind.ip().is_loopback() {
            return Err(Error::OpenToAll { bind });
        }
        let Opened { config, store, directories, data_is_open_to_others, sources, waiting, seeded, baseline, hosted } =
            open(config).await?;
        let failed = |cause| Error::Bind { bind, cause };
        let listener = TcpListener::bind(bind).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (stop_grace, run_grace) = (config.stop_grace, config.run_grace);
        let limits = ConnectionLimits::within_process(config.max_connections, config.idle_time);
        let faults = Arc::new(Faults::new(config.faults.clone()));
        let (retain, clock) = (config.retain, config.clock.clone());
        let retention = Retention { retain, store: Arc::clone(&store), directories: directories.clone(), clock };
        let sweep_task = tokio::spawn(sweep(retention.clone()));
        let engine = Arc::new(Engine::new(
            &config,
            Arc::clone(&store),
            directories.clone(),
            sources,
            Arc::clone(&faults),
            retention,
        ));
        // Runs that are resumed may deliver webhooks, whose links need the origin.
        engine.deliverer().set_origin(base_url(address));
        let resuming_engine = Arc::clone(&engine);
        let resumed = tokio::task::spawn_blocking(move || {
            waiting.into_iter().try_for_each(|(row, job)| resuming_engine.resume(row, job))
        });
        resumed.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        let in_force = InForce::of(&config, &faults);
        let app = Arc::new(App {
            hosted,
            journal: Journal::new(config.on_request.clone()),
            baseline,
            resetting: RwLock::new(()),
            sessions: Sessions::default(),
            payload_permits: Semaphore::new(PAYLOADS_AT_ONCE),
            signer: Signer::new(store.secret()),
            hosts: Hosts::new(&config.allow_hosts, &config.allow_origins, config.api_key.is_some()),
            faults,
            address,
            rate_limit: RateLimit::new(config.rate_limit, config.clock.clone()),
            bulk_limit: RateLimit::new(config.bulk_limit, config.clock.clone()),
            login_limit: RateLimit::new(LOGINS_PER_MINUTE, config.clock.clone()),
            request_permits: Semaphore::new(config.max_requests.clamp(1, Semaphore::MAX_PERMITS)),
            engine: Arc::clone(&engine),
            store: Arc::clone(&store),
            directories: directories.clone(),
            config,
        });
        let router = routes::router(Arc::clone(&app));
        let schedule_task = tokio::spawn(routes::run_schedules(Arc::clone(&app)));
        let (shutdown, shutdown_signal) = oneshot::channel::<()>();
        let server = tokio::spawn(connections::serve(listener, router, limits, async {
            let _ = shutdown_signal.await;
        }));
        Ok(Service {
            address,
            data_is_open_to_others,
            seeded,
            in_force,
            app,
            engine,
            store,
            directories,
            shutdown: Some(shutdown),
            server,
            sweep_task,
            schedule_task,
            stop_grace,
            run_grace,
        })
    }

    /// Returns the address that the service listens on, with the port that was picked for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the base URL for clients on this machine, such as `http://127.0.0.1:8064`.
    pub fn base_url(&self) -> String {
        base_url(self.address)
    }

    /// Returns true if other users of this machine can list or change the data directory itself, because it existed with
    /// such permissions. They cannot read what the service keeps in it, but those who can write may replace it.
    pub fn data_is_open_to_others(&self) -> bool {
        self.data_is_open_to_others
    }

    /// Returns the workflows and uploads that the service was started with, uploads first.
    pub fn seeded(&self) -> &[Seeded] {
        &self.seeded
    }

    /// Returns a line each on the limits, the faults and the clock that are in force at the start.
    pub fn in_force(&self) -> Vec<String> {
        self.in_force.lines()
    }

    /// Returns lines on what a proxy has handed on and a replay has answered, and on the differences from the contract; none
    /// for a service that answers itself.
    pub fn hosted_summary(&self) -> Vec<String> {
        self.app.hosted.as_ref().map(Hosted::summary).unwrap_or_default()
    }

    /// Stops the service as [`Service::stop`] does, and then exports its state to `path`.
    pub async fn stop_and_export(self, path: PathBuf) -> Result<ArchiveSummary, ArchiveError> {
        let (store, directories) = (Arc::clone(&self.store), self.directories.clone());
        self.stop().await;
        let exported = tokio::task::spawn_blocking(move || archive::export_store(&store, &directories, &path));
        exported.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }

    /// Stops the service: accepts no more connections, leaves queued runs to the next start, gives active runs
    /// [`Config::run_grace`] to end before it cancels or requeues them, and gives active downloads
    /// [`Config::stop_grace`] to complete.
    pub async fn stop(mut self) {
        self.shutdown = None;
        self.sweep_task.abort();
        self.schedule_task.abort();
        self.engine.stop(self.run_grace).await;
        if tokio::time::timeout(self.stop_grace, &mut self.server).await.is_err() {
            self.server.abort();
            let _ = (&mut self.server).await;
        }
        // A request that was still active may have started another run since the first stop of the engine.
        self.engine.stop(Duration::ZERO).await;
    }
}

fn base_url(mut address: SocketAddr) -> String {
    // Not every system connects to the unspecified address (0.0.0.0, ::), so it becomes loopback.
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    format!("http://{address}")
}

impl Drop for Service {
    fn drop(&mut self) {
        self.sweep_task.abort();
        self.schedule_task.abort();
        self.engine.cancel_all();
    }
}

/// Interval of the retention sweep; the end of each run triggers one too.
const SWEEP_INTERVAL: Duration = Duration::from_secs(30);

/// Deletes old runs at the start and then every [`SWEEP_INTERVAL`], until it is aborted. Returns at once if all runs
/// are retained.
async fn sweep(retention: Retention) {
    while retention.retain.is_some() {
        let once = retention.clone();
        // A failed sweep is repeated by the next one.
        let _ = tokio::task::spawn_blocking(move || once.sweep()).await;
        tokio::time::sleep(SWEEP_INTERVAL).await;
    }
}

/// The opened data directory and everything that was loaded at the start.
struct Opened {
    config: Config,
    store: Arc<Store>,
    directories: Directories,
    data_is_open_to_others: bool,
    sources: EnrichmentSources,
    /// Runs that an earlier service left without an end and that begin now, in the order of their start.
    waiting: Vec<(RunRow, JobRow)>,
    seeded: Vec<Seeded>,
    /// State for a reset; `None` without administration.
    baseline: Option<Baseline>,
    hosted: Option<Hosted>,
}

/// Opens the data directory, recovers from a crash and loads the reference tables, on a blocking thread.
async fn open(config: Config) -> Result<Opened, Error> {
    let opened = tokio::task::spawn_blocking(move || {
        let root = &config.data_dir;
        let failed = |cause| Error::DataDirectory { directory: root.clone(), cause };
        let directories = Directories::create(root).map_err(failed)?;
        let data_is_open_to_others = private_files::is_open_to_others(root).map_err(failed)?;
        let store = Store::open(root, config.clock.now())?;
        // The ends of runs are decided before the clean-up, which removes the partial files of exactly these runs.
        let Recovered { waiting, rewound, failed: interrupted } = recover(&store, config.clock.now())?;
        // If a row cannot be read, its files are kept.
        let is_run = |id: &_| store.run(id).map_or(true, |run| run.is_some());
        let is_upload = |handle: &_| store.upload(handle).map_or(true, |upload| upload.is_some());
        directories.remove_leftovers(&interrupted, &rewound, is_run, is_upload).map_err(failed)?;
        notebooks::remove_leftovers(&directories.notebooks(), &store.notebooks()?).map_err(failed)?;
        let sources = enrich::load(&config, &directories.tmp())?;
        let seeded = seeds::install(&config, &store, &directories)?;
        let baseline = if config.admin { Some(store.baseline()?) } else { None };
        let store = Arc::new(store);
        let failed = |(directory, cause)| Error::Recorded { directory, cause };
        let hosted = Hosted::open(&config.backend).map_err(failed)?;
        Ok(Opened { config, store, directories, data_is_open_to_others, sources, waiting, seeded, baseline, hosted })
    });
    opened.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}
