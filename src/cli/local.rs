//! The local Workflows service inside this process, for `serve` and `--local`, with its store in a given or a temporary
//! directory.

use std::path::PathBuf;

use super::error::{Error, Failure};
use super::values::{Enrich, EnrichFrom};
use crate::service::{Config, EnrichEndpoint, EnrichTable, Service};
use crate::sink::TemporaryDirectory;

/// A running service. A temporary store is removed when it is dropped.
pub(super) struct Local {
    service: Service,
    /// Dropped after the service.
    _temporary: Option<TemporaryDirectory>,
}

impl Local {
    /// Starts a service whose store is in `data`, or in a temporary directory; `configure` changes the defaults of its
    /// configuration.
    pub(super) async fn start(
        data: Option<PathBuf>,
        configure: impl FnOnce(Config) -> Config,
    ) -> Result<Self, Failure> {
        let (data_dir, temporary) = match data {
            Some(path) => (path, None),
            None => {
                let directory = TemporaryDirectory::create(&std::env::temp_dir())
                    .map_err(|cause| Error::Write { path: std::env::temp_dir(), cause })?;
                (directory.path().to_owned(), Some(directory))
            }
        };
        let service = Service::start(configure(Config::new(data_dir))).await.map_err(Error::Service)?;
        Ok(Local { service, _temporary: temporary })
    }

    /// Returns the base URL that the service listens on.
    pub(super) fn base_url(&self) -> String {
        self.service.base_url()
    }

    /// Returns true if other users of this machine can list or change the data directory.
    pub(super) fn data_is_open_to_others(&self) -> bool {
        self.service.data_is_open_to_others()
    }

    /// Stops the service: answers the requests in progress and closes the store.
    pub(super) async fn stop(self) {
        self.service.stop().await;
    }
}

/// Divides the `--enrich` flags into reference tables and endpoints.
pub(super) fn providers(given: Vec<Enrich>) -> (Vec<EnrichTable>, Vec<EnrichEndpoint>) {
    let (mut tables, mut endpoints) = (Vec::new(), Vec::new());
    for Enrich { block, from } in given {
        match from {
            EnrichFrom::Table { path, key } => tables.push(EnrichTable { block, path, key }),
            EnrichFrom::Endpoint(url) => endpoints.push(EnrichEndpoint { block, url }),
        }
    }
    (tables, endpoints)
}
