//! The local service inside this process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::error::{Error, Failure};
use super::values::{Enrich, EnrichFrom};
use crate::pipeline::Limits;
use crate::secret::ApiKey;
use crate::service::{Config, EnrichEndpoint, EnrichTable, Retain, Scenario, Service};

/// What the service is started with.
pub struct LocalOptions {
    /// Address to listen on; loopback, unless there is a key.
    pub host: IpAddr,
    /// Its port; 0 picks one.
    pub port: u16,
    /// Folder of the store; `None` for a temporary one.
    pub data: Option<PathBuf>,
    /// The one key that is accepted; `None` for any.
    pub api_key: Option<ApiKey>,
    /// What stands in for providers.
    pub enrich: Vec<Enrich>,
    /// How long links are valid.
    pub link_life: Duration,
    /// Requests a minute and key; 0 is no limit.
    pub rate_limit: u32,
    /// Starts of bulk jobs a minute and key; 0 is no limit.
    pub bulk_limit: u32,
    /// The largest upload; 0 is no limit.
    pub max_upload_bytes: u64,
    /// Rows of an upload; 0 is no limit.
    pub max_upload_rows: u64,
    /// Sizes of the blocks' executions, all runs together.
    pub limits: Limits,
    /// Runs that execute at once.
    pub max_runs: usize,
    /// What goes wrong on purpose.
    pub faults: Scenario,
    /// True if the service's clock can be set.
    pub admin: bool,
    /// Which ended runs are kept.
    pub retain: Option<Retain>,
    /// How long runs under way may go on when it is stopped.
    pub run_grace: Duration,
}

impl Default for LocalOptions {
    fn default() -> Self {
        // Nobody shares a service inside this process: no limits.
        LocalOptions {
            host: Ipv4Addr::LOCALHOST.into(),
            rate_limit: 0,
            bulk_limit: 0,
            max_upload_bytes: 0,
            max_upload_rows: 0,
            port: 0,
            data: None,
            api_key: None,
            enrich: Vec::new(),
            link_life: Duration::from_secs(900),
            limits: Limits::default(),
            max_runs: 2,
            faults: Scenario::default(),
            admin: false,
            retain: None,
            run_grace: Duration::ZERO,
        }
    }
}

/// A running service. Its temporary store goes with it.
pub struct Local {
    service: Service,
    /// Dropped after the service.
    _folder: Option<TempDir>,
}

impl Local {
    /// Starts it.
    pub async fn start(options: LocalOptions) -> Result<Self, Failure> {
        let (data_dir, folder) = match options.data {
            Some(path) => (path, None),
            None => {
                let folder = tempfile::Builder::new()
                    .prefix("drawoff-service-")
                    .tempdir()
                    .map_err(|cause| Error::Write { path: std::env::temp_dir(), cause })?;
                (folder.path().to_owned(), Some(folder))
            }
        };
        let (mut enrich, mut endpoints) = (Vec::new(), Vec::new());
        for Enrich { block, from } in options.enrich {
            match from {
                EnrichFrom::Table { path, key } => enrich.push(EnrichTable { block, path, key }),
                EnrichFrom::Endpoint(url) => endpoints.push(EnrichEndpoint { block, url }),
            }
        }
        let config = Config {
            bind: SocketAddr::from((options.host, options.port)),
            rate_limit: options.rate_limit,
            bulk_limit: options.bulk_limit,
            max_upload_bytes: unless_zero(options.max_upload_bytes),
            max_upload_rows: unless_zero(options.max_upload_rows),
            api_key: options.api_key,
            enrich,
            endpoints,
            link_life: options.link_life,
            limits: options.limits,
            max_runs: options.max_runs,
            faults: options.faults,
            admin: options.admin,
            retain: options.retain,
            run_grace: options.run_grace,
            ..Config::new(data_dir)
        };
        let service = Service::start(config).await.map_err(Error::Service)?;
        Ok(Local { service, _folder: folder })
    }

    /// Its address.
    pub fn base_url(&self) -> String {
        self.service.base_url()
    }

    /// Ends it: what is being answered is answered, the store is closed.
    pub async fn stop(self) {
        self.service.stop().await;
    }
}

/// A limit that is written as 0 where there is none.
fn unless_zero(limit: u64) -> u64 {
    if limit == 0 { u64::MAX } else { limit }
}
