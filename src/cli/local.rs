//! The local service inside this process.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use super::error::{Error, Failure};
use super::values::Enrich;
use crate::pipeline::Limits;
use crate::secret::ApiKey;
use crate::service::{Config, EnrichTable, Service};

/// What the service is started with.
pub struct LocalOptions {
    /// Port on loopback; 0 picks one.
    pub port: u16,
    /// Folder of the store; `None` for a temporary one.
    pub data: Option<PathBuf>,
    /// The one key that is accepted; `None` for any.
    pub api_key: Option<ApiKey>,
    /// Reference tables.
    pub enrich: Vec<Enrich>,
    /// How long links are valid.
    pub link_life: Duration,
    /// Sizes of each block's execution.
    pub limits: Limits,
}

impl Default for LocalOptions {
    fn default() -> Self {
        LocalOptions {
            port: 0,
            data: None,
            api_key: None,
            enrich: Vec::new(),
            link_life: Duration::from_secs(900),
            limits: Limits::default(),
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
        let enrich = options
            .enrich
            .into_iter()
            .map(|table| EnrichTable { block: table.block, path: table.path, key: table.key })
            .collect();
        let config = Config {
            bind: SocketAddr::from((Ipv4Addr::LOCALHOST, options.port)),
            api_key: options.api_key,
            enrich,
            link_life: options.link_life,
            limits: options.limits,
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
