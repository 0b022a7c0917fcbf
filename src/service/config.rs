//! What a service is started with.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use super::{Clock, Retain, Scenario};
use crate::pipeline::Limits;
use crate::secret::ApiKey;

/// Settings of a service; read once at its start.
#[derive(Clone, Debug)]
pub struct Config {
    /// Address to listen on; port 0 picks a free one. Default 127.0.0.1:0. An address that other
    /// machines can reach is refused without an `api_key`.
    pub bind: SocketAddr,
    /// Folder of the store, the uploads and the results; made if it is not there.
    pub data_dir: PathBuf,
    /// The key that requests must carry; `None` accepts any that is not empty.
    pub api_key: Option<ApiKey>,
    /// Reference tables of enrichment blocks.
    pub enrich: Vec<EnrichTable>,
    /// Endpoints of the user's that stand in for providers.
    pub endpoints: Vec<EnrichEndpoint>,
    /// A reference table larger than this as a file is refused: tables are held in memory.
    /// Default 256 MiB.
    pub max_enrich_bytes: u64,
    /// How long a signed link is valid. Default 900 s, as the vendor has it.
    pub link_life: Duration,
    /// A larger upload is refused with 413. Default 100 MiB: the vendor states 100 MB for bulk jobs
    /// and nothing for plain uploads.
    pub max_upload_bytes: u64,
    /// An upload of more rows is refused with 422. Default 100,000, likewise.
    pub max_upload_rows: u64,
    /// A larger JSON body is refused with 413. Default 32 MiB.
    pub max_body_bytes: usize,
    /// Requests a minute and key; one more is refused with 429. Default 500; 0 is no limit.
    pub rate_limit: u32,
    /// Bulk jobs that a key may start in a minute. Default 10; 0 is no limit.
    pub bulk_limit: u32,
    /// Requests that are answered at once; one more is refused with 503. Default 512.
    pub max_requests: usize,
    /// A request that takes longer to answer is broken off with 408, where no file comes or goes.
    /// Default 60 s.
    pub request_time: Duration,
    /// An upload that brings nothing for so long is broken off with 408. Default 60 s.
    pub upload_stall: Duration,
    /// Runs that execute at once; more wait as `queued`. Default 2, at least 1.
    pub max_runs: usize,
    /// Runs that may wait; one more is refused with 429. Default 1000.
    pub max_waiting_runs: usize,
    /// Sizes of the blocks' executions; the runs that execute at once share memory and threads evenly.
    pub limits: Limits,
    /// What goes wrong on purpose; nothing by default.
    pub faults: Scenario,
    /// True if the paths below `/admin` are there. Default false.
    pub admin: bool,
    /// Which of the runs that have ended are kept; all by default.
    pub retain: Option<Retain>,
    /// How long [`super::Service::stop`] waits for runs that are under way before it cancels them. Default 0.
    pub run_grace: Duration,
    /// How long [`super::Service::stop`] waits for downloads that are under way. Default 5 s.
    pub stop_grace: Duration,
    /// The time.
    pub clock: Clock,
}

/// An HTTP endpoint that stands in for a block's provider. It gets the block's rows in batches.
#[derive(Clone, Debug)]
pub struct EnrichEndpoint {
    /// Name of the block.
    pub block: String,
    /// Where: https, or http on this machine.
    pub url: Url,
}

/// A reference table that stands in for an enrichment block's provider.
#[derive(Clone, Debug)]
pub struct EnrichTable {
    /// Name of the block, such as `company_enrichment`; of `search` it is all rows that there are to find.
    pub block: String,
    /// CSV, NDJSON or a JSON array of objects.
    pub path: PathBuf,
    /// Column that holds the key, in the table and in the rows to enrich. Empty for `search`.
    pub key: String,
}

impl Config {
    /// A configuration for `data_dir` with everything else at its default.
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Config {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            data_dir: data_dir.into(),
            api_key: None,
            enrich: Vec::new(),
            endpoints: Vec::new(),
            max_enrich_bytes: 256 << 20,
            link_life: Duration::from_secs(900),
            max_upload_bytes: 100 << 20,
            max_upload_rows: 100_000,
            max_body_bytes: 32 << 20,
            rate_limit: 500,
            bulk_limit: 10,
            max_requests: 512,
            request_time: Duration::from_secs(60),
            upload_stall: Duration::from_secs(60),
            max_runs: 2,
            max_waiting_runs: 1000,
            limits: Limits::default(),
            faults: Scenario::default(),
            admin: false,
            retain: None,
            run_grace: Duration::ZERO,
            stop_grace: Duration::from_secs(5),
            clock: Clock::default(),
        }
    }
}
