//! The configuration of a service: plain structs, filled in once by the caller and read-only from then on. Parses no
//! flags and reads no environment; both are the command line's.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::{Backend, Clock, CommandLine, OnRequest, Retain, Scenario};
use crate::api::CreateWorkflow;
use crate::pipeline::Limits;
use crate::secret::ApiKey;

/// Configuration of a service, read once at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address to listen on; port 0 picks a free one. Default 127.0.0.1:0. An address that other
    /// machines can reach is rejected without an `api_key`.
    pub bind: SocketAddr,
    /// Directory of the store, the uploads and the results; created if absent.
    pub data_dir: PathBuf,
    /// The key that requests must carry; `None` accepts any key that is not empty.
    pub api_key: Option<ApiKey>,
    /// Host names that requests may have besides IP addresses and `localhost`. None by default; then a service with an
    /// `api_key` accepts every name.
    pub allow_hosts: Vec<String>,
    /// Origins of web pages that may use the API from a browser, such as `http://localhost:3000`. None by default: pages of
    /// other origins can neither read a response nor change anything.
    pub allow_origins: Vec<String>,
    /// Reference tables of enrichment blocks; none by default.
    pub enrich: Vec<EnrichTable>,
    /// The user's own HTTP endpoints in place of providers; none by default.
    pub endpoints: Vec<EnrichEndpoint>,
    /// Largest file of a reference table, in bytes: tables are held in memory. Default 256 MiB.
    pub max_enrich_bytes: u64,
    /// Lifetime of a signed link. Default 900 s, as the vendor has it.
    pub link_life: Duration,
    /// Largest upload in bytes; a larger one is rejected with 413. Default and `u64::MAX`: no limit.
    pub max_upload_bytes: u64,
    /// Most rows of an upload; more are rejected with 422. Default and `u64::MAX`: no limit.
    pub max_upload_rows: u64,
    /// Largest JSON body in bytes that is held in memory; a larger one is rejected with 413. Default 32 MiB. The body of
    /// a request that starts a run is not held in memory and has no limit.
    pub max_body_bytes: usize,
    /// Requests per minute and key; one more is rejected with 429. Default 0: no limit.
    pub rate_limit: u32,
    /// Starts of bulk jobs per minute and key; one more is rejected with 429. Default 0: no limit.
    pub bulk_limit: u32,
    /// Concurrent requests; one more is rejected with 503. Default 512.
    pub max_requests: usize,
    /// Connections at a time; one more takes the place of the one that has been silent for longest. Default 1024, at
    /// most half of the files that the process may have open.
    pub max_connections: usize,
    /// Time after which a connection is closed that has sent no complete head of a request. Default 30 s.
    pub idle_time: Duration,
    /// Timeout of a request that neither uploads nor downloads a file; then it gets a 408. Default 60 s.
    pub request_time: Duration,
    /// Longest pause between two reads of an upload; then it gets a 408. Default 60 s.
    pub upload_stall: Duration,
    /// Concurrent runs; further ones wait as `queued`. Default 2, at least 1.
    pub max_runs: usize,
    /// Queued runs; one more is rejected with 429. Default 10,000, which bounds memory: some 10 KiB each.
    pub max_waiting_runs: usize,
    /// Limits of the blocks' executions; the concurrent runs share memory and threads evenly.
    pub limits: Limits,
    /// Workflows to start with: those with the same ids are replaced. None by default.
    pub workflows: Vec<CreateWorkflow>,
    /// Files to start with as uploads, whose handles follow from their names. None by default.
    pub uploads: Vec<PathBuf>,
    /// Source of the API's responses. Default: the service itself.
    pub backend: Backend,
    /// Faults to inject; none by default.
    pub faults: Scenario,
    /// True to serve the paths below `/admin`. Default false.
    pub admin: bool,
    /// Retention of ended runs; `None`, the default, keeps all.
    pub retain: Option<Retain>,
    /// Time that [`super::Service::stop`] waits for active runs before it cancels them. Default 0.
    pub run_grace: Duration,
    /// Time that [`super::Service::stop`] waits for active downloads. Default 5 s.
    pub stop_grace: Duration,
    /// The source of time; the system's clock by default.
    pub clock: Clock,
    /// Called with each request once the head of its response is known; `None`, the default, calls nothing. It must not
    /// block: the response waits for it.
    pub on_request: Option<OnRequest>,
    /// Writes the command lines of a client that the page shows beside those of curl; `None`, the default, shows those of
    /// curl alone.
    pub command_line: Option<CommandLine>,
}

/// An HTTP endpoint in place of a block's provider. It receives the block's rows in batches.
#[derive(Clone, Debug)]
pub struct EnrichEndpoint {
    /// Name of the block, such as `find_email`.
    pub block: String,
    /// Address of the endpoint: https, or http on this machine.
    pub url: Url,
}

/// A reference table in place of an enrichment block's provider.
#[derive(Clone, Debug)]
pub struct EnrichTable {
    /// Name of the block, such as `company_enrichment`; the table of `search` holds all rows that can be found.
    pub block: String,
    /// Path of the table: CSV, NDJSON or a JSON array of objects.
    pub path: PathBuf,
    /// Key column to join on, in the table and in the rows to enrich. Empty for `search`.
    pub key: String,
}

/// Limits on clients, as the vendor states them for its hosted service.
impl Config {
    /// Requests per minute and key.
    pub const HOSTED_RATE_LIMIT: u32 = 500;
    /// Starts of bulk jobs per minute.
    pub const HOSTED_BULK_LIMIT: u32 = 10;
    /// Bytes of an upload: stated for bulk jobs, and nothing is stated for plain uploads.
    pub const HOSTED_MAX_UPLOAD_BYTES: u64 = 100 << 20;
    /// Rows of an upload, likewise.
    pub const HOSTED_MAX_UPLOAD_ROWS: u64 = 100_000;

    /// Returns the configuration with the limits of the hosted service.
    #[must_use]
    pub fn like_hosted(self) -> Self {
        Config {
            rate_limit: Config::HOSTED_RATE_LIMIT,
            bulk_limit: Config::HOSTED_BULK_LIMIT,
            max_upload_bytes: Config::HOSTED_MAX_UPLOAD_BYTES,
            max_upload_rows: Config::HOSTED_MAX_UPLOAD_ROWS,
            ..self
        }
    }
}

impl Config {
    /// Returns the default configuration for `data_dir`. It has no limits on the size, the rows and the rate of
    /// requests: a local service does not stand in the way of its user.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Config {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            data_dir: data_dir.into(),
            api_key: None,
            allow_hosts: Vec::new(),
            allow_origins: Vec::new(),
            enrich: Vec::new(),
            endpoints: Vec::new(),
            max_enrich_bytes: 256 << 20,
            link_life: Duration::from_secs(900),
            max_upload_bytes: u64::MAX,
            max_upload_rows: u64::MAX,
            max_body_bytes: 32 << 20,
            rate_limit: 0,
            bulk_limit: 0,
            max_requests: 512,
            max_connections: 1024,
            idle_time: Duration::from_secs(30),
            request_time: Duration::from_secs(60),
            upload_stall: Duration::from_secs(60),
            max_runs: 2,
            max_waiting_runs: 10_000,
            limits: Limits::default(),
            workflows: Vec::new(),
            uploads: Vec::new(),
            backend: Backend::Local,
            faults: Scenario::default(),
            admin: false,
            retain: None,
            run_grace: Duration::ZERO,
            stop_grace: Duration::from_secs(5),
            clock: Clock::default(),
            on_request: None,
            command_line: None,
        }
    }
}
